"""One process's share of a spool: segments it writes, room it claims, orphans it adopts."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fslog.config import MinFree
from fslog.spool.directory import FOLLOWED
from fslog.spool.segments import SegmentName, owner_name, parse_name
from fslog.spool.share import OpenSegment
from spools import (
    Share,
    Watched,
    ended_well,
    failing,
    fork,
    line,
    quarantined,
    segments,
    shares,
)


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Share]:
    with shares(tmp_path, 1) as [made]:
        yield made


def test_nothing_is_created_before_the_first_line(tmp_path: Path) -> None:
    """A share that writes nothing has no owner and no file."""
    with shares(tmp_path / "spool", 1) as [share]:
        assert share.owner_name == ""
        share.end()
        share.release_room(0)
        assert os.listdir(tmp_path) == []


def test_a_line_is_on_disk_when_write_returns(share: Share, tmp_path: Path) -> None:
    """One `write` per line, in order, to a file named by its owner and number."""
    assert share.reserve(10)
    segment = share.open(1)
    share.watched.calls.clear()
    for number in range(3):
        segment.write(line(number))
        assert (tmp_path / str(SegmentName(share.owner_name, 1))).read_bytes() == b"".join(
            map(line, range(number + 1))
        )
    assert [name for name, _ in share.watched.calls] == ["write"] * 3
    segment.close()


def part(size: int) -> Callable[[int, bytes], int]:
    """Return a write that writes only so many bytes, as on a disk that becomes full."""
    return lambda fd, text: os.write(fd, text[:size])


@pytest.mark.parametrize("size", [0, 1, 20])
def test_a_line_is_written_whole_or_not_at_all(size: int, share: Share, tmp_path: Path) -> None:
    """A partly written line is truncated; the lines before it stay."""
    share.ensure_owner()
    share.watched.hooks["write"] = lambda fd, text: None
    segment = share.open(1)
    segment.write(line(1))
    segment._write = part(size)
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its number says it
        segment.write(line(2))
    assert caught.value.errno == errno.ENOSPC
    assert (tmp_path / segments(tmp_path)[0]).read_bytes() == line(1)
    segment.close()


def test_a_line_that_cannot_be_truncated_is_torn(share: Share, tmp_path: Path) -> None:
    """If the truncation fails, too, the error is the same, and the line before is complete."""
    share.ensure_owner()
    segment = share.open(1)
    segment.write(line(1))
    segment._write = part(5)
    share.watched.hooks["truncate"] = failing(errno.EIO)
    with pytest.raises(OSError):  # noqa: PT011
        segment.write(line(2))
    assert (tmp_path / segments(tmp_path)[0]).read_bytes() == line(1) + line(2)[:5]
    segment.close()


def test_a_line_that_could_not_be_synced_is_truncated(tmp_path: Path) -> None:
    """With `spool_fsync="line"` a line is on the storage device, or not in the file."""
    with shares(tmp_path, 1, fsync="line") as [share]:
        share.ensure_owner()
        segment = share.open(1)
        segment.write(line(1))
        share.watched.hooks["fsync"] = failing(errno.EIO)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            segment.write(line(2))
        assert (tmp_path / segments(tmp_path)[0]).read_bytes() == line(1)
        segment.close()


SYNCS = ("fsync", "sync")


@pytest.mark.parametrize(
    ("fsync", "opened", "each_line", "sealed", "alone"),
    [
        ("never", [], [], [], []),
        ("segment", [], [], ["sync", "sync"], []),
        ("line", ["sync"], ["fsync"], [], ["fsync", "sync"]),
    ],
)
def test_exactly_the_promised_syncs_are_made(
    fsync: str,
    opened: list[str],
    each_line: list[str],
    sealed: list[str],
    alone: list[str],
    tmp_path: Path,
) -> None:
    """None; or each sealed segment and its name; or each line, and each segment's name."""
    with shares(tmp_path, 1, fsync=fsync) as [share]:
        share.ensure_owner()

        def made() -> list[str]:
            names = share.watched.names(*SYNCS)
            share.watched.calls.clear()
            return names

        made()
        segment = share.open(1)
        assert made() == opened
        segment.write(line(1))
        assert made() == each_line
        segment.write(line(2))
        assert made() == each_line
        segment.close()
        share.sync(segment.path)
        synced = [given[0] for name, given in share.watched.calls if name == "sync"]
        assert made() == sealed
        assert synced == ([segment.path, str(tmp_path)] if sealed else [])
        share.write_single(2, line(3))
        assert sorted(made()) == alone


