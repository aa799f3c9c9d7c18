"""What is wrong with an event by a plan: the problems, and their quick forms."""

from __future__ import annotations

import datetime
import enum
import logging
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fslog import EventFormatter, FreshsuccessHandler, InvalidEvent, Problem
from fslog.plan.judgement import CODES, Judge, PlanProblem, is_warning, problems
from fslog.plan.plan import Plan

EXPORT = {"action": "feature", "module": "reports", "feature": "export"}
IDS = {"accountId": "acme", "userId": "ann"}
MARCH_2027 = datetime.datetime(2027, 3, 1, tzinfo=datetime.timezone.utc).timestamp()
GIVEN: dict[str, Any] = {
    "version": 1,
    "common": {"accountId": {"type": "string", "pattern": "^[a-z]+$"}, "product": {}},
    "events": {
        "report exported": {
            "event": EXPORT,
            "properties": {
                "total": {"type": "integer", "minimum": 1, "required": True},
                "format": {"enum": ["csv", "xlsx"]},
                "tags": {"items": {"type": "string"}},
            },
            "expires": "2027-03",
        },
        "report printed": {
            "event": {"action": "feature", "module": "reports", "feature": "print"},
            "properties": {
                "copies": {"type": ["integer", "null"], "maximum": 9},
                "share": {"type": "number", "minimum": 0, "maximum": 1},
                "color": {"type": "boolean", "enum": [True]},
                "grade": {"enum": [1, 2.5, "best", None]},
                "note": {"type": ["string", "array"], "maxLength": 3},
                "details": {"type": "object"},
            },
        },
        "time": {
            "event": {"action": "moduleEnd", "module": "{args.0}", "timeSpent": "{args.1}"},
            "when": {"logger": "app", "message": "left %s after %s"},
        },
        "page": {"event": {"action": "page", "secure": True}, "properties": {"path": None}},
    },
}
PLAN = Plan.read(GIVEN)


def codes(event: dict[str, Any]) -> list[tuple[str, str]]:
    """Return codes and properties of an event's problems, both ways."""
    found = [(one.code, one.property) for one in problems(PLAN, event)]
    judge = Judge(PLAN)
    assert [(one.code, one.property) for one in judge.problems(event)] == found
    assert [(one.code, one.property) for one in judge.problems(event)] == found
    return found


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({**EXPORT, "total": 1}, []),
        ({**EXPORT, "total": 1.0, **IDS, "createdAt": 1, "sessionId": "s"}, []),
        ({**EXPORT, "total": 2, "format": "csv", "tags": ["a"], "product": 3}, []),
        ({**EXPORT}, [("missing_property", "total")]),
        ({**EXPORT, "total": "1"}, [("property_type", "total")]),
        ({**EXPORT, "total": True}, [("property_type", "total")]),
        ({**EXPORT, "total": 0}, [("property_value", "total")]),
        ({**EXPORT, "total": 1, "format": "pdf"}, [("property_value", "format")]),
        ({**EXPORT, "total": 1, "tags": ["a", 1]}, [("property_type", "tags")]),
        ({**EXPORT, "total": 1, "accountId": "ACME"}, [("property_value", "accountId")]),
        ({**EXPORT, "total": 1, "totl": 1}, [("unplanned_property", "totl")]),
        ({**EXPORT, "total": 1, 5: 1}, [("unplanned_property", "5")]),
        ({**EXPORT, "total": 1, "createdAt": MARCH_2027 * 1000}, [("expired", "")]),
        ({**EXPORT, "total": 1, "createdAt": MARCH_2027 * 1000 - 1}, []),
        ({**EXPORT, "feature": "import"}, [("unplanned", "")]),
        ({"action": "moduleEnd", "module": "x", "timeSpent": 3}, []),
        ({"action": "moduleEnd", "modul": "x"}, [("unplanned_property", "modul")]),
        ({"action": "page", "secure": True, "path": [1]}, []),
        ({"action": "page", "secure": 1}, [("unplanned", "")]),
        ({"action": ["x"]}, [("unplanned", "")]),
        ({}, [("unplanned", "")]),
    ],
)  # fmt: skip
def test_an_event_has_the_problems_of_the_plan(
    event: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    """Each code has its cases, and events that are as planned have none."""
    assert codes(event) == expected


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (
            {**EXPORT, "feature": "exprot"},
            "an event with action 'feature', feature 'exprot', module 'reports' is not planned; "
            "did you mean reports / export?",
        ),
        ({"action": "x", "module": 3}, "an event with action 'x' is not planned"),
        (
            {**EXPORT, "totl": 1},
            "totl is not planned for the event 'report exported'; did you mean 'total'?",
        ),
        (EXPORT, "total is missing; the plan of 'report exported' requires it"),
        ({**EXPORT, "total": 0}, "total is 0; expected at least 1"),
        (
            {**EXPORT, "total": 1, "createdAt": 2e12},
            "the event 'report exported' was planned until 2027-03-01",
        ),
    ],
)
def test_a_message_says_what_was_expected(event: dict[str, Any], message: str) -> None:
    """It names the nearest planned event or property."""
    assert problems(PLAN, event)[0].message == message


