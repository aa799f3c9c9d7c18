"""The API's resource `plan`: coverage as events arrive, and what plans an unplanned event."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from fslog.cli.plan.plan import run as plan_command
from fslog.plan import coverage
from fslog.plan.plan import Plan
from fslog.viewer.planned import PlanCounts
from viewing import PATH, event, lines, viewing

PLAN: dict[str, Any] = {
    "version": 1,
    "common": {"product": {"type": "string"}},
    "events": {
        "report exported": {
            "description": "A download",
            "owner": "Ann",
            "event": {"action": "feature", "module": "reports", "feature": "export"},
        },
        "time in reports": {"event": {"action": "moduleEnd", "module": "reports"}},
        "old": {"event": {"action": "old"}, "expires": "2026-03"},
    },
}
EXPORTED = {
    "event": "report exported",
    "label": "reports / export",
    "owner": "Ann",
    "description": "A download",
    "filter": {"action": "feature", "module": "reports", "feature": "export"},
}
TIME = {
    "event": "time in reports",
    "label": "moduleEnd / reports",
    "owner": "",
    "description": "",
    "filter": {"action": "moduleEnd", "module": "reports"},
}


def misspelt(n: int = 0, **more: Any) -> dict[str, Any]:
    """Return an event that is not planned."""
    return event(n, feature="exprot", format="csv", product="core", **more)


def test_the_coverage_of_a_plan() -> None:
    """It has each planned event with its count and last time, and each unplanned one."""
    with viewing(plan=Plan.read(PLAN)) as viewer:
        viewer.post(event(7), event(5), misspelt(3), b"[]", event(8, userId=None))
        found = viewer.get("plan")
        counts = {"events": 3, "seen": 1, "never_seen": 1, "unplanned": 1, "other_unplanned": 0}
        assert found == {
            "plan": "",
            "percent": 50.0,
            "counts": counts,
            "never_seen": [{**TIME, "count": 0, "last": None}],
            "seen": [{**EXPORTED, "count": 2, "last": 1_700_000_000_007}],
            "unplanned": [
                {
                    "id": 1,
                    "event": "reports / exprot",
                    "hint": "did you mean reports / export?",
                    "count": 1,
                    "last": 1_700_000_000_003,
                    "filter": {
                        "problem": "unplanned",
                        "action": "feature",
                        "module": "reports",
                        "feature": "exprot",
                    },
                }
            ],
        }
        assert viewer.ids(**found["unplanned"][0]["filter"]) == [3]


def test_what_plans_an_event_is_what_the_command_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pasted into the plan it plans the event; `fslog plan infer` writes the same text."""
    path = tmp_path / "plan.yaml"
    path.write_text(f"version: 1\ncommon: {json.dumps(PLAN['common'])}\nevents:\n")
    with viewing(plan=Plan.read(path)) as viewer:
        viewer.post(misspelt(1), event(2, feature=None), misspelt(3), misspelt(4))
        (one, other) = viewer.get("plan")["unplanned"]
        found = viewer.get(f"plan/{one['id']}")
        assert found == {**one, "plan": str(path), "format": "YAML", "text": found["text"]}
        assert viewer.get("events/1")["unplanned"] == one["id"]
        assert "exprot" not in viewer.get(f"plan/{other['id']}")["text"]
        url = viewer.viewer.url
        pasted = path.read_text() + found["text"]
        assert plan_command(["infer", "--viewer", url, "--into", str(path)]) == 0
    assert "2 events added" in capsys.readouterr().out
    assert found["text"] in path.read_text()
    assert "format: {type: string, enum: [csv], required: true}  # 3 of 3: csv 3" in found["text"]
    path.write_text(pasted)
    assert Plan.read(path).find(misspelt())
    assert not Plan.read(path).find(event(2, feature=None))


@pytest.mark.parametrize("kind", ["json", "toml"])
def test_the_text_has_the_format_of_the_plan(tmp_path: Path, kind: str) -> None:
    """Added to a plan in JSON or TOML it plans the event."""
    if kind == "toml":
        pytest.importorskip("tomllib")
    head, end = {"json": ('{"version": 1, "events": {\n', "}}"), "toml": ("version = 1\n", "")}[
        kind
    ]
    path = tmp_path / f"plan.{kind}"
    path.write_text(f"{head}{end}")
    with viewing(plan=Plan.read(path)) as viewer:
        viewer.post(misspelt(1))
        found = viewer.get("plan/1")
    assert found["format"] == kind.upper()
    path.write_text(f"{head}{found['text']}{end}")
    assert Plan.read(path).find(misspelt())


