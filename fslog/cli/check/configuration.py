"""A logging configuration in parts: loggers, handlers, formatters, filters, and diagnostics.

Nothing is created here. Classes are resolved, since a subclass of fslog's handler is one, too.
"""

from __future__ import annotations

import configparser
import contextlib
import functools
import logging
import logging.config
import logging.handlers
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fslog import EventFormatter, FreshsuccessHandler
from fslog.cli.check import frameworks
from fslog.config import did_you_mean
from fslog.config.files import without_quotes

ROOT = "root"
"""The root logger's name, as in `logging`."""

_RAW_OPTIONS = ("format", "datefmt", "style", "defaults")
"""Options of an ini file's formatters, which fileConfig reads without interpolation."""


@dataclass(frozen=True)
class Diagnostic:
    """What is wrong with a configuration.

    Args:
        kind: `error` if the configuration, or fslog, cannot work; `warning` if it works, but
            probably not as intended.
        where: the part of the configuration, as a path of keys.
        message: what is there, and what to do.
    """

    kind: str
    where: str
    message: str


@dataclass(frozen=True)
class LoggerConfig:
    """The configuration of one logger, `ROOT` or another; None for a value that is not set."""

    name: str
    level: int | None = None
    propagates: bool | None = None
    handlers: tuple[str, ...] = ()
    filters: tuple[Any, ...] = ()


@dataclass(frozen=True)
class HandlerConfig:
    """The configuration of one handler.

    Args:
        factory: the value of `class` or `()`, resolved; None if it cannot be resolved.
        filters: names or objects, as those of a logger.
        targets: the handlers to which it passes its records on.
        respects_levels: whether it applies the levels of its targets.
    """

    name: str
    factory: Any
    level: int = 0
    formatter: str | None = None
    filters: tuple[Any, ...] = ()
    targets: tuple[str, ...] = ()
    respects_levels: bool = False

    @property
    def posts(self) -> bool:
        """Whether it is a `FreshsuccessHandler`; if not, it may write events as lines."""
        return makes(self.factory, FreshsuccessHandler)


@dataclass
class Configuration:
    """A logging configuration.

    Args:
        given: the mapping for `dictConfig`.
        is_ini: whether it was written for `fileConfig`.
        is_file: whether it is in a data file, not in a program.
        added: the sections that gunicorn adds.
        is_gunicorn: whether gunicorn loads it.
        obstacles: what may keep records from arriving although it is right.
    """

    given: dict[str, Any]
    is_ini: bool = False
    is_file: bool = False
    added: frozenset[str] = frozenset()
    is_gunicorn: bool = False
    obstacles: list[Any] = field(default_factory=list)
    loggers: dict[str, LoggerConfig] = field(default_factory=dict)
    handlers: dict[str, HandlerConfig] = field(default_factory=dict)
    formatters: Mapping[str, Any] = field(default_factory=dict)
    filters: Mapping[str, Any] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)

    @property
    def has_errors(self) -> bool:
        """Whether any diagnostic is an error."""
        return self.count("error") > 0

    def count(self, kind: str) -> int:
        """Return how many diagnostics are of a kind, `"error"` or `"warning"`."""
        return sum(one.kind == kind for one in self.diagnostics)

    def error(self, where: str, message: str) -> None:
        """Report what cannot work."""
        self.diagnostics.append(Diagnostic("error", where, message))

    def warn(self, where: str, message: str) -> None:
        """Report what is probably not intended."""
        self.diagnostics.append(Diagnostic("warning", where, message))

    def configurator(self) -> Any:
        """Return the standard library's interpreter of the mapping; it has created nothing yet."""
        return logging.config.DictConfigurator(self.given)

    def factory(self, kind: str, name: str) -> Any:
        """Return what creates one of the `formatters` or `filters`; None if it is unknown."""
        section = getattr(self, kind).get(name)
        if not isinstance(section, Mapping):
            return None
        if kind == "filters" and "()" not in section:
            return logging.Filter
        return _factory(self, f"{kind}.{name}", section)

    def is_event_filter(self, name: str) -> bool:
        """Return whether a filter is an `EventFormatter`."""
        return makes(self.factory("filters", name), EventFormatter)

    def writes_events(self, part: HandlerConfig) -> bool:
        """Return whether a handler has an `EventFormatter`."""
        name = part.formatter
        return name is not None and makes(self.factory("formatters", name), EventFormatter)


