"""Owners: which process each segment belongs to, whether it is alive, how much room it claims.

Each owner has one file, locked with `flock` for as long as its process lives: the kernel releases
the lock when the last descriptor is closed, however the process ends. Process ids are reused and
prove nothing. A forked child inherits a copy of the descriptor, which would keep the lock, so it
closes its copy.

The file contains a digest of the owner's keys and the number of bytes that it claims. A process
that wants more room first writes its own claim and then adds up all claims. Of two processes that
do so at once at least one sees the other's claim, so the sum never exceeds the limit and no process
waits for another.

Two offsets follow: up to where a partly delivered segment is settled. They are written in turn, so
that a crash during one write leaves the other intact. Each includes the size of the segment, so
that it does not apply to a segment that was rewritten since.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Callable
from typing import NamedTuple

from fslog.interrupts import Suppressed, unless_interrupt
from fslog.process import fork_epoch
from fslog.spool.filesystem import FileSystem
from fslog.spool.segments import MAX_NUMBER, creation_order, generation_of, owner_name

_NO_FILE = frozenset({errno.ENOENT, errno.ELOOP, None})
"""Errors of a file that is gone, or that is not a regular file: it claims nothing."""

_NUMBER_DIGITS = 20
_TRIES_DIGITS = 4
_OFFSETS_AT = 64
_OFFSET_BYTES = 72
_READ_BYTES = 4096
"""How much of an owner's file is read; a foreign file may have any size."""

_MAX_ATTEMPTS = 100

MAX_FAILED_TRIES = 2
"""After so many failed tries an orphan is adopted only once every `COOLDOWN_SECONDS`."""

COOLDOWN_SECONDS = 10.0


class SettledOffset(NamedTuple):
    """Up to where a segment is settled.

    Args:
        number: of the segment.
        settled_bytes: how much of it is settled, from its start.
        size_bytes: of the segment.
    """

    number: int
    settled_bytes: int
    size_bytes: int


class OwnerState(NamedTuple):
    """The content of an owner's file.

    Args:
        digest: of the keys; empty if the file is not readable as an owner's.
        claim_bytes: how much room the owner claims.
        tries: how many processes adopted the segments and delivered none of them.
        offsets: those that were written completely.
    """

    digest: str
    claim_bytes: int
    tries: int
    offsets: tuple[SettledOffset | None, SettledOffset | None] = (None, None)

    def settled_bytes(self, number: int, size_bytes: int) -> int:
        """Return up to where the segment of that number and size is settled."""
        offsets = (one for one in self.offsets if one is not None)
        return max((o.settled_bytes for o in offsets if o[::2] == (number, size_bytes)), default=0)


def parse_owner_file(text: bytes) -> OwnerState:
    """Parse the content of an owner's file; any other content gives an empty state."""
    words = [*text[:_OFFSETS_AT].decode("ascii", "replace").split(), "", "", ""]
    offsets = (_parse_offset(text, _OFFSETS_AT), _parse_offset(text, _OFFSETS_AT + _OFFSET_BYTES))
    return OwnerState(words[0], _number(words[1]), _number(words[2]), offsets)


def read_owner_file(fs: FileSystem, path: str) -> OwnerState:
    """Return the state in an owner's file.

    Raises:
        OSError: the file is gone, cannot be read, or is not a regular file.
    """
    return parse_owner_file(fs.read(path, 0, _READ_BYTES))


def _number(word: str) -> int:
    return int(word) if word.isdecimal() and len(word) <= _NUMBER_DIGITS else 0


def _parse_offset(text: bytes, at: int) -> SettledOffset | None:
    *words, checksum = text[at : at + _OFFSET_BYTES].decode("ascii", "replace").split() or [""]
    if len(words) != len(SettledOffset._fields) or checksum != _checksum(words):
        return None
    offset = SettledOffset(*map(_number, words))
    return offset if offset.settled_bytes <= offset.size_bytes else None


def _checksum(words: list[str]) -> str:
    return f"{zlib.crc32(' '.join(words).encode('ascii', 'replace')):08x}"


