"""The judgement on a delivery: which state its signs mean, and what a person should do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

from fslog.counters import Health, HealthState

RECENT_SECONDS = 300.0
"""How long an event that was lost counts: longer than any usual interval between two checks."""


class Ages(TypedDict):
    """The ages of `Health`."""

    last_delivery_age: float | None
    oldest_waiting_age: float | None
    outage_age: float | None
    misconfigured_age: float | None
    spool_failed_age: float | None
    refused_age: float | None
    abandoned_age: float | None
    invalid_age: float | None


def health_of(
    ages: Ages,
    *,
    host: str,
    bound: tuple[str, int],
    min_free: str,
    was_low: bool,
    last_error: str,
    store_error: str,
    is_durable: bool,
) -> Health:
    """Return the health that belongs to some ages.

    The reasons contain no numbers that change, so that a monitor can compare them.

    Args:
        ages: of the delivery.
        host: of the endpoint.
        bound: the name and value of the argument that bounds what is held.
        min_free: how much of the spool's file system should be free; empty if it is.
        was_low: whether that was so when an event was refused the last time.
        last_error: of a POST, without the keys; empty if there was none.
        store_error: why the spool could not be written.
        is_durable: whether what waits survives the process.
    """
    failing = list(_failing(ages, host, bound, min_free, was_low, last_error, store_error))
    degraded = list(_degraded(ages, host, last_error, is_durable))
    state: HealthState = "failing" if failing else "degraded" if degraded else "ok"
    return Health(state, (*failing, *degraded), **ages)


def _failing(
    ages: Ages,
    host: str,
    bound: tuple[str, int],
    min_free: str,
    was_low: bool,
    last_error: str,
    store_error: str,
) -> Iterator[str]:
    if ages["misconfigured_age"] is not None:
        yield (
            f"{host} rejects the events: {last_error}. They are kept until auth_key, api_key and "
            "datacenter (or endpoint) belong together: correct them"
        )
    if ages["spool_failed_age"] is not None:
        yield (
            f"the spool cannot be written: {store_error}. New events are in memory, and are lost "
            "if the process ends: make room on the disk, or correct its permissions"
        )
    if min_free:
        yield (
            f"less than spool_min_free ({min_free}) of the spool's file system is free, and new "
            "events are refused: make room on the disk, or choose another spool_min_free"
        )
    elif _is_recent(ages["refused_age"]) and was_low:
        yield "events were refused, because the spool's disk was almost full: make room on it"
    elif _is_recent(ages["refused_age"]):
        name, limit_bytes = bound
        yield f"events were refused, because {name} ({limit_bytes}) was in use: increase {name}"
    if _is_recent(ages["abandoned_age"]):
        yield f"{host} rejected a single event as too large, and it is lost: log less in one event"


def _degraded(ages: Ages, host: str, last_error: str, is_durable: bool) -> Iterator[str]:
    # The rejected keys are the outage then, and `last_error` is about them.
    if ages["outage_age"] is not None and ages["misconfigured_age"] is None:
        kept = "on disk" if is_durable else "in memory, until the process ends"
        yield (
            f"delivery to {host} fails: {last_error}. Events wait {kept}, and are retried: nothing "
            "is to be done here, unless `fslog ping` fails from this machine only"
        )
    if _is_recent(ages["invalid_age"]):
        yield (
            "an event was invalid and is not sent: the logger `fslog` names its log call, "
            "on_problem gets each one"
        )


def _is_recent(age: float | None) -> bool:
    return age is not None and age < RECENT_SECONDS
