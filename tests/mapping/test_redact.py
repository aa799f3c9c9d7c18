"""`redact` and `excluded`: what leaves of an event, and of whom there is none."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import hmac
import json
import logging
import re
import uuid
from collections import UserDict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fslog import EventFormatter, FreshsuccessHandler, InvalidEvent, Problem
from fslog.capture import switch_off
from fslog.errors import ExcludedEvent
from fslog.mapping.encoding import encode
from fslog.mapping.privacy import HASH_KEY, hash_key, hashed, read_redact
from fslog.mapping.sessions import by_window

KEY = "correct horse battery staple"
WHO = {"accountId": "acme", "userId": "ann"}
CREATED = 1_790_000_000.5


def digest(text: str) -> str:
    """Return a hash as the guide defines it."""
    return hmac.new(KEY.encode(), text.encode(), hashlib.sha256).hexdigest()


def record(**extra: Any) -> logging.LogRecord:
    """Return the record of an explicit event."""
    made = logging.LogRecord("app", 20, "app.py", 7, "said", (), None)
    made.created = CREATED
    made.__dict__.update({**WHO, "action": "pageView", **extra})
    return made


def sent(formatter: EventFormatter, made: logging.LogRecord) -> Any:
    """Return the event of a record as a reader of its line gets it."""
    event = formatter.event(made)
    assert event is not None
    return json.loads(encode(event))


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HASH_KEY, KEY)


pytestmark = pytest.mark.usefixtures("key")


def test_properties_are_dropped_hashed_and_kept() -> None:
    """Each as `redact` says, all others as they are."""
    formatter = EventFormatter(
        redact={"email": "drop", "userId": "hash", "ip": "drop", "plan": "keep"}
    )
    event = sent(formatter, record(email="ann@acme.example", ip="::1", plan="gold", page="start"))
    assert event.pop("sessionId") == by_window("acme", digest("ann"), CREATED * 1000)
    assert event == {
        "accountId": "acme",
        "userId": digest("ann"),
        "action": "pageView",
        "plan": "gold",
        "page": "start",
        "createdAt": int(CREATED * 1000),
    }


class Colour(str, enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("ann", "ann"),
        ("zoë", "zoë"),
        (Colour.RED, "red"),
        (7, "7"),
        (7.5, "7.5"),
        (True, "true"),
        (uuid.UUID(int=5), str(uuid.UUID(int=5))),
        (b"ann", "ann"),
        (["a", 1], '["a",1]'),
        ({"a": "b"}, '{"a":"b"}'),
        ("a\ud800", "a\N{REPLACEMENT CHARACTER}"),
        (SimpleNamespace(a=1), "namespace(a=1)"),
    ],
    ids=repr,
)
def test_the_text_that_is_hashed(value: Any, text: str) -> None:
    """That of a string, else the JSON of what would be sent, in UTF-8."""
    event = sent(EventFormatter(redact={"x": "hash"}), record(x=value))
    assert event["x"] == digest(text) == hashed(text, KEY.encode())


@pytest.mark.parametrize("value", ["", None, float("nan")])
def test_what_names_nobody_is_not_hashed(value: Any) -> None:
    """An empty string and null stay: their hash would say the same."""
    event = sent(EventFormatter(redact={"x": "hash"}), record(x=value))
    assert event["x"] in ("", None)


def test_ids_are_hashed_as_they_would_be_sent() -> None:
    """An int or a UUID as its text: the hash is the same in every log call."""
    formatter = EventFormatter(redact={"accountId": "hash", "userId": "hash"})
    unique = uuid.UUID(int=7)
    event = sent(formatter, record(accountId=unique, userId=7))
    assert (event["accountId"], event["userId"]) == (digest(str(unique)), digest("7"))


@dataclasses.dataclass
class Person:
    name: str
    email: str


DETAILS = {"name": "Ann", "email": "ann@acme.example"}


@pytest.mark.parametrize(
    "details",
    [DETAILS, UserDict(DETAILS), Person(**DETAILS), type("Odd", (dict,), {})(DETAILS)],
    ids=lambda value: type(value).__name__,
)
def test_a_path_leads_into_a_property(details: Any) -> None:
    """Of any type that is sent as an object; the application's value stays as it is."""
    formatter = EventFormatter(redact={"details.email": "drop", "details.name": "hash"})
    event = sent(formatter, record(details=details))
    assert event["details"] == {"name": digest("Ann")}
    assert details in (DETAILS, Person(**DETAILS))