def test_a_segment_whose_name_cannot_be_synced(tmp_path: Path) -> None:
    """With `spool_fsync="line"` it is removed, because a power cut could remove it."""
    with shares(tmp_path, 1, fsync="line") as [share]:
        share.ensure_owner()
        share.watched.hooks["sync"] = failing(errno.EIO)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            share.open(1)
        assert segments(tmp_path) == []


def test_a_segment_of_one_line(share: Share, tmp_path: Path) -> None:
    """It needs an owner; it is written with its line or not at all."""
    with pytest.raises(OSError, match="there is no owner yet"):
        share.write_single(1, line(1))
    share.ensure_owner()
    share.write_single(1, line(1))
    assert (tmp_path / str(SegmentName(share.owner_name, 1))).read_bytes() == line(1)
    share.watched.hooks["write"] = part(4)
    with pytest.raises(OSError):  # noqa: PT011
        share.write_single(2, line(2))
    assert segments(tmp_path) == [str(SegmentName(share.owner_name, 1))]


def test_a_removed_segment_is_read_from_its_descriptor(share: Share, tmp_path: Path) -> None:
    """While it is open its content is not lost; if it still exists nothing is returned."""
    share.ensure_owner()
    segment = share.open(1)
    segment.write(line(1))
    assert segment.rescued() is None
    assert segment.written_at_ns() == os.stat(segment.path).st_mtime_ns
    os.unlink(segment.path)
    assert segment.rescued() == line(1)
    share.watched.hooks["read_from"] = failing(errno.EIO)
    assert segment.rescued() is None
    share.watched.hooks["fstat"] = failing(errno.EIO)
    assert segment.written_at_ns() == 0
    segment.close()
    segment.close()


def test_a_descriptor_is_closed_once(share: Share) -> None:
    """Its number may be reused at once; an error of close is ignored."""
    share.ensure_owner()
    segment = share.open(1)
    share.watched.calls.clear()
    share.watched.hooks["close"] = lambda fd: os.close(fd) or failing(errno.EIO)(fd)
    for _ in range(3):
        segment.close()
    assert len(share.watched.names("close")) == 1
    share.watched.hooks.clear()


def test_remove_returns_false_if_it_failed(share: Share) -> None:
    """A missing segment counts as removed."""
    name = share.write(line(1))
    path = share.directory.join(name)
    share.watched.hooks["unlink"] = failing(errno.EIO)
    assert not share.remove(path)
    share.watched.hooks.clear()
    assert share.remove(path)
    assert share.remove(path)


