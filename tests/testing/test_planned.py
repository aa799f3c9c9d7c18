"""`assert_planned`, and the ini options of pytest for a plan."""

from __future__ import annotations

import json
import logging
import os
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fslog import FreshsuccessHandler, pytest_plugin
from fslog.testing import Capture, Finding, capture

PLAN: dict[str, Any] = {
    "version": 1,
    "events": {
        "export": {
            "event": {"action": "feature", "module": "shop", "feature": "export"},
            "properties": {"total": {"minimum": 1}},
        }
    },
}
WHO = {"accountId": "acme", "userId": "ann"}


@pytest.fixture
def freshsuccess() -> Iterator[Capture]:
    """Capture."""
    with capture() as captured:
        yield captured


@pytest.fixture
def log() -> logging.Logger:
    """Return a logger of this test only."""
    return logging.Logger("shop")


def use(log: logging.Logger, feature: str, **more: Any) -> None:
    """Log that a feature was used."""
    event = {"action": "feature", "module": "shop", "feature": feature, **more}
    log.info("used", extra={**WHO, "event": event})


def failure(freshsuccess: Capture, plan: Any = None) -> str:
    """Return the message of the assertion."""
    with pytest.raises(AssertionError) as raised:
        freshsuccess.assert_planned(plan)
    return str(raised.value)


@pytest.mark.parametrize("unplanned", ["warn", "refuse", "send"])
def test_what_is_not_planned_fails(
    unplanned: str, freshsuccess: Capture, log: logging.Logger
) -> None:
    """Whatever becomes of such an event in production, the assertion finds it."""
    log.addHandler(FreshsuccessHandler(plan={**PLAN, "unplanned": unplanned}))
    use(log, "export", total=1)
    freshsuccess.assert_planned()
    for _ in range(3):
        use(log, "exprot")
    use(log, "export", total=0)
    shown = failure(freshsuccess)
    assert shown.startswith("not everything is as planned: 2 problems\n")
    assert shown.count("feature 'exprot'") == 1
    assert "did you mean shop / export? [unplanned]" in shown
    if unplanned != "send":
        assert shown.count("test_planned.py:") == 2
    assert len(freshsuccess.events) == (1 if unplanned == "refuse" else 5)
    assert len(freshsuccess.problems) == (4 if unplanned == "refuse" else 0)
    assert len(freshsuccess.warnings) == (4 if unplanned == "warn" else 0)


def test_a_plan_may_be_given(
    freshsuccess: Capture, log: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one anywhere the assertion fails: it would prove nothing."""
    log.addHandler(FreshsuccessHandler())
    use(log, "export")
    assert failure(freshsuccess).startswith("there is no plan: ")
    freshsuccess.assert_planned(PLAN)
    use(log, "other")
    assert "  from another process: an event with" in failure(freshsuccess, PLAN)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(PLAN))
    monkeypatch.setenv("FSLOG_PLAN", str(path))
    assert "feature 'other'" in failure(freshsuccess)
    assert "feature 'other'" in failure(freshsuccess, path)


def test_events_of_other_processes_are_held_against_the_plan(freshsuccess: Capture) -> None:
    """They arrive over HTTP, from programs without a plan of their own too."""
    event = {**WHO, "createdAt": 1e12, "sessionId": "s", "action": "feature"}
    body = json.dumps({**event, "module": "shop", "feature": "other"}).encode() + b"\n"
    keys = f"{os.environ['FSLOG_AUTH_KEY']}/{os.environ['FSLOG_API_KEY']}"
    with urllib.request.urlopen(f"{freshsuccess.url}/v1/{keys}", body, timeout=10):
        pass
    freshsuccess.wait_for(1)
    assert "feature 'other'" in failure(freshsuccess, PLAN)


def test_a_long_list_is_shortened(freshsuccess: Capture, log: logging.Logger) -> None:
    """A message stays readable."""
    log.addHandler(FreshsuccessHandler(plan=PLAN))
    for number in range(30):
        use(log, f"f{number}")
    assert failure(freshsuccess).endswith("\n  and 10 more")


def test_a_finding_of_a_refused_event_is_no_warning() -> None:
    """A plan's code is a warning, unless the plan refuses."""
    assert Finding("unplanned", "", "").is_warning
    assert not Finding("unplanned", "", "", is_refused=True).is_warning


class Config:
    """What the plugin uses of pytest's configuration."""

    def __init__(self, inipath: Path | None, rootpath: Path, **options: str) -> None:
        self.inipath, self.rootpath = inipath, rootpath
        self._options = {"fslog_plan": "", "fslog_plan_file": "", **options}
        self.cleanups: list[Callable[[], None]] = []
        self.add_cleanup = self.cleanups.append

    def getini(self, name: str) -> str:
        """Return an option's value."""
        return self._options[name]


def named(config: Config) -> str | None:
    """Return the plan that handlers find during the run."""
    pytest_plugin._name_plan(config)  # type: ignore[arg-type]
    return os.environ.get("FSLOG_PLAN")


def test_the_ini_file_names_the_plan_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path is relative to the ini file; a variable that is set before wins."""
    monkeypatch.setenv("FSLOG_PLAN", " ")
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(PLAN))
    ini = tmp_path / "pytest.ini"
    assert named(Config(ini, Path("/"))) == " "
    config = Config(ini, Path("/"), fslog_plan_file="plan.json", fslog_plan="strict")
    assert named(config) == str(path)
    assert named(config) == str(path)
    for cleanup in config.cleanups:
        cleanup()
    assert os.environ["FSLOG_PLAN"] == " "
    monkeypatch.delenv("FSLOG_PLAN")
    config = Config(None, tmp_path, fslog_plan_file="plan.json")
    assert named(config) == str(path)
    for cleanup in config.cleanups:
        cleanup()
    assert "FSLOG_PLAN" not in os.environ


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fslog_plan": "strikt"}, "fslog_plan is 'strikt'; expected 'strict', or nothing"),
        ({"fslog_plan_file": "none.json"}, "fslog_plan_file: .*none.json cannot be read"),
    ],
)
def test_a_wrong_ini_option_is_an_error_of_usage(
    options: dict[str, str], message: str, tmp_path: Path
) -> None:
    """No test runs, and the message names the option."""
    with pytest.raises(pytest.UsageError, match=message):
        named(Config(None, tmp_path, **options))
