"""Batches whose lines are on disk before the log call returns."""

from __future__ import annotations

import errno
import itertools
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import fslog
from fslog.collector import Answer, Collector
from fslog.delivery.store import Batch
from spools import (
    SIZE,
    Process,
    failing,
    handler,
    line,
    on_disk,
    processes,
    record,
    recover,
    segments,
)
from waiting import eventually


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    with processes(tmp_path) as [made]:
        yield made


def test_a_line_is_on_disk_when_append_returns(process: Process, tmp_path: Path) -> None:
    """Every line, in order and complete; none is kept in memory."""
    for number in range(10):
        assert process.log(number) == [True]
        assert on_disk(tmp_path) == list(range(number + 1))
    assert process.buffer.bound() == "spool_max_bytes"
    assert process.buffer.is_durable()
    assert process.buffer.may_stay_open()
    assert sum(map(len, process.buffer._lines)) == 0
    assert [failure for failure in process.failures if failure is not None] == []


def test_each_batch_is_a_segment(tmp_path: Path) -> None:
    """By count and by bytes, as in memory; sealed batches are on the queue in order."""
    with processes(tmp_path, batch_events=3) as [process]:
        process.log(*range(7))
        sealed = process.take()
        assert [(one.number, one.events, one.encoded_bytes) for one in sealed] == [
            (1, 3, 3 * SIZE),
            (2, 3, 3 * SIZE),
        ]
        assert all(one.held_bytes == 0 for one in sealed)
        assert len(segments(tmp_path)) == 3
    with processes(tmp_path / "bytes", batch_bytes=2 * SIZE) as [process]:
        process.log(*range(5))
        assert [one.events for one in process.take()] == [2, 2]
        assert on_disk(tmp_path / "bytes") == list(range(5))


def test_delivered_segments_are_removed(process: Process, tmp_path: Path) -> None:
    """The segment after its delivery, the owner's file when the handler ends."""
    process.log(1, 2)
    assert process.post() == [1, 2]
    assert segments(tmp_path) == []
    assert process.counts("accepted", "delivered", "pending") == [2, 2, 0]
    assert process.share.used_bytes == 0
    process.log(3)
    process.backlog.end()
    assert on_disk(tmp_path) == [3]
    assert process.post() == [3]
    process.backlog.end()
    assert os.listdir(tmp_path / "owners") == []


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    """The next process finds all accepted lines, of open and sealed batches, in order."""
    with processes(tmp_path, batch_events=3) as [process]:
        process.log(*range(8))
        process.die()
        assert recover(tmp_path) == list(range(8))


def test_lines_on_disk_need_no_memory(process: Process) -> None:
    """More than `buffer_bytes` may wait on disk, and count nothing towards it."""
    for number in range(3000):
        assert process.log(number) == [True]
    process.buffer.seal()
    process.take()
    assert process.buffer._held_bytes == 0
    assert process.post() == list(range(3000))


FAILURES = ["create", "write", "make_directory", "create_lockfile", "listdir", "write_at_start"]


@pytest.mark.parametrize("call", FAILURES)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_lines_continue_in_memory_if_the_disk_fails(call: str, number: int, tmp_path: Path) -> None:
    """Whichever call fails: the event is accepted, one notice is given, the order is kept."""
    with processes(tmp_path, batch_events=3) as [process]:
        process.fs.hooks[call] = failing(number)
        assert process.log(1, 2) == [True, True]
        assert process.buffer.bound() == "buffer_bytes"
        assert not process.buffer.is_durable()
        assert not process.buffer.may_stay_open()
        [error] = [failure for failure in process.failures if failure is not None]
        assert isinstance(error, OSError)
        assert error.errno == number
        assert process.counts("accepted", "pending") == [2, 2]
        process.fs.hooks.clear()
        process.log(3, 4, 5)  # 3 fills the batch in memory; with 4 the disk is tried again
        assert on_disk(tmp_path) == [4, 5]
        assert process.post() == [1, 2, 3, 4, 5]
        assert process.failures == [error, None]
        assert process.counts("accepted", "delivered", "pending") == [5, 5, 0]


