"""Warnings of what a log call probably gives by mistake: a secret, or an object that is no data.

An explicit event has all extras of its log call, so a token among them, or the text of a request
object, leaves the process. Whether there is a warning depends on names and types only, never on a
value. There is none about a property that the configuration names: its author has decided.

>>> event = {"action": "x", "api_key": "k", "details": {"user": object()}}
>>> [(code, name) for code, name, _ in suspicious(event, lambda name: False)]
[('looks_secret', 'api_key'), ('not_plain', 'details.user')]
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import itertools
import numbers
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Set
from decimal import Decimal
from functools import lru_cache
from typing import Any

from fslog.errors import Problem
from fslog.interrupts import unless_interrupt
from fslog.mapping import schema

IsDeclared = Callable[[Any], bool]
"""Return whether the configuration names a property, or a path inside of one."""

Warnings = Callable[[Mapping[str, Any]], "list[Problem]"]

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET = re.compile(
    r"(?:.*(?:password|passwd|passphrase|passcode|secret|token|apikey|authorization|cookie"
    r"|credential)|pwd|jwt|otp|csrf|xsrf|cvc|cvv|ssn|iban)(?P<plural>s?)"
)
"""Words of names that are hardly anything else. What `fslog record` masks is more: what looks like
a secret by chance costs it nothing, and here a warning."""

_KEYS = frozenset({"access", "api", "auth", "encryption", "private", "secret", "signing", "ssh"})
"""What makes a key one that is secret: other keys, of databases and caches, are not."""

_HARMLESS_ENDS = frozenset(
    {
        *("age", "at", "changed", "consent", "count", "enabled", "expired", "expires", "expiry"),
        *("kind", "length", "limit", "policy", "reset", "strength", "type", "usage", "used"),
    }
)
"""Last words of names that say something about a secret, and not the secret itself."""

_PLAIN = frozenset({str, int, float, bool, type(None)})
_NUMBERS = (int, float, Decimal, numbers.Real)
_TIMES = (datetime.date, datetime.time, datetime.timedelta)
_CONTAINERS = (Mapping, list, tuple, Set)
_DATA = (
    *(str, *_NUMBERS, type(None), *_TIMES, *_CONTAINERS),
    *(uuid.UUID, enum.Enum, bytes, bytearray, memoryview),
)
"""The types that are data: what is sent for them is what their name says."""

_MAX_NAMES = 4096
_MAX_VALUES = 100
"""Values inside of one property that are judged."""


def secrets(event: Mapping[str, Any]) -> list[Problem]:
    """Return the warnings of names that look like a secret, in an event of JSON values.

    >>> [problem.property for problem in secrets({"details": {"token": "t"}, "pwd": "p"})]
    ['details.token', 'pwd']
    """
    found = dict.fromkeys(suspicious(event, lambda name: False))
    return [Problem(*each, event) for each in found]


def judging_extras(warnings: Warnings, is_declared: IsDeclared) -> Warnings:
    """Return a function that adds these warnings to those of another one."""
    harmless: set[Any] = {*schema.REQUIRED, *schema.PROPERTIES}

    def judged(event: Mapping[str, Any]) -> list[Problem]:
        found = warnings(event)
        try:
            if _PLAIN.issuperset(map(type, event.values())) and harmless.issuperset(event):
                return found
            suspects = list(suspicious(event, is_declared))
            if not suspects and len(harmless) < _MAX_NAMES:
                harmless.update(name for name in event if is_declared(name) or not _kind(name))
        except unless_interrupt(Exception):  # the values' own methods
            return found
        return [*found, *(Problem(*each, event) for each in dict.fromkeys(suspects))]

    return judged


def suspicious(event: Mapping[str, Any], is_declared: IsDeclared) -> Iterator[tuple[str, str, str]]:
    """Yield the code, the property or path, and the message of each warning."""
    for name, value in event.items():
        if is_declared(name):
            continue
        found = _judged(str(name), value)
        if found is not None:
            yield found
            continue
        for path, item in itertools.islice(_inside(str(name), value), _MAX_VALUES):
            if not is_declared(path) and (found := _judged(path, item)) is not None:
                yield found


def _judged(path: str, value: Any) -> tuple[str, str, str] | None:
    name = path.rpartition(".")[2]
    if _kind(name) and _may_be_secret(name, value):
        message = (
            f"{path} looks like a secret, and is sent: leave it out of the log call, or exclude "
            f"it; if it is none, set redact: {{{path}: keep}}"
        )
        return "looks_secret", path, message
    kind = type(value)
    if kind in _PLAIN or issubclass(kind, _DATA):
        return None
    sent = "all of its fields are" if dataclasses.is_dataclass(value) else "its text is"
    message = (
        f"{path} is of type {kind.__name__}, and {sent} sent: log the value that you mean, or, if "
        f"it is this, set redact: {{{path}: keep}}"
    )
    return "not_plain", path, message


def _inside(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values one level below, and those of mappings in a list, with their paths."""
    kind = type(value)
    if kind in _PLAIN or not issubclass(kind, _CONTAINERS):
        return
    if issubclass(kind, Mapping):
        yield from ((f"{name}.{key}", item) for key, item in value.items())
        return
    for item in value:
        if issubclass(type(item), Mapping):
            yield from ((f"{name}.{key}", each) for key, each in item.items())
        else:
            yield name, item


@lru_cache(maxsize=_MAX_NAMES)
def _kind(name: Any) -> str:
    """Return "secret" if a name means a secret and no more, "part" if it contains one, else "".

    >>> [_kind(name) for name in ("password", "accessToken", "X-Api-Key", "tokens_total")]
    ['secret', 'part', 'part', 'part']
    >>> [_kind(name) for name in ("token_type", "tokenizer", "cache_key")]
    ['', '', '']
    """
    words = [word.lower() for word in _WORD.findall(str(name))]
    if not words or words[-1] in _HARMLESS_ENDS:
        return ""
    pairs = list(itertools.pairwise(words))
    if ("card", "number") in pairs or any(
        last in ("key", "keys") and first in _KEYS for first, last in pairs
    ):
        return "secret" if len(words) == 2 and words[1] != "keys" else "part"
    found = [match for match in map(_SECRET.fullmatch, words) if match is not None]
    if not found:
        return ""
    return "secret" if len(words) == 1 and not found[0]["plural"] else "part"


def _may_be_secret(name: str, value: Any) -> bool:
    """Return whether a value can be what the name says, by its type."""
    kind = type(value)
    if value is None or kind is bool or issubclass(kind, _TIMES):
        return False
    # `tokens_used` and `prompt_tokens` are counts; a password may be a number.
    return not issubclass(kind, _NUMBERS) or _kind(name) == "secret"
