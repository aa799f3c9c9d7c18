"""gunicorn's workers: forked with and without `--preload`, recycled, ended by SIGTERM."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fslog.collector import Collector
from processes import GEVENT, Process, numbers, said, started
from waiting import eventually

pytestmark = pytest.mark.slow

APP = """
    import os
    from counted import log, say

    say(os.getpid(), source="import")

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            with open("begun", "w"), open("go") as go:
                go.read()
        say(int(environ["QUERY_STRING"]), source="request")
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
    """

CONFIGURATION = """
    logconfig_dict = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {},
        "handlers": {
            "console": {"class": "logging.StreamHandler"},
            "events": {
                "class": "fslog.FreshsuccessHandler",
                "flush_interval": 60,
                "defaults": {"accountId": "a", "userId": "u"},
                "rules": [{
                    "when": {"logger": "gunicorn.access"},
                    "event": {"action": "accessed", "source": "access", "number": "{args.q:int}"},
                }],
            },
        },
        "root": {"level": "INFO", "handlers": ["events"]},
        "loggers": {
            "gunicorn.access": {"level": "INFO", "handlers": [], "propagate": True},
            "gunicorn.error": {"level": "INFO", "handlers": ["console"], "propagate": True},
        },
    }
    accesslog = None
    """


@contextlib.contextmanager
def _gunicorn(collector: Collector, *arguments: str) -> Iterator[tuple[Process, Path]]:
    """Run gunicorn on a socket in its directory, and wait until it listens."""
    with started(
        "",
        collector.url,
        flags=["-X", "faulthandler", "-m", "gunicorn"],
        arguments=["--bind", "unix:socket", "--no-control-socket", *arguments, "app:app"],
        settings=GEVENT,
        files={"app.py": APP, "gunicorn.conf.py": CONFIGURATION},
    ) as process:
        deadline = time.monotonic() + 20
        while "Listening at" not in process.written("err"):
            assert process.is_running(), process.written("err")
            assert time.monotonic() < deadline, process.written("err")
            threading.Event().wait(0.01)
        yield process, process.where


def _ask(where: Path, number: int, path: str = "/") -> bytes:
    """Send one request and return the whole answer."""
    with socket.socket(socket.AF_UNIX) as conn:
        conn.settimeout(8)
        conn.connect(str(where / "socket"))
        conn.sendall(f"GET {path}?{number} HTTP/1.0\r\nHost: test\r\n\r\n".encode())
        return b"".join(iter(lambda: conn.recv(4096), b""))


def _stop(process: Process) -> None:
    process.send(signal.SIGTERM)
    ended = process.end(20.0)
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    assert "fslog:" not in ended.err


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_every_request_of_recycled_workers_is_an_event(kind: str, preload: tuple[str, ...]) -> None:
    """The event and the access record of each request arrive once, from either worker."""
    options = ("--worker-class", kind, "--max-requests", "10", *preload)
    with Collector() as collector, _gunicorn(collector, *options) as (process, where):
        with ThreadPoolExecutor(3) as clients:
            answers = list(clients.map(lambda number: _ask(where, number), range(10)))
            collector.wait_for(20, 20.0)
            # The worker has reached its limit, and another one takes its place.
            assert eventually(lambda: process.written("err").count("Booting worker") == 2)
            answers += clients.map(lambda number: _ask(where, number), range(10, 15))
        _stop(process)
        assert [answer[-2:] for answer in answers] == [b"ok"] * 15
        assert sorted(numbers(collector, "request")) == list(range(15))
        assert sorted(numbers(collector, "access")) == list(range(15))
        imports = Counter(numbers(collector, "import"))
        assert set(imports.values()) == {1}
        if preload:
            assert set(imports) == {process.pid}
        else:
            assert process.pid not in imports
            assert len(imports) == 2


@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_a_request_in_progress_at_sigterm(kind: str) -> None:
    """A request that ends after SIGTERM is answered, and its event arrives."""
    with (
        Collector() as collector,
        _gunicorn(collector, "--worker-class", kind, "--preload") as (process, where),
        ThreadPoolExecutor(1) as client,
    ):
        for name in ("begun", "go"):
            os.mkfifo(where / name)
        answer = client.submit(_ask, where, 5, "/slow")
        with open(where / "begun"):  # the worker is at work
            process.send(signal.SIGTERM)
        threading.Event().wait(0.2)
        with open(where / "go", "w"):
            pass
        assert answer.result(20).endswith(b"ok")
        _stop(process)
        assert sorted(who for who, number in said(collector) if number == 5) == [
            "access",
            "request",
        ]


def test_sighup_replaces_the_workers() -> None:
    """SIGHUP configures logging anew and replaces the workers; events before and after arrive."""
    with (
        Collector() as collector,
        _gunicorn(collector, "--workers", "2", "--graceful-timeout", "5") as (process, where),
    ):
        assert _ask(where, 1).endswith(b"ok")
        process.send(signal.SIGHUP)
        # The replaced workers deliver when they end; the import event of each is among theirs.
        collector.wait_until(lambda seen: len(numbers(seen, "import")) >= 2, 20)
        assert _ask(where, 2).endswith(b"ok")
        _stop(process)
        assert sorted(numbers(collector, "request")) == [1, 2]
        assert sorted(numbers(collector, "access")) == [1, 2]
        assert len(set(numbers(collector, "import"))) == 4
