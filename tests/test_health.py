"""The health of handlers: which state each situation is, and that asking for it costs nothing."""

from __future__ import annotations

import gc
import json
import logging
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fslog
from fslog import FreshsuccessHandler, Health, process
from fslog.collector import Answer, Collector
from fslog.delivery.health import RECENT_SECONDS, Ages, health_of
from fslog.delivery.store import Batch, Store
from fslog.testing import capture
from processes import FORKING, KEYS, run
from waiting import eventually

EVENT = {"accountId": "acme", "userId": "ann", "action": "pageView", "page": "start"}
NEVER: Ages = {
    "last_delivery_age": None,
    "oldest_waiting_age": None,
    "outage_age": None,
    "misconfigured_age": None,
    "spool_failed_age": None,
    "refused_age": None,
    "abandoned_age": None,
    "invalid_age": None,
}


class Shop:
    """A logger with a handler of its own, against a collector that can be told how to answer."""

    def __init__(self, collector: Collector, **arguments: Any) -> None:
        self.collector = collector
        self.log = logging.Logger("shop")
        fixed: dict[str, Any] = {"auth_key": KEYS[0], "api_key": KEYS[1], "max_backoff": 600.0}
        fixed |= {"endpoint": collector.url, "flush_interval": 600.0, "shutdown_timeout": 10.0}
        self.handler = FreshsuccessHandler(**{**fixed, **arguments})
        self.log.addHandler(self.handler)

    def sell(self, **more: Any) -> None:
        """Log an event."""
        self.log.info("sold", extra={**EVENT, **more})

    def fail(self) -> None:
        """Make the handler attempt a POST that fails."""
        before = self.handler.stats().retries
        self.handler.flush(0.0)
        assert eventually(lambda: self.handler.stats().retries > before)

    def health(self) -> Health:
        """Return the handler's health."""
        return self.handler.health()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Run a collector."""
    with Collector() as made:
        yield made
        made.always(Answer(200))
        for delivery in process.tracked():  # of handlers that no longer exist, too
            delivery.flush(10.0)
            delivery.retire()


def test_a_handler_that_delivers_is_ok(collector: Collector) -> None:
    """Before the first event nothing is known; after a delivery its age is, and nothing waits."""
    shop = Shop(collector)
    assert shop.health() == Health()
    shop.sell()
    assert shop.handler.flush()
    health = shop.health()
    assert (health.state, health.reasons, health.enabled) == ("ok", (), True)
    assert health.last_delivery_age is not None
    assert 0.0 <= health.last_delivery_age < 60.0
    assert health.oldest_waiting_age is None
    assert health.outage_age is None


def test_an_outage_is_degraded_until_a_delivery(collector: Collector) -> None:
    """A 503 is retried: nothing is lost, and no person has to act; then it is over."""
    collector.always(Answer(503))
    shop = Shop(collector)
    shop.sell()
    shop.fail()
    health = shop.health()
    assert health.state == "degraded"
    assert health.outage_age is not None
    assert health.oldest_waiting_age is not None
    assert health.oldest_waiting_age >= health.outage_age
    assert "it answers 503" in health.reasons[0]
    assert "in memory" in health.reasons[0]
    shop.sell()
    shop.fail()
    later = shop.health()
    assert later.outage_age is not None
    assert later.outage_age > health.outage_age
    assert later.reasons == health.reasons
    collector.always(Answer(200))
    assert shop.handler.flush()
    assert shop.health().state == "ok"
    assert shop.health().outage_age is shop.health().oldest_waiting_age is None


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404])
def test_rejected_keys_are_failing(collector: Collector, status: int) -> None:
    """Events will not arrive before somebody corrects the keys; a failed POST changes nothing."""
    collector.always(Answer(status))
    shop = Shop(collector)
    shop.sell()
    shop.fail()
    collector.always(Answer(503))
    shop.fail()
    health = shop.health()
    assert health.state == "failing"
    assert health.misconfigured_age is not None
    assert "auth_key, api_key and datacenter" in health.reasons[0]
    assert len(health.reasons) == 1
    assert not any(key in str(health) for key in KEYS)
    collector.always(Answer(200))
    assert shop.handler.flush()
    assert shop.health().state == "ok"


def test_refused_events_are_failing(collector: Collector) -> None:
    """A full buffer that refuses events loses them: the reason names the argument to increase."""
    collector.always(Answer(503))
    shop = Shop(collector, buffer_bytes=400, batch_bytes=400)
    for _ in range(50):
        shop.sell()
    assert shop.handler.stats().refused
    health = shop.health()
    assert health.state == "failing"
    assert health.refused_age is not None
    assert any("increase buffer_bytes" in reason for reason in health.reasons)


def test_a_spool_that_cannot_be_written_is_failing(collector: Collector, tmp_path: Path) -> None:
    """What is in memory would be lost with the process; the next line on disk ends that."""
    spool = tmp_path / "spool"
    shop = Shop(collector, spool=spool)
    shutil.rmtree(spool)
    spool.write_text("another program's file")
    shop.sell()
    health = shop.health()
    assert health.state == "failing"
    assert health.spool_failed_age is not None
    assert "the spool cannot be written" in health.reasons[0]
    spool.unlink()
    assert shop.handler.flush()
    shop.sell()
    assert shop.handler.flush()
    assert shop.health().spool_failed_age is None
    assert shop.health().state == "ok"


def test_a_disk_that_is_almost_full_is_failing(collector: Collector, tmp_path: Path) -> None:
    """It is said at once, before any log call; afterwards that events were refused, and why."""
    shop = Shop(collector, spool=tmp_path / "spool", spool_min_free="99.999999%")
    assert eventually(lambda: shop.health().state == "failing")
    assert "less than spool_min_free (99.999999%)" in shop.health().reasons[0]
    shop.sell()
    assert (shop.handler.stats().refused, shop.handler.stats().accepted) == (1, 0)
    ages: Any = {**NEVER, "refused_age": 1.0}
    given: Any = {"host": "h", "bound": ("spool_max_bytes", 1), "min_free": "", "is_durable": True}
    health = health_of(ages, was_low=True, last_error="", store_error="", **given)
    assert [reason.partition(":")[0] for reason in health.reasons] == [
        "events were refused, because the spool's disk was almost full"
    ]


def test_an_event_that_is_too_large_for_the_endpoint_is_failing(
    collector: Collector, tmp_path: Path
) -> None:
    """A single event that gets a 413 is lost; in a spool's quarantine it is not."""
    collector.always(Answer(413))
    shop = Shop(collector)
    shop.sell()
    assert shop.handler.flush()
    health = shop.health()
    assert (health.state, health.abandoned_age is None) == ("failing", False)
    kept = Shop(collector, spool=tmp_path / "spool")
    kept.sell()
    assert kept.handler.flush()
    assert kept.handler.stats().abandoned == 1
    assert kept.health().state == "ok"


