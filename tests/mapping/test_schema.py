"""Which events the endpoint accepts, and the problems of the others."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import enum
import json
import math
import sys
import uuid
from collections import ChainMap
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fslog.errors import Problem
from fslog.mapping import schema

UTC = datetime.timezone.utc
NOW = 1_767_225_600_000
FIVE = {"accountId": "acme", "userId": "ann", "createdAt": NOW, "action": "x", "sessionId": "s1"}
NAMES = ["accountId", "userId", "action", "sessionId"]

# EVENT_API, "Actions": property, kind, whether the table lets it be absent.
TABLE = {
    "feature": [
        ("feature", "string", False),
        ("module", "string", False),
        ("product", "string", True),
        ("total", "number", True),
    ],
    "moduleEnd": [
        ("module", "string", False),
        ("timeSpent", "number", False),
        ("product", "string", True),
    ],
    "sessionSync": [("activeDuration", "number", False)],
    "identifyUser": [("details", "object", False)],
    "identifyAccount": [("details", "object", False)],
}
RIGHT = {"string": "reports", "number": 3, "object": {"tier": "gold"}}
EACH = [(action, *row) for action, rows in TABLE.items() for row in rows]


def right(action: str) -> dict[str, Any]:
    """Return an event with all properties of the tables, of their kinds."""
    found = {name: RIGHT[kind] for name, kind, _ in TABLE.get(action, ())}
    return {**FIVE, "action": action, **found}


def said(found: list[Problem]) -> list[tuple[str, str]]:
    return [(problem.code, problem.property) for problem in found]


def assert_explained(problem: Problem, event: Mapping[str, Any]) -> None:
    """A problem has the event, and a message about its property that JSON can encode."""
    assert problem.event is event
    assert problem.property in problem.message
    assert problem.message.strip() == problem.message
    parts = dataclasses.asdict(dataclasses.replace(problem, event=None))
    assert json.loads(json.dumps(parts, allow_nan=False)) == parts
    json.dumps(parts, ensure_ascii=False).encode()


# The five


def test_the_vocabulary_is_the_tables() -> None:
    """The five required properties in the table's order, and the five known actions."""
    assert schema.REQUIRED == ("accountId", "userId", "createdAt", "action", "sessionId")
    assert set(TABLE) == set(schema.ACTIONS)


@pytest.mark.parametrize("at", [NOW, float(NOW), NOW + 0.25, 0, -1.5e12, 10**13, 10**308, 1e308])
def test_the_five_alone_are_a_valid_event(at: float) -> None:
    """An event needs no more; any finite number is a time."""
    assert schema.problems({**FIVE, "createdAt": at}) == []


@pytest.mark.parametrize("name", schema.REQUIRED)
def test_each_of_the_five_is_required(name: str) -> None:
    """Without one of them the event is invalid, and the message says where to give it."""
    event = {key: value for key, value in FIVE.items() if key != name}
    (problem,) = schema.problems(event)
    assert said([problem]) == [("missing", name)]
    assert "missing" in problem.message
    assert "give it" in problem.message or "expected" in problem.message
    assert_explained(problem, event)


def test_an_empty_event_lacks_all_five() -> None:
    """Every problem is listed at once, in the table's order."""
    assert said(schema.problems({})) == [("missing", name) for name in schema.REQUIRED]


