"""The fixture `freshsuccess` in several kinds of projects, each run by its own pytest."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import fslog.context
import fslog.formatter
import fslog.handler
import fslog.mapping.rules
import fslog.testing.sink
import processes
from fslog import FreshsuccessHandler, pytest_plugin
from fslog.collector import Collector
from fslog.testing import Capture
from readme_blocks import environment

pytest_plugins = ["pytester"]

REGISTERED = bool(importlib.metadata.entry_points(group="pytest11", name="fslog"))
"""Whether the installed fslog registers the plugin, so that pytest loads it by itself."""

freshsuccess = pytest_plugin.freshsuccess

LOAD = [] if REGISTERED else ["-p", "fslog.pytest_plugin"]

QUIET = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
"""Disable unused plugins: loading hypothesis takes longer than everything else."""

Result = pytest.RunResult
Run = Callable[..., Result]

APP = """
    import logging
    import os
    import fslog

    log = logging.getLogger("shop")
    log.setLevel(logging.INFO)
    handler = fslog.FreshsuccessHandler(
        auth_key="auth", api_key="api", endpoint=os.environ["REAL"], flush_interval=600
    )
    log.addHandler(handler)

    def use(feature, **more):
        event = {"action": "feature", "module": "shop", "feature": feature, **more}
        log.info("used %s", feature, extra={"accountId": "a", "userId": "u", "event": event})
    """


@pytest.fixture
def real() -> Iterator[Collector]:
    """Return the endpoint of the project's own configuration."""
    with Collector() as endpoint:
        yield endpoint


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, real: Collector) -> Run:
    """Run pytest on a project whose module `app` logs with a handler for the real endpoint."""
    for name in set(os.environ):
        if name.startswith(("COV", "PYTEST_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", environment({})["PYTHONPATH"])
    monkeypatch.setenv("REAL", real.url)
    pytester.makepyfile(app=APP)

    def run(*arguments: str, **outcome: int) -> Result:
        result = pytester.runpytest_subprocess(
            *QUIET, "-W", "error", *LOAD, *arguments, timeout=100
        )
        result.assert_outcomes(**outcome)
        return result

    return run


def steps(handler: FreshsuccessHandler) -> list[str]:
    """Return the functions that some log calls run, up to the sink.

    The third call uses the encoder that the second one compiled; the last two are not events.
    """
    found: list[str] = []

    def profile(frame: Any, event: str, _: Any) -> None:
        path = frame.f_code.co_filename
        if event != "call" or not (path.startswith("<fslog encoder ") or path in ON_THE_WAY):
            return
        name, outer = frame.f_code.co_name, frame.f_back
        while outer is not None and outer.f_code.co_filename != fslog.testing.sink.__file__:
            outer = outer.f_back
        if outer is None:  # otherwise it is the work of a listener in production
            found.append(name)

    for extra in (*[USED] * 3, {}, {}):
        made = logging.LogRecord("shop", 20, "shop.py", 7, "used", (), None)
        made.__dict__.update(extra)
        found.append("-")
        before = sys.getprofile()
        sys.setprofile(profile)
        try:
            handler.handle(made)
        finally:
            sys.setprofile(before)
        assert handler.flush(10)
    return found


ON_THE_WAY = {
    fslog.handler.__file__,
    fslog.formatter.__file__,
    fslog.context.__file__,
    fslog.mapping.rules.__file__,
}
USED = {"accountId": "a", "userId": "u", "action": "sale", "total": 3}


@pytest.fixture
def production_steps() -> list[str]:
    """Return the steps of a handler that delivers, without those of the very first handler."""
    with Collector() as endpoint:
        for _ in range(2):
            handler = FreshsuccessHandler(auth_key="auth-1", api_key="api-1", endpoint=endpoint.url)
            found = steps(handler)
            handler.close()
        assert len(endpoint.events) == 6
    return found


@pytest.mark.parametrize("given", [{}, {"enabled": False}], ids=["enabled", "disabled"])
def test_a_log_call_runs_what_production_runs(
    given: dict[str, Any], production_steps: list[str], freshsuccess: Capture
) -> None:
    """With the fixture, a log call runs the same functions up to the sink, compiled ones too."""
    assert steps(FreshsuccessHandler(**given)) == production_steps
    calls = " ".join(production_steps).split("- ")
    assert calls[3].split() == ["handle", "fast_line", "encode_record"]
    assert calls[5].split() == ["handle", "fast_line", "always"]
    assert len(freshsuccess.events) == 3


def features(endpoint: Collector) -> list[str]:
    """Return the features that arrived at an endpoint."""
    assert endpoint.invalid == []
    return [event["feature"] for event in endpoint.events]


def test_the_plugin_is_registered() -> None:
    """Installing fslog registers the plugin, which has the fixture."""
    (plugin,) = importlib.metadata.entry_points(group="pytest11", name="fslog")
    assert plugin.value == "fslog.pytest_plugin"
    assert hasattr(plugin.load(), "freshsuccess")


@pytest.mark.slow
def test_it_costs_nothing_if_it_is_not_used(run: Run, pytester: pytest.Pytester) -> None:
    """Until a test requests the fixture, neither network code nor fslog is imported."""
    pytester.makepyfile(
        test_alone="""
        import pathlib, sys

        def test_what_pytest_loads_itself():
            assert "fslog.pytest_plugin" not in sys.modules
            pathlib.Path("alone").write_text(" ".join(sys.modules))
        """,
        test_costs="""
        import pathlib, sys

        COSTLY = {"urllib3", "http.server", "http.client", "backoff", "socketserver", "ssl",
                  "fslog.handler", "fslog.delivery.delivery", "fslog.collector", "fslog.testing"}

        def test_nothing_is_loaded():
            alone = pathlib.Path("alone").read_text().split()
            assert "fslog.pytest_plugin" in sys.modules
            assert COSTLY & set(sys.modules) - set(alone) == set()

        def test_it_is_loaded_when_it_is_requested(freshsuccess):
            assert "fslog.testing" in sys.modules
        """,
    )
    quiet = (*QUIET, "-p", "no:anyio")
    pytester.runpytest_subprocess(*quiet, "-p", "no:fslog", "test_alone.py").assert_outcomes(
        passed=1
    )
    run("-p", "no:anyio", "test_costs.py", passed=2)


@pytest.mark.slow
@pytest.mark.parametrize("sends", [True, False])
def test_a_project(run: Run, pytester: pytest.Pytester, real: Collector, sends: bool) -> None:
    """Each test sees its own events, from any handler; none reaches the real endpoint.

    Events outside of such tests reach it with the ini option `fslog_send` only.
    """
    pytester.makeini(f"[pytest]\nfslog_send = {sends}")
    pytester.makepyfile(
        test_shop="""
        import logging, logging.config, threading, unittest
        import pytest
        import fslog
        from app import handler, log, use

        @pytest.fixture(scope="module", autouse=True)
        def before_and_after():
            use("before")
            yield
            use("after")
            assert handler.flush(20)

        def test_one(freshsuccess):
            use("export", total=3)
            assert [event["feature"] for event in freshsuccess.events] == ["export"]
            freshsuccess.assert_event(action="feature", feature="export", total=lambda n: n > 2)
            freshsuccess.assert_no_event(feature="share")

        def test_it_begins_empty(freshsuccess):
            assert freshsuccess.events == freshsuccess.problems == []
            assert freshsuccess.skipped == 0

        def test_problems(freshsuccess):
            use("export", userId=None)
            (problem,) = freshsuccess.problems
            assert problem.property == "userId"
            assert problem.place.startswith("app.py:14, ")

        def test_a_configuration_of_its_own(freshsuccess):
            logging.config.dictConfig({
                "version": 1, "disable_existing_loggers": False,
                "handlers": {"usage": {"class": "fslog.FreshsuccessHandler", "level": "INFO"}},
                "loggers": {"other": {"handlers": ["usage"], "level": "INFO"}},
            })
            extra = {"accountId": "a", "userId": "u", "action": "sale"}
            logging.getLogger("other").info("sold", extra=extra)
            freshsuccess.assert_event(action="sale")

        def test_with_caplog(freshsuccess, caplog):
            with caplog.at_level(logging.INFO):
                use("export")
                logging.getLogger("other").info("skipped")
            assert caplog.messages == ["used export", "skipped"]
            freshsuccess.assert_event(feature="export")
            assert freshsuccess.skipped == 1

        def test_in_a_thread(freshsuccess):
            threading.Timer(0.05, use, ["export"]).start()
            freshsuccess.wait_for(feature="export")

        @pytest.mark.usefixtures("freshsuccess")
        class TestUnasked(unittest.TestCase):
            def test_it_is_not_sent(self):
                use("by unittest")
                assert handler.stats().delivered == 1

        @pytest.fixture
        def shop():
            use("by a fixture")

        def test_after_another_fixture(freshsuccess, shop):
            freshsuccess.assert_event(feature="by a fixture")
        """
    )
    run(passed=8)
    assert features(real) == (["before", "after"] if sends else [])


@pytest.mark.slow
def test_variables_that_a_test_sets(run: Run, pytester: pytest.Pytester) -> None:
    """In either order of fixtures, the next test finds the environment unchanged."""
    pytester.makepyfile(
        """
        import os
        import pytest

        NAMES = ("FSLOG_ENDPOINT", "FSLOG_ENABLED")
        BEFORE = [os.environ.get(name) for name in NAMES]

        @pytest.fixture
        def changed(monkeypatch):
            for name in NAMES:
                monkeypatch.setenv(name, "0")

        def test_before(monkeypatch, freshsuccess, changed):
            pass

        def test_after(changed, freshsuccess):
            pass

        def test_then():
            assert [os.environ.get(name) for name in NAMES] == BEFORE == [None, "no"]
        """
    )
    run(passed=3)


@pytest.mark.slow
def test_for_all_tests(run: Run, pytester: pytest.Pytester, real: Collector) -> None:
    """With `usefixtures` in pytest's configuration no test sends events."""
    pytester.makepyfile(
        test_shop="""
        from app import handler, use

        def test_one():
            use("export")
            assert handler.flush(20)
        """
    )
    pytester.makeini("[pytest]\nusefixtures = freshsuccess\nfslog_send = true")
    run(passed=1)
    assert real.requests == []


@pytest.mark.slow
def test_with_xdist(run: Run, pytester: pytest.Pytester, real: Collector) -> None:
    """In several processes at the same time, each test sees only its own events."""
    pytester.makepyfile(
        test_shop="""
        import os, subprocess, sys
        import pytest
        from app import use

        @pytest.mark.parametrize("number", range(12))
        def test_one(freshsuccess, number):
            use("export", number=number)
            if number % 6 == 0:
                program = f"import app; app.use('child', number={number})"
                env = {**os.environ, "REAL": os.environ["FSLOG_ENDPOINT"]}
                subprocess.run([sys.executable, "-c", program], env=env, check=True)
                freshsuccess.wait_for(number=number, feature="child")
            assert {event["number"] for event in freshsuccess.events} == {number}
        """
    )
    run("-n", "2", passed=12)
    assert real.requests == []


CONFIGURED = """
    import logging.config
    import os

    LOGGING = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "usage": {
                "class": "fslog.FreshsuccessHandler",
                "spool": "spool",
                "flush_interval": 0,
                **({"enabled": True} if "KEYS" not in os.environ else {}),
            }
        },
        "root": {"handlers": ["usage"], "level": "INFO"},
    }
    logging.config.dictConfig(LOGGING)

    def use(feature):
        extra = {"accountId": "a", "userId": "u", "action": "used", "feature": feature}
        logging.getLogger("shop").info("used", extra=extra)

    use("import")
    """

QUIET_PROJECT = """
    import logging
    import os
    import subprocess
    import sys
    import threading
    import fslog
    from configured import use

    def test_nothing_is_sent(request):
        (handler,) = [one for one in logging.getLogger().handlers if hasattr(one, "ping")]
        use("test")
        assert handler.flush() is True
        assert handler.stats() == fslog.Stats()
        handler.close()
        use("closed")
        names = {thread.name for thread in threading.enumerate()}
        assert "fslog" not in names
        if child := os.fork():
            assert os.waitpid(child, 0)[1] == 0
        else:
            use("child")
            os._exit(handler.stats().emitted)
        assert not os.path.exists("spool")

    def test_programs():
        assert os.environ["FSLOG_ENABLED"] == "no"
        env = {**os.environ, "KEYS": "1", "FSLOG_AUTH_KEY": "auth", "FSLOG_API_KEY": "api"}
        subprocess.run([sys.executable, "configured.py"], env=env, check=True)
        assert not os.path.exists("spool")

    def test_it_is_captured(freshsuccess):
        use("captured")
        assert [event["feature"] for event in freshsuccess.events] == ["captured"]
    """


@pytest.fixture
def configured(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, real: Collector) -> None:
    """Make a project that configures logging when it is imported, without keys, with a spool."""
    pytester.makepyfile(configured=CONFIGURED, test_quiet=QUIET_PROJECT)
    monkeypatch.setenv("FSLOG_ENDPOINT", real.url)


@pytest.mark.slow
@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("importing", ["conftest", "plugin"])
def test_tests_send_nothing(
    importing: str, run: Run, pytester: pytest.Pytester, real: Collector
) -> None:
    """By default handlers need no keys, accept nothing, start no thread and touch no spool.

    So does one that a plugin creates in its earliest hook, as pytest-django sets up Django.
    """
    if importing == "conftest":
        pytester.makeconftest("import configured")
        run(passed=3)
    else:
        pytester.makepyfile(
            early="""
            import pytest

            @pytest.hookimpl(tryfirst=True)
            def pytest_load_initial_conftests():
                import configured
            """
        )
        run("-p", "early", passed=3)
    assert real.requests == []


@pytest.mark.slow
@pytest.mark.usefixtures("configured")
def test_a_conftest_that_loads_the_plugin(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, real: Collector
) -> None:
    """If plugins do not load by themselves, a conftest.py may load it: it works from then on."""
    pytester.makeconftest("pytest_plugins = ['fslog.pytest_plugin']")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    result = pytester.runpytest_subprocess("-W", "error", "test_quiet.py")
    result.assert_outcomes(passed=3)
    assert real.requests == []


@pytest.mark.slow
@pytest.mark.usefixtures("configured")
def test_the_workers_of_xdist_send_nothing(
    run: Run, pytester: pytest.Pytester, real: Collector
) -> None:
    """The processes of xdist are pytest runs of their own."""
    pytester.makeconftest("import configured")
    run("-n", "2", passed=3)
    assert real.requests == []


SENDING = """
    import os
    import subprocess
    import sys
    from app import handler, use

    def test_it():
        use(os.environ.get("FSLOG_ENABLED", "unset"))
        assert handler.flush(20)

    def test_a_program():
        subprocess.run([sys.executable, "-c", "import app; app.use('program')"], check=True)
    """


@pytest.mark.parametrize(
    ("arguments", "enabled", "sent"),
    [
        pytest.param([], None, [], marks=pytest.mark.slow),
        pytest.param([], "yes", ["program"], marks=pytest.mark.slow),
        pytest.param([], "", [], marks=pytest.mark.slow),
        pytest.param(["-o", "fslog_send=true"], None, ["unset", "program"], marks=pytest.mark.slow),
        pytest.param(
            ["-p", "no:fslog"],
            None,
            ["unset", "program"],
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(not REGISTERED, reason="the plugin is not installed"),
            ],
        ),
        pytest.param(
            ["-n", "1", "-o", "fslog_send=1"], None, ["unset", "program"], marks=pytest.mark.slow
        ),
    ],
)
def test_what_may_send(
    arguments: list[str],
    enabled: str | None,
    sent: list[str],
    run: Run,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    real: Collector,
) -> None:
    """The ini option sends everything; FSLOG_ENABLED=yes of the user is for programs only."""
    pytester.makepyfile(test_sending=SENDING)
    if enabled is not None:
        monkeypatch.setenv("FSLOG_ENABLED", enabled)
    run(*arguments, passed=2)
    assert features(real) == sent


