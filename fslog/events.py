"""Events that fslog itself makes for the application, by plain log calls.

They are explicit events of a logger of their own, so that levels, handlers and filters treat them
like any other log call's. Whoever is bound in the context is their user.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

LOGGER = "fslog.events"

is_attached: bool = False
"""Whether handlers of fslog are beside the application's logging, as `fslog.auto` attaches them."""

_logger: logging.Logger | None = None


def logger() -> logging.Logger:
    """Return the logger, whose level is INFO unless it is configured.

    So a root logger at WARNING, the default, loses no event.
    """
    global _logger
    if _logger is None:
        # Not made by an import: a `dictConfig` after that would disable it.
        _logger = logging.getLogger(LOGGER)
    # A `dictConfig` that names the logger `fslog` takes its level away. Handlers beside the
    # application's need none, and without it the application's log does not show the record.
    if _logger.level == logging.NOTSET and not is_attached:
        _logger.setLevel(logging.INFO)
    return _logger


def log_event(message: str, *args: object, event: Mapping[str, Any]) -> None:
    """Log an event at INFO; its call site is two frames above the caller."""
    logger().info(message, *args, extra={"event": event}, stacklevel=4)
