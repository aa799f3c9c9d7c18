"""The system calls of a spool, one method each, so that a test can make any of them fail.

No method follows a symbolic link in the last component of a path, leaks a descriptor to a child
program, or creates a file or directory that other users can read.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

CAN_LOCK = fcntl is not None
"""Whether the platform has `flock`, which shows whether a process is alive."""

_READ_BYTES = 1 << 20
_FLAGS: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class FileSystem:
    """The real file system. Every method may raise `OSError`."""

    write: Callable[[int, bytes | memoryview], int] = staticmethod(os.write)
    fsync: Callable[[int], None] = staticmethod(os.fsync)
    close: Callable[[int], None] = staticmethod(os.close)
    fstat: Callable[[int], os.stat_result] = staticmethod(os.fstat)
    lstat: Callable[[str], os.stat_result] = staticmethod(os.lstat)
    unlink: Callable[[str], None] = staticmethod(os.unlink)
    replace: Callable[[str, str], None] = staticmethod(os.replace)
    listdir: Callable[[str], list[str]] = staticmethod(os.listdir)
    set_mode: Callable[[str, int], None] = staticmethod(os.chmod)

    def create(self, path: str) -> int:
        """Create a file to append to and return its descriptor."""
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
        return self._private(fd)

    def create_lockfile(self, path: str) -> int:
        """Create a file that is locked and written in place; return its descriptor."""
        return self._private(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600))

    def _private(self, fd: int) -> int:
        # Independent of the umask: one of 0o777 would lock the process out of its own file.
        os.fchmod(fd, 0o600)
        return fd

    def open_lockfile(self, path: str, *, make: bool) -> int:
        """Open a regular file to be locked and written in place; return its descriptor.

        Args:
            make: whether to create the file if it is missing.
        """
        flags = os.O_RDWR | os.O_NONBLOCK | (os.O_CREAT if make else 0) | _FLAGS
        fd = os.open(path, flags, 0o600)
        try:
            _expect_file(fd)
            return self._private(fd) if make else fd
        except BaseException:
            os.close(fd)
            raise

    def read(self, path: str, at: int = 0, most_bytes: int | None = None) -> bytes:
        """Return the content of a regular file from an offset on, at most `most_bytes` of it."""
        fd = _open_to_read(path)
        try:
            _expect_file(fd)
            return self.read_from(fd, at, most_bytes)
        finally:
            os.close(fd)

    def read_from(self, fd: int, at: int = 0, most_bytes: int | None = None) -> bytes:
        """Return the content of an open file as `read` does, whatever its position."""
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
        """Overwrite the first bytes of a file."""
        os.pwrite(fd, text, 0)

    def write_at(self, fd: int, text: bytes, at: int) -> None:
        """Overwrite bytes of a file from an offset on."""
        os.pwrite(fd, text, at)

    def truncate(self, fd: int, size_bytes: int) -> None:
        """Shorten a file to a size."""
        os.ftruncate(fd, size_bytes)

    def sync(self, path: str) -> None:
        """Flush a file, or the entries of a directory, to the storage device."""
        fd = os.open(path, os.O_RDONLY | _FLAGS)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def try_lock(self, fd: int) -> bool:
        """Lock a file for as long as this descriptor, or a copy of it, is open in any process.

        Returns:
            Whether this descriptor has the lock; False if another one has it.
        """
        return _try_flock(fd, fcntl.LOCK_EX)

    def is_locked(self, path: str) -> bool:
        """Return whether a file is locked by `try_lock`, in any process.

        The check needs a shared lock for an instant. Two checks at the same time do not see each
        other.
        """
        fd = _open_to_read(path)
        try:
            return not _try_flock(fd, fcntl.LOCK_SH)
        finally:
            os.close(fd)

    def space(self, path: str) -> tuple[int, int]:
        """Return how many bytes of a path's file system this user may use yet, and its size."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

    def make_directory(self, path: str) -> None:
        """Create a directory, and its parents, for this user only, unless it exists."""
        with contextlib.suppress(FileExistsError):
            parent = os.path.dirname(os.path.abspath(path))
            if not os.path.isdir(parent):
                self.make_directory(parent)
            os.mkdir(path, 0o700)
            os.chmod(path, 0o700)

    def sizes(self, path: str) -> Iterator[tuple[str, int, float]]:
        """Yield the name, size and modification time of each entry of a directory."""
        with os.scandir(path) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                    found: Any = entry.stat(follow_symlinks=False)
                    yield entry.name, found.st_size, found.st_mtime


def _open_to_read(path: str) -> int:
    # O_NONBLOCK: opening a FIFO must not block the thread.
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | _FLAGS)


def _try_flock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _expect_file(fd: int) -> None:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError("not a regular file")
