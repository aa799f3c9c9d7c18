"""What changes between two plans, and what of it is breaking.

A change is breaking if an event that was as planned no longer is, if log calls that made an event
no longer make it, or if personal data is sent in another form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fslog.plan.keywords import TYPES, Property
from fslog.plan.plan import Plan, PlannedEvent


@dataclass(frozen=True)
class Change:
    """One difference.

    Args:
        is_breaking: see above.
        event: the planned event's name in the new plan, or in the old one if it was removed;
            `"common"` for what all events have, `""` for the plan itself.
        property: `""` for the event itself.
        message: a sentence without its subject.
    """

    is_breaking: bool
    event: str
    property: str
    message: str


def changes(old: Plan, new: Plan) -> list[Change]:
    """Return the differences in the order of the new plan, with what was removed at the end."""
    found = [*_of_plan(old, new)]
    found += _of_properties("common", old.common, new.common)
    sources: dict[str, list[PlannedEvent]] = {}
    for was in old.events.values():
        now = new.find(was.constants)
        if now is not None:
            sources.setdefault(now.name, []).append(was)
    for now in new.events.values():
        before = sources.get(now.name, [])
        if not before:
            found += _added(now, old, new)
        for was in before:
            found += _of_event(was, now, old, new)
    for was in old.events.values():
        if new.find(was.constants) is None:
            found.append(_removed(was, new))
    return found


def _of_plan(old: Plan, new: Plan) -> Iterator[Change]:
    if old.unplanned != new.unplanned:
        text = f"unplanned is {new.unplanned}, formerly {old.unplanned}"
        yield Change(new.unplanned == "refuse", "", "", text)


def _added(now: PlannedEvent, old: Plan, new: Plan) -> Iterator[Change]:
    was = old.find(now.constants)
    if was is None:
        yield Change(False, now.name, "", "is added")
        return
    yield Change(False, now.name, "", f"is added: formerly part of {was.name}")
    yield from _of_event_properties(was, now, old, new)


def _removed(was: PlannedEvent, new: Plan) -> Change:
    now = new.events.get(was.name)
    if now is None:
        return Change(True, was.name, "", "is removed")
    return Change(True, was.name, "", f"is {now.label}, formerly {was.label}")


def _of_event(was: PlannedEvent, now: PlannedEvent, old: Plan, new: Plan) -> Iterator[Change]:
    if was.name != now.name:
        is_same = was.constants == now.constants
        verb = "is renamed" if is_same and was.name not in new.events else "is now part of it"
        yield Change(False, now.name, "", f"{was.name} {verb}")
    yield from _of_rule(was, now)
    yield from _of_event_properties(was, now, old, new)
    for name in ("description", "owner", "since", "expires"):
        if getattr(was, name) != getattr(now, name):
            yield Change(False, now.name, "", f"{name} is changed")


def _of_rule(was: PlannedEvent, now: PlannedEvent) -> Iterator[Change]:
    if was.when is not None and now.when is None:
        yield Change(True, now.name, "", "has no rule any more: log calls that exist made it")
    elif was.rule() != now.rule():
        verb = "changed" if was.when is not None else "added"
        yield Change(False, now.name, "", f"its rule is {verb}")


def _of_event_properties(
    was: PlannedEvent, now: PlannedEvent, old: Plan, new: Plan
) -> Iterator[Change]:
    """Yield the changes of an event's own properties, those of `common` left out."""
    before, after = _properties(was, now), _properties(now, now)
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) is old.common.get(name) and after.get(name) is new.common.get(name):
            before.pop(name, None)
            after.pop(name, None)
    yield from _of_properties(now.name, before, after)


def _properties(event: PlannedEvent, now: PlannedEvent) -> dict[str, Property]:
    """Return what an event may have, without what identifies the new event."""
    found = {}
    for name in event.event:
        value = event.constants.get(name)
        found[name] = Property(name, enum=None if value is None else (value,), required=True)
    found |= event.properties
    return {name: one for name, one in found.items() if name not in now.constants}


