"""The spool's directory: what may be one, what stands in it, and whose it is.

    spool.json                              which keys it belongs to, as a digest
    owners/{owner}                          one file for each process that uses it, see `owners`
    {owner}-{number}.ndjson                 segments, see `segments`
    quarantine/{segment}-{offset}.ndjson    what could not be sent, as it was
    quarantine/{segment}-{offset}.reason    why

Directories are 0700 and files 0600; nothing holds a key.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping
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

_OLD_SECONDS = 600.0
_MOST_BYTES = 4096
"""What is read of a marker."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


def spool_directory(
    value: Any, destination: Destination, environ: Mapping[str, str]
) -> SpoolDirectory | None:
    """Take the `spool` argument, or `FSLOG_SPOOL`; None, or an empty path, for no spool.

    Nothing is made or looked at yet.

    Raises:
        TypeError, ValueError: it is no path that can be used.
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
        raise ValueError("spool is a path that holds a key (it is not shown); expected another")
    if "\0" in path:
        raise ValueError(f"spool is {path!r}, which no path can be")
    if path.startswith("~"):
        raise ValueError(
            f"spool is {path!r}, but there is no such user's home directory; expected a whole path "
            "(a directory that is called so is ./~...)"
        )
    if not CAN_LOCK:
        raise ValueError("spool needs file locks (flock), which this platform does not have")
    return SpoolDirectory(os.path.abspath(path), destination.keys_digest())


class SpoolDirectory:
    """A directory that keeps lines until the endpoint has them.

    Args:
        path: absolute.
        digest: of the keys.
        token: makes a random text of hexadecimal digits.
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
    ) -> None:
        self.path = path
        self.digest = digest
        self.fs = fs or FileSystem()
        self.strangers: list[str] = []
        """What was found in it that is none of a spool's, and is left alone."""
        self._token = token
        self._pause = pause

    def of(self, *names: str) -> str:
        """Return the path of something in the directory."""
        return os.path.join(self.path, *names)

    def check(self) -> None:
        """Make the directory if need be, and see that it can be used.

        A full disk is no reason not to start: it may have room again when it matters.

        Raises:
            ValueError: it cannot be used, or living processes use it with other keys.
        """
        try:
            owner = self.begin()
            try:
                if not owners.is_living(self.fs, self.of(OWNERS), owner.name):
                    raise ValueError(
                        f"spool is {self.path!r}, which cannot be used: file locks (flock) have no "
                        "effect in its file system, so that processes would send one another's "
                        "events again; expected a directory in a file system that has them, such "
                        "as one of a local disk"
                    )
            finally:
                owner.remove()
        except unless_interrupt(OSError) as error:
            if error.errno not in _FULL:
                raise _unusable(self.path, error.strerror or str(error)) from None

    def _prepare(self) -> None:
        """Make what is missing. Raises ValueError for what is no spool of this user."""
        self.fs.make_directory(self.path)
        found = self.fs.lstat(self.path)
        if not stat.S_ISDIR(found.st_mode):
            what = "a symbolic link, which is not followed" if stat.S_ISLNK(found.st_mode) else None
            raise _unusable(self.path, f"it is {what or 'no directory'}")
        if found.st_uid != os.geteuid():
            raise _unusable(self.path, "it belongs to another user")
        names = self.fs.listdir(self.path)
        self.strangers = strangers(names)
        if self.strangers and not is_spool(names):
            raise _unusable(
                self.path,
                f"it holds something else ({self.strangers[0]!r}); give it one of its own",
            )
        for path in (self.path, self.of(OWNERS)):
            self._make_own(path)
            mode = stat.S_IMODE(self.fs.lstat(path).st_mode)
            if mode & 0o077:  # only remove permissions, never add any
                self.fs.set_mode(path, mode & 0o700)

    def _make_own(self, path: str) -> None:
        self.fs.make_directory(path)
        found = self.fs.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise OSError(errno.ENOTDIR, f"{os.path.basename(path)!r} is no directory of its own")

    def begin(self, again: str = "", held: set[owners.Owner] | None = None) -> owners.Owner:
        """Make an owner for this process, and the directory anew where somebody removed it.

        Args:
            again: the name of this process's owner whose file was removed.
            held: as for `Owner`.

        Raises:
            ValueError: the directory cannot be used, or living processes use it with other keys.
        """
        self._prepare()
        folder = self.of(OWNERS)
        owner = owners.begin(self.fs, folder, self.digest, self._token, again, held)
        try:
            if owners.lives_with_other_keys(self.fs, folder, self.digest, self._pause):
                raise _unusable(
                    self.path,
                    "a living process uses it with other keys; a spool belongs to one destination",
                )
            self._mark()
        except BaseException:
            owner.remove()
            raise
        return owner

    def _mark(self) -> None:
        """Have the marker say whose the directory is: ours, now that nobody else lives."""
        path = self.of(MARKER)
        marker = read_marker(self.fs, path)
        if marker is not None and marker.get("format", 0) != FORMAT:
            raise _unusable(self.path, f"it is of {format_of(marker)}, not {FORMAT}")
        right = {"format": FORMAT, "keys": self.digest}
        if marker != right:
            self.write(path, json.dumps(right).encode("ascii") + b"\n")

    def free_place(self, owner: str) -> str:
        """Move what is no file out of an owner's place.

        Returns:
            Where it is now; empty where there is a file, or another process is at it.
        """
        path = self.of(OWNERS, owner)
        fd = self.fs.open_register(self.of(MARKER), make=False)
        try:
            # One at a time: the next moment it may be a file there that somebody has locked.
            if not self.fs.try_lock(fd) or stat.S_ISREG(self.fs.lstat(path).st_mode):
                return ""
            stray = f"{path}.{self._token()}.stray"
            self.fs.replace(path, stray)
            return stray
        finally:
            self.fs.close(fd)

    def write(self, path: str, text: bytes | Iterable[bytes], *, is_synced: bool = False) -> None:
        """Make or replace a file as a whole: it is never seen half written."""
        draft = f"{path}.{self._token()}{DRAFT}"
        fd = self.fs.create(draft)
        try:
            try:
                for part in (text,) if isinstance(text, bytes) else text:
                    if self.fs.write(fd, part) != len(part):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if is_synced:
                    self.fs.fsync(fd)
            finally:
                self.fs.close(fd)
            self.fs.replace(draft, path)
        except unless_interrupt(OSError):
            self.fs.unlink(draft)
            raise

    def quarantine(self, stem: str, place: str, text: bytes, reason: str) -> None:
        """Set bytes aside that cannot be sent, with the reason.

        Args:
            stem: of the segment where they stand.
            place: where in it. What was set aside from there already is not overwritten.
        """
        self._make_own(self.of(QUARANTINE))
        path = self.of(QUARANTINE, f"{stem}-{place}")
        try:
            if self.fs.read(f"{path}.ndjson") == text:
                return
            path = f"{path}-{self._token()}"
        except FileNotFoundError:
            pass
        self.write(f"{path}.reason", reason.encode("utf-8", "replace") + b"\n")
        self.write(f"{path}.ndjson", text, is_synced=True)

    def quarantine_file(self, name: SegmentName, reason: str) -> None:
        """Set a whole segment aside, without reading it."""
        self._make_own(self.of(QUARANTINE))
        path = self.of(QUARANTINE, f"{name.stem}-whole")
        if f"{name.stem}-whole.ndjson" in self.fs.listdir(self.of(QUARANTINE)):
            path = f"{path}-{self._token()}"
        self.write(f"{path}.reason", reason.encode("utf-8", "replace") + b"\n")
        self.fs.replace(self.of(str(name)), f"{path}.ndjson")

    def sweep(self, now: float) -> None:
        """Remove drafts that a crash left; one that is being written is young.

        Args:
            now: seconds since the epoch.
        """
        for folder in (self.path, self.of(QUARANTINE)):
            with Suppressed(OSError):
                for name, _, written_at in list(self.fs.sizes(folder)):
                    if name.endswith(DRAFT) and now - written_at > _OLD_SECONDS:
                        self.fs.unlink(os.path.join(folder, name))

    def holds_segments(self) -> bool:
        """Return whether there is any segment, whoever's."""
        try:
            return any(parse_name(name) is not None for name in self.fs.listdir(self.path))
        except unless_interrupt(OSError):
            return False

    def segments(self) -> dict[str, list[tuple[int, int]]]:
        """Return the number and the size of each segment, by owner, in order."""
        found: dict[str, list[tuple[int, int]]] = {}
        for text, size, _ in self.fs.sizes(self.path):
            name = parse_name(text)
            if name is not None:
                found.setdefault(name.owner, []).append((name.number, size))
        for numbers in found.values():
            numbers.sort()
        return found

    def usage(self, now: float) -> dict[str, Any]:
        """Return what waits in the directory, under the names that `Stats` gives it."""
        count, size_bytes, oldest = 0, 0, None
        try:
            for name, size, written_at in self.fs.sizes(self.path):
                if size and parse_name(name) is not None:
                    count += 1
                    size_bytes += size
                    oldest = written_at if oldest is None else min(oldest, written_at)
        except unless_interrupt(OSError):  # it was removed
            pass
        age = None if oldest is None else max(0.0, now - oldest)
        return {"spool_segments": count, "spool_bytes": size_bytes, "spool_oldest_age": age}

    def quarantined_bytes(self) -> int:
        """Return how much is set aside."""
        try:
            return sum(size for _, size, _ in self.fs.sizes(self.of(QUARANTINE)))
        except unless_interrupt(OSError):
            return 0

    def segment(self, name: SegmentName) -> str:
        """Return the path of a segment."""
        return self.of(str(name))


