"""Owners: which process a spool's segments belong to, whether it lives, what room it takes.

Each owner has one file, locked (`flock`) for as long as it lives: the kernel lets go of the lock
when the last descriptor closes, however the process ends. Process ids are recycled and prove
nothing. A copy of the descriptor in a forked child would keep the lock, so the child closes it.

The file holds a digest of the owner's keys and how many bytes it claims. Who wants more writes
its own claim first and adds up all claims then: of two that do so at once at least one sees the
other, so that the sum never exceeds the limit, and nobody waits for anybody.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable

from fslog.filesystem import FileSystem
from fslog.segments import generation_of, owner_name

_NO_FILE = frozenset({errno.ENOENT, errno.ELOOP, None})
"""Errors of what is gone meanwhile, or no regular file: nothing is claimed there."""

_CLAIM_DIGITS = 20
_TRIES_DIGITS = 4
_TRIES = 100

_REST_SECONDS = 10.0
"""How long segments rest that two have taken over in vain."""


class Owner:
    """A lock that is held, on an owner's file.

    Args:
        fs: the file system.
        path: of the file.
        fd: of the file, locked.
        digest: of the keys.
    """

    def __init__(self, fs: FileSystem, path: str, fd: int, digest: str) -> None:
        self._fs = fs
        self._path = path
        self._digest = digest
        self._fds = [fd]
        self._id = _identity(fs, fd)
        self.name = os.path.basename(path)
        self.tries = 0
        """How many have taken the segments over and delivered none of them."""

    def claim(self, size_bytes: int) -> None:
        """Write down how many bytes this owner's segments may have."""
        text = f"{self._digest} {size_bytes:0{_CLAIM_DIGITS}d} {self.tries:0{_TRIES_DIGITS}d}\n"
        self._fs.write_at_start(self._fd(), text.encode("ascii"))

    def is_linked(self) -> bool:
        """Tell whether others still find the file: nobody removed it, nor its directory."""
        return bool(self._fds) and is_linked(self._fs, self._fd(), self._path)

    def _fd(self) -> int:
        try:
            return self._fds[0]
        except IndexError:
            raise OSError(errno.EBADF, "the owner's file is closed") from None

    def remove(self) -> None:
        """End the ownership of segments that are all gone."""
        # Where this fails an owner without segments is left; whoever adopts it tries again.
        with contextlib.suppress(OSError):
            if self.is_linked():
                self._fs.unlink(self._path)
        self.close()

    def close(self) -> None:
        """Let go of the lock: what is left is an orphan now. May be called more than once."""
        try:
            fd = self._fds.pop()  # atomic: a descriptor must not be closed twice
        except IndexError:
            return
        # A daemon may have closed all descriptors; the number may be another file's by now.
        with contextlib.suppress(OSError):
            if _identity(self._fs, fd) == self._id:
                self._fs.close(fd)


def begin(
    fs: FileSystem, folder: str, digest: str, token: Callable[[], str], again: str = ""
) -> Owner:
    """Make a new owner, of a generation after all that are there.

    Args:
        folder: where the owners' files are.
        token: makes a random text of hexadecimal digits.
        again: the name of this process's owner whose file was removed by somebody.
    """
    for _ in range(_TRIES):
        generations = [generation_of(name) or 0 for name in fs.listdir(folder)]
        name = again or owner_name(1 + max(generations, default=0), token())
        path, again = os.path.join(folder, name), ""
        try:
            fd = fs.create_register(path)
        except FileExistsError:
            continue
        owner = Owner(fs, path, fd, digest)
        try:
            # The text before the lock: whoever finds the file locked finds it complete.
            owner.claim(0)
            if fs.try_lock(fd) and is_linked(fs, fd, path):
                return owner
        except OSError:  # a full disk
            owner.remove()
            raise
        owner.close()  # somebody took it for an orphan's, in between
    raise OSError("no owner's file could be made and locked")


def adopt(
    fs: FileSystem, folder: str, name: str, digest: str, now: float, *, make: bool = False
) -> Owner | None:
    """Take a dead owner's place; None where it lives, or somebody else took it.

    Processes that never live as long as a POST takes would take it over one after the other and
    send the same again and again: after the second in vain it is left alone for a while.

    Args:
        now: seconds since the epoch, as files' times are.
        make: whether to make the file anew where there is none, because there are segments.

    Raises:
        OSError: there is no file, or no descriptor left.
    """
    path = os.path.join(folder, name)
    fd = fs.open_register(path, make=make)
    owner = Owner(fs, path, fd, digest)
    try:
        if fs.try_lock(fd) and is_linked(fs, fd, path):
            other, claim, owner.tries = _read(fs.read_from(fd))
            if owner.tries < 2 or not 0 <= now - fs.fstat(fd).st_mtime < _REST_SECONDS:
                owner.tries += 1
                try:
                    owner.claim(claim)  # at once: the digest is ours from now on
                except OSError:  # a full disk, on which delivering makes room
                    if other != digest:
                        raise
                return owner
    except OSError:
        owner.close()
        raise
    owner.close()
    return None


def claimed_bytes(fs: FileSystem, folder: str) -> int:
    """Return the sum of all claims, of the living and the dead."""
    total = 0
    for name in fs.listdir(folder):
        try:
            total += _read(fs.read(os.path.join(folder, name)))[1]
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
    return total


def lives_with_other_keys(
    fs: FileSystem, folder: str, digest: str, pause: Callable[[], None]
) -> bool:
    """Tell whether a living owner has other keys.

    Args:
        pause: waits a moment. Who takes a dead owner over has its lock before its file says so.
    """
    for name in fs.listdir(folder):
        path = os.path.join(folder, name)
        for _ in range(_TRIES):
            if _digest(fs, path) in (digest, None) or not is_living(fs, folder, name):
                break
            pause()
        else:
            return True
    return False


def _digest(fs: FileSystem, path: str) -> str | None:
    try:
        return _read(fs.read(path))[0]
    except OSError:  # gone meanwhile
        return None


def is_living(fs: FileSystem, folder: str, name: str) -> bool:
    """Tell whether an owner's lock is held."""
    try:
        fd = fs.open_register(os.path.join(folder, name), make=False)
    except FileNotFoundError:
        return False
    try:
        return not fs.try_lock(fd)
    finally:
        fs.close(fd)


def _read(text: bytes) -> tuple[str, int, int]:
    """Return the digest, the claim and the tries that a file holds; of an empty one nothing."""
    words = [*text.decode("ascii", "replace").split(), "", "", ""]
    claim, tries = (int(word) if word.isdecimal() else 0 for word in words[1:3])
    return words[0], claim, tries


def is_linked(fs: FileSystem, fd: int, path: str) -> bool:
    """Tell whether a path still leads to an open file."""
    try:
        found = fs.lstat(path)
    except (FileNotFoundError, NotADirectoryError):  # any other error proves nothing
        return False
    return (found.st_dev, found.st_ino) == _identity(fs, fd)


def _identity(fs: FileSystem, fd: int) -> tuple[int, int]:
    found = fs.fstat(fd)
    return found.st_dev, found.st_ino
