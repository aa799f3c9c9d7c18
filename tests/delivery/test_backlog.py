"""What waits to be posted: its order, what becomes of each segment, and whose it is."""

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
    """Return the numbers of the events of the batch that is next."""
    batch = process.backlog.head()
    return [] if batch is None else numbers_of(batch.text("deflate"))


def logged(process: Process, *numbers: int) -> None:
    """Log a segment."""
    process.log(*numbers)
    process.buffer.seal()
    process.take()


def died(path: Path, *batches: list[int], bad: bytes = b"") -> str:
    """Leave segments of a process that was killed; return the name of the last."""
    with processes(path) as [process]:
        for numbers in batches:
            logged(process, *numbers)
        name = [n for n in segments(path) if n.startswith(process.share.owner_name)][-1]
        with open(path / name, "ab") as file:
            file.write(bad)
        return name


def test_memory_batches_wait_in_order() -> None:
    """Without a spool the backlog is batches, packed as they come, each once."""
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


def test_a_batch_that_could_not_be_packed_is_packed_when_its_turn_comes() -> None:
    """There was no memory for it before; it is neither lost nor sent as it is."""
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
    """What was logged while the disk failed is sent between what was before and after."""
    logged(process, 1, 2)
    process.fs.hooks["create"] = failing(errno.ENOSPC)
    logged(process, 3)
    process.fs.hooks.clear()
    logged(process, 4)
    assert process.backlog.oldest() == 1
    assert process.post() == [1, 2, 3, 4]
    assert process.counts("accepted", "delivered", "pending") == [4, 4, 0]


def test_a_segment_is_removed_only_after_its_delivery(process: Process, tmp_path: Path) -> None:
    """Reading, packing and failing leave it where it is; delivery takes it, alone."""
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


def test_a_delivered_piece_of_a_segment_leaves_the_disk(process: Process, tmp_path: Path) -> None:
    """Killed after a part was delivered: the next process sends the rest, and only that."""
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


def test_a_split_segment_is_shortened(process: Process, tmp_path: Path) -> None:
    """413, half delivered, 413, a quarter delivered, killed: only what is left is sent again."""
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
    """Halves of a batch of three small segments: each file goes with its last event."""
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


def test_a_half_delivered_segment_that_cannot_be_marked(process: Process, tmp_path: Path) -> None:
    """On a full disk nothing is lost: it would be sent twice after a kill, and once without."""
    logged(process, 1, 2)
    head(process)
    process.backlog.split()
    process.fs.hooks["write_at"] = failing(errno.ENOSPC)
    head(process)
    process.backlog.delivered()
    assert on_disk(tmp_path) == [1, 2]
    assert process.post() == [2]
    assert segments(tmp_path) == []


def test_what_is_delivered_of_a_segment_is_marked_and_not_rewritten(
    process: Process, tmp_path: Path
) -> None:
    """One small write in place for each part; the file stays as it is until all is delivered."""
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
def test_a_shortened_segment_is_as_safe_as_a_sealed_one(
    fsync: str, synced: int, tmp_path: Path
) -> None:
    """A refused event stays; what takes the file's place is on the disk itself before it does."""
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


def test_sealed_segments_are_synced_where_that_is_wanted(tmp_path: Path) -> None:
    """Each once, file and name; where it fails that is said, and the events stay."""
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


def test_a_single_event_that_is_too_large_is_set_aside(process: Process, tmp_path: Path) -> None:
    """413 alone: it is in the quarantine with the reason, counted, and the others go on."""
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


def test_an_event_in_memory_that_is_too_large_is_set_aside(
    process: Process, tmp_path: Path
) -> None:
    """Where the disk works again it has a place there; where it does not it is lost, and said."""
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


def test_bad_lines_of_an_orphan(tmp_path: Path) -> None:
    """Torn, garbled and invalid ones are set aside with their reasons; the neighbours are sent."""
    bad = b"garbled\n" + line(3) + b"\0\0\0\0\n" + b"{}\n" + line(4)[:-1] + b"\r\n\n" + b'{"torn'
    name = died(tmp_path, [1, 2], bad=bad)
    with processes(tmp_path) as [process]:
        process.backlog.adopt_if_due()
        assert process.post() == [1, 2, 3, 4]
        assert process.counts("adopted", "delivered", "pending") == [4, 4, 0]
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
        assert any("4 lines of a segment are moved" in text for text in process.said)


