"""The system calls that a spool makes, one method each, so that tests can fail any one of them.

Nothing here follows a symbolic link in the last part of a path, hands a descriptor on to another
program, or makes a file or directory that others may read.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

CAN_LOCK = fcntl is not None
"""Whether the platform has `flock`, without which an orphan cannot be told from a living one."""

_READ_BYTES = 1 << 20
_FLAGS: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class FileSystem:
    """The real one. Every method may raise `OSError`."""

    write = staticmethod(os.write)
    fsync = staticmethod(os.fsync)
    close = staticmethod(os.close)
    fstat = staticmethod(os.fstat)
    lstat = staticmethod(os.lstat)
    unlink = staticmethod(os.unlink)
    replace = staticmethod(os.replace)
    listdir = staticmethod(os.listdir)
    set_mode = staticmethod(os.chmod)

    def create(self, path: str) -> int:
        """Make a new file to append to and return its descriptor."""
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
        return self._private(fd)

    def create_register(self, path: str) -> int:
        """Make a new file whose start is written again and again; return its descriptor."""
        return self._private(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600))

    def _private(self, fd: int) -> int:
        # Whatever the process's umask is: one of 0o777 would lock us out of our own file.
        os.fchmod(fd, 0o600)
        return fd

    def open_register(self, path: str, *, make: bool) -> int:
        """Open such a file; where it is not there, make it if that is wanted."""
        flags = os.O_RDWR | os.O_NONBLOCK | (os.O_CREAT if make else 0) | _FLAGS
        fd = os.open(path, flags, 0o600)
        try:
            _expect_file(fd)
            return self._private(fd) if make else fd
        except BaseException:
            os.close(fd)
            raise

    def read(self, path: str, at: int = 0, most_bytes: int | None = None) -> bytes:
        """Return what a regular file holds, from a place on, and no more than so many bytes."""
        # O_NONBLOCK: a FIFO that somebody put there must not hang the thread.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _FLAGS)
        try:
            _expect_file(fd)
            return self.read_from(fd, at, most_bytes)
        finally:
            os.close(fd)

    def read_from(self, fd: int, at: int = 0, most_bytes: int | None = None) -> bytes:
        """Return what an open file holds, as `read` does, wherever its position is."""
        parts = []
        left = sys.maxsize if most_bytes is None else most_bytes
        while left > 0:
            wanted = min(left, _READ_BYTES)
            parts.append(os.pread(fd, wanted, at))
            if len(parts[-1]) < wanted:
                break
            at += wanted
            left -= wanted
        return b"".join(parts)

    def write_at_start(self, fd: int, text: bytes) -> None:
        """Replace the first bytes of a file."""
        os.pwrite(fd, text, 0)

    def write_at(self, fd: int, text: bytes, at: int) -> None:
        """Replace bytes of a file from a place on."""
        os.pwrite(fd, text, at)

    def cut(self, fd: int, size_bytes: int) -> None:
        """Shorten a file to so many bytes."""
        os.ftruncate(fd, size_bytes)

    def sync(self, path: str) -> None:
        """Have a file, or a directory's list of names, written to the disk itself."""
        fd = os.open(path, os.O_RDONLY | _FLAGS)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def try_lock(self, fd: int) -> bool:
        """Lock a file for as long as this descriptor, or a copy of it, is open anywhere.

        Returns:
            Whether it is locked now; False if another descriptor holds the lock.
        """
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def make_directory(self, path: str) -> None:
        """Make a directory for this user alone, its parents too, unless it is there already."""
        with contextlib.suppress(FileExistsError):
            parent = os.path.dirname(os.path.abspath(path))
            if not os.path.isdir(parent):
                self.make_directory(parent)
            os.mkdir(path, 0o700)
            os.chmod(path, 0o700)

    def sizes(self, path: str) -> Iterator[tuple[str, int, float]]:
        """Yield each entry of a directory: its name, its size, when it was last written."""
        with os.scandir(path) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # delivered meanwhile
                    found: Any = entry.stat(follow_symlinks=False)
                    yield entry.name, found.st_size, found.st_mtime


def _expect_file(fd: int) -> None:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError("not a regular file")
