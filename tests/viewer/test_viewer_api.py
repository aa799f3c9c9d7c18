"""The HTTP API: lists, waits, configured answers, and errors."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
import time
from typing import Any

import pytest

from fslog import FreshsuccessHandler
from fslog.collector.http import Message
from fslog.viewer import api, queries, server
from fslog.viewer.server import Viewer
from viewing import PATH, Visitor, event, lines, viewing


def test_a_posted_event_is_an_entry() -> None:
    """A posted event is listed with its id, time and state, and unchanged."""
    before = int(time.time() * 1000)
    with viewing() as viewer:
        assert viewer.post(event(1), event(2, module=None), event(3, userId=5), b"[]") == 200
        found = viewer.get("events", order="asc")
    entries = found.pop("entries")
    facts = {"total": 4, "oldest": 1, "newest": 4, "dropped": 0}
    assert found == {**facts, "within": 4, "more": False}
    assert [entry["id"] for entry in entries] == [1, 2, 3, 4]
    assert [entry["state"] for entry in entries] == ["valid", "warning", "invalid", "invalid"]
    events = [event(1), event(2, module=None), event(3, userId=5), None]
    assert [entry["event"] for entry in entries] == events
    assert {entry["request"] for entry in entries} == {1}
    assert all(before <= entry["at"] <= time.time() * 1000 for entry in entries)
    assert [[(p["code"], p["property"]) for p in entry["problems"]] for entry in entries] == [
        [],
        [("expected", "module")],
        [("wrong_type", "userId")],
        [("not_an_object", "")],
    ]
    assert entries[2]["problems"] == [
        {
            "code": "wrong_type",
            "property": "userId",
            "message": "userId is number 5; expected a non-empty string",
            "got": "number 5",
            "expected": "a non-empty string",
        }
    ]


def test_an_event_is_shown_digit_for_digit() -> None:
    """Numbers, escapes and order of an event do not change; a CR between values is harmless."""
    raw = b'{"b":1.10,\r"a":[1e400,-0,12345678901234567890.5],\t"c":"\\ud800\\/"}'
    with viewing() as viewer:
        viewer.post(raw)
        shown = viewer.ask("GET", "/api/events").body
        assert raw.replace(b"\r", b" ") in shown
        assert json.loads(shown)["entries"][0]["event"] == json.loads(raw)


def test_pages_of_a_list() -> None:
    """`before`, `after`, `limit` and `order` select a page; `more` states whether more follow."""
    with viewing() as viewer:
        viewer.post(*[event(n) for n in range(10)])
        assert viewer.ids() == list(range(10, 0, -1))
        assert viewer.ids(limit=3) == [10, 9, 8]
        assert viewer.ids(limit=3, before=8) == [7, 6, 5]
        assert viewer.ids(order="asc", limit=3) == [1, 2, 3]
        assert viewer.ids(order="asc", after=8) == [9, 10]
        assert viewer.ids(after=2, before=5) == [4, 3]
        assert viewer.get("events", limit=10)["more"] is False
        assert viewer.get("events", limit=9)["more"] is True
        found = viewer.get("events", before=3, limit=1)
        assert (found["total"], found["within"], found["more"]) == (10, 2, True)


@pytest.mark.parametrize("query", [{}, {"user": "ann"}])
@pytest.mark.parametrize("order", ["desc", "asc"])
def test_a_list_by_position(query: dict[str, str], order: str) -> None:
    """`offset` skips matching entries in the requested order."""
    with viewing(keep=12) as viewer:
        viewer.post(*[event(n, userId="bob" if n % 3 else "ann") for n in range(20)])
        meant = viewer.ids(order=order, **query)
        assert len(meant) == (12 if not query else 4)
        for after, before in ((0, 99), (10, 17), (13, 14), (15, 12), (99, 0)):
            asked = [id for id in meant if after < id < before]
            for offset, limit in ((0, 3), (2, 3), (3, 1), (0, 20), (50, 5), (1, 0)):
                given = {"after": after, "before": before, "offset": offset, "limit": limit}
                found = viewer.get("events", order=order, **given, **query)
                ids = [entry["id"] for entry in found["entries"]]
                assert ids == asked[offset : offset + limit]
                assert (found["within"], found["total"]) == (len(asked), len(meant))
                assert found["more"] == (offset + limit < len(asked))


def test_a_brief_list() -> None:
    """`brief=1` shortens long events, so that a list can have its full length."""
    with viewing() as viewer:
        viewer.post(*[event(n, pad="x" * 100_000) for n in range(200)])
        found = viewer.get("events", brief=1)
        assert len(found["entries"]) == 200
        assert {entry["cut"] for entry in found["entries"]} == {True}
        assert found["entries"][-1]["event"] == event(0)
        assert viewer.get("events", brief=0, limit=1)["entries"][0]["event"]["pad"] == "x" * 100_000


def test_a_response_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The total length of lines in a response is limited, and paging continues after them."""
    monkeypatch.setattr(api, "_MAX_BYTES", 5_000)
    with viewing() as viewer:
        viewer.post(*[event(n, pad="x" * 2_000) for n in range(5)])
        found = viewer.get("events")
        assert ([entry["id"] for entry in found["entries"]], found["more"]) == ([5, 4], True)
        assert viewer.ids(before=4) == [3, 2]


