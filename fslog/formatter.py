"""Record → event → line: which records are events, and which properties an event has.

An explicit event has an extra `action`, flat or inside one nested extra `event`: all extras of the
call are properties, except those that `exclude` names. A rule-made event is one whose record
matches a rule: only what the configuration names leaves the process.

A property has the value of the first of these: the call, the rule, `fields`, the context
(`fslog.context`, then `context_provider`), `defaults`.
"""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import translate
from itertools import islice
from threading import get_ident
from typing import TYPE_CHECKING, Any, NoReturn, get_args
from weakref import ref

from pythonjsonlogger.json import JsonFormatter

from fslog import config, context
from fslog.delivery import notices
from fslog.errors import ExcludedEvent, InvalidEvent, Problem
from fslog.interrupts import unless_interrupt
from fslog.mapping import privacy, schema, sessions
from fslog.mapping.compiled import EncoderCache
from fslog.mapping.encoding import encode
from fslog.mapping.extras import judging_extras
from fslog.mapping.nested import PLACES, Nested, unshared
from fslog.mapping.paths import MISSING, RECORD_ATTRIBUTES, Unreadable, compile_path, parse
from fslog.mapping.rules import Partial, Rules
from fslog.mapping.templates import text_of
from fslog.net.redaction import active_redactor, internal_work, is_internal
from fslog.types import ExcludedIds, Extras, Names, PresetRule, Redact, Rule, Session

if TYPE_CHECKING:
    from fslog.plan.judgement import Judge
    from fslog.plan.plan import Plan

EXCLUDE = ("otel*", "dd.*", "_*")
"""Extras that well-known instrumentations add to every record, and those marked as internal."""

NESTED = ("event",)
"""Where an explicit event may stand as one mapping."""

NO_VALUE = ("-", "", "None")
"""What access logs, templates and `str(None)` write if there is no value."""

_BLANK = logging.LogRecord("", 0, "", 0, "", (), None).__dict__
_LAST_OWN = len(_BLANK) - 1
_FIRST_NAME, *_BETWEEN, _LAST_NAME = _BLANK

_MAX_NAMES = 4096


