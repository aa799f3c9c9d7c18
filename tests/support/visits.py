"""Synthetic users whose time in the product is known: what they did, and the requests of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fslog.mapping.activity import Activity
from fslog.mapping.sessions import by_window

Event = dict[str, Any]

MODULES = ("home", "reports", "editor", "settings")
THINKING_SECONDS = 25.0
"""The mean time between two requests of a user at work."""

STAY_SECONDS = 360.0
"""The mean time in a module."""

START_MS = 1_760_000_000_000


@dataclass
class Day:
    """A day of some users: the events of their requests by time, and the true milliseconds."""

    events: list[Event] = field(default_factory=list)
    session_ms: float = 0.0
    module_ms: Counter[str] = field(default_factory=Counter)


def day(seed: int, users: int = 60) -> Day:
    """Return a day on which each user comes one to three times.

    At each visit they go through some modules, with a request when they enter one and now and then
    while they are in it. Between two modules they sometimes leave the desk, for longer than counts.
    """
    chance, found = random.Random(seed), Day()
    for number in range(users):
        at = START_MS + chance.uniform(0, 4 * 3_600_000)
        for _ in range(chance.randint(1, 3)):
            at = _visit(chance, found, f"user{number}", at)
            at += chance.uniform(1.0, 4.0) * 3_600_000
    found.events.sort(key=lambda event: event["createdAt"])
    return found


def _visit(chance: random.Random, found: Day, user: str, at: float) -> float:
    module = ""
    for _ in range(chance.randint(3, 12)):
        module = chance.choice([one for one in MODULES if one != module])
        stay_ms = (30.0 + chance.expovariate(1 / (STAY_SECONDS - 30.0))) * 1000
        found.session_ms += stay_ms
        found.module_ms[module] += stay_ms
        end = at + stay_ms
        while at < end:
            found.events.append(_event(user, module, at))
            at += 200.0 + chance.expovariate(1 / THINKING_SECONDS) * 1000
        at = end + (chance.uniform(6, 20) * 60_000 if chance.random() < 0.1 else 0.0)
    return at


def _event(user: str, module: str, at: float) -> Event:
    created = int(at)
    return {
        "accountId": "acme",
        "userId": user,
        "sessionId": by_window("acme", user, created),
        "createdAt": created,
        "action": "feature",
        "module": module,
        "feature": "request",
    }


def derived(
    events: Iterable[Event], processes: int, process_of: Callable[[int, Event], int]
) -> list[list[Event]]:
    """Return what each of several processes derives from the requests that it serves."""
    found: list[list[Event]] = [[] for _ in range(processes)]
    activities = [Activity(each.append) for each in found]
    for number, event in enumerate(events):
        activities[process_of(number, event)].observe(event, event["createdAt"])
    for activity in activities:
        activity.finish()
    return found


def _syncs(process: Iterable[Event]) -> Iterator[tuple[tuple[str, str], int, int]]:
    for event in process:
        if event["action"] == "sessionSync":
            key = event["userId"], event["sessionId"]
            yield key, event["createdAt"], event["activeDuration"]


def session_parts(found: list[list[Event]]) -> dict[tuple[str, str], dict[int, int]]:
    """Return by user and session the last `activeDuration` of each process."""
    parts: dict[tuple[str, str], dict[int, int]] = {}
    for number, process in enumerate(found):
        for key, _, active_ms in _syncs(process):
            parts.setdefault(key, {})[number] = active_ms
    return parts


def added(found: list[list[Event]]) -> int:
    """Return the session time if the processes' parts of a session are added."""
    return sum(sum(parts.values()) for parts in session_parts(found).values())


def greatest(found: list[list[Event]]) -> int:
    """Return the session time if the greatest part of each session counts."""
    return sum(max(parts.values()) for parts in session_parts(found).values())


def newest(found: list[list[Event]]) -> int:
    """Return the session time if the newest part of each session counts."""
    last: dict[tuple[str, str], tuple[int, int]] = {}
    for process in found:
        for key, at, active_ms in _syncs(process):
            if at >= last.get(key, (0, 0))[0]:
                last[key] = at, active_ms
    return sum(active_ms for _, active_ms in last.values())


def in_modules(found: list[list[Event]]) -> Mapping[str, int]:
    """Return the time in each module."""
    times: Counter[str] = Counter()
    for process in found:
        for event in process:
            if event["action"] == "moduleEnd":
                times[event["module"]] += event["timeSpent"]
    return times


def relayed(found: Day, processes: int, seconds: float) -> list[list[Event]]:
    """Return what one process derives that gets the events of several, each one's in batches."""
    batches: list[tuple[float, int, list[Event]]] = []
    for number in range(processes):
        begun_ms, batch = 0.0, list[Event]()
        for event in found.events[number::processes]:
            if not batch or event["createdAt"] > begun_ms + seconds * 1000:
                begun_ms, batch = event["createdAt"], []
                batches.append((begun_ms + seconds * 1000, number, batch))
            batch.append(event)
    derived_events: list[Event] = []
    activity = Activity(derived_events.append)
    for came_ms, _, batch in sorted(batches, key=lambda one: one[:2]):
        for event in batch:
            activity.observe(event, came_ms)
    activity.finish()
    return [derived_events]