@pytest.mark.slow
def test_a_run_within_an_application() -> None:
    """`pytest.main` switches handlers off until it returns, however it ends, and as often."""
    program = """
        import os
        import pytest
        from counted import *
        handler = handle()
        say(1)
        LOAD = sys.argv[1:]
        def main(*arguments):
            assert "FSLOG_ENABLED" not in os.environ
            return pytest.main(["-q", "-p", "no:cacheprovider", *LOAD, *arguments])
        assert main("test_it.py") == 0
        say(2)
        assert main("test_it.py") == 0
        assert main("--nonsense") == 4
        assert main("broken") != 0
        assert "FSLOG_ENABLED" not in os.environ
        say(3)
        assert handler.stats().emitted == 3
        """
    files = {
        "test_it.py": """
            import os
            import pytest
            from counted import say

            def test_nothing_is_sent():
                say(-1)
                assert os.environ["FSLOG_ENABLED"] == "no"
                assert pytest.main(["-q", "test_it.py::test_within"]) == 0
                assert os.environ["FSLOG_ENABLED"] == "no"
                say(-2)

            def test_within():
                say(-3)

            def test_captured(freshsuccess):
                say(4)
                freshsuccess.assert_event(number=4)
            """,
        "broken/conftest.py": "from counted import say; say(-4); raise RuntimeError",
    }
    with Collector() as collector:
        processes.run(
            program, collector.url, flags=["-X", "dev"], arguments=LOAD, files=files, err=None
        )
        assert processes.numbers(collector) == [1, 2, 3]


