"""Numbers that account for every event, and a counter that threads share without a lock."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stats:
    """The numbers of a handler in this process, since it started or was forked.

    Two balances hold exactly while no log call is in progress:
    `emitted + derived == skipped + excluded + limited + invalid + refused + accepted` and
    `accepted + adopted == delivered + pending + abandoned`.

    Args:
        emitted: records that reached the handler, without those of internal work.
        derived: events that fslog made from others, without a record of their own.
        skipped: records that are not events.
        excluded: events of those for whom the configuration allows no event.
        limited: events beyond the configured rate.
        invalid: events that the endpoint would drop without an error.
        refused: events for which there was no room.
        accepted: events that were stored for delivery.
        adopted: events of orphaned segments, left by dead processes; 0 without a spool.
        delivered: events of bodies that were answered with 200.
        pending: events that are stored, or in flight, now.
        abandoned: events that are lost: at the end of the process, or answered singly with 413.
        retries: POSTs that failed and were, or will be, repeated.
        batches: delivered bodies.
        bytes_encoded: size of the delivered lines before compression.
        bytes_sent: size of the delivered bodies.
        last_error: description of the latest failure, without the keys; None if there was none.
        spool_segments: segments on disk; 0 without a spool.
        spool_bytes: their size; 0 without a spool.
        spool_oldest_age: seconds since the oldest was written; None if there is none.
    """

    emitted: int = 0
    derived: int = 0
    skipped: int = 0
    excluded: int = 0
    limited: int = 0
    invalid: int = 0
    refused: int = 0
    accepted: int = 0
    adopted: int = 0
    delivered: int = 0
    pending: int = 0
    abandoned: int = 0
    retries: int = 0
    batches: int = 0
    bytes_encoded: int = 0
    bytes_sent: int = 0
    last_error: str | None = None
    spool_segments: int = 0
    spool_bytes: int = 0
    spool_oldest_age: float | None = None


class Counter:
    """Count from any thread, signal handler or finalizer, exactly and without a lock.

    `add` is one call into C (`itertools.count.__next__`), which the interpreter cannot interrupt;
    `n += 1` is four instructions. The value is parsed from the `repr`, also one call: nothing else
    reads a count without changing it.

    >>> counter = Counter()
    >>> counter.add(), counter.add(), counter.value(), counter.value()
    (0, 1, 2, 2)
    """

    __slots__ = ("_count", "add")

    def __init__(self) -> None:
        self._count = itertools.count()
        self.add: Callable[[], int] = self._count.__next__

    def value(self) -> int:
        """Return how often `add` was called."""
        return int(repr(self._count)[len("count(") : -1])


class RecordCounters:
    """Count what became of each record that is not accepted, and the events without a record."""

    def __init__(self) -> None:
        self.skipped: Counter = Counter()
        self.excluded: Counter = Counter()
        self.limited: Counter = Counter()
        self.invalid: Counter = Counter()
        self.derived: Counter = Counter()

    def numbers(self, *, refused: int, accepted: int) -> dict[str, Any]:
        """Return these counts by their names in `Stats`, with the balance of records."""
        counts = {
            "skipped": self.skipped.value(),
            "excluded": self.excluded.value(),
            "limited": self.limited.value(),
            "invalid": self.invalid.value(),
            "refused": refused,
        }
        derived = self.derived.value()
        emitted = sum(counts.values()) + accepted - derived
        return {"emitted": emitted, "derived": derived, **counts}