def test_a_segment_of_bad_lines_only(tmp_path: Path) -> None:
    """Nothing of it is sent, and it goes."""
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
    """What a process leaves that dies between opening and writing goes without a word."""
    with processes(tmp_path) as [dead]:
        dead.share.write()
    with processes(tmp_path) as [process]:
        process.backlog.adopt_if_due()
        assert process.post() == []
        assert segments(tmp_path) == []
        assert quarantined(tmp_path) == {}


@pytest.mark.parametrize("kind", ["link", "FIFO", "directory"])
def test_a_segment_that_is_no_file(kind: str, tmp_path: Path) -> None:
    """It is set aside as it is, its target untouched, with a reason; its neighbours are sent."""
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


def test_bad_lines_are_not_lost_where_the_quarantine_fails(tmp_path: Path) -> None:
    """Its good lines are sent once; the bad ones stay, and are set aside when that works."""
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


def test_own_segments_that_are_deleted_are_counted(process: Process, tmp_path: Path) -> None:
    """What somebody removed is abandoned, said, and holds up nothing; no room stays taken."""
    logged(process, 1, 2)
    logged(process, 3)
    os.unlink(tmp_path / segments(tmp_path)[0])
    assert process.post() == [3]
    assert process.counts("accepted", "delivered", "abandoned", "pending") == [3, 1, 2, 0]
    assert process.share.used_bytes == 0
    [text] = process.said
    assert "somebody removed it; its 2 events are counted as abandoned" in text


def test_a_line_that_was_never_counted_is_accepted_when_it_is_found(
    process: Process, tmp_path: Path
) -> None:
    """An append that was interrupted after its write: the line is sent and the numbers balance."""
    logged(process, 1)
    with open(tmp_path / segments(tmp_path)[0], "ab") as file:
        file.write(line(2))
    assert process.post() == [1, 2]
    assert process.counts("accepted", "delivered", "pending", "abandoned") == [2, 2, 0, 0]


def test_orphans_come_first_and_in_order(tmp_path: Path) -> None:
    """Older processes' segments before newer ones', all before our own, whatever the times say."""
    first = died(tmp_path, [1, 2], [3])
    with processes(tmp_path) as [living]:
        # Living until both have written, so that the second does not take the first over.
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
        assert process.said == ["3 segments of processes that ended are adopted and sent"]
        process.backlog.end()
        assert os.listdir(tmp_path / "owners") == []


def test_the_clock_set_back_changes_no_order(tmp_path: Path) -> None:
    """A process that begins an hour earlier, by the clock, still comes after the one before it."""
    name = died(tmp_path, [1])
    with processes(tmp_path) as [process]:
        logged(process, 2)
        [own] = set(segments(tmp_path)) - {name}
        os.utime(tmp_path / own, (1, 1))
        process.die()
    assert recover(tmp_path) == [1, 2]


def test_the_living_are_left_alone(tmp_path: Path) -> None:
    """Nothing of theirs is read, sent or removed, however often one looks."""
    with processes(tmp_path, 2) as [living, process]:
        logged(living, 1)
        for _ in range(8):
            process.now += ADOPT_SECONDS
            process.backlog.adopt_if_due()
        assert process.post() == []
        assert living.post() == [1]
        assert process.counts("adopted") == [0]


def test_one_looks_from_time_to_time(tmp_path: Path) -> None:
    """At once at the start, and then every ten seconds."""
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


def test_a_process_that_ends_looks_once_more(tmp_path: Path) -> None:
    """What others left a moment ago goes out with the last flush, whenever the next look is due."""
    with processes(tmp_path) as [process]:
        process.backlog.adopt_if_due()
        died(tmp_path, [1])
        process.backlog.adopt_if_due()
        assert process.backlog.head() is None
        process.backlog.adopt_last()
        assert process.post() == [1]


def test_a_forked_child_leaves_the_first_and_the_last_look_to_its_parent(tmp_path: Path) -> None:
    """It may end in the middle of a POST; one that lives on looks after ten seconds."""
    died(tmp_path, [1])
    with processes(tmp_path, is_forked=True) as [child]:
        child.backlog.adopt_if_due()
        child.backlog.adopt_last()
        assert child.post() == []
        child.now += ADOPT_SECONDS
        child.backlog.adopt_if_due()
        assert child.post() == [1]


