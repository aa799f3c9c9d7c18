"""The endpoint's own judgement of one line of a file, and lines gathered into batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from fslog.cli.upload.ndjson import Damaged, Line
from fslog.collector.judge import parse_body
from fslog.errors import Problem
from fslog.mapping.schema import warnings
from fslog.net import wire

BATCH_EVENTS = 5_000
BATCH_BYTES = 1_048_576
"""How much travels together unless told otherwise: as much as from a handler."""

_BOM = b"\xef\xbb\xbf"
_ARRAY = "an array is no event: `jq -c '.[]'` writes one object a line"
_MARK = "it begins with a byte order mark (BOM), which is not part of JSON"
_NAME = "a string that is not empty"
_TIME = "a number, epoch milliseconds"
_HELD = 4
"""So many times as much as a batch may have is held of lines that are not sent, and looked at."""


class Checked(NamedTuple):
    """Hold one line and what the endpoint would make of it.

    Args:
        number: from 1.
        raw: as it stands in the input; its beginning where it is longer than it may be.
        text: what to send, `b""` for nothing.
        problems: why the endpoint would drop it; empty for what is right, and for a blank line.
        warnings: what is probably not meant in what is right.
        is_whole: whether `raw` is all of the line.
    """

    number: int
    raw: bytes
    text: bytes
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    is_whole: bool = True


def check(line: Line, limit_bytes: int) -> Checked:
    r"""Judge one line as the endpoint does.

    The problems hold no events: many are kept, and a line is enough to find its event.

    Args:
        line: from a `Reader`.
        limit_bytes: what a line, its newline included, may have to fit a batch.

    >>> check(Line(7, b"[]\r\n"), 100).problems[0].code, check(Line(8, b" \n"), 100).problems
    ('not_an_object', ())
    """
    number, raw, is_whole = line
    if not is_whole:
        return Checked(number, raw, b"", (_too_large(limit_bytes),), (), False)
    parsed = parse_body(raw, None)
    if parsed.invalid:
        return Checked(number, raw, b"", tuple(_bare(parsed.invalid[0].problems, raw)))
    if not parsed.events:
        return Checked(number, raw, b"")
    text = next(wire.lines_of(raw))
    if len(text) > limit_bytes:
        return Checked(number, raw, b"", (_too_large(limit_bytes),))
    found = warnings(parsed.events[0])
    return Checked(number, raw, text, (), tuple(_bare(found, raw)) if found else ())


def _too_large(limit_bytes: int) -> Problem:
    return Problem("too_large", "", f"the line has more bytes than a batch may, {limit_bytes:,}")


def _bare(problems: Iterable[Problem], raw: bytes) -> Iterator[Problem]:
    """Yield problems without their events, and in words for a file instead of a log call."""
    for problem in problems:
        message = problem.message
        if problem.code in ("missing", "wrong_type"):
            # A log call's remedies, and its int and datetime, are nothing to a file.
            came = message.partition(";")[0].partition(":")[0]
            message = f"{came}; expected {_TIME if problem.property == 'createdAt' else _NAME}"
        if problem.code == "not_json" and raw.startswith(_BOM):
            message = f"the line is not strict JSON: {_MARK}"
        elif problem.code in ("not_json", "not_an_object") and raw.lstrip().startswith(b"["):
            message = f"{message}; {_ARRAY}"
        yield replace(problem, message=message, event=None)


def batches(
    lines: Iterable[Line], *, batch_events: int, batch_bytes: int
) -> Iterator[list[Checked]]:
    """Check lines and gather them, those that are not sent among the others, in order.

    Each list has at most `batch_events` events of `batch_bytes` in all, and a bounded number and
    size of other lines. A line that is not whole is a list by itself, and comes before its rest
    is read.

    Raises:
        Damaged: after all that came before was yielded.
    """
    held = _Held(batch_events, batch_bytes)
    try:
        for line in lines:
            one = check(line, batch_bytes)
            if held.lines and not (one.is_whole and held.has_room_for(one)):
                yield held.take()
            if one.is_whole:
                held.add(one)
            else:
                yield [one]
    except Damaged:
        if held.lines:
            yield held.take()
        raise
    if held.lines:
        yield held.take()


class _Held:
    """Gather lines up to what may travel together."""

    def __init__(self, batch_events: int, batch_bytes: int) -> None:
        self._most = (batch_events, batch_bytes)
        self.lines: list[Checked] = []
        self._events = self._bytes = self._raw_bytes = 0

    def has_room_for(self, one: Checked) -> bool:
        events, size = self._most
        return (
            self._events < events
            and self._bytes + len(one.text) <= size
            and len(self.lines) < _HELD * events
            and self._raw_bytes + len(one.raw) <= _HELD * size
        )

    def add(self, one: Checked) -> None:
        self.lines.append(one)
        self._events += bool(one.text)
        self._bytes += len(one.text)
        self._raw_bytes += len(one.raw)

    def take(self) -> list[Checked]:
        taken, self.lines = self.lines, []
        self._events = self._bytes = self._raw_bytes = 0
        return taken
