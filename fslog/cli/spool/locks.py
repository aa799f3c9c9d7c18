"""Which process holds a file's lock, as far as Linux lists it.

Linux lists the locks of the processes in the caller's namespace, by device and inode. Some file
systems show other numbers there than `stat` does.
"""

from __future__ import annotations

import os

_LIST = "/proc/locks"

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


def pid_of(file: os.stat_result, known: Holders) -> int:
    """Return the id of the process that holds the lock of a file; 0 if that is unknown."""
    found = known.get((os.major(file.st_dev), os.minor(file.st_dev), file.st_ino), 0)
    return max(0, found)  # -1: a process of another namespace
