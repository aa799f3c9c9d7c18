"""Batches, and the protocols between the buffer and a store of lines outside of memory.

`Store` is asked by `fslog.delivery.buffer.Buffer` while lines are appended, with the buffer's lock
held; `Source` by `fslog.delivery.backlog.Backlog`, in the thread that delivers, for what waits in
the store. As they stand here they are what a handler without a spool uses: the buffer's own lists
hold all lines, and there is nothing to load. `fslog.spool` overrides them for a directory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from fslog.delivery.aggregation import merged
from fslog.delivery.notices import Notices
from fslog.net import wire


class Stored(Protocol):
    """The room that a batch that was loaded from a store still occupies there."""

    @property
    def is_adopted(self) -> bool:
        """Whether another process wrote it."""

    def release(self, batch: Batch) -> None:
        """Remove the batch, which is settled, from the store."""

    def divide(self, batch: Batch, halves: list[Batch]) -> None:
        """Give each half its share, so that it can be released by itself."""


EXPIRED = "expired: it waited for longer than spool_max_age"
"""The reason in the quarantine."""


class Aside(NamedTuple):
    """How many lines of segments will not be sent.

    Args:
        rejected: those that are not valid events.
        expired: events that waited for too long.
        kept: how many of both the quarantine keeps.
    """

    rejected: int = 0
    expired: int = 0
    kept: int = 0


NOTHING = Aside()


class Batch:
    """Lines that are posted together: as lines until packed, as one body from then on.

    If events were merged, the lines as they were accepted are kept beside the body: what is split,
    quarantined or written back to a store is these.
    """

    stored_bytes = 0

    def __init__(self, lines: list[bytes], encoded_bytes: int, number: int) -> None:
        self.lines: list[bytes] = lines
        self.body: bytes | None = None
        self.unmerged: bytes | None = None
        """The lines before events were merged, compressed as the body; None if none were."""
        self.merged: int = 0
        """How many of the events have no line of their own in the body."""
        self.events: int = len(lines)
        self.encoded_bytes: int = encoded_bytes
        self.number = number
        self.settled = False
        self.is_queued = False
        self.opened_at: float | None = None
        """When its first line was appended, monotonic; None if it was read back."""
        self.stored: Stored | None = None

    @property
    def held_bytes(self) -> int:
        """What the batch occupies in memory now."""
        if self.body is None:
            return self.encoded_bytes
        return len(self.body) + len(self.unmerged or b"")

    @property
    def is_adopted(self) -> bool:
        """Whether another process wrote it."""
        return self.stored is not None and self.stored.is_adopted

    def pack(self, encoding: str | None, level: int, aggregate: float | None = None) -> None:
        """Replace the lines by the body.

        Args:
            encoding, level: how it is compressed.
            aggregate: within how many seconds equal events are merged; None: never.
        """
        lines = self.lines if aggregate is None else merged(self.lines, aggregate)
        body, unmerged, size = wire.pack(lines, encoding, level), None, self.encoded_bytes
        if lines is not self.lines:
            unmerged, size = wire.pack(self.lines, encoding, level), sum(map(len, lines))
        less = len(self.lines) - len(lines)
        self.unmerged, self.merged, self.encoded_bytes = unmerged, less, size
        self.body, self.lines = body, []

    def text(self, encoding: str | None) -> bytes:
        """Return the lines as they were accepted, as one piece, also when packed."""
        if self.body is None:
            return b"".join(self.lines)
        return wire.unpack(self.body if self.unmerged is None else self.unmerged, encoding)

    def halves(
        self, encoding: str | None, level: int, aggregate: float | None = None
    ) -> list[Batch]:
        """Return two packed batches with the first and the second half of the events.

        They count as settled until `Buffer.replace` counts them. Only a 413 requires this, so the
        body is unpacked again rather than the lines kept.
        """
        lines = list(wire.lines_of(self.text(encoding)))
        middle = len(lines) // 2
        halves = [
            Batch(part, sum(map(len, part)), self.number)
            for part in (lines[:middle], lines[middle:])
        ]
        for half in halves:
            half.pack(encoding, level, aggregate)
            half.settled = True
            half.opened_at = self.opened_at
        return halves


class Sealed(Protocol):
    """A sealed batch on the queue. `Batch` is one; a store may have others."""

    @property
    def number(self) -> int: ...

    @property
    def events(self) -> int: ...

    @property
    def held_bytes(self) -> int:
        """What it occupies in memory."""

    @property
    def stored_bytes(self) -> int:
        """What it occupies in the store."""


class OpenBatch:
    """What holds the lines of one batch while they are appended; here: the buffer alone.

    Args:
        number: of the batch; batches are delivered in the order of their numbers.
        may_stay_open: whether it may wait for older batches, and so grow, instead of being sealed
            after `flush_interval`.
    """

    bound = "buffer_bytes"
    """The handler's argument that bounds what is held."""

    write: Callable[[bytes], None] | None = None
    """Writes a line, whole or not at all (`OSError`); None if the buffer's list is enough."""

    def __init__(self, number: int, *, may_stay_open: bool = True) -> None:
        self.number = number
        self.may_stay_open = may_stay_open

    def room_bytes(self, free_bytes: int) -> int:
        """Return how many bytes the batch may have before `extend` must be asked.

        Args:
            free_bytes: of the memory that the buffer may use.
        """
        return free_bytes

    def extend(self, encoded_bytes: int, free_bytes: int) -> bool:
        """Return whether there is room for the batch to have so many bytes in all."""
        return encoded_bytes <= free_bytes

    def seal(self, lines: list[bytes], encoded_bytes: int) -> Sealed:
        """Return what goes on the queue. Changes nothing: it may be asked again."""
        return Batch(lines, encoded_bytes, self.number)

    def close(self) -> None:
        """Release what only an open batch needs. May be called more than once."""

    def discard(self) -> None:
        """Remove the batch, to which nothing was written."""