@pytest.mark.parametrize("size", [0, 7])
def test_a_disk_that_becomes_full_within_a_batch(size: int, tmp_path: Path) -> None:
    """Earlier lines stay on disk; this one and later ones are kept in memory."""
    with processes(tmp_path) as [process]:
        process.log(1, 2)
        real = process.fs.write
        full = lambda fd, text: os.write(fd, text[:size])  # noqa: E731
        process.buffer._open._segment._write = full  # type: ignore[union-attr]
        assert process.log(3, 4) == [True, True]
        [error] = [failure for failure in process.failures if failure is not None]
        assert isinstance(error, OSError)
        assert error.errno == errno.ENOSPC
        process.fs.write = real  # type: ignore[method-assign]
        assert on_disk(tmp_path) == [1, 2]
        assert process.post() == [1, 2, 3, 4]


def test_memory_is_limited_if_the_disk_fails(tmp_path: Path) -> None:
    """`buffer_bytes` applies then, and is free again after the delivery."""
    with processes(tmp_path, buffer_bytes=3 * SIZE) as [process]:
        process.fs.hooks["create"] = failing(errno.ENOSPC)
        assert process.log(1, 2, 3, 4) == [True, True, True, False]
        assert process.post() == [1, 2, 3]
        assert process.log(5) == [True]
        assert process.post() == [5]
        assert process.counts("accepted", "delivered") == [4, 4]


def test_a_full_disk_and_a_full_memory_refuse(tmp_path: Path) -> None:
    """If no line can be written and memory is full, events are refused, without recursion."""
    with processes(tmp_path, buffer_bytes=3 * SIZE) as [process]:
        process.fs.write = failing(errno.ENOSPC)  # type: ignore[method-assign]
        assert process.log(*range(2000)) == [True] * 3 + [False] * 1997
        assert process.post() == [0, 1, 2]


def test_an_interrupt_that_looks_like_a_failing_disk(tmp_path: Path) -> None:
    """A TimeoutError raised by a signal handler propagates; the disk is used as before."""
    with processes(tmp_path) as [process]:
        write = process.fs.write

        def handle_signal(number: int, frame: FrameType) -> None:
            raise TimeoutError(errno.ETIMEDOUT, "the task took too long")

        def interrupted(fd: int, text: bytes) -> int:
            if text == line(2):
                handle_signal(14, sys._getframe())
            return write(fd, text)

        process.fs.write = interrupted  # type: ignore[method-assign]
        assert process.log(1) == [True]
        with pytest.raises(TimeoutError):
            process.log(2)
        assert process.log(3) == [True]
        assert process.buffer.bound() == "spool_max_bytes"
        assert process.failures == []
        assert process.post() == [1, 3]


def test_a_failing_claim_within_a_batch(tmp_path: Path) -> None:
    """The batch so far is sealed, and the rest kept in memory."""
    with processes(tmp_path, share={"chunk_bytes": SIZE}) as [process]:
        process.log(1, 2)
        process.fs.hooks["write_at_start"] = failing(errno.EIO)
        assert process.log(3) == [True]
        assert on_disk(tmp_path) == [1, 2]
        assert process.post() == [1, 2, 3]


def test_lines_continue_in_memory_after_a_change_of_keys(tmp_path: Path) -> None:
    """A directory that was taken over with other keys gets no more lines."""
    with processes(tmp_path) as [mine], processes(tmp_path, keys="b" * 32) as [other]:
        assert other.log(1) == [True]
        assert mine.log(2) == [True]
        assert mine.buffer.bound() == "buffer_bytes"
        assert isinstance(mine.failures[0], ValueError)
        assert on_disk(tmp_path) == [1]


def test_lines_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    """The directory never exceeds it; deliveries make room, for other processes too."""
    given = {"max_bytes": 6_400, "chunk_bytes": 100}
    with processes(tmp_path, 2, share=given, batch_bytes=500) as [first, second]:
        answers = list(
            itertools.chain.from_iterable(first.log(1) + second.log(2) for _ in range(99))
        )
        assert answers.count(True) == len(on_disk(tmp_path))
        sizes = [os.stat(tmp_path / name).st_size for name in segments(tmp_path)]
        assert 6_400 - 2 * SIZE < sum(sizes) <= 6_400
        assert first.buffer.bound() == "spool_max_bytes"
        assert second.post()
        first.now += 1
        first.share.now += 1
        assert first.log(3) == [True]


