"""Delivery before SIGTERM ends the process.

The default action of SIGTERM ends a process without `atexit`, and so without what waits to be
delivered. That is how each `docker stop` ends a program that handles no signals, as well as uvicorn
and others, which shut down in order, restore the default action, and send the signal once more.

From `watch` on, the default action of SIGTERM in this process is: deliver, within
`shutdown_timeout`, then end by SIGTERM. Everything else stays as it was:

- A handler that somebody else has set is never replaced. `signal.signal` and `signal.getsignal` are
  wrapped: code that sets `SIG_DFL` sets this module's handler, and code that asks for the handler
  gets `SIG_DFL`, as if there were none.
- The status of the process says SIGTERM, because the last act is the real default action.
- The main thread does not go on with its program while it delivers.
- The first process of a container (process id 1) is not ended by a default action. It delivers, and
  goes on.

Not covered: C code that sets a handler itself, and a main thread that stays inside C code for
longer than the supervisor waits; Python runs handlers between two instructions of that thread. It
may miss a signal that comes in the moment in which it begins to wait, until it is woken: seen in 1
of 14 tries of `signal.pause()` right after a log call, and never once the thread had waited.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import time
from types import FrameType
from typing import Any

from fslog import process
from fslog.delivery.worker import is_green, start_thread
from fslog.interrupts import unless_interrupt

_AGAIN_SECONDS = 0.005
"""After how many seconds the signal is sent again if it has interrupted a step of delivery."""

_LATEST_SECONDS = 5.0
"""For how long that is done."""

_set: Any = signal.signal
_get: Any = signal.getsignal
_is_wrapped = False
_asked: tuple[int, float] = (0, 0.0)
"""The process that the signal has reached, and when."""


def watch() -> None:
    """Deliver before SIGTERM ends this process, if its action is the default one, now or later.

    Does nothing if the action of SIGTERM is another one, of Python or of C code such as uWSGI, nor
    on Windows, nor in a sub-interpreter. From another thread than the main one, only what sets the
    default action later is noticed.
    """
    if os.name != "posix" or process.IN_SUBINTERPRETER:
        return
    _wrap()
    if _get(signal.SIGTERM) is signal.SIG_DFL and not _is_caught():
        with contextlib.suppress(ValueError):  # not the main thread
            _set(signal.SIGTERM, _end)


def _wrap() -> None:
    global _is_wrapped, _set, _get
    if _is_wrapped:
        return
    _is_wrapped = True
    module: Any = signal
    _set, _get = signal.signal, signal.getsignal
    module.signal = functools.wraps(_set)(_signal)
    module.getsignal = functools.wraps(_get)(_getsignal)


def _signal(signalnum: Any, handler: Any) -> Any:
    if signalnum == signal.SIGTERM and isinstance(handler, int) and handler == signal.SIG_DFL:
        handler = _end
    return _shown(_set(signalnum, handler))


def _getsignal(signalnum: Any) -> Any:
    return _shown(_get(signalnum))


def _shown(handler: Any) -> Any:
    return signal.SIG_DFL if handler is _end else handler


def _is_caught() -> bool:
    """Return whether the process has a handler of SIGTERM, in whatever language.

    Python does not know what C code has set since Python began.
    """
    try:
        with open("/proc/self/status", "rb") as status:
            caught = next(line for line in status if line.startswith(b"SigCgt:"))
        return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    except unless_interrupt(OSError, StopIteration, ValueError, IndexError):
        return False  # not Linux


def _end(number: int, frame: FrameType | None) -> None:
    """Deliver, and end the process by SIGTERM: the handler of the signal."""
    if _get(signal.SIGTERM) is not _end or os.getpid() == 1:
        # Another handler calls this one, and decides how the process ends; or it does not end.
        for handler in process.handlers():
            handler.flush(0.0)
    elif process.is_finished():
        _default_action()
    elif process.is_finishing():
        process.end_by(_default_action)
    elif _may_wait():
        process.end_by(_default_action)
        # The hub of gevent, which may be what runs here, must not wait.
        start_thread(process.finish_all, ()) if is_green() else process.finish_all()


def _may_wait() -> bool:
    """Return whether the interrupted code holds no lock that delivery may need.

    If it does, it will not for long, and the signal is sent again.
    """
    global _asked
    now = time.monotonic()
    if _asked[0] != os.getpid():
        _asked = (os.getpid(), now)
    is_free = all(delivery.may_wait() for delivery in process.tracked()) and not _is_logging()
    if is_free or now - _asked[1] >= _LATEST_SECONDS:
        return True
    start_thread(_send_again, (os.getpid(),))
    return False


def _is_logging() -> bool:
    """Return whether this thread is inside a handler of logging, which the listener may need."""
    handlers = (reference() for reference in list(logging._handlerList))  # type: ignore[attr-defined]
    locks: list[Any] = [getattr(handler, "lock", None) for handler in handlers]
    return any(lock._is_owned() for lock in locks if hasattr(lock, "_is_owned"))


def _send_again(pid: int) -> None:
    time.sleep(_AGAIN_SECONDS)
    os.kill(pid, signal.SIGTERM)


def _default_action() -> None:
    _set(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    signal.raise_signal(signal.SIGTERM)
