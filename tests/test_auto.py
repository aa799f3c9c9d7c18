"""`fslog.auto`: handlers beside whatever the application does to logging, in real processes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

import pytest
from test_import_cost import COSTLY

from fslog.cli.run import STARTUP
from fslog.collector import Collector
from fslog.integrations.configured import Configured
from processes import FORKING, KEYS, Ended, numbers, run, said

pytestmark = pytest.mark.usefixtures("measured")

HANDLER = {"class": "fslog.FreshsuccessHandler", "shutdown_timeout": 20.0}
INFO: dict[str, Any] = {
    "version": 1,
    "handlers": {"usage": HANDLER},
    "root": {"handlers": ["usage"], "level": "INFO"},
}

PRELUDE = """
    import logging
    import logging.config
    from counted import *

    shop = logging.getLogger("shop")
    log.setLevel(logging.NOTSET)
    CONSOLE = {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}
    """


def beside(
    program: str,
    endpoint: str,
    config: Mapping[str, Any] | None = INFO,
    *,
    files: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    **options: Any,
) -> Ended:
    """Run a program with what `fslog run` puts into its environment.

    Args:
        program: text of the file, after the prelude's.
        endpoint, files, settings, options: see `processes.run`.
        config: the configuration; None for the default one.
    """
    named = {} if config is None else {"FSLOG_CONFIG": "usage.json"}
    return run(
        PRELUDE + program,
        endpoint,
        files={"usage.json": json.dumps(config), **(files or {})},
        settings={"PYTHONPATH": str(STARTUP), **named, **(settings or {})},
        **options,
    )


CONFIGURED = {
    "dictConfig": """
    logging.config.dictConfig(
        {"version": 1, "handlers": {"c": CONSOLE}, "root": {"handlers": ["c"], "level": "WARNING"}}
    )
    assert shop.disabled
    """,
    "fileConfig": """
    logging.config.fileConfig("logging.ini")
    assert shop.disabled
    """,
    "basicConfig": """
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level="WARNING", force=True)
    """,
    "logging.disable": """
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level="INFO")
    logging.disable(logging.WARNING)
    """,
    "removeHandler": """
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    for handler in logging.root.handlers[:]:
        logging.root.removeHandler(handler)
    """,
}

INI = """
[loggers]
keys=root
[handlers]
keys=c
[formatters]
keys=
[logger_root]
level=WARNING
handlers=c
[handler_c]
class=StreamHandler
args=(sys.stdout,)
"""


@pytest.mark.parametrize(
    "configured",
    [
        pytest.param(text, id=name, marks=[] if name == "dictConfig" else pytest.mark.slow)
        for name, text in CONFIGURED.items()
    ],
)
def test_no_configuration_detaches_the_handlers(configured: str) -> None:
    """Whatever the application configures, each event arrives, and no other line is printed."""
    program = f"""
    say(1, logger=shop)
    {configured.strip()}
    say(2, logger=shop)
    say(3, logger=logging.getLogger("new"))
    elsewhere, moved = logging.getLogger("elsewhere"), logging.getLogger("moved")
    elsewhere.setLevel("ERROR")
    moved.parent = elsewhere  # as Celery does with loggers of tasks
    say(4, logger=moved)
    shop.debug("nothing")
    print("the end")
    """
    with Collector() as collector:
        assert beside(program, collector.url, files={"logging.ini": INI}).out == "the end\n"
        assert numbers(collector) == [1, 2, 3, 4]


LEVELS = """
    logging.config.dictConfig(
        {
            "version": 1,
            "handlers": {"c": CONSOLE},
            "loggers": {
                "quiet": {"level": "WARNING"},
                "named": {"level": "ERROR"},
                "off": {"level": "CRITICAL", "propagate": False},
                "loud": {"level": "DEBUG"},
            },
            "root": {"handlers": ["c"], "level": "WARNING"},
        }
    )
    number = 0
    for name in ("", "new", "quiet", "named", "named.child", "off", "loud"):
        for level in (10, 20, 30):
            number += 1
            logger = logging.getLogger(name)
            extra = {"accountId": "a", "userId": "u", "action": "counted", "source": "main"}
            logger.log(level, "%s %s", name, level, extra={**extra, "number": number})
            if logger.isEnabledFor(level) and name == "named":
                logger.info("guarded")
    received = logging.makeLogRecord({"msg": "received", "levelno": 20, "name": "new"})
    logging.getLogger("new").handle(received)
    logging.getLogger("off").disabled = True
    assert not logging.getLogger("off").isEnabledFor("INFO")
    logging.getLogger("off").handle(logging.makeLogRecord({"name": "off"}))
    logging.getLogger("unused").disabled = True
    received = logging.makeLogRecord({**extra, "levelno": 20, "name": "unused", "number": 30})
    logging.getLogger("unused").handle(received)
    """


def test_levels() -> None:
    """A level of the configuration replaces the application's, which its handlers still obey."""
    config = {**INFO, "loggers": {"named": {"level": "DEBUG"}, "off": {"level": "WARNING"}}}
    with Collector() as collector:
        ended = beside(LEVELS, collector.url, config)
        # Of root, new, quiet, named, named.child, off and loud: three numbers each.
        expected = [2, 3, 5, 6, 9, 10, 11, 12, 13, 14, 15, 18, 20, 21, 30]
        assert numbers(collector) == expected
    alone = run(PRELUDE + LEVELS, "http://127.0.0.1:9")
    assert ended.out == alone.out
    assert "received" in alone.out


