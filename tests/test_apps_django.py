"""Django from PyPI: its own records and the log calls of views become events."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fslog.collector import Collector
from fslog.mapping.sessions import by_window
from processes import Process
from servers import (
    DEADLINE,
    Server,
    application,
    ask,
    serving,
    settings_for,
    without,
)

pytestmark = pytest.mark.slow

HOST = {"Host": "acme.localhost"}
ANN = {**HOST, "X-Remote-User": "ann"}
BOB = {**HOST, "X-Remote-User": "bob", "Host": "globex.localhost"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the application with a migrated database."""
    where = application("django_app", tmp_path_factory.mktemp("project"))
    with Collector() as collector:
        command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        with Process(command, where, settings_for(collector, where)) as process:
            ended = process.end(DEADLINE)
        assert (ended.code, ended.err) == (0, "")
        assert collector.requests == []
    return where


@pytest.fixture
def where(project: Path, tmp_path: Path) -> Path:
    """Return a copy of the application for one test, without users: the first gets the ID 1."""
    return Path(shutil.copytree(project, tmp_path / "django_app"))


@contextlib.contextmanager
def runserver(collector: Collector, where: Path) -> Iterator[Server]:
    """Run Django's development server."""
    command = ["manage.py", "runserver", "--noreload", "{port}"]
    with serving(collector, where, *command, headers=HOST) as server:
        yield server


def received(collector: Collector) -> list[dict[str, Any]]:
    """Check that the session IDs are Django's; return the events without time and session ID."""
    assert collector.invalid == []
    for event in collector.events:
        session = by_window(event["accountId"], event["userId"], event["createdAt"])
        assert event["sessionId"] != session
        assert re.fullmatch("[0-9a-z]{32}", event["sessionId"])
    return [without(event, "sessionId") for event in collector.events]


def did(user: str, account: str, action: str, **more: Any) -> dict[str, Any]:
    """Return the expected event of a user, identified by Django's primary key."""
    return {"accountId": account, "userId": user, "action": action, **more}


def drive(server: Server) -> list[dict[str, Any]]:
    """Send requests to the application; return the expected events in order.

    One more event is invalid and reported, not sent: its request has no logged-in user.
    """
    assert server.ask("POST", "/reports/export?rows=12", ANN) == 200
    assert server.ask("POST", "/tasks/create", BOB) == 200
    assert server.ask("POST", "/wiki/edit", ANN) == 200
    assert server.ask("POST", "/wiki/edit", HOST) == 200
    assert server.ask("POST", "/tasks/create", HOST) == 302
    assert server.ask("GET", "/nothing", HOST) == 404
    assert server.ask("GET", "/nothing", BOB) == 404
    assert server.ask("GET", "/wiki/search", ANN) == 405
    assert server.ask("POST", "/wiki/search", BOB) == 200
    return [
        did("1", "acme", "feature", module="reports", feature="export", total=12),
        did("2", "globex", "feature", module="tasks", feature="create", priority="high"),
        did("1", "acme", "feature", module="wiki", feature="edit"),
        did("2", "globex", "errorPage", status=404, method="GET", path="/nothing"),
        did("1", "acme", "errorPage", status=405, method="GET", path="/wiki/search"),
        did("2", "globex", "feature", module="wiki", feature="search"),
    ]


def test_runserver(where: Path) -> None:
    """Under `runserver` the logs of views, requests and the server become events, in order."""
    with Collector() as collector, runserver(collector, where) as server:
        expected = drive(server)
        # The server logs after it responds, and Ctrl-C does not wait for the thread that logs.
        server.until(lambda: '"POST /wiki/search HTTP/1.1" 200' in server.written("err"))
        server.stop(signal.SIGINT, notices=1)
        assert received(collector) == expected


def test_users_who_share_a_connection(where: Path) -> None:
    """The next request in the same thread does not inherit the user that a request bound."""
    with Collector() as collector, runserver(collector, where) as server:
        with contextlib.closing(server.connect()) as connection:
            for headers in (ANN, BOB, HOST, ANN):
                assert ask(connection, "POST", "/wiki/edit", headers) == 200
        server.until(lambda: server.written("err").count('"POST /wiki/edit HTTP/1.1"') == 4)
        server.stop(signal.SIGINT, notices=1)
        edit = {"module": "wiki", "feature": "edit"}
        assert received(collector) == [
            did("1", "acme", "feature", **edit),
            did("2", "globex", "feature", **edit),
            did("1", "acme", "feature", **edit),
        ]


@pytest.mark.parametrize("preload", [[], ["--preload"]])
def test_under_gunicorn(where: Path, preload: list[str]) -> None:
    """Under gunicorn the same settings make the same events, and none is lost at SIGTERM."""
    command = ["gunicorn", "wsgi", "--bind", "127.0.0.1:{port}", "--access-logfile", "-"]
    with (
        Collector() as collector,
        serving(collector, where, *command, *preload, headers=HOST) as server,
    ):
        expected = drive(server)
        server.stop(signal.SIGTERM, notices=1)
        assert received(collector) == expected
