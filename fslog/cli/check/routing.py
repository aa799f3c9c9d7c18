"""How a record reaches one handler through the configured loggers, as `logging` itself decides.

The configured loggers are created in a private `logging.Manager`. Each of their handlers that
leads to the handler in question has a stand-in with its level and its filters. It passes records on
as the handler would, and notes the logger when a record arrives. Only the reason why a record does
not arrive is determined here, afterwards.

A logger without configuration keeps what its library sets (`frameworks.PRESETS`).
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from fslog import EventFormatter
from fslog.cli.check.configuration import ROOT, Configuration, LoggerConfig
from fslog.cli.check.frameworks import PRESETS

ABOVE_ALL = logging.CRITICAL + 1
"""Above every level of a record; only a level that is to silence a logger is as high."""


class Route(NamedTuple):
    """How a record reaches the handler.

    Args:
        by: the names of the loggers that pass it on, once for each time; empty if it is stopped.
        reason: what stops it; empty if it arrives.
        unasked: the filters that could not be asked, since they are not fslog's.
    """

    by: tuple[str, ...]
    reason: str = ""
    unasked: tuple[str, ...] = ()


class _StandIn(logging.Handler):
    """Stand in for a configured handler of one logger."""

    def __init__(
        self, name: str, level: int, arrived: Callable[[], None], targets: list[_StandIn]
    ) -> None:
        super().__init__(level)
        self.stands_for = name  # `Handler.name` would enter it into a registry of logging
        self.arrived = arrived
        self.targets = targets

    def emit(self, record: logging.LogRecord) -> None:
        self.arrived()
        for target in self.targets:
            if record.levelno >= target.level:
                target.handle(record)


class Routing:
    """Ask `logging` how records reach one handler of a configuration, given by its name."""

    def __init__(self, config: Configuration, handler: str) -> None:
        self._config = config
        self._handler = handler
        self._record: logging.LogRecord | None = None
        self._by: list[str] = []
        self._unasked: list[str] = []
        self._rejected_by: set[object] = set()
        self._root = logging.RootLogger(logging.WARNING)
        manager = logging.Manager(self._root)
        manager.loggerClass = logging.Logger  # the application may have set another
        self._root.manager = manager  # the default one obeys the application's logging.disable()
        self._loggers: dict[str, logging.Logger] = {}
        for name in [ROOT, *config.loggers, *PRESETS]:
            self._loggers[name] = self._root if name == ROOT else manager.getLogger(name)
        for name, logger in self._loggers.items():
            self._set_up(logger, config.loggers.get(name) or LoggerConfig(name))

    def _set_up(self, logger: logging.Logger, part: LoggerConfig) -> None:
        if part.level is not None:
            logger.setLevel(part.level)
        elif part.name in PRESETS:
            logger.setLevel(logging.INFO)
        logger.propagate = self._propagates(part)
        self._add_filters(logger, part.filters)
        logger.addHandler(logging.NullHandler())  # without any handler, logging prints the record
        for name in dict.fromkeys(part.handlers):
            for stand_in in self._stand_ins(name, logger.name, (), has_level=True):
                logger.addHandler(stand_in)

    def _propagates(self, part: LoggerConfig) -> bool:
        preset = PRESETS.get(part.name)
        if part.propagates is not None or preset is None or preset.propagates:
            return part.propagates is not False
        # gunicorn adds its own loggers, which propagate, to a configuration without any.
        return preset.library == "gunicorn" and not self._config.given.get("loggers")

    def _stand_ins(
        self, name: str, logger: str, before: tuple[str, ...], *, has_level: bool
    ) -> Iterator[_StandIn]:
        """Yield the stand-in for a handler, if it leads to the one in question."""
        part = self._config.handlers.get(name)
        if part is None or name in before:
            return
        targets: list[_StandIn] = []
        for target in part.targets:
            levels = part.respects_levels
            targets += self._stand_ins(target, logger, (*before, name), has_level=levels)
        is_end = name == self._handler
        if targets or is_end:
            level = part.level if has_level else logging.NOTSET
            arrived = functools.partial(self._by.append, logger) if is_end else lambda: None
            stand_in = _StandIn(name, level, arrived, targets)
            self._add_filters(stand_in, part.filters)
            yield stand_in

    def _add_filters(self, owner: Any, filters: Iterable[Any]) -> None:
        for one in filters:
            built = _built_filter(self._config, one)
            name = one if isinstance(one, str) else type(one).__name__
            owner.addFilter(functools.partial(self._passes, owner, name, built))

    def _passes(self, owner: object, name: str, built: Any, probe: logging.LogRecord) -> bool:
        """Return whether a filter accepts the current record, which the probe represents."""
        if self._record is None:
            return True
        if built is None:
            self._unasked.append(name)
            return True
        if built.filter(self._record):
            return True
        self._rejected_by.add(owner)
        return False

    def route(self, name: str, level: int | None, record: logging.LogRecord | None = None) -> Route:
        """Return how a record of a logger reaches the handler, or what stops it.

        Args:
            name: the logger's; `""` and `"root"` are the root logger.
            level: the record's; None for a record that no level stops.
            record: passed to filters; without it, they accept everything.
        """
        logger = self._logger(name)
        levelno = sys.maxsize if level is None else level
        if not logger.isEnabledFor(levelno):
            least, owner = self.level_of(name)
            level_name = logging.getLevelName(least)
            return Route((), f"{logger_label(owner)} accepts {level_name} and above")
        self._record, self._unasked, self._rejected_by = record, [], set()
        self._by.clear()
        logger.handle(logging.makeLogRecord({"name": logger.name, "levelno": levelno}))
        reason = "" if self._by else "; ".join(dict.fromkeys(self._reasons(logger, levelno)))
        return Route(tuple(self._by), reason, tuple(self._unasked))

    def _logger(self, name: str) -> logging.Logger:
        """Return a logger; one without configuration is not stored: a log may name any number."""
        found = self._loggers.get(name or ROOT)
        if found is None:
            found = logging.Logger(name)
            above = [one for one in self._loggers if f"{name}.".startswith(f"{one}.")]
            found.parent = self._loggers[max(above, key=len, default=ROOT)]
            found.manager = self._root.manager
        return found

    def _reasons(self, logger: logging.Logger, level: int) -> Iterator[str]:
        if logger in self._rejected_by:
            yield f"a filter of {logger_label(logger.name)} rejects it"
            return
        is_held = False
        for one in _ancestry(logger):
            for stand_in in _stand_ins_of(one):
                is_held = True
                yield from self._stops(stand_in, level)
            if not one.propagate and one is not self._root:
                part, preset = self._config.loggers.get(one.name), PRESETS.get(one.name)
                how = ""
                if preset is not None and (part is None or part.propagates is None):
                    how = f" (as {preset.library} sets it; configure propagate: true)"
                yield f"{logger_label(one.name)} does not propagate{how}"
                return
        if not is_held:
            yield f"neither {logger_label(logger.name)} nor any of its parents has the handler"

    def _stops(self, stand_in: _StandIn, level: int) -> Iterator[str]:
        name = stand_in.stands_for
        if level < stand_in.level:
            yield f"the handler {name} accepts {logging.getLevelName(stand_in.level)} and above"
        elif stand_in in self._rejected_by:
            yield f"a filter of the handler {name} rejects it"
        else:
            for target in stand_in.targets:
                yield from self._stops(target, level)

    def level_of(self, name: str) -> tuple[int, str]:
        """Return a logger's effective level, and the name of the logger that sets it."""
        logger = self._logger(name)
        owner = next((one for one in _ancestry(logger) if one.level), self._root)
        return logger.getEffectiveLevel(), owner.name

    def holders(self) -> list[str]:
        """Return the loggers with the handler or one that leads to it, the root logger first."""
        return [name for name, logger in self._loggers.items() if _stand_ins_of(logger)]


def _ancestry(logger: logging.Logger | None) -> Iterator[logging.Logger]:
    """Yield a logger and its parents."""
    while logger is not None:
        yield logger
        logger = logger.parent


def _stand_ins_of(logger: logging.Logger) -> list[_StandIn]:
    return [one for one in logger.handlers if isinstance(one, _StandIn)]


def _built_filter(config: Configuration, one: Any) -> Any:
    """Create a filter without effects: a plain `logging.Filter`, or an `EventFormatter`.

    None for any other, and for one that cannot be created, which `dry_run` reports.
    """
    if not isinstance(one, str):
        return one if isinstance(one, (logging.Filter, EventFormatter)) else None
    if config.factory("filters", one) is not logging.Filter and not config.is_event_filter(one):
        return None
    try:
        configurator = config.configurator()
        made = configurator.configure_filter(configurator.config["filters"][one])
    except Exception:
        return None
    if isinstance(made, EventFormatter):
        made.log_notice = lambda level, text: None  # the report has every problem
    return made


def logger_label(name: str) -> str:
    """Return what a message calls a logger."""
    return "the root logger" if name in ("", ROOT) else f"the logger {name}"
