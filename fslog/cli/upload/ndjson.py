"""Lines of files and streams, plain or gzip, with their numbers, at constant memory.

A line ends at a newline, as the endpoint has it (EVENT_API, "Request"). One that is longer than
the limit comes in pieces, so that a file that is one endless line costs no more than any other.
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
from types import TracebackType
from typing import Any, NamedTuple

from fslog.cli.options import CommandError

STDIN = "-"
"""The argument that stands for standard input."""

_GZIP = b"\x1f"
"""How gzip begins (RFC 1952 2.3.1), and no JSON text does."""

_BLOCK_BYTES = 65_536


class Damaged(CommandError):
    """Report an input that cannot be read to its end."""


@dataclass(frozen=True)
class Source:
    """Name one input.

    Args:
        path: as given, or `STDIN`.
        size_bytes: as it is on the disk, None for a stream, which can be read only once.
        identity: what tells a file from others, None for a stream.
    """

    path: str
    size_bytes: int | None
    identity: tuple[int, int] | None

    @property
    def label(self) -> str:
        """Return what to call it."""
        return "standard input" if self.path == STDIN else self.path

    @property
    def is_stream(self) -> bool:
        """Return whether it can be read only once."""
        return self.size_bytes is None


def sources(paths: Sequence[str]) -> list[Source]:
    """Look at all inputs, before anything is done with the first.

    Raises:
        CommandError: one is not there, may not be read, is a directory, or is named twice.
    """
    found: list[Source] = []
    for path in paths:
        one = source(path)
        for other in found:
            if other.path == one.path or (one.identity and other.identity == one.identity):
                raise CommandError(f"{one.label} is named twice")
        found.append(one)
    return found


def source(path: str) -> Source:
    """Look at one input, without opening it.

    Raises:
        CommandError: it is not there, may not be read, or is a directory.
    """
    try:
        status = os.fstat(0) if path == STDIN else os.stat(path)
        if path != STDIN and not os.access(path, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, ValueError) as error:  # a NUL in a path is a ValueError
        label = "standard input" if path == STDIN else path
        raise CommandError(f"{label} cannot be read: {words(error)}") from None
    if stat.S_ISDIR(status.st_mode):
        raise CommandError(f"{path} is a directory; name the files in it")
    if path == STDIN or not stat.S_ISREG(status.st_mode):
        return Source(path, None, None)
    return Source(path, status.st_size, (status.st_dev, status.st_ino))


def words(error: BaseException) -> str:
    """Return what went wrong, without the path and the number that Python puts around it.

    >>> words(FileNotFoundError(2, "No such file or directory", "x"))
    'No such file or directory'
    """
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class Line(NamedTuple):
    """Hold one line, or the beginning of one that is too long.

    Args:
        number: from 1.
        raw: as it stands in the input, with its newline unless it is the last.
        is_whole: whether that is all of it.
    """

    number: int
    raw: bytes
    is_whole: bool = True


class Reader:
    """Read one input, as a context manager.

    Args:
        source: the input.
        limit_bytes: a line with more bytes than this, its ending left out, may come in pieces.
    """

    def __init__(self, source: Source, limit_bytes: int) -> None:
        self._source = source
        self._limit = limit_bytes + 2  # the longest line and its CR LF
        self._is_open_ended = False
        self.newlines = 0

    def __enter__(self) -> Reader:
        with _damage(self._source):
            fd = 0 if self._source.path == STDIN else os.open(self._source.path, os.O_RDONLY)
            self._file = io.BufferedReader(io.FileIO(fd, closefd=fd != 0), _BLOCK_BYTES)
            try:
                is_gzip = self._file.peek(1)[:1] == _GZIP
            except BaseException:
                self._file.close()
                raise
        self._stream: Any = gzip.GzipFile(fileobj=self._file) if is_gzip else self._file
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()
        self._file.close()

    def fileno(self) -> int:
        """Return the input's descriptor."""
        return self._file.fileno()

    def position(self) -> int:
        """Return how many bytes of the file were read, compressed as they are there."""
        return self._file.tell()

    def skip(self, size_bytes: int) -> Any:
        """Read over so many bytes of the text and return their BLAKE2 hash, which can go on.

        Where the text is shorter the hash is that of all of it.

        Raises:
            Damaged: it cannot be read so far.
        """
        digest = hashlib.blake2b(digest_size=16)
        with _damage(self._source):
            while size_bytes and (block := self._stream.read(min(size_bytes, _BLOCK_BYTES))):
                digest.update(block)
                size_bytes -= len(block)
        return digest

    def lines(self) -> Iterator[Line]:
        """Yield the lines from here on; `newlines` counts those that have ended.

        Raises:
            Damaged: the input cannot be read to its end; what came of a line then is not yielded.
        """
        read, limit = self._stream.readline, self._limit
        with _damage(self._source):
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
        """Yield the pieces that are missing from the line that came last; none if it is whole.

        Raises:
            Damaged: the input cannot be read to the line's end.
        """
        with _damage(self._source):
            while self._is_open_ended and (piece := self._stream.readline(_BLOCK_BYTES)):
                if piece.endswith(b"\n"):
                    self._is_open_ended = False
                    self.newlines += 1
                yield piece


@contextlib.contextmanager
def _damage(source: Source) -> Iterator[None]:
    """Turn what reading raises into `Damaged`."""
    try:
        yield
    except EOFError:
        raise Damaged(f"{source.label} ends in the middle of its gzip data") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise Damaged(f"{source.label} has damaged gzip data: {words(error)}") from None
    except OSError as error:
        raise Damaged(f"{source.label} cannot be read: {words(error)}") from None
