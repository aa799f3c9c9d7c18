"""The tracking plan: a file, or a mapping in the configuration, that says which events there are.

A planned event is identified by the constants of its `event`, as in a rule. If it has a `when`, it
is a rule too. Everything is checked when the plan is read.

>>> export = {"action": "feature", "module": "reports", "feature": "export"}
>>> plan = Plan.read({"version": 1, "events": {"report exported": {"event": export}}})
>>> plan.find({**export, "total": 3}).name
'report exported'
>>> plan.nearest({**export, "feature": "exprot"})
'did you mean reports / export?'
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from fslog.config import did_you_mean, garbage_kept, nearest, one_of
from fslog.config.documents import document
from fslog.config.files import SourceError
from fslog.interrupts import unless_interrupt
from fslog.mapping import privacy, schema, templates
from fslog.mapping.rules import Rules
from fslog.plan.keywords import Property, as_sent, compile_property, property_place, text

VERSION = 1
"""The version of the format."""

UNPLANNED = ("warn", "refuse", "send")
"""What becomes of an event that is not as planned."""

_KEYS = ("version", "unplanned", "common", "events")
_EVENT_KEYS = (*("description", "owner", "event", "when", "properties", "since", "expires"),)
_DAY = re.compile(r"(\d{4})-(\d{2})(?:-(\d{2}))?")

_MAX_DEPTH = 32
_MAX_VALUES = 2_000_000
_MAX_SETS = 100
"""Sets of constants' names: an event is looked up once for each that its action has."""

_MAX_SIBLINGS = 200
_MAX_HINTS = 1_000
"""Unplanned events for which the nearest planned one is searched: each search takes a while."""

_IDENTIFYING = (str, int, float)


@dataclass(frozen=True)
class PlannedEvent:
    """What a plan says of one event.

    Args:
        name: of the event in the plan.
        constants: its literal strings, numbers and booleans, which identify it; among them the
            action.
        event: as in a rule: the constants, other literals, and templates if it has a `when`.
        when: as in a rule; None if log calls make the event themselves.
        properties: what is planned for them, those that are common to all events included.
        description, owner: for people.
        since: the day on which it began.
        expires: the first day on which it is no longer expected.
    """

    name: str
    constants: Mapping[str, Any]
    event: Mapping[str, Any]
    when: Mapping[str, Any] | None
    properties: Mapping[str, Property]
    description: str = ""
    owner: str = ""
    since: datetime.date | None = None
    expires: datetime.date | None = None

    @property
    def place(self) -> str:
        """What the event and its rule are called in messages: `events.report exported`."""
        return _place(self.name)

    def rule(self) -> dict[str, Any] | None:
        """Return the rule that makes the event; None if it has no `when`."""
        return None if self.when is None else {"when": self.when, "event": self.event}

    @property
    def label(self) -> str:
        """The constants in words: `reports / export`."""
        return label(self.constants)

    def allows(self, name: str) -> bool:
        """Return whether an event may have a property of that name."""
        return name in self.properties or name in self.event or name in schema.REQUIRED


