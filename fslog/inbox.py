"""A queue whose `get` waits no longer than it was told.

The standard library's `queue.SimpleQueue` hands items over without a lock that a fork or a signal
handler could find taken. But its `get(timeout)` waits for ever when a signal interrupts the thread
after its time is over, as happens to a process that was stopped and goes on (`_queuemodule.c`, up
to 3.12: what is left of the time is negative then, and means no limit). A lock's `acquire` looks
for that. So the queue holds the items, and a lock is the bell that wakes who waits for them.

Made of what `queue` and `threading` offer at the time: gunicorn's gevent worker patches both long
after the handler was built, and a greenlet that waits on a native lock holds up all the others.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

from fslog.interrupts import is_interrupt


class Inbox:
    """Hand items from any thread, or signal handler, to the one that waits for them.

    >>> inbox = Inbox()
    >>> inbox.put("item")
    >>> inbox.get(timeout=1.0), inbox.empty(), inbox.qsize()
    ('item', True, 0)
    """

    __slots__ = ("_bell", "_items", "empty", "get_nowait", "qsize")

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._bell = threading.Lock()
        self._bell.acquire()
        self.empty = self._items.empty
        self.qsize = self._items.qsize
        self.get_nowait = self._items.get_nowait

    def put(self, item: Any) -> None:
        """Add an item, without waiting."""
        self._items.put(item)
        self._ring()

    def _ring(self) -> None:
        try:
            self._bell.release()
        except RuntimeError as error:  # it has rung, and nobody has heard it yet
            if is_interrupt(error):
                raise

    put_nowait = put

    def get(self, timeout: float | None = None) -> Any:
        """Return the next item.

        Args:
            timeout: seconds to wait for one at the most; None for as long as it takes.

        Raises:
            queue.Empty: none came.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                item = self.get_nowait()
                if not self.empty():  # one ring may stand for many items, and many may wait
                    self._ring()
                return item
            except queue.Empty:
                left = -1.0 if until is None else until - time.monotonic()
                if until is not None and left <= 0:
                    raise
                self._bell.acquire(timeout=min(left, threading.TIMEOUT_MAX))
