"""The tables and samples of the guide agree with the code."""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import operator
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import fslog
from fslog import EventFormatter, FreshsuccessHandler
from fslog.collector import Collector
from fslog.delivery import names
from fslog.formatter import EXCLUDE
from fslog.mapping import rates, schema
from fslog.net.destination import DATACENTERS
from fslog.plan.judgement import CODES
from fslog.testing import Capture
from processes import Process
from readme_blocks import ROOT, blocks_of
from servers import DEADLINE, serving, settings_for
from users import CALLS, USERS_OF_24, ask_24, pipeline_24, stop, users
from waiting import eventually

GUIDE = ROOT / "fslog" / "guide"
PACKAGE = Path(fslog.__file__).parent

MAPPING = (
    *("fields", "rules", "defaults", "include", "exclude", "no_value", "nested", "session"),
    *("plan", "context_provider", "redact", "excluded", "extras"),
)


def page(topic: str) -> str:
    return (GUIDE / f"{topic}.md").read_text(encoding="utf-8")


def section(topic: str, heading: str) -> str:
    """Return the text under a heading of the second level, up to the next one."""
    found = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", page(topic), re.M | re.S)
    assert found, f"{topic}.md has no heading {heading!r}"
    return found[1]


def tables(text: str) -> list[list[list[str]]]:
    """Return the rows of each table, without the header, as lists of cells."""
    found = re.findall(r"^\|(?:.*)\|\n\|[ |:-]+\|\n((?:\|.*\|\n)+)", text, re.M)
    return [
        [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows.splitlines()]
        for rows in found
    ]


def code(cell: str) -> str:
    """Return the text of the only code span in a cell."""
    (found,) = re.findall(r"`([^`]+)`", cell)
    return str(found)


def block(topic: str, name: str) -> str:
    """Return the text of the guide's block with this name."""
    (text,) = {b.text for b in blocks_of(GUIDE / f"{topic}.md") if b.marks.get("name") == name}
    return text


# Events.


def test_the_actions_are_those_of_the_schema() -> None:
    """The guide lists each known action with its properties, and which of them are optional."""
    actions: dict[str, tuple[list[str], list[str]]] = {}
    action = ""
    for name, prop, kind, need, _, evidence in tables(section("events", "Known actions"))[0]:
        action = code(name) if name else action
        assert schema.PROPERTIES[code(prop)].kind == kind
        assert need in ("expected", "optional")
        assert evidence in ("corroborated", "inferred")
        actions.setdefault(action, ([], []))[need == "optional"].append(code(prop))
    assert actions == {
        name: (list(needed), list(optional)) for name, (needed, optional) in schema.ACTIONS.items()
    }


def test_the_required_properties_are_those_of_the_schema() -> None:
    """The guide lists the properties that every event requires, and calls them normative."""
    rows = tables(section("events", "Known actions"))[1]
    assert [code(name) for name, *_ in rows] == list(schema.REQUIRED)
    assert {evidence for *_, evidence in rows} == {"normative"}


