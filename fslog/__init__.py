"""Freshsuccess product-usage events from the log calls that an application already makes.

The words of the code, of the messages and of the documentation:

record: a `logging.LogRecord`
event: the dict made from a record, with the endpoint's property names
rule: a pattern for records of existing log calls, with the event that it makes of them
plan: the file that says which events there are, each of them a planned event
field: a property that is read from a path of the record, such as `request.user.id`
context: properties bound to the current thread, task or request
session: a user's visit, named by `sessionId`
call site: the file and line of a log call
problem: what is wrong with an event, as an error or a warning
diagnostic: what is wrong with a configuration
line: one encoded event with its newline
batch: lines that are posted together
body: a batch, compressed
listener: the background thread that compresses and posts batches
endpoint: the HTTP API to which bodies are posted
destination: the endpoint's URL with the keys and the proxy
outcome: what the answer to a POST means: delivered, retry, split, configuration error
store: what keeps lines until they are delivered, in memory or on disk
spool: the directory of the store on disk
segment: a file of lines in the spool
owner: a process that uses the spool, and its file there
claim: room in the spool that an owner has reserved
orphan: a segment whose owner has died
quarantine: the directory of lines that cannot be delivered
collector: the endpoint as a Python object, for tests and the viewer
capture: the period in which a test receives events instead of the endpoint

The handler, and with it urllib3, is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fslog import context
from fslog.counters import Health, Stats
from fslog.errors import InvalidEvent, Problem
from fslog.formatter import EventFormatter

if TYPE_CHECKING:
    from fslog.handler import FreshsuccessHandler, aflush, flush, health, stats
    from fslog.identify import identify_account, identify_user

__all__ = [
    "EventFormatter",
    "FreshsuccessHandler",
    "Health",
    "InvalidEvent",
    "Problem",
    "Stats",
    "aflush",
    "context",
    "flush",
    "health",
    "identify_account",
    "identify_user",
    "stats",
]


def __getattr__(name: str) -> Any:
    if name in ("FreshsuccessHandler", "aflush", "flush", "health", "stats"):
        from fslog import handler

        return getattr(handler, name)
    if name in ("identify_account", "identify_user"):
        from fslog import identify

        return getattr(identify, name)
    raise AttributeError(f"module 'fslog' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
