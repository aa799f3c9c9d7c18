"""The command `fslog check`: diagnostics of a configuration, and explanations of records."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from fslog.cli.check.configuration import Configuration, parse
from fslog.cli.check.dry_run import EventHandlerInfo, dry_run, event_handlers
from fslog.cli.check.explain import RESULTS, Explainer, Explanation, Summary
from fslog.cli.check.frameworks import hijacks_handlers, task_log_reader
from fslog.cli.check.leaves import Leaves, print_text, values
from fslog.cli.check.lint import lint, lint_airflow, lint_records
from fslog.cli.check.obstacles import obstacles
from fslog.cli.check.records import RecordError, from_line, from_text, parse_values
from fslog.cli.check.render import Json, Text
from fslog.cli.check.sources import application, load
from fslog.cli.options import CommandError, CommandParser, add_plan_option, whole
from fslog.cli.output import Printer
from fslog.cli.upload.ndjson import DamagedInput, InputFile, Reader, input_file
from fslog.config.files import SourceError
from fslog.net.keys import known_keys
from fslog.net.redaction import Redactor

_DETAILS = 10
_LINE_BYTES = 4_194_304

_DESCRIPTION = """\
Check a logging configuration, and show what fslog makes of log calls: which rule
matches, which event results, and if none does, why.

CONFIG is a JSON, YAML, TOML or ini file, FILE.py:NAME, package.module:NAME, or a
module with a variable LOGGING, such as Django's settings. A module is imported;
apart from that, nothing happens: other handlers are not created, nothing is
posted, and no spool is modified. Keys, endpoint and spool may also come from the
environment, as usual."""

_EPILOG = """\
records:
  --record 'name=app.reports,msg="exported %s rows",args=[3],accountId=acme'
  Names and values, separated by commas. A value is JSON if it parses as JSON, else
  text. Names with dots create mappings: args.m=POST, request.user.id=5,
  event.module=reports. The level is INFO unless the record has another.

log lines:
  --log reads JSON lines as JSON formatters write them: name, levelname, message
  (or msg and args), and extras. If a line has only the formatted message, its
  arguments are recovered for rules that have a message. Whatever the formatter
  does not write, such as args, is missing for the rules, too. `fslog record`
  writes a file with all of it.

examples:
  fslog check logging.json
  fslog check mysite.settings --log app.log --only invalid,skipped
  fslog check gunicorn.conf.py:logconfig_dict \\
      --record name=gunicorn.access,args.m=POST,args.U=/board/sort,args.s=200,args.u=ann
  fslog check logging.yaml --leaves > leaves.txt
  fslog check logging.yaml --context accountId=acme,userId=ann --log - --json < app.log

