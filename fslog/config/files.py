"""A logging configuration in a file: JSON, YAML or TOML, perhaps below a key.

No message shows text of the file, which may hold a key.
"""

from __future__ import annotations

import os
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

_MAX_DEPTH = 6
_SECTIONS = ("handlers", "loggers", "root", "formatters", "filters", "incremental")
_QUOTED = re.compile(r"\"[^\"]*\"|'(?:\\.|[^'\\])*'")
_KIND = re.compile(r"<[a-z -]+>")
_PUNCTUATION_CHARACTERS = 2
"""A longer quotation may be a word of the file; up to this length it is a missing bracket."""


class SourceError(ValueError):
    """Report why a configuration cannot be loaded, although the argument is valid."""


class FileError(SourceError):
    """Report why a file cannot be read at all, whatever it contains."""


def mapping_in(path: str) -> Mapping[str, Any]:
    """Return the configuration in a file, which may be below a key.

    Raises:
        FileError: the file cannot be read, or not by this Python.
        SourceError: it is not valid, or contains no configuration, or several.
    """
    extension = os.path.splitext(path)[1].lower()
    if extension not in READERS:
        raise FileError(f"{path} has an unknown extension; expected {', '.join(READERS)}")
    found = READERS[extension](path)
    if not isinstance(found, Mapping):
        raise SourceError(f"{path} contains a {type(found).__name__}; expected a mapping")
    try:
        return dict(located(found)[1])
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from None


def text_of(path: str) -> str:
    """Return the text of a file in UTF-8."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise SourceError(f"{path} is not UTF-8") from None


def _parsed(kind: str, parser: str, remedy: str, path: str) -> Any:
    try:
        parse = pkgutil.resolve_name(parser)
    except ImportError:
        raise FileError(f"{kind} needs {remedy}") from None
    text = text_of(path)
    try:
        return parse(text)
    except Exception as error:  # PyYAML may be missing, so its exceptions cannot be named
        reason = yaml_error(error) if kind == "YAML" else error
        raise SourceError(f"{path} is not valid {kind}: {reason}") from None


_yaml = partial(_parsed, "YAML", "yaml:safe_load", "PyYAML: pip install PyYAML")

READERS: dict[str, Callable[[str], Any]] = {
    ".json": partial(_parsed, "JSON", "json:loads", "Python"),
    ".yaml": _yaml,
    ".yml": _yaml,
    ".toml": partial(_parsed, "TOML", "tomllib:loads", "Python 3.11 or newer"),
}
"""What reads a file, by its extension; each raises as `mapping_in` does."""


def located(found: Mapping[str, Any], remedy: str = "keep one") -> tuple[list[str], Any]:
    """Return the only configuration in a mapping, with the keys that lead to it.

    Args:
        found: is searched, with the mappings in it.
        remedy: what the error advises if there are several.

    >>> located({"app": {"logging": {"version": 1, "handlers": {}}}})[0]
    ['app', 'logging']
    """
    candidates = list(_candidates(found, []))
    if not candidates:
        raise SourceError("no logging configuration found: expected a mapping with handlers")
    complete = [one for one in candidates if "version" in one[1]]
    if len(complete) > 1:
        paths = ", ".join(".".join(path) or "the top level" for path, _ in complete)
        raise SourceError(f"found several configurations ({paths}): {remedy}")
    return (complete or candidates)[0]  # the missing version is reported later


def _candidates(
    found: Mapping[Any, Any], path: list[str]
) -> Iterator[tuple[list[str], Mapping[str, Any]]]:
    if any(isinstance(found.get(name), Mapping) for name in _SECTIONS):
        yield path, found
        return
    if len(path) < _MAX_DEPTH:
        for key, value in found.items():
            if isinstance(value, Mapping):
                yield from _candidates(value, [*path, str(key)])


def without_quotes(message: str) -> str:
    """Return a parser's message without what it quotes, which may hold a key.

    Punctuation, and the kinds of things, stay.

    >>> without_quotes("expected ',' or '}', but got '<scalar>'")
    "expected ',' or '}', but got '<scalar>'"
    >>> without_quotes("found undefined alias 's3cret'")
    "found undefined alias '...'"
    """

    def replace(quoted: re.Match[str]) -> str:
        text = quoted[0][1:-1]
        is_shown = len(text) <= _PUNCTUATION_CHARACTERS or _KIND.fullmatch(text)
        return quoted[0] if is_shown else "'...'"

    return _QUOTED.sub(replace, message)


def yaml_error(error: Exception) -> str:
    """Return where a YAML parser failed, and why, without any of the file's text."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None)
    context, begin = getattr(error, "context", None), getattr(error, "context_mark", None)
    text = without_quotes(problem) if isinstance(problem, str) else type(error).__name__
    if isinstance(context, str):
        text += f", {without_quotes(context)}" + (f", from {_place(begin)} on" if begin else "")
    return f"{_place(mark)}: {text}" if mark else text


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"
