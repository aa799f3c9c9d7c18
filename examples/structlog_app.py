"""structlog, in Flask under gunicorn: what structlog binds is the event's, too.

pip install structlog flask gunicorn freshsuccess-logging
gunicorn --bind 127.0.0.1:8000 structlog_app:app
"""

import logging

import structlog
from flask import Flask, request

from fslog import FreshsuccessHandler

structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
)
console = logging.StreamHandler()
console.setFormatter(structlog.stdlib.ProcessorFormatter(processor=structlog.dev.ConsoleRenderer()))
usage = FreshsuccessHandler(nested=["message"])  # where structlog passes an event on
logging.basicConfig(level="INFO", handlers=[console, usage])
log = structlog.get_logger("app")
app = Flask(__name__)


@app.before_request
def bind():
    structlog.contextvars.clear_contextvars()
    # The proxy that authenticates users sets these headers.
    user = {"accountId": request.headers.get("X-Account"), "userId": request.headers.get("X-User")}
    structlog.contextvars.bind_contextvars(**user)


@app.post("/reports/export")
def export():
    rows = int(request.args["rows"])
    log.info("exported", action="feature", module="reports", feature="export", rows=rows)
    return "exported\n"


@app.post("/reports/leave")
def leave():
    milliseconds = int(request.args["seconds"]) * 1000
    log.info("left", action="moduleEnd", module="reports", timeSpent=milliseconds)
    return "left\n"


@app.post("/wiki/<feature>")
def wiki(feature):
    log.info("used the wiki", action="feature", module="wiki", feature=feature)
    return f"{feature}\n"
