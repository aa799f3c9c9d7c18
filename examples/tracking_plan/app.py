"""Flask with a tracking plan: usage-plan.yaml says which events there are.

pip install flask gunicorn pyyaml freshsuccess-logging
gunicorn --bind 127.0.0.1:8000 --access-logfile - app:app
"""

import logging.config

from flask import Flask, request
from usage import PageEdited, TimeInReports

from fslog.integrations.flask import identify

logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "console": {"class": "logging.StreamHandler"},
            "usage": {"class": "fslog.FreshsuccessHandler", "plan": "usage-plan.yaml"},
        },
        "root": {"handlers": ["console", "usage"], "level": "INFO"},
    }
)
app = Flask(__name__)


def who(request):
    """Return who is acting: the proxy that authenticates users sets these headers."""
    return {"accountId": request.headers.get("X-Account"), "userId": request.headers.get("X-User")}


identify(app, who)


@app.post("/reports/export")
def export():
    rows = int(request.args["rows"])
    app.logger.info("exported %d rows", rows)  # an event by the plan
    return "exported\n"


@app.post("/reports/leave")
def leave():
    milliseconds = int(request.args["seconds"]) * 1000
    event = TimeInReports(action="moduleEnd", module="reports", timeSpent=milliseconds)
    app.logger.info("left", extra={"event": event})
    return "left\n"


@app.post("/wiki/edit")
def edit():
    app.logger.info(
        "edited", extra={"event": PageEdited(action="feature", module="wiki", feature="edit")}
    )
    return "edited\n"
