"""What is wrong with a text in which keys may stand, said without showing any of that text.

The parsers' own messages quote the line, the value or the name at which they stumbled.
"""

from __future__ import annotations

import configparser
import re
from typing import Any

_QUOTED = re.compile(r"\"[^\"]*\"|'(?:\\.|[^'\\])*'")
_KIND = re.compile(r"<[a-z -]+>")
_LONGEST_MARK = 2
"""What is longer may be a word of the text, rather than a comma or a bracket that is missing."""


def unquoted(message: str) -> str:
    """Return a message without what it quotes; punctuation, and kinds of things, stay.

    >>> unquoted("expected ',' or '}', but got '<scalar>'")
    "expected ',' or '}', but got '<scalar>'"
    >>> unquoted("found undefined alias 's3cret'")
    "found undefined alias '...'"
    """
    return _QUOTED.sub(_mark, message)


def _mark(quoted: re.Match[str]) -> str:
    text = quoted[0][1:-1]
    return quoted[0] if len(text) <= _LONGEST_MARK or _KIND.fullmatch(text) else "'...'"


def of_yaml(error: Exception) -> str:
    """Say what a YAML parser does not take, and where; its errors have no names here."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None)
    context, begin = getattr(error, "context", None), getattr(error, "context_mark", None)
    text = unquoted(problem) if isinstance(problem, str) else type(error).__name__
    if isinstance(context, str):
        text += f", {unquoted(context)}" + (f", from {_place(begin)} on" if begin else "")
    return f"{_place(mark)}: {text}" if mark else text


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def of_ini(error: configparser.Error) -> str:
    """Say what is no ini file in a file, and where."""
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno} stands before any [section]"
    if isinstance(error, configparser.ParsingError):
        # Not all of its subclasses have both.
        numbers = [number for number, _ in getattr(error, "errors", ())]
        lines = ", ".join(map(str, numbers or [getattr(error, "lineno", "unknown")]))
        return f"line {lines}: neither a [section] nor name=value; indent what goes on"
    return str(error)


def of_expression(error: Exception) -> str:
    """Say why Python does not evaluate an expression."""
    kind = type(error).__name__
    if isinstance(error, (NameError, AttributeError)):
        return f"{kind}: a name in it is not known; is it a text without quotes?"
    return f"{kind}: {unquoted(str(error)) if isinstance(error, ValueError) else error}"
