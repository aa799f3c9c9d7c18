"""The stream tells what arrives, coalesced, to any number of readers, slow and stuck ones too."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import Any

import pytest

from fslog.collector import http
from fslog.version import VERSION
from fslog.viewer import stream as module
from viewing import PATH, Stream, Visitor, dial, event, lines, viewing


def collect(stream: Stream, count: int) -> tuple[list[int], int]:
    """Read entries until one has the id `count`; return all ids, and how many were skipped."""
    ids: list[int] = []
    skipped = 0
    while not ids or ids[-1] < count:
        found = stream.until("entries")
        ids += [entry["id"] for entry in found["entries"]]
        skipped += found.get("skipped", 0)
        assert stream.last_id == str(found["newest"]) == str(ids[-1])
    return ids, skipped


def test_the_first_message_says_who_is_there() -> None:
    """`hello` tells the run, the version, what is kept, the outcomes and the endpoint."""
    with viewing(keep=2) as viewer, viewing() as other:
        viewer.post(event(), event(), event())
        viewer.send("PUT", "outcomes", {"status": 500})
        with viewer.stream() as stream, other.stream() as foreign:
            assert stream.response.status == 200
            assert stream.response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            assert stream.response.headers["Cache-Control"] == "no-store"
            assert stream.response.readline() == b"retry: 1000\n"
            kind, hello = stream.next() or ("", {})
            run = hello.pop("run")
            assert run != foreign.until("hello")["run"]
        with viewer.stream() as again:
            assert again.until("hello")["run"] == run
    assert kind == "hello"
    assert hello == {
        "version": VERSION,
        "endpoint": viewer.viewer.url,
        "keep": 2,
        "total": 2,
        "oldest": 2,
        "newest": 3,
        "dropped": 1,
        "outcomes": standing_answer(500),
    }


def standing_answer(status: int) -> dict[str, Any]:
    """Return outcomes with one that stands."""
    standing = {"status": status, "headers": {}, "delay": 0, "then": "answer"}
    return {"standing": standing, "script": []}


def test_what_arrives_is_told_at_once() -> None:
    """An entry and its request come as they arrive, the same as the API shows them."""
    with viewing() as viewer, viewer.stream() as stream:
        stream.until("hello")
        for number in range(1, 4):
            viewer.post(event(number), event(number, userId=None))
            entries = stream.until("entries")
            requests = stream.until("requests")
            shown = viewer.get("events", order="asc", after=entries["entries"][0]["id"] - 1)
            assert entries["entries"] == shown["entries"]
            assert {name: entries[name] for name in ("total", "oldest", "newest", "dropped")} == {
                "total": number * 2,
                "oldest": 1,
                "newest": number * 2,
                "dropped": 0,
            }
            assert "skipped" not in entries
            asked = viewer.get("requests", after=number - 1)
            assert requests == {name: asked[name] for name in ("requests", "total")}


def test_a_value_cannot_forge_a_message() -> None:
    """Line breaks of every kind, inside strings and between values, leave a message one message."""
    raw = b'{"a":\r"x\\r\\n\\ndata: {}\\n\\n",\r\r"b":"\xe2\x80\xa8\xc2\x85"}'
    with viewing() as viewer, viewer.stream() as stream:
        stream.until("hello")
        viewer.post(raw, b"event: cleared\rdata: {}\r\r", b"\r")
        entries = stream.until("entries")["entries"]
        assert entries[0]["event"] == json.loads(raw)
        assert len(entries) == 2
        assert (stream.next() or ("", None))[0] == "requests"


@pytest.mark.parametrize("how", ["query", "header"])
def test_a_reader_goes_on_where_it_was(how: str) -> None:
    """A reader that comes back says what it has, and is told the rest."""
    with viewing() as viewer:
        viewer.post(*[event(n) for n in range(5)])
        query = "?after=3" if how == "query" else ""
        headers = {"Last-Event-ID": "3"} if how == "header" else {}
        with viewer.stream(query, **headers) as stream:
            assert collect(stream, 5) == ([4, 5], 0)
        with viewer.stream("?after=1", Last_Event_ID="x", **headers) as stream:
            assert collect(stream, 5)[0][-1] == 5


def test_the_header_is_newer_than_the_address() -> None:
    """A browser that reconnects repeats the address; what it got since stands in the header."""
    with viewing() as viewer:
        viewer.post(*[event(n) for n in range(5)])
        with viewer.stream("?after=1", **{"Last-Event-ID": "4"}) as stream:
            assert collect(stream, 5) == ([5], 0)


def test_a_reader_of_an_earlier_run_gets_everything() -> None:
    """An id that there is not yet is of another run: all that is kept is told."""
    with viewing() as viewer:
        viewer.post(*[event(n) for n in range(3)])
        with viewer.stream("?after=4000") as stream:
            assert collect(stream, 3) == ([1, 2, 3], 0)


def test_without_a_position_only_what_comes_is_told() -> None:
    """A reader that has nothing, and asks for nothing, is told what comes."""
    with viewing() as viewer:
        viewer.post(event())
        with viewer.stream() as stream:
            stream.until("hello")
            viewer.post(event())
            assert collect(stream, 2) == ([2], 0)


def test_a_gap_is_told() -> None:
    """Of more than fits into one message the newest are told, and how many were left out."""
    with viewing() as viewer:
        viewer.post(*[event(n) for n in range(1_200)])
        with viewer.stream("?after=100") as stream:
            found = stream.until("entries")
            assert [entry["id"] for entry in found["entries"]] == list(range(701, 1_201))
            assert (found["skipped"], found["total"]) == (600, 1_200)
            missed = viewer.ids(after=100, before=701, limit=1000)
            assert len(missed) == 600


def test_what_left_is_a_gap() -> None:
    """Entries that left before a slow reader came are among those that it is told it missed."""
    with viewing(keep=3) as viewer:
        viewer.post(*[event(n) for n in range(10)])
        with viewer.stream("?after=2") as stream:
            found = stream.until("entries")
            assert [entry["id"] for entry in found["entries"]] == [8, 9, 10]
            assert (found["skipped"], found["dropped"], found["oldest"]) == (5, 7, 8)


def test_a_message_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long lines are, a message holds only so many bytes of them, one line at least."""
    monkeypatch.setattr(module, "MAX_BYTES", 5_000)
    with viewing() as viewer:
        viewer.post(*[event(n, pad="x" * 2_000) for n in range(5)])
        with viewer.stream("?after=0") as stream:
            assert collect(stream, 5) == ([4, 5], 3)
            viewer.post(event(pad="x" * 100_000))
            assert collect(stream, 6) == ([6], 0)


