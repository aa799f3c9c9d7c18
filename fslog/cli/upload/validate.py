"""`fslog validate`: what the endpoint would make of the events in files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fslog.cli.options import CommandParser, whole
from fslog.cli.output import Part, Printer, ProgressBar, count
from fslog.cli.upload.findings import Findings
from fslog.cli.upload.judgement import BATCH_BYTES, check
from fslog.cli.upload.ndjson import Damaged, Reader, Source, sources

_LOOK_LINES = 1_000

_DESCRIPTION = """\
Check files of NDJSON, one JSON object a line, plain or gzip, by the endpoint's
own rules, as `fslog send` does, and say what is wrong, by problem, with the
numbers of the first lines that have it. Nothing is sent, and no keys are needed.

Wrong lines are those that the endpoint would drop in silence. Warnings are about
events that it takes, but that are probably not what was meant."""

_EPILOG = """\
examples:
  fslog validate events.ndjson
  fslog validate --quiet --strict exports/*.ndjson.gz && echo right
  zcat events.gz | fslog validate --json - | jq .files[0].problems

The exit code is 0 if nothing is wrong (warnings may be, unless --strict), 1 if
something is, 2 for a wrong argument, 130 after Ctrl-C."""


@dataclass
class Opinion:
    """Say what is to be said of one file.

    Args:
        source: the file.
        events: how many right ones it has.
        wrong: problems of its wrong lines.
        doubtful: warnings of right ones.
        failure: why it was not read to its end, `""` if it was.
    """

    source: Source
    events: int = 0
    wrong: Findings = field(default_factory=Findings)
    doubtful: Findings = field(default_factory=Findings)
    failure: str = "not looked at"

    def is_right(self, *, is_strict: bool) -> bool:
        """Return whether nothing is wrong with it."""
        return not (self.failure or self.wrong.lines or (is_strict and self.doubtful.lines))

    def json(self) -> dict[str, Any]:
        """Return it for a program."""
        return {
            "file": self.source.path,
            "valid": self.events,
            "invalid": self.wrong.lines,
            "with_warnings": self.doubtful.lines,
            "problems": self.wrong.json(),
            "warnings": self.doubtful.json(),
            "failure": self.failure or None,
        }

    def rows(self) -> Iterator[tuple[Part, ...]]:
        """Yield the lines that say it to a person."""
        wrong = count(self.wrong.lines, "wrong line")
        summary = f"{count(self.events, 'right event')}, {wrong}"
        if self.doubtful.lines:
            summary += f", {self.doubtful.lines:,} with warnings"
        yield ((f"{self.source.label}: ", "bold"), (summary, "red" if self.wrong.lines else ""))
        if self.failure:
            yield ((self.failure, "red"),)
        if self.wrong.lines:
            yield (("  wrong, dropped in silence", "bold"),)
            yield from self.wrong.rows("red")
        if self.doubtful.lines:
            yield (("  warnings, taken all the same", "bold"),)
            yield from self.doubtful.rows("yellow")


def run(arguments: Sequence[str]) -> int:
    """Check files.

    Args:
        arguments: those behind `fslog validate`.

    Returns:
        The exit code, as `--help` explains it.

    Raises:
        KeyboardInterrupt: after what was found until then was said.
    """
    options = _parser().parse_args(arguments)
    opinions = [Opinion(source) for source in sources(options.files)]
    interrupt: KeyboardInterrupt | None = None
    try:
        with ProgressBar(sys.stderr, is_quiet=options.quiet) as progress:
            for one in opinions:
                _form(one, options.batch_bytes, progress)
    except KeyboardInterrupt as error:
        interrupt = error
    _show(opinions, options, is_interrupted=interrupt is not None)
    if interrupt is not None:
        raise interrupt
    return 0 if all(one.is_right(is_strict=options.strict) for one in opinions) else 1


def _form(found: Opinion, limit_bytes: int, progress: ProgressBar) -> None:
    """Check one file.

    Args:
        found: what is to be filled in; after Ctrl-C it holds what was found until then.
        limit_bytes: what a line may have.
        progress: shows how far it is.
    """
    source = found.source
    reader = Reader(source, limit_bytes)
    progress.begin(source.label, source.size_bytes, 0)
    try:
        with reader:
            for line in reader.lines():
                one = check(line, limit_bytes)
                if one.problems:
                    found.wrong.add(one.number, one.problems)
                found.events += bool(one.text)
                if one.warnings:
                    found.doubtful.add(one.number, one.warnings)
                if not one.number % _LOOK_LINES:
                    progress.show(found.events, reader.position)
        found.failure = ""
    except Damaged as error:
        found.failure = f"{error}, in line {reader.newlines + 1:,}"
    except KeyboardInterrupt:
        at = reader.newlines + 1
        found.failure = f"interrupted, in line {at:,}; what follows was not looked at"
        raise


def _show(
    opinions: Sequence[Opinion], options: argparse.Namespace, *, is_interrupted: bool
) -> None:
    if options.json:
        report = {
            "valid": sum(one.events for one in opinions),
            "invalid": sum(one.wrong.lines for one in opinions),
            "with_warnings": sum(one.doubtful.lines for one in opinions),
            "interrupted": is_interrupted,
            "files": [one.json() for one in opinions],
        }
        print(json.dumps(report))
    elif not options.quiet:
        printer = Printer(sys.stdout)
        for one in opinions:
            for row in one.rows():
                printer.line(*row)


def _parser() -> CommandParser:
    parser = CommandParser("fslog validate", _DESCRIPTION, _EPILOG)
    parser.add_argument("files", nargs="+", metavar="FILE", help="NDJSON; - for standard input")
    parser.add_argument("--strict", action="store_true", help="a warning is wrong, too")
    parser.add_argument(
        "--batch-bytes",
        type=whole(),
        default=BATCH_BYTES,
        metavar="N",
        help=f"a line with more bytes is wrong (default: {BATCH_BYTES:,})",
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing; the exit code tells")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser
