"""Who is acting in a request, for all integrations: asked, checked, and bound."""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

from fslog import context
from fslog.delivery import notices
from fslog.interrupts import unless_interrupt
from fslog.mapping import schema
from fslog.net.redaction import internal_work

UNKNOWN: Mapping[str, Any] = dict.fromkeys(schema.IDS)
"""What is bound if the user cannot be determined.

The ids are None rather than missing: `defaults` would replace missing ones, and name another user.
"""


class Who:
    """An application's function that returns the properties of a request's user.

    It returns a mapping or None; properties that are None are left out. An exception of it, and
    a value that cannot be bound, are logged once, as a WARNING on the logger `fslog`. The request
    goes on then, and `UNKNOWN` is bound, so that its events are invalid and not somebody else's.

    Args:
        function: called with the framework's request; for `abind`, it may return an awaitable.
        name: what notices call it; by default the function's module and name.
    """

    def __init__(self, function: Callable[[Any], Any], name: str = "") -> None:
        self._function = function
        self._name = name or name_of(function)
        self._logged: dict[str, object] = {}

    def bind(self, request: Any) -> None:
        """Clear the context, then bind the user of the request."""
        context.clear()
        try:
            context.bind(**_properties(self._function(request)))
        except unless_interrupt(Exception) as error:  # the application's own function
            self._failed(error)

    async def abind(self, request: Any) -> None:
        """Clear the context, then bind the user of the request in the running task."""
        context.clear()
        try:
            found = self._function(request)
            context.bind(**_properties(await found if inspect.isawaitable(found) else found))
        except unless_interrupt(Exception) as error:  # the application's own function
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        context.clear()
        context.bind(**UNKNOWN)
        mark = object()
        if self._logged.setdefault("failed", mark) is mark:
            why = str(error) if isinstance(error, Unusable) else f"raised {type(error).__name__}"
            # Redaction changes nothing: of the exception, the text has only the type.
            with internal_work(str):
                notices.log(
                    logging.WARNING,
                    f"{self._name} {why}: the events of such a request have no user and are not "
                    "sent. Logged once",
                )


class Unusable(Exception):
    """The function gave nothing that can be bound; the text says why, after the function's name."""


def _properties(found: Any) -> dict[str, Any]:
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise Unusable(f"returned a value of type {type(found).__name__}, not a mapping or None")
    properties = dict(found)
    if not all(isinstance(name, str) for name in properties):
        raise Unusable("returned a property whose name is not a string")
    if "action" in properties:
        raise Unusable("returned an action, which only a log call or a rule can give")
    return {name: value for name, value in properties.items() if value is not None}


def lacks_session(found: Any) -> bool:
    """Return whether the user that `who` has found is known, and has no `sessionId`."""
    if not isinstance(found, Mapping):
        return False
    return found.get("userId") is not None and found.get("sessionId") is None


def session_id(key: str) -> str:
    """Return the `sessionId` for the key of a framework's session, which is a secret.

    It is a digest that does not reveal the key, the same in every process.
    """
    return hashlib.blake2b(key.encode(), digest_size=16, person=b"fslog session").hexdigest()


def require_callable(name: str, value: Any, *, is_async: bool = True) -> None:
    """Raise `TypeError` for an argument that cannot be called.

    Args:
        name: the argument's.
        value: what was given.
        is_async: whether a coroutine function is allowed.
    """
    if not callable(value):
        raise TypeError(f"{name} is of type {type(value).__name__}; expected a callable")
    if not is_async and _is_coroutine_function(value):
        raise TypeError(
            f"{name} is the coroutine function {name_of(value)}; expected one without async"
        )


def _is_coroutine_function(value: Any) -> bool:
    call = getattr(value, "__call__", None)  # noqa: B004 - its kind is needed
    return any(map(inspect.iscoroutinefunction, (value, call)))


def name_of(function: Any) -> str:
    """Return the name of a function; of other callables that of the class, never their values."""
    kind = function if hasattr(function, "__qualname__") else type(function)
    return f"{kind.__module__}.{kind.__qualname__}"
