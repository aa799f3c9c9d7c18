"""`--store FILE`: every line is in the file before it is answered, and a bad disk harms nothing."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fslog.viewer.recorder import LineFile
from fslog.viewer.server import Viewer
from viewing import PATH, Visitor, event, lines, viewing


def test_every_line_is_kept_as_it_came(tmp_path: Path) -> None:
    """Valid, invalid and unreadable lines are appended in order, one write for a request."""
    file = tmp_path / "events.ndjson"
    with viewing(store=str(file)) as viewer:
        viewer.post(event(1), b"no json", b"\xff", b'{ "a" : 1 }')
        kept = lines(event(1), b"no json", b"\xff", b'{ "a" : 1 }')
        assert file.read_bytes() == kept
        viewer.post(b'{"a":1}\r', event(2))
        kept += lines(b'{"a":1}', event(2))
        assert file.read_bytes() == kept
        viewer.ask("DELETE", "/api/events")
    assert file.read_bytes() == kept


def test_what_was_not_taken_is_not_kept(tmp_path: Path) -> None:
    """Lines of a refused request come again: only those that were taken are in the file."""
    file = tmp_path / "events.ndjson"
    with viewing(store=str(file)) as viewer:
        viewer.send("POST", "outcomes", {"outcomes": [{"status": 503}]})
        assert viewer.post(event(1)) == 503
        assert viewer.post(event(1)) == 200
        viewer.ask("POST", PATH, b"a\nb\n", Content_Encoding="gzip")  # no lines, as it seems
        viewer.post(event(2), path="/wrong")
    assert file.read_bytes() == lines(event(1))


def test_more_than_memory_holds_is_in_the_file(tmp_path: Path) -> None:
    """What leaves the memory stays in the file."""
    file = tmp_path / "events.ndjson"
    with viewing(store=str(file), keep=2) as viewer:
        for start in (0, 5):
            viewer.post(*[event(n) for n in range(start, start + 5)])
    assert [json.loads(line) for line in file.read_bytes().splitlines()] == [
        event(n) for n in range(10)
    ]


def test_a_line_is_there_before_the_answer(tmp_path: Path) -> None:
    """Who has the 200 finds the line in the file, whoever else is posting."""
    file = tmp_path / "events.ndjson"
    missing: list[int] = []

    def post(viewer: Visitor, start: int) -> None:
        for n in range(start, start + 20):
            viewer.post(event(n))
            missing.extend([] if json.dumps(event(n)).encode() in file.read_bytes() else [n])

    with viewing(store=str(file)) as viewer:
        threads = [threading.Thread(target=post, args=(viewer, n)) for n in (0, 100, 200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert missing == []
    assert len(file.read_bytes().splitlines()) == 60


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """Have a mask that would let others read, and one that would lock ourselves out."""
    before = os.umask(0o000)
    yield
    os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o777])
def test_a_new_file_is_for_its_user_alone(tmp_path: Path, mask: int) -> None:
    """A file that the viewer makes has mode 0600, whatever the mask."""
    os.umask(mask)
    line_file = LineFile(str(tmp_path / "f"), print)
    line_file.append([b"one"])
    line_file.close()
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600


def test_an_old_file_is_gone_on_with(tmp_path: Path) -> None:
    """What is in the file stays, its mode too, and a torn last line is ended first."""
    file = tmp_path / "f"
    for before, after in ((b"", b""), (b"old\n", b"old\n"), (b"old\nto", b"old\nto\n")):
        file.write_bytes(before)
        file.chmod(0o640)
        line_file = LineFile(str(file), print)
        line_file.append([b"new"])
        line_file.append([])
        line_file.append([b"newer", b"newest"])
        line_file.close()
        assert file.read_bytes() == after + b"new\nnewer\nnewest\n"
        assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_two_viewers_may_share_a_file(tmp_path: Path) -> None:
    """Two that append to one file leave each other's lines whole."""
    file = tmp_path / "f"
    with viewing(store=str(file)) as one, viewing(store=str(file)) as other:
        for n in range(5):
            one.post(event(n), event(n))
            other.post(event(n))
    assert len([json.loads(line) for line in file.read_bytes().splitlines()]) == 15


def test_what_is_no_file_of_ones_own_is_refused(tmp_path: Path) -> None:
    """A link, a FIFO, a device, a directory and a path to nowhere are errors at the start."""
    target = tmp_path / "target"
    target.write_bytes(b"")
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "dangling").symlink_to(tmp_path / "made")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "dangling", "fifo", ".", "no/such", "/dev/null", "/dev/full"):
        with pytest.raises(OSError, match=r"."):
            Viewer(store=str(tmp_path / name))
    assert target.read_bytes() == b""
    assert not (tmp_path / "made").exists()


class Disk:
    """A disk with so much room; it takes at most so many bytes at a time."""

    def __init__(self, room: int, most: int = 10**9) -> None:
        self.room = room
        self.most = most

    def write(self, fd: int, data: memoryview) -> int:
        """Write what there is room for."""
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = os.write(fd, data[: min(self.room, self.most)])
        self.room -= written
        return written


def test_short_writes_are_gone_on_with(tmp_path: Path) -> None:
    """A system that takes a few bytes at a time gets all of them."""
    line_file = LineFile(str(tmp_path / "f"), print, Disk(10**6, 3).write)
    line_file.append([b"one line", b"another"])
    line_file.close()
    assert (tmp_path / "f").read_bytes() == b"one line\nanother\n"


@pytest.mark.parametrize("room", range(17))
def test_a_full_disk_is_told_once_and_tears_nothing(tmp_path: Path, room: int) -> None:
    """Lines that a full disk lacks are counted and told once; the next stands on its own line."""
    said: list[str] = []
    disk = Disk(room)
    line_file = LineFile(str(tmp_path / "f"), said.append, disk.write)
    for _ in range(3):
        line_file.append([b"first", b"second"])
    assert len(said) == 1
    assert "/f: No space left on device. The viewer continues" in said[0]
    disk.room = 1000
    line_file.append([b"third"])
    line_file.close()
    written = (tmp_path / "f").read_bytes().split(b"\n")
    assert written[-2:] == [b"third", b""]
    whole = [line for line in written if line in (b"first", b"second")]
    assert line_file.missing == 6 - len(whole)
    assert len(said) == 1


def test_a_system_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    """A write of no bytes does not make the viewer try for ever."""
    said: list[str] = []
    line_file = LineFile(str(tmp_path / "f"), said.append, lambda fd, data: 0)
    line_file.append([b"x"])
    line_file.close()
    assert (len(said), line_file.missing) == (1, 1)


def test_a_failing_disk_does_not_break_the_viewer(tmp_path: Path) -> None:
    """Events are taken and shown when the file cannot be written any more."""
    said: list[str] = []
    with Viewer(store=str(tmp_path / "f"), warn=said.append) as viewer:
        assert viewer._line_file is not None
        viewer._line_file._write = Disk(0).write
        visitor = Visitor(viewer)
        assert [visitor.post(event(n), event(n)) for n in range(3)] == [200] * 3
        assert visitor.get("count")["count"] == 6
    assert (len(said), viewer.missing) == (1, 6)
