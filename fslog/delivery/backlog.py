"""What waits to be posted, the oldest first, and which of it is next.

Only the thread that delivers touches it. Without a spool it is the sealed batches, compressed.
With one it is also the names of segments, own ones and those of dead processes, which are read
back a batch at a time: a backlog of any length takes next to no memory.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from fslog.delivery.batches import Batch, Batches
from fslog.delivery.notices import Notices
from fslog.interrupts import Suppressed, unless_interrupt
from fslog.spool.reader import Chain, File, cut, divide
from fslog.spool.segments import RejectedLine, creation_order
from fslog.spool.share import Spool
from fslog.spool.writer import Sealed, SpooledBatches

LOOK_SECONDS = 10.0
"""How often a process looks for the orphans of others."""


class Backlog:
    """Keep batches in order until each is settled.

    Args:
        batches: accounts for them.
        encoding, level: how bodies are compressed.
    """

    look_at: float | None = None
    """When it wants to look for orphans; None for never."""

    is_doubtful = False
    """Whether some of what is pending may wait where only the next process looks."""

    def __init__(self, batches: Batches, encoding: str | None, level: int) -> None:
        self._batches = batches
        self._encoding = encoding
        self._level = level
        self._waiting: deque[Any] = deque()
        self._loaded: deque[Batch] = deque()

    def __bool__(self) -> bool:
        return bool(self._loaded or self._waiting)

    def add(self, item: Any) -> None:
        """Take a sealed batch from the queue."""
        if item.is_queued or item.settled:  # put twice, by an interrupted append
            return
        # In this order: interrupted in between it stands here twice, and is posted once.
        self._waiting.append(item)
        item.is_queued = True
        self._batches.pack(item, self._encoding, self._level)

    def head(self) -> Batch | None:
        """Return the batch to be posted now, packed; None when nothing waits."""
        while True:
            while self._loaded and self._loaded[0].settled:  # abandoned meanwhile
                self._loaded.popleft()
            if not self._loaded and not self._load():
                return None
            if self._loaded and not self._loaded[0].settled:
                batch = self._loaded[0]
                if batch.body is None:  # there was no memory for it before
                    self._batches.pack(batch, self._encoding, self._level)
                return batch

    def _load(self) -> bool:
        """Bring the next batches forward; False when there are none."""
        if not self._waiting:
            return False
        # In this order: interrupted in between it stands here twice, and is posted once.
        self._loaded.append(self._waiting[0])
        self._waiting.popleft()
        return True

    def delivered(self) -> None:
        """Account for the head, which the endpoint has."""
        self._batches.settle(self._loaded[0], delivered=True)
        self._loaded.popleft()

    def abandon(self, reason: str) -> bool:
        """Give the head up; True if it is set aside on disk instead of lost."""
        self._batches.settle(self._loaded[0], delivered=False)
        self._loaded.popleft()
        return False

    def split(self) -> None:
        """Replace the head by its halves."""
        batch = self._loaded[0]
        halves = batch.halves(self._encoding, self._level)
        self._loaded.extendleft([*reversed(halves), batch])
        del self._loaded[len(halves) + 1]
        self._batches.replace(batch, halves)
        self._loaded.popleft()

    def oldest(self) -> int | None:
        """Return the number of the oldest batch that is not settled; None when there is none."""
        for item in itertools.chain(self._loaded, self._waiting):
            if not item.settled:
                return int(item.number)
        return None

    def interrupted(self) -> None:
        """Note that an exception out of a signal handler broke into a step."""

    def look(self) -> None:
        """Look for orphans, if it is time."""

    def last_look(self) -> None:
        """Look for orphans now, because the process ends."""

    def end(self, *, is_exclusive: bool = False) -> None:
        """Let go of what is held on disk, where nothing is pending.

        Args:
            is_exclusive: whether the caller sees to it that no append is under way.
        """


class SpooledBacklog(Backlog):
    """Keep batches in order, in memory or on disk, until each is settled.

    Args:
        spool: this process's share of the directory.
        batches: accounts for them.
        batch_events, batch_bytes: what travels together at the most.
        notices: told of what went wrong.
        clock: monotonic seconds.
        now: seconds since the epoch, as files' times are.
        is_forked: whether to leave the first look, and the last one, to the parent. Children often
            end in the middle of a POST, and what they had adopted would be sent again and again.
    """

    _batches: SpooledBatches

    def __init__(
        self,
        spool: Spool,
        batches: SpooledBatches,
        encoding: str | None,
        level: int,
        *,
        batch_events: int,
        batch_bytes: int,
        notices: Notices,
        clock: Callable[[], float],
        now: Callable[[], float],
        is_forked: bool = False,
    ) -> None:
        super().__init__(batches, encoding, level)
        self._spool = spool
        self._limits = (batch_events, batch_bytes)
        self._notices = notices
        self._clock = clock
        self._now = now
        self._unmended: list[File] = []
        self._posted: Batch | None = None
        self._is_forked = is_forked
        self.look_at = clock() + (LOOK_SECONDS if is_forked else 0.0)

    def add(self, item: Any) -> None:
        """Take a sealed batch, or the name of one, from the queue."""
        if not isinstance(item, Sealed):
            super().add(item)
            return
        if item.segment is not None:
            item.segment.close()
        last = self._waiting[-1] if self._waiting else None
        if not isinstance(last, Chain) or last.owner != item.owner or last.orphan is not None:
            last = Chain(self._spool, item.owner)
            self._waiting.append(last)
        if last.push(item.number, item.events, item.encoded_bytes, item.written_at_ns):
            try:
                self._spool.sync(last.path(item.number))
            except unless_interrupt(OSError) as error:
                self._notices.spool_failed(error)

    def head(self) -> Batch | None:
        """Return the batch to be posted now, as `Backlog` does."""
        self._posted = super().head()
        return self._posted

    def oldest(self) -> int | None:
        """Return the number of the oldest batch, as `Backlog` does; asked after each POST."""
        self._posted = None
        return super().oldest()

    def _load(self) -> bool:
        if self._wants_more():
            self._take_over()  # older than what is ours: it goes first
        if not self._waiting or not isinstance(self._waiting[0], Chain):
            return super()._load()
        chain = self._waiting[0]
        if not chain:
            self._waiting.popleft()
            self._end(chain)
            return True
        number = chain.number
        files, expected = chain.read(*self._limits, self._now(), self._notices.unreadable)
        batches = cut(files, number, *self._limits)
        for batch in batches:
            batch.pack(self._encoding, self._level)
        self._batches.load(batches, expected)
        chain.forget(files)
        self._loaded.extend(batches)
        for file in files:
            if file.bad:
                self._notices.quarantined(len(file.bad), file.bad[0].reason)
            if not file.parts:
                self._done(file)
        return True

    def delivered(self) -> None:
        """Account for the head, which the endpoint has, and remove its segments."""
        batch = self._loaded[0]
        super().delivered()
        self._release(batch)

    def _release(self, batch: Batch) -> None:
        for file, count in batch.files:
            file.settle(batch, count)
            self._done(file)

    def _done(self, file: File) -> None:
        """Remove a segment, or have it said on disk up to where it is settled."""
        if not file.parts and file.is_whole:
            self._remove(file)
        elif file.is_kept:
            self._shorten(file)
        else:
            file.chain.mark(file)

    def _shorten(self, file: File) -> None:
        """Leave on disk only what is not settled, where that is not all behind one place."""
        sizes: list[int] = []

        def rest() -> Iterator[bytes]:
            for text in file.rest(self._spool.fs, self._encoding):
                sizes.append(len(text))
                yield text

        with Suppressed(OSError):  # a full disk: it would be sent twice, not lost
            is_synced = self._spool.fsync != "never"
            self._spool.directory.write(file.path, rest(), is_synced=is_synced)
        if sizes:  # the next look at the file tells whether it took effect
            file.moved = sum(sizes), sizes[0]

    def _remove(self, file: File) -> None:
        if self._mend(file):
            self._removed(file)
        else:
            self._unmended.append(file)

    def _removed(self, file: File) -> None:
        chain = file.chain
        chain.travelling -= 1
        if chain.orphan is None:
            self._batches.removed(file.size_bytes)
        else:
            chain.lower_claim(file.size_bytes)
        self._end(chain)

    def _mend(self, file: File) -> bool:
        """Remove a segment that is done, what is bad in it set aside; False to try again later.

        Until then it stays ours: nobody else is to send again what was delivered.
        """
        if not file.is_kept:
            return self._spool.remove(file.path)
        directory = self._spool.directory
        try:
            for line in file.kept:
                directory.quarantine(file.name.stem, str(line.offset), line.text, line.reason)
            if file.is_unreadable:
                directory.quarantine_file(file.name, "it could not be read")
                return True
        except unless_interrupt(OSError):
            if file.is_unreadable:
                return False
            self._shorten(file)
            return False
        return self._spool.remove(file.path)

    def _mend_all(self) -> None:
        files, self._unmended = self._unmended, []
        for file in files:
            self._remove(file)

    def _end(self, chain: Chain) -> None:
        if chain.orphan is not None and not chain and not chain.travelling:
            self._spool.end_orphan(chain.orphan)

    def abandon(self, reason: str) -> bool:
        """Set the head, a single event, aside in the quarantine; False if it is lost."""
        batch = self._loaded[0]
        is_kept = self._set_aside(batch, reason)
        super().abandon(reason)
        self._release(batch)
        return is_kept

    def _set_aside(self, batch: Batch, reason: str) -> bool:
        stem = batch.files[0][0].name.stem if batch.files else f"memory-{batch.number:08d}"
        try:
            self._spool.directory.quarantine(stem, "refused", batch.text(self._encoding), reason)
        except unless_interrupt(OSError) as error:
            self._notices.spool_failed(error)
            for file, _ in batch.files:  # it stays where it is, and is set aside when that works
                file.keep(RejectedLine(0, batch.text(self._encoding), reason))
            return bool(batch.files)
        return True

    def split(self) -> None:
        """Replace the head by its halves, which have their shares of the same segments."""
        batch = self._loaded[0]
        if batch.settled:
            return
        super().split()
        halves = [self._loaded[0], self._loaded[1]]
        for half, shares in zip(halves, divide(batch.files, halves[0].events), strict=True):
            half.files = shares
        for file, _ in batch.files:
            at = file.parts.index(batch)
            file.parts[at : at + 1] = [
                half for half in halves if any(file is other for other, _ in half.files)
            ]

    def interrupted(self) -> None:
        """Note it: a segment that was being read stays on disk, for the next process."""
        self.is_doubtful = True

    def look(self) -> None:
        """Take over what dead processes left, if it is time."""
        if self.look_at is None or self._clock() < self.look_at:
            return
        self.look_at = self._clock() + LOOK_SECONDS
        self._mend_all()
        self._take_over()

    def _wants_more(self) -> bool:
        """Return whether the last look left orphans that can be taken over now, as none wait."""
        is_possible = self._spool.left_some and self._spool.has_room_for_orphans()
        return is_possible and not self._is_orphaned()

    def _is_orphaned(self) -> bool:
        """Return whether what waits begins with a dead process's."""
        first = self._waiting[0] if self._waiting else None
        return isinstance(first, Chain) and first.orphan is not None

    def _take_over(self) -> None:
        """Put what dead processes left before all that is this process's own, the oldest first."""
        try:
            orphans = self._spool.orphans(self._now())
        except unless_interrupt(OSError):
            # No directory, or no descriptors left; said where a line cannot be written.
            return
        while self._spool.remarks:
            self._notices.remark(self._spool.remarks.pop(0))
        if not orphans:
            return
        chains = [Chain(self._spool, orphan.owner.name, orphan) for orphan in orphans]
        if self._loaded and not any(f.chain.orphan for f, _ in self._loaded[0].files):
            # Read, and perhaps tried, but not delivered: no POST is under way during a look.
            self._waiting.extendleft(reversed(self._loaded))
            self._loaded.clear()
        while self._is_orphaned():
            chains.append(self._waiting.popleft())
        self._waiting.extendleft(
            sorted(chains, key=lambda c: creation_order(c.owner), reverse=True)
        )
        self._notices.adopted(sum(len(orphan.segments) for orphan in orphans))

    def last_look(self) -> None:
        """Look for orphans now, because the process ends."""
        if not self._is_forked:
            self.look_at = self._clock()
            self.look()

    def end(self, *, is_exclusive: bool = False) -> None:
        """End the ownership of segments that are all gone."""
        if not is_exclusive:
            self._mend_all()
            batch = self._posted
            under_way = {file.chain.owner for file, _ in batch.files} if batch else set()
            self._spool.end_in_order(under_way)
        self._batches.end_spool(is_exclusive=is_exclusive)
