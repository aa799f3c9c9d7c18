"""The backlog: the order of batches, and what happens to each segment and its owner."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fslog.collector import Answer, Collector
from fslog.delivery.backlog import ADOPT_SECONDS, Backlog
from fslog.delivery.buffer import Buffer
from fslog.delivery.queue import WakeQueue
from fslog.delivery.store import Batch
from fslog.spool.segments import SegmentName, owner_name, parse_name
from spools import (
    SIZE,
    Process,
    failing,
    handler,
    line,
    numbers_of,
    on_disk,
    processes,
    quarantined,
    record,
    recover,
    segments,
)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    with processes(tmp_path) as [made]:
        yield made


def head(process: Process) -> list[int]:
    """Return the numbers of the events of the next batch."""
    batch = process.backlog.head()
    return [] if batch is None else numbers_of(batch.text("deflate"))


def logged(process: Process, *numbers: int) -> None:
    """Log the lines of one segment."""
    process.log(*numbers)
    process.buffer.seal()
    process.take()


def died(path: Path, *batches: list[int], bad: bytes = b"") -> str:
    """Leave the segments of a killed process; return the name of the last one."""
    with processes(path) as [process]:
        for numbers in batches:
            logged(process, *numbers)
        name = [n for n in segments(path) if n.startswith(process.share.owner_name)][-1]
        with open(path / name, "ab") as file:
            file.write(bad)
        return name


def test_memory_batches_wait_in_order() -> None:
    """Without a spool the backlog has batches, each packed when it arrives and only once."""
    items = WakeQueue()
    batches = Buffer(
        items,
        lambda: True,
        batch_events=1,
        batch_bytes=10_000,
        buffer_bytes=100_000,
        clock=lambda: 0.0,
    )
    backlog = Backlog(batches, "deflate", 6)
    assert not backlog
    assert backlog.head() is None
    assert (backlog.oldest(), backlog.adopt_at) == (None, None)
    for number in range(3):
        batches.append(line(number))
    found = [items.get_nowait() for _ in range(3)]
    for batch in found:
        backlog.add(batch)
        backlog.add(batch)
    batches.settle(found[1], delivered=False)
    backlog.add(found[1])
    assert bool(backlog)
    assert backlog.oldest() == 1
    assert backlog.head() is found[0]
    backlog.delivered()
    assert backlog.oldest() == 3
    assert backlog.head() is found[2]
    assert backlog.abandon("why") is False
    backlog.adopt_if_due()
    backlog.end()
    assert backlog.head() is None
    counts = batches.counts()
    assert (counts["delivered"], counts["abandoned"], counts["pending"]) == (1, 2, 0)


def test_a_batch_without_memory_is_packed_later() -> None:
    """If there was no memory to pack it, it is packed before it is posted."""
    items = WakeQueue()
    limits = {"batch_events": 1, "batch_bytes": 10_000, "buffer_bytes": 100_000}
    batches = Buffer(items, lambda: True, clock=lambda: 0.0, **limits)
    backlog = Backlog(batches, "deflate", 6)
    batches.append(line(1))
    batch: Batch = items.get_nowait()
    with pytest.MonkeyPatch.context() as patch:

        def no_memory(*given: Any) -> None:
            raise MemoryError

        patch.setattr(Batch, "pack", no_memory)
        with pytest.raises(MemoryError):
            backlog.add(batch)
    assert batch.body is None
    assert backlog.head() is batch
    assert numbers_of(batch.text("deflate")) == [1]
    assert batch.body is not None


def test_memory_and_disk_keep_one_order(process: Process) -> None:
    """Events logged while the disk failed are sent between the earlier and the later ones."""
    logged(process, 1, 2)
    process.fs.hooks["create"] = failing(errno.ENOSPC)
    logged(process, 3)
    process.fs.hooks.clear()
    logged(process, 4)
    assert process.backlog.oldest() == 1
    assert process.post() == [1, 2, 3, 4]
    assert process.counts("accepted", "delivered", "pending") == [4, 4, 0]


def test_a_segment_is_removed_only_after_its_delivery(process: Process, tmp_path: Path) -> None:
    """Reading, packing and a failed POST leave it on disk; its delivery removes only it."""
    with_batches = [[1, 2], [3]]
    for numbers in with_batches:
        logged(process, *numbers)
    process.read_at_most(2, 10_000)
    assert head(process) == [1, 2]
    assert head(process) == [1, 2]
    assert on_disk(tmp_path) == [1, 2, 3]
    process.backlog.delivered()
    assert on_disk(tmp_path) == [3]
    assert head(process) == [3]
    process.backlog.delivered()
    assert on_disk(tmp_path) == []


def test_a_delivered_piece_is_not_sent_again(process: Process, tmp_path: Path) -> None:
    """After a kill the next process sends only the rest of the segment."""
    process.read_at_most(2, 10_000)
    logged(process, 1, 2, 3, 4, 5)
    assert head(process) == [1, 2]
    process.backlog.delivered()
    assert on_disk(tmp_path) == [3, 4, 5]
    assert head(process) == [3, 4]
    process.backlog.delivered()
    assert on_disk(tmp_path) == [5]
    process.die()
    assert recover(tmp_path) == [5]


def test_only_the_rest_of_a_split_segment_is_sent(process: Process, tmp_path: Path) -> None:
    """413, half delivered, 413, a quarter delivered, killed: only the rest is sent again."""
    logged(process, *range(8))
    assert head(process) == list(range(8))
    process.backlog.split()
    assert head(process) == [0, 1, 2, 3]
    process.backlog.delivered()
    assert on_disk(tmp_path) == [4, 5, 6, 7]
    process.backlog.split() if head(process) else None
    assert head(process) == [4, 5]
    process.backlog.delivered()
    assert on_disk(tmp_path) == [6, 7]
    assert process.counts("delivered", "pending") == [6, 2]
    process.die()
    assert recover(tmp_path) == [6, 7]


def test_a_split_across_segments(process: Process, tmp_path: Path) -> None:
    """Halves of a batch of three small segments: each is removed after its last event."""
    for numbers in ([1], [2, 3, 4], [5]):
        logged(process, *numbers)
    assert head(process) == [1, 2, 3, 4, 5]
    process.backlog.split()
    assert head(process) == [1, 2]
    process.backlog.delivered()
    assert on_disk(tmp_path) == [3, 4, 5]
    assert len(segments(tmp_path)) == 2
    assert process.post() == [3, 4, 5]
    assert segments(tmp_path) == []
    assert process.share.used_bytes == 0
    assert process.counts("delivered", "pending") == [5, 0]


def test_a_settled_offset_that_cannot_be_written(process: Process, tmp_path: Path) -> None:
    """On a full disk nothing is lost: after a kill it is sent twice, otherwise once."""
    logged(process, 1, 2)
    head(process)
    process.backlog.split()
    process.fs.hooks["write_at"] = failing(errno.ENOSPC)
    head(process)
    process.backlog.delivered()
    assert on_disk(tmp_path) == [1, 2]
    assert process.post() == [2]
    assert segments(tmp_path) == []


def test_delivered_pieces_do_not_rewrite_a_segment(process: Process, tmp_path: Path) -> None:
    """One small write in place for each; the segment is unchanged until all is delivered."""
    logged(process, *range(8))
    head(process)
    process.backlog.split()
    process.fs.calls.clear()
    process.backlog.delivered()
    assert process.fs.names("write", "write_at", "write_at_start", "replace") == ["write_at"]
    assert on_disk(tmp_path) == [4, 5, 6, 7]
    [name] = segments(tmp_path)
    assert len((tmp_path / name).read_bytes()) == 8 * SIZE


@pytest.mark.parametrize(("fsync", "synced"), [("never", 0), ("segment", 1), ("line", 1)])
def test_a_rewritten_segment_is_synced_as_a_sealed_one(
    fsync: str, synced: int, tmp_path: Path
) -> None:
    """If a refused event stays, the new file is synced before it replaces the segment."""
    with processes(tmp_path, share={"fsync": fsync}) as [process]:
        logged(process, 1, 2)
        head(process)
        process.backlog.split()
        head(process)
        (tmp_path / "quarantine").touch()
        assert process.backlog.abandon("why") is True
        process.fs.calls.clear()
        stored: Any = process.backlog._loaded[0].stored
        process.source._rewrite_rest(stored.shares[0][0])
        assert process.fs.names("fsync", "replace") == ["fsync"] * synced + ["replace"]
        assert on_disk(tmp_path) == [1, 2]


def test_sealed_segments_are_synced_if_configured(tmp_path: Path) -> None:
    """Each once, file and name; a failure is reported, and the events stay."""
    with processes(tmp_path, share={"fsync": "segment"}) as [process]:
        process.log(1)
        process.buffer.seal()
        [item] = process.take()
        process.backlog.add(item)
        assert process.fs.names("sync", "fsync") == ["sync", "sync"]
        process.fs.hooks["sync"] = failing(errno.EIO)
        logged(process, 2)
        [text] = process.said
        assert os.strerror(errno.EIO) in text
        assert process.post() == [1, 2]


def test_a_single_event_that_is_too_large_is_quarantined(process: Process, tmp_path: Path) -> None:
    """413 for a single event: it is quarantined with the reason and counted; others are sent."""
    logged(process, 1, 2, 3, 4)
    head(process)
    process.backlog.split()
    head(process)
    process.backlog.split()
    assert head(process) == [1]
    assert process.backlog.abandon("it answers 413") is True
    name = segments(tmp_path)[0][: -len(".ndjson")]
    assert quarantined(tmp_path) == {
        f"{name}-refused.ndjson": line(1),
        f"{name}-refused.reason": b"it answers 413\n",
    }
    assert on_disk(tmp_path) == [2, 3, 4]
    assert head(process) == [2]
    assert process.backlog.abandon("it answers 413") is True
    assert len(quarantined(tmp_path)) == 4
    assert process.post() == [3, 4]
    assert process.counts("accepted", "delivered", "abandoned") == [4, 2, 2]
    assert segments(tmp_path) == []


def test_an_event_in_memory_that_is_too_large_is_quarantined(
    process: Process, tmp_path: Path
) -> None:
    """If the disk works again; otherwise it is lost and reported."""
    process.fs.hooks["create"] = failing(errno.ENOSPC, 1)
    logged(process, 1)
    head(process)
    assert process.backlog.abandon("why") is True
    assert line(1) in quarantined(tmp_path).values()
    process.fs.hooks["create"] = failing(errno.ENOSPC)
    logged(process, 2)
    head(process)
    assert process.backlog.abandon("why") is False
    assert "No space left" in process.said[-1]
    assert process.counts("accepted", "abandoned", "pending") == [2, 2, 0]


def test_rejected_lines_of_an_orphan(tmp_path: Path) -> None:
    """Torn, garbled and invalid ones are quarantined with their reasons, the others sent.

    They count as adopted and abandoned, but for a torn line, which was never an event.
    """
    bad = b"garbled\n" + line(3) + b"\0\0\0\0\n" + b"{}\n" + line(4)[:-1] + b"\r\n\n" + b'{"torn'
    name = died(tmp_path, [1, 2], bad=bad)
    with processes(tmp_path) as [process]:
        process.backlog.adopt_if_due()
        assert process.post() == [1, 2, 3, 4]
        names = ("adopted", "delivered", "abandoned", "quarantined", "pending")
        assert process.counts(*names) == [7, 4, 3, 3, 0]
        assert segments(tmp_path) == []
        found = quarantined(tmp_path)
        stem, at = name[: -len(".ndjson")], 2 * SIZE
        texts = {
            at: (b"garbled\n", b"garbled"),
            at + 8 + SIZE: (b"\0\0\0\0\n", b"garbled"),
            at + 13 + SIZE: (b"{}\n", b"invalid"),
            at + 18 + 2 * SIZE: (b'{"torn', b"torn"),
        }
        assert len(found) == 8
        for offset, (text, why) in texts.items():
            assert found[f"{stem}-{offset}.ndjson"] == text
            assert why in found[f"{stem}-{offset}.reason"]
        assert any("moved 4 lines of a segment" in text for text in process.said)


def test_a_segment_of_rejected_lines_only(tmp_path: Path) -> None:
    """Nothing of it is sent, and it is removed."""
    with processes(tmp_path) as [dead]:
        dead.share.write(b"garbled\n")
    with processes(tmp_path) as [process]:
        process.backlog.adopt_if_due()
        assert process.backlog.head() is None
        assert segments(tmp_path) == []
        assert len(quarantined(tmp_path)) == 2
        assert not process.backlog
        assert os.listdir(tmp_path / "owners") == []


def test_an_empty_segment(tmp_path: Path) -> None:
    """A process that dies between opening and writing leaves one; it is removed silently."""
    with processes(tmp_path) as [dead]:
        dead.share.write()
    with processes(tmp_path) as [process]:
        process.backlog.adopt_if_due()
        assert process.post() == []
        assert segments(tmp_path) == []
        assert quarantined(tmp_path) == {}


@pytest.mark.parametrize("kind", ["link", "FIFO", "directory"])
def test_an_irregular_segment_is_quarantined(kind: str, tmp_path: Path) -> None:
    """It is moved as it is, with a reason and its target unchanged; other segments are sent."""
    name = died(tmp_path, [1])
    found = parse_name(name)
    assert found is not None
    strange = tmp_path / str(SegmentName(found.owner, 99))
    (tmp_path.parent / f"{tmp_path.name}.target").write_bytes(line(7))
    if kind == "link":
        strange.symlink_to(tmp_path.parent / f"{tmp_path.name}.target")
    elif kind == "FIFO":
        os.mkfifo(strange)
    else:
        strange.mkdir()
    with processes(tmp_path) as [process]:
        process.backlog.adopt_if_due()
        assert process.post() == [1]
        assert segments(tmp_path) == []
        kept = sorted(os.listdir(tmp_path / "quarantine"))
        assert kept == [f"{found.owner}-00000099-whole.{end}" for end in ("ndjson", "reason")]
        assert os.path.islink(tmp_path / "quarantine" / kept[0]) is (kind == "link")
        assert any("cannot be read" in text for text in process.said)
    assert (tmp_path.parent / f"{tmp_path.name}.target").read_bytes() == line(7)


def test_rejected_lines_stay_if_the_quarantine_fails(tmp_path: Path) -> None:
    """The events are sent once; the other lines stay until they can be quarantined."""
    died(tmp_path, [1, 2, 3], bad=b"garbled\n")
    (tmp_path / "quarantine").touch()
    with processes(tmp_path, batch_events=2) as [process]:
        process.backlog.adopt_if_due()
        assert process.post() == [1, 2, 3]
        process.backlog.end()
        [name] = segments(tmp_path)
        assert (tmp_path / name).read_bytes() == b"garbled\n"
    (tmp_path / "quarantine").unlink()
    assert recover(tmp_path) == []
    assert b"garbled\n" in quarantined(tmp_path).values()


def test_own_segments_that_were_removed_are_abandoned(process: Process, tmp_path: Path) -> None:
    """They are counted and reported, block nothing and occupy no room."""
    logged(process, 1, 2)
    logged(process, 3)
    os.unlink(tmp_path / segments(tmp_path)[0])
    assert process.post() == [3]
    assert process.counts("accepted", "delivered", "abandoned", "pending") == [3, 1, 2, 0]
    assert process.share.used_bytes == 0
    [text] = process.said
    assert "somebody removed it; counted as abandoned: 2 events" in text


def test_an_uncounted_line_is_accepted_when_it_is_read(process: Process, tmp_path: Path) -> None:
    """A line of an append that was interrupted after its write is sent, and the counts balance."""
    logged(process, 1)
    with open(tmp_path / segments(tmp_path)[0], "ab") as file:
        file.write(line(2))
    assert process.post() == [1, 2]
    assert process.counts("accepted", "delivered", "pending", "abandoned") == [2, 2, 0, 0]


def test_orphans_come_first_and_in_order(tmp_path: Path) -> None:
    """Those of earlier owners first, before own segments, whatever the times of the files."""
    first = died(tmp_path, [1, 2], [3])
    with processes(tmp_path) as [living]:
        # Alive until both have written, so that the second does not adopt the first.
        logged(living, 4)
        second_name = segments(tmp_path)[-1]
    for age, name in enumerate((first, second_name)):
        os.utime(tmp_path / name, (2 * 10**9 - age, 2 * 10**9 - age))
    with processes(tmp_path) as [process]:
        logged(process, 5)
        process.backlog.adopt_if_due()
        assert process.backlog.oldest() == 0
        assert process.post() == [1, 2, 3, 4, 5]
        assert process.counts("accepted", "adopted", "delivered") == [1, 4, 5]
        assert process.said == ["adopted 3 segments of processes that ended, to send"]
        process.backlog.end()
        assert os.listdir(tmp_path / "owners") == []


def test_the_clock_set_back_changes_no_order(tmp_path: Path) -> None:
    """A process that starts an hour earlier by its clock still comes after the one before it."""
    name = died(tmp_path, [1])
    with processes(tmp_path) as [process]:
        logged(process, 2)
        [own] = set(segments(tmp_path)) - {name}
        os.utime(tmp_path / own, (1, 1))
        process.die()
    assert recover(tmp_path) == [1, 2]


def test_living_owners_are_left_alone(tmp_path: Path) -> None:
    """Their segments are not read, sent or removed, however many searches there are."""
    with processes(tmp_path, 2) as [living, process]:
        logged(living, 1)
        for _ in range(8):
            process.now += ADOPT_SECONDS
            process.backlog.adopt_if_due()
        assert process.post() == []
        assert living.post() == [1]
        assert process.counts("adopted") == [0]


def test_searches_are_made_from_time_to_time(tmp_path: Path) -> None:
    """One at the start, and then one every ten seconds."""
    with processes(tmp_path) as [process]:
        died(tmp_path, [1])
        process.backlog.adopt_if_due()
        assert process.post() == [1]
        died(tmp_path, [2])
        process.now += 0.4
        process.backlog.adopt_if_due()
        assert process.post() == []
        process.now += ADOPT_SECONDS
        process.backlog.adopt_if_due()
        assert process.post() == [2]


def test_a_process_that_ends_searches_once_more(tmp_path: Path) -> None:
    """Recent orphans are sent with the last flush, whenever the next search is due."""
    with processes(tmp_path) as [process]:
        process.backlog.adopt_if_due()
        died(tmp_path, [1])
        process.backlog.adopt_if_due()
        assert process.backlog.head() is None
        process.backlog.adopt_last()
        assert process.post() == [1]


def test_a_forked_child_searches_later(tmp_path: Path) -> None:
    """It may end during a POST; the first search is after ten seconds, and none at its end."""
    died(tmp_path, [1])
    with processes(tmp_path, is_forked=True) as [child]:
        child.backlog.adopt_if_due()
        child.backlog.adopt_last()
        assert child.post() == []
        child.now += ADOPT_SECONDS
        child.backlog.adopt_if_due()
        assert child.post() == [1]


def test_a_failed_search_is_repeated(tmp_path: Path) -> None:
    """A missing directory or descriptor raises nothing; the next search finds the orphans."""
    died(tmp_path, [1])
    with processes(tmp_path) as [process]:
        process.fs.hooks["listdir"] = failing(errno.EMFILE)
        process.backlog.adopt_if_due()
        assert process.post() == []
        process.fs.hooks.clear()
        process.now += ADOPT_SECONDS
        process.backlog.adopt_if_due()
        assert process.post() == [1]


def test_more_orphans_than_are_adopted_at_once(tmp_path: Path) -> None:
    """All of 70 are sent in order, at most 32 at the same time, before own segments."""
    with processes(tmp_path, 70) as dead:
        for number, one in enumerate(dead):
            logged(one, number)
    with processes(tmp_path) as [process]:
        logged(process, 100)
        process.backlog.adopt_if_due()
        assert len(process.share._adopted) == 32
        logged(process, 101)
        assert process.post() == [*range(70), 100, 101]
        assert process.counts("adopted", "delivered", "pending") == [70, 72, 0]
        process.backlog.end()
        assert os.listdir(tmp_path / "owners") == []


def ended(path: Path, *owners: list[int]) -> None:
    """Leave one segment of each of some processes that ended in turn."""
    with processes(path, len(owners)) as dead:
        for one, numbers in zip(dead, owners, strict=True):
            logged(one, *numbers)


def bodies(process: Process) -> list[list[int]]:
    """Deliver everything; return the numbers of the events of each body."""
    found = []
    while numbers := head(process):
        found.append(numbers)
        process.backlog.delivered()
    return found


def test_segments_of_many_processes_are_sent_together(tmp_path: Path) -> None:
    """Of 40 processes that left an event each: one body for all that are adopted at once."""
    ended(tmp_path, *([number] for number in range(40)))
    with processes(tmp_path) as [process]:
        logged(process, 100)
        process.backlog.adopt_if_due()
        assert bodies(process) == [[*range(32)], [*range(32, 40)], [100]]
        assert process.counts("accepted", "adopted", "delivered", "pending") == [1, 40, 41, 0]
        process.backlog.end()
        assert os.listdir(tmp_path / "owners") == []


@pytest.mark.parametrize("limits", [(100, 5 * len(line(10))), (5, 10_000)])
def test_what_is_sent_together_is_bounded(limits: tuple[int, int], tmp_path: Path) -> None:
    """Bodies hold no more than a batch, and no process's events overtake earlier ones."""
    sizes = (2, 3, 1, 12, 1, 4, 5, 1)
    numbers = iter(range(sum(sizes)))
    ended(tmp_path, *([next(numbers) for _ in range(size)] for size in sizes))
    with processes(tmp_path) as [process]:
        process.read_at_most(*limits)
        process.backlog.adopt_if_due()
        found = bodies(process)
    assert [number for body in found for number in body] == list(range(sum(sizes)))
    assert [len(body) for body in found] == [5, 1, 5, 5, 2, 5, 5, 1]


