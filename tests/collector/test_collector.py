"""The embedded endpoint accepts and answers as the real one does, unless scripted otherwise."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fslog import capture
from fslog.collector import Answer, Collector, InvalidLine, Request
from fslog.collector.http import Message, Server
from posting import PATH, Reply, connected, send
from waiting import in_parallel


def event(n: int = 0, **more: Any) -> dict[str, Any]:
    """Return a valid event that is identified by its number."""
    fixed = {
        "accountId": "a",
        "userId": "u",
        "createdAt": 1_700_000_000_000 + n,
        "action": "x",
    }
    return {**fixed, "sessionId": "s", **more}


def lines(*events: Any, end: str = "\n") -> bytes:
    """Return a plain body."""
    return "".join(json.dumps(one) + end for one in events).encode()


def dial(c: Collector) -> socket.socket:
    """Open a bare connection."""
    host, port = c.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=5)


def exchange(c: Collector, *pieces: bytes, end: bool = False) -> bytes:
    """Send bytes, and return everything until the collector closes."""
    with dial(c) as conn:
        for piece in pieces:
            conn.sendall(piece)
        if end:
            conn.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: conn.recv(65_536), b""))


def head(*headers: str, method: str = "POST", path: str = PATH, version: str = "1.1") -> bytes:
    """Return the head of a request with exactly these headers."""
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: x", *headers, "", ""]).encode()


def codes(c: Collector) -> list[str]:
    """Return the codes of all problems so far."""
    return [problem.code for problem in c.problems]


# Bodies


def test_a_plain_body_is_accepted() -> None:
    """A POST of lines is answered 200 without a body, and its events are there, in order."""
    with Collector() as c:
        reply = send(c, lines(event(1), event(2)))
        assert (reply.status, reply.body, reply.headers) == (
            200,
            b"",
            {"Content-Length": "0"},
        )
        assert c.events == [event(1), event(2)]
        assert (c.invalid, c.problems, c.warnings) == ([], [], [])


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}


@pytest.mark.parametrize("encoding", PACKERS)
def test_a_compressed_body_is_accepted(encoding: str) -> None:
    """Bodies in gzip and deflate (zlib's format) are unpacked; both sizes are recorded."""
    text = lines(*[event(n) for n in range(50)])
    body = PACKERS[encoding](text)
    with Collector() as c:
        assert send(c, body, Content_Encoding=encoding.upper()).status == 200
        assert c.events == [event(n) for n in range(50)]
        [request] = c.requests
        sizes = (request.bytes_received, request.bytes_unpacked)
        assert (request.encoding, sizes) == (encoding, (len(body), len(text)))


def test_a_request_has_its_facts() -> None:
    """A request has every fact about itself except the keys."""
    before = time.monotonic()
    with Collector() as c:
        send(c, lines(event(), {}), Content_Type="application/json", X_A="b")
        [request] = c.requests
        assert request == Request(
            method="POST",
            target="events",
            path="/v1/***/***",
            status=200,
            encoding=None,
            headers={
                "host": c.url.removeprefix("http://"),
                "accept-encoding": "identity",
                "content-length": str(len(lines(event(), {}))),
                "content-type": "application/json",
                "x-a": "b",
            },
            bytes_received=len(lines(event(), {})),
            bytes_unpacked=len(lines(event(), {})),
            events=1,
            invalid=1,
            kept=True,
            received_at=request.received_at,
            scripted=False,
        )
        assert before < request.received_at < time.monotonic()
        with pytest.raises(dataclasses.FrozenInstanceError):
            request.status = 500  # type: ignore[misc]


@pytest.mark.parametrize("encoding", ["zstd", "x-gzip", "gzip, gzip", "DEFLATED", "identity"])
def test_any_other_content_encoding_is_read_as_plain_text(encoding: str) -> None:
    """A compressed body with an unsupported header is lost with a 200, and recorded as invalid."""
    with Collector() as c:
        assert send(c, gzip.compress(lines(event())), Content_Encoding=encoding).status == 200
        assert c.events == []
        assert set(codes(c)) <= {"not_utf8", "not_json"}
        assert len(c.invalid) > 0
        assert send(c, lines(event()), Content_Encoding=encoding).status == 200
        assert c.events == [event()]


RAW_DEFLATE = zlib.compressobj(6, zlib.DEFLATED, -15)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("deflate", RAW_DEFLATE.compress(lines(event())) + RAW_DEFLATE.flush()),
        ("deflate", gzip.compress(lines(event()))),
        ("gzip", lines(event())),
        ("gzip", gzip.compress(lines(event()))[:-1]),
    ],
    ids=["raw deflate", "gzip as deflate", "plain as gzip", "cut gzip"],
)
def test_a_body_that_does_not_unpack_is_lost_inside_a_200(encoding: str, body: bytes) -> None:
    """A body that cannot be unpacked completely is one invalid line."""
    with Collector() as c:
        assert send(c, body, Content_Encoding=encoding).status == 200
        assert c.events == []
        assert (codes(c), c.invalid[0].line) == (["not_compressed_so"], body)
        assert (c.requests[0].invalid, c.requests[0].bytes_unpacked) == (1, 0)


def test_lines_end_in_lf_or_crlf() -> None:
    """Both line endings, empty lines and a last line without an ending are fine."""
    body = lines(event(1), end="\r\n") + b"\n\r\n" + lines(event(2)) + lines(event(3), end="")
    with Collector() as c:
        send(c, body)
        assert c.events == [event(1), event(2), event(3)]
        assert c.invalid == []