WRONG_NAMES = [
    (None, "wrong_type", "None"),
    (True, "wrong_type", "True"),
    (False, "wrong_type", "False"),
    ("", "empty", "empty"),
    (math.nan, "wrong_type", "nan"),
    (math.inf, "wrong_type", "inf"),
    (-math.inf, "wrong_type", "-inf"),
    (7, "wrong_type", "int"),
    (0, "wrong_type", "int"),
    (1.5, "wrong_type", "1.5"),
    (Decimal(7), "wrong_type", "Decimal"),
    ([], "wrong_type", "list"),
    (["acme"], "wrong_type", "list"),
    ({"id": "acme"}, "wrong_type", "dict"),
    (("acme",), "wrong_type", "tuple"),
    (b"acme", "wrong_type", "bytes"),
    (uuid.UUID(int=7), "wrong_type", "UUID"),
    (datetime.datetime(2026, 1, 1), "wrong_type", "datetime"),
    (object(), "wrong_type", "object"),
    (str, "wrong_type", "type"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("value", "code", "came"), WRONG_NAMES)
def test_a_wrong_name_is_invalid(name: str, value: Any, code: str, came: str) -> None:
    """Each of the four strings has an error with the type and what is expected."""
    event = {**FIVE, name: value}
    (problem,) = schema.problems(event)
    assert said([problem]) == [(code, name)]
    assert f" {came};" in problem.message
    assert "expected" in problem.message
    assert_explained(problem, event)


WRONG_TIMES = [
    (None, "wrong_type", "NoneType"),
    (True, "wrong_type", "bool"),
    (False, "wrong_type", "bool"),
    ("", "wrong_type", "str"),
    ("1767225600000", "wrong_type", "str"),
    ("2026-01-01T00:00:00Z", "wrong_type", "str"),
    (math.nan, "not_finite", "nan"),
    (math.inf, "not_finite", "inf"),
    (-math.inf, "not_finite", "-inf"),
    ([NOW], "wrong_type", "list"),
    ({}, "wrong_type", "dict"),
    (b"1767225600000", "wrong_type", "bytes"),
    (1j, "wrong_type", "complex"),
    (datetime.date(2026, 1, 1), "wrong_type", "date"),
    (datetime.datetime(2026, 1, 1), "naive_datetime", "datetime"),
    (datetime.timedelta(1), "wrong_type", "timedelta"),
    (object(), "wrong_type", "object"),
]


@pytest.mark.parametrize(("value", "code", "came"), WRONG_TIMES)
def test_a_wrong_time_is_invalid(value: Any, code: str, came: str) -> None:
    """A `createdAt` that is not a finite number has an error with what is expected."""
    event = {**FIVE, "createdAt": value}
    schema.coerce(event)
    (problem,) = schema.problems(event)
    assert said([problem]) == [(code, "createdAt")]
    assert came in problem.message
    assert "expected" in problem.message
    assert_explained(problem, event)


@pytest.mark.parametrize("at", [10**309, -(10**309), 10**5000], ids=["much", "minus", "endless"])
def test_a_time_beyond_all_numbers_of_json_readers_is_invalid(at: int) -> None:
    """An int beyond the range of doubles reads as infinity elsewhere: it is not a time."""
    for event in ({**FIVE, "createdAt": at}, {"createdAt": at}):
        found = [problem for problem in schema.problems(event) if problem.property == "createdAt"]
        assert [problem.code for problem in found] == ["not_finite"]
        assert_explained(found[0], event)


class Text(str):
    """A str subclass, as ORMs and templates make them."""


class Colour(str, enum.Enum):
    RED = "red"


class Whole(int):
    """An int subclass, as ORMs make them."""


class Key(uuid.UUID):
    """A UUID subclass, as database drivers make them."""


class Real(float):
    """A float subclass, as numpy makes them."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["a", " ", "\ud800", "\0", Text("a"), Colour.RED, "a" * 10_000])
def test_any_string_but_the_empty_one_is_a_name(name: str, value: str) -> None:
    """The table requires a string; a subclass of `str` is one."""
    assert schema.problems({**FIVE, name: value}) == []
    schema.warnings({**FIVE, name: value})


def test_an_empty_string_of_a_subclass_is_empty() -> None:
    """A subclass of `str` is checked by its text."""
    assert said(schema.problems({**FIVE, "userId": Text("")})) == [("empty", "userId")]


@pytest.mark.parametrize("at", [Whole(NOW), Real(NOW)])
def test_a_number_of_a_subclass_is_a_time(at: float) -> None:
    """Subclasses of int and float are numbers."""
    assert schema.problems({**FIVE, "createdAt": at}) == []
    assert schema.warnings({**FIVE, "createdAt": at}) == []


def test_a_number_of_a_subclass_must_be_finite_too() -> None:
    """NaN is not a time, whatever its class is."""
    assert said(schema.problems({**FIVE, "createdAt": Real("nan")})) == [
        ("not_finite", "createdAt")
    ]


def slow_problems(event: Mapping[str, Any]) -> set[str]:
    """Return the properties that break EVENT_API's table, in the simplest way."""
    broken = set()
    for name in NAMES:
        if name not in event or not isinstance(event[name], str) or event[name] == "":
            broken.add(name)
    at = event.get("createdAt")
    is_number = isinstance(at, (int, float)) and not isinstance(at, bool)
    if not is_number or at != at or at in (math.inf, -math.inf):
        broken.add("createdAt")
    return broken


hashables = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = (
    st.recursive(
        hashables
        | st.binary(max_size=5)
        | st.dates()
        | st.datetimes()
        | st.uuids()
        | st.decimals(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hashables, inner, max_size=3),
        max_leaves=4,
    )
    | st.datetimes(timezones=st.just(UTC))
    | st.builds(Text, st.text(max_size=3))
    | st.builds(Real, st.floats())
    | st.builds(Whole, st.integers())
    | st.builds(object)
)
mostly_right = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.text(min_size=1, max_size=5) | values for name in NAMES},
        "action": st.sampled_from([*TABLE, "pageView"]) | values,
        "createdAt": st.integers(0, 10**13) | st.floats(0, 1e13) | values,
    },
)
extras = st.dictionaries(
    st.sampled_from([name for rows in TABLE.values() for name, _, _ in rows]) | st.text(max_size=5),
    st.text(max_size=5) | st.integers() | values,
    max_size=5,
)
anything = st.builds(lambda five, more: {**more, **five}, mostly_right, extras)


