"""Where commands write: plain lines, or with a few colours where a person looks at a terminal."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import TextIO

STYLES = {"": "", "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
"""The styles that a part of a line can have, with the terminal's number for each."""

_DOTS = "..."

Part = tuple[str, str]
"""A piece of a line and its style, `""` for none."""


class Screen:
    """Write lines to a stream, each at once, so that a reader of a pipe sees them as they come.

    Args:
        stream: where to.
        environ: `NO_COLOR` (https://no-color.org) and `TERM=dumb` ask for plain text.
        columns: how wide the terminal is; None asks it.
    """

    def __init__(
        self,
        stream: TextIO,
        environ: Mapping[str, str] = os.environ,
        columns: int | None = None,
    ) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._columns = columns
        plain = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
        self._coloured = self._is_terminal and not plain

    def line(self, *parts: Part) -> None:
        """Write one line.

        Raises:
            BrokenPipeError: nobody reads any more.
        """
        self._write("".join(self._styled(text, style) for text, style in parts))

    def row(self, *parts: Part) -> None:
        """Write one line, cut where a terminal would break it; a pipe gets all of it.

        Raises:
            BrokenPipeError: nobody reads any more.
        """
        if self._is_terminal:
            parts = cut(parts, self._columns or shutil.get_terminal_size().columns)
        self.line(*parts)

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if style and self._coloured else text

    def _write(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()


def cut(parts: tuple[Part, ...], columns: int) -> tuple[Part, ...]:
    """Cut a line to so many columns, ending in dots where something is missing.

    >>> cut((("module ", "dim"), ("reports", "")), 12)
    (('module ', 'dim'), ('re', ''), ('...', ''))
    >>> cut((("module ", "dim"), ("reports", "")), 14)
    (('module ', 'dim'), ('reports', ''))
    """
    if sum(len(text) for text, _ in parts) <= columns:
        return parts
    left = max(0, columns - len(_DOTS))
    kept: list[Part] = []
    for text, style in parts:
        if left > 0:
            kept.append((text[:left], style))
        left -= len(text)
    return (*kept, (_DOTS, ""))
