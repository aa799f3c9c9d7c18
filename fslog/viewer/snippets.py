"""Snippets of an entry to copy: JSON, curl, a log call; and a corrected log call and rule.

A correction changes the invalid properties only. For a value that nobody can know, such as who the
user was, it contains an example and a comment.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import shlex
from collections.abc import Mapping
from typing import Any

from fslog.mapping import schema
from fslog.mapping.privacy import Redaction
from fslog.plan.judgement import CODES
from fslog.viewer import literals
from fslog.viewer.entries import MAX_TIME_MS, Entry

MAX_BYTES = 4 * 1024 * 1024
"""Longer lines are shown as they are, without snippets."""

_TOO_LONG = "# this line is too long to copy: it is in the file of the viewer's --store option"
_NOT_AN_EVENT = "# this line is not an event, so no log call creates it"
_UNSET = "set it first; the viewer accepts any value"
# Some systems limit the length of one word of a command.
_MAX_WORD_BYTES = 100_000
_MAX_MESSAGE = 60


def snippets(entry: Entry, endpoint: str) -> dict[str, str]:
    """Return an entry as indented JSON, as a curl command and as a Python log call.

    The curl command posts to FSLOG_ENDPOINT, or to `endpoint` if that is not set; the keys are
    variables, too.
    """
    if len(entry.line) > MAX_BYTES:
        return dict.fromkeys(("json", "curl", "python"), _TOO_LONG)
    event = _event(entry)
    return {
        "json": entry.text() if event is None else _indented(event, entry.text()),
        "curl": _curl(entry, endpoint),
        "python": _NOT_AN_EVENT if event is None else _log_call(event, entry.text()),
    }


def _event(entry: Entry) -> dict[str, Any] | None:
    """Return an entry's event, numbers as `literals.Number`; None if it is not an object."""
    if not entry.is_object:
        return None
    try:
        value = literals.parse(entry.text())
    except (ValueError, RecursionError):  # this thread's stack may be deeper than the collector's
        return None
    return value if isinstance(value, dict) else None


def _indented(event: Mapping[str, Any], line: str) -> str:
    return literals.json_text(event) if literals.depth(event) <= literals.MAX_DEPTH else line


def _curl(entry: Entry, endpoint: str) -> str:
    """Return a command that posts the line byte for byte.

    A line that is not plain text, or is long, is passed through `printf`, since a word of a shell
    cannot hold it. The command fails with a message if a key is not set or the POST is refused.
    """
    data = entry.line
    keys = "/".join(f"${{{name}:?{_UNSET}}}" for name in ("FSLOG_AUTH_KEY", "FSLOG_API_KEY"))
    url = f'"${{FSLOG_ENDPOINT:-{endpoint}}}/v1/{keys}"'
    command = "curl -f -X POST -H 'Content-Type: application/json' --data-binary"
    # curl reads a word that begins with @ as the name of a file.
    if data[:1] == b"{" and len(data) <= _MAX_WORD_BYTES and _is_plain(entry.text()):
        return f"{command} {shlex.quote(entry.text())} {url}"
    return f"printf {literals.shell_bytes(data)} | {command} @- {url}"


def _is_plain(text: str) -> bool:
    return text.isprintable() and "\ufffd" not in text


def _log_call(event: Mapping[str, Any], line: str, notes: Mapping[str, str] | None = None) -> str:
    """Return a Python log call that creates an event.

    Args:
        event: its properties, numbers as `literals.Number`.
        line: the event as JSON, used if it is too deep for Python's parser.
        notes: comments by property.
    """
    message = next((event[name] for name in ("feature", "module", "action") if name in event), "")
    text = message if isinstance(message, str) and message else "something was done"
    head = ["log.info(", f"    {literals.python_word(text[:_MAX_MESSAGE])},", "    extra={"]
    if literals.depth(event) > literals.MAX_DEPTH:
        head = ["import json", "", *head]
        rows = [f'        "event": json.loads({literals.python_word(line)})']
    else:
        rows = ['        "event": {', *_properties(event, notes or {}), "        },"]
    return "\n".join([*head, *rows, "    },", ")"])


def _properties(event: Mapping[str, Any], notes: Mapping[str, str]) -> list[str]:
    indent = " " * 12
    rows = []
    for name, value in event.items():
        note = f"  # {notes[name]}" if name in notes else ""
        literal = literals.python_text(value, indent)
        rows.append(f"{indent}{literals.python_word(name)}: {literal},{note}")
    return rows


_EXAMPLES = {name: known.example for name, known in schema.PROPERTIES.items()}
_EXAMPLE = {
    name: _EXAMPLES[name] for name in ("accountId", "userId", "action", "module", "feature")
}
# Account and user must differ.
_OTHER_ID = {"accountId": ("userId", "globex"), "userId": ("accountId", "bob")}
_NUMBERS = [name for name, known in schema.PROPERTIES.items() if known.kind == "number"]
_MAX_RULE_PROPERTIES = 8
_MAX_RULE_TEXT = 200


def correction(entry: Entry) -> dict[str, str] | None:
    """Return a valid variant of an entry with problems, None for an entry without.

    Returns:
        `python`, a log call, and `rule`, a rule in YAML with the `fields` that it needs. Either
        creates an event without problems, but those by a tracking plan.
    """
    if all(problem.code in CODES for problem in entry.problems):
        return None  # which other event is meant, nobody knows
    event = _event(entry) if len(entry.line) <= MAX_BYTES else None
    if event is None or literals.depth(event) > literals.MAX_DEPTH:
        comment = _COMMENTS.get(entry.problems[0].code, _COMMENT)
        return {"python": f"{comment}\n{_log_call(_EXAMPLE, '')}", "rule": _rule(_EXAMPLE)}
    corrected, notes = _corrected(event, entry)
    return {"python": _log_call(corrected, "", notes), "rule": _rule(corrected)}


