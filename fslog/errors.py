"""What can be wrong with an event, as values that carry their evidence.

Nothing here is raised out of a log call: `InvalidEvent` is what `EventFormatter.event` raises for
those who ask it directly, and what the handler turns into a count and a call of `on_problem`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Problem:
    """Say what is wrong with one event, to a program and to a person.

    Args:
        code: stable and short, for programs; the README's table lists every code.
        property: the event's property that it is about, `""` where it is the whole event.
        message: a sentence that says what came and what is expected.
        event: the event as far as it was built, None if there was none to show.
    """

    code: str
    property: str
    message: str
    event: Mapping[str, Any] | None = None


class InvalidEvent(ValueError):
    """Report an event that breaks a normative rule of the endpoint, which would drop it in silence.

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