def test_a_full_spool_seals_the_open_batch(tmp_path: Path) -> None:
    """If there is no room, the open batch is sealed, so that it can be delivered."""
    with processes(tmp_path, share={"max_bytes": 2 * SIZE, "chunk_bytes": 0}) as [process]:
        assert process.log(1, 2, 3) == [True, True, False]
        assert process.post() == [1, 2]
        process.share.now += 1
        assert process.log(4) == [True]


def test_a_removed_open_segment_is_sent_from_memory(process: Process, tmp_path: Path) -> None:
    """It is read back from its descriptor."""
    process.log(1, 2)
    os.unlink(tmp_path / segments(tmp_path)[0])
    process.log(3)
    process.buffer.seal()
    [batch] = process.take()
    assert isinstance(batch, Batch)
    assert process.post() == [1, 2, 3]
    assert process.counts("accepted", "delivered") == [3, 3]


def test_a_removed_directory_is_created_for_the_next_batch(
    process: Process, tmp_path: Path
) -> None:
    """With the same owner, and all events arrive in order."""
    process.log(1)
    os.rename(tmp_path, f"{tmp_path}.deleted")
    for name in segments(Path(f"{tmp_path}.deleted")):
        os.unlink(f"{tmp_path}.deleted/{name}")
    process.log(2)
    process.buffer.seal()
    process.log(3)
    assert on_disk(tmp_path) == [3]
    assert process.post() == [1, 2, 3]
    process.backlog.end()
    assert os.listdir(tmp_path / "owners") == []


def break_in(process: Process, call: str, *numbers: int) -> list[tuple[bool, list[int]]]:
    """Log from inside the next call of some kind, as a signal handler does."""
    found: list[tuple[bool, list[int]]] = []

    def log(*given: Any) -> None:
        process.fs.hooks.pop(call, None)
        for number in numbers:
            answer = process.log(number)
            found.append((answer[0], on_disk(process.path)))

    process.fs.hooks[call] = log
    return found


def test_an_interrupting_call_writes_its_own_segment(tmp_path: Path) -> None:
    """Its line is on disk before it returns, alone in its file, and sent next."""
    with processes(tmp_path, batch_events=4) as [process]:
        process.log(1)
        process.buffer.seal()
        process.take()
        process.opened = lambda: opened.append(process.log(8, 9)) if not opened else None
        opened: list[Any] = []
        process.log(2)
        assert opened == [[True, True]]
        assert sorted(on_disk(tmp_path)) == [1, 2, 8, 9]
        assert len(segments(tmp_path)) == 4
        process.log(3)
        assert process.post() == [1, 2, 8, 9, 3]
        assert process.counts("accepted", "delivered", "pending") == [5, 5, 0]
        assert process.share.used_bytes == 0


@pytest.mark.parametrize("call", ["write_at_start", "listdir", "create", "lstat", "fstat"])
def test_a_call_that_interrupts_the_opening_of_a_segment(call: str, tmp_path: Path) -> None:
    """Whichever segment has the lower number, both are sent and counted."""
    with processes(tmp_path, share={"chunk_bytes": 0}) as [process]:
        process.log(1)
        process.buffer.seal()
        found = break_in(process, call, 2)
        process.log(3)
        [(answer, seen)] = found
        assert answer
        assert 2 in seen
        number = process.buffer.seal()
        process.take()
        assert number is not None
        assert process.counts("accepted") == [3]
        oldest = process.backlog.oldest()
        assert oldest is not None
        assert oldest <= number
        assert sorted(process.post()) == [1, 2, 3]
        assert process.backlog.oldest() is None
        assert process.counts("delivered", "pending") == [3, 0]
        assert segments(tmp_path) == []


