"""Numbers that account for every event, and a counter that threads may share without a lock."""

from __future__ import annotations

import itertools
from dataclasses import dataclass


@dataclass(frozen=True)
class Stats:
    """Account for every record that a handler saw in this process since it started or forked.

    Two balances hold exactly whenever no log call is in progress:
    `emitted == skipped + invalid + refused + accepted` and
    `accepted + adopted == delivered + pending + abandoned`.

    Args:
        emitted: records that reached the handler, less those of fslog's own work.
        skipped: records that are no event.
        invalid: events that break a normative rule; the endpoint would drop them in silence.
        refused: events for which there was no room.
        accepted: events that fslog took charge of.
        adopted: events taken over from dead processes; 0 without a spool.
        delivered: events answered by a 200.
        pending: events that wait, or travel, at this moment.
        abandoned: events given up: at the end of the process, or refused singly by a 413.
        retries: POSTs that failed and are, or were, tried again.
        batches: bodies delivered.
        bytes_encoded: size of the delivered lines before compression.
        bytes_sent: size of the delivered bodies as they travelled.
        last_error: the newest failure in words, without the keys; None if there was none.
        spool_segments: files that wait on disk; 0 without a spool.
        spool_bytes: their size; 0 without a spool.
        spool_oldest_age: seconds since the oldest was written; None if nothing waits.
    """

    emitted: int = 0
    skipped: int = 0
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
    `n += 1` is four instructions and promises nothing. The count is read off the `repr`, also one
    call, because a counter has no other way to be read without being moved.

    >>> counter = Counter()
    >>> counter.add(), counter.add(), counter.value(), counter.value()
    (0, 1, 2, 2)
    """

    __slots__ = ("_count", "add")

    def __init__(self) -> None:
        self._count = itertools.count()
        self.add = self._count.__next__

    def value(self) -> int:
        """Return how often `add` was called."""
        return int(repr(self._count)[len("count(") : -1])
