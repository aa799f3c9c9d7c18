"""Send the batches of files, each until the endpoint confirms or refuses it, or gives no answer."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from fslog.cli.options import CommandError
from fslog.cli.output import ProgressBar, duration
from fslog.cli.upload.file_upload import FileUpload
from fslog.cli.upload.lines import CheckedLine, ProblemCounts, batches
from fslog.cli.upload.ndjson import DamagedInput, Reader, reason_of
from fslog.errors import Problem
from fslog.net import wire
from fslog.net.retry import MAX_BACKOFF, Backoff, Kind, Outcome, full_jitter
from fslog.plan.plan import Plan


class TransferStopped(CommandError):
    """Report that no more events can be sent.

    Args:
        reason: why, for a person.
        is_configuration: whether it is a configuration error, so that a retry is useless.
    """

    def __init__(self, reason: str, *, is_configuration: bool = False) -> None:
        super().__init__(reason, 1)
        self.is_configuration = is_configuration


@dataclass
class TransferStats:
    """Count the confirmed batches and their bytes, and the failed attempts."""

    batches: int = 0
    bytes_encoded: int = 0
    bytes_sent: int = 0
    retries: int = 0


@dataclass
class Uploader:
    """Post batches, each until it is confirmed or refused.

    Args:
        post: posts one body.
        retry_for: seconds without a success after which it stops.
        wait: sleeps for a number of seconds.
        report: receives a message if the endpoint is down, works again, or refuses a batch's size.
        clock: monotonic seconds.
        jitter: returns the pause to make, from the longest one allowed.
        stats: what was posted so far.
    """

    post: Callable[[bytes], Outcome]
    retry_for: float
    wait: Callable[[float], None]
    report: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[float], float] = full_jitter
    stats: TransferStats = field(default_factory=TransferStats)
    _is_split_reported: bool = False

    def send(self, batch: Sequence[CheckedLine]) -> Iterator[tuple[Sequence[CheckedLine], str]]:
        """Post a batch, and yield its lines in order, in one part unless it has to be split.

        Args:
            batch: lines with and without events; each of them is yielded.

        Yields:
            The part, and `""` if its events were confirmed, else why the endpoint refuses its only
            event.

        Raises:
            TransferStopped: neither this part nor the following ones were confirmed.
        """
        parts = [batch]
        while parts:
            part = parts.pop()
            texts = [one.text for one in part if one.text]
            outcome = self._settle(texts) if texts else Outcome(Kind.DELIVERED)
            if outcome.kind is Kind.TOO_LARGE and len(texts) > 1:
                self._report_split(sum(map(len, texts)))
                parts += reversed(halves(part))
            else:
                yield part, outcome.reason

    def _settle(self, texts: Sequence[bytes]) -> Outcome:
        """Post until the outcome is not a retry."""
        body = wire.pack(texts, wire.ENCODING, wire.LEVEL)
        backoff = Backoff(MAX_BACKOFF, self.jitter)
        failed_at: float | None = None
        while True:
            outcome = self.post(body)
            if outcome.kind is not Kind.RETRY:
                break
            self.stats.retries += 1
            pause = backoff.pause_after(outcome)
            if pause is not None:
                failed_at = self._pause(outcome, failed_at, pause)
        if outcome.kind is Kind.MISCONFIGURED:
            raise TransferStopped(outcome.reason, is_configuration=True)
        if failed_at is not None:
            self.report("the endpoint works again")
        if outcome.kind is Kind.DELIVERED:
            self.stats.batches += 1
            self.stats.bytes_encoded += sum(map(len, texts))
            self.stats.bytes_sent += len(body)
        return outcome

    def _pause(self, outcome: Outcome, failed_at: float | None, pause: float) -> float:
        """Wait before the next attempt, and return when the first one failed."""
        now = self.clock()
        if failed_at is None:
            failed_at = now
            self.report(f"the endpoint is down: {outcome.reason}; retrying")
        left = failed_at + self.retry_for - now
        asked = outcome.retry_after or 0.0
        if left <= 0 or asked > left:
            since = f" for {duration(now - failed_at)}" if now - failed_at >= 1 else ""
            request = f", and asks to wait {duration(asked)}" if asked else ""
            raise TransferStopped(f"{outcome.reason}{since}{request}")
        self.wait(min(pause, left))
        return failed_at

    def _report_split(self, size_bytes: int) -> None:
        if not self._is_split_reported:
            self._is_split_reported = True
            self.report(
                f"the endpoint refuses a batch of {size_bytes:,} bytes as too large, so it is "
                "split; --batch-bytes or --batch-events limits all batches"
            )


def halves(part: Sequence[CheckedLine]) -> list[Sequence[CheckedLine]]:
    """Split lines in two, each with half of the events.

    >>> events = [CheckedLine(number, b"{}", b"{}") for number in (1, 3)]
    >>> lines = [events[0], CheckedLine(2, b"", b""), events[1]]
    >>> [[one.number for one in half] for half in halves(lines)]
    [[1], [2, 3]]
    """
    places = [at for at, one in enumerate(part) if one.text]
    after = places[len(places) // 2 - 1] + 1
    return [part[:after], part[after:]]


@dataclass
class FileResult:
    """The result of one file in this run.

    Args:
        upload: of the file.
        sent: the number of confirmed events.
        problems: of the rejected lines.
        warnings: of the confirmed events.
        failure: why the file was not read to its end, `""` if it was.
        is_complete: whether all of it was read, and each event confirmed or rejected.
    """

    upload: FileUpload
    sent: int = 0
    problems: ProblemCounts = field(default_factory=ProblemCounts)
    warnings: ProblemCounts = field(default_factory=ProblemCounts)
    failure: str = ""
    is_complete: bool = False

    @property
    def rejected_earlier(self) -> int:
        """Return how many lines the interrupted runs before this one rejected."""
        start = self.upload.start
        return 0 if start.is_complete else start.rejected

    @property
    def has_rejects(self) -> bool:
        """Return whether a line of the file was rejected."""
        return bool(self.problems.lines or self.rejected_earlier)

    @property
    def rejects_path(self) -> str | None:
        """Return the path of the reject file; None if there is none."""
        rejects = self.upload.rejects
        return rejects.path if rejects is not None and rejects.is_open else None


class Transfer:
    """Send files in order until all are sent or the transfer stops.

    Args:
        uploads: of the files.
        post: posts one body.
        progress: shows the progress.
        options: of `fslog send`.
    """

    def __init__(
        self,
        uploads: Sequence[FileUpload],
        post: Callable[[bytes], Outcome],
        progress: ProgressBar,
        options: argparse.Namespace,
    ) -> None:
        self.results: list[FileResult] = [FileResult(upload) for upload in uploads]
        self.stopped: TransferStopped | None = None
        self._uploader = Uploader(
            post, retry_for=options.retry_for, wait=self._wait, report=progress.message
        )
        self.stats: TransferStats = self._uploader.stats
        self._progress = progress
        self._limits = {"batch_events": options.batch_events, "batch_bytes": options.batch_bytes}
        self._plan: Plan | None = options.plan
        self._current = self.results[0]
        self._position: Callable[[], int] = lambda: 0

    def run(self) -> None:
        """Send all files; `results` and `stopped` hold the result, also after Ctrl-C.

        If a file cannot be read to its end, the next ones are sent all the same.
        """
        for result in self.results:
            result.upload.reset()  # all of them, so that --resume resumes all
        for result in self.results:
            try:
                self._send(result)
            except DamagedInput as error:
                line = result.upload.progress.newlines + 1
                result.failure = f"{error}, in line {line:,}; nothing from that line on was sent"
            except TransferStopped as error:
                self.stopped = error
                return
            except CommandError as error:
                result.failure = str(error)
            except OSError as error:
                path = error.filename or f"the checkpoint of {result.upload.file.label}"
                self.stopped = TransferStopped(f"{path} cannot be written: {reason_of(error)}")
                return

    def _wait(self, seconds: float) -> None:
        self._progress.wait(seconds, self._current.sent, self._position)

    def _send(self, result: FileResult) -> None:
        self._current = result
        upload, file = result.upload, result.upload.file
        with Reader(file, self._limits["batch_bytes"]) as reader:
            self._position = reader.position
            upload.begin(reader)
            done_bytes = 0 if file.is_stream else reader.position()
            self._progress.begin(file.label, file.size_bytes, done_bytes)
            try:
                self._send_lines(result, reader)
                upload.complete()
            finally:
                upload.end()
        result.is_complete = True

    def _send_lines(self, result: FileResult, reader: Reader) -> None:
        file = result.upload.file
        for batch in batches(reader.lines(), **self._limits, plan=self._plan):
            # A stream cannot be read again, so its incomplete last line is rejected.
            is_torn = not file.is_stream and _is_torn(batch[-1])
            if not batch[0].is_whole:
                result.upload.record_long(batch[0], reader.rest())
                result.problems.add(batch[0].number, batch[0].problems)
            elif lines := batch[:-1] if is_torn else batch:
                self._send_batch(result, lines)
            self._show(result)
            if is_torn:
                raise DamagedInput(f"{file.label} ends in the middle of a line")

    def _send_batch(self, result: FileResult, batch: Sequence[CheckedLine]) -> None:
        for part, refusal in self._uploader.send(batch):
            for one in result.upload.record(part, is_refused=bool(refusal)):
                result.problems.add(one.number, one.problems or (_refused(refusal),))
            if not refusal:
                result.sent += sum(bool(one.text) for one in part)
                for one in part:
                    if one.warnings:
                        result.warnings.add(one.number, one.warnings)
            self._show(result)

    def _show(self, result: FileResult) -> None:
        rejected = result.problems.lines
        note = f"{rejected:,} rejected" if rejected else ""
        self._progress.show(result.sent, self._position, note)


def _is_torn(one: CheckedLine) -> bool:
    r"""Return whether a line looks like an event that is not completely written yet.

    >>> _is_torn(CheckedLine(1, b'{"a":', b"", (Problem("not_json", "", ""),)))
    True
    """
    is_begun = one.is_whole and one.raw.lstrip().startswith(b"{") and not one.raw.endswith(b"\n")
    return is_begun and any(problem.code == "not_json" for problem in one.problems)


def _refused(reason: str) -> Problem:
    return Problem("refused", "", f"the endpoint refuses the event as too large: {reason}")
