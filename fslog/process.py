"""The beginnings and ends of processes: fork, interpreter exit, `multiprocessing`, fork flag.

Handlers are registered weakly. Deliveries are tracked strongly while they have something to
deliver, so that the events of a handler that a second `dictConfig` replaced are still delivered.

How a process ends, and what runs then:
  return from main, an exception, `sys.exit`: `atexit`, after the non-daemon threads have ended and
  before `logging.shutdown`, which was registered earlier and so runs later;
  a task of Airflow, a fork that forgets its parent's `atexit` callbacks: one of its own, registered
  when it first has something to deliver;
  a child of `multiprocessing`, which ends by `os._exit` without `atexit`: a `Finalize` of its own,
  set after the child's bootstrap has cleared all inherited ones, or at the latest when the child
  first has something to deliver;
  a process of Celery's pool, which ends by `os._exit` too: Celery's own signal before it;
  a worker of uWSGI, which may end without `atexit`: `uwsgi.atexit`, uWSGI's own callback; with
  `--skip-atexit`, by `_exit`: what `fslog.delivery.uwsgi` has set;
  SIGTERM, if its action is the default one: the handler of `fslog.delivery.sigterm`;
  `os._exit`, another signal's default action: nothing.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import functools
import itertools
import mmap
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from fslog.interrupts import unless_interrupt

try:
    import _interpreters as _subinterpreters  # type: ignore[import-not-found]
except ImportError:  # up to 3.12; another implementation may have neither
    try:
        import _xxsubinterpreters as _subinterpreters  # type: ignore[import-not-found]
    except ImportError:
        _subinterpreters = None

IN_SUBINTERPRETER = (
    _subinterpreters is not None and _subinterpreters.get_current() != _subinterpreters.get_main()
)
"""Whether this is a sub-interpreter, in which mod_wsgi and uWSGI run applications. One that ends
while a thread of its own is alive, daemon or not, aborts the process (`Py_EndInterpreter`)."""


class ForkAware(Protocol):
    """A registered handler, as forks and the end of the process see it."""

    def after_fork(self) -> None: ...

    def after_fork_in_parent(self) -> None: ...

    def end_soon(self) -> None: ...


class Finishable(Protocol):
    """A tracked delivery, as forks and the end of the process see it."""

    def begin_finish(self) -> Any: ...

    def finish(self, request: Any) -> None: ...

    def end_thread(self) -> None: ...

    def close_inherited(self) -> None: ...


_handlers: weakref.WeakSet[Any] = weakref.WeakSet()
_tracked: dict[Finishable, int] = {}
_finalizer: Any = None
_finalizer_pid = 0
_finishing_pid = 0
_finished_pid = 0
_last_act: tuple[int, Callable[[], object]] | None = None


def register(handler: ForkAware) -> None:
    """Have `handler.after_fork` called in every child that this process forks."""
    _handlers.add(handler)


def handlers() -> list[Any]:
    """Return the registered handlers that are alive."""
    while True:
        try:
            return list(_handlers)
        except unless_interrupt(RuntimeError):  # another thread registered one meanwhile
            continue


def track(delivery: Finishable) -> None:
    """Keep a delivery alive, and finish it when the process ends, until it is untracked."""
    _tracked[delivery] = os.getpid()
    _watch_exit()
    _watch_multiprocessing()
    _watch_celery()
    _watch_uwsgi()


def untrack(delivery: Finishable) -> None:
    """Stop tracking a delivery, because it has nothing left to deliver."""
    _tracked.pop(delivery, None)


def tracked() -> list[Any]:
    """Return the deliveries that this process tracks."""
    # Without the parent's: not every fork runs the hook that untracks them.
    return [delivery for delivery, pid in _tracked.copy().items() if pid == os.getpid()]


def is_finishing() -> bool:
    """Return whether this process is ending: `finish_all` was called, and may not be again."""
    return _finishing_pid != 0 and _finishing_pid == os.getpid()


def is_finished() -> bool:
    """Return whether `finish_all` has ended in this process."""
    return _finished_pid != 0 and _finished_pid == os.getpid()


def end_by(act: Callable[[], object]) -> None:
    """Have `finish_all` call a function as its last act, instead of returning."""
    global _last_act
    _last_act = (os.getpid(), act)


def finish_all() -> None:
    """Finish all tracked deliveries concurrently; each bounds its own time."""
    global _finishing_pid, _finished_pid
    _finishing_pid = os.getpid()
    try:
        _finish_all()
    finally:
        _finished_pid = os.getpid()
        if _last_act is not None and _last_act[0] == os.getpid():
            _last_act[1]()


def _finish_all() -> None:
    for handler in handlers():
        handler.end_soon()
    raised: list[BaseException] = []

    def attempt(step: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return step(*arguments)
        except BaseException as error:  # by a signal handler; the other deliveries finish first
            raised.append(error)
            return None

    deliveries = tracked()
    requests = [attempt(delivery.begin_finish) for delivery in deliveries]
    for delivery, request in zip(deliveries, requests, strict=True):
        attempt(delivery.finish, request)
    if IN_SUBINTERPRETER:
        for delivery in deliveries:
            attempt(delivery.end_thread)
        attempt(join_threads)
    if raised:
        raise raised[0]


class _Registered:
    """An object that equals nothing, and knows whether `atexit` has `finish_all`."""

    is_so = False

    def __eq__(self, other: object) -> bool:
        self.is_so = self.is_so or other is finish_all
        return False


_exit_pid = os.getpid()
"""The process of which it is known that `atexit` has `finish_all`."""


def _watch_exit() -> None:
    """In a forked child that has cleared its parent's `atexit` callbacks, register ours again."""
    global _exit_pid
    if _exit_pid == os.getpid():
        return
    _exit_pid = os.getpid()
    registered: Any = _Registered()
    atexit.unregister(registered)  # compares it with each callback
    if not registered.is_so:
        atexit.register(finish_all)


