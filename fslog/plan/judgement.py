"""What is wrong with an event by a plan.

The whole judgement is `problems`. Most events are as planned, so log calls use two quicker forms of
it: for any event one generated function of its planned event (`Judge`), and in a compiled encoder,
where names and types are known, only what depends on values (`ShapeChecks`). They are conservative:
what they do not recognise as planned, `problems` decides.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from fslog.config import nearest
from fslog.errors import Problem
from fslog.interrupts import unless_interrupt
from fslog.mapping import schema
from fslog.plan.keywords import Property
from fslog.plan.plan import Plan, PlannedEvent

CODES = frozenset(
    {
        *("unplanned", "unplanned_property", "missing_property"),
        *("property_type", "property_value", "expired"),
    }
)
"""The codes of problems by a plan."""

_UTC = datetime.timezone.utc
_MAX_SHOWN = 40
_MAX_CHECKS = 1_000


@dataclass(frozen=True)
class PlanProblem(Problem):
    """A problem of an event by a plan.

    Args:
        code, property, message, event: see `fslog.Problem`.
        planned: the planned event's name; what an unplanned event is, in words.
        is_refused: whether the event is not sent.
    """

    planned: str = ""
    is_refused: bool = False

    @property
    def kind(self) -> str:
        """The code, the event and the property: problems of one kind are logged once."""
        return f"{self.code} {self.planned} {self.property}"


def is_warning(problem: Problem) -> bool:
    """Return whether the event of a problem is sent."""
    if problem.code in CODES:
        return not getattr(problem, "is_refused", False)
    return problem.code in schema.WARNINGS


def problems(plan: Plan, event: Mapping[str, Any]) -> list[PlanProblem]:
    """Return what is wrong with an event by a plan; nothing if it is as planned.

    >>> export = {"action": "feature", "module": "reports", "feature": "export"}
    >>> plan = Plan.read({"version": 1, "events": {"report exported": {
    ...     "event": export, "properties": {"total": {"minimum": 1, "required": True}}}}})
    >>> [(p.code, p.property) for p in problems(plan, {**export, "totl": 3})]
    [('unplanned_property', 'totl'), ('missing_property', 'total')]
    """
    planned = plan.find(event)
    if planned is None:
        found = [("unplanned", "", _unplanned(plan, event))]
        name = _named(plan, event)
    else:
        found = list(_found(planned, event))
        name = planned.name
    refused = plan.unplanned == "refuse"
    return [PlanProblem(*each, event, name, refused) for each in found]


def _found(planned: PlannedEvent, event: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the code, the property and the message of each problem of an event."""
    for name in event:
        if not planned.allows(name):
            word = str(name)[:_MAX_SHOWN]
            meant = nearest(word, {*planned.properties, *planned.event} - event.keys())
            hint = f"; did you mean {meant!r}?" if meant else ""
            message = f"{word} is not planned for the event {planned.name!r}{hint}"
            yield "unplanned_property", word, message
    for name, expected in planned.properties.items():
        if name not in event:
            if expected.required:
                message = f"{name} is missing; the plan of {planned.name!r} requires it"
                yield "missing_property", name, message
        elif (problem := expected.problem(event[name])) is not None:
            yield problem[0], name, problem[1]
    at: Any = event.get("createdAt")
    if planned.expires is not None and type(at) in (int, float) and at >= _start_ms(planned):
        yield "expired", "", f"the event {planned.name!r} was planned until {planned.expires}"


def _unplanned(plan: Plan, event: Mapping[str, Any]) -> str:
    hint = plan.nearest(event)
    return f"an event with {_named(plan, event)} is not planned{hint and f'; {hint}'}"


def _named(plan: Plan, event: Mapping[str, Any]) -> str:
    action = event.get("action")
    names = plan.names(action) if type(action) is str else ()
    values = {name: event[name] for name in names or _USUAL if name in event}
    shown = [f"{name} {value[:_MAX_SHOWN]!r}" for name, value in values.items() if _is_text(value)]
    return ", ".join(shown)


_USUAL = ("action", "module", "feature")


def _is_text(value: Any) -> bool:
    return type(value) is str


def _start_ms(planned: PlannedEvent) -> float:
    """Return the epoch milliseconds at which an event expires: its day begins, in UTC."""
    assert planned.expires is not None
    begin = datetime.datetime.combine(planned.expires, datetime.time(), _UTC)
    return begin.timestamp() * 1000


