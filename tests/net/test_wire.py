"""The endpoint's format (EVENT_API, "Endpoint" and "Request")."""

from __future__ import annotations

import email.message
import gzip
import json
import random
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fslog.config import ENCODINGS as SUPPORTED
from fslog.net import wire
from fslog.version import VERSION

ENCODINGS = [*SUPPORTED, None]
LEVELS = list(range(-1, 10))
encodings = st.sampled_from(ENCODINGS)


def encoded(event: dict[str, object], ascii_only: bool) -> bytes:
    """Encode as one line, with characters beyond ASCII as they are or escaped."""
    return json.dumps(event, ensure_ascii=ascii_only).encode("utf-8", "replace") + b"\n"


events = st.dictionaries(st.text(), st.none() | st.integers() | st.text(), max_size=4)
lines = st.lists(st.builds(encoded, events, st.booleans()), max_size=6)


def test_a_body_of_very_many_members_is_too_large() -> None:
    """A thousand members are unpacked; for more, the time would grow with their square."""
    member = gzip.compress(b"{}\n", mtime=0)
    assert wire.unpack(member * 1_000, "gzip", 10_000) == b"{}\n" * 1_000
    with pytest.raises(wire.TooLarge):
        wire.unpack(member * 1_001, "gzip", 10_000)


def test_events_are_posted_below_both_keys() -> None:
    """The path is `/v1/{authKey}/{apiKey}`; the ping's is `/v1/ping`."""
    assert wire.events_path("AUTH", "API") == "/v1/AUTH/API"
    assert wire.PING_PATH == "/v1/ping"


@pytest.mark.parametrize("encoding", ["deflate", "gzip"])
def test_headers_of_a_compressed_body_name_its_encoding(encoding: str) -> None:
    """The headers name the type, the encoding in the endpoint's spelling, and the client."""
    assert wire.headers(encoding) == {
        "Content-Type": "application/json",
        "Content-Encoding": encoding,
        "User-Agent": f"fslog/{VERSION}",
    }


def test_headers_of_a_plain_body_name_no_encoding() -> None:
    """Without compression there is no Content-Encoding at all, not even `identity`."""
    assert wire.headers(None) == {
        "Content-Type": "application/json",
        "User-Agent": f"fslog/{VERSION}",
    }


def test_headers_belong_to_the_caller() -> None:
    """Changing what one call returned does not change what the next returns."""
    wire.headers(None)["Content-Length"] = "1"
    assert "Content-Length" not in wire.headers(None)


@given(lines, encodings, st.sampled_from(LEVELS))
def test_what_is_packed_is_unpacked(some: list[bytes], encoding: str | None, level: int) -> None:
    """For every encoding and level the collector reads exactly the lines that the client sent."""
    body = wire.pack(some, encoding, level)
    text = wire.unpack(body, encoding)
    assert text == b"".join(some)
    assert list(wire.lines_of(text)) == some
    assert wire.pack(iter(some), encoding, level) == body


@pytest.mark.parametrize("level", LEVELS)
def test_deflate_is_the_zlib_format(level: int) -> None:
    """HTTP's deflate has RFC 1950's header and checksum around the DEFLATE stream."""
    body = wire.pack([b'{"a":1}\n'], "deflate", level)
    method, flags = body[0], body[1]
    assert method & 0x0F == 8
    assert (method * 256 + flags) % 31 == 0
    assert body[-4:] == zlib.adler32(b'{"a":1}\n').to_bytes(4, "big")
    assert zlib.decompress(body) == b'{"a":1}\n'


@pytest.mark.parametrize("level", LEVELS)
def test_gzip_is_read_by_others(level: int) -> None:
    """Any reader of RFC 1952 reads a gzip body, and the same lines give the same bytes again."""
    body = wire.pack([b'{"a":1}\n'], "gzip", level)
    assert gzip.decompress(body) == b'{"a":1}\n'
    assert wire.pack([b'{"a":1}\n'], "gzip", level) == body


@pytest.mark.parametrize("encoding", ["deflate", "gzip"])
def test_the_level_is_passed_on(encoding: str) -> None:
    """Level 0 stores, level 9 compresses."""
    some = [b'{"accountId":"acme","action":"feature"}\n'] * 100
    assert len(wire.pack(some, encoding, 0)) > 4_000
    assert len(wire.pack(some, encoding, 9)) < 200


