"""Medians, ratios and targets, and the tables that show them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.benchmarks import contenders
from tests.benchmarks.rounds import Sample

COLUMNS: dict[str, list[tuple[str, str, str]]] = {
    "tight": [
        ("call_us", "call us", "{:.2f}"),
        ("cpu_us", "CPU us", "{:.2f}"),
        ("calm_us", "calm us", "{:.2f}"),
    ],
    "instructions": [("instructions", "instructions", "{:.1f}")],
    "paced": [
        ("p50_us", "p50 us", "{:.1f}"),
        ("p99_us", "p99 us", "{:.1f}"),
        ("p999_us", "p99.9 us", "{:.0f}"),
        ("late_p99_us", "late p99 us", "{:.0f}"),
    ],
    "burst": [
        ("per_s", "events/s", "{:,.0f}"),
        ("call_us", "call us", "{:.2f}"),
        ("cpu_100k_s", "CPU s/100k", "{:.2f}"),
        ("peak_mb", "peak MB", "{:.0f}"),
        ("wire_bytes", "bytes/event", "{:.1f}"),
        ("events_per_request", "events/POST", "{:.0f}"),
        ("idle", "sink idle", "{:.0%}"),
    ],
    "outage": [
        ("grew_mb", "grew MB", "{:+.1f}"),
        ("peak_grew_mb", "peak grew MB", "{:+.1f}"),
        ("call_us", "call us", "{:.2f}"),
    ],
}
COLUMNS["slow"] = COLUMNS["threads"] = COLUMNS["burst"]

RATIOS = {
    "tight": ("call_us", ""),
    "instructions": ("instructions", ""),
    "paced": ("p99_us", ""),
    "burst": ("per_s", "minimal"),
    "slow": ("per_s", "minimal"),
    "threads": ("per_s", "minimal"),
}
"""The column whose ratio is shown, and the contender to compare with, `""` for the floor."""


class Results:
    """The samples of all contenders and rounds."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = list(samples)

    def values(self, measure: str, contender: str, key: str) -> dict[int, float]:
        """Return a contender's numbers by round, empty if any of its rounds failed."""
        mine = [s for s in self.samples if (s.measure, s.contender) == (measure, contender)]
        if any(sample.error for sample in mine):
            return {}
        return {s.round: s.values[key] for s in mine if s.values.get(key) is not None}

    def median(self, measure: str, contender: str, key: str) -> float | None:
        """Return the median over the rounds, None if there are no numbers."""
        found = self.values(measure, contender, key)
        return statistics.median(found.values()) if found else None

    def ratio(
        self, measure: str, contender: str, key: str, to: str, to_measure: str = ""
    ) -> float | None:
        """Return the median over the rounds of one contender's number divided by another's."""
        mine = self.values(measure, contender, key)
        others = self.values(to_measure or measure, to, key)
        common = [mine[n] / others[n] for n in mine if others.get(n)]
        return statistics.median(common) if common else None

    def error(self, measure: str, contender: str) -> str:
        """Return the reason that a contender has no numbers, `""` if it has them."""
        mine = [s for s in self.samples if (s.measure, s.contender) == (measure, contender)]
        return next((sample.error for sample in mine if sample.error), "")

    def names(self, measure: str) -> list[str]:
        """Return the names of the contenders of a measure, in order."""
        return list(dict.fromkeys(s.contender for s in self.samples if s.measure == measure))

    def best_peer(self) -> str | None:
        """Return the peer that delivered its burst fastest."""
        rates = {
            name: self.median("burst", name, "per_s") or 0.0
            for name in self.names("burst")
            if contenders.ALL[name].group == "peer"
        }
        return max(rates, key=rates.__getitem__, default=None)

    def smallest_peer(self) -> str | None:
        """Return the peer that sent the fewest bytes per event."""
        sizes = {
            name: self.median("burst", name, "wire_bytes") or float("inf")
            for name in self.names("burst")
            if contenders.ALL[name].group == "peer"
        }
        return min(sizes, key=sizes.__getitem__, default=None)


def _columns(results: Results, measure: str) -> list[tuple[str, str, str]]:
    if measure != "scale":
        return COLUMNS[measure]
    keys = {key for s in results.samples if s.measure == measure for key in s.values}
    scale = sorted({int(key.rpartition("_")[2]) for key in keys if key.startswith("cpu_us_")})
    return [
        (f"{kind}_us_{n}", f"{kind} us {n:,}", "{:.2f}") for kind in ("call", "cpu") for n in scale
    ]


