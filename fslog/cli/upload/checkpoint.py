"""What is kept of an upload beside its file: the checkpoint, and the lines that were rejected.

The checkpoint records how much of a file each destination has confirmed. It identifies the text by
a hash, so that a change is noticed whatever the file's name, inode or compression. It is replaced
atomically after each confirmed batch, and remains when all is sent, so that no file is sent twice
by mistake.

The reject file holds the lines that were not sent, unchanged, so that they can be corrected and
sent. It is created, readable by its owner alone, when the first line is rejected. Existing content
is never overwritten, but for one case: an upload that was killed may have written more than its
checkpoint records; that part is truncated, because the same lines will be rejected again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from fslog.cli.options import CommandError
from fslog.cli.upload.ndjson import reason_of
from fslog.net.destination import Destination
from fslog.spool.filesystem import FileSystem

CHECKPOINT_SUFFIX = ".fslog-sent"
REJECTS_SUFFIX = ".rejects.ndjson"

_VERSION = 1
_ABOUT = "How much of the file beside this one `fslog send` has sent, and where to."
_BLOCK_BYTES = 1 << 20
_REMEDY = "move it away, or name another with --rejects FILE"


@dataclass(frozen=True)
class RejectsCheckpoint:
    """How much of a reject file an upload has written.

    Args:
        path: of the file, absolute.
        inode: of the file.
        size_bytes: the part that the upload has recorded.
        digest: BLAKE2 of that part.
        is_open: whether the upload may have written more; otherwise what follows is not its own.
    """

    path: str
    inode: int
    size_bytes: int
    digest: str
    is_open: bool = True


@dataclass(frozen=True)
class Progress:
    """How much of a file has been sent to one destination.

    Args:
        offset: how many bytes of the uncompressed text are done: sent or rejected.
        newlines: in these bytes.
        digest: BLAKE2 of these bytes.
        events: how many were sent.
        rejected: how many lines were rejected.
        is_complete: whether the file ended there.
        host: of the destination, for a person who reads the file.
        at: when this was written, for the same person.
        rejects: of the reject file; None if there is none.
    """

    offset: int = 0
    newlines: int = 0
    digest: str = ""
    events: int = 0
    rejected: int = 0
    is_complete: bool = False
    host: str = ""
    at: str = ""
    rejects: RejectsCheckpoint | None = None


def destination_id(to: Destination) -> str:
    """Return a hash that identifies a destination and its keys without revealing them."""
    text = f"{to.ping_url()} {to.keys_digest()}".encode()
    return hashlib.blake2b(text, digest_size=16).hexdigest()


@dataclass
class Checkpoint:
    """The progress of one file, by destination.

    Args:
        path: of the checkpoint.
        sent: by `destination_id`.
    """

    path: str
    sent: dict[str, Progress] = field(default_factory=dict)
    files: FileSystem = field(default_factory=FileSystem, repr=False)

    def write(self) -> None:
        """Replace the file atomically.

        Raises:
            OSError: it was not replaced.
        """
        entries = {name: asdict(entry) for name, entry in self.sent.items()}
        given = {"about": _ABOUT, "version": _VERSION, "sent": entries}
        text = f"{json.dumps(given, indent=1)}\n".encode()
        draft = f"{self.path}.tmp"
        with contextlib.suppress(FileNotFoundError):
            self.files.unlink(draft)
        fd = self.files.create(draft)
        try:
            while text:
                text = text[self.files.write(fd, text) :]
            self.files.fsync(fd)
        finally:
            self.files.close(fd)
        self.files.replace(draft, self.path)


def read_checkpoint(path: str) -> Checkpoint:
    """Read a checkpoint; return an empty one if there is none.

    Raises:
        CommandError: the file is not a checkpoint or cannot be read, or none can be written there.
    """
    if not os.access(os.path.dirname(path) or ".", os.W_OK | os.X_OK):
        raise CommandError(
            f"{os.path.dirname(path) or 'the current directory'} is not writable, and {path} has "
            "to record how much was sent: --state-dir DIR puts it elsewhere"
        )
    checkpoint = Checkpoint(path)
    try:
        text = checkpoint.files.read(path)
    except FileNotFoundError:
        return checkpoint
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {reason_of(error)}") from None
    try:
        checkpoint.sent = _entries(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise CommandError(
            f"{path} was not written by fslog send; move it away to send the whole file"
        ) from None
    return checkpoint


def _entries(given: Any) -> dict[str, Progress]:
    if given["version"] != _VERSION:
        raise ValueError("another version")
    return {name: _entry(entry) for name, entry in given["sent"].items()}


def _entry(given: Mapping[str, Any]) -> Progress:
    rejects = given["rejects"]
    if rejects is not None:
        rejects = RejectsCheckpoint(**_checked(RejectsCheckpoint, {"is_open": True, **rejects}))
    return Progress(**{**_checked(Progress, given), "rejects": rejects})


def _checked(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a dataclass; raise KeyError or TypeError if one is missing or wrong."""
    kinds = {"int": int, "str": str, "bool": bool}
    values = {one.name: given[one.name] for one in fields(kind)}
    for one in fields(kind):
        wanted = kinds.get(str(one.type))
        if wanted and (type(values[one.name]) is not wanted or values[one.name] < wanted()):
            raise TypeError(one.name)
    return values


