"""Segments: what a spool's files are called, and which of their lines can be sent.

A segment is plain NDJSON, one event a line, as it will travel. Its name is
`{generation}-{token}-{number}.ndjson`; the first two parts name its owner. Names sort in the
order in which the lines were logged by one process, and the segments of a process that began
later after those of an earlier one, whatever the clock said.
"""

from __future__ import annotations

import json
import re
from array import array
from typing import NamedTuple

from fslog.interrupts import unless_interrupt
from fslog.mapping import events

LARGEST = 2**64 - 1
"""The largest number that a name may have. What bears a larger one is a stray file."""

_OWNED = r"(?P<generation>[0-9]{8,20})-[0-9a-f]{8,64}"
_OWNER = re.compile(rf"{_OWNED}\Z", re.A)
# With more zeros than are written here, a number would lead to another file.
_NAME = re.compile(
    rf"(?P<owner>{_OWNED})-(?P<number>[0-9]{{8}}|[1-9][0-9]{{8,19}})\.ndjson\Z", re.A
)


class Name(NamedTuple):
    """Name one segment.

    >>> str(Name("00000003-5f0c77a1", 12))
    '00000003-5f0c77a1-00000012.ndjson'
    """

    owner: str
    number: int

    def __str__(self) -> str:
        return f"{self.owner}-{self.number:08d}.ndjson"

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return str(self)[: -len(".ndjson")]


def parse_name(text: str) -> Name | None:
    """Read the name of a segment; None for that of anything else.

    >>> parse_name("00000003-5f0c77a1-00000012.ndjson")
    Name(owner='00000003-5f0c77a1', number=12)
    >>> parse_name("spool.json") is parse_name("00000003-5f0c77a1-00000012.ndjson~") is None
    True
    """
    found = _NAME.match(text)
    if found is None or int(found["generation"]) > LARGEST:
        return None
    number = int(found["number"])
    return Name(found["owner"], number) if number <= LARGEST else None


def owner_name(generation: int, token: str) -> str:
    """Return what an owner of segments is called.

    >>> owner_name(3, "5f0c77a1")
    '00000003-5f0c77a1'
    """
    return f"{generation:08d}-{token}"


def generation_of(owner: str) -> int | None:
    """Return the generation of an owner; None for a name that is none.

    >>> generation_of("00000003-5f0c77a1"), generation_of("notes.txt")
    (3, None)
    """
    found = _OWNER.match(owner)
    if found is None or int(found["generation"]) > LARGEST:
        return None
    return int(found["generation"])


def by_age(owner: str) -> tuple[int, str]:
    """Return a key that sorts owners by when they began, the earliest first.

    >>> sorted(["100000000-5f0c77a1", "00000003-5f0c77a1"], key=by_age)
    ['00000003-5f0c77a1', '100000000-5f0c77a1']
    """
    return generation_of(owner) or 0, owner


class BadLine(NamedTuple):
    """A line that is not sent: where it begins in its segment, what stands there, and why."""

    offset: int
    text: bytes
    reason: str


def sort_lines(text: bytes) -> tuple[list[bytes], list[BadLine]]:
    r"""Tell the lines of a segment that can be sent from those that cannot.

    A line that is no event would be dropped by the endpoint without a word. The last line without
    its newline is what a power cut or a full disk leaves of a write.

    >>> good, bad = sort_lines(b'{"a":\n\n{"b')
    >>> good, [(line.offset, line.text) for line in bad]
    ([], [(0, b'{"a":\n'), (7, b'{"b')])
    """
    good, bad, _ = place_lines(text, 0)
    return good, bad


def place_lines(text: bytes, at: int) -> tuple[list[bytes], list[BadLine], array[int]]:
    """Tell lines apart as `sort_lines` does, and where in their segment each good one ends.

    Args:
        text: a piece of the segment, of whole lines.
        at: where the piece begins.
    """
    good: list[bytes] = []
    bad: list[BadLine] = []
    ends = array("Q")
    offset = at
    for line in text.splitlines(keepends=True) if b"\r" not in text else _lines(text):
        offset += len(line)
        if not line.isspace():
            reason = _reason(line)
            if reason is None:
                good.append(line if line[-2:] != b"\r\n" else line[:-2] + b"\n")
                ends.append(offset)
            else:
                bad.append(BadLine(offset - len(line), line, reason))
    return good, bad, ends


def _lines(text: bytes) -> list[bytes]:
    # bytes.splitlines also ends a line at a lone \r.
    lines = [line + b"\n" for line in text.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return [line for line in lines if line]


def _reason(line: bytes) -> str | None:
    """Say why a line cannot be sent; None if it can."""
    if not line.endswith(b"\n"):
        return "the line is torn: its newline is missing"
    try:
        event = _decode(line.decode())
    except unless_interrupt(ValueError, RecursionError) as error:
        return f"the line is garbled: it is no JSON ({type(error).__name__})"
    if not isinstance(event, dict):
        return f"the line is garbled: it holds a JSON {type(event).__name__}, not an object"
    problems = events.problems(event)
    if problems:
        return "the event is invalid: " + "; ".join(problem.message for problem in problems)
    return None


def _not_json(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_not_json).decode
