"""Flask: the user of a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fslog.integrations.identity import Who, lacks_session, name_of, require_callable, session_id
from fslog.integrations.wsgi import Identity

__all__ = ["identify"]


def identify(app: Any, who: Callable[[Any], Mapping[str, Any] | None]) -> None:
    """Bind the user of each request of a Flask application, for its access line too.

    It wraps `app.wsgi_app` in `fslog.integrations.wsgi.Identity`, and binds the user in a function
    for `before_request`. Such functions run in the order of their registration: call `identify`
    after those that `who` depends on have been registered.

    If the user is known and has no `sessionId`, it is a digest of the key of a session that is kept
    on the server, as Flask-Session's; the key itself, which is a secret, is never sent. Flask's own
    session, a signed cookie, has no key.

    Args:
        app: the `flask.Flask`.
        who: called with `flask.request`; returns a mapping of properties (`{"accountId": "acme",
            "userId": "ann"}`) or None. Properties that are None are left out. What it raises is
            logged once, and the request's events are not sent.
            `details` and `accountDetails` among the properties are mappings of what is known of the
            user and of the account; they are not bound, but sent if they have changed, as by
            `fslog.identify_user` and `identify_account`.

    Raises:
        TypeError: `app` is not a Flask application, or `who` is not a function.
    """
    import flask

    if not isinstance(app, flask.Flask):
        raise TypeError(f"app is of type {type(app).__name__}; expected a flask.Flask")
    require_callable("who", who, is_async=False)
    user = Who(lambda request: _completed(who(request)), name_of(who))

    @app.before_request
    def bind_user() -> None:
        user.bind(flask.request)

    app.wsgi_app = Identity(app.wsgi_app)  # type: ignore[method-assign]


def _completed(found: Any) -> Any:
    from flask import current_app, session
    from flask.sessions import SecureCookieSessionInterface

    # To ask for the session marks it as read, which adds `Vary: Cookie` to the response.
    if not lacks_session(found) or isinstance(
        current_app.session_interface, SecureCookieSessionInterface
    ):
        return found
    key = getattr(session, "sid", None) if session else None  # an empty one is not kept
    return {**found, "sessionId": session_id(key)} if isinstance(key, str) and key else found
