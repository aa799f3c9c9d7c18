"""A mark that a fork takes away: whether this is still the process that set it.

`os.getpid` would tell, too, and is a system call for each log call. Linux can be asked to hand a
page of memory to no child (`MADV_WIPEONFORK`, Linux 4.14, see madvise(2)); a look at it costs next
to nothing, and no kind of fork escapes it: not one that runs none of Python's hooks (uWSGI's),
either.
"""

from __future__ import annotations

import mmap
import os
from typing import Any

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
    except (AttributeError, OSError, ValueError):  # another system, an older kernel
        return _ByPid()
    return page
