"""Full, read-only and removed disks, clocks that are set back, and backlogs of any length."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from fslog import FreshsuccessHandler
from fslog.collector import Answer, Collector
from fslog.spool.segments import SegmentName
from processes import KEYS, Ended, numbers, run, said, started, waits

FIXTURE = Path(__file__).resolve().parent.parent / "fixtures" / "spool-format-1"
CLOSED = "http://127.0.0.1:9"
"""The discard port, on which nothing listens."""


def files(spool: Path) -> list[str]:
    """Return the names of all segments."""
    return sorted(path.name for path in spool.glob("*.ndjson"))


def handler(spool: Path, endpoint: str, **settings: object) -> FreshsuccessHandler:
    """Return a handler as a configuration would create it."""
    return FreshsuccessHandler(
        auth_key=KEYS[0],
        api_key=KEYS[1],
        endpoint=endpoint,
        spool=spool,
        **settings,  # type: ignore[arg-type]
    )


def line(number: int, source: str = "main") -> bytes:
    """Return the line of an event."""
    event = {"accountId": "a", "userId": "u", "action": "counted", "sessionId": "s"}
    event |= {"createdAt": 1_790_000_000_000, "number": number, "source": source}  # type: ignore[dict-item]
    return json.dumps(event).encode() + b"\n"


def drain(spool: Path, *, seconds: float = 30.0, **settings: object) -> list[tuple[str, int]]:
    """Return what a new process's handler adopts and delivers, in order of arrival."""
    with Collector() as collector:
        found = handler(spool, collector.url, **settings)
        assert found.flush(seconds)
        found.close()
        return said(collector)


IN_A_SMALL_FILE_SYSTEM = """
    import subprocess
    import sys
    # In its own mount namespace, which needs no privileges.
    script = 'mount -t tmpfs -o size=64k tmpfs spool && exec "$0" -X dev -W error inner.py'
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    sys.exit(subprocess.call(["mkdir", "spool"]) or subprocess.call(
        [*unshare, "sh", "-c", script, sys.executable]
    ))
    """


def through_an_outage(program: str, fact: str, **options: Any) -> tuple[Ended, list[int]]:
    """Run a program with the endpoint down until the program reports a fact, and then up.

    Returns:
        How the program ended, with exit code 0, and the numbers that arrived, in order.
    """
    with Collector() as collector:
        collector.always(Answer(503))
        with started(program, collector.url, **options) as process:
            waits(process, fact)
            collector.always(None)
            ended = process.end(40)
        assert ended.code == 0, ended.err
        return ended, numbers(collector)


@pytest.mark.needs("namespaces")
def test_a_full_disk_does_not_affect_the_application() -> None:
    """With `spool_min_free=0` events continue in memory, one notice says so, and all arrive."""
    inner = """
    import logging
    from counted import *
    logging.getLogger("fslog").addHandler(logging.StreamHandler(sys.stderr))
    logging.getLogger("fslog").setLevel("INFO")
    handler = handle(
        spool="spool", spool_min_free=0, batch_events=50, flush_interval=0.1, max_backoff=0.2
    )
    for number in range(2000):
        say(number)
    stats = handler.stats()
    assert (stats.accepted, stats.refused) == (2000, 0), stats
    assert 30_000 < stats.spool_bytes <= 65_536, stats
    tell(full=stats.spool_bytes)
    assert handler.flush(20), handler.stats()
    say(2000)
    assert handler.stats().spool_segments == 1
    assert handler.flush(20), handler.stats()
    assert balance(handler) == {"accepted": 2001, "delivered": 2001, "abandoned": 0}
    """
    files = {"inner.py": inner}
    ended, arrived = through_an_outage(IN_A_SMALL_FILE_SYSTEM, "full", files=files)
    assert arrived == list(range(2001))
    words = ended.err.splitlines()
    # The disk is full at the end of a line, or in the middle of one.
    why = "the spool cannot be written: (No space left on device|only a part of a line was written)"
    assert sum(re.search(why, word) is not None for word in words) == 1
    assert sum("the spool can be written again" in w for w in words) == 1


