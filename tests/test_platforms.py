"""Platforms without `fcntl`, `os.fork` and `os.register_at_fork`: the handler without a spool."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fslog.collector import Collector
from platforms import HIDING
from readme_blocks import environment

PROGRAM = """
import logging.config, multiprocessing

CONFIGURATION = {
    "version": 1,
    "handlers": {"usage": {"class": "fslog.FreshsuccessHandler"}},
    "root": {"handlers": ["usage"], "level": "INFO"},
}


def work(user, numbers):
    logging.config.dictConfig(CONFIGURATION)
    event = {"accountId": "acme", "userId": user, "action": "login"}
    for number in numbers:
        logging.info("in", extra={"event": {**event, "number": number}})


if __name__ == "__main__":
    work("ann", range(100))
    child = multiprocessing.get_context("spawn").Process(target=work, args=("bob", range(100)))
    child.start()
    child.join()
    work("ann", range(100, 200))  # after a second dictConfig
    sys.exit(child.exitcode)
"""


def run_hidden(program: str, directory: Path) -> tuple[int, str, str]:
    """Run a program on such a platform, with the settings of the fixture `collector`."""
    path = directory / "app.py"
    path.write_text(HIDING + program)
    settings = {name: value for name, value in os.environ.items() if name.startswith("FSLOG_")}
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_the_handler_delivers_in_order_until_the_process_ends(
    collector: Collector, tmp_path: Path
) -> None:
    """All events arrive in order, also those of a spawned process, and from a second dictConfig."""
    assert run_hidden(PROGRAM, tmp_path) == (0, "", "")
    numbers: dict[str, list[int]] = {"ann": [], "bob": []}
    for event in collector.events:
        numbers[event["userId"]].append(event["number"])
    assert numbers == {"ann": list(range(200)), "bob": list(range(100))}
    assert collector.invalid == []


@pytest.mark.slow
def test_a_spool_is_an_error_when_the_handler_is_created(tmp_path: Path) -> None:
    """`spool` is a ValueError that names what the platform lacks; no directory is created."""
    program = """
from fslog import FreshsuccessHandler

try:
    FreshsuccessHandler(auth_key="auth-key-0", api_key="api-key-00", spool="spool")
except ValueError as error:
    print(error, os.path.exists("spool"))
"""
    assert run_hidden(program, tmp_path) == (
        0,
        "spool needs file locks (flock), which this platform does not have False\n",
        "",
    )


@pytest.mark.slow
def test_a_capture_works(collector: Collector, tmp_path: Path) -> None:
    """`fslog.testing` receives the events of a test there, and nothing is sent."""
    program = """
import logging
from fslog import FreshsuccessHandler
from fslog.testing import capture

logging.getLogger().addHandler(FreshsuccessHandler())
with capture() as freshsuccess:
    who = {"accountId": "acme", "userId": "ann"}
    logging.warning("in", extra={**who, "action": "login"})
    freshsuccess.assert_event(action="login", userId="ann")
"""
    assert run_hidden(program, tmp_path) == (0, "", "")
    assert collector.requests == []


def test_the_viewer_serves_its_page(tmp_path: Path) -> None:
    """`fslog viewer` serves its page and its API there, until Ctrl-C."""
    program = """
import threading
import urllib3
from fslog.cli import main

class Output(io.StringIO):
    def write(self, text):
        if found := re.search("http://127.0.0.1:[0-9]+", text):
            addresses.put(found[0])
        return len(text)

def visit():
    url = addresses.get(timeout=30)
    statuses.extend(urllib3.request("GET", url + path).status for path in ("/", "/api/events"))
    os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C does

signal.signal(signal.SIGINT, signal.default_int_handler)
addresses, statuses = queue.Queue(), []
threading.Thread(target=visit).start()
with contextlib.redirect_stdout(Output()):
    code = main(["viewer", "--port", "0"])
print(code, statuses)
"""
    program = "import contextlib, io, queue, re\n" + program
    assert run_hidden(program, tmp_path) == (0, "130 [200, 200]\n", "")
