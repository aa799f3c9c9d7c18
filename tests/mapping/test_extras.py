"""Warnings of secrets and of objects in an event, and `extras: declared`."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import fractions
import logging
import pathlib
import uuid
from collections import OrderedDict, UserDict
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils.functional import SimpleLazyObject
from werkzeug.wrappers import Request

from fslog import EventFormatter, FreshsuccessHandler, Problem, context
from fslog.collector import Collector
from fslog.mapping.extras import _MAX_VALUES

WHO = {"accountId": "acme", "userId": "ann"}
RULE = {"when": {"message": "signed in"}, "event": {"action": "x", "token": "{key}"}}


def record(**extra: Any) -> logging.LogRecord:
    """Return the record of an explicit event."""
    made = logging.LogRecord("app", 20, "app.py", 7, "said", (), None)
    made.created = 1_790_000_000.5
    made.__dict__.update({**WHO, "action": "pageView", **extra})
    return made


def warnings(formatter: EventFormatter, made: logging.LogRecord) -> list[tuple[str, str]]:
    """Return the code and the property of each warning for a record's event."""
    event = formatter.event(made)
    assert event is not None
    found = formatter.warnings(event)
    assert formatter.warnings(event) == found  # what is remembered of names changes nothing
    return [(one.code, one.property) for one in found]


SECRETS = [
    *("password", "passwd", "pwd", "PASSWORD", "Password", "db_password", "userPassword"),
    *("passphrase", "secret", "client_secret", "clientSecret", "token", "access_token"),
    *("accessToken", "refresh-token", "csrftoken", "jwt", "authorization", "Authorization"),
    *("http_authorization", "api_key", "apiKey", "X-API-Key", "apikey", "APIKey", "private_key"),
    *("passcode", "auth_key", "cardNumber", "card_number", "cvv", "iban", "ssn", "X-CSRF", "otp"),
    *("cookie", "cookies", "Set-Cookie", "credential", "credentials", "aws.credentials"),
]
HARMLESS = [
    *("feature", "key", "cache_key", "session_key", "primaryKey", "tokenizer", "secretary", "pass"),
    *("passed", "authors", "cook", "compass", "token_type", "tokenCount", "password_changed_at"),
    *("cookie_consent", "password_strength", "", "_", "7", "ключ"),
]


@pytest.mark.parametrize("name", SECRETS)
def test_a_name_that_looks_like_a_secret(name: str) -> None:
    """Alone, or as a part of a name in snake case, in camel case, or with hyphens."""
    assert warnings(EventFormatter(exclude=[]), record(**{name: "x"})) == [("looks_secret", name)]


@pytest.mark.parametrize("name", HARMLESS)
def test_a_name_that_only_resembles_a_secret(name: str) -> None:
    """A part of a word is no word, and some words say that it is about the secret only."""
    assert warnings(EventFormatter(exclude=[]), record(**{name: "x"})) == []


@pytest.mark.parametrize(
    ("name", "value", "warns"),
    [
        ("tokens", 812, False),
        ("prompt_tokens", 812, False),
        ("tokens_left", 0.5, False),
        ("token_total", Decimal(3), False),
        ("password_hash", 7, False),
        ("prompt_tokens", "812", True),
        ("tokens", ["x"], True),
        ("password", 1234, True),
        ("token", 1.5, True),
        ("password", True, False),
        ("token", None, False),
        ("token", datetime.datetime.now(datetime.timezone.utc), False),
        ("token", "", True),
        ("token", b"x", True),
        ("token", {}, True),
    ],
)
def test_the_type_of_a_secret(name: str, value: Any, warns: bool) -> None:
    """Counts, flags and times are no secrets; a number with the very name may be one."""
    expected = [("looks_secret", name)] if warns else []
    assert warnings(EventFormatter(), record(**{name: value})) == expected


class Colour(enum.Enum):
    RED = "red"


class Text(str):
    __slots__ = ()


@dataclasses.dataclass
class Person:
    name: str


