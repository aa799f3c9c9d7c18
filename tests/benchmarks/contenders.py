"""The contenders. The function `make(url)` of a contender returns `(call, finish)`.

`call` logs one event; its argument is an item of the contender's kind (see `workload`). `finish`
waits until all events are delivered; it may be called once, but fslog's more often. Imports and
connections belong in `make`, which no measure includes.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import queue
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks import peers, workload
from tests.benchmarks.calls import Made, explicit, plain
from tests.benchmarks.minimal import MinimalHandler, event_of


@dataclass(frozen=True)
class Contender:
    """A handler or an SDK to measure.

    Args:
        name: its name in tables and options.
        make: see the docstring of the module.
        kind: the kind of its items.
        floor: the contender whose cost is the unavoidable part of this one's call.
        sends: whether its events reach the endpoint.
        group: `floor`, `stdlib`, `fslog` or `peer`.
        packages: the packages that it requires besides the standard library.
        note: the settings that differ from its defaults.
    """

    name: str
    make: Callable[[str], Made]
    kind: str = "extra"
    floor: str = "null"
    sends: bool = True
    group: str = "stdlib"
    packages: tuple[str, ...] = field(default=())
    note: str = ""


def _nothing() -> None:
    pass


def null(url: str) -> Made:
    return explicit(logging.NullHandler()), _nothing


def null_asyncio(url: str) -> Made:
    # Since 3.12, if asyncio is imported, logging looks up the current task for each record.
    import asyncio  # noqa: F401

    return null(url)


def null_plain(url: str) -> Made:
    return plain(logging.NullHandler(), workload.MESSAGE), _nothing


def file_json(url: str) -> Made:
    from pythonjsonlogger.json import JsonFormatter

    handler = logging.FileHandler(Path("events.ndjson"))
    handler.setFormatter(JsonFormatter())
    return explicit(handler), handler.close


class _Dumps(logging.Handler):
    def emit(self, record: Any) -> None:
        json.dumps(event_of(record))


def _through_queue(last: logging.Handler) -> Made:
    between: queue.Queue[Any] = queue.Queue(-1)
    listener = logging.handlers.QueueListener(between, last)
    listener.start()
    return explicit(logging.handlers.QueueHandler(between)), listener.stop


def queue_null(url: str) -> Made:
    return _through_queue(logging.NullHandler())


def queue_json(url: str) -> Made:
    return _through_queue(_Dumps())


def minimal(url: str) -> Made:
    handler = MinimalHandler(url)
    return explicit(handler), handler.finish


def _fslog(url: str, **settings: Any) -> Any:
    import fslog

    return fslog.FreshsuccessHandler(auth_key="auth", api_key="api", endpoint=url, **settings)


def _flushed(handler: Any) -> Callable[[], None]:
    def finish() -> None:
        if not handler.flush(120):
            raise TimeoutError(f"not all events were delivered: {handler.stats()}")

    return finish


def fslog_default(url: str) -> Made:
    handler = _fslog(url)
    return explicit(handler), _flushed(handler)


def fslog_large(url: str) -> Made:
    handler = _fslog(url, batch_events=50_000, batch_bytes=8 * 1024 * 1024)
    return explicit(handler), _flushed(handler)


def fslog_spool(url: str) -> Made:
    handler = _fslog(url, spool=os.path.abspath("spool"))
    return explicit(handler), _flushed(handler)


def fslog_plan(url: str) -> Made:
    handler = _fslog(url, plan=workload.plan())
    return explicit(handler), _flushed(handler)


def fslog_context(url: str) -> Made:
    from fslog import context

    handler = _fslog(url)
    context.bind(accountId="account-0001", userId="user-00001")
    return explicit(handler), _flushed(handler)


_EVENT = {
    "action": "feature",
    "module": "reports",
    "feature": "export",
    "total": "{args.0}",
    "userId": "{args.1}",
    "accountId": "{args.2}",
}
_ROWS = "%s rows for %s of %s"
_WHEN: list[dict[str, str]] = [
    *({"logger": f"shop.part{n}", "message": f"sold {_ROWS}"} for n in range(3)),
    *({"logger": "bench.app", "message": f"read {n} times {_ROWS}"} for n in range(3)),
    *({"logger": "gunicorn.access", "args.U": f"/^.part{n}.(?P<name>\\w+)/"} for n in range(2)),
    {"logger": "bench", "levelname": "CRITICAL"},
    {"logger": "bench", "message": workload.MESSAGE},
]
RULES = [{"when": when, "event": _EVENT} for when in _WHEN]
SEARCHED = [{"when": {"message": f"/sold .* of {n}/"}, "event": _EVENT} for n in range(10)]


def _ruled(url: str, message: str, rules: list[dict[str, Any]] = RULES) -> Made:
    handler = _fslog(url, rules=rules, defaults={"product": workload.MARK.decode()})
    return plain(handler, message), _flushed(handler)


def fslog_tenth(url: str) -> Made:
    return _ruled(url, workload.MESSAGE)


def fslog_no_match(url: str) -> Made:
    return _ruled(url, workload.OTHER_MESSAGE)


def fslog_searched(url: str) -> Made:
    return _ruled(url, workload.OTHER_MESSAGE, SEARCHED)


_FSLOG = {"group": "fslog", "packages": ("python-json-logger>=4", "urllib3>=2.2", "backoff>=2.2")}
_JSON = ("python-json-logger",)

ALL: dict[str, Contender] = {
    contender.name: contender
    for contender in [
        Contender("null", null, sends=False, group="floor"),
        Contender("null-asyncio", null_asyncio, sends=False, group="floor"),
        Contender("null-plain", null_plain, "plain", "null-plain", sends=False, group="floor"),
        Contender("null-bound", null, "bound", "null-bound", sends=False, group="floor"),
        Contender("null-window", null, "window", "null-window", sends=False, group="floor"),
        Contender("file-json", file_json, sends=False, packages=_JSON),
        Contender("queue-null", queue_null, sends=False),
        Contender("queue-json", queue_json, sends=False),
        Contender("minimal", minimal),
        Contender("fslog", fslog_default, **_FSLOG),
        Contender("fslog-spool", fslog_spool, **_FSLOG),
        Contender("fslog-plan", fslog_plan, **_FSLOG, note="a plan of 50 events"),
        Contender("fslog-large", fslog_large, **_FSLOG, note="batches of 8 MiB"),
        Contender("fslog-window", fslog_default, "window", "null-window", **_FSLOG),
        Contender("fslog-context", fslog_context, "bound", "null-bound", **_FSLOG),
        Contender("fslog-tenth", fslog_tenth, "plain", "null-plain", **_FSLOG),
        Contender("fslog-no-match", fslog_no_match, "plain", "null-plain", sends=False, **_FSLOG),
        Contender("fslog-searched", fslog_searched, "plain", "null-plain", sends=False, **_FSLOG),
        *(
            Contender(name, make, kind, group="peer", packages=packages, note=note)
            for name, make, kind, packages, note in peers.ALL
        ),
    ]
}
