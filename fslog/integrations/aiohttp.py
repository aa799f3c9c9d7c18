"""aiohttp.web: the user of a request."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from fslog.integrations.identity import Who, lacks_session, name_of, require_callable, session_id

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["identity"]

Found = Mapping[str, Any] | None


def identity(
    who: Callable[[web.Request], Found | Awaitable[Found]],
) -> Callable[[web.Request, Any], Awaitable[web.StreamResponse]]:
    """Return a middleware for `aiohttp.web` that binds the user of each request and websocket.

    It clears the context first. aiohttp (3.8 and newer) runs each request in a task of its own,
    which ends, with what is bound in it, after the access line. A request that reaches no
    middleware, such as a malformed one, has no user.

    Place it after the middlewares that `who` depends on, but not after one that runs its handler in
    another task, as `asyncio.wait_for` does before Python 3.12: then the access line has no user.

    If the user is known and has no `sessionId`, it is a digest of the key of the session of
    `aiohttp_session`, if `who` has read that session and it is kept on the server. The key itself,
    which is a secret, is never sent.

    Args:
        who: a function, or a coroutine function, called with the request; returns a mapping of
            properties (`{"accountId": "acme", "userId": "ann"}`) or None. Properties that are None
            are left out. What it raises is logged once, and the request's events are not sent.
            `details` and `accountDetails` among the properties are mappings of what is known of the
            user and of the account; they are not bound, but sent if they have changed, as by
            `fslog.identify_user` and `identify_account`.

    Raises:
        TypeError: `who` is not callable.
    """
    from aiohttp import web

    require_callable("who", who)

    async def with_session(request: web.Request) -> Any:
        found = who(request)
        return _completed(await found if inspect.isawaitable(found) else found, request)

    user = Who(with_session, name_of(who))

    @web.middleware
    async def bind_user(request: web.Request, handler: Any) -> web.StreamResponse:
        await user.abind(request)
        response: web.StreamResponse = await handler(request)
        return response

    return bind_user


def _completed(found: Any, request: Any) -> Any:
    session = request.get("aiohttp_session") if lacks_session(found) else None
    # A new session has no key yet, and one that is kept in a cookie never has one.
    key = None if session is None or session.new else session.identity
    return {**found, "sessionId": session_id(key)} if isinstance(key, str) and key else found
