"""Checked lines, batches of them, and counts of their problems."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fslog.cli.upload.lines import CheckedLine, ProblemCounts, batches, check
from fslog.cli.upload.ndjson import DamagedInput, Line, Reader, input_file
from fslog.collector.judge import parse_body
from fslog.errors import Problem
from uploads import event, line, lines

NASTY: list[bytes] = [
    line(1),
    line(2, userId=None),
    line(3, module=None),
    line(4, createdAt=17),
    b" \t" + line(5).replace(b"\n", b" \r\n"),
    b"\n",
    b"\r\n",
    b"  \t \n",
    b"\xef\xbb\xbf" + line(6),
    b"\x00\n",
    b"\x00" + line(7),
    b"\xff\xfe{\x00\n",
    b"[" + line(8)[:-1] + b"]\n",
    b"[\n",
    b"{\n",
    b"17\n",
    b"null\n",
    b'"text"\n',
    b'{"accountId": NaN}\n',
    b"{} {}\n",
    line(9)[:-1] + line(10),
    b'{"a":1}\x0b\n',
    b"[" * 100_000 + b"\n",
    b'{"createdAt": ' + b"9" * 5_000 + b"}\n",
    line(11, note="\u2028<script>\ud800"),
    line(12).replace(b"acme", "zo\u00eb".encode("latin-1")),
    line(13, accountId=5, userId=True, sessionId="", action=[]),
    line(14, total="3"),
]


def checked(raw: bytes, limit_bytes: int = 1_048_576) -> CheckedLine:
    """Return one line, checked."""
    return check(Line(1, raw), limit_bytes)


@pytest.mark.parametrize("raw", NASTY, ids=range(len(NASTY)))
def test_a_line_is_checked_as_by_the_endpoint(raw: bytes) -> None:
    """A line is valid, invalid or blank as the collector finds it, and sent as it accepts it."""
    one, parsed = checked(raw), parse_body(raw, None)
    assert [json.loads(text) for text in (one.text,) if text] == parsed.events
    codes = [problem.code for bad in parsed.invalid for problem in bad.problems]
    assert [problem.code for problem in one.problems] == codes
    assert one.raw == raw


@given(parts=st.lists(st.sampled_from([*NASTY[:22], b"{", b"\r", b" ", b"\n"])))
def test_a_file_is_checked_like_a_body(
    parts: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Line by line a file gives the same events, and as many invalid lines, as in one body."""
    text = b"".join(parts)
    path = tmp_path_factory.mktemp("body") / "body"
    path.write_bytes(text)
    with Reader(input_file(str(path)), 1_048_576) as reader:
        found = [check(one, 1_048_576) for one in reader.lines()]
    parsed = parse_body(text, None)
    assert [json.loads(one.text) for one in found if one.text] == parsed.events
    assert [one.raw.strip(b" \t\r\n") for one in found if one.problems] == [
        bad.line[:-1] for bad in parsed.invalid
    ]


def test_warnings_are_kept_apart() -> None:
    """An event that is accepted but probably a mistake is sent, with a warning."""
    one = checked(line(1, module=None, createdAt=5))
    assert one.text
    assert not one.problems
    assert {problem.code for problem in one.warnings} == {"expected", "looks_like_seconds"}


def test_problems_hold_no_events() -> None:
    """Many problems may be kept, so each is a few words, not a whole event."""
    for raw in NASTY:
        one = checked(raw)
        assert all(problem.event is None for problem in (*one.problems, *one.warnings))


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"\xef\xbb\xbf" + line(1), "byte order mark"),
        (b"[" + line(1)[:-1] + b"]\n", "jq -c"),
        (b"[\n", "jq -c"),
    ],
)
def test_usual_mistakes_have_their_remedy(raw: bytes, words: str) -> None:
    """A byte order mark, and a file that is one array, have a message of their own."""
    (problem,) = checked(raw).problems
    assert words in problem.message


def test_messages_are_worded_for_a_file() -> None:
    """What only a log call may give, such as a number as an id, is not suggested."""
    raw = line(1, accountId=5, userId=None, createdAt="now", action="", sessionId=True)
    assert [problem.message for problem in checked(raw).problems] == [
        "accountId is of type int; expected a non-empty string",
        "userId is missing; expected a non-empty string",
        "createdAt is of type str; expected a number, epoch milliseconds",
        "action is empty; expected a non-empty string",
        "sessionId is True; expected a non-empty string",
    ]


