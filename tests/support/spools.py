"""Parts of a spool for tests: watched file systems, segments, shares, processes."""

from __future__ import annotations

import json
import logging
import os
import stat
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import Empty
from typing import Any

from fslog import FreshsuccessHandler
from fslog.collector import Collector
from fslog.delivery.backlog import Backlog
from fslog.delivery.buffer import Buffer
from fslog.delivery.notices import Notices
from fslog.delivery.queue import WakeQueue
from fslog.spool.directory import SpoolDirectory
from fslog.spool.filesystem import FileSystem
from fslog.spool.owners import parse_owner_file
from fslog.spool.reader import Limits
from fslog.spool.segments import parse_name
from fslog.spool.share import Orphan, SpoolShare
from fslog.spool.writer import DiskStore, StoredBatch

Hook = Callable[..., Any]


class Watched(FileSystem):
    """The real file system; it records its calls, and a test may intercept each of them.

    A hook is called with the arguments before the call is made. What it raises is raised; unless
    it returns None, what it returns is returned and the call is not made.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.hooks: dict[str, Hook] = {}
        for name in (name for name in dir(FileSystem) if not name.startswith("_")):
            setattr(self, name, partial(self._call, name, getattr(FileSystem(), name)))

    def _call(self, name: str, real: Hook, *given: Any, **named: Any) -> Any:
        self.calls.append((name, given))
        hook = self.hooks.get(name)
        answer = hook(*given) if hook is not None else None
        return real(*given, **named) if answer is None else answer

    def names(self, *wanted: str) -> list[str]:
        """Return which of these calls were made, in order."""
        return [name for name, _ in self.calls if name in wanted]


def failing(number: int, times: int = 10**9, where: str = "") -> Hook:
    """Return a hook that fails `times` times, only for paths that contain `where`."""
    left = times

    def fail(*given: Any) -> None:
        nonlocal left
        if left > 0 and (not where or where in str(given[0])):
            left -= 1
            raise OSError(number, os.strerror(number))

    return fail


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Set the umask for the block."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: str | Path) -> int:
    """Return the permissions of a file or directory; a link is not followed."""
    return stat.S_IMODE(os.lstat(path).st_mode)


MASKS = [0o000, 0o022, 0o077, 0o277, 0o777]


def event(number: int = 1, **more: object) -> dict[str, object]:
    """Return a valid event."""
    names = {"accountId": "a", "userId": "u", "action": "x", "sessionId": "s"}
    return {**names, "createdAt": 1, "number": number, **more}


def line(number: int = 1, **more: object) -> bytes:
    """Return the line of such an event."""
    return json.dumps(event(number, **more), separators=(",", ":")).encode() + b"\n"


def fork(child: Callable[[], Any]) -> int:
    """Run a function in a forked child, which exits with 0, or with 1 if it raised."""
    with warnings.catch_warnings():
        # From 3.12 on, forking a process with threads (the runner's) causes a warning.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        child()
        code = 0
    finally:
        os._exit(code)


def ended_well(pid: int) -> bool:
    """Wait for a child; return whether it exited with 0."""
    return os.waitpid(pid, 0)[1] == 0


KEYS, OTHER_KEYS = "a" * 32, "b" * 32


class Share(SpoolShare):
    """A share with a watched file system and a clock that the test sets."""

    def __init__(self, path: Path, digest: str = KEYS, **given: Any) -> None:
        self.now = 100.0
        self.epoch = time.time()
        self.watched = Watched()
        self.where = path
        self.last = 0
        numbers: dict[str, Any] = {"max_bytes": 10**6, "fsync": "never", "chunk_bytes": 1000}
        directory = SpoolDirectory(str(path), digest, fs=self.watched)
        super().__init__(directory, clock=lambda: self.now, **{**numbers, **given})

    def write(self, *lines: bytes) -> str:
        """Write a segment and return its name; AssertionError if there is no room."""
        self.last += 1
        assert self.reserve(sum(map(len, lines)))
        segment = self.open(self.last)
        for one in lines:
            segment.write(one)
        segment.close()
        self.used_bytes += sum(map(len, lines))
        return os.path.basename(segment.path)

    def die(self) -> None:
        """Release every lock, as the kernel does for a killed process."""
        self.close_inherited()

    def adopt(self) -> list[tuple[str, list[int]]]:
        """Adopt orphans, and return their owners and numbers."""
        return [(one.owner.name, [n for n, _ in one.segments]) for one in self.look()]

    def look(self) -> list[Orphan]:
        """Adopt orphans, long after the last search."""
        self.epoch += 1000
        return self.orphans(self.epoch)

    def finish(self, orphan: Orphan) -> None:
        """Remove an orphan's segments and end its ownership."""
        for number, _ in orphan.segments:
            assert self.remove(self.path(orphan.owner.name, number))
        self.end_orphan(orphan.owner)

    def claims(self) -> int:
        """Return the sum of the claims in all owners' files."""
        owners = self.where / "owners"
        return sum(int(path.read_bytes().split()[1]) for path in owners.iterdir())


@contextmanager
def shares(path: Path, count: int, **given: Any) -> Iterator[list[Share]]:
    """Return shares of one directory, which die after the block."""
    made = [Share(path, **given) for _ in range(count)]
    try:
        yield made
    finally:
        for share in made:
            share.die()


def segments(path: Path) -> list[str]:
    """Return the names of all segments, in order."""
    return sorted(name for name in os.listdir(path) if parse_name(name) is not None)


