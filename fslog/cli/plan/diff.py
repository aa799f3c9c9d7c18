"""`fslog plan diff`: what changes between two plans, and what of it is breaking."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from fslog.cli.options import CommandParser
from fslog.cli.output import Printer, count
from fslog.cli.plan.changes import Change, changes
from fslog.cli.plan.reading import read_either
from fslog.cli.upload.ndjson import STDIN

_DESCRIPTION = """\
Print what changes from one plan to another, and what of it is breaking: an
event that was as planned no longer is (it is removed; a property is removed,
newly required, or allows fewer types or values), existing log calls no longer
make it (its rule is removed), or personal data is sent in another form (pii).
Events are compared by what identifies them, so a new name alone breaks nothing."""

_EPILOG = """\
examples:
  fslog plan diff usage-plan.old.yaml usage-plan.yaml
  git show origin/main:usage-plan.yaml | fslog plan diff - usage-plan.yaml

The exit code is 0, 1 if a change is breaking, 2 for an invalid argument or plan."""


def add_command(commands: Any, prog: str) -> None:
    """Add the parser of this command."""
    parser: CommandParser = commands.add_parser(
        "diff", prog=f"{prog} diff", description=_DESCRIPTION, epilog=_EPILOG
    )
    stdin = f"{STDIN} for standard input, in the format of the other plan"
    parser.add_argument("old", metavar="OLD", help=f"a plan; {stdin}")
    parser.add_argument("new", metavar="NEW", help="a plan, or -")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(act=run_diff)


def run_diff(options: argparse.Namespace) -> int:
    """Print the changes.

    Raises:
        CommandError: a plan is not valid.
    """
    old, new = read_either(options.old, options.new), read_either(options.new, options.old)
    found = changes(old, new)
    breaking = [one for one in found if one.is_breaking]
    if options.json:
        values = [
            {
                "breaking": one.is_breaking,
                "event": one.event,
                "property": one.property,
                "message": one.message,
            }
            for one in found
        ]
        print(json.dumps({"breaking": len(breaking), "changes": values}))
    else:
        printer = Printer(sys.stdout)
        for one in sorted(found, key=lambda one: not one.is_breaking):
            printer.line(*_row(one))
        printer.line((f"{count(len(found), 'change')}, {len(breaking):,} breaking", "bold"))
    return 1 if breaking else 0


def _row(one: Change) -> tuple[tuple[str, str], ...]:
    subject = f"{one.event or 'the plan'}: "
    return (
        ("breaking  ", "red") if one.is_breaking else ("          ", ""),
        (subject, "bold"),
        (f"{one.property} {one.message}".lstrip(), ""),
    )
