"""Sink overrides: events are captured meanwhile, and those accepted before are delivered."""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fslog.handler
from fslog import FreshsuccessHandler, capture, flush, process
from fslog.capture import Sink, SinkOverride
from fslog.collector import Answer, Collector
from fslog.net.destination import Destination
from fslog.testing.sink import Captured, CaptureSink
from processes import run, said
from waiting import eventually

KEYS = {"auth_key": "auth-s3cret-0123456789", "api_key": "api-s3cret-9876543210"}

Make = Callable[..., FreshsuccessHandler]


class Override(SinkOverride):
    """An override as a `with` block, with the lines that its sinks captured."""

    def __init__(self, url: str = "http://127.0.0.1:9") -> None:
        self.captured = Captured()
        super().__init__(
            Destination(url, "auth-of-capture", "api-of-capture"),
            lambda is_forked: CaptureSink(self.captured),
        )

    def __enter__(self) -> Override:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def numbers(self) -> list[int]:
        """Return the numbers of the captured events."""
        return [event["number"] for event in self.captured.events()]


def numbers(collector: Collector) -> list[int]:
    """Return the numbers of the events at the endpoint."""
    assert collector.invalid == []
    return [event["number"] for event in collector.events]


@pytest.fixture
def endpoint() -> Iterator[Collector]:
    """Return the endpoint of the handlers themselves."""
    with Collector() as running:
        yield running


@pytest.fixture
def make(endpoint: Collector) -> Iterator[Make]:
    """Make handlers for the endpoint; check that all is delivered and every thread ends."""
    before = set(threading.enumerate())
    made: list[FreshsuccessHandler] = []

    def make(**given: Any) -> FreshsuccessHandler:
        made.append(FreshsuccessHandler(**{**KEYS, "endpoint": endpoint.url, **given}))
        return made[-1]

    yield make
    while (left := capture.override()) is not None:
        left.stop()
    endpoint.always(None)
    for handler in made:
        assert handler.flush(10)
        handler.close()
    for thread in set(threading.enumerate()) - before:
        if thread.name == "fslog":
            thread.join(10)
            assert not thread.is_alive()


def say(handler: FreshsuccessHandler, number: int, **extra: Any) -> None:
    """Log one event, as a log call does."""
    extra = {"accountId": "a", "userId": "u", "action": "counted", "number": number, **extra}
    logger = logging.Logger("app")
    logger.addHandler(handler)
    logger.info("said", extra=extra)


class Moment:
    """Record which log calls began and ended between the same two changes."""

    def __init__(self) -> None:
        self.now = ""
        self._numbers: dict[str, list[int]] = {}

    @contextlib.contextmanager
    def change(self, after: str) -> Iterator[None]:
        """Make a change; calls during it belong to no moment."""
        self.now = ""
        yield
        self.now = after

    def passed(self, before: str, number: int) -> None:
        """Record a log call."""
        if before and before == self.now:
            self._numbers.setdefault(before, []).append(number)

    def of(self, kind: str) -> set[int]:
        """Return the log calls of all moments of a kind."""
        lists = [numbers for name, numbers in self._numbers.copy().items() if kind in name]
        return {number for numbers in lists for number in numbers.copy()}


