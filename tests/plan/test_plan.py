"""The plan's file: what is read, what identifies an event, and what the errors name."""

from __future__ import annotations

import datetime
import json
import logging.config
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fslog.mapping.rules import Rules
from fslog.plan.plan import Plan

EXPORT = {"action": "feature", "module": "reports", "feature": "export"}
YAML = """
version: 1
unplanned: refuse
common:
  accountId: {type: string, pattern: "^[0-9a-z-]{2,40}$"}
events:
  report exported:
    description: A user downloaded a report as a file
    owner: reporting@acme
    event: {action: feature, module: reports, feature: export, total: "{args.0}"}
    when: {logger: app.reports, message: "exported %s rows"}
    properties:
      total: {type: integer, minimum: 1, required: true}
      format: {enum: [csv, xlsx]}
    since: 2026-03
    expires: 2027-03-15
  time in reports: {event: {action: moduleEnd, module: reports}}
"""
TOML = """
version = 1
[events."report exported"]
event = {action = "feature", module = "reports", feature = "export"}
expires = 2027-03-15
"""


def plan(**events: Any) -> Plan:
    """Return a plan of some events."""
    return Plan.read({"version": 1, "events": events})


def test_a_plan_of_every_part_is_read(tmp_path: Path) -> None:
    """What the file says is what the plan has, in its order."""
    path = tmp_path / "plan.yaml"
    path.write_text(YAML, encoding="utf-8")
    found = Plan.read(path)
    assert (found.source, found.version, found.unplanned) == (str(path), 1, "refuse")
    assert list(found.events) == ["report exported", "time in reports"]
    exported = found.events["report exported"]
    assert exported.constants == EXPORT
    assert exported.event == {**EXPORT, "total": "{args.0}"}
    assert list(exported.properties) == ["accountId", "total", "format"]
    assert exported.properties["total"].required
    assert (exported.owner, exported.description[:6]) == ("reporting@acme", "A user")
    assert exported.since == datetime.date(2026, 3, 1)
    assert exported.expires == datetime.date(2027, 3, 15)
    assert found.rules == [
        {
            "when": {"logger": "app.reports", "message": "exported %s rows"},
            "event": {**EXPORT, "total": "{args.0}"},
        }
    ]
    assert found.ruled == [exported]
    assert exported.label == "reports / export"
    assert found.events["time in reports"].rule() is None
    assert found.names("feature") == ("action", "feature", "module")
    assert found.names("moduleEnd") == ("action", "module")


def test_json_and_toml_are_read_as_well(tmp_path: Path) -> None:
    """The format is that of the file's extension."""
    pytest.importorskip("tomllib", reason="Python 3.11 and later read TOML")
    toml, as_json = tmp_path / "plan.toml", tmp_path / "plan.json"
    toml.write_text(TOML, encoding="utf-8")
    events = {"report exported": {"event": EXPORT, "expires": "2027-03-15"}}
    as_json.write_text(json.dumps({"version": 1, "events": events}), encoding="utf-8")
    assert Plan.read(str(toml)).events == Plan.read(as_json).events


def test_a_mapping_of_a_logging_configuration_is_read() -> None:
    """The mappings that dictConfig makes resolve their values only when asked."""
    given = logging.config.ConvertingDict(
        {"version": 1, "events": {"x": {"event": {**EXPORT, "module": "cfg://where"}}}}
    )
    given.configurator = logging.config.DictConfigurator({"where": "reports"})
    assert Plan.read(given).events["x"].constants == EXPORT


def test_an_event_is_found_by_its_constants() -> None:
    """The most specific planned event wins; further properties make no difference."""
    found = plan(
        some={"event": {"action": "feature", "module": "reports"}},
        export={"event": EXPORT},
        module={"event": {"action": "moduleEnd", "module": "reports"}},
    )

    def name(**event: Any) -> str | None:
        one = found.find(event)
        return None if one is None else one.name

    assert name(**EXPORT, total=3) == "export"
    assert name(action="feature", module="reports", feature="print") == "some"
    assert name(action="feature", module="reports", feature=["no", "hash"]) == "some"
    assert name(action="moduleEnd", module="reports") == "module"
    assert name(action="moduleEnd", module="other") is None
    assert name(action=["no hash"]) is None
    assert name() is None


