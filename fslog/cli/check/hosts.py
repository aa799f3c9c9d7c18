"""What programs make of a logging configuration that is theirs: gunicorn adds, Celery takes away.

Neither is imported here; Celery is asked where the application has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

_NAME = "logconfig_dict"
"""What gunicorn calls the configuration in its own."""

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
"""`gunicorn.glogging.CONFIG_DEFAULTS`, as far as parts of it are named by others."""

HIJACKED = ("root", "celery", "celery.task", "celery.redirected")
"""The loggers whose handlers a Celery worker takes away when it starts."""


def completed(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as the program that it is for hands it to `dictConfig`.

    gunicorn puts a section of its own where the configuration has none, and whole ones only: its
    loggers then name handlers that another section of handlers does not have.

    Args:
        name: what it is called in its module.
        given: itself.

    >>> completed("logconfig_dict", {"handlers": {}})["root"]["handlers"]
    ['console']
    """
    return {**_GUNICORN, **given} if name == _NAME else dict(given)


def added(name: str, given: Mapping[str, Any]) -> frozenset[str]:
    """Return the sections that `completed` adds."""
    return frozenset(_GUNICORN) - set(given) if name == _NAME else frozenset()


def takes_handlers_away(scope: Mapping[str, Any]) -> bool | None:
    """Return whether Celery's worker would take away what a module's configuration gives the root.

    Args:
        scope: the module's names; none for a configuration that stands in a file.

    Returns:
        True if the module holds a Celery application, None where Celery is only imported, so
        that a worker may load it, or may not; False if neither is so, or the application sees
        to it, by `worker_hijack_root_logger` or the signal `setup_logging`.
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
    except Exception:  # a configuration of Celery's that cannot be loaded: told by Celery
        return None
    return True if apps else None


def _is_app(value: Any) -> bool:
    return any(
        kind.__module__.startswith("celery.") and kind.__name__ == "Celery"
        for kind in type(value).__mro__
    )
