"""Calls of fslog's own functions that log an event: `context.module`, `identify_user`..."""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator
from typing import NamedTuple

from fslog.cli.plan.source.evaluate import Evaluator
from fslog.cli.plan.source.scopes import CallNode
from fslog.cli.plan.source.values import UNKNOWN, External, Items, Unknown, Value, options
from fslog.events import LOGGER as EVENTS
from fslog.identify import MESSAGES
from fslog.mapping import schema

LOGGER = EVENTS
LEVEL = logging.INFO

_ENDS, _USER, _ACCOUNT = "moduleEnd", "identifyUser", "identifyAccount"
_FUNCTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "fslog.context.module": (_ENDS, ("module",)),
    "fslog.identify_user": (_USER, ("userId", "accountId")),
    "fslog.identify.identify_user": (_USER, ("userId", "accountId")),
    "fslog.identify_account": (_ACCOUNT, ("accountId",)),
    "fslog.identify.identify_account": (_ACCOUNT, ("accountId",)),
}
"""By the function's name, the action of its event, and the names of its positional arguments."""


class OwnEvent(NamedTuple):
    """What such a call logs.

    Args:
        is_sure: whether the call cannot be of another function.
        message, args: of the record.
        event: its properties.
        binds: the names of properties that it binds in the context.
    """

    is_sure: bool
    message: str
    args: tuple[Value, ...]
    event: Items
    binds: tuple[str, ...] = ()


def own_event(call: CallNode, evaluator: Evaluator) -> OwnEvent | None:
    """Return what a call logs; None if it is not one of these functions."""
    called = list(options(evaluator.of(call.node.func, call.scope)))
    names = {one.name for one in called if isinstance(one, External)} & _FUNCTIONS.keys()
    if len({_FUNCTIONS[name] for name in names}) != 1:
        return None
    # Another one is what `except ImportError` defines.
    is_sure = len(called) == len(names)
    action, positional = _FUNCTIONS[names.pop()]
    given = Items(dict(_given(call, positional, evaluator)))
    given.is_open = any(one.arg is None for one in call.node.keywords)
    if action == _ENDS:
        return _timed(given, is_sure=is_sure)
    ids = {name: given.pop(name) for name in schema.IDS if name in given}
    event = Items({"action": action, **ids, "details": given}, is_open=given.is_open)
    return OwnEvent(is_sure, MESSAGES[action], (), event)


def _timed(given: Items, *, is_sure: bool) -> OwnEvent:
    """Return the event of a block of `context.module`."""
    name, product = given.get("module", UNKNOWN), given.get("product", "")
    event = {"action": _ENDS, "module": name, "timeSpent": Unknown("integer")}
    is_open = given.is_open or not isinstance(product, str)  # it may be None, which is left out
    if product and isinstance(product, str):
        event["product"] = product
    binds = ("module", *(("product",) if product else ()))
    return OwnEvent(is_sure, "time in the module %s", (name,), Items(event, is_open=is_open), binds)


def _given(
    call: CallNode, positional: tuple[str, ...], evaluator: Evaluator
) -> Iterator[tuple[str, Value]]:
    """Yield the names and the values of the arguments; None is as if it were not given."""
    args = call.node.args
    stars = [at for at, node in enumerate(args) if isinstance(node, ast.Starred)]
    for at, name in enumerate(positional):
        if stars and at >= stars[0]:
            yield name, UNKNOWN
        elif at < len(args):
            yield name, evaluator.of(args[at], call.scope)
    for keyword in call.node.keywords:
        if keyword.arg is not None:
            value = evaluator.of(keyword.value, call.scope)
            if value is not None:
                yield keyword.arg, value
