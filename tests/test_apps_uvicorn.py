"""uvicorn and Starlette from PyPI: the access log and log calls become events."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fslog.collector import Collector
from fslog.mapping.sessions import by_window
from servers import application, serving, without

pytestmark = pytest.mark.slow

START = ("uvicorn", "app:app", "--port", "{port}", "--log-config", "logging.json")
ANN = {"Authorization": "Bearer token-of-ann"}
BOB = {"Authorization": "Bearer token-of-bob"}


def received(collector: Collector) -> list[dict[str, Any]]:
    """Check the derived session IDs; return the events without time and session ID."""
    assert collector.invalid == []
    for event in collector.events:
        session = by_window(event["accountId"], event["userId"], event["createdAt"])
        assert event["sessionId"] == session
    return [without(event, "sessionId") for event in collector.events]


def use(headers: Mapping[str, str], module: str, feature: str, **more: Any) -> dict[str, Any]:
    """Return the expected event of one request."""
    ids = {
        ANN["Authorization"]: {"accountId": "acme", "userId": "ann"},
        BOB["Authorization"]: {"accountId": "globex", "userId": "bob"},
    }[headers["Authorization"]]
    return {**ids, "action": "feature", "module": module, "feature": feature, **more}


def test_requests_become_events(tmp_path: Path) -> None:
    """Each use of a feature is one event, by rule or explicitly, and none is lost at SIGTERM."""
    where = application("starlette_app", tmp_path)
    with Collector() as collector, serving(collector, where, *START) as server:
        assert server.ask("POST", "/reports/export?rows=12", ANN) == 200
        assert server.ask("POST", "/tasks/create", BOB) == 200
        assert server.ask("POST", "/tasks/create") == 403
        assert server.ask("GET", "/board/sort", BOB) == 405
        assert server.ask("POST", "/board/sort?by=date", BOB) == 200
        assert server.ask("POST", "/board/sort") == 403
        assert server.ask("POST", "/nothing", ANN) == 404
        assert server.ask("POST", "/board/filter", ANN) == 200
        server.stop(code=-signal.SIGTERM)
        assert received(collector) == [
            use(ANN, "reports", "export csv", total=12),
            use(BOB, "tasks", "create", priority="high"),
            use(BOB, "board", "sort", status=200),
            use(ANN, "board", "filter", status=200),
        ]


def test_requests_at_the_same_time_keep_their_users(tmp_path: Path) -> None:
    """Each of several concurrent requests in one event loop has its own user."""
    where = application("starlette_app", tmp_path)
    with Collector() as collector, serving(collector, where, *START) as server:

        def export(rows: int) -> int:
            return server.ask("POST", f"/reports/export?rows={rows}", ANN if rows % 2 else BOB)

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(export, range(1, 41))) == {200}
        server.stop(code=-signal.SIGTERM)
        assert sorted(received(collector), key=lambda event: event["total"]) == [
            use(ANN if rows % 2 else BOB, "reports", "export csv", total=rows)
            for rows in range(1, 41)
        ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_two_workers_lose_nothing(number: int, tmp_path: Path) -> None:
    """uvicorn's worker processes deliver pending events when the parent process is stopped."""
    where = application("starlette_app", tmp_path)
    with Collector() as collector, serving(collector, where, *START, "--workers", "2") as server:
        for _ in range(6):
            assert server.ask("POST", "/board/sort", ANN) == 200
        server.stop(number)
        assert received(collector) == [use(ANN, "board", "sort", status=200)] * 6


def test_under_gunicorn_nothing_is_lost(tmp_path: Path) -> None:
    """Under gunicorn, too, which ends them by SIGTERM, uvicorn's workers deliver everything."""
    where = application("starlette_app", tmp_path)
    options = ("--worker-class", "uvicorn.workers.UvicornWorker", "--bind", "127.0.0.1:{port}")
    start = ("gunicorn", "app:app", *options, "--log-config-json", "logging.json")
    with Collector() as collector, serving(collector, where, *start) as server:
        for _ in range(6):
            assert server.ask("POST", "/tasks/create", BOB) == 200
        server.stop()
        assert received(collector) == [use(BOB, "tasks", "create", priority="high")] * 6
