"""Freshsuccess product-usage events from the log calls that an application already makes.

record: a `logging.LogRecord` · event: the dict made from it · line: one encoded event with its
newline · batch: lines that travel together · body: a batch compressed, as it is posted · endpoint:
where it is posted · outcome: what came of a POST.

The handler, and with it urllib3, is loaded when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fslog import context
from fslog.errors import InvalidEvent, Problem
from fslog.formatter import EventFormatter
from fslog.stats import Stats

if TYPE_CHECKING:
    from fslog.handler import FreshsuccessHandler, flush

__all__ = [
    "EventFormatter",
    "FreshsuccessHandler",
    "InvalidEvent",
    "Problem",
    "Stats",
    "context",
    "flush",
]


def __getattr__(name: str) -> Any:
    if name in ("FreshsuccessHandler", "flush"):
        from fslog import handler

        return getattr(handler, name)
    raise AttributeError(f"module 'fslog' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
