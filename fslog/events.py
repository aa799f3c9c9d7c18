"""Events that fslog itself makes for the application, by plain log calls.

They are explicit events of a logger of their own, so that levels, handlers and filters treat them
like any other log call's. Whoever is bound in the context is their user.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

LOGGER = "fslog.events"


def log_event(message: str, *args: object, event: Mapping[str, Any]) -> None:
    """Log an event at INFO, in the name of whoever called the calling function."""
    logging.getLogger(LOGGER).info(message, *args, extra={"event": event}, stacklevel=4)
