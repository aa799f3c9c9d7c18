"""Which rule a log call fits, and which event it makes, as far as the source says.

The conditions are the rules' own, and read a record that is made of the call. Where the source does
not decide a value, the record has a `Hole`: whatever depends on it is undecided.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fslog.cli.plan.expected import Expected, ExpectedRule
from fslog.cli.plan.source.calls import LogCall
from fslog.cli.plan.source.values import (
    UNKNOWN,
    Either,
    Instance,
    Items,
    Unknown,
    Value,
    has_conversions,
    is_known,
    merged,
    options,
)
from fslog.mapping.conditions import Condition, compile_pattern
from fslog.mapping.paths import FORMATTED, MISSING, RECORD_ATTRIBUTES, SOURCES, Unreadable, parse

NO, MAYBE, YES = "no", "maybe", "yes"
"""Whether a call fits: a condition that fails, one that is undecided, or none of them."""


class _Undecided(Exception):
    """Report that a text or a number of a value is needed, which the source does not decide."""


class Hole:
    """Stands on a record for what the source does not decide; whatever is read from it is another.

    Args:
        value: what is known of it.
    """

    def __init__(self, value: Value = UNKNOWN) -> None:
        self.value_ = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Hole()

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: object) -> Any:
        return Hole()

    def keys(self) -> Any:
        """Make it an object with keys, for paths."""
        return Hole()

    def __str__(self) -> str:
        raise _Undecided

    def __int__(self) -> int:
        raise _Undecided

    def __float__(self) -> float:
        raise _Undecided

    def __index__(self) -> int:
        raise _Undecided


class CallRecord(logging.LogRecord):
    """The record that a log call makes, with holes.

    Args:
        call: the log call.
        logger: one of its loggers' possible names.
    """

    def __init__(self, call: LogCall, logger: Value) -> None:
        values = self.__dict__
        values.update(dict.fromkeys(RECORD_ATTRIBUTES, Hole()))
        for absent in ("message", "asctime", "taskName", "exc_text"):
            del values[absent]
        level: Any = call.level
        values.update(
            name=_held(logger),
            msg=_held(call.message),
            args=_held_args(call),
            levelno=Hole() if level is None else level,
            levelname=Hole() if level is None else logging.getLevelName(level),
            module=call.module,
            filename=os.path.basename(call.path),
            funcName=Hole() if call.function is None else call.function,
            lineno=call.line if call.line == call.end_line else Hole(),
        )
        self.is_open_: bool = call.extras.is_open
        self.call_ = call
        for name, value in call.extras.items():
            values[name] = _held(value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not self.__dict__.get("is_open_"):
            raise AttributeError(name)
        return Hole()

    def getMessage(self) -> Any:  # noqa: N802 - the name of `logging`
        """Return the formatted message, or what is known of it."""
        message, args = self.call_.message, self.call_.args
        if isinstance(message, str) and args == ():
            return message
        if isinstance(message, str) and args is not None and is_known(args):
            return super().getMessage()
        if isinstance(message, str) or (isinstance(message, Unknown) and message.parts):
            return Hole(merged(message))
        return Hole()


def _held(value: Value) -> Any:
    """Return a value as it stands on a record: plain, with holes."""
    if isinstance(value, Items):
        return Hole(value) if value.is_open else {key: _held(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_held(one) for one in value)
    return value if value is None or isinstance(value, (str, int, float)) else Hole(value)


def _held_args(call: LogCall) -> Any:
    args = call.args
    if args is None:
        return Hole()
    if isinstance(args, tuple) and len(args) == 1 and not is_known(args[0]):
        only = args[0]
        if not (isinstance(only, Unknown) and only.kind not in ("", "object")):
            return _OneArgument(only)  # a mapping would stand for itself
    return _held(args)


class _OneArgument(Hole):
    """A single argument, which is a mapping or not: element 0 may be read, others are absent."""

    def __getattr__(self, name: str) -> Any:
        if name.isdecimal():
            return Hole(self.value_) if int(name) == 0 else MISSING
        return super().__getattr__(name)

    def __contains__(self, key: object) -> bool:
        return not str(key).isdecimal()


def found_value(value: Any) -> Value:
    """Return what a value of a record is, holes replaced by what is known of them."""
    if isinstance(value, Hole):
        return value.value_
    if isinstance(value, Mapping):
        return Items({key: found_value(one) for key, one in value.items()})
    if isinstance(value, (list, tuple)):
        return [found_value(one) for one in value]
    return value


@dataclass(frozen=True)
class Failure:
    """A condition that a call does not fulfil, or of which that is unknown."""

    condition: Condition
    found: Value


@dataclass(frozen=True)
class Fit:
    """Whether a call fits a rule.

    Args:
        verdict: `NO`, `MAYBE` or `YES`.
        groups: what the regular expressions yield; None if they are undecided.
        failures: the conditions for which it does not fit, or may not.
    """

    verdict: str
    groups: Mapping[str, Any] | None = None
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What becomes of a log call.

    Args:
        kind: `none`, `rule`, `explicit` or `undecided`.
        rule: the rule that it fits, if it is certain.
        event: the event's properties, as far as they are known.
        candidates: the rules that it may fit, if it is undecided.
        reason: why it is undecided.
        is_open: whether the event may have properties of which nothing is known.
    """

    kind: str
    rule: ExpectedRule | None = None
    event: Mapping[str, Value] | None = None
    candidates: tuple[ExpectedRule, ...] = ()
    reason: str = ""
    is_open: bool = False


