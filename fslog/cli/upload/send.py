"""`fslog send`: upload the events of files, so that none is lost and none sent twice."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence

from fslog.cli.options import (
    CommandParser,
    add_endpoint_options,
    destination_of,
    require_posix,
    seconds,
    transport_to,
    whole,
)
from fslog.cli.output import Printer, ProgressBar
from fslog.cli.upload.accounts import rejected, rows, totals
from fslog.cli.upload.jobs import Job, jobs
from fslog.cli.upload.judgement import BATCH_BYTES, BATCH_EVENTS
from fslog.cli.upload.ndjson import sources
from fslog.cli.upload.sending import Sending
from fslog.cli.upload.upload import Uploader
from fslog.net import wire
from fslog.net.destination import Destination
from fslog.net.retry import Kind, Outcome
from fslog.net.transport import Transport

_RETRY_FOR = 900.0
"""Seconds; also the longest that an endpoint may ask to wait."""

_DESCRIPTION = """\
Upload events from files of NDJSON, one JSON object a line, plain or gzip.

Every line is checked by the endpoint's own rules: it would drop a wrong one in
silence. Wrong lines are reported, and set aside as they are in a reject file,
FILE.rejects.ndjson (for a stream in the current directory): mend them there and
send that. All others are sent in order, in compressed batches. While the
endpoint is down a batch is tried again, with growing pauses; one that is too
large for it is split.

What was sent is written down after each batch in FILE.fslog-sent, and stays
there. --resume goes on after an interruption of any kind, kill -9 too, and at
most the batch under way is sent twice. A stream (-, a pipe) cannot be resumed.