@pytest.mark.parametrize("posts", [1, 2, 3])
def test_a_process_that_dies_after_a_body_of_many_owners(posts: int, tmp_path: Path) -> None:
    """What was answered is not sent again, and the rest is not lost, whoever wrote it."""
    ended(tmp_path, [0, 1], [2], [3, 4, 5], [6], [7, 8])
    with processes(tmp_path, batch_bytes=4 * SIZE) as [process]:
        process.backlog.adopt_if_due()
        found = process.post(posts)
    assert found + recover(tmp_path) == list(range(9))


def test_a_body_of_many_owners_that_is_too_large_is_split(tmp_path: Path) -> None:
    """After a 413 each half is settled by itself, in the segments that it came from."""
    ended(tmp_path, [0, 1], [2], [3, 4])
    with processes(tmp_path) as [process]:
        process.backlog.adopt_if_due()
        assert head(process) == [0, 1, 2, 3, 4]
        process.backlog.split()
        assert process.post(1) == [0, 1]
        assert len(segments(tmp_path)) == 2
    assert recover(tmp_path) == [2, 3, 4]


def test_more_orphans_are_adopted_if_nothing_else_waits(tmp_path: Path) -> None:
    """The rest of 40 does not wait for the next search."""
    with processes(tmp_path, 40) as dead:
        for number, one in enumerate(dead):
            logged(one, number)
    with processes(tmp_path) as [process]:
        process.backlog.adopt_if_due()
        for number in range(40):
            assert process.backlog
            process.read_at_most(1, 1)
            assert head(process) == [number]
            process.backlog.delivered()
        assert process.post() == []
        process.backlog.end()
        assert os.listdir(tmp_path / "owners") == []