class Matcher:
    """Hold log calls against rules.

    Args:
        of: the configuration.
        extras: the names of extras that some log call sets; any other may be set at run time by a
            filter or a record factory.
    """

    def __init__(self, of: Expected, extras: set[str]) -> None:
        self._expected = of
        self._extras = extras
        self._literal: dict[str, list[ExpectedRule]] = {}
        self._others: list[ExpectedRule] = []
        for one in of.rules:
            if one.rule.message is None:
                self._others.append(one)
            else:
                self._literal.setdefault(one.rule.message, []).append(one)

    def outcome(self, call: LogCall) -> Outcome:
        """Return what becomes of a call."""
        explicit = self._is_explicit(call)
        if explicit == YES:
            return self._explicit_outcome(call)
        candidates: list[ExpectedRule] = []
        reason = ""
        for one in self._rules_for(call):
            fit = self.fit(call, one)
            if fit.verdict == YES and not candidates and explicit == NO:
                return self._rule_outcome(call, one, fit)
            if fit.verdict != NO:
                candidates.append(one)
                reason = reason or _reason(fit, call)
            if fit.verdict == YES:
                break
        if candidates:
            reason = reason if explicit == NO else _OPEN_EXTRAS
            return Outcome("undecided", candidates=tuple(candidates), reason=reason)
        if explicit == MAYBE:
            return Outcome("undecided", reason=_OPEN_EXTRAS)
        return Outcome("none")

    def _rules_for(self, call: LogCall) -> Iterator[ExpectedRule]:
        """Yield the rules whose message the call can have, in their order."""
        messages = list(options(call.message))
        if not all(isinstance(one, str) for one in messages):
            yield from self._expected.rules
            return
        found = [rule for text in messages for rule in self._literal.get(text, ())]
        yield from sorted([*found, *self._others], key=lambda one: one.index)

    def fit(self, call: LogCall, one: ExpectedRule, *, all_failures: bool = False) -> Fit:
        """Return whether a call fits a rule.

        Args:
            all_failures: whether to go on after the first condition that fails.
        """
        verdicts: list[str] = []
        groups: dict[str, Any] = {}
        failures: list[Failure] = []
        for logger in options(call.logger) if one.rule.when else ():
            fit = self._fit(CallRecord(call, logger), one, all_failures)
            verdicts.append(fit.verdict)
            groups.update(fit.groups or {})
            failures += [failure for failure in fit.failures if failure not in failures]
        verdict = verdicts[0] if len(set(verdicts)) == 1 else MAYBE if verdicts else YES
        if verdict == YES and call.certainty != "logger":
            verdict = MAYBE
        return Fit(verdict, groups, tuple(failures))

    def _fit(self, record: CallRecord, one: ExpectedRule, all_failures: bool) -> Fit:
        if one.has_preset:
            # What a server logs is not in the source, but another logger cannot be its.
            name = record.__dict__["name"]
            is_other = isinstance(name, str) and one.rule.logger(name) is None
            return Fit(NO if is_other else MAYBE)
        groups: dict[str, Any] = {}
        failures: list[Failure] = []
        verdict = YES
        for condition in one.rule.when:
            try:
                value = condition.read(record)
            except Unreadable:
                value = Hole()
            held, found = self._holds(condition, value)
            if held == YES:
                groups.update(found)
                continue
            failures.append(Failure(condition, found_value(value)))
            verdict = NO if NO in (held, verdict) else MAYBE
            if held == NO and not all_failures:
                break
        return Fit(verdict, groups, tuple(failures))

    def _holds(self, condition: Condition, value: Any) -> tuple[str, Mapping[str, Any]]:
        """Return whether a condition holds, and the groups that it yields."""
        if value is MISSING and self._may_be_added(condition.key):
            return MAYBE, {}
        known = found_value(value)
        if value is MISSING or (not isinstance(value, Hole) and is_known(known)):
            try:
                groups = condition.match(value)
            except Unreadable:
                return MAYBE, {}
            return (NO, {}) if groups is None else (YES, groups)
        return self._holds_of(condition, known)

    def _holds_of(self, condition: Condition, value: Value) -> tuple[str, Mapping[str, Any]]:
        found: list[tuple[str, Mapping[str, Any]]] = []
        for one in options(value) if isinstance(value, Either) else (value,):
            if not isinstance(one, Unknown):
                found.append(self._holds(condition, _held(one)) if is_known(one) else (MAYBE, {}))
                continue
            pattern = compile_pattern("", condition.wanted)
            if pattern is not None and _proves(pattern.pattern, one):
                found.append((YES, dict.fromkeys(pattern.groupindex)))
            else:
                found.append((_text_verdict(condition, one), {}))
        verdicts = {verdict for verdict, _ in found}
        # Groups that depend on which of the values it is are unknown.
        groups = {name: Hole() for _, each in found for name in each}
        return (verdicts.pop() if len(verdicts) == 1 else MAYBE), groups

    def _may_be_added(self, key: str) -> bool:
        """Return whether a filter may set what a key reads, since no log call does."""
        try:
            root = parse(key)[0]
        except ValueError:
            return True
        return root not in SOURCES and root not in self._extras

    def _is_explicit(self, call: LogCall) -> str:
        """Return whether a call names an action itself."""
        extras = call.extras
        verdicts = [_has_action(extras)]
        if "event" in self._expected.places:
            verdicts.append(_has_action(extras.get("event")))
        if "extra" in self._expected.places:
            verdicts.append(_has_action(extras.get("extra")))
        if "message" in self._expected.places and not isinstance(call.message, str):
            verdicts.append(_has_action(call.message))
        return YES if YES in verdicts else MAYBE if MAYBE in verdicts else NO

    def _explicit_outcome(self, call: LogCall) -> Outcome:
        takes = self._expected.formatter.is_property
        nested: dict[str, Value] = {}
        is_open = call.extras.is_open
        for place in self._expected.places:
            held = call.message if place == "message" else call.extras.get(place)
            if isinstance(held, Items):
                if place == "event" or _has_action(held) != NO:
                    nested.update(held)
                is_open = is_open or held.is_open
        own = {
            name: value
            for name, value in call.extras.items()
            if takes(name) and not (name in PLACES and isinstance(value, (Items, Unknown)))
        }
        return Outcome("explicit", event={**own, **nested}, is_open=is_open)

    def _rule_outcome(self, call: LogCall, one: ExpectedRule, fit: Fit) -> Outcome:
        event: dict[str, Value] = dict(one.rule.constants)
        record = CallRecord(call, next(options(call.logger), UNKNOWN))
        for name, make in one.rule.made:
            try:
                value = make(record, fit.groups or {})
            except Unreadable:
                event[name] = UNKNOWN
                continue
            if value is not MISSING:
                event[name] = found_value(value)
            elif not self._is_absent(one.rule.event[name]):
                event[name] = Unknown(may_be_absent=True)
        takes = self._expected.formatter._is_taken_by_rules
        event.update({name: one for name, one in call.extras.items() if takes(name)})
        nested = call.extras.get("event")
        if isinstance(nested, Items):
            event.update(nested)
        return Outcome("rule", one, event, is_open=call.extras.is_open)

    def _is_absent(self, template: Any) -> bool:
        """Return whether a template without a value certainly has none: it reads arguments."""
        return isinstance(template, str) and _ARGUMENT.fullmatch(template) is not None


