"""A logging configuration in parts: loggers, handlers, what leads where, and what is wrong in it.

Nothing is built here. Classes are resolved, because a subclass of fslog's handler is one, too.
"""

from __future__ import annotations

import configparser
import contextlib
import difflib
import logging
import logging.config
import logging.handlers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fslog import EventFormatter, FreshsuccessHandler
from fslog.cli.check import hosts, inifiles
from fslog.cli.check.factories import makes

ROOT = "root"
"""The root logger's name, as `logging` has it."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a configuration, or probably not meant.

    Args:
        is_wrong: whether it is wrong; else it is doubtful.
        where: the part of the configuration that it is about, as a path of keys.
        message: a sentence that says what is there, and what to do.
    """

    is_wrong: bool
    where: str
    message: str


@dataclass(frozen=True)
class LoggerPart:
    """What is configured of one logger.

    Args:
        name: `ROOT` for the root logger.
        level: a number; None if none is given.
        propagates: None if nothing is said.
        handlers, filters: names; a filter may also be an object.
    """

    name: str
    level: int | None = None
    propagates: bool | None = None
    handlers: tuple[str, ...] = ()
    filters: tuple[Any, ...] = ()


@dataclass(frozen=True)
class HandlerPart:
    """What is configured of one handler.

    Args:
        name: in the configuration.
        factory: the class, or what stands at `()`; None if it cannot be resolved.
        level: a number; 0 where none is given.
        formatter: a name; None for none.
        filters: names, or objects.
        leads_to: the handlers that it hands its records on to.
        respects_levels: whether their levels count then.
    """

    name: str
    factory: Any
    level: int = 0
    formatter: str | None = None
    filters: tuple[Any, ...] = ()
    leads_to: tuple[str, ...] = ()
    respects_levels: bool = False


