"""The stream of server-sent events (HTML standard 9.2): what arrives, as it arrives, coalesced.

A reader is a generator that holds a position and nothing else. One that is slow is told of the
newest when it reads again, and how many were left out; one that is stuck costs a thread, a while.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

from fslog.viewer.entries import fitting
from fslog.viewer.queries import encoded, listed
from fslog.viewer.store import Facts, Kept, Store

MOST_ENTRIES = 500
MOST_BYTES = 4 * 1024 * 1024
MOST_REQUESTS = 100
"""What one message holds at most."""

PAUSE = 0.1
"""Seconds between two looks at the store, hence ten messages of a kind a second."""

SILENCE = 5.0
"""Seconds after which `alive` is sent, so that both sides notice when the other has gone."""


class Reader:
    """Read a store for one page.

    Args:
        store: what to read.
        after: the id of the last entry that the page has; None begins with what comes next, an id
            that there is not yet (of an earlier run) with all that is kept.
        hello: what the page is told first, beside what is kept and the outcomes.
        outcomes: what the endpoint is told to answer, asked after each change.
        whole: whether `entries` messages hold entries, or only how many there are.
    """

    def __init__(
        self,
        store: Store,
        after: int | None,
        hello: Callable[[], Facts],
        outcomes: Callable[[], Facts],
        whole: bool = True,
    ) -> None:
        self._whole = whole
        self._store = store
        self._after = after
        self._hello = hello
        self._ask = outcomes

    def pieces(self) -> Generator[bytes, None, None]:
        """Yield messages until the store is closed."""
        store = self._store
        yield self._first()
        seen = -1
        while not store.closing.is_set():
            changes = store.wait(seen, SILENCE)
            piece = message("alive", {}) if changes == seen else b"".join(self._news())
            seen = changes
            if piece:
                yield piece
            store.closing.wait(PAUSE)

    def _first(self) -> bytes:
        with self._store.still():
            kept = self._store.kept(most=0)
            self._request = self._store.requests(most=0).last_id
        self._clears = kept.clears
        self._outcomes = self._ask()
        self._position = kept.last_id
        if self._after is not None:
            self._position = self._after if self._after <= kept.last_id else 0
        facts = {**self._hello(), **kept.facts(), "outcomes": self._outcomes}
        return b"retry: 1000\n\n" + message("hello", facts)

    def _news(self) -> Iterator[bytes]:
        with self._store.still():  # or what came after a `clear` could be told before it
            kept = self._store.kept(self._position, MOST_ENTRIES)
            fresh = self._store.requests(self._request, MOST_REQUESTS)
        if kept.clears != self._clears:
            self._clears = kept.clears
            yield message("cleared", {})
        if kept.entries:
            yield self._entries(kept)
        if fresh.requests:
            self._request = fresh.last_id
            yield message("requests", {"requests": fresh.requests, "total": fresh.total})
        outcomes = self._ask()
        if outcomes != self._outcomes:
            self._outcomes = outcomes
            yield message("outcomes", outcomes)

    def _entries(self, kept: Kept) -> bytes:
        chosen, _ = fitting(reversed(kept.entries), MOST_ENTRIES, MOST_BYTES)
        skipped = chosen[-1].id - max(self._position, kept.floor) - 1
        self._position = kept.newest
        facts = kept.facts()
        if self._whole and skipped:
            facts["skipped"] = skipped
        return message("entries", listed(chosen[::-1] if self._whole else [], **facts), kept.newest)


def message(kind: str, data: Any, id: int | None = None) -> bytes:
    r"""Return one message; JSON is one line, as long as it holds no line break between values.

    >>> message("cleared", {}, 7)
    b'event: cleared\nid: 7\ndata: {}\n\n'
    """
    name = b"" if id is None else b"id: %d\n" % id
    body = data if isinstance(data, bytes) else encoded(data)
    return b"event: %b\n%bdata: %b\n\n" % (kind.encode(), name, body)
