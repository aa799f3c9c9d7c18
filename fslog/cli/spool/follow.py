"""`fslog spool drain --follow`: send the segments of dead owners as they appear, until a signal.

A `Delivery` without log calls does it: it searches every 10 seconds, sends small segments together,
backs off while the endpoint is down, and holds one batch in memory. While it runs, other processes
leave the segments of dead owners, and at their own end also their own, to this one.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import logging
import queue
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from fslog.cli.options import CommandError, destination_of, transport_to
from fslog.cli.output import Printer, count, duration
from fslog.cli.spool.drain import FOLLOWED_ALREADY, OTHER_KEYS
from fslog.config import Settings
from fslog.counters import Stats
from fslog.delivery import notices
from fslog.delivery.delivery import Delivery
from fslog.delivery.queue import WakeQueue
from fslog.handler import FreshsuccessHandler
from fslog.net.destination import Destination
from fslog.spool.directory import MARKER, SpoolDirectory, read_marker, spool_directory
from fslog.spool.writer import DiskStore


def run_follow(options: argparse.Namespace, printer: Printer) -> int:
    """Run `fslog spool drain --follow` until SIGTERM, and return the exit code.

    Raises:
        CommandError: the environment or an argument is invalid, or another process follows the
            directory.
        KeyboardInterrupt: Ctrl-C ended it; the summary was printed.
    """
    to = destination_of(options, needs_keys=True)
    printer.redact = to.redact
    # Before anything is created: a signal must not end the process in the middle of a POST.
    with _signals() as signals, _followed(options, to) as directory:
        settings = _settings(options)
        delivery = Delivery(
            to,
            transport_to(to, options, settings.compression),
            settings,
            store=DiskStore.of(directory, settings),
            say=_say_on_stderr(to),
        )
        began_at = time.monotonic()
        delivery.begin()
        delivery.watch()
        try:
            if not options.json:
                printer.line((f"following {directory.path}, sending to {to.host}", ""))
            number = _first(signals)
        finally:
            delivery.finish(delivery.begin_finish())
            delivery.end_thread()
        stats = delivery.stats()
    seconds = time.monotonic() - began_at
    if options.json:
        printer.values(_as_json(stats, seconds))
    else:
        _write_summary(stats, to.host, seconds, printer)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    return 0


@contextlib.contextmanager
def _signals() -> Iterator[WakeQueue]:
    """Put the numbers of SIGTERM and SIGINT on a queue during the block."""
    received = WakeQueue()
    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGTERM, signal.SIGINT)
        if signal.getsignal(number) is not signal.SIG_IGN  # by nohup, or a shell's &
    }
    for number in before:
        signal.signal(number, lambda number, frame: received.put(number))
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first(signals: WakeQueue) -> int:
    """Wait for the first signal and return its number."""
    while True:
        # CPython may begin to wait after a signal has come and before it calls the handler.
        with contextlib.suppress(queue.Empty):
            return int(signals.get(timeout=0.5))


@contextlib.contextmanager
def _followed(options: argparse.Namespace, to: Destination) -> Iterator[SpoolDirectory]:
    """Follow the directory during the block; create it if it is missing."""
    try:
        directory = spool_directory(options.directory, to, {})
        if directory is None:
            raise CommandError("the directory is empty; expected a path")
        if not (options.take_over or _is_ours(directory)):
            raise CommandError(OTHER_KEYS)
        directory.check()
        is_first = directory.follow()
    except OSError as error:
        raise CommandError(f"{options.directory!r}: {error.strerror or error}") from None
    except ValueError as error:
        raise CommandError(str(error)) from None
    if not is_first:
        raise CommandError(FOLLOWED_ALREADY.format(directory.path))
    try:
        yield directory
    finally:
        directory.unfollow()


def _is_ours(directory: SpoolDirectory) -> bool:
    with contextlib.suppress(OSError):  # `check` has the message
        return directory.is_of(read_marker(directory.fs, directory.join(MARKER)) or {})
    return True


def _settings(options: argparse.Namespace) -> Settings:
    """Return the handler's defaults, with the options.

    A POST that is under way when the process ends is waited for, so that it is not repeated.
    """
    parameters = inspect.signature(FreshsuccessHandler).parameters
    given: dict[str, Any] = {
        name: parameters[name].default for name in (*Settings.__annotations__, "overflow")
    }
    given |= {
        "enabled": True,
        "timeout": options.timeout,
        "shutdown_timeout": options.timeout,
        "ca_certs": options.ca_certs,
        "spool_min_free": 0,  # it logs nothing, and makes room
    }
    return Settings.checked(**given)


def _say_on_stderr(to: Destination) -> notices.Log:
    printer = Printer(sys.stderr, to.redact)

    def say(level: int, text: str) -> None:
        if level >= logging.INFO:
            # Nothing may end the listener: stderr may be closed or full.
            with contextlib.suppress(OSError, ValueError):
                printer.line((f"fslog spool drain: {text}", ""))

    return say


def _write_summary(stats: Stats, host: str, seconds: float, printer: Printer) -> None:
    sent = f"{count(stats.delivered, 'event')} sent to {host}"
    batches = count(stats.batches, "batch", "batches")
    printer.line((f"{sent} in {batches}, {duration(seconds)}", "bold"))
    if stats.spool_segments:
        segments = count(stats.spool_segments, "segment")
        printer.line((f"{segments} in the spool, {stats.spool_bytes:,} bytes", "yellow"))


def _as_json(stats: Stats, seconds: float) -> dict[str, Any]:
    return {
        "delivered": stats.delivered,
        "batches": stats.batches,
        "spool_segments": stats.spool_segments,
        "spool_bytes": stats.spool_bytes,
        "seconds": round(seconds, 3),
        "last_error": stats.last_error,
    }
