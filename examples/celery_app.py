"""Celery's prefork pool, with Redis: tasks have the user who was bound when they were published.

pip install 'celery[redis]' freshsuccess-logging
celery --app celery_app worker --concurrency 2
python celery_app.py
"""

import logging.config

from celery import Celery
from celery.signals import setup_logging

from fslog import context
from fslog.integrations.celery import identify

app = Celery("celery_app", broker="redis://127.0.0.1:6379/0")
app.conf.task_ignore_result = True
identify()
log = logging.getLogger("app")

# Events of Celery's own lines, without a log call: the task wiki.edit uses the feature edit.
WIKI = {"preset": "celery", "task": r"/^(?P<module>wiki)\.(?P<feature>\w+)$/"}


@setup_logging.connect  # else the worker replaces the configuration
def configure(**options):
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {
                "console": {"class": "logging.StreamHandler"},
                # A spool keeps the events of a process of the pool that is killed.
                "usage": {"class": "fslog.FreshsuccessHandler", "rules": [WIKI], "spool": "spool"},
            },
            "root": {"handlers": ["console", "usage"], "level": "INFO"},
        }
    )


@app.task(name="reports.export")
def export(rows):
    event = {"action": "feature", "module": "reports", "feature": "export", "rows": rows}
    log.info("exported %d rows", rows, extra={"event": event})


@app.task(name="wiki.edit")
def edit(): ...


if __name__ == "__main__":  # as a web application does in requests
    for account, user, rows in [("acme", "ann", 42), ("globex", "bob", 7)]:
        with context.bound(accountId=account, userId=user):
            export.delay(rows)
            edit.delay()
    edit.delay()  # nobody's
