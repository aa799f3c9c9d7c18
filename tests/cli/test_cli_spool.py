"""`fslog spool`: listing disturbs no process, drain sends orphans, requeueing is safe."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from fslog import FreshsuccessHandler
from fslog.cli import main
from fslog.cli.spool import contents as spool_contents
from fslog.cli.spool import drain, quarantine
from fslog.cli.spool.contents import NotASpool, read_contents, waiting_lines
from fslog.collector import Answer, Collector
from fslog.net.destination import DATACENTERS
from fslog.spool import owners
from fslog.spool.filesystem import FileSystem
from fslog.spool.segments import SegmentName
from processes import KEYS, STRICT, run, said, started
from readme_blocks import environment
from spooling import digest, directory, leave, logging_process, snapshot
from spools import Watched, line

pytestmark = pytest.mark.usefixtures("measured")

NOWHERE = "http://127.0.0.1:9"
TORN = line(9)[:-20]


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Return a spool in which a dead process left three events in two segments."""
    leave(tmp_path / "spool", line(1) + line(2), line(3))
    return tmp_path / "spool"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the keys of the spool in the environment."""
    monkeypatch.setenv("FSLOG_AUTH_KEY", KEYS[0])
    monkeypatch.setenv("FSLOG_API_KEY", KEYS[1])


Spool = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Spool:
    """Return a function that runs `fslog spool` and returns exit code, stdout and stderr."""

    def run_it(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(["spool", *map(str, arguments)])
        sys.stdout.flush()
        return (code, *capfd.readouterr())

    return run_it


def numbers(text: str) -> list[int]:
    """Return the numbers of the events in NDJSON."""
    return [json.loads(one)["number"] for one in text.splitlines()]


def in_quarantine(path: Path) -> dict[str, bytes]:
    """Return the files of the quarantine."""
    return {one.name: one.read_bytes() for one in sorted((path / "quarantine").iterdir())}


def put_in_quarantine(path: Path, text: bytes, reason: str = "why") -> str:
    """Quarantine a text and return the name of its file without the suffix."""
    directory(path).quarantine("00000001-aaaaaaaa-00000007", "0", text, reason)
    return "00000001-aaaaaaaa-00000007-0"


@pytest.mark.slow
def test_living_and_dead_processes(tmp_path: Path, command: Spool) -> None:
    """A killed process's segments are listed as a dead owner's, others with the process id."""
    path = tmp_path / "spool"
    with logging_process(path, 5, "dead", NOWHERE, "killed"):
        pass
    dead = read_contents(str(path))
    assert [(owner.is_living, owner.events) for owner in dead.owners] == [(False, 5)]
    with logging_process(path, 3, "alive", NOWHERE) as living:
        code, out, err = command("ls", path, "--json")
        held = [owner for owner in json.loads(out)["owners"] if owner["events"] == 3]
        assert [(owner["state"], owner["pid"]) for owner in held] == [("living", living.pid)]
        code, out, err = command("ls", path, "--segments")
    assert (code, err) == (0, "")
    assert f"living, process {living.pid}: it sends them itself" in out
    assert out.splitlines()[0].startswith(f"{path}  8 events in 2 segments, ")


def test_the_listing_of_a_dead_owner(tmp_path: Path, spool: Path, command: Spool) -> None:
    """How much waits, how old it is, whose it is and why, and the quarantine."""
    old = 1_000_000_000
    first = next(spool.glob("*-00000001.ndjson"))
    os.utime(first, (old, old))
    name = put_in_quarantine(spool, b"torn", "the line is torn")
    code, out, err = command("ls", spool)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    size = 3 * len(line(1))
    assert lines[0].startswith(
        f"{spool}  3 events in 2 segments, {size:,} bytes; the oldest is from "
    )
    assert "  dead: sent by drain, or by any process that uses the spool, " in lines[3]
    assert f"{size:,} bytes claimed" in lines[3]
    assert " d " in lines[3]
    assert lines[5] == "quarantine  1 line in 1 file, 4 bytes"
    assert lines[6].split()[0] == name
    assert lines[6].endswith("the line is torn")


def test_the_listing_of_failed_adoptions(spool: Path, command: Spool) -> None:
    """It says that two processes died over the segments, and how often they are retried."""
    (owner,) = os.listdir(spool / "owners")
    register = spool / "owners" / owner
    digest, claim, _ = register.read_text().split()
    register.write_text(f"{digest} {claim} 0002\n")
    expected = "dead: 2 processes died before they sent any; retried at most every 10 s"
    assert expected in command("ls", spool)[1]


def test_an_empty_spool(tmp_path: Path, command: Spool) -> None:
    """A spool without events is not an error; dead owners without segments are counted."""
    directory(tmp_path / "spool").check()
    leave(tmp_path / "spool")
    assert command("ls", tmp_path / "spool") == (
        0,
        f"{tmp_path / 'spool'}  no events waiting\n1 dead process without events\n",
        "",
    )
    assert command("show", tmp_path / "spool") == (0, "", "")
    assert command("quarantine", tmp_path / "spool")[1] == "the quarantine is empty\n"


def test_a_spool_without_owners(spool: Path, command: Spool) -> None:
    """If the owners' folder was removed, the segments are listed as a dead owner's."""
    shutil.rmtree(spool / "owners")
    (owner,) = json.loads(command("ls", spool, "--json")[1])["owners"]
    assert (owner["state"], owner["events"], owner["claim_bytes"]) == ("dead", 3, 0)


def test_segments_and_files_that_are_removed_meanwhile(
    spool: Path, command: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is removed between the listing and its use is left out, or reported if it was named."""
    name = put_in_quarantine(spool, line(4))
    contents = read_contents(str(spool))
    next(spool.glob("*-00000001.ndjson")).unlink()
    shown = [event for _, events, _ in waiting_lines(contents) for event in events]
    assert shown == [line(3)]
    shutil.rmtree(spool / "quarantine")
    monkeypatch.setattr("fslog.cli.spool.spool.read_contents", lambda path: contents)
    assert f"{name} cannot be read: No such file" in command("quarantine", "show", spool)[2]
    assert command("quarantine", "requeue", spool, name)[1] == f"{name}: it no longer exists\n"
    assert command("quarantine", "rm", spool, name)[:2] == (0, "")


