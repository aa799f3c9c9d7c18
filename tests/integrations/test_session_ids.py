"""The session of a framework as `sessionId`: a digest of its key, which is a secret."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from fslog import context
from fslog.integrations import aiohttp, flask
from fslog.integrations.identity import session_id

# aiohttp_session uses a kind of key that aiohttp advises against.
pytestmark = pytest.mark.filterwarnings("ignore:It is recommended to use web.RequestKey")

ANN = {"accountId": "acme", "userId": "ann"}
KEY = "the-key-in-the-cookie"


def test_the_digest_is_the_same_in_every_process_and_version() -> None:
    """A session goes on after a deploy; the id does not reveal the key."""
    assert session_id("key") == "d4d04394acfd726192dc9229cf942097"


def in_flask(found: Any, data: dict[str, Any], key: Any = KEY, *, in_cookie: bool = False) -> Any:
    """Return what is bound in a request with a session of Flask."""
    import flask as framework
    from flask.sessions import SessionInterface, SessionMixin

    class Session(dict[str, Any], SessionMixin):
        sid = key

    class OnServer(SessionInterface):
        def open_session(self, app: Any, request: Any) -> Any:
            return Session(data)

        def save_session(self, app: Any, session: Any, response: Any) -> None:
            pass

    app = framework.Flask("app")
    app.secret_key = "only for this test"
    if not in_cookie:
        app.session_interface = OnServer()
    flask.identify(app, lambda request: found)
    app.add_url_rule("/", view_func=lambda: dict(context.current()))
    response = app.test_client().get("/")
    assert "Vary" not in response.headers  # as the interface of a signed cookie adds for a read
    return response.get_json()


def in_aiohttp(found: Any, data: dict[str, Any], key: Any = KEY, *, is_read: bool = True) -> Any:
    """Return what is bound in a request with a session of aiohttp_session."""
    from aiohttp import web
    from aiohttp.test_utils import make_mocked_request
    from aiohttp_session import AbstractStorage, Session, get_session, session_middleware

    class OnServer(AbstractStorage):
        async def load_session(self, request: Any) -> Any:
            return Session(key, data={"session": data} if data else None, new=not data)

        async def save_session(self, request: Any, response: Any, session: Any) -> None:
            pass

    async def who(request: Any) -> Any:
        if is_read:
            await get_session(request)
        return found

    async def handler(request: Any) -> Any:
        return web.json_response(dict(context.current()))

    async def main() -> Any:
        bind_user = aiohttp.identity(who)
        request = make_mocked_request("GET", "/")
        return await session_middleware(OnServer())(request, lambda one: bind_user(one, handler))

    return json.loads(asyncio.run(main()).text)


BOTH = pytest.mark.parametrize(
    "serve",
    [
        pytest.param(in_flask, marks=pytest.mark.needs("flask>=3")),
        pytest.param(in_aiohttp, marks=pytest.mark.needs("aiohttp-session>=2")),
    ],
)


@BOTH
def test_a_session_on_the_server(serve: Any) -> None:
    """A known user has the session's id, unless `who` gives another."""
    data = {"user": "ann"}
    assert serve(ANN, data) == {**ANN, "sessionId": session_id(KEY)}
    assert serve({**ANN, "sessionId": "s"}, data) == {**ANN, "sessionId": "s"}
    assert serve(None, data) == {}
    assert serve({"accountId": "acme"}, data) == {"accountId": "acme"}


@BOTH
@pytest.mark.parametrize("key", [None, "", 7, b"key"])
def test_a_session_without_a_key(serve: Any, key: Any) -> None:
    """fslog derives the session, as for a user without one."""
    assert serve(ANN, {"user": "ann"}, key) == ANN


@BOTH
def test_a_new_session_is_none_yet(serve: Any) -> None:
    """Its key is not kept unless something is stored in it: the next request has another."""
    assert serve(ANN, {}) == ANN


@pytest.mark.needs("flask>=3")
def test_the_session_in_a_cookie() -> None:
    """It has no key, and is not read."""
    assert in_flask(ANN, {}, in_cookie=True) == ANN


@pytest.mark.needs("aiohttp-session>=2")
def test_a_session_that_was_not_read() -> None:
    """It is not loaded for its key."""
    assert in_aiohttp(ANN, {"user": "ann"}, is_read=False) == ANN
