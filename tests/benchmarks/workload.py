"""The events that all contenders log: one feature, many users; created before the measure.

An item is the argument of one call. Its kind is the form in which a contender expects the event.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

ACCOUNTS, USERS, FEATURES = 1_000, 10_000, 50
MARK = b"core-7f3a91"
"""The product of every event. Each contender sends it once per event, so the sink counts it."""

MESSAGE = "exported %s rows for %s of %s"
OTHER_MESSAGE = "rendered %s rows for %s of %s"


def properties() -> list[dict[str, Any]]:
    """Return the events of all users in a fixed order, without the time, which each call sets."""
    fixed = random.Random(4)
    return [
        {
            "accountId": f"account-{user % ACCOUNTS:04d}",
            "userId": f"user-{user:05d}",
            "action": "feature",
            "sessionId": f"{fixed.getrandbits(128):032x}",
            "module": f"module-{user % FEATURES % 7}",
            "feature": f"feature-{user % FEATURES:02d}",
            "total": 1 + user % 9,
            "product": MARK.decode(),
        }
        for user in fixed.sample(range(USERS), USERS)
    ]


def plan() -> dict[str, Any]:
    """Return a tracking plan of all features, which every event fulfils."""
    common = {
        "accountId": {"type": "string", "pattern": "^[0-9a-z-]{2,40}$"},
        "product": {"enum": [MARK.decode()]},
        "total": {"type": "integer", "minimum": 1, "required": True},
    }
    planned = {
        f"feature {number}": {
            "event": {
                "action": "feature",
                "module": f"module-{number % 7}",
                "feature": f"feature-{number:02d}",
            }
        }
        for number in range(FEATURES)
    }
    return {"version": 1, "common": common, "events": planned}


def _extra(event: dict[str, Any], *without: str) -> dict[str, Any]:
    # `logging` rejects an extra named `module`.
    flat = {name: value for name, value in event.items() if name not in {"module", *without}}
    return {**flat, "event": {"module": event["module"]}}


def items(kind: str) -> list[Any]:
    """Return one item per user.

    Args:
        kind: `properties`: the properties of the event; `extra`: the extra of a log call;
            `bound`: an extra without account and user; `window`: an extra without the session;
            `plain`: the arguments of an ordinary log call.
    """
    events = properties()
    if kind == "properties":
        return events
    if kind == "plain":
        return [(event["total"], event["userId"], event["accountId"]) for event in events]
    without = {"extra": (), "bound": ("accountId", "userId"), "window": ("sessionId",)}[kind]
    return [_extra(event, *without) for event in events]


def stream(kind: str, count: int) -> Iterator[Any]:
    """Yield `count` items, starting again from the first one after the last."""
    return itertools.islice(itertools.cycle(items(kind)), count)