def test_a_value_that_is_sent_as_a_constant_is_one() -> None:
    """Numbers are compared as in JSON, and strings of a subclass as strings."""

    class Name(str):
        __hash__ = None  # type: ignore[assignment]

    found = plan(
        one={"event": {"action": "a", "total": 1}}, on={"event": {"action": "b", "total": True}}
    )
    assert found.find({"action": "a", "total": 1.0}) is found.events["one"]
    assert found.find({"action": Name("a"), "total": 1}) is found.events["one"]
    assert found.find({"action": "a", "total": True}) is None
    assert found.find({"action": "b", "total": 1}) is None


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({**EXPORT, "feature": "exprot"}, "did you mean reports / export?"),
        ({**EXPORT, "module": "Report"}, "did you mean reports / export?"),
        ({**EXPORT, "action": "features"}, "did you mean reports / export?"),
        ({"action": "moduleEnd", "module": "report"}, "did you mean moduleEnd / reports?"),
        ({**EXPORT, "feature": "print"}, ""),
        ({"action": "feature", "feature": 7}, ""),
    ],
)
def test_the_nearest_planned_event_is_named(event: dict[str, Any], expected: str) -> None:
    """One misspelt value is recognised, in any of the constants."""
    found = plan(
        export={"event": EXPORT}, time={"event": {"action": "moduleEnd", "module": "reports"}}
    )
    assert found.nearest(event) == expected
    assert found.nearest(event) == expected


def test_the_search_for_near_events_is_bounded() -> None:
    """A log call never pays for more searches than a program can have mistakes."""
    found = plan(export={"event": EXPORT})
    for number in range(1_000):
        assert found.nearest({**EXPORT, "feature": f"f{number}"}) == ""
    assert found.nearest({**EXPORT, "feature": "exprot"}) == ""


def with_event(**parts: Any) -> dict[str, Any]:
    """Return a plan with one event, `e`."""
    return {"version": 1, "events": {"e": {"event": EXPORT, **parts}}}


def cycle() -> dict[str, Any]:
    """Return a plan that contains itself."""
    found: dict[str, Any] = {"version": 1}
    found["events"] = {"e": found}
    return found


def deep() -> dict[str, Any]:
    """Return a plan that is nested too deep."""
    found: dict[str, Any] = {}
    for _ in range(100):
        found = {"x": found}
    return found


def shared() -> dict[str, Any]:
    """Return a plan of few objects and very many values."""
    found: Any = "x"
    for _ in range(25):
        found = [found, found]
    return {"version": 1, "events": found}


MISTAKES: list[tuple[Any, type[Exception], str]] = [
    (3, TypeError, "^it is of type int; expected a path or a mapping"),
    ({}, ValueError, "the plan has no version; expected version: 1"),
    ({"version": 2}, ValueError, "version is 2; this fslog reads version 1"),
    ({"version": True}, ValueError, "version is True"),
    ({"version": 1, "event": {}}, ValueError, "unknown key 'event'.*did you mean 'events'"),
    ({"version": 1, "handlers": {}}, ValueError, "unknown key 'handlers'; expected version"),
    ({"version": 1, "unplanned": "wran"}, ValueError, "unplanned is 'wran'.*did you mean 'warn'"),
    ({"version": 1, "events": []}, TypeError, "events is of type list; expected a mapping"),
    ({"version": 1, "events": {3: {}}}, ValueError, "events has the key 3"),
    ({"version": 1, "common": {"a": {"type": "x"}}}, ValueError, "common.a.type is 'x'"),
    ({"version": 1, "events": {"e": None}}, TypeError, "events.e is None; expected a mapping"),
    ({"version": 1, "events": {"e": {}}}, ValueError, "events.e has no event"),
    (with_event(whn={}), ValueError, "events.e has the unknown key 'whn'.*did you mean 'when'"),
    (with_event(event={"module": "x"}), ValueError, "events.e.event has no literal action"),
    (with_event(event={3: "x"}), ValueError, "events.e.event has the key 3"),
    (with_event(event={"action": "{a"}), ValueError, "events.e.event.action: '{a' has a single"),
    (
        with_event(event={**EXPORT, "total": "{args.0}"}),
        ValueError,
        "events.e.event.total is '{args.0}', which has a placeholder, but the event has no when",
    ),
    (
        with_event(event={**EXPORT, "action": "{a}"}, when={"logger": "x"}),
        ValueError,
        "events.e.event has no literal action",
    ),
    (with_event(when=[]), ValueError, "events.e: has no when|events.e has no when"),
    (with_event(when={"message": "/(/"}), ValueError, "events.e: when.message is not a regular"),
    (
        with_event(when={"message": "%s"}, event={**EXPORT, "total": "{args.1}"}),
        ValueError,
        "events.e: event.total: .*the message has 1 argument",
    ),
    (with_event(properties=[]), TypeError, "events.e.properties is of type list"),
    (with_event(properties={"t": {"typ": 1}}), ValueError, "events.e.properties.t has the unknown"),
    (
        with_event(properties={"module": {"type": "integer"}}),
        ValueError,
        "events.e.event contradicts events.e.properties: module is a string; expected an integer",
    ),
    (with_event(owner=3), TypeError, "events.e.owner is 3; expected a string"),
    (with_event(since="March"), ValueError, "events.e.since is 'March'; expected a month or a day"),
    (with_event(since="2026-13"), ValueError, "events.e.since is '2026-13'"),
    (with_event(expires=2027), ValueError, "events.e.expires is 2027"),
    (
        with_event(since="2026-03", expires="2026-03"),
        ValueError,
        "events.e.expires is 2026-03-01; expected a day after since",
    ),
    (cycle(), ValueError, "contains itself"),
    (deep(), ValueError, "nested more than 32 levels deep"),
]