def test_the_number_of_a_flush_covers_all_accepted_lines(tmp_path: Path) -> None:
    """While a line accepted before `seal` is pending, the oldest number is not above it."""
    with processes(tmp_path, share={"chunk_bytes": 0}) as [process]:
        process.log(1)
        process.buffer.seal()
        process.post()
        break_in(process, "listdir", 2)
        process.log(3)
        number = process.buffer.seal()
        process.take()
        assert number is not None
        while process.counts("pending") != [0]:
            oldest = process.backlog.oldest()
            assert oldest is not None
            assert oldest <= number
            process.post(1)


def test_an_interrupting_call_while_the_disk_fails(tmp_path: Path) -> None:
    """Its line is kept in memory after the interrupted one, or refused and counted."""
    with processes(tmp_path, buffer_bytes=3 * SIZE) as [process]:
        process.fs.hooks["create"] = failing(errno.ENOSPC)
        answers: list[list[bool]] = []
        process.opened = lambda: answers.append(process.log(2, 3, 4)) if not answers else None
        process.log(1)
        assert answers == [[True, True, True]]
        assert process.buffer.refused.value() == 1
        assert process.post() == [1, 2, 3]


class Interrupted(KeyboardInterrupt):
    """Stands for Ctrl-C."""


def interrupt() -> None:
    """Raise what Ctrl-C raises."""
    raise Interrupted


def interrupted_at(
    count: int, action: Callable[[], object], function: Callable[[], object] = interrupt
) -> bool:
    """Do something and call a function after its nth call inside of fslog; False: it has fewer.

    Calls are where the interpreter looks for signals.
    """
    left, home = count, os.path.dirname(fslog.__file__)

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal left
        if event in ("call", "c_return") and frame.f_code.co_filename.startswith(home):
            left -= 1
            if left == -1:
                function()

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        action()
    except Interrupted:
        pass
    finally:
        sys.setprofile(before)
    return left < 0


