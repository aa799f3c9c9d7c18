"""A delivery with real threads: accepted lines are delivered, and every wait is bounded."""

from __future__ import annotations

import _thread
import gc
import json
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from fslog import process
from fslog.config import NO_LIMIT, Settings
from fslog.delivery.delivery import Delivery
from fslog.errors import Problem
from fslog.net import wire
from fslog.net.destination import Destination
from fslog.net.redaction import internal_work, is_internal
from fslog.net.retry import Kind, Outcome
from waiting import eventually

OK = Outcome(Kind.DELIVERED)
DOWN = Outcome(Kind.RETRY, "it answers 503", retry_after=900.0)


def threads() -> list[threading.Thread]:
    """Return fslog's threads."""
    return [thread for thread in threading.enumerate() if thread.name == "fslog"]


class Endpoint:
    """Stand in for the transport: scripted outcomes in turn, then OK; it can be blocked."""

    def __init__(self, *outcomes: Outcome | Exception) -> None:
        self.outcomes = list(outcomes)
        self.numbers: list[int] = []
        self.timeouts: list[float | None] = []
        self.began = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()
        self.closed = 0

    def close(self) -> None:
        self.closed += 1

    def post(self, body: bytes, timeout: float | None = None) -> Outcome:
        self.timeouts.append(timeout)
        self.began.release()
        self.open.wait(10)
        outcome = self.outcomes.pop(0) if self.outcomes else OK
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is OK:
            self.numbers += map(json.loads, wire.lines_of(wire.unpack(body, "deflate")))
        return outcome


class Case:
    """A delivery with real threads, with its notices and reports."""

    def __init__(self, *outcomes: Outcome | Exception, **settings: Any) -> None:
        self.endpoint = Endpoint(*outcomes)
        self.said: list[tuple[int, str]] = []
        self.own: list[bool] = []
        self.written: list[str] = []
        fixed: dict[str, Any] = {
            "level": 0,
            "compression": "deflate",
            "compression_level": 6,
            "batch_events": 1000,
            "batch_bytes": 10_000,
            "flush_interval": 30.0,
            "aggregate": None,
            "buffer_bytes": 10**9,
            "block_timeout": None,
            "timeout": 10.0,
            "max_backoff": 60.0,
            "shutdown_timeout": 5.0,
            "flush_on_sigterm": False,
            "spool_max_bytes": 1,
            "spool_min_free": NO_LIMIT,
            "spool_max_age": None,
            "spool_fsync": "never",
            "ca_certs": None,
            "enabled": True,
            "max_per_second": None,
            "on_problem": None,
        }
        self.delivery = Delivery(
            Destination("https://events.example", "the-auth-key", "the-api-key"),
            self.endpoint,
            Settings(**{**fixed, **settings}),
            say=self._say,
            write=self.written.append,
        )

    def _say(self, level: int, text: str) -> None:
        self.said.append((level, text))
        self.own.append(is_internal("fslog"))

    def submit(self, *numbers: int) -> list[bool]:
        """Submit lines."""
        return [self.delivery.submit(b"%d\n" % number) for number in numbers]

    def numbers(self) -> tuple[int, int, int, int]:
        """Return accepted, delivered, pending, abandoned."""
        stats = self.delivery.stats()
        return stats.accepted, stats.delivered, stats.pending, stats.abandoned

    def finish(self) -> None:
        """Do what the end of a process does."""
        self.delivery.finish(self.delivery.begin_finish())

    def end(self) -> None:
        """End its threads."""
        self.endpoint.open.set()
        self.endpoint.outcomes.clear()
        self.delivery.flush(0.0)
        assert eventually(lambda: self.delivery.stats().pending == 0)
        self.delivery.retire()