PLACES = ("event", "extra")
_ARGUMENT = re.compile(r"\{args\.\d+(?::\w+)?\}")
_OPEN_EXTRAS = "its extras are not literal: they may name an action"


def _has_action(held: Value) -> str:
    if isinstance(held, Instance):  # its class may be a mapping
        return MAYBE
    if not isinstance(held, Items):
        is_unknown = isinstance(held, (Unknown, Either)) and getattr(held, "kind", "") in (
            "",
            "object",
        )
        return MAYBE if is_unknown else NO
    action = held.get("action", MISSING)
    if action is MISSING:
        return MAYBE if held.is_open else NO
    return MAYBE if isinstance(action, Unknown) and action.may_be_absent else YES


_ANCHORED = re.compile(r"/\^([\w ,:=@-]*)(.?)")


def _text_verdict(condition: Condition, value: Unknown) -> str:
    """Return whether a condition holds for a text of which only parts are known."""
    wanted = condition.wanted
    if condition.key == "logger" and compile_pattern("", wanted) is None:
        return _prefix_verdict(str(wanted), value.prefix)
    if compile_pattern("", wanted) is None:
        if not value.could_be(str(wanted)):
            return NO
        if condition.key == "message" and value.parts is not None:
            # The arguments are in the text already, and none of them is a conversion.
            is_merged = not has_conversions("".join(filter(None, value.parts)))
            if is_merged and has_conversions(str(wanted)):
                return NO
        return MAYBE
    anchored = _ANCHORED.match(str(wanted))
    if anchored is not None and value.prefix and "|" not in str(wanted):
        begin = anchored[1][:-1] if anchored[2] in ("*", "?", "{") else anchored[1]
        if not (begin.startswith(value.prefix) or value.prefix.startswith(begin)):
            return NO
    return MAYBE


