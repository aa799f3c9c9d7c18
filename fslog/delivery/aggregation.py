"""Merging the events of a batch that say the same: one event, whose `total` is the sum.

It happens in the listener, before a batch is compressed: until then each line is as it was
accepted, also on disk. The same lines always give the same result, so that a batch is the same body
however often it is posted.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from fslog.interrupts import unless_interrupt
from fslog.mapping.encoding import encode

_MOST = 2**53
"""Up to here every whole number is exact, also where the endpoint reads it as a float."""

_TEXTS = frozenset({str})
_NUMBERS = frozenset({int, float})


def _not_json(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_not_json).decode
_sorted = json.JSONEncoder(sort_keys=True, check_circular=False).encode


_CREATED_AT = re.compile(rb',"createdAt":([1-9][0-9]{0,14})(?=[,}])')


class _Use(NamedTuple):
    """What is compared and summed of an event."""

    key: Any
    created_at_ms: float
    total: int | float


class _Group:
    """The first of some equal events, and the totals of all of them."""

    __slots__ = ("_first", "_size", "_totals", "created_at_ms")

    def __init__(self, line: bytes, use: _Use) -> None:
        self._first = line
        self._totals = [use.total]
        self._size = abs(use.total)
        self.created_at_ms = use.created_at_ms

    def add(self, total: int | float) -> bool:
        """Add one more event; return False if the sum would not be exact."""
        size = self._size + abs(total)
        if size > _MOST:
            return False
        self._size = size
        self._totals.append(total)
        return True

    def line(self) -> bytes:
        """Return the line of all of them."""
        if len(self._totals) == 1:
            return self._first
        event = _decode(self._first.decode())
        is_whole = all(type(total) is int for total in self._totals)
        event["total"] = sum(self._totals) if is_whole else math.fsum(self._totals)
        return encode(event)


def merged(lines: list[bytes], seconds: float) -> list[bytes]:
    r"""Return lines in which equal `feature` events are merged; `lines` itself if none are equal.

    Events are equal if all of their properties are, except `total` and `createdAt`. Those at most
    so many seconds from the first one become one event in its place, with its `createdAt` and the
    sum of the totals; one without a total counts 1. All other lines remain unchanged.

    >>> use = b'{"action":"feature","userId":"ann","createdAt":%d}\n'
    >>> merged([use % 1_000, use % 2_000, use % 12_001], 10.0)[0]
    b'{"action":"feature","userId":"ann","createdAt":1000,"total":2}\n'
    """
    window_ms = seconds * 1000.0
    kept: list[bytes | _Group] = []
    groups: dict[Any, _Group] = {}
    use_of = _reader()
    for line in lines:
        use = use_of(line)
        if use is None:
            kept.append(line)
            continue
        group = groups.get(use.key)
        if (
            group is None
            or abs(use.created_at_ms - group.created_at_ms) > window_ms
            or not group.add(use.total)
        ):
            group = groups[use.key] = _Group(line, use)
            kept.append(group)
    if len(kept) == len(lines):
        return lines
    return [one if isinstance(one, bytes) else one.line() for one in kept]


def _reader() -> Callable[[bytes], _Use | None]:
    """Return a function that parses lines, once for all that differ only in `createdAt`."""
    known: dict[tuple[bytes, bytes], _Use] = {}

    def use_of(line: bytes) -> _Use | None:
        found = _CREATED_AT.search(line)
        if found is None:
            return _parse(line)
        rest = line[: found.start()], line[found.end() :]
        use = known.get(rest)
        if use is not None:
            return _Use(use.key, int(found[1]), use.total)
        use = _parse(line)
        if use is not None and _is_of_event(*rest):
            known[rest] = use
        return use

    return use_of


def _is_of_event(before: bytes, after: bytes) -> bool:
    """Return whether the time between two parts of a line is the event's only `createdAt`.

    Without backslashes each quotation mark begins or ends a string, and without brackets nothing is
    nested.
    """
    if before.count(b"{") != 1 or b"[" in before or b"createdAt" in after:
        return False
    return b"\\" not in before and b"\\" not in after


def _parse(line: bytes) -> _Use | None:
    """Return what is compared and summed of a line; None if it is to remain unchanged."""
    if b'"feature"' not in line:
        return None
    try:
        event = _decode(line.decode())
        if type(event) is not dict or event.get("action") != "feature":
            return None
        created_at_ms, total = event.pop("createdAt", None), event.pop("total", 1)
        if not (_is_exact(created_at_ms) and _is_exact(total)):
            return None
        if _TEXTS.issuperset(map(type, event.values())):
            return _Use(frozenset(event.items()), created_at_ms, total)
        # As text: there `1`, `1.0` and `true` differ, and the order of properties does not count.
        return _Use(_sorted(event), created_at_ms, total)
    except unless_interrupt(ValueError, RecursionError):
        return None


def _is_exact(number: Any) -> bool:
    return type(number) in _NUMBERS and -_MOST <= number <= _MOST
