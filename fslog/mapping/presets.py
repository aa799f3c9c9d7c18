r"""Presets: rules for records that servers and task queues write, whatever their form is.

A preset knows the loggers, reads values from a record (`access.method`, `access.path`...), and
has keys that are conditions on them. `access` reads the access lines of the servers in `LOGGERS`.
It takes them from the record's arguments or extras where the server provides these, else from the
formatted message: a `QueueHandler` merges the arguments into it. A record that is not an access
line, or has a malformed request line, matches no rule; that is not an error.

A path has neither query string nor authority, is decoded, and so is the same for every server.

>>> record = logging.LogRecord("uvicorn.access", 20, "", 0, '%s - "%s %s HTTP/%s" %d',
...                            ("127.0.0.1:5000", "POST", "/a%20b?secret=1", "1.1", 200), None)
>>> read_access(record)  # doctest: +NORMALIZE_WHITESPACE
{'access.method': 'POST', 'access.path': '/a b', 'access.status': 200, 'access.ip': '127.0.0.1'}
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from fslog import config
from fslog.interrupts import unless_interrupt
from fslog.mapping.conditions import Condition, Match, compile_pattern, equal, prefixed, searching
from fslog.mapping.paths import MISSING, Read

Values = dict[str, Any]
"""Name of a placeholder → its value, without those that have none."""

LOGGERS = {
    # Whether the client's address is followed by its port.
    "aiohttp.access": False,
    "cherrypy.access": False,  # and a child of it for each application
    "django.channels.server": True,  # Daphne's runserver
    "django.server": False,  # runserver
    "granian.access": False,
    "gunicorn.access": False,
    "hypercorn.access": True,
    "sanic.access": True,
    "tornado.access": False,
    "uvicorn.access": True,
    "werkzeug": False,  # and Flask's development server
    "wsgi": False,  # Paste's TransLogger, which logs for servers that do not, such as waitress
}

METHODS = (
    *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"),
    # WebDAV and its extensions
    *("PROPFIND", "PROPPATCH", "MKCOL", "MKCALENDAR", "COPY", "MOVE", "LOCK", "UNLOCK", "SEARCH"),
    *("REPORT", "ACL", "BIND", "UNBIND", "REBIND", "LINK", "UNLINK", "CHECKIN", "CHECKOUT"),
    *("LABEL", "MERGE", "MKACTIVITY", "MKWORKSPACE", "UNCHECKOUT", "UPDATE", "PURGE"),
)

_METHODS_OF_USERS = ("GET", "POST", "PUT", "PATCH", "DELETE")
"""What a preset without `methods` allows: HEAD and OPTIONS are sent by programs."""

_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_INSIDE = r'[^"\\]*(?:\\.[^"\\]*)*'  # of quotation marks
_REQUEST = re.compile(r"([!#$%&'*+.^`|~\w-]+) (.+) (?:HTTP/)?(1\.[01]|[23](?:\.0)?)", re.ASCII)
_LINE = re.compile(
    # The client, before or after the time, and the user. What a client can send must not look like
    # another line, so nothing else may stand there.
    r'(?:(?P<clf>(?:[^\s",]+, )*[^\s"]*) - (?P<user>[^\s\["]+) \[[^\]"]*\] '
    r'|(?P<aiohttp>\S*) \[[^\]"]*\] '
    r'|(?:\[[^\]"]*\] )?(?P<client>[^\s"]*) - )?'
    rf'"(?P<request>{_INSIDE})" (?P<status>[1-5]\d\d)'
    rf'(?: [^\s"]+)*(?: "{_INSIDE}"){{0,2}}(?: [^\s"]+)*\s*'
)
_TORNADO = re.compile(r"([1-5]\d\d) (\S+) (.+) \((\S*)\) [\d.]+ms", re.ASCII)
_DAPHNE = re.compile(r"HTTP (\S+) (.+) ([1-5]\d\d) \[[\d.]+, (\S+)\]", re.ASCII)
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*")
_ESCAPED = re.compile(r"(?:\\x[0-9a-f]{2})+")

_TASK = re.compile(
    r"Task (.+?)\[([^\]]*)\] (?:succeeded in ([\d.e-]+)s|raised (?:un)?expected|INTERNAL ERROR): "
)


class Preset(NamedTuple):
    """What a preset reads, and on what its keys are conditions.

    Args:
        loggers: the names of loggers, children included.
        names: the placeholders.
        read: returns a record's values, or `MISSING`; raises nothing.
        keys: the keys of a rule, each with the name on which it is a condition, the value if a rule
            has none, and the function that makes the condition of a value.
        pattern: the key that may be a regular expression, whose groups are placeholders too.
    """

    loggers: tuple[str, ...]
    names: tuple[str, ...]
    read: Read
    keys: Mapping[str, tuple[str, Any, Callable[[str, Any], Match]]]
    pattern: str


class CompiledPreset(NamedTuple):
    """The preset of one rule.

    Args:
        logger: whether the logger is one that the preset knows.
        when: its conditions one by one, to find out why a record does not match.
        condition: all of them.
        names: the keys of `when` that these conditions include.
        groups: the placeholders that it has a value for.
        event: the event of a rule that has none; None if such a rule is an error.
    """

    logger: Match
    when: list[Condition]
    condition: tuple[Read, Match]
    names: frozenset[str]
    groups: frozenset[str]
    event: Mapping[str, str] | None


def compile_preset(rule: Mapping[str, Any]) -> CompiledPreset:
    """Compile the preset of a rule.

    Raises:
        TypeError, ValueError: the preset or one of its keys is unknown or has a wrong value.
    """
    name = config.one_of("preset", rule["preset"], tuple(PRESETS))
    preset = PRESETS[name]
    _reject_unknown(name, preset, rule)
    given_when = rule.get("when")
    conditions = given_when if isinstance(given_when, Mapping) else {}
    logger = _any_of([prefixed(known) for known in preset.loggers])
    read = preset.read if "logger" in conditions else _of_loggers(logger, preset.read)
    checks = _checks(preset, read, rule, conditions)
    groups = _groups(preset.pattern, rule.get(preset.pattern) or "")
    more = [_groups(key, conditions[key]) for key in conditions if key in preset.names]
    return CompiledPreset(
        logger=logger,
        when=[Condition("preset", name, read, _all_of([])), *checks],
        condition=(preset.read, _all_of([(check.key, check.match) for check in checks])),
        names=frozenset(preset.names),
        groups=frozenset(groups).union(preset.names, *more),
        event=_default_event(groups),
    )


def _reject_unknown(name: str, preset: Preset, rule: Mapping[str, Any]) -> None:
    known = ("preset", *preset.keys, "when", "event")
    for key in rule:
        if key not in known:
            hint = config.did_you_mean(key, known)
            raise ValueError(
                f"unknown key {key!r}; with preset {name} expected {', '.join(known)}{hint}"
            )


def _checks(
    preset: Preset, read: Read, rule: Mapping[str, Any], when: Mapping[str, Any]
) -> list[Condition]:
    """Return the conditions on what the preset reads."""
    found = []
    for key, (name, default, compile_value) in preset.keys.items():
        given = rule.get(key)
        wanted = default if given is None else given
        if wanted is not None:
            match = compile_value(key, wanted)
            found.append(Condition(name, wanted, _of(name, read), match))
    family = preset.names[0].partition(".")[0]
    for key in when:
        if key in preset.names:
            place = f"when.{key}"
            pattern = compile_pattern(place, when[key])
            match = equal(when[key], place) if pattern is None else searching(pattern, place)
            found.append(Condition(key, when[key], _of(key, read), match))
        elif str(key).partition(".")[0] == family:
            hint = config.did_you_mean(key, preset.names)
            raise ValueError(
                f"when has the key {key!r}; the preset reads {', '.join(preset.names)}{hint}"
            )
    return found


def _groups(place: str, value: Any) -> tuple[str, ...]:
    pattern = compile_pattern(place, value)
    return () if pattern is None else tuple(pattern.groupindex)


def _default_event(groups: tuple[str, ...]) -> Mapping[str, str] | None:
    if not {"module", "feature"} <= {*groups}:
        return None
    return {"action": "feature", **{name: f"{{{name}}}" for name in groups}}


def _of(name: str, read: Read) -> Read:
    def read_value(record: logging.LogRecord) -> Any:
        values = read(record)
        return MISSING if values is MISSING else values.get(name, MISSING)

    return read_value


def _of_loggers(logger: Match, read: Read) -> Read:
    return lambda record: MISSING if logger(record.name) is None else read(record)


def _any_of(matches: list[Match]) -> Match:
    return lambda value: {} if any(match(value) is not None for match in matches) else None


def _all_of(checks: list[tuple[str, Match]]) -> Match:
    def match(values: Any) -> Mapping[str, Any] | None:
        if values is MISSING:
            return None
        groups = values
        for name, check in checks:
            found = check(values.get(name, MISSING))
            if found is None:
                return None
            if found:
                groups = {**groups, **found}
        return groups  # type: ignore[no-any-return]

    return match


def _one_of(values: frozenset[Any]) -> Match:
    return lambda value: {} if value in values else None


def _words(key: str, value: Any, example: str) -> list[str]:
    """Return the words of a key: a list, or a text with commas."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        items = [items]
    for item in items:
        if isinstance(item, bool) or not isinstance(item, (str, int)):
            raise TypeError(f"{key} has {item!r}; expected {example}")
    words = [str(item).strip() for item in items]
    if not words or not all(words):
        raise ValueError(f"{key} is empty, or has an empty part; expected {example}")
    return words


