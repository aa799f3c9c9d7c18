"""What the endpoint received: entries for the history, and lines for the `--store` file."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from fslog.collector.http import Message
from fslog.collector.judge import ParsedBody, Request
from fslog.plan.plan import Plan
from fslog.spool.filesystem import FileSystem
from fslog.viewer.entries import make_entry
from fslog.viewer.history import History, JsonObject
from fslog.viewer.planned import PlanCounts

_MAX_FAILED_BODIES = 1_000
_MAX_TEXT = 200


class Recorder:
    """Record every request to the endpoint; `Collector` serializes the calls.

    Args:
        history: where entries and requests are kept.
        write: called with the accepted lines before any reader can see them; None for no file.
        plan: a tracking plan; None for none.
        planned: the events by that plan, guarded by the history's lock.
    """

    def __init__(
        self,
        history: History,
        write: Callable[[Sequence[bytes]], None] | None,
        plan: Plan | None = None,
        planned: PlanCounts | None = None,
    ) -> None:
        self._plan = plan
        self._planned = planned
        self._history = history
        self._write = write
        self._failed: OrderedDict[bytes, JsonObject] = OrderedDict()

    def __call__(self, message: Message, request: Request, parsed: ParsedBody) -> None:
        """Record one request; the `on_intake` of `Collector`."""
        at = int(time.time() * 1000)
        entries = [make_entry(line, at, self._plan) for line in parsed.lines]
        if self._write is not None:
            self._write([entry.line for entry in entries if entry.is_line])
        digest = hashlib.blake2b(message.body, digest_size=16).digest() if message.body else None
        recorded = _request_json(request, at)
        earlier = self._failed.pop(digest, None) if digest is not None else None
        if earlier is not None:
            recorded |= {"retry_of": earlier["id"], "try": earlier["try"] + 1}
        with self._history.lock:
            if self._planned is not None:
                self._planned.add(parsed.events)
            self._history.add(recorded, entries)
        if digest is not None and request.status != 200:
            self._failed[digest] = recorded
            if len(self._failed) > _MAX_FAILED_BODIES:
                self._failed.popitem(last=False)


def _request_json(request: Request, at: int) -> JsonObject:
    return {
        "id": 0,  # assigned by the history
        "at": at,
        "method": request.method[:_MAX_TEXT],
        "path": request.path[:_MAX_TEXT],
        "status": request.status,
        "then": request.then,
        "encoding": request.encoding,
        "bytes_received": request.bytes_received,
        "bytes_unpacked": request.bytes_unpacked,
        "events": request.events,
        "invalid": request.invalid,
        "kept": request.kept,
        "scripted": request.scripted,
        "reason": request.reason[:_MAX_TEXT],
        "user_agent": request.headers.get("user-agent", "")[:_MAX_TEXT],
        "retry_of": None,
        "try": 1,
    }


_FLAGS: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
# O_NONBLOCK: opening a FIFO that has no reader must fail, not block.
_FLAGS |= getattr(os, "O_NONBLOCK", 0)


class LineFile:
    """Append lines to a file; `append` never fails.

    Args:
        path: of the file. A new file is readable by its owner only; an existing one is extended.
        warn: called with a sentence at the first failed write.
        write: the system call.

    Raises:
        OSError: the file cannot be opened: a directory, a symbolic link, another user's file, ...
    """

    def __init__(
        self,
        path: str,
        warn: Callable[[str], None],
        write: Callable[[int, memoryview], int] = os.write,
    ) -> None:
        self.missing: int = 0
        self._path = path
        self._warn = warn
        self._write = write
        self._fd = _opened(path)
        self._is_torn = _ends_inside_line(self._fd)
        self._has_failed = False

    def append(self, lines: Sequence[bytes]) -> None:
        """Append lines, given without their newlines, in one write; count those that fail."""
        if not lines:
            return
        start = b"\n" if self._is_torn else b""
        text = b"".join([start, *(line + b"\n" for line in lines)])
        left = memoryview(text)
        try:
            while left:
                count = self._write(self._fd, left)
                if not count:
                    raise OSError("the system wrote nothing")
                left = left[count:]
            self._is_torn = False
        except OSError as error:
            written = bytes(text[: len(text) - len(left)])
            self._is_torn = not written.endswith(b"\n") if written else self._is_torn
            whole = written.removeprefix(start).count(b"\n")
            if self._is_torn and len(written) > len(start):
                whole += bytes(left[:1]) == b"\n"  # the line is complete but for its newline
            self.missing += len(lines) - whole
            self._report(error)

    def _report(self, error: OSError) -> None:
        if not self._has_failed:
            self._has_failed = True
            self._warn(
                f"cannot write to {self._path}: {error.strerror or error}. The viewer continues "
                "without it and retries with the next lines"
            )

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            os.close(self._fd)


def _opened(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | _FLAGS)
    except FileNotFoundError:
        return FileSystem().create(path)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{path} is not a regular file")
    return fd


def _ends_inside_line(fd: int) -> bool:
    size = os.fstat(fd).st_size
    return size > 0 and os.pread(fd, 1, size - 1) != b"\n"
