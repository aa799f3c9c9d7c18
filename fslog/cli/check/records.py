"""Log records out of text: JSON log lines, and what `--record` says on the command line.

A JSON formatter writes less than the record had, and under other names. What can be told from
what is there is put back; what cannot is missing, and a rule that asks for it says so.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from fslog.cli.options import CommandError
from fslog.mapping.paths import RECORD_ATTRIBUTES

_DECODER = json.JSONDecoder()
_NEXT = re.compile(r",\s*(?=[^\s=,\"'\[\]]+=)")
_KEY = re.compile(r"\s*([^\s=,\"'\[\]]+)=")

_NAMES = ("name", "logger", "logger_name")
_LEVELS = ("levelname", "levelno", "level", "severity")
_TIMES = ("created", "timestamp", "@timestamp", "time", "asctime")

_CONVERSION = re.compile(
    r"%(?:\((?P<key>[^)]*)\))?[#0 +-]*(?:\d+)?(?:\.\d+)?[hlL]?(?P<kind>[diouxXeEfFgGcrsa%])"
)
_TEXTS = {"d": r"[-+ ]*\d+", "i": r"[-+ ]*\d+", "u": r"[-+ ]*\d+"}
_TEXTS |= dict.fromkeys("eEfFgG", r"[-+ ]*[\d.]+(?:[eE][-+]?\d+)?")
_LONGEST = 2_000
"""How long a message may be whose arguments are looked for: that takes time."""

_MEANT_MS = 100_000_000_000
_FARTHEST = 1e300


class NoRecord(CommandError):
    """Say why a text is no record."""


def of_line(line: bytes) -> logging.LogRecord:
    r"""Return the record that a JSON log line tells of.

    Raises:
        NoRecord: it is no JSON object.

    >>> record = of_line(b'{"name": "app", "levelname": "INFO", "message": "hi", "userId": "u"}')
    >>> record.name, record.levelno, record.msg, record.userId
    ('app', 20, 'hi', 'u')
    """
    try:
        given = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise NoRecord(f"it is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise NoRecord(f"it is a JSON {type(given).__name__}; expected an object")
    return of_mapping(given)


def of_text(text: str) -> logging.LogRecord:
    """Return the record of a `--record` text: `name=app.reports,msg="exported %s rows",args=[3]`.

    A value is JSON where it reads as JSON, else it is text, up to the comma before the next name.
    A name with dots makes mappings (`args.m=POST`, `request.user.id=5`). Without a level it is
    INFO. A text that begins with a brace is a JSON log line.

    Raises:
        NoRecord: it does not read so.

    >>> record = of_text("logger=web,args.m=POST,msg=hello, you,total=3")
    >>> record.name, record.levelname, record.args, record.msg, record.total
    ('web', 'INFO', {'m': 'POST'}, 'hello, you', 3)
    """
    if text.lstrip().startswith("{"):
        return of_line(text.encode("utf-8", "surrogateescape"))
    given = values_of(text)
    if isinstance(given.get("args"), dict):
        given["args"] = _positional(given["args"])
    if not any(name in given for name in _LEVELS):
        given["levelname"] = "INFO"
    return of_mapping(given)


def values_of(text: str) -> dict[str, Any]:
    """Return the names and values of a text such as `accountId=acme,userId=7`.

    Raises:
        NoRecord: it does not read so.

    >>> values_of("accountId=acme,userId=7,tags=[1, 2],a.b=c")
    {'accountId': 'acme', 'userId': 7, 'tags': [1, 2], 'a': {'b': 'c'}}
    """
    given: dict[str, Any] = {}
    at = 0
    while at < len(text):
        key = _KEY.match(text, at)
        if key is None:
            raise NoRecord(f"expected name=value at {text[at : at + 20]!r}, character {at + 1}")
        value, at = _value(text, key.end())
        _put(given, key[1].split("."), value)
    if not given:
        raise NoRecord("it is empty; expected name=value, joined by commas")
    return given


def _value(text: str, at: int) -> tuple[Any, int]:
    """Return the value that begins somewhere, and where the next name begins."""
    try:
        value, end = _DECODER.raw_decode(text, at)
        following = re.compile(r"\s*(,|$)").match(text, end)
        if following:
            return value, following.end()
    except (ValueError, RecursionError):
        pass
    following = _NEXT.search(text, at)
    if following is None:
        return text[at:].removesuffix(","), len(text)
    return text[at : following.start()], following.end()


def _put(given: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        inner = given.setdefault(key, {})
        if not isinstance(inner, dict):
            raise NoRecord(f"{key} is given both as a value and with names below it")
        given = inner
    given[keys[-1]] = value


def _positional(args: dict[str, Any]) -> Any:
    """Return arguments of the names 0, 1, ... as a list."""
    numbers = [str(number) for number in range(len(args))]
    return [args[number] for number in numbers] if set(numbers) == set(args) else args


def of_mapping(given: Mapping[str, Any]) -> logging.LogRecord:
    """Return the record of a line's names and values; what is no attribute of records is an extra.

    The level is 0 where the line tells none.
    """
    left = dict(given)
    name = _taken(left, _NAMES, lambda value: value if isinstance(value, str) else None, "root")
    level = _taken(left, _LEVELS, _level, 0)
    created = _taken(left, _TIMES, _instant, None)
    message = left.pop("message", "")
    args = left.pop("args", ())
    record = logging.LogRecord(name, level, "", 0, left.pop("msg", message), (), None)
    record.args = tuple(args) if isinstance(args, list) else args
    record.created = time.time() if created is None else created
    # What is left under a name that was read is of a wrong type.
    kept = RECORD_ATTRIBUTES - {"name", "levelno", "created"}
    attributes = {key: value for key, value in left.items() if key in kept}
    extras = {key: value for key, value in left.items() if key not in RECORD_ATTRIBUTES}
    record.__dict__.update(attributes)
    record.__dict__.update(extras)
    return record


def _taken(left: dict[str, Any], names: Iterable[str], read: Any, otherwise: Any) -> Any:
    """Take what is known under one of several names out of a line."""
    for name in names:
        if name in left:
            value = read(left[name])
            if value is not None:
                del left[name]
                return value
    return otherwise


def _level(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = logging.getLevelName(value.upper()) if isinstance(value, str) else None
    return number if isinstance(number, int) else None


def _instant(value: Any) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        at = float(value) if abs(value) < _FARTHEST else math.nan
        return at / 1000 if at > _MEANT_MS else at if at - at == 0.0 else None
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value.replace(",", ".").replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def recovered(message: object, template: str) -> Any:
    """Return the arguments with which a template becomes a message; None if it does not.

    What stood at `%s` is text in the message; digits are read as a number again.

    >>> recovered("exported 42 rows to disk", "exported %d rows to %s")
    (42, 'disk')
    >>> recovered("imported 42 rows", "exported %d rows") is None
    True
    """
    if not isinstance(message, str) or len(message) > _LONGEST or "%" not in template:
        return None
    pieces: list[str] = []
    slots: list[re.Match[str]] = []
    end = 0
    for slot in _CONVERSION.finditer(template):
        literal = template[end : slot.start()]
        if not slots and not message.startswith(literal):
            return None
        pieces.append(re.escape(literal))
        end = slot.end()
        if slot["kind"] == "%":
            pieces.append("%")
        else:
            slots.append(slot)
            pieces.append(f"({_TEXTS.get(slot['kind'], '.*?')})")
    found = re.fullmatch("".join([*pieces, re.escape(template[end:])]), message, re.DOTALL)
    if found is None or not slots:
        return None
    values = [_read(text) for text in found.groups()]
    keys = [slot["key"] for slot in slots]
    if any(key is not None for key in keys):
        return dict(zip(keys, values, strict=True))
    return tuple(values)


def _read(text: str) -> Any:
    for kind in (int, float):
        try:
            if str(kind(text)) == text:
                return kind(text)
        except ValueError:
            continue
    return text
