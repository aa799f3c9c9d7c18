"""The way of a record through configured loggers and handlers, as `logging` itself leads it.

What is not configured is as the libraries that log there leave it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

from fslog.cli.check.configurations import ROOT, Configuration, HandlerPart, LoggerPart
from fslog.cli.check.targets import filter_of


class _Preset(NamedTuple):
    library: str
    propagates: bool


PRESETS = {
    "django": _Preset("Django", True),
    "django.server": _Preset("Django", False),
    "gunicorn.access": _Preset("gunicorn", False),
    "gunicorn.error": _Preset("gunicorn", False),
}
"""Loggers that their library gives the level INFO, and perhaps takes away from the root logger,
before the configuration is loaded (`django.utils.log.DEFAULT_LOGGING`, `gunicorn.glogging.Logger`).
"""


class Way(NamedTuple):
    """How a record comes to a handler.

    Args:
        by: the loggers that hand it on, by name; empty where it does not come.
        why: what stops it, in words; empty where it comes.
        unsure: the filters on the way that were not asked, because they are not fslog's.
    """

    by: tuple[str, ...]
    why: str = ""
    unsure: tuple[str, ...] = ()


class Routes:
    """Lead records through a configuration.

    Args:
        made: the configuration.
    """

    def __init__(self, made: Configuration) -> None:
        self._made = made
        self._filters: dict[Any, Any] = {}

    def way(
        self, logger: str, level: int | None, handler: str, record: logging.LogRecord | None = None
    ) -> Way:
        """Return how a record of a logger comes to a handler, or what stops it.

        Args:
            logger: `""` or `"root"` for the root logger.
            level: of the record; None if no level is to stop it.
            handler: its name.
            record: what filters are asked about; None asks none of them.
        """
        name = ROOT if logger == "root" else logger
        taken, who = self.level_of(name)
        if level is not None and level < taken:
            return Way((), f"{_said(who)} takes {_level(taken)} and above")
        unsure: list[str] = []
        own = self._part(name)
        if not self._passes(own.filters, record, unsure):
            return Way((), f"a filter of {_said(name)} stops it", tuple(unsure))
        by: list[str] = []
        stops: list[str] = []
        for part in self._chain(name):
            for path in self._paths(part, handler):
                stop = self._stop(path, level, record, unsure)
                if not stop:
                    by.append(part.name)
                elif stop not in stops:
                    stops.append(stop)
            if not self.propagates(part.name) and part.name != ROOT:
                stops.append(f"{_said(part.name)} does not propagate{self._preset(part)}")
                break
        if by:
            return Way(tuple(by), "", tuple(unsure))
        nobody = f"neither {_said(name)} nor any above it has the handler"
        return Way((), "; ".join(stops) or nobody, tuple(unsure))

    def level_of(self, name: str) -> tuple[int, str]:
        """Return the level from which on a logger takes records, and the logger that says so."""
        for part in self._chain(name):
            if part.level:
                return part.level, part.name
            if part.level is None and part.name in PRESETS:
                return logging.INFO, part.name
        level = self._made.root().level
        return logging.WARNING if level is None else level, ROOT

    def propagates(self, name: str) -> bool:
        """Return whether a logger hands its records on to the one above it."""
        part = self._part(name)
        if part.propagates is not None:
            return part.propagates
        preset = PRESETS.get(name)
        if preset is None or preset.propagates:
            return True
        # To a configuration without any loggers gunicorn adds its own, which propagate.
        return preset.library == "gunicorn" and not self._made.given.get("loggers")

    def holders(self, handler: str) -> list[str]:
        """Return the loggers that have a handler or one that leads to it, the root logger first."""
        parts = [self._made.root(), *self._made.loggers.values()]
        found = [part.name for part in parts if any(True for _ in self._paths(part, handler))]
        return list(dict.fromkeys(found))

    def _preset(self, part: LoggerPart) -> str:
        preset = PRESETS.get(part.name)
        if preset is None or part.propagates is not None:
            return ""
        return f" ({preset.library} sees to that, unless it is configured with propagate: true)"

    def _part(self, name: str) -> LoggerPart:
        if name == ROOT:
            return self._made.root()
        return self._made.loggers.get(name) or LoggerPart(name)

    def _chain(self, name: str) -> Iterator[LoggerPart]:
        """Yield a logger and all above it."""
        while name:
            yield self._part(name)
            name = name.rpartition(".")[0]
        yield self._made.root()

    def _paths(self, part: LoggerPart, handler: str) -> Iterator[list[HandlerPart]]:
        """Yield the handlers, from a logger's own on, that lead to one."""
        for name in dict.fromkeys(part.handlers):
            yield from self._onward(name, handler, [])

    def _onward(
        self, name: str, handler: str, before: list[HandlerPart]
    ) -> Iterator[list[HandlerPart]]:
        part = self._made.handlers.get(name)
        if part is None or part in before:
            return
        path = [*before, part]
        if name == handler:
            yield path
        for onward in part.leads_to:
            yield from self._onward(onward, handler, path)

    def _stop(
        self,
        path: list[HandlerPart],
        level: int | None,
        record: logging.LogRecord | None,
        unsure: list[str],
    ) -> str:
        for part in path:
            if level is not None and level < part.level:
                return f"the handler {part.name} takes {_level(part.level)} and above"
            if not self._passes(part.filters, record, unsure):
                return f"a filter of the handler {part.name} stops it"
        return ""

    def _passes(
        self, filters: tuple[Any, ...], record: logging.LogRecord | None, unsure: list[str]
    ) -> bool:
        if record is None:
            return True
        for one in filters:
            known = self._filter(one)
            if known is None:
                unsure.append(one if isinstance(one, str) else type(one).__name__)
            elif not known.filter(record):
                return False
        return True

    def _filter(self, one: Any) -> Any:
        key: Any = one if isinstance(one, str) else id(one)
        if key not in self._filters:
            self._filters[key] = filter_of(self._made, one)
        return self._filters[key]


def _said(name: str) -> str:
    return f"the logger {name}" if name else "the root logger"


def _level(number: int) -> str:
    return str(logging.getLevelName(number))