class Judge:
    """Judge the events of log calls by a plan.

    Args:
        plan: one that does not let every event pass.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._tables = {
            action: [(table.key, _Fits(table.events)) for table in tables]
            for action, tables in plan.tables.items()
        }
        self._judged_names = {
            name
            for planned in plan.events.values()
            for name, expected in planned.properties.items()
            if _is_judged(expected)
        } | {"createdAt"}
        self.refuses: bool = plan.unplanned == "refuse"
        """Whether an event with a problem is not sent."""
        self.problems: Callable[[Mapping[str, Any]], list[Problem]] = self.after(lambda event: [])
        """Return what the function `problems` does; quickly, if there are none."""

    def after(
        self, warnings: Callable[[Mapping[str, Any]], list[Problem]]
    ) -> Callable[[Mapping[str, Any]], list[Problem]]:
        """Return a function that adds the plan's problems to those of another one.

        It is part of every log call that is an event, so it calls as little as possible.
        """
        most_specific = {action: tables[0] for action, tables in self._tables.items()}

        def judged(event: Mapping[str, Any]) -> list[Problem]:
            found = warnings(event)
            try:
                key, fits = most_specific[event["action"]]
                if fits[key(event)](event):
                    return found
            except unless_interrupt(Exception):  # another table, or an unusual event
                pass
            return [*found, *self._judged(event)]

        return judged

    def checks(
        self, fixed: Mapping[str, Any], kinds: Mapping[str, type], derived: frozenset[str]
    ) -> ShapeChecks:
        """Return the checks of a call shape, see `ShapeChecks`."""
        return ShapeChecks(self._plan, fixed, kinds, derived, self._judged_names)

    def _judged(self, event: Mapping[str, Any]) -> list[PlanProblem]:
        try:
            for key, fits in self._tables.get(event["action"], ()):
                try:
                    is_planned = fits[key(event)]
                except KeyError:
                    continue
                if is_planned(event):
                    return []
                break
        except unless_interrupt(Exception):  # an unusual event
            pass
        return problems(self._plan, event)


class _Fits(dict[Any, "Callable[[Mapping[str, Any]], bool]"]):
    """The generated functions of planned events, by the values of their constants."""

    def __init__(self, events: Mapping[Any, PlannedEvent]) -> None:
        super().__init__()
        self._events = events

    def __missing__(self, key: Any) -> Callable[[Mapping[str, Any]], bool]:
        self[key] = fits = _compile(self._events[key])
        return fits


def _compile(planned: PlannedEvent) -> Callable[[Mapping[str, Any]], bool]:
    """Return the function that is true only for events without a problem."""
    bound = _Bound()
    allowed = frozenset({*planned.properties, *planned.event, *schema.REQUIRED})
    lines = [f"if not {bound(allowed)}.issuperset(event): return False"]
    for name, value in planned.constants.items():
        if value in (0, 1):  # True equals 1
            lines.append(
                f"if (type(event[{name!r}]) is bool) != {type(value) is bool}: return False"
            )
    for name, expected in planned.properties.items():
        condition = "" if name in planned.constants else _any_condition(expected, bound)
        # Without a required property it raises a KeyError.
        is_there = expected.required or name in schema.REQUIRED
        before = "" if is_there else f"if {name!r} in event: "
        if condition or expected.required:
            lines.append(f"{before}value = event[{name!r}]")
        if condition:
            before = "" if is_there else f"{name!r} in event and "
            lines.append(f"if {before}not {condition}: return False")
    if planned.expires is not None:
        lines.append(f"if not event['createdAt'] < {_start_ms(planned)}: return False")
    body = "\n    ".join([*lines, "return True"])
    exec(f"def fits(event):\n    {body}\n", bound.values)
    return bound.values["fits"]  # type: ignore[no-any-return]


class _Bound:
    """The values that generated code has names for."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {"none": type(None)}

    def __call__(self, value: Any) -> str:
        for name, other in self.values.items():
            if other is value:
                return name
        name = f"k{len(self.values)}"
        self.values[name] = value
        return name