def test_a_segment_that_cannot_be_quarantined_stays(share: Share, tmp_path: Path) -> None:
    """A failing disk causes no removal."""
    name = share.write(line(1))
    found = parse_name(name)
    assert found is not None
    share.watched.hooks["replace"] = failing(errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        share.directory.quarantine_file(found, "why")
    assert segments(tmp_path) == [name]
    share.watched.hooks.clear()
    share.directory.quarantine_file(found, "why")
    assert segments(tmp_path) == []
    assert (tmp_path / "quarantine" / f"{found.stem}-whole.reason").read_bytes() == b"why\n"


def test_claims_never_exceed_the_limit(tmp_path: Path) -> None:
    """Five shares that claim all they can get: together exactly the limit."""
    with shares(tmp_path, 5, max_bytes=64_000, chunk_bytes=1000) as all_shares:
        taken = 0
        while True:
            got = [share for share in all_shares if share.reserve(100)]
            for share in got:
                share.used_bytes += 100
                share.now += 1
                assert share.claims() <= 64_000
            taken += len(got)
            if not got:
                break
        assert taken == 640
        assert not any(share.reserve(1) for share in all_shares)


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("wwwwgd"), st.integers(1, 3000))))
def test_segments_never_exceed_the_limit(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str, int]]
) -> None:
    """Whatever the order of writes, releases and deaths, claims cover the bytes on disk."""
    path = tmp_path_factory.mktemp("spool")
    with shares(path, 3, max_bytes=8_000, chunk_bytes=1000) as all_shares:
        for who, step, size in steps:
            share = all_shares[who]
            share.now += 1
            if step == "w" and share.reserve(size):
                share.write(b"x" * size)
            elif step == "g" and share.owner_name:
                for name in segments(path):
                    if name.startswith(share.owner_name):
                        share.used_bytes -= os.stat(path / name).st_size
                        share.remove(str(path / name))
                        share.release_room(0)
                        break
            elif step == "d":
                share.die()
                all_shares[who] = Share(path, max_bytes=8_000, chunk_bytes=1000)
            on_disk = sum(os.stat(path / name).st_size for name in segments(path))
            if os.path.isdir(path / "owners"):
                assert on_disk <= all_shares[0].claims() <= 8_000


def test_two_claims_at_once(tmp_path: Path) -> None:
    """At whatever call of one claim the other is made, not both get the last room."""
    for call in ("write_at_start", "listdir", "read"):
        with shares(tmp_path / call, 2, max_bytes=1000, chunk_bytes=0) as [first, second]:
            first.ensure_owner()
            second.ensure_owner()
            got: list[bool] = []

            def other(*given: Any, second: Share = second, got: list[bool] = got) -> None:
                if not got:
                    got.append(second.reserve(600))

            first.watched.hooks[call] = other
            got.append(first.reserve(600))
            assert len(got) == 2
            assert sum(got) < 2, call
            assert first.claims() <= 1000


def test_a_refused_claim_is_repeated_after_a_moment(tmp_path: Path) -> None:
    """Until then no system call is made; after that it gets room that was released."""
    with shares(tmp_path, 2, max_bytes=1000, chunk_bytes=0) as [first, second]:
        assert first.reserve(800)
        assert not second.reserve(300)
        first.end()
        second.watched.calls.clear()
        assert not second.reserve(300)
        assert second.watched.names("write_at_start", "read") == []
        second.now += 0.06
        assert second.reserve(300)
        assert second.room_bytes == 300


def test_unneeded_room_is_released(tmp_path: Path) -> None:
    """A share keeps what it uses and one chunk; a failing disk does no harm."""
    with shares(tmp_path, 2, max_bytes=64_000, chunk_bytes=1000) as [first, second]:
        assert first.reserve(60_000)
        assert not second.reserve(10_000)
        first.release_room(59_000)
        assert first.room_bytes >= 60_000
        first.release_room(100)
        assert first.claims() == first.room_bytes == 1100
        second.now += 1
        assert second.reserve(50_000)
        first.watched.hooks["write_at_start"] = failing(errno.EIO)
        second.release_room(0)
        assert first.reserve(900)


def test_the_quarantine_takes_no_room_of_events(tmp_path: Path) -> None:
    """However large it is, the segments may have all of `spool_max_bytes`."""
    with shares(tmp_path, 1, max_bytes=10_000, chunk_bytes=0) as [share]:
        share.ensure_owner()
        share.directory.quarantine("stem", "0", b"x" * 60_000, "why")
        share.look()
        assert share.reserve(10_000)
        assert not share.reserve(10_001)


