"""What came of a POST, as a value that says what to do next.

| answer | outcome |
| --- | --- |
| exactly 200 | delivered |
| 408, 425, 429, 5xx, no answer | again, later |
| 413 | again, in smaller pieces |
| anything else, redirects included | the set-up is wrong: kept, probed slowly |

The table is the design's (EVENT_API, "Response"): the endpoint's page promises 200 and 400 only.
"""

from __future__ import annotations

import datetime
import email.utils
import enum
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from fslog.interrupts import unless_interrupt

RETRY_AFTER_LIMIT = 900.0
"""The longest wait in seconds that an endpoint may ask for."""

_AGAIN = frozenset({408, 425, 429})


class Kind(enum.Enum):
    """What to do with the body that was posted."""

    DELIVERED = "forget it"
    RETRY = "post it again, later"
    TOO_LARGE = "post it again, in smaller pieces"
    WRONG = "keep it and say that the set-up is wrong"


@dataclass(frozen=True)
class Outcome:
    """Tell what came of one POST.

    Args:
        kind: what to do.
        reason: why, for a person; without the keys.
        retry_after: seconds that the endpoint asks to wait, at most `RETRY_AFTER_LIMIT`.
        stale: the connection had been kept and was gone: trying at once is no burden.
    """

    kind: Kind
    reason: str = ""
    retry_after: float | None = None
    stale: bool = False


def outcome_of(status: int, retry_after: str | None, now: Callable[[], float]) -> Outcome:
    """Judge an answer.

    Args:
        status: of the answer to our own POST; a redirect was not followed.
        retry_after: the header's value.
        now: seconds since the epoch, against which a date is read.

    >>> outcome = outcome_of(503, "7", lambda: 0.0)
    >>> outcome.kind.name, outcome.reason, outcome.retry_after
    ('RETRY', 'it answers 503 Service Unavailable', 7.0)
    """
    if status == 200:
        return Outcome(Kind.DELIVERED)
    reason = f"it answers {status} {_phrase(status)}".rstrip()
    if status in _AGAIN or 500 <= status <= 599:
        return Outcome(Kind.RETRY, reason, retry_after_seconds(retry_after, now))
    return Outcome(Kind.TOO_LARGE if status == 413 else Kind.WRONG, reason)


def retry_after_seconds(value: str | None, now: Callable[[], float]) -> float | None:
    """Read a Retry-After header (RFC 9110 10.2.3): seconds or a date, bounded; None for nonsense.

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
            # Dates of the obsolete forms name no zone and mean GMT (RFC 9110 5.6.7).
            date = date if date.tzinfo else date.replace(tzinfo=datetime.timezone.utc)
            seconds = date.timestamp() - now()
    except unless_interrupt(ValueError, TypeError, OverflowError, OSError):
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_LIMIT)


def _phrase(status: int) -> str:
    # Not the server's own phrase: it may be anything, the request's URL included.
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