TEXT = lines(event(), end="").decode()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (TEXT.replace('"u"', '"\xfc"').encode("latin-1"), "not_utf8"),
        ((TEXT[:-1] + ',"a":"\x00"}').encode("utf-16"), "not_utf8"),
        (b"\xef\xbb\xbf" + TEXT.encode(), "not_json"),
        (TEXT[:-1].encode(), "not_json"),
        (TEXT.encode() + b",", "not_json"),
        ((TEXT + TEXT).encode(), "not_json"),
        ((TEXT[:-1] + ',"a":NaN}').encode(), "not_json"),
        ((TEXT[:-1] + ',"a":-Infinity}').encode(), "not_json"),
        ((TEXT[:-1] + ',"a":"\t"}').encode(), "not_json"),
        (
            (TEXT[:-1] + ',"a":' + "[" * 200_000 + "]" * 200_000 + "}").encode(),
            "not_json",
        ),
        (f"[{TEXT},{TEXT}]".encode(), "not_an_object"),
        (b"null", "not_an_object"),
        (b'"text"', "not_an_object"),
        (TEXT.replace('"userId"', '"userID"').encode(), "missing"),
        (TEXT.replace('"a"', '""').encode(), "empty"),
        (TEXT.replace("1700000000000", '"now"').encode(), "wrong_type"),
        (TEXT.replace("1700000000000", "1e999").encode(), "not_finite"),
    ],
)
def test_an_invalid_line_is_dropped_and_recorded(line: bytes, code: str) -> None:
    """A line that the endpoint drops silently is recorded with its problem; other lines count."""
    with Collector() as c:
        body = lines(event(1)) + line + b"\n" + lines(event(2))
        assert send(c, body).status == 200
        if b"\n" not in line:
            assert [bad.line for bad in c.invalid] == [line + b"\n"]
        assert c.events == [event(1), event(2)]
        assert set(codes(c)) == {code}
        assert c.invalid[0].problems[0].message.strip()


def test_an_invalid_line_shows_its_value() -> None:
    """An invalid event is shown parsed, with every problem, and each names the event."""
    with Collector() as c:
        send(c, lines({"accountId": 5, "userId": "u"}, [1]))
        assert [bad.value for bad in c.invalid] == [
            {"accountId": 5, "userId": "u"},
            [1],
        ]
        assert isinstance(c.invalid[0], InvalidLine)
        assert [problem.property for problem in c.invalid[0].problems] == [
            "accountId",
            "createdAt",
            "action",
            "sessionId",
        ]
        assert c.invalid[0].problems[0].event == {"accountId": 5, "userId": "u"}
        assert c.problems == [p for bad in c.invalid for p in bad.problems]


def test_a_probable_mistake_is_a_warning() -> None:
    """An event that breaks a corroborated rule is accepted, with a warning."""
    with Collector() as c:
        send(c, lines(event(action="feature", module="m")))
        assert (len(c.events), c.invalid) == (1, [])
        assert [(p.code, p.property) for p in c.warnings] == [("expected", "feature")]


# Paths and methods


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_other_methods_get_400(method: str) -> None:
    """Any method but POST is answered 400 without a body, at both paths."""
    with Collector() as c, connected(c) as client:
        for path in (PATH, "/v1/ping"):
            reply = send(c, lines(event()), method, path, client)
            assert (reply.status, reply.body) == (400, b"")
        assert c.events == []
        assert [(r.method, r.status, r.kept) for r in c.requests] == [(method, 400, False)] * 2


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/", "/"),
        ("/v1", "/v1"),
        ("/v1/the-auth", "/v1/***"),
        ("/v1//the-api", "/v1//***"),
        ("/v1/the-auth/", "/v1/***/"),
        ("/v1/the-auth/the-api/", "/v1/***/***/"),
        ("/v1/the-auth/the-api/more", "/v1/***/***/***"),
        ("/v2/the-auth/the-api", "/v2/***/***"),
        ("/collect/v1/the-auth/the-api", "/***/v1/***/***"),
        ("/v1/v1/the-auth/the-api", "/v1/v1/***/***"),
        ("/v123/the-auth/the-api", "/***/***/***"),
        ("/the-auth/the-api", "/***/***"),
        ("/V1/ping", "/V1/ping"),
        ("/v1/ping/", "/v1/ping/"),
        ("http://[the-auth", "***"),
    ],
)
def test_another_path_gets_400(path: str, shown: str) -> None:
    """Any other path is answered 400, and shown without anything that may be a key."""
    body = lines(event())
    with Collector() as c:
        came = exchange(c, head(f"Content-Length: {len(body)}", path=path), body, end=True)
        assert came == b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
        assert c.events == []
        assert [(r.target, r.path, r.status) for r in c.requests] == [("other", shown, 400)]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (
            "/",
            "the path does not start with /v1; "
            "expected /v1/AUTH_KEY/API_KEY: is the base URL right?",
        ),
        ("/v2/the-auth/the-api", "the path starts with /v2; "),
        ("/the-auth/the-api", "the path does not start with /v1; "),
        ("/collect/v1/the-auth/the-api", "the path does not start with /v1; "),
        ("/v1/v1/the-auth/the-api", "the path has /v1 twice; "),
        ("/v1/the-auth/", "a key in the path is empty; "),
        ("/v1/the-auth", "the path has one segment after /v1; "),
        ("/v1", "the path has 0 segments after /v1; "),
        ("/v1/the-auth/the-api/more", "the path has 3 segments after /v1; "),
        ("http://[the-auth", "the path does not start with /v1; "),
        ("/v1/the-auth/other", "the keys are not those "),
    ],
)
def test_a_refused_request_has_a_reason(path: str, words: str) -> None:
    """The reason explains what is expected of a path, and has no key."""
    with Collector(keys=("the-auth", "the-api")) as c:
        body = lines(event())
        exchange(c, head(f"Content-Length: {len(body)}", path=path), body, end=True)
        [request] = c.requests
        assert request.reason.startswith(words)
        assert not any(word in request.reason for word in ("the-auth", "the-api", "other", "more"))


def test_a_request_refused_for_method_length_or_size_has_a_reason() -> None:
    """Every status but 200 has a reason; a scripted answer has none."""
    with Collector(limit_bytes=300, limit_events=1) as c:
        send(c, method="GET")
        exchange(c, head(), b"", end=True)
        send(c, b"x" * 301)
        send(c, zlib.compress(b"x" * 301), Content_Encoding="deflate")
        send(c, lines({}, {}))
        c.script(Answer(503))
        send(c, lines(event()))
        send(c, lines(event()))
        assert [(r.status, r.reason) for r in c.requests] == [
            (400, "the method is not POST"),
            (411, "the request has neither Content-Length nor Transfer-Encoding"),
            (413, "the body is longer than 300 bytes, as sent or unpacked"),
            (413, "the body unpacks to more than 300 bytes"),
            (413, "the body has 2 lines; expected at most 1"),
            (503, ""),
            (200, ""),
        ]