@pytest.mark.slow
@pytest.mark.needs("namespaces")
def test_the_application_s_disk_is_not_filled() -> None:
    """Events are refused, counted and explained while little is free, and accepted after that.

    What was accepted arrives; of each change one notice tells, the first before any log call.
    """
    inner = """
    import logging, os, time
    from counted import *
    logging.getLogger("fslog").addHandler(logging.StreamHandler(sys.stderr))
    logging.getLogger("fslog").setLevel("INFO")
    def fill(left):
        with open("spool/.filler", "ab", buffering=0) as filler:
            while (found := os.statvfs("spool")).f_bavail * found.f_frsize > left:
                filler.write(bytes(4096))
    def until(is_true):
        deadline = time.monotonic() + 30
        while not is_true():
            assert time.monotonic() < deadline, handler.stats()
            time.sleep(0.01)
    heard, problems = [], []
    listening = logging.Handler()
    listening.emit = lambda record: heard.append(record.getMessage())
    logging.getLogger("fslog").addHandler(listening)
    free = 20_000
    fill(8_000)
    given = dict(spool="spool", spool_min_free=free, batch_bytes=4096, max_backoff=0.2)
    handler = handle(flush_interval=0.1, on_problem=problems.append, **given)
    until(lambda: any("new events are refused" in text for text in heard))
    assert handler.stats().emitted == 0
    say(0)
    assert (handler.stats().refused, handler.stats().accepted) == (1, 0)
    assert [problem.code for problem in problems] == ["refused"]
    assert f"less than spool_min_free ({free} bytes)" in problems[0].message
    os.unlink("spool/.filler")
    time.sleep(0.06)
    for number in range(1, 1000):
        say(number)
    stats = handler.stats()
    assert stats.refused > 1 < stats.accepted and stats.pending == stats.accepted, stats
    found = os.statvfs("spool")
    # Below the limit by less than a batch, and a page for each of its files.
    assert free - 4096 * 3 <= found.f_bavail * found.f_frsize, found
    tell(full=stats.accepted)
    until(lambda: handler.flush(1))
    until(lambda: "the spool's file system has room again: events are accepted" in heard)
    say(1000)
    until(lambda: handler.flush(1))
    assert sum("new events are refused" in text for text in heard) <= 2, heard
    tell(accepted=handler.stats().accepted)
    balance(handler)
    """
    files = {"inner.py": inner}
    ended, arrived = through_an_outage(IN_A_SMALL_FILE_SYSTEM, "full", files=files)
    assert arrived == [*range(1, ended.facts["full"] + 1), 1000]


@pytest.mark.slow
def test_a_file_size_limit_tears_no_line() -> None:
    """If the system writes only a part of a line, the whole line is sent all the same."""
    program = """
    import resource
    from counted import *
    handler = handle(spool="spool", flush_interval=0.05, max_backoff=0.2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
    for number in range(100):
        say(number)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    tell(logged=100)
    assert handler.flush(20), handler.stats()
    assert balance(handler) == {"accepted": 100, "delivered": 100, "abandoned": 0}
    assert handler.stats().spool_segments == 0
    import os
    assert sorted(os.listdir("spool")) == ["owners", "spool.json"]
    """
    ended, arrived = through_an_outage(program, "logged")
    assert arrived == list(range(100))
    assert ended.err.count("the spool cannot be written: only a part of a line") == 1


AS_NOBODY = """
    import os
    import fslog.handler  # first: the interpreter's files may be unreadable afterwards
    from counted import *
    os.mkdir("mine")
    if os.geteuid() == 0:
        os.chmod(".", 0o755)
        os.chown("mine", 65534, 65534)
        os.setegid(65534)
        os.seteuid(65534)
    """


def test_a_read_only_directory_is_an_error_at_construction() -> None:
    """A directory that is not writable is refused when the configuration is loaded."""
    program = f"""{AS_NOBODY}
    os.chmod("mine", 0o500)
    for place in ("mine/spool", "mine"):
        try:
            handle(spool=place, endpoint="http://127.0.0.1:9")
        except ValueError as error:
            tell(**{{place: str(error)}})
    assert not log.handlers
    """
    ended = run(program, CLOSED)
    assert "Permission denied" in ended.facts["mine/spool"]
    assert "Permission denied" in ended.facts["mine"]


