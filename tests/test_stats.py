"""The statistics and their counter."""

from __future__ import annotations

import dataclasses
import gc
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from fslog.counters import Counter, RecordCounters, Stats

FIELDS = [
    "emitted",
    "derived",
    "skipped",
    "excluded",
    "limited",
    "invalid",
    "refused",
    "accepted",
    "adopted",
    "delivered",
    "pending",
    "abandoned",
    "expired",
    "quarantined",
    "retries",
    "batches",
    "merged",
    "bytes_encoded",
    "bytes_sent",
    "last_error",
    "spool_segments",
    "spool_bytes",
    "spool_oldest_age",
]


@pytest.fixture
def restless() -> Iterator[None]:
    """Make the interpreter switch threads as often as possible, to provoke races."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(*targets: Callable[[], None]) -> None:
    """Run all targets at the same time, each in its own thread."""
    start = threading.Barrier(len(targets))

    def run(target: Callable[[], None]) -> None:
        start.wait(10)
        target()

    threads = [threading.Thread(target=run, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)


def test_the_fields_of_stats() -> None:
    """The fields and their order are the documented ones."""
    assert [field.name for field in dataclasses.fields(Stats)] == FIELDS


@pytest.mark.parametrize("name", FIELDS)
def test_stats_is_frozen(name: str) -> None:
    """A snapshot cannot be changed."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(Stats(), name, 1)


def test_new_stats_are_zero() -> None:
    """All counts are zero; there is no last error and no age of an oldest segment."""
    fresh = dataclasses.asdict(Stats())
    assert fresh.pop("last_error") is None
    assert fresh.pop("spool_oldest_age") is None
    assert set(fresh.values()) == {0}


def test_stats_can_be_compared_and_encoded_as_json() -> None:
    """A snapshot can be compared, and encoded for a page of metrics."""
    stats = Stats(emitted=3, skipped=1, accepted=2, delivered=1, pending=1, last_error="503")
    assert json.loads(json.dumps(dataclasses.asdict(stats)))["last_error"] == "503"
    assert stats == dataclasses.replace(stats)
    assert stats != dataclasses.replace(stats, emitted=4)


def test_a_counter_counts_from_zero() -> None:
    """`value` is the number of calls of `add`, however often it is read."""
    counter = Counter()
    assert counter.value() == 0
    for n in range(1, 100):
        counter.add()
        assert counter.value() == n
        assert counter.value() == n


def test_counters_are_independent() -> None:
    """Adding to one counter does not change another one."""
    one, other = Counter(), Counter()
    one.add()
    assert (one.value(), other.value()) == (1, 0)


def test_a_counter_is_exact_under_many_threads(restless: None) -> None:
    """No call of `add` of any thread is lost or counted twice."""
    counter = Counter()

    def add() -> None:
        for _ in range(10_000):
            counter.add()

    together(*[add] * 8)
    assert counter.value() == 80_000


def test_a_counter_never_decreases(restless: None) -> None:
    """While others add, a value is never less than an earlier one nor more than the final one."""
    counter = Counter()
    seen: list[int] = []

    def add() -> None:
        for _ in range(5_000):
            counter.add()

    def read() -> None:
        seen.extend(counter.value() for _ in range(5_000))

    together(add, add, add, read)
    assert seen == sorted(seen)
    assert counter.value() == 15_000
    assert seen[-1] <= 15_000


def test_a_counter_is_exact_for_several_readers_at_once(restless: None) -> None:
    """If nothing is added meanwhile, two threads that read at the same time get the exact value."""
    counter = Counter()
    for _ in range(1_000):
        counter.add()
    seen: set[int] = set()

    def read() -> None:
        for _ in range(5_000):
            seen.add(counter.value())

    together(*[read] * 4)
    assert seen == {1_000}


def test_a_counter_is_exact_when_a_signal_handler_adds_to_it() -> None:
    """A signal handler that interrupts `add` or `value` anywhere loses no count."""
    counter = Counter()
    in_handler: list[None] = []

    def handle(*_: object) -> None:
        counter.add()
        in_handler.append(None)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    added, deadline = 0, time.monotonic() + 10
    try:
        while len(in_handler) < 100 and time.monotonic() < deadline:
            counter.add()
            added += 1
            assert counter.value() >= added
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(in_handler) >= 100
    assert counter.value() == added + len(in_handler)


def test_a_counter_is_exact_when_a_finalizer_adds_to_it() -> None:
    """A finalizer that counts may run anywhere, and loses no count."""
    counter = Counter()

    class Noisy:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            counter.add()

    for _ in range(3_000):
        Noisy()
        counter.add()
    gc.collect()
    assert counter.value() == 6_000


def test_each_record_and_each_derived_event_is_in_the_balance() -> None:
    """What came of records and of derived events adds up to both."""
    counters = RecordCounters()
    for counter in ("skipped", "excluded", "limited", "limited", "invalid", "derived"):
        getattr(counters, counter).add()
    assert counters.numbers(refused=3, accepted=4) == {
        "emitted": 11,
        "derived": 1,
        "skipped": 1,
        "excluded": 1,
        "limited": 2,
        "invalid": 1,
        "refused": 3,
    }
