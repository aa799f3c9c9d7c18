"""`gunicorn --preload --max-requests` under load, with a spool: each answered request counts."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fslog.collector import Answer, Collector
from processes import COUNTED, KEYS, numbers
from servers import Server, settings_for

pytestmark = pytest.mark.slow

APP = """
    import logging.config
    from counted import say

    # The master loads this, before it forks any worker.
    logging.config.dictConfig({
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "console": {"class": "logging.StreamHandler"},
            "usage": {"class": "fslog.FreshsuccessHandler", "max_backoff": 1},
        },
        "loggers": {
            "app": {"handlers": ["usage"], "level": "INFO"},
            "fslog": {"handlers": ["console"], "level": "INFO"},
        },
    })

    def app(environ, start_response):
        say(int(environ["QUERY_STRING"]), source="request")
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
    """

GUNICORN = (
    *(sys.executable, "-X", "faulthandler", "-m", "gunicorn", "--bind", "127.0.0.1:{port}"),
    *("--preload", "--workers", "3", "--max-requests", "20", "--max-requests-jitter", "10"),
    *("--no-control-socket", "app:app"),
)
CLIENTS = 6
REQUESTS = 400
WORKERS_AT_LEAST = REQUESTS // 30
BOOTED = re.compile(r"Booting worker with pid: (\d+)")


def _well(collector: Collector) -> None:
    """Do not change the endpoint."""


def _down(collector: Collector) -> None:
    """Make the endpoint refuse everything until it is changed."""
    collector.always(Answer(503))


def _forgetful(collector: Collector) -> None:
    """Make the endpoint refuse every third POST."""
    collector.script(*[Answer(), Answer(), Answer(503)] * 100)


@pytest.mark.parametrize("at_first", [_well, _down, _forgetful])
def test_each_request_of_recycled_workers_arrives_once(
    at_first: Callable[[Collector], None], tmp_path: Path
) -> None:
    """Each request answered 200 is one event, also if the endpoint is down for half of them."""
    spool = tmp_path / "spool"
    for name, text in {"app.py": APP, "counted.py": COUNTED}.items():
        (tmp_path / name).write_text(textwrap.dedent(text), encoding="utf-8")
    with Collector(keys=KEYS) as collector:
        at_first(collector)
        settings = {**settings_for(collector, tmp_path), "FSLOG_SPOOL": str(spool)}
        with (
            Server(GUNICORN, tmp_path, settings) as server,
            ThreadPoolExecutor(CLIENTS) as clients,
        ):
            server.until(lambda: len(BOOTED.findall(server.written("err"))) == 3)

            def ask(number: int) -> int:
                return server.ask("GET", f"/?{number}")

            statuses = list(clients.map(ask, range(REQUESTS // 2)))
            if at_first is _down:
                assert collector.events == []
                assert list(spool.glob("*.ndjson"))
                collector.always(None)
            statuses += clients.map(ask, range(REQUESTS // 2, REQUESTS))
            ended = server.stop()
        assert statuses == [200] * REQUESTS
        assert len(BOOTED.findall(ended.err)) >= WORKERS_AT_LEAST
        assert sorted(numbers(collector, "request")) == list(range(REQUESTS))
    assert spool.is_dir()
    assert list(spool.glob("*.ndjson")) == []
