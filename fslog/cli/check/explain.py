"""What becomes of a record, and why: the rule that matches, why others do not, and all sources.

The event is the formatter's own. The reasons are found separately, with the conditions of the
rules, which `Condition` offers one by one.
"""

from __future__ import annotations

import functools
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fslog import context
from fslog.cli.check.dry_run import EventHandlerInfo
from fslog.cli.check.records import recover_args
from fslog.errors import ExcludedEvent, InvalidEvent, Problem
from fslog.formatter import EventFormatter
from fslog.mapping import schema
from fslog.mapping.conditions import Condition
from fslog.mapping.encoding import encode
from fslog.mapping.paths import MISSING, RECORD_ATTRIBUTES, Unreadable, compile_path
from fslog.mapping.rules import Rule
from fslog.mapping.templates import Names, compile_value
from fslog.plan.judgement import is_warning

RESULTS = ("event", "warning", "invalid", "excluded", "skipped", "stopped", "unreadable")
"""In this order: an event; one with a warning, which is sent; one that is not sent; no event; a
record that does not reach the handler; a line that is not a record."""

_MAX_KINDS = 1_000
"""How many loggers, and kinds of problems, are counted separately: a log may name any number."""


@dataclass(frozen=True)
class RuleMismatch:
    """Why one rule does not match.

    Args:
        rule: its index.
        where: its place in the configuration.
        condition: the first that fails.
        found: the value that it reads; `MISSING` for none, `Unreadable` if reading it raises.
        held, conditions: how many of its conditions hold, and how many it has.
    """

    rule: int
    where: str
    condition: Condition
    found: Any
    held: int
    conditions: int

    def __str__(self) -> str:
        key, wanted = self.condition.key, self.condition.wanted
        if key == "preset":
            return f"not a record that the preset {wanted} reads"
        expected = f"{shown(wanted)} or a child of it" if key == "logger" else shown(wanted)
        if is_expression(wanted):
            expected = f"a match of {wanted}"
        if isinstance(self.found, Unreadable):
            return f"{key} cannot be read: {self.found}; expected {expected}"
        found = "missing" if self.found is MISSING else shown(self.found)
        return f"{key} is {found}, expected {expected}"


