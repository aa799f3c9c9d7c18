"""A plan's events and properties as guesses from events, each with how often it was seen.

The result depends on the events, not on their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from fslog.mapping.schema import REQUIRED

IDENTIFYING = ("action", "module", "feature")
"""The properties whose values tell events apart, up to the first that is no text of an event."""

MOST_NAMES = 200
"""An action with more modules, or a module with more features, has ids in them: it is one event."""

MOST_VALUES = 8
FEWEST_SEEN = 3
LONGEST_VALUE = 40
"""An enum is a guess for texts of this length, at most so many, each seen at least so often."""

_MOST_PROPERTIES = 200

TYPES = ("string", "integer", "number", "boolean", "object", "array", "null")


def type_of(value: Any) -> str:
    """Return the JSON type of a value from JSON.

    >>> [type_of(value) for value in ("a", 1, 1.0, True, {}, [], None)]
    ['string', 'integer', 'number', 'boolean', 'object', 'array', 'null']
    """
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "integer" if isinstance(value, int) else "number"
    if value is None or isinstance(value, str):
        return "null" if value is None else "string"
    return "object" if isinstance(value, Mapping) else "array"


class Values:
    """The values of one property.

    Args:
        is_nested: whether they are elements of arrays, whose own elements do not count.
    """

    def __init__(self, is_nested: bool = False) -> None:
        self.count: int = 0
        self._types: Counter[str] = Counter()
        self._texts: Counter[str] | None = None if is_nested else Counter()  # None: no enum
        self._items = None if is_nested else Values(is_nested=True)

    def add(self, value: Any, times: int = 1) -> None:
        """Count a value."""
        kind = type_of(value)
        self.count += times
        self._types[kind] += times
        if kind == "string":
            self._add_text(value, times)
        elif kind == "array" and self._items is not None:
            for item in value:
                self._items.add(item, times)

    def _add_text(self, text: str, times: int) -> None:
        if self._texts is None:
            return
        # An e-mail address is somebody's, and does not belong into a plan.
        if len(text) > LONGEST_VALUE or "@" in text or not text.isprintable():
            self._texts = None
            return
        self._texts[text] += times
        if len(self._texts) > MOST_VALUES:
            self._texts = None

    def merge(self, other: Values) -> None:
        """Count the values of another property, too."""
        self.count += other.count
        self._types += other._types
        if self._texts is None or other._texts is None:
            self._texts = None
        else:
            for text, times in other._texts.items():
                self._add_text(text, times)
        if self._items is not None and other._items is not None:
            self._items.merge(other._items)

    def keywords(self) -> dict[str, Any]:
        """Return the property's keywords, without `required`.

        >>> values = Values()
        >>> for _ in range(3): values.add("csv"); values.add("xlsx")
        >>> values.keywords()
        {'type': 'string', 'enum': ['csv', 'xlsx']}
        """
        kinds = [kind for kind in TYPES if kind in self._types]
        if "number" in kinds and "integer" in kinds:  # JSON Schema's number includes integers
            kinds.remove("integer")
        found: dict[str, Any] = {}
        if kinds:
            found["type"] = kinds[0] if len(kinds) == 1 else kinds
        if kinds == ["string"] and self.values():
            found["enum"] = sorted(self.values())
        if "array" in kinds and self._items is not None:
            if items := self._items.keywords():
                found["items"] = items
        return found

    def is_within(self, keywords: Mapping[str, Any]) -> bool:
        """Return whether these keywords say no less than the property's own."""
        own, allowed = self.keywords(), keywords.get("enum")
        if own.get("type") != keywords.get("type") or own.get("enum", allowed) != allowed:
            return False
        return allowed is None or {*(self._texts or ())} <= {*allowed}

    def values(self) -> Mapping[str, int]:
        """Return how often each value of the enum was seen; empty if no enum is guessed."""
        seen: Mapping[str, int] = self._texts or {}
        return seen if all(times >= FEWEST_SEEN for times in seen.values()) else {}