@dataclass
class Configuration:
    """A configuration in parts.

    Args:
        given: as for `dictConfig`.
        is_ini: whether it is for `fileConfig`.
        is_file: whether it stands in a file, rather than in a program.
        added: the sections that gunicorn has added.
    """

    given: dict[str, Any]
    is_ini: bool = False
    is_file: bool = False
    added: frozenset[str] = frozenset()
    loggers: dict[str, LoggerPart] = field(default_factory=dict)
    handlers: dict[str, HandlerPart] = field(default_factory=dict)
    formatters: Mapping[str, Any] = field(default_factory=dict)
    filters: Mapping[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def wrong(self, where: str, message: str) -> None:
        """Note what would not work."""
        self.findings.append(Finding(True, where, message))

    def doubt(self, where: str, message: str) -> None:
        """Note what is probably not meant."""
        self.findings.append(Finding(False, where, message))

    def configurator(self) -> Any:
        """Return the standard library's own interpreter of it, which has done nothing yet."""
        return logging.config.DictConfigurator(self.given)

    def is_event_filter(self, section: Mapping[str, Any]) -> bool:
        """Return whether a filter is fslog's formatter."""
        return makes(_factory(self, self.configurator(), "filters", section, None), EventFormatter)

    def root(self) -> LoggerPart:
        """Return the root logger's part; its level is WARNING unless that is changed."""
        return self.loggers.get(ROOT) or LoggerPart(ROOT)


def configuration(given: Any, *, is_file: bool = False, name: str = "") -> Configuration:
    """Take a configuration apart.

    Args:
        given: a mapping as for `dictConfig`, or an ini file's sections.
        is_file: see `Configuration`.
        name: what it is called in its module, which tells whom it is for.
    """
    if isinstance(given, configparser.RawConfigParser):
        made = Configuration({}, is_ini=True, is_file=True)
        made.given = inifiles.as_mapping(given, made.wrong)
    else:
        given, added = hosts.completed(name, given), hosts.added(name, given)
        made = Configuration(given, is_file=is_file, added=added)
        if made.given.get("version") != 1:
            what = repr(made.given["version"]) if "version" in made.given else "missing"
            made.wrong("version", f"it is {what}; dictConfig takes 1 and nothing else")
        if made.given.get("incremental"):
            made.wrong("incremental", "it is true, which changes levels only and makes no handlers")
    resolve = made.configurator()
    made.formatters = _section(made, "formatters")
    made.filters = _section(made, "filters")
    for name, section in _section(made, "handlers").items():
        if isinstance(section, Mapping):
            made.handlers[str(name)] = _handler(made, resolve, str(name), section)
        else:
            made.wrong(f"handlers.{name}", "it is no mapping")
    _read_loggers(made)
    return made


def _section(made: Configuration, name: str) -> Mapping[Any, Any]:
    section = made.given.get(name)
    if isinstance(section, Mapping):
        return section
    if section is not None:
        made.wrong(name, f"it is of type {type(section).__name__}; expected a mapping")
    return {}


def _handler(
    made: Configuration, resolve: Any, name: str, section: Mapping[str, Any]
) -> HandlerPart:
    where = f"handlers.{name}"
    factory = _factory(made, resolve, where, section, needed="class")
    formatter = section.get("formatter")
    if formatter and (not isinstance(formatter, str) or formatter not in made.formatters):
        names = _nearest(formatter, made.formatters)
        made.wrong(where, f"its formatter {formatter!r} is not among the formatters{names}")
    filters = _names(made, where, section, "filters")
    _look_for_filters(made, where, filters)
    return HandlerPart(
        name,
        factory,
        _level(made, where, section) or 0,
        str(formatter) if formatter else None,
        filters,
        _handed_on(factory, section),
        bool(section.get("respect_handler_level")),
    )


def _factory(
    made: Configuration, resolve: Any, where: str, section: Mapping[str, Any], needed: str | None
) -> Any:
    """Return the class or function that makes something; None if there is none."""
    named = section.get("()", section.get("class"))
    if named is None:
        if needed:
            made.wrong(where, f"it has no {needed}, and no '()' either")
        return None
    if not isinstance(named, str):
        return named
    try:
        return resolve.resolve(named.removeprefix("ext://"))
    except (Exception, SystemExit) as error:  # what importing somebody's module raises
        hint = _nearest(named, ("fslog.FreshsuccessHandler", "fslog.EventFormatter"))
        made.wrong(where, f"{str(error) or type(error).__name__}{hint}")
        return None


def formatter_factory(made: Configuration, name: str) -> Any:
    """Return the class or function that makes a formatter; None if there is none to be had."""
    section = made.formatters.get(name)
    if not isinstance(section, Mapping):
        return None
    return _factory(made, made.configurator(), f"formatters.{name}", section, needed=None)


def is_posting(part: HandlerPart) -> bool:
    """Return whether a handler is fslog's."""
    return makes(part.factory, FreshsuccessHandler)


def is_writing(made: Configuration, part: HandlerPart) -> bool:
    """Return whether another's handler writes events, by fslog's formatter."""
    if part.formatter is None or is_posting(part):
        return False
    return makes(formatter_factory(made, part.formatter), EventFormatter)


def _handed_on(factory: Any, section: Mapping[str, Any]) -> tuple[str, ...]:
    if makes(factory, logging.handlers.MemoryHandler) and isinstance(section.get("target"), str):
        return (section["target"],)
    if makes(factory, logging.handlers.QueueHandler):  # dictConfig does that from 3.12 on
        handlers = section.get("handlers")
        if isinstance(handlers, (list, tuple)):
            return tuple(str(name) for name in handlers)
    return ()


def _read_loggers(made: Configuration) -> None:
    sections = {str(name): one for name, one in _section(made, "loggers").items()}
    if isinstance(made.given.get("root"), Mapping):
        sections["root"] = made.given["root"]
    for name, section in sections.items():
        where = ROOT if name in ("", ROOT) else f"loggers.{name}"
        if not isinstance(section, Mapping):
            made.wrong(where, "it is no mapping")
            continue
        handlers = tuple(str(one) for one in _names(made, where, section, "handlers"))
        for one in handlers:
            if one not in made.handlers:
                hint = _nearest(one, made.handlers)
                whole = ROOT if where == ROOT else "loggers"
                if whole in made.added:
                    hint = f"; gunicorn adds its own {whole} where none are given: give some"
                made.wrong(where, f"its handler {one!r} is not among the handlers{hint}")
        filters = _names(made, where, section, "filters")
        _look_for_filters(made, where, filters)
        propagates = section.get("propagate")
        part = LoggerPart(
            ROOT if where == ROOT else name,
            _level(made, where, section),
            None if propagates is None else bool(propagates),
            handlers,
            filters,
        )
        made.loggers[part.name] = part


def _look_for_filters(made: Configuration, where: str, filters: Iterable[Any]) -> None:
    for one in filters:
        if isinstance(one, str) and one not in made.filters:
            hint = _nearest(one, made.filters)
            made.wrong(where, f"its filter {one!r} is not among the filters{hint}")


def _names(
    made: Configuration, where: str, section: Mapping[str, Any], name: str
) -> tuple[Any, ...]:
    given = _converted(made, section.get(name))
    if given is None:
        return ()
    if isinstance(given, (list, tuple)):
        return tuple(given)
    made.wrong(f"{where}.{name}", f"it is of type {type(given).__name__}; expected a list")
    return ()


def _converted(made: Configuration, value: Any) -> Any:
    """Return what `ext://` and `cfg://` stand for; as it is where they lead nowhere."""
    if isinstance(value, str) and "://" in value:
        with contextlib.suppress(Exception):  # said where the value is refused
            return made.configurator().convert(value)
    return value


def _level(made: Configuration, where: str, section: Mapping[str, Any]) -> int | None:
    level = _converted(made, section.get("level"))
    if level is None or (isinstance(level, int) and not isinstance(level, bool)):
        return level
    number = logging.getLevelName(level) if isinstance(level, str) else None
    if isinstance(number, int):
        return number
    hint = _nearest(str(level).upper(), ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
    made.wrong(f"{where}.level", f"{level!r} is no level that is known here{hint}")
    return None


def _nearest(name: object, known: Iterable[Any]) -> str:
    """Return a guess at what was meant, in words; empty where there is none."""
    near = difflib.get_close_matches(str(name), [str(one) for one in known], 1)
    return f"; did you mean {near[0]!r}?" if near else ""
