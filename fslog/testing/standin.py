"""What stands in the place of a handler's `Delivery` in a test."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from typing import Any

from fslog.config import Settings
from fslog.delivery.delivery import Delivery
from fslog.detours import Taker
from fslog.errors import Problem
from fslog.net.destination import Destination
from fslog.net.transport import Transport
from fslog.stats import Counter, Stats
from fslog.testing.arrivals import Arrivals

_OF_CHILDREN = Settings(
    level=0,
    compression="deflate",
    compression_level=1,
    batch_events=1_000,
    batch_bytes=2**40,
    flush_interval=0.02,
    buffer_bytes=2**40,
    block_timeout=None,
    timeout=5.0,
    max_backoff=1.0,
    shutdown_timeout=1.0,
    spool_max_bytes=1,
    spool_fsync="never",
    ca_certs=None,
    enabled=True,
    on_problem=None,
)
"""How forked children deliver: whoever waits for them waits in a test."""


class StandIn:
    """Take one handler's lines at once: no thread, no socket and no file has a part in it.

    Args:
        arrivals: where they go.
    """

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._accepted = Counter()
        self.skipped = Counter()
        self.invalid = Counter()
        self.append: Callable[[bytes], bool] = self.submit

    def submit(self, line: bytes) -> bool:
        """Take a line; there is always room."""
        self._accepted.add()
        self._arrivals.add_line(line)
        return True

    def bound(self) -> tuple[str, int]:
        """Return what is never asked for: nothing bounds what is kept."""
        return "nothing", 0

    def run_on_listener(self, notice: Callable[[], None]) -> None:
        """Leave unsaid and undone what a listener would say and do."""

    def report_problem(self, problem: Problem, record: logging.LogRecord) -> None:
        """Keep a problem of an event, with the place of its call."""
        self._arrivals.add_problem(problem, record)

    def flush(self, timeout: float | None = None) -> bool:
        """Tell that nothing is pending."""
        return True

    def close(self) -> None:
        """Do nothing: the handler may be used again."""

    def watch(self) -> None:
        """Do nothing: children leave nothing behind."""

    def end_soon(self) -> None:
        """Do nothing: nothing is left for the end."""

    def stats(self) -> Stats:
        """Return the numbers since it stands here."""
        skipped, invalid = self.skipped.value(), self.invalid.value()
        accepted = self._accepted.value()
        return Stats(
            emitted=skipped + invalid + accepted,
            skipped=skipped,
            invalid=invalid,
            accepted=accepted,
            delivered=accepted,
        )


class ToArrivals:
    """Lead what handlers take to a test: here by stand-ins, from forked children by the network.

    Args:
        arrivals: where it goes.
        destination: where forked children post.
    """

    def __init__(self, arrivals: Arrivals, destination: Destination) -> None:
        self.destination = destination
        self._arrivals = arrivals
        self._pid = os.getpid()
        self._takers: list[tuple[int, weakref.ref[Any], Taker]] = []

    def taker(self, handler: Any) -> Taker:
        """Return who takes a handler's lines in this process, the same one each time."""
        pid = os.getpid()
        for of_pid, of_handler, taker in self._takers.copy():
            if of_pid == pid and of_handler() is handler:
                return taker
        made = self._make(pid)
        self._takers.append((pid, weakref.ref(handler), made))
        return made

    def _make(self, pid: int) -> Taker:
        if pid == self._pid:
            return StandIn(self._arrivals)
        transport = Transport(self.destination, ca_certs=None, encoding="deflate", timeout=5.0)
        return Delivery(self.destination, transport, _OF_CHILDREN)

    def handlers(self) -> list[Any]:
        """Return the handlers that were led here and are alive."""
        found = [of_handler() for _, of_handler, _ in self._takers]
        return [handler for handler in found if handler is not None]

    def count(self) -> Stats:
        """Return the numbers of this process's handlers together."""
        numbers = [taker.stats() for pid, _, taker in self._takers if pid == os.getpid()]
        return Stats(
            emitted=sum(stats.emitted for stats in numbers),
            skipped=sum(stats.skipped for stats in numbers),
        )