class EventFormatter(JsonFormatter):
    """Make checked events of records, and lines of events.

    A `FreshsuccessHandler` uses it; and any other handler that writes lines can, if the same object
    is its formatter and the last of its filters. It never changes a record. A later change of the
    application's values does not change the line.

    Args:
        fields: property → its path in the record (`{"userId": "request.user.id"}`). If there is
            nothing at the path, or None, or one of the texts in `no_value`, context and defaults
            apply; if the path raises, the event is invalid (`unreadable`).
        rules: mappings with `when` and `event`, or with a `preset`; see `fslog.mapping.rules`.
        defaults: properties of events that have no other value for them.
        include: a list of names or globs: extras that are properties of rule-made events too.
        exclude: a list of names or globs: extras that are not properties of explicit events;
            `include` wins. Replaces `EXCLUDE`.
        no_value: a list of texts that mean, where `fields` reads them, that there is no value.
            Replaces `NO_VALUE`.
        nested: a list of the places where an explicit event may stand as one mapping: `"event"`,
            the extra of that name; `"extra"`, as loguru's `bind` makes it; `"message"`, a dict or
            JSON, as structlog makes it. See `fslog.mapping.nested`. Replaces `NESTED`.
        session: how to derive a missing sessionId: `"window"`, `"idle"` or `"none"`.
        plan: the path of a tracking plan, or a mapping: which events there are. Else `FSLOG_PLAN`.
            Its rules stand after `rules`; see the guide's topic `plan`.
        redact: property, or path inside of one (`details.email`) → `"drop"`, `"hash"` or `"keep"`.
            A hash needs the environment variable `FSLOG_HASH_KEY`, or `FSLOG_HASH_KEY_FILE`.
        excluded: people without events: lists of ids or globs (`{"users": ["*@staff.example"]}`),
            or a callable that is called with each event and returns whether it is excluded.
        extras: `"declared"`: events have only properties that the configuration names, and those
            of known actions; `"all"`: explicit events have all extras.
        context_provider: called without arguments for each event; returns a mapping, or None. If
            it raises, the event is made without it, with a warning; but then `defaults` do not
            apply to `accountId` and `userId`.
        fmt, datefmt, style, validate: accepted because `dictConfig` passes them; `fmt` and
            `datefmt` must be None.

    Raises:
        TypeError, ValueError: an argument of the wrong type or value, named in the message.

    >>> formatter = EventFormatter(session="none", defaults={"sessionId": "s"})
    >>> record = logging.makeLogRecord({"created": 1.0, "accountId": 7, "userId": "u",
    ...                                 "event": {"action": "feature", "module": "reports"}})
    >>> formatter.format(record)  # doctest: +NORMALIZE_WHITESPACE
    '{"sessionId":"s","accountId":"7","userId":"u","action":"feature","module":"reports",\
"createdAt":1000}'
    """

    takes_events = True

    def __init__(
        self,
        fmt: None = None,
        datefmt: None = None,
        style: str = "%",
        validate: bool = True,
        *,
        fields: Mapping[str, str] | None = None,
        rules: Sequence[Rule | PresetRule] | None = None,
        defaults: Mapping[str, Any] | None = None,
        include: Names | None = None,
        exclude: Names | None = EXCLUDE,
        no_value: Names | None = NO_VALUE,
        nested: Names | None = NESTED,
        session: Session = "window",
        context_provider: Callable[[], Mapping[str, Any] | None] | None = None,
        plan: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        redact: Mapping[str, Redact] | None = None,
        excluded: ExcludedIds | Callable[[Mapping[str, Any]], bool] | None = None,
        extras: Extras = "all",
        **unknown: NoReturn,
    ) -> None:
        config.reject_unknown("EventFormatter", unknown, locals())
        if fmt is not None or datefmt is not None:
            raise ValueError("fmt and datefmt must be None: fields and rules define an event")
        super().__init__()
        paths = _paths(fields)
        self._fields = [(name, compile_path(path)) for name, path in paths.items()]
        self._defaults = _without_action("defaults", config.mapping("defaults", defaults))
        self._included = _matcher(config.names("include", include))
        self._left_out = _matcher(config.names("exclude", exclude))
        self._no_value = frozenset(config.names("no_value", no_value, may_be_empty=True))
        self._roots = frozenset(parse(path)[0] for path in paths.values())
        with config.garbage_kept():  # of a large plan, and its rules
            self._plan = _read_plan(plan)
            further = () if self._plan is None else self._plan.named_rules()
            self._rules = Rules(rules, self._is_known, further)
        judge = None if self._plan is None else _judge_of(self._plan)
        for name, path in paths.items():
            if path in self._rules.preset_names:
                raise ValueError(
                    f"fields.{name}: only rules with a preset read {path}; write "
                    f'{name}: "{{{path}}}" in their event'
                )
        planned = {} if self._plan is None else self._plan.pii
        self.redact: Mapping[str, str] = privacy.read_redact(redact, planned)
        """What becomes of properties, by name or path; the plan's, too."""
        self.redaction: privacy.Redaction | None = privacy.redaction(self.redact)
        """Redacts events; None if each property is kept."""
        self._is_excluded = privacy.exclusion(excluded)
        self.declared: frozenset[str] = self._declared_names()
        """The properties that the configuration names, less those that match `include`."""
        self._declared = _Kept(_declared(self.declared, self._included))
        kind = config.one_of("extras", extras, get_args(Extras))
        self.sends_declared: bool = kind == "declared"
        """Whether other properties are left out."""
        self._is_private = bool(self.redaction or self._is_excluded or self.sends_declared)
        self._provider = config.function("context_provider", context_provider)
        self._session = _session_ids(session)
        self._explicit = _Kept(self.is_property)
        places = _places(nested)
        self.nested: Nested = Nested(places, self._is_nested_property)
        """Find an explicit event in one place of a record."""
        self._has_places = places != ("event",)
        self._rule_made = _Kept(self._is_taken_by_rules)
        self.log_notice: notices.Log = notices.log
        self._notices = notices.Notices(
            "", lambda level, text: self.log_notice(level, text), time.monotonic
        )
        self._filtered: dict[int, tuple[ref[logging.LogRecord], str]] = {}
        # What the application's own code decides cannot be known in advance.
        is_ours = type(self).event is EventFormatter.event
        self.encoders: EncoderCache = EncoderCache(
            self._explicit.__getitem__,
            fields=paths,
            defaults=self._defaults,
            session=self._session,
            enabled=is_ours and not (self._provider or self._is_private) and "event" in places,
            plan=None if judge is None else judge.checks,
        )
        self.warnings: Callable[[Mapping[str, Any]], list[Problem]] = judging_extras(
            schema.warnings, self._declared.__getitem__
        )
        """Return the warnings for a valid event; usually none."""
        self._refusals: Callable[[Mapping[str, Any]], Sequence[Problem]] | None = None
        if judge is not None and judge.refuses:
            self._refusals = judge.problems
        elif judge is not None:
            self.warnings = judge.after(self.warnings)
        self.fast_line: Callable[[logging.LogRecord], bytes | None] | None = None
        """Return a record's line, `b""` if it is not an event, or None: call `event`."""
        self.fast_skip: Callable[[logging.LogRecord], bytes | None] | None = None
        """Return `b""` if a record is not an event, or None: call `event`."""
        if is_ours:
            self.fast_line = self._fast(self.encoders)
            self.fast_skip = self._fast(None)

    def _fast(self, encoders: EncoderCache | None) -> Callable[[logging.LogRecord], bytes | None]:
        fast = _fast_line(encoders, self._rules)
        return _unless_nested(self.nested, fast) if self._has_places else fast

    @property
    def derives_session(self) -> bool:
        """Whether a missing sessionId is derived."""
        return self._session is not None

    @property
    def plan(self) -> Plan | None:
        """The tracking plan."""
        return self._plan

    @property
    def rules(self) -> Rules:
        """The compiled rules, to find out which of them matches a record, and why not."""
        return self._rules

    def event(self, record: logging.LogRecord) -> dict[str, Any] | None:
        """Return the checked event of a record; None if it is not an event, or excluded.

        Raises:
            InvalidEvent: the endpoint would drop the event; it has every problem.
        """
        try:
            return self.allowed_event(record)
        except ExcludedEvent:
            return None

    def allowed_event(self, record: logging.LogRecord) -> dict[str, Any] | None:
        """Return the checked event of a record; None if it is not an event.

        Raises:
            InvalidEvent: the endpoint would drop the event; it has every problem.
            ExcludedEvent: the configuration allows no event.
        """
        try:
            return self._event(record)
        except (InvalidEvent, ExcludedEvent):
            raise
        except Unreadable as error:
            message = f"whether a rule matches is unknown: {self._described(error)}"
            raise InvalidEvent([Problem("unreadable", "", message)]) from error
        except unless_interrupt(Exception) as error:
            # An attribute of the record is missing, or has an unusual type.
            message = f"the event could not be made: {type(error).__name__}"
            raise InvalidEvent([Problem("failed", "", message)]) from error

    def _event(self, record: logging.LogRecord) -> dict[str, Any] | None:
        attributes = record.__dict__
        unread = None
        place, nested = "event", attributes.get("event")
        if self._has_places:
            place, nested = self.nested.find(record)
        elif nested is not None and type(nested) is not dict:
            nested = unshared(nested, "event")
        if "action" in attributes or (nested is not None and "action" in nested):
            own = _extras(record, self._explicit)
        else:
            rule_made = self._rules.properties(record)
            if rule_made is None:
                return None
            if type(rule_made) is Partial:
                unread = rule_made.unread
            own = {**rule_made, **_extras(record, self._rule_made)}
        if nested is not None:
            own.pop(place, None)
            own.update(nested)
        return self._checked(self._completed(own, record, unread))

    def __call__(self) -> EventFormatter:
        """Return itself: `(): cfg://formatters.NAME` makes dictConfig use it as a filter, too."""
        return self

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line without its newline; `""` if there is no valid event.

        Problems are logged as a `FreshsuccessHandler` does: on the logger `fslog`, once for each
        kind.
        """
        made, line = self._filtered.pop(get_ident(), (None, ""))
        return line if made is not None and made() is record else self._line(record)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is a valid event; `format` has its line then.

        Problems are logged as by `format`.
        """
        line = self._line(record)
        if line:
            self._filtered[get_ident()] = ref(record), line
        return bool(line)

    def _line(self, record: logging.LogRecord) -> str:
        if active_redactor() is not None and is_internal(record.__dict__.get("name")):
            return ""
        try:
            event = self.event(record)
            if event is None:
                return ""
            line, problems = encode(event)[:-1].decode(), self.warnings(event)
        except InvalidEvent as error:
            line, problems = "", [*error.problems]
        except unless_interrupt(Exception) as error:  # of a subclass: no log call may raise it
            message = f"the event could not be made: {type(error).__name__}"
            line, problems = "", [Problem("failed", "", message)]
        for problem in problems:
            if self._notices.is_first(problem.kind):
                with internal_work(lambda text: text):
                    where = notices.call_site(record)
                    self._notices.problem(problem.code, problem.message, where, "")
        return line

    def _completed(
        self, own: dict[str, Any], record: logging.LogRecord, unread: dict[str, Unreadable] | None
    ) -> dict[str, Any]:
        bound = context.current()
        defaults = self._defaults
        failure = ""
        if self._provider is not None:
            try:
                bound = {**self._provided(), **bound}
            except unless_interrupt(Exception) as error:  # the application's own function
                failure = f"context_provider failed: {self._described(error)}"
                # The user that it would have named is unknown, and not the one of `defaults`.
                defaults = {name: defaults[name] for name in defaults if name not in schema.IDS}
        event = own
        if bound or self._fields or defaults:
            event = {**defaults, **bound}
            if self._fields:
                unread = self._read_fields(event, record, own, unread)
            event.update(own)
        if unread:
            self._raise_unreadable(event, own, unread)
        if "createdAt" not in event:
            event["createdAt"] = math.floor(record.created * 1000 + 0.5)
        return schema.Warned(event, failure) if failure else event

    def _read_fields(
        self,
        event: dict[str, Any],
        record: logging.LogRecord,
        own: dict[str, Any],
        unread: dict[str, Unreadable] | None,
    ) -> dict[str, Unreadable] | None:
        """Add the fields to the event; return those that cannot be read, with their errors."""
        for name, read in self._fields:
            # Not read if the call gives it: an ORM's attribute may cost a query.
            if name in own or (unread and name in unread):
                continue
            try:
                value = read(record)
            except Unreadable as error:
                unread = {**(unread or {}), name: error}
                continue
            if value is MISSING or value is None:
                continue
            if issubclass(type(value), str) and str.__str__(value) in self._no_value:
                continue
            event[name] = value
        return unread

    def _raise_unreadable(
        self, event: dict[str, Any], own: dict[str, Any], unread: dict[str, Unreadable]
    ) -> None:
        """Raise `InvalidEvent` for properties that cannot be read, unless the call gives them.

        No other source applies: context and defaults may name another user.
        """
        unread = {name: error for name, error in unread.items() if name not in own}
        known = {name: value for name, value in event.items() if name not in unread}
        problems = [
            Problem("unreadable", name, f"{name} cannot be read: {self._described(error)}", known)
            for name, error in unread.items()
        ]
        if problems:
            self._raise_invalid(problems, known)

    def _described(self, error: Exception) -> str:
        """Return an exception in words; its text, which may be personal, only without `redact`."""
        raised = error.error if isinstance(error, Unreadable) else error
        text = type(raised).__name__
        if self.redaction is None:
            return str(error) if raised is not error else f"{text}: {text_of(error)}"
        return f"{error.place} raised {text}" if isinstance(error, Unreadable) else text

    def _raise_invalid(self, problems: Sequence[Problem], event: Mapping[str, Any]) -> NoReturn:
        """Raise `InvalidEvent` with what of the event may be shown.

        Raises:
            ExcludedEvent: it is known, in spite of the problems, that there may be no event.
        """
        if self._is_excluded is not None and problems[0].code != "exclusion":
            try:
                is_excluded = self._is_excluded(event)
            except unless_interrupt(Exception) as error:  # of the application's function
                is_excluded = False
                # Without an id it may raise for that; else it is unknown what may be shown.
                if all(type(event.get(name)) is str for name in schema.IDS):
                    problems = [*problems, _exclusion_problem(error, event)]
            if is_excluded:
                raise ExcludedEvent
        if self.sends_declared:
            event = self._only_declared(event)
            problems = [replace(problem, event=event) for problem in problems]
        if self.redaction is not None:
            problems = self.redaction.reported(problems, event)
        raise InvalidEvent(problems)

    def _checked(self, event: dict[str, Any]) -> dict[str, Any]:
        derive = None if "sessionId" in event else self._session
        if derive is not None:
            event["sessionId"] = "derived"  # a placeholder until the ids are known to be valid
        if not schema.is_plain(event):
            schema.coerce(event)
            if problems := schema.problems(event):
                if derive is not None:
                    del event["sessionId"]
                if isinstance(event, schema.Warned):
                    problems = [
                        replace(problem, message=f"{problem.message}; {event.message}")
                        if problem.code == "missing"
                        else problem
                        for problem in problems
                    ]
                self._raise_invalid(problems, event)
        if self._is_private:
            event = self._private(event, derive is not None)
        if derive is not None:
            event["sessionId"] = derive(event["accountId"], event["userId"], event["createdAt"])
        if self._refusals is not None and (found := self._refusals(event)):
            raise InvalidEvent(found)
        return event

    def _private(self, event: dict[str, Any], is_derived: bool) -> dict[str, Any]:
        """Return what of a valid event may leave.

        Raises:
            ExcludedEvent, InvalidEvent: nothing.
        """
        if is_derived:  # from what leaves: else it would tell who a hashed user is
            del event["sessionId"]
        if self._is_excluded is not None:
            try:
                is_excluded = self._is_excluded(event)
            except unless_interrupt(Exception) as error:  # the application's own function
                self._raise_invalid([_exclusion_problem(error, event)], event)
            if is_excluded:
                raise ExcludedEvent
        if self.sends_declared:
            event = self._only_declared(event)
        return event if self.redaction is None else self.redaction.redacted(event)

    def _only_declared(self, event: Mapping[str, Any]) -> dict[str, Any]:
        action = event.get("action")
        known = schema.ACTIONS.get(action, ((), ())) if type(action) is str else ((), ())
        kept = {
            name: value
            for name, value in event.items()
            if name in known[0] or name in known[1] or self._declared[name]
        }
        return schema.Warned(kept, event.message) if isinstance(event, schema.Warned) else kept

    def _provided(self) -> Mapping[str, Any]:
        provided = self._provider()
        if provided is None:
            return {}
        if not isinstance(provided, Mapping):
            raise TypeError(f"it returned a value of type {type(provided).__name__}")
        if "action" in provided:
            raise ValueError("it returned an action, which only a log call or a rule can give")
        return dict(provided)

    def _declared_names(self) -> frozenset[str]:
        planned = () if self._plan is None else self._plan.events.values()
        return frozenset(
            {
                *(*schema.REQUIRED, *self._defaults, *(name for name, _ in self._fields)),
                *(name for rule in self._rules for name in rule.event),
                *(name for one in planned for name in (*one.event, *one.properties)),
                *(name for name, action in self.redact.items() if action != "drop"),
            }
        )

    def _is_known(self, name: str) -> bool:
        return name in self._roots or name in schema.REQUIRED or self._included(name)

    def is_property(self, name: Any) -> bool:
        """Return whether an extra of that name is a property of an explicit event."""
        is_kept = self._included(name) or not (name in self._roots or self._left_out(name))
        return is_kept and name not in RECORD_ATTRIBUTES

    def _is_nested_property(self, name: Any) -> bool:
        # Also one that `LogRecord` reserves, such as `module`.
        return self._included(name) or not self._left_out(name)

    def _is_taken_by_rules(self, name: Any) -> bool:
        is_kept = (name in schema.REQUIRED and name not in self._roots) or self._included(name)
        return is_kept and name not in RECORD_ATTRIBUTES