ANYTHING = """
    import random
    choose = random.Random(int(sys.argv[1]))
    names = ["", "shop", "shop.jobs", "shop.jobs.nightly", "off", "other", "other.part"]

    class Shown(logging.Handler):
        def emit(self, record):
            print(self.level, record.name, record.levelname, record.getMessage())

    class Seen(logging.Filter):
        def filter(self, record):
            print("asked", record.getMessage())
            return choose_of(record)

    def choose_of(record):
        return len(record.getMessage()) % 3 != 0

    def configure():
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": choose.random() < 0.7,
                "handlers": {"c": {"()": Shown}},
                "loggers": {choose.choice(names[1:]): {"level": "INFO", "handlers": ["c"]}},
                "root": {"handlers": ["c"], "level": choose.choice(["INFO", "ERROR"])},
            }
        )

    def change(logger, number):
        choose.choice(
            [
                configure,
                lambda: logger.setLevel(choose.choice([0, 10, 20, 30, 40])),
                lambda: logging.disable(choose.choice([0, 0, 20])),
                lambda: setattr(logger, "disabled", choose.random() < 0.5),
                lambda: setattr(logger, "propagate", choose.random() < 0.7),
                lambda: logger.addHandler(Shown(choose.choice([0, 30]))),
                lambda: logger.handlers.clear(),
                lambda: logger.addFilter(Seen()),
                lambda: logger.filters.clear(),
            ]
        )()

    for number in range(2000):
        logger = logging.getLogger(choose.choice(names))
        if choose.random() < 0.2:
            change(logger, number)
        level = choose.choice([10, 20, 30, 40])
        text = "x" * choose.randrange(5) + str(number)
        kind = choose.random()
        if kind < 0.1:
            made = {"name": logger.name, "levelno": level, "msg": text}
            logger.handle(logging.makeLogRecord(made))
        elif kind < 0.2:
            logging.LoggerAdapter(logger, {}).log(level, text)
        else:
            logger.log(level, text)
    """


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_whatever_an_application_does_its_handlers_see_the_same(seed: str) -> None:
    """Its handlers and filters get the records that they get without fslog, in the same order."""
    config = {**INFO, "loggers": {"shop.jobs": {"level": "DEBUG"}, "off": {"level": "WARNING"}}}
    with Collector() as collector:
        ended = beside(ANYTHING, collector.url, config, arguments=[seed], err=None)
    alone = run(PRELUDE + ANYTHING, "http://127.0.0.1:9", arguments=[seed], err=None)
    assert (ended.out, ended.err) == (alone.out, alone.err)
    assert alone.out.count("asked") > 100
    assert alone.out.count("WARNING") > 100


@pytest.mark.slow
def test_without_a_level_the_application_decides() -> None:
    """A configuration without levels rescues what is disabled, and lowers no level."""
    config = {**INFO, "root": {"handlers": ["usage"]}}
    program = """
    log.setLevel(logging.INFO)
    say(1)
    say(2, logger=shop)
    logging.config.dictConfig({"version": 1})
    assert log.disabled
    say(3)
    log.debug("nothing")
    logging.disable(logging.INFO)
    say(4)
    """
    with Collector() as collector:
        beside(program, collector.url, config)
        assert numbers(collector) == [1, 3]


