"""Many explanations in numbers: what came of the lines, by rule, and why rules did not fit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from fslog.cli.check.explanations import Explanation, Miss

_MAX_KINDS = 1_000
"""How many loggers, and kinds of problems, are told apart: a log may name any number."""


@dataclass
class Tally:
    """Count explanations.

    Args:
        rules: how many rules there are.
    """

    rules: int
    outcomes: Counter[str] = field(default_factory=Counter)
    fits: Counter[int] = field(default_factory=Counter)
    explicit: int = 0
    stopped_events: int = 0
    stops: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    problems: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    nearest: dict[int, Miss] = field(default_factory=dict)
    failed: dict[int, Counter[str]] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, one: Explanation) -> None:
        """Count one."""
        self.outcomes[one.outcome] += 1
        for note in one.notes:
            _count(self.notes, note)
        if one.outcome == "stopped":
            _count(self.stops, one.why)
            self.stopped_events += one.event is not None
            return
        if one.rule is not None:
            self.fits[one.rule] += 1
        self.explicit += one.is_explicit
        if one.outcome == "skipped" and one.record is not None:
            _count(self.skipped, str(one.record.name))
        for problem in one.problems:
            _count(self.problems, (problem.code, problem.property, problem.message))
        for miss in one.misses:
            self._miss(miss)

    def _miss(self, miss: Miss) -> None:
        self.failed.setdefault(miss.rule, Counter())[miss.condition.key] += 1
        nearest = self.nearest.get(miss.rule)
        if nearest is None or miss.held > nearest.held:
            self.nearest[miss.rule] = miss

    @property
    def lines(self) -> int:
        """How many lines there were."""
        return sum(self.outcomes.values())

    def unused(self) -> list[int]:
        """Return the rules that never fitted."""
        return [index for index in range(self.rules) if not self.fits[index]]

    def json(self) -> dict[str, Any]:
        """Return the numbers for a program."""
        return {
            "lines": self.lines,
            "outcomes": dict(self.outcomes),
            "explicit": self.explicit,
            "rules": [
                {
                    "rule": index,
                    "fits": self.fits[index],
                    "failed": dict(self.failed.get(index, Counter())),
                    "nearest": self.nearest[index].sentence() if index in self.nearest else None,
                }
                for index in range(self.rules)
            ],
            "stopped": dict(self.stops),
            "stopped_events": self.stopped_events,
            "skipped_by_logger": dict(self.skipped.most_common(20)),
            "problems": [
                {"code": code, "property": name, "message": message, "count": count}
                for (code, name, message), count in self.problems.most_common()
            ],
        }


def _count(counter: Counter[Any], key: Any) -> None:
    if key in counter or len(counter) < _MAX_KINDS:
        counter[key] += 1
