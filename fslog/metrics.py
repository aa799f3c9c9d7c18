"""The numbers and the health of this process's handlers, for Prometheus and OpenTelemetry.

Neither is a dependency: the text is Prometheus's own format, and OpenTelemetry's meter is the
application's. The guide's topic `monitoring` lists the names.

Each handler has one label, its name. A handler with the name of an earlier one, as after a second
`dictConfig`, adds to that one's counts, so that none decreases, whether the earlier one still
exists or not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, get_args

from fslog import process
from fslog.counters import Health, HealthState, Stats
from fslog.interrupts import new_lock

__all__ = ["prometheus_text", "register_otel"]

_TYPE = "fslog.FreshsuccessHandler"
"""OpenTelemetry's `otel.component.type` of a component that has no name there."""


class _Number(NamedTuple):
    """A number of `Stats`, with its names.

    Args:
        field: of `Stats`.
        kind: `"counter"`, `"gauge"`, or `"up_down_counter"`: a gauge that may be added up.
        help: a sentence.
        otel: its name in OpenTelemetry, where several fields may be one metric.
        error: OpenTelemetry's `error.type`, if it counts what failed.
        unit: OpenTelemetry's.
    """

    field: str
    kind: str
    help: str
    otel: str
    error: str = ""
    unit: str = "{log_record}"

    @property
    def prometheus(self) -> str:
        """Prometheus's name."""
        name = re.sub(r"^bytes_(\w+)", r"\1_bytes", self.field)
        name += "_seconds" if name.endswith("_age") else ""
        return f"fslog_{name}_total" if self.kind == "counter" else f"fslog_{name}"


# OpenTelemetry's names for the SDK's own processors and exporters of log records.
_PROCESSED = "otel.sdk.processor.log.processed"
_EXPORTED = "otel.sdk.exporter.log.exported"
_INFLIGHT = "otel.sdk.exporter.log.inflight"

_NUMBERS = (
    _Number("emitted", "counter", "Records that reached the handler.", "fslog.emitted"),
    _Number("derived", "counter", "Events made from other events.", "fslog.derived"),
    _Number("skipped", "counter", "Records that are not events.", "fslog.skipped"),
    _Number("excluded", "counter", "Events that the configuration excludes.", "fslog.excluded"),
    _Number("limited", "counter", "Events beyond the configured rate.", _PROCESSED, "limited"),
    _Number("invalid", "counter", "Events that the endpoint would drop.", _PROCESSED, "invalid"),
    _Number("refused", "counter", "Events without room for them.", _PROCESSED, "queue_full"),
    _Number("accepted", "counter", "Events that were stored for delivery.", _PROCESSED),
    _Number("adopted", "counter", "Events that dead processes left.", "fslog.adopted"),
    _Number("delivered", "counter", "Events that were answered with 200.", _EXPORTED),
    _Number("abandoned", "counter", "Events that were given up.", _EXPORTED, "rejected"),
    _Number("quarantined", "counter", "Abandoned events in quarantine.", "fslog.quarantined"),
    _Number("expired", "counter", "Abandoned events that expired.", "fslog.expired"),
    _Number("pending", "up_down_counter", "Events that wait.", _INFLIGHT),
    _Number("retries", "counter", "POSTs that failed.", "fslog.retries", "", "{request}"),
    _Number("batches", "counter", "Delivered bodies.", "fslog.batches", "", "{request}"),
    _Number("merged", "counter", "Delivered events that were merged.", "fslog.merged"),
    _Number("bytes_encoded", "counter", "Size of delivered lines.", "fslog.encoded.size", "", "By"),
    _Number("bytes_sent", "counter", "Size of delivered bodies.", "fslog.sent.size", "", "By"),
    _Number("spool_segments", "gauge", "Files on disk.", "fslog.spool.segments", "", "{file}"),
    _Number("spool_bytes", "gauge", "Size of the files on disk.", "fslog.spool.size", "", "By"),
    _Number("spool_oldest_age", "gauge", "Age of the oldest.", "fslog.spool.oldest_age", "", "s"),
)

_COUNTS = [number for number in _NUMBERS if number.kind == "counter"]

