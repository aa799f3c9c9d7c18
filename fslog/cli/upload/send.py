"""`fslog send`: upload the events of files; none is lost, and none is sent twice by mistake."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fslog.cli.options import (
    CommandParser,
    add_endpoint_options,
    add_plan_option,
    destination_of,
    require_posix,
    seconds,
    transport_to,
    whole,
)
from fslog.cli.output import Part, Printer, ProgressBar, count
from fslog.cli.upload.file_upload import file_uploads
from fslog.cli.upload.lines import BATCH_BYTES, BATCH_EVENTS
from fslog.cli.upload.transfer import FileResult, Transfer, TransferStopped
from fslog.net import wire
from fslog.net.destination import Destination
from fslog.net.retry import RETRY_AFTER_LIMIT, Kind, Outcome

_LABEL_COLUMNS = 11

_DESCRIPTION = """\
Upload events from files of NDJSON, one JSON object per line, plain or gzip.

Every line is checked by the endpoint's own rules, because the endpoint drops
invalid events silently. Invalid lines are reported and copied to a reject file,
FILE.rejects.ndjson (for a stream, in the current directory): correct them there
and send that file. All other lines are sent in order, in compressed batches. A
batch is retried while the endpoint is down, and split if it is too large.

After each batch, FILE.fslog-sent records what was sent. With --resume an upload
continues after any interruption, kill -9 included; at most one batch is sent
twice. A stream (-, a pipe) cannot be resumed.