def test_a_name_holds_in_details_as_well() -> None:
    """Who drops `email` does not send it in the details of a person, unless that is said."""
    details = {"email": "ann@acme.example", "name": "Ann", "userId": "ann"}
    formatter = EventFormatter(redact={"email": "drop", "name": "hash", "userId": "hash"})
    event = sent(formatter, record(details=details, email="ann@acme.example"))
    assert "email" not in event
    assert event["details"] == {"name": digest("Ann"), "userId": "ann"}
    formatter = EventFormatter(redact={"email": "drop", "details.email": "keep"})
    event = sent(formatter, record(details=details, email="ann@acme.example"))
    assert "email" not in event
    assert event["details"] == details


def test_a_path_leads_into_each_item_of_a_list() -> None:
    """Deeper ones, too, and lists of lists; a name with dots is found as it is."""
    formatter = EventFormatter(redact={"a.b.c": "drop"})
    inner = {"b": [{"c": 1, "d": 2}, [({"c": 1, "d": 3},)], 4]}
    event = sent(formatter, record(a=(inner, {"b.c": 1, "e": 5})))
    assert event["a"] == [{"b": [{"d": 2}, [[{"d": 3}]], 4]}, {"e": 5}]
    made = record()
    made.__dict__.update({"a.b.c": 1, "a.b": {"c": 1, "d": 6}})
    event = sent(formatter, made)
    assert "a.b.c" not in event
    assert event["a.b"] == {"d": 6}


def test_values_that_contain_themselves() -> None:
    """They are sent as they would be without `redact`; nothing hangs or raises."""
    endless: list[Any] = [{"b": 1, "c": 2}]
    endless.append(endless)
    event = sent(EventFormatter(redact={"a.b": "drop"}), record(a=endless))
    assert event["a"][0] == {"c": 2}
    assert '"b"' not in json.dumps(event)


def test_a_name_that_is_no_string_is_one_in_the_line() -> None:
    """A key 7 of a nested event is sent as `"7"`, so `redact` finds it by that."""
    made = record(event={7: "secret", "x": {7: "secret", "y": 1}})
    event = sent(EventFormatter(redact={"7": "drop", "x.7": "drop"}), made)
    assert "7" not in event
    assert event["x"] == {"y": 1}


values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=12,
)


def _without(value: Any, path: list[str]) -> Any:
    if isinstance(value, list):
        return [_without(item, path) for item in value]
    if not isinstance(value, dict):
        return value
    first, *rest = path
    if not rest:
        return {name: item for name, item in value.items() if name != first}
    return {name: _without(item, rest) if name == first else item for name, item in value.items()}


@given(values, st.lists(st.sampled_from("abc"), min_size=1, max_size=3))
def test_a_path_agrees_with_its_definition(value: Any, path: list[str]) -> None:
    """For any JSON value: what the path leads to is dropped, and nothing else is."""
    formatter = EventFormatter(redact={".".join(["x", *path]): "drop"})
    before = json.dumps(value)
    assert sent(formatter, record(x=value))["x"] == _without(value, path)
    assert json.dumps(value) == before


def test_rules_fields_context_and_defaults_are_redacted() -> None:
    """Wherever a property is from."""
    formatter = EventFormatter(
        rules=[{"when": {"logger": "shop"}, "event": {"action": "x", "email": "{args.0}"}}],
        fields={"ip": "request.ip"},
        defaults={"region": "eu"},
        redact=dict.fromkeys(("email", "ip", "region"), "hash"),
    )
    made = logging.LogRecord("shop", 20, "app.py", 7, "sold %s", ("a@b.example",), None)
    made.__dict__.update({**WHO, "request": {"ip": "::1"}})
    event = sent(formatter, made)
    assert [event[name] for name in ("email", "ip", "region")] == [
        *(digest("a@b.example"), digest("::1"), digest("eu")),
    ]


