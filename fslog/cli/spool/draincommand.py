"""`fslog spool drain`: progress while it sends, and what came of it."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from fslog.cli.options import CommandError, destination_of
from fslog.cli.output import Printer, ProgressBar, count, duration
from fslog.cli.spool.draining import Drained, drain
from fslog.cli.spool.spools import Contents
from fslog.net.wire import PING_PATH
from fslog.stats import Stats


def drain_and_tell(contents: Contents, options: argparse.Namespace, paper: Printer) -> int:
    """Send what dead processes left, and return the exit code.

    Raises:
        CommandError: the environment, or an argument, is wrong.
    """
    to = destination_of(options, needs_keys=True)
    paper.redact = to.redact
    if contents.digest not in (None, to.keys_digest()) and not options.take_over:
        raise CommandError(
            "the directory belongs to other keys than those in FSLOG_AUTH_KEY and FSLOG_API_KEY; "
            "if its events are to go where these lead, say so by --take-over"
        )
    with ProgressBar(sys.stderr, is_quiet=options.json) as progress:
        size_bytes = sum(share.bytes for share in contents.waiting(living=False))
        progress.begin(contents.path, size_bytes, 0)

        def tell(stats: Stats) -> None:
            progress.show(stats.delivered, lambda: stats.bytes_encoded, stats.last_error or "")

        drained = drain(
            contents,
            options.patience,
            tell,
            # Of the destination: an option is not overruled by the environment. The endpoint
            # decides; the data center is given so that the environment's is not looked at.
            datacenter=options.datacenter or "us",
            endpoint=to.ping_url().removesuffix(PING_PATH),
            timeout=options.timeout,
            ca_certs=options.ca_certs,
        )
    if options.json:
        paper.values(_as_json(drained))
    else:
        _write_summary(drained, to.host, paper)
    if drained.interrupt is not None:
        raise drained.interrupt
    return 1 if drained.left else 0


def _write_summary(drained: Drained, host: str, paper: Printer) -> None:
    stats = drained.stats
    if stats.adopted or stats.delivered or drained.left:
        sent = f"{count(stats.delivered, 'event')} sent to {host}"
        batches = count(stats.batches, "batch", "batches")
        paper.line((f"{sent} in {batches}, {duration(drained.seconds)}", "bold"))
    else:
        paper.line(("no dead process left anything to send", ""))
    if drained.living:
        events = sum(share.events for share in drained.living)
        who = count(len(drained.living), "living process", "living processes")
        paper.line((f"{count(events, 'event')} of {who} left alone: they are sent by them", ""))
    if drained.set_aside:
        files = count(drained.set_aside, "file")
        paper.line((f"{files} set aside: see `fslog spool quarantine ls`", "yellow"))
    if drained.left:
        events = sum(share.events for share in drained.left)
        why = stats.last_error or "other processes died over them a moment ago; try again"
        why = "interrupted" if drained.interrupt is not None else why
        paper.line((f"{count(events, 'event')} could not be sent and stay: {why}", "red"))


def _as_json(drained: Drained) -> dict[str, Any]:
    return {
        "delivered": drained.stats.delivered,
        "batches": drained.stats.batches,
        "left": sum(share.events for share in drained.left),
        "living": sum(share.events for share in drained.living),
        "set_aside": drained.set_aside,
        "seconds": round(drained.seconds, 3),
        "last_error": drained.stats.last_error,
        "interrupted": drained.interrupt is not None,
    }
