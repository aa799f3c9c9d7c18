"""Check the lines of a file by the endpoint's rules, gather them into batches, count problems."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from fslog.cli.output import Part
from fslog.cli.upload.ndjson import DamagedInput, Line
from fslog.collector.judge import parse_body
from fslog.delivery.rejects import corrected
from fslog.errors import Problem
from fslog.mapping.schema import warnings
from fslog.net import wire
from fslog.plan.judgement import problems as plan_problems
from fslog.plan.plan import Plan

BATCH_EVENTS = 5_000
BATCH_BYTES = 1_048_576
"""The limits of a batch by default: the same as a handler's."""

_BOM = b"\xef\xbb\xbf"
_ARRAY = "an array is not an event: `jq -c '.[]'` writes one object per line"
_BOM_FOUND = "it begins with a byte order mark (BOM), which is not part of JSON"
_STRING = "a non-empty string"
_INSTANT = "a number, epoch milliseconds"

_HELD = 4
"""A batch holds at most this many times its limits of lines that are not sent."""

_MAX_KINDS = 1_000
_KEPT_NUMBERS = 10
_SHOWN_NUMBERS = 5
_NAME_COLUMNS = 26


class CheckedLine(NamedTuple):
    """One line and what the endpoint would do with it.

    Args:
        number: from 1.
        raw: its bytes in the input; only the beginning of a line that is too long.
        text: what to send, `b""` for nothing.
        problems: why the endpoint would drop it; empty for a valid event and for a blank line.
        warnings: what is probably a mistake in a valid event.
        is_whole: whether `raw` is all of the line.
    """

    number: int
    raw: bytes
    text: bytes
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    is_whole: bool = True


def check(line: Line, limit_bytes: int, plan: Plan | None = None) -> CheckedLine:
    r"""Check one line as the endpoint does, and hold its event against a plan.

    The problems hold no events, since many are kept, and a line number is enough to find the event.

    Args:
        line: from a `Reader`.
        limit_bytes: the limit of a line, its newline included.
        plan: a tracking plan; what it refuses has problems as if the endpoint dropped it.

    >>> check(Line(7, b"[]\r\n"), 100).problems[0].code, check(Line(8, b" \n"), 100).problems
    ('not_an_object', ())
    """
    number, raw, is_whole = line
    if not is_whole:
        return CheckedLine(number, raw, b"", (_too_large(limit_bytes),), (), False)
    sent = corrected(raw)
    parsed = parse_body(sent, None)
    if parsed.invalid:
        return CheckedLine(number, raw, b"", tuple(_reworded(parsed.invalid[0].problems, raw)))
    if not parsed.events:
        return CheckedLine(number, raw, b"")
    text = next(wire.lines_of(sent))
    if len(text) > limit_bytes:
        return CheckedLine(number, raw, b"", (_too_large(limit_bytes),))
    found: Sequence[Problem] = warnings(parsed.events[0])
    if plan is not None:
        unplanned = plan_problems(plan, parsed.events[0])
        if any(one.is_refused for one in unplanned):
            return CheckedLine(number, raw, b"", tuple(_reworded(unplanned, raw)))
        found = [*found, *unplanned]
    return CheckedLine(number, raw, text, (), tuple(_reworded(found, raw)) if found else ())


def _too_large(limit_bytes: int) -> Problem:
    return Problem("too_large", "", f"the line exceeds the limit of {limit_bytes:,} bytes")


def _reworded(problems: Iterable[Problem], raw: bytes) -> Iterator[Problem]:
    """Yield problems without their events, with messages for a file instead of a log call."""
    for problem in problems:
        message = problem.message
        if problem.code in ("missing", "wrong_type"):
            # The remedies and the Python types of a log call do not apply to a file.
            found = message.partition(";")[0].partition(":")[0]
            expected = _INSTANT if problem.property == "createdAt" else _STRING
            message = f"{found}; expected {expected}"
        if problem.code == "not_json" and raw.startswith(_BOM):
            message = f"the line is not strict JSON: {_BOM_FOUND}"
        elif problem.code in ("not_json", "not_an_object") and raw.lstrip().startswith(b"["):
            message = f"{message}; {_ARRAY}"
        yield replace(problem, message=message, event=None)


