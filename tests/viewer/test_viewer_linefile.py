"""The file of `--store`: lines are written before their answer, and disk errors are harmless."""

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


def test_every_line_is_appended_unchanged(tmp_path: Path) -> None:
    """Valid, invalid and undecodable lines are appended in order, in one write per request."""
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


def test_rejected_lines_are_not_appended(tmp_path: Path) -> None:
    """Only accepted lines are in the file, since those of a rejected request are sent again."""
    file = tmp_path / "events.ndjson"
    with viewing(store=str(file)) as viewer:
        viewer.send("POST", "outcomes", {"outcomes": [{"status": 503}]})
        assert viewer.post(event(1)) == 503
        assert viewer.post(event(1)) == 200
        viewer.ask("POST", PATH, b"a\nb\n", Content_Encoding="gzip")  # no lines, as it seems
        viewer.post(event(2), path="/wrong")
    assert file.read_bytes() == lines(event(1))


def test_evicted_lines_stay_in_the_file(tmp_path: Path) -> None:
    """The file has all lines, also those of evicted entries."""
    file = tmp_path / "events.ndjson"
    with viewing(store=str(file), keep=2) as viewer:
        for start in (0, 5):
            viewer.post(*[event(n) for n in range(start, start + 5)])
    assert [json.loads(line) for line in file.read_bytes().splitlines()] == [
        event(n) for n in range(10)
    ]


def test_a_line_is_written_before_the_answer(tmp_path: Path) -> None:
    """A line is in the file before its POST is answered, with several clients."""
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
    """Set a umask that hides nothing, and restore it."""
    before = os.umask(0o000)
    yield
    os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o777])
def test_a_new_file_is_private(tmp_path: Path, mask: int) -> None:
    """A new file has mode 0600 under any umask."""
    os.umask(mask)
    line_file = LineFile(str(tmp_path / "f"), print)
    line_file.append([b"one"])
    line_file.close()
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600


def test_an_existing_file_is_extended(tmp_path: Path) -> None:
    """Content and mode of an existing file stay; a torn last line is ended first."""
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
    """Two viewers that append to one file keep each other's lines whole."""
    file = tmp_path / "f"
    with viewing(store=str(file)) as one, viewing(store=str(file)) as other:
        for n in range(5):
            one.post(event(n), event(n))
            other.post(event(n))
    assert len([json.loads(line) for line in file.read_bytes().splitlines()]) == 15


def test_other_kinds_of_file_are_refused(tmp_path: Path) -> None:
    """A link, a FIFO, a device, a directory and an unknown path are errors at the start."""
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
    """A disk with limited room, and a maximum number of bytes per write."""

    def __init__(self, room: int, most: int = 10**9) -> None:
        self.room = room
        self.most = most

    def write(self, fd: int, data: memoryview) -> int:
        """Write as much as fits."""
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = os.write(fd, data[: min(self.room, self.most)])
        self.room -= written
        return written


def test_short_writes_are_continued(tmp_path: Path) -> None:
    """A write that accepts a few bytes at a time still writes all of them."""
    line_file = LineFile(str(tmp_path / "f"), print, Disk(10**6, 3).write)
    line_file.append([b"one line", b"another"])
    line_file.close()
    assert (tmp_path / "f").read_bytes() == b"one line\nanother\n"


@pytest.mark.parametrize("room", range(17))
def test_a_full_disk_is_reported_once_and_tears_nothing(tmp_path: Path, room: int) -> None:
    """Lines that a full disk lacks are counted and reported once; the next one is not joined."""
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


def test_a_write_of_nothing_is_an_error(tmp_path: Path) -> None:
    """A write of zero bytes is an error, not an endless loop."""
    said: list[str] = []
    line_file = LineFile(str(tmp_path / "f"), said.append, lambda fd, data: 0)
    line_file.append([b"x"])
    line_file.close()
    assert (len(said), line_file.missing) == (1, 1)


def test_a_failing_disk_does_not_break_the_viewer(tmp_path: Path) -> None:
    """Events are accepted and shown although the file cannot be written."""
    said: list[str] = []
    with Viewer(store=str(tmp_path / "f"), warn=said.append) as viewer:
        assert viewer._line_file is not None
        viewer._line_file._write = Disk(0).write
        visitor = Visitor(viewer)
        assert [visitor.post(event(n), event(n)) for n in range(3)] == [200] * 3
        assert visitor.get("count")["count"] == 6
    assert (len(said), viewer.missing) == (1, 6)
