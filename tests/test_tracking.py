"""`track_time`: a handler derives the time of sessions and modules from the events it gets."""

from __future__ import annotations

import contextlib
import dis
import functools
import gc
import itertools
import logging
import logging.handlers
import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

import pytest

from fslog import FreshsuccessHandler, context, process
from fslog.collector import Answer, Collector
from fslog.delivery import tracking as tracking_module
from fslog.delivery.tracking import Tracking
from fslog.mapping import activity as activity_module
from fslog.testing import Capture
from fslog.testing.sink import Captured, CaptureSink
from processes import FORKING, run, started, waits
from waiting import eventually

START_MS = 1_760_000_000_000
"""In the past: the times of events are their own, so no test waits."""

Make = Callable[..., FreshsuccessHandler]


@pytest.fixture
def handler(collector: Collector) -> Iterator[Make]:
    """Make handlers on a logger of their own; at the end they are closed."""
    made: list[FreshsuccessHandler] = []

    def make(**given: Any) -> FreshsuccessHandler:
        made.append(FreshsuccessHandler(**{"track_time": True, "session": "none", **given}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def record(seconds: float, module: str = "home", user: str = "ann", **more: Any) -> Any:
    """Return a record of an event at a time."""
    event = {"module": module, "sessionId": "s", "createdAt": START_MS + seconds * 1000}
    ids = {"accountId": "acme", "userId": user, "action": "feature", "feature": "open"}
    return logging.makeLogRecord(
        {"name": "app", "levelno": 20, "event": {**ids, **event, **more}, "created": time.time()}
    )


def times(events: list[dict[str, Any]]) -> list[tuple[str, str, float]]:
    """Return user, module or `""`, and seconds of what was derived."""
    return [
        (
            one["userId"],
            one.get("module", ""),
            one["timeSpent" if one["action"] == "moduleEnd" else "activeDuration"] / 1000,
        )
        for one in events
        if one["action"] in ("moduleEnd", "sessionSync")
    ]


def test_what_is_derived_arrives(collector: Collector, handler: Make) -> None:
    """Behind the event that ended a module; a flush sends the time so far, `close` the rest."""
    made = handler()
    for at, module in (0, "home"), (20, "reports"), (50, "reports"):
        made.handle(record(at, module))
    assert made.flush(30)
    assert times(collector.events) == [("ann", "home", 20.0), ("ann", "", 50.0)]
    made.handle(record(60))
    made.close()
    assert times(collector.events)[2:] == [("ann", "reports", 40.0), ("ann", "", 60.0)]
    stats = made.stats()
    assert (stats.emitted, stats.derived, stats.accepted, stats.delivered) == (4, 4, 8, 8)
    assert collector.invalid == []


def test_it_is_off_by_default(collector: Collector, handler: Make) -> None:
    """Then nothing is derived, and log calls have their compiled encoders."""
    made = handler(track_time=False)
    for at in range(0, 1_000, 10):
        made.handle(record(at))
    assert made._tracking is None
    assert made._fast_line is made.formatter.fast_line
    made.close()
    assert times(collector.events) == []
    assert made.stats().derived == 0


def test_idle_after(collector: Collector, handler: Make) -> None:
    """A gap that is longer does not count."""
    made = handler(idle_after=15)
    for at in (0, 10, 30, 40):
        made.handle(record(at))
    made.close()
    assert times(collector.events)[-1] == ("ann", "", 20.0)


def test_the_properties_have_the_configured_names(collector: Collector, handler: Make) -> None:
    """Those that are derived, and that of a block, with or without `track_time`."""
    names = {"moduleEnd": "spent", "sessionSync": "active"}
    logger = logging.getLogger("fslog.events")
    for tracks in (True, False):
        made = handler(time_properties=names, track_time=tracks, session="window")
        clock = itertools.count(0.0, 5.0).__next__
        logger.addHandler(made)
        level = logger.level
        logger.setLevel(logging.INFO)
        try:
            with (
                context.bound(accountId="acme", userId="ann"),
                context.module("block", clock=clock),
            ):
                pass
        finally:
            logger.removeHandler(made)
            logger.setLevel(level)
        made.handle(record(0))
        made.handle(record(10))
        made.close()
        assert made.stats().invalid == 0
    found = [
        (one.get("module"), one.get("spent", one.get("active")))
        for one in collector.events
        if one["action"] != "feature"
    ]
    assert found == [("block", 5000), ("home", 10_000), (None, 10_000), ("block", 5000)]


def test_a_block_and_the_stream_together(collector: Collector, handler: Make) -> None:
    """A module that a block times is not derived as well; the session has the time of both."""
    made = handler()
    made.handle(record(0, "home"))
    made.handle(record(10, "editor"))
    made.handle(record(40, "editor", action="moduleEnd", timeSpent=30_000))
    made.handle(record(45, "home"))
    made.close()
    assert times(collector.events) == [
        ("ann", "home", 10.0),
        ("ann", "editor", 30.0),
        ("ann", "", 45.0),
    ]


def test_what_is_no_event_is_no_activity(collector: Collector, handler: Make) -> None:
    """Skipped and invalid records count no time."""
    made = handler()
    made.handle(record(0))
    made.handle(logging.makeLogRecord({"name": "app", "msg": "nothing"}))
    made.handle(record(100, userId=None))
    made.handle(record(200, createdAt="never"))
    made.close()
    assert times(collector.events) == []
    stats = made.stats()
    assert (stats.emitted, stats.skipped, stats.invalid, stats.accepted) == (4, 1, 2, 1)


def test_what_is_redacted_and_who_is_excluded(
    collector: Collector, handler: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Derived events have the ids that are sent; of an excluded user there are none."""
    monkeypatch.setenv("FSLOG_HASH_KEY", "a hash key of many characters: 0f3b97c1")
    made = handler(redact={"userId": "hash"}, excluded={"users": ["bob"]})
    for at in (0, 10):
        for user in ("ann", "bob"):
            made.handle(record(at, user=user))
    made.close()
    users = {one["userId"] for one in collector.events}
    assert len(users) == 1
    assert not users & {"ann", "bob"}
    assert [at for _, _, at in times(collector.events)] == [10.0, 10.0]
    stats = made.stats()
    assert (stats.emitted, stats.excluded, stats.derived, stats.accepted) == (4, 2, 2, 4)


def test_without_room_it_is_counted(collector: Collector, handler: Make) -> None:
    """What is derived may be refused like any event, and the numbers say so."""
    collector.script(*[Answer(503)] * 5)
    made = handler(buffer_bytes=2_000, batch_bytes=1_000)
    for at in range(0, 3_000, 10):
        made.handle(record(at, module=f"m{at % 20}"))
    stats = made.stats()
    assert stats.refused > 250
    assert stats.derived > 250
    assert stats.emitted == 300
    assert stats.emitted + stats.derived == stats.refused + stats.accepted
    assert made.flush(60)


def test_threads(collector: Collector, handler: Make) -> None:
    """Each user's times are exact, whatever threads log at once, and the numbers add up."""
    made = handler()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def work(user: str) -> None:
        for number in range(100):
            made.handle(record(number, f"m{number // 10 % 2}", user))

    threads = [threading.Thread(target=work, args=(f"user{number}",)) for number in range(8)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(before)
    made.close()
    found = times(collector.events)
    for number in range(8):
        theirs = [(module, at) for user, module, at in found if user == f"user{number}"]
        assert max(at for module, at in theirs if not module) == 99.0
        assert sum(at for module, at in theirs if module) == 99.0
    stats = made.stats()
    assert (stats.emitted, stats.derived) == (800, len(found))
    assert stats.accepted == stats.delivered == 800 + len(found)


def test_threads_of_one_user(collector: Collector, handler: Make) -> None:
    """Events of one session that overtake each other never add up to more than its time."""
    made = handler()

    def work(offset: int) -> None:
        for number in range(offset, 400, 4):
            made.handle(record(number, f"m{number % 3}"))

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    made.close()
    found = times(collector.events)
    assert max(at for _, module, at in found if not module) <= 399.0
    assert sum(at for _, module, at in found if module) <= 399.0


def test_a_handler_that_nobody_closes(collector: Collector, handler: Make) -> None:
    """What it has derived until it is collected arrives."""
    made = FreshsuccessHandler(track_time=True, session="none")
    made.handle(record(0))
    made.handle(record(10))
    del made
    gc.collect()
    collector.wait_for(4, 30)
    assert times(collector.events) == [("ann", "home", 10.0), ("ann", "", 10.0)]


def test_a_capture_has_its_own(collector: Collector, handler: Make, freshsuccess: Capture) -> None:
    """In a test, what is derived from the captured events is captured, and nothing else."""
    made = handler()
    made.handle(record(0))
    made.handle(record(30, "reports"))
    made.flush()
    assert times(freshsuccess.events) == [("ann", "home", 30.0), ("ann", "", 30.0)]
    assert collector.events == []


def test_a_relay_of_the_standard_library(collector: Collector, handler: Make) -> None:
    """One process that gets the records of several by sockets sees all of a user's events."""
    made, sender = handler(), logging.handlers.SocketHandler("127.0.0.1", 9)
    for at, module in (0, "home"), (20, "reports"), (50, "reports"):
        sent = sender.makePickle(record(at, module))
        made.handle(logging.makeLogRecord(pickle.loads(sent[4:])))
    made.close()
    assert times(collector.events) == [
        ("ann", "home", 20.0),
        ("ann", "reports", 30.0),
        ("ann", "", 50.0),
    ]


# A call inside a call, and exceptions in the middle


@pytest.fixture
def captured() -> Captured:
    return Captured()


@pytest.fixture
def tracked(captured: Captured) -> Tracking:
    names = {"sessionSync": "activeDuration", "moduleEnd": "timeSpent"}
    return Tracking(CaptureSink(captured), idle_after=300.0, properties=names)


class Hostile(dict[str, Any]):
    """An event; the first question for its action does something."""

    does: Callable[[], object] | None = None

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value."""
        if key == "action" and self.does is not None:
            does, self.does = self.does, None
            does()
        return super().get(key, default)


def event(seconds: float, module: str = "home") -> dict[str, Any]:
    found: dict[str, Any] = record(seconds, module).event
    return found


@pytest.mark.parametrize("inner", ["observe", "sync", "finish"])
def test_a_call_inside_a_call(inner: str, captured: Captured, tracked: Tracking) -> None:
    """It waits for nothing: its step is done after the one that it has interrupted."""
    tracked.observe(event(0))
    outer = Hostile(event(10))
    outer.does = {
        "observe": lambda: tracked.observe(event(20, "reports")),
        "sync": tracked.sync,
        "finish": tracked.finish,
    }[inner]
    tracked.observe(outer)
    assert (
        times(captured.events())
        == {
            "observe": [("ann", "home", 20.0)],
            "sync": [("ann", "", 10.0)],
            "finish": [("ann", "home", 10.0), ("ann", "", 10.0)],
        }[inner]
    )


def test_the_end_of_the_process_inside_a_call(
    captured: Captured, tracked: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal that ends the process does not go on with the interrupted call: all ends at once."""
    tracked.observe(event(0))
    tracked.observe(event(10))
    outer = Hostile(event(20))
    found: list[Any] = []

    def end() -> None:
        monkeypatch.setattr(process, "is_finishing", lambda: True)
        tracked.finish()
        found.extend(times(captured.events()))

    outer.does = end
    with contextlib.suppress(KeyError):
        tracked.observe(outer)
    assert found == [("ann", "home", 10.0), ("ann", "", 10.0)]
    tracked.observe(event(30))
    tracked.finish()
    assert times(captured.events()) == found


class Interrupt(BaseException):
    """What a signal handler raises."""


@functools.cache
def places(code: CodeType) -> frozenset[int]:
    """Return the instructions before which the interpreter may call a signal handler."""
    found, before = set(), ""
    for one in dis.get_instructions(code):
        if before.startswith(("CALL", "RESUME", "BEFORE_WITH", "JUMP_BACKWARD")):
            found.add(one.offset)
        before = one.opname
    return frozenset(found)


def interrupted(call: Callable[[], object], step: int) -> bool:
    """Call a function, and raise at one of the places of what is tested here.

    Returns:
        Whether there were so many places.
    """
    files = {tracking_module.__file__, activity_module.__file__}
    left = [step]

    def trace(frame: FrameType, what: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        frame.f_trace_opcodes = True
        if what == "opcode" and frame.f_lasti in places(frame.f_code):
            left[0] -= 1
            if left[0] == 0:
                sys.settrace(None)
                raise Interrupt
        return trace

    before = sys.gettrace()
    try:
        sys._getframe().f_trace_opcodes = True  # or 3.12 would trace none
        sys.settrace(trace)
        call()
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="calls end otherwise: test_interruptions")
def test_an_exception_at_any_instruction(captured: Captured) -> None:
    """What a signal handler raises is lost with at most one step; later events count as ever."""
    names = {"sessionSync": "activeDuration", "moduleEnd": "timeSpent"}
    step, goes_on = 0, True
    while goes_on:
        step += 1
        captured.clear()
        sink = CaptureSink(captured)
        tracked = Tracking(sink, idle_after=300.0, properties=names)
        tracked.observe(event(0, "home"))
        goes_on = interrupted(lambda made=tracked: made.observe(event(70, "reports")), step)  # type: ignore[misc]
        tracked.observe(event(80, "reports"))
        tracked.observe(event(100, "editor"))
        tracked.finish()
        found = times(captured.events())
        synced = [at for _, module, at in found if not module]
        spent = [at for _, module, at in found if module]
        # The gap until the interrupted event may be missing, or what was derived then.
        assert synced[-1] in (100.0, 30.0), (step, found)
        assert sum(spent) <= synced[-1], (step, found)
        assert 20.0 in spent or 30.0 in spent, (step, found)
        assert not tracked._lock._is_owned()  # type: ignore[attr-defined]
        assert not tracked._is_inside
    assert step > 50
    assert sum(spent) == synced[-1] == 100.0


# Processes

TRACKED = """
    import os
    import signal
    from counted import *

    START_MS = 1_760_000_000_000

    def use(seconds, module="home", user="ann"):
        log.info("used", extra={"event": {
            "accountId": "acme", "userId": user, "action": "feature", "feature": "open",
            "module": module, "sessionId": "s", "createdAt": START_MS + seconds * 1000,
        }})

    handler = handle(track_time=True, session="none")
    """


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ("pass", 0),
        ("sys.exit(3)", 3),
        ("raise SystemExit", 0),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -signal.SIGTERM),
        ("logging.shutdown()", 0),
        ("assert handler.flush(20)", 0),
        ("del handler; log.handlers.clear()", 0),
    ],
)
def test_the_end_of_a_process_sends_the_last_parts(ends: str, code: int) -> None:
    """However it ends, if Python runs anything then."""
    program = f"{TRACKED}\n    use(0)\n    use(25)\n    use(40, 'reports')\n    {ends}\n"
    with Collector() as collector:
        run(program, collector.url, code=code)
        found = times(collector.events)
    assert found[0] == ("ann", "home", 40.0)
    assert found[-1] == ("ann", "", 40.0)


FORKED = """
    use(0)
    use(20)
    if child := FORK():
        assert os.waitpid(child, 0)[1] == 0
        use(30)
    else:
        use(40, user="bob")
        use(45, user="bob")
        CHILD
    """

RAW = "(lambda: __import__('ctypes').PyDLL(None).fork())"


@pytest.mark.slow
@pytest.mark.parametrize("fork", ["os.fork", RAW], ids=["", "without hooks"])
@pytest.mark.parametrize("child", ["sys.exit(0)", "handler.close(); os._exit(0)"])
def test_a_child_has_none_of_its_parent_s_time(fork: str, child: str) -> None:
    """Each process sends what its own events say, once, with and without Python's hooks."""
    program = TRACKED + FORKED.replace("FORK", fork).replace("CHILD", child)
    if fork == RAW:  # the listener's thread must not be about to run: see tests/test_fork.py
        program = program.replace(
            "if child", "assert handler.flush(20); time.sleep(0.3)\n    if child"
        )
    with Collector() as collector:
        run(program, collector.url, flags=FORKING)
        found = times(collector.events)
    ann = [(module, at) for user, module, at in found if user == "ann"]
    bob = [(module, at) for user, module, at in found if user == "bob"]
    assert [at for module, at in ann if module] == [30.0]
    assert max(at for module, at in ann if not module) == 30.0
    assert bob == [("home", 5.0), ("", 5.0)]


@pytest.mark.slow
def test_forks_amid_the_log_calls_of_threads() -> None:
    """Fifty children of a process whose threads log have their own times, and none of its."""
    program = f"""{TRACKED}
    import threading

    ends = threading.Event()

    def work(number):
        at = 0
        while not ends.is_set():
            at += 1
            use(at, f"m{{at // 90}}", user=f"thread{{number}}")
        use(at + 1, "last", user=f"thread{{number}}")
        tell(**{{f"thread{{number}}": at + 1}})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for number in range(50):
        if child := os.fork():
            assert os.waitpid(child, 0)[1] == 0
        else:
            use(0, user=f"child{{number}}")
            use(5, user=f"child{{number}}")
            handler.close()
            os._exit(0)
    ends.set()
    for thread in threads:
        thread.join()
    """
    with Collector() as collector:
        facts = run(program, collector.url, flags=FORKING).facts
        found = times(collector.events)
    for number in range(50):
        theirs = [(module, at) for user, module, at in found if user == f"child{number}"]
        assert theirs == [("home", 5.0), ("", 5.0)]
    for number in range(3):
        theirs = [(module, at) for user, module, at in found if user == f"thread{number}"]
        synced = [at for module, at in theirs if not module]
        assert synced == sorted(set(synced))
        assert synced[-1] == sum(at for module, at in theirs if module)
        assert synced[-1] == facts[f"thread{number}"] - 1


@pytest.mark.slow
def test_a_killed_process_with_a_spool_loses_less_than_an_interval(tmp_path: Any) -> None:
    """`kill -9`: the session's time arrives with another process, but for less than 60 seconds."""
    spool = tmp_path / "spool"
    program = TRACKED.replace("track_time=True", f"track_time=True, spool={str(spool)!r}")
    lives = f"{program}\n    for at in range(0, 1_000, 7):\n        use(at)\n    tell(used=at)\n"
    with Collector() as collector:
        with started(f"{lives}    time.sleep(60)\n", "http://127.0.0.1:9") as victim:
            waits(victim, "used")
            victim.send(signal.SIGKILL)
            assert victim.end(30).code == -signal.SIGKILL
        run(f"{program}\n    use(0, user='bob')\n", collector.url)
        found = times(collector.events)
    synced = max(at for user, module, at in found if user == "ann" and not module)
    assert 994 - 60 < synced <= 994


APP = """
    import logging

    log = logging.getLogger("app")
    log.info("imported", extra={"event": {
        "accountId": "acme", "userId": "master", "action": "feature", "feature": "open",
        "module": "home", "sessionId": "m", "createdAt": 1_760_000_000_000,
    }})

    def app(environ, start_response):
        number = int(environ["QUERY_STRING"])
        log.info("used", extra={"event": {
            "accountId": "acme", "userId": "ann", "action": "feature", "feature": "open",
            "module": "home", "sessionId": "s", "createdAt": 1_760_000_000_000 + number * 10_000,
            "pid": __import__("os").getpid(),
        }})
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
    """

GUNICORN = """
    logconfig_dict = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {},
        "handlers": {
            "console": {"class": "logging.StreamHandler"},
            "events": {
                "class": "fslog.FreshsuccessHandler", "track_time": True, "shutdown_timeout": 20,
            },
        },
        "root": {"level": "INFO", "handlers": ["console"]},
        "loggers": {"app": {"level": "INFO", "handlers": ["events"]}},
    }
    """


@pytest.mark.slow
def test_workers_of_a_preloaded_application() -> None:
    """Each of gunicorn's two sends its own part at its end, and the master none of theirs.

    Their parts are at most the session's time each.
    """
    pytest.importorskip("gunicorn")
    requests = 40
    with (
        Collector() as collector,
        started(
            "",
            collector.url,
            flags=["-X", "faulthandler", "-m", "gunicorn"],
            arguments=[
                *("--bind", "unix:socket", "--no-control-socket"),
                *("--preload", "--workers", "2", "app:app"),
            ],
            files={"app.py": APP, "gunicorn.conf.py": GUNICORN},
        ) as server,
    ):
        assert eventually(lambda: server.written("err").count("Booting worker") == 2, 60)
        for number in range(requests):
            with socket.socket(socket.AF_UNIX) as conn:
                conn.settimeout(20)
                conn.connect(str(server.where / "socket"))
                conn.sendall(f"GET /?{number} HTTP/1.0\r\nHost: test\r\n\r\n".encode())
                assert b"".join(iter(lambda c=conn: c.recv(4096), b"")).endswith(b"ok")  # type: ignore[misc]
        server.send(signal.SIGTERM)
        assert server.end(60).code == 0
        events = collector.events
    by_process: dict[int, list[int]] = {}
    for one in events:
        if "pid" in one:
            number = (one["createdAt"] - START_MS) // 10_000
            by_process.setdefault(one["pid"], []).append(number)
    assert sum(map(len, by_process.values())) == requests
    passed = [(max(seen) - min(seen)) * 10.0 for seen in by_process.values()]
    spent = [at for _, module, at in times(events) if module]
    assert sorted(spent) == sorted(filter(None, passed))
    synced = [at for _, module, at in times(events) if not module]
    assert max(synced) == max(passed) <= (requests - 1) * 10.0
    assert {user for user, _, _ in times(events)} == {"ann"}
