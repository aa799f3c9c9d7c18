"""Events and numbers as a person reads them: one row an event, and a summary of a run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from fslog.cli.output import Part
from fslog.errors import Problem
from fslog.mapping.schema import WARNINGS
from fslog.stats import Stats

_SHOWN = frozenset(
    {"accountId", "userId", "createdAt", "action", "sessionId", "module", "feature", "product"}
)
_LABEL = 11


HEADING: tuple[Part, ...] = (
    (f"{'time':14}{'account':9}{'user':9}{'action':17}module / feature", "bold"),
)
"""What stands in the columns of `event_row`."""


def event_row(event: Mapping[str, Any]) -> tuple[Part, ...]:
    """Return one line for an event: when, who, which action, where, and what else it says.

    Session and product are left out: they are the same in row after row.

    >>> event = {"accountId": "acme", "userId": "ann", "createdAt": 0, "action": "feature",
    ...          "sessionId": "s", "module": "reports", "feature": "export", "total": 3}
    >>> "".join(text for text, _ in event_row(event))[14:]
    'acme     ann      feature          reports / export  total=3'
    """
    at = datetime.fromtimestamp(event["createdAt"] / 1000).strftime("%H:%M:%S.%f")[:-3]
    where = _place(event)
    rest = " ".join(f"{name}={_text(event[name])}" for name in event if name not in _SHOWN)
    return (
        (f"{at}  ", "dim"),
        (f"{event['accountId']:8} ", "cyan"),
        (f"{event['userId']:8} ", ""),
        (f"{event['action']:16} ", "green"),
        (f"{where}{'  ' if where and rest else ''}", ""),
        (rest, "dim"),
    )


def _place(event: Mapping[str, Any]) -> str:
    return " / ".join(str(event[name]) for name in ("module", "feature") if name in event)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def summary(
    stats: Stats, seen: Sequence[Mapping[str, Any]], problems: Iterable[Problem]
) -> list[tuple[Part, ...]]:
    """Return the lines that account for a run.

    Args:
        stats: of the handler.
        seen: the events that the endpoint received.
        problems: what `on_problem` was told.
    """
    return [
        _row("records", _records(stats)),
        _row("delivered", _delivered(stats, len(seen))),
        _row("bytes", _bytes(stats)),
        _row("actions", _counts(event["action"] for event in seen)),
        *_modules(seen),
        *(_row(*_problem(problem), "yellow") for problem in problems),
        *([_row("failed", stats.last_error, "red")] if stats.last_error else []),
    ]


def _row(label: str, text: str, style: str = "") -> tuple[Part, ...]:
    return ((f"{label:{_LABEL}}", "bold"), (text, style))


def _records(stats: Stats) -> str:
    return (
        f"{stats.emitted} log records = {stats.accepted} accepted + {stats.skipped} skipped "
        f"(no event) + {stats.invalid} invalid + {stats.refused} refused"
    )


def _delivered(stats: Stats, seen: int) -> str:
    lost = f", {stats.abandoned} abandoned" if stats.abandoned else ""
    again = f", {stats.retries} failed attempts" if stats.retries else ""
    batches = f"{stats.batches} batch{'' if stats.batches == 1 else 'es'}"
    return (
        f"{stats.delivered} events sent in {batches}, {seen} received by the endpoint, "
        f"{stats.pending} pending{lost}{again}"
    )


def _bytes(stats: Stats) -> str:
    if not stats.bytes_sent:
        return "none"
    ratio = stats.bytes_encoded / stats.bytes_sent
    return f"{stats.bytes_encoded:,} before compression, {stats.bytes_sent:,} sent: {ratio:.1f} : 1"


def _counts(names: Iterable[str]) -> str:
    counted = Counter(names).most_common()
    return ", ".join(f"{name} {count}" for name, count in counted) or "none"


def _problem(problem: Problem) -> tuple[str, str]:
    label = "warning" if problem.code in WARNINGS else "not sent"
    event = problem.event or {}
    what = " ".join(filter(None, [str(event.get("action", "")), _place(event)]))
    return label, f"{what}: {problem.message}" if what else problem.message


def _modules(seen: Sequence[Mapping[str, Any]]) -> list[tuple[Part, ...]]:
    modules: dict[str, list[str]] = {}
    for event in seen:
        if event["action"] == "feature":
            modules.setdefault(str(event.get("module")), []).append(str(event.get("feature")))
    rows = [f"{module:10} {_counts(modules[module])}" for module in sorted(modules)]
    return [_row("features" if at == 0 else "", row) for at, row in enumerate(rows)]
