"""From records to events with real servers: `fslog record`, `suggest`, `check`, `run`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from checking import write
from fslog.collector import Collector
from readme_blocks import environment
from servers import DEADLINE, Server, settings_for

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("person")]

FSLOG = [sys.executable, "-m", "fslog"]

DJANGO = """
    import logging
    import sys

    from django.conf import settings

    settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="s3cret-of-django")

    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    class User:
        def __init__(self, name):
            self.id = name
            self.password = "hunter2"

    class Tenant:
        def __init__(self):
            self.slug = "acme"

    log = logging.getLogger("shop.reports")

    def share(request, number):
        request.user, request.tenant = User(request.headers["X-User"]), Tenant()
        log.info("shared report %s", number, extra={"request": request})
        return HttpResponse("ok")

    urlpatterns = [
        path("health", lambda request: HttpResponse("ok")),
        path("reports/<int:number>/share", share),
    ]
    application = get_wsgi_application()
    """

WHO = {"X-Account": "acme", "Authorization": "Bearer hunter2", "Cookie": "sessionid=hunter2"}


def used(server: Server) -> None:
    """Make requests of two users, and end the server by SIGTERM."""
    server.until(lambda: server.is_ready({}))
    for number in range(6):
        user = ("ann", "bob")[number % 2]
        path = f"/reports/{number}/share?token=hunter2"
        assert server.ask("POST", path, {**WHO, "X-User": user}) == 200
    server.send(signal.SIGTERM)
    server.end(DEADLINE)


def fslog(*arguments: str, code: int = 0) -> str:
    """Run a command of fslog in a process of its own, and return what it prints."""
    done = subprocess.run([*FSLOG, *arguments], env=environment({}), capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_django_under_gunicorn(tmp_path: Path) -> None:
    """What is proposed for an unchanged application, started as it is, makes its events."""
    write("app.py", DJANGO)
    gunicorn = [sys.executable, "-m", "gunicorn", "--access-logfile", "-", "-w", "2"]
    command = [*gunicorn, "--bind", "127.0.0.1:{port}", "app:application"]
    with Server([*FSLOG, "record", "--", *command], tmp_path, {}) as server:
        used(server)
    assert "hunter2" not in Path("records.ndjson").read_text()
    assert "s3cret" not in Path("records.ndjson").read_text()
    Path("usage.yaml").write_text(fslog("suggest", "records.ndjson"))
    with Collector() as collector:
        settings = settings_for(collector, tmp_path)
        with Server(
            [*FSLOG, "run", "--config", "usage.yaml", "--", *command], tmp_path, settings
        ) as server:
            used(server)
        found = {(one["accountId"], one["userId"], one["feature"]) for one in collector.events}
        assert found == {
            ("acme", user, feature)
            for user in ("ann", "bob")
            for feature in ("share", "share report")
        }
        assert len(collector.events) == 12
        assert collector.invalid == []


CELERY = """
    import celery
    from celery.utils.log import get_task_logger

    app = celery.Celery("shop", broker="memory://")
    log = get_task_logger("shop.exports")

    @app.task(ignore_result=True)
    def export(user_id, number):
        log.info("exported %s rows", number, extra={"user_id": user_id, "tenant": "acme"})
        open(f"done-{number}", "w").close()

    if __name__ == "__main__":
        for number in range(20):
            export.delay(("ann", "bob")[number % 2], number)
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        app.worker_main(["worker", "--concurrency", "2", "--pool", "prefork", *quiet])
    """


def test_a_celery_worker(tmp_path: Path) -> None:
    """The loggers of tasks, whose handlers the worker replaces, are recorded in its pool."""
    write("worker.py", CELERY)
    command = [*FSLOG, "record", "--", sys.executable, "worker.py"]
    with Server(command, tmp_path, {}) as worker:
        worker.until(lambda: len(list(tmp_path.glob("done-*"))) == 20)
        worker.send(signal.SIGTERM)
        assert worker.end(DEADLINE).code == 0
    made = json.loads(fslog("suggest", "records.ndjson", "--json"))
    (rule,) = made["rules"]
    assert rule["rule"]["when"] == {"logger": "shop.exports", "message": "exported %s rows"}
    assert made["configuration"]["handlers"]["usage"]["fields"] == {
        "userId": "user_id",
        "accountId": "tenant",
    }
    assert rule["fits"] == 20
    Path("usage.json").write_text(json.dumps(made["configuration"]))
    report = json.loads(fslog("check", "usage.json", "--log", "records.ndjson", "--json"))
    # Three, of each process that did not see what the other one had kept when it began.
    assert 3 <= report["summary"]["results"]["event"] <= 6
