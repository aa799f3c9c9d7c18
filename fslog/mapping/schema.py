"""The schema of events: required properties, known actions, and the problems of an event.

Two kinds of rule (EVENT_API, "Event" and "Actions"). The five required properties are *normative*:
the server drops an event that breaks one and still answers 200, so fslog calls the event invalid
and does not send it. What is known of the actions is *corroborated* by public clients only: an
event that breaks it is sent, with a problem that warns. So is one whose ids or action are probably
a mistake: each new id becomes a visible account or user, which no public call removes.

A valid event costs one expression for each kind of rule: no list, no loop over rules. What its ids
and its action look like is decided once for each value.
"""

from __future__ import annotations

import datetime
import math
import numbers
import re
import sys
import uuid
from collections.abc import Mapping, Set
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from fslog.config import nearest
from fslog.errors import Problem
from fslog.interrupts import unless_interrupt

_ID = "a non-empty string, an int or a UUID"
_TEXT = "a non-empty string"
_SOURCES = "give it in the log call's extra, in fields, in context or in defaults"
_REQUIRED = {
    # what is expected, and what to do about its absence
    "accountId": (_ID, _SOURCES),
    "userId": (_ID, _SOURCES),
    "createdAt": ("epoch milliseconds or an aware datetime", "epoch milliseconds are expected"),
    "action": (_TEXT, "give it in the log call's extra or in a rule"),
    "sessionId": (_TEXT, f"{_SOURCES}, or let session derive it"),
}
REQUIRED = tuple(_REQUIRED)
"""The properties that every event must have (EVENT_API, "Event")."""

KINDS_OF_ID = {"accountId": "account", "userId": "user"}
"""What each id names."""

IDS = tuple(KINDS_OF_ID)
"""The properties that name the user: no event may have those of another user."""

KINDS: dict[str, tuple[Any, str]] = {
    "string": (str, "a string"),
    "number": ((int, float, Decimal, numbers.Real), "a number"),
    "object": (Mapping, "an object"),
}
"""Kind of value → its Python types, and its name in a message."""


class Property(NamedTuple):
    """A property whose meaning is known: a key of `KINDS`, and an example."""

    kind: str
    example: Any


PROPERTIES = {
    "accountId": Property("string", "acme"),
    "userId": Property("string", "ann"),
    "action": Property("string", "feature"),
    "module": Property("string", "reports"),
    "feature": Property("string", "export"),
    "product": Property("string", "core"),
    "details": Property("object", {"name": "Ann"}),
    "total": Property("number", 1),
    "timeSpent": Property("number", 1200),
    "activeDuration": Property("number", 60000),
}
"""The properties that known actions have, and those of every event that are not derived."""

ACTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "feature": (("feature", "module"), ("product", "total")),
    "moduleEnd": (("module", "timeSpent"), ("product",)),
    "sessionSync": (("activeDuration",), ()),
    "identifyUser": (("details",), ()),
    "identifyAccount": (("details",), ()),
}
"""Known action → the properties without which it means nothing, and its optional ones.

Any other action is passed on as it is.
"""

WARNINGS = frozenset(
    {
        "context_provider",
        "expected",
        "expected_type",
        "looks_anonymous",
        "looks_like_seconds",
        "looks_like_user",
        "looks_misspelt",
        "looks_secret",
        "not_plain",
    }
)
"""The codes of problems that only warn: the event is sent."""

EARLIEST_MS = 100_000_000_000
"""3 March 1973 in milliseconds. A smaller number is almost certainly a time in seconds."""

CATCH_ALL = frozenset(
    {
        *("", "-", "--", "?", "0", "-1", "00000000-0000-0000-0000-000000000000"),
        *("none", "null", "nil", "nan", "n/a", "undefined", "unknown", "false"),
        *("(none)", "(null)", "(not set)", "<none>", "<null>", "<nil>", "[object object]"),
        *("anonymous", "anonymoususer", "anonymous_user", "anonymous user", "anon", "guest"),
    }
)
"""Texts of ids that name nobody, in lower case and without blanks around them."""

