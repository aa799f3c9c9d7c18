"""Entries: one for each line that arrived, valid or not, with what is wrong with it.

An entry keeps the line as bytes, not the parsed event: it is smaller, and where an event is shown
it stands in the answer as it came, so that no number and no escape is changed on its way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from sys import getsizeof
from typing import Any

from fslog.collector.intake import InvalidLine
from fslog.mapping import events
from fslog.viewer.explain import Fault, explain

STATES = ("valid", "warning", "invalid")

BRIEF_BYTES = 4_096
"""A line that is longer is not shown whole in a list."""

LATEST_MS = 253_402_300_800_000
"""The year 10000: a later time is none, but one in another unit."""

_BRIEF_CHARACTERS = 200
_SHOWN = ("accountId", "userId", "action", "sessionId", "module", "feature")
# What an entry takes beside its line and its words, and what is said of it.
_OVERHEAD_BYTES = 600
_BODY = "not_compressed_so"
_MOST_GARBAGE_BYTES = 65_536


class Entry:
    """Hold one line that arrived.

    Args:
        line: without its newline.
        value: its JSON value, of which only what filters and the overview ask for is kept.
        faults: what is wrong with it.
        state: one of `STATES`.
        at: epoch milliseconds of its arrival.

    `size_bytes` is about how much memory it takes.
    """

    __slots__ = (
        "account",
        "action",
        "at",
        "created",
        "faults",
        "feature",
        "id",
        "is_object",
        "line",
        "module",
        "request",
        "session",
        "size_bytes",
        "state",
        "user",
    )

    def __init__(
        self, line: bytes, value: Any, faults: tuple[Fault, ...], state: str, at: int
    ) -> None:
        self.id = self.request = 0  # the store says
        self.at = at
        self.line = line
        self.faults = faults
        self.state = state
        self.is_object = isinstance(value, dict)
        get = value.get if isinstance(value, dict) else {}.get
        self.action = _word(get("action"))
        self.account = _word(get("accountId"))
        self.user = _word(get("userId"))
        self.session = _word(get("sessionId"))
        self.module = _word(get("module"))
        self.feature = _word(get("feature"))
        self.created = _time(get("createdAt"))
        words = sum(getsizeof(word) for word in self._words() if word is not None)
        self.size_bytes = len(line) + words + _OVERHEAD_BYTES * (1 + len(faults))

    @property
    def when(self) -> int | float:
        """Return the epoch milliseconds that the event tells; of its arrival, where they are none.

        A time in seconds would be one of 1970.
        """
        created = self.created
        if created is None or not events.EARLIEST_MS <= created < LATEST_MS:
            return self.at
        return created

    @property
    def is_line(self) -> bool:
        """Return whether it is one: a body that does not unpack is none."""
        return not (self.faults and self.faults[0].code == _BODY)

    def text(self) -> str:
        """Return the line as text, U+FFFD for bytes that are no UTF-8."""
        return self.line.decode("utf-8", "replace")

    def json(self, brief: bool = False) -> bytes:
        r"""Return the entry as the API shows it; it holds no line break.

        Args:
            brief: of a line that is longer than `BRIEF_BYTES` only what a list shows.

        >>> entry = entry_of((b'{"a":\r1e9}\n', {"a": 1e9}), 5)
        >>> entry.json()
        b'{"id":0,"at":5,"when":5,"state":"valid","event":{"a": 1e9},"problems":[],"request":0}'
        """
        # Between values JSON allows a CR, inside strings it does not; for a stream it ends a line.
        event = self.line.replace(b"\r", b" ") if self.is_object else b"null"
        cut = b""
        if brief and len(event) > BRIEF_BYTES:
            event, cut = self._brief(), b',"cut":true'
        problems = json.dumps([fault._asdict() for fault in self.faults]) if self.faults else "[]"
        shape = b'{"id":%d,"at":%d,"when":%d,"state":"%b","event":%b,"problems":%b,"request":%d%b}'
        return shape % (
            self.id,
            self.at,
            self.when,
            self.state.encode(),
            event,
            problems.encode(),
            self.request,
            cut,
        )

    def _brief(self) -> bytes:
        shown: dict[str, Any] = {} if self.created is None else {"createdAt": self.created}
        for name, word in zip(_SHOWN, self._words(), strict=True):
            if word is not None:
                shown[name] = word[:_BRIEF_CHARACTERS]
        return json.dumps(shown, separators=(",", ":")).encode()

    def _words(self) -> tuple[str | None, ...]:
        return self.account, self.user, self.action, self.session, self.module, self.feature


def entry_of(line: tuple[bytes, dict[str, Any]] | InvalidLine, at: int) -> Entry:
    """Make an entry of one of an intake's lines.

    Args:
        line: as `fslog.collector.intake` gives it.
        at: epoch milliseconds of its arrival.
    """
    if isinstance(line, InvalidLine):
        faults = tuple(explain(problem, line.value) for problem in line.problems)
        raw = line.line
        if faults[0].code == _BODY:  # its start tells enough
            raw = raw[:_MOST_GARBAGE_BYTES]
        return Entry(raw.removesuffix(b"\n"), line.value, faults, "invalid", at)
    raw, event = line
    found = events.warnings(event) if "action" in event else ()
    faults = tuple(explain(problem, event) for problem in found)
    return Entry(raw.removesuffix(b"\n"), event, faults, "warning" if faults else "valid", at)


def fitting(
    entries: Iterable[Entry], limit: int, limit_bytes: int, brief: bool = False
) -> tuple[list[Entry], bool]:
    """Return the first entries that fit into one answer, and whether more follow.

    Args:
        entries: in the order of the answer.
        limit: how many at most.
        limit_bytes: how long their lines may be, together; one line is never too long.
        brief: whether they are shown so.
    """
    taken: list[Entry] = []
    left = limit_bytes
    for entry in entries:
        left -= min(len(entry.line), BRIEF_BYTES) if brief else len(entry.line)
        if len(taken) >= limit or (left < 0 and taken):
            return taken, True
        taken.append(entry)
    return taken, False


def _word(value: Any) -> str | None:
    if type(value) is str:
        return value
    if value is None or isinstance(value, (list, dict)):
        return None
    return json.dumps(value)  # so that a wrong 5 is found by "5"


def _time(value: Any) -> int | float | None:
    if type(value) not in (int, float):
        return None
    # JSON has numbers that are none here: 1e999 is infinite, and no answer may hold that.
    return value if abs(value) <= events.MOST_MS else None
