"""Calls of fslog's own functions that log an event: `context.module`, `identify_user`..."""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator

from fslog.cli.plan.source.evaluate import Evaluator
from fslog.cli.plan.source.scopes import CallNode
from fslog.cli.plan.source.values import UNKNOWN, External, Items, Unknown, Value
from fslog.events import LOGGER as EVENTS
from fslog.identify import MESSAGES

LOGGER = EVENTS
LEVEL = logging.INFO

_FUNCTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "fslog.context.module": ("moduleEnd", ("module",)),
    "fslog.identify_user": ("identifyUser", ("userId", "accountId")),
    "fslog.identify.identify_user": ("identifyUser", ("userId", "accountId")),
    "fslog.identify_account": ("identifyAccount", ("accountId",)),
    "fslog.identify.identify_account": ("identifyAccount", ("accountId",)),
}
"""By the function's name, the action of its event, and the names of its positional arguments."""

_IDS = ("accountId", "userId")


def event(call: CallNode, evaluator: Evaluator) -> tuple[str, tuple[Value, ...], Items] | None:
    """Return the message, the arguments and the event that such a call logs.

    Returns:
        None if the call is another one's.
    """
    called = evaluator.of(call.node.func, call.scope)
    if not isinstance(called, External) or called.name not in _FUNCTIONS:
        return None
    action, positional = _FUNCTIONS[called.name]
    given = Items(dict(_given(call, positional, evaluator)))
    given.is_open = any(one.arg is None for one in call.node.keywords)
    if action == "moduleEnd":
        name = given.get("module", UNKNOWN)
        made = {"action": action, **given, "timeSpent": Unknown("integer")}
        return "time in the module %s", (name,), Items(made, is_open=given.is_open)
    ids = {name: given.pop(name) for name in _IDS if name in given}
    return MESSAGES[action], (), Items({"action": action, **ids, "details": given})


def _given(
    call: CallNode, positional: tuple[str, ...], evaluator: Evaluator
) -> Iterator[tuple[str, Value]]:
    """Yield the names and the values of the arguments that say something about the event."""
    is_open = False
    for name, node in zip(positional, call.node.args):  # noqa: B905 - too many are an error
        is_open = is_open or isinstance(node, ast.Starred)
        yield name, UNKNOWN if is_open else evaluator.of(node, call.scope)
    for keyword in call.node.keywords:
        if keyword.arg is not None and keyword.arg != "clock":
            value = evaluator.of(keyword.value, call.scope)
            if value is not None:  # as if it were not given
                yield keyword.arg, value