The keys of the source come from FSLOG_AUTH_KEY and FSLOG_API_KEY. There is no
option for them: everybody on a machine can read the arguments of a process."""

_EPILOG = """\
examples:
  fslog send events.ndjson
  fslog send --dry-run exports/*.ndjson.gz
  fslog send --resume events.ndjson
  zstdcat events.zst | fslog send -

The exit code is 0 if all was sent, 1 if something was rejected or not sent,
2 for a wrong argument (nothing was sent), 130 after Ctrl-C."""


def run(arguments: Sequence[str]) -> int:
    """Send files.

    Args:
        arguments: those behind `fslog send`.

    Returns:
        The exit code, as `--help` explains it.

    Raises:
        KeyboardInterrupt: after it was said how to go on.
    """
    options = _parser().parse_args(arguments)
    is_kept = not options.dry_run or options.resume  # what was sent, in files of its own
    if is_kept:
        require_posix("send", "--dry-run checks the files here; send them from elsewhere")
    to = destination_of(options, needs_keys=is_kept)
    transport = transport_to(to, options, wire.ENCODING)
    return Upload(options, arguments, to, _jobs(options, to), transport).run()


def _jobs(options: argparse.Namespace, to: Destination) -> list[Job]:
    return jobs(
        sources(options.files),
        to,
        is_resumed=options.resume,
        is_again=options.again,
        is_dry=options.dry_run,
        state_dir=options.state_dir,
        rejects_path=options.rejects,
    )


class Upload:
    """Run one upload and tell what came of it.

    Args:
        options, arguments: parsed, and as they came.
        to: the destination.
        made: the files' uploads.
        transport: posts to the destination.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        arguments: Sequence[str],
        to: Destination,
        made: Sequence[Job],
        transport: Transport,
    ) -> None:
        self._options = options
        self._arguments = arguments
        self._to = to
        self._made = made
        self._transport = transport
        # What is said here are local names, and reasons that the transport has redacted.
        self._redact = to.redact.secrets
        self._progress = ProgressBar(sys.stderr, is_quiet=options.quiet, redact=self._redact)
        self._uploader = Uploader(
            _confirm if options.dry_run else transport.post,
            retry_for=options.retry_for,
            wait=lambda pause: self._sending.wait(pause),
            say=self._progress.message,
        )
        self._sending = Sending(
            made,
            self._uploader,
            self._progress,
            batch_events=options.batch_events,
            batch_bytes=options.batch_bytes,
        )

    def run(self) -> int:
        """Send, and return the exit code.

        Raises:
            KeyboardInterrupt: after it was said how to go on.
        """
        try:
            return self._run()
        finally:
            self._transport.close()
            for job in self._made:
                if job.rejects is not None:
                    job.rejects.close()

    def _run(self) -> int:
        began_at = time.monotonic()
        interrupt: KeyboardInterrupt | None = None
        try:
            with self._progress:
                self._sending.run()
        except KeyboardInterrupt as error:
            interrupt = error
        self._tell(time.monotonic() - began_at, is_interrupted=interrupt is not None)
        if interrupt is not None:
            raise interrupt
        return 0 if all(one.is_right for one in self._sending.accounts) else 1

    def _tell(self, took: float, *, is_interrupted: bool) -> None:
        try:
            self._sum_up(took, is_interrupted=is_interrupted)
        finally:  # also where nobody can read the summary: its disk is full, its reader has gone
            self._complain(is_interrupted=is_interrupted)

    def _sum_up(self, took: float, *, is_interrupted: bool) -> None:
        """Say on stdout what came of it."""
        accounts, travelled = self._sending.accounts, self._uploader.travelled
        stopped = self._sending.stopped
        printer = Printer(sys.stdout, self._redact)
        if self._options.json:
            report = {"dry_run": self._options.dry_run, **totals(accounts, travelled, took)}
            report["interrupted"] = is_interrupted
            report["stopped"] = None if stopped is None else str(stopped)
            report["resume"] = self._command()
            printer.values(report)
        elif not self._options.quiet:
            for row in rows(accounts, travelled, took, is_dry=self._options.dry_run):
                printer.line(*row)

    def _complain(self, *, is_interrupted: bool) -> None:
        """Say on stderr what was not sent, why, and how to go on."""
        printer = Printer(sys.stderr, self._redact)
        for one in self._sending.accounts:
            if self._options.quiet and not self._options.json and not one.is_clean:
                printer.line((f"rejected {rejected(one)}", "red"))
            if one.failure:
                printer.line((one.failure, "red"))
        stopped = self._sending.stopped
        if stopped is not None:
            printer.line((self._reason(str(stopped), is_setup=stopped.is_setup), "red"))
        if is_interrupted:
            printer.line(("interrupted", "red"))
        if (stopped is not None or is_interrupted) and not self._options.dry_run:
            for one in self._sending.accounts:
                if one.job.source.is_stream and not one.is_done:
                    where = f"from line {one.job.sent.newlines + 1:,} on"
                    printer.line((f"of {one.job.source.label} nothing {where} was sent", ""))
            command = self._command()
            if command is not None:
                printer.verbatim((f"nothing is lost; to go on: {command}", ""))

    def _reason(self, reason: str, *, is_setup: bool) -> str:
        if not is_setup:
            return f"stopped: {self._to.host}: {reason}"
        return (
            f"stopped: {self._to.host}: {reason}: the set-up is wrong; are FSLOG_AUTH_KEY and "
            "FSLOG_API_KEY the keys of this source, and is this its data center or endpoint?"
        )

    def _command(self) -> str | None:
        """Return how to go on; None if all is done, or cannot be gone on with."""
        left = [one for one in self._sending.accounts if not one.is_done]
        if not left or all(one.job.source.is_stream for one in left):
            return None
        words = list(self._arguments)
        end = words.index("--") if "--" in words else len(words)  # behind it all are names
        options = [one for one in words[:end] if one not in ("--resume", "--again")]
        return shlex.join(["fslog", "send", "--resume", *options, *words[end:]])


def _confirm(body: bytes) -> Outcome:
    """Stand in for an endpoint that takes everything."""
    return Outcome(Kind.DELIVERED)


def _parser() -> CommandParser:
    parser = CommandParser("fslog send", _DESCRIPTION, _EPILOG)
    parser.add_argument("files", nargs="+", metavar="FILE", help="NDJSON; - for standard input")
    often = parser.add_mutually_exclusive_group()
    often.add_argument(
        "--resume", action="store_true", help="go on where an earlier run was left, if one was"
    )
    often.add_argument(
        "--again", action="store_true", help="send all, also what FILE.fslog-sent says was sent"
    )
    parser.add_argument("--dry-run", action="store_true", help="check, count, send nothing")
    parser.add_argument("--rejects", metavar="FILE", help="reject file for all inputs together")
    parser.add_argument(
        "--state-dir", metavar="DIR", help="keep FILE.fslog-sent there, not beside FILE"
    )
    parser.add_argument(
        "--retry-for",
        type=seconds(zero=True),
        default=_RETRY_FOR,
        metavar="SECONDS",
        help=f"give up when nothing was taken for so long (default: {_RETRY_FOR:g})",
    )
    parser.add_argument(
        "--batch-events",
        type=whole(),
        default=BATCH_EVENTS,
        metavar="N",
        help=f"events that travel together at the most (default: {BATCH_EVENTS:,})",
    )
    parser.add_argument(
        "--batch-bytes",
        type=whole(),
        default=BATCH_BYTES,
        metavar="N",
        help=f"their bytes before compression; a longer line is wrong (default: {BATCH_BYTES:,})",
    )
    parser.add_argument("--quiet", action="store_true", help="say only what went wrong")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout at the end")
    add_endpoint_options(parser)
    return parser
