"""gunicorn from PyPI: a logging configuration makes events of its access log."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import runpy
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fslog.collector import Collector
from fslog.mapping.sessions import by_window
from processes import Process
from readme_blocks import ROOT
from servers import DEADLINE, Server, application, serving, settings_for, without

pytestmark = pytest.mark.slow

PASSWORDS = {"ann": "wonder", "bob": "builder"}
BOOTED = re.compile(r"Booting worker with pid: (\d+)")


def of(user: str, account: str | None, password: str | None = None) -> dict[str, str]:
    """Return the headers of a user's request as a reverse proxy would forward them."""
    name = f"{user}:{PASSWORDS[user] if password is None else password}"
    headers = {"Authorization": f"Basic {base64.b64encode(name.encode()).decode()}"}
    return headers if account is None else {**headers, "X-Account": account}


def as_file(where: Path) -> list[str]:
    """Use `gunicorn.conf.py`, which gunicorn loads by default."""
    return []


def preloaded(where: Path) -> list[str]:
    """Load the application before the workers are forked."""
    return ["--preload"]


def as_json(where: Path) -> list[str]:
    """Write the logging configuration to a JSON file, and pass the other settings as arguments."""
    conf = where / "gunicorn.conf.py"
    logconfig = runpy.run_path(str(conf))["logconfig_dict"]
    conf.unlink()
    (where / "logging.json").write_text(json.dumps(logconfig), encoding="utf-8")
    return ["--log-config-json", "logging.json", "--workers", "2", "app:application"]


@contextlib.contextmanager
def gunicorn(collector: Collector, where: Path, *arguments: str) -> Iterator[Server]:
    """Run gunicorn with the application, and wait until both workers have started."""
    bind = ["--bind", "127.0.0.1:{port}"]
    with serving(collector, where, "gunicorn", *bind, *arguments) as server:
        server.until(lambda: len(workers(server)) == 2)
        yield server


def workers(server: Server) -> list[int]:
    """Return the process IDs of all workers that have started so far."""
    return [int(pid) for pid in BOOTED.findall(server.written("err"))]


@contextlib.contextmanager
def paused(server: Server, pid: int) -> Iterator[None]:
    """Stop one worker with SIGSTOP, so that the other one serves the requests."""
    stat = Path(f"/proc/{pid}/stat")
    os.kill(pid, signal.SIGSTOP)
    try:
        server.until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def use(user: str, account: str, module: str, feature: str, **more: Any) -> dict[str, Any]:
    """Return the expected event of one request."""
    ids = {"accountId": account, "userId": user}
    return {**ids, "action": "feature", "module": module, "feature": feature, **more}


def received(collector: Collector) -> list[dict[str, Any]]:
    """Check the properties that vary between runs; return the events without them."""
    assert collector.invalid == []
    found = []
    for event in collector.events:
        session = by_window(event["accountId"], event["userId"], event["createdAt"])
        assert event["sessionId"] == session
        assert abs(event["createdAt"] / 1000 - time.time()) < DEADLINE
        if event["module"] != "reports":
            assert type(event.pop("milliseconds")) is int
        found.append(without(event, "sessionId"))
    return found


