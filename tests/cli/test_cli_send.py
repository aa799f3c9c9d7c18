"""`fslog send`: the events that arrive, the rejected lines, the output and the checkpoint."""

from __future__ import annotations

import fcntl
import gzip
import json
import logging
import os
import shlex
import stat
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest

from fslog import FreshsuccessHandler
from fslog.cli.upload.checkpoint import read_checkpoint
from fslog.collector import Answer, Collector
from fslog.net.transport import Transport
from fslog.spool.filesystem import FileSystem
from ports import free_port
from processes import KEYS
from rawserver import RawServer, answer
from uploads import Command, line, lines, made, numbers


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses between two attempts."""
    monkeypatch.setattr("fslog.cli.upload.transfer.MAX_BACKOFF", 0.01)


def files() -> list[str]:
    """Return the names in the directory."""
    return sorted(os.listdir())


def tidy(text: str) -> list[str]:
    """Return lines with single blanks."""
    return [" ".join(row.split()) for row in text.splitlines()]


MIXED = line(1) + line(2, userId=None) + b"\n" + line(4, module=None) + b"{\n" + line(6)[:-1]


# Success


def test_a_file_arrives(fslog: Command, collector: Collector) -> None:
    """Its events arrive in order, compressed, in batches, as the summary says; the code is 0."""
    made("a.ndjson", lines(range(12)))
    said = fslog("send", "--batch-events", 5, "a.ndjson")
    assert (said.code, said.err) == (0, "")
    assert numbers(collector) == list(range(12))
    assert [one.events for one in collector.requests] == [5, 5, 2]
    assert {one.encoding for one in collector.requests} == {"deflate"}
    size = sum(one.bytes_received for one in collector.requests)
    (row,) = said.out.splitlines()
    assert row.startswith(
        f"sent       12 events in 3 batches, {len(lines(range(12))):,} bytes compressed to {size}: "
    )
    assert files() == ["a.ndjson", "a.ndjson.fslog-sent"]
    assert stat.S_IMODE(os.stat("a.ndjson.fslog-sent").st_mode) == 0o600
    assert not any(key in Path("a.ndjson.fslog-sent").read_text() for key in KEYS)


def test_batches_are_those_of_a_handler(fslog: Command, collector: Collector) -> None:
    """The default limits of a batch are 5,000 events and 1 MiB."""
    made("many", lines(range(5_001)))
    made("large", b"".join(line(number, note="x" * 400_000) for number in range(3)))
    assert fslog("send", "many", "large").code == 0
    assert [one.events for one in collector.requests] == [5_000, 1, 2, 1]


@pytest.mark.usefixtures("keys")
def test_bodies_are_those_of_a_handler(
    fslog: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By default `send` posts the same bytes for its lines as a handler."""
    with RawServer(answer()) as server:
        monkeypatch.setenv("FSLOG_ENDPOINT", server.url)
        # With a spool they wait for each other, so that they are one body.
        handler = FreshsuccessHandler(flush_interval=60.0, spool=tmp_path / "spool")
        for number in range(500):
            event = {"action": "feature", "accountId": f"a{number % 7}", "userId": f"u{number}"}
            event |= {"module": "reports", "feature": "export"}
            handler.handle(logging.makeLogRecord({"event": event}))
        assert handler.flush(10.0)
        handler.close()
        body = server.requests[0].partition(b"\r\n\r\n")[2]
        made("a.ndjson", zlib.decompress(body))
        assert fslog("send", "a.ndjson").code == 0
        assert len(server.requests) == 2
        assert server.requests[1] == server.requests[0]


@pytest.mark.parametrize("is_gzip", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        lines([1, 2]),
        lines([1, 2])[:-1],
        lines([1, 2]).replace(b"\n", b"\r\n"),
        b"\n\n" + line(1) + b" \r\n\t" + line(2) + b"\n",
    ],
)
def test_files_of_many_sorts_arrive(
    text: bytes, is_gzip: bool, fslog: Command, collector: Collector
) -> None:
    """Line endings, blank lines and compression make no difference to what arrives."""
    made("a", gzip.compress(text) if is_gzip else text)
    assert fslog("send", "a").code == 0
    assert numbers(collector) == [1, 2]