@pytest.mark.parametrize(("given", "error", "message"), MISTAKES)
def test_a_mistake_is_named(given: Any, error: type[Exception], message: str) -> None:
    """The error names the event, the key, the value and what is allowed."""
    with pytest.raises(error, match=message):
        Plan.read(given)


def test_a_plan_of_too_many_values_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few objects that share each other are not copied for ever."""
    monkeypatch.setattr("fslog.plan.plan._MAX_VALUES", 1_000)
    with pytest.raises(ValueError, match="the plan has more than 1000 values"):
        Plan.read(shared())


def test_two_events_with_the_same_constants_are_an_error() -> None:
    """Which of them an event is would be unknown."""
    same = {"event": dict(reversed(EXPORT.items()))}
    with pytest.raises(ValueError, match=r"cannot be told apart from events.a: both are"):
        plan(a={"event": EXPORT}, b=same)


def test_two_events_that_one_event_could_be_are_an_error_unless_a_third_decides() -> None:
    """Constants overlap if one event can have those of both, and neither is more specific."""
    by_module = {"event": {"action": "feature", "module": "reports"}}
    by_feature = {"event": {"action": "feature", "feature": "export"}}
    with pytest.raises(ValueError, match=r"events.b cannot be told apart.*is both; give one"):
        plan(a=by_module, b=by_feature)
    found = plan(a=by_module, b=by_feature, both={"event": EXPORT})
    assert found.find(EXPORT) is found.events["both"]
    apart = plan(a=by_module, b={"event": {"action": "other", "feature": "export"}})
    assert apart.find({"action": "other", "feature": "export"}) is apart.events["b"]


def test_too_many_sets_of_constants_are_an_error() -> None:
    """An event is looked up once for each set, so their number is bounded."""
    events = {f"e{n}": {"event": {"action": "a", f"p{n}": "x"}} for n in range(101)}
    with pytest.raises(ValueError, match="'a' have 101 different sets of constants"):
        plan(**events)


def write(text: str | bytes, name: str = "plan.yaml") -> Callable[[Path], Path]:
    """Return a function that writes a file into a directory."""

    def made(directory: Path) -> Path:
        path = directory / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return made


FILES: list[tuple[Callable[[Path], Path], str]] = [
    (lambda directory: directory, "is a directory; expected a file"),
    (lambda directory: directory / "none.yaml", "none.yaml cannot be read: No such file"),
    (write("x", "plan.txt"), "unknown extension; expected .yaml, .yml, .json, .toml"),
    (write(""), "plan.yaml is empty; expected a plan"),
    (write("# nothing\n"), "plan.yaml is empty; expected a plan"),
    (write(" ", "plan.json"), "plan.json is empty; expected a plan"),
    (write("[1]"), "plan.yaml contains a list; expected a plan"),
    (write("just words"), "plan.yaml contains a str; expected a plan"),
    (write("a: [1"), "plan.yaml is not valid YAML: line \\d"),
    (write("{", "plan.json"), "plan.json is not valid JSON"),
    (write("[" * 100_000, "plan.json"), "plan.json: it is nested too deep|not valid JSON"),
    (write('{"version": 1, "version": 1}', "plan.json"), "the key 'version' occurs twice"),
    (write(b"\xff\xfe\xff"), "plan.yaml is not UTF-8"),
    (write("version: 1\nevents:\n  a: 1\n  a: 2\n"), "line 3, column 3: the key 'a' occurs twice"),
    (write("version: 1\nevents: &x {a: *x}\n"), "line 2, column 16: 'x' contains itself"),
    (write("version: 1\nevents: *x\n"), "'x' is not defined|undefined alias"),
    (write("? [1]\n: 2\n"), "line 1, column 1: a key is a list or a mapping"),
    (write("<<: 3\n"), "what << merges is not a mapping"),
    (write("<<: {}\n<<: {}\n"), "the key '<<' occurs twice"),
    (write("a: 1\n---\nb: 2\n"), "line 2, column 1: a second document begins"),
    (write("[" * 100), "nested too deep"),
    (write("a: !!python/object/apply:os.getcwd []\n"), "plan.yaml"),
    (write("a: !!python/name:os.getcwd ''\n"), "plan.yaml is not valid YAML"),
    (write("version: 1\nevents: {e: {}}\n"), "plan.yaml: events.e has no event"),
]


@pytest.mark.parametrize(("make", "message"), FILES)
def test_a_file_that_is_no_plan_is_named(
    make: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    """The error names the file, the place in it, and what was expected."""
    with pytest.raises(ValueError, match=message):
        Plan.read(make(tmp_path))


def test_anchors_and_merge_keys_are_read(tmp_path: Path) -> None:
    """YAML's own means against repetition work, and each use is a copy of its own."""
    text = """
    version: 1
    events:
      a: &a
        event: {action: feature, module: reports, feature: a}
        properties: &properties {total: &total {type: integer}, 'no': {enum: ["<<", yes, 1.5]}}
      b:
        <<: [*a, {owner: nobody}]
        event: {action: feature, module: reports, feature: b}
        properties: {<<: *properties, "rows": *total}
        since: 2026-03-01
        description: !!str 3
    """
    found = Plan.read(write(text)(tmp_path)).events
    assert list(found["b"].properties) == ["total", "no", "rows"]
    assert found["b"].properties["no"].enum == ("<<", True, 1.5)
    assert (found["b"].owner, found["b"].description) == ("nobody", "3")
    assert found["b"].since == datetime.date(2026, 3, 1)
    assert found["a"].constants["feature"] == "a"