@pytest.mark.slow
def test_a_lower_limit_than_what_waits(tmp_path: Path) -> None:
    """A restart with a lower `spool_max_bytes` begins, refuses new events, and delivers the old.

    From when there is room within the new limit, events are accepted.
    """
    program = """
    import os
    from counted import *
    first, limit, count = map(int, sys.argv[2:])
    given = dict(spool=sys.argv[1], spool_max_bytes=limit, batch_events=50, max_backoff=0.2)
    handler = handle(flush_interval=30, **given)
    for number in range(first, first + count):
        say(number)
    stats = handler.stats()
    tell(accepted=stats.accepted, refused=stats.refused, waits=stats.spool_bytes)
    if limit < 10**6:
        while handler.stats().spool_bytes:  # a flush does not wait for what is not adopted yet
            assert handler.flush(30), handler.stats()
        while not handler.stats().accepted:  # the room is free a moment after the file is gone
            say(first + count)
        assert handler.flush(30), handler.stats()
        stats = handler.stats()
        assert stats.accepted + stats.adopted == stats.delivered, stats
        tell(after=stats.accepted, delivered=stats.delivered)
    else:
        os._exit(0)
    """
    with Collector() as collector:
        collector.always(Answer(503))
        spool = str(tmp_path / "spool")
        before = run(program, collector.url, arguments=[spool, "0", "10000000", "300"], err=None)
        assert before.facts["accepted"] == 300
        limit = before.facts["waits"] // 3
        arguments = [spool, "300", str(limit), "10"]
        with started(program, collector.url, arguments=arguments) as process:
            waits(process, "refused")
            collector.always(None)
            after = process.end(40)
        assert after.code == 0, after.err
        assert after.facts["refused"] == 10
        assert after.facts["waits"] == before.facts["waits"]
        assert (after.facts["after"], after.facts["delivered"]) == (1, 301)
        assert numbers(collector) == [*range(300), 310]


@pytest.mark.slow
def test_a_directory_that_becomes_read_only() -> None:
    """New events continue in memory; those on disk are delivered, too."""
    program = f"""{AS_NOBODY}
    handler = handle(spool="mine/spool", flush_interval=0.05, max_backoff=0.1)
    say(0)
    os.chmod("mine/spool", 0o500)
    handler.flush(0)
    for number in range(1, 50):
        say(number)
    tell(logged=50)
    assert handler.flush(20), handler.stats()
    os.chmod("mine/spool", 0o700)
    say(50)
    assert handler.stats().spool_segments
    assert handler.flush(20), handler.stats()
    assert balance(handler) == {{"accepted": 51, "delivered": 51, "abandoned": 0}}
    """
    ended, arrived = through_an_outage(program, "logged")
    assert arrived == list(range(51))
    assert ended.err.count("the spool cannot be written: Permission denied") == 1


@pytest.mark.slow
def test_a_removed_directory_is_created_again() -> None:
    """The open segment is read back from its descriptor; later events are in files again."""
    program = """
    import os
    import shutil
    from counted import *
    handler = handle(spool="spool", flush_interval=60, max_backoff=0.1)
    for number in range(10):
        say(number)
    shutil.rmtree("spool")
    for number in range(10, 20):
        say(number)
    handler.flush(0)
    for number in range(20, 30):
        say(number)
    assert handler.stats().spool_segments == 1
    assert (os.stat("spool").st_mode & 0o777, len(os.listdir("spool/owners"))) == (0o700, 1)
    tell(logged=30)
    assert handler.flush(20), handler.stats()
    assert balance(handler) == {"accepted": 30, "delivered": 30, "abandoned": 0}
    """
    ended, arrived = through_an_outage(program, "logged")
    assert "spool" not in ended.err
    assert arrived == list(range(30))


def test_removed_segments_are_abandoned() -> None:
    """Sealed segments that somebody removes are counted, reported once and not retried."""
    program = """
    import shutil
    from counted import *
    handler = handle(spool="spool", batch_events=10, batch_bytes=2_000, max_backoff=0.1)
    for number in range(40):
        say(number)
    shutil.rmtree("spool")
    say(40)
    tell(logged=41)
    assert handler.flush(20), handler.stats()
    assert balance(handler)["accepted"] == 41
    tell(**balance(handler))
    """
    ended, arrived = through_an_outage(program, "logged")
    # The segment that had been read when it was removed is delivered; any of them may be the first.
    assert arrived in ([40], *([*range(n, n + 10), 40] for n in (0, 10, 20, 30))), arrived
    assert ended.facts["abandoned"] == 41 - len(arrived)
    assert ended.err.count("a segment of the spool cannot be read: somebody removed it") == 1


