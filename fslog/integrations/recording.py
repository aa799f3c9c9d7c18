"""`fslog record`: a handler that keeps some real records of each log call in a file.

The file has one JSON object in each line, which all processes of a command append. `fslog check
--log` replays it. A line with a record has its attributes, and in `META` what else is known; other
lines have `META` alone: how often a log call was made, and that the file is full.

A line is appended by one system call as soon as its record is kept, so that a process may end in
any way. Only the counts since the last line may be lost then: they are appended when a count has
grown fourfold, and at the end of the process.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from fslog import process
from fslog.config.files import mapping_in
from fslog.delivery import sigterm
from fslog.delivery.notices import write_stderr
from fslog.integrations.attachment import Attachment
from fslog.integrations.configured import DEFAULT, Configured, LoggerSettings
from fslog.integrations.descriptions import describe, without_secrets
from fslog.interrupts import Suppressed, unless_interrupt
from fslog.mapping.paths import MISSING
from fslog.mapping.presets import LOGGERS, read_access, read_task
from fslog.net.redaction import Redactor

META = "_fslog"
"""The key of a line under which what is not the record's stands."""

HEADER = b'{"_fslog": {"recording": 1}}\n'
"""The first line of a recording."""

RECORDING = "_FSLOG_RECORD"
"""The environment variable with which `fslog record` passes the file's path to the command."""

SAMPLES = 3
"""How many records of one kind are kept."""

MAX_BYTES = 16_777_216
"""The size of the file from which nothing is appended."""

_MAX_CALLS = 1_000
_MAX_KINDS = 20
_MAX_PATHS = 200
_LONGEST_LINE = 65_536
_LONGEST_TEXT = 1_000
_FIRST_COUNT = 16
_GROWTH = 4
_KNOWN = re.compile(rb'^\{"_fslog": \{"id": "([0-9a-f]{16})", "sample": ', re.MULTILINE)
_VARIABLE = re.compile(r"\d|\*\*\*|@|^[0-9a-f]{8,}$|^.{41,}$", re.IGNORECASE)
_VERSION = re.compile(r"v\d{1,2}", re.IGNORECASE)
_LIBRARIES = re.compile(r"[\\/](?:site|dist)-packages[\\/]")


class _Kind:
    """One kind of records of a log call: with one message, or of one path or task."""

    __slots__ = ("count", "due", "id", "kept", "text")

    def __init__(self, text: str | None, digest: str, kept: int) -> None:
        self.text = text
        self.id = digest
        self.kept = kept
        self.count = 0
        """Since the last line with a count of this process."""
        self.due = _FIRST_COUNT


class _Call:
    """One log call, and its kinds of records; those of the kind None are too many to tell apart."""

    __slots__ = ("kinds", "most", "read")

    def __init__(self, name: str) -> None:
        self.kinds: dict[Any, _Kind] = {}
        self.read: Any = None
        self.most = _MAX_KINDS
        if any(f"{name}.".startswith(f"{known}.") for known in LOGGERS):
            self.read, self.most = _request_of, _MAX_PATHS
        elif name == "celery.app.trace":
            self.read, self.most = _task_of, _MAX_PATHS