@pytest.mark.parametrize("text", [b"", b"\n\n", gzip.compress(b"", mtime=0)])
def test_a_file_without_events(text: bytes, fslog: Command, collector: Collector) -> None:
    """A file without events causes neither a failure nor a request."""
    made("a", text)
    said = fslog("send", "a")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("sent       0 events, in ")
    assert collector.requests == []


def test_several_files_are_sent_in_order(fslog: Command, collector: Collector) -> None:
    """Each file is sent after the other, with its own checkpoint."""
    for number, name in enumerate("cab"):
        made(name, line(number))
    assert fslog("send", "c", "a", "b").code == 0
    assert numbers(collector) == [0, 1, 2]
    assert files() == ["a", "a.fslog-sent", "b", "b.fslog-sent", "c", "c.fslog-sent"]


# Invalid lines


def test_invalid_lines_are_rejected(fslog: Command, collector: Collector) -> None:
    """Each is reported once, by kind and number, and kept unchanged; the others are sent; 1."""
    made("a.ndjson", MIXED)
    said = fslog("send", "a.ndjson")
    assert said.code == 1
    assert numbers(collector) == [1, 4, 6]
    assert Path("a.ndjson.rejects.ndjson").read_bytes() == line(2, userId=None) + b"{\n"
    assert stat.S_IMODE(os.stat("a.ndjson.rejects.ndjson").st_mode) == 0o600
    assert said.err == ""
    assert tidy(said.out)[1:] == [
        "rejected 2 lines of a.ndjson, copied to a.ndjson.rejects.ndjson",
        "1 missing userId line 2: userId is missing; expected a non-empty string",
        "1 not_json line 5: the line is not strict JSON: "
        "Expecting property name enclosed in double quotes: line 2 column 1 (char 2)",
        "warnings 1 event of a.ndjson, accepted by the endpoint",
        "1 expected module line 4: action 'feature' is expected to have module, a string",
    ]


def test_json(fslog: Command, collector: Collector) -> None:
    """With `--json` the output is one object with all numbers, and the problems by file."""
    made("a.ndjson", MIXED)
    made("b.ndjson", line(7))
    said = fslog("send", "--json", "--quiet", "a.ndjson", "b.ndjson")
    assert (said.code, said.err) == (1, "")
    found = said.json
    first, second = found.pop("files")
    size = sum(one.bytes_received for one in collector.requests)
    assert found.pop("seconds") >= 0
    assert found == {
        "dry_run": False,
        "sent": 4,
        "rejected": 2,
        "warnings": 1,
        "batches": 2,
        "bytes": len(line(1) + line(4, module=None) + line(6) + line(7)),
        "bytes_sent": size,
        "retries": 0,
        "interrupted": False,
        "stopped": None,
        "resume": None,
    }
    assert [(one["code"], one["lines"]) for one in first.pop("problems")] == [
        ("missing", [2]),
        ("not_json", [5]),
    ]
    assert [one["code"] for one in first.pop("warnings")] == ["expected"]
    assert first == {
        "file": "a.ndjson",
        "resumed_at_line": None,
        "next_line": None,
        "sent": 3,
        "rejected": 2,
        "sent_in_all": 3,
        "rejected_in_all": 2,
        "rejects": "a.ndjson.rejects.ndjson",
        "failure": None,
    }
    assert (second["sent"], second["rejects"], second["problems"]) == (1, None, [])


def test_a_corrected_reject_file_can_be_sent(fslog: Command, collector: Collector) -> None:
    """A reject file is a file like any other."""
    made("a", MIXED)
    fslog("send", "a")
    made("a.rejects.ndjson", line(2) + line(5))
    assert fslog("send", "a.rejects.ndjson").code == 0
    assert numbers(collector) == [1, 4, 6, 2, 5]


def test_each_kind_of_problem_has_one_row(fslog: Command, collector: Collector) -> None:
    """A kind has one row, with its count and its first lines, however many there are."""
    made("a", b"{\n" * 8)
    made("b", b"[]\n" * 500)
    said = fslog("send", "a", "b")
    assert said.err == ""
    assert "  8  not_json                  lines 1, 2, 3, 4, 5, ...: the line is" in said.out
    assert "500  not_an_object             lines 1, 2, 3, 4, 5, ...: the line is" in said.out
    assert Path("b.rejects.ndjson").read_bytes() == b"[]\n" * 500
    assert collector.requests == []