def test_a_line_has_to_fit_a_batch() -> None:
    """The limit of a line is that of a batch; its newline counts, surrounding blanks do not."""
    size = len(line(1))
    assert checked(line(1), size).text == line(1)
    assert checked(line(1)[:-1], size).text == line(1)
    assert checked(b"  " + line(1)[:-1] + b" \r\n", size).text == line(1)
    one = checked(line(1), size - 1)
    assert (one.text, [problem.code for problem in one.problems]) == (b"", ["too_large"])
    one = check(Line(1, line(1)[:9], is_whole=False), 5)
    assert (one.is_whole, [problem.code for problem in one.problems]) == (False, ["too_large"])


def gathered(raws: list[bytes], **limits: int) -> list[list[int]]:
    """Return the line numbers of each batch."""
    walk = (Line(number, raw) for number, raw in enumerate(raws, 1))
    given_limits = {"batch_events": 3, "batch_bytes": 10_000, **limits}
    return [[one.number for one in batch] for batch in batches(walk, **given_limits)]


def test_batches_are_limited_by_events() -> None:
    """Only events count; other lines among them are in the batch too, and none is lost."""
    raws = [line(1), b"\n", line(2), b"{\n", line(3), line(4), b"\n"]
    assert gathered(raws) == [[1, 2, 3, 4, 5], [6, 7]]
    assert gathered([]) == []
    assert gathered([b"\n"]) == [[1]]


def test_batches_are_limited_by_bytes() -> None:
    """A batch has at most the limit of bytes."""
    size = len(line(1))
    raws = [line(1), line(2), line(3), line(4)]
    assert gathered(raws, batch_bytes=2 * size) == [[1, 2], [3, 4]]
    assert gathered(raws, batch_bytes=2 * size - 1) == [[1], [2], [3], [4]]


def test_lines_that_are_not_sent_are_limited_too() -> None:
    """A file of blank or invalid lines is not held as a whole."""
    assert max(map(len, gathered([b"\n"] * 100))) == 12
    assert max(map(len, gathered([b"{" * 100 + b"\n"] * 100, batch_bytes=200))) == 7


def test_a_long_line_is_a_batch_by_itself(tmp_path: Path) -> None:
    """The lines before it are yielded first; its rest can still be read when it is yielded."""
    path = tmp_path / "long"
    path.write_bytes(line(1) + b"x" * 5_000 + b"\n" + line(3))
    with Reader(input_file(str(path)), 1_000) as reader:
        found = batches(reader.lines(), batch_events=10, batch_bytes=1_000)
        assert [one.number for one in next(found)] == [1]
        (long,) = next(found)
        assert long.raw + b"".join(reader.rest()) == b"x" * 5_000 + b"\n"
        assert [[one.number for one in batch] for batch in found] == [[3]]


def test_damage_is_raised_after_the_lines_before_it() -> None:
    """All lines that were read are yielded before the error is raised."""

    def damaged() -> Iterator[Line]:
        yield Line(1, line(1))
        raise DamagedInput("no more")

    walk = batches(damaged(), batch_events=10, batch_bytes=1_000)
    assert [one.number for one in next(walk)] == [1]
    with pytest.raises(DamagedInput, match="no more"):
        next(walk)
    nothing: Iterator[Any] = batches(iter(()), batch_events=1, batch_bytes=1)
    assert list(nothing) == []


def test_problems_are_counted_by_kind() -> None:
    """Each kind has its count and the numbers of its first lines, the most frequent first."""
    found = ProblemCounts()
    for number in range(1, 21):
        problems = [Problem("missing", "userId", f"in {number}")]
        if number % 5 == 0:
            problems.append(Problem("empty", "action", f"also in {number}"))
        found.add(number, problems)
    assert found.lines == 20
    assert found.json() == [
        {
            "code": "missing",
            "property": "userId",
            "count": 20,
            "lines": list(range(1, 11)),
            "message": "in 1",
        },
        {
            "code": "empty",
            "property": "action",
            "count": 4,
            "lines": [5, 10, 15, 20],
            "message": "also in 5",
        },
    ]
    rows = ["".join(text for text, _ in row) for row in found.rows("red")]
    assert [" ".join(row.split()) for row in rows] == [
        "20 missing userId lines 1, 2, 3, 4, 5, ...: in 1",
        "4 empty action lines 5, 10, 15, 20: also in 5",
    ]


def test_the_lines_of_the_tests_are_valid() -> None:
    """The events that the other tests send are accepted by the endpoint."""
    parsed = parse_body(lines(range(3)), None)
    assert parsed.events == [event(number) for number in range(3)]
    assert [checked(line(number)).warnings for number in range(3)] == [(), (), ()]