def codes_in_the_code() -> set[str]:
    """Return the codes of all problems with events that the package reports."""
    found = set()
    for path in [PACKAGE / "formatter.py", PACKAGE / "handler.py", PACKAGE / "mapping/schema.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Problem":
                code = node.args[0]
                if isinstance(code, ast.Constant):
                    found.add(code.value)
    return found | schema.WARNINGS


def test_every_code_is_documented() -> None:
    """The guide lists each code, and says that an event with a warning is sent."""
    rows = tables(section("events", "Problems"))[0]
    fate = {code(name): fate for name, fate, _ in rows}
    assert set(fate) == codes_in_the_code() | {names.CODE, rates.CODE}
    sent = {name for name, fate in fate.items() if fate == "sent"}
    assert sent == schema.WARNINGS | {names.CODE}
    assert {name for name, fate in fate.items() if fate == "refused"} == {"refused"}
    assert {name for name, fate in fate.items() if fate == "limited"} == {rates.CODE}
    assert set(fate.values()) == {"sent", "refused", "limited", "invalid"}
    of_plans = tables(section("events", "Problems"))[1]
    assert {code(name) for name, _ in of_plans} == CODES


# Configuration.


def default_of(argument: str) -> str:
    """Return the default of an argument in the notation of the guide."""
    owner = EventFormatter if argument in MAPPING else FreshsuccessHandler
    value = inspect.signature(owner).parameters[argument].default
    if argument == "level":
        return f"`{logging.getLevelName(value)}`"
    if value is None:
        return "none"
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, bool):
        return f"`{value}`"
    if isinstance(value, tuple):
        return ", ".join("`{}`".format(item or '""') for item in value)
    if isinstance(value, float):
        return f"{value:g} s"
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if value % size == 0:
            return f"{value // size} {unit}"
    return f"{value:,}"


