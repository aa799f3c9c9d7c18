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
from configurations import RULE, USAGE, changed
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
        pytest.param(
            "app.config_from_object('missing')",
            True,
            [("warning", "root")],
            marks=pytest.mark.slow,
        ),
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


@pytest.mark.slow
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


SERVER_APP = {
    "handlers": {"usage": USAGE},
    "loggers": {"ServerApp": {"handlers": ["console", "usage"], "level": "INFO"}},
}


@pytest.mark.needs("traitlets>=5.10")
def test_the_defaults_of_traitlets() -> None:
    """The completed configuration is that of the real application, but for its formats."""
    from traitlets.config import Application
    from traitlets.utils.nested_update import nested_update

    class ServerApp(Application):
        pass

    application = ServerApp()
    real = nested_update(application.get_default_logging_config(), changed(**SERVER_APP))
    mine = frameworks.with_defaults("ServerApp.logging_config", changed(**SERVER_APP))
    assert set(mine) == set(real)
    for section in ("handlers", "loggers", "formatters"):
        assert set(mine[section]) == set(real[section])
    assert not application.log.propagate
    assert mine["loggers"]["ServerApp"] == {**real["loggers"]["ServerApp"], "propagate": False}


JUPYTER = """
    c = get_config()
    c.ServerApp.port = 8888
    c.ServerApp.logging_config = {given!r}
    """


@pytest.mark.parametrize("name", ["jupyter_server_config.py", "jupyter_server_config.json"])
def test_a_configuration_that_jupyter_completes(name: str, check: Check) -> None:
    """It needs no version and no `console`; the application's logger does not propagate."""
    text = JUPYTER.format(given=SERVER_APP)
    if name.endswith("json"):
        text = json.dumps({"ServerApp": {"port": 8888, "logging_config": SERVER_APP}})
    write(name, text)
    code, out, err = check(name)
    assert (code, err) == (0, "")
    assert "OK" in out
    assert "from      ServerApp" in out or "the logger ServerApp, INFO and above" in out
    lost = {**SERVER_APP, "loggers": {}, "root": {"handlers": ["usage"], "level": "INFO"}}
    write("lost.py", JUPYTER.format(given=lost))
    for given in ("lost.py", "lost.py:c.ServerApp.logging_config"):
        code, out, _ = check(given, "--record", "name=ServerApp,action=feature")
        assert "the logger ServerApp does not propagate" in out
    write("none.py", "c = get_config()\nc.ServerApp.port = 8888\n")
    assert "has no mapping named" in check("none.py")[2]


AIRFLOW = """
    import airflow
    LOGGING_CONFIG = {given!r}
    """


def test_what_airflow_checks_itself(check: Check) -> None:
    """A configuration with which Airflow would not start is an error that says what it needs."""
    write("airflow/__init__.py", "from airflow import configuration")
    write("airflow/configuration.py", "")
    task = {"airflow.task": {"handlers": ["task"]}}
    both = {"usage": USAGE, "task": CONSOLE}
    filters: dict[str, Any] = {"mask_secrets": {"()": "logging.Filter"}}
    for given, where in (
        (changed(), ["loggers.airflow.task"]),
        (changed(handlers=both, loggers=task), []),
        (changed(loggers={"airflow.task": {"handlers": []}}), ["loggers.airflow.task"]),
        (changed(filters=filters), ["loggers.airflow.task", "filters.mask_secrets"]),
    ):
        write("log_config.py", AIRFLOW.format(given=given))
        sys.modules.pop("log_config", None)
        code, out, _ = check("log_config", "--json")
        report = json.loads(out)
        errors = [one for one in report["diagnostics"] if one["kind"] == "error"]
        assert [one["where"] for one in errors] == where
        assert code == bool(where)
        assert "fslog run -- airflow" in [one["remedy"] for one in report["obstacles"]]
    write(
        "airflow/configuration.py", "class conf:\n    get = staticmethod(lambda *names: 'file')\n"
    )
    for name in [one for one in sys.modules if one.partition(".")[0] in ("airflow", "log_config")]:
        del sys.modules[name]
    assert "requires the handler 'file' (task_log_reader)" in check("log_config")[1]


ACCESS = {"preset": "access", "event": RULE["event"] | {"total": 1}}


def rules(*given: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """Return a configuration with rules."""
    return changed(handlers={"usage": {**USAGE, "rules": list(given)}}, **parts)


def of_logger(name: str) -> dict[str, Any]:
    """Return a rule for a logger's access lines."""
    return {**ACCESS, "when": {"logger": name}}


PROPAGATING = {"propagate": True}


@pytest.mark.parametrize(
    ("given", "imported", "programs"),
    [
        (changed(), "", []),
        (changed(), "uvicorn gunicorn django", []),
        (rules(ACCESS), "", []),
        (rules(of_logger("uvicorn.access")), "", ["uvicorn"]),
        (rules(of_logger("/uvicorn/")), "", []),
        (rules(ACCESS), "uvicorn", ["uvicorn"]),
        (rules(ACCESS, loggers={"uvicorn.access": {"handlers": ["usage"]}}), "uvicorn", []),
        (rules(ACCESS, loggers={"uvicorn.access": PROPAGATING}), "", ["uvicorn"]),
        (rules(ACCESS, loggers={"uvicorn.access": PROPAGATING, "uvicorn": PROPAGATING}), "", []),
        (rules(ACCESS, loggers={"app": {}}), "gunicorn", ["gunicorn"]),
        (rules(ACCESS, loggers={"gunicorn.access": PROPAGATING}), "gunicorn", []),
        (rules(ACCESS, loggers={"app": {}}), "django", ["Django"]),
        (rules(ACCESS, loggers={"django.server": PROPAGATING}), "django", []),
        (rules({"preset": "celery", "event": ACCESS["event"]}), "", ["Celery"]),
    ],
)
@pytest.mark.usefixtures("person")
def test_if_nothing_arrives(
    given: dict[str, Any],
    imported: str,
    programs: list[str],
    check: Check,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a program does to loggers is listed if it concerns the records that are wanted."""
    for name in ("gunicorn", "uvicorn", "django"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    lines = [f"import {name}" for name in imported.split()]
    write("settings.py", "\n".join([*lines, f"LOGGING = {given!r}"]) + "\n")
    write("given.json", json.dumps(given))
    config = "settings.py" if imported else "given.json"
    report = json.loads(check(config, "--json")[1])
    assert [one["program"] for one in report["obstacles"]] == programs
    _, out, _ = check(config)
    assert ("if nothing arrives" in out) == bool(programs)
    assert all("fslog run" in one["remedy"] for one in report["obstacles"])


def test_without_keys(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """That fslog is off is the first of the list."""
    for name in ("FSLOG_AUTH_KEY", "FSLOG_API_KEY"):
        monkeypatch.delenv(name)
    write("given.json", json.dumps(rules(of_logger("uvicorn.access"))))
    report = json.loads(check("given.json", "--json")[1])
    assert [one["program"] for one in report["obstacles"]] == ["fslog", "uvicorn"]