@pytest.fixture
def make() -> Iterator[Callable[..., Case]]:
    """Make cases, and end them."""
    cases: list[Case] = []

    def case(*outcomes: Outcome | Exception, **settings: Any) -> Case:
        cases.append(Case(*outcomes, **settings))
        return cases[-1]

    yield case
    for one in cases:
        one.end()
    assert eventually(lambda: not threads())


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to start threads, as some interpreters do at exit."""

    def start(*anything: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(_thread, "start_new_thread", start)


Make = Callable[..., Case]


def test_lines_are_delivered_by_a_flush(make: Make) -> None:
    """A flush delivers accepted lines in order and returns True."""
    case = make()
    assert case.submit(*range(2500)) == [True] * 2500
    assert case.delivery.flush() is True
    assert case.endpoint.numbers == [*range(2500)]
    assert case.numbers() == (2500, 2500, 0, 0)
    assert case.said == []


def test_without_a_line_there_is_no_thread(make: Make) -> None:
    """Without a line, flush, close and stats start no thread."""
    case = make()
    assert case.delivery.flush() is True
    case.delivery.close()
    case.delivery.retire()
    assert case.delivery.stats().emitted == 0
    assert threads() == []


def test_a_flush_that_cannot_succeed_returns_false_in_time(make: Make) -> None:
    """False at once if the next try is too late; at the deadline if the endpoint hangs."""
    case = make(*[DOWN] * 5)
    case.submit(1)
    began_at = time.monotonic()
    assert case.delivery.flush(5.0) is False
    assert time.monotonic() - began_at < 2.0
    case.endpoint.outcomes.clear()
    case.endpoint.open.clear()
    began_at = time.monotonic()
    assert case.delivery.flush(0.2) is False
    assert 0.2 <= time.monotonic() - began_at < 4.0
    case.endpoint.open.set()
    assert case.delivery.flush() is True


def test_a_flush_without_time_starts_a_post(make: Make) -> None:
    """`flush(0)` does not wait, but causes a POST of what is held."""
    case = make()
    case.submit(1)
    case.delivery.flush(0.0)
    assert eventually(lambda: case.numbers() == (1, 1, 0, 0))


def test_a_flush_without_a_limit(make: Make) -> None:
    """`flush(inf)` waits until everything is delivered."""
    case = make()
    case.submit(1)
    assert case.delivery.flush(float("inf")) is True
    assert case.delivery.flush(1e12) is True


def test_refusals_are_counted_and_logged_once(make: Make) -> None:
    """In an outage each refusal is counted; there is one WARNING, and one INFO afterwards."""
    case = make(DOWN, buffer_bytes=30, batch_bytes=30)
    taken = case.submit(*range(100, 300))
    assert taken[0]
    assert not taken[-1]
    stats = case.delivery.stats()
    assert stats.accepted == sum(taken)
    assert stats.refused == 200 - sum(taken)
    assert stats.emitted == 200
    assert eventually(lambda: any("full" in text for _, text in case.said))
    case.endpoint.outcomes.clear()
    assert case.delivery.flush() is True
    assert eventually(lambda: any("there is room again" in text for _, text in case.said))
    full = [(level, text) for level, text in case.said if "full" in text or "room" in text]
    assert [level for level, _ in full] == [logging.WARNING, logging.INFO]
    assert f"{stats.refused} refused events" in full[1][1]
    assert all(case.own)
    assert case.submit(1) == [True]


def test_blocking_waits_for_room(make: Make) -> None:
    """With `block` a bulk job waits while the endpoint is slow, and every line is accepted."""
    case = make(buffer_bytes=60, batch_bytes=30, block_timeout=5.0)
    case.endpoint.open.clear()
    answers: SimpleQueue[list[bool]] = SimpleQueue()
    worker = threading.Thread(target=lambda: answers.put(case.submit(*range(100, 150))))
    worker.start()
    assert case.endpoint.began.acquire(timeout=5)
    worker.join(0.1)
    assert worker.is_alive()
    case.endpoint.open.set()
    assert answers.get(timeout=5) == [True] * 50
    worker.join()
    assert case.delivery.flush() is True
    assert case.endpoint.numbers == [*range(100, 150)]


def test_blocking_ends_after_its_time(make: Make) -> None:
    """In an outage a blocked call returns after `block_timeout`, and its event is refused."""
    case = make(DOWN, buffer_bytes=30, batch_bytes=30, block_timeout=0.1)
    while case.submit(100) == [True]:
        pass
    refused = case.delivery.stats().refused
    began_at = time.monotonic()
    assert case.submit(100) == [False]
    assert 0.1 <= time.monotonic() - began_at < 5.0
    assert case.delivery.stats().refused == refused + 1


def test_any_block_timeout_is_possible(make: Make) -> None:
    """A very long `block_timeout` does not make the log call raise."""
    case = make(buffer_bytes=30, batch_bytes=30, block_timeout=1e12)
    assert case.submit(*range(100, 150)) == [True] * 50


def test_internal_work_does_not_block(make: Make) -> None:
    """A finalizer that logs on the listener's thread does not wait for the listener."""
    case = make(DOWN, buffer_bytes=30, batch_bytes=30, block_timeout=5.0)
    with internal_work(lambda text: text):
        began_at = time.monotonic()
        while case.submit(100) == [True]:
            pass
        assert time.monotonic() - began_at < 4.0


