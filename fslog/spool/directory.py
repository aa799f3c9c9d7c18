"""The directory of a spool: which paths are accepted, what it contains, whose keys it belongs to.

    spool.json                              the digest of the keys that it belongs to
    owners/{owner}                          one file for each process that uses it, see `owners`
    {owner}-{number}.ndjson                 segments, see `segments`
    quarantine/{segment}-{offset}.ndjson    what could not be sent, unchanged
    quarantine/{segment}-{offset}.reason    why
    .followed                               locked by a process that follows the directory
    .forget/                                requests to remove a person's events, see `forget`

Directories are 0700 and files 0600; nothing contains a key.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from fslog import config
from fslog.interrupts import Suppressed, unless_interrupt
from fslog.net.destination import Destination
from fslog.spool import owners
from fslog.spool.filesystem import CAN_LOCK, FileSystem
from fslog.spool.segments import SegmentName, parse_name

FORMAT = 1
MARKER = "spool.json"
OWNERS = "owners"
QUARANTINE = "quarantine"
DRAFT = ".new"
FOLLOWED = ".followed"
FORGET = ".forget"

_MAX_ATTEMPTS = 50

_STALE_SECONDS = 600.0
_MARKER_BYTES = 4096
"""How much of a marker is read."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


def spool_directory(
    value: Any, destination: Destination, environ: Mapping[str, str]
) -> SpoolDirectory | None:
    """Return the directory that `spool`, or else `FSLOG_SPOOL`, names; None if that is empty.

    The path is neither created nor read.

    Raises:
        TypeError, ValueError: the value cannot be the path of a spool.
    """
    if value is None:
        value = config.environment("FSLOG_SPOOL", environ) or ""
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise TypeError(f"spool is of type {type(value).__name__}; expected a path, as a string")
    given = os.fspath(value)
    if not given:
        return None
    path = given if "\0" in given else os.path.expanduser(given)
    if any(destination.redact.secrets(text) != text for text in (given, path)):
        raise ValueError("spool is a path that contains a key (not shown); expected another path")
    if "\0" in path:
        raise ValueError(f"spool is {path!r}; expected a path without NUL characters")
    if path.startswith("~"):
        raise ValueError(
            f"spool is {path!r}, but that user has no home directory; expected a full path "
            "(write ./~... for a directory of that name)"
        )
    if not CAN_LOCK:
        raise ValueError("spool needs file locks (flock), which this platform does not have")
    return SpoolDirectory(
        os.path.abspath(path),
        destination.keys_digest(),
        files_digest=destination.files_digest(),
    )