MOST_MS = int(sys.float_info.max)
"""A larger number reads as infinity wherever numbers are doubles."""


IdWarnings = tuple[tuple[str, str, str], ...]
"""Code, property and message of each problem of an event's ids."""


class Warned(dict[str, Any]):
    """An event with warnings that it does not show.

    Args:
        event: its properties.
        message: why it was made without the context provider's; "" if it was not.
        ids: the warnings for its ids before they were redacted; None if they were not.
    """

    def __init__(
        self, event: Mapping[str, Any], message: str, ids: IdWarnings | None = None
    ) -> None:
        super().__init__(event)
        self.message = message
        self.ids = ids


def is_plain(event: Mapping[str, Any]) -> bool:
    """Return whether an event's required properties are valid as they are.

    Only exact types count, so that no method of a value runs; for any other event `coerce` and
    `problems` decide.
    """
    get = event.get
    account, user, at, action = get("accountId"), get("userId"), get("createdAt"), get("action")
    return (
        type(account) is str
        and type(user) is str
        and type(action) is str
        and type(get("sessionId")) is str
        and (
            (type(at) is int and -MOST_MS <= at <= MOST_MS)
            or (type(at) is float and at - at == 0.0)
        )
        and "" not in (account, user, action, event["sessionId"])
    )


def coerce(event: dict[str, Any]) -> None:
    """Convert the required properties, in place, to types that the endpoint accepts; never raise.

    `accountId` and `userId` given as `int` or `uuid.UUID` become strings, `createdAt` given as an
    aware `datetime` becomes epoch milliseconds, and subclasses of the plain types, or proxies of
    them, become the plain types. Any other value stays, and `problems` reports it.

    >>> at = datetime.datetime.fromtimestamp(1, datetime.timezone.utc)
    >>> event = {"accountId": 7, "createdAt": at}
    >>> coerce(event); event
    {'accountId': '7', 'createdAt': 1000}
    """
    for name in REQUIRED:
        if name in event:
            convert = _as_time if name == "createdAt" else _as_id if name in IDS else _as_text
            try:
                event[name] = convert(event[name])
            except unless_interrupt(Exception):  # the value's own methods
                continue


def _as_text(value: Any) -> Any:
    if issubclass(type(value), str):
        return str.__str__(value)  # the text itself, whatever a subclass makes of `str(value)`
    return str.__str__(str(value)) if isinstance(value, str) else value


def _as_id(value: Any) -> Any:
    kind = type(value)
    if issubclass(kind, int) and kind is not bool:
        return _digits(value)  # an IntEnum's own text is its name on some versions
    if issubclass(kind, str) or isinstance(value, bool):
        return _as_text(value)
    return str(value) if isinstance(value, (int, uuid.UUID)) else _as_text(value)


def _digits(value: int) -> str:
    try:
        return int.__repr__(value)
    except ValueError:  # more digits than sys.get_int_max_str_digits() allows
        return hex(value)


