"""Request bodies off a stream: by their length or by their chunks (RFC 9112 6 and 7)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import BufferedIOBase

_LINE_BYTES = 65_536
_TRAILERS = 100
_HEX = re.compile(rb"[0-9A-Fa-f]{1,15}")


class Fault(ValueError):
    """Report a body that cannot be read; its text is `"malformed"` or `"too_long"`."""


def body_length(headers: Mapping[str, str], limit_bytes: int) -> int | None:
    """Return how long a request's body is, None for a chunked one (RFC 9112 6.3).

    Raises:
        Fault: the headers contradict themselves, or announce more than `limit_bytes`.

    >>> body_length({"content-length": "3"}, 9), body_length({}, 9)
    (3, 0)
    >>> body_length({"transfer-encoding": "chunked"}, 9) is None
    True
    """
    coding, length = headers.get("transfer-encoding"), headers.get("content-length", "0")
    if coding is not None:
        # Both headers at once is how requests are smuggled (RFC 9112 6.1).
        if coding.lower() != "chunked" or "content-length" in headers:
            raise Fault("malformed")
        return None
    if not (length.isascii() and length.isdigit()):
        raise Fault("malformed")
    if len(length) > 15 or int(length) > limit_bytes:
        raise Fault("too_long")
    return int(length)


def read_body(stream: BufferedIOBase, length: int | None, limit_bytes: int) -> bytes:
    r"""Read a body to its end, less its framing.

    Args:
        stream: positioned behind the head.
        length: from `body_length`.
        limit_bytes: the most that a chunked body may hold.

    Raises:
        Fault: it is malformed, ends early, or is longer than it may be.

    >>> import io
    >>> read_body(io.BytesIO(b"3;x=y\r\nabc\r\n0\r\nTrailer: t\r\n\r\n"), None, 9)
    b'abc'
    """
    if length is not None:
        return _exactly(stream, length)
    parts: list[bytes] = []
    left = limit_bytes
    while size := _chunk_size(_line(stream)):
        left -= size
        if left < 0:
            raise Fault("too_long")
        parts.append(_exactly(stream, size))
        if _exactly(stream, 2) != b"\r\n":
            raise Fault("malformed")
    for _ in range(_TRAILERS):
        if not _line(stream):
            return b"".join(parts)
    raise Fault("malformed")


def _exactly(stream: BufferedIOBase, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise Fault("malformed")
    return data


def _line(stream: BufferedIOBase) -> bytes:
    line = stream.readline(_LINE_BYTES)
    if not line.endswith(b"\r\n"):
        raise Fault("malformed")
    return line[:-2]


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip(b" \t")
    if not _HEX.fullmatch(digits):
        raise Fault("malformed")
    return int(digits, 16)