def test_an_orderly_end_is_not_a_failed_adoption(tmp_path: Path) -> None:
    """The endpoint is down, three processes adopt and end: the fourth one sends the orphans."""
    died(tmp_path, [1, 2])
    for _ in range(3):
        with processes(tmp_path) as [process]:
            process.backlog.adopt_if_due()
            assert head(process) == [1, 2]
            process.backlog.posted()  # the POST failed
            process.backlog.end()
    with processes(tmp_path) as [process]:
        logged(process, 3)
        process.backlog.adopt_if_due()
        assert process.post() == [1, 2, 3]


@pytest.mark.parametrize("how", ["in a POST", "killed"])
def test_two_failed_adoptions_cause_a_cooldown(how: str, tmp_path: Path) -> None:
    """Two processes end during a POST, or are killed: the third does not adopt for a while."""
    died(tmp_path, [1, 2])
    for _ in range(2):
        with processes(tmp_path) as [process]:
            process.epoch = 1.0
            process.backlog.adopt_if_due()
            assert head(process) == [1, 2]
            if how == "in a POST":
                process.backlog.end()
            else:
                process.backlog.posted()
    with processes(tmp_path) as [process]:
        process.epoch = 1.0
        process.backlog.adopt_if_due()
        assert process.post() == []
        process.epoch = 12.0
        process.backlog.adopt_last()
        assert process.post() == [1, 2]


