"""The stream of server-sent events (HTML standard 9.2): changes as they happen, coalesced.

A subscription holds a position and nothing else. A slow reader gets the newest entries and the
number of those it missed; a stuck reader occupies one thread until its connection times out.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

from fslog.viewer.entries import first_page
from fslog.viewer.history import History, JsonObject, Snapshot
from fslog.viewer.queries import encoded, entries_json

MAX_ENTRIES = 500
MAX_BYTES = 4 * 1024 * 1024
MAX_REQUESTS = 100
"""Limits of one message."""

MIN_INTERVAL = 0.1
"""Minimum seconds between two messages of one kind."""

KEEPALIVE_INTERVAL = 5.0
"""Seconds of inactivity after which `alive` is sent, so that both sides detect a lost peer."""


@dataclass
class Subscription:
    """One reader's stream of a history.

    Args:
        history: the source.
        after: id of the last entry that the reader has. None starts with the next entry; an id
            that does not exist yet (of an earlier run) starts with all kept entries.
        hello: returns the first message's properties, in addition to the counts and answers.
        answers: returns the endpoint's configured answers; called after each change.
        with_entries: whether `entries` messages contain entries, or only the counts.
    """

    history: History
    after: int | None
    hello: Callable[[], JsonObject]
    answers: Callable[[], JsonObject]
    with_entries: bool

    def messages(self) -> Generator[bytes, None, None]:
        """Yield messages until the history is closed."""
        history = self.history
        yield self._first()
        seen = -1
        while not history.closing.is_set():
            changes = history.wait(seen, KEEPALIVE_INTERVAL)
            piece = message("alive", {}) if changes == seen else b"".join(self._news())
            seen = changes
            if piece:
                yield piece
            history.closing.wait(MIN_INTERVAL)

    def _first(self) -> bytes:
        with self.history.lock:
            kept = self.history.entries(most=0)
            self._request = self.history.requests(most=0).last_id
        self._clears = kept.clears
        self._answers = self.answers()
        self._position = kept.last_id
        if self.after is not None:
            self._position = self.after if self.after <= kept.last_id else 0
        hello = {**self.hello(), **kept.json(), "outcomes": self._answers}
        return b"retry: 1000\n\n" + message("hello", hello)

    def _news(self) -> Iterator[bytes]:
        with self.history.lock:  # or entries newer than a `clear` could be sent before it
            kept = self.history.entries(self._position, MAX_ENTRIES)
            fresh = self.history.requests(self._request, MAX_REQUESTS)
        if kept.clears != self._clears:
            self._clears = kept.clears
            yield message("cleared", {})
        if kept.entries:
            yield self._entries(kept)
        if fresh.requests:
            self._request = fresh.last_id
            yield message("requests", {"requests": fresh.requests, "total": fresh.total})
        answers = self.answers()
        if answers != self._answers:
            self._answers = answers
            yield message("outcomes", answers)

    def _entries(self, kept: Snapshot) -> bytes:
        newest, _ = first_page(reversed(kept.entries), MAX_ENTRIES, MAX_BYTES)
        skipped = newest[-1].id - max(self._position, kept.cleared_id) - 1
        self._position = kept.newest
        counts = kept.json()
        if self.with_entries and skipped:
            counts["skipped"] = skipped
        entries = newest[::-1] if self.with_entries else []
        return message("entries", entries_json(entries, **counts), kept.newest)


def message(kind: str, data: Any, id: int | None = None) -> bytes:
    r"""Return one message; `bytes` are JSON without line breaks.

    >>> message("cleared", {}, 7)
    b'event: cleared\nid: 7\ndata: {}\n\n'
    """
    name = b"" if id is None else b"id: %d\n" % id
    body = data if isinstance(data, bytes) else encoded(data)
    return b"event: %b\n%bdata: %b\n\n" % (kind.encode(), name, body)
