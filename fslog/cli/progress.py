"""How far a long run is: a bar on a terminal, a line now and then where none is."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO

from fslog.cli.printable import duration, printable
from fslog.cli.screen import columns_of, cut, folded

_DRAWN_SECONDS = 0.1
_SAID_SECONDS = 10.0
_SLICE_SECONDS = 0.25
_LABEL = 24
_BAR = 24
_LEAST_BAR = 6
_CLEAR = "\r\x1b[K"


class Progress:
    """Show how far a run is, on stderr, and never let that fail it.

    Args:
        stream: where to.
        is_quiet: whether to show nothing.
        environ: `TERM=dumb` is a terminal without a bar.
        clock: monotonic seconds.
        sleep: waits so many seconds.
        redact: takes keys out of a text; a file's name may hold one.
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

    def begin(self, label: str, size_bytes: int | None, done_bytes: int) -> None:
        """Begin another input.

        Args:
            label: what to call it.
            size_bytes: all of it, None if nobody knows.
            done_bytes: what an earlier run did of it.
        """
        self._label = _short(printable(self._redact(label)))
        self._size = size_bytes
        self._first_bytes = done_bytes
        self._began_at = self._clock()
        self._next_at = self._began_at + (0.0 if self._has_bar else _SAID_SECONDS)

    def show(self, events: int, position: Callable[[], int], note: str = "") -> None:
        """Show how far it is, unless that was shown a moment ago.

        Args:
            events: how many are done in this run, of this input.
            position: returns how many bytes are done.
            note: what to say beside it.
        """
        now = self._clock()
        if self._is_quiet or now < self._next_at:
            return
        self._next_at = now + (_DRAWN_SECONDS if self._has_bar else _SAID_SECONDS)
        done_bytes = 0 if self._size is None else position()
        facts = self._facts(events, done_bytes, now - self._began_at)
        if note:
            facts.append(printable(note))
        if self._has_bar:
            self._draw("  ".join(facts), done_bytes)
        else:
            self._write(f"{self._label}: {', '.join(facts)}\n")

    def say(self, text: str) -> None:
        """Write a line of its own."""
        if not self._is_quiet:
            self.clear()
            self._write(folded(f"{printable(self._redact(text))}\n", self._stream))

    def clear(self) -> None:
        """Take the bar away, until it is shown again."""
        if self._is_drawn:
            self._is_drawn = False
            self._next_at = 0.0
            self._write(_CLEAR)

    def wait(self, seconds: float, events: int, position: Callable[[], int]) -> None:
        """Wait, and count the seconds down where there is a bar."""
        until = self._clock() + seconds
        while (left := until - self._clock()) > 0:
            if self._has_bar:
                self.show(events, position, f"trying again in {duration(math.ceil(left))}")
            self._sleep(min(left, _SLICE_SECONDS))

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
        # In the last column terminals break the line; some characters take two.
        columns = self._columns() - 1 - (columns_of(self._label) - len(self._label))
        width = min(_BAR, columns - len(self._label) - len(facts) - 6)
        bar = ""
        if self._size and width >= _LEAST_BAR:
            full = min(width, done_bytes * width // self._size)
            bar = f"[{'#' * full}{'.' * (width - full)}]  "
        ((text, _), *dots) = cut(((f"{self._label}  {bar}{facts}", ""),), columns)
        self._is_drawn = True
        self._write(f"{_CLEAR}{text}{'...' if dots else ''}")

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def _write(self, text: str) -> None:
        # Whoever watches may go away; the work goes on.
        with contextlib.suppress(OSError, ValueError):
            encoding = self._stream.encoding or "utf-8"
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self._stream.flush()


@contextlib.contextmanager
def shown(progress: Progress) -> Iterator[Progress]:
    """Take the bar away at the end of the block, however that comes."""
    try:
        yield progress
    finally:
        progress.clear()


def _short(label: str) -> str:
    """Return the end of a long name, where it differs from others.

    >>> _short("/var/log/a-service/events.ndjson"), len(_short("/var/log/a-service/events.ndjson"))
    ('...service/events.ndjson', 24)
    """
    if columns_of(label) <= _LABEL:
        return label
    while columns_of(label) > _LABEL - 3:
        label = label[1:]
    return f"...{label}"
