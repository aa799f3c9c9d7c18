"""`fslog plan coverage`: which planned events arrive, and which unplanned ones."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from fslog.cli.plan.coverage import as_json, instant
from fslog.plan import coverage as counting
from fslog.plan.coverage import Coverage
from fslog.plan.plan import Plan
from fslog.viewer.server import Viewer
from uploads import Command
from viewing import event

PLAN: dict[str, Any] = {
    "version": 1,
    "events": {
        "report exported": {
            "event": {"action": "feature", "module": "reports", "feature": "export"}
        },
        "report shared": {
            "event": {"action": "feature", "module": "reports", "feature": "share"},
            "owner": "reporting@acme",
            "since": "2026-03",
        },
        "report faxed": {
            "event": {"action": "feature", "module": "reports", "feature": "fax"},
            "expires": "2026-01-02",
        },
    },
}
LATER = datetime.date(2026, 1, 2)


@pytest.fixture
def files(fslog: Command, tmp_path: Path) -> None:
    """Write a plan and events."""
    (tmp_path / "plan.json").write_text(json.dumps(PLAN))
    events = [event(1), event(61_000), event(0, feature="exprot"), event(5, action="login")]
    lines = [json.dumps(one) for one in [*events, event(5, action="login"), event(0, userId="")]]
    (tmp_path / "e.ndjson").write_text("\n".join(lines))


def test_the_report(fslog: Command, files: None) -> None:
    """Planned events are listed by whether they were seen, others with what may be meant."""
    said = fslog("plan", "coverage", "plan.json", "e.ndjson")
    assert said.code == 0
    assert said.err == "1 invalid line left out; fslog validate explains them\n"
    assert said.out == (
        "plan.json: 1 of 2 planned events seen (50 %), in 5 events\n"
        "planned, never seen\n"
        "  report shared                 reports / share, reporting@acme, since 2026-03-01\n"
        "planned and seen\n"
        "  report exported               2, last 2023-11-14 22:14:21Z\n"
        "seen, never planned\n"
        "  login / reports / export      2, last 2023-11-14 22:13:20Z\n"
        "  reports / exprot              1, last 2023-11-14 22:13:20Z; "
        "did you mean reports / export?\n"
    )


def test_json(fslog: Command, files: None) -> None:
    """The same as JSON."""
    found = fslog("plan", "coverage", "--json", "plan.json", "e.ndjson").json
    assert found == {
        "percent": 50.0,
        "events": 5,
        "never_seen": ["report shared"],
        "seen": {"report exported": {"count": 2, "last": 1_700_000_061_000}},
        "unplanned": {
            "login / reports / export": {"count": 2, "last": 1_700_000_000_005, "hint": ""},
            "reports / exprot": {
                "count": 1,
                "last": 1_700_000_000_000,
                "hint": "did you mean reports / export?",
            },
        },
        "other_unplanned": 0,
    }


def test_a_viewer(fslog: Command, files: None) -> None:
    """The events that a running viewer keeps are counted; nothing arrived yet is a report, too."""
    with Viewer("127.0.0.1", 0) as viewer:
        said = fslog("plan", "coverage", "plan.json", "--viewer", viewer.url)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("plan.json: 0 of 2 planned events seen (0 %), in 0 events\n")


def test_a_spool_is_no_source(fslog: Command, files: None) -> None:
    """What waits in a spool is a part of the events only."""
    assert fslog("plan", "coverage", "plan.json", "--spool", "x").code == 2
    said = fslog("plan", "coverage", "plan.json")
    assert (said.code, "exactly one of FILE, --viewer\n" in said.err) == (2, True)


def test_an_expired_event_is_not_expected() -> None:
    """From the day on which it expires an event is not missing, but it counts if it is seen."""
    coverage = Coverage(Plan(PLAN))
    before = LATER - datetime.timedelta(days=1)
    assert [one.name for one in coverage.missing(before)] == [
        "report exported",
        "report shared",
        "report faxed",
    ]
    assert [one.name for one in coverage.missing(LATER)] == ["report exported", "report shared"]
    coverage.add(event(feature="fax"))
    assert coverage.percent(LATER) == pytest.approx(100 / 3)
    assert Coverage(Plan({"version": 1, "events": {}})).percent(LATER) == 100.0


def test_ids_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many different unplanned events are listed; the others are counted together."""
    monkeypatch.setattr(counting, "MOST_UNPLANNED", 2)
    coverage = Coverage(Plan(PLAN))
    for n in range(5):
        coverage.add(event(feature=f"x{n % 4}"))
    assert (len(coverage.unplanned), coverage.others) == (2, 2)


def test_the_counts_of_several_processes() -> None:
    """Merged counts are those of all events together, in any order."""
    events = [event(1), event(5), event(3, feature="exprot"), event(4, createdAt=None), event(9)]
    whole, *parts = (Coverage(Plan(PLAN)) for _ in range(4))
    for n, one in enumerate(events):
        whole.add(one)
        parts[n % 2].add(one)
    for part in parts[:2]:
        parts[2].merge(json.loads(json.dumps(part.values())))
    assert as_json(parts[2], LATER) == as_json(whole, LATER)
    assert whole.seen["report exported"].last == event(9)["createdAt"]


@pytest.mark.parametrize("at", [None, 10**18, -(10**18)])
def test_an_instant_outside_of_the_calendar(at: float | None) -> None:
    """What no calendar has is not shown."""
    assert instant(at) == ""
