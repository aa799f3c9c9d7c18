"""Checks of configuration values: each error names the argument, what came, and what is allowed.

A wrong type is a `TypeError`, a wrong value a `ValueError`; both are raised where the
configuration is loaded, never later. No function here is ever given a key.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_FLAGS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


def environment(name: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return an environment variable without the blanks around it; None when unset or empty.

    >>> environment("FSLOG_ENDPOINT", {"FSLOG_ENDPOINT": " http://127.0.0.1:1 "})
    'http://127.0.0.1:1'
    """
    return environ.get(name, "").strip() or None


def flag(name: str, value: Any) -> bool:
    """Take a yes or no, as a bool or as the words that environment variables use.

    >>> flag("enabled", "off")
    False
    """
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise TypeError(f"{name} is {_type(value)}; expected a bool")
    try:
        return _FLAGS[value.strip().lower()]
    except KeyError:
        raise ValueError(f"{name} is {value!r}; expected one of {_words(_FLAGS)}") from None


def seconds(name: str, value: Any, *, zero: bool = False) -> float:
    """Take a duration in seconds, above zero (or from zero on), that a lock can wait for.

    >>> seconds("timeout", 10)
    10.0
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is {_type(value)}; expected a number of seconds")
    if not 0 <= value <= threading.TIMEOUT_MAX or (value == 0 and not zero):
        least = "0 or more" if zero else "more than 0"
        most = f"at most {threading.TIMEOUT_MAX:.0f}"
        raise ValueError(
            f"{name} is {_shown(value)}; expected a finite number of seconds, {least}, {most}"
        )
    return float(value)


def whole(name: str, value: Any, *, least: int, most: int | None = None) -> int:
    """Take a whole number between two bounds, both included.

    >>> whole("batch_events", 5000, least=1)
    5000
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {_type(value)}; expected a whole number")
    if value < least or (most is not None and value > most):
        bounds = f"{least} or more" if most is None else f"{least} to {most}"
        raise ValueError(f"{name} is {_shown(value)}; expected a whole number, {bounds}")
    return value


def one_of(name: str, value: Any, allowed: Sequence[str | None]) -> Any:
    """Take one of a few words.

    >>> one_of("datacenter", "eu", ("us", "eu"))
    'eu'
    """
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} is {_type(value)}; expected one of {_words(allowed)}")
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; expected one of {_words(allowed)}")
    return value


def text(name: str, value: Any) -> str:
    """Take a string. Its value is not shown: the caller may have it hold a password.

    >>> text("ca_certs", " /etc/ca.pem ")
    '/etc/ca.pem'
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} is {_type(value)}; expected a string")
    return value.strip()


def level(value: Any) -> int | str:
    """Take a level of the logging module, by number or by name.

    >>> level("INFO")
    'INFO'
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"level is {_type(value)}; expected an int or a name")
    if isinstance(value, str) and not isinstance(logging.getLevelName(value), int):
        raise ValueError(f"level is {value!r}; expected a level's name such as 'INFO'")
    return value


def function(name: str, value: Any) -> Any:
    """Take something to call, or None.

    A string is what a configuration leaves there when it forgets the `ext://` prefix.

    >>> function("on_problem", None)
    """
    if value is None or callable(value):
        return value
    hint = ": in a logging configuration write ext://package.module.name"
    raise TypeError(
        f"{name} is {_type(value)}; expected a callable{hint if isinstance(value, str) else ''}"
    )


def mapping(name: str, value: Any) -> dict[str, Any]:
    """Take a mapping with non-empty strings as keys; None means an empty one.

    >>> mapping("defaults", {"product": "core"})
    {'product': 'core'}
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is {_type(value)}; expected a mapping")
    for key in value:
        if not isinstance(key, str):
            raise TypeError(f"{name} has the key {key!r}, which is {_type(key)}; expected a string")
        if not key:
            raise ValueError(f"{name} has an empty key")
    # Item by item: dictConfig's mappings resolve `ext://` and `cfg://` only when asked for a key.
    return {key: value[key] for key in value}


def names(name: str, value: Any) -> tuple[str, ...]:
    """Take a list of non-empty strings; None means an empty one.

    >>> names("include", ["feature", "order_*"])
    ('feature', 'order_*')
    """
    if value is None:
        return ()
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} is {_type(value)}; expected a list of strings")
    found = tuple(value)
    for item in found:
        if not isinstance(item, str):
            raise TypeError(f"{name} holds {item!r}, which is {_type(item)}; expected strings")
        if not item:
            raise ValueError(f"{name} holds an empty string; expected names")
    return found


def _shown(value: int | float) -> str:
    try:
        return repr(value)
    except ValueError:  # more digits than sys.get_int_max_str_digits() allows
        return "a number of thousands of digits"


def _type(value: Any) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


def _words(allowed: Iterable[str | None]) -> str:
    return ", ".join(repr(word) for word in allowed)
