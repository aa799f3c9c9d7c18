"""`fslog plan check`: log calls held against rules and a plan, and what is reported of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from fslog.cli import main
from fslog.cli.plan.expected import expected
from fslog.cli.plan.findings import Findings, hold
from fslog.cli.plan.source.calls import read

pytestmark = pytest.mark.usefixtures("person")

TODAY = date(2026, 11, 29)

EXPORT = {"action": "feature", "module": "reports", "feature": "export"}
RULE = {"when": {"logger": "app.reports", "message": "exported %s rows"}, "event": EXPORT}
HEADER = "import logging\nlog = logging.getLogger(__name__)\n"


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(files: dict[str, str]) -> None:
    """Write files here, each directory of Python files a package."""
    for name, text in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
        if path.suffix == ".py" and path.parent != Path():
            (path.parent / "__init__.py").touch()


def plan_of(**events: Any) -> dict[str, Any]:
    """Return a plan; a name's underscores are blanks."""
    return {"version": 1, "events": {key.replace("_", " "): one for key, one in events.items()}}


def configuration(**arguments: Any) -> dict[str, Any]:
    """Return a logging configuration with one of fslog's handlers."""
    handler = {"class": "fslog.FreshsuccessHandler", **arguments}
    return {"version": 1, "handlers": {"usage": handler}, "root": {"handlers": ["usage"]}}


def held(given: dict[str, Any], source: str | dict[str, str], **options: Any) -> Findings:
    """Hold source, by default one module `app.reports` that has a logger `log`, against CONFIG."""
    files = {"app/reports.py": HEADER + dedent(source)} if isinstance(source, str) else source
    write({"config.json": json.dumps(given), **files})
    return hold(expected("config.json", None, None), read(["app"]), options.get("today", TODAY))


def violations(found: Findings) -> list[tuple[str, int]]:
    """Return the code and the line of each violation."""
    return [(one.code, one.line) for one in found.violations]


@pytest.mark.parametrize(
    "when",
    [
        {"message": "exported %s rows"},
        {"logger": "app"},
        {"logger": "app.reports", "levelname": "INFO"},
        {"logger": "/reports$/"},
        {"message": "/^exported/"},
        {"message": r"/(?P<what>\w+)/"},
        {"formatted_message": "exported 3 rows"},
        {"formatted_message": r"/exported (?P<n>\d+) rows/"},
        {"args.0": 3},
        {"shop": "{'name': 'acme'}"},
        {"funcName": "export", "module": "reports", "filename": "reports.py", "lineno": 4},
        {"format": "csv"},
        {"shop.name": "acme", "format": "/csv|xlsx/"},
    ],
)
def test_a_call_that_fits_a_rule(when: dict[str, Any]) -> None:
    """A rule has a place if all of its conditions hold for a log call of the source."""
    source = """
        def export():
            log.info("exported %s rows", 3, extra={"format": "csv", "shop": {"name": "acme"}})
        """
    found = held(configuration(rules=[{"when": when, "event": EXPORT}]), source.lstrip("\n"))
    (rule,) = found.events.values()
    assert (rule.name, rule.status, rule.places) == ("rules[0]", "found", ["app/reports.py:4"])
    assert (found.violations, found.undecided, found.decided) == ([], [], 1)


@pytest.mark.parametrize(
    ("pattern", "status"),
    [
        ("/^sold/", "found"),
        ("/^sold (?P<what>.*)/", "found"),
        ("/items/", "found"),
        ("/^items/", "missing"),
        ("/sold$/", "undecided"),
        (r"/sold\b/", "undecided"),
        ("/sold (?=x)/", "undecided"),
        ("/sold [0-9]/", "undecided"),
        ("/items[.]$/", "undecided"),
        ("/[^a]sold/", "undecided"),
    ],
)
def test_a_pattern_that_known_parts_decide(pattern: str, status: str) -> None:
    """A regular expression that is found in a known part of a text is found in the whole."""
    rules = [{"when": {"message": pattern}, "event": {**EXPORT, "total": "{args.0}"}}]
    found = held(configuration(rules=rules), "def f(n): log.info(f'sold {n} items.')")
    assert found.events["rules[0]"].status == status