def strangers(names: Iterable[str]) -> list[str]:
    """Return which names in a directory are none of a spool's, in order.

    Drafts that a crash left are; and what file systems and their tools put at the root of a volume.

    >>> strangers(["spool.json", "lost+found", "notes.txt", "00000003-5f0c77a1-00000012.ndjson~"])
    ['00000003-5f0c77a1-00000012.ndjson~', 'notes.txt']
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
    """Return whether a directory that holds these names is used as a spool already."""
    return not {MARKER, OWNERS}.isdisjoint(names)


def read_marker(fs: FileSystem, path: str) -> dict[str, Any] | None:
    """Return what the marker says; None if it says nothing, torn by a power cut perhaps."""
    try:
        marker = json.loads(fs.read(path, 0, _MOST_BYTES))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return marker if isinstance(marker, dict) else None


def format_of(marker: Mapping[str, Any]) -> str:
    """Return which format a marker names, as a person may see it."""
    found = marker.get("format")
    is_short = isinstance(found, int) and 0 <= found < 10**9
    return f"format {found}" if is_short else "a format that none of fslog's is"


def _unusable(path: str, why: str) -> ValueError:
    return ValueError(
        f"spool is {path!r}, which cannot be used: {why}; expected a directory of this user's own, "
        "empty or used by fslog alone"
    )