class Recorder(logging.Handler):
    """Append some records of each log call to a file; never raise, and never wait.

    Args:
        path: of the file, which exists.
        redact: removes fslog's keys from a text.
    """

    def __init__(self, path: str, redact: Redactor) -> None:
        super().__init__()
        self._path = path
        self._redact = redact.secrets  # an application's paths may resemble the endpoint's
        self._known = kept_in(path)
        self._calls: dict[tuple[str, str, int], _Call] = {}
        self._pid = 0
        self._is_off = False
        self._here = os.getcwd() + os.sep

    def emit(self, record: logging.LogRecord) -> None:
        """Count a record, and keep it if few of its kind are kept."""
        try:
            if self._pid != os.getpid():
                self._begin()
            kind = None if self._is_off else self._kind(record)
            if kind is None:
                return
            kind.count += 1
            if kind.kept < SAMPLES:
                kind.kept += 1
                self._append(self._line(kind, record))
            elif kind.count >= kind.due:
                kind.due = kind.count * _GROWTH
                self._append(_count_of(kind))
        except unless_interrupt(Exception):  # of a record that is none
            return

    def _begin(self) -> None:
        """Begin in this process: what a parent has counted is for it to append."""
        self._pid = os.getpid()
        for call in self._calls.values():
            for kind in call.kinds.values():
                kind.count = 0
        process.track(self)
        sigterm.watch()

    def _kind(self, record: logging.LogRecord) -> _Kind | None:
        place = (record.name, record.pathname, record.lineno)
        call = self._calls.get(place)
        if call is None:
            if len(self._calls) >= _MAX_CALLS:
                return None
            call = self._calls[place] = _Call(record.name)
        text = _text_of(record) if call.read is None else call.read(record)
        kind = call.kinds.get(text)
        if kind is None:
            if len(call.kinds) >= call.most:
                text = None
                kind = call.kinds.get(None)
            if kind is None:
                shown = text and self._redact(without_secrets(text[:_LONGEST_TEXT]))
                digest = _digest([*place, shown])
                kind = call.kinds[text] = _Kind(shown, digest, self._known.get(digest, 0))
        return kind

    def _line(self, kind: _Kind, record: logging.LogRecord) -> bytes:
        kept, types = describe(record, self._redact)
        meta = {
            "id": kind.id,
            "sample": kind.kept,
            "kind": kind.text,
            "library": is_library(record.pathname),
            "types": types,
        }
        kept["pathname"] = record.pathname.removeprefix(self._here)
        line = _encoded({META: meta, **kept})
        if len(line) > _LONGEST_LINE:
            names = ("name", "levelname", "levelno", "pathname", "lineno", "created", "msg")
            line = _encoded({META: {**meta, "types": {}}, **{name: kept[name] for name in names}})
        return line

    def _append(self, data: bytes) -> None:
        """Append lines to the file, which no open descriptor of this process refers to."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            file = os.open(self._path, flags)
            try:
                if os.fstat(file).st_size + len(data) > MAX_BYTES:
                    self._is_off = True
                    data = _encoded({META: {"full": True}})
                os.write(file, data)
            finally:
                os.close(file)
        except unless_interrupt(OSError) as error:
            self._is_off = True
            reason = error.strerror or type(error).__name__
            write_stderr(f"{self._path}: {reason}; no more records are kept")

    def flush(self) -> None:
        """Append the counts of this process."""
        self.acquire()
        try:
            if self._is_off or self._pid != os.getpid():
                return
            found = [kind for call in self._calls.values() for kind in call.kinds.values()]
            data = b"".join(_count_of(kind) for kind in found if kind.count)
            if data:
                self._append(data)
        finally:
            self.release()

    def close(self) -> None:
        """Append the counts; records are kept as before: `dictConfig` closes every handler."""
        self.flush()

    # What `fslog.process` calls at the end of a process.

    def begin_finish(self) -> None:
        """Nothing has to be begun."""

    def finish(self, request: Any) -> None:
        """Append the counts before the process ends."""
        self.flush()

    def may_wait(self) -> bool:
        """Return whether the process may end now."""
        return True

    def end_thread(self) -> None:
        """There is none."""

    def close_inherited(self) -> None:
        """Nothing is held."""


def _count_of(kind: _Kind) -> bytes:
    count, kind.count = kind.count, 0
    return _encoded({META: {"id": kind.id, "count": count}})


def _encoded(line: Mapping[str, Any]) -> bytes:
    text = json.dumps(line, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _digest(parts: list[Any]) -> str:
    text = json.dumps(parts).encode("utf-8", "backslashreplace")
    return blake2b(text, digest_size=8).hexdigest()


def _text_of(record: logging.LogRecord) -> str | None:
    message = record.msg
    if type(message) is str and message[:1] == "{" and len(message) < _LONGEST_LINE:
        with Suppressed(ValueError, RecursionError):
            message = json.loads(message)
    if type(message) is dict:  # structlog's, or what it has rendered
        message = message.get("event", record.msg)
    return message if type(message) is str else None


def _request_of(record: logging.LogRecord) -> str | None:
    values = read_access(record)
    if values is MISSING:
        return None
    status = values["access.status"] // 100
    return f"{values['access.method']} {shape(values['access.path'])} {status}xx"


def _task_of(record: logging.LogRecord) -> str | None:
    values = read_task(record)
    return None if values is MISSING else f"{values['task.name']} {values['task.state']}"


def shape(path: str) -> str:
    """Return a path with `*` in place of ids.

    >>> shape("/api/v1/teams/42/reports/6f9619ff-8b86/export")
    '/api/v1/teams/*/reports/*/export'
    """
    return "/".join("*" if _is_variable(part) else part for part in path.split("/"))


def _is_variable(part: str) -> bool:
    return _VARIABLE.search(part) is not None and _VERSION.fullmatch(part) is None


def is_library(path: str) -> bool:
    """Return whether a file belongs to Python or to a package that was installed."""
    standard = os.path.dirname(os.__file__) + os.sep
    return _LIBRARIES.search(path) is not None or path.startswith((standard, "<frozen"))


def kept_in(path: str) -> dict[str, int]:
    """Return how many records of each kind a recording has."""
    kept: dict[str, int] = {}
    with open(path, "rb") as file:
        for found in _KNOWN.finditer(file.read()):
            digest = found[1].decode()
            kept[digest] = kept.get(digest, 0) + 1
    return kept


class RecordedLevels(Configured):
    """The levels of a configuration, for which it need not have any handler of fslog's."""

    def _check_handlers(self, handlers: Mapping[Any, Any]) -> None:
        """Any are right."""

    def logger(self, name: str) -> LoggerSettings:
        """Return the settings of a logger: all records from its level on are kept."""
        return super().logger(name)._replace(names=("record",))


class _Recording(Attachment):
    def _use(self, created: Mapping[str, Any]) -> None:
        # No handler of the application keeps a record from being recorded.
        self._created = created
        self._is_ready = True


def levels(path: str | None) -> RecordedLevels:
    """Return the levels in a file, or those of the default configuration.

    Raises:
        SourceError: the file is invalid.
    """
    return RecordedLevels(DEFAULT if path is None else mapping_in(path), path or "fslog")


def record_into(path: str, config: str | None) -> None:
    """Keep records of this process, and of those that it forks, in a file."""
    settings = levels(config)
    recorder = Recorder(path, settings.redactor())
    _Recording(settings, {"record": recorder}).install()
