"""The commands on a platform without POSIX files: an error message, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fslog.collector import Collector
from needs import slow_but
from platforms import HIDING
from readme_blocks import environment

PROGRAM = f"""{HIDING}
from fslog.cli import main

sys.exit(main())
"""

LINE = {"accountId": "a", "userId": "u", "createdAt": 1_700_000_000_000, "action": "x"}

Elsewhere = Callable[..., tuple[int, str, str]]


@pytest.fixture
def elsewhere(collector: Collector, tmp_path: Path) -> Elsewhere:
    """Return `fslog` on such a platform, in a directory with a file of one event, and a spool."""
    (tmp_path / "hiding.py").write_text(PROGRAM)
    (tmp_path / "events.ndjson").write_text(json.dumps({**LINE, "sessionId": "s"}) + "\n")
    (tmp_path / "spool").mkdir()
    settings = {name: one for name, one in os.environ.items() if name.startswith("FSLOG_")}

    def run(*arguments: str) -> tuple[int, str, str]:
        command = [sys.executable, "hiding.py", *arguments]
        ended = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return ended.returncode, ended.stdout, ended.stderr

    return run


@pytest.mark.parametrize(
    ("arguments", "begins", "remedy"),
    slow_but(
        [("spool ls spool", "fslog spool: error: ", "on the machine that has the spool")],
        [
            ("send events.ndjson", "fslog send: error: ", "--dry-run checks the files here"),
            ("send -", "fslog send: error: ", "--dry-run checks the files here"),
            (
                "send --dry-run --resume events.ndjson",
                "fslog send: error: ",
                "--dry-run checks the",
            ),
            ("spool ls spool", "fslog spool: error: ", "on the machine that has the spool"),
            ("spool show spool", "fslog spool: error: ", "on the machine that has the spool"),
            ("spool drain spool", "fslog spool: error: ", "on the machine that has the spool"),
            ("spool quarantine spool", "fslog spool: error: ", "on the machine that has the spool"),
            (
                "viewer --port 0 --store x.ndjson",
                "fslog viewer: error: ",
                "start it without --store",
            ),
        ],
    ),
)
def test_a_command_that_needs_posix_files_is_refused(
    arguments: str, begins: str, remedy: str, elsewhere: Elsewhere, collector: Collector
) -> None:
    """The error names what is missing and a remedy; nothing is done."""
    code, out, err = elsewhere(*arguments.split())
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(begins)
    assert "which this platform does not have (O_NONBLOCK, O_NOFOLLOW" in err
    assert remedy in err
    assert collector.requests == []


@pytest.mark.parametrize(
    ("arguments", "shown"),
    slow_but(
        [("demo --events 5 --pace 0", "delivered")],
        [
            ("send --dry-run events.ndjson", "would send 1 event"),
            ("validate events.ndjson", "events.ndjson: 1 valid event, 0 invalid lines"),
            ("ping", "is reachable"),
            ("demo --events 5 --pace 0", "delivered"),
        ],
    ),
)
def test_a_command_without_files_of_its_own_works(
    arguments: str, shown: str, elsewhere: Elsewhere
) -> None:
    """A command that only reads files, or posts, works there."""
    code, out, err = elsewhere(*arguments.split())
    assert (code, "Traceback" in err) == (0, False), err
    assert shown in out


@pytest.mark.slow
def test_check_reports_a_spool_as_an_error(elsewhere: Elsewhere, tmp_path: Path) -> None:
    """A configuration with a spool is an error there, one without is OK."""
    usage = {"class": "fslog.FreshsuccessHandler"}
    for spool, code, words in (
        ({}, 0, "\nOK\n"),
        ({"spool": "spool"}, 1, "spool needs file locks (flock), which this platform does not"),
    ):
        given = {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"usage": {**usage, **spool}},
            "root": {"handlers": ["usage"], "level": "INFO"},
        }
        (tmp_path / "logging.json").write_text(json.dumps(given))
        ended, out, err = elsewhere("check", "logging.json")
        assert (ended, err) == (code, "")
        assert words in out
