"""Spool directories of several processes, for tests of the commands that read them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from fslog.net.destination import Destination
from fslog.spool.directory import SpoolDirectory
from fslog.spool.segments import SegmentName
from processes import KEYS, Process, started

PROGRAM = """
    import os, signal, sys, counted

    spool, count, source, end = sys.argv[1:]
    handler = counted.handle(spool=spool, flush_interval=60)
    for number in range(int(count)):
        counted.say(number, source)
    counted.tell(logged=int(count))
    if end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        signal.pause()
"""
"""Logs some events, and then is killed, or waits for a signal."""


def digest() -> str:
    """Return the digest of the programs' keys."""
    return Destination("https://events.example", *KEYS).keys_digest()


def directory(path: Path) -> SpoolDirectory:
    """Return a spool directory with the programs' keys."""
    return SpoolDirectory(str(path), digest())


def leave(path: Path, *texts: bytes) -> str:
    """Write the segments of a dead process; return its owner's name."""
    spool = directory(path)
    owner = spool.create_owner()
    for number, text in enumerate(texts, start=1):
        spool.write(spool.segment_path(SegmentName(owner.name, number)), text)
    owner.claim(sum(map(len, texts)))
    owner.close()
    return owner.name


@contextlib.contextmanager
def logging_process(
    path: Path, count: int, source: str, endpoint: str, end: str = "waits"
) -> Iterator[Process]:
    """Run a process that logs into a spool; its events are on disk when the block begins."""
    arguments = [str(path), str(count), source, end]
    with started(PROGRAM, endpoint, arguments=arguments) as process:
        if end == "killed":
            assert process.end(30.0).facts == {"logged": count}
        else:
            deadline_at = time.monotonic() + 30.0
            while not process.written("out"):
                assert time.monotonic() < deadline_at, process.written("err")
                assert process.is_running(), process.written("err")
                time.sleep(0.01)
        yield process


def snapshot(path: Path) -> dict[str, tuple[int, int, int, int]]:
    """Return all files below a directory with their inode, size and times."""
    found = {}
    for one in (path, *sorted(path.rglob("*"))):
        status = one.lstat()
        at = str(one.relative_to(path))
        found[at] = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return found