FAILING = """
    from app import log, use

    def test_events(freshsuccess):
        use("share")
        use("exprot", total=3)
        log.info("no event")
        freshsuccess.assert_event(action="feature", feature="export")

    def test_problems(freshsuccess):
        use("export", userId="")
        freshsuccess.assert_event(feature="export")

    def test_no_event(freshsuccess):
        use("share")
        freshsuccess.assert_no_event()

    def test_wait(freshsuccess):
        freshsuccess.wait_for(feature="export", timeout=0.01)
    """


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--assert=plain", "--tb=long"],
        ["-q", "--tb=short"],
    ],
)
def test_messages(arguments: list[str], run: Run, pytester: pytest.Pytester) -> None:
    """Without `-v` a failure shows the nearest events, problems and counts, at the test's line."""
    pytester.makepyfile(test_shop=FAILING)
    result = run(*arguments, failed=4)
    result.stdout.fnmatch_lines(
        [
            "*test_events*",
            "E  *AssertionError: no event with action='feature', feature='export' arrived, "
            "but 2 others; the nearest:",
            "E  *event 2 is {*'feature': 'exprot', 'total': 3*}",
            "E  *  feature is 'exprot', expected 'export'",
            "E  *event 1 is {*'feature': 'share'*}",
            "E  *  feature is 'share', expected 'export'",
            "E  *skipped: 1 record without an action that no rule fits",
            "*test_problems*",
            "E  *AssertionError: no event with feature='export' arrived",
            "E  *never sent, because it is what is expected, but invalid: {*'userId': ''*}",
            "E  *app.py:14, logger 'shop': userId is empty; expected a non-empty string *empty]",
            "*test_no_event*",
            "E  *AssertionError: 1 event arrived, expected none",
            "E  *event 1 is {*'feature': 'share'*}",
            "*test_wait*",
            "E  *TimeoutError: 0 of 1 event with feature='export' arrived in 0.01 s",
            "E  *no record reached the FreshsuccessHandler: *",
        ]
    )
    result.stdout.no_fnmatch_line("*fslog?testing*")
    if "--tb=short" not in arguments:
        result.stdout.fnmatch_lines([">  *freshsuccess.assert_event(action=*", "test_shop.py:7: *"])


