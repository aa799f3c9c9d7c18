"""Requirements of a test beside Python: `@pytest.mark.needs("curl")`.

If one is missing, the test is skipped with the reason. Under `CI=true` it fails instead.
"""

from __future__ import annotations

import functools
import importlib.metadata
import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from typing import Any

import pytest

PACKAGES = {
    "chromedriver": "chromium-driver",
    "syslog-ng": "syslog-ng-mod-http",
    "unshare": "util-linux",
}
"""Debian's packages of programs whose name is another."""

nested = pytest.mark.skipif(
    hasattr(logging.Logger, "_tls"),
    reason="logging itself ignores a log call inside another one here (CPython gh-91555)",
)
"""The mark of a test of such a log call."""


def slow_but(quick: Iterable[Any], cases: Iterable[Any]) -> list[Any]:
    """Return the values of a parameter, or of some, of which all but `quick` make slow tests."""
    quick = list(quick)
    assert all(one in cases for one in quick)
    return [
        case
        if case in quick
        else pytest.param(*(case if isinstance(case, tuple) else [case]), marks=pytest.mark.slow)
        for case in cases
    ]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip or fail a test, before its fixtures are made, if a requirement is missing."""
    for mark in item.iter_markers("needs"):
        for need in mark.args:
            if why := why_missing(need):
                (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)


def why_missing(need: str) -> str | None:
    """Return why the machine lacks a requirement, or None if it has it.

    Args:
        need: `root`, `namespaces` (of users and mounts), the path of a device, a program, or a
            distribution of Python and its lowest version, as `setuptools>=77`.
    """
    if ">=" in need:
        return _why_no_distribution(*need.split(">="))
    if need in _FEATURES:
        return _FEATURES[need]()
    if need.startswith("/"):
        return None if os.path.exists(need) else f"the system has no {need}"
    if shutil.which(need):
        return None
    return f"{need} is not installed (Debian: apt-get install {PACKAGES.get(need, need)})"


def _why_no_distribution(name: str, lowest: str) -> str | None:
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return f"{name} is not installed (pip install '{name}>={lowest}')"
    numbers = [[int(number) for number in one.split(".")[:3]] for one in (found, lowest)]
    return None if numbers[0] >= numbers[1] else f"{name} is {found}, not {lowest} or newer"


def _why_no_root() -> str | None:
    return None if os.geteuid() == 0 else "only root can do this"


@functools.cache
def _why_no_namespaces() -> str | None:
    # By trial: the kernel's settings, a container or a security module may forbid it.
    command = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    if why := why_missing(command[0]):
        return why
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"no user namespaces: {done.stderr.strip()}" if done.returncode else None


_FEATURES: dict[str, Callable[[], str | None]] = {
    "root": _why_no_root,
    "namespaces": _why_no_namespaces,
}
