"""One background thread at a time, started without waiting for it.

`threading.Thread.start` waits until the new thread runs. A log call may do that neither with a lock
held nor out of a finalizer: the garbage collector may run in the new thread before it reports that
it runs, and a finalizer there that logs waits for the lock; and a finalizer may have interrupted
`threading` itself, whose locks are not re-entrant. So `ensure` only asks the system for a bare
thread, which does the waiting.

Who serves is decided by the threads themselves: each claims the one role when it begins, and ends
if another has it. However often a start is interrupted, doubled or repeated, one of them serves.
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
"""Starts a bare thread that calls a function with arguments; `RuntimeError` if it cannot."""


def start_thread(function: Callable[..., object], arguments: tuple[Any, ...]) -> Any:
    """Start a bare thread, without waiting for it; in gevent's world a greenlet."""
    return _thread.start_new_thread(function, arguments)


class Token:
    """One start of a thread, which may serve or find that another one does.

    A doubtful one may come when another has served and ended, and then has nothing to wait for.
    """

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.is_doubtful = False
        self.turn = threading.Lock()
        self.begun = threading.Lock()
        self.begun.acquire()
        self.ended = threading.Lock()
        self.ended.acquire()


class Worker:
    """Have a function run in at most one thread at a time.

    Args:
        serve: what to run, with a token; it looks from time to time whether the token `serves`.
        name: of the thread.
        start: starts a bare thread.
        must_join: whether `join` has to wait until the operating system's threads have ended.
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
        # In this order: a thread claims the role before it is no longer being started.
        return self._starting is not None or bool(self._role)

    def ensure(self) -> bool:
        """Start a thread if nobody serves; False if none can be started.

        Takes no lock and waits for nothing; may be called from anywhere.
        """
        if self.is_served():
            return True
        # A thread that is started now would never run, or not be waited for.
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
            # Perhaps it was started, perhaps not. The line that asked for it may be the last.
            again = Token()
            token.is_doubtful = again.is_doubtful = True
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
        # A `threading.Thread` is what profilers, debuggers and the names in logs know.
        try:
            if not self._must_join:
                # A daemon: an endpoint that hangs must not keep a process alive.
                token.thread = threading.Thread(
                    target=self._run, args=(token,), name=self._name, daemon=True
                )
                token.thread.start()
                return
        except unless_interrupt(Exception):
            # The system has no more threads, or memory; this one is as good.
            pass
        self._run(token)

    def _run(self, token: Token) -> None:
        if not token.turn.acquire(blocking=False):  # a start that failed had begun all the same
            return
        self._unbegun.pop(token, None)
        token.begun.release()
        try:
            if self.claim(token):
                self._serve(token)
        finally:
            self.release(token)
            token.ended.release()

    def claim(self, token: object) -> bool:
        """Take the role for a token, or for a thread that lends itself; False if it is taken."""
        return self._role.setdefault("token", token) is token

    def serves(self, token: object) -> bool:
        """Return whether the token has the role, and may go on.

        A thread that lends itself may also when no other is to serve any more.
        """
        is_ending = self._is_ended and isinstance(token, Token)
        return self._role.get("token") is token and not is_ending

    def release(self, token: object) -> None:
        """Give the role back, if the token has it. May be called more than once."""
        if self._starting is token:
            self._starting = None
        if self._role.get("token") is token:
            del self._role["token"]

    def settle(self, seconds: float = _BEGIN_SECONDS) -> None:
        """Wait until the threads that were started have begun, because the process ends.

        One whose first step is taken when the interpreter is no longer there crashes the process.
        """
        until = time.monotonic() + seconds
        for token in list(self._unbegun):
            if token.begun.acquire(timeout=max(0.0, until - time.monotonic())):
                token.begun.release()

    def end(self) -> None:
        """Have the thread end at its next look, and start no other."""
        self._is_ended = True

    def wait(self, timeout: float | None) -> bool:
        """Wait until the thread that serves has ended; False if it has not in so many seconds."""
        token = self._starting or self._role.get("token")
        if not isinstance(token, Token) or token.thread is threading.current_thread():
            return True
        if not token.ended.acquire(timeout=-1 if timeout is None else timeout):
            return False
        token.ended.release()
        if token.thread is not None:
            token.thread.join(timeout)
        return True
