"""Every log call is counted once, whatever the endpoint does and whichever thread logs."""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fslog import FreshsuccessHandler, Problem, Stats
from fslog.collector import Answer, Collector
from waiting import eventually

MOODS: dict[str, Answer | None] = {
    "well": None,
    "busy": Answer(503),
    "wrong": Answer(400),
    "moved": Answer(307, headers={"Location": "/elsewhere"}),
    "reset": Answer(then="reset"),
    "close": Answer(then="close"),
    "nothing is small enough": Answer(413),
    "slow": Answer(200, delay=0.02),
}

STEPS = st.one_of(
    st.tuples(st.sampled_from(["explicit", "nested", "by rule"]), st.integers(1, 12)),
    st.tuples(st.sampled_from(["skipped", "invalid", "too large", "warned"]), st.integers(1, 3)),
    st.tuples(st.just("mood"), st.sampled_from(sorted(MOODS))),
    st.tuples(st.sampled_from(["flush", "close", "wait"]), st.just(0)),
)


class Ledger:
    """An application that counts its events, to compare its counts with those of fslog."""

    def __init__(self, collector: Collector, **arguments: Any) -> None:
        self.collector = collector
        self.lock = threading.Lock()
        self.problems: list[Problem] = []
        self.calls = self.skipped = self.invalid = 0
        self.number = itertools.count().__next__
        self.valid: list[int] = []
        self.logger = logging.Logger("accounting")
        fixed: dict[str, Any] = {
            "flush_interval": 0.005,
            "max_backoff": 0.02,
            "batch_events": 4,
            "batch_bytes": 1_000,
            "buffer_bytes": 1_500,
            "shutdown_timeout": 0.02,
            "timeout": 2.0,
            "compression": None,
            "rules": [{"when": {"message": "used %s"}, "event": {"action": "x", "n": "{args.0}"}}],
            "defaults": {"accountId": "a"},
        }
        self.handler = FreshsuccessHandler(
            auth_key="a",
            api_key="b",
            endpoint=collector.url,
            on_problem=self.problems.append,
            **{**fixed, **arguments},
        )
        self.logger.addHandler(self.handler)

    def log(self, kind: str) -> None:
        """Make one log call of a kind, and record it."""
        n = self.number()
        event = {"action": "x", "userId": "u", "n": n}
        if kind == "explicit":
            self.logger.info("done", extra=event)
        elif kind == "nested":
            self.logger.info("done", extra={"event": event})
        elif kind == "by rule":
            self.logger.info("used %s", n, extra={"userId": "u"})
        elif kind == "warned":
            self.logger.info("done", extra={**event, "action": "feature"})
        elif kind == "skipped":
            self.logger.info("done %s", n, extra={"userId": "u", "n": n})
        elif kind == "invalid":
            self.logger.info("done", extra={**event, "userId": ""})
        else:
            self.logger.info("done", extra={**event, "text": "x" * 1_000})
        with self.lock:
            self.calls += 1
            self.skipped += kind == "skipped"
            self.invalid += kind in ("invalid", "too large")
            if kind not in ("skipped", "invalid", "too large"):
                self.valid.append(n)

    def check(self) -> Stats:
        """Compare the counts when no log call is in progress."""
        stats = self.handler.stats()
        assert stats.emitted == self.calls
        unsent = stats.skipped + stats.excluded + stats.limited + stats.invalid + stats.refused
        assert stats.emitted + stats.derived == unsent + stats.accepted
        assert stats.accepted + stats.adopted == stats.delivered + stats.pending + stats.abandoned
        assert (stats.skipped, stats.invalid) == (self.skipped, self.invalid)
        assert stats.accepted + stats.refused == len(self.valid)
        assert stats.refused == len(self.refused)
        assert min(stats.pending, stats.delivered, stats.abandoned, stats.refused) >= 0
        return stats

    @property
    def refused(self) -> set[int]:
        """Return the events that `on_problem` got as refused."""
        return {(p.event or {})["n"] for p in self.problems if p.code == "refused"}

    @property
    def arrived(self) -> list[int]:
        """Return the events that the endpoint accepted."""
        return [event["n"] for event in self.collector.events]

    def close_the_books(self) -> Stats:
        """Let the endpoint recover, and compare the final counts."""
        self.collector.always(None)
        assert self.handler.flush(30.0)
        stats = self.check()
        arrived = self.arrived
        assert stats.pending == 0
        assert stats.delivered == len(arrived) == len(set(arrived))
        missing = set(self.valid) - self.refused - set(arrived)
        assert len(missing) == stats.abandoned
        assert set(arrived) <= set(self.valid) - self.refused
        assert self.collector.invalid == []
        kept = [request for request in self.collector.requests if request.kept]
        assert stats.batches == len(kept)
        assert stats.bytes_encoded == sum(request.bytes_unpacked for request in kept)
        assert stats.bytes_sent == sum(request.bytes_received for request in kept)
        assert all(request.bytes_unpacked <= 1_000 for request in self.collector.requests)
        return stats