def test_one_reject_file_for_all(fslog: Command, collector: Collector) -> None:
    """With `--rejects` the invalid lines of all inputs are written to one file, wherever it is."""
    os.mkdir("there")
    made("a", b"{a\n" + line(1))
    made("b", line(2) + b"no")
    assert fslog("send", "--rejects", "there/wrong", "a", "b").code == 1
    assert Path("there/wrong").read_bytes() == b"{a\nno\n"
    assert numbers(collector) == [1, 2]


@pytest.mark.parametrize("given", [[], ["--rejects", "mine"]])
def test_an_existing_reject_file_is_an_error(
    given: list[str], fslog: Command, collector: Collector
) -> None:
    """It is reported before anything is sent, and left unchanged."""
    path = made("mine" if given else "a.rejects.ndjson", b"theirs\n")
    made("a", line(1))
    said = fslog("send", *given, "a")
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        f"fslog send: error: {path} exists already; move it away, or name another with "
        "--rejects FILE\n"
    )
    assert path.read_bytes() == b"theirs\n"
    assert collector.requests == []


def test_a_file_that_appears_meanwhile_is_not_overwritten(
    fslog: Command, collector: Collector
) -> None:
    """A file that is created during the upload is unchanged too; the rest can be resumed."""
    made("a", line(1) + b"{\n" + line(3))
    rejects = Path("a.rejects.ndjson")
    collector._on_request = lambda request, events: rejects.write_bytes(b"theirs\n") and None
    said = fslog("send", "--batch-events", 1, "a")
    assert said.code == 1
    assert "a.rejects.ndjson exists already" in said.err
    assert rejects.read_bytes() == b"theirs\n"
    rejects.unlink()
    collector._on_request = None
    assert fslog("send", "--resume", "a").code == 1
    assert rejects.read_bytes() == b"{\n"
    assert sorted(set(numbers(collector))) == [1, 3]


def test_a_line_of_any_length_is_rejected(fslog: Command, collector: Collector) -> None:
    """A line that exceeds the limit is in the reject file, byte for byte; the rest is sent."""
    long = line(2, note="x" * 700_000)
    made("a", line(1) + long + line(3) + long[:-1])
    said = fslog("send", "--batch-bytes", 1_000, "a")
    assert said.code == 1
    assert Path("a.rejects.ndjson").read_bytes() == long + long
    assert numbers(collector) == [1, 3]
    assert "  2  too_large                 lines 2, 4: the line exceeds the limit of" in said.out
    assert read_checkpoint("a.fslog-sent").sent.popitem()[1].offset == os.stat("a").st_size


@pytest.mark.parametrize("end", [b"", b'{"accountId":', line(3)[:-3], b"  {"])
def test_an_incomplete_last_line_is_not_sent(
    end: bytes, fslog: Command, collector: Collector
) -> None:
    """Each complete line of a growing file is sent once, and no line is split."""
    path = made("a", lines([1, 2]) + end)
    said = fslog("send", "a")
    assert (said.code, numbers(collector)) == (bool(end), [1, 2])
    assert ("a ends in the middle of a line, in line 3;" in said.err) == bool(end)
    again = fslog("send", "--resume", "a")
    assert (again.code, numbers(collector)) == (bool(end), [1, 2])
    path.write_bytes(lines([1, 2, 3, 4]))
    assert fslog("send", "--resume", "a").code == 0
    assert numbers(collector) == [1, 2, 3, 4]
    assert files() == ["a", "a.fslog-sent"]


def test_an_incomplete_last_line_of_a_stream_is_rejected(
    fslog: Command, collector: Collector
) -> None:
    """A stream cannot be read again, so its incomplete last line is rejected and reported."""
    os.mkfifo("fifo")
    thread = threading.Thread(target=Path("fifo").write_bytes, args=(line(1) + b'{"a":',))
    thread.start()
    said = fslog("send", "fifo")
    thread.join()
    assert (said.code, numbers(collector)) == (1, [1])
    assert "not_json                  line 2: the line is not strict JSON: " in said.out
    assert Path("fifo.rejects.ndjson").read_bytes() == b'{"a":\n'


@pytest.mark.parametrize("end", [line(3)[:-1], b"oh no", b"[1]", line(3, userId=None)[:-1]])
def test_a_last_line_without_a_newline_is_a_line(
    end: bytes, fslog: Command, collector: Collector
) -> None:
    """A complete event is sent, and what cannot become one is rejected."""
    made("a", line(1) + end)
    said = fslog("send", "a")
    is_right = end == line(3)[:-1]
    assert (said.code, numbers(collector)) == (not is_right, [1, 3] if is_right else [1])
    assert "in the middle" not in said.err
    if not is_right:
        assert Path("a.rejects.ndjson").read_bytes() == end + b"\n"
    assert fslog("send", "--resume", "a").code == 0


