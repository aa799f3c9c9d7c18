"""The sinks of handlers: where a handler's lines go, and how tests replace that for a while.

A handler's own sink is its `Delivery`. While an override is active, the override gives each handler
of this process, existing or new, another sink; the `Delivery` still delivers what it has. The
newest override wins. While handlers are switched off, as the pytest plugin does, they accept events
only for an override. A log call does not check this: a handler chooses its sink when it is created
or forked, and when an override or the switch changes.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from fslog import process
from fslog.counters import Counter, Health, Stats
from fslog.errors import Problem

if TYPE_CHECKING:  # it imports http.client, which the plugin of pytest does not need
    from fslog.net.destination import Destination


class Sink(Protocol):
    """What a handler needs of the object that accepts its lines, such as a `Delivery`."""

    skipped: Counter
    excluded: Counter
    limited: Counter
    invalid: Counter
    derived: Counter

    @property
    def append(self) -> Callable[[bytes], bool]: ...

    def submit(self, line: bytes) -> bool: ...

    def shortage(self) -> str: ...

    def run_on_listener(self, function: Callable[[], None]) -> None: ...

    def report_problem(self, problem: Problem, record: logging.LogRecord) -> None: ...

    def reject(self) -> None: ...

    def keep_rejected(self, line: bytes) -> None: ...

    def flush(self, timeout: float | None = None) -> bool: ...

    def close(self) -> None: ...

    def watch(self) -> None: ...

    def end_soon(self) -> None: ...

    def stats(self) -> Stats: ...

    def health(self) -> Health: ...


class SinkOverride:
    """Give the handlers of this process, and of forked children, other sinks.

    Args:
        destination: what handlers ping meanwhile.
        make_sink: returns a new sink; the argument is whether this is a forked child.
    """

    def __init__(self, destination: Destination, make_sink: Callable[[bool], Sink]) -> None:
        self.destination = destination
        self._make_sink = make_sink
        self._pid = os.getpid()
        self._sinks: list[tuple[int, weakref.ref[Any], Sink]] = []

    def start(self) -> None:
        """Use these sinks from now on."""
        _active.append(self)
        _choose_sinks()

    def stop(self) -> None:
        """Restore what was before; overrides may stop in any order.

        A log call of another thread that is in progress may still use a sink of this override.
        """
        _active.remove(self)
        _choose_sinks()

    def sink(self, handler: Any) -> Sink:
        """Return the sink of a handler in this process, the same one each time."""
        pid = os.getpid()
        for sink_pid, sink_handler, sink in self._sinks.copy():
            if sink_pid == pid and sink_handler() is handler:
                return sink
        made = self._make_sink(pid != self._pid)
        self._sinks.append((pid, weakref.ref(handler), made))
        return made

    def handlers(self) -> list[Any]:
        """Return the handlers that have used these sinks and still exist."""
        return [found for _, handler, _ in self._sinks if (found := handler()) is not None]

    def users(self) -> list[Any]:
        """Return those of the handlers through which this process has logged."""
        found = [(handler(), sink) for pid, handler, sink in self._sinks if pid == os.getpid()]
        return [handler for handler, sink in found if handler and sink.stats().emitted]

    def stats(self) -> Stats:
        """Return the numbers `emitted` and `skipped` of this process's handlers together."""
        stats = [sink.stats() for pid, _, sink in self._sinks if pid == os.getpid()]
        return Stats(
            emitted=sum(each.emitted for each in stats),
            skipped=sum(each.skipped for each in stats),
        )


_active: list[SinkOverride] = []
_off: list[object] = []


def override() -> SinkOverride | None:
    """Return the newest active override; None if handlers use their own sinks."""
    try:
        return _active[-1]
    except IndexError:
        return None


def is_off() -> bool:
    """Return whether handlers are switched off, so that they do not use their own sinks."""
    return bool(_off)


def switch_off() -> Callable[[], None]:
    """Switch off the handlers of this process, existing or new, until the returned call.

    If several callers switch them off, they stay off until the last one has undone that. A handler
    that is created meanwhile never uses its own sink. What was accepted before is delivered.
    """
    mark = object()
    _off.append(mark)
    _choose_sinks()

    def end() -> None:
        if mark in _off:
            _off.remove(mark)
            _choose_sinks()

    return end


def _choose_sinks() -> None:
    for handler in process.handlers():
        handler.reroute()