def test_the_quarantine_is_bounded(tmp_path: Path) -> None:
    """It has a quarter of `spool_max_bytes`; what is there stays, and is not written again.

    When a person has removed something, it has room from the next search on.
    """
    with shares(tmp_path, 1, max_bytes=4_000) as [share]:
        share.ensure_owner()
        assert share.quarantine("a", "0", b"x" * 900, "why")
        assert not share.quarantine("b", "0", b"x" * 93, "why")
        assert share.quarantine("a", "0", b"x" * 900, "why")
        assert share.quarantine("b", "1", b"x" * 92, "why")
        names = {"a-0.ndjson", "a-0.reason", "b-1.ndjson", "b-1.reason"}
        assert set(quarantined(tmp_path)) == names
        assert not share.quarantine("c", "0", b"x", "why")
        os.unlink(tmp_path / "quarantine" / "a-0.ndjson")
        share.look()
        assert share.quarantine("c", "0", b"x", "why")


def used(share: Share, free: int, total: int = 1000) -> None:
    """Let the share see a file system of which so many bytes are free."""
    share.watched.hooks["space"] = lambda path: (free, total)
    share.now += 1


def test_nothing_is_claimed_while_too_little_of_the_disk_is_free(tmp_path: Path) -> None:
    """Neither a new segment nor more room in one; as soon as enough is free again, both are."""
    given = {"min_free": MinFree(percent=5.0), "chunk_bytes": 0}
    with shares(tmp_path, 1, **given) as [share]:
        used(share, 50)
        assert share.reserve(100)
        used(share, 49)
        assert not share.reserve(100)
        assert not share.reserve(200)
        assert share.shortage == (
            "the spool's file system has 49 of 1000 bytes free, less than spool_min_free (5%)"
        )
        assert share.claims() == 100
        used(share, 50)
        assert share.reserve(200)
        assert share.shortage == ""


def test_a_disk_that_is_almost_full_is_looked_at_twenty_times_a_second(tmp_path: Path) -> None:
    """However many log calls are refused; a segment that was removed is a reason to look again."""
    with shares(tmp_path, 1, min_free=MinFree(bytes=10)) as [share]:
        used(share, 9)
        for _ in range(100):
            assert not share.reserve(1)
        assert share.watched.names("space") == ["space"]
        share.now += 0.06
        assert not share.reserve(1)
        share.release_room(0)
        assert not share.reserve(1)
        assert len(share.watched.names("space")) == 3


@pytest.mark.parametrize("answer", [lambda path: (0, 0), failing(errno.ENOSYS)])
def test_a_file_system_that_does_not_tell_its_size(answer: Any, tmp_path: Path) -> None:
    """Nothing is refused: the writes will tell."""
    with shares(tmp_path, 1, min_free=MinFree(percent=99.0)) as [share]:
        share.watched.hooks["space"] = answer
        assert share.reserve(1)
        assert share.check_space() == ""


def test_without_a_limit_the_disk_is_not_asked(tmp_path: Path) -> None:
    """`spool_min_free=0` costs no system call."""
    with shares(tmp_path, 1) as [share]:
        assert share.reserve(1)
        assert share.check_space() == ""
        assert share.watched.names("space") == []


def test_only_dead_owners_are_adopted(tmp_path: Path) -> None:
    """The dead owner's segments, in order, with their sizes; a living one's never."""
    with shares(tmp_path, 3) as [living, dead, share]:
        living.write(line(1))
        names = [dead.write(line(1)), dead.write(line(2), line(3))]
        share.write(line(9))
        assert share.adopt() == []
        dead.die()
        [orphan] = share.look()
        assert orphan.owner.name == dead.owner_name
        assert orphan.segments == [(1, len(line(1))), (2, 2 * len(line(1)))]
        assert share.adopt() == []
        assert living.adopt() == []
        share.finish(orphan)
        assert [name for name in names if name in segments(tmp_path)] == []
        assert sorted(os.listdir(tmp_path / "owners")) == sorted(
            [living.owner_name, share.owner_name]
        )


