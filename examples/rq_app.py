"""RQ: jobs have the user who was bound when they were queued.

pip install rq freshsuccess-logging
rq worker --config rq_app --job-class fslog.integrations.rq.Job
python rq_app.py
"""

import logging

from redis import Redis
from rq import Queue

from fslog import context

REDIS_URL = "redis://127.0.0.1:6379/0"
DICT_CONFIG = {  # the worker's, whose work horses inherit it
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "console": {"class": "logging.StreamHandler"},
        # A work horse ends before an answer can arrive: the worker sends what it has logged.
        "usage": {"class": "fslog.FreshsuccessHandler", "spool": "spool"},
    },
    "root": {"handlers": ["console", "usage"], "level": "INFO"},
}
log = logging.getLogger("app")


def export(rows):
    event = {"action": "feature", "module": "reports", "feature": "export", "rows": rows}
    log.info("exported %d rows", rows, extra={"event": event})


def leave(seconds):
    event = {"action": "moduleEnd", "module": "reports", "timeSpent": seconds * 1000}
    log.info("left", extra={"event": event})


if __name__ == "__main__":  # as a web application does in requests
    with Redis.from_url(REDIS_URL) as redis:
        queue = Queue(connection=redis, job_class="fslog.integrations.rq.Job")
        with context.bound(accountId="acme", userId="ann"):
            queue.enqueue("rq_app.export", 42)
        queue.enqueue("rq_app.export", 1)  # nobody's: no event
        with context.bound(accountId="globex", userId="bob"):
            queue.enqueue("rq_app.export", 7)
            queue.enqueue("rq_app.leave", 90)
