"""Compare zlib's levels and strategies on batches: `python -m tests.benchmarks.levels`.

The default of `compression_level` and the strategy in `fslog.net.wire` are based on these numbers.
"""

from __future__ import annotations

import json
import sys
import time
import zlib
from collections.abc import Iterator

from tests.benchmarks import workload

BATCHES = (20, 200, 4_762)
"""Events in a batch of a quiet application, of a busy one, and in a full batch of 1 MiB."""

STRATEGIES = {"default": zlib.Z_DEFAULT_STRATEGY, "filtered": zlib.Z_FILTERED}
TIMES = 9


def lines(count: int) -> list[bytes]:
    """Return `count` lines, a hundred events in each millisecond."""
    at = 1_790_000_000_000
    events = workload.properties()[:count]
    return [
        json.dumps({**event, "createdAt": at + number // 100}, separators=(",", ":")).encode()
        + b"\n"
        for number, event in enumerate(events)
    ]


def packed(text: bytes, level: int, strategy: int) -> tuple[int, float]:
    """Return the size of the compressed body and the shortest time in seconds."""
    best, body = float("inf"), b""
    for _ in range(TIMES):
        began = time.perf_counter()
        packer = zlib.compressobj(level, zlib.DEFLATED, 15, 8, strategy)
        body = packer.compress(text) + packer.flush()
        best = min(best, time.perf_counter() - began)
    return len(body), best


def rows() -> Iterator[str]:
    """Yield the lines of the table."""
    yield "level     " + "".join(f"{f'{count:,} events':>22}" for count in BATCHES)
    texts = {count: b"".join(lines(count)) for count in BATCHES}
    for level in range(1, 10):
        for name, strategy in STRATEGIES.items():
            cells = []
            for count, text in texts.items():
                size, seconds = packed(text, level, strategy)
                cells.append(f"{size / count:8.1f} B {seconds / count * 1e6:7.2f} us")
            yield f"{level} {name:8}" + "".join(f"{cell:>22}" for cell in cells)


if __name__ == "__main__":
    print(f"zlib {zlib.ZLIB_RUNTIME_VERSION}, Python {sys.version.split()[0]}; per event")
    for row in rows():
        print(row, flush=True)
