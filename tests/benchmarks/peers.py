"""The newest release of each peer from PyPI, configured for speed as its documentation advises.

If the peer has the option, it gets batches larger than the default, compression and a persistent
connection. The queues are large enough for every event: with their default sizes they drop events
of a burst, and a call that drops its event is fast.
"""

from __future__ import annotations

import queue
import warnings
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tests.benchmarks.calls import Made, explicit

ROOM = 4_000_000
"""Maximum number of events in a queue."""


def posthog(url: str) -> Made:
    from posthog import Posthog

    client = Posthog(
        "key", host=url, flush_at=1_000, flush_interval=0.5, gzip=True, max_queue_size=ROOM
    )

    def call(event: dict[str, Any]) -> None:
        client.capture("feature", distinct_id=event["userId"], properties=event)

    return call, client.shutdown


def segment(url: str) -> Made:
    from segment.analytics.client import Client

    client = Client("key", host=url, upload_size=1_000, gzip=True, max_queue_size=ROOM)

    def call(event: dict[str, Any]) -> None:
        client.track(event["userId"], "feature", event)

    return call, client.shutdown


def snowplow(url: str) -> Made:
    import requests
    from snowplow_tracker import AsyncEmitter, SelfDescribing, SelfDescribingJson, Tracker

    emitter = AsyncEmitter(
        url, batch_size=1_000, buffer_capacity=ROOM, session=requests.Session(), request_timeout=60
    )
    tracker = Tracker("bench", emitter, encode_base64=False)
    schema = "iglu:com.example/feature/jsonschema/1-0-0"

    def call(event: dict[str, Any]) -> None:
        tracker.track(SelfDescribing(SelfDescribingJson(schema, event)))

    return call, tracker.flush


def amplitude(url: str) -> Made:
    from amplitude import Amplitude, BaseEvent, Config
    from amplitude.constants import EventLogLevel

    config = Config(
        flush_queue_size=1_000,
        flush_interval_millis=500,
        server_url=f"{url}/2/httpapi",
        event_log_level=EventLogLevel.NONE,
    )
    client = Amplitude("key", config)

    def call(event: dict[str, Any]) -> None:
        client.track(BaseEvent("feature", user_id=event["userId"], event_properties=event))

    return call, client.shutdown


def opentelemetry(url: str) -> Made:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    exporter = OTLPLogExporter(f"{url}/v1/logs", compression=Compression.Gzip, timeout=60)
    processor = BatchLogRecordProcessor(
        exporter, schedule_delay_millis=500, max_queue_size=ROOM, max_export_batch_size=1_000
    )
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        handler = LoggingHandler(logger_provider=provider)

    def finish() -> None:
        provider.force_flush(120_000)
        provider.shutdown()

    return explicit(handler), finish


def logtail(url: str) -> Made:
    from logtail import LogtailHandler

    handler = LogtailHandler("token", host=url, flush_interval=0.5, drop_extra_events=False)
    handler.pipe = queue.Queue()  # the default one has room for one batch, then blocks or drops
    handler.flush_timeout = 120
    return explicit(handler), handler.flush


def logstash(url: str) -> Made:
    from logstash_async.constants import constants
    from logstash_async.handler import AsynchronousLogstashHandler

    constants.QUEUE_CHECK_INTERVAL = 0.1
    address = urlsplit(url)
    handler = AsynchronousLogstashHandler(
        address.hostname,
        address.port,
        database_path=None,
        transport="logstash_async.transport.HttpTransport",
        ssl_enable=False,
    )
    return explicit(handler), handler.close


ALL: list[tuple[str, Callable[[str], Made], str, tuple[str, ...], str]] = [
    ("posthog", posthog, "properties", ("posthog",), "batches of 1,000, gzip"),
    ("segment", segment, "properties", ("segment-analytics-python",), "batches of 1,000, gzip"),
    ("snowplow", snowplow, "properties", ("snowplow-tracker",), "batches of 1,000, one session"),
    ("amplitude", amplitude, "properties", ("amplitude-analytics",), "batches of 1,000"),
    (
        "opentelemetry",
        opentelemetry,
        "extra",
        ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"),
        "OTLP/HTTP logs, batches of 1,000, gzip",
    ),
    ("logtail", logtail, "extra", ("logtail-python",), "unbounded queue"),
    (
        "logstash",
        logstash,
        "extra",
        ("python-logstash-async",),
        "HTTP, in memory, queue checked every 0.1 s",
    ),
]
"""Name, `make`, kind of items, packages, note on the settings."""