class Plan:
    """A tracking plan, checked, but for the rules of its events.

    Args:
        given: the plan as a mapping.
        source: the path of its file, for messages; "" without one.

    Raises:
        TypeError, ValueError: a mistake; the message names the event, the property and the keyword.
    """

    def __init__(self, given: Mapping[str, Any], source: str = "") -> None:
        self.source = source
        given = _copied(given)
        self._check_keys(given)
        self.version: int = given["version"]
        self.unplanned: str = one_of("unplanned", given.get("unplanned", "warn"), UNPLANNED)
        common = _section("common", given.get("common"))
        self.common: dict[str, Property] = {
            name: compile_property("", name, common[name]) for name in common
        }
        events = _section("events", given.get("events"))
        compiled: dict[Any, Property] = {}
        self.events: dict[str, PlannedEvent] = {
            name: _planned(name, events[name], self.common, compiled) for name in events
        }
        self.pii: dict[str, str] = _pii(self.common, self.events.values())
        """What becomes of properties, by name: of all events, so of those that are not planned."""
        self.ruled: list[PlannedEvent] = [
            planned for planned in self.events.values() if planned.when is not None
        ]
        """The events that have a `when`, in order."""
        self.rules: list[dict[str, Any]] = [
            {"when": planned.when, "event": planned.event} for planned in self.ruled
        ]
        """Their rules."""
        self._has_checked_rules = False
        self._index = _Index(self.events.values())
        # Now, not in the log call that makes the first unplanned event.
        self._siblings = _siblings(self.events.values())
        self._hints: dict[Any, str] = {}

    @classmethod
    def read(
        cls,
        source: str | os.PathLike[str] | Mapping[str, Any] | Plan,
        *,
        checks_rules: bool = True,
    ) -> Plan:
        """Return the plan in a file (YAML, JSON, TOML) or a mapping; a plan itself as it is.

        Args:
            source: the file's path, or the plan.
            checks_rules: whether the rules are compiled, to check them too. A formatter does that
                anyway, and knows which extras there are.

        Raises:
            TypeError, ValueError: it cannot be read, or has a mistake. The message begins with the
                file's path.
        """
        if isinstance(source, Plan):
            return source
        if isinstance(source, Mapping):
            with garbage_kept():
                found = cls(source)
            if checks_rules:
                found.check_rules()
            return found
        if not isinstance(source, (str, os.PathLike)):
            raise TypeError(f"it is of type {type(source).__name__}; expected a path or a mapping")
        path = os.fspath(source)
        # A handler and its formatter read the same file, when the program starts.
        key = (path, _version(path))
        kept = _last.get(key)
        if kept is None:
            with garbage_kept():
                kept = cls._read(path)
            _last.clear()
            _last[key] = kept
        if checks_rules:
            with _named(path):
                kept.check_rules()
        return kept

    @classmethod
    def _read(cls, path: str) -> Plan:
        found = document(path)
        if found is None:
            raise SourceError(f"{path} is empty; expected a plan: version and events")
        if not isinstance(found, Mapping):
            raise SourceError(
                f"{path} contains a {type(found).__name__}; expected a plan: version and events"
            )
        with _named(path):
            return cls(found, path)

    def check_rules(self) -> None:
        """Compile the rules.

        Raises:
            ValueError: one has a mistake.
        """
        if not self._has_checked_rules:
            rules = [(planned.place, planned.rule() or {}) for planned in self.ruled]
            # Which extras there are is known to a formatter only.
            Rules((), lambda name: True, rules)
            self._has_checked_rules = True

    def _check_keys(self, given: Mapping[Any, Any]) -> None:
        for key in given:
            if key not in _KEYS:
                raise ValueError(
                    f"the plan has the unknown key {key!r}; expected {', '.join(_KEYS)}"
                    f"{did_you_mean(key, _KEYS)}"
                )
        version = given.get("version")
        if version is None:
            raise ValueError(f"the plan has no version; expected version: {VERSION}")
        if type(version) is not int or version != VERSION:
            raise ValueError(f"version is {version!r}; this fslog reads version {VERSION}")

    @property
    def tables(self) -> Mapping[str, Sequence[Table]]:
        """The planned events by action; for each set of constants' names a table."""
        return self._index.by_action

    def named_rules(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Return the rules, and what each is called in messages."""
        return [
            (f"plan.{planned.place}", rule)
            for planned, rule in zip(self.ruled, self.rules, strict=True)
        ]

    def find(self, event: Mapping[str, Any]) -> PlannedEvent | None:
        """Return the planned event whose constants an event has; None if there is none.

        Of several it is the one with the most constants.
        """
        return self._index.find(event)

    def names(self, action: str) -> tuple[str, ...]:
        """Return the names of the properties by whose values an action's events are looked up."""
        found = {name for table in self._index.by_action.get(action, ()) for name in table.names}
        return tuple(sorted(found))

    def nearest(self, event: Mapping[str, Any]) -> str:
        """Return `did you mean reports / export?` for an unplanned event; "" without an idea.

        One of its values may be misspelt.
        """
        values = {name: event[name] for name in self._index.names if type(event.get(name)) is str}
        key = tuple(values.items())
        if key not in self._hints:
            if len(self._hints) >= _MAX_HINTS:
                return ""
            self._hints[key] = self._nearest(values)
        return self._hints[key]

    def _nearest(self, values: Mapping[str, str]) -> str:
        for names in self._index.sets:
            if not all(name in values for name in names):
                continue
            own = tuple(map(values.__getitem__, names))
            siblings = self._siblings.get(names, {})
            for at, name in reversed(list(enumerate(names))):
                meant = nearest(own[at], siblings.get(_without(own, at), ()))
                if meant is not None:
                    found = {each: values[each] for each in names} | {name: meant}
                    return f"did you mean {label(found)}?"
        return ""


_last: dict[Any, Plan] = {}
"""The plan of the file that was read last, by its path and its version."""


def _version(path: str) -> Any:
    try:
        found = os.stat(path)
    except unless_interrupt(OSError, ValueError):  # reading it reports that
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError) as error:
        raise type(error)(f"{path}: {error}") from None


