"""The loggers of this process, and which of their handlers lead to one of fslog's."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fslog import process


def every() -> list[logging.Logger]:
    """Return the loggers that exist, root first."""
    known = list(logging.Logger.manager.loggerDict.values())
    return [logging.root, *(one for one in known if isinstance(one, logging.Logger))]


def targets(handler: Any) -> tuple[Any, ...]:
    """Return the handlers to which one passes records on, as far as it names them.

    `MemoryHandler` has a target, and from Python 3.12 on `QueueHandler` may have a listener.
    """
    listener = getattr(handler, "listener", None)
    return (getattr(handler, "target", None), *getattr(listener, "handlers", ()))


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


def holders(handler: Any) -> list[str]:
    """Return the names of the loggers that pass their records to a handler, or to one before it."""
    return [
        logger.name
        for logger in every()
        if any(one is handler or handler in targets(one) for one in logger.handlers)
    ]
