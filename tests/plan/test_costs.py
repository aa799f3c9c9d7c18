"""What a plan costs: ratios within one process, for an otherwise idle machine."""

from __future__ import annotations

import gc
import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fslog import EventFormatter, FreshsuccessHandler, context
from fslog.testing import capture

ATTEMPTS, ROUNDS, CALLS = 3, 80, 1_000
MOST = 1.10

EXPORT = {"action": "feature", "module": "reports", "feature": "export", "total": "{args.0}"}
WHEN = {"logger": "app", "message": "exported %s rows"}


def plan() -> dict[str, Any]:
    """Return a plan of an application: a pattern, bounds, choices, an end, 200 other events."""
    others = {
        f"used {n}": {"event": {"action": "feature", "module": f"m{n % 10}", "feature": f"f{n}"}}
        for n in range(200)
    }
    exported = {
        "event": EXPORT,
        "when": WHEN,
        "properties": {
            "total": {"type": "integer", "minimum": 1, "required": True},
            "format": {"enum": ["csv", "xlsx"]},
        },
        "expires": "2099-12",
    }
    pattern = {"type": "string", "pattern": "^[0-9a-z-]{2,40}$"}
    events = {"report exported": exported, **others}
    return {"version": 1, "common": {"accountId": pattern}, "events": events}


def logger(**given: Any) -> logging.Logger:
    """Return a logger with one handler, whose events go nowhere."""
    made = logging.Logger("app")
    handler = FreshsuccessHandler(**given)
    made.addHandler(handler)
    handler._sink._captured.add = lambda item: None  # type: ignore[attr-defined]
    return made


def explicit(log: logging.Logger, n: int) -> None:
    """Log an event that the call makes itself."""
    event = {"action": "feature", "module": "reports", "feature": "export", "total": n + 1}
    who = {"accountId": f"account-{n % 50}", "userId": f"user-{n}"}
    log.info("exported", extra={**who, "event": {**event, "format": "csv"}})


def by_rule(log: logging.Logger, n: int) -> None:
    """Log an event that a rule makes."""
    log.info("exported %s rows", n + 1)


def seconds(call: Callable[[logging.Logger, int], None], log: logging.Logger) -> float:
    """Return the CPU time of some calls."""
    began_at = time.thread_time()
    for n in range(CALLS):
        call(log, n)
    return time.thread_time() - began_at


@pytest.fixture
def _calm() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.timing
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("_calm")
@pytest.mark.parametrize("call", [explicit, by_rule])
def test_a_log_call_with_a_plan_costs_little_more(
    call: Callable[[logging.Logger, int], None],
) -> None:
    """At most a tenth more than without one, in the quickest eighth of alternating rounds."""
    found = []
    with capture(), context.bound(accountId="acme", userId="ann"):
        rule = {"when": WHEN, "event": EXPORT}
        without, planned = logger(rules=[rule]), logger(plan=plan())
        for _ in range(ATTEMPTS):
            times: list[list[float]] = [[], []]
            for _ in range(ROUNDS):
                for kept, log in zip(times, (without, planned), strict=True):
                    kept.append(seconds(call, log))
            before, after = (sorted(each)[ROUNDS // 8] for each in times)
            found.append(f"{after / before:.3f}")
            if after <= MOST * before:
                return
    pytest.fail(f"it costs {', '.join(found)} times as much; expected {MOST} or less")


@pytest.mark.timing
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["yaml", "json"])
def test_a_large_plan_is_read_quickly(kind: str, tmp_path: Path) -> None:
    """Ten thousand events, each of which is a rule too, are read within a few seconds.

    Each thousand takes 0.2 to 0.3 s in JSON, 0.3 to 0.55 s in YAML; the bound is 0.6 s.
    """
    # JSON is YAML, but for the parser.
    events = {
        f"report {n} exported": {
            "description": "A user downloaded a report as a file",
            "owner": "reporting@acme.example",
            "event": {**EXPORT, "module": f"reports{n % 100}", "feature": f"export{n}"},
            "when": {"logger": "app.reports", "message": f"exported {n} %s rows"},
            "properties": {
                "total": {"type": "integer", "minimum": 1, "required": True},
                "format": {"enum": ["csv", "xlsx"]},
            },
            "since": "2026-03",
        }
        for n in range(10_000)
    }
    path = tmp_path / f"plan.{kind}"
    path.write_text(json.dumps({"version": 1, "events": events}, indent=1), encoding="utf-8")
    found = []
    for _ in range(ATTEMPTS):
        path.touch()  # another version: it is not kept
        began_at = time.process_time()
        made = EventFormatter(plan=path)
        found.append(time.process_time() - began_at)
        assert made.plan is not None
        assert len(list(made.rules)) == 10_000
        if found[-1] <= 2 * 0.3 * 10:
            return
    pytest.fail(f"it took {found} seconds")
