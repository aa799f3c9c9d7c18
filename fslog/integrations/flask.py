"""Flask: the user of a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fslog.integrations.identity import Who, require_callable
from fslog.integrations.wsgi import Identity

__all__ = ["identify"]


def identify(app: Any, who: Callable[[Any], Mapping[str, Any] | None]) -> None:
    """Bind the user of each request of a Flask application, for its access line too.

    It wraps `app.wsgi_app` in `fslog.integrations.wsgi.Identity`, and binds the user in a function
    for `before_request`. Such functions run in the order of their registration: call `identify`
    after those that `who` depends on have been registered.

    Args:
        app: the `flask.Flask`.
        who: called with `flask.request`; returns a mapping of properties (`{"accountId": "acme",
            "userId": "ann"}`) or None. Properties that are None are left out. What it raises is
            logged once, and the request's events are not sent.

    Raises:
        TypeError: `app` is not a Flask application, or `who` is not a function.
    """
    import flask

    if not isinstance(app, flask.Flask):
        raise TypeError(f"app is of type {type(app).__name__}; expected a flask.Flask")
    require_callable("who", who, is_async=False)
    user = Who(who)

    @app.before_request
    def bind_user() -> None:
        user.bind(flask.request)

    app.wsgi_app = Identity(app.wsgi_app)  # type: ignore[method-assign]