class _Anchor:
    """An object that `multiprocessing.util.register_after_fork` can refer to weakly."""


_anchor = _Anchor()
_is_anchored = False


def _anchor_multiprocessing() -> None:
    """Have `multiprocessing` call us in its child after it has cleared the finalizers there."""
    global _is_anchored
    util = sys.modules.get("multiprocessing.util")
    if util is not None and not _is_anchored:
        util.register_after_fork(_anchor, lambda anchor: _watch_multiprocessing())
        _is_anchored = True


def _watch_multiprocessing() -> None:
    """In a child of `multiprocessing`, set a finalizer, which runs before the child ends.

    Nothing is imported: such a child has loaded these modules, and a late import may wait for a
    lock that another thread held at the fork.
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


_has_celery = False


def _watch_celery() -> None:
    """Have Celery call us before a process of its pool ends."""
    global _has_celery
    signals = sys.modules.get("celery.signals")
    if signals is not None and not _has_celery:
        _has_celery = True
        # Kept strongly: nothing else refers to it.
        signals.worker_process_shutdown.connect(lambda **sent: finish_all(), weak=False)


_watch_signals: Callable[[], object] | None = None


def watch_signals_by(watch: Callable[[], object]) -> None:
    """Have a function called in a process of uWSGI whenever there is something to deliver.

    It may be called in any thread, and under the lock of a buffer.
    """
    global _watch_signals
    _watch_signals = watch


def uwsgi() -> Any:
    """Return the module of uWSGI, if that runs this process and calls this interpreter."""
    server: Any = sys.modules.get("uwsgi")
    # An application's own module of this name has a file. The callback is called in the main
    # interpreter, which is not always the one of the application.
    return None if hasattr(server, "__file__") or IN_SUBINTERPRETER else server


def skips_atexit(server: Any) -> bool:
    """Return whether uWSGI's option `skip-atexit` is set, in the words that it takes."""
    value = getattr(server, "opt", {}).get("skip-atexit")
    return value is not None and value not in (b"false", b"off", b"no", b"0")


def _watch_uwsgi() -> None:
    """Have uWSGI call us before one of its processes ends, after what the application has set.

    With `--gevent` and `--skip-atexit-teardown` it does not finalize the interpreter, and so runs
    no callback of `atexit`. With `--skip-atexit` it mostly calls nothing.
    """
    server = uwsgi()
    if server is None:
        return
    before = getattr(server, "atexit", None)
    if getattr(before, "func", None) is not _end_uwsgi:
        server.atexit = functools.partial(_end_uwsgi, before)
    if _watch_signals is not None:
        _watch_signals()


def _end_uwsgi(before: Callable[[], object] | None) -> None:
    try:
        if before is not None:
            before()
    finally:
        finish_all()


_WIPE_ON_FORK = 18
"""`MADV_WIPEONFORK`, which `mmap` does not name; the same on every architecture."""


