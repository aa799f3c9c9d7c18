"""What `fslog record` keeps of a record: plain values, two levels deep, without secrets.

Nothing of the application is called: no property, no `str` or `repr`, no `__class__`, since any of
them may ask a database (Django's `request.user`). Objects are read from `__dict__` and slots alone,
and only types of the standard library become text. What JSON has no type for is named in `types`.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from types import MemberDescriptorType
from typing import Any

from fslog.interrupts import unless_interrupt
from fslog.mapping.paths import RECORD_ATTRIBUTES

MASK = "***"
"""Stands for a secret."""

_DEPTH = 2
_MOST_ITEMS = 100
_MOST_OF_A_LIST = 20
_MOST_CHARACTERS = 16_000
"""Of one record's texts; a value beyond is left out."""

_LONGEST = 200
_LONGEST_MESSAGE = 2_000
_LONGEST_KEY = 100
_LARGEST = 2**63

_SECRET_WORDS = (
    r"passw(?:or)?d|passphrase|passcode|\bpwd\b|secret|token|api_?key|auth_?key|access_?key"
    r"|private_?key|authori[sz]ation|cookie|credential|session_?key|sessionid|csrf|xsrf|signature"
    r"|\bjwt\b|\botp\b|\bpin\b|card_?number|\bcvc\b|\bcvv\b|\bssn\b|\biban\b"
)
_SECRET_NAME = re.compile(_SECRET_WORDS, re.IGNORECASE)
_QUERY_NAMES = frozenset({"q", "query", "query_string", "querystring", "raw_uri"})
_CONTENT_NAMES = frozenset({"POST", "GET", "FILES", "body", "form", "environ"})
"""Attributes of requests that hold what a user has sent."""

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@\"']+@")
_QUERY = re.compile(r"(?<=[\w/.~%*-])\?[^\s\"'<>]+")
_SCHEME = re.compile(r"\b(?:Bearer|Basic|Digest|Token)\s+[^\s\"',;]+", re.IGNORECASE)
_ASSIGNED = re.compile(
    rf"((?:{_SECRET_WORDS})\w*[\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&\"')}}\]]+)",
    re.IGNORECASE,
)
_RUN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]{16,}|(?<!\w)[A-Za-z0-9_+=-]{24,}(?!\w)")
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)

_TEXT_MODULES = ("datetime", "decimal", "ipaddress", "pathlib", "pathlib._local", "uuid")
"""Modules of the standard library whose objects become text without a side effect."""

Redact = Callable[[str], str]


