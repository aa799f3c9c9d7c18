"""`fslog spool`: its arguments, and the listing of what waits."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from fslog.cli.options import CommandParser, add_endpoint_options, require_posix, seconds
from fslog.cli.output import Printer, count, duration
from fslog.cli.spool import forget, quarantine, show
from fslog.cli.spool.contents import OwnerInfo, Segment, SpoolContents, as_json, read_contents
from fslog.spool.owners import COOLDOWN_SECONDS, MAX_FAILED_TRIES

_PATIENCE_SECONDS = 30.0

_DESCRIPTION = """\
Show what waits in a spool's directory, send or remove it, and manage its
quarantine.
Listing and showing change nothing and disturb no process that uses the
directory."""

_EPILOG = """\
commands:
  ls           what waits: whose it is, how much, how old, and why
  show         the waiting events, the next to be sent first
  drain        send what dead processes left, once or as a service
  quarantine   ls, show, requeue, rm: what could not be sent
  forget       remove what waits of a user

examples:
  fslog spool ls /var/spool/myapp
  fslog spool show /var/spool/myapp --limit 10
  fslog spool show /var/spool/myapp | jq .feature
  FSLOG_AUTH_KEY=... FSLOG_API_KEY=... fslog spool drain /var/spool/myapp
  fslog spool drain --follow /var/spool/myapp
  fslog spool quarantine requeue /var/spool/myapp --all
  fslog spool forget /var/spool/myapp --user ann

The exit code is 0 on success, 1 if something could not be sent, requeued or
removed, 2 for an invalid argument (such as a directory that is not a spool),
130 after Ctrl-C."""

_DRAIN = """\
Send the events that dead processes left in the directory, with the keys in
FSLOG_AUTH_KEY and FSLOG_API_KEY. Living processes keep and send their own
segments. What cannot be sent stays in the directory.

With --follow the command goes on until SIGTERM or Ctrl-C. While it runs, a
process that ends leaves its events to the command. It creates the directory if
that is missing, and reports on stderr when the endpoint is down and when it
works again."""

_DRAIN_EPILOG = """\
The exit code is 0 if no events of dead processes are left, 1 if some are, 2 for
an invalid argument or invalid keys, 130 after Ctrl-C; with --follow, 0 after
SIGTERM."""


def run(arguments: Sequence[str]) -> int:
    """Run `fslog spool` with its arguments; return the exit code, as `--help` explains it."""
    options = _parser().parse_args(quarantine.spelled_out(arguments))
    require_posix("a spool", "run it on the machine that has the spool")
    if getattr(options, "follow", False):
        from fslog.cli.spool import follow

        return follow.run_follow(options, Printer(sys.stdout))
    act: Callable[[SpoolContents, argparse.Namespace, Printer], int] = options.act
    return act(read_contents(options.directory), options, Printer(sys.stdout))


def _parser() -> CommandParser:
    parser = CommandParser("fslog spool", _DESCRIPTION, _EPILOG)
    parser.usage = "fslog spool [-h] ls|show|drain|quarantine|forget ... DIR"
    commands = parser.add_subparsers(metavar="COMMAND", required=True, help=argparse.SUPPRESS)

    add = partial(show.add_command, commands, parser.prog)
    ls = add("ls", _list, "List what waits in the directory, how old it is, and why it waits.")
    ls.add_argument("--segments", action="store_true", help="list each segment, too")
    ls.add_argument("--json", action="store_true", help="print one JSON object instead")
    waiting = add(
        "show", show.show_waiting, "Print waiting events: rows on a terminal, NDJSON for a pipe."
    )
    show.add_show_arguments(waiting)
    drain = add("drain", _drain, _DRAIN, _DRAIN_EPILOG)
    add_endpoint_options(drain)
    until = drain.add_mutually_exclusive_group()
    until.add_argument(
        "--patience",
        type=seconds(),
        default=_PATIENCE_SECONDS,
        metavar="SECONDS",
        help=f"end after so long without a delivery (default: {_PATIENCE_SECONDS:g})",
    )
    until.add_argument("--follow", action="store_true", help="go on until SIGTERM, as a service")
    drain.add_argument(
        "--take-over",
        action="store_true",
        help="send events of a directory that belongs to other keys",
    )
    drain.add_argument("--json", action="store_true", help="print the summary as a JSON object")
    quarantine.add_commands(commands)
    forgetting = add("forget", forget.run_forget, forget.DESCRIPTION, forget.EPILOG)
    forget.add_arguments(forgetting)
    return parser


def _list(contents: SpoolContents, options: argparse.Namespace, printer: Printer) -> int:
    if options.json:
        printer.values(as_json(contents))
        return 0
    now = time.time()
    printer.line((contents.path, "bold"), (f"  {_summary(contents, now)}", ""))
    shown = [owner for owner in contents.owners if owner.segments or owner.is_living]
    if shown:
        printer.line()
        printer.line((f"{'owner':24} {'events':>9} {'bytes':>13} {'age':>12}  state", "bold"))
    for owner in shown:
        printer.line(*_row(owner, now))
        if options.segments:
            for one in owner.segments:
                age = duration(now - one.written_at)
                name = str(one.name)[len(owner.name) :]
                printer.line((f"  {name:22} {one.events:9,} {one.bytes:13,} {age:>12}", "dim"))
    idle = len(contents.owners) - len(shown)
    if idle:
        printer.line((f"{count(idle, 'dead process', 'dead processes')} without events", "dim"))
    if contents.quarantine:
        printer.line()
        quarantine.list_files(contents, printer)
    return 0


def _summary(contents: SpoolContents, now: float) -> str:
    segments = [segment for owner in contents.owners for segment in owner.segments]
    if not segments:
        return "no events waiting"
    events = count(sum(one.events for one in segments), "event")
    size = sum(one.bytes for one in segments)
    files = count(len(segments), "segment")
    return f"{events} in {files}, {size:,} bytes; the oldest is from {_age(segments, now)} ago"


def _age(segments: Sequence[Segment], now: float) -> str:
    return duration(now - min(one.written_at for one in segments))


def _row(owner: OwnerInfo, now: float) -> tuple[tuple[str, str], ...]:
    age = _age(owner.segments, now) if owner.segments else "-"
    state, why = _state(owner)
    claim = f", {owner.claim_bytes:,} bytes claimed" if owner.claim_bytes else ""
    return (
        (f"{owner.name:24} {owner.events:9,} {owner.bytes:13,} {age:>12}  ", ""),
        (state, "green" if owner.is_living else "yellow"),
        (f"{why}{claim}", "dim"),
    )


def _state(owner: OwnerInfo) -> tuple[str, str]:
    """Return whether an owner is alive, and why its events wait."""
    if owner.is_living:
        state = f"living, process {owner.pid}" if owner.pid else "living"
        return state, ": it sends them itself" if owner.segments else ""
    if owner.tries < MAX_FAILED_TRIES:
        return "dead", ": sent by drain, or by any process that uses the spool"
    return "dead", (
        f": {owner.tries} processes died before they sent any; "
        f"retried at most every {COOLDOWN_SECONDS:g} s"
    )


def _drain(contents: SpoolContents, options: argparse.Namespace, printer: Printer) -> int:
    from fslog.cli.spool import drain  # it loads the handler, which the other commands do not need

    return drain.run_drain(contents, options, printer)
