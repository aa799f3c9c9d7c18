"""The events that arrive, held against a tracking plan."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timezone
from os.path import splitext
from textwrap import indent
from typing import Any, NamedTuple

from fslog.plan.coverage import Coverage, Sightings, identifying, label_of
from fslog.plan.inference import Inference
from fslog.plan.plan import Plan, PlannedEvent
from fslog.plan.proposals import Proposal, json_event, proposals, toml_event, yaml_event
from fslog.viewer.entries import Entry
from fslog.viewer.history import JsonObject

UNPLANNED = "unplanned"
"""The code of the problem of an event that is not planned."""

_INDENT = 2
_MAX_TEXT = 500


def _today() -> date:
    return datetime.now(timezone.utc).date()


class PlanCounts:
    """Count events by a plan, since the start or the last `clear`; not thread-safe.

    Unlike the history it forgets no event that is evicted.

    Args:
        plan: the plan.
        today: returns the day by which planned events have expired or not.
    """

    def __init__(self, plan: Plan, today: Callable[[], date] = _today) -> None:
        self._plan = plan
        self._today = today
        self._last_id = 0
        self.clear()

    @property
    def source(self) -> str:
        """The path of the plan."""
        return self._plan.source[:_MAX_TEXT]

    def clear(self) -> None:
        """Forget all events; ids continue."""
        self._coverage = Coverage(self._plan)
        self._kinds: dict[int, _Unplanned] = {}
        self._ids: dict[str, int] = {}

    def add(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Count valid events."""
        coverage = self._coverage
        for event in events:
            before = len(coverage.unplanned)
            coverage.add(event)
            if len(coverage.unplanned) > before:
                self._last_id += 1
                name = label_of(event)
                self._ids[name] = self._last_id
                self._kinds[self._last_id] = _Unplanned(name, identifying(event))

    def json(self, limit: int) -> JsonObject:
        """Return the coverage as the API shows it.

        Args:
            limit: maximum length of each list.
        """
        coverage, today = self._coverage, self._today()
        missing = coverage.missing(today)
        seen = [one for one in self._plan.events.values() if one.name in coverage.seen]
        kinds = sorted(self._kinds, key=lambda id: -self._sightings(id).count)
        return {
            "plan": self.source,
            "percent": round(coverage.percent(today), 1),
            "counts": {
                "events": coverage.events,
                "seen": len(seen),
                "never_seen": len(missing),
                "unplanned": len(kinds),
                "other_unplanned": coverage.others,
            },
            "never_seen": [self._planned(one) for one in missing[:limit]],
            "seen": [self._planned(one) for one in seen[:limit]],
            "unplanned": [self._unplanned(id) for id in kinds[:limit]],
        }

    def _planned(self, planned: PlannedEvent) -> JsonObject:
        found = self._coverage.seen.get(planned.name, Sightings())
        return {
            "event": planned.name[:_MAX_TEXT],
            "label": planned.label[:_MAX_TEXT],
            "owner": planned.owner[:_MAX_TEXT],
            "description": planned.description[:_MAX_TEXT],
            "count": found.count,
            "last": found.last,
            "filter": identifying(planned.constants),
        }

    def _unplanned(self, id: int) -> JsonObject:
        kind, found = self._kinds[id], self._sightings(id)
        return {
            "id": id,
            "event": kind.name,
            "hint": found.hint[:_MAX_TEXT],
            "count": found.count,
            "last": found.last,
            "filter": {"problem": UNPLANNED, **kind.values},
        }

    def _sightings(self, id: int) -> Sightings:
        return self._coverage.unplanned[self._kinds[id].name]

    def id_of(self, entry: Entry) -> int | None:
        """Return the id of an unplanned event; None for any other."""
        return self._ids.get(label_of(_event(entry))) if is_unplanned(entry) else None

    def proposal(self, id: int, entries: Iterable[Entry]) -> JsonObject | None:
        """Return an unplanned event with the text that plans it, as `fslog plan infer` writes it.

        Args:
            id: of the event.
            entries: the kept ones.

        Returns:
            None if there is no such id, or none of its events is kept.
        """
        kind = self._kinds.get(id)
        if kind is None:
            return None
        found = Inference()
        for entry in entries:
            if kind.may_have(entry) and label_of(event := _event(entry)) == kind.name:
                found.add(event)
        made = proposals(found, self._plan.events, self._plan.common)
        if not made:
            return None
        kind_of_text = splitext(self._plan.source)[1][1:].lower()
        name, write = _FORMATS.get(kind_of_text, _FORMATS["yaml"])
        text = {"plan": self.source, "format": name, "text": write(made)}
        return {**self._unplanned(id), **text}


def _yaml(made: Sequence[Proposal]) -> str:
    return "".join(f"{line}\n" for one in made for line in yaml_event(one, _INDENT))


def _json(made: Sequence[Proposal]) -> str:
    return indent(",\n".join(map(json_event, made)), " " * 2 * _INDENT) + "\n"


def _toml(made: Sequence[Proposal]) -> str:
    return "".join(f"{line}\n" for one in made for line in toml_event(one)).lstrip("\n")


_FORMATS = {"yaml": ("YAML", _yaml), "json": ("JSON", _json), "toml": ("TOML", _toml)}


class _Unplanned(NamedTuple):
    """One kind of unplanned events: its name, and what filters find it by."""

    name: str
    values: dict[str, str]

    def may_have(self, entry: Entry) -> bool:
        """Return whether an entry may be of this kind, without parsing its line."""
        texts = ((getattr(entry, name) or "", text) for name, text in self.values.items())
        return is_unplanned(entry) and all(own.startswith(text) for own, text in texts)


def is_unplanned(entry: Entry) -> bool:
    """Return whether an entry has an event that is not planned."""
    return any(problem.code == UNPLANNED for problem in entry.problems)


def _event(entry: Entry) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(entry.line)
    return event
