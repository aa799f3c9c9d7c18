"""Tornado.

pip install tornado freshsuccess-logging
python tornado_app.py
"""

import asyncio
import logging.config

import tornado.web

from fslog import context

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


class Handler(tornado.web.RequestHandler):
    def prepare(self):
        context.renew()
        # The proxy that authenticates users sets these headers.
        user = {"accountId": "X-Account", "userId": "X-User"}
        headers = self.request.headers
        context.bind(**{key: headers[name] for key, name in user.items() if name in headers})


class Export(Handler):
    async def post(self):
        rows = int(self.get_argument("rows"))
        event = {"action": "feature", "module": "reports", "feature": "export", "rows": rows}
        log.info("exported %d rows", rows, extra={"event": event})


class Wiki(Handler):
    async def post(self): ...


async def main():
    app = tornado.web.Application([("/reports/export", Export), (r"/wiki/\w+", Wiki)])
    app.listen(8000, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
