"""Segments that wait: reading, the batches made of them, adoption, removal.

A queue holds four numbers for each segment, however large that is. A few segments at a time are
read, or a piece of a large one; small ones are sent together. A segment is removed when every event
in it is settled; until then an offset in its owner's file records up to where that is so.

All of this runs in the thread that delivers.
"""

from __future__ import annotations

import errno
import itertools
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from fslog.delivery.notices import Notices
from fslog.delivery.store import EXPIRED, Accounts, Aside, Batch, Pending, Source
from fslog.interrupts import Suppressed, unless_interrupt
from fslog.net import wire
from fslog.spool.filesystem import FileSystem
from fslog.spool.forget import (
    Answer,
    Person,
    answer,
    count_in,
    lines_of,
    open_requests,
    rewrite,
)
from fslog.spool.owners import Owner, SettledOffset
from fslog.spool.segments import RejectedLine, SegmentName, creation_order, partition_lines
from fslog.spool.share import Orphan, SpoolShare

_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR})
"""Errors that are not about the file: reading it is tried again."""

_FRESH_SECONDS = 60.0
"""How long an unchanged file is trusted to hold what was written to it."""

_COPY_BYTES = 1 << 20

Lost = Callable[[str, int], None]
"""Reports why a segment cannot be read, and how many events of this process were in it."""


class LoadedSegment:
    """A segment whose events are being sent, all of them or a piece at a time.

    The lines of a piece are settled in order, and before the next piece is read.

    Args:
        queue: that it belongs to.
        number: of the segment.
        size_bytes: as it was accounted for.
        events: how many this process has written to it; 0 for an orphan's.
    """

    def __init__(self, queue: SegmentQueue, number: int, size_bytes: int, events: int = 0) -> None:
        self.queue = queue
        self.name: SegmentName = SegmentName(queue.owner, number)
        self.path: str = queue.path(number)
        self.size_bytes = size_bytes
        self.events: int = events
        self.disk_bytes = size_bytes
        self.at: int | None = None  # where the next piece begins; None before the first was read
        # Once it is shortened: how large it is, and where the next piece begins.
        self.moved: tuple[int, int] = (0, 0)
        self.kept: list[RejectedLine] = []  # what could not be quarantined
        self.is_expired = False
        self.written_at: float = 0.0
        self.is_unreadable = False
        self.batches: list[Batch] = []
        self.settled: int = 0
        self.begin_piece()

    def begin_piece(self) -> None:
        """Reset what was read, for the next piece."""
        self.lines: list[bytes] = []
        self.rejected: list[RejectedLine] = []
        self.aside: Aside = Aside()
        self.is_dropped = False  # the quarantine had no room for some of it
        self.ends: array[int] = array("Q")
        self.end = 0
        self.expected = 0
        self.is_kept: bool = bool(self.kept) or self.is_unreadable
        self.is_whole = True

    def next_at(self, disk_bytes: int) -> int:
        """Return where the next piece begins in a segment of that size."""
        if self.at is not None and disk_bytes == self.moved[0]:
            self.at, self.moved = self.moved[1], (0, 0)
        return self.at or 0

    def advance(self) -> None:
        """Continue after the piece that was read."""
        self.at, self.settled = self.end, 0
        self.events -= self.expected
        if self.is_kept:
            self.kept += self.rejected

    def settle(self, batch: Batch, events: int) -> None:
        """Record that a batch with some of the lines is settled."""
        self.batches.remove(batch)
        self.settled += events

    @property
    def settled_bytes(self) -> int:
        """The offset up to which everything is settled."""
        return self.ends[self.settled - 1] if self.batches else self.at or 0

    def keep(self, line: RejectedLine) -> None:
        """Keep a line in the segment, because it could not be quarantined."""
        self.is_kept = True
        self.kept.append(line)

    def unread_at(self, fs: FileSystem) -> int | None:
        """Return where the part begins that was not read yet; None if there is none."""
        return None if self.is_whole else self.next_at(fs.lstat(self.path).st_size)

    def rest(
        self, fs: FileSystem, encoding: str | None, person: Person | None = None
    ) -> Iterator[bytes]:
        """Yield what is not settled or could not be quarantined: first the part that was read.

        Args:
            person: whose lines are left out.
        """
        head = [line.text for line in self.kept if line.text.endswith(b"\n")]
        for batch in self.batches:
            lines = list(wire.lines_of(batch.text(encoding)))
            at = 0
            for segment, count in _shares(batch):
                if segment is self:
                    head += lines[at : at + count]
                at += count
        yield b"".join(head)
        begin = self.unread_at(fs)
        if begin is not None and person is not None:
            for line in lines_of(fs, self.path, begin):
                if not person.matches_line(line):
                    yield line
        elif begin is not None:
            while text := fs.read(self.path, begin, _COPY_BYTES):
                yield text
                begin += len(text)
        # A torn line is the last one.
        yield b"".join(line.text for line in self.kept if not line.text.endswith(b"\n"))


