"""Log calls as applications write them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

Made = tuple[Callable[[Any], object], Callable[[], object]]
"""What a contender's `make` returns: a call for one event, and what waits until all arrived."""


def logger(handler: logging.Handler) -> logging.Logger:
    """Return a logger with this handler only."""
    made = logging.getLogger("bench.app")
    made.propagate = False
    made.setLevel(logging.INFO)
    made.handlers = [handler]  # a contender that is made again would be there twice
    return made


def explicit(handler: logging.Handler) -> Callable[[Any], None]:
    """Return a call that says all of the event in its extra."""
    info = logger(handler).info

    def call(extra: dict[str, Any]) -> None:
        info("used a feature", extra=extra)

    return call


def plain(handler: logging.Handler, message: str) -> Callable[[Any], None]:
    """Return a call that knows of no event."""
    info = logger(handler).info

    def call(arguments: tuple[Any, ...]) -> None:
        info(message, *arguments)

    return call
