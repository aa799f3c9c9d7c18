"""Lines are batched in order, bounded by count and bytes, and counted until they are settled."""

from __future__ import annotations

import gc
import itertools
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fslog.delivery import buffer as buffer_module
from fslog.delivery.buffer import Buffer, wait
from fslog.delivery.queue import WakeQueue
from fslog.delivery.store import Batch
from fslog.net import wire


class Gathered:
    """A buffer with small limits, its queue, and a clock that is set by hand."""

    def __init__(self, **limits: int) -> None:
        self.queue = WakeQueue()
        self.now = 100.0
        self.clock: Callable[[], float] = lambda: self.now
        self.opened: Callable[[], Any] = lambda: None
        fixed = {"batch_events": 1000, "batch_bytes": 10_000, "buffer_bytes": 100_000, **limits}
        self.buffer = Buffer(self.queue, self._opened, clock=lambda: self.clock(), **fixed)

    def _opened(self) -> bool:
        return self.opened() is not False

    def take(self) -> list[Batch]:
        """Return what was put on the queue since the last call."""
        found = []
        while True:
            try:
                found.append(self.queue.get_nowait())
            except Empty:
                return found

    def pending(self) -> int:
        """Return how many events are pending."""
        return self.buffer.counts()["pending"]


def line(n: int, size: int = 0) -> bytes:
    """Return a line with a number, of at least some size."""
    return b"%d" % n + b"." * max(0, size - len(b"%d" % n) - 1) + b"\n"


def numbers(batches: list[Batch]) -> list[int]:
    """Return the numbers of the lines in some batches, packed or not."""
    text = b"".join(
        batch.body if batch.body is not None else b"".join(batch.lines) for batch in batches
    )
    return [int(one.rstrip(b".\n")) for one in text.splitlines()]


def test_a_batch_is_sealed_at_its_count() -> None:
    """Each `batch_events` lines go to the queue at once, in order; the rest stay open."""
    gathered = Gathered(batch_events=3)
    for n in range(7):
        assert gathered.buffer.append(line(n))
    sealed = gathered.take()
    assert [numbers([batch]) for batch in sealed] == [[0, 1, 2], [3, 4, 5]]
    assert [batch.number for batch in sealed] == [1, 2]
    assert gathered.buffer.seal() == 3
    assert numbers(gathered.take()) == [6]


@given(
    sizes=st.lists(st.integers(2, 50), max_size=80),
    batch_bytes=st.integers(50, 120),
    batch_events=st.integers(1, 9),
)
def test_batches_keep_their_limits_and_lines_their_order(
    sizes: list[int], batch_bytes: int, batch_events: int
) -> None:
    """For lines of any size, no batch exceeds count or bytes, and each is as large as it can be."""
    gathered = Gathered(batch_bytes=batch_bytes, batch_events=batch_events)
    lines = [b"x" * (size - 1) + b"\n" for size in sizes]
    for one in lines:
        assert gathered.buffer.append(one)
    gathered.buffer.seal()
    sealed = gathered.take()
    assert [one for batch in sealed for one in batch.lines] == lines
    for batch in sealed:
        assert batch.encoded_bytes == sum(map(len, batch.lines)) <= batch_bytes
        assert 1 <= batch.events == len(batch.lines) <= batch_events
    for batch, following in itertools.pairwise(sealed):
        full = batch.encoded_bytes + len(following.lines[0]) > batch_bytes
        assert full or batch.events == batch_events


def test_sealing_nothing_makes_no_batch() -> None:
    """An empty open batch is not sealed; the number returned is that of the newest batch."""
    gathered = Gathered()
    assert gathered.buffer.seal() == 0
    gathered.buffer.append(line(1))
    assert gathered.buffer.seal() == 1
    assert gathered.buffer.seal() == 1
    assert len(gathered.take()) == 1


def test_each_batch_is_announced_with_its_first_line() -> None:
    """`opened` is called once per batch, not per line, while no other thread can append."""
    inside: list[bool] = []
    gathered = Gathered(batch_events=3)
    gathered.opened = lambda: inside.append(gathered.buffer.locked(lambda: None))
    for n in range(7):
        gathered.buffer.append(line(n))
    assert inside == [False, False, False]