@pytest.mark.parametrize(
    ("when", "source", "reason"),
    [
        ({"a.b._c": 1}, "def f(n): log.info('sold', extra={'a': n})", "a is computed"),
        ({"a.keys.b": 1}, "def f(n): log.info('sold', extra={'a': {'keys': n}})", "a is computed"),
        ({"formatted_message": "/3/"}, "def f(n): log.info(n)", "message is computed"),
        ({"formatted_message": "/3/"}, "log.info('sold %d', 'x')", "computed"),
        ({"formatted_message.a": "3"}, "def f(n): log.info('sold %s', n)", "computed"),
        ({"args.0": 3}, "def f(n): log.info('sold %s', *n)", "values are computed"),
        ({"a": "1"}, "def f(n): log.info('sold', extra={'a': [1, n]})", "a is computed"),
        ({"message": "sold"}, "def f(text): log.info(text)", "message is computed"),
        ({"message": "sold it"}, "def f(n): log.info(f'sold {n}')", "computed: sold {...}"),
        ({"message": "sold"}, "log.info('sold' if n else 'bought')", "computed: sold or bought"),
        ({"message": "/sold/"}, "def f(n): log.info('got ' + n)", "computed: got {...}"),
        ({"formatted_message": "/3/"}, "def f(n): log.info('sold %s', n)", "sold {...}"),
        ({"args.0": 3}, "def f(n): log.info('sold %s', n)", "values are computed"),
        ({"args.shop": "a"}, "def f(n): log.info('sold', n)", "values are computed"),
        ({"logger": "shop"}, "def f(log): log.info('sold')", "whether it is a logger"),
        ({"logger": "a.b"}, "def f(n): logging.getLogger('a.' + n).info(1)", "computed: a.{...}"),
        ({"logger": "app"}, "def f(log: logging.Logger): log.info('sold')", "logger is computed"),
        ({"kind": "sale"}, "def f(n): log.info('sold', extra={'kind': n})", "kind is computed"),
        ({"kind": "sale"}, "def f(n): log.info('sold', extra=n)", "extras are not literal"),
        ({"kind": "sale"}, "log.info('sold')", "no log call sets kind; a filter may"),
        ({"levelname": "INFO"}, "def f(n): log.log(n, 'sold')", "values are computed"),
        ({"message": "sold"}, "def f(n): log.info('sold', **n)", "extras are not literal"),
        ({"message": "sold"}, "audit.info('sold')", "whether it is a logger"),
        ({"message": "sold"}, "x.audit.info('sold')", "whether it is a logger"),
        ({"message": "sold"}, "import structlog\nstructlog.get_logger().info('sold')", "whether"),
        ({"lineno": 3}, "log.info(\n'sold')", "values are computed"),
        ({"kind.name": "a"}, "def f(n): log.info('sold', extra={'kind': {'name': n}})", "computed"),
    ],
)
def test_a_call_that_is_undecided(when: dict[str, Any], source: str, reason: str) -> None:
    """What the source does not decide is listed with the reason, and is no place."""
    found = held(configuration(rules=[{"when": when, "event": EXPORT}]), source)
    (rule,) = found.events.values()
    assert (rule.status, rule.places, len(rule.undecided)) == ("undecided", [], 1)
    (call,) = found.undecided
    assert reason in call.reason
    assert (call.events, found.decided, found.violations) == (("rules[0]",), 0, [])


