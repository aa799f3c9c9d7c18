"""The batches that wait to be posted, the oldest first.

Only the thread that delivers uses it. It has compressed batches in memory, and a source that loads
others from a store, so that a long backlog on disk needs little memory.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from fslog.delivery.buffer import Buffer
from fslog.delivery.store import EXPIRED, Batch, Source

ADOPT_SECONDS = 10.0
"""How often a process looks for events that ended processes left."""


class Backlog:
    """Keep batches in order until each is settled.

    Args:
        buffer: accounts for them.
        encoding, level: how bodies are compressed.
        aggregate: within how many seconds equal events are merged; None: never.
        sample: is given the lines of each batch that is packed here.
        source: what waits in a store.
        clock: monotonic seconds.
        is_forked: whether to leave the first adoption, and the last one, to the parent. Children
            often end in the middle of a POST, and what they had adopted would be sent repeatedly.
    """

    is_to_forget: bool = False
    """Whether `forget` is to be called, as soon as all sealed batches were added."""

    is_uncertain: bool = False
    """Whether some of what is pending may wait where only the next process finds it."""

    def __init__(
        self,
        buffer: Buffer,
        encoding: str | None,
        level: int,
        *,
        aggregate: float | None = None,
        sample: Callable[[list[bytes]], None] = lambda lines: None,
        source: Source | None = None,
        clock: Callable[[], float] = time.monotonic,
        is_forked: bool = False,
    ) -> None:
        self._buffer = buffer
        self._packing = encoding, level, aggregate
        self._sample = sample
        self._source = Source() if source is None else source
        self._clock = clock
        self._is_forked = is_forked
        self._waiting: deque[Any] = deque()
        self._loaded: deque[Batch] = deque()
        self._posted: Batch | None = None
        self.adopt_at: float | None = None
        """When `adopt_if_due` is to be called next; None for never."""
        if self._source.adopts:
            self.adopt_at = clock() + (ADOPT_SECONDS if is_forked else 0.0)

    def __bool__(self) -> bool:
        return bool(self._loaded or self._waiting) or self._source.can_adopt()

    def add(self, sealed: Any) -> None:
        """Append a sealed batch from the queue, unless it is there already."""
        if not isinstance(sealed, Batch):
            self._source.enqueue(sealed, self._waiting)
            return
        if sealed.is_queued or sealed.settled:  # put twice, by an interrupted append
            return
        # In this order: if interrupted in between, it is here twice, and is posted once.
        self._waiting.append(sealed)
        sealed.is_queued = True
        self._sample(sealed.lines)
        self._buffer.pack(sealed, *self._packing)

    def head(self) -> Batch | None:
        """Return the batch to be posted now, packed; None if nothing waits."""
        self._posted = None
        while True:
            while self._loaded and self._loaded[0].settled:  # abandoned meanwhile
                self._loaded.popleft()
            if not self._loaded and not self._load():
                return None
            if self._loaded and not self._loaded[0].settled:
                batch = self._posted = self._loaded[0]
                if batch.body is None:  # there was no memory for it before
                    self._buffer.pack(batch, *self._packing)
                return batch

    def _load(self) -> bool:
        """Load the next batches; False if nothing waits."""
        if self._source.can_adopt() and not self._starts_adopted():
            self._adopt()
        if not self._waiting:
            return False
        first = self._waiting[0]
        # In this order: if interrupted in between, it is here twice, and is posted once.
        if isinstance(first, Batch):
            self._loaded.append(first)
            self._waiting.popleft()
        else:
            self._source.load(self._waiting, self._loaded)
            while self._waiting and self._is_loaded(self._waiting[0]):
                self._waiting.popleft()
        return True

    def _is_loaded(self, waiting: Any) -> bool:
        return not isinstance(waiting, Batch) and bool(waiting.settled)

    def posted(self) -> None:
        """Record that no POST is in progress."""
        self._posted = None

    def delivered(self) -> None:
        """Count the first batch as delivered, and remove it from the store."""
        self._settle(delivered=True)

    def abandon(self, reason: str) -> bool:
        """Abandon the first batch, a single event; return whether a quarantine keeps it."""
        is_kept = self._source.quarantine(self._loaded[0], reason)
        self._settle(delivered=False, is_kept=is_kept)
        return is_kept

    def _settle(self, **how: bool) -> None:
        batch = self._loaded[0]
        self._buffer.settle(batch, **how)
        self._loaded.popleft()
        if batch.stored is not None:
            batch.stored.release(batch)

    def split(self) -> None:
        """Replace the first batch by its halves."""
        batch = self._loaded[0]
        if batch.settled:
            return
        halves = batch.halves(*self._packing)
        self._loaded.extendleft([*reversed(halves), batch])
        del self._loaded[len(halves) + 1]
        self._buffer.replace(batch, halves)
        self._loaded.popleft()
        if batch.stored is not None:
            batch.stored.divide(batch, halves)

    def oldest(self) -> int | None:
        """Return the number of the oldest batch that is not settled; None if there is none."""
        for item in itertools.chain(self._loaded, self._waiting):
            if not item.settled:
                return int(item.number)
        return None

    def oldest_at(self) -> float | None:
        """Return when the oldest batch was begun; None if none waits, or it is not in memory.

        Any thread may call it.
        """
        for items in (self._loaded, self._waiting):
            with contextlib.suppress(IndexError):
                at: float | None = getattr(items[0], "opened_at", None)
                return at
        return None

    def interrupted(self) -> None:
        """Record that an exception of a signal handler interrupted a step."""
        self.is_uncertain = self._source.reads_back

    def adopt_if_due(self) -> None:
        """Adopt the segments of dead processes, and abandon expired events, if that is due."""
        if self.adopt_at is None or self._clock() < self.adopt_at:
            return
        self.adopt_at = self._clock() + ADOPT_SECONDS
        self._source.retry_removals()
        self._expire()
        self._adopt()
        self._seal_to_forget()

    def _seal_to_forget(self) -> None:
        """Seal the open batch, if a person's events are to be removed: it is on the queue then."""
        self.is_to_forget = self._source.is_asked_to_forget()
        if self.is_to_forget:
            self._buffer.seal()

    def forget(self) -> None:
        """Remove events of persons; no POST is in progress, and no sealed batch on the queue."""
        self.is_to_forget = False
        self._source.forget(self._waiting, self._loaded)

    def _expire(self) -> None:
        """Abandon what waits in the store for too long; no POST is in progress."""
        while self._loaded and self._source.is_expired(self._loaded[0]):
            is_kept = self._source.quarantine(self._loaded[0], EXPIRED)
            self._settle(delivered=False, is_kept=is_kept, is_expired=True)
        self._source.expire(self._waiting, self._loaded)

    def adopt_last(self) -> None:
        """Adopt now, because the process ends."""
        if self._source.adopts and not self._is_forked:
            self.adopt_at = self._clock()
            self.adopt_if_due()

    def _adopt(self) -> None:
        """Put adopted segments, which are older, before this process's own."""
        adopted = self._source.adopt()
        if not adopted:
            return
        if self._loaded and not self._loaded[0].is_adopted:
            # Read, and perhaps tried, but not delivered: no POST is in progress.
            self._waiting.extendleft(reversed(self._loaded))
            self._loaded.clear()
        while self._starts_adopted():
            adopted.append(self._waiting.popleft())
        self._waiting.extendleft(sorted(adopted, key=lambda one: one.age, reverse=True))

    def _starts_adopted(self) -> bool:
        return bool(self._waiting) and self._waiting[0].is_adopted

    def end(self, *, is_exclusive: bool = False) -> None:
        """Release the store if nothing in it is pending.

        Args:
            is_exclusive: whether the caller ensures that no append is under way.
        """
        self._source.end(self._posted, is_exclusive=is_exclusive)