def test_the_open_batch_knows_its_age() -> None:
    """The age is that of the first line; without a line there is no age."""
    gathered = Gathered(batch_events=2)
    assert gathered.buffer.open_since() is None
    gathered.buffer.append(line(1))
    gathered.now += 3
    assert gathered.buffer.open_since() == 100.0
    gathered.buffer.append(line(2))
    assert gathered.buffer.open_since() is None
    gathered.buffer.append(line(3))
    assert gathered.buffer.open_since() == 103.0


def test_the_newest_is_refused_when_the_buffer_is_full() -> None:
    """Accepted lines are kept; new ones are refused until a batch is settled."""
    gathered = Gathered(batch_bytes=100, buffer_bytes=100)
    assert [gathered.buffer.append(line(n, 30)) for n in range(5)] == [True] * 3 + [False] * 2
    assert gathered.buffer.append(line(5, 10))
    assert not gathered.buffer.append(line(6, 2))
    first, second = gathered.take()
    assert [numbers([batch]) for batch in (first, second)] == [[0, 1, 2], [5]]
    gathered.buffer.settle(first, delivered=True)
    assert gathered.buffer.append(line(7, 90))
    assert not gathered.buffer.append(line(8, 2))


def test_a_refusal_seals_the_open_batch() -> None:
    """It is sealed at once, so that it can be compressed and delivered."""
    gathered = Gathered(batch_bytes=100, buffer_bytes=50)
    gathered.buffer.append(line(1, 40))
    assert gathered.take() == []
    assert not gathered.buffer.append(line(2, 40))
    assert numbers(gathered.take()) == [1]


def test_a_waiting_batch_counts_compressed() -> None:
    """Compressing a waiting batch makes as much room as it became smaller."""
    gathered = Gathered(batch_bytes=1000, buffer_bytes=1000)
    assert gathered.buffer.append(line(1, 1000))
    assert not gathered.buffer.append(line(2, 900))
    [batch] = gathered.take()
    gathered.buffer.pack(batch, "deflate", 6)
    assert len(batch.body or b"") < 100
    assert not batch.lines
    assert gathered.buffer.append(line(2, 900))
    assert not gathered.buffer.append(line(3, 100))


@given(st.data())
def test_what_is_held_never_exceeds_the_buffer(data: st.DataObject) -> None:
    """In any order of appending, packing and settling, unsettled batches fit `buffer_bytes`."""
    buffer_bytes = data.draw(st.integers(60, 400))
    gathered = Gathered(batch_bytes=60, batch_events=4, buffer_bytes=buffer_bytes)
    waiting: list[Batch] = []
    open_bytes = taken = delivered = 0
    for step in data.draw(st.lists(st.sampled_from("aaaaaapsd"), max_size=60)):
        if step == "a":
            one = line(0, data.draw(st.integers(2, 60)))
            if gathered.buffer.append(one):
                taken, open_bytes = taken + 1, open_bytes + len(one)
        elif step == "s":
            gathered.buffer.seal()
        elif waiting:
            batch = waiting[data.draw(st.integers(0, len(waiting) - 1))]
            if step == "p" and batch.body is None:
                gathered.buffer.pack(batch, "deflate", 9)
            elif step == "d":
                gathered.buffer.settle(batch, delivered=True)
                waiting.remove(batch)
                delivered += batch.events
        for batch in gathered.take():
            waiting.append(batch)
            open_bytes -= batch.encoded_bytes
        held = [b.encoded_bytes if b.body is None else len(b.body) for b in waiting]
        # A compressed line of few bytes is longer than the line: the header of zlib.
        longer = sum(max(0, n - b.encoded_bytes) for n, b in zip(held, waiting, strict=True))
        assert sum(held) + open_bytes <= buffer_bytes + longer
        counts = gathered.buffer.counts()
        assert counts["accepted"] == taken
        assert counts["delivered"] == delivered
        assert counts["pending"] == taken - delivered


def test_a_batch_is_settled_once() -> None:
    """The first call decides: a batch is delivered or abandoned, never both, never twice."""
    gathered = Gathered(batch_events=2)
    for n in range(4):
        gathered.buffer.append(line(n))
    first, second = gathered.take()
    for batch, delivered in ((first, True), (second, False)):
        gathered.buffer.settle(batch, delivered=delivered)
        gathered.buffer.settle(batch, delivered=not delivered)
        gathered.buffer.settle(batch, delivered=delivered)
    counts = gathered.buffer.counts()
    assert (counts["accepted"], counts["delivered"], counts["abandoned"]) == (4, 2, 2)
    assert (counts["pending"], counts["batches"]) == (0, 1)


