"""aiohttp.

pip install aiohttp freshsuccess-logging
python aiohttp_app.py
"""

import logging.config

from aiohttp import web

from fslog.integrations.aiohttp import identity

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
    }
)
log = logging.getLogger("app")
routes = web.RouteTableDef()


def who(request):
    """Return who is acting: the proxy that authenticates users sets these headers."""
    return {"accountId": request.headers.get("X-Account"), "userId": request.headers.get("X-User")}


@routes.post("/reports/export")
async def export(request):
    rows = int(request.query["rows"])
    event = {"action": "feature", "module": "reports", "feature": "export", "rows": rows}
    log.info("exported %d rows", rows, extra={"event": event})
    return web.Response()


@routes.post("/wiki/{feature}")
async def wiki(request):
    return web.Response()


app = web.Application(middlewares=[identity(who)])
app.add_routes(routes)
if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=8000)
