"""The `show` commands: lines as rows on a terminal, unchanged for a pipe."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from fslog.cli.options import whole
from fslog.cli.output import EVENT_HEADING, Part, Printer, count, event_row
from fslog.cli.spool.contents import SpoolContents, waiting_lines
from fslog.spool.segments import RejectedLine

_T = TypeVar("_T")

_SHOWN_BYTES = 200
"""How much of a rejected line is shown."""

Line = tuple[str, "bytes | RejectedLine"]
"""A file's name and one of its lines: an event, or a line that is not one."""


def add_command(
    commands: Any, prog: str, name: str, act: Any, description: str, epilog: str = ""
) -> Any:
    """Add a command for a spool's directory, and return its parser."""
    parser = commands.add_parser(
        name, prog=f"{prog} {name}", description=description, epilog=epilog
    )
    parser.add_argument("directory", metavar="DIR", help="the spool's directory")
    parser.set_defaults(act=act)
    return parser


def add_show_arguments(parser: Any) -> None:
    """Add the arguments of all commands that print lines."""
    parser.add_argument("--limit", type=whole(0), metavar="N", help="print at most N lines")
    parser.add_argument("--json", action="store_true", help="print NDJSON on a terminal, too")


def show_waiting(contents: SpoolContents, options: argparse.Namespace, printer: Printer) -> int:
    """Run `fslog spool show`."""
    if is_for_a_person(options):
        write_rows(_waiting(contents), options, printer)
    else:
        _write_events(_waiting(contents), options)
    return 0


def _waiting(contents: SpoolContents) -> Iterator[Line]:
    for segment, events, rejected in waiting_lines(contents):
        yield from ((str(segment.name), line) for line in events)
        yield from ((str(segment.name), line) for line in rejected)


def is_for_a_person(options: argparse.Namespace) -> bool:
    """Return whether lines are shown as rows."""
    return sys.stdout.isatty() and not options.json


def write_rows(lines: Iterable[Line], options: argparse.Namespace, printer: Printer) -> None:
    """Write one row for each line, at most `options.limit`."""
    printer.row(*EVENT_HEADING)
    for name, line in _first(lines, options):
        printer.row(*(_rejected_row(name, line) if isinstance(line, RejectedLine) else _row(line)))


def write_raw(lines: Iterable[bytes], options: argparse.Namespace) -> None:
    """Write lines unchanged to stdout, at most `options.limit`."""
    for line in _first(lines, options):
        sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def _first(lines: Iterable[_T], options: argparse.Namespace) -> Iterator[_T]:
    limit = None if options.limit is None else min(options.limit, sys.maxsize)
    return itertools.islice(lines, limit)


def _row(line: bytes) -> tuple[Part, ...]:
    try:
        return event_row(json.loads(line))
    except (ValueError, OverflowError, OSError):  # a time outside of the calendar
        return ((line.decode("utf-8", "replace").rstrip("\n"), ""),)


def _rejected_row(name: str, line: RejectedLine) -> tuple[Part, ...]:
    text = line.text[:_SHOWN_BYTES].decode("utf-8", "replace").rstrip("\n")
    return ((f"{name}, byte {line.offset}: {line.reason}: ", "red"), (text, "dim"))


def _write_events(lines: Iterable[Line], options: argparse.Namespace) -> None:
    """Write events unchanged, and the number of skipped lines to stderr."""
    skipped = 0
    for _, line in _first(lines, options):
        if isinstance(line, RejectedLine):
            skipped += 1
        else:
            sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
    if skipped:
        text = f"fslog spool: {count(skipped, 'line')} skipped, because they cannot be sent"
        Printer(sys.stderr).line((text, "yellow"))
