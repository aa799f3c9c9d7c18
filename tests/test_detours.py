"""Detours: what handlers take goes elsewhere for a while, and what they had goes its own way."""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fslog.handler
from fslog import FreshsuccessHandler, detours, flush, process
from fslog.collector import Answer, Collector
from fslog.net.destination import Destination
from fslog.testing.arrivals import Arrivals
from fslog.testing.standin import ToArrivals
from processes import run, said

KEYS = {"auth_key": "auth-s3cret-0123456789", "api_key": "api-s3cret-9876543210"}

Make = Callable[..., FreshsuccessHandler]


class Detour(ToArrivals):
    """A detour that begins and ends as a `with` block, and knows what came by it."""

    def __init__(self, url: str = "http://127.0.0.1:9") -> None:
        self.arrivals = Arrivals()
        super().__init__(self.arrivals, Destination(url, "auth-of-detour", "api-of-detour"))

    def __enter__(self) -> Detour:
        detours.begin(self)
        return self

    def __exit__(self, *error: object) -> None:
        detours.end(self)

    def numbers(self) -> list[int]:
        """Return the numbers that came by it."""
        return [event["number"] for event in self.arrivals.events()]


def numbers(collector: Collector) -> list[int]:
    """Return the numbers that the endpoint has."""
    assert collector.invalid == []
    return [event["number"] for event in collector.events]


@pytest.fixture
def endpoint() -> Iterator[Collector]:
    """Return what handlers deliver to by themselves."""
    with Collector() as running:
        yield running


@pytest.fixture
def make(endpoint: Collector) -> Iterator[Make]:
    """Make handlers that log to the endpoint, see everything delivered and every thread end."""
    before = set(threading.enumerate())
    made: list[FreshsuccessHandler] = []

    def make(**given: Any) -> FreshsuccessHandler:
        made.append(FreshsuccessHandler(**{**KEYS, "endpoint": endpoint.url, **given}))
        return made[-1]

    yield make
    while (left := detours.current()) is not None:
        detours.end(left)
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


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Wait for what other threads do; False: they did not."""
    waiting, until = threading.Event(), time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        waiting.wait(0.002)
    return True


class Moment:
    """Tell which log calls began and ended between the same two changes."""

    def __init__(self) -> None:
        self.now = ""
        self._numbers: dict[str, list[int]] = {}

    @contextlib.contextmanager
    def change(self, after: str) -> Iterator[None]:
        """Let something change, in the course of which nothing is certain."""
        self.now = ""
        yield
        self.now = after

    def passed(self, before: str, number: int) -> None:
        """Note a log call."""
        if before and before == self.now:
            self._numbers.setdefault(before, []).append(number)

    def of(self, kind: str) -> set[int]:
        """Return the log calls of all moments of a kind."""
        lists = [numbers for name, numbers in self._numbers.copy().items() if kind in name]
        return {number for numbers in lists for number in numbers.copy()}


def files(where: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return all that stands in a directory."""
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size, path.read_bytes())
        for path in where.rglob("*")
        if path.is_file()
    }


def test_each_event_goes_one_way(endpoint: Collector, make: Make) -> None:
    """Before and after a detour events go to the endpoint, meanwhile they do not, in order."""
    handler = make(flush_interval=600)
    say(handler, 1)
    with Detour() as detour:
        say(handler, 2)
        say(handler, 3)
        assert handler.flush()
        assert flush()
        assert detour.numbers() == [2, 3]
        assert endpoint.requests == []
    say(handler, 4)
    assert handler.flush(10)
    assert numbers(endpoint) == [1, 4]
    assert detour.numbers() == [2, 3]


def test_log_calls_that_were_learned_go_by_the_detour(endpoint: Collector, make: Make) -> None:
    """A line that is made at once, without a look at the event, takes the same way."""
    handler = make()
    for number in range(4):
        say(handler, number)
        assert handler.flush(10)
    assert handler.formatter.encoders.encoders
    with Detour() as detour:
        say(handler, 4)
        say(handler, 5, more=1)
    assert detour.numbers() == [4, 5]
    assert numbers(endpoint) == [0, 1, 2, 3]


def test_what_waits_is_delivered_meanwhile(endpoint: Collector, make: Make) -> None:
    """Events that an outage held back before a detour reach the endpoint in the course of it."""
    endpoint.always(Answer(503))
    handler = make(max_backoff=0.05)
    say(handler, 1)
    handler.flush(0)
    endpoint.wait_for_requests(2)
    with Detour() as detour:
        say(handler, 2)
        endpoint.always(None)
        endpoint.wait_for(1)
        assert detour.numbers() == [2]
    assert numbers(endpoint) == [1]


