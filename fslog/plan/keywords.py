"""Properties of planned events: the keywords of JSON Schema that a plan may use.

The keywords are `type`, `enum`, `minimum`, `maximum`, `pattern`, `maxLength`, `items`, `required`
and `description`. They mean what they mean in JSON Schema, with two differences: `required` is a
boolean of the property, and a keyword that cannot apply to any of the property's types is an error.
A value is checked as the JSON value that fslog sends for it. One keyword is not JSON Schema's:
`pii` says what becomes of personal data before that, as the argument `redact` does.

>>> total = compile_property("report exported", "total", {"type": "integer", "minimum": 1})
>>> total.problem(3), total.problem(0)
(None, ('property_value', 'total is 0; expected at least 1'))
>>> total.problem("3")
('property_type', 'total is a string; expected an integer')
"""

from __future__ import annotations

import marshal
import math
import re
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from fslog.config import did_you_mean, one_of
from fslog.interrupts import unless_interrupt
from fslog.mapping import privacy
from fslog.mapping.encoding import plain

TYPES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "a boolean",
    "object": "an object",
    "array": "an array",
    "null": "null",
}
"""The types of JSON Schema, and their names in messages."""

_APPLY = {
    "minimum": ("integer", "number"),
    "maximum": ("integer", "number"),
    "pattern": ("string",),
    "maxLength": ("string",),
    "items": ("array",),
}
"""The keywords that say something of values of some types only."""

KEYWORDS = ("type", "enum", *_APPLY, "required", "pii", "description")
"""The keywords that a property may have."""

_ALONE = {name: frozenset({name}) for name in TYPES}

_SYNONYMS = {
    "str": "string",
    "text": "string",
    "int": "integer",
    "float": "number",
    "double": "number",
    "bool": "boolean",
    "dict": "object",
    "map": "object",
    "list": "array",
    "none": "null",
}
"""What other languages call the types."""

_MAX_SHOWN = 40
_MAX_CHOICES = 10
_MAX_PLAIN = 4
_MAX_KEPT = 1_000


@dataclass(frozen=True)
class Property:
    """What is planned for one property.

    Args:
        name: as in the event.
        types: names of JSON Schema's types; empty for a value of any type.
        enum: the allowed values; None for any.
        minimum, maximum: bounds of a number, both included.
        pattern: a regular expression that is searched in a string, by Python's `re`.
        max_length: the most characters of a string.
        items: what is planned for each item of an array.
        required: whether an event without the property has a problem.
        description: for people.
        pii: what becomes of its value, see `fslog.mapping.privacy`; None: the plan does not say.
    """

    name: str
    types: frozenset[str] = frozenset()
    enum: tuple[Any, ...] | None = None
    minimum: int | float | None = None
    maximum: int | float | None = None
    pattern: str | None = None
    max_length: int | None = None
    items: Property | None = None
    required: bool = False
    description: str = ""
    pii: str | None = None

    @cached_property
    def matches(self) -> Callable[[str], bool]:
        """Return whether the pattern is found in a string; of the same strings, mostly."""
        search = _compiled(self.pattern or "").search
        return lru_cache(maxsize=_MAX_KEPT)(lambda value: search(value) is not None)

    @cached_property
    def expected(self) -> str:
        """The allowed types in words: `a string or null`."""
        return _alternatives(TYPES[name] for name in TYPES if name in self.types)

    def problem(self, value: Any) -> tuple[str, str] | None:
        """Return the code and the message of what is wrong with a value; None if it fits.

        The code is `property_type` or `property_value`. Messages show numbers, and strings where
        one of a few is expected, but no other string: it may be personal data.
        """
        return self._problem(as_sent(value), self.name)

    def _problem(self, value: Any, name: str) -> tuple[str, str] | None:
        types = types_of(value)
        if self.types and not self.types & types:
            is_fraction = "integer" in self.types and "number" in types
            found = _shown(value) if is_fraction else TYPES[min(types)]
            return "property_type", f"{name} is {found}; expected {self.expected}"
        if self.enum is not None and not any(_equal(value, each) for each in self.enum):
            return "property_value", f"{name} is {_shown(value)}; expected {self._choices(value)}"
        if "number" in types:
            message = self._number_problem(value)
        elif "string" in types:
            message = self._string_problem(value)
        elif "array" in types and self.items is not None:
            return self._items_problem(value, name, self.items)
        else:
            message = None
        return None if message is None else ("property_value", f"{name} {message}")

    def _number_problem(self, value: int | float) -> str | None:
        if self.minimum is not None and value < self.minimum:
            return f"is {_shown(value)}; expected at least {self.minimum}"
        if self.maximum is not None and value > self.maximum:
            return f"is {_shown(value)}; expected at most {self.maximum}"
        return None

    def _string_problem(self, value: str) -> str | None:
        if self.max_length is not None and len(value) > self.max_length:
            return f"has {len(value)} characters; expected at most {self.max_length}"
        if self.pattern is not None and not self.matches(value):
            return f"does not match the pattern {self.pattern}"
        return None

    def _items_problem(self, value: Any, name: str, items: Property) -> tuple[str, str] | None:
        for index, item in enumerate(value):
            found = items._problem(as_sent(item), f"{name}[{index}]")
            if found is not None:
                return found
        return None

    def _choices(self, value: Any) -> str:
        choices = self.enum or ()
        words = ", ".join(map(repr, choices[:_MAX_CHOICES]))
        if len(choices) > _MAX_CHOICES:
            words += f"... ({len(choices)} in all)"
        hint = ""
        if isinstance(value, str) and len(value) <= _MAX_SHOWN:
            hint = did_you_mean(value, [each for each in choices if isinstance(each, str)])
        return f"{words}{hint}" if len(choices) == 1 else f"one of {words}{hint}"


