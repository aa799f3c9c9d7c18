"""The names of segments, and which of their lines can be sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fslog.spool.segments import (
    MAX_NUMBER,
    SegmentName,
    generation_of,
    owner_name,
    parse_name,
    partition_lines,
)
from spools import line

OWNERS = st.builds(
    owner_name,
    st.integers(1, 10**12),
    st.text("0123456789abcdef", min_size=8, max_size=64),
)


@given(OWNERS, st.integers(1, 10**12))
def test_a_name_is_parsed_as_it_was_written(owner: str, number: int) -> None:
    """The text of a name parses to the same name; the stem is the text without its suffix."""
    name = SegmentName(owner, number)
    assert parse_name(str(name)) == name
    assert name.stem + ".ndjson" == str(name)


@given(st.lists(st.tuples(st.integers(1, 10**8 - 1), st.integers(1, 10**8 - 1)), max_size=9))
def test_names_sort_in_order_of_creation(pairs: list[tuple[int, int]]) -> None:
    """By generation, then by number; names contain no time."""
    names = [
        str(SegmentName(owner_name(generation, "0" * 8), number)) for generation, number in pairs
    ]
    assert sorted(names) == [name for _, name in sorted(zip(pairs, names, strict=True))]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spool.json",
        "00000001-aaaaaaaa",
        "00000001-aaaaaaaa-00000001",
        "00000001-aaaaaaaa-00000001.ndjson.0a.new",
        "00000001-aaaaaaaa-00000001.ndjson\n",
        "00000001-AAAAAAAA-00000001.ndjson",
        "0000001-aaaaaaaa-00000001.ndjson",
        "00000001-aaaaaaa-00000001.ndjson",
        "00000001-aaaaaaaa-0000001.ndjson",
        "../00000001-aaaaaaaa-00000001.ndjson",
        "\N{ARABIC-INDIC DIGIT ONE}" * 8 + "-aaaaaaaa-00000001.ndjson",
        f"00000001-aaaaaaaa-{2**64}.ndjson",
        f"{2**64}-aaaaaaaa-00000001.ndjson",
        f"{'9' * 20}-aaaaaaaa-{'9' * 20}.ndjson",
        "00000001-aaaaaaaa-000000012.ndjson",
    ],
)
def test_other_names_are_not_segments(text: str) -> None:
    """Drafts, notes, names that only look similar, and numbers that are too large."""
    assert parse_name(text) is None


def test_only_an_owner_has_a_generation() -> None:
    """The generation may have any number of digits; other files have none."""
    assert generation_of(owner_name(123_456_789, "0" * 8)) == 123_456_789
    for text in ("", "00000001-aaaaaaaa\n", "00000001-aaaaaaaa-00000001.ndjson", "aaaaaaaa-1"):
        assert generation_of(text) is None


def test_numbers_have_64_bits() -> None:
    """The largest one is valid; a file with a larger one is a stray file."""
    name = SegmentName(owner_name(MAX_NUMBER, "0" * 8), MAX_NUMBER)
    assert parse_name(str(name)) == name
    assert generation_of(name.owner) == MAX_NUMBER == 2**64 - 1
    assert generation_of(owner_name(MAX_NUMBER + 1, "0" * 8)) is None


BAD = {
    "torn": (b'{"accountId":"a"', "torn"),
    "torn but whole JSON": (line()[:-1], "torn"),
    "no JSON": (b"hello\n", "not JSON"),
    "half": (line()[20:], "not JSON"),
    "NaN": (line().replace(b":1}", b":NaN}"), "not JSON"),
    "infinity": (line().replace(b":1}", b":-Infinity}"), "not JSON"),
    "bytes that are no UTF-8": (line().replace(b'"a"', b'"\xff"'), "not JSON"),
    "a lone surrogate": (line().replace(b'"a"', b'"\xed\xa0\x80"'), "not JSON"),
    "a byte order mark": (b"\xef\xbb\xbf" + line(), "not JSON"),
    "UTF-16": (line()[:-1].decode().encode("utf-16-be") + b"\x00\n", "not JSON"),
    "zeros": (b"\0" * 4096 + b"\n", "not JSON"),
    "zeros before": (b"\0" * 7 + line(), "not JSON"),
    "nested too deep": (b"[" * 200_000 + b"\n", "not JSON"),
    "an array": (b"[" + line()[:-1] + b"]\n", "a JSON list, not an object"),
    "a number": (b"5\n", "a JSON int, not an object"),
    "null": (b"null\n", "a JSON NoneType, not an object"),
    "an empty object": (b"{}\n", "accountId is missing"),
    "a wrong type": (line(userId=5.5), "userId"),
    "an empty text": (line(action=""), "action is empty"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("where", ["first", "between", "last", "alone"])
def test_a_rejected_line_does_not_affect_others(kind: str, where: str) -> None:
    """It is reported with its offset and reason; the events before and after it are kept."""
    text, why = BAD[kind]
    torn = not text.endswith(b"\n")
    before = [line(1), line(2)] if where in ("between", "last") or torn else []
    after = [line(3), line(4)] if where in ("first", "between") and not torn else []
    if where == "alone":
        before = after = []
    good, bad, _ = partition_lines(b"".join([*before, text, *after]))
    assert good == before + after
    [found] = bad
    assert (found.offset, found.text) == (len(b"".join(before)), text)
    assert why in found.reason


def test_the_reason_names_every_problem() -> None:
    """It names every problem for which the endpoint would drop the event, and shows no value."""
    _, [bad], _ = partition_lines(b'{"accountId":["the-secret"],"createdAt":"the-secret"}\n')
    for name in ("accountId", "userId", "createdAt", "action", "sessionId"):
        assert name in bad.reason
    assert "the-secret" not in bad.reason


def test_blank_lines_are_skipped() -> None:
    """Empty lines and whitespace are neither events nor rejected."""
    text = b"\n" + line(1) + b"\n\r\n  \t\n" + line(2) + b" "
    assert partition_lines(text)[:2] == ([line(1), line(2)], [])
    assert partition_lines(b"")[:2] == ([], [])


def test_windows_line_endings_are_accepted() -> None:
    """The carriage return is removed; one within a line makes it garbled, not two lines."""
    text = line(1)[:-1] + b"\r\n" + line(2) + line(3)[:-1] + b"\r\n"
    assert partition_lines(text)[:2] == ([line(1), line(2), line(3)], [])
    lone = b'{"accountId":\r"a"\n'
    good, [bad], _ = partition_lines(line(1) + lone + line(2))
    assert (good, bad.text, bad.offset) == ([line(1), line(2)], lone, len(line(1)))


def test_a_torn_line_with_a_carriage_return_is_torn() -> None:
    """A carriage return without a newline does not end a line."""
    torn = line(2)[:-1] + b"\r"
    good, [bad], _ = partition_lines(line(1) + torn)
    assert (good, bad.text) == ([line(1)], torn)
    assert "torn" in bad.reason


@given(st.lists(st.sampled_from([line(1), line(2, text="\u2028\x85é"), b"x\n", b"\n", b"\0\n"])))
def test_every_byte_is_partitioned_once(parts: list[bytes]) -> None:
    """Events, rejected lines and blanks make up the segment, and the offsets are right."""
    text = b"".join(parts)
    good, bad, _ = partition_lines(text)
    assert good == [part for part in parts if part.startswith(b"{")]
    assert [one.text for one in bad] == [part for part in parts if part in (b"x\n", b"\0\n")]
    for one in bad:
        assert text[one.offset :].startswith(one.text)
