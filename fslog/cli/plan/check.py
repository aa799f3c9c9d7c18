"""`fslog plan check`: hold log calls in source against rules and a plan."""

from __future__ import annotations

import argparse
import datetime
from typing import Any

from fslog.cli.options import CommandError, CommandParser

FORMATS = ("text", "json", "github")

_DESCRIPTION = """\
Hold the log calls in Python source against a plan, or against the rules and the
plan of a logging configuration. The source is read, never imported or run.

CONFIG is the file of a plan, or a configuration as for fslog check; the modules
that a configuration names are imported. PATH is a Python file or a directory."""

_EPILOG = """\
The places that make each planned event and each rule are listed. A violation is
  a rule that no log call fits any more; the nearest one is named
  a log call that makes an event that is not planned, or has a misspelt action
  a property that is not planned, missing, or literally of a wrong type or value
  an event that has expired
What the source does not decide is listed as undecided. A comment at the log
call, # fslog: event="report exported", says which event it makes.

examples:
  fslog plan check usage-plan.yaml src
  fslog plan check logging.yaml app --format github
  fslog plan check usage-plan.yaml src --baseline known.json --write-baseline
  fslog plan check usage-plan.yaml src --baseline known.json

The exit code is 0, 1 if there are violations that the baseline does not have, 2
for an invalid argument."""


def add_command(commands: Any, prog: str) -> None:
    """Add the parser of this command."""
    parser: CommandParser = commands.add_parser(
        "check", prog=f"{prog} check", description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument("config", metavar="CONFIG", help="a plan, or a logging configuration")
    parser.add_argument("paths", metavar="PATH", nargs="+", help="Python files and directories")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="text (default), json, or github: annotations of a workflow on GitHub",
    )
    parser.add_argument(
        "--baseline", metavar="FILE", help="a file of violations that are not reported again"
    )
    parser.add_argument(
        "--write-baseline",
        action="store_true",
        help="write the violations to the file of --baseline, and exit with 0",
    )
    parser.add_argument(
        "--key", metavar="NAME", help="the key of a configuration, as for fslog check"
    )
    parser.add_argument(
        "--handler", metavar="NAME", help="the handler whose rules are meant, if there are several"
    )
    parser.set_defaults(act=run_check)


def run_check(options: argparse.Namespace) -> int:
    """Check source, and return the exit code.

    Raises:
        CommandError: an argument is invalid.
    """
    if options.write_baseline and options.baseline is None:
        raise CommandError("--write-baseline: name the file with --baseline FILE")
    # The other commands do not need what reads configurations and source.
    from fslog.cli.plan.baseline import new_violations, read_baseline, write_baseline
    from fslog.cli.plan.expected import expected
    from fslog.cli.plan.findings import hold
    from fslog.cli.plan.report import Report
    from fslog.cli.plan.source.calls import read

    is_known = options.baseline is not None and not options.write_baseline
    known = read_baseline(options.baseline) if is_known else None
    of = expected(options.config, options.key, options.handler)
    source = read(options.paths)
    found = hold(of, source, datetime.datetime.now(datetime.timezone.utc).date())
    gone = hidden = 0
    written = ""
    if options.write_baseline:
        written = options.baseline
        hidden = write_baseline(written, found.violations)
        found.violations = []
    elif known is not None:
        new, gone = new_violations(found.violations, known)
        hidden = len(found.violations) - len(new)
        found.violations = new
    report = Report(options.config, of, source, found, hidden=hidden, gone=gone, written=written)
    {"text": report.text, "json": report.json, "github": report.github}[options.format]()
    return int(bool(found.violations))
