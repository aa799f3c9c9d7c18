"""All files of one upload, in order, and what came of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fslog.cli.options import CommandError
from fslog.cli.output import ProgressBar
from fslog.cli.upload.accounts import Account
from fslog.cli.upload.jobs import Job
from fslog.cli.upload.judgement import Checked, batches
from fslog.cli.upload.ndjson import Damaged, Reader, words
from fslog.cli.upload.upload import Stopped, Uploader
from fslog.errors import Problem


class Sending:
    """Send files in order until all are sent or nothing more can be.

    Args:
        jobs: the files.
        uploader: posts their batches.
        progress: shows how far it is.
        batch_events, batch_bytes: what travels together at the most.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        uploader: Uploader,
        progress: ProgressBar,
        *,
        batch_events: int,
        batch_bytes: int,
    ) -> None:
        self.accounts = [Account(job) for job in jobs]
        self.stopped: Stopped | None = None
        self._uploader = uploader
        self._progress = progress
        self._limits = {"batch_events": batch_events, "batch_bytes": batch_bytes}
        self._account: Account | None = None
        self._position: Callable[[], int] = lambda: 0

    def run(self) -> None:
        """Send all of them; `accounts` and `stopped` tell what came of it, also after Ctrl-C.

        A file that cannot be read to its end does not keep the next ones from being sent. What
        stops the upload itself does.
        """
        for account in self.accounts:
            account.job.start_over()  # all of them: --resume then goes on with all
        for account in self.accounts:
            self._account = account
            try:
                self._send(account)
            except Damaged as error:
                at = account.job.sent.newlines + 1
                account.failure = f"{error}, in line {at:,}; from there on nothing was sent"
            except CommandError as error:
                account.failure = str(error)
            except Stopped as error:
                self.stopped = error
                return
            except OSError as error:
                self.stopped = Stopped(
                    f"{_place(error, account)} cannot be written: {words(error)}"
                )
                return

    def wait(self, seconds: float) -> None:
        """Wait, and show that."""
        sent = 0 if self._account is None else self._account.sent
        self._progress.wait(seconds, sent, self._position)

    def _send(self, account: Account) -> None:
        job = account.job
        with Reader(job.source, self._limits["batch_bytes"]) as reader:
            self._position = reader.position
            job.begin(reader)
            begins_at = 0 if job.source.is_stream else reader.position()
            self._progress.begin(job.source.label, job.source.size_bytes, begins_at)
            try:
                self._send_lines(account, reader)
                job.finish()
            finally:
                job.end()
        account.is_done = True

    def _send_lines(self, account: Account, reader: Reader) -> None:
        source = account.job.source
        for batch in batches(reader.lines(), **self._limits):
            # Of a stream nothing can be read again: what came of a line is set aside then.
            is_half = not source.is_stream and _is_half(batch[-1])
            if not batch[0].is_whole:
                account.job.settle_long(batch[0], reader.rest())
                _note(account, batch)
            elif whole := batch[:-1] if is_half else batch:
                self._upload(account, whole)
            self._show(account)
            if is_half:
                raise Damaged(f"{source.label} ends in the middle of a line")

    def _upload(self, account: Account, batch: Sequence[Checked]) -> None:
        for part, refusal in self._uploader.upload(batch):
            wrong = account.job.settle(part, is_refused=bool(refusal))
            _note(account, [_refused(one, refusal) for one in wrong])
            if not refusal:
                account.sent += sum(bool(one.text) for one in part)
                for one in part:
                    if one.warnings:
                        account.doubtful.add(one.number, one.warnings)
            self._show(account)

    def _show(self, account: Account) -> None:
        wrong = account.wrong.lines
        self._progress.show(account.sent, self._position, f"{wrong:,} rejected" if wrong else "")


def _note(account: Account, wrong: Sequence[Checked]) -> None:
    for one in wrong:
        account.wrong.add(one.number, one.problems)


def _is_half(one: Checked) -> bool:
    r"""Return whether a line looks like an event of which somebody has not written the rest yet.

    >>> _is_half(Checked(1, b'{"a":', b"", (Problem("not_json", "", ""),)))
    True
    """
    begun = one.is_whole and one.raw.lstrip().startswith(b"{") and not one.raw.endswith(b"\n")
    return begun and any(problem.code == "not_json" for problem in one.problems)


def _refused(one: Checked, refusal: str) -> Checked:
    """Give an event that the endpoint refuses its problem; others have theirs."""
    if not refusal or one.problems:
        return one
    message = f"the endpoint refuses it as too large, even alone: {refusal}"
    return one._replace(problems=(Problem("refused", "", message),))


def _place(error: OSError, account: Account) -> str:
    return str(error.filename or f"what was sent of {account.job.source.label}")