@pytest.mark.parametrize(
    "path",
    [
        f"{PATH}?x=1",
        "http://events-us.freshsuccess.com/v1/the-auth/the-api",
        f"/{PATH}",
    ],
)
def test_a_query_and_an_absolute_target_are_accepted(path: str) -> None:
    """A query is ignored, and the collector can act as an http proxy (RFC 9112 3.2)."""
    with Collector(keys=("the-auth", "the-api")) as c:
        assert send(c, lines(event()), path=path).status == 200
        assert (c.events, c.requests[0].path) == ([event()], "/v1/***/***")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/the-auth/an%2Fapi%20key", 200),
        ("/v1/the-auth/other", 400),
        ("/v1/other/an%2Fapi%20key", 400),
        ("/v1/an%2Fapi%20key/the-auth", 400),
        ("/v1/THE-AUTH/an%2Fapi%20key", 400),
    ],
)
def test_wrong_keys_get_400(path: str, status: int) -> None:
    """If keys are configured, other keys get 400, and their events are not accepted."""
    with Collector(keys=("the-auth", "an/api key")) as c:
        assert send(c, lines(event()), path=path).status == status
        assert c.events == [event()] * (status == 200)
        assert [(r.target, r.path) for r in c.requests] == [("events", "/v1/***/***")]


def test_ping_is_answered_with_and_without_a_length() -> None:
    """`POST /v1/ping` gets 200 and no body, also as `curl -X POST` sends it."""
    with Collector(keys=("a", "b")) as c:
        reply = send(c, path="/v1/ping")
        assert (reply.status, reply.body) == (200, b"")
        bare = exchange(c, head("Connection: close", path="/v1/ping"))
        assert bare.startswith(b"HTTP/1.1 200 OK\r\n")
        assert [(r.target, r.path, r.status, r.kept) for r in c.requests] == [
            ("ping", "/v1/ping", 200, False)
        ] * 2


def test_nothing_shows_the_keys() -> None:
    """No repr or public attribute of the collector or its requests contains a key."""
    with Collector(keys=("the-auth", "the-api")) as c:
        for path in (PATH, "/v1/the-auth", "/the-api", f"{PATH}?the-auth"):
            send(c, lines(event(), 1), path=path)
        with pytest.raises(TimeoutError) as caught:
            c.wait_for(99, timeout=0)
        shown = [repr(c), str(caught.value), repr(c.requests), repr(c.invalid)]
        shown += [repr(getattr(c, name)) for name in dir(c) if not name.startswith("_")]
        assert "the-a" not in "".join(shown)
        assert repr(c) == f"<Collector {c.url}>"


def test_a_message_does_not_show_its_target() -> None:
    """A message has the complete path, but its repr shows neither path nor body."""
    shown = repr(Message("POST", PATH, {}, b"body", "", 0.0))
    assert "the-a" not in shown
    assert "body" not in shown.replace("body=", "")


# Framing


def test_a_chunked_body_is_read() -> None:
    """Chunks of any size, extensions, trailers and both cases of hex digits are read."""
    body = lines(event(1), event(2))
    pieces = [head("Transfer-Encoding: Chunked", "Connection: close")]
    for start in range(0, len(body), 26):
        piece = body[start : start + 26]
        pieces += [f'{len(piece):X} ;name="a value";x\r\n'.encode(), piece, b"\r\n"]
    pieces += [b"000;last\r\n", b"Trailer: one\r\n", b"Other: two\r\n", b"\r\n"]
    with Collector() as c:
        assert exchange(c, *pieces).startswith(b"HTTP/1.1 200 OK\r\n")
        assert c.events == [event(1), event(2)]
        assert c.requests[0].bytes_received == len(body)


def test_a_connection_is_kept_after_chunks() -> None:
    """A chunked body is read exactly to its end, so the next request is read correctly."""
    first = b"0\r\nTrailer: one\r\n\r\n"
    next_one = head("Content-Length: 0", "Connection: close", path="/v1/ping")
    with Collector() as c:
        came = exchange(c, head("Transfer-Encoding: chunked"), first, next_one)
        assert came.count(b"HTTP/1.1 200 OK\r\n") == 2
        assert [r.target for r in c.requests] == ["events", "ping"]


@pytest.mark.parametrize(
    "chunks",
    [
        b"x\r\n",
        b"-1\r\na\r\n0\r\n\r\n",
        b"+1\r\na\r\n0\r\n\r\n",
        b"0x1\r\na\r\n0\r\n\r\n",
        b"\r\n0\r\n\r\n",
        b"1\na\r\n0\r\n\r\n",
        b"1;x\na\r\n0\r\n\r\n",
        b"1\r\na..0\r\n\r\n",
        b"1\r\nab\r\n0\r\n\r\n",
        b"1;" + b"x" * 70_000 + b"\r\na\r\n0\r\n\r\n",
        b"1" * 17 + b"\r\n",
        b"0\r\n" + b"a: b\r\n" * 101 + b"\r\n",
    ],
)
def test_a_malformed_chunk_gets_400_and_the_connection_is_closed(chunks: bytes) -> None:
    """Malformed chunks get 400 and a close, because the next head cannot be found."""
    with Collector() as c:
        came = exchange(c, head("Transfer-Encoding: chunked"), chunks)
        assert came == b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        assert [(r.status, r.kept) for r in c.requests] == [(400, False)]


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: -1"],
        ["Content-Length: +2"],
        ["Content-Length: 2 2"],
        ["Content-Length: two"],
        ["Content-Length: 0x2"],
        ["Content-Length: \u00b2"],
        ["Content-Length:"],
        ["Content-Length: 2", "Content-Length: 3"],
        ["Content-Length: 2", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: identity"],
        ["Content-Length: 2", "this is no header"],
        ["Content-Length : 2"],
    ],
)
def test_a_malformed_length_gets_400_and_the_connection_is_closed(
    headers: list[str],
) -> None:
    """An invalid length, or contradictory ones, get 400 and a close."""
    start = "\r\n".join([f"POST {PATH} HTTP/1.1", *headers, "", ""]).encode("latin-1")
    with Collector() as c:
        came = exchange(c, start, b"{}")
        assert came == b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        assert (c.invalid, c.events) == ([], [])


@pytest.mark.parametrize("framing", ["Content-Length: 99", "Transfer-Encoding: chunked"])
def test_a_body_that_ends_early_is_refused(framing: str) -> None:
    """An incomplete body gets 400: its complete lines may be part of a batch."""
    body = b"62\r\n" + lines(event()) if "chunked" in framing else lines(event())[:-1]
    with Collector() as c:
        came = exchange(c, head(framing), body, end=True)
        assert came.startswith(b"HTTP/1.1 400 ")
        assert (c.events, c.requests[0].status) == ([], 400)


