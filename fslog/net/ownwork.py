"""Whether this thread is doing fslog's own work right now.

What urllib3, backoff and fslog itself log in the course of a POST must not become events, whatever
logger the handler hangs on. Logger names alone cannot tell: an application may use urllib3 too.
So the work is marked, wherever it runs (listener, closing thread, `ping`), in a context variable,
and the mark carries what is needed to keep the keys out of the text of those records.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Redact = Callable[[str], str]
"""Takes the keys out of a text."""


class _Mark:
    """A block of own work: where it runs, and whether it still does."""

    __slots__ = ("active", "redact", "thread")

    def __init__(self, redact: Redact) -> None:
        self.redact = redact
        self.thread = threading.get_ident()
        self.active = True


# A context variable, because it tells threads apart, and greenlets too, whenever gevent came in.
_work: ContextVar[_Mark | None] = ContextVar("fslog.net.ownwork", default=None)

mark = _work.get
"""Whether own work may be under way here, at a glance; where it says so, `redaction` decides."""

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
    before = _work.get()
    mark = _Mark(redact)
    _work.set(mark)
    try:
        yield
    finally:
        mark.active = False
        _work.set(before)


def restore(mark: Any) -> None:
    """Have the mark that was there before, because an exception may have left another."""
    _work.set(mark)


def redaction() -> Redact | None:
    """Return what takes the keys out of this thread's texts; None outside of own work."""
    mark = _work.get()
    # A context may be copied, to a task or to another thread, and outlive the block there.
    if mark is None or not mark.active or mark.thread != threading.get_ident():
        return None
    return mark.redact


def is_own(logger: object) -> bool:
    """Return whether a record of the logger of that name, made here and now, is about our own work.

    A record of any other logger is the application's, even here: the garbage collector may run
    a finalizer on any thread.

    >>> is_own("urllib3.connectionpool")
    False
    >>> with own_work(lambda text: text):
    ...     is_own("urllib3.connectionpool"), is_own("urllib3x"), is_own("app")
    (True, False, False)
    """
    return (
        redaction() is not None and isinstance(logger, str) and logger.partition(".")[0] in _LOGGERS
    )
