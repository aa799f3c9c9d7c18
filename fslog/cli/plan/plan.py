"""`fslog plan`: the parser of its commands, each of which is in a module of its own."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from fslog.cli.options import CommandParser
from fslog.cli.plan import check, coverage, diff, docs, infer, types

_DESCRIPTION = """\
Work with a tracking plan: a file that says which events there are. No command
runs the application."""

_EPILOG = """\
commands:
  check      hold the log calls in source against a plan
  infer      write a first plan from events, or add what a plan lacks
  coverage   which planned events arrive, and which unplanned ones
  diff       what changes between two plans, and what of it is breaking
  docs       write a catalogue of the events, in Markdown
  types      write a Python module with a type for each event

examples:
  fslog plan check usage-plan.yaml src
  fslog plan infer events.ndjson > usage-plan.yaml
  fslog plan coverage usage-plan.yaml --viewer http://127.0.0.1:8020
  git show origin/main:usage-plan.yaml | fslog plan diff - usage-plan.yaml
  fslog plan types usage-plan.yaml > shop/usage.py

`fslog plan COMMAND --help` explains a command and its exit codes."""


def run(arguments: Sequence[str]) -> int:
    """Run `fslog plan` with its arguments; return the exit code, as `--help` explains it."""
    options = _parser().parse_args(arguments)
    act: Callable[[argparse.Namespace], int] = options.act
    return act(options)


def _parser() -> CommandParser:
    parser = CommandParser("fslog plan", _DESCRIPTION, _EPILOG)
    parser.usage = "fslog plan [-h] check|infer|coverage|diff|docs|types ..."
    commands = parser.add_subparsers(metavar="COMMAND", required=True, help=argparse.SUPPRESS)
    for module in (check, infer, coverage, diff, docs, types):
        module.add_command(commands, parser.prog)
    return parser