@pytest.mark.parametrize(
    ("when", "source"),
    [
        ({"message": "sold"}, "def f(n): log.info(f'got {n}')"),
        ({"message": "sold %s"}, "def f(n): log.info(f'sold {n}')"),
        ({"message": "/^sold/"}, "def f(n): log.info(f'got {n}')"),
        ({"logger": "app"}, "def f(n): logging.getLogger('application.' + n).info('sold')"),
        ({"logger": "app.reports"}, "logging.getLogger('app').info('sold')"),
        ({"args.0": 3}, "log.info('sold %s', 4)"),
        ({"args.1": 3}, "log.info('sold %s', 3)"),
        ({"args.1": 3}, "def f(n): log.info('sold %s', n)"),
        ({"levelname": "ERROR"}, "log.info('sold')"),
        ({"formatted_message": "/4/"}, "log.info('sold %s', 3)"),
        ({"message": "sold"}, "audit.info(n)"),
        ({"message": "sold"}, "audit.info('got')"),
        ({"a": "1"}, "log.info('sold', extra={'a': [1, 2]})"),
        ({"logger": "x"}, "import structlog\nstructlog.get_logger().bind(a=1).info('sold')"),
        ({"logger": "x"}, "import structlog\nstructlog.get_logger('y').info('sold')"),
        ({"kind": "sale"}, "log.info('sold')\nlog.info('got', extra={'kind': 'get'})"),
    ],
)
def test_a_call_that_cannot_fit(when: dict[str, Any], source: str) -> None:
    """A condition that fails decides, whatever else is unknown."""
    found = held(configuration(rules=[{"when": when, "event": EXPORT}]), source)
    (rule,) = found.events.values()
    assert (rule.places, rule.undecided, found.undecided) == ([], [], [])
    assert found.decided == found.calls


def test_the_first_rule_wins() -> None:
    """A call makes the event of the first rule that it fits; later ones do not have the place."""
    second = {"when": {"message": "exported %s rows"}, "event": EXPORT}
    found = held(configuration(rules=[RULE, second]), "log.info('exported %s rows', 3)")
    assert [one.places for one in found.events.values()] == [["app/reports.py:3"], []]
    (one,) = found.violations
    assert (one.code, one.event) == ("no_call", "rules[1]")
    assert one.message.endswith("app/reports.py:3 fits, but rules[0] comes first")


def test_an_earlier_rule_that_is_undecided() -> None:
    """A call that certainly fits a rule is undecided if it may fit an earlier one."""
    first = {"when": {"args.0": 3}, "event": EXPORT}
    found = held(configuration(rules=[first, RULE]), "def f(n): log.info('exported %s rows', n)")
    assert [one.places for one in found.events.values()] == [[], []]
    assert found.undecided[0].events == ("rules[0]", "rules[1]")


@pytest.mark.parametrize(
    ("source", "difference"),
    [
        ("log.info('exported %d rows', 3)", ':3 says "exported %d rows"'),
        ("log.info('Exported %s rows.', 3)", ':3 says "Exported %s rows."'),
        ("def f(n): log.info(f'exported {n} rows')", ':3 says "exported {...} rows"'),
        ("def f(n): log.info('exported %s rows' % n)", ':3 says "exported {...} rows"'),
        (
            "logging.getLogger('app.report').info('exported %s rows', 3)",
            ":3 is on the logger app.report",
        ),
        (
            "logging.getLogger('app.x').info('exported %d rows', 3)",
            ':3 says "exported %d rows", and is on the logger app.x',
        ),
        ("log.info('x')\nlog.info('exported %d rows', 3)\nlog.info('expired')", ":4 says"),
        (
            "log.info('exported %s rows', 3, extra={'action': 'feature'})",
            ":3 fits, but is an event of its own: its extras name an action",
        ),
        ("def f(n):\n    log.info('exported %d rows', 3)\n    log.info(n)", ":4 says"),
    ],
)
def test_a_rule_that_no_call_fits_any_more(source: str, difference: str) -> None:
    """The nearest log call is named, with what differs: a reworded message is found."""
    found = held(configuration(rules=[RULE]), source)
    (one,) = [one for one in found.violations if one.code == "no_call"]
    assert f"app/reports.py{difference}" in one.message
    assert one.message.startswith("no log call makes 'rules[0]' (logger \"app.reports\", message ")
    assert one.path == "app/reports.py"


def test_another_condition_that_differs() -> None:
    """A condition on an extra or a level is named with both values."""
    rule = {"when": {**RULE["when"], "levelname": "INFO", "kind": "a"}, "event": EXPORT}
    source = "log.debug('exported %s rows', 3)\nlog.info('x', extra={'kind': 'b'})"
    (one,) = held(configuration(rules=[rule]), source).violations
    assert one.message.endswith(':3 has the levelname "DEBUG", not "INFO", and has no kind')


def test_a_rule_without_a_similar_call() -> None:
    """If no call is similar, the violation says just that, and has no place."""
    (one,) = held(configuration(rules=[RULE]), "log.info('other')").violations
    assert (one.code, one.path, one.line) == ("no_call", "", 0)