def describe(record: logging.LogRecord, redact: Redact) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what is kept of a record, and the types of values that JSON has no type for.

    Args:
        record: is only read.
        redact: removes fslog's keys from a text.

    >>> record = logging.LogRecord("app", 20, "a.py", 1, "hi %s", ("/a?token=1",), None)
    >>> describe(record, lambda text: text)[0]["args"]
    ['/a?***']
    """
    copy = _Copy(redact)
    kept: dict[str, Any] = {
        "name": record.name,
        "levelname": record.levelname,
        "levelno": record.levelno,
        "pathname": record.pathname,
        "lineno": record.lineno,
        "funcName": record.funcName,
        "created": record.created,
        "msg": copy.message(record.msg),
    }
    if record.args:
        kept["args"] = copy.arguments(record.msg, record.args)
    for name in list(record.__dict__):
        if name not in RECORD_ATTRIBUTES and len(kept) < _MOST_ITEMS:
            kept[redact(name)] = copy.value(record.__dict__[name], name, name, _DEPTH)
    return kept, copy.types


def is_secret(name: str) -> bool:
    """Return whether a value of this name is not to be shown.

    >>> [is_secret(name) for name in ("X-Api-Key", "{authorization}i", "author", "query_string")]
    [True, True, False, True]
    """
    plain = name.replace("-", "_").lower()
    inner = plain[1:].partition("}")[0] if plain.startswith("{") else plain
    return inner in _QUERY_NAMES or _SECRET_NAME.search(plain) is not None


def without_secrets(text: str) -> str:
    """Return a text without credentials, query strings, and what looks like a key.

    >>> without_secrets("https://ann:pw@host/a?b=c password=hunter2 sk_live_4eC39HqLyjWDarjtT1")
    'https://***@host/a?*** password=*** ***'
    >>> without_secrets("/reports/6f9619ff-8b86-d011-b42d-00cf4fc964ff/quarterly-export-2024")
    '/reports/6f9619ff-8b86-d011-b42d-00cf4fc964ff/quarterly-export-2024'
    """
    text = _QUERY.sub(f"?{MASK}", _CREDENTIALS.sub(f"{MASK}@", text))
    text = _ASSIGNED.sub(_assigned, _SCHEME.sub(MASK, text))
    spans = [found.span() for found in _UUID.finditer(text)]

    def replaced(found: re.Match[str]) -> str:
        start, end = found.span()
        is_id = any(start < last and end > first for first, last in spans)
        return found[0] if is_id or not _is_random(found[0]) else MASK

    return _RUN.sub(replaced, text)


def _assigned(found: re.Match[str]) -> str:
    quote = found[2][0] if found[2][0] in "\"'" else ""
    return f"{found[1]}{quote}{MASK}{quote}"


def _is_random(run: str) -> bool:
    """Return whether a run of letters and digits is no word and no number, as far as one can see.

    >>> _is_random("quarterly-export-of-2024-final"), _is_random("4eC39HqLyjWDarjtT1zdp7dc")
    (False, True)
    """
    parts = [part for part in re.split(r"[-_+=]", run) if len(part) >= 12]
    return any(re.search(r"\d", one) and re.search(r"[A-Za-z]", one) for one in parts)


class _Copy:
    """Copy the values of one record."""

    def __init__(self, redact: Redact) -> None:
        self.types: dict[str, str] = {}
        self._redact = redact
        self._left = _MOST_CHARACTERS

    def message(self, message: Any) -> Any:
        kind = type(message)
        if issubclass(kind, str):
            return self._text(message, _LONGEST_MESSAGE)
        return self.value(message, "message", "message", _DEPTH)

    def arguments(self, message: Any, args: Any) -> Any:
        if issubclass(type(args), Mapping):
            return self.value(args, "args", "args", _DEPTH)
        # Nothing names an argument but the message itself.
        named = "token" if type(message) is str and _SECRET_NAME.search(message) else "args"
        values = (
            list(tuple.__iter__(args))[:_MOST_OF_A_LIST] if issubclass(type(args), tuple) else []
        )
        return [
            self.value(
                one, f"args.{number}", named if issubclass(type(one), str) else "args", _DEPTH
            )
            for number, one in enumerate(values)
        ]

    def value(self, value: Any, path: str, name: str, depth: int) -> Any:
        """Return a copy of a value that JSON can have."""
        kind = type(value)
        if value is None or kind is bool:
            return value
        if is_secret(name):
            return MASK
        if issubclass(kind, Enum):
            self.types[path] = _name(kind)
            return self.value(value.__dict__.get("_value_"), path, name, depth)
        if issubclass(kind, str):
            return self._text(str.__str__(value), _LONGEST)
        if issubclass(kind, int):
            number = int.__int__(value)
            return number if abs(number) < _LARGEST else self._only_type(kind, path)
        if issubclass(kind, float):
            exact = float.__float__(value)
            return exact if math.isfinite(exact) else self._only_type(kind, path)
        if kind.__module__ in _TEXT_MODULES:
            self.types[path] = _name(kind)
            return self._text(str(value), _LONGEST)
        return self._deep(value, kind, path, depth)

    def _deep(self, value: Any, kind: type, path: str, depth: int) -> Any:
        if depth == 0 or self._left <= 0 or issubclass(kind, (bytes, bytearray, type)):
            return self._only_type(kind, path)
        if issubclass(kind, (list, tuple)):
            items = list(kind.__iter__(value) if kind in (list, tuple) else value)
            return [
                self.value(one, f"{path}.{number}", "", depth - 1)
                for number, one in enumerate(items[:_MOST_OF_A_LIST])
            ]
        if issubclass(kind, dict):
            return self._items(list(dict.items(value)), path, depth)
        found = list(_attributes(value, kind))
        if found and found[0][0] == "_wrapped":  # a lazy object of Django
            wrapped = found[0][1]
            is_empty = type(wrapped) is object
            return self._only_type(kind, path) if is_empty else self.value(wrapped, path, "", depth)
        self.types[path] = _name(kind)
        hidden = [(name, one) for name, one in found if name not in _CONTENT_NAMES]
        return self._items(hidden, path, depth) if hidden else f"<{_name(kind)}>"

    def _items(self, items: list[tuple[Any, Any]], path: str, depth: int) -> dict[str, Any]:
        kept = {}
        for key, one in items[:_MOST_ITEMS]:
            if self._left <= 0:
                break
            if issubclass(type(key), (str, int)):
                name = str.__str__(key) if issubclass(type(key), str) else str(int(key))
                if type(one) is str and os.environ.get(name) == one:
                    continue  # a server's variables of a request include those of its process
                shown = self._text(name[:_LONGEST_KEY], _LONGEST_KEY)
                kept[shown] = self.value(one, f"{path}.{shown}", name, depth - 1)
        return kept

    def _only_type(self, kind: type, path: str) -> str:
        self.types[path] = _name(kind)
        return f"<{_name(kind)}>"

    def _text(self, text: str, longest: int) -> str:
        text = str.__str__(text)
        is_cut = len(text) > longest
        text = self._redact(without_secrets(text[: longest + 1]))
        text = f"{text[:longest]}..." if is_cut else text
        self._left -= len(text)
        return text


def _name(kind: type) -> str:
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def _attributes(value: Any, kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the public attributes that an object holds itself, without calling its code."""
    if kind.__module__ == "builtins":
        return
    try:
        held = object.__getattribute__(value, "__dict__")
        found = dict(held) if type(held) is dict else {}
    except unless_interrupt(Exception):  # it has none, or is a proxy without an object
        found = {}
    if "_wrapped" in found and "_setupfunc" in found:
        yield "_wrapped", found["_wrapped"]
        return
    for owner in kind.__mro__:
        for name, member in list(vars(owner).items()):
            if type(member) is MemberDescriptorType and name not in found:
                try:
                    found[name] = member.__get__(value)
                except unless_interrupt(AttributeError):  # it has no value
                    continue
    yield from ((name, one) for name, one in found.items() if str(name)[:1] != "_")
