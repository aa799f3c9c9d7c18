"""Servers and workers that SIGTERM ends: all events arrive, and the exit status is as before."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from fslog.collector import Answer, Collector
from ports import free_port
from processes import Process, waits
from servers import DEADLINE, Server, settings_for

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("measured")]

REQUESTS = 20

FILES = {
    "usage.py": """
        import logging.config
        import logging

        logging.config.dictConfig({
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {
                # A POST for each event, so that most of them wait at the signal.
                "usage": {
                    "class": "fslog.FreshsuccessHandler", "batch_events": 1, "shutdown_timeout": 30,
                },
            },
            "loggers": {"app": {"handlers": ["usage"], "level": "INFO"}},
        })

        def use():
            event = {"action": "feature", "module": "reports", "feature": "export",
                     "accountId": "acme", "userId": "ann"}
            logging.getLogger("app").info("used", extra={"event": event})
        """,
    "wsgi.py": """
        import usage

        def app(environ, start_response):
            if environ["REQUEST_METHOD"] == "POST":
                usage.use()
            start_response("200 OK", [("Content-Length", "0")])
            return [b""]
        """,
    "gated.py": """
        import wsgi

        def app(environ, start_response):
            if environ["PATH_INFO"] == "/gate":
                open("gate").close()
            return wsgi.app(environ, start_response)
        """,
    "forking.py": """
        import json
        import os
        import signal
        import subprocess
        import time
        import wsgi

        def status(pid):
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

        def app(environ, start_response):
            if environ["PATH_INFO"] != "/fork":
                return wsgi.app(environ, start_response)
            wsgi.usage.use()
            command = subprocess.Popen(["sleep", "100"])
            command.terminate()
            pid = os.fork()
            if pid == 0:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(100)
            told = json.dumps([os.getpid(), command.wait(), status(pid)]).encode()
            start_response("200 OK", [("Content-Length", str(len(told)))])
            return [told]
        """,
    "asgi.py": """
        import usage

        async def app(scope, receive, send):
            assert scope["type"] == "http"
            if scope["method"] == "POST":
                usage.use()
            headers = [(b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
        """,
    "flasks.py": """
        import flask
        import usage

        app = flask.Flask("app")

        @app.route("/<path:path>", methods=["GET", "POST"])
        def answer(path):
            if flask.request.method == "POST":
                usage.use()
            return ""
        """,
    "tornados.py": """
        import asyncio
        import sys
        import tornado.web
        import usage

        class Answer(tornado.web.RequestHandler):
            def get(self):
                pass

            def post(self):
                usage.use()

        async def main():
            tornado.web.Application([(r"/.*", Answer)]).listen(int(sys.argv[1]), "127.0.0.1")
            await asyncio.Event().wait()

        asyncio.run(main())
        """,
    "manage.py": """
        import sys
        from django.conf import settings
        from django.core.management import execute_from_command_line
        from django.http import HttpResponse
        from django.urls import re_path
        import usage

        def answer(request):
            if request.method == "POST":
                usage.use()
            return HttpResponse()

        urlpatterns = [re_path("", answer)]
        settings.configure(
            DEBUG=True, ROOT_URLCONF="manage", SECRET_KEY="x", ALLOWED_HOSTS=["*"],
            DATABASES={}, LOGGING_CONFIG=None, MIDDLEWARE=[], INSTALLED_APPS=[],
        )
        if __name__ == "__main__":
            sys.modules["manage"] = sys.modules["__main__"]
            execute_from_command_line(sys.argv)
        """,
    "scheduled.py": """
        import sys
        from datetime import datetime, timezone
        from apscheduler.schedulers.blocking import BlockingScheduler
        import usage

        def work():
            for _ in range(20):
                usage.use()
            print('{"worked": true}', flush=True)

        scheduler = BlockingScheduler(timezone=timezone.utc)
        scheduler.add_job(work, "date", run_date=datetime.now(timezone.utc))
        scheduler.start()
        """,
}

KILLED = -signal.SIGTERM
UVICORN = ("-m", "uvicorn", "asgi:app", "--port", "{port}")
GUNICORN = ("-m", "gunicorn", "--bind", "127.0.0.1:{port}")

SERVERS = {
    "uvicorn": (UVICORN, KILLED),
    "uvicorn with workers": ((*UVICORN, "--workers", "2"), 0),
    "uvicorn in gunicorn": (
        (*GUNICORN, "--worker-class", "uvicorn.workers.UvicornWorker", "asgi:app"),
        0,
    ),
    "gunicorn": ((*GUNICORN, "--workers", "2", "wsgi:app"), 0),
    "waitress": (("-m", "waitress", "--listen", "127.0.0.1:{port}", "wsgi:app"), KILLED),
    "tornado": (("tornados.py", "{port}"), KILLED),
    "flask run": (("-m", "flask", "--app", "flasks", "run", "--port", "{port}"), KILLED),
    "runserver": (("manage.py", "runserver", "--noreload", "127.0.0.1:{port}"), KILLED),
    "hypercorn": (("-m", "hypercorn", "--bind", "127.0.0.1:{port}", "asgi:app"), 0),
}


def _project(where: Path) -> Path:
    for name, text in FILES.items():
        (where / name).write_text(textwrap.dedent(text), encoding="utf-8")
    return where


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_loses_nothing(name: str, tmp_path: Path) -> None:
    """Its own documentation's command, requests, and then what `docker stop` sends."""
    command, code = SERVERS[name]
    where = _project(tmp_path)
    with Collector() as collector:
        collector.always(Answer(delay=0.1))
        with Server([sys.executable, *command], where, settings_for(collector, where)) as server:
            server.until(lambda: server.is_ready({}))
            for _ in range(REQUESTS):
                assert server.ask("POST", "/reports") == 200
            server.terminate()
            ended = server.end(DEADLINE)
        assert ended.code == code, ended.err
        assert "Traceback" not in ended.err, ended.err
        assert len(collector.events) == REQUESTS, ended.err


PROGRAM = str(Path(sys.executable).with_name("uwsgi"))
MASTER = (
    "--binary-path",
    sys.executable,
    "--virtualenv",
    sys.prefix,
    "--master",
    "--enable-threads",
    "--stats",
    "127.0.0.1:{stats}",
)
SOCKET = ("--http-socket", "127.0.0.1:{port}")
GRACEFUL = ("--hook-master-start", "unix_signal:15 gracefully_kill_them_all")
END_CODE = 30
"""The status with which uWSGI's handler of a signal ends a process."""

ROUTED = ("--http", "127.0.0.1:{port}", "--lazy-apps")

UWSGI = {
    "gevent": (*SOCKET, "--gevent", "10", "--gevent-monkey-patch", "--die-on-term"),
    "gevent, unpatched": (*SOCKET, "--gevent", "10", "--die-on-term"),
    "no teardown": (*SOCKET, "--skip-atexit-teardown", "--die-on-term"),
    "lazy apps": (*ROUTED, "--die-on-term"),
    "lazy apps, graceful": (*ROUTED, *GRACEFUL),
}


@contextlib.contextmanager
def _uwsgi(
    collector: Collector, where: Path, *arguments: str
) -> Iterator[tuple[Server, Callable[[], bool]]]:
    """Run uWSGI; give the server, and a function that returns whether it handles no request."""
    stats = free_port()

    def is_idle() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", stats), DEADLINE) as connection:
                found = json.load(connection.makefile())
        except ConnectionRefusedError:  # it starts
            return False
        cores = [core for worker in found["workers"] for core in worker["cores"]]
        return not any(core["in_request"] for core in cores)

    given = [part.replace("{stats}", str(stats)) for part in (*MASTER, *arguments)]
    with Server([PROGRAM, *given], _project(where), settings_for(collector, where)) as server:
        server.until(lambda: server.is_ready({}))
        _use(server)
        yield server, is_idle


def _use(server: Server) -> None:
    for _ in range(REQUESTS):
        assert server.ask("POST", "/reports") == 200
    for _ in range(REQUESTS):  # so that each of several threads answers one
        assert server.ask("GET", "/reports") == 200


@pytest.mark.needs("pyuwsgi>=2")
@pytest.mark.parametrize("name", UWSGI)
def test_uwsgi_loses_nothing(name: str, tmp_path: Path) -> None:
    """Whether it runs what `atexit` has or only `uwsgi.atexit`, if no worker is busy."""
    with Collector() as collector:
        collector.always(Answer(delay=0.1))
        with _uwsgi(collector, tmp_path, *UWSGI[name], "--module", "wsgi:app") as (server, is_idle):
            server.until(is_idle)
            server.terminate()
            ended = server.end(DEADLINE)
        assert ended.code == 0, ended.err
        assert "Traceback" not in ended.err, ended.err
        assert len(collector.events) == REQUESTS, ended.err


def _is_ready_again(server: Server) -> bool:
    with contextlib.suppress(ConnectionResetError):  # it waited for the old worker
        return server.is_ready({})
    return False


@pytest.mark.needs("pyuwsgi>=2")
def test_uwsgi_that_is_reloaded_loses_nothing(tmp_path: Path) -> None:
    """Without `--die-on-term`, SIGTERM starts new workers."""
    with Collector() as collector:
        collector.always(Answer(delay=0.1))
        with _uwsgi(collector, tmp_path, *SOCKET, "--module", "wsgi:app") as (server, is_idle):
            server.until(is_idle)
            server.send(signal.SIGTERM)
            collector.wait_for(REQUESTS)
            server.until(lambda: _is_ready_again(server))
            server.until(is_idle)
            server.send(signal.SIGINT)
            ended = server.end(DEADLINE)
        assert ended.code == 0, ended.err
        assert len(collector.events) == REQUESTS, ended.err


@pytest.mark.needs("pyuwsgi>=2")
def test_a_busy_worker_of_uwsgi_loses_nothing_if_it_ends_gracefully(tmp_path: Path) -> None:
    """The guide's hook lets it answer its request first; `--die-on-term` would not."""
    os.mkfifo(tmp_path / "gate")
    with Collector() as collector:
        collector.always(Answer(delay=0.1))
        arguments = (*SOCKET, *GRACEFUL, "--module", "gated:app")
        with _uwsgi(collector, tmp_path, *arguments) as (server, is_idle):
            server.until(is_idle)
            with contextlib.closing(server.connect()) as connection:
                connection.request("POST", "/gate")
                server.until(lambda: not is_idle())
                server.terminate()
                server.until(lambda: "Gracefully killing worker" in server.written("err"))
                (tmp_path / "gate").write_bytes(b"")
                assert connection.getresponse().status == 200
            ended = server.end(DEADLINE)
        assert ended.code == 0, ended.err
        assert len(collector.events) == REQUESTS + 1, ended.err


SKIPS = ("--skip-atexit", "--module", "gated:app")

SKIPPING = {
    "SIGINT": (signal.SIGINT, SOCKET),
    "SIGTERM": (signal.SIGTERM, (*SOCKET, "--die-on-term")),
    "SIGTERM, gracefully": (signal.SIGTERM, (*SOCKET, *GRACEFUL)),
    "SIGINT, lazy apps": (signal.SIGINT, ROUTED),
    "SIGINT, workers": (signal.SIGINT, (*SOCKET, "--workers", "2")),
    "SIGTERM, threads": (signal.SIGTERM, (*SOCKET, "--threads", "4", "--die-on-term")),
    "SIGINT, gevent": (signal.SIGINT, (*SOCKET, "--gevent", "10", "--gevent-monkey-patch")),
}


@pytest.mark.needs("pyuwsgi>=2")
@pytest.mark.parametrize("name", SKIPPING)
def test_uwsgi_that_skips_atexit_loses_nothing(name: str, tmp_path: Path) -> None:
    """Although it then ends a worker by `_exit`, in its handler of signals in C."""
    number, arguments = SKIPPING[name]
    with Collector() as collector:
        collector.always(Answer(delay=0.1))
        with _uwsgi(collector, tmp_path, *arguments, *SKIPS) as (server, is_idle):
            server.until(is_idle)
            server.send(number)
            ended = server.end(DEADLINE)
        assert ended.code == 0, ended.err
        assert "Traceback" not in ended.err, ended.err
        assert "NO MERCY" not in ended.err, ended.err
        assert len(collector.events) == REQUESTS, ended.err


@pytest.mark.needs("pyuwsgi>=2")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
@pytest.mark.parametrize("threads", ["1", "4"])
def test_uwsgi_that_skips_atexit_loses_nothing_when_it_is_reloaded(
    number: int, threads: str, tmp_path: Path
) -> None:
    """Gracefully or, by SIGTERM, brutally; and the new workers lose nothing either."""
    with Collector() as collector:
        collector.always(Answer(delay=0.1))
        arguments = (*SOCKET, "--threads", threads, *SKIPS)
        with _uwsgi(collector, tmp_path, *arguments) as (server, is_idle):
            server.until(is_idle)
            server.send(number)
            collector.wait_for(REQUESTS)
            server.until(lambda: "(RE)spawned uWSGI master" in server.written("err"))
            server.until(lambda: _is_ready_again(server))
            _use(server)
            server.until(is_idle)
            server.send(signal.SIGINT)
            ended = server.end(DEADLINE)
        assert ended.code == 0, ended.err
        assert len(collector.events) == 2 * REQUESTS, ended.err


@pytest.mark.needs("pyuwsgi>=2")
def test_a_busy_worker_of_uwsgi_that_skips_atexit_loses_nothing(tmp_path: Path) -> None:
    """SIGINT cuts off its request, as it would without fslog."""
    os.mkfifo(tmp_path / "gate")
    with Collector() as collector:
        collector.always(Answer(delay=0.1))
        with _uwsgi(collector, tmp_path, *SOCKET, *SKIPS) as (server, is_idle):
            with contextlib.closing(server.connect()) as connection:
                connection.request("POST", "/gate")
                server.until(lambda: not is_idle())
                server.send(signal.SIGINT)
                with pytest.raises(ConnectionError):
                    connection.getresponse()
            ended = server.end(DEADLINE)
        assert ended.code == 0, ended.err
        assert len(collector.events) == REQUESTS, ended.err


@pytest.mark.needs("pyuwsgi>=2")
@pytest.mark.parametrize("threads", ["1", "4"])
def test_a_worker_of_uwsgi_that_skips_atexit_may_log_after_the_signal(
    threads: str, tmp_path: Path
) -> None:
    """What a request logs that is under way at SIGHUP is delivered before the worker ends."""
    os.mkfifo(tmp_path / "gate")
    with Collector() as collector:
        collector.always(Answer(delay=0.1))
        arguments = (*SOCKET, *GRACEFUL, "--threads", threads, *SKIPS)
        with _uwsgi(collector, tmp_path, *arguments) as (server, is_idle):
            with contextlib.closing(server.connect()) as connection:
                connection.request("POST", "/gate")
                server.until(lambda: not is_idle())
                server.send(signal.SIGTERM)
                server.until(lambda: "Gracefully killing worker" in server.written("err"))
                (tmp_path / "gate").write_bytes(b"")
                assert connection.getresponse().status == 200
            ended = server.end(DEADLINE)
        assert ended.code == 0, ended.err
        assert len(collector.events) == REQUESTS + 1, ended.err


@pytest.mark.needs("pyuwsgi>=2")
@pytest.mark.parametrize("threads", ["1", "4"])
def test_a_worker_of_uwsgi_that_skips_atexit_and_ends_by_itself_loses_nothing(
    threads: str, tmp_path: Path
) -> None:
    """After `--max-requests`, several times."""
    with Collector() as collector:
        collector.always(Answer(delay=0.1))
        limits = ("--max-requests", "15", "--min-worker-lifetime", "0")
        arguments = (*SOCKET, *limits, "--threads", threads, *SKIPS)
        with _uwsgi(collector, tmp_path, *arguments) as (server, is_idle):
            server.until(lambda: _is_ready_again(server))
            server.until(is_idle)
            server.send(signal.SIGINT)
            ended = server.end(DEADLINE)
        assert ended.code == 0, ended.err
        assert "The work of process" in ended.err, ended.err
        assert len(collector.events) == REQUESTS, ended.err


@pytest.mark.needs("pyuwsgi>=2")
def test_uwsgi_that_skips_atexit_sees_no_other_end_of_its_worker(tmp_path: Path) -> None:
    """The worker's status is uWSGI's own, not that of the signal."""
    with Collector() as collector:
        collector.always(Answer(delay=0.1))
        with _uwsgi(collector, tmp_path, *SOCKET, *SKIPS) as (server, is_idle):
            server.until(is_idle)
            spawned = re.search(r"spawned uWSGI worker 1 \(pid: (\d+)", server.written("err"))
            assert spawned is not None
            os.kill(int(spawned[1]), signal.SIGTERM)
            collector.wait_for(REQUESTS)
            server.until(lambda: f"pid: {spawned[1]}) died :(" in server.written("err"))
            server.until(lambda: _is_ready_again(server))
            server.send(signal.SIGINT)
            ended = server.end(DEADLINE)
        assert ended.code == 0, ended.err
        assert "killed by signal" not in ended.err, ended.err


@pytest.mark.needs("pyuwsgi>=2")
def test_children_of_a_worker_of_uwsgi_that_skips_atexit_end_as_ever(tmp_path: Path) -> None:
    """A command by the signal, a fork by uWSGI's handler; the worker itself is not ended."""
    with Collector() as collector:
        collector.always(Answer(delay=0.1))
        arguments = (*SOCKET, "--skip-atexit", "--module", "forking:app")
        with _uwsgi(collector, tmp_path, *arguments) as (server, is_idle):
            workers = set()
            for _ in range(3):
                with contextlib.closing(server.connect()) as connection:
                    connection.request("POST", "/fork")
                    worker, command, fork = json.load(connection.getresponse())
                assert (command, fork) == (-signal.SIGTERM, END_CODE)
                workers.add(worker)
            assert len(workers) == 1
            server.until(is_idle)
            server.send(signal.SIGINT)
            ended = server.end(DEADLINE)
        assert ended.code == 0, ended.err
        assert len(collector.events) == REQUESTS + 3, ended.err


def test_a_scheduler_loses_nothing(tmp_path: Path) -> None:
    """APScheduler's main thread waits for the next job, perhaps for ever."""
    where = _project(tmp_path)
    with Collector() as collector:
        collector.always(Answer(delay=0.1))
        command = [sys.executable, "scheduled.py"]
        with Process(command, where, settings_for(collector, where)) as process:
            waits(process, "worked")
            process.terminate()
            ended = process.end(DEADLINE)
        assert ended.code == KILLED, ended.err
        assert len(collector.events) == REQUESTS


TASKS = """
    import celery
    import usage

    app = celery.Celery("tasks", broker="filesystem://")
    app.conf.broker_transport_options = {"data_folder_in": "queue", "data_folder_out": "queue"}
    app.conf.worker_hijack_root_logger = False
    use = app.task(ignore_result=True, name="use")(usage.use)
    """


def _celery(where: Path, *arguments: str) -> Sequence[str]:
    return [sys.executable, "-m", "celery", "--app", "tasks", *arguments]


def test_the_processes_of_celerys_pool_lose_nothing(tmp_path: Path) -> None:
    """Without a spool: they end by `os._exit`, and each delivers what its tasks have logged."""
    where = _project(tmp_path)
    (where / "tasks.py").write_text(textwrap.dedent(TASKS), encoding="utf-8")
    (where / "queue").mkdir()
    with Collector() as collector:
        settings = settings_for(collector, where)
        code = f"import tasks\nfor _ in range({REQUESTS}): tasks.use.delay()"
        subprocess.run(
            [sys.executable, "-c", code], cwd=where, env={**os.environ, **settings}, check=True
        )
        collector.always(Answer(delay=0.3))
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        command = _celery(where, "worker", *quiet, "--concurrency", "2", "--loglevel", "INFO")
        with Server(command, where, settings) as server:
            server.until(lambda: server.written("err").count("succeeded in") == REQUESTS)
            server.terminate()
            ended = server.end(DEADLINE)
        assert ended.code == 0, ended.err
        assert len(collector.events) == REQUESTS, ended.err