def test_rules_for_other_loggers() -> None:
    """Rules for loggers of libraries, and presets, are not about this source."""
    rules = [
        {"when": {"logger": "celery.worker", "message": "done"}, "event": EXPORT},
        {"preset": "access", "event": EXPORT},
    ]
    found = held(configuration(rules=rules), "log.info('x')")
    assert [one.status for one in found.events.values()] == ["outside", "outside"]
    assert found.violations == []


def test_a_misspelt_logger_is_not_another_one() -> None:
    """A logger that resembles one of the source is not one of a library."""
    rules = [{"when": {"logger": "audlt", "message": "done"}, "event": EXPORT}]
    found = held(configuration(rules=rules), "logging.getLogger('audit').info('x')")
    assert violations(found) == [("no_call", 0)]


PLAN = plan_of(
    report_exported={
        "event": {**EXPORT, "total": "{args.0}"},
        "when": RULE["when"],
        "properties": {"total": {"type": "integer", "minimum": 1, "required": True}},
    },
    time_in_reports={
        "event": {"action": "moduleEnd", "module": "reports"},
        "properties": {
            "timeSpent": {"type": "number", "required": True},
            "tags": {"type": "array"},
            "of": {"type": "object"},
        },
    },
)
END = {"action": "moduleEnd", "module": "reports"}


def call(**event: Any) -> str:
    """Return a log call with an event; `n` is a name."""
    return f"def f(n): log.info('x', extra={{'event': {event!r}}})".replace("'n'", "n")


@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        (call(**END, timeSpent=3), None, ""),
        (call(**END, timeSpent="n"), None, ""),
        ("def f(n): log.info('x', extra={'event': {**n, 'action': 'moduleEnd'}})", None, ""),
        ("log.info('exported %s rows', 3)", None, ""),
        ("def f(n): log.info('exported %s rows', n)", None, ""),
        ("def f(n): log.info('exported %s rows', len(n))", None, ""),
        (call(**END), "missing_property", "timeSpent is missing; the plan of 'time in reports'"),
        (call(**END, timeSpent="3"), "property_type", "timeSpent is a string; expected a number"),
        (call(**END, timeSpent=3, of=[1]), "property_type", "of is an array"),
        (call(**END, timeSpent=3, tags={"a": "n"}), "property_type", "tags is of the type object"),
        (call(**END, timeSpent=["n"]), "property_type", "timeSpent is of the type array"),
        (
            call(**END, timeSpent=3, tag=[]),
            "unplanned_property",
            "tag is not planned for the event 'time in reports'; did you mean 'tags'?",
        ),
        ("log.info('exported %s rows', 0)", "property_value", "total is 0; expected at least 1"),
        ("log.info('exported %s rows', 'a')", "property_type", "total is a string"),
        ("log.info('exported %s rows', str(n))", "property_type", "total is of the type string"),
        ("log.info('exported %s rows')", "missing_property", "total is missing"),
        (
            call(action="moduleEnd", module="reprots"),
            "unplanned",
            "an event with action 'moduleEnd', module 'reprots' is not planned; "
            "did you mean moduleEnd / reports?",
        ),
        (call(action="modulEnd", module="x"), "unplanned", "did you mean the action 'moduleEnd'?"),
        (call(action="other"), "unplanned", "an event with action 'other' is not planned"),
        ("log.info('x', extra={'action': 'other'})", "unplanned", "action 'other'"),
    ],
)
def test_events_that_are_not_as_planned(source: str, code: str | None, message: str) -> None:
    """What is literally not as planned is a violation; an unknown value is none."""
    found = held(PLAN, source)
    relevant = [one for one in found.violations if one.code != "no_call"]
    assert [(one.code, one.line) for one in relevant] == ([(code, 3)] if code else [])
    assert all(message in one.message for one in relevant)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (call(action="n"), "its action is computed"),
        (call(action="moduleEnd", module="n"), "its module is computed: whether it is planned"),
        (
            "def f(n): log.info('x', extra={'event': {'action': 'moduleEnd', **n}})",
            "a property is computed",
        ),
        ("def f(n): log.info('x', extra={'event': n})", "extras are not literal"),
        ("class E(dict): 'own'\nlog.info('x', extra={'event': E(action='a')})", "extras are not"),
        ("def f(n): log.info('x', extra={'event': {'action': 'a'} if n else None})", "extras"),
    ],
)
def test_explicit_events_that_are_undecided(source: str, reason: str) -> None:
    """An event of which the identifying properties are computed is undecided."""
    found = held(PLAN, source)
    assert [one.code for one in found.violations if one.code != "no_call"] == []
    assert [reason in one.reason for one in found.undecided] == [True]
    assert found.decided == 0