def test_every_argument_is_documented_with_its_default() -> None:
    """The tables of the guide list each argument of the handler exactly once, and no other."""
    rows = [row for table in tables(section("configuration", "Arguments")) for row in table]
    documented = {code(name): default for name, default, _ in rows}
    assert len(documented) == len(rows)
    arguments = [
        name
        for name, parameter in inspect.signature(FreshsuccessHandler).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    assert documented == {name: default_of(name) for name in {*arguments, *MAPPING}}


def test_every_environment_variable_is_documented() -> None:
    """The guide lists exactly the variables that the package reads."""
    (rows,) = tables(section("configuration", "Environment variables"))
    text = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    # The second is a setting of Django; the third, in `deploying`, one of an AWS Lambda function.
    others = {"FSLOG_EXAMPLE", "FSLOG_IDENTITY", "FSLOG_LAMBDA_HANDLER"}
    in_the_code = set(re.findall(r"\bFSLOG_[A-Z_]+\b", text)) - others
    assert {code(name) for name, *_ in rows} == in_the_code
    arguments = {name: argument for name, argument, _ in rows}
    assert arguments.pop("`FSLOG_CONFIG`") == "`fslog run --config`"  # not the handler's
    # A secret is not in a configuration that is reviewed.
    assert {arguments.pop(f"`FSLOG_HASH_KEY{end}`") for end in ("", "_FILE")} == {"none"}
    for name, argument in arguments.items():
        assert name == f"`FSLOG_{code(argument).upper()}`"
        assert code(argument) in inspect.signature(FreshsuccessHandler).parameters


def test_the_hosts_are_documented() -> None:
    """The guide lists the host of each data center, for the rules of a firewall."""
    (rows,) = tables(section("configuration", "Hosts"))
    documented = {code(f"`{name.split('`')[1]}`"): code(host) for name, host, _ in rows}
    assert {name: f"https://{host}" for name, host in documented.items()} == DATACENTERS


# Privacy.


def test_the_excluded_names_are_documented() -> None:
    """The guide lists the names that are excluded by default."""
    text = " and ".join(f"`{name}`" for name in EXCLUDE).replace(" and ", ", ", len(EXCLUDE) - 2)
    assert f"`exclude` is by default {text}" in page("privacy")


def test_a_request_has_the_documented_headers_only() -> None:
    """The guide lists exactly the headers of a request."""
    seen: list[set[str]] = []
    with Collector(route=lambda message: seen.append(set(message.headers))) as collector:
        handler = FreshsuccessHandler(auth_key="k" * 9, api_key="l" * 9, endpoint=collector.url)
        log = logging.Logger("app")
        log.addHandler(handler)
        event = {"accountId": "acme", "userId": "ann", "action": "feature", "module": "m"}
        log.info("used", extra={"event": {**event, "feature": "f"}})
        assert handler.flush(10)
        handler.close()
    sentence = re.search(r"the\s+headers\s+(.*?)\s+\(`fslog/`", page("privacy"), re.S)
    assert sentence
    assert seen == [{name.lower() for name in re.findall(r"`([\w-]+)`", sentence[1])}]


# Servers from PyPI, with the configurations of the guide.

WSGI = f"""
{CALLS}
from fslog.integrations.wsgi import Identity


def application(environ, start_response):
    user = environ.get("HTTP_X_USER")
    if user:
        context.bind(accountId="acme", userId=user)
    if environ["REQUEST_METHOD"] == "POST":
        use(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]


application = Identity(application)
"""

ASGI = f"""
{CALLS}
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from fslog.integrations.asgi import Identity


def who(scope):
    user = dict(scope["headers"]).get(b"x-user")
    return {{"accountId": "acme", "userId": user.decode()}} if user else {{}}


async def answer(request):
    if request.method == "POST":
        use(request.url.path)
    return PlainTextResponse("")


app = Starlette(
    routes=[Route("/{{path:path}}", answer, methods=["GET", "POST"])],
    middleware=[Middleware(Identity, who=who)],
)
"""


def files(where: Path, **texts: str) -> None:
    """Write the modules."""
    for name, text in texts.items():
        (where / f"{name}.py").write_text(text, encoding="utf-8")


FIELDS = (
    '                "fields": {"accountId": "args.{x-account}i", "userId": "args.{x-user}i"},\n'
)


@pytest.mark.slow
@pytest.mark.parametrize("without", ["", FIELDS], ids=["fields", "context"])
@pytest.mark.parametrize("worker", ["sync", "gthread"])
def test_gunicorn_with_an_application_that_configures_logging(
    worker: str, without: str, tmp_path: Path
) -> None:
    """Access lines arrive as troubleshooting says; the user is from a field or from the context."""
    config = block("troubleshooting", "gunicorn_in_app.py")
    assert without in config
    files(tmp_path, app=f"import config\n{WSGI}", config=config.replace(without, ""))
    options = ("--bind", "127.0.0.1:{port}", "--worker-class", worker, "--threads", "3")
    command = ("gunicorn", *options, "--access-logfile", "-", "app:application")
    with Collector() as collector, serving(collector, tmp_path, *command) as server:
        ask_24(server)
        stop(server, 0)
        assert users(collector) == (USERS_OF_24, USERS_OF_24)


@pytest.mark.slow
def test_the_guides_gunicorn_conf(tmp_path: Path) -> None:
    """gunicorn with the configuration in `rules` makes events of POST requests by known users."""
    files(tmp_path, app=WSGI.replace("use(", "len("))
    (tmp_path / "gunicorn.conf.py").write_text(block("rules", "gunicorn.conf.py"), encoding="utf-8")
    ann = {"X-User": "ann", "X-Account": "acme"}
    command = ("gunicorn", "--bind", "127.0.0.1:{port}")
    with Collector() as collector, serving(collector, tmp_path, *command) as server:
        assert server.ask("POST", "/reports/export", ann) == 200
        assert server.ask("POST", "/reports/export", {"X-Account": "acme"}) == 200
        assert server.ask("GET", "/reports/export", ann) == 200
        server.stop()
        (event,) = collector.events
    assert (event["userId"], event["module"], event["feature"]) == ("ann", "reports", "export")


@pytest.mark.slow
@pytest.mark.parametrize("configured", ["--log-config", "by the application"])
def test_uvicorn_with_the_middleware(configured: str, tmp_path: Path) -> None:
    """Access lines arrive as the guide says, each with its own user, even if pipelined."""
    command = ["uvicorn", "app:app", "--port", "{port}"]
    if configured == "--log-config":
        files(tmp_path, app=ASGI)
        (tmp_path / "logging.json").write_text(block("rules", "logging.json"), encoding="utf-8")
        command += [configured, "logging.json"]
    else:
        files(tmp_path, app=f"import config\n{ASGI}")
        config = block("troubleshooting", "uvicorn_in_app.py")
        (tmp_path / "config.py").write_text(config, encoding="utf-8")
    with Collector() as collector, serving(collector, tmp_path, *command) as server:
        ask_24(server)
        pipeline_24(server)
        stop(server, -signal.SIGTERM)
        twice = {pair: 2 * count for pair, count in USERS_OF_24.items()}
        assert users(collector) == (twice, twice)


IN_MIDDLEWARE = """
from starlette.middleware.base import BaseHTTPMiddleware


async def by_bound(request, call_next):
    with context.bound(**who(request.scope)):
        return await call_next(request)


async def by_bind(request, call_next):
    context.clear()
    context.bind(**who(request.scope))
    return await call_next(request)


async def nothing(request, call_next):
    return await call_next(request)


app = Starlette(
    routes=app.routes,
    middleware=[MIDDLEWARE],
)
"""
AROUND = "Middleware(BaseHTTPMiddleware, dispatch={})".format
IDENTITY = "Middleware(Identity, who=who)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("middleware", "lines"),
    [
        (AROUND("by_bound"), {}),
        (AROUND("by_bind"), USERS_OF_24),
        (f"{AROUND('nothing')}, {IDENTITY}", {}),
        (f"{IDENTITY}, {AROUND('nothing')}", USERS_OF_24),
    ],
    ids=["bound", "bind", "Identity inside", "Identity outside"],
)
def test_a_middleware_around_call_next(
    middleware: str, lines: dict[tuple[str, str], int], tmp_path: Path
) -> None:
    """As the guide says, what it calls may run in another task, and `bound` ends too early."""
    files(tmp_path, app=ASGI + IN_MIDDLEWARE.replace("MIDDLEWARE", middleware))
    (tmp_path / "logging.json").write_text(block("rules", "logging.json"), encoding="utf-8")
    command = ("uvicorn", "app:app", "--port", "{port}", "--log-config", "logging.json")
    with Collector() as collector, serving(collector, tmp_path, *command) as server:
        ask_24(server)
        stop(server, -signal.SIGTERM)
        assert users(collector) == (USERS_OF_24, lines)