@pytest.mark.parametrize("encoding", ["br", "zstd", "DEFLATE", ""])
def test_an_encoding_that_loses_the_body_packs_nothing(encoding: str) -> None:
    """An encoding that the endpoint would read as plain text is an error."""
    with pytest.raises(KeyError):
        wire.pack([b"{}\n"], encoding, 6)


@given(st.binary(max_size=300), encodings, st.integers(0, 320))
def test_the_limit_is_exact(text: bytes, encoding: str | None, limit: int) -> None:
    """A body that unpacks to the limit is read; one byte more is `TooLarge`."""
    body = wire.pack([text], encoding, 6)
    if len(text) <= limit:
        assert wire.unpack(body, encoding, limit) == text
    else:
        with pytest.raises(wire.TooLarge, match=str(limit)):
            wire.unpack(body, encoding, limit)


@given(st.lists(st.binary(max_size=80), min_size=1, max_size=5), st.integers(0, 450))
def test_gzip_members_are_read_as_one_body(parts: list[bytes], limit: int) -> None:
    """A gzip body may have several members (RFC 1952 2.2): all are read, one limit for all."""
    body = b"".join(gzip.compress(part, mtime=0) for part in parts)
    text = b"".join(parts)
    assert wire.unpack(body, "gzip") == text
    if len(text) <= limit:
        assert wire.unpack(body, "gzip", limit) == text
    else:
        with pytest.raises(wire.TooLarge):
            wire.unpack(body, "gzip", limit)


