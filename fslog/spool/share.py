"""One process's share of a spool directory: the segments it writes, the room it claims, the
orphans it takes over.

Made anew in a forked child, which so has an owner and segments of its own; nothing is made on
disk before there is a line to write. The methods that a log call uses run under the lock of
`fslog.spool.writer.SpooledBatches`; the others in the thread that delivers.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import NamedTuple

from fslog.interrupts import Suppressed, unless_interrupt
from fslog.spool import owners
from fslog.spool.directory import OWNERS, SpoolDirectory
from fslog.spool.owners import Owner
from fslog.spool.segments import SegmentName, creation_order

_MAX_ORPHANS = 32
"""How many dead owners one process takes over at a time: each costs a descriptor."""

_STRAYS_EVERY = 6
"""Every so many looks all segments are listed, in case an owner's file was removed."""

_PASSING = frozenset({errno.ENOENT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
"""Errors that say nothing of an owner's file: it ended meanwhile, or the next look may take it."""

_FULL_SECONDS = 0.05
"""How long a claim that failed is not made again: looking costs some system calls."""


class OpenSegment:
    """A segment that lines are written to.

    Args:
        directory: where it is.
        path: of the file.
        fd: of the file, open to append.
        is_synced: whether each line goes to the disk itself before the call returns.
    """

    __slots__ = ("_fd", "_fds", "_fs", "_is_synced", "_write", "path")

    def __init__(self, directory: SpoolDirectory, path: str, fd: int, is_synced: bool) -> None:
        self._fs = directory.fs
        self._write = directory.fs.write
        self._is_synced = is_synced
        self._fds = [fd]
        self._fd = fd
        self.path = path

    def write(self, line: bytes) -> None:
        """Append a line, whole or not at all.

        Raises:
            OSError: not at all.
        """
        written = self._write(self._fd, line)
        if written != len(line):
            self._undo(written)
            raise OSError(errno.ENOSPC, "no more than a part of a line was written")
        if self._is_synced:
            try:
                self._fs.fsync(self._fd)
            except unless_interrupt(OSError):
                self._undo(written)
                raise

    def _undo(self, size_bytes: int) -> None:
        # Where this fails, what is left of the line is torn, the last of its segment, and not sent.
        try:
            self._fs.truncate(self._fd, self._fs.fstat(self._fd).st_size - size_bytes)
        except unless_interrupt(OSError):
            pass

    def rescued(self) -> bytes | None:
        """Return what was written, if the file is no longer to be found; None if it is."""
        try:
            if self._fs.fstat(self._fd).st_nlink:
                return None
            return self._fs.read_from(self._fd)
        except unless_interrupt(OSError):
            return None

    def written_at_ns(self) -> int:
        """Return when the file was last changed, by its own clock; 0 where that is unknown."""
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
    """What a dead owner left: its lock, now ours, and its segments by number and size."""

    owner: Owner
    segments: list[tuple[int, int]]


class SpoolShare:
    """Keep lines on disk for one handler in one process.

    Args:
        directory: checked.
        max_bytes: what the directory holds at the most, all of its users together.
        fsync: one of `fslog.config.FSYNC`.
        chunk_bytes: how much room is claimed at a time.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        directory: SpoolDirectory,
        *,
        max_bytes: int,
        fsync: str,
        chunk_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        self.directory = directory
        self.fs = directory.fs
        self.fsync = fsync
        self._max_bytes = max_bytes
        self._chunk_bytes = min(chunk_bytes, max_bytes // 64)
        self._clock = clock
        self._owner: Owner | None = None
        self._adopted: dict[str, Owner] = {}
        self._held: set[Owner] = set()  # those two, and what is on the way to be one of them
        self._claimed_bytes = 0
        self._full_until = 0.0
        self._set_aside_bytes = 0
        self._looks = 0
        self.used_bytes = 0
        self.left_some = False
        """Whether the last look left orphans, because this process holds as many as it may."""
        self.remarks: list[str] = []
        """What a look found that somebody should hear of."""

    @property
    def room_bytes(self) -> int:
        """How many bytes the open segment may have, as far as room is claimed."""
        return self._claimed_bytes - self.used_bytes

    def ensure_owner(self) -> Owner:
        """Return this process's owner; make it, and the directory, where they are missing."""
        if self._owner is None or not self._owner.is_linked():
            again = self.owner_name
            if self._owner is not None:
                self._owner.close()
            self._owner = self.directory.create_owner(again, self._held)
            self._claimed_bytes = 0
        return self._owner

    def reserve(self, open_bytes: int) -> bool:
        """Claim room for an open segment of so many bytes; False if the spool is full."""
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

    def _total_bytes(self) -> int:
        claimed = owners.claimed_bytes(self.fs, self.directory.join(OWNERS))
        return claimed + self._set_aside_bytes

    def open(self, number: int) -> OpenSegment:
        """Make a segment of this process's own."""
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
        """Remove a segment that nothing was written to."""
        segment.close()
        self.remove(segment.path)

    def write_single(self, number: int, line: bytes) -> str:
        """Write a segment of one line, without touching anything that an open one needs.

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
        """This process's owner's name; empty while there is none."""
        return self._owner.name if self._owner is not None else ""

    def owner(self, name: str) -> Owner | None:
        """Return this process's owner, if that is its name."""
        owner = self._owner  # a log call may end it, and begin another
        return owner if owner is not None and owner.name == name else None

    def sync(self, path: str) -> None:
        """Have a sealed segment and its name written to the disk itself, if that is wanted."""
        if self.fsync == "segment":
            self.fs.sync(path)
            self.fs.sync(self.directory.path)

    def remove(self, path: str) -> bool:
        """Remove a segment; False if that failed and must be tried again."""
        try:
            self.fs.unlink(path)
        except FileNotFoundError:
            pass
        except unless_interrupt(OSError):
            return False
        return True

    def release_room(self, open_bytes: int) -> None:
        """Give back room that is claimed but no longer needed, so that others may have it."""
        need = self.used_bytes + open_bytes + self._chunk_bytes
        if self._owner is not None and self._claimed_bytes > need + 4 * self._chunk_bytes:
            self._claimed_bytes = need
            with Suppressed(OSError):
                self._owner.claim(need)
        self._full_until = 0.0

    def orphans(self, now: float) -> list[Orphan]:
        """Take over what dead processes left, the oldest first.

        Args:
            now: seconds since the epoch.

        Returns:
            Only those that nobody else holds; a part of them where there are very many, as
            `left_some` tells.
        """
        self._set_aside_bytes = self.directory.quarantined_bytes()
        self.left_some = False
        names = owners.list_owners(self.fs, self.directory.join(OWNERS))
        taken, untaken = self._take(names, now)
        if not self._looks and self.directory.foreign_names:
            shown = ", ".join(repr(name) for name in self.directory.foreign_names[:3])
            self.remarks.append(
                f"the spool's directory also holds what is not fslog's, and is not sent: {shown}"
            )
        self._looks += 1
        if not taken and self._looks % _STRAYS_EVERY != 1:
            return []
        self.directory.remove_stale_drafts(now)
        try:
            # Listed with their locks held: what is there now is all, and stays.
            segments = self.directory.segments()
            freed = self._free_places({name: untaken[name] for name in untaken & segments.keys()})
            strays, _ = self._take([*(segments.keys() - set(names)), *freed], now, make=True)
            if strays:
                taken += strays
                segments = self.directory.segments()
        except unless_interrupt(OSError):
            for owner in taken:
                del self._adopted[owner.name]
                owner.close()
            raise
        found = []
        for owner in taken:
            if owner.name in segments:
                with Suppressed(OSError):  # what the dead one claimed stays claimed
                    owner.claim(sum(size for _, size in segments[owner.name]))
                found.append(Orphan(owner, segments[owner.name]))
            else:
                self.end_orphan(owner)
        return sorted(found, key=lambda orphan: creation_order(orphan.owner.name))

    def has_room_for_orphans(self) -> bool:
        """Return whether a look could bring any, after one that may have left some."""
        return len(self._adopted) < _MAX_ORPHANS

    def _take(
        self, names: list[str], now: float, *, make: bool = False
    ) -> tuple[list[Owner], dict[str, OSError]]:
        """Return the owners that are ours now, and those that could not be looked at, and why."""
        # Made anew only for segments: one that ended since the listing must not be there again.
        taken: list[Owner] = []
        untaken: dict[str, OSError] = {}
        folder, digest = self.directory.join(OWNERS), self.directory.digest
        for name in sorted(names, key=creation_order):
            if name == self.owner_name or name in self._adopted:
                continue
            if not self.has_room_for_orphans():
                self.left_some = True
                break
            try:
                owner = owners.adopt(
                    self.fs, folder, name, digest, now, make=make, open_owners=self._held
                )
            except unless_interrupt(OSError) as error:  # the others are none the worse
                untaken[name] = error
                continue
            if owner is not None:
                self._adopted[owner.name] = owner
                taken.append(owner)
        return taken, untaken

    def _free_places(self, untaken: dict[str, OSError]) -> list[str]:
        """Move what is no file out of owners' places, and return whose segments it hid."""
        freed = []
        for name, error in untaken.items():
            if error.errno in _PASSING:
                continue
            try:
                moved_to = self.directory.clear_owner_path(name)
                if moved_to:
                    freed.append(name)
                    self.remarks.append(
                        f"{moved_to!r} stood in the place of an owner's file, and kept events from "
                        "being sent; it is no file of fslog's and can be removed"
                    )
                    continue
            except unless_interrupt(OSError) as other:
                error = other
            self.remarks.append(
                f"the events of {name}, a process that ended, wait, because its file in the "
                f"spool's {OWNERS}/ cannot be used: {error.strerror or error}"
            )
        return freed

    def end_orphan(self, owner: Owner) -> None:
        """End the ownership of an orphan whose segments are all gone."""
        self._adopted.pop(owner.name, None)
        owner.remove()

    def end(self) -> None:
        """End this process's ownership, because nothing of its own is on disk any more."""
        owner, self._owner = self._owner, None
        self._claimed_bytes = self.used_bytes = 0
        if owner is not None:
            owner.remove()

    def end_in_order(self, but: set[str]) -> None:
        """Have what was taken over, and is not delivered, count as not tried: the process ends.

        Args:
            but: the owners of what is being posted now, and may arrive all the same.
        """
        for owner in list(self._adopted.values()):
            if owner.name not in but:
                owner.restore_tries()

    def close_inherited(self) -> None:
        """Close what a fork copied, in the child: a lock is held as long as any copy is open."""
        for owner in list(self._held):
            owner.close()
