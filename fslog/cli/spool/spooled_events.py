"""Events that wait, or were set aside, as rows on a terminal and as they are for a pipe."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterable, Iterator

from fslog.cli.output import Part, Printer, count
from fslog.cli.report import HEADING, event_row
from fslog.cli.spool.spools import Contents, events_of
from fslog.spool.segments import RejectedLine

_SHOWN_CHARACTERS = 200
"""How much of a line that is no event is shown."""

Line = tuple[str, "bytes | RejectedLine"]
"""A file's name, and a line of it: an event, or what is none."""


def show_events(contents: Contents, options: argparse.Namespace, paper: Printer) -> int:
    """Run `fslog spool show`."""
    write_lines(_waiting(contents), options, paper)
    return 0


def _waiting(contents: Contents) -> Iterator[Line]:
    for _, segment, good, bad in events_of(contents):
        yield from ((str(segment.name), line) for line in good)
        yield from ((str(segment.name), line) for line in bad)


def write_lines(lines: Iterable[Line], options: argparse.Namespace, paper: Printer) -> None:
    """Write lines, `options.limit` at the most, in the way that the reader can use."""
    limit = None if options.limit is None else min(options.limit, sys.maxsize)
    kept = itertools.islice(lines, limit)
    if sys.stdout.isatty() and not options.json:
        _write_rows(kept, paper)
    else:
        _write_raw(kept)


def _write_rows(lines: Iterable[Line], paper: Printer) -> None:
    paper.row(*HEADING)
    for name, line in lines:
        paper.row(*(_bad_row(name, line) if isinstance(line, RejectedLine) else _row(line)))


def _row(line: bytes) -> tuple[Part, ...]:
    try:
        return event_row(json.loads(line))
    except (ValueError, OverflowError, OSError):  # a time that no calendar has
        return ((line.decode("utf-8", "replace").rstrip("\n"), ""),)


def _bad_row(name: str, line: RejectedLine) -> tuple[Part, ...]:
    text = line.text[:_SHOWN_CHARACTERS].decode("utf-8", "replace").rstrip("\n")
    return ((f"{name}, byte {line.offset}: {line.reason}: ", "red"), (text, "dim"))


def _write_raw(lines: Iterable[Line]) -> None:
    """Write events byte for byte, and say on stderr how many lines are none."""
    out = sys.stdout.buffer
    left_out = 0
    for _, line in lines:
        if isinstance(line, RejectedLine):
            left_out += 1
        else:
            out.write(line)
    out.flush()
    if left_out:
        text = f"fslog spool: {count(left_out, 'line')} left out, which can not be sent"
        Printer(sys.stderr).line((text, "yellow"))
