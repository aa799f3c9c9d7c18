"""Batches are posted in order, tried again at the right instants, and what happens is said once."""

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

OK = Outcome(Kind.DELIVERED)
DOWN = Outcome(Kind.RETRY, "it answers 503")
WRONG = Outcome(Kind.MISCONFIGURED, "it answers 400")
LARGE = Outcome(Kind.TOO_LARGE, "it answers 413")
STALE = Outcome(Kind.RETRY, "the connection was gone", stale=True)


class World:
    """A listener whose clock, jitter, endpoint and voice are in the hands of a test.

    `outcomes` are given to the POSTs in turn, then OK; a function is asked with the POST's numbers.
    Without a thread, `run` does what the thread would have done by now.
    """

    def __init__(
        self,
        *outcomes: Outcome | Exception,
        jitter: Callable[[float], float] | None = lambda pause: pause,
        threads: bool = False,
        queue: WakeQueue | None = None,
        encoding: str | None = "deflate",
        flush_interval: float = 5.0,
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
            Backlog(self.buffer, encoding, 6),
            self._post,
            flush_interval=flush_interval,
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
        """Take a line for each number."""
        for number in numbers:
            assert self.buffer.append(b"%d\n" % number)

    def batch(self, *numbers: int) -> None:
        """Take lines and seal their batch."""
        self.log(*numbers)
        self.buffer.seal()

    def run(self, until: float = 0.0, step: float = 0.25) -> None:
        """Let the listener do what is due, up to an instant of the clock (seconds from 1000)."""
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
        """Ask for everything so far."""
        number = self.buffer.seal()
        assert number is not None
        request = Flush(number, self.clock() + seconds)
        self.queue.put(request)
        return request

    @property
    def times(self) -> list[float]:
        """Return when POSTs were made, in seconds from 1000."""
        return [at - 1000.0 for at, _ in self.posts]

    @property
    def delivered(self) -> list[list[int]]:
        """Return what was in the POSTs."""
        return [numbers for _, numbers in self.posts]

    def counts(self) -> dict[str, int]:
        """Return the numbers of the batches."""
        return self.buffer.counts()

    def levels(self) -> list[int]:
        """Return the levels of what was said."""
        return [level for level, _ in self.said]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """Each test ends the threads that it caused to start."""
    yield
    assert eventually(lambda: not [t for t in threading.enumerate() if t.name == "fslog"])


def reply(request: Flush) -> bool | None:
    """Return the answer to a flush, None where there is none yet."""
    return None if request.reply.empty() else request.reply.get_nowait()


def test_an_open_batch_is_posted_when_it_is_old_enough() -> None:
    """Lines wait for others until the first is `flush_interval` old, then travel together."""
    world = World(flush_interval=5.0)
    world.log(1)
    world.run(until=3)
    world.log(2)
    world.run(until=20)
    assert world.posts == [(1005.0, [1, 2])]
    assert world.counts()["delivered"] == 2
    assert world.said == []


def test_a_full_batch_is_posted_at_once() -> None:
    """A batch that reached its count does not wait for its age."""
    world = World(batch_events=2)
    world.log(1, 2, 3, 4, 5)
    world.run()
    assert world.posts == [(1000.0, [1, 2]), (1000.0, [3, 4])]
    world.run(until=5)
    assert world.posts[2:] == [(1005.0, [5])]


def test_batches_keep_their_order_through_failures() -> None:
    """A batch that fails is tried again before any that came after it."""
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
    """By itself the listener waits a random part of each pause."""
    world = World(*[DOWN] * 4, jitter=None)
    world.batch(1)
    for at in range(16 * 64):
        world.run(until=at / 64, step=1 / 64)
    pauses = [after - before for before, after in zip(world.times, world.times[1:], strict=False)]
    assert len(pauses) == 4
    for pause, most in zip(pauses, (1, 2, 4, 8), strict=True):
        assert 0.0 <= pause <= most + 1 / 64


def test_success_begins_the_pauses_anew() -> None:
    """After a delivery the next failure is followed by the shortest pause again."""
    world = World(DOWN, DOWN, DOWN, OK, DOWN)
    world.batch(1)
    world.run(until=7)
    world.batch(2)
    world.run(until=20)
    assert world.times == [0, 1, 3, 7, 7, 8]


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_retry_after_is_never_undercut(jitter: float) -> None:
    """Whatever chance says, the next try is not sooner than the endpoint asked for."""
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


def test_a_flush_tries_now_whatever_was_asked() -> None:
    """A flush does not wait for `retry_at`, not even for a Retry-After."""
    world = World(Outcome(Kind.RETRY, "it answers 503", retry_after=900.0))
    world.batch(1)
    world.run(until=10)
    assert world.times == [0]
    request = world.flush()
    world.run(until=10)
    assert world.times == [0, 10]
    assert reply(request) is True


def test_a_flush_begins_the_pauses_anew() -> None:
    """Who asks for a flush has reason to hope: the next pause is the shortest again."""
    world = World(*[DOWN] * 5)
    world.batch(1)
    world.run(until=8)
    assert world.times == [0, 1, 3, 7]
    world.flush(60.0)
    world.run(until=30)
    assert world.times == [0, 1, 3, 7, 8, 9]


def test_while_it_waits_batches_are_taken_and_compressed() -> None:
    """Between two tries the listener makes room: what waits on its queue is compressed."""
    world = World(DOWN, batch_bytes=1000, buffer_bytes=1100)
    assert world.buffer.append(b"1" * 999 + b"\n")
    world.buffer.seal()
    world.run()
    assert world.buffer.append(b"2" * 999 + b"\n")
    assert not world.buffer.append(b"3" * 999 + b"\n")
    world.run()
    assert world.buffer.append(b"3" * 999 + b"\n")
    assert len(world.posts) == 1


def test_all_that_waits_is_compressed_before_a_post() -> None:
    """A POST may take long: before it, everything on the queue is taken, not one item only."""
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


def test_what_comes_in_an_outage_travels_together() -> None:
    """However old it gets, the open batch waits for older ones: a few events are one POST."""
    world = World(DOWN, DOWN, DOWN, DOWN, flush_interval=1.0)
    world.batch(0)
    for number in range(1, 8):
        world.log(number)
        world.run(until=2 * number)
    assert world.times == [0, 1, 3, 7]
    world.run(until=20)
    assert world.posts[4:] == [(1015.0, [0]), (1015.0, [1, 2, 3, 4, 5, 6, 7])]


def test_a_stale_connection_is_no_failure() -> None:
    """A kept connection that was gone is replaced at once; nothing is said and nothing waits."""
    world = World(STALE)
    world.batch(1)
    world.run()
    assert world.posts == [(1000.0, [1]), (1000.0, [1])]
    assert world.said == []
    assert world.counts()["delivered"] == 1


def test_a_connection_that_is_stale_again_is_a_failure() -> None:
    """At once is once: an endpoint that drops every connection is not asked in a tight loop."""
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
def test_only_events_that_are_too_large_alone_are_given_up(
    sizes: list[int], poison: set[int], limit: int, encoding: str | None
) -> None:
    """Whatever is found too large, all but the events that are refused singly arrive in order."""
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


def test_a_split_goes_on_where_an_outage_ends_it() -> None:
    """A half that fails for another reason is kept and tried again; no event is sent twice."""
    world = World(LARGE, OK, DOWN, OK)
    world.batch(0, 1, 2, 3)
    world.run(until=5)
    assert world.delivered == [[0, 1, 2, 3], [0, 1], [2, 3], [2, 3]]
    assert world.counts()["delivered"] == 4


def test_a_wrong_set_up_is_probed_slowly() -> None:
    """Everything is kept; one attempt every `max_backoff`, however much is logged meanwhile."""
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


def test_an_outage_is_said_once_and_its_end_too() -> None:
    """However many tries an outage takes, it is one WARNING and one INFO; so is the next one."""
    world = World(*[DOWN] * 6, OK, *[DOWN] * 3)
    world.batch(1)
    world.run(until=200)
    world.batch(2)
    world.run(until=400)
    assert world.levels() == [logging.WARNING, logging.INFO] * 2
    assert "it answers 503" in world.said[0][1]


def test_the_last_error_is_kept_in_words() -> None:
    """`last_error` is the newest failure, also after the endpoint is well again."""
    world = World(DOWN, WRONG)
    assert world.listener.last_error is None
    world.batch(1)
    world.run()
    assert world.listener.last_error == "it answers 503"
    world.run(until=200)
    assert world.listener.last_error == "it answers 400"
    assert world.listener.retries.value() == 2


def test_a_mistake_of_ours_costs_a_pause_only() -> None:
    """An exception where none may be is told like an outage, without keys, and tried again."""
    world = World(RuntimeError("s3cret went wrong"), max_backoff=60.0)
    world.batch(1)
    world.run(until=100)
    assert world.times == [0, 60]
    assert world.listener.last_error == "internal error: RuntimeError: *** went wrong"
    assert world.levels() == [logging.WARNING, logging.INFO]
    assert "s3cret" not in str(world.said)
    assert world.counts()["delivered"] == 1


def test_a_mistake_of_ours_answers_a_flush() -> None:
    """Who waits for what will not be tried in time is not kept waiting."""
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
    """Where memory is short for a moment, the batch is packed later and delivered in its turn."""
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
    """Splitting needs memory too: without it the batch stays whole and is split later."""
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
    """After it no POST is begun that the end of the process would cut short, until one is asked."""
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
    """It waits for what was held when it was asked, not for what came later."""
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


def test_a_flush_is_answered_by_halves_only_when_both_are_delivered() -> None:
    """A batch that was split counts as settled with its last half."""
    world = World(LARGE, OK, DOWN)
    world.log(1, 2)
    request = world.flush(60.0)
    world.run()
    assert reply(request) is None
    world.run(until=5)
    assert reply(request) is True


def test_a_flush_in_vain_is_answered_at_once() -> None:
    """Where the next try comes after the deadline there is nothing to wait for."""
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
    """With nothing held there is nothing to wait for."""
    world = World()
    request = world.flush()
    world.run()
    assert reply(request) is True
    assert world.posts == []


def test_what_was_abandoned_is_not_posted() -> None:
    """Batches that the end of the process gave up are dropped where they wait."""
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
    """A 200 that comes after the end gave the batch up does not count it a second time."""
    world = World()
    world.answer = lambda numbers: world.buffer.abandon() and OK
    world.batch(1, 2)
    world.run()
    counts = world.counts()
    assert (counts["abandoned"], counts["delivered"], counts["pending"]) == (2, 0, 0)


def test_notices_are_logged_during_internal_work() -> None:
    """What a log call leaves to say is said by the listener, marked as fslog's own."""
    world, seen = World(), []
    world.queue.put(lambda: seen.append((is_internal("fslog"), active_redactor() is not None)))
    world.run()
    assert seen == [(True, True)]


def test_posting_is_internal_work() -> None:
    """urllib3's records of a POST are fslog's own; outside of it nothing is."""
    world, seen = World(), []
    world.answer = lambda numbers: seen.append(is_internal("urllib3.connectionpool")) or OK
    world.batch(1)
    world.run()
    assert seen == [True]
    assert active_redactor() is None


def test_room_is_said_when_all_is_delivered() -> None:
    """The end of a full buffer is said once, when the last pending event is settled."""
    world = World()
    notices = Notices("events.example", lambda *words: None, world.clock)
    world.listener._notices = notices  # the world's own would need a refusal first
    emptied: list[int] = []
    notices.emptied = emptied.append  # type: ignore[method-assign]
    world.batch(1)
    world.batch(2)
    world.buffer.refused.add()
    world.run()
    assert emptied == [1]


def test_work_without_a_thread_delivers_until_all_is_settled() -> None:
    """Where no thread can be, the closing one does the same work: order, retries, answers."""
    world = World(DOWN, jitter=lambda pause: 0.0)
    world.batch(1)
    world.log(2)
    request = world.flush(5.0)
    world.listener.work_until(world.now + 5.0)
    assert world.delivered == [[1], [1], [2]]
    assert reply(request) is True
    assert world.counts()["pending"] == 0


def test_work_without_a_thread_does_not_wait_for_what_comes_too_late() -> None:
    """When the next try is after the deadline the work ends, and the flush is answered no."""
    world = World(Outcome(Kind.RETRY, "it answers 503", retry_after=30.0))
    world.log(1)
    request = world.flush(5.0)
    began_at = time.monotonic()
    world.listener.work_until(world.now + 5.0)
    assert time.monotonic() - began_at < 1.0
    assert reply(request) is False
    assert world.counts()["pending"] == 1


def test_work_without_a_thread_never_gives_a_post_more_time_than_is_left() -> None:
    """Time that was spent waiting for the next try is not given to it once more."""
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


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Wait for what another thread does; False: it did not."""
    waiting, until = threading.Event(), time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        waiting.wait(0.005)
    return True


def test_the_thread_starts_with_the_first_line_and_delivers_by_age() -> None:
    """No thread without a line; with one it wakes up by the clock and posts."""
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
    """An endpoint that hangs cannot keep a process alive, and a thread dump says whose it is."""
    world = World(threads=True)
    world.log(1)
    assert world.flush().reply.get(timeout=5.0) is True
    [thread] = [thread for thread in threading.enumerate() if thread.name == "fslog"]
    assert thread.daemon
    world.listener.stop(5)
    assert not thread.is_alive()


def test_a_retired_thread_ends_when_all_is_delivered_and_starts_again() -> None:
    """Retiring lets what is pending be delivered first; the next line starts another thread."""
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


def test_stopping_twice_or_before_the_start_is_fine() -> None:
    """`stop` of a listener that never ran, or has ended, returns at once."""
    world = World(threads=True)
    world.listener.stop(5)
    world.log(1)
    world.flush()
    world.listener.stop(5)
    world.listener.stop(5)
    assert world.counts()["delivered"] == 1


def test_stopping_is_bounded() -> None:
    """`stop` with a time does not wait longer for a POST that hangs."""
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


def test_a_thread_that_is_about_to_end_answers_who_asked_before() -> None:
    """A flush asked of a retired thread during its last POST is answered, not forgotten."""
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
    """The thread lives on after a mistake, and a flush makes it try again."""
    world = World(ValueError("oops"), threads=True)
    world.log(1)
    world.flush()
    assert eventually(lambda: world.listener.last_error is not None)
    assert world.listener.is_alive()
    assert world.flush().reply.get(timeout=5.0) is True
    world.listener.stop(5)


@pytest.mark.parametrize("flush_interval", [1e9, 1e12, 1e300])
def test_an_interval_of_ages_does_not_end_the_thread(flush_interval: float) -> None:
    """Who sets the interval to "never" gets that: batches by count and by flush."""
    world = World(threads=True, flush_interval=flush_interval, batch_events=2)
    world.log(1)
    assert world.flush().reply.get(timeout=5.0) is True
    world.log(2, 3)
    assert eventually(lambda: world.counts()["delivered"] == 3)
    assert world.listener.is_alive()
    world.listener.stop(5)


def test_only_one_serves_the_queue() -> None:
    """While one thread works in the listener's place, no other does, and none is started."""
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
    """A queue that tells when somebody asks whether it is empty."""

    asked: Callable[[], None] | None = None

    def empty(self) -> bool:
        asked, self.asked = self.asked, None
        if asked is not None:
            asked()
        return super().empty()


def test_who_comes_while_the_thread_decides_to_end_does_not_work_beside_it() -> None:
    """Between the thread's "I end" and its "no, there is something" nobody takes its place."""
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


def test_a_look_that_fails_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came off the queue is posted, although the look for orphans raises each time."""
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


def test_an_item_is_kept_until_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that cannot be taken now is taken later, before what came after it."""
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


def test_a_notice_that_raises_is_said_once_and_holds_nothing_up() -> None:
    """A function on the queue that raises is not tried again, and batches go on after a pause."""
    world = World(max_backoff=2.0)

    def fail() -> None:
        raise ValueError("no")

    world.queue.put(fail)
    world.batch(1)
    world.run(until=3.0)
    assert world.delivered == [[1]]
    assert len(world.said) == 2  # down, up


def test_who_lends_itself_gives_the_role_back_when_it_is_interrupted() -> None:
    """A Ctrl-C at the end of a process does not leave a queue that nobody serves."""
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


def test_whose_turn_it_is_not_waits_without_losing_a_flush() -> None:
    """While others have older events nothing is posted; then all is, and the flush is answered."""
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


def test_who_ends_does_not_take_the_role_of_who_came_after() -> None:
    """A thread that began while another one ended serves alone, though something came meanwhile."""
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


def test_a_thread_whose_start_was_interrupted_does_not_stay_for_nothing() -> None:
    """It may begin when another has served and ended: it does what there is, and ends."""
    world = World(threads=True)
    token = Token()
    token.is_spare = True
    start_thread(world.listener.worker._begin, (token,))
    assert token.ended.acquire(timeout=20)
    assert not world.listener.is_alive()
    world.log(1)
    assert world.flush().reply.get(timeout=20) is True
    world.listener.stop(20)
