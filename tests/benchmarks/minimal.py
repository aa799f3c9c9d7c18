"""A handler of forty lines, as one would write by hand: no checks, no bounds, no retries.

A status other than 200, an outage, a fork or a value that JSON cannot encode loses events or ends
the thread. It shows the speed of a sender that guarantees nothing.
"""

from __future__ import annotations

import http.client
import json
import logging
import queue
import threading
import zlib
from typing import Any
from urllib.parse import urlsplit

BATCH_EVENTS = 1_000
HEADERS = {"Content-Type": "application/json", "Content-Encoding": "deflate"}


def event_of(record: Any) -> dict[str, Any]:
    """Return the event in the extras of a record."""
    return {
        "accountId": record.accountId,
        "userId": record.userId,
        "createdAt": int(record.created * 1000),
        "action": record.action,
        "sessionId": record.sessionId,
        "module": record.event["module"],
        "feature": record.feature,
        "total": record.total,
        "product": record.product,
    }


class MinimalHandler(logging.Handler):
    """Send events from its own thread over one persistent connection."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc)
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def emit(self, record: Any) -> None:
        self._queue.put(event_of(record))

    def _run(self) -> None:
        event: Any = True
        while event is not None:
            lines = []
            try:
                while len(lines) < BATCH_EVENTS and (event := self._queue.get(timeout=1)):
                    lines.append(json.dumps(event))
            except queue.Empty:
                pass
            if lines:
                body = zlib.compress("\n".join([*lines, ""]).encode())
                self._connection.request("POST", "/v1/auth/api", body, HEADERS)
                self._connection.getresponse().read()

    def finish(self) -> None:
        """Send the queued events and stop the thread."""
        self._queue.put(None)
        self._thread.join()
