"""Lines from the log call until they are settled: the open batch, the sealed ones, the counts.

Any thread appends a line to the open batch under one lock, held for a list append and, with a
spool, one `write`. A batch that reaches its count or its bytes is sealed at once and put on the
listener's queue; one that reaches its age is sealed by the listener.

Which states an interrupted or a re-entrant call may find is described in `fslog.delivery`.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from fslog.counters import Counter
from fslog.delivery.queue import WakeQueue
from fslog.delivery.store import NOTHING, Aside, Batch, OpenBatch, Sealed, Store
from fslog.interrupts import new_lock, unless_interrupt


def _ignore(error: Exception | None) -> None:
    pass


class Buffer:
    """Collect lines in batches, and count each line until it is settled.

    Args:
        items: the queue where sealed batches go.
        opened: called, with the lock held, when a batch gets its first line, and at each further
            one until it returns that a thread serves the queue.
        store: holds lines outside of memory.
        failed: called, with the lock held, with the store's error when a batch has to be held in
            memory instead, and with None when the store works again.
        batch_events: how many events a batch has at most.
        batch_bytes: how many bytes its lines have at most; a line is never longer.
        buffer_bytes: how many bytes all batches occupy in memory at most.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        items: WakeQueue,
        opened: Callable[[], bool],
        *,
        store: Store | None = None,
        failed: Callable[[Exception | None], None] = _ignore,
        batch_events: int,
        batch_bytes: int,
        buffer_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        self._items = items
        self._opened = opened
        self._store = Store() if store is None else store
        self._failed = failed
        self._batch_events = batch_events
        self._batch_bytes = batch_bytes
        self._buffer_bytes = buffer_bytes
        self._clock = clock
        self._lock = new_lock()
        self._in_append = False
        self._parked: deque[Any] = deque()
        self._waiters: deque[WakeQueue] = deque()
        self._numbers = itertools.count(1)
        self._open: OpenBatch | None = None
        self._lines: list[bytes] = []
        self._open_bytes = 0
        self._announced = False
        self._is_closed = False
        self._is_late = False
        self._sealing: tuple[Sealed, int, int, int] | None = None
        self._unsettled: dict[Batch, None] = {}
        self._held_bytes = 0
        self._limit_bytes = -1
        self._number = 0
        self._sealed_events = 0
        self.opened_at: float = 0.0
        self.failing_since: float | None = None
        """When the store began to fail; None if it works."""
        self.refused: Counter = Counter()
        self.refused_at: float | None = None
        self.adopted = self.delivered = self.abandoned = self.batches = self.merged = 0
        self.expired = self.quarantined = 0
        self.bytes_encoded = self.bytes_sent = 0

    def append(self, line: bytes) -> bool:
        """Append a line to the open batch; False if there is no room for it.

        A line that a re-entrant call parked has been accepted: if there is no room for it, it is
        counted in `refused` here. The caller counts its own.
        """
        with self._lock:
            if self._in_append:
                self._park(line)
                return True
            try:
                self._in_append = True
                if self._parked:
                    self._append_parked()
                is_accepted = self._append(line)
            except BaseException:
                self._in_append = False
                self.locked(self._announce)  # the line may be there, and be the last
                raise
            finally:
                self._in_append = False
            # After `_in_append` is false again, so that no line can be parked in between.
            if self._parked:
                self.locked(self._append_parked)
            return is_accepted

    def append_late(self, line: bytes) -> int | None:
        """Append a line after `close`, and seal its batch.

        Returns:
            The number of the batch that holds the line, 0 if the append that this call interrupted
            will append it; None if there is no room for it.
        """
        number: list[int] = []

        def append() -> None:
            self._is_late = True
            try:
                if self._append(line):
                    if self._lines:
                        self._seal()
                    number.append(self._number)
            finally:
                self._is_late = False

        with self._lock:
            if self._in_append:
                self._park(line)
                return 0
            self.locked(append)
            return number[0] if number else None

    def write_during_shutdown(self, line: bytes) -> bool:
        """Hold a line while the interpreter shuts down; False if it would be lost.

        Takes no lock: other threads are stopped by then, perhaps while they hold it.
        """
        return self._store.write_during_shutdown(next(self._numbers), line)

    def close(self) -> None:
        """Make `append` refuse every line from now on, because the process ends."""

        def close() -> None:
            self._is_closed = True
            self._hold(0)
            self._wake()

        self.locked(close)

    def _append(self, line: bytes) -> bool:
        size = len(line)
        if self._open_bytes + size > self._limit_bytes and not self._make_room(size):
            return False
        held = line
        write = self._open.write  # type: ignore[union-attr]  # there is one if there is room
        if write is not None:
            try:
                write(line)
                # An interruption here leaves a line that is not counted yet; `load` counts it.
                held = b""
            except unless_interrupt(OSError) as error:
                self._fall_back(error)
                if size > self._limit():
                    return False
        self._open_bytes += size
        self._lines.append(held)
        if not self._announced:
            self._announce()
        if len(self._lines) >= self._batch_events:
            self._seal()
        return True

    def _announce(self) -> None:
        """Make a thread serve the open batch, if it has lines and no thread does yet."""
        if self._lines and not self._announced:
            if len(self._lines) == 1:
                self.opened_at = self._clock()
            self._announced = self._opened()

    def _park(self, line: bytes) -> None:
        """Keep a re-entrant call's line for the append that the call interrupted."""
        try:
            self._parked.append(self._store.write_alone(next(self._numbers), line))
        except unless_interrupt(OSError):
            self._parked.append(line)

    def _append_parked(self) -> None:
        was_late, self._is_late = self._is_late, True
        try:
            self._empty_parked()
        finally:
            self._is_late = was_late

    def _empty_parked(self) -> None:
        # A function of its own: up to CPython 3.13, what a signal handler raises at the jump from
        # the end of such a loop to its start skips a `finally` around it.
        while self._parked:
            self._append_parked_item(self._parked[0])
            self._parked.popleft()
        if self._is_closed and self._lines:
            self._seal()

    def _append_parked_item(self, item: Any) -> None:
        if isinstance(item, bytes):
            if not self._append(item):
                self.refuse()
            return
        # It is a batch already, whose number is higher than that of the open one.
        if self._lines:
            self._seal()
        elif self._open is not None:
            # Set to None before it is discarded: an interruption must not leave it in use.
            self._limit_bytes = -1
            unused, self._open = self._open, None
            unused.discard()
        self._record_seal(item)
        self._opened()

    def _make_room(self, size: int) -> bool:
        """Return whether the open batch, or a new one, has room for a line of so many bytes.

        A batch that cannot grow is sealed even if there is no room for another one: the listener
        can then compress and deliver it.
        """
        self._finish_seal()
        self._hold(0)
        if self._lines:
            self._grow_or_seal(size)
        if self._is_closed and not self._is_late:
            return False
        if not self._lines and not self._open_batch(size):
            return False
        self._hold(0)
        return self._open_bytes + size <= self._limit()

    def _grow_or_seal(self, size: int) -> None:
        encoded_bytes = self._open_bytes + size
        free_bytes = self._buffer_bytes - self._held_bytes
        opened: Any = self._open
        try:
            if encoded_bytes <= self._batch_bytes and opened.extend(encoded_bytes, free_bytes):
                return
        except unless_interrupt(OSError, ValueError):
            self._record_seal(opened.seal(self._lines, self._open_bytes))
            return
        self._seal()

    def _open_batch(self, size: int) -> bool:
        """Begin a batch: in the store, or in memory if that fails; False if the store is full."""
        unused = self._open
        if unused is not None and unused.write is None:
            unused = self._open = None
        try:
            opened = self._store.open(next(self._numbers), size, unused)
        except unless_interrupt(OSError, ValueError) as error:
            self._fall_back(error)
            return True
        if opened is None:
            return False
        self._open = opened
        return True

    def _fall_back(self, error: Exception) -> None:
        """Seal what the store holds, and hold the next batch in memory."""
        opened = self._open
        if self._lines:
            self._record_seal(opened.seal(self._lines, self._open_bytes))  # type: ignore[union-attr]
        elif opened is not None:
            self._limit_bytes = -1
            self._open = None
            opened.discard()
        self._open = OpenBatch(next(self._numbers), may_stay_open=False)
        if self.failing_since is None:
            self.failing_since = self._clock()
        self._hold(0)
        self._failed(error)

    def _seal(self) -> None:
        """Put the open batch on the queue."""
        opened: Any = self._open
        # A full disk has room for a file, and for a line now and then: that is no recovery.
        if self.failing_since is not None and opened.write is not None:
            self.failing_since = None
            self._failed(None)
        self._record_seal(opened.seal(self._lines, self._open_bytes))

    def _record_seal(self, sealed: Sealed) -> None:
        if isinstance(sealed, Batch) and self._lines:
            sealed.opened_at = self.opened_at
        # Computed first and assigned once, with a limit that sends the next line here to finish
        # it: an exception out of a signal handler may end this between any two steps.
        recorded = (
            sealed,
            self._sealed_events + sealed.events,
            self._held_bytes + sealed.held_bytes,
            self._store.used_bytes + sealed.stored_bytes,
        )
        self._limit_bytes = -1
        self._sealing = recorded
        self._finish_seal()

    def _finish_seal(self) -> None:
        if self._sealing is None:
            return
        sealed, self._sealed_events, self._held_bytes, self._store.used_bytes = self._sealing
        if isinstance(sealed, Batch):
            self._unsettled[sealed] = None
        opened = self._open
        self._lines = []
        self._open_bytes = 0
        self._announced = False
        self._open = None
        self._number = max(self._number, sealed.number)  # a re-entrant call's may be less
        self._items.put(sealed)
        self._sealing = None
        self._hold(0)
        if opened is not None:
            opened.close()

    def _hold(self, more_bytes: int) -> None:
        self._held_bytes += more_bytes
        self._limit_bytes = -1 if self._is_closed else self._limit()
        if more_bytes < 0:
            self._wake()

    def _limit(self) -> int:
        """Return how many bytes the open batch may have before `_make_room` must be asked."""
        if self._open is None:
            return -1
        free_bytes = self._buffer_bytes - self._held_bytes
        return min(self._batch_bytes, self._open.room_bytes(free_bytes))

    def _wake(self) -> None:
        while self._waiters:
            with contextlib.suppress(IndexError):  # its wait has timed out meanwhile
                self._waiters.popleft().put(None)

    def locked(self, change: Callable[[], object]) -> bool:
        """Make a change that no append sees half of; False from inside an append."""
        with self._lock:
            if self._in_append:
                return False
            try:
                self._in_append = True
                self._finish_seal()
                change()
            except BaseException:
                self._finish_seal()  # what was recorded must reach the queue
                raise
            finally:
                self._in_append = False
            if self._parked:
                self.locked(self._append_parked)
            return True

    def is_locked_here(self) -> bool:
        """Return whether this thread is inside one of these methods.

        A call that interrupted it must not wait for the listener, which waits for the lock.
        """
        return self._lock._is_owned()  # type: ignore[attr-defined, no-any-return]

    def refuse(self) -> None:
        """Count an event for which there is no room."""
        self.refused_at = self._clock()
        self.refused.add()

    def seal(self) -> int | None:
        """Seal the open batch, if it has lines.

        Returns:
            The number of the newest sealed batch: everything accepted so far is in it or in an
            older one. None if called from inside an append of this very thread.
        """

        def seal() -> None:
            if self._lines:
                self._seal()

        return self._number if self.locked(seal) else None

    def open_since(self) -> float | None:
        """Return when the first line of the open batch was appended; None if it has no lines."""
        return self.opened_at if self._lines else None

    def is_stored(self) -> bool:
        """Return whether the open batch would survive the process."""
        opened = self._open
        return opened is not None and opened.write is not None

    def may_stay_open(self) -> bool:
        """Return whether the open batch may wait for older ones, and so be part of a larger POST.

        After an outage the few events of an hour are one POST then, not one every few seconds.
        """
        opened = self._open
        return opened is not None and opened.may_stay_open

    def bound(self) -> str:
        """Return the name of the handler's argument that bounds what is held now."""
        opened = self._open
        return self._store.bound if opened is None else opened.bound

    def is_durable(self) -> bool:
        """Return whether the end of the process would lose nothing of what is pending."""
        if not self._store.is_durable:
            return False
        with self._lock:
            if self._open is not None and self._open.write is None:
                return False
            unsettled = list(self._unsettled)
        # Not in the block: from 3.14 on this is a loop, whose jumps the block would not contain.
        return all(batch.stored is not None for batch in unsettled)

    def pack(
        self, batch: Batch, encoding: str | None, level: int, aggregate: float | None = None
    ) -> None:
        """Compress a batch, and count it as it is held from now on."""
        before = batch.held_bytes
        batch.pack(encoding, level, aggregate)
        self.locked(lambda: self._hold(0 if batch.settled else batch.held_bytes - before))

    def load(
        self, batches: list[Batch], expected_events: int | None, aside: Aside = NOTHING
    ) -> None:
        """Account for batches that were read back from the store.

        Args:
            batches: in memory from now on.
            expected_events: how many this process had written there; None for another's.
            aside: what was read and will not be sent.
        """
        found = sum(batch.events for batch in batches) + aside.expired
        if expected_events is None:
            adopted, more, lost = found + aside.rejected, 0, aside.rejected
        else:
            adopted, more = 0, max(0, found - expected_events)
            lost = max(0, expected_events - found)
        lost += aside.expired
        kept = min(aside.kept, lost)  # a torn line was not accepted

        def change() -> None:
            self.adopted += adopted
            self._sealed_events += more
            self.abandoned += lost
            self.expired += aside.expired
            self.quarantined += kept
            self._unsettled |= dict.fromkeys(batches)
            self._hold(sum(batch.held_bytes for batch in batches))

        self.locked(change)

    def removed(self, size_bytes: int) -> None:
        """Account for a batch of this process's own that is no longer in the store."""

        def change() -> None:
            self._store.used_bytes -= size_bytes
            self._store.release_room(self._open_bytes)
            self._hold(0)
            self._wake()

        self.locked(change)

    def end_store(self, *, is_exclusive: bool) -> None:
        """Release the store if nothing of this process is in it any more.

        Args:
            is_exclusive: whether the caller ensures that no append is under way.
        """

        def change() -> None:
            is_open = self._open is not None and self._open.write is not None
            if not is_open and not self._store.used_bytes:
                self._store.end()
                self._hold(0)

        if is_exclusive:
            change()
        else:
            self.locked(change)

    def close_inherited(self) -> None:
        """Close what a fork copied, in the child. Takes no lock: a thread may hold it."""
        if self._open is not None:
            self._open.close()

    def replace(self, batch: Batch, halves: list[Batch]) -> None:
        """Replace a batch in the counts by its halves, which count as settled until then."""
        more_bytes = sum(half.held_bytes for half in halves) - batch.held_bytes
        others = dict.fromkeys(halves)

        def replace() -> None:
            if batch.settled:
                return
            self._unsettled.pop(batch, None)
            # From here on nothing is called, so that nothing is interrupted.
            batch.settled = True
            self._unsettled |= others
            self._held_bytes += more_bytes
            halves[0].settled = halves[1].settled = False
            self._hold(0)

        self.locked(replace)

    def shorten(self, batch: Batch, rest: Batch) -> None:
        """Replace what a batch holds by a part of it, and abandon the other events."""

        def shorten() -> None:
            if batch.settled:
                return
            fewer, more_bytes = batch.events - rest.events, rest.held_bytes - batch.held_bytes
            # From here on nothing is called, so that nothing is interrupted.
            batch.lines, batch.body, batch.unmerged = rest.lines, rest.body, rest.unmerged
            batch.merged, batch.events = rest.merged, rest.events
            batch.encoded_bytes, batch.stored = rest.encoded_bytes, rest.stored
            self.abandoned += fewer
            self._held_bytes += more_bytes
            self._hold(0)
            self._wake()

        self.locked(shorten)

    def lose(self, events: int) -> None:
        """Abandon events of this process's own that wait in the store, and were removed there."""

        def lose() -> None:
            self.abandoned += events

        self.locked(lose)

    def settle(
        self, batch: Batch, *, delivered: bool, is_kept: bool = False, is_expired: bool = False
    ) -> bool:
        """Account for the end of a batch. Only the first call has an effect.

        Args:
            batch: that nothing more is done with.
            delivered: whether it was; it is abandoned otherwise.
            is_kept: whether the quarantine has it.
            is_expired: whether it waited for too long.

        Returns:
            Whether this was the first call.
        """
        is_first = False

        def settle() -> None:
            nonlocal is_first
            if batch.settled:
                return
            held_bytes, unmerged_bytes = batch.held_bytes, len(batch.unmerged or b"")
            self._unsettled.pop(batch, None)
            # From here on nothing is called, so that nothing is interrupted.
            is_first = batch.settled = True
            self._held_bytes -= held_bytes
            if delivered:
                self.delivered += batch.events
                self.batches += 1
                self.merged += batch.merged
                self.bytes_encoded += batch.encoded_bytes
                self.bytes_sent += held_bytes - unmerged_bytes
            else:
                self.abandoned += batch.events
                self.quarantined += batch.events if is_kept else 0
                self.expired += batch.events if is_expired else 0
            self._hold(0)
            self._wake()

        self.locked(settle)
        return is_first

    def abandon(self, number: int | None = None) -> int:
        """Abandon what the end of the process loses, and return the number of events.

        Args:
            number: of the newest batch to abandon; None for everything.
        """
        abandoned: list[int] = []
        self.seal()
        for batch in list(self._unsettled):
            is_included = number is None or batch.number <= number
            if is_included and batch.stored is None and self.settle(batch, delivered=False):
                abandoned.append(batch.events)
        return sum(abandoned)

    def wait_for_room(self, line: bytes, seconds: float, poll: float | None = None) -> bool:
        """Append a line as soon as there is room; False if there was none in that time.

        Args:
            line: to append.
            seconds: how long to wait.
            poll: seconds between two tries, because other processes may make room; None if they
                cannot.
        """
        deadline_at = self._clock() + seconds
        while True:
            waiter = WakeQueue()
            self._waiters.append(waiter)
            try:
                # Registered first, tried second: room made in between wakes the waiter.
                if self.append(line):
                    return True
                left = deadline_at - self._clock()
                if left <= 0 or self._is_closed:
                    return False
                wait(waiter, left if poll is None else min(left, poll))
            finally:
                with contextlib.suppress(ValueError):
                    self._waiters.remove(waiter)

    def end_unless_used(self, end: Callable[[], bool]) -> bool:
        """Call `end` if nothing is pending, while no line can be appended.

        Returns:
            What `end` returned; False if something is pending.
        """
        ended: list[bool] = []

        def end_if_unused() -> None:
            if not self.counts()["pending"]:
                ended.append(end())

        self.locked(end_if_unused)
        return any(ended)

    def counts(self) -> dict[str, int]:
        """Return the numbers of one instant, under the names that `Stats` gives them."""
        with self._lock:
            accepted = self._sealed_events + len(self._lines)
            return {
                "accepted": accepted,
                "adopted": self.adopted,
                "delivered": self.delivered,
                "abandoned": self.abandoned,
                "expired": self.expired,
                "quarantined": self.quarantined,
                "pending": accepted + self.adopted - self.delivered - self.abandoned,
                "batches": self.batches,
                "merged": self.merged,
                "bytes_encoded": self.bytes_encoded,
                "bytes_sent": self.bytes_sent,
            }


def wait(items: WakeQueue, seconds: float) -> Any:
    """Return the queue's next item; None if none came in that time."""
    try:
        return items.get(timeout=min(max(0.0, seconds), threading.TIMEOUT_MAX))
    except queue.Empty:
        return None
