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
    """Add the ini options `fslog_send`, `fslog_plan` and `fslog_plan_file`."""
    parser.addini(
        "fslog_send",
        "Let handlers send the events of tests that do not use the fixture freshsuccess.",
        type="bool",
        default=False,
    )
    parser.addini(
        "fslog_plan_file",
        "The tracking plan of handlers that have none of their own, relative to this file.",
        default="",
    )
    parser.addini(
        "fslog_plan",
        "strict: a test that uses the fixture freshsuccess fails if an event is not as planned.",
        default="",
    )


# Around all other plugins' hooks: some configure the application, and so its logging, in theirs.
@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """Switch handlers off before anything of the application is imported."""
    _switch_off(early_config)
    _name_plan(early_config)
    yield


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Switch handlers off; this alone runs if a conftest.py loads the plugin."""
    _switch_off(config)
    _name_plan(config)


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


def _name_plan(config: pytest.Config) -> None:
    """Name the tracking plan of this run in the environment, where handlers and programs find it.

    Raises:
        pytest.UsageError: the plan cannot be read, or an option is not valid.
    """
    mode, file = config.getini("fslog_plan"), config.getini("fslog_plan_file")
    if mode not in ("", "strict"):
        raise pytest.UsageError(f"fslog_plan is {mode!r}; expected 'strict', or nothing")
    before = os.environ.get("FSLOG_PLAN")
    if not file or (before or "").strip():
        return
    from fslog.plan.plan import Plan

    path = (config.inipath.parent if config.inipath else config.rootpath) / file
    try:
        Plan.read(path)
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(f"fslog_plan_file: {error}") from None
    os.environ["FSLOG_PLAN"] = str(path)
    config.add_cleanup(lambda: _restore(before, "FSLOG_PLAN"))


def _restore(before: str | None, name: str = "FSLOG_ENABLED") -> None:
    if before is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = before


@pytest.fixture
def freshsuccess(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Capture]:
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
        if request.config.getini("fslog_plan") == "strict" and (
            captured.events or captured.problems
        ):
            captured.assert_planned()
