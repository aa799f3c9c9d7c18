"""The numbers and the counter behind them (DESIGN 3.3, 5.1)."""

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

from fslog.stats import Counter, Stats

FIELDS = [
    "emitted",
    "skipped",
    "invalid",
    "refused",
    "accepted",
    "adopted",
    "delivered",
    "pending",
    "abandoned",
    "retries",
    "batches",
    "bytes_encoded",
    "bytes_sent",
    "last_error",
    "spool_segments",
    "spool_bytes",
    "spool_oldest_age",
]


@pytest.fixture
def restless() -> Iterator[None]:
    """Let the interpreter switch threads as often as it can, so that races show."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(*targets: Callable[[], None]) -> None:
    """Run all targets at the same time, each in its own thread, to their end."""
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


def test_stats_names_its_numbers_as_the_design_does() -> None:
    """The fields and their order are those of DESIGN 5.1, no more and no fewer."""
    assert [field.name for field in dataclasses.fields(Stats)] == FIELDS


@pytest.mark.parametrize("name", FIELDS)
def test_stats_is_frozen(name: str) -> None:
    """A snapshot stays what it was when it was taken."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(Stats(), name, 1)


def test_fresh_stats_say_that_nothing_happened() -> None:
    """All counts begin at zero; there is no last error and no age of an oldest segment."""
    fresh = dataclasses.asdict(Stats())
    assert fresh.pop("last_error") is None
    assert fresh.pop("spool_oldest_age") is None
    assert set(fresh.values()) == {0}


def test_stats_balance_when_fresh_and_travel_as_json() -> None:
    """A snapshot can be compared, and handed to a metrics page as it is."""
    stats = Stats(emitted=3, skipped=1, accepted=2, delivered=1, pending=1, last_error="503")
    assert json.loads(json.dumps(dataclasses.asdict(stats)))["last_error"] == "503"
    assert stats == dataclasses.replace(stats)
    assert stats != dataclasses.replace(stats, emitted=4)


def test_a_counter_begins_at_zero_and_counts_what_is_added() -> None:
    """`value` is the number of calls of `add`, whoever reads it how often."""
    counter = Counter()
    assert counter.value() == 0
    for n in range(1, 100):
        counter.add()
        assert counter.value() == n
        assert counter.value() == n


def test_counters_are_independent() -> None:
    """Adding to one counter leaves another alone."""
    one, other = Counter(), Counter()
    one.add()
    assert (one.value(), other.value()) == (1, 0)


def test_a_counter_is_exact_under_many_threads(restless: None) -> None:
    """No call of `add` is lost or counted twice, however the threads are switched."""
    counter = Counter()

    def add() -> None:
        for _ in range(10_000):
            counter.add()

    together(*[add] * 8)
    assert counter.value() == 80_000


def test_a_reader_sees_a_counter_only_grow(restless: None) -> None:
    """Read while others add, a value is never less than one read before nor more than the end."""
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
    """Numbers are exact whenever no log call is in progress, also when two threads ask for them."""
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
    """A signal handler that interrupts `add` or `value` anywhere loses nothing."""
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
    """The garbage collector may run a finalizer that counts, wherever it likes."""
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
