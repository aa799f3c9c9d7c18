"""`fslog record`: the records of a command in a file, which `fslog check --log` replays."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from checking import Check, write
from fslog.integrations.recording import META
from readme_blocks import environment
from uploads import Command

pytestmark = pytest.mark.usefixtures("measured")

PROGRAM = """
    import logging
    import logging.config
    import multiprocessing
    import os
    import signal

    class User:
        id = property(lambda self: 1 / 0)

        def __init__(self):
            self.name = "ann"
            self.password = "hunter2"

    log = logging.getLogger("shop.reports")
    user = User()

    def use(number):
        log.info("exported %s rows", number, extra={"user": user, "tenant": {"slug": "acme"}})

    def child(times):
        for number in range(times):
            use(number)

    if __name__ == "__main__":
        log.setLevel("INFO")
        # Detaches every handler, and disables the logger.
        logging.config.dictConfig({"version": 1, "root": {"level": "WARNING"}})
        assert log.disabled
        child(7)
        for method in ("fork", "spawn"):
            process = multiprocessing.get_context(method).Process(target=child, args=(20,))
            process.start()
            process.join()
        log.debug("nothing")
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    """

RULES = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "usage": {
            "class": "fslog.FreshsuccessHandler",
            "rules": [
                {
                    "when": {"logger": "shop", "message": "exported %s rows"},
                    "event": {"action": "feature", "module": "reports", "feature": "export"},
                }
            ],
            "fields": {"accountId": "tenant.slug", "userId": "user.name"},
        }
    },
    "root": {"handlers": ["usage"], "level": "INFO"},
}


def test_a_command_and_its_children(tmp_path: Path, check: Check) -> None:
    """All processes write one private file without keys, also if SIGTERM ends them; it replays."""
    write("app.py", PROGRAM)
    command = [sys.executable, "-W", "error", "-m", "fslog", "record", "--", sys.executable]
    done = subprocess.run(
        [*command, "-W", "error", "app.py"], env=environment({}), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "", "")
    path = tmp_path / "records.ndjson"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert "hunter2" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    records = [line for line in lines if "name" in line]
    assert [record["args"] for record in records] == [[0], [1], [2]]
    assert {record["pathname"] for record in records} == {"app.py"}
    assert sum(line[META].get("count", 0) for line in lines) == 47
    write("usage.json", json.dumps(RULES))
    code, out, _ = check("usage.json", "--log", str(path), "--json")
    report = json.loads(out)
    assert (code, report["summary"]["results"]) == (0, {"event": 3})
    assert {one["event"]["userId"] for one in report["records"]} == {"ann"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "expected a command: fslog record -- COMMAND ..."),
        (["--config", "no.json", "--", "true"], 2, "no.json cannot be read: No such file"),
        (["--output", "no/such", "--", "true"], 2, "no/such cannot be written: No such file"),
        (["--output", "x.ndjson", "--", "no-such-command"], 127, "no such command: no-such-"),
    ],
    ids=str,
)
def test_wrong_arguments(
    arguments: Sequence[str],
    code: int,
    message: str,
    fslog: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is started, and the exit code is that of a shell."""
    monkeypatch.setattr(signal, "signal", lambda number, action: None)  # of this process
    said = fslog("record", *arguments)
    assert said.code == code
    assert message in said.err