def test_each_kind_of_problem_names_its_event() -> None:
    """The same mistake in another event is another kind, which is logged too."""
    one = problems(PLAN, {**EXPORT, "feature": "a"})[0]
    two = problems(PLAN, {**EXPORT, "feature": "b"})[0]
    assert one.kind != two.kind
    assert problems(PLAN, EXPORT)[0].kind == "missing_property report exported total"


def test_a_problem_warns_unless_the_plan_refuses() -> None:
    """The code alone does not say whether the event is sent."""
    refusing = Plan.read({**GIVEN, "unplanned": "refuse"})
    assert is_warning(problems(PLAN, EXPORT)[0])
    assert not is_warning(problems(refusing, EXPORT)[0])
    assert is_warning(Problem("expected", "module", ""))
    assert not is_warning(Problem("missing", "userId", ""))
    assert not is_warning(PlanProblem("expired", "", "", None, "x", True))


class Word(str, enum.Enum):
    """A choice as applications declare it."""

    CSV = "csv"


values = st.one_of(
    st.sampled_from(
        [0, 1, 9, 10, 2.5, 0.5, 1.0, -0.0, True, False, None, "", "csv", "best", "abcd"]
    ),
    st.sampled_from([Word.CSV, Decimal("1"), [1], ["a"], (), {}, {"a": 1}, {1}, b"csv", object()]),
    st.floats(),
    st.integers(),
    st.text(max_size=4),
)
names = st.sampled_from(
    ["total", "format", "tags", "copies", "share", "color", "grade", "note", "details", "x"]
)
events = st.builds(
    lambda base, more: {**base, **more},
    st.sampled_from(
        [
            *({**EXPORT, "total": 1}, {**EXPORT, "feature": "print"}, EXPORT),
            *({"action": "page", "secure": True}, {**EXPORT, "feature": Word.CSV}),
        ]
    ),
    st.dictionaries(names, values, max_size=3),
)  # fmt: skip


@given(events)
def test_the_quick_judgement_is_the_whole_one(event: dict[str, Any]) -> None:
    """Whatever an event holds, the generated function finds a problem if there is one."""
    assert codes(event) == [(one.code, one.property) for one in problems(PLAN, event)]


def record(message: str = "said", *args: Any, **extras: Any) -> logging.LogRecord:
    """Return the record of a log call."""
    made = logging.LogRecord("app", 20, "app.py", 7, message, args, None)
    made.created = 1_790_000_000.0
    made.__dict__.update(extras)
    return made


def test_a_formatter_warns_of_what_is_not_planned() -> None:
    """By default the event is sent, and each problem is a warning."""
    formatter = EventFormatter(plan=GIVEN)
    assert formatter.plan is not None
    made = formatter.event(record(event={**IDS, **EXPORT}))
    assert made is not None
    assert [one.code for one in formatter.warnings(made)] == ["missing_property"]


def test_a_formatter_refuses_if_the_plan_says_so() -> None:
    """The event is invalid, with all problems of the plan."""
    formatter = EventFormatter(plan={**GIVEN, "unplanned": "refuse"})
    with pytest.raises(InvalidEvent) as raised:
        formatter.event(record(event={**IDS, **EXPORT, "x": 1}))
    assert [one.code for one in raised.value.problems] == [
        "unplanned_property",
        "missing_property",
    ]
    made = formatter.event(record(event={**IDS, **EXPORT, "total": 1}))
    assert made is not None
    assert formatter.warnings(made) == []


def test_a_plan_that_lets_everything_pass_says_nothing() -> None:
    """`send` is for a plan that is only documentation, or a source of rules."""
    formatter = EventFormatter(plan={**GIVEN, "unplanned": "send"})
    made = formatter.event(record(event={**IDS, **EXPORT, "x": 1}))
    assert made is not None
    assert formatter.warnings(made) == []


def test_the_rules_of_the_configuration_stand_before_those_of_the_plan() -> None:
    """A planned event with `when` is a rule, and the first rule that matches wins."""
    own = {"when": {"message": "left %s after %s"}, "event": {"action": "page", "secure": True}}
    later = record("left %s after %s", "reports", 3, **IDS)
    by_plan = EventFormatter(plan=GIVEN).event(later)
    assert by_plan is not None
    assert (by_plan["module"], by_plan["timeSpent"]) == ("reports", 3)
    by_rule = EventFormatter(plan=GIVEN, rules=[own]).event(later)
    assert by_rule is not None
    assert by_rule["action"] == "page"


def test_a_rule_of_the_plan_is_called_by_its_event() -> None:
    """Its errors, and its place in `fslog check`, are those of the plan."""
    assert [rule.where for rule in EventFormatter(plan=GIVEN).rules] == ["plan.events.time"]
    wrong = {"event": {"action": "a"}, "when": {"mesage": "x"}}
    given = {"version": 1, "events": {"one": wrong}}
    with pytest.raises(
        ValueError, match=r"^plan\.events\.one: when has the key 'mesage'; did you mean"
    ):
        EventFormatter(plan=given)


