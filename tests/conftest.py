"""Settings of all tests, and the fixtures of several files."""

from __future__ import annotations

import compileall
import contextlib
import gc
import importlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from checking import Check, check_command
from fslog import context
from fslog.collector import Collector
from needs import pytest_runtest_setup  # noqa: F401  (a hook)
from processes import KEYS
from uploads import Command, command

if TYPE_CHECKING:  # only the tests of the page need a browser
    from selenium.webdriver import Chrome

    from browser import Page, Viewer

# The speed of the machine proves nothing about fslog; costs are measured in the tier `timing`.
_unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", _unhurried, max_examples=25)
# `--hypothesis-profile=thorough`, with which `.ci/run` tries each property once.
settings.register_profile("thorough", _unhurried, max_examples=60)
settings.load_profile("quick")

# `nohup pytest &` begins with SIGINT ignored, and so would every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The tests' endpoints have no certificate, or one that its test names. To load the system's takes
# longer than everything else in the construction of a handler.
os.environ.update(SSL_CERT_FILE=os.devnull, SSL_CERT_DIR=os.devnull)


# Byte code is written even under `PYTHONDONTWRITEBYTECODE`. Else each of the hundreds of programs
# that the tests start would compile the package, and each run of pytest all the tests.
sys.dont_write_bytecode = False


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Know the option of fslog's plugin on a Python that runs this code without installing it."""
    if not pluginmanager.has_plugin("fslog"):
        parser.addini("fslog_send", "see fslog.pytest_plugin", type="bool")


def pytest_configure(config: pytest.Config) -> None:
    """Compile the package once; stop if the disk is so full that a spool refuses all events."""
    if not hasattr(config, "workerinput"):
        found = shutil.disk_usage(tempfile.gettempdir())
        if found.free < found.total * 0.06:  # `spool_min_free` is 5 % by default
            raise pytest.UsageError(
                f"{found.free / found.total:.1%} of the file system of {tempfile.gettempdir()} is "
                "free: make room on it, or name a directory on another one in TMPDIR"
            )
        compileall.compile_dir(sys.modules["fslog"].__path__[0], quiet=2)


def import_share(config: pytest.Config) -> None:
    """Import a share of all test files before the others, in each of pytest's workers.

    In a new checkout pytest compiles each file, with its assertions rewritten, which takes three
    times as long as all else before the first test. The workers would do it all at once, each for
    every file.
    """
    worker = getattr(config, "workerinput", None)
    if worker is None or config.args != config.getini("testpaths"):
        return
    number = int(worker["workerid"].removeprefix("gw"))
    files = sorted(Path(__file__).parent.rglob("test_*.py"))
    for path in files[number :: worker["workercount"]]:
        sys.path.insert(0, str(path.parent))
        # What it raises, pytest's own import raises again, and reports.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(path.stem)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return two workers more than there are cores: many tests wait for a process or a timeout."""
    return (os.cpu_count() or 1) + 2


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Keep what pytest itself holds, some 100,000 objects, out of each garbage collection."""
    gc.disable()
    try:
        import_share(session.config)
        return (yield)
    finally:
        # hypothesis asks the collector, on newer versions, who refers to its own objects.
        if sys.version_info < (3, 14):
            gc.freeze()
        gc.enable()


MEASURING = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


@pytest.fixture(autouse=True)
def _nobody() -> Iterator[None]:
    """Bind nobody in the next test, whatever this one has bound."""
    yield
    context.clear()


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the keys, the endpoint and the proxies of the machine from the environment.

    Coverage is not measured in the programs that a test starts unless it asks for that, see
    `measured`: some are about what an interpreter loads or traces, or how soon it ends.
    """
    for name in list(os.environ):
        ours = name.startswith("FSLOG_") and name != "FSLOG_TEST_INSTALLED"
        if ours or name.startswith("COVERAGE_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have coverage measured in the programs that a test starts, if it is measured here."""
    for name, value in MEASURING.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put valid keys into the environment."""
    for name, value in zip(("FSLOG_AUTH_KEY", "FSLOG_API_KEY"), KEYS, strict=True):
        monkeypatch.setenv(name, value)


@pytest.fixture
def collector(keys: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Return an endpoint with valid keys, and put its URL into the environment."""
    with Collector(keys=KEYS) as running:
        monkeypatch.setenv("FSLOG_ENDPOINT", running.url)
        yield running


@pytest.fixture
def fslog(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Return what runs the command line, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    return command(capsys)


@pytest.fixture
def person(keys: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Put keys into the environment, and run in a directory of its own with its own modules."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith("fslog"):
            del sys.modules[name]


@pytest.fixture
def check(person: None, capfd: pytest.CaptureFixture[str]) -> Check:
    """Return what runs `fslog check`."""
    return check_command(capfd)


@pytest.fixture(scope="session")
def driver() -> Iterator[Chrome]:
    """Return one browser for all tests of a worker: to start it takes as long as ten tests."""
    from browser import chromium

    with chromium() as driver:
        yield driver


@pytest.fixture(scope="session")
def new_viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """Run one viewer, in a process of its own, for all tests of a worker."""
    from browser import second

    with second(tmp_path_factory.mktemp("viewer")) as viewer:
        yield viewer


@pytest.fixture
def viewer(new_viewer: Viewer) -> Viewer:
    """Return a viewer that accepts everything and is empty."""
    new_viewer.ask("DELETE", "/api/outcomes")
    new_viewer.ask("DELETE", "/api/events")
    return new_viewer


@pytest.fixture
def page(driver: Chrome, viewer: Viewer) -> Page:
    """Return the page, loaded and connected."""
    from browser import fresh

    return fresh(driver, viewer)
