"""The two keys: given directly, or in files, as Docker and Kubernetes mount secrets.

No error shows a key. One about a file names the file, unless the path may be a key itself that was
given as the wrong argument.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from fslog.interrupts import Suppressed, unless_interrupt
from fslog.net.redaction import MASK, Redactor

NAMES = ("auth_key", "api_key")

_MOST_BYTES = 4096
"""How much of a file is read: far more than a key has."""

# RFC 3986's pchar without the percent sign: characters that need no encoding in a path.
_KEY = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@-]+")


class Key(NamedTuple):
    """One of the two keys.

    Args:
        value: None if it is missing.
        path: of the file that it is from; None if it was given directly.
    """

    value: str | None
    path: str | None = None

    def __repr__(self) -> str:
        return f"Key({self.value and MASK!r}, {self.path!r})"


def variable_of(name: str) -> str:
    """Return the environment variable of a key, or of its file.

    >>> variable_of("auth_key"), variable_of("auth_key_file")
    ('FSLOG_AUTH_KEY', 'FSLOG_AUTH_KEY_FILE')
    """
    return f"FSLOG_{name.upper()}"


def find_key(
    name: str, given: Any, given_file: Any, environ: Mapping[str, str], *, needed: bool | None
) -> Key:
    r"""Return one of the two keys, without surrounding blanks and newlines (of mounted files).

    The arguments precede the variables. An empty or blank value counts as not given, as a template
    of a configuration may have it.

    Args:
        name: `"auth_key"` or `"api_key"`.
        given: the key as an argument.
        given_file: the path of its file as an argument.
        environ: environment variables.
        needed: whether a missing key is an error; None: only a file without a usable key is one.

    Raises:
        TypeError, ValueError: an argument of the wrong type or value, named in the message.

    >>> find_key("api_key", "k3y\n", None, {}, needed=True).value
    'k3y'
    """
    if given is not None and not isinstance(given, str):
        raise TypeError(f"{name} is of type {type(given).__name__}; expected a string")
    label, variable = f"{name}_file", variable_of(name)
    value, path = (given or "").strip(), _path(label, given_file)
    if value and path:
        raise ValueError(f"{name} and {label} are both given; expected one of the two")
    if not (value or path):
        label = variable_of(label)
        value, path = environ.get(variable, "").strip(), _path(label, environ.get(label))
        if value and path:
            raise ValueError(f"{variable} and {label} are both set; expected one of the two")
    if path:
        # A daemon may change its directory before the file is read again.
        absolute = os.path.abspath(path)
        try:
            return Key(read_key_file(label, path), absolute)
        except unless_interrupt(ValueError):
            if needed is False:
                return Key(None, absolute)
            raise
    if not value:
        if needed:
            raise ValueError(
                f"{name} is missing: give it as an argument or in {variable}, or its file in "
                f"{variable}_FILE"
            )
        return Key(None)
    return Key(_checked(name, value))


def _path(label: str, given: Any) -> str:
    if given is None:
        return ""
    if not isinstance(given, (str, os.PathLike)) or not isinstance(os.fspath(given), str):
        raise TypeError(f"{label} is of type {type(given).__name__}; expected a path, as a string")
    path = os.fspath(given).strip()
    return os.path.expanduser(path) if path.startswith("~") else path


def read_key_file(label: str, path: str) -> str:
    """Return the key in a file.

    Args:
        label: the argument or variable that names the file.
        path: of the file.

    Raises:
        ValueError: it cannot be read, is empty, or does not contain a key.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST_BYTES)
    except unless_interrupt(OSError, ValueError) as error:  # a NUL in a path is a ValueError
        reason = getattr(error, "strerror", None) or "it is not the path of a file"
        raise ValueError(f"{label} {_shown(path)}, which cannot be read: {reason}") from None
    shown = f"{label} is {path!r}"
    try:
        value = content.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise ValueError(f"{shown}, which contains no text; expected a key") from None
    if not value:
        raise ValueError(f"{shown}, which is empty; expected a file with a key")
    return _checked(f"the key in {shown.replace(' is ', ' ', 1)}", value)


def _shown(path: str) -> str:
    # No key has a slash, but a key that was given as a path has none either.
    shown = Redactor()(path)
    return f"is {shown!r}" if os.sep in path else "is a name without a directory (not shown)"


def _checked(label: str, value: str) -> str:
    match = _KEY.match(value)
    good = match.end() if match else 0
    if good < len(value):
        raise ValueError(
            f"{label} has a character that a URL's path cannot contain, at position {good + 1} "
            f"of {len(value)} (the value is not shown)"
        )
    if value in (".", ".."):
        raise ValueError(f"{label} consists of dots only, which are removed from a URL's path")
    return value


def known_keys(environ: Mapping[str, str], *sections: Mapping[str, Any]) -> list[str]:
    """Return the keys of the environment and of handlers' arguments, as far as they are readable.

    For redaction: nothing is checked, and nothing raised.

    >>> known_keys({"FSLOG_API_KEY": "one\\n"}, {"auth_key": "two", "auth_key_file": "/missing"})
    ['two', 'one']
    """
    found = []
    for name in NAMES:
        found += [environ.get(variable_of(name)), *(one.get(name) for one in sections)]
        label = f"{name}_file"
        for path in (environ.get(variable_of(label)), *(one.get(label) for one in sections)):
            with Suppressed(TypeError, ValueError):
                found.append(read_key_file(label, _path(label, path)) if path else None)
    return [str(key).strip() for key in found if key]
