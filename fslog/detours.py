"""Detours: where what handlers take goes instead of to their destinations, for a while.

For tests of an application whose handlers are running already, and for those that it builds in
the course of a test. While a detour is under way, whatever it names stands in the place of each
handler's own `Delivery`, which keeps what it has and delivers it as before. The newest detour
counts. Log calls know nothing of all this: handlers ask when they are built or forked, and when
they are told that it has changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from fslog import process
from fslog.errors import Problem
from fslog.net.destination import Destination
from fslog.stats import Counter, Stats


class Taker(Protocol):
    """What a handler asks of who takes its lines; a `fslog.delivery.delivery.Delivery` is one."""

    skipped: Counter
    invalid: Counter

    @property
    def append(self) -> Callable[[bytes], bool]: ...

    def submit(self, line: bytes) -> bool: ...

    def bound(self) -> tuple[str, int]: ...

    def run_on_listener(self, notice: Callable[[], None]) -> None: ...

    def report_problem(self, problem: Problem, record: logging.LogRecord) -> None: ...

    def flush(self, timeout: float | None = None) -> bool: ...

    def close(self) -> None: ...

    def watch(self) -> None: ...

    def end_soon(self) -> None: ...

    def stats(self) -> Stats: ...


class Detour(Protocol):
    """Where events go instead."""

    destination: Destination
    """Where to, over the network; what is asked by `ping`."""

    def taker(self, handler: Any) -> Taker:
        """Return who takes a handler's lines in this process, the same one each time."""


_detours: list[Detour] = []


def current() -> Detour | None:
    """Return the newest detour; None if handlers deliver as they are configured."""
    try:
        return _detours[-1]
    except IndexError:
        return None


def destination() -> Destination | None:
    """Return where the newest detour leads; None if there is none."""
    detour = current()
    return None if detour is None else detour.destination


def begin(detour: Detour) -> None:
    """Send what is logged from now on by a detour, whichever handler of this process takes it."""
    _detours.append(detour)
    _tell()


def end(detour: Detour) -> None:
    """End a detour, which need not be the newest.

    A log call of another thread that is under way at this moment may still reach it.
    """
    _detours.remove(detour)
    _tell()


def _tell() -> None:
    for handler in process.handlers():
        handler.reroute()