@pytest.mark.parametrize("kind", ["window", "idle"])
def test_the_session_is_derived_from_what_leaves(kind: Any) -> None:
    """Else everybody could compute, without the key, which of some users it belongs to."""
    plain = EventFormatter(session=kind).event(record())
    redacted = EventFormatter(session=kind, redact={"userId": "hash"}).event(record())
    given = EventFormatter(session=kind).event(record(userId=digest("ann")))
    assert plain is not None
    assert redacted is not None
    assert given is not None
    assert redacted["sessionId"] == given["sessionId"] != plain["sessionId"]


def test_a_given_session_is_redacted() -> None:
    """One that is derived is no hash of a hash."""
    formatter = EventFormatter(redact={"sessionId": "hash"})
    assert sent(formatter, record(sessionId="s"))["sessionId"] == digest("s")
    assert len(sent(formatter, record())["sessionId"]) == 32


@pytest.mark.parametrize("nobody", ["None", "anonymous"])
def test_ids_are_judged_before_they_are_hashed(nobody: str) -> None:
    """The warning does not show the value."""
    formatter = EventFormatter(redact={"userId": "hash"})
    event = formatter.event(record(userId=nobody))
    assert event is not None
    (warning,) = formatter.warnings(event)
    assert (warning.code, warning.property) == ("looks_anonymous", "userId")
    assert repr(nobody) not in repr(warning)
    assert warning.event == event


def test_equal_numbers_are_no_warning_when_they_are_hashed() -> None:
    """The rows of two tables may well have the same number; their hashes are equal then."""
    formatter = EventFormatter(redact={"accountId": "hash", "userId": "hash"})
    event = formatter.event(record(accountId=7, userId=7))
    assert event is not None
    assert formatter.warnings(event) == []
    event = formatter.event(record(accountId="ann@acme.example"))
    assert event is not None
    assert [one.code for one in formatter.warnings(event)] == ["looks_like_user"]


class Hidden:
    """A value that tells itself when it cannot be read."""

    @property
    def name(self) -> str:
        raise LookupError("secret-value is not known")


def problems_of(formatter: EventFormatter, made: logging.LogRecord) -> tuple[Problem, ...]:
    """Return the problems of a record's invalid event."""
    with pytest.raises(InvalidEvent) as caught:
        formatter.event(made)
    return caught.value.problems


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        ({}, {"accountId": ""}),
        ({}, {"accountId": "", "details": {"email": "secret-value"}}),
        ({}, {"userId": 1234.0625}),
        ({"fields": {"userId": "user.name"}}, {"user": Hidden()}),
        ({"fields": {"x": "user.name"}}, {"user": Hidden()}),
        (
            {"rules": [{"when": {"message": "said", "user.name": "x"}, "event": {"action": "x"}}]},
            {"user": Hidden()},
        ),
        ({"excluded": lambda event: 1 // 0}, {}),
        ({"plan": {"version": 1, "unplanned": "refuse", "events": {}}}, {}),
    ],
)
def test_a_problem_does_not_show_what_is_redacted(
    arguments: dict[str, Any], extra: dict[str, Any]
) -> None:
    """Neither its message nor its event, which is what would have been sent."""
    formatter = EventFormatter(
        redact={"userId": "hash", "email": "drop", "details.email": "drop"}, **arguments
    )
    made = record(email="secret-value", **{"userId": "secret-value", **extra})
    if "user" in extra:
        del made.userId
    if "rules" in arguments:
        del made.action
    for problem in problems_of(formatter, made):
        assert "secret-value" not in repr(problem)
        assert "1234.0625" not in repr(problem)
        if problem.event is not None:
            assert "email" not in problem.event


def test_without_redact_problems_show_what_they_did() -> None:
    """The text of an exception, and the value."""
    formatter = EventFormatter(fields={"userId": "user.name"})
    made = record(user=Hidden())
    del made.userId
    (problem,) = problems_of(formatter, made)
    assert "LookupError: secret-value" in problem.message