def _exclusion_problem(error: Exception, event: Mapping[str, Any]) -> Problem:
    message = f"excluded raised {type(error).__name__}, so whether the event may be sent is unknown"
    return Problem("exclusion", "", message, event)


def _fast_line(
    encoders: EncoderCache | None, rules: Rules
) -> Callable[[logging.LogRecord], bytes | None]:
    find_encoder = ({} if encoders is None else encoders.encoders).get
    find_filter = rules.filters.get
    bound = context.current

    def fast_line(record: logging.LogRecord) -> bytes | None:
        try:
            # Not by `__dict__`, which is made on demand, and costs more than both look-ups.
            if hasattr(record, "action") or hasattr(record, "event"):
                attributes = record.__dict__
                encode_record = find_encoder((attributes["pathname"], attributes["lineno"]))
                if encode_record is not None:
                    return encode_record(attributes, attributes["created"], bound())
            else:
                is_out = find_filter(record.name)
                if is_out is not None and is_out(record):
                    return b""
        except unless_interrupt(Exception):  # an unusual record: `event` decides
            pass
        return None

    return fast_line


def _unless_nested(
    nested: Nested, fast_line: Callable[[logging.LogRecord], bytes | None]
) -> Callable[[logging.LogRecord], bytes | None]:
    def fast_line_unless_nested(record: logging.LogRecord) -> bytes | None:
        try:
            if nested.may_hold(record):
                return None
        except unless_interrupt(Exception):  # an unusual record: `event` decides
            return None
        return fast_line(record)

    return fast_line_unless_nested