def files(where: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return all files of a directory."""
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size, path.read_bytes())
        for path in where.rglob("*")
        if path.is_file()
    }


def test_each_event_has_one_sink(endpoint: Collector, make: Make, tmp_path: Path) -> None:
    """Before and after a capture events go to the endpoint; meanwhile they do not, in order."""
    handler = make(flush_interval=600, spool=tmp_path / "spool")  # in which an event waits
    say(handler, 1)
    with Override() as override:
        say(handler, 2)
        say(handler, 3)
        assert handler.flush()
        assert flush()
        assert override.numbers() == [2, 3]
        assert endpoint.requests == []
    say(handler, 4)
    assert handler.flush(10)
    assert numbers(endpoint) == [1, 4]
    assert override.numbers() == [2, 3]


def test_the_lines_of_compiled_encoders_are_captured(endpoint: Collector, make: Make) -> None:
    """A line of the fast path has the same sink."""
    handler = make()
    for number in range(4):
        say(handler, number)
        assert handler.flush(10)
    assert handler.formatter.encoders.encoders
    with Override() as override:
        say(handler, 4)
        say(handler, 5, more=1)
    assert override.numbers() == [4, 5]
    assert numbers(endpoint) == [0, 1, 2, 3]


def test_waiting_events_are_delivered_meanwhile(endpoint: Collector, make: Make) -> None:
    """Events that an outage held back reach the endpoint during a capture."""
    endpoint.always(Answer(503))
    handler = make(max_backoff=0.05)
    say(handler, 1)
    handler.flush(0)
    endpoint.wait_for_requests(2)
    with Override() as override:
        say(handler, 2)
        endpoint.always(None)
        endpoint.wait_for(1)
        assert override.numbers() == [2]
    assert numbers(endpoint) == [1]


def test_the_numbers_are_those_of_the_sink(endpoint: Collector, make: Make) -> None:
    """`stats()` counts the captured events meanwhile, and the handler's own before and after."""
    handler = make()
    say(handler, 1)
    assert handler.flush(10)
    before = handler.stats()
    with Override() as override:
        say(handler, 2)
        say(handler, 3, userId="")
        handler.handle(logging.makeLogRecord({}))
        meanwhile = handler.stats()
    counted = (meanwhile.emitted, meanwhile.accepted, meanwhile.invalid, meanwhile.skipped)
    assert counted == (3, 1, 1, 1)
    assert (meanwhile.delivered, meanwhile.pending) == (1, 0)
    assert handler.stats() == before
    assert (override.stats().emitted, override.stats().skipped) == (3, 1)


def test_a_disabled_handler_is_enabled_meanwhile(endpoint: Collector, make: Make) -> None:
    """A disabled handler accepts events during a capture, and none before or after."""
    handler = make(enabled=False, auth_key=None, api_key=None)
    blank = handler.stats()
    say(handler, 1)
    with Override() as override:
        say(handler, 2)
        assert handler.stats().accepted == 1
    say(handler, 3)
    handler.handle(logging.makeLogRecord({}))
    assert handler.flush()
    assert override.stats().emitted == 1
    assert override.numbers() == [2]
    assert handler.stats() == blank
    assert endpoint.requests == []


def test_a_log_call_in_progress_is_captured(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that is disabled again delivers nothing, not even what it was just accepting."""
    handler, override = make(enabled=False), Override()

    def end() -> None:  # as another thread may, after the handler has checked that it is enabled
        override.stop()

    override.start()
    monkeypatch.setattr(fslog.handler, "active_redactor", end)
    say(handler, 1)
    assert capture.override() is None
    assert override.numbers() == [1]
    assert handler.stats().emitted == 0


def test_a_handler_created_meanwhile_belongs_to_the_capture(
    endpoint: Collector, make: Make, tmp_path: Path
) -> None:
    """A handler created during a capture accepts nothing after it, until the next one.

    Its spool is neither created nor read.
    """
    spool = tmp_path / "spool"
    with Override() as override:
        handler = make(spool=spool)
        say(handler, 1)
        log = logging.Logger("app")
        log.addHandler(handler)
        log.info("no event")
    say(handler, 2)
    log.info("no event")
    assert override.numbers() == [1]
    assert override.stats().emitted == 2
    with Override() as other:
        say(handler, 3)
    assert other.numbers() == [3]
    assert endpoint.requests == []
    assert not spool.exists()


def test_a_spool_is_not_used(endpoint: Collector, make: Make, tmp_path: Path) -> None:
    """Captured events of a handler with a spool are not written to disk."""
    endpoint.always(Answer(503))
    handler = make(spool=tmp_path / "spool", max_backoff=600)
    say(handler, 1)
    assert handler.flush(0.2) is False
    before = files(tmp_path)
    with Override() as override:
        say(handler, 2)
        handler.flush()
        assert files(tmp_path) == before
    assert override.numbers() == [2]
    assert files(tmp_path) == before
    assert any(b'"number":1' in text for _, _, text in before.values())
    endpoint.always(None)
    assert handler.flush(10)
    assert numbers(endpoint) == [1]


def test_a_ping_uses_the_captures_endpoint(endpoint: Collector, make: Make) -> None:
    """`ping` uses the current destination."""
    handler = make()
    with Collector() as other, Override(other.url):
        assert handler.ping() > 0
        assert [request.target for request in other.requests] == ["ping"]
    assert endpoint.requests == []
    assert handler.ping() > 0
    assert [request.target for request in endpoint.requests] == ["ping"]


def test_the_newest_override_wins(endpoint: Collector, make: Make) -> None:
    """Of several active overrides the newest is used, in any order of their ends."""
    handler = make()
    first, second, third = Override(), Override(), Override()
    for number, change in enumerate(
        [
            lambda: first.start(),
            lambda: second.start(),
            lambda: third.start(),
            lambda: second.stop(),
            lambda: third.stop(),
            lambda: first.stop(),
        ]
    ):
        change()
        say(handler, number)
        if number == 4:
            assert handler.stats().accepted == 2
    assert handler.flush(10)
    assert (first.numbers(), second.numbers(), third.numbers()) == ([0, 4], [1], [2, 3])
    assert numbers(endpoint) == [5]


def test_an_override_that_starts_while_a_handler_is_created(
    endpoint: Collector, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An override that starts before the new handler is registered gets its events."""
    override = Override()

    def register(handler: Any) -> None:
        override.start()
        register_handler(handler)

    register_handler = process.register
    monkeypatch.setattr(process, "register", register)
    handler = make()
    say(handler, 1)
    override.stop()
    say(handler, 2)
    assert handler.flush(10)
    assert override.numbers() == [1]
    assert numbers(endpoint) == [2]


def test_an_override_that_stops_while_a_handler_chooses_its_sink(
    endpoint: Collector, make: Make
) -> None:
    """The handler does not keep the sink of an override that has stopped meanwhile."""

    class Short(Override):
        def sink(self, handler: Any) -> Sink:
            if capture.override() is self:
                self.stop()
            return super().sink(handler)

    handler, override = make(), Short()
    override.start()
    assert capture.override() is None
    say(handler, 1)
    assert handler.flush(10)
    assert numbers(endpoint) == [1]
    assert override.numbers() == []


@pytest.fixture
def switch_off() -> Iterator[Callable[[], Callable[[], None]]]:
    """Return what switches handlers off; at the end they are on again."""
    with contextlib.ExitStack() as stack:

        def switch_off() -> Callable[[], None]:
            end = capture.switch_off()
            stack.callback(end)
            return end

        yield switch_off


SwitchOff = Callable[[], Callable[[], None]]


def test_a_handler_that_is_switched_off(
    endpoint: Collector, make: Make, switch_off: SwitchOff, tmp_path: Path
) -> None:
    """It accepts nothing, delivers what it accepted before, and is captured as ever."""
    handler = make(flush_interval=600, spool=tmp_path / "spool")  # in which an event waits
    say(handler, 1)
    end = switch_off()
    say(handler, 2)
    handler.handle(logging.makeLogRecord({}))
    assert (handler.stats().emitted, handler.stats().pending) == (1, 1)
    assert handler.flush(10)
    assert (handler.stats().emitted, handler.stats().delivered) == (1, 1)
    with Override() as override:
        say(handler, 3)
        assert handler.stats().accepted == 1
    say(handler, 4)
    handler.close()
    other_end = switch_off()
    end()
    end()
    say(handler, 5)
    other_end()
    say(handler, 6)
    assert handler.flush(10)
    assert numbers(endpoint) == [1, 6]
    assert override.numbers() == [3]


def test_a_handler_created_while_handlers_are_off(
    endpoint: Collector, make: Make, switch_off: SwitchOff, tmp_path: Path
) -> None:
    """It needs no keys, never sends, and never touches its spool; later captures have its events.

    Its arguments are checked.
    """
    spool = tmp_path / "spool"
    end = switch_off()
    handler = make(enabled=True, auth_key=None, api_key=None, spool=spool, flush_interval=0)
    threads = threading.active_count()
    with pytest.raises(ValueError, match="batch_events"):
        make(batch_events=0)
    say(handler, 1)
    assert handler.flush() is True
    with Override() as override:
        say(handler, 2)
    end()
    say(handler, 3)
    handler.close()
    with Override() as other:
        say(handler, 4)
    assert handler.stats().emitted == 0
    assert (override.numbers(), other.numbers()) == ([2], [4])
    assert threading.active_count() <= threads
    assert not spool.exists()
    assert endpoint.requests == []


def test_a_log_call_in_progress_when_a_capture_ends_while_handlers_are_off(
    endpoint: Collector, make: Make, switch_off: SwitchOff, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not reach the handler's own endpoint."""
    handler, override = make(), Override()
    switch_off()
    override.start()
    monkeypatch.setattr(fslog.handler, "active_redactor", override.stop)
    say(handler, 1)
    assert capture.override() is None
    assert override.numbers() == [1]
    assert handler.stats().emitted == 0
    assert handler.flush(10)
    assert endpoint.requests == []


def test_threads_that_log_all_the_time(endpoint: Collector, make: Make) -> None:
    """While captures start and stop, each event of each thread goes to exactly one sink."""
    handler, off, override = make(batch_events=50), make(enabled=False), Override()
    counter, is_over, moment = itertools.count(1), threading.Event(), Moment()

    def work() -> None:
        while not is_over.is_set():
            number, before = next(counter), moment.now
            say(handler, number)
            say(off, -number)
            moment.passed(before, number)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(15):
        with moment.change(f"endpoint {turn}"):
            pass
        assert eventually(lambda: len(moment.of("endpoint")) > 20 * turn)  # noqa: B023
        with moment.change(f"capture {turn}"):
            override.start()
        assert eventually(lambda: len(moment.of("capture")) > 20 * turn)  # noqa: B023
        with moment.change(""):
            override.stop()
    is_over.set()
    for thread in threads:
        thread.join()
    assert handler.flush(20)
    there, here = set(numbers(endpoint)), set(override.numbers())
    assert len(numbers(endpoint)) + len(override.numbers()) == len(there) + len(here)
    assert there | {number for number in here if number > 0} == set(range(1, next(counter)))
    assert not there & here
    assert moment.of("endpoint") <= there
    assert moment.of("capture") <= here
    assert {-number for number in moment.of("capture")} <= here
    assert not {-number for number in moment.of("endpoint")} & (there | here)


def test_dictconfig_during_a_capture(endpoint: Collector, make: Make) -> None:
    """A handler that a `dictConfig` replaces during a capture still delivers what it had before."""
    others = set(process.handlers())
    handler = FreshsuccessHandler(**KEYS, endpoint=endpoint.url, flush_interval=0.2)
    say(handler, 1)
    gone = weakref.ref(handler)
    with Override() as override:
        say(handler, 2)
        handler.close()
        say(handler, 3)
        del handler
        gc.collect()
        assert gone() is None
        endpoint.wait_for(1)
        assert override.stats().emitted == 2
        assert set(override.handlers()) <= others
    assert numbers(endpoint) == [1]
    assert override.numbers() == [2, 3]


PROGRAM = """
    from counted import *
    from fslog.capture import SinkOverride
    from fslog.net.destination import Destination
    from fslog.testing.sink import Captured, CaptureSink

    captured = Captured()
    override = SinkOverride(
        Destination("http://127.0.0.1:9", "auth-x", "api-x"), lambda forked: CaptureSink(captured)
    )
    """


def test_a_process_that_ends_during_a_capture() -> None:
    """At exit a handler delivers what it had before the capture, and nothing captured."""
    program = f"""{PROGRAM}
    handle(flush_interval=600)
    say(1)
    override.start()
    say(2)
    """
    with Collector() as collector:
        run(program, collector.url)
        assert said(collector) == [("main", 1)]


def test_a_capture_that_ends_when_the_process_does() -> None:
    """What is logged at exit, after the capture has ended there, is delivered at once."""
    program = f"""
    import atexit
    def late():
        override.stop()
        say(2)
    atexit.register(late)  # before fslog's own: called after it
    {PROGRAM}
    handler = handle()
    for number in range(4):
        say(-number)
        assert handler.flush(20)
    assert handler.formatter.encoders.encoders
    override.start()
    say(1)
    """
    with Collector() as collector:
        run(program, collector.url)
        assert [number for _, number in said(collector)] == [0, -1, -2, -3, 2]
