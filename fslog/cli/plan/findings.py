"""What the check of source finds: the places of events, violations, undecided log calls.

A violation is certain, as far as the source says; what is not certain is undecided.
"""

from __future__ import annotations

import datetime
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fslog.cli.plan.expected import Expected, ExpectedRule
from fslog.cli.plan.matching import YES, Failure, Fit, Matcher, Outcome
from fslog.cli.plan.source.calls import Comment, LogCall, Source
from fslog.cli.plan.source.values import UNKNOWN, Items, Unknown, Value, is_known, options
from fslog.config import did_you_mean, nearest
from fslog.mapping import schema
from fslog.mapping.paths import MISSING
from fslog.plan.plan import PlannedEvent

_SIMILAR = 0.6
_LETTERS = 3
_MAX_SHOWN = 60


@dataclass(frozen=True)
class Violation:
    """What is certainly not as expected.

    Args:
        code: the kind: `no_call`, the code of a problem, or that of a comment.
        event: the name of the planned event, or of the rule; empty if none is meant.
        message: what is wrong.
        path, line: where; empty and 0 if it is in no file of source.
    """

    code: str
    event: str
    message: str
    path: str = ""
    line: int = 0

    @property
    def place(self) -> str:
        """The path and the line; empty without one."""
        return f"{self.path}:{self.line}" if self.path else ""


@dataclass(frozen=True)
class UndecidedCall:
    """A log call of which the source does not say whether it makes an event, or which.

    Args:
        events: the names of those that it may make; empty for any.
        reason: what is not known.
    """

    path: str
    line: int
    events: tuple[str, ...]
    reason: str

    @property
    def place(self) -> str:
        """The path and the line."""
        return f"{self.path}:{self.line}"


@dataclass
class EventPlaces:
    """The places that make one event.

    Args:
        name: of the planned event or rule.
        is_rule: whether it is made by log calls that exist.
        status: `found`, `undecided`, `outside` if its logger is not one of the source, `missing`.
        places: where it is certainly made.
        undecided: where it may be made.
    """

    name: str
    is_rule: bool
    status: str = "missing"
    places: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)


@dataclass
class Findings:
    """The result of a check.

    Args:
        calls: how many log calls were found.
        decided: how many of them certainly make a certain event, or none.
    """

    calls: int = 0
    decided: int = 0
    events: dict[str, EventPlaces] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    undecided: list[UndecidedCall] = field(default_factory=list)


def hold(expected: Expected, source: Source, today: datetime.date) -> Findings:
    """Hold the log calls of source against what is expected of them.

    Args:
        today: events that expired before it are violations.
    """
    return _Holder(expected, source, today).findings()