def test_the_bytes_of_delivered_batches_are_counted() -> None:
    """The bytes before and after compression are those of delivered batches only."""
    gathered = Gathered(batch_events=1)
    gathered.buffer.append(line(1, 500))
    gathered.buffer.append(line(2, 700))
    first, second = gathered.take()
    gathered.buffer.pack(first, "gzip", 6)
    gathered.buffer.settle(first, delivered=True)
    gathered.buffer.settle(second, delivered=False)
    counts = gathered.buffer.counts()
    assert (counts["bytes_encoded"], counts["bytes_sent"]) == (500, len(first.body or b""))


@pytest.mark.parametrize("encoding", ["deflate", "gzip", None])
@pytest.mark.parametrize("events", [2, 3, 7])
def test_a_split_keeps_all_lines_in_order(encoding: str | None, events: int) -> None:
    """The halves have all lines, both keep the batch's number, and the counts do not change."""
    gathered = Gathered()
    for n in range(events):
        gathered.buffer.append(line(n, 20))
    gathered.buffer.seal()
    [batch] = gathered.take()
    gathered.buffer.pack(batch, encoding, 6)
    halves = batch.halves(encoding, 6)
    gathered.buffer.replace(batch, halves)
    assert len(halves) == 2
    texts = [wire.unpack(half.body or b"", encoding) for half in halves]
    assert b"".join(texts) == b"".join(line(n, 20) for n in range(events))
    assert [half.events for half in halves] == [events // 2, events - events // 2]
    assert [half.encoded_bytes for half in halves] == [len(text) for text in texts]
    assert {half.number for half in halves} == {batch.number}
    assert gathered.pending() == events
    for half in halves:
        gathered.buffer.settle(half, delivered=True)
    counts = gathered.buffer.counts()
    assert (counts["delivered"], counts["pending"], counts["batches"]) == (events, 0, 2)
    assert counts["bytes_encoded"] == events * 20


def test_a_split_keeps_the_count_of_bytes() -> None:
    """After a split and the delivery of both halves the whole buffer is free."""
    gathered = Gathered(batch_bytes=1000, buffer_bytes=1000)
    for n in range(10):
        assert gathered.buffer.append(line(n, 100))
    gathered.buffer.seal()
    [batch] = gathered.take()
    gathered.buffer.pack(batch, None, 6)
    halves = batch.halves(None, 6)
    gathered.buffer.replace(batch, halves)
    assert not gathered.buffer.append(line(10, 1))
    for half in halves:
        gathered.buffer.settle(half, delivered=True)
    assert gathered.buffer.append(line(11, 1000))


def test_halves_of_an_abandoned_batch_are_not_counted() -> None:
    """A batch that is abandoned at exit while a 413 splits it stays abandoned."""
    gathered = Gathered(batch_bytes=1000, buffer_bytes=1000)
    for n in range(4):
        gathered.buffer.append(line(n, 50))
    gathered.buffer.seal()
    [batch] = gathered.take()
    gathered.buffer.pack(batch, None, 6)
    assert gathered.buffer.abandon() == 4
    halves = batch.halves(None, 6)
    gathered.buffer.replace(batch, halves)
    for half in halves:
        gathered.buffer.settle(half, delivered=True)
    counts = gathered.buffer.counts()
    assert (counts["abandoned"], counts["delivered"], counts["pending"]) == (4, 0, 0)
    assert gathered.buffer.append(line(5, 1000))
    assert not gathered.buffer.append(line(6, 1))


def test_abandoning_applies_to_exactly_what_is_pending() -> None:
    """Open, sealed and packed lines are abandoned once; delivered ones are not."""
    gathered = Gathered(batch_events=2)
    for n in range(7):
        gathered.buffer.append(line(n))
    first, second, third = gathered.take()
    gathered.buffer.pack(second, "deflate", 6)
    gathered.buffer.settle(first, delivered=True)
    assert gathered.buffer.abandon() == 5
    assert gathered.buffer.abandon() == 0
    counts = gathered.buffer.counts()
    assert (counts["delivered"], counts["abandoned"], counts["pending"]) == (2, 5, 0)
    assert second.settled
    assert third.settled


def test_end_is_called_only_if_nothing_is_pending() -> None:
    """While a batch is open or unsettled, the thread must not end."""
    gathered, ends = Gathered(), []

    def end() -> bool:
        ends.append(gathered.pending())
        return True

    assert gathered.buffer.end_unless_used(end)
    gathered.buffer.append(line(1))
    assert not gathered.buffer.end_unless_used(end)
    gathered.buffer.seal()
    [batch] = gathered.take()
    assert not gathered.buffer.end_unless_used(end)
    gathered.buffer.settle(batch, delivered=True)
    assert gathered.buffer.end_unless_used(end)
    assert ends == [0, 0]


def test_no_line_is_missed_while_the_thread_ends() -> None:
    """An append during `end` happens after it, and so announces a new batch."""
    order: list[str] = []
    gathered = Gathered()
    gathered.opened = lambda: order.append("opened")
    started = threading.Event()

    def append() -> None:
        started.set()
        gathered.buffer.append(line(1))

    thread = threading.Thread(target=append)

    def end() -> bool:
        thread.start()
        started.wait(5)
        thread.join(0.05)
        order.append("ended")
        return True

    assert gathered.buffer.end_unless_used(end)
    thread.join()
    assert order == ["ended", "opened"]


@pytest.mark.parametrize("where", ["opened", "clock"])
def test_a_re_entrant_line_comes_after_the_one_it_interrupts(where: str) -> None:
    """A log call inside an append does not wait; its line is the next one."""
    gathered = Gathered(batch_events=2)
    answers: list[bool] = []

    def interrupt() -> float:
        if not answers:
            answers.append(gathered.buffer.append(line(2)))
            answers.append(gathered.buffer.append(line(3)))
        return 100.0

    setattr(gathered, where, interrupt)
    assert gathered.buffer.append(line(1))
    assert gathered.buffer.append(line(4))
    assert answers == [True, True]
    assert numbers(gathered.take()) == [1, 2, 3, 4]
    assert gathered.pending() == 4


def test_a_re_entrant_line_without_room_is_counted() -> None:
    """Its log call has returned, so only the count shows that there was no room."""
    gathered = Gathered(batch_bytes=100, buffer_bytes=100)
    gathered.opened = lambda: gathered.buffer.append(line(2, 60)) and None
    assert gathered.buffer.append(line(1, 60))
    assert gathered.buffer.refused.value() == 1
    assert gathered.pending() == 1


def test_nothing_is_sealed_inside_an_append() -> None:
    """Sealing needs a consistent state: inside an append it is refused."""
    gathered = Gathered()
    sealed: list[int | None] = []
    gathered.opened = lambda: sealed.append(gathered.buffer.seal())
    gathered.buffer.append(line(1))
    assert sealed == [None]
    assert gathered.buffer.seal() == 1
    assert numbers(gathered.take()) == [1]


def test_a_re_entrant_line_during_another_change_is_accepted() -> None:
    """A signal handler may log while the same thread settles a batch."""
    gathered = Gathered()
    assert gathered.buffer.locked(lambda: gathered.buffer.append(line(1)) and None)
    assert gathered.pending() == 1


def test_signal_handlers_that_log_lose_no_line() -> None:
    """A signal handler appends thousands of times during appends, and no line is lost."""
    gathered = Gathered(batch_events=7, batch_bytes=100, buffer_bytes=10**9)
    interrupts = 0
    is_over = False

    def interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += 1
        assert gathered.buffer.append(line(10**6 + interrupts))
        if not is_over:  # otherwise the next signal would come after this handler is restored
            signal.setitimer(signal.ITIMER_REAL, 0.0002)  # from here: handlers do not nest

    before = signal.signal(signal.SIGALRM, interrupt)
    calls = 0
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0002)
        until = time.monotonic() + 0.5
        while time.monotonic() < until or interrupts < 100:
            assert gathered.buffer.append(line(calls))
            calls += 1
    finally:
        is_over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert gathered.pending() == calls + interrupts
    gathered.buffer.seal()
    found = numbers(gathered.take())
    assert [n for n in found if n < 10**6] == list(range(calls))
    assert [n for n in found if n > 10**6] == [10**6 + n for n in range(1, interrupts + 1)]