def _of_properties(
    event: str, old: Mapping[str, Property], new: Mapping[str, Property]
) -> Iterator[Change]:
    for name, now in new.items():
        was = old.get(name)
        if was is None:
            text = "is added and required" if now.required else "is added"
            yield Change(now.required, event, name, text)
            continue
        if now.required != was.required:
            text = "is required, formerly optional" if now.required else "is optional"
            yield Change(now.required, event, name, text)
        for is_breaking, text in _of_values(was, now):
            yield Change(is_breaking, event, name, text)
        if now.pii != was.pii:
            # A hashed id is another person for who reads it; one that is kept now leaves.
            is_other = (now.pii or "keep") != (was.pii or "keep")
            yield Change(is_other, event, name, f"has the pii {_changed(was.pii, now.pii)}")
        if now.description != was.description:
            yield Change(False, event, name, "description is changed")
    for name in old:
        if name not in new:
            yield Change(True, event, name, "is removed")


def _of_values(was: Property, now: Property) -> Iterator[tuple[bool, str]]:
    """Yield what is said differently of a property's values, and whether it is narrower."""
    if was.enum is not None:
        lost = [value for value in was.enum if now.problem(value) is not None]
        if lost:
            yield True, f"no longer allows {_listed(lost)}"
    if now.types != was.types:
        is_narrower = was.enum is None and not _types(was) <= _types(now)
        yield is_narrower, f"has the type {_type(now)}, formerly {_type(was)}"
    if now.enum != was.enum:
        if was.enum is None:
            yield True, f"allows only {_listed(now.enum or ())}"
        elif now.enum is None:
            yield False, "allows other values, too"
        elif more := [value for value in now.enum if was.problem(value) is not None]:
            yield False, f"allows {_listed(more)}, too"
    for name, is_narrower in _bounds(was, now):
        text = _changed(getattr(was, name), getattr(now, name))
        yield is_narrower and was.enum is None, f"has the {_KEYWORDS.get(name, name)} {text}"
    if was.items != now.items:
        yield from _of_items(was, now)


_KEYWORDS = {"max_length": "maxLength"}


def _bounds(was: Property, now: Property) -> Iterator[tuple[str, bool]]:
    """Yield which bounds differ, and whether the new one allows less of what was allowed."""
    has_numbers = bool(_types(was) & {"integer", "number"})
    has_texts = "string" in _types(was)
    if now.minimum != was.minimum:
        is_lower = now.minimum is None or (was.minimum is not None and now.minimum < was.minimum)
        yield "minimum", has_numbers and not is_lower
    if now.maximum != was.maximum:
        is_higher = now.maximum is None or (was.maximum is not None and now.maximum > was.maximum)
        yield "maximum", has_numbers and not is_higher
    if now.max_length != was.max_length:
        is_longer = now.max_length is None or (
            was.max_length is not None and now.max_length > was.max_length
        )
        yield "max_length", has_texts and not is_longer
    if now.pattern != was.pattern:
        yield "pattern", has_texts and now.pattern is not None


def _of_items(was: Property, now: Property) -> Iterator[tuple[bool, str]]:
    anything = Property(now.name)
    for is_breaking, text in _of_values(was.items or anything, now.items or anything):
        yield is_breaking and "array" in _types(was), f"items: {text}"


def _types(one: Property) -> frozenset[str]:
    """Return the types that values may have; `number` includes `integer`."""
    types = one.types or frozenset(TYPES)
    return types | {"integer"} if "number" in types else types


def _type(one: Property) -> str:
    return " or ".join(name for name in TYPES if name in one.types) or "any"


def _changed(was: Any, now: Any) -> str:
    return f"{_shown(now)}, formerly {_shown(was)}"


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def _listed(values: Any) -> str:
    return ", ".join(map(repr, values))
