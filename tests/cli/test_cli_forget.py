"""`fslog spool forget`: what waits of a person is removed, and what could not be is said."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fslog.cli import main
from fslog.collector import Answer, Collector
from fslog.mapping.privacy import hashed
from fslog.spool import forget as spool_forget
from processes import said, started, waits
from spooling import directory, leave
from spools import line

pytestmark = pytest.mark.usefixtures("measured")

NOWHERE = "http://127.0.0.1:9"
KEY = "0123456789abcdef"

Spool = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Spool:
    """Return a function that runs `fslog spool forget`: exit code, stdout, stderr."""

    def run_it(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(["spool", "forget", *map(str, arguments)])
        sys.stdout.flush()
        return (code, *capfd.readouterr())

    return run_it


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Return a spool in which two dead processes and the quarantine have events of `ann`."""
    path = tmp_path / "spool"
    leave(path, line(1, userId="ann") + line(2), line(3, userId="ann"))
    leave(path, line(4) + line(5, userId="ann", accountId="b"))
    for number, texts in {6: (line(6),), 7: (line(6), line(7, userId="ann"))}.items():
        directory(path).quarantine("00000001-aaaaaaaa-00000007", str(number), b"".join(texts), "x")
    directory(path).quarantine("00000001-aaaaaaaa-00000008", "0", line(8, userId="ann"), "x")
    return path


def text_in(path: Path) -> bytes:
    """Return everything below a directory."""
    return b"".join(one.read_bytes() for one in sorted(path.rglob("*")) if one.is_file())


def test_what_waits_of_a_person_is_removed(spool: Path, command: Spool) -> None:
    """Of dead processes and in the quarantine, all of it and nothing else, with its reasons."""
    assert command(spool, "--user", "ann") == (
        *(0, "5 events removed: 3 of dead processes, 2 of the quarantine\n", ""),
    )
    text = text_in(spool)
    assert b"ann" not in text
    for number in (2, 4, 6):
        assert line(number) in text
    assert len([name for name in os.listdir(spool / "quarantine") if name.endswith(".reason")]) == 2
    assert command(spool, "--user", "ann") == (0, "nothing waits of this user\n", "")


def test_only_of_an_account(spool: Path, command: Spool) -> None:
    """The same id may be of another person in another account."""
    code, out, _ = command(spool, "--user", "ann", "--account", "b", "--json")
    assert (code, json.loads(out)["removed"]) == (0, 1)
    assert b'"accountId":"b"' not in text_in(spool)
    assert line(1, userId="ann") in text_in(spool)


