"""How many events of a kind are sent in a second, against a loop that logs.

There is no lock, which a fork or a signal handler could leave locked: a token is taken by one call
of a counter, so no two threads get the same one.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from logging import LogRecord
from typing import Any

from fslog.errors import LimitedEvent, Problem

CODE = "limited"

Key = tuple[str, str]
"""An event's action and feature."""

MakeEvent = Callable[[LogRecord], "dict[str, Any] | None"]

_MOST_CHARACTERS = 100
"""How much of a name a message shows."""


@dataclass(frozen=True)
class LimitedProblem(Problem):
    """An event beyond the rate; those of each action and feature are logged once."""

    key: Key = ("", "")

    @property
    def kind(self) -> str:
        """The code, the action and the feature: problems of one kind are logged once."""
        return f"{self.code} {self.key!r}"


class _Fill:
    """One filling of a bucket: its tokens, numbered from 0."""

    __slots__ = ("ends_at", "next", "take")

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.take: Callable[[], int] = itertools.count().__next__
        self.next: list[_Fill] = []


class _Bucket:
    __slots__ = ("fill",)

    def __init__(self, fill: _Fill) -> None:
        self.fill = fill


class _Generation:
    """Recently used buckets; with those of the previous generation, all that are kept."""

    __slots__ = ("before", "buckets", "next")

    def __init__(self, before: dict[Key, _Bucket]) -> None:
        self.before = before
        self.buckets: dict[Key, _Bucket] = {}
        self.next: list[_Generation] = []


class RateLimit:
    """Limit the events of each action and feature to so many a second.

    Each has a bucket of tokens, and an event takes one. Its first event after a second fills it
    again. So a burst that lasts over two fillings may have twice the tokens within a second, never
    more, whatever the threads do; on average there are as many as configured.

    If several threads replace the same object at once (a second is over, there is no room), each
    appends its successor to a list and all use the first one: appending is atomic. At most `limit`
    buckets are kept, at least the most recently used half; the others begin again with a full one.

    Args:
        per_second: above 0; below 1 it is one event in more than a second.
        clock: monotonic seconds.
        limit: maximum number of buckets; 2 or more.

    >>> rate = RateLimit(2, clock=iter([0.0, 0.1, 0.2, 0.3, 1.0]).__next__)
    >>> [rate.allows(("feature", name)) for name in "aaaba"]
    [True, True, False, True, True]
    """

    def __init__(
        self,
        per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        limit: int = 10_000,
    ) -> None:
        self._per_second = per_second
        self._tokens = max(1, int(per_second))
        self._seconds = self._tokens / per_second
        self._clock = clock
        self._half = max(1, limit // 2)
        self._generation = _Generation({})

    def allows(self, key: Key) -> bool:
        """Return whether an event may be sent; it has then taken a token."""
        now = self._clock()
        bucket = self._find(key, now)
        fill = bucket.fill
        while now >= fill.ends_at:
            fill.next.append(_Fill(now + self._seconds))
            # A thread that was slow may put an older one back: that leads here again.
            fill = bucket.fill = fill.next[0]
        return fill.take() < self._tokens

    def _find(self, key: Key, now: float) -> _Bucket:
        while True:
            generation = self._generation
            bucket = generation.buckets.get(key)
            if bucket is None:
                kept = generation.before.get(key) or _Bucket(_Fill(now + self._seconds))
                bucket = self._keep(key, kept)
            if generation is self._generation:  # else another thread has made room: search again
                return bucket

    def _keep(self, key: Key, bucket: _Bucket) -> _Bucket:
        # As `IdleSessions` does it: two generations approximate least-recently-used order.
        generation = self._generation
        while generation.next or len(generation.buckets) >= self._half:
            generation.next.append(_Generation(generation.buckets))
            generation = self._generation = generation.next[0]
        return generation.buckets.setdefault(key, generation.before.get(key) or bucket)

    def checked(self, make: MakeEvent) -> MakeEvent:
        """Return a function that makes events and raises `LimitedEvent` for those beyond."""

        def event(record: LogRecord) -> dict[str, Any] | None:
            made = make(record)
            if made is not None and not self.allows(key := key_of(made)):
                raise LimitedEvent(self._problem(key, made))
            return made

        return event

    def _problem(self, key: Key, event: Mapping[str, Any]) -> LimitedProblem:
        action, feature = (name[:_MOST_CHARACTERS] for name in key)
        what = f"action {action!r}" + (f" and feature {feature!r}" if feature else "")
        message = (
            f"there are more events with {what} than max_per_second ({self._per_second:g}) allows: "
            "those beyond are not sent, and stats() counts them as limited"
        )
        return LimitedProblem(CODE, "", message, event, key)


def key_of(event: Mapping[str, Any]) -> Key:
    """Return the action and the feature of an event, as far as they are texts.

    >>> key_of({"action": "sale", "feature": 3})
    ('sale', '')
    """
    action, feature = event.get("action"), event.get("feature")
    # Not a value of another type: its methods may do anything.
    return (
        str.__str__(action) if isinstance(action, str) else "",
        str.__str__(feature) if isinstance(feature, str) else "",
    )
