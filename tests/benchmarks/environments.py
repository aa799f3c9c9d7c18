"""The virtual environment of the contenders, with the newest release of each peer."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_VERSIONS = """
import importlib.metadata as m, json, platform, sys
def version(name):
    try:
        return m.version(name)
    except m.PackageNotFoundError:
        return None
print(json.dumps({"python": platform.python_version(), **{n: version(n) for n in sys.argv[1:]}}))
"""


@dataclass
class Environment:
    """An interpreter and its packages.

    Args:
        python: the path of the interpreter.
        versions: the version of each package, None if it is not installed.
        failures: by package that could not be installed, the reason.
    """

    python: str
    versions: dict[str, str | None] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def as_it_is(python: str, packages: Sequence[str]) -> Environment:
    """Return an interpreter with the packages that it already has."""
    names = [re.split("[<>=]", package)[0] for package in packages]
    told = subprocess.run(
        [python, "-c", _VERSIONS, *names], capture_output=True, text=True, check=True
    )
    return Environment(python, json.loads(told.stdout))


def made(where: Path, python: str, packages: Sequence[str]) -> Environment:
    """Create or update a virtual environment with the newest release of each package.

    If installing all packages together fails, each one is installed separately, so that only
    those that cause the failure are missing.
    """
    tag = ".".join(as_it_is(python, []).versions["python"].split(".")[:2])  # type: ignore[union-attr]
    home = where / f"venv-{tag}"
    inside = home / "bin" / "python"
    if not inside.exists():
        subprocess.run([python, "-m", "venv", home], check=True)
    failures = {}
    if _install(str(inside), packages):
        for package in packages:
            if reason := _install(str(inside), [package]):
                failures[package] = reason
    environment = as_it_is(str(inside), packages)
    environment.failures = failures
    return environment


def _install(python: str, packages: Sequence[str]) -> str:
    command = [python, "-m", "pip", "install", "--quiet", "--upgrade", *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return "" if done.returncode == 0 else "; ".join(errors) or f"pip exited with {done.returncode}"