The exit code is 0 if there is no error, 1 if the configuration has an error or a
record gives an invalid event, 2 for an invalid argument, 130 after Ctrl-C."""


def run(arguments: Sequence[str]) -> int:
    """Run `fslog check` with its arguments and return the exit code.

    Ctrl-C raises `KeyboardInterrupt` after the results so far are written.
    """
    options = _parser().parse_args(arguments)
    if options.leaves and (options.log is not None or options.record):
        raise CommandError("--leaves: what leaves depends on no record; omit --log and --record")
    try:
        log = None if options.log is None else input_file(options.log)
        with dry_run(options.plan) as arguments_of:
            with application():
                label, found = load(options.config, options.key)
                config = parse(found.given, is_file=not found.scope, name=found.name)
                handlers = event_handlers(config, arguments_of)
                lint_airflow(config, task_log_reader(found.scope))
                lint(config, handlers, hijacks_handlers(found.scope))
                config.obstacles = obstacles(config, handlers, found.scope)
            if options.leaves:
                return _report_leaves(options, label, config, handlers)
            return _report(options, log, label, config, handlers)
    except SourceError as error:
        _print_error(str(error))
        return 1


def _report_leaves(
    options: argparse.Namespace, label: str, config: Configuration, handlers: list[EventHandlerInfo]
) -> int:
    """Print what leaves through each handler, or through the one that is asked for."""
    chosen = handlers if options.handler is None else [_chosen(options.handler, handlers)]
    found = [Leaves(info) for info in chosen if info is not None and info.formatter is not None]
    redactors = _redactors(handlers)
    printer = Printer(sys.stdout, _in_turn(redactors))
    if options.json:
        report = {
            "configuration": label,
            "ok": not config.has_errors,
            "diagnostics": [vars(one) for one in config.diagnostics],
            "leaves": [values(one) for one in found],
        }
        printer.raw(printer.json(report))
    else:
        print_text(printer, label, found)
        Text(printer, 0).diagnostics(config)
    return int(config.has_errors)


def _report(
    options: argparse.Namespace,
    log: InputFile | None,
    label: str,
    config: Configuration,
    handlers: list[EventHandlerInfo],
) -> int:
    handler = _chosen(options.handler, handlers)
    redactors = _redactors(handlers)
    printer = Printer(sys.stdout, _in_turn(redactors))
    report: Any = (Json if options.json else Text)(printer, options.details)
    report.configuration(label, config, handlers)
    if log is None and not options.record:
        report.end(config, 0, False)
        return int(config.has_errors)
    if handler is None:
        report.no_handler()
        report.end(config, 0, False)
        return 1
    summary = Summary([rule.where for rule in handler.rules])
    # An application's paths may resemble the endpoint's, and rules are about them.
    printer.redact = _in_turn([one.secrets for one in redactors])
    failure, interrupt = "", None
    try:
        explainer = Explainer(handler, options.context)
        _report_records(_explanations(options, log, explainer), summary, report, options.only)
    except DamagedInput as error:
        failure = str(error)
    except KeyboardInterrupt as error:
        interrupt, failure = error, "interrupted; the rest of the log was not read"
    report.summary(summary, handler)
    lint_records(config, handler, summary)
    invalid = summary.results["invalid"]
    report.end(config, invalid, bool(failure))
    if failure:
        _print_error(failure)
    if interrupt is not None:
        raise interrupt
    return int(config.has_errors or bool(failure) or invalid > 0)


def _report_records(
    explanations: Iterable[Explanation], summary: Summary, report: Any, only: Sequence[str]
) -> None:
    # A function of its own: up to CPython 3.13, Ctrl-C at the jump from the end of such a loop to
    # its start skips an `except` around it.
    for one in explanations:
        summary.add(one)
        if not only or one.result in only:
            report.record(one)


def _print_error(text: str) -> None:
    printer = Printer(sys.stderr, _in_turn(_redactors([])))
    printer.line((f"fslog check: {text}", ""))


def _redactors(handlers: Sequence[EventHandlerInfo]) -> list[Redactor]:
    """Return what removes the keys, wherever they are given, and the passwords of proxies."""
    keys = known_keys(os.environ, *(info.arguments for info in handlers))
    destinations = [info.destination.redact for info in handlers if info.destination is not None]
    return [Redactor(*keys), *destinations]


def _in_turn(steps: Sequence[Callable[[str], str]]) -> Callable[[str], str]:
    return lambda text: functools.reduce(lambda so_far, step: step(so_far), steps, text)


def _chosen(name: str | None, handlers: list[EventHandlerInfo]) -> EventHandlerInfo | None:
    """Return the handler that explains the records; None if none could be created."""
    working = {info.name: info for info in handlers if info.formatter is not None}
    if name is None:
        return min(working.values(), key=lambda info: not info.part.posts, default=None)
    if name not in working:
        names = ", ".join(working) or "none"
        raise CommandError(f"--handler: {name!r} produces no events; these do: {names}")
    return working[name]


def _explanations(
    options: argparse.Namespace, log: InputFile | None, explainer: Explainer
) -> Iterator[Explanation]:
    yield from map(explainer.explain, options.record)
    if log is None:
        return
    with Reader(log, _LINE_BYTES) as reader:
        for line in reader.lines():
            if line.raw.isspace():
                continue
            try:
                if not line.is_whole:
                    raise RecordError(f"longer than {_LINE_BYTES:,} bytes")
                record = from_line(line.raw)
                if record is not None:
                    yield explainer.explain(record, line.number)
            except RecordError as error:
                yield Explanation(line.number, None, "unreadable", reason=str(error))


def _parser() -> CommandParser:
    parser = CommandParser("fslog check", _DESCRIPTION, _EPILOG)
    parser.add_argument("config", metavar="CONFIG", help="where the configuration is")
    parser.add_argument(
        "--key",
        metavar="NAME",
        help="the key below which it is, such as tool.app.logging (default: search for it)",
    )
    add_plan_option(parser, "the tracking plan of all handlers, instead of their own")
    parser.add_argument("--log", metavar="FILE", help="JSON log lines, also .gz; - for stdin")
    parser.add_argument(
        "--record",
        action="append",
        default=[],
        type=from_text,
        metavar="TEXT",
        help="a log record; may be given more than once",
    )
    parser.add_argument(
        "--context",
        type=_context,
        default={},
        metavar="TEXT",
        help="the values that fslog.context has bound: accountId=acme,userId=ann",
    )
    parser.add_argument(
        "--handler", metavar="NAME", help="the handler to explain, if several produce events"
    )
    parser.add_argument(
        "--only",
        type=_results,
        default=(),
        metavar="WHAT",
        help=f"explain only these results, separated by commas: {', '.join(RESULTS)}",
    )
    parser.add_argument(
        "--details",
        type=whole(),
        default=_DETAILS,
        metavar="N",
        help=f"explain at most N records in full (default: {_DETAILS}); all are counted",
    )
    parser.add_argument(
        "--leaves",
        action="store_true",
        help="print which properties of which log calls leave the process, in which form: a page "
        "for whoever has to agree to it",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _context(text: str) -> dict[str, Any]:
    given = parse_values(text)
    if "action" in given:
        raise RecordError("action cannot be bound; only log calls and rules set it")
    return given


def _results(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in RESULTS:
            known = ", ".join(RESULTS)
            raise argparse.ArgumentTypeError(f"{name!r} is unknown; expected one of {known}")
    return names
