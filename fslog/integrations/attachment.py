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
from collections.abc import Callable, Mapping
from typing import Any

from fslog import events
from fslog.config import loggers
from fslog.delivery import detached, sigterm
from fslog.integrations.configured import Configured
from fslog.interrupts import unless_interrupt
from fslog.net.redaction import is_internal

_ROUTE = "_fslog_route"
"""The attribute of a logger that holds its `_Route`, as `_cache` holds its levels."""

_WRAPPERS = 2
"""How many functions may be between `Logger._log` and `Logger.handle`: those of other tracers."""

_PATCHING = frozenset({"gevent", "eventlet"})

_LOCK_SECONDS = 10.0
"""How long the first event waits for logging's module lock, which another thread may hold."""


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
    """A configuration's handlers, which `install` attaches to the loggers of this process.

    Unless they are given, they are created by the first record that is an event: they load
    urllib3, which gevent has to patch first, also in gunicorn's workers, whose parent logs before.
    """

    def __init__(self, configured: Configured, created: Mapping[str, Any] | None = None) -> None:
        self._configured = configured
        self._formatters: Mapping[str, Any] | None = None
        self._created: Mapping[str, Any] = {}
        self._kinds: tuple[type, ...] = ()
        self._is_ready = self._is_off = False
        self._waiting: deque[tuple[_Route, logging.LogRecord, logging.Logger | None]] = deque()
        self._role = _thread.allocate_lock()
        """Held by the thread that creates the handlers, or passes on what waited for them."""
        if created is not None:
            self._use(created)

    def install(self) -> None:
        """Attach the handlers, from now on and in forked children."""
        # Now, in the main thread: the first event may come from another one.
        if self._configured.flushes_on_sigterm():
            sigterm.watch()
        detached.ignore()
        kind = logging.Logger
        self._enabled_before, self._handle_before = kind.isEnabledFor, kind.handle
        self._call_before = kind.callHandlers
        for name, method in self._methods().items():
            setattr(kind, name, method)
        events.is_attached = True
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._before_fork, after_in_child=self._after_fork)

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
        made = _Route(*((),) if is_foreign else self._configured.logger(logger.name))
        route: _Route = logger.__dict__.setdefault(_ROUTE, made)
        return route

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
            self._configured.report(error, "this record made no event")

    def _pass(
        self, handlers: tuple[Any, ...], record: logging.LogRecord, logger: logging.Logger | None
    ) -> None:
        # A record of another process (QueueHandler, SocketHandler) is an event there.
        pid = getattr(record, "process", None)
        if not handlers or (pid is not None and pid != os.getpid()):
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
                    if loggers.takes_events(handler, tuple(self._created.values())):
                        return True
            logger = logger.parent if logger.propagate else None
        return False

    def _pass_on(self) -> None:
        """Pass on what waits for the handlers, which the first event creates.

        No log call waits: not that of what the creation imports, nor that of another thread, which
        may be importing what the creation needs. The thread that has the role does the rest.
        """
        while self._waiting and self._role.acquire(blocking=False):
            try:
                while self._waiting:
                    route, record, logger = self._waiting.popleft()
                    if not self._is_ready and self._may_be_event(route, record):
                        self._attempt(self._create)
                    if self._is_ready:
                        created = self._created
                        names = (name for name in route.names if name in created)
                        route.handlers = tuple(created[name] for name in names)
                        self._pass(route.handlers, record, logger)
            finally:
                self._role.release()

    def _may_be_event(self, route: _Route, record: logging.LogRecord) -> bool:
        """Return whether a record makes an event of one of the handlers, be it an invalid one."""
        if self._formatters is None:
            self._formatters = {}
            self._attempt(self._make_formatters)
        formatters = self._formatters
        return any(
            name in formatters and _is_event(formatters[name], record) for name in route.names
        )

    def _attempt(self, create: Callable[[], None]) -> None:
        # `os.fork` waits for this lock, so a child never inherits a half-done import.
        lock: Any = getattr(logging, "_lock")  # noqa: B009
        is_held = lock.acquire(timeout=_LOCK_SECONDS)
        try:
            create()
        except unless_interrupt(Exception) as error:
            self._is_off = self._is_ready = True
            self._configured.report(error, "the application runs without fslog")
        finally:
            if is_held:
                lock.release()

    def _create(self) -> None:
        self._use(self._configured.create())

    def _make_formatters(self) -> None:
        self._formatters = self._configured.formatters()

    def _use(self, created: Mapping[str, Any]) -> None:
        import logging.handlers

        from fslog.handler import FreshsuccessHandler

        passing = (logging.handlers.QueueHandler, logging.handlers.MemoryHandler)
        self._created, self._kinds = created, (FreshsuccessHandler, *passing)
        self._is_ready = True

    def _before_fork(self) -> None:
        """Create the handlers before each child of a process that logs has to (RQ forks for a job).

        Unless the children may be gunicorn's workers that patch ssl: their parent loads gevent.
        """
        is_patched_later = not _PATCHING.isdisjoint(sys.modules)
        if self._formatters is None or self._is_ready or is_patched_later:
            return
        if self._role.acquire(blocking=False):
            try:
                self._attempt(self._create)
            finally:
                self._role.release()

    def _after_fork(self) -> None:
        """In a child: the thread of the parent that has the role passes on what waits."""
        self._role = _thread.allocate_lock()
        self._waiting.clear()


def _is_event(formatter: Any, record: logging.LogRecord) -> bool:
    try:
        if formatter.fast_line is not None and formatter.fast_line(record) == b"":
            return False
        return formatter.event(record) is not None
    except unless_interrupt(Exception):  # InvalidEvent, or the handler does not accept it either
        return True


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
