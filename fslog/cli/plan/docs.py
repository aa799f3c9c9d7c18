"""`fslog plan docs`: a catalogue of a plan's events for the people who read their numbers."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from fslog.cli.options import CommandParser
from fslog.cli.output import count
from fslog.cli.plan.reading import read_plan
from fslog.plan.keywords import TYPES, Property
from fslog.plan.plan import Plan, PlannedEvent

_DESCRIPTION = """\
Print a catalogue of a plan's events in Markdown: what each event means, whose it
is, what identifies it, its properties and what they allow. Descriptions may be
Markdown themselves."""

_EPILOG = """\
example:
  fslog plan docs usage-plan.yaml > docs/usage-events.md

The exit code is 0, or 2 for an invalid argument or plan."""


def add_command(commands: Any, prog: str) -> None:
    """Add the parser of this command."""
    parser: CommandParser = commands.add_parser(
        "docs", prog=f"{prog} docs", description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument("plan", metavar="PLAN", help="the plan: YAML, JSON or TOML")
    parser.set_defaults(act=run_docs)


def run_docs(options: argparse.Namespace) -> int:
    """Print the catalogue.

    Raises:
        CommandError: the plan is not valid.
    """
    for line in catalogue(read_plan(options.plan)):
        print(line)
    return 0


def catalogue(plan: Plan) -> Iterator[str]:
    """Yield the lines of the catalogue."""
    yield "# Usage events"
    yield ""
    of = f" of {code(os.path.basename(plan.source))}" if plan.source else ""
    yield f"{count(len(plan.events), 'event')}{of}, written by `fslog plan docs`."
    anchors = _anchors(["Usage events", *plan.events])
    if plan.events:
        yield ""
        yield from _row("event", "meaning", "owner")
        yield from _row("---", "---", "---")
        for name, planned in plan.events.items():
            link = f"[{escaped(name)}](#{anchors[name]})"
            first = planned.description.strip().split("\n\n")[0]
            yield from _row(link, first, escaped(planned.owner))
    for planned in plan.events.values():
        yield from _event(planned, plan.common)
    if plan.common:
        yield from ("", "## Properties of every event", "")
        yield from _properties(plan.common.values(), rule=())


def _event(planned: PlannedEvent, common: Mapping[str, Property]) -> Iterator[str]:
    yield from ("", f"## {escaped(planned.name)}")
    if planned.description:
        yield from ("", planned.description.strip())
    facts = [f"Owner: {escaped(planned.owner)}."] if planned.owner else []
    facts += [f"Since {planned.since}."] if planned.since else []
    facts += [f"Not expected from {planned.expires} on."] if planned.expires else []
    if facts:
        yield from ("", " ".join(facts))
    pairs = (f"{escaped(name)} {code(_text(value))}" for name, value in planned.constants.items())
    yield from ("", f"It has {', '.join(pairs)}.")
    templates = [name for name in planned.event if name not in planned.constants]
    listed = {name: Property(name) for name in templates} | {
        name: one
        for name, one in planned.properties.items()
        if name not in planned.constants and one is not common.get(name)
    }
    if listed:
        yield ""
        yield from _properties(listed.values(), templates)
    if planned.when is not None:
        when = (f"{escaped(key)} {code(_text(value))}" for key, value in planned.when.items())
        yield from ("", f"Existing log calls make it: {', '.join(when)}.")


def _properties(properties: Iterable[Property], rule: Collection[str]) -> Iterator[str]:
    yield from _row("property", "type", "in each event", "allowed", "meaning")
    yield from _row("---", "---", "---", "---", "---")
    for one in properties:
        yield from _row(
            code(one.name),
            " or ".join(name for name in TYPES if name in one.types) or "any",
            "yes" if one.required else "",
            ", ".join(_allowed(one)),
            one.description,
        )


def _allowed(one: Property) -> Iterator[str]:
    if one.enum is not None:
        yield ", ".join(code(_text(value)) for value in one.enum)
    if one.minimum is not None:
        yield f"at least {one.minimum}"
    if one.maximum is not None:
        yield f"at most {one.maximum}"
    if one.max_length is not None:
        yield f"at most {count(one.max_length, 'character')}"
    if one.pattern is not None:
        yield f"what {code(one.pattern)} is found in"
    if one.items is not None:
        of = " or ".join(name for name in TYPES if name in one.items.types)
        yield " ".join(["items:", *filter(None, [of, ", ".join(_allowed(one.items))])])


def _row(*cells: str) -> Iterator[str]:
    yield f"| {' | '.join(map(cell, cells))} |"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def cell(text: str) -> str:
    r"""Return Markdown for a cell of a table.

    >>> print(cell("one | two\nlines"))
    one \| two lines
    """
    return " ".join(text.split()).replace("|", "\\|")


def escaped(text: str) -> str:
    r"""Return a text that Markdown shows as it is.

    >>> print(escaped("a_b <c> #1"))
    a\_b \<c\> \#1
    """
    return re.sub(r"([\\`*_{}\[\]<>#~&])", r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """Return a text as a code span.

    >>> code("a`b")
    '`` a`b ``'
    """
    shown = "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
    longest = max(map(len, re.findall("`+", shown)), default=0)
    if not longest:
        return f"`{shown}`" if shown.strip() else '`""`'
    mark = "`" * (longest + 1)
    return f"{mark} {shown} {mark}"


def _anchors(headings: Iterable[str]) -> dict[str, str]:
    """Return the anchor of each heading, as GitHub and GitLab make them."""
    counts: dict[str, int] = {}
    found = {}
    for heading in headings:
        text = " ".join(heading.split())
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        number = counts[slug] = counts.get(slug, -1) + 1
        found[heading] = f"{slug}-{number}" if number else slug
    return found
