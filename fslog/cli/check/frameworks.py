"""What frameworks and servers do to the logging configuration of an application.

None of them is imported here; Celery and Airflow are asked if the application has imported them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

_GUNICORN_NAME = "logconfig_dict"
_GUNICORN: Mapping[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "root": {"level": "INFO", "handlers": ["console"]},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": ["error_console"], "propagate": True},
        "gunicorn.access": {"level": "INFO", "handlers": ["console"], "propagate": True},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "generic",
            "stream": "ext://sys.stdout",
        },
        "error_console": {
            "class": "logging.StreamHandler",
            "formatter": "generic",
            "stream": "ext://sys.stderr",
        },
    },
    "formatters": {"generic": {"class": "logging.Formatter"}},
}
"""`gunicorn.glogging.CONFIG_DEFAULTS`, as far as its parts refer to one another."""


class Preset(NamedTuple):
    """What a library does to a logger before the configuration is loaded; its level is INFO."""

    library: str
    propagates: bool


PRESETS = {
    "django": Preset("Django", True),
    "django.server": Preset("Django", False),
    "gunicorn.access": Preset("gunicorn", False),
    "gunicorn.error": Preset("gunicorn", False),
}
"""From `django.utils.log.DEFAULT_LOGGING` and `gunicorn.glogging.Logger`."""

HIJACKED = ("root", "celery", "celery.task", "celery.redirected")
"""The loggers whose handlers a Celery worker removes at startup."""


def with_defaults(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as its program passes it to `dictConfig`.

    gunicorn adds a section of its own for each one that the configuration lacks, and whole
    sections only: its loggers may then name handlers that the configuration does not have. It is
    recognized by the name of the variable that holds the configuration. So is a trait of an
    application of Jupyter, which merges it into a configuration of its own.

    >>> with_defaults("logconfig_dict", {"handlers": {}})["root"]["handlers"]
    ['console']
    >>> sorted(with_defaults("ServerApp.logging_config", {"handlers": {"usage": {}}})["handlers"])
    ['console', 'usage']
    """
    if is_trait(name):
        return _merged(_of_traitlets(name.removesuffix(_TRAIT)), given)
    return {**_GUNICORN, **given} if is_gunicorn(name) else dict(given)


_TRAIT = ".logging_config"


def is_trait(name: str) -> bool:
    """Return whether a configuration is `logging_config` of an application of traitlets."""
    return name.endswith(_TRAIT)


def _of_traitlets(application: str) -> dict[str, Any]:
    """Return what `traitlets.config.Application` has without a `logging_config`.

    Its logger does not propagate, whatever the configuration leaves out.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"console": {"class": "logging.Formatter"}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "console"}},
        "loggers": {application: {"level": "DEBUG", "handlers": ["console"], "propagate": False}},
    }


def _merged(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    made = {**base, **given}
    for name, value in base.items():
        if isinstance(value, Mapping) and isinstance(given.get(name), Mapping):
            made[name] = _merged(value, given[name])
    return made


def task_log_reader(scope: Mapping[str, Any]) -> str | None:
    """Return the handler that Airflow requires on the logger `airflow.task`.

    None unless the module with the configuration, whose names are the scope, imports Airflow.
    """
    if not scope or "airflow" not in sys.modules:
        return None
    settings: Any = getattr(sys.modules.get("airflow.configuration"), "conf", None)
    try:
        return str(settings.get("logging", "task_log_reader"))
    except Exception:  # it has no such setting, or cannot be configured here
        return "task"


def is_gunicorn(name: str) -> bool:
    """Return whether gunicorn loads the configuration in a variable of that name."""
    return name == _GUNICORN_NAME


def is_hypercorn(scope: Mapping[str, Any]) -> bool:
    """Return whether the names of a module are hypercorn's settings, not gunicorn's.

    Both have a `logconfig_dict`; only hypercorn's logs may be loggers.

    >>> is_hypercorn({"accesslog": logging.getLogger("hypercorn.access")})
    True
    >>> is_hypercorn({"accesslog": "-"})
    False
    """
    return any(isinstance(scope.get(log), logging.Logger) for log in ("accesslog", "errorlog"))


def hijacks_handlers(scope: Mapping[str, Any]) -> bool | None:
    """Return whether Celery's worker would remove the handlers of the root logger.

    True if the module with the configuration, whose names are the scope (empty for a file), has a
    Celery application; None if Celery is imported without one, so that a worker may or may not load
    the configuration; False if Celery is not imported, or if the application prevents it
    (`worker_hijack_root_logger`, the signal `setup_logging`).
    """
    celery: Any = sys.modules.get("celery")
    if celery is None or not scope:
        return False
    apps = [one for one in scope.values() if _is_app(one)]
    signals: Any = sys.modules.get("celery.signals")
    try:
        if signals is not None and signals.setup_logging.receivers:
            return False
        if not (apps or [celery.current_app])[0].conf.worker_hijack_root_logger:
            return False
    except Exception:  # Celery itself reports a configuration that it cannot load
        return None
    return True if apps else None


def _is_app(value: Any) -> bool:
    kinds = [kind for kind in type(value).__mro__ if kind.__name__ == "Celery"]
    return any(kind.__module__.startswith("celery.") for kind in kinds)