def test_filters_are_query_parameters() -> None:
    """List and count accept percent-encoded filters; `total` counts the matches."""
    with viewing() as viewer:
        viewer.post(event(userId="Zoë & Co"), event(), event(accountId=None))
        assert viewer.ids(user="Zoë & Co") == [1]
        assert viewer.ids(state="problems", q="ACCOUNTID") == [3]
        assert viewer.get("events", user="ann")["total"] == 2
        assert viewer.get("count", user="ann") == {"count": 2, "dropped": 0}
        assert viewer.get("count") == {"count": 3, "dropped": 0}


def test_memory_is_bounded_and_reported() -> None:
    """Entries beyond `keep` are evicted, oldest first, and every response states how many."""
    with viewing(keep=3) as viewer:
        viewer.post(*[event(n) for n in range(5)])
        found = viewer.get("events")
        assert [entry["id"] for entry in found["entries"]] == [5, 4, 3]
        assert (found["oldest"], found["newest"], found["dropped"]) == (3, 5, 2)
        assert viewer.get("count") == {"count": 3, "dropped": 2}
        overview = viewer.get("overview")
        assert (overview["kept"], overview["total"], overview["dropped"]) == (3, 5, 2)
        assert viewer.ask("GET", "/api/events/2").status == 404
        viewer.viewer.collector.always(None)
        assert viewer.viewer.collector.events == []


def test_the_detail_of_an_entry() -> None:
    """Details have the line, the request and snippets, and a correction for an invalid entry."""
    body = gzip.compress(lines(event(), event(userId=None)))
    with viewing() as viewer:
        reply = viewer.ask("POST", PATH, body, Content_Encoding="gzip", User_Agent="test/1")
        assert reply.status == 200
        right, wrong = viewer.get("events/1"), viewer.get("events/2")
    assert right["line"] == json.dumps(event())
    assert set(right["copies"]) == {"json", "curl", "python"}
    assert "hint" not in right
    assert set(wrong["hint"]) == {"python", "rule"}
    received = right["received"]
    assert received == wrong["received"]
    assert received == {
        "id": 1,
        "at": right["at"],
        "method": "POST",
        "path": "/v1/***/***",
        "status": 200,
        "then": "answer",
        "encoding": "gzip",
        "bytes_received": len(body),
        "bytes_unpacked": len(lines(event(), event(userId=None))),
        "events": 1,
        "invalid": 1,
        "kept": True,
        "scripted": False,
        "reason": "",
        "user_agent": "test/1",
        "retry_of": None,
        "try": 1,
    }


