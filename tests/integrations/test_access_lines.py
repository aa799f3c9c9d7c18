"""Access lines of real servers: the same rule makes the same events of each server's requests."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fslog.collector import Collector
from servers import serving, without

pytestmark = pytest.mark.slow

RULE = {
    "preset": "access",
    "methods": "post",
    "path": r"/^/(?P<module>\w+)/(?P<feature>[\w /]+)$/",
    "status": "2xx",
    "event": {
        "action": "feature",
        "module": "{module}",
        "feature": "{feature}",
        "request": "{access.method} {access.path} {access.status}",
        "ip": "{access.ip}",
        "user": "{access.user}",
    },
}

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "usage": {
            "class": "fslog.FreshsuccessHandler",
            "flush_interval": 0.05,
            "rules": [RULE, {**RULE, "when": {"logger": "gevent.access"}}],
            "defaults": {"accountId": "acme", "userId": "ann"},
        },
        # gunicorn names them in sections that it adds.
        "console": {"class": "logging.NullHandler"},
        "error_console": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["usage"], "level": "INFO"},
    "loggers": {
        "gunicorn.access": {"level": "INFO", "propagate": True},
        "granian.access": {"level": "INFO", "propagate": True},
        "django.server": {"level": "INFO", "propagate": True},
    },
}

WSGI = """
def application(environ, start_response):
    status = "404 Not Found" if "missing" in environ["PATH_INFO"] else "200 OK"
    start_response(status, [("Content-Length", "2"), ("Content-Type", "text/plain")])
    return [b"ok"]
"""

ASGI = """
async def application(scope, receive, send):
    while scope["type"] == "lifespan":
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
    status = 404 if "missing" in scope["path"] else 200
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})
"""

HYPERCORN = """
import json, logging

accesslog = logging.getLogger("hypercorn.access")
logconfig_dict = json.load(open("logging.json"))
"""

CONFIGURED = """
import json, logging.config, sys

port = int(sys.argv[1])
logging.config.dictConfig(json.load(open("logging.json")))
"""

AIOHTTP = """
from aiohttp import web

async def handle(request):
    return web.Response(text="ok", status=404 if "missing" in request.path else 200)

app = web.Application()
app.router.add_route("*", "/{path:.*}", handle)
web.run_app(app, host="127.0.0.1", port=port, print=None)
"""

FLASK = """
import flask

app = flask.Flask(__name__)

@app.route("/<path:path>", methods=["GET", "POST"])
def handle(path):
    return "ok", 404 if "missing" in path else 200

app.run(port=port)
"""

DJANGO = """
import django.conf, django.http, django.urls
from django.core.management import execute_from_command_line

def handle(request):
    return django.http.HttpResponse("ok", status=404 if "missing" in request.path else 200)

urlpatterns = [django.urls.re_path("", handle)]
django.conf.settings.configure(
    ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="secret", LOGGING_CONFIG=None
)
execute_from_command_line(["manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"])
"""

WAITRESS = """
import waitress, wsgi
from paste.translogger import TransLogger

app = TransLogger(wsgi.application, setup_console_handler=False)
waitress.serve(app, host="127.0.0.1", port=port)
"""

GEVENT = """
import wsgi
from gevent.pywsgi import WSGIServer

log = logging.getLogger("gevent.access")
WSGIServer(("127.0.0.1", port), wsgi.application, log=log).serve_forever()
"""

TORNADO = """
import asyncio, tornado.web

class Handler(tornado.web.RequestHandler):
    def get(self):
        self.set_status(404 if "missing" in self.request.path else 200)

    post = get

async def main():
    tornado.web.Application([("/.*", Handler)]).listen(port, "127.0.0.1")
    await asyncio.Event().wait()

asyncio.run(main())
"""

CHERRYPY = """
import cherrypy

class Root:
    @cherrypy.expose
    def default(self, *parts, **query):
        if cherrypy.engine.state != cherrypy.engine.states.STARTED:
            raise cherrypy.HTTPError(503)  # it exits by itself if SIGTERM comes before
        if "missing" in parts:
            raise cherrypy.NotFound()
        return "ok"

settings = {"server.socket_port": port, "server.socket_host": "127.0.0.1", "log.screen": False}
cherrypy.config.update({**settings, "engine.autoreload.on": False})
cherrypy.quickstart(Root())
"""

SANIC = """
import json, sys
from sanic import Sanic, text

app = Sanic("app", log_config=json.load(open("logging.json")))

@app.route("/<path:path>", methods=["GET", "POST"])
async def handle(request, path):
    return text("ok", status=404 if "missing" in path else 200)

