"""Templates: values with placeholders, such as `"{args.0}"` or `"{total:int}"`, compiled once.

A placeholder names a group of the rule's regular expressions or a path of the record
(`fslog.mapping.paths`). Alone in its string it keeps the value's type; among other text it becomes
text; `:int`, `:float` and `:str` convert it. Of several alternatives, `{a|b|"none"}`, the first
that has a value counts, which None is not; the last may be a text. If there is no value, or the
conversion fails, the whole value is `MISSING` and the property is omitted; if a path raises, so
does the template (`Unreadable`), and no other alternative replaces it.
`{{` and `}}` are literal braces. Which extras the records will have is unknown when a template is
compiled, so a misspelt name shows later, by a `Watch`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from logging import LogRecord
from typing import Any, NamedTuple

from fslog.config import did_you_mean, nearest
from fslog.interrupts import unless_interrupt
from fslog.mapping.paths import MISSING, SOURCES, Unreadable, compile_path

Groups = Mapping[str, Any]
Make = Callable[[LogRecord, Groups], Any]
"""Return a value for a record and its rule's groups, or `MISSING`; raise only `Unreadable`."""

_CONVERSIONS: dict[str, Callable[[Any], Any]] = {"int": int, "float": float, "str": str}
_QUOTED = re.compile(r'"[^"]*"')
_TOKEN = re.compile(r"(\{\{|\}\})|\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}|([{}])")


class Watch:
    """Find the placeholders of a rule that have a value on none of its records.

    A placeholder is watched until it has a value for the first time, or until it has had none on
    `ENOUGH` records, which is reported once.

    Args:
        report: is called with the placeholder's name.
        end: is called when nothing is watched any more.
    """

    ENOUGH = 20

    def __init__(self, report: Callable[[str], None], end: Callable[[], None]) -> None:
        self._report = report
        self._end = end
        self._watched: set[str] = set()
        self._missed: dict[str, int] = {}

    def add(self, name: str) -> None:
        """Watch a placeholder."""
        self._watched.add(name)

    def names(self) -> tuple[str, ...]:
        """Return what is still watched, in alphabetical order."""
        return tuple(sorted(self._watched))

    def note(self, name: str, is_found: bool) -> None:
        """Note whether a record has a value for a placeholder."""
        if name not in self._watched:
            return
        if not is_found:
            # Other threads may count at the same time: then it takes some records more.
            self._missed[name] = missed = self._missed.get(name, 0) + 1
            if missed < self.ENOUGH:
                return
        try:
            self._watched.remove(name)
        except KeyError:  # another thread was faster
            return
        if not is_found:
            self._report(name)
        if not self._watched:
            self._end()


class Names(NamedTuple):
    """The names for which a placeholder can have a value.

    Args:
        groups: the named groups of the rule.
        arguments: how many arguments the rule's message has; None if that is unknown.
        watch: is told about each name that only some records have; None for nothing.
    """

    groups: frozenset[str]
    arguments: int | None = None
    watch: Watch | None = None


def meant(name: str, groups: Iterable[str]) -> str | None:
    """Return the placeholder that was probably meant by one that is not found; None for no idea.

    >>> meant("mesage", ()), meant("arg.0", ()), meant("faeture", ["feature"]), meant("rows", ())
    ('message', 'args.0', 'feature', None)
    """
    first, dot, rest = name.partition(".")
    others = () if dot else tuple(groups)
    if first in SOURCES or first in others:
        return None
    source = _nearest_source(first)
    found = nearest(first, others if source is None else (*others, source)) if others else source
    return None if found is None else f"{found}{dot}{rest}"


@lru_cache(maxsize=1_024)
def _nearest_source(name: str) -> str | None:
    return nearest(name, SOURCES)