def test_an_environment_without_pyyaml_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(ValueError, match="YAML needs PyYAML: pip install PyYAML"):
        Plan.read(write("version: 1")(tmp_path))


def test_yaml_is_read_without_the_parser_in_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every platform has it; the plan is the same."""
    path = write(YAML)(tmp_path)
    expected = Plan.read(path).events
    monkeypatch.delattr("yaml.CSafeLoader", raising=False)
    assert Plan.read(path).events == expected


def test_events_share_equal_properties_only() -> None:
    """Python's 1 equals True and 1.0, which are other values of a keyword."""
    given = {"type": "number", "minimum": 1}
    found = plan(
        one={"event": EXPORT, "properties": {"total": given, "count": given}},
        two={"event": {**EXPORT, "feature": "share"}, "properties": {"total": dict(given)}},
        three={
            "event": {**EXPORT, "feature": "print"},
            "properties": {"total": {**given, "minimum": 1.0}},
        },
    )
    one, two, three = (each.properties["total"] for each in found.events.values())
    assert one is two
    assert (type(one.minimum), type(three.minimum)) == (int, float)
    assert found.events["one"].properties["count"].name == "count"
    with pytest.raises(TypeError, match=r"events\.two\.properties\.total\.minimum is True"):
        plan(
            one={"event": EXPORT, "properties": {"total": given}},
            two={"event": EXPORT, "properties": {"total": {**given, "minimum": True}}},
        )


def test_templates_are_checked_with_the_groups_of_their_own_rule() -> None:
    """The plan reads a template before its rule's groups are known: both readings are kept."""
    event = {**EXPORT, "total": "{args.0.rows}"}
    for _ in range(2):
        found = plan(one={"event": event, "when": {"logger": "app"}})
        found.check_rules()
        record = logging.LogRecord("app", 20, "", 0, "sold %s", ({"rows": 3}, 0), None)
        rules = Rules((), further=found.named_rules())
        assert rules.properties(record) == {**EXPORT, "total": 3}
