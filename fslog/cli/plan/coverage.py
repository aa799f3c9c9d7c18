"""`fslog plan coverage`: which planned events arrive, and which unplanned ones."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fslog.cli.options import CommandParser
from fslog.cli.output import Part, Printer, count
from fslog.cli.plan.arrivals import Arrivals, add_sources, report_invalid
from fslog.cli.plan.reading import read_plan, today
from fslog.plan.coverage import Coverage, Sightings
from fslog.plan.plan import PlannedEvent

_DESCRIPTION = """\
Print which planned events there are among the valid events in files or in a
running viewer, and when each was last seen; which planned events were never
seen; and which events are not planned. A planned event that has expired is not
expected any more."""

_EPILOG = """\
examples:
  fslog plan coverage usage-plan.yaml events.ndjson
  fslog plan coverage usage-plan.yaml --viewer http://127.0.0.1:8020
  fslog plan coverage --json usage-plan.yaml *.ndjson.gz | jq .percent

The exit code is 0, 1 if the viewer cannot be reached, 2 for an invalid argument
or plan. In tests, `pytest --fslog-plan-coverage` prints the same."""


def add_command(commands: Any, prog: str) -> None:
    """Add the parser of this command."""
    parser: CommandParser = commands.add_parser(
        "coverage", prog=f"{prog} coverage", description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument("plan", metavar="PLAN", help="the plan: YAML, JSON or TOML")
    add_sources(parser, spool=False)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(act=run_coverage)


def run_coverage(options: argparse.Namespace, clock: Callable[[], datetime.date] = today) -> int:
    """Print the coverage.

    Raises:
        CommandError: the plan is not valid, or the events cannot be read.
    """
    coverage = Coverage(read_plan(options.plan))
    arrivals = Arrivals(options)
    for event in arrivals.events():
        coverage.add(event)
    report_invalid(arrivals)
    day = clock()
    if options.json:
        print(json.dumps(as_json(coverage, day)))
        return 0
    printer = Printer(sys.stdout)
    for row in rows(coverage, day):
        printer.line(*row)
    return 0


def rows(coverage: Coverage, today: datetime.date) -> Iterator[tuple[Part, ...]]:
    """Yield the lines of a report."""
    missing = coverage.missing(today)
    seen = [one for one in coverage.plan.events.values() if one.name in coverage.seen]
    yield (
        (f"{coverage.plan.source or 'the plan'}: ", "bold"),
        (
            f"{len(seen):,} of {count(len(seen) + len(missing), 'planned event')} seen "
            f"({coverage.percent(today):.0f} %), in {count(coverage.events, 'event')}",
            "",
        ),
    )
    if missing:
        yield (("planned, never seen", "bold"),)
    for planned in missing:
        yield _row(planned.name, _facts(planned), "yellow")
    if seen:
        yield (("planned and seen", "bold"),)
    for planned in seen:
        yield _row(planned.name, _sightings(coverage.seen[planned.name]), "green")
    if coverage.unplanned:
        yield (("seen, never planned", "bold"),)
    for name, one in _by_count(coverage.unplanned):
        yield _row(name, f"{_sightings(one)}{one.hint and f'; {one.hint}'}", "red")
    if coverage.others:
        yield _row(count(coverage.others, "other event"), "", "red")


def _row(name: str, text: str, style: str) -> tuple[Part, ...]:
    return ((f"  {name:28}  ", style), (text, ""))


def _facts(planned: PlannedEvent) -> str:
    owner = f", {planned.owner}" if planned.owner else ""
    since = f", since {planned.since}" if planned.since else ""
    return f"{planned.label}{owner}{since}"


def _sightings(one: Sightings) -> str:
    at = instant(one.last)
    return f"{one.count:,}{at and f', last {at}'}"


def _by_count(found: Mapping[str, Sightings]) -> list[tuple[str, Sightings]]:
    return sorted(found.items(), key=lambda pair: (-pair[1].count, pair[0]))


def instant(at_ms: float | None) -> str:
    """Return an instant in UTC; "" if there is none, or no calendar has it.

    >>> instant(1_700_000_000_000)
    '2023-11-14 22:13:20Z'
    """
    if at_ms is None:
        return ""
    try:
        at = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.timezone.utc)
    except (OverflowError, OSError, ValueError):
        return ""
    return f"{at:%Y-%m-%d %H:%M:%SZ}"


def as_json(coverage: Coverage, today: datetime.date) -> dict[str, Any]:
    """Return a report as JSON values; instants are epoch milliseconds."""
    missing = coverage.missing(today)
    seen = coverage.seen
    return {
        "percent": round(coverage.percent(today), 1),
        "events": coverage.events,
        "never_seen": [one.name for one in missing],
        "seen": {
            name: {"count": seen[name].count, "last": seen[name].last}
            for name in coverage.plan.events
            if name in seen
        },
        "unplanned": {
            name: {"count": one.count, "last": one.last, "hint": one.hint}
            for name, one in _by_count(coverage.unplanned)
        },
        "other_unplanned": coverage.others,
    }
