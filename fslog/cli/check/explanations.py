"""What becomes of a record, and why: which rule fits, why others do not, where properties are from.

The event is the formatter's own; the reasons are found beside it, by the rules' own conditions.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fslog import context
from fslog.cli.check.records import recovered
from fslog.cli.check.targets import Target
from fslog.errors import InvalidEvent, Problem
from fslog.formatter import EventFormatter
from fslog.mapping import schema
from fslog.mapping.encoding import encode
from fslog.mapping.paths import MISSING, RECORD_ATTRIBUTES, Unreadable, compile_path
from fslog.mapping.rules import Condition, Rule
from fslog.mapping.templates import Names, compile_value

OUTCOMES = ("event", "warning", "invalid", "skipped", "stopped", "unreadable")
"""What can become of a line: an event, one that is sent with a warning, one that is not sent, none
that was meant; it does not come to the handler; it is no record."""


_WHO = ("accountId", "userId")


@dataclass(frozen=True)
class Miss:
    """Why one rule does not fit.

    Args:
        rule: its index.
        condition: the first that fails.
        found: what stands there; `MISSING` for nothing, `Unreadable` for what raises.
        held, conditions: how many of its conditions hold, and how many it has.
    """

    rule: int
    condition: Condition
    found: Any
    held: int
    conditions: int

    def sentence(self) -> str:
        """Say what stands there, and what was wanted."""
        key, wanted = self.condition.key, self.condition.wanted
        if isinstance(self.found, Unreadable):
            return f"{key} cannot be read: {self.found}; wanted {_wanted(key, wanted)}"
        came = "missing" if self.found is MISSING else shown(self.found)
        return f"{key} is {came}, wanted {_wanted(key, wanted)}"


@dataclass
class Explanation:
    """What becomes of one record, and why.

    Args:
        number: of its line; None if it came otherwise.
        record: itself; None if the line is none.
        outcome: one of `OUTCOMES`.
        rule: the index of the rule that fits; None for none.
        is_explicit: whether the log call itself says that it is an event.
        why: what stops it, or why it is no record.
        event: what comes out, or would; None for nothing.
        problems: with the event, those that only warn included.
        sources: where each property is from.
        misses: why the rules before the one that fits do not.
        left_out: properties that could not be made, and why, in words.
        notes: what else there is to know.
    """

    number: int | None
    record: logging.LogRecord | None
    outcome: str
    rule: int | None = None
    is_explicit: bool = False
    why: str = ""
    event: Mapping[str, Any] | None = None
    problems: tuple[Problem, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    misses: tuple[Miss, ...] = ()
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Explainer:
    """Explain records, as one handler of a configuration takes them.

    Args:
        target: that handler; it has a formatter.
        bound: what `fslog.context` is to hold.
    """

    def __init__(self, target: Target, bound: Mapping[str, Any]) -> None:
        assert target.formatter is not None
        self._target = target
        self._formatter: EventFormatter = target.formatter
        self._bound = dict(bound)
        self._rules = list(target.formatter.rules)
        fields = target.mapping.get("fields") or {}
        self._fields = {name: fields[name] for name in fields}
        self._templates = [
            (rule, rule.message) for rule in self._rules if rule.message and "%" in rule.message
        ]

    def explain(self, record: logging.LogRecord, number: int | None = None) -> Explanation:
        """Explain one record.

        Args:
            record: whose message and arguments may be changed into what they were before they
                were joined.
            number: of its line.
        """
        notes = self._recover(record)
        with context.bound(**self._bound):
            made = self._judge(record, number)
            route = self._target.routing.route(record.name, record.levelno or None, record)
        if not route.by:
            made.outcome, made.why = "stopped", route.reason
        if any(p.code == "missing" and p.property in _WHO for p in made.problems):
            if not self._bound:
                notes.append("what fslog.context may have bound is not known; say it by --context")
        unasked = [f"the filter {name} is not asked here; it may stop it" for name in route.unasked]
        made.notes = (*notes, *unasked)
        return made

    def _recover(self, record: logging.LogRecord) -> list[str]:
        """Take a message apart that was joined, where a rule asks for its parts."""
        if record.args or any(record.msg == template for _, template in self._templates):
            return []
        for rule, template in self._templates:
            if rule.logger(record.name) is None:
                continue
            args = recovered(record.msg, template)
            if args is not None:
                record.msg, record.args = template, args
                return ["msg and args are taken out of the joined message"]
        return []

    def _judge(self, record: logging.LogRecord, number: int | None) -> Explanation:
        made = Explanation(number, record, "skipped", is_explicit=_is_explicit(record))
        misses: list[Miss] = []
        groups: Mapping[str, Any] = {}
        if not made.is_explicit:
            made.rule, groups, misses = self._fitting(record)
            made.misses = tuple(misses)
        self._make(record, made)
        rule = None if made.rule is None else self._rules[made.rule]
        if rule is not None:
            made.left_out = tuple(_left_out(rule, record, groups))
        if made.event is not None:
            made.left_out += tuple(self._unread(record, made))
            made.sources = {name: self._source(name, record, made, rule) for name in made.event}
        return made

    def _fitting(
        self, record: logging.LogRecord
    ) -> tuple[int | None, Mapping[str, Any], list[Miss]]:
        misses: list[Miss] = []
        for index, rule in enumerate(self._rules):
            groups: dict[str, Any] = {}
            failed: Condition | None = None
            stands: Any = MISSING
            held = 0
            for condition in rule.when:
                found, yields = _looked_at(condition, record)
                if yields is not None:
                    held += 1
                    groups.update(yields)
                elif failed is None:
                    failed, stands = condition, found
            if failed is None:
                return index, groups, misses
            misses.append(Miss(index, failed, stands, held, len(rule.when)))
        return None, {}, misses

    def _make(self, record: logging.LogRecord, made: Explanation) -> None:
        try:
            event = self._formatter.event(record)
        except InvalidEvent as error:
            made.outcome, made.problems = "invalid", error.problems
            made.event = next((p.event for p in error.problems if p.event is not None), None)
            return
        except Exception as error:  # a formatter of somebody's own
            made.outcome = "invalid"
            made.problems = (Problem("failed", "", f"{type(error).__name__}: {error}"),)
            return
        if event is None:
            return
        made.event = event
        line, most = encode(event), self._target.batch_bytes
        if most is not None and len(line) > most:
            message = f"the event has {len(line)} bytes; batch_bytes allows {most}"
            made.outcome, made.problems = "invalid", (Problem("too_large", "", message, event),)
            return
        made.problems = tuple(schema.warnings(event))
        made.outcome = "warning" if made.problems else "event"

    def _unread(self, record: logging.LogRecord, made: Explanation) -> Iterator[str]:
        """Yield the `fields` that lead nowhere, of properties that nothing else gives."""
        bad = {problem.property for problem in made.problems}
        for name, path in self._fields.items():
            if name == "sessionId" and name not in bad:  # it is derived where nobody gives it
                continue
            if made.event is not None and name not in made.event:
                value = _read(path, record)
                if isinstance(value, Unreadable):  # a problem says so
                    continue
                what = "leads nowhere" if value is MISSING else f"is {shown(value)}"
                yield f"{name}: fields reads {path}, which {what}"

    def _source(
        self, name: str, record: logging.LogRecord, made: Explanation, rule: Rule | None
    ) -> str:
        value = (made.event or {})[name]
        nested = record.__dict__.get("event")
        if isinstance(nested, Mapping) and _is_same(nested.get(name, MISSING), value):
            return "the call's event"
        of_rule = f"rules[{made.rule}]" if rule is not None and name in rule.event else ""
        if of_rule and name not in schema.REQUIRED:
            return of_rule
        if name not in RECORD_ATTRIBUTES and _is_same(record.__dict__.get(name, MISSING), value):
            return "the call"
        if of_rule:
            return of_rule
        if name in self._fields and _is_same(_read(self._fields[name], record), value):
            return f"fields: {self._fields[name]}"
        if _is_same(context.current().get(name, MISSING), value):
            return "context"
        if _is_same((self._target.mapping.get("defaults") or {}).get(name, MISSING), value):
            return "defaults"
        derived = {"createdAt": "the record's time", "sessionId": "derived"}
        provided = "context_provider" if self._target.mapping.get("context_provider") else ""
        return derived.get(name, provided)


def _is_explicit(record: logging.LogRecord) -> bool:
    nested = record.__dict__.get("event")
    return "action" in record.__dict__ or (isinstance(nested, Mapping) and "action" in nested)


def _is_same(one: Any, other: Any) -> bool:
    # An id that was given as a number is text in the event.
    return one is not MISSING and (one == other or str(one) == other)


def _looked_at(
    condition: Condition, record: logging.LogRecord
) -> tuple[Any, Mapping[str, Any] | None]:
    """Return what stands where a condition looks, and what it yields, None if it does not hold."""
    try:
        value = condition.read(record)
        return value, condition.fits(value)
    except Unreadable as error:
        return error, None


def _read(path: str, record: logging.LogRecord) -> Any:
    try:
        return compile_path(path)(record)
    except Unreadable as error:
        return error


def _left_out(rule: Rule, record: logging.LogRecord, groups: Mapping[str, Any]) -> Iterator[str]:
    """Yield the properties of a rule's event whose placeholders find nothing."""
    names = Names(frozenset(_groups(rule)), lambda name: True)
    for path, text in _texts(rule.event, ""):
        constant, make = compile_value(text, names)
        try:
            if not constant and make(record, groups) is MISSING:
                yield f"{path}: {text} leads nowhere"
        except Unreadable:  # a problem says so
            continue


def _groups(rule: Rule) -> Iterator[str]:
    for condition in rule.when:
        wanted = condition.wanted
        if is_expression(wanted):
            yield from re.compile(wanted[1:-1]).groupindex


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key in value:
            yield from _texts(value[key], f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)):
        for number in range(len(value)):
            yield from _texts(value[number], f"{path}.{number}")


def is_expression(wanted: Any) -> bool:
    """Return whether a condition's value is a regular expression."""
    return isinstance(wanted, str) and len(wanted) > 1 and wanted[0] == wanted[-1] == "/"


def _wanted(key: str, wanted: Any) -> str:
    if is_expression(wanted):
        return f"a match of {wanted}"
    return f"{shown(wanted)} or below" if key == "logger" else shown(wanted)


def shown(value: Any, most: int = 80) -> str:
    """Return a value as JSON, cut where it is long.

    >>> shown("POST"), shown({"id": 7}), shown("x" * 9, 6)
    ('"POST"', '{"id": 7}', '"xxxx...')
    """
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = f"of type {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most - 1]}..."