def test_one_process_that_follows_adopts_for_all(tmp_path: Path) -> None:
    """While it lives, no other process adopts; when it ends, each may again."""
    with shares(tmp_path, 3) as [dead, follower, other]:
        dead.write(line(1))
        dead.die()
        assert not other.directory.is_followed()
        assert follower.directory.follow()
        assert not other.directory.follow()
        assert other.directory.is_followed()
        assert follower.directory.is_followed()
        assert other.adopt() == []
        [orphan] = follower.look()
        follower.finish(orphan)
        other.write(line(2))
        other.die()
        follower.directory.unfollow()
        follower.directory.unfollow()
        with shares(tmp_path, 1) as [later]:
            assert [numbers for _, numbers in later.adopt()] == [[1]]


def test_a_question_does_not_prevent_following(tmp_path: Path) -> None:
    """Asking whether a directory is followed locks the file for an instant: follow tries again."""
    with shares(tmp_path, 2) as [follower, other]:
        other.ensure_owner()
        path = other.directory.join(FOLLOWED)
        fd = other.fs.open_lockfile(path, make=True)
        assert other.fs.try_lock(fd)
        follower.directory._pause = lambda: other.fs.close(fd) if other.fs.is_locked(path) else None
        assert follower.directory.follow()
        follower.directory.unfollow()


def test_delivery_of_an_orphan_releases_its_room(tmp_path: Path) -> None:
    """It is claimed as long as there are segments, and no longer."""
    with shares(tmp_path, 2, max_bytes=64_000) as [dead, share]:
        dead.write(line(1))
        dead.die()
        [orphan] = share.look()
        assert share.claims() >= len(line(1))
        share.finish(orphan)
        assert share.claims() == 0


def test_the_earliest_owners_come_first(tmp_path: Path) -> None:
    """By generation, whatever the times of the files."""
    with shares(tmp_path, 4) as [*dead, share]:
        for age, one in enumerate(dead):
            name = one.write(line(1))
            os.utime(tmp_path / name, (10**9 - age, 10**9 - age))
            one.write(line(2))
        for one in dead:
            one.die()
        assert share.adopt() == [(one.owner_name, [1, 2]) for one in dead]


def test_a_dead_owner_without_segments_is_removed(tmp_path: Path) -> None:
    """Its file is removed, and nothing is adopted."""
    with shares(tmp_path, 2) as [dead, share]:
        dead.ensure_owner()
        dead.die()
        assert share.adopt() == []
        assert os.listdir(tmp_path / "owners") == []


def test_segments_without_an_owners_file_are_adopted(tmp_path: Path) -> None:
    """At the first search, and at every sixth after it."""
    with shares(tmp_path, 1) as [share]:
        share.ensure_owner()
        (tmp_path / str(SegmentName(owner_name(5, "0" * 8), 3))).write_bytes(line(1))
        [orphan] = share.look()
        assert orphan.segments == [(3, len(line(1)))]
        share.finish(orphan)
        (tmp_path / str(SegmentName(owner_name(6, "0" * 8), 1))).write_bytes(line(1))
        assert [bool(share.adopt()) for _ in range(6)] == [False] * 5 + [True]
        assert segments(tmp_path) == [str(SegmentName(owner_name(6, "0" * 8), 1))]


def test_stray_segments_delivered_meanwhile_are_not_adopted(tmp_path: Path) -> None:
    """A list made before the lock does not prove that the segments still exist."""
    with shares(tmp_path, 2) as [other, share]:
        for each in (other, share):
            each.ensure_owner()
        (tmp_path / str(SegmentName(owner_name(5, "0" * 8), 3))).write_bytes(line(1))

        def deliver(path: str, **given: Any) -> None:
            if path.endswith(owner_name(5, "0" * 8)):
                share.watched.hooks.clear()
                [orphan] = other.look()
                other.finish(orphan)

        share.watched.hooks["open_lockfile"] = deliver
        assert share.adopt() == []
        assert sorted(os.listdir(tmp_path / "owners")) == sorted(
            [other.owner_name, share.owner_name]
        )


