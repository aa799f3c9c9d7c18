"""`fslog check` and the frameworks that change a configuration: gunicorn, Celery, Airflow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gunicorn.glogging
import pytest

from checking import Check, write
from configurations import USAGE, changed
from fslog.cli.check import frameworks
from processes import KEYS
from readme_blocks import environment

pytestmark = pytest.mark.usefixtures("measured")

CONSOLE = {"class": "logging.StreamHandler"}
ERRORS = {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}
BOTH = {"usage": USAGE, "console": CONSOLE, "error_console": ERRORS}
LOGGERS = {"gunicorn.error": {"handlers": ["usage"]}, "gunicorn.access": {"handlers": ["usage"]}}


def test_gunicorns_defaults() -> None:
    """The defaults here are those of the installed gunicorn."""
    real = gunicorn.glogging.CONFIG_DEFAULTS

    def known(mine: Any, its: Any) -> Any:
        if isinstance(mine, dict) and isinstance(its, dict):
            return {name: known(mine[name], its.get(name)) for name in mine}
        return its

    assert set(frameworks._GUNICORN) == set(real)
    for section in ("handlers", "loggers", "formatters"):
        assert set(frameworks._GUNICORN[section]) == set(real[section])
    assert known(dict(frameworks._GUNICORN), real) == frameworks._GUNICORN


@pytest.mark.parametrize(
    ("given", "where"),
    [
        (changed(), ["loggers.gunicorn.error", "loggers.gunicorn.access"]),
        (changed(loggers=LOGGERS), []),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                (changed(loggers=LOGGERS, root=None), ["root"]),
                (changed(handlers=BOTH), []),
                (changed(handlers=BOTH, root=None, loggers=LOGGERS), []),
                ({"handlers": BOTH, "root": {"handlers": ["usage"]}}, []),
                ({"handlers": {"usage": USAGE}, "loggers": LOGGERS}, ["root"]),
            )
        ),
    ],
)
def test_it_is_ok_if_gunicorn_starts(given: dict[str, Any], where: list[str], check: Check) -> None:
    """What gunicorn refuses is an error that names the section it adds; the rest is OK."""
    write("gunicorn.conf.py", f"logconfig_dict = {given!r}\n")
    write("app.py", "def application(environ, start_response): pass\n")
    code, out, _ = check("gunicorn.conf.py", "--json")
    errors = [one for one in json.loads(out)["diagnostics"] if one["kind"] == "error"]
    assert [one["where"] for one in errors] == where
    for one in errors:
        section = one["where"].partition(".")[0]
        assert f"gunicorn adds its own {section} to a configuration without" in one["message"]
    assert check("gunicorn.conf.py:logconfig_dict")[0] == code == bool(where)
    # gunicorn itself: it takes the configuration, or says what stands in the way, and ends.
    program = """
    import sys
    from gunicorn.app.wsgiapp import WSGIApplication
    from gunicorn.glogging import Logger

    sys.argv = ["gunicorn", "-c", "gunicorn.conf.py", "app"]
    Logger(WSGIApplication().cfg)
    """
    write("start.py", program)
    settings = {"FSLOG_AUTH_KEY": KEYS[0], "FSLOG_API_KEY": KEYS[1], "FSLOG_ENABLED": "no"}
    done = subprocess.run(
        [sys.executable, "start.py"], env=environment(settings), capture_output=True, text=True
    )
    assert (done.returncode == 0) == (not where), done.stderr


CELERY = """
    from celery import Celery, signals

    app = Celery("tasks", broker="memory://")
    {more}
    LOGGING = {given!r}
    """


def checked(text: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run `fslog check` in a process of its own, which imports Celery only if the module does."""
    settings = {"FSLOG_AUTH_KEY": KEYS[0], "FSLOG_API_KEY": KEYS[1]}
    done = subprocess.run(
        [sys.executable, "-m", "fslog", "check", text, "--json", *arguments],
        env=environment(settings),
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else {"said": done.stderr}


def of_celery(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the kind and the place of the diagnostics about Celery."""
    found = [
        one for one in report["diagnostics"] if "Celery's worker removes usage" in one["message"]
    ]
    return [(one["kind"], one["where"]) for one in found]


@pytest.mark.parametrize(
    ("more", "root", "found"),
    [
        ("", True, [("error", "root")]),
        pytest.param(
            "app.conf.worker_hijack_root_logger = False", True, [], marks=pytest.mark.slow
        ),
        pytest.param(
            "signals.setup_logging.connect(lambda **given: None, weak=False)",
            True,
            [],
            marks=pytest.mark.slow,
        ),
        ("app.config_from_object('missing')", True, [("warning", "root")]),
        pytest.param("", False, [], marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("person")
def test_what_a_celery_worker_removes(more: str, root: bool, found: list[tuple[str, str]]) -> None:
    """A handler of the root logger is an error, or a warning if Celery cannot be asked."""
    own = {"loggers": {"app": {"handlers": ["usage"], "level": "INFO"}}, "root": {}}
    write("tasks.py", CELERY.format(more=more, given=changed(**({} if root else own))))
    code, report = checked("tasks")
    assert (code, of_celery(report)) == (int(("error", "root") in found), found)


@pytest.mark.usefixtures("person")
def test_a_project_that_uses_celery(tmp_path: Path) -> None:
    """If Celery is imported elsewhere, a worker may load the configuration: that is a warning."""
    write("site/__init__.py", "from celery import Celery\napp = Celery()\n")
    Path("site").rename("mysite")
    write("mysite/settings.py", f"DEBUG = True\nLOGGING = {changed()!r}\n")
    code, report = checked("mysite.settings")
    assert (code, of_celery(report)) == (0, [("warning", "root")])
    (tmp_path / "logging.json").write_text(json.dumps(changed()))
    assert of_celery(checked("logging.json")[1]) == []


@pytest.mark.parametrize("module", ["log_config", "log_config:LOGGING_CONFIG"])
def test_a_configuration_that_airflow_imports(module: str, check: Check) -> None:
    """A module that extends Airflow's configuration is imported as Airflow does at startup."""
    write("flow/__init__.py", "from flow import loading\nloading.initialize()\n")
    write(
        "flow/loading.py",
        """
        import importlib

        def initialize():
            module = importlib.import_module("log_config")
            if not hasattr(module, "LOGGING_CONFIG"):
                raise ImportError("Unable to load log_config.LOGGING_CONFIG")
        """,
    )
    write("flow/defaults.py", f"DEFAULT = {changed(handlers={}, root={})!r}\n")
    write(
        "log_config.py",
        f"""
        from flow.defaults import DEFAULT

        LOGGING_CONFIG = {{**DEFAULT, "handlers": {{"usage": {USAGE!r}}},
                          "root": {{"handlers": ["usage"], "level": "INFO"}}}}
        """,
    )
    code, out, err = check(module)
    assert (code, err) == (0, "")
    assert "OK" in out


def test_a_program_that_cannot_be_imported(check: Check) -> None:
    """The exception is reported in one line, whether or not the program imports the module."""
    write("flow.py", "import log_config\nraise ImportError('log_config: no database')\n")
    write("log_config.py", "import flow\nLOGGING = {}\n")
    code, out, err = check("log_config")
    assert (code, out) == (1, "")
    assert err == "fslog check: importing log_config failed: ImportError: log_config: no database\n"
    write("handler.py", "raise RuntimeError('the application is not initialized')\n")
    given = changed(handlers={"usage": USAGE, "task": {"class": "handler.Task"}})
    (Path("logging.json")).write_text(json.dumps(given))
    code, out, err = check("logging.json")
    assert (code, err) == (1, "")
    assert "handlers.task: " in out
    assert "the application is not initialized" in out
