"""What is wrong with a line, as a person reads it: what came, of which type, and what is right.

`fslog.mapping.events` judges what Python programs have; here stands what JSON has, where an `int`
is no right `accountId` any more, because nobody will make a string of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from fslog.errors import Problem
from fslog.mapping.events import EARLIEST_MS

_SHOWN = 60
_TEXT = "a string that is not empty"
_EXPECTED = {
    "accountId": _TEXT,
    "userId": _TEXT,
    "createdAt": "a number, epoch milliseconds",
    "action": _TEXT,
    "sessionId": _TEXT,
}
_KINDS = {
    "total": "a number",
    "timeSpent": "a number",
    "activeDuration": "a number",
    "details": "an object",
}
_LINES = {
    "not_utf8": ("bytes that are no UTF-8", "UTF-8"),
    "not_json": ("text that is no JSON", "one strict JSON object a line"),
    "not_compressed_so": ("a body that does not unpack", "a body in its Content-Encoding"),
}
_NOTHING = object()


class Fault(NamedTuple):
    """Say what is wrong with one line; unlike a `Problem` it does not hold the event.

    Args:
        code: stable and short, as in the README's table.
        property: that it is about, `""` where it is the whole line.
        message: a sentence.
        got: what came, with its type.
        expected: what is right.
    """

    code: str
    property: str
    message: str
    got: str
    expected: str


def label(fault: Fault) -> str:
    """Return code and property in one, by which alike problems are counted and found."""
    return f"{fault.code} {fault.property}".strip()


def explain(problem: Problem, value: Any) -> Fault:
    """Say a problem of a line.

    Args:
        problem: from `fslog.mapping.events` or `fslog.collector.intake`.
        value: the line's JSON value, None if it has none.

    >>> explain(Problem("wrong_type", "userId", "..."), {"userId": 5})[2:]
    ... # doctest: +NORMALIZE_WHITESPACE
    ('userId came as number 5; expected a string that is not empty', 'number 5',
     'a string that is not empty')
    """
    code, name = problem.code, problem.property
    if code in _LINES:
        return Fault(code, name, problem.message, *_LINES[code])
    if code == "not_an_object":
        got, expected = kind(value), "one JSON object a line"
        return Fault(code, name, f"the line holds {got}; expected {expected}", got, expected)
    found = value.get(name, _NOTHING) if isinstance(value, Mapping) else _NOTHING
    got, expected = kind(found), _right(code, name, found)
    message = problem.message
    if code in ("wrong_type", "not_finite", "empty", "expected_type"):
        message = f"{name} came as {got}; expected {expected}"
    elif code == "missing":
        message = f"{name} is missing; expected {expected}"
    return Fault(code, name, message, got, expected)


def _right(code: str, name: str, found: Any) -> str:
    if code == "looks_like_seconds":
        return f"epoch milliseconds, not below {EARLIEST_MS}"
    if code in ("expected", "expected_type"):
        return _KINDS.get(name, "a string")
    return _EXPECTED.get(name, "another value")


def kind(value: Any) -> str:
    """Return a JSON value's type and what can be shown of it in a few words.

    >>> kind("ann"), kind(""), kind(1.5), kind(True), kind(None), kind([1]), kind({"a": 1})
    ... # doctest: +NORMALIZE_WHITESPACE
    ('string "ann"', 'an empty string', 'number 1.5', 'boolean true', 'null', 'array of 1',
     'object of 1')
    """
    if value is _NOTHING:
        return "nothing"
    if value is None:
        return "null"
    if isinstance(value, str):
        cut = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
        return f"string {json.dumps(cut, ensure_ascii=False)}" if value else "an empty string"
    if isinstance(value, bool):
        return f"boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        shown = repr(value)
        return f"number {shown if len(shown) <= _SHOWN else f'{shown[:_SHOWN]}...'}"
    return f"{'array' if isinstance(value, list) else 'object'} of {len(value)}"
