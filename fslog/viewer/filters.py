"""Filters: which entries are meant, by the query parameters of an address."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fslog.viewer.entries import STATES, Entry
from fslog.viewer.explain import label

EQUAL = ("action", "account", "user", "session", "module", "feature")
"""The parameters that must be equal to what an entry has."""

NAMES = (*EQUAL, "problem", "request", "state", "q")
"""All parameters of a filter."""


@dataclass(frozen=True)
class Filter:
    """Tell which entries are meant.

    Args:
        equal: what an entry must have, by the name of its attribute.
        states: those that it may have.
        text: what its line, or a message about it, must hold, case-folded; `""` for anything.
        request: id of the request that it must have come in, 0 for any.
        problem: kind of problem, or its code alone, that it must have, `""` for any.
    """

    equal: tuple[tuple[str, str], ...] = ()
    states: tuple[str, ...] = STATES
    text: str = ""
    request: int = 0
    problem: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filter:
        """Take a filter from query parameters; one that is empty or not there asks nothing.

        Raises:
            ValueError: a state that there is not, or a request that is no number.

        >>> Filter.of({"user": "ann", "q": "", "state": "problems"})
        ... # doctest: +NORMALIZE_WHITESPACE
        Filter(equal=(('user', 'ann'),), states=('warning', 'invalid'), text='', request=0,
               problem='')
        """
        equal = tuple((name, query[name]) for name in EQUAL if query.get(name))
        state = query.get("state") or "any"
        known = {"any": STATES, "problems": STATES[1:], **{one: (one,) for one in STATES}}
        if state not in known:
            raise ValueError(f"state is {state!r}; expected {', '.join(STATES)} or problems")
        request = query.get("request") or "0"
        if not (request.isascii() and request.isdigit() and len(request) < 16):
            raise ValueError(f"request is {request[:50]!r}; expected the id of a request")
        text, problem = query.get("q", "").casefold(), query.get("problem", "")
        return cls(equal, known[state], text, int(request), problem)

    def select(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return those of the entries that are meant, in their order."""
        for name, value in self.equal:
            entries = [entry for entry in entries if getattr(entry, name) == value]
        if self.request:
            entries = [entry for entry in entries if entry.request == self.request]
        if self.problem:
            entries = [entry for entry in entries if self._has_problem(entry)]
        if self.states != STATES:
            entries = [entry for entry in entries if entry.state in self.states]
        if self.text:
            entries = filter(_holding(self.text), entries)
        return list(entries)

    def _has_problem(self, entry: Entry) -> bool:
        return any(self.problem in (label(fault), fault.code) for fault in entry.faults)


def _holding(text: str) -> Callable[[Entry], bool]:
    def holds(entry: Entry) -> bool:
        if text in entry.text().casefold() or (
            b"\\" in entry.line and text in _readable(entry).casefold()
        ):
            return True
        return any(text in fault.message.casefold() for fault in entry.faults)

    return holds


def _readable(entry: Entry) -> str:
    """Return all strings of a line with their escapes resolved, as a person searches for them."""
    try:
        left: list[Any] = [json.loads(entry.line)]
    except (ValueError, RecursionError):
        return ""
    found: list[str] = []
    while left:
        value = left.pop()
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, dict):
            left += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            left += value
    return "\n".join(found)
