"""The endpoint's vocabulary: which events it takes, and what is wrong with those it would not.

Two kinds of rule (EVENT_API, "Event" and "Actions"). The five required properties are
*normative*: an event that breaks one is dropped by the server inside a 200, so fslog calls it
invalid and does not send it. What is known of the actions is *corroborated* by public clients
only: an event that breaks it is sent, and a problem warns of it.

The fast path is one expression per kind of rule: a right event costs no list, no loop over rules.
"""

from __future__ import annotations

import datetime
import math
import numbers
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from fslog.errors import Problem

REQUIRED = ("accountId", "userId", "createdAt", "action", "sessionId")
"""The properties that every event must have (EVENT_API, "Event")."""

WARNINGS = frozenset({"expected", "expected_type", "looks_like_seconds"})
"""The codes of problems that only warn: the event is sent all the same."""

_NUMBER = (int, float, Decimal)
_KINDS: dict[str, tuple[Any, str]] = {
    "string": (str, "a string"),
    "number": (_NUMBER, "a number"),
    "object": (Mapping, "an object"),
}
_ACTIONS: dict[str, tuple[tuple[str, str, bool], ...]] = {
    # property, kind, whether the event means nothing without it
    "feature": (
        ("feature", "string", True),
        ("module", "string", True),
        ("product", "string", False),
        ("total", "number", False),
    ),
    "moduleEnd": (
        ("module", "string", True),
        ("timeSpent", "number", True),
        ("product", "string", False),
    ),
    "sessionSync": (("activeDuration", "number", True),),
    "identifyUser": (("details", "object", True),),
    "identifyAccount": (("details", "object", True),),
}
ACTIONS = frozenset(_ACTIONS)
"""The actions whose properties are known; any other is passed on as it is."""

_EARLIEST_MS = 100_000_000_000
"""3 March 1973 as milliseconds. A smaller number is almost certainly a time in seconds."""


def coerce(event: dict[str, Any]) -> None:
    """Turn what Python programs have into what the endpoint takes, in place.

    `accountId` and `userId` given as `int` or `uuid.UUID` become strings, `createdAt` given as an
    aware `datetime` becomes epoch milliseconds. Anything else is left for `problems` to judge.

    >>> event = {"accountId": 7, "createdAt": datetime.datetime.fromtimestamp(1, datetime.timezone.utc)}
    >>> coerce(event); event
    {'accountId': '7', 'createdAt': 1000}
    """
    for name in ("accountId", "userId"):
        value = event.get(name)
        if type(value) is not str and isinstance(value, (int, uuid.UUID)):
            if not isinstance(value, bool):
                event[name] = _digits(value)
    at = event.get("createdAt")
    if isinstance(at, datetime.datetime) and at.utcoffset() is not None:
        event["createdAt"] = round(at.timestamp() * 1000)


def _digits(value: int | uuid.UUID) -> str:
    # An IntEnum's own str is its name on some versions; the number is meant.
    if isinstance(value, int):
        try:
            return int.__repr__(value)
        except ValueError:  # more digits than sys.get_int_max_str_digits() allows
            return hex(value)
    return str(value)


def problems(event: Mapping[str, Any]) -> list[Problem]:
    """List what makes the endpoint drop this event; empty for an event that it takes.

    >>> problems({"accountId": "a", "userId": "u", "createdAt": 1, "action": "x", "sessionId": "s"})
    []
    >>> [(p.code, p.property) for p in problems({"accountId": 5, "createdAt": "now", "action": ""})]
    ... # doctest: +NORMALIZE_WHITESPACE
    [('wrong_type', 'accountId'), ('missing', 'userId'), ('wrong_type', 'createdAt'),
     ('empty', 'action'), ('missing', 'sessionId')]
    """
    get = event.get
    at = get("createdAt")
    if (
        _named(get("accountId"))
        and _named(get("userId"))
        and _named(get("action"))
        and _named(get("sessionId"))
        and (type(at) is int or (type(at) is float and at - at == 0.0))
    ):
        return []
    found = (
        _time_problem(event) if name == "createdAt" else _name_problem(event, name)
        for name in REQUIRED
    )
    return [problem for problem in found if problem]


