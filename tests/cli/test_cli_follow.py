"""`fslog spool drain --follow`: processes leave their events to it, which it sends together."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fslog.cli import main
from fslog.cli.spool.contents import read_contents
from fslog.collector import Answer, Collector
from processes import KEYS, STRICT, Process, numbers, run, said, started
from spooling import digest, directory, leave, logging_process
from spools import line
from waiting import eventually

pytestmark = pytest.mark.usefixtures("measured", "keys")

NOWHERE = "http://127.0.0.1:9"

SHORT = """
    import os, sys, counted

    spool, number, end = sys.argv[1:]
    handler = counted.handle(spool=spool)
    counted.say(int(number))
    if end == "abruptly":
        os._exit(0)
"""
"""A process that logs one event and ends, as a cron job or a CGI script does."""


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the keys of the spool in the environment."""
    monkeypatch.setenv("FSLOG_AUTH_KEY", KEYS[0])
    monkeypatch.setenv("FSLOG_API_KEY", KEYS[1])


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Return an endpoint with the programs' keys."""
    with Collector(keys=KEYS) as running:
        yield running


def follow(
    path: Path, to: str, until: Callable[[], object], *options: str, number: int = signal.SIGTERM
) -> int:
    """Run the command in this process until a condition holds, then send it a signal."""
    held = []

    def stop() -> None:
        held.append(eventually(lambda: directory(path).is_followed() and bool(until())))
        if directory(path).is_followed():
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=stop)
    thread.start()
    code = main(["spool", "drain", "--follow", str(path), "--endpoint", to, *options])
    thread.join()
    assert held == [True]
    return code


def following(path: Path, to: str) -> contextlib.AbstractContextManager[Process]:
    """Run the command in a process of its own."""
    arguments = ["spool", "drain", "--follow", str(path)]
    return started("", to, flags=(*STRICT, "-m", "fslog"), arguments=arguments)


def test_what_dead_processes_left_is_sent(
    tmp_path: Path, collector: Collector, capfd: pytest.CaptureFixture[str]
) -> None:
    """In one body, whoever wrote it; SIGTERM ends the command with exit code 0 and a summary."""
    path = tmp_path / "spool"
    for number in range(5):
        leave(path, line(number))
    assert follow(path, collector.url, lambda: len(collector.events) == 5) == 0
    assert [event["number"] for event in collector.events] == list(range(5))
    assert len(collector.requests) == 1
    out, err = capfd.readouterr()
    first, last = out.splitlines()
    assert first == f"following {path}, sending to {collector.url[7:]}"
    assert last.startswith(f"5 events sent to {collector.url[7:]} in 1 batch, ")
    assert err == "fslog spool drain: adopted 5 segments of processes that ended, to send\n"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert not directory(path).is_followed()
    assert os.listdir(path / "owners") == []


