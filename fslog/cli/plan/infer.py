"""`fslog plan infer`: write a first plan from events, or add what a plan lacks."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from typing import Any

from fslog.cli.options import CommandError, CommandParser
from fslog.cli.output import Printer, count
from fslog.cli.plan.arrivals import Arrivals, add_sources, report_invalid
from fslog.cli.plan.extending import create, extend, format_of
from fslog.cli.plan.reading import read_plan
from fslog.plan import yaml
from fslog.plan.inference import (
    FEWEST_SEEN,
    LONGEST_VALUE,
    MOST_NAMES,
    MOST_VALUES,
    Inference,
    Kind,
)
from fslog.plan.plan import PlannedEvent
from fslog.plan.proposals import proposals, seen, yaml_plan

_DESCRIPTION = f"""\
Write a first plan (YAML) from the valid events in files, in a running viewer or
in a spool, on standard output. Comments say how often a guess was seen.

Events with the same action, module and feature are one planned event. If an
action has more than {MOST_NAMES} modules, or a module has more than {MOST_NAMES} features, they
are ids rather than names, and all of them are one event. A property is required
if each of the events has it. It has an enum if there are at most {MOST_VALUES} texts, each
seen {FEWEST_SEEN} times or more, of at most {LONGEST_VALUE} characters and not e-mail addresses;
read them before you publish the plan. The same events give the same plan, in
any order.

With --into, the plan in a file gets the events that it lacks, in the file's own
format, and its text stays as it is, comments included. A file that does not
exist is made. What the plan lacks within its own events is only printed."""

_EPILOG = """\
examples:
  fslog plan infer events.ndjson > usage-plan.yaml
  fslog plan infer --viewer http://127.0.0.1:8020 --into usage-plan.yaml

The exit code is 0, 1 if there are no events or no place for them in the plan, 2
for an invalid argument."""


def add_command(commands: Any, prog: str) -> None:
    """Add the parser of this command."""
    parser: CommandParser = commands.add_parser(
        "infer", prog=f"{prog} infer", description=_DESCRIPTION, epilog=_EPILOG
    )
    add_sources(parser, spool=True)
    parser.add_argument("--into", metavar="PLAN", help="add to this plan: YAML, JSON or TOML")
    parser.set_defaults(act=run_infer)


def run_infer(options: argparse.Namespace) -> int:
    """Write a plan, or extend one.

    Raises:
        CommandError: there are no events, or the plan is not valid.
    """
    arrivals = Arrivals(options)
    if options.into is not None:
        format_of(options.into)
        if os.path.lexists(options.into):
            return _extend(options.into, arrivals)
    found = Inference()
    for event in arrivals.events():
        found.add(event)
    report_invalid(arrivals)
    if not found.kinds():
        raise CommandError(f"no event in {arrivals.label}", 1)
    if options.into is None:
        for line in yaml_plan(arrivals.label, found):
            print(line)
    else:
        create(options.into, arrivals.label, found)
    return 0


def _extend(path: str, arrivals: Arrivals) -> int:
    plan = read_plan(path)
    found = Inference()
    known: dict[str, Kind] = {}
    for event in arrivals.events():
        planned = plan.find(event)
        if planned is None:
            found.add(event)
        else:
            known.setdefault(planned.name, Kind(planned.constants)).add(event)
    report_invalid(arrivals)
    added = proposals(found, plan.events, plan.common)
    if added:
        extend(path, added)
    printer = Printer(sys.stdout)
    printer.line((f"{path}: ", "bold"), (f"{count(len(added), 'event')} added", ""))
    for one in added:
        printer.line((f"  {one.name}  ", "green"), (one.comment, ""))
    for name, kind in known.items():
        for text in _unplanned(plan.events[name], kind):
            printer.line((f"  {name}: ", "yellow"), (text, ""))
    return 0


def _unplanned(planned: PlannedEvent, kind: Kind) -> Iterator[str]:
    """Yield what the plan lacks of the properties of an event."""
    for name in kind.properties:
        if not planned.allows(name):
            keywords = yaml.flow(kind.keywords(name))
            yield f"{name} is not planned; seen in {seen(kind, name)}; {keywords}"