@given(anything)
@example(FIVE)
@example({**FIVE, "createdAt": True})
@example({"createdAt": sys.float_info.max})
@example({"createdAt": -int(sys.float_info.max)})
def test_an_event_is_invalid_exactly_if_it_breaks_the_table(event: dict[str, Any]) -> None:
    """The quick check and the table agree on any event, property by property; each is explained."""
    found = schema.problems(event)
    assert {problem.property for problem in found} == slow_problems(event)
    assert len(found) == len(slow_problems(event))
    for problem in found:
        assert problem.code not in schema.WARNINGS
        assert_explained(problem, event)


@given(st.dictionaries(hashables, values, max_size=6))
def test_any_dict_is_checked_without_an_error(event: dict[Any, Any]) -> None:
    """For any keys and values, problems are returned and the event is not changed."""
    before = list(event.items())
    assert schema.problems(event)
    assert list(event) == [key for key, _ in before]
    assert all(event[key] is value for key, value in before)


@pytest.mark.parametrize("kind", [MappingProxyType, lambda event: ChainMap({}, event)])
def test_any_mapping_is_checked(kind: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """The checks accept any mapping."""
    assert schema.problems(kind(FIVE)) == []
    assert said(schema.problems(kind({}))) == [("missing", name) for name in schema.REQUIRED]
    assert schema.warnings(kind(right("feature"))) == []


@pytest.mark.parametrize("name", ["product", "details", "module", "total", "anything", "täg"])
@pytest.mark.parametrize("value", [None, True, "", math.nan, [], object(), {"a": {1}}])
def test_further_properties_are_free(name: str, value: Any) -> None:
    """No value of any other property makes an event invalid, nor warns for an unknown action."""
    assert schema.problems({**FIVE, name: value}) == []
    assert schema.warnings({**FIVE, name: value}) == []


# The actions


@pytest.mark.parametrize("action", TABLE)
def test_an_event_of_the_table_has_no_warning(action: str) -> None:
    """A known action with all its properties, or without optional ones, has no warning."""
    event = right(action)
    assert schema.problems(event) == []
    assert schema.warnings(event) == []
    for name, _, optional in TABLE[action]:
        if optional:
            del event[name]
    assert schema.warnings(event) == []


@pytest.mark.parametrize(("action", "name", "kind", "optional"), EACH)
def test_a_missing_property_of_an_action_warns_unless_it_is_optional(
    action: str, name: str, kind: str, optional: bool
) -> None:
    """What public clients always send is expected; its absence never makes an event invalid."""
    event = right(action)
    del event[name]
    assert schema.problems(event) == []
    found = schema.warnings(event)
    assert said(found) == ([] if optional else [("expected", name)])
    for problem in found:
        assert action in problem.message
        assert f"{'an' if kind == 'object' else 'a'} {kind}" in problem.message
        assert_explained(problem, event)


NOT = {
    "string": [None, True, 1, 1.5, math.nan, [], {}, b"x", uuid.UUID(int=1), object()],
    "number": [None, True, False, "", "3", [], {}, b"3", 1j, datetime.timedelta(1), object()],
    "object": [None, True, "", "x", 1, 1.5, [], [("a", 1)], {"a"}, b"x", object()],
}


@pytest.mark.parametrize(("action", "name", "kind", "optional"), EACH)
def test_a_wrong_type_in_an_action_warns(action: str, name: str, kind: str, optional: bool) -> None:
    """A value of another type is a warning, with the type and what is expected."""
    for value in NOT[kind]:
        event = {**right(action), name: value}
        assert schema.problems(event) == []
        found = schema.warnings(event)
        assert said(found) == [("expected_type", name)], value
        assert type(value).__name__ in found[0].message
        assert kind in found[0].message
        assert_explained(found[0], event)


IS = {
    "string": ["", "x", Text("x"), Colour.RED],
    "number": [0, -1, 1.5, Whole(3), Real(1.5), Decimal("1.5"), Fraction(1, 2), 10**30],
    "object": [{}, {"a": 1}, MappingProxyType({}), ChainMap()],
}


@pytest.mark.parametrize(("action", "name", "kind", "optional"), EACH)
def test_every_value_of_the_expected_kind_is_valid(
    action: str, name: str, kind: str, optional: bool
) -> None:
    """A value that is encoded as the JSON type of the table has no warning."""
    for value in IS[kind]:
        assert schema.warnings({**right(action), name: value}) == [], value


@pytest.mark.parametrize(("action", "name", "kind", "optional"), EACH)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, Real("nan"), Decimal("nan")])
def test_a_number_that_becomes_null_warns(
    action: str, name: str, kind: str, optional: bool, value: Any
) -> None:
    """NaN and the infinities are sent as `null`, which is not a number: a warning."""
    event = {**right(action), name: value}
    assert schema.problems(event) == []
    (problem,) = schema.warnings(event)
    assert said([problem]) == [("expected_type", name)]
    assert_explained(problem, event)