def table(results: Results, measure: str) -> list[str]:
    """Return the lines of one measure's table."""
    columns = _columns(results, measure)
    key, to = RATIOS.get(measure, ("", ""))
    head = [measure, *(title for _, title, _ in columns)]
    rows = [[*head, f"{key} / {to or 'floor'}"] if key else head]
    notes = []
    for name in results.names(measure):
        if error := results.error(measure, name):
            notes.append(f"  {name}: {error}")
            continue
        row = [name, *(_shown(results.median(measure, name, k), form) for k, _, form in columns)]
        if key:
            other = to or contenders.ALL[name].floor
            row.append(_shown(results.ratio(measure, name, key, other), "{:.2f}"))
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [
        "  ".join([row[0].ljust(widths[0]), *(map(str.rjust, row[1:], widths[1:]))]) for row in rows
    ]
    return [*aligned, *notes]


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


@dataclass(frozen=True)
class Target:
    """A bound on a number, which fslog should meet.

    Args:
        what: the description of the number.
        of: returns the number from the results, None if a part of it was not measured.
        bound: the upper bound, or with `least` the lower bound.
        least: whether the bound is a lower one.
    """

    what: str
    of: Callable[[Results], float | None]
    bound: float
    least: bool = False

    def is_met(self, value: float) -> bool:
        """Return whether a value is within the bound."""
        return value >= self.bound if self.least else value <= self.bound


def _to(measure: str, name: str, key: str, to: str) -> Callable[[Results], float | None]:
    return lambda results: results.ratio(measure, name, key, to)


def _to_peer(key: str, which: Callable[[Results], str | None]) -> Callable[[Results], float | None]:
    def of(results: Results) -> float | None:
        peer = which(results)
        return None if peer is None else results.ratio("burst", "fslog", key, peer)

    return of


def _growth(results: Results) -> float | None:
    keys = [key for key, _, _ in _columns(results, "scale") if key.startswith("cpu_us_")]
    costs = [results.median("scale", "fslog", key) for key in keys]
    known = [cost for cost in costs if cost is not None]
    return max(known) / min(known) if known else None


TARGETS = [
    Target("call, explicit event, x NullHandler", _to("tight", "fslog", "call_us", "null"), 1.7),
    Target("call with a plan, x without", _to("tight", "fslog-plan", "call_us", "fslog"), 1.1),
    Target("paced p99 of a call, x NullHandler", _to("paced", "fslog", "p99_us", "null"), 1.3),
    Target("events/s, x minimal sender", _to("burst", "fslog", "per_s", "minimal"), 1.25, True),
    Target("events/s, x the best peer", _to_peer("per_s", Results.best_peer), 2.0, True),
    Target("CPU, x minimal sender", _to("burst", "fslog", "cpu_100k_s", "minimal"), 0.85),
    Target(
        "no event, ten rules, x NullHandler",
        _to("tight", "fslog-no-match", "call_us", "null-plain"),
        1.15,
    ),
    Target("call with a spool, x NullHandler", _to("tight", "fslog-spool", "call_us", "null"), 2.3),
    Target(
        "call with a spool, x FileHandler + JSON",
        _to("tight", "fslog-spool", "call_us", "file-json"),
        1.0,
    ),
    Target(
        "events/s to a 200 ms endpoint, x loopback",
        lambda results: results.ratio("slow", "fslog", "per_s", "fslog", "burst"),
        0.6,
        True,
    ),
    Target(
        "bytes on the wire, x the smallest peer", _to_peer("wire_bytes", Results.smallest_peer), 1.0
    ),
    Target(
        "memory growth in an outage with a spool, MB",
        lambda results: results.median("outage", "fslog-spool", "grew_mb"),
        10.0,
    ),
    Target("cost per event, highest / lowest by size", _growth, 1.15),
]


def targets(results: Results) -> Iterator[dict[str, Any]]:
    """Yield the value and the verdict of each target that was measured."""
    for target in TARGETS:
        value = target.of(results)
        if value is not None:
            yield {
                "what": target.what,
                "value": value,
                "bound": target.bound,
                "sign": ">=" if target.least else "<=",
                "met": target.is_met(value),
            }


def changes(results: Results, earlier: Results) -> Iterator[dict[str, Any]]:
    """Yield each number of the earlier fslog, and the ratio of this one's to it.

    The ratio is the median over the rounds, of numbers of the same round.
    """
    for measure in dict.fromkeys(sample.measure for sample in earlier.samples):
        for name in earlier.names(measure):
            for key, title, _ in _columns(results, measure):
                mine = results.values(measure, name, key)
                others = earlier.values(measure, name, key)
                ratios = [mine[n] / others[n] for n in mine if others.get(n)]
                if ratios:
                    yield {
                        "what": f"{measure}, {name}: {title}",
                        "earlier": statistics.median(others.values()),
                        "ratio": statistics.median(ratios),
                    }