def test_a_provider_that_fails_shows_no_text_of_its_exception() -> None:
    """It may be about the user whose id is hashed."""

    def fail() -> Any:
        raise LookupError("secret-value is not known")

    formatter = EventFormatter(context_provider=fail, redact={"userId": "hash"})
    event = formatter.event(record())
    assert event is not None
    (warning,) = formatter.warnings(event)
    assert warning.message == "context_provider failed: LookupError"
    formatter = EventFormatter(context_provider=fail, extras="declared")
    event = formatter.event(record(x=1))
    assert event is not None
    assert "x" not in event
    assert [one.code for one in formatter.warnings(event)] == ["context_provider"]


@pytest.mark.parametrize(
    ("redact", "words"),
    [
        ({"email": "remove"}, ["redact.email", "'remove'", "'drop', 'hash', 'keep'"]),
        ({"email": "dorp"}, ["did you mean 'drop'?"]),
        ({"email": True}, ["redact.email", "bool"]),
        ({"email": None}, ["redact.email", "None"]),
        ({"": "drop"}, ["redact", "empty key"]),
        ({7: "drop"}, ["redact", "7", "string"]),
        ({"details.": "drop"}, ["redact.details.", "empty part"]),
        ({"userId": "drop"}, ["redact.userId", "'drop'", "'hash' or 'keep'"]),
        ({"sessionId": "drop"}, ["redact.sessionId", "'hash' or 'keep'"]),
        ({"createdAt": "hash"}, ["redact.createdAt", "'hash'", "'keep'"]),
        ({"action": "hash"}, ["redact.action", "'hash'", "'keep'"]),
        ({"a": "drop", "a.b": "hash"}, ["redact.a.b", "no effect", "a is 'drop'"]),
        (["email"], ["redact", "list", "mapping"]),
    ],
    ids=repr,
)
def test_a_mistake_in_redact_is_an_error(redact: Any, words: list[str]) -> None:
    """It names the property, the value and what is allowed."""
    with pytest.raises((TypeError, ValueError)) as caught:
        EventFormatter(redact=redact)
    for word in words:
        assert word in str(caught.value)


def test_a_hash_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to make one; without a hash no key is needed."""
    monkeypatch.delenv(HASH_KEY)
    with pytest.raises(ValueError, match=r"redact\.userId is 'hash'.*FSLOG_HASH_KEY.*secrets"):
        EventFormatter(redact={"userId": "hash"})
    EventFormatter(redact={"email": "drop", "userId": "keep"})


def test_a_handler_that_is_off_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it needs no other keys: on a laptop, and in tests. One that is on needs it."""
    monkeypatch.delenv(HASH_KEY)
    given: dict[str, Any] = {"auth_key": "a", "api_key": "b", "redact": {"userId": "hash"}}
    handler = FreshsuccessHandler(enabled=False, **given)
    event = handler.formatter.event(record())
    assert event is not None
    assert re.fullmatch("[0-9a-f]{64}", event["userId"])
    end = switch_off()
    FreshsuccessHandler(**given)
    end()
    with pytest.raises(ValueError, match=HASH_KEY):
        FreshsuccessHandler(**given)


