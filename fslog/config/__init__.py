"""Checks of configuration values, and the values of a handler once they are checked.

Each error names the argument, its value and what is allowed: a wrong type is a `TypeError`, a wrong
value a `ValueError`. Both are raised when the configuration is loaded, never later. No function
here receives a key.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, get_args

from fslog.errors import Problem
from fslog.types import Compression, Overflow, SpoolFsync

ENCODINGS: tuple[str, ...] = get_args(Compression)

AUTO = "auto"
"""A handler is enabled if it has both keys, and disabled if it has neither."""

_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%")

TIME_PROPERTIES: Mapping[str, str] = MappingProxyType(
    {"sessionSync": "activeDuration", "moduleEnd": "timeSpent"}
)
"""Action → its property with milliseconds; names and unit are inferred."""

NOT_TIMES = frozenset(
    {"accountId", "userId", "createdAt", "action", "sessionId", "module", "product"}
)
"""The other properties of these actions."""

IDLE_SECONDS = 300.0
"""The longest gap between two events that counts as activity."""

MAX_IDLE_SECONDS = 1_800.0
"""A longer one ends a session."""

_OTHER_LOCALS = ("self", "unknown", "__class__")
"""Local variables of `__init__` that are not arguments with names."""

_FLAGS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


def environment(name: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return an environment variable without surrounding blanks; None if it is unset or empty.

    >>> environment("FSLOG_ENDPOINT", {"FSLOG_ENDPOINT": " http://127.0.0.1:1 "})
    'http://127.0.0.1:1'
    """
    return environ.get(name, "").strip() or None


def _state(name: str, value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise TypeError(f"{name} is {_type(value)}; expected a bool or {AUTO!r}")
    word = value.strip().lower()
    if word != AUTO and word not in _FLAGS:
        hint = did_you_mean(value, (AUTO, *_FLAGS))
        raise ValueError(f"{name} is {value!r}; expected one of {_words((AUTO, *_FLAGS))}{hint}")
    return _FLAGS.get(word)


def enabled_state(value: Any, environ: Mapping[str, str] = os.environ) -> bool | None:
    """Return a handler's `enabled` argument, or else `FSLOG_ENABLED`; None for `auto`, the default.

    >>> enabled_state(None, {"FSLOG_ENABLED": "no"}), enabled_state(None, {}), enabled_state("on")
    (False, None, True)
    """
    if value is not None:
        return _state("enabled", value)
    return _state("FSLOG_ENABLED", environment("FSLOG_ENABLED", environ) or AUTO)


def flushes_on_sigterm(value: Any = AUTO) -> bool:
    """Return what a handler's `flush_on_sigterm` argument means."""
    return _state("flush_on_sigterm", value) is not False


def flag(name: str, value: Any) -> bool:
    """Return a bool, or what a word means."""
    if (found := _state(name, value)) is None:
        raise ValueError(f"{name} is {value!r}; expected one of {_words(_FLAGS)}")
    return found


def seconds(
    name: str, value: Any, *, zero: bool = False, most: float = threading.TIMEOUT_MAX
) -> float:
    """Return a duration in seconds, above zero (or from zero on), that a lock can wait for."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is {_type(value)}; expected a number of seconds")
    if not 0 <= value <= most or (value == 0 and not zero):
        least = "0 or more" if zero else "more than 0"
        raise ValueError(
            f"{name} is {_shown(value)}; expected a finite number of seconds, {least}, "
            f"at most {most:.0f}"
        )
    return float(value)


def rate(name: str, value: Any) -> float | None:
    """Return a number of events a second, above 0, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is {_type(value)}; expected a number of events a second, or None")
    if not _LEAST_RATE <= value <= _MOST_RATE:
        raise ValueError(
            f"{name} is {_shown(value)}; expected a number of events a second, "
            f"{_LEAST_RATE:g} to {_MOST_RATE:g}"
        )
    return float(value)


_LEAST_RATE, _MOST_RATE = 1e-6, 1e9


def whole(name: str, value: Any, *, least: int = 1, most: int | None = None) -> int:
    """Return a whole number between two bounds, both included."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {_type(value)}; expected a whole number")
    if value < least or (most is not None and value > most):
        bounds = f"{least} or more" if most is None else f"{least} to {most}"
        raise ValueError(f"{name} is {_shown(value)}; expected a whole number, {bounds}")
    return value


class MinFree(NamedTuple):
    """How much of a file system has to stay free, in bytes or in percent of its size; 0 for none.

    >>> MinFree(percent=5.0).of(1000), MinFree(bytes=20).of(1000), str(MinFree(percent=2.5))
    (50, 20, '2.5%')
    """

    bytes: int = 0
    percent: float = 0.0

    def of(self, total_bytes: int) -> int:
        """Return how many bytes of a file system of that size have to stay free."""
        return max(self.bytes, math.ceil(total_bytes * self.percent / 100.0))

    def __str__(self) -> str:
        return f"{self.percent:.9g}%" if self.percent else f"{self.bytes} bytes"


NO_LIMIT = MinFree()


def min_free(name: str, value: Any) -> MinFree:
    """Return a number of bytes, or a percentage of a file system, as a string such as `"5%"`."""
    if isinstance(value, str):
        found = _PERCENT.fullmatch(value.strip())
        if found is None or float(found[1]) >= 100.0:
            raise ValueError(
                f"{name} is {value!r}; expected a percentage of the file system below 100, such as "
                "'5%', or a number of bytes"
            )
        return MinFree(percent=float(found[1]))
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {_type(value)}; expected a whole number of bytes, or '5%'")
    return MinFree(bytes=whole(name, value, least=0))


def one_of(name: str, value: Any, allowed: Sequence[str | None]) -> Any:
    """Return one of a few words."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} is {_type(value)}; expected one of {_words(allowed)}")
    if value not in allowed:
        hint = did_you_mean(value, [word for word in allowed if word is not None])
        raise ValueError(f"{name} is {value!r}; expected one of {_words(allowed)}{hint}")
    return value


