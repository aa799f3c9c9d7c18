"""What outlives an upload: the receipt beside its file, and the reject file."""

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
    """Return who may do what with a file."""
    return stat.S_IMODE(path.stat().st_mode)


# Receipts


def test_a_receipt_is_read_as_it_was_written(tmp_path: Path) -> None:
    """What is written for each destination is what the next run reads."""
    path = tmp_path / "a.fslog-sent"
    written = read_checkpoint(str(path))
    assert written.sent == {}
    written.sent |= {"here": SENT, "there": replace(SENT, rejects=None, is_complete=False)}
    written.write()
    assert read_checkpoint(str(path)).sent == written.sent
    assert mode(path) == 0o600
    assert os.listdir(tmp_path) == ["a.fslog-sent"]


def test_a_destination_is_told_from_others(tmp_path: Path) -> None:
    """Another endpoint, or other keys, are another destination, and no key can be read from it."""
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
def test_a_receipt_that_cannot_be_written_leaves_the_last_one(step: str, tmp_path: Path) -> None:
    """Whatever fails is told, and what was written before is still there, whole."""
    path = str(tmp_path / "a.fslog-sent")
    Checkpoint(path, {"here": SENT}).write()
    with pytest.raises(OSError, match="No space left"):
        Checkpoint(path, {"here": replace(SENT, offset=500)}, Failing(step)).write()
    assert read_checkpoint(path).sent == {"here": SENT}
    Checkpoint(path, {"here": replace(SENT, offset=500)}).write()
    assert read_checkpoint(path).sent["here"].offset == 500
    assert os.listdir(tmp_path) == ["a.fslog-sent"]


def test_a_receipt_is_written_in_small_pieces_if_need_be(tmp_path: Path) -> None:
    """A system that takes only some of the bytes at a time is asked again."""

    class Slow(FileSystem):
        def write(self, fd: int, text: Any) -> int:  # type: ignore[override]
            return os.write(fd, text[:7])

    path = str(tmp_path / "a.fslog-sent")
    Checkpoint(path, {"here": SENT}, Slow()).write()
    assert read_checkpoint(path).sent == {"here": SENT}


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    """What somebody laid under the draft's name, or the receipt's, is not written to."""
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
def test_what_is_no_receipt_is_not_taken_for_one(text: str, tmp_path: Path) -> None:
    """Nobody guesses how much was sent from a file that fslog cannot have written."""
    path = tmp_path / "a.fslog-sent"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CommandError, match="was not written by fslog send; move it away"):
        read_checkpoint(str(path))


def test_a_receipt_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A link, a directory, a FIFO under its name are no receipts, and nobody waits for them."""
    for name, make in (
        ("link", lambda path: os.symlink(tmp_path / "nothing", path)),
        ("directory", os.mkdir),
        ("fifo", os.mkfifo),
    ):
        make(str(tmp_path / name))
        with pytest.raises(CommandError, match="cannot be read"):
            read_checkpoint(str(tmp_path / name))


def test_a_receipt_needs_a_place(tmp_path: Path) -> None:
    """Where none can be written that is said before anything is sent."""
    with pytest.raises(CommandError, match="--state-dir DIR puts it elsewhere"):
        read_checkpoint(str(tmp_path / "missing" / "a.fslog-sent"))


# Reject files


def written(path: Path, *pieces: bytes) -> RejectsCheckpoint:
    """Make a reject file, and return what is vouched for."""
    file = RejectFile(str(path))
    file.open()
    file.write(pieces)
    file.sync()
    vouched = file.checkpoint()
    file.close()
    assert vouched is not None
    return vouched


def gone_on_with(path: Path, *vouched: RejectsCheckpoint) -> bytes:
    """Go on with a reject file, add a line, and return all that is in it."""
    file = RejectFile(str(path))
    file.reopen(vouched)
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


def test_a_reject_file_is_for_its_owner(tmp_path: Path) -> None:
    """It is made when it is needed, readable by nobody else, and vouched for as a whole."""
    path = tmp_path / "a.rejects.ndjson"
    file = RejectFile(str(path))
    assert (file.is_open, file.checkpoint(), path.exists()) == (False, None, False)
    file.sync()
    vouched = written(path, b"a\n", b"b\n")
    assert (vouched.size_bytes, vouched.inode, vouched.path) == (4, path.stat().st_ino, str(path))
    assert mode(path) == 0o600
    assert path.read_bytes() == b"a\nb\n"


def test_a_file_in_the_way_is_not_written_over(tmp_path: Path) -> None:
    """What holds something is somebody's; what is empty, or is not there, may be used."""
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