def quarantined(path: Path) -> dict[str, bytes]:
    """Return the files of the quarantine, by name."""
    found = path / "quarantine"
    return {one.name: one.read_bytes() for one in found.iterdir()} if found.is_dir() else {}


SIZE = len(line(1))
"""The size of a line with a number below 10."""


class Process:
    """One process with a spool: its buffer, its backlog, and a clock that the test sets."""

    def __init__(self, path: Path, *, keys: str = KEYS, share: Any = None, **given: Any) -> None:
        is_forked = given.pop("is_forked", False)
        aggregate = given.pop("aggregate", None)
        numbers = {"batch_events": 100, "batch_bytes": 10_000, **given}
        self.path = path
        self.now = 100.0
        self.epoch: Callable[[], float] | float = 0.0
        self.share = Share(path, keys, **(share or {}))
        self.fs: Watched = self.share.watched
        self.queue = WakeQueue()
        self.failures: list[Exception | None] = []
        self.opened: Callable[[], Any] = lambda: None
        self.said: list[str] = []
        most_events, most_bytes = numbers["batch_events"], numbers["batch_bytes"]
        store = DiskStore(self.share, Limits(most_events, most_bytes, "deflate", 6, aggregate))
        self.buffer = Buffer(
            self.queue,
            lambda: self.opened() is not False,
            store=store,
            failed=self.failures.append,
            clock=lambda: self.now,
            **{"buffer_bytes": 100_000, **numbers},
        )
        notices = Notices("host", lambda level, text: self.said.append(text), lambda: self.now)
        self.source = store.source(self.buffer, notices, self.time)
        self.backlog = Backlog(
            self.buffer,
            "deflate",
            6,
            aggregate=aggregate,
            source=self.source,
            clock=lambda: self.now,
            is_forked=is_forked,
        )

    def time(self) -> float:
        """Return the seconds since the epoch: of the newest file, or as the test sets them."""
        if callable(self.epoch):
            return self.epoch()
        times = [os.stat(self.path / name).st_mtime for name in segments(self.path)]
        return max(times, default=0.0) + self.epoch

    def read_at_most(self, events: int, size_bytes: int) -> None:
        """Change how much travels together of what is read back."""
        self.source._limits = Limits(events, size_bytes, "deflate", 6)

    def log(self, *numbers: int) -> list[bool]:
        """Append lines; return whether each was accepted."""
        return [self.buffer.append(line(number)) for number in numbers]

    def take(self) -> list[Any]:
        """Move all batches on the queue to the backlog, and return them."""
        found = []
        with suppress(Empty):
            while True:
                found.append(self.queue.get_nowait())
                self.backlog.add(found[-1])
        return found

    def post(self, most: int = 10**9) -> list[int]:
        """Seal, deliver at most `most` batches, and return the numbers of their events."""
        self.buffer.seal()
        self.take()
        found: list[int] = []
        while most > 0 and (batch := self.backlog.head()) is not None:
            found += numbers_of(batch.text("deflate"))
            self.backlog.delivered()
            most -= 1
        return found

    def counts(self, *names: str) -> list[int]:
        """Return some of the counts, and check that they balance."""
        counts = self.buffer.counts()
        left = counts["accepted"] + counts["adopted"]
        assert left == counts["delivered"] + counts["pending"] + counts["abandoned"]
        return [counts[name] for name in names]

    def die(self) -> None:
        """Release all locks and descriptors, as the kernel does for a killed process."""
        self.share.close_inherited()
        self.buffer.close_inherited()
        with suppress(Empty):
            while True:
                item = self.queue.get_nowait()
                if isinstance(item, StoredBatch) and item.segment is not None:
                    item.segment.close()


@contextmanager
def processes(path: Path, count: int = 1, **given: Any) -> Iterator[list[Process]]:
    """Return processes that share a directory and die after the block."""
    made = [Process(path, **given) for _ in range(count)]
    try:
        yield made
    finally:
        for process in made:
            process.die()


def numbers_of(text: bytes) -> list[int]:
    """Return the numbers of the events of a text."""
    return [json.loads(one)["number"] for one in text.splitlines()]


def on_disk(path: Path) -> list[int]:
    """Return the numbers of all waiting events on disk, in the order of the segments."""
    return [n for name in segments(path) for n in numbers_of(waiting(path, name))]


def waiting(path: Path, name: str) -> bytes:
    """Return what waits in a segment: the part after the offset in its owner's file."""
    text, found = (path / name).read_bytes(), parse_name(name)
    assert found is not None
    try:
        state = parse_owner_file((path / "owners" / found.owner).read_bytes())
    except FileNotFoundError:
        return text
    return text[state.settled_bytes(found.number, len(text)) :]


def recover(path: Path) -> list[int]:
    """Return the events that another process adopts and sends, and check that none is left."""
    with processes(path) as [other]:
        other.backlog.adopt_at = 0.0
        other.backlog.adopt_if_due()
        found = other.post()
        assert segments(path) == []
        assert other.counts("pending") == [0]
        return found


@contextmanager
def handler(collector: Collector, path: Path, **settings: Any) -> Iterator[FreshsuccessHandler]:
    """Build a real handler that posts to a collector."""
    made = FreshsuccessHandler(
        auth_key="auth-key-1",
        api_key="api-key-1",
        endpoint=collector.url,
        spool=path,
        **{"flush_interval": 30.0, "max_backoff": 0.2, **settings},
    )
    try:
        yield made
    finally:
        collector.always(None)
        made.close()


def record(number: int, **more: object) -> logging.LogRecord:
    """Return a record of an event."""
    return logging.makeLogRecord({"event": event(number, **more)})
