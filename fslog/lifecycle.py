"""The ends and beginnings of processes: fork, interpreter exit, `multiprocessing` children.

Handlers register here weakly, for as long as they live. Deliveries are held here strongly for as
long as they have something to deliver, so that a handler that a second `dictConfig` threw away
still delivers what it took.

What ends a process, and what is called then:
  return from main, an exception, `sys.exit`: `atexit`, after the threads that are no daemons ended
  and before `logging.shutdown`, which registered earlier and so is called later;
  a child of `multiprocessing`, which leaves by `os._exit` without `atexit`: a `Finalize` of its
  own, set when the child's bootstrap has cleared all earlier ones, or at the latest when the child
  first has something to deliver;
  `os._exit`, a signal's default action: nothing at all.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from fslog.delivery.worker import IN_SUBINTERPRETER, join_all
from fslog.interrupts import unless_interrupt


class Forked(Protocol):
    """What is told, in the child, that its process was forked."""

    def after_fork(self) -> None: ...

    def after_fork_in_parent(self) -> None: ...

    def end_soon(self) -> None: ...


class Ending(Protocol):
    """What is given a last chance to deliver when its process ends."""

    def begin_finish(self) -> Any: ...

    def finish(self, request: Any) -> None: ...

    def end_thread(self) -> None: ...

    def leave_to_parent(self) -> None: ...


_members: weakref.WeakSet[Any] = weakref.WeakSet()
_held: dict[Ending, int] = {}
_finalizer: Any = None
_finalizer_pid = 0
_finishing_pid = 0


def register(member: Forked) -> None:
    """Have `member.after_fork` called in every child that this process forks."""
    _members.add(member)


def members() -> list[Any]:
    """Return the registered members that are alive."""
    while True:
        try:
            return list(_members)
        except unless_interrupt(RuntimeError):  # another thread registered one meanwhile
            continue


def flush_all(timeout: float | None = None) -> bool:
    """Flush every live handler of this process, one deadline for all.

    Args:
        timeout: seconds to wait at the most; None means each handler's `shutdown_timeout`.

    Returns:
        Whether nothing that they held at the call is pending any more.
    """
    handlers = members()
    for handler in handlers:
        handler.flush(0.0)  # begin everywhere before waiting anywhere
    deadline_at = None if timeout is None else time.monotonic() + timeout
    done = [
        handler.flush(None if deadline_at is None else max(0.0, deadline_at - time.monotonic()))
        for handler in handlers
    ]
    return all(done)


def hold(delivery: Ending) -> None:
    """Keep a delivery alive, and finish it when the process ends, until it is let go."""
    _held[delivery] = os.getpid()
    _watch_multiprocessing()


def let_go(delivery: Ending) -> None:
    """Forget a delivery that has nothing left to deliver."""
    _held.pop(delivery, None)


def held() -> list[Any]:
    """Return the deliveries of this process that are held."""
    # Not those that a parent holds: not every fork runs the hook that forgets them.
    return [delivery for delivery, pid in _held.copy().items() if pid == os.getpid()]


def is_finishing() -> bool:
    """Return whether this process is at its end: `finish_all` was called, and may not be again."""
    return _finishing_pid != 0 and _finishing_pid == os.getpid()


def finish_all() -> None:
    """Give every held delivery its last chance, all at once; each bounds its own time."""
    global _finishing_pid
    _finishing_pid = os.getpid()
    for member in members():
        member.end_soon()
    raised: list[BaseException] = []

    def attempt(step: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return step(*arguments)
        except BaseException as error:  # out of a signal handler; the others have their chance
            raised.append(error)
            return None

    deliveries = held()
    requests = [attempt(delivery.begin_finish) for delivery in deliveries]
    for delivery, request in zip(deliveries, requests, strict=True):
        attempt(delivery.finish, request)
    if IN_SUBINTERPRETER:
        for delivery in deliveries:
            attempt(delivery.end_thread)
        attempt(join_all)
    if raised:
        raise raised[0]


def _after_fork() -> None:
    for delivery, pid in _held.copy().items():
        if pid != os.getpid():  # the parent's: it delivers them itself
            delivery.leave_to_parent()
            let_go(delivery)
    for member in members():
        member.after_fork()


def _after_fork_in_parent() -> None:
    for member in members():
        member.after_fork_in_parent()


class _Anchor:
    """What `multiprocessing.util.register_after_fork` wants to know alive."""


_anchor = _Anchor()
_is_anchored = False


def _before_fork() -> None:
    """Have `multiprocessing` call us in its child after it cleared the finalizers there."""
    global _is_anchored
    util = sys.modules.get("multiprocessing.util")
    if util is not None and not _is_anchored:
        util.register_after_fork(_anchor, lambda anchor: _watch_multiprocessing())
        _is_anchored = True


def _watch_multiprocessing() -> None:
    """Have a child of `multiprocessing` finish before it leaves; elsewhere do nothing.

    Nothing is imported: in such a child these modules are loaded, and late imports may find a lock
    that another thread held at the fork.
    """
    global _finalizer, _finalizer_pid
    process = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    if process is None or util is None or process.parent_process() is None:
        return
    if _finalizer is None or _finalizer_pid != os.getpid() or not _finalizer.still_active():
        # The lowest priority runs last, after the application's own finalizers, which may log.
        _finalizer = util.Finalize(None, finish_all, exitpriority=-(10**6))
        _finalizer_pid = os.getpid()


atexit.register(finish_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_child=_after_fork,
        after_in_parent=_after_fork_in_parent,
    )