def in_order(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events in an order that does not depend on which worker sent them first."""
    return sorted(events, key=lambda event: sorted(event.items()))


@pytest.mark.parametrize("configured", [as_file, preloaded, as_json])
def test_the_access_log_becomes_events(
    configured: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """Each use of a feature is one event, from either worker, and none is lost at SIGTERM."""
    where = application("gunicorn_app", tmp_path)
    with Collector() as collector, gunicorn(collector, where, *configured(where)) as server:
        one, other = workers(server)
        with paused(server, other):
            assert server.ask("POST", "/board/sort?by=date", of("ann", "acme")) == 200
            assert server.ask("GET", "/reports/week.csv", of("bob", "globex")) == 200
            assert server.ask("GET", "/board/show", of("ann", "acme")) == 200
            assert server.ask("POST", "/board/sort", of("ann", "acme", "wrong")) == 401
            assert server.ask("POST", "/board/sort") == 401
            assert server.ask("POST", "/board/nothing", of("ann", "acme")) == 404
        with paused(server, one):
            assert server.ask("POST", "/help/search", {"X-Account": "acme"}) == 200
            assert server.ask("POST", "/help/search", of("bob", "globex")) == 200
            assert server.ask("POST", "/board/sort", of("ann", "initech")) == 200
            assert server.ask("POST", "/tasks/create", of("bob", "globex")) == 200
        ended = server.stop()
        for pid in (one, other):
            assert re.search(rf'\[{pid}\] .* "POST /\w+/\w+', ended.err)
        assert in_order(received(collector)) == in_order(
            [
                use("ann", "acme", "board", "sort"),
                use("bob", "globex", "reports", "export csv"),
                use("ann", "initech", "board", "sort"),
                use("bob", "globex", "help", "search"),
                use("bob", "globex", "tasks", "create"),
            ]
        )


def test_a_request_without_an_account_is_reported(tmp_path: Path) -> None:
    """An event without a required property is not sent, and gunicorn's log names the property."""
    where = application("gunicorn_app", tmp_path)
    with Collector() as collector, gunicorn(collector, where) as server:
        assert server.ask("POST", "/board/sort", of("ann", None)) == 200
        ended = server.stop(notices=1)
        assert collector.events == []
        assert collector.invalid == []
    said = [line for line in ended.err.splitlines() if "accountId is missing" in line]
    assert len(said) == 1
    assert "[WARNING] event from gunicorn.access (glogging.py:" in said[0]


def test_a_reload_loses_nothing(tmp_path: Path) -> None:
    """SIGHUP configures logging again and replaces the workers, and every event arrives."""
    where = application("gunicorn_app", tmp_path)
    with Collector() as collector, gunicorn(collector, where) as server:
        for _ in range(3):
            assert server.ask("POST", "/board/sort", of("ann", "acme")) == 200
        before = workers(server)
        server.send(signal.SIGHUP)
        server.until(lambda: server.written("err").count("Worker exiting") == 2)
        server.until(lambda: len(workers(server)) == 4)
        for _ in range(3):
            assert server.ask("POST", "/tasks/create", of("bob", "globex")) == 200
        ended = server.stop()
        served = re.findall(r"\[(\d+)\] .* \"POST /tasks/create", ended.err)
        assert not set(map(int, served)) & set(before)
        assert received(collector) == [
            *[use("ann", "acme", "board", "sort")] * 3,
            *[use("bob", "globex", "tasks", "create")] * 3,
        ]


def test_an_invalid_rule_is_reported_at_startup(tmp_path: Path) -> None:
    """gunicorn does not start with an invalid rule; `fslog check` reports the error in the rule."""
    where = application("gunicorn_app", tmp_path)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    conf = where / "gunicorn.conf.py"
    conf.write_text(conf.read_text().replace('"{feature}"', '"{feature"'), encoding="utf-8")
    with Collector() as collector:
        settings = settings_for(collector, where)
        with Process([sys.executable, "-m", "gunicorn"], where, settings) as process:
            ended = process.end(DEADLINE)
        assert ended.code == 1
        # gunicorn prints only this message if a handler cannot be created, without the cause.
        assert ended.err.strip() == "Error: Unable to configure handler 'freshsuccess'"
        assert "fslog check gunicorn.conf.py" in readme
        check = [sys.executable, "-m", "fslog", "check", "gunicorn.conf.py"]
        with Process(check, where, settings) as process:
            ended = process.end(DEADLINE)
    assert ended.code == 1
    said = " ".join((ended.out + ended.err).split())
    assert "rules[0]: event.feature: '{feature' has a single '{'" in said