_DEPENDENT = re.compile(r"\\[bBZ0-9]|\$|\(\?(?!P<|:)|\(\?P?<[=!]|[*+?}]\+")
"""What makes a match depend on text around it: lookarounds, ends, atomic groups; flags, too."""


def _proves(pattern: str, value: Unknown) -> bool:
    """Return whether a pattern is found in a text whatever its unknown parts are.

    It is if it is found in a known part by itself, and does not depend on what surrounds that.
    """
    if _DEPENDENT.search(pattern) is not None:
        return False
    search = re.compile(pattern).search
    for number, part in enumerate(value.parts or ()):
        if part is not None:
            # Only the first part begins the text: `^` does not hold at the begin of another one.
            begin = 0 if number == 0 else 1
            if search("\0" * begin + part, begin) is not None:
                return True
    return False


def _prefix_verdict(wanted: str, prefix: str) -> str:
    if not wanted or prefix.startswith(f"{wanted}."):
        return YES
    return MAYBE if wanted.startswith(prefix) or prefix == wanted else NO


def _shown(value: Value) -> str:
    """Return what is known of a value, after a colon; empty if nothing is."""
    if isinstance(value, Unknown) and value.parts is not None:
        return f": {value}"
    known = [str(one) for one in options(value) if not isinstance(one, (Unknown, Items))]
    return f": {' or '.join(known)}" if isinstance(value, Either) and known else ""


def _reason(fit: Fit, call: LogCall) -> str:
    if call.certainty != "logger":
        return "whether it is a logger, and which, is not known"
    for failure in fit.failures:
        key = failure.condition.key
        root = key.partition(".")[0]
        if failure.found is MISSING:
            return f"no log call sets {root}; a filter may"
        if key in ("logger", "message", FORMATTED) or root not in SOURCES:
            word = "message" if key == FORMATTED else root
            return f"its {word} is computed{_shown(failure.found)}"
    return "its values are computed" if fit.failures else ""