def test_clearing_restarts_the_coverage() -> None:
    """`DELETE /api/events` clears it; ids of unplanned events continue."""
    with viewing(plan=Plan.read(PLAN)) as viewer:
        viewer.post(event(1), misspelt(2))
        viewer.ask("DELETE", "/api/events")
        assert viewer.get("plan")["counts"]["events"] == 0
        assert viewer.ask("GET", "/api/plan/1").status == 404
        viewer.post(misspelt(3))
        assert [one["id"] for one in viewer.get("plan")["unplanned"]] == [2]


def test_evicted_events_stay_counted() -> None:
    """A planned event that was seen stays so; what plans an evicted one is not known any more."""
    with viewing(plan=Plan.read(PLAN), keep=1) as viewer:
        viewer.post(misspelt(1), event(2), event(3))
        found = viewer.get("plan")
        assert (found["seen"][0]["count"], found["unplanned"][0]["count"]) == (2, 1)
        answer = viewer.ask("GET", "/api/plan/1")
        assert (answer.status, "not kept any more" in answer.json["error"]) == (404, True)


def test_only_events_that_the_endpoint_accepted_are_counted() -> None:
    """The lines of a rejected request are sent again, so they count once."""
    with viewing(plan=Plan.read(PLAN)) as viewer:
        viewer.send("POST", "outcomes", {"outcomes": [{"status": 503}]})
        for _ in range(2):
            viewer.ask("POST", PATH, lines(event(1)))
        assert viewer.get("plan")["seen"][0]["count"] == 1


def test_without_a_plan_there_is_no_such_resource() -> None:
    """Its status is 404, and the stream's first message says that there is none."""
    with viewing() as viewer:
        for path in ("/api/plan", "/api/plan/1"):
            answer = viewer.ask("GET", path)
            assert (answer.status, "--plan FILE" in answer.json["error"]) == (404, True)
        viewer.post(event(1))
        assert "unplanned" not in viewer.get("events/1")


@pytest.mark.parametrize("path", ["/api/plan?limit=0", "/api/plan/x", "/api/plan/0"])
def test_a_wrong_parameter(path: str) -> None:
    """A limit or an id that is none is an error of the request."""
    with viewing(plan=Plan.read(PLAN)) as viewer:
        assert viewer.ask("GET", path).status == 400


def test_each_list_is_limited() -> None:
    """`limit` shortens the lists, most frequent unplanned events first, and no count."""
    counts = PlanCounts(Plan.read(PLAN))
    counts.add([misspelt(), *[event(feature=f"f{n}") for n in (1, 1, 2)]])
    found = counts.json(1)
    assert [one["event"] for one in found["unplanned"]] == ["reports / f1"]
    assert len(found["never_seen"]) == 1
    assert (found["counts"]["unplanned"], found["counts"]["never_seen"]) == (3, 2)


@pytest.mark.parametrize(("day", "is_missing"), [("2026-02-28", True), ("2026-03-01", False)])
def test_an_expired_event_is_not_expected(day: str, is_missing: bool) -> None:
    """From the day of `expires` on it is not missing."""
    found = PlanCounts(Plan.read(PLAN), lambda: datetime.date.fromisoformat(day)).json(9)
    assert ("old" in [one["event"] for one in found["never_seen"]]) == is_missing


def test_unusual_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long and unprintable names, numbers for texts, and too many kinds: all are bounded."""
    monkeypatch.setattr(coverage, "MOST_UNPLANNED", 3)
    counts = PlanCounts(Plan.read(PLAN))
    odd = [event(feature="x" * 9_999), event(feature="\ud800\u202e"), event(module=5, feature={})]
    counts.add([*odd, event(feature="one too many")])
    found = counts.json(9)
    assert [len(one["event"]) for one in found["unplanned"]] == [210, 12, 7]
    assert found["counts"]["other_unplanned"] == 1


def test_what_plans_a_long_name_has_the_whole_name() -> None:
    """Names are shortened in the list only; another event with the same beginning is included."""
    names = ["x" * 300, "x" * 301]
    with viewing(plan=Plan.read(PLAN)) as viewer:
        viewer.post(*[event(feature=name) for name in names])
        (one,) = viewer.get("plan")["unplanned"]
        assert one["count"] == 2
        text = viewer.get("plan/1")["text"]
    plan = Plan.read({**PLAN, "events": yaml_events(text)})
    assert all(plan.find(event(feature=name)) for name in names)


def yaml_events(text: str) -> Any:
    """Return the events of a pasted text."""
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load(f"events:\n{text}")["events"]