def _as_time(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value if value.utcoffset() is None else round(value.timestamp() * 1000)
    plain = _plain_number(value)
    return value if plain is None else plain


def _plain_number(value: Any) -> int | float | None:
    """Return an int or float, or a subclass's plain value; None for a bool or anything else."""
    kind = type(value)
    if kind is int or kind is float:
        return value  # type: ignore[no-any-return]
    if kind is bool:
        return None
    if issubclass(kind, int):
        return int.__add__(value, 0)
    return float.__pos__(value) if issubclass(kind, float) else None


def problems(event: Mapping[str, Any]) -> list[Problem]:
    """Return the problems for which the endpoint drops an event; none if it is valid.

    >>> problems({"accountId": "a", "userId": "u", "createdAt": 1, "action": "x", "sessionId": "s"})
    []
    >>> [(p.code, p.property) for p in problems({"accountId": 5, "createdAt": "now", "action": ""})]
    ... # doctest: +NORMALIZE_WHITESPACE
    [('wrong_type', 'accountId'), ('missing', 'userId'), ('wrong_type', 'createdAt'),
     ('empty', 'action'), ('missing', 'sessionId')]
    """
    if is_plain(event):
        return []
    found = []
    for name in REQUIRED:
        if name not in event:
            message = f"{name} is missing: {_REQUIRED[name][1]}"
            found.append(Problem("missing", name, message, event))
            continue
        problem = problem_of(event, name)
        if problem is not None:
            found.append(problem)
    return found


def problem_of(event: Mapping[str, Any], name: str) -> Problem | None:
    """Return the problem of a required property that an event has; None if it is valid."""
    judge = _time_problem if name == "createdAt" else _name_problem
    return judge(event, name)


def _name_problem(event: Mapping[str, Any], name: str) -> Problem | None:
    value = event[name]
    if issubclass(type(value), str):
        if str.__len__(value):
            return None
        return Problem("empty", name, f"{name} is empty; expected a non-empty string", event)
    actual = repr(value) if value is None or type(value) in (bool, float) else _kind(value)
    return Problem("wrong_type", name, f"{name} is {actual}; expected {_REQUIRED[name][0]}", event)


def _time_problem(event: Mapping[str, Any], name: str) -> Problem | None:
    value = event[name]
    if issubclass(type(value), datetime.datetime):
        message = f"{name} is a datetime without a time zone or offset; expected an aware one"
        return Problem("naive_datetime", name, message, event)
    at = _plain_number(value)
    if at is None:
        message = f"{name} is {_kind(value)}; expected {_REQUIRED[name][0]}"
        return Problem("wrong_type", name, message, event)
    if not -MOST_MS <= at <= MOST_MS:  # also NaN, which compares with nothing
        actual = repr(at) if type(at) is float else "an int beyond the range of floats"
        return Problem("not_finite", name, f"{name} is {actual}; expected a finite number", event)
    return None


def _kind(value: Any) -> str:
    return f"of type {type(value).__name__}"


def warnings(event: Mapping[str, Any]) -> list[Problem]:
    """Return the warnings for a valid event; usually none.

    Args:
        event: one without `problems`.

    >>> event = {"accountId": "a", "userId": "u", "createdAt": 10**12, "action": "feature",
    ...          "sessionId": "s", "feature": "export", "total": "3"}
    >>> [(p.code, p.property) for p in warnings(event)]
    [('expected', 'module'), ('expected_type', 'total')]
    """
    action = _as_text(event["action"])
    found: list[Problem] = []
    if action not in ACTIONS:
        if known := nearest_action(action):
            message = f"action {_quoted(action)} is not known; did you mean {known!r}?"
            found.append(Problem("looks_misspelt", "action", message, event))
    elif action != "feature" or not _is_plain_feature(event):
        found = _broken(event, action)
    ids: IdWarnings | None = None
    if isinstance(event, Warned):
        ids = event.ids
        if event.message:
            found.insert(0, Problem("context_provider", "", event.message, event))
    # An application's own formatter may leave them out: a capture, or the endpoint, judges that.
    if ids is None and "accountId" in event and "userId" in event:
        account, user = event["accountId"], event["userId"]
        if type(account) is not str or type(user) is not str:
            account, user = _as_text(account), _as_text(user)
        ids = id_warnings(account, user)
    for code, name, message in ids or ():
        found.append(Problem(code, name, message, event))
    at = _plain_number(event["createdAt"])
    if at is not None and at < EARLIEST_MS:
        message = f"createdAt is {at}, which looks like seconds; expected milliseconds"
        found.append(Problem("looks_like_seconds", "createdAt", message, event))
    return found


@lru_cache(maxsize=1_024)
def nearest_action(action: str) -> str | None:
    """Return the known action that another one is nearly; None if it is clearly another.

    >>> nearest_action("identify_user"), nearest_action("features"), nearest_action("sessionIdle")
    ('identifyUser', 'feature', None)
    """
    return nearest(action, ACTIONS)


_E_MAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@.]+")


