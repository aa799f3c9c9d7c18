"""Where a value lives on a record: dotted paths, compiled once and read without calling anything.

A path begins at an attribute of the record (`args`, `levelname`, or whatever an `extra` brought)
and goes on through mapping keys, sequence indexes and attributes: `args.0`, `request.user.id`,
`args.{x-tenant}i`. Two words stand for what the logging module names less plainly: `logger` is
the logger's name and `message` the unformatted message, whatever another handler's formatter has
left in the record's attribute of that name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

MISSING: Final[Any] = object()
"""What a path yields where there is nothing to read."""

Read = Callable[[logging.LogRecord], Any]
"""Reads one place of a record, or yields `MISSING`; never raises."""

WORDS = {"logger": "name", "message": "msg"}

RECORD_ATTRIBUTES = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {
    "asctime",
    "message",
    "taskName",
}
"""What every record has: the attributes that are nobody's extra, on any Python from 3.10 on."""

SOURCES = RECORD_ATTRIBUTES | frozenset(WORDS)
"""The names with which a path may begin on any record."""


def parse(text: object) -> tuple[str, ...]:
    """Split a path into its parts.

    Raises:
        ValueError: it is no text, has an empty part, begins with a number, or names something
            underscored, which is somebody's internals.

    >>> parse("request.user.id")
    ('request', 'user', 'id')
    """
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no path: expected text such as 'request.user.id'")
    parts = tuple(text.split("."))
    if not all(parts):
        raise ValueError(f"the path {text!r} has an empty part")
    if parts[0].isdigit():
        raise ValueError(f"the path {text!r} begins with a number: a record has no such attribute")
    if any(part.startswith("_") for part in parts):
        raise ValueError(f"the path {text!r} names something underscored, which is not read")
    return parts


def compile_path(text: object) -> Read:
    """Compile a path into a function that reads it.

    The function promises not to raise and not to change what it reads: a missing key is not
    asked for (a `defaultdict` would create it), what a property or `__getattr__` raises counts as
    missing, and so does a callable, which would have to be called to mean something.

    Raises:
        ValueError: as `parse` does.

    >>> record = logging.LogRecord("app", 20, "", 0, "sold %d", (3,), None)
    >>> compile_path("args.0")(record), compile_path("args.1")(record) is MISSING
    (3, True)
    """
    first, *rest = parse(text)
    first = WORDS.get(first, first)
    steps = tuple((part, int(part) if part.isdecimal() else None) for part in rest)

    def read(record: logging.LogRecord) -> Any:
        try:
            value = getattr(record, first, MISSING)
            for part, index in steps:
                if value is MISSING:
                    return MISSING
                value = _step(value, part, index)
            return MISSING if callable(value) else value
        except Exception:  # whatever the application's own attributes raise
            return MISSING

    return read


def _step(value: Any, part: str, index: int | None) -> Any:
    if isinstance(value, Mapping):
        if part in value:
            return value[part]
        return value[index] if index is not None and index in value else MISSING
    if index is not None and isinstance(value, (tuple, list)):
        return value[index] if index < len(value) else MISSING
    return getattr(value, part, MISSING)
