"""`fslog spool quarantine`: look at what could not be sent, have it wait again, or remove it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from fslog.cli.options import CommandError, whole
from fslog.cli.output import Printer, count, duration
from fslog.cli.spool.requeueing import Requeued, events_in, remove, requeue
from fslog.cli.spool.spooled_events import Line, write_lines
from fslog.cli.spool.spools import Contents, SetAside, as_json
from fslog.spool.directory import QUARANTINE
from fslog.spool.filesystem import FileSystem

_VERBS = ("ls", "show", "requeue", "rm")

_DESCRIPTION = """\
Look at what could not be sent, have it wait again, or remove it for good.

Set aside are lines that a power cut has torn or that are garbled, events that
are none any more, single events that the endpoint finds too large, and segments
that could not be read. The files are plain text: mend them, then requeue them."""

_EPILOG = """\
commands:
  ls           the files, and why they are there (also when none is given)
  show         the lines in them
  requeue      have their events wait again; lines that are no events stay
  rm           remove them for good

examples:
  fslog spool quarantine /var/spool/myapp
  fslog spool quarantine show /var/spool/myapp 00000003-5f0c77a1-00000012-0
  fslog spool quarantine requeue /var/spool/myapp --all

The exit code is 0 if it was done, 1 if something could not be, 2 for a wrong
argument."""


def spelled_out(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the `ls` that `quarantine DIR` stands for.

    >>> spelled_out(["quarantine", "/var/spool/a"]), spelled_out(["quarantine", "rm", "a", "b"])
    (['quarantine', 'ls', '/var/spool/a'], ['quarantine', 'rm', 'a', 'b'])
    """
    given = list(arguments)
    if given[:1] == ["quarantine"] and len(given) > 1:
        if given[1] not in (*_VERBS, "-h", "--help"):
            given.insert(1, "ls")
    return given


def add_commands(commands: Any) -> None:
    """Add `quarantine` and its own commands to those of `fslog spool`."""
    prog = "fslog spool quarantine"
    parser = commands.add_parser("quarantine", prog=prog, description=_DESCRIPTION, epilog=_EPILOG)
    parser.usage = f"{prog} [-h] [ls|show|requeue|rm] DIR [NAME...]"
    verbs = parser.add_subparsers(metavar="COMMAND", required=True, help=argparse.SUPPRESS)

    def add(name: str, act: Any, description: str) -> Any:
        made = verbs.add_parser(name, prog=f"{prog} {name}", description=description, epilog="")
        made.add_argument("directory", metavar="DIR", help="the spool's directory")
        made.set_defaults(act=act)
        return made

    listing = add("ls", _list, "Show the files of the quarantine, and why they are there.")
    listing.add_argument("--json", action="store_true", help="print one JSON array instead")
    show = add(
        "show", _show, "Print the lines that were set aside: rows, or as they are for a pipe."
    )
    show.add_argument("names", nargs="*", metavar="NAME", help="only these files")
    add_show_arguments(show)
    for name, act, words in (
        ("requeue", _requeue, "Have events wait again, after all that waits already."),
        ("rm", _remove, "Remove files of the quarantine for good."),
    ):
        made = add(name, act, words)
        made.add_argument("names", nargs="*", metavar="NAME", help="as ls shows it")
        made.add_argument("--all", action="store_true", help="all files of the quarantine")
        made.add_argument("--json", action="store_true", help="print one JSON array instead")


def add_show_arguments(parser: Any) -> None:
    """Add what all commands have that print lines."""
    parser.add_argument("--limit", type=whole(0), metavar="N", help="the first N lines only")
    parser.add_argument(
        "--json", action="store_true", help="NDJSON, as for a pipe, on a terminal, too"
    )


def list_files(contents: Contents, paper: Printer) -> None:
    """Write one row for each file of the quarantine."""
    files = contents.set_aside
    lines = sum(one.lines for one in files)
    paper.line(
        ("quarantine", "bold"), (f"  {count(lines, 'line')} in {count(len(files), 'file')}", "")
    )
    now = time.time()
    for one in files:
        age = duration(now - one.written_at)
        paper.line(
            (f"  {one.name:38} {one.bytes:11,} bytes, {age:>10} ago  ", ""), (one.reason, "yellow")
        )


def _list(contents: Contents, options: argparse.Namespace, paper: Printer) -> int:
    if options.json:
        paper.values(as_json(contents)["quarantine"])
    elif contents.set_aside:
        list_files(contents, paper)
    else:
        paper.line(("nothing was set aside", ""))
    return 0


