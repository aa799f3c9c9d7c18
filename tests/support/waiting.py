"""Waiting for what another thread does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Wait for what another thread does; False: it did not."""
    waiting, until = threading.Event(), time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        waiting.wait(0.005)
    return True