class SpoolDirectory:
    """A directory that keeps lines until the endpoint has them.

    Args:
        path: absolute.
        digest: of the keys.
        files_digest: of the files that contain the keys; empty if they do not come from files.
        token: returns random hexadecimal digits.
        fs: the file system.
        pause: waits a moment for another process.
    """

    def __init__(
        self,
        path: str,
        digest: str,
        token: Callable[[], str] = lambda: os.urandom(6).hex(),
        fs: FileSystem | None = None,
        pause: Callable[[], None] = lambda: time.sleep(0.002),
        files_digest: str = "",
    ) -> None:
        self.path = path
        self.digest = digest
        self.files_digest = files_digest
        self.fs: FileSystem = fs or FileSystem()
        self.foreign_names: list[str] = []
        """Entries that are not a spool's, which are left alone."""
        self._token = token
        self._pause = pause
        self._follow_fd: int | None = None

    def new_token(self) -> str:
        """Return random hexadecimal digits for a new name."""
        return self._token()

    def join(self, *names: str) -> str:
        """Return the path of an entry of the directory."""
        return os.path.join(self.path, *names)

    def check(self) -> None:
        """Check that the directory can be used; create it if it is missing.

        A full disk is not an error: it may have room again by the time of the first log call.

        Raises:
            ValueError: it cannot be used, or a living process uses it with other keys.
        """
        try:
            owner = self.create_owner()
            try:
                if not owners.is_living(self.fs, self.join(OWNERS), owner.name):
                    raise ValueError(
                        f"spool is {self.path!r}, which cannot be used: file locks (flock) have no "
                        "effect in its file system, so that processes would send each other's "
                        "events again; expected a directory in a file system that supports them, "
                        "such as one on a local disk"
                    )
            finally:
                owner.remove()
        except unless_interrupt(OSError) as error:
            if error.errno not in _FULL:
                raise _unusable(self.path, error.strerror or str(error)) from None

    def follow(self) -> bool:
        """Make every other process leave the segments of dead owners to this one, while it lives.

        Returns:
            False if another process follows the directory already.
        """
        fd = self.fs.open_lockfile(self.join(FOLLOWED), make=True)
        for _ in range(_MAX_ATTEMPTS):
            if self.fs.try_lock(fd):
                self._follow_fd = fd
                return True
            self._pause()  # `is_followed` of another process has the lock for an instant
        self.fs.close(fd)
        return False

    def unfollow(self) -> None:
        """Undo `follow`."""
        fd, self._follow_fd = self._follow_fd, None
        if fd is not None:
            self.fs.close(fd)

    def is_followed(self) -> bool:
        """Return whether a process follows the directory; it may be this one."""
        try:
            return self._follow_fd is not None or self.fs.is_locked(self.join(FOLLOWED))
        except unless_interrupt(OSError):  # nobody ever did
            return False

    def may_adopt(self) -> bool:
        """Return whether this process may adopt orphans: no other one follows the directory."""
        return self._follow_fd is not None or not self.is_followed()

    def _prepare(self) -> None:
        """Create what is missing. Raises ValueError if the path is not a spool of this user."""
        self.fs.make_directory(self.path)
        reason, self.foreign_names = examine(self.fs, self.path)
        if reason:
            raise _unusable(self.path, reason)
        for path in (self.path, self.join(OWNERS)):
            self._make_private(path)
            mode = stat.S_IMODE(self.fs.lstat(path).st_mode)
            if mode & 0o077:  # only remove permissions, never add any
                self.fs.set_mode(path, mode & 0o700)

    def _make_private(self, path: str) -> None:
        self.fs.make_directory(path)
        found = self.fs.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            name = os.path.basename(path)
            raise OSError(errno.ENOTDIR, f"{name!r} is not a directory of this user")

    def create_owner(
        self, former_name: str = "", open_owners: set[owners.Owner] | None = None
    ) -> owners.Owner:
        """Create an owner for this process, and the directory if it was removed.

        Args:
            former_name: of this process's owner, if its file was removed.
            open_owners: as for `Owner`.

        Raises:
            ValueError: the directory cannot be used, or a living process uses it with other keys.
        """
        self._prepare()
        folder = self.join(OWNERS)
        owner = owners.create_owner(
            self.fs, folder, self.digest, self._token, former_name, open_owners
        )
        try:
            if (
                owners.is_used_with_other_keys(self.fs, folder, self.digest, self._pause)
                and not self._is_rotation()
            ):
                raise _unusable(
                    self.path,
                    "a living process uses it with other keys; a spool belongs to one destination",
                )
            self.write_marker()
        except BaseException:
            owner.remove()
            raise
        return owner

    def _is_rotation(self) -> bool:
        """Return whether the other keys are those that were in the same files before, or are now.

        Of the processes that read their keys from the same files, some may have read new ones.
        """
        return self._has_same_files(read_marker(self.fs, self.join(MARKER)) or {})

    def _has_same_files(self, marker: Mapping[str, Any]) -> bool:
        return bool(self.files_digest) and marker.get("files") == self.files_digest

    def is_of(self, marker: Mapping[str, Any]) -> bool:
        """Return whether a marker is that of our keys, or of other ones in the same files.

        Args:
            marker: as `read_marker` returns it; an empty one is everybody's.
        """
        return self._has_same_files(marker) or marker.get("keys") in (None, self.digest)

    def write_marker(self) -> None:
        """Write whose keys the directory belongs to: ours.

        No living process has other keys, but those that were in the same files before.
        """
        path = self.join(MARKER)
        marker = read_marker(self.fs, path)
        if marker is not None and marker.get("format", 0) != FORMAT:
            raise _unusable(self.path, f"it has {describe_format(marker)}, not format {FORMAT}")
        expected = {"format": FORMAT, "keys": self.digest}
        if self.files_digest:
            expected["files"] = self.files_digest
        if marker is None or not expected.items() <= marker.items():
            self.write(path, json.dumps(expected).encode("ascii") + b"\n")

    def clear_owner_path(self, owner: str) -> str:
        """Rename a directory, link or FIFO that has the path of an owner's file.

        Returns:
            The new path; empty if the path has a file, or another process is clearing it.
        """
        path = self.join(OWNERS, owner)
        fd = self.fs.open_lockfile(self.join(MARKER), make=False)
        try:
            # One process at a time: another may create and lock a file there at any moment.
            if not self.fs.try_lock(fd) or stat.S_ISREG(self.fs.lstat(path).st_mode):
                return ""
            stray = f"{path}.{self._token()}.stray"
            self.fs.replace(path, stray)
            return stray
        finally:
            self.fs.close(fd)

    def write(self, path: str, text: bytes | Iterable[bytes], *, is_synced: bool = False) -> None:
        """Create or replace a file atomically: no reader sees a part of it."""
        draft = f"{path}.{self._token()}{DRAFT}"
        fd = self.fs.create(draft)
        try:
            try:
                self._write_all(fd, (text,) if isinstance(text, bytes) else text)
                if is_synced:
                    self.fs.fsync(fd)
            finally:
                self.fs.close(fd)
            self.fs.replace(draft, path)
        except unless_interrupt(OSError):
            self.fs.unlink(draft)
            raise

    def _write_all(self, fd: int, parts: Iterable[bytes]) -> None:
        for part in parts:
            if self.fs.write(fd, part) != len(part):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def is_quarantined(self, stem: str, place: str, text: bytes) -> bool:
        """Return whether `quarantine` has written these bytes before."""
        try:
            return self.fs.read(self.join(QUARANTINE, f"{stem}-{place}.ndjson")) == text
        except unless_interrupt(OSError):
            return False

    def quarantine(self, stem: str, place: str, text: bytes, reason: str) -> None:
        """Write bytes that cannot be sent, and the reason, to the quarantine.

        Args:
            stem: of the name of their segment.
            place: where in the segment they were. Other bytes that were quarantined from the same
                place are not overwritten.
        """
        self._make_private(self.join(QUARANTINE))
        path = self.join(QUARANTINE, f"{stem}-{place}")
        try:
            if self.fs.read(f"{path}.ndjson") == text:
                return
            path = f"{path}-{self._token()}"
        except FileNotFoundError:
            pass
        self.write(f"{path}.reason", reason.encode("utf-8", "replace") + b"\n")
        self.write(f"{path}.ndjson", text, is_synced=True)

    def quarantine_file(self, name: SegmentName, reason: str) -> None:
        """Move a whole segment to the quarantine, without reading it."""
        self._make_private(self.join(QUARANTINE))
        path = self.join(QUARANTINE, f"{name.stem}-whole")
        if f"{name.stem}-whole.ndjson" in self.fs.listdir(self.join(QUARANTINE)):
            path = f"{path}-{self._token()}"
        self.write(f"{path}.reason", reason.encode("utf-8", "replace") + b"\n")
        self.fs.replace(self.segment_path(name), f"{path}.ndjson")

    def remove_stale_drafts(self, now: float) -> None:
        """Remove the drafts of `write` that a crash left; a recent one may be in use.

        Args:
            now: seconds since the epoch.
        """
        for folder in (self.path, self.join(QUARANTINE)):
            with Suppressed(OSError):
                for name, _, written_at in list(self.fs.sizes(folder)):
                    if name.endswith(DRAFT) and now - written_at > _STALE_SECONDS:
                        self.fs.unlink(os.path.join(folder, name))

    def has_segments(self) -> bool:
        """Return whether there is a segment of any owner."""
        try:
            return any(parse_name(name) is not None for name in self.fs.listdir(self.path))
        except unless_interrupt(OSError):
            return False

    def segments(self) -> dict[str, list[tuple[int, int]]]:
        """Return the number and size of each segment, by owner, in order."""
        found: dict[str, list[tuple[int, int]]] = {}
        for name, size, _ in list_segments(self.fs, self.path):
            found.setdefault(name.owner, []).append((name.number, size))
        for numbers in found.values():
            numbers.sort()
        return found

    def usage(self, now: float) -> dict[str, Any]:
        """Return what waits in the directory, under the names of the fields of `Stats`."""
        count, size_bytes, oldest = 0, 0, None
        try:
            for _, size, written_at in list_segments(self.fs, self.path):
                if size:
                    count += 1
                    size_bytes += size
                    oldest = written_at if oldest is None else min(oldest, written_at)
        except unless_interrupt(OSError):  # the directory was removed
            pass
        age = None if oldest is None else max(0.0, now - oldest)
        return {"spool_segments": count, "spool_bytes": size_bytes, "spool_oldest_age": age}

    def quarantined_bytes(self) -> int:
        """Return the total size of the quarantine."""
        try:
            return sum(size for _, size, _ in self.fs.sizes(self.join(QUARANTINE)))
        except unless_interrupt(OSError):
            return 0

    def segment_path(self, name: SegmentName) -> str:
        """Return the path of a segment."""
        return self.join(str(name))


