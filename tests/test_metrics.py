"""Metrics, read by the real parser of Prometheus and the real SDK of OpenTelemetry."""

from __future__ import annotations

import gc
import logging
import logging.config
import re
import threading
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import fslog
from fslog import FreshsuccessHandler, Health, Stats, process
from fslog.collector import Answer, Collector
from fslog.metrics import _NUMBERS, prometheus_text, register_otel
from processes import FORKING, KEYS, run

otel_metrics = pytest.importorskip("opentelemetry.semconv._incubating.metrics.otel_metrics")
prometheus_client = pytest.importorskip("prometheus_client")
sdk = pytest.importorskip("opentelemetry.sdk.metrics")
export = pytest.importorskip("opentelemetry.sdk.metrics.export")
parser = pytest.importorskip("prometheus_client.parser")

EVENT = {"accountId": "acme", "userId": "ann", "action": "pageView", "page": "start"}
GUIDE = Path(fslog.__file__).parent / "guide" / "monitoring.md"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide the handlers that other tests have left."""
    others = set(process.handlers())
    alive = process.handlers
    monkeypatch.setattr(process, "handlers", lambda: [one for one in alive() if one not in others])
    monkeypatch.setattr("fslog.metrics._ledgers", {})
    yield
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
    logging.getLogger("shop").handlers.clear()


def make(name: str, collector: Collector | None = None, **arguments: Any) -> FreshsuccessHandler:
    """Create a handler; without a collector it is disabled."""
    given: dict[str, Any] = {"enabled": False}
    if collector is not None:
        given = {"auth_key": KEYS[0], "api_key": KEYS[1], "endpoint": collector.url}
    handler = FreshsuccessHandler(**{**given, **arguments})
    handler.name = name
    return handler


def log_to(handler: FreshsuccessHandler, *events: dict[str, Any]) -> None:
    """Log events to a handler."""
    log = logging.Logger("shop")
    log.addHandler(handler)
    for event in events:
        log.info("x", extra=event)


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(text: str | None = None) -> Samples:
    """Return the samples that Prometheus's parser finds, by name and labels."""
    found: Samples = {}
    for family in parser.text_string_to_metric_families(
        prometheus_text() if text is None else text
    ):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float | None:
    """Return the value of a sample; None if there is none."""
    return samples.get((name, frozenset(labels.items())))


class Exported:
    """What an SDK's reader collects from the instruments."""

    def __init__(self) -> None:
        self.reader = export.InMemoryMetricReader()
        self.provider = sdk.MeterProvider([self.reader])
        register_otel(self.provider.get_meter("fslog"))

    def collect(self) -> dict[str, Any]:
        """Collect, and return the metrics by name."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        (resource,) = data.resource_metrics
        (scope,) = resource.scope_metrics
        found = {metric.name: metric for metric in scope.metrics}
        assert len(found) == len(scope.metrics)
        return found

    def points(self) -> Samples:
        """Collect, and return the values by name and attributes, without the type."""
        found: Samples = {}
        for name, metric in self.collect().items():
            for point in metric.data.data_points:
                assert isinstance(point, export.NumberDataPoint)
                attributes = {str(key): str(one) for key, one in (point.attributes or {}).items()}
                assert attributes.pop("otel.component.type") == "fslog.FreshsuccessHandler"
                found[name, frozenset(attributes.items())] = point.value
        return found


@pytest.fixture
def exported() -> Iterator[Exported]:
    """Register with a meter of the SDK."""
    made = Exported()
    yield made
    made.provider.shutdown()


def point(samples: Samples, name: str, handler: str, **more: str) -> float | None:
    """Return the value of one time series of OpenTelemetry."""
    attributes = {"otel.component.name": handler}
    attributes |= {key.replace("_", "."): one for key, one in more.items()}
    return samples.get((name, frozenset(attributes.items())))


def test_every_number_of_stats_is_a_metric() -> None:
    """What `stats` counts, both see: each field but `last_error`, a text; no two share a name."""
    numbers = {field.name for field in fields(Stats)} - {"last_error"}
    assert {number.field for number in _NUMBERS} == numbers
    assert len({number.prometheus for number in _NUMBERS}) == len(numbers)
    assert len({(number.otel, number.error) for number in _NUMBERS}) == len(numbers)


def test_prometheus_reads_the_numbers() -> None:
    """The parser finds each number under the handler's name, with type and help; the sums agree."""
    with Collector() as collector:
        usage = make("usage", collector, flush_interval=600)
        log_to(usage, EVENT, EVENT, {**EVENT, "userId": ""}, {})
        assert usage.flush(10)
        stats = usage.stats()
        assert (stats.delivered, stats.invalid, stats.skipped) == (2, 1, 1)
        families = {
            one.name: one for one in parser.text_string_to_metric_families(prometheus_text())
        }
        samples = scraped()
        for number in _NUMBERS:
            if number.field != "spool_oldest_age":
                found = value(samples, number.prometheus, handler="usage")
                assert found == getattr(stats, number.field), number
        family = families["fslog_delivered"]
        assert family.type == "counter"
        assert family.documentation == "Events that were answered with 200."
        assert families["fslog_pending"].type == "gauge"
        assert all(one.documentation for one in families.values())
        usage.close()