def _named(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _name_problem(event: Mapping[str, Any], name: str) -> Problem | None:
    if name not in event:
        return Problem("missing", name, f"{name} is missing: {_REMEDY[name]}", event)
    value = event[name]
    if _named(value):
        return None
    if isinstance(value, str):
        return Problem("empty", name, f"{name} is empty; expected a string that is not", event)
    if value is None or isinstance(value, (bool, float)):
        came = f"{value}"
    else:
        came = f"of type {type(value).__name__}"
    return Problem("wrong_type", name, f"{name} is {came}; expected {_EXPECTED[name]}", event)


def _time_problem(event: Mapping[str, Any]) -> Problem | None:
    name = "createdAt"
    if name not in event:
        return Problem("missing", name, f"{name} is missing: {_REMEDY[name]}", event)
    value = event[name]
    if isinstance(value, datetime.datetime):
        message = f"{name} is a datetime without a time zone; expected an aware one"
        return Problem("naive_datetime", name, message, event)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        message = f"{name} is of type {type(value).__name__}; expected {_EXPECTED[name]}"
        return Problem("wrong_type", name, message, event)
    if not math.isfinite(value):
        return Problem("not_finite", name, f"{name} is {value}; expected a finite number", event)
    return None


_EXPECTED = {
    "accountId": "a non-empty string, an int or a UUID",
    "userId": "a non-empty string, an int or a UUID",
    "createdAt": "epoch milliseconds or an aware datetime",
    "action": "a non-empty string",
    "sessionId": "a non-empty string",
}
_SOURCES = "give it in the log call's extra, in fields, in context or in defaults"
_REMEDY = {
    "accountId": _SOURCES,
    "userId": _SOURCES,
    "createdAt": "epoch milliseconds are expected",
    "action": "give it in the log call's extra or in a rule",
    "sessionId": f"{_SOURCES}, or let session derive it",
}


def warnings(event: Mapping[str, Any]) -> list[Problem]:
    """List what is probably not meant in an event that the endpoint takes; usually empty.

    Args:
        event: one that `problems` has nothing to say about.

    >>> event = {"accountId": "a", "userId": "u", "createdAt": 10**12, "action": "feature",
    ...          "sessionId": "s", "feature": "export", "total": "3"}
    >>> [(p.code, p.property) for p in warnings(event)]
    [('expected', 'module'), ('expected_type', 'total')]
    """
    check = _CHECKS.get(event["action"])
    found = [] if check is None or check(event) else _broken(event)
    if event["createdAt"] < _EARLIEST_MS:
        message = (
            f"createdAt is {event['createdAt']}, which looks like seconds; expected milliseconds"
        )
        found.append(Problem("looks_like_seconds", "createdAt", message, event))
    return found


def _broken(event: Mapping[str, Any]) -> list[Problem]:
    action = event["action"]
    found = []
    for name, kind, needed in _ACTIONS[action]:
        types, words = _KINDS[kind]
        if name not in event:
            if needed:
                message = f"action {action!r} is expected to have {name}, {words}"
                found.append(Problem("expected", name, message, event))
        elif not _fits(event[name], types):
            message = f"{name} is of type {type(event[name]).__name__}; expected {words}"
            found.append(Problem("expected_type", name, message, event))
    return found


def _fits(value: Any, types: Any) -> bool:
    if types is _NUMBER:
        return isinstance(value, (int, float, Decimal, numbers.Real)) and not isinstance(
            value, bool
        )
    return isinstance(value, types)


def _feature_is_right(event: Mapping[str, Any]) -> bool:
    # By exact type: what is not obviously right is looked at again by `_broken`.
    get = event.get
    return (
        type(get("feature")) is str
        and type(get("module")) is str
        and type(get("product", "")) is str
        and type(get("total", 1)) in (int, float)
    )


_CHECKS: dict[Any, Callable[[Mapping[str, Any]], bool]] = {
    "feature": _feature_is_right,
    **{action: lambda event: False for action in _ACTIONS if action != "feature"},
}
