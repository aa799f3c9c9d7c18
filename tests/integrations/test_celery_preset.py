"""A real Celery worker, whose tasks are events by the preset `celery`, without a server."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from fslog.collector import Collector
from processes import Process
from servers import DEADLINE, settings_for, without

pytestmark = pytest.mark.slow

APP = """
import json
import logging.config

import celery
from celery.signals import setup_logging
from fslog.integrations.celery import identify

identify()
app = celery.Celery("app", broker="filesystem://")
app.conf.broker_transport_options = {
    name: "queue" for name in ("data_folder_in", "data_folder_out", "control_folder")
}

@setup_logging.connect
def configure(**settings):
    logging.config.dictConfig(json.load(open("logging.json")))

@app.task(name="reports.tasks.export", ignore_result=True)
def export(secret):
    return secret

@app.task(bind=True, name="reports.tasks.share", ignore_result=True)
def share(self, secret):
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    raise RuntimeError(secret)
"""

PUBLISH = """
import app
from fslog import context

for user in ("ann", "bob"):
    with context.bound(accountId="acme", userId=user):
        app.export.delay("secret")
        app.share.delay("secret")
"""

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "usage": {
            "class": "fslog.FreshsuccessHandler",
            "flush_interval": 0.05,
            "rules": [
                {
                    "preset": "celery",
                    "task": r"/^(?P<module>\w+)\.tasks\.(?P<feature>\w+)$/",
                },
                {
                    "preset": "celery",
                    "state": "failed",
                    "event": {"action": "failed", "task": "{task.name}"},
                },
            ],
        },
    },
    "root": {"handlers": ["usage"], "level": "INFO"},
}


def test_tasks_of_a_worker_are_events(tmp_path: Path) -> None:
    """A task that succeeds or fails is one event of its user; a retry is none."""
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    (tmp_path / "publish.py").write_text(PUBLISH, encoding="utf-8")
    (tmp_path / "logging.json").write_text(json.dumps(LOGGING), encoding="utf-8")
    (tmp_path / "queue").mkdir()
    worker = ["-m", "celery", "--app", "app", "worker", "--concurrency", "1", "--loglevel", "INFO"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    with Collector() as collector:
        settings = settings_for(collector, tmp_path)
        with Process([sys.executable, "publish.py"], tmp_path, settings) as process:
            ended = process.end(DEADLINE)
        assert ended.code == 0, ended.err
        with Process([sys.executable, *worker, *quiet], tmp_path, settings):
            collector.wait_for(4, timeout=DEADLINE)
    assert collector.invalid == []
    found = [without(event, "sessionId") for event in collector.events]
    expected = [
        {**event, "accountId": "acme", "userId": user}
        for user in ("ann", "bob")
        for event in (
            {"action": "feature", "module": "reports", "feature": "export"},
            {"action": "failed", "task": "reports.tasks.share"},
        )
    ]
    assert len(found) == len(expected)
    assert all(event in found for event in expected), found
