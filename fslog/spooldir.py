"""The spool's directory: what may be one, what stands in it, and whose it is.

    spool.json                              which keys it belongs to, as a digest
    owners/{owner}                          one file for each process that uses it, see `owners`
    {owner}-{number}.ndjson                 segments, see `segments`
    quarantine/{segment}-{offset}.ndjson    what could not be sent, as it was
    quarantine/{segment}-{offset}.reason    why

Directories are 0700 and files 0600; nothing holds a key.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import time
from collections.abc import Callable, Mapping
from typing import Any

from fslog import arguments, owners
from fslog.destination import Destination
from fslog.filesystem import CAN_LOCK, FileSystem
from fslog.segments import Name, parse_name

FORMAT = 1
MARKER = "spool.json"
OWNERS = "owners"
QUARANTINE = "quarantine"
DRAFT = ".new"

_OLD_SECONDS = 600.0

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
        value = arguments.environment("FSLOG_SPOOL", environ) or ""
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise TypeError(f"spool is of type {type(value).__name__}; expected a path, as a string")
    path = os.fspath(value)
    if not path:
        return None
    if destination.redact.secrets(path) != path:
        raise ValueError("spool is a path that holds a key (it is not shown); expected another")
    if "\0" in path:
        raise ValueError(f"spool is {path!r}, which no path can be")
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
            self._prepare()
            self.begin().remove()
        except OSError as error:
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
        strangers = [name for name in self.fs.listdir(self.path) if not _is_ours(name)]
        if strangers:
            raise _unusable(
                self.path, f"it holds something else ({min(strangers)!r}); give it one of its own"
            )
        for path in (self.path, self.of(OWNERS)):
            self._make_own(path)
            mode = stat.S_IMODE(self.fs.lstat(path).st_mode)
            if mode & 0o077:  # what the owner may not do is not given either
                self.fs.set_mode(path, mode & 0o700)

    def _make_own(self, path: str) -> None:
        self.fs.make_directory(path)
        found = self.fs.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise OSError(errno.ENOTDIR, f"{os.path.basename(path)!r} is no directory of its own")

    def begin(self, again: str = "") -> owners.Owner:
        """Make an owner for this process, and the directory anew where somebody removed it.

        Args:
            again: the name of this process's owner whose file was removed.

        Raises:
            ValueError: the directory cannot be used, or living processes use it with other keys.
        """
        self._prepare()
        folder = self.of(OWNERS)
        owner = owners.begin(self.fs, folder, self.digest, self._token, again)
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
        try:
            marker = json.loads(self.fs.read(path))
        except FileNotFoundError:
            marker = None
        except ValueError:  # torn by a power cut; it says nothing that we do not know
            marker = None
        if isinstance(marker, dict) and marker.get("format", 0) != FORMAT:
            raise _unusable(self.path, f"it is of format {marker.get('format')!r}, not {FORMAT}")
        right = {"format": FORMAT, "keys": self.digest}
        if marker != right:
            self.write(path, json.dumps(right).encode("ascii") + b"\n")

    def write(self, path: str, text: bytes, *, is_synced: bool = False) -> None:
        """Make or replace a file as a whole: it is never seen half written."""
        draft = f"{path}.{self._token()}{DRAFT}"
        fd = self.fs.create(draft)
        try:
            try:
                if self.fs.write(fd, text) != len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if is_synced:
                    self.fs.fsync(fd)
            finally:
                self.fs.close(fd)
            self.fs.replace(draft, path)
        except OSError:
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

    def quarantine_file(self, name: Name, reason: str) -> None:
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
            with contextlib.suppress(OSError):
                for name, _, written_at in list(self.fs.sizes(folder)):
                    if name.endswith(DRAFT) and now - written_at > _OLD_SECONDS:
                        self.fs.unlink(os.path.join(folder, name))

    def holds_segments(self) -> bool:
        """Tell whether there is any segment, whoever's."""
        try:
            return any(parse_name(name) is not None for name in self.fs.listdir(self.path))
        except OSError:
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
        except OSError:  # it was removed
            pass
        age = None if oldest is None else max(0.0, now - oldest)
        return {"spool_segments": count, "spool_bytes": size_bytes, "spool_oldest_age": age}

    def quarantined_bytes(self) -> int:
        """Return how much is set aside."""
        try:
            return sum(size for _, size, _ in self.fs.sizes(self.of(QUARANTINE)))
        except OSError:
            return 0

    def segment(self, name: Name) -> str:
        """Return the path of a segment."""
        return self.of(str(name))


def _is_ours(name: str) -> bool:
    plain = name in (MARKER, OWNERS, QUARANTINE) or parse_name(name) is not None
    # Drafts that a crash left; and what file systems and their tools put at the root of a volume.
    return plain or name.endswith(DRAFT) or name == "lost+found" or name.startswith(".")


def _unusable(path: str, why: str) -> ValueError:
    return ValueError(
        f"spool is {path!r}, which cannot be used: {why}; expected a directory of this user's own, "
        "empty or used by fslog alone"
    )