@pytest.mark.slow
def test_async_tests(run: Run, pytester: pytest.Pytester, real: Collector) -> None:
    """Under asyncio and trio, events of tasks and threads are seen, and a wait blocks no loop."""
    pytester.makepyfile(
        test_shop="""
        import anyio, anyio.to_thread
        import pytest
        from app import use
        from fslog import context

        pytestmark = pytest.mark.anyio

        @pytest.fixture(params=["asyncio", "trio"])
        def anyio_backend(request):
            return request.param

        async def later(feature):
            await anyio.sleep(0.05)
            with context.bound(userId=feature):
                use(feature)

        async def test_tasks(freshsuccess):
            async with anyio.create_task_group() as group:
                for number in range(5):
                    group.start_soon(later, f"f{number}")
                await anyio.to_thread.run_sync(freshsuccess.wait_for, 5)
            await anyio.to_thread.run_sync(use, "thread")
            freshsuccess.assert_event(feature="thread")
            assert len(freshsuccess.events) == 6
        """
    )
    run("-W", "ignore::DeprecationWarning:trio", passed=2)
    assert real.requests == []


@pytest.mark.slow
def test_django(run: Run, pytester: pytest.Pytester, real: Collector) -> None:
    """Requests of Django's test client make events, also in Django's test cases."""
    pytester.makepyfile(
        shop="""
        import logging
        import os
        from django.http import HttpResponse
        from django.urls import path

        log = logging.getLogger("shop")

        def who(get_response):
            def middleware(request):
                request.account = request.get_host().partition(".")[0]
                return get_response(request)
            return middleware

        def export(request):
            log.info("exported %d rows", int(request.GET["rows"]), extra={"request": request})
            return HttpResponse("exported")

        urlpatterns = [path("export", export)]

        SETTINGS = {
            "ROOT_URLCONF": "shop",
            "ALLOWED_HOSTS": [".localhost"],
            "SECRET_KEY": "only for this test",
            "MIDDLEWARE": ["shop.who"],
            "DATABASES": {},
            "LOGGING": {
                "version": 1,
                "disable_existing_loggers": False,
                "handlers": {"usage": {
                    "class": "fslog.FreshsuccessHandler",
                    "auth_key": "auth", "api_key": "api", "endpoint": os.environ["REAL"],
                    "fields": {"accountId": "request.account", "userId": "request.GET.user"},
                    "rules": [
                        {"when": {"logger": "shop", "message": "exported %d rows"},
                         "event": {"action": "feature", "module": "reports", "feature": "export",
                                   "total": "{args.0}"}},
                        {"when": {"logger": "django.request", "status_code": "/404/"},
                         "event": {"action": "missing", "path": "{request.path}"}},
                    ],
                }},
                "root": {"handlers": ["usage"], "level": "INFO"},
            },
        }
        """,
        conftest="""
        import django
        import shop
        from django.conf import settings
        from django.test.utils import setup_test_environment

        settings.configure(**shop.SETTINGS)
        django.setup()
        setup_test_environment()
        """,
        test_shop="""
        import pytest
        from django.test import Client, SimpleTestCase
        from fslog.testing import capture

        def test_export(freshsuccess):
            client = Client(headers={"host": "acme.localhost"})
            assert client.get("/export?rows=3&user=ann").status_code == 200
            freshsuccess.assert_event(action="feature", feature="export", total=3)
            assert client.get("/nothing?user=ann").status_code == 404
            assert client.get("/export?rows=4").status_code == 200
            missing = freshsuccess.assert_event(action="missing", userId="ann")
            assert (missing["path"], missing["accountId"]) == ("/nothing", "acme")
            assert [problem.property for problem in freshsuccess.problems] == ["userId"]
            assert freshsuccess.problems[0].place.startswith("shop.py:")

        class ExportTest(SimpleTestCase):
            @pytest.fixture(autouse=True)
            def caught(self, freshsuccess):
                self.freshsuccess = freshsuccess

            def test_export(self):
                self.client.get("/export?rows=5&user=bob", headers={"host": "acme.localhost"})
                self.freshsuccess.assert_event(userId="bob", total=5)

        class CaptureTest(SimpleTestCase):
            def test_export(self):
                with capture() as freshsuccess:
                    self.client.get("/export?rows=6&user=eve", headers={"host": "b.localhost"})
                assert [event["total"] for event in freshsuccess.events] == [6]
        """,
    )
    run(passed=3)
    assert real.requests == []


