"""Owners: which process a spool's segments belong to, whether it lives, what room it takes.

Each owner has one file, locked (`flock`) for as long as it lives: the kernel lets go of the lock
when the last descriptor closes, however the process ends. Process ids are recycled and prove
nothing. A copy of the descriptor in a forked child would keep the lock, so the child closes it.

The file holds a digest of the owner's keys and how many bytes it claims. Who wants more writes
its own claim first and adds up all claims then: of two that do so at once at least one sees the
other, so that the sum never exceeds the limit, and nobody waits for anybody.

Behind them are two marks: up to where a segment is settled that was delivered in part. They are
written in turn, so that one that was being written at a crash leaves the other; and each bears
the segment's size, so that it says nothing of a segment that another version has shortened.
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
"""Errors of what is gone meanwhile, or no regular file: nothing is claimed there."""

_NUMBER_DIGITS = 20
_TRIES_DIGITS = 4
_MARKS_AT = 64
_MARK_BYTES = 72
REGISTER_BYTES = 4096
"""What is read of an owner's file; what somebody else made of it may be of any size."""

_TRIES = 100

_REST_SECONDS = 10.0
"""How long segments rest that two have taken over in vain."""


class Mark(NamedTuple):
    """Say up to where a segment is settled.

    Args:
        number: of the segment.
        settled_bytes: what of it is settled, from its start on.
        size_bytes: of the segment.
    """

    number: int
    settled_bytes: int
    size_bytes: int


class Register(NamedTuple):
    """What an owner's file says.

    Args:
        digest: of the keys; empty in a file that says nothing.
        claim_bytes: how much room is claimed.
        tries: how many have taken the segments over in vain.
        marks: those that were written whole.
    """

    digest: str
    claim_bytes: int
    tries: int
    marks: tuple[Mark | None, Mark | None] = (None, None)

    def settled_bytes(self, number: int, size_bytes: int) -> int:
        """Return up to where a segment of that number and size is settled."""
        marks = (mark for mark in self.marks if mark is not None)
        return max((m.settled_bytes for m in marks if m[::2] == (number, size_bytes)), default=0)


def read_register(text: bytes) -> Register:
    """Read what an owner's file holds; whatever that is, it says something or nothing."""
    words = [*text[:_MARKS_AT].decode("ascii", "replace").split(), "", "", ""]
    marks = (_read_mark(text, _MARKS_AT), _read_mark(text, _MARKS_AT + _MARK_BYTES))
    return Register(words[0], _number(words[1]), _number(words[2]), marks)


def _number(word: str) -> int:
    return int(word) if word.isdecimal() and len(word) <= _NUMBER_DIGITS else 0


def _read_mark(text: bytes, at: int) -> Mark | None:
    *words, check = text[at : at + _MARK_BYTES].decode("ascii", "replace").split() or [""]
    if len(words) != len(Mark._fields) or check != _check(words):
        return None
    mark = Mark(*map(_number, words))
    return mark if mark.settled_bytes <= mark.size_bytes else None


def _check(words: list[str]) -> str:
    return f"{zlib.crc32(' '.join(words).encode('ascii', 'replace')):08x}"