def test_reading_changes_nothing(spool: Path, command: Spool) -> None:
    """`ls`, `show` and those of the quarantine create, change and remove no file."""
    name = put_in_quarantine(spool, TORN)
    before = snapshot(spool)
    for arguments in (["ls"], ["ls", "--json"], ["show"], ["quarantine", "ls"]):
        assert command(*arguments, spool)[0] == 0
    assert command("quarantine", "show", spool, name)[0] == 0
    assert snapshot(spool) == before


def test_reading_does_not_prevent_adoption(spool: Path) -> None:
    """Another process can adopt an orphan after its directory was read, and is then living."""
    contents = read_contents(str(spool))
    fs = FileSystem()
    folder, name = str(spool / "owners"), contents.owners[0].name
    owner = owners.adopt(fs, folder, name, digest(), 0.0)
    assert owner is not None
    assert read_contents(str(spool)).owners[0].pid == os.getpid()
    owner.close()


def test_the_process_that_holds_a_lock(tmp_path: Path) -> None:
    """Its id is found by the file; without a list of locks it is unknown."""
    fs = FileSystem()
    path = tmp_path / "file"
    fd = fs.create_lockfile(str(path))
    assert spool_contents._pid(path.stat(), spool_contents._lock_holders()) == 0
    assert fs.try_lock(fd)
    assert spool_contents._pid(path.stat(), spool_contents._lock_holders()) == os.getpid()
    assert spool_contents._pid(path.stat(), {}) == 0
    fs.close(fd)


def test_no_list_of_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing or garbled list of locks names no process."""
    monkeypatch.setattr(spool_contents, "_LOCKS", str(tmp_path / "missing"))
    assert spool_contents._lock_holders() == {}
    (tmp_path / "garbled").write_bytes(b"1: FLOCK ADVISORY WRITE x y:z 0 EOF\n\xff\n\n")
    monkeypatch.setattr(spool_contents, "_LOCKS", str(tmp_path / "garbled"))
    assert spool_contents._lock_holders() == {}


def test_a_process_that_waits_for_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a process that holds an exclusive `flock` is named, not one that waits for it."""
    (tmp_path / "locks").write_text(
        "1: FLOCK  ADVISORY  WRITE 4711 fd:01:131 0 EOF\n"
        "1: -> FLOCK  ADVISORY  WRITE 4712 fd:01:131 0 EOF\n"
        "2: FLOCK  ADVISORY  READ  4713 fd:01:132 0 EOF\n"
        "3: POSIX  ADVISORY  WRITE 4714 fd:01:133 0 EOF\n"
        "4: FLOCK  ADVISORY  WRITE -1 00:2f:134 0 EOF\n"
    )
    monkeypatch.setattr(spool_contents, "_LOCKS", str(tmp_path / "locks"))
    assert spool_contents._lock_holders() == {(253, 1, 131): 4711, (0, 47, 134): -1}