def test_prometheus_reads_the_health() -> None:
    """One state of the three is 1; an age is there if there is one, and never as a NaN."""
    with Collector() as collector:
        collector.always(Answer(400))
        usage = make("usage", collector, shutdown_timeout=0.1)
        log_to(usage, EVENT)
        assert not usage.flush(5)
        samples = scraped()
        states = {
            state: value(samples, "fslog_health", handler="usage", state=state)
            for state in ("ok", "degraded", "failing")
        }
        assert states == {"ok": 0, "degraded": 0, "failing": 1}
        age = value(samples, "fslog_misconfigured_age_seconds", handler="usage")
        assert age is not None
        assert 0 < age < 60
        assert value(samples, "fslog_last_delivery_age_seconds", handler="usage") is None
        collector.always(Answer(200))
        assert usage.flush(10)
        usage.close()


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "zoë", 'a\\"\n', "a\\n", "{}", "a,b=c"])
def test_a_label_may_be_any_text(name: str) -> None:
    """Quotes, backslashes and newlines of a handler's name are escaped as the format says."""
    handler = make(name)
    assert value(scraped(), "fslog_emitted_total", handler=name) == 0.0
    assert handler.name == name


def test_a_label_is_utf_8() -> None:
    """A lone surrogate, which UTF-8 cannot have, does not break the page."""
    handler = make("a\udc80b")
    assert prometheus_text().encode().isascii()
    assert handler.name == "a\udc80b"


def test_the_text_joins_that_of_prometheus_client() -> None:
    """An application appends it to its own metrics, on one page."""
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.Counter("orders", "Orders.", registry=registry).inc(3)
    handler = make("usage")
    samples = scraped(prometheus_client.generate_latest(registry).decode() + prometheus_text())
    assert value(samples, "orders_total") == 3.0
    assert value(samples, "fslog_emitted_total", handler="usage") == 0.0
    assert handler.name == "usage"


def test_without_handlers(exported: Exported) -> None:
    """A process without a handler has no samples, but a valid page."""
    assert scraped() == {}
    assert prometheus_text().count("# TYPE") == len(_NUMBERS) + 9
    assert exported.points() == {}


def test_opentelemetry_collects_the_numbers(exported: Exported) -> None:
    """The SDK has each number, under the names of the conventions where those have one."""
    with Collector() as collector:
        usage = make("usage", collector, flush_interval=600)
        log_to(usage, EVENT, EVENT, {**EVENT, "userId": ""}, {})
        assert usage.flush(10)
        stats = usage.stats()
        points = exported.points()
        for number in _NUMBERS:
            if number.field != "spool_oldest_age":
                more = {"error_type": number.error} if number.error else {}
                found = point(points, number.otel, "usage", **more)
                assert found == getattr(stats, number.field), number
        assert point(points, "otel.sdk.exporter.log.exported", "usage") == 2
        assert point(points, "otel.sdk.processor.log.processed", "usage", error_type="invalid") == 1
        assert point(points, "fslog.health", "usage", fslog_health_state="degraded") == 1
        assert point(points, "fslog.last_delivery_age", "usage") is not None
        assert point(points, "fslog.outage_age", "usage") is None
        usage.close()


def test_names_kinds_and_units_are_those_of_the_conventions(exported: Exported) -> None:
    """Names, units, and what may be added up are as the semantic conventions define them."""
    handler = make("usage")
    found = exported.collect()
    for metric in (
        otel_metrics.OTEL_SDK_EXPORTER_LOG_EXPORTED,
        otel_metrics.OTEL_SDK_EXPORTER_LOG_INFLIGHT,
        otel_metrics.OTEL_SDK_PROCESSOR_LOG_PROCESSED,
    ):
        assert found[metric].unit == "{log_record}"
        data = found[metric].data
        assert isinstance(data, export.Sum)
        assert data.is_monotonic is (metric != otel_metrics.OTEL_SDK_EXPORTER_LOG_INFLIGHT)
    assert {name for name in found if name.startswith("otel.")} < {
        one for one in vars(otel_metrics).values() if isinstance(one, str)
    }
    assert all(metric.description and metric.unit for metric in found.values())
    assert handler.name == "usage"