class Owner:
    """A lock that is held, on an owner's file.

    Args:
        fs: the file system.
        path: of the file.
        fd: of the file.
        digest: of the keys.
        held: where it is as long as it is open, for a forked child to find what it must close.
    """

    def __init__(
        self, fs: FileSystem, path: str, fd: int, digest: str, held: set[Owner] | None = None
    ) -> None:
        self._fs = fs
        self._path = path
        self._digest = digest
        self._held = set() if held is None else held
        self._fds = [fd]
        self._id: tuple[int, int] | None = None
        self._held.add(self)
        self._claim_bytes = 0
        self._earlier_tries = 0
        self.register = Register(digest, 0, 0)
        self.name = os.path.basename(path)
        self.tries = 0
        """How many have taken the segments over and delivered none of them."""
        try:
            self._id = _identity(fs, fd)
        except unless_interrupt(OSError):
            self.close()
            raise

    def claim(self, size_bytes: int) -> None:
        """Write down how many bytes this owner's segments may have."""
        self._claim_bytes = min(size_bytes, 10**_NUMBER_DIGITS - 1)
        tries = min(self.tries, 10**_TRIES_DIGITS - 1)
        text = f"{self._digest} {self._claim_bytes:0{_NUMBER_DIGITS}d} {tries:0{_TRIES_DIGITS}d}"
        self._fs.write_at_start(self._fd(), f"{text:{_MARKS_AT - 1}}\n".encode("ascii"))

    def mark(self, mark: Mark) -> None:
        """Write down up to where a segment is settled, beside the claim, not over it.

        Who takes the segments over later begins there. The claim may be written meanwhile.
        """
        marks = self.register.marks
        older = min((0, 1), key=lambda at: marks[at] or ())
        words = [f"{number:0{_NUMBER_DIGITS}d}" for number in mark]
        text = f"{' '.join(words)} {_check(words)}\n".encode("ascii")
        self._fs.write_at(self._fd(), text, _MARKS_AT + older * _MARK_BYTES)
        new = (mark, marks[1]) if older == 0 else (marks[0], mark)
        self.register = self.register._replace(marks=new)

    def adopted(self, register: Register) -> None:
        """Take over what a dead owner's file says, and count as one who tries."""
        self.register = register
        self._claim_bytes = register.claim_bytes
        self._earlier_tries, self.tries = register.tries, register.tries + 1

    def progressed(self) -> None:
        """Forget how many tried in vain; the next claim says so."""
        self._earlier_tries = self.tries = 0

    def end_in_order(self) -> None:
        """Write down that this process did not try in vain: it ends, and in no POST of these."""
        if self.tries != self._earlier_tries:
            self.tries = self._earlier_tries
            with Suppressed(OSError):  # they may rest for a while
                self.claim(self._claim_bytes)

    def is_linked(self) -> bool:
        """Return whether others still find the file: nobody removed it, nor its directory."""
        return bool(self._fds) and is_linked(self._fs, self._fd(), self._path)

    def is_locked(self) -> bool:
        """Return whether the file is locked now, by this descriptor; False if another has it."""
        return self._fs.try_lock(self._fd()) and self.is_linked()

    def read(self) -> Register:
        """Return what the file says."""
        return read_register(self._fs.read_from(self._fd(), 0, REGISTER_BYTES))

    def written_at(self) -> float:
        """Return when the file was last written, seconds since the epoch."""
        return self._fs.fstat(self._fd()).st_mtime

    def _fd(self) -> int:
        try:
            return self._fds[0]
        except IndexError:
            raise OSError(errno.EBADF, "the owner's file is closed") from None

    def remove(self) -> None:
        """End the ownership of segments that are all gone."""
        # Where this fails an owner without segments is left; whoever adopts it tries again.
        with Suppressed(OSError):
            if self.is_linked():
                self._fs.unlink(self._path)
        self.close()

    def close(self) -> None:
        """Let go of the lock: what is left is an orphan now. May be called more than once."""
        self._held.discard(self)
        try:
            fd = self._fds.pop()  # atomic: a descriptor must not be closed twice
        except IndexError:
            return
        # A daemon may have closed all descriptors; the number may be another file's by now.
        with Suppressed(OSError):
            if self._id is None or _identity(self._fs, fd) == self._id:
                self._fs.close(fd)


