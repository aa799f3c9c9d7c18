"""Batches are posted in order and retried at the right instants; each change is logged once."""

from __future__ import annotations

import json
import logging
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fslog.delivery import store as store_module
from fslog.delivery.backlog import Backlog
from fslog.delivery.buffer import Buffer
from fslog.delivery.listener import WAKE, Flush, Listener
from fslog.delivery.notices import Notices
from fslog.delivery.queue import WakeQueue
from fslog.delivery.worker import Token, start_thread
from fslog.net import wire
from fslog.net.redaction import active_redactor, is_internal
from fslog.net.retry import Kind, Outcome
from waiting import eventually

OK = Outcome(Kind.DELIVERED)
DOWN = Outcome(Kind.RETRY, "it answers 503")
WRONG = Outcome(Kind.MISCONFIGURED, "it answers 400")
LARGE = Outcome(Kind.TOO_LARGE, "it answers 413")
STALE = Outcome(Kind.RETRY, "the connection was gone", stale=True)


class World:
    """A listener with a clock, jitter, endpoint and notices that a test controls.

    The POSTs get `outcomes` in turn, then OK; a function is called with the POST's numbers.
    Without a thread, `run` does what the thread would have done until then.
    """

    def __init__(
        self,
        *outcomes: Outcome | Exception,
        jitter: Callable[[float], float] | None = lambda pause: pause,
        threads: bool = False,
        queue: WakeQueue | None = None,
        encoding: str | None = "deflate",
        flush_interval: float = 5.0,
        aggregate: float | None = None,
        max_backoff: float = 60.0,
        **limits: int,
    ) -> None:
        self.now = 1000.0
        self.outcomes = list(outcomes)
        self.answer: Callable[[list[int]], Outcome] = lambda numbers: OK
        self.posts: list[tuple[float, list[int]]] = []
        self.timeouts: list[float | None] = []
        self.said: list[tuple[int, str]] = []
        self.ended = 0
        self.encoding = encoding
        self.threads = threads
        self.clock: Callable[[], float] = time.monotonic if threads else lambda: self.now
        self.queue = queue or WakeQueue()
        fixed = {"batch_events": 1000, "batch_bytes": 10_000, "buffer_bytes": 10**9, **limits}
        self.buffer = Buffer(
            self.queue, lambda: not threads or self.listener.wake(), clock=self.clock, **fixed
        )
        more: dict[str, Any] = {} if jitter is None else {"jitter": jitter}
        self.listener = Listener(
            self.queue,
            self.buffer,
            Backlog(self.buffer, encoding, 6, aggregate=aggregate),
            self._post,
            flush_interval=flush_interval,
            aggregate=aggregate,
            max_backoff=max_backoff,
            notices=Notices("events.example", lambda *words: self.said.append(words), self.clock),
            redact=lambda text: text.replace("s3cret", "***"),
            clock=self.clock,
            ended=self._ended,
            start=self._start,
            **more,
        )

    def _ended(self) -> None:
        self.ended += 1

    def _start(self, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        if not self.threads:
            raise RuntimeError("can't start new thread")
        start_thread(function, arguments)

    def _post(self, body: bytes, timeout: float | None) -> Outcome:
        numbers = [json.loads(one) for one in wire.lines_of(wire.unpack(body, self.encoding))]
        self.posts.append((self.clock(), numbers))
        self.timeouts.append(timeout)
        outcome = self.outcomes.pop(0) if self.outcomes else self.answer(numbers)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def log(self, *numbers: int) -> None:
        """Append a line for each number."""
        for number in numbers:
            assert self.buffer.append(b"%d\n" % number)

    def batch(self, *numbers: int) -> None:
        """Append lines and seal their batch."""
        self.log(*numbers)
        self.buffer.seal()

    def run(self, until: float = 0.0, step: float = 0.25) -> None:
        """Make the listener do what is due until an instant of the clock (seconds from 1000)."""
        while True:
            while True:
                posts = len(self.posts)
                item = self.listener.dequeue(block=False)
                if item is None:
                    return
                self.listener.handle(item)
                if item is WAKE and len(self.posts) == posts and self.queue.empty():
                    break
            if self.now >= 1000.0 + until:
                return
            self.now += step

    def flush(self, seconds: float = 5.0) -> Flush:
        """Request a flush of everything so far."""
        number = self.buffer.seal()
        assert number is not None
        request = Flush(number, self.clock() + seconds)
        self.queue.put(request)
        return request

    @property
    def times(self) -> list[float]:
        """Return the instants of the POSTs, in seconds from 1000."""
        return [at - 1000.0 for at, _ in self.posts]

    @property
    def delivered(self) -> list[list[int]]:
        """Return the numbers of the events in the POSTs."""
        return [numbers for _, numbers in self.posts]

    def counts(self) -> dict[str, int]:
        """Return the numbers of the batches."""
        return self.buffer.counts()

    def levels(self) -> list[int]:
        """Return the levels of the notices."""
        return [level for level, _ in self.said]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """Check that each test ends its threads."""
    yield
    assert eventually(lambda: not [t for t in threading.enumerate() if t.name == "fslog"])


def reply(request: Flush) -> bool | None:
    """Return the answer to a flush; None if there is none yet."""
    return None if request.reply.empty() else request.reply.get_nowait()


def test_the_first_line_after_a_quiet_time_is_posted_at_once() -> None:
    """What comes right after it is posted together, 0.2 seconds after that POST began."""
    world = World(flush_interval=5.0)
    world.log(1)
    world.run(until=0.05, step=0.05)
    world.log(2)
    world.run(until=0.1, step=0.05)
    world.log(3)
    world.run(until=3, step=0.05)
    world.log(4)
    world.run(until=20)
    times = [pytest.approx(at, abs=0.06) for at in (0.0, 0.2, 3.0)]
    assert world.times == times
    assert [numbers for _, numbers in world.posts] == [[1], [2, 3], [4]]
    assert world.counts()["delivered"] == 4
    assert world.said == []


def test_lines_gather_while_a_post_is_under_way() -> None:
    """However many come meanwhile, they are one POST, as soon as the one before it is answered."""
    world = World(flush_interval=60.0)

    def answer(numbers: list[int]) -> Outcome:
        if numbers == [1]:
            for number in (2, 3, 4):
                world.now += 2
                world.log(number)
        return OK

    world.answer = answer
    world.log(1)
    world.run()
    assert world.posts == [(1000.0, [1]), (1006.0, [2, 3, 4])]


def test_a_short_flush_interval_is_shorter_than_the_gap_between_posts() -> None:
    """No line waits longer than `flush_interval` if the endpoint answers."""
    world = World(flush_interval=0.0)
    world.log(1)
    world.run()
    world.log(2)
    world.run()
    assert world.posts == [(1000.0, [1]), (1000.0, [2])]


def test_a_full_batch_is_posted_at_once() -> None:
    """A batch that has reached its count does not wait for its age."""
    world = World(batch_events=2)
    world.log(1, 2, 3, 4, 5)
    world.run()
    assert world.posts == [(1000.0, [1, 2]), (1000.0, [3, 4])]
    world.run(until=5)
    assert world.posts[2:] == [(1000.25, [5])]


def test_batches_keep_their_order_through_failures() -> None:
    """A batch that failed is retried before any later one is posted."""
    world = World(DOWN, DOWN, OK, DOWN)
    for n in range(4):
        world.batch(n)
    world.run(until=30)
    assert world.delivered == [[0], [0], [0], [1], [1], [2], [3]]
    assert world.counts()["delivered"] == 4


def test_pauses_double_up_to_the_longest() -> None:
    """Without jitter the pauses are those of `backoff.expo`: 1, 2, 4... up to the limit."""
    world = World(*[DOWN] * 9, max_backoff=20.0)
    world.batch(1)
    world.run(until=300)
    assert world.times == [0, 1, 3, 7, 15, 31, 51, 71, 91, 111]


def test_the_jitter_is_full() -> None:
    """By default the listener waits a random part of each pause."""
    world = World(*[DOWN] * 4, jitter=None)
    world.batch(1)
    for at in range(16 * 64):
        world.run(until=at / 64, step=1 / 64)
    pauses = [after - before for before, after in zip(world.times, world.times[1:], strict=False)]
    assert len(pauses) == 4
    for pause, most in zip(pauses, (1, 2, 4, 8), strict=True):
        assert 0.0 <= pause <= most + 1 / 64


def test_success_resets_the_pauses() -> None:
    """The first failure after a delivery is followed by the shortest pause."""
    world = World(DOWN, DOWN, DOWN, OK, DOWN)
    world.batch(1)
    world.run(until=7)
    world.batch(2)
    world.run(until=20)
    assert world.times == [0, 1, 3, 7, 7, 8]


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_retry_after_is_a_minimum(jitter: float) -> None:
    """Whatever the jitter is, the next try is not sooner than the endpoint asked for."""
    asked = Outcome(Kind.RETRY, "it answers 429", retry_after=30.0)
    world = World(asked, jitter=lambda pause: pause * jitter)
    world.batch(1)
    world.run(until=100)
    assert world.times == [0, 30]


def test_a_pause_may_be_longer_than_retry_after() -> None:
    """An endpoint that asks for less than the backoff does not shorten it."""
    world = World(DOWN, DOWN, DOWN, Outcome(Kind.RETRY, "it answers 429", retry_after=2.0))
    world.batch(1)
    world.run(until=100)
    assert world.times == [0, 1, 3, 7, 15]


def test_a_flush_posts_now_despite_retry_after() -> None:
    """A flush does not wait for `retry_at`, not even for a Retry-After."""
    world = World(Outcome(Kind.RETRY, "it answers 503", retry_after=900.0))
    world.batch(1)
    world.run(until=10)
    assert world.times == [0]
    request = world.flush()
    world.run(until=10)
    assert world.times == [0, 10]
    assert reply(request) is True


def test_a_flush_resets_the_pauses() -> None:
    """After a flush the next pause is the shortest."""
    world = World(*[DOWN] * 5)
    world.batch(1)
    world.run(until=8)
    assert world.times == [0, 1, 3, 7]
    world.flush(60.0)
    world.run(until=30)
    assert world.times == [0, 1, 3, 7, 8, 9]


def test_batches_are_compressed_during_a_pause() -> None:
    """Between two tries the listener makes room by compressing what waits on its queue."""
    world = World(DOWN, batch_bytes=1000, buffer_bytes=1100)
    assert world.buffer.append(b"1" * 999 + b"\n")
    world.buffer.seal()
    world.run()
    assert world.buffer.append(b"2" * 999 + b"\n")
    assert not world.buffer.append(b"3" * 999 + b"\n")
    world.run()
    assert world.buffer.append(b"3" * 999 + b"\n")
    assert len(world.posts) == 1


def test_everything_on_the_queue_is_compressed_before_a_post() -> None:
    """A POST may take long, so everything on the queue is compressed before it, not one item."""
    world = World(batch_bytes=1000, buffer_bytes=5000)
    for n in b"123":
        assert world.buffer.append(bytes([n]) * 999 + b"\n")
        world.buffer.seal()
    room: list[bool] = []
    world.answer = lambda numbers: room.append(world.buffer.append(b"4" * 999 + b"\n")) or OK
    held = world.buffer.append(b"5" * 999 + b"\n"), world.buffer.append(b"6" * 999 + b"\n")
    assert held == (True, True)
    assert not world.buffer.append(b"7" * 999 + b"\n")
    world.listener.handle(world.listener.dequeue(block=False))
    assert room == [True]


def test_what_is_logged_in_an_outage_is_posted_together() -> None:
    """Whatever its age, the open batch waits for older ones: a few events are one POST."""
    world = World(DOWN, DOWN, DOWN, DOWN, flush_interval=1.0)
    world.batch(0)
    for number in range(1, 8):
        world.log(number)
        world.run(until=2 * number)
    assert world.times == [0, 1, 3, 7]
    world.run(until=20)
    assert world.posts[4:] == [(1015.0, [0]), (1015.0, [1, 2, 3, 4, 5, 6, 7])]


def test_a_stale_connection_is_not_a_failure() -> None:
    """A kept connection that was closed is replaced at once, without a notice or a pause."""
    world = World(STALE)
    world.batch(1)
    world.run()
    assert world.posts == [(1000.0, [1]), (1000.0, [1])]
    assert world.said == []
    assert world.counts()["delivered"] == 1


def test_a_second_stale_connection_is_a_failure() -> None:
    """An endpoint that drops every connection is not tried again in a tight loop."""
    world = World(*[STALE] * 4)
    world.batch(1)
    world.run(until=10)
    assert world.times == [0, 0, 1, 3, 7]
    assert world.levels() == [logging.WARNING, logging.INFO]


def test_a_large_batch_is_split_until_it_fits() -> None:
    """413 halves a batch at once, in order, down to single events."""
    world = World()
    world.answer = lambda numbers: LARGE if len(numbers) > 2 else OK
    world.batch(*range(8))
    world.batch(8)
    world.run()
    assert world.delivered == [
        [*range(8)],
        [0, 1, 2, 3],
        [0, 1],
        [2, 3],
        [4, 5, 6, 7],
        [4, 5],
        [6, 7],
        [8],
    ]
    assert set(world.times) == {0.0}
    assert world.counts()["delivered"] == 9
    assert world.levels() == [logging.INFO]


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    poison=st.sets(st.integers(0, 44)),
    limit=st.integers(1, 5),
    encoding=st.sampled_from(["deflate", "gzip", None]),
)
def test_only_events_that_are_too_large_by_themselves_are_abandoned(
    sizes: list[int], poison: set[int], limit: int, encoding: str | None
) -> None:
    """All events arrive in order except those that get a 413 by themselves."""
    world = World(encoding=encoding)
    arrived: list[int] = []

    def answer(numbers: list[int]) -> Outcome:
        if len(numbers) > limit or poison.intersection(numbers):
            return LARGE
        arrived.extend(numbers)
        return OK

    world.answer = answer
    total = 0
    for size in sizes:
        world.batch(*range(total, total + size))
        total += size
    request = world.flush()
    world.run()
    assert arrived == [n for n in range(total) if n not in poison]
    counts = world.counts()
    assert counts["abandoned"] == len(poison & set(range(total)))
    assert counts["delivered"] == len(arrived)
    assert counts["pending"] == 0
    assert reply(request) is True
    assert len(world.said) <= 2


