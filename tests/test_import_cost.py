"""What `import fslog` costs an application, even if it never uses it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from readme_blocks import environment

COSTLY = [
    "asyncio",
    "backoff",
    "email",
    "fslog.mapping.presets",
    "fslog.plan.plan",
    "http.client",
    "http.server",
    "multiprocessing",
    "socketserver",
    "ssl",
    "urllib3",
]


def modules(program: str) -> set[str]:
    """Return the modules that a program imports in a new interpreter."""
    program = (
        f"import sys; before = set(sys.modules)\n{program}\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    env = {name: value for name, value in environment({}).items() if "COVERAGE" not in name}
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """Return the modules that `import fslog` loads."""
    return modules("import fslog")


@pytest.mark.parametrize("module", COSTLY)
def test_import_fslog_does_not_load(module: str, loaded: set[str]) -> None:
    """What only a handler or a command needs is imported when there is one."""
    assert "fslog" in loaded
    assert module not in loaded


def test_import_fslog_loads_one_dependency(loaded: set[str]) -> None:
    """Beside the standard library only python-json-logger is imported."""
    packages = {name.partition(".")[0] for name in loaded}
    # What distributors add to the standard library since 3.15 is not among its names.
    assert packages - sys.stdlib_module_names - {"_missing_stdlib_info"} == {
        "fslog",
        "pythonjsonlogger",
    }


@pytest.mark.parametrize(
    ("command", "spared"),
    [
        (["--help"], COSTLY),
        (["validate", "/dev/null"], ["asyncio", "backoff", "urllib3"]),  # judged as a server does
    ],
)
def test_a_command_that_sends_nothing_does_not_load(command: list[str], spared: list[str]) -> None:
    """Help and checks are quick: what only sending needs is not imported for them."""
    found = modules(f"from fslog.cli import main; main({command!r})")
    assert "fslog.cli.options" in found
    assert not found & set(spared)