class Owner:
    """An owner's file, open and locked by this process.

    Args:
        fs: the file system.
        path: of the file.
        fd: of the file.
        digest: of the keys.
        open_owners: contains the owner for as long as its file is open, so that a forked child
            finds what it has to close.
    """

    def __init__(
        self, fs: FileSystem, path: str, fd: int, digest: str, open_owners: set[Owner] | None = None
    ) -> None:
        self._fs = fs
        self._path = path
        self._digest = digest
        self._open_owners = set() if open_owners is None else open_owners
        self._fds = [fd]
        self._id: tuple[int, int] | None = None
        self._open_owners.add(self)
        self._claim_bytes = 0
        self._earlier_tries = 0
        self.state: OwnerState = OwnerState(digest, 0, 0)
        self.name: str = os.path.basename(path)
        self.tries: int = 0
        """How many processes, this one included, adopted the segments and delivered none."""
        try:
            self._id = _identity(fs, fd)
        except unless_interrupt(OSError):
            self.close()
            raise

    def claim(self, size_bytes: int) -> None:
        """Write how many bytes this owner's segments may have."""
        self._claim_bytes = min(size_bytes, 10**_NUMBER_DIGITS - 1)
        tries = min(self.tries, 10**_TRIES_DIGITS - 1)
        text = f"{self._digest} {self._claim_bytes:0{_NUMBER_DIGITS}d} {tries:0{_TRIES_DIGITS}d}"
        self._fs.write_at_start(self._fd(), f"{text:{_OFFSETS_AT - 1}}\n".encode("ascii"))

    def use_keys(self, digest: str) -> None:
        """Write the digest of other keys."""
        self._digest = digest
        with Suppressed(OSError):  # the next claim writes it
            self.claim(self._claim_bytes)

    def write_offset(self, offset: SettledOffset) -> None:
        """Write up to where a segment is settled; a process that adopts it starts there.

        The offset replaces the older of the two and leaves the claim alone, which another thread
        may write at the same time.
        """
        offsets = self.state.offsets
        older = min((0, 1), key=lambda at: offsets[at] or ())
        words = [f"{number:0{_NUMBER_DIGITS}d}" for number in offset]
        text = f"{' '.join(words)} {_checksum(words)}\n".encode("ascii")
        self._fs.write_at(self._fd(), text, _OFFSETS_AT + older * _OFFSET_BYTES)
        new = (offset, offsets[1]) if older == 0 else (offsets[0], offset)
        self.state = self.state._replace(offsets=new)

    def inherit(self, state: OwnerState) -> None:
        """Continue from the state of a dead owner, and count as one more try."""
        self.state = state
        self._claim_bytes = state.claim_bytes
        self._earlier_tries, self.tries = state.tries, state.tries + 1

    def keep(self, state: OwnerState) -> None:
        """Continue from the state of a dead owner that is not adopted: this counts as no try."""
        self.state = state
        self._digest = state.digest or self._digest
        self._claim_bytes = state.claim_bytes
        self._earlier_tries = self.tries = state.tries

    def reset_tries(self) -> None:
        """Reset the count of failed tries; the next claim writes it."""
        self._earlier_tries = self.tries = 0

    def restore_tries(self) -> None:
        """Write that this process did not fail: it ends in order, outside of any POST of these."""
        if self.tries != self._earlier_tries:
            self.tries = self._earlier_tries
            with Suppressed(OSError):  # the segments may have to wait for the cooldown
                self.claim(self._claim_bytes)

    def is_linked(self) -> bool:
        """Return whether the file still has its path: neither it nor its directory was removed."""
        return bool(self._fds) and is_linked(self._fs, self._fd(), self._path)

    def try_lock(self) -> bool:
        """Lock the file; return whether this descriptor has the lock and the file its path."""
        return self._fs.try_lock(self._fd()) and self.is_linked()

    def read_state(self) -> OwnerState:
        """Read the file."""
        return parse_owner_file(self._fs.read_from(self._fd(), 0, _READ_BYTES))

    def written_at(self) -> float:
        """Return when the file was last written, seconds since the epoch."""
        return self._fs.fstat(self._fd()).st_mtime

    def _fd(self) -> int:
        try:
            return self._fds[0]
        except IndexError:
            raise OSError(errno.EBADF, "the owner's file is closed") from None

    def remove(self) -> None:
        """Remove the file, because no segments are left, and release the lock."""
        # If this fails, an owner without segments is left; the process that adopts it retries.
        with Suppressed(OSError):
            if self.is_linked():
                self._fs.unlink(self._path)
        self.close()

    def close(self) -> None:
        """Release the lock: remaining segments are orphans. May be called more than once."""
        self._open_owners.discard(self)
        try:
            fd = self._fds.pop()  # atomic: a descriptor must not be closed twice
        except IndexError:
            return
        # A daemon may have closed all descriptors, and the number may be another file's by now.
        with Suppressed(OSError):
            if self._id is None or _identity(self._fs, fd) == self._id:
                self._fs.close(fd)