def test_an_invalid_event_is_degraded(collector: Collector) -> None:
    """It is the application's mistake: a person should look, but everything else arrives."""
    shop = Shop(collector)
    shop.sell(userId="")
    health = shop.health()
    assert health.state == "degraded"
    assert health.invalid_age is not None
    assert "an event was invalid" in health.reasons[0]


@pytest.mark.parametrize("name", ["refused_age", "abandoned_age", "invalid_age"])
def test_what_happened_once_counts_for_five_minutes(name: str) -> None:
    """The state is that of now: what happened earlier only has an age."""

    def state(age: float) -> str:
        ages: Any = {**NEVER, name: age}
        given: Any = {
            "host": "h",
            "bound": ("buffer_bytes", 1),
            "min_free": "",
            "was_low": False,
            "last_error": "",
            "store_error": "",
        }
        health = health_of(ages, is_durable=False, **given)
        assert getattr(health, name) == age
        return health.state

    assert RECENT_SECONDS == 300.0
    assert state(299.0) != "ok"
    assert state(301.0) == "ok"


def test_events_of_dead_processes_wait_too(collector: Collector, tmp_path: Path) -> None:
    """With a spool the oldest event is that of the directory, whoever wrote it."""
    collector.always(Answer(503))
    shop = Shop(collector, spool=tmp_path / "spool")
    shop.sell()
    shop.fail()
    other = Shop(collector, spool=tmp_path / "spool")
    assert other.handler.stats().accepted == 0
    assert other.health().oldest_waiting_age is not None
    assert "on disk" in shop.health().reasons[0]


def test_the_directory_is_looked_at_now_and_then(collector: Collector) -> None:
    """However often a probe asks, the spool's directory is read every 5 seconds at most."""
    looks = []
    now = 1000.0

    class Disk(Store):
        is_durable = True

        def usage(self, now: float) -> dict[str, Any]:
            looks.append(now)
            return {"spool_oldest_age": 7.0}

    shop = Shop(collector)
    delivery = shop.handler._own
    delivery._store, delivery._clock = Disk(), lambda: now
    assert [delivery.health().oldest_waiting_age for _ in range(3)] == [7.0] * 3
    now += 4.9
    assert delivery.health().oldest_waiting_age == pytest.approx(11.9)
    assert len(looks) == 1
    now += 0.2
    assert delivery.health().oldest_waiting_age == 7.0
    assert len(looks) == 2


