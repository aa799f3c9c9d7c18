"""Delivery before uWSGI ends a process by `_exit`, as `--skip-atexit` has it do.

Only an application that runs under uWSGI with `--skip-atexit` loads this module. Two of uWSGI's
functions in C are its handlers of the signals that end a worker: `end_me` (SIGINT, SIGTERM) calls
`_exit`; `gracefully_kill` (SIGHUP) calls `exit`, or lets a busy worker finish its requests, and
`end_me` comes then. Neither runs any Python code before `_exit`.

`watch` prepares that, when a handler is created. From the first event in a worker on:

- If the handler of a signal is one of these two functions, a handler in Python replaces it, and
  CPython tells a thread by `signal.set_wakeup_fd`, whatever the main thread does.
- The thread delivers, within `shutdown_timeout`, puts uWSGI's handler back, and sends the signal
  once more. So uWSGI ends the worker as it always does; meanwhile the worker goes on, and what it
  logs then is delivered by its own log call (`process.is_finishing`).
- Whatever fails, the signal is sent again, with uWSGI's handler.

Why so: the main thread mostly waits inside C code, so that a handler in Python would not run before
the next request; and a program that the application starts would inherit blocked signals, but not
handlers. A fork inherits the handlers, and gives them back. Until then its signals reach the thread
too, so the thread asks the kernel which process has sent a byte.

A worker that ends by itself is told nothing. After the request that reaches `--max-requests` and
the like, `uwsgi.after_req_hook` flushes.

Nothing is replaced, and all is as it would be without this module, if the handlers are not those
two (gevent's, the application's), if somebody uses `set_wakeup_fd` before or later, in processes
that are not children of uWSGI's master, and if the system or the build of uWSGI lacks what is
needed. Not covered: `--cheaper` and `--max-worker-lifetime`, by which the main thread just ends.
C code that keeps the interpreter's lock holds the end back, for as long as uWSGI's master waits.
"""

from __future__ import annotations

import _thread
import ctypes
import functools
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from fslog import process
from fslog.delivery.worker import is_green, start_thread
from fslog.interrupts import Suppressed, unless_interrupt

_SIGNALS: tuple[int, ...] = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)

_ENDS = ("end_me", "gracefully_kill")
"""uWSGI's handlers of the signals that end a worker."""

_LIMITS = {
    "max-requests": ("delta_requests", 1),
    "reload-on-as": ("vsz", 1 << 20),
    "reload-on-rss": ("rss", 1 << 20),
}
"""The options by which a worker ends after a request, what `uwsgi.workers` says, and their unit."""

_MIN_LIFETIME = 10
"""The default of `--min-worker-lifetime`, before which a worker does not end by one of them."""

_MARGIN_SECONDS = 2.0
"""How much longer than `shutdown_timeout` the signal is held back if delivery does not return."""

_ACTION_BYTES = 512
"""More than `struct sigaction` has on any system."""

_CREDENTIALS = struct.Struct("3i")  # process, user, group

_server: Any = None
_libc: Any = None
_ends: set[int | None] = set()
_call_in_main_thread: Callable[[], object]
_is_called: int = 0
"""The process in which the main thread has been asked to catch the signals, and has not yet."""
_seconds = 0.0
_set_wakeup: Any = signal.set_wakeup_fd
_caught: _Caught | None = None


def watch(server: Any, shutdown_timeout: float) -> None:
    """Deliver before uWSGI ends this process, or one that it forks.

    Args:
        server: the module `uwsgi`.
        shutdown_timeout: of a handler; the longest one of all counts.
    """
    global _server, _seconds
    _seconds = max(_seconds, shutdown_timeout)
    if _server is None:
        _server = server
        _watch_requests()
        _watch_signals()


def _option(name: str, default: int) -> int:
    value = _server.opt.get(name, default)
    try:
        return int(value[-1] if isinstance(value, list) else value)
    except unless_interrupt(TypeError, ValueError):
        return default


def _watch_requests() -> None:
    limits = {
        field: number * unit
        for name, (field, unit) in _LIMITS.items()
        if (number := _option(name, 0)) > 0
    }
    if limits:
        before = getattr(_server, "after_req_hook", None)
        _server.after_req_hook = functools.partial(_after_request, before, limits)


def _after_request(before: Callable[[], object] | None, limits: dict[str, int]) -> None:
    try:
        if before is not None:
            before()
    finally:
        if _is_last(limits):
            for seconds in (0.0, None):  # begin everywhere before waiting anywhere
                for handler in process.handlers():
                    handler.flush(seconds)


def _is_last(limits: dict[str, int]) -> bool:
    number = _server.worker_id()
    worker = _server.workers()[number - 1]
    used = dict(worker)
    used["delta_requests"] -= (number - 1) * _option("max-requests-delta", 0)
    age = time.time() - worker["last_spawn"] + 1  # in whole seconds
    is_due = age >= _option("min-worker-lifetime", _MIN_LIFETIME)
    return is_due and any(used[field] >= limit for field, limit in limits.items())


