"""Each example runs as its first lines say, and loses none of its events at SIGTERM."""

from __future__ import annotations

import ast
import contextlib
import importlib.resources
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from fslog.collector import Answer, Collector
from ports import free_port
from processes import run
from readme_blocks import ROOT, environment
from redisserver import redis_server
from runtimeapi import RuntimeApi
from servers import DEADLINE, Server, ask, settings_for, without

EXAMPLES = ROOT / "examples"
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")
RELAYS = EXAMPLES / "relays"
NOTEBOOK = EXAMPLES / "notebook.ipynb"
NO_APPLICATIONS = {"README.md", "demo.json", "relays", "tracking_plan", "viewer.png", "__pycache__"}
NAMES = sorted(path.name for path in EXAMPLES.iterdir() if path.name not in NO_APPLICATIONS)
MODULES = [name for name in NAMES if name != NOTEBOOK.name]

KILLED = -signal.SIGTERM
SLOWLY = Answer(delay=0.3)
_TRACEBACK = re.compile(r"^Traceback \(most recent call last\):|Logging error", re.M)


def files(name: str) -> list[Path]:
    """Return the modules of an example, the one that says how to start it first."""
    path = EXAMPLES / name
    found = [path] if path.is_file() else list(path.glob("*.py"))
    return sorted(found, key=lambda path: "\npip install " not in path.read_text("utf-8"))


def commands(name: str) -> list[str]:
    """Return the commands in an example's documentation, a line each: its second paragraph."""
    text = ast.get_docstring(ast.parse(files(name)[0].read_text("utf-8"))) or ""
    return text.split("\n\n")[1].splitlines()


def starts(name: str) -> list[str]:
    """Return the commands that start an example or use it."""
    return [line for line in commands(name)[1:] if not line.startswith("export ")]


PATIENCE = {
    '"fslog.FreshsuccessHandler"': '"fslog.FreshsuccessHandler", "shutdown_timeout": 30',
    "FreshsuccessHandler()": "FreshsuccessHandler(shutdown_timeout=30)",
    "FreshsuccessHandler(nested": "FreshsuccessHandler(shutdown_timeout=30, nested",
    "flushed(timeout=2)": "flushed(timeout=30)",
}
"""What copies have instead: a busy machine may need longer than the default."""


def copied(name: str, directory: Path, ports: Mapping[int, int]) -> Path:
    """Copy an example alone, with other ports and with patience; return the directory."""
    where = directory / "copy"
    where.mkdir(exist_ok=True)
    for path in files(name):
        text = path.read_text("utf-8")
        for port, other in ports.items():
            text = text.replace(str(port), str(other))
        for quick, patient in PATIENCE.items():
            text = text.replace(quick, patient)
        (where / path.name).write_text(text, encoding="utf-8")
    return where


def script(name: str, start: str, ports: Mapping[int, int]) -> list[str]:
    """Return what runs one of an example's commands, in the environment that it exports."""
    for port, other in ports.items():
        start = start.replace(str(port), str(other))
    exports = [line for line in commands(name) if line.startswith("export ")]
    return ["bash", "-eu", "-c", "\n".join([*exports, f"exec {start}"])]


def stop(server: Server, code: int) -> None:
    """End an example by SIGTERM, and check its exit code and that it has logged no error."""
    server.send(signal.SIGTERM)
    ended = server.end(DEADLINE)
    assert ended.code == code, ended.err
    assert not _TRACEBACK.search(ended.out + ended.err), ended.err


def received(collector: Collector) -> list[dict[str, Any]]:
    """Return the events without time and session, in an order that no process determines."""
    assert collector.invalid == []
    return in_order(without(event, "sessionId") for event in collector.events)


