"""`fslog check`: whether fslog is rightly in a logging configuration, and what it makes of records.

Nothing happens but what importing the application's own module does: no handler is built but
fslog's, switched off; nothing is posted, and no spool is touched.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fslog.cli.check import reports
from fslog.cli.check.configurations import Configuration, configuration
from fslog.cli.check.examination import KEYS, examine
from fslog.cli.check.explanations import OUTCOMES, Explainer, Explanation
from fslog.cli.check.hosts import takes_handlers_away
from fslog.cli.check.narration import Narration
from fslog.cli.check.records import NoRecord, of_line, of_text, values_of
from fslog.cli.check.rehearsal import rehearsal
from fslog.cli.check.sources import NoConfiguration, application, load
from fslog.cli.check.tally import Tally
from fslog.cli.check.targets import Target, targets
from fslog.cli.options import CommandError, CommandParser, whole
from fslog.cli.output import Printer
from fslog.cli.upload.ndjson import Damaged, Reader, Source, source
from fslog.net.redaction import Redactor

_DETAILS = 10
_LINE_BYTES = 4_194_304

_DESCRIPTION = """\
Say whether fslog is rightly in a logging configuration, and what it makes of log
calls: which rule fits, which event comes out, and if none does, why.

CONFIG is a JSON, YAML, TOML or ini file, FILE.py:NAME, package.module:NAME, or a
module that has LOGGING, as Django's settings have. A module is imported; besides
that nothing happens: other handlers are not made, nothing is posted, and no spool
is touched. Keys, endpoint and spool are taken from the environment, too."""

_EPILOG = """\
a record:
  --record 'name=app.reports,msg="exported %s rows",args=[3],accountId=acme'
  Names and values, joined by commas. A value is JSON where it reads as JSON, else
  it is text. Names with dots make mappings: args.m=POST, request.user.id=5,
  event.module=reports. Its level is INFO unless level says otherwise.

log lines:
  --log takes JSON lines as JSON formatters write them: name, levelname, message
  (or msg and args), and extras. Where only the joined message is there, arguments
  are taken out of it again for the rules that have a message. What the formatter
  does not write, such as args, is missing for the rules, too.

examples:
  fslog check logging.json
  fslog check mysite.settings --log app.log --only invalid,skipped
  fslog check gunicorn.conf.py:logconfig_dict \\
      --record name=gunicorn.access,args.m=POST,args.U=/board/sort,args.s=200,args.u=ann
  fslog check logging.yaml --context accountId=acme,userId=ann --log - --json < app.log

The exit code is 0 if all is right, 1 if something in the configuration is wrong,
or a record gives an invalid event, 2 for a wrong argument, 130 after Ctrl-C."""


def run(arguments: Sequence[str]) -> int:
    """Run `fslog check`.

    Args:
        arguments: those behind the command's name.

    Returns:
        The exit code, as `--help` explains it.

    Raises:
        KeyboardInterrupt: after what was found until then was said.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        log = None if options.log is None else source(options.log)
        with rehearsal() as rehearsed:
            with application():
                found = load(options.config, options.key)
                made = configuration(found.given, is_file=found.is_file, name=found.name)
                all_of_them = list(targets(made, rehearsed))
                examine(made, all_of_them, takes_handlers_away(found.scope))
            return _report(options, log, found.label, made, all_of_them)
    except NoConfiguration as error:
        if error.code != 1:
            raise
        _say(str(error))
        return 1


def _report(
    options: argparse.Namespace,
    log: Source | None,
    label: str,
    made: Configuration,
    found: list[Target],
) -> int:
    target = _chosen(options, found)
    redactors = _redactors(found)
    paper = Printer(sys.stdout, _joined(redactors))
    report: Any = (reports.Json if options.json else Narration)(paper, options.details)
    report.configuration(label, made, found)
    is_right = not any(finding.is_wrong for finding in made.findings)
    if log is None and not options.record:
        report.end()
        return 0 if is_right else 1
    if target is None:
        report.no_target()
        return 1
    tally = Tally(len(list(target.formatter.rules)) if target.formatter is not None else 0)
    explainer = Explainer(target, options.context)
    # An application's paths may look like the endpoint's, and are what its rules are about.
    paper.redact = _joined([one.secrets for one in redactors])
    failure = ""
    interrupt: KeyboardInterrupt | None = None
    try:
        for one in _explained(options, log, explainer):
            tally.add(one)
            if not options.only or one.outcome in options.only:
                report.record(one)
    except Damaged as error:
        failure = str(error)
    except KeyboardInterrupt as error:
        interrupt, failure = error, "interrupted; what follows was not looked at"
    report.summary(tally, target)
    report.end()
    if failure:
        _say(failure)
    if interrupt is not None:
        raise interrupt
    return 0 if is_right and not (failure or tally.outcomes["invalid"]) else 1


