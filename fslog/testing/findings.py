"""A problem of an event, with the place of the log call that made it."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from fslog.errors import Problem
from fslog.mapping.schema import WARNINGS


@dataclass(frozen=True)
class Finding(Problem):
    """Say what is wrong with one event, and which log call made it.

    Args:
        code, property, message, event: see `fslog.Problem`.
        place: file and line of the log call, and its logger; `""` where they are not known: the
            event came from another process.

    >>> str(Finding("missing", "userId", "userId is missing", None, "shop.py:7, logger 'shop'"))
    "shop.py:7, logger 'shop': userId is missing [missing]"
    """

    place: str = ""

    @property
    def is_warning(self) -> bool:
        """Whether the event is sent all the same."""
        return self.code in WARNINGS

    def __str__(self) -> str:
        where = self.place or "from another process"
        return f"{where}: {self.message} [{self.code}]"


def finding(problem: Problem, place: str = "") -> Finding:
    """Return a problem with its place."""
    return Finding(problem.code, problem.property, problem.message, problem.event, place)


def place_of(record: logging.LogRecord) -> str:
    """Return the file, the line and the logger of a log call, for a person and an editor.

    A file beneath the working directory is named from there.

    >>> place_of(logging.LogRecord("shop", 20, "/srv/shop/views.py", 7, "sold", (), None))
    "/srv/shop/views.py:7, logger 'shop'"
    """
    seen = record.__dict__.get  # records made by hand may lack anything
    path, here = str(seen("pathname")), os.path.join(os.getcwd(), "")
    return f"{path.removeprefix(here)}:{seen('lineno')}, logger {seen('name')!r}"
