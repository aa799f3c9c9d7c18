"""How the endpoint treats a request: its path, its body and every line (EVENT_API)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from fslog.collector.http import Answer, Message, Then
from fslog.errors import Problem
from fslog.mapping.schema import problems
from fslog.net import wire

MOST_LINES = 500_000
"""A body of more lines is too large, however short they are: each parsed line needs memory."""


Target = Literal["events", "ping", "other"]
"""What a request's path is for."""


@dataclass(frozen=True)
class InvalidLine:
    """A line that the endpoint would drop silently.

    Args:
        line: as received, with its newline; the whole body if it cannot be unpacked.
        value: the line's JSON value; None if it has none.
        problems: at least one.
    """

    line: bytes
    value: Any
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class ParsedBody:
    """The lines of one body, in its order.

    Args:
        events: the valid events.
        invalid: the invalid lines.
        lines: all lines, each event with the line that contained it.
        bytes_unpacked: size of the body after decompression; 0 if it cannot be unpacked.
    """

    events: list[dict[str, Any]] = field(default_factory=list)
    invalid: list[InvalidLine] = field(default_factory=list)
    lines: list[tuple[bytes, dict[str, Any]] | InvalidLine] = field(default_factory=list)
    bytes_unpacked: int = 0


@dataclass(frozen=True)
class Request:
    """One request whose head could be read.

    Args:
        method: as sent.
        target: `"events"`, `"ping"` or `"other"`.
        path: with every segment masked that could be a key.
        status: of the answer; None if the script gave none.
        encoding: how the body was compressed; None for plain text.
        headers: by lower-case name.
        bytes_received: size of the body as sent, without chunk framing.
        bytes_unpacked: size of its lines; 0 if it was not read or cannot be unpacked.
        events: how many valid events it contained, accepted or not.
        invalid: how many invalid lines it contained.
        kept: whether its events were accepted.
        received_at: the monotonic instant at which it was complete.
        scripted: whether the answer came from `script` or `always`.
        then: what happened after the request: `"answer"`, or what the script has instead.
        reason: why the answer is not 200, unless it is a script's: a sentence without a key.
    """

    method: str
    target: Target
    path: str
    status: int | None
    encoding: str | None
    headers: Mapping[str, str]
    bytes_received: int
    bytes_unpacked: int
    events: int
    invalid: int
    kept: bool
    received_at: float
    scripted: bool
    then: Then = "answer"
    reason: str = ""


def judge_request(
    message: Message, keys: tuple[str, str] | None, limit_bytes: int, limit_events: int | None
) -> tuple[Answer, Request, ParsedBody]:
    """Judge one request (EVENT_API, "Endpoint" to "Response"; 411 and 413 as in RFC 9110).

    Return the endpoint's own answer, the request as it is with that answer, and the body's lines as
    far as they were read. The status is 400 if it is not a POST to a valid path, or its framing is
    malformed; 411 for events without a length; 413 for a body over a limit.

    Args:
        message: as the server read it.
        keys: the valid auth key and API key; None accepts any.
        limit_bytes: the longest body, before and after unpacking.
        limit_events: the most lines; None for no limit.

    >>> message = Message("POST", "/v1/auth/api", {"content-length": "2"}, b"{}", "", 0.0)
    >>> answer, request, parsed = judge_request(message, None, 9, None)
    >>> answer.status, request.path, len(parsed.invalid)
    (200, '/v1/***/***', 1)
    >>> judge_request(message, ("auth", "other"), 9, None)[0].status
    400
    >>> judge_request(message, None, 1, None)[0].status
    413
    """
    segments = _segments(message.target)
    target = _target(segments)
    encoding = wire.encoding_of(message.headers)
    status, parsed = 400, ParsedBody()
    reason = _rejection(message, target, segments, keys)
    if not reason and target == "ping":
        status, reason = (413, _LONG.format(limit_bytes)) if message.fault else (200, "")
    elif not reason:
        status, parsed, reason = _judge_body(message, encoding, limit_bytes, limit_events)
    # A key can stand anywhere in an invalid path.
    masked = "/".join(segment if _is_plain(segment) else "***" for segment in segments)
    request = Request(
        method=message.method,
        target=target,
        path="/v1/***/***" if target == "events" else masked,
        status=status,
        encoding=encoding,
        headers=message.headers,
        bytes_received=len(message.body),
        bytes_unpacked=parsed.bytes_unpacked,
        events=len(parsed.events),
        invalid=len(parsed.invalid),
        kept=(target, status) == ("events", 200),
        received_at=message.received_at,
        scripted=False,
        reason=reason,
    )
    headers = {"Connection": "close"} if status in (411, 413) else {}
    return Answer(status, headers=headers), request, parsed


_EVENTS = "expected /v1/AUTH_KEY/API_KEY"
_LONG = "the body is longer than {} bytes, as sent or unpacked"