def test_the_key_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is mounted, with a newline at its end: the same hash."""
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    monkeypatch.delenv(HASH_KEY)
    monkeypatch.setenv(f"{HASH_KEY}_FILE", str(path))
    assert sent(EventFormatter(redact={"userId": "hash"}), record())["userId"] == digest("ann")


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({HASH_KEY: "s3cret-short"}, ["FSLOG_HASH_KEY holds 12 bytes", "16"]),
        ({f"{HASH_KEY}_FILE": "s3cret/no/file"}, ["FSLOG_HASH_KEY_FILE", "No such file"]),
        ({f"{HASH_KEY}_FILE": "s3cret\0"}, ["FSLOG_HASH_KEY_FILE", "cannot be read"]),
        ({f"{HASH_KEY}_FILE": "s3cret", HASH_KEY: "s3cret"}, ["both set"]),
    ],
    ids=repr,
)
def test_a_wrong_key_is_not_shown(environ: dict[str, str], words: list[str]) -> None:
    """Neither is the path of its file, which may be the key by mistake."""
    with pytest.raises(ValueError, match=HASH_KEY) as caught:
        hash_key(environ)
    for word in words:
        assert word in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_key_is_shown_nowhere() -> None:
    """Neither by the handler nor by its formatter."""
    handler = FreshsuccessHandler(
        auth_key="a", api_key="b", enabled=False, redact={"userId": "hash"}
    )
    for one in (handler, handler.formatter):
        assert KEY not in repr(one)
        assert KEY not in str(one)
    assert KEY not in repr(handler.stats())


# excluded


def is_excluded(excluded: Any, **extra: Any) -> bool:
    """Return whether the event of a log call is excluded."""
    formatter = EventFormatter(excluded=excluded, redact={"userId": "hash"})
    made = record(**extra)
    try:
        formatter.allowed_event(made)
    except ExcludedEvent:
        assert formatter.event(made) is None
        assert formatter.format(made) == ""
        assert not formatter.filter(made)
        return True
    return False


@pytest.mark.parametrize(
    ("excluded", "extra", "expected"),
    [
        ({"users": ["ann"]}, {}, True),
        ({"users": ["bob"]}, {}, False),
        ({"users": ["Ann"]}, {}, False),
        ({"accounts": ["acme"]}, {}, True),
        ({"accounts": ["ann"], "users": ["acme"]}, {}, False),
        ({"accounts": ["x"], "users": ["ann"]}, {}, True),
        ({"users": [7]}, {"userId": 7}, True),
        ({"users": ["7"]}, {"userId": 7}, True),
        ({"users": [uuid.UUID(int=7)]}, {"userId": str(uuid.UUID(int=7))}, True),
        ({"users": ["*@staff.example"]}, {"userId": "ann@staff.example"}, True),
        ({"users": ["*@staff.example", "bob"]}, {"userId": "bob"}, True),
        ({"users": ["*@staff.example"]}, {"userId": "ann@acme.example"}, False),
        ({"accounts": ["test-?"]}, {"accountId": "test-1"}, True),
        ({"accounts": ["test-?"]}, {"accountId": "test-12"}, False),
        ({"users": ["an[mn]"]}, {}, True),
        ({"users": []}, {}, False),
        ({"users": None}, {}, False),
        ({}, {}, False),
        (None, {}, False),
        (lambda event: event["userId"] == "ann", {}, True),
        (lambda event: event.get("consent") is False, {"consent": False}, True),
        (lambda event: event.get("consent") is False, {"consent": True}, False),
        (lambda event: None, {}, False),
    ],
)
def test_who_is_excluded(excluded: Any, extra: dict[str, Any], expected: bool) -> None:
    """By the ids as they would be sent, before they are hashed; globs match whole ids."""
    assert is_excluded(excluded, **extra) is expected


def test_the_callable_gets_the_event_and_cannot_change_it() -> None:
    """As the log call gives it, checked, without a derived session."""
    seen: list[Mapping[str, Any]] = []

    def look(event: Mapping[str, Any]) -> bool:
        seen.append(dict(event))
        with pytest.raises(TypeError):
            event["userId"] = "bob"  # type: ignore[index]
        return False

    formatter = EventFormatter(excluded=look, redact={"userId": "hash", "x": "drop"})
    assert formatter.event(record(userId=7, x=1))
    assert seen == [
        {**WHO, "userId": "7", "action": "pageView", "x": 1, "createdAt": int(CREATED * 1000)}
    ]


def test_an_invalid_event_is_invalid_before_it_is_excluded() -> None:
    """What it lacks is reported, and not that the callable needs it."""
    formatter = EventFormatter(excluded=lambda event: bool(event["userId"]))
    made = record()
    del made.userId
    assert [one.code for one in problems_of(formatter, made)] == ["missing"]


@pytest.mark.parametrize("lists", [["users", "accounts"], ["accounts", "users"]])
@pytest.mark.parametrize("name", ["accountId", "userId"])
@pytest.mark.parametrize("value", [..., "", None, ["x"], {"x": 1}])
def test_one_of_the_ids_excludes_whatever_the_other_is(
    lists: list[str], name: str, value: Any
) -> None:
    """Nothing is reported of a staff account if the user is missing, or of a wrong type."""
    ids = {"users": [WHO["userId"]], "accounts": [WHO["accountId"]]}
    formatter = EventFormatter(excluded={key: ids[key] for key in lists})
    made = record(**{name: value})
    if value is ...:
        del made.__dict__[name]
    with pytest.raises(ExcludedEvent):
        formatter.allowed_event(made)


class Broken:
    """An object with an attribute that cannot be read."""

    @property
    def plan(self) -> str:
        raise RuntimeError("no connection")


def test_an_id_that_is_a_number_excludes_an_unreadable_event() -> None:
    """Ids are compared as they would be sent, also if the event cannot be completed."""
    fields = {"plan": "account.plan"}
    formatter = EventFormatter(fields=fields, excluded={"users": ["7"]})
    with pytest.raises(ExcludedEvent):
        formatter.allowed_event(record(userId=7, account=Broken()))


def test_a_callable_that_raises_of_an_invalid_event_is_one_of_its_problems() -> None:
    """So it is known that the event may be of an excluded person; it is asked once."""
    asked: list[Any] = []

    def fail(event: Mapping[str, Any]) -> bool:
        asked.append(event["userId"])
        raise LookupError

    found = problems_of(EventFormatter(excluded=fail), record(createdAt="today"))
    assert [one.code for one in found] == ["wrong_type", "exclusion"]
    assert [one.code for one in problems_of(EventFormatter(excluded=fail), record())] == [
        "exclusion"
    ]
    assert len(asked) == 2


def test_a_callable_that_raises_lets_nothing_out() -> None:
    """The event is invalid, so that it is noticed; the exception's text is not shown."""

    def fail(event: Mapping[str, Any]) -> bool:
        raise LookupError(event["userId"])

    (problem,) = problems_of(EventFormatter(excluded=fail), record(userId="secret-value"))
    assert (problem.code, problem.property) == ("exclusion", "")
    assert "LookupError" in problem.message
    assert "secret-value" not in problem.message