def test_events_without_a_length_get_411() -> None:
    """A POST of events without a length gets 411; the connection is closed after the answer."""
    with Collector() as c:
        came = exchange(c, head(), lines(event()))
        assert came.startswith(b"HTTP/1.1 411 Length Required\r\nConnection: close\r\n")
        assert (c.events, c.requests[0].status) == ([], 411)


def test_expect_100_continue_is_answered_before_the_body() -> None:
    """A client that waits for 100 Continue gets it, sends its body and gets 200."""
    body = lines(event())
    expecting = head("Expect: 100-continue", f"Content-Length: {len(body)}", "Connection: close")
    with Collector() as c, dial(c) as conn:
        conn.sendall(expecting)
        assert conn.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        conn.sendall(body)
        assert conn.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
        assert c.events == [event()]


def test_a_body_that_is_too_long_gets_no_100_continue() -> None:
    """A client that expects 100 Continue gets 413 instead."""
    with Collector(limit_bytes=10) as c, dial(c) as conn:
        conn.sendall(head("Expect: 100-continue", "Content-Length: 11"))
        assert conn.recv(4096).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (b"POST " + PATH.encode() + b" HTTP/2.0\r\n\r\n", 505),
        (b"POST " + PATH.encode() + b" HTTP/x\r\n\r\n", 400),
        (b"POST\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400),
        (b"POST /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (head(*[f"X-{n}: y" for n in range(200)]), 431),
    ],
)
def test_an_invalid_head_is_refused_without_a_body(start: bytes, status: int) -> None:
    """An invalid head gets the appropriate status without a body, and is not recorded."""
    with Collector() as c:
        came = exchange(c, start)
        assert came.startswith(f"HTTP/1.1 {status} ".encode())
        assert came.endswith(b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        assert c.requests == []


@pytest.mark.parametrize("wish", ["close", "keep-alive"])
def test_http_1_0_is_answered_and_closed(wish: str) -> None:
    """HTTP/1.0 is supported, with one request per connection."""
    with Collector() as c:
        came = exchange(c, head("Content-Length: 0", f"Connection: {wish}", version="1.0"))
        assert came == b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


# Limits


CHUNKED = {"Transfer-Encoding": "chunked"}


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_gets_413(chunked: bool) -> None:
    """A body of exactly the limit is accepted; one byte more gets 413, and no event is kept."""
    body = lines(event(1), event(2))
    with Collector(limit_bytes=len(body)) as c:
        for more, status in ((b"", 200), (b" ", 413)):
            with connected(c) as client:
                source = iter([body, more]) if chunked else body + more
                headers = CHUNKED if chunked else {}
                client.request("POST", PATH, source, headers, encode_chunked=chunked)
                reply = Reply(client.getresponse())
                assert (reply.status, reply.body) == (status, b"")
                assert reply.headers.get("Connection") == (None if status == 200 else "close")
        assert c.events == [event(1), event(2)]
        assert [r.status for r in c.requests] == [200, 413]


@pytest.mark.parametrize("encoding", PACKERS)
def test_a_body_that_unpacks_to_more_than_the_limit_gets_413(encoding: str) -> None:
    """The unpacked size is bounded, so a small body cannot fill the memory."""
    body = lines(event()) * 100
    with Collector(limit_bytes=len(body)) as c:
        pack = PACKERS[encoding]
        assert send(c, pack(body), Content_Encoding=encoding).status == 200
        assert send(c, pack(body + b"\n"), Content_Encoding=encoding).status == 413
        assert send(c, pack(body * 50), Content_Encoding=encoding).status == 413
        assert (len(c.events), c.invalid) == (100, [])


def test_a_body_of_too_many_lines_gets_413() -> None:
    """More lines than allowed, invalid ones included, get 413; the request has their number."""
    with Collector(limit_events=3) as c:
        assert send(c, lines(event(1), event(2), {})).status == 200
        assert send(c, lines(event(1), event(2), event(3), {})).status == 413
        assert (len(c.events), len(c.invalid)) == (2, 1)
        assert [(r.events, r.invalid, r.kept) for r in c.requests] == [
            (2, 1, True),
            (3, 1, False),
        ]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 413),
        (CHUNKED, 413),
        ({"Content-Length": "-1"}, 400),
        ({"Host": "\x00\r\nx"}, 400),
    ],
)
def test_an_early_answer_reaches_a_client_that_is_still_sending(
    headers: dict[str, str], status: int
) -> None:
    """A client that sends megabytes before it reads gets its answer, not a reset."""
    body = [b"x" * 65_536] * 160
    if not headers:
        headers = {"Content-Length": str(160 * 65_536)}
    start = head(*[f"{name}: {value}" for name, value in headers.items()])
    framed = [b"10000\r\n" + one + b"\r\n" for one in body] if headers is CHUNKED else body
    with Collector(limit_bytes=1000) as c:
        came = exchange(c, start, *framed, end=True)
        assert came.startswith(f"HTTP/1.1 {status} ".encode())


# Speed and concurrency


