"""A spool's directory as somebody sees it who only looks: who waits in it, and what was set aside.

Nothing is made, changed or removed, and no lock is taken that a living process could miss. What
goes while it is looked at (it was delivered) is not there.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fslog.cli.options import CommandError
from fslog.cli.spool import locks
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
from fslog.spool.owners import OwnerState
from fslog.spool.segments import (
    RejectedLine,
    SegmentName,
    creation_order,
    parse_name,
    partition_lines,
)

_ENDING = ".ndjson"


class NotSpool(CommandError):
    """Say why a directory is no spool that can be looked at."""


@dataclass(frozen=True)
class Segment:
    """One file of lines.

    Args:
        name: of the file.
        bytes, events: how much of it waits, and how many lines of that have their newline.
        written_at: when it was last written, seconds since the epoch.
        begin: where in the file that begins; what stands before was delivered.
    """

    name: SegmentName
    bytes: int
    events: int
    written_at: float
    begin: int = 0


@dataclass(frozen=True)
class Share:
    """What one process has, or had, of the directory.

    Args:
        owner: its name there.
        pid: of the living process that has it now; 0 where that is not known; None for nobody.
        claim_bytes: how much room it claims.
        tries: how many processes took it over and delivered nothing of it.
        segments: the oldest first.
    """

    owner: str
    pid: int | None
    claim_bytes: int
    tries: int
    segments: tuple[Segment, ...]

    @property
    def is_living(self) -> bool:
        """Whether a process has it that sees to its delivery."""
        return self.pid is not None

    @property
    def events(self) -> int:
        """How many events wait in it."""
        return sum(segment.events for segment in self.segments)

    @property
    def bytes(self) -> int:
        """How large its segments are."""
        return sum(segment.bytes for segment in self.segments)


@dataclass(frozen=True)
class SetAside:
    """A file of the quarantine.

    Args:
        name: without its ending.
        bytes, lines: how large it is; a torn line counts.
        written_at: when it was set aside, seconds since the epoch.
        reason: why.
    """

    name: str
    bytes: int
    lines: int
    written_at: float
    reason: str


@dataclass(frozen=True)
class Contents:
    """What a spool's directory held at one moment.

    Args:
        path: absolute.
        digest: of the keys that it belongs to; None if its marker says nothing.
        shares: in the order in which their processes began.
        set_aside: by name.
    """

    path: str
    digest: str | None
    shares: tuple[Share, ...]
    set_aside: tuple[SetAside, ...]

    def waiting(self, *, living: bool) -> list[Share]:
        """Return the shares that have segments, of living or of dead processes."""
        return [s for s in self.shares if s.segments and s.is_living == living]


def look(path: str, fs: FileSystem | None = None) -> Contents:
    """Look at a spool's directory.

    Raises:
        NotSpool: it is none, or may not be read; the message says why.
    """
    fs = fs or FileSystem()
    path = os.path.abspath(path)
    try:
        names = _names(fs, path)
        digest = _marked(fs, path) if MARKER in names else None
        return Contents(path, digest, tuple(_shares(fs, path)), tuple(_set_aside(fs, path)))
    except OSError as error:
        raise NotSpool(f"{path!r} cannot be looked at: {error.strerror or error}") from None


def _names(fs: FileSystem, path: str) -> set[str]:
    mode = fs.lstat(path).st_mode
    if not stat.S_ISDIR(mode):
        raise NotSpool(f"{path!r} is {describe_non_directory(mode)}")
    names = set(fs.listdir(path))
    if not (is_spool(names) or any(parse_name(name) for name in names)):
        what = "contains other files" if names else "is empty"
        raise NotSpool(f"{path!r} is not a spool: it {what}, and has no {MARKER}")
    return names


def _marked(fs: FileSystem, path: str) -> str | None:
    """Return the digest that the marker holds; None for one that a power cut tore."""
    marker = read_marker(fs, os.path.join(path, MARKER))
    if marker is None or not isinstance(marker.get("keys"), str):
        return None
    if marker.get("format") != FORMAT:
        raise NotSpool(
            f"{path!r} is a spool of {describe_format(marker)}; this fslog knows {FORMAT}"
        )
    return str(marker["keys"])


def _shares(fs: FileSystem, path: str) -> Iterator[Share]:
    # Segments first: a process creates its owner's file before its segments, so that those of a
    # process that starts meanwhile are not attributed to a dead one.
    segments: dict[str, list[tuple[SegmentName, int, float]]] = {}
    for segment in list_segments(fs, path):
        segments.setdefault(segment[0].owner, []).append(segment)
    folder = os.path.join(path, OWNERS)
    try:
        names = set(owners.list_owners(fs, folder))
    except FileNotFoundError:
        names = set()
    pids = locks.holders()
    for owner in sorted(names | segments.keys(), key=creation_order):
        pid, state = _owner(fs, folder, owner, pids)
        measured = (_measured(fs, path, state, *one) for one in sorted(segments.get(owner, [])))
        waiting = tuple(segment for segment in measured if segment is not None)
        yield Share(owner, pid, state.claim_bytes, state.tries, waiting)


def _owner(
    fs: FileSystem, folder: str, name: str, pids: locks.Holders
) -> tuple[int | None, OwnerState]:
    """Return which process holds an owner's lock, and the state in the owner's file."""
    path = os.path.join(folder, name)
    try:
        pid = locks.pid_of(fs.lstat(path), pids) if owners.is_living(fs, folder, name) else None
        return pid, owners.read_owner_file(fs, path)
    except OSError:  # the file was removed, or is not a regular file
        return None, owners.parse_owner_file(b"")


def _measured(
    fs: FileSystem, folder: str, state: OwnerState, name: SegmentName, size: int, written_at: float
) -> Segment | None:
    begin = state.settled_bytes(name.number, size)
    try:
        events = fs.read(os.path.join(folder, str(name)), begin).count(b"\n")
    except FileNotFoundError:
        return None
    except OSError:  # it cannot be read, or is not a regular file: it waits all the same
        events = 0
    return Segment(name, size - begin, events, written_at, begin)


def _listed(fs: FileSystem, path: str) -> list[str]:
    try:
        return fs.listdir(path)
    except FileNotFoundError:
        return []


def _set_aside(fs: FileSystem, path: str) -> Iterator[SetAside]:
    folder = os.path.join(path, QUARANTINE)
    for name in sorted(_listed(fs, folder)):
        if not name.endswith(_ENDING):
            continue
        stem = name[: -len(_ENDING)]
        with contextlib.suppress(FileNotFoundError):
            found = fs.lstat(os.path.join(folder, name))
            lines = len(lines_of(fs, os.path.join(folder, name)))
            reason = _reason(fs, os.path.join(folder, f"{stem}.reason"))
            yield SetAside(stem, found.st_size, lines, found.st_mtime, reason)


def lines_of(fs: FileSystem, path: str) -> list[bytes]:
    """Return the lines of a file, the torn one included; none where it may not be read."""
    try:
        text = fs.read(path)
    except FileNotFoundError:
        raise
    except OSError:
        return []
    return [line for line in text.split(b"\n") if line]


def _reason(fs: FileSystem, path: str) -> str:
    try:
        return fs.read(path).decode("utf-8", "replace").strip()
    except OSError:
        return "nothing says why"


def events_of(
    contents: Contents, fs: FileSystem | None = None
) -> Iterator[tuple[Share, Segment, list[bytes], list[RejectedLine]]]:
    """Yield each waiting segment with its lines, the good and the bad, in the order of delivery.

    The last line of a living process's segment may be half written at this moment; it is not
    there yet.
    """
    fs = fs or FileSystem()
    for share in contents.shares:
        for segment in share.segments:
            try:
                text = fs.read(os.path.join(contents.path, str(segment.name)), segment.begin)
            except OSError as error:
                if isinstance(error, FileNotFoundError):
                    continue
                reason = f"it cannot be read: {error.strerror or error}"
                yield share, segment, [], [RejectedLine(0, b"", reason)]
                continue
            if share.is_living:
                text = text[: text.rfind(b"\n") + 1]
            good, bad, _ = partition_lines(text, segment.begin)
            yield share, segment, good, bad


def as_json(contents: Contents) -> dict[str, Any]:
    """Return the contents as plain values; instants are seconds since the epoch."""
    return {
        "path": contents.path,
        "owners": [
            {
                "owner": share.owner,
                "state": "living" if share.is_living else "dead",
                "pid": share.pid or None,
                "claim_bytes": share.claim_bytes,
                "tries": share.tries,
                "events": share.events,
                "bytes": share.bytes,
                "segments": [
                    {
                        "name": str(segment.name),
                        "events": segment.events,
                        "bytes": segment.bytes,
                        "written_at": segment.written_at,
                    }
                    for segment in share.segments
                ],
            }
            for share in contents.shares
        ],
        "quarantine": [vars(one) for one in contents.set_aside],
    }
