"""24 tasks of ann, nobody and bob in real workers, with Redis in between."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from processes import run
from redisserver import ENDS, NEVER, Site, site
from users import CALLS, USERS, USERS_OF_24, users

pytestmark = [pytest.mark.services, pytest.mark.needs("redis-server")]

LOGGING = """
import os

LINE = {"action": "feature", "module": "queue", "feature": "{asked}"}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "console": {"class": "logging.StreamHandler"},
        "usage": {
            "class": "fslog.FreshsuccessHandler",
            "rules": [
                {
                    "when": {
                        "logger": "celery.app.trace",
                        "message": "/^Task /",
                        "args.args": r"/'(?P<asked>\\w+)'/",
                    },
                    "event": LINE,
                },
                {
                    "when": {
                        "logger": "rq.worker",
                        "args.2": "/Job OK/",
                        "args.3": r"/^(?P<asked>[a-z]+)-/",
                    },
                    "event": LINE,
                },
            ],
        },
    },
    "root": {"handlers": ["console", "usage"], "level": "INFO"},
}
"""

CELERY = f"""
{CALLS}
import logging.config
import os

import celery
from celery.signals import setup_logging

from fslog.integrations.celery import identify
from logging_settings import LOGGING

identify()
app = celery.Celery("app", broker=os.environ["REDIS_URL"])
app.conf.broker_connection_retry_on_startup = True


@setup_logging.connect
def configure(**settings):
    logging.config.dictConfig(LOGGING)


@app.task(bind=True, ignore_result=True)
def work(self, asked, then=""):
    use(asked)
    if then == "retry" and not self.request.retries:
        raise self.retry(countdown=0)
    if then == "publish":
        work.delay(asked)
    if then == "fail":
        raise RuntimeError("the task failed")
"""

PUBLISH = f"""
from app import work
from fslog import context

for number, user in enumerate({USERS}):
    ids = {{}} if user is None else {{"accountId": "acme", "userId": user}}
    with context.bound(**ids):
        work.delay(user or "nobody")
        work.delay(user or "nobody", then=["retry", "publish", "fail"][number // 3 % 3])
"""

RQ_TASKS = f"""
{CALLS}
"""

ENQUEUE = f"""
import os

from redis import Redis
from rq import Queue

from fslog import context

with Redis.from_url(os.environ["REDIS_URL"]) as redis:
    queue = Queue(connection=redis, job_class="fslog.integrations.rq.Job")
    for number, user in enumerate({USERS}):
        name = user or "nobody"
        ids = {{}} if user is None else {{"accountId": "acme", "userId": user}}
        with context.bound(**ids):
            queue.enqueue("app.use", name, job_id=f"{{name}}-{{number}}")
"""

RQ_SETTINGS = """
import os

from logging_settings import LOGGING

REDIS_URL = os.environ["REDIS_URL"]
DICT_CONFIG = LOGGING
"""


def publish(at: Site, program: str, files: dict[str, str]) -> None:
    """Run the program that publishes the tasks."""
    settings = {**at.settings(NEVER), "FSLOG_ENABLED": "no"}
    run(program, at.collector.url, flags=[], files=files, settings=settings)


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_celery(pool: str, tmp_path: Path) -> None:
    """Log calls and Celery's own lines have the user, in retries and tasks of tasks too."""
    files = {"app.py": CELERY, "logging_settings.py": LOGGING}
    options = ["--pool", pool, "--concurrency", "2", "--loglevel", "INFO"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    command = ["celery", "--app", "app", "worker", *options, *quiet]
    with site(tmp_path) as at:
        publish(at, PUBLISH, files)
        with at.worker(*command, files=files) as process:
            # 24 and 24, of which 9 are retried and 9 publish another one.
            ends = ("] succeeded in ", "] raised unexpected: ", "] retry: ")
            at.until(process, lambda: sum(map(process.written("err").count, ends)) == 66)
            process.send(signal.SIGTERM)
            assert process.end(ENDS).code == 0
        calls = {("ann", "ann"): 22, ("bob", "bob"): 22}
        lines = dict.fromkeys(calls, 22 - 3)  # "retry" has no arguments of the task
        assert users(at.collector) == (calls, lines)


@pytest.mark.parametrize("worker", ["rq.Worker", "fslog.integrations.rq.SimpleWorker"])
def test_rq(worker: str, tmp_path: Path) -> None:
    """The log calls of a job, and the line "Job OK", have its user."""
    files = {"app.py": RQ_TASKS, "logging_settings.py": LOGGING, "settings.py": RQ_SETTINGS}
    command = ["rq.cli", "worker", "--burst", "--config", "settings"]
    command += ["--worker-class", worker, "--job-class", "fslog.integrations.rq.Job"]
    with site(tmp_path) as at:
        publish(at, ENQUEUE, {})
        with at.worker(*command, files=files) as process:
            assert process.end(60.0).code == 0
        assert users(at.collector) == (USERS_OF_24, USERS_OF_24)
