"""The tests themselves: their requirements and tiers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from needs import slow_but
from readme_blocks import ROOT, environment

NEEDY = """
import pytest

@pytest.mark.needs("python", "no-such-program")
def test_needy():
    raise AssertionError("it was run")

@pytest.mark.needs("/dev/null")
def test_content():
    pass
"""


PATHS = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "tests" / "support")])


@pytest.mark.parametrize(
    ("ci", "outcome"),
    slow_but(
        [("true", "1 passed, 1 error")],
        [("", "1 passed, 1 skipped"), ("true", "1 passed, 1 error")],
    ),
)
def test_a_missing_requirement_is_reported(tmp_path: Path, ci: str, outcome: str) -> None:
    """A test with a missing requirement is skipped with the reason; under `CI=true` it fails."""
    (tmp_path / "test_needy.py").write_text(NEEDY, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = needs\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-ra", "-p", "needs", "-p", "no:cacheprovider"]
    env = environment(
        {
            "PYTHONPATH": PATHS,
            "CI": ci,
        }
    )
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # which takes longer than the test
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert outcome in done.stdout
    assert "no-such-program is not installed (Debian: apt-get install no-such-" in done.stdout
    assert done.returncode == (1 if ci else 0)


@pytest.mark.slow
def test_an_ignored_ctrl_c_is_not_passed_on() -> None:
    """Under `nohup ... &`, which ignores SIGINT, the programs that tests start still receive it."""
    ask = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    start = "import subprocess, sys; {}subprocess.run([sys.executable, '-c', sys.argv[1]])"
    env = environment({"PYTHONPATH": PATHS})
    found = []
    for more in ("", "import conftest; "):
        command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c"]
        command += [start.format(more), ask]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        found.append(done.stdout.strip())
    assert found == ["False", "True"]


def test_no_example_of_hypothesis_has_a_deadline() -> None:
    """A property does not fail because the machine is slow or busy."""
    assert settings().deadline is None


def test_the_tiers_are_listed() -> None:
    """Each mark that `python -m pytest` excludes has its line for contributors."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (expression,) = re.findall(r'^    "-m",\n    "(.*)",$', project, re.MULTILINE)
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| `python -m pytest -m (\w+)[^`]*` ", text, re.MULTILINE)
    assert shown == re.findall(r"not (\w+)", expression)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_what_contributors_are_told_to_change_is_there(page: str) -> None:
    """Each file and folder that a page for contributors mentions exists."""
    text = (ROOT / ".github" / page).read_text(encoding="utf-8")
    paths = re.findall(r"`(?:python )?((?:fslog|tests|\.ci)/[\w./]*)", text)
    assert len(paths) >= 5
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_what_ci_names_is_there() -> None:
    """Each file and folder of tests that a step of `.ci/run` names exists."""
    named = re.findall(r"tests/[\w/]+(?:\.py)?", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert "tests/test_handler.py" in named
    assert [name for name in named if not (ROOT / name).exists()] == []
