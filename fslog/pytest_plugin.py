"""The plugin of pytest: tests send no events, and the fixture `freshsuccess` has them instead.

On demand it reports which events of a tracking plan the tests have made.

Every pytest run of an environment with fslog imports this module. What needs the network is
imported when a test uses the fixture.
"""

from __future__ import annotations

import datetime
import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fslog.testing import Capture


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini options, and the options for the coverage of a plan."""
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
    group = parser.getgroup("fslog")
    group.addoption(
        "--fslog-plan-coverage",
        action="store_true",
        help="report which events of the tracking plan the captured tests have made",
    )
    group.addoption(
        "--fslog-plan-fail-under",
        type=float,
        metavar="N",
        help="fail if they are less than N percent of the planned events; implies the report",
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
    fail_under: float | None = config.getoption("fslog_plan_fail_under", None)
    if fail_under is not None or config.getoption("fslog_plan_coverage", None):
        config.pluginmanager.register(_PlanCoverage(config, fail_under), "fslog-plan-coverage")


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


class _PlanCoverage:
    """Count the events of captures by what the tracking plan says of them.

    Each worker of pytest-xdist counts its own; the main process adds them up.

    Args:
        config: names the plan.
        fail_under: the least percentage of planned events; None for any.
    """

    _KEY = "fslog_plan_coverage"

    def __init__(self, config: pytest.Config, fail_under: float | None) -> None:
        from fslog.plan.coverage import Coverage
        from fslog.plan.plan import Plan
        from fslog.testing.sink import observers

        path = os.environ.get("FSLOG_PLAN", "").strip()
        if not path:
            raise pytest.UsageError(
                "--fslog-plan-coverage: there is no plan; set the ini option fslog_plan_file"
            )
        try:
            self._coverage = Coverage(Plan.read(path))
        except (TypeError, ValueError) as error:
            raise pytest.UsageError(f"FSLOG_PLAN: {error}") from None
        self._fail_under = fail_under
        self._today = datetime.datetime.now(datetime.timezone.utc).date()
        observers.append(self._coverage.add)
        config.add_cleanup(lambda: observers.remove(self._coverage.add))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Give the counts to the main process, or judge them."""
        output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[self._KEY] = self._coverage.values()
        elif self._shortfall() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add the counts of a worker; one that has crashed has none."""
        values = getattr(node, "workeroutput", {}).get(self._KEY)
        if values is not None:
            self._coverage.merge(values)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the report."""
        from fslog.cli.plan.coverage import rows
        from fslog.net.redaction import printable

        terminalreporter.ensure_newline()
        terminalreporter.section("fslog plan coverage")
        for row in rows(self._coverage, self._today):
            terminalreporter.write_line(printable("".join(text for text, _ in row)))
        if shortfall := self._shortfall():
            terminalreporter.write_line(shortfall, red=True)

    def _shortfall(self) -> str:
        percent = self._coverage.percent(self._today)
        if self._fail_under is None or percent >= self._fail_under:
            return ""
        return (
            f"FAIL {percent:.1f} % of the planned events were seen, expected {self._fail_under:g} %"
        )


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