def test_loaded_batches_wait_for_orphans(tmp_path: Path) -> None:
    """A batch of its own that was loaded and not delivered is sent after new orphans."""
    first = died(tmp_path, [1, 2])
    with processes(tmp_path) as [living]:
        living.backlog.adopt_if_due()
        with processes(tmp_path) as [process]:
            logged(process, 5)
            logged(process, 6)
            process.read_at_most(1, 10_000)
            process.backlog.adopt_if_due()
            assert head(process) == [5]
            assert process.backlog.oldest() == 1
            logged(living, 3)
            living.die()
            process.now += ADOPT_SECONDS
            process.backlog.adopt_if_due()
            assert process.backlog.oldest() == 0
            assert first in segments(tmp_path)
            assert process.post() == [1, 2, 3, 5, 6]
            assert process.counts("accepted", "adopted", "pending") == [2, 3, 0]


@pytest.mark.parametrize("is_older_first", [True, False])
def test_an_earlier_owner_is_sent_first(is_older_first: bool, tmp_path: Path) -> None:
    """Whichever of two died first, or was found first."""
    with processes(tmp_path, 2) as dead:
        for number, one in enumerate(dead, 1):
            logged(one, number)
        first, second = dead if is_older_first else reversed(dead)
        first.die()
        with processes(tmp_path) as [process]:
            process.backlog.adopt_if_due()
            second.die()
            process.now += ADOPT_SECONDS
            process.backlog.adopt_if_due()
            assert process.post() == [1, 2]