def test_time_and_identity_are_planned_events_too() -> None:
    """`context.module` and `identify_user` are log calls: a misspelt module is not planned."""
    plan = plan_of(
        time_in_reports={
            "event": {"action": "moduleEnd", "module": "reports"},
            "properties": {"timeSpent": {"type": "integer"}},
        },
        who={"event": {"action": "identifyUser"}, "properties": {"details": {"type": "object"}}},
    )
    source = """
        import fslog
        from fslog import context
        with context.module("reports"): pass
        with context.module("reprots"): pass
        fslog.identify_user("u", "a", name="Ann")
        """
    found = held(configuration(plan=plan), {"app/reports.py": source})
    assert violations(found) == [("unplanned", 5)]
    assert "did you mean moduleEnd / reports?" in found.violations[0].message


def test_nobody_rewords_what_fslogs_own_functions_log() -> None:
    """A library's rule whose message resembles theirs is about the library, not about them."""
    rule = {"when": {"logger": "lib.x", "message": "user verified"}, "event": EXPORT}
    source = "import fslog\nfslog.identify_user('u', 'a')\n"
    found = held(configuration(rules=[rule]), {"app/reports.py": source})
    assert found.violations == []
    assert found.events["rules[0]"].status == "outside"


def test_a_rule_for_fslogs_own_logger_is_not_about_the_source() -> None:
    """`identify_user` logs on `fslog.events`, which makes `fslog` no logger of the source."""
    rule = {"when": {"logger": "fslog", "message": "exported %s rows"}, "event": EXPORT}
    source = "import fslog\nfslog.identify_user('u', 'a')\n"
    found = held(configuration(rules=[rule]), {"app/reports.py": source})
    assert (found.violations, found.events["rules[0]"].status) == ([], "outside")


def test_a_product_that_the_context_gives() -> None:
    """Whether an event is planned is not known if what identifies it may be bound."""
    plan = plan_of(
        jobs={
            "event": {"action": "moduleEnd", "module": "jobs", "product": "core"},
            "properties": {"timeSpent": {"type": "integer"}},
        }
    )
    source = """
        from fslog import context
        {bound}
        with context.module("jobs"): pass
        """
    for bound, code in (("", [("unplanned", 4)]), ("context.bind(product='core')", [])):
        files = {"app/reports.py": source.format(bound=bound)}
        assert violations(held(configuration(plan=plan), files)) == code


@pytest.mark.parametrize("given", ["42", "int(x)", "len(x)"])
def test_an_id_that_is_an_integer_is_sent_as_a_string(given: str) -> None:
    """The plan's type is that of what arrives."""
    plan = plan_of(
        who={"event": {"action": "x"}, "properties": {"userId": {"type": "string"}}},
    )
    source = f"log.info('x', extra={{'action': 'x', 'userId': {given}}})"
    assert violations(held(configuration(plan=plan), source)) == []


def test_what_else_gives_properties() -> None:
    """A property that `fields`, `defaults` or a bound context gives is not missing."""
    plan = plan_of(
        a={
            "event": {"action": "a"},
            "properties": {
                name: {"required": True} for name in ("shop", "product", "plan", "none")
            },
        }
    )
    source = "import fslog\nfslog.context.bind(plan=1)\nlog.info('x', extra={'action': 'a'})"
    given = configuration(plan=plan, fields={"shop": "shop.id"}, defaults={"product": "core"})
    found = held(given, source)
    assert [one.message.partition(" ")[0] for one in found.violations] == ["none"]


def test_common_properties_are_given_elsewhere() -> None:
    """A plan alone does not say what the configuration gives to all events."""
    plan = {
        "version": 1,
        "common": {"accountId": {"required": True}, "product": {"required": True}},
        "events": {"a": {"event": {"action": "a"}}},
    }
    assert held(plan, "log.info('x', extra={'action': 'a'})").violations == []


