"""One process's share of a spool: the segments it writes, the room it claims, what it adopts.

A forked child creates its own share, with its own owner and segments. Nothing is created on disk
before the first line. The methods for log calls run under the buffer's lock, the others in the
thread that delivers.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import NamedTuple

from fslog.config import NO_LIMIT, MinFree
from fslog.interrupts import Suppressed, unless_interrupt
from fslog.spool import owners
from fslog.spool.directory import OWNERS, SpoolDirectory
from fslog.spool.filesystem import FileSystem
from fslog.spool.owners import Owner
from fslog.spool.segments import SegmentName, creation_order

_MAX_ORPHANS = 32
"""How many orphans one process adopts at the same time: each needs a descriptor."""

_QUARANTINE_PART = 4
"""The quarantine may have so many times less than `spool_max_bytes`, in addition to that."""

_STRAYS_EVERY = 6
"""Every so many searches all segments are listed, in case an owner's file was removed."""

_PASSING = frozenset({errno.ENOENT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
"""Errors that are not about an owner's file: it was removed, or the next search may succeed."""

_FULL_SECONDS = 0.05
"""How long after a failed claim no other is tried, and the disk not looked at again after it was
found almost full: each costs system calls."""


class OpenSegment:
    """A segment that lines are written to.

    Args:
        directory: that contains it.
        path: of the file.
        fd: of the file, open to append.
        is_synced: whether each line is flushed to the storage device before `write` returns.
    """

    __slots__ = ("_fd", "_fds", "_fs", "_is_synced", "_write", "path")

    def __init__(self, directory: SpoolDirectory, path: str, fd: int, is_synced: bool) -> None:
        self._fs = directory.fs
        self._write = directory.fs.write
        self._is_synced = is_synced
        self._fds = [fd]
        self._fd = fd
        self.path: str = path

    def write(self, line: bytes) -> None:
        """Append a line, completely or not at all.

        Raises:
            OSError: not at all.
        """
        written = self._write(self._fd, line)
        if written != len(line):
            self._undo(written)
            raise OSError(errno.ENOSPC, "only a part of a line was written")
        if self._is_synced:
            try:
                self._fs.fsync(self._fd)
            except unless_interrupt(OSError):
                self._undo(written)
                raise

    def _undo(self, size_bytes: int) -> None:
        # If this fails, the rest of the line is torn, the last of its segment, and not sent.
        try:
            self._fs.truncate(self._fd, self._fs.fstat(self._fd).st_size - size_bytes)
        except unless_interrupt(OSError):
            pass

    def rescued(self) -> bytes | None:
        """Return the content if the file was removed; None if it still exists."""
        try:
            if self._fs.fstat(self._fd).st_nlink:
                return None
            return self._fs.read_from(self._fd)
        except unless_interrupt(OSError):
            return None

    def written_at_ns(self) -> int:
        """Return when the file was last changed, by the file system's clock; 0 if unknown."""
        try:
            return self._fs.fstat(self._fd).st_mtime_ns
        except unless_interrupt(OSError):
            return 0

    def close(self) -> None:
        """Close the file. May be called more than once, from any thread."""
        try:
            fd = self._fds.pop()  # atomic: a descriptor must not be closed twice
        except IndexError:
            return
        try:
            self._fs.close(fd)
        except unless_interrupt(OSError):
            pass


class Orphan(NamedTuple):
    """An adopted owner, which this process has locked, and its segments by number and size."""

    owner: Owner
    segments: list[tuple[int, int]]


class SpoolShare:
    """The segments, claim and orphans of one handler in one process.

    Args:
        directory: checked.
        max_bytes: the limit of the directory, for all of its processes together.
        fsync: see `fslog.types.SpoolFsync`.
        chunk_bytes: how much room is claimed at a time.
        clock: monotonic seconds.
        min_free: how much of the file system has to stay free.
        max_age: for how many seconds a segment is sent after its last line was written.
    """

    def __init__(
        self,
        directory: SpoolDirectory,
        *,
        max_bytes: int,
        fsync: str,
        chunk_bytes: int,
        clock: Callable[[], float],
        min_free: MinFree = NO_LIMIT,
        max_age: float | None = None,
    ) -> None:
        self.directory = directory
        self.fs: FileSystem = directory.fs
        self.fsync = fsync
        self._max_bytes = max_bytes
        self._chunk_bytes = min(chunk_bytes, max_bytes // 64)
        self._clock = clock
        self._owner: Owner | None = None
        self._adopted: dict[str, Owner] = {}
        self._open_owners: set[Owner] = set()  # those two, and any that is about to become one
        self._claimed_bytes = 0
        self._full_until = 0.0
        self._min_free = min_free
        self._low_until = 0.0
        self._quarantined_bytes: int | None = None
        self.quarantine_max_bytes: int = max_bytes // _QUARANTINE_PART
        self.max_age: float | None = max_age
        self._searches = 0
        self.used_bytes: int = 0
        self.shortage: str = ""
        """How much too little of the file system is free, in words; empty if enough is."""
        self.left_some: bool = False
        """Whether the last search left orphans because `_MAX_ORPHANS` were adopted."""
        self.remarks: list[str] = []
        """What the searches found that is to be reported."""

    @property
    def room_bytes(self) -> int:
        """How many bytes the open segment may have within the claim."""
        return self._claimed_bytes - self.used_bytes

    def ensure_owner(self) -> Owner:
        """Return this process's owner; create it, and the directory, if they are missing."""
        if self._owner is None or not self._owner.is_linked():
            former_name = self.owner_name
            if self._owner is not None:
                self._owner.close()
            self._owner = self.directory.create_owner(former_name, self._open_owners)
            self._claimed_bytes = 0
        return self._owner

    def reserve(self, open_bytes: int) -> bool:
        """Claim room for an open segment of `open_bytes`; return False if there is none.

        It is asked for each new segment, so that no more than one batch is written before it is
        noticed that the disk is almost full.
        """
        if self._is_low():
            return False
        need = self.used_bytes + open_bytes
        owner = self.ensure_owner()
        if need <= self._claimed_bytes:
            return True
        if self._clock() < self._full_until:
            return False
        for claim in (need + self._chunk_bytes, need):
            owner.claim(claim)
            if self._total_bytes() <= self._max_bytes:
                self._claimed_bytes = claim
                return True
        owner.claim(self._claimed_bytes)
        self._full_until = self._clock() + _FULL_SECONDS
        return False

    def _is_low(self) -> bool:
        if not any(self._min_free):
            return False
        return self._clock() < self._low_until or bool(self.check_space())

    def check_space(self) -> str:
        """Look how much of the file system is free, and return and keep the shortage."""
        shortage = ""
        try:
            free, total = self.fs.space(self.directory.path) if any(self._min_free) else (0, 0)
        except unless_interrupt(OSError):  # unknown: a write will tell
            free = total = 0
        if total and free < self._min_free.of(total):
            shortage = (
                f"the spool's file system has {free} of {total} bytes free, less than "
                f"spool_min_free ({self._min_free})"
            )
        self._low_until = self._clock() + _FULL_SECONDS if shortage else 0.0
        self.shortage = shortage
        return shortage

    def _total_bytes(self) -> int:
        return owners.claimed_bytes(self.fs, self.directory.join(OWNERS))

    def open(self, number: int) -> OpenSegment:
        """Create a segment of this process."""
        path = self.path(self.ensure_owner().name, number)
        fd = self.fs.create(path)
        segment = OpenSegment(self.directory, path, fd, self.fsync == "line")
        if self.fsync == "line":
            try:
                self.fs.sync(self.directory.path)
            except unless_interrupt(OSError):
                self.discard(segment)
                raise
        return segment

    def discard(self, segment: OpenSegment) -> None:
        """Remove an empty segment."""
        segment.close()
        self.remove(segment.path)

    def write_single(self, number: int, line: bytes) -> str:
        """Write a segment of one line, independently of the open one.

        Returns:
            The owner's name.

        Raises:
            OSError: nothing was written.
        """
        if self._owner is None:
            raise OSError(errno.EAGAIN, "there is no owner yet")
        owner = self._owner.name
        path = self.path(owner, number)
        segment = OpenSegment(self.directory, path, self.fs.create(path), self.fsync == "line")
        try:
            segment.write(line)
            if self.fsync == "line":
                self.fs.sync(self.directory.path)
        except unless_interrupt(OSError):
            self.discard(segment)
            raise
        segment.close()
        return owner

    def path(self, owner: str, number: int) -> str:
        """Return the path of a segment."""
        return self.directory.join(str(SegmentName(owner, number)))

    @property
    def owner_name(self) -> str:
        """The name of this process's owner; empty if there is none."""
        return self._owner.name if self._owner is not None else ""

    def owner_names(self) -> list[str]:
        """Return the names of the owners whose locks this process has."""
        return [name for name in (self.owner_name, *self._adopted) if name]

    def owner(self, name: str) -> Owner | None:
        """Return this process's owner if it has that name."""
        owner = self._owner  # a log call may replace it at any time
        return owner if owner is not None and owner.name == name else None

    def sync(self, path: str) -> None:
        """Flush a sealed segment and its name to the storage device, if configured."""
        if self.fsync == "segment":
            self.fs.sync(path)
            self.fs.sync(self.directory.path)

    def remove(self, path: str) -> bool:
        """Remove a segment; return False if it must be tried again."""
        try:
            self.fs.unlink(path)
        except FileNotFoundError:
            pass
        except unless_interrupt(OSError):
            return False
        return True

    def release_room(self, open_bytes: int) -> None:
        """Lower the claim if much of it is no longer needed."""
        need = self.used_bytes + open_bytes + self._chunk_bytes
        if self._owner is not None and self._claimed_bytes > need + 4 * self._chunk_bytes:
            self._claimed_bytes = need
            with Suppressed(OSError):
                self._owner.claim(need)
        self._full_until = self._low_until = 0.0

    def orphans(self, now: float) -> list[Orphan]:
        """Adopt dead owners, at most `_MAX_ORPHANS` at the same time.

        Args:
            now: seconds since the epoch.

        Returns:
            Those that no other process adopted, the earliest first; `left_some` is set if there
            are more. None while another process follows the directory.
        """
        self._quarantined_bytes = None  # a person may have removed something
        self.left_some = False
        if not self.directory.may_adopt():
            return []
        names = owners.list_owners(self.fs, self.directory.join(OWNERS))
        adopted, failed = self._adopt(names, now)
        if not self._searches and self.directory.foreign_names:
            shown = ", ".join(repr(name) for name in self.directory.foreign_names[:3])
            self.remarks.append(
                "the spool's directory also contains files that are not fslog's, which are not "
                f"sent: {shown}"
            )
        self._searches += 1
        if not adopted and self._searches % _STRAYS_EVERY != 1:
            return []
        self.directory.remove_stale_drafts(now)
        try:
            # Listed under their locks: the list is complete and does not change.
            segments = self.directory.segments()
            cleared = self._clear_paths({name: failed[name] for name in failed & segments.keys()})
            strays, _ = self._adopt([*(segments.keys() - set(names)), *cleared], now, make=True)
            if strays:
                adopted += strays
                segments = self.directory.segments()
        except unless_interrupt(OSError):
            for owner in adopted:
                del self._adopted[owner.name]
                owner.close()
            raise
        found = []
        for owner in adopted:
            if owner.name in segments:
                with Suppressed(OSError):  # the former claim remains
                    owner.claim(sum(size for _, size in segments[owner.name]))
                found.append(Orphan(owner, segments[owner.name]))
            else:
                self.end_orphan(owner)
        return sorted(found, key=lambda orphan: creation_order(orphan.owner.name))

    def quarantine(self, stem: str, place: str, text: bytes, reason: str) -> bool:
        """Write bytes that are not sent to the quarantine; return False if it is full.

        What is there already is not written again, and is not in the way of events: the quarantine
        has a limit of its own. Two processes at the same time may exceed it by what they write.

        Raises:
            OSError: they could not be written.
        """
        if self.directory.is_quarantined(stem, place, text):
            return True
        if self._quarantined_bytes is None:
            self._quarantined_bytes = self.directory.quarantined_bytes()
        size_bytes = len(text) + len(reason) + 1
        if self._quarantined_bytes + size_bytes > self.quarantine_max_bytes:
            return False
        self.directory.quarantine(stem, place, text, reason)
        self._quarantined_bytes += size_bytes
        return True

    def is_expired(self, written_at: float, now: float) -> bool:
        """Return whether a segment that was last written at a time is too old to be sent."""
        return self.max_age is not None and now - written_at > self.max_age

    def has_room_for_orphans(self) -> bool:
        """Return whether another orphan may be adopted."""
        return len(self._adopted) < _MAX_ORPHANS

    def _adopt(
        self, names: list[str], now: float, *, make: bool = False
    ) -> tuple[list[Owner], dict[str, OSError]]:
        """Adopt owners; return those adopted, and the errors of those that could not be opened."""
        # A file is created only for segments: one removed since the listing must not reappear.
        adopted: list[Owner] = []
        failed: dict[str, OSError] = {}
        folder, digest = self.directory.join(OWNERS), self.directory.digest
        for name in sorted(names, key=creation_order):
            if name == self.owner_name or name in self._adopted:
                continue
            if not self.has_room_for_orphans():
                self.left_some = True
                break
            try:
                owner = owners.adopt(
                    self.fs, folder, name, digest, now, make=make, open_owners=self._open_owners
                )
            except unless_interrupt(OSError) as error:  # the other owners are not affected
                failed[name] = error
                continue
            if owner is not None:
                self._adopted[owner.name] = owner
                adopted.append(owner)
        return adopted, failed

    def _clear_paths(self, failed: dict[str, OSError]) -> list[str]:
        """Rename what blocks the paths of owners' files; return the names of those owners."""
        cleared = []
        for name, error in failed.items():
            if error.errno in _PASSING:
                continue
            try:
                moved_to = self.directory.clear_owner_path(name)
                if moved_to:
                    cleared.append(name)
                    self.remarks.append(
                        f"{moved_to!r} had the path of an owner's file and blocked its events; "
                        "it is not a file of fslog and can be removed"
                    )
                    continue
            except unless_interrupt(OSError) as other:
                error = other
            self.remarks.append(
                f"the events of {name}, a dead process, cannot be sent, because its file in the "
                f"spool's {OWNERS}/ cannot be used: {error.strerror or error}"
            )
        return cleared

    def end_orphan(self, owner: Owner) -> None:
        """Remove an adopted owner that has no segments left."""
        self._adopted.pop(owner.name, None)
        owner.remove()

    def end(self) -> None:
        """Remove this process's owner, because it has no segments left."""
        owner, self._owner = self._owner, None
        self._claimed_bytes = self.used_bytes = 0
        if owner is not None:
            owner.remove()

    def use_keys(self, digest: str) -> None:
        """Write the digest of other keys into the files of all owners that this process has."""
        for owner in list(self._open_owners):
            owner.use_keys(digest)

    def restore_tries(self, but: set[str]) -> None:
        """Withdraw this process's tries of undelivered orphans, because it ends in order.

        Args:
            but: the owners of the batch that is being posted, which may still arrive.
        """
        for owner in list(self._adopted.values()):
            if owner.name not in but:
                owner.restore_tries()

    def close_inherited(self) -> None:
        """Close a forked child's copies of descriptors, each of which would keep a lock."""
        for owner in list(self._open_owners):
            owner.close()
