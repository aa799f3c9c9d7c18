"""APScheduler: each job binds the user for whom it works.

pip install 'apscheduler<4' freshsuccess-logging
python apscheduler_app.py
"""

import logging.config
from datetime import datetime, timezone

from apscheduler.schedulers.blocking import BlockingScheduler

from fslog import context

logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "console": {"class": "logging.StreamHandler"},
            "usage": {"class": "fslog.FreshsuccessHandler"},
        },
        "root": {"handlers": ["console", "usage"], "level": "INFO"},
    }
)
log = logging.getLogger("app")
SUBSCRIPTIONS = [("acme", "ann", 42), ("globex", "bob", 7)]


def report(account, user, rows):
    with context.bound(accountId=account, userId=user):
        event = {"action": "feature", "module": "reports", "feature": "weekly", "rows": rows}
        log.info("sent a report of %d rows", rows, extra={"event": event})


def clean():
    log.info("cleaned")  # nobody's, and no event


if __name__ == "__main__":
    scheduler = BlockingScheduler(timezone=timezone.utc)
    now = datetime.now(timezone.utc)
    for subscription in SUBSCRIPTIONS:
        scheduler.add_job(report, "interval", subscription, weeks=1, next_run_time=now)
    scheduler.add_job(clean, "interval", hours=1, next_run_time=now)
    scheduler.start()
