"""`fslog plan diff`: what changes between plans, and what of it is breaking."""

from __future__ import annotations

import copy
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from fslog.cli.plan.changes import changes
from fslog.plan.plan import Plan
from uploads import Command

EXPORT = {"action": "feature", "module": "reports", "feature": "export"}
BREAKING = "breaking"
FINE = "fine"


def plan(**events: Any) -> dict[str, Any]:
    """Return a plan with events, each of which is an `export` unless it says otherwise."""
    return {
        "version": 1,
        "events": {name: {"event": EXPORT, **more} for name, more in events.items()},
    }


def found(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the changes, each as whether it is breaking, and a sentence."""
    return [
        (BREAKING if one.is_breaking else FINE, f"{one.event}: {one.property} {one.message}")
        for one in changes(Plan(old), Plan(new))
    ]


def of_value(old: Any, new: Any) -> list[tuple[str, str]]:
    """Return what changes if a property has other keywords."""
    before = plan(e={"properties": {"p": old}} if old is not None else {})
    after = plan(e={"properties": {"p": new}} if new is not None else {})
    return [(kind, text.removeprefix("e: p ")) for kind, text in found(before, after)]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, {}, [(FINE, "is added")]),
        (None, {"required": True}, [(BREAKING, "is added and required")]),
        ({}, None, [(BREAKING, "is removed")]),
        ({}, {"required": True}, [(BREAKING, "is required, formerly optional")]),
        ({"required": True}, {}, [(FINE, "is optional")]),
        (
            {"type": "integer"},
            {"type": "number"},
            [(FINE, "has the type number, formerly integer")],
        ),
        (
            {"type": "number"},
            {"type": "integer"},
            [(BREAKING, "has the type integer, formerly number")],
        ),
        ({}, {"type": "string"}, [(BREAKING, "has the type string, formerly any")]),
        (
            {"enum": ["a"]},
            {"type": "string", "enum": ["a"]},
            [(FINE, "has the type string, formerly any")],
        ),
        (
            {"type": "string"},
            {"type": ["null", "string"]},
            [(FINE, "has the type string or null, formerly string")],
        ),
        ({}, {"pii": "hash"}, [(BREAKING, "has the pii hash, formerly none")]),
        ({"pii": "drop"}, {}, [(BREAKING, "has the pii none, formerly drop")]),
        ({"pii": "drop"}, {"pii": "hash"}, [(BREAKING, "has the pii hash, formerly drop")]),
        ({"pii": "keep"}, {}, [(FINE, "has the pii none, formerly keep")]),
        ({"enum": ["a", "b"]}, {"enum": ["b", "a"]}, []),
        (
            {"enum": ["a", "b"]},
            {"enum": ["a", "c"]},
            [(BREAKING, "no longer allows 'b'"), (FINE, "allows 'c', too")],
        ),
        ({}, {"enum": ["a"]}, [(BREAKING, "allows only 'a'")]),
        ({"enum": ["a"]}, {}, [(FINE, "allows other values, too")]),
        ({"enum": [1, 5]}, {"minimum": 1}, [(FINE, "allows other values, too"), (FINE, ...)]),
        (
            {"enum": [1, 5]},
            {"minimum": 2},
            [(BREAKING, "no longer allows 1"), (FINE, "allows other values, too"), (FINE, ...)],
        ),
        ({}, {"minimum": 1}, [(BREAKING, "has the minimum 1, formerly none")]),
        ({"minimum": 1}, {"minimum": 2}, [(BREAKING, "has the minimum 2, formerly 1")]),
        ({"minimum": 1}, {"minimum": 0}, [(FINE, "has the minimum 0, formerly 1")]),
        ({"maximum": 1}, {}, [(FINE, "has the maximum none, formerly 1")]),
        ({"maximum": 2}, {"maximum": 1}, [(BREAKING, "has the maximum 1, formerly 2")]),
        ({"maxLength": 2}, {"maxLength": 1}, [(BREAKING, "has the maxLength 1, formerly 2")]),
        ({"maxLength": 2}, {"maxLength": 3}, [(FINE, "has the maxLength 3, formerly 2")]),
        ({"pattern": "a"}, {"pattern": "b"}, [(BREAKING, "has the pattern b, formerly a")]),
        ({"pattern": "a"}, {}, [(FINE, "has the pattern none, formerly a")]),
        (
            {"type": "string"},
            {"type": ["string", "integer"], "minimum": 1},
            [(FINE, ...), (FINE, "has the minimum 1, formerly none")],
        ),
        (
            {"items": {"type": "string"}},
            {"items": {"type": "integer"}},
            [(BREAKING, "items: has the type integer, formerly string")],
        ),
        ({"items": {"enum": [1]}}, {}, [(FINE, "items: allows other values, too")]),
        ({}, {"description": "d"}, [(FINE, "description is changed")]),
    ],
)
def test_a_property(old: Any, new: Any, expected: list[tuple[str, Any]]) -> None:
    """A change that allows less is breaking, one that allows more is not."""
    shown = of_value(old, new)
    assert [kind for kind, _ in shown] == [kind for kind, _ in expected]
    for (_, text), (_, wanted) in zip(shown, expected, strict=True):
        assert wanted in (..., text)


SHARE = {**EXPORT, "feature": "share"}
PRODUCT = {**EXPORT, "product": "core"}
RULE = {"when": {"logger": "shop", "message": "exported"}}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (plan(a={}), plan(a={}), []),
        (plan(a={}), plan(), [(BREAKING, "a:  is removed")]),
        (plan(), plan(a={}), [(FINE, "a:  is added")]),
        (plan(a={}), plan(b={}), [(FINE, "b:  a is renamed")]),
        (
            plan(a={}),
            plan(a={"event": SHARE}),
            [
                (FINE, "a:  is added"),
                (BREAKING, "a:  is reports / share, formerly reports / export"),
            ],
        ),
        (
            plan(a={"event": PRODUCT}),
            plan(a={}),
            [(BREAKING, "a: product is removed")],
        ),
        (
            plan(a={"event": PRODUCT}),
            plan(b={"properties": {"product": {}}}),
            [
                (FINE, "b:  a is now part of it"),
                (FINE, "b: product is optional"),
                (FINE, "b: product allows other values, too"),
            ],
        ),
        (
            plan(a={"properties": {"product": {}}}),
            plan(a={"properties": {"product": {}}}, b={"event": PRODUCT}),
            [(FINE, "b:  is added: formerly part of a")],
        ),
        (
            plan(a={"properties": {"product": {}, "total": {}}}),
            plan(a={"properties": {"product": {}, "total": {}}}, b={"event": PRODUCT}),
            [(FINE, "b:  is added: formerly part of a"), (BREAKING, "b: total is removed")],
        ),
        (plan(a={}), plan(a=RULE), [(FINE, "a:  its rule is added")]),
        (
            plan(a=RULE),
            plan(a={}),
            [(BREAKING, "a:  has no rule any more: log calls that exist made it")],
        ),
        (
            plan(a=RULE),
            plan(a={"when": {"logger": "shop", "message": "exported %s"}}),
            [(FINE, "a:  its rule is changed")],
        ),
        (
            plan(a={}),
            plan(a={"owner": "o", "description": "d", "since": "2026-01", "expires": "2027-01"}),
            [
                (FINE, f"a:  {key} is changed")
                for key in ("description", "owner", "since", "expires")
            ],
        ),
        (
            {**plan(a={}), "unplanned": "warn"},
            {**plan(a={}), "unplanned": "refuse"},
            [(BREAKING, ":  unplanned is refuse, formerly warn")],
        ),
        (
            {**plan(a={}), "unplanned": "refuse"},
            plan(a={}),
            [(FINE, ":  unplanned is warn, formerly refuse")],
        ),
        (
            plan(a={}, b={"event": SHARE}),
            {**plan(a={}, b={"event": SHARE}), "common": {"product": {"required": True}}},
            [(BREAKING, "common: product is added and required")],
        ),
        (
            {**plan(a={"properties": {"product": {}}}), "common": {"product": {"enum": [1, 2]}}},
            {**plan(a={}), "common": {"product": {"enum": [1, 2]}}},
            [(BREAKING, "a: product allows only 1, 2")],
        ),
    ],
)
def test_an_event(old: Any, new: Any, expected: list[tuple[str, str]]) -> None:
    """Events are compared by their constants; what all have in common is said once."""
    assert found(old, new) == expected


VALUES: list[Any] = [None, True, 0, 1, 2, 1.5, "a", "bb", [], ["a"], [1], {}]
IDENTITIES = [EXPORT, SHARE, PRODUCT, {"action": "feature", "module": "reports"}]
KEYWORDS = st.sampled_from(
    [
        *({}, {"type": "string"}, {"type": "integer"}, {"type": ["string", "null"]}),
        *({"type": "number", "minimum": 1}, {"maximum": 1}, {"type": "number", "maximum": 2}),
        *({"enum": ["a", 1]}, {"enum": [1, 1.5]}, {"type": "string", "enum": ["a"]}),
        *({"maxLength": 1}, {"pattern": "b"}, {"type": ["string", "integer"], "minimum": 1}),
        *({"type": "array"}, {"items": {"type": "string"}}, {"items": {"enum": [1]}}),
    ]
)
PROPERTY = st.builds(
    lambda keywords, required: {**keywords, **required},
    KEYWORDS,
    st.sampled_from([{}, {}, {"required": True}]),
)
PROPERTIES = st.dictionaries(st.sampled_from(["product", "total"]), PROPERTY, max_size=2)
PLANS = st.builds(
    lambda events, common: {
        "version": 1,
        "events": {
            name: {"event": identity, "properties": own}
            for name, identity, own in zip("abcd", IDENTITIES, events, strict=True)
            if own is not None
        },
        "common": common,
    },
    st.tuples(*[st.one_of(st.none(), PROPERTIES)] * len(IDENTITIES)),
    PROPERTIES,
)


def changed(old: dict[str, Any], data: st.DataObject) -> dict[str, Any]:
    """Return a plan that differs from another one in a single thing."""
    new = copy.deepcopy(old)
    name = data.draw(st.sampled_from(["common", *"abcd"]))
    if name != "common" and name not in new["events"]:
        identity = IDENTITIES["abcd".index(name)]
        new["events"][name] = {"event": identity, "properties": data.draw(PROPERTIES)}
        return new
    if name != "common" and data.draw(st.integers(0, 5)) == 0:
        del new["events"][name]
        return new
    properties = new["common"] if name == "common" else new["events"][name]["properties"]
    key = data.draw(st.sampled_from(["product", "total"]))
    if properties.pop(key, None) is None or data.draw(st.integers(0, 3)):
        properties[key] = data.draw(PROPERTY)
    return new


def valid(given: dict[str, Any]) -> Plan:
    """Return a plan, or give the example up."""
    try:
        return Plan(given)
    except ValueError:
        reject()


EVENTS = [
    {**identity, **product, **total}
    for identity in IDENTITIES
    for product in ({}, *({"product": value} for value in VALUES))
    for total in ({}, *({"total": value} for value in VALUES))
]


def is_as_planned(plan: Plan, event: dict[str, Any]) -> bool:
    """Return whether an event is planned, and has what it should."""
    planned = plan.find(event)
    return (
        planned is not None
        and all(map(planned.allows, event))
        and all(
            one.problem(event[name]) is None if name in event else not one.required
            for name, one in planned.properties.items()
        )
    )


@given(PLANS, st.data())
def test_without_a_breaking_change_events_stay_as_planned(
    before: dict[str, Any], data: st.DataObject
) -> None:
    """If no change is breaking, each event that was as planned is so in the new plan."""
    old, new = valid(before), valid(changed(before, data))
    if not any(one.is_breaking for one in changes(old, new)):
        for event in EVENTS:
            assert is_as_planned(new, event) or not is_as_planned(old, event)


@given(PLANS)
def test_a_plan_does_not_differ_from_itself(given: dict[str, Any]) -> None:
    """Without a difference there is no change."""
    assert changes(valid(given), valid(given)) == []


def test_the_command(fslog: Command, tmp_path: Path) -> None:
    """Breaking changes stand first and give the exit code 1; names that change break nothing."""
    (tmp_path / "old.json").write_text(json.dumps(plan(a={}, b={"event": SHARE})))
    (tmp_path / "new.json").write_text(json.dumps(plan(c={})))
    said = fslog("plan", "diff", "old.json", "new.json")
    assert said == (
        1,
        "breaking  b: is removed\n          c: a is renamed\n2 changes, 1 breaking\n",
        "",
    )
    said = fslog("plan", "diff", "--json", "new.json", "old.json")
    assert (said.code, said.json["breaking"]) == (0, 0)
    assert said.json["changes"][0] == {
        "breaking": False,
        "event": "a",
        "property": "",
        "message": "c is renamed",
    }
    assert fslog("plan", "diff", "old.json", "old.json") == (0, "0 changes, 0 breaking\n", "")


def test_a_plan_on_standard_input(
    fslog: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`git show REVISION:PLAN` can be the old plan; an error in it does not name another file."""
    (tmp_path / "new.yaml").write_text(json.dumps(plan(c={})))
    for text, code in ((json.dumps(plan(a={})), 0), ("version: 2", 2)):
        piped = io.TextIOWrapper(io.BytesIO(text.encode()))
        monkeypatch.setattr(sys, "stdin", piped)
        said = fslog("plan", "diff", "-", "new.yaml")
        assert said.code == code
    assert said.err.startswith("fslog plan: error: standard input: version is 2")


def test_what_is_no_plan(fslog: Command, tmp_path: Path) -> None:
    """A mistake in a plan is an error with its place."""
    (tmp_path / "a.json").write_text(json.dumps(plan(a={"evnt": {}})))
    said = fslog("plan", "diff", "a.json", "a.json")
    assert (said.code, said.out) == (2, "")
    assert "a.json: events.a has the unknown key 'evnt'" in said.err
