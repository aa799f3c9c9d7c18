"""The output of `fslog check`: text for a person, or one JSON object for a program.

Both write piece by piece, so that a log may have any length. `Text` and `Json` have the same
methods, which are called in the order in which they are defined.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from fslog.cli.check.configuration import ROOT, Configuration
from fslog.cli.check.dry_run import KEYS, EventHandlerInfo
from fslog.cli.check.explain import Explanation, Summary, shown
from fslog.cli.check.lint import spool_state
from fslog.cli.check.routing import ABOVE_ALL, logger_label
from fslog.cli.output import Part, Printer, count
from fslog.config import environment
from fslog.mapping.encoding import encode
from fslog.mapping.paths import MISSING, SOURCES
from fslog.plan.judgement import is_warning

_LABEL_COLUMNS = 12
_MOST_NAMES = 8
_MOST_REASONS = 5
_VALUE_COLUMNS = 40

_NO_KEYS = "no keys"

_MAPPING = ("fields", "defaults", "include", "nested", "redact")
"""The arguments of a formatter of which the names are reported."""

_VERDICTS = {
    "event": ("event", "green"),
    "warning": ("event, with a warning", "yellow"),
    "invalid": ("invalid, not sent", "red"),
    "excluded": ("excluded, not sent", "dim"),
    "skipped": ("no event", "dim"),
    "stopped": ("does not reach the handler", "yellow"),
    "unreadable": ("not a log record", "yellow"),
}
_COUNTED = {
    "event": ("event", "events"),
    "warning": ("event with a warning", "events with a warning"),
    "invalid": ("invalid event, not sent", "invalid events, not sent"),
    "excluded": ("excluded event, not sent", "excluded events, not sent"),
    "skipped": ("record without an event", "records without an event"),
    "stopped": ("record does not reach the handler", "records do not reach the handler"),
    "unreadable": ("line is not a log record", "lines are not log records"),
}


class Text:
    """Write to a person, with at most `details` records explained in full."""

    def __init__(self, printer: Printer, details: int) -> None:
        self._printer = printer
        self._details = details
        self._hidden = 0
        self._shown = 0

    def configuration(
        self, label: str, config: Configuration, handlers: list[EventHandlerInfo]
    ) -> None:
        """Write what does not depend on any record."""
        self._printer.line((label, "bold"))
        for info in handlers:
            self._printer.line()
            for row in _handler_rows(config, info):
                self._printer.line(*row)
        self.diagnostics(config)

    def diagnostics(self, config: Configuration) -> None:
        """Write the diagnostics that are not written yet."""
        new = config.diagnostics[self._shown :]
        self._shown = len(config.diagnostics)
        for kind, style in (("error", "red"), ("warning", "yellow")):
            found = [one for one in new if one.kind == kind]
            if found:
                self._printer.line()
            for one in found:
                label = f"{kind:{_LABEL_COLUMNS}}"
                self._printer.line((label, style), (f"{one.where}: ", "bold"), (one.message, ""))

    def no_handler(self) -> None:
        """Write that records cannot be explained."""
        self._printer.line()
        self._printer.line(("no handler can be created, so no record can be explained", "red"))

    def record(self, one: Explanation) -> None:
        """Write an explanation, unless the limit is reached."""
        if self._details <= 0:
            self._hidden += 1
            return
        self._details -= 1
        self._printer.line()
        for row in _explanation_rows(one):
            self._printer.line(*row)

    def summary(self, summary: Summary, handler: EventHandlerInfo) -> None:
        """Write the counts, unless there is only one line."""
        if summary.lines == 1:
            return
        self._printer.line()
        if self._hidden:
            text = f"{count(self._hidden, 'more record')} not shown; see --details and --only"
            self._printer.line((text, "dim"))
            self._printer.line()
        for row in _summary_rows(summary):
            self._printer.line(*row)

    def end(self, config: Configuration, invalid: int, failed: bool) -> None:
        """Write what the records have shown, and the verdict.

        Args:
            config: with all diagnostics.
            invalid: how many records give an invalid event.
            failed: whether the log could not be read to its end.
        """
        self.diagnostics(config)
        if config.obstacles:
            self._printer.line()
            self._printer.line(("if nothing arrives", "bold"))
        for one in config.obstacles:
            self._printer.line(*_row(one.program, f"{one.what}: {one.remedy}"))
        errors = config.count("error") + failed
        numbers = {"error": errors, "invalid event": invalid, "warning": config.count("warning")}
        style = "red" if errors or invalid else "yellow" if numbers["warning"] else "green"
        parts = [] if errors or invalid else ["OK"]
        parts += [count(number, noun) for noun, number in numbers.items() if number]
        self._printer.line()
        self._printer.line((", ".join(parts), style))


def _row(label: str, text: str, style: str = "") -> tuple[Part, ...]:
    return ((f"  {label:{_LABEL_COLUMNS - 2}}", "dim"), (text, style))


def _handler_rows(config: Configuration, info: EventHandlerInfo) -> Iterator[tuple[Part, ...]]:
    values = _handler_values(info)
    yield (("handler ", "dim"), (info.name, "bold"), (f"  {values['factory']}", ""))
    if info.part.posts:
        yield from _posting_rows(values)
    else:
        yield _row("writes", "events as lines; another program has to send them")
    if info.formatter is not None:
        texts = [f"from log calls and {count(values['rules'], 'rule')}"]
        given = {name: info.mapping.get(name) or () for name in _MAPPING}
        texts += [f"{name} {', '.join(map(str, given[name]))}" for name in given if given[name]]
        yield _row("events", "; ".join(texts))
        if options := values["options"]:
            yield _row("options", ", ".join(f"{name}: {options[name]}" for name in options))
        if (plan := info.formatter.plan) is not None:
            named = f"{plan.source}: " if plan.source else ""
            planned = count(len(plan.events), "planned event")
            yield _row("plan", f"{named}{planned}, unplanned: {plan.unplanned}")
    if values["extras"]:
        yield _row("reads", f"the extras {', '.join(values['extras'])}, if a log call has them")
    if values["filters"]:
        yield _row("filters", ", ".join(values["filters"]))
    for logger in values["loggers"]:
        yield _row("from", f"{logger_label(logger['logger'])}, {logger['level']} and above")
    routes = {name: info.routing.route(name, ABOVE_ALL) for name in config.loggers if name != ROOT}
    unreached = [(name, route.reason) for name, route in routes.items() if not route.by]
    for name, reason in unreached[:_MOST_NAMES]:
        yield _row("not from", f"{name}: {reason}")


def _posting_rows(values: dict[str, Any]) -> Iterator[tuple[Part, ...]]:
    if values["disabled_by"] == _NO_KEYS:
        yield _row("off", f"{_NO_KEYS}: {' and '.join(KEYS.values())} switch it on", "yellow")
    elif values["disabled_by"]:
        yield _row("disabled", f"by {values['disabled_by']}", "yellow")
    if values["endpoint"]:
        proxy = f" via the proxy {values['proxy']}" if values["proxy"] else ""
        yield _row("posts to", f"{values['endpoint']}{proxy}")
    for name, origin in values["keys"].items():
        where = "in the configuration" if origin == "configuration" else f"in {origin}"
        yield _row(name, where if origin else "missing", "" if origin else "yellow")
    if values["spool"]:
        yield _row("spool", f"{values['spool']['path']}, {values['spool']['state']}")


def _explanation_rows(one: Explanation) -> Iterator[tuple[Part, ...]]:
    where = "record" if one.number is None else f"line {one.number}"
    if one.record is None:
        yield ((f"{where}  ", "dim"), (f"{_VERDICTS[one.result][0]}: {one.reason}", "yellow"))
        return
    record = one.record
    level = record.levelname if record.levelno else "no level"
    yield (
        (f"{where}  ", "dim"),
        (str(record.name), "bold"),
        (f" {level}  {shown(record.msg, 120)}", ""),
        (f" {shown(record.args)}" if record.args else "", "dim"),
    )
    yield _verdict(one)
    yield from _property_rows(one)
    for problem in one.problems:
        style = "yellow" if is_warning(problem) else "red"
        yield ((f"    {problem.message}", style),)
    for text in one.left_out:
        yield ((f"    left out: {text}", "yellow"),)
    if one.result == "skipped" and not one.mismatches:
        yield (("    the log call has no action, and there are no rules", "dim"),)
    for mismatch in one.mismatches:
        held = f"  ({mismatch.held} of {mismatch.conditions} conditions hold)"
        label = (f"    {mismatch.where}  ", "dim")
        yield (label, (str(mismatch), ""), (held if mismatch.held else "", "dim"))
    for text in one.notes:
        yield ((f"    {text}", "dim"),)


def _property_rows(one: Explanation) -> Iterator[tuple[Part, ...]]:
    values = {name: shown(value) for name, value in (one.event or {}).items()}
    width = max(map(len, values), default=0)
    value_width = min(max(map(len, values.values()), default=0), _VALUE_COLUMNS)
    for name, value in values.items():
        source = one.sources.get(name, "")
        yield (
            (f"    {name:{width}}  ", "cyan"),
            (f"{value:{value_width}}  " if source else value, ""),
            (source, "dim"),
        )


def _verdict(one: Explanation) -> tuple[Part, ...]:
    words, style = _VERDICTS[one.result]
    by = f", by {one.by}" if one.by else ""
    if one.is_explicit and one.event is not None:
        by = ", by the log call itself"
    if one.result == "stopped":
        what = "invalid" if not all(map(is_warning, one.problems)) else "an event"
        would = f" (it would be {what}{by})" if one.event is not None else ""
        return ((f"  {words}: ", style), (f"{one.reason}{would}", ""))
    return ((f"  {words}", style), (by, ""))


def _summary_rows(summary: Summary) -> Iterator[tuple[Part, ...]]:
    yield ((count(summary.lines, "record"), "bold"),)
    for result, words in _COUNTED.items():
        number = summary.results[result]
        if number:
            yield ((f"{number:9,}  ", ""), (words[number != 1], _VERDICTS[result][1]))
            yield from _detail_rows(summary, result)
    if summary.lines and (summary.rules or summary.explicit):
        yield (("by", "bold"),)
    if summary.explicit:
        yield ((f"{summary.explicit:9,}  the log call itself", ""),)
    for index, where in enumerate(summary.rules if summary.lines else ()):
        matches = summary.matches[index]
        if matches:
            yield ((f"{matches:9,}  {where}", ""),)
        else:
            yield ((f"    never  {where}", "yellow"), (_nearest(summary, index), ""))


def _detail_rows(summary: Summary, result: str) -> Iterator[tuple[Part, ...]]:
    if result == "skipped":
        named = [f"{name} {number:,}" for name, number in summary.skipped.most_common(_MOST_NAMES)]
        yield ((f"{'':13}from {', '.join(named)}", "dim"),)
    if result == "stopped":
        for reason, number in summary.stops.most_common(_MOST_REASONS):
            yield ((f"{number:15,}  {reason}", "dim"),)
        if summary.stopped_events:
            would = count(summary.stopped_events, "would be an event", "would be events")
            yield ((f"{'':12}{would}", "yellow"),)
    if result in ("warning", "invalid"):
        for (_, _, message, warns), number in summary.problems.most_common():
            if warns == (result == "warning"):
                yield ((f"{number:15,}  {message}", "dim"),)


def _nearest(summary: Summary, index: int) -> str:
    if index in summary.nearest:
        return f": in the nearest record, {summary.nearest[index]}"
    return ": an earlier rule always matched first" if summary.matches else ""


class Json:
    """Write one JSON object; `details` is ignored, since a program gets all records."""

    def __init__(self, printer: Printer, details: int) -> None:
        self._printer = printer
        self._records = 0

    def configuration(
        self, label: str, config: Configuration, handlers: list[EventHandlerInfo]
    ) -> None:
        """Write what does not depend on any record."""
        values = {
            "configuration": label,
            "ok": not config.has_errors,
            "diagnostics": [vars(one) for one in config.diagnostics],
            "handlers": [_handler_values(info) for info in handlers],
        }
        self._printer.raw(self._printer.json(values)[:-1])

    def no_handler(self) -> None:
        """Write that records cannot be explained."""
        self._printer.raw(', "records": null')

    def record(self, one: Explanation) -> None:
        """Write an explanation."""
        text = self._printer.json(_explanation_values(one))
        self._printer.raw(("," if self._records else ', "records": [') + text)
        self._records += 1

    def summary(self, summary: Summary, handler: EventHandlerInfo) -> None:
        """Write the counts."""
        self._printer.raw("]" if self._records else ', "records": []')
        values = {"handler": handler.name, "summary": _summary_values(summary)}
        self._printer.raw(f", {self._printer.json(values)[1:-1]}")

    def end(self, config: Configuration, invalid: int, failed: bool) -> None:
        """Write the end."""
        errors, warnings = config.count("error"), config.count("warning")
        found = self._printer.json({"obstacles": [one._asdict() for one in config.obstacles]})
        self._printer.raw(f', {found[1:-1]}, "errors": {errors}, "warnings": {warnings}}}')


def _handler_values(info: EventHandlerInfo) -> dict[str, Any]:
    routing = info.routing
    levels = {name: max(routing.level_of(name)[0], info.part.level) for name in routing.holders()}
    values: dict[str, Any] = {
        "handler": info.name,
        "factory": _factory_name(info.part.factory),
        "posts": info.part.posts,
        "ok": info.formatter is not None,
        "rules": None if info.formatter is None else len(info.rules),
        "extras": _extras(info),
        **{name: sorted(map(str, info.mapping.get(name) or ())) for name in _MAPPING},
        "session": info.mapping.get("session", "window"),
        "options": {} if info.formatter is None else info.options,
        "filters": [
            one if isinstance(one, str) else type(one).__name__ for one in info.part.filters
        ],
        "loggers": [
            {"logger": name, "level": logging.getLevelName(level)} for name, level in levels.items()
        ],
    }
    return values | _posting_values(info) if info.part.posts else values


def _posting_values(info: EventHandlerInfo) -> dict[str, Any]:
    """Return where a handler posts, where its keys are (never what they are), and its spool."""
    to = info.destination
    proxy = None if to is None else to.proxy_url()
    path = None if info.spool is None else info.spool.path
    return {
        "enabled": info.enabled,
        "disabled_by": _disabled_by(info),
        "endpoint": None if to is None else f"{to.ping_url().removesuffix('ping')}***/***",
        # Without the password that the URL may contain.
        "proxy": None if proxy is None else urlsplit(proxy).netloc.rpartition("@")[2],
        "keys": {name: _key_origin(info, name) for name in KEYS},
        "spool": None if path is None else {"path": path, "state": spool_state(path)},
    }


def _disabled_by(info: EventHandlerInfo) -> str | None:
    """Return why a handler accepts nothing in this environment; None if it is enabled."""
    if info.enabled:
        return None
    return _NO_KEYS if info.is_auto else "enabled or FSLOG_ENABLED"


def _key_origin(info: EventHandlerInfo, name: str) -> str | None:
    """Return where a key is from; None if it is missing."""
    if str(info.arguments.get(name) or "").strip():
        return "configuration"
    if str(info.arguments.get(f"{name}_file") or "").strip():
        return f"{name}_file"
    variables = (KEYS[name], f"{KEYS[name]}_FILE")
    return next((one for one in variables if environment(one)), None)


def _extras(info: EventHandlerInfo) -> list[str]:
    """Return the extras that placeholders read: only records show whether these names are right."""
    names = {name.partition(".")[0] for rule in info.rules for name in rule.reads}
    return sorted(names - SOURCES)


def _factory_name(factory: Any) -> str:
    module = getattr(factory, "__module__", "")
    name = getattr(factory, "__qualname__", type(factory).__qualname__)
    return "fslog.FreshsuccessHandler" if module == "fslog.handler" else f"{module}.{name}"


def _explanation_values(one: Explanation) -> dict[str, Any]:
    record = one.record
    return {
        "line": one.number,
        "logger": record and record.name,
        "level": record and record.levelname,
        "message": record and str(record.msg),
        "result": one.result,
        "reason": one.reason or None,
        "rule": one.rule,
        "explicit": one.is_explicit,
        "event": None if one.event is None else json.loads(encode(one.event)),
        "sources": dict(one.sources),
        "problems": [
            {
                "code": problem.code,
                "property": problem.property,
                "message": problem.message,
                "warns": is_warning(problem),
            }
            for problem in one.problems
        ],
        "mismatches": [
            {
                "rule": mismatch.rule,
                "condition": mismatch.condition.key,
                "expected": _plain(mismatch.condition.wanted),
                "found": None if mismatch.found is MISSING else _plain(mismatch.found),
                "held": mismatch.held,
                "conditions": mismatch.conditions,
                "message": str(mismatch),
            }
            for mismatch in one.mismatches
        ],
        "left_out": list(one.left_out),
        "absent": list(one.absent),
        "notes": list(one.notes),
    }


def _plain(value: Any) -> Any:
    return json.loads(encode({"value": value}))["value"]


def _summary_values(summary: Summary) -> dict[str, Any]:
    return {
        "lines": summary.lines,
        "results": dict(summary.results),
        "explicit": summary.explicit,
        "rules": [
            {
                "rule": index,
                "matches": summary.matches[index],
                "failed": dict(summary.failed.get(index, {})),
                "nearest": str(summary.nearest[index]) if index in summary.nearest else None,
                "not_found": [name for rule, name in summary.not_found() if rule == index],
            }
            for index in range(len(summary.rules))
        ],
        "stopped": dict(summary.stops),
        "stopped_events": summary.stopped_events,
        "skipped_by_logger": dict(summary.skipped.most_common(20)),
        "problems": [
            {"code": code, "property": name, "message": message, "count": number}
            for (code, name, message, _), number in summary.problems.most_common()
        ],
    }
