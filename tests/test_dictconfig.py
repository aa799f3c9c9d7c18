"""The handler in logging configurations: YAML, JSON, ini, all forms that logging supports."""

from __future__ import annotations

import configparser
import json
import logging
import logging.config
import logging.handlers
import textwrap
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import fslog
from fslog import EventFormatter, FreshsuccessHandler, Problem
from fslog.collector import Collector

AUTH = "auth-s3cret-0123456789"
API = "api-s3cret-9876543210"
EVENT = {"accountId": "acme", "userId": "ann", "action": "pageView", "page": "start"}

RELEASE = "2026.1"
told: list[Problem] = []


def actor() -> dict[str, str]:
    """Return the current user, as a function of an application would."""
    return {"accountId": "acme", "userId": "provided"}


def tell(problem: Problem) -> None:
    """Record a problem, as a function of an application would."""
    told.append(problem)


def is_staff(event: Mapping[str, Any]) -> bool:
    """Tell who has no events, as a function of an application would."""
    return str(event["userId"]).startswith("staff-")


def only_starts(record: logging.LogRecord) -> bool:
    """Accept records about the page `start`."""
    return record.__dict__.get("page") == "start"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector(keys=(AUTH, API)) as running:
        yield running


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Restore the logging configuration, and close every handler."""
    told.clear()
    threads = set(threading.enumerate())
    root = logging.getLogger()
    level, disabled, attached = root.level, logging.root.manager.disable, list(root.handlers)
    listed, named = list(logging._handlerList), dict(logging._handlers)
    before = {
        name: (logger.level, logger.propagate, logger.disabled, list(logger.handlers))
        for name, logger in logging.Logger.manager.loggerDict.items()
        if isinstance(logger, logging.Logger)
    }
    root.handlers[:] = []
    yield
    for handler in [reference() for reference in logging._handlerList]:
        if isinstance(handler, FreshsuccessHandler):
            handler.close()
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger):
            logger.level, logger.propagate, logger.disabled, logger.handlers = before.get(
                name, (logging.NOTSET, True, False, [])
            )
    root.handlers[:] = attached
    root.setLevel(level)
    logging.disable(disabled)
    logging._handlerList[:] = listed
    logging._handlers.clear()
    logging._handlers.update(named)
    for thread in set(threading.enumerate()) - threads:
        if thread.name == "fslog":
            thread.join(10)
            assert not thread.is_alive()


def handler_of(name: str = "") -> FreshsuccessHandler:
    """Return the only handler of a logger."""
    (found,) = logging.getLogger(name).handlers
    assert isinstance(found, FreshsuccessHandler)
    return found


def config(collector: Collector, **handler: Any) -> dict[str, Any]:
    """Return a configuration with one handler, on the root logger."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "freshsuccess": {
                "class": "fslog.FreshsuccessHandler",
                "auth_key": AUTH,
                "api_key": API,
                "endpoint": collector.url,
                **handler,
            }
        },
        "root": {"level": "DEBUG", "handlers": ["freshsuccess"]},
    }


YAML = r"""
version: 1
disable_existing_loggers: false
handlers:
  freshsuccess:
    class: fslog.FreshsuccessHandler
    level: INFO
    auth_key: AUTH
    api_key: API
    endpoint: ENDPOINT
    compression: gzip
    batch_events: 2
    flush_interval: 60
    on_problem: ext://test_dictconfig.tell
    context_provider: ext://test_dictconfig.actor
    rules:
      - when: {logger: shop.reports, message: "exported %s rows"}
        event: {action: feature, module: reports, feature: export, total: "{args.0}"}
      - when: {logger: shop, message: "/^bought (?P<what>\\w+)$/", levelno: 20}
        event:
          action: feature
          module: shop
          feature: "{what}"
          details: {levels: ["{levelno}", {release: ext://test_dictconfig.RELEASE}]}
          release: ext://test_dictconfig.RELEASE
    fields: {userId: user.id}
    defaults: {product: core, release: ext://test_dictconfig.RELEASE}
    include: [sku]
    exclude: [internal]
    session: idle
    redact: {email: drop}
    excluded: ext://test_dictconfig.is_staff
    extras: all
root:
  level: DEBUG
  handlers: [freshsuccess]
"""


def filled(collector: Collector) -> str:
    text = YAML.replace("AUTH", AUTH).replace("API", API)
    return text.replace("ENDPOINT", collector.url)