@given(st.text(min_size=1).filter(lambda text: not schema.nearest_action(text)), extras)
@example("login", {"total": "many"})
@example("pageView", {})
def test_other_actions_have_no_warning(action: str, more: dict[str, Any]) -> None:
    """An action that is not in the table, nor nearly, has no warning."""
    event = {**more, **FIVE, "action": action}
    assert schema.problems(event) == []
    assert schema.warnings(event) == []


def slow_warnings(event: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the warnings of EVENT_API's second table, in the simplest way."""
    found = []
    for name, kind, optional in TABLE.get(event["action"], ()):
        if name not in event:
            if not optional:
                found.append(("expected", name))
            continue
        value = event[name]
        fits = {
            "string": isinstance(value, str),
            "number": isinstance(value, (int, float, Decimal)) and not isinstance(value, bool),
            "object": isinstance(value, Mapping),
        }[kind]
        if fits and isinstance(value, (float, Decimal)):
            fits = math.isfinite(value)
        if not fits:
            found.append(("expected_type", name))
    return found


@given(st.sampled_from([*TABLE, "pageView"]), extras)
def test_a_warning_is_given_exactly_if_an_action_breaks_the_table(
    action: str, more: dict[str, Any]
) -> None:
    """The quick check and the table agree on any event of any action; each warning is explained."""
    event = {**more, **FIVE, "action": action}
    found = schema.warnings(event)
    assert said(found) == slow_warnings(event)
    for problem in found:
        assert problem.code in schema.WARNINGS
        assert_explained(problem, event)


@pytest.mark.parametrize("at", [1_767_225_600, 1_767_225_600.5, 0, Whole(1), Real(1.5)])
def test_a_time_in_seconds_warns(at: float) -> None:
    """A time of 1970 has the warning that it looks like seconds, and is sent."""
    event = {**FIVE, "createdAt": at}
    assert schema.problems(event) == []
    (problem,) = schema.warnings(event)
    assert said([problem]) == [("looks_like_seconds", "createdAt")]
    assert problem.code in schema.WARNINGS
    assert "seconds" in problem.message
    assert "expected milliseconds" in problem.message
    assert_explained(problem, event)


@pytest.mark.parametrize(
    ("action", "known"),
    [
        *((word, "feature") for word in ("Feature", "FEATURE", "features", "feture", "faeture")),
        *((word, "moduleEnd") for word in ("modulEnd", "moduleend", "module_end", "moduleEnd ")),
        *((word, "sessionSync") for word in ("session-sync", "sesionSync", "sessionsinc")),
        *((word, "identifyUser") for word in ("identify_user", "idetifyUsers", "IdentifyUser")),
        *((word, "identifyAccount") for word in ("identify account", "identifyAcount")),
        (Text("Feature"), "feature"),
    ],
)
def test_an_action_that_is_nearly_a_known_one_warns(action: str, known: str) -> None:
    """Another case, a separator, a letter or two: the event is sent, and the known one is named."""
    event = {**FIVE, "action": action}
    assert schema.problems(event) == []
    (problem,) = schema.warnings(event)
    assert said([problem]) == [("looks_misspelt", "action")]
    assert problem.code in schema.WARNINGS
    assert problem.message.endswith(f"did you mean {known!r}?")
    assert_explained(problem, event)


@pytest.mark.parametrize(
    "action",
    [
        *("login", "sell", "pageViewEnd", "sessionIdle", "sessionEnd", "moduleStart", "identify"),
        *(
            "identifyTeam",
            "track",
            "future",
            "creature",
            "session",
            "module",
            "user",
            "é",
            "x" * 999,
        ),
    ],
)
def test_an_action_that_is_clearly_another_does_not_warn(action: str) -> None:
    """Applications have actions of their own, and the browser library sends two more."""
    assert schema.warnings({**FIVE, "action": action}) == []


@given(st.sampled_from(sorted(TABLE)), st.data())
def test_one_letter_is_always_noticed(action: str, data: st.DataObject) -> None:
    """Whatever letter is missing, added, replaced or transposed, the known action is found."""
    at = data.draw(st.integers(0, len(action) - 1))
    letter = data.draw(st.sampled_from("aexZ"))
    before, here, after = action[:at], action[at], action[at + 1 :]
    for word in (
        before + after,
        before + letter + here + after,
        before + letter + after,
        before + after[:1] + here + after[1:],
    ):
        assert schema.nearest_action(word) == action


NOBODY = [
    *("None", "none", "NULL", "nil", "undefined", "unknown", "Anonymous", "AnonymousUser", "guest"),
    *("0", "-1", "-", "--", "N/A", "nan", " None\n", " ", "(null)", "<nil>", "[object Object]"),
    *("False", "00000000-0000-0000-0000-000000000000"),
]


@pytest.mark.parametrize("name", ["accountId", "userId"])
@pytest.mark.parametrize("value", [*NOBODY, Text("None")])
def test_an_id_that_stands_for_no_user_warns(name: str, value: str) -> None:
    """Text that a template, a framework or a cast makes of None would become a visible user."""
    event = {**FIVE, name: value}
    assert schema.problems(event) == []
    (problem,) = schema.warnings(event)
    assert said([problem]) == [("looks_anonymous", name)]
    assert problem.code in schema.WARNINGS
    assert repr(str(value).strip()) in problem.message
    assert_explained(problem, event)


@pytest.mark.parametrize(
    "value",
    [
        *("1", "00", "10", "-2", "none-such", "nilsson", "Nancy", "nanny", "null.island", "anna"),
        *(
            "true",
            "na",
            "unknown-worlds",
            "guesthouse",
            "root",
            "admin",
            "system",
            "n",
            "x",
            "00-0",
        ),
        "00000000-0000-0000-0000-000000000001",
    ],
)
def test_an_id_that_resembles_such_a_text_is_valid(value: str) -> None:
    """Only the whole text counts: a user may have a similar name or number."""
    for name in ("accountId", "userId"):
        assert schema.warnings({**FIVE, name: value}) == []


@pytest.mark.parametrize(
    ("account", "user", "part"),
    [
        ("ann@acme.example", "ann", "an e-mail address"),
        ("ann@acme.example", "ann@acme.example", "an e-mail address"),
        (" ann@acme.example", "ann", "an e-mail address"),
        ("ann", "ann", "equals userId"),
        ("7a", "7a", "equals userId"),
    ],
)
def test_an_account_that_looks_like_a_user_warns(account: str, user: str, part: str) -> None:
    """An e-mail address, or the user's own id; the address itself is not in the message."""
    event = {**FIVE, "accountId": account, "userId": user}
    (problem,) = schema.warnings(event)
    assert said([problem]) == [("looks_like_user", "accountId")]
    assert problem.code in schema.WARNINGS
    assert part in problem.message
    assert account not in problem.message.replace("an e-mail", "")


@pytest.mark.parametrize(
    ("account", "user"),
    [
        ("acme", "ann@acme.example"),
        ("acme", "Acme"),
        ("7", "7"),
        ("acme@eu", "ann"),
        ("@acme", "ann"),
        ("acme.example", "ann"),
        ("a@b@c.example", "ann"),
        ("Acme @ home.example", "ann"),
    ],
)
def test_other_accounts_do_not_look_like_a_user(account: str, user: str) -> None:
    """A user may be an address, an account may have an @, two tables may count alike."""
    assert schema.warnings({**FIVE, "accountId": account, "userId": user}) == []


def test_both_ids_may_stand_for_no_user() -> None:
    """Each is reported, and that they are equal is not."""
    found = schema.warnings({**FIVE, "accountId": "None", "userId": "None"})
    assert said(found) == [("looks_anonymous", "accountId"), ("looks_anonymous", "userId")]


# Coercion


def coerced(**changes: Any) -> dict[str, Any]:
    event = {**FIVE, **changes}
    assert schema.coerce(event) is None
    return event


class Level(enum.IntEnum):
    HIGH = 7


@pytest.mark.parametrize("name", ["accountId", "userId"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, "7"),
        (0, "0"),
        (-12, "-12"),
        (2**70, "1180591620717411303424"),
        (Whole(7), "7"),
        (Level.HIGH, "7"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (Key(int=8), "00000000-0000-0000-0000-000000000008"),
        ("acme", "acme"),
        (Text("acme"), "acme"),
        (Colour.RED, "red"),
    ],
)
def test_ids_become_strings(name: str, value: Any, expected: str) -> None:
    """An int is sent as its digits, a UUID in its usual spelling, whatever subclass it is."""
    event = coerced(**{name: value})
    assert event == {**FIVE, name: expected}
    assert schema.problems(event) == []


def test_an_id_of_more_digits_than_python_prints_is_still_a_string() -> None:
    """An int too long for `str` does not make the log call fail."""
    event = coerced(userId=10**5000)
    assert schema.problems(event) == []
    assert coerced(userId=10**5000 + 1)["userId"] != event["userId"]


@pytest.mark.parametrize("name", ["accountId", "userId"])
@pytest.mark.parametrize("value", [None, True, False, "", math.nan, math.inf, 1.5, [7], b"7"])
def test_invalid_ids_are_not_converted(name: str, value: Any) -> None:
    """bool, None, "", NaN, infinities and the rest are not changed: `problems` reports them."""
    event = coerced(**{name: value})
    assert event[name] is value
    assert [problem.property for problem in schema.problems(event)] == [name]


@pytest.mark.parametrize("name", ["action", "sessionId"])
@pytest.mark.parametrize("value", [7, uuid.UUID(int=7)])
def test_only_the_two_ids_are_converted(name: str, value: Any) -> None:
    """An action or a session id that is not a string is not converted."""
    event = coerced(**{name: value})
    assert event[name] is value
    assert [problem.property for problem in schema.problems(event)] == [name]


@pytest.mark.parametrize("hours", [0, 14, -12, 5.75])
@pytest.mark.parametrize(("micro", "milli"), [(0, 0), (123_000, 123), (999_000, 999)])
def test_an_aware_datetime_becomes_milliseconds(hours: float, micro: int, milli: int) -> None:
    """The instant counts, whatever the time zone."""
    zone = datetime.timezone(datetime.timedelta(hours=hours))
    at = datetime.datetime(2026, 1, 1, 0, 0, 0, micro, UTC).astimezone(zone)
    event = coerced(createdAt=at)
    assert event["createdAt"] == NOW + milli
    assert type(event["createdAt"]) is int
    assert schema.problems(event) == []


@given(
    st.datetimes(timezones=st.sampled_from([UTC, datetime.timezone(datetime.timedelta(0, -60))]))
)
def test_every_aware_datetime_is_a_time(at: datetime.datetime) -> None:
    """From the year 1 to 9999 the result is less than a millisecond off the instant."""
    since = at - datetime.datetime(1970, 1, 1, tzinfo=UTC)
    milliseconds = coerced(createdAt=at)["createdAt"]
    assert abs(milliseconds - since / datetime.timedelta(milliseconds=1)) < 1


@pytest.mark.parametrize("at", [NOW, NOW + 0.5, True, None, "x", math.nan])
def test_other_values_of_created_at_are_not_converted(at: Any) -> None:
    """A number of milliseconds is not changed; anything else is checked later."""
    assert coerced(createdAt=at)["createdAt"] is at


def test_a_naive_datetime_stays_and_is_invalid() -> None:
    """Its time zone is unknown, and is not guessed."""
    at = datetime.datetime(2026, 1, 1)
    event = coerced(createdAt=at)
    assert event["createdAt"] is at
    assert said(schema.problems(event)) == [("naive_datetime", "createdAt")]


def test_nothing_is_added_to_an_event_that_lacks_what_is_coerced() -> None:
    """A missing property is not added."""
    event: dict[str, Any] = {}
    schema.coerce(event)
    assert event == {}


@given(anything)
def test_coercion_is_idempotent_and_changes_nothing_else(event: dict[str, Any]) -> None:
    """A second coercion changes nothing, other properties stay, a valid event keeps its meaning."""
    before = dict(event)
    valid = not schema.problems(event)
    schema.coerce(event)
    again = dict(event)
    schema.coerce(again)
    assert list(event) == list(before)
    for name, value in before.items():
        assert again[name] is event[name]
        if name not in schema.REQUIRED:
            assert event[name] is value
    if valid:
        assert event == before
        assert schema.problems(event) == []


# Hostile values


class Trap(Exception):
    """Raised by every method of a hostile value."""


def trap(*_: Any, **__: Any) -> Any:
    raise Trap


HOOKS = [
    "__eq__",
    "__ne__",
    "__hash__",
    "__bool__",
    "__len__",
    "__str__",
    "__repr__",
    "__format__",
    "__iter__",
    "__int__",
    "__index__",
    "__float__",
    "__lt__",
    "__gt__",
    "__le__",
    "__ge__",
    "__sub__",
    "__neg__",
    "__abs__",
    "__contains__",
    "__getitem__",
    "__getattr__",
    "utcoffset",
    "timestamp",
    "hex",
    "int",
]


def hostile(base: type, *arguments: Any, **names: Any) -> Any:
    """Return a value of a subclass whose methods and class all raise."""
    kind = type("Hostile", (base,), {"__class__": property(trap)})
    made = kind(*arguments, **names)
    for hook in HOOKS:
        setattr(kind, hook, trap)
    return made


class NoTime(datetime.datetime):
    """As pandas' NaT: a datetime with a zone, and without an instant."""

    def utcoffset(self) -> Any:
        return self

    def timestamp(self) -> float:
        return math.nan


class Proxy:
    """As Django's SimpleLazyObject: its `__class__` is that of its content."""

    def __init__(self, content: Any) -> None:
        self.content = content

    @property
    def __class__(self) -> Any:
        return type(self.content)

    def __str__(self) -> str:
        return str(self.content)


class Array:
    """As numpy's arrays: a comparison has no truth value."""

    def __eq__(self, other: object) -> Any:
        return self

    def __ne__(self, other: object) -> Any:
        return self

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")


class Unhashable(str):
    """A str that compares in its own way, and so has no hash."""

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)


