"""Applications as servers: copied, started, used and stopped."""

from __future__ import annotations

import contextlib
import http.client
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fslog.collector import Collector
from ports import free_port
from processes import KEYS, Ended, Process
from readme_blocks import ROOT

APPS = ROOT / "tests" / "fixtures" / "apps"

DEADLINE = 60.0
"""Seconds for anything that may be slow on a busy machine."""

_TRACEBACK = re.compile(r"^Traceback \(most recent call last\):|Logging error|Warning: ", re.M)


class Server(Process):
    """One server, with the processes that it starts.

    Args:
        command: what to run, `{port}` standing for its port.
        where: its directory.
        settings: for its environment.
        port: None for any that is free.
    """

    def __init__(
        self,
        command: Sequence[str],
        where: Path,
        settings: Mapping[str, str],
        port: int | None = None,
    ) -> None:
        self.port = port or free_port()
        filled = [part.replace("{port}", str(self.port)) for part in command]
        super().__init__(filled, where, settings)

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection, for one or more requests."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)

    def ask(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> int:
        """Make one request over a new connection; return the status of the answer."""
        with contextlib.closing(self.connect()) as connection:
            return ask(connection, method, path, headers)

    def until(self, is_so: Callable[[], Any]) -> Any:
        """Return the result of `is_so` as soon as it is true; fail if it never is.

        Raises:
            AssertionError: the server ended, or took too long.
        """
        until = time.monotonic() + DEADLINE
        while not (found := is_so()):
            # The pause between two checks is a wait for the end, which should not come.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.02)
                break
            if time.monotonic() > until:
                break
        assert found, f"waited in vain:\n{self.written('out')}\n{self.written('err')}"
        return found

    def is_ready(self, headers: Mapping[str, str]) -> bool:
        """Return whether the server answers `GET /health` with 200."""
        with contextlib.suppress(ConnectionRefusedError):
            return self.ask("GET", "/health", headers) == 200
        return False

    def stop(self, number: int = signal.SIGTERM, code: int = 0, notices: int = 0) -> Ended:
        """Send a signal, wait for the end, and check that the output has no error.

        Args:
            number: of the signal, which only the first process gets.
            code: the exit code that is expected.
            notices: how many notices of invalid events or warnings are expected.
        """
        self.send(number)
        ended = self.end(DEADLINE)
        said = ended.out + ended.err
        assert not _TRACEBACK.search(said), said
        assert said.count(" event from ") == notices, said
        assert ended.code == code, said
        return ended


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
) -> int:
    """Make one request; read the answer and return its status."""
    connection.request(method, path, headers=dict(headers or {}))
    with connection.getresponse() as response:
        response.read()
        return response.status


def application(name: str, directory: Path) -> Path:
    """Copy one of the applications for tests, without files that running it has created."""
    left = shutil.ignore_patterns("__pycache__", "*.sqlite3")
    return Path(shutil.copytree(APPS / name, directory / name, ignore=left))


def settings_for(collector: Collector, where: Path) -> dict[str, str]:
    """Return what an application needs in its environment to send its events to a collector."""
    return {
        "FSLOG_ENDPOINT": collector.url,
        "FSLOG_AUTH_KEY": KEYS[0],
        "FSLOG_API_KEY": KEYS[1],
        "PYTHONDONTWRITEBYTECODE": "1",
        # gunicorn keeps a socket there.
        "XDG_RUNTIME_DIR": str(where),
    }


@contextlib.contextmanager
def serving(
    collector: Collector, where: Path, *command: str, headers: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run `python -m COMMAND` in a directory until the end of the block.

    Args:
        collector: where its events go.
        where: the directory.
        command: a module and its arguments, or a script; `{port}` stands for the server's port.
        headers: those with which the server answers `GET /health`.
    """
    program = [] if command[0].endswith(".py") else ["-m"]
    settings = settings_for(collector, where)
    with Server([sys.executable, *program, *command], where, settings) as server:
        server.until(lambda: server.is_ready(headers or {}))
        yield server


def without(event: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return an event without unpredictable properties, which must be present."""
    rest = dict(event)
    for name in ("createdAt", *names):
        assert rest.pop(name)
    return rest
