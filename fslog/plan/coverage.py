"""The coverage of a plan: which planned events were seen, when, and which unplanned ones."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fslog.plan.plan import Plan, PlannedEvent, label

MOST_UNPLANNED = 1_000
"""Different unplanned events that are kept; more of them have ids in their names."""

_IDENTIFYING = ("action", "module", "feature")
_MOST_CHARACTERS = 200


@dataclass
class Sightings:
    """Events of one kind.

    Args:
        count: how many.
        last: the latest `createdAt`, epoch milliseconds; None if unknown.
        hint: what was probably meant by an unplanned event, "" without an idea.
    """

    count: int = 0
    last: float | None = None
    hint: str = ""

    def add(self, count: int, last: float | None) -> None:
        """Add some more events."""
        self.count += count
        if last is not None and (self.last is None or last > self.last):
            self.last = last


class Coverage:
    """Count events by what a plan says of them.

    Args:
        plan: the plan.

    >>> plan = Plan({"version": 1, "events": {"sold": {"event": {"action": "sale"}}}})
    >>> coverage = Coverage(plan)
    >>> coverage.add({"action": "sale", "createdAt": 1}), coverage.add({"action": "sael"})
    (None, None)
    >>> coverage.seen["sold"].count, coverage.unplanned["sael"].hint
    (1, 'did you mean sale?')
    """

    def __init__(self, plan: Plan) -> None:
        self.plan: Plan = plan
        self.events: int = 0
        self.seen: dict[str, Sightings] = {}
        """Planned events by name."""
        self.unplanned: dict[str, Sightings] = {}
        """The others, as `label_of` calls them."""
        self.others: int = 0
        """Unplanned events beyond `MOST_UNPLANNED` different ones."""

    def add(self, event: Mapping[str, Any]) -> None:
        """Count an event."""
        self.events += 1
        at = event.get("createdAt")
        last = at if type(at) in (int, float) else None
        planned = self.plan.find(event)
        if planned is not None:
            self.seen.setdefault(planned.name, Sightings()).add(1, last)
        else:
            self._add_unplanned(label_of(event), 1, last, event)

    def _add_unplanned(
        self, name: str, count: int, last: float | None, event: Mapping[str, Any] | None
    ) -> None:
        found = self.unplanned.get(name)
        if found is None:
            if len(self.unplanned) >= MOST_UNPLANNED:
                self.others += count
                return
            found = self.unplanned[name] = Sightings()
        if event is not None and not found.hint:
            found.hint = self.plan.nearest(event)
        found.add(count, last)

    def missing(self, today: datetime.date) -> list[PlannedEvent]:
        """Return the planned events that were never seen, less those that have expired."""
        return [
            planned
            for planned in self.plan.events.values()
            if planned.name not in self.seen and not _is_expired(planned, today)
        ]

    def percent(self, today: datetime.date) -> float:
        """Return how many of the planned events were seen, of those that are expected; 100 of none.

        >>> plan = Plan({"version": 1, "events": {"sold": {"event": {"action": "sale"}}}})
        >>> Coverage(plan).percent(datetime.date(2026, 3, 1))
        0.0
        """
        expected = len(self.seen) + len(self.missing(today))
        return 100.0 * len(self.seen) / expected if expected else 100.0

    def values(self) -> dict[str, Any]:
        """Return the counts as JSON values, for `merge` in another process."""
        return {
            "events": self.events,
            "others": self.others,
            "seen": {name: [one.count, one.last] for name, one in self.seen.items()},
            "unplanned": {
                name: [one.count, one.last, one.hint] for name, one in self.unplanned.items()
            },
        }

    def merge(self, values: Mapping[str, Any]) -> None:
        """Add the counts of another process, which has the same plan."""
        self.events += values["events"]
        self.others += values["others"]
        for name, (count, last) in values["seen"].items():
            self.seen.setdefault(name, Sightings()).add(count, last)
        for name, (count, last, hint) in values["unplanned"].items():
            self._add_unplanned(name, count, last, None)
            if name in self.unplanned and not self.unplanned[name].hint:
                self.unplanned[name].hint = hint


def label_of(event: Mapping[str, Any]) -> str:
    """Return what an unplanned event is called: its action, module and feature, not too long.

    >>> label_of({"action": "feature", "module": "reports", "feature": "export", "total": 3})
    'reports / export'
    """
    return label(identifying(event))


def identifying(event: Mapping[str, Any]) -> dict[str, str]:
    """Return the action, the module and the feature, as far as they are texts."""
    return {
        name: event[name][:_MOST_CHARACTERS]
        for name in _IDENTIFYING
        if type(event.get(name)) is str
    }


def _is_expired(planned: PlannedEvent, today: datetime.date) -> bool:
    return planned.expires is not None and planned.expires <= today
