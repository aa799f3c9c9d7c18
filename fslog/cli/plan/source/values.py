"""What an expression may be, as far as the source says.

Constants, and the dicts and lists of them, are themselves; everything else is one of the classes
below.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fslog.cli.plan.source.scopes import Scope

Value = Any
"""A constant, a dict or list of values, or an instance of one of the classes below."""

HOLE = "{...}"
"""A part of a text that is unknown, as it is shown."""


@dataclass(frozen=True)
class Unknown:
    """A value that the source does not decide.

    Args:
        kind: the JSON type that it certainly has, such as `"string"`; empty if that is unknown.
        parts: of a text, its known parts, with None for the unknown ones; None if it is no text.
        may_be_absent: whether there may be no value at all.
    """

    kind: str = ""
    parts: tuple[str | None, ...] | None = None
    may_be_absent: bool = False

    @property
    def prefix(self) -> str:
        """What the text begins with; empty if that is unknown."""
        return self.parts[0] or "" if self.parts else ""

    def could_be(self, text: str) -> bool:
        """Return whether the text may be this one.

        >>> rows = Unknown("string", ("exported ", None, " rows"))
        >>> rows.could_be("exported 3 rows"), rows.could_be("imported 3 rows")
        (True, False)
        """
        if self.parts is None:
            return self.kind in ("", "string")
        pattern = "".join(".*" if part is None else re.escape(part) for part in self.parts)
        return re.fullmatch(pattern, text, re.DOTALL) is not None

    def __str__(self) -> str:
        if self.parts is None:
            return HOLE
        return "".join(HOLE if part is None else part for part in self.parts)


UNKNOWN = Unknown()


class Items(dict[str, Value]):
    """A dict whose keys are known, as far as `is_open` says.

    Args:
        items: the known ones.
        is_open: whether it may have other keys, or other values for these.
    """

    def __init__(self, items: Mapping[str, Value], *, is_open: bool = False) -> None:
        super().__init__(items)
        self.is_open = is_open


@dataclass(frozen=True)
class Either:
    """One of several values."""

    options: tuple[Value, ...]


@dataclass(frozen=True)
class External:
    """Something that is defined outside of the source, by its dotted name."""

    name: str


@dataclass(frozen=True)
class ModuleValue:
    """A module of the source, by its path."""

    path: str


@dataclass(frozen=True)
class ClassValue:
    """A class of the source."""

    node: ast.ClassDef
    scope: Scope
    """The scope of its body."""


@dataclass(frozen=True)
class Instance:
    """An instance of a class of the source, or of one of its subclasses."""

    of: ClassValue


@dataclass(frozen=True)
class Function:
    """A function of the source; `owner` is the instance or class of which it is a method."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    scope: Scope
    """The scope of its body."""
    owner: Instance | ClassValue | None = None


@dataclass(frozen=True)
class Logger:
    """A logger, or an adapter of one.

    Args:
        name: a text, or `Unknown`.
        extra: what an adapter puts in the place of the call's extras; None without an adapter.
        is_custom: whether its class may change messages and extras.
        is_sure: whether it certainly is one of `logging`; structlog's may end elsewhere.
    """

    name: Value
    extra: Value = None
    is_custom: bool = False
    is_sure: bool = True


@dataclass(frozen=True)
class Method:
    """A method of a logger, such as `log.info`; `name` is empty if it is unknown which one."""

    logger: Value
    name: str


@dataclass(frozen=True)
class FlaskApp:
    """An application of Flask or Quart, with the name of its logger."""

    name: Value


def options(value: Value) -> Iterator[Value]:
    """Yield the values that one may be.

    >>> list(options(Either((1, Either((2, 3))))))
    [1, 2, 3]
    """
    if isinstance(value, Either):
        for one in value.options:
            yield from options(one)
    else:
        yield value


_MOST_OPTIONS = 16


def either(values: list[Value]) -> Value:
    """Return what is one of several values; `UNKNOWN` for none, or for too many.

    Values without options, which depend on themselves, give such a one.
    """
    if values and all(isinstance(one, Either) and not one.options for one in values):
        return values[0]
    found: list[Value] = []
    for value in values:
        for one in options(value):
            if not any(_is_same(one, other) for other in found):
                found.append(one)
    if not found or len(found) > _MOST_OPTIONS:
        return UNKNOWN
    return found[0] if len(found) == 1 else Either(tuple(found))


def _is_same(one: Value, other: Value) -> bool:
    return type(one) is type(other) and bool(one == other)


def joined(parts: list[Value]) -> Value:
    """Return the concatenation of values as a text.

    >>> joined(["a", 1, UNKNOWN, "c"])
    Unknown(kind='string', parts=('a1', None, 'c'), may_be_absent=False)
    """
    found: list[str | None] = []
    for part in parts:
        pieces: tuple[str | None, ...] = (None,)
        if isinstance(part, Unknown):
            pieces = part.parts or (None,)
        elif isinstance(part, (str, int, float)) or part is None:
            pieces = (str(part),)
        for piece in pieces:
            if piece == "":
                continue
            if piece is not None and found and found[-1] is not None:
                found[-1] += piece
            elif piece is not None or not found or found[-1] is not None:
                found.append(piece)
    if None not in found:
        return "".join(filter(None, found))
    return Unknown("string", tuple(found))


_CONVERSION = re.compile(r"%(?:\([^)]*\))?[#0 +-]*(?:\*|\d+)?(?:\.(?:\*|\d+))?[hlL]?([a-zA-Z%])")


def merged(text: Value) -> Value:
    """Return a text after `%`: what replaces a conversion is unknown.

    >>> str(merged("sold %d of %s (100 %%)"))
    'sold {...} of {...} (100 %)'
    """
    parts: list[Value] = []
    for piece in (text,) if isinstance(text, str) else text.parts:
        if piece is None:
            parts.append(UNKNOWN)
            continue
        end = 0
        for found in _CONVERSION.finditer(piece):
            parts += [piece[end : found.start()], "%" if found[1] == "%" else UNKNOWN]
            end = found.end()
        parts.append(piece[end:])
    return joined(parts)


def has_conversions(text: str) -> bool:
    """Return whether arguments are merged into a message."""
    return any(found[1] != "%" for found in _CONVERSION.finditer(text))


def is_known(value: Value) -> bool:
    """Return whether a value is decided, with all that it holds."""
    if isinstance(value, Items):
        return not value.is_open and all(map(is_known, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_known, value))
    return value is None or isinstance(value, (str, int, float))