The keys of the source are read from FSLOG_AUTH_KEY and FSLOG_API_KEY, or from
the files that FSLOG_AUTH_KEY_FILE and FSLOG_API_KEY_FILE name. There is no
option for them: any user of a machine can read the arguments of a process."""

_EPILOG = """\
examples:
  fslog send events.ndjson
  fslog send --dry-run exports/*.ndjson.gz
  fslog send --resume events.ndjson
  zstdcat events.zst | fslog send -

The exit code is 0 if all events were sent, 1 if any was rejected or not sent, 2
for an invalid argument (nothing was sent), 130 after Ctrl-C."""


def run(arguments: Sequence[str]) -> int:
    """Send files; KeyboardInterrupt is raised after the results were printed."""
    options = _parser().parse_args(arguments)
    has_checkpoint = not options.dry_run or options.resume
    if has_checkpoint:
        require_posix("send", "--dry-run checks the files here; send them from another machine")
    to = destination_of(options, needs_keys=has_checkpoint)
    transport = transport_to(to, options, wire.ENCODING)
    uploads = file_uploads(options, to)
    # The output consists of local names, and of reasons that the transport has redacted.
    progress = ProgressBar(sys.stderr, is_quiet=options.quiet, redact=to.redact.secrets)
    post = _confirm if options.dry_run else transport.post
    transfer = Transfer(uploads, post, progress, options)
    summary = _Summary(transfer, to, options, arguments)
    try:
        with progress:
            transfer.run()
    except KeyboardInterrupt:
        summary.print(is_interrupted=True)
        raise
    else:
        summary.print(is_interrupted=False)
    finally:
        transport.close()
        for upload in uploads:
            if upload.rejects is not None:
                upload.rejects.close()
    return 0 if all(one.is_complete and not one.has_rejects for one in transfer.results) else 1


@dataclass
class _Summary:
    """Print the results of an upload; the options are given parsed and unparsed."""

    transfer: Transfer
    to: Destination
    options: argparse.Namespace
    arguments: Sequence[str]
    began_at: float = field(default_factory=time.monotonic)

    def print(self, *, is_interrupted: bool) -> None:
        """Print the results on stdout, and on stderr what was not sent."""
        try:
            self._print_results(is_interrupted)
        finally:  # even if stdout cannot be written: its disk is full, its reader has closed it
            self._print_failures(is_interrupted)

    def _print_results(self, is_interrupted: bool) -> None:
        stopped, duration = self.transfer.stopped, time.monotonic() - self.began_at
        printer = Printer(sys.stdout, self.to.redact.secrets)
        if self.options.json:
            report = {"dry_run": self.options.dry_run, **_totals(self.transfer, duration)}
            report["interrupted"] = is_interrupted
            report["stopped"] = None if stopped is None else str(stopped)
            report["resume"] = self._resume_command()
            printer.values(report)
        elif not self.options.quiet:
            for row in _rows(self.transfer, duration, self.options.dry_run):
                printer.line(*row)

    def _print_failures(self, is_interrupted: bool) -> None:
        """Print what was not sent, why, and how to resume."""
        printer = Printer(sys.stderr, self.to.redact.secrets)
        for one in self.transfer.results:
            if self.options.quiet and not self.options.json and one.has_rejects:
                printer.line((f"rejected {_rejected(one)}", "red"))
            if one.failure:
                printer.line((one.failure, "red"))
        stopped = self.transfer.stopped
        if stopped is not None:
            printer.line((self._reason(stopped), "red"))
        if is_interrupted:
            printer.line(("interrupted", "red"))
        if (stopped is not None or is_interrupted) and not self.options.dry_run:
            for one in self.transfer.results:
                if one.upload.file.is_stream and not one.is_complete:
                    line = one.upload.progress.newlines + 1
                    text = f"{one.upload.file.label}: nothing from line {line:,} on was sent"
                    printer.line((text, ""))
            command = self._resume_command()
            if command is not None:
                printer.verbatim((f"no event is lost; to resume: {command}", ""))

    def _reason(self, stopped: TransferStopped) -> str:
        text = f"stopped: {self.to.host}: {stopped}"
        if stopped.is_configuration:
            text += (
                ": configuration error; are FSLOG_AUTH_KEY and FSLOG_API_KEY the keys of this "
                "source, and is this its data center or endpoint?"
            )
        return text

    def _resume_command(self) -> str | None:
        """Return the command that resumes the upload; None if it is complete or cannot resume."""
        left = [one for one in self.transfer.results if not one.is_complete]
        if not left or all(one.upload.file.is_stream for one in left):
            return None
        words = list(self.arguments)
        end = words.index("--") if "--" in words else len(words)  # only file names follow it
        options = [one for one in words[:end] if one not in ("--resume", "--again")]
        return shlex.join(["fslog", "send", "--resume", *options, *words[end:]])


def _confirm(body: bytes) -> Outcome:
    """Stand in for an endpoint that confirms every body."""
    return Outcome(Kind.DELIVERED)


def _totals(transfer: Transfer, duration: float) -> dict[str, Any]:
    results, stats = transfer.results, transfer.stats
    return {
        "sent": sum(one.sent for one in results),
        "rejected": sum(one.problems.lines for one in results),
        "warnings": sum(one.warnings.lines for one in results),
        "batches": stats.batches,
        "bytes": stats.bytes_encoded,
        "bytes_sent": stats.bytes_sent,
        "retries": stats.retries,
        "seconds": round(duration, 3),
        "files": [_file_values(one) for one in results],
    }


def _file_values(one: FileResult) -> dict[str, Any]:
    start, progress = one.upload.start, one.upload.progress
    return {
        "file": one.upload.file.path,
        "resumed_at_line": start.newlines + 1 if start.offset else None,
        "next_line": None if one.is_complete else progress.newlines + 1,
        "sent": one.sent,
        "rejected": one.problems.lines,
        "sent_in_all": progress.events,
        "rejected_in_all": progress.rejected,
        "rejects": one.rejects_path,
        "problems": one.problems.json(),
        "warnings": one.warnings.json(),
        "failure": one.failure or None,
    }


def _rows(transfer: Transfer, duration: float, is_dry: bool) -> Iterator[tuple[Part, ...]]:
    yield _row("would send" if is_dry else "sent", _sent(transfer, duration, is_dry))
    for one in transfer.results:
        start, label = one.upload.start, one.upload.file.label
        if start.offset:
            text = f"{label} from line {start.newlines + 1:,} on; "
            yield _row("resumed", f"{text}{count(start.events, 'event')} of it were sent before")
        if one.has_rejects:
            yield _row("rejected", _rejected(one), "red")
            yield from one.problems.rows("red")
        if one.warnings.lines:
            text = f"{count(one.warnings.lines, 'event')} of {label}, accepted by the endpoint"
            yield _row("warnings", text, "yellow")
            yield from one.warnings.rows("yellow")


def _row(label: str, text: str, style: str = "") -> tuple[Part, ...]:
    return ((f"{label:{_LABEL_COLUMNS}}", "bold"), (text, style))


def _sent(transfer: Transfer, duration: float, is_dry: bool) -> str:
    stats = transfer.stats
    parts = [count(sum(one.sent for one in transfer.results), "event")]
    if stats.batches:
        ratio = stats.bytes_encoded / stats.bytes_sent
        parts[0] += f" in {count(stats.batches, 'batch', 'batches')}"
        parts.append(
            f"{stats.bytes_encoded:,} bytes compressed to {stats.bytes_sent:,}: {ratio:.1f} : 1"
        )
    if not is_dry:
        parts.append(f"in {duration:.1f} s")
    if stats.retries:
        parts.append(f"after {count(stats.retries, 'failed attempt')}")
    return ", ".join(parts)


def _rejected(one: FileResult) -> str:
    """Return how many lines of a file were rejected, and where they are."""
    rejected = one.problems.lines + one.rejected_earlier
    text = f"{count(rejected, 'line')} of {one.upload.file.label}"
    if one.rejected_earlier:
        text += f", {one.rejected_earlier:,} of them before this run"
    return f"{text}, copied to {one.rejects_path}" if one.rejects_path else text


def _parser() -> CommandParser:
    parser = CommandParser("fslog send", _DESCRIPTION, _EPILOG)
    parser.add_argument("files", nargs="+", metavar="FILE", help="NDJSON; - for standard input")
    often = parser.add_mutually_exclusive_group()
    often.add_argument(
        "--resume", action="store_true", help="resume the upload of an earlier run, if there is one"
    )
    often.add_argument(
        "--again", action="store_true", help="send all events, whatever FILE.fslog-sent records"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="check and count the events, send none"
    )
    add_plan_option(parser, "reject or warn of what is not as in this tracking plan")
    parser.add_argument("--rejects", metavar="FILE", help="one reject file for all inputs")
    parser.add_argument(
        "--state-dir", metavar="DIR", help="directory of FILE.fslog-sent (default: beside FILE)"
    )
    parser.add_argument(
        "--retry-for",
        type=seconds(zero=True),
        default=RETRY_AFTER_LIMIT,
        metavar="SECONDS",
        help=f"stop after this time without a confirmed batch (default: {RETRY_AFTER_LIMIT:g})",
    )
    parser.add_argument(
        "--batch-events",
        type=whole(),
        default=BATCH_EVENTS,
        metavar="N",
        help=f"limit of events per batch (default: {BATCH_EVENTS:,})",
    )
    parser.add_argument(
        "--batch-bytes",
        type=whole(),
        default=BATCH_BYTES,
        metavar="N",
        help=f"limit of uncompressed bytes per batch and line (default: {BATCH_BYTES:,})",
    )
    parser.add_argument("--quiet", action="store_true", help="print only failures")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    add_endpoint_options(parser)
    return parser