def batches(
    lines: Iterable[Line], *, batch_events: int, batch_bytes: int, plan: Plan | None = None
) -> Iterator[list[CheckedLine]]:
    """Check lines and gather them, in order, sent or not.

    Each list has at most `batch_events` events and `batch_bytes` of them, and a bounded number and
    size of other lines. A line that is not whole is a list by itself, which is yielded before the
    rest of the line is read.

    Raises:
        DamagedInput: after all preceding lines were yielded.
    """
    batch: list[CheckedLine] = []
    events = text_bytes = raw_bytes = 0
    try:
        for line in lines:
            one = check(line, batch_bytes, plan)
            is_full = (
                events >= batch_events
                or text_bytes + len(one.text) > batch_bytes
                or len(batch) >= _HELD * batch_events
                or raw_bytes + len(one.raw) > _HELD * batch_bytes
            )
            if batch and (is_full or not one.is_whole):
                yield batch
                batch, events, text_bytes, raw_bytes = [], 0, 0, 0
            if one.is_whole:
                batch.append(one)
                events += bool(one.text)
                text_bytes += len(one.text)
                raw_bytes += len(one.raw)
            else:
                yield [one]
    except DamagedInput:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


@dataclass
class _ProblemKind:
    """The problems of one kind.

    Args:
        code, property: of the problems.
        count: how many there are.
        lines: the numbers of the first lines that have one.
        message: of the first one.
    """

    code: str
    property: str
    count: int = 0
    lines: list[int] = field(default_factory=list)
    message: str = ""


class ProblemCounts:
    """Count problems by their kind; the number of kinds is bounded."""

    def __init__(self) -> None:
        self._kinds: dict[str, _ProblemKind] = {}
        self.lines: int = 0

    def add(self, number: int, problems: Iterable[Problem]) -> None:
        """Count the problems of one line."""
        self.lines += 1
        for problem in problems:
            key = problem.kind
            if key not in self._kinds and len(self._kinds) >= _MAX_KINDS:
                key = problem.code
            kind = self._kinds.setdefault(
                key, _ProblemKind(problem.code, problem.property, message=problem.message)
            )
            kind.count += 1
            if len(kind.lines) < _KEPT_NUMBERS:
                kind.lines.append(number)

    def json(self) -> list[dict[str, Any]]:
        """Return the kinds of problems as JSON values, the most frequent first."""
        return [asdict(kind) for kind in self._sorted()]

    def rows(self, style: str) -> Iterator[tuple[Part, ...]]:
        """Yield an output line for each kind: count, kind, line numbers and the first message."""
        for kind in self._sorted():
            name = f"{kind.code} {kind.property}".rstrip()
            yield (
                (f"{kind.count:>11,}  ", style),
                (f"{name:{_NAME_COLUMNS - 1}} ", "bold"),
                (f"{_places(kind)}: {kind.message}", ""),
            )

    def _sorted(self) -> list[_ProblemKind]:
        return sorted(self._kinds.values(), key=lambda kind: -kind.count)


def _places(kind: _ProblemKind) -> str:
    """Return the numbers of the first lines that have a problem.

    >>> _places(_ProblemKind("missing", "userId", 1, [7]))
    'line 7'
    >>> _places(_ProblemKind("missing", "userId", 7, [1, 2, 3, 4, 5, 6, 7]))
    'lines 1, 2, 3, 4, 5, ...'
    """
    numbers = ", ".join(map(str, kind.lines[:_SHOWN_NUMBERS]))
    more = ", ..." if kind.count > _SHOWN_NUMBERS else ""
    return f"line{'' if kind.count == 1 else 's'} {numbers}{more}"
