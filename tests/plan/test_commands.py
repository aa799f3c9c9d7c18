"""The option `--plan` of the commands that see events, and the viewer with a plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fslog.cli import main
from fslog.collector.judge import parse_body
from fslog.plan.plan import Plan
from fslog.viewer.entries import make_entry
from fslog.viewer.snippets import correction
from viewing import event, lines, viewing

PLAN: dict[str, Any] = {
    "version": 1,
    "events": {
        "report exported": {
            "event": {"action": "feature", "module": "reports", "feature": "export"},
            "properties": {"total": {"type": "integer", "minimum": 1}},
        },
        "time": {
            "event": {"action": "moduleEnd", "module": "{args.0}", "timeSpent": "{args.1}"},
            "when": {"logger": "app", "message": "left %s after %s"},
        },
    },
}
EVENTS = (event(1), event(2, feature="exprot"), event(3, total=0), event(4, feature="print"))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write plans, events and a logging configuration into the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("warn", "refuse"):
        (tmp_path / f"{name}.json").write_text(json.dumps({**PLAN, "unplanned": name}))
    (tmp_path / "events.ndjson").write_bytes(lines(*EVENTS))
    usage = {"class": "fslog.FreshsuccessHandler"}
    root = {"handlers": ["usage"], "level": "INFO"}
    config = {"version": 1, "handlers": {"usage": usage}, "root": root}
    (tmp_path / "logging.json").write_text(json.dumps(config))
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Return the exit code and the output of a command."""
    code = main(list(arguments))
    shown = capsys.readouterr()
    return code, shown.out + shown.err


@pytest.mark.usefixtures("files")
def test_validate_warns_of_what_is_not_planned(capsys: pytest.CaptureFixture[str]) -> None:
    """Each unplanned event is a kind of its own, with the nearest planned one."""
    code, shown = told(capsys, "validate", "--plan", "warn.json", "events.ndjson")
    assert code == 0
    assert "4 valid events, 0 invalid lines, 3 with warnings" in shown
    assert "feature 'exprot', module 'reports' is not planned; did you mean" in shown
    assert "feature 'print', module 'reports' is not planned" in shown
    assert "line 3: total is 0; expected at least 1" in shown
    assert told(capsys, "validate", "--strict", "--plan", "warn.json", "events.ndjson")[0] == 1


@pytest.mark.usefixtures("files")
def test_validate_reports_what_a_plan_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    """An event that the handler would not send is invalid, and the exit code says so."""
    code, shown = told(capsys, "validate", "--json", "--plan", "refuse.json", "events.ndjson")
    (found,) = json.loads(shown)["files"]
    assert (code, found["valid"], found["invalid"]) == (1, 1, 3)
    assert sorted(one["code"] for one in found["problems"]) == [
        *("property_value", "unplanned", "unplanned")
    ]


