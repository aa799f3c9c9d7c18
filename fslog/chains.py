"""Segments of one owner that wait, and the batches that are made of them.

A chain holds three numbers for each segment, whatever that holds. A few segments at a time are
read; small ones travel together, a large one in pieces. A segment is removed when every event in
it was settled, and when a piece of it was, what is left of it takes its place on disk.
"""

from __future__ import annotations

import contextlib
import errno
from array import array
from collections.abc import Callable, Iterator

from fslog import wire
from fslog.batches import Batch
from fslog.segments import BadLine, Name, sort_lines
from fslog.spool import Orphan, Spool

_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR})
"""Errors that say nothing of the file: to be tried again."""

_FRESH_SECONDS = 60.0
"""How long a file that nobody changed is believed to hold what was written."""

Lost = Callable[[str, int], None]
"""Told why a segment cannot be read, and how many events of this process's own were in it."""


class File:
    """A segment whose events travel.

    Args:
        chain: that it belongs to.
        number: of the segment.
        size_bytes: as it was accounted for.
    """

    __slots__ = ("bad", "chain", "is_kept", "lines", "name", "parts", "path", "size_bytes")

    def __init__(self, chain: Chain, number: int, size_bytes: int) -> None:
        self.chain = chain
        self.name = Name(chain.owner, number)
        self.path = chain.path(number)
        self.size_bytes = size_bytes
        self.lines: list[bytes] = []
        self.bad: list[BadLine] = []
        self.is_kept = False  # what is bad in it could not be set aside by itself
        self.parts: list[Batch] = []

    def rest(self, encoding: str | None) -> Iterator[bytes]:
        """Yield the lines that are not settled, and those that could not be set aside."""
        if self.is_kept:
            yield from (line.text for line in self.bad if line.text.endswith(b"\n"))
        for batch in self.parts:
            lines = list(wire.lines_of(batch.text(encoding)))
            at = 0
            for file, count in batch.files:
                if file is self:
                    yield from lines[at : at + count]
                at += count
        if self.is_kept:  # the torn one is the last
            yield from (line.text for line in self.bad if not line.text.endswith(b"\n"))


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
        self._written_at_ns.append(written_at_ns)
        return True

    def read(self, most_bytes: int, now: float, lost: Lost) -> tuple[list[File], int | None]:
        """Read the next segments, one at least, and no more than travel together.

        Returns:
            The segments, and how many events they should hold; None for an orphan's.
        """
        files: list[File] = []
        total = expected = 0
        for at in range(self._at, len(self._numbers)):
            if files and total + self._sizes[at] > most_bytes:
                break
            files.append(self._read(at, now, lost))
            total += self._sizes[at]
            expected += self._events[at] if self.orphan is None else 0
        return files, expected if self.orphan is None else None

    def _read(self, at: int, now: float, lost: Lost) -> File:
        file = File(self, self._numbers[at], self._sizes[at])
        expected = self._events[at] if self.orphan is None else 0
        fs = self._spool.fs
        try:
            written_at_ns = fs.lstat(file.path).st_mtime_ns
            text = fs.read(file.path)
        except FileNotFoundError:
            lost("somebody removed it", expected)
            return file
        except OSError as error:
            if error.errno in _PASSING:
                raise
            file.is_kept = True
            lost(error.strerror or str(error), expected)
            return file
        fresh = 0 <= now - written_at_ns / 1e9 < _FRESH_SECONDS
        if fresh and self._is_untouched(at, text, written_at_ns):
            file.lines = text.splitlines(keepends=True)
            return file
        file.lines, file.bad = sort_lines(text)
        self._set_aside(file)
        return file

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
            except OSError:
                file.is_kept = True

    def forget(self, count: int) -> None:
        """Have so many segments, which were read, travel."""
        self.travelling += count
        self._at += count
        if self._at > 1000 and self._at * 2 > len(self._numbers):
            for column in (self._numbers, self._sizes, self._events, self._written_at_ns):
                del column[: self._at]
            self._at = 0

    def lower_claim(self, size_bytes: int) -> None:
        """Give back the room of an orphan's segment that is gone."""
        self._claim_bytes -= size_bytes
        if self.orphan is not None:
            self.orphan.tries = 0
            with contextlib.suppress(OSError):  # it claims too much until the next time
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