async def _coroutine(event: Mapping[str, Any]) -> bool:
    return False


@pytest.mark.parametrize(
    ("excluded", "words"),
    [
        ("app.excluded", ["excluded", "str", "callable", "ext://"]),
        (["ann"], ["excluded", "list", "accounts or users", "callable"]),
        ({"user": ["ann"]}, ["'user'", "accounts or users", "did you mean 'users'?"]),
        ({"users": "ann"}, ["excluded.users", "str", "list of ids"]),
        ({"users": 7}, ["excluded.users", "int", "list of ids"]),
        ({"users": [True]}, ["excluded.users", "True"]),
        ({"users": [None]}, ["excluded.users", "None"]),
        ({"accounts": [""]}, ["excluded.accounts", "empty"]),
        (_coroutine, ["excluded", "coroutine"]),
    ],
)
def test_a_mistake_in_excluded_is_an_error(excluded: Any, words: list[str]) -> None:
    """It names the list, the value and what is allowed."""
    with pytest.raises((TypeError, ValueError)) as caught:
        EventFormatter(excluded=excluded)
    for word in words:
        assert word in str(caught.value)


# The plan


def plan(**properties: Any) -> dict[str, Any]:
    """Return a plan with one event that has some properties."""
    event = {"event": {"action": "pageView"}, "properties": properties}
    return {"version": 1, "events": {"page viewed": event}}


def test_the_plan_redacts_too() -> None:
    """In every event: one that is not planned may have the same property by mistake."""
    formatter = EventFormatter(
        plan=plan(email={"pii": "drop"}, ip={"pii": "hash", "type": "string"}, x={"pii": "keep"}),
        redact={"page": "drop", "x": "keep"},
    )
    event = formatter.event(record(email="e", ip="::1", page="p", x=1))
    assert event is not None
    assert {name: event[name] for name in event.keys() - {*WHO, "createdAt", "sessionId"}} == {
        "action": "pageView",
        "ip": digest("::1"),
        "x": 1,
    }
    assert formatter.warnings(event) == []
    other = formatter.event(record(action="other", email="e"))
    assert other is not None
    assert "email" not in other


