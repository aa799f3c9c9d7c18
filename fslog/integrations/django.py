"""Django: the user of a request, in synchronous and asynchronous projects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any

from fslog import config, context
from fslog.integrations.identity import (
    DETAILS,
    Unusable,
    Who,
    lacks_session,
    name_of,
    require_callable,
    session_id,
)
from fslog.mapping.paths import MISSING, Unreadable, compile_path, parse

__all__ = ["IdentityMiddleware"]

SETTING = "FSLOG_IDENTITY"

_KNOWN = ("accountId", "userId", "sessionId")


class IdentityMiddleware:
    """Bind the user of each request, for its access line too.

    Place it in `MIDDLEWARE` below `AuthenticationMiddleware`. The setting `FSLOG_IDENTITY` is a
    mapping of properties to their paths on the request (`{"accountId": "user.account_id", "userId":
    "user.pk"}`), or a function of the request, also a coroutine function, or its dotted name. The
    function returns a mapping or None. Properties without a value are left out: for an anonymous
    user nothing is bound. What the function or a path raises is logged once, and the request's
    events are not sent. In an asynchronous project both run where Django allows queries.

    `details` and `accountDetails` among the properties are mappings of what is known of the user
    and of the account, in the setting of its paths. They are not bound, but sent if they have
    changed, as by `fslog.identify_user` and `identify_account`; they are read for each request of a
    known user, so that a query in a path costs one.

    If the user is known and has no `sessionId`, it is a digest of the key of `request.session`,
    which is itself a secret and never sent; but only of a session that the user was read from, so
    no query and no `Vary: Cookie` is added, and not of a session in a signed cookie, whose key
    changes. To read `request.user` costs what it costs in a view.

    Under WSGI the context is cleared when Django's handling of a request begins, and when the
    response is closed, after the access line. Under ASGI a request's task ends with what is bound
    in it. If the server starts a task with the context of another (pipelined requests), the context
    is cleared here; so that it is cleared before the first middleware, wrap the application:
    `fslog.integrations.asgi.Identity(get_asgi_application())`.

    Args:
        get_response: the next middleware, or the view.

    Raises:
        ImproperlyConfigured: `FSLOG_IDENTITY` is missing or not valid.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        from asgiref.sync import iscoroutinefunction, markcoroutinefunction
        from django.conf import settings  # type: ignore[import-untyped]
        from django.core import exceptions, signals  # type: ignore[import-untyped]

        require_callable("get_response", get_response)
        try:
            function, name = _function(getattr(settings, SETTING, None))
        except (TypeError, ValueError) as error:
            raise exceptions.ImproperlyConfigured(str(error)) from error
        self._get_response = get_response
        self._is_async = bool(iscoroutinefunction(get_response))
        self._who = Who(_with_session(_adapted(function, self._is_async), self._is_async), name)
        if self._is_async:
            markcoroutinefunction(self)
        for signal in (signals.request_started, signals.request_finished):
            signal.connect(_clear, dispatch_uid="fslog")

    def __call__(self, request: Any) -> Any:
        """Handle one request; in asynchronous mode, return a coroutine that does."""
        if self._is_async:
            return self._respond(request)
        self._who.bind(request)
        return self._get_response(request)

    async def _respond(self, request: Any) -> Any:
        await self._who.abind(request)
        return await self._get_response(request)


def _clear(**_: Any) -> None:
    context.clear()


def _function(setting: Any) -> tuple[Callable[[Any], Any], str]:
    """Return the function that the setting defines, and its name for notices.

    Raises:
        TypeError, ValueError: the setting is not valid; the message names it.
    """
    from django.utils.module_loading import import_string  # type: ignore[import-untyped]

    if isinstance(setting, str):
        try:
            function = import_string(setting)
        except ImportError as error:
            raise ValueError(
                f"{SETTING} is {setting!r}, which cannot be imported: {error}"
            ) from error
        require_callable(f"{SETTING} ({setting})", function)
        return function, setting
    if callable(setting):
        return setting, name_of(setting)
    if not isinstance(setting, Mapping) or not setting:
        is_empty = isinstance(setting, Mapping)
        given = "empty" if is_empty else f"of type {type(setting).__name__}"
        given = "not set" if setting is None else given
        raise TypeError(
            f"{SETTING} is {given}; expected a mapping of properties to paths, such as "
            "{'userId': 'user.pk'}, or a function of the request, or its dotted name"
        )
    return _reader(config.mapping(SETTING, setting)), SETTING