def test_what_is_probably_a_mistake_is_a_warning_with_a_correction() -> None:
    """A misspelt action and ids of nobody, or of a user, are shown with what was probably meant."""
    with viewing() as viewer:
        viewer.post(event(action="features"), event(userId="None"), event(accountId="a@b.example"))
        found = [viewer.get(f"events/{number}") for number in (1, 2, 3)]
        assert [one["state"] for one in found] == ["warning"] * 3
        assert viewer.ids(problem="looks_anonymous userId") == [2]
    problems = [problem for one in found for problem in one["problems"]]
    shown = [(one["code"], one["property"], one["got"], one["expected"]) for one in problems]
    assert shown == [
        ("looks_misspelt", "action", 'string "features"', "'feature', or an action of your own"),
        ("looks_anonymous", "userId", 'string "None"', "the id of one user"),
        ("looks_like_user", "accountId", 'string "a@b.example"', "the id of one account"),
    ]
    for one, row in zip(
        found,
        ('"action": "feature",  # ', '"userId": "ann",  # ', '"accountId": "acme",  # '),
        strict=True,
    ):
        assert row in one["hint"]["python"]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b'{"a":"\xff"}', '{"a":"\ufffd"}'),
        (b"\x00\x1b[31m", "\x00\x1b[31m"),
        (b"NaN", "NaN"),
        (b'{"a":' + b"[" * 900 + b"]" * 900 + b"}", '{"a":' + "[" * 900 + "]" * 900 + "}"),
        (b'"' + b"x" * 5_000_000 + b'"', '"' + "x" * 5_000_000 + '"'),
        (b"<script>alert(1)</script>", "<script>alert(1)</script>"),
    ],
    ids=["not utf-8", "control", "nan", "deep", "huge", "markup"],
)
def test_any_line_has_its_detail(raw: bytes, shown: str) -> None:
    """Any line can be listed and has details as text."""
    with viewing() as viewer:
        viewer.post(raw)
        assert viewer.get("events")["entries"][0]["id"] == 1
        assert viewer.get("events/1")["line"] == shown


def test_a_body_that_cannot_be_decompressed_is_an_entry() -> None:
    """The entry of such a body has its beginning and its problem."""
    with viewing() as viewer:
        viewer.ask("POST", PATH, b"plain" * 100_000, Content_Encoding="gzip")
        found = viewer.get("events/1")
        assert found["problems"][0]["code"] == "not_compressed_so"
        assert len(found["line"]) == 65_536


def test_no_keys_are_shown() -> None:
    """No response contains a key of a URL, whether the path was valid or not."""
    with viewing() as viewer:
        viewer.post(event(), event(userId=None))
        viewer.post(event(), path="/v1/the-auth")
        viewer.post(event(), path="/the-auth/the-api")
        paths = ["events", "events/1", "events/2", "requests", "overview", "outcomes", "the-auth"]
        for path in paths:
            shown = viewer.ask("GET", f"/api/{path}").body
            assert b"the-auth" not in shown or path == "the-auth"
            assert b"the-api" not in shown


def test_clear_removes_entries_and_continues_ids() -> None:
    """DELETE removes entries and requests; configured answers stay, ids continue."""
    with viewing() as viewer:
        viewer.send("PUT", "outcomes", {"status": 429})
        viewer.post(event())
        viewer.send("PUT", "outcomes", None)
        viewer.send("POST", "outcomes", {"outcomes": [{"delay": 0}]})
        viewer.post(event(), event())
        reply = viewer.ask("DELETE", "/api/events")
        assert (reply.status, reply.body) == (204, b"")
        empty = {"total": 0, "oldest": 0, "newest": 0, "dropped": 0, "within": 0, "more": False}
        assert viewer.get("events") == {"entries": [], **empty}
        assert viewer.get("requests") == {"requests": [], "total": 0, "dropped": 0}
        assert viewer.get("overview")["requests"] == 0
        viewer.post(event())
        assert viewer.ids() == [3]
        assert viewer.get("requests")["requests"][0]["id"] == 3


# Waiting