def make_link(path: Path) -> None:
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "cannot be read: No such file or directory"),
        (lambda path: path.touch(), "is not a directory"),
        (make_link, "is a symbolic link"),
        (lambda path: path.mkdir(), "it is empty, and has no spool.json"),
        (lambda path: (path / "notes").mkdir(parents=True), "it contains other files, and has no"),
        (lambda path: leave(path) and (path / "spool.json").write_text('{"format":9,"keys":""}'),
         "is a spool with format 9; this version reads format 1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("verb", [["ls"], ["show"], ["drain"], ["quarantine", "ls"]])
def test_a_directory_that_is_not_a_spool(
    verb: list[str], make: Callable[[Path], Any], why: str, tmp_path: Path, command: Spool
) -> None:
    """It is an invalid argument, and left unchanged."""
    path = tmp_path / "spool"
    make(path)
    before = snapshot(tmp_path)
    code, out, err = command(*verb, path)
    assert (code, out) == (2, "")
    assert err.startswith("fslog spool: error: ")
    assert why in err
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("marker", [b"", b"{", b"[]", b"[" * 100_000, b'{"keys": 1}'])
def test_a_torn_marker(marker: bytes, spool: Path, command: Spool) -> None:
    """An unreadable marker does not prevent reading; requeueing says what to do."""
    name = put_in_quarantine(spool, line(4))
    (spool / "spool.json").write_bytes(marker)
    assert command("ls", spool)[0] == 0
    code, out, err = command("quarantine", "requeue", spool, name)
    assert (code, out) == (1, "")
    assert "has no readable marker (spool.json): start a process that uses the spool" in err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["ls"],
        ["show", "--limit", "-1", "x"],
        ["drain", "--patience", "nan", "x"],
        ["quarantine"],
        ["quarantine", "rm"],
    ],
)
def test_invalid_arguments(arguments: list[str], command: Spool) -> None:
    """Missing arguments and invalid numbers exit with 2, with the usage on stderr."""
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("usage: fslog spool")


@pytest.mark.parametrize("verb", [[], ["drain"], ["quarantine"], ["quarantine", "requeue"]])
def test_help(verb: list[str], command: Spool) -> None:
    """Each command has a description; the main ones have examples and exit codes."""
    code, out, err = command(*verb, "--help")
    assert (code, err) == (0, "")
    assert out.startswith("usage: fslog spool")
    assert verb == ["quarantine", "requeue"] or "The exit code is 0 " in out


def test_events_for_a_pipe(spool: Path, command: Spool) -> None:
    """A pipe gets the events unchanged, in the order of delivery, up to the limit."""
    leave(spool, line(4, note="\x9b31m zoë"))
    code, out, err = command("show", spool)
    assert (code, err) == (0, "")
    assert out.encode() == line(1) + line(2) + line(3) + line(4, note="\x9b31m zoë")
    assert numbers(command("show", spool, "--limit", 2)[1]) == [1, 2]
    assert command("show", spool, "--limit", 0)[1] == ""


@pytest.mark.parametrize("verb", [["show"], ["quarantine", "show"]])
def test_the_limit_may_be_any_size(verb: list[str], spool: Path, command: Spool) -> None:
    """A number larger than any counter means no limit."""
    put_in_quarantine(spool, line(4))
    code, out, err = command(*verb, spool, "--limit", "9" * 20)
    assert (code, err) == (0, "")
    assert numbers(out) == ([1, 2, 3] if verb == ["show"] else [4])


def test_a_closed_pipe(tmp_path: Path) -> None:
    """`fslog spool show DIR | head -1` exits as a closed pipe does, without a message."""
    leave(tmp_path / "spool", b"".join(line(number) for number in range(5_000)))
    arguments = [sys.executable, *STRICT, "-m", "fslog", "spool", "show", str(tmp_path / "spool")]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment({})
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == line(0)
        process.stdout.close()
        assert process.wait(30.0) == 141
        assert process.stderr.read() == b""


def test_rejected_lines_are_not_written_to_a_pipe(tmp_path: Path, command: Spool) -> None:
    """Torn and garbled lines are skipped; stderr shows how many."""
    leave(tmp_path / "spool", line(1) + b"garbled\n" + TORN)
    code, out, err = command("show", tmp_path / "spool")
    assert (code, numbers(out)) == (0, [1])
    assert err == "fslog spool: 2 lines skipped, because they cannot be sent\n"


def test_a_line_that_is_being_written(tmp_path: Path, command: Spool) -> None:
    """The incomplete last line of a living process is left out, without a message."""
    spool = directory(tmp_path / "spool")
    owner = spool.create_owner()
    (tmp_path / "spool" / str(SegmentName(owner.name, 1))).write_bytes(line(1) + TORN)
    assert command("show", tmp_path / "spool") == (0, line(1).decode(), "")
    owner.close()
    assert "1 line skipped" in command("show", tmp_path / "spool")[2]


