"""Conditions: which values of a record a rule requires, and the named groups that they yield."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from fslog.mapping import templates
from fslog.mapping.paths import MISSING, Read

Match = Callable[[Any], "Mapping[str, Any] | None"]
"""Return the named groups of a value that fulfils a condition; None if it does not."""


class Condition(NamedTuple):
    """One condition of a rule by itself, to find out why the rule does not match.

    Args:
        key, wanted: as in `when`.
        read: returns the value at the key's path.
        match: whether that value fulfils the condition.
    """

    key: str
    wanted: Any
    read: Read
    match: Match


def compile_pattern(place: str, value: Any) -> re.Pattern[str] | None:
    """Return the regular expression of a condition; None for a literal.

    Args:
        place: the condition's name in errors.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == "/":
        try:
            pattern = re.compile(value[1:-1])
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"{place} is not a regular expression: {error}") from None
        if not pattern.pattern:
            raise ValueError(f"{place} is an empty regular expression, which matches everything")
        return pattern
    if not isinstance(value, (str, int, float)):
        raise ValueError(
            f"{place} is of type {type(value).__name__}; expected a string, a number or a bool"
        )
    return None


@lru_cache(maxsize=1_024)
def prefixed(prefix: str) -> Match:
    """Return the condition on a logger's name: it is the prefix, or a child of it."""
    dotted = f"{prefix}."

    def match(name: Any) -> Mapping[str, Any] | None:
        if not prefix or name == prefix:
            return {}
        # The name may be absent: makeLogRecord makes such records.
        return {} if isinstance(name, str) and name.startswith(dotted) else None

    return match


def searching(pattern: re.Pattern[str], place: str) -> Match:
    """Return the condition that a pattern is found in the value's text."""
    search, named = pattern.search, bool(pattern.groupindex)

    def match(value: Any) -> Mapping[str, Any] | None:
        if value is MISSING or value is None:
            return None
        found = search(value if type(value) is str else templates.read_text(value, place))
        if found is None:
            return None
        return {k: v for k, v in found.groupdict().items() if v is not None} if named else {}

    return match


def equal(literal: Any, place: str) -> Match:
    """Compare by text: 200 in one library's records is "200" in another's."""
    text = str(literal)

    def match(value: Any) -> Mapping[str, Any] | None:
        if type(value) is str:
            return {} if value == text else None
        if value is MISSING or value is None:
            return None
        return {} if templates.read_text(value, place) == text else None

    return match
