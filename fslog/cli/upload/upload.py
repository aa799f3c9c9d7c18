"""Batches to the endpoint: what is answered decides, as in a handler, but here one waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fslog.cli.output import duration
from fslog.cli.upload.judgement import Checked
from fslog.net import wire
from fslog.net.retry import MAX_BACKOFF, Backoff, Kind, Outcome, full_jitter


class Stopped(Exception):
    """Report that nothing more can be sent; what was not confirmed is where it was.

    Args:
        reason: why, for a person.
        is_setup: whether the set-up is wrong, so that trying again is in vain.
    """

    def __init__(self, reason: str, *, is_setup: bool = False) -> None:
        super().__init__(reason)
        self.is_setup = is_setup


@dataclass
class Travelled:
    """Count what was posted and confirmed."""

    batches: int = 0
    bytes_encoded: int = 0
    bytes_sent: int = 0
    retries: int = 0


class Uploader:
    """Post batches in order, each until it is confirmed, refused or given up.

    Args:
        post: posts one body.
        retry_for: seconds without a success after which it gives up.
        wait: waits so many seconds.
        say: told when the endpoint is down, works again, or wants smaller batches.
        clock: monotonic seconds.
        jitter: makes a pause of the longest that is meant.
    """

    def __init__(
        self,
        post: Callable[[bytes], Outcome],
        *,
        retry_for: float,
        wait: Callable[[float], None],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float], float] = full_jitter,
    ) -> None:
        self._post = post
        self._retry_for = retry_for
        self._wait = wait
        self._say = say
        self._clock = clock
        self._jitter = jitter
        self._is_split_said = False
        self.travelled = Travelled()

    def upload(self, batch: Sequence[Checked]) -> Iterator[tuple[Sequence[Checked], str]]:
        """Post a batch, and yield its lines in order, in parts that are done with.

        A part is all of it, unless the endpoint wants smaller bodies. Lines that are not sent
        travel along, so that what is yielded has no gaps.

        Args:
            batch: with any number of lines that are not sent.

        Yields:
            The part, and `""` where its events were confirmed, or why the endpoint refuses its
            only event.

        Raises:
            Stopped: this part and those behind it were not confirmed.
        """
        parts = [batch]
        while parts:
            part = parts.pop()
            texts = [one.text for one in part if one.text]
            outcome = self._settle(texts) if texts else Outcome(Kind.DELIVERED)
            if outcome.kind is Kind.TOO_LARGE and len(texts) > 1:
                self._say_split(sum(map(len, texts)))
                parts += reversed(halves(part))
            else:
                yield part, outcome.reason

    def _settle(self, texts: Sequence[bytes]) -> Outcome:
        """Post until the answer is not to try again."""
        body = wire.pack(texts, wire.ENCODING, wire.LEVEL)
        backoff = Backoff(MAX_BACKOFF, self._jitter)
        failed_at: float | None = None
        while True:
            outcome = self._post(body)
            if outcome.kind is not Kind.RETRY:
                break
            self.travelled.retries += 1
            pause = backoff.pause_after(outcome)
            if pause is not None:
                failed_at = self._pause(outcome, failed_at, pause)
        if outcome.kind is Kind.MISCONFIGURED:
            raise Stopped(outcome.reason, is_setup=True)
        if failed_at is not None:
            self._say("the endpoint works again")
        if outcome.kind is Kind.DELIVERED:
            self.travelled.batches += 1
            self.travelled.bytes_encoded += sum(map(len, texts))
            self.travelled.bytes_sent += len(body)
        return outcome

    def _pause(self, outcome: Outcome, failed_at: float | None, pause: float) -> float:
        """Wait before the next try and return when the first one failed."""
        now = self._clock()
        if failed_at is None:
            failed_at = now
            self._say(f"the endpoint is down: {outcome.reason}; trying again")
        left = failed_at + self._retry_for - now
        asked = outcome.retry_after or 0.0
        if left <= 0 or asked > left:
            for_long = f" for {duration(now - failed_at)}" if now - failed_at >= 1 else ""
            wants = f", and asks to wait {duration(asked)}" if asked else ""
            raise Stopped(f"{outcome.reason}{for_long}{wants}")
        self._wait(min(pause, left))
        return failed_at

    def _say_split(self, size_bytes: int) -> None:
        if not self._is_split_said:
            self._is_split_said = True
            self._say(
                f"the endpoint refuses a batch of {size_bytes:,} bytes as too large: it is split; "
                "--batch-bytes or --batch-events makes all of them smaller"
            )


def halves(part: Sequence[Checked]) -> list[Sequence[Checked]]:
    """Split lines in two, each with half of the events.

    >>> lines = [Checked(1, b"a", b"a"), Checked(2, b"", b""), Checked(3, b"b", b"b")]
    >>> [[one.number for one in half] for half in halves(lines)]
    [[1], [2, 3]]
    """
    places = [at for at, one in enumerate(part) if one.text]
    after = places[len(places) // 2 - 1] + 1
    return [part[:after], part[after:]]