class Interrupted(KeyboardInterrupt):
    """Stand in for Ctrl-C."""


def interrupt_at(count: int, action: Callable[[], Any]) -> bool:
    """Run a function and raise after its nth call inside the buffer; return False if it has fewer.

    The interpreter runs signal handlers at calls.
    """
    left = count

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal left
        if frame.f_code.co_filename == buffer_module.__file__ and event in ("call", "c_return"):
            left -= 1
            if left == 0:
                raise Interrupted

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        action()
    except Interrupted:
        return True
    finally:
        sys.setprofile(before)
    return False


@pytest.mark.parametrize(
    ("change", "sizes"),
    [("append", []), ("seal at the count", [20, 20]), ("make room", [20, 25])],
)
def test_an_interrupt_anywhere_in_an_append_keeps_the_counts_exact(
    change: str, sizes: list[int]
) -> None:
    """After a Ctrl-C in a log call, accepted lines are delivered once, and the limits hold."""
    for at in itertools.count(1):
        gathered = Gathered(batch_events=3, batch_bytes=60, buffer_bytes=240)
        for n, size in enumerate(sizes):
            gathered.buffer.append(line(n, size))
        interrupted = interrupt_at(at, partial(gathered.buffer.append, line(3, 20)))
        for n in range(4, 8):
            assert gathered.buffer.append(line(n, 20))
        gathered.buffer.seal()
        # An interrupted append may put its batch there twice; the listener ignores the second one.
        found = list(dict.fromkeys(gathered.take()))
        assert all(batch.encoded_bytes <= 60 for batch in found), at
        shown = numbers(found)
        assert shown == sorted(set(shown))
        assert set(shown) - {3} == {*range(len(sizes)), 4, 5, 6, 7}
        assert gathered.buffer.counts()["accepted"] == len(shown)
        for batch in found:
            gathered.buffer.settle(batch, delivered=True)
        counts = gathered.buffer.counts()
        assert (counts["delivered"], counts["pending"]) == (len(shown), 0)
        assert [gathered.buffer.append(line(n, 60)) for n in range(5)] == [True] * 4 + [False]
        if not interrupted:
            assert 3 in shown
            break
    assert at > 5