def test_an_answer_is_sent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and body are sent together, on a socket with TCP_NODELAY."""
    sends: list[tuple[bytes, int]] = []
    sendall = socket.socket.sendall

    def noted(conn: socket.socket, data: bytes) -> None:
        if conn.getsockname()[1] == int(c.url.rpartition(":")[2]):
            sends.append((data, conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
        sendall(conn, data)

    with Collector() as c, connected(c) as client:
        monkeypatch.setattr(socket.socket, "sendall", noted)
        c.script(Answer(500, body=b"sorry"), Answer())
        assert send(c, client=client).body == b"sorry"
        assert send(c, client=client).body == b""
        assert [data for data, _ in sends] == [
            b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\n\r\nsorry",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ]
        assert all(nodelay for _, nodelay in sends)


def test_requests_over_one_connection_are_not_delayed() -> None:
    """60 requests need less time than 60 delayed acknowledgements of 40 ms."""
    with Collector() as c, connected(c) as client:
        started_at = time.monotonic()
        for n in range(60):
            assert send(c, lines(event(n)), client=client).status == 200
        assert time.monotonic() - started_at < 2.0
        assert len(c.events) == 60


def test_concurrent_clients_lose_no_event() -> None:
    """What eight clients send at the same time arrives once, in the order of each client."""
    with Collector() as c:

        def work(k: int) -> None:
            with connected(c) as client:
                for n in range(15):
                    send(c, lines(event(n, userId=f"u{k}"), event(n)), client=client)

        in_parallel(*[lambda k=k: work(k) for k in range(8)])
        assert len(c.events) == 8 * 15 * 2
        for k in range(8):
            times = [one["createdAt"] for one in c.events if one["userId"] == f"u{k}"]
            assert times == [event(n)["createdAt"] for n in range(15)]
        assert len(c.requests) == 8 * 15


# Scripts


def test_scripted_answers_are_used_in_order_and_then_the_standing_one() -> None:
    """POSTs get the scripted answers in order, then that of `always`, then the real one."""
    with Collector() as c:
        c.script(Answer(503, headers=[("Retry-After", "7")]), Answer(429))
        c.always(Answer(500, body=b"sorry"))
        first, *others = [send(c, lines(event(n))) for n in range(4)]
        assert (first.status, first.headers["Retry-After"]) == (503, "7")
        assert [(o.status, o.body) for o in others] == [
            (429, b""),
            (500, b"sorry"),
            (500, b"sorry"),
        ]
        c.always(None)
        assert send(c, lines(event(4))).status == 200
        assert c.events == [event(4)]
        assert [(r.status, r.scripted, r.kept, r.events) for r in c.requests] == [
            (503, True, False, 1),
            (429, True, False, 1),
            (500, True, False, 1),
            (500, True, False, 1),
            (200, False, True, 1),
        ]


def test_only_posts_of_events_use_scripted_answers() -> None:
    """Pings, other paths, methods and keys, and malformed requests use no scripted answer."""
    with Collector(keys=("the-auth", "the-api")) as c:
        c.script(Answer(503))
        assert send(c, path="/v1/ping").status == 200
        assert send(c, path="/else").status == 400
        assert send(c, method="PUT").status == 400
        assert send(c, path="/v1/a/b").status == 400
        assert send(c, Content_Length="x").status == 400
        assert exchange(c, head()).startswith(b"HTTP/1.1 411 ")
        assert not any(r.scripted for r in c.requests)
        assert send(c).status == 503


def test_a_redirect_can_be_scripted() -> None:
    """A status of 302 with a Location is sent as it was given; headers may be a mapping."""
    with Collector() as c:
        c.script(Answer(302, headers={"Location": "http://127.0.0.1:1/v1/a/b"}))
        reply = send(c, lines(event()))
        assert (reply.status, reply.headers["Location"]) == (
            302,
            "http://127.0.0.1:1/v1/a/b",
        )
        assert c.events == []


def test_a_scripted_close_after_the_answer() -> None:
    """`Connection: close` among the headers, in any case, closes after the answer."""
    with Collector() as c:
        c.script(Answer(200, headers={"connection": "Close"}))
        came = exchange(c, head("Content-Length: 0"))
        assert came == b"HTTP/1.1 200 OK\r\nconnection: Close\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("status", "line"), [(204, "HTTP/1.1 204 No Content"), (299, "HTTP/1.1 299 ")]
)
def test_unusual_statuses_are_well_formed(status: int, line: str) -> None:
    """A 204 has no length, an unknown status no phrase, and the connection is kept."""
    with Collector() as c, connected(c) as client:
        c.script(Answer(status))
        reply = send(c, client=client)
        assert (reply.status, "Content-Length" in reply.headers) == (
            status,
            status != 204,
        )
        assert send(c, client=client).status == 200
        c.script(Answer(status))
        last = exchange(c, head("Content-Length: 0", "Connection: close"))
        assert last.decode().startswith(line + "\r\n")


def test_a_delayed_answer_is_late() -> None:
    """An answer is sent no sooner than its delay."""
    with Collector() as c:
        c.script(Answer(delay=0.1))
        started_at = time.monotonic()
        assert send(c, lines(event())).status == 200
        assert time.monotonic() - started_at >= 0.1


def test_the_events_of_a_delayed_answer_are_not_delayed() -> None:
    """Events are accepted before the delay, as by a server that is slow to answer."""
    with Collector() as c, dial(c) as conn:
        c.script(Answer(delay=60))
        body = lines(event())
        conn.sendall(head(f"Content-Length: {len(body)}") + body)
        assert c.wait_for(1) == [event()]
        c.stop()
        assert conn.recv(4096) == b""


def test_a_hang_is_never_answered() -> None:
    """The client runs into its own timeout, and its events are not accepted."""
    with Collector() as c:
        c.script(Answer(then="hang"))
        with pytest.raises(TimeoutError):
            send(c, lines(event()), timeout=0.1)
        assert [(r.status, r.kept) for r in c.requests] == [(None, False)]
        assert send(c, lines(event())).status == 200


@pytest.mark.parametrize(
    ("then", "error"),
    [("close", http.client.RemoteDisconnected), ("reset", ConnectionResetError)],
)
def test_a_connection_ends_without_an_answer(then: str, error: type[Exception]) -> None:
    """`close` closes the connection normally, `reset` with a TCP reset; neither answers."""
    with Collector() as c:
        c.script(Answer(then=then))
        with pytest.raises(error) as caught:
            send(c, lines(event()))
        assert type(caught.value) is error
        assert (c.events, [r.status for r in c.requests]) == ([], [None])


@pytest.mark.parametrize("then", ["answer", "close", "hang", "reset"])
def test_an_answer_can_be_lost_although_the_events_were_accepted(then: str) -> None:
    """With keep=True the events are accepted whatever the answer is, with keep=False never."""
    with Collector() as c:
        c.script(Answer(500, then=then, keep=True), Answer(200, then=then, keep=False))
        for n in range(2):
            with contextlib.suppress(OSError, http.client.HTTPException):
                send(c, lines(event(n), {}), timeout=0.05 if then == "hang" else 5)
        requests = c.wait_for_requests(2)
        assert [r.kept for r in requests] == [True, False]
        assert (c.events, len(c.invalid)) == ([event(0)], 1)


@pytest.mark.parametrize(
    ("outcome", "status"),
    [(Answer(delay=0.05), 413), (Answer(503), 503), (Answer(503, keep=True), 503)],
)
def test_limits_hold_under_a_script(outcome: Answer, status: int) -> None:
    """Over a limit a scripted 200 becomes 413, and no events are kept whatever the answer is."""
    with Collector(limit_events=1, limit_bytes=200) as c:
        c.always(outcome)
        started_at = time.monotonic()
        assert send(c, lines(event(), event())).status == status
        assert time.monotonic() - started_at >= outcome.delay
        assert send(c, b" " * 201).status == status
        assert [r.scripted for r in c.requests] == [True, True]
        assert c.events == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"status": 199}, "status is 199; expected 200 to 599"),
        ({"status": 600}, "status is 600; expected 200 to 599"),
        (
            {"then": "cry"},
            "then is 'cry'; expected 'answer', 'hang', 'close' or 'reset'",
        ),
        ({"delay": -1.0}, "delay is -1.0; expected 0 or more seconds"),
    ],
)
def test_an_invalid_answer_is_a_value_error(values: Any, words: str) -> None:
    """An invalid answer fails where it is created; the message has the allowed values."""
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        Answer(**values)


# Waiting


def test_a_wait_ends_when_the_last_event_arrives() -> None:
    """`wait_for` counts events over several requests, and returns all of them."""
    with Collector() as c:

        def work() -> None:
            for n in range(3):
                send(c, lines(event(n), {}))

        thread = threading.Thread(target=work)
        thread.start()
        assert c.wait_for(3) == [event(0), event(1), event(2)]
        thread.join()
        assert c.wait_for(2) == c.events
        assert len(c.wait_for_requests(3)) == 3


def test_a_wait_in_vain_reports_what_arrived() -> None:
    """Every wait raises a TimeoutError that has the condition and the number that arrived."""
    with Collector() as c:
        send(c, lines(event(), {}))
        came = ": 1 events, 1 invalid lines and 1 requests$"
        with pytest.raises(TimeoutError, match=f"^fewer than 2 events arrived in 0.01 s{came}"):
            c.wait_for(2, timeout=0.01)
        with pytest.raises(TimeoutError, match=f"^fewer than 5 requests arrived in 0.01 s{came}"):
            c.wait_for_requests(5, timeout=0.01)
        with pytest.raises(TimeoutError, match=f"^the predicate stayed false for 0.01 s{came}"):
            c.wait_until(lambda _: False, timeout=0.01)


def test_a_wait_in_vain_in_a_pytest_run_that_sends_nothing() -> None:
    """The error names the option that lets handlers send, while they are switched off."""
    end = capture.switch_off()
    try:
        with Collector() as c, pytest.raises(TimeoutError, match=r"; .* fslog_send = true"):
            c.wait_for(1, timeout=0)
    finally:
        end()


def test_a_predicate_is_called_at_each_arrival() -> None:
    """`wait_until` calls it at once and after each request, without blocking the collector."""
    asked: list[int] = []

    with Collector() as c:

        def enough(seen: Collector) -> bool:
            asked.append(len(seen.requests))
            if len(asked) < 4:  # over another connection: the collector is not blocked
                send(seen, lines(event()))
            return len(seen.requests) >= 3

        c.wait_until(enough)
        assert asked == [0, 1, 2]


def test_a_wait_is_bounded_although_requests_keep_arriving() -> None:
    """Requests that keep arriving do not prolong `wait_until`."""
    with Collector() as c, pytest.raises(TimeoutError):
        c.wait_until(lambda seen: send(seen).status != 200, timeout=0.05)


def test_clear_forgets_what_arrived() -> None:
    """After `clear` the lists are empty and waits count from zero; scripted answers are kept."""
    with Collector() as c:
        c.script(Answer(), Answer(429))
        send(c, lines(event(1), {}))
        c.clear()
        assert (c.events, c.invalid, c.requests) == ([], [], [])
        with pytest.raises(TimeoutError):
            c.wait_for(1, timeout=0)
        assert send(c, lines(event(2))).status == 429
        assert send(c, lines(event(3))).status == 200
        assert c.wait_for(1) == [event(3)]


def test_lists_are_copies() -> None:
    """Changing a returned list does not change the collector."""
    with Collector() as c:
        send(c, lines(event(), {}))
        for given in (c.events, c.invalid, c.requests, c.problems):
            given.clear()
        assert (len(c.events), len(c.invalid), len(c.requests)) == (1, 1, 1)


@pytest.mark.parametrize("encoding", [None, *PACKERS])
def test_a_body_of_very_many_lines_gets_413(
    encoding: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Very many short lines cannot fill the memory, because they are not parsed."""
    monkeypatch.setattr("fslog.collector.judge.MOST_LINES", 10)
    with Collector() as c:
        for count, status in ((10, 200), (11, 413)):
            body = b"1\n" * count
            body = PACKERS[encoding](body) if encoding else body
            headers = {"Content_Encoding": encoding} if encoding else {}
            assert send(c, body, **headers).status == status
        assert [request.invalid for request in c.requests] == [10, 0]


