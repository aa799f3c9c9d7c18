"""Outcomes follow the documented table, Retry-After follows RFC 9110, pauses are bounded."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fslog.net.retry import (
    RETRY_AFTER_LIMIT,
    Backoff,
    Kind,
    Outcome,
    full_jitter,
    outcome_of,
    retry_after_seconds,
)

UTC = timezone.utc
OK = Outcome(Kind.DELIVERED)
DOWN = Outcome(Kind.RETRY)
LARGE = Outcome(Kind.TOO_LARGE)
WRONG = Outcome(Kind.MISCONFIGURED)
STALE = Outcome(Kind.RETRY, stale=True)

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110's examples


@pytest.fixture
def _far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.delenv("TZ")
    time.tzset()


def judge(status: int, retry_after: str | None = None) -> Outcome:
    """Return the outcome of an answer received at `NOW`."""
    return outcome_of(status, retry_after, lambda: NOW)


def pause(value: str) -> float | None:
    """Parse a Retry-After received at `NOW`."""
    return retry_after_seconds(value, lambda: NOW)


def test_success_is_exactly_200() -> None:
    """Of all status codes only 200 means delivered."""
    assert [status for status in range(1000) if judge(status).kind is Kind.DELIVERED] == [200]
    assert judge(200) == Outcome(Kind.DELIVERED)


def test_statuses_that_are_retried() -> None:
    """Exactly 408, 425, 429 and every 5xx are retried."""
    again = {status for status in range(1000) if judge(status).kind is Kind.RETRY}
    assert again == {408, 425, 429, *range(500, 600)}


def test_413_is_split_and_the_rest_is_a_configuration_error() -> None:
    """Only 413 is split; redirects, other 2xx and other 4xx are configuration errors."""
    assert [status for status in range(1000) if judge(status).kind is Kind.TOO_LARGE] == [413]
    for status in (201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 410):
        assert judge(status).kind is Kind.MISCONFIGURED


def test_the_reason_names_the_answer() -> None:
    """The reason has the status and its standard phrase; an unknown status has no phrase."""
    assert judge(404).reason == "it answers 404 Not Found"
    assert judge(599).reason == "it answers 599"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503, 599])
def test_retry_after_is_honoured_if_the_status_is_retried(status: int) -> None:
    """Every status that is retried may have a Retry-After."""
    assert judge(status, "7").retry_after == 7.0


@pytest.mark.parametrize("status", [200, 302, 400, 413])
def test_retry_after_is_ignored_for_other_statuses(status: int) -> None:
    """Other outcomes have no Retry-After."""
    assert judge(status, "7").retry_after is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("899.5", 899.5),
        ("901", RETRY_AFTER_LIMIT),
        ("86400", RETRY_AFTER_LIMIT),
        ("9" * 400, RETRY_AFTER_LIMIT),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10.0),
        ("Sunday, 06-Nov-94 08:49:47 GMT", 10.0),
        ("Sun Nov  6 08:49:47 1994", 10.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Sun, 06 Nov 1994 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", RETRY_AFTER_LIMIT),
    ],
)
@pytest.mark.usefixtures("_far_from_greenwich")
def test_retry_after_is_read_and_bounded(value: str, seconds: float) -> None:
    """Seconds and all three forms of a date (RFC 9110 5.6.7) are honoured, up to the limit."""
    assert pause(value) == seconds


@pytest.mark.parametrize(
    "value",
    ["", " ", ".", "-1", "+5", "1e3", "NaN", "inf", "0x10", "1,5", "1, 2", "soon", "\u0663", "1_0"],
)
def test_other_forms_of_numbers_are_ignored(value: str) -> None:
    """Only a decimal number of seconds is accepted (RFC 9110 10.2.3)."""
    assert pause(value) is None


@pytest.mark.parametrize(
    "value",
    ["Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 99999999999 08:49:37 GMT", "Sun,", "GMT"],
)
def test_an_invalid_date_is_ignored(value: str) -> None:
    """A malformed date gives None."""
    assert pause(value) is None


def test_a_missing_retry_after_is_none() -> None:
    """A missing header gives None."""
    assert retry_after_seconds(None, lambda: NOW) is None


@given(st.text(max_size=60) | st.from_regex(r"[A-Z][a-z]{2},? [0-9 :+a-zA-Z-]{0,40}"))
def test_retry_after_never_raises_and_is_bounded(value: str) -> None:
    """Any text gives None, or a pause between zero and the limit."""
    seconds = pause(value)
    assert seconds is None or 0.0 <= seconds <= RETRY_AFTER_LIMIT


@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1000, 1, 1)))
def test_any_formatted_date_is_read(moment: datetime) -> None:
    """A date of any year gives the seconds until then, bounded."""
    left = moment.replace(microsecond=0).timestamp() - NOW
    assert pause(format_datetime(moment, usegmt=True)) == min(max(left, 0.0), RETRY_AFTER_LIMIT)


def busy(seconds: float) -> Outcome:
    """Return the outcome of a response with a Retry-After."""
    return Outcome(Kind.RETRY, retry_after=seconds)


@pytest.mark.parametrize(
    ("outcomes", "pauses"),
    [
        ([OK, OK], [None, None]),
        ([DOWN] * 7, [1, 2, 4, 8, 16, 20, 20]),
        ([DOWN, DOWN, OK, DOWN], [1, 2, None, 1]),
        ([DOWN, DOWN, LARGE, DOWN], [1, 2, None, 1]),
        ([WRONG, WRONG, WRONG], [20, 20, 20]),
        ([DOWN, WRONG, DOWN], [1, 20, 2]),
        ([busy(7), DOWN, busy(0), busy(900)], [7, 2, 4, 900]),
        ([STALE, STALE, STALE], [None, 1, 2]),
        ([STALE, OK, STALE], [None, None, None]),
        ([DOWN, STALE, DOWN, STALE], [1, None, 2, 4]),
    ],
)
def test_each_outcome_has_its_pause(outcomes: list[Outcome], pauses: list[float | None]) -> None:
    """Pauses double up to the limit, success restarts them, and Retry-After is their minimum."""
    backoff = Backoff(20.0, jitter=lambda pause: pause)
    assert [backoff.pause_after(outcome) for outcome in outcomes] == pauses


def test_a_reset_begins_with_the_shortest_pause() -> None:
    """A reset restarts the pauses, but only the first stale connection has no pause."""
    backoff = Backoff(20.0, jitter=lambda pause: pause)
    assert [backoff.pause_after(outcome) for outcome in (DOWN, DOWN, STALE)] == [1, 2, None]
    backoff.reset()
    assert backoff.pause_after(STALE) == 1


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_jitter_shortens_a_pause_but_not_retry_after(part: float) -> None:
    """Jitter applies to the exponential pause alone, not to Retry-After or the probes."""
    backoff = Backoff(20.0, jitter=lambda pause: pause * part)
    pauses = [backoff.pause_after(outcome) for outcome in (DOWN, DOWN, busy(30), WRONG)]
    assert pauses == [1 * part, 2 * part, 30, 20]


def test_the_jitter_does_not_use_the_applications_random_numbers() -> None:
    """Pauses are drawn from the whole range; the state of `random` does not change."""
    state = random.getstate()
    pauses = [full_jitter(8.0) for _ in range(1000)]
    assert random.getstate() == state
    assert 0.0 <= min(pauses) < 1.0
    assert 7.0 < max(pauses) <= 8.0
    assert 3.0 < sum(pauses) / len(pauses) < 5.0


def test_the_jitter_is_full_by_default() -> None:
    """By default a pause is drawn at random between zero and its maximum."""
    backoff = Backoff(1000.0)
    pauses = [backoff.pause_after(DOWN) for _ in range(10)]
    assert all(pause is not None and 0 <= pause <= 2**n for n, pause in enumerate(pauses))
    assert pauses != [2**n for n in range(10)]
