"""The checkpoint and the reject file, which outlive an upload."""

from __future__ import annotations

import errno
import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fslog.cli.options import CommandError
from fslog.cli.upload.checkpoint import (
    Checkpoint,
    Progress,
    RejectFile,
    RejectsCheckpoint,
    destination_id,
    read_checkpoint,
)
from fslog.net.destination import Destination
from fslog.spool.filesystem import FileSystem

SENT = Progress(
    120, 10, "d" * 32, 8, 2, True, "h", "2026-01-01T00:00:00Z", RejectsCheckpoint("/r", 3, 9, "e")
)


def mode(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


# Checkpoints


def test_a_checkpoint_is_read_as_written(tmp_path: Path) -> None:
    """The next run reads the progress that was written for each destination."""
    path = tmp_path / "a.fslog-sent"
    written = read_checkpoint(str(path))
    assert written.sent == {}
    written.sent |= {"here": SENT, "there": replace(SENT, rejects=None, is_complete=False)}
    written.write()
    assert read_checkpoint(str(path)).sent == written.sent
    assert mode(path) == 0o600
    assert os.listdir(tmp_path) == ["a.fslog-sent"]


def test_destinations_are_distinguished(tmp_path: Path) -> None:
    """Another endpoint, or other keys, are another destination; the id reveals no key."""
    base = "https://events.example"
    those = [
        Destination(base, "auth-key", "api-key"),
        Destination(f"{base}/x", "auth-key", "api-key"),
        Destination("https://other.example", "auth-key", "api-key"),
        Destination(base, "auth-key", "other-key"),
        Destination(base, "other-key", "api-key"),
    ]
    found = {destination_id(one) for one in those}
    assert len(found) == 5
    assert destination_id(Destination(base, "auth-key", "api-key")) in found
    assert not any("key" in one for one in found)


class Failing(FileSystem):
    """Fail in one of the steps."""

    def __init__(self, step: str) -> None:
        def fail(*given: Any) -> Any:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        setattr(self, step, fail)


@pytest.mark.parametrize("step", ["create", "write", "fsync", "replace"])
def test_a_failed_write_keeps_the_last_checkpoint(step: str, tmp_path: Path) -> None:
    """Whichever step fails, an error is raised, and the previous checkpoint is intact."""
    path = str(tmp_path / "a.fslog-sent")
    Checkpoint(path, {"here": SENT}).write()
    with pytest.raises(OSError, match="No space left"):
        Checkpoint(path, {"here": replace(SENT, offset=500)}, Failing(step)).write()
    assert read_checkpoint(path).sent == {"here": SENT}
    Checkpoint(path, {"here": replace(SENT, offset=500)}).write()
    assert read_checkpoint(path).sent["here"].offset == 500
    assert os.listdir(tmp_path) == ["a.fslog-sent"]


def test_a_checkpoint_is_written_despite_short_writes(tmp_path: Path) -> None:
    """If the system writes only some of the bytes, the rest is written too."""

    class Slow(FileSystem):
        def write(self, fd: int, text: Any) -> int:  # type: ignore[override]
            return os.write(fd, text[:7])

    path = str(tmp_path / "a.fslog-sent")
    Checkpoint(path, {"here": SENT}, Slow()).write()
    assert read_checkpoint(path).sent == {"here": SENT}


def test_a_symlink_is_not_followed(tmp_path: Path) -> None:
    """A symbolic link with the name of the draft or the checkpoint is replaced, not followed."""
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    path = tmp_path / "a.fslog-sent"
    for name in (path, tmp_path / "a.fslog-sent.tmp"):
        name.symlink_to(victim)
    Checkpoint(str(path), {"here": SENT}).write()
    assert victim.read_text() == "theirs"
    assert read_checkpoint(str(path)).sent == {"here": SENT}


GOOD = json.dumps({"version": 1, "sent": {"here": {"offset": 1}}})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "\udcff",
        '{"version": 2, "sent": {}}',
        '{"version": 1, "sent": []}',
        '{"version": 1, "sent": {"here": {"offset": 1}}}',
        "[" * 100_000,
        json.dumps({"version": 1, "sent": {"here": {**vars(SENT), "rejects": 7}}}),
        json.dumps({"version": 1, "sent": {"here": {**vars(SENT), "rejects": {"path": "x"}}}}),
        json.dumps(
            {
                "version": 1,
                "sent": {"a": {**vars(SENT), "rejects": {**vars(SENT.rejects), "size_bytes": -1}}},
            }
        ),
        json.dumps({"version": 1, "sent": {"a": {**vars(SENT), "rejects": None, "offset": -1}}}),
        json.dumps({"version": 1, "sent": {"a": {**vars(SENT), "rejects": None, "offset": "9"}}}),
        json.dumps({"version": 1, "sent": {"a": {**vars(SENT), "rejects": None, "host": None}}}),
    ],
)
def test_an_invalid_checkpoint_is_refused(text: str, tmp_path: Path) -> None:
    """A file that fslog cannot have written is an error; no progress is guessed from it."""
    path = tmp_path / "a.fslog-sent"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CommandError, match="was not written by fslog send; move it away"):
        read_checkpoint(str(path))