def test_what_is_remembered_is_bounded() -> None:
    """With `keep` the newest of each kind are kept; waits also count the others."""
    with Collector(keep=2) as c:
        for n in range(4):
            send(c, lines(event(n), n))
        assert c.wait_for(4) == [event(2), event(3)]
        assert [bad.value for bad in c.invalid] == [2, 3]
        assert len(c.wait_for_requests(4)) == 2
    with Collector(keep=0) as c:
        send(c, lines(event(), 1))
        assert (c.wait_for(1), c.invalid, c.requests) == ([], [], [])


def test_scripted_answers_can_be_read() -> None:
    """The answers of `always` and `script` can be read until they are used or changed."""
    with Collector() as c:
        assert c.outcomes == (None, ())
        c.always(Answer(500))
        c.script(Answer(503), Answer(429))
        send(c)
        assert c.outcomes == (Answer(500), (Answer(429),))


def test_restore_brings_back_the_real_endpoint() -> None:
    """`restore` removes every scripted answer, and ends current delays and hangs."""
    with Collector() as c, dial(c) as hung, dial(c) as late:
        c.script(Answer(then="hang"), Answer(503, delay=60), Answer(429))
        c.always(Answer(500))
        for n, conn in enumerate((hung, late), 1):
            conn.sendall(head("Content-Length: 0"))
            c.wait_for_requests(n)
        c.restore()
        assert hung.recv(9) == b""
        assert late.recv(99).startswith(b"HTTP/1.1 503 ")
        assert c.outcomes == (None, ())
        assert send(c, lines(event())).status == 200
    c.restore()  # also if it is not running


# The callbacks