@pytest.mark.slow
def test_the_fixture_is_documented(run: Run) -> None:
    """`pytest --fixtures` shows what the fixture is for."""
    result = run("--fixtures", "--collect-only")
    result.stdout.fnmatch_lines(
        ["freshsuccess -- *pytest_plugin.py:*", "*Catch Freshsuccess events instead of sending*"]
    )


@pytest.mark.slow
def test_a_strict_project(run: Run, pytester: pytest.Pytester) -> None:
    """With `fslog_plan = strict` a test fails if an event that it saw is not as planned."""
    event = {"action": "feature", "module": "shop", "feature": "export"}
    plan = {"version": 1, "events": {"export": {"event": event}}}
    (pytester.path / "plan.json").write_text(json.dumps(plan))
    pytester.makepyfile(
        test_shop="""
        from app import use

        def test_planned(freshsuccess):
            use("export")
            freshsuccess.assert_planned()

        def test_unplanned(freshsuccess):
            use("exprot")

        def test_without_the_fixture():
            use("exprot")

        def test_without_events(freshsuccess):
            pass
        """
    )
    pytester.makeini("[pytest]\nfslog_plan_file = plan.json\nfslog_plan = strict\n")
    result = run(passed=4, errors=1)
    shown = "*app.py:*did you mean shop / export? [[]unplanned]*"
    result.stdout.fnmatch_lines(["*not everything is as planned: 1 problem*", shown])
    pytester.makeini("[pytest]\nfslog_plan_file = plan.json\n")
    run(passed=4)
    pytester.makeini("[pytest]\nfslog_plan = strict\n")
    run("-k", "test_unplanned", errors=1, passed=1).stdout.fnmatch_lines(["*there is no plan*"])