def test_an_unreadable_checkpoint_is_refused(tmp_path: Path) -> None:
    """A link, a directory or a FIFO is an error, and is not waited for."""
    for name, make in (
        ("link", lambda path: os.symlink(tmp_path / "nothing", path)),
        ("directory", os.mkdir),
        ("fifo", os.mkfifo),
    ):
        make(str(tmp_path / name))
        with pytest.raises(CommandError, match="cannot be read"):
            read_checkpoint(str(tmp_path / name))


def test_a_checkpoint_needs_a_writable_directory(tmp_path: Path) -> None:
    """A checkpoint that cannot be written is an error before anything is sent."""
    with pytest.raises(CommandError, match="--state-dir DIR puts it elsewhere"):
        read_checkpoint(str(tmp_path / "missing" / "a.fslog-sent"))


# Reject files


def written(path: Path, *pieces: bytes) -> RejectsCheckpoint:
    """Write a reject file, and return its checkpoint."""
    file = RejectFile(str(path))
    file.open()
    file.write(pieces)
    file.sync()
    known = file.checkpoint()
    file.close()
    assert known is not None
    return known


def resumed(path: Path, *known: RejectsCheckpoint) -> bytes:
    """Reopen a reject file, append a line, and return its content."""
    file = RejectFile(str(path))
    file.reopen(known)
    if not file.is_open:
        file.open()
    file.write([b"next\n"])
    last = file.checkpoint()
    file.close()
    assert last is not None
    assert last.size_bytes == path.stat().st_size
    again = RejectFile(str(path))
    again.reopen([last])
    assert again.checkpoint() == last
    again.close()
    return path.read_bytes()


def test_a_reject_file_is_private(tmp_path: Path) -> None:
    """It is created when needed and readable by its owner alone; its checkpoint covers it."""
    path = tmp_path / "a.rejects.ndjson"
    file = RejectFile(str(path))
    assert (file.is_open, file.checkpoint(), path.exists()) == (False, None, False)
    file.sync()
    known = written(path, b"a\n", b"b\n")
    assert (known.size_bytes, known.inode, known.path) == (4, path.stat().st_ino, str(path))
    assert mode(path) == 0o600
    assert path.read_bytes() == b"a\nb\n"


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    """A file with content is an error; an empty or missing one is used."""
    path = tmp_path / "a.rejects.ndjson"
    path.write_bytes(b"theirs\n")
    for attempt in (RejectFile(str(path)).check, RejectFile(str(path)).open):
        with pytest.raises(CommandError, match="exists already; move it away"):
            attempt()
    with pytest.raises(CommandError, match="exists already"):
        RejectFile(str(path)).reopen([])
    assert path.read_bytes() == b"theirs\n"
    path.write_bytes(b"")
    path.chmod(0o644)
    written(path, b"a\n")
    assert (path.read_bytes(), mode(path)) == (b"a\n", 0o600)