def _methods(key: str, value: Any) -> Match:
    found = set()
    for word in _words(key, value, "methods such as POST"):
        if word.upper() not in METHODS:
            hint = config.did_you_mean(word.upper(), METHODS)
            raise ValueError(f"{key} has {word!r}; expected methods such as POST{hint}")
        found.add(word.upper())
    return _one_of(frozenset(found))


def _status(key: str, value: Any) -> Match:
    example = "classes such as 2xx, and codes from 100 to 599"
    found: set[int] = set()
    for word in _words(key, value, example):
        if word.lower() in _CLASSES:
            found.update(range(int(word[0]) * 100, int(word[0]) * 100 + 100))
        elif re.fullmatch(r"[1-5]\d\d", word, re.ASCII):
            found.add(int(word))
        else:
            hint = config.did_you_mean(word.lower(), _CLASSES)
            raise ValueError(f"{key} has {word!r}; expected {example}{hint}")
    return _one_of(frozenset(found))


def _states(key: str, value: Any) -> Match:
    words = _words(key, value, "succeeded or failed")
    for word in words:
        config.one_of(key, word, _STATES)
    return _one_of(frozenset(words))


def _text(key: str, value: Any) -> Match:
    pattern = compile_pattern(key, value)
    if pattern is not None:
        return searching(pattern, key)
    if not isinstance(value, str):
        raise TypeError(f"{key} is of type {type(value).__name__}; expected a string")
    return equal(value, key)