@pytest.mark.slow
def test_handlers_of_one_logger() -> None:
    """A handler gets the records of the loggers that have it, and `propagate` is obeyed."""
    config = {
        **INFO,
        "handlers": {name: {**HANDLER, "defaults": {"product": name}} for name in ("one", "two")},
        "loggers": {
            "shop": {"handlers": ["one"], "level": "INFO"},
            "shop.jobs": {"propagate": False, "level": "INFO", "handlers": ["two"]},
        },
        "root": {"handlers": ["two"], "level": "ERROR"},
    }
    program = """
    say(1, logger=shop)
    say(2, logger=logging.getLogger("shop.jobs.nightly"))
    say(3, logger=logging.getLogger("other"))
    import fslog
    assert list(fslog.stats()) == ["one", "two"]
    """
    with Collector() as collector:
        beside(program, collector.url, config)
        found = sorted((event["number"], event["product"]) for event in collector.events)
    assert found == [(1, "one"), (1, "two"), (2, "two")]


OWN = """
    usage = {"class": "fslog.FreshsuccessHandler", "defaults": {"by": "application"}}
    memory = {"class": "logging.handlers.MemoryHandler", "capacity": 9, "target": "usage"}
    logging.config.dictConfig(
        {
            "version": 1,
            "handlers": {"usage": usage, "memory": memory},
            "loggers": {
                "shop": {"handlers": ["usage"], "level": "INFO"},
                "kept": {"handlers": ["memory"], "level": "INFO"},
                "alone": {"propagate": False, "level": "INFO"},
            },
        }
    )
    for number, name in enumerate(("shop", "shop.jobs", "kept", "alone", "new")):
        say(number, logger=logging.getLogger(name))
    logging.getLogger("shop").setLevel(logging.WARNING)
    say(5, logger=logging.getLogger("shop"))
    """


def test_no_event_arrives_twice() -> None:
    """An event of which the application's own handler gets the record is that handler's."""
    config = {**INFO, "loggers": {"shop": {"level": "INFO"}}}
    with Collector() as collector:
        beside(OWN, collector.url, config)
        found = sorted((event["number"], event.get("by")) for event in collector.events)
    own = [(0, "application"), (1, "application"), (2, "application")]
    assert found == [*own, (3, None), (4, None), (5, None)]


QUEUES = """
    import logging.handlers
    import queue
    import threading

    records = queue.SimpleQueue()
    log.addHandler(logging.handlers.QueueHandler(records))
    log.setLevel(logging.INFO)
    log.propagate = False
    elsewhere = logging.NullHandler()
    listener = logging.handlers.QueueListener(records, elsewhere)
    listener.start()
    say(1)
    own = handle(logger=logging.getLogger("payments"), defaults={"by": "application"})
    say(2)
    listener.stop()
    logging.getLogger("payments").removeHandler(own)
    listener = logging.handlers.QueueListener(records, own)
    listener.start()
    say(3)
    listener.stop()
    own.flush()
    """


def test_no_event_arrives_twice_through_a_queue() -> None:
    """A handler behind a queue gets the records of the logger before it; others do not count."""
    with Collector() as collector:
        beside(QUEUES, collector.url)
        found = sorted((event["number"], event.get("by", "beside")) for event in collector.events)
    assert found == [(1, "beside"), (2, "beside"), (3, "application")]


@pytest.mark.slow
def test_records_of_another_process() -> None:
    """A child's records that its parent handles, as in logging's cookbook, are events once."""
    program = """
    import logging.handlers
    import multiprocessing

    log.setLevel(logging.INFO)

    def work(records):
        logging.root.addHandler(logging.handlers.QueueHandler(records))
        say(1, source="child")

    context = multiprocessing.get_context("fork")
    records = context.Queue()
    child = context.Process(target=work, args=(records,))
    child.start()
    record = records.get(timeout=60)
    child.join()
    logging.root.addHandler(logging.StreamHandler(sys.stdout))
    logging.getLogger(record.name).handle(record)
    say(2)
    """
    with Collector() as collector:
        ended = beside(program, collector.url, flags=FORKING)
        assert sorted(said(collector)) == [("child", 1), ("main", 2)]
    assert ended.out == "said\nsaid\n"