def test_a_thread_that_holds_loggings_lock_does_not_block(make: Make) -> None:
    """The listener may need logging's lock, so a thread that holds it must not wait for it."""
    case = make(DOWN, buffer_bytes=30, batch_bytes=30, block_timeout=5.0)
    with logging._lock:  # type: ignore[attr-defined]
        began_at = time.monotonic()
        while case.submit(100) == [True]:
            pass
        assert case.delivery.flush(5.0) is False
        case.delivery.close()
        assert time.monotonic() - began_at < 4.0
    case.endpoint.outcomes.clear()
    assert case.delivery.flush() is True


def test_a_flush_under_loggings_lock_starts_a_post(make: Make) -> None:
    """A `dictConfig` that closes handlers makes them deliver, and does not wait."""
    case = make()
    with logging._lock:  # type: ignore[attr-defined]
        case.submit(1)
        case.delivery.close()
    assert eventually(lambda: case.numbers() == (1, 1, 0, 0))
    assert eventually(lambda: not threads())


def test_closing_delivers_and_ends_the_thread(make: Make) -> None:
    """After `close` everything is delivered, and the thread ends."""
    case = make()
    case.submit(1, 2)
    case.delivery.close()
    assert case.endpoint.numbers == [1, 2]
    assert eventually(lambda: not threads())


def test_a_closed_delivery_works_on(make: Make) -> None:
    """Loggers keep closed handlers: what is logged after `close` is delivered too."""
    case = make(flush_interval=0.05)
    for n in range(3):
        case.submit(n)
        case.delivery.close()
        case.delivery.close()
        assert case.endpoint.numbers == [*range(n + 1)]
    case.submit(3)
    assert eventually(lambda: case.endpoint.numbers == [0, 1, 2, 3])


def test_closing_in_an_outage_is_bounded_and_loses_nothing(make: Make) -> None:
    """`close` waits `shutdown_timeout`, once; the events are delivered later."""
    case = make(shutdown_timeout=0.5)
    case.endpoint.open.clear()
    case.submit(1)
    began_at = time.monotonic()
    case.delivery.close()
    assert 0.5 <= time.monotonic() - began_at < 4.0
    began_at = time.monotonic()
    case.delivery.close()
    assert time.monotonic() - began_at < 0.5
    case.endpoint.open.set()
    assert eventually(lambda: case.numbers() == (1, 1, 0, 0))
    assert eventually(lambda: not threads())


def test_a_flush_after_a_close_that_timed_out_is_answered(make: Make) -> None:
    """A flush during the last POST of a thread that is to end is still answered."""
    case = make(shutdown_timeout=0.05)
    case.endpoint.open.clear()
    case.submit(1)
    case.delivery.close()
    opener = threading.Timer(0.2, case.endpoint.open.set)
    opener.start()
    began_at = time.monotonic()
    assert case.delivery.flush(5.0) is True
    assert time.monotonic() - began_at < 2.0
    opener.join()