@dataclass
class Explanation:
    """What becomes of one record, and why.

    Args:
        number: of its line; None if it is not from a log.
        record: None if the line is not one.
        result: one of `RESULTS`.
        rule: the index of the rule that matches, if any.
        by: the place of that rule in the configuration.
        is_explicit: whether the log call itself names an action.
        reason: what stops the record, or why the line is not a record.
        event: what is sent, or would be; None for nothing.
        problems: of the event, warnings included.
        sources: of each property.
        mismatches: why the rules before the one that matches do not.
        left_out: properties without a value, and why.
        absent: the placeholders of the rule that the record has no value for, without groups.
    """

    number: int | None
    record: logging.LogRecord | None
    result: str
    rule: int | None = None
    is_explicit: bool = False
    reason: str = ""
    event: Mapping[str, Any] | None = None
    problems: tuple[Problem, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    mismatches: tuple[RuleMismatch, ...] = ()
    left_out: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    by: str = ""


class Explainer:
    """Explain what a handler with a formatter does with records while `fslog.context` is bound."""

    def __init__(self, handler: EventHandlerInfo, bound: Mapping[str, Any]) -> None:
        assert handler.formatter is not None
        self._handler = handler
        self._formatter: EventFormatter = handler.formatter
        self._bound = dict(bound)
        self._rules = handler.rules
        fields = handler.mapping.get("fields") or {}
        self._fields = {name: fields[name] for name in fields}
        self._templates = [
            (rule, rule.message) for rule in self._rules if rule.message and "%" in rule.message
        ]

    def explain(self, record: logging.LogRecord, number: int | None = None) -> Explanation:
        """Explain the record of a line; recover its arguments from its formatted message."""
        notes = self._recover(record)
        with context.bound(**self._bound):
            made = self._explain(record, number)
            route = self._handler.routing.route(record.name, record.levelno or None, record)
        if not route.by:
            made.result, made.reason = "stopped", route.reason
        missing = {problem.property for problem in made.problems if problem.code == "missing"}
        if not self._bound and not missing.isdisjoint(schema.IDS):
            notes.append("values bound by fslog.context are unknown here; pass --context")
        for name in route.unasked:
            notes.append(f"the filter {name} was not run; it may reject the record")
        made.notes = tuple(notes)
        return made

    def _recover(self, record: logging.LogRecord) -> list[str]:
        """Split a formatted message into message and arguments, if a rule needs them."""
        if record.args or any(record.msg == template for _, template in self._templates):
            return []
        for rule, template in self._templates:
            if rule.logger(record.name) is None:
                continue
            args = recover_args(record.msg, template)
            if args is not None:
                record.msg, record.args = template, args
                return ["msg and args are recovered from the formatted message"]
        return []

    def _explain(self, record: logging.LogRecord, number: int | None) -> Explanation:
        place, nested = self._nested(record)
        is_explicit = "action" in record.__dict__ or "action" in nested
        made = Explanation(number, record, "skipped", is_explicit=is_explicit)
        groups = {} if made.is_explicit else self._match(record, made)
        self._create_event(record, made)
        rule = None if made.rule is None else self._rules[made.rule]
        if rule is not None:
            made.left_out = tuple(_left_out(rule, record, groups))
            made.absent = tuple(name for name in rule.reads if _read(name, record) is MISSING)
        if made.event is not None:
            made.left_out += tuple(self._empty_fields(record, made))
            made.left_out += tuple(self._withheld(record, made, nested, rule))
            made.sources = {
                name: f"the call's {place}"
                if self._is_sent(name, nested.get(name, MISSING), made.event[name])
                else self._source(name, record, made, rule)
                for name in made.event
            }
        return made

    def _nested(self, record: logging.LogRecord) -> tuple[str, Mapping[str, Any]]:
        try:
            place, nested = self._formatter.nested.find(record)
        except InvalidEvent:  # a problem reports it
            return "event", {}
        return place, nested or {}

    def _match(self, record: logging.LogRecord, made: Explanation) -> dict[str, Any]:
        """Find the rule that matches, and why those before it do not; return its groups."""
        mismatches: list[RuleMismatch] = []
        groups: dict[str, Any] = {}
        for index, rule in enumerate(self._rules):
            groups, held = {}, 0
            failed: tuple[Condition, Any] | None = None
            for condition in rule.when:
                try:
                    value: Any = condition.read(record)
                    yields = condition.match(value)
                except Unreadable as error:
                    value, yields = error, None
                if yields is None:
                    failed = failed or (condition, value)
                else:
                    groups.update(yields)
                    held += 1
            if failed is None:
                made.rule, made.by = index, rule.where
                break
            mismatches.append(RuleMismatch(index, rule.where, *failed, held, len(rule.when)))
        made.mismatches = tuple(mismatches)
        return groups

    def _create_event(self, record: logging.LogRecord, made: Explanation) -> None:
        formatter = self._formatter
        is_own = type(formatter).event is not EventFormatter.event
        try:
            event = formatter.event(record) if is_own else formatter.allowed_event(record)
        except ExcludedEvent:
            made.result, made.reason = "excluded", "the configuration excludes whose event it is"
            return
        except InvalidEvent as error:
            made.result, made.problems = "invalid", error.problems
            made.event = next((p.event for p in error.problems if p.event is not None), None)
            return
        except Exception as error:  # from a subclass of the formatter
            message = f"{type(error).__name__}: {error}"
            made.result, made.problems = "invalid", (Problem("failed", "", message),)
            return
        if event is None:
            return
        made.event = event
        line, most = encode(event), self._handler.batch_bytes
        if most is not None and len(line) > most:
            message = f"the event has {len(line)} bytes; batch_bytes allows {most}"
            made.result, made.problems = "invalid", (Problem("too_large", "", message, event),)
            return
        made.problems = tuple(self._formatter.warnings(event))
        made.result = "warning" if made.problems else "event"

    def _empty_fields(self, record: logging.LogRecord, made: Explanation) -> Iterator[str]:
        """Yield the `fields` without a value, of properties that have no other source."""
        bad = {problem.property for problem in made.problems}
        for name, path in self._fields.items():
            # Without a value, sessionId is derived.
            if name in (made.event or {}) or (name == "sessionId" and name not in bad):
                continue
            value = _read(path, record)
            if not isinstance(value, Unreadable):  # a problem reports it
                what = "missing" if value is MISSING else shown(value)
                note = ", no value" if isinstance(value, str) else ""
                yield f"{name}: fields reads {path}, which is {what}{note}"

    def _withheld(
        self,
        record: logging.LogRecord,
        made: Explanation,
        nested: Mapping[str, Any],
        rule: Rule | None,
    ) -> Iterator[str]:
        """Yield the properties that the event would have if the configuration let them leave."""
        given = {*nested, *self._fields, *context.current()}
        given |= {*(self._handler.mapping.get("defaults") or {})}
        if made.is_explicit:
            given |= {name for name in record.__dict__ if self._formatter.is_property(name)}
        elif rule is not None:
            given |= {*rule.event}
        for name in sorted(given - (made.event or {}).keys()):
            if self._formatter.redact.get(name) == "drop":
                yield f"{name}: redact drops it"
            elif self._formatter.sends_declared and name not in self._formatter.declared:
                yield f"{name}: it is not declared"

    def _is_sent(self, name: str, value: Any, sent: Any) -> bool:
        """Return whether a property with a value is sent as another one."""
        redaction = self._formatter.redaction
        if redaction is None or value is MISSING:
            return _is_same(value, sent)
        return _is_same(redaction.sent(name, value), sent)

    def _source(
        self, name: str, record: logging.LogRecord, made: Explanation, rule: Rule | None
    ) -> str:
        value = (made.event or {})[name]
        of_rule = rule.where if rule is not None and name in rule.event else ""
        if of_rule and name not in schema.REQUIRED:
            return of_rule
        is_sent = functools.partial(self._is_sent, name, sent=value)
        if name not in RECORD_ATTRIBUTES and is_sent(record.__dict__.get(name, MISSING)):
            return "the call"
        if of_rule:
            return of_rule
        if name in self._fields and is_sent(_read(self._fields[name], record)):
            return f"fields: {self._fields[name]}"
        if is_sent(context.current().get(name, MISSING)):
            return "context"
        if is_sent((self._handler.mapping.get("defaults") or {}).get(name, MISSING)):
            return "defaults"
        derived = {"createdAt": "the record's time", "sessionId": "derived"}
        provided = "context_provider" if self._handler.mapping.get("context_provider") else ""
        return derived.get(name, provided)


def _is_same(one: Any, other: Any) -> bool:
    # An id that is given as a number is a string in the event.
    return one is not MISSING and (one == other or str(one) == other)


def _read(path: str, record: logging.LogRecord) -> Any:
    try:
        return compile_path(path)(record)
    except Unreadable as error:
        return error


def _left_out(rule: Rule, record: logging.LogRecord, groups: Mapping[str, Any]) -> Iterator[str]:
    """Yield the properties of a rule's event whose placeholders have no value."""
    names = Names(rule.groups)
    for path, text in _texts(rule.event, ""):
        constant, make = compile_value(text, names)
        try:
            if not constant and make(record, groups) is MISSING:
                yield f"{path}: {text} has no value"
        except Unreadable:  # a problem reports it
            continue


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key in value:
            yield from _texts(value[key], f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)):
        yield from _texts({number: value[number] for number in range(len(value))}, path)


