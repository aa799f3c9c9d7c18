"""At most one background thread at a time, started without waiting for it.

`threading.Thread.start` waits until the new thread runs. A log call must not wait for that while it
holds a lock, because the garbage collector may run a finalizer in the new thread before it reports
that it runs, and a finalizer that logs there waits for that lock. Nor may a finalizer wait for it:
it may have interrupted `threading` itself, whose locks are not re-entrant. So `ensure` only asks
the system for a bare thread, and that thread does the waiting.

The threads themselves decide which one serves: each claims the one role when it begins, and ends if
another has it. However often a start is interrupted, doubled or repeated, exactly one serves.
"""

from __future__ import annotations

import _thread
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from fslog import process
from fslog.interrupts import is_interrupt, unless_interrupt
from fslog.process import IN_SUBINTERPRETER

_BEGIN_SECONDS = 1.0

Start = Callable[[Callable[..., object], "tuple[Any, ...]"], Any]
"""Starts a bare thread that calls a function with arguments; raises `RuntimeError` if it cannot."""


def is_green() -> bool:
    """Return whether threads are greenlets, because gevent has patched."""
    return getattr(_thread.start_new_thread, "__module__", "") != _thread.__name__


def start_thread(function: Callable[..., object], arguments: tuple[Any, ...]) -> Any:
    """Start a bare thread, without waiting for it; a greenlet if gevent has patched."""
    return _thread.start_new_thread(function, arguments)


class Token:
    """One start of a thread, which serves unless another thread does.

    A spare one repeats a start that may have failed: it may find that another thread has served
    and ended, and then has nothing to wait for.
    """

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.greenlet: Any = None
        self.is_spare = False
        self.once: threading.Lock = threading.Lock()
        self.begun: threading.Lock = threading.Lock()
        self.begun.acquire()
        self.ended: threading.Lock = threading.Lock()
        self.ended.acquire()


class Worker:
    """Run a function in at most one thread at a time.

    Args:
        serve: the function; it is called with a token, and checks now and then that it `serves`.
        name: of the thread.
        start: starts a bare thread.
        must_join: whether the interpreter must not end before the thread has.
    """

    def __init__(
        self,
        serve: Callable[[Token], None],
        name: str = "fslog",
        *,
        start: Start = start_thread,
        must_join: bool = IN_SUBINTERPRETER,
    ) -> None:
        self._serve = serve
        self._name = name
        self._start_thread = start
        self._must_join = must_join
        self._role: dict[str, Any] = {}
        self._starting: Token | None = None
        self._unbegun: dict[Token, None] = {}
        self._is_ended = False

    def is_served(self) -> bool:
        """Return whether a thread has the role, or is being started and will claim it."""
        # In this order: a thread claims the role first, and then it is no longer being started.
        return self._starting is not None or bool(self._role)

    def ensure(self) -> bool:
        """Start a thread if none serves; return False if none can be started.

        Acquires no lock and waits for nothing; may be called from anywhere.
        """
        if self.is_served():
            return True
        # A thread that is started now would never run, or not be joined.
        if self._is_ended or (self._must_join and process.is_over()) or sys.is_finalizing():
            return False
        token = Token()
        try:
            self._starting = token
            self._start(token)
        except BaseException as error:
            self._starting = None
            if isinstance(error, Exception) and not is_interrupt(error):
                self._unbegun.pop(token, None)
                return False  # at interpreter exit (3.12.0-3.12.2), or the system has no more
            # It may have been started or not, and no later line may come to start it again.
            again = Token()
            token.is_spare = again.is_spare = True
            self._start(again)
            raise
        return True

    def _start(self, token: Token) -> None:
        self._unbegun[token] = None
        if self._must_join:
            process.start_joined(partial(self._begin, token), self._start_thread)
        else:
            self._start_thread(self._begin, (token,))

    def _begin(self, token: Token) -> None:
        # Profilers, debuggers and the thread names in logs need a `threading.Thread`.
        try:
            if not self._must_join:
                # A daemon: an endpoint that hangs must not keep a process alive.
                token.thread = threading.Thread(
                    target=self._run, args=(token,), name=self._name, daemon=True
                )
                token.thread.start()
                return
        except unless_interrupt(Exception):
            # No more threads, or no memory: the bare thread serves itself.
            pass
        self._run(token)

    def _run(self, token: Token) -> None:
        if not token.once.acquire(blocking=False):  # a start that raised had succeeded
            return
        self._unbegun.pop(token, None)
        token.begun.release()
        if is_green():
            token.greenlet = sys.modules["gevent"].getcurrent()
        try:
            if self.claim(token):
                self._serve(token)
        except BaseException as error:
            if type(error).__name__ != "GreenletExit":  # of `abandon`
                raise
        finally:
            self.release(token)
            token.ended.release()

    def claim(self, token: object) -> bool:
        """Claim the role for a token of a thread or of a caller; return False if it is taken."""
        return self._role.setdefault("token", token) is token

    def serves(self, token: object) -> bool:
        """Return whether the token has the role and may continue.

        After `end` only a caller's token may.
        """
        is_ending = self._is_ended and isinstance(token, Token)
        return self._role.get("token") is token and not is_ending

    def release(self, token: object) -> None:
        """Release the role, if the token has it; may be called more than once."""
        if self._starting is token:
            self._starting = None
        if self._role.get("token") is token:
            del self._role["token"]

    def wait_begun(self, seconds: float = _BEGIN_SECONDS) -> None:
        """Wait until the threads that were started have begun, because the process ends.

        A thread that begins after the interpreter was finalized crashes the process.
        """
        until = time.monotonic() + seconds
        for token in list(self._unbegun):
            if token.begun.acquire(timeout=max(0.0, until - time.monotonic())):
                token.begun.release()

    def end(self) -> None:
        """End the thread at its next check, and start no other."""
        self._is_ended = True

    def abandon(self) -> None:
        """End the thread in a forked child, into which only greenlets are copied.

        It would go on with the parent's POST, on the parent's connection.
        """
        self._is_ended = True
        greenlet = getattr(self._role.get("token"), "greenlet", None)
        if greenlet is not None:
            greenlet.kill(block=False)

    def wait(self, timeout: float | None) -> bool:
        """Wait until the serving thread has ended; return False if the timeout passes first."""
        token = self._starting or self._role.get("token")
        if not isinstance(token, Token) or token.thread is threading.current_thread():
            return True
        if not token.ended.acquire(timeout=-1 if timeout is None else timeout):
            return False
        token.ended.release()
        if token.thread is not None:
            token.thread.join(timeout)
        return True
