"""The system calls of a spool: private files, no links followed, no descriptors leaked."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fslog.spool.filesystem import CAN_LOCK, FileSystem
from spools import MASKS, mode, umask


@contextmanager
def closing(fd: int) -> Iterator[int]:
    """Close a descriptor at the end."""
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.mark.parametrize("mask", MASKS, ids=oct)
def test_files_and_directories_are_private_whatever_the_umask(mask: int, tmp_path: Path) -> None:
    """Files are 0600 and directories, missing parents too, 0700 under any umask."""
    fs = FileSystem()
    with umask(mask):
        fs.make_directory(f"{tmp_path}/a/b/c")
        os.close(fs.create(f"{tmp_path}/segment"))
        os.close(fs.create_lockfile(f"{tmp_path}/register"))
        os.close(fs.open_lockfile(f"{tmp_path}/stray", make=True))
    assert [mode(tmp_path / name) for name in ("a", "a/b", "a/b/c")] == [0o700] * 3
    assert [mode(tmp_path / name) for name in ("segment", "register", "stray")] == [0o600] * 3


def test_a_path_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts at the working directory."""
    monkeypatch.chdir(tmp_path)
    FileSystem().make_directory("a")
    FileSystem().make_directory("b/c")
    assert mode(tmp_path / "a") == mode(tmp_path / "b") == mode(tmp_path / "b/c") == 0o700


def test_an_existing_directory_is_left_unchanged(tmp_path: Path) -> None:
    """make_directory changes neither its mode nor that of its parents."""
    folder = tmp_path / "parent" / "folder"
    folder.mkdir(parents=True)
    for path in (folder.parent, folder):
        path.chmod(0o755)
    FileSystem().make_directory(str(folder))
    FileSystem().make_directory(f"{folder}/made")
    assert [mode(path) for path in (folder.parent, folder, folder / "made")] == [
        0o755,
        0o755,
        0o700,
    ]


@pytest.mark.parametrize("name", ["create", "create_lockfile"])
def test_create_fails_if_the_path_exists(name: str, tmp_path: Path) -> None:
    """An existing file, or a dangling link, is an error."""
    (tmp_path / "there").write_bytes(b"kept")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for taken in ("there", "link"):
        with pytest.raises(FileExistsError):
            getattr(FileSystem(), name)(f"{tmp_path}/{taken}")
    assert (tmp_path / "there").read_bytes() == b"kept"
    assert not (tmp_path / "nowhere").exists()


def test_no_link_is_followed(tmp_path: Path) -> None:
    """Reading, syncing and opening a symbolic link fail, and its target is unchanged."""
    target = tmp_path / "target"
    target.write_bytes(b"secret")
    link = tmp_path / "link"
    link.symlink_to(target)
    fs = FileSystem()
    for call in (
        lambda: fs.read(str(link)),
        lambda: fs.sync(str(link)),
        lambda: fs.open_lockfile(str(link), make=False),
        lambda: fs.open_lockfile(str(link), make=True),
    ):
        with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
            call()
    assert target.read_bytes() == b"secret"


