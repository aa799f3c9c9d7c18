"""What a spool's directory contains, read without changing anything in it.

The spool's own functions read it; no living process misses a lock or a file because of that. What
is delivered while the directory is read is left out.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fslog.cli.options import CommandError
from fslog.spool import owners
from fslog.spool.directory import (
    FORMAT,
    MARKER,
    OWNERS,
    QUARANTINE,
    describe_format,
    describe_non_directory,
    is_spool,
    list_segments,
    read_marker,
)
from fslog.spool.filesystem import FileSystem
from fslog.spool.segments import (
    RejectedLine,
    SegmentName,
    creation_order,
    parse_name,
    partition_lines,
)

_LOCKS = "/proc/locks"
_LOCK = re.compile(
    r"^\d+: FLOCK\s+\S+\s+WRITE\s+(-?\d+)\s+([\da-f]+):([\da-f]+):(\d+)\s", re.M | re.ASCII
)

_Listed = tuple[SegmentName, int, float]
"""A segment, its size, and when it was last written."""

_Pids = dict[tuple[int, int, int], int]
"""Process ids by the major and minor number of a device, and the inode of a file on it."""


class NotASpool(CommandError):
    """The directory is not a spool, or cannot be read; the message says why."""


@dataclass(frozen=True)
class Segment:
    """One file of lines.

    Args:
        name: of the file.
        bytes, events: how much of it waits, and how many complete lines that is.
        written_at: when it was last written, seconds since the epoch.
        begin: the offset at which that begins; everything before it is settled.
    """

    name: SegmentName
    bytes: int
    events: int
    written_at: float
    begin: int = 0


@dataclass(frozen=True)
class OwnerInfo:
    """An owner and its segments.

    Args:
        name: of the owner.
        pid: of the living process that holds its lock, 0 if unknown; None if the owner is dead.
        claim_bytes: how much room it claims.
        tries: how many processes adopted it and delivered nothing.
        segments: the oldest first.
    """

    name: str
    pid: int | None
    claim_bytes: int
    tries: int
    segments: tuple[Segment, ...]

    @property
    def is_living(self) -> bool:
        """Whether a process holds its lock, and so delivers its segments."""
        return self.pid is not None

    @property
    def events(self) -> int:
        """How many events wait in its segments."""
        return sum(segment.events for segment in self.segments)

    @property
    def bytes(self) -> int:
        """How many bytes wait in its segments."""
        return sum(segment.bytes for segment in self.segments)


@dataclass(frozen=True)
class QuarantinedFile:
    """A file of the quarantine.

    Args:
        name: without its suffix.
        bytes, lines: its size; a torn line counts.
        written_at: when it was quarantined, seconds since the epoch.
        reason: why.
    """

    name: str
    bytes: int
    lines: int
    written_at: float
    reason: str


@dataclass(frozen=True)
class SpoolContents:
    """What a spool's directory contained at one moment.

    Args:
        path: absolute.
        digest: of the keys that it belongs to; None if its marker is not readable.
        files_digest: of the files of these keys; empty if they are not known to be in files.
        owners: in the order in which they were created.
        quarantine: by name.
    """

    path: str
    digest: str | None
    files_digest: str
    owners: tuple[OwnerInfo, ...]
    quarantine: tuple[QuarantinedFile, ...]

    def belongs_to(self, digest: str, files_digest: str) -> bool:
        """Return whether the directory belongs to some keys, or to other ones in the same files."""
        is_same = bool(files_digest) and files_digest == self.files_digest
        return is_same or self.digest in (None, digest)

    def waiting(self, *, living: bool) -> list[OwnerInfo]:
        """Return the living, or the dead, owners that have segments."""
        return [one for one in self.owners if one.segments and one.is_living == living]


def read_contents(path: str, fs: FileSystem | None = None) -> SpoolContents:
    """Read a spool's directory.

    Raises:
        NotASpool: it is not a spool, or cannot be read.
    """
    fs = fs or FileSystem()
    path = os.path.abspath(path)
    try:
        names = _names(fs, path)
        digest, files_digest = _digests(fs, path) if MARKER in names else (None, "")
        quarantine = _quarantine(fs, os.path.join(path, QUARANTINE))
        found = tuple(_owners(fs, path))
        return SpoolContents(path, digest, files_digest, found, tuple(quarantine))
    except OSError as error:
        raise NotASpool(f"{path!r} cannot be read: {error.strerror or error}") from None


def _names(fs: FileSystem, path: str) -> set[str]:
    mode = fs.lstat(path).st_mode
    if not stat.S_ISDIR(mode):
        raise NotASpool(f"{path!r} is {describe_non_directory(mode)}")
    names = set(fs.listdir(path))
    if not (is_spool(names) or any(parse_name(name) for name in names)):
        what = "contains other files" if names else "is empty"
        raise NotASpool(f"{path!r} is not a spool: it {what}, and has no {MARKER}")
    return names


def _digests(fs: FileSystem, path: str) -> tuple[str | None, str]:
    """Return the digests of keys and of files in the marker; None if a power cut tore it."""
    marker = read_marker(fs, os.path.join(path, MARKER))
    if marker is None or not isinstance(marker.get("keys"), str):
        return None, ""
    if marker.get("format") != FORMAT:
        found = describe_format(marker)
        raise NotASpool(f"{path!r} is a spool with {found}; this version reads format {FORMAT}")
    return str(marker["keys"]), str(marker.get("files", ""))


def _owners(fs: FileSystem, path: str) -> Iterator[OwnerInfo]:
    # Segments first: a process creates its owner's file before its segments, so that those of a
    # process that starts meanwhile are not attributed to a dead one.
    segments: dict[str, list[_Listed]] = {}
    for segment in list_segments(fs, path):
        segments.setdefault(segment[0].owner, []).append(segment)
    folder = os.path.join(path, OWNERS)
    try:
        names = set(owners.list_owners(fs, folder))
    except FileNotFoundError:
        names = set()
    pids = _lock_holders()
    for name in sorted(names | segments.keys(), key=creation_order):
        pid, state = _owner(fs, folder, name, pids)
        measured = (_segment(fs, path, state, one) for one in sorted(segments.get(name, [])))
        waiting = tuple(segment for segment in measured if segment is not None)
        yield OwnerInfo(name, pid, state.claim_bytes, state.tries, waiting)


def _owner(
    fs: FileSystem, folder: str, name: str, pids: _Pids
) -> tuple[int | None, owners.OwnerState]:
    """Return which process holds an owner's lock, and the state in the owner's file."""
    path = os.path.join(folder, name)
    try:
        pid = _pid(fs.lstat(path), pids) if owners.is_living(fs, folder, name) else None
        return pid, owners.read_owner_file(fs, path)
    except OSError:  # the file was removed, or is not a regular file
        return None, owners.parse_owner_file(b"")


def _segment(
    fs: FileSystem, folder: str, state: owners.OwnerState, found: _Listed
) -> Segment | None:
    name, size, written_at = found
    begin = state.settled_bytes(name.number, size)
    try:
        events = fs.read(os.path.join(folder, str(name)), begin).count(b"\n")
    except FileNotFoundError:
        return None
    except OSError:  # it cannot be read, or is not a regular file: it waits all the same
        events = 0
    return Segment(name, size - begin, events, written_at, begin)


def _lock_holders() -> _Pids:
    """Return which process holds which `flock`; empty except on Linux.

    A line is as in proc_locks(5): `1: FLOCK ADVISORY WRITE 4711 fd:01:131 0 EOF`. That of a
    process that waits for the lock has an arrow before FLOCK.
    """
    try:
        with open(_LOCKS, encoding="ascii", errors="replace") as lines:
            found = _LOCK.findall(lines.read())
    except OSError:
        return {}
    return {
        (int(major, 16), int(minor, 16), int(inode)): int(pid) for pid, major, minor, inode in found
    }


def _pid(file: os.stat_result, pids: _Pids) -> int:
    """Return the process that holds a file's lock; 0 if that is unknown."""
    # -1 is a process of another namespace, and some file systems have other numbers in the list.
    found = pids.get((os.major(file.st_dev), os.minor(file.st_dev), file.st_ino), 0)
    return max(0, found)


