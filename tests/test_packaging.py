"""The installed distribution, and the top level of a checkout."""

from __future__ import annotations

import datetime
import fnmatch
import importlib.metadata
import importlib.resources
import inspect
import os
import re
import sysconfig
from pathlib import Path

import pytest

import fslog
from fslog.cli.names import TOPICS
from fslog.version import VERSION

ROOT = Path(__file__).resolve().parent.parent
DISTRIBUTION = "freshsuccess-logging"
"""`fslog` is the name of somebody else's distribution."""

INSTALLED = os.environ.get("FSLOG_TEST_INSTALLED") == "1"
"""Whether the suite runs beside a checkout without `fslog/`, against an installed wheel."""

PUBLIC = [
    "EventFormatter",
    "FreshsuccessHandler",
    "Health",
    "InvalidEvent",
    "Problem",
    "Stats",
    "aflush",
    "context",
    "flush",
    "health",
    "identify_account",
    "identify_user",
    "stats",
]
TOP_LEVEL = {
    "CHANGELOG.md",
    "LICENSE",
    "MANIFEST.in",
    "README.md",
    "examples",
    "fslog",
    "pyproject.toml",
    "setup.py",
    "tests",
}


def test_the_tested_package_is_the_intended_one() -> None:
    """A checkout tests its own package, a run against a wheel the installed one."""
    home = Path(sysconfig.get_path("purelib")) if INSTALLED else ROOT
    assert Path(fslog.__file__).resolve().parent == home.resolve() / "fslog"


def test_the_public_names() -> None:
    """`fslog` has exactly these names, and `dir` lists them."""
    assert sorted(fslog.__all__) == PUBLIC
    assert set(PUBLIC) <= set(dir(fslog))


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_documented(name: str) -> None:
    """Each public name begins its documentation with a sentence of its own."""
    # What `dataclass` writes where there is no docstring is a signature and ends otherwise.
    assert (inspect.getdoc(getattr(fslog, name)) or "").partition("\n\n")[0].endswith(".")


def test_the_metadata() -> None:
    """The installed distribution has its version, its summary and the Pythons that it supports."""
    metadata = importlib.metadata.metadata(DISTRIBUTION)
    assert metadata["Name"] == DISTRIBUTION
    assert metadata["Version"] == VERSION
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_the_dependencies() -> None:
    """fslog needs three packages at run time and nothing else."""
    required = importlib.metadata.requires(DISTRIBUTION) or []
    needed = {line.replace(" ", "") for line in required if "extra ==" not in line}
    assert needed == {"python-json-logger>=4", "urllib3>=2.2", "backoff>=2.2"}


def test_the_command() -> None:
    """Installing fslog installs the command `fslog`, which calls a function."""
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="fslog")
    assert command.value == "fslog.cli:main"
    assert callable(command.load())


def test_the_types_are_published() -> None:
    """The package has the marker without which type checkers ignore its annotations."""
    assert importlib.resources.files("fslog").joinpath("py.typed").is_file()


def test_the_guide_is_packed() -> None:
    """The package has every topic of the guide, and no other page."""
    pages = importlib.resources.files("fslog").joinpath("guide").iterdir()
    assert {page.name for page in pages} == {f"{topic}.md" for topic in TOPICS}


def test_the_top_level() -> None:
    """A checkout has at its top level the documented entries, dotfiles, and output of builds."""
    left_by_builds = [
        pattern.rstrip("/")
        for pattern in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    ]
    there = {
        path.name
        for path in ROOT.iterdir()
        if not path.name.startswith(".")
        and not any(fnmatch.fnmatch(path.name, pattern) for pattern in left_by_builds)
    }
    in_sdist = {"PKG-INFO", "setup.cfg"} if (ROOT / "PKG-INFO").exists() else set()
    assert there - in_sdist == (TOP_LEVEL - {"fslog"} if INSTALLED else TOP_LEVEL)


def test_pyproject_holds_settings_only() -> None:
    """`setup.py` describes the package; `pyproject.toml` only how it is built and checked."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    tables = {name.partition(".")[0] for name in re.findall(r"^\[+([\w.-]+)\]+$", text, re.M)}
    assert tables == {"build-system", "tool"}


def test_the_changelog_knows_the_version() -> None:
    """The version that is built has the newest entry of the changelog; every entry has its date."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    entries = [one for one in re.findall(r"^## (.*)$", text, re.M) if one != "[Unreleased]"]
    assert entries[0].startswith(f"[{VERSION}] - ")
    dates = [re.sub(r"^\[[\d.]+\] - ", "", one) for one in entries]
    assert dates == sorted(map(str, map(datetime.date.fromisoformat, dates)), reverse=True)