class _Holder:
    def __init__(self, expected: Expected, source: Source, today: datetime.date) -> None:
        self._expected = expected
        self._source = source
        self._today = today
        extras = {name for call in source.calls for name in call.extras}
        self._matcher = Matcher(expected, extras)
        rules = {one.name for one in expected.rules}
        names = expected.names()
        self._found = Findings(events={name: EventPlaces(name, name in rules) for name in names})
        self._strong: set[str] = set()
        """The rules with a call that may fit because of its message."""

    def findings(self) -> Findings:
        comments = {(one.path, one.line): one for one in self._source.comments}
        used: set[Comment] = set()
        for call in self._source.calls:
            near = [comments.get((call.path, line)) for line in _lines(call)]
            said = next((one for one in near if one is not None), None)
            if said is not None:
                used.add(said)
            self._hold(call, said)
        for comment in self._source.comments:
            self._hold_comment(comment, is_used=comment in used)
        for one in self._expected.rules:
            self._judge_rule(one)
        for found in self._found.events.values():
            if found.places:
                found.status = "found"
            elif found.undecided and found.status == "missing":
                found.status = "undecided"
        self._found.violations.sort(key=lambda one: (one.path, one.line, one.code, one.message))
        return self._found

    def _hold(self, call: LogCall, comment: Comment | None) -> None:
        outcome = self._matcher.outcome(call)
        if call.certainty == "unlikely" and outcome.kind in ("none", "undecided"):
            found = self._only_by_message(call, outcome)
            if found is None:
                return
            outcome = found
        self._found.calls += 1
        self._found.decided += outcome.kind != "undecided" or comment is not None
        name = self._name(call, outcome)
        if comment is not None and comment.event in self._found.events:
            if name is not None and name != comment.event:
                message = f"the comment names {comment.event!r}, but the log call makes {name!r}"
                self._violate("comment", comment.event, message, comment)
            if name is None:
                self._found.events[comment.event].places.append(call.place)
                return
        if outcome.kind == "undecided":
            self._note_undecided(call, outcome)
        elif outcome.event is not None:
            self._judge_event(call, outcome, name)

    def _only_by_message(self, call: LogCall, outcome: Outcome) -> Outcome | None:
        """Return an undecided outcome of a call whose receiver may well not be a logger.

        It counts only if it has the very message of a rule.
        """
        texts = {one for one in options(call.message) if isinstance(one, str)}
        found = tuple(one for one in outcome.candidates if one.rule.message in texts)
        if not found:
            return None
        return Outcome("undecided", candidates=found, reason=outcome.reason)

    def _name(self, call: LogCall, outcome: Outcome) -> str | None:
        """Return the name of the event that a call makes; None if it has none."""
        if outcome.rule is not None:
            return outcome.rule.name
        if outcome.kind != "explicit" or outcome.event is None:
            return None
        planned = self._expected.planned(_known(outcome.event))
        return None if planned is None else planned.name

    def _note_undecided(self, call: LogCall, outcome: Outcome) -> None:
        names = tuple(one.name for one in outcome.candidates)
        for one in outcome.candidates:
            self._found.events[one.name].undecided.append(call.place)
            if one.message is None or _has_text(call):
                self._strong.add(one.name)
        self._found.undecided.append(UndecidedCall(call.path, call.line, names, outcome.reason))

    def _hold_comment(self, comment: Comment, *, is_used: bool) -> None:
        if comment.event in self._found.events:
            if not is_used:  # a call of a function that logs, for example
                self._found.events[comment.event].places.append(comment.place)
            return
        if comment.event is None:
            message = f'{comment.text[:_MAX_SHOWN]} is malformed; expected # fslog: event="NAME"'
        else:
            hint = did_you_mean(comment.event, self._found.events)
            message = f"the comment names the unknown event {comment.event!r}{hint}"
        self._violate("comment", "", message, comment)

    def _violate(self, code: str, event: str, message: str, at: LogCall | Comment | None) -> None:
        path, line = ("", 0) if at is None else (at.path, at.line)
        self._found.violations.append(Violation(code, event, message, path, line))

    # Events.

    def _judge_event(self, call: LogCall, outcome: Outcome, name: str | None) -> None:
        event = outcome.event or {}
        if name is not None:
            self._found.events[name].places.append(call.place)
        action = event.get("action")
        if not isinstance(action, str):
            if outcome.kind == "explicit":
                self._unsure(call, "its action is computed")
            return
        plan = self._expected.plan
        if plan is None:
            self._judge_action(call, action, name)
            return
        known = _known(event)
        planned = plan.find(known)
        unsure = [
            each for each in plan.names(action) if each in event and not is_known(event[each])
        ]
        if planned is None:
            if outcome.is_open or unsure:
                what = f"its {', '.join(unsure)}" if unsure else "a property"
                self._unsure(call, f"{what} is computed: whether it is planned is not known")
                return
            if elsewhere := [each for each in plan.names(action) if self._may_come(each, event)]:
                self._unsure(call, f"its {', '.join(elsewhere)} may come from elsewhere")
                return
            hint = plan.nearest(known) or _meant(action, plan.events)
            message = f"an event with {_words(known, plan.names(action))} is not planned"
            self._violate("unplanned", "", f"{message}{hint and f'; {hint}'}", call)
        else:
            self._judge_planned(call, outcome, planned)

    def _unsure(self, call: LogCall, reason: str) -> None:
        self._found.decided -= 1
        self._found.undecided.append(UndecidedCall(call.path, call.line, (), reason))

    def _judge_action(self, call: LogCall, action: str, name: str | None) -> None:
        meant = None if action in schema.ACTIONS else schema.nearest_action(action)
        if meant is not None:
            message = f"action {action!r} is not known; did you mean {meant!r}?"
            self._violate("looks_misspelt", name or "", message, call)

    def _judge_planned(self, call: LogCall, outcome: Outcome, planned: PlannedEvent) -> None:
        event = outcome.event or {}
        places = self._found.events[planned.name].places
        if call.place not in places:  # by a rule that is not the plan's
            places.append(call.place)
        for name in event:
            if not planned.allows(name):
                meant = nearest(name, {*planned.properties, *planned.event} - event.keys())
                hint = f"; did you mean {meant!r}?" if meant else ""
                message = f"{name} is not planned for the event {planned.name!r}{hint}"
                self._violate("unplanned_property", planned.name, message, call)
        for name, wanted in planned.properties.items():
            if name in event:
                problem = _problem(wanted, _as_sent(name, event[name]))
                if problem is not None:
                    self._violate(problem[0], planned.name, problem[1], call)
            elif wanted.required and self._is_missing(name, outcome):
                message = f"{name} is missing; the plan of {planned.name!r} requires it"
                self._violate("missing_property", planned.name, message, call)
        if planned.expires is not None and planned.expires <= self._today:
            message = f"the event {planned.name!r} was planned until {planned.expires}"
            self._violate("expired", planned.name, message, call)

    def _is_missing(self, name: str, outcome: Outcome) -> bool:
        """Return whether nothing can give a property: no field, default, context, or extra."""
        return not outcome.is_open and not self._may_come(name, {})

    def _may_come(self, name: str, event: Mapping[str, Value]) -> bool:
        """Return whether the configuration, or the context, may give what an event lacks."""
        expected = self._expected
        is_given = expected.has_provider or name in expected.given or name in self._source.bound
        return is_given and name not in event

    # Rules.

    def _judge_rule(self, one: ExpectedRule) -> None:
        """Report a rule that no log call fits any more."""
        found = self._found.events[one.name]
        if found.places or (found.undecided and one.name in self._strong):
            return
        near = None if one.has_preset else self._nearest(one)
        if near is None and (found.undecided or not self._is_inside(one)):
            found.status = "undecided" if found.undecided else "outside"
            return
        if near is None:
            message = f"no log call makes {one.name!r} ({_wanted(one)})"
            self._violate("no_call", one.name, message, None)
            return
        call, difference = near
        message = f"no log call makes {one.name!r} ({_wanted(one)}): {call.place} {difference}"
        self._violate("no_call", one.name, message, call)

    def _is_inside(self, one: ExpectedRule) -> bool:
        """Return whether a rule is about loggers of the source, not about those of a library."""
        if one.has_preset:
            return False
        if one.logger is None:
            return True
        calls = [call for call in self._source.calls if not call.is_own]
        known = {name for call in calls for name in options(call.logger)}
        names = {name.partition(".")[0] for name in known if isinstance(name, str)}
        first = one.logger.partition(".")[0]
        return first in self._source.packages | names or nearest(first, names) is not None

    def _nearest(self, one: ExpectedRule) -> tuple[LogCall, str] | None:
        """Return the log call that most probably made the event before, and what differs."""
        best: tuple[float, LogCall, str] | None = None
        for call in self._source.calls:
            if call.certainty == "unlikely" or call.is_own:
                continue
            similar = _similarity(one, call)
            if similar < _SIMILAR or (best is not None and similar <= best[0]):
                continue
            fit = self._matcher.fit(call, one, all_failures=True)
            difference = self._difference(one, call, fit)
            # Two things that differ are less probable than one.
            failed = [each for each in fit.failures if each.condition.key != "message"]
            similar -= 0.1 * len(failed)
            if similar >= _SIMILAR and (best is None or similar > best[0]):
                best = (similar, call, difference)
        return None if best is None else best[1:]

    def _difference(self, one: ExpectedRule, call: LogCall, fit: Fit) -> str:
        if fit.verdict == YES:
            outcome = self._matcher.outcome(call)
            if outcome.rule is not None:
                return f"fits, but {outcome.rule.name} comes first"
            return "fits, but is an event of its own: its extras name an action"
        keys = {each.condition.key: each for each in fit.failures}
        parts = []
        if "message" in keys:
            parts.append(f"says {_shown(call.message)}")
        if "logger" in keys:
            parts.append(f"is on the logger {_shown_logger(call.logger)}")
        parts += [_shown_failure(keys[key]) for key in keys if key not in ("message", "logger")]
        return ", and ".join(parts) or "may fit"


