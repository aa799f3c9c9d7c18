"""Segments: what a spool's files are called, and which of their lines can be sent.

A segment is plain NDJSON, one event a line, as it will travel. Its name is
`{generation}-{token}-{number}.ndjson`; the first two parts name its owner. Names sort in the
order in which the lines were logged by one process, and the segments of a process that began
later after those of an earlier one, whatever the clock said.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from fslog import events

_NAME = re.compile(r"(?P<owner>[0-9]{8,20}-[0-9a-f]{8,64})-(?P<number>[0-9]{8,20})\.ndjson\Z", re.A)
_OWNER = re.compile(r"(?P<generation>[0-9]{8,20})-[0-9a-f]{8,64}\Z", re.A)


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
    return Name(found["owner"], int(found["number"])) if found else None


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
    return int(found["generation"]) if found else None


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
    good: list[bytes] = []
    bad: list[BadLine] = []
    offset = 0
    for line in text.splitlines(keepends=True) if b"\r" not in text else _lines(text):
        if not line.isspace():
            reason = _reason(line)
            if reason is None:
                good.append(line if line[-2:] != b"\r\n" else line[:-2] + b"\n")
            else:
                bad.append(BadLine(offset, line, reason))
        offset += len(line)
    return good, bad


def _lines(text: bytes) -> list[bytes]:
    # bytes.splitlines also ends a line at a lone \r.
    lines = [line + b"\n" for line in text.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return [line for line in lines if line]


def _reason(line: bytes) -> str | None:
    """Say why a line cannot be sent; None where it can."""
    if not line.endswith(b"\n"):
        return "the line is torn: its newline is missing"
    try:
        event = _decode(line.decode())
    except (ValueError, RecursionError) as error:
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
