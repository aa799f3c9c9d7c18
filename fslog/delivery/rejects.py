"""The reject file: invalid events, each with its problems and its call site, to be corrected.

A line is the event as it would have been sent, with one further property, `NOTE`. `fslog send`
removes that property, so a person only corrects the others.

The listener writes the file, not the log call. It is opened for each write, and closed: a fork, a
daemon that closes all descriptors, and a person who moves the file disturb nothing. Each write is
one `write` of whole lines at the file's end, so that several processes may share it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from fslog.counters import Counter
from fslog.errors import Problem
from fslog.interrupts import new_lock, unless_interrupt
from fslog.mapping import schema, sessions
from fslog.mapping.encoding import encode
from fslog.net.redaction import Redactor

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NOTE = "fslog_rejected"
"""The property with the problems; `fslog send` removes it."""

MAX_BYTES = 10 * 1024 * 1024
"""The size at which the file is renamed to `FILE.1`, which replaces an earlier one."""

_MAX_LINE_BYTES = 65_536
_MAX_LINES = 1_000
"""How many lines may wait in memory for the listener, which may be busy with a POST."""

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT
_FLAGS |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

_MAX_ATTEMPTS = 3
_LOCK_ATTEMPTS = 500
_LOCK_SECONDS = 1.0
_MAX_WAIT_SECONDS = 2.0
"""How long a thread waits at most for another one's write, which may wait `_LOCK_SECONDS`."""

_SESSION = {"sessionId": "to be derived"}


def rejected_line(
    record: logging.LogRecord, problems: Sequence[Problem], *, derives_session: bool
) -> bytes:
    """Return the line of an invalid event.

    A very long event is cut to its required properties; if that is still too long, the line has
    no event and no problems. If it is unknown whether the user is excluded, the event is left out.

    Args:
        record: of the log call.
        problems: of the event, at least one.
        derives_session: whether the formatter would have derived the sessionId.
    """
    seen = record.__dict__.get  # records made by hand may lack anything
    event = problems[0].event
    if event is None or any(problem.code == "exclusion" for problem in problems):
        event = {"createdAt": seen("created", 0.0) * 1000}
    note: dict[str, Any] = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seen("created"))),
        "logger": str(seen("name")),
        "place": f"{seen('pathname')}:{seen('lineno')}",
        "problems": [
            {"code": one.code, "property": one.property, "message": one.message} for one in problems
        ],
    }
    if derives_session and "sessionId" not in event:
        note["session"] = "window"
    line = encode({**event, NOTE: note})
    if len(line) > _MAX_LINE_BYTES:
        short = {name: event[name] for name in schema.REQUIRED if name in event}
        line = encode({**short, NOTE: {**note, "size_bytes": len(line)}})
        if len(line) > _MAX_LINE_BYTES:
            line = encode({NOTE: {**note, "problems": [], "size_bytes": len(line)}})
    return line


def corrected(raw: bytes) -> bytes:
    r"""Return a line of a reject file as it is to be sent: without the note.

    A sessionId that was to be derived, and is still missing, is derived. Any other line is returned
    as it is.

    >>> corrected(b'{"accountId":"a","fslog_rejected":{}}\n')
    b'{"accountId":"a"}\n'
    >>> corrected(b'{"accountId":"fslog_rejected"}\n')
    b'{"accountId":"fslog_rejected"}\n'
    """
    if NOTE.encode() not in raw:
        return raw
    try:
        event = json.loads(raw)
    except (ValueError, RecursionError):  # the check says so
        return raw
    if not isinstance(event, dict) or NOTE not in event:
        return raw
    note = event.pop(NOTE)
    wants_session = isinstance(note, dict) and note.get("session") == "window"
    if wants_session and "sessionId" not in event and not schema.problems({**event, **_SESSION}):
        ids: Any = (event[name] for name in (*schema.IDS, "createdAt"))
        event["sessionId"] = sessions.by_window(*ids)
    return encode(event)


def check_rejects(path: str | None, redact: Redactor) -> None:
    """Check that a reject file can be written.

    Args:
        path: of the file; None for none.
        redact: removes the keys.

    Raises:
        ValueError: it cannot.
    """
    if path is None:
        return
    if redact.secrets(path) != path:
        raise ValueError("rejects is a path that contains a key (not shown); expected another path")
    try:
        is_other = not stat.S_ISREG(os.lstat(path).st_mode)
        reason = "it is not a regular file" if is_other else ""
        if not is_other and not os.access(path, os.W_OK):
            reason = "it is not writable"
    except FileNotFoundError:
        directory = os.path.dirname(path) or "."
        can_create = os.path.isdir(directory) and os.access(directory, os.W_OK | os.X_OK)
        reason = "" if can_create else f"{directory!r} is no directory that is writable"
    except unless_interrupt(OSError, ValueError) as error:  # a NUL in a path is a ValueError
        reason = getattr(error, "strerror", None) or "it is not the path of a file"
    if reason:
        raise ValueError(f"rejects is {path!r}, which cannot be written: {reason}")


class Rejects:
    """The reject file of one delivery.

    Args:
        path: of the file.
        failed: called with the error if lines could not be written.
        max_bytes: its size at most, unless a single write is larger.
    """

    def __init__(
        self, path: str, failed: Callable[[OSError], None], max_bytes: int = MAX_BYTES
    ) -> None:
        self._path = path
        self._failed = failed
        self._max_bytes = max_bytes
        self._waiting: deque[bytes] = deque()
        self._is_scheduled = False
        self._writing = new_lock()
        self.lost: Counter = Counter()
        """The lines that were not written."""

    def add(self, line: bytes, run: Callable[[Callable[[], None]], None]) -> None:
        """Add a line in the thread of a log call.

        Args:
            line: to be written.
            run: calls a function on the listener.
        """
        if len(self._waiting) >= _MAX_LINES:
            self.lost.add()
            return
        self._waiting.append(line)
        if not self._is_scheduled:
            self._is_scheduled = True
            try:
                run(self.write)
            except BaseException:  # of a signal handler; the next line schedules again
                self._is_scheduled = False
                raise

    def write(self) -> None:
        """Write what was added; return when what another thread is writing is in the file, too."""
        self._is_scheduled = False  # before the lines are taken: a later one schedules again
        error = None
        # A disk may stand still: then it is better to write beside the other thread than to wait.
        try:
            self._writing.acquire(timeout=_MAX_WAIT_SECONDS)
            error = self._write_waiting()
        finally:  # a signal handler may have raised before or after `acquire` returned
            self._release()
        if error is not None:
            self._failed(error)

    def _release(self) -> None:
        try:
            if self._writing._is_owned():  # type: ignore[attr-defined]
                self._writing.release()
        except BaseException:  # a signal handler's, in between
            if self._writing._is_owned():  # type: ignore[attr-defined]
                self._writing.release()
            raise

    def _write_waiting(self) -> OSError | None:
        """Write what waits; return why it could not be written."""
        lines = []
        while self._waiting:
            with contextlib.suppress(IndexError):
                lines.append(self._waiting.popleft())
        if not lines:
            return None
        text = b"".join(lines)
        try:
            fd = self._open(len(text))
            try:
                self._append(fd, text)
            finally:
                os.close(fd)
        except unless_interrupt(OSError) as error:
            for _ in lines:
                self.lost.add()
            return error
        return None

    def _open(self, more_bytes: int) -> int:
        """Open the file, or a new one if it is full."""
        for attempt in range(_MAX_ATTEMPTS):
            fd = os.open(self._path, _FLAGS, 0o600)
            try:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode):
                    raise OSError(errno.EINVAL, "it is not a regular file")
                is_full = found.st_size and found.st_size + more_bytes > self._max_bytes
                if not is_full or attempt == _MAX_ATTEMPTS - 1 or not self._rename(fd):
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
        raise AssertionError("unreachable")

    def _rename(self, fd: int) -> bool:
        """Rename the full file, unless another process does so; return False if that fails."""
        try:
            if fcntl is not None:  # released when the descriptor is closed
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found, mine = os.lstat(self._path), os.fstat(fd)
            if (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino):
                os.replace(self._path, f"{self._path}.1")
        except unless_interrupt(OSError):
            return False
        return True

    def _lock(self, fd: int) -> None:
        """Keep other processes out until the descriptor is closed; go on if one never lets go.

        Not every file system appends atomically: without a lock, half of a write can be seen.
        """
        for _ in range(_LOCK_ATTEMPTS):
            try:
                if fcntl is not None:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except unless_interrupt(OSError):
                time.sleep(_LOCK_SECONDS / _LOCK_ATTEMPTS)

    def _append(self, fd: int, text: bytes) -> None:
        self._lock(fd)
        size = os.fstat(fd).st_size
        if size:  # a full disk, or a crash, may have left a part of a line
            os.lseek(fd, size - 1, os.SEEK_SET)
            if os.read(fd, 1) != b"\n":
                text = b"\n" + text
        if os.write(fd, text) != len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
