"""Distinguish exceptions raised by signal handlers from those of the code they interrupt.

Python runs signal handlers between any two instructions of the main thread, and an exception that
one raises (a task's soft time limit, a timeout by SIGALRM) appears in whatever code runs there. A
log call must suppress what an application's value raises, but not this: the task would not end.
"""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Final, TypeVar

E = TypeVar("E", bound=Exception)

_DELETED: Final = object()
_CO_VARARGS = 0x04
"""`inspect.CO_VARARGS`."""


def is_interrupt(error: BaseException) -> bool:
    """Return whether a signal handler raised an exception, not the interrupted code.

    The interpreter calls a signal handler with the signal's number and the interrupted frame.
    No other function is called with a number and its caller's frame.

    >>> try:
    ...     {}["missing"]
    ... except KeyError as error:
    ...     is_interrupt(error)
    False
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        if _is_handler(trace.tb_next.tb_frame, trace.tb_frame):
            return True
        trace = trace.tb_next
    return False


def unless_interrupt(*types: type[E]) -> tuple[type[E], ...]:
    """Return the types for an `except` that does not catch what a signal handler raised.

    >>> try:
    ...     {}["missing"]
    ... except unless_interrupt(KeyError) as error:
    ...     print(error)
    'missing'
    """
    error = sys.exc_info()[1]
    return () if error is not None and is_interrupt(error) else types


class Suppressed(contextlib.suppress):
    """`contextlib.suppress`, except for exceptions that a signal handler raised."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        is_ours = super().__exit__(kind, error, trace)
        return bool(is_ours and error is not None and not is_interrupt(error))


class _Lock(_thread.RLock):  # type: ignore[misc]
    """A lock that `with` releases even if a signal handler raises, for Python 3.14.

    There a handler may run after a built-in `__enter__` and before the statement is bound to call
    `__exit__` (https://github.com/python/cpython/issues/148874), but not after one in Python.
    """

    def __enter__(self) -> bool:  # type: ignore[override]
        before = self._recursion_count()  # type: ignore[attr-defined]
        try:
            is_taken = self.acquire()
        except BaseException:
            if self._recursion_count() > before:  # type: ignore[attr-defined]
                self.release()
            raise
        return is_taken


new_lock: Callable[[], _thread.RLock] = (
    _Lock if sys.version_info[:2] == (3, 14) else threading.RLock
)
"""Return a re-entrant lock."""


def _is_handler(called: FrameType, interrupted: FrameType) -> bool:
    before: Any = None
    for value in _arguments(called):
        if value is interrupted and isinstance(before, int):
            return True
        if value is _DELETED and called.f_code in _handlers():  # an argument that it has deleted
            return True
        before = value
    return False


def _arguments(frame: FrameType) -> Iterator[Any]:
    code, found = frame.f_code, frame.f_locals
    names = code.co_varnames
    for name in names[: code.co_argcount]:
        yield found.get(name, _DELETED)
    if code.co_flags & _CO_VARARGS:
        rest = found.get(names[code.co_argcount + code.co_kwonlyargcount], _DELETED)
        yield from rest if type(rest) is tuple else (rest,)


def _handlers() -> Iterator[Any]:
    """Yield the code objects of the installed signal handlers."""
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        if callable(handler):
            made_of = handler if hasattr(handler, "__code__") else handler.__call__
            yield getattr(made_of, "__code__", None)
