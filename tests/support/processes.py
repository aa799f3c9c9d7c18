"""Programs that run in interpreters of their own, against an endpoint in this one.

A program is the text of a file. It may import the module `counted` beside it, which logs events
with numbers, so that a test can assert that each event arrived exactly once.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fslog.collector import Collector
from readme_blocks import environment

KEYS = ("auth-0f3b97", "api-5c21de")
"""The auth key and the API key of every program: nothing that it prints may hold them."""

STRICT = ("-X", "faulthandler", "-W", "error")
"""Warnings are errors: a resource left open is reported on stderr.

Not `-X dev`: its checks of memory are for extension modules, and make a start a third longer.
"""

FORKING = (*STRICT, "-W", "ignore:This process:DeprecationWarning")
"""From 3.12 on, `os.fork` warns in a process that has threads; fslog's own is one."""

GEVENT = {"GEVENT_RESOLVER": "block"} if (3, 12, 0) <= sys.version_info < (3, 12, 3) else {}
"""Settings: gevent resolves names in a native thread, which these releases cannot start at exit."""

COUNTED = '''
"""The logger and the helpers of a program."""

import json
import logging
import sys
import time

log = logging.getLogger("app")
log.setLevel(logging.INFO)
# In development mode asyncio warns of a step of over 0.1 s, which a busy machine may need.
logging.getLogger("asyncio").setLevel(logging.ERROR)


def handle(logger=log, **settings):
    from fslog import FreshsuccessHandler

    # Long enough to deliver everything at exit on the busiest machine.
    handler = FreshsuccessHandler(**{"shutdown_timeout": 20.0, **settings})
    logger.addHandler(handler)
    return handler


def say(number, source="main", logger=log, **more):
    """Log one event."""
    extra = {"accountId": "a", "userId": "u", "action": "counted", "number": number, **more}
    logger.info("said", extra={**extra, "source": source})


def tell(**facts):
    """Report facts to the test: one JSON line on stdout."""
    sys.stdout.write(json.dumps(facts) + chr(10))
    sys.stdout.flush()


def balance(handler):
    """Return the counts of events, and assert that they add up."""
    stats = handler.stats()
    assert stats.emitted == stats.skipped + stats.invalid + stats.refused + stats.accepted, stats
    assert stats.accepted == stats.delivered + stats.pending + stats.abandoned, stats
    return {name: getattr(stats, name) for name in ("accepted", "delivered", "abandoned")}


def leave():
    """Report when the program has nothing more to do."""
    tell(left_at=time.monotonic())
'''


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Args:
        code: the exit code, negative for a signal.
        out, err: what it wrote.
        ended_at: the monotonic instant, comparable with the process's own.
    """

    code: int
    out: str
    err: str
    ended_at: float

    @property
    def facts(self) -> dict[str, Any]:
        """Return all facts that the program reported, in one dict."""
        told: dict[str, Any] = {}
        for line in self.out.splitlines():
            told |= json.loads(line)
        return told

    @property
    def leaving_seconds(self) -> float:
        """Return how long the process lived on after `counted.leave()`."""
        return self.ended_at - float(self.facts["left_at"])


class Process:
    """One process in a session of its own, ended with all its children at `__exit__`.

    Args:
        command: what to run.
        where: its directory; its output goes to files there, so that no pipe can fill or be
            held open by a child.
        settings: its environment beside the usual.
    """

    def __init__(self, command: Sequence[str], where: Path, settings: Mapping[str, str]) -> None:
        self.where = where
        paths = os.pathsep.join(filter(None, [settings.get("PYTHONPATH"), str(where)]))
        env = environment({**settings, "PYTHONPATH": paths})
        with self._file("out", "wb") as out, self._file("err", "wb") as err:
            self._process = subprocess.Popen(
                command,
                cwd=where,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def _file(self, name: str, mode: str) -> IO[Any]:
        return open(self.where / f"{name}.txt", mode)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def is_running(self) -> bool:
        """Return whether the process has not ended yet."""
        return self._process.poll() is None

    def send(self, number: int) -> None:
        """Send the process, not its children, a signal."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """Send SIGTERM, and send it again if the process goes on for 5 seconds.

        CPython may begin to wait after a signal has come and before it calls the handler, and then
        waits on; any program that handles signals has this race.
        """
        self.send(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)
            return
        self.send(signal.SIGTERM)

    def written(self, name: str) -> str:
        """Return what was written to `"out"` or `"err"` so far."""
        return (self.where / f"{name}.txt").read_text(encoding="utf-8")

    def end(self, deadline: float) -> Ended:
        """Wait for the end.

        Raises:
            AssertionError: it did not end within so many seconds; if `faulthandler` is on,
                the message shows what every thread was doing.
        """
        try:
            code = self._process.wait(deadline)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(self.pid, signal.SIGABRT)
                self._process.wait(5.0)
            raise AssertionError(
                f"not ended after {deadline:g} s:\n{self.written('out')}\n{self.written('err')}"
            ) from None
        ended = Ended(code, self.written("out"), self.written("err"), time.monotonic())
        shown = [key for key in KEYS if key in ended.out + ended.err]
        assert not shown, f"a key was printed:\n{ended.out}\n{ended.err}"
        return ended


@contextlib.contextmanager
def started(
    program: str,
    endpoint: str,
    *,
    flags: Sequence[str] = STRICT,
    arguments: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Process]:
    """Run a program as `python FLAGS program.py ARGUMENTS`.

    Args:
        program: text of the file, indented as it may be.
        endpoint: base URL; it and the keys are in the environment.
        flags: for the interpreter.
        arguments: for the program, or for the module that `-m` in the flags names.
        files: further files beside it, by name.
        settings: for the environment.
    """
    with tempfile.TemporaryDirectory() as place:
        where = Path(place)
        for name, text in {"counted.py": COUNTED, "program.py": program, **(files or {})}.items():
            (where / name).parent.mkdir(exist_ok=True)
            (where / name).write_text(textwrap.dedent(text), encoding="utf-8")
        command = [sys.executable, *flags, *([] if "-m" in flags else ["program.py"]), *arguments]
        given = {
            "FSLOG_ENDPOINT": endpoint,
            "FSLOG_AUTH_KEY": KEYS[0],
            "FSLOG_API_KEY": KEYS[1],
            "PYTHONDONTWRITEBYTECODE": "1",
            **(settings or {}),
        }
        with Process(command, where, given) as process:
            yield process


def waits(process: Process, fact: str) -> None:
    """Wait until a program has reported a fact."""
    deadline_at = time.monotonic() + 60.0
    while f'"{fact}"' not in process.written("out"):
        assert process.is_running(), process.written("err")
        assert time.monotonic() < deadline_at, process.written("out")
        select.select([], [], [], 0.02)


def run(
    program: str,
    endpoint: str,
    *,
    code: int = 0,
    err: str | None = "",
    deadline: float = 100.0,
    **options: Any,
) -> Ended:
    """Run a program to its end, and assert on how it ends.

    Args:
        program, endpoint, options: see `started`.
        code: the exit code that is expected.
        err: all that is expected on stderr; None leaves that to the caller.
        deadline: seconds.
    """
    with started(program, endpoint, **options) as process:
        ended = process.end(deadline)
    assert (ended.code, ended.err if err is not None else None) == (code, err), ended.err
    return ended


def said(collector: Collector) -> list[tuple[str, int]]:
    """Return source and number of each event that arrived, in order of arrival.

    Without what was derived from the others, if the handler tracks the time.
    """
    assert collector.invalid == []
    logged = [event for event in collector.events if event["action"] != "sessionSync"]
    return [(event["source"], event["number"]) for event in logged]


def numbers(collector: Collector, source: str = "main") -> list[int]:
    """Return the numbers that a source said, in order of arrival."""
    return [number for who, number in said(collector) if who == source]
