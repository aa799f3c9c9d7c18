"""Segments of one owner that wait, and the batches that are made of them.

A chain holds four numbers for each segment, whatever that holds. A few segments at a time are
read, or a piece of a large one; small ones travel together. A segment is removed when every event
in it was settled; until then a mark in its owner's file says up to where that is so.
"""

from __future__ import annotations

import errno
import itertools
from array import array
from collections.abc import Callable, Iterator

from fslog.delivery.batches import Batch
from fslog.interrupts import Suppressed, unless_interrupt
from fslog.net import wire
from fslog.spool.filesystem import FileSystem
from fslog.spool.owners import SettledOffset
from fslog.spool.segments import RejectedLine, SegmentName, partition_lines
from fslog.spool.share import Orphan, Spool

_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR})
"""Errors that say nothing of the file: to be tried again."""

_FRESH_SECONDS = 60.0
"""How long a file that nobody changed is believed to hold what was written."""

_COPY_BYTES = 1 << 20

Lost = Callable[[str, int], None]
"""Told why a segment cannot be read, and how many events of this process's own were in it."""


class File:
    """A segment whose events travel, all of them or a piece at a time.

    The lines of a piece are settled in order, and before the next piece is read.

    Args:
        chain: that it belongs to.
        number: of the segment.
        size_bytes: as it was accounted for.
        events: how many this process has written to it; 0 for an orphan's.
    """

    __slots__ = (
        "at",
        "bad",
        "chain",
        "disk_bytes",
        "end",
        "ends",
        "events",
        "expected",
        "is_kept",
        "is_unreadable",
        "is_whole",
        "kept",
        "lines",
        "moved",
        "name",
        "parts",
        "path",
        "settled",
        "size_bytes",
    )

    def __init__(self, chain: Chain, number: int, size_bytes: int, events: int = 0) -> None:
        self.chain = chain
        self.name = SegmentName(chain.owner, number)
        self.path = chain.path(number)
        self.size_bytes = size_bytes
        self.events = events
        self.disk_bytes = size_bytes
        self.at: int | None = None  # where the next piece begins; None before the first was read
        self.moved = (
            0,
            0,
        )  # how large it is, and where the next piece begins, once it is shortened
        self.kept: list[RejectedLine] = []  # what could not be set aside by itself
        self.is_unreadable = False
        self.parts: list[Batch] = []
        self.settled = 0
        self.begin_piece()

    def begin_piece(self) -> None:
        """Forget what was read before, for the next piece."""
        self.lines: list[bytes] = []
        self.bad: list[RejectedLine] = []
        self.ends = array("Q")
        self.end = 0
        self.expected = 0
        self.is_kept = bool(self.kept) or self.is_unreadable
        self.is_whole = True

    def next_at(self, disk_bytes: int) -> int:
        """Return where the next piece begins, in a file that is so large."""
        if self.at is not None and disk_bytes == self.moved[0]:
            self.at, self.moved = self.moved[1], (0, 0)
        return self.at or 0

    def travels(self) -> None:
        """Take it that the piece which was read is on its way."""
        self.at, self.settled = self.end, 0
        self.events -= self.expected
        if self.is_kept:
            self.kept += self.bad

    def settle(self, batch: Batch, events: int) -> None:
        """Take it that a batch, which had so many of the lines, is settled."""
        self.parts.remove(batch)
        self.settled += events

    @property
    def settled_bytes(self) -> int:
        """Up to where all is settled, after some of it was."""
        return self.ends[self.settled - 1] if self.parts else self.at or 0

    def keep(self, line: RejectedLine) -> None:
        """Have a line stay in the segment, because it could not be set aside."""
        self.is_kept = True
        self.kept.append(line)

    def rest(self, fs: FileSystem, encoding: str | None) -> Iterator[bytes]:
        """Yield what is not settled, and what could not be set aside; the read part in one piece.

        What was not read yet comes after it.
        """
        head = [line.text for line in self.kept if line.text.endswith(b"\n")]
        for batch in self.parts:
            lines = list(wire.lines_of(batch.text(encoding)))
            at = 0
            for file, count in batch.files:
                if file is self:
                    head += lines[at : at + count]
                at += count
        yield b"".join(head)
        at = 0 if self.is_whole else self.next_at(fs.lstat(self.path).st_size)
        while not self.is_whole and (text := fs.read(self.path, at, _COPY_BYTES)):
            yield text
            at += len(text)
        # The torn one is the last.
        yield b"".join(line.text for line in self.kept if not line.text.endswith(b"\n"))


