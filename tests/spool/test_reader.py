"""Waiting segments, the batches made of them, and what remains of them on disk."""

from __future__ import annotations

import errno
import itertools
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fslog.delivery.store import Batch
from fslog.spool.reader import LoadedSegment, SegmentQueue, batches_of, divide
from fslog.spool.segments import SegmentName, owner_name
from fslog.spool.share import Orphan
from spools import Share, failing, line, quarantined, segments, shares

OWNER = owner_name(1, "0" * 8)
MOST = 10**6


class Watching:
    """A queue of a share's own segments, with the segments that it reported as unreadable."""

    def __init__(self, share: Share) -> None:
        self.share = share
        self.fs = share.watched
        self.lost: list[tuple[str, int]] = []
        self.queue = SegmentQueue(share, share.ensure_owner().name)
        self.now: float | None = None

    def push(self, *lines: bytes) -> str:
        """Write a segment and add it; return its path."""
        name = self.share.write(*lines)
        path = self.share.directory.join(name)
        written_at_ns = os.stat(path).st_mtime_ns
        size = sum(map(len, lines))
        self.queue.push(self.share.last, len(lines), size, written_at_ns)
        return path

    def read(
        self, most_bytes: int = MOST, now: float | None = None
    ) -> tuple[list[LoadedSegment], Any]:
        """Read the next segments, of files that are a second old."""
        if now is None:
            times = [os.stat(self.share.where / n).st_mtime for n in segments(self.share.where)]
            now = max(times, default=0.0) + 1
        return self.queue.read(MOST, most_bytes, now, lambda *told: self.lost.append(told))


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Watching]:
    with shares(tmp_path, 1) as [share]:
        yield Watching(share)


def orphan_queue(share: Share) -> SegmentQueue:
    """Return a queue of the only orphan."""
    [orphan] = share.look()
    return SegmentQueue(share, orphan.owner.name, orphan)


def test_small_segments_are_read_together(watching: Watching) -> None:
    """As many as fit, at least one, in order, with the number of expected events."""
    for number in range(5):
        watching.push(line(number))
    size = len(line(1))
    files, expected = watching.read(3 * size)
    assert [file.lines for file in files] == [[line(0)], [line(1)], [line(2)]]
    assert expected == 3
    watching.queue.advance(files)
    assert (watching.queue.number, watching.queue.in_flight) == (4, 3)
    files, expected = watching.read(1)
    assert [file.lines for file in files] == [[line(3)]]
    watching.queue.advance(files)
    assert bool(watching.queue)
    assert not watching.queue.settled
    files, _ = watching.read()
    watching.queue.advance(files)
    assert not watching.queue
    assert watching.queue.settled
    assert watching.queue.number == 0
    assert watching.read() == ([], 0)


def test_a_clock_far_in_the_future(watching: Watching) -> None:
    """File systems have times for which 64 bits of nanoseconds do not suffice."""
    name = watching.share.write(line(1))
    watching.queue.push(1, 1, len(line(1)), 10_000_000_000 * 10**9)
    [file] = watching.read()[0]
    assert (file.path, file.lines) == (watching.share.directory.join(name), [line(1)])


def test_a_fresh_segment_is_not_checked(watching: Watching) -> None:
    """If it is unchanged since it was written, its lines are not parsed."""
    watching.push(b"not even JSON\n")
    [file] = watching.read()[0]
    assert file.lines == [b"not even JSON\n"]
    assert quarantined(watching.share.where) == {}


@pytest.mark.parametrize("how", ["old", "from the future", "changed", "touched", "longer"])
def test_a_segment_that_may_have_changed_is_checked(how: str, watching: Watching) -> None:
    """After a minute, a change of the clock, or with another time or size: lines are parsed."""
    path = watching.push(b"garbled\n", line(1))
    at = os.stat(path)
    now = at.st_mtime + 1
    if how == "old":
        now = at.st_mtime + 61
    elif how == "from the future":
        now = at.st_mtime - 3600
    elif how == "touched":
        os.utime(path, ns=(at.st_mtime_ns, at.st_mtime_ns + 1))
    else:
        with open(path, "ab" if how == "longer" else "r+b") as file:
            file.write(b"torn" if how == "longer" else b"mangled\n")
        if how == "longer":
            os.utime(path, ns=(at.st_mtime_ns, at.st_mtime_ns))
        else:
            os.utime(path, ns=(at.st_mtime_ns, at.st_mtime_ns + 10**7))
    [found] = watching.read(now=now)[0]
    assert found.lines == [line(1)]
    assert [one.offset for one in found.rejected][:1] == [0]
    assert len(found.rejected) == (2 if how == "longer" else 1)
    assert len(quarantined(watching.share.where)) == 2 * len(found.rejected)
    assert not found.is_kept