@contextlib.contextmanager
def ledger(collector: Collector, **arguments: Any) -> Iterator[Ledger]:
    """Yield an application that counts its events."""
    books = Ledger(collector, **arguments)
    try:
        yield books
    finally:
        collector.always(None)
        books.handler.flush(5.0)
        books.handler.close()
        assert eventually(lambda: not [t for t in threading.enumerate() if t.name == "fslog"])


@pytest.fixture(scope="module")
def shared() -> Iterator[Collector]:
    """Yield one endpoint for all examples."""
    with Collector() as collector:
        yield collector


@given(steps=st.lists(STEPS, max_size=25), overflow=st.sampled_from(["refuse", "block"]))
def test_the_counts_balance_after_every_step(
    shared: Collector, steps: list[tuple[str, Any]], overflow: str
) -> None:
    """Between log calls each one is in exactly one count; in the end all events are delivered."""
    shared.clear()
    with ledger(shared, overflow=overflow, block_timeout=0.01) as books:
        was_too_large = False
        for step, value in steps:
            if step == "mood":
                shared.always(MOODS[value])
                was_too_large |= value == "nothing is small enough"
            elif step == "flush":
                books.handler.flush(0.02)
            elif step == "close":
                books.handler.close()
            elif step == "wait":
                seen = len(shared.requests)
                eventually(lambda seen=seen: len(shared.requests) != seen, 0.02)
            else:
                for _ in range(value):
                    books.log(step)
            books.check()
        stats = books.close_the_books()
        assert books.arrived == sorted(books.arrived)
        assert was_too_large or stats.abandoned == 0


def test_the_counts_balance_with_many_threads(shared: Collector) -> None:
    """Threads log, flush and close during outages: no call is lost or counted twice."""
    shared.clear()
    kinds = ["explicit", "nested", "by rule", "skipped", "invalid", "too large", "warned"]
    with ledger(shared) as books:
        done = threading.Event()

        def work(start: int) -> None:
            for n in range(start, start + 300):
                books.log(kinds[n % len(kinds)])
                if n % 50 == 49:
                    books.handler.flush(0.01)
                if n % 70 == 69:
                    books.handler.close()

        def weather() -> None:
            for mood in itertools.cycle(["well", "busy", "well", "wrong", "reset", "slow"]):
                shared.always(MOODS[mood])
                if done.wait(0.01):
                    return

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        sky = threading.Thread(target=weather)
        sky.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        sky.join()
        stats = books.close_the_books()
        assert (stats.emitted, stats.abandoned) == (1200, 0)


def test_events_of_a_thread_arrive_in_order(shared: Collector) -> None:
    """The events of each of several threads keep the order of its calls, also in an outage."""
    shared.clear()
    shared.script(*[Answer(503)] * 3, Answer(then="reset"))
    with ledger(shared, buffer_bytes=10**6) as books:

        def work(thread: str) -> None:
            for n in range(100):
                extra = {"action": "x", "userId": thread, "n": n}
                books.logger.info("done", extra=extra)

        threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert books.handler.flush(30.0)
        for name in "abc":
            own = [event["n"] for event in shared.events if event["userId"] == name]
            assert own == [*range(100)]


def test_blocking_refuses_nothing_if_there_is_room_in_time(shared: Collector) -> None:
    """A bulk job with `block` waits through a short outage, and every event arrives in order."""
    shared.clear()
    shared.script(*[Answer(503)] * 4)
    with ledger(shared, overflow="block", block_timeout=10.0) as books:
        for _ in range(200):
            books.log("explicit")
        stats = books.close_the_books()
        assert (stats.accepted, stats.refused) == (200, 0)
        assert books.arrived == [*range(200)]


def test_a_lost_answer_does_not_change_the_counts(shared: Collector, tmp_path: Path) -> None:
    """A batch whose 200 was lost arrives twice and is counted once."""
    shared.clear()
    shared.script(Answer(then="reset", keep=True), Answer(then="close", keep=True))
    # On disk they wait for each other, so that the four are posted together.
    with ledger(shared, flush_interval=600.0, spool=tmp_path / "spool") as books:
        for _ in range(4):
            books.log("explicit")
        assert books.handler.flush(30.0)
        assert books.arrived == [0, 1, 2, 3] * 3
        stats = books.check()
        assert (stats.delivered, stats.batches, stats.retries) == (4, 1, 2)


def test_a_disabled_handler_counts_nothing() -> None:
    """It accepts nothing, starts nothing, and its `flush` returns True."""
    handler = FreshsuccessHandler(enabled=False)
    logger = logging.Logger("accounting")
    logger.addHandler(handler)
    logger.info("done", extra={"action": "x", "accountId": "a", "userId": "u"})
    assert handler.stats() == Stats()
    assert handler.flush() is True
    handler.close()
