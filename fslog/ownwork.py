"""Whether this thread is doing fslog's own work right now.

What urllib3, backoff and fslog itself log in the course of a POST must not become events, whatever
logger the handler hangs on. Logger names alone cannot tell: an application may use urllib3 too.
So the work is marked, wherever it runs (listener, closing thread, `ping`), in a context variable,
and the mark carries what is needed to keep the keys out of the text of those records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Redact = Callable[[str], str]
"""Takes the keys out of a text."""


# A context variable, because it tells threads apart, and greenlets too, whenever gevent came in.
_work: ContextVar[Redact | None] = ContextVar("fslog.ownwork", default=None)

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
    _work.set(redact)
    try:
        yield
    finally:
        _work.set(before)


redaction: Callable[[], Redact | None] = _work.get
"""Return what takes the keys out of this thread's texts; None outside of own work."""


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
        _work.get() is not None and isinstance(logger, str) and logger.partition(".")[0] in _LOGGERS
    )