class Chain:
    """Name the segments of one owner, the oldest first.

    Args:
        spool: this process's share of the directory.
        owner: its own name there, or a dead one's.
        orphan: what the dead one left; None for this process's own.
    """

    def __init__(self, spool: Spool, owner: str, orphan: Orphan | None = None) -> None:
        self._spool = spool
        self.owner = owner
        self.orphan = orphan.owner if orphan is not None else None
        self.travelling = 0
        segments = orphan.segments if orphan is not None else []
        self._numbers = array("Q", [number for number, _ in segments])
        self._sizes = array("Q", [size for _, size in segments])
        self._events = array("L")
        self._written_at_ns = array("q")
        self._claim_bytes = sum(self._sizes)
        self._at = 0
        self._last = 0
        self._piece: File | None = None

    def __bool__(self) -> bool:
        return self._at < len(self._numbers)

    @property
    def settled(self) -> bool:
        """Whether no segment waits in it."""
        return not self

    @property
    def number(self) -> int:
        """The number of the next segment; 0 for an orphan's, older than all of our own."""
        return self._numbers[self._at] if self and self.orphan is None else 0

    def path(self, number: int) -> str:
        """Return the path of a segment."""
        return self._spool.path(self.owner, number)

    def push(self, number: int, events: int, size_bytes: int, written_at_ns: int) -> bool:
        """Add a segment of this process's own; False if it is there already."""
        if number == self._last:  # put twice, by an interrupted append
            return False
        self._last = number
        self._numbers.append(number)
        self._events.append(events)
        self._sizes.append(size_bytes)
        # A clock may be set beyond 2262, where nanoseconds need more than 64 bits: unknown, then.
        self._written_at_ns.append(written_at_ns if abs(written_at_ns) < 1 << 63 else 0)
        return True

    def read(
        self, most_events: int, most_bytes: int, now: float, lost: Lost
    ) -> tuple[list[File], int | None]:
        """Read the next segments, one at least, and no more bytes than travel together.

        A segment that has more is read a piece at a time, each one batch. Reading changes nothing:
        what was read is read again, unless `forget` is told of it.

        Returns:
            The segments, and how many events they should hold; None for an orphan's.
        """
        files: list[File] = []
        total = expected = 0
        for at in range(self._at, len(self._numbers)):
            if files and (total + self._sizes[at] > most_bytes or not files[-1].is_whole):
                break
            files.append(self._read(at, most_events, most_bytes, now, lost))
            total += self._sizes[at]
            expected += files[-1].expected
        return files, expected if self.orphan is None else None

    def _read(self, at: int, most_events: int, most_bytes: int, now: float, lost: Lost) -> File:
        file = self._piece
        if file is None:
            events = self._events[at] if self.orphan is None else 0
            file = File(self, self._numbers[at], self._sizes[at], events)
        file.begin_piece()
        file.expected = file.events
        fs = self._spool.fs
        try:
            found = fs.lstat(file.path)
            file.disk_bytes, written_at_ns = found.st_size, found.st_mtime_ns
            file.end = file.next_at(found.st_size)
            if file.at is None and self.orphan is not None:
                file.end = self.orphan.state.settled_bytes(file.name.number, found.st_size)
            text = self._piece_of(file, most_events, most_bytes)
        except FileNotFoundError:
            lost("somebody removed it", file.events)
            return file
        except unless_interrupt(OSError) as error:
            if error.errno in _PASSING:
                raise
            file.is_kept = file.is_unreadable = True
            lost(error.strerror or str(error), file.events)
            return file
        begin, file.end = file.end, file.end + len(text)
        fresh = 0 <= now - written_at_ns / 1e9 < _FRESH_SECONDS
        if fresh and not begin and self._is_untouched(at, text, written_at_ns):
            file.lines = text.splitlines(keepends=True)
            file.ends.extend(itertools.accumulate(map(len, file.lines)))
            return file
        file.lines, file.bad, file.ends = partition_lines(text, begin)
        if not file.is_whole:
            file.expected = min(file.events, len(file.lines))
        self._set_aside(file)
        return file

    def _piece_of(self, file: File, most_events: int, most_bytes: int) -> bytes:
        """Return whole lines, as many as fit, one at least; all that is left where that fits."""
        while True:
            # One byte more than is wanted tells whether there is more.
            text = self._spool.fs.read(file.path, file.end, most_bytes + 1)
            if len(text) <= most_bytes:
                return text
            *lines, beyond = text.split(b"\n", most_events)
            if lines:
                file.is_whole = False
                return text[: len(text) - len(beyond)]
            most_bytes *= 2

    def _is_untouched(self, at: int, text: bytes, written_at_ns: int) -> bool:
        return (
            self.orphan is None
            and written_at_ns == self._written_at_ns[at]
            and len(text) == self._sizes[at]
            and text.count(b"\n") == self._events[at]
        )

    def _set_aside(self, file: File) -> None:
        directory = self._spool.directory
        for line in file.bad:
            try:
                directory.quarantine(file.name.stem, str(line.offset), line.text, line.reason)
            except unless_interrupt(OSError):
                file.is_kept = True

    def forget(self, files: list[File]) -> None:
        """Have segments, which were read, travel; the next piece of the last one may be to come."""
        for file in files:
            file.travels()
        self._piece = None if not files or files[-1].is_whole else files[-1]
        count = len(files) - (self._piece is not None)
        self.travelling += count
        self._at += count
        if self._at > 1000 and self._at * 2 > len(self._numbers):
            for column in (self._numbers, self._sizes, self._events, self._written_at_ns):
                del column[: self._at]
            self._at = 0

    def mark(self, file: File) -> None:
        """Write down up to where a segment is settled: who comes after us begins there."""
        owner = self.orphan or self._spool.owner(self.owner)
        if owner is None:  # somebody removed its file
            return
        if owner.tries:
            owner.reset_tries()
            with Suppressed(OSError):
                owner.claim(self._claim_bytes)
        with Suppressed(OSError):  # it would be sent twice, not lost
            owner.write_offset(SettledOffset(file.name.number, file.settled_bytes, file.disk_bytes))

    def lower_claim(self, size_bytes: int) -> None:
        """Give back the room of an orphan's segment that is gone."""
        self._claim_bytes -= size_bytes
        if self.orphan is not None:
            self.orphan.reset_tries()
            with Suppressed(OSError):  # it claims too much until the next time
                self.orphan.claim(self._claim_bytes)