def test_a_segment_that_cannot_be_removed_is_tried_again(process: Process, tmp_path: Path) -> None:
    """This process does not send it again, and removes it at the next search."""
    logged(process, 1)
    head(process)
    process.fs.hooks["unlink"] = failing(errno.EIO)
    process.backlog.delivered()
    assert on_disk(tmp_path) == [1]
    process.backlog.end()
    assert on_disk(tmp_path) == [1]
    process.fs.hooks.clear()
    process.now += ADOPT_SECONDS
    process.backlog.adopt_if_due()
    assert on_disk(tmp_path) == []
    assert process.post() == []


def test_a_passing_error_changes_nothing(process: Process) -> None:
    """An error that is not about the segment is retried."""
    logged(process, 1, 2)
    process.fs.hooks["read"] = failing(errno.EMFILE, 1)
    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        process.backlog.head()
    assert process.post() == [1, 2]
    assert process.counts("delivered", "pending") == [2, 0]


def test_a_batch_that_was_settled_meanwhile_is_not_split(process: Process) -> None:
    """The end of the process may abandon a batch that a 413 would split."""
    process.fs.hooks["create"] = failing(errno.ENOSPC)
    logged(process, 1, 2)
    head(process)
    assert process.buffer.abandon() == 2
    process.backlog.split()
    assert process.backlog.head() is None
    assert process.counts("abandoned", "pending") == [2, 0]


