"""What a capture receives: events, findings, and the sink through which they come.

Log calls add lines in their own thread without waiting; a line is parsed when a test asks for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fslog.collector.judge import ParsedBody, parse_body
from fslog.counters import Counter, Health, RecordCounters, Stats
from fslog.errors import Problem
from fslog.mapping import schema
from fslog.plan.judgement import is_warning


@dataclass(frozen=True)
class Finding(Problem):
    """A problem of an event, with its call site.

    Args:
        code, property, message, event: see `fslog.Problem`.
        place: file and line of the log call, and its logger; `""` if the event came from another
            process.
        is_refused: whether a plan refuses the event.

    >>> str(Finding("missing", "userId", "userId is missing", None, "shop.py:7, logger 'shop'"))
    "shop.py:7, logger 'shop': userId is missing [missing]"
    """

    place: str = ""
    is_refused: bool = False

    @property
    def is_warning(self) -> bool:
        """Whether the event is valid, and so is sent."""
        return is_warning(self)

    def __str__(self) -> str:
        where = self.place or "from another process"
        return f"{where}: {self.message} [{self.code}]"


def finding(problem: Problem, place: str = "") -> Finding:
    """Return a problem as a finding."""
    return Finding(
        problem.code,
        problem.property,
        problem.message,
        problem.event,
        place,
        getattr(problem, "is_refused", False),
    )


def place_of(record: logging.LogRecord) -> str:
    """Return the file, the line and the logger of a log call, in a form that editors open.

    The path of a file in the working directory is relative.

    >>> place_of(logging.LogRecord("shop", 20, "/srv/shop/views.py", 7, "sold", (), None))
    "/srv/shop/views.py:7, logger 'shop'"
    """
    seen = record.__dict__.get  # records made by hand may lack anything
    path, here = str(seen("pathname")), os.path.join(os.getcwd(), "")
    return f"{path.removeprefix(here)}:{seen('lineno')}, logger {seen('name')!r}"


observers: list[Callable[[dict[str, Any]], None]] = []
"""Are called with each valid event of every capture, once it is parsed."""


class Captured:
    """Keep events and findings from any thread, signal handler or finalizer."""

    def __init__(self) -> None:
        self._unread: deque[bytes | Finding | ParsedBody] = deque()
        self._bells: tuple[Any, ...] = ()  # replaced, never changed: log calls take no lock
        self._lock = threading.Lock()
        self._events: list[dict[str, Any]] = []
        self._findings: list[Finding] = []

    def add(self, item: bytes | Finding | ParsedBody) -> None:
        """Add a line or a problem of this process, or the body that another one has posted."""
        self._unread.append(item)
        for bell in self._bells:
            with contextlib.suppress(RuntimeError):  # another log call has rung it
                bell.release()

    def events(self) -> list[dict[str, Any]]:
        """Return the valid events."""
        with self._lock:
            self._parse()
            return self._events.copy()

    def findings(self) -> list[Finding]:
        """Return the problems of events, warnings included."""
        with self._lock:
            self._parse()
            return self._findings.copy()

    def clear(self) -> None:
        """Remove all events and findings."""
        with self._lock:
            self._parse()
            self._events.clear()
            self._findings.clear()

    def _parse(self) -> None:
        while self._unread:
            item = self._unread.popleft()
            if isinstance(item, Finding):
                self._findings.append(item)
            elif isinstance(item, ParsedBody):
                self._extend(item)
                warnings = [w for event in item.events for w in schema.warnings(event)]
                self._findings += map(finding, warnings)
            else:
                self._extend(parse_body(item, None))

    def _extend(self, parsed: ParsedBody) -> None:
        self._events += parsed.events
        for observe in observers:
            for event in parsed.events:
                observe(event)
        self._findings += [finding(p) for bad in parsed.invalid for p in bad.problems]

    def wait_until(
        self,
        is_enough: Callable[[], bool],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> bool:
        """Wait for a condition, checked now and after each addition; return whether it held."""
        until = clock() + seconds
        bell = threading.Lock()
        with self._lock:
            self._bells = (*self._bells, bell)
        try:
            while True:
                bell.acquire(blocking=False)
                if is_enough():
                    return True
                # Not by the clock alone: a test may have stopped it.
                if not bell.acquire(timeout=max(0.0, until - clock())):
                    return is_enough()
        finally:
            with self._lock:
                self._bells = tuple(other for other in self._bells if other is not bell)


class CaptureSink(RecordCounters):
    """Accept one handler's lines at once, without a thread, a socket or a file.

    Args:
        captured: where they go.
    """

    def __init__(self, captured: Captured) -> None:
        super().__init__()
        self._captured = captured
        self._accepted = Counter()
        self.append: Callable[[bytes], bool] = self.submit

    def submit(self, line: bytes) -> bool:
        """Accept a line; there is always room."""
        self._accepted.add()
        self._captured.add(line)
        return True

    def shortage(self) -> str:
        """Return nothing: there is always room."""
        return ""

    def run_on_listener(self, function: Callable[[], None]) -> None:
        """Call a function here: the next log call goes the same way as in production."""
        function()

    def reject(self) -> None:
        """Count an invalid event."""
        self.invalid.add()

    def keep_rejected(self, line: bytes) -> None:
        """Write no file: a test's invalid events are among its findings."""

    def report_problem(self, problem: Problem, record: logging.LogRecord) -> None:
        """Keep a problem of an event, with its call site."""
        self._captured.add(finding(problem, place_of(record)))

    def flush(self, timeout: float | None = None) -> bool:
        """Return True: nothing is pending."""
        return True

    def close(self) -> None:
        """Do nothing: nothing is pending, no orphans are left, the handler may be used again."""

    watch = close

    def end_soon(self) -> None:
        """Do nothing: a line is there at once."""

    def stats(self) -> Stats:
        """Return the numbers of this capture."""
        accepted = self._accepted.value()
        return Stats(
            **self.numbers(refused=0, accepted=accepted),
            accepted=accepted,
            delivered=accepted,
        )

    def health(self) -> Health:
        """Return that nothing is wrong: every event arrives at once."""
        return Health()