def test_a_look_that_fails_is_made_again(tmp_path: Path) -> None:
    """No directory, or no descriptors left: nothing is raised, and the next look finds them."""
    died(tmp_path, [1])
    with processes(tmp_path) as [process]:
        process.fs.hooks["listdir"] = failing(errno.EMFILE)
        process.backlog.adopt_if_due()
        assert process.post() == []
        process.fs.hooks.clear()
        process.now += ADOPT_SECONDS
        process.backlog.adopt_if_due()
        assert process.post() == [1]


def test_more_orphans_than_are_taken_at_a_time(tmp_path: Path) -> None:
    """All of 70 are sent, in order, no more than 32 held at once, before what is our own."""
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


def test_more_orphans_are_taken_where_nothing_else_waits(tmp_path: Path) -> None:
    """The rest of 40 waits for no further look, and the listener does not sleep before it."""
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


def test_those_that_end_in_order_have_not_tried_in_vain(tmp_path: Path) -> None:
    """The endpoint is down, three take over and end: the fourth sends it before its own."""
    died(tmp_path, [1, 2])
    for _ in range(3):
        with processes(tmp_path) as [process]:
            process.backlog.adopt_if_due()
            assert head(process) == [1, 2]
            process.backlog.posted()  # it has failed
            process.backlog.end()
    with processes(tmp_path) as [process]:
        logged(process, 3)
        process.backlog.adopt_if_due()
        assert process.post() == [1, 2, 3]


@pytest.mark.parametrize("how", ["in a POST", "killed"])
def test_what_is_taken_over_in_vain_rests(how: str, tmp_path: Path) -> None:
    """Two that end amid a POST of it, or are killed: the third leaves it alone for a while."""
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


def test_what_is_read_already_waits_for_older_processes(tmp_path: Path) -> None:
    """A batch of our own that could not be delivered yet is sent after what is taken over then."""
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
def test_an_older_process_goes_before_a_younger_one(is_older_first: bool, tmp_path: Path) -> None:
    """Whichever of them died, and was found, first."""
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
    """It is not sent again by this process, and goes with the next look."""
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


def test_what_passes_is_tried_again(process: Process) -> None:
    """An error that says nothing of the file leaves everything as it was."""
    logged(process, 1, 2)
    process.fs.hooks["read"] = failing(errno.EMFILE, 1)
    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        process.backlog.head()
    assert process.post() == [1, 2]
    assert process.counts("delivered", "pending") == [2, 0]


def test_a_batch_that_was_settled_meanwhile_is_not_split(process: Process) -> None:
    """The end of the process may abandon what a 413 would split."""
    process.fs.hooks["create"] = failing(errno.ENOSPC)
    logged(process, 1, 2)
    head(process)
    assert process.buffer.abandon() == 2
    process.backlog.split()
    assert process.backlog.head() is None
    assert process.counts("abandoned", "pending") == [2, 0]


def test_an_owner_that_changed_begins_a_chain_of_its_own(tmp_path: Path) -> None:
    """Segments of before and after an end of the ownership are found under their own names."""
    with processes(tmp_path) as [process]:
        logged(process, 1)
        before = process.share.owner_name
        # Somebody removed all owners' files, and another process took the name.
        os.unlink(tmp_path / "owners" / before)
        (tmp_path / "owners" / before).touch()
        logged(process, 2)
        assert process.share.owner_name != before
        assert process.post() == [1, 2]


def large(path: Path, count: int, bad: bytes = b"") -> str:
    """Leave a segment of so many events, with something bad after the fifth; return its name."""
    lines = [line(number) for number in range(count)]
    with processes(path, share={"max_bytes": 10**9}) as [dead]:
        return dead.share.write(*lines[:5], bad, *lines[5:])


def test_a_large_segment_is_read_and_delivered_in_pieces(tmp_path: Path) -> None:
    """All of it, in order, once; no more than a batch of it is held, and none of it rewritten."""
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
        assert (tmp_path / name).stat().st_size > 1000 * SIZE  # as it was
        assert "replace" not in process.fs.names("replace")
        found += process.post()
        assert found == list(range(1000))
        assert process.counts("adopted", "delivered", "pending") == [1000, 1000, 0]
        assert segments(tmp_path) == []
        written = [given[1] for call, given in process.fs.calls if call.startswith("write")]
        assert sum(map(len, written)) < 100 * 30


@pytest.mark.parametrize("posts", [1, 2, 3, 11])
def test_who_comes_after_begins_behind_what_was_delivered(posts: int, tmp_path: Path) -> None:
    """Killed after any POST of a large segment, also one that was taken over itself."""
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
    """Whatever ends them, events or bytes: no batch is smaller because a piece ended."""
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