class Kind:
    """Events that have the same action, module and feature.

    Args:
        constants: those of these properties that tell it apart.
    """

    def __init__(self, constants: Mapping[str, str]) -> None:
        self.constants: Mapping[str, str] = constants
        self.count: int = 0
        self.first: float | None = None
        self.last: float | None = None
        self.others: int = 0
        """How many values belong to properties of which there are too many."""
        self._properties: dict[str, Values] = {}

    @property
    def properties(self) -> Mapping[str, Values]:
        """Its properties by name, in alphabetical order."""
        return dict(sorted(self._properties.items()))

    def add(self, event: Mapping[str, Any]) -> None:
        """Count an event."""
        self.count += 1
        self._extend_period(event["createdAt"], event["createdAt"])
        for name, value in event.items():
            # A plan has no property whose name is blank.
            if name not in self.constants and name not in REQUIRED and name.strip():
                self._add(name, value)

    def _add(self, name: str, value: Any, times: int = 1) -> None:
        if name not in self._properties and len(self._properties) >= _MOST_PROPERTIES:
            self.others += times
        else:
            self._properties.setdefault(name, Values()).add(value, times)

    def _extend_period(self, first: float, last: float) -> None:
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)

    def merge(self, other: Kind) -> None:
        """Count the events of another kind, too; constants that it has in addition are values."""
        self.count += other.count
        if other.first is not None and other.last is not None:
            self._extend_period(other.first, other.last)
        for name in other.constants.keys() - self.constants.keys():
            self._add(name, other.constants[name], other.count)
        for name, values in other._properties.items():
            self._properties.setdefault(name, Values()).merge(values)

    def remove(self, name: str) -> None:
        """Forget a property."""
        del self._properties[name]

    def is_required(self, name: str) -> bool:
        """Return whether each event has the property."""
        return self._properties[name].count == self.count

    def keywords(self, name: str) -> dict[str, Any]:
        """Return the keywords of a property, `required` if each event has it."""
        required = {"required": True} if self.is_required(name) else {}
        return {**self._properties[name].keywords(), **required}


_Place = tuple[str, "str | None", "str | None"]


class Inference:
    """Kinds of events, found in a stream of valid events."""

    def __init__(self) -> None:
        self._kinds: dict[_Place, Kind] = {}
        self._children: dict[_Place, set[str]] = {}
        self._merged: set[_Place] = set()

    def add(self, event: Mapping[str, Any]) -> None:
        """Count an event."""
        self._kind(self._place(event)).add(event)

    def kinds(self) -> list[Kind]:
        """Return the kinds, in alphabetical order of action, module and feature."""
        return [self._kinds[place] for place in sorted(self._kinds, key=_order)]

    def common(self) -> Kind | None:
        """Return what all events have, with the same keywords; None for a single kind."""
        kinds = self.kinds()
        if len(kinds) < 2:
            return None
        whole = Kind({})
        for kind in kinds:
            whole.merge(kind)
        for name, values in whole.properties.items():
            keywords = values.keywords()
            parts = [kind.properties.get(name) for kind in kinds]
            is_common = all(part is not None and part.is_within(keywords) for part in parts)
            if not (is_common and whole.is_required(name)):
                whole.remove(name)
        return whole if whole.properties else None

    def _kind(self, place: _Place) -> Kind:
        found = self._kinds.get(place)
        if found is None:
            pairs = zip(IDENTIFYING, place, strict=True)
            found = Kind({name: value for name, value in pairs if value is not None})
            self._kinds[place] = found
        return found

    def _place(self, event: Mapping[str, Any]) -> _Place:
        module, feature = _text(event, "module"), _text(event, "feature")
        action: str = event["action"]
        for parent, child in (((action, None, None), module), ((action, module, None), feature)):
            if child is None or self._has_ids(parent, child):
                return parent
        return action, module, feature

    def _has_ids(self, parent: _Place, child: str) -> bool:
        """Return whether there are too many names below a place to be names."""
        if parent not in self._merged:
            names = self._children.setdefault(parent, set())
            names.add(child)
            if len(names) > MOST_NAMES:
                self._merge(parent)
        return parent in self._merged

    def _merge(self, parent: _Place) -> None:
        """Make one kind of all kinds below a place."""
        self._merged.add(parent)
        length = 1 if parent[1] is None else 2
        for one in [one for one in self._children if one[:length] == parent[:length]]:
            del self._children[one]
        below = [one for one in self._kinds if one[:length] == parent[:length] and one != parent]
        into = self._kind(parent)
        for place in below:
            into.merge(self._kinds.pop(place))


def _order(place: _Place) -> tuple[str, ...]:
    return tuple(part or "" for part in place)


def _text(event: Mapping[str, Any], name: str) -> str | None:
    value = event.get(name)
    return value if isinstance(value, str) and value else None


def name_of(constants: Mapping[str, str]) -> str:
    """Return a name for a kind of events.

    >>> name_of({"action": "feature", "module": "reports", "feature": "export"})
    'reports / export'
    >>> name_of({"action": "moduleEnd", "module": "reports"}), name_of({"action": "sale"})
    ('time in reports', 'sale')
    """
    action = constants["action"]
    rest = " / ".join(constants[name] for name in IDENTIFYING[1:] if name in constants)
    if action == "moduleEnd" and rest:
        return f"time in {rest}"
    name = rest if action == "feature" and rest else f"{action} {rest}"
    return name.strip() or "blank"