def parse(given: Any, *, is_file: bool = False, name: str = "") -> Configuration:
    """Return a configuration in parts, with what is visible without creating any of them.

    Args:
        given: a mapping for `dictConfig`, or the sections of an ini file.
        is_file: see `Configuration`.
        name: of the variable that holds it; it identifies gunicorn's and Jupyter's configuration.
    """
    if isinstance(given, configparser.RawConfigParser):
        config = Configuration({}, is_ini=True, is_file=True)
        config.given = ini_mapping(given, config)
    else:
        full = frameworks.with_defaults(name, given)
        config = Configuration(full, is_file=is_file)
        config.is_gunicorn = frameworks.is_gunicorn(name)
        if config.is_gunicorn:
            config.added = frozenset(full) - set(given)
        if full.get("version") != 1:
            found = repr(full["version"]) if "version" in full else "missing"
            config.error("version", f"{found}; dictConfig accepts only 1")
        if full.get("incremental"):
            config.error("incremental", "true: dictConfig only changes levels, creates no handlers")
    config.formatters = _section(config, "formatters")
    config.filters = _section(config, "filters")
    _share_formatters(config)
    for key, section in _section(config, "handlers").items():
        _read_handler(config, str(key), section)
    loggers = {str(key): section for key, section in _section(config, "loggers").items()}
    if isinstance(config.given.get("root"), Mapping):
        loggers[ROOT] = config.given["root"]
    for key, section in loggers.items():
        _read_logger(config, key or ROOT, section)
    return config


_REFERENCE = re.compile(r"cfg://formatters\s*(?:\.\s*(\w+)|\[\s*([^\]]+?)\s*\])\s*")


def _expected(what: str, found: object) -> str:
    return f"expected {what}, found {type(found).__name__}"


def _section(config: Configuration, name: str) -> Mapping[Any, Any]:
    section = config.given.get(name)
    if isinstance(section, Mapping):
        return section
    if section is not None:
        config.error(name, _expected("a mapping", section))
    return {}


def _share_formatters(config: Configuration) -> None:
    """Replace each filter that is a formatter, by `(): cfg://formatters.NAME`, by an equal one.

    In a dry run no formatter has been created that the reference could name.
    """
    shared = {}
    for name, section in config.filters.items():
        factory = section.get("()") if isinstance(section, Mapping) else None
        found = _REFERENCE.fullmatch(factory) if isinstance(factory, str) else None
        if found is None:
            continue
        formatter = found[1] or found[2]
        if makes(config.factory("formatters", formatter), EventFormatter):
            made = config.formatters[formatter]
            shared[name] = dict(made) if "()" in made else {"()": made["class"]}
        else:
            others = [one for one in config.formatters if one != formatter]
            hint = did_you_mean(formatter, others)
            message = f"{formatter!r} is not a formatter of the class fslog.EventFormatter{hint}"
            config.error(f"filters.{name}", message)
            shared[name] = {}
    if shared:
        config.filters = {**config.filters, **shared}
        config.given = {**config.given, "filters": config.filters}


def _read_handler(config: Configuration, name: str, section: Any) -> None:
    where = f"handlers.{name}"
    if not isinstance(section, Mapping):
        config.error(where, _expected("a mapping", section))
        return
    if section.get("()", section.get("class")) is None:
        config.error(where, "class is missing; expected class, or '()'")
    factory = _factory(config, where, section)
    formatter = section.get("formatter")
    if formatter and (not isinstance(formatter, str) or formatter not in config.formatters):
        config.error(
            where, f"unknown formatter {formatter!r}{did_you_mean(formatter, config.formatters)}"
        )
    config.handlers[name] = HandlerConfig(
        name,
        factory,
        level=_level(config, where, section) or 0,
        formatter=str(formatter) if formatter else None,
        filters=_names(config, where, section, "filters"),
        targets=_targets(factory, section),
        respects_levels=bool(section.get("respect_handler_level")),
    )