GUNICORN = ("gunicorn", "--bind", "127.0.0.1:{port}", "app:application")
UVICORN = ("uvicorn", "app:app", "--port", "{port}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "code", "app", "logger"),
    [
        (GUNICORN, 0, WSGI, "{}"),
        ((*GUNICORN, "--access-logfile", "-"), 0, WSGI, "{}"),
        (UVICORN, -signal.SIGTERM, ASGI, "{}"),
        (UVICORN, -signal.SIGTERM, ASGI, '{"uvicorn.access": {"propagate": True}}'),
    ],
    ids=["gunicorn", "gunicorn with an access log", "uvicorn", "uvicorn.access propagates"],
)
def test_access_lines_do_not_reach_the_root_logger(
    command: tuple[str, ...], code: int, app: str, logger: str, tmp_path: Path
) -> None:
    """As troubleshooting explains, log calls arrive, but lines of the access log do not."""
    config = block("troubleshooting", f"{command[0]}_in_app.py")
    config, count = re.subn(
        r'"loggers": \{.*?\n        \},', f'"loggers": {logger},', config, flags=re.S
    )
    assert count == 1
    files(tmp_path, app=f"import config\n{app}", config=config)
    with Collector() as collector, serving(collector, tmp_path, *command) as server:
        ask_24(server)
        stop(server, code)
        assert users(collector) == (USERS_OF_24, {})


@pytest.mark.slow
def test_uvicorn_loses_nothing(tmp_path: Path) -> None:
    """The signal ends uvicorn without `atexit`, and the lifespan needs no flush."""
    config = block("troubleshooting", "uvicorn_in_app.py")
    files(tmp_path, app=f"import config\n{ASGI}", config=config)
    with Collector() as collector, serving(collector, tmp_path, *UVICORN) as server:
        assert server.ask("POST", "/reports/ann", {"X-User": "ann"}) == 200
        stop(server, -signal.SIGTERM)
        assert len(collector.events) == 2