def in_order(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return events in an order of their own."""
    return sorted(events, key=lambda event: json.dumps(event, sort_keys=True))


ANN = {"accountId": "acme", "userId": "ann"}
BOB = {"accountId": "globex", "userId": "bob"}
NOBODY: dict[str, str] = {}


def used(who: Mapping[str, str], module: str, feature: str, **more: Any) -> dict[str, Any]:
    """Return the event of the use of a feature."""
    return {**who, "action": "feature", "module": module, "feature": feature, **more}


# Web applications.

REQUESTS = [
    (ANN, "/reports/export?rows=42"),
    (NOBODY, "/wiki/edit"),
    (BOB, "/wiki/edit"),
    (NOBODY, "/reports/export?rows=1"),
    (ANN, "/wiki/search"),
    (BOB, "/reports/leave?seconds=90"),
    (NOBODY, "/reports/leave?seconds=1"),
    (BOB, "/reports/export?rows=7"),
]
WIKI = [used(BOB, "wiki", "edit"), used(ANN, "wiki", "search")]
EXPORTS = [used(ANN, "reports", "export", rows=42), used(BOB, "reports", "export", rows=7)]
LEFT = [{**BOB, "action": "moduleEnd", "module": "reports", "timeSpent": 90_000}]
UNCOUNTED = [used(who, "reports", "export") for who in (ANN, BOB)]

SERVED: dict[str, tuple[list[dict[str, Any]], list[int]]] = {
    # The events, and the exit code of each of the commands that start it.
    "aiohttp_app.py": ([*EXPORTS, *WIKI], [0]),
    "django_app": ([*EXPORTS, *WIKI], [KILLED, 0]),
    "fastapi_app.py": ([*EXPORTS, *WIKI], [KILLED, 0]),
    "flask_app.py": ([*EXPORTS, *WIKI, *LEFT], [0, 0]),
    "gunicorn_app": ([*UNCOUNTED, *WIKI, used(BOB, "reports", "leave")], [0]),
    "hypercorn_app": ([*UNCOUNTED, *WIKI], [0]),
    "loguru_app.py": ([*EXPORTS, *WIKI], [KILLED]),
    "starlette_app.py": ([*EXPORTS, *WIKI], [KILLED]),
    "structlog_app.py": ([*EXPORTS, *WIKI, *LEFT], [0]),
    "tornado_app.py": ([*EXPORTS, *WIKI], [KILLED]),
}


def headers(who: Mapping[str, str]) -> dict[str, str]:
    """Return what the request of a user has, in one of the two ways of the examples."""
    if not who:
        return {}
    token = f"Bearer token-of-{who['userId']}"
    return {"X-Account": who["accountId"], "X-User": who["userId"], "Authorization": token}


def answers(server: Server) -> bool:
    """Return whether a server answers any request."""
    with contextlib.suppress(ConnectionError):
        return server.ask("GET", "/") > 0
    return False


def served() -> Iterator[Any]:
    """Yield each example of a server, with each command that starts it."""
    for name, (_, codes) in SERVED.items():
        for start, code in zip(starts(name), codes, strict=True):
            tool = re.findall(r"UvicornWorker|--threads|^\w+|runserver", start)[-1]
            yield pytest.param(name, start, code, id=f"{name}-{tool}")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "start", "code"), list(served()))
def test_a_server(name: str, start: str, code: int, tmp_path: Path) -> None:
    """Its events are those of ann's and bob's requests, and nobody's never have a user."""
    ports = {8000: free_port()}
    where = copied(name, tmp_path, ports)
    with Collector() as collector:
        collector.always(SLOWLY)
        settings = settings_for(collector, where)
        with Server(script(name, start, ports), where, settings, ports[8000]) as server:
            server.until(lambda: answers(server))
            with contextlib.closing(server.connect()) as connection:
                for who, path in REQUESTS:
                    assert ask(connection, "POST", path, headers(who)) in (200, 204, 404)
            stop(server, code)
        assert received(collector) == in_order(SERVED[name][0])


# Workers and other programs: what is on stderr shows when they have done their work.


def until_logged(process: Server, text: str, times: int) -> None:
    """Wait until a line has been logged so many times."""
    process.until(lambda: process.written("err").count(text) >= times)


@contextlib.contextmanager
def working(name: str, directory: Path) -> Iterator[tuple[Collector, Server]]:
    """Run the worker that an example starts first, with the work that its other command gives."""
    with redis_server() as redis, Collector() as collector:
        collector.always(SLOWLY)
        ports = {6379: redis.port}
        where = copied(name, directory, ports)
        settings = settings_for(collector, where)
        worker, publisher = starts(name)
        command = script(name, publisher, ports)
        run_to_end = subprocess.run(
            command, cwd=where, env=environment(settings), capture_output=True, check=False
        )
        assert (run_to_end.returncode, run_to_end.stderr) == (0, b"")
        with Server(script(name, worker, ports), where, settings) as server:
            yield collector, server


def drain(where: Path, collector: Collector) -> None:
    """Deliver what is left in an example's spool, as the next worker would."""
    command = [sys.executable, "-m", "fslog", "spool", "drain", "spool"]
    env = environment(settings_for(collector, where))
    done = subprocess.run(command, cwd=where, env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.services
@pytest.mark.needs("redis-server")
def test_celery(tmp_path: Path) -> None:
    """The events are those of the publishers' tasks, by log call and by Celery's own line."""
    with working("celery_app.py", tmp_path) as (collector, worker):
        until_logged(worker, "succeeded in", 5)
        stop(worker, 0)
        drain(worker.where, collector)
        edited = [used(who, "wiki", "edit") for who in (ANN, BOB)]
        assert received(collector) == in_order([*EXPORTS, *edited])


@pytest.mark.services
@pytest.mark.needs("redis-server")
def test_rq(tmp_path: Path) -> None:
    """The events are those of the jobs' users, although each work horse ends by `os._exit`."""
    with working("rq_app.py", tmp_path) as (collector, worker):
        until_logged(worker, "Job OK", 4)
        stop(worker, 0)
        drain(worker.where, collector)
        assert received(collector) == in_order([*EXPORTS, *LEFT])


@contextlib.contextmanager
def program(name: str, directory: Path) -> Iterator[tuple[Collector, Server]]:
    """Run the program that an example starts."""
    with Collector() as collector:
        collector.always(SLOWLY)
        where = copied(name, directory, {})
        (start,) = starts(name)
        with Server(script(name, start, {}), where, settings_for(collector, where)) as server:
            yield collector, server


@pytest.mark.slow
def test_apscheduler(tmp_path: Path) -> None:
    """Each job has its user, and the scheduler, which waits for a week, is stopped."""
    with program("apscheduler_app.py", tmp_path) as (collector, scheduler):
        until_logged(scheduler, "cleaned", 1)
        until_logged(scheduler, "sent a report", 2)
        stop(scheduler, KILLED)
        assert received(collector) == in_order(
            [used(ANN, "reports", "weekly", rows=42), used(BOB, "reports", "weekly", rows=7)]
        )


IMPORTED = [used(ANN, "reports", "import", rows=42), used(BOB, "reports", "import", rows=7)]


@pytest.mark.slow
def test_a_script_that_ends(tmp_path: Path) -> None:
    """Its events are delivered at its end."""
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "imports.csv").write_text("acme,ann,42\nglobex,bob,7\n")
    with program("script.py", tmp_path) as (collector, script):
        ended = script.end(DEADLINE)
        assert (ended.code, ended.out) == (0, ""), ended.err
        assert received(collector) == IMPORTED


@pytest.mark.slow
def test_a_script_that_is_stopped(tmp_path: Path) -> None:
    """It loses none of the events that it has logged before."""
    (tmp_path / "copy").mkdir()
    os.mkfifo(tmp_path / "copy" / "imports.csv")
    with (
        program("script.py", tmp_path) as (collector, script),
        open(tmp_path / "copy" / "imports.csv", "wb", buffering=0) as rows,
    ):
        rows.write(b"acme,ann,42\n")
        collector.wait_for(1, DEADLINE)  # its answer takes time
        rows.write(b"globex,bob,7\n")
        until_logged(script, "imported", 2)
        stop(script, KILLED)
        assert received(collector) == IMPORTED


@pytest.mark.slow
@pytest.mark.needs("awslambdaric>=3")
def test_lambda(tmp_path: Path) -> None:
    """In the runtime's own client, each event has arrived when the response is sent.

    So SIGKILL, which ends a frozen process, loses none.
    """
    requests = [(ANN, 42), (NOBODY, 1), (BOB, 7)]
    events = []
    for who, rows in requests:
        user = {"account": who["accountId"], "user": who["userId"]} if who else {}
        parameters = {"rows": str(rows)}
        events.append({"requestContext": {"authorizer": user}, "queryStringParameters": parameters})
    with Collector() as collector, RuntimeApi(events, collector) as api:
        collector.always(SLOWLY)
        where = copied("aws_lambda.py", tmp_path, {})
        (start,) = starts("aws_lambda.py")
        settings = {**settings_for(collector, where), "AWS_LAMBDA_RUNTIME_API": api.address}
        with Server(script("aws_lambda.py", start, {}), where, settings) as runtime:
            runtime.until(api.is_frozen.is_set)
            runtime.send(signal.SIGKILL)  # a frozen process gets no other signal
            runtime.end(DEADLINE)
        assert [arrived for _, _, arrived in api.answers] == [1, 1, 2]
        assert received(collector) == EXPORTS


KERNEL = """
import json, time

with open("notebook.ipynb", encoding="utf-8") as file:
    cells = json.load(file)["cells"]
namespace = {"__name__": "__main__"}
for cell in cells:
    source = "".join(cell["source"])
    if cell["cell_type"] == "code" and not source.startswith("%pip install "):
        exec(compile(source, "cell", "exec"), namespace)
while True:
    time.sleep(0.1)
"""
"""What a kernel does: it executes the cells in one namespace, and then its loop."""


@pytest.mark.slow
def test_a_notebook(tmp_path: Path) -> None:
    """Its cells make their events, and none is lost when the kernel is stopped."""
    shutil.copy(NOTEBOOK, tmp_path)
    command = [sys.executable, "-c", KERNEL]
    with (
        Collector() as collector,
        Server(command, tmp_path, settings_for(collector, tmp_path)) as kernel,
    ):
        collector.always(SLOWLY)
        until_logged(kernel, "made a forecast", 2)
        stop(kernel, KILLED)
        assert received(collector) == in_order(
            [
                used(ANN, "notebooks", "forecast", rows=42),
                used(BOB, "notebooks", "forecast", rows=7),
            ]
        )


# What they say.

OTHERS = {
    "apscheduler_app.py": test_apscheduler,
    "aws_lambda.py": test_lambda,
    "celery_app.py": test_celery,
    "notebook.ipynb": test_a_notebook,
    "rq_app.py": test_rq,
    "script.py": test_a_script_that_is_stopped,
}


def test_every_example_is_started() -> None:
    """Each has a test of its events."""
    assert sorted([*SERVED, *OTHERS]) == NAMES


@pytest.mark.parametrize("name", MODULES)
def test_an_example_is_short(name: str) -> None:
    """Its files have under 60 lines, together."""
    assert sum(len(path.read_text("utf-8").splitlines()) for path in files(name)) < 60


def test_the_notebook_is_short() -> None:
    """So do its cells, the first of which with code installs fslog."""
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    assert sum(len(cell["source"]) for cell in cells) < 60
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code[0]["source"] == ["%pip install --quiet freshsuccess-logging"]
    assert [cell["outputs"] for cell in code] == [[]] * len(code)


DISTRIBUTIONS = {"fslog": "freshsuccess-logging", "redis": "rq", "awslambdaric": ""}
"""For modules of another name; an image of Lambda has the client of its runtime."""


def imported(path: Path) -> set[str]:
    """Return the top-level names of what a module imports."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("name", MODULES)
def test_an_example_says_what_to_install(name: str) -> None:
    """That is what its modules import and what its commands run, and nothing else."""
    install = shlex.split(commands(name)[0])
    assert install[:2] == ["pip", "install"]
    said = {re.split(r"[<\[]", one)[0] for one in install[2:] if one not in ("--target", "package")}
    run = set(re.findall(r"^(?:python -m )?(\w+)", "\n".join(starts(name)), re.MULTILINE))
    needed = set().union(*map(imported, files(name)), run) - {"python", *sys.stdlib_module_names}
    needed -= {path.stem for path in files(name)}
    assert said == {DISTRIBUTIONS.get(one, one) for one in (*needed, "fslog")} - {""}


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_names_an_example(name: str) -> None:
    """A row of its table has a link to it, and each command that starts it."""
    (row,) = [line for line in README.splitlines() if f"]({name})" in line]
    if name in MODULES:
        for start in starts(name):
            assert f"`{start}`" in row


def test_the_readme_shows_requests() -> None:
    """Its commands are those of the README of the project, and requests of these tests."""
    (settings,) = re.findall(r"^export .*", README, re.MULTILINE)
    assert settings in (ROOT / "README.md").read_text("utf-8")
    shown = re.findall(r"^curl -X POST .* 'X-User: (\w+)' .*:8000(/[^' \n]+)", README, re.MULTILINE)
    assert len(shown) == README.count("\ncurl ") > 0
    assert set(shown) <= {(who["userId"], path) for who, path in REQUESTS if who}


def test_the_readme_names_everything() -> None:
    """It names each file and folder beside it."""
    for path in EXAMPLES.iterdir():
        assert path.name in README or path.name in ("README.md", "__pycache__"), path


@pytest.mark.parametrize("name", sorted(path.name for path in RELAYS.glob("*.yaml")))
def test_a_relay_that_no_test_runs_is_marked(name: str) -> None:
    """Its configuration is YAML, and says at the top where it comes from."""
    text = (RELAYS / name).read_text(encoding="utf-8")
    assert isinstance(yaml.safe_load(text), dict)
    head = " ".join(text.partition("\n\n")[0].replace("#", " ").split())
    assert re.search(r"[Ww]ritten from (its|Vector's) documentation, not run here\.", head)


def test_the_demo_is_configured_by_an_example() -> None:
    """The configuration of `fslog demo` is identical to `examples/demo.json`."""
    packaged = importlib.resources.files("fslog.cli.demo").joinpath("demo.json")
    assert packaged.read_text(encoding="utf-8") == (EXAMPLES / "demo.json").read_text(
        encoding="utf-8"
    )


def test_a_checkout_has_one_copy_of_the_demos_configuration() -> None:
    """In a checkout the package's file is a link to the example; a build copies the example."""
    link = ROOT / "fslog" / "cli" / "demo" / "demo.json"
    in_sdist = (ROOT / "PKG-INFO").exists()
    in_checkout = os.environ.get("FSLOG_TEST_INSTALLED") != "1" and not in_sdist
    assert link.is_symlink() == in_checkout
    assert not in_checkout or os.readlink(link) == "../../../examples/demo.json"


def test_dictconfig_accepts_the_demos_configuration() -> None:
    """`logging.config` accepts `demo.json` if the environment has the keys."""
    program = f"""
        import json, logging.config

        with open({str(EXAMPLES / "demo.json")!r}, encoding="utf-8") as file:
            logging.config.dictConfig(json.load(file))
    """
    run(program, "http://127.0.0.1:9")