def test_an_orphans_segments_are_always_checked(tmp_path: Path) -> None:
    """A dead process may have left a torn line a moment ago."""
    with shares(tmp_path, 2) as [dead, share]:
        name = dead.write(line(1), b'{"torn')
        dead.die()
        queue = orphan_queue(share)
        assert queue.number == 0
        files, expected = queue.read(
            MOST, MOST, os.stat(tmp_path / name).st_mtime, lambda *told: None
        )
        assert expected is None
        assert [file.lines for file in files] == [[line(1)]]
        assert quarantined(tmp_path)[f"{name[:-7]}-{len(line(1))}.ndjson"] == b'{"torn'


def test_a_missing_segment_is_counted(watching: Watching) -> None:
    """The others are read; its number of events is reported, unless it is an orphan's."""
    paths = [watching.push(line(1), line(2)), watching.push(line(3))]
    os.unlink(paths[0])
    files, expected = watching.read()
    assert [file.lines for file in files] == [[], [line(3)]]
    assert expected == 3
    assert watching.lost == [("somebody removed it", 2)]
    assert not files[0].is_kept


@pytest.mark.parametrize("kind", ["link", "FIFO", "directory", "unreadable"])
def test_a_segment_that_is_not_a_file_is_not_read(kind: str, watching: Watching) -> None:
    """A link is not followed, a FIFO not waited for; it is kept, and the next one read."""
    path = watching.push(line(1))
    watching.push(line(2))
    os.unlink(path)
    if kind == "link":
        os.symlink("/etc/hostname", path)
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "directory":
        os.mkdir(path)
    else:
        Path(path).touch()
        watching.fs.hooks["read"] = failing(errno.EIO, where=path)
    files, _ = watching.read()
    assert [file.lines for file in files] == [[], [line(2)]]
    assert [file.is_kept for file in files] == [True, False]
    [(reason, events)] = watching.lost
    assert reason
    assert events == 1


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR])
def test_a_passing_error_is_retried(number: int, watching: Watching) -> None:
    """Too many open files are not an error of the segment."""
    watching.push(line(1))
    watching.fs.hooks["read"] = failing(number, 1)
    with pytest.raises(OSError, match=os.strerror(number)):
        watching.read()
    assert watching.lost == []
    assert [file.lines for file in watching.read()[0]] == [[line(1)]]


def test_lines_that_cannot_be_quarantined_stay(watching: Watching) -> None:
    """The segment is kept; its events are sent all the same."""
    watching.push(b"garbled\n", line(1))
    watching.fs.hooks["create"] = failing(errno.ENOSPC)
    [file] = watching.read(now=10.0**12)[0]
    assert (file.lines, file.is_kept) == ([line(1)], True)


def test_room_of_an_orphan_is_released_piece_by_piece(tmp_path: Path) -> None:
    """Each removed segment lowers the claim; own segments have no claim of their own."""
    with shares(tmp_path, 2) as [dead, share]:
        for _ in range(2):
            dead.write(line(1))
        dead.die()
        queue = orphan_queue(share)
        assert share.claims() >= 2 * len(line(1))
        queue.lower_claim(len(line(1)))
        assert share.claims() == len(line(1))
        SegmentQueue(share, "own").lower_claim(5)
        assert share.claims() == len(line(1))


def test_a_queue_discards_what_was_read(watching: Watching) -> None:
    """It keeps only the waiting segments, in order, however many pass through it."""
    queue = watching.queue
    for number in range(1, 5001):
        queue.push(number, 1, 10, 0)
    seen = []
    while queue:
        seen.append(queue.number)
        queue.advance([LoadedSegment(queue, queue.number, 10)])
    assert seen == list(range(1, 5001))
    assert len(queue._numbers) < 2002
    queue.push(5001, 1, 10, 0)
    assert queue.number == 5001


