"""One POST → one outcome, over real sockets, with servers that behave and that do not."""

from __future__ import annotations

import base64
import contextlib
import datetime
import http.client
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fslog.collector import Answer, Collector
from fslog.net.destination import Destination, destination
from fslog.net.redaction import active_redactor
from fslog.net.retry import Kind, Outcome
from fslog.net.transport import PingFailed, Transport, tls_context
from ports import free_port
from rawserver import OK, RawServer, Script, answer, drip, half_answer, hang, read_request, reset

if TYPE_CHECKING:
    import trustme

AUTH, API = "the-auth-key-1", "the-api-key-2"
BIG = os.urandom(8 * 1024 * 1024)
EMPTY = b"Content-Length: 0\r\n\r\n"

Connect = Callable[..., Transport]


MADE: list[Transport] = []


def close_all() -> None:
    """Close the connections of all transports, before the servers wait for their ends."""
    while MADE:
        MADE.pop().close()


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Make transports, and close their connections at the end."""

    def transport(
        url: str, proxy: str | None = None, ca: str | None = None, **settings: Any
    ) -> Transport:
        fixed = {"ca_certs": ca, "encoding": "deflate", "timeout": 3.0, **settings}
        MADE.append(Transport(Destination(url, AUTH, API, proxy), **fixed))
        return MADE[-1]

    yield transport
    close_all()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return a certificate authority that is not trusted by default."""
    return pytest.importorskip("trustme").CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the authority's certificate file."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@contextlib.contextmanager
def server(*scripts: Script) -> Iterator[RawServer]:
    """Run a bare-socket server until the end of a block, and close the transports there."""
    with RawServer(*scripts) as running:
        try:
            yield running
        finally:
            close_all()


def over_tls(script: Script, authority: trustme.CA, *names: str, **more: Any) -> Script:
    """Return a script that does the TLS handshake first, with a certificate for some names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("localhost",)), **more).configure_cert(context)

    def wrapped(conn: socket.socket) -> None:
        owner = conn.server  # type: ignore[attr-defined]
        conn.settimeout(5)
        with context.wrap_socket(conn, server_side=True) as secure:
            secure.server = owner  # type: ignore[attr-defined]
            script(secure)

    return wrapped


def secure_answer(conn: socket.socket) -> None:
    """Answer every request of a TLS connection with 200, and remember it."""
    while request := read_request(conn):
        conn.server.remember(request)  # type: ignore[attr-defined]
        conn.sendall(OK)


def https(running: RawServer) -> str:
    """Return the URL of a server whose scripts speak TLS."""
    return f"https://localhost:{running.port}"


def timed(post: Callable[[], Outcome]) -> tuple[Outcome, float]:
    """Return an outcome and the seconds that it took."""
    began_at = time.monotonic()
    outcome = post()
    return outcome, time.monotonic() - began_at


def request_of(raw: bytes) -> tuple[str, dict[str, str], bytes]:
    """Return a request's first line, its headers by lower-case name, and its body."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    pairs = [line.split(": ", 1) for line in rest]
    headers = {name.lower(): value for name, value in pairs}
    assert len(headers) == len(pairs), "a header came twice"
    return first, headers, body


def no_secret(*texts: object) -> bool:
    """Return whether no text contains a key."""
    return not any(key in str(text) for text in texts for key in (AUTH, API))


# What is sent


@pytest.mark.parametrize("encoding", ["deflate", "gzip", None])
def test_a_post_is_as_the_api_specifies(connect: Connect, encoding: str | None) -> None:
    """One POST to the keys' path with the expected headers, a length, and the given body."""
    body = bytes(range(256)) * 100
    with server(answer()) as running:
        transport = connect(running.url, encoding=encoding)
        assert transport.post(body) == Outcome(Kind.DELIVERED)
        first, headers, sent = request_of(running.requests[0])
    assert first == f"POST /v1/{AUTH}/{API} HTTP/1.1"
    assert sent == body
    assert headers.pop("user-agent").startswith("fslog/")
    assert headers == {
        "host": f"127.0.0.1:{running.port}",
        "accept-encoding": "identity",
        "content-length": str(len(body)),
        "content-type": "application/json",
        **({"content-encoding": encoding} if encoding else {}),
    }


def test_a_path_of_the_endpoint_comes_before_the_keys(connect: Connect) -> None:
    """An endpoint behind a gateway's prefix is posted to below that prefix."""
    with server(answer()) as running:
        assert connect(f"{running.url}/in/take").post(b"x").kind is Kind.DELIVERED
        assert running.requests[0].startswith(f"POST /in/take/v1/{AUTH}/{API} HTTP/1.1".encode())