def did_you_mean(name: Any, known: Iterable[Any]) -> str:
    """Return the end of a message about an unknown name: the most similar known one, if any.

    >>> did_you_mean("feilds", ["rules", "fields"]), did_you_mean("x", ["rules"])
    ("; did you mean 'fields'?", '')
    """
    import difflib

    near = difflib.get_close_matches(str(name), map(str, known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def reject_unknown(called: str, unknown: Mapping[str, Any], given: Iterable[str]) -> None:
    """Raise `TypeError` if there are unknown arguments.

    Type checkers report them as well: the annotation of `**unknown` is `NoReturn`, a type without
    values.

    Args:
        called: the class's name.
        given: the names of the local variables of its `__init__`.
    """
    if unknown:
        name = min(unknown)
        hint = did_you_mean(name, [known for known in given if known not in _OTHER_LOCALS])
        raise TypeError(f"{called} has no argument {name!r}{hint}")


def text(name: str, value: Any) -> str:
    """Return a string without surrounding blanks. Errors do not show it: it may hold a password."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is {_type(value)}; expected a string")
    return value.strip()


def level(value: Any) -> int | str:
    """Return a level of the logging module, given as a number or a name."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"level is {_type(value)}; expected an int or a name")
    if isinstance(value, str) and not isinstance(logging.getLevelName(value), int):
        raise ValueError(f"level is {value!r}; expected a level's name such as 'INFO'")
    return value


def function(name: str, value: Any) -> Any:
    """Return a callable, or None.

    A string is what a configuration without the `ext://` prefix passes.
    """
    if value is None or callable(value):
        return value
    hint = ": in a logging configuration write ext://package.module.name"
    raise TypeError(
        f"{name} is {_type(value)}; expected a callable{hint if isinstance(value, str) else ''}"
    )


def mapping(name: str, value: Any) -> dict[str, Any]:
    """Return a mapping, with non-empty strings as keys, as a dict; None means an empty one."""
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


def names(name: str, value: Any, *, may_be_empty: bool = False) -> tuple[str, ...]:
    """Return strings, of which none is empty unless that is allowed; None means an empty tuple."""
    if value is None:
        return ()
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} is {_type(value)}; expected a list of strings")
    found = tuple(value)
    for item in found:
        if not isinstance(item, str):
            raise TypeError(f"{name} holds {item!r}, which is {_type(item)}; expected strings")
        if not item and not may_be_empty:
            raise ValueError(f"{name} holds an empty string; expected names")
    return found


def path(name: str, value: Any) -> str | None:
    """Return a path, with the home directory for `~`; None if it is None or empty."""
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise TypeError(f"{name} is {_type(value)}; expected a path, as a string")
    return os.path.expanduser(os.fspath(value)) or None


def _absolute(found: str | None) -> str | None:
    """Return a path that stays the same when a daemon changes its directory."""
    return None if found is None else os.path.abspath(found)


@contextlib.contextmanager
def garbage_kept() -> Iterator[None]:
    """Pause the garbage collector while the block creates very many objects, all of which stay.

    It would visit all of them again and again, which doubles the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of a handler, checked; the guide's topic `configuration` documents each.

    Not here: where events go (`fslog.net.destination`), the spool's directory
    (`fslog.spool.directory`), and the arguments of `EventFormatter`.
    """

    level: int | str
    compression: Compression | None
    compression_level: int
    batch_events: int
    batch_bytes: int
    flush_interval: float
    aggregate: float | None
    """None: no events are merged."""
    buffer_bytes: int
    block_timeout: float | None
    """None: `overflow` is `"refuse"`."""
    timeout: float
    max_backoff: float
    shutdown_timeout: float
    flush_on_sigterm: bool
    spool_max_bytes: int
    spool_min_free: MinFree
    spool_max_age: float | None
    spool_fsync: SpoolFsync
    ca_certs: str | None
    enabled: bool | None
    """None: `auto`."""
    max_per_second: float | None
    """None: no event is limited."""
    on_problem: Callable[[Problem], None] | None
    rejects: str | None = None
    track_time: bool = False
    idle_after: float = IDLE_SECONDS
    time_properties: Mapping[str, str] = field(default_factory=lambda: TIME_PROPERTIES)

    @classmethod
    def checked(cls, *, overflow: Any, block_timeout: Any, **given: Any) -> Settings:
        """Return the settings of a handler's arguments.

        Raises:
            TypeError, ValueError: an argument of the wrong type or value, named in the message.
        """
        may_block = one_of("overflow", overflow, get_args(Overflow)) == "block"
        seconds_blocked = seconds("block_timeout", block_timeout, zero=True)
        ca_certs, aggregate = given["ca_certs"], given["aggregate"]
        max_age = given["spool_max_age"]
        return cls(
            level=level(given["level"]),
            compression=one_of("compression", given["compression"], (*ENCODINGS, None)),
            compression_level=whole("compression_level", given["compression_level"], most=9),
            batch_events=whole("batch_events", given["batch_events"]),
            batch_bytes=whole("batch_bytes", given["batch_bytes"]),
            flush_interval=seconds("flush_interval", given["flush_interval"], zero=True),
            aggregate=None if aggregate is None else seconds("aggregate", aggregate),
            buffer_bytes=whole("buffer_bytes", given["buffer_bytes"]),
            block_timeout=seconds_blocked if may_block else None,
            timeout=seconds("timeout", given["timeout"]),
            max_backoff=seconds("max_backoff", given["max_backoff"]),
            shutdown_timeout=seconds("shutdown_timeout", given["shutdown_timeout"], zero=True),
            flush_on_sigterm=flushes_on_sigterm(given["flush_on_sigterm"]),
            spool_max_bytes=whole("spool_max_bytes", given["spool_max_bytes"]),
            spool_min_free=min_free("spool_min_free", given["spool_min_free"]),
            spool_max_age=None if max_age is None else seconds("spool_max_age", max_age),
            spool_fsync=one_of("spool_fsync", given["spool_fsync"], get_args(SpoolFsync)),
            ca_certs=None if ca_certs is None else text("ca_certs", ca_certs),
            enabled=enabled_state(given["enabled"]),
            max_per_second=rate("max_per_second", given["max_per_second"]),
            on_problem=function("on_problem", given["on_problem"]),
            rejects=_absolute(path("rejects", given["rejects"])),
            track_time=flag("track_time", given["track_time"]),
            idle_after=seconds("idle_after", given["idle_after"], most=MAX_IDLE_SECONDS),
            time_properties=_time_properties(given["time_properties"]),
        )


def _time_properties(value: Any) -> Mapping[str, str]:
    given = mapping("time_properties", value)
    for action, name in given.items():
        if action not in TIME_PROPERTIES:
            hint = did_you_mean(action, TIME_PROPERTIES)
            raise ValueError(
                f"time_properties has the action {action!r}; expected one of "
                f"{_words(TIME_PROPERTIES)}{hint}"
            )
        if not isinstance(name, str):
            raise TypeError(f"time_properties.{action} is {_type(name)}; expected a string")
        if not name or name in NOT_TIMES:
            raise ValueError(
                f"time_properties.{action} is {name!r}; expected the name of a property "
                "that has no other meaning"
            )
    return {**TIME_PROPERTIES, **given}


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant; None if there is none.

    Upper and lower case, and characters that are neither letters nor digits, do not count. Then
    one letter may be missing, added, replaced, or transposed with the next one; two in words of
    eleven letters or more, none in words of fewer than four.

    >>> nearest("modulEnd", ["feature", "moduleEnd"]), nearest("identify_user", ["identifyUser"])
    ('moduleEnd', 'identifyUser')
    >>> nearest("pageViewEnd", ["feature", "moduleEnd"])
    """
    if len(word) > _MAX_WORD:
        return None
    letters, different, _ = _letters(word)
    found = []
    for one in known:
        expected, others, most = _letters(one)
        # An edit changes two letters at most: words that have less in common are not compared.
        if abs(len(letters) - len(expected)) <= most and len(different ^ others) <= 2 * most:
            found.append((_edits(letters, expected, most), one))
    return min(((edits, one) for edits, one in found if edits is not None), default=(0, None))[1]


_MAX_WORD = 100


@lru_cache(maxsize=1_024)
def _letters(word: str) -> tuple[str, frozenset[str], int]:
    """Return the letters of a word, the different ones, and how many of them may be edited."""
    letters = "".join(filter(str.isalnum, word)).lower()
    most = 0 if len(letters) < 4 else 1 if len(letters) < 11 else 2
    return letters, frozenset(letters), most


def _edits(word: str, known: str, most: int) -> int | None:
    """Return how many single edits lead from one word to the other; None for too many."""
    before: list[int] = []
    row = list(range(len(known) + 1))
    for at, letter in enumerate(word, 1):
        before, last, row = row, before, [at]
        for i, other in enumerate(known):
            edits = min(before[i] + (letter != other), before[i + 1] + 1, row[i] + 1)
            if at > 1 and i and (letter, word[at - 2]) == (known[i - 1], other):
                edits = min(edits, last[i - 1] + 1)
            row.append(edits)
        if min(row) > most:  # and so is every later one
            return None
    return row[-1] if row[-1] <= most else None


def _shown(value: int | float) -> str:
    try:
        return repr(value)
    except ValueError:  # more digits than sys.get_int_max_str_digits() allows
        return "a number of thousands of digits"


def _type(value: Any) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


def _words(allowed: Iterable[str | None]) -> str:
    return ", ".join(repr(word) for word in allowed)
