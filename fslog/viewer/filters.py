"""Filters: which entries a request's query parameters select."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fslog.viewer.entries import STATES, Entry, problem_label
from fslog.viewer.queries import ApiError

EXACT = ("action", "account", "user", "session", "module", "feature")
"""The parameters that must equal the entry's value."""

NAMES = (*EXACT, "problem", "request", "state", "q")
"""All parameters of a filter."""


@dataclass(frozen=True)
class Filter:
    """Select entries; the conditions are joined by and.

    Args:
        exact: names of attributes with the values that an entry must have.
        states: the allowed states.
        text: case-folded text that the line or a problem's message must contain; `""` for any.
        request: id of the request in which the entry arrived, 0 for any.
        problem: label or code of a problem that the entry must have, `""` for any.
    """

    exact: tuple[tuple[str, str], ...] = ()
    states: tuple[str, ...] = STATES
    text: str = ""
    request: int = 0
    problem: str = ""

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Filter:
        """Return the filter in query parameters; an empty parameter equals an absent one.

        Raises:
            ApiError: an unknown state, or a request that is not an id.

        >>> Filter.from_query({"user": "ann", "q": "", "state": "problems"})
        ... # doctest: +NORMALIZE_WHITESPACE
        Filter(exact=(('user', 'ann'),), states=('warning', 'invalid'), text='', request=0,
               problem='')
        """
        exact = tuple((name, query[name]) for name in EXACT if query.get(name))
        state = query.get("state") or "any"
        known = {"any": STATES, "problems": STATES[1:], **{one: (one,) for one in STATES}}
        if state not in known:
            raise ApiError(400, f"state is {state!r}; expected {', '.join(STATES)} or problems")
        request = query.get("request") or "0"
        if not (request.isascii() and request.isdigit() and len(request) < 16):
            raise ApiError(400, f"request is {request[:50]!r}; expected the id of a request")
        text, problem = query.get("q", "").casefold(), query.get("problem", "")
        return cls(exact, known[state], text, int(request), problem)

    def select(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return the entries that match, in their order."""
        for name, value in self.exact:
            entries = [entry for entry in entries if getattr(entry, name) == value]
        if self.request:
            entries = [entry for entry in entries if entry.request == self.request]
        if self.problem:
            entries = [entry for entry in entries if self._has_problem(entry)]
        if self.states != STATES:
            entries = [entry for entry in entries if entry.state in self.states]
        if self.text:
            entries = [entry for entry in entries if _contains(entry, self.text)]
        return list(entries)

    def _has_problem(self, entry: Entry) -> bool:
        return any(self.problem in (problem_label(one), one.code) for one in entry.problems)


def _contains(entry: Entry, text: str) -> bool:
    return (
        text in entry.text().casefold()
        or (b"\\" in entry.line and text in _unescaped(entry).casefold())
        or any(text in problem.message.casefold() for problem in entry.problems)
    )


def _unescaped(entry: Entry) -> str:
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