def _watch_signals() -> None:
    global _libc, _call_in_main_thread
    built = sys.modules.get("pyuwsgi")  # uWSGI as an extension module
    try:
        libc, names = ctypes.PyDLL(None), ctypes.PyDLL(getattr(built, "__file__", None))
        _ends.update(ctypes.cast(getattr(names, name), ctypes.c_void_p).value for name in _ENDS)
        _libc = libc if hasattr(libc, "sigaction") and hasattr(socket, "SO_PASSCRED") else None
        call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(_called)
    except unless_interrupt(AttributeError, OSError, MemoryError):  # another system or build
        return
    if _libc is not None:
        _call_in_main_thread = functools.partial(ctypes.pythonapi.Py_AddPendingCall, call, None)
        os.register_at_fork(after_in_child=_after_fork)
        process.watch_signals_by(_catch)


def _catch() -> None:
    """Catch the signals that end this process, if it is a child of uWSGI's master."""
    global _is_called
    if _caught is not None and _caught.pid == os.getpid():
        return
    if os.getppid() != _server.masterpid() or is_green():
        return
    if _is_main_thread():
        _catch_here()
    elif _is_called != os.getpid():
        _is_called = os.getpid()
        _call_in_main_thread()


def _called(argument: object) -> int:
    """Catch the signals; CPython calls this when the main thread runs Python code."""
    global _is_called
    _is_called = 0
    _catch()
    return 0


def _is_main_thread() -> bool:
    return threading.get_ident() == threading.main_thread().ident


def _catch_here() -> None:
    global _caught
    actions = {number: _action(number) for number in _SIGNALS}
    actions = {number: action for number, action in actions.items() if _function(action) in _ends}
    if not actions:  # the process begins, or another loop than uWSGI's own has set others
        return
    made = None
    try:
        made = _Caught(actions)
        start_thread(made.serve, ())
        _caught = made
        before = _set_wakeup(made.sender.fileno(), warn_on_full_buffer=False)
        if before != -1:
            made.end()
            _set_wakeup(before)
            return
        for number in actions:
            signal.signal(number, _pass_on)
        module: Any = signal
        module.set_wakeup_fd = functools.wraps(_set_wakeup)(_set_wakeup_fd)
    except unless_interrupt(OSError, RuntimeError, ValueError):  # no descriptor, no thread
        if made is not None:
            made.end()


class _Caught:
    """The signals that a process catches instead of uWSGI.

    Args:
        actions: by signal, uWSGI's `struct sigaction` of it.
    """

    def __init__(self, actions: dict[int, Any]) -> None:
        self.pid: int = os.getpid()
        self.is_over: bool = False
        self._actions = actions.copy()
        self._receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sender: socket.socket = sender
        self._receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.sender.setblocking(False)

    def serve(self) -> None:
        """Deliver before each of the signals acts, until `end`."""
        try:
            while (number := self._next()) is not None:
                try:
                    _deliver()
                finally:
                    self._give_back(number)
                    os.kill(self.pid, number)
            self._receiver.close()
        finally:
            for number in list(self._actions):
                self._give_back(number)

    def _next(self) -> int | None:
        while True:
            data, extra, _, _ = self._receiver.recvmsg(1, socket.CMSG_SPACE(_CREDENTIALS.size))
            if not data:
                return None
            is_own = all(_CREDENTIALS.unpack(held)[0] == self.pid for _, _, held in extra)
            if is_own and data[0] in self._actions and _is_ours(data[0]):
                return data[0]

    def _give_back(self, number: int) -> None:
        action = self._actions.pop(number, None)
        if action is not None and _is_ours(number):
            _libc.sigaction(number, action, None)

    def end(self) -> None:
        """Give all signals back: in the main thread of the process, or of a fork."""
        if self.is_over:
            return
        self.is_over = True
        for number in list(self._actions):
            self._give_back(number)
        _set_wakeup(-1)
        if os.getpid() == self.pid:
            self._receiver.shutdown(socket.SHUT_RDWR)  # ends the thread
        else:
            self._receiver.close()
        self.sender.close()


def _action(number: int) -> Any:
    action = ctypes.create_string_buffer(_ACTION_BYTES)
    _libc.sigaction(number, None, action)
    return action


def _function(action: Any) -> int | None:
    return ctypes.c_void_p.from_buffer(action).value  # its first member


def _is_ours(number: int) -> bool:
    """Return whether nobody has replaced the handler."""
    return signal.getsignal(number) is _pass_on


def _pass_on(number: int, frame: FrameType | None) -> None:
    """Tell the thread once more, as the handler in Python, in case it missed the first time."""
    if _caught is None:
        return
    if _caught.pid == os.getpid():
        with Suppressed(OSError):
            _caught.sender.send(bytes([number]))
    else:  # a fork that ran no hook of Python
        _caught.end()
        os.kill(os.getpid(), number)


def _set_wakeup_fd(*arguments: Any, **options: Any) -> Any:
    """Give the signals back to uWSGI, since the thread will not be told of them any more."""
    if _caught is not None and _caught.pid == os.getpid() and _is_main_thread():
        _caught.end()
    return _set_wakeup(*arguments, **options)


def _after_fork() -> None:
    if _caught is not None:
        _caught.end()


def _deliver() -> None:
    """Finish all handlers; return after the timeout even if they have not finished."""
    is_done = _thread.allocate_lock()
    is_done.acquire()

    def finish() -> None:
        try:
            process.finish_all()
        finally:
            is_done.release()

    with Suppressed(RuntimeError):  # no thread can be started
        start_thread(finish, ())
        is_done.acquire(timeout=_seconds + _MARGIN_SECONDS)