def test_events_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Spool
) -> None:
    """A terminal gets rows; control characters in events are escaped."""
    late = json.dumps({**json.loads(line(4)), "createdAt": 1e300}).encode() + b"\n"
    texts = line(1, note="a\x9b31m\u202e") + b'{"x":"\x1b[31m"\n' + late
    leave(tmp_path / "spool", texts)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["spool", "show", str(tmp_path / "spool")]) == 0
    heading, first, second, bad = terminal.getvalue().splitlines()
    assert heading.split() == ["time", "account", "user", "action", "module", "/", "feature"]
    assert first.endswith(r"number=1 note=a\x9b31m\u202e")
    assert second == late.decode().strip()
    assert "garbled" in bad
    assert bad.endswith(r'{"x":"\x1b[31m"')
    assert "\x1b" not in terminal.getvalue()


def test_segments_removed_while_reading(spool: Path) -> None:
    """A segment that is delivered meanwhile is left out, without an error."""
    fs = Watched()

    def remove(path: str, *given: int) -> None:
        if path.endswith("-00000001.ndjson") and os.path.exists(path):
            os.unlink(path)

    fs.hooks["read"] = remove
    contents = read_contents(str(spool), fs)
    assert [one.name.number for one in contents.owners[0].segments] == [2]


def test_a_segment_that_is_not_a_file(spool: Path, command: Spool) -> None:
    """A link is not followed and a FIFO not waited for; both are reported."""
    (owner,) = os.listdir(spool / "owners")
    (spool / str(SegmentName(owner, 3))).symlink_to("/etc/passwd")
    os.mkfifo(spool / str(SegmentName(owner, 4)))
    code, out, err = command("show", spool)
    assert (code, numbers(out)) == (0, [1, 2, 3])
    assert "2 lines skipped" in err
    assert command("ls", spool)[0] == 0


def test_segments_without_an_owner(spool: Path, command: Spool) -> None:
    """Segments whose owner's file was removed are listed as a dead owner's."""
    (owner,) = os.listdir(spool / "owners")
    (spool / "owners" / owner).unlink()
    (held,) = json.loads(command("ls", spool, "--json")[1])["owners"]
    assert (held["state"], held["events"], held["claim_bytes"]) == ("dead", 3, 0)


@pytest.mark.usefixtures("keys")
def test_drain_sends_what_a_killed_process_left(tmp_path: Path, command: Spool) -> None:
    """Each event of the dead process once; those of living processes are left to them."""
    path = tmp_path / "spool"
    with Collector(keys=KEYS) as collector, logging_process(path, 3, "alive", NOWHERE) as living:
        living.send(signal.SIGSTOP)  # it would adopt the other's events itself
        with logging_process(path, 40, "dead", NOWHERE, "killed"):
            pass
        code, out, err = command("drain", path, "--endpoint", collector.url)
        assert sorted(said(collector)) == [("dead", number) for number in range(40)]
        assert (code, err) == (0, "")
        assert out.splitlines()[0].startswith(f"40 events sent to {collector.url[7:]} in 1 batch")
        assert out.splitlines()[1] == (
            "3 events of 1 living process skipped: living processes send their own"
        )
        left = read_contents(str(path))
    assert [owner.events for owner in left.owners if owner.segments] == [3]


@pytest.mark.usefixtures("keys")
def test_drain_needs_no_hash_key(
    tmp_path: Path, command: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is redacted already, also if the application's plan hashes something."""
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"version": 1, "common": {"userId": {"pii": "hash"}}}))
    monkeypatch.setenv("FSLOG_PLAN", str(plan))
    path = tmp_path / "spool"
    leave(path, line(1) + line(2), line(3))
    with Collector(keys=KEYS) as collector:
        code, _, err = command("drain", path, "--endpoint", collector.url)
        assert (code, err) == (0, "")
        assert len(collector.events) == 3


@pytest.mark.usefixtures("keys")
def test_nothing_to_drain(tmp_path: Path, command: Spool) -> None:
    """A spool without dead owners is drained at once, with a message."""
    directory(tmp_path / "spool").check()
    assert command("drain", tmp_path / "spool", "--endpoint", NOWHERE) == (
        0,
        "nothing to send: no dead process has events\n",
        "",
    )


@pytest.mark.usefixtures("keys")
def test_more_dead_owners_than_are_adopted_at_once(tmp_path: Path, command: Spool) -> None:
    """The events of fifty dead owners are sent in the order of their creation."""
    path = tmp_path / "spool"
    for number in range(50):
        leave(path, line(number))
    with Collector(keys=KEYS) as collector:
        code, out, _ = command("drain", path, "--endpoint", collector.url, "--json")
        assert [event["number"] for event in collector.events] == list(range(50))
    told = json.loads(out)
    assert (code, told["delivered"], told["left"], told["last_error"]) == (0, 50, 0, None)
    assert os.listdir(path / "owners") == []