def is_expression(wanted: Any) -> bool:
    """Return whether a condition's value is a regular expression."""
    return isinstance(wanted, str) and len(wanted) > 1 and wanted[0] == wanted[-1] == "/"


def shown(value: Any, most: int = 80) -> str:
    """Return a value as JSON, truncated if it is long.

    >>> shown("POST"), shown({"id": 7}), shown("x" * 9, 6)
    ('"POST"', '{"id": 7}', '"xxxx...')
    """
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = f"of type {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most - 1]}..."


@dataclass
class Summary:
    """Count explanations.

    Args:
        rules: their places in the configuration.
        results: lines by result.
        matches: records by the rule that matches.
        explicit: records whose log call names an action.
        stops, stopped_events: records by what stops them, and how many of them would be events.
        skipped: records that are not events, by logger.
        problems: by code, property, message, and whether it is a warning.
        nearest: by rule, the mismatch in which most of its conditions hold.
        failed: by rule, how often each condition is the first that fails.
        absent: by rule and placeholder, how many of the records that match have no value for it.
    """

    rules: Sequence[str]
    results: Counter[str] = field(default_factory=Counter)
    matches: Counter[int] = field(default_factory=Counter)
    explicit: int = 0
    stops: Counter[str] = field(default_factory=Counter)
    stopped_events: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    problems: Counter[tuple[str, str, str, bool]] = field(default_factory=Counter)
    nearest: dict[int, RuleMismatch] = field(default_factory=dict)
    failed: dict[int, Counter[str]] = field(default_factory=dict)
    absent: Counter[tuple[int, str]] = field(default_factory=Counter)

    def add(self, one: Explanation) -> None:
        """Count one explanation."""
        self.results[one.result] += 1
        if one.result == "stopped":
            _count(self.stops, one.reason)
            self.stopped_events += one.event is not None
            return
        if one.rule is not None:
            self.matches[one.rule] += 1
            self.absent.update((one.rule, name) for name in one.absent)
        self.explicit += one.is_explicit
        if one.result == "skipped" and one.record is not None:
            _count(self.skipped, str(one.record.name))
        for problem in one.problems:
            kind = (problem.code, problem.property, problem.message, is_warning(problem))
            _count(self.problems, kind)
        for mismatch in one.mismatches:
            self.failed.setdefault(mismatch.rule, Counter())[mismatch.condition.key] += 1
            nearest = self.nearest.get(mismatch.rule)
            if nearest is None or mismatch.held > nearest.held:
                self.nearest[mismatch.rule] = mismatch

    def not_found(self) -> list[tuple[int, str]]:
        """Return the rules' placeholders that no record which matches has a value for."""
        return [one for one, number in self.absent.items() if number == self.matches[one[0]]]

    @property
    def lines(self) -> int:
        """How many lines were counted."""
        return sum(self.results.values())


def _count(counter: Counter[Any], key: Any) -> None:
    if key in counter or len(counter) < _MAX_KINDS:
        counter[key] += 1