def test_a_reader_may_want_the_numbers_alone() -> None:
    """With `entries=0` a message says how many there are, whatever they hold."""
    with viewing() as viewer, viewer.stream("?after=0&entries=0") as stream:
        stream.until("hello")
        for number in (1, 2):
            viewer.post(*[event(n, pad="x" * 10_000) for n in range(1_000)])
            assert stream.until("entries") == {
                "entries": [],
                "total": number * 1_000,
                "oldest": 1,
                "newest": number * 1_000,
                "dropped": 0,
            }
        assert stream.last_id == "2000"


def test_clear_is_told_before_what_follows() -> None:
    """A reader is told to forget, then what came after; what was forgotten is no gap."""
    with viewing() as viewer, viewer.stream() as stream:
        stream.until("hello")
        for number in range(20):
            viewer.post(event(), event())
            viewer.ask("DELETE", "/api/events")
            viewer.post(event())
            kinds: list[str] = []
            while True:
                kind, data = stream.next() or ("", {})
                kinds.append(kind)
                if kind == "entries":
                    assert "skipped" not in data
                    last = data["entries"][-1]["id"]
                    if last == 3 * (number + 1):
                        break
            cleared = kinds.index("cleared")
            assert kinds[-1] == "entries"
            assert cleared < len(kinds) - 1


def test_outcomes_are_told() -> None:
    """Every page is told what the endpoint answers now: set, used up, or taken back."""
    with viewing() as viewer, viewer.stream() as stream:
        stream.until("hello")
        viewer.send("PUT", "outcomes", {"status": 500})
        assert stream.until("outcomes") == standing_answer(500)
        viewer.send("POST", "outcomes", {"outcomes": [{"status": 503}]})
        assert len(stream.until("outcomes")["script"]) == 1
        viewer.post(event())
        assert stream.until("requests")["requests"][0]["status"] == 503
        assert stream.until("outcomes") == standing_answer(500)
        viewer.ask("DELETE", "/api/outcomes")
        assert stream.until("outcomes") == {"standing": None, "script": []}


