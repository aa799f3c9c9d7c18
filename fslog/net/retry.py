"""The outcome of a POST, and when to post again.

| answer | outcome |
| --- | --- |
| exactly 200 | delivered |
| 408, 425, 429, 5xx, no answer | retried after a pause |
| 413 | split into smaller bodies |
| anything else, redirects included | configuration error: kept, retried every `max_backoff` |

The endpoint's documentation promises 200 and 400 only (EVENT_API, "Response"); the rest of the
table is HTTP's own meaning.
"""

from __future__ import annotations

import datetime
import email.utils
import enum
import random
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from backoff import expo

from fslog.interrupts import unless_interrupt

MAX_BACKOFF = 60.0
"""The default for the longest pause between two tries, in seconds."""

RETRY_AFTER_LIMIT = 900.0
"""The longest pause that an endpoint may ask for, in seconds."""

_AGAIN = frozenset({408, 425, 429})


class Kind(enum.Enum):
    """What to do with a body that was posted."""

    DELIVERED = "forget it"
    RETRY = "post it again after a pause"
    TOO_LARGE = "post it again in smaller bodies"
    MISCONFIGURED = "keep it: a configuration error"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one POST.

    Args:
        kind: what to do with the body.
        reason: why, for a person; free of the keys.
        retry_after: seconds that the endpoint asks to wait, at most `RETRY_AFTER_LIMIT`.
        stale: a kept connection had been closed by the endpoint, which does not indicate an outage.
    """

    kind: Kind
    reason: str = ""
    retry_after: float | None = None
    stale: bool = False


def outcome_of(status: int, retry_after: str | None, now: Callable[[], float]) -> Outcome:
    """Return the outcome that a response stands for.

    Args:
        status: of the response to the POST itself; redirects are not followed.
        retry_after: the header's value.
        now: seconds since the epoch, to which a date is compared.

    >>> outcome = outcome_of(503, "7", lambda: 0.0)
    >>> outcome.kind.name, outcome.reason, outcome.retry_after
    ('RETRY', 'it answers 503 Service Unavailable', 7.0)
    """
    if status == 200:
        return Outcome(Kind.DELIVERED)
    reason = f"it answers {status} {_phrase(status)}".rstrip()
    if status in _AGAIN or 500 <= status <= 599:
        return Outcome(Kind.RETRY, reason, retry_after_seconds(retry_after, now))
    return Outcome(Kind.TOO_LARGE if status == 413 else Kind.MISCONFIGURED, reason)


def retry_after_seconds(value: str | None, now: Callable[[], float]) -> float | None:
    """Parse a Retry-After header (RFC 9110 10.2.3): seconds or a date; None if it is neither.

    >>> retry_after_seconds("Thu, 01 Jan 1970 00:01:00 GMT", lambda: 50.0)
    10.0
    >>> retry_after_seconds("86400", lambda: 0.0), retry_after_seconds("soon", lambda: 0.0)
    (900.0, None)
    """
    if value is None:
        return None
    text = value.strip()
    try:
        if text.isascii() and text.replace(".", "", 1).isdigit():
            seconds = float(text)
        else:
            date = email.utils.parsedate_to_datetime(text)
            # The obsolete date formats have no time zone and mean GMT (RFC 9110 5.6.7).
            date = date if date.tzinfo else date.replace(tzinfo=datetime.timezone.utc)
            seconds = date.timestamp() - now()
    except unless_interrupt(ValueError, TypeError, OverflowError, OSError):
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_LIMIT)


def _phrase(status: int) -> str:
    # Not the server's own phrase, which may contain anything, even the request's URL.
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


_random = random.SystemRandom()


def full_jitter(pause: float) -> float:
    """Return a random part of a pause, between zero and all of it.

    `backoff.full_jitter` draws from the shared generator of `random`: an application that seeds it
    would get other numbers, and forked children would all draw the same ones.
    """
    return _random.uniform(0.0, pause)


class Backoff:
    """The retry policy for one sequence of bodies: exponential backoff with full jitter.

    The pauses after failures in a row are drawn from 1, 2, 4... seconds up to `max_backoff`, and
    are never shorter than Retry-After. A configuration error is retried every `max_backoff`.

    Args:
        max_backoff: seconds.
        jitter: returns the pause to make, from the longest one allowed.

    >>> backoff = Backoff(max_backoff=60.0, jitter=lambda pause: pause)
    >>> busy, wrong = Outcome(Kind.RETRY, retry_after=1.5), Outcome(Kind.MISCONFIGURED)
    >>> [backoff.pause_after(outcome) for outcome in (busy, busy, busy, wrong)]
    [1.5, 2, 4, 60.0]
    >>> backoff.pause_after(Outcome(Kind.DELIVERED)), backoff.pause_after(busy)
    (None, 1.5)
    """

    def __init__(self, max_backoff: float, jitter: Callable[[float], float] = full_jitter) -> None:
        self._max_backoff = max_backoff
        self._jitter = jitter
        self._was_stale = False
        self.reset()

    def pause_after(self, outcome: Outcome) -> float | None:
        """Return how many seconds to wait before the next POST; None: post at once.

        None follows a delivery, a body that is too large (its parts are next), and the first stale
        connection after either.
        """
        if outcome.kind in (Kind.DELIVERED, Kind.TOO_LARGE):
            self._was_stale = False
            self.reset()
            return None
        if outcome.kind is Kind.MISCONFIGURED:
            return self._max_backoff
        if outcome.stale and not self._was_stale:
            self._was_stale = True
            return None
        return max(self._jitter(next(self._pauses)), outcome.retry_after or 0.0)

    def reset(self) -> None:
        """Begin with the shortest pause again."""
        self._pauses: Any = expo(max_value=self._max_backoff)
        next(self._pauses)  # backoff's generators yield None first
