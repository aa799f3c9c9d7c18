"""Start and query the sink, and measure its capacity, to show that it is not the bottleneck."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import socket
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

from tests.benchmarks import workload

ROOT = Path(__file__).resolve().parent.parent.parent

_DROPPED = ("FSLOG_", "PYTHON", "COVERAGE", "COV_", "OTEL_", "POSTHOG_")


def environment(*paths: Path) -> dict[str, str]:
    """Return the environment of a process that imports from `paths`, without tools' settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_DROPPED) and not name.lower().endswith("_proxy")
    }
    return {**kept, "PYTHONPATH": os.pathsep.join(map(str, paths))}


class Endpoint:
    """The sink process that all contenders use; a context manager."""

    def __enter__(self) -> Endpoint:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.sink"],
            cwd=ROOT,
            env=environment(ROOT),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def reset(self, delay: float = 0.0, status: int = 200) -> None:
        """Reset the tally; from now on answer after `delay` seconds with `status`."""
        self._ask("POST", "/-/reset", json.dumps({"delay": delay, "status": status}))

    def report(self) -> dict[str, Any]:
        """Return the tally since the reset, see `Tally.report`, and `idle`.

        `idle` is the share of the time from the first byte to the last answer in which the sink
        used no CPU, None if that time is less than 50 ms.
        """
        told = self._ask("GET", "/-/report")
        lasted = told["last_at"] - told["first_at"]
        told["idle"] = 1 - told["cpu_s"] / lasted if lasted > 0.05 else None
        return told

    def _ask(self, method: str, target: str, body: str | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        try:
            connection.request(method, target, body)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def capacity(self, events: int, seconds: float = 0.5) -> dict[str, float]:
        """Measure how many bodies of `events` events the sink accepts from one connection."""
        made = itertools.islice(itertools.cycle(workload.properties()), events)
        lines = [json.dumps({**event, "createdAt": 1_790_000_000_000}) for event in made]
        body = zlib.compress("\n".join([*lines, ""]).encode())
        head = b"POST /v1/a/b HTTP/1.1\r\nContent-Encoding: deflate\r\nContent-Length: %d\r\n\r\n"
        request = head % len(body) + body
        self.reset()
        with socket.create_connection(("127.0.0.1", self._port), timeout=10) as client:
            until, sent, began = time.monotonic() + seconds, 0, time.monotonic()
            while time.monotonic() < until:
                client.sendall(request)
                if not client.recv(4096):
                    raise ConnectionError("the sink closed the connection")
                sent += 1
            rate = sent / (time.monotonic() - began)
        self.reset()
        return {"bodies_per_s": rate, "events_per_s": rate * events, "body_bytes": len(body)}
