"""`fslog plan docs`: a catalogue of a plan's events in Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fslog.cli.plan.docs import catalogue, code
from fslog.plan.plan import Plan
from uploads import Command

PLAN: dict[str, Any] = {
    "version": 1,
    "common": {"product": {"enum": ["core", "more"], "description": "Which | product"}},
    "events": {
        "report exported": {
            "description": "A user downloaded a *report*.\n\nAs a file.",
            "owner": "Ann_B",
            "since": "2026-03",
            "expires": "2027-03-01",
            "when": {"logger": "app", "message": "exported %s|%s"},
            "event": {
                "action": "feature",
                "module": "reports",
                "feature": "export",
                "total": "{args.0}",
                "rows": "{args.1}",
            },
            "properties": {
                "total": {"type": "integer", "minimum": 1, "maximum": 9, "required": True},
                "format": {"type": ["string", "null"], "pattern": "^(a|b)$", "maxLength": 1},
                "tags": {"items": {"type": "string", "enum": ["a", 1.5][:1]}},
            },
        },
        "Report: exported": {"event": {"action": "x_y", "level": 2}},
        "report  exported": {"event": {"action": "`z`"}},
    },
}


def test_the_catalogue(fslog: Command, tmp_path: Path) -> None:
    """Each event has a section, to which the table at the beginning links."""
    (tmp_path / "plan.json").write_text(json.dumps(PLAN))
    assert fslog("plan", "docs", "plan.json") == (
        0,
        r"""# Usage events

3 events of `plan.json`, written by `fslog plan docs`.

| event | meaning | owner |
| --- | --- | --- |
| [report exported](#report-exported) | A user downloaded a *report*. | Ann\_B |
| [Report: exported](#report-exported-1) |  |  |
| [report exported](#report-exported-2) |  |  |

## report exported

A user downloaded a *report*.

As a file.

Owner: Ann\_B. Since 2026-03-01. Not expected from 2027-03-01 on.

It has action `feature`, module `reports`, feature `export`.

| property | type | in each event | allowed | meaning |
| --- | --- | --- | --- | --- |
| `total` | integer | yes | at least 1, at most 9 |  |
| `rows` | any |  |  |  |
| `format` | string or null |  | at most 1 character, what `^(a\|b)$` is found in |  |
| `tags` | any |  | items: string `a` |  |

Existing log calls make it: logger `app`, message `exported %s|%s`.

## Report: exported

It has action `x_y`, level `2`.

## report exported

It has action `` `z` ``.

## Properties of every event

| property | type | in each event | allowed | meaning |
| --- | --- | --- | --- | --- |
| `product` | any |  | `core`, `more` | Which \| product |
""",
        "",
    )


SHOP = """
import logging

log = logging.getLogger("app")


def export(rows, kind, event):
    log.info("exported %s|%s", rows, kind)
    log.info("saved", extra={"event": event})
    log.info("saved", extra={"event": {"action": "x_y", "level": 2}})
    logging.getLogger("app.more").info("exported %s|%s", 1, 2)
"""


def test_the_places_in_the_code(fslog: Command, tmp_path: Path) -> None:
    """The log calls that make an event are listed as `fslog plan check` finds them."""
    library = {"when": {"logger": "celery.worker"}, "event": {"action": "done"}}
    plan = {**PLAN, "events": {**PLAN["events"], "library": library}}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    (tmp_path / "shop.py").write_text(SHOP)
    said = fslog("plan", "docs", "plan.json", "shop.py")
    assert said.code == 0
    _, *sections = [text.strip().splitlines()[-1] for text in said.out.split("\n## ")]
    assert sections[:-1] == [
        "In the code: `shop.py:8`, `shop.py:11`.",
        "In the code: `shop.py:10`.",
        "In the code: none.",
        "In the code: none; the logger is that of a library.",
    ]
    assert fslog("plan", "docs", "plan.json", "none.py").code == 2


def test_an_event_that_perhaps_a_log_call_makes(fslog: Command, tmp_path: Path) -> None:
    """A log call whose message the source does not say may be the one."""
    (tmp_path / "plan.json").write_text(json.dumps(PLAN))
    (tmp_path / "shop.py").write_text(
        'import logging\n\n\ndef say(text):\n    logging.getLogger("app").info(text, 1, 2)\n'
    )
    out = fslog("plan", "docs", "plan.json", "shop.py").out
    assert out.count("\nPerhaps: `shop.py:5`.\n") == 1


def test_a_plan_without_events() -> None:
    """An empty catalogue says so."""
    assert [*catalogue(Plan({"version": 1}))] == [
        "# Usage events",
        "",
        "0 events, written by `fslog plan docs`.",
    ]


@pytest.mark.parametrize(
    ("text", "shown"), [("", '`""`'), ("a\nb", "`a\\nb`"), ("``", "``` `` ```"), ("a b", "`a b`")]
)
def test_code(text: str, shown: str) -> None:
    """A value is shown as it is, whatever is in it, on one line."""
    assert code(text) == shown


def test_what_becomes_of_personal_data() -> None:
    """A column says it in tables that have such properties, whichever event says it."""
    plan = Plan(
        {
            "version": 1,
            "common": {"userId": {"pii": "hash"}, "product": {}},
            "events": {
                "a": {
                    "event": {"action": "a"},
                    "properties": {"email": {"pii": "drop"}, "ip": {"pii": "keep"}},
                },
                "b": {"event": {"action": "b"}, "properties": {"email": {}, "x": {}}},
                "c": {"event": {"action": "c"}, "properties": {"x": {}}},
            },
        }
    )
    rows = [line for line in catalogue(plan) if line.startswith(("| property", "| `"))]
    assert rows == [
        "| property | type | in each event | allowed | leaves | meaning |",
        "| `email` | any |  |  | never |  |",
        "| `ip` | any |  |  | as it is |  |",
        "| property | type | in each event | allowed | leaves | meaning |",
        "| `email` | any |  |  | never |  |",
        "| `x` | any |  |  |  |  |",
        "| property | type | in each event | allowed | meaning |",
        "| `x` | any |  |  |  |",
        "| property | type | in each event | allowed | leaves | meaning |",
        "| `userId` | any |  |  | as a hash |  |",
        "| `product` | any |  |  |  |  |",
    ]
