"""Problems of events.

A log call never raises. `EventFormatter.event` raises `InvalidEvent`, which the handler counts and
passes to `on_problem`.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Problem:
    """What is wrong with one event.

    Args:
        code: stable and short, for programs; the guide's topic `events` lists every code.
        property: the event's property, `""` if it is the whole event.
        message: the value, or its type, and what is expected, for people.
        event: the event as far as it was made; None if there is none.
    """

    code: str
    property: str
    message: str
    event: Mapping[str, Any] | None = None

    @builtins.property  # the field has its name
    def kind(self) -> str:
        """The code and the property: problems of one kind are logged once."""
        return f"{self.code} {self.property}"


class ExcludedEvent(Exception):
    """An event of someone for whom the configuration allows none; it never leaves fslog."""


class LimitedEvent(Exception):
    """An event beyond the rate that the configuration allows; `problem` says so."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem: Problem = problem


class InvalidEvent(ValueError):
    """An event that the endpoint would drop without an error.

    Args:
        problems: every problem of the event, at least one; kept as `problems`.

    >>> str(InvalidEvent([Problem("missing", "userId", "userId is missing")]))
    'userId is missing'
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.problems: tuple[Problem, ...] = tuple(problems)

    def __str__(self) -> str:
        return "; ".join(problem.message for problem in self.problems)
