"""Whether this thread is doing fslog's own work right now.

What urllib3, backoff and fslog itself log in the course of a POST must not become events, whatever
logger the handler hangs on. Logger names alone cannot tell: an application may use urllib3 too.
So the work is marked, wherever it runs (listener, closing thread, `ping`), in a thread-local, and
the mark carries what is needed to keep the keys out of the text of those records.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Redact = Callable[[str], str]
"""Takes the keys out of a text."""


class _Work(threading.local):
    redact: Redact | None = None


_work = _Work()

_LOGGERS = ("fslog", "urllib3", "backoff")


@contextmanager
def own_work(redact: Redact) -> Iterator[None]:
    """Mark what this thread does inside the block as fslog's own work; blocks may nest.

    >>> with own_work(lambda text: text):
    ...     redaction() is not None
    True
    >>> redaction() is None
    True
    """
    before = _work.redact
    _work.redact = redact
    try:
        yield
    finally:
        _work.redact = before


def redaction() -> Redact | None:
    """Return what takes the keys out of this thread's texts; None outside of own work."""
    return _work.redact


def is_own(logger: object) -> bool:
    """Tell whether a record of the logger of that name, made here and now, is about our own work.

    A record of any other logger is the application's, even here: the garbage collector may run
    a finalizer on any thread.

    >>> is_own("urllib3.connectionpool")
    False
    >>> with own_work(lambda text: text):
    ...     is_own("urllib3.connectionpool"), is_own("urllib3x"), is_own("app")
    (True, False, False)
    """
    return (
        _work.redact is not None
        and isinstance(logger, str)
        and logger.partition(".")[0] in _LOGGERS
    )
