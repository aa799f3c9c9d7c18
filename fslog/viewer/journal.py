"""`--store FILE`: every line that came, appended as it came, one write for those of a request."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Sequence

_FLAGS: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
# O_NONBLOCK: a FIFO that nobody reads must be an error, not a wait.
_FLAGS |= getattr(os, "O_NONBLOCK", 0)


class Journal:
    """Append lines to a file of this user's own, and never fail once it is open.

    Args:
        path: of the file; a new one is readable by this user only, an old one is gone on with.
        say: told once, in a sentence, when a write fails.
        write: the system call.

    Raises:
        OSError: the file cannot be had: a directory, a symbolic link, another user's, ...
    """

    def __init__(
        self,
        path: str,
        say: Callable[[str], None],
        write: Callable[[int, memoryview], int] = os.write,
    ) -> None:
        self.missing = 0
        self._path = path
        self._say = say
        self._write = write
        self._fd = _opened(path)
        self._torn = _is_torn(self._fd)
        self._failed = False

    def append(self, lines: Sequence[bytes]) -> None:
        """Append lines, given without their newlines; what cannot be written is counted."""
        if not lines:
            return
        start = b"\n" if self._torn else b""
        text = b"".join([start, *(line + b"\n" for line in lines)])
        left = memoryview(text)
        try:
            while left:
                left = left[self._write(self._fd, left) or _nothing() :]
            self._torn = False
        except OSError as error:
            written = bytes(text[: len(text) - len(left)])
            self._torn = not written.endswith(b"\n") if written else self._torn
            whole = written.removeprefix(start).count(b"\n")
            if self._torn and len(written) > len(start):
                whole += bytes(left[:1]) == b"\n"  # all of the line is there, but its end
            self.missing += len(lines) - whole
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        if not self._failed:
            self._failed = True
            self._say(
                f"{self._path} cannot be written: {error.strerror or error}. The viewer goes on "
                "without; later lines are tried again"
            )

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            os.close(self._fd)


def _opened(path: str) -> int:
    made = False
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | _FLAGS)
    except FileNotFoundError:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
        made = True
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(f"{path} is not a regular file")
        if made:
            os.fchmod(fd, 0o600)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _is_torn(fd: int) -> bool:
    size = os.fstat(fd).st_size
    return size > 0 and os.pread(fd, 1, size - 1) != b"\n"


def _nothing() -> int:
    raise OSError("the system wrote nothing")