class _Kept(dict[Any, bool]):
    """Whether an extra is a property, by its name; decided once."""

    def __init__(self, decide: Callable[[Any], bool]) -> None:
        self._decide = decide

    def __missing__(self, name: Any) -> bool:
        kept = self._decide(name)
        if len(self) < _MAX_NAMES:
            self[name] = kept
        return kept


def _extras(record: logging.LogRecord, kept: _Kept) -> dict[str, Any]:
    """Return those extras of a record that are properties.

    `LogRecord.__init__` sets its own attributes first, always in the same order, so extras come
    after the last of them. If that does not hold (another class, a deleted attribute, a record made
    by hand), every attribute is checked; if another thread adds one meanwhile (a formatter in a
    QueueListener's thread sets `message`), a copy is used.
    """
    attributes = record.__dict__
    try:
        items: Iterator[tuple[str, Any]] = islice(attributes.items(), _LAST_OWN, None)
        if not (
            type(record) is logging.LogRecord
            and next(items, ("", None))[0] == _LAST_NAME
            and next(iter(attributes)) == _FIRST_NAME
        ):
            items = iter(attributes.items())
        return {name: value for name, value in items if kept[name]}
    except unless_interrupt(RuntimeError):  # another thread changed it meanwhile
        return {name: value for name, value in list(attributes.items()) if kept[name]}


