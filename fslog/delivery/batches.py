"""Lines held in memory, from the log call to the 200: the open batch, the sealed ones, the bound.

Any thread appends a line to the open batch under one lock, held for a list append. A batch that
reaches its count or its bytes is sealed there and then and put on the listener's queue; one that
reaches its age is sealed by the listener. The lines' bytes are counted from the append until the
batch is settled, and compressed batches count as they are held, compressed.

Re-entrancy. A signal handler or a finalizer may log in the middle of an append on the same thread;
the lock lets it in, and the half-changed state is then its own thread's. Such a call leaves its
line aside, and the append that it interrupted takes it next. Only `SimpleQueue.put`, atomic by
contract, is called in between.

Interruption. A signal handler may also raise (Ctrl-C, a task's time limit), which ends an append
between any two steps. So each step leaves a state that the next call can go on from: what is to
hold is computed first and assigned once, `_limit_bytes` is -1 while anything is unfinished, which
sends the next line to finish it, and steps that are taken twice do no harm.

The end. When the process ends the batches are closed: `append` says that there is no room, and only
`append_late` takes lines, each of which is sealed at once and waited for by its own log call.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from fslog.delivery.queue import Inbox
from fslog.interrupts import new_lock
from fslog.net import wire
from fslog.stats import Counter


class Batch:
    """Lines that travel together: as lines until packed, as one body from then on."""

    __slots__ = (
        "body",
        "encoded_bytes",
        "events",
        "files",
        "is_queued",
        "lines",
        "number",
        "settled",
    )

    def __init__(self, lines: list[bytes], encoded_bytes: int, number: int) -> None:
        self.lines = lines
        self.body: bytes | None = None
        self.events = len(lines)
        self.encoded_bytes = encoded_bytes
        self.number = number
        self.settled = False
        self.is_queued = False
        self.files: list[Any] = []  # where the lines also stand, with a spool

    @property
    def held_bytes(self) -> int:
        """What the batch occupies now."""
        return self.encoded_bytes if self.body is None else len(self.body)

    def pack(self, encoding: str | None, level: int) -> None:
        """Replace the lines by the body."""
        self.body = wire.pack(self.lines, encoding, level)
        self.lines = []

    def text(self, encoding: str | None) -> bytes:
        """Return the lines as one piece, also when packed."""
        return b"".join(self.lines) if self.body is None else wire.unpack(self.body, encoding)

    def halves(self, encoding: str | None, level: int) -> list[Batch]:
        """Return two packed batches with the first and the second half of the events.

        They count as settled until `Batches.replace` accounts for them. Only a 413 asks for this,
        so the body is unpacked again rather than the lines kept.
        """
        lines = list(wire.lines_of(self.text(encoding)))
        middle = len(lines) // 2
        halves = [
            Batch(part, sum(map(len, part)), self.number)
            for part in (lines[:middle], lines[middle:])
        ]
        for half in halves:
            half.pack(encoding, level)
            half.settled = True
        return halves


class Batches:
    """Gather lines into batches and account for each of them until it is settled.

    Args:
        items: the queue where sealed batches go.
        opened: called, with the lock held, when a batch gets its first line, and at each further
            one until it says that somebody serves the queue.
        batch_events: how many events a batch has at the most.
        batch_bytes: how many bytes its lines have at the most; a line is never longer.
        buffer_bytes: how many bytes all batches together occupy at the most.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        items: Inbox,
        opened: Callable[[], bool],
        *,
        batch_events: int,
        batch_bytes: int,
        buffer_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        self._items = items
        self._opened = opened
        self._batch_events = batch_events
        self._batch_bytes = batch_bytes
        self._buffer_bytes = buffer_bytes
        self._clock = clock
        self._lock = new_lock()
        self._busy = False
        self._aside: deque[Any] = deque()
        self._waiters: deque[Inbox] = deque()
        self._lines: list[bytes] = []
        self._open_bytes = 0
        self._announced = False
        self._is_closed = False
        self._is_late = False
        self._sealing: tuple[Any, int, int] | None = None
        self._unsettled: dict[Batch, None] = {}
        self._held_bytes = 0
        self._limit_bytes = min(batch_bytes, buffer_bytes)
        self._number = 0
        self._sealed_events = 0
        self.opened_at = 0.0
        self.refused = Counter()
        self.adopted = self.delivered = self.abandoned = self.batches = 0
        self.bytes_encoded = self.bytes_sent = 0

    def append(self, line: bytes) -> bool:
        """Take a line into the open batch; False if there is no room for it.

        A line that was left aside by a re-entrant call has been promised a place: where there
        is none, it is counted in `refused` here. Counting any other is the caller's.
        """
        with self._lock:
            if self._busy:
                self._aside.append(self._set_aside(line))
                return True
            try:
                self._busy = True
                if self._aside:
                    self._take_aside()
                taken = self._take(line)
            except BaseException:
                self._busy = False
                self.exclusively(self._announce)  # the line may be there, and be the last
                raise
            finally:
                self._busy = False
            # After `_busy` is false again, so that no line can be left aside in between.
            if self._aside:
                self.exclusively(self._take_aside)
            return taken

    def append_late(self, line: bytes) -> int | None:
        """Take a line after the batches were closed, and seal its batch.

        Returns:
            The number of the batch that holds the line, 0 if the append that this call broke
            into will take it; None if there is no room for it.
        """
        number: list[int] = []

        def take() -> None:
            self._is_late = True
            try:
                if self._take(line):
                    if self._lines:
                        self._seal()
                    number.append(self._number)
            finally:
                self._is_late = False

        with self._lock:
            if self._busy:
                self._aside.append(self._set_aside(line))
                return 0
            self.exclusively(take)
            return number[0] if number else None

    def close(self) -> None:
        """Have `append` take no more lines, because the process ends."""

        def close() -> None:
            self._is_closed = True
            self._hold(0)
            self._wake()

        self.exclusively(close)

    def _take(self, line: bytes) -> bool:
        size = len(line)
        if self._open_bytes + size > self._limit_bytes and not self._make_room(size):
            return False
        self._open_bytes += size
        self._lines.append(line)
        if not self._announced:
            self._announce()
        if len(self._lines) >= self._batch_events:
            self._seal()
        return True

    def _announce(self) -> None:
        """Have somebody serve the open batch, if it has lines and nobody does yet."""
        if self._lines and not self._announced:
            if len(self._lines) == 1:
                self.opened_at = self._clock()
            self._announced = self._opened()

    def _take_aside(self) -> None:
        was_late, self._is_late = self._is_late, True
        try:
            while self._aside:
                self._take_aside_item(self._aside[0])
                self._aside.popleft()
            if self._is_closed and self._lines:
                self._seal()
        finally:
            self._is_late = was_late

    def _take_aside_item(self, item: Any) -> None:
        if not self._take(item):
            self.refused.add()

    def _set_aside(self, line: bytes) -> Any:
        """Return what `_take_aside` will take for the line."""
        return line

    def _make_room(self, size: int) -> bool:
        """Seal the open batch: the next line begins another one, if that fits the buffer.

        Also where it does not: the listener can then compress what is there, and deliver it.
        """
        self._finish_seal()
        self._hold(0)
        if self._lines and self._open_bytes + size > self._limit():
            self._seal()
        return self._may_take() and size <= self._limit()

    def _may_take(self) -> bool:
        return self._is_late or not self._is_closed

    def _seal(self) -> None:
        """Put the open batch on the queue.

        An exception out of a signal handler (Ctrl-C, a task's time limit) may end this between
        any two steps. So the batch is noted first, with the numbers that will hold, and the
        limit sends the next line to finish what was noted; each step may be taken twice.
        """
        self._note(Batch(self._lines, self._open_bytes, self._number + 1))

    def _note(self, batch: Any) -> None:
        noted = (batch, self._sealed_events + batch.events, self._held_bytes + batch.held_bytes)
        self._limit_bytes = -1
        self._sealing = noted
        self._finish_seal()

    def _finish_seal(self) -> None:
        if self._sealing is None:
            return
        batch, self._sealed_events, self._held_bytes = self._sealing
        if isinstance(batch, Batch):
            self._unsettled[batch] = None
        self._lines = []
        self._open_bytes = 0
        self._announced = False
        self._number = max(self._number, batch.number)  # a re-entrant call's may be less
        self._items.put(batch)
        self._sealing = None
        self._hold(0)

    def _hold(self, more_bytes: int) -> None:
        self._held_bytes += more_bytes
        self._limit_bytes = -1 if self._is_closed else self._limit()
        if more_bytes < 0:
            self._wake()

    def _limit(self) -> int:
        """Return how many bytes the open batch may have before there is more to decide."""
        return min(self._batch_bytes, self._buffer_bytes - self._held_bytes)

    def _wake(self) -> None:
        while self._waiters:
            with contextlib.suppress(IndexError):  # it gave up waiting meanwhile
                self._waiters.popleft().put(None)

    def exclusively(self, change: Callable[[], object]) -> bool:
        """Make a change that no append sees half of; False from within another one."""
        with self._lock:
            if self._busy:
                return False
            try:
                self._busy = True
                self._finish_seal()
                change()
            except BaseException:
                self._finish_seal()  # what was noted is to be on the queue, and its bell rung
                raise
            finally:
                self._busy = False
            if self._aside:
                self.exclusively(self._take_aside)
            return True

    def is_locked_here(self) -> bool:
        """Return whether this thread is inside one of these methods: a call that broke into it.

        Such a call must not wait for the listener, which waits for the lock.
        """
        return self._lock._is_owned()  # type: ignore[attr-defined, no-any-return]

    def seal(self) -> int | None:
        """Seal the open batch, if it has lines.

        Returns:
            The number of the newest sealed batch: everything accepted so far is in it or in
            an older one. None when called from within an append on this very thread.
        """

        def seal() -> None:
            if self._lines:
                self._seal()

        return self._number if self.exclusively(seal) else None

    def seal_at(self) -> float | None:
        """Return when the open batch was opened; None when it has no lines."""
        return self.opened_at if self._lines else None

    def keep_late(self, line: bytes) -> bool:
        """Take a line while the interpreter takes itself down; False if it would be lost."""
        return False

    def is_in_memory(self) -> bool:
        """Return whether a new line would be held in memory."""
        return True

    def is_safe(self) -> bool:
        """Return whether the end of the process would lose nothing of what is pending."""
        return False

    def grows_old(self) -> bool:
        """Return whether the open batch may wait for older ones, and so travel in larger company.

        After an outage an hour of few events is one POST then, and not one for every few seconds.
        """
        return True

    def pack(self, batch: Batch, encoding: str | None, level: int) -> None:
        """Compress a batch, and count it as it is held from now on."""
        before = batch.held_bytes
        batch.pack(encoding, level)
        self.exclusively(lambda: self._hold(0 if batch.settled else batch.held_bytes - before))

    def replace(self, batch: Batch, halves: list[Batch]) -> None:
        """Account for halves in the place of a batch; until then they count as settled."""
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

        self.exclusively(replace)

    def settle(self, batch: Batch, *, delivered: bool) -> bool:
        """Account for the end of a batch, once: whoever comes first decides.

        Returns:
            Whether this call did.
        """
        is_first = False

        def settle() -> None:
            nonlocal is_first
            if batch.settled:
                return
            held_bytes = batch.held_bytes
            self._unsettled.pop(batch, None)
            # From here on nothing is called, so that nothing is interrupted.
            is_first = batch.settled = True
            self._held_bytes -= held_bytes
            if delivered:
                self.delivered += batch.events
                self.batches += 1
                self.bytes_encoded += batch.encoded_bytes
                self.bytes_sent += held_bytes
            else:
                self.abandoned += batch.events
            self._hold(0)
            self._wake()

        self.exclusively(settle)
        return is_first

    def abandon(self, number: int | None = None) -> int:
        """Give up what the end of the process loses, and return how many events that are.

        Args:
            number: of the newest batch that is meant; None for everything.
        """
        abandoned: list[int] = []
        self.seal()
        for batch in list(self._unsettled):
            is_meant = number is None or batch.number <= number
            if is_meant and not batch.files and self.settle(batch, delivered=False):
                abandoned.append(batch.events)
        return sum(abandoned)

    def wait_for_room(self, line: bytes, seconds: float, poll: float | None = None) -> bool:
        """Take a line as soon as there is room; False when there was none in that time.

        Args:
            line: what is to be taken.
            seconds: how long to wait.
            poll: how often to look for room that others may make; None if nobody else can.
        """
        deadline_at = self._clock() + seconds
        while True:
            waiter = Inbox()
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
        """Call `end` if nothing is pending, so that no line can be appended meanwhile.

        Returns:
            What `end` said; False if something is pending.
        """
        ended: list[bool] = []

        def look() -> None:
            if not self.counts()["pending"]:
                ended.append(end())

        self.exclusively(look)
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
                "pending": accepted + self.adopted - self.delivered - self.abandoned,
                "batches": self.batches,
                "bytes_encoded": self.bytes_encoded,
                "bytes_sent": self.bytes_sent,
            }


def wait(items: Inbox, seconds: float) -> Any:
    """Return the queue's next item, None if none came in that time."""
    try:
        return items.get(timeout=min(max(0.0, seconds), threading.TIMEOUT_MAX))
    except queue.Empty:
        return None
