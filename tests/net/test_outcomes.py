"""What came of a POST is judged by the design's table, and Retry-After by RFC 9110."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fslog.net.outcomes import RETRY_AFTER_LIMIT, Kind, Outcome, outcome_of, retry_after_seconds

UTC = timezone.utc
NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110's examples


@pytest.fixture
def _far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.delenv("TZ")
    time.tzset()


def judge(status: int, retry_after: str | None = None) -> Outcome:
    """Judge an answer that came at `NOW`."""
    return outcome_of(status, retry_after, lambda: NOW)


def pause(value: str) -> float | None:
    """Read a Retry-After that came at `NOW`."""
    return retry_after_seconds(value, lambda: NOW)


def test_success_is_exactly_200() -> None:
    """Of all status codes 200 alone means delivered, and it needs no reason."""
    assert [status for status in range(1000) if judge(status).kind is Kind.DELIVERED] == [200]
    assert judge(200) == Outcome(Kind.DELIVERED)


def test_what_is_tried_again() -> None:
    """408, 425, 429 and every 5xx are tried again, and nothing else is."""
    again = {status for status in range(1000) if judge(status).kind is Kind.RETRY}
    assert again == {408, 425, 429, *range(500, 600)}


def test_413_is_split_and_the_rest_is_wrong() -> None:
    """413 alone asks for smaller pieces; redirects, other 2xx and other 4xx mean a wrong set-up."""
    assert [status for status in range(1000) if judge(status).kind is Kind.TOO_LARGE] == [413]
    for status in (201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 410):
        assert judge(status).kind is Kind.WRONG


def test_the_reason_names_the_answer() -> None:
    """A reason holds the status and the phrase of the standard, and no phrase for unknown codes."""
    assert judge(404).reason == "it answers 404 Not Found"
    assert judge(599).reason == "it answers 599"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503, 599])
def test_retry_after_counts_where_it_is_tried_again(status: int) -> None:
    """Every answer that is tried again may say when."""
    assert judge(status, "7").retry_after == 7.0


@pytest.mark.parametrize("status", [200, 302, 400, 413])
def test_retry_after_counts_nowhere_else(status: int) -> None:
    """An answer that is not tried again on a schedule has no say in it."""
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
def test_a_number_of_another_kind_is_none(value: str) -> None:
    """Only plain seconds are a number here (RFC 9110 10.2.3)."""
    assert pause(value) is None


@pytest.mark.parametrize(
    "value",
    ["Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 99999999999 08:49:37 GMT", "Sun,", "GMT"],
)
def test_nonsense_in_retry_after_is_none(value: str) -> None:
    """What is no date asks for nothing."""
    assert pause(value) is None


def test_no_retry_after_is_none() -> None:
    """A missing header asks for nothing."""
    assert retry_after_seconds(None, lambda: NOW) is None


@given(st.text(max_size=60) | st.from_regex(r"[A-Z][a-z]{2},? [0-9 :+a-zA-Z-]{0,40}"))
def test_retry_after_never_raises_nor_leaves_its_bounds(value: str) -> None:
    """Whatever an endpoint writes there, the pause is none or between zero and the limit."""
    seconds = pause(value)
    assert seconds is None or 0.0 <= seconds <= RETRY_AFTER_LIMIT


@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1000, 1, 1)))
def test_any_formatted_date_is_read(moment: datetime) -> None:
    """A date of whatever year gives the seconds that are left until then, bounded."""
    left = moment.replace(microsecond=0).timestamp() - NOW
    assert pause(format_datetime(moment, usegmt=True)) == min(max(left, 0.0), RETRY_AFTER_LIMIT)