def _open(
    fs: FileSystem, path: str, digest: str, open_owners: set[Owner] | None, *, new: bool, make: bool
) -> Owner:
    """Open an owner's file, without locking it, so that no child has a copy it does not know of.

    If another thread forks before the descriptor is in `open_owners`, the child has a copy that
    it does not close, which would keep the lock for as long as the child lives. The open is then
    repeated with a new descriptor.
    """
    for _ in range(_MAX_ATTEMPTS):
        before = fork_epoch()
        fd = fs.create_lockfile(path) if new else fs.open_lockfile(path, make=make)
        owner = Owner(fs, path, fd, digest, open_owners)
        if before is not None and fork_epoch() == before:
            return owner
        owner.remove() if new else owner.close()
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def create_owner(
    fs: FileSystem,
    folder: str,
    digest: str,
    token: Callable[[], str],
    former_name: str = "",
    open_owners: set[Owner] | None = None,
) -> Owner:
    """Create an owner with a generation above all existing ones.

    Args:
        folder: of the owners' files.
        token: returns random hexadecimal digits.
        former_name: of this process's owner, to be reused if its file was removed.
        open_owners: as for `Owner`.

    Raises:
        OSError: no file could be created and locked.
    """
    for _ in range(_MAX_ATTEMPTS):
        generations = [generation_of(name) or 0 for name in fs.listdir(folder)]
        name = former_name or owner_name(min(1 + max(generations, default=0), MAX_NUMBER), token())
        path, former_name = os.path.join(folder, name), ""
        try:
            owner = _open(fs, path, digest, open_owners, new=True, make=True)
        except FileExistsError:
            continue
        try:
            # Written before it is locked: a process that finds the file locked finds it complete.
            owner.claim(0)
            if owner.try_lock():
                return owner
        except unless_interrupt(OSError):  # a full disk
            owner.remove()
            raise
        owner.close()  # another process adopted the file before it was locked
    raise OSError("no owner's file could be made and locked")


def adopt(
    fs: FileSystem,
    folder: str,
    name: str,
    digest: str,
    now: float,
    *,
    make: bool = False,
    open_owners: set[Owner] | None = None,
) -> Owner | None:
    """Adopt a dead owner; None if it is alive, or another process adopted it.

    Processes that die before a POST completes would adopt it one after the other and send the same
    batch each time. So after `MAX_FAILED_TRIES` it is left alone for `COOLDOWN_SECONDS`.

    Args:
        now: seconds since the epoch, as the times of files.
        make: whether to create a missing file, because segments of that owner exist.
        open_owners: as for `Owner`.

    Raises:
        OSError: the file is missing or cannot be opened.
    """
    owner = _open(fs, os.path.join(folder, name), digest, open_owners, new=False, make=make)
    try:
        if owner.try_lock():
            found = owner.read_state()
            is_cooling_down = 0 <= now - owner.written_at() < COOLDOWN_SECONDS
            if found.tries < MAX_FAILED_TRIES or not is_cooling_down:
                owner.inherit(found)
                try:
                    owner.claim(found.claim_bytes)  # at once: it writes our digest, too
                except unless_interrupt(OSError):  # a full disk, on which delivery makes room
                    if found.digest != digest:
                        raise
                return owner
    except BaseException:
        owner.close()
        raise
    owner.close()
    return None


def hold(fs: FileSystem, folder: str, name: str, digest: str) -> Owner | None:
    """Lock a dead owner for a moment, without adopting it; None if it is alive, or was removed.

    Args:
        folder, name: of its file, which is created if it is missing.
        digest: of the keys, for such a file.

    Raises:
        OSError: the file cannot be opened.
    """
    owner = _open(fs, os.path.join(folder, name), digest, None, new=False, make=True)
    try:
        if owner.try_lock():
            owner.keep(owner.read_state())
            return owner
    except BaseException:
        owner.close()
        raise
    owner.close()
    return None


def list_owners(fs: FileSystem, folder: str) -> list[str]:
    """Return the names of all owners, the earliest first; other files are skipped."""
    names = (name for name in fs.listdir(folder) if generation_of(name) is not None)
    return sorted(names, key=creation_order)


def claimed_bytes(fs: FileSystem, folder: str) -> int:
    """Return the sum of all claims, of living and dead owners."""
    total = 0
    for name in list_owners(fs, folder):
        try:
            total += read_owner_file(fs, os.path.join(folder, name)).claim_bytes
        except unless_interrupt(OSError) as error:
            if error.errno not in _NO_FILE:
                raise
    return total


def is_used_with_other_keys(
    fs: FileSystem, folder: str, digest: str, pause: Callable[[], None]
) -> bool:
    """Return whether a living owner has other keys.

    Args:
        pause: waits a moment. A process that adopts an owner locks the file before it writes its
            own digest.
    """
    for name in list_owners(fs, folder):
        path = os.path.join(folder, name)
        for _ in range(_MAX_ATTEMPTS):
            if _digest(fs, path) in (digest, None) or not is_living(fs, folder, name):
                break
            pause()
        else:
            return True
    return False


def _digest(fs: FileSystem, path: str) -> str | None:
    try:
        return read_owner_file(fs, path).digest
    except unless_interrupt(OSError):  # removed since it was listed
        return None


def is_living(fs: FileSystem, folder: str, name: str) -> bool:
    """Return whether a process holds an owner's lock; False if the file is gone."""
    try:
        return fs.is_locked(os.path.join(folder, name))
    except FileNotFoundError:
        return False


def is_linked(fs: FileSystem, fd: int, path: str) -> bool:
    """Return whether a path still refers to an open file."""
    try:
        found = fs.lstat(path)
    except (FileNotFoundError, NotADirectoryError):  # any other error proves nothing
        return False
    return (found.st_dev, found.st_ino) == _identity(fs, fd)


def _identity(fs: FileSystem, fd: int) -> tuple[int, int]:
    found = fs.fstat(fd)
    return found.st_dev, found.st_ino
