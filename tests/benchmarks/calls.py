"""Log calls as applications write them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

Made = tuple[Callable[[Any], object], Callable[[], object]]
"""The result of `make`: a function that logs one event, and one that waits for delivery."""


def logger(handler: logging.Handler) -> logging.Logger:
    """Return a logger with this handler and no other."""
    made = logging.getLogger("bench.app")
    made.propagate = False
    made.setLevel(logging.INFO)
    made.handlers = [handler]  # not `addHandler`, since `make` may be called twice
    return made


def explicit(handler: logging.Handler) -> Callable[[Any], None]:
    """Return a log call that passes the whole event as its extra."""
    info = logger(handler).info

    def call(extra: dict[str, Any]) -> None:
        info("used a feature", extra=extra)

    return call


def plain(handler: logging.Handler, message: str) -> Callable[[Any], None]:
    """Return an ordinary log call, which becomes an event only by a rule."""
    info = logger(handler).info

    def call(arguments: tuple[Any, ...]) -> None:
        info(message, *arguments)

    return call