def test_requests_that_bring_nothing_are_told() -> None:
    """A refused POST has no entries, and is told as a request."""
    with viewing() as viewer, viewer.stream() as stream:
        stream.until("hello")
        viewer.post(event(), path="/wrong")
        kind, data = stream.next() or ("", {})
        assert (kind, [one["status"] for one in data["requests"]]) == ("requests", [400])


def test_at_most_ten_messages_a_second() -> None:
    """However often something arrives, a reader gets few messages, each with what came since."""
    with viewing() as viewer, viewer.stream() as stream:
        stream.until("hello")
        started_at = time.monotonic()
        with contextlib.closing(viewer.connect()) as client:
            for n in range(150):
                client.request("POST", PATH, lines(event(n)))
                client.getresponse().read()
        seconds = time.monotonic() - started_at
        counts = []
        while sum(counts) < 150:
            counts.append(len(stream.until("entries")["entries"]))
        assert len(counts) <= seconds / module.MIN_INTERVAL + 3


def test_silence_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """When nothing comes for a while the server says that it lives, and only then."""
    monkeypatch.setattr(module, "KEEPALIVE_INTERVAL", 0.05)
    with viewing() as viewer, viewer.stream() as stream:
        stream.until("hello")
        assert [stream.next() for _ in range(2)] == [("alive", {})] * 2
        viewer.post(event())
        assert collect(stream, 1) == ([1], 0)


def test_a_reader_is_told_nothing_twice() -> None:
    """Several readers, while much arrives, each see every entry once and in order."""
    total = 2_000
    with viewing() as viewer, contextlib.ExitStack() as stack:
        streams = [stack.enter_context(viewer.stream("?after=0")) for _ in range(4)]
        found: list[tuple[list[int], int]] = []
        readers = [
            threading.Thread(target=lambda s=stream: found.append(collect(s, total)))
            for stream in streams
        ]
        for reader in readers:
            reader.start()
        for _ in range(total // 20):
            viewer.post(*[event(n) for n in range(20)])
        for reader in readers:
            reader.join(30)
        assert len(found) == 4
        for ids, skipped in found:
            assert ids == sorted(set(ids))
            assert len(ids) + skipped == total


def stuck(viewer: Visitor) -> socket.socket:
    """Open a stream that nobody reads."""
    conn = dial(viewer)
    conn.sendall(f"GET /api/stream HTTP/1.1\r\nHost: {viewer.address}\r\n\r\n".encode())
    assert conn.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"
    return conn


def test_a_stuck_reader_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers that take nothing hold up no other, hold one message each, and are left in time."""
    monkeypatch.setattr(http, "_STUCK_SECONDS", 0.5)
    before = threading.active_count()
    with viewing(keep=100) as viewer:
        conns = [stuck(viewer) for _ in range(5)]
        with viewer.stream() as stream:
            stream.until("hello")
            for n in range(30):
                viewer.post(*[event(n, pad="x" * 100_000) for n in range(10)])
                collect(stream, 10 * (n + 1))
        for conn in conns:
            while conn.recv(1_000_000):  # what is on its way, and then the end
                pass
            conn.close()
        assert viewer.get("count")["count"] == 100
    assert threading.active_count() == before


def test_a_slow_reader_is_told_the_newest() -> None:
    """A reader that was away gets the newest when it reads again, and how much it missed."""
    with viewing() as viewer, stuck(viewer) as conn:
        for _ in range(40):
            viewer.post(*[event(n, pad="x" * 10_000) for n in range(100)])
        conn.settimeout(10)
        with conn.makefile("rb") as file:
            while file.readline() != b"\r\n":
                pass
            ids, skipped = collect(Stream(file), 4_000)  # type: ignore[arg-type]
        assert ids == sorted(set(ids))
        assert skipped > 0
        assert len(ids) + skipped == 4_000


def test_head_of_a_stream() -> None:
    """HEAD says what GET would be, and ends."""
    with viewing() as viewer:
        reply = viewer.ask("HEAD", "/api/stream")
        assert (reply.status, reply.body) == (200, b"")
        assert reply.headers["content-type"].startswith("text/event-stream")