@lru_cache(maxsize=16_384)
def id_warnings(account: str, user: str, hidden: Set[str] = frozenset()) -> IdWarnings:
    """Return code, property and message of what is probably wrong with a valid event's ids.

    Equal numbers are not reported: the rows of two tables may well have the same one.

    Args:
        account, user: the ids.
        hidden: the properties whose values a message may not show.

    >>> [found[:2] for found in id_warnings("acme", "None")]
    [('looks_anonymous', 'userId')]
    >>> [found[:2] for found in id_warnings("ann@acme.example", "ann")]
    [('looks_like_user', 'accountId')]
    >>> id_warnings("7", "7")
    ()
    """
    found = []
    for name, value in zip(IDS, (account, user), strict=True):
        if value.strip().lower() in CATCH_ALL:
            kind = KINDS_OF_ID[name]
            actual = "" if name in hidden else f"is {value.strip()!r}, which "
            message = (
                f"{name} {actual}names nobody: Freshsuccess shows "
                f"it as one more {kind}; expected the id of one {kind}, or no event"
            )
            found.append(("looks_anonymous", name, message))
    if not found or found[0][1] != "accountId":
        actual = ""
        if _E_MAIL.fullmatch(account.strip()):
            actual = "is an e-mail address"
        elif account == user and not account.isdecimal():
            actual = "equals userId"
        if actual:
            message = f"accountId {actual}; expected the id of the account that the user belongs to"
            found.append(("looks_like_user", "accountId", message))
    return tuple(found)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}...")


_MAX_QUOTED = 40


def _broken(event: Mapping[str, Any], action: str) -> list[Problem]:
    found = []
    needed, optional = ACTIONS[action]
    for name in needed + optional:
        kind = PROPERTIES[name].kind
        types, words = KINDS[kind]
        if name not in event:
            if name in needed:
                message = f"action {action!r} is expected to have {name}, {words}"
                found.append(Problem("expected", name, message, event))
        elif not _fits(event[name], types):
            actual = "not finite" if kind == "number" and _is_float(event[name]) else None
            message = f"{name} is {actual or _kind(event[name])}; expected {words}"
            found.append(Problem("expected_type", name, message, event))
        elif kind == "object" and type(event[name]) is dict:
            found += _time_warnings(event, name)
    return found


def _time_warnings(event: Mapping[str, Any], name: str) -> list[Problem]:
    """Return a warning for the first time in an object: the endpoint gets a text."""
    for key, value in event[name].copy().items():
        if issubclass(type(value), datetime.date) and type(key) is str:
            message = f"{name}.{key} is {_time_kind(value)}, sent as text; expected milliseconds"
            return [Problem("expected_type", name, message, event)]
    return []


def _time_kind(value: datetime.date) -> str:
    if isinstance(value, datetime.datetime) and value.tzinfo is None:
        return "a datetime without a time zone or offset"
    return _kind(value)


def _fits(value: Any, types: Any) -> bool:
    try:
        if not isinstance(value, types) or isinstance(value, bool):
            return False
        # NaN and the infinities are sent as null, which is not a number.
        return not _is_float(value) or math.isfinite(value)
    except unless_interrupt(Exception):  # the value's own methods
        return False


def _is_float(value: Any) -> bool:
    return issubclass(type(value), (float, Decimal))


def _is_plain_feature(event: Mapping[str, Any]) -> bool:
    # By exact types; for any other event `_broken` decides.
    get = event.get
    total = get("total", 1)
    return (
        type(get("feature")) is str
        and type(get("module")) is str
        and type(get("product", "")) is str
        and (type(total) is int or (type(total) is float and total - total == 0.0))
    )
