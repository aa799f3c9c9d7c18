"""The time of sessions and modules, derived from a handler's events while they are logged.

The log call of an event counts it, and appends what is derived from it to the same sink, in the
same thread. There is no thread and no timer: a session that has become silent ends with a later
event, or with the process. A flush appends the time so far; `close` and the end of the process end
all sessions, before the last batch is sealed.

The lock is held for some assignments, while nothing else is called. A log call inside of a log call
(a signal handler, a finalizer) leaves its event in a deque, which the interrupted one empties. A
forked child has another object, and never touches its parent's.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from fslog import process
from fslog.capture import Sink
from fslog.interrupts import new_lock, unless_interrupt
from fslog.mapping.activity import Activity
from fslog.mapping.encoding import encode


class Tracking:
    """Derive `sessionSync` and `moduleEnd` from the events that go to a sink.

    Args:
        sink: gets what is derived.
        idle_after: the longest gap in seconds that counts.
        properties: action → its property with the milliseconds.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        idle_after: float,
        properties: Mapping[str, str],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.sink: Sink = sink
        self._now = now
        self._pid = os.getpid()
        self._derived: deque[dict[str, Any]] = deque()
        self._activity = Activity(
            self._derived.append, idle_after=idle_after, properties=properties
        )
        self._steps: deque[Callable[[], None]] = deque()
        self._lock = new_lock()
        self._is_inside = False
        self._is_over = False

    def observe(self, event: Mapping[str, Any]) -> None:
        """Count an event, and append what is derived from it."""
        now_ms = self._now() * 1000
        self._take(lambda: self._activity.observe(event, now_ms))

    def sync(self) -> None:
        """Append the time of each session so far."""
        self._take(self._activity.sync)

    def finish(self) -> None:
        """End all sessions; if the process ends, nothing is derived any more."""
        if process.is_finishing() and self._is_inside and self._lock._is_owned():  # type: ignore[attr-defined]
            # This signal handler has interrupted a step, which may never go on.
            self._steps.append(self._activity.finish)
            self._run_steps()
            self._deliver()
        else:
            self._take(self._activity.finish)
        self._is_over = process.is_finishing()

    def _take(self, step: Callable[[], None]) -> None:
        # A parent's lock may have been held at the fork; while the interpreter shuts down, a
        # stopped thread may hold it.
        if self._is_over or self._pid != os.getpid() or sys.is_finalizing():
            return
        self._steps.append(step)
        with self._lock:
            if self._is_inside:
                return
            try:
                self._is_inside = True
                self._run_steps()
            finally:
                self._is_inside = False
        self._deliver()

    def _run_steps(self) -> None:
        while self._steps:
            self._steps.popleft()()

    def _deliver(self) -> None:
        while self._derived:
            try:
                event = self._derived.popleft()
            except unless_interrupt(IndexError):  # another thread has taken the last one
                return
            line = encode(event)
            self.sink.derived.add()
            if not self.sink.append(line):
                self.sink.submit(line)
