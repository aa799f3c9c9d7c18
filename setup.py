"""The package's metadata; the settings of its tools are in `pyproject.toml`.

Builds are reproducible: the same sources give the same wheel and the same sdist, byte for byte,
whenever, wherever and by whomever they are built, with the same versions of Python, zlib and
setuptools.
"""

from __future__ import annotations

import gzip
import os
import re
import tarfile
from datetime import datetime, timezone
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent

REPOSITORY: str | None = None
"""The address of the public repository, without a slash at its end; None as long as there is none.

From it are made the links on the package's page on an index: to files as they are at the tag of the
version, `v0.2.0`, by the paths that GitHub has for a page (`blob`) and for a file itself (`raw`).
"""

_CODE_OR_LINK = re.compile(
    r"^(?P<fence>`{3,}).*?^(?P=fence)$|(?P<ticks>`+)[^`]+(?P=ticks)"
    r"|(?P<mark>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^()\s]+)\)",
    re.MULTILINE | re.DOTALL,
)


def version() -> str:
    """Read the version from its module's text: importing the package needs its dependencies."""
    text = (HERE / "fslog" / "version.py").read_text(encoding="utf-8")
    found = re.search(r'^VERSION = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError('fslog/version.py has no line `VERSION = "..."`')
    return found[1]


def released_at() -> int:
    """Return the date of the newest release in CHANGELOG.md, as seconds since the epoch."""
    text = (HERE / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.search(r"^## \[[\d.]+\] - (\S+)$", text, re.MULTILINE)
    if found is None:
        raise RuntimeError("CHANGELOG.md has no line `## [version] - date`")
    return int(datetime.fromisoformat(found[1]).replace(tzinfo=timezone.utc).timestamp())


def absolute(markdown: str, repository: str | None) -> str:
    """Return README.md as a page outside of the repository can show it.

    Links become absolute. Without a repository their text remains, and pictures are left out.
    """

    def replaced(match: re.Match[str]) -> str:
        target = match["target"]
        if target is None or re.match(r"[a-z]+:", target):
            return match[0]
        text = absolute(match["text"], repository)  # a link may hold a picture
        if repository is None:
            return "" if match["mark"] else text
        kind = "raw" if match["mark"] else "blob"
        path = f"README.md{target}" if target.startswith("#") else target
        return f"{match['mark']}[{text}]({repository}/{kind}/v{version()}/{path})"

    return _CODE_OR_LINK.sub(replaced, markdown)


def project_urls(repository: str | None) -> dict[str, str]:
    """Return the links beside the package's page on an index."""
    urls = {"Freshsuccess Event API": "https://developer.freshsuccess.com/api/restapi.html"}
    if repository is not None:
        urls["Source"] = repository
        urls["Issues"] = f"{repository}/issues"
        urls["Changelog"] = f"{repository}/blob/v{version()}/CHANGELOG.md"
    return urls


def set_modes(directory: str) -> None:
    """Set the modes in a directory, its own too, to those that they have by the usual umask."""
    for path in [Path(directory), *Path(directory).rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


class Wheel(bdist_wheel):
    """Build a wheel whose files' modes do not depend on the umask."""

    def write_wheelfile(self, *args: str) -> None:
        """Write the last file of the tree that becomes the wheel, then set the modes in it."""
        super().write_wheelfile(*args)
        if os.path.isdir(self.bdist_dir):  # an editable install has no such tree
            set_modes(self.bdist_dir)


class Sdist(sdist):
    """Build an sdist that holds nothing of its builder's clock, name and umask."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Copy the files, then set the modes of the copies."""
        super().make_release_tree(base_dir, files)
        set_modes(base_dir)

    def make_archive(self, base_name: str, format: str, *, base_dir: str, **_: object) -> str:
        """Write a `.tar.gz`, and refuse other formats."""
        if format != "gztar":
            raise ValueError(f"format is {format!r}; only 'gztar' is reproducible")
        changed_at = int(os.environ["SOURCE_DATE_EPOCH"])

        def member(info: tarfile.TarInfo) -> tarfile.TarInfo:
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = changed_at
            return info

        path = f"{base_name}.tar.gz"
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with (
            open(path, "wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=changed_at) as compressed,
            tarfile.open(fileobj=compressed, mode="w") as archive,
        ):
            archive.add(base_dir, filter=member)
        return path


# setuptools reads the time that it stamps on a wheel's files from the environment.
os.environ["SOURCE_DATE_EPOCH"] = os.environ.get("SOURCE_DATE_EPOCH") or str(released_at())
setup(
    name="freshsuccess-logging",
    version=version(),
    description="A logging handler that ships log records to Freshsuccess as product-usage events",
    long_description=absolute((HERE / "README.md").read_text(encoding="utf-8"), REPOSITORY),
    long_description_content_type="text/markdown",
    author="fslog contributors",
    project_urls=project_urls(REPOSITORY),
    license_expression="MIT",
    license_files=["LICENSE"],
    keywords=[
        "logging",
        "freshsuccess",
        "freshworks",
        "natero",
        "customer success",
        "product analytics",
        "usage events",
    ],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Framework :: Pytest",
        "Intended Audience :: Developers",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Programming Language :: Python :: 3.15",
        "Programming Language :: Python :: Free Threading :: 2 - Beta",
        "Programming Language :: Python :: Implementation :: CPython",
        "Topic :: Software Development :: Libraries :: Python Modules",
        "Topic :: System :: Logging",
        "Typing :: Typed",
    ],
    # Said so that an editable install is a line in a `.pth` file: setuptools would else install an
    # import hook, which makes the start of every interpreter take three times as long.
    package_dir={"": "."},
    packages=find_packages(include=["fslog", "fslog.*"]),
    package_data={
        "fslog": ["py.typed", "guide/*.md", "auto/startup/*.py"],
        "fslog.cli.demo": ["*.json"],
        "fslog.viewer": ["static/*"],
    },
    cmdclass={"bdist_wheel": Wheel, "sdist": Sdist},
    zip_safe=False,
    python_requires=">=3.10",
    install_requires=["python-json-logger>=4", "urllib3>=2.2", "backoff>=2.2"],
    extras_require={
        "test": [
            "setuptools>=77.0.3",  # builds the package in the tests, without network
            "pytest>=8",
            "pytest-timeout",
            "pytest-xdist",
            "hypothesis",
            "coverage[toml]>=7.10",
            "PyYAML",
            "gunicorn",
            "uvicorn",
            "starlette",
            "fastapi",
            "django",
            "flask>=3",
            "gevent",
            "trustme",
            "celery",
            "redis",
            "rq",
            "aiohttp",
            "aiohttp-session",
            "cherrypy",
            "hypercorn",
            "paste",
            "tornado",
            "waitress",
            "apscheduler<4",
            "awslambdaric; sys_platform == 'linux'",
            "structlog>=25",
            "loguru>=0.7",
            "traitlets>=5.10",
            "selenium",
            "opentelemetry-sdk>=1.33",
            "prometheus_client>=0.20",
            "opentelemetry-instrumentation-urllib3",
            "sentry-sdk",
            "elastic-apm",
        ],
        # Only for slow tests: CI installs them in the one environment that runs those.
        "servers": ["granian>=2", "pyuwsgi>=2.0.30", "sanic>=25"],
        # Each minor release of ruff may format differently.
        "lint": ["ruff>=0.17,<0.18", "mypy>=2"],
    },
    entry_points={
        "console_scripts": ["fslog = fslog.cli:main"],
        "pytest11": ["fslog = fslog.pytest_plugin"],
    },
)
