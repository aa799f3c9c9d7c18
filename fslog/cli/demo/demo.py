"""`fslog demo`: a sample application with its logging configuration, and an endpoint.

The application (`demo_app`) and the configuration (`demo.json`) are what a user of fslog writes.
This module adds the embedded endpoint, and overrides the arguments and environment variables that
could send an event to another machine.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.resources
import json
import logging.config
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from queue import Empty
from typing import Any

from fslog import EventFormatter, FreshsuccessHandler, InvalidEvent
from fslog.cli.demo.demo_app import activities
from fslog.cli.options import CommandParser, seconds, whole
from fslog.cli.output import EVENT_HEADING, Part, Printer, event_place, event_row
from fslog.collector import Collector
from fslog.counters import Stats
from fslog.delivery.queue import WakeQueue
from fslog.errors import Problem
from fslog.mapping.encoding import encode
from fslog.mapping.paths import RECORD_ATTRIBUTES
from fslog.mapping.rules import Rules
from fslog.mapping.schema import WARNINGS
from fslog.version import VERSION

_MAX_EVENTS = 100_000
_EVENTS = 60
_SECONDS = 3.0
_FLUSH_SECONDS = 30.0
_LABEL_COLUMNS = 11
_FILES = importlib.resources.files("fslog.cli.demo")

_COLUMNS = 80
_CALL_INDENT = 14

_DESCRIPTION = """\
Run a small application with an embedded endpoint and show its events, each with
the log call that made it, and the rule that matches the call.

The application's logging configuration turns its log calls into events and
posts them, in batches, to an endpoint that listens on this machine only. One
log call creates an invalid event on purpose, to show how fslog reports it."""

_EPILOG = """\
example:
  fslog demo --events 200 --pace 0.01

The exit code is 0 if the endpoint received every accepted event, 1 if it did
not, 2 for an invalid argument, 130 after Ctrl-C."""


def run(arguments: Sequence[str]) -> int:
    """Run `fslog demo` with its arguments and return the exit code."""
    options = _parser().parse_args(arguments)
    printer = Printer(sys.stdout, other_columns=_COLUMNS)
    requests = WakeQueue()
    problems: list[Problem] = []
    with Collector(on_request=lambda *received: requests.put(received)) as collector:
        settings = configuration(collector.url, problems.append)
        _print_introduction(printer, collector.url)
        with _configured(settings) as (handler, calls):
            interrupted = _run_application(options, printer, requests, calls)
            handler.flush(_FLUSH_SECONDS)
            _print_requests(printer, requests, calls, 0.0)
            stats = handler.stats()
            printer.line()
            for row in summary(stats, collector.events, problems):
                printer.line(*row)
            printer.line()
            for row in _next_steps():
                printer.row(*row)
        complete = stats.accepted == stats.delivered == len(collector.events)
    if interrupted:
        raise KeyboardInterrupt
    return 0 if complete and not collector.invalid else 1


def configuration(endpoint: str, on_problem: Callable[[Problem], None]) -> dict[str, Any]:
    """Return the demo's logging configuration for the base URL of an endpoint."""
    settings: dict[str, Any] = json.loads((_FILES / "demo.json").read_text("utf-8"))
    settings["handlers"]["freshsuccess"] |= {
        "endpoint": endpoint,
        "auth_key": "demo-auth-key",
        "api_key": "demo-api-key",
        "datacenter": "us",
        "enabled": True,
        "on_problem": on_problem,
    }
    return settings