HOSTILE: dict[str, Callable[[], Any]] = {
    "object": lambda: hostile(object),
    "text": lambda: hostile(str, "feature"),
    "empty text": lambda: hostile(str, ""),
    "int": lambda: hostile(int, 7),
    "long int": lambda: hostile(int, 10**400),
    "float": lambda: hostile(float, 1.5),
    "nan": lambda: hostile(float, "nan"),
    "decimal": lambda: hostile(Decimal, 7),
    "dict": lambda: hostile(dict, {"a": 1}),
    "list": lambda: hostile(list, [1]),
    "uuid": lambda: hostile(uuid.UUID, int=7),
    "naive datetime": lambda: hostile(datetime.datetime, 2026, 1, 1),
    "aware datetime": lambda: hostile(datetime.datetime, 2026, 1, 1, tzinfo=UTC),
    "bare tzinfo": lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.tzinfo()),
    "not a time": lambda: NoTime(2026, 1, 1, tzinfo=UTC),
    "signalling nan": lambda: Decimal("sNaN"),
    "proxy of text": lambda: Proxy("feature"),
    "proxy of int": lambda: Proxy(7),
    "proxy of bool": lambda: Proxy(True),
    "proxy of uuid": lambda: Proxy(uuid.UUID(int=7)),
    "proxy of datetime": lambda: Proxy(datetime.datetime(2026, 1, 1, tzinfo=UTC)),
    "proxy of dict": lambda: Proxy({}),
    "array": Array,
    "unhashable text": lambda: Unhashable("feature"),
    "endless int": lambda: 10**5000,
    "endless negative int": lambda: -(10**5000),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("name", [*schema.REQUIRED, "feature", "total", "details"])
def test_no_value_makes_the_checks_raise(name: str, kind: str) -> None:
    """Whatever the methods of a value do, it is checked, and the log call is safe."""
    for action in ("feature", "identifyUser"):
        for prepare in (schema.coerce, lambda event: None):
            event = {**right(action), name: HOSTILE[kind]()}
            prepare(event)
            found = schema.problems(event)
            for problem in found:
                assert problem.property == name
                assert_explained(problem, event)
            if not found:
                for problem in schema.warnings(event):
                    assert_explained(problem, event)


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_string_is_sent_as_its_text(name: str) -> None:
    """After coercion no method of the subclass is called, such as by a session id's hash."""
    event = coerced(**{name: hostile(str, "feature")})
    assert schema.problems(event) == []
    assert type(event[name]) is str
    assert event[name] == "feature"


def test_the_checks_do_not_change_an_event() -> None:
    """Only `coerce` changes an event."""
    for event in ({**right("feature"), "total": "3"}, {"accountId": 7, "createdAt": 1}):
        before = copy.deepcopy(event)
        schema.problems(event)
        assert event == before
    event = {**right("feature"), "total": "3", "createdAt": 1}
    before = copy.deepcopy(event)
    assert len(schema.warnings(event)) == 2
    assert event == before
