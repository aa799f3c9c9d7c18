"""The history: entries and requests in bounded memory, oldest evicted first.

Readers hold nothing but a position. Ids grow by one and are never reused, so that "newer than 17"
means the same before and after an eviction or a `clear`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from fslog.viewer.entries import Entry
from fslog.viewer.filters import Filter

RATE_SECONDS = 300
"""Length of the period for which the number of lines per second is kept."""

MAX_REQUESTS = 5_000
"""Maximum number of requests to keep."""

JsonObject = dict[str, Any]
"""An object that the API returns as JSON."""


@dataclass(frozen=True)
class Snapshot:
    """The kept entries at one moment.

    Args:
        entries: oldest first; all, or those that were asked for.
        total: number of entries kept.
        oldest, newest: ids of the first and the last entry kept, 0 for none.
        dropped: number of entries evicted since the start or the last `clear`.
        last_id: id of the last entry that arrived, 0 for none.
        clears: number of calls of `clear`.
        cleared_id: id of the last entry that a `clear` removed, 0 for none.
    """

    entries: Sequence[Entry]
    total: int
    oldest: int
    newest: int
    dropped: int
    last_id: int
    clears: int
    cleared_id: int

    def json(self) -> JsonObject:
        """Return the counts that responses contain in addition to entries."""
        names = ("total", "oldest", "newest", "dropped")
        return {name: getattr(self, name) for name in names}


class RequestSnapshot(NamedTuple):
    """The kept requests at one moment.

    Args:
        requests: newest first; all, or those that were asked for.
        total: number of requests kept.
        dropped: number of requests evicted since the start or the last `clear`.
        last_id: id of the last request that arrived, 0 for none.
    """

    requests: list[JsonObject]
    total: int
    dropped: int
    last_id: int


class History:
    """Keep entries and requests for any number of readers; thread-safe.

    Args:
        keep: maximum number of entries.
        keep_bytes: limit of the sum of their `size_bytes`; the newest entry is always kept.

    Several calls with `lock` held return consistent results.
    """

    def __init__(self, keep: int, keep_bytes: int) -> None:
        self.keep = keep
        self.closing: threading.Event = threading.Event()
        self._keep_bytes = keep_bytes
        self.lock: threading.Condition = threading.Condition()
        self._changed = self.lock
        self._changes = self._clears = 0
        self._entries: deque[Entry] = deque()
        self._bytes = self._last_id = self._dropped = self._cleared_id = 0
        self._requests: deque[JsonObject] = deque()
        self._last_request = self._requests_dropped = 0
        self._rate: deque[tuple[int, int]] = deque(maxlen=RATE_SECONDS)

    def add(self, request: JsonObject, entries: Sequence[Entry]) -> None:
        """Add a request with its entries, and assign their ids."""
        with self._changed:
            self._last_request += 1
            request["id"] = self._last_request
            for entry in entries:
                self._last_id += 1
                entry.id, entry.request = self._last_id, self._last_request
                self._bytes += entry.size_bytes
            self._entries.extend(entries)
            self._requests.append(request)
            self._evict()
            self._count(int(time.time()), len(entries))
            self._notify()

    def _evict(self) -> None:
        while len(self._entries) > self.keep or (
            self._bytes > self._keep_bytes and len(self._entries) > 1
        ):
            self._bytes -= self._entries.popleft().size_bytes
            self._dropped += 1
        if len(self._requests) > MAX_REQUESTS:
            self._requests.popleft()
            self._requests_dropped += 1

    def _count(self, second: int, lines: int) -> None:
        if self._rate and second <= self._rate[-1][0]:  # also if the clock was set back
            second, before = self._rate.pop()
            lines += before
        self._rate.append((second, lines))

    def clear(self) -> None:
        """Remove all entries and requests; ids continue."""
        with self._changed:
            for kept in (self._entries, self._requests, self._rate):
                kept.clear()
            self._bytes = self._dropped = self._requests_dropped = 0
            self._clears += 1
            self._cleared_id = self._last_id
            self._notify()

    def close(self) -> None:
        """End all present and future waits."""
        self.closing.set()
        self.notify()

    def notify(self) -> None:
        """Wake the readers because something else that they show has changed."""
        with self._changed:
            self._notify()

    def _notify(self) -> None:
        self._changes += 1
        self._changed.notify_all()

    def changes(self) -> int:
        """Return the number of changes so far."""
        with self._changed:
            return self._changes

    def wait(self, seen: int, seconds: float) -> int:
        """Block until `changes()` differs from `seen`, for at most `seconds`, and return it.

        A closed history returns at once.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._changes != seen or self.closing.is_set(), seconds)
            return self._changes

    def entries(self, after: int = 0, most: int = sys.maxsize) -> Snapshot:
        """Return the entries with ids above `after`: the newest `most` of them."""
        with self._changed:
            fresh = min(most, len(self._entries), max(0, self._last_id - after))
            found = list(islice(reversed(self._entries), fresh))
            return Snapshot(
                found[::-1],
                len(self._entries),
                self._entries[0].id if self._entries else 0,
                self._entries[-1].id if self._entries else 0,
                self._dropped,
                self._last_id,
                self._clears,
                self._cleared_id,
            )

    def entry(self, id: int) -> Entry | None:
        """Return one entry, None if it is not kept."""
        with self._changed:
            at = id - self._entries[0].id if self._entries else -1
            return self._entries[at] if 0 <= at < len(self._entries) else None

    def requests(self, after: int = 0, most: int = MAX_REQUESTS) -> RequestSnapshot:
        """Return the requests with ids above `after`: the newest `most` of them."""
        with self._changed:
            fresh = min(most, len(self._requests), max(0, self._last_request - after))
            found = list(islice(reversed(self._requests), fresh))
            total = len(self._requests)
            return RequestSnapshot(found, total, self._requests_dropped, self._last_request)

    def request(self, id: int) -> JsonObject | None:
        """Return one request, None if it is not kept."""
        with self._changed:
            at = id - self._requests[0]["id"] if self._requests else -1
            return self._requests[at] if 0 <= at < len(self._requests) else None

    def rate(self, counts: Mapping[int, int] | None = None) -> JsonObject:
        """Return how many lines arrived in each of the last `RATE_SECONDS`, ending now.

        Args:
            counts: lines by epoch second; None for all lines, including evicted ones.
        """
        if counts is None:
            with self._changed:
                counts = dict(self._rate)
        start = int(time.time()) - RATE_SECONDS + 1
        seconds = range(start, start + RATE_SECONDS)
        return {"from": start, "step": 1, "counts": [counts.get(one, 0) for one in seconds]}

    def wait_for(self, wanted: Filter, count: int, seconds: float) -> tuple[list[Entry], int]:
        """Block until `count` entries that match a filter have arrived, for at most `seconds`.

        Entries that are kept at the call count; a `clear` restarts the count.

        Returns:
            The matching entries that are kept, in order, and how many have arrived.
        """
        until = time.monotonic() + seconds
        arrived = position = clears = 0
        while True:
            seen = self.changes()
            fresh = self.entries(position)
            arrived = arrived if fresh.clears == clears else 0
            position, clears = fresh.last_id, fresh.clears
            arrived += len(wanted.select(fresh.entries))
            left = until - time.monotonic()
            if arrived >= count or left <= 0 or self.closing.is_set():
                kept = self.entries()
                if kept.clears == clears or left <= 0 or self.closing.is_set():
                    found = wanted.select(kept.entries)
                    return found, max(arrived if kept.clears == clears else 0, len(found))
            else:
                self.wait(seen, left)