def _show(contents: Contents, options: argparse.Namespace, paper: Printer) -> int:
    chosen, code = _chosen(contents, options.names or [one.name for one in contents.set_aside])
    if sys.stdout.isatty() and not options.json:
        write_lines(_lines(contents, chosen), options, paper)
        return code
    left = options.limit
    for _, text in _raw_lines(contents, chosen):
        if left == 0:
            break
        sys.stdout.buffer.write(text)
        left = None if left is None else left - 1
    sys.stdout.buffer.flush()
    return code


def _chosen(contents: Contents, names: Sequence[str]) -> tuple[list[SetAside], int]:
    """Return the files of the names, and 2 where one of the names is no file's."""
    known = {one.name: one for one in contents.set_aside}
    stems = [name.removesuffix(".ndjson").removesuffix(".reason") for name in names]
    for name in stems:
        if name not in known:
            say(f"{name!r} is no file of the quarantine; `ls` shows which there are")
    found = [known[name] for name in dict.fromkeys(stems) if name in known]
    return found, 0 if len(found) == len(set(stems)) else 2


def _texts(contents: Contents, files: Sequence[SetAside]) -> Iterator[tuple[str, bytes]]:
    directory, fs = contents.path, FileSystem()
    for one in files:
        try:
            yield one.name, fs.read(f"{directory}/{QUARANTINE}/{one.name}.ndjson")
        except OSError as error:
            say(f"{one.name} cannot be read: {error.strerror or error}")


def _lines(contents: Contents, files: Sequence[SetAside]) -> Iterator[Line]:
    for name, text in _texts(contents, files):
        good, bad = events_in(text)
        yield from ((name, line) for line in good)
        yield from ((name, line) for line in bad)


def _raw_lines(contents: Contents, files: Sequence[SetAside]) -> Iterator[tuple[str, bytes]]:
    for name, text in _texts(contents, files):
        yield from ((name, line + b"\n") for line in text.split(b"\n") if line)


def _named(contents: Contents, options: argparse.Namespace) -> tuple[list[SetAside], int]:
    """Return what is to be acted on; it must be said, by names or by `--all`."""
    if options.all == bool(options.names):
        say("name the files that are meant, or say --all")
        return [], 2
    return _chosen(contents, options.names or [one.name for one in contents.set_aside])


def _requeue(contents: Contents, options: argparse.Namespace, paper: Printer) -> int:
    files, code = _named(contents, options)
    made: list[Requeued] = []
    if files and not code:
        try:
            for one in requeue(contents, [file.name for file in files]):
                made.append(one)
                if not options.json:
                    _tell(one, paper)
        except (CommandError, OSError, ValueError) as error:
            say(f"the rest could not be requeued: {error}")
            code = 1
    if options.json:
        paper.values([_as_json(one) for one in made])
    elif not files and not code:
        paper.line(("nothing was set aside", ""))
    return code or int(any(one.trouble or one.kept for one in made))


def _tell(one: Requeued, paper: Printer) -> None:
    if one.trouble:
        paper.line((f"{one.name}: {one.trouble}", "red"))
        return
    paper.line(
        (f"{one.name}: {count(one.events, 'event')} requeued", "green" if one.events else "")
    )
    for line in one.kept:
        paper.line((f"  byte {line.offset} stays: {line.reason}", "yellow"))


def _as_json(one: Requeued) -> dict[str, Any]:
    kept = [{"offset": line.offset, "reason": line.reason} for line in one.kept]
    return {"name": one.name, "events": one.events, "kept": kept, "trouble": one.trouble}


def _remove(contents: Contents, options: argparse.Namespace, paper: Printer) -> int:
    files, code = _named(contents, options)
    removed: list[str] = []
    for one in [] if code else files:
        try:
            if remove(contents.path, one.name):
                removed.append(one.name)
                if not options.json:
                    lines = count(one.lines, "line")
                    paper.line((f"{one.name}: removed, with {lines}", ""))
        except OSError as error:
            say(f"{one.name} cannot be removed: {error.strerror or error}")
            code = 1
    if options.json:
        paper.values(removed)
    elif not files and not code:
        paper.line(("nothing was set aside", ""))
    return code


def say(text: str) -> None:
    """Say on stderr what is wrong."""
    Printer(sys.stderr).line((f"fslog spool: {text}", ""))