def test_bad_lines_in_a_large_segment(tmp_path: Path) -> None:
    """They are set aside with their place in the whole segment, and its pieces go on."""
    name = large(tmp_path, 100, b"garbled\n\r\n" + b"x" * 20 * SIZE + b"\n")
    with processes(tmp_path, batch_bytes=3 * SIZE) as [process]:
        process.backlog.adopt_if_due()
        assert process.post() == list(range(100))
    stem = name[: -len(".ndjson")]
    places = [f"{stem}-{5 * SIZE}.ndjson", f"{stem}-{5 * SIZE + 10}.ndjson"]
    assert sorted(one for one in quarantined(tmp_path) if one.endswith(".ndjson")) == places


@pytest.mark.parametrize("posts", [2, 3, 5, 8])
def test_a_large_segment_whose_bad_lines_cannot_be_set_aside(posts: int, tmp_path: Path) -> None:
    """It is shortened instead, the bad lines stay in it; nothing is lost, nothing sent twice."""
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


def test_a_shortened_segment_of_which_that_was_not_told(tmp_path: Path) -> None:
    """The renaming took effect although it failed: the next piece begins where it does now."""
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
    """What somebody added to it is accepted when it is found, and what was written is settled."""
    logged(process, 1, 2)
    with open(tmp_path / segments(tmp_path)[0], "ab") as file:
        file.write(b"".join(line(number) for number in range(3, 60)))
    process.backlog._limits = (100, 5 * SIZE)
    assert process.post() == list(range(1, 60))
    assert process.counts("accepted", "delivered", "abandoned", "pending") == [59, 59, 0, 0]


def test_a_segment_that_goes_amid_its_pieces(tmp_path: Path) -> None:
    """Nothing of it is counted that was not read."""
    name = large(tmp_path, 40)
    with processes(tmp_path, batch_bytes=8 * SIZE) as [process]:
        process.backlog.adopt_if_due()
        found = process.post(2)
        os.unlink(tmp_path / name)
        assert process.post() == []
        assert process.counts("adopted", "delivered", "pending") == [len(found), len(found), 0]


def test_a_mark_of_another_file_says_nothing(tmp_path: Path) -> None:
    """A segment that was shortened, by an earlier version perhaps, is sent whole."""
    name = large(tmp_path, 100)
    with processes(tmp_path, batch_bytes=10 * SIZE) as [process]:
        process.backlog.adopt_if_due()
        found = process.post(2)
    path = tmp_path / name
    text = b"".join(line(number) for number in found)
    path.write_bytes(text)
    assert recover(tmp_path) == found


def test_an_unreadable_segment_that_cannot_be_set_aside_stays_as_it_is(
    process: Process, tmp_path: Path
) -> None:
    """Not emptied, not removed: its events are there when the disk works again."""
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


def test_a_stray_of_no_owner_is_delivered(tmp_path: Path) -> None:
    """Segments whose owner's file was removed are somebody's events nevertheless."""
    died(tmp_path, [1])
    for name in os.listdir(tmp_path / "owners"):
        os.unlink(tmp_path / "owners" / name)
    (tmp_path / str(SegmentName(owner_name(9, "f" * 8), 1))).write_bytes(line(2))
    assert recover(tmp_path) == [1, 2]


def test_a_real_process_adopts_at_its_start_without_logging(tmp_path: Path) -> None:
    """A handler that is built on a directory that holds segments sends them, and says so."""
    died(tmp_path, [1, 2], [3])
    with Collector() as collector:
        # Its own keys: the dead one's were others.
        with handler(collector, tmp_path) as made:
            events = collector.wait_for(3)
            assert [one["number"] for one in events] == [1, 2, 3]
            assert made.flush(10)
            stats = made.stats()
            assert (stats.accepted, stats.adopted, stats.delivered) == (0, 3, 3)
            assert stats.spool_segments == 0
        assert os.listdir(tmp_path / "owners") == []


def test_a_413_and_a_real_endpoint(tmp_path: Path) -> None:
    """Each event arrives once; the one that is too large by itself is in the quarantine."""
    with Collector(limit_events=3) as collector:
        with handler(collector, tmp_path, batch_events=50) as made:
            collector.always(Answer(503))
            for number in range(50):
                made.handle(record(number))
            collector.always(None)
            assert made.flush(20)
        assert [one["number"] for one in collector.events] == list(range(50))
        assert segments(tmp_path) == []