class RejectFile:
    """Write one reject file.

    Args:
        path: of the file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._files = FileSystem()
        self._fd: int | None = None
        self._size = 0
        self._digest = hashlib.blake2b(digest_size=16)

    @property
    def is_open(self) -> bool:
        """Return whether the file is open."""
        return self._fd is not None

    def check(self) -> None:
        """Check that the file can be created.

        Raises:
            CommandError: it exists and is not empty, or cannot be created.
        """
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            directory = os.path.dirname(self.path) or "."
            if not os.access(directory, os.W_OK | os.X_OK):
                raise CommandError(
                    f"{self.path} cannot be created for rejected lines: {directory} does not "
                    "exist or is not writable; --rejects FILE names another file"
                ) from None
            return
        except OSError as error:
            raise CommandError(f"{self.path} cannot be created: {reason_of(error)}") from None
        if not stat.S_ISREG(found.st_mode) or found.st_size:
            raise CommandError(f"{self.path} exists already; {_REMEDY}")

    def open(self) -> None:
        """Create the file, or open an empty one.

        Raises:
            CommandError: it exists and is not empty.
            OSError: it cannot be created.
        """
        self.check()
        if os.path.lexists(self.path):
            self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            os.fchmod(self._fd, 0o600)
        else:
            self._fd = self._files.create(self.path)

    def reopen(self, known: Sequence[RejectsCheckpoint]) -> None:
        """Open the file of an earlier run, if it exists, for appending.

        What that run wrote after its last checkpoint is truncated. A file that was changed since
        then, by a person who corrects it, is not truncated.

        Args:
            known: the checkpoints of the file.

        Raises:
            CommandError: it cannot be opened, or no checkpoint is of this file.
        """
        if not known:
            self.check()
            return
        flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            fd = os.open(self.path, flags)
        except FileNotFoundError:
            return
        except OSError as error:
            raise CommandError(f"{self.path} cannot be appended to: {reason_of(error)}") from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise CommandError(f"{self.path} is not a regular file; {_REMEDY}")
        self._fd = fd
        self._truncate(fd, known)

    def _truncate(self, fd: int, known: Sequence[RejectsCheckpoint]) -> None:
        found = os.fstat(fd)
        for one in sorted(known, key=lambda one: (-one.size_bytes, not one.is_open)):
            if one.inode == found.st_ino and one.size_bytes <= found.st_size:
                digest = self._digest_of(fd, one.size_bytes)
                if digest.hexdigest() == one.digest:
                    if not one.is_open:  # another upload, or a person, wrote what follows
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
        """Append pieces of text, all of them or none.

        Raises:
            OSError: the file cannot be written.
            BaseException: what the iterable raises.
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
        """Sync the file to disk, if it is open."""
        if self._fd is not None:
            self._files.fsync(self._fd)

    def checkpoint(self) -> RejectsCheckpoint | None:
        """Return a checkpoint of the whole file; None if it is not open."""
        if self._fd is None:
            return None
        inode, digest = os.fstat(self._fd).st_ino, self._digest.hexdigest()
        return RejectsCheckpoint(os.path.abspath(self.path), inode, self._size, digest)

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)
