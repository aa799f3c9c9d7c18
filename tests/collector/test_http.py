"""The embedded server: timeouts, streams, HEAD, and releases."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from queue import SimpleQueue

import pytest

from fslog.collector import http
from fslog.collector.http import Answer, Message, Server

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@contextlib.contextmanager
def serving(respond: Callable[[Message], Answer], head_seconds: float = 10) -> Iterator[Server]:
    """Run a server; its errors fail the test."""
    server = Server(("127.0.0.1", 0), respond, 1000, head_seconds)
    try:
        yield server
    finally:
        server.stop()
    assert server.failures == []


def dial(server: Server) -> socket.socket:
    """Open a connection."""
    return socket.create_connection(server.server_address[:2], timeout=10)


def rest(conn: socket.socket) -> bytes:
    """Return everything until the server closes the connection."""
    return b"".join(iter(lambda: conn.recv(65_536), b""))


def test_a_request_that_stop_interrupts_is_not_answered() -> None:
    """Its body may be valid, so the client should retry."""
    with serving(lambda message: Answer(200)) as server, dial(server) as conn:
        conn.sendall(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 99\r\n\r\n")
        assert conn.recv(99).startswith(b"HTTP/1.1 100 ")  # it reads the body now
        conn.sendall(b"half")
        server.stop()
        assert rest(conn) == b""


def is_shut(conn: socket.socket, piece: bytes) -> bool:
    """Send a piece, and return whether the server has closed the connection."""
    conn.settimeout(0.01)
    try:
        conn.sendall(piece)
        return conn.recv(99) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize("start", [b"G", b"GET / HTTP/1.1\r\nHost: x\r\n"])
@pytest.mark.parametrize("piece", [b"", b"a"], ids=["silent", "dripping"])
def test_a_head_that_does_not_end_is_cut_off(start: bytes, piece: bytes) -> None:
    """Each of many incomplete heads is closed in time, and none becomes a request."""
    asked: list[Message] = []

    def respond(message: Message) -> Answer:
        asked.append(message)
        return Answer()

    with serving(respond, head_seconds=0.2) as server, contextlib.ExitStack() as stack:
        idle = stack.enter_context(dial(server))
        idle.sendall(GET)
        assert idle.recv(99).startswith(b"HTTP/1.1 200 ")
        halves = [stack.enter_context(dial(server)) for _ in range(40)]
        for conn in halves:
            conn.sendall(start)
        until = time.monotonic() + 20
        while halves := [conn for conn in halves if not is_shut(conn, piece)]:
            assert time.monotonic() < until, f"{len(halves)} are open still"
        idle.sendall(GET)  # a kept connection may be silent between two requests
        assert idle.recv(99).startswith(b"HTTP/1.1 200 ")
        assert len(asked) == 2


def test_a_body_that_stalls_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that stops sending is disconnected, and its incomplete body is not used."""
    monkeypatch.setattr(http, "_STUCK_SECONDS", 0.1)
    asked: list[Message] = []

    def respond(message: Message) -> Answer:
        asked.append(message)
        return Answer()

    with serving(respond) as server, dial(server) as conn:
        conn.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
        assert rest(conn) == b""
        assert asked == []


def test_a_stream_is_sent_piece_by_piece() -> None:
    """Each piece is sent before the next is made; the connection is closed after the last."""
    wanted: SimpleQueue[bytes] = SimpleQueue()

    def pieces() -> Generator[bytes, None, None]:
        while piece := wanted.get(timeout=10):
            yield piece

    answer = Answer(201, headers={"X": "y"}, stream=pieces)
    with serving(lambda message: answer) as server, dial(server) as conn:
        conn.sendall(GET + GET)
        head = b"HTTP/1.1 201 Created\r\nX: y\r\nConnection: close\r\n\r\n"
        assert conn.recv(len(head), socket.MSG_WAITALL) == head
        for piece in (b"one", b"another"):
            wanted.put(piece)
            assert conn.recv(99) == piece
        wanted.put(b"")
        assert rest(conn) == b""


def test_a_stream_ends_when_its_reader_disconnects() -> None:
    """The disconnect is noticed at the next piece, and the generator is closed."""
    closed = threading.Event()

    def pieces() -> Generator[bytes, None, None]:
        try:
            while True:
                yield b"x" * 1000
        finally:
            closed.set()

    with serving(lambda message: Answer(stream=pieces)) as server:
        with dial(server) as conn:
            conn.sendall(GET)
            conn.recv(1)
        assert closed.wait(10)