@pytest.mark.parametrize("is_settled", [True, False])
def test_what_is_adopted_during_the_last_look_is_waited_for(
    tmp_path: Path, is_settled: bool
) -> None:
    """What the handler adopts while the directory is read is settled before the drain ends."""
    path = tmp_path / "spool"
    leave(path, line(1))
    results = iter([True, True, is_settled])

    class Adopting:
        def flush(self, timeout: float) -> bool:
            for file in path.rglob("*"):  # as if adopted: no dead process has a segment any more
                if file.is_file():
                    file.unlink()
            return next(results)

    assert drain._wait(cast(FreshsuccessHandler, Adopting()), str(path), 5.0) is is_settled
    assert list(results) == []


@pytest.mark.usefixtures("keys")
def test_options_override_the_environment(
    spool: Path, monkeypatch: pytest.MonkeyPatch, command: Spool
) -> None:
    """The data center of the option is used, even if the environment's is invalid."""
    monkeypatch.setenv("FSLOG_DATACENTER", "typo")
    monkeypatch.setenv("FSLOG_ENDPOINT", NOWHERE)
    with Collector(keys=KEYS) as collector:
        monkeypatch.setitem(DATACENTERS, "eu", collector.url)
        code, out, _ = command("drain", spool, "--datacenter", "eu")
        assert [event["number"] for event in collector.events] == [1, 2, 3]
    assert (code, out.partition(" sent")[0]) == (0, "3 events")


@pytest.mark.slow
def test_an_endpoint_that_is_down(spool: Path) -> None:
    """The exit code is 1, the reason is shown, the events stay, and a later run sends them."""
    arguments = ["spool", "drain", str(spool), "--patience", "0.5"]
    flags = (*STRICT, "-m", "fslog")
    with Collector(keys=KEYS) as collector:
        collector.always(Answer(503))
        ended = run("", collector.url, flags=flags, arguments=arguments, code=1, err=None)
        assert "0 events sent" in ended.out
        assert "3 events could not be sent and remain in the spool: " in ended.out
        assert "503" in ended.out
        assert [owner.events for owner in read_contents(str(spool)).waiting(living=False)] == [3]
        collector.always(None)
        run("", collector.url, flags=flags, arguments=arguments)
        assert [event["number"] for event in collector.events] == [1, 2, 3]


@pytest.mark.slow
def test_an_interrupted_drain(spool: Path) -> None:
    """Ctrl-C exits at once with 130 and a summary; events without a 200 are still there."""
    with Collector(keys=KEYS) as collector:
        collector.always(Answer(then="hang"))
        arguments = ["spool", "drain", str(spool)]
        with started(
            "", collector.url, flags=(*STRICT, "-m", "fslog"), arguments=arguments
        ) as process:
            collector.wait_for_requests(1)
            process.send(signal.SIGINT)
            ended = process.end(20.0)
    assert ended.code == 130
    assert "0 events sent" in ended.out
    assert "3 events could not be sent and remain in the spool: interrupted" in ended.out
    assert "Traceback" not in ended.err
    assert [owner.events for owner in read_contents(str(spool)).waiting(living=False)] == [3]


