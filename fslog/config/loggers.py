"""The loggers of this process, and which of them pass records to a `FreshsuccessHandler`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from fslog import events, process


def every() -> list[logging.Logger]:
    """Return the loggers that exist, root first."""
    known = list(logging.Logger.manager.loggerDict.values())
    return [logging.root, *(one for one in known if isinstance(one, logging.Logger))]


def targets(handler: Any) -> tuple[Any, ...]:
    """Return the handlers to which one passes records on, as far as it names them.

    `MemoryHandler` has a target, and from Python 3.12 on `QueueHandler` may have a listener.
    """
    behind = getattr(getattr(handler, "listener", None), "handlers", ())
    return (getattr(handler, "target", None), *(behind if isinstance(behind, tuple) else ()))


def takes_events(handler: Any, beside: Sequence[Any] = ()) -> bool:
    """Return whether a record for this handler reaches a `FreshsuccessHandler`.

    Behind a queue whose listener is unknown, those are assumed that no logger has.

    Args:
        handler: any handler of a logger.
        beside: those of fslog's that belong to no logger, and to no listener.
    """
    if any(hasattr(one, "takes_events") for one in (handler, *targets(handler))):
        return True
    if not hasattr(handler, "queue") or getattr(handler, "listener", None) is not None:
        return False
    return any(one not in beside and not holders(one) for one in process.handlers())


def may_lead_to_events(start: logging.Logger, level: int) -> bool:
    """Return whether a record of an enabled logger may become an event; False if certainly not.

    A handler that is neither fslog's nor one of the standard library may pass it on anywhere.
    """
    return events.is_attached or any(
        handler.level <= level and (takes_events(handler) or _may_pass_on(handler))
        for logger in _chain(start)
        for handler in logger.handlers
    )


def _may_pass_on(handler: Any) -> bool:
    if type(handler).__module__ not in ("logging", "logging.handlers"):
        return True
    makes_lines = any(hasattr(one, "takes_events") for one in (handler.formatter, *handler.filters))
    return makes_lines or any(hasattr(handler, name) for name in _PASSING)


_PASSING = ("queue", "target", "makePickle", "mapLogRecord")
"""Attributes of the standard library's handlers that pass records on."""


def holders(handler: Any) -> list[str]:
    """Return the names of the loggers that pass their records to a handler, or to one before it."""
    return [
        logger.name
        for logger in every()
        if any(handler is found for one in logger.handlers for found in (one, *targets(one)))
    ]


def have_events_handler() -> bool:
    """Return whether a record of any logger, unless it is disabled, reaches one of fslog's."""
    return any(
        takes_events(handler)
        for logger in every()
        if not logger.disabled
        for one in _chain(logger)
        for handler in one.handlers
    )


def _chain(logger: logging.Logger | None) -> Iterator[logging.Logger]:
    while logger is not None:
        yield logger
        logger = logger.parent if logger.propagate else None


def is_locked_here() -> bool:
    """Return whether this thread holds logging's module lock, as `dictConfig` does."""
    is_owned = getattr(getattr(logging, "_lock", None), "_is_owned", None)
    return is_owned is not None and bool(is_owned())