CHANGES: dict[str, list[int]] = {
    "the first line of a segment": [],
    "a line": [0],
    "a line that seals": [0, 1],
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("is_full", [False, True], ids=["", "the disk fails"])
def test_an_interrupt_anywhere_loses_no_line(change: str, is_full: bool, tmp_path: Path) -> None:
    """Ctrl-C anywhere in an append: the lines before and after arrive once, the counts balance."""
    before, after = CHANGES[change], [4, 5, 6, 7]
    for at in itertools.count():
        path = tmp_path / str(at)
        with processes(path, batch_events=3, share={"chunk_bytes": 2 * SIZE}) as [process]:
            process.log(9)
            process.post()
            process.log(*before)
            if is_full:
                process.fs.hooks["create" if not before else "write_at_start"] = failing(28, 1)
            was_broken = interrupted_at(at, lambda: process.log(3))
            process.fs.hooks.clear()
            assert process.log(*after) == [True] * 4
            found = process.post()
            assert [n for n in found if n != 3] == before + after, at
            assert found.count(3) == 1 if not was_broken else found.count(3) <= 1, at
            # A line whose call was interrupted may be on disk without having been counted.
            accepted, delivered, pending = process.counts("accepted", "delivered", "pending")
            assert (accepted, delivered, pending) == (1 + len(found), 1 + len(found), 0), at
            assert process.share.used_bytes == 0, at
            assert set(on_disk(path)) <= {3}, at
            assert all(
                isinstance(failure, OSError) is is_full for failure in process.failures if failure
            )
            if not was_broken:
                break
    assert at > 5


def test_a_second_interrupt_loses_no_line(tmp_path: Path) -> None:
    """Ctrl-C anywhere in the append that completes an interrupted one."""
    for at in itertools.count():
        path = tmp_path / str(at)
        with processes(path) as [process]:
            process.log(9)
            process.post()

            def write(fd: int, text: bytes, process: Process = process) -> None:
                process.fs.hooks.clear()
                process.log(8)
                raise Interrupted

            process.fs.hooks["write"] = write
            with pytest.raises(Interrupted):
                process.log(1)
            was_broken = interrupted_at(at, lambda: process.log(3))
            assert process.log(4) == [True], at
            assert [failure for failure in process.failures if failure] == [], at
            found = process.post()
            process.die()
            found += recover(path)
            assert sorted(set(found) - {3}) == [4, 8], at
            assert len(found) == len(set(found)), at
            if not was_broken:
                assert found == [8, 3, 4]
                break
    assert at > 5


@pytest.mark.parametrize("change", CHANGES)
def test_a_process_that_dies_anywhere_loses_no_line(change: str, tmp_path: Path) -> None:
    """Killed anywhere in an append: all lines whose calls returned are found, once."""
    before = CHANGES[change]
    for at in itertools.count():
        path = tmp_path / str(at)
        with processes(path, batch_events=3) as [process]:
            process.log(*before)
            was_broken = interrupted_at(at, lambda: process.log(3))
            process.die()
            found = recover(path) if path.exists() else []
            assert found in ([*before, 3], before), at
            if not was_broken:
                assert found == [*before, 3]
                break
    assert at > 5


@pytest.mark.parametrize("change", CHANGES)
def test_a_call_may_interrupt_another_anywhere(change: str, tmp_path: Path) -> None:
    """Its line is on disk when it returns, and sent."""
    before = CHANGES[change]
    for at in itertools.count():
        path = tmp_path / str(at)
        with processes(path, batch_events=3, share={"chunk_bytes": 2 * SIZE}) as [process]:
            process.log(9)
            process.post()
            process.log(*before)
            seen: list[bool] = []

            def log(process: Process = process, path: Path = path, seen: list[bool] = seen) -> None:
                assert process.log(8) == [True]
                seen.append(8 in on_disk(path))

            was_broken = interrupted_at(at, lambda: process.log(3), log)
            assert seen == ([True] if was_broken else []), at
            assert process.log(4, 5) == [True, True]
            found = process.post()
            assert sorted(found) == sorted([*before, 3, 4, 5, *([8] if was_broken else [])]), at
            assert [n for n in found if n != 8] == [*before, 3, 4, 5], at
            assert process.counts("pending") == [0], at
            assert process.share.used_bytes == 0, at
            assert segments(path) == [], at
            assert process.failures == [None] * len(process.failures), at
            if not was_broken:
                break
    assert at > 5


def test_a_line_during_shutdown_needs_no_lock(process: Process, tmp_path: Path) -> None:
    """It is written even if a stopped thread holds the lock."""
    locked, done = threading.Event(), threading.Event()

    def stop() -> None:
        with process.buffer._lock:
            locked.set()
            done.wait(10)

    thread = threading.Thread(target=stop)
    thread.start()
    locked.wait(10)
    kept: list[bool] = []
    try:
        kept.append(process.buffer.write_during_shutdown(line(1)))
        process.fs.hooks["create"] = failing(errno.ENOSPC)
        kept.append(process.buffer.write_during_shutdown(line(2)))
    finally:
        done.set()
        thread.join()
    assert kept == [True, False]
    process.die()
    assert recover(tmp_path) == [1]


def test_only_lines_in_memory_are_abandoned(process: Process) -> None:
    """At the end of the process those on disk stay pending."""
    process.log(1, 2)
    assert process.buffer.is_durable()
    assert process.buffer.abandon() == 0
    process.take()
    assert process.backlog.head() is not None
    assert process.buffer.is_durable()
    process.fs.hooks["create"] = failing(errno.ENOSPC)
    process.log(3)
    assert not process.buffer.is_durable()
    assert process.buffer.abandon() == 1
    assert process.counts("accepted", "pending", "abandoned") == [3, 2, 1]
    assert process.post() == [1, 2]


def test_an_owner_with_segments_is_not_removed(process: Process, tmp_path: Path) -> None:
    """Its file stays at the end; within an append nothing is removed."""
    process.log(1)
    process.buffer.end_store(is_exclusive=True)
    assert process.share.owner_name
    process.buffer.seal()
    process.buffer.end_store(is_exclusive=False)
    assert process.share.owner_name
    assert process.post() == [1]
    process.opened = lambda: process.buffer.end_store(is_exclusive=False)
    process.log(2)
    assert process.share.owner_name
    assert on_disk(tmp_path) == [2]


@pytest.mark.parametrize("fsync", ["never", "segment", "line"])
def test_an_open_batch_grows_while_older_ones_wait(fsync: str, tmp_path: Path) -> None:
    """But not with `spool_fsync="segment"`, where sealing flushes it."""
    with processes(tmp_path, share={"fsync": fsync}) as [process]:
        process.log(1)
        assert process.buffer.may_stay_open() is (fsync != "segment")


def test_stats_cover_the_directory(tmp_path: Path) -> None:
    """Segments, bytes and age while the endpoint is down, and none afterwards."""
    with Collector() as collector:
        collector.always(Answer(503))
        with handler(collector, tmp_path, batch_events=2) as made:
            for number in range(5):
                made.handle(record(number))
            stats = made.stats()
            assert (stats.accepted, stats.pending, stats.spool_segments) == (5, 5, 3)
            sizes = [os.stat(tmp_path / name).st_size for name in segments(tmp_path)]
            assert stats.spool_bytes == sum(sizes)
            assert stats.spool_oldest_age is not None
            assert 0 <= stats.spool_oldest_age < 30
            collector.always(None)
            assert made.flush(10)
            stats = made.stats()
            assert (stats.pending, stats.delivered, stats.spool_segments) == (0, 5, 0)
            assert (stats.spool_bytes, stats.spool_oldest_age) == (0, None)
        assert [one["number"] for one in collector.events] == list(range(5))
        # by the thread, when it ends
        assert eventually(lambda: os.listdir(tmp_path / "owners") == [])


def test_a_full_spool_refuses_or_blocks(tmp_path: Path) -> None:
    """`refuse` counts the events without room; `block` waits until a delivery makes some."""
    with Collector() as collector:
        given = {"spool_max_bytes": 6_400, "batch_events": 2, "batch_bytes": 1000}
        collector.always(Answer(503))
        told: list[Any] = []
        with handler(collector, tmp_path / "refuse", on_problem=told.append, **given) as made:
            for number in range(100):
                made.handle(record(number))
            stats = made.stats()
            refused = [problem for problem in told if problem.code == "refused"]
            assert stats.refused == len(refused) > 10
            assert stats.accepted == 100 - stats.refused
            assert stats.spool_bytes <= 6_400
            assert "spool_max_bytes (6400)" in refused[0].message
        collector.clear()
        collector.always(Answer(503))
        blocking = {**given, "overflow": "block", "block_timeout": 20.0}
        with handler(collector, tmp_path / "block", **blocking) as made:
            release = threading.Timer(0.3, collector.always, [None])
            release.start()
            for number in range(100):
                made.handle(record(number))
            release.join()
            assert made.stats().refused == 0
            assert made.flush(20)
        assert [one["number"] for one in collector.events] == list(range(100))


def test_two_handlers_of_one_process_share_a_directory(tmp_path: Path) -> None:
    """Neither adopts the other's segments, and each removes its own owner."""
    with Collector() as collector, handler(collector, tmp_path) as first:
        with handler(collector, tmp_path) as second:
            for number in range(10):
                (first, second)[number % 2].handle(record(number))
            assert len(os.listdir(tmp_path / "owners")) == 2
            assert first.flush(10)
            assert second.flush(10)
            for made in (first, second):
                stats = made.stats()
                assert (stats.accepted, stats.delivered, stats.adopted) == (5, 5, 0)
        assert sorted(one["number"] for one in collector.events) == list(range(10))


class InterruptedLoading(deque[Any]):
    """A queue of loaded batches whose extension is interrupted by a signal handler."""

    def extend(self, items: Iterable[Any]) -> None:
        raise Interrupted


def test_flush_returns_false_if_an_interruption_left_segments(tmp_path: Path) -> None:
    """If no thread can be started: they are pending here, and sent by the next process."""

    def refuse(*arguments: Any) -> None:
        raise RuntimeError("can't start new thread")

    with Collector() as collector, handler(collector, tmp_path, shutdown_timeout=0.2) as made:
        delivery: Any = made._current()
        delivery._parts.listener.worker._start_thread = refuse
        made.handle(record(1))
        delivery._parts.backlog._loaded = InterruptedLoading()
        with pytest.raises(Interrupted):
            made.flush(5)
        delivery._parts.backlog._loaded = deque()
        assert made.flush(0.2) is False
        assert made.stats().pending == 1
        assert on_disk(tmp_path) == [1]
