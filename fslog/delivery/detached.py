"""The notice that a handler was detached: no logger passes records to it any more.

Whatever loads a logging configuration first closes all handlers, while it holds logging's module
lock, then removes them from the loggers that it configures, and may disable the others (uvicorn,
alembic). Others empty the loggers' lists; nothing but cyclic garbage refers to the handler then,
and it dies without having been closed when that is collected. Celery does so, and sends a signal.
Another handler may be attached soon after, so the loggers are searched later, by a thread that
lives as long, and at the end of the process.

Never reported: a handler that no logger had (one behind a `QueueListener`), one that the
application closes itself, and any if a logger has another of fslog's.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

from fslog import process
from fslog.config import loggers
from fslog.delivery import notices
from fslog.delivery.worker import start_thread
from fslog.interrupts import Suppressed, unless_interrupt
from fslog.net.redaction import internal_work

DELAY_SECONDS = 2.0
"""How long after a handler was detached an application may attach another one."""

_configured: weakref.WeakSet[Watch] = weakref.WeakSet()
"""Those of handlers that `dictConfig` has made."""

_has_celery = False

_suspects: dict[Watch, int] = {}
"""The handlers that were perhaps detached, with the process in which they were."""

_is_on = True


class Watch:
    """What is known of a handler's loggers. It does not refer to the handler, and outlives it."""

    def __init__(self) -> None:
        self.name: str = ""
        self.loggers: tuple[str, ...] = ()
        self.is_sure: bool = False
        """Whether a configuration, and not the end of the application, has detached the handler."""
        self.is_over: bool = False
        """Whether nothing is reported any more."""
        self.handler: Callable[[], logging.Handler | None] = lambda: None
        """Returns the handler as long as it lives, if `dictConfig` has made it."""

    def named(self, handler: logging.Handler, name: str, caller: FrameType | None) -> None:
        """Note the loggers to which `dictConfig`, if that is the caller, will attach the handler.

        Nothing else knows them if they lose it before its first record.
        """
        self.name = name
        config: Any = sys.modules.get("logging.config")
        configurator = caller and caller.f_locals.get("self")
        if config is None or not isinstance(configurator, config.DictConfigurator):
            return
        try:
            given = configurator.config
            sections = {**(given.get("loggers") or {}), "root": given.get("root") or {}}
            self.loggers = tuple(
                logger for logger, one in sections.items() if name in (one.get("handlers") or ())
            )
        except unless_interrupt(Exception):  # dictConfig reports what is wrong with them
            return
        self.handler = weakref.ref(handler)
        _configured.add(self)
        _watch_celery()

    def closing(self, handler: logging.Handler) -> None:
        """Note that the handler is closed: for good, or by a configuration that is loaded."""
        if not loggers.is_locked_here():
            self.is_over = True
        elif not self.is_over and (names := loggers.holders(handler)):
            self.loggers, self.is_sure = tuple(names), True
            _suspect(self)

    def died(self) -> None:
        """Note that nothing refers to the handler any more. A finalizer calls this."""
        if self.loggers and not self.is_over:
            _suspect(self)


def _watch_celery() -> None:
    """Have Celery call us when it has set up logging in its way."""
    global _has_celery
    if "celery" not in sys.modules or _has_celery:
        return
    _has_celery = True
    try:
        # Celery imports it when an application is made, which may be later.
        signals = importlib.import_module("celery.signals")
        # Kept strongly: nothing else refers to it.
        signals.after_setup_logger.connect(lambda **sent: _suspect_unheld(), weak=False)
    except unless_interrupt(Exception):  # an application's own module of that name
        return


def _suspect_unheld() -> None:
    for watch in list(_configured):
        handler = watch.handler()
        if handler is not None and watch.loggers and not loggers.holders(handler):
            watch.is_sure = True
            _suspect(watch)


def _suspect(watch: Watch) -> None:
    # A thread that is alive at the end of a sub-interpreter aborts the process.
    if not _is_on or process.is_finishing() or process.IN_SUBINTERPRETER:
        return
    is_awaited = os.getpid() in _suspects.copy().values()
    _suspects[watch] = os.getpid()
    if not is_awaited:
        try:
            start_thread(_begin, ())
        except unless_interrupt(RuntimeError):  # no thread can be started
            return


def _begin() -> None:
    # A finalizer may be what asks for it, and must not wait for the locks of `threading`. Without a
    # thread of that module, the log call of the notice would leave a dummy of it behind.
    thread = threading.Thread(target=_look_later, name="fslog detached", daemon=True)
    # None can be started any more when the interpreter shuts down: `atexit` has looked already.
    with Suppressed(RuntimeError):
        thread.start()


def _look_later() -> None:
    time.sleep(DELAY_SECONDS)
    _look()


def _look(*, is_end: bool = False) -> None:
    """Report the handlers that were detached, unless a logger has another one."""
    found = _suspects.copy()
    _suspects.clear()
    here = [watch for watch, pid in found.items() if pid == os.getpid()]
    lost = [watch for watch in here if watch.is_sure or not is_end]
    if not lost or not _is_on or loggers.have_events_handler():
        return
    for watch in lost:
        watch.is_over = True
        name = f"the handler {watch.name!r}" if watch.name else "a FreshsuccessHandler"
        had = ", ".join("the root logger" if one == "root" else repr(one) for one in watch.loggers)
        with internal_work(str):
            notices.log(
                logging.WARNING,
                f"{name} receives no records any more: another logging configuration removed it "
                f"from {had}, or disabled that logger. Run the application with `fslog run`, or "
                "see `fslog help troubleshooting`",
            )


def ignore() -> None:
    """Report nothing from now on: fslog's handlers do not depend on loggers."""
    global _is_on
    _is_on = False


atexit.register(_look, is_end=True)