def test_values_that_a_rule_makes() -> None:
    """What a template makes of unknown values is unknown, and of literals a literal."""
    event = {
        **EXPORT,
        "number": "{args.0:int}",
        "text": "n={args.0}",
        "kind": "{kind}",
        "other": "{other.name}",
    }
    properties = {name: {"type": "null", "required": True} for name in ("number", "text", "kind")}
    properties["other"] = {"required": True}
    plan = plan_of(a={"event": event, "when": RULE["when"], "properties": properties})
    found = held(plan, "def f(n): log.info('exported %s rows', n, extra={'kind': 3})")
    assert [one.message for one in found.violations] == ["kind is an integer; expected null"]


def test_an_event_of_a_rule_that_is_not_the_plans() -> None:
    """The event that a configuration's rule makes is planned by an event without a rule."""
    plan = plan_of(a={"event": EXPORT})
    found = held(configuration(plan=plan, rules=[RULE]), "log.info('exported %s rows', 3)")
    assert [(one.name, one.places) for one in found.events.values()] == [
        ("rules[0]", ["app/reports.py:3"]),
        ("a", ["app/reports.py:3"]),
    ]
    provided = configuration(
        plan=plan_of(a={"event": EXPORT, "properties": {"x": {"required": True}}}),
        rules=[RULE],
        context_provider="ext://os.getcwd",
    )
    assert held(provided, "log.info('exported %s rows', 3)").violations == []


def test_an_expired_event() -> None:
    """A place that makes an event is a violation from the day on which it expires."""
    plan = plan_of(a={"event": {"action": "a"}, "expires": "2026-12-01"})
    source = "log.info('x', extra={'action': 'a'})"
    assert violations(held(plan, source)) == []
    assert violations(held(plan, source, today=date(2026, 12, 1))) == [("expired", 3)]


def test_a_misspelt_action_without_a_plan() -> None:
    """An action that is nearly a known one is a violation."""
    found = held(
        configuration(),
        "log.info('x', extra={'action': 'featur'})\nlog.info('x', extra={'action': 'custom'})",
    )
    (one,) = found.violations
    assert (one.code, one.line) == ("looks_misspelt", 3)
    assert one.message == "action 'featur' is not known; did you mean 'feature'?"


@pytest.mark.parametrize(
    "comment", ["log.info(n)  {}", "log.info(\n    n,\n)  {}", "{}\nlog.info(n)", "track(n)  {}"]
)
def test_a_comment_decides(comment: str) -> None:
    """A comment says which event a place makes that the source does not decide."""
    said = comment.format('# fslog: event="report exported"')
    found = held(PLAN, f"n = f()\n{said}")
    event = found.events["report exported"]
    assert (event.status, len(event.places)) == ("found", 1)
    assert (found.undecided, found.violations) == ([], [])
    assert found.decided == found.calls


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('log.info("x")  # fslog: event="report exprted"', "did you mean 'report exported'?"),
        ('log.info("x")  # fslog: evnt="report exported"', "malformed"),
        (
            'log.info("exported %s rows", 3)  # fslog: event="time in reports"',
            "names 'time in reports', but the log call makes 'report exported'",
        ),
    ],
)
def test_a_comment_that_is_wrong(source: str, message: str) -> None:
    """A comment that names no event, or another than the log call makes, is a violation."""
    found = held(PLAN, source)
    assert [message in one.message for one in found.violations if one.code == "comment"] == [True]


def test_other_places_of_explicit_events() -> None:
    """Events in a message or in loguru's extra are found if the configuration has these places."""
    source = """
        log.info({"action": "featur"})
        log.info("x", extra={"extra": {"action": "featur"}})
        """
    assert held(configuration(), source).violations == []
    found = held(configuration(nested=["extra", "message"]), source)
    assert violations(found) == [("looks_misspelt", 4), ("looks_misspelt", 5)]