@pytest.mark.parametrize("language", ["yaml", "json"])
def test_all_arguments_can_be_configured_in_a_file(collector: Collector, language: str) -> None:
    """The file has all arguments of the handler; functions by `ext://`."""
    configuration = yaml.safe_load(filled(collector))
    if language == "json":
        configuration = json.loads(json.dumps(configuration))
    logging.config.dictConfig(configuration)
    logging.getLogger("shop.reports.pdf").info("exported %s rows", 3, extra={"user": {"id": 7}})
    logging.getLogger("shop").info("bought bread", extra={"sku": 1, "internal": 2, "x": 3})
    extra = {**EVENT, "internal": 2, "email": "a@b.example", "x": 3}
    logging.getLogger("elsewhere").info("x", extra=extra)
    logging.getLogger("elsewhere").info("x", extra={**EVENT, "userId": "staff-1"})
    logging.getLogger("elsewhere").debug("x", extra=EVENT)
    logging.getLogger("elsewhere").info("x", extra={"action": ""})
    for _ in range(20):
        logging.getLogger("elsewhere").info("x", extra=EVENT)
    assert handler_of().flush()
    common = {"accountId": "acme", "product": "core", "release": "2026.1"}
    events = collector.events
    for event in events:
        assert event.pop("createdAt") > 10**12
        assert len(event.pop("sessionId")) == 32
    assert events[0] == {
        **common,
        "userId": "7",
        "action": "feature",
        "module": "reports",
        "feature": "export",
        "total": 3,
    }
    details = events[1].pop("details")
    assert details["levels"][0] == 20
    assert events[1] == {
        **common,
        "userId": "provided",
        "action": "feature",
        "module": "shop",
        "feature": "bread",
        "sku": 1,
    }
    assert events[2] == {**common, **EVENT, "x": 3}
    assert {request.encoding for request in collector.requests} == {"gzip"}
    # Not all have two: what comes after a pause leaves at once, and may be one event.
    assert max(request.events for request in collector.requests) <= 2
    assert [(problem.code, problem.property) for problem in told] == [("empty", "action")]


def test_parts_of_the_configuration_by_reference(collector: Collector) -> None:
    """`cfg://` refers to rules, fields and names elsewhere in the same configuration."""
    configuration = config(
        collector,
        rules="cfg://events.rules",
        fields="cfg://events.fields",
        include="cfg://events.include",
        defaults={"product": "cfg://events.product"},
    )
    configuration["events"] = {
        "rules": [{"when": {"logger": "shop"}, "event": {"action": "search", "x": ["{args.0}"]}}],
        "fields": {"accountId": "tenant.id", "userId": "user"},
        "include": ["sku"],
        "product": "core",
    }
    logging.config.dictConfig(configuration)
    extra = {"tenant": {"id": "acme"}, "user": 7, "sku": 1, "other": 2}
    logging.getLogger("shop").info("x %s", "y", extra=extra)
    assert handler_of().flush()
    (event,) = collector.events
    del event["createdAt"], event["sessionId"]
    assert event == {
        "accountId": "acme",
        "userId": "7",
        "action": "search",
        "x": ["y"],
        "sku": 1,
        "product": "core",
    }


@pytest.mark.parametrize(
    ("formatter", "product"),
    [
        ({"()": "fslog.EventFormatter", "defaults": {"product": "core"}}, "core"),
        ({"()": "ext://fslog.EventFormatter", "session": "idle"}, None),
        ({"()": EventFormatter, "exclude": ["page"]}, None),
        ({"class": "fslog.EventFormatter"}, None),
        ({"class": "fslog.EventFormatter", "validate": True, "style": "{"}, None),
    ],
    ids=str,
)
def test_the_formatter_can_be_configured_separately(
    collector: Collector, formatter: dict[str, Any], product: str | None
) -> None:
    """As a factory with arguments, or as a class without arguments."""
    configuration = config(collector, formatter="events")
    configuration["formatters"] = {"events": formatter}
    logging.config.dictConfig(configuration)
    logging.getLogger("shop").info("x", extra=EVENT)
    assert handler_of().flush()
    (event,) = collector.events
    assert event.get("product") == product
    assert event.get("page") == (None if "exclude" in formatter else "start")


