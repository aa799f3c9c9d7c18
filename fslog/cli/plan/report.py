"""The output of `fslog plan check`: text, JSON, or annotations of a workflow on GitHub."""

from __future__ import annotations

import sys

from fslog.cli.output import Part, Printer, count
from fslog.cli.plan.expected import Expected
from fslog.cli.plan.findings import EventPlaces, Findings, Violation
from fslog.cli.plan.source.calls import Source

_MOST_PLACES = 5
_MOST_UNDECIDED = 50


class Report:
    """The result in one of the formats.

    Args:
        config: as it was given.
        hidden: how many of the violations the baseline has.
        gone: how many of its violations there are no more.
        written: the baseline's path, if it was written.
    """

    def __init__(
        self,
        config: str,
        of: Expected,
        source: Source,
        found: Findings,
        *,
        hidden: int = 0,
        gone: int = 0,
        written: str = "",
    ) -> None:
        self._config = config
        self._written = written
        self._of = of
        self._source = source
        self._found = found
        self._hidden = hidden
        self._gone = gone
        self._printer = Printer(sys.stdout)

    def text(self) -> None:
        """Write for a person."""
        line = self._printer.line
        line((self._of.label, "bold"), (f"  {self._read()}", ""))
        for part in (self._events(), self._violations(), self._undecided()):
            if part:
                line()
            for row in part:
                line(*row)
        line()
        line(*self._summary())

    def _read(self) -> str:
        files = count(self._source.files, "file")
        return f"{files}, {count(self._found.calls, 'log call')}"

    def _events(self) -> list[tuple[Part, ...]]:
        events = list(self._found.events.values())
        width = min(max((len(one.name) for one in events), default=0), 30) + 2
        return [((f"{one.name:{width}}", ""), _coverage(one)) for one in events]

    def _violations(self) -> list[tuple[Part, ...]]:
        return [
            (
                (f"{'violation':11}", "red"),
                (f"{one.place or self._config}: ", "bold"),
                (f"{one.message} ({one.code})", ""),
            )
            for one in self._found.violations
        ]

    def _undecided(self) -> list[tuple[Part, ...]]:
        rows: list[tuple[Part, ...]] = []
        for one in self._found.undecided[:_MOST_UNDECIDED]:
            events = f"; may be {', '.join(one.events)}" if one.events else ""
            text = f"{one.reason}{events}"
            rows.append(((f"{'undecided':11}", "yellow"), (f"{one.place}: ", "bold"), (text, "")))
        more = len(self._found.undecided) - len(rows)
        if more > 0:
            rows.append(((f"{'':11}{more:,} more; --format json has all of them", "dim"),))
        for path, reason in self._source.unparsed:
            rows.append(((f"{'not read':11}", "yellow"), (f"{path}: ", "bold"), (reason, "")))
        return rows

    def _summary(self) -> tuple[Part, ...]:
        violations, undecided = len(self._found.violations), len(self._found.undecided)
        parts = [count(violations, "violation")] if violations else []
        if self._written:
            parts.append(f"{count(self._hidden, 'violation')} written to {self._written}")
        elif self._hidden:
            parts.append(f"{self._hidden:,} of the baseline")
        if self._gone:
            parts.append(f"{self._gone:,} of the baseline are gone: write it again")
        if undecided:
            parts.append(f"{count(undecided, 'log call')} undecided")
        if not violations:
            parts = ["OK", *parts]
        return ((", ".join(parts), "red" if violations else "green"),)

    def json(self) -> None:
        """Write one JSON object."""
        found = self._found
        self._printer.values(
            {
                "config": self._of.label,
                "files": self._source.files,
                "calls": found.calls,
                "decided": found.decided,
                "events": [
                    {
                        "name": one.name,
                        "rule": one.is_rule,
                        "status": one.status,
                        "places": one.places,
                        "undecided": one.undecided,
                    }
                    for one in found.events.values()
                ],
                "violations": [
                    {
                        "code": one.code,
                        "event": one.event,
                        "path": one.path or None,
                        "line": one.line or None,
                        "message": one.message,
                    }
                    for one in found.violations
                ],
                "undecided": [
                    {
                        "path": one.path,
                        "line": one.line,
                        "events": list(one.events),
                        "reason": one.reason,
                    }
                    for one in found.undecided
                ],
                "not_read": [dict(one._asdict()) for one in self._source.unparsed],
                "baseline": {"known": self._hidden, "gone": self._gone},
                "ok": not found.violations,
            }
        )

    def github(self) -> None:
        """Write an annotation for each violation, as GitHub's workflows read them."""
        for one in self._found.violations:
            self._printer.verbatim((_annotation(one, self._config), ""))
        self._printer.line(*self._summary())


def _coverage(one: EventPlaces) -> Part:
    if one.places:
        shown = ", ".join(one.places[:_MOST_PLACES])
        more = len(one.places) - _MOST_PLACES
        return (f"{shown}, and {more} more" if more > 0 else shown, "")
    if one.status == "undecided":
        return (f"undecided, in {count(len(one.undecided), 'place')}", "yellow")
    if one.status == "outside":
        return ("its log calls are not in this source", "dim")
    return ("no log call", "red" if one.is_rule else "yellow")


def _annotation(one: Violation, config: str) -> str:
    """Return a workflow command: https://docs.github.com/actions/reference/workflow-commands."""
    place = f"file={_property(one.path or config)}"
    if one.line:
        place += f",line={one.line}"
    return f"::error {place},title={_property(f'fslog {one.code}')}::{_data(one.message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
