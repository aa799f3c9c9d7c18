"""Strict JSON for an event's values, whatever they are.

Encoding is the snapshot of an event and the last step that reads its values, so it is total: it
never raises, never emits a bare NaN or a lone surrogate, never loops on a cycle. A value without a
JSON type becomes the nearest one: a time its ISO text, a set a list, a Decimal a number, NaN and
the infinities `null`, anything else its `str`.

There are two paths. The standard library's C encoder, made once, encodes what programs normally
log. If it fails, or would recurse too deep for a thread's stack, the value is rebuilt from plain
types and encoded again. If no lock keeps other threads out of the C encoder, it gets copies.
"""

from __future__ import annotations

import codecs
import dataclasses
import datetime
import enum
import itertools
import json
import json.encoder
import math
import numbers
import sys
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Set
from decimal import Decimal
from functools import partial
from typing import Any

from pythonjsonlogger import defaults

from fslog.interrupts import unless_interrupt

MAX_DEPTH = 64
"""Maximum depth of containers; a deeper one is replaced by its type's name."""

MAX_VALUES = 100_000
"""Maximum number of values of an event that are rebuilt."""

_SMALL = 1_000_000
"""Maximum number of values in a line: shared containers can make many of few."""

_ATOMS = frozenset({str, int, float, bool, type(None)})
_LEAVES = frozenset(
    {datetime.datetime, datetime.date, datetime.time, uuid.UUID, Decimal, bytes, bytearray}
)
_CONTAINERS = frozenset({dict, list, tuple})

_MANY = 10**18
"""A larger number is encoded as a float: no analysis counts that far."""


def plain(value: Any) -> Any:
    """Return the nearest value with a JSON type; the encoder calls it for a value without one.

    >>> plain(Decimal("2.50")), plain({1}), plain(datetime.date(2026, 1, 31)), plain(b"ab")
    (2.5, [1], '2026-01-31', 'ab')
    """
    try:
        return _plain(value)
    except unless_interrupt(Exception):  # a proxy that lacks methods of its class
        return defaults.unknown_default(value)


def _plain(value: Any) -> Any:
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (Decimal, numbers.Real)):
        return _number(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return dict(itertools.islice(value.items(), MAX_VALUES))
    if isinstance(value, (Set, tuple, list)):
        return list(itertools.islice(value, MAX_VALUES))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, type):
        return value.__name__
    return defaults.unknown_default(value)


def _number(value: Any) -> Any:
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, Decimal):
        if not value.is_finite():
            return None
    number = float(value)
    # Not by `int(value)` alone: Decimal("1e999999999") has a billion digits.
    if abs(number) < _MANY and value == (whole := int(value)):
        return whole
    return number


def _make_fast() -> Callable[[Any], str]:
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # an interpreter without the C accelerator
        return json.JSONEncoder(
            ensure_ascii=False,
            check_circular=False,
            allow_nan=False,
            separators=(",", ":"),
            default=plain,
        ).encode
    # `JSONEncoder.encode` makes this for each call; made once, 1.8 us become 1.1. Without a table
    # of markers: its argument has no cycles.
    quote = json.encoder.encode_basestring
    encode = make(None, plain, quote, None, ":", ",", False, False, False)
    join = "".join

    def fast(value: Any) -> str:
        return join(encode(value, 0))

    return fast


_fast = _make_fast()

# Imported now: a late import in a thread, while another one forks, leaves its lock to the child.
codecs.lookup("utf-16")


_SHARES_CONTAINERS = getattr(sys, "_is_gil_enabled", lambda: True)()
"""Whether the C encoder can read what other threads change: without the GIL it crashes."""

_FEW = 64
"""Number of containers from which on they are checked for shared ones."""

_join = "".join
_names: set[str] = set()
"""Names that are strings: a look-up is quicker than a check of each name's type."""

_MOST_NAMES = 4_096


def _add_names(mapping: Mapping[Any, Any]) -> None:
    """Add names of properties.

    Raises:
        TypeError: one is not a string, so that JSON may make it equal to another.
    """
    _join(mapping)
    if len(_names) < _MOST_NAMES:
        _names.update(mapping)


def encode(event: Mapping[str, Any], *, shares: bool = _SHARES_CONTAINERS) -> bytes:
    """Encode an event as one line, with its newline, without raising.

    The line is UTF-8 and strict JSON (RFC 8259), holds no newline but its last byte, and depends
    on nothing that the application may change afterwards.

    Args:
        event: properties; no other thread has the mapping itself.
        shares: whether nested containers are encoded, and not copies of them.

    >>> encode({"accountId": "zoë", "total": float("nan"), "tags": {("a", 1): {2}}})
    b'{"accountId":"zo\\xc3\\xab","total":null,"tags":{"(\\'a\\', 1)":[2]}}\\n'
    """
    try:
        if not _names.issuperset(event):
            _add_names(event)
        if _ATOMS.issuperset(map(type, event.values())):
            return (_fast(event) + "\n").encode()
        if not shares:
            event = _snapshot(event)
        if _is_small(event):
            return (_fast(event) + "\n").encode()
    except unless_interrupt(Exception):  # no form in the C encoder, or in UTF-8
        pass
    return (_fast(_Rebuild().value(event)) + "\n").encode()