def test_flushes_and_closes_of_many_threads_are_all_answered(make: Make) -> None:
    """Threads log, flush and close at the same time: every flush returns True, soon."""
    case = make(flush_interval=0.001, shutdown_timeout=3.0)
    slow: list[float] = []
    wrong: list[int] = []

    def work(start: int) -> None:
        for n in range(start, start + 60):
            case.submit(n)
            began_at = time.monotonic()
            if n % 3 == 0:
                case.delivery.close()
            elif wrong or not case.delivery.flush(3.0):
                wrong.append(n)
            slow.append(time.monotonic() - began_at)

    workers = [threading.Thread(target=work, args=(n * 1000,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []
    assert max(slow) < 2.0
    assert case.delivery.flush() is True
    assert case.numbers() == (240, 240, 0, 0)
    assert sorted(case.endpoint.numbers) == sorted(
        n * 1000 + m for n in range(4) for m in range(60)
    )


def test_a_delivery_is_kept_alive_until_it_is_done(make: Make) -> None:
    """Without references, it delivers what is pending and is then collected."""
    case = make()
    case.endpoint.open.clear()
    case.submit(1)
    alive = weakref.ref(case.delivery)
    case.delivery = Case().delivery
    gc.collect()
    delivery = alive()
    assert delivery is not None
    delivery.retire()
    del delivery
    case.endpoint.open.set()
    assert eventually(lambda: case.endpoint.numbers == [1])
    assert eventually(lambda: not threads())
    gc.collect()
    assert alive() is None


def test_a_line_that_arrives_while_it_retires_is_delivered(make: Make) -> None:
    """A line that is accepted while another thread retires the delivery is still served."""
    case = make()
    batches = case.delivery._parts.buffer
    counts = batches.counts

    def between() -> dict[str, int]:
        batches.counts = counts  # type: ignore[method-assign]
        before = counts()
        case.submit(1)
        return before

    batches.counts = between  # type: ignore[method-assign]
    case.delivery.retire()
    batches.counts = counts  # type: ignore[method-assign]
    case.submit(2)
    assert case.delivery in process._tracked


def test_without_threads_a_flush_delivers_itself(make: Make, no_threads: None) -> None:
    """At interpreter shutdown `flush` delivers in the calling thread, retries included."""
    case = make(Outcome(Kind.RETRY, "it answers 503"), max_backoff=0.01)
    assert case.submit(1, 2) == [True, True]
    assert case.delivery.flush() is True
    assert case.endpoint.numbers == [1, 2]
    assert all(timeout is not None and timeout <= 5.0 for timeout in case.endpoint.timeouts)


def test_without_threads_the_exit_is_bounded(make: Make, no_threads: None) -> None:
    """An endpoint that is down does not prolong the exit."""
    case = make(*[DOWN] * 3)
    case.submit(1)
    began_at = time.monotonic()
    case.finish()
    assert time.monotonic() - began_at < 2.0
    assert case.numbers() == (1, 0, 0, 1)


def test_a_thread_that_could_not_start_is_started_later(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A temporary lack of threads does not stop delivery permanently."""
    case = make(flush_interval=0.05)

    def start(*anything: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", start)
        assert case.submit(1, 2) == [True, True]
    assert case.submit(3) == [True]
    assert eventually(lambda: case.endpoint.numbers == [1, 2, 3])


def test_the_exit_abandons_and_reports_what_is_pending(make: Make) -> None:
    """What is pending at the deadline is counted and reported in one line with a reason."""
    case = make(*[DOWN] * 9, shutdown_timeout=0.2)
    case.submit(1, 2, 3)
    case.finish()
    assert case.numbers() == (3, 0, 0, 3)
    [text] = case.written
    assert "3 events" in text
    assert "events.example" in text
    assert "it answers 503" in text
    case.finish()
    assert len(case.written) == 1


def test_the_exit_delivers_what_it_can(make: Make) -> None:
    """A working endpoint gets everything, and nothing is reported."""
    case = make()
    case.submit(1, 2, 3)
    case.finish()
    assert case.numbers() == (3, 3, 0, 0)
    assert case.written == []
    assert case.delivery not in process._tracked


def test_the_exit_is_bounded_as_a_whole(make: Make) -> None:
    """However often the exit functions are called, they wait one `shutdown_timeout` in total."""
    case = make(shutdown_timeout=1.0)
    case.endpoint.open.clear()
    case.submit(1)
    began_at = time.monotonic()
    case.finish()
    case.submit(2)
    case.finish()
    case.finish()
    assert time.monotonic() - began_at < 1.9
    assert case.numbers() == (2, 0, 0, 2)
    case.endpoint.open.set()


def test_a_200_after_the_exit_counts_no_event_twice(make: Make) -> None:
    """An answer for a batch that was abandoned already changes no count."""
    case = make(shutdown_timeout=0.1)
    case.endpoint.open.clear()
    case.submit(1, 2)
    case.finish()
    case.endpoint.open.set()
    assert eventually(lambda: case.endpoint.numbers == [1, 2])
    case.delivery.retire()
    assert eventually(lambda: not threads())
    assert case.numbers() == (2, 0, 0, 2)


def test_the_report_shows_no_key(make: Make) -> None:
    """A reason that contains the keys is redacted before it is reported."""
    case = make(ValueError("no /v1/the-auth-key/the-api-key"), shutdown_timeout=0.2)
    case.submit(1)
    case.finish()
    shown = f"{case.written} {case.said} {case.delivery.stats()}"
    assert "internal error" in shown
    assert "the-auth-key" not in shown
    assert "the-api-key" not in shown


def test_a_kind_of_problem_is_logged_once_with_its_call_site(make: Make) -> None:
    """A thousand invalid events of one kind log one WARNING, which names the call site."""
    case = make()
    record = logging.LogRecord("app.views", 20, "/x/views.py", 7, "m", (), None)
    for _ in range(1000):
        case.delivery.report_problem(Problem("missing", "userId", "userId is missing"), record)
        case.delivery.report_problem(Problem("missing", "accountId", "it is missing"), record)
    assert eventually(lambda: len(case.said) == 2)
    assert case.delivery.flush() is True
    assert len(case.said) == 2
    assert {level for level, _ in case.said} == {logging.WARNING}
    assert "app.views (views.py:7)" in case.said[0][1]
    assert all(case.own)


def test_a_flush_logs_waiting_notices(make: Make, no_threads: None) -> None:
    """Without a thread a bounded number of notices waits, and the next flush logs them."""
    case = make()
    record = logging.LogRecord("app", 20, "views.py", 7, "m", (), None)
    case.delivery.report_problem(Problem("missing", "userId", "userId is missing"), record)
    assert case.said == []
    assert case.delivery.flush() is True
    assert len(case.said) == 1
    assert case.own == [True]


def test_the_queue_does_not_grow_with_flushes(make: Make) -> None:
    """Flushing and closing a thousand times without a thread leaves the queue empty."""
    case = make()
    for _ in range(1000):
        case.delivery.flush(0.0)
        case.delivery.close()
        case.delivery.retire()
    assert len(case.delivery._parts.queue._items) < 10


def test_a_short_interval_does_not_start_a_thread_per_line(make: Make) -> None:
    """One thread serves all lines until it is retired."""
    case = make(flush_interval=0.0)
    seen: set[threading.Thread] = set()  # not by ident: a thread that is starting has none
    for n in range(50):
        case.submit(n)
        seen.update(threads())
    assert case.delivery.flush() is True
    seen.update(threads())
    assert len(seen) == 1