@pytest.mark.parametrize("encoding", ["deflate", "gzip"])
def test_a_small_body_cannot_fill_the_memory(encoding: str) -> None:
    """Of a body that would unpack to 30 MB no more than about the limit is ever held."""
    bomb = wire.pack([b"\0" * 30_000_000], encoding, 9)
    tracemalloc.start()
    try:
        with pytest.raises(wire.TooLarge):
            wire.unpack(bomb, encoding, 10_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_many_small_members_cannot_fill_the_memory_either() -> None:
    """One limit applies to all members together: 300 small ones are rejected early."""
    body = gzip.compress(b"\0" * 100_000, mtime=0) * 300
    tracemalloc.start()
    try:
        with pytest.raises(wire.TooLarge):
            wire.unpack(body, "gzip", 100_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def assert_unreadable(body: bytes, encoding: str, limit: int | None = None) -> None:
    with pytest.raises(ValueError, match="Content-Encoding") as caught:
        wire.unpack(body, encoding, limit)
    assert not isinstance(caught.value, wire.TooLarge)


@pytest.mark.parametrize("limit", [None, 10_000])
@pytest.mark.parametrize("encoding", ["deflate", "gzip"])
def test_a_cut_body_is_an_error_wherever_it_is_cut(encoding: str, limit: int | None) -> None:
    """Part of a compressed body is an error."""
    body = wire.pack([b'{"accountId":"acme"}\n', b'{"accountId":"zeta"}\n'], encoding, 6)
    for end in range(1, len(body)):
        assert_unreadable(body[:end], encoding, limit)


@pytest.mark.parametrize("encoding", ["deflate", "gzip"])
def test_an_empty_body_is_not_compressed(encoding: str) -> None:
    """A body without bytes is invalid in any encoding; a compressed body without lines is valid."""
    assert wire.unpack(wire.pack([], encoding, 6), encoding) == b""
    assert_unreadable(b"", encoding)


@pytest.mark.parametrize("encoding", ["deflate", "gzip"])
def test_a_changed_byte_is_noticed(encoding: str) -> None:
    """The checksum is verified: a body that was altered is an error."""
    body = bytearray(wire.pack([b'{"accountId":"acme"}\n'], encoding, 0))
    at = body.index(b"acme")
    body[at] ^= 1
    assert_unreadable(bytes(body), encoding)


@pytest.mark.parametrize("encoding", ["deflate", "gzip"])
@pytest.mark.parametrize("junk", [b"x", b'{"a":2}\n', zlib.compress(b'{"a":2}\n')])
def test_nothing_may_follow_a_compressed_body(encoding: str, junk: bytes) -> None:
    """Bytes after the end would be lost silently; the embedded endpoint reports them."""
    assert_unreadable(wire.pack([b'{"a":1}\n'], encoding, 6) + junk, encoding)


def test_a_raw_deflate_stream_is_refused() -> None:
    """DEFLATE without zlib's header is an error."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    assert_unreadable(packer.compress(b"{}\n") + packer.flush(), "deflate")


def test_encodings_do_not_stand_in_for_each_other() -> None:
    """gzip labelled deflate, deflate labelled gzip and plain text labelled either are errors."""
    some = [b'{"a":1}\n']
    assert_unreadable(wire.pack(some, "gzip", 6), "deflate")
    assert_unreadable(wire.pack(some, "deflate", 6), "gzip")
    assert_unreadable(wire.pack(some, None, 6), "deflate")
    assert_unreadable(wire.pack(some, None, 6), "gzip")


@pytest.mark.parametrize(
    "encoding", [None, "", "identity", "br", "zstd", "x-gzip", "gzip, deflate"]
)
def test_any_other_encoding_leaves_the_body_as_it_is(encoding: str | None) -> None:
    """As at the endpoint, a compressed body with another label is read as plain text."""
    body = wire.pack([b'{"a":1}\n'], "gzip", 6)
    assert wire.unpack(body, encoding) == body
    with pytest.raises(wire.TooLarge):
        wire.unpack(body, encoding, len(body) - 1)


def test_random_bytes_are_read_or_refused_as_a_value_error() -> None:
    """No body, however broken, makes `unpack` raise anything but `ValueError`."""
    chance = random.Random(7)
    good = {encoding: wire.pack([b'{"a":1}\n'] * 20, encoding, 6) for encoding in SUPPORTED}
    refused = 0
    for encoding, body in good.items():
        for _ in range(500):
            broken = bytearray(body)
            broken[chance.randrange(len(broken))] = chance.randrange(256)
            try:
                wire.unpack(bytes(broken), encoding, 1_000)
            except ValueError:
                refused += 1
    assert refused > 500


@given(lines, st.data())
def test_lines_end_in_lf_or_crlf_alike(some: list[bytes], data: st.DataObject) -> None:
    r"""`\n` and `\r\n` end a line, in any mixture; empty lines between are no lines."""
    endings = st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b"\n\r\n"])
    text = b"".join(line[:-1] + data.draw(endings) for line in some)
    assert list(wire.lines_of(text)) == some


def test_the_last_line_may_lack_its_newline() -> None:
    """The vendor's curl example sends a file unchanged."""
    assert list(wire.lines_of(b'{"a":1}\n{"a":2}')) == [b'{"a":1}\n', b'{"a":2}\n']
    assert list(wire.lines_of(b'{"a":2}\r')) == [b'{"a":2}\n']


@pytest.mark.parametrize("text", [b"", b"\n", b"\r\n", b"\n\n\r\n", b"  \n\t\n"])
def test_an_empty_body_has_no_lines(text: bytes) -> None:
    """Blank lines are not events."""
    assert list(wire.lines_of(text)) == []


def test_only_newlines_end_a_line() -> None:
    r"""Other characters that Python treats as line ends stay in the event, as does a lone `\r`."""
    line = '{"a":"x\u2028y\u0085z\u000bv"}'.encode() + b"\r" + b'{"b":1}'
    assert list(wire.lines_of(line + b"\n")) == [line + b"\n"]


@pytest.mark.parametrize("name", ["Content-Encoding", "content-encoding", "CONTENT-ENCODING"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        (" GZip ", "gzip"),
        ("", None),
        ("identity", None),
        ("x-gzip", None),
        ("gzip, deflate", None),
        ("zstd", None),
    ],
)
def test_the_encoding_is_read_from_the_headers(name: str, value: str, expected: str | None) -> None:
    """Header names and encodings are case-insensitive; only the two supported ones count."""
    assert wire.encoding_of({"Host": "localhost", name: value}) == expected


def test_a_request_without_the_header_is_plain() -> None:
    """curl's plain body has no encoding."""
    assert wire.encoding_of({}) is None
    assert wire.encoding_of({"Content-Type": "gzip"}) is None


def test_the_standard_librarys_message_serves_as_headers() -> None:
    """The headers of `http.server` can be passed unchanged."""
    message = email.message.Message()
    message["content-ENCODING"] = "deflate"
    assert wire.encoding_of(message) == "deflate"


def test_two_encodings_are_none_that_the_endpoint_knows() -> None:
    """A header given twice is one list of codings (RFC 9110 5.3), and a list is another value."""
    message = email.message.Message()
    message["Content-Encoding"] = "zstd"
    message["Content-Encoding"] = "gzip"
    assert wire.encoding_of(message) is None