@pytest.mark.usefixtures("files")
def test_the_environment_names_the_plan_of_a_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`FSLOG_PLAN` is the default of the option."""
    assert told(capsys, "validate", "--strict", "events.ndjson")[0] == 0
    monkeypatch.setenv("FSLOG_PLAN", "refuse.json")
    assert told(capsys, "validate", "events.ndjson")[0] == 1


@pytest.mark.usefixtures("files")
def test_send_rejects_what_a_plan_refuses(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted as rejected, and nothing of it is sent."""
    monkeypatch.setenv("FSLOG_ENDPOINT", "http://127.0.0.1:9")
    code, shown = told(
        capsys, "send", "--dry-run", "--json", "--plan", "refuse.json", "events.ndjson"
    )
    assert code == 1
    assert json.loads(shown)["files"][0]["rejected"] == 3
    code, shown = told(capsys, "send", "--dry-run", "--plan", "warn.json", "events.ndjson")
    assert code == 0
    assert "property_value total" in shown


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("command", ["validate", "send", "viewer", "check"])
def test_a_plan_with_a_mistake_is_an_error_of_the_argument(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 2, and nothing has been done."""
    Path("wrong.json").write_text('{"version": 1, "evnts": {}}')
    code, shown = told(capsys, command, "--plan", "wrong.json", "logging.json")
    assert code == 2
    assert "--plan: wrong.json: the plan has the unknown key 'evnts'" in shown
    assert "did you mean 'events'?" in shown


@pytest.mark.usefixtures("files")
def test_check_explains_by_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    """The plan's rules have their event's name, and its problems are shown."""
    record = 'name=app,msg="left %s after %s",args=["reports",3],accountId=acme,userId=ann'
    code, shown = told(capsys, "check", "--plan", "warn.json", "logging.json", "--record", record)
    assert code == 0
    assert "event, by plan.events.time" in shown
    assert "plan      warn.json: 2 planned events, unplanned: warn" in shown
    record = "name=app,event.action=feature,event.module=reports,event.feature=export,event.total=0"
    given = ("logging.json", "--record", f"{record},accountId=acme,userId=ann")
    code, shown = told(capsys, "check", "--plan", "warn.json", *given)
    assert code == 0
    assert "total is 0; expected at least 1" in shown
    code, shown = told(capsys, "check", "--plan", "refuse.json", *given)
    assert code == 1
    code, shown = told(capsys, "check", "--json", "--plan", "refuse.json", *given)
    (problem,) = json.loads(shown)["records"][0]["problems"]
    assert (problem["code"], problem["warns"]) == ("property_value", False)


@pytest.mark.usefixtures("files")
def test_check_reports_the_rules_of_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    """Diagnostics name the planned event, and the first rule that hides another one."""
    usage: dict[str, Any] = {
        "class": "fslog.FreshsuccessHandler",
        "plan": PLAN,
        "rules": [{"when": {"logger": "app"}, "event": {"action": "feature"}}],
    }
    root = {"handlers": ["usage"], "level": "INFO"}
    config = {"version": 1, "handlers": {"usage": usage}, "root": root}
    Path("logging.json").write_text(json.dumps(config))
    shown = told(capsys, "check", "logging.json")[1]
    assert "handlers.usage.plan.events.time" in shown
    assert "it never matches, since rules[0] matches all of its records first" in shown
    usage["plan"] = {"version": 1, "events": {"x": {"event": {"action": "a"}, "whn": {}}}}
    Path("logging.json").write_text(json.dumps(config))
    code, shown = told(capsys, "check", "logging.json")
    assert code == 1
    assert "plan: events.x has the unknown key 'whn'" in shown


def test_the_viewer_warns_of_what_is_not_planned() -> None:
    """The event has arrived, so that it has a warning, whatever the plan says of sending it."""
    plan = Plan.read({**PLAN, "unplanned": "refuse"})
    with viewing(plan=plan) as visitor:
        visitor.post(*EVENTS, event(5, total="1"))
        found = visitor.get("events")["entries"]
    states = {one["event"]["createdAt"] % 10: one["state"] for one in found}
    assert states == {1: "valid", 2: "warning", 3: "warning", 4: "warning", 5: "warning"}


@pytest.mark.parametrize(
    ("given", "got", "expected"),
    [
        ({"total": 0}, "number 0", "at least 1"),
        ({"totl": 5}, "number 5", "what is planned"),
        ({"feature": "print"}, "another event", "what is planned"),
    ],
)
def test_a_problem_by_a_plan_has_what_the_line_contains_and_what_is_expected(
    given: dict[str, Any], got: str, expected: str
) -> None:
    """The page shows both; nobody knows the correction."""
    (line,) = parse_body(lines(event(1, **given)), None).lines
    entry = make_entry(line, 0, Plan.read(PLAN))
    assert [(one.got, one.expected) for one in entry.problems] == [(got, expected)]
    assert correction(entry) is None


def test_a_correction_leaves_the_problems_of_the_plan() -> None:
    """The other problems of the same event are corrected."""
    (line,) = parse_body(lines(event(1, userId="None", total=0)), None).lines
    found = correction(make_entry(line, 0, Plan.read(PLAN)))
    assert found is not None
    assert "was nobody's id" in found["python"]
    assert "'total': 0," in found["python"] or '"total": 0,' in found["python"]