def test_the_numbers_are_those_of_the_way(endpoint: Collector, make: Make) -> None:
    """`stats()` tells of the detour meanwhile, and of the handler's own work before and after."""
    handler = make()
    say(handler, 1)
    assert handler.flush(10)
    before = handler.stats()
    with Detour() as detour:
        say(handler, 2)
        say(handler, 3, userId="")
        handler.handle(logging.makeLogRecord({}))
        meanwhile = handler.stats()
    counted = (meanwhile.emitted, meanwhile.accepted, meanwhile.invalid, meanwhile.skipped)
    assert counted == (3, 1, 1, 1)
    assert (meanwhile.delivered, meanwhile.pending) == (1, 0)
    assert handler.stats() == before
    assert (detour.count().emitted, detour.count().skipped) == (3, 1)


def test_a_handler_that_is_off_is_on_meanwhile(endpoint: Collector, make: Make) -> None:
    """A handler that was switched off takes events on a detour, and none before or after."""
    handler = make(enabled=False, auth_key=None, api_key=None)
    blank = handler.stats()
    say(handler, 1)
    with Detour() as detour:
        say(handler, 2)
        assert handler.stats().accepted == 1
    say(handler, 3)
    handler.handle(logging.makeLogRecord({}))
    assert handler.flush()
    assert detour.count().emitted == 1
    assert detour.numbers() == [2]
    assert handler.stats() == blank
    assert endpoint.requests == []


