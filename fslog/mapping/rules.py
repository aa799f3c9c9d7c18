r"""Rules: events from log calls that already exist, by configuration only.

A rule has a `when`, all of whose conditions must hold, and an `event`, the properties of the event
that it makes; the first rule that matches wins. A condition's key is `logger` (a prefix, as for
logging's filters), `message` (unformatted) or a path of the record; its value is a literal, or a
regular expression between slashes that is searched in the value's text. A rule with a preset has
conditions on what the preset reads (`fslog.mapping.presets`), and may lack `when` and `event`.

If a condition cannot be read (its path raises) and all others hold, the rule is undecided. If the
rule has a condition on the message, which belongs to one log call, the record is an invalid event.
If not, the record may be any; it is an invalid event only if a later rule matches, which must not
make the event that this rule might have made.

Decisions are made once: at the first record of a logger, its candidate rules are selected and kept;
among these, a literal message is a dictionary key. A record of a logger without rules costs one
dictionary look-up.

>>> rules = Rules([{"when": {"logger": "app", "message": r"/(?P<n>\d+) rows/"},
...                 "event": {"action": "feature", "total": "{n:int}"}}])
>>> record = logging.LogRecord("app.reports", 20, "", 0, "exported 3 rows", (), None)
>>> rules.properties(record)
{'action': 'feature', 'total': 3}
"""

from __future__ import annotations

import contextlib
import functools
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from fslog.config import did_you_mean, garbage_kept, nearest
from fslog.mapping import schema, templates
from fslog.mapping.conditions import Condition, Match, compile_pattern, equal, prefixed, searching
from fslog.mapping.paths import (
    FORMATTED,
    MISSING,
    RECORD_ATTRIBUTES,
    SOURCES,
    WORDS,
    Read,
    Unreadable,
    compile_path,
    parse,
)

if TYPE_CHECKING:
    from fslog.mapping.presets import CompiledPreset

_MAX_LOGGERS = 4096
_MANY = 500

_CONVERSION = re.compile(r"%(\([^)]*\))?[#0 +-]*(?:\*|\d+)?(?:\.(?:\*|\d+))?[hlL]?([a-zA-Z%])")

NoMatch = Callable[[logging.LogRecord], bool]
"""True: no rule can match the record. False, or an exception: run the rules."""

_ALWAYS_THERE = RECORD_ATTRIBUTES - {"asctime", "message", "taskName"}


class Rules:
    """Find the properties that the first matching rule gives to a record.

    Args:
        rules: as in the configuration: mappings with `when` and `event`.
        known: whether records may have an attribute of a given name.
        further: rules that stand after these, and what each is called in messages.

    Raises:
        TypeError, ValueError: an invalid rule; the message begins with its index.
    """

    def __init__(
        self,
        rules: Sequence[Mapping[str, Any]] | None,
        known: Callable[[str], bool] = lambda name: False,
        further: Sequence[tuple[str, Mapping[str, Any]]] = (),
    ) -> None:
        if rules is None:
            rules = ()
        if isinstance(rules, (str, bytes, Mapping)) or not isinstance(rules, Sequence):
            raise TypeError(f"rules is of type {type(rules).__name__}; expected a list of mappings")
        self.report: Callable[[str], None] = lambda text: None
        """Is called, once, for each placeholder that none of a rule's records has a value for."""
        report = lambda text: self.report(text)  # noqa: E731
        named = [*((f"rules[{index}]", rules[index]) for index in range(len(rules))), *further]
        with garbage_kept() if len(named) > _MANY else contextlib.nullcontext():
            self._rules = [_compile(where, rule, known, report) for where, rule in named]
        self.preset_names: frozenset[str] = frozenset(
            name for rule in self._rules for name in rule.groups if "." in name
        )
        """What the presets of rules read: names that look like paths, and are not."""
        self._by_logger: dict[Any, _Candidates | None] = {}
        self.filters: dict[Any, NoMatch] = {}
        """By logger name: whether no rule can match a record, if that is quick to find out."""

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules)

    def properties(self, record: logging.LogRecord) -> dict[str, Any] | None:
        """Return the properties that the first matching rule makes; None if no rule matches.

        They are a `Partial` if some of them cannot be read.

        Raises:
            Unreadable: which rule matches is unknown.
        """
        logger = record.__dict__.get("name")  # a record made by hand may have none
        try:
            candidates = self._by_logger[logger]
        except KeyError:
            candidates = self._candidates(logger)
        if candidates is None:
            return None
        undecided: Unreadable | None = None
        for rule, groups in candidates.get(record):
            try:
                made = rule.properties(record, groups)
            except Unreadable as error:
                if any(condition.key == "message" for condition in rule.when):
                    raise
                undecided = undecided or error
                continue
            if made is not None:
                if undecided is not None:
                    raise undecided
                return made
        return None

    def _candidates(self, logger: Any) -> _Candidates | None:
        candidates = [
            (rule, groups) for rule in self._rules if (groups := rule.logger(logger)) is not None
        ]
        if len(self._by_logger) >= _MAX_LOGGERS:  # for example of loggers named after requests
            self._by_logger = {}
            self.filters.clear()
        found = self._by_logger[logger] = _Candidates(candidates) if candidates else None
        needed = [rule.needed for rule, _ in candidates]
        if None not in needed:
            self.filters[logger] = no_match(frozenset(filter(None, needed)))
        return found


