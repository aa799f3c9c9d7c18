"""What would be right: an event mended, as the log call that makes it and as a rule that does.

Only what is wrong is changed. What nobody can know, who the user was say, stands there as an
example with a note beside it.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import math
from collections.abc import Mapping
from typing import Any

from fslog.mapping import events
from fslog.viewer import texts
from fslog.viewer.copies import MOST_BYTES, log_call, parsed
from fslog.viewer.entries import LATEST_MS, Entry

_EXAMPLES: dict[str, Any] = {
    "accountId": "acme",
    "userId": "ann",
    "action": "feature",
    "module": "reports",
    "feature": "export",
    "product": "core",
    "details": {"name": "Ann"},
    "total": 1,
    "timeSpent": 1200,
    "activeDuration": 60000,
}
_WHOLE = {name: _EXAMPLES[name] for name in ("accountId", "userId", "action", "module", "feature")}
_NUMBERS = ("total", "timeSpent", "activeDuration")
_SHOWN = 8
_LONGEST = 200


def hint(entry: Entry) -> dict[str, str] | None:
    """Return what would be right, None for an entry that is.

    Returns:
        `python`, a log call, and `rule`, a rule in YAML with the `fields` that it needs. The event
        that either makes is taken by the endpoint, and there is nothing to warn of.
    """
    if not entry.faults:
        return None
    event = parsed(entry) if len(entry.line) <= MOST_BYTES else None
    if event is None or texts.depth(event) > texts.DEEPEST:
        remark = _REMARKS.get(entry.faults[0].code, _REMARK)
        return {"python": f"{remark}\n{log_call(_WHOLE, '')}", "rule": _rule(_WHOLE)}
    mended, notes = mend(event, entry)
    return {"python": log_call(mended, "", notes), "rule": _rule(mended)}


_REMARK = "# each line is one JSON object, in UTF-8; fslog writes it so, whatever the values are:"
_REMARKS = {
    "not_compressed_so": "# a body is compressed as its Content-Encoding says; fslog sees to both:",
}


def mend(event: Mapping[str, Any], entry: Entry) -> tuple[dict[str, Any], dict[str, str]]:
    """Change what is wrong with an event, and say so.

    Args:
        event: its properties, numbers as `texts.Number`.
        entry: says what is wrong with it.

    Returns:
        The event, and by property what was changed. A `createdAt` or `sessionId` that cannot be
        mended is left out: the log call's own time, and a derived session, are right.
    """
    mended, notes = dict(event), dict[str, str]()
    for fault in entry.faults:
        _change(mended, fault.property)
        if fault.property in mended:
            came = _WORDS[fault.got.partition(" ")[0]]
            notes[fault.property] = _SECONDS if fault.code == _OF_SECONDS else f"was {came}"
    for problem in events.warnings({"createdAt": events.EARLIEST_MS, **_plain(mended)}):
        _change(mended, problem.property)
        if problem.property in mended:
            note = _SECONDS if problem.code == _OF_SECONDS else "belongs to this action"
            notes.setdefault(problem.property, note)
    return mended, notes


_OF_SECONDS = "looks_like_seconds"
_SECONDS = "was in seconds"
# By the first word of `explain.kind`. A type, never a value: a comment must stay on its line.
_WORDS = {
    "nothing": "missing",
    "an": "empty",
    "null": "null",
    "string": "a string",
    "number": "a number",
    "boolean": "a boolean",
    "array": "an array",
    "object": "an object",
}


def _change(event: dict[str, Any], name: str) -> None:
    value = _mended(name, event.get(name))
    if value is None:
        event.pop(name, None)
    else:
        event[name] = value


def _plain(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event with numbers for their texts, one level deep."""
    return {name: _number_of(v) if isinstance(v, texts.Number) else v for name, v in event.items()}


def _number_of(text: texts.Number) -> int | float:
    number: int | float = json.loads(text)
    return number


def _mended(name: str, value: Any) -> Any:
    """Return what may have been meant, None if that is best left to fslog."""
    if name == "sessionId":
        return str(value) if isinstance(value, texts.Number) else None
    if name == "createdAt":
        return _time(value)
    if name in _NUMBERS:
        return _number(value) or _EXAMPLES[name]
    if isinstance(value, texts.Number) and name in _EXAMPLES and name != "details":
        return str(value)
    return _EXAMPLES.get(name)


def _number(value: Any) -> texts.Number | None:
    if isinstance(value, str) and not isinstance(value, texts.Number):
        with contextlib.suppress(ValueError):
            number = float(value)
            if math.isfinite(number):
                return texts.Number(repr(int(number) if number == int(number) else number))
    return None


def _time(value: Any) -> texts.Number | None:
    """Return epoch milliseconds for a time that was given in another way, None for no time."""
    if not isinstance(value, str):
        return None
    with contextlib.suppress(ValueError, OverflowError):
        if isinstance(value, texts.Number) or value.strip().isdigit():
            number = float(value)
            number = number * 1000 if number < events.EARLIEST_MS else number
        else:
            at = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
            zoned = at if at.tzinfo else at.replace(tzinfo=datetime.timezone.utc)
            number = zoned.timestamp() * 1000
        if events.EARLIEST_MS <= number < LATEST_MS:
            return texts.Number(str(round(number)))
    return None


def _rule(event: Mapping[str, Any]) -> str:
    """Return a rule that makes such an event of a log call, and the fields that say who did it."""
    rows = [
        "rules:",
        "  # your logger, and the message of your log call as it stands in the code",
        '  - when: {logger: "app", message: "exported %s rows"}',
        "    event:",
    ]
    chosen = [name for name in event if name and name not in _FROM_RECORD]
    for name in sorted(chosen, key=_rank)[:_SHOWN]:
        word = texts.yaml_word(_literal(event[name]))
        # Whatever is long is nothing that a rule would say, and a long key is none for YAML.
        if len(word) > _LONGEST and not isinstance(event[name], str):
            word = texts.yaml_word(_EXAMPLES.get(name))
        if name in _EXAMPLES or len(name) + len(word) <= _LONGEST:
            rows.append(f"      {texts.yaml_word(name)}: {word}")
    rows += [
        "fields:  # where the record has them; or context.bind(accountId=..., userId=...)",
        "  accountId: account_id",
        "  userId: user_id",
    ]
    return "\n".join(rows)


_FROM_RECORD = ("accountId", "userId", "createdAt", "sessionId")


def _rank(name: str) -> int:
    known = list(_EXAMPLES)
    return known.index(name) if name in known else len(known)


def _literal(value: Any) -> Any:
    """Return a value as a rule has it: numbers as such, no text a placeholder."""
    if isinstance(value, texts.Number):
        return _number_of(value)
    if isinstance(value, str):
        return value.replace("{", "{{").replace("}", "}}")
    if isinstance(value, dict):
        return {name: _literal(item) for name, item in value.items()}
    return [_literal(item) for item in value] if isinstance(value, list) else value