@pytest.mark.usefixtures("keys")
def test_a_disk_that_is_almost_full_is_drained(
    spool: Path, command: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That makes room; nothing is said of events that are refused, because there are none."""
    monkeypatch.setattr(FileSystem, "space", lambda self, path: (1, 100))
    with Collector() as collector:
        code, _, err = command("drain", spool, "--endpoint", collector.url)
        assert (code, err) == (0, "")
        assert len(collector.events) == 3


@pytest.mark.usefixtures("keys")
def test_other_keys(spool: Path, monkeypatch: pytest.MonkeyPatch, command: Spool) -> None:
    """A directory with other keys is refused, and drained with --take-over."""
    monkeypatch.setenv("FSLOG_API_KEY", "the-key-of-another")
    with Collector() as collector:
        before = snapshot(spool)
        code, out, err = command("drain", spool, "--endpoint", collector.url)
        assert (code, out) == (2, "")
        assert "belongs to other keys" in err
        assert "the-key" not in err
        assert snapshot(spool) == before
        code, out, err = command("drain", spool, "--endpoint", collector.url, "--take-over")
        assert (code, err) == (0, "")
        assert len(collector.events) == 3


@pytest.mark.usefixtures("keys")
def test_other_keys_of_a_living_process(spool: Path, command: Spool) -> None:
    """A directory that a living process uses with other keys is not taken over."""
    fs = FileSystem()
    other = owners.create_owner(fs, str(spool / "owners"), "f" * 32, lambda: "0" * 8)
    code, out, err = command("drain", spool, "--endpoint", NOWHERE, "--take-over")
    other.remove()
    assert (code, out) == (2, "")
    assert "a living process uses it with other keys" in err


def test_no_keys(spool: Path, command: Spool) -> None:
    """Nothing is sent; stderr names the missing variable."""
    code, out, err = command("drain", spool, "--endpoint", NOWHERE)
    assert (code, out) == (2, "")
    assert "FSLOG_AUTH_KEY is not set" in err


@pytest.mark.usefixtures("keys")
def test_rejected_lines_are_quarantined(tmp_path: Path, command: Spool) -> None:
    """Those of dead owners are moved to the quarantine, the others sent; the summary says so."""
    path = tmp_path / "spool"
    leave(path, line(1) + b"garbled\n" + TORN)
    with Collector(keys=KEYS) as collector:
        code, out, _ = command("drain", path, "--endpoint", collector.url)
        assert [event["number"] for event in collector.events] == [1]
    assert code == 0
    assert "2 files quarantined: see `fslog spool quarantine ls`" in out
    listed = json.loads(command("quarantine", "ls", path, "--json")[1])
    assert [one["reason"].split(":")[0] for one in listed] == [
        "the line is garbled",
        "the line is torn",
    ]


def test_the_quarantine_for_a_pipe(spool: Path, command: Spool) -> None:
    """Lines are written unchanged, of all files or of those named."""
    name = put_in_quarantine(spool, b"one\ntwo")
    assert command("quarantine", "show", spool) == (0, "one\ntwo\n", "")
    assert command("quarantine", "show", spool, f"{name}.ndjson", "--limit", 1)[1] == "one\n"
    code, out, err = command("quarantine", "show", spool, "nothing")
    assert (code, out) == (2, "")
    assert "'nothing' is not in the quarantine" in err


def test_the_quarantine_on_a_terminal(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets a row for each line, with the reason if it is not an event."""
    put_in_quarantine(spool, line(1) + b"\x1b[2Jx\n")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["spool", "quarantine", "show", str(spool)]) == 0
    assert "number=1" in terminal.getvalue()
    assert r"\x1b[2Jx" in terminal.getvalue()
    assert "\x1b" not in terminal.getvalue()


@pytest.mark.usefixtures("keys")
def test_requeued_events_are_sent(spool: Path, command: Spool) -> None:
    """Lines corrected by hand, one without its newline too, wait after all others."""
    name = put_in_quarantine(spool, line(4) + line(5)[:-1])
    code, out, err = command("quarantine", "requeue", spool, name)
    assert (code, out, err) == (0, f"{name}: 2 events requeued\n", "")
    assert in_quarantine(spool) == {}
    assert numbers(command("show", spool)[1]) == [1, 2, 3, 4, 5]
    for one in spool.glob("*.ndjson"):
        assert stat.S_IMODE(one.stat().st_mode) == 0o600
    with Collector(keys=KEYS) as collector:
        assert command("drain", spool, "--endpoint", collector.url)[0] == 0
        assert [event["number"] for event in collector.events] == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_requeued_events_are_sent_by_a_living_process(tmp_path: Path, command: Spool) -> None:
    """A process that uses the spool adopts them within seconds."""
    path = tmp_path / "spool"
    with Collector(keys=KEYS) as collector, logging_process(path, 1, "alive", collector.url):
        name = put_in_quarantine(path, line(4, source="mended"))
        assert command("quarantine", "requeue", path, name)[0] == 0
        found = collector.wait_for(1, timeout=40.0)
        assert ("mended", 4) in [(event["source"], event["number"]) for event in found]


def test_invalid_lines_are_not_requeued(spool: Path, command: Spool) -> None:
    """Events leave the quarantine; other lines stay with their own reason, and are reported."""
    name = put_in_quarantine(spool, b"garbled\n" + line(4) + b'{"accountId":"a"}\n', "all of it")
    code, out, err = command("quarantine", "requeue", spool, name)
    assert (code, err) == (1, "")
    first, *kept = out.splitlines()
    assert first == f"{name}: 1 event requeued"
    assert [one.split(" kept: ")[0] for one in kept] == ["  byte 0", f"  byte {8 + len(line(4))}"]
    found = in_quarantine(spool)
    assert found[f"{name}.ndjson"] == b'garbled\n{"accountId":"a"}\n'
    assert found[f"{name}.reason"].startswith(b"the line is garbled")
    assert found[f"{name}.reason"].endswith(b"(and 1 more invalid line)\n")
    before = snapshot(spool / "quarantine")
    code, out, _ = command("quarantine", "requeue", spool, "--all", "--json")
    (told,) = json.loads(out)
    assert (code, told["events"], len(told["kept"])) == (1, 0, 2)
    assert snapshot(spool / "quarantine") == before
    assert (
        len(os.listdir(spool / "owners")) == 2
    )  # none for the second, in which no line was an event