def test_a_probe_waits_for_no_lock(collector: Collector) -> None:
    """While another thread is inside a log call that the disk blocks, a probe is answered."""
    shop = Shop(collector)
    shop.sell()
    lock = shop.handler._own._parts.buffer._lock
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    found: list[Health] = []
    try:
        assert held.wait(30)
        asking = threading.Thread(target=lambda: found.append(shop.health()), daemon=True)
        asking.start()
        asking.join(30)
        assert found
    finally:
        done.set()
        holder.join()


def test_a_disabled_handler_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not unhealthy, but a probe of production can see that it sends nothing, and why."""
    health = FreshsuccessHandler(enabled=False).health()
    assert (health.state, health.enabled) == ("ok", False)
    assert health.reasons == (
        "the handler is off and accepts no events: enabled, or FSLOG_ENABLED, is no",
    )
    monkeypatch.delenv("FSLOG_AUTH_KEY", raising=False)
    monkeypatch.delenv("FSLOG_API_KEY", raising=False)
    (reason,) = FreshsuccessHandler().health().reasons
    assert "FSLOG_AUTH_KEY and FSLOG_API_KEY are not set" in reason


def test_in_a_capture(collector: Collector) -> None:
    """A capture's events arrive at once; a handler of its own says afterwards that it is off."""
    collector.always(Answer(401))
    shop = Shop(collector)
    shop.sell()
    shop.fail()
    with capture():
        assert shop.health() == Health()
        own = Shop(collector)
        assert own.health() == Health()
    assert shop.health().state == "failing"
    assert own.health().enabled is False
    assert "for a test" in own.health().reasons[0]


def test_the_worst_of_all_handlers(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fslog.health()` has the worst state, every handler's reasons, and each one's own health."""
    gc.collect()
    shops = [Shop(collector) for _ in range(3)]
    handlers = [shop.handler for shop in shops]
    monkeypatch.setattr(process, "handlers", lambda: handlers)
    answers = (("good", 200), ("bad", 503), ("worse", 400))
    for shop, (name, status) in zip(shops, answers, strict=True):
        shop.handler.name = name
        collector.always(Answer(status))
        shop.sell()
        shop.handler.flush(10.0) if status == 200 else shop.fail()
    health = fslog.health()
    assert health.handlers is not None
    states = {name: one.state for name, one in health.handlers.items()}
    assert states == {"good": "ok", "bad": "degraded", "worse": "failing"}
    assert health.state == "failing"
    assert [reason.partition(":")[0] for reason in health.reasons] == ["bad", "worse"]
    assert health.last_delivery_age is not None
    assert health.misconfigured_age is not None
    assert set(fslog.stats()) == set(states)
    decoded = json.loads(json.dumps(health.as_dict(), allow_nan=False))
    assert decoded["handlers"]["worse"]["state"] == "failing"
    assert decoded["handlers"]["good"]["reasons"] == []
    assert "handlers" not in decoded["handlers"]["good"]


def test_the_ages_of_several_handlers() -> None:
    """Of what holds now the longest counts, of what happened the latest."""
    found = Health.of_all(
        {
            "a": Health(last_delivery_age=1.0, outage_age=5.0, refused_age=None),
            "b": Health(last_delivery_age=9.0, outage_age=7.0, refused_age=3.0),
        }
    )
    assert (found.last_delivery_age, found.outage_age, found.refused_age) == (1.0, 7.0, 3.0)


def test_without_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without a handler is ok, and not enabled."""
    monkeypatch.setattr(process, "handlers", list)
    assert fslog.health() == Health(enabled=False, handlers={})


def test_a_forked_child_has_its_own(collector: Collector) -> None:
    """The parent's failure is not the child's, whose delivery is not the parent's."""
    collector.always(Answer(400))
    program = """
        import os
        from counted import *
        handler = handle(max_backoff=600, shutdown_timeout=0.1)
        say(1)
        handler.flush(5)
        assert handler.health().state == "failing"
        if child := os.fork():
            assert os.waitpid(child, 0)[1] == 0
            assert handler.health().state == "failing"
        else:
            health = handler.health()
            assert health.state == "ok", health
            assert health.misconfigured_age is health.oldest_waiting_age is None
        """
    run(program, collector.url, flags=FORKING, err=None)


def test_what_a_split_leaves_keeps_its_age() -> None:
    """The halves of a batch that was too large are as old as the batch."""
    batch = Batch([b"1\n", b"2\n"], 4, 1)
    batch.opened_at = 7.0
    batch.pack("deflate", 6)
    assert [half.opened_at for half in batch.halves("deflate", 6)] == [7.0, 7.0]


def test_the_documented_fields_are_all() -> None:
    """The guide has a row for each age."""
    text = (Path(fslog.__file__).parent / "guide" / "monitoring.md").read_text()
    for name in Health.__dataclass_fields__:
        assert f"`{name}`" in text, name