def test_an_outage_interrupts_a_split() -> None:
    """A half that fails for another reason is kept and retried; no event is sent twice."""
    world = World(LARGE, OK, DOWN, OK)
    world.batch(0, 1, 2, 3)
    world.run(until=5)
    assert world.delivered == [[0, 1, 2, 3], [0, 1], [2, 3], [2, 3]]
    assert world.counts()["delivered"] == 4


def test_a_configuration_error_is_probed_slowly() -> None:
    """Everything is kept; there is one try every `max_backoff`, however much is logged."""
    world = World(*[WRONG] * 4, max_backoff=60.0)
    world.batch(0)
    for n in range(1, 200):
        world.run(until=n)
        world.batch(n)
    assert world.times == [0, 60, 120, 180]
    assert world.counts()["pending"] == 200
    assert world.levels() == [logging.WARNING]
    world.run(until=300)
    assert [n for numbers in world.delivered[4:] for n in numbers] == [*range(200)]
    assert world.levels() == [logging.WARNING, logging.INFO]


def test_an_outage_and_its_end_are_logged_once() -> None:
    """Each outage logs one WARNING and one INFO, whatever the number of tries."""
    world = World(*[DOWN] * 6, OK, *[DOWN] * 3)
    world.batch(1)
    world.run(until=200)
    world.batch(2)
    world.run(until=400)
    assert world.levels() == [logging.WARNING, logging.INFO] * 2
    assert "it answers 503" in world.said[0][1]


