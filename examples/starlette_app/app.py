"""A Starlette application: who is asking is bound once, in a middleware, for all that is logged.

`logging.json` says which log calls are events: lines of uvicorn's access log, and one of the
application's own. One more call says itself what it is.
"""

import asyncio
import logging

from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    SimpleUser,
    requires,
)
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from fslog.integrations.asgi import Identity

log = logging.getLogger("tracker")

TOKENS = {"token-of-ann": ("acme", "ann"), "token-of-bob": ("globex", "bob")}


class User(SimpleUser):
    """Somebody who is known, and the account that they belong to."""

    def __init__(self, account, name):
        super().__init__(name)
        self.account = account


class Tokens(AuthenticationBackend):
    """Know users by their bearer tokens."""

    async def authenticate(self, conn):
        token = conn.headers.get("authorization", "").removeprefix("Bearer ")
        return (AuthCredentials(["user"]), User(*TOKENS[token])) if token in TOKENS else None


def who(scope):
    """Return who is asking: each record of the request is theirs, uvicorn's own included."""
    user = scope["user"]
    if user.is_authenticated:
        return {"accountId": user.account, "userId": user.display_name}


@requires("user")
async def export(request):
    rows = int(request.query_params["rows"])
    await asyncio.sleep(0.01)  # other requests go on meanwhile, each with its own user
    log.info("exported %d rows as %s", rows, "csv")
    return PlainTextResponse(f"{rows} rows\n")


@requires("user")
async def create(request):
    event = {"action": "feature", "module": "tasks", "feature": "create", "priority": "high"}
    log.info("created a task", extra={"event": event})
    return PlainTextResponse("created\n")


@requires("user")
async def board(request):
    return PlainTextResponse("sorted\n")


async def health(request):
    return PlainTextResponse("well\n")


app = Starlette(
    routes=[
        Route("/health", health),
        Route("/reports/export", export, methods=["POST"]),
        Route("/tasks/create", create, methods=["POST"]),
        Route("/board/{feature}", board, methods=["POST"]),
    ],
    middleware=[
        Middleware(AuthenticationMiddleware, backend=Tokens()),
        Middleware(Identity, who=who),
    ],
)