def as_sent(value: Any) -> Any:
    """Return the JSON value that is sent for a value; containers keep their items.

    >>> as_sent(b"csv"), as_sent(float("nan")), as_sent({1})
    ('csv', None, [1])
    """
    try:
        for _ in range(_MAX_PLAIN):
            kind = type(value)
            if value is None or kind is bool or kind is str or kind is int:
                return value
            if issubclass(kind, str):
                return str.__str__(value)
            if issubclass(kind, float):
                return float.__pos__(value) if math.isfinite(value) else None
            if issubclass(kind, int):
                return int.__add__(value, 0)
            if issubclass(kind, (Mapping, list, tuple)):
                return value
            value = list(value) if issubclass(kind, Set) else plain(value)
    except unless_interrupt(Exception):  # the value's own methods
        pass
    return "?"


def types_of(value: Any) -> frozenset[str]:
    """Return the types that a JSON value has: `integer` and `number` for 3 and for 3.0."""
    if value is None:
        return _NULL
    kind = type(value)
    if kind is bool:
        return _BOOLEAN
    if kind is str:
        return _STRING
    if kind is int or (kind is float and value.is_integer()):
        return _INTEGER
    if kind is float:
        return _NUMBER
    return _OBJECT if issubclass(kind, Mapping) else _ARRAY


_NULL, _BOOLEAN, _STRING = frozenset({"null"}), frozenset({"boolean"}), frozenset({"string"})
_INTEGER, _NUMBER = frozenset({"integer", "number"}), frozenset({"number"})
_OBJECT, _ARRAY = frozenset({"object"}), frozenset({"array"})


def compile_property(
    event: str, name: str, given: Any, compiled: dict[Any, Property] | None = None
) -> Property:
    """Compile what a plan says of one property.

    Args:
        event: the planned event's name; "" for a property that is common to all.
        name: the property's name.
        given: its keywords; None for a property with any value.
        compiled: the properties of other events: of equal keywords one is made.

    Raises:
        TypeError, ValueError: a keyword that is unknown, or has a wrong type or value. The message
            names the event, the property, the keyword, the value and what is allowed.
    """
    key = None if compiled is None else _key(name, given)
    found = compiled.get(key) if compiled and key else None
    if found is None:
        found = _checked(property_place(event, name), name, {} if given is None else given)
        if compiled is not None and key is not None:
            compiled[key] = found
    return found


def _key(name: str, given: Any) -> Any:
    try:
        # These bytes tell 1 from True, which it equals in Python.
        return name, marshal.dumps(given, 2)
    except ValueError:  # a value that no JSON has, such as a date
        return None


def property_place(event: str, name: str) -> str:
    """Return what a property is called in messages."""
    return f"events.{event}.properties.{name}" if event else f"common.{name}"


def _checked(place: str, name: str, given: Any) -> Property:
    found = _compile(place, name, given)
    if found.pii == "drop" and found.required:
        raise ValueError(f"{place} is required, but its pii is 'drop': no event would have it")
    problem = found.problem(privacy.EXAMPLE) if found.pii == "hash" else None
    if problem is not None:
        raise ValueError(
            f"{place}.pii is 'hash', but a hash, which is a string of {len(privacy.EXAMPLE)} "
            f"hexadecimal digits, is not allowed: {problem[1]}"
        )
    return found


