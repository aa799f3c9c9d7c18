"""From the quarantine back to where lines wait, and out of it for good, while others use the spool.

What is requeued is written as a dead process would have left it: segments of an owner of its own,
whose lock is let go when they are complete. Any process that uses the spool takes them over then.
A file leaves the quarantine only after that, so that a crash in between sends it twice and loses
nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fslog.cli.spool.spools import Contents, NotSpool
from fslog.spool import owners
from fslog.spool.directory import QUARANTINE, SpoolDirectory
from fslog.spool.filesystem import FileSystem
from fslog.spool.owners import Owner
from fslog.spool.segments import RejectedLine, SegmentName, partition_lines


@dataclass(frozen=True)
class Requeued:
    """What became of one file of the quarantine.

    Args:
        name: without its ending.
        events: how many wait again.
        kept: the lines that stay, because they are no events; each says why.
        trouble: why the file was not touched; empty where it was.
    """

    name: str
    events: int
    kept: tuple[RejectedLine, ...]
    trouble: str = ""


def requeue(
    contents: Contents, names: Sequence[str], fs: FileSystem | None = None
) -> Iterator[Requeued]:
    """Have events that were set aside wait again, after all that waits already.

    Args:
        contents: of the directory, as it was looked at.
        names: of files of its quarantine, without their endings.

    Raises:
        NotSpool: the directory belongs to keys that nothing tells any more.
        OSError, ValueError: it cannot be written to; what was not yielded was not requeued.
    """
    if contents.digest is None:
        raise NotSpool(
            f"{contents.path!r} has lost its marker: start a process that uses the spool, "
            "which makes a new one, and try again"
        )
    directory = SpoolDirectory(contents.path, contents.digest, fs=fs)
    owner = directory.create_owner()
    try:
        for number, name in enumerate(names, start=1):
            yield _requeue_one(directory, owner, number, name)
    finally:
        if _written_bytes(directory, owner):
            owner.close()  # an orphan's from now on
        else:
            owner.remove()


def _requeue_one(directory: SpoolDirectory, owner: Owner, number: int, name: str) -> Requeued:
    path = directory.join(QUARANTINE, f"{name}.ndjson")
    fs = directory.fs
    try:
        fd = fs.open_lockfile(path, make=False)
    except FileNotFoundError:
        return Requeued(name, 0, (), "it is not there any more")
    except OSError as error:
        return Requeued(name, 0, (), f"it cannot be opened: {error.strerror or error}")
    try:
        # Another requeue of the same file must not send it a second time.
        if not fs.try_lock(fd) or not owners.is_linked(fs, fd, path):
            return Requeued(name, 0, (), "somebody else is requeuing it")
        try:
            good, bad = events_in(fs.read_from(fd))
        except OSError as error:
            return Requeued(name, 0, (), f"it cannot be read: {error.strerror or error}")
        if good:
            _write(directory, owner, SegmentName(owner.name, number), good)
            _leave(directory, name, bad)
        return Requeued(name, len(good), tuple(bad))
    finally:
        fs.close(fd)


def events_in(text: bytes) -> tuple[list[bytes], list[RejectedLine]]:
    r"""Tell what is an event in a file that was set aside from what is none.

    A last line that lacks nothing but its newline is an event here: whoever asks has seen it.

    >>> event = b'{"accountId":"a","userId":"u","createdAt":1,"action":"x","sessionId":"s"}'
    >>> good, bad = events_in(b"torn\n" + event)
    >>> good == [event + b"\n"], [(line.offset, line.text) for line in bad]
    (True, [(0, b'torn\n')])
    """
    good, bad, _ = partition_lines(text)
    if bad and not bad[-1].text.endswith(b"\n"):
        whole, _, _ = partition_lines(bad[-1].text + b"\n")
        if whole:
            return good + whole, bad[:-1]
    return good, bad


def _write(directory: SpoolDirectory, owner: Owner, name: SegmentName, lines: list[bytes]) -> None:
    text = b"".join(lines)
    owner.claim(_written_bytes(directory, owner) + len(text))
    directory.write(directory.segment_path(name), text, is_synced=True)
    directory.fs.sync(directory.path)


def _written_bytes(directory: SpoolDirectory, owner: Owner) -> int:
    return sum(size for _, size in directory.segments().get(owner.name, []))


def _leave(directory: SpoolDirectory, name: str, bad: list[RejectedLine]) -> None:
    """Leave in the quarantine only what is no event, with the reason of its first line."""
    if not bad:
        remove(directory.path, name, directory.fs)
        return
    path = directory.join(QUARANTINE, name)
    directory.write(f"{path}.ndjson", b"".join(line.text for line in bad), is_synced=True)
    more = f" ({len(bad) - 1} more lines are wrong, too)" if len(bad) > 1 else ""
    directory.write(f"{path}.reason", f"{bad[0].reason}{more}\n".encode("utf-8", "replace"))


def remove(path: str, name: str, fs: FileSystem | None = None) -> bool:
    """Remove a file of the quarantine, and its reason, for good.

    Args:
        path: of the spool's directory.
        name: without its ending.

    Returns:
        False if it is not there any more.

    Raises:
        OSError: it could not be removed.
    """
    fs = fs or FileSystem()
    stem = os.path.join(path, QUARANTINE, name)
    try:
        fs.unlink(f"{stem}.ndjson")
    except FileNotFoundError:
        return False
    with contextlib.suppress(FileNotFoundError):
        fs.unlink(f"{stem}.reason")
    return True
