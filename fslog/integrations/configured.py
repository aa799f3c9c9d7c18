"""The part of a logging configuration that `fslog run` and `fslog.auto` carry out."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fslog import EventFormatter
from fslog.config import AUTO, did_you_mean, flushes_on_sigterm
from fslog.config.files import SourceError
from fslog.delivery.notices import write_stderr
from fslog.mapping.privacy import key_needed
from fslog.net.keys import known_keys
from fslog.net.redaction import Redactor, printable

CLASSES = ("fslog.FreshsuccessHandler", "fslog.handler.FreshsuccessHandler")
"""What the `class` of a handler has to be: a subclass may be in a module of the application."""

DEFAULT: Mapping[str, Any] = {
    "version": 1,
    "handlers": {"usage": {"class": CLASSES[0]}},
    "root": {"handlers": ["usage"], "level": "INFO"},
}
"""The configuration if none is given."""

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class LoggerSettings(NamedTuple):
    """What a configuration says about one logger.

    Args:
        names: those of the handlers that get its records.
        level: 0 if it has none.
        owner: the logger that has this level: this one, or a parent; None without a level.
    """

    names: tuple[str, ...]
    level: int
    owner: str | None


class Configured:
    """fslog's handlers in a configuration, and the loggers that have them.

    Args:
        given: a mapping for `dictConfig`.
        source: where it was found, for messages.

    Raises:
        SourceError: it is invalid, as far as that is visible without creating anything.
    """

    def __init__(self, given: Mapping[str, Any], source: str) -> None:
        self._given = given
        self._source = source
        self._has_reported = False
        try:
            self._check(given)
        except SourceError as error:
            raise SourceError(f"{source}: {error}") from None

    def _check(self, given: Mapping[str, Any]) -> None:
        if given.get("version") != 1:
            raise SourceError(f"version is {given.get('version')!r}; dictConfig accepts only 1")
        handlers, loggers = _mapping(given, "handlers"), _mapping(given, "loggers")
        self._names = [name for name, section in handlers.items() if class_of(section) in CLASSES]
        self._sections = {str(name): _mapping(loggers, name, "loggers.") for name in loggers}
        self._sections["root"] = _mapping(given, "root")
        self._levels = {
            name: _checked_level(name, section, handlers)
            for name, section in self._sections.items()
        }
        self._check_handlers(handlers)

    def _check_handlers(self, handlers: Mapping[Any, Any]) -> None:
        if not self._names:
            hints = (did_you_mean(class_of(one), CLASSES[:1]) for one in handlers.values())
            hint = next(filter(None, hints), f"; add one with class: {CLASSES[0]}")
            raise SourceError(f"handlers: none is fslog's{hint}")
        used = {name for section in self._sections for name in self.logger(section).names}
        for name in self._names:
            if name not in used:
                raise SourceError(f"handlers.{name}: no logger has it; add it to root.handlers")

    def logger(self, name: str) -> LoggerSettings:
        """Return the settings of a logger, as it inherits them from its parents."""
        names: dict[str, None] = {}
        owner = next((one for one in _ancestry(name) if self._levels.get(one)), None)
        for one in _ancestry(name):
            section = self._sections.get(one, {})
            held = section.get("handlers") or ()
            names.update(dict.fromkeys(handler for handler in held if handler in self._names))
            if section.get("propagate") in (False, 0):
                break
        return LoggerSettings(tuple(names), self._levels[owner] if owner else 0, owner)

    def flushes_on_sigterm(self) -> bool:
        """Return whether a handler delivers before SIGTERM ends the process.

        Raises:
            TypeError, ValueError: the argument is invalid.
        """
        sections = [self._given["handlers"][name] for name in self._names]
        return any(flushes_on_sigterm(one.get("flush_on_sigterm", AUTO)) for one in sections)

    def formatters(self) -> dict[str, Any]:
        """Create what makes the events of each handler; it loads no network code.

        Raises:
            TypeError, ValueError: an argument is invalid.
        """
        configurator = self._configurator()
        made = {}
        for name in self._names:
            section = configurator.config["handlers"][name]
            with self._naming(name):
                if formatter := section.get("formatter"):
                    _make(configurator, "formatters", formatter)
                    made[name] = configurator.config["formatters"].get(formatter)
                else:
                    known = EventFormatter.__init__.__kwdefaults__ or {}
                    given = {key: section[key] for key in known if key in section}
                    with key_needed(False):  # of these, no event is sent
                        made[name] = EventFormatter(**given)
        return made

    def create(self) -> dict[str, Any]:
        """Create the handlers, and return them by their names.

        Raises:
            TypeError, ValueError: an argument is invalid, or what it names cannot be imported.
        """
        configurator = self._configurator()
        made = {}
        for name in self._names:
            section = configurator.config["handlers"][name]
            with self._naming(name):
                _make(configurator, "formatters", section.get("formatter"))
                for one in section.get("filters") or ():
                    _make(configurator, "filters", one)
                made[name] = configurator.configure_handler(section)
        taken: Any = getattr(logging, "_handlers")  # noqa: B009
        for name, handler in made.items():
            if name not in taken:  # by a handler of the application
                handler.name = name
        return made

    def _configurator(self) -> Any:
        import logging.config

        return logging.config.DictConfigurator(dict(self._given))

    @contextlib.contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Add the place in the configuration to an error in the block."""
        try:
            yield
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self._source}: handlers.{name}: {error}") from None

    def report(self, error: Exception, effect: str) -> None:
        """Print an error on stderr, with its effect: the first one only."""
        if self._has_reported:
            return
        self._has_reported = True
        text = str(error)
        if not (isinstance(error, (TypeError, ValueError)) and text):
            text = f"{type(error).__name__}: {text}" if text else type(error).__name__
        where = "" if text.startswith(self._source) else f"{self._source}: "
        write_stderr(printable(self.redactor()(f"{where}{text}; {effect}")))

    def redactor(self) -> Redactor:
        """Return what removes the keys, of the environment and of the handlers, from a text."""
        sections = [self._given["handlers"][name] for name in self._names]
        return Redactor(*known_keys(os.environ, *sections))