def compile_value(value: Any, names: Names) -> tuple[bool, Any]:
    """Compile a configured value with all placeholders in its lists and mappings.

    Returns:
        (True, the value) for a constant, (False, a `Make`) for anything with a placeholder.

    Raises:
        ValueError: a placeholder is malformed, or can never have a value.

    >>> compile_value({"total": [1, "{{2}}"]}, Names(frozenset()))
    (True, {'total': [1, '{2}']})
    """
    if isinstance(value, str):
        return _compile_text(value, names)
    if isinstance(value, Mapping):
        return _compile_mapping({key: compile_value(value[key], names) for key in value})
    if isinstance(value, (list, tuple)):
        return _compile_list([compile_value(item, names) for item in value])
    return True, value


def watched(value: Any, names: Names) -> Iterator[str]:
    """Yield what a `Watch` would watch: the placeholders that only some records have.

    >>> list(watched(["{args.0} {levelname}", "{user|args}"], Names(frozenset())))
    ['args.0']
    """
    if isinstance(value, str):
        if "{" in value:
            yield from _compile_unwatched(value, names)[2]
    elif isinstance(value, Mapping):
        for key in value:
            yield from watched(value[key], names)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from watched(item, names)


def _compile_mapping(parts: dict[Any, tuple[bool, Any]]) -> tuple[bool, Any]:
    if all(constant for constant, _ in parts.values()):
        return True, {key: item for key, (_, item) in parts.items()}

    def make(record: LogRecord, groups: Groups) -> Any:
        made = {k: v if same else v(record, groups) for k, (same, v) in parts.items()}
        return {key: item for key, item in made.items() if item is not MISSING}

    return False, make


def _compile_list(parts: list[tuple[bool, Any]]) -> tuple[bool, Any]:
    if all(constant for constant, _ in parts):
        return True, [item for _, item in parts]

    def make(record: LogRecord, groups: Groups) -> Any:
        made = [v if same else v(record, groups) for same, v in parts]
        return [item for item in made if item is not MISSING]

    return False, make


def _compile_text(text: str, names: Names) -> tuple[bool, Any]:
    if "{" not in text and "}" not in text:
        return True, text
    if names.watch is not None:
        return _compile_template(text, names)
    return _compile_unwatched(text, names)[:2]


@lru_cache(maxsize=4_096)
def _compile_unwatched(text: str, names: Names) -> tuple[bool, Any, tuple[str, ...]]:
    """Compile a text, once for all rules that have it; return also what is to be watched in it.

    The rules of a large plan have few different templates.
    """
    watch = Watch(lambda name: None, lambda: None)
    compiled = _compile_template(text, names._replace(watch=watch))
    if watch.names():
        compiled = _compile_template(text, names)
    return *compiled, watch.names()


def _compile_template(text: str, names: Names) -> tuple[bool, Any]:
    pieces: list[str | Make] = []
    end = 0
    for token in _TOKEN.finditer(text):
        pieces.append(text[end : token.start()])
        end = token.end()
        literal, inside, stray = token.groups()
        if stray:
            raise ValueError(f"{text!r} has a single {stray!r}; write it twice for a literal brace")
        pieces.append(literal[0] if literal else _compile_placeholder(inside, names))
    pieces = [piece for piece in [*pieces, text[end:]] if piece != ""]
    if all(isinstance(piece, str) for piece in pieces):
        return True, "".join(pieces)  # type: ignore[arg-type]
    return False, pieces[0] if len(pieces) == 1 else _joined(text, pieces)


def _joined(template: str, pieces: list[str | Make]) -> Make:
    def make(record: LogRecord, groups: Groups) -> Any:
        texts = []
        for piece in pieces:
            value = piece if isinstance(piece, str) else piece(record, groups)
            if value is MISSING or value is None:
                return MISSING
            texts.append(read_text(value, template))
        return "".join(texts)

    return make


def read_text(value: Any, place: str) -> str:
    """Return a value's text.

    Raises:
        Unreadable: its `__str__` raises.
    """
    try:
        return str(value)
    except unless_interrupt(Exception) as error:  # the application's own __str__
        raise Unreadable(place, error) from error


