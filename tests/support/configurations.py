"""Logging configurations that `fslog check` is given, and changes of them."""

from __future__ import annotations

import copy
from typing import Any

RULE = {
    "when": {"logger": "app.reports", "message": "exported %s rows"},
    "event": {"action": "feature", "module": "reports", "feature": "export", "total": "{args.0}"},
}


USAGE = {"class": "fslog.FreshsuccessHandler", "rules": [RULE]}


PLAIN: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"usage": USAGE},
    "root": {"handlers": ["usage"], "level": "INFO"},
}


def changed(**parts: Any) -> dict[str, Any]:
    """Return the plain configuration with other parts; None takes one away."""
    made = copy.deepcopy({**PLAIN, **parts})
    return {name: part for name, part in made.items() if part is not None}
