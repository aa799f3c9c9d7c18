"""Parsing of requests to the API, whose errors are `ApiError`; JSON responses."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from fslog.collector.http import Answer, Message
from fslog.viewer.entries import Entry

MAX_ID = 10**15
"""Larger than any id."""

_MAX_DELAY = 3_600.0
_MAX_HEADERS = 50
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")  # RFC 9110 5.6.2
_VALUE = re.compile(r"[\x20-\x7e]{0,1000}")
_FRAMING = ("content-length", "transfer-encoding")
_ANSWER = ("status", "headers", "delay", "then")

_MAX_BODY_BYTES = 1024 * 1024
_MAX_PARAMETERS = 50
_HEADERS = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}


class ApiError(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status of the response.
        reason: a sentence.
        headers: of the response, in addition to the usual ones.
    """

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers: dict[str, str] = headers or {}


class Query(dict[str, str]):
    """The query parameters of a request; an empty parameter equals an absent one."""

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """Return an integer parameter."""
        text = self.get(name) or str(default)
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_ID))):
            raise ApiError(400, f"{name}: expected an integer from {least} to {most}")
        if not least <= int(text) <= most:
            raise ApiError(400, f"{name} is {int(text)}; expected {least} to {most}")
        return int(text)

    def seconds(self, name: str, default: float, most: float) -> float:
        """Return a parameter that is a number of seconds."""
        try:
            value = float(self.get(name) or default)
        except ValueError:
            value = math.nan
        if not 0 <= value <= most:
            raise ApiError(400, f"{name}: expected a number of seconds from 0 to {most:g}")
        return value

    def one_of(self, name: str, allowed: Sequence[str]) -> str:
        """Return a parameter with a fixed set of values; the first one is the default."""
        word = self.get(name) or allowed[0]
        if word not in allowed:
            raise ApiError(400, f"{name} is {word[:50]!r}; expected {' or '.join(allowed)}")
        return word


def parse_query(message: Message, names: Sequence[str]) -> Query:
    """Return a request's query parameters.

    Unknown names are errors, since a misspelt filter that is ignored would select everything.

    >>> dict(parse_query(Message("GET", "/api/count?user=Zo%C3%AB", {}, b"", "", 0.0), ["user"]))
    {'user': 'Zoë'}
    """
    text = message.target.partition("?")[2]
    with contextlib.suppress(UnicodeError):  # `http.server` decodes all bytes as Latin-1
        text = text.encode("latin-1").decode()
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise ApiError(400, f"more than {_MAX_PARAMETERS} parameters") from None
    query = Query()
    for name, value in pairs:
        if name not in names:
            expected = ", ".join(names) or "none"
            raise ApiError(400, f"unknown parameter {name[:50]!r}; expected {expected}")
        if name in query:
            raise ApiError(400, f"the parameter {name} is given twice")
        query[name] = value
    return query


def json_body(message: Message) -> Any:
    """Return the JSON value in a request's body."""
    if len(message.body) > _MAX_BODY_BYTES:
        raise ApiError(413, f"the body is longer than {_MAX_BODY_BYTES} bytes")
    try:
        return json.loads(message.body.decode(), parse_constant=_reject)
    except (ValueError, RecursionError):
        raise ApiError(400, "the body is not JSON") from None


def has_json_type(message: Message) -> bool:
    """Return whether the Content-Type is JSON, which no form of another site can send."""
    kind = message.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json"


def _reject(name: str) -> None:
    raise ValueError(name)


def encoded(value: Any) -> bytes:
    """Return a value as JSON; ASCII, since it may contain a lone surrogate."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def json_answer(value: Any, status: int = 200) -> Answer:
    """Return a response with a JSON value; `bytes` are JSON already."""
    body = value if isinstance(value, bytes) else encoded(value)
    return Answer(status, headers=_HEADERS, body=body)


def error_answer(error: ApiError) -> Answer:
    """Return the response for an error."""
    body = encoded({"error": str(error)})
    return Answer(error.status, headers={**_HEADERS, **error.headers}, body=body)


def entries_json(entries: Sequence[Entry], brief: bool = False, **more: Any) -> bytes:
    """Return entries and further properties as one JSON object.

    >>> entries_json([], total=0)
    b'{"entries":[],"total":0}'
    """
    joined = b",".join(entry.json(brief) for entry in entries)
    return b'{"entries":[%b],%b' % (joined, encoded(more)[1:])


def parse_answer(value: Any) -> Answer:
    """Parse one configured answer of the endpoint; the API calls them outcomes.

    >>> parse_answer({"status": 503, "headers": {"Retry-After": "5"}})
    ... # doctest: +ELLIPSIS
    Answer(status=503, headers=(('Retry-After', '5'),), body=b'', delay=0, then='answer', ...)
    """
    if not isinstance(value, Mapping):
        raise ApiError(400, "expected a JSON object with status, headers, delay or then")
    if unknown := sorted(set(value) - set(_ANSWER)):
        expected = ", ".join(_ANSWER)
        raise ApiError(400, f"unknown property {unknown[0][:50]!r}; expected {expected}")
    status, delay = value.get("status", 200), value.get("delay", 0)
    then = value.get("then", "answer")
    if type(status) is not int or not 200 <= status <= 599:
        raise ApiError(400, "status: expected an integer from 200 to 599")
    if type(delay) not in (int, float) or not 0 <= delay <= _MAX_DELAY:
        raise ApiError(400, f"delay: expected a number of seconds from 0 to {_MAX_DELAY:.0f}")
    if then not in ("answer", "hang", "close", "reset"):
        raise ApiError(400, "then: expected answer, hang, close or reset")
    return Answer(status, headers=_headers(value.get("headers", {})), delay=delay, then=then)


def _headers(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or len(value) > _MAX_HEADERS:
        raise ApiError(400, f"headers: expected a JSON object of at most {_MAX_HEADERS} strings")
    for name, text in value.items():
        if not _TOKEN.fullmatch(name) or name.lower() in _FRAMING:
            raise ApiError(400, f"headers: the header {name[:50]!r} is not allowed")
        if not isinstance(text, str) or not _VALUE.fullmatch(text):
            expected = "expected a string of at most 1000 ASCII characters"
            raise ApiError(400, f"headers: {name}: {expected}")
    return dict(value)


def answer_json(answer: Answer) -> dict[str, Any]:
    """Return a configured answer as the API shows it.

    >>> answer_json(Answer(503, delay=1.5))
    {'status': 503, 'headers': {}, 'delay': 1.5, 'then': 'answer'}
    """
    headers = dict(answer.headers)
    return {"status": answer.status, "headers": headers, "delay": answer.delay, "then": answer.then}