def test_a_file_is_requeued_once(spool: Path) -> None:
    """If two processes requeue a file at the same time, only one writes its events."""
    name = put_in_quarantine(spool, line(4))
    contents = read_contents(str(spool))
    inside, goes_on = threading.Event(), threading.Event()
    fs = Watched()

    def wait(draft: str, path: str) -> None:
        if path.endswith("-00000001.ndjson"):
            inside.set()
            assert goes_on.wait(30.0)

    fs.hooks["replace"] = wait
    done: list[quarantine.Requeued] = []
    first = threading.Thread(target=lambda: done.extend(quarantine.requeue(contents, [name], fs)))
    first.start()
    assert inside.wait(30.0)
    (second,) = quarantine.requeue(contents, [name])
    goes_on.set()
    first.join()
    (third,) = quarantine.requeue(contents, [name])
    assert [one.events for one in done] == [1]
    assert (second.events, second.error) == (0, "another process is requeueing it")
    assert (third.events, third.error) == (0, "it no longer exists")


STEPS = [
    "create_lockfile",
    "write_at_start",
    "create",
    "write",
    "fsync",
    "replace",
    "sync",
    "unlink",
]


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_while_requeueing_loses_nothing(step: str, spool: Path) -> None:
    """Whichever call fails: the event is in the quarantine, in a segment, or in both."""
    for at in range(4):
        name = put_in_quarantine(spool, line(40 + at))
        fs = Watched()
        calls = iter(range(100))

        def fail(*given: Any, calls: Iterator[int] = calls, at: int = at) -> None:
            if next(calls) == at:
                raise OSError(errno.ENOSPC, "No space left on device")

        fs.hooks[step] = fail
        with contextlib.suppress(OSError, ValueError):
            list(quarantine.requeue(read_contents(str(spool)), [name], fs))
        waiting = [path.read_bytes() for path in spool.glob("*.ndjson")]
        kept = [path.read_bytes() for path in (spool / "quarantine").glob("*.ndjson")]
        assert line(40 + at) in [*waiting, *kept]
        assert not any(owner.is_living for owner in read_contents(str(spool)).owners)
        for one in (spool / "quarantine").iterdir():
            one.unlink()