_AGES = {
    "last_delivery_age": "Seconds since the last delivery.",
    "oldest_waiting_age": "Age of the oldest event that waits.",
    "outage_age": "Seconds since the endpoint became unavailable.",
    "misconfigured_age": "Seconds since the endpoint first rejected the keys.",
    "spool_failed_age": "Seconds since the spool could not be written.",
    "refused_age": "Seconds since an event was refused.",
    "abandoned_age": "Seconds since a single event was lost.",
    "invalid_age": "Seconds since an event was invalid.",
}
_HEALTH = "fslog_health"
_STATES: tuple[HealthState, ...] = get_args(HealthState)
_HEALTH_HELP = "1 for the state that the handler is in, else 0."


class _Reading(NamedTuple):
    """What the handlers of one label say at one time.

    Args:
        numbers: by the fields of `Stats`; None for an age of nothing.
        health: the worst of them.
    """

    numbers: Mapping[str, float | None]
    health: Health


_FORMER = 0
"""In place of a handler's number: those that no longer exist."""


class _Ledger:
    """The last counts of each handler of one process, so that they outlast it."""

    def __init__(self) -> None:
        self._lock = new_lock()  # a signal handler may ask, too
        self._counts: dict[str, dict[int, dict[str, int]]] = {}

    def read(self) -> dict[str, _Reading]:
        """Return what the handlers of each label say, the oldest label first."""
        found: dict[str, list[Any]] = {}
        for handler in sorted(process.handlers(), key=lambda one: int(one._number)):
            found.setdefault(_label(handler), []).append(handler)
        with self._lock:
            return {label: self._reading(label, handlers) for label, handlers in found.items()}

    def _reading(self, label: str, handlers: list[Any]) -> _Reading:
        # In this order: the counts of a handler are never less than what was read before.
        stats = {int(handler._number): handler.stats() for handler in handlers}
        healths = {str(handler._number): handler.health() for handler in handlers}
        counts = self._counts_of(label, stats)
        if handlers[0].name:  # nothing continues a number's label
            self._counts[label] = counts
        return _Reading(_numbers(counts, stats), Health.of_all(healths))

    def _counts_of(self, label: str, stats: Mapping[int, Stats]) -> dict[int, dict[str, int]]:
        before = self._counts.get(label, {})
        counts = {number: _at_least(before.get(number, {}), each) for number, each in stats.items()}
        ended = [one for n, one in before.items() if n not in counts]
        if ended:
            counts[_FORMER] = {one.field: sum(each[one.field] for each in ended) for one in _COUNTS}
        return counts


def _at_least(before: Mapping[str, int], stats: Stats) -> dict[str, int]:
    # A signal handler may have read later ones, after these and before they are kept.
    found = {one.field: int(getattr(stats, one.field)) for one in _COUNTS}
    return {field: max(count, before.get(field, 0)) for field, count in found.items()}


def _numbers(
    counts: Mapping[int, Mapping[str, int]], stats: Mapping[int, Stats]
) -> dict[str, float | None]:
    """Return the numbers of several handlers together: of a directory's the greatest."""
    numbers: dict[str, float | None] = {
        one.field: sum(each[one.field] for each in counts.values()) for one in _COUNTS
    }
    for one in _NUMBERS:
        if one not in _COUNTS:
            values = [getattr(each, one.field) for each in stats.values()]
            known = [value for value in values if value is not None]
            combine: Any = sum if one.kind == "up_down_counter" else max
            numbers[one.field] = combine(known) if known else None
    return numbers


def _label(handler: Any) -> str:
    return str(handler.name or "") or f"{type(handler).__name__}-{handler._number}"


_ledgers: dict[int, _Ledger] = {}


def _read() -> dict[str, _Reading]:
    # By process: a fork may copy a lock that another thread holds, and a child counts from zero.
    pid = os.getpid()
    ledger = _ledgers.setdefault(pid, _Ledger())
    for other in _ledgers.keys() - {pid}:
        _ledgers.pop(other, None)
    return ledger.read()


_Sample = tuple[dict[str, str], "float | None"]
"""Labels and a value; None: there is none."""


def prometheus_text() -> str:
    r"""Return the metrics of this process in Prometheus's text format, version 0.0.4.

    Its `Content-Type` is `text/plain; version=0.0.4; charset=utf-8`. It may be appended to the text
    of `prometheus_client.generate_latest`.

    >>> prometheus_text().splitlines()[1]
    '# TYPE fslog_emitted_total counter'
    """
    found = _read()
    lines: list[str] = []
    for number in _NUMBERS:
        kind = "counter" if number.kind == "counter" else "gauge"
        values = {label: one.numbers[number.field] for label, one in found.items()}
        lines += _family(number.prometheus, kind, number.help, _plain(values))
    lines += _family(_HEALTH, "gauge", _HEALTH_HELP, _states(found))
    for name, text in _AGES.items():
        values = {label: getattr(one.health, name) for label, one in found.items()}
        lines += _family(f"fslog_{name}_seconds", "gauge", text, _plain(values))
    return "".join(f"{line}\n" for line in lines)


