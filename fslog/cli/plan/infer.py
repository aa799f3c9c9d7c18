"""`fslog plan infer`: write a first plan from events."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from fslog.cli.options import CommandError, CommandParser
from fslog.cli.output import Printer, count
from fslog.cli.plan.arrivals import Arrivals, add_sources
from fslog.cli.plan.inference import (
    FEWEST_SEEN,
    LONGEST_VALUE,
    MOST_NAMES,
    MOST_VALUES,
    Inference,
)
from fslog.cli.plan.proposals import yaml_plan

_DESCRIPTION = f"""\
Write a first plan (YAML) from the valid events in files, in a running viewer or
in a spool, on standard output. Comments say how often a guess was seen.

Events with the same action, module and feature are one planned event. If an
action has more than {MOST_NAMES} modules, or a module has more than {MOST_NAMES} features, they
are ids rather than names, and all of them are one event. A property is required
if each of the events has it. It has an enum if there are at most {MOST_VALUES} texts, each
seen {FEWEST_SEEN} times or more, of at most {LONGEST_VALUE} characters and not e-mail addresses;
read them before you publish the plan. The same events give the same plan, in any
order."""

_EPILOG = """\
examples:
  fslog plan infer events.ndjson > usage-plan.yaml
  fslog plan infer --viewer http://127.0.0.1:8020

The exit code is 0, 1 if there are no events, 2 for an invalid argument."""


def add_command(commands: Any, prog: str) -> None:
    """Add the parser of this command."""
    parser: CommandParser = commands.add_parser(
        "infer", prog=f"{prog} infer", description=_DESCRIPTION, epilog=_EPILOG
    )
    add_sources(parser, spool=True)
    parser.set_defaults(act=run_infer)


def run_infer(options: argparse.Namespace) -> int:
    """Write a plan.

    Raises:
        CommandError: there are no events.
    """
    arrivals = Arrivals(options)
    found = Inference()
    for event in arrivals.events():
        found.add(event)
    if arrivals.invalid:
        text = f"{count(arrivals.invalid, 'invalid line')} left out; fslog validate explains them"
        Printer(sys.stderr).line((text, "yellow"))
    if not found.kinds():
        raise CommandError(f"no event in {arrivals.label}", 1)
    for line in yaml_plan(arrivals.label, found):
        print(line)
    return 0