class Store:
    """What holds lines from the log call to the 200; here: nothing but the buffer.

    `OSError` or `ValueError` from `open`, or `OSError` from an open batch's `write`, means that the
    store fails: the buffer holds that batch in memory, and asks the store again for the next one.
    """

    bound: str = OpenBatch.bound
    """The handler's argument that bounds what is held."""

    is_durable = False
    """Whether what it holds survives the process; others may then use it, too, and make room."""

    used_bytes = 0
    """What this process's sealed batches occupy there. The buffer keeps it."""

    def prepare(self) -> bool:
        """Prepare what must not wait for the first line.

        Returns:
            Whether there is something to do or to report before that: lines wait, or no room is.
        """
        return False

    def open(self, number: int, size_bytes: int, unused: OpenBatch | None) -> OpenBatch | None:
        """Return what holds the next batch; None if there is no room.

        Args:
            number: of the batch.
            size_bytes: of its first line.
            unused: what was returned last, if no line was written to it.
        """
        return OpenBatch(number)

    def write_alone(self, number: int, line: bytes) -> Sealed | bytes:
        """Hold a line without touching the open batch, which an interrupted append may change.

        Returns:
            A batch of this one line; or the line itself, which the buffer appends later.
        """
        return line

    def write_during_shutdown(self, number: int, line: bytes) -> bool:
        """Hold a line while the interpreter shuts down; False if it would be lost."""
        return False

    def release_room(self, open_bytes: int) -> None:
        """Release room that neither `used_bytes` nor an open batch of so many bytes needs."""

    def shortage(self) -> str:
        """Return which room the device lacks, in words; empty if that is not why it refuses."""
        return ""

    def is_followed(self) -> bool:
        """Return whether a process waits to send what is in the store when this one ends."""
        return False

    def use_keys(self, digest: str, locked: Callable[[Callable[[], object]], object]) -> None:
        """Record that other keys of the same source are used from now on.

        Called without the buffer's lock, in the thread that delivers.

        Args:
            digest: of the new keys.
            locked: calls a function with the buffer's lock held.
        """

    def end(self) -> None:
        """Release everything, because nothing of this process is in the store any more."""

    def close_inherited(self) -> None:
        """Close what a fork copied, in the child. Takes no lock: a thread may hold it."""

    def usage(self, now: float) -> Mapping[str, Any]:
        """Return the fields of `Stats` that describe the store.

        Args:
            now: seconds since the epoch.
        """
        return {}

    def source(self, accounts: Accounts, notices: Notices, now: Callable[[], float]) -> Source:
        """Return the source that loads what waits in the store, for the thread that delivers.

        Args:
            accounts: counts what is pending.
            notices: reports what went wrong.
            now: seconds since the epoch.
        """
        return Source()


class Accounts(Protocol):
    """The methods of the buffer that a source calls."""

    def load(
        self, batches: list[Batch], expected_events: int | None, aside: Aside = NOTHING
    ) -> None: ...

    def removed(self, size_bytes: int) -> None: ...

    def shorten(self, batch: Batch, rest: Batch) -> None: ...

    def lose(self, events: int) -> None: ...

    def settle(self, batch: Batch, *, delivered: bool) -> bool: ...

    def end_store(self, *, is_exclusive: bool) -> None: ...


class Pending(Protocol):
    """Sealed batches that wait in a store until they are loaded."""

    @property
    def number(self) -> int:
        """Of the oldest of them; 0 for those of other processes, which are older."""

    @property
    def is_adopted(self) -> bool:
        """Whether another process wrote them."""

    @property
    def age(self) -> Any:
        """A key by which adopted ones are sorted, the oldest first."""

    @property
    def settled(self) -> bool:
        """Whether all of them were loaded."""


class Source:
    """What waits in a store, for the thread that delivers; here: nothing."""

    adopts = False
    """Whether `adopt` may return something, and is to be called from time to time."""

    reads_back = False
    """Whether a `load` that was interrupted may leave a batch to the next process."""

    def enqueue(self, sealed: Any, waiting: deque[Any]) -> None:
        """Append a sealed batch that is not a `Batch` to what waits, unless it is there already."""

    def load(self, waiting: deque[Any], loaded: deque[Batch]) -> None:
        """Append the next batches of what waits first, packed and counted; perhaps none.

        What is adopted may be loaded together with what was adopted after it. If it raises an
        error, nothing has changed, and the next call tries the same again.
        """

    def adopt(self) -> list[Pending]:
        """Return what dead processes left, the oldest first."""
        return []

    def can_adopt(self) -> bool:
        """Return whether the last `adopt` left something that can be adopted now."""
        return False

    def quarantine(self, batch: Batch, reason: str) -> bool:
        """Quarantine a single refused event; return False if it is lost."""
        return False

    def is_expired(self, batch: Batch) -> bool:
        """Return whether a loaded batch has waited for too long to be sent."""
        return False

    def is_asked_to_forget(self) -> bool:
        """Return whether another process asks to remove a person's events."""
        return False

    def forget(self, waiting: deque[Any], loaded: deque[Batch]) -> None:
        """Remove the events of persons of whom `is_asked_to_forget` has found the request."""

    def expire(self, waiting: deque[Any], loaded: deque[Batch]) -> None:
        """Quarantine what has waited for too long in the store."""

    def retry_removals(self) -> None:
        """Remove what was delivered and could not be removed."""

    def end(self, under_way: Batch | None, *, is_exclusive: bool) -> None:
        """Release the store, because the process ends or nothing is pending.

        Args:
            under_way: what is being posted, and may arrive.
            is_exclusive: whether no append can be under way.
        """
