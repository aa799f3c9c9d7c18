"""Log records from text: JSON log lines, and the values of `--record`.

A JSON formatter writes less than the record had, and under other names. What can be recovered is
restored; the rest is missing, and reported so for a rule that reads it.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from fslog.integrations.recording import META
from fslog.mapping import schema

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
_MAX_CHARACTERS = 2_000
"""A longer message is not matched against templates, since that takes too long."""

_MOST_SECONDS = 1e300


class RecordError(argparse.ArgumentTypeError):
    """Report why a text is not a log record; of an argument, argparse prints it with the usage."""


def from_line(line: bytes) -> logging.LogRecord | None:
    """Return the record of a line of a log; None for a line of `fslog record` that has none.

    Raises:
        RecordError: as of `from_json`.
    """
    given = _object(line)
    is_record = given.pop(META, None) is None or bool(given)
    return from_mapping(given) if is_record else None


def from_json(line: bytes) -> logging.LogRecord:
    r"""Return the record of a JSON log line.

    Raises:
        RecordError: the line is not a JSON object.

    >>> record = from_json(b'{"name": "app", "levelname": "INFO", "message": "hi", "userId": "u"}')
    >>> record.name, record.levelno, record.msg, record.userId
    ('app', 20, 'hi', 'u')
    """
    return from_mapping(_object(line))


def _object(line: bytes) -> dict[str, Any]:
    try:
        given = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"not valid JSON: {error}") from None
    if not isinstance(given, dict):
        raise RecordError(f"found a JSON {type(given).__name__}; expected an object")
    return given


def from_text(text: str) -> logging.LogRecord:
    """Return the record of a `--record` text: `name=app.reports,msg="exported %s rows",args=[3]`.

    A value is JSON if it parses as JSON, else text, up to the comma before the next name. A name
    with dots creates nested mappings (`args.m=POST`, `request.user.id=5`). The level is INFO if
    none is given. A text that begins with a brace is a JSON log line.

    Raises:
        RecordError: the text has another form.

    >>> record = from_text("logger=web,args.m=POST,msg=hello, you,total=3")
    >>> record.name, record.levelname, record.args, record.msg, record.total
    ('web', 'INFO', {'m': 'POST'}, 'hello, you', 3)
    """
    if text.lstrip().startswith("{"):
        return from_json(text.encode("utf-8", "surrogateescape"))
    given = parse_values(text)
    if isinstance(given.get("args"), dict):
        given["args"] = _positional(given["args"])
    if not any(name in given for name in _LEVELS):
        given["levelname"] = "INFO"
    return from_mapping(given)


def parse_values(text: str) -> dict[str, Any]:
    """Return the names and values of a text such as `accountId=acme,userId=7`.

    Raises:
        RecordError: the text has another form.

    >>> parse_values("accountId=acme,userId=7,tags=[1, 2],a.b=c")
    {'accountId': 'acme', 'userId': 7, 'tags': [1, 2], 'a': {'b': 'c'}}
    """
    given: dict[str, Any] = {}
    at = 0
    while at < len(text):
        key = _KEY.match(text, at)
        if key is None:
            raise RecordError(f"expected name=value at {text[at : at + 20]!r}, character {at + 1}")
        value, at = _value(text, key.end())
        _put(given, key[1].split("."), value)
    if not given:
        raise RecordError("empty; expected name=value pairs, separated by commas")
    return given


def _value(text: str, at: int) -> tuple[Any, int]:
    """Return the value that begins at an index, and the index of the next name."""
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
            raise RecordError(f"{key} is both a value and a mapping")
        given = inner
    given[keys[-1]] = value


def _positional(args: dict[str, Any]) -> Any:
    """Return a mapping with the keys 0, 1, ... as a list."""
    numbers = [str(number) for number in range(len(args))]
    return [args[number] for number in numbers] if set(numbers) == set(args) else args


def from_mapping(given: Mapping[str, Any]) -> logging.LogRecord:
    """Return the record of a line's names and values; unknown names become extras.

    The level is 0 if the line has none.
    """
    left = dict(given)
    name = _pop(left, _NAMES, lambda value: value if isinstance(value, str) else None, "root")
    level = _pop(left, _LEVELS, _level, 0)
    created = _pop(left, _TIMES, _instant, None)
    message = left.pop("message", "")
    args = left.pop("args", ())
    record = logging.LogRecord(name, level, "", 0, left.pop("msg", message), (), None)
    record.args = tuple(args) if isinstance(args, list) else args
    record.created = time.time() if created is None else created
    for key in ("name", "levelno", "created"):
        left.pop(key, None)  # a value of another type, which could not be read
    record.__dict__.update(left)
    return record


def _pop(left: dict[str, Any], names: Iterable[str], read: Any, otherwise: Any) -> Any:
    """Remove the first value that can be read under one of several names, and return it."""
    for name in names:
        value = read(left[name]) if name in left else None
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
        if not abs(value) < _MOST_SECONDS:  # also NaN
            return None
        return value / 1000 if value > schema.EARLIEST_MS else float(value)
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value.replace(",", ".").replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def recover_args(message: object, template: str) -> Any:
    """Return the arguments with which a template gives a message; None if it cannot.

    The value of `%s` is text in the message; digits are converted to a number.

    >>> recover_args("exported 42 rows to disk", "exported %d rows to %s")
    (42, 'disk')
    >>> recover_args("imported 42 rows", "exported %d rows") is None
    True
    """
    if not isinstance(message, str) or len(message) > _MAX_CHARACTERS or "%" not in template:
        return None
    first, *rest = _CONVERSION.split(template)
    if not message.startswith(first):
        return None
    pattern = re.escape(first)
    keys: list[str | None] = []
    for key, kind, literal in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
        pattern += "%" if kind == "%" else f"({_TEXTS.get(kind, '.*?')})"
        pattern += re.escape(literal)
        keys += [] if kind == "%" else [key]
    found = re.fullmatch(pattern, message, re.DOTALL)
    if found is None or not keys:
        return None
    values = tuple(map(_number_or_text, found.groups()))
    return values if set(keys) == {None} else dict(zip(keys, values, strict=True))


def _number_or_text(text: str) -> Any:
    for kind in (int, float):
        try:
            if str(kind(text)) == text:
                return kind(text)
        except ValueError:
            continue
    return text