def _lines(call: LogCall) -> range:
    """Return the lines on which a comment is about a call: its own, and the one above."""
    return range(call.line - 1, call.end_line + 1)


def _has_text(call: LogCall) -> bool:
    """Return whether letters of a call's message are known."""
    for one in options(call.message):
        text = one if isinstance(one, str) else ""
        if isinstance(one, Unknown):
            text = "".join(filter(None, one.parts or ()))
        if sum(map(str.isalpha, text)) >= _LETTERS:
            return True
    return False


def _known(event: Mapping[str, Value]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if is_known(value)}


def _as_sent(name: str, value: Value) -> Value:
    """Return an id as a string if it is an integer: that is how it is sent."""
    if name in schema.IDS:
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, Unknown) and value.kind in ("integer", "number"):
            return UNKNOWN
    return value


def _problem(wanted: Any, value: Value) -> tuple[str, str] | None:
    """Return what is certainly wrong with a value, of which perhaps only the type is known."""
    if wanted.pii in ("drop", "hash"):  # what is sent is another value
        return None
    if is_known(value):
        found: tuple[str, str] | None = wanted.problem(value)
        return found
    kind = value.kind if isinstance(value, Unknown) else ""
    kinds = {kind, *(("integer",) if kind == "number" else ())}
    kinds |= {"number"} if kind == "integer" else set()
    if isinstance(value, Items):
        kind, kinds = "object", {"object"}
    elif isinstance(value, (list, tuple)):
        kind, kinds = "array", {"array"}
    if not kind or not wanted.types or wanted.types & kinds:
        return None
    return "property_type", f"{wanted.name} is of the type {kind}; expected {wanted.expected}"