def text_of(value: Any) -> str | None:
    """Return a value's text; None if its `__str__` raises.

    >>> text_of(200)
    '200'
    """
    try:
        return str(value)
    except unless_interrupt(Exception):  # the application's own __str__
        return None


def _compile_placeholder(inside: str, names: Names) -> Make:
    *before, last = _split(inside, ":", most=1)
    conversion = last if before else ""
    if before and conversion not in _CONVERSIONS:
        hint = did_you_mean(conversion, _CONVERSIONS)
        raise ValueError(
            f"the placeholder {{{inside}}} has the conversion {conversion!r}; expected int, float "
            f"or str{hint}"
        )
    place = before[0] if before else inside
    read = _alternatives(place, names)
    if not conversion:
        return read
    convert = _CONVERSIONS[conversion]

    def make(record: LogRecord, groups: Groups) -> Any:
        value = read(record, groups)
        try:
            return MISSING if value is MISSING or value is None else convert(value)
        except unless_interrupt(ValueError, TypeError, OverflowError):  # not a number
            return MISSING
        except unless_interrupt(Exception) as error:  # the value's own __int__
            raise Unreadable(place, error) from error

    return make


def _split(text: str, separator: str, most: int = 0) -> list[str]:
    """Split a placeholder at a separator, but not inside of double quotes.

    >>> _split('a|b|"c|d"', "|")
    ['a', 'b', '"c|d"']
    """
    if '"' not in text:
        return text.split(separator, most or -1)
    masked = _QUOTED.sub(lambda quoted: "q" * len(quoted[0]), text)
    parts, start = [], 0
    for part in masked.split(separator, most or -1):
        parts.append(text[start : start + len(part)])
        start += len(part) + 1
    return parts


def _alternatives(place: str, names: Names) -> Make:
    first, *others = _split(place, "|")
    if not others:
        return _source(first, names)
    fallback: Any = MISSING
    if _QUOTED.fullmatch(others[-1]):
        fallback = others.pop()[1:-1]
    # A value that is absent is expected here, so none is watched.
    sources = [_source(each, names._replace(watch=None)) for each in (first, *others)]

    def make(record: LogRecord, groups: Groups) -> Any:
        for read in sources:
            value = read(record, groups)
            if value is not MISSING and value is not None:
                return value
        return fallback

    return make


def _source(place: str, names: Names) -> Make:
    if not place:
        raise ValueError("a placeholder is empty; expected a group or a path of the record")
    if '"' in place:
        raise ValueError(
            f"the placeholder {{{place}}} has a quotation mark; a text is the last of several "
            'alternatives, as in {a|b|"none"}'
        )
    if place in names.groups:
        return lambda record, groups: groups.get(place, MISSING)
    read = compile_path(place)
    first, _, index = place.partition(".")
    if names.arguments is not None and first == "args" and index.isdecimal():
        if int(index) >= names.arguments:
            raise ValueError(
                f"the placeholder {{{place}}} has no source: the message has {names.arguments} "
                f"argument{'' if names.arguments == 1 else 's'}"
            )
    of_preset = sorted(name for name in names.groups if name.startswith(f"{first}."))
    if of_preset:
        raise ValueError(
            f"the placeholder {{{place}}} has no source; the preset reads {', '.join(of_preset)}"
            f"{did_you_mean(place, of_preset)}"
        )
    if not first.replace("-", "_").isidentifier():
        raise ValueError(
            f"the placeholder {{{place}}} has no source: {first!r} is not the name of a group or "
            "an attribute; an element of a sequence is written {args.0}"
        )
    watch = names.watch
    if watch is None or place in SOURCES:
        return lambda record, groups: read(record)
    watch.add(place)

    def make(record: LogRecord, groups: Groups) -> Any:
        value = read(record)
        watch.note(place, value is not MISSING)
        return value

    return make
