"""The notice that a later configuration has detached a handler from its loggers."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import pytest

from fslog.collector import Collector
from fslog.delivery import detached
from processes import FORKING, run, started
from waiting import eventually

pytestmark = pytest.mark.usefixtures("measured")

NOTICE = re.compile(
    r"(the handler 'usage'|a FreshsuccessHandler) receives no records any more: another logging "
    r"configuration removed it from (.*), or disabled that logger\. Run the application with "
    r"`fslog run`, or see `fslog help troubleshooting`\n"
)

ROOT = "dictConfig(config(root))"
SHOP = "dictConfig(config(shop))"

LOST = {
    "uvicorn.run": (
        "dictConfig(config({'loggers': {'shop.access': {'handlers': ['usage']}}}))",
        "dictConfig({'version': 1, 'disable_existing_loggers': False,"
        " 'loggers': {'shop.access': {'level': 'INFO'}}})",
        "'shop.access'",
    ),
    "alembic": (ROOT, "fileConfig('logging.ini')", "the root logger"),
    "Celery": (ROOT, "logging.root.handlers = []", "the root logger"),
    "Celery, before any garbage is collected": (
        f"import celery; {ROOT}; kept = logging.root.handlers",
        "logging.root.handlers = []; celery.signals.after_setup_logger.send(None)",
        "the root logger",
    ),
    "basicConfig": (ROOT, "logging.basicConfig(force=True)", "the root logger"),
    "a disabled logger": (SHOP, "dictConfig({'version': 1}); later.pop()(); other()", "'shop'"),
    "two loggers": (
        "dictConfig(config({**root, **shop}))",
        "dictConfig({'version': 1, 'root': {'level': 'INFO'}, 'loggers': {'shop': {}}})",
        "the root logger, 'shop'",
    ),
    "a handler without a name": (
        "logging.root.addHandler(FreshsuccessHandler())",
        "other()",
        "the root logger",
    ),
}

KEPT = {
    "the same configuration": (ROOT, ROOT),
    "another logger": (ROOT, SHOP),
    "one that leaves it": (ROOT, "dictConfig({'version': 1})"),
    "a handler behind a queue": (
        "target = FreshsuccessHandler(); records = queue.SimpleQueue();"
        "logging.root.addHandler(logging.handlers.QueueHandler(records))",
        "other(); del target",
    ),
    "a handler that the application closes": (
        ROOT,
        "usage, = logging.root.handlers; logging.root.removeHandler(usage); usage.close();"
        "del usage",
    ),
    "another handler soon after": (
        ROOT,
        "other(); logging.root.addHandler(FreshsuccessHandler())",
    ),
    "a handler that is not enabled": (
        "logging.root.addHandler(FreshsuccessHandler(enabled=False))",
        "other()",
    ),
    "a handler that was never used": ("FreshsuccessHandler().name = 'usage'", "gc.collect()"),
    "an invalid configuration": (
        "try: dictConfig(config({'loggers': 3}))\nexcept TypeError: pass",
        "gc.collect()",
    ),
    "fslog.auto": ("import fslog.auto", f"{ROOT}; dictConfig({{'version': 1, 'root': {{}}}})"),
}

PROGRAM = """
    import gc
    import json
    import logging.handlers
    import os
    import queue
    import sys
    import threading
    from logging.config import dictConfig, fileConfig

    from fslog import FreshsuccessHandler
    from fslog.delivery import detached

    root = {"root": {"handlers": ["usage"]}}
    shop = {"loggers": {"shop": {"handlers": ["usage"]}}}

    def config(loggers):
        usage = {"class": "fslog.FreshsuccessHandler"}
        return {"version": 1, "handlers": {"usage": usage}, **loggers}

    def other():
        dictConfig({"version": 1, "root": {"level": "INFO"}})

    later = []
    detached.start_thread = lambda function, arguments: later.append(function)
    detached.DELAY_SECONDS = 0.0
    for name, steps in json.loads(sys.argv[1]).items():
        if (pid := os.fork()) == 0:
            print(f"== {name}", file=sys.stderr)
            for step in steps:
                exec(step)
            gc.collect()
            if len(sys.argv) == 2:
                for begin in later:
                    begin()
                for thread in threading.enumerate():
                    if thread.name == "fslog detached":
                        thread.join()
            sys.exit()
        assert os.waitpid(pid, 0)[1] == 0, name
    """

INI = """
[loggers]
keys=root
[handlers]
keys=
[formatters]
keys=
[logger_root]
handlers=
"""


def notices(cases: object, *arguments: str) -> dict[str, str]:
    """Run each case in a process of its own; return what it printed on stderr by its name."""
    arguments = (json.dumps(cases), *arguments)
    options: Any = {"flags": FORKING, "files": {"logging.ini": INI}, "arguments": arguments}
    with Collector() as collector:
        ended = run(PROGRAM, collector.url, err=None, **options)
    parts = [part.partition("\n") for part in ended.err.split("== ")[1:]]
    return {name: text for name, _, text in parts}


def test_a_detached_handler() -> None:
    """It is reported once, with the loggers that had it, however they lost it."""
    printed = notices({name: steps for name, (*steps, _) in LOST.items()})
    assert printed.keys() == LOST.keys()
    for name, (*_, had) in LOST.items():
        is_named = name != "a handler without a name"
        handler = "the handler 'usage'" if is_named else "a FreshsuccessHandler"
        assert NOTICE.findall(printed[name]) == [(handler, had)], name
        assert printed[name].count("\n") == 1


@pytest.mark.slow
def test_a_handler_that_is_not_lost() -> None:
    """Nothing is reported if a logger has one of fslog's handlers, or none ever had it."""
    assert notices(KEPT) == dict.fromkeys(KEPT, "")


