"""The measures, each a function that runs one contender once, in the contender's own process.

The arguments are a contender, the endpoint's URL and the sizes of the run. The result is a dict of
numbers: `events` is the number of events that the endpoint must have received; names of
microseconds end in `_us`, of seconds in `_s`, of megabytes (10^6 bytes) in `_mb`.
"""

from __future__ import annotations

import itertools
import os
import re
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from tests.benchmarks import workload
from tests.benchmarks.contenders import Contender

SETTLE_SECONDS = 0.5
"""Time for background threads to finish the work of the warm-up calls."""


PARTS = 40
"""Number of parts into which a tight loop is divided."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of the measures.

    Args:
        calls: calls in a tight loop.
        warm: warm-up calls before a measure.
        rate, seconds: calls per second and duration of a paced run.
        events: events in a burst.
        slow_events: events in a burst to a slow endpoint.
        scale: the numbers of events that `scale` compares.
        outage: events while the endpoint is down.
        traced: calls of which the instructions are counted.
    """

    calls: int = 50_000
    warm: int = 5_000
    rate: int = 2_000
    seconds: float = 5.0
    events: int = 100_000
    slow_events: int = 100_000
    scale: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    outage: int = 1_000_000
    traced: int = 200


def _loop(call: Callable[[Any], object], items: Any) -> None:
    for item in items:
        call(item)


def _warmed(contender: Contender, url: str, warm: int) -> Any:
    call, finish = contender.make(url)
    _loop(call, workload.stream(contender.kind, warm))
    time.sleep(SETTLE_SECONDS)
    return call, finish