_COMMENT = "# each line must be one JSON object in UTF-8; fslog ensures this for any values:"
_COMMENTS = {"not_compressed_so": "# a body must match its Content-Encoding; fslog ensures this:"}


def _corrected(event: Mapping[str, Any], entry: Entry) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a corrected copy of an event, and by property a note about the change.

    An invalid `createdAt` or `sessionId` that cannot be converted is removed: the log call's own
    time, or a derived session, takes its place.
    """
    corrected, notes = dict(event), dict[str, str]()
    for problem in entry.problems:
        if problem.code in CODES:
            continue
        if problem.code == "looks_secret":
            corrected = Redaction({problem.property: "drop"}).redacted(corrected)
            continue
        _correct(corrected, problem.property)
        was = _WAS_LIKE.get(problem.code) or _WAS[problem.got.partition(" ")[0]]
        notes[problem.property] = f"was {was}"
    for _ in range(_ROUNDS):
        for warning in schema.warnings({"createdAt": schema.EARLIEST_MS, **_plain(corrected)}):
            _correct(corrected, warning.property)
            mistake = _WAS_LIKE.get(warning.code)
            note = f"was {mistake}" if mistake else "expected for this action"
            notes.setdefault(warning.property, note)
    return corrected, notes


_ROUNDS = 2
"""A corrected action expects properties of its own."""


_WAS_LIKE = {
    "looks_anonymous": "nobody's id",
    "looks_like_seconds": "in seconds",
    "looks_like_user": "a user's id",
    "looks_misspelt": "misspelt",
}
# By the first word of `describe_value`. The type, never the value: a comment must not span lines.
_WAS = {
    "nothing": "missing",
    "an": "empty",
    "null": "null",
    "string": "a string",
    "number": "a number",
    "boolean": "a boolean",
    "array": "an array",
    "object": "an object",
}


def _correct(event: dict[str, Any], name: str) -> None:
    value = _converted(name, event.get(name))
    other, second_example = _OTHER_ID.get(name, ("", ""))
    if other and value == _EXAMPLES[name] == event.get(other):
        value = second_example
    if value is None:
        event.pop(name, None)
    else:
        event[name] = value


def _plain(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event with its numbers as numbers, one level deep."""
    return {
        name: json.loads(value) if isinstance(value, literals.Number) else value
        for name, value in event.items()
    }


def _converted(name: str, value: Any) -> Any:
    """Return what was probably meant, or an example; None if fslog should supply the value."""
    if name == "sessionId":
        return str(value) if isinstance(value, literals.Number) else None
    if name == "createdAt":
        return _time(value)
    if name == "action" and isinstance(value, str) and schema.nearest_action(value):
        return schema.nearest_action(value)
    if name in _NUMBERS:
        return _number(value) or _EXAMPLES[name]
    if isinstance(value, literals.Number) and name in _EXAMPLES and name != "details":
        return str(value)
    return _EXAMPLES.get(name)


def _number(value: Any) -> literals.Number | None:
    if isinstance(value, str) and not isinstance(value, literals.Number):
        with contextlib.suppress(ValueError):
            number = float(value)
            if math.isfinite(number):
                return literals.Number(repr(int(number) if number == int(number) else number))
    return None


def _time(value: Any) -> literals.Number | None:
    """Return epoch milliseconds for a time in seconds, as text or in ISO 8601; else None."""
    if not isinstance(value, str):
        return None
    with contextlib.suppress(ValueError, OverflowError):
        if isinstance(value, literals.Number) or value.strip().isdigit():
            number = float(value)
            number = number * 1000 if number < schema.EARLIEST_MS else number
        else:
            at = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
            zoned = at if at.tzinfo else at.replace(tzinfo=datetime.timezone.utc)
            number = zoned.timestamp() * 1000
        if schema.EARLIEST_MS <= number < MAX_TIME_MS:
            return literals.Number(str(round(number)))
    return None


def _rule(event: Mapping[str, Any]) -> str:
    """Return a rule that creates such an event, with the fields that identify the user."""
    rows = [
        "rules:",
        "  # the name of your logger, and your log call's message as written in the code",
        '  - when: {logger: "app", message: "exported %s rows"}',
        "    event:",
    ]
    known_first = dict.fromkeys((*_EXAMPLES, *event))
    chosen = [name for name in known_first if name in event and name and name not in _FROM_RECORD]
    for name in chosen[:_MAX_RULE_PROPERTIES]:
        literal = literals.yaml_word(_rule_value(event[name]))
        # A rule has no long structures, and YAML limits the length of keys.
        if len(literal) > _MAX_RULE_TEXT and not isinstance(event[name], str):
            literal = literals.yaml_word(_EXAMPLES.get(name))
        if name in _EXAMPLES or len(name) + len(literal) <= _MAX_RULE_TEXT:
            rows.append(f"      {literals.yaml_word(name)}: {literal}")
    rows += [
        "fields:  # attributes of your records; or use context.bind(accountId=..., userId=...)",
        "  accountId: account_id",
        "  userId: user_id",
    ]
    return "\n".join(rows)


_FROM_RECORD = ("accountId", "userId", "createdAt", "sessionId")


def _rule_value(value: Any) -> Any:
    """Return a value for a rule: numbers as numbers, texts with braces escaped."""
    if isinstance(value, literals.Number):
        return json.loads(value)
    if isinstance(value, str):
        return value.replace("{", "{{").replace("}", "}}")
    if isinstance(value, dict):
        return {name: _rule_value(item) for name, item in value.items()}
    return [_rule_value(item) for item in value] if isinstance(value, list) else value