def test_netrc_is_ignored(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Credentials in the user's netrc file are not sent."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login who password what\ndefault login x\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with server(answer()) as running:
        assert connect(running.url).post(b"x").kind is Kind.DELIVERED
        assert "authorization" not in request_of(running.requests[0])[1]


# Connections


def test_a_connection_is_kept(connect: Connect) -> None:
    """Many POSTs and answers with bodies go over one connection."""
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    with server(answer(raw)) as running:
        transport = connect(running.url)
        assert {transport.post(b"x" * n).kind for n in range(20)} == {Kind.DELIVERED}
        assert running.connections == 1


def test_a_connection_is_kept_after_a_failure_status(connect: Connect) -> None:
    """After a 503 the connection is kept: no new connection per attempt."""
    with Collector() as collector:
        collector.script(*[Answer(503)] * 5)
        transport = connect(collector.url)
        kinds = [transport.post(b"").kind for _ in range(6)]
        assert kinds == [Kind.RETRY] * 5 + [Kind.DELIVERED]
    with server(answer(b"HTTP/1.1 503 Busy\r\n" + EMPTY)) as running:
        transport = connect(running.url)
        for _ in range(5):
            transport.post(b"x")
        assert running.connections == 1


def test_a_connection_that_was_closed_while_idle_is_replaced(connect: Connect) -> None:
    """An endpoint that closes idle connections costs no failure."""
    closed = threading.Event()

    def once(conn: socket.socket) -> None:
        read_request(conn)
        conn.sendall(OK)
        conn.close()
        closed.set()

    with server(once) as running:
        transport = connect(running.url)
        for n in range(3):
            assert transport.post(b"x").kind is Kind.DELIVERED
            assert closed.wait(5)
            closed.clear()
            assert running.connections == n + 1


def leave_at_the_second(end: Callable[[socket.socket], Any]) -> Script:
    """Return a script that answers one request and closes the connection at the next."""

    def script(conn: socket.socket) -> None:
        read_request(conn)
        conn.sendall(OK)
        read_request(conn)
        end(conn)

    return script


@pytest.mark.parametrize("end", [reset, socket.socket.close])
def test_a_kept_connection_that_closes_at_a_request_is_stale(
    connect: Connect, end: Callable[[socket.socket], Any]
) -> None:
    """Only a kept connection is stale; the next attempt gets a new one."""
    with server(leave_at_the_second(end), answer()) as running:
        transport = connect(running.url)
        assert transport.post(b"1").kind is Kind.DELIVERED
        outcome = transport.post(b"2")
        assert (outcome.kind, outcome.stale) == (Kind.RETRY, True)
        assert transport.post(b"2").kind is Kind.DELIVERED
        assert running.connections == 2


@pytest.mark.parametrize("end", [reset, socket.socket.close])
def test_a_new_connection_is_never_stale(
    connect: Connect, end: Callable[[socket.socket], Any]
) -> None:
    """An endpoint that drops every new connection is down."""
    with server(lambda conn: read_request(conn) and end(conn)) as running:
        transport = connect(running.url)
        for _ in range(3):
            outcome = transport.post(b"x")
            assert (outcome.kind, outcome.stale) == (Kind.RETRY, False)
            assert outcome.reason


def test_a_post_after_close_opens_a_new_connection(connect: Connect) -> None:
    """A closed transport has no connection, and can be used again."""
    ended = threading.Event()

    def script(conn: socket.socket) -> None:
        answer()(conn)
        ended.set()

    with server(script) as running:
        transport = connect(running.url)
        transport.post(b"x")
        transport.close()
        assert ended.wait(5)
        assert transport.post(b"x").kind is Kind.DELIVERED
        assert running.connections == 2


# Answers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_is_no_success(connect: Connect, status: int) -> None:
    """The redirect's target gets no request; the outcome is a configuration error."""
    with Collector() as other, Collector() as collector:
        collector.always(Answer(status, headers={"Location": f"{other.url}/v1/{AUTH}/{API}"}))
        transport = connect(collector.url)
        for n in range(1, 4):
            assert transport.post(b"").kind is Kind.MISCONFIGURED
            assert len(collector.requests) == n
        assert other.requests == []


@pytest.mark.parametrize("status", [201, 202, 203, 204, 205, 206, 304, 400, 401, 403, 404, 410])
def test_nothing_but_200_is_success(connect: Connect, status: int) -> None:
    """Neither another 2xx nor a 304 means that events were accepted."""
    raw = b"HTTP/1.1 %d Whatever\r\n" % status + EMPTY
    with server(answer(raw)) as running:
        outcome = connect(running.url).post(b"x")
    assert outcome.kind is Kind.MISCONFIGURED
    assert str(status) in outcome.reason


def test_retry_after_is_part_of_the_outcome(connect: Connect) -> None:
    """The outcome contains Retry-After, in seconds."""
    with Collector() as collector:
        collector.script(Answer(503, headers={"Retry-After": "7"}))
        collector.script(
            Answer(429, headers={"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}),
        )
        transport = connect(collector.url, now=lambda: 50.0)
        assert transport.post(b"").retry_after == 7.0
        assert transport.post(b"").retry_after == 10.0


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """Return a 200 with a chunked body."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


@pytest.mark.parametrize(
    ("raw", "connections"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 1),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 1),
        (chunked(b"hello", b"world"), 1),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nbad", 1),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n" + EMPTY, 1),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + EMPTY, 2),
        (b"HTTP/1.0 200 OK\r\n" + EMPTY, 2),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000, 2),
    ],
    ids=["body", "no phrase", "chunked", "bad gzip", "continue", "close", "1.0", "long"],
)
def test_a_200_is_a_200_whatever_its_body(connect: Connect, raw: bytes, connections: int) -> None:
    """The body of a response is ignored, and does not affect the next response."""
    with server(
        lambda conn: (read_request(conn) and conn.sendall(raw)) or answer(raw)(conn)
    ) as one:
        transport = connect(one.url)
        assert [transport.post(b"x").kind for _ in range(2)] == [Kind.DELIVERED] * 2
        assert one.connections == connections


@pytest.mark.parametrize(
    "interim",
    [b"HTTP/1.1 102 Processing\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"],
)
def test_interim_responses_are_skipped(connect: Connect, interim: bytes) -> None:
    """Interim responses are skipped (RFC 9110 15.2), on every POST."""
    with server(answer(interim + OK)) as running:
        transport = connect(running.url)
        assert [transport.post(b"x").kind for _ in range(3)] == [Kind.DELIVERED] * 3


def test_a_huge_body_is_cut_off(connect: Connect) -> None:
    """A 200 with an endless body is delivered soon, and its connection is closed."""

    def endless(conn: socket.socket) -> None:
        read_request(conn)
        conn.sendall(chunked(end=b""))
        while True:
            conn.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")

    with server(endless) as running:
        outcome, seconds = timed(lambda: connect(running.url).post(b"x"))
    assert outcome.kind is Kind.DELIVERED
    assert seconds < 10.0


@pytest.mark.parametrize(
    "raw",
    [
        OK.replace(b": 0", b": 9") + b"abc",
        chunked(b"abc", end=b""),
        b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Le",
    ],
)
def test_an_answer_that_breaks_off_after_its_status_counts(connect: Connect, raw: bytes) -> None:
    """A 200 without headers means that the events were accepted (RFC 9112 8)."""
    with server(half_answer(raw, len(raw))) as running:
        transport = connect(running.url)
        assert [transport.post(b"x").kind for _ in range(2)] == [Kind.DELIVERED] * 2


@pytest.mark.parametrize("raw", [OK.replace(b": 0", b": 9") + b"abc", chunked(b"abc", end=b"")])
def test_a_body_that_hangs_is_not_waited_for_longer_than_the_timeout(
    connect: Connect, raw: bytes
) -> None:
    """A 200 whose body hangs is delivered within the timeout."""

    def script(conn: socket.socket) -> None:
        read_request(conn)
        conn.sendall(raw)
        hang()(conn)

    with server(script) as running:
        transport = connect(running.url, timeout=0.3)
        outcome, seconds = timed(lambda: transport.post(b"x"))
    assert outcome.kind is Kind.DELIVERED
    assert seconds < 5.0


BROKEN = {
    "nothing": b"",
    "half a status line": b"HTTP/1.1 20",
    "no status": b"HTTP/1.1\r\n\r\n",
    "words": b"hello, who is there?\r\n\r\n",
    "no number": b"HTTP/1.1 two OK\r\n" + EMPTY,
    "a small number": b"HTTP/1.1 99 OK\r\n" + EMPTY,
    "a large number": b"HTTP/1.1 2000 OK\r\n" + EMPTY,
    "another protocol": b"ICY 200 OK\r\n" + EMPTY,
    "binary": bytes(range(256)),
    "a long line": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    "a long status": b"HTTP/1.1 200 " + b"x" * 70_000 + b"\r\n\r\n",
    "what a terminal obeys": b"\x1b]0;PWNED\x07\x1b[31mHELLO\x9b\r\n\r\n",
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN)
def test_an_invalid_response_is_retried(connect: Connect, raw: bytes) -> None:
    """Garbage, silence and incomplete responses are retried, with a printable reason."""
    with server(half_answer(raw, len(raw)), answer()) as running:
        transport = connect(running.url)
        outcome = transport.post(b"x")
        assert (outcome.kind, outcome.stale) == (Kind.RETRY, False)
        assert outcome.reason
        assert outcome.reason.isprintable()
        assert no_secret(outcome)
        assert transport.post(b"x").kind is Kind.DELIVERED


def test_whatever_bytes_come_back_there_is_an_outcome(connect: Connect) -> None:
    """No response makes `post` raise or show a key, even if it contains keys."""
    reply: list[bytes] = []

    def script(conn: socket.socket) -> None:
        read_request(conn)
        conn.sendall(reply[-1])

    words = (
        "HTTP/1.1 |200 OK|503 Busy|\r\n|\r\n\r\n|Content-Length: |-1|7|Transfer-Encoding: chunked|"
        f"Retry-After: |5\r\nabc|\x00| |/v1/{AUTH}/{API}|{AUTH}|Location: |Connection: keep-alive"
    )
    pieces = st.sampled_from([word.encode() for word in words.split("|")])
    with server(script) as running:
        transport = connect(running.url, timeout=1.0)

        @given(st.lists(pieces | st.binary(max_size=5), max_size=12).map(b"".join))
        def check(raw: bytes) -> None:
            reply.append(raw)
            outcome = transport.post(b"x")
            assert isinstance(outcome.kind, Kind)
            assert outcome.reason.isprintable()
            assert no_secret(outcome)
            assert active_redactor() is None

        check()


# Bodies that are not read completely


def early(raw: bytes, drain: bool) -> Script:
    """Return a script that answers at the first bytes, and reads the rest or resets."""

    def script(conn: socket.socket) -> None:
        conn.recv(1000)
        conn.sendall(raw)
        while drain and conn.recv(1_000_000):
            pass
        reset(conn)

    return script


@pytest.mark.parametrize("drain", [True, False])
def test_an_early_413_gets_through(connect: Connect, drain: bool) -> None:
    """An early 413 is the outcome, even if the endpoint then closes the connection."""
    raw = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\n" + EMPTY
    with server(early(raw, drain)) as running:
        assert connect(running.url).post(BIG).kind is Kind.TOO_LARGE


def test_an_early_413_gets_through_tls(
    connect: Connect, authority: trustme.CA, ca_file: str
) -> None:
    """The same over TLS, if the endpoint continues to read for a while."""
    raw = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\n" + EMPTY
    with server(over_tls(early(raw, drain=True), authority)) as running:
        assert connect(https(running), ca=ca_file).post(BIG).kind is Kind.TOO_LARGE


def test_a_200_for_half_a_body_is_no_success(connect: Connect) -> None:
    """An endpoint that answers 200 and closes while the body is sent has not accepted it."""
    with server(early(OK, drain=False)) as running:
        assert connect(running.url).post(BIG).kind is Kind.RETRY


def test_a_200_for_half_a_body_is_no_success_over_tls(
    connect: Connect, authority: trustme.CA, ca_file: str
) -> None:
    """The same holds over TLS."""
    with server(over_tls(early(OK, drain=False), authority)) as running:
        assert connect(https(running), ca=ca_file).post(BIG).kind is Kind.RETRY


def test_a_reset_in_the_middle_is_tried_again(connect: Connect) -> None:
    """A connection reset while the body is sent is retried, with a reason."""

    def script(conn: socket.socket) -> None:
        conn.recv(1000)
        reset(conn)

    with server(script) as running:
        outcome = connect(running.url).post(BIG)
    assert (outcome.kind, outcome.stale) == (Kind.RETRY, False)
    assert outcome.reason


# Time


@pytest.mark.parametrize(
    "raw",
    [
        OK,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 90 + b"\r\n",
    ],
    ids=["answer", "continue", "headers"],
)
def test_an_answer_that_drips_is_bounded_as_a_whole(connect: Connect, raw: bytes) -> None:
    """A response that arrives byte by byte is aborted after the timeout."""
    with server(drip(raw, interval=0.1)) as running:
        transport = connect(running.url, timeout=0.5)
        outcome, seconds = timed(lambda: transport.post(b"x"))
    assert outcome == Outcome(Kind.RETRY, "no answer within 0.5 s")
    assert 0.4 < seconds < 2.5


def test_an_answer_that_drips_over_tls_is_bounded(
    connect: Connect, authority: trustme.CA, ca_file: str
) -> None:
    """The same holds over TLS."""
    with server(over_tls(drip(OK, interval=0.1), authority)) as running:
        transport = connect(https(running), ca=ca_file, timeout=0.5)
        outcome, seconds = timed(lambda: transport.post(b"x"))
    assert outcome.kind is Kind.RETRY
    assert 0.4 < seconds < 2.5


def test_a_slow_answer_in_time_is_an_answer(connect: Connect) -> None:
    """A slow response that is complete within the timeout counts."""
    with server(drip(OK, interval=0.005)) as running:
        assert connect(running.url, timeout=30.0).post(b"x").kind is Kind.DELIVERED


def test_a_hanging_endpoint_is_bounded_by_the_timeout(connect: Connect) -> None:
    """A POST to an endpoint that does not answer ends at the timeout, and is retried."""
    with server(hang()) as running:
        outcome, seconds = timed(lambda: connect(running.url, timeout=0.3).post(b"x"))
    assert outcome == Outcome(Kind.RETRY, "no answer within 0.3 s")
    assert 0.3 <= seconds < 2.5


def test_a_post_may_be_given_less_time(connect: Connect) -> None:
    """A POST can have a shorter timeout than the transport's, but no longer one."""
    with server(hang()) as running:
        transport = connect(running.url, timeout=5.0)
        outcome, seconds = timed(lambda: transport.post(b"x", 0.2))
        assert outcome.kind is Kind.RETRY
        assert seconds < 3.0
        transport = connect(running.url, timeout=0.2)
        assert timed(lambda: transport.post(b"x", 5.0))[1] < 3.0


def slow_reader(conn: socket.socket) -> None:
    """Read a large body slowly, so that it would take many seconds."""
    closing = conn.server.closing  # type: ignore[attr-defined]
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    while not closing.wait(0.05) and conn.recv(16_384):
        pass


def test_sending_to_a_slow_reader_is_bounded(connect: Connect) -> None:
    """An endpoint that reads the body slowly does not extend the timeout."""
    with server(slow_reader) as running:
        transport = connect(running.url, timeout=0.5)
        outcome, seconds = timed(lambda: transport.post(BIG))
    assert outcome.kind is Kind.RETRY
    assert seconds < 4.0


def test_sending_to_a_slow_reader_over_tls_is_bounded(
    connect: Connect, authority: trustme.CA, ca_file: str
) -> None:
    """The same over TLS, which sends a body in many records."""
    with server(over_tls(slow_reader, authority)) as running:
        transport = connect(https(running), ca=ca_file, timeout=0.5)
        outcome, seconds = timed(lambda: transport.post(BIG))
    assert outcome.kind is Kind.RETRY
    assert seconds < 4.0


def test_a_hanging_handshake_is_bounded_by_the_timeout(connect: Connect, ca_file: str) -> None:
    """If there is no TLS handshake, the POST ends at the timeout."""
    with server(hang()) as running:
        transport = connect(https(running), ca=ca_file, timeout=0.3)
        outcome, seconds = timed(lambda: transport.post(b"x"))
    assert outcome == Outcome(Kind.RETRY, "no answer within 0.3 s")
    assert 0.3 <= seconds < 2.5


def test_the_timeout_is_for_the_request_not_for_its_parts(connect: Connect) -> None:
    """Sending and the response share the timeout."""

    def script(conn: socket.socket) -> None:
        closing = conn.server.closing  # type: ignore[attr-defined]
        conn.recv(1000)
        closing.wait(0.7)
        read = 0
        while read < len(BIG) and (data := conn.recv(1_000_000)):
            read += len(data)
        closing.wait(5.0)
        conn.sendall(OK)

    with server(script) as running:
        transport = connect(running.url, timeout=1.0)
        outcome, seconds = timed(lambda: transport.post(BIG))
    assert outcome.kind is Kind.RETRY
    assert seconds < 1.6


def test_a_kept_connection_has_the_whole_time_again(connect: Connect) -> None:
    """After a response at the last moment, the next request has the whole timeout."""
    waits = [1.2, 1.2]

    def script(conn: socket.socket) -> None:
        closing = conn.server.closing  # type: ignore[attr-defined]
        while read_request(conn):
            closing.wait(waits.pop() if waits else 0.0)
            conn.sendall(OK)

    with server(script) as running:
        transport = connect(running.url, timeout=2.0)
        kinds = [transport.post(body).kind for body in (b"x", BIG, b"x")]
        assert kinds == [Kind.DELIVERED] * 3
        assert running.connections == 1


# No way to the endpoint


def test_the_reason_of_a_refused_connection(connect: Connect) -> None:
    """The reason says that the connection was refused."""
    outcome = connect(f"http://127.0.0.1:{free_port()}").post(b"x")
    assert outcome == Outcome(Kind.RETRY, "connection refused")


def test_the_reason_of_an_unknown_name(connect: Connect) -> None:
    """The reason says that the name (reserved by RFC 6761) cannot be resolved."""
    outcome = connect("https://events.invalid").post(b"x")
    assert outcome == Outcome(Kind.RETRY, "its name cannot be resolved")


def test_a_very_long_timeout_works(connect: Connect) -> None:
    """A timeout longer than a socket's maximum works."""
    with server(answer()) as running:
        for timeout in (1e9, 1e12):
            assert connect(running.url, timeout=timeout).post(b"x").kind is Kind.DELIVERED


# TLS


def test_a_trusted_certificate_is_enough(
    connect: Connect, authority: trustme.CA, ca_file: str
) -> None:
    """With the authority's file the endpoint is verified, and the connection is kept."""
    with server(over_tls(secure_answer, authority)) as running:
        transport = connect(https(running), ca=ca_file)
        assert [transport.post(BIG).kind for _ in range(3)] == [Kind.DELIVERED] * 3
        assert running.connections == 1


def test_the_environment_may_name_the_certificates(
    connect: Connect, authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `ca_certs`, OpenSSL's environment variables apply."""
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    with server(over_tls(secure_answer, authority)) as running:
        assert connect(https(running)).post(b"x").kind is Kind.DELIVERED


def test_certificates_may_be_a_directory(
    connect: Connect, authority: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    """A directory of hashed certificates works as well as a file."""
    context = ssl.create_default_context(cafile=ca_file)
    assert context.cert_store_stats()["x509_ca"] == 1
    for hashed in _hashes(ca_file):
        (tmp_path / f"{hashed}.0").write_text(Path(ca_file).read_text())
    with server(over_tls(secure_answer, authority)) as running:
        assert connect(https(running), ca=str(tmp_path)).post(b"x").kind is Kind.DELIVERED


def _hashes(pem_file: str) -> list[str]:
    """Return the names that OpenSSL looks a certificate up by."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    certificate = x509.load_pem_x509_certificate(Path(pem_file).read_bytes())
    digest = hashes.Hash(hashes.SHA1())
    digest.update(_canonical(certificate.subject))
    return [digest.finalize()[:4][::-1].hex()]


def _canonical(name: Any) -> bytes:
    """Encode a name as X509_NAME_hash does: UTF8String values, folded, no outer SEQUENCE."""
    encoded = b""
    for rdn in name.rdns:
        items = b""
        for attribute in rdn:
            value = " ".join(attribute.value.lower().split()).encode()
            oid = _der_oid(attribute.oid.dotted_string)
            inner = oid + bytes([0x0C, len(value)]) + value
            items += bytes([0x30, len(inner)]) + inner
        encoded += bytes([0x31, len(items)]) + items
    return encoded


def _der_oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    body = bytes([first * 40 + second, *rest])  # the names' attributes have small numbers only
    return bytes([0x06, len(body)]) + body


def test_an_unknown_authority_is_not_trusted(connect: Connect, authority: trustme.CA) -> None:
    """Nothing is sent to an endpoint with an untrusted certificate; the reason says so."""
    with server(over_tls(secure_answer, authority)) as running:
        outcome = connect(https(running)).post(b"x")
        assert outcome.kind is Kind.RETRY
        assert "certificate is not trusted" in outcome.reason
        assert running.requests == []


def test_another_hosts_certificate_is_not_trusted(
    connect: Connect, authority: trustme.CA, ca_file: str
) -> None:
    """A trusted certificate for another name is rejected."""
    with server(over_tls(secure_answer, authority, "other.example")) as running:
        outcome = connect(https(running), ca=ca_file).post(b"x")
        assert "certificate is not trusted" in outcome.reason
        assert "localhost" in outcome.reason
        assert running.requests == []


def test_an_expired_certificate_is_not_trusted(
    connect: Connect, authority: trustme.CA, ca_file: str
) -> None:
    """An expired certificate is rejected."""
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.timezone.utc)
    script = over_tls(
        secure_answer, authority, "localhost", not_before=now - 3 * day, not_after=now - day
    )
    with server(script) as running:
        outcome = connect(https(running), ca=ca_file).post(b"x")
        assert "certificate is not trusted" in outcome.reason
        assert "expired" in outcome.reason
        assert running.requests == []


def test_plain_http_and_tls_do_not_mix(
    connect: Connect, authority: trustme.CA, ca_file: str
) -> None:
    """https to a plain port and http to a TLS port are retried, with a reason, in time."""
    with server(answer()) as running:
        transport = connect(https(running), ca=ca_file, timeout=0.3)
        outcome, seconds = timed(lambda: transport.post(b"x"))
        assert outcome.kind is Kind.RETRY
        assert outcome.reason
        assert no_secret(*running.requests)
    with server(over_tls(secure_answer, authority)) as running:
        outcome = connect(running.url).post(b"x")
        assert outcome.kind is Kind.RETRY
        assert outcome.reason
    assert seconds < 5.0


@pytest.mark.parametrize("content", [None, "", "no certificate", "-----BEGIN CERTIFICATE-----\nx"])
def test_unusable_certificates_are_an_error(tmp_path: Path, content: str | None) -> None:
    """A missing or invalid file is an error at construction that names argument and file."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match="ca_certs") as caught:
        tls_context(str(path))
    assert str(path) in str(caught.value)


# Proxies


def tunnel(conn: socket.socket) -> None:
    """Act as a proxy: connect to the target of CONNECT, and forward bytes until one side closes."""
    first, _, _ = request_of(read_request(conn))
    host, _, port = first.split()[1].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as onward:
        conn.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        pairs = {conn: onward, onward: conn}
        while True:
            for ready in select.select(list(pairs), [], [], 5)[0]:
                data = ready.recv(65_536)
                if not data:
                    return
                pairs[ready].sendall(data)


@contextlib.contextmanager
def endpoint_and_proxy(
    authority: trustme.CA, script: Script | None = None, proxy: Script = tunnel
) -> Iterator[tuple[RawServer, RawServer]]:
    """Run an endpoint with TLS, and a proxy."""
    with server(over_tls(script or secure_answer, authority)) as there, server(proxy) as between:
        yield there, between


def test_a_proxy_is_asked_for_a_tunnel_and_sees_no_key(
    connect: Connect, authority: trustme.CA, ca_file: str
) -> None:
    """The proxy sees the host only; the endpoint is verified through the tunnel, which is kept."""
    with endpoint_and_proxy(authority) as (there, between):
        transport = connect(https(there), proxy=between.url, ca=ca_file)
        assert [transport.post(b"x").kind for _ in range(3)] == [Kind.DELIVERED] * 3
        first, headers, _ = request_of(between.requests[0])
        assert len(there.requests) == 3
        assert len(between.requests) == 1
        assert no_secret(*between.requests)
    assert first.split()[:2] == ["CONNECT", f"localhost:{there.port}"]
    assert "proxy-authorization" not in headers


def test_a_proxys_credentials_are_sent_to_the_proxy_only(
    connect: Connect, authority: trustme.CA, ca_file: str
) -> None:
    """User and password of the proxy's URL, decoded, become its Basic credentials."""
    with endpoint_and_proxy(authority) as (there, between):
        proxy = f"http://us%40er:p%3Ass%2Fword@127.0.0.1:{between.port}"
        transport = connect(https(there), proxy=proxy, ca=ca_file)
        assert transport.post(b"x").kind is Kind.DELIVERED
        headers = request_of(between.requests[0])[1]
        assert "proxy-authorization" not in request_of(there.requests[0])[1]
    scheme, _, credentials = headers["proxy-authorization"].partition(" ")
    assert (scheme, base64.b64decode(credentials)) == ("Basic", b"us@er:p:ss/word")


def test_the_environments_proxy_is_used_and_no_proxy_goes_around_it(
    connect: Connect, authority: trustme.CA, ca_file: str
) -> None:
    """The variables decide at construction, NO_PROXY too."""
    with endpoint_and_proxy(authority) as (there, between):
        environ = {"HTTPS_PROXY": between.url, "FSLOG_ENDPOINT": https(there)}
        for more, asked in (({}, 1), ({"no_proxy": "localhost"}, 1), ({"NO_PROXY": "x"}, 2)):
            to = destination(
                auth_key=AUTH,
                api_key=API,
                datacenter=None,
                endpoint=None,
                proxy=None,
                needs_keys=True,
                environ={**environ, **more},
                log=lambda level, text: None,
            )
            transport = Transport(to, ca_certs=ca_file, encoding=None, timeout=3.0)
            with contextlib.closing(transport):
                assert transport.post(b"x").kind is Kind.DELIVERED
            assert len(between.requests) == asked
        assert len(there.requests) == 3


def test_a_proxy_that_refuses_is_retried(
    connect: Connect, authority: trustme.CA, ca_file: str
) -> None:
    """The reason contains the status 407, without the credentials that the proxy may echo."""
    secret = base64.b64encode(b"the-user:the-pass-word").decode()
    raw = f"HTTP/1.1 407 No {secret} for the-pass-word\r\n".encode() + EMPTY
    with endpoint_and_proxy(authority, proxy=half_answer(raw, len(raw))) as (there, between):
        proxy = f"http://the-user:the-pass-word@127.0.0.1:{between.port}"
        outcome = connect(https(there), proxy=proxy, ca=ca_file).post(b"x")
        assert there.requests == []
    assert outcome.kind is Kind.RETRY
    assert "407" in outcome.reason
    for word in (secret, "the-pass-word", AUTH, API):
        assert word not in outcome.reason


def test_a_proxys_reason_phrase_is_escaped(
    connect: Connect, authority: trustme.CA, ca_file: str
) -> None:
    """Control characters in a proxy's reason phrase are escaped."""
    raw = b"HTTP/1.1 502 \x1b[31mBad\x07 Gateway\r\n" + EMPTY
    with endpoint_and_proxy(authority, proxy=half_answer(raw, len(raw))) as (there, between):
        transport = connect(https(there), proxy=between.url, ca=ca_file)
        assert r"\x1b[31mBad\x07 Gateway" in transport.post(b"x").reason
        with pytest.raises(PingFailed, match=r"\\x1b\[31mBad\\x07 Gateway"):
            transport.ping()


def test_a_proxys_answer_that_drips_is_bounded(
    connect: Connect, authority: trustme.CA, ca_file: str
) -> None:
    """A slow proxy does not extend the timeout."""
    raw = b"HTTP/1.1 200 Connection established\r\n" + b"X: y\r\n" * 50 + b"\r\n"
    with endpoint_and_proxy(authority, proxy=drip(raw, interval=0.1)) as (there, between):
        transport = connect(https(there), proxy=between.url, ca=ca_file, timeout=0.5)
        outcome, seconds = timed(lambda: transport.post(b"x"))
    assert outcome.kind is Kind.RETRY
    assert seconds < 5.0


def test_a_tunnel_to_an_endpoint_that_never_shakes_hands_is_bounded(
    connect: Connect, ca_file: str
) -> None:
    """The proxy's response and the handshake share the timeout."""

    def slow_tunnel(conn: socket.socket) -> None:
        read_request(conn)
        conn.server.closing.wait(1.0)  # type: ignore[attr-defined]
        conn.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        hang()(conn)

    with server(slow_tunnel) as between:
        transport = connect("https://events.invalid", proxy=between.url, ca=ca_file, timeout=1.5)
        outcome, seconds = timed(lambda: transport.post(b"x"))
    assert outcome.kind is Kind.RETRY
    assert seconds < 2.2


def test_a_tunnel_that_was_closed_while_idle_is_replaced(
    connect: Connect, authority: trustme.CA, ca_file: str
) -> None:
    """After a pause longer than the timeout, a new tunnel has the whole timeout."""

    def once(conn: socket.socket) -> None:
        conn.server.remember(read_request(conn))  # type: ignore[attr-defined]
        conn.sendall(OK)

    with endpoint_and_proxy(authority, once) as (there, between):
        transport = connect(https(there), proxy=between.url, ca=ca_file, timeout=0.3)
        for n in range(1, 3):
            assert transport.post(b"x") == Outcome(Kind.DELIVERED)
            assert there.closing.wait(0.5) is False
            assert len(there.requests) == n


def test_plain_http_goes_through_a_loopback_proxy(connect: Connect) -> None:
    """A proxy on this machine may see the whole URL, and gets its credentials each time."""
    with server(answer()) as between:
        proxy = f"http://user:word@127.0.0.1:{between.port}"
        transport = connect("http://127.0.0.1:9", proxy=proxy)
        assert [transport.post(b"x").kind for _ in range(2)] == [Kind.DELIVERED] * 2
        for raw in between.requests:
            first, headers, _ = request_of(raw)
            assert first == f"POST http://127.0.0.1:9/v1/{AUTH}/{API} HTTP/1.1"
            assert headers["proxy-authorization"].startswith("Basic ")


def test_plain_http_goes_through_a_loopback_proxy_with_tls(
    connect: Connect, authority: trustme.CA, ca_file: str
) -> None:
    """No tunnel is opened either if the connection to the proxy is encrypted."""
    with server(over_tls(secure_answer, authority)) as between:
        transport = connect("http://127.0.0.1:9", proxy=https(between), ca=ca_file)
        assert [transport.post(b"x").kind for _ in range(2)] == [Kind.DELIVERED] * 2
        firsts = {request_of(raw)[0] for raw in between.requests}
    assert firsts == {f"POST http://127.0.0.1:9/v1/{AUTH}/{API} HTTP/1.1"}


def test_the_host_header_has_no_zone(connect: Connect) -> None:
    """The zone of an IPv6 address is used to connect, and left out of the Host header."""
    with server(answer()) as running:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", running.port))]
        asked: list[Any] = []
        transport = connect("http://[::1%25lo]:80", resolve=lambda *q: asked.append(q) or found)
        assert transport.post(b"x").kind is Kind.DELIVERED
        assert request_of(running.requests[0])[1]["host"] == "[::1]:80"
    assert "%" in asked[0][0]


def test_the_reason_of_an_unreachable_proxy(connect: Connect) -> None:
    """The reason says that the connection was refused."""
    outcome = connect("https://events.invalid", proxy=f"http://127.0.0.1:{free_port()}").post(b"x")
    assert outcome.kind is Kind.RETRY
    assert "refused" in outcome.reason


# Ping


def test_a_ping_returns_its_duration(connect: Connect) -> None:
    """A ping is sent without a key, and the seconds are returned."""
    with server(drip(OK, interval=0.2, size=len(OK))) as running:
        seconds = connect(running.url).ping()
        first, headers, body = request_of(running.requests[0])
    assert 0.2 <= seconds < 5.0
    assert (first, headers["content-length"], body) == ("POST /v1/ping HTTP/1.1", "0", b"")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (answer(b"HTTP/1.1 302 Found\r\nLocation: /v1/ping\r\n" + EMPTY), "302"),
        (answer(b"HTTP/1.1 503 Busy\r\n" + EMPTY), "503"),
        (half_answer(b""), "cannot be reached"),
        (hang(), "no answer within"),
    ],
)
def test_a_ping_that_fails_has_the_reason(connect: Connect, script: Script, words: str) -> None:
    """Any outcome but 200 is a ConnectionError that names the host and the reason."""
    with server(script) as running:
        with pytest.raises(PingFailed, match=r"127\.0\.0\.1") as caught:
            connect(running.url, timeout=0.3).ping()
        assert len(running.requests) == 1
    assert isinstance(caught.value, ConnectionError)
    assert words in str(caught.value)


# Quiet


def test_http_client_prints_nothing(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """If an application debugs http.client, the requests of fslog are not printed."""
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 2)
    monkeypatch.setattr(http.client.HTTPResponse, "debuglevel", 2, raising=False)
    with server(answer()) as running:
        assert connect(running.url).post(b"x").kind is Kind.DELIVERED
        connect(running.url).ping()
    assert capfd.readouterr() == ("", "")


def test_a_transport_shows_no_key(connect: Connect) -> None:
    """`repr` and `str` of a transport and everything it refers to contain no key."""
    transport = connect("https://events.example", proxy=f"http://{AUTH}:{API}@proxy.example")
    assert no_secret(repr(transport), str(transport))
    for value in vars(transport).values():
        assert no_secret(repr(value), str(value))