def test_the_environment_names_a_plan(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`FSLOG_PLAN` is the path of the plan, unless the argument gives another."""
    path = tmp_path / "plan.yaml"
    path.write_text("version: 1\nevents: {one: {event: {action: a}}}\n", encoding="utf-8")
    monkeypatch.setenv("FSLOG_PLAN", str(path))
    one, two = EventFormatter(), EventFormatter()
    assert one.plan is not None
    assert list(one.plan.events) == ["one"]
    assert two.plan is one.plan  # it is read once
    path.write_text("version: 1\nevents: {another: {event: {action: a}}}\n", encoding="utf-8")
    changed = EventFormatter().plan
    assert changed is not None
    assert list(changed.events) == ["another"]
    assert EventFormatter(plan=PLAN).plan is PLAN  # type: ignore[arg-type]
    monkeypatch.setenv("FSLOG_PLAN", str(tmp_path))
    with pytest.raises(ValueError, match=r"^FSLOG_PLAN: .* is a directory"):
        EventFormatter()
    with pytest.raises(TypeError, match=r"^plan: it is of type int; expected a path or a mapping"):
        EventFormatter(plan=3)  # type: ignore[arg-type]


def test_a_handler_has_a_plan_or_a_formatter_that_has_one() -> None:
    """Given to both, one of them would be ignored."""
    keys = {"auth_key": "a", "api_key": "b", "endpoint": "http://127.0.0.1:9"}
    handler = FreshsuccessHandler(**keys, plan=GIVEN)
    assert handler.formatter.plan is not None
    with pytest.raises(ValueError, match=r"plan, context_provider, .* are given to both"):
        handler.setFormatter(EventFormatter())


def test_all_codes_are_those_of_a_plan() -> None:
    """No code has two meanings."""
    from fslog.mapping.schema import WARNINGS

    assert not CODES & WARNINGS


@pytest.mark.parametrize(
    ("extras", "is_planned"),
    [
        ({"total": 3}, True),
        ({"total": 3, "format": "csv", "product": "core"}, True),
        ({"total": 3.0}, True),
        ({"total": 0}, False),
        ({"total": 3, "format": "pdf"}, False),
        ({"total": 3, "x": 1}, False),
        ({"total": True}, False),
        ({}, False),
        ({"total": 3, "accountId": "ACME"}, False),
        ({"total": 3, "createdAt": 1e12}, True),
        ({"total": 3, "createdAt": 2e12}, False),
    ],
)
def test_a_compiled_encoder_encodes_what_is_planned(
    extras: dict[str, Any], is_planned: bool
) -> None:
    """Planned events have the quick way; the others' problems are found each time."""
    formatter = EventFormatter(plan=GIVEN)

    def made(total: Any = None) -> logging.LogRecord:
        event = {**IDS, **EXPORT, **extras}
        return record(event=event | ({} if total is None else {"total": total}))

    event = formatter.event(made())
    assert event is not None
    assert bool(formatter.warnings(event)) is not is_planned
    for _ in range(2):
        compile_encoder = formatter.encoders.observe(made(), {}, "feature")
    assert compile_encoder is not None
    compile_encoder()
    assert formatter.fast_line is not None
    for _ in range(2):
        assert (formatter.fast_line(made()) is not None) is is_planned
    if type(extras.get("total")) is int and is_planned:
        assert formatter.fast_line(made(total=-1)) is None


def test_one_call_site_makes_many_planned_events() -> None:
    """A helper function logs all of an application's events: one encoder serves them all."""
    wanted = {f"f{n}": {"event": {**EXPORT, "feature": f"f{n}"}} for n in range(2_000)}
    formatter = EventFormatter(plan={"version": 1, "events": wanted})

    def made(feature: str) -> logging.LogRecord:
        return record(event={**IDS, **EXPORT, "feature": feature})

    for name in ("f1", "f2"):
        compile_encoder = formatter.encoders.observe(made(name), {}, "feature")
    assert compile_encoder is not None
    compile_encoder()
    assert formatter.fast_line is not None
    dice = random.Random(7)
    for _ in range(100):
        assert formatter.fast_line(made(f"f{dice.randrange(500)}")) is not None
    assert formatter.fast_line(made("other")) is None
    found = [formatter.fast_line(made(name)) is not None for name in wanted]
    assert 900 < sum(found) < 1_100  # the memory of one call site is bounded


def test_a_derived_session_id_may_be_planned_as_a_string() -> None:
    """Its value is not known to the encoder: a pattern leaves the event to the whole judgement."""
    for planned, is_fast in (({"type": "string"}, True), ({"pattern": "^[0-9a-f]+$"}, False)):
        given = {**GIVEN, "common": {"sessionId": planned}}
        formatter = EventFormatter(plan=given)
        made = record(event={**IDS, **EXPORT, "total": 1})
        for _ in range(2):
            compile_encoder = formatter.encoders.observe(made, {}, "feature")
        assert compile_encoder is not None
        compile_encoder()
        assert formatter.fast_line is not None
        assert (formatter.fast_line(made) is not None) is is_fast