def test_a_wait_ends_with_the_event() -> None:
    """A wait ends when the last missing event arrives."""
    with viewing() as viewer:
        found: list[Any] = []

        def wait() -> None:
            found.append(viewer.get("wait", user="bob", count=2, timeout=30))

        waiting = threading.Thread(target=wait)
        waiting.start()
        for user in ("ann", "bob", "ann", "bob"):
            viewer.post(event(userId=user))
        waiting.join(30)
        assert [entry["id"] for entry in found[0]["entries"]] == [2, 4]
        assert (found[0]["count"], found[0]["more"]) == (2, False)


def test_a_wait_that_times_out() -> None:
    """A wait that times out returns 408 with the matching entries and an error."""
    with viewing() as viewer:
        viewer.post(event())
        reply = viewer.ask("GET", "/api/wait?count=2&timeout=0.05")
        assert reply.status == 408
        assert [entry["id"] for entry in reply.json["entries"]] == [1]
        assert reply.json["count"] == 1
        assert reply.json["error"] == "1 of 2 events arrived within 0.05 s"
        assert viewer.ask("GET", "/api/wait?timeout=0").status == 200


def test_a_viewer_that_never_started() -> None:
    """A viewer that was stopped before it started responds with 503."""
    viewer = Viewer()
    viewer.stop()
    answer = viewer._route(Message("GET", "/api/events", {}, b"", "", 0.0))
    assert answer is not None
    assert answer.status == 503


def test_stop_ends_waits_and_streams() -> None:
    """Stopping a viewer ends waits and streams at once, and leaves no thread."""
    before = set(threading.enumerate())
    with viewing() as viewer:
        clients = [viewer.connect() for _ in range(3)]
        for client, path in zip(clients, ("wait?timeout=60", "stream", "stream"), strict=True):
            client.request("GET", f"/api/{path}")
        for client in clients[1:]:
            assert client.getresponse().status == 200
        started_at = time.monotonic()
    assert time.monotonic() - started_at < 10
    for client in clients:
        client.close()
    assert set(threading.enumerate()) == before


