"""The store of a handler with a spool: a line is on disk before its log call returns.

The open batch is the open segment: each line is written to it, and only counted in memory. A
sealed one is a name and four numbers; `fslog.spool.reader` reads it back when its turn comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from fslog.config import Settings
from fslog.delivery.notices import Notices
from fslog.delivery.store import Accounts, Batch, OpenBatch, Sealed, Store
from fslog.interrupts import Suppressed
from fslog.net import wire
from fslog.spool.directory import SpoolDirectory
from fslog.spool.reader import DiskSource, Limits
from fslog.spool.share import OpenSegment, SpoolShare


class StoredBatch:
    """A sealed batch that waits on disk.

    Args:
        owner: of the segment.
        number: of the batch and of the segment.
        events: how many lines were written.
        encoded_bytes: their size.
        written_at_ns: when the file was last changed; 0 if that is unknown.
        segment: still to be closed.
    """

    held_bytes = 0

    def __init__(
        self,
        owner: str,
        number: int,
        events: int,
        encoded_bytes: int,
        written_at_ns: int = 0,
        segment: OpenSegment | None = None,
    ) -> None:
        self.owner = owner
        self.number = number
        self.events = events
        self.encoded_bytes = encoded_bytes
        self.written_at_ns = written_at_ns
        self.segment = segment
        self.is_queued = False

    @property
    def stored_bytes(self) -> int:
        """What it occupies on disk."""
        return self.encoded_bytes


class DiskBatch(OpenBatch):
    """An open batch whose lines are written to a segment; `OpenBatch` documents the methods.

    Args:
        number: of the batch and of the segment.
        share: of the spool's directory.
        segment: open.
    """

    bound = "spool_max_bytes"

    def __init__(self, number: int, share: SpoolShare, segment: OpenSegment) -> None:
        # It is as safe open as sealed, unless sealing is what makes it so.
        super().__init__(number, may_stay_open=share.fsync != "segment")
        self._share = share
        self._segment = segment
        self.write: Callable[[bytes], None] = segment.write

    def room_bytes(self, free_bytes: int) -> int:
        return self._share.room_bytes

    def extend(self, encoded_bytes: int, free_bytes: int) -> bool:
        return encoded_bytes <= self._share.room_bytes or self._share.reserve(encoded_bytes)

    def seal(self, lines: list[bytes], encoded_bytes: int) -> Sealed:
        """Return a batch that waits on disk."""
        rescued = self._segment.rescued()
        if rescued is not None:  # somebody removed the file: only the open descriptor still has it
            return Batch(list(wire.lines_of(rescued)), len(rescued), self.number)
        return StoredBatch(
            self._share.owner_name,
            self.number,
            len(lines),
            encoded_bytes,
            self._segment.written_at_ns(),
            self._segment,
        )

    def close(self) -> None:
        self._segment.close()

    def discard(self) -> None:
        self._share.discard(self._segment)


class DiskStore(Store):
    """Hold lines in segments of this process's own; `Store` documents the methods.

    Args:
        share: of the spool's directory.
        limits: how much is read back at a time, and how it becomes a body.
    """

    bound: str = DiskBatch.bound
    is_durable = True

    def __init__(self, share: SpoolShare, limits: Limits) -> None:
        self._share = share
        self._limits = limits

    @classmethod
    def of(
        cls,
        directory: SpoolDirectory,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> DiskStore:
        """Return the store of a handler, with a new share of the directory for this process."""
        share = SpoolShare(
            directory,
            max_bytes=settings.spool_max_bytes,
            fsync=settings.spool_fsync,
            chunk_bytes=settings.batch_bytes,
            clock=clock,
            min_free=settings.spool_min_free,
            max_age=settings.spool_max_age,
        )
        limits = Limits(
            settings.batch_events,
            settings.batch_bytes,
            settings.compression,
            settings.compression_level,
            settings.aggregate,
        )
        return cls(share, limits)

    @property
    def used_bytes(self) -> int:
        return self._share.used_bytes

    @used_bytes.setter
    def used_bytes(self, used_bytes: int) -> None:
        self._share.used_bytes = used_bytes

    def prepare(self) -> bool:
        """Keep processes with other keys away; return whether segments wait, or no room is."""
        with Suppressed(OSError, ValueError):  # it was possible a moment ago
            self._share.ensure_owner()
        return self._share.directory.has_segments() or bool(self._share.check_space())

    def open(self, number: int, size_bytes: int, unused: OpenBatch | None) -> OpenBatch | None:
        if not self._share.reserve(size_bytes):
            return None
        return unused or DiskBatch(number, self._share, self._share.open(number))

    def write_alone(self, number: int, line: bytes) -> StoredBatch:
        """Write a segment of one line.

        Raises:
            OSError: nothing was written.
        """
        return StoredBatch(self._share.write_single(number, line), number, 1, len(line))

    def write_during_shutdown(self, number: int, line: bytes) -> bool:
        try:
            self._share.ensure_owner()
            self._share.write_single(number, line)
        except Exception:  # the disk, or a module that is already cleared
            return False
        return True

    def release_room(self, open_bytes: int) -> None:
        self._share.release_room(open_bytes)

    def shortage(self) -> str:
        return self._share.shortage

    def is_followed(self) -> bool:
        return self._share.directory.is_followed()

    def use_keys(self, digest: str, locked: Callable[[Callable[[], object]], object]) -> None:
        self._share.directory.digest = digest
        locked(lambda: self._share.use_keys(digest))
        with Suppressed(OSError, ValueError):  # the next owner that is created writes it
            self._share.directory.write_marker()

    def end(self) -> None:
        self._share.end()

    def close_inherited(self) -> None:
        self._share.close_inherited()

    def usage(self, now: float) -> Mapping[str, Any]:
        return self._share.directory.usage(now)

    def source(self, accounts: Accounts, notices: Notices, now: Callable[[], float]) -> DiskSource:
        return DiskSource(self._share, accounts, self._limits, notices, now)
