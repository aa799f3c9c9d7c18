"""Whether somebody holds a file's lock, asked without taking it away from anybody.

Linux lists the locks of the processes that the asker can see. What it does not list may still be
held (by another container, over a file system with numbers of its own): there a shared lock is
asked for, which nobody gets who would have to wait for the holder, and let go at once.
"""

from __future__ import annotations

import os

try:
    import fcntl
except ImportError:  # Windows, which has no spools
    fcntl = None  # type: ignore[assignment]

_LIST = "/proc/locks"
_FLAGS: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)

Holders = dict[tuple[int, int, int], int]
"""Process ids by the major and minor number of a device, and the number of a file on it."""


def holders() -> Holders:
    """Return who holds an exclusive `flock`, as far as the system tells.

    The line is that of proc_locks(5): `1: FLOCK ADVISORY WRITE 4711 fd:01:131 0 EOF`.
    """
    try:
        with open(_LIST, encoding="ascii", errors="replace") as lines:
            return dict(found for line in lines if (found := _holder(line)) is not None)
    except OSError:
        return {}


def _holder(line: str) -> tuple[tuple[int, int, int], int] | None:
    """Read one line; None if it is about something else.

    >>> _holder("1: FLOCK  ADVISORY  WRITE 4711 fd:01:131 0 EOF")
    ((253, 1, 131), 4711)
    >>> _holder("1: -> FLOCK  ADVISORY  WRITE 4711 fd:01:131 0 EOF") is None  # it only waits
    True
    """
    words = line.split()
    if len(words) < 6 or words[1] != "FLOCK" or words[3] != "WRITE":
        return None
    try:
        major, minor, inode = words[5].split(":")
        return (int(major, 16), int(minor, 16), int(inode)), int(words[4])
    except ValueError:
        return None


def holder(path: str, known: Holders) -> int | None:
    """Return the id of the process that holds a file's lock, 0 where that is unknown.

    Args:
        path: of a file; a link is not followed.
        known: from `holders`.

    Returns:
        None if nobody holds it.

    Raises:
        OSError: the file is not there, or may not be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _FLAGS)
    try:
        found = os.fstat(fd)
        pid = known.get((os.major(found.st_dev), os.minor(found.st_dev), found.st_ino))
        if pid is not None:
            return max(0, pid)  # -1: held by a process that cannot be seen from here
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return 0
        return None
    finally:
        os.close(fd)