def test_waits_and_streams_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams and waits beyond the limit get a 503, until one of them ends."""
    with viewing() as viewer:
        monkeypatch.setattr(api, "_MAX_LONG_REQUESTS", 2)
        with viewer.stream() as one, viewer.stream() as other:
            assert one.until("hello")["run"] == other.until("hello")["run"]
            for path in ("stream", "wait"):
                reply = viewer.ask("GET", f"/api/{path}")
                assert (reply.status, list(reply.json)) == (503, ["error"])
        viewer.post(event())  # is told to those who left

        def is_free() -> bool:
            viewer.post(event())
            return viewer.ask("GET", "/api/wait").status == 200

        assert any(is_free() for _ in range(1000))


# Configured answers


def test_a_standing_answer_stays_until_restored() -> None:
    """PUT sets the answer to every POST, with headers; null restores the real one."""
    outcome = {"status": 503, "headers": {"Retry-After": "5"}}
    with viewing() as viewer:
        reply = viewer.send("PUT", "outcomes", outcome)
        whole = {**outcome, "delay": 0, "then": "answer"}
        assert (reply.status, reply.json) == (200, {"standing": whole, "script": []})
        for _ in range(2):
            answer = viewer.ask("POST", PATH, lines(event()))
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert viewer.get("outcomes") == {"standing": whole, "script": []}
        assert viewer.send("PUT", "outcomes", None).json == {"standing": None, "script": []}
        assert viewer.post(event()) == 200
        requests = viewer.get("requests")["requests"]
        seen = [(one["status"], one["scripted"], one["kept"]) for one in requests]
        assert seen == [(200, False, True), (503, True, False), (503, True, False)]
        assert [(one["retry_of"], one["try"]) for one in requests] == [(2, 3), (1, 2), (None, 1)]
        assert viewer.ids() == [1]


def test_scripted_answers_are_used_once() -> None:
    """POST appends answers that are used once each; DELETE removes the rest."""
    with viewing() as viewer:
        assert viewer.send("POST", "outcomes", {"outcomes": [{"status": 500}]}).status == 200
        more = [{"status": 429}, {"then": "close"}, {"status": 400}, {}]
        assert len(viewer.send("POST", "outcomes", {"outcomes": more}).json["script"]) == 5
        assert [viewer.post(event()) for _ in range(2)] == [500, 429]
        with pytest.raises(ConnectionError):
            viewer.post(event())
        assert [one["status"] for one in viewer.get("outcomes")["script"]] == [400, 200]
        reply = viewer.ask("DELETE", "/api/outcomes")
        assert (reply.status, reply.body) == (204, b"")
        assert viewer.post(event()) == 200
        statuses = [(one["status"], one["then"]) for one in viewer.get("requests")["requests"]]
        assert statuses == [(200, "answer"), (None, "close"), (429, "answer"), (500, "answer")]


@pytest.mark.parametrize("back", [("PUT", "null"), ("DELETE", None)])
def test_restoring_ends_delays_and_hangs(back: tuple[str, str | None]) -> None:
    """Restoring the real answers ends delays and hangs in progress."""
    method, body = back
    with viewing() as viewer, contextlib.ExitStack() as stack:
        clients = []
        for number, outcome in enumerate(({"then": "hang"}, {"status": 503, "delay": 3600}), 1):
            viewer.send("PUT", "outcomes", outcome)
            client = stack.enter_context(contextlib.closing(viewer.connect()))
            client.request("POST", PATH, lines(event()))
            viewer.viewer.collector.wait_for_requests(number)
            clients.append(client)
        viewer.ask(method, "/api/outcomes", body and body.encode(), Content_Type="application/json")
        with pytest.raises(ConnectionError):
            clients[0].getresponse()
        assert clients[1].getresponse().status == 503


@pytest.mark.parametrize(
    "outcome",
    [
        [],
        5,
        "503",
        {"state": 503},
        {"status": "503"},
        {"status": True},
        {"status": 503.0},
        {"status": 199},
        {"status": 600},
        {"delay": -1},
        {"delay": 3601},
        {"delay": True},
        {"delay": "1"},
        {"delay": None},
        {"delay": 10**400},
        {"then": "explode"},
        {"then": ["hang"]},
        {"headers": []},
        {"headers": {"A": 5}},
        {"headers": {"A": "b\r\nC: d"}},
        {"headers": {"A": "\u20ac"}},
        {"headers": {"A": "x" * 1001}},
        {"headers": {"A b": "c"}},
        {"headers": {"": "c"}},
        {"headers": {"A\r\nB": "c"}},
        {"headers": {"Content-Length": "5"}},
        {"headers": {"transfer-encoding": "chunked"}},
        {"headers": {f"A{n}": "b" for n in range(51)}},
    ],
)
def test_an_invalid_answer_is_refused(outcome: Any) -> None:
    """An invalid answer is a 400 with what is expected, and changes nothing."""
    with viewing() as viewer:
        for method, value in (("PUT", outcome), ("POST", {"outcomes": [{}, outcome]})):
            reply = viewer.send(method, "outcomes", value)
            assert (reply.status, list(reply.json)) == (400, ["error"])
        assert viewer.get("outcomes") == {"standing": None, "script": []}
        assert viewer.post(event()) == 200


@pytest.mark.parametrize("value", [[], {}, {"outcomes": {}}, {"outcomes": [], "more": 1}, None])
def test_an_invalid_script_is_refused(value: Any) -> None:
    """A body without a list of answers is a 400."""
    with viewing() as viewer:
        assert viewer.send("POST", "outcomes", value).status == 400


@pytest.mark.parametrize("body", [b"", b"{", b"NaN", b'{"delay": NaN}', b"\xff", b"[" * 100_000])
def test_a_body_that_is_not_json_is_refused(body: bytes) -> None:
    """A body that cannot be parsed is a 400, not a 500."""
    with viewing() as viewer:
        reply = viewer.ask("PUT", "/api/outcomes", body, Content_Type="application/json")
        assert (reply.status, list(reply.json)) == (400, ["error"])


def test_bodies_and_scripts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that is too long is a 413, a script that is too long a 400."""
    monkeypatch.setattr(queries, "_MAX_BODY_BYTES", 100)
    monkeypatch.setattr(api, "_MAX_SCRIPTED", 3)
    with viewing() as viewer:
        assert viewer.send("PUT", "outcomes", {"headers": {"A": "x" * 100}}).status == 413
        assert viewer.send("POST", "outcomes", {"outcomes": [{}] * 2}).status == 200
        assert viewer.send("POST", "outcomes", {"outcomes": [{}] * 2}).status == 400
        assert len(viewer.get("outcomes")["script"]) == 2


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_an_unknown_parameter_changes_no_answer(method: str) -> None:
    """A request with an unknown parameter has no effect."""
    with viewing() as viewer:
        body = {"status": 503} if method == "PUT" else {"outcomes": [{"status": 503}]}
        assert viewer.send(method, "outcomes?x=1", body).status == 400
        assert viewer.get("outcomes") == {"standing": None, "script": []}


