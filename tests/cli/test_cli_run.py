"""`fslog run`: a command with handlers beside its logging."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fslog.cli.run import STARTUP
from fslog.collector import Collector
from processes import COUNTED, GEVENT, KEYS, Ended, numbers, run
from servers import Server, settings_for
from uploads import Command

pytestmark = pytest.mark.usefixtures("measured")

HANDLER = {"class": "fslog.FreshsuccessHandler"}
INFO: dict[str, Any] = {
    "version": 1,
    "handlers": {"usage": HANDLER},
    "root": {"handlers": ["usage"], "level": "INFO"},
}
NOWHERE = "http://127.0.0.1:9"
SAY = "from counted import *; log.setLevel(0); say(int(sys.argv[1]))"


def fslog_run(*arguments: str, endpoint: str = NOWHERE, **options: Any) -> Ended:
    """Run `python -m fslog run ARGUMENTS`, by default without a line on stderr."""
    return run("", endpoint, flags=("-m", "fslog"), arguments=["run", *arguments], **options)


def usage(config: Mapping[str, Any] = INFO, **more: Any) -> dict[str, str]:
    """Return the file `usage.json` with a configuration."""
    return {"usage.json": json.dumps({**config, **more})}


@pytest.mark.parametrize(
    "given",
    [
        ["--config", "usage.json", "--"],
        *(pytest.param(one, marks=pytest.mark.slow) for one in (["--config=usage.json"], [])),
    ],
    ids=" ".join,
)
def test_events_of_a_command_arrive(given: list[str]) -> None:
    """Each event arrives once, with and without a configuration and `--`."""
    with Collector() as collector:
        command = [sys.executable, "-W", "error", "-c", SAY, "1"]
        fslog_run(*given, *command, endpoint=collector.url, files=usage())
        assert numbers(collector) == [1]


@pytest.mark.slow
def test_what_the_command_gets() -> None:
    """The command has its arguments; PYTHONPATH begins with one more directory.

    FSLOG_CONFIG is an absolute path, for a program that changes its directory.
    """
    show = """
    import json, os, sys
    print(json.dumps([sys.argv[1:], os.environ["PYTHONPATH"], os.environ["FSLOG_CONFIG"]]))
    """
    given = ["--config", "usage.json", "--", sys.executable, "show.py", "--config", "--", "x y"]
    files = {**usage(), "show.py": show}
    argv, paths, config = json.loads(fslog_run(*given, files=files).out)
    assert argv == ["--config", "--", "x y"]
    own, *rest = paths.split(os.pathsep)
    assert own == str(STARTUP)
    assert config == os.path.join(rest[0], "usage.json")


def test_exit_code_and_signals() -> None:
    """The process is the command: its exit code, its death by a signal, its broken pipe."""
    assert fslog_run("--", "sh", "-c", "exit 7", code=7).out == ""
    fslog_run("--", "sh", "-c", "kill -9 $$", code=-signal.SIGKILL)
    piped = "(yes; echo $? >&2) | head -n 1"
    shown = fslog_run("--", "sh", "-c", piped, err=f"{128 + signal.SIGPIPE}\n")
    assert shown.out == "y\n"


WRONG = {
    "an argument": (
        {"handlers": {"usage": {**HANDLER, "feilds": {}, "api_key": KEYS[1]}}},
        "handlers.usage: FreshsuccessHandler has no argument 'feilds'; did you mean 'fields'?",
    ),
    "a value": (
        {"handlers": {"usage": {**HANDLER, "overflow": "blokc"}}},
        "handlers.usage: overflow is 'blokc'; expected one of 'refuse', 'block'; "
        "did you mean 'block'?",
    ),
    "a class": (
        {"handlers": {"usage": {"class": "fslog.FreshsucessHandler"}}},
        "handlers: none is fslog's; did you mean 'fslog.FreshsuccessHandler'?",
    ),
    "a handler's name": (
        {"root": {"handlers": ["usgae"]}},
        "root: unknown handler 'usgae'; did you mean 'usage'?",
    ),
    "a level": (
        {"loggers": {"shop": {"level": "INFOS"}}},
        "loggers.shop.level: unknown level 'INFOS'; did you mean 'INFO'?",
    ),
    "no logger": ({"root": {}}, "handlers.usage: no logger has it; add it to root.handlers"),
    "no handler": (
        {"handlers": {"c": {"class": "logging.NullHandler"}}, "root": {"handlers": ["c"]}},
        "handlers: none is fslog's; add one with class: fslog.FreshsuccessHandler",
    ),
    "a package": (
        {"handlers": {"usage": {"class": "fslgo.FreshsuccessHandler"}}},
        "handlers: none is fslog's; did you mean 'fslog.FreshsuccessHandler'?",
    ),
    "the version": ({"version": 2}, "version is 2; dictConfig accepts only 1"),
}


@pytest.mark.parametrize(("more", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_configuration(
    more: Mapping[str, Any], message: str, fslog: Command, keys: None
) -> None:
    """It is an error before the command starts, names file, key and remedy, and shows no key."""
    Path("usage.json").write_text(usage(INFO, **more)["usage.json"], encoding="utf-8")
    said = fslog("run", "--config", "usage.json", "--", "no-such-command")
    assert said.code == 2
    assert said.err == f"fslog run: error: usage.json: {message}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "expected a command: fslog run -- COMMAND ..."),
        (["--config", "no.json", "--", "true"], 2, "no.json cannot be read: No such file"),
        (["--config", "usage.txt", "--", "true"], 2, "usage.txt has an unknown extension; expect"),
        (["--confg", "usage.json", "--", "true"], 2, "unrecognized arguments: --confg"),
        (["--", "no-such-command"], 127, "no such command: no-such-command"),
        (["--", "/"], 126, "/: Permission denied"),
    ],
    ids=str,
)
def test_wrong_arguments(
    arguments: Sequence[str],
    code: int,
    message: str,
    fslog: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is started, and the exit code is that of a shell."""
    monkeypatch.setattr(signal, "signal", lambda number, action: None)  # of this process
    said = fslog("run", *arguments)
    assert said.code == code
    assert message in said.err