def _declared(names: frozenset[str], included: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda name: name in names or included(name)


def _matcher(patterns: tuple[str, ...]) -> Callable[[Any], bool]:
    if not patterns:
        return lambda name: False
    match = re.compile("|".join(translate(pattern) for pattern in patterns)).match
    return lambda name: isinstance(name, str) and match(name) is not None


def _paths(fields: Any) -> dict[str, str]:
    paths = _without_action("fields", config.mapping("fields", fields))
    for name, path in paths.items():
        try:
            parse(path)
        except ValueError as error:
            raise ValueError(f"fields.{name}: {error}") from None
    return paths


def _without_action(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    if "action" in properties:
        raise ValueError(f"{name} has an action, which only a log call or a rule can give")
    return properties


def _read_plan(given: Any) -> Plan | None:
    """Return the plan of an argument, or of `FSLOG_PLAN`; None without one."""
    name = "plan" if given is not None else "FSLOG_PLAN"
    source = given if given is not None else config.environment(name)
    if source is None:
        return None
    # Most applications have no plan: only those with one load its modules.
    from fslog.plan.plan import Plan

    try:
        return Plan.read(source, checks_rules=False)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{name}: {error}") from None


def _judge_of(plan: Plan) -> Judge | None:
    """Return what judges events by a plan; None if the plan lets every event pass."""
    if plan.unplanned == "send":
        return None
    from fslog.plan.judgement import Judge

    return Judge(plan)


def _places(nested: Any) -> tuple[str, ...]:
    places = config.names("nested", nested)
    for place in places:
        config.one_of("nested", place, PLACES)
    return places


def _session_ids(session: Any) -> sessions.SessionIds | None:
    kind = config.one_of("session", session, get_args(Session))
    if kind == "idle":
        return sessions.IdleSessions()
    return sessions.by_window if kind == "window" else None