def test_a_log_call_that_a_handler_let_in_stays_on_the_detour(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that is off again sends nothing, not even what it let in at its last moment on."""
    handler, detour = make(enabled=False), Detour()

    def end() -> None:  # as another thread may, just when the handler has seen that it is on
        detours.end(detour)

    detours.begin(detour)
    monkeypatch.setattr(fslog.handler, "active_redactor", end)
    say(handler, 1)
    assert detours.current() is None
    assert detour.numbers() == [1]
    assert handler.stats().emitted == 0


def test_a_handler_built_meanwhile_belongs_to_the_detour(
    endpoint: Collector, make: Make, tmp_path: Path
) -> None:
    """A handler that is built on a detour goes by it, and takes nothing after it, until the next.

    Its spool is neither made nor looked at.
    """
    spool = tmp_path / "spool"
    with Detour() as detour:
        handler = make(spool=spool)
        say(handler, 1)
        log = logging.Logger("app")
        log.addHandler(handler)
        log.info("no event")
    say(handler, 2)
    log.info("no event")
    assert detour.numbers() == [1]
    assert detour.count().emitted == 2
    with Detour() as other:
        say(handler, 3)
    assert other.numbers() == [3]
    assert endpoint.requests == []
    assert not spool.exists()


def test_a_spool_is_left_alone(endpoint: Collector, make: Make, tmp_path: Path) -> None:
    """What a running handler with a spool takes on a detour leaves no trace on the disk."""
    endpoint.always(Answer(503))
    handler = make(spool=tmp_path / "spool", max_backoff=600)
    say(handler, 1)
    assert handler.flush(0.2) is False
    before = files(tmp_path)
    with Detour() as detour:
        say(handler, 2)
        handler.flush()
        assert files(tmp_path) == before
    assert detour.numbers() == [2]
    assert files(tmp_path) == before
    assert any(b'"number":1' in text for _, _, text in before.values())
    endpoint.always(None)
    assert handler.flush(10)
    assert numbers(endpoint) == [1]


def test_a_ping_takes_the_detour(endpoint: Collector, make: Make) -> None:
    """`ping` asks where events go at the moment."""
    handler = make()
    with Collector() as other, Detour(other.url):
        assert handler.ping() > 0
        assert [request.target for request in other.requests] == ["ping"]
    assert endpoint.requests == []
    assert handler.ping() > 0
    assert [request.target for request in endpoint.requests] == ["ping"]


def test_the_newest_detour_counts(endpoint: Collector, make: Make) -> None:
    """Of several detours the newest that has not ended is taken, in whatever order they end."""
    handler = make()
    first, second, third = Detour(), Detour(), Detour()
    for number, change in enumerate(
        [
            lambda: detours.begin(first),
            lambda: detours.begin(second),
            lambda: detours.begin(third),
            lambda: detours.end(second),
            lambda: detours.end(third),
            lambda: detours.end(first),
        ]
    ):
        change()
        say(handler, number)
        if number == 4:
            assert handler.stats().accepted == 2
    assert handler.flush(10)
    assert (first.numbers(), second.numbers(), third.numbers()) == ([0, 4], [1], [2, 3])
    assert numbers(endpoint) == [5]


def test_a_detour_that_begins_while_a_handler_is_built(
    endpoint: Collector, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A detour that another thread begins before it can know a new handler is taken by it."""
    detour = Detour()

    def register(handler: Any) -> None:
        detours.begin(detour)
        lifecycle_register(handler)

    lifecycle_register = process.register
    monkeypatch.setattr(process, "register", register)
    handler = make()
    say(handler, 1)
    detours.end(detour)
    say(handler, 2)
    assert handler.flush(10)
    assert detour.numbers() == [1]
    assert numbers(endpoint) == [2]


def test_a_detour_that_ends_while_a_handler_turns_into_it(endpoint: Collector, make: Make) -> None:
    """A handler does not stay on a detour that ended while it was told of it."""

    class Short(Detour):
        def taker(self, handler: Any) -> detours.Taker:
            if detours.current() is self:
                detours.end(self)
            return super().taker(handler)

    handler, detour = make(), Short()
    detours.begin(detour)
    assert detours.current() is None
    say(handler, 1)
    assert handler.flush(10)
    assert numbers(endpoint) == [1]
    assert detour.numbers() == []


def test_threads_that_log_all_the_time(endpoint: Collector, make: Make) -> None:
    """Of what threads log while detours come and go, each event goes one way, and the right one."""
    handler, off, detour = make(batch_events=50), make(enabled=False), Detour()
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
        with moment.change(f"detour {turn}"):
            detours.begin(detour)
        assert eventually(lambda: len(moment.of("detour")) > 20 * turn)  # noqa: B023
        with moment.change(""):
            detours.end(detour)
    is_over.set()
    for thread in threads:
        thread.join()
    assert handler.flush(20)
    there, here = set(numbers(endpoint)), set(detour.numbers())
    assert len(numbers(endpoint)) + len(detour.numbers()) == len(there) + len(here)
    assert there | {number for number in here if number > 0} == set(range(1, next(counter)))
    assert not there & here
    assert moment.of("endpoint") <= there
    assert moment.of("detour") <= here
    assert {-number for number in moment.of("detour")} <= here
    assert not {-number for number in moment.of("endpoint")} & (there | here)


def test_dictconfig_on_a_detour(endpoint: Collector, make: Make) -> None:
    """A handler that a `dictConfig` throws away on a detour still delivers what it had before."""
    handler = FreshsuccessHandler(**KEYS, endpoint=endpoint.url, flush_interval=0.2)
    say(handler, 1)
    gone = weakref.ref(handler)
    with Detour() as detour:
        say(handler, 2)
        handler.close()
        say(handler, 3)
        del handler
        gc.collect()
        assert gone() is None
        endpoint.wait_for(1)
        assert detour.count().emitted == 2
        assert detour.handlers() == []
    assert numbers(endpoint) == [1]
    assert detour.numbers() == [2, 3]


PROGRAM = """
    from counted import *
    from fslog import detours
    from fslog.net.destination import Destination
    from fslog.testing.arrivals import Arrivals
    from fslog.testing.standin import ToArrivals

    arrivals = Arrivals()
    detour = ToArrivals(arrivals, Destination("http://127.0.0.1:9", "auth-x", "api-x"))
    """


def test_a_process_that_ends_on_a_detour() -> None:
    """At exit a handler delivers what it had before the detour, and nothing of the detour."""
    program = f"""{PROGRAM}
    handle(flush_interval=600)
    say(1)
    detours.begin(detour)
    say(2)
    """
    with Collector() as collector:
        run(program, collector.url)
        assert said(collector) == [("main", 1)]


def test_a_detour_that_ends_when_the_process_does() -> None:
    """What is logged at exit, after a detour that ended there, is delivered at once."""
    program = f"""
    import atexit
    def late():
        detours.end(detour)
        say(2)
    atexit.register(late)  # before fslog's own: called after it
    {PROGRAM}
    handler = handle()
    for number in range(4):
        say(-number)
        assert handler.flush(20)
    assert handler.formatter.encoders.encoders
    detours.begin(detour)
    say(1)
    """
    with Collector() as collector:
        run(program, collector.url)
        assert [number for _, number in said(collector)] == [0, -1, -2, -3, 2]
