"""`fslog spool`: what waits in a directory, since when and why; sending it; the quarantine."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from fslog.cli.options import CommandParser, add_endpoint_options, require_posix, seconds
from fslog.cli.output import Printer, count, duration
from fslog.cli.spool import setaside
from fslog.cli.spool.spooled_events import show_events
from fslog.cli.spool.spools import Contents, Share, as_json, look
from fslog.spool.owners import MAX_FAILED_TRIES

_PATIENCE_SECONDS = 30.0


_DESCRIPTION = """\
Look at what waits in a spool's directory, send it, and see to what was set
aside. Looking changes nothing, and disturbs no process that uses the directory."""

_EPILOG = """\
commands:
  ls           what waits: whose it is, how much, since when, and why
  show         the events that wait, the next to be sent first
  drain        send now what dead processes left
  quarantine   ls, show, requeue, rm: what could not be sent

examples:
  fslog spool ls /var/spool/myapp
  fslog spool show /var/spool/myapp --limit 10
  fslog spool show /var/spool/myapp | jq .feature
  FSLOG_AUTH_KEY=... FSLOG_API_KEY=... fslog spool drain /var/spool/myapp
  fslog spool quarantine requeue /var/spool/myapp --all

The exit code is 0 if it was done, 1 if something could not be sent, requeued or
removed, 2 for a wrong argument (a directory that is no spool is one), 130 after
Ctrl-C."""

_DRAIN = """\
Send now what dead processes left in the directory, with the keys in
FSLOG_AUTH_KEY and FSLOG_API_KEY. The segments of living processes are left to
them. What cannot be sent stays where it is."""

_DRAIN_EPILOG = """\
The exit code is 0 if nothing of a dead process is left, 1 if something is, 2 for
a wrong argument or wrong keys, 130 after Ctrl-C."""


def run(arguments: Sequence[str]) -> int:
    """Run `fslog spool`.

    Args:
        arguments: those behind the command's name.

    Returns:
        The exit code, as `--help` explains it.
    """
    parser = _parser()
    options = parser.parse_args(setaside.spelled_out(arguments))
    require_posix("a spool", "run it on the machine that has the spool")
    act: Callable[[Contents, argparse.Namespace, Printer], int] = options.act
    return act(look(options.directory), options, Printer(sys.stdout))


def _parser() -> CommandParser:
    parser = CommandParser("fslog spool", _DESCRIPTION, _EPILOG)
    parser.usage = "fslog spool [-h] ls|show|drain|quarantine ... DIR"
    commands = parser.add_subparsers(metavar="COMMAND", required=True, help=argparse.SUPPRESS)

    def add(name: str, act: Any, description: str, epilog: str = "") -> Any:
        prog = f"fslog spool {name}"
        made = commands.add_parser(name, prog=prog, description=description, epilog=epilog)
        made.add_argument("directory", metavar="DIR", help="the spool's directory")
        made.set_defaults(act=act)
        return made

    ls = add("ls", _list, "Show what waits in the directory, since when, and why.")
    ls.add_argument("--segments", action="store_true", help="show each segment, too")
    ls.add_argument("--json", action="store_true", help="print one JSON object instead")
    show = add("show", show_events, "Print the events that wait: rows, or NDJSON for a pipe.")
    setaside.add_show_arguments(show)
    drain = add("drain", _drain, _DRAIN, _DRAIN_EPILOG)
    add_endpoint_options(drain)
    drain.add_argument(
        "--patience",
        type=seconds(),
        default=_PATIENCE_SECONDS,
        metavar="SECONDS",
        help=f"give up when nothing was delivered for so long (default: {_PATIENCE_SECONDS:g})",
    )
    drain.add_argument(
        "--take-over",
        action="store_true",
        help="send it although the directory belongs to other keys than those given",
    )
    drain.add_argument("--json", action="store_true", help="print the summary as a JSON object")
    setaside.add_commands(commands)
    return parser


def _list(contents: Contents, options: argparse.Namespace, paper: Printer) -> int:
    if options.json:
        paper.values(as_json(contents))
        return 0
    now = time.time()
    paper.line((contents.path, "bold"), (f"  {_summary(contents, now)}", ""))
    shown = [share for share in contents.shares if share.segments or share.is_living]
    if shown:
        paper.line()
        paper.line((f"{'owner':24} {'events':>9} {'bytes':>13} {'since':>12}  state", "bold"))
    for share in shown:
        paper.line(*_row(share, now))
        if options.segments:
            for one in share.segments:
                age = duration(now - one.written_at)
                name = str(one.name)[len(share.owner) :]
                paper.line((f"  {name:22} {one.events:9,} {one.bytes:13,} {age:>12}", "dim"))
    idle = len(contents.shares) - len(shown)
    if idle:
        paper.line((f"{count(idle, 'dead process', 'dead processes')} left nothing", "dim"))
    if contents.set_aside:
        paper.line()
        setaside.list_files(contents, paper)
    return 0


def _summary(contents: Contents, now: float) -> str:
    segments = [one for share in contents.shares for one in share.segments]
    if not segments:
        return "nothing waits"
    events = sum(one.events for one in segments)
    size = sum(one.bytes for one in segments)
    age = duration(now - min(one.written_at for one in segments))
    return (
        f"{count(events, 'event')} in {count(len(segments), 'segment')}, {size:,} bytes; "
        f"the oldest waits for {age}"
    )


def _row(share: Share, now: float) -> tuple[tuple[str, str], ...]:
    since = "-"
    if share.segments:
        since = duration(now - min(one.written_at for one in share.segments))
    state, why = _state(share)
    claim = f", {share.claim_bytes:,} bytes claimed" if share.claim_bytes else ""
    return (
        (f"{share.owner:24} {share.events:9,} {share.bytes:13,} {since:>12}  ", ""),
        (state, "green" if share.is_living else "yellow"),
        (f"{why}{claim}", "dim"),
    )


def _state(share: Share) -> tuple[str, str]:
    """Return whether the owner lives, and why its events wait."""
    if share.is_living:
        who = f"living, process {share.pid}" if share.pid else "living"
        return who, ": it sends them itself" if share.segments else ""
    why = ": a process that uses the spool, or drain, sends them"
    if share.tries >= MAX_FAILED_TRIES:
        why = f": {share.tries} processes died over them; they rest for some seconds between"
    return "dead", why


def _drain(contents: Contents, options: argparse.Namespace, paper: Printer) -> int:
    from fslog.cli.spool import draincommand

    return draincommand.drain_and_tell(contents, options, paper)
