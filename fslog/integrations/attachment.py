"""Handlers beside the application's logging, for `fslog run` and `fslog.auto`.

What a configuration attaches to a logger, a later one detaches, and it may disable the logger. So
these handlers are attached to the methods of `logging.Logger` that every record passes:

    isEnabledFor   True also for a level that fslog's configuration wants
    handle         a record that the application's own level stops goes to fslog alone
    callHandlers   any other record goes to fslog as well

The application's handlers get the records that they would get without fslog, and no others.
"""

from __future__ import annotations

import _thread
import functools
import logging
import math
import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from fslog.config import did_you_mean, loggers
from fslog.config.files import SourceError
from fslog.delivery import detached
from fslog.delivery.notices import write_stderr
from fslog.interrupts import unless_interrupt
from fslog.net.redaction import Redactor, is_internal, printable

CLASSES = ("fslog.FreshsuccessHandler", "fslog.handler.FreshsuccessHandler")
"""What the `class` of a handler has to be: a subclass may be in a module of the application."""

DEFAULT: Mapping[str, Any] = {
    "version": 1,
    "handlers": {"usage": {"class": CLASSES[0]}},
    "root": {"handlers": ["usage"], "level": "INFO"},
}
"""The configuration if none is given."""

_KEYS = ("auth_key", "api_key")

_ROUTE = "_fslog_route"
"""The attribute of a logger that holds its `_Route`, as `_cache` holds its levels."""

_WRAPPERS = 2
"""How many functions may be between `Logger._log` and `Logger.handle`: those of other tracers."""

_LOCK_SECONDS = 10.0
"""How long the first log call waits for logging's module lock, which another thread may hold."""


def class_of(section: Any) -> Any:
    """Return what a section of a configuration names as its class or factory, or None."""
    if not isinstance(section, Mapping):
        return None
    named = section.get("()", section.get("class"))
    return named.removeprefix("ext://") if isinstance(named, str) else named


class _Route:
    """Where the records of one logger go.

    Args:
        names: the handlers.
        level: the configuration's, 0 if it has none.
        owner: the logger that the configuration gives this level: this one, or a parent.
    """

    __slots__ = ("handlers", "has_overridden", "least", "names", "owner")

    def __init__(self, names: tuple[str, ...], level: int = 0, owner: str | None = None) -> None:
        self.names = names
        self.owner = owner
        self.least: float = level if names else math.inf
        """The least level of a record for the handlers; no level is as high as infinity."""
        self.handlers: tuple[Any, ...] | None = None if names else ()
        """None until they are created."""
        self.has_overridden = False
        """Whether `isEnabledFor` was True although the application's level stops the record."""