class Table:
    """The events of one action whose constants have the same names.

    Args:
        names: of the constants.

    Attributes:
        key: returns the values by which an event is looked up; raises KeyError without them.
        events: by these values.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.key: Callable[[Mapping[str, Any]], Any] = itemgetter(*names)
        self.events: dict[Any, PlannedEvent] = {}
        self.has_flags: bool = False

    def add(self, planned: PlannedEvent) -> None:
        other = self.events.setdefault(self.key(planned.constants), planned)
        if other is not planned:
            raise ValueError(
                f"events.{planned.name} cannot be told apart from events.{other.name}: both are "
                f"{_words(planned.constants)}"
            )
        # In Python 1 equals True, which is another value in JSON.
        numbers = [value for value in planned.constants.values() if type(value) is not str]
        self.has_flags = self.has_flags or any(value in (0, 1) for value in numbers)

    def find(self, event: Mapping[str, Any]) -> PlannedEvent | None:
        try:
            planned = self.events[self.key(event)]
        except (KeyError, TypeError):  # one of the names is absent, or its value has no hash
            return None
        if self.has_flags:
            for name, value in planned.constants.items():
                if (type(value) is bool) != (type(event[name]) is bool):
                    return None
        return planned


class _Index:
    """Find events by their constants: one look-up for each set of names that an action has.

    Raises:
        ValueError: two events cannot be told apart.
    """

    def __init__(self, events: Iterable[PlannedEvent]) -> None:
        tables: dict[Any, Table] = {}
        for planned in events:
            names = _names(planned.constants)
            key = (planned.constants["action"], names)
            if key not in tables:
                tables[key] = Table(names)
            tables[key].add(planned)
        self.by_action: dict[str, list[Table]] = {}
        # The most specific first; tables of one size in the order of the plan.
        for action, names in sorted(tables, key=lambda key: -len(key[1])):
            self.by_action.setdefault(action, []).append(tables[action, names])
        self.sets = sorted({names for _, names in tables}, key=lambda names: (-len(names), names))
        self.names = sorted({name for names in self.sets for name in names})
        for action, found in self.by_action.items():
            if len(found) > _MAX_SETS:
                raise ValueError(
                    f"the events of the action {action!r} have {len(found)} different sets of "
                    f"constants; expected at most {_MAX_SETS}"
                )
            self._check_overlaps(found)

    def find(self, event: Mapping[str, Any]) -> PlannedEvent | None:
        found = self._find(event)
        if found is None and not all(type(event.get(name)) in _PLAIN for name in self.names):
            sent = {name: as_sent(event[name]) for name in self.names if name in event}
            found = self._find(sent)
        return found

    def _find(self, event: Mapping[str, Any]) -> PlannedEvent | None:
        try:
            tables = self.by_action[event["action"]]
        except (KeyError, TypeError):  # another action, or one that has no hash
            return None
        for table in tables:
            planned = table.find(event)
            if planned is not None:
                return planned
        return None

    def _check_overlaps(self, tables: list[Table]) -> None:
        """Raise if one event could have the constants of two planned ones of the same size."""
        for index, table in enumerate(tables):
            for other in tables[:index]:
                if len(other.names) != len(table.names):
                    continue
                shared = itemgetter(*(name for name in table.names if name in other.names))
                by_shared = {shared(one.constants): one for one in other.events.values()}
                for planned in table.events.values():
                    both = by_shared.get(shared(planned.constants))
                    if both is not None:
                        self._check_overlap(planned, both)

    def _check_overlap(self, planned: PlannedEvent, other: PlannedEvent) -> None:
        both = {**other.constants, **planned.constants}
        decided = self._find(both)
        if decided is None or len(decided.constants) == len(planned.constants):
            raise ValueError(
                f"events.{planned.name} cannot be told apart from events.{other.name}: an event "
                f"with {_words(both)} is both; give one of them one more constant"
            )


_PLAIN = frozenset({str, int, float, bool, type(None)})


def _names(constants: Mapping[str, Any]) -> tuple[str, ...]:
    return ("action", *sorted(name for name in constants if name != "action"))


def _siblings(events: Iterable[PlannedEvent]) -> dict[Any, dict[Any, list[str]]]:
    """Return, for each constant, the strings that it has in events whose others are the same.

    The keys are the constants' names, and the values of the others.
    """
    found: dict[Any, dict[Any, list[str]]] = {}
    for planned in events:
        constants = planned.constants
        if not all(type(value) is str for value in constants.values()):
            continue
        names = _names(constants)
        values = tuple(map(constants.__getitem__, names))
        of_names = found.setdefault(names, {})
        for at, value in enumerate(values):
            key = _without(values, at)
            siblings = of_names.get(key)
            if siblings is None:
                of_names[key] = [value]
            elif len(siblings) < _MAX_SIBLINGS:
                siblings.append(value)
    return found


def _without(values: tuple[str, ...], at: int) -> tuple[str | None, ...]:
    """Return the values of an event but for one, which its siblings have in common with it."""
    return (*values[:at], None, *values[at + 1 :])


def label(constants: Mapping[str, Any]) -> str:
    """Return the constants of an event in words, without an action that goes without saying.

    >>> label({"action": "feature", "feature": "export", "module": "reports"})
    'reports / export'
    >>> label({"action": "moduleEnd", "module": "reports"})
    'moduleEnd / reports'
    """
    order = ("action", "product", "module", "feature")
    names = [name for name in order if name in constants]
    names += [name for name in constants if name not in order]
    if len(names) > 1 and constants.get("action") == "feature":
        names.remove("action")
    return " / ".join(str(constants[name]) for name in names)


def _words(constants: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value!r}" for name, value in constants.items())


def _section(name: str, given: Any) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"{name} is of type {type(given).__name__}; expected a mapping")
    for key in given:
        if not isinstance(key, str) or not key.strip():
            raise ValueError(f"{name} has the key {key!r}; expected a name")
    return given


def _place(name: str) -> str:
    """Return what an event, and its rule, is called in messages."""
    return f"events.{name}"


def _planned(
    name: str, given: Any, common: Mapping[str, Property], compiled: dict[Any, Property]
) -> PlannedEvent:
    place = _place(name)
    if not isinstance(given, Mapping):
        raise TypeError(f"{place} is {_type(given)}; expected a mapping with event")
    for key in given:
        if key not in _EVENT_KEYS:
            raise ValueError(
                f"{place} has the unknown key {key!r}; expected {', '.join(_EVENT_KEYS)}"
                f"{did_you_mean(key, _EVENT_KEYS)}"
            )
    event = given.get("event")
    if not isinstance(event, Mapping):
        raise ValueError(
            f"{place} has no event, or one that is not a mapping; expected the properties that "
            "identify it, such as {action: feature, module: reports, feature: export}"
        )
    when = given.get("when")
    constants = _constants(place, event, has_rule=when is not None)
    own = _section(f"{place}.properties", given.get("properties"))
    properties = dict(common)
    for each in own:
        properties[each] = compile_property(name, each, own[each], compiled)
    for each, value in constants.items():
        problem = properties[each].problem(value) if each in properties else None
        if problem is not None:
            raise ValueError(f"{place}.event contradicts {place}.properties: {problem[1]}")
    planned = PlannedEvent(
        name=name,
        constants=constants,
        event=event,
        when=when,
        properties=properties,
        description=text(f"{place}.description", given.get("description")),
        owner=text(f"{place}.owner", given.get("owner")),
        since=_day(f"{place}.since", given.get("since")),
        expires=_day(f"{place}.expires", given.get("expires")),
    )
    if planned.since is not None and planned.expires is not None:
        if planned.expires <= planned.since:
            raise ValueError(
                f"{place}.expires is {planned.expires}; expected a day after since, {planned.since}"
            )
    return planned


def _constants(place: str, event: Mapping[str, Any], *, has_rule: bool) -> dict[str, Any]:
    """Return the constants that identify an event."""
    found: dict[str, Any] = {}
    for name, value in event.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"{place}.event has the key {name!r}; expected a property's name")
        try:
            is_constant, made = templates.compile_value(value, _ANY)
        except ValueError as error:
            raise ValueError(f"{place}.event.{name}: {error}") from None
        if not is_constant and not has_rule:
            raise ValueError(
                f"{place}.event.{name} is {value!r}, which has a placeholder, but the event has no "
                "when; expected a literal, or the property in properties"
            )
        if is_constant and isinstance(made, _IDENTIFYING):
            found[name] = made
    action = found.get("action")
    if not isinstance(action, str) or not action:
        raise ValueError(f"{place}.event has no literal action; expected one such as 'feature'")
    return found


def _pii(common: Mapping[str, Property], events: Iterable[PlannedEvent]) -> dict[str, str]:
    """Return what the properties' `pii` say together.

    Raises:
        ValueError: they contradict each other, or what identifies an event.
    """
    found: dict[str, tuple[str, str]] = {}
    planned = [("", common), *((one.name, one.properties) for one in events)]
    for event, properties in planned:
        for name, one in properties.items():
            if one.pii is None or (event and one is common.get(name)):
                continue
            place = property_place(event, name)
            pii, other = found.setdefault(name, (one.pii, place))
            if pii != one.pii:
                raise ValueError(
                    f"{place}.pii is {one.pii!r}, but {other}.pii is {pii!r}; expected the same "
                    "in all events"
                )
    actions = {name: pii for name, (pii, _) in found.items()}
    privacy.check_redact("pii of ", actions)
    for one_event in events:
        for name in one_event.constants:
            if actions.get(name, "keep") != "keep":
                raise ValueError(
                    f"{found[name][1]}.pii is {actions[name]!r}, but {name} identifies "
                    f"{one_event.place}; expected 'keep'"
                )
    return actions


class _AnyGroup(frozenset[str]):
    """Groups of regular expressions that are not known yet: `Rules` checks them."""

    # A cache of compiled templates tells it from no groups.
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())


_ANY = templates.Names(_AnyGroup())


def _day(place: str, value: Any) -> datetime.date | None:
    if value is None:
        return None
    if type(value) is datetime.date:
        return value
    if isinstance(value, datetime.datetime):
        return value.date()
    found = _DAY.fullmatch(value) if isinstance(value, str) else None
    try:
        if found is not None:
            return datetime.date(int(found[1]), int(found[2]), int(found[3] or 1))
    except ValueError:  # the 31st of February
        pass
    raise ValueError(f"{place} is {value!r}; expected a month or a day, 2026-03 or 2026-03-01")


def _copied(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plan as plain mappings and lists of its own.

    Raises:
        ValueError: it contains itself, is nested too deep, or has too many values.
    """
    left = _MAX_VALUES
    path: list[int] = []

    def copied(value: Any) -> Any:
        nonlocal left
        is_mapping = isinstance(value, (dict, Mapping))  # of a dict this is quicker
        if not is_mapping and not isinstance(value, (list, tuple)):
            return value
        if id(value) in path:
            raise ValueError("the plan contains a mapping or list that contains itself")
        if len(path) >= _MAX_DEPTH:
            raise ValueError(f"the plan is nested more than {_MAX_DEPTH} levels deep")
        left -= len(value)
        if left < 0:
            raise ValueError(f"the plan has more than {_MAX_VALUES} values")
        path.append(id(value))
        # By key: dictConfig's mappings resolve `ext://` and `cfg://` only then.
        found = (
            {key: one if type(one := value[key]) in _PLAIN else copied(one) for key in value}
            if is_mapping
            else [one if type(one) in _PLAIN else copied(one) for one in value]
        )
        path.pop()
        return found

    return copied(given)  # type: ignore[no-any-return]


def _type(value: Any) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