def test_the_last_error_is_kept() -> None:
    """`last_error` is the newest failure, also after the endpoint has recovered."""
    world = World(DOWN, WRONG)
    assert world.listener.last_error is None
    world.batch(1)
    world.run()
    assert world.listener.last_error == "it answers 503"
    world.run(until=200)
    assert world.listener.last_error == "it answers 400"
    assert world.listener.retries.value() == 2


def test_an_unexpected_exception_is_retried() -> None:
    """It is logged like an outage, without keys, and the POST is retried after a pause."""
    world = World(RuntimeError("s3cret went wrong"), max_backoff=60.0)
    world.batch(1)
    world.run(until=100)
    assert world.times == [0, 60]
    assert world.listener.last_error == "internal error: RuntimeError: *** went wrong"
    assert world.levels() == [logging.WARNING, logging.INFO]
    assert "s3cret" not in str(world.said)
    assert world.counts()["delivered"] == 1


def test_an_unexpected_exception_answers_a_flush() -> None:
    """A flush is answered at once if nothing will be tried before its deadline."""
    world = World(RuntimeError("oops"), RuntimeError("oops"), max_backoff=60.0)
    world.batch(1)
    world.run()
    request = world.flush(5.0)
    world.run()
    assert reply(request) is False


@pytest.mark.parametrize("failures", [1, 2])
def test_a_batch_that_could_not_be_compressed_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """If memory is short, the batch is packed later and delivered in its turn."""
    left, really = failures, wire.pack

    def pack(lines: Any, encoding: str | None, level: int) -> bytes:
        nonlocal left
        left -= 1
        if left >= 0:
            raise MemoryError
        return really(lines, encoding, level)

    world = World(max_backoff=10.0)
    monkeypatch.setattr(store_module.wire, "pack", pack)
    world.batch(1)
    world.batch(2)
    request = world.flush(100.0)
    world.run(until=60)
    assert world.delivered == [[1], [2]]
    assert world.counts()["pending"] == 0
    assert reply(request) is True