def class_of(section: Any) -> Any:
    """Return what a section of a configuration names as its class or factory, or None."""
    if not isinstance(section, Mapping):
        return None
    named = section.get("()", section.get("class"))
    return named.removeprefix("ext://") if isinstance(named, str) else named


def _make(configurator: Any, kind: str, name: Any) -> None:
    """Create a formatter or a filter by its name, unless that was done, or there is none."""
    sections = configurator.config.get(kind, {})
    section = sections.get(name) if isinstance(name, str) else None
    if isinstance(section, Mapping):
        sections[name] = getattr(configurator, f"configure_{kind[:-1]}")(section)


def _mapping(given: Mapping[str, Any], name: str, prefix: str = "") -> Mapping[Any, Any]:
    found = given.get(name) or {}
    if not isinstance(found, Mapping):
        raise SourceError(f"{prefix}{name}: expected a mapping, found {type(found).__name__}")
    return found


def _checked_level(name: str, section: Mapping[str, Any], handlers: Mapping[Any, Any]) -> int:
    """Return the level of a logger's section, 0 for none, once the section is checked."""
    where = name if name == "root" else f"loggers.{name}"
    held = section.get("handlers") or []
    if not isinstance(held, (list, tuple)):
        raise SourceError(f"{where}.handlers: expected a list, found {type(held).__name__}")
    for one in held:
        if one not in handlers:
            raise SourceError(f"{where}: unknown handler {one!r}{did_you_mean(one, handlers)}")
    level = section.get("level") or 0
    number = logging.getLevelName(level) if isinstance(level, str) else level
    if not isinstance(number, int):
        hint = did_you_mean(level, _LEVELS)
        raise SourceError(f"{where}.level: unknown level {level!r}{hint}")
    return number


def _ancestry(name: str) -> Iterator[str]:
    """Yield a logger's name and those of its parents.

    >>> list(_ancestry("app.jobs"))
    ['app.jobs', 'app', 'root']
    """
    while name and name != "root":
        yield name
        name = name.rpartition(".")[0]
    yield "root"
