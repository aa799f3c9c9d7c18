"""Privacy: properties that are dropped or hashed, and people of whom there is no event.

Redaction drops properties, or replaces them by a keyed hash. It comes after the checks of an event,
which see what the log call gave, and before everything that leaves: the derived sessionId, the
plan, the line, and each problem that is reported.

>>> redaction = Redaction({"email": "drop", "userId": "hash"}, b"0123456789abcdef")
>>> redaction.redacted({"accountId": "acme", "userId": "ann", "email": "ann@acme.example"})
... # doctest: +ELLIPSIS
{'accountId': 'acme', 'userId': 'fb385915...'}
"""

from __future__ import annotations

import contextlib
import hmac
import inspect
import json
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from fnmatch import translate
from types import MappingProxyType
from typing import Any, get_args

from fslog import config
from fslog.errors import Problem
from fslog.interrupts import unless_interrupt
from fslog.mapping import schema
from fslog.mapping.encoding import encode
from fslog.types import Redact

ACTIONS: tuple[str, ...] = get_args(Redact)
"""What may become of a property: `drop`, `hash`, `keep`."""

FORMS = {"keep": "as it is", "hash": "as a hash", "drop": "never"}
"""In which form a property leaves by each of them, in words."""

HASH_KEY = "FSLOG_HASH_KEY"
"""The environment variable of the key; that of its file has `_FILE` at the end."""

LEAST_BYTES = 16
"""A shorter key can be guessed, and with it every hash."""

EXAMPLE = "0" * 64
"""What a hash looks like."""

_NO_KEY = b"fslog: a handler that is off needs no FSLOG_HASH_KEY"
_PLAIN = frozenset({str, int, float, bool, type(None)})
_GLOB = re.compile(r"[*?\[]")

_needs_key: ContextVar[bool] = ContextVar("fslog.needs_key", default=True)


def hashed(text: str, key: bytes) -> str:
    """Return the hash that replaces a text: HMAC-SHA-256 of its UTF-8, 64 hexadecimal digits.

    >>> hashed("ann", b"0123456789abcdef")
    'fb385915a0623c0be3e7b0a7134dbb620a2771faff45e92eb8647d11aa2947cf'
    """
    return hmac.digest(key, text.encode("utf-8", "replace"), "sha256").hex()