def test_on_request_is_called_for_every_request_in_order() -> None:
    """It gets each request with its accepted events, in order, before the answer."""
    told: list[tuple[Request, list[dict[str, Any]]]] = []
    with Collector(on_request=lambda *both: told.append(both)) as c:
        c.script(Answer(503))
        for n in range(2):
            send(c, lines(event(n)))
            assert len(told) == n + 1
        send(c, path="/v1/ping")
        assert [request for request, _ in told] == c.requests
        assert [events for _, events in told] == [[], [event(1)], []]

        def work() -> None:
            with connected(c) as client:
                for _ in range(10):
                    send(c, lines(event()), client=client)

        in_parallel(work, work, work)
        assert [request for request, _ in told] == c.requests


def test_on_request_is_never_called_concurrently() -> None:
    """A second request is recorded after the callback for the first has returned."""
    second = threading.Thread(target=lambda: send(c, lines(event(2))))
    overlap = threading.Event()
    during: list[tuple[bool, int]] = []

    def watch(request: Request, events: list[dict[str, Any]]) -> None:
        if events == [event(1)]:
            second.start()
            during.append((overlap.wait(0.1), len(c.requests)))
        overlap.set()

    with Collector(on_request=watch) as c:
        send(c, lines(event(1)))
        second.join()
        assert during == [(False, 1)]
        assert c.events == [event(1), event(2)]


def test_on_request_may_use_the_collector() -> None:
    """It may read, script and clear without a deadlock."""

    def forget(request: Request, events: list[dict[str, Any]]) -> None:
        assert c.events == events
        c.script(Answer(429))
        c.clear()

    with Collector(on_request=forget) as c:
        assert send(c, lines(event())).status == 200
        assert send(c, lines(event())).status == 429
        assert c.requests == []