def tight(contender: Contender, url: str, sizes: Sizes) -> dict[str, Any]:
    """Measure the mean cost of a call in a loop without pauses.

    `call_us` is elapsed time, `cpu_us` the CPU time of the calling thread. `calm_us` is that CPU
    time in the fastest quarter of the loop, which other load of the machine affects least: another
    program on the same core can double the CPU time.
    """
    call, finish = _warmed(contender, url, sizes.warm)
    calls = sizes.calls // PARTS
    items = workload.stream(contender.kind, calls * PARTS)
    cpu, began = [time.thread_time()], time.perf_counter()
    for _ in range(PARTS):
        _loop(call, itertools.islice(items, calls))
        cpu.append(time.thread_time())
    took = time.perf_counter() - began
    finish()
    parts = sorted(after - before for before, after in itertools.pairwise(cpu))
    return {
        "events": sizes.warm + calls * PARTS,
        "call_us": took / PARTS / calls * 1e6,
        "cpu_us": statistics.mean(parts) / calls * 1e6,
        "calm_us": statistics.mean(parts[: PARTS // 4]) / calls * 1e6,
    }


def instructions(contender: Contender, url: str, sizes: Sizes) -> dict[str, Any]:
    """Count the bytecode instructions that a call executes in the calling thread.

    The number is the same in each run on the same Python, regardless of the machine and its load.
    It shows what a call has to do more or less than before; it is no time: calls of C functions
    count as one instruction.
    """
    call, finish = _warmed(contender, url, sizes.warm)
    items = list(workload.stream(contender.kind, sizes.traced))
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # else 3.12 counts nothing
    sys.settrace(trace)
    try:
        for item in items:
            call(item)
    finally:
        sys.settrace(before)
    finish()
    return {"events": sizes.warm + sizes.traced, "instructions": count / sizes.traced}


def paced(contender: Contender, url: str, sizes: Sizes) -> dict[str, Any]:
    """Measure calls at a steady rate from a thread that sleeps in between, as a server's does.

    `late_p99_us` is the 99th percentile of the delay from the due time of a call to its return. It
    includes the wait for the interpreter's lock and the inaccuracy of the timer.
    """
    call, finish = _warmed(contender, url, sizes.warm)
    count = int(sizes.rate * sizes.seconds)
    clock, spent, late = time.perf_counter, [], []
    began = clock() + 0.01
    for number, item in enumerate(workload.stream(contender.kind, count)):
        due = began + number / sizes.rate
        while (wait := due - clock()) > 0:
            time.sleep(wait)
        before = clock()
        call(item)
        after = clock()
        spent.append((after - before) * 1e6)
        late.append((after - due) * 1e6)
    finish()
    parts = {"p50_us": 0.5, "p99_us": 0.99, "p999_us": 0.999}
    spent.sort()
    late.sort()
    return {
        "events": sizes.warm + count,
        **{name: spent[int(part * count)] for name, part in parts.items()},
        "late_p99_us": late[int(0.99 * count)],
    }


def _burst(contender: Contender, url: str, count: int, threads: int) -> dict[str, Any]:
    call, finish = contender.make(url)
    shares = [workload.stream(contender.kind, count // threads) for _ in range(threads)]
    workers = [threading.Thread(target=_loop, args=(call, share)) for share in shares[1:]]
    held, cpu, began = resident_mb(), time.process_time(), time.monotonic()
    for worker in workers:
        worker.start()
    _loop(call, shares[0])
    for worker in workers:
        worker.join()
    called = time.monotonic() - began
    finish()
    return {
        "events": count // threads * threads,
        "began_at": began,
        "ended_at": time.monotonic(),
        "call_us": called / count * 1e6,
        "cpu_100k_s": (time.process_time() - cpu) / count * 1e5,
        "peak_mb": max(0.0, peak_mb() - held),
    }


def burst(contender: Contender, url: str, sizes: Sizes) -> dict[str, Any]:
    """Measure a burst in a new process, from the first call to the last delivered event."""
    return _burst(contender, url, sizes.events, threads=1)


def slow(contender: Contender, url: str, sizes: Sizes) -> dict[str, Any]:
    """Measure a burst to an endpoint that answers after 200 ms."""
    return _burst(contender, url, sizes.slow_events, threads=1)


def threads(contender: Contender, url: str, sizes: Sizes) -> dict[str, Any]:
    """Measure a burst from eight threads at once."""
    return _burst(contender, url, sizes.events, threads=8)


def scale(contender: Contender, url: str, sizes: Sizes) -> dict[str, Any]:
    """Measure how the cost of an event, including delivery, depends on the number of events.

    Small numbers are measured several times, because a single run would be too short. The
    contender's `finish` must be callable repeatedly: it delivers earlier events before a measure.
    """
    call, finish = _warmed(contender, url, sizes.warm)
    told: dict[str, Any] = {"events": sizes.warm}
    pool = workload.items(contender.kind)
    for count in sizes.scale:
        costs, calls = [], []
        for _ in range(max(1, min(20, 20_000 // count))):
            finish()
            items = itertools.islice(itertools.cycle(pool), count)
            cpu, began = time.process_time(), time.perf_counter()
            _loop(call, items)
            calls.append((time.perf_counter() - began) / count * 1e6)
            finish()
            costs.append((time.process_time() - cpu) / count * 1e6)
            told["events"] += count
        told[f"call_us_{count}"] = statistics.median(calls)
        told[f"cpu_us_{count}"] = statistics.median(costs)
    return told


def outage(contender: Contender, url: str, sizes: Sizes) -> dict[str, Any]:
    """Measure the growth of memory while the last nine tenths of the events are logged.

    The endpoint answers every request with 503, so no event is delivered, and none is waited for.
    """
    call, _ = _warmed(contender, url, sizes.warm)
    _loop(call, workload.stream(contender.kind, sizes.outage // 10))
    held = resident_mb()
    began = time.perf_counter()
    _loop(call, workload.stream(contender.kind, sizes.outage - sizes.outage // 10))
    took = time.perf_counter() - began
    return {
        "events": 0,
        "grew_mb": resident_mb() - held,
        "peak_grew_mb": peak_mb() - held,
        "call_us": took / (sizes.outage - sizes.outage // 10) * 1e6,
    }


ALL: dict[str, Callable[[Contender, str, Sizes], dict[str, Any]]] = {
    measure.__name__: measure
    for measure in (tight, instructions, paced, burst, slow, threads, scale, outage)
}


def peak_mb() -> float:
    """Return the peak resident memory of this process."""
    # On Linux the peak that getrusage returns includes that of the parent before the fork.
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text("ascii"), re.MULTILINE)
        if found is not None:
            return int(found[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def resident_mb() -> float:
    """Return the resident memory of this process, or its peak if only that is available."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return peak_mb()
    return int(statm.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