DATA: list[Any] = [
    *("x", 1, 1.5, True, None, float("nan"), Text("x"), Decimal("2.5"), fractions.Fraction(1, 2)),
    *(uuid.UUID(int=1), Colour.RED, b"x", bytearray(b"x"), memoryview(b"x")),
    *(datetime.datetime.now(), datetime.date.today(), datetime.time(), datetime.timedelta(1)),
    *({}, [], (), set(), frozenset(), OrderedDict(a=1), UserDict(a=1)),
    *({"a": 1, "b": [1]}, [{"a": 1}], [[1]], {1: 2}),
]
NO_DATA: list[Any] = [
    *(object(), SimpleNamespace(a=1), Person("Ann"), Request({}), ValueError("x"), print, int),
    *(SimpleLazyObject(lambda: "x"), pathlib.Path("x"), iter([]), range(3)),
]


@pytest.mark.parametrize("value", DATA, ids=lambda value: type(value).__name__)
def test_what_is_data_is_no_warning(value: Any) -> None:
    """JSON's types, what has a form of its own in a line, and containers of these."""
    assert warnings(EventFormatter(), record(x=value)) == []


@pytest.mark.parametrize("value", NO_DATA, ids=lambda value: type(value).__name__)
def test_what_is_no_data_is_a_warning(value: Any) -> None:
    """Its text, or all of its fields, leave: a request, a model instance, a function."""
    assert warnings(EventFormatter(), record(x=value)) == [("not_plain", "x")]


def test_the_message_says_what_is_sent_and_what_to_do() -> None:
    """It has the type, and neither the value nor its text."""
    formatter = EventFormatter()
    event = formatter.event(record(x=SimpleNamespace(a="canary"), y=Person("canary"), token="x"))
    assert event is not None
    messages = [one.message for one in formatter.warnings(event)]
    assert "canary" not in "".join(messages)
    assert "x is of type SimpleNamespace, and its text is sent" in messages[0]
    assert "y is of type Person, and all of its fields are sent" in messages[1]
    assert "token looks like a secret" in messages[2]
    assert "redact: {token: keep}" in messages[2]


