"""ASGI: the user of a request, with any server and any framework."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from fslog import context
from fslog.integrations.identity import Who, require_callable

__all__ = ["Identity"]

App = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]
Properties = Mapping[str, Any] | None


class Identity:
    """Bind the user of each request and websocket of an ASGI application, for its access line too.

    It clears the context when a request begins. The request's task, and with it what is bound,
    ends after the server has written the access line. The lifespan is not changed.

    Place it inside the middleware that authenticates, but not inside one that is a
    `BaseHTTPMiddleware` or a function with `@app.middleware("http")`: that runs what is inside it
    in another task, and the access line has no user.

    Args:
        app: the application.
        who: a function, or a coroutine function, called with the scope; returns a mapping of
            properties (`{"accountId": "acme", "userId": "ann"}`) or None. Properties that are None
            are left out. What it raises is logged once, and the request's events are not sent.
            Without `who`, only the context is cleared, for applications that bind the user later.
            `details` and `accountDetails` among the properties are mappings of what is known of the
            user and of the account; they are not bound, but sent if they have changed, as by
            `fslog.identify_user` and `identify_account`.

    Raises:
        TypeError: an argument is not callable.
    """

    def __init__(
        self,
        app: App,
        who: Callable[[MutableMapping[str, Any]], Properties | Awaitable[Properties]] | None = None,
    ) -> None:
        require_callable("app", app)
        if who is not None:
            require_callable("who", who)
        self._app = app
        self._who = None if who is None else Who(who)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Handle one request, one websocket, or the lifespan."""
        if scope["type"] in ("http", "websocket"):
            if self._who is None:
                context.renew()
            else:
                await self._who.abind(scope)
        await self._app(scope, receive, send)