def _say(text: str) -> None:
    paper = Printer(sys.stderr, _joined(_redactors([])))
    paper.line((f"fslog check: {text}", ""))


def _redactors(found: Sequence[Target]) -> list[Redactor]:
    """Return what takes out the keys, wherever they are given, and the proxies' passwords."""
    keys = [os.environ.get(variable, "") for variable in KEYS.values()]
    keys += [str(target.given.get(name) or "") for target in found for name in KEYS]
    ways = [target.destination for target in found if target.destination is not None]
    return [Redactor(*(key.strip() for key in keys)), *(to.redact for to in ways)]


def _joined(steps: Sequence[Callable[[str], str]]) -> Callable[[str], str]:
    return lambda text: functools.reduce(lambda so_far, step: step(so_far), steps, text)


def _chosen(options: argparse.Namespace, found: list[Target]) -> Target | None:
    """Return the handler whose events are looked at; None if none can be made."""
    working = [target for target in found if target.formatter is not None]
    if options.handler is None:
        return next(iter(sorted(working, key=lambda target: not target.posts)), None)
    for target in working:
        if target.name == options.handler:
            return target
    names = ", ".join(target.name for target in working) or "none"
    raise CommandError(f"--handler: {options.handler!r} gives no events; those that do: {names}")


def _explained(
    options: argparse.Namespace, log: Source | None, explainer: Explainer
) -> Iterator[Explanation]:
    for text in options.record:
        yield explainer.explain(of_text(text))
    if log is None:
        return
    with Reader(log, _LINE_BYTES) as reader:
        for line in reader.lines():
            if line.raw.isspace():
                continue
            try:
                if not line.is_whole:
                    raise NoRecord(f"it has more than {_LINE_BYTES:,} bytes")
                yield explainer.explain(of_line(line.raw), line.number)
            except NoRecord as error:
                yield Explanation(line.number, None, "unreadable", why=str(error))


def _parser() -> CommandParser:
    parser = CommandParser("fslog check", _DESCRIPTION, _EPILOG)
    parser.add_argument("config", metavar="CONFIG", help="where the configuration stands")
    parser.add_argument(
        "--key",
        metavar="NAME",
        help="where it stands in there, as in tool.app.logging (default: it is looked for)",
    )
    parser.add_argument("--log", metavar="FILE", help="JSON log lines, also .gz; - for stdin")
    parser.add_argument(
        "--record",
        action="append",
        default=[],
        type=_record,
        metavar="TEXT",
        help="a log record; may be given more than once",
    )
    parser.add_argument(
        "--context",
        type=_context,
        default={},
        metavar="TEXT",
        help="what fslog.context has bound: accountId=acme,userId=ann",
    )
    parser.add_argument(
        "--handler", metavar="NAME", help="which handler is meant, where events come out of several"
    )
    parser.add_argument(
        "--only",
        type=_outcomes,
        default=(),
        metavar="WHAT",
        help=f"explain only records that come to this: {', '.join(OUTCOMES)}; joined by commas",
    )
    parser.add_argument(
        "--details",
        type=whole(),
        default=_DETAILS,
        metavar="N",
        help=f"explain so many records in full (default: {_DETAILS}); all are counted",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    return parser


def _record(text: str) -> str:
    try:
        of_text(text)
    except NoRecord as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _context(text: str) -> Mapping[str, Any]:
    try:
        given = values_of(text)
    except NoRecord as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if "action" in given:
        raise argparse.ArgumentTypeError("action cannot be bound: it comes from a call or a rule")
    return given


def _outcomes(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in OUTCOMES:
            known = ", ".join(OUTCOMES)
            raise argparse.ArgumentTypeError(f"{name!r} is none of {known}")
    return names
