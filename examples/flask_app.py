"""Flask under gunicorn, with sync workers or with threads.

pip install flask gunicorn freshsuccess-logging
gunicorn --bind 127.0.0.1:8000 --access-logfile - flask_app:app
gunicorn --bind 127.0.0.1:8000 --access-logfile - --threads 4 flask_app:app
"""

import logging.config

from flask import Flask, request

from fslog.integrations.flask import identify

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
        "loggers": {"gunicorn.access": {"propagate": True}},  # gunicorn sets it to False
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
    event = {"action": "feature", "module": "reports", "feature": "export", "rows": rows}
    app.logger.info("exported %d rows", rows, extra={"event": event})
    return "exported\n"


@app.post("/reports/leave")
def leave():
    milliseconds = int(request.args["seconds"]) * 1000
    event = {"action": "moduleEnd", "module": "reports", "timeSpent": milliseconds}
    app.logger.info("left", extra={"event": event})
    return "left\n"


@app.post("/wiki/<feature>")
def wiki(feature):
    return f"{feature}\n"
