"""What arrived in the course of a test, in order: events, and what is wrong with them.

Log calls add to it in their own thread, and wait for nobody: a line is only looked at when
somebody asks.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from fslog.collector.judge import ParsedBody, parse_body
from fslog.errors import Problem
from fslog.mapping import schema
from fslog.testing.findings import Finding, finding, place_of


class Arrivals:
    """Keep events and findings from any thread, signal handler or finalizer, until `clear`."""

    def __init__(self) -> None:
        self._news: deque[Any] = deque()
        self._bells: tuple[Any, ...] = ()  # replaced, never changed: log calls take no lock
        self._lock = threading.Lock()
        self._events: list[dict[str, Any]] = []
        self._findings: list[Finding] = []

    def add_line(self, line: bytes) -> None:
        """Take a line from a handler of this process."""
        self._add(line)

    def add_problem(self, problem: Problem, record: logging.LogRecord) -> None:
        """Take what a handler of this process has to say of an event."""
        self._add(finding(problem, place_of(record)))

    def add_parsed(self, parsed: ParsedBody) -> None:
        """Take what another process sent."""
        self._add(parsed)

    def _add(self, item: Any) -> None:
        self._news.append(item)
        for bell in self._bells:
            with contextlib.suppress(RuntimeError):  # it rings already
                bell.release()

    def events(self) -> list[dict[str, Any]]:
        """Return the valid events."""
        with self._lock:
            self._look()
            return self._events.copy()

    def findings(self) -> list[Finding]:
        """Return all that is wrong, or probably not meant."""
        with self._lock:
            self._look()
            return self._findings.copy()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._look()
            self._events.clear()
            self._findings.clear()

    def _look(self) -> None:
        while self._news:
            item = self._news.popleft()
            if isinstance(item, Finding):
                self._findings.append(item)
            elif isinstance(item, ParsedBody):
                self._judge(item)
                warnings = [w for event in item.events for w in schema.warnings(event)]
                self._findings += map(finding, warnings)
            else:
                self._judge(parse_body(item, None))

    def _judge(self, parsed: ParsedBody) -> None:
        self._events += parsed.events
        self._findings += [finding(p) for bad in parsed.invalid for p in bad.problems]

    def wait_until(
        self,
        is_enough: Callable[[], bool],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> bool:
        """Wait until something is so, asked now and after each arrival; False if it never was."""
        until = clock() + seconds
        bell = threading.Lock()
        with self._lock:
            self._bells = (*self._bells, bell)
        try:
            while True:
                bell.acquire(blocking=False)
                if is_enough():
                    return True
                # Not by the clock alone: tests have been known to stop it.
                if not bell.acquire(timeout=max(0.0, until - clock())):
                    return is_enough()
        finally:
            with self._lock:
                self._bells = tuple(other for other in self._bells if other is not bell)