def held_bytes(make: Any) -> int:
    """Return how much memory an object needs that a function returns."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = make()
        after = tracemalloc.get_traced_memory()[0]
        assert kept is not None
        return after - before
    finally:
        tracemalloc.stop()


def test_own_segments_need_little_memory(watching: Watching) -> None:
    """A hundred thousand of them: numbers, no lines, less than 10 MB."""

    def make() -> SegmentQueue:
        for number in range(1, 100_001):
            watching.queue.push(number, 5000, 10**6 + number, 10**18 + number)
        return watching.queue

    assert held_bytes(make) < 10_000_000


@pytest.mark.slow
def test_orphaned_segments_need_little_memory(tmp_path: Path) -> None:
    """A hundred thousand: the list of the adoption is not kept beside them, less than 10 MB."""
    with shares(tmp_path, 2) as [dead, share]:
        name = dead.ensure_owner().name
        dead.die()

        def sizes(path: str) -> Iterator[tuple[str, int, float]]:
            if path == str(tmp_path):
                for number in range(1, 100_001):
                    yield str(SegmentName(name, number)), 10**6 + number, 1.0

        share.watched.hooks["sizes"] = sizes

        def make() -> SegmentQueue:
            [orphan] = share.look()
            return SegmentQueue(share, orphan.owner.name, orphan)

        assert held_bytes(make) < 10_000_000


def file_of(share: Share, number: int, lines: list[bytes]) -> LoadedSegment:
    """Return a segment as if it had been read."""
    file = LoadedSegment(SegmentQueue(share, OWNER), number, sum(map(len, lines)))
    file.lines = lines
    return file


def shares_of(batch: Batch) -> list[tuple[LoadedSegment, int]]:
    """Return a batch's number of lines of each segment."""
    stored: Any = batch.stored
    return list(stored.shares)


def done(segment: LoadedSegment) -> None:
    """Do nothing with a settled segment."""


LINES = st.lists(st.binary(min_size=1, max_size=20).map(lambda text: text.hex().encode() + b"\n"))


@given(st.lists(LINES, max_size=8), st.integers(1, 7), st.integers(1, 100))
def test_batches_of_segments(
    contents: list[list[bytes]], most_events: int, most_bytes: int
) -> None:
    """All lines once, in order; full batches within the limits, with the right shares."""
    share = Share(Path("/nowhere"))
    files = [file_of(share, number, list(lines)) for number, lines in enumerate(contents, 1)]
    batches = batches_of(files, 7, most_events, most_bytes, done)
    assert [one for batch in batches for one in batch.lines] == [*itertools.chain(*contents)]
    for batch in batches:
        assert batch.number == 7
        assert batch.encoded_bytes == sum(map(len, batch.lines))
        assert 1 <= batch.events <= most_events
        assert batch.encoded_bytes <= most_bytes or batch.events == 1
        assert sum(count for _, count in shares_of(batch)) == batch.events
        assert all(count > 0 for _, count in shares_of(batch))
        assert all(batch in file.batches for file, _ in shares_of(batch))
    for batch, following in itertools.pairwise(batches):
        bytes_then = batch.encoded_bytes + len(following.lines[0])
        assert batch.events == most_events or bytes_then > most_bytes
    for batch in batches:
        batch.pack("deflate", 1)
    for file, lines in zip(files, contents, strict=True):
        counts = [n for batch in batches for other, n in shares_of(batch) if other is file]
        assert sum(counts) == len(lines)
        assert len(file.batches) == len(counts)
        assert b"".join(file.rest(share.fs, "deflate")) == b"".join(lines)
        assert file.lines == []


def test_the_rest_of_a_segment(tmp_path: Path) -> None:
    """It has the lines of unsettled batches, without those of other segments."""
    with shares(tmp_path, 1) as [share]:
        first = file_of(share, 1, [line(1)])
        second = file_of(share, 2, [line(n) for n in range(2, 8)])
        batches = batches_of([first, second], 1, 3, MOST, done)
        assert [batch.events for batch in batches] == [3, 3, 1]
        for batch in batches:
            batch.pack("gzip", 6)
        second.batches.remove(batches[1])
        assert b"".join(second.rest(share.fs, "gzip")) == line(2) + line(3) + line(7)
        assert b"".join(first.rest(share.fs, "gzip")) == line(1)


@given(st.lists(st.integers(1, 5), max_size=6), st.integers(0, 30))
def test_shares_are_divided_by_lines(counts: list[int], at: int) -> None:
    """The shares of the first lines and of the others add up to the whole."""
    share = Share(Path("/nowhere"))
    every = [(file_of(share, n, []), count) for n, count in enumerate(counts)]
    flat = [file for file, count in every for _ in range(count)]
    first, second = divide(every, at)
    assert [file for file, count in first for _ in range(count)] == flat[:at]
    assert [file for file, count in second for _ in range(count)] == flat[at:]
    assert all(count > 0 for _, count in first + second)


def test_an_orphan_has_no_number_among_own_segments(tmp_path: Path) -> None:
    """Its queue starts with its first segment."""
    with shares(tmp_path, 1) as [share]:
        queue = SegmentQueue(share, OWNER, Orphan(share.ensure_owner(), [(4, 10), (9, 20)]))
        assert (queue.number, bool(queue), queue.in_flight) == (0, True, 0)
        assert queue.path(4) == str(tmp_path / f"{OWNER}-00000004.ndjson")