@pytest.mark.parametrize(
    ("formatter", "given", "words"),
    [
        ({"()": "fslog.EventFormatter"}, {"defaults": {"product": "core"}}, "one of the two"),
        ({"class": "fslog.EventFormatter"}, {"rules": []}, "one of the two"),
        ({"format": "%(message)s"}, {}, "EventFormatter"),
        ({"class": "pythonjsonlogger.json.JsonFormatter"}, {}, "EventFormatter"),
    ],
)
def test_a_formatter_that_contradicts_the_handler(
    collector: Collector, formatter: dict[str, Any], given: dict[str, Any], words: str
) -> None:
    """`dictConfig` raises a ValueError whose cause explains it."""
    configuration = config(collector, formatter="events", **given)
    configuration["formatters"] = {"events": formatter}
    with pytest.raises(ValueError, match="freshsuccess") as caught:
        logging.config.dictConfig(configuration)
    assert isinstance(caught.value.__cause__, ValueError)
    assert words in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"batch_events": 0}, "batch_events"),
        ({"compression": "zstd"}, "compression"),
        ({"rules": [{"when": {}, "event": {}}]}, "rules[0]"),
        ({"on_problem": "test_dictconfig.tell"}, "ext://"),
        ({"api_key": "s3c/ret"}, "api_key"),
        ({"batchevents": 5}, "batchevents"),
        ({"level": "LOUD"}, "LOUD"),
    ],
    ids=str,
)
def test_an_invalid_configuration_has_no_effect(
    collector: Collector, given: dict[str, Any], words: str
) -> None:
    """The error names handler and argument; the next `dictConfig` works, and its handler too."""
    with pytest.raises(ValueError, match="freshsuccess") as caught:
        logging.config.dictConfig(config(collector, **given))
    cause = caught.value.__cause__
    assert words in str(cause)
    assert not any("s3c" in f"{error!s}{error!r}" for error in (caught.value, cause))
    logging.config.dictConfig(config(collector))
    logging.getLogger("shop").info("x", extra=EVENT)
    assert handler_of().flush()
    assert len(collector.events) == 1


def test_the_handler_can_be_created_by_a_factory(collector: Collector) -> None:
    """`()` works as well as `class`."""
    configuration = config(collector)
    made = configuration["handlers"]["freshsuccess"]
    made["()"] = made.pop("class")
    logging.config.dictConfig(configuration)
    logging.getLogger("shop").info("x", extra=EVENT)
    assert handler_of().flush()
    assert len(collector.events) == 1


def test_filters_and_level_of_the_configuration(collector: Collector) -> None:
    """They work as for any handler; a function and an EventFormatter are filters too."""
    configuration = config(collector, level="WARNING", filters=["starts", "events", "shop"])
    configuration["filters"] = {
        "starts": {"()": lambda: only_starts},
        "events": {"()": "fslog.EventFormatter"},
        "shop": {"name": "shop"},
    }
    logging.config.dictConfig(configuration)
    for name, level, page in (
        ("shop", logging.WARNING, "start"),
        ("shop.x", logging.ERROR, "start"),
        ("shop", logging.INFO, "start"),
        ("shop", logging.WARNING, "other"),
        ("bank", logging.WARNING, "start"),
    ):
        logging.getLogger(name).log(level, "x", extra={**EVENT, "page": page})
    logging.getLogger("shop").warning("invalid", extra={**EVENT, "userId": ""})
    stats = handler_of().stats()
    assert (stats.emitted, stats.accepted) == (2, 2)
    assert handler_of().flush()


def test_a_handler_on_the_root_logger(collector: Collector) -> None:
    """It accepts the events of any logger that propagates."""
    logging.config.dictConfig(config(collector))
    silent = logging.getLogger("silent")
    silent.propagate = False
    for name in ("", "shop", "shop.reports.pdf", "silent"):
        logging.getLogger(name).info("x", extra={**EVENT, "from": name})
        logging.getLogger(name).info("nothing of ours")
    assert handler_of().flush()
    assert [event["from"] for event in collector.events] == ["", "shop", "shop.reports.pdf"]
    assert handler_of().stats().skipped == 3


def test_an_incremental_configuration_changes_the_level(collector: Collector) -> None:
    """The handler is found by its name, and nothing else changes."""
    logging.config.dictConfig(config(collector))
    handler = handler_of()
    logging.config.dictConfig(
        {
            "version": 1,
            "incremental": True,
            "handlers": {"freshsuccess": {"level": "ERROR"}},
        }
    )
    assert handler_of() is handler
    logging.getLogger("shop").warning("x", extra=EVENT)
    logging.getLogger("shop").error("x", extra=EVENT)
    assert handler.flush()
    assert len(collector.events) == 1


def test_a_second_configuration_loses_nothing(collector: Collector) -> None:
    """What the first handler held is delivered; a logger that kept it can go on using it."""
    logging.config.dictConfig(config(collector, flush_interval=60))
    first = handler_of()
    kept = logging.getLogger("shop")
    kept.addHandler(first)
    kept.propagate = False
    logging.getLogger("other").info("x", extra={**EVENT, "n": 1})
    logging.config.dictConfig(config(collector, flush_interval=60))
    second = handler_of()
    assert second is not first
    kept.info("x", extra={**EVENT, "n": 2})
    logging.getLogger("other").info("x", extra={**EVENT, "n": 3})
    assert first.flush(10)
    assert second.flush(10)
    assert fslog.flush(10)
    collector.wait_for(3)
    assert sorted(event["n"] for event in collector.events) == [1, 2, 3]
    first.close()


