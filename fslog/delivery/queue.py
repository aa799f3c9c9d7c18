"""A queue whose `get` never waits longer than its timeout, and that loses no item.

Items are in a `collections.deque`, which needs no lock that a fork or a signal handler could find
taken. A second lock is only the bell that wakes the waiting thread.

Why not `queue.SimpleQueue`: its `get(timeout)` waits for ever if a signal interrupts the thread
after the timeout has passed, which happens to a process that was stopped and continued
(`_queuemodule.c`, up to 3.12: the remaining time is negative then, and means no limit). And if a
signal handler raises between the end of `get` and the assignment by its caller, the item is lost;
`wait` removes no item, and `move_to` is a single call.

The bell is created from what `threading` offers at that time: gunicorn's gevent worker patches it
after the handler was created, and a greenlet that waits for a native lock blocks all others.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from collections import deque
from typing import Any

from fslog.interrupts import unless_interrupt


class WakeQueue:
    """Pass items from any thread or signal handler to the one thread that waits for them.

    >>> items = WakeQueue()
    >>> items.put("item")
    >>> items.get(timeout=1.0), items.empty()
    ('item', True)
    """

    __slots__ = ("_bell", "_items")

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._bell = threading.Lock()
        self._bell.acquire()

    def empty(self) -> bool:
        """Return whether there is no item."""
        return not self._items

    def put(self, item: Any) -> None:
        """Add an item, without waiting."""
        self._items.append(item)
        self._ring()

    def _ring(self) -> None:
        try:
            self._bell.release()
        except unless_interrupt(RuntimeError):  # the bell has rung already
            pass

    put_nowait = put

    def get(self, timeout: float | None = None) -> Any:
        """Return the next item.

        Args:
            timeout: the most seconds to wait; None for no limit.

        Raises:
            queue.Empty: none came.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                item = self._items.popleft()
            except IndexError:
                if not self.wait(None if until is None else until - time.monotonic()):
                    raise queue.Empty from None
            else:
                if self._items:  # one ring may announce several items to several waiters
                    self._ring()
                return item

    def get_nowait(self) -> Any:
        """Return the next item, or raise `queue.Empty`."""
        return self.get(0.0)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is an item, without removing it; False if none came in time."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._items:
            left = -1.0 if until is None else until - time.monotonic()
            if until is not None and left <= 0:
                return False
            self._bell.acquire(timeout=min(left, threading.TIMEOUT_MAX))
        return True

    def move_to(self, others: deque[Any]) -> None:
        """Move all items to the end of a deque.

        If this is interrupted, each item is in one of the two.
        """
        # One call of a C function that calls only C functions: no signal handler runs inside it.
        with contextlib.suppress(IndexError):  # the end of the items
            others.extend(itertools.starmap(self._items.popleft, itertools.repeat(())))