@pytest.mark.slow
def test_a_script_without_its_interpreter() -> None:
    """The error does not say that the script itself does not exist."""
    command = f"chmod +x odd; exec {sys.executable} -m fslog run -- ./odd"
    ended = fslog_run("--", "sh", "-c", command, files={"odd": "#!/no/such"}, code=126, err=None)
    assert ended.err == "fslog run: error: ./odd: its interpreter does not exist\n"


def test_a_wrong_environment(fslog: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """One key alone is an error, here too."""
    monkeypatch.setenv("FSLOG_AUTH_KEY", KEYS[0])
    said = fslog("run", "--", "no-such-command")
    assert said.code == 2
    assert "FSLOG_API_KEY" in said.err


@pytest.mark.slow
def test_other_parts_of_the_configuration() -> None:
    """Other handlers are neither created nor imported."""
    others = {
        "console": {"class": "logging.StreamHandler", "formatter": "plain"},
        "file": {"()": "no_such_package.Handler", "filename": "app.log"},
    }
    config = {
        **INFO,
        "formatters": {"plain": {"()": "no_such_package.Formatter"}},
        "filters": {"odd": {"()": "filters.Odd"}},
        "handlers": {
            **others,
            "usage": {
                **HANDLER,
                "filters": ["odd"],
                "context_provider": "ext://filters.actor",
            },
        },
        "loggers": {"shop": {"filters": ["odd"]}},
        "root": {"handlers": ["console", "file", "usage"], "level": "INFO"},
    }
    filters = """
    import sys
    assert sys.argv == ["-c", "1"]

    class Odd:
        def filter(self, record):
            return True

    def actor():
        return {"by": "actor"}
    """
    with Collector() as collector:
        fslog_run(
            *("--config", "usage.json", "--", sys.executable, "-c", SAY, "1"),
            endpoint=collector.url,
            files={**usage(config), "filters.py": filters},
        )
        assert [event["by"] for event in collector.events] == ["actor"]


@pytest.mark.slow
def test_a_configuration_below_a_key() -> None:
    """YAML and a configuration below a key are read as `fslog check` reads them."""
    text = """
    shop:
      logging:
        version: 1
        handlers: {usage: {class: fslog.FreshsuccessHandler}}
        loggers: {app: {level: INFO, handlers: [usage]}}
    """
    with Collector() as collector:
        fslog_run(
            *("--config", "usage.yaml", "--", sys.executable, "-c", SAY, "1"),
            endpoint=collector.url,
            files={"usage.yaml": text},
        )
        assert numbers(collector) == [1]


UVICORN = """
    import logging
    import uvicorn
    from counted import say

    log = logging.getLogger("shop")
    before = logging.getLogger("uvicorn.before")

    async def app(scope, receive, send):
        if scope["type"] == "http":
            if scope["path"] != "/health":
                say(int(scope["path"][1:]), logger=log)
                say(int(scope["path"][1:]) + 100, logger=before)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    if __name__ == "__main__":
        import sys
        uvicorn.run(app, port=int(sys.argv[1]))
    """

ACCESS = {
    "when": {"logger": "uvicorn.access", "args.1": "GET", "args.2": "/^\\/(?P<n>\\d+)/"},
    "event": {
        "accountId": "a",
        "userId": "u",
        "action": "counted",
        "source": "access",
        "number": "{n:int}",
    },
}


@pytest.mark.slow
def test_uvicorn_run(tmp_path: Path) -> None:
    """`uvicorn.run`, which configures logging itself: events and access lines all arrive."""
    config = usage(INFO, handlers={"usage": {**HANDLER, "rules": [ACCESS], "flush_interval": 0}})
    for name, text in {"server.py": UVICORN, "counted.py": COUNTED, **config}.items():
        (tmp_path / name).write_text(textwrap.dedent(text), encoding="utf-8")
    with Collector() as collector:
        command = ["-m", "fslog", "run", "--config", "usage.json", "--", sys.executable]
        settings = settings_for(collector, tmp_path)
        with Server(
            [sys.executable, *command, "server.py", "{port}"], tmp_path, settings
        ) as server:
            server.until(lambda: server.is_ready({}))
            for number in range(20):
                assert server.ask("GET", f"/{number}") == 200
            server.until(lambda: len(collector.events) == 60)
            server.send(signal.SIGTERM)
            assert server.end(60.0).code == -signal.SIGTERM
        assert sorted(numbers(collector)) == [*range(20), *range(100, 120)]
        assert sorted(numbers(collector, "access")) == list(range(20))


GUNICORN = """
    from counted import logging, say

    def app(environ, start_response):
        if environ["PATH_INFO"] != "/health":
            say(int(environ["PATH_INFO"][1:]), logger=logging.getLogger("shop"))
        start_response("200 OK", [])
        return [b""]
    """


@pytest.mark.slow
def test_gunicorn_with_gevent(tmp_path: Path) -> None:
    """Its parent logs before its workers call `monkey.patch_all`, which must come before ssl."""
    config = usage()
    for name, text in {"server.py": GUNICORN, "counted.py": COUNTED, **config}.items():
        (tmp_path / name).write_text(textwrap.dedent(text), encoding="utf-8")
    with Collector() as collector:
        command = ["-m", "fslog", "run", "--config", "usage.json", "--", sys.executable]
        gunicorn = ["-W", "error", "-m", "gunicorn", "-k", "gevent", "-w", "2"]
        bound = ["--bind", "127.0.0.1:{port}", "server:app"]
        settings = {**settings_for(collector, tmp_path), **GEVENT}
        with Server([sys.executable, *command, *gunicorn, *bound], tmp_path, settings) as server:
            server.until(lambda: server.is_ready({}))
            for number in range(20):
                assert server.ask("GET", f"/{number}") == 200
            server.send(signal.SIGTERM)
            assert server.end(60.0).code == 0
        assert sorted(numbers(collector)) == list(range(20))


CELERY = """
    import celery
    from celery.utils.log import get_task_logger
    from counted import logging, say

    app = celery.Celery("app", broker="memory://")
    loggers = [logging.getLogger("shop"), get_task_logger("tasks")]

    @app.task(ignore_result=True)
    def use(number):
        say(number, logger=loggers[number % 2])

    if __name__ == "__main__":
        import sys
        for number in range(30):
            use.delay(number)
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        app.worker_main(["worker", "--concurrency", "2", "--pool", sys.argv[1], *quiet])
    """


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["solo", "prefork", "threads"])
def test_celery_that_replaces_the_handlers(pool: str, tmp_path: Path) -> None:
    """Celery's worker removes the handlers of the root logger, and sets its level to WARNING.

    A logger for tasks does not even propagate to it.
    """
    with Collector() as collector:
        config = usage(INFO, handlers={"usage": {**HANDLER, "flush_interval": 0}})
        for name, text in {"worker.py": CELERY, "counted.py": COUNTED, **config}.items():
            (tmp_path / name).write_text(textwrap.dedent(text), encoding="utf-8")
        settings = settings_for(collector, tmp_path)
        command = ["-m", "fslog", "run", "--config", "usage.json", "--", sys.executable]
        with Server([sys.executable, *command, "worker.py", pool], tmp_path, settings) as worker:
            worker.until(lambda: len(collector.events) >= 30)
            worker.send(signal.SIGTERM)
            assert worker.end(60.0).code == 0
        assert sorted(numbers(collector)) == list(range(30))


@pytest.mark.slow
def test_a_python_without_fslog() -> None:
    """It runs as without `fslog run`; if it is the command itself, one line says so."""
    code = "import os, sys; print('fslog' in sys.modules, '_FSLOG_RUN' in os.environ)"
    base = os.path.realpath(sys.executable)  # the interpreter without its virtual environment
    if subprocess.run([base, "-I", "-c", "import fslog"], capture_output=True).returncode == 0:
        pytest.skip("fslog is installed outside of the virtual environment")
    child = f"import subprocess; subprocess.run([{base!r}, '-c', {code!r}], check=True)"
    for command, shown in (
        ([base, "-c", code], f"fslog: freshsuccess-logging is not installed for {base}; the "),
        ([sys.executable, "-c", child], ""),
    ):
        given = [sys.executable, "-m", "fslog", "run", "--", *command]
        env = {"PATH": os.environ["PATH"]}
        done = subprocess.run(given, env=env, capture_output=True, text=True, check=True)
        assert done.stdout == "False False\n"
        assert done.stderr == (shown and f"{shown}application runs without fslog\n")
