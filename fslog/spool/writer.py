"""Batches whose lines stand on disk before the log call returns.

The open batch is the open segment: each line is written to it, and only tallied in memory. A
sealed one is a name and four numbers; the listener reads it back when its turn comes. Where the
disk fails, batches are held in memory meanwhile, in the same queue and so in the same order; the
disk is tried again with each new batch.

A call that breaks into an append (a signal handler's, a finalizer's) must be on disk, too, before
it returns, and cannot use the open segment, which is in the hands of what it interrupted: it gets
a segment of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final

from fslog.delivery.batches import Batch, Batches
from fslog.interrupts import unless_interrupt
from fslog.net import wire
from fslog.spool.share import OpenSegment, Spool

_ON_DISK: Final = b""


class Sealed:
    """A batch that waits on disk.

    Args:
        owner: of the segment.
        number: of the batch and of the segment.
        events: how many lines were written.
        encoded_bytes: their size.
        written_at_ns: when the file was last changed; 0 where that is unknown.
        used_bytes: what this process has on disk with it.
        segment: still to be closed.
    """

    __slots__ = (
        "encoded_bytes",
        "events",
        "number",
        "owner",
        "segment",
        "used_bytes",
        "written_at_ns",
    )

    held_bytes = 0

    def __init__(
        self,
        owner: str,
        number: int,
        events: int,
        encoded_bytes: int,
        written_at_ns: int,
        used_bytes: int,
        segment: OpenSegment | None,
    ) -> None:
        self.owner = owner
        self.number = number
        self.events = events
        self.encoded_bytes = encoded_bytes
        self.written_at_ns = written_at_ns
        self.used_bytes = used_bytes
        self.segment = segment


class SpooledBatches(Batches):
    """Gather lines into segments and account for each until it is settled.

    Args:
        spool: this process's share of the directory.
        failed: told of the error when the disk fails, and of None when it works again. Called
            with the lock held, so it must not wait.
        numbers: as for `Batches`.
    """

    def __init__(
        self,
        items: Any,
        opened: Callable[[], bool],
        *,
        spool: Spool,
        failed: Callable[[Exception | None], None],
        **numbers: Any,
    ) -> None:
        super().__init__(items, opened, **numbers)
        self._spool = spool
        self._failed = failed
        self._segment: OpenSegment | None = None
        self._in_memory = False
        self._is_failing = False
        self._numbers = itertools.count(1)
        self._open_number = 0
        self._limit_bytes = -1

    def _take(self, line: bytes) -> bool:
        size = len(line)
        if self._open_bytes + size > self._limit_bytes and not self._make_room(size):
            return False
        held = line
        if self._segment is not None:
            try:
                self._segment.write(line)
                # What interrupts here leaves a line on disk that is not tallied; `load` finds it.
                held = _ON_DISK
            except unless_interrupt(OSError) as error:
                self._fall_back(error)
                if self._open_bytes + size > self._limit():
                    return False
        self._open_bytes += size
        self._lines.append(held)
        if not self._announced:
            self._announce()
        if len(self._lines) >= self._batch_events:
            self._seal()
        return True

    def _make_room(self, size: int) -> bool:
        self._finish_seal()
        self._hold(0)
        if self._lines:
            if self._open_bytes + size > self._most_bytes():
                self._seal()
        elif self._in_memory:
            self._limit_bytes = -1
            self._in_memory = False
        if not self._may_take():
            return False
        if self._segment is None and not self._in_memory and not self._open(size):
            return False
        if self._segment is not None and not self._reserve(size):
            return False
        self._hold(0)
        return self._open_bytes + size <= self._limit()

    def _most_bytes(self) -> int:
        return self._limit() if self._in_memory else self._batch_bytes

    def _open(self, size: int) -> bool:
        """Begin a batch: on disk, or where that fails in memory; False if the spool is full."""
        try:
            if not self._spool.reserve(size):
                return False
            self._open_number = next(self._numbers)
            self._segment = self._spool.open(self._open_number)
        except unless_interrupt(OSError, ValueError) as error:
            self._go_to_memory(error)
        return True

    def _reserve(self, size: int) -> bool:
        if self._open_bytes + size <= self._spool.room_bytes:
            return True
        try:
            return self._spool.reserve(self._open_bytes + size)
        except unless_interrupt(OSError, ValueError) as error:
            self._fall_back(error)
            return True

    def _fall_back(self, error: Exception) -> None:
        """Seal what is on disk, and go on in memory."""
        segment = self._segment
        if self._lines:
            self._close()
        elif segment is not None:
            self._segment = None
            self._spool.discard(segment)
        self._go_to_memory(error)

    def _go_to_memory(self, error: Exception) -> None:
        self._open_number = next(self._numbers)
        self._in_memory = self._is_failing = True
        self._hold(0)
        self._failed(error)

    def _seal(self) -> None:
        # A full disk has room for a file, and for a line now and then: that is no news.
        if self._is_failing and self._segment is not None:
            self._is_failing = False
            self._failed(None)
        self._close()

    def _close(self) -> None:
        segment, number = self._segment, self._open_number
        if segment is None:
            self._note(Batch(self._lines, self._open_bytes, number))
            return
        rescued = segment.rescued()
        if rescued is not None:  # somebody removed the file: only the open descriptor still has it
            lines = list(wire.lines_of(rescued))
            self._note(Batch(lines, len(rescued), number))
            return
        self._note(
            Sealed(
                self._spool.owner_name,
                number,
                len(self._lines),
                self._open_bytes,
                segment.written_at_ns(),
                self._spool.used_bytes + self._open_bytes,
                segment,
            )
        )

    def _finish_seal(self) -> None:
        if self._sealing is None:
            return
        item, segment = self._sealing[0], self._segment
        if isinstance(item, Sealed):
            self._spool.used_bytes = item.used_bytes
        self._segment = None
        self._in_memory = False
        super()._finish_seal()
        if segment is not None:
            segment.close()

    def _limit(self) -> int:
        if self._segment is not None:
            return min(self._batch_bytes, self._spool.room_bytes)
        return super()._limit() if self._in_memory else -1

    def _set_aside(self, line: bytes) -> Any:
        number = next(self._numbers)
        try:
            self._spool.keep(number, line)
        except unless_interrupt(OSError):
            return line
        return number, len(line)

    def keep_late(self, line: bytes) -> bool:
        """Write a line while the interpreter takes itself down; no lock is touched.

        Other threads are stopped by then, perhaps with the lock in their hands.
        """
        try:
            self._spool.begin()
            self._spool.keep(next(self._numbers), line)
        except Exception:  # the disk, or a module that is half taken down
            return False
        return True

    def _take_aside_item(self, item: Any) -> None:
        if isinstance(item, bytes):
            super()._take_aside_item(item)
        else:
            self._enqueue(*item)

    def _enqueue(self, number: int, size: int) -> None:
        """Put a segment that a re-entrant call wrote on the queue, after what it came after."""
        if self._lines:
            self._seal()
        elif self._segment is not None:
            # Forgotten before it is closed: what interrupts here must leave nothing to write to.
            self._limit_bytes = -1
            segment, self._segment = self._segment, None
            self._spool.discard(segment)
        used_bytes = self._spool.used_bytes + size
        self._note(Sealed(self._spool.owner_name, number, 1, size, 0, used_bytes, None))
        self._opened()

    def is_in_memory(self) -> bool:
        """Return whether a new line would be held in memory."""
        return self._in_memory

    def is_safe(self) -> bool:
        """Return whether the end of the process would lose nothing of what is pending."""
        with self._lock:
            return not self._in_memory and all(batch.files for batch in self._unsettled)

    def grows_old(self) -> bool:
        """Return whether the open batch may wait for older ones: it is as safe open as sealed."""
        return self._segment is not None and self._spool.fsync != "segment"

    def load(self, batches: list[Batch], expected_events: int | None) -> None:
        """Account for batches that were read back from disk.

        Args:
            expected_events: how many this process had written there; None for an orphan's.
        """
        found = sum(batch.events for batch in batches)

        def change() -> None:
            if expected_events is None:
                self.adopted += found
            elif found >= expected_events:
                self._sealed_events += found - expected_events
            else:
                self.abandoned += expected_events - found
            self._unsettled |= dict.fromkeys(batches)
            self._hold(sum(batch.held_bytes for batch in batches))

        self.exclusively(change)

    def removed(self, size_bytes: int) -> None:
        """Account for a segment of this process's own that is no longer on disk."""

        def change() -> None:
            self._spool.used_bytes -= size_bytes
            self._spool.give_back(self._open_bytes)
            self._hold(0)
            self._wake()

        self.exclusively(change)

    def end_spool(self, *, is_exclusive: bool) -> None:
        """End this process's ownership if nothing of its own is on disk any more.

        Args:
            is_exclusive: whether the caller sees to it that no append is under way.
        """

        def change() -> None:
            if self._segment is None and not self._spool.used_bytes:
                self._spool.end()
                self._hold(0)

        if is_exclusive:
            change()
        else:
            self.exclusively(change)

    def close_inherited(self) -> None:
        """Close what a fork copied, in the child; no lock is touched, a thread may hold it."""
        if self._segment is not None:
            self._segment.close()