def _factory(config: Configuration, where: str, section: Mapping[str, Any]) -> Any:
    """Return the class or function that creates something; None if there is none."""
    named = section.get("()", section.get("class"))
    if not isinstance(named, str):
        return named
    try:
        return config.configurator().resolve(named.removeprefix("ext://"))
    except (Exception, SystemExit) as error:  # whatever importing the module raises
        hint = did_you_mean(named, ("fslog.FreshsuccessHandler", "fslog.EventFormatter"))
        config.error(where, f"{str(error) or type(error).__name__}{hint}")
        return None


def makes(factory: Any, kind: type) -> bool:
    """Return whether a factory is a subclass of a class, or a function whose code names one.

    A function is not called, since it might open a file. What is not callable makes nothing.

    >>> makes(functools.partial(TimeoutError, "late"), OSError), makes(KeyError, OSError)
    (True, False)
    >>> makes(lambda: TimeoutError(), TimeoutError), makes(lambda: open("a.log"), TimeoutError)
    (True, False)
    """
    while isinstance(factory, functools.partial):
        factory = factory.func
    if isinstance(factory, type):
        return issubclass(factory, kind)
    owner = getattr(factory, "__self__", None)
    if isinstance(owner, type) and issubclass(owner, kind):
        return True
    names = getattr(getattr(factory, "__code__", None), "co_names", ())
    scope = getattr(factory, "__globals__", {})
    known = [scope.get(name) for name in names]
    return kind.__name__ in names or any(isinstance(k, type) and issubclass(k, kind) for k in known)


def _targets(factory: Any, section: Mapping[str, Any]) -> tuple[str, ...]:
    if makes(factory, logging.handlers.MemoryHandler) and isinstance(section.get("target"), str):
        return (section["target"],)
    if makes(factory, logging.handlers.QueueHandler):  # dictConfig connects them from 3.12 on
        handlers = section.get("handlers")
        if isinstance(handlers, (list, tuple)):
            return tuple(str(name) for name in handlers)
    return ()


def _read_logger(config: Configuration, name: str, section: Any) -> None:
    where = logger_path(name)
    if not isinstance(section, Mapping):
        config.error(where, _expected("a mapping", section))
        return
    propagates = section.get("propagate")
    config.loggers[name] = LoggerConfig(
        name,
        level=_level(config, where, section),
        propagates=None if propagates is None else bool(propagates),
        handlers=_names(config, where, section, "handlers"),
        filters=_names(config, where, section, "filters"),
    )


def logger_path(name: str) -> str:
    """Return where a logger's section is."""
    return ROOT if name == ROOT else f"loggers.{name}"


def _names(
    config: Configuration, where: str, section: Mapping[str, Any], kind: str
) -> tuple[Any, ...]:
    """Return the `handlers` or `filters` of a section; a filter may be an object."""
    given = _converted(config, section.get(kind))
    if given is None:
        return ()
    if not isinstance(given, (list, tuple)):
        config.error(f"{where}.{kind}", _expected("a list", given))
        return ()
    found = tuple(str(one) if kind == "handlers" else one for one in given)
    known = getattr(config, kind)
    for one in found:
        if isinstance(one, str) and one not in known:
            hint = did_you_mean(one, known)
            part = where.partition(".")[0]
            if part in config.added:
                hint = f"; gunicorn adds its own {part} to a configuration without: define {part}"
            config.error(where, f"unknown {kind[:-1]} {one!r}{hint}")
    return found


def _converted(config: Configuration, value: Any) -> Any:
    """Return what `ext://` or `cfg://` refers to; the value itself if that does not exist."""
    if isinstance(value, str) and "://" in value:
        with contextlib.suppress(Exception):  # the value is then reported
            return config.configurator().convert(value)
    return value