def _path(key: str, value: Any) -> Match:
    match = _text(key, value)
    if not value.startswith("/"):
        raise ValueError(
            f"{key} is {value!r}; expected a path that begins with a slash, or a regular "
            "expression between two slashes"
        )
    return match


# The access lines of servers. Each function returns None for a record that has another form, or
# whose request line is malformed.


def read_access(record: logging.LogRecord) -> Any:
    """Return the values of a server's access line; `MISSING` for any other record."""
    try:
        args: Any = record.args
        has_port = record.name in LOGGERS and LOGGERS[record.name]
        if isinstance(args, Mapping):
            values = _of_atoms(args, has_port)
        elif type(args) is tuple and args:
            values = _of_arguments(args, record.msg)
        else:
            values = _of_extras(record.__dict__)
        values = values or _of_message(_ANSI.sub("", record.getMessage()), has_port)
    except unless_interrupt(Exception):  # not a record as a server makes it
        return MISSING
    return values or MISSING


def _of_atoms(args: Mapping[str, Any], has_port: bool) -> Values | None:
    # gunicorn's has a value for every key, if it is asked otherwise.
    get = args.get if isinstance(args, dict) else dict(args).get
    if "method" in args:  # granian, Daphne
        target, is_decoded = get("path"), "query_string" in args
        client = get("addr") or get("client")
        return _values(get("method"), target, get("status"), None, client, has_port, is_decoded)
    request = _REQUEST.fullmatch(str(get("r", "")))
    # The request line of hypercorn is decoded, and has no `HTTP/`; it has no user either.
    if request is not None and "HTTP/" in str(get("r")):
        method, target = request[1], request[2].replace('\\"', '"')
        return _values(method, target, get("s"), get("u"), get("h"), has_port)
    if "r" in args and (request is None or get("H") not in ("1.0", "1.1", "2", "3")):
        return None
    return _values(get("m"), get("U"), get("s"), get("u"), get("h"), has_port, is_decoded=True)


def _of_arguments(args: tuple[Any, ...], message: Any) -> Values | None:
    if len(args) == 5:  # uvicorn
        client, method, target, version, status = args
        if _REQUEST.fullmatch(f"{method} {target} HTTP/{version}") is None:
            return None
        return _values(method, target, status, None, client, has_port=True)
    if len(args) != 3:
        return None
    if type(args[0]) is str:  # Werkzeug, Django
        request = _REQUEST.fullmatch(_ANSI.sub("", args[0]))
        client, clf, _ = str(message).partition(" - - [")
        client = client.replace("%%", "%") if clf else ""
        return request and _values(request[1], request[2], args[1], None, client, has_port=False)
    found = _TORNADO.fullmatch(f"{args[0]} {args[1]} 0ms")
    return found and _values(found[2], found[3], found[1], None, found[4], has_port=False)