if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(sys.argv[1]), access_log=True, single_process=True)
"""

FILES = {
    "logging.json": json.dumps(LOGGING),
    "wsgi.py": WSGI,
    "asgi.py": ASGI,
    "hypercorn_conf.py": HYPERCORN,
    "serve_aiohttp.py": CONFIGURED + AIOHTTP,
    "serve_flask.py": CONFIGURED + FLASK,
    "serve_django.py": CONFIGURED + DJANGO,
    "serve_waitress.py": CONFIGURED + WAITRESS,
    "serve_gevent.py": CONFIGURED + GEVENT,
    "serve_tornado.py": CONFIGURED + TORNADO,
    "serve_cherrypy.py": CONFIGURED + CHERRYPY,
    "serve_sanic.py": SANIC,
}


class Case(NamedTuple):
    """One server.

    Args:
        command: a module and its arguments, or a script.
        code: what SIGTERM makes of the server.
        ip, user: whether its access line has them.
        needs: the distribution that must be installed, if the extra `test` does not have it.
    """

    command: tuple[str, ...]
    code: int = 0
    ip: bool = True
    user: bool = False
    needs: str = ""


LOCAL = "127.0.0.1:{port}"
GRANIAN = ("--host", "127.0.0.1", "--port", "{port}", "--access-log", "--log-config")
ON_GUNICORN = ("gunicorn", "--bind", LOCAL, "--log-config-json", "logging.json")
CASES = {
    "gunicorn": Case((*ON_GUNICORN, "wsgi"), user=True),
    "uvicorn": Case(
        ("uvicorn", "--port", "{port}", "--log-config", "logging.json", "asgi:application"),
        code=-signal.SIGTERM,
    ),
    "hypercorn": Case(
        ("hypercorn", "-c", "file:hypercorn_conf.py", "-b", LOCAL, "asgi:application")
    ),
    "granian": Case(
        ("granian", "--interface", "asgi", *GRANIAN, "logging.json", "asgi:application"),
        needs="granian>=2",
    ),
    "granian wsgi": Case(
        ("granian", "--interface", "wsgi", *GRANIAN, "logging.json", "wsgi:application"),
        needs="granian>=2",
    ),
    "aiohttp": Case(("serve_aiohttp.py", "{port}")),
    "werkzeug": Case(("serve_flask.py", "{port}"), code=-signal.SIGTERM),
    "django": Case(("serve_django.py", "{port}"), ip=False, code=-signal.SIGTERM),
    "waitress": Case(("serve_waitress.py", "{port}"), code=-signal.SIGTERM),
    # Not a server that the preset knows: a rule names its logger.
    "gevent": Case(("serve_gevent.py", "{port}"), code=-signal.SIGTERM),
    "tornado": Case(("serve_tornado.py", "{port}"), code=-signal.SIGTERM),
    "cherrypy": Case(("serve_cherrypy.py", "{port}")),
    "sanic": Case(("serve_sanic.py", "{port}"), needs="sanic>=25"),
}


def use(module: str, feature: str, case: Case) -> dict[str, Any]:
    """Return the expected event of one request."""
    ids = {"accountId": "acme", "userId": "ann", "action": "feature"}
    event = {**ids, "module": module, "feature": feature}
    event["request"] = f"POST /{module}/{feature} 200"
    if case.ip:
        event["ip"] = "127.0.0.1"
    if case.user:
        event["user"] = "ann"
    return event


def _marked(server: str) -> Any:
    needs = CASES[server].needs
    return pytest.param(server, marks=[pytest.mark.needs(needs)] * bool(needs))


@pytest.mark.parametrize("server", [_marked(one) for one in CASES])
def test_a_server_s_access_lines_become_events(server: str, tmp_path: Path) -> None:
    """Its successful POSTs, with the decoded path and nothing of the query string."""
    case = CASES[server]
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    basic = {"Authorization": "Basic YW5uOnB3"} if case.user else {}
    with Collector() as collector, serving(collector, tmp_path, *case.command) as running:
        assert running.ask("POST", "/reports/export?token=secret", basic) == 200
        assert running.ask("GET", "/reports/show") == 200
        assert running.ask("POST", "/missing/page") == 404
        assert running.ask("POST", "/caf%C3%A9/two%20words?q=%2F", basic) == 200
        collector.wait_for(2)
        running.stop(code=case.code)
        assert collector.invalid == []
        assert [without(event, "sessionId") for event in collector.events] == [
            use("reports", "export", case),
            use("café", "two words", case),
        ]