@pytest.mark.slow
def test_order_does_not_depend_on_the_clock() -> None:
    """The clock is set back an hour between two processes; the earlier one's events go first."""
    program = """
    import os
    import time
    from counted import *
    if len(sys.argv) > 2:
        real = time.time
        time.time = lambda: real() - float(sys.argv[2])
    handler = handle(spool=sys.argv[1], endpoint="http://127.0.0.1:9", batch_events=3)
    for number in range(10):
        say(number, source=str(sys.argv[2:]))
    os._exit(0)
    """
    with tempfile.TemporaryDirectory() as place:
        spool = Path(place) / "spool"
        run(program, CLOSED, arguments=[str(spool)])
        for path in spool.glob("*.ndjson"):
            os.utime(path, (time.time() + 600, time.time() + 600))
        # Both processes are dead by now, but the second would adopt the first one's segments.
        with (spool / "owners" / os.listdir(spool / "owners")[0]).open() as living:
            fcntl.flock(living, fcntl.LOCK_EX)
            run(program, CLOSED, arguments=[str(spool), "3600"])
        arrived = drain(spool)
    first = [("[]", number) for number in range(10)]
    assert arrived == [*first, *(("['3600']", number) for number in range(10))]


@pytest.mark.chaos
@pytest.mark.timeout(700)
def test_a_hundred_thousand_segments_wait_at_the_start(tmp_path: Path) -> None:
    """A backlog of 100,000 files delays no log call, needs little memory and arrives in order."""
    spool = tmp_path / "spool"
    spool.mkdir(mode=0o700)
    for number in range(100_000):
        path = spool / str(SegmentName("00000001-00000001", number + 1))
        path.write_bytes(line(number, "old"))
    program = """
    import resource
    from counted import *
    log.addHandler(logging.NullHandler())
    began_at = time.thread_time()
    handler = handle(spool=sys.argv[1], flush_interval=0.1)
    tell(construction=time.thread_time() - began_at)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    slowest = 0.0
    for number in range(100):
        began_at = time.monotonic()
        say(number)
        slowest = max(slowest, time.monotonic() - began_at)
    assert handler.flush(500), handler.stats()
    stats = handler.stats()
    assert (stats.adopted, stats.delivered, stats.pending) == (100_000, 100_100, 0), stats
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    tell(slowest=slowest, grown=grown, batches=stats.batches, segments=stats.spool_segments)
    """
    with Collector() as collector:
        ended = run(
            program.replace("import resource", "import logging, resource"),
            collector.url,
            arguments=[str(spool)],
            deadline=600,
            err=None,
        )
        assert numbers(collector, "old") == list(range(100_000))
        assert numbers(collector) == list(range(100))
    facts = ended.facts
    assert facts["construction"] < 4.0  # CPU seconds: other tests run beside this one
    assert facts["slowest"] < 1.0
    assert facts["grown"] < 40_000  # KiB
    assert facts["batches"] < 100
    assert facts["segments"] == 0
    assert files(spool) == []


@pytest.mark.slow
def test_memory_does_not_grow_in_an_outage() -> None:
    """Events on disk are not held in memory, too: 200,000 more need no more of it."""
    program = """
    import resource
    from counted import *
    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    handler = handle(spool="spool", shutdown_timeout=0, max_backoff=0.2)
    for number in range(20_000):
        say(number)
    before = peak()
    for number in range(200_000):
        say(number)
    tell(grown=peak() - before, pending=handler.stats().pending)
    """
    ended = run(program, CLOSED, err=None, deadline=60)
    assert ended.facts["pending"] == 220_000
    assert ended.facts["grown"] < 10_000  # KiB
    assert "abandoned " not in ended.err


def test_a_spool_of_format_1_can_be_read(tmp_path: Path) -> None:
    """A directory that a killed process of version 0.1 left is drained by this version."""
    spool = tmp_path / "spool"
    shutil.copytree(FIXTURE, spool)
    arrived = drain(spool)
    first, second = arrived[:25], arrived[25:]
    assert first == [("first", number) for number in range(25)]
    assert second == [("second", number) for number in range(5)]
    assert files(spool) == []
    assert [path.read_text() for path in (spool / "quarantine").glob("*.reason")] == [
        "the line is torn: its newline is missing\n"
    ]