def cut(files: list[File], number: int, most_events: int, most_bytes: int) -> list[Batch]:
    """Make batches of the lines of some segments, in order.

    Args:
        files: as they were read; each is told of the batches that it is part of.
        number: that the batches bear.
        most_events, most_bytes: what a batch holds at the most; a single line may have more.
    """
    batches: list[Batch] = []
    lines: list[bytes] = []
    size = 0
    shares: list[tuple[File, int]] = []

    def close() -> None:
        nonlocal lines, size, shares
        if lines:
            batch = Batch(lines, size, number)
            batch.files = shares
            for file, _ in shares:
                file.parts.append(batch)
            batches.append(batch)
        lines, size, shares = [], 0, []

    for file in files:
        began = len(lines)
        for line in file.lines:
            if lines and (len(lines) >= most_events or size + len(line) > most_bytes):
                if len(lines) > began:
                    shares.append((file, len(lines) - began))
                close()
                began = 0
            lines.append(line)
            size += len(line)
        if len(lines) > began:
            shares.append((file, len(lines) - began))
        file.lines = []
    close()
    return batches


def divide(
    shares: list[tuple[File, int]], at: int
) -> tuple[list[tuple[File, int]], list[tuple[File, int]]]:
    """Return what the first `at` lines, and the others, have of each segment."""
    first: list[tuple[File, int]] = []
    second: list[tuple[File, int]] = []
    for file, count in shares:
        here = min(count, at)
        at -= here
        if here:
            first.append((file, here))
        if count > here:
            second.append((file, count - here))
    return first, second
