"""`pytest --fslog-plan-coverage`: which planned events the tests have made."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fslog.testing.sink import observers
from readme_blocks import environment

pytest_plugins = ["pytester"]

PLAN: dict[str, Any] = {
    "version": 1,
    "events": {
        feature: {"event": {"action": "feature", "module": "shop", "feature": feature}}
        for feature in ("buy", "sell", "rent", "old")
    },
}
PLAN["events"]["old"]["expires"] = "2020-01"

SHOP = """
    import logging
    import fslog

    log = logging.getLogger("shop")
    log.setLevel(logging.INFO)
    log.handlers[:] = [fslog.FreshsuccessHandler(enabled=False)]

    def use(feature, **more):
        event = {"action": "feature", "module": "shop", "feature": feature, **more}
        log.info("used %s", feature, extra={"accountId": "a", "userId": "u", "event": event})
    """

TESTS = """
    from fslog.testing import capture
    from shop import use

    def test_buy(freshsuccess):
        use("buy")
        freshsuccess.assert_event(feature="buy")

    def test_cleared(freshsuccess):
        use("buy")
        freshsuccess.clear()

    def test_never_asked_for(freshsuccess):
        use("rent")

    def test_another_capture():
        with capture():
            use("rennt")

    def test_invalid(freshsuccess):
        use("sell", userId=None)

    def test_without():
        use("sell")
    """

Run = Callable[..., pytest.RunResult]

REGISTERED = bool(importlib.metadata.entry_points(group="pytest11", name="fslog"))
LOAD = () if REGISTERED else ("-p", "fslog.pytest_plugin")
"""As in `test_pytest_plugin`."""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run pytest with a plan, in this process."""
    before = list(observers)
    pytester.makepyfile(shop=SHOP, test_shop=TESTS)
    pytester.makefile(".json", plan=json.dumps(PLAN))
    pytester.makeini("[pytest]\nfslog_plan_file = plan.json\n")

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess(*LOAD, "-p", "no:xdist", *arguments)

    yield run
    assert observers == before


REPORT = [
    "*= fslog plan coverage =*",
    "*plan.json: 2 of 3 planned events seen (67 %), in 4 events",
    "planned, never seen",
    "  sell * shop / sell",
    "planned and seen",
    "  buy * 2, last 20*",
    "  rent * 1, last 20*",
    "seen, never planned",
    "  shop / rennt * 1, last *; did you mean shop / rent?",
]


def test_the_report(run: Run) -> None:
    """Valid events of all captures count, asked for or not, and no others."""
    result = run("--fslog-plan-coverage")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(REPORT, consecutive=True)
    assert result.ret == 0


@pytest.mark.parametrize(("least", "code"), [("66.6", 0), ("66.7", 1)])
def test_too_little(least: str, code: int, run: Run) -> None:
    """Below the percentage the run fails, and the report says so."""
    result = run("--fslog-plan-fail-under", least)
    assert result.ret == code
    shown = "FAIL 66.7 % of the planned events were seen, expected 66.7 %" in result.stdout.str()
    assert shown == bool(code)
    assert "= fslog plan coverage =" in result.stdout.str()


def test_another_exit_code_stays(run: Run) -> None:
    """The exit code of a run that found no tests, say, does not change."""
    assert run("--fslog-plan-fail-under", "100", "-k", "none").ret == 5


def test_without_the_option(run: Run) -> None:
    """Nothing is reported."""
    assert "fslog plan coverage" not in run().stdout.str()


def test_without_a_plan(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says how to name one; one that cannot be read is named."""
    pytester.makeini("[pytest]\n")
    result = run("--fslog-plan-coverage")
    assert result.ret == 4
    assert "there is no plan; set the ini option fslog_plan_file" in result.stderr.str()
    monkeypatch.setenv("FSLOG_PLAN", "none.yaml")
    result = run("--fslog-plan-coverage")
    assert result.ret == 4
    assert "FSLOG_PLAN: none.yaml cannot be read" in result.stderr.str()


@pytest.mark.slow
def test_with_xdist(run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker counts its own tests' events; report and exit code are about all of them."""
    for name in set(os.environ):
        if name.startswith(("COV", "PYTEST_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", environment({})["PYTHONPATH"])
    result = pytester.runpytest_subprocess(
        *(*LOAD, "-p", "no:hypothesispytest", "-n", "2"), *("--fslog-plan-fail-under", "70")
    )
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(REPORT, consecutive=True)
    assert result.ret == 1