class SegmentQueue:
    """The segments of one owner, the oldest first.

    Args:
        share: this process's share of the directory.
        owner: its own name there, or an orphan's.
        orphan: what was adopted; None for this process's own segments.
    """

    def __init__(self, share: SpoolShare, owner: str, orphan: Orphan | None = None) -> None:
        self._share = share
        self.owner = owner
        self.orphan: Owner | None = orphan.owner if orphan is not None else None
        self.in_flight: int = 0
        segments = orphan.segments if orphan is not None else []
        self._numbers = array("Q", [number for number, _ in segments])
        self._sizes = array("Q", [size for _, size in segments])
        self._events = array("L")
        self._written_at_ns = array("q")
        self._claim_bytes = sum(self._sizes)
        self._at = 0
        self._piece: LoadedSegment | None = None

    def __len__(self) -> int:
        return len(self._numbers) - self._at

    @property
    def settled(self) -> bool:
        """Whether no segment waits in it."""
        return not self

    @property
    def is_adopted(self) -> bool:
        """Whether another process wrote the segments."""
        return self.orphan is not None

    @property
    def age(self) -> Any:
        """A sort key that orders queues by the creation of their owners, the earliest first."""
        return creation_order(self.owner)

    @property
    def number(self) -> int:
        """The number of the next segment; 0 for an orphan's, older than all own segments."""
        return self._numbers[self._at] if self and self.orphan is None else 0

    def path(self, number: int) -> str:
        """Return the path of a segment."""
        return self._share.path(self.owner, number)

    def push(self, number: int, events: int, size_bytes: int, written_at_ns: int) -> None:
        """Append a segment of this process's own."""
        self._numbers.append(number)
        self._events.append(events)
        self._sizes.append(size_bytes)
        # A clock may be set beyond 2262, where nanoseconds need more than 64 bits: unknown, then.
        self._written_at_ns.append(written_at_ns if abs(written_at_ns) < 1 << 63 else 0)

    def read(
        self, most_events: int, most_bytes: int, now: float, lost: Lost, used_bytes: int = 0
    ) -> tuple[list[LoadedSegment], int | None]:
        """Read the next segments, and no more bytes than are sent together.

        A larger segment is read a piece at a time, each one batch. Reading changes nothing: the
        same is read again until `advance` is called.

        Args:
            most_events, most_bytes: what is sent together.
            now: seconds since the epoch.
            lost: reports a segment that cannot be read.
            used_bytes: how much of `most_bytes` other queues have filled; 0 reads at least one
                segment.

        Returns:
            The segments, and how many events they should hold; None for an orphan's.
        """
        segments: list[LoadedSegment] = []
        total, expected = used_bytes, 0
        for at in range(self._at, len(self._numbers)):
            if total and total + self._sizes[at] > most_bytes:
                break
            if segments and not segments[-1].is_whole:
                break
            segments.append(self._read(at, most_events, most_bytes, now, lost))
            total += self._sizes[at]
            expected += segments[-1].expected
        return segments, expected if self.orphan is None else None

    def starts_expired(self, now: float) -> bool:
        """Return whether what is read next is too old to be sent."""
        if not self or self._share.max_age is None:
            return False
        if self._piece is not None:
            return self._piece.is_expired
        try:
            found = self._share.fs.lstat(self.path(self._numbers[self._at]))
        except unless_interrupt(OSError):  # it is reported when its turn comes
            return False
        return self._share.is_expired(found.st_mtime, now)

    def read_one(self, most_events: int, most_bytes: int, now: float, lost: Lost) -> LoadedSegment:
        """Read the next segment, or a piece of it, as `read` does."""
        return self._read(self._at, most_events, most_bytes, now, lost)

    def _read(
        self, at: int, most_events: int, most_bytes: int, now: float, lost: Lost
    ) -> LoadedSegment:
        segment = self._piece
        if segment is None:
            events = self._events[at] if self.orphan is None else 0
            segment = LoadedSegment(self, self._numbers[at], self._sizes[at], events)
        segment.begin_piece()
        segment.expected = segment.events
        fs = self._share.fs
        try:
            found = fs.lstat(segment.path)
            segment.disk_bytes, written_at_ns = found.st_size, found.st_mtime_ns
            segment.written_at = written_at_ns / 1e9
            segment.end = segment.next_at(found.st_size)
            if segment.at is None and self.orphan is not None:
                segment.end = self.orphan.state.settled_bytes(segment.name.number, found.st_size)
            text = self._piece_of(segment, most_events, most_bytes)
        except FileNotFoundError:
            lost("somebody removed it", segment.events)
            return segment
        except unless_interrupt(OSError) as error:
            if error.errno in _PASSING:
                raise
            segment.is_kept = segment.is_unreadable = True
            lost(error.strerror or str(error), segment.events)
            return segment
        begin, segment.end = segment.end, segment.end + len(text)
        if text and (segment.is_expired or self._share.is_expired(segment.written_at, now)):
            self._expire(segment, begin, text)
            return segment
        fresh = 0 <= now - written_at_ns / 1e9 < _FRESH_SECONDS
        if fresh and not begin and self._is_untouched(at, text, written_at_ns):
            segment.lines = text.splitlines(keepends=True)
            segment.ends.extend(itertools.accumulate(map(len, segment.lines)))
            return segment
        segment.lines, segment.rejected, segment.ends = partition_lines(text, begin)
        if not segment.is_whole:
            segment.expected = min(segment.events, len(segment.lines))
        self._quarantine(segment)
        return segment

    def _piece_of(self, segment: LoadedSegment, most_events: int, most_bytes: int) -> bytes:
        """Return whole lines, as many as fit but at least one; all that is left if that fits."""
        while True:
            # One more byte than wanted shows whether there is more.
            text = self._share.fs.read(segment.path, segment.end, most_bytes + 1)
            if len(text) <= most_bytes:
                return text
            *lines, beyond = text.split(b"\n", most_events)
            if lines:
                segment.is_whole = False
                return text[: len(text) - len(beyond)]
            most_bytes *= 2

    def _is_untouched(self, at: int, text: bytes, written_at_ns: int) -> bool:
        return (
            self.orphan is None
            and written_at_ns == self._written_at_ns[at]
            and len(text) == self._sizes[at]
            and text.count(b"\n") == self._events[at]
        )

    def _expire(self, segment: LoadedSegment, begin: int, text: bytes) -> None:
        """Quarantine a whole piece. What follows it in its segment expires with it."""
        segment.is_expired = True
        events = sum(bool(line.strip()) for line in text.split(b"\n")[:-1])
        if not segment.is_whole:
            segment.expected = min(segment.events, events)
        segment.rejected = [RejectedLine(begin, text, EXPIRED)]
        self._quarantine(segment)
        is_kept = bool(segment.rejected)
        segment.aside = Aside(expired=events, kept=events if is_kept else 0)

    def _quarantine(self, segment: LoadedSegment) -> None:
        """Quarantine what is rejected, or drop it from `rejected` if the quarantine is full."""
        kept = []
        for line in segment.rejected:
            try:
                if not self._share.quarantine(
                    segment.name.stem, str(line.offset), line.text, line.reason
                ):
                    segment.is_dropped = True
                    continue
            except unless_interrupt(OSError):
                segment.is_kept = True
            kept.append(line)
        # An orphan's torn line is not an event: its log call had not returned.
        counted = [line for line in segment.rejected if self._counts(line)]
        segment.aside = Aside(rejected=len(counted), kept=sum(map(self._counts, kept)))
        segment.rejected = kept

    def _counts(self, line: RejectedLine) -> bool:
        return self.orphan is None or line.text.endswith(b"\n")

    def forget(self, person: Person) -> tuple[int, int, bool]:
        """Remove a person's lines from the segments that were not read yet.

        Returns:
            How many were removed, for how many of them this process accounts, and whether none is
            left.
        """
        removed = own = 0
        is_complete = True
        for at in range(self._at + (self._piece is not None), len(self._numbers)):
            path, begin = self.path(self._numbers[at]), 0
            try:
                if self.orphan is not None:
                    size_bytes = self._share.fs.lstat(path).st_size
                    begin = self.orphan.state.settled_bytes(self._numbers[at], size_bytes)
                count = rewrite(self._share.directory, path, person, begin)
            except FileNotFoundError:
                continue
            except unless_interrupt(OSError):
                is_complete = False
                continue
            removed += count
            if count and self.orphan is None:
                fewer = min(count, self._events[at])
                self._events[at] -= fewer
                own += fewer
        return removed, own, is_complete

    @property
    def piece(self) -> LoadedSegment | None:
        """The segment of which the next piece is read."""
        return self._piece

    def advance(self, segments: list[LoadedSegment]) -> None:
        """Continue after segments that were read, or after the piece of the last one."""
        for segment in segments:
            segment.advance()
        self._piece = None if not segments or segments[-1].is_whole else segments[-1]
        count = len(segments) - (self._piece is not None)
        self.in_flight += count
        self._at += count
        if self._at > 1000 and self._at * 2 > len(self._numbers):
            for column in (self._numbers, self._sizes, self._events, self._written_at_ns):
                del column[: self._at]
            self._at = 0

    def record_offset(self, segment: LoadedSegment) -> None:
        """Record up to where a segment is settled: a process that adopts it starts there."""
        owner = self.orphan or self._share.owner(self.owner)
        if owner is None:  # its file was removed
            return
        if owner.tries:
            owner.reset_tries()
            with Suppressed(OSError):
                owner.claim(self._claim_bytes)
        with Suppressed(OSError):  # it would be sent twice, not lost
            owner.write_offset(
                SettledOffset(segment.name.number, segment.settled_bytes, segment.disk_bytes)
            )

    def lower_claim(self, size_bytes: int) -> None:
        """Release the room of an orphan's segment that was removed."""
        self._claim_bytes -= size_bytes
        if self.orphan is not None:
            self.orphan.reset_tries()
            with Suppressed(OSError):  # it claims too much until the next time
                self.orphan.claim(self._claim_bytes)