def _of_extras(extras: Mapping[str, Any]) -> Values | None:
    line = extras.get("first_request_line")  # aiohttp
    if type(line) is str:
        request, client = _REQUEST.fullmatch(line), extras.get("remote_address")
        status = extras.get("response_status")
        return request and _values(request[1], request[2], status, None, client, has_port=False)
    line = extras.get("request")  # Sanic
    if type(line) is str and "byte" in extras:
        method, _, target = line.partition(" ")
        return _values(
            method, target, extras.get("status"), None, extras.get("host"), has_port=True
        )
    return None


def _of_message(text: str, has_port: bool) -> Values | None:
    found = _LINE.fullmatch(text)
    if found is not None:
        request = _REQUEST.fullmatch(found["request"])
        if request is None:
            return None
        target = _ESCAPED.sub(_unescaped, request[2].replace('\\"', '"'))
        client = found["clf"] or found["aiohttp"] or found["client"]
        return _values(request[1], target, found["status"], found["user"], client, has_port)
    found = _TORNADO.fullmatch(text)
    if found is not None:
        return _values(found[2], found[3], found[1], None, found[4], has_port=False)
    found = _DAPHNE.fullmatch(text)
    return found and _values(found[1], found[2], found[3], None, found[4], has_port=True)


def _unescaped(found: re.Match[str]) -> str:
    # CherryPy writes the bytes of characters so, as Apache does.
    return bytes.fromhex(found[0].replace("\\x", "")).decode(errors="replace")


def _values(
    method: Any,
    target: Any,
    status: Any,
    user: Any,
    client: Any,
    has_port: bool,
    is_decoded: bool = False,
) -> Values | None:
    path = _path_of(target, is_decoded) if type(target) is str else None
    code = str(int(status) if isinstance(status, int) else status).partition(" ")[0]
    if type(method) is not str or path is None or not re.fullmatch(r"[1-5]\d\d", code, re.ASCII):
        return None
    values: Values = {"access.method": method, "access.path": path, "access.status": int(code)}
    if type(user) is str and user not in ("", "-"):
        values["access.user"] = user
    ip = _ip(client, has_port) if type(client) is str else ""
    if ip not in ("", "-"):
        values["access.ip"] = ip
    return values


def _path_of(target: str, is_decoded: bool) -> str | None:
    """Return the decoded path of a request target; None if it has none, such as `*`."""
    if not is_decoded:
        target = unquote(target.partition("?")[0].partition("#")[0])
    if not target.isascii():
        # WSGI's PATH_INFO has the bytes of UTF-8 as characters.
        with contextlib.suppress(ValueError):
            target = target.encode("latin-1").decode()
    if target.startswith("/"):
        return target
    absolute = _ABSOLUTE.match(target)
    return None if absolute is None else target[absolute.end() :] or "/"


def _ip(client: str, has_port: bool) -> str:
    client = client.partition(",")[0]  # of several in X-Forwarded-For, the client's own
    if client.startswith("["):
        return client[1:].partition("]")[0]
    if has_port or client.count(":") == 1:
        return client.rpartition(":")[0]
    return client


_STATES = ("succeeded", "failed")


def read_task(record: logging.LogRecord) -> Any:
    """Return the values of a task that Celery reports as done; `MISSING` for any other record."""
    try:
        found = _TASK.match(record.getMessage())
        if found is None:
            return MISSING
        values: Values = {"task.name": found[1], "task.id": found[2], "task.state": "failed"}
        if found[3] is not None:
            values |= {"task.state": "succeeded", "task.runtime": float(found[3])}
    except unless_interrupt(Exception):  # not a record as Celery makes it
        return MISSING
    return values


PRESETS = {
    "access": Preset(
        loggers=tuple(LOGGERS),
        names=("access.method", "access.path", "access.status", "access.user", "access.ip"),
        read=read_access,
        keys={
            "methods": ("access.method", _METHODS_OF_USERS, _methods),
            "status": ("access.status", "2xx", _status),
            "path": ("access.path", None, _path),
        },
        pattern="path",
    ),
    "celery": Preset(
        loggers=("celery.app.trace",),
        names=("task.name", "task.id", "task.state", "task.runtime"),
        read=read_task,
        keys={
            "state": ("task.state", "succeeded", _states),
            "task": ("task.name", None, _text),
        },
        pattern="task",
    ),
}