class Calls(logging.Handler):
    """Remember the log calls of the events that a formatter makes, by line."""

    def __init__(self, formatter: EventFormatter, rules: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self._event = formatter.event
        self._rules = [Rules([rule]) for rule in rules]
        self._texts: dict[bytes, tuple[str, str]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Remember a record if it is a valid event."""
        with contextlib.suppress(InvalidEvent):
            event = self._event(record)
            if event is not None:
                fitting = (at for at, one in enumerate(self._rules) if one.properties(record))
                maker = "explicit" if _is_explicit(record) else f"rules[{next(fitting)}]"
                self._texts[encode(event)] = (maker, f"{record.name}: {log_call(record)}")

    def row(self, event: Mapping[str, Any]) -> tuple[Part, ...]:
        """Return a line with the log call that made an event, and the rule that matches it."""
        maker, call = self._texts.get(encode(event), ("", ""))
        return ((f"{maker:>{_CALL_INDENT - 2}}  ", "yellow"), (call, "dim"))


def _is_explicit(record: logging.LogRecord) -> bool:
    return "action" in {**vars(record), **getattr(record, "event", {})}


def log_call(record: logging.LogRecord) -> str:
    """Return the Python source of a record's log call, without the logger.

    >>> log_call(logging.makeLogRecord({"levelname": "INFO", "msg": "%d rows", "args": (3,)}))
    'info("%d rows", 3)'
    """
    extra = {name: one for name, one in vars(record).items() if name not in RECORD_ATTRIBUTES}
    args: Any = record.args or ()
    words = [repr(one) if '"' in str(one) else json.dumps(one) for one in (record.msg, *args)]
    words += [f"extra={json.dumps(extra)}"] if extra else []
    return f"{record.levelname.lower()}({', '.join(words)})"


@contextlib.contextmanager
def _configured(settings: dict[str, Any]) -> Iterator[tuple[FreshsuccessHandler, Calls]]:
    logging.config.dictConfig(settings)
    logger = logging.getLogger("tracker")
    (handler,) = (h for h in logger.handlers if isinstance(h, FreshsuccessHandler))
    calls = Calls(handler.formatter, settings["handlers"]["freshsuccess"]["rules"])
    logger.addHandler(calls)
    try:
        yield handler, calls
    finally:
        logger.removeHandler(calls)
        logger.removeHandler(handler)
        handler.close()


def _print_introduction(printer: Printer, url: str) -> None:
    printer.line((f"fslog {VERSION} demo", "bold"))
    # The directory has a line of its own: it may be long.
    printer.line(
        ("application  ", "bold"), ("demo_app.py, with logging as in demo.json, both in", "")
    )
    printer.line((f"  {_FILES}", ""))
    printer.line(("endpoint     ", "bold"), (f"{url} (embedded; no event leaves this machine)", ""))
    printer.line()
    printer.row(*EVENT_HEADING)
    printer.row((f"{'made by':>{_CALL_INDENT - 2}}  log call", "bold"))


def _next_steps() -> list[tuple[Part, ...]]:
    steps = (
        ("fslog viewer", "a page of the events of your own application"),
        ("usage: {class: fslog.FreshsuccessHandler}", "add to handlers and root"),
        ("fslog help", "rules, context, testing, deploying and more"),
    )
    return [
        (
            (f"{'' if at else 'next':{_LABEL_COLUMNS}}", "bold"),
            (text, "cyan"),
            (f"  # {why}", "dim"),
        )
        for at, (text, why) in enumerate(steps)
    ]


def _run_application(
    options: argparse.Namespace, printer: Printer, requests: WakeQueue, calls: Calls
) -> bool:
    """Run the application and show arriving events; return whether Ctrl-C interrupted it."""
    pace = _SECONDS / options.events if options.pace is None else options.pace
    try:
        for activity in activities(options.events):
            activity()
            _print_requests(printer, requests, calls, pace)
    except KeyboardInterrupt:
        return True
    return False


def _print_requests(printer: Printer, requests: WakeQueue, calls: Calls, seconds: float) -> None:
    """Show the requests that arrive until a number of seconds has passed."""
    until = time.monotonic() + seconds
    with contextlib.suppress(Empty):
        while True:
            request, events = requests.get(timeout=max(0.0, until - time.monotonic()))
            for event in events:
                printer.row(*event_row(event))
                printer.line(*calls.row(event))
            sizes = f"{request.bytes_unpacked:,} bytes compressed to {request.bytes_received:,}"
            printer.row((f"  {len(events)} events in one batch, {sizes}", "dim"))


def summary(
    stats: Stats, received: Sequence[Mapping[str, Any]], problems: Iterable[Problem]
) -> list[tuple[Part, ...]]:
    """Return the lines of a summary of the handler, and of what endpoint and program received."""
    records = (
        f"{stats.emitted} = {stats.accepted} accepted + {stats.skipped} skipped "
        f"(no event) + {stats.invalid} invalid + {stats.refused} refused"
    )
    return [
        _row("records", records),
        _row("delivered", _delivered(stats, len(received))),
        _row("bytes", _bytes(stats)),
        _row("actions", _counts(event["action"] for event in received)),
        *_modules(received),
        *(_row(*_problem(problem), "yellow") for problem in problems),
        *([_row("failed", stats.last_error, "red")] if stats.last_error else []),
    ]


def _row(label: str, text: str, style: str = "") -> tuple[Part, ...]:
    return ((f"{label:{_LABEL_COLUMNS}}", "bold"), (text, style))


def _delivered(stats: Stats, received: int) -> str:
    lost = f", {stats.abandoned} abandoned" if stats.abandoned else ""
    again = f", {stats.retries} failed attempts" if stats.retries else ""
    batches = f"{stats.batches} batch{'' if stats.batches == 1 else 'es'}"
    return (
        f"{stats.delivered} events sent in {batches}, {received} received by the endpoint, "
        f"{stats.pending} pending{lost}{again}"
    )


def _bytes(stats: Stats) -> str:
    if not stats.bytes_sent:
        return "none"
    ratio = stats.bytes_encoded / stats.bytes_sent
    return f"{stats.bytes_encoded:,} before compression, {stats.bytes_sent:,} sent: {ratio:.1f} : 1"


def _counts(names: Iterable[str]) -> str:
    counted = Counter(names).most_common()
    return ", ".join(f"{name} {number}" for name, number in counted) or "none"


def _problem(problem: Problem) -> tuple[str, str]:
    label = "warning" if problem.code in WARNINGS else "not sent"
    event = problem.event or {}
    what = " ".join(filter(None, [str(event.get("action", "")), event_place(event)]))
    return label, f"{what}: {problem.message}" if what else problem.message


def _modules(received: Sequence[Mapping[str, Any]]) -> list[tuple[Part, ...]]:
    modules: dict[str, list[str]] = {}
    for event in received:
        if event["action"] == "feature":
            modules.setdefault(str(event.get("module")), []).append(str(event.get("feature")))
    rows = [f"{module:10} {_counts(modules[module])}" for module in sorted(modules)]
    return [_row("features" if at == 0 else "", row) for at, row in enumerate(rows)]


def _parser() -> CommandParser:
    parser = CommandParser("fslog demo", _DESCRIPTION, _EPILOG)
    parser.add_argument(
        "--events",
        type=whole(1, _MAX_EVENTS),
        default=_EVENTS,
        metavar="N",
        help=f"number of events, 1 to {_MAX_EVENTS} (default: {_EVENTS})",
    )
    parser.add_argument(
        "--pace",
        type=seconds(zero=True),
        metavar="SECONDS",
        help=f"pause after each event (default: {_SECONDS:g} seconds in total)",
    )
    return parser
