"""24 requests of ann, nobody and bob, interleaved on threads and tasks that are reused.

Every log call and every access line of a request has its user; nobody's never has one.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fslog import context
from fslog.collector import Collector
from fslog.integrations import asgi, wsgi
from servers import DEADLINE, ask, serving
from users import (
    CALLS,
    USERS,
    USERS_OF_24,
    ask_24,
    ask_24_in_turn,
    pipeline_24,
    stop,
    users,
)

# Servers as these tests imitate them.


@pytest.fixture
def seen() -> Iterator[list[tuple[str | None, Any]]]:
    """Yield an empty list of pairs: the user of a request, and the user bound during it."""
    context.clear()
    yield []
    context.clear()


def bound_user() -> Any:
    return dict(context.current()).get("userId")


def who(request: dict[str, Any]) -> dict[str, str] | None:
    """Return the user of an environ or a scope."""
    return None if request["user"] is None else {"accountId": "acme", "userId": request["user"]}


def unwrapped(application: Any) -> Any:
    return application


def serve_wsgi(
    seen: list[tuple[str | None, Any]], wrap: Callable[[Any], Any], *, binds: bool
) -> None:
    """Serve the requests as gunicorn does: it logs the access line before it closes the body."""

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if binds and (user := who(environ)):
            context.bind(**user)
        seen.append((environ["user"], bound_user()))
        if environ["number"] % 5 == 4:
            raise RuntimeError("the application failed")
        return [b"body"]

    wrapped = wrap(application)

    def serve(number: int) -> None:
        user = USERS[number]
        try:
            body = wrapped({"user": user, "number": number}, None)
        except RuntimeError:
            pass
        else:
            assert list(body) == [b"body"]
            seen.append((user, bound_user()))  # the access line
            getattr(body, "close", lambda: None)()
        if wrap is not unwrapped:
            assert bound_user() is None

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(serve, number) for number in range(len(USERS))]:
            done.result()


@pytest.mark.parametrize("binds", [False, True], ids=["who", "application"])
def test_wsgi_keeps_requests_apart(binds: bool, seen: list[tuple[str | None, Any]]) -> None:
    """The log calls and the access line of a request have its user, whoever binds it."""
    serve_wsgi(seen, lambda app: wsgi.Identity(app, None if binds else who), binds=binds)
    assert len(seen) == 24 + 20
    assert [pair for pair in seen if pair[0] != pair[1]] == []


def test_without_wsgi_identity_a_user_stays_bound_for_the_next_request(
    seen: list[tuple[str | None, Any]],
) -> None:
    """As the guide warns, an anonymous request has the user of an earlier one on its thread."""
    serve_wsgi(seen, unwrapped, binds=True)
    assert {user for user, bound in seen if bound != user} == {None}


def serve_asgi(
    seen: list[tuple[str | None, Any]], wrap: Callable[[Any], Any], *, binds: bool
) -> None:
    """Serve three connections as uvicorn does: a pipelined request inherits the context."""

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if binds and (user := who(scope)):
            context.bind(**user)
        for _ in range(2):
            seen.append((scope["user"], bound_user()))
            await asyncio.sleep(0)
        await send({"type": "http.response.start"})

    wrapped = wrap(application)

    async def serve(users: list[str | None]) -> None:
        user, *others = users
        following = []

        async def send(message: dict[str, Any]) -> None:
            seen.append((user, bound_user()))  # the access line
            if others:
                following.append(asyncio.create_task(serve(others)))

        await wrapped({"type": "http", "user": user}, None, send)
        await asyncio.gather(*following)

    async def main() -> None:
        await asyncio.gather(*(serve(USERS[start : start + 8]) for start in (0, 8, 16)))

    asyncio.run(main())


async def awho(scope: Any) -> Any:
    await asyncio.sleep(0)
    return who(scope)


@pytest.mark.parametrize("who", [who, awho, None])
def test_asgi_keeps_requests_apart(who: Any, seen: list[tuple[str | None, Any]]) -> None:
    """The log calls and the access line of a request have its user, whoever binds it."""
    serve_asgi(seen, lambda app: asgi.Identity(app, who), binds=who is None)
    assert len(seen) == 3 * 24
    assert [pair for pair in seen if pair[0] != pair[1]] == []


def test_without_asgi_identity_a_pipelined_request_inherits_the_user(
    seen: list[tuple[str | None, Any]],
) -> None:
    """As the guide warns, a pipelined request inherits the context of the previous request."""
    serve_asgi(seen, unwrapped, binds=True)
    assert {user for user, bound in seen if bound != user} == {None}


# Servers from PyPI, with the access log of each.

CONFIG = r"""
import logging.config

