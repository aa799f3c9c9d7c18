"""loguru, in Starlette under uvicorn: what loguru binds is the event's, too.

pip install loguru starlette uvicorn freshsuccess-logging
uvicorn --port 8000 loguru_app:app
"""

import sys

from loguru import logger
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import Response
from starlette.routing import Route

from fslog import FreshsuccessHandler

usage = FreshsuccessHandler(nested=["extra"])  # where loguru passes an event on
logger.configure(handlers=[{"sink": sys.stderr}, {"sink": usage, "level": "INFO"}])


async def export(request):
    rows = int(request.query_params["rows"])
    event = {"action": "feature", "module": "reports", "feature": "export", "rows": rows}
    logger.bind(**event).info("exported {} rows", rows)
    return Response()


async def wiki(request):
    event = {"action": "feature", "module": "wiki", "feature": request.path_params["feature"]}
    logger.bind(**event).info("used the wiki")
    return Response()


async def bind(request, call_next):
    # The proxy that authenticates users sets these headers. Both are bound even if they are None:
    # a task may begin with what another request has bound.
    account, user = request.headers.get("X-Account"), request.headers.get("X-User")
    with logger.contextualize(accountId=account, userId=user):
        return await call_next(request)


app = Starlette(
    routes=[
        Route("/reports/export", export, methods=["POST"]),
        Route("/wiki/{feature}", wiki, methods=["POST"]),
    ],
    middleware=[Middleware(BaseHTTPMiddleware, dispatch=bind)],
)