# The endpoint's answers


def test_failures_are_retried(fslog: Command, collector: Collector) -> None:
    """If the endpoint is busy or breaks the connection the batch is retried, and arrives once."""
    made("a", lines(range(3)))
    collector.script(Answer(503), Answer(then="reset"), Answer(429), Answer(then="close"))
    said = fslog("send", "--batch-events", 2, "a")
    assert said.code == 0
    assert numbers(collector) == [0, 1, 2]
    assert said.err.splitlines() == [
        "the endpoint is down: it answers 503 Service Unavailable; retrying",
        "the endpoint works again",
    ]
    assert "after 4 failed attempts" in said.out


def test_retry_after_is_honoured(fslog: Command, collector: Collector) -> None:
    """The next attempt is not before the time that the endpoint asks for."""
    made("a", line(1))
    collector.script(Answer(503, headers={"Retry-After": "1"}))
    assert fslog("send", "a").code == 0
    first, second = collector.requests
    assert second.received_at - first.received_at >= 1.0


def test_it_stops_in_time_and_can_be_resumed(fslog: Command, collector: Collector) -> None:
    """After `--retry-for` it prints why and how to resume; no event is lost or sent twice."""
    made("a", lines(range(4)))
    collector.script(Answer(200))
    collector.always(Answer(503))
    collector.script(Answer(200))
    said = fslog("send", "--batch-events", 1, "--retry-for", 0.2, "a")
    assert said.code == 1
    host = collector.url.removeprefix("http://")
    stopped, hint = said.err.splitlines()[-2:]
    assert stopped == f"stopped: {host}: it answers 503 Service Unavailable"
    prefix = "no event is lost; to resume: "
    assert hint == f"{prefix}fslog send --resume --batch-events 1 --retry-for 0.2 a"
    collector.always(None)
    assert fslog(*shlex.split(hint.removeprefix(prefix))[1:]).code == 0
    assert numbers(collector) == [0, 1, 2, 3]


@pytest.mark.parametrize("status", [400, 401, 404, 302])
def test_a_configuration_error_stops_at_once(
    status: int, fslog: Command, collector: Collector
) -> None:
    """After one such answer nothing more is posted, and the message names what to check."""
    made("a", lines(range(4)))
    made("b", line(9))
    collector.script(Answer(200), Answer(status))
    said = fslog("send", "--batch-events", 2, "a", "b")
    assert said.code == 1
    assert len(collector.requests) == 2
    assert f"it answers {status}" in said.err
    assert "are FSLOG_AUTH_KEY and FSLOG_API_KEY" in said.err
    assert said.err.endswith("to resume: fslog send --resume --batch-events 2 a b\n")
    assert fslog("send", "--resume", "a", "b").code == 0
    assert numbers(collector) == [0, 1, 2, 3, 9]