class SharesOfSegments:
    """What a batch occupies on disk: a number of lines of each of some segments.

    Args:
        shares: segments and how many of their lines, in order.
        done: called for each segment when the batch is settled.
    """

    def __init__(
        self, shares: list[tuple[LoadedSegment, int]], done: Callable[[LoadedSegment], None]
    ) -> None:
        self.shares = shares
        self._done = done

    @property
    def is_adopted(self) -> bool:
        """Whether another process wrote some of it."""
        return any(segment.queue.is_adopted for segment, _ in self.shares)

    def release(self, batch: Batch) -> None:
        """Settle the batch's lines; remove the segments that are settled completely."""
        for segment, count in self.shares:
            segment.settle(batch, count)
            self._done(segment)

    def divide(self, batch: Batch, halves: list[Batch]) -> None:
        """Give each half its lines of the same segments."""
        divided = divide(self.shares, halves[0].events)
        for half, shares in zip(halves, divided, strict=True):
            half.stored = SharesOfSegments(shares, self._done)
        for segment, _ in self.shares:
            at = segment.batches.index(batch)
            segment.batches[at : at + 1] = [
                half for half in halves if any(segment is other for other, _ in _shares(half))
            ]


def _shares(batch: Batch) -> list[tuple[LoadedSegment, int]]:
    return batch.stored.shares if isinstance(batch.stored, SharesOfSegments) else []