LINE = {"action": "feature", "module": "web"}
logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "console": {"class": "logging.StreamHandler"},
            "usage": {
                "class": "fslog.FreshsuccessHandler",
                "rules": [
                    {
                        "when": {"logger": "gunicorn.access", "args.m": "POST"},
                        "event": {**LINE, "feature": "{args.U}"},
                    },
                    {
                        "when": {"logger": "uvicorn.access", "args.1": "POST"},
                        "event": {**LINE, "feature": "{args.2}"},
                    },
                    {
                        "when": {"logger": "django.server", "args.0": r"/^POST (?P<path>\S+) /"},
                        "event": {**LINE, "feature": "{path}"},
                    },
                    {
                        "when": {
                            "logger": "aiohttp.access",
                            "first_request_line": r"/^(POST|UNKNOWN) (?P<path>[^ ?]+)/",
                        },
                        "event": {**LINE, "feature": "{path}"},
                    },
                ],
            },
        },
        "root": {"handlers": ["console", "usage"], "level": "INFO"},
        "loggers": {
            name: {"handlers": ["console", "usage"], "propagate": False}
            for name in ("gunicorn.access", "uvicorn.access", "django.server")
        },
    }
)
"""

WSGI = f"""
{CALLS}
from fslog.integrations.wsgi import Identity


def who(environ):
    user = environ.get("HTTP_X_USER")
    return {{"accountId": "acme", "userId": user}} if user else None


def app(environ, start_response):
    if environ["REQUEST_METHOD"] == "POST":
        use(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]


application = Identity(app, who)
"""

FLASK = f"""
{CALLS}
from flask import Flask, request

from fslog.integrations.flask import identify

application = Flask("shop")


def who(request):
    return {{"accountId": "acme", "userId": request.headers.get("X-User")}}


identify(application, who)


@application.route("/<path:path>", methods=["GET", "POST"])
def answer(path):
    if request.method == "POST":
        use(request.path)
    return ""
"""

DJANGO = f"""
{CALLS}
import os
from types import SimpleNamespace

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import re_path
from django.utils.asyncio import async_unsafe

import fslog

DEBUG = False
SECRET_KEY = "only for this test"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "app"
LOGGING_CONFIG = None
WSGI_APPLICATION = "app.application"
USE_TZ = True
MIDDLEWARE = ["app.authenticate", "fslog.integrations.django.IdentityMiddleware"]
FSLOG_IDENTITY = {{"accountId": "user.account_id", "userId": "user.pk"}}


class User:
    def __init__(self, name):
        self.name = name
        if name is not None:
            self.account_id = "acme"

    @property
    @async_unsafe("a query is not allowed in an event loop")
    def pk(self):
        return self.name


def authenticate(get_response):
    # It is synchronous: under ASGI it runs in a thread, and what is below it in the event loop.
    def middleware(request):
        use(request.path)  # not an event: the user is not known yet
        request.user = User(request.headers.get("X-User"))
        return get_response(request)

    return middleware


def answer(request):
    if request.method == "POST":
        use(request.path)
    return HttpResponse()


async def answer_async(request):
    return answer(request)


urlpatterns = [re_path("", answer)]
os.environ["DJANGO_SETTINGS_MODULE"] = "app"
"""

FOR_WSGI = "\nif __name__ == 'app':\n    application = get_wsgi_application()\n"

FOR_ASGI = """
from fslog.integrations.asgi import Identity

django_app = Identity(get_asgi_application())


async def app(scope, receive, send):
    # Without a lifespan in Django, so that pending events are flushed.
    if scope["type"] != "lifespan":
        return await django_app(scope, receive, send)
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await fslog.aflush()
    await send({"type": "lifespan.shutdown.complete"})
"""

ASYNC_CAPABLE = """
from django.utils.decorators import sync_and_async_middleware
from asgiref.sync import iscoroutinefunction

synchronous = authenticate


@sync_and_async_middleware
def authenticate(get_response):
    async def middleware(request):
        use(request.path)
        request.user = User(request.headers.get("X-User"))
        return await get_response(request)

    return middleware if iscoroutinefunction(get_response) else synchronous(get_response)
"""


AIOHTTP = f"""
{CALLS}
import asyncio