def test_a_plan_needs_the_key_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """If one of its properties is hashed."""
    monkeypatch.delenv(HASH_KEY)
    with pytest.raises(ValueError, match=HASH_KEY):
        EventFormatter(plan=plan(ip={"pii": "hash"}))


def test_redact_and_the_plan_may_not_differ() -> None:
    """What was reviewed in the plan is not undone elsewhere."""
    assert read_redact({"ip": "drop"}, {"ip": "drop"}) == {"ip": "drop"}
    with pytest.raises(ValueError, match=r"redact\.ip is 'keep', but pii of ip .* is 'drop'"):
        EventFormatter(plan=plan(ip={"pii": "drop"}), redact={"ip": "keep"})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (plan(ip={"pii": "remove"}), ["properties.ip.pii", "'remove'", "'drop'"]),
        (plan(ip={"pii": None}), ["properties.ip.pii", "None"]),
        (plan(ip={"pii": "drop", "required": True}), ["properties.ip", "required", "'drop'"]),
        (plan(ip={"pii": "hash", "type": "integer"}), ["properties.ip.pii", "64", "an integer"]),
        (plan(ip={"pii": "hash", "maxLength": 40}), ["properties.ip.pii", "64"]),
        (plan(ip={"items": {"pii": "drop"}}), ["items.pii", "no effect"]),
        (plan(userId={"pii": "drop"}), ["userId", "'drop'", "'hash' or 'keep'"]),
        (plan(action={"pii": "hash"}), ["action", "'hash'", "'keep'"]),
        (
            {**plan(ip={"pii": "drop"}), "common": {"ip": {"pii": "hash"}}},
            ["events.page viewed.properties.ip.pii is 'drop'", "common.ip.pii is 'hash'"],
        ),
        (
            {
                "version": 1,
                "common": {"module": {"pii": "hash"}},
                "events": {"left": {"event": {"action": "moduleEnd", "module": "m"}}},
            },
            ["common.module.pii", "module identifies events.left", "'keep'"],
        ),
    ],
    ids=repr,
)
def test_a_mistake_in_pii_is_an_error(given: Any, words: list[str]) -> None:
    """When the plan is read; it names the event, the property and what is allowed."""
    with pytest.raises(ValueError, match="plan") as caught:
        EventFormatter(plan=given)
    for word in words:
        assert word in str(caught.value)


def test_a_pattern_of_hashes_is_allowed() -> None:
    """What a plan says of a property is about what is sent."""
    formatter = EventFormatter(plan=plan(ip={"pii": "hash", "pattern": "^[0-9a-f]{64}$"}))
    event = formatter.event(record(ip="::1"))
    assert event is not None
    assert formatter.warnings(event) == []


# Off by default


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, True),
        ({"redact": {"x": "keep"}}, True),
        ({"excluded": {"users": []}}, True),
        ({"redact": {"x": "drop"}}, False),
        ({"excluded": {"users": ["bob"]}}, False),
        ({"excluded": lambda event: False}, False),
        ({"extras": "declared"}, False),
    ],
)
def test_encoders_are_compiled_unless_something_is_private(
    arguments: dict[str, Any], expected: bool
) -> None:
    """A compiled encoder knows nothing of these arguments, so there is none; else nothing changes.

    The line is then what the formatter makes.
    """
    formatter = EventFormatter(**arguments)
    made = record(page="start")
    compiled: list[Callable[[], None]] = []
    for _ in range(8):
        event = formatter.event(made)
        assert event is not None
        assert formatter.warnings(event) == []
        compile_encoder = formatter.encoders.observe(made, {}, event["action"])
        if compile_encoder is not None:
            compile_encoder()
            compiled.append(compile_encoder)
    assert bool(compiled) is expected
    assert formatter.fast_line is not None
    line = formatter.fast_line(made)
    assert (line is not None) is expected
    assert line in (None, encode(event))
