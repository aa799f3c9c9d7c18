"""`fslog plan docs`: a catalogue of a plan's events for the people who read their numbers."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fslog.cli.options import CommandParser
from fslog.cli.output import count
from fslog.cli.plan.reading import read_plan, today
from fslog.mapping.privacy import FORMS
from fslog.plan.keywords import TYPES, Property
from fslog.plan.plan import Plan, PlannedEvent

if TYPE_CHECKING:
    from fslog.cli.plan.findings import EventPlaces

_DESCRIPTION = """\
Print a catalogue of a plan's events in Markdown: what each event means, whose it
is, what identifies it, its properties and what they allow. Descriptions may be
Markdown themselves. With PATH, the log calls that make the event are listed, as
fslog plan check finds them."""

_EPILOG = """\
examples:
  fslog plan docs usage-plan.yaml > docs/usage-events.md
  fslog plan docs usage-plan.yaml src > docs/usage-events.md

The exit code is 0, or 2 for an invalid argument or plan."""


def add_command(commands: Any, prog: str) -> None:
    """Add the parser of this command."""
    parser: CommandParser = commands.add_parser(
        "docs", prog=f"{prog} docs", description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument("plan", metavar="PLAN", help="the plan: YAML, JSON or TOML")
    parser.add_argument("paths", metavar="PATH", nargs="*", help="Python files and directories")
    parser.set_defaults(act=run_docs)


def run_docs(options: argparse.Namespace) -> int:
    """Print the catalogue.

    Raises:
        CommandError: the plan is not valid, or a path is neither a Python file nor a directory.
    """
    plan = read_plan(options.plan)
    for line in catalogue(plan, _places(options.plan, options.paths)):
        print(line)
    return 0


def _places(plan: str, paths: Sequence[str]) -> Mapping[str, EventPlaces] | None:
    if not paths:
        return None
    # Without paths, nothing that reads source is needed.
    from fslog.cli.plan.expected import expected
    from fslog.cli.plan.findings import hold
    from fslog.cli.plan.source.calls import read

    return hold(expected(plan, None, None), read(paths), today()).events


def catalogue(plan: Plan, places: Mapping[str, EventPlaces] | None = None) -> Iterator[str]:
    """Yield the lines of the catalogue.

    Args:
        plan: the plan.
        places: where the events are made, by name; None if that is not known.
    """
    yield "# Usage events"
    yield ""
    of = f" of {code(os.path.basename(plan.source))}" if plan.source else ""
    yield f"{count(len(plan.events), 'event')}{of}, written by `fslog plan docs`."
    if plan.events:
        yield ""
        yield from _overview(plan)
    for planned in plan.events.values():
        yield from _event(planned, plan)
        if places is not None:
            yield from ("", _in_the_code(places.get(planned.name)))
    if plan.common:
        yield from ("", "## Properties of every event", "")
        yield from _properties(plan.common.values(), plan.pii)


def _overview(plan: Plan) -> Iterator[str]:
    anchors = _anchors(["Usage events", *plan.events])
    yield from _row("event", "meaning", "owner")
    yield from _row("---", "---", "---")
    for name, planned in plan.events.items():
        link = f"[{escaped(name)}](#{anchors[name]})"
        first = planned.description.strip().split("\n\n")[0]
        yield from _row(link, first, escaped(planned.owner))


def _in_the_code(found: EventPlaces | None) -> str:
    if found is None or found.status == "missing":
        return "In the code: none."
    if found.status == "outside":
        return "In the code: none; the logger is that of a library."
    texts = [f"In the code: {_list(found.places)}."] if found.places else []
    texts += [f"Perhaps: {_list(found.undecided)}."] if found.undecided else []
    return " ".join(texts)


def _list(places: Sequence[str]) -> str:
    return ", ".join(map(code, places))


def _event(planned: PlannedEvent, plan: Plan) -> Iterator[str]:
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
        if name not in planned.constants and one is not plan.common.get(name)
    }
    if listed:
        yield ""
        yield from _properties(listed.values(), plan.pii)
    if planned.when is not None:
        when = (f"{escaped(key)} {code(_text(value))}" for key, value in planned.when.items())
        yield from ("", f"Existing log calls make it: {', '.join(when)}.")


def _properties(properties: Collection[Property], pii: Mapping[str, str]) -> Iterator[str]:
    # Most plans say nothing of personal data: no empty column for it.
    has_pii = any(one.name in pii for one in properties)
    heads = ["property", "type", "in each event", "allowed", *["leaves"] * has_pii, "meaning"]
    yield from _row(*heads)
    yield from _row(*["---"] * len(heads))
    for one in properties:
        yield from _row(
            code(one.name),
            " or ".join(name for name in TYPES if name in one.types) or "any",
            "yes" if one.required else "",
            ", ".join(_allowed(one)),
            *[FORMS.get(pii.get(one.name, ""), "")] * has_pii,
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
