"""Who is acting in a request, for all integrations: asked, checked, and bound."""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

from fslog import context, identify
from fslog.delivery import notices
from fslog.interrupts import unless_interrupt
from fslog.mapping import schema
from fslog.net.redaction import internal_work

UNKNOWN: Mapping[str, Any] = dict.fromkeys(schema.IDS)
"""What is bound if the user cannot be determined.

The ids are None rather than missing: `defaults` would replace missing ones, and name another user.
"""

CARRIED = (*schema.IDS, "sessionId")
"""What a message of a queue carries of the context."""

DETAILS = {"details": "identifyUser", "accountDetails": "identifyAccount"}
"""What `who` may return beside properties: details of the user, of the account → their action."""

_MAX_ID_BYTES = 512

Properties = Mapping[str, Any]


class Who:
    """An application's function that returns the properties of a request's user.

    It returns a mapping or None; properties that are None are left out. An exception of it, and
    a value that cannot be bound, are logged once, as a WARNING on the logger `fslog`. The request
    goes on then, and `UNKNOWN` is bound, so that its events are invalid and not somebody else's.

    `details` and `accountDetails` of a known user are not bound: they are logged by `identify`, if
    they have changed. What is wrong with them is logged once, and concerns nothing else.

    Args:
        function: called with the framework's request; for `abind`, it may return an awaitable.
        name: what notices call it; by default the function's module and name.
        noun: what notices call the request.
        check: returns what is bound for the result of the function; raises `Unusable`.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        name: str = "",
        *,
        noun: str = "request",
        check: Callable[[Any], Properties] | None = None,
    ) -> None:
        self._function = function
        self._name = name or name_of(function)
        self._noun = noun
        self._check = check or _properties
        # A task may run inside of another one, or of a request, whose blocks go on after it.
        self._clear = context.renew if check is None else context.clear
        self._logged: dict[str, object] = {}

    def bind(self, request: Any) -> None:
        """Clear the context, then bind the user of the request."""
        self._clear()
        try:
            found = self._function(request)
            context.bind(**self._check(found))
        except unless_interrupt(Exception) as error:  # the application's own function
            self._failed(error)
        else:
            self._identify(found)

    async def abind(self, request: Any) -> None:
        """Clear the context, then bind the user of the request in the running task."""
        self._clear()
        try:
            found = self._function(request)
            found = await found if inspect.isawaitable(found) else found
            context.bind(**self._check(found))
        except unless_interrupt(Exception) as error:  # the application's own function
            self._failed(error)
        else:
            self._identify(found)

    def _identify(self, found: Any) -> None:
        """Log the details that `who` has returned of a known user and of their account."""
        if self._check is not _properties or not isinstance(found, Mapping):
            return
        bound = context.current()
        if "userId" not in bound:
            return
        ids = {name: bound[name] for name in schema.IDS if name in bound}
        for name, action in DETAILS.items():
            try:
                if details := _details(name, found.get(name)):
                    identify.identify(action, ids, details)
            except unless_interrupt(Exception) as error:  # also a filter of the application's
                self._log_once(name, error, f"its {name} are not sent")

    def _failed(self, error: Exception) -> None:
        context.clear()
        context.bind(**UNKNOWN)
        result = f"the events of such a {self._noun} have no user and are not sent"
        self._log_once("failed", error, result)

    def _log_once(self, kind: str, error: Exception, result: str) -> None:
        mark = object()
        if self._logged.setdefault(kind, mark) is mark:
            why = str(error) if isinstance(error, Unusable) else f"raised {type(error).__name__}"
            # Redaction changes nothing: of the exception, the text has only the type.
            with internal_work(str):
                notices.log(logging.WARNING, f"{self._name} {why}: {result}. Logged once")


class Unusable(Exception):
    """The function gave nothing that can be bound; the text says why, after the function's name."""


def _properties(found: Any) -> Properties:
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise Unusable(f"returned a value of type {type(found).__name__}, not a mapping or None")
    properties = dict(found)
    if not all(isinstance(name, str) for name in properties):
        raise Unusable("returned a property whose name is not a string")
    if "action" in properties:
        raise Unusable("returned an action, which only a log call or a rule can give")
    return {
        name: value
        for name, value in properties.items()
        if value is not None and name not in DETAILS
    }


def _details(name: str, found: Any) -> Mapping[str, Any] | None:
    """Return the details among the result of `who`.

    Raises:
        Unusable: they are no mapping of names; or `found` itself, which says why they are unknown.
    """
    if isinstance(found, Unusable):
        raise found
    if found is not None and not isinstance(found, Mapping):
        raise Unusable(f"returned {name} of type {type(found).__name__}, not a mapping or None")
    if found is not None and not all(isinstance(each, str) for each in found):
        raise Unusable(f"returned {name} with a name that is not a string")
    return found


def to_message() -> dict[str, str | None]:
    """Return the bound ids as a message of a queue carries them, in any serialization.

    Ids are sent as in an event: as strings. One that is no string then, or has more than 512 bytes
    in UTF-8, is None, as are the ids of `UNKNOWN`; such a `sessionId` is left out.

    >>> with context.bound(userId=7, accountId="x" * 1000, sessionId=None, plan="gold"):
    ...     to_message()
    {'accountId': None, 'userId': '7'}
    """
    bound = context.current()
    ids = {name: bound[name] for name in CARRIED if name in bound}
    schema.coerce(ids)
    found = {name: value if _is_carried(value) else None for name, value in ids.items()}
    if found.get("sessionId", "") is None:
        del found["sessionId"]
    return found


def of_message(found: Any) -> Properties:
    """Return what to bind for the ids that a message carries: a `check` for `Who`.

    Nothing is bound for a message without ids. None stays None.

    Raises:
        Unusable: this is not what `to_message` returns.
    """
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise Unusable("holds no valid ids")
    ids = {name: found[name] for name in CARRIED if name in found}
    if not all(value is None or _is_carried(value) for value in ids.values()):
        raise Unusable("holds no valid ids")
    return ids


def _is_carried(value: Any) -> bool:
    try:
        return (
            type(value) is str
            and 0 < len(value) <= _MAX_ID_BYTES
            and len(value.encode()) <= _MAX_ID_BYTES
        )
    except UnicodeEncodeError:  # a lone surrogate
        return False


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
