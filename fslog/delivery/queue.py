"""A queue whose `get` waits no longer than it was told, and out of which nothing gets lost.

A `collections.deque` hands items over without a lock that a fork or a signal handler could find
taken; a lock is the bell that wakes who waits for them. Not `queue.SimpleQueue`: its `get(timeout)`
waits for ever when a signal interrupts the thread after its time is over, as happens to a process
that was stopped and goes on (`_queuemodule.c`, up to 3.12: what is left of the time is negative
then, and means no limit). And what a signal handler raises right after `get` took an item, before
the caller has it, takes the item along; `wait` takes none, and `move_to` is one call.

The lock is made of what `threading` offers at the time: gunicorn's gevent worker patches it long
after the handler was built, and a greenlet that waits on a native lock holds up all the others.
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
    """Hand items from any thread, or signal handler, to the one that waits for them.

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
        except unless_interrupt(RuntimeError):  # it has rung, and nobody has heard it yet
            pass

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
                item = self._items.popleft()
            except IndexError:
                if not self.wait(None if until is None else until - time.monotonic()):
                    raise queue.Empty from None
            else:
                if self._items:  # one ring may stand for many items, and many may wait
                    self._ring()
                return item

    def get_nowait(self) -> Any:
        """Return the next item, or raise `queue.Empty`."""
        return self.get(0.0)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is an item, and leave it there; False if none comes in time."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._items:
            left = -1.0 if until is None else until - time.monotonic()
            if until is not None and left <= 0:
                return False
            self._bell.acquire(timeout=min(left, threading.TIMEOUT_MAX))
        return True

    def move_to(self, others: deque[Any]) -> None:
        """Move all items to the end of a deque.

        Wherever this is interrupted, an item is here or there.
        """
        # One call of a function in C that calls others in C: no signal handler runs amid it.
        with contextlib.suppress(IndexError):  # the end of the items
            others.extend(itertools.starmap(self._items.popleft, itertools.repeat(())))
