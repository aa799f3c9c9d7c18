"""Files of events, and the command line run on them, in this process or in one of its own."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fslog.cli import main
from fslog.collector import Collector
from processes import KEYS, STRICT
from readme_blocks import environment

DEADLINE = 30.0
"""Seconds, a generous limit for a slow machine."""

PEAK = """
    import json, sys
    from fslog.cli import main

    code = main(["COMMAND", "--quiet", sys.argv[1]])
    # Not getrusage, which includes the peak of the parent process.
    with open("/proc/self/status") as status:
        (peak,) = (line.split()[1] for line in status if line.startswith("VmHWM:"))
    print(json.dumps({"code": code, "kilobytes": int(peak)}))
    """
"""A program that runs a command on a file and prints its peak memory."""


class Said(NamedTuple):
    """What a command returned and wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return the object on stdout."""
        return json.loads(self.out)


Command = Callable[..., Said]


def event(number: int, **more: Any) -> dict[str, Any]:
    """Return a valid event; None removes a property."""
    made = {
        "accountId": "acme",
        "userId": "ann",
        "createdAt": 1_700_000_000_000 + number,
        "action": "feature",
        "sessionId": "s",
        "module": "reports",
        "feature": "export",
        "number": number,
        **more,
    }
    return {name: value for name, value in made.items() if value is not None}


def line(number: int, **more: Any) -> bytes:
    """Return the line of an event."""
    return json.dumps(event(number, **more)).encode() + b"\n"


def lines(numbers: Sequence[int]) -> bytes:
    """Return the lines of some events."""
    return b"".join(map(line, numbers))


def made(name: str, text: bytes) -> Path:
    """Write a file."""
    path = Path(name)
    path.write_bytes(text)
    return path


def numbers(collector: Collector) -> list[int]:
    """Return the numbers of the events that arrived, in order."""
    assert collector.invalid == []
    return [one["number"] for one in collector.events]


def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs `fslog ARGUMENTS` in this process."""

    def run(*arguments: object) -> Said:
        capsys.readouterr()
        code = main([str(one) for one in arguments])
        captured = capsys.readouterr()
        shown = [key for key in KEYS if key in captured.out + captured.err]
        assert not shown, captured
        return Said(code, captured.out, captured.err)

    return run


@contextlib.contextmanager
def at_work(
    *arguments: object, endpoint: str, where: Path, **options: Any
) -> Iterator[subprocess.Popen[Any]]:
    """Run `python -m fslog ARGUMENTS` in another process, killed at the end of the block."""
    given = {
        "FSLOG_ENDPOINT": endpoint,
        "FSLOG_AUTH_KEY": KEYS[0],
        "FSLOG_API_KEY": KEYS[1],
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **options}
    options = {"stderr": subprocess.PIPE, **options}
    env = environment({**given, **options.pop("settings", {})})
    program = [sys.executable, *STRICT, "-m", "fslog", *map(str, arguments)]
    with subprocess.Popen(
        program, cwd=where, env=env, start_new_session=True, **options
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[Any]) -> Said:
    """Wait for the end of a process, and check that its output contains no key."""
    return _said(process, *process.communicate(timeout=DEADLINE))


def interrupted(process: subprocess.Popen[Any]) -> Said:
    """Press Ctrl-C and wait for the end.

    Pressed again after a while, as people do: a signal that comes in the instant between the
    interpreter's last look and a system call is seen when that call returns.
    """
    for _ in range(10):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return _said(process, *process.communicate(timeout=5.0))
    raise AssertionError("it does not let itself be interrupted")


def _said(process: subprocess.Popen[Any], out: bytes | None, err: bytes | None) -> Said:
    said = Said(process.returncode, (out or b"").decode(), (err or b"").decode())
    assert not [key for key in KEYS if key in said.out + said.err], said
    return said


def run(*arguments: object, endpoint: str, where: Path, **options: Any) -> Said:
    """Run `python -m fslog ARGUMENTS` to its end."""
    with at_work(*arguments, endpoint=endpoint, where=where, **options) as process:
        return ended(process)