def test_a_new_owner_has_its_own_queue(tmp_path: Path) -> None:
    """Segments of the former and the new owner are read under their own names."""
    with processes(tmp_path) as [process]:
        logged(process, 1)
        before = process.share.owner_name
        # All owners' files were removed, and another process got the name.
        os.unlink(tmp_path / "owners" / before)
        (tmp_path / "owners" / before).touch()
        logged(process, 2)
        assert process.share.owner_name != before
        assert process.post() == [1, 2]


def large(path: Path, count: int, bad: bytes = b"") -> str:
    """Leave a segment of many events, with rejected lines after the fifth; return its name."""
    lines = [line(number) for number in range(count)]
    with processes(path, share={"max_bytes": 10**9}) as [dead]:
        return dead.share.write(*lines[:5], bad, *lines[5:])


def test_a_large_segment_is_read_and_delivered_in_pieces(tmp_path: Path) -> None:
    """All events once, in order, with one batch in memory, and without rewriting the segment."""
    name = large(tmp_path, 1000)
    limits = {"batch_events": 50, "batch_bytes": 40 * SIZE}
    with processes(tmp_path, **limits) as [process]:
        process.backlog.adopt_if_due()
        process.fs.calls.clear()
        found: list[int] = []
        while (numbers := head(process)) and len(found) < 500:
            found += numbers
            assert len(process.backlog._loaded) == 1
            assert process.counts("adopted")[0] <= len(found) + 40
            process.backlog.delivered()
        assert (tmp_path / name).stat().st_size > 1000 * SIZE  # unchanged
        assert "replace" not in process.fs.names("replace")
        found += process.post()
        assert found == list(range(1000))
        assert process.counts("adopted", "delivered", "pending") == [1000, 1000, 0]
        assert segments(tmp_path) == []
        written = [given[1] for call, given in process.fs.calls if call.startswith("write")]
        assert sum(map(len, written)) < 100 * 30