def batches_of(
    segments: list[LoadedSegment],
    number: int,
    most_events: int,
    most_bytes: int,
    done: Callable[[LoadedSegment], None],
) -> list[Batch]:
    """Make batches of the lines of some segments, in order.

    Args:
        segments: as they were read; the batches are added to each.
        number: of the batches.
        most_events, most_bytes: what a batch holds at most; a single line may have more.
        done: called for each segment of a batch that is settled.
    """
    batches: list[Batch] = []
    lines: list[bytes] = []
    size = 0
    shares: list[tuple[LoadedSegment, int]] = []

    def close() -> None:
        nonlocal lines, size, shares
        if lines:
            batch = Batch(lines, size, number)
            batch.stored = SharesOfSegments(shares, done)
            for segment, _ in shares:
                segment.batches.append(batch)
            batches.append(batch)
        lines, size, shares = [], 0, []

    for segment in segments:
        began = len(lines)
        for line in segment.lines:
            if lines and (len(lines) >= most_events or size + len(line) > most_bytes):
                if len(lines) > began:
                    shares.append((segment, len(lines) - began))
                close()
                began = 0
            lines.append(line)
            size += len(line)
        if len(lines) > began:
            shares.append((segment, len(lines) - began))
        segment.lines = []
    close()
    return batches


