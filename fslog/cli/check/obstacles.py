"""What may keep records from a handler although the configuration is right: other programs' habits.

Which server or worker loads a configuration is not known. An obstacle is listed if the rules are
for the program's records, if the configuration names its logger, or if its module imports it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fslog.cli.check.configuration import Configuration
from fslog.cli.check.dry_run import KEYS, EventHandlerInfo
from fslog.cli.check.explain import is_expression
from fslog.cli.check.frameworks import hijacks_handlers


class Obstacle(NamedTuple):
    """What may keep records from arriving.

    Args:
        program: whose habit it is.
        what: it does.
        remedy: one, and if there is another, the second.
    """

    program: str
    what: str
    remedy: str


def obstacles(
    config: Configuration, handlers: list[EventHandlerInfo], scope: Mapping[str, Any]
) -> list[Obstacle]:
    """Return what may keep records from the handlers, each obstacle once.

    Args:
        config: the configuration.
        handlers: that produce events.
        scope: the names of the module with the configuration; empty for a file.
    """
    found: dict[Obstacle, None] = {}
    for info in handlers:
        if info.formatter is not None:
            found |= dict.fromkeys(_of_handler(config, info, scope))
    return list(found)


def _of_handler(
    config: Configuration, info: EventHandlerInfo, scope: Mapping[str, Any]
) -> Iterator[Obstacle]:
    if info.is_auto and not info.enabled:
        yield Obstacle("fslog", "is off without keys", f"set {' and '.join(KEYS.values())}")
    wanted = _Wanted(config, info, scope)
    if (
        wanted.has("gunicorn", "gunicorn.access")
        and not config.is_gunicorn
        and not _arrives(info, "gunicorn.access")
    ):
        yield Obstacle(
            "gunicorn",
            "does not pass its access lines to the root logger, and writes none without "
            "--access-logfile or a configuration of its own",
            "--access-logfile -, and loggers: gunicorn.access with propagate: true, or fslog run",
        )
    if wanted.has("uvicorn", "uvicorn.access") and not _reaches_through_uvicorn(config, info):
        yield Obstacle(
            "uvicorn",
            "loads a configuration of its own, unless it gets another, and then passes no record "
            "of uvicorn.access to the root logger",
            "uvicorn --log-config with this configuration, or fslog run",
        )
    if wanted.has("django", "django.server") and not _arrives(info, "django.server"):
        yield Obstacle(
            "Django",
            "does not pass the access lines of runserver to the root logger",
            "loggers: django.server with propagate: true, or fslog run",
        )
    if (
        wanted.has("celery", "celery")
        and hijacks_handlers(scope) is False
        and not _has_setup(scope)
    ):
        yield Obstacle(
            "Celery",
            "replaces the root logger's handlers in a worker unless it is told not to, and passes "
            "no record of get_task_logger to it",
            "load the configuration in its signal setup_logging, or fslog run",
        )
    if scope and "airflow" in sys.modules:
        yield Obstacle(
            "Airflow", "configures logging anew in the processes of tasks", "fslog run -- airflow"
        )


class _Wanted:
    """Whether the records of a program are meant to arrive."""

    def __init__(
        self, config: Configuration, info: EventHandlerInfo, scope: Mapping[str, Any]
    ) -> None:
        self._names = set(config.loggers)
        # An application's own log calls arrive, whatever its server does to its own loggers.
        self._imported = {"celery"} if scope else set()
        for rule in info.rules:
            conditions = {one.key: one.wanted for one in rule.when}
            if scope and conditions.get("preset") == "access":
                self._imported |= {"gunicorn", "uvicorn", "django"}
            name = conditions.get("logger")
            if isinstance(name, str) and not is_expression(name):
                self._names.add(name)
            if conditions.get("preset") == "celery":
                self._names.add("celery")

    def has(self, program: str, logger: str) -> bool:
        """Return whether a logger of the program is named, or the module imports it."""
        is_named = any(f"{name}.".startswith(f"{logger}.") for name in self._names)
        return is_named or (program in self._imported and program in sys.modules)


def _arrives(info: EventHandlerInfo, logger: str) -> bool:
    return bool(info.routing.route(logger, logging.CRITICAL).by)


def _reaches_through_uvicorn(config: Configuration, info: EventHandlerInfo) -> bool:
    names = ("uvicorn.access", "uvicorn")
    if not set(names).isdisjoint(info.routing.holders()):
        return True
    return all(name in config.loggers and config.loggers[name].propagates for name in names)


def _has_setup(scope: Mapping[str, Any]) -> bool:
    """Return whether the module keeps Celery from configuring logging."""
    signals: Any = sys.modules.get("celery.signals")
    return bool(scope) and signals is not None and bool(signals.setup_logging.receivers)