def test_requeueing_on_a_full_disk(
    spool: Path, monkeypatch: pytest.MonkeyPatch, command: Spool
) -> None:
    """The exit code is 1, stderr contains the reason, and the file stays."""
    name = put_in_quarantine(spool, line(4))

    def fail(*given: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fslog.spool.directory.SpoolDirectory.write", fail)
    code, out, err = command("quarantine", "requeue", spool, name)
    assert (code, out) == (1, "")
    assert "the remaining files could not be requeued: [Errno 28] No space left on device" in err
    assert f"{name}.ndjson" in in_quarantine(spool)


@pytest.mark.parametrize("verb", ["requeue", "rm"])
def test_requeue_and_rm_need_names_or_all(verb: str, spool: Path, command: Spool) -> None:
    """Neither no names, nor names with --all, nor an unknown name change anything."""
    name = put_in_quarantine(spool, line(4))
    before = snapshot(spool)
    for arguments in ([], [name, "--all"], [name, "nothing"]):
        code, out, err = command("quarantine", verb, spool, *arguments)
        assert (code, out) == (2, "")
        assert "--all" in err or "'nothing' is not in" in err
    assert snapshot(spool) == before


def test_removing_from_the_quarantine(spool: Path, command: Spool) -> None:
    """A file is removed with its reason; the others stay."""
    name = put_in_quarantine(spool, b"one")
    directory(spool).quarantine("00000001-aaaaaaaa-00000007", "5", b"two", "why")
    assert command("quarantine", "rm", spool, name) == (0, f"{name}: removed, 1 line\n", "")
    assert list(in_quarantine(spool)) == [f"{name[:-1]}5.ndjson", f"{name[:-1]}5.reason"]
    assert json.loads(command("quarantine", "rm", spool, "--all", "--json")[1]) == [f"{name[:-1]}5"]
    assert command("quarantine", "rm", spool, "--all")[:2] == (0, "the quarantine is empty\n")


def test_irregular_files_in_the_quarantine(spool: Path, command: Spool) -> None:
    """Links are not followed, FIFOs not waited for, and names are printable."""
    name = put_in_quarantine(spool, line(4))
    folder = spool / "quarantine"
    (folder / "link.ndjson").symlink_to("/etc/passwd")
    os.mkfifo(folder / "fifo.ndjson")
    (folder / "a\x1b[31m\u202e.ndjson").write_bytes(b"x\n")
    (folder / f"{name}.reason").unlink()
    code, out, _ = command("quarantine", "ls", spool)
    assert code == 0
    assert r"a\x1b[31m\u202e" in out
    assert "the reason is missing" in out
    assert len(json.loads(command("quarantine", "ls", spool, "--json")[1])) == 4
    code, out, err = command("quarantine", "show", spool)
    assert (code, numbers(out.splitlines()[0])) == (0, [4])
    assert "root" not in out
    assert err.count("cannot be read") == 2
    code, out, _ = command("quarantine", "requeue", spool, "--all", "--json")
    assert code == 1
    assert [one["events"] for one in json.loads(out)] == [1, 0, 0, 0]
    assert command("quarantine", "rm", spool, "--all")[0] == 0
    assert os.listdir(folder) == []


def test_requeueing_while_other_keys_are_in_use(spool: Path, command: Spool) -> None:
    """It is refused if a living process has other keys than the marker."""
    name = put_in_quarantine(spool, line(4))
    fs = FileSystem()
    tokens = iter(["0" * 8])
    other = owners.create_owner(fs, str(spool / "owners"), "f" * 32, lambda: next(tokens))
    code, out, err = command("quarantine", "requeue", spool, name)
    other.remove()
    assert (code, out) == (1, "")
    assert "a living process uses it with other keys" in err


def test_a_directory_removed_while_reading(spool: Path) -> None:
    """The error names the reason."""
    fs = Watched()
    fs.hooks["sizes"] = lambda path: (_ for _ in ()).throw(
        FileNotFoundError(errno.ENOENT, "No such file or directory")
    )
    with pytest.raises(NotASpool, match="cannot be read: No such file"):
        read_contents(str(spool), fs)


@pytest.mark.usefixtures("keys")
def test_patience_ends(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments that are cooling down are not waited for longer than the patience."""
    with Collector(keys=KEYS) as collector:
        held = [
            owners.adopt(FileSystem(), str(spool / "owners"), owner.name, digest(), 0.0)
            for owner in read_contents(str(spool)).owners
        ]
        before = read_contents(str(spool))
        monkeypatch.setattr(drain, "read_contents", read_dead)
        drained = drain.drain(before, 0.3, lambda stats: None, endpoint=collector.url)
        assert [owner.events for owner in drained.left] == [3]
        assert collector.events == []
        for owner in held:
            assert owner is not None
            owner.close()


def read_dead(path: str) -> Any:
    """Return the contents of a spool as if every owner were dead."""
    contents = read_contents(path)
    owners = tuple(replace(owner, pid=None) for owner in contents.owners)
    return replace(contents, owners=owners)


def test_the_settled_part_of_a_segment_is_skipped(
    tmp_path: Path, command: Spool, keys: None
) -> None:
    """ls, show and drain start at the offset that a dead process recorded."""
    path = tmp_path / "spool"
    texts = [line(1) + line(2) + b"garbled\n" + line(3), line(4)]
    name = leave(path, *texts)
    owner = owners.adopt(FileSystem(), str(path / "owners"), name, digest(), 0.0)
    assert owner is not None
    owner.write_offset(owners.SettledOffset(1, len(line(1)), len(texts[0])))
    owner.close()
    left = sum(map(len, texts)) - len(line(1))
    code, out, _ = command("ls", path, "--json")
    assert code == 0
    [share] = json.loads(out)["owners"]
    assert (share["events"], share["bytes"]) == (4, left)
    assert [one["bytes"] for one in share["segments"]] == [left - len(line(4)), len(line(4))]
    code, out, err = command("show", path)
    assert (code, numbers(out)) == (0, [2, 3, 4])
    assert "1 line skipped" in err
    [(_, _, [bad]), _] = waiting_lines(read_contents(str(path)))
    assert bad.offset == 2 * len(line(1))
    with Collector() as collector:
        assert command("drain", path, "--endpoint", collector.url)[0] == 0
        assert [one["number"] for one in collector.events] == [2, 3, 4]
    assert f"{name}-00000001-{bad.offset}.ndjson" in os.listdir(path / "quarantine")


@pytest.mark.parametrize("kind", ["claim", "marker", "name"])
def test_garbage_causes_no_traceback(kind: str, spool: Path, command: Spool) -> None:
    """Numbers of thousands of digits, and a marker of brackets, are ignored."""
    if kind == "claim":
        [path] = (spool / "owners").iterdir()
        path.write_bytes(b"x " + b"9" * 5000 + b" " + b"9" * 5000)
    elif kind == "marker":
        (spool / "spool.json").write_bytes(b"[" * 100_000)
    else:
        (spool / f"00000001-aaaaaaaa-{2**64}.ndjson").write_bytes(line(5))
        (spool / "owners" / f"{2**64}-aaaaaaaa").touch()
    code, out, err = command("show", spool)
    assert (code, numbers(out), err) == (0, [1, 2, 3], "")
    assert command("ls", spool)[0] == 0