class Attachment:
    """The handlers of a configuration, which `install` attaches to the loggers of this process.

    They are created by `create`, else by the first record that is for one of them: they load
    urllib3, which gevent has to patch first, and what the configuration names (`ext://`) may be a
    module of the application.

    Args:
        given: a mapping for `dictConfig`, of which fslog's handlers and the loggers count.
        source: where it was found, for messages.

    Raises:
        SourceError: it is invalid, as far as that is visible without creating anything.
    """

    def __init__(self, given: Mapping[str, Any], source: str) -> None:
        self._given = given
        self._source = source
        try:
            self._check(given)
        except SourceError as error:
            raise SourceError(f"{source}: {error}") from None
        self._created: dict[str, Any] | None = None
        self._handlers: tuple[Any, ...] = ()
        self._kinds: tuple[type, ...] = ()
        self._waiting: deque[tuple[_Route, logging.LogRecord, logging.Logger | None]] = deque()
        self._role = _thread.allocate_lock()
        """Held by the thread that creates the handlers, or passes on what waited for them."""
        self._is_off = self._has_reported = False

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
        if not self._names:
            hints = (did_you_mean(class_of(one), CLASSES[:1]) for one in handlers.values())
            hint = next(filter(None, hints), f"; add one with class: {CLASSES[0]}")
            raise SourceError(f"handlers: none is fslog's{hint}")
        used = {name for section in self._sections for name in self._new_route(section).names}
        for name in self._names:
            if name not in used:
                raise SourceError(f"handlers.{name}: no logger has it; add it to root.handlers")

    def install(self) -> None:
        """Attach the handlers, from now on and in forked children."""
        detached.ignore()
        kind = logging.Logger
        self._enabled_before, self._handle_before = kind.isEnabledFor, kind.handle
        self._call_before = kind.callHandlers
        for name, method in self._methods().items():
            setattr(kind, name, method)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _methods(self) -> dict[str, Any]:
        """Return methods of `Logger` that pass records on, by their names."""
        enabled_before, handle_before = self._enabled_before, self._handle_before
        call_before, attachment = self._call_before, self

        @functools.wraps(enabled_before)
        def is_enabled_for(self: logging.Logger, level: int) -> bool:
            if enabled_before(self, level):
                return True
            route = self.__dict__.get(_ROUTE) or attachment._route(self)
            is_high = isinstance(level, int) and level >= route.least
            return is_high and attachment._overrides(route, self, level)

        @functools.wraps(handle_before)
        def handle(self: logging.Logger, record: logging.LogRecord) -> None:
            route = self.__dict__.get(_ROUTE)
            if self.disabled or (route is not None and route.has_overridden):
                attachment._handle(self, record)
            else:
                handle_before(self, record)

        @functools.wraps(call_before)
        def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
            route = self.__dict__.get(_ROUTE) or attachment._route(self)
            if record.levelno >= route.least:
                attachment._dispatch(route, record, self)
            call_before(self, record)

        return {
            "isEnabledFor": is_enabled_for,
            "handle": handle,
            "callHandlers": call_handlers,
        }

    def _route(self, logger: logging.Logger) -> _Route:
        """Return a logger's route, which is made once."""
        # A hierarchy of its own, beside the application's, has another manager: no handler of the
        # root logger gets its records.
        is_foreign = getattr(logger, "manager", None) is not logging.Logger.manager
        made = _Route(()) if is_foreign else self._new_route(logger.name)
        route: _Route = logger.__dict__.setdefault(_ROUTE, made)
        return route

    def _new_route(self, name: str) -> _Route:
        names: dict[str, None] = {}
        owner = next((one for one in _ancestry(name) if self._levels.get(one)), None)
        for one in _ancestry(name):
            section = self._sections.get(one, {})
            held = section.get("handlers") or ()
            names.update(dict.fromkeys(handler for handler in held if handler in self._names))
            if section.get("propagate") in (False, 0):
                break
        return _Route(tuple(names), self._levels[owner] if owner else 0, owner)

    def _overrides(self, route: _Route, logger: logging.Logger, level: int) -> bool:
        """Return whether fslog wants a record that the application's own level stops."""
        if not self._is_wanted(route, logger, level) or is_internal(logger.name):
            return False
        route.has_overridden = True
        return True

    def _is_wanted(self, route: _Route, logger: logging.Logger, level: int) -> bool:
        if self._is_off or not isinstance(level, int) or level < route.least:
            return False
        if route.owner is not None and not _has_level_below(route.owner, logger):
            return True
        # The application's level decides; but dictConfig disables loggers that it does not name.
        is_on = logger.manager.disable < level and level >= logger.getEffectiveLevel()
        return logger.disabled and is_on

    def _handle(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """Handle a record that the application's own level, or its configuration, may stop."""
        route = logger.__dict__.get(_ROUTE) or self._route(logger)
        if not logger.disabled and (
            not _is_from_log_call() or self._enabled_before(logger, record.levelno)
        ):
            self._handle_before(logger, record)
        elif self._is_wanted(route, logger, record.levelno):
            self._dispatch(route, record)

    def _dispatch(
        self, route: _Route, record: logging.LogRecord, logger: logging.Logger | None = None
    ) -> None:
        """Pass a record to a route's handlers; never raise.

        Args:
            logger: the one whose own handlers get the record as well; None if none does.
        """
        try:
            if route.handlers is None:
                self._waiting.append((route, record, logger))
                self._pass_on()
            else:
                self._pass(route.handlers, record, logger)
        except unless_interrupt(Exception) as error:  # of a filter, for instance
            self._report(error, "this record made no event")

    def _pass(
        self, handlers: tuple[Any, ...], record: logging.LogRecord, logger: logging.Logger | None
    ) -> None:
        # A record of another process (QueueHandler, SocketHandler) is an event there.
        if not handlers or record.__dict__.get("process") not in (None, os.getpid()):
            return
        if logger is not None and self._has_own(logger, record.levelno):
            return
        for handler in handlers:
            if record.levelno >= handler.level:
                handler.handle(record)

    def _has_own(self, start: logging.Logger, level: int) -> bool:
        """Return whether the application itself passes records to a `FreshsuccessHandler`."""
        logger: logging.Logger | None = start
        while logger is not None:
            for handler in logger.handlers:
                if level >= handler.level and isinstance(handler, self._kinds):
                    if loggers.takes_events(handler, self._handlers):
                        return True
            logger = logger.parent if logger.propagate else None
        return False

    def _pass_on(self) -> None:
        """Pass on what waits for the handlers, which are created first if that was not done yet.

        No log call waits: not that of what the creation imports, nor that of another thread, which
        may be importing what the creation needs. The thread that has the role does the rest.
        """
        while self._waiting and self._role.acquire(blocking=False):
            try:
                if self._created is None:
                    self._create_or_report()
                while self._waiting:
                    route, record, logger = self._waiting.popleft()
                    created = self._created or {}
                    route.handlers = tuple(created[name] for name in route.names if name in created)
                    self._pass(route.handlers, record, logger)
            finally:
                self._role.release()

    def _create_or_report(self) -> None:
        # `os.fork` waits for this lock, so a child never inherits a half-done import.
        lock: Any = getattr(logging, "_lock")  # noqa: B009
        is_held = lock.acquire(timeout=_LOCK_SECONDS)
        try:
            self.create()
        except unless_interrupt(Exception) as error:
            self._created = {}
            self._is_off = True
            self._report(error, "the application runs without fslog")
        finally:
            if is_held:
                lock.release()

    def create(self) -> Mapping[str, Any]:
        """Create the handlers, and return them by their names.

        Raises:
            Exception: one cannot be created, for example because of an invalid argument.
        """
        import logging.config
        import logging.handlers

        from fslog.handler import FreshsuccessHandler

        passing = (logging.handlers.QueueHandler, logging.handlers.MemoryHandler)
        self._kinds = (FreshsuccessHandler, *passing)
        configurator: Any = logging.config.DictConfigurator(dict(self._given))
        config, created = configurator.config, {}
        for name in self._names:
            section = config["handlers"][name]
            try:
                _make(config, "formatters", [section.get("formatter")], configurator)
                _make(config, "filters", section.get("filters") or [], configurator)
                created[name] = configurator.configure_handler(section)
            except (TypeError, ValueError) as error:
                raise type(error)(f"{self._source}: handlers.{name}: {error}") from None
        known: Any = getattr(logging, "_handlers")  # noqa: B009
        for name, handler in created.items():  # a name is the application's if it has such a one
            if name not in known:
                handler.name = name
        self._created, self._handlers = created, tuple(created.values())
        return created

    def _after_fork(self) -> None:
        """In a child: the thread of the parent that has the role passes on what waits."""
        self._role = _thread.allocate_lock()
        self._waiting.clear()

    def _report(self, error: Exception, effect: str) -> None:
        """Print an error on stderr, once."""
        if self._has_reported:
            return
        self._has_reported = True
        text = str(error)
        if not (isinstance(error, (TypeError, ValueError)) and text):
            text = f"{type(error).__name__}: {text}" if text else type(error).__name__
        where = "" if text.startswith(self._source) else f"{self._source}: "
        sections = [self._given["handlers"][name] for name in self._names]
        keys = [os.environ.get(f"FSLOG_{name.upper()}") for name in _KEYS]
        keys += [one.get(name) for one in sections for name in _KEYS]
        redact = Redactor(*(str(key).strip() for key in keys if key))
        write_stderr(printable(redact(f"{where}{text}; {effect}")))


def _make(config: Any, kind: str, names: list[Any], configurator: Any) -> None:
    """Create formatters or filters by name, unless they are objects already, or unknown."""
    create = getattr(configurator, f"configure_{kind[:-1]}")
    for name in names:
        section = config.get(kind, {}).get(name) if isinstance(name, str) else None
        if isinstance(section, Mapping):
            config[kind][name] = create(section)


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
        hint = did_you_mean(level, ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
        raise SourceError(f"{where}.level: unknown level {level!r}{hint}")
    return number


def _is_from_log_call() -> bool:
    """Return whether `Logger._log` called `Logger.handle`, perhaps through further wrappers.

    A program that receives records from other processes calls `handle` itself, and no level of a
    logger applies to them.
    """
    frame: Any = sys._getframe(2)  # of `Logger.handle`
    for _ in range(1 + _WRAPPERS):
        frame = frame.f_back
        if frame is None or frame.f_code.co_name == "_log":
            break
    else:
        return False
    return frame is not None


def _ancestry(name: str) -> Iterator[str]:
    """Yield a logger's name and those of its parents.

    >>> list(_ancestry("app.jobs"))
    ['app.jobs', 'app', 'root']
    """
    while name and name != "root":
        yield name
        name = name.rpartition(".")[0]
    yield "root"


def _has_level_below(owner: str, start: logging.Logger) -> bool:
    """Return whether the application gives a level to a logger, or to a parent below `owner`.

    A parent by name: Celery gives the loggers of tasks another one, which has a level.
    """
    logger: logging.Logger | None = start
    while logger is not None and logger.name != "root":
        if owner != "root" and not logger.name.startswith(f"{owner}."):
            return False
        if logger.level and f"{start.name}.".startswith(f"{logger.name}."):
            return True
        logger = logger.parent
    return False
