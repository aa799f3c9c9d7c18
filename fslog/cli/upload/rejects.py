"""The reject file: lines that were not sent, as they came, so that they can be mended and sent.

It is made when the first line needs it, for its owner alone, and never written over: what stands
in a file of that name is somebody's. Only the end of one's own is cut off, where an upload that
was killed had written more than it could account for; the same lines are written again then.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fslog.cli.options import CommandError
from fslog.cli.upload.ndjson import words
from fslog.spool.filesystem import FileSystem

SUFFIX = ".rejects.ndjson"

_BLOCK_BYTES = 1 << 20
_MOVE = "move it away, or name another with --rejects FILE"


@dataclass(frozen=True)
class Vouched:
    """Say how much of a reject file an upload accounts for.

    Args:
        path: of the file, absolute.
        inode: its number on the disk.
        size_bytes: so much of it.
        digest: BLAKE2 of that.
        is_open: whether that upload may have written more; what follows is somebody's if not.
    """

    path: str
    inode: int
    size_bytes: int
    digest: str
    is_open: bool = True

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Vouched:
        """Take one from JSON.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        path, inode, size, digest = (
            given[name] for name in ("path", "inode", "size_bytes", "digest")
        )
        if [type(one) for one in (path, inode, size, digest)] != [str, int, int, str] or size < 0:
            raise TypeError("no account of a reject file")
        return cls(path, inode, size, digest, bool(given.get("is_open", True)))


class Rejects:
    """Write one reject file.

    Args:
        path: of it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._files = FileSystem()
        self._fd: int | None = None
        self._size = 0
        self._digest = hashlib.blake2b(digest_size=16)

    @property
    def is_open(self) -> bool:
        """Return whether there is a file to write to."""
        return self._fd is not None

    def check(self) -> None:
        """See to it that nothing stands in the way.

        Raises:
            CommandError: a file that holds something does, or none can be made there.
        """
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            place = os.path.dirname(self.path) or "."
            if not os.access(place, os.W_OK | os.X_OK):
                raise CommandError(
                    f"{self.path} cannot be made, should a line be rejected: {place} is not there, "
                    "or cannot be written to; --rejects FILE names another"
                ) from None
            return
        except OSError as error:
            raise CommandError(f"{self.path} cannot be looked at: {words(error)}") from None
        if not stat.S_ISREG(found.st_mode) or found.st_size:
            raise CommandError(f"{self.path} is there already; {_MOVE}")

    def open(self) -> None:
        """Make the file, or take an empty one.

        Raises:
            CommandError: one that holds something came into the way.
            OSError: it cannot be made.
        """
        self.check()
        if os.path.lexists(self.path):
            self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            os.fchmod(self._fd, 0o600)
        else:
            self._fd = self._files.create(self.path)

    def reopen(self, vouched: Sequence[Vouched]) -> None:
        """Go on with the file of an earlier run, if it is there.

        What that run cannot have accounted for is cut off. Where the file was changed since, by
        somebody who mends it, it is left as it is, and added to.

        Args:
            vouched: what receipts say of it.

        Raises:
            CommandError: it cannot be opened, or no receipt knows it.
        """
        if not vouched:
            self.check()
            return
        flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            fd = os.open(self.path, flags)
        except FileNotFoundError:
            return
        except OSError as error:
            raise CommandError(f"{self.path} cannot be gone on with: {words(error)}") from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise CommandError(f"{self.path} is not a regular file; {_MOVE}")
        self._fd = fd
        self._adopt(fd, vouched)

    def _adopt(self, fd: int, vouched: Sequence[Vouched]) -> None:
        found = os.fstat(fd)
        for one in sorted(vouched, key=lambda one: (-one.size_bytes, not one.is_open)):
            if one.inode == found.st_ino and one.size_bytes <= found.st_size:
                digest = self._digest_of(fd, one.size_bytes)
                if digest.hexdigest() == one.digest:
                    if not one.is_open:  # what follows is another upload's, or somebody's
                        break
                    os.ftruncate(fd, one.size_bytes)
                    self._size, self._digest = one.size_bytes, digest
                    return
        self._size, self._digest = found.st_size, self._digest_of(fd, found.st_size)
        if self._size and os.pread(fd, 1, self._size - 1) != b"\n":
            self.write((b"\n",))

    def _digest_of(self, fd: int, size_bytes: int) -> Any:
        digest = hashlib.blake2b(digest_size=16)
        at = 0
        while at < size_bytes and (block := os.pread(fd, min(_BLOCK_BYTES, size_bytes - at), at)):
            digest.update(block)
            at += len(block)
        return digest

    def write(self, pieces: Iterable[bytes]) -> None:
        """Add text, all of it or nothing.

        Raises:
            OSError: it cannot be written.
            BaseException: what making the pieces raises.
        """
        assert self._fd is not None
        size, digest = self._size, self._digest.copy()
        try:
            for piece in pieces:
                rest = piece
                while rest:
                    rest = rest[self._files.write(self._fd, rest) :]
                self._size += len(piece)
                self._digest.update(piece)
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, size)
            self._size, self._digest = size, digest
            raise

    def sync(self) -> None:
        """Have what was added written to the disk itself."""
        if self._fd is not None:
            self._files.fsync(self._fd)

    def vouch(self) -> Vouched | None:
        """Account for all that stands in the file; None if there is none."""
        if self._fd is None:
            return None
        inode = os.fstat(self._fd).st_ino
        return Vouched(os.path.abspath(self.path), inode, self._size, self._digest.hexdigest())

    def close(self) -> None:
        """Let the file go."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)
