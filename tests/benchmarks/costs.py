"""Show where the time of an event goes: `python -m tests.benchmarks.costs`, with fslog installed.

Each part is run by itself in a loop, on records that were made beforehand; the best of several
times counts, in microseconds per event. The parts of the log call are counted in what `handle`
takes; the rest is the other thread's.
"""

from __future__ import annotations

import itertools
import logging
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from fslog import FreshsuccessHandler, context, wire
from fslog.transport import Transport
from tests.benchmarks import workload
from tests.benchmarks.calls import explicit
from tests.benchmarks.endpoint import Endpoint

EVENTS, TIMES = 10_000, 9


def best(call: Callable[[Any], object], items: list[Any]) -> float:
    """Return the microseconds that one call takes, at best."""
    found = []
    for _ in range(TIMES):
        began = time.perf_counter()
        for item in items:
            call(item)
        found.append((time.perf_counter() - began) / len(items) * 1e6)
    return min(found)


class _Keeping(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def handle(self, record: logging.LogRecord) -> bool:
        self.records.append(record)
        return True


def learned(handler: FreshsuccessHandler, records: Iterable[logging.LogRecord]) -> Any:
    """Return the function that the handler learned for the place of some records."""
    shapes = handler.formatter.shapes  # type: ignore[union-attr]
    for record in itertools.cycle(records):
        handler.handle(record)
        found = shapes.line_of.get((record.pathname, record.lineno))
        if found is not None:
            return found
        time.sleep(0.001)
    raise AssertionError("there is no record")


def rows(url: str) -> Iterable[tuple[str, float]]:
    """Yield what each part costs."""
    items = list(workload.stream("extra", EVENTS))
    yield "Logger.info to a NullHandler", best(explicit(logging.NullHandler()), items)
    keeping = _Keeping()
    best(explicit(keeping), items[:EVENTS])
    records = keeping.records[-EVENTS:]
    handler = FreshsuccessHandler(auth_key="auth", api_key="api", endpoint=url)
    line_of = learned(handler, records)
    yield "handle, all of it", best(handler.handle, records)
    bound = context.current()
    yield (
        "  the line of a learned shape",
        best(lambda record: line_of(record.__dict__, record.created, bound), records),
    )
    lines = [line_of(record.__dict__, record.created, bound) for record in records]
    handler.flush(30)
    delivery = handler._current()
    yield "  the line into the open batch", best(delivery.take, lines)
    handler.flush(30)
    batch = lines[: 1_048_576 // max(map(len, lines))]
    for level in (4, 6):
        packing = best(lambda _: wire.pack(batch, "deflate", level), [None])  # noqa: B023
        yield f"compressing a batch, level {level}", packing / len(batch)
    body = wire.pack(batch, "deflate", 4)
    transport = Transport(handler._destination, ca_certs=None, encoding="deflate", timeout=10)
    yield "posting a batch", best(transport.post, [body]) / len(batch)
    transport.close()
    handler.close()


if __name__ == "__main__":
    print(f"Python {sys.version.split()[0]}, microseconds per event")
    with Endpoint() as endpoint:
        endpoint.reset()
        for name, microseconds in rows(endpoint.url):
            print(f"{name:32}{microseconds:6.2f}", flush=True)