def test_letters_that_are_not_percent_encoded() -> None:
    """UTF-8 that is not percent-encoded, as curl sends it, is accepted."""
    with viewing() as viewer:
        viewer.post(event(userId="Zoë"), event())
        host = viewer.address
        address, _, port = host.partition(":")
        with socket.create_connection((address, int(port)), timeout=10) as conn:
            ask = f"GET /api/count?user=Zoë HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            conn.sendall(ask.encode())
            reply = b"".join(iter(lambda: conn.recv(65_536), b""))
        assert json.loads(reply.partition(b"\r\n\r\n")[2])["count"] == 1


# Invalid requests


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("events?acount=acme", "unknown parameter 'acount'; expected action, account"),
        ("events?user=a&user=b", "the parameter user is given twice"),
        ("events?state=good", "state is 'good'; expected valid, warning, invalid or problems"),
        ("requests?limit=0", "limit is 0; expected 1 to 1000"),
        ("events?brief=yes", "brief is 'yes'; expected 0 or 1"),
        ("events?offset=-5", "offset: expected an integer"),
        ("events?request=x", "request is 'x'; expected the id of a request"),
        ("events?limit=1001", "limit is 1001; expected 0 to 1000"),
        ("events?limit=-1", "limit: expected an integer"),
        ("events?limit=%C2%B2", "limit: expected an integer"),
        ("events?after=1" + "0" * 5000, "after: expected an integer"),
        ("events?order=up", "order is 'up'; expected desc or asc"),
        ("events?" + "&".join(["a"] * 60), "more than 50 parameters"),
        ("events/0", "id is 0; expected 1"),
        ("events/x", "id: expected an integer"),
        ("events/", "id is 0; expected 1"),
        ("events/1?user=ann", "unknown parameter 'user'; expected none"),
        ("count?limit=5", "unknown parameter 'limit'"),
        ("wait?count=0", "count is 0; expected 1 to 20000"),
        ("wait?count=20001", "count is 20001; expected 1 to 20000"),
        ("wait?timeout=61", "timeout: expected a number of seconds from 0 to 60"),
        ("wait?timeout=-1", "timeout: expected a number of seconds"),
        ("wait?timeout=nan", "timeout: expected a number of seconds"),
        ("wait?timeout=soon", "timeout: expected a number of seconds"),
        ("overview?x", "unknown parameter 'x'"),
        ("outcomes?x=1", "unknown parameter 'x'"),
        ("stream?after=x", "after: expected an integer"),
    ],
)
def test_an_invalid_parameter_is_a_400(path: str, words: str) -> None:
    """An invalid parameter is an error with a sentence, never ignored."""
    with viewing() as viewer:
        viewer.post(event())
        reply = viewer.ask("GET", f"/api/{path}")
        assert (reply.status, list(reply.json)) == (400, ["error"])
        assert reply.json["error"].startswith(words)


