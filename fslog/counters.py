"""Numbers that account for every event, a judgement on them, and a counter without a lock."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

HealthState = Literal["ok", "degraded", "failing"]
"""From the best to the worst."""


@dataclass(frozen=True)
class Stats:
    """The numbers of a handler in this process, since it started or was forked.

    Two balances hold exactly while no log call is in progress:
    `emitted + derived == skipped + excluded + limited + invalid + refused + accepted` and
    `accepted + adopted == delivered + pending + abandoned`.

    Args:
        emitted: records that reached the handler, without those of internal work.
        derived: events that fslog made from others, without a record of their own.
        skipped: records that are not events.
        excluded: events of accounts or users that the configuration excludes.
        limited: events beyond the configured rate.
        invalid: events that the endpoint would drop without an error.
        refused: events for which there was no room.
        accepted: events that were stored for delivery.
        adopted: events of orphaned segments, left by dead processes; 0 without a spool.
        delivered: events of bodies that were answered with 200.
        pending: events that are stored, or in flight, now.
        abandoned: events that this process will not deliver: lost at its end, answered singly with
            413, expired, forgotten, or not to be sent because their lines are garbled.
        expired: those of them that waited in the spool for longer than `spool_max_age`.
        quarantined: those of them that the spool's quarantine keeps.
        retries: POSTs that failed and were, or will be, repeated.
        batches: delivered bodies.
        merged: delivered events that had no line of their own, because `aggregate` merged them.
        bytes_encoded: size of the delivered lines before compression.
        bytes_sent: size of the delivered bodies.
        last_error: description of the latest failure, without the keys; None if there was none.
        spool_segments: segments on disk; 0 without a spool.
        spool_bytes: their size; 0 without a spool.
        spool_oldest_age: seconds since the oldest was written; None if there is none.
    """

    emitted: int = 0
    derived: int = 0
    skipped: int = 0
    excluded: int = 0
    limited: int = 0
    invalid: int = 0
    refused: int = 0
    accepted: int = 0
    adopted: int = 0
    delivered: int = 0
    pending: int = 0
    abandoned: int = 0
    expired: int = 0
    quarantined: int = 0
    retries: int = 0
    batches: int = 0
    merged: int = 0
    bytes_encoded: int = 0
    bytes_sent: int = 0
    last_error: str | None = None
    spool_segments: int = 0
    spool_bytes: int = 0
    spool_oldest_age: float | None = None


@dataclass(frozen=True)
class Health:
    """Whether events arrive, and if not, why, and since when.

    Ages are seconds; None: it never happened, or does not hold now. An age of something that
    happens once, such as `refused_age`, is that of the last time.

    Args:
        state: `"ok"`; `"degraded"`: events wait and are retried, or some were invalid lately;
            `"failing"`: events are being lost, or wait until somebody corrects the configuration.
        reasons: a sentence for each reason, with what to do; free of the keys.
        enabled: whether the handler accepts events; if not, it is `"ok"`, and a reason says why.
        last_delivery_age: since a body was answered with 200.
        oldest_waiting_age: since the oldest event that waits; of all processes, with a spool.
        outage_age: since the first failed POST after the last delivery.
        misconfigured_age: since the first rejection of the keys after the last delivery.
        spool_failed_age: since the spool could not be written; events are in memory since then.
        refused_age: since an event was refused, because there was no room.
        abandoned_age: since an event was lost, because the endpoint found it too large.
        invalid_age: since an event was invalid.
        handlers: those of each handler by name, as in `fslog.stats()`; None for a handler's own.
    """

    state: HealthState = "ok"
    reasons: tuple[str, ...] = ()
    enabled: bool = True
    last_delivery_age: float | None = None
    oldest_waiting_age: float | None = None
    outage_age: float | None = None
    misconfigured_age: float | None = None
    spool_failed_age: float | None = None
    refused_age: float | None = None
    abandoned_age: float | None = None
    invalid_age: float | None = None
    handlers: Mapping[str, Health] | None = None

    @classmethod
    def of_all(cls, found: Mapping[str, Health]) -> Health:
        """Return the worst state of several handlers, with the reasons of each.

        Of an age of a last time, the smallest counts; of an age of what holds now, the greatest.
        """
        states: tuple[HealthState, ...] = get_args(HealthState)
        ages: dict[str, float] = {}
        for name in (field.name for field in fields(cls) if field.name.endswith("_age")):
            known = [age for one in found.values() if (age := getattr(one, name)) is not None]
            if known:
                ages[name] = min(known) if name in _LAST_TIMES else max(known)
        return cls(
            state=max((one.state for one in found.values()), key=states.index, default="ok"),
            reasons=tuple(f"{name}: {why}" for name in found for why in found[name].reasons),
            enabled=any(one.enabled for one in found.values()),
            handlers=dict(found),
            **ages,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values, for a probe's answer.

        >>> Health("degraded", ("it rains",)).as_dict()["reasons"]
        ['it rains']
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in values.items():
            if isinstance(value, float):
                values[name] = round(value, 3)
        values["reasons"] = list(self.reasons)
        del values["handlers"]
        if self.handlers is not None:
            values["handlers"] = {name: one.as_dict() for name, one in self.handlers.items()}
        return values


_LAST_TIMES = ("last_delivery_age", "refused_age", "abandoned_age", "invalid_age")


class Counter:
    """Count from any thread, signal handler or finalizer, exactly and without a lock.

    `add` is one call into C (`itertools.count.__next__`), which the interpreter cannot interrupt;
    `n += 1` is four instructions. The value is parsed from the `repr`, also one call: nothing else
    reads a count without changing it.

    >>> counter = Counter()
    >>> counter.add(), counter.add(), counter.value(), counter.value()
    (0, 1, 2, 2)
    """

    __slots__ = ("_count", "add")

    def __init__(self) -> None:
        self._count = itertools.count()
        self.add: Callable[[], int] = self._count.__next__

    def value(self) -> int:
        """Return how often `add` was called."""
        return int(repr(self._count)[len("count(") : -1])


class RecordCounters:
    """Count what became of each record that is not accepted, and the events without a record."""

    def __init__(self) -> None:
        self.skipped: Counter = Counter()
        self.excluded: Counter = Counter()
        self.limited: Counter = Counter()
        self.invalid: Counter = Counter()
        self.derived: Counter = Counter()

    def numbers(self, *, refused: int, accepted: int) -> dict[str, Any]:
        """Return these counts by their names in `Stats`, with the balance of records."""
        counts = {
            "skipped": self.skipped.value(),
            "excluded": self.excluded.value(),
            "limited": self.limited.value(),
            "invalid": self.invalid.value(),
            "refused": refused,
        }
        derived = self.derived.value()
        emitted = sum(counts.values()) + accepted - derived
        return {"emitted": emitted, "derived": derived, **counts}