def test_it_is_not_treated_as_a_queue_handler(collector: Collector) -> None:
    """From Python 3.12 on `dictConfig` treats these, and attributes of these names, specially."""
    logging.config.dictConfig(config(collector))
    handler = handler_of()
    assert not isinstance(handler, (logging.handlers.QueueHandler, logging.handlers.QueueListener))
    assert not hasattr(handler, "queue")
    assert not hasattr(handler, "listener")
    assert handler.name == "freshsuccess"


@pytest.mark.parametrize("name", ["queue", "listener", "handlers", "respect_handler_level"])
def test_arguments_of_queue_handlers_are_unknown(collector: Collector, name: str) -> None:
    """They are refused like any other unknown argument."""
    with pytest.raises(ValueError, match="freshsuccess") as caught:
        logging.config.dictConfig(config(collector, **{name: "x"}))
    assert repr(name) in str(caught.value.__cause__)


def test_behind_a_memory_handler(collector: Collector) -> None:
    """As the target of another handler, by `cfg://` as in logging's documentation."""
    configuration = config(collector)
    configuration["handlers"]["memory"] = {
        "class": "logging.handlers.MemoryHandler",
        "capacity": 2,
        "flushLevel": logging.CRITICAL,
        "target": "freshsuccess",
    }
    configuration["root"]["handlers"] = ["memory"]
    logging.config.dictConfig(configuration)
    for _ in range(2):
        logging.getLogger("shop").info("x", extra=EVENT)
    memory = logging.getLogger().handlers[0]
    target = memory.target  # type: ignore[attr-defined]
    assert isinstance(target, FreshsuccessHandler)
    assert target.flush()
    assert len(collector.events) == 2
    memory.close()


def test_one_configuration_for_all_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without keys it is an error if FSLOG_ENABLED=yes demands them, and disabled otherwise."""
    configuration = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"freshsuccess": {"class": "fslog.FreshsuccessHandler"}},
        "root": {"level": "DEBUG", "handlers": ["freshsuccess"]},
    }
    monkeypatch.setenv("FSLOG_ENABLED", "yes")
    with pytest.raises(ValueError, match="freshsuccess") as caught:
        logging.config.dictConfig(configuration)
    assert "FSLOG_AUTH_KEY" in str(caught.value.__cause__)
    for word in ("auto", "0"):
        monkeypatch.setenv("FSLOG_ENABLED", word)
        logging.config.dictConfig(configuration)
        logging.getLogger("shop").info("x", extra=EVENT)
        assert handler_of().stats().emitted == 0
        assert handler_of().flush() is True


INI = """
[loggers]
keys = root, shop

[handlers]
keys = freshsuccess

[formatters]
keys = FORMATTERS

[logger_root]
level = INFO
handlers =

[logger_shop]
level = INFO
qualname = shop
handlers = freshsuccess
propagate = 0

[handler_freshsuccess]
class = fslog.FreshsuccessHandler
level = INFO
args = ()
kwargs = {"auth_key": "AUTH", "api_key": "API", "endpoint": "ENDPOINT"GIVEN}
FORMATTER
"""


@pytest.mark.parametrize("way", ["arguments", "formatter"])
def test_ini_files(collector: Collector, tmp_path: Path, way: str) -> None:
    """`fileConfig` gives keyword arguments as a literal; a formatter is named by its class."""
    given = ', "defaults": {"product": "core"}' if way == "arguments" else ""
    formatter = "" if way == "arguments" else "formatter = events"
    text = (
        INI.replace("GIVEN", given)
        .replace("FORMATTERS", "events" if formatter else "")
        .replace("FORMATTER", formatter)
        .replace("AUTH", AUTH)
        .replace("API", API)
        .replace("ENDPOINT", collector.url)
    )
    if formatter:
        text += "\n[formatter_events]\nclass = fslog.EventFormatter\n"
    path = tmp_path / "logging.ini"
    path.write_text(textwrap.dedent(text))
    logging.config.fileConfig(path, disable_existing_loggers=False)
    logging.getLogger("shop.x").info("x", extra=EVENT)
    logging.getLogger("shop.x").debug("x", extra=EVENT)
    assert handler_of("shop").flush()
    (event,) = collector.events
    assert event.get("product") == ("core" if way == "arguments" else None)


def test_an_invalid_ini_file(tmp_path: Path) -> None:
    """The handler's own error is raised."""
    parser = configparser.ConfigParser()
    parser.read_string(
        INI.replace("FORMATTERS", "")
        .replace("FORMATTER", "")
        .replace("AUTH", AUTH)
        .replace("API", API)
        .replace("GIVEN", ', "batch_events": 0')
        .replace("ENDPOINT", "http://127.0.0.1:1")
    )
    with pytest.raises(ValueError, match="batch_events"):
        logging.config.fileConfig(parser, disable_existing_loggers=False)