@pytest.mark.parametrize(
    "path", ["/api/", "/api/nothing", "/api/events/1", "/static/", "/static/x"]
)
def test_an_unknown_path_is_a_404(path: str) -> None:
    """An unknown path is a 404 with a sentence."""
    with viewing() as viewer:
        reply = viewer.ask("GET", path)
        assert (reply.status, list(reply.json)) == (404, ["error"])


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/api/events", "GET, DELETE, HEAD"),
        ("DELETE", "/api/count", "GET, HEAD"),
        ("PATCH", "/api/outcomes", "GET, PUT, POST, DELETE, HEAD"),
        ("POST", "/static/index.html", "GET, HEAD"),
        ("OPTIONS", "/api/stream", "GET, HEAD"),
        ("DELETE", "/api/events/1", "GET, HEAD"),
    ],
)
def test_an_unknown_method_is_a_405(method: str, path: str, allowed: str) -> None:
    """A method that a path does not support is a 405 that lists those it does."""
    with viewing() as viewer:
        reply = viewer.ask(method, path)
        assert (reply.status, reply.headers["allow"]) == (405, allowed)
        assert list(reply.json) == ["error"]


def test_a_body_with_invalid_framing() -> None:
    """An invalid Content-Length is a 400, one too large a 413; the endpoint sees neither."""
    with viewing() as viewer:
        for length, status in (("x", 400), ("999999999", 413)):
            reply = viewer.ask("PUT", "/api/outcomes", b"", Content_Length=length)
            assert (reply.status, list(reply.json)) == (status, ["error"])
        assert viewer.get("requests")["requests"] == []