from aiohttp import web

from fslog.integrations.aiohttp import identity


async def who(request):
    await asyncio.sleep(0)
    return {{"accountId": "acme", "userId": request.headers.get("X-User")}}


async def answer(request):
    if request.method == "POST":
        use(request.path)
        await asyncio.sleep(0)
        if request.query_string == "fail":
            raise RuntimeError("the application failed")
    return web.Response()


def make(arguments):
    app = web.Application(middlewares=[identity(who)])
    app.router.add_route("*", "/{{path:.*}}", answer)
    return app
"""


def files(where: Path, app: str) -> None:
    """Write the application and its logging configuration."""
    (where / "app.py").write_text(f"import config\n{app}", encoding="utf-8")
    (where / "config.py").write_text(CONFIG, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "app",
    [WSGI, pytest.param(FLASK, marks=pytest.mark.needs("flask>=3")), DJANGO + FOR_WSGI],
    ids=["wsgi", "flask", "django"],
)
@pytest.mark.parametrize("worker", ["sync", "gthread"])
def test_gunicorn(worker: str, app: str, tmp_path: Path) -> None:
    """Under gunicorn, threads serve one request after the other."""
    files(tmp_path, app)
    options = ("--bind", "127.0.0.1:{port}", "--worker-class", worker, "--threads", "3")
    command = ("gunicorn", *options, "--access-logfile", "-", "app:application")
    with Collector() as collector, serving(collector, tmp_path, *command) as server:
        ask_24(server)
        stop(server, 0)
        assert users(collector) == (USERS_OF_24, USERS_OF_24)


@pytest.mark.slow
@pytest.mark.parametrize(
    "app",
    [DJANGO, DJANGO.replace("answer)]", "answer_async)]"), DJANGO + ASYNC_CAPABLE],
    ids=["synchronous", "asynchronous view", "asynchronous middleware"],
)
def test_django_under_uvicorn(app: str, tmp_path: Path) -> None:
    """Views and middlewares of either kind have the user, pipelined or not."""
    files(tmp_path, app + FOR_ASGI)
    command = ("uvicorn", "app:app", "--port", "{port}")
    with Collector() as collector, serving(collector, tmp_path, *command) as server:
        ask_24(server)
        pipeline_24(server)
        stop(server, -signal.SIGTERM)
        twice = {pair: 2 * count for pair, count in USERS_OF_24.items()}
        assert users(collector) == (twice, twice)


@pytest.mark.slow
def test_djangos_development_server(tmp_path: Path) -> None:
    """Under `runserver` a thread serves all requests of a connection."""
    files(tmp_path, DJANGO + FOR_WSGI)
    command = (
        "django",
        "runserver",
        "--noreload",
        "{port}",
        "--settings",
        "app",
        "--pythonpath",
        ".",
    )
    with Collector() as collector, serving(collector, tmp_path, *command) as server:
        with contextlib.closing(server.connect()) as connection:
            ask_24_in_turn(connection)
        server.until(lambda: server.written("err").count('"POST /reports/') == 24)
        server.send(signal.SIGINT)
        server.end(60)
        assert users(collector) == (USERS_OF_24, USERS_OF_24)


@pytest.mark.slow
@pytest.mark.needs("aiohttp>=3.8")
def test_aiohttp(tmp_path: Path) -> None:
    """Each request of a connection has its own user, and a malformed one after it has none."""
    files(tmp_path, AIOHTTP)
    command = ("aiohttp.web", "-H", "127.0.0.1", "-P", "{port}", "app:make")
    with Collector() as collector, serving(collector, tmp_path, *command) as server:
        ask_24(server)
        pipeline_24(server)
        with contextlib.closing(server.connect()) as connection:
            ask_24_in_turn(connection)
            assert ask(connection, "POST", "/reports/ann?fail", {"X-User": "ann"}) == 500
        with contextlib.closing(server.connect()) as connection:
            assert ask(connection, "POST", "/reports/ann", {"X-User": "ann"}) == 200
            connection.sock.sendall(b"no request\r\n\r\n")
            assert connection.sock.recv(65536).startswith(b"HTTP/1.0 400 ")
        server.until(lambda: '"UNKNOWN / HTTP/1.0" 400' in server.written("err"))
        server.send(signal.SIGTERM)
        assert server.end(DEADLINE).code == 0
        expected = {("ann", "ann"): 26, ("bob", "bob"): 24}
        assert users(collector) == (expected, expected)