class _FlagByPid:
    """A fork flag by process id, for systems that cannot wipe memory on fork."""

    def __init__(self) -> None:
        self._pid = 0

    def __getitem__(self, index: int) -> int:
        return self._pid == os.getpid()

    def __setitem__(self, index: int, value: int) -> None:
        self._pid = os.getpid() if value else 0


def fork_flag() -> Any:
    """Return a flag: `flag[0]` is 0 until this process sets it to 1, and again in its children.

    `os.getpid` would do, but is a system call for each log call. Linux can give a child a wiped
    page of memory instead of a copy (`MADV_WIPEONFORK`, Linux 4.14, see madvise(2)). Reading it
    costs next to nothing, and it works for forks that run none of Python's hooks (uWSGI's) too.

    >>> flag = fork_flag()
    >>> bool(flag[0])
    False
    >>> flag[0] = 1
    >>> bool(flag[0])
    True
    """
    try:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=flags)
        page.madvise(_WIPE_ON_FORK)
    except unless_interrupt(AttributeError, OSError, ValueError):  # another system, an older kernel
        return _FlagByPid()
    return page


_forking: set[int] = set()
"""The ids of the threads that are forking."""

_counter = itertools.count(1)
_last_fork = 0


def fork_epoch() -> int | None:
    """Return a number that changes with each fork by another thread; None during one.

    If it is the same before and after a step, no child has a copy of the half-done step. Forks
    that do not run Python's hooks do not count.

    >>> before = fork_epoch()
    >>> before is not None and fork_epoch() == before
    True
    """
    # `_before_fork` writes these in the reverse order, so a fork that begins in between is noticed.
    last = _last_fork
    return None if _forking - {threading.get_ident()} else last


def _before_fork() -> None:
    global _last_fork
    _forking.add(threading.get_ident())
    _last_fork = next(_counter)
    _anchor_multiprocessing()


def _after_fork_in_child() -> None:
    _forking.clear()
    for delivery, pid in _tracked.copy().items():
        if pid != os.getpid():  # the parent's: it delivers them itself
            delivery.close_inherited()
            untrack(delivery)
    for handler in handlers():
        handler.after_fork()


def _after_fork_in_parent() -> None:
    _forking.discard(threading.get_ident())
    for handler in handlers():
        handler.after_fork_in_parent()


_threads: list[Any] = []
"""Threads that have to end before this interpreter does."""

_is_over = False


def is_over() -> bool:
    """Return whether `start_joined` may no longer be called."""
    return _is_over


def start_joined(function: Callable[[], object], start: Callable[..., Any]) -> None:
    """Start a bare thread that `join_threads` waits for.

    Args:
        function: runs in the thread.
        start: starts a bare thread, if the interpreter has no joinable ones (before 3.13).
    """
    for thread in _threads.copy():
        if thread.is_done():
            with contextlib.suppress(ValueError):  # removed by a concurrent call
                _threads.remove(thread)
    if hasattr(_thread, "start_joinable_thread"):  # 3.13 and newer
        _threads.append(_thread.start_joinable_thread(function))
    else:  # pragma: no cover - coverage is measured on a newer one
        ended = _Ended()
        _threads.append(ended)
        start(ended.watch, (function,))


def join_threads() -> None:
    """Wait for the threads that `start_joined` started, and allow no more of them.

    All of them: one that has just found nothing more to do may not have ended yet.
    """
    global _is_over
    _is_over = True
    while _threads:
        _threads[-1].join()
        _threads.pop()


class _Ended:  # pragma: no cover - coverage is measured on a newer one
    """The end of a bare thread, before 3.13: a lock that the interpreter releases at its end."""

    def __init__(self) -> None:
        self._began = _thread.allocate_lock()
        self._began.acquire()
        self._lock: Any = None

    def watch(self, function: Callable[[], object]) -> None:
        """Call a function, in the thread whose end is waited for."""
        self._lock = _thread._set_sentinel()  # type: ignore[attr-defined]
        self._lock.acquire()
        self._began.release()
        function()

    def is_done(self) -> bool:
        """Return whether the thread has ended."""
        if self._lock is None or not self._lock.acquire(False):
            return False
        self._lock.release()
        return True

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._began.acquire()
        self._began.release()
        self._lock.acquire()
        self._lock.release()


atexit.register(finish_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_child=_after_fork_in_child,
        after_in_parent=_after_fork_in_parent,
    )
