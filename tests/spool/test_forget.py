"""A person's events are removed from segments of dead and living owners; all others stay."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fslog.spool.directory import SpoolDirectory
from fslog.spool.forget import Answer, Person, Request, forget_dead, open_requests
from spools import (
    KEYS,
    Process,
    Watched,
    failing,
    line,
    numbers_of,
    on_disk,
    processes,
    quarantined,
    recover,
    segments,
)

ANN = Person(frozenset({"ann"}))


def mixed(*numbers: int) -> list[bytes]:
    """Return lines, of which those with even numbers are of the user `ann`."""
    return [line(n, userId="ann" if n % 2 == 0 else "bob") for n in numbers]


SIZE = len(mixed(2)[0])


def log(process: Process, *numbers: int) -> None:
    """Append such lines."""
    for one in mixed(*numbers):
        assert process.buffer.append(one)


def directory(path: Path) -> SpoolDirectory:
    """Return the directory as another process has it."""
    return SpoolDirectory(str(path), KEYS, fs=Watched())


@contextmanager
def asked(path: Path, person: Person = ANN) -> Iterator[Request]:
    """Ask all processes to forget a person."""
    request = Request(directory(path), person)
    try:
        yield request
    finally:
        request.close()


def tick(process: Process) -> None:
    """Do what the listener does every 10 seconds."""
    process.backlog.adopt_at = 0.0
    process.backlog.adopt_if_due()
    process.take()
    if process.backlog.is_to_forget:
        process.backlog.forget()


MATCHES = [
    ({"userId": "ann"}, {"userId": "ann", "accountId": "a"}, True),
    ({"userId": "ann"}, {"userId": "anna"}, False),
    ({"userId": "ann"}, {"email": "ann"}, False),
    ({"userId": "7"}, {"userId": 7}, True),
    ({"userId": "ann", "accountId": "a"}, {"userId": "ann", "accountId": "a"}, True),
    ({"userId": "ann", "accountId": "a"}, {"userId": "ann", "accountId": "b"}, False),
    ({"userId": "änn"}, {"userId": "änn"}, True),
]


@pytest.mark.parametrize(("given", "event", "is_theirs"), MATCHES)
@pytest.mark.parametrize("is_ascii", [True, False])
def test_whose_an_event_is(given: Any, event: Any, is_theirs: bool, is_ascii: bool) -> None:
    """Exactly those with the id, however it is written, and with the account if it is given."""
    accounts = [given["accountId"]] if "accountId" in given else []
    person = Person(frozenset([given["userId"]]), frozenset(accounts))
    text = json.dumps(event, ensure_ascii=is_ascii).encode()
    assert person.matches(event) is person.matches_line(text + b"\n") is is_theirs


def test_a_torn_line_is_the_person_s_if_it_names_them() -> None:
    """It is no event, and would be in the quarantine with the name."""
    for text in (b'{"userId":"ann","x', b'{"a":1,"userId" : "ann"'):
        assert ANN.matches_line(text)
    for text in (b'{"userId":"an', b'{"userId":"bob","x', b'{"x":"ann', b"[1]\n", b'"userId"\n'):
        assert not ANN.matches_line(text)


def test_a_dead_owner_s_segments(tmp_path: Path) -> None:
    """They are rewritten, or removed if nothing else is in them; the claim is what is left."""
    with processes(tmp_path, batch_events=3) as [dead]:
        log(dead, 1, 2, 3, 4, 6, 8, 5, 7, 9)
    name = segments(tmp_path)[0].rpartition("-")[0]
    before = (tmp_path / segments(tmp_path)[2]).stat()
    identity = before.st_ino, before.st_mtime_ns
    assert forget_dead(directory(tmp_path), name, ANN) == (4, None)
    assert on_disk(tmp_path) == [1, 3, 5, 7, 9]
    assert [one[-11:-7] for one in segments(tmp_path)] == ["0001", "0003"]
    after = (tmp_path / segments(tmp_path)[1]).stat()
    assert (after.st_ino, after.st_mtime_ns) == identity
    claim = int((tmp_path / "owners" / name).read_bytes().split()[1])
    assert claim == sum((tmp_path / one).stat().st_size for one in segments(tmp_path))
    assert forget_dead(directory(tmp_path), name, ANN) == (0, None)
    assert recover(tmp_path) == [1, 3, 5, 7, 9]


def test_an_owner_of_whom_nothing_is_left_is_removed(tmp_path: Path) -> None:
    """With its file, as an adopter would remove it."""
    with processes(tmp_path) as [dead]:
        log(dead, 2, 4)
    name = segments(tmp_path)[0].rpartition("-")[0]
    os.unlink(tmp_path / "owners" / name)  # somebody has removed it: it is locked all the same
    assert forget_dead(directory(tmp_path), name, ANN) == (2, None)
    assert segments(tmp_path) == os.listdir(tmp_path / "owners") == []


def test_what_was_delivered_is_not_sent_again(tmp_path: Path) -> None:
    """A segment of which a part is settled is rewritten without that part."""
    with processes(tmp_path, 2) as [dead, process]:
        log(dead, *range(1, 9))
        dead.die()
        process.read_at_most(2, 2 * SIZE)
        process.backlog.adopt_if_due()
        assert process.post(most=1) == [1, 2]
        process.die()
        name = segments(tmp_path)[0].rpartition("-")[0]
        assert forget_dead(directory(tmp_path), name, ANN) == (3, None)
    assert recover(tmp_path) == [3, 5, 7]


def test_a_living_owner_is_left_alone(tmp_path: Path) -> None:
    """Only the holder of the lock rewrites segments."""
    with processes(tmp_path) as [living]:
        log(living, 1, 2)
        name = segments(tmp_path)[0].rpartition("-")[0]
        assert forget_dead(directory(tmp_path), name, ANN) == (0, None)
        assert on_disk(tmp_path) == [1, 2]


def in_a_segment_that_waits(process: Process) -> None:
    process.buffer.seal()
    process.take()


def in_the_open_segment(process: Process) -> None:
    pass


def in_a_batch_whose_post_failed(process: Process) -> None:
    process.buffer.seal()
    process.take()
    assert process.backlog.head() is not None
    process.backlog.posted()


def in_the_rest_of_a_segment(process: Process) -> None:
    process.read_at_most(2, 2 * SIZE)
    in_a_batch_whose_post_failed(process)


def between_two_pieces(process: Process) -> None:
    process.read_at_most(1, SIZE)
    assert process.post(most=1) == [1]


STATES = [
    *(in_a_segment_that_waits, in_the_open_segment, in_a_batch_whose_post_failed),
    *(in_the_rest_of_a_segment, between_two_pieces),
]


@pytest.mark.parametrize("is_killed", [False, True], ids=["", "killed"])
@pytest.mark.parametrize("prepare", STATES)
def test_a_living_process_forgets(
    prepare: Callable[[Process], None], is_killed: bool, tmp_path: Path
) -> None:
    """Wherever the events wait: nothing of the person is on disk, or sent, and the numbers balance.

    All others are sent once, in order, by this process or the next one.
    """
    with processes(tmp_path, batch_events=8) as [process]:
        log(process, *range(1, 8))
        prepare(process)
        delivered = process.counts("delivered")[0]
        with asked(tmp_path) as request:
            tick(process)
            assert request.answers() == [Answer([process.share.owner_name], 3, True)]
            tick(process)
            assert len(request.answers()) == 1
        assert os.listdir(tmp_path / ".forget") == []
        text = b"".join((tmp_path / name).read_bytes() for name in segments(tmp_path))
        assert b"ann" not in text
        assert process.counts("accepted", "abandoned", "pending") == [7, 3, 4 - delivered]
        if not is_killed:
            log(process, 9)
            assert process.post() == [1, 3, 5, 7, 9][delivered:]
            assert process.counts("abandoned", "pending") == [3, 0]
            assert segments(tmp_path) == []
            assert process.share.used_bytes == 0
            return
    assert recover(tmp_path) == [1, 3, 5, 7][delivered:]


def test_adopted_events_are_forgotten(tmp_path: Path) -> None:
    """By the process that adopted them, whether it has read them or not, and counted there."""
    with processes(tmp_path, 2, batch_events=2) as [dead, process]:
        log(dead, *range(1, 9))
        dead.buffer.seal()
        dead.die()
        process.read_at_most(2, 2 * SIZE)
        process.backlog.adopt_if_due()
        assert process.backlog.head() is not None
        process.backlog.posted()
        with asked(tmp_path) as request:
            tick(process)
            [answer] = request.answers()
        assert (answer.removed, answer.is_complete) == (4, True)
        assert process.counts("adopted", "abandoned", "pending") == [2, 1, 1]
        assert process.post() == [1, 3, 5, 7]
        assert process.counts("adopted", "delivered", "abandoned", "pending") == [5, 4, 1, 0]
        assert segments(tmp_path) == []


def test_events_in_memory_are_forgotten(tmp_path: Path) -> None:
    """While the disk cannot be written they wait there."""
    with processes(tmp_path) as [process]:
        process.fs.hooks["create"] = failing(errno.ENOSPC)
        log(process, 1, 2, 3)
        process.fs.hooks.clear()
        with asked(tmp_path) as request:
            tick(process)
            [answer] = request.answers()
        assert answer.removed == 1
        assert process.counts("accepted", "abandoned", "pending") == [3, 1, 2]
        assert process.post() == [1, 3]


def test_a_disk_that_fails_is_reported(tmp_path: Path) -> None:
    """The answer says that something is left; the events stay as they were, and are sent."""
    with processes(tmp_path, batch_events=2) as [process]:
        log(process, 1, 2, 3, 4)
        with asked(tmp_path) as request:
            process.fs.hooks["replace"] = failing(errno.EIO, where=".ndjson")
            tick(process)
            [answer] = request.answers()
            assert (answer.removed, answer.is_complete) == (0, False)
        process.fs.hooks.clear()
        assert process.post() == [1, 2, 3, 4]
        assert process.counts("accepted", "delivered", "abandoned") == [4, 4, 0]


def test_a_request_ends_with_the_process_that_made_it(tmp_path: Path) -> None:
    """Its file is locked: without that it is none, and removed, because it names a person."""
    with processes(tmp_path) as [process]:
        log(process, 1, 2)
        request = Request(directory(tmp_path), ANN)
        os.close(request._fd)
        tick(process)
        assert os.listdir(tmp_path / ".forget") == []
        assert on_disk(tmp_path) == [1, 2]
        (tmp_path / ".forget" / "0123-4567.done").write_text("{}")
        with asked(tmp_path):
            assert len(os.listdir(tmp_path / ".forget")) == 1
        assert process.post() == [1, 2]


def test_what_is_no_request_is_left_alone(tmp_path: Path) -> None:
    """A locked file that is not readable as one asks for nothing."""
    with processes(tmp_path) as [process], asked(tmp_path) as request:
        for text in (b"", b"[]", b'{"users": 5}', b'{"users": []}', b"\xff"):
            Path(request._path).write_bytes(text)
            assert open_requests(process.share.directory, set()) == {}


def test_a_segment_in_flight_may_fail_and_be_split(tmp_path: Path) -> None:
    """A batch that was shortened is divided, delivered and removed like any other."""
    with processes(tmp_path, batch_events=4) as [process]:
        log(process, *range(1, 9))
        in_a_batch_whose_post_failed(process)
        with asked(tmp_path):
            tick(process)
        assert process.backlog.head() is not None
        process.backlog.split()
        assert process.post(most=1) == [1]
        assert quarantined(tmp_path) == {}
        process.die()
        assert numbers_of(b"".join((tmp_path / s).read_bytes() for s in segments(tmp_path))) == [
            *(3, 5, 7)
        ]
    assert recover(tmp_path) == [3, 5, 7]
