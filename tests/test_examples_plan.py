"""The example with a tracking plan: its commands, its generated files and its application."""

from __future__ import annotations

import ast
import contextlib
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from fslog.cli import main
from fslog.collector import Collector
from fslog.plan.judgement import problems
from fslog.plan.plan import Plan
from ports import free_port
from readme_blocks import ROOT, environment
from servers import DEADLINE, Server, ask, settings_for

EXAMPLE = ROOT / "examples" / "tracking_plan"
APP = (EXAMPLE / "app.py").read_text("utf-8")
REWORDED = APP.replace('"exported %d rows"', '"exported %s rows"')
SENTENCE = (
    'app.py:{line}: no log call makes \'report exported\' (logger "app", message "exported %d '
    'rows"): app.py:{line} says "exported %s rows"'
)
ANN = {"X-Account": "acme", "X-User": "ann"}
REQUESTS = ("/reports/export?rows=42", "/reports/leave?seconds=90", "/wiki/edit")


def sentence() -> str:
    """Return what is said of the log call that has been reworded."""
    assert REWORDED != APP
    line = REWORDED[: REWORDED.index("exported %s rows")].count("\n") + 1
    return SENTENCE.format(line=line)


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the example, which is the current directory."""
    where = tmp_path / "tracking_plan"
    shutil.copytree(EXAMPLE, where, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    monkeypatch.chdir(where)
    return where


@pytest.mark.usefixtures("copy")
@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("types usage-plan.yaml", "usage.py"),
        ("docs usage-plan.yaml app.py", "catalogue.md"),
    ],
)
def test_a_generated_file_is_what_its_command_prints(
    command: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not out of date, and `ci.sh` compares it with the same command."""
    assert main(["plan", *command.split()]) == 0
    assert capsys.readouterr().out == (EXAMPLE / file).read_text("utf-8")
    assert f"fslog plan {command} | diff {file} -\n" in (EXAMPLE / "ci.sh").read_text("utf-8")


def test_a_reworded_message_is_found(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As it is, each planned event is made; reworded, the nearest log call is named."""
    assert main(["plan", "check", "usage-plan.yaml", "app.py"]) == 0
    assert "no log call" not in capsys.readouterr().out
    (copy / "app.py").write_text(REWORDED, encoding="utf-8")
    assert main(["plan", "check", "usage-plan.yaml", "app.py"]) == 1
    assert sentence() in " ".join(capsys.readouterr().out.split())


def ci() -> subprocess.CompletedProcess[str]:
    """Run the command of CI in the current directory."""
    env = {**environment({}), "COLUMNS": "200"}
    return subprocess.run(["./ci.sh"], env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_command_of_ci(copy: Path) -> None:
    """It passes, and fails for a reworded message with the nearest log call."""
    passed = ci()
    assert (passed.returncode, passed.stderr) == (0, ""), passed.stdout
    assert "3 of 3 planned events seen (100 %)" in passed.stdout
    (copy / "app.py").write_text(REWORDED, encoding="utf-8")
    failed = ci()
    assert (failed.returncode, sentence() in failed.stdout) == (1, True), failed.stdout


@pytest.mark.slow
def test_the_application_makes_the_planned_events(copy: Path) -> None:
    """Started by its command it makes each of them for ann, none for nobody, and no other."""
    start = (ast.get_docstring(ast.parse(APP)) or "").splitlines()[-1]
    port = free_port()
    command = start.replace("8000", str(port)).split()
    plan = Plan.read(copy / "usage-plan.yaml")
    with (
        Collector() as collector,
        Server(command, copy, settings_for(collector, copy), port) as server,
    ):
        server.until(lambda: answers(server))
        with contextlib.closing(server.connect()) as connection:
            for who in (ANN, {}):
                for path in REQUESTS:
                    assert ask(connection, "POST", path, who) == 200
        server.send(signal.SIGTERM)
        ended = server.end(DEADLINE)
        assert ended.code == 0, ended.err
        assert collector.invalid == []
        found = [plan.find(event) for event in collector.events]
        assert sorted(one.name for one in found if one) == sorted(plan.events)
        assert [problems(plan, event) for event in collector.events] == [[]] * 3
        assert {event["userId"] for event in collector.events} == {"ann"}


def answers(server: Server) -> bool:
    """Return whether a server answers any request."""
    with contextlib.suppress(ConnectionError):
        return server.ask("GET", "/") > 0
    return False


def test_the_application_is_short() -> None:
    """Like each example it has under 60 lines, and says what to install."""
    lines = APP.splitlines()
    assert len(lines) < 60
    assert "pip install flask gunicorn pyyaml freshsuccess-logging" in lines
