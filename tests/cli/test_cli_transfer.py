"""The outcome of a batch: retried, split, refused, stopped; with a simulated clock."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from fslog.cli.upload.lines import CheckedLine
from fslog.cli.upload.transfer import MAX_BACKOFF, TransferStopped, Uploader
from fslog.net.retry import Kind, Outcome

OK = Outcome(Kind.DELIVERED)
BUSY = Outcome(Kind.RETRY, "it answers 503")
WRONG = Outcome(Kind.MISCONFIGURED, "it answers 400")
LARGE = Outcome(Kind.TOO_LARGE, "it answers 413")


class Endpoint:
    """Answer from a list, or by a function of the events; keep the time."""

    def __init__(self, *answers: Outcome, rule: Callable[[list[bytes]], Outcome] | None = None):
        self.answers = list(answers)
        self.rule = rule
        self.posted: list[list[bytes]] = []
        self.pauses: list[float] = []
        self.reports: list[str] = []
        self.now = 1_000.0

    def post(self, body: bytes) -> Outcome:
        """Answer one body."""
        self.posted.append(zlib.decompress(body).splitlines())
        if self.rule is not None:
            return self.rule(self.posted[-1])
        return self.answers.pop(0) if self.answers else OK

    def wait(self, seconds: float) -> None:
        """Advance the clock."""
        self.pauses.append(seconds)
        self.now += seconds

    def uploader(self, **more: Any) -> Uploader:
        """Return an uploader that posts here."""
        fixed = {
            "retry_for": 100.0,
            "wait": self.wait,
            "report": self.reports.append,
            "clock": lambda: self.now,
            "jitter": lambda longest: longest,
        }
        return Uploader(self.post, **{**fixed, **more})


def batch(count: int) -> list[CheckedLine]:
    """Return events with other lines among them."""
    found = []
    for number in range(count):
        found.append(CheckedLine(2 * number + 1, b"a%d\n" % number, b"a%d\n" % number))
        found.append(CheckedLine(2 * number + 2, b"?\n", b""))
    return found


def parts(uploader: Uploader, lines: Sequence[CheckedLine]) -> list[tuple[list[int], str]]:
    """Send, and return the line numbers of each part with its refusal."""
    return [([one.number for one in part], why) for part, why in uploader.send(lines)]


def test_a_batch_is_one_post() -> None:
    """Its events are in one body, compressed and in order; all of its lines are yielded at once."""
    there = Endpoint()
    uploader = there.uploader()
    assert parts(uploader, batch(2)) == [([1, 2, 3, 4], "")]
    assert there.posted == [[b"a0", b"a1"]]
    stats = uploader.stats
    assert (stats.batches, stats.bytes_encoded, stats.retries) == (1, 6, 0)
    assert stats.bytes_sent > 0
    assert there.reports == []


def test_lines_without_an_event_need_no_post() -> None:
    """Lines without an event are yielded without a POST."""
    there = Endpoint(WRONG)
    assert parts(there.uploader(), batch(1)[1:]) == [([2], "")]
    assert there.posted == []


def test_failures_are_retried_with_growing_pauses() -> None:
    """The same body is posted again, each pause twice the last one, up to the longest."""
    there = Endpoint(*[BUSY] * 9)
    uploader = there.uploader(retry_for=1_000.0)
    assert parts(uploader, batch(1)) == [([1, 2], "")]
    assert there.posted == [[b"a0"]] * 10
    assert there.pauses == [1, 2, 4, 8, 16, 32, MAX_BACKOFF, MAX_BACKOFF, MAX_BACKOFF]
    assert uploader.stats.retries == 9
    assert there.reports == [
        "the endpoint is down: it answers 503; retrying",
        "the endpoint works again",
    ]


def test_pauses_have_jitter() -> None:
    """By default a pause is a random part of the longest, so that uploads do not coincide."""
    there = Endpoint(*[BUSY] * 6)
    fixed = {"retry_for": 1_000.0, "wait": there.wait, "report": there.reports.append}
    uploader = Uploader(there.post, clock=lambda: there.now, **fixed)
    assert parts(uploader, batch(1)) == [([1, 2], "")]
    assert all(0 <= pause <= 2**at for at, pause in enumerate(there.pauses))
    assert there.pauses != [1, 2, 4, 8, 16, 32]


def test_retry_after_is_honoured() -> None:
    """No attempt is before the time that the endpoint asks for."""
    there = Endpoint(Outcome(Kind.RETRY, "busy", retry_after=7.0), BUSY)
    assert parts(there.uploader(), batch(1)) == [([1, 2], "")]
    assert there.pauses == [7.0, 2.0]


def test_it_stops_after_retry_for() -> None:
    """The last attempt is at the end of the time; the message has the reason and the duration."""
    there = Endpoint(rule=lambda events: BUSY)
    with pytest.raises(TransferStopped, match=r"it answers 503 for 10 s") as caught:
        parts(there.uploader(retry_for=10.0), batch(1))
    assert there.pauses == [1, 2, 4, 3]
    assert not caught.value.is_configuration


def test_each_success_restarts_the_time() -> None:
    """The time counts from the first failure after a success."""
    there = Endpoint(BUSY, BUSY, BUSY, OK, BUSY, BUSY, BUSY)
    uploader = there.uploader(retry_for=7.5)
    for _ in range(2):
        assert parts(uploader, batch(1)) == [([1, 2], "")]
    assert there.pauses == [1, 2, 4] * 2


def test_no_time_is_one_attempt() -> None:
    """With a time of zero the first failure stops the transfer."""
    there = Endpoint(BUSY)
    with pytest.raises(TransferStopped, match=r"^it answers 503$"):
        parts(there.uploader(retry_for=0.0), batch(1))
    assert there.pauses == []


def test_it_does_not_wait_longer_than_retry_for() -> None:
    """If the endpoint asks for more time than is left, it stops at once."""
    there = Endpoint(Outcome(Kind.RETRY, "it answers 429", retry_after=101.0))
    with pytest.raises(TransferStopped, match="it answers 429, and asks to wait 1 min 41 s"):
        parts(there.uploader(), batch(1))
    assert there.pauses == []


def test_a_stale_connection_is_retried_at_once() -> None:
    """One stale connection is not an outage; two in a row are."""
    stale = Outcome(Kind.RETRY, "gone", stale=True)
    there = Endpoint(stale)
    assert parts(there.uploader(), batch(1)) == [([1, 2], "")]
    assert (there.pauses, there.reports) == ([], [])
    there = Endpoint(stale, stale)
    assert parts(there.uploader(), batch(1)) == [([1, 2], "")]
    assert there.pauses == [1]


def test_a_configuration_error_stops_at_once() -> None:
    """A retry would be useless, so nothing more is posted."""
    there = Endpoint(WRONG)
    with pytest.raises(TransferStopped, match="it answers 400") as caught:
        parts(there.uploader(), batch(2))
    assert caught.value.is_configuration
    assert len(there.posted) == 1


@pytest.mark.parametrize("most", [1, 2, 3, 5, 8])
def test_what_is_too_large_is_split(most: int) -> None:
    """Halves, and their halves, arrive in order, each event once, and no line is lost."""
    there = Endpoint(rule=lambda events: LARGE if len(events) > most else OK)
    lines = batch(8)
    found = parts(there.uploader(), lines)
    assert [number for numbers, _ in found for number in numbers] == list(range(1, 17))
    assert {why for _, why in found} == {""}
    taken = [events for events in there.posted if len(events) <= most]
    assert [event for events in taken for event in events] == [b"a%d" % n for n in range(8)]
    assert len(there.reports) == (most < 8)


def test_an_event_that_is_too_large_alone_is_refused() -> None:
    """Its neighbours are sent; it is yielded alone, with the reason."""
    there = Endpoint(rule=lambda events: LARGE if b"a2" in events else OK)
    found = parts(there.uploader(), batch(5))
    (refused,) = (numbers for numbers, why in found if why)
    assert [number for number in refused if number % 2] == [5]
    assert {why for _, why in found} == {"", "it answers 413"}
    assert [number for numbers, _ in found for number in numbers] == list(range(1, 11))


def test_a_failure_between_halves_keeps_what_was_confirmed() -> None:
    """A confirmed half is yielded before the other one stops the transfer."""
    there = Endpoint(LARGE, OK, WRONG)
    walk = there.uploader().send(batch(2))
    part, _ = next(walk)
    assert [one.number for one in part] == [1]
    with pytest.raises(TransferStopped):
        next(walk)