def _meant(action: str, events: Mapping[str, PlannedEvent]) -> str:
    actions = {str(one.constants["action"]) for one in events.values()} | schema.ACTIONS.keys()
    meant = None if action in actions else nearest(action, sorted(actions))
    return f"did you mean the action {meant!r}?" if meant else ""


def _words(event: Mapping[str, Any], names: tuple[str, ...]) -> str:
    shown = [name for name in names or ("action", "module", "feature") if name in event]
    return ", ".join(f"{name} {event[name]!r}" for name in shown)


def _similarity(one: ExpectedRule, call: LogCall) -> float:
    """Return how much of a rule's message a call says, from 0 to 1; 1 for a rule without one."""
    if one.message is None:
        return 0.0
    wanted = _letters(str(one.message).strip("/^$"))
    best = 0.0
    for said in options(call.message):
        if isinstance(said, str) or (isinstance(said, Unknown) and said.parts):
            matcher = difflib.SequenceMatcher(None, _letters(str(said)), wanted, autojunk=False)
            if matcher.real_quick_ratio() >= _SIMILAR and matcher.quick_ratio() >= _SIMILAR:
                best = max(best, matcher.ratio())
    return best


def _letters(text: str) -> str:
    """Return a message as it is compared: arguments in it do not count, in whatever form."""
    for one in ("{...}", "%s", "%d", "%r", "%i"):
        text = text.replace(one, "%")
    return text.lower()


def _wanted(one: ExpectedRule) -> str:
    conditions = [
        f"{key} {_quoted(value)}"
        for key, value in ((each.key, each.wanted) for each in one.rule.when)
        if key in ("message", "logger")
    ]
    return ", ".join(conditions) or one.name


def _shown(value: Value) -> str:
    found = [_quoted(str(one)) for one in options(value)]
    return " or ".join(found)


def _shown_logger(value: Value) -> str:
    return " or ".join(
        "(not known)" if isinstance(one, Unknown) and not one.parts else str(one)
        for one in options(value)
    )


def _shown_failure(failure: Failure) -> str:
    key, wanted = failure.condition.key, failure.condition.wanted
    if failure.found is MISSING:
        return f"has no {key}"
    return f"has the {key} {_quoted(failure.found)}, not {_quoted(wanted)}"


def _quoted(value: Any) -> str:
    text = (
        json.dumps(value, ensure_ascii=False)
        if isinstance(value, (str, int, float))
        else str(value)
    )
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