CELERY = """
from celery.utils.log import get_task_logger

app.conf.broker_url = "filesystem://"
app.conf.broker_transport_options = {
    "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"
}
app.conf.broker_connection_retry_on_startup = True


@app.task
def export(user):
    event = {"action": "feature", "module": "reports", "accountId": "acme", "userId": user}
    for feature, log in [("any", logging.getLogger("shop")), ("task", get_task_logger("tasks"))]:
        log.info("exported", extra={"event": {**event, "feature": feature}})
    open("ended", "w").close()
"""

AT_IMPORT = "logging.config.dictConfig(LOGGING)\n"
NO_HIJACK = f"app.conf.worker_hijack_root_logger = False\n{AT_IMPORT}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("configure", "features"),
    [(None, ["any", "task"]), (AT_IMPORT, []), (NO_HIJACK, ["any"])],
    ids=["setup_logging", "at import", "worker_hijack_root_logger"],
)
def test_celery(configure: str | None, features: list[str], tmp_path: Path) -> None:
    """Log calls of a task arrive from both loggers only with the guide's signal receiver."""
    app = block("troubleshooting", "celery_app.py")
    if configure is not None:
        app = f"{app[: app.index('@setup_logging')]}{configure}"
    files(tmp_path, app=f"{app}{CELERY}")
    (tmp_path / "queue").mkdir()
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO")
    command = ("-m", "celery", "--app", "app", "worker", "--pool", "solo", *quiet)
    with Collector() as collector:
        settings = settings_for(collector, tmp_path)
        delay = [sys.executable, "-c", "import app; app.export.delay('ann')"]
        with Process(delay, tmp_path, settings) as process:
            assert process.end(DEADLINE).code == 0
        with Process([sys.executable, *command], tmp_path, settings) as process:
            assert eventually((tmp_path / "ended").exists, DEADLINE), process.written("err")
            process.send(signal.SIGTERM)
            assert process.end(DEADLINE).code == 0
        assert [event["feature"] for event in collector.events] == features
        assert {event["userId"] for event in collector.events} <= {"ann"}


# structlog, with each final processor that the guide lists.

EVENT = {"action": "feature", "module": "reports", "feature": "export"}
BY_MESSAGE = {"when": {"logger": "shop", "message": "exported"}, "event": EVENT}
BY_EVENT_DICT = {"when": {"logger": "shop", "message.event": "exported"}, "event": EVENT}


@pytest.mark.needs("structlog>=25")
@pytest.mark.parametrize(
    ("last", "rule", "is_event"),
    [
        ("processors.JSONRenderer", BY_MESSAGE, False),
        ("processors.KeyValueRenderer", BY_MESSAGE, False),
        ("stdlib.ProcessorFormatter.wrap_for_formatter", BY_EVENT_DICT, True),
        ("stdlib.render_to_log_kwargs", BY_MESSAGE, True),
    ],
)
def test_structlog(last: str, rule: dict[str, Any], is_event: bool, freshsuccess: Capture) -> None:
    """The final processor determines whether an event arrives, as troubleshooting says."""
    structlog: Any = importlib.import_module("structlog")
    processor = operator.attrgetter(last)(structlog)
    log = structlog.wrap_logger(
        logging.Logger("shop"),
        processors=[processor() if last.endswith("Renderer") else processor],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = FreshsuccessHandler(
        rules=[rule], fields={"userId": "message.userId"}, defaults={"accountId": "acme"}
    )
    log._logger.addHandler(handler)
    log.info("exported", userId="ann")
    if last == "stdlib.render_to_log_kwargs":
        with pytest.raises(KeyError, match="'module'"):
            log.info("exported", userId="ann", module="reports")
    assert len(freshsuccess.events) == is_event
    assert freshsuccess.problems == []