def _open(
    fs: FileSystem, path: str, digest: str, held: set[Owner] | None, *, new: bool, make: bool
) -> Owner:
    """Open an owner's file, not locked yet, so that no child has a copy that it does not know.

    A fork by another thread, before the descriptor is where the child looks for it, gives the
    child a copy that would keep the lock for the child's life, whoever asks for it then.
    """
    for _ in range(_TRIES):
        before = fork_epoch()
        fd = fs.create_register(path) if new else fs.open_register(path, make=make)
        owner = Owner(fs, path, fd, digest, held)
        if before is not None and fork_epoch() == before:
            return owner
        owner.remove() if new else owner.close()
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def begin(
    fs: FileSystem,
    folder: str,
    digest: str,
    token: Callable[[], str],
    again: str = "",
    held: set[Owner] | None = None,
) -> Owner:
    """Make a new owner, of a generation after all that are there.

    Args:
        folder: where the owners' files are.
        token: makes a random text of hexadecimal digits.
        again: the name of this process's owner whose file was removed by somebody.
        held: as for `Owner`.
    """
    for _ in range(_TRIES):
        generations = [generation_of(name) or 0 for name in fs.listdir(folder)]
        name = again or owner_name(min(1 + max(generations, default=0), MAX_NUMBER), token())
        path, again = os.path.join(folder, name), ""
        try:
            owner = _open(fs, path, digest, held, new=True, make=True)
        except FileExistsError:
            continue
        try:
            # The text before the lock: whoever finds the file locked finds it complete.
            owner.claim(0)
            if owner.is_locked():
                return owner
        except unless_interrupt(OSError):  # a full disk
            owner.remove()
            raise
        owner.close()  # somebody took it for an orphan's, in between
    raise OSError("no owner's file could be made and locked")


def adopt(
    fs: FileSystem,
    folder: str,
    name: str,
    digest: str,
    now: float,
    *,
    make: bool = False,
    held: set[Owner] | None = None,
) -> Owner | None:
    """Take a dead owner's place; None if it lives, or somebody else took it.

    Processes that never live as long as a POST takes would take it over one after the other and
    send the same again and again: after the second in vain it is left alone for a while.

    Args:
        now: seconds since the epoch, as files' times are.
        make: whether to make the file anew where there is none, because there are segments.
        held: as for `Owner`.

    Raises:
        OSError: there is no file, or no descriptor left.
    """
    owner = _open(fs, os.path.join(folder, name), digest, held, new=False, make=make)
    try:
        if owner.is_locked():
            found = owner.read()
            if found.tries < 2 or not 0 <= now - owner.written_at() < _REST_SECONDS:
                owner.adopted(found)
                try:
                    owner.claim(found.claim_bytes)  # at once: the digest is ours from now on
                except unless_interrupt(OSError):  # a full disk, on which delivering makes room
                    if found.digest != digest:
                        raise
                return owner
    except BaseException:
        owner.close()
        raise
    owner.close()
    return None


def names_in(fs: FileSystem, folder: str) -> list[str]:
    """Return the names of owners, the earliest first; what else is there is none of ours."""
    return sorted(
        (n for n in fs.listdir(folder) if generation_of(n) is not None), key=creation_order
    )


def claimed_bytes(fs: FileSystem, folder: str) -> int:
    """Return the sum of all claims, of the living and the dead."""
    total = 0
    for name in names_in(fs, folder):
        try:
            total += read_register(
                fs.read(os.path.join(folder, name), 0, REGISTER_BYTES)
            ).claim_bytes
        except unless_interrupt(OSError) as error:
            if error.errno not in _NO_FILE:
                raise
    return total


def lives_with_other_keys(
    fs: FileSystem, folder: str, digest: str, pause: Callable[[], None]
) -> bool:
    """Return whether a living owner has other keys.

    Args:
        pause: waits a moment. Who takes a dead owner over has its lock before its file says so.
    """
    for name in names_in(fs, folder):
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
        return read_register(fs.read(path, 0, REGISTER_BYTES)).digest
    except unless_interrupt(OSError):  # gone meanwhile
        return None


def is_living(fs: FileSystem, folder: str, name: str) -> bool:
    """Return whether an owner's lock is held."""
    try:
        fd = fs.open_register(os.path.join(folder, name), make=False)
    except FileNotFoundError:
        return False
    try:
        return not fs.try_lock(fd)
    finally:
        fs.close(fd)


def is_linked(fs: FileSystem, fd: int, path: str) -> bool:
    """Return whether a path still leads to an open file."""
    try:
        found = fs.lstat(path)
    except (FileNotFoundError, NotADirectoryError):  # any other error proves nothing
        return False
    return (found.st_dev, found.st_ino) == _identity(fs, fd)


def _identity(fs: FileSystem, fd: int) -> tuple[int, int]:
    found = fs.fstat(fd)
    return found.st_dev, found.st_ino
