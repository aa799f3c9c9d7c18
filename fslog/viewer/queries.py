"""What a request to the API says, and how it is answered: query, body, JSON, refusals."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

from fslog.collector.httpserver import Answer, Message
from fslog.viewer.entries import Entry
from fslog.viewer.filters import Filter

MOST_ID = 10**15
"""No id grows so large."""

_MOST_BODY_BYTES = 1024 * 1024
_MOST_FIELDS = 50
_HEADERS = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}


class Refused(Exception):
    """Report a request that is not answered as asked.

    Args:
        status: of the answer.
        why: a sentence that says what to do.
        headers: of the answer, beside the usual ones.
    """

    def __init__(self, status: int, why: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.headers = headers or {}


class Query(dict[str, str]):
    """Hold the query parameters of a request; one that is empty is as good as not there."""

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """Take a whole number.

        Raises:
            Refused: it is none, or not in the range.
        """
        text = self.get(name) or str(default)
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(MOST_ID))):
            raise Refused(400, f"{name} is no whole number; expected {least} to {most}")
        if not least <= int(text) <= most:
            raise Refused(400, f"{name} is {int(text)}; expected {least} to {most}")
        return int(text)

    def seconds(self, name: str, default: float, most: float) -> float:
        """Take a number of seconds.

        Raises:
            Refused: it is none, or not in the range.
        """
        try:
            value = float(self.get(name) or default)
        except ValueError:
            value = math.nan
        if not 0 <= value <= most:
            raise Refused(400, f"{name} is no number of seconds; expected 0 to {most:g}")
        return value

    def one_of(self, name: str, allowed: Sequence[str]) -> str:
        """Take a word, the first of those allowed where nothing is said.

        Raises:
            Refused: it is none of them.
        """
        word = self.get(name) or allowed[0]
        if word not in allowed:
            raise Refused(400, f"{name} is {word[:50]!r}; expected {' or '.join(allowed)}")
        return word

    def filter(self) -> Filter:
        """Take the filter.

        Raises:
            Refused: it has a state that there is not.
        """
        try:
            return Filter.of(self)
        except ValueError as error:
            raise Refused(400, str(error)) from None


def query_of(message: Message, names: Sequence[str]) -> Query:
    """Return a request's query parameters.

    A name that there is not is no parameter to pass over: a misspelt filter would mean everything.

    Raises:
        Refused: a name that there is not, or that stands there twice.

    >>> dict(query_of(Message("GET", "/api/count?user=Zo%C3%AB", {}, b"", "", 0.0), ["user"]))
    {'user': 'Zoë'}
    """
    text = message.target.partition("?")[2]
    with contextlib.suppress(UnicodeError):  # `http.server` reads all bytes as Latin-1
        text = text.encode("latin-1").decode()
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise Refused(400, f"there are more than {_MOST_FIELDS} parameters") from None
    query = Query()
    for name, value in pairs:
        if name not in names:
            expected = ", ".join(names) or "none"
            raise Refused(400, f"there is no parameter {name[:50]!r} here; expected {expected}")
        if name in query:
            raise Refused(400, f"the parameter {name} is given twice")
        query[name] = value
    return query


def value_of(message: Message) -> Any:
    """Return the JSON value in a request's body.

    Raises:
        Refused: there is none, or the body is too long.
    """
    if len(message.body) > _MOST_BODY_BYTES:
        raise Refused(413, f"the body is longer than {_MOST_BODY_BYTES} bytes")
    try:
        return json.loads(message.body.decode(), parse_constant=_reject)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is no JSON value") from None


def is_json(message: Message) -> bool:
    """Return whether a request says that its body is JSON, as no form of another site can."""
    kind = message.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json"


def _reject(name: str) -> None:
    raise ValueError(name)


def encoded(value: Any) -> bytes:
    """Return a value as JSON; ASCII, since a lone surrogate may stand in it."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def answer(value: Any, status: int = 200) -> Answer:
    """Return an answer that holds a JSON value, given as `bytes` where it is encoded already."""
    body = value if isinstance(value, bytes) else encoded(value)
    return Answer(status, headers=_HEADERS, body=body)


def refusal(refused: Refused) -> Answer:
    """Return the answer that says why a request is refused."""
    body = encoded({"error": str(refused)})
    return Answer(refused.status, headers={**_HEADERS, **refused.headers}, body=body)


def listed(entries: Sequence[Entry], brief: bool = False, **facts: Any) -> bytes:
    """Return entries and what is to be said of them, as one JSON object.

    >>> listed([], total=0)
    b'{"entries":[],"total":0}'
    """
    joined = b",".join(entry.json(brief) for entry in entries)
    return b'{"entries":[%b],%b' % (joined, encoded(facts)[1:])