def _plain(values: Mapping[str, float | None]) -> Iterator[_Sample]:
    for label, value in values.items():
        yield {"handler": label}, value


def _states(found: Mapping[str, _Reading]) -> Iterator[_Sample]:
    for label, one in found.items():
        for state in _STATES:
            yield {"handler": label, "state": state}, int(one.health.state == state)


def _family(name: str, kind: str, text: str, samples: Iterable[_Sample]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        if value is not None:
            pairs = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
            yield f"{name}{{{pairs}}} {value!r}"


def _escaped(label: str) -> str:
    text = label.encode("utf-8", "backslashreplace").decode()  # lone surrogates
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Meter(Protocol):
    """The part of OpenTelemetry's meter that is used."""

    def create_observable_counter(
        self, name: str, callbacks: Any, unit: str, description: str
    ) -> Any: ...

    def create_observable_up_down_counter(
        self, name: str, callbacks: Any, unit: str, description: str
    ) -> Any: ...

    def create_observable_gauge(
        self, name: str, callbacks: Any, unit: str, description: str
    ) -> Any: ...


def register_otel(meter: Meter) -> None:
    """Create the instruments of this process's handlers, existing and future ones.

    Call it once for each meter provider. In a process that forks, each child exports its own
    numbers, if the application's provider works there.

    Args:
        meter: the application's, such as `opentelemetry.metrics.get_meter("fslog")`.
    """
    shared = _Shared()
    create: dict[str, Callable[..., Any]] = {
        "counter": meter.create_observable_counter,
        "up_down_counter": meter.create_observable_up_down_counter,
        "gauge": meter.create_observable_gauge,
    }
    for name in dict.fromkeys(number.otel for number in _NUMBERS):
        numbers = [number for number in _NUMBERS if number.otel == name]
        first = numbers[0]
        text = " ".join(number.help for number in numbers)
        observe = partial(_observe, shared, name, partial(_observed, numbers))
        create[first.kind](name, [observe], first.unit, text)
    observe = partial(_observe, shared, _HEALTH, _observed_state)
    create["gauge"]("fslog.health", [observe], "1", _HEALTH_HELP)
    for name, text in _AGES.items():
        observe = partial(_observe, shared, name, partial(_observed_age, name))
        create["gauge"](f"fslog.{name}", [observe], "s", text)


class _Shared:
    """One reading for all callbacks of one collection, since each reading asks every handler."""

    def __init__(self) -> None:
        self._found: dict[str, _Reading] = {}
        self._served: set[tuple[int, str]] | None = None

    def reading(self, instrument: str) -> dict[str, _Reading]:
        """Return the reading for an instrument: a new one if it has had the last one already."""
        asks = (os.getpid(), instrument)
        served = self._served
        if served is None or asks in served or any(pid != asks[0] for pid, _ in served):
            self._found, served = _read(), set()
            self._served = served
        served.add(asks)
        return self._found


_Observed = tuple[dict[str, str], "float | None"]


def _observe(
    shared: _Shared,
    instrument: str,
    observed: Callable[[_Reading], Iterable[_Observed]],
    options: object,
) -> list[Any]:
    """Return the observations of one instrument, as the SDK's callbacks do."""
    from opentelemetry.metrics import Observation

    return [
        Observation(value, {"otel.component.name": label, "otel.component.type": _TYPE, **more})
        for label, one in shared.reading(instrument).items()
        for more, value in observed(one)
        if value is not None
    ]


def _observed(numbers: Sequence[_Number], one: _Reading) -> Iterator[_Observed]:
    for number in numbers:
        yield {"error.type": number.error} if number.error else {}, one.numbers[number.field]


def _observed_state(one: _Reading) -> Iterator[_Observed]:
    for state in _STATES:
        yield {"fslog.health.state": state}, int(one.health.state == state)


def _observed_age(name: str, one: _Reading) -> Iterator[_Observed]:
    yield {}, getattr(one.health, name)