def test_each_collection_asks_each_handler_once(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All instruments of a collection share one reading, and the next collection has a new one."""
    handler = make("usage")
    asked = []
    real = handler.stats
    monkeypatch.setattr(handler, "stats", lambda: asked.append(1) or real())
    exported.points()
    assert len(asked) == 1
    exported.points()
    assert len(asked) == 2


CONFIGURATION = {"class": "fslog.FreshsuccessHandler", "flush_interval": 600}


def configure(collector: Collector) -> FreshsuccessHandler:
    """Configure the logger `shop`, and return its handler."""
    keys = {"auth_key": KEYS[0], "api_key": KEYS[1], "endpoint": collector.url}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"usage": {**CONFIGURATION, **keys}},
            "loggers": {"shop": {"handlers": ["usage"], "level": "INFO"}},
        }
    )
    (handler,) = logging.getLogger("shop").handlers
    assert isinstance(handler, FreshsuccessHandler)
    return handler


def test_a_second_dictconfig_decreases_no_counter(exported: Exported) -> None:
    """A handler of the same name continues the counts of the one that it replaces."""
    with Collector() as collector:
        for turn in range(1, 4):
            handler = configure(collector)
            logging.getLogger("shop").info("x", extra=EVENT)
            assert handler.flush(10)
            assert handler.stats().delivered == 1
            assert value(scraped(), "fslog_delivered_total", handler="usage") == turn
            assert point(exported.points(), "otel.sdk.exporter.log.exported", "usage") == turn
            assert value(scraped(), "fslog_pending", handler="usage") == 0
            del handler
        configure(collector).close()


def test_each_handler_has_a_label_and_those_of_one_name_share_it() -> None:
    """Without a name a handler's number is its label; several with one name are added up."""
    with Collector() as collector:
        first, second = make("usage", collector), make("usage", collector)
        unnamed = FreshsuccessHandler(enabled=False)
        log_to(first, EVENT)
        log_to(second, EVENT, EVENT)
        assert fslog.flush(10)
        samples = scraped()
        other = f"FreshsuccessHandler-{unnamed._number}"
        assert {str(dict(key[1])["handler"]) for key in samples} == {"usage", other}
        assert value(samples, "fslog_delivered_total", handler="usage") == 3
        assert value(samples, "fslog_delivered_total", handler=other) == 0
        second.close()
        del second
        gc.collect()
        assert value(scraped(), "fslog_delivered_total", handler="usage") == 3
        first.close()


def test_handlers_that_no_longer_exist_need_no_memory() -> None:
    """A process that creates handlers without end keeps one set of counts for each name."""
    import fslog.metrics

    for _ in range(3):
        made = [FreshsuccessHandler(enabled=False), make("usage")]
        scraped()
        del made
        gc.collect()
    (ledger,) = fslog.metrics._ledgers.values()
    assert {name: len(counts) for name, counts in ledger._counts.items()} == {"usage": 2}


def test_threads_scrape_at_the_same_time() -> None:
    """Scrapes of several threads agree, while a handler is replaced."""
    keep = make("usage")
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(30):
                assert value(scraped(), "fslog_emitted_total", handler="usage") == 0.0
                FreshsuccessHandler(enabled=False)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert keep.name == "usage"


def test_a_forked_child_counts_from_zero() -> None:
    """A child's metrics are its own, even if its parent was being scraped at the fork."""
    program = """
        import os
        from fslog import metrics
        from counted import *
        handler = handle(flush_interval=600)
        handler.name = "usage"
        for number in range(3):
            say(number)
        line = 'fslog_accepted_total{handler="usage"} '
        assert f"{line}3" in metrics.prometheus_text()
        (ledger,) = metrics._ledgers.values()
        with ledger._lock:  # as another thread would hold it
            child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0
            assert f"{line}3" in metrics.prometheus_text()
        else:
            assert f"{line}0" in metrics.prometheus_text()
            say(3)
            assert f"{line}1" in metrics.prometheus_text()
        """
    with Collector() as collector:
        run(program, collector.url, flags=FORKING)


def test_a_signal_handler_may_ask_too() -> None:
    """Whatever it interrupts, of the same function too, it gets the metrics."""
    program = """
        import signal
        from fslog import metrics
        from counted import *
        handler = handle(flush_interval=600)
        say(0)
        seen = []
        def ask(number, frame):
            seen.append("fslog_accepted_total" in metrics.prometheus_text())
        signal.signal(signal.SIGALRM, ask)
        for number in range(50):
            signal.setitimer(signal.ITIMER_REAL, 0.001)
            while len(seen) == number:
                metrics.prometheus_text()
        assert all(seen)
        """
    with Collector() as collector:
        run(program, collector.url)


def test_no_count_is_less_than_one_that_was_read_in_between(keys: None) -> None:
    """If a signal handler asks while metrics are read, its counts are later; both show them."""
    line, seen = 'fslog_skipped_total{handler="usage"} ', []

    class Interrupted(FreshsuccessHandler):
        def health(self) -> Health:
            if not seen:
                seen.append("")
                self.handle(logging.makeLogRecord({"msg": "no event"}))
                seen.append(prometheus_text())
            return super().health()

    handler = Interrupted()
    handler.name = "usage"
    assert f"{line}1" in prometheus_text()
    assert f"{line}1" in seen[1]
    handler.close()


def test_the_guide_lists_every_name() -> None:
    """The table of the guide has the names of both, field by field."""
    text = GUIDE.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text.partition("## Metrics")[2], re.M))
    for number in _NUMBERS:
        row = rows[number.field]
        assert f"`{number.prometheus}`" in row, number
        assert f"`{number.otel}`" in row, number
        assert (f"`{number.error}`" in row) is bool(number.error), number
    ages = {name for name in Health.__dataclass_fields__ if name.endswith("_age")}
    for name in ages:
        assert f"`fslog_{name}_seconds`" in rows[name]
        assert f"`fslog.{name}`" in rows[name]