def test_one_level_below() -> None:
    """In mappings, in lists, and in mappings in lists; each path once."""
    event = {
        "details": {"token": "x", "user": object(), "deep": {"token": "y"}, "tokens": 3},
        "rows": [object(), object(), {"password": "x"}, {"password": "y"}, {"n": 1}],
    }
    assert warnings(EventFormatter(), record(event=event)) == [
        ("looks_secret", "details.token"),
        ("not_plain", "details.user"),
        ("not_plain", "rows"),
        ("looks_secret", "rows.password"),
    ]
    many = {f"n{number}": 1 for number in range(_MAX_VALUES)}
    assert warnings(EventFormatter(), record(x={**many, "token": "x"})) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"redact": {"token": "keep", "x": "keep", "details.token": "keep"}},
        {"redact": {"token": "hash", "x": "hash", "details.token": "hash"}},
        {"redact": {"token": "drop", "x": "drop", "details": "drop"}},
        {"include": ["token", "x", "details*"]},
        {"defaults": {"token": "t", "x": 1, "details": {}}},
        {"fields": {"token": "a", "x": "b", "details": "c"}},
        {"exclude": ["token", "x", "details"]},
        {
            "plan": {
                "version": 1,
                "events": {
                    "viewed": {
                        "event": {"action": "pageView"},
                        "properties": {"token": {}, "x": {}, "details": {}},
                    }
                },
            }
        },
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_what_the_configuration_names_is_no_warning(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has decided there, and can decide there that a warning is wrong."""
    monkeypatch.setenv("FSLOG_HASH_KEY", "0123456789abcdef")
    made = record(token="t", x=object(), details={"token": "t"})
    if "include" in arguments:
        made.details = {"n": 1}
    formatter = EventFormatter(**arguments)
    event = formatter.event(made)
    assert event is not None
    assert {one.code for one in formatter.warnings(event)} <= {"expected_type"}
    assert len(warnings(EventFormatter(), made)) >= 2


def test_what_a_rule_names_is_no_warning() -> None:
    """What else a rule-made event has is: of the context, say."""
    formatter = EventFormatter(rules=[RULE])
    made = logging.LogRecord("app", 20, "app.py", 7, "signed in", (), None)
    made.__dict__.update({**WHO, "key": "x"})
    assert warnings(formatter, made) == []
    with context.bound(password="x"):
        assert warnings(formatter, made) == [("looks_secret", "password")]


class Hostile(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError


@pytest.mark.parametrize("value", [Hostile(a=1), {"a": Hostile(a=1)}])
def test_values_that_raise(value: Any) -> None:
    """A warning is not worth an event."""
    assert warnings(EventFormatter(), record(x=value)) in ([], [("not_plain", "x")])


@pytest.mark.parametrize(
    ("extra", "compiles"),
    [
        ({"page": "start", "tokens": 3, "password_reset": "sent"}, True),
        ({"page": "start", "tokens": "3"}, False),
        ({"page": "start", "token": "t"}, False),
        ({"page": "start", "password": 1}, False),
        ({"page": "start", "x": object()}, False),
    ],
    ids=["harmless", "tokens", "token", "password", "object"],
)
def test_a_call_with_a_warning_is_never_compiled(
    collector: Collector, extra: dict[str, Any], compiles: bool
) -> None:
    """So each of its events is judged, and the others are as quick as before."""
    told: list[Problem] = []
    handler = FreshsuccessHandler(on_problem=told.append)
    for _ in range(16):
        assert handler.handle(record(**extra))
        assert handler.flush(10)
    assert bool(handler.formatter.encoders.encoders) is compiles
    assert len(told) == (0 if compiles else 16)
    handler.close()


def test_a_compiled_call_that_changes_its_types_is_judged(collector: Collector) -> None:
    """A shape has exact types: with a text instead of a number there is a warning."""
    told: list[Problem] = []
    handler = FreshsuccessHandler(on_problem=told.append)
    for _ in range(16):
        handler.handle(record(tokens=3))
        assert handler.flush(10)
    assert handler.formatter.encoders.encoders
    handler.handle(record(tokens="t"))
    assert [one.code for one in told] == ["looks_secret"]
    handler.close()


# extras: declared


def test_only_what_is_declared_is_sent() -> None:
    """By rules, plan, `include`, `fields`, `defaults` and `redact`; what every event has; and what
    the action has by nature. Of an explicit event, of a rule-made one, and of the context."""
    formatter = EventFormatter(
        extras="declared",
        rules=[{"when": {"message": "sold"}, "event": {"action": "x", "sku": "{sku}"}}],
        plan={
            "version": 1,
            "unplanned": "send",
            "common": {"tier": {}},
            "events": {"viewed": {"event": {"action": "pageView"}, "properties": {"page": {}}}},
        },
        include=["order_*"],
        fields={"shop": "shop_name"},
        defaults={"region": "eu"},
        redact={"lang": "keep", "email": "drop"},
    )
    names = [
        *("sku", "tier", "page", "order_id", "shop", "region", "lang", "email", "total", "other"),
        *("details", "feature"),
    ]
    declared = {"sku", "tier", "page", "order_id", "shop", "region", "lang"}
    required = {*WHO, "action", "createdAt", "sessionId"}
    made = record(**dict.fromkeys(names, 1))
    with context.bound(bound=1, tier=2):
        event = formatter.event(made)
        assert event is not None
        assert set(event) == declared | required
        made = record(event={**dict.fromkeys(names, 1), "action": "feature", "module": "m"})
        event = formatter.event(made)
        assert event is not None
        assert set(event) == declared | required | {"module", "feature", "total"}
        made = logging.LogRecord("app", 20, "app.py", 7, "sold", (), None)
        made.__dict__.update({**WHO, "sku": 1, "event": {"other": 1, "page": 2}})
        event = formatter.event(made)
        assert event is not None
        assert set(event) == required | {"sku", "page", "region", "tier"}


def test_all_extras_are_sent_by_default() -> None:
    """As ever."""
    event = EventFormatter().event(record(other=1))
    assert event is not None
    assert event["other"] == 1


def test_a_problem_shows_only_what_is_declared() -> None:
    """What is not sent is not shown."""
    told: list[Problem] = []
    handler = FreshsuccessHandler(
        auth_key="a",
        api_key="b",
        endpoint="http://127.0.0.1:9",
        extras="declared",
        on_problem=told.append,
    )
    handler.handle(record(userId="", other="canary"))
    handler.close()
    assert [one.code for one in told] == ["empty"]
    assert "canary" not in repr(told)


def test_a_mistake_in_extras_is_an_error() -> None:
    """It says what is allowed."""
    with pytest.raises(ValueError, match=r"extras is 'declard'; .*did you mean 'declared'\?"):
        EventFormatter(extras="declard")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="extras"):
        EventFormatter(extras=["a"])  # type: ignore[arg-type]
