"""`fslog send` once more: what others wrote, sent or configured meanwhile is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from fslog.collector import Answer, Collector
from fslog.net.transport import Transport
from uploads import Command, line, lines, made, numbers

WRONG = line(99, userId=None)


def test_a_shared_reject_file_keeps_what_others_wrote(
    fslog: Command,
    collector: Collector,
) -> None:
    """A resumed upload of one file keeps the rejected lines of another."""
    made("a", line(1) + WRONG)
    made("b", line(2) + WRONG + WRONG)
    assert fslog("send", "--rejects", "R", "a", "b").code == 1
    before = Path("R").read_bytes()
    made("a", line(1) + WRONG + line(3))
    assert fslog("send", "--resume", "--rejects", "R", "a").code == 0
    assert Path("R").read_bytes() == before
    assert numbers(collector) == [1, 2, 3]


def test_what_is_added_to_a_reject_file_is_kept(
    fslog: Command,
    collector: Collector,
) -> None:
    """A resumed upload appends to it, and truncates nothing."""
    made("a", line(1) + WRONG)
    assert fslog("send", "a").code == 1
    rejects = Path("a.rejects.ndjson")
    before = rejects.read_bytes() + b'{"mine":1}\n'
    rejects.write_bytes(before)
    made("a", line(1) + WRONG + WRONG + line(3))
    assert fslog("send", "--resume", "a").code == 1
    assert rejects.read_bytes() == before + WRONG
    assert numbers(collector) == [1, 3]


def test_what_another_process_sent_meanwhile_is_not_sent_again(
    fslog: Command,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The checkpoint is read again after the file is locked; the rest can be resumed later."""
    made("a", line(1))
    made("b", line(2))
    post = Transport.post
    meanwhile: list[int] = []

    def posting(self: Transport, body: bytes) -> object:
        if not meanwhile:
            meanwhile.append(1)
            assert fslog("send", "b").code == 0
        return post(self, body)

    monkeypatch.setattr(Transport, "post", posting)
    said = fslog("send", "a", "b")
    assert said.code == 1
    assert "b was sent by another process meanwhile; this one sent nothing of it" in said.err
    assert numbers(collector) == [2, 1]


def test_progress_of_another_destination_is_kept(
    fslog: Command,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The progress that another process wrote for another destination is unchanged."""
    made("a", line(1))
    made("b", line(2))
    post = Transport.post
    meanwhile: list[int] = []

    with Collector() as other:

        def posting(self: Transport, body: bytes) -> object:
            if not meanwhile:
                meanwhile.append(1)
                assert fslog("send", "--endpoint", other.url, "b").code == 0
            return post(self, body)

        monkeypatch.setattr(Transport, "post", posting)
        assert fslog("send", "a", "b").code == 0
        assert (numbers(collector), numbers(other)) == ([1, 2], [2])
        assert fslog("send", "--resume", "--endpoint", other.url, "b").code == 0
        assert numbers(other) == [2]


def test_all_of_an_interrupted_repetition_is_repeated(
    fslog: Command,
    collector: Collector,
) -> None:
    """After an interrupted --again, --resume sends the files that had not begun, too."""
    made("a", line(1))
    made("b", line(2))
    assert fslog("send", "a", "b").code == 0
    collector.script(Answer(401))
    assert fslog("send", "--again", "a", "b").code == 1
    assert fslog("send", "--resume", "a", "b").code == 0
    assert numbers(collector) == [1, 2, 1, 2]


def test_files_of_one_name_have_their_own_checkpoints(
    fslog: Command,
    collector: Collector,
) -> None:
    """Files of one name in several directories share no checkpoint in --state-dir."""
    for place, number in (("d1", 1), ("d2", 2), ("state", 0)):
        Path(place).mkdir()
        made(f"{place}/a", line(number))
    assert fslog("send", "--state-dir", "state", "d1/a").code == 0
    assert fslog("send", "--state-dir", "state", "d2/a").code == 0
    made("d1/a", lines([1, 3]))
    assert fslog("send", "--state-dir", "state", "--resume", "d1/a", "d2/a").code == 0
    assert numbers(collector) == [1, 2, 3]


def test_an_input_cannot_be_the_reject_file(
    fslog: Command,
    collector: Collector,
) -> None:
    """It would grow while it is read, and never end."""
    made("a", WRONG)
    made("R", b"")
    said = fslog("send", "--rejects", "R", "a", "R")
    assert (said.code, "R is an input; it cannot be the reject file" in said.err) == (2, True)
    assert collector.requests == []
