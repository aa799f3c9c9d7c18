"""Text that is safe to print, and numbers as a person reads them.

What commands show comes from files and log calls: it may hold what a terminal obeys instead of
showing it, and it may hold a key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from fslog.cli.screen import Part, Screen

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def printable(text: str) -> str:
    r"""Return a text with everything that a terminal would obey, or hide, written as an escape.

    That is what `str.isprintable` says no to: control characters, marks that turn the direction
    of writing, odd blanks, lone surrogates.

    >>> printable("zoë \x1b[31m\u202e\n")
    'zoë \\x1b[31m\\u202e\\n'
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def _escape(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")


def redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """Return a JSON value with keys taken out of its texts, names included; numbers stay.

    To be done before it is JSON: afterwards a key that looks like a number, or a path that ends at
    a quotation mark, would take a piece of JSON away with it.

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


class Paper:
    """Write lines to a screen, every part of them made printable and without keys.

    Args:
        screen: where to.
        redact: takes keys out of a text.
    """

    def __init__(self, screen: Screen, redact: Callable[[str], str] = lambda text: text) -> None:
        self._screen = screen
        self.redact = redact

    def line(self, *parts: Part) -> None:
        """Write one line; a terminal gets it broken between words, a pipe gets it in one."""
        self._screen.line(*self._safe(parts))

    def verbatim(self, *parts: Part) -> None:
        """Write one line that is not broken anywhere: somebody is to copy it."""
        self._screen.raw(*self._safe(parts))

    def values(self, value: Any) -> None:
        """Write a JSON value in one line."""
        self.raw(self.json(value))

    def json(self, value: Any) -> str:
        """Return a value as JSON without keys: ASCII, so that nothing in it is to be obeyed."""
        return json.dumps(redacted(value, self.redact))

    def raw(self, text: str) -> None:
        """Write one line of which nothing is to be taken out any more."""
        self._screen.raw((text, ""))

    def row(self, *parts: Part) -> None:
        """Write one line, cut where a terminal would break it; a pipe gets all of it."""
        self._screen.row(*self._safe(parts))

    def _safe(self, parts: tuple[Part, ...]) -> list[Part]:
        return [(printable(self.redact(text)), style) for text, style in parts]


def count(number: int, noun: str, plural: str = "") -> str:
    """Return a number and what is counted.

    >>> count(1, "event"), count(1204, "event"), count(0, "body", "bodies")
    ('1 event', '1,204 events', '0 bodies')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """Return a time in its two largest units.

    >>> duration(0.4), duration(75), duration(86_400 * 3 + 7_300), duration(3_600)
    ('0 s', '1 min 15 s', '3 d 2 h', '1 h')
    """
    left = max(0, int(seconds))
    for at, (size, unit) in enumerate(_UNITS):
        if left >= size:
            text = f"{left // size} {unit}"
            size_below, unit_below = (*_UNITS, (1, ""))[at + 1]
            below = left % size // size_below
            return f"{text} {below} {unit_below}" if unit_below and below else text
    return "0 s"
