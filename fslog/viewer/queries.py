"""Parsing of requests to the API, and its JSON responses and errors."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

from fslog.collector.http import Answer, Message
from fslog.viewer.entries import Entry
from fslog.viewer.filters import Filter

MAX_ID = 10**15
"""Larger than any id."""

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
        self.headers = headers or {}


class Query(dict[str, str]):
    """The query parameters of a request; an empty parameter equals an absent one."""

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """Return an integer parameter.

        Raises:
            ApiError: it is not an integer, or out of range.
        """
        text = self.get(name) or str(default)
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_ID))):
            raise ApiError(400, f"{name}: expected an integer from {least} to {most}")
        if not least <= int(text) <= most:
            raise ApiError(400, f"{name} is {int(text)}; expected {least} to {most}")
        return int(text)

    def seconds(self, name: str, default: float, most: float) -> float:
        """Return a parameter that is a number of seconds.

        Raises:
            ApiError: it is not a number, or out of range.
        """
        try:
            value = float(self.get(name) or default)
        except ValueError:
            value = math.nan
        if not 0 <= value <= most:
            raise ApiError(400, f"{name}: expected a number of seconds from 0 to {most:g}")
        return value

    def one_of(self, name: str, allowed: Sequence[str]) -> str:
        """Return a parameter with a fixed set of values; the first one is the default.

        Raises:
            ApiError: it is none of them.
        """
        word = self.get(name) or allowed[0]
        if word not in allowed:
            raise ApiError(400, f"{name} is {word[:50]!r}; expected {' or '.join(allowed)}")
        return word

    def filter(self) -> Filter:
        """Return the filter.

        Raises:
            ApiError: the filter is not valid.
        """
        try:
            return Filter.from_query(self)
        except ValueError as error:
            raise ApiError(400, str(error)) from None


def parse_query(message: Message, names: Sequence[str]) -> Query:
    """Return a request's query parameters.

    Unknown names are errors, since a misspelt filter that is ignored would select everything.

    Raises:
        ApiError: an unknown or repeated name.

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
    """Return the JSON value in a request's body.

    Raises:
        ApiError: the body is not JSON, or too long.
    """
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
