"""Where commands write: plain lines, or with a few colours where a person looks at a terminal."""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from collections.abc import Iterator, Mapping
from typing import TextIO

STYLES = {"": "", "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
"""The styles that a part of a line can have, with the terminal's number for each."""

_DOTS = "..."
_HANG = 3
"""A first part that ends in a blank is a column of its own up to this part of a line's width."""

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
        """Write one line, broken between words where a terminal would break it inside of one.

        Raises:
            BrokenPipeError: nobody reads any more.
        """
        for one in wrapped(parts, self._width()) if self._is_terminal else (parts,):
            self.raw(*one)

    def raw(self, *parts: Part) -> None:
        """Write one line as it is, to be copied, or for a program.

        Raises:
            BrokenPipeError: nobody reads any more.
        """
        self._write("".join(self._styled(text, style) for text, style in parts))

    def row(self, *parts: Part) -> None:
        """Write one line, cut where a terminal would break it; a pipe gets all of it.

        Raises:
            BrokenPipeError: nobody reads any more.
        """
        self.raw(*(cut(parts, self._width()) if self._is_terminal else parts))

    def _width(self) -> int:
        return self._columns or shutil.get_terminal_size().columns

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


def wrapped(parts: tuple[Part, ...], columns: int) -> Iterator[tuple[Part, ...]]:
    """Yield a line as lines of so many columns, broken between words; a longer word is not broken.

    What follows is indented as what stands behind the first part is, if that is a label, or else
    by a little.

    >>> for one in wrapped((("wrong  ", "red"), ("no logger has it, so that ", ""),
    ...                     ("nothing comes", "")), 22):
    ...     one
    (('wrong  ', 'red'), ('no logger has', ''))
    (('       ', ''), ('it, so that', ''))
    (('       ', ''), ('nothing comes', ''))
    """
    text = "".join(text for text, _ in parts)
    indent = _indent(parts, columns)
    begin = end = 0
    for word in re.finditer(r"\S+", text):
        taken = columns_of(text[begin : word.end()]) + (indent if begin else 0)
        # Neither a label nor the blanks that begin a line stand alone.
        if taken > columns and word.start() > (begin or indent):
            yield _piece(parts, begin, end, indent if begin else 0)
            begin = word.start()
        end = word.end()
    yield _piece(parts, begin, len(text), indent if begin else 0)


def folded(text: str, stream: TextIO) -> str:
    """Return a text of one or more lines as a stream is to have it: broken between words."""
    if not stream.isatty():
        return text
    columns = shutil.get_terminal_size().columns
    lines = (one for line in text.split("\n") for one in wrapped(((line, ""),), columns))
    return "\n".join("".join(text for text, _ in line) for line in lines)


def _indent(parts: tuple[Part, ...], columns: int) -> int:
    first = parts[0][0] if parts else ""
    label = columns_of(first)
    if len(parts) > 1 and first.endswith(" ") and label <= columns // _HANG:
        return label
    return len(first) - len(first.lstrip(" ")) + 2


def _piece(parts: tuple[Part, ...], begin: int, end: int, indent: int) -> tuple[Part, ...]:
    """Return the characters of a line from one place to another, with their styles."""
    kept: list[Part] = [(" " * indent, "")] if indent else []
    at = 0
    for text, style in parts:
        piece = text[max(0, begin - at) : max(0, end - at)]
        if piece:
            kept.append((piece, style))
        at += len(text)
    return tuple(kept)


def columns_of(text: str) -> int:
    """Return how many columns a text takes on a terminal.

    >>> columns_of("zoë"), columns_of("東京")
    (3, 4)
    """
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)