def _compile(place: str, name: str, given: Any) -> Property:
    if not isinstance(given, (dict, Mapping)):  # of a dict this is quicker
        hint = f"; did you mean {{type: {given}}}?" if given in list(TYPES) else ""
        raise TypeError(f"{place} is {_type(given)}; expected a mapping of keywords{hint}")
    for keyword in given:
        if keyword not in KEYWORDS:
            raise ValueError(
                f"{place} has the unknown keyword {keyword!r}; expected {', '.join(KEYWORDS)}"
                f"{did_you_mean(keyword, KEYWORDS)}"
            )
    types = _types(place, given.get("type"))
    for keyword, applicable in _APPLY.items():
        if types and keyword in given and types.isdisjoint(applicable):
            raise ValueError(
                f"{place}.{keyword} has no effect: the type is {_words(sorted(types))}; expected "
                f"{_alternatives(map(repr, applicable))}"
            )
    parts: dict[str, Any] = {"name": name, "types": types}
    if "items" in given:
        items = _compile(f"{place}.items", name, given["items"])
        if items.pii is not None:
            raise ValueError(f"{place}.items.pii has no effect; expected {place}.pii")
        parts["items"] = items
    for keyword, (argument, check) in _CHECKS.items():
        if keyword in given:
            parts[argument] = check(f"{place}.{keyword}", given[keyword])
    found = Property(**parts)
    if None not in (found.minimum, found.maximum) and found.minimum > found.maximum:  # type: ignore[operator]
        raise ValueError(
            f"{place}.minimum is {found.minimum}; expected at most maximum, {found.maximum}"
        )
    return Property(**parts, enum=_enum(place, found, given)) if "enum" in given else found


def _types(place: str, given: Any) -> frozenset[str]:
    if given is None:
        return frozenset()
    if isinstance(given, str) and given in _ALONE:
        return _ALONE[given]
    names = given if isinstance(given, (list, tuple)) else [given]
    if not names:
        raise ValueError(f"{place}.type is an empty list; expected {_words(TYPES)}")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{place}.type is {_type(name)}; expected {_words(TYPES)}")
        if name not in TYPES:
            meant = _SYNONYMS.get(name.lower())
            hint = f"; did you mean {meant!r}?" if meant else did_you_mean(name, TYPES)
            raise ValueError(f"{place}.type is {name!r}; expected {_words(TYPES)}{hint}")
    return frozenset(names)


def _bound(place: str, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{place} is {_actual(value)}; expected a number")
    if not math.isfinite(value):
        raise ValueError(f"{place} is {value}; expected a finite number")
    return value


def _pattern(place: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{place} is {_actual(value)}; expected a regular expression")
    try:
        _compiled(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{place} is {value!r}; expected a regular expression: {error}") from None
    return value


def _length(place: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{place} is {_actual(value)}; expected a whole number")
    if value < 0:
        raise ValueError(f"{place} is {value}; expected 0 or more")
    return value


def _required(place: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{place} is {_actual(value)}; expected true or false")
    return value


def _enum(place: str, found: Property, given: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the values of an `enum`, each of which must fit the other keywords."""
    values = given["enum"]
    if not isinstance(values, (list, tuple)):
        raise TypeError(f"{place}.enum is {_actual(values)}; expected a list of values")
    if not values:
        raise ValueError(f"{place}.enum is an empty list; expected the allowed values")
    for index, value in enumerate(values):
        problem = found._problem(as_sent(value), f"{place}.enum[{index}]")
        if problem is not None:
            raise ValueError(problem[1])
    return tuple(map(as_sent, values))


def text(place: str, value: Any) -> str:
    """Return a string, or "" for None.

    Raises:
        TypeError: it is neither.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"{place} is {_actual(value)}; expected a string")
    return value


_CHECKS: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "minimum": ("minimum", _bound),
    "maximum": ("maximum", _bound),
    "pattern": ("pattern", _pattern),
    "maxLength": ("max_length", _length),
    "required": ("required", _required),
    "description": ("description", text),
    "pii": ("pii", lambda place, value: one_of(place, value, privacy.ACTIONS)),
}
"""By keyword: the argument of `Property`, and what checks the value."""


@lru_cache(maxsize=4_096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _equal(value: Any, other: Any) -> bool:
    # JSON's true is not 1, which it equals in Python.
    return bool(value == other) and (type(value) is bool) == (type(other) is bool)


def _shown(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return repr(value if len(value) <= _MAX_SHOWN else f"{value[:_MAX_SHOWN]}...")
    if kind in (int, float, bool):
        try:
            return repr(value)
        except ValueError:  # more digits than sys.get_int_max_str_digits() allows
            return "a number of thousands of digits"
    return TYPES[min(types_of(value))]


def _actual(value: Any) -> str:
    if isinstance(value, (str, int, float)):
        return repr(value)
    return _type(value)


def _type(value: Any) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


def _words(words: Iterable[str]) -> str:
    return ", ".join(map(repr, words))


def _alternatives(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last
