"""Read the lines of files and streams, plain or gzip, in constant memory.

A line ends at a newline, as the endpoint defines it (EVENT_API, "Request"). A line that exceeds the
limit is read in pieces.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import os
import stat
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fslog.cli.options import CommandError

STDIN = "-"
"""The argument for standard input."""

_GZIP = b"\x1f"
"""The first byte of gzip (RFC 1952 2.3.1); no JSON text begins with it."""

_BLOCK_BYTES = 65_536


class DamagedInput(CommandError):
    """Report an input that cannot be read to its end."""


@dataclass(frozen=True)
class InputFile:
    """One input.

    Args:
        path: as given, or `STDIN`.
        size_bytes: on disk; None for a stream, which can be read only once.
        identity: device and inode; None for a stream.
    """

    path: str
    size_bytes: int | None
    identity: tuple[int, int] | None

    @property
    def label(self) -> str:
        """Return its name for messages."""
        return "standard input" if self.path == STDIN else self.path

    @property
    def is_stream(self) -> bool:
        """Return whether it can be read only once."""
        return self.size_bytes is None


def input_files(paths: Sequence[str]) -> list[InputFile]:
    """Check all inputs, without opening them.

    Raises:
        CommandError: one does not exist, is not readable, is a directory, or is named twice.
    """
    found: list[InputFile] = []
    for path in paths:
        one = input_file(path)
        for other in found:
            if other.path == one.path or (one.identity and other.identity == one.identity):
                raise CommandError(f"{one.label} is named twice")
        found.append(one)
    return found


def input_file(path: str) -> InputFile:
    """Check one input, without opening it.

    Raises:
        CommandError: it does not exist, is not readable, or is a directory.
    """
    try:
        status = os.fstat(0) if path == STDIN else os.stat(path)
        if path != STDIN and not os.access(path, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, ValueError) as error:  # a NUL in a path is a ValueError
        label = "standard input" if path == STDIN else path
        raise CommandError(f"{label} cannot be read: {reason_of(error)}") from None
    if stat.S_ISDIR(status.st_mode):
        raise CommandError(f"{path} is a directory; name the files in it")
    if path == STDIN or not stat.S_ISREG(status.st_mode):
        return InputFile(path, None, None)
    return InputFile(path, status.st_size, (status.st_dev, status.st_ino))


def reason_of(error: BaseException) -> str:
    """Return an error's message without the path and the number that Python adds.

    >>> reason_of(FileNotFoundError(2, "No such file or directory", "x"))
    'No such file or directory'
    """
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class Line(NamedTuple):
    """One line, or the beginning of a line that is too long.

    Args:
        number: from 1.
        raw: its bytes, with the newline unless it is the last line.
        is_whole: whether `raw` is all of it.
    """

    number: int
    raw: bytes
    is_whole: bool = True


class Reader:
    """Read one input, as a context manager.

    Args:
        file: the input.
        limit_bytes: a line with more bytes than this, its ending not counted, may be split.
    """

    def __init__(self, file: InputFile, limit_bytes: int) -> None:
        self._input = file
        self._limit = limit_bytes + 2  # the longest line and its CR LF
        self._is_open_ended = False
        self.newlines: int = 0

    def __enter__(self) -> Reader:
        with _damage_reported(self._input):
            fd = 0 if self._input.path == STDIN else os.open(self._input.path, os.O_RDONLY)
            self._file = io.BufferedReader(io.FileIO(fd, closefd=fd != 0), _BLOCK_BYTES)
            try:
                is_gzip = self._file.peek(1)[:1] == _GZIP
            except BaseException:
                self._file.close()
                raise
        self._stream: Any = gzip.GzipFile(fileobj=self._file) if is_gzip else self._file
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()
        self._file.close()

    def fileno(self) -> int:
        """Return the input's descriptor."""
        return self._file.fileno()

    def position(self) -> int:
        """Return how many bytes of the file were read; compressed bytes if it is compressed."""
        return self._file.tell()

    def skip(self, size_bytes: int) -> Any:
        """Skip a number of bytes of the text and return their BLAKE2 hash object.

        If the text is shorter, the hash is that of all of it.

        Raises:
            DamagedInput: the bytes cannot be read.
        """
        digest = hashlib.blake2b(digest_size=16)
        with _damage_reported(self._input):
            while size_bytes and (block := self._stream.read(min(size_bytes, _BLOCK_BYTES))):
                digest.update(block)
                size_bytes -= len(block)
        return digest

    def lines(self) -> Iterator[Line]:
        """Yield the lines from the current position; `newlines` counts the newlines read.

        Raises:
            DamagedInput: the input cannot be read to its end; an incomplete line is not yielded.
        """
        read, limit = self._stream.readline, self._limit
        with _damage_reported(self._input):
            while raw := read(limit):
                number = self.newlines + 1
                is_ended = raw.endswith(b"\n")
                self.newlines += is_ended
                self._is_open_ended = not is_ended and len(raw) == limit
                yield Line(number, raw, not self._is_open_ended)
                if self._is_open_ended:
                    for _ in self.rest():
                        pass

    def rest(self) -> Iterator[bytes]:
        """Yield the rest of the line that was yielded last, in pieces; none if it was whole.

        Raises:
            DamagedInput: the input cannot be read to the line's end.
        """
        with _damage_reported(self._input):
            while self._is_open_ended and (piece := self._stream.readline(_BLOCK_BYTES)):
                if piece.endswith(b"\n"):
                    self._is_open_ended = False
                    self.newlines += 1
                yield piece


@contextlib.contextmanager
def _damage_reported(file: InputFile) -> Iterator[None]:
    """Convert the errors of reading to `DamagedInput`."""
    try:
        yield
    except EOFError:
        raise DamagedInput(f"{file.label} ends in the middle of its gzip data") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DamagedInput(f"{file.label} has damaged gzip data: {reason_of(error)}") from None
    except OSError as error:
        raise DamagedInput(f"{file.label} cannot be read: {reason_of(error)}") from None