def divide(
    shares: list[tuple[LoadedSegment, int]], at: int
) -> tuple[list[tuple[LoadedSegment, int]], list[tuple[LoadedSegment, int]]]:
    """Divide shares into those of the first `at` lines and those of the others."""
    first: list[tuple[LoadedSegment, int]] = []
    second: list[tuple[LoadedSegment, int]] = []
    for segment, count in shares:
        here = min(count, at)
        at -= here
        if here:
            first.append((segment, here))
        if count > here:
            second.append((segment, count - here))
    return first, second


class Limits(NamedTuple):
    """What a batch that is read back holds at most, and how it becomes a body."""

    batch_events: int
    batch_bytes: int
    encoding: str | None
    level: int
    aggregate: float | None = None


class DiskSource(Source):
    """What waits in a spool's directory; `Source` documents the methods.

    Args:
        share: this process's share of the directory.
        accounts: counts what is pending.
        limits: of the batches that are made of segments.
        notices: reports what went wrong.
        now: seconds since the epoch, as files' times are.
    """

    adopts = reads_back = True

    def __init__(
        self,
        share: SpoolShare,
        accounts: Accounts,
        limits: Limits,
        notices: Notices,
        now: Callable[[], float],
    ) -> None:
        self._share = share
        self._accounts = accounts
        self._limits = limits
        self._notices = notices
        self._now = now
        self._pending_removals: list[LoadedSegment] = []
        self._requests: dict[str, Person] = {}
        self._answered: set[str] = set()

    def enqueue(self, sealed: Any, waiting: deque[Any]) -> None:
        """Append a `StoredBatch` to the queue of its owner, unless it is there already."""
        if sealed.segment is not None:
            sealed.segment.close()
        if sealed.is_queued:  # enqueued twice, by an interrupted append
            return
        last = waiting[-1] if waiting else None
        is_last = isinstance(last, SegmentQueue) and not last.is_adopted
        if last is None or not is_last or last.owner != sealed.owner:
            last = SegmentQueue(self._share, sealed.owner)
            waiting.append(last)
        last.push(sealed.number, sealed.events, sealed.encoded_bytes, sealed.written_at_ns)
        sealed.is_queued = True
        try:
            self._share.sync(last.path(sealed.number))
        except unless_interrupt(OSError) as error:
            self._notices.spool_failed(error)

    def load(self, waiting: deque[Any], loaded: deque[Batch]) -> None:
        """Read the next segments, and append their batches."""
        found, expected = self._read(waiting)
        self._load(list(zip(waiting, found, strict=False)), expected, loaded)

    def _load(
        self,
        found: list[tuple[SegmentQueue, list[LoadedSegment]]],
        expected: int | None,
        loaded: deque[Batch],
    ) -> None:
        events, size_bytes, encoding, level, aggregate = self._limits
        segments = [segment for _, read in found for segment in read]
        batches = batches_of(segments, found[0][0].number, events, size_bytes, self._done)
        for batch in batches:
            self._notices.names.sample(batch.lines)
            batch.pack(encoding, level, aggregate)
        aside = Aside(*map(sum, zip(*(segment.aside for segment in segments), strict=True)))
        self._accounts.load(batches, expected, aside)
        for queue, read in found:
            queue.advance(read)
        loaded.extend(batches)
        for segment in segments:
            self._report_aside(segment)
            if not segment.batches:
                self._done(segment)

    def _report_aside(self, segment: LoadedSegment) -> None:
        if segment.is_dropped:
            self._notices.quarantine_full(self._share.quarantine_max_bytes)
        if segment.aside.expired:
            self._notices.expired()
        elif segment.rejected:
            self._notices.quarantined(len(segment.rejected), segment.rejected[0].reason)

    def _read(self, waiting: deque[Any]) -> tuple[list[list[LoadedSegment]], int | None]:
        """Read segments of the first queue and, if they are an orphan's, of orphans after it.

        Processes that end soon leave one small segment each: as many as fit in one batch are sent
        together. A segment is not divided for that: an owner's file has room for two offsets.

        Returns:
            The segments of each queue, and how many events they should hold; None for orphans'.
        """
        found: list[list[LoadedSegment]] = []
        events = used_bytes = 0
        expected: int | None = None
        for queue in waiting:
            if found and not queue.is_adopted:
                break
            segments, expected = queue.read(
                self._limits.batch_events,
                self._limits.batch_bytes,
                self._now(),
                self._notices.unreadable,
                used_bytes,
            )
            events += sum(len(segment.lines) for segment in segments)
            if found and events > self._limits.batch_events:
                break  # reading has changed nothing
            found.append(segments)
            used_bytes += sum(segment.size_bytes for segment in segments)
            is_complete = len(segments) == len(queue) and all(one.is_whole for one in segments)
            if not (queue.is_adopted and is_complete):
                break
        return found, expected

    def _done(self, segment: LoadedSegment) -> None:
        """Remove a segment, or record on disk up to where it is settled."""
        if not segment.batches and segment.is_whole:
            self._remove(segment)
        elif segment.is_kept:
            self._rewrite_rest(segment)
        else:
            segment.queue.record_offset(segment)

    def _rewrite_rest(self, segment: LoadedSegment, person: Person | None = None) -> bool:
        """Leave on disk only what is not settled, because an offset cannot express it.

        Args:
            person: whose lines are left out.

        Returns:
            Whether it could be written.
        """
        sizes: list[int] = []
        is_written = False

        def rest() -> Iterator[bytes]:
            for text in segment.rest(self._share.fs, self._limits.encoding, person):
                sizes.append(len(text))
                yield text

        with Suppressed(OSError):  # a full disk: it would be sent twice, not lost
            is_synced = self._share.fsync != "never" or person is not None
            self._share.directory.write(segment.path, rest(), is_synced=is_synced)
            is_written = True
        if sizes:  # whether it took effect is seen when the file is read next
            segment.moved = sum(sizes), sizes[0]
        return is_written

    def _remove(self, segment: LoadedSegment) -> None:
        if self._finish_removal(segment):
            self._removed(segment)
        else:
            self._pending_removals.append(segment)

    def _removed(self, segment: LoadedSegment) -> None:
        queue = segment.queue
        queue.in_flight -= 1
        if queue.orphan is None:
            self._accounts.removed(segment.size_bytes)
            return
        queue.lower_claim(segment.size_bytes)
        if not queue and not queue.in_flight:
            self._share.end_orphan(queue.orphan)

    def _finish_removal(self, segment: LoadedSegment) -> bool:
        """Quarantine a settled segment's rejected lines and remove it; False to try again later.

        Until then this process keeps its lock, so that no other one sends it again.
        """
        if not segment.is_kept:
            return self._share.remove(segment.path)
        directory = self._share.directory
        try:
            for line in segment.kept:
                directory.quarantine(segment.name.stem, str(line.offset), line.text, line.reason)
            if segment.is_unreadable:
                directory.quarantine_file(segment.name, "it could not be read")
                return True
        except unless_interrupt(OSError):
            if not segment.is_unreadable:
                self._rewrite_rest(segment)
            return False
        return self._share.remove(segment.path)

    def retry_removals(self) -> None:
        segments, self._pending_removals = self._pending_removals, []
        for segment in segments:
            self._remove(segment)

    def quarantine(self, batch: Batch, reason: str) -> bool:
        shares = _shares(batch)
        stem = shares[0][0].name.stem if shares else f"memory-{batch.number:08d}"
        text = batch.text(self._limits.encoding)
        if reason == EXPIRED:
            self._notices.expired()
        try:
            if not self._share.quarantine(stem, "refused", text, reason):
                self._notices.quarantine_full(self._share.quarantine_max_bytes)
                return False
        except unless_interrupt(OSError) as error:
            self._notices.spool_failed(error)
            for segment, _ in shares:  # it stays in its segment until it can be quarantined
                segment.keep(RejectedLine(0, text, reason))
            return bool(shares)
        return True

    def is_expired(self, batch: Batch) -> bool:
        shares, now = _shares(batch), self._now()
        return bool(shares) and all(
            self._share.is_expired(segment.written_at, now) for segment, _ in shares
        )

    def expire(self, waiting: deque[Any], loaded: deque[Batch]) -> None:
        if self._share.max_age is None:
            return
        events, size_bytes = self._limits[:2]
        for queue in list(waiting):
            while isinstance(queue, SegmentQueue) and queue.starts_expired(self._now()):
                found = queue.read_one(events, size_bytes, self._now(), self._notices.unreadable)
                self._load([(queue, [found])], found.expected if not queue.orphan else None, loaded)

    def is_asked_to_forget(self) -> bool:
        self._requests = open_requests(self._share.directory, self._answered)
        return bool(self._requests)

    def forget(self, waiting: deque[Any], loaded: deque[Batch]) -> None:
        self.retry_removals()
        for token, person in self._requests.items():
            removed, is_complete = self._forget(person, waiting, loaded)
            self._answered.add(token)
            with Suppressed(OSError):  # it is reported that this process has not answered
                names = self._share.owner_names()
                answer(self._share.directory, token, Answer(names, removed, is_complete))
        self._requests = {}

    def _forget(
        self, person: Person, waiting: deque[Any], loaded: deque[Batch]
    ) -> tuple[int, bool]:
        """Remove a person's events; return how many, and whether none is left."""
        removed, is_complete = 0, True
        queues = [one for one in waiting if isinstance(one, SegmentQueue)]
        segments = {id(one.piece): one.piece for one in queues if one.piece is not None}
        for batch in (*loaded, *(one for one in waiting if isinstance(one, Batch))):
            segments |= {id(segment): segment for segment, _ in _shares(batch)}
        touched: dict[int, LoadedSegment] = {}
        for batch in (*loaded, *(one for one in waiting if isinstance(one, Batch))):
            if not batch.settled:
                removed += self._forget_in(batch, person, touched)
        for key, segment in segments.items():
            count, is_done = self._forget_unread(segment, person, is_touched=key in touched)
            removed, is_complete = removed + count, is_complete and is_done
        for queue in queues:
            count, own, is_done = queue.forget(person)
            self._accounts.lose(own)
            removed, is_complete = removed + count, is_complete and is_done
        if removed:
            with Suppressed(OSError):
                self._share.fs.sync(self._share.directory.path)
        return removed, is_complete and not self._pending_removals

    def _forget_in(self, batch: Batch, person: Person, touched: dict[int, LoadedSegment]) -> int:
        """Remove a person's lines from a batch in memory; return how many.

        Args:
            touched: the segments that have to be rewritten; some are added.
        """
        encoding, level, aggregate = self._limits[2:]
        lines = list(wire.lines_of(batch.text(encoding)))
        kept = person.others(lines)
        if len(kept) == len(lines):
            return 0
        shares: list[tuple[LoadedSegment, int]] = []
        at = 0
        for segment, count in _shares(batch):
            shares.append((segment, len(person.others(lines[at : at + count]))))
            at += count
            if shares[-1][1] < count:
                segment.is_kept = True  # an offset cannot express it
                touched[id(segment)] = segment
        if kept:
            rest = Batch(kept, sum(map(len, kept)), batch.number)
            rest.stored = SharesOfSegments(shares, self._done) if shares else None
            if batch.body is not None:
                rest.pack(encoding, level, aggregate)
            self._accounts.shorten(batch, rest)
        else:
            self._accounts.settle(batch, delivered=False)
            if batch.stored is not None:
                batch.stored.release(batch)
        return len(lines) - len(kept)

    def _forget_unread(
        self, segment: LoadedSegment, person: Person, *, is_touched: bool
    ) -> tuple[int, bool]:
        """Remove a person's lines from the file of a segment of which a part was read.

        Returns:
            How many were in the part that was not read, and whether none is left.
        """
        if segment.is_whole and not segment.batches:  # it was removed with its last event
            return 0, True
        fs = self._share.fs
        kept = person.others(line.text for line in segment.kept)
        is_touched |= len(kept) < len(segment.kept)
        segment.kept = [line for line in segment.kept if line.text in kept]
        try:
            at = segment.unread_at(fs)
            count = 0 if at is None else count_in(fs, segment.path, person, at)
        except FileNotFoundError:  # somebody removed it
            return 0, True
        except unless_interrupt(OSError):
            return 0, False
        if not count and not is_touched:
            return 0, True
        segment.is_kept = True
        if not self._rewrite_rest(segment, person):
            return 0, False
        if segment.queue.orphan is None:
            own = min(count, segment.events)
            segment.events -= own
            self._accounts.lose(own)
        return count, True

    def can_adopt(self) -> bool:
        return self._share.left_some and self._share.has_room_for_orphans()

    def adopt(self) -> list[Pending]:
        """Return the segments of owners that have died, the oldest owner first."""
        self._report_space()
        try:
            orphans = self._share.orphans(self._now())
        except unless_interrupt(OSError):
            # No directory, or no descriptors left; reported when a line cannot be written.
            return []
        while self._share.remarks:
            self._notices.unexpected(self._share.remarks.pop(0))
        if orphans:
            self._notices.adopted(sum(len(orphan.segments) for orphan in orphans))
        return [SegmentQueue(self._share, orphan.owner.name, orphan) for orphan in orphans]

    def _report_space(self) -> None:
        shortage = self._share.check_space()
        if not shortage:
            self._notices.enough()
        elif self._notices.is_first("low"):
            self._notices.low(shortage)

    def end(self, under_way: Batch | None, *, is_exclusive: bool) -> None:
        if not is_exclusive:
            self.retry_removals()
            shares = _shares(under_way) if under_way is not None else []
            self._share.restore_tries({segment.queue.owner for segment, _ in shares})
        self._accounts.end_store(is_exclusive=is_exclusive)