def test_stop_raises_what_on_request_raised(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """An exception of the callback, OSError included, is raised by `stop`, not printed."""

    def fail(request: Request, events: list[dict[str, Any]]) -> None:
        raise OSError("no room")

    c = Collector(on_request=fail)
    c.start()
    assert send(c, lines(event())).status == 500
    with pytest.raises(OSError, match=r"^no room$"):
        c.stop()
    c.stop()
    assert capfd.readouterr() == ("", "")


def test_stop_raises_an_error_of_writing_an_answer(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """An error after the callback is raised by `stop` too, once."""
    c = Collector()
    c.start()
    c.script(Answer(headers={"X": "\u20ac"}))
    with pytest.raises(http.client.RemoteDisconnected):
        send(c)
    with pytest.raises(UnicodeEncodeError):
        c.stop()
    assert capfd.readouterr() == ("", "")


def test_on_intake_gets_every_line() -> None:
    """It gets the message and all accepted lines, in the order of the body, before the answer."""
    told: list[tuple[Message, Request, Any]] = []
    requests: list[Request] = []
    body = b"[1]\n" + lines(event(1)) + b"{}\r\n" + lines(event(2))
    with Collector(
        on_intake=lambda *all: told.append(all),
        on_request=lambda request, events: requests.append(told[-1][1]),
    ) as c:
        c.script(Answer(503))
        for _ in range(2):
            send(c, body)
        send(c, path="/v1/ping")
        assert requests == c.requests
    assert [message.body for message, _, _ in told] == [body, body, b""]
    assert [request.then for request in requests] == ["answer"] * 3
    assert [parsed.lines for _, _, parsed in told] == [
        [],
        [c.invalid[0], (lines(event(1)), event(1)), c.invalid[1], (lines(event(2)), event(2))],
        [],
    ]


def test_a_request_has_the_end_of_its_answer() -> None:
    """A request that was not answered has how it ended instead of a status."""
    with Collector() as c:
        c.script(Answer(then="close"), Answer(503))
        with pytest.raises(http.client.RemoteDisconnected):
            send(c)
        send(c)
        assert [(r.status, r.then) for r in c.requests] == [(None, "close"), (503, "answer")]


def test_a_route_comes_first() -> None:
    """What a route answers does not reach the endpoint; everything else does."""

    def route(message: Message) -> Answer | None:
        return Answer(201, body=b"page") if message.target == "/page" else None

    with Collector(route=route) as c:
        c.always(Answer(500))
        reply = send(c, lines(event()), path="/page")
        assert (reply.status, reply.body) == (201, b"page")
        assert (c.requests, c.events) == ([], [])
        assert send(c, lines(event())).status == 500
        assert send(c, method="GET", path="/other").status == 400
        assert [r.path for r in c.requests] == ["/v1/***/***", "/***"]


# Start and stop


def test_start_and_stop_may_be_called_again() -> None:
    """Both are idempotent; a collector that is restarted keeps its port and its events."""
    c = Collector()
    assert repr(c) == "<Collector not started>"
    with pytest.raises(RuntimeError, match=r"^the collector has no port yet: start it first$"):
        _ = c.url
    c.stop()
    c.start()
    url = c.url
    c.start()
    assert send(c, lines(event(1))).status == 200
    c.stop()
    c.stop()
    assert (c.url, c.events) == (url, [event(1)])
    with pytest.raises(ConnectionRefusedError):
        dial(c)
    with c:
        assert c.url == url
        assert send(c, lines(event(2))).status == 200
        assert c.wait_for(2) == [event(1), event(2)]


def test_a_port_is_free_after_stop_and_not_before() -> None:
    """Another collector can use the port right after `stop`, even after a recent connection."""
    with Collector() as first, connected(first) as client:
        send(first, client=client)
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            Collector(port=port).start()
        first.stop()
        with Collector(port=port) as second:
            assert second.url == first.url
            assert send(second, lines(event())).status == 200


def test_the_url_can_be_connected_to() -> None:
    """The URL of a collector on all interfaces has the loopback address."""
    with Collector("0.0.0.0") as c:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", c.url)
        assert send(c, lines(event())).status == 200


def test_stop_is_quick_and_complete(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle, sending, delayed and hanging clients do not delay `stop`; no thread remains."""
    monkeypatch.setattr(Server, "timeout", 60)  # nor does it poll
    before = set(threading.enumerate())
    c = Collector()
    c.start()
    c.script(Answer(then="hang"), Answer(delay=60))
    with (
        dial(c) as silent,
        connected(c) as idle,
        dial(c) as hung,
        dial(c) as late,
        dial(c) as half,
    ):
        send(c, path="/v1/ping", client=idle)
        for n, conn in enumerate([hung, late], 2):
            conn.sendall(head("Content-Length: 0"))
            c.wait_for_requests(n)
        half.sendall(head("Expect: 100-continue", "Content-Length: 9"))
        assert half.recv(99) == b"HTTP/1.1 100 Continue\r\n\r\n"
        stopped_at = time.monotonic()
        c.stop()
        assert time.monotonic() - stopped_at < 0.9
        assert set(threading.enumerate()) == before
        assert [conn.recv(9) for conn in (silent, idle.sock, hung, late)] == [b""] * 4
    assert capfd.readouterr() == ("", "")


def test_stop_sends_an_answer_that_is_being_made() -> None:
    """A request that is being processed when `stop` is called is answered, with a close."""
    working, go_on = threading.Event(), threading.Event()

    def slow(request: Request, events: list[dict[str, Any]]) -> None:
        if request.target == "events":
            working.set()
            go_on.wait(5)

    c = Collector(on_request=slow)
    c.start()
    with dial(c) as conn, connected(c) as idle:
        send(c, path="/v1/ping", client=idle)
        conn.sendall(head("Content-Length: 0"))
        assert working.wait(5)
        stopper = threading.Thread(target=c.stop)
        stopper.start()
        assert idle.sock.recv(9) == b""  # so all connections are being closed
        go_on.set()
        assert conn.recv(99).startswith(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
        stopper.join()


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """Garbage, resets and disconnects print nothing."""
    with Collector() as c:
        exchange(c, b"garbage\r\n\r\n")
        send(c, path="/nowhere")
        c.script(Answer(then="reset"), Answer(delay=0.01, body=b"x" * 10_000_000))
        with pytest.raises(ConnectionResetError):
            send(c)
        with dial(c) as conn:
            conn.sendall(head("Content-Length: 0"))
            c.wait_for_requests(3)
        with dial(c) as conn:
            conn.sendall(head("Content-Length: 9"))
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert capfd.readouterr() == ("", "")


def fork(child: Callable[[], Any]) -> int:
    """Run a function in a forked child, which exits with 0 if it returns."""
    with warnings.catch_warnings():
        # Other threads are running, which is what the tests of forks are about.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        signal.alarm(30)  # if the parent is killed
        try:
            child()
            os._exit(0)
        finally:
            os._exit(1)
    return pid


def test_a_forked_child_does_not_stop_its_parents_collector() -> None:
    """A child that exits the `with` block does not close the parent's sockets."""
    with Collector() as c, connected(c) as client:
        send(c, lines(event(1)), client=client)
        assert os.waitpid(fork(c.stop), 0)[1] == 0
        assert send(c, lines(event(2)), client=client).status == 200
        assert send(c, lines(event(3))).status == 200
        assert len(c.events) == 3


def test_a_forked_child_does_not_keep_the_port() -> None:
    """After `stop` the port is free and clients are disconnected, although a child has copies."""
    reading, writing = os.pipe()
    with Collector() as c, dial(c) as conn:
        conn.sendall(head("Content-Length: 0"))
        c.wait_for_requests(1)
        assert conn.recv(99).startswith(b"HTTP/1.1 200 OK\r\n")
        pid = fork(lambda: os.read(reading, 1))
        try:
            c.stop()
            assert conn.recv(9) == b""
            with pytest.raises(ConnectionRefusedError):
                dial(c)
            c.start()
            assert send(c).status == 200
        finally:
            os.write(writing, b".")
            os.close(writing)
            os.close(reading)
            assert os.waitpid(pid, 0)[1] == 0


# curl, as in the vendor's documentation


def curl(c: Collector, *args: str, path: str = PATH, stdin: bytes = b"") -> str:
    """Run curl and return the statuses of what it received, interim ones included."""
    command = [
        "curl",
        "--disable",
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--max-time",
        "60",
    ]
    command += ["--include", *args, c.url + path]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return " ".join(re.findall(r"^HTTP/1\.1 (\d+)", done.stdout.decode(), re.MULTILINE))


ENCODERS: dict[str, Callable[[bytes], bytes]] = {"plain": bytes, **PACKERS}


@pytest.mark.needs("curl")
@pytest.mark.parametrize("expect", ["", "100-continue"])
@pytest.mark.parametrize("encoding", ENCODERS)
@pytest.mark.parametrize("source", ["file", "pipe"])
def test_curl_uploads_are_accepted(tmp_path: Path, source: str, encoding: str, expect: str) -> None:
    """`curl -X POST -T`, of a file or chunked from a pipe, delivers its events."""
    body = ENCODERS[encoding](lines(event(1), event(2)))
    file = tmp_path / "events.json"
    file.write_bytes(body)
    args = [
        "-X",
        "POST",
        "-T",
        "-" if source == "pipe" else str(file),
        "-H",
        f"Expect: {expect}",
    ]
    if encoding != "plain":
        args += ["-H", f"Content-Encoding: {encoding}"]
    with Collector() as c:
        statuses = curl(c, *args, stdin=body if source == "pipe" else b"")
        assert statuses == ("100 200" if expect else "200")
        assert (c.events, c.invalid) == ([event(1), event(2)], [])
        [request] = c.requests
        chunked = request.headers.get("transfer-encoding") == "chunked"
        assert chunked == (source == "pipe")
        assert request.bytes_received == len(body)


@pytest.mark.needs("curl")
def test_curl_uploads_a_large_file(tmp_path: Path) -> None:
    """A file of megabytes, for which curl expects 100 Continue by itself, is accepted."""
    file = tmp_path / "events.json"
    file.write_bytes(lines(*[event(n, pad="x" * 900) for n in range(2000)]))
    with Collector() as c:
        assert curl(c, "-X", "POST", "-T", str(file)).endswith("200")
        assert len(c.events) == 2000


@pytest.mark.needs("curl")
@pytest.mark.parametrize("source", ["-", "file"])
def test_curl_without_post_gets_400(tmp_path: Path, source: str) -> None:
    """`curl -T` without `-X POST` sends a PUT, chunked or not, which is read and refused."""
    file = tmp_path / "file"
    file.write_bytes(lines(event()))
    with Collector() as c:
        args = ["-T", source if source == "-" else str(file)]
        assert curl(c, *args, stdin=lines(event())).endswith("400")
        assert (c.events, c.requests[0].method) == ([], "PUT")


@pytest.mark.needs("curl")
def test_curl_pings() -> None:
    """`curl -X POST` of the ping path, without any body, gets 200."""
    with Collector() as c:
        assert curl(c, "-X", "POST", path="/v1/ping") == "200"
