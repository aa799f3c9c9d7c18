"""The stream sends coalesced changes to any number of readers, also to slow and stuck ones."""

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


def test_the_first_message() -> None:
    """`hello` has the run, the version, the counts, the configured answers and the endpoint."""
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
        "plan": None,
        "total": 2,
        "oldest": 2,
        "newest": 3,
        "dropped": 1,
        "outcomes": standing_answer(500),
    }


def standing_answer(status: int) -> dict[str, Any]:
    """Return configured answers with a standing one."""
    standing = {"status": status, "headers": {}, "delay": 0, "then": "answer"}
    return {"standing": standing, "script": []}


def test_entries_and_requests_are_sent_at_once() -> None:
    """Entries and requests are sent as they arrive, in the form of the API."""
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
    """Line breaks of every kind, in strings and between values, cannot split a message."""
    raw = b'{"a":\r"x\\r\\n\\ndata: {}\\n\\n",\r\r"b":"\xe2\x80\xa8\xc2\x85"}'
    with viewing() as viewer, viewer.stream() as stream:
        stream.until("hello")
        viewer.post(raw, b"event: cleared\rdata: {}\r\r", b"\r")
        entries = stream.until("entries")["entries"]
        assert entries[0]["event"] == json.loads(raw)
        assert len(entries) == 2
        assert (stream.next() or ("", None))[0] == "requests"


@pytest.mark.parametrize("how", ["query", "header"])
def test_a_reader_continues_at_its_position(how: str) -> None:
    """A reader that returns with its last id gets the rest."""
    with viewing() as viewer:
        viewer.post(*[event(n) for n in range(5)])
        query = "?after=3" if how == "query" else ""
        headers = {"Last-Event-ID": "3"} if how == "header" else {}
        with viewer.stream(query, **headers) as stream:
            assert collect(stream, 5) == ([4, 5], 0)
        with viewer.stream("?after=1", Last_Event_ID="x", **headers) as stream:
            assert collect(stream, 5)[0][-1] == 5


def test_the_header_is_newer_than_the_address() -> None:
    """`Last-Event-ID` takes precedence over `after`, which a reconnecting browser repeats."""
    with viewing() as viewer:
        viewer.post(*[event(n) for n in range(5)])
        with viewer.stream("?after=1", **{"Last-Event-ID": "4"}) as stream:
            assert collect(stream, 5) == ([5], 0)


def test_a_reader_of_an_earlier_run_gets_everything() -> None:
    """An id that does not exist yet is of an earlier run: all kept entries are sent."""
    with viewing() as viewer:
        viewer.post(*[event(n) for n in range(3)])
        with viewer.stream("?after=4000") as stream:
            assert collect(stream, 3) == ([1, 2, 3], 0)


def test_without_a_position_only_new_entries_are_sent() -> None:
    """A reader without a position gets new entries only."""
    with viewing() as viewer:
        viewer.post(event())
        with viewer.stream() as stream:
            stream.until("hello")
            viewer.post(event())
            assert collect(stream, 2) == ([2], 0)


def test_a_gap_is_reported() -> None:
    """A message that is too small for all entries has the newest and the number skipped."""
    with viewing() as viewer:
        viewer.post(*[event(n) for n in range(1_200)])
        with viewer.stream("?after=100") as stream:
            found = stream.until("entries")
            assert [entry["id"] for entry in found["entries"]] == list(range(701, 1_201))
            assert (found["skipped"], found["total"]) == (600, 1_200)
            missed = viewer.ids(after=100, before=701, limit=1000)
            assert len(missed) == 600


def test_evicted_entries_are_a_gap() -> None:
    """Entries evicted before a reader came count as skipped."""
    with viewing(keep=3) as viewer:
        viewer.post(*[event(n) for n in range(10)])
        with viewer.stream("?after=2") as stream:
            found = stream.until("entries")
            assert [entry["id"] for entry in found["entries"]] == [8, 9, 10]
            assert (found["skipped"], found["dropped"], found["oldest"]) == (5, 7, 8)


def test_a_message_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of a message have a maximum total length, except for a single line."""
    monkeypatch.setattr(module, "MAX_BYTES", 5_000)
    with viewing() as viewer:
        viewer.post(*[event(n, pad="x" * 2_000) for n in range(5)])
        with viewer.stream("?after=0") as stream:
            assert collect(stream, 5) == ([4, 5], 3)
            viewer.post(event(pad="x" * 100_000))
            assert collect(stream, 6) == ([6], 0)


def test_a_reader_may_ask_for_counts_only() -> None:
    """With `entries=0` a message has the counts without entries."""
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


def test_clear_is_sent_before_later_entries() -> None:
    """`cleared` precedes entries that arrived later; cleared entries are not a gap."""
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


def test_changes_of_answers_are_sent() -> None:
    """Every page gets the configured answers when they are set, used or restored."""
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


def test_requests_without_entries_are_sent() -> None:
    """A rejected POST is sent as a request without entries."""
    with viewing() as viewer, viewer.stream() as stream:
        stream.until("hello")
        viewer.post(event(), path="/wrong")
        kind, data = stream.next() or ("", {})
        assert (kind, [one["status"] for one in data["requests"]]) == ("requests", [400])


def test_at_most_ten_messages_a_second() -> None:
    """Frequent arrivals are coalesced into few messages."""
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


def test_alive_is_sent_after_inactivity(monkeypatch: pytest.MonkeyPatch) -> None:
    """`alive` is sent if nothing happens for a while, and only then."""
    monkeypatch.setattr(module, "KEEPALIVE_INTERVAL", 0.05)
    with viewing() as viewer, viewer.stream() as stream:
        stream.until("hello")
        assert [stream.next() for _ in range(2)] == [("alive", {})] * 2
        viewer.post(event())
        assert collect(stream, 1) == ([1], 0)


def test_no_entry_is_sent_twice() -> None:
    """Several readers each get every entry at most once and in order, under load."""
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
    """Open a stream and do not read it."""
    conn = dial(viewer)
    conn.sendall(f"GET /api/stream HTTP/1.1\r\nHost: {viewer.address}\r\n\r\n".encode())
    assert conn.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"
    return conn


def test_a_stuck_reader_does_not_affect_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers that do not read delay no other, hold one message each, and are disconnected."""
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
            while conn.recv(1_000_000):  # the rest, and then the end
                pass
            conn.close()
        assert viewer.get("count")["count"] == 100
    assert threading.active_count() == before


def test_a_slow_reader_gets_the_newest() -> None:
    """A slow reader gets the newest entries and the number of those it missed."""
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
    """HEAD has the headers of GET and no body."""
    with viewing() as viewer:
        reply = viewer.ask("HEAD", "/api/stream")
        assert (reply.status, reply.body) == (200, b"")
        assert reply.headers["content-type"].startswith("text/event-stream")
