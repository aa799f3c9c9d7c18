"""What arrived, kept in bounded memory: entries and requests, the oldest of which leave first.

Whoever reads keeps nothing here but a position. Ids grow by one and are never used again, so that
"newer than 17" means the same before and after entries left, and after `clear`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from fslog.viewer.entries import Entry
from fslog.viewer.filters import Filter

RATE_SECONDS = 300
"""For how long it is known what arrived in each second."""

MOST_REQUESTS = 5_000
"""How many requests are kept."""

Facts = dict[str, Any]
"""What is known of a request, as the API shows it."""


@dataclass(frozen=True)
class Kept:
    """Show what is kept at one moment.

    Args:
        entries: the oldest first; all, or some of them.
        total: how many there are.
        oldest, newest: the ids of the first and the last that are kept, 0 for none.
        dropped: how many left, since the start or the last `clear`, because memory is bounded.
        last_id: of the last entry that ever came, 0 for none.
        clears: how often everything has been forgotten.
        floor: the id of the last entry that a `clear` forgot, 0 for none.
    """

    entries: Sequence[Entry]
    total: int
    oldest: int
    newest: int
    dropped: int
    last_id: int
    clears: int
    floor: int

    def facts(self) -> Facts:
        """Return what an answer says beside the entries."""
        return {
            "total": self.total,
            "oldest": self.oldest,
            "newest": self.newest,
            "dropped": self.dropped,
        }


class KeptRequests(NamedTuple):
    """Show requests that are kept at one moment.

    Args:
        requests: the newest first; all, or some of them.
        total: how many there are.
        dropped: how many left, since the start or the last `clear`, because memory is bounded.
        last_id: of the last request that ever came, 0 for none.
    """

    requests: list[Facts]
    total: int
    dropped: int
    last_id: int


class Store:
    """Keep what arrived, for any number of readers in any threads.

    Args:
        keep: how many entries at most.
        keep_bytes: how much memory they may take, by their own account; the newest always stays.
    """

    def __init__(self, keep: int, keep_bytes: int) -> None:
        self.keep = keep
        self.closing = threading.Event()
        self._keep_bytes = keep_bytes
        self._news = threading.Condition()
        self._changes = self._clears = 0
        self._entries: deque[Entry] = deque()
        self._bytes = self._last_id = self._dropped = self._floor = 0
        self._requests: deque[Facts] = deque()
        self._last_request = self._requests_dropped = 0
        self._rate: deque[tuple[int, int]] = deque(maxlen=RATE_SECONDS)

    def add(self, request: Facts, entries: Sequence[Entry]) -> None:
        """Take a request and the lines that were in it; both get their ids here."""
        with self._news:
            self._last_request += 1
            request["id"] = self._last_request
            for entry in entries:
                self._last_id += 1
                entry.id, entry.request = self._last_id, self._last_request
                self._bytes += entry.size_bytes
            self._entries.extend(entries)
            self._requests.append(request)
            self._shrink()
            self._count(int(time.time()), len(entries))
            self._tell()

    def _shrink(self) -> None:
        while len(self._entries) > self.keep or (
            self._bytes > self._keep_bytes and len(self._entries) > 1
        ):
            self._bytes -= self._entries.popleft().size_bytes
            self._dropped += 1
        if len(self._requests) > MOST_REQUESTS:
            self._requests.popleft()
            self._requests_dropped += 1

    def _count(self, second: int, arrivals: int) -> None:
        if self._rate and second <= self._rate[-1][0]:  # also where the clock was put back
            second, before = self._rate.pop()
            arrivals += before
        self._rate.append((second, arrivals))

    def clear(self) -> None:
        """Forget what arrived; ids go on."""
        with self._news:
            for kept in (self._entries, self._requests, self._rate):
                kept.clear()
            self._bytes = self._dropped = self._requests_dropped = 0
            self._clears += 1
            self._floor = self._last_id
            self._tell()

    def close(self) -> None:
        """End every wait, now and later."""
        self.closing.set()
        self.touch()

    def touch(self) -> None:
        """Wake the readers: something else that they show has changed."""
        with self._news:
            self._tell()

    def _tell(self) -> None:
        self._changes += 1
        self._news.notify_all()

    def still(self) -> AbstractContextManager[Any]:
        """Hold everything still in a block that reads several things which must belong together."""
        return self._news

    def changes(self) -> int:
        """Return how often something changed."""
        with self._news:
            return self._changes

    def wait(self, seen: int, seconds: float) -> int:
        """Return `changes` once it is not `seen` any more, the time is up, or the store closed."""
        with self._news:
            self._news.wait_for(lambda: self._changes != seen or self.closing.is_set(), seconds)
            return self._changes

    def kept(self, after: int = 0, most: int | None = None) -> Kept:
        """Return the entries that are newer than an id: the newest `most` of them, None for all."""
        with self._news:
            fresh = min(len(self._entries), max(0, self._last_id - after))
            found = list(
                islice(reversed(self._entries), fresh if most is None else min(fresh, most))
            )
            return Kept(
                found[::-1],
                len(self._entries),
                self._entries[0].id if self._entries else 0,
                self._entries[-1].id if self._entries else 0,
                self._dropped,
                self._last_id,
                self._clears,
                self._floor,
            )

    def entry(self, id: int) -> Entry | None:
        """Return one entry, None if it is not kept."""
        with self._news:
            at = id - self._entries[0].id if self._entries else -1
            return self._entries[at] if 0 <= at < len(self._entries) else None

    def requests(self, after: int = 0, most: int = MOST_REQUESTS) -> KeptRequests:
        """Return the requests that are newer than an id, the newest `most` of them."""
        with self._news:
            fresh = min(most, len(self._requests), max(0, self._last_request - after))
            found = list(islice(reversed(self._requests), fresh))
            return KeptRequests(
                found, len(self._requests), self._requests_dropped, self._last_request
            )

    def request(self, id: int) -> Facts | None:
        """Return one request, None if it is not kept."""
        with self._news:
            at = id - self._requests[0]["id"] if self._requests else -1
            return self._requests[at] if 0 <= at < len(self._requests) else None

    def rate(self, counts: Mapping[int, int] | None = None) -> Facts:
        """Return how many lines arrived in each of the last `RATE_SECONDS`, the last is now.

        Args:
            counts: by epoch second, of some lines; None for all, those that left memory too.
        """
        if counts is None:
            with self._news:
                counts = dict(self._rate)
        start = int(time.time()) - RATE_SECONDS + 1
        seconds = range(start, start + RATE_SECONDS)
        return {"from": start, "step": 1, "counts": [counts.get(one, 0) for one in seconds]}

    def wait_for(self, meant: Filter, count: int, seconds: float) -> tuple[list[Entry], int]:
        """Wait until `count` entries that a filter means have come, or the time is up.

        Those that are kept at the call count; a `clear` meanwhile lets the count begin anew.

        Returns:
            Those of them that are kept, in order, and how many came.
        """
        until = time.monotonic() + seconds
        came = position = clears = 0
        while True:
            seen = self.changes()
            fresh = self.kept(position)
            came = came if fresh.clears == clears else 0
            position, clears = fresh.last_id, fresh.clears
            came += len(meant.select(fresh.entries))
            left = until - time.monotonic()
            if came >= count or left <= 0 or self.closing.is_set():
                kept = self.kept()
                if kept.clears == clears or left <= 0 or self.closing.is_set():
                    found = meant.select(kept.entries)
                    return found, max(came if kept.clears == clears else 0, len(found))
            else:
                self.wait(seen, left)
