"""What commands write: printable lines without keys, styled on a terminal; rows, numbers, progress.

The text comes from files, log calls and peers: it may contain characters that a terminal executes,
and it may contain a key.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, TextIO

from fslog.net.redaction import printable

STYLES = {"": "", "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
"""The styles of a part of a line, each with the parameter of its ANSI escape sequence."""

Part = tuple[str, str]
"""A piece of a line and its style, `""` for none."""

_ELLIPSIS = "..."
_LABEL_SHARE = 3
"""A first part that ends in a blank is a label column if it fits 1 / this of the width."""

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))

_PLACED = frozenset(
    {"accountId", "userId", "createdAt", "action", "sessionId", "module", "feature", "product"}
)

_REDRAW_SECONDS = 0.1
_LINE_SECONDS = 10.0
_SLEEP_SECONDS = 0.25
_NAME_COLUMNS = 24
_BAR_COLUMNS = 24
_SHORTEST_BAR = 6
_CLEAR = "\r\x1b[K"


def redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """Return a JSON value with its strings and property names redacted; numbers are unchanged.

    Redact before encoding: in JSON text, a key that looks like a number, or a path that ends at a
    quotation mark, would remove a piece of the syntax.

    >>> redacted({"host": "a", "tries": [1, "1"]}, lambda text: text.replace("1", "***"))
    {'host': 'a', 'tries': [1, '***']}
    """
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redacted(name, redact): redacted(one, redact) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(one, redact) for one in value]
    return value


class Printer:
    """Write lines to a stream, printable and redacted, and flush each one.

    The styles are written only to a terminal. Each method that writes raises `BrokenPipeError` if
    the stream's reader has closed it.

    Args:
        stream: the destination.
        redact: removes keys from a text.
        environ: `NO_COLOR` (https://no-color.org) and `TERM=dumb` select plain text.
        columns: the terminal's width; None queries it.
        other_columns: the width for a stream that is no terminal; None for any.
    """

    def __init__(
        self,
        stream: TextIO,
        redact: Callable[[str], str] = lambda text: text,
        *,
        environ: Mapping[str, str] = os.environ,
        columns: int | None = None,
        other_columns: int | None = None,
    ) -> None:
        self.redact = redact
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._columns = columns
        self._other_columns = other_columns
        is_plain = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
        self._is_styled = self._is_terminal and not is_plain

    def line(self, *parts: Part) -> None:
        """Write one line, wrapped between words to the width, if there is one."""
        safe, width = self._safe(parts), self._width()
        for one in (safe,) if width is None else wrapped(safe, width):
            self._write(one)

    def verbatim(self, *parts: Part) -> None:
        """Write one line without wrapping it: it is meant to be copied."""
        self._write(self._safe(parts))

    def row(self, *parts: Part) -> None:
        """Write one line, cut at the width, if there is one."""
        safe, width = self._safe(parts), self._width()
        self._write(safe if width is None else cut(safe, width))

    def values(self, value: Any) -> None:
        """Write a JSON value in one line."""
        self.raw(self.json(value))

    def json(self, value: Any) -> str:
        """Return a value as redacted JSON; it is ASCII, hence printable."""
        return json.dumps(redacted(value, self.redact))

    def raw(self, text: str) -> None:
        """Write one line that is printable and redacted already."""
        self._write(((text, ""),))

    def _safe(self, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        return tuple((printable(self.redact(text)), style) for text, style in parts)

    def _width(self) -> int | None:
        if not self._is_terminal:
            return self._other_columns
        return self._columns or shutil.get_terminal_size().columns

    def _write(self, parts: tuple[Part, ...]) -> None:
        text = "".join(self._styled(text, style) for text, style in parts)
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if style and self._is_styled else text


def cut(parts: tuple[Part, ...], columns: int) -> tuple[Part, ...]:
    """Cut a line to a number of columns; a cut line ends in an ellipsis.

    >>> cut((("module ", "dim"), ("reports", "")), 12)
    (('module ', 'dim'), ('re', ''), ('...', ''))
    >>> cut((("module ", "dim"), ("reports", "")), 14)
    (('module ', 'dim'), ('reports', ''))
    """
    if sum(len(text) for text, _ in parts) <= columns:
        return parts
    return (*_piece(parts, 0, columns - len(_ELLIPSIS), 0), (_ELLIPSIS, ""))


def wrapped(parts: tuple[Part, ...], columns: int) -> Iterator[tuple[Part, ...]]:
    """Yield a line as lines of at most `columns`, wrapped between words; a longer word stays whole.

    Continuation lines are aligned with the second part if the first one is a label; otherwise they
    are indented by two more columns than the line.

    >>> for one in wrapped((("error  ", "red"), ("no logger uses it, so ", ""),
    ...                     ("no event is sent", "")), 22):
    ...     one
    (('error  ', 'red'), ('no logger uses', ''))
    (('       ', ''), ('it, so ', ''), ('no event', ''))
    (('       ', ''), ('is sent', ''))
    """
    text = "".join(text for text, _ in parts)
    indent = _indent(parts, columns)
    begin = end = 0
    for word in re.finditer(r"\S+", text):
        width = columns_of(text[begin : word.end()]) + (indent if begin else 0)
        # Neither a label nor the blanks that begin a line stand alone.
        if width > columns and word.start() > (begin or indent):
            yield _piece(parts, begin, end, indent if begin else 0)
            begin = word.start()
        end = word.end()
    yield _piece(parts, begin, len(text), indent if begin else 0)


def folded(text: str, stream: TextIO) -> str:
    """Return a text of one or more lines, wrapped between words if the stream is a terminal."""
    if not stream.isatty():
        return text
    columns = shutil.get_terminal_size().columns
    lines = (one for line in text.split("\n") for one in wrapped(((line, ""),), columns))
    return "\n".join("".join(text for text, _ in line) for line in lines)


def _indent(parts: tuple[Part, ...], columns: int) -> int:
    first = parts[0][0] if parts else ""
    label = columns_of(first)
    if len(parts) > 1 and first.endswith(" ") and label <= columns // _LABEL_SHARE:
        return label
    return len(first) - len(first.lstrip(" ")) + 2


def _piece(parts: tuple[Part, ...], begin: int, end: int, indent: int) -> tuple[Part, ...]:
    """Return the characters from `begin` to `end` of a line, with their styles."""
    kept: list[Part] = [(" " * indent, "")] if indent else []
    at = 0
    for text, style in parts:
        piece = text[max(0, begin - at) : max(0, end - at)]
        if piece:
            kept.append((piece, style))
        at += len(text)
    return tuple(kept)


def columns_of(text: str) -> int:
    """Return the width of a text on a terminal.

    >>> columns_of("zoë"), columns_of("東京")
    (3, 4)
    """
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def count(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun.

    >>> count(1, "event"), count(1204, "event"), count(0, "body", "bodies")
    ('1 event', '1,204 events', '0 bodies')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units.

    >>> duration(0.4), duration(75), duration(86_400 * 3 + 7_300), duration(3_600)
    ('0 s', '1 min 15 s', '3 d 2 h', '1 h')
    """
    left, numbers = max(0, int(seconds)), list[tuple[int, str]]()
    for size, unit in _UNITS:
        number, left = divmod(left, size)
        if number or numbers:
            numbers.append((number, unit))
    return " ".join(f"{number} {unit}" for number, unit in numbers[:2] if number) or "0 s"


EVENT_HEADING: tuple[Part, ...] = (
    (f"{'time':14}{'account':9}{'user':9}{'action':17}module / feature", "bold"),
)
"""The columns of `event_row`."""


def event_row(event: Mapping[str, Any]) -> tuple[Part, ...]:
    """Return one line for an event: time, account, user, action, place, and other properties.

    Session and product are omitted: they are the same in most rows.

    >>> event = {"accountId": "acme", "userId": "ann", "createdAt": 0, "action": "feature",
    ...          "sessionId": "s", "module": "reports", "feature": "export", "total": 3}
    >>> "".join(text for text, _ in event_row(event))[14:]
    'acme     ann      feature          reports / export  total=3'
    """
    at = datetime.fromtimestamp(event["createdAt"] / 1000).strftime("%H:%M:%S.%f")[:-3]
    where = event_place(event)
    rest = " ".join(f"{name}={_property(event[name])}" for name in event if name not in _PLACED)
    return (
        (f"{at}  ", "dim"),
        (f"{event['accountId']:8} ", "cyan"),
        (f"{event['userId']:8} ", ""),
        (f"{event['action']:16} ", "green"),
        (f"{where}{'  ' if where and rest else ''}", ""),
        (rest, "dim"),
    )


def event_place(event: Mapping[str, Any]) -> str:
    """Return the module and the feature of an event, as far as it has them."""
    return " / ".join(str(event[name]) for name in ("module", "feature") if name in event)


def _property(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class ProgressBar:
    """Show the progress of a long run on a stream; an error of the stream is ignored.

    A terminal gets a bar, any other stream a line every ten seconds. As a context manager it
    removes the bar at the end of the block.

    Args:
        stream: the destination.
        is_quiet: whether to write nothing.
        environ: `TERM=dumb` is a terminal without a bar.
        clock: monotonic seconds.
        sleep: sleeps for a number of seconds.
        redact: removes keys from a text, such as a file's name.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        is_quiet: bool = False,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        redact: Callable[[str], str] = lambda text: text,
    ) -> None:
        self._stream = stream
        self._is_quiet = is_quiet
        self._has_bar = stream.isatty() and environ.get("TERM") != "dumb"
        self._clock = clock
        self._sleep = sleep
        self._redact = redact
        self._is_drawn = False
        self.begin("", None, 0)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()

    def begin(self, name: str, size_bytes: int | None, done_bytes: int) -> None:
        """Begin another input.

        Args:
            name: what to call it.
            size_bytes: its size, None if unknown.
            done_bytes: the part of it that an earlier run has done.
        """
        self._name = _shortened(printable(self._redact(name)))
        self._size = size_bytes
        self._first_bytes = done_bytes
        self._began_at = self._clock()
        self._next_at = self._began_at + (0.0 if self._has_bar else _LINE_SECONDS)

    def show(self, events: int, position: Callable[[], int], note: str = "") -> None:
        """Show the progress, unless it was shown a moment ago.

        Args:
            events: how many of this input this run has done.
            position: returns the number of bytes done.
            note: a text to append.
        """
        now = self._clock()
        if self._is_quiet or now < self._next_at:
            return
        self._next_at = now + (_REDRAW_SECONDS if self._has_bar else _LINE_SECONDS)
        done_bytes = 0 if self._size is None else position()
        facts = self._facts(events, done_bytes, now - self._began_at)
        if note:
            facts.append(printable(note))
        if self._has_bar:
            self._draw("  ".join(facts), done_bytes)
        else:
            self._write(f"{self._name}: {', '.join(facts)}\n")

    def message(self, text: str) -> None:
        """Write a line of its own."""
        if not self._is_quiet:
            self.clear()
            self._write(folded(f"{printable(self._redact(text))}\n", self._stream))

    def clear(self) -> None:
        """Remove the bar until the next call of `show`."""
        if self._is_drawn:
            self._is_drawn = False
            self._next_at = 0.0
            self._write(_CLEAR)

    def wait(self, seconds: float, events: int, position: Callable[[], int]) -> None:
        """Sleep, and count the seconds down in the bar."""
        until = self._clock() + seconds
        while (left := until - self._clock()) > 0:
            if self._has_bar:
                self.show(events, position, f"retry in {duration(math.ceil(left))}")
            self._sleep(min(left, _SLEEP_SECONDS))

    def _facts(self, events: int, done_bytes: int, seconds: float) -> list[str]:
        facts = [f"{events:,} events"]
        if self._size:
            facts.insert(0, f"{min(100, done_bytes * 100 // self._size)} %")
        if seconds >= 1.0 and events:
            facts.append(f"{events / seconds:,.0f}/s")
            speed = (done_bytes - self._first_bytes) / seconds
            if self._size and speed > 0:
                left = (max(0, self._size - done_bytes)) / speed
                facts.append(f"{duration(left + 0.5)} left")
        return facts

    def _draw(self, facts: str, done_bytes: int) -> None:
        # A terminal wraps after the last column; some characters are two columns wide.
        columns = self._columns() - 1 - (columns_of(self._name) - len(self._name))
        width = min(_BAR_COLUMNS, columns - len(self._name) - len(facts) - 6)
        bar = ""
        if self._size and width >= _SHORTEST_BAR:
            full = min(width, done_bytes * width // self._size)
            bar = f"[{'#' * full}{'.' * (width - full)}]  "
        ((text, _), *dots) = cut(((f"{self._name}  {bar}{facts}", ""),), columns)
        self._is_drawn = True
        self._write(f"{_CLEAR}{text}{_ELLIPSIS if dots else ''}")

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def _write(self, text: str) -> None:
        # The stream's reader may have closed it; the work continues.
        with contextlib.suppress(OSError, ValueError):
            encoding = self._stream.encoding or "utf-8"
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self._stream.flush()


def _shortened(name: str) -> str:
    """Return the end of a long name, in which it differs from others.

    >>> name = _shortened("/var/log/a-service/events.ndjson")
    >>> name, len(name)
    ('...service/events.ndjson', 24)
    """
    if columns_of(name) <= _NAME_COLUMNS:
        return name
    while columns_of(name) > _NAME_COLUMNS - len(_ELLIPSIS):
        name = name[1:]
    return f"{_ELLIPSIS}{name}"
