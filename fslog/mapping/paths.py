"""Paths: where a value is on a record, compiled once and read without calling anything.

A value that is absent differs from one that cannot be read: a default may replace the first, but
never the second.

A path begins with an attribute of the record (`args`, `levelname`, or an extra) and continues with
mapping keys, sequence indexes and attributes: `args.0`, `request.user.id`, `args.{x-tenant}i`. If a
mapping has both (Starlette's requests are mappings of their scope), the key comes first; if there
is nothing, the attribute that its class declares. Other objects with keys (Django's sessions) are
asked for the attribute first: to look for a key may load them. A key may begin with an underscore.
An attribute may not, since it is internal.

Three names differ from the record's attributes: `logger` is the logger's name, `message` the
unformatted message, whatever another handler's formatter has stored in `record.message`, and
`formatted_message` the text with the arguments in it. A step into that text reads the JSON object
in it: `formatted_message.user.id`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, Final

from fslog.interrupts import unless_interrupt

MISSING: Final[Any] = object()
"""The value of a path at which there is nothing."""

Read = Callable[[logging.LogRecord], Any]
"""Return the value at a path of a record, or `MISSING`; raise only `Unreadable`."""

WORDS = {"logger": "name", "message": "msg"}

RECORD_ATTRIBUTES = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {
    "asctime",
    "message",
    "taskName",
}
"""The attributes of every record, which are not extras, on any Python from 3.10 on."""

FORMATTED = "formatted_message"
"""The name of the formatted message, which no record has as an attribute."""

SOURCES = RECORD_ATTRIBUTES | frozenset(WORDS) | {FORMATTED}
"""The names with which a path can begin on any record."""

_MAX_JSON = 65_536
"""Characters of a message. In a longer one, JSON is not read: that takes too long."""

_METHODS_OF_KEYS = ("keys", "__contains__", "__getitem__")

_DECODER = json.JSONDecoder()


def parse(text: object) -> tuple[str, ...]:
    """Split a path into its parts.

    Raises:
        ValueError: it is not a string, has an empty part, begins with a number or an underscore,
            ends with `()`, or has a part such as `__class__`, which can only be internal.

    >>> parse("request.user.id")
    ('request', 'user', 'id')
    """
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not a path; expected a string such as 'request.user.id'")
    return _parse(text)


@lru_cache(maxsize=1_024)
def _parse(text: str) -> tuple[str, ...]:
    parts = tuple(text.split("."))
    if not all(parts):
        raise ValueError(f"the path {text!r} has an empty part")
    if parts[0].isdigit():
        raise ValueError(f"the path {text!r} begins with a number: a record has no such attribute")
    if parts[-1].endswith("()"):
        raise ValueError(f"the path {text!r} ends with a call: reading a path calls nothing")
    if parts[0].startswith("_"):
        raise ValueError(f"the path {text!r} begins with an underscore, as internal names do")
    if any(part.startswith("__") and part.endswith("__") for part in parts):
        raise ValueError(f"the path {text!r} has a part that is internal: it has two underscores")
    return parts


class Unreadable(Exception):
    """A value exists and cannot be read, because the application's code raised.

    Args:
        place: the path, or another name in the configuration.
        error: the exception.

    >>> str(Unreadable("request.user.id", RuntimeError("no database")))
    'request.user.id raised RuntimeError: no database'
    """

    def __init__(self, place: str, error: Exception) -> None:
        super().__init__(place, error)
        self.place = place
        self.error = error

    def __str__(self) -> str:
        try:
            text = str(self.error)
        except unless_interrupt(Exception):  # the application's own exception
            text = ""
        return f"{self.place} raised {type(self.error).__name__}{text and f': {text}'}"


def compile_path(text: object) -> Read:
    """Compile a path into a function that reads it.

    The function changes nothing: a missing key is not looked up (a `defaultdict` would create it),
    and a callable, which would have to be called, counts as missing.

    It raises `Unreadable` if a property, `__getattr__` or mapping raises. An `AttributeError` means
    that nothing is there, unless a property of that name raises it.

    Raises:
        ValueError: as `parse` does.

    >>> record = logging.LogRecord("app", 20, "", 0, "sold %d", (3,), None)
    >>> compile_path("args.0")(record), compile_path("args.1")(record) is MISSING
    (3, True)
    """
    parse(text)
    return _reader(str(text))


@lru_cache(maxsize=1_024)
def _reader(text: str) -> Read:
    first, *rest = parse(text)
    first = WORDS.get(first, first)
    steps = tuple(
        (part, int(part) if part.isdecimal() else None, number)
        for number, part in enumerate(rest, 1)
    )
    place = str(text)
    read_first: Callable[[logging.LogRecord, str, Any], Any] = getattr
    if first == FORMATTED:
        read_first = _json_of_message if rest else _formatted_message

    def read(record: logging.LogRecord) -> Any:
        others: list[tuple[Any, str, Any, int]] | None = None
        ahead = steps
        try:
            value = read_first(record, first, MISSING)
            if value is MISSING:
                value = _absent(record, first)
            while True:
                for part, index, number in ahead:
                    if value is MISSING:
                        break
                    holder = value
                    if isinstance(holder, Mapping):
                        value = _item(holder, part, index)
                        # A dict has no attributes but methods; with an underscore, it is a key.
                        if type(holder) is not dict and part[0] != "_":
                            others = others or []
                            others.append((holder, part, value, number))
                    elif index is not None and isinstance(holder, (tuple, list)):
                        value = _element(holder, index)
                    else:
                        value = _attribute_or_item(holder, part, index)
                if value is not MISSING and not callable(value):
                    return value
                if not others:
                    return MISSING
                holder, part, seen, number = others.pop()
                value, ahead = _declared(holder, part), steps[number:]
                if value is seen:  # it has been tried already
                    value = MISSING
        except unless_interrupt(Exception) as error:
            # From the application's own attributes.
            raise Unreadable(place, error) from error

    return read


def _formatted_message(record: logging.LogRecord, name: str, absent: Any) -> Any:
    return record.getMessage()


def _json_of_message(record: logging.LogRecord, name: str, absent: Any) -> Any:
    """Return the JSON object that begins with the first brace of the formatted message."""
    text = record.getMessage()
    start = text.find("{")
    if start < 0 or len(text) > _MAX_JSON:
        return absent
    try:
        return _DECODER.raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return absent


def _attribute_or_item(value: Any, part: str, index: int | None) -> Any:
    """Return an attribute, or else the item of an object that has keys but is not a `Mapping`."""
    if part[0] != "_":
        found = getattr(value, part, MISSING)
        if found is MISSING:
            found = _absent(value, part)
        if found is not MISSING:
            return found
    has_keys = all(_definition(value, name) is not MISSING for name in _METHODS_OF_KEYS)
    return _item(value, part, index) if has_keys else MISSING


def _element(items: Any, index: int) -> Any:
    try:
        return items[index] if index < len(items) else MISSING
    except IndexError:
        if index < len(items):  # else another thread has shortened it meanwhile
            raise
        return MISSING


def _item(mapping: Any, part: str, index: int | None) -> Any:
    key: Any = part
    if key not in mapping:
        if index is None or index not in mapping:
            return MISSING
        key = index
    try:
        return mapping[key]
    except KeyError:
        if key in mapping:  # else another thread has removed it meanwhile
            raise
        return MISSING


def _absent(value: Any, name: str) -> Any:
    """Return `MISSING` for an attribute that `getattr` did not find, if it does not exist."""
    if _is_computed(_definition(value, name)):
        try:
            return getattr(value, name)
        except AttributeError as error:
            # A subclass is raised on purpose: Django's `RelatedObjectDoesNotExist` means that there
            # is no value.
            if type(error) is AttributeError:
                raise
    return MISSING


def _declared(mapping: Any, name: str) -> Any:
    """Return an attribute of a mapping, but not one that its `__getattr__` would compute."""
    if _definition(mapping, name) is MISSING and name not in getattr(mapping, "__dict__", ()):
        return MISSING
    value = getattr(mapping, name, MISSING)
    return _absent(mapping, name) if value is MISSING else value


def _definition(value: Any, name: str) -> Any:
    """Return the class attribute of that name, without calling a descriptor."""
    for kind in (type(value), value.__class__):  # a proxy has the class of its target
        for base in getattr(kind, "__mro__", ()):
            if name in base.__dict__:
                return base.__dict__[name]
    return MISSING


def _is_computed(definition: Any) -> bool:
    # For a slot, or a descriptor in C, an AttributeError means that it is not set.
    return definition is not MISSING and not isinstance(
        definition, (MemberDescriptorType, GetSetDescriptorType)
    )
