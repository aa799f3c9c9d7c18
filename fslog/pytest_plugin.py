"""The plugin of pytest: tests send no events, and the fixture `freshsuccess` has them instead.

Every pytest run of an environment with fslog imports this module. What needs the network is
imported when a test uses the fixture.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fslog.testing import Capture


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini option `fslog_send`."""
    parser.addini(
        "fslog_send",
        "Let handlers send the events of tests that do not use the fixture freshsuccess.",
        type="bool",
        default=False,
    )


# Around all other plugins' hooks: some configure the application, and so its logging, in theirs.
@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """Switch handlers off before anything of the application is imported."""
    _switch_off(early_config)
    yield


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Switch handlers off; this alone runs if a conftest.py loads the plugin."""
    _switch_off(config)


def _switch_off(config: pytest.Config) -> None:
    """Switch the handlers of this process and of programs that it starts off, for this run."""
    if config.getini("fslog_send"):
        return
    from fslog import capture

    config.add_cleanup(capture.switch_off())
    before = os.environ.get("FSLOG_ENABLED")
    if not (before or "").strip():
        os.environ["FSLOG_ENABLED"] = "no"
        config.add_cleanup(lambda: _restore(before))


def _restore(enabled: str | None) -> None:
    if enabled is None:
        os.environ.pop("FSLOG_ENABLED", None)
    else:
        os.environ["FSLOG_ENABLED"] = enabled


@pytest.fixture
def freshsuccess(monkeypatch: pytest.MonkeyPatch) -> Iterator[Capture]:
    """Catch Freshsuccess events instead of sending them: .events, .assert_event(action=...)."""
    from fslog.testing import VARIABLES, capture

    for name in VARIABLES:
        # Set before the test's own changes, and so undone after them: else these would restore
        # the values of the fixture.
        is_set = name in os.environ
        monkeypatch.setenv(name, os.environ.get(name, ""))
        if not is_set:
            del os.environ[name]
    with capture() as captured:
        yield captured