def test_many_orphans_are_adopted_in_turns(tmp_path: Path) -> None:
    """At most 32 locks at a time, the earliest first, until all are delivered."""
    with shares(tmp_path, 81) as [share, *dead]:
        for one in dead:
            one.write(line(1))
        for one in dead:
            one.die()
        done: list[str] = []
        while share.has_room_for_orphans():
            found = share.look()
            if not found:
                break
            assert len(found) <= 32
            assert share.left_some is (len(found) == 32)
            assert share.has_room_for_orphans() is not share.left_some
            assert share.adopt() == []
            for orphan in found:
                share.finish(orphan)
                done.append(orphan.owner.name)
        assert done == [one.owner_name for one in dead]
        assert segments(tmp_path) == []


def test_an_owner_removed_during_a_search_is_not_created_again(tmp_path: Path) -> None:
    """Its file was listed and removed before it was opened."""
    with shares(tmp_path, 2) as [ending, share]:
        ending.write(line(1))
        locked: list[object] = []

        def end(*_: object, **__: object) -> None:
            share.watched.hooks["open_lockfile"] = lambda *_, **__: None
            os.unlink(share.path(ending.owner_name, 1))
            ending.end()

        share.watched.hooks["open_lockfile"] = end
        share.watched.hooks["try_lock"] = lambda *_, **__: locked.append(1)
        assert share.adopt() == []
        assert os.listdir(tmp_path / "owners") == []
        assert locked == []  # not even for a moment


def test_two_adopters_never_have_the_same_segment(tmp_path: Path) -> None:
    """Six threads with their own shares search repeatedly: each orphan is delivered once."""
    with shares(tmp_path, 46) as all_shares:
        adopters, dead = all_shares[:6], all_shares[6:]
        expected = []
        for number, one in enumerate(dead):
            expected += [one.write(line(number)), one.write(line(number))]
            one.die()
        delivered: list[str] = []
        barrier = threading.Barrier(len(adopters))

        def adopt(share: Share) -> None:
            barrier.wait(10)
            while segments(tmp_path):
                for orphan in share.look():
                    for number, _ in orphan.segments:
                        path = share.path(orphan.owner.name, number)
                        assert os.path.exists(path)
                        delivered.append(os.path.basename(path))
                    share.finish(orphan)

        threads = [threading.Thread(target=adopt, args=(share,)) for share in adopters]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted(delivered) == sorted(expected)
        assert os.listdir(tmp_path / "owners") == []