def test_a_reject_file_is_a_regular_file(tmp_path: Path) -> None:
    """A link, a FIFO and a directory are errors."""
    path = tmp_path / "link"
    path.symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    known = RejectsCheckpoint("x", 0, 0, "")
    for name in ("link", "fifo", "directory"):
        with pytest.raises(CommandError):
            RejectFile(str(tmp_path / name)).open()
        with pytest.raises(CommandError):
            RejectFile(str(tmp_path / name)).reopen([known])
    assert not (tmp_path / "elsewhere").exists()


def test_a_reject_file_needs_a_directory(tmp_path: Path) -> None:
    """A directory that does not exist is an error before anything is sent."""
    with pytest.raises(CommandError, match="--rejects FILE names another"):
        RejectFile(str(tmp_path / "missing" / "a")).check()
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="cannot be created: Not a directory"):
        RejectFile(str(tmp_path / "file" / "a")).check()


def test_what_a_killed_run_wrote_last_is_truncated(tmp_path: Path) -> None:
    """Lines after the checkpoint will be rejected again, and are not to be there twice."""
    path = tmp_path / "a.rejects.ndjson"
    known = written(path, b"a\n")
    path.write_bytes(b"a\nb\nhalf of c")  # in place: the same file
    assert resumed(path, known) == b"a\nnext\n"


def test_the_largest_checkpoint_counts(tmp_path: Path) -> None:
    """Of several checkpoints of one file, the valid one that covers most of it is used."""
    path = tmp_path / "a.rejects.ndjson"
    first = written(path, b"a\n")
    path.write_bytes(b"")
    second = written(path, b"a\nb\n")
    third = replace(second, size_bytes=3, digest="0" * 32)
    path.write_bytes(b"a\nb\nc\n")
    assert resumed(path, first, second, third) == b"a\nb\nnext\n"


@pytest.mark.parametrize("mended", [b"A\n", b"", b"mended, without a newline", b"x\ny\nz\n"])
def test_a_corrected_reject_file_is_appended_to(mended: bytes, tmp_path: Path) -> None:
    """If the content has changed, none of it is truncated."""
    path = tmp_path / "a.rejects.ndjson"
    known = written(path, b"a\n")
    path.write_bytes(mended)
    newline = b"\n" if mended and not mended.endswith(b"\n") else b""
    assert resumed(path, known) == mended + newline + b"next\n"


def test_a_replaced_reject_file_is_appended_to(tmp_path: Path) -> None:
    """Another file of that name is not truncated, even if the checkpoint is of no bytes."""
    path = tmp_path / "a.rejects.ndjson"
    known = written(path)
    os.rename(path, tmp_path / "old")
    path.write_bytes(b"theirs\n")
    assert resumed(path, known) == b"theirs\nnext\n"


def test_a_moved_reject_file_is_created_again(tmp_path: Path) -> None:
    """If the rejects are corrected elsewhere, the new file has only new ones."""
    path = tmp_path / "a.rejects.ndjson"
    known = written(path, b"a\n")
    path.unlink()
    assert resumed(path, known) == b"next\n"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_lines_are_written_whole_or_not_at_all(error: BaseException, tmp_path: Path) -> None:
    """A write that is interrupted leaves no part of a line behind."""
    path = tmp_path / "a.rejects.ndjson"
    file = RejectFile(str(path))
    file.open()
    file.write([b"a\n"])
    before = file.checkpoint()

    def pieces() -> Any:
        yield b"half of "
        raise error

    with pytest.raises(type(error)):
        file.write(pieces())
    assert file.checkpoint() == before
    assert path.read_bytes() == b"a\n"
    file.write([b"b\n"])
    file.close()
    file.close()
    assert path.read_bytes() == b"a\nb\n"