def test_extras_of_rule_made_events() -> None:
    """Only extras that the configuration includes are properties of a rule's event."""
    plan = plan_of(report_exported={"event": EXPORT, "when": RULE["when"]})
    source = "log.info('exported %s rows', 3, extra={'secret': 1, 'event': {'size': 2}})"
    found = held(plan, source)
    assert [one.message.partition(" ")[0] for one in found.violations] == ["size"]


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def check(capfd: pytest.CaptureFixture[str]) -> Run:
    """Return what runs `fslog plan check` and gives exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["plan", "check", *arguments])
        return code, *capfd.readouterr()

    return run


SOURCE = {
    "app/reports.py": f"""{HEADER}
def f(n):
    log.info("exported %d rows", n)
    log.info(n)
    log.info("x", extra={{"event": {{"action": "moduleEnd", "module": "reports"}}}})
""",
    "app/broken.py": "import logging\nlog.info(\n",
    "plan.json": json.dumps(PLAN),
}


def test_the_text(check: Run) -> None:
    """A person sees the places of each event, then violations, then what is undecided."""
    write(SOURCE)
    code, out, err = check("plan.json", "app")
    assert (code, err) == (1, "")
    assert out == dedent(
        """\
        plan.json (plan)  3 files, 3 log calls

        report exported  undecided, in 1 place
        time in reports  app/reports.py:7

        violation  app/reports.py:5: no log call makes 'report exported' (logger "app.reports", \
message "exported %s rows"): app/reports.py:5 says "exported %d rows" (no_call)
        violation  app/reports.py:7: timeSpent is missing; the plan of 'time in reports' \
