"""What is built: the wheel and the sdist, and the metadata in them."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from fslog.version import VERSION
from readme_blocks import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.needs("setuptools>=77.0.3")]

NAME = f"freshsuccess_logging-{VERSION}"
GENERATED = {"PKG-INFO", "setup.cfg", "freshsuccess_logging.egg-info"}
"""What is at the top level of an sdist and of no checkout."""

BUILD = """
import os, sys
umask, out, *hooks = sys.argv[1:]
os.umask(int(umask, 8))
import setuptools.build_meta as backend
for hook in hooks:
    getattr(backend, hook)(out)
"""
REPOSITORY = "https://example.org/fslog"
PAGE = """[one](a/b.md), [`two`](#two), [![three](c.png)](d/), ![four](e.png).
[five](https://example.net/f), `[six](g)`, [[7]](h)

```md
[eight](i) ![nine](j)
```
"""
PAGE_WITHOUT = """one, `two`, , .
[five](https://example.net/f), `[six](g)`, [7]

```md
[eight](i) ![nine](j)
```
"""
PAGE_WITH = """[one](BLOB/a/b.md), [`two`](BLOB/README.md#two), \
[![three](RAW/c.png)](BLOB/d/), ![four](RAW/e.png).
[five](https://example.net/f), `[six](g)`, [[7]](BLOB/h)

```md
[eight](i) ![nine](j)
```
"""
PAGE_WITH = PAGE_WITH.replace("BLOB", f"{REPOSITORY}/blob/v{VERSION}")
PAGE_WITH = PAGE_WITH.replace("RAW", f"{REPOSITORY}/raw/v{VERSION}")


@functools.cache
def git_files() -> list[str]:
    """Return what git knows; nothing in an unpacked sdist, or if git is not installed."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        return []
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return [name for name in listed.split("\0") if name and os.path.lexists(ROOT / name)]


def sources() -> Iterator[Path]:
    """Yield what is built from: what git knows, or else what is not the leavings of a build."""
    if git_files():
        yield from map(Path, git_files())
        return
    folders = ("fslog", "tests", "examples", ".ci", ".github")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    for path in [*found, *ROOT.iterdir()]:
        name = path.relative_to(ROOT)
        if not path.is_dir() and "__pycache__" not in name.parts and str(name) not in GENERATED:
            yield name


def checkout(directory: Path, *, mode: int = 0o644, changed_at: int = 1_700_000_000) -> Path:
    """Copy what is built from, with modes and times that a clone may have."""
    for name in sources():
        copy = directory / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy, follow_symlinks=False)
        if not copy.is_symlink():
            copy.chmod(mode | 0o100 if os.access(ROOT / name, os.X_OK) else mode)
            os.utime(copy, (changed_at, changed_at))
    return directory


def build(directory: Path, *hooks: str, umask: str = "022", **settings: str) -> Path:
    """Call hooks of the build backend in a directory, and return where their results are."""
    out = directory.parent / f"{directory.name}.out"
    out.mkdir(exist_ok=True)
    env = {**os.environ, "SOURCE_DATE_EPOCH": "", **settings}  # an empty one is none
    command = [sys.executable, "-c", BUILD, umask, str(out), *hooks]
    done = subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@dataclass(frozen=True)
class Built:
    """A wheel and an sdist."""

    wheel: Path
    sdist: Path


def both(out: Path) -> Built:
    """Return what was built."""
    return Built(out / f"{NAME}-py3-none-any.whl", out / f"{NAME}.tar.gz")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build both, from one copy."""
    directory = checkout(tmp_path_factory.mktemp("built") / "one")
    return both(build(directory, "build_sdist", "build_wheel"))


def metadata(directory: Path) -> Message:
    """Return the metadata that a directory's wheel would have."""
    out = build(directory, "prepare_metadata_for_build_wheel")
    text = (out / f"{NAME}.dist-info" / "METADATA").read_text(encoding="utf-8")
    return Parser().parsestr(text)


def test_builds_are_reproducible(built: Built, tmp_path: Path) -> None:
    """Another directory, clock, umask, time zone and hash seed give the same files, byte for byte.

    So does a wheel that is built from the sdist.
    """
    directory = checkout(tmp_path / "two", mode=0o600, changed_at=1_600_000_000)
    out = build(
        directory,
        "build_wheel",
        "build_sdist",
        umask="077",
        TZ="Asia/Tokyo",
        PYTHONHASHSEED="1",
    )
    again = both(out)
    assert again.wheel.read_bytes() == built.wheel.read_bytes()
    assert again.sdist.read_bytes() == built.sdist.read_bytes()
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (wheel,) = build(tmp_path / NAME, "build_wheel").iterdir()
    assert wheel.read_bytes() == built.wheel.read_bytes()


def test_an_editable_install_is_a_line_in_a_pth_file(tmp_path: Path) -> None:
    """An editable install adds the checkout's path, and no import hook, which slows each start."""
    directory = checkout(tmp_path / "fslog")
    (wheel,) = build(directory, "build_editable").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        added = {name: archive.read(name) for name in archive.namelist() if "dist-info" not in name}
    assert list(added.values()) == [f"{directory}\n".encode()]
    assert [name.endswith(".pth") for name in added] == [True]


def test_the_sdist_holds_what_git_knows(built: Built) -> None:
    """An sdist is a checkout, tests and settings included; nothing else is in it."""
    if not git_files():
        pytest.skip("this is no git checkout, or git is not installed")
    with tarfile.open(built.sdist) as archive:
        names = [info.name.partition("/")[2] for info in archive if info.isfile()]
    unpacked = [name for name in names if name.partition("/")[0] not in GENERATED]
    assert sorted(unpacked) == sorted(git_files())
    assert {name.partition("/")[0] for name in names} >= GENERATED


def test_the_sdist_says_nothing_of_its_builder(built: Built) -> None:
    """No user's name, no clock and no umask is in an sdist; programs can be executed."""
    with tarfile.open(built.sdist) as archive:
        infos = archive.getmembers()
    assert {(info.uid, info.gid, info.uname, info.gname) for info in infos} == {(0, 0, "", "")}
    assert len({info.mtime for info in infos}) == 1
    assert {oct(info.mode) for info in infos if info.isdir()} == {"0o755"}
    executable = [info.name for info in infos if info.isfile() and info.mode != 0o644]
    assert executable == [f"{NAME}/.ci/run", f"{NAME}/examples/tracking_plan/ci.sh"]


def test_the_wheel_holds_the_package(built: Built) -> None:
    """A wheel has the modules, what they read, and the licence; no tests, no examples."""
    package = {name.as_posix() for name in sources() if name.parts[0] == "fslog"}
    info = f"{NAME}.dist-info"
    with zipfile.ZipFile(built.wheel) as archive:
        names = set(archive.namelist())
        text = archive.read(f"{info}/licenses/LICENSE")
    assert text == (ROOT / "LICENSE").read_bytes()
    assert {name for name in names if not name.startswith(info)} == package


def test_the_licence_is_an_expression(built: Built) -> None:
    """The metadata names the licence once, by its SPDX expression, and its file."""
    with zipfile.ZipFile(built.wheel) as archive:
        text = archive.read(f"{NAME}.dist-info/METADATA").decode()
    found = Parser().parsestr(text)
    assert found["License-Expression"] == "MIT"
    assert found.get_all("License-File") == ["LICENSE"]
    assert found["License"] is None
    assert not [one for one in found.get_all("Classifier", []) if one.startswith("License")]


def test_the_page_has_no_relative_link(built: Built) -> None:
    """Each link and picture of README.md leads somewhere on a package index, or is left out."""
    with zipfile.ZipFile(built.wheel) as archive:
        text = archive.read(f"{NAME}.dist-info/METADATA").decode()
    page = Parser().parsestr(text).get_payload()
    assert isinstance(page, str)
    prose = re.sub(r"^(`{3,}).*?^\1$|`[^`]+`", "", page, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(
        r"\]\(([^)]*)\)|^\[[^\]]+\]: *(\S+)|\b(?:src|href|srcset)=\"([^\"]*)", prose
    )
    found = [target for groups in targets for target in groups if target]
    assert [target for target in found if not re.match("https?://|mailto:", target)] == []


@pytest.mark.parametrize(
    ("repository", "page", "names"),
    [
        (None, PAGE_WITHOUT, ["Freshsuccess Event API"]),
        (
            REPOSITORY,
            PAGE_WITH,
            ["Freshsuccess Event API", "Source", "Issues", "Changelog"],
        ),
    ],
    ids=["no repository", "a repository"],
)
def test_the_repository_is_named_once(
    repository: str | None, page: str, names: list[str], tmp_path: Path
) -> None:
    """From one line of setup.py follow the project's addresses and the page's absolute links."""
    directory = checkout(tmp_path / "fslog")
    setup = (directory / "setup.py").read_text(encoding="utf-8")
    line = f"REPOSITORY: str | None = {repository!r}"
    changed, count = re.subn(r"^REPOSITORY: str \| None = .*$", line, setup, flags=re.MULTILINE)
    assert count == 1
    (directory / "setup.py").write_text(changed, encoding="utf-8")
    (directory / "README.md").write_text(PAGE, encoding="utf-8")
    found = metadata(directory)
    assert found.get_payload() == page
    urls = [one.split(", ") for one in found.get_all("Project-URL", [])]
    assert [name for name, _ in urls] == names
    own = [url for name, url in urls if name != "Freshsuccess Event API"]
    assert all(url.startswith(str(repository)) for url in own)