def hash_key(environ: Mapping[str, str] = os.environ) -> bytes | None:
    r"""Return the key of the environment, without surrounding blanks and newlines; None without.

    Raises:
        ValueError: it cannot be read, is too short, or is given twice. The message shows neither
            the key nor the path, which may be a key by mistake.

    >>> hash_key({"FSLOG_HASH_KEY": " 0123456789abcdef\n"})
    b'0123456789abcdef'
    """
    given = config.environment(HASH_KEY, environ)
    path = config.environment(f"{HASH_KEY}_FILE", environ)
    if given is not None and path is not None:
        raise ValueError(f"{HASH_KEY} and {HASH_KEY}_FILE are both set; expected one of them")
    name = HASH_KEY
    key = None if given is None else given.encode("utf-8", "surrogateescape")
    if path is not None:
        name = f"the file of {HASH_KEY}_FILE"
        try:
            with open(path, "rb") as file:
                key = file.read().strip()
        except unless_interrupt(OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise ValueError(f"{name} cannot be read: {why}") from None
    if key is not None and len(key) < LEAST_BYTES:
        raise ValueError(
            f"{name} holds {len(key)} bytes, which can be guessed; expected {LEAST_BYTES} or more"
        )
    return key


@contextlib.contextmanager
def key_needed(needed: bool) -> Iterator[None]:
    """Let formatters that are created in the block do without the key if it is not `needed`.

    In a block that needs none, an inner one needs none either.
    """
    token = _needs_key.set(needed and _needs_key.get())
    try:
        yield
    finally:
        _needs_key.reset(token)


def read_redact(given: Any, planned: Mapping[str, str]) -> dict[str, str]:
    """Return what becomes of each property, by its name or path: one of `ACTIONS`.

    Args:
        given: the argument `redact`.
        planned: what the plan says of properties.

    Raises:
        TypeError, ValueError: a wrong value, named in the message.
    """
    actions: dict[str, str] = dict(planned)
    for name, value in config.mapping("redact", given).items():
        action = config.one_of(f"redact.{name}", value, ACTIONS)
        if name in planned and planned[name] != action:
            raise ValueError(
                f"redact.{name} is {action!r}, but pii of {name} in the plan is "
                f"{planned[name]!r}; expected the same, or one of them only"
            )
        actions[name] = action
    check_redact("redact.", actions)
    return actions


def check_redact(place: str, actions: Mapping[str, str]) -> None:
    """Raise `ValueError` if an action makes every event invalid, or has no effect.

    Args:
        place: what stands before a name in the message.
    """
    for name, action in actions.items():
        if not all(name.split(".")):
            raise ValueError(f"{place}{name} has an empty part; expected a property, or its path")
        allowed = _ALLOWED.get(name, ACTIONS)
        if action not in allowed:
            words = " or ".join(map(repr, allowed))
            raise ValueError(
                f"{place}{name} is {action!r}, which makes every event invalid; expected {words}"
            )
        for root in _roots(name):
            if actions.get(root, "keep") != "keep":
                raise ValueError(
                    f"{place}{name} has no effect: {root} is {actions[root]!r}; expected one of "
                    "the two"
                )


_ALLOWED = {
    **dict.fromkeys(schema.REQUIRED, ("keep",)),
    **dict.fromkeys((*schema.IDS, "sessionId"), ("hash", "keep")),
}
"""The actions that leave an event valid, of required properties."""


def _roots(name: str) -> Iterator[str]:
    """Yield what a path leads through: `a` and `a.b` for `a.b.c`."""
    parts = name.split(".")
    return (".".join(parts[:number]) for number in range(1, len(parts)))


class Redaction:
    """Drop or hash properties of events.

    Args:
        actions: by a property's name, which is also that of a value in `details`; with dots it is
            also the path of a value inside of a property, in mappings, and in each item of a list.
        key: for hashes; None if there are none.
    """

    def __init__(self, actions: Mapping[str, str], key: bytes | None = None) -> None:
        self.actions: dict[str, str] = {
            name: actions[name] for name in actions if actions[name] != "keep"
        }
        """Of the properties that are not kept."""
        self._key = key or b""
        self._paths = [(name.split("."), self.actions[name]) for name in self.actions]
        # Who drops `email` does not expect `identify_user` to send it in another place.
        self._paths += [
            (["details", name], action)
            for name, action in self.actions.items()
            if "." not in name and name not in schema.REQUIRED and f"details.{name}" not in actions
        ]
        self._ids = frozenset(self.actions).intersection(schema.IDS)

    def redacted(self, event: dict[str, Any]) -> dict[str, Any]:
        """Redact a valid event, which may be changed, and return what is sent of it.

        Probable mistakes in its ids are found here, while they can still be read.
        """
        if self._ids:
            ids = schema.id_warnings(event["accountId"], event["userId"], self._ids)
            event = schema.Warned(event, getattr(event, "message", ""), ids)
        self._redact(event)
        return event

    def reported(self, found: Sequence[Problem], event: Mapping[str, Any]) -> list[Problem]:
        """Return the problems of an event as they may be reported, without what is redacted."""
        shown = dict(event)
        self._redact(shown)
        return [
            replace(problem, event=shown, message=self._message(problem, event))
            for problem in found
        ]

    def _message(self, problem: Problem, event: Mapping[str, Any]) -> str:
        value = event.get(problem.property)
        if type(value) is float and problem.property in self.actions:
            return problem.message.replace(repr(value), "of type float", 1)
        return problem.message

    def sent(self, name: str, value: Any) -> Any:
        """Return what is sent for a property with a value; None if it is dropped."""
        event = {name: value}
        self._redact(event)
        return event.get(name)

    def _redact(self, event: dict[str, Any]) -> None:
        if not all(type(name) is str for name in event):
            sent = json.loads(encode(event))
            event.clear()
            event.update(sent)
        for parts, action in self._paths:
            self._descend(event, parts, action)

    def _descend(self, values: dict[str, Any], parts: Sequence[str], action: str) -> None:
        """Redact what a path leads to in a mapping, which is changed; what is inside is copied."""
        for number in range(1, len(parts)):
            name = ".".join(parts[:number])
            if name in values and type(values[name]) not in _PLAIN:
                values[name] = self._inside(_opened(values[name]), parts[number:], action)
        self._act(values, ".".join(parts), action)

    def _inside(self, value: Any, parts: Sequence[str], action: str) -> Any:
        if type(value) is list:
            # A list in a list may be the same one.
            return [
                self._inside(
                    _as_sent(item) if type(item) in (list, tuple) else _opened(item), parts, action
                )
                for item in value
            ]
        if type(value) is dict:
            self._descend(value, parts, action)
        return value

    def _act(self, values: dict[str, Any], name: str, action: str) -> None:
        if name not in values:
            return
        if action == "drop":
            del values[name]
            return
        text = _text(values[name])
        if text:
            values[name] = hashed(text, self._key)
        else:  # an empty string or null identifies nobody
            values[name] = text


def _opened(value: Any) -> Any:
    """Return a copy of a mapping as a dict, of a sequence as a list; else what is sent."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is list or kind is tuple:
        return list(value)
    if kind is dict and all(type(name) is str for name in value):
        return dict(value)
    # A class may read its values in a way of its own.
    return _as_sent(value)


def _as_sent(value: Any) -> Any:
    """Return a value as a reader of the line gets it."""
    return json.loads(encode({"": value}))[""]


def _text(value: Any) -> str | None:
    """Return the text that is hashed for a value: a string itself, or JSON; None for null."""
    found = _as_sent(value)
    if found is None or type(found) is str:
        return found
    return encode({"": value})[len('{"":') : -len("}\n")].decode()


def redaction(actions: Mapping[str, str]) -> Redaction | None:
    """Return the redaction of a formatter; None if everything is kept.

    Raises:
        ValueError: the key for hashes is missing, or cannot be used.
    """
    first = next((name for name in actions if actions[name] == "hash"), None)
    key = None
    if first is not None:
        key = hash_key()
        if key is None and not _needs_key.get():
            key = _NO_KEY
        if key is None:
            raise ValueError(
                f"redact.{first} is 'hash', which needs a key: set {HASH_KEY}, or {HASH_KEY}_FILE, "
                f"to the same {LEAST_BYTES} random bytes or more on every host, such as those of "
                "python -c 'import secrets; print(secrets.token_hex(32))'"
            )
    return Redaction(actions, key) if set(actions.values()) - {"keep"} else None


IsExcluded = Callable[[Mapping[str, Any]], bool]
"""Return whether the configuration excludes the account or the user of an event."""

_KINDS = {"accounts": "accountId", "users": "userId"}


def exclusion(given: Any) -> IsExcluded | None:
    """Return what the argument `excluded` means; None if it excludes nobody.

    Raises:
        TypeError, ValueError: a wrong value, named in the message.

    >>> is_excluded = exclusion({"users": ["*@staff.example", 7]})
    >>> is_excluded({"accountId": "acme", "userId": "7"})
    True
    """
    if given is None:
        return None
    if not isinstance(given, Mapping):
        if not callable(given) and not isinstance(given, str):
            kind = type(given).__name__
            raise TypeError(
                f"excluded is of type {kind}; expected a mapping with accounts or users, or a "
                "callable"
            )
        function = config.function("excluded", given)
        if inspect.iscoroutinefunction(function):
            raise TypeError("excluded is a coroutine function; expected a plain function")
        return _asking(function)
    lists = config.mapping("excluded", given)
    for key in lists:
        if key not in _KINDS:
            raise ValueError(
                f"excluded has the unknown key {key!r}; expected accounts or users"
                f"{config.did_you_mean(key, _KINDS)}"
            )
    tests = [(_KINDS[key], _one_of(f"excluded.{key}", lists[key])) for key in lists]
    if not any(lists.values()):
        return None
    return lambda event: any(test(_sent_id(event.get(name))) for name, test in tests)


def _sent_id(value: Any) -> str:
    """Return an id as it would be sent; of an invalid event it may be missing, or anything."""
    if type(value) is str:
        return value
    return str(value) if type(value) in (int, uuid.UUID) else ""


def _asking(function: Callable[[Mapping[str, Any]], Any]) -> IsExcluded:
    def is_excluded(event: Mapping[str, Any]) -> bool:
        return bool(function(MappingProxyType(event)))

    return is_excluded


def _one_of(name: str, given: Any) -> Callable[[str], bool]:
    """Return a function that is true for ids in a list, which may have globs."""
    if given is None:
        given = ()
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise TypeError(f"{name} is of type {type(given).__name__}; expected a list of ids")
    ids = [_id(name, value) for value in given]
    exact = frozenset(one for one in ids if not _GLOB.search(one))
    globs = [translate(one) for one in ids if _GLOB.search(one)]
    if not globs:
        return exact.__contains__
    match = re.compile("|".join(globs)).match
    return lambda value: value in exact or match(value) is not None


def _id(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, uuid.UUID)):
        kind = type(value).__name__
        raise TypeError(f"{name} holds {value!r}, which is of type {kind}; expected ids")
    if value == "":
        raise ValueError(f"{name} holds an empty string; expected ids")
    return str(value)