def test_each_line_announces_the_batch_until_a_thread_serves_it() -> None:
    """A batch is announced until it is served, and its age is still that of its first line."""
    asked: list[float] = []
    gathered = Gathered()
    gathered.opened = lambda: asked.append(gathered.now) or len(asked) > 2
    for n in range(6):
        gathered.buffer.append(line(n))
        gathered.now += 1
    assert asked == [100.0, 101.0, 102.0]
    assert gathered.buffer.open_since() == 100.0


def test_threads_lose_no_line_and_keep_their_order() -> None:
    """All lines of many threads are kept, those of each thread in the order of its calls."""
    gathered = Gathered(batch_events=50, buffer_bytes=10**9)

    def work(thread: int) -> None:
        for n in range(1000):
            assert gathered.buffer.append(line(thread * 1000 + n))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gathered.buffer.seal()
    found = numbers(gathered.take())
    assert len(found) == gathered.pending() == 8000
    for n in range(8):
        assert [x for x in found if x // 1000 == n] == list(range(n * 1000, n * 1000 + 1000))


def test_waiting_ends_with_room() -> None:
    """All threads that wait for room get it as soon as a batch is settled."""
    gathered = Gathered(batch_bytes=100, buffer_bytes=100)
    gathered.clock = time.monotonic  # type: ignore[method-assign]
    gathered.buffer.append(line(0, 100))
    assert not gathered.buffer.append(line(1, 30))
    [batch] = gathered.take()
    answers: SimpleQueue[bool] = SimpleQueue()
    threads = [
        threading.Thread(
            target=lambda n=n: answers.put(gathered.buffer.wait_for_room(line(n, 30), 30.0))
        )
        for n in range(1, 4)
    ]
    for thread in threads:
        thread.start()
    with pytest.raises(Empty):
        answers.get(timeout=0.1)
    gathered.buffer.settle(batch, delivered=True)
    assert [answers.get(timeout=5) for _ in threads] == [True] * 3
    for thread in threads:
        thread.join()
    gathered.buffer.seal()
    assert sorted(numbers(gathered.take())) == [1, 2, 3]


def test_waiting_ends_with_compression_too() -> None:
    """Room that the listener makes by packing wakes a waiting thread too."""
    gathered = Gathered(batch_bytes=100, buffer_bytes=100)
    gathered.clock = time.monotonic  # type: ignore[method-assign]
    gathered.buffer.append(line(0, 100))
    assert not gathered.buffer.append(line(1, 50))
    [batch] = gathered.take()
    answers: SimpleQueue[bool] = SimpleQueue()
    thread = threading.Thread(
        target=lambda: answers.put(gathered.buffer.wait_for_room(line(1, 50), 30.0))
    )
    thread.start()
    gathered.buffer.pack(batch, "deflate", 6)
    assert answers.get(timeout=5)
    thread.join()


def test_waiting_in_vain_ends_in_time() -> None:
    """Without room the wait returns False after its timeout, and not much later."""
    gathered = Gathered(batch_bytes=100, buffer_bytes=100)
    gathered.clock = time.monotonic  # type: ignore[method-assign]
    gathered.buffer.append(line(0, 100))
    began_at = time.monotonic()
    assert not gathered.buffer.wait_for_room(line(1, 50), 0.1)
    assert 0.1 <= time.monotonic() - began_at < 1.0
    assert gathered.pending() == 1


def test_waiting_in_vain_does_not_accumulate() -> None:
    """A waiter that timed out is removed, however many there are during an outage."""
    gathered = Gathered(batch_bytes=100, buffer_bytes=100)
    gathered.buffer.append(line(0, 100))
    gathered.buffer.wait_for_room(line(1, 50), 0.0)
    gc.collect()
    before = sum(type(thing) is WakeQueue for thing in gc.get_objects())
    for n in range(500):
        assert not gathered.buffer.wait_for_room(line(n, 50), 0.0)
    gc.collect()
    after = sum(type(thing) is WakeQueue for thing in gc.get_objects())
    assert after - before < 10


def test_a_wait_of_any_length_is_possible() -> None:
    """Any timeout that `block_timeout` and `flush` allow, infinity included, can be waited for."""
    queue = WakeQueue()
    for seconds in (0.0, -1.0, 1e6, 1e10, 1e300, float("inf")):
        queue.put(7)
        assert wait(queue, seconds) == 7
    assert wait(queue, 0.01) is None
    assert wait(queue, -5.0) is None


def test_a_waiter_that_times_out_while_it_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that makes room finds it gone, and settles its batch all the same."""

    class Raced(deque[Any]):
        def popleft(self) -> Any:
            self.clear()  # as `wait_for_room` does in another thread
            return super().popleft()

    gathered = Gathered()
    gathered.buffer.append(line(1))
    gathered.buffer.seal()
    [batch] = gathered.take()
    gathered.buffer._waiters = Raced([WakeQueue()])
    gathered.buffer.settle(batch, delivered=True)
    assert gathered.pending() == 0
    assert gathered.buffer.append(line(2))


def test_a_closed_buffer_accepts_late_lines_only() -> None:
    """After `close` each line needs `append_late`, which seals it at once."""
    gathered = Gathered()
    gathered.buffer.append(line(1))
    gathered.buffer.close()
    assert not gathered.buffer.append(line(2))
    number = gathered.buffer.append_late(line(3))
    sealed = gathered.take()
    assert numbers(sealed) == [1, 3]
    assert number == sealed[-1].number
    assert gathered.buffer.open_since() is None


def test_a_closed_buffer_is_bounded() -> None:
    """A late line for which there is no room is refused and counted."""
    gathered = Gathered(buffer_bytes=5)
    gathered.buffer.close()
    assert gathered.buffer.append_late(line(1, 5)) == 1
    assert gathered.buffer.append_late(line(2, 5)) is None
    assert not gathered.buffer.wait_for_room(line(2, 5), 60.0)


def test_a_re_entrant_line_in_a_late_append_is_sealed() -> None:
    """A line that a signal handler logs during a late append is sealed with it."""
    gathered = Gathered()
    gathered.buffer.close()
    broken_in: list[Any] = []

    def opened() -> None:
        if not broken_in:
            broken_in.append(gathered.buffer.append_late(line(2)))

    gathered.opened = opened
    assert gathered.buffer.append_late(line(1)) == 1
    assert broken_in == [0]
    assert numbers(gathered.take()) == [1, 2]


def test_the_line_of_an_interrupted_append_is_announced() -> None:
    """An exception interrupts the announcement, which is repeated: the line may be the last."""
    gathered = Gathered()
    calls: list[int] = []

    def opened() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt

    gathered.opened = opened
    with pytest.raises(KeyboardInterrupt):
        gathered.buffer.append(line(1))
    assert len(calls) == 2
    assert gathered.pending() == 1