def test_wrong_keys_send_nothing(
    fslog: Command, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the right keys the same file is sent completely."""
    made("a", MIXED)
    with monkeypatch.context() as wrong:
        wrong.setenv("FSLOG_API_KEY", "not-the-key")
        said = fslog("send", "a")
    assert said.code == 1
    assert "it answers 400" in said.err
    assert "not-the-key" not in said.err
    assert files() == ["a"]
    assert fslog("send", "a").code == 1
    assert numbers(collector) == [1, 4, 6]


def test_what_is_too_large_is_split(fslog: Command, collector: Collector) -> None:
    """Down to single events; a refused event is rejected, the others arrive."""
    with Collector(limit_bytes=400) as small:
        made("a", line(0) + line(1) + b"{\n" + line(3, note="x" * 400) + line(4) + line(5))
        said = fslog("send", "--endpoint", small.url, "a")
        assert said.code == 1
        assert numbers(small) == [0, 1, 4, 5]
    assert Path("a.rejects.ndjson").read_bytes() == b"{\n" + line(3, note="x" * 400)
    assert "is split; --batch-bytes or --batch-events" in said.err
    _, _, not_json, refused = tidy(said.out)
    assert not_json.startswith("1 not_json line 3: ")
    assert refused.startswith("1 refused line 4: the endpoint refuses the event as too large")
    assert refused.endswith((" 413 Content Too Large", " 413 Request Entity Too Large"))


def test_an_endpoint_that_is_down(fslog: Command, collector: Collector) -> None:
    """A refused connection is retried for `--retry-for`."""
    made("a", line(1))
    where = f"http://127.0.0.1:{free_port()}"
    said = fslog("send", "--endpoint", where, "--retry-for", 0.05, "a")
    assert said.code == 1
    assert "connection refused" in said.err
    assert files() == ["a"]


# Resuming


def test_what_was_sent_is_not_sent_again_by_mistake(fslog: Command, collector: Collector) -> None:
    """The same command again is refused with a remedy; `--again` sends the file."""
    made("a", lines([1, 2]))
    fslog("send", "a")
    said = fslog("send", "a")
    assert (said.code, said.out) == (2, "")
    host = collector.url.removeprefix("http://")
    assert said.err.startswith(f"fslog send: error: a was sent to {host} on 2")
    assert said.err.endswith(
        ", 2 events: --again sends it once more, --resume what was added since\n"
    )
    assert numbers(collector) == [1, 2]
    assert fslog("send", "--again", "a").code == 0
    assert numbers(collector) == [1, 2, 1, 2]


def test_what_was_sent_in_part_is_not_begun_again_by_mistake(
    fslog: Command, collector: Collector
) -> None:
    """Without `--resume` it is refused, with the last line that was sent."""
    made("a", lines([1, 2, 3]))
    collector.script(Answer(200), Answer(400))
    fslog("send", "--batch-events", 2, "a")
    host = collector.url.removeprefix("http://")
    assert fslog("send", "a") == (
        2,
        "",
        f"fslog send: error: a was sent to {host} in part, up to line 2: --resume sends the rest, "
        "--again all of it once more\n",
    )
    assert numbers(collector) == [1, 2]


def test_an_interruption_prints_the_command_to_resume(
    fslog: Command, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C during a POST exits with 130, and prints what was sent and what is left."""
    made("a", lines([1, 2, 3]))
    post = Transport.post

    def interrupted(self: Transport, body: bytes) -> Any:
        if collector.requests:
            raise KeyboardInterrupt
        return post(self, body)

    monkeypatch.setattr(Transport, "post", interrupted)
    said = fslog("send", "--batch-events", 2, "a")
    assert said.code == 130
    assert said.out.startswith("sent       2 events in 1 batch, ")
    hint = "no event is lost; to resume: fslog send --resume --batch-events 2 a"
    assert said.err.splitlines() == ["interrupted", hint]
    os.mkfifo("fifo")
    thread = threading.Thread(target=Path("fifo").write_bytes, args=(lines([1]),))
    thread.start()
    said = fslog("send", "fifo")
    thread.join()
    assert said.err.splitlines() == ["interrupted", "fifo: nothing from line 1 on was sent"]


def test_a_stream_is_not_resumed(fslog: Command, collector: Collector) -> None:
    """A stream can be read only once, so that --resume is an error."""
    os.mkfifo("fifo")
    for name in ("-", "fifo"):
        said = fslog("send", "--resume", name)
        assert (said.code, "is a stream, which can be read only once" in said.err) == (2, True)


def test_resuming_what_is_complete_sends_nothing(fslog: Command, collector: Collector) -> None:
    """`--resume` may be given any number of times, the first time included."""
    made("a", MIXED)
    assert fslog("send", "--resume", "a").code == 1
    for _ in range(2):
        said = fslog("send", "--resume", "a")
        assert (said.code, said.err) == (0, "")
        assert tidy(said.out)[1] == "resumed a from line 6 on; 3 events of it were sent before"
    assert numbers(collector) == [1, 4, 6]


def test_what_was_added_is_sent(fslog: Command, collector: Collector) -> None:
    """A file that has grown is resumed after the last line sent; line numbers continue."""
    path = made("a", lines([1, 2]))
    fslog("send", "a")
    with path.open("ab") as file:
        file.write(b"{\n" + line(3)[:-1])
    said = fslog("send", "--resume", "a")
    assert "not_json                  line 3: " in said.out
    with path.open("ab") as file:
        file.write(b"\n" + line(4) + b"{\n")
    said = fslog("send", "--resume", "a")
    assert "not_json                  line 6: " in said.out
    assert numbers(collector) == [1, 2, 3, 4]
    assert Path("a.rejects.ndjson").read_bytes() == b"{\n{\n"


@pytest.mark.parametrize(
    "text",
    [
        line(1, note="changed") + lines([2, 3, 4]),
        lines([2, 1, 3, 4]),
        line(1),
        b"",
        gzip.compress(lines([9, 9])),
    ],
)
def test_a_file_that_changed_is_noticed(text: bytes, fslog: Command, collector: Collector) -> None:
    """If the text that was sent has changed, only `--again` sends the file."""
    path = made("a", lines([1, 2, 3, 4]))
    collector.script(Answer(200), Answer(400))
    fslog("send", "--batch-events", 2, "a")
    path.write_bytes(text)
    said = fslog("send", "--resume", "a")
    assert said.code == 1
    assert "a has changed since 2 events of it were sent, on 2" in said.err
    assert numbers(collector) == [1, 2]
    assert fslog("send", "--again", "a").code == 0
    assert len(collector.events) == 2 + len(numbers(collector)[2:])


def test_a_file_may_be_compressed_meanwhile(fslog: Command, collector: Collector) -> None:
    """The text identifies the file, neither its compression nor its inode."""
    made("a", lines([1, 2, 3, 4]))
    collector.script(Answer(200), Answer(400))
    fslog("send", "--batch-events", 2, "a")
    made("new", gzip.compress(lines([1, 2, 3, 4])))
    os.replace("new", "a")
    assert fslog("send", "--resume", "a").code == 0
    assert numbers(collector) == [1, 2, 3, 4]


def test_each_destination_has_its_own_progress(
    fslog: Command, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The progress for a test endpoint does not count for the real one."""
    made("a", lines([1, 2]))
    with Collector() as other:
        assert fslog("send", "--endpoint", other.url, "a").code == 0
        assert fslog("send", "a").code == 0
        assert numbers(other) == numbers(collector) == [1, 2]
        assert fslog("send", "--resume", "--endpoint", other.url, "a").code == 0
        monkeypatch.setenv("FSLOG_API_KEY", "another-key")
        assert fslog("send", "--resume", "--endpoint", other.url, "a").code == 0
        assert numbers(other) == [1, 2, 1, 2]
    assert len(read_checkpoint("a.fslog-sent").sent) == 3


def test_progress_with_other_keys_is_an_error(
    fslog: Command, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent in part with other keys is neither sent twice nor silently left out."""
    made("a", lines([1, 2, 3]))
    collector.script(Answer(200), Answer(400))
    fslog("send", "--batch-events", 2, "a")
    collector._keys = None
    monkeypatch.setenv("FSLOG_API_KEY", "another-key")
    for given in ([], ["--resume"]):
        said = fslog("send", *given, "a")
        assert said.code == 2
        assert "a was sent in part, up to line 2, to" in said.err
        assert "with other keys: --again sends all" in said.err
    assert fslog("send", "--again", "a").code == 0
    assert numbers(collector) == [1, 2, 1, 2, 3]


def test_an_interrupted_repetition_is_resumed(fslog: Command, collector: Collector) -> None:
    """The progress of the first upload does not count for the second."""
    made("a", lines([1, 2]))
    fslog("send", "a")
    collector.script(Answer(400))
    assert fslog("send", "--again", "a").code == 1
    assert fslog("send", "--resume", "a").code == 0
    assert numbers(collector) == [1, 2, 1, 2]


def test_rejects_of_an_interrupted_run_are_reported(fslog: Command, collector: Collector) -> None:
    """A resumed run reports the earlier rejects, and exits with 1; each line is kept once."""
    made("a", b"{a\n" + line(1) + b"{b\n" + line(2) + b"{c\n" + line(3))
    collector.script(Answer(200), Answer(400))
    assert fslog("send", "--batch-events", 1, "a").code == 1
    said = fslog("send", "--resume", "a")
    assert said.code == 1
    assert "rejected   3 lines of a, 1 of them before this run, copied" in said.out
    assert Path("a.rejects.ndjson").read_bytes() == b"{a\n{b\n{c\n"
    collector.script(Answer(200), Answer(400))
    made("b", b"{a\n" + line(1) + line(2))
    assert fslog("send", "--batch-events", 1, "b").code == 1
    assert fslog("send", "--resume", "b").code == 1


def test_state_dir(fslog: Command, collector: Collector) -> None:
    """With `--state-dir` only the reject file is written beside the input."""
    os.mkdir("state")
    os.mkdir("data")
    made("data/a", lines([1, 2]))
    assert fslog("send", "--state-dir", "state", "data/a").code == 0
    assert os.listdir("data") == ["a"]
    (kept,) = os.listdir("state")
    assert kept.startswith("a.")
    assert kept.endswith(".fslog-sent")
    assert fslog("send", "--state-dir", "state", "--resume", "data/a").code == 0
    assert numbers(collector) == [1, 2]
    said = fslog("send", "--state-dir", "missing", "data/a")
    assert (said.code, "--state-dir DIR puts it elsewhere" in said.err) == (2, True)


def test_a_locked_file_is_not_sent(fslog: Command, collector: Collector) -> None:
    """An upload locks its file, and does not send one that is locked."""
    made("a", line(1))
    made("b", line(2))
    locked: list[bool] = []

    def look(request: Any, events: Any) -> None:
        with open("a", "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                locked.append(True)

    collector._on_request = look
    with open("b", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        said = fslog("send", "a", "b")
    assert locked == [True]
    assert said.code == 1
    assert "b is locked: another process sends or writes it" in said.err
    assert numbers(collector) == [1]
    assert fslog("send", "--resume", "a", "b").code == 0
    assert numbers(collector) == [1, 2]


def test_a_file_system_without_locks(
    fslog: Command, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that cannot be locked is sent all the same."""

    def fail(self: FileSystem, fd: int) -> bool:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(FileSystem, "try_lock", fail)
    made("a", line(1))
    assert fslog("send", "a").code == 0
    assert numbers(collector) == [1]


# Damaged files


def test_a_truncated_file(fslog: Command, collector: Collector) -> None:
    """The lines before the damage are sent, and it is reported; a complete file is resumed."""
    text = b"".join(line(number, note=os.urandom(20).hex()) for number in range(500))
    path = made("a.gz", gzip.compress(text)[:-500])
    made("b", line(999))
    said = fslog("send", "a.gz", "b")
    assert said.code == 1
    (words,) = said.err.splitlines()
    arrived = numbers(collector)
    assert arrived == [*range(len(arrived) - 1), 999]
    assert words == (
        f"a.gz ends in the middle of its gzip data, in line {len(arrived):,}; "
        "nothing from that line on was sent"
    )
    path.write_bytes(gzip.compress(text))
    assert fslog("send", "--resume", "a.gz", "b").code == 0
    assert sorted(numbers(collector)) == [*range(500), 999]


def test_a_truncated_long_line(fslog: Command, collector: Collector) -> None:
    """No part of it is in the reject file; when it is complete, all of it is."""
    long = json.dumps({"note": os.urandom(100_000).hex()}).encode() + b"\n"
    path = made("a.gz", gzip.compress(line(1) + b"{\n" + long)[:-50])
    assert fslog("send", "--batch-bytes", 1_000, "a.gz").code == 1
    assert Path("a.gz.rejects.ndjson").read_bytes() == b"{\n"
    path.write_bytes(gzip.compress(line(1) + b"{\n" + long))
    assert fslog("send", "--batch-bytes", 1_000, "--resume", "a.gz").code == 1
    assert Path("a.gz.rejects.ndjson").read_bytes() == b"{\n" + long
    assert numbers(collector) == [1]


def test_a_file_that_is_deleted_meanwhile(fslog: Command, collector: Collector) -> None:
    """It is reported, and the other files are sent."""
    for number, name in enumerate("abc"):
        made(name, line(number))
    collector._on_request = lambda request, events: Path("b").unlink(missing_ok=True)
    said = fslog("send", "a", "b", "c")
    assert said.code == 1
    assert "b cannot be read: No such file or directory, in line 1" in said.err
    assert numbers(collector) == [0, 2]


def test_a_checkpoint_that_cannot_be_written(
    fslog: Command, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk the upload stops with a message, and no event is lost."""
    made("a", lines([1, 2, 3]))

    def fail(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(FileSystem, "fsync", staticmethod(fail))
        said = fslog("send", "--batch-events", 1, "a")
    assert said.code == 1
    assert "the checkpoint of a cannot be written: No space left on device" in said.err
    assert fslog("send", "--resume", "a").code == 0
    assert numbers(collector) == [1, 1, 2, 3]


# Dry runs


def test_a_dry_run_changes_nothing(fslog: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs no keys, opens no connection, writes no file, and prints what would be sent."""
    made("a.ndjson", MIXED + b"\n" + b"x" * 5_000 + b"\n" + line(8))
    with RawServer(answer()) as server:
        monkeypatch.setenv("FSLOG_ENDPOINT", server.url)
        said = fslog("send", "--dry-run", "--batch-events", 2, "--batch-bytes", 2_000, "a.ndjson")
        assert server.connections == 0
    assert said.code == 1
    first, second, *_ = tidy(said.out)
    assert first.startswith("would send 4 events in 3 batches, ")
    assert second == "rejected 3 lines of a.ndjson"
    assert said.err == ""
    assert files() == ["a.ndjson"]


def test_a_dry_run_of_a_resumed_upload(fslog: Command, collector: Collector) -> None:
    """With `--resume` it prints what is left, and does not change it."""
    made("a", line(1) + b"{\n" + lines([2, 3]))
    collector.script(Answer(200), Answer(400))
    fslog("send", "--batch-events", 1, "a")
    before = {name: Path(name).read_bytes() for name in files()}
    said = fslog("send", "--dry-run", "--resume", "a")
    assert tidy(said.out)[0].startswith("would send 2 events in 1 batch")
    assert {name: Path(name).read_bytes() for name in files()} == before
    assert numbers(collector) == [1]


# Output


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["missing"],
        ["."],
        ["a", "a"],
        ["--nonsense", "a"],
        ["--retry-for", "-1", "a"],
        ["--batch-events", "0", "a"],
        ["--resume", "--again", "a"],
        ["--datacenter", "mars", "a"],
        ["--endpoint", "http://events.example", "a"],
        ["--ca-certs", "missing", "a"],
        ["--auth-key", "x", "a"],
        ["--rejects", "missing/file", "a"],
        ["--rejects", ".", "a"],
    ],
)
def test_a_wrong_argument(given: list[str], fslog: Command, collector: Collector) -> None:
    """An invalid argument exits with 2; nothing is sent or written."""
    made("a", line(1))
    said = fslog("send", *given)
    assert (said.code, said.out) == (2, "")
    assert "fslog send: error: " in said.err
    assert collector.requests == []
    assert files() == ["a"]


def test_no_keys(fslog: Command, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the missing key, and says that keys are not arguments."""
    made("a", line(1))
    monkeypatch.delenv("FSLOG_API_KEY")
    said = fslog("send", "a")
    assert said.code == 2
    assert "FSLOG_API_KEY is not set: " in said.err
    assert "never from arguments" in said.err


def test_quiet(fslog: Command, collector: Collector) -> None:
    """With `--quiet` only failures are printed."""
    made("a", lines([1, 2]))
    collector.script(Answer(503))
    assert fslog("send", "--quiet", "a") == (0, "", "")
    made("b", b"{\n")
    words = "rejected 1 line of b, copied to b.rejects.ndjson\n"
    assert fslog("send", "--quiet", "b") == (1, "", words)
    collector.script(Answer(400))
    made("c", line(1))
    said = fslog("send", "--quiet", "c")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("stopped: ")


def test_hostile_names_are_escaped(fslog: Command, collector: Collector) -> None:
    """A name with control characters or invalid UTF-8 is escaped, and its file is sent."""
    name = "a\x1b[2J\n\udcff"
    made(name, line(1) + b"{\n")
    said = fslog("send", name)
    assert said.code == 1
    assert "\x1b" not in said.out + said.err
    assert "1 line of a\\x1b[2J\\n\\udcff, copied to " in said.out
    assert fslog("send", "--again", "--rejects", "other", "--json", name).json["files"][0][
        "file"
    ] == (name)
    assert numbers(collector) == [1, 1]


def test_the_help(fslog: Command) -> None:
    """The help says where the keys are read from, how to resume, and what the exit code means."""
    said = fslog("send", "--help")
    assert said.code == 0
    for words in (
        "examples:\n  fslog send events.ndjson\n",
        "FSLOG_AUTH_KEY and FSLOG_API_KEY, or from\nthe files that",
        "There is no\noption for them",
        "With --resume an upload\ncontinues after any interruption",
        "The exit code is 0 if all events were sent",
    ):
        assert words in said.out