@pytest.mark.slow
def test_the_end_of_the_process() -> None:
    """What a configuration detached shortly before is reported then; no other end is."""
    printed = notices({name: steps for name, (*steps, _) in LOST.items()}, "exit")
    found = {name for name, text in printed.items() if NOTICE.search(text)}
    assert found == LOST.keys() - {"Celery", "basicConfig"}
    assert not any(printed[name] for name in LOST.keys() - found)


SERVERS = {
    "uvicorn": (
        """
        import uvicorn
        from configured import configure

        async def app(scope, receive, send):
            raise NotImplementedError

        configure({"loggers": {"uvicorn.access": {"handlers": ["usage"], "level": "INFO"}}})
        uvicorn.run(app, port=0)
        """,
        "'uvicorn.access'",
    ),
    "celery": (
        """
        import celery
        from configured import configure

        configure({"root": {"handlers": ["usage"], "level": "INFO"}})
        app = celery.Celery("app", broker="memory://")
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        app.worker_main(["worker", "--pool", "solo", *quiet])
        """,
        "the root logger",
    ),
}

CONFIGURED = """
import logging.config

def configure(loggers):
    usage = {"class": "fslog.FreshsuccessHandler"}
    logging.config.dictConfig({"version": 1, "handlers": {"usage": usage}, **loggers})
"""


@pytest.mark.slow
@pytest.mark.parametrize(("program", "had"), SERVERS.values(), ids=SERVERS)
def test_a_server_that_detaches_a_handler(program: str, had: str) -> None:
    """It is reported while the server runs."""
    options: Any = {"files": {"configured.py": CONFIGURED}, "flags": ()}  # Celery warns of root
    with Collector() as collector, started(program, collector.url, **options) as server:
        assert eventually(lambda: bool(NOTICE.search(server.written("err")))), server.written("err")
        assert NOTICE.findall(server.written("err")) == [("the handler 'usage'", had)]


def test_the_interpreter_shuts_down_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python 3.12 on no thread begins then: nothing is written on the application's stderr."""

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", start)
    detached._begin()  # what it raised, `_thread` would write
