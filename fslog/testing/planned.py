"""Hold captured events against a tracking plan."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fslog.config import environment
from fslog.net.redaction import printable
from fslog.plan.judgement import CODES, problems
from fslog.plan.plan import Plan
from fslog.testing.sink import Finding, finding

_MOST = 20
"""How many problems a message shows."""

NO_PLAN = (
    "there is no plan: no handler that was used has one, and FSLOG_PLAN is not set; give the "
    "handler `plan`, set fslog_plan_file in pytest's configuration, or call assert_planned(plan)"
)


def plans_of(handlers: Iterable[Any]) -> list[Plan]:
    """Return the different plans of some handlers, or else that of the environment.

    Raises:
        TypeError, ValueError: that plan cannot be read.
    """
    found: list[Plan] = []
    for handler in handlers:
        plan = getattr(handler.formatter, "plan", None)
        if plan is not None and plan not in found:
            found.append(plan)
    if not found and (path := environment("FSLOG_PLAN", os.environ)) is not None:
        found.append(Plan.read(path))
    return found


def unplanned(
    plans: Sequence[Plan], events: Iterable[Mapping[str, Any]], findings: Iterable[Finding]
) -> list[Finding]:
    """Return what is not as planned, each problem once, with the first log call that has it.

    Args:
        plans: at least one; an event is as planned if it is by one of them.
        events: valid ones, of any process.
        findings: of log calls of this process; those of refused events are not in `events`.
    """
    by_handlers = [one for one in findings if one.code in CODES]
    places = {_key(one): one for one in reversed(by_handlers)}
    found = {_key(one): one for one in by_handlers if not one.is_warning}
    for event in events:
        of_plans = [problems(plan, event) for plan in plans]
        for problem in () if not all(of_plans) else of_plans[0]:
            one = finding(problem)
            found.setdefault(_key(one), places.get(_key(one), one))
    return list(found.values())


def _key(one: Finding) -> tuple[str, str, str]:
    return one.code, one.property, one.message


def described(found: Sequence[Finding]) -> str:
    """Return the message of a failed assertion."""
    lines = [f"  {printable(str(one))}" for one in found[:_MOST]]
    if len(found) > _MOST:
        lines.append(f"  and {len(found) - _MOST} more")
    count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
    return "\n".join([f"not everything is as planned: {count}", *lines])