def test_hashed_ids(spool: Path, command: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the key in the environment, the events that hold the id's hash are removed, too."""
    text = hashed("ann", KEY.encode())
    leave(spool, line(9, userId=text, accountId=hashed("b", KEY.encode())))
    assert command(spool, "--user", "ann", "--account", "b")[1].startswith("1 event removed")
    monkeypatch.setenv("FSLOG_HASH_KEY", KEY)
    assert command(spool, "--user", "ann", "--account", "b")[1].startswith("1 event removed")
    assert text.encode() not in text_in(spool)
    monkeypatch.setenv("FSLOG_HASH_KEY", "short")
    code, out, err = command(spool, "--user", "ann")
    assert (code, out) == (2, "")
    assert "FSLOG_HASH_KEY" in err
    assert "short," not in err


@pytest.mark.parametrize("arguments", [[], ["--user", ""], ["--user", "a", "--account", ""]])
def test_an_id_is_needed(arguments: list[str], spool: Path, command: Spool) -> None:
    """Nothing is removed without one."""
    before = text_in(spool)
    assert command(spool, *arguments)[0] == 2
    assert text_in(spool) == before


def test_what_cannot_be_rewritten_is_said(
    spool: Path, command: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the owner and the reason; the rest is removed, and the exit code is 1."""

    def fail(given: object, path: str, person: object, at: int = 0) -> int:
        if "00000001-" in os.path.basename(path) and "0002." in path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rewrite(given, path, person, at)  # type: ignore[arg-type]

    rewrite = spool_forget.rewrite
    monkeypatch.setattr(spool_forget, "rewrite", fail)
    code, out, err = command(spool, "--user", "ann")
    assert code == 1
    assert out == "4 events removed: 2 of dead processes, 2 of the quarantine\n"
    assert "1 event could not be removed yet from 00000001-" in err
    assert "Input/output error; run the command again later" in err


def test_what_cannot_be_read_is_said(spool: Path, command: Spool) -> None:
    """Nobody knows what it holds: the exit code is 1, and the rest is removed."""
    first, *_ = sorted(spool.glob("*.ndjson"))
    first.rename(spool / "quarantine" / "elsewhere")
    first.mkdir()
    code, out, err = command(spool, "--user", "ann")
    assert (code, out.partition(":")[0]) == (1, "4 events removed")
    assert "events, perhaps, could not be removed yet from 00000001-" in err


def test_help(command: Spool) -> None:
    """It says what is removed and what the exit codes mean."""
    code, out, _ = command("--help")
    assert code == 0
    assert "The exit code is 0 " in out


PROGRAM = """
    import os, sys, time, counted

    handler = counted.handle(spool=sys.argv[1], flush_interval=60, max_backoff=0.5)
    for number in range(6):
        counted.say(number, userId="ann" if number % 2 else "bob")
    handler.flush(0.2)
    for number in range(6, 10):
        counted.say(number, userId="ann" if number % 2 else "bob")
    counted.tell(logged=10)
    while not os.path.exists(sys.argv[2]):
        time.sleep(0.01)
    counted.tell(flushed=handler.flush(30))
    counted.tell(**counted.balance(handler))
"""


@pytest.mark.slow
def test_a_living_process_forgets_within_seconds(tmp_path: Path, command: Spool) -> None:
    """What it was about to send, and what it is writing; it goes on, and its numbers balance."""
    path, go_on = tmp_path / "spool", tmp_path / "go on"
    with Collector() as collector:
        collector.always(Answer(503))
        with started(PROGRAM, collector.url, arguments=[str(path), str(go_on)]) as process:
            waits(process, "logged")
            code, out, err = command(path, "--user", "ann")
            assert (code, out, err) == (0, "5 events removed: 5 of living processes\n", "")
            assert b"ann" not in text_in(path)
            collector.always(None)
            go_on.touch()
            ended = process.end(40)
        assert ended.code == 0, ended.err
        assert ended.facts["flushed"]
        assert (ended.facts["accepted"], ended.facts["delivered"]) == (10, 5)
        assert ended.facts["abandoned"] == 5
        assert [number for _, number in said(collector)] == [0, 2, 4, 6, 8]


def test_a_process_that_does_not_answer_is_named(tmp_path: Path, command: Spool) -> None:
    """A stopped one, by its process id; when it has ended, the command removes the rest."""
    path = tmp_path / "spool"
    with started(PROGRAM, NOWHERE, arguments=[str(path), str(tmp_path / "never")]) as process:
        waits(process, "logged")
        os.kill(process.pid, signal.SIGSTOP)
        try:
            before = time.monotonic()
            code, out, err = command(path, "--user", "ann", "--wait", "0.5")
            assert time.monotonic() - before < 10
            assert (code, out) == (1, "")
            assert "5 events could not be removed yet from 0000000" in err
            assert f": process {process.pid} did not answer" in err
            assert os.listdir(path / ".forget") == []
        finally:
            os.kill(process.pid, signal.SIGKILL)
            os.kill(process.pid, signal.SIGCONT)
        process.end(10)
    assert command(path, "--user", "ann")[:2] == (0, "5 events removed: 5 of dead processes\n")
    assert b"ann" not in text_in(path)