CHILDREN = {
    "os.fork": """
    def start(number):
        if (pid := os.fork()) == 0:
            work(number)
            sys.exit()
        os.waitpid(pid, 0)
    """,
    "subprocess": """
    def start(number):
        subprocess.run([sys.executable, "child.py", str(number)], check=True)
    """,
    **{
        method: f"""
    def start(number):
        child = multiprocessing.get_context("{method}").Process(target=work, args=(number,))
        child.start()
        child.join()
    """
        for method in ("fork", "spawn", "forkserver")
    },
}


@pytest.mark.parametrize(
    "kind",
    [
        "subprocess",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("os.fork", "fork", "spawn", "forkserver")
        ),
    ],
)
def test_children(kind: str) -> None:
    """Events of each child that is a Python process arrive, whether the parent logs before or not.

    No child configures logging.
    """
    program = f"""
    import multiprocessing
    import os
    import subprocess

    def work(number):
        say(number, source="child", logger=shop)
    {CHILDREN[kind]}
    if __name__ == "__main__":
        start(1)
        say(1)
        start(2)
        say(2)
    """
    child = "import sys; from counted import *; say(int(sys.argv[1]), source='child')"
    with Collector() as collector:
        beside(program, collector.url, flags=FORKING, files={"child.py": child})
        assert sorted(said(collector)) == [("child", 1), ("child", 2), ("main", 1), ("main", 2)]


@pytest.mark.slow
def test_a_parent_creates_the_handlers_for_its_children() -> None:
    """A process that forks a child for each task does not let each of them load urllib3."""
    program = """
    import os
    log.info("started")
    assert "urllib3" not in sys.modules
    for number in range(2):
        if (pid := os.fork()) == 0:
            assert "urllib3" in sys.modules
            say(number)
            sys.exit()
        assert os.waitpid(pid, 0)[1] == 0
    """
    with Collector() as collector:
        beside(program, collector.url, flags=FORKING)
        assert numbers(collector) == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("raised", ["", "raise RuntimeError('as meant')"])
def test_the_sitecustomize_of_the_application(raised: str) -> None:
    """It is executed as without fslog, under its name, whether it fails or not."""
    program = """
    print(getattr(sys.modules.get("sitecustomize"), "NAME", None))
    say(1)
    """
    files = {"sitecustomize.py": f"NAME = __name__\nprint('began', NAME)\n{raised}"}
    with Collector() as collector:
        ended = beside(program, collector.url, files=files, err=None)
        assert numbers(collector) == [1]
    alone = run(PRELUDE + program, "http://127.0.0.1:9", files=files, err=None)
    assert (ended.out, ended.err) == (alone.out, alone.err)
    assert ended.out.startswith("began sitecustomize\n")


def broken(**arguments: Any) -> dict[str, Any]:
    """Return a configuration whose handler has these arguments, and a key."""
    return {**INFO, "handlers": {"usage": {**HANDLER, "api_key": KEYS[1], **arguments}}}


WRONG = {
    "an argument": (
        broken(feilds={}),
        "handlers.usage: FreshsuccessHandler has no argument 'feilds'; did you mean 'fields'?",
    ),
    "a module": (
        broken(context_provider="ext://no_such_module.who"),
        "handlers.usage: Cannot resolve 'no_such_module.who': No module named 'no_such_module'",
    ),
    "a level": (
        {**INFO, "root": {"level": "INFOS"}},
        "root.level: unknown level 'INFOS'; did you mean 'INFO'?",
    ),
    "a logger": ({**INFO, "loggers": {"shop": 3}}, "loggers.shop: expected a mapping, found int"),
    "handlers": (
        {**INFO, "root": {"handlers": "usage"}},
        "root.handlers: expected a list, found str",
    ),
    "no handler": (
        {"version": 1, "handlers": {}},
        "handlers: none is fslog's; add one with class: fslog.FreshsuccessHandler",
    ),
    "no logger": (
        {**INFO, "root": {}},
        "handlers.usage: no logger has it; add it to root.handlers",
    ),
}