def _is_small(event: Mapping[str, Any]) -> bool:
    """Return whether an event is of plain types, not too deep, and without too many values.

    Two lists that share two lists, and so on, are few objects and exponentially many values, and a
    cycle is endless: the C encoder would write them all. So this descends level by level; if there
    are more than a few containers, none may occur twice.
    """
    left, met = _SMALL, 0
    seen: set[int] = set()
    level: list[Any] = [event]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for container in level:
            left -= len(container)
            if left < 0:
                return False
            values = container
            if isinstance(container, dict):
                if not _names.issuperset(container):
                    _add_names(container)
                values = container.values()
            for value in values:
                kind = type(value)
                if kind in _CONTAINERS:
                    below.append(value)
                elif not (kind in _ATOMS or kind in _LEAVES or issubclass(kind, (str, int, float))):
                    return False
        if not below:
            return True
        met += len(below)
        if met > _FEW:
            before = len(seen)
            seen.update(map(id, below))
            if len(seen) != before + len(below):
                return False
        level = below
    return False


def _snapshot(event: Mapping[str, Any]) -> dict[str, Any]:
    """Copy an event and its plain containers, each with one call that locks it.

    Raises:
        ValueError: a container occurs twice, or is too deep.
    """
    copy = dict(event)
    seen: set[int] = set()
    level: list[Any] = [copy]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for container in level:
            places = container.items() if type(container) is dict else enumerate(container)
            for place, value in places:
                kind = type(value)
                if kind in _CONTAINERS:
                    if id(value) in seen:
                        raise ValueError("it is not a tree")
                    seen.add(id(value))
                    container[place] = dict(value) if kind is dict else list(value)
                    below.append(container[place])
        if not below:
            return copy
        level = below
    raise ValueError("it is too deep")


_TRIES = 5
"""Attempts to copy a container that changes meanwhile."""

_LOCKED = frozenset({list, set, frozenset, type({}.items())})
"""Types that `list` copies under their lock."""


class _Rebuild:
    """Copy one event as values that the C encoder always encodes.

    A container is rebuilt once, however often it occurs: the cost is that of the objects, not of
    the values in the line.
    """

    def __init__(self) -> None:
        self._left = MAX_VALUES
        self._room = _SMALL
        self._path: set[int] = set()
        # With the container itself, else another one might get its id.
        self._made: dict[int, tuple[Any, Any, int]] = {}

    def value(self, value: Any) -> Any:
        try:
            return self._value(value)
        except unless_interrupt(Exception):  # a hostile __str__, or one that fails by chance
            return f"<{_name(value)} that could not be encoded>"

    def _value(self, value: Any) -> Any:
        # By the real type: a lazy proxy has the class str, but is not one for the C encoder.
        kind = type(value)
        if value is None or kind is bool:
            return value
        if issubclass(kind, str):
            # A lone surrogate has no UTF-8; readers replace it by U+FFFD.
            return _whole(str.__str__(value))
        if issubclass(kind, float):
            number = float.__pos__(value)  # not `float(value)`, which a subclass can override
            return number if math.isfinite(number) else None
        if issubclass(kind, int):
            return _representable(int.__add__(value, 0))
        return self._container(value)

    def _container(self, value: Any) -> Any:
        name = id(value)
        if name in self._made:
            _, made, values = self._made[name]
            if values <= self._room:
                self._room -= values
                return made
        self._left -= 1
        self._room -= 1
        too_many = self._left < 0 or self._room < 0 or name in self._made
        if too_many or len(self._path) >= MAX_DEPTH or name in self._path:
            return f"<{_name(value)} nested too deep>"
        before = self._room
        self._path.add(name)
        try:
            made = self._copy(value)
        finally:
            self._path.discard(name)
        self._made[name] = (value, made, before - self._room + 1)
        return made

    def _copy(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            copy: dict[str, Any] = {}
            items = value.items
            if type(value) is OrderedDict and not _SHARES_CONTAINERS:
                items = partial(dict.items, value)  # its own order has no lock
            for key, item in self._bounded(items):
                name = self.value(_key(key))
                # If JSON makes two names equal, the one that is a string wins.
                if name not in copy or issubclass(type(key), str):
                    copy[name] = self.value(item)
            return copy
        if isinstance(value, (list, tuple, Set)):
            return [self.value(item) for item in self._bounded(lambda: value)]
        return self.value(plain(value))

    def _bounded(self, items: Callable[[], Iterable[Any]]) -> list[Any]:
        """Copy a bounded number of items: a container may be endless, or change while it is read.

        The copy is one call into C, but during a garbage collection (`gc.callbacks`, a finalizer)
        other threads can run and change the container: then it is repeated. Without the GIL they
        always run, and might change it each time; but `list` locks the types that it knows.
        """
        most = max(0, min(self._left, self._room))
        for tries in range(_TRIES, 0, -1):
            try:
                source = items()
                if type(source) in _LOCKED and len(source) <= MAX_VALUES:  # type: ignore[arg-type]
                    found = list(source)[:most]
                else:
                    found = list(itertools.islice(source, most))
                break
            except unless_interrupt(RuntimeError):  # "dictionary changed size during iteration"
                if tries == 1:
                    raise
        self._left -= len(found)
        self._room -= len(found)
        return found


def _whole(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _name(value: Any) -> str:
    # By `type`'s own descriptor: a metaclass can define another `__name__`.
    return _whole(type.__dict__["__name__"].__get__(type(value)))


def _key(key: Any) -> str:
    """Return a mapping's key as the `json` module does, or else as its `str`."""
    if key is None or type(key) is bool:
        return {None: "null", True: "true", False: "false"}[key]
    return key if issubclass(type(key), str) else defaults.unknown_default(key)


def _representable(value: int) -> int | None:
    try:
        repr(value)
    except ValueError:  # more digits than sys.get_int_max_str_digits() allows
        return None
    return value
