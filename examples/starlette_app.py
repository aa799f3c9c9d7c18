"""Starlette under uvicorn, with users who are authenticated by their tokens.

pip install starlette uvicorn freshsuccess-logging
uvicorn --port 8000 starlette_app:app
"""

import logging.config

from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.responses import Response
from starlette.routing import Route

from fslog.integrations.asgi import Identity

# Events of the access log, without a log call: POST /wiki/edit uses the feature edit.
WIKI = {"preset": "access", "methods": ["POST"], "path": r"/^/(?P<module>wiki)/(?P<feature>\w+)$/"}

logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "console": {"class": "logging.StreamHandler"},
            "usage": {"class": "fslog.FreshsuccessHandler", "rules": [WIKI]},
        },
        "root": {"handlers": ["console", "usage"], "level": "INFO"},
        "loggers": {name: {"propagate": True} for name in ("uvicorn", "uvicorn.access")},
    }
)
USERS = {"token-of-ann": "ann", "token-of-bob": "bob"}
ACCOUNTS = {"ann": "acme", "bob": "globex"}


class Tokens(AuthenticationBackend):
    async def authenticate(self, conn):
        token = conn.headers.get("Authorization", "").removeprefix("Bearer ")
        return (AuthCredentials(), SimpleUser(USERS[token])) if token in USERS else None


def who(scope):
    name = scope["user"].display_name  # "" for nobody
    return {"accountId": ACCOUNTS[name], "userId": name} if name else None


async def export(request):
    rows = int(request.query_params["rows"])
    event = {"action": "feature", "module": "reports", "feature": "export", "rows": rows}
    logging.getLogger("app").info("exported %d rows", rows, extra={"event": event})
    return Response()


wiki = Response()  # a response is an ASGI application
app = Starlette(
    routes=[Route("/reports/export", export, methods=["POST"]), Route("/wiki/{feature}", wiki)],
    middleware=[Middleware(AuthenticationMiddleware, Tokens()), Middleware(Identity, who)],
)
