"""WSGI: the user of a request, with any server and any framework."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from fslog import context
from fslog.integrations.identity import Who, require_callable

__all__ = ["Identity"]

App = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Identity:
    """Bind the user of each request of a WSGI application, for its access line too.

    It clears the context when a request begins, and when the server closes the response's body,
    which it does after it has written the access line. If the application raises, the context is
    cleared at once: the access line that the server writes then has no user.

    Args:
        app: the application.
        who: called with the environ; returns a mapping of properties (`{"accountId": "acme",
            "userId": "ann"}`) or None. Properties that are None are left out. What it raises is
            logged once, and the request's events are not sent. Without `who`, only the context is
            cleared, for applications that bind the user later, by `context.bind`.
            `details` and `accountDetails` among the properties are mappings of what is known of the
            user and of the account; they are not bound, but sent if they have changed, as by
            `fslog.identify_user` and `identify_account`.

    Raises:
        TypeError: an argument is not callable, or `who` is a coroutine function.

    >>> def app(environ, start_response):
    ...     return [str(dict(context.current())).encode()]
    >>> wrapped = Identity(app, lambda environ: {"userId": environ.get("REMOTE_USER")})
    >>> list(wrapped({"REMOTE_USER": "ann"}, None)), list(wrapped({}, None))
    ([b"{'userId': 'ann'}"], [b'{}'])
    """

    def __init__(
        self, app: App, who: Callable[[dict[str, Any]], Mapping[str, Any] | None] | None = None
    ) -> None:
        require_callable("app", app)
        if who is not None:
            require_callable("who", who, is_async=False)
        self._app = app
        self._who = None if who is None else Who(who)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Handle one request."""
        try:
            if self._who is None:
                context.renew()
            else:
                self._who.bind(environ)
            return _clearing(self._app(environ, start_response), environ)
        except BaseException:
            context.clear()
            raise


def _clearing(body: Any, environ: dict[str, Any]) -> Iterable[bytes]:
    """Return a body that clears the context when it is closed.

    What the server's own file wrapper has made remains the same object: for that type only does a
    server send the file without reading it.
    """
    wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(wrapper, type) and isinstance(body, wrapper):
        try:
            body.close = _Body(body, getattr(body, "close", None)).close  # type: ignore[attr-defined]
            return body  # type: ignore[return-value]
        except AttributeError:  # it has slots
            pass
    return (_Sized if hasattr(body, "__len__") else _Body)(body, getattr(body, "close", None))


class _Body:
    def __init__(self, body: Any, close: Callable[[], object] | None) -> None:
        self._body = body
        self._close = close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        try:
            if self._close is not None:
                self._close()
        finally:
            context.clear()


class _Sized(_Body):
    """A body of known length: for one of a single part, a server sends a Content-Length."""

    def __len__(self) -> int:
        return len(self._body)