def _rejection(
    message: Message, target: str, segments: list[str], keys: tuple[str, str] | None
) -> str:
    """Return why a request gets 400; `""` if it does not."""
    if target == "other":
        return _path_error(segments)
    if message.method != "POST":
        return "the method is not POST"
    if message.fault == "malformed":
        return "the body cannot be read: its framing is malformed, or it ends early"
    if target == "events" and keys not in (None, tuple(unquote(key) for key in segments[2:])):
        return "the keys are not those that this endpoint accepts"
    return ""


def _path_error(segments: list[str]) -> str:
    """Return what is wrong with a path that is neither for events nor for a ping."""
    first = segments[1] if len(segments) > 1 else ""
    if first != "v1":
        found = f"starts with /{first}" if first and _is_plain(first) else "does not start with /v1"
        return f"the path {found}; {_EVENTS}: is the base URL right?"
    if "v1" in segments[2:]:
        return f"the path has /v1 twice; {_EVENTS}: does the base URL end in /v1?"
    if len(segments) == 4:
        return f"a key in the path is empty; {_EVENTS}: are both keys set?"
    rest = "one segment" if len(segments) == 3 else f"{len(segments) - 2} segments"
    return f"the path has {rest} after /v1; {_EVENTS}"


def _segments(target: str) -> list[str]:
    try:
        return urlsplit(target).path.split("/")
    except ValueError:
        return [target]


def _target(segments: list[str]) -> Target:
    if "/".join(segments) == wire.PING_PATH:
        return "ping"
    right = len(segments) == 4 and segments[:2] == ["", "v1"] and all(segments[2:])
    return "events" if right else "other"


_VERSION = re.compile(r"[vV][0-9]{1,2}")


def _is_plain(segment: str) -> bool:
    """Return whether a segment is not a key; a version is shown, as a sign of a wrong base URL."""
    return segment in ("", "ping") or _VERSION.fullmatch(segment) is not None


def _judge_body(
    message: Message, encoding: str | None, limit_bytes: int, limit_events: int | None
) -> tuple[int, ParsedBody, str]:
    if not message.headers.keys() & {"content-length", "transfer-encoding"}:
        return 411, ParsedBody(), "the request has neither Content-Length nor Transfer-Encoding"
    if message.fault:
        return 413, ParsedBody(), _LONG.format(limit_bytes)
    try:
        parsed = parse_body(message.body, encoding, limit_bytes)
    except wire.TooLarge as error:
        return 413, ParsedBody(), str(error)
    lines = len(parsed.events) + len(parsed.invalid)
    if limit_events is None or lines <= limit_events:
        return 200, parsed, ""
    return 413, parsed, f"the body has {lines} lines; expected at most {limit_events}"


def parse_body(body: bytes, encoding: str | None, limit_bytes: int | None = None) -> ParsedBody:
    r"""Parse a body and check every line (EVENT_API, "Request" and "Response").

    Args:
        body: as sent.
        encoding: from `wire.encoding_of`; None reads the body as plain text.
        limit_bytes: the most bytes to unpack.

    Raises:
        wire.TooLarge: it unpacks to more, or has more than `MOST_LINES`.

    >>> parsed = parse_body(b'[]\r\n{"a":NaN}', None)
    >>> [(bad.line, bad.problems[0].code) for bad in parsed.invalid]
    [(b'[]\n', 'not_an_object'), (b'{"a":NaN}\n', 'not_json')]
    >>> parse_body(b"plain", "gzip").invalid[0].problems[0].code
    'not_compressed_so'
    """
    try:
        text = wire.unpack(body, encoding, limit_bytes)
    except wire.TooLarge:
        raise
    except ValueError as error:
        problem = Problem("not_compressed_so", "", f"{error} ({encoding})")
        bad = InvalidLine(body, None, (problem,))
        return ParsedBody(invalid=[bad], lines=[bad])
    if text.count(b"\n") > MOST_LINES:
        raise wire.TooLarge(f"the body has more than {MOST_LINES} lines")
    lines = [_judge_line(line) for line in wire.lines_of(text)]
    events = [one[1] for one in lines if type(one) is tuple]
    invalid = [one for one in lines if isinstance(one, InvalidLine)]
    return ParsedBody(events, invalid, lines, len(text))


def _judge_line(line: bytes) -> tuple[bytes, dict[str, Any]] | InvalidLine:
    value = None
    try:
        value = _decode(line.decode())
    except UnicodeDecodeError as error:
        code, message = "not_utf8", f"is not UTF-8: {error.reason}, byte {error.start}"
    except (ValueError, RecursionError) as error:
        code, message = "not_json", f"is not strict JSON: {error}"
    else:
        if type(value) is dict:
            found = problems(value)
            return InvalidLine(line, value, tuple(found)) if found else (line, value)
        kind = type(value).__name__
        code, message = "not_an_object", f"is of type {kind}; expected one JSON object a line"
    return InvalidLine(line, value, (Problem(code, "", f"the line {message}"),))


def _reject(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


_decode = json.JSONDecoder(parse_constant=_reject).decode