def _quarantine(fs: FileSystem, folder: str) -> Iterator[QuarantinedFile]:
    try:
        names = sorted(fs.listdir(folder))
    except FileNotFoundError:
        return
    for name in names:
        stem = name.removesuffix(".ndjson")
        if stem == name:
            continue
        path = os.path.join(folder, name)
        lines = [line for line in _read(fs, path).split(b"\n") if line]
        reason = _read(fs, os.path.join(folder, f"{stem}.reason"), b"the reason is missing")
        with contextlib.suppress(FileNotFoundError):
            found = fs.lstat(path)
            why = reason.decode("utf-8", "replace").strip()
            yield QuarantinedFile(stem, found.st_size, len(lines), found.st_mtime, why)


def _read(fs: FileSystem, path: str, default: bytes = b"") -> bytes:
    """Return the content of a file, or the default if it cannot be read."""
    try:
        return fs.read(path)
    except OSError:
        return default


def waiting_lines(
    contents: SpoolContents, fs: FileSystem | None = None
) -> Iterator[tuple[Segment, list[bytes], list[RejectedLine]]]:
    """Yield each segment with its events and its rejected lines, in the order of delivery.

    A living process may be writing the last line of its segment: a torn one is left out.
    """
    fs = fs or FileSystem()
    for owner in contents.owners:
        for segment in owner.segments:
            try:
                text = fs.read(os.path.join(contents.path, str(segment.name)), segment.begin)
            except FileNotFoundError:
                continue
            except OSError as error:
                reason = f"it cannot be read: {error.strerror or error}"
                yield segment, [], [RejectedLine(0, b"", reason)]
                continue
            if owner.is_living:
                text = text[: text.rfind(b"\n") + 1]
            events, rejected, _ = partition_lines(text, segment.begin)
            yield segment, events, rejected


def as_json(contents: SpoolContents) -> dict[str, Any]:
    """Return the contents as JSON values; instants are seconds since the epoch."""
    return {
        "path": contents.path,
        "owners": [
            {
                "owner": owner.name,
                "state": "living" if owner.is_living else "dead",
                "pid": owner.pid or None,
                "claim_bytes": owner.claim_bytes,
                "tries": owner.tries,
                "events": owner.events,
                "bytes": owner.bytes,
                "segments": [
                    {
                        "name": str(segment.name),
                        "events": segment.events,
                        "bytes": segment.bytes,
                        "written_at": segment.written_at,
                    }
                    for segment in owner.segments
                ],
            }
            for owner in contents.owners
        ],
        "quarantine": [vars(one) for one in contents.quarantine],
    }
