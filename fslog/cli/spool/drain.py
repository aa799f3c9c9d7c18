"""`fslog spool drain`: send the segments of dead owners, through a handler that logs nothing.

The handler does what it does in every process: it adopts orphans, sends them in order, removes
what was answered by 200, and leaves the segments of living processes alone.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fslog.cli.options import CommandError, destination_of
from fslog.cli.output import Printer, ProgressBar, count, duration
from fslog.cli.spool.contents import OwnerInfo, SpoolContents, read_contents
from fslog.counters import Stats
from fslog.handler import FreshsuccessHandler
from fslog.mapping.privacy import key_needed
from fslog.net.wire import PING_PATH
from fslog.spool.directory import SpoolDirectory

FOLLOWED_ALREADY = (
    "another process, `fslog spool drain --follow`, sends what dead processes leave in {0!r}"
)
OTHER_KEYS = (
    "the directory belongs to other keys than those in FSLOG_AUTH_KEY and FSLOG_API_KEY; "
    "use --take-over to send its events with these keys"
)

_TICK_SECONDS = 0.2
_MAX_BACKOFF_SECONDS = 5.0


@dataclass(frozen=True)
class DrainResult:
    """The result of a drain.

    Args:
        stats: of the handler.
        left: the owners whose events still wait and that no other process delivers.
        living: the owners of living processes that have segments.
        quarantined: how many files were added to the quarantine.
        seconds: how long it took.
        interrupt: the exception that ended it early, if any.
    """

    stats: Stats
    left: tuple[OwnerInfo, ...]
    living: tuple[OwnerInfo, ...]
    quarantined: int
    seconds: float
    interrupt: KeyboardInterrupt | None


def run_drain(contents: SpoolContents, options: argparse.Namespace, printer: Printer) -> int:
    """Run `fslog spool drain` and return the exit code.

    Raises:
        CommandError: the environment or an argument is invalid.
    """
    to = destination_of(options, needs_keys=True)
    printer.redact = to.redact
    is_ours = contents.belongs_to(to.keys_digest(), to.files_digest())
    if not (is_ours or options.take_over):
        raise CommandError(OTHER_KEYS)
    if SpoolDirectory(contents.path, to.keys_digest()).is_followed():
        raise CommandError(FOLLOWED_ALREADY.format(contents.path))
    with ProgressBar(sys.stderr, is_quiet=options.json) as progress:
        progress.begin(contents.path, sum(one.bytes for one in contents.waiting(living=False)), 0)
        result = drain(
            contents,
            options.patience,
            lambda stats: progress.show(
                stats.delivered, lambda: stats.bytes_encoded, stats.last_error or ""
            ),
            # Both given, so that the environment does not overrule an option: the endpoint is used
            # and FSLOG_DATACENTER is not read.
            datacenter=options.datacenter or "us",
            endpoint=to.ping_url().removesuffix(PING_PATH),
            timeout=options.timeout,
            ca_certs=options.ca_certs,
        )
    if options.json:
        printer.values(_as_json(result))
    else:
        _write_summary(result, to.host, printer)
    if result.interrupt is not None:
        raise result.interrupt
    return 1 if result.left else 0


def drain(
    before: SpoolContents, patience: float, report: Callable[[Stats], None], **given: Any
) -> DrainResult:
    """Send the segments of dead owners until none is left, no progress is made, or Ctrl-C.

    Args:
        before: the contents of the directory.
        patience: seconds without a delivery after which the drain ends.
        report: called with the handler's stats several times a second, in another thread.
        given: further arguments of `FreshsuccessHandler`.

    Raises:
        CommandError: an argument is invalid, or the directory cannot be used.
    """
    began_at = time.monotonic()
    try:
        with key_needed(False):  # what waits is redacted already
            handler = FreshsuccessHandler(
                spool=before.path,
                enabled=True,
                max_backoff=_MAX_BACKOFF_SECONDS,
                shutdown_timeout=0.0,
                spool_min_free=0,  # it logs nothing, and makes room
                **given,
            )
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from None
    interrupt: KeyboardInterrupt | None = None
    is_settled = False
    try:
        try:
            with _reporting(handler, report):
                is_settled = _wait(handler, before.path, patience)
        except KeyboardInterrupt as error:
            interrupt = error
        stats = handler.stats()
    finally:
        handler.close()
    after = read_contents(before.path)
    # This process still had the locks of what it adopted and could not send.
    ours = () if is_settled else [owner.name for owner in before.waiting(living=False)]
    living = after.waiting(living=True)
    old = {one.name for one in before.quarantine}
    return DrainResult(
        stats,
        left=(*after.waiting(living=False), *(one for one in living if one.name in ours)),
        living=tuple(one for one in living if one.name not in ours),
        quarantined=sum(one.name not in old for one in after.quarantine),
        seconds=time.monotonic() - began_at,
        interrupt=interrupt,
    )


def _wait(handler: FreshsuccessHandler, path: str, patience: float) -> bool:
    """Wait until no dead owner has segments; return whether all that was adopted is settled."""
    delivered, progress_at = 0, time.monotonic()
    while True:
        # Twice: before its first search for orphans the handler has nothing to flush.
        is_settled = handler.flush(patience) and handler.flush(patience)
        if is_settled and not read_contents(path).waiting(living=False):
            # Again: what the handler was adopting meanwhile looked as if a living process had it.
            return handler.flush(patience)
        stats = handler.stats()
        if stats.delivered > delivered:
            delivered, progress_at = stats.delivered, time.monotonic()
        elif time.monotonic() - progress_at >= patience or not is_settled:
            return is_settled
        # There are more dead owners than a handler adopts at once, or some are cooling down.
        time.sleep(_TICK_SECONDS)


@contextlib.contextmanager
def _reporting(handler: FreshsuccessHandler, report: Callable[[Stats], None]) -> Iterator[None]:
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(_TICK_SECONDS):
            report(handler.stats())

    thread = threading.Thread(target=repeat, name="fslog progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _write_summary(result: DrainResult, host: str, printer: Printer) -> None:
    stats = result.stats
    if stats.adopted or stats.delivered or result.left:
        sent = f"{count(stats.delivered, 'event')} sent to {host}"
        batches = count(stats.batches, "batch", "batches")
        printer.line((f"{sent} in {batches}, {duration(result.seconds)}", "bold"))
    else:
        printer.line(("nothing to send: no dead process has events", ""))
    if result.living:
        events = count(sum(owner.events for owner in result.living), "event")
        owners = count(len(result.living), "living process", "living processes")
        printer.line((f"{events} of {owners} skipped: living processes send their own", ""))
    if result.quarantined:
        files = count(result.quarantined, "file")
        printer.line((f"{files} quarantined: see `fslog spool quarantine ls`", "yellow"))
    if result.left:
        events = count(sum(owner.events for owner in result.left), "event")
        why = stats.last_error or "processes that tried to send them just died; try again later"
        why = "interrupted" if result.interrupt is not None else why
        printer.line((f"{events} could not be sent and remain in the spool: {why}", "red"))


def _as_json(result: DrainResult) -> dict[str, Any]:
    return {
        "delivered": result.stats.delivered,
        "batches": result.stats.batches,
        "left": sum(owner.events for owner in result.left),
        "living": sum(owner.events for owner in result.living),
        "set_aside": result.quarantined,
        "seconds": round(result.seconds, 3),
        "last_error": result.stats.last_error,
        "interrupted": result.interrupt is not None,
    }