def test_a_batch_that_could_not_be_split_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """If memory is short, the batch stays whole and is split later."""
    world = World(LARGE, max_backoff=10.0)
    world.answer = lambda numbers: LARGE if len(numbers) > 1 else OK
    world.batch(1, 2)

    def halves(*_: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(store_module.Batch, "halves", halves)
        world.run()
    assert world.delivered == [[1, 2]]
    world.run(until=60)
    assert world.delivered[-2:] == [[1], [2]]
    assert world.counts()["pending"] == 0


def test_a_last_try_that_fails_is_the_last() -> None:
    """After it no POST is started that the exit would interrupt, unless a flush requests one."""
    world = World(DOWN, DOWN, max_backoff=10.0)
    world.batch(1)
    request = Flush(1, world.now + 100.0, once=True)
    world.queue.put(request)
    world.run(until=1_000, step=10.0)
    assert reply(request) is False
    assert len(world.posts) == 1
    again = world.flush(100.0)
    world.run(until=1_100)
    assert world.delivered == [[1]] * 3
    assert reply(again) is True


def test_a_flush_is_answered_when_its_batches_are_settled() -> None:
    """It waits for what was held when it was requested, not for later events."""
    world = World(OK, OK, DOWN)
    world.batch(1)
    world.log(2)
    request = world.flush()
    assert reply(request) is None
    world.batch(3)
    world.run()
    assert world.delivered == [[1], [2], [3]]
    assert reply(request) is True
    assert world.counts()["pending"] == 1


def test_a_flush_waits_for_both_halves() -> None:
    """A batch that was split is settled when its last half is."""
    world = World(LARGE, OK, DOWN)
    world.log(1, 2)
    request = world.flush(60.0)
    world.run()
    assert reply(request) is None
    world.run(until=5)
    assert reply(request) is True


def test_a_flush_in_vain_is_answered_at_once() -> None:
    """If the next try is after the deadline there is nothing to wait for."""
    asked = Outcome(Kind.RETRY, "it answers 503", retry_after=30.0)
    world = World(asked, asked)
    world.batch(1)
    world.run()
    request = world.flush(5.0)
    world.run()
    assert reply(request) is False
    request = world.flush(60.0)
    world.outcomes.append(asked)
    world.run(until=29)
    assert reply(request) is None
    world.run(until=30)
    assert reply(request) is True


def test_a_flush_of_nothing_is_true() -> None:
    """If nothing is held the flush has succeeded."""
    world = World()
    request = world.flush()
    world.run()
    assert reply(request) is True
    assert world.posts == []


def test_what_was_abandoned_is_not_posted() -> None:
    """Waiting batches that the exit abandoned are dropped."""
    world = World(DOWN)
    world.batch(1)
    world.batch(2)
    world.run()
    assert world.buffer.abandon() == 2
    world.batch(3)
    world.run(until=5)
    assert world.delivered == [[1], [3]]
    counts = world.counts()
    assert (counts["abandoned"], counts["delivered"], counts["pending"]) == (2, 1, 0)


def test_a_batch_abandoned_in_flight_stays_abandoned() -> None:
    """A 200 for a batch that the exit has abandoned does not count it again."""
    world = World()
    world.answer = lambda numbers: world.buffer.abandon() and OK
    world.batch(1, 2)
    world.run()
    counts = world.counts()
    assert (counts["abandoned"], counts["delivered"], counts["pending"]) == (2, 0, 0)


def test_notices_are_logged_during_internal_work() -> None:
    """The listener logs the notices of a log call, marked as internal work."""
    world, seen = World(), []
    world.queue.put(lambda: seen.append((is_internal("fslog"), active_redactor() is not None)))
    world.run()
    assert seen == [(True, True)]


def test_posting_is_internal_work() -> None:
    """urllib3's records of a POST are internal; nothing outside of it is."""
    world, seen = World(), []
    world.answer = lambda numbers: seen.append(is_internal("urllib3.connectionpool")) or OK
    world.batch(1)
    world.run()
    assert seen == [True]
    assert active_redactor() is None


def test_new_room_is_logged_when_all_is_delivered() -> None:
    """The end of a full buffer is logged once, when the last pending event is settled."""
    world = World()
    notices = Notices("events.example", lambda *words: None, world.clock)
    world.listener._notices = notices  # those of `World` would need a refusal first
    emptied: list[int] = []
    notices.emptied = emptied.append  # type: ignore[method-assign]
    world.batch(1)
    world.batch(2)
    world.buffer.refused.add()
    world.run()
    assert emptied == [1]


def test_work_without_a_thread_delivers_until_all_is_settled() -> None:
    """Without threads, the thread that closes does the same work: order, retries, answers."""
    world = World(DOWN, jitter=lambda pause: 0.0)
    world.batch(1)
    world.log(2)
    request = world.flush(5.0)
    world.listener.work_until(world.now + 5.0)
    assert world.delivered == [[1], [1], [2]]
    assert reply(request) is True
    assert world.counts()["pending"] == 0


def test_work_without_a_thread_does_not_wait_beyond_its_deadline() -> None:
    """If the next try is after the deadline the work ends, and the flush returns False."""
    world = World(Outcome(Kind.RETRY, "it answers 503", retry_after=30.0))
    world.log(1)
    request = world.flush(5.0)
    began_at = time.monotonic()
    world.listener.work_until(world.now + 5.0)
    assert time.monotonic() - began_at < 1.0
    assert reply(request) is False
    assert world.counts()["pending"] == 1


def test_work_without_a_thread_limits_each_post_to_the_time_left() -> None:
    """The time spent waiting for the next try is subtracted from its timeout."""
    world = World(*[DOWN] * 20, jitter=lambda pause: 0.6, threads=True)
    world.threads = False
    world.log(1)
    world.flush(2.0)
    deadline_at = time.monotonic() + 2.0
    world.listener.work_until(deadline_at)
    assert len(world.posts) > 2
    for (at, _), timeout in zip(world.posts, world.timeouts, strict=True):
        assert timeout is not None
        assert at + timeout <= deadline_at + 0.4
    assert time.monotonic() < deadline_at + 2.0


def test_the_thread_starts_with_the_first_line_and_delivers_by_age() -> None:
    """The first line starts the thread, which wakes up by the clock and posts."""
    world = World(threads=True, flush_interval=0.1)
    assert not world.listener.is_alive()
    world.log(1)
    assert world.listener.is_alive()
    assert eventually(lambda: world.counts()["delivered"] == 1)
    world.log(2)
    assert eventually(lambda: world.counts()["delivered"] == 2)
    world.listener.stop(5)
    assert not world.listener.is_alive()
    assert world.ended == 1


def test_the_thread_is_a_daemon_with_a_name() -> None:
    """An endpoint that hangs cannot keep a process alive; thread dumps show the name."""
    world = World(threads=True)
    world.log(1)
    assert world.flush().reply.get(timeout=5.0) is True
    [thread] = [thread for thread in threading.enumerate() if thread.name == "fslog"]
    assert thread.daemon
    world.listener.stop(5)
    assert not thread.is_alive()


def test_a_retired_thread_delivers_and_can_be_started_again() -> None:
    """It delivers what is pending before it ends; the next line starts another thread."""
    world = World(threads=True, flush_interval=0.05)
    release = threading.Event()
    world.answer = lambda numbers: OK if release.wait(5) else DOWN
    world.log(1)
    assert eventually(lambda: len(world.posts) == 1)
    world.listener.retire()
    assert world.listener.is_alive()
    release.set()
    assert eventually(lambda: world.ended == 1)
    assert not world.listener.is_alive()
    world.log(2)
    assert eventually(lambda: world.counts()["delivered"] == 2)
    world.listener.stop(5)
    assert world.ended == 2


def test_stop_before_the_start_and_twice() -> None:
    """`stop` of a listener that never ran or has ended returns at once."""
    world = World(threads=True)
    world.listener.stop(5)
    world.log(1)
    world.flush()
    world.listener.stop(5)
    world.listener.stop(5)
    assert world.counts()["delivered"] == 1


def test_stop_is_bounded() -> None:
    """`stop` with a timeout does not wait longer for a POST that hangs."""
    world = World(threads=True)
    release = threading.Event()
    world.answer = lambda numbers: OK if release.wait(5) else DOWN
    world.log(1)
    world.flush()
    assert eventually(lambda: len(world.posts) == 1)
    began_at = time.monotonic()
    world.listener.stop(0.1)
    assert time.monotonic() - began_at < 1.0
    release.set()
    world.listener.stop(5)


def test_a_thread_that_is_about_to_end_answers_earlier_flushes() -> None:
    """A flush that is requested during the last POST of a retired thread is answered."""
    world = World(threads=True, flush_interval=0.0)
    release = threading.Event()
    world.answer = lambda numbers: OK if release.wait(5) else DOWN
    world.log(1)
    assert eventually(lambda: len(world.posts) == 1)
    world.listener.retire()
    request = world.flush(5.0)
    release.set()
    assert request.reply.get(timeout=2.0) is True
    world.listener.stop(5)


def test_an_exception_in_a_post_does_not_end_the_thread() -> None:
    """The thread goes on after an exception, and a flush makes it retry."""
    world = World(ValueError("oops"), threads=True)
    world.log(1)
    world.flush()
    assert eventually(lambda: world.listener.last_error is not None)
    assert world.listener.is_alive()
    assert world.flush().reply.get(timeout=5.0) is True
    world.listener.stop(5)


@pytest.mark.parametrize("flush_interval", [1e9, 1e12, 1e300])
def test_an_infinite_flush_interval(flush_interval: float) -> None:
    """With an interval of `inf` batches are posted by count and by flush."""
    world = World(threads=True, flush_interval=flush_interval, batch_events=2)
    world.log(1)
    assert world.flush().reply.get(timeout=5.0) is True
    world.log(2, 3)
    assert eventually(lambda: world.counts()["delivered"] == 3)
    assert world.listener.is_alive()
    world.listener.stop(5)


def test_only_one_thread_serves_the_queue() -> None:
    """While one thread works in place of the listener, no other does, and none is started."""
    world = World(threads=True)
    blocked, release = threading.Event(), threading.Event()

    def answer(numbers: list[int]) -> Outcome:
        blocked.set()
        return OK if release.wait(5) else DOWN

    world.answer = answer
    world.threads = False
    world.batch(1)
    worker = threading.Thread(target=world.listener.work_until, args=(time.monotonic() + 5,))
    worker.start()
    assert blocked.wait(5)
    world.threads = True
    world.batch(2)
    other = threading.Thread(target=world.listener.work_until, args=(time.monotonic() + 5,))
    other.start()
    release.set()
    assert eventually(lambda: world.counts()["delivered"] == 2)
    for thread in (worker, other):
        thread.join()
    world.listener.stop(5)
    assert world.delivered == [[1], [2]]
    assert world.counts()["pending"] == 0


class Watched(WakeQueue):
    """A queue that calls a function when `empty` is called."""

    asked: Callable[[], None] | None = None

    def empty(self) -> bool:
        asked, self.asked = self.asked, None
        if asked is not None:
            asked()
        return super().empty()


def test_no_second_thread_works_while_the_first_decides_to_end() -> None:
    """A thread that decides to end, and then finds an item, is not replaced in between."""
    queue = Watched()
    world = World(threads=True, flush_interval=0.0, queue=queue)
    release, began = threading.Event(), threading.Semaphore(0)

    def answer(numbers: list[int]) -> Outcome:
        began.release()
        return OK if release.wait(5) else DOWN

    def come() -> None:
        world.buffer.append(b"2\n")
        queue.put(WAKE)
        helper.start()
        helper.join(0.1)

    helper = threading.Thread(target=world.listener.work_until, args=(time.monotonic() + 5,))
    world.log(1)
    assert world.flush().reply.get(timeout=5.0) is True
    world.answer = answer
    queue.asked = come
    world.listener.retire()
    assert began.acquire(timeout=5)
    came_twice = began.acquire(timeout=0.2)
    release.set()
    helper.join()
    world.listener.stop(5)
    assert not came_twice
    assert world.delivered == [[1], [2]]
    assert world.counts()["pending"] == 0


def test_bodies_are_compressed_as_configured() -> None:
    """A deflate body is zlib's format, a gzip body has its header, a plain one is the lines."""
    bodies: dict[str | None, bytes] = {}
    for encoding in ("deflate", "gzip", None):
        world = World(encoding=encoding)
        post = world.listener._post

        def keep(body: bytes, timeout: float | None, post: Any = post, key: Any = encoding) -> Any:
            bodies[key] = body
            return post(body, timeout)

        world.listener._post = keep
        world.batch(1, 2)
        world.run()
    assert zlib.decompress(bodies["deflate"]) == b"1\n2\n"
    assert zlib.decompress(bodies["gzip"], 31) == b"1\n2\n"
    assert bodies[None] == b"1\n2\n"


def test_a_failed_search_for_orphans_delays_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are posted although the search for orphans raises each time."""
    world = World()

    def look() -> None:
        raise OverflowError("a number of more than 64 bits")

    monkeypatch.setattr(world.listener._backlog, "adopt_if_due", look)
    world.batch(1)
    request = world.flush()
    world.run()
    assert world.delivered == [[1]]
    assert reply(request) is True
    assert "more than 64 bits" in (world.listener.last_error or "")


def test_an_item_is_kept_until_it_is_processed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that cannot be processed now is processed later, before its successors."""
    world = World(max_backoff=2.0)
    add, errors = world.listener._backlog.add, [MemoryError()]

    def failing(item: Any) -> None:
        if errors:
            raise errors.pop()
        add(item)

    monkeypatch.setattr(world.listener._backlog, "add", failing)
    world.batch(1)
    request = world.flush(60.0)
    world.batch(2)
    world.run(until=3.0)
    assert errors == []
    assert world.delivered == [[1], [2]]
    assert reply(request) is True


def test_a_notice_that_raises_is_not_repeated_and_delays_nothing() -> None:
    """A function on the queue that raises is not called again; batches go on after a pause."""
    world = World(max_backoff=2.0)

    def fail() -> None:
        raise ValueError("no")

    world.queue.put(fail)
    world.batch(1)
    world.run(until=3.0)
    assert world.delivered == [[1]]
    assert len(world.said) == 2  # down, up


def test_an_interrupted_caller_releases_the_role() -> None:
    """After a Ctrl-C at exit the queue can still be served by another thread."""
    world = World(threads=True)
    world.threads = False
    world.batch(1)

    def post(body: bytes, timeout: float | None) -> Outcome:
        raise KeyboardInterrupt

    world.listener._post, real = post, world.listener._post
    with pytest.raises(KeyboardInterrupt):
        world.listener.work_until(time.monotonic() + 5)
    assert not world.listener.is_alive()
    world.listener._post = real
    world.listener.work_until(time.monotonic() + 5)
    assert world.delivered == [[1]]


def test_a_listener_waits_for_its_turn_without_losing_a_flush() -> None:
    """While another one has older events it posts nothing; then it posts all, and answers."""
    world = World()
    turn = [False]
    world.listener._is_turn = lambda: turn[0]
    world.batch(1)
    request = world.flush(5.0)
    world.run(until=1.0)
    assert (world.delivered, reply(request)) == ([], None)
    turn[0] = True
    world.run(until=2.0)
    assert world.delivered == [[1]]
    assert reply(request) is True
    turn[0] = False
    world.batch(2)
    request = world.flush(1.0)
    world.run(until=5.0)
    assert reply(request) is False
    assert world.counts()["pending"] == 1


def test_a_thread_that_ends_does_not_release_the_role_of_its_successor() -> None:
    """A thread that began while another one ended serves alone, although an item came."""
    world = World()
    listener, mine, others = world.listener, object(), object()
    listener._retired = True
    listener._token = mine
    assert listener.worker.claim(mine)
    release = listener.worker.release

    def begin_another(token: object) -> None:
        release(token)
        assert listener.worker.claim(others)
        listener._token = others
        world.queue.put(WAKE)

    listener.worker.release = begin_another  # type: ignore[method-assign]
    assert listener.dequeue(block=False) is None
    assert listener.worker.serves(others)


def test_a_turn_that_is_over_does_not_hide_the_next_try() -> None:
    """A listener that waited for its turn, and then failed, sleeps until the next try."""
    world = World(max_backoff=60.0)
    world.listener._is_turn = lambda: False
    world.batch(1)
    world.run()
    world.queue.put(lambda: 1 / 0)
    world.listener.handle(WAKE)
    world.now += 1.0
    instant = world.listener._instant()
    assert instant is not None
    assert instant > world.now + 50.0


def test_a_thread_whose_start_was_interrupted_ends() -> None:
    """It may begin after another one has served and ended; it does what is left and ends."""
    world = World(threads=True)
    token = Token()
    token.is_spare = True
    start_thread(world.listener.worker._begin, (token,))
    assert token.ended.acquire(timeout=20)
    assert not world.listener.is_alive()
    world.log(1)
    assert world.flush().reply.get(timeout=20) is True
    world.listener.stop(20)
