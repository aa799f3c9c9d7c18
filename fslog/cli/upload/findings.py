"""What is wrong with the lines of a file, counted by kind, with the first line numbers of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fslog.cli.output import Part
from fslog.errors import Problem

_KEPT = 10
"""So many line numbers of each kind are kept;"""

_SHOWN = 5
"""and so many are shown."""

_NAME = 26


@dataclass
class Group:
    """Count one kind of problem.

    Args:
        code, about: code and property of the problems.
        message: the first one's.
        count: how many there are.
        lines: the numbers of the first lines that have it.
    """

    code: str
    about: str
    message: str
    count: int = 0
    lines: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Return what to call the kind: its code, and the property that it is about."""
        return f"{self.code} {self.about}".rstrip()

    def json(self) -> dict[str, Any]:
        """Return it for a program."""
        return {
            "code": self.code,
            "property": self.about,
            "count": self.count,
            "lines": self.lines,
            "message": self.message,
        }


class Findings:
    """Count problems by code and property, of which there is only a small number of pairs."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], Group] = {}
        self.lines = 0

    def __iter__(self) -> Iterator[Group]:
        """Yield the kinds, the most frequent first."""
        return iter(sorted(self._groups.values(), key=lambda group: -group.count))

    def add(self, number: int, problems: Iterable[Problem]) -> None:
        """Count one line's problems."""
        self.lines += 1
        for problem in problems:
            key = (problem.code, problem.property)
            group = self._groups.setdefault(key, Group(*key, problem.message))
            group.count += 1
            if len(group.lines) < _KEPT:
                group.lines.append(number)

    def json(self) -> list[dict[str, Any]]:
        """Return the kinds for a program, the most frequent first."""
        return [group.json() for group in self]

    def rows(self, style: str) -> Iterator[tuple[Part, ...]]:
        """Yield a line for each kind: how many, which, where, and the first one's message."""
        for group in self:
            yield (
                (f"{group.count:>11,}  ", style),
                (f"{group.name:{_NAME - 1}} ", "bold"),
                (f"{places(group)}: {group.message}", ""),
            )


def places(group: Group) -> str:
    """Return where a problem was first found.

    >>> places(Group("missing", "userId", "", 1, [7]))
    'line 7'
    >>> places(Group("missing", "userId", "", 7, [1, 2, 3, 4, 5, 6, 7]))
    'lines 1, 2, 3, 4, 5, ...'
    """
    numbers = ", ".join(map(str, group.lines[:_SHOWN]))
    more = ", ..." if group.count > _SHOWN else ""
    return f"line{'' if group.count == 1 else 's'} {numbers}{more}"
