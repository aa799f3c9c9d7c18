"""An event's values as strict JSON, whatever they are.

Encoding is the snapshot of an event and the last step that looks at its values, so it is total:
it never raises, never emits a bare NaN or a lone surrogate, never loops on a cycle. What JSON has
no word for becomes the nearest thing it has: a time its ISO text, a set a list, a Decimal a
number, NaN and the infinities `null`, anything else its `str`.

Two speeds. The standard library's C encoder, made once, takes what programs normally log. Where it
refuses, the value is rebuilt piece by piece from plain types and encoded again.
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
import uuid
from collections.abc import Callable, Iterable, Mapping, Set
from decimal import Decimal
from typing import Any

from pythonjsonlogger import defaults

MAX_DEPTH = 64
"""How deep a value is followed on the slow way; what lies deeper is named, not followed."""

MAX_VALUES = 100_000
"""How many values of an event are looked at on the slow way: sharing can make few endless."""

_SMALL = 1_000_000
"""How many values an event may have to be encoded on the fast way."""

_ATOMS = frozenset({str, int, float, bool, type(None)})
_LEAVES = frozenset(
    {datetime.datetime, datetime.date, datetime.time, uuid.UUID, Decimal, bytes, bytearray}
)
_CONTAINERS = frozenset({dict, list, tuple})

_MANY = 10**18
"""What is more is a float: no analysis counts that far."""


def plain(value: Any) -> Any:
    """Turn one value that JSON has no word for into one that it has; the encoder calls it.

    >>> plain(Decimal("2.50")), plain({1}), plain(datetime.date(2026, 1, 31)), plain(b"ab")
    (2.5, [1], '2026-01-31', 'ab')
    """
    try:
        return _plain(value)
    except Exception:  # a proxy that is not all that it claims to be
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
    # What `JSONEncoder.encode` makes anew for each call, made once: 1.8 us become 1.1. No table of
    # markers: a cycle ends in a RecursionError, and the slow way finds it.
    quote = json.encoder.encode_basestring
    encode = make(None, plain, quote, None, ":", ",", False, False, False)
    join = "".join

    def fast(value: Any) -> str:
        return join(encode(value, 0))

    return fast


_fast = _make_fast()

# Looked up now: a late import in a thread, while another one forks, leaves the child on its lock.
codecs.lookup("utf-16")


def encode(event: Mapping[str, Any]) -> bytes:
    """Encode an event as one line, with its newline, without raising.

    The line is UTF-8 and strict JSON (RFC 8259), holds no newline but its last byte, and depends
    on nothing that the application may change afterwards.

    >>> encode({"accountId": "zoë", "total": float("nan"), "tags": {("a", 1): {2}}})
    b'{"accountId":"zo\\xc3\\xab","total":null,"tags":{"(\\'a\\', 1)":[2]}}\\n'
    """
    try:
        if _ATOMS.issuperset(map(type, event.values())) or _is_small(event):
            return (_fast(event) + "\n").encode()
    except Exception:  # what the C encoder, or UTF-8, has no form for
        pass
    return (_fast(_Rebuild().value(event)) + "\n").encode()


def _is_small(event: Mapping[str, Any]) -> bool:
    """Tell whether an event is made of plain types and does not stand for endlessly many values.

    Two lists that share two lists, and so on, are few objects and exponentially many values:
    the C encoder would write them all.
    """
    left = _SMALL
    containers: list[Any] = [event]
    while containers:
        container = containers.pop()
        left -= len(container)
        if left < 0:
            return False
        for value in container.values() if isinstance(container, dict) else container:
            kind = type(value)
            if kind in _CONTAINERS:
                containers.append(value)
            elif not (kind in _ATOMS or kind in _LEAVES or issubclass(kind, (str, int, float))):
                return False
    return True


_TRIES = 5
"""How often a container is copied that changes meanwhile."""


class _Rebuild:
    """Copy one event with nothing in it but what the C encoder takes without a question."""

    def __init__(self) -> None:
        self._left = MAX_VALUES
        self._path: set[int] = set()

    def value(self, value: Any) -> Any:
        try:
            return self._value(value)
        except Exception:  # a hostile __str__, items(), __iter__, or one that fails by chance
            return f"<{_name(value)} that could not be encoded>"

    def _value(self, value: Any) -> Any:
        # By the real type: a lazy proxy claims to be a str, and is none for the C encoder.
        kind = type(value)
        if value is None or kind is bool:
            return value
        if issubclass(kind, str):
            # A lone surrogate has no UTF-8; U+FFFD is what a reader would make of it.
            return _whole(str.__str__(value))
        if issubclass(kind, float):
            number = float.__pos__(value)  # whatever a subclass makes of `float(value)`
            return number if math.isfinite(number) else None
        if issubclass(kind, int):
            return _representable(int.__add__(value, 0))
        return self._container(value)

    def _container(self, value: Any) -> Any:
        self._left -= 1
        if self._left < 0 or len(self._path) >= MAX_DEPTH or id(value) in self._path:
            return f"<{_name(value)} nested too deep>"
        self._path.add(id(value))
        try:
            if isinstance(value, Mapping):
                pairs = self._bounded(value.items)
                return {self.value(_key(key)): self.value(item) for key, item in pairs}
            if isinstance(value, (list, tuple, Set)):
                return [self.value(item) for item in self._bounded(lambda: value)]
            return self.value(plain(value))
        finally:
            self._path.discard(id(value))

    def _bounded(self, items: Callable[[], Iterable[Any]]) -> list[Any]:
        """Copy first, at most so many: a container may be endless, or change while it is read.

        The copy is one call into C, but what the garbage collector runs (`gc.callbacks`, a
        finalizer) lets other threads in all the same: then it is made again.
        """
        for tries in range(_TRIES, 0, -1):
            try:
                found = list(itertools.islice(items(), max(0, self._left)))
                break
            except RuntimeError:  # "dictionary changed size during iteration"
                if tries == 1:
                    raise
        self._left -= len(found)
        return found


def _whole(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _name(value: Any) -> str:
    # By `type`'s own descriptor: a metaclass may define a `__name__` that does anything.
    return _whole(type.__dict__["__name__"].__get__(type(value)))


def _key(key: Any) -> str:
    """Return a mapping's key as JSON's own encoder would, or else as its `str`."""
    if key is None or type(key) is bool:
        return {None: "null", True: "true", False: "false"}[key]
    return key if issubclass(type(key), str) else defaults.unknown_default(key)


def _representable(value: int) -> int | None:
    try:
        repr(value)
    except ValueError:  # more digits than sys.get_int_max_str_digits() allows
        return None
    return value
