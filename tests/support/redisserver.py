"""A Redis server for one test, and workers that get tasks from it and share one spool."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fslog.collector import Collector
from processes import KEYS, Process, numbers, run, started
from servers import DEADLINE, Server

TASKS = '''
"""Tasks log an event, and record it when the log call has returned."""

import os
import time
from counted import say

SITE = os.environ["SITE"]

def use(number):
    """Log one event; then append its number and the process's id to the record, in one write."""
    say(number, source="task")
    with open(f"{SITE}/record", "ab", buffering=0) as record:
        record.write(b"%d %d\\n" % (number, os.getpid()))

def use_and_work(number):
    """Log one event; then work for some time."""
    use(number)
    time.sleep(0.05)

def use_and_stay(number):
    """Log one event, work until the pipe is opened for writing, and log the next one."""
    use(number)
    with open(f"{SITE}/go") as go:
        go.read()
    use(number + 1)
'''

LOGGING = """
import os

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"named": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "named"},
        "usage": {
            "class": "fslog.FreshsuccessHandler",
            "flush_interval": float(os.environ["FLUSH_INTERVAL"]),
        },
    },
    "root": {"handlers": ["console", "usage"], "level": "INFO"},
}
"""

# Longer than any test: events are posted when the process ends, or never.
NEVER = "600"

# A child of Celery's pool waits up to 30 seconds until its parent has read the last result, which a
# parent that gets SIGTERM just then does not (billiard's `_ensure_messages_consumed`).
ENDS = 60.0


class RedisServer(Server):
    """Redis on a loopback port, without a file on disk; killed at `__exit__`."""

    @property
    def url(self) -> str:
        """Return the URL of its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    def is_answering(self) -> bool:
        """Return whether it answers a PING."""
        address = ("127.0.0.1", self.port)
        with contextlib.suppress(OSError), socket.create_connection(address, DEADLINE) as client:
            client.sendall(b"PING\r\n")
            return client.recv(7) == b"+PONG\r\n"
        return False


@contextlib.contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Run a Redis server until the end of the block."""
    options = ["--bind", "127.0.0.1", "--port", "{port}", "--save", "", "--appendonly", "no"]
    with (
        tempfile.TemporaryDirectory() as place,
        RedisServer(["redis-server", *options], Path(place), {}) as server,
    ):
        server.until(server.is_answering)
        yield server


@dataclass(frozen=True)
class Site:
    """What successive workers have in common.

    Args:
        redis: where the tasks come from.
        collector: where the events go.
        where: a directory for the spool, and for the record of the log calls that returned.
    """

    redis: RedisServer
    collector: Collector
    where: Path

    @property
    def recorded(self) -> dict[int, int]:
        """Return the number of each event whose log call returned, with the process it was in."""
        with contextlib.suppress(FileNotFoundError):
            lines = (self.where / "record").read_text().splitlines()
            return dict(map(int, line.split()) for line in lines)
        return {}

    def has_recorded(self, wanted: Sequence[int]) -> bool:
        """Return whether the log calls of these events have returned."""
        return set(wanted) <= set(self.recorded)

    @property
    def segments(self) -> list[str]:
        """Return the names of the segments in the spool, in the order of names."""
        return sorted(path.name for path in (self.where / "spool").glob("*.ndjson"))

    @property
    def arrived(self) -> list[int]:
        """Return the numbers of the events that arrived, in order of arrival."""
        return numbers(self.collector, "task")

    def settings(self, flush_interval: str) -> dict[str, str]:
        """Return what a worker needs in its environment beside the endpoint and the keys."""
        return {
            "SITE": str(self.where),
            "REDIS_URL": self.redis.url,
            "FSLOG_SPOOL": str(self.where / "spool"),
            "FLUSH_INTERVAL": flush_interval,
        }

    @contextlib.contextmanager
    def worker(
        self, *command: str, files: Mapping[str, str], flush_interval: str = NEVER
    ) -> Iterator[Process]:
        """Run `python -m COMMAND`, a worker, until the end of the block.

        Args:
            command: a module and its arguments.
            files: its files, by name.
            flush_interval: seconds, as text.
        """
        with started(
            "",
            self.collector.url,
            flags=["-X", "faulthandler", "-m", command[0]],
            arguments=command[1:],
            files={"tasks.py": TASKS, **files},
            settings=self.settings(flush_interval),
        ) as process:
            try:
                yield process
            finally:
                self.go()

    def queue(
        self, program: str, task: str, wanted: Sequence[int], files: Mapping[str, str]
    ) -> None:
        """Have an application of its own queue a task once for each number.

        Args:
            program: its text; the task's name and the numbers are its arguments.
            task: name of a function of `TASKS`.
            wanted: the numbers.
            files: further files, by name.
        """
        run(
            program,
            self.collector.url,
            flags=[],
            arguments=[task, *map(str, wanted)],
            files={"tasks.py": TASKS, **files},
            settings={**self.settings(NEVER), "FSLOG_ENABLED": "no"},
        )

    def go(self) -> None:
        """Let a waiting task go on, if there is one."""
        with contextlib.suppress(OSError):
            os.close(os.open(self.where / "go", os.O_WRONLY | os.O_NONBLOCK))

    def until(self, process: Process, is_so: Callable[[], Any]) -> None:
        """Wait, while a worker is running, until something is so.

        Raises:
            AssertionError: it took too long, or the worker ended.
        """
        until = time.monotonic() + DEADLINE
        while not is_so():
            assert (time.monotonic() < until and process.is_running()) or is_so(), (
                f"in vain: recorded {self.recorded}, arrived {self.arrived}, {self.segments}\n"
                f"{process.written('out')}\n{process.written('err')}"
            )
            threading.Event().wait(0.02)

    def assert_all_arrived(self, wanted: Sequence[int], twice: Sequence[int] = ()) -> None:
        """Assert that exactly these events were recorded and arrived, once, and none is kept.

        Those of one process must have come in the order of its log calls.

        Args:
            wanted: their numbers.
            twice: those of them that must have arrived a second time.
        """
        recorded = self.recorded
        assert sorted(recorded) == sorted(wanted)
        assert sorted(self.arrived) == sorted([*wanted, *twice])
        latest = list(dict.fromkeys(reversed(self.arrived)))[::-1]
        for pid in set(recorded.values()):
            said = [number for number in recorded if recorded[number] == pid]
            assert [number for number in latest if recorded[number] == pid] == said
        assert self.segments == []


@contextlib.contextmanager
def site(where: Path) -> Iterator[Site]:
    """Run Redis and an endpoint until the end of the block."""
    os.mkfifo(where / "go")
    with redis_server() as redis, Collector(keys=KEYS) as collector:
        yield Site(redis, collector, where)
