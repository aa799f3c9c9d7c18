"""A batch to its outcome: tried again, split, refused, given up; with a clock of its own."""

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
    """Answer as told, or as a function of the events that came; keep time meanwhile."""

    def __init__(self, *answers: Outcome, rule: Callable[[list[bytes]], Outcome] | None = None):
        self.answers = list(answers)
        self.rule = rule
        self.posted: list[list[bytes]] = []
        self.pauses: list[float] = []
        self.reports: list[str] = []
        self.now = 1_000.0

    def post(self, body: bytes) -> Outcome:
        """Take one body."""
        self.posted.append(zlib.decompress(body).splitlines())
        if self.rule is not None:
            return self.rule(self.posted[-1])
        return self.answers.pop(0) if self.answers else OK

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.pauses.append(seconds)
        self.now += seconds

    def uploader(self, **more: Any) -> Uploader:
        """Return what posts here."""
        fixed = {
            "retry_for": 100.0,
            "wait": self.wait,
            "report": self.reports.append,
            "clock": lambda: self.now,
            "jitter": lambda longest: longest,
        }
        return Uploader(self.post, **{**fixed, **more})


def batch(count: int) -> list[CheckedLine]:
    """Return events with other lines between them."""
    found = []
    for number in range(count):
        found.append(CheckedLine(2 * number + 1, b"a%d\n" % number, b"a%d\n" % number))
        found.append(CheckedLine(2 * number + 2, b"?\n", b""))
    return found


def parts(uploader: Uploader, lines: Sequence[CheckedLine]) -> list[tuple[list[int], str]]:
    """Upload, and return the numbers of the lines of each part with its refusal."""
    return [([one.number for one in part], why) for part, why in uploader.send(lines)]


def test_a_batch_is_one_post() -> None:
    """Its events travel together, deflated and in order; all of its lines come back at once."""
    there = Endpoint()
    uploader = there.uploader()
    assert parts(uploader, batch(2)) == [([1, 2, 3, 4], "")]
    assert there.posted == [[b"a0", b"a1"]]
    stats = uploader.stats
    assert (stats.batches, stats.bytes_encoded, stats.retries) == (1, 6, 0)
    assert stats.bytes_sent > 0
    assert there.reports == []


def test_lines_without_an_event_need_no_post() -> None:
    """What is not sent is done with without asking anybody."""
    there = Endpoint(WRONG)
    assert parts(there.uploader(), batch(1)[1:]) == [([2], "")]
    assert there.posted == []


def test_trouble_is_tried_again_with_growing_pauses() -> None:
    """The same body goes again, each pause up to twice the last, and up to the longest."""
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
    """By default a pause is any part of the longest, so that many uploads do not come at once."""
    there = Endpoint(*[BUSY] * 6)
    fixed = {"retry_for": 1_000.0, "wait": there.wait, "report": there.reports.append}
    uploader = Uploader(there.post, clock=lambda: there.now, **fixed)
    assert parts(uploader, batch(1)) == [([1, 2], "")]
    assert all(0 <= pause <= 2**at for at, pause in enumerate(there.pauses))
    assert there.pauses != [1, 2, 4, 8, 16, 32]


def test_retry_after_is_honoured() -> None:
    """No try comes sooner than the endpoint asks for."""
    there = Endpoint(Outcome(Kind.RETRY, "busy", retry_after=7.0), BUSY)
    assert parts(there.uploader(), batch(1)) == [([1, 2], "")]
    assert there.pauses == [7.0, 2.0]


def test_it_gives_up_after_so_long_without_a_success() -> None:
    """The last try comes when the time is over; then it is said why, and how long it was."""
    there = Endpoint(rule=lambda events: BUSY)
    with pytest.raises(TransferStopped, match=r"it answers 503 for 10 s") as caught:
        parts(there.uploader(retry_for=10.0), batch(1))
    assert there.pauses == [1, 2, 4, 3]
    assert not caught.value.is_configuration


def test_each_success_gives_all_the_time_again() -> None:
    """The time counts from the first failure behind a success."""
    there = Endpoint(BUSY, BUSY, BUSY, OK, BUSY, BUSY, BUSY)
    uploader = there.uploader(retry_for=7.5)
    for _ in range(2):
        assert parts(uploader, batch(1)) == [([1, 2], "")]
    assert there.pauses == [1, 2, 4] * 2


def test_no_time_is_one_try() -> None:
    """Who does not want to wait hears of the first failure."""
    there = Endpoint(BUSY)
    with pytest.raises(TransferStopped, match=r"^it answers 503$"):
        parts(there.uploader(retry_for=0.0), batch(1))
    assert there.pauses == []


def test_it_does_not_wait_for_what_it_would_not_see() -> None:
    """Where the endpoint asks for more time than there is, it gives up at once."""
    there = Endpoint(Outcome(Kind.RETRY, "it answers 429", retry_after=101.0))
    with pytest.raises(TransferStopped, match="it answers 429, and asks to wait 1 min 41 s"):
        parts(there.uploader(), batch(1))
    assert there.pauses == []


def test_a_stale_connection_is_tried_again_at_once() -> None:
    """A kept connection that was gone is no outage; two in a row are."""
    stale = Outcome(Kind.RETRY, "gone", stale=True)
    there = Endpoint(stale)
    assert parts(there.uploader(), batch(1)) == [([1, 2], "")]
    assert (there.pauses, there.reports) == ([], [])
    there = Endpoint(stale, stale)
    assert parts(there.uploader(), batch(1)) == [([1, 2], "")]
    assert there.pauses == [1]


def test_a_wrong_set_up_stops_at_once() -> None:
    """It is of no use to try again: nothing more is posted."""
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
    """Its neighbours are sent; it comes back alone, with the reason."""
    there = Endpoint(rule=lambda events: LARGE if b"a2" in events else OK)
    found = parts(there.uploader(), batch(5))
    (refused,) = (numbers for numbers, why in found if why)
    assert [number for number in refused if number % 2] == [5]
    assert {why for _, why in found} == {"", "it answers 413"}
    assert [number for numbers, _ in found for number in numbers] == list(range(1, 11))


def test_trouble_between_halves_keeps_what_was_confirmed() -> None:
    """A half that was confirmed is handed back before the other one stops the upload."""
    there = Endpoint(LARGE, OK, WRONG)
    walk = there.uploader().send(batch(2))
    part, _ = next(walk)
    assert [one.number for one in part] == [1]
    with pytest.raises(TransferStopped):
        next(walk)
