"""Nested events: where a record may hold an explicit event as one mapping.

`event` is the extra of that name. `extra` is the extra `extra`, in which loguru passes on what
`bind` has bound. `message` is the message itself, as a dict or as JSON text: so structlog passes on
its event dict. In the last two, all keys are properties as a call's extras are, and one of them,
`event` or `extra`, may be a mapping that holds the event instead.

>>> record = logging.makeLogRecord({"msg": '{"event": "sold", "action": "feature", "total": 3}'})
>>> Nested(("event", "message"), lambda name: True).find(record)
('message', {'action': 'feature', 'total': 3})
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from fslog.errors import InvalidEvent, Problem
from fslog.interrupts import unless_interrupt

PLACES = ("event", "extra", "message")

_MAX_JSON = 65_536
"""Characters of a message; a longer one is not parsed, since that takes too long."""

_RENDERED = frozenset(
    {
        # structlog's event, which is a text, and what its processors add to the event dict.
        *("event", "message", "msg", "level", "level_number", "logger", "timestamp"),
        *("exception", "exc_info", "stack", "stack_info", "positional_args"),
        *("pathname", "filename", "func_name", "lineno"),
        *("process", "process_name", "thread", "thread_name"),
    }
)
"""Keys of a message that describe the log call, and not what happened."""


class Nested:
    """Find the nested event of a record.

    Args:
        places: some of `PLACES`; the first that holds an action counts.
        is_property: whether an extra of an explicit event is a property.
    """

    def __init__(self, places: tuple[str, ...], is_property: Callable[[Any], bool]) -> None:
        self._places = places
        self._is_property = is_property

    def find(self, record: logging.LogRecord) -> tuple[str, dict[str, Any] | None]:
        """Return the place, and the properties that stand there; None for none.

        They lack an action only if the place is `event`: then they are added to the event.

        Raises:
            InvalidEvent: an extra is a mapping that cannot be read.
        """
        attributes = record.__dict__
        supplement = None
        for place in self._places:
            if place == "event":
                found = supplement = unshared(attributes.get("event"), "event")
            elif "action" in attributes:  # the call is explicit without it
                continue
            elif place == "extra":
                found = self._explicit(unshared(attributes.get("extra"), "extra"), ())
            else:
                found = self._explicit(_message(record), _RENDERED)
            if found is not None and "action" in found:
                return place, found
        return "event", supplement

    def _explicit(self, values: dict[str, Any] | None, rendered: Any) -> dict[str, Any] | None:
        """Return the properties of an explicit event; None if the values name no action."""
        if values is None:
            return None
        event: Mapping[str, Any] = {}
        if "action" not in values:
            inner = [values[key] for key in ("event", "extra") if type(values.get(key)) is dict]
            event = next((one for one in inner if "action" in one), event)
            if not event:
                return None
        return {
            **{
                name: values[name]
                for name in values
                if values[name] is not event and name not in rendered and self._is_property(name)
            },
            **event,
        }

    def may_hold(self, record: logging.LogRecord) -> bool:
        """Return whether an event may stand elsewhere than in the extra `event`; that is quick."""
        if "extra" in self._places:
            extra = getattr(record, "extra", None)
            if extra is not None and (type(extra) is not dict or not _KEYS.isdisjoint(extra)):
                return True
        if "message" in self._places:
            message = record.msg
            return type(message) is not str or message[:1] == "{"
        return False


_KEYS = frozenset({"action", "event", "extra"})


def unshared(nested: Any, name: str) -> dict[str, Any] | None:
    """Return an extra as a dict; None if it is not a mapping, and so not for fslog.

    Raises:
        InvalidEvent: it is a mapping, and cannot be read.
    """
    if nested is None or type(nested) is dict:
        return nested
    try:
        if not isinstance(nested, Mapping):
            return None
    except unless_interrupt(Exception):  # its class cannot be read: not a mapping
        return None
    try:
        return dict(nested)
    except unless_interrupt(Exception) as error:  # the application's own mapping
        message = f"the extra {name} cannot be read: {type(error).__name__}"
        raise InvalidEvent([Problem("unreadable", "", message)]) from error


def _message(record: logging.LogRecord) -> dict[str, Any] | None:
    """Return a message that is a dict, or JSON of one without arguments to be filled in."""
    message: Any = record.msg
    if type(message) is str and not record.args and message[:1] == "{":
        # Most JSON in logs is no event: it is not parsed.
        if '"action"' not in message or len(message) > _MAX_JSON:
            return None
        try:
            message = json.loads(message)
        except (ValueError, RecursionError):
            return None
    # A copy of a subclass is a plain dict, whatever its methods do.
    return dict.copy(message) if issubclass(type(message), dict) else None