@pytest.mark.parametrize(("config", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_configuration(config: Any, message: str) -> None:
    """An error names the file, the place in it, what is there, and what is allowed."""
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(f'usage.json: {message}')}$"):
        Configured(config, "usage.json").create()


@pytest.mark.usefixtures("keys")
def test_what_sends_nothing_needs_no_hash_key() -> None:
    """The formatters that say which records are events before a handler is created do not."""
    handler = {**HANDLER, "redact": {"userId": "hash"}}
    config = {**INFO, "handlers": {"usage": handler}}
    configured = Configured(config, "usage.json")
    assert configured.formatters()["usage"].redact == {"userId": "hash"}
    with pytest.raises(ValueError, match="FSLOG_HASH_KEY"):
        configured.create()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param(broken(feilds={}), "handlers.usage: FreshsuccessHandler has no argument"),
        pytest.param({**INFO, "root": {}}, "handlers.usage: no", marks=pytest.mark.slow),
        pytest.param([], "contains a list; expected", marks=pytest.mark.slow),
        pytest.param(None, "cannot be read: No such file", marks=pytest.mark.slow),
    ],
)
def test_a_wrong_configuration_in_a_process(config: Any, message: str) -> None:
    """Started by `fslog run`, it runs without fslog, which one line says; an import raises.

    No key is shown.
    """
    program = """
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    for number in range(3):
        say(number)
        log.warning("shown")
    if len(sys.argv) > 1:
        try:
            import fslog.auto
        except (TypeError, ValueError) as error:
            print(error)
        print(logging.Logger.handle.__code__.co_filename == logging.__file__)
    """
    name = "no.json" if config is None else "usage.json"
    settings = {"FSLOG_CONFIG": name}
    with Collector() as collector:
        started = beside(program, collector.url, config, err=None, settings=settings)
        settings["PYTHONPATH"] = ""
        imported = beside(program, collector.url, config, arguments=["1"], settings=settings)
        assert collector.events == []
    assert started.out == "shown\n" * 3
    prefix, _, end = started.err.partition(f"{name}")
    assert prefix == "fslog: "
    assert message in end
    assert end.endswith("; the application runs without fslog\n")
    *_, raised, is_unchanged = imported.out.splitlines()
    assert f"fslog: {raised}; the application runs without fslog\n" == started.err
    assert is_unchanged == "True"


def test_an_import_in_the_application() -> None:
    """`import fslog.auto` attaches the handlers that FSLOG_CONFIG names, and creates them."""
    program = """
    import fslog.auto
    assert list(fslog.stats()) == ["usage"]
    logging.config.dictConfig({"version": 1})
    say(1)
    """
    with Collector() as collector:
        beside(program, collector.url, settings={"PYTHONPATH": ""})
        assert numbers(collector) == [1]


def test_a_filter_that_raises_costs_one_record() -> None:
    """What a filter of the configuration raises does not reach the log call."""
    filters = {"odd": {"()": "filters.Odd"}}
    config = {**INFO, "handlers": {"usage": {**HANDLER, "filters": ["odd"]}}, "filters": filters}
    odd = """
    class Odd:
        def filter(self, record):
            return 1 / (record.number % 2)
    """
    program = """
    for number in range(6):
        say(number)
    """
    with Collector() as collector:
        ended = beside(program, collector.url, config, files={"filters.py": odd}, err=None)
        assert numbers(collector) == [1, 3, 5]
    effect = "ZeroDivisionError: division by zero; this record made no event"
    assert ended.err == f"fslog: usage.json: {effect}\n"


@pytest.mark.slow
def test_the_default_configuration() -> None:
    """Without a file, the events of log calls from INFO on arrive."""
    with Collector() as collector:
        beside("say(1)\n    say(2, logger=shop)\n    log.debug('nothing')", collector.url, None)
        assert numbers(collector) == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"FSLOG_ENABLED": "no"}, {}], ids=["no", "auto"])
def test_switched_off(settings: dict[str, str]) -> None:
    """`enabled` decides as for any handler: without keys, one line says that fslog is off."""
    without = {"FSLOG_AUTH_KEY": "", "FSLOG_API_KEY": ""}
    program = """
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    say(1)
    say(2)
    """
    with Collector() as collector:
        ended = beside(program, collector.url, settings={**without, **settings})
        assert collector.events == []
    assert ended.out.count("fslog is off") == (not settings)