FOREIGN: dict[str, Callable[[Path], object]] = {
    "a link": lambda path: path.symlink_to("/dev/null"),
    "a FIFO": os.mkfifo,
    "a directory": Path.mkdir,
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_an_irregular_owners_file_hides_no_orphan(kind: str, tmp_path: Path) -> None:
    """It is skipped; owners before and after it are adopted."""
    with shares(tmp_path, 3) as [first, second, share]:
        first.write(line(1))
        FOREIGN[kind](tmp_path / "owners" / owner_name(2, "0" * 8))
        second.write(line(2))
        for dead in (first, second):
            dead.die()
        assert share.adopt() == [(first.owner_name, [1]), (second.owner_name, [1])]


@pytest.mark.parametrize("call", ["open_lockfile", "sizes", "write_at_start", "fstat", "lstat"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_failed_search_keeps_no_lock(call: str, times: int, tmp_path: Path) -> None:
    """Whichever call fails, the next search finds all orphans again."""
    with shares(tmp_path, 4) as [*dead, share]:
        for one in dead:
            one.write(line(1))
        for one in dead:
            one.die()
        share.watched.hooks[call] = failing(errno.EMFILE, times)
        found: list[tuple[str, list[int]]] = []
        with suppress(OSError):
            found += share.adopt()
        share.watched.hooks.clear()
        for _ in range(6):
            found += share.adopt()
        assert sorted(found) == [(one.owner_name, [1]) for one in dead]


def test_the_end_leaves_no_owner(share: Share, tmp_path: Path) -> None:
    """An owner without segments is removed; the next line creates a new one."""
    name = share.write(line(1))
    before = share.owner_name
    share.remove(share.directory.join(name))
    share.end()
    assert os.listdir(tmp_path / "owners") == []
    assert (share.owner_name, share.used_bytes, share.room_bytes) == ("", 0, 0)
    share.write(line(2))
    assert share.owner_name != before


def test_a_removed_owner_is_created_again(share: Share, tmp_path: Path) -> None:
    """A removed directory is created again, with the owner's name and claim."""
    share.write(line(1))
    name = share.owner_name
    os.rename(tmp_path / "owners", tmp_path / ".was-owners")
    share.write(line(2))
    assert share.owner_name == name
    assert os.listdir(tmp_path / "owners") == [name]
    assert share.claims() >= 2 * len(line(1))


def test_a_child_releases_the_parents_locks(tmp_path: Path) -> None:
    """After a fork, the parent's death alone makes its segments orphans."""
    with shares(tmp_path, 3) as [dead, parent, other]:
        dead.write(line(1))
        dead.die()
        parent.write(line(2))
        assert len(parent.look()) == 1
        ready, told = os.pipe()
        heard, going = os.pipe()

        def child() -> None:
            os.close(going)
            parent.close_inherited()
            own = Share(tmp_path)
            own.write(line(3))
            os.write(told, own.owner_name.encode())
            os.read(heard, 1)

        pid = fork(child)
        childs_owner = os.read(ready, 100).decode()
        assert other.adopt() == []
        parent.die()
        names = [owner for owner, _ in other.adopt()]
        assert names == [dead.owner_name, parent.owner_name]
        assert childs_owner not in names
        os.close(going)
        assert ended_well(pid)
        for fd in (ready, told, heard):
            os.close(fd)
        other.now += 1
        assert [owner for owner, _ in other.adopt()] == [childs_owner]


def test_a_fork_during_a_search_leaves_the_child_no_lock(tmp_path: Path) -> None:
    """Another thread may fork while orphans are listed: only the parent keeps their locks."""
    with shares(tmp_path, 3) as [dead, parent, other]:
        dead.write(line(1))
        dead.die()
        heard, going = os.pipe()
        pids: list[int] = []

        def child() -> None:
            os.close(going)
            parent.close_inherited()
            os.read(heard, 1)

        def split(path: str) -> None:
            if path == str(tmp_path) and not pids:
                pids.append(fork(child))

        parent.watched.hooks["sizes"] = split
        assert len(parent.adopt()) == 1
        parent.die()
        # The child may take a moment to close its copies.
        until = time.monotonic() + 5
        found: list[tuple[str, list[int]]] = []
        while not found and time.monotonic() < until:
            found = other.adopt()
        os.close(going)
        os.close(heard)
        assert ended_well(pids[0])
        assert found == [(dead.owner_name, [1])]


class Forking(Watched):
    """A file system in which a process is forked after a call took effect, before it returns.

    So it is when another thread forks in the moment between.
    """

    def __init__(self, when: str, fork: Callable[[], object]) -> None:
        super().__init__()
        self.when = when
        self.fork = fork

    def _call(self, name: str, real: Any, *given: Any, **named: Any) -> Any:
        answer = super()._call(name, real, *given, **named)
        if name == self.when:
            self.when = ""
            thread = threading.Thread(target=self.fork)
            thread.start()
            thread.join()
        return answer


LOCKING = ["fstat", "try_lock", "lstat", "write_at_start"]


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        *(("adopts", call) for call in ["open_lockfile", "read_from", *LOCKING]),
        *(("begins", call) for call in ["create_lockfile", *LOCKING]),
    ],
)
def test_a_fork_at_any_moment_leaves_the_child_no_lock(
    kind: str, call: str, tmp_path: Path
) -> None:
    """During an adoption and the creation of an owner: the parent's death releases its locks."""
    with shares(tmp_path, 3) as [dead, parent, other]:
        dead.write(line(1))
        if kind == "adopts":
            dead.die()
        ready, told = os.pipe()
        heard, going = os.pipe()
        pids: list[int] = []

        def child() -> None:
            os.close(going)
            parent.close_inherited()
            os.write(told, b".")
            os.read(heard, 1)

        parent.fs = parent.directory.fs = Forking(call, lambda: pids.append(fork(child)))
        if kind == "adopts":
            assert parent.adopt() == [(dead.owner_name, [1])]
        else:
            parent.write(line(2))
        owner = parent.owner_name or dead.owner_name
        os.read(ready, 1)
        parent.die()
        try:
            assert [name for name, _ in other.adopt()] == [owner]
        finally:
            os.close(going)
            assert ended_well(pids[0])
            for fd in (ready, told, heard):
                os.close(fd)


@pytest.mark.parametrize("kind", FOREIGN)
def test_an_irregular_owners_file_blocks_no_segments(kind: str, tmp_path: Path) -> None:
    """It is renamed, not removed, and reported; the segments are adopted."""
    with shares(tmp_path, 3) as [dead, share, other]:
        dead.write(line(1))
        dead.die()
        path = tmp_path / "owners" / dead.owner_name
        path.unlink()
        FOREIGN[kind](path)
        before = os.lstat(path)
        [orphan] = share.look()
        assert orphan.segments == [(1, len(line(1)))]
        assert path.is_file()
        assert not path.is_symlink()
        assert other.adopt() == []
        [stray] = set(os.listdir(tmp_path / "owners")) - {dead.owner_name}
        assert os.path.samestat(os.lstat(tmp_path / "owners" / stray), before)
        [remark] = share.remarks
        assert stray in remark
        share.finish(orphan)
        assert share.adopt() == []


def test_an_unreadable_owners_file_is_reported(tmp_path: Path) -> None:
    """Its segments wait; passing errors are not reported."""
    with shares(tmp_path, 2) as [dead, share]:
        dead.write(line(1))
        dead.die()
        share.watched.hooks["open_lockfile"] = failing(errno.EMFILE, where="owners")
        assert share.adopt() == []
        assert share.remarks == []
        share.watched.hooks["open_lockfile"] = failing(errno.EACCES, where="owners")
        for _ in range(6):
            assert share.adopt() == []
        [remark] = share.remarks
        assert dead.owner_name in remark
        assert "Permission denied" in remark


def test_an_owners_path_is_cleared_by_one_process(tmp_path: Path) -> None:
    """A file that another process created there meanwhile is not renamed."""
    with shares(tmp_path, 3) as [dead, share, other]:
        dead.write(line(1))
        dead.die()
        path = tmp_path / "owners" / dead.owner_name
        path.unlink()
        path.mkdir()
        found: list[Any] = []

        def lstat(given: str) -> None:
            if given == str(path) and os.path.isdir(path):
                share.watched.hooks.clear()
                found.extend(other.look())

        share.watched.hooks["lstat"] = lstat
        mine = share.look()
        assert len(mine) + len(found) == 1
        assert path.is_file()


def test_a_child_closes_its_copy_of_the_open_segment(share: Share) -> None:
    """The parent's descriptor stays open and is written to."""
    share.ensure_owner()
    segment: OpenSegment = share.open(1)
    assert ended_well(fork(segment.close))
    segment.write(line(1))
    assert share.watched.read(segment.path) == line(1)
    segment.close()