def test_what_is_no_file_is_not_written_to(tmp_path: Path) -> None:
    """Neither a link, nor a FIFO, nor a directory is taken for a reject file."""
    path = tmp_path / "link"
    path.symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    vouched = RejectsCheckpoint("x", 0, 0, "")
    for name in ("link", "fifo", "directory"):
        with pytest.raises(CommandError):
            RejectFile(str(tmp_path / name)).open()
        with pytest.raises(CommandError):
            RejectFile(str(tmp_path / name)).reopen([vouched])
    assert not (tmp_path / "elsewhere").exists()


def test_a_place_where_none_can_be_made_is_told(tmp_path: Path) -> None:
    """That there is no such directory is said before anything is sent."""
    with pytest.raises(CommandError, match="--rejects FILE names another"):
        RejectFile(str(tmp_path / "missing" / "a")).check()
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="cannot be created: Not a directory"):
        RejectFile(str(tmp_path / "file" / "a")).check()


def test_what_a_killed_run_wrote_last_is_cut_off(tmp_path: Path) -> None:
    """Lines behind what is vouched for come again: they are not to stand there twice."""
    path = tmp_path / "a.rejects.ndjson"
    vouched = written(path, b"a\n")
    path.write_bytes(b"a\nb\nhalf of c")  # in place: the same file
    assert gone_on_with(path, vouched) == b"a\nnext\n"


def test_the_last_word_counts(tmp_path: Path) -> None:
    """Of several accounts of one file, the one that vouches for most of it is right."""
    path = tmp_path / "a.rejects.ndjson"
    first = written(path, b"a\n")
    path.write_bytes(b"")
    second = written(path, b"a\nb\n")
    third = replace(second, size_bytes=3, digest="0" * 32)
    path.write_bytes(b"a\nb\nc\n")
    assert gone_on_with(path, first, second, third) == b"a\nb\nnext\n"


@pytest.mark.parametrize("mended", [b"A\n", b"", b"mended, without a newline", b"x\ny\nz\n"])
def test_a_file_that_somebody_mends_is_added_to(mended: bytes, tmp_path: Path) -> None:
    """Where it is not what was written any more, nothing of it is cut off."""
    path = tmp_path / "a.rejects.ndjson"
    vouched = written(path, b"a\n")
    path.write_bytes(mended)
    newline = b"\n" if mended and not mended.endswith(b"\n") else b""
    assert gone_on_with(path, vouched) == mended + newline + b"next\n"


def test_a_file_that_was_replaced_is_added_to(tmp_path: Path) -> None:
    """Another file of that name is not cut, even where nothing was vouched for yet."""
    path = tmp_path / "a.rejects.ndjson"
    vouched = written(path)
    os.rename(path, tmp_path / "old")
    path.write_bytes(b"theirs\n")
    assert gone_on_with(path, vouched) == b"theirs\nnext\n"


def test_a_file_that_was_moved_away_is_made_again(tmp_path: Path) -> None:
    """Who mends the rejects elsewhere gets only new ones."""
    path = tmp_path / "a.rejects.ndjson"
    vouched = written(path, b"a\n")
    path.unlink()
    assert gone_on_with(path, vouched) == b"next\n"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_lines_are_written_whole_or_not_at_all(error: BaseException, tmp_path: Path) -> None:
    """What breaks off in the middle leaves nothing of it behind."""
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
