"""What came of each file of an upload, for a person and for a program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fslog.cli.output import Part, count
from fslog.cli.upload.findings import Findings
from fslog.cli.upload.jobs import Job
from fslog.cli.upload.upload import Travelled

_LABEL = 11


@dataclass
class Account:
    """Count what came of one file in this run.

    Args:
        job: its upload.
        sent: events that were confirmed.
        wrong: problems of the lines that were set aside.
        doubtful: warnings of events that were sent.
        failure: why it was not read to its end, `""` if it was.
        is_done: whether all of it was read, and each event confirmed or set aside.
    """

    job: Job
    sent: int = 0
    wrong: Findings = field(default_factory=Findings)
    doubtful: Findings = field(default_factory=Findings)
    failure: str = ""
    is_done: bool = False

    @property
    def earlier(self) -> int:
        """Return how many lines the interrupted runs before this one had set aside."""
        return 0 if self.job.begun.is_complete else self.job.begun.rejected

    @property
    def is_clean(self) -> bool:
        """Return whether no line of it was set aside."""
        return not self.wrong.lines and not self.earlier

    @property
    def is_right(self) -> bool:
        """Return whether every line of it was sent."""
        return self.is_done and self.is_clean

    @property
    def rejects(self) -> str | None:
        """Return the path of its reject file; None if there is none."""
        file = self.job.rejects
        return file.path if file is not None and file.is_open else None

    def json(self) -> dict[str, Any]:
        """Return it for a program."""
        begun, sent = self.job.begun, self.job.sent
        return {
            "file": self.job.source.path,
            "resumed_at_line": begun.newlines + 1 if begun.offset else None,
            "next_line": None if self.is_done else sent.newlines + 1,
            "sent": self.sent,
            "rejected": self.wrong.lines,
            "sent_in_all": sent.events,
            "rejected_in_all": sent.rejected,
            "rejects": self.rejects,
            "problems": self.wrong.json(),
            "warnings": self.doubtful.json(),
            "failure": self.failure or None,
        }


def totals(accounts: Sequence[Account], travelled: Travelled, seconds: float) -> dict[str, Any]:
    """Return the numbers of a run for a program."""
    return {
        "sent": sum(one.sent for one in accounts),
        "rejected": sum(one.wrong.lines for one in accounts),
        "warnings": sum(one.doubtful.lines for one in accounts),
        "batches": travelled.batches,
        "bytes": travelled.bytes_encoded,
        "bytes_sent": travelled.bytes_sent,
        "retries": travelled.retries,
        "seconds": round(seconds, 3),
        "files": [one.json() for one in accounts],
    }


def rows(
    accounts: Sequence[Account], travelled: Travelled, seconds: float, *, is_dry: bool
) -> Iterator[tuple[Part, ...]]:
    """Yield the lines that account for a run."""
    yield _row("would send" if is_dry else "sent", _sent(accounts, travelled, seconds, is_dry))
    for one in accounts:
        yield from _earlier(one)
        if not one.is_clean:
            yield _row("rejected", rejected(one), "red")
            yield from one.wrong.rows("red")
        if one.doubtful.lines:
            what = f"{count(one.doubtful.lines, 'event')} of {one.job.source.label}, "
            yield _row("warnings", f"{what}which the endpoint takes all the same", "yellow")
            yield from one.doubtful.rows("yellow")


def _row(label: str, text: str, style: str = "") -> tuple[Part, ...]:
    return ((f"{label:{_LABEL}}", "bold"), (text, style))


def _sent(accounts: Sequence[Account], travelled: Travelled, seconds: float, is_dry: bool) -> str:
    events = sum(one.sent for one in accounts)
    parts = [count(events, "event")]
    if travelled.batches:
        ratio = travelled.bytes_encoded / travelled.bytes_sent
        parts[0] += f" in {count(travelled.batches, 'batch', 'batches')}"
        parts.append(
            f"{travelled.bytes_encoded:,} bytes compressed to {travelled.bytes_sent:,}: "
            f"{ratio:.1f} : 1"
        )
    if not is_dry:
        parts.append(f"in {seconds:.1f} s")
    if travelled.retries:
        parts.append(f"after {count(travelled.retries, 'failed try', 'failed tries')}")
    return ", ".join(parts)


def _earlier(one: Account) -> Iterator[tuple[Part, ...]]:
    begun = one.job.begun
    if begun.offset:
        text = f"{one.job.source.label} from line {begun.newlines + 1:,} on; "
        yield _row("resumed", f"{text}{count(begun.events, 'event')} of it had been sent before")


def rejected(one: Account) -> str:
    """Return how many lines of a file were set aside, and where they are."""
    text = f"{count(one.wrong.lines + one.earlier, 'line')} of {one.job.source.label}"
    if one.earlier:
        text += f", {one.earlier:,} of them before this run"
    return f"{text}, set aside in {one.rejects}" if one.rejects else text
