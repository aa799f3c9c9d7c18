"""A recording: the kinds of records in it, each with some samples and how often it was logged."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fslog.cli.check.records import from_mapping
from fslog.cli.options import CommandError
from fslog.integrations.recording import META, SAMPLES


@dataclass
class Kind:
    """Records of one log call, with one message, or of one path or task.

    Args:
        text: the message, or `POST /reports/* 2xx`, or the task; None if they differ too much.
        is_library: whether an installed package makes the call.
        samples: some of the records, as they are in the file.
        counted: how often processes have said that it was logged.
    """

    text: str | None
    is_library: bool
    samples: list[dict[str, Any]] = field(default_factory=list)
    counted: int = 0

    @property
    def count(self) -> int:
        """How often it was logged, at least."""
        return max(self.counted, len(self.samples))

    @property
    def logger(self) -> str:
        """The logger's name."""
        return str(self.samples[0].get("name", "root"))

    @property
    def level(self) -> int:
        """The records' level."""
        level = self.samples[0].get("levelno")
        return level if isinstance(level, int) else 0

    @property
    def place(self) -> str:
        """The file and the line of the log call."""
        return f"{self.samples[0].get('pathname')}:{self.samples[0].get('lineno')}"

    def records(self) -> list[logging.LogRecord]:
        """Return the samples as records."""
        return [from_mapping(sample) for sample in self.samples]


def read(path: str) -> tuple[list[Kind], bool]:
    """Return the kinds of records in a recording, most frequent first, and whether it is full.

    Raises:
        CommandError: the file cannot be read, or is no recording.
    """
    kinds: dict[str, Kind] = {}
    counts: dict[str, int] = {}
    is_full = is_recording = False
    try:
        with open(path, "rb") as file:
            for line in file:
                given = _object(line)
                meta = given.pop(META, None)
                if not isinstance(meta, dict):
                    continue
                is_recording = True
                is_full = is_full or "full" in meta
                _add(kinds, counts, meta, given)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from None
    if not is_recording:
        raise CommandError(f"{path} is not a recording; fslog record -- COMMAND makes one")
    for digest, kind in kinds.items():
        kind.counted = counts.get(digest, 0)
    return sorted(kinds.values(), key=lambda kind: -kind.count), is_full


def _object(line: bytes) -> dict[str, Any]:
    try:
        given = json.loads(line)
    except (ValueError, RecursionError):  # the last line of a process that the disk had no room for
        return {}
    return given if isinstance(given, dict) else {}


def _add(
    kinds: dict[str, Kind], counts: dict[str, int], meta: Mapping[str, Any], given: dict[str, Any]
) -> None:
    digest, count = str(meta.get("id")), meta.get("count")
    if isinstance(count, int):
        counts[digest] = counts.get(digest, 0) + count
    elif given:
        text = meta.get("kind")
        made = Kind(text if isinstance(text, str) else None, bool(meta.get("library")))
        kind = kinds.setdefault(digest, made)
        if len(kind.samples) < SAMPLES:
            kind.samples.append(given)