def test_a_reader_that_stalls_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not read for a while is disconnected; until then one piece waits."""
    monkeypatch.setattr(http, "_STUCK_SECONDS", 0.2)
    made: list[int] = []
    closed = threading.Event()

    def pieces() -> Generator[bytes, None, None]:
        try:
            while True:
                made.append(1)
                yield b"x" * 1_000_000
        finally:
            closed.set()

    with serving(lambda message: Answer(stream=pieces)) as server, dial(server) as conn:
        conn.sendall(GET)
        assert closed.wait(10)
        assert len(made) < 50


def test_a_stalled_reader_does_not_delay_stop() -> None:
    """`stop` ends a stream that is blocked in a send, and its thread."""
    before = set(threading.enumerate())
    stuck = threading.Event()

    def pieces() -> Generator[bytes, None, None]:
        for n in range(1_000_000):
            if n == 30:
                stuck.set()
            yield b"x" * 1_000_000

    server = Server(("127.0.0.1", 0), lambda message: Answer(stream=pieces), 1000)
    with dial(server) as conn:
        conn.sendall(GET)
        assert conn.recv(1)
        started_at = time.monotonic()
        server.stop()
        assert time.monotonic() - started_at < 10
    assert not stuck.is_set()
    assert set(threading.enumerate()) == before
    assert server.failures == []


def test_what_a_stream_raises_is_a_failure() -> None:
    """A generator that raises closes the connection, and its exception is kept like any other."""

    def pieces() -> Generator[bytes, None, None]:
        yield b"one"
        raise ValueError("no more")

    server = Server(("127.0.0.1", 0), lambda message: Answer(stream=pieces), 1000)
    with dial(server) as conn:
        conn.sendall(GET)
        assert rest(conn).endswith(b"\r\n\r\none")
    server.stop()
    assert [str(error) for error in server.failures] == ["no more"]


@pytest.mark.parametrize("stream", [False, True])
def test_head_gets_the_head_alone(stream: bool) -> None:
    """HEAD is answered with the headers of GET and no body, and the connection is kept."""
    asked: list[str] = []

    def pieces() -> Generator[bytes, None, None]:
        raise AssertionError("nobody reads this")
        yield b""

    def respond(message: Message) -> Answer:
        asked.append(message.method)
        return Answer(stream=pieces) if stream else Answer(body=b"the body")

    with serving(respond) as server, dial(server) as conn:
        conn.sendall(GET.replace(b"GET", b"HEAD") + GET.replace(b"\r\n\r\n", _CLOSE))
        if stream:
            assert rest(conn) == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
            return
        assert rest(conn) == (
            b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 8\r\n\r\nthe body"
        )
        assert asked == ["HEAD", "GET"]


_CLOSE = b"\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("outcome", "starts"),
    [(Answer(503, delay=60), b"HTTP/1.1 503 "), (Answer(then="hang"), b"")],
)
def test_a_release_ends_delays_and_hangs(outcome: Answer, starts: bytes) -> None:
    """A release sends delayed answers and closes hangs; later ones wait as before."""
    chosen = threading.Event()

    def respond(message: Message) -> Answer:
        chosen.set()
        return outcome

    with serving(respond) as server:
        for _ in range(2):
            with dial(server) as conn:
                chosen.clear()
                conn.sendall(GET.replace(b"\r\n\r\n", _CLOSE))
                assert chosen.wait(10)
                conn.settimeout(0.1)
                with pytest.raises(TimeoutError):
                    conn.recv(1)
                conn.settimeout(10)
                server.release()
                assert rest(conn)[:13] == starts


def test_a_release_is_not_missed_by_a_thread_about_to_wait() -> None:
    """An answer that was chosen before a release does not wait after it."""

    def respond(message: Message) -> Answer:
        server.release()
        return Answer(then="hang")

    with serving(respond) as server, dial(server) as conn:
        conn.sendall(GET)
        assert rest(conn) == b""


def test_after_a_release_during_stop_no_thread_waits() -> None:
    """A release that comes after `stop` has begun does not make later requests wait."""
    server = Server(("127.0.0.1", 0), lambda message: Answer(then="hang"), 1000)
    with dial(server) as conn:
        server.stopping.set()
        server.release()
        server.release()
        conn.sendall(GET)
        assert rest(conn) == b""
    server.stop()
