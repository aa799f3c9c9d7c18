"""Forks: a mark that one takes away, and whether one happened meanwhile in another thread.

The mark tells whether this is still the process that set it.

`os.getpid` would tell, too, and is a system call for each log call. Linux can be asked to hand a
page of memory to no child (`MADV_WIPEONFORK`, Linux 4.14, see madvise(2)); a look at it costs next
to nothing, and no kind of fork escapes it: not one that runs none of Python's hooks (uWSGI's),
either.
"""

from __future__ import annotations

import itertools
import mmap
import os
import threading
from typing import Any

from fslog.interrupts import unless_interrupt

_WIPE_ON_FORK = 18
"""Not among `mmap`'s names; the same on every architecture (asm-generic/mman-common.h)."""


class _ByPid:
    """The same by process id, where memory cannot do it."""

    def __init__(self) -> None:
        self._pid = 0

    def __getitem__(self, index: int) -> int:
        return self._pid == os.getpid()

    def __setitem__(self, index: int, value: int) -> None:
        self._pid = os.getpid() if value else 0


def fork_mark() -> Any:
    """Return a mark: `mark[0]` is 0 until this process sets it to 1, and again in its children.

    >>> mark = fork_mark()
    >>> bool(mark[0])
    False
    >>> mark[0] = 1
    >>> bool(mark[0])
    True
    """
    try:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=flags)
        page.madvise(_WIPE_ON_FORK)
    except unless_interrupt(AttributeError, OSError, ValueError):  # another system, an older kernel
        return _ByPid()
    return page


_forking: set[int] = set()
"""The threads that are in the middle of a fork."""

_counter = itertools.count(1)
_last_fork = 0


def forks() -> int | None:
    """Return a number that each fork by another thread changes; None in the middle of one.

    Where it is the same number before and after something, no child has a copy of what was half
    done then. Only forks that run Python's hooks count.

    >>> before = forks()
    >>> before is not None and forks() == before
    True
    """
    # In this order, the reverse of `_before_fork`'s: a fork that begins in between is noticed.
    last = _last_fork
    return None if _forking - {threading.get_ident()} else last


def _before_fork() -> None:
    global _last_fork
    _forking.add(threading.get_ident())
    _last_fork = next(_counter)


def _after_fork() -> None:
    _forking.discard(threading.get_ident())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_forking.clear
    )
