"""An entry to take away: as readable JSON, as a curl line, as a Python log call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fslog.viewer import texts
from fslog.viewer.entries import Entry

MOST_BYTES = 4 * 1024 * 1024
"""A longer line is shown, but not offered in other forms."""

_TOO_LONG = "# this line is too long to copy: take it from the viewer's --store FILE"
_NO_EVENT = "# this line is no event: no log call makes it"
_UNSET = "set it first; for the viewer any value is right"
# Some systems allow no longer word in a command.
_WORD_BYTES = 100_000
_WORDS = 60


def copies(entry: Entry, endpoint: str) -> dict[str, str]:
    """Return an entry in the forms that are worth pasting.

    Args:
        entry: any.
        endpoint: base URL for curl, where FSLOG_ENDPOINT names none. The keys are named only.
    """
    if len(entry.line) > MOST_BYTES:
        return dict.fromkeys(("json", "curl", "python"), _TOO_LONG)
    value = parsed(entry)
    return {
        "json": entry.text() if value is None else _readable(value, entry.text()),
        "curl": curl(entry, endpoint),
        "python": _NO_EVENT if value is None else log_call(value, entry.text()),
    }


def parsed(entry: Entry) -> dict[str, Any] | None:
    """Return an entry's event with its numbers as texts, None if it is no object."""
    if not entry.is_object:
        return None
    try:
        value = texts.parse(entry.text())
    except (ValueError, RecursionError):  # this thread's stack may be deeper than its first judge's
        return None
    return value if isinstance(value, dict) else None


def _readable(value: Mapping[str, Any], line: str) -> str:
    return texts.json_text(value) if texts.depth(value) <= texts.DEEPEST else line


def curl(entry: Entry, endpoint: str) -> str:
    """Return a command that posts the line as it came.

    Words of a shell cannot hold every line; what is not plain text, or long, goes through `printf`.
    It fails, and says why, where a key is not set or the answer is none of success.
    """
    data = entry.line
    keys = "/".join(f"${{{name}:?{_UNSET}}}" for name in ("FSLOG_AUTH_KEY", "FSLOG_API_KEY"))
    url = f'"${{FSLOG_ENDPOINT:-{endpoint}}}/v1/{keys}"'
    command = "curl -f -X POST -H 'Content-Type: application/json' --data-binary"
    # A word that begins with @ would be the name of a file.
    if data[:1] == b"{" and len(data) <= _WORD_BYTES and _is_plain(entry.text()):
        return f"{command} {texts.shell_word(entry.text())} {url}"
    return f"printf {texts.shell_bytes(data)} | {command} @- {url}"


def _is_plain(text: str) -> bool:
    return text.isprintable() and "\ufffd" not in text


def log_call(event: Mapping[str, Any], line: str, notes: Mapping[str, str] | None = None) -> str:
    """Return a Python log call that makes an event.

    Args:
        event: its properties, numbers as `texts.Number`.
        line: the event as JSON, for one that lies too deep for Python's parser.
        notes: what is to be said beside a property.
    """
    message = next((event[name] for name in ("feature", "module", "action") if name in event), "")
    words = message if isinstance(message, str) and message else "something was done"
    head = ["log.info(", f"    {texts.python_word(words[:_WORDS])},", "    extra={"]
    if texts.depth(event) > texts.DEEPEST:
        head = ["import json", "", *head]
        rows = [f'        "event": json.loads({texts.python_word(line)})']
    else:
        rows = ['        "event": {', *_properties(event, notes or {}), "        },"]
    return "\n".join([*head, *rows, "    },", ")"])


def _properties(event: Mapping[str, Any], notes: Mapping[str, str]) -> list[str]:
    indent = " " * 12
    rows = []
    for name, value in event.items():
        note = f"  # {notes[name]}" if name in notes else ""
        rows.append(f"{indent}{texts.python_word(name)}: {texts.python_text(value, indent)},{note}")
    return rows
