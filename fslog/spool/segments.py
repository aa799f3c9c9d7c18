"""Segments: the names of a spool's files, and which of their lines can be sent.

A segment is plain NDJSON, one event per line, exactly as it is sent. Its name is
`{generation}-{token}-{number}.ndjson`; the first two parts name its owner. Segments of one owner
sort by number, in the order of the log calls; owners sort by generation, in the order in which
they were created. Neither order depends on the clock.
"""

from __future__ import annotations

import json
import re
from array import array
from typing import NamedTuple

from fslog.interrupts import unless_interrupt
from fslog.mapping import schema

MAX_NUMBER = 2**64 - 1
"""The largest generation or number in a name. A file with a larger one is not a segment."""

_OWNED = r"(?P<generation>[0-9]{8,20})-[0-9a-f]{8,64}"
_OWNER = re.compile(rf"{_OWNED}\Z", re.A)
# A number with extra leading zeros would name another file than the one it was read from.
_NAME = re.compile(
    rf"(?P<owner>{_OWNED})-(?P<number>[0-9]{{8}}|[1-9][0-9]{{8,19}})\.ndjson\Z", re.A
)


class SegmentName(NamedTuple):
    """The name of a segment.

    >>> str(SegmentName("00000003-5f0c77a1", 12))
    '00000003-5f0c77a1-00000012.ndjson'
    """

    owner: str
    number: int

    def __str__(self) -> str:
        return f"{self.owner}-{self.number:08d}.ndjson"

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return str(self)[: -len(".ndjson")]


def parse_name(text: str) -> SegmentName | None:
    """Parse the name of a segment; None if the file is not one.

    >>> parse_name("00000003-5f0c77a1-00000012.ndjson")
    SegmentName(owner='00000003-5f0c77a1', number=12)
    >>> parse_name("spool.json") is parse_name("00000003-5f0c77a1-00000012.ndjson~") is None
    True
    """
    found = _NAME.match(text)
    if found is None or int(found["generation"]) > MAX_NUMBER:
        return None
    number = int(found["number"])
    return SegmentName(found["owner"], number) if number <= MAX_NUMBER else None


def owner_name(generation: int, token: str) -> str:
    """Return the name of an owner.

    >>> owner_name(3, "5f0c77a1")
    '00000003-5f0c77a1'
    """
    return f"{generation:08d}-{token}"


def generation_of(owner: str) -> int | None:
    """Return the generation of an owner; None if the name is not an owner's.

    >>> generation_of("00000003-5f0c77a1"), generation_of("notes.txt")
    (3, None)
    """
    found = _OWNER.match(owner)
    if found is None or int(found["generation"]) > MAX_NUMBER:
        return None
    return int(found["generation"])


def creation_order(owner: str) -> tuple[int, str]:
    """Return a sort key that orders owners by creation, the earliest first.

    >>> sorted(["100000000-5f0c77a1", "00000003-5f0c77a1"], key=creation_order)
    ['00000003-5f0c77a1', '100000000-5f0c77a1']
    """
    return generation_of(owner) or 0, owner


class RejectedLine(NamedTuple):
    """A line that cannot be sent: its offset in the segment, its bytes, and the reason."""

    offset: int
    text: bytes
    reason: str


def partition_lines(text: bytes, at: int = 0) -> tuple[list[bytes], list[RejectedLine], array[int]]:
    r"""Separate the lines that can be sent from those that cannot.

    The endpoint would drop a line that is not an event without an error. A last line without its
    newline is torn: a power cut or a full disk interrupted its write. Blank lines are skipped.

    Args:
        text: whole lines of a segment; the last one may be torn.
        at: the offset of `text` in the segment.

    Returns:
        The events, the rejected lines, and the offset in the segment at which each event ends.

    >>> events, rejected, _ = partition_lines(b'{"a":\n\n{"b')
    >>> events, [(line.offset, line.text) for line in rejected]
    ([], [(0, b'{"a":\n'), (7, b'{"b')])
    """
    accepted: list[bytes] = []
    rejected: list[RejectedLine] = []
    ends = array("Q")
    offset = at
    for line in text.splitlines(keepends=True) if b"\r" not in text else _lines(text):
        offset += len(line)
        if not line.isspace():
            reason = _reason(line)
            if reason is None:
                accepted.append(line if line[-2:] != b"\r\n" else line[:-2] + b"\n")
                ends.append(offset)
            else:
                rejected.append(RejectedLine(offset - len(line), line, reason))
    return accepted, rejected, ends


def _lines(text: bytes) -> list[bytes]:
    # bytes.splitlines also splits at a lone \r.
    lines = [line + b"\n" for line in text.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return [line for line in lines if line]


def _reason(line: bytes) -> str | None:
    """Return why a line cannot be sent; None if it can."""
    if not line.endswith(b"\n"):
        return "the line is torn: its newline is missing"
    try:
        event = _decode(line.decode())
    except unless_interrupt(ValueError, RecursionError) as error:
        return f"the line is garbled: it is not JSON ({type(error).__name__})"
    if not isinstance(event, dict):
        return f"the line is garbled: it is a JSON {type(event).__name__}, not an object"
    problems = schema.problems(event)
    if problems:
        return "the event is invalid: " + "; ".join(problem.message for problem in problems)
    return None


def _not_json(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_not_json).decode
