"""Arrivals: what the collector was sent, turned into entries and facts about requests."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from fslog.collector.httpserver import Message
from fslog.collector.intake import Intake, Request
from fslog.viewer.entries import entry_of
from fslog.viewer.store import Facts, Store

_MOST_BODIES = 1_000
_MOST_TEXT = 200


class Arrivals:
    """Take what the collector tells, one call at a time.

    Args:
        store: where it is kept.
        write: given the lines that were taken, before anybody can see them; None for nobody.
    """

    def __init__(self, store: Store, write: Callable[[Sequence[bytes]], None] | None) -> None:
        self._store = store
        self._write = write
        self._failed: OrderedDict[bytes, Facts] = OrderedDict()

    def __call__(self, message: Message, request: Request, intake: Intake) -> None:
        """Take one request, as `Collector` calls its `on_intake`."""
        at = int(time.time() * 1000)
        entries = [entry_of(line, at) for line in intake.lines]
        if self._write is not None:
            self._write([entry.line for entry in entries if entry.is_line])
        mark = hashlib.blake2b(message.body, digest_size=16).digest() if message.body else None
        facts = facts_of(request, at)
        before = self._failed.pop(mark, None) if mark is not None else None
        if before is not None:
            facts |= {"retry_of": before["id"], "try": before["try"] + 1}
        self._store.add(facts, entries)
        if mark is not None and request.status != 200:
            self._failed[mark] = facts
            if len(self._failed) > _MOST_BODIES:
                self._failed.popitem(last=False)


def facts_of(request: Request, at: int) -> Facts:
    """Return what is known of a request, as the API shows it.

    Args:
        request: from the collector, its path masked.
        at: epoch milliseconds of its arrival.
    """
    return {
        "id": 0,  # the store says
        "at": at,
        "method": request.method[:_MOST_TEXT],
        "path": request.path[:_MOST_TEXT],
        "status": request.status,
        "then": request.then,
        "encoding": request.encoding,
        "bytes_received": request.bytes_received,
        "bytes_unpacked": request.bytes_unpacked,
        "events": request.events,
        "invalid": request.invalid,
        "kept": request.kept,
        "scripted": request.scripted,
        "reason": request.reason[:_MOST_TEXT],
        "user_agent": request.headers.get("user-agent", "")[:_MOST_TEXT],
        "retry_of": None,
        "try": 1,
    }