_KINDS: dict[type, str] = {str: "str", int: "int", float: "float", bool: "bool"}
_OF_JSON = {"string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,)}


def _any_condition(expected: Property, bound: _Bound) -> str:
    """Return the expression that `value` fits a property; "" if every value does."""
    if not _is_judged(expected):
        return ""
    usual = {kind for name in expected.types or _OF_JSON for kind in _OF_JSON.get(name, ())}
    if expected.enum is not None:
        usual &= set(map(type, expected.enum))
    alternatives = []
    for kind in (each for each in _KINDS if each in usual):
        condition = _condition(expected, kind, "value", bound)
        if condition is not None:
            of_kind = f"type(value) is {_KINDS[kind]}"
            alternatives.append(f"({of_kind} and {condition})" if condition else of_kind)
    return f"({' or '.join([*alternatives, f'{bound(expected.problem)}(value) is None'])})"


def _is_judged(expected: Property) -> bool:
    return any((expected.types, expected.enum, _has_bounds(expected), expected.items))


def _has_bounds(expected: Property) -> bool:
    bounds = (expected.minimum, expected.maximum, expected.pattern, expected.max_length)
    return any(bound is not None for bound in bounds)


def _condition(expected: Property, kind: type, value: str, bound: _Bound) -> str | None:
    """Return the expression that a value of an exact type fits; "" for always, None for never."""
    if kind is type(None):
        return "" if expected.problem(None) is None else None
    if expected.types and not any(kind in _OF_JSON.get(name, ()) for name in expected.types):
        # 3.0 is an integer too: rare enough for the function that decides everything.
        is_whole = kind is float and "integer" in expected.types
        return f"{bound(expected.problem)}({value}) is None" if is_whole else None
    if expected.enum is not None:
        # An exact type, or 1 would be true; but 1 is 1.0.
        kinds = (int, float) if kind in (int, float) else (kind,)
        choices = frozenset(each for each in expected.enum if type(each) in kinds)
        return f"{value} in {bound(choices)}" if choices else None
    conditions = []
    if kind is str:
        if expected.max_length is not None:
            conditions.append(f"len({value}) <= {expected.max_length}")
        if expected.pattern is not None:
            conditions.append(f"{bound(expected.matches)}({value})")
    elif kind is not bool:
        if expected.minimum is not None:
            conditions.append(f"{value} >= {expected.minimum!r}")
        if expected.maximum is not None:
            conditions.append(f"{value} <= {expected.maximum!r}")
        if kind is float:  # NaN and the infinities are sent as null
            conditions.append(f"{value} - {value} == 0.0")
    return " and ".join(conditions)


Check = Callable[..., bool]


class ShapeChecks(dict[tuple[Any, ...], "Check | None"]):
    """The checks of one call shape: by the values that identify an event, what else they need.

    A check is None if the shape alone says that the event is as planned. A `KeyError`: `problems`
    decides.

    Args:
        plan: the plan.
        fixed: the properties whose values are always the same.
        kinds: the exact types of the others, with that of `createdAt`.
        derived: the names of properties whose values are not known to the check.
        judged: the names of properties that have conditions in some planned event.
    """

    def __init__(
        self,
        plan: Plan,
        fixed: Mapping[str, Any],
        kinds: Mapping[str, type],
        derived: frozenset[str],
        judged: Set[str],
    ) -> None:
        super().__init__()
        self._plan = plan
        self._fixed = fixed
        self._kinds = kinds
        self._derived = derived
        self._compiled: dict[Any, Check | None] = {}
        self.names: tuple[str, ...] = tuple(
            name for name in plan.names(str(fixed.get("action"))) if name in kinds
        )
        """The properties whose values are a key, in order."""
        self.arguments: tuple[str, ...] = tuple(name for name in kinds if name in judged)
        """The properties whose values are the arguments of a check, in order."""

    def __missing__(self, key: tuple[Any, ...]) -> Check | None:
        event = {**self._fixed, **dict(zip(self.names, key, strict=True))}
        planned = self._plan.find(event)
        if planned is None or len(self) >= _MAX_CHECKS:
            raise KeyError(key)
        # Events that differ in their constants only share a check, which the processor then has
        # in its caches.
        names = (tuple(planned.event), tuple(planned.constants))
        kind = (tuple(map(id, planned.properties.values())), planned.expires, names)
        if kind not in self._compiled:
            self._compiled[kind] = self._compile(planned)
        self[key] = check = self._compiled[kind]
        return check

    def _compile(self, planned: PlannedEvent) -> Check | None:
        names = self._fixed.keys() | self._kinds.keys() | self._derived
        if not all(map(planned.allows, names)):
            raise KeyError(planned.name)
        bound = _Bound()
        variables = {name: f"v{number}" for number, name in enumerate(self.arguments)}
        conditions = []
        for name, expected in planned.properties.items():
            if name in self._kinds:
                variable = variables.get(name, "")  # without one, every value fits
                condition = _condition(expected, self._kinds[name], variable, bound)
            elif name in self._fixed:
                condition = None if expected.problem(self._fixed[name]) else ""
            elif name in self._derived:
                # A string of which nothing more is known.
                is_any = expected.enum is None and not _has_bounds(expected)
                condition = _condition(expected, str, "", bound) if is_any else None
            else:
                condition = None if expected.required else ""
            if condition is None:
                raise KeyError(planned.name)
            if condition and name not in planned.constants:
                conditions.append(condition)
        if planned.expires is not None:
            conditions.append(f"{variables['createdAt']} < {_start_ms(planned)}")
        if not conditions:
            return None
        arguments = ", ".join(variables.values())
        return eval(f"lambda {arguments}: {' and '.join(conditions)}", bound.values)  # type: ignore[no-any-return]