@functools.lru_cache(maxsize=1024)
def no_match(needed: frozenset[tuple[str, str]]) -> NoMatch:
    """Return the quick filter of a logger each of whose rules needs one of these values.

    Most records are not events, and most rules need a literal message, or a literal value of some
    attribute. Loggers with the same needs share a filter: there may be a logger for each request.

    Args:
        needed: names of attributes, and their values as text.

    >>> is_out = no_match(frozenset({("msg", "sold %s"), ("levelname", "ERROR")}))
    >>> record = logging.LogRecord("app", 20, "", 0, "read %s", (3,), None)
    >>> is_out(record), is_out(logging.LogRecord("app", 20, "", 0, "sold %s", (3,), None))
    (True, False)
    """
    wanted: dict[str, set[str]] = {}
    for name, text in needed:
        wanted.setdefault(name, set()).add(text)
    messages = wanted.get("msg", set())
    # If an attribute of every record is absent, the rules decide, as they do of a value that is
    # not a text: they compare it by its text. An absent extra matches nothing.
    conditions = [
        (name, None if name in _ALWAYS_THERE else "", texts) for name, texts in wanted.items()
    ]

    def always(record: logging.LogRecord) -> bool:
        return True

    def by_message(record: logging.LogRecord) -> bool:
        message = record.msg
        return type(message) is str and message not in messages

    def by_attributes(record: logging.LogRecord) -> bool:
        for name, if_absent, texts in conditions:
            value = getattr(record, name, if_absent)
            if type(value) is not str or value in texts:
                return False
        return True

    if not wanted:
        return always
    return by_message if wanted.keys() == {"msg"} else by_attributes


class _Candidates:
    """The rules that can match a logger's records, in their order, by literal message."""

    def __init__(self, rules: list[tuple[Rule, Mapping[str, Any]]]) -> None:
        self._others = tuple(pair for pair in rules if pair[0].message is None)
        self._count = len(rules)
        self._numbered: dict[str | None, list[tuple[int, tuple[Rule, Mapping[str, Any]]]]] = {}
        for number, pair in enumerate(rules):
            self._numbered.setdefault(pair[0].message, []).append((number, pair))
        self._by_message: dict[str, tuple[tuple[Rule, Mapping[str, Any]], ...]] = {}

    def get(self, record: logging.LogRecord) -> tuple[tuple[Rule, Mapping[str, Any]], ...]:
        if len(self._others) == self._count:
            return self._others
        message = record.__dict__.get("msg")
        text = message if type(message) is str else templates.text_of(message)
        if text is None:
            return self._others
        found = self._by_message.get(text)
        if found is None:
            if text not in self._numbered:
                return self._others
            # Now, and not for each of a thousand messages when the first record comes.
            both = [*self._numbered.get(None, ()), *self._numbered[text]]
            found = tuple(pair for _, pair in sorted(both, key=itemgetter(0)))
            self._by_message[text] = found
        return found


class Partial(dict[str, Any]):
    """The properties that a rule makes, without those that cannot be read.

    Args:
        made: the properties.
        unread: the names of the others, and the errors.
    """

    def __init__(self, made: Mapping[str, Any], unread: dict[str, Unreadable]) -> None:
        super().__init__(made)
        self.unread = unread


