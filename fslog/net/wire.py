"""The endpoint's format: lines, bodies, headers and paths (EVENT_API, "Request").

The client packs with this module and the embedded endpoint unpacks with it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from fslog.config import ENCODINGS
from fslog.version import VERSION

CONTENT_TYPE = "application/json"
ENCODING: Final = "deflate"
LEVEL = 4
"""The default compression of bodies; the level was chosen by measurement."""

PING_PATH = "/v1/ping"

# HTTP's deflate is the zlib format (RFC 9110 8.4.1.2), not a raw DEFLATE stream.
_WBITS = {"deflate": 15, "gzip": 31}


def events_path(auth_key: str, api_key: str) -> str:
    """Return the path to post events to. It contains both keys: never show it.

    >>> events_path("auth", "api")
    '/v1/auth/api'
    """
    return f"/v1/{auth_key}/{api_key}"


def headers(encoding: str | None) -> dict[str, str]:
    """Return the headers of a POST, without Content-Length.

    >>> headers("deflate")["Content-Encoding"], "Content-Encoding" in headers(None)
    ('deflate', False)
    """
    fixed = {"Content-Type": CONTENT_TYPE, "User-Agent": f"fslog/{VERSION}"}
    return {**fixed, "Content-Encoding": encoding} if encoding else fixed


def pack(lines: Iterable[bytes], encoding: str | None, level: int) -> bytes:
    """Return lines as the body of one POST.

    Args:
        lines: each ends in a newline.
        encoding: one of `ENCODINGS`, or None for a plain body.
        level: zlib's, -1 to 9.

    >>> pack([b'{"a":1}\\n', b'{"a":2}\\n'], None, 6)
    b'{"a":1}\\n{"a":2}\\n'
    """
    text = b"".join(lines)
    if encoding is None:
        return text
    packer = zlib.compressobj(level, zlib.DEFLATED, _WBITS[encoding], zlib.DEF_MEM_LEVEL, _STRATEGY)
    return packer.compress(text) + packer.flush()


# Lines repeat long strings and differ in digits and ids: the short matches that zlib's default
# strategy also uses cost more than they save. Measured at level 6 on a batch of 4,762 events:
# 31.6 bytes an event instead of 33.9, in the same time.
_STRATEGY = zlib.Z_FILTERED


_MOST_MEMBERS = 1_000
"""Of one gzip body whose size is limited."""


class TooLarge(ValueError):
    """A body unpacks to more than is allowed."""


def unpack(body: bytes, encoding: str | None, limit_bytes: int | None = None) -> bytes:
    """Return the decompressed body.

    Args:
        body: as sent.
        encoding: the Content-Encoding; a body with any other than those of `ENCODINGS` is returned
            unchanged, as the endpoint reads it.
        limit_bytes: the most bytes to unpack, so that a small body cannot fill the memory.

    Raises:
        TooLarge: it unpacks to more than `limit_bytes`, or has too many gzip members.
        ValueError: it is not in that encoding, or incomplete.

    >>> unpack(pack([b"{}\\n"], "deflate", 6), "deflate")
    b'{}\\n'
    """
    if encoding not in _WBITS:
        text, cut = body, False
    else:
        text, cut = _inflate(body, _WBITS[encoding], limit_bytes)
    if limit_bytes is not None and (cut or len(text) > limit_bytes):
        raise TooLarge(f"the body unpacks to more than {limit_bytes} bytes")
    return text


def _inflate(body: bytes, wbits: int, limit_bytes: int | None) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    left = limit_bytes
    while body or not parts:
        # The rest of the body is copied for each member.
        if left is not None and len(parts) >= _MOST_MEMBERS:
            raise TooLarge(f"the body has more than {_MOST_MEMBERS} gzip members")
        unpacker = zlib.decompressobj(wbits)
        try:
            # One byte more than allowed distinguishes "exactly the limit" from "more".
            parts.append(unpacker.decompress(body, 0 if left is None else left + 1))
        except zlib.error as error:
            raise ValueError(f"the body is not in its Content-Encoding: {error}") from None
        if left is not None and len(parts[-1]) > left:
            return b"".join(parts), True
        if not unpacker.eof:
            raise ValueError("the body ends before its Content-Encoding does")
        left = None if left is None else left - len(parts[-1])
        body = unpacker.unused_data
        if body and wbits != _WBITS["gzip"]:  # only gzip has members (RFC 1952 2.2)
            raise ValueError("the body continues after its Content-Encoding ends")
    return b"".join(parts), False


def lines_of(text: bytes) -> Iterator[bytes]:
    r"""Yield the non-empty lines of an unpacked body, each with its newline.

    A line ends at `\n` or `\r\n`. The last line may lack its newline: the vendor's curl example
    sends files unchanged.

    >>> list(lines_of(b'{"a":1}\r\n\n{"a":2}'))
    [b'{"a":1}\n', b'{"a":2}\n']
    """
    for line in text.split(b"\n"):
        if line := line.strip(b" \t\r"):
            yield line + b"\n"


def encoding_of(headers: Mapping[str, Any]) -> str | None:
    """Return the compression of a body from its headers; None if the endpoint reads plain text.

    >>> encoding_of({"content-encoding": "GZIP"}), encoding_of({"Content-Encoding": "zstd"})
    ('gzip', None)
    """
    named = [value for name, value in headers.items() if name.lower() == "content-encoding"]
    encoding = ", ".join(str(value).strip() for value in named).lower()
    return encoding if encoding in ENCODINGS else None