@pytest.mark.slow
def test_a_capture_receives_the_events() -> None:
    """Tests of an application that runs beside fslog catch its events, before and after the first.

    pytest's plugin alone lets them send nothing.
    """
    tested = """
    import logging

    def use():
        extra = {"accountId": "a", "userId": "u", "action": "counted"}
        logging.getLogger("shop").info("used", extra=extra)

    def test_nothing_is_sent():
        use()

    def test_caught(freshsuccess):
        use()
        freshsuccess.assert_event(action="counted")
    """
    with Collector() as collector:
        ended = run(
            "",
            collector.url,
            flags=("-m", "pytest"),
            arguments=["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "test_it.py"],
            files={"test_it.py": tested, "usage.json": json.dumps(INFO)},
            settings={"PYTHONPATH": str(STARTUP), "FSLOG_CONFIG": "usage.json"},
        )
        assert "2 passed" in ended.out
        assert collector.events == []


@pytest.mark.slow
def test_a_module_of_the_application_in_the_configuration() -> None:
    """It is imported at the first record, and what it logs meanwhile is not lost."""
    config = {
        **INFO,
        "handlers": {"usage": {**HANDLER, "context_provider": "ext://actor.current"}},
    }
    actor = """
    from counted import *

    assert sys.argv[0] == "program.py"
    say(1)

    def current():
        return {"userId": "ann"}
    """
    program = """
    extra = {"accountId": "a", "action": "counted", "number": 2, "source": "main"}
    log.info("said", extra=extra)
    assert "actor" in sys.modules
    """
    with Collector() as collector:
        beside(program, collector.url, config, files={"actor.py": actor})
        assert sorted(numbers(collector)) == [1, 2]
        assert {event["userId"] for event in collector.events} == {"u", "ann"}


@pytest.mark.slow
def test_first_records_of_many_threads() -> None:
    """Threads that log while another one creates the handlers lose nothing."""
    program = """
    import threading
    together = threading.Barrier(8)
    def work(number):
        together.wait()
        say(number)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    """
    with Collector() as collector:
        beside(program, collector.url)
        assert sorted(numbers(collector)) == list(range(8))


@pytest.mark.slow
def test_a_fork_while_another_thread_logs_the_first_record() -> None:
    """The child has the handlers, and waits for no lock that the other thread held."""
    config = {
        **INFO,
        "handlers": {"usage": {**HANDLER, "context_provider": "ext://actor.current"}},
    }
    actor = """
    import __main__

    __main__.began.set()
    __main__.forking.wait(60)

    def current():
        return {}
    """
    program = """
    import os
    import threading
    began, forking = threading.Event(), threading.Event()
    thread = threading.Thread(target=say, args=(1,))
    thread.start()
    began.wait(60)
    os.register_at_fork(before=forking.set)  # is called before those of fslog
    if (pid := os.fork()) == 0:
        say(2)
        sys.exit()
    assert os.waitpid(pid, 0)[1] == 0
    thread.join()
    """
    with Collector() as collector:
        beside(program, collector.url, config, flags=FORKING, files={"actor.py": actor})
        assert sorted(numbers(collector)) == [1, 2]


@pytest.mark.slow
def test_the_only_record_at_the_end() -> None:
    """A record that an `atexit` function logs, the first of the process, makes its event."""
    with Collector() as collector:
        beside("import atexit\n    atexit.register(say, 1)", collector.url)
        assert numbers(collector) == [1]


@pytest.mark.slow
def test_another_tracer_sees_what_it_would_see() -> None:
    """One that replaces `callHandlers` too gets no record that a level of the application stops.

    Neither does a subclass of `Logger`, and a hierarchy of its own stays apart.
    """
    program = """
    before = logging.Logger.callHandlers
    def traced(self, record):
        print("traced", record.getMessage())
        before(self, record)
    logging.Logger.callHandlers = traced

    class Permissive(logging.Logger):
        def isEnabledFor(self, level):
            return True

        def callHandlers(self, record):
            print("called", record.levelname)
            super().callHandlers(record)

    logging.setLoggerClass(Permissive)
    own = logging.getLogger("own")
    logging.setLoggerClass(logging.Logger)
    logging.root.addHandler(logging.NullHandler())
    say(1, logger=shop)
    shop.warning("warned")
    own.setLevel(logging.ERROR)
    say(2, logger=own)
    private = logging.Manager(logging.RootLogger(logging.INFO))
    private.root.manager = private
    say(3, logger=private.getLogger("private"))
    """
    with Collector() as collector:
        ended = beside(program, collector.url)
        assert numbers(collector) == [1, 2]
    alone = run(PRELUDE + program, "http://127.0.0.1:9")
    assert ended.out == alone.out


@pytest.mark.slow
def test_a_low_level_makes_no_records_of_internal_work() -> None:
    """At DEBUG, urllib3's records of fslog's own requests, which hold both keys, are not made."""
    program = """
    made = []
    class Record(logging.LogRecord):
        def __init__(self, name, *others, **more):
            super().__init__(name, *others, **more)
            made.append(name)
    logging.setLogRecordFactory(Record)
    say(1)
    import fslog, urllib3.connectionpool
    assert fslog.flush(60)
    assert logging.getLogger("urllib3.connectionpool").isEnabledFor(logging.DEBUG)
    print(sorted(set(made)))
    """
    config = {**INFO, "root": {"handlers": ["usage"], "level": "DEBUG"}}
    with Collector() as collector:
        assert beside(program, collector.url, config).out == "['app']\n"
        assert numbers(collector) == [1]


def test_a_process_without_events_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that logs no event does not pay for what a handler needs."""
    for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
        monkeypatch.delenv(name)  # it loads some of that itself
    program = "import logging, sys; logging.warning('shown'); print(*sys.modules)"
    settings = {"PYTHONPATH": str(STARTUP)}
    ended = run(program, "http://127.0.0.1:9", settings=settings, err="WARNING:root:shown\n")
    assert "fslog.auto" in ended.out
    assert not (set(COSTLY) - {"socketserver"}) & set(ended.out.split())


@pytest.mark.slow
def test_nothing_is_replaced_unless_asked() -> None:
    """An application that does not import `fslog.auto` has the methods of `logging` itself."""
    program = """
    handle()
    import fslog.integrations.attachment, fslog.cli.run
    for name in ("isEnabledFor", "handle", "callHandlers"):
        print(getattr(logging.Logger, name).__code__.co_filename == logging.__file__)
    """
    assert run(PRELUDE + program, "http://127.0.0.1:9").out == "True\n" * 3


COST = """
    import timeit
    from fslog import FreshsuccessHandler

    names = ("isEnabledFor", "handle", "callHandlers")
    after = {name: getattr(logging.Logger, name) for name in names}
    before = {name: method.__wrapped__ for name, method in after.items()}
    plain, beside, attached = map(logging.getLogger, ("plain", "beside", "attached"))
    for logger in (plain, beside, attached):
        logger.propagate = False
        logger.setLevel(logging.INFO)
        logger.addHandler(logging.NullHandler())
    attached.addHandler(FreshsuccessHandler())

    def cost(methods, call):
        for name, method in methods.items():
            setattr(logging.Logger, name, method)
        return min(timeit.repeat(call, number=1000, repeat=5))

    def ratio(one, other):
        pairs = [(cost(*one), cost(*other)) for _ in range(20)]
        first, second = map(min, zip(*pairs))
        return first / second

    info = lambda logger: lambda: logger.info("exported %s rows", 3)
    debug = lambda: plain.debug("exported %s rows", 3)
    skipped = lambda: ratio((after, info(beside)), (before, info(attached)))
    tell(
        made=ratio((after, info(plain)), (before, info(plain))),
        dropped=ratio((after, debug), (before, debug)),
        skipped_at_first=skipped(),
    )
    say(1, logger=beside)
    tell(skipped=skipped())
    """


@pytest.mark.timing
def test_the_cost() -> None:
    """What a log call costs beside the handlers, as ratios.

    That is for a record of a logger without one of the handlers, for a log call that its level
    drops, and for a record that a handler skips, compared with a handler that the logger has:
    before the first event, which creates the handlers, and after it.
    """
    config = {
        **INFO,
        "root": {},
        "loggers": {"beside": {"handlers": ["usage"], "level": "INFO"}},
    }
    with Collector() as collector:
        facts = beside(COST, collector.url, config).facts
    assert facts["made"] < 1.5, facts
    assert facts["dropped"] < 3.0, facts
    assert facts["skipped_at_first"] < 2.0, facts
    assert facts["skipped"] < 1.5, facts