@pytest.mark.parametrize("posts", [1, 2, 3, 11])
def test_the_next_process_starts_after_the_settled_part(posts: int, tmp_path: Path) -> None:
    """Killed after any POST of a large segment, its own or an adopted one."""
    large(tmp_path, 100)
    found = []
    for _ in range(2):
        with processes(tmp_path, batch_bytes=7 * SIZE) as [process]:
            process.backlog.adopt_if_due()
            found += process.post(posts)
            assert on_disk(tmp_path) == list(range(len(found), 100))
    assert found + recover(tmp_path) == list(range(100))


@pytest.mark.parametrize("limits", [(3, 10**4), (40, 10**9), (50, 17 * SIZE), (1, 1)])
def test_pieces_are_whole_batches(limits: tuple[int, int], tmp_path: Path) -> None:
    """Whether events or bytes limit them, no batch is smaller because a piece ended."""
    large(tmp_path, 120)
    with processes(tmp_path, batch_events=limits[0], batch_bytes=limits[1]) as [process]:
        process.backlog.adopt_if_due()
        counts = []
        while numbers := head(process):
            counts.append(len(numbers))
            process.backlog.delivered()
        assert sum(counts) == 120
        most = min(limits[0], max(1, limits[1] // (SIZE + 2)))
        assert min(counts[:-1]) >= most


def test_rejected_lines_in_a_large_segment(tmp_path: Path) -> None:
    """They are quarantined with their offset in the segment; later pieces are sent."""
    name = large(tmp_path, 100, b"garbled\n\r\n" + b"x" * 20 * SIZE + b"\n")
    with processes(tmp_path, batch_bytes=3 * SIZE) as [process]:
        process.backlog.adopt_if_due()
        assert process.post() == list(range(100))
    stem = name[: -len(".ndjson")]
    places = [f"{stem}-{5 * SIZE}.ndjson", f"{stem}-{5 * SIZE + 10}.ndjson"]
    assert sorted(one for one in quarantined(tmp_path) if one.endswith(".ndjson")) == places


@pytest.mark.parametrize("posts", [2, 3, 5, 8])
def test_a_large_segment_with_lines_that_stay(posts: int, tmp_path: Path) -> None:
    """If they cannot be quarantined it is rewritten with them; nothing is lost or sent twice."""
    large(tmp_path, 40, b"garbled\n\n")
    (tmp_path / "quarantine").touch()
    with processes(tmp_path, batch_events=3, batch_bytes=8 * SIZE) as [process]:
        process.backlog.adopt_if_due()
        found = process.post(posts)
        process.backlog.end()
        assert b"garbled\n" in (tmp_path / segments(tmp_path)[0]).read_bytes()
    (tmp_path / "quarantine").unlink()
    assert found + recover(tmp_path) == list(range(40))
    assert b"garbled\n" in quarantined(tmp_path).values()


def test_a_rewrite_that_took_effect_although_it_failed(tmp_path: Path) -> None:
    """The next piece starts at the right offset of the new file."""
    large(tmp_path, 40, b"garbled\n")
    (tmp_path / "quarantine").touch()
    with processes(tmp_path, batch_bytes=8 * SIZE) as [process]:

        def replace(draft: str, path: str) -> None:
            os.replace(draft, path)
            raise OSError(errno.EIO, "but it was renamed")

        process.fs.hooks["replace"] = replace
        process.fs.hooks["unlink"] = failing(errno.ENOENT, where=".new")
        process.backlog.adopt_if_due()
        assert process.post() == list(range(40))


def test_an_own_segment_that_grew_is_read_in_pieces(process: Process, tmp_path: Path) -> None:
    """Lines that were added to it are accepted when they are read."""
    logged(process, 1, 2)
    with open(tmp_path / segments(tmp_path)[0], "ab") as file:
        file.write(b"".join(line(number) for number in range(3, 60)))
    process.backlog._limits = (100, 5 * SIZE)
    assert process.post() == list(range(1, 60))
    assert process.counts("accepted", "delivered", "abandoned", "pending") == [59, 59, 0, 0]


def test_a_segment_that_is_removed_between_its_pieces(tmp_path: Path) -> None:
    """Only the events that were read are counted."""
    name = large(tmp_path, 40)
    with processes(tmp_path, batch_bytes=8 * SIZE) as [process]:
        process.backlog.adopt_if_due()
        found = process.post(2)
        os.unlink(tmp_path / name)
        assert process.post() == []
        assert process.counts("adopted", "delivered", "pending") == [len(found), len(found), 0]


def test_an_offset_of_another_size_is_ignored(tmp_path: Path) -> None:
    """A segment that was rewritten, perhaps by an earlier version, is sent completely."""
    name = large(tmp_path, 100)
    with processes(tmp_path, batch_bytes=10 * SIZE) as [process]:
        process.backlog.adopt_if_due()
        found = process.post(2)
    path = tmp_path / name
    text = b"".join(line(number) for number in found)
    path.write_bytes(text)
    assert recover(tmp_path) == found


def test_an_unreadable_segment_that_cannot_be_moved_stays(process: Process, tmp_path: Path) -> None:
    """It is unchanged; its events are there when the disk works again."""
    logged(process, 1, 2)
    [name] = segments(tmp_path)
    process.fs.hooks["read"] = failing(errno.EIO, where=name)

    def replace(old: str, new: str) -> None:
        if "quarantine" in new and new.endswith(".ndjson"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    process.fs.hooks["replace"] = replace
    assert process.post() == []
    process.backlog.end()
    assert (tmp_path / name).read_bytes() == line(1) + line(2)


def test_segments_without_an_owners_file_are_delivered(tmp_path: Path) -> None:
    """Removing the owner's file does not lose its events."""
    died(tmp_path, [1])
    for name in os.listdir(tmp_path / "owners"):
        os.unlink(tmp_path / "owners" / name)
    (tmp_path / str(SegmentName(owner_name(9, "f" * 8), 1))).write_bytes(line(2))
    assert recover(tmp_path) == [1, 2]


def test_a_handler_adopts_orphans_without_a_log_call(tmp_path: Path) -> None:
    """A new handler on a directory with segments sends them, and a notice says so."""
    died(tmp_path, [1, 2], [3])
    with Collector() as collector:
        # With its own keys, which differ from the dead one's.
        with handler(collector, tmp_path) as made:
            events = collector.wait_for(3)
            assert [one["number"] for one in events] == [1, 2, 3]
            assert made.flush(10)
            stats = made.stats()
            assert (stats.accepted, stats.adopted, stats.delivered) == (0, 3, 3)
            assert stats.spool_segments == 0
        assert os.listdir(tmp_path / "owners") == []


def test_a_413_and_a_real_endpoint(tmp_path: Path) -> None:
    """Each event arrives once; the one that is too large by itself is quarantined."""
    with Collector(limit_events=3) as collector:
        with handler(collector, tmp_path, batch_events=50) as made:
            collector.always(Answer(503))
            for number in range(50):
                made.handle(record(number))
            collector.always(None)
            assert made.flush(20)
        assert [one["number"] for one in collector.events] == list(range(50))
        assert segments(tmp_path) == []
