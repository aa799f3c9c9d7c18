"""Wait for other threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Wait until a condition holds; return False if it did not within so many seconds."""
    waiting, until = threading.Event(), time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        waiting.wait(0.005)
    return True


def in_parallel(*jobs: Callable[[], Any]) -> None:
    """Run functions in threads, wait for all of them, and raise the first exception."""
    errors: list[BaseException] = []

    def run(job: Callable[[], Any]) -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
