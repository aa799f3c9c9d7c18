"""Wait for another thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Wait until a condition holds; return False if it did not within so many seconds."""
    waiting, until = threading.Event(), time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        waiting.wait(0.005)
    return True