requires it (missing_property)

        undecided  app/reports.py:6: its message is computed; may be report exported
        not read   app/broken.py: line 2: '(' was never closed

        2 violations, 1 log call undecided
        """
    )


def test_the_json(check: Run) -> None:
    """A program gets all of it."""
    write(SOURCE)
    code, out, _ = check("plan.json", "app", "--format", "json")
    report = json.loads(out)
    assert code == 1
    assert (report["ok"], report["files"], report["calls"], report["decided"]) == (False, 3, 3, 2)
    assert [one["status"] for one in report["events"]] == ["undecided", "found"]
    assert [(one["code"], one["line"]) for one in report["violations"]] == [
        ("no_call", 5),
        ("missing_property", 7),
    ]
    assert report["undecided"][0]["events"] == ["report exported"]
    assert report["not_read"][0]["path"] == "app/broken.py"


def test_the_annotations(check: Run) -> None:
    """GitHub gets an error for each violation, with the characters escaped that it reads."""
    write({**SOURCE, "app/reports.py": SOURCE["app/reports.py"] + "    log.info(n)\n" * 60})
    code, out, _ = check("plan.json", "app", "--format=github")
    first, second, last = out.splitlines()
    assert code == 1
    assert first.startswith("::error file=app/reports.py,line=5,title=fslog no_call::no log call")
    assert first.endswith('says "exported %25d rows"')
    assert second.startswith("::error file=app/reports.py,line=7,title=fslog missing_property::")
    assert last == "2 violations, 61 log calls undecided"
    assert "11 more; --format json has all of them" in check("plan.json", "app")[1]


def test_a_violation_without_a_place(check: Run) -> None:
    """A rule that nothing resembles is reported at the configuration."""
    write({"plan.json": json.dumps(PLAN), "app/a.py": HEADER})
    _, out, _ = check("plan.json", "app", "--format=github")
    assert out.startswith("::error file=plan.json,title=fslog no_call::no log call makes 'report")
    assert "violation  plan.json: no log call" in check("plan.json", "app")[1]


def test_nothing_is_wrong(check: Run) -> None:
    """The exit code is 0, and the last line says so."""
    plan = plan_of(a={"event": {"action": "a"}}, b={"event": {"action": "b"}})
    lines = ["log.info('x', extra={'action': 'a'})\n"] * 7
    write({"plan.json": json.dumps(plan), "app/a.py": HEADER + "".join(lines)})
    code, out, _ = check("plan.json", "app")
    assert code == 0
    assert "app/a.py:7, and 2 more\n" in out
    assert "b  no log call\n" in out
    assert out.endswith("\nOK\n")


def test_the_baseline(check: Run) -> None:
    """Violations of the baseline are not reported again, also on other lines; new ones are."""
    write(SOURCE)
    baseline = ("--baseline", "baseline.json")
    code, out, _ = check("plan.json", "app", *baseline, "--write-baseline")
    assert (code, out.splitlines()[-1]) == (
        0,
        "OK, 2 violations written to baseline.json, 1 log call undecided",
    )
    rows = json.loads(Path("baseline.json").read_text(encoding="utf-8"))
    assert [one["code"] for one in rows["violations"]] == ["missing_property", "no_call"]
    source = SOURCE["app/reports.py"]
    write({"app/reports.py": "#\n#\n" + source})
    code, out, _ = check("plan.json", "app", *baseline)
    assert (code, out.splitlines()[-1]) == (0, "OK, 2 of the baseline, 1 log call undecided")
    write({"app/reports.py": source + source.splitlines()[-1] + "\n"})  # once more
    code, out, _ = check("plan.json", "app", *baseline)
    assert (code, out.count("violation  ")) == (1, 1)
    write({"app/reports.py": source.replace("%d", "%s")})
    code, out, _ = check("plan.json", "app", *baseline)
    assert "1 of the baseline are gone: write it again" in out
    before = Path("baseline.json").read_bytes()
    write(SOURCE)
    check("plan.json", "app", *baseline, "--write-baseline")
    assert Path("baseline.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan.json", "app", "--write-baseline"), "name the file with --baseline FILE"),
        (("plan.json", "app", "--baseline", "none.json"), "--write-baseline creates it"),
        (("plan.json", "app", "--baseline", "app"), "cannot be read"),
        (("plan.json", "app", "--baseline", "app/reports.py"), "is not JSON"),
        (("plan.json", "app", "--baseline", "plan.json"), "was not written by"),
        (("plan.json", "app", "--baseline", "no/x", "--write-baseline"), "cannot be written"),
        (("plan.json", "nowhere"), "no such file or directory: nowhere"),
        (("plan.json", "app", "--handler", "usage"), "--handler: plan.json is a plan"),
        (("plan.json", "app", "--key", "a.b"), "--key: plan.json is a plan"),
        (("wrong.json", "app"), "wrong.json: the plan has the unknown key 'evnts'"),
        (("logging.json", "app", "--handler", "x"), "--handler: 'x' produces no events; these"),
        (("console.json", "app"), "console.json has no handler that produces events"),
        (("invalid.json", "app"), "has no handler that produces events: handlers.usage: rules"),
        (("missing.json", "app"), "no such file: missing.json"),
        (("empty.json", "app"), "no logging configuration found"),
    ],
)
def test_an_argument_that_is_invalid(check: Run, arguments: tuple[str, ...], message: str) -> None:
    """The error names what is wrong, and the exit code is 2."""
    console = {"version": 1, "handlers": {"c": {"class": "logging.StreamHandler"}}}
    write(
        {
            **SOURCE,
            "wrong.json": json.dumps({**PLAN, "evnts": {}}),
            "logging.json": json.dumps(configuration()),
            "console.json": json.dumps(console),
            "invalid.json": json.dumps(configuration(rules=[{}])),
            "empty.json": "{}",
        }
    )
    code, out, err = check(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["logging.yaml", "settings.py:LOGGING", "settings"])
def test_kinds_of_configurations(check: Run, name: str) -> None:
    """CONFIG is whatever `fslog check` reads."""
    given = configuration(rules=[RULE])
    write({"logging.yaml": json.dumps(given), "settings.py": f"LOGGING = {given!r}"})
    write({"app/reports.py": HEADER + "log.info('exported %s rows', 3)"})
    code, out, _ = check(name, "app")
    assert (code, "rules[0]  app/reports.py:3\n" in out) == (0, True)


def test_a_plan_with_personal_data(check: Run) -> None:
    """CI needs no key; a value that is hashed or dropped is not held against what is sent."""
    properties = {"email": {"pii": "drop", "type": "integer"}, "ip": {"pii": "hash"}}
    event = {"event": {"action": "signedIn"}, "properties": properties}
    call = 'log.info("x", extra={"event": {"action": "signedIn", "email": "a", "ip": "::1"}})'
    write({"plan.json": json.dumps(plan_of(signed=event)), "app/users.py": HEADER + call})
    code, out, _ = check("plan.json", "app")
    assert (code, "violation" in out) == (0, False)