def list_segments(fs: FileSystem, path: str) -> Iterator[tuple[SegmentName, int, float]]:
    """Yield the name, size and modification time of each segment of a directory."""
    for text, size, written_at in fs.sizes(path):
        name = parse_name(text)
        if name is not None:
            yield name, size, written_at


def examine(fs: FileSystem, path: str) -> tuple[str, list[str]]:
    """Return why an existing path cannot be a spool of this user, and its foreign entries.

    Returns:
        An empty reason if it can; foreign entries alone do not make a directory that is used as a
        spool unusable.

    Raises:
        OSError: the path is missing, or cannot be read.
    """
    found = fs.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        return f"it is {describe_non_directory(found.st_mode)}", []
    if found.st_uid != os.geteuid():
        return "it belongs to another user", []
    names = fs.listdir(path)
    foreign = foreign_names(names)
    if foreign and not is_spool(names):
        return f"it contains other files ({foreign[0]!r}); a spool needs its own directory", []
    return "", foreign


def describe_non_directory(mode: int) -> str:
    """Return what an entry is that should be a directory."""
    is_link = stat.S_ISLNK(mode)
    return "a symbolic link, which is not followed" if is_link else "not a directory"


def foreign_names(names: Iterable[str]) -> list[str]:
    """Return which entries of a directory do not belong to a spool, in order.

    Drafts and hidden files are accepted, and `lost+found`, which file systems create.

    >>> foreign_names(["spool.json", "lost+found", "notes.txt", "00000003-5f0c77a1-1.ndjson~"])
    ['00000003-5f0c77a1-1.ndjson~', 'notes.txt']
    """
    plain = (MARKER, OWNERS, QUARANTINE, "lost+found")
    return sorted(
        name
        for name in names
        if name not in plain
        and parse_name(name) is None
        and not (name.endswith(DRAFT) or name.startswith("."))
    )


def is_spool(names: Iterable[str]) -> bool:
    """Return whether a directory with these entries has been used as a spool."""
    return not {MARKER, OWNERS}.isdisjoint(names)


def read_marker(fs: FileSystem, path: str) -> dict[str, Any] | None:
    """Return the content of a marker; None if it is missing or not readable as one."""
    try:
        marker = json.loads(fs.read(path, 0, _MARKER_BYTES))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return marker if isinstance(marker, dict) else None


def describe_format(marker: Mapping[str, Any]) -> str:
    """Return which format a marker names, in words."""
    found = marker.get("format")
    is_short = isinstance(found, int) and 0 <= found < 10**9
    return f"format {found}" if is_short else "an unknown format"


def _unusable(path: str, why: str) -> ValueError:
    return ValueError(
        f"spool is {path!r}, which cannot be used: {why}; expected a directory of this user, "
        "empty or used only by fslog"
    )