class Rule(NamedTuple):
    """One rule, compiled.

    Args:
        where: what it is called in messages: `rules[0]`.
        when, event: the conditions, and the event as in the configuration.
        logger, message: two of the conditions, by which rules are selected: the logger's name, and
            the literal message; None if there is none, or a regular expression.
        conditions: the others.
        constants, made: properties without, and with, placeholders.
        reads: the placeholders that only some records may have, without groups; for each the one
            that it is probably a misspelling of, or None.
        needed: a literal condition: the attribute's name, and its value as text; None without one.
        groups: the names that are no paths: groups of regular expressions, and what a preset reads.
    """

    where: str
    when: list[Condition]
    event: Mapping[str, Any]
    logger: Match
    message: str | None
    conditions: list[tuple[Read, Match]]
    constants: dict[str, Any]
    made: list[tuple[str, templates.Make]]
    reads: Mapping[str, str | None]
    needed: tuple[str, str] | None
    groups: frozenset[str]

    def properties(
        self, record: logging.LogRecord, groups: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Return the properties that it makes; None if it does not match.

        Raises:
            Unreadable: whether it matches is unknown.
        """
        unread: Unreadable | None = None
        for read, match in self.conditions:
            try:
                found = match(read(record))
            except Unreadable as error:
                if error.place == "when.message":  # a message without a text matches no rule
                    return None
                unread = error
                continue
            if found is None:
                return None
            if found:
                groups = {**groups, **found}
        if unread is not None:
            raise unread
        properties = dict(self.constants)
        for name, make in self.made:
            try:
                value = make(record, groups)
            except Unreadable as error:
                unread_before = properties.unread if isinstance(properties, Partial) else {}
                properties = Partial(properties, {**unread_before, name: error})
                continue
            if value is not MISSING:
                properties[name] = value
        return properties


def _compile(
    where: str, rule: Any, known: Callable[[str], bool], report: Callable[[str], None]
) -> Rule:
    if not isinstance(rule, Mapping):
        raise TypeError(f"{where} is of type {type(rule).__name__}; expected when and event")
    unknown = set(rule) - {"when", "event"}
    if unknown and "preset" not in rule:
        key = unknown.pop()
        hint = did_you_mean(key, ("when", "event", "preset"))
        raise ValueError(f"{where} has the unknown key {key!r}; expected when and event{hint}")
    try:
        preset = _compile_preset(rule) if "preset" in rule else None
    except (ValueError, TypeError) as error:
        raise type(error)(f"{where}: {error}") from None
    when, event = rule.get("when"), rule.get("event")
    if preset is not None:
        when = {} if when is None else when
        event = preset.event if event is None else event
    for part, value in (("when", when), ("event", event)):
        if not isinstance(value, Mapping):
            hint = ""
            if preset is not None and value is None:
                hint = "; it may lack one if a regular expression has the groups module and feature"
            raise ValueError(f"{where} has no {part}, or one that is not a mapping{hint}")
    try:
        return _compile_parts(where, preset, when, event, known, report)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{where}: {error}") from None


def _compile_preset(rule: Mapping[str, Any]) -> CompiledPreset:
    # Compiling the presets' expressions takes a tenth of `import fslog`, and few rules need them.
    from fslog.mapping.presets import compile_preset

    return compile_preset(rule)


def _compile_parts(
    where: str,
    preset: CompiledPreset | None,
    when: Any,
    event: Any,
    known: Callable[[str], bool],
    report: Callable[[str], None],
) -> Rule:
    logger = prefixed("")
    message: str | None = None
    all_of_them: list[Condition] = []
    conditions: list[tuple[Read, Match]] = []
    groups: set[str] = set()
    needed: tuple[str, str] | None = None
    if preset is not None:
        logger = preset.logger
        all_of_them += preset.when
        conditions.append(preset.condition)
        groups |= preset.groups
    for key in when:
        if preset is not None and key in preset.names:
            continue
        _check_key(key, known)
        pattern = compile_pattern(f"when.{key}", when[key])
        if pattern is not None:
            groups |= set(pattern.groupindex)
            match = searching(pattern, f"when.{key}")
        elif key == "logger":
            match = prefixed(str(when[key]))
        else:
            match = equal(when[key], f"when.{key}")
        read = compile_path(key)
        all_of_them.append(Condition(key, when[key], read, match))
        if key == "logger":
            logger = match
        elif key == "message" and pattern is None:
            message = str(when[key])
            needed = (WORDS[key], message)
        else:
            conditions.append((read, match))
            is_attribute = "." not in key and key != FORMATTED
            if pattern is None and is_attribute and message is None:
                needed = (WORDS.get(key, key), str(when[key]))
    names = templates.Names(frozenset(groups), _arguments(message))
    constants, made = _compile_event(event, names)
    watched = {each for name, _ in made for each in templates.watched(event[name], names)}
    reads: dict[str, str | None] = {}
    if watched:
        roots = {parse(key)[0] for key in when}
        for each in sorted(watched):
            first = each.partition(".")[0]
            is_known = first in roots or known(first)
            reads[each] = None if is_known else templates.meant(each, names.groups)
        values = {name: event[name] for name, _ in made}
        made = _Watching(values, names, made, reads, where, report).made
    return Rule(
        where=where,
        when=all_of_them,
        event=event,
        logger=logger,
        message=message,
        conditions=conditions,
        constants=constants,
        made=made,
        reads=reads,
        needed=needed,
        groups=names.groups,
    )


class _Watching:
    """What makes a rule's properties, watched as long as a placeholder may be misspelt.

    The watch begins with the first record that the rule matches: a large plan has many rules.
    """

    __slots__ = ("_begun", "_names", "_plain", "_reads", "_report", "_values", "_where", "made")

    def __init__(
        self,
        values: Mapping[str, Any],
        names: templates.Names,
        plain: list[tuple[str, templates.Make]],
        reads: Mapping[str, str | None],
        where: str,
        report: Callable[[str], None],
    ) -> None:
        self._values = values
        self._names = names
        self._plain = plain
        self._reads = reads
        self._where = where
        self._report = report
        self._begun: dict[str, templates.Make] | None = None
        self.made: list[tuple[str, templates.Make]] = [
            (name, functools.partial(self._make, name)) for name, _ in plain
        ]

    def _make(self, name: str, record: logging.LogRecord, groups: templates.Groups) -> Any:
        return (self._begun or self._begin())[name](record, groups)

    def _begin(self) -> dict[str, templates.Make]:
        names = self._names._replace(watch=templates.Watch(self._report_missing, self._end))
        # Threads may begin at the same time: what one of them counts alone is not reported.
        self._begun = begun = {
            name: templates.compile_value(value, names)[1] for name, value in self._values.items()
        }
        return begun

    def _report_missing(self, name: str) -> None:
        near = self._reads[name]
        hint = f"; did you mean {{{near}}}?" if near else ""
        missing = f"none of {templates.Watch.ENOUGH} records that it matches has {{{name}}}{hint}"
        self._report(f"{self._where}: {missing}")

    def _end(self) -> None:
        self.made[:] = self._plain  # at once, with the same properties: other threads may read it


_LEVEL = {"level": "levelname"}
"""What an attribute is called by mistake, and its name."""

_KEYS = SOURCES | _LEVEL.keys()


def _check_key(key: Any, known: Callable[[str], bool]) -> None:
    """Raise if the key of a condition is a misspelt attribute of every record.

    Extras have names of any kind. Those that end or begin otherwise, such as `messages`, or have
    other underscores, such as `file_name`, or another short word, such as `ext_info`, are not
    misspellings.
    """
    first = parse(key)[0]
    near = None if first in _KEYS or known(first) else _misspelt(first)
    if near is not None:
        raise ValueError(
            f"when has the key {key!r}; did you mean {_LEVEL.get(near, near)!r}? To read an extra "
            "of that name, add it to include"
        )


@functools.lru_cache(maxsize=1_024)
def _misspelt(first: str) -> str | None:
    """Return the attribute of every record that was meant; None for an extra."""
    near = nearest(first, _KEYS)
    if near is None or first.count("_") != near.count("_"):
        return None
    if not all(map(nearest, first.split("_"), ([part] for part in near.split("_")))):
        return None
    letters, expected = first.lower(), near.lower()
    has_ends = len(near) > 4 and (letters[0], letters[-1]) == (expected[0], expected[-1])
    return near if has_ends or sorted(letters) == sorted(expected) else None


def _compile_event(
    event: Mapping[str, Any], names: templates.Names
) -> tuple[dict[str, Any], list[tuple[str, templates.Make]]]:
    constants: dict[str, Any] = {}
    made: list[tuple[str, templates.Make]] = []
    for name in event:
        if not isinstance(name, str) or not name:
            raise ValueError(f"event has the key {name!r}; expected the name of a property")
        try:
            constant, value = templates.compile_value(event[name], names)
        except ValueError as error:
            raise ValueError(f"event.{name}: {error}") from None
        if constant:
            constants[name] = value
        else:
            made.append((name, value))
    if "action" not in event:
        raise ValueError("event has no action: a rule must name the action of its event")
    checked = dict(constants)
    schema.coerce(checked)
    for name in schema.REQUIRED:
        problem = schema.problem_of(checked, name) if name in checked else None
        if problem is not None:
            raise ValueError(f"event.{name}: {problem.message}")
    return checked, made


def _arguments(message: str | None) -> int | None:
    """Return how many arguments a literal message has; None if that is unknown."""
    if message is None or "*" in message:
        return None
    slots = [slot for slot in _CONVERSION.findall(message) if slot[1] != "%"]
    return len(slots) if slots and not any(key for key, _ in slots) else None