def test_ctrl_c(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It ends the command with 130, after the summary; a missing directory was created."""
    path = tmp_path / "spool"
    assert follow(path, NOWHERE, lambda: True, "--json", number=signal.SIGINT) == 130
    told = json.loads(capfd.readouterr().out)
    assert (told["delivered"], told["spool_segments"], told["last_error"]) == (0, 0, None)


def test_an_outage_is_reported_and_its_end(
    tmp_path: Path, collector: Collector, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line when the endpoint fails, one when it works again; the events are sent once."""
    path = tmp_path / "spool"
    leave(path, line(1))
    collector.script(Answer(503), Answer(503))
    assert follow(path, collector.url, lambda: collector.events) == 0
    _, down, up = capfd.readouterr().err.splitlines()
    assert down.startswith(f"fslog spool drain: delivery to {collector.url[7:]} fails: ")
    assert up.startswith(f"fslog spool drain: delivery to {collector.url[7:]} works again after ")
    assert len(collector.events) == 1


def test_segments_of_living_processes_are_left_to_them(
    tmp_path: Path, collector: Collector, capfd: pytest.CaptureFixture[str]
) -> None:
    """They stay in the directory, and the summary says that something does."""
    path = tmp_path / "spool"
    with logging_process(path, 3, "alive", NOWHERE) as living:
        living.send(signal.SIGSTOP)  # it would adopt the other's events itself
        leave(path, line(1, source="dead"))
        assert follow(path, collector.url, lambda: collector.events) == 0
        assert said(collector) == [("dead", 1)]
        assert [one.events for one in read_contents(str(path)).waiting(living=True)] == [3]
    assert capfd.readouterr().out.splitlines()[-1].startswith("1 segment in the spool, ")


def test_a_process_ends_without_a_post_beside_one_that_follows(
    tmp_path: Path, collector: Collector
) -> None:
    """Its events stay in the directory; if nobody follows any more, a process sends its own."""
    path = tmp_path / "spool"
    followed = directory(path)
    followed.check()
    assert followed.follow()
    run(SHORT, collector.url, arguments=[str(path), "1", "in order"])
    assert collector.requests == []
    assert [one.events for one in read_contents(str(path)).waiting(living=False)] == [1]
    followed.unfollow()
    run(SHORT, collector.url, arguments=[str(path), "2", "in order"])
    assert numbers(collector) == [1, 2]


def test_a_post_that_is_under_way_is_not_cut(tmp_path: Path, collector: Collector) -> None:
    """A process that ends waits for its answer, and leaves the rest: no event arrives twice."""
    path = tmp_path / "spool"
    followed = directory(path)
    followed.check()
    assert followed.follow()
    program = """
        import os, sys, time, counted

        handler = counted.handle(spool=sys.argv[1], flush_interval=0.01)
        counted.say(1)
        while not os.path.exists(sys.argv[2]):
            time.sleep(0.01)
        counted.say(2)
    """
    begun = tmp_path / "begun"
    collector.script(Answer(delay=1.0))
    with started(program, collector.url, arguments=[str(path), str(begun)]) as process:
        assert eventually(lambda: bool(collector.requests))
        begun.touch()
        ended = process.end(30.0)
    assert (ended.code, ended.err) == (0, "")
    assert numbers(collector) == [1]
    followed.unfollow()
    assert main(["spool", "drain", str(path), "--endpoint", collector.url]) == 0
    assert numbers(collector) == [1, 2]


def test_only_one_process_follows_a_directory(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A second one is an error that says so, and so is a drain that ends."""
    path = tmp_path / "spool"
    other = directory(path)
    other.check()
    assert other.follow()
    for options in (["--follow"], []):
        assert main(["spool", "drain", *options, str(path), "--endpoint", NOWHERE]) == 2
        assert f"sends what dead processes leave in '{path}'" in capfd.readouterr().err
    other.unfollow()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.touch(), "it is not a directory"),
        (lambda path: (path / "notes").mkdir(parents=True), "it contains other files ('notes')"),
        (lambda path: (leave(path), _other_keys(path)),
         "belongs to other keys than those in FSLOG_AUTH_KEY and FSLOG_API_KEY"),
    ],
)  # fmt: skip
def test_a_directory_that_cannot_be_followed(
    make: Callable[[Path], object],
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It is an invalid argument, and nothing is sent."""
    path = tmp_path / "spool"
    make(path)
    assert main(["spool", "drain", "--follow", str(path), "--endpoint", NOWHERE]) == 2
    assert message in capfd.readouterr().err


def _other_keys(path: Path) -> None:
    (path / "spool.json").write_text(json.dumps({"format": 1, "keys": digest()[::-1]}))


def test_a_directory_of_other_keys_is_taken_over(tmp_path: Path, collector: Collector) -> None:
    """With --take-over, as by a drain that ends."""
    path = tmp_path / "spool"
    leave(path, line(1))
    _other_keys(path)
    assert follow(path, collector.url, lambda: collector.events, "--take-over") == 0


def test_patience_is_for_a_drain_that_ends(capfd: pytest.CaptureFixture[str]) -> None:
    """The two options together are an error."""
    assert main(["spool", "drain", "--follow", "--patience", "3", "x"]) == 2
    assert "not allowed with argument --follow" in capfd.readouterr().err


@pytest.mark.slow
def test_short_lived_processes_beside_it(tmp_path: Path, collector: Collector) -> None:
    """Each event arrives once, in few bodies, whatever ends what.

    Processes end in order and by `os._exit`; the endpoint is down for some of them; the command is
    killed in the middle, and started again.
    """
    path = tmp_path / "spool"

    def jobs(*wanted: int) -> None:
        for number in wanted:
            end = "abruptly" if number % 2 else "in order"
            run(SHORT, collector.url, arguments=[str(path), str(number), end])

    with following(path, collector.url) as command:
        assert eventually(directory(path).is_followed)
        jobs(*range(6))
        assert collector.wait_for(6, timeout=60.0)
        collector.always(Answer(503))
        jobs(*range(6, 10))
        assert eventually(lambda: len(collector.requests) > 3, 60.0)
        command.send(signal.SIGKILL)
        assert "fails: it answers 503" in command.end(10.0).err
    collector.always(None)
    with following(path, collector.url) as command:
        assert collector.wait_for(10, timeout=60.0)
        command.send(signal.SIGTERM)
        ended = command.end(30.0)
    assert ended.code == 0, ended.err
    assert sorted(numbers(collector)) == list(range(10))
    delivered = [one for one in collector.requests if one.status == 200]
    assert len(delivered) <= 4
    assert read_contents(str(path)).owners == ()