def test_reading_an_irregular_file_fails_at_once(tmp_path: Path) -> None:
    """A FIFO without a writer, and a directory, are refused without blocking."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name in ("fifo", "folder"):
        with pytest.raises(OSError, match="not a regular file"):
            FileSystem().read(f"{tmp_path}/{name}")


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    """A file longer than one read is complete, also if its descriptor is at its end."""
    text = os.urandom(3_000_001)
    fs = FileSystem()
    with closing(fs.create(f"{tmp_path}/file")) as fd:
        assert fs.read_from(fd) == b""
        assert fs.write(fd, text) == len(text)
        assert fs.read_from(fd) == text
    assert fs.read(f"{tmp_path}/file") == text


@pytest.mark.parametrize(
    "most_bytes", [None, 0, 1, 500, 1 << 20, (1 << 20) + 1, 2_500_000, 1 << 40]
)
@pytest.mark.parametrize("at", [0, 7, 1 << 20, 3_000_000, 4_000_000])
def test_part_of_a_file_is_read(at: int, most_bytes: int | None, tmp_path: Path) -> None:
    """From an offset on, as much as is asked for and exists."""
    text = os.urandom(3_000_001)
    (tmp_path / "file").write_bytes(text)
    wanted = text[at:] if most_bytes is None else text[at : at + most_bytes]
    assert FileSystem().read(f"{tmp_path}/file", at, most_bytes) == wanted


def test_only_a_regular_file_is_a_lockfile(tmp_path: Path) -> None:
    """A FIFO, which could be opened and locked, is refused; no descriptor is leaked."""
    os.mkfifo(tmp_path / "fifo")
    before = os.listdir("/dev/fd")
    for make in (False, True):
        with pytest.raises(OSError, match="not a regular file"):
            FileSystem().open_lockfile(f"{tmp_path}/fifo", make=make)
    assert os.listdir("/dev/fd") == before


def test_bytes_are_written_in_place(tmp_path: Path) -> None:
    """Bytes before and after are unchanged; a gap after the end is filled with zeros."""
    fs = FileSystem()
    with closing(fs.create_lockfile(f"{tmp_path}/file")) as fd:
        fs.write_at_start(fd, b"0123456789")
        fs.write_at(fd, b"xx", 4)
        fs.write_at(fd, b"end", 12)
    assert (tmp_path / "file").read_bytes() == b"0123xx6789\0\0end"


def test_segments_are_appended_and_lockfiles_overwritten(tmp_path: Path) -> None:
    """A segment is written at its end, also after it was truncated; a lock file at its start."""
    fs = FileSystem()
    with closing(fs.create(f"{tmp_path}/segment")) as fd:
        for part in (b"one\n", b"two\n", b"torn"):
            fs.write(fd, part)
        fs.truncate(fd, 8)
        fs.write(fd, b"three\n")
    assert (tmp_path / "segment").read_bytes() == b"one\ntwo\nthree\n"
    with closing(fs.create_lockfile(f"{tmp_path}/register")) as fd:
        fs.write_at_start(fd, b"first")
        fs.write_at_start(fd, b"other")
    assert (tmp_path / "register").read_bytes() == b"other"


def test_a_lockfile_is_created_only_on_request(tmp_path: Path) -> None:
    """Opening a missing one fails and creates no file."""
    fs = FileSystem()
    with pytest.raises(FileNotFoundError):
        fs.open_lockfile(f"{tmp_path}/gone", make=False)
    assert os.listdir(tmp_path) == []
    with closing(fs.open_lockfile(f"{tmp_path}/gone", make=True)):
        assert os.listdir(tmp_path) == ["gone"]


def test_files_and_directories_can_be_synced(tmp_path: Path) -> None:
    """A missing path is an error."""
    fs = FileSystem()
    (tmp_path / "file").touch()
    fs.sync(f"{tmp_path}/file")
    fs.sync(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        fs.sync(f"{tmp_path}/gone")


def test_a_lock_excludes_every_other_descriptor(tmp_path: Path) -> None:
    """Other descriptors of the same process do not get it; closing the descriptor releases it."""
    assert CAN_LOCK
    fs, path = FileSystem(), f"{tmp_path}/lock"
    with closing(fs.create_lockfile(path)) as first:
        assert fs.try_lock(first)
        assert fs.try_lock(first)
        with closing(fs.open_lockfile(path, make=False)) as second:
            assert not fs.try_lock(second)
    with closing(fs.open_lockfile(path, make=False)) as third:
        assert fs.try_lock(third)


def test_checking_a_lock_does_not_take_it(tmp_path: Path) -> None:
    """A locked file is reported as locked, within one process too; a link is not followed."""
    fs, path = FileSystem(), f"{tmp_path}/lock"
    with closing(fs.create_lockfile(path)) as fd:
        assert not fs.is_locked(path)
        assert fs.try_lock(fd)
        assert fs.is_locked(path)
        os.symlink(path, f"{tmp_path}/link")
        with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
            fs.is_locked(f"{tmp_path}/link")
        with closing(fs.open_lockfile(path, make=False)) as other:
            assert not fs.try_lock(other)
    assert not fs.is_locked(path)


def test_a_lock_refused_with_eacces_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """POSIX allows EACCES for a busy lock; any other error is raised."""
    fs = FileSystem()

    def answer(number: int) -> None:
        def flock(fd: int, how: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", flock)

    with closing(fs.create_lockfile(f"{tmp_path}/lock")) as fd:
        answer(errno.EACCES)
        assert not fs.try_lock(fd)
        answer(errno.ENOLCK)
        with pytest.raises(OSError, match=os.strerror(errno.ENOLCK)):
            fs.try_lock(fd)


def test_no_descriptor_is_leaked_to_a_program(tmp_path: Path) -> None:
    """A program started by `exec` has no copy, so no lock outlives its owner there."""
    fs = FileSystem()
    fds = [
        fs.create(f"{tmp_path}/segment"),
        fs.create_lockfile(f"{tmp_path}/register"),
        fs.open_lockfile(f"{tmp_path}/stray", make=True),
    ]
    try:
        program = (
            "import os, sys\n"
            "for path in sys.argv[1:]:\n"
            "    for fd in range(3, 256):\n"
            "        try:\n"
            "            found = os.fstat(fd)\n"
            "        except OSError:\n"
            "            continue\n"
            "        assert not os.path.samestat(found, os.stat(path)), (fd, path)\n"
        )
        paths = [f"{tmp_path}/{name}" for name in ("segment", "register", "stray")]
        command = [sys.executable, "-c", program, *paths]
        assert subprocess.run(command, close_fds=False, check=False).returncode == 0
    finally:
        for fd in fds:
            os.close(fd)


def test_sizes_skip_removed_entries(tmp_path: Path) -> None:
    """Each entry has its size and time; one removed during the listing is left out."""
    for name, size in (("a", 1), ("b", 2), ("c", 3)):
        (tmp_path / name).write_bytes(b"x" * size)
        os.utime(tmp_path / name, (50, 100 + size))
    found = []
    listing = FileSystem().sizes(str(tmp_path))
    found.append(next(listing))
    gone = next(name for name in "abc" if name != found[0][0])
    (tmp_path / gone).unlink()
    found += listing
    kept = [(name, size, 100.0 + size) for name, size in (("a", 1), ("b", 2), ("c", 3))]
    assert sorted(found) == [entry for entry in kept if entry[0] != gone]


def test_a_link_has_its_own_size(tmp_path: Path) -> None:
    """A symbolic link has its own size, not that of its target."""
    (tmp_path / "big").write_bytes(b"x" * 10_000)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to("../big")
    [(name, size, _)] = FileSystem().sizes(str(folder))
    assert (name, size) == ("link", len("../big"))
