"""Show the cost of each part of an event: `python -m tests.benchmarks.costs`, with fslog installed.

Each part runs separately on records created beforehand; times are microseconds per event. *Warm*
is the best of several loops. *Cold* is the tenth percentile of calls after the processor's caches
have been filled with other data, as in a thread that waits between its requests.
"""

from __future__ import annotations

import itertools
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fslog import FreshsuccessHandler, context
from fslog.net import wire
from fslog.net.transport import Transport
from tests.benchmarks import workload
from tests.benchmarks.calls import explicit
from tests.benchmarks.endpoint import Endpoint

EVENTS, TIMES, COLD_CALLS = 10_000, 9, 2_000
CACHE = bytearray(6_000_000)
"""Data that is copied to evict everything else from the caches."""

Row = tuple[str, float, float | None]


def warm(call: Callable[[Any], object], items: list[Any]) -> float:
    """Return the microseconds per call in the fastest of several loops."""
    found = []
    for _ in range(TIMES):
        began = time.perf_counter()
        for item in items:
            call(item)
        found.append((time.perf_counter() - began) / len(items) * 1e6)
    return min(found)


def cold(call: Callable[[Any], object], items: list[Any]) -> float:
    """Return the microseconds of a call that starts with empty caches, as the tenth percentile."""
    found = []
    for item in items[:COLD_CALLS]:
        bytes(CACHE)
        list(getattr(item, "__dict__", ()))  # a new record is still in the caches
        began = time.perf_counter()
        call(item)
        found.append((time.perf_counter() - began) * 1e6)
    return sorted(found)[len(found) // 10]


def both(name: str, call: Callable[[Any], object], items: list[Any]) -> Row:
    """Return the row of a part that is measured warm and cold."""
    return name, warm(call, items), cold(call, items)


class _Keeping(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def handle(self, record: logging.LogRecord) -> bool:
        self.records.append(record)
        return True


def compiled(handler: FreshsuccessHandler, records: Iterable[logging.LogRecord]) -> Any:
    """Return the encoder that the handler compiles for the call site of these records."""
    encoders = handler.formatter.encoders  # type: ignore[union-attr]
    for record in itertools.cycle(records):
        handler.handle(record)
        found = encoders.encoders.get((record.pathname, record.lineno))
        if found is not None:
            return found
        time.sleep(0.001)
    raise AssertionError("no records")


def rows(url: str) -> Iterator[Row]:
    """Yield the row of each part; parts in the listener thread are measured warm only."""
    items = list(workload.stream("extra", EVENTS))
    yield both("nothing", lambda item: None, items)
    yield both("Logger.info to a NullHandler", explicit(logging.NullHandler()), items)
    keeping = _Keeping()
    call = explicit(keeping)
    for item in items:
        call(item)
    records = keeping.records
    room = {"batch_events": 10**8, "batch_bytes": 10**9, "buffer_bytes": 10**9}
    handler = FreshsuccessHandler(auth_key="auth", api_key="api", endpoint=url, **room)
    encode_record = compiled(handler, records)
    yield both("handle, total", handler.handle, records)
    bound = context.current()

    def line(record: Any) -> bytes:
        made: bytes = encode_record(record.__dict__, record.created, bound)
        return made

    yield both("  the compiled encoder", line, records)
    lines = [line(record) for record in records]
    yield both("  appending to the open batch", handler._current().append, lines)
    handler.flush(30)
    batch = lines[: 1_048_576 // max(map(len, lines))]
    for level in (4, 6):
        packing = warm(lambda _: wire.pack(batch, "deflate", level), [None])  # noqa: B023
        yield f"compressing a batch, level {level}", packing / len(batch), None
    body = wire.pack(batch, "deflate", 4)
    transport = Transport(handler._destination, ca_certs=None, encoding="deflate", timeout=10)
    yield "posting a batch", warm(transport.post, [body]) / len(batch), None
    transport.close()
    handler.close()


if __name__ == "__main__":
    print(f"Python {sys.version.split()[0]}, microseconds per event")
    print(f"{'':32}{'warm':>8}{'cold':>8}")
    with Endpoint() as endpoint:
        endpoint.reset()
        for name, hot, chilled in rows(endpoint.url):
            print(f"{name:32}{hot:8.2f}{'' if chilled is None else f'{chilled:8.2f}'}", flush=True)