def _level(config: Configuration, where: str, section: Mapping[str, Any]) -> int | None:
    level = _converted(config, section.get("level"))
    if level is None or (isinstance(level, int) and not isinstance(level, bool)):
        return level
    number = logging.getLevelName(level) if isinstance(level, str) else None
    if isinstance(number, int):
        return number
    hint = did_you_mean(str(level).upper(), ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
    config.error(f"{where}.level", f"unknown level {level!r}{hint}")
    return None


def ini_mapping(parser: configparser.RawConfigParser, config: Configuration) -> dict[str, Any]:
    """Return the mapping for `dictConfig` that is equivalent to a file for `fileConfig`.

    fileConfig evaluates `args` and `kwargs` as Python; here only those of fslog's handlers are.
    The file has the sections that fileConfig requires; the configuration gets the diagnostics.

    >>> parser = configparser.ConfigParser()
    >>> parser.read_string(
    ...     "[loggers]\\nkeys=root\\n[handlers]\\nkeys=h\\n[formatters]\\nkeys=\\n"
    ...     "[logger_root]\\nlevel=INFO\\nhandlers=h\\n"
    ...     "[handler_h]\\nclass=fslog.FreshsuccessHandler\\nkwargs={'session': 'idle'}\\n")
    >>> ini_mapping(parser, Configuration({}))["handlers"]
    {'h': {'class': 'fslog.FreshsuccessHandler', 'session': 'idle'}}
    """
    section = functools.partial(_ini_section, parser, config)
    loggers = {}
    for key in _split(section("loggers"), "keys"):
        given = section(f"logger_{key}")
        name = ROOT if key == "root" else given.get("qualname", "")
        if not name:
            config.error(f"logger_{key}", "qualname, the logger's name, is missing")
            continue
        # Unlike dictConfig, fileConfig sets propagate even if the section does not.
        made: dict[str, Any] = {"propagate": given.get("propagate", "1").strip() not in ("0", "")}
        made["handlers"] = _split(given, "handlers")
        loggers[name] = made | ({"level": given["level"]} if "level" in given else {})
    return {
        "version": 1,
        "formatters": {
            key: _given(section(f"formatter_{key}"), "class", "format", "datefmt", "style")
            for key in _split(section("formatters"), "keys")
        },
        "handlers": {
            key: _ini_handler(config, key, section(f"handler_{key}"))
            for key in _split(section("handlers"), "keys")
        },
        "root": loggers.pop(ROOT, {}),
        "loggers": loggers,
    }


def _ini_section(
    parser: configparser.RawConfigParser, config: Configuration, name: str
) -> dict[str, str]:
    if not parser.has_section(name):
        config.error(name, "this section is missing")
        return {}
    found = {}
    for option in parser.options(name):
        try:
            found[option] = parser.get(name, option, raw=option in _RAW_OPTIONS)
        except configparser.InterpolationError as error:
            what = f"invalid % substitution ({type(error).__name__})"
            config.error(f"{name}.{option}", f"{what}; write %% for a percent sign")
    return found


def _split(section: dict[str, str], option: str) -> list[str]:
    return [name.strip() for name in section.get(option, "").split(",") if name.strip()]


def _given(section: dict[str, str], *options: str) -> dict[str, Any]:
    return {name: section[name] for name in options if section.get(name)}


def _ini_handler(config: Configuration, key: str, section: dict[str, str]) -> dict[str, Any]:
    made = _given(section, "class", "level", "formatter", "target")
    factory = _ini_class(section.get("class", ""))
    if not makes(factory, FreshsuccessHandler):
        return made | ({"class": factory} if isinstance(factory, type) else {})
    where, scope = f"handler_{key}", vars(logging)  # as in fileConfig
    try:
        positional = eval(section.get("args", "()"), scope)
        named = eval(section.get("kwargs", "{}"), scope)
        if positional:
            config.error(where, "args is not empty; pass the arguments by name in kwargs")
        return made | dict(named)
    except Exception as error:  # whatever the expression raises
        config.error(where, f"cannot evaluate the arguments: {expression_error(error)}")
        return made


def _ini_class(name: str) -> Any:
    """Return a handler's class, searched for in `logging` first; None if there is none."""
    found: Any = logging
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not None:
        return found
    try:
        return logging.config.DictConfigurator({}).resolve(name)
    except Exception:  # `parse` reports it
        return None


def expression_error(error: Exception) -> str:
    """Return why Python cannot evaluate an expression, without any of its text."""
    kind = type(error).__name__
    if isinstance(error, (NameError, AttributeError)):
        return f"{kind}: unknown name; does a string lack its quotes?"
    return f"{kind}: {without_quotes(str(error)) if isinstance(error, ValueError) else error}"