def test_an_internal_error_does_not_end_the_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An internal error is a 500 and one warning; the next request is served."""
    said: list[str] = []

    def fail(*given: Any) -> Any:
        raise ZeroDivisionError("oh")

    with Viewer(warn=said.append) as viewer:
        visitor = Visitor(viewer)
        with monkeypatch.context() as patch:
            patch.setattr(api, "overview", fail)
            reply = visitor.ask("GET", "/api/overview")
        assert (reply.status, list(reply.json)) == (500, ["error"])
        assert said == ["/api/overview failed: ZeroDivisionError: oh"]
        assert visitor.get("overview")["kept"] == 0


# Requests and overview


def test_requests_are_listed_newest_first() -> None:
    """Requests to the endpoint are listed, also invalid paths and pings, but not to the page."""
    with viewing() as viewer:
        viewer.post(event(), b"x")
        viewer.ask("POST", "/v1/ping", b"")
        viewer.post(event(), path="/wrong")
        viewer.ask("GET", "/elsewhere")
        viewer.ask("GET", "/")
        found = viewer.get("requests")["requests"]
        shown = [(one["id"], one["method"], one["path"], one["status"]) for one in found]
        assert shown == [
            (4, "GET", "/***", 400),
            (3, "POST", "/***", 400),
            (2, "POST", "/v1/ping", 200),
            (1, "POST", "/v1/***/***", 200),
        ]
        assert [one["id"] for one in viewer.get("requests", after=2)["requests"]] == [4, 3]
        assert [one["id"] for one in viewer.get("requests", limit=1)["requests"]] == [4]
        older = viewer.get("requests", before=4, limit=2)
        assert [one["id"] for one in older["requests"]] == [3, 2]
        assert (older["total"], older["dropped"]) == (4, 0)
        assert (found[3]["events"], found[3]["invalid"]) == (1, 1)


def test_a_request_uses_bounded_memory() -> None:
    """Long user agents and paths are cut."""
    with viewing() as viewer:
        viewer.ask("POST", "/v1" * 3000, b"", User_Agent="x" * 3000)
        (found,) = viewer.get("requests")["requests"]
        assert (len(found["user_agent"]), len(found["path"])) == (200, 200)


def test_the_overview_is_fresh() -> None:
    """The next overview counts every event that has been answered."""
    with viewing() as viewer:
        for number in range(1, 4):
            viewer.post(event(number))
            found = viewer.get("overview")
            assert (found["kept"], found["actions"]) == (number, [["feature", number]])
            assert sum(found["rate"]["counts"]) == number
        assert len(found["rate"]["counts"]) == 300
        assert abs(found["rate"]["from"] + 299 - time.time()) < 5


def test_the_overview_and_the_sessions_take_a_filter() -> None:
    """With a filter they count the matching events and the requests that contained them."""
    with viewing() as viewer:
        viewer.post(event(), event(sessionId="s-2"))
        viewer.post(event(userId="bob", sessionId="s-3"), event(userId=None))
        found = viewer.get("overview", user="ann")
        assert (found["kept"], found["total"], found["requests"]) == (2, 4, 1)
        assert found["users"] == {"count": 1, "top": [["ann", 2]]}
        assert sum(found["rate"]["counts"]) == 2
        assert viewer.get("overview")["requests"] == 2
        assert viewer.get("overview", user="nobody")["kept"] == 0
        assert viewer.get("overview", problem="missing userId")["invalid"] == 1
        listed = viewer.get("sessions", user="bob")
        assert ([one["sessionId"] for one in listed["sessions"]], listed["total"]) == (["s-3"], 1)
        everyone = viewer.get("sessions", limit=1, offset=1)
        assert [one["sessionId"] for one in everyone["sessions"]] == ["s-3"]
        assert everyone["total"] == 3
        for path in ("overview?state=bogus", "sessions?state=bogus", "sessions?limit=0"):
            assert viewer.ask("GET", f"/api/{path}").status == 400


# Load


def test_a_handler_delivers_to_a_viewer() -> None:
    """fslog's handler delivers to a viewer, also through simulated failures."""
    import logging

    with viewing() as viewer:
        viewer.send("POST", "outcomes", {"outcomes": [{"status": 503}, {"then": "reset"}]})
        handler = FreshsuccessHandler(
            auth_key="a", api_key="b", endpoint=viewer.viewer.url, max_backoff=0.01
        )
        log = logging.Logger("app")
        log.addHandler(handler)
        log.info("x", extra={"event": event()})
        for _ in range(3):
            handler.flush(10)
        handler.close()
        assert [entry["event"] for entry in viewer.get("wait")["entries"]] == [event()]
        requests = viewer.get("requests")["requests"]
        assert [(one["retry_of"], one["try"]) for one in requests] == [(2, 3), (1, 2), (None, 1)]
        assert requests[0]["user_agent"].startswith("fslog/")


def test_many_thousand_events_with_readers() -> None:
    """Under load the API responds, and entries are neither lost, duplicated nor reordered."""
    with viewing(keep=1_000) as viewer:
        batches = [
            lines(*[event(n) for n in range(start, start + 500)]) for start in range(0, 5000, 500)
        ]

        def post(which: list[bytes]) -> None:
            with contextlib.closing(viewer.connect()) as client:
                for body in which:
                    client.request("POST", PATH, body)
                    assert client.getresponse().read() == b""

        writers = [threading.Thread(target=post, args=(batches,)) for _ in range(2)]
        for writer in writers:
            writer.start()
        while any(writer.is_alive() for writer in writers):
            ids = viewer.ids(limit=300, state="valid", q="acme")
            assert ids == sorted(ids, reverse=True)
            viewer.get("overview")
        found = viewer.get("events", limit=1)
        assert (found["newest"], found["total"], found["dropped"]) == (10_000, 1_000, 9_000)


def test_the_memory_of_lines_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long lines are evicted early, so that memory stays within its limit of bytes."""
    monkeypatch.setattr(server, "KEEP_BYTES", 5_000_000)
    with viewing() as viewer:
        for n in range(12):
            viewer.post(event(n, pad="x" * 1_000_000))
        found = viewer.get("events")
        assert ([entry["id"] for entry in found["entries"]], found["dropped"]) == (
            [12, 11, 10, 9],
            8,
        )
