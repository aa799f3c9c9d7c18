"""Types as an application's type checker sees them: of the installed package, from outside."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from fslog import types
from fslog.mapping import schema

SAMPLES = Path(__file__).resolve().parent / "fixtures" / "typed"

KINDS: dict[str, Any] = {"string": str, "number": float, "object": Mapping[str, Any]}
"""Kind of value in the table of actions → its type for a checker."""

EVENTS = {
    get_args(get_type_hints(made)["action"])[0]: made
    for name, made in vars(types).items()
    if name in types.__all__ and name.endswith("Event")
}
"""Action → the type of its events."""


def expected() -> set[tuple[str, int]]:
    """Return the lines of the samples that a checker must report, and no others."""
    return {
        (path.name, number)
        for path in SAMPLES.glob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if line.endswith("# error")
    }


def checked(command: list[str], cwd: Path, env: Mapping[str, str] = os.environ) -> str:
    """Return what a type checker prints of copies of the samples, outside of the checkout."""
    for path in SAMPLES.glob("*.py"):
        shutil.copy(path, cwd)
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def pyright(cwd: Path, *options: str) -> Any:
    """Return what pyright reports of the interpreter's packages, as JSON."""
    folder = Path(sys.executable).parent
    path = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"
    program = shutil.which("pyright", path=path)
    if program is None:  # not a failure in CI: it is fetched from elsewhere
        pytest.skip("pyright is not installed (pip install pyright)")
    # It searches the packages of the first `python` on the path.
    return json.loads(
        checked([program, "--outputjson", *options], cwd, {**os.environ, "PATH": path})
    )


def test_each_known_action_has_a_type_with_its_properties() -> None:
    """The types of events say what the table of actions says, and that ids may come later."""
    assert EVENTS.keys() == schema.ACTIONS.keys()
    common = {*schema.REQUIRED} - {"action"}
    for action, (needed, optional) in schema.ACTIONS.items():
        made = EVENTS[action]
        assert made.__required_keys__ == {"action", *needed}
        assert made.__optional_keys__ == {*common, *optional}
        hints = get_type_hints(made)
        for name in needed + optional:
            assert hints[name] == KINDS[schema.PROPERTIES[name].kind]


@pytest.mark.slow
@pytest.mark.needs("mypy>=2")
def test_mypy_finds_the_mistakes_and_nothing_else(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """In strict mode each misuse is an error at its line, and no correct use is one."""
    cache = pytestconfig.cache
    assert cache is not None
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"]
    out = checked([*command, f"--cache-dir={cache.mkdir('mypy')}", "."], tmp_path)
    found = re.findall(r"^(\w+\.py):(\d+): error", out, re.MULTILINE)
    assert {(name, int(line)) for name, line in found} == expected(), out


@pytest.mark.slow
def test_pyright_finds_the_mistakes_and_nothing_else(tmp_path: Path) -> None:
    """Another checker agrees."""
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    report = pyright(tmp_path)["generalDiagnostics"]
    found = {
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1)
        for one in report
        if one["severity"] == "error"
    }
    assert found == expected(), report


@pytest.mark.slow
def test_pyright_knows_every_type_of_the_package(tmp_path: Path) -> None:
    """No checker has to infer the type of a name that another module can import."""
    report = pyright(tmp_path, "--verifytypes", "fslog", "--ignoreexternal")["typeCompleteness"]
    unknown = [one["name"] for one in report["symbols"] if not one["isTypeKnown"]]
    assert (unknown, report["completenessScore"]) == ([], 1)
