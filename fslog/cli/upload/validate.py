"""`fslog validate`: check the events in files by the endpoint's rules."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fslog.cli.options import CommandParser, add_plan_option, whole
from fslog.cli.output import Part, Printer, ProgressBar, count
from fslog.cli.upload.lines import BATCH_BYTES, ProblemCounts, check
from fslog.cli.upload.ndjson import DamagedInput, InputFile, Reader, input_files

_SHOW_LINES = 1_000

_DESCRIPTION = """\
Check files of NDJSON, one JSON object per line, plain or gzip, by the endpoint's
own rules, as `fslog send` does, and print each kind of problem with the numbers
of the first lines that have it. Nothing is sent, and no keys are needed.

The endpoint would drop the invalid lines silently. A warning is about an event
that it accepts, but that probably contains a mistake."""

_EPILOG = """\
examples:
  fslog validate events.ndjson
  fslog validate --quiet --strict exports/*.ndjson.gz && echo valid
  zcat events.gz | fslog validate --json - | jq .files[0].problems

The exit code is 0 if all lines are valid (with --strict, without warnings), 1 if
not, 2 for an invalid argument, 130 after Ctrl-C."""


@dataclass
class FileReport:
    """What was found in one file.

    Args:
        file: the file.
        events: the number of valid events.
        problems: of the invalid lines.
        warnings: of the valid events.
        failure: why it was not read to its end, `""` if it was.
    """

    file: InputFile
    events: int = 0
    problems: ProblemCounts = field(default_factory=ProblemCounts)
    warnings: ProblemCounts = field(default_factory=ProblemCounts)
    failure: str = "not checked"

    def is_valid(self, *, is_strict: bool) -> bool:
        """Return whether the file has no problem, and no warning if `is_strict`."""
        return not (self.failure or self.problems.lines or (is_strict and self.warnings.lines))

    def json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "file": self.file.path,
            "valid": self.events,
            "invalid": self.problems.lines,
            "with_warnings": self.warnings.lines,
            "problems": self.problems.json(),
            "warnings": self.warnings.json(),
            "failure": self.failure or None,
        }

    def rows(self) -> Iterator[tuple[Part, ...]]:
        """Yield the report as output lines."""
        invalid = self.problems.lines
        summary = f"{count(self.events, 'valid event')}, {count(invalid, 'invalid line')}"
        if self.warnings.lines:
            summary += f", {self.warnings.lines:,} with warnings"
        yield ((f"{self.file.label}: ", "bold"), (summary, "red" if invalid else ""))
        if self.failure:
            yield ((self.failure, "red"),)
        if invalid:
            yield (("  invalid, dropped silently by the endpoint", "bold"),)
            yield from self.problems.rows("red")
        if self.warnings.lines:
            yield (("  warnings, accepted by the endpoint", "bold"),)
            yield from self.warnings.rows("yellow")


def run(arguments: Sequence[str]) -> int:
    """Check files; KeyboardInterrupt is raised after the reports so far were printed."""
    options = _parser().parse_args(arguments)
    reports = [FileReport(file) for file in input_files(options.files)]
    try:
        with ProgressBar(sys.stderr, is_quiet=options.quiet) as progress:
            for one in reports:
                _check(one, options, progress)
    except KeyboardInterrupt:
        _print(reports, options, is_interrupted=True)
        raise
    _print(reports, options, is_interrupted=False)
    return 0 if all(one.is_valid(is_strict=options.strict) for one in reports) else 1


def _check(report: FileReport, options: argparse.Namespace, progress: ProgressBar) -> None:
    """Check one file; after Ctrl-C the report has the results so far."""
    reader = Reader(report.file, options.batch_bytes)
    progress.begin(report.file.label, report.file.size_bytes, 0)
    try:
        with reader:
            _check_lines(report, reader, options, progress)
        report.failure = ""
    except DamagedInput as error:
        report.failure = f"{error}, in line {reader.newlines + 1:,}"
    except KeyboardInterrupt:
        number = reader.newlines + 1
        report.failure = f"interrupted in line {number:,}; the rest was not checked"
        raise


def _check_lines(
    report: FileReport, reader: Reader, options: argparse.Namespace, progress: ProgressBar
) -> None:
    # A function of its own: up to CPython 3.13, Ctrl-C at the jump from the end of such a loop to
    # its start skips the end of a `with` around it.
    for line in reader.lines():
        one = check(line, options.batch_bytes, options.plan)
        if one.problems:
            report.problems.add(one.number, one.problems)
        report.events += bool(one.text)
        if one.warnings:
            report.warnings.add(one.number, one.warnings)
        if not one.number % _SHOW_LINES:
            progress.show(report.events, reader.position)


def _print(
    reports: Sequence[FileReport], options: argparse.Namespace, *, is_interrupted: bool
) -> None:
    if options.json:
        values = {
            "valid": sum(one.events for one in reports),
            "invalid": sum(one.problems.lines for one in reports),
            "with_warnings": sum(one.warnings.lines for one in reports),
            "interrupted": is_interrupted,
            "files": [one.json() for one in reports],
        }
        print(json.dumps(values))
    elif not options.quiet:
        printer = Printer(sys.stdout)
        for one in reports:
            for row in one.rows():
                printer.line(*row)


def _parser() -> CommandParser:
    parser = CommandParser("fslog validate", _DESCRIPTION, _EPILOG)
    parser.add_argument("files", nargs="+", metavar="FILE", help="NDJSON; - for standard input")
    parser.add_argument("--strict", action="store_true", help="treat warnings as problems")
    add_plan_option(parser, "hold the events against this tracking plan")
    parser.add_argument(
        "--batch-bytes",
        type=whole(),
        default=BATCH_BYTES,
        metavar="N",
        help=f"limit of bytes per line (default: {BATCH_BYTES:,})",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing; see the exit code")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser
