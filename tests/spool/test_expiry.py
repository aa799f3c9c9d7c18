"""Events that are not sent: expired ones, and those for which the quarantine has no room."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fslog.collector import Collector
from spools import (
    SIZE,
    Process,
    failing,
    handler,
    line,
    numbers_of,
    on_disk,
    processes,
    quarantined,
    segments,
)

AGE = 3600.0


@contextmanager
def aging(path: Path, count: int = 1, **given: Any) -> Iterator[list[Process]]:
    """Return processes whose `spool_max_age` is an hour, with two events in a segment."""
    given = {"batch_events": 2, "share": {"max_age": AGE}, **given}
    with processes(path, count, **given) as made:
        yield made


def age(path: Path, name: str, seconds: float) -> None:
    """Make a segment as old as that, by the time of the test's process (see `Process.time`)."""
    at = time.time() - seconds
    os.utime(path / name, (at, at))


def aside(path: Path) -> list[int]:
    """Return the numbers of the events in the quarantine, and check that each has its reason."""
    files = quarantined(path)
    texts = {name: text for name, text in files.items() if name.endswith(".ndjson")}
    for name in texts:
        assert files[name.replace(".ndjson", ".reason")].startswith(b"expired: "), name
    return [number for _, text in sorted(texts.items()) for number in numbers_of(text)]


def test_own_events_expire(tmp_path: Path) -> None:
    """They are in the quarantine instead of on their way, exactly by the segment, and counted."""
    with aging(tmp_path) as [process]:
        process.epoch = time.time
        process.log(*range(1, 7))
        first, second, _ = segments(tmp_path)
        age(tmp_path, first, AGE + 5)
        age(tmp_path, second, AGE - 5)
        assert process.post() == [3, 4, 5, 6]
        assert aside(tmp_path) == [1, 2]
        assert segments(tmp_path) == []
        assert process.counts("accepted", "delivered", "abandoned", "expired", "quarantined") == [
            *(6, 4, 2, 2, 2)
        ]
        assert process.buffer.counts()["pending"] == process.share.used_bytes == 0
        assert sum("longer than spool_max_age" in text for text in process.said) == 1


def test_without_spool_max_age_nothing_expires(tmp_path: Path) -> None:
    """However long it has waited: it is opt-in."""
    with processes(tmp_path) as [process]:
        process.epoch = time.time
        process.log(1)
        process.buffer.seal()
        age(tmp_path, segments(tmp_path)[0], 10**8)
        assert process.post() == [1]
        assert quarantined(tmp_path) == {}


def test_events_of_dead_processes_expire(tmp_path: Path) -> None:
    """They count as adopted and abandoned; a torn line, which was never an event, does not."""
    with aging(tmp_path, 2) as [dead, process]:
        dead.log(1, 2, 3)
        dead.buffer.seal()
        first, _ = segments(tmp_path)
        with open(tmp_path / first, "ab") as file:
            file.write(line(9)[:20])
        dead.die()
        process.epoch = time.time
        age(tmp_path, first, AGE + 5)
        process.backlog.adopt_if_due()
        assert process.post() == [3]
        names = ("adopted", "delivered", "abandoned", "expired", "quarantined", "pending")
        assert process.counts(*names) == [3, 1, 2, 2, 2, 0]
        text = quarantined(tmp_path)[f"{first[:-7]}-0.ndjson"]
        assert text == line(1) + line(2) + line(9)[:20]
        assert segments(tmp_path) == os.listdir(tmp_path / "owners") == []


def test_events_expire_while_the_endpoint_is_down(tmp_path: Path) -> None:
    """At the next search, those that wait on disk and the batch whose POST failed; room is made.

    What is younger stays, and is sent in order.
    """
    with aging(tmp_path) as [process]:
        process.epoch = time.time
        process.read_at_most(2, 2 * SIZE)
        process.log(*range(1, 9))
        process.take()
        batch = process.backlog.head()
        assert batch is not None
        process.backlog.posted()
        used = process.share.used_bytes
        for name in segments(tmp_path)[:3]:
            age(tmp_path, name, AGE + 5)
        for segment, _ in batch.stored.shares:  # type: ignore[union-attr]
            segment.written_at -= AGE + 5
        process.backlog.adopt_at = 0.0
        process.backlog.adopt_if_due()
        assert sorted(aside(tmp_path)) == [1, 2, 3, 4, 5, 6]
        assert process.counts("abandoned", "expired", "quarantined", "pending") == [6, 6, 6, 2]
        assert process.share.used_bytes == used - 6 * SIZE
        assert on_disk(tmp_path) == [7, 8]
        assert process.post() == [7, 8]
        assert segments(tmp_path) == []


def test_a_large_segment_expires_in_pieces(tmp_path: Path) -> None:
    """Also what is left of one that was partly delivered; what was delivered is not set aside."""
    with aging(tmp_path, 2, batch_events=100) as [dead, process]:
        dead.log(*range(1, 10))
        dead.buffer.seal()
        dead.die()
        process.epoch = time.time
        process.read_at_most(2, 2 * SIZE)
        process.backlog.adopt_if_due()
        assert process.post(most=1) == [1, 2]
        age(tmp_path, segments(tmp_path)[0], AGE + 5)
        assert process.post() == []
        assert sorted(aside(tmp_path)) == [3, 4, 5, 6, 7, 8, 9]
        names = ("adopted", "delivered", "abandoned", "expired", "quarantined", "pending")
        assert process.counts(*names) == [9, 2, 7, 7, 7, 0]
        assert segments(tmp_path) == []


def test_expired_events_stay_if_the_quarantine_cannot_be_written(tmp_path: Path) -> None:
    """They are counted once, not sent, and set aside as soon as the disk works again."""
    with aging(tmp_path) as [process]:
        process.epoch = time.time
        process.log(1, 2)
        age(tmp_path, segments(tmp_path)[0], AGE + 5)
        process.fs.hooks["replace"] = failing(errno.EIO)
        assert process.post() == []
        assert on_disk(tmp_path) == [1, 2]
        process.fs.hooks.clear()
        process.source.retry_removals()
        assert aside(tmp_path) == [1, 2]
        assert segments(tmp_path) == []
        assert process.counts("abandoned", "expired", "quarantined", "pending") == [2, 2, 2, 0]


def test_a_full_quarantine_loses_what_is_counted(tmp_path: Path) -> None:
    """What it has stays; the rest is abandoned, but not `quarantined`, as one notice says."""
    given = {"max_age": AGE, "max_bytes": 10_000}  # 2,500 for the quarantine
    with aging(tmp_path, share=given, batch_events=10) as [process]:
        process.epoch = time.time
        process.log(*range(100, 150))
        for name in segments(tmp_path):
            age(tmp_path, name, AGE + 5)
        assert process.post() == []
        kept = aside(tmp_path)
        assert kept == list(range(100, 120))
        assert process.counts("accepted", "abandoned", "expired", "quarantined") == [50, 50, 50, 20]
        assert sum("quarantine is full (2500 bytes" in text for text in process.said) == 1
        assert process.log(*range(9)) == [True] * 9
        assert process.post() == list(range(9))


def test_garbled_lines_are_counted(tmp_path: Path) -> None:
    """An orphan's are adopted, abandoned and quarantined; own ones were accepted already."""
    with processes(tmp_path, 2) as [dead, process]:
        dead.log(1)
        dead.buffer.seal()
        with open(tmp_path / segments(tmp_path)[0], "ab") as file:
            file.write(b"garbled\n" + line(9)[:20])
        dead.die()
        process.backlog.adopt_if_due()
        assert process.post() == [1]
        names = ("accepted", "adopted", "delivered", "abandoned", "quarantined", "pending")
        assert process.counts(*names) == [0, 2, 1, 1, 1, 0]
        process.log(2, 3)
        process.buffer.seal()
        (tmp_path / segments(tmp_path)[0]).write_bytes(line(2) + b"garbled\n")
        assert process.post() == [2]
        assert process.counts(*names) == [2, 2, 2, 2, 2, 0]


def test_a_handler_sets_expired_events_aside(tmp_path: Path) -> None:
    """The argument is in effect, and `stats()` has the numbers."""
    with Collector() as collector:
        with processes(tmp_path, batch_events=1) as [dead]:
            dead.log(1, 2)
        age(tmp_path, segments(tmp_path)[1], AGE + 5)
        with handler(collector, tmp_path, spool_max_age=AGE) as made:
            assert made.flush(10)
            stats = made.stats()
        assert [event["number"] for event in collector.events] == [1]
        assert (stats.delivered, stats.abandoned, stats.expired, stats.quarantined) == (1, 1, 1, 1)
        assert aside(tmp_path) == [2]