def _reader(setting: Mapping[str, Any]) -> Callable[[Any], dict[str, Any]]:
    """Return a function that reads the properties at these paths of a request, and the details."""
    paths = {name: path for name, path in setting.items() if name not in DETAILS}
    for name in paths:
        if name == "action":
            raise ValueError(f"{SETTING} has an action, which only a log call or a rule can give")
        near = None if name in _KNOWN else config.nearest(name, (*_KNOWN, *DETAILS))
        if near is not None:
            raise ValueError(f"{SETTING} has the property {name!r}; did you mean {near!r}?")
    read_properties = _reader_of(SETTING, paths)
    readers = {
        name: _reader_of(f"{SETTING}[{name!r}]", config.mapping(f"{SETTING}[{name!r}]", nested))
        for name, nested in setting.items()
        if name in DETAILS
    }

    def read(request: Any) -> dict[str, Any]:
        found = read_properties(request)
        for name, read_details in readers.items() if found.get("userId") is not None else ():
            try:
                found[name] = read_details(request)
            except Unusable as error:  # the user is known nevertheless
                found[name] = error
        return found

    return read


def _reader_of(setting: str, paths: Mapping[str, Any]) -> Callable[[Any], dict[str, Any]]:
    for name, path in paths.items():
        place = f"{setting}[{name!r}]"
        try:
            parse(path)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
        if path.startswith("request."):
            start = path.removeprefix("request.")
            raise ValueError(f"{place} is {path!r}; write {start!r}: it begins there")
        if path == "session.session_key":
            raise ValueError(
                f"{place} is the session's key, which is a secret; without it, the "
                "sessionId is its digest"
            )
    reads = {name: compile_path(f"request.{path}") for name, path in paths.items()}

    def read(request: Any) -> dict[str, Any]:
        holder: Any = SimpleNamespace(request=request)  # in place of the record with that extra
        try:
            found = {name: read(holder) for name, read in reads.items()}
        except Unreadable as error:
            raise Unusable(f"({error.place}) raised {type(error.error).__name__}") from error
        return {name: value for name, value in found.items() if value is not MISSING}

    return read


def _adapted(function: Callable[[Any], Any], is_async: bool) -> Callable[[Any], Any]:
    """Return the function as one that may be called in the middleware's mode."""
    from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async

    call = getattr(function, "__call__", None)  # noqa: B004 - its kind is needed
    if iscoroutinefunction(function) or iscoroutinefunction(call):
        return function if is_async else async_to_sync(function)
    return sync_to_async(function, thread_sensitive=True) if is_async else function


def _with_session(function: Callable[[Any], Any], is_async: bool) -> Callable[[Any], Any]:
    """Return the function, whose result has a `sessionId` if that can be known."""

    def who(request: Any) -> Any:
        return _completed(function(request), request)

    async def awho(request: Any) -> Any:
        found: Awaitable[Any] = function(request)
        return _completed(await found, request)

    return awho if is_async else who


def _completed(found: Any, request: Any) -> Any:
    if not lacks_session(found):
        return found
    session: Any = getattr(request, "session", None)
    # A session that was not read has a key that is not known to be valid.
    if not getattr(session, "accessed", False) or _is_in_cookie(session):
        return found
    key = session.session_key
    return {**found, "sessionId": session_id(key)} if isinstance(key, str) and key else found


def _is_in_cookie(session: Any) -> bool:
    module = "django.contrib.sessions.backends.signed_cookies"
    return any(base.__module__ == module for base in type(session).__mro__)
