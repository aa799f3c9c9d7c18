"""The server of plain sockets does what tests rely on."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time

import pytest

from rawserver import OK, RawServer, answer, drip, half_answer, hang, read_request, reset

POST = b"POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"


def ask(server: RawServer) -> bytes:
    """Post once over a new connection, and return everything received."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as conn:
        conn.sendall(POST)
        return b"".join(iter(lambda: conn.recv(4096), b""))


def test_scripts_run_in_order_and_the_last_repeats() -> None:
    """Connection n runs script n, and every later one the last."""
    with RawServer(half_answer(b"first", 5), half_answer(b"other", 5)) as server:
        assert [ask(server) for _ in range(3)] == [b"first", b"other", b"other"]
        assert server.connections == 3
        assert server.wait_for_requests(3, timeout=1) == [POST] * 3


def test_answer_serves_many_requests_over_one_connection() -> None:
    """`answer` keeps its connection alive, and each request is recorded with its body."""
    with RawServer(answer()) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        with contextlib.closing(client):
            for body in (b"one", b"two"):
                client.request("POST", "/", body)
                assert client.getresponse().read() == b""
        assert server.connections == 1
        assert [request.rpartition(b"\r\n")[2] for request in server.requests] == [b"one", b"two"]


def test_half_an_answer_is_cut() -> None:
    """`half_answer` sends the first half, or `cut` bytes, and then nothing."""
    with RawServer(half_answer(), half_answer(OK, 9)) as server:
        assert ask(server) == OK[: len(OK) // 2]
        assert ask(server) == b"HTTP/1.1 "


def test_reset_is_a_reset() -> None:
    """`reset` gives the peer ECONNRESET, at once or after a request."""

    def late(conn: socket.socket) -> None:
        read_request(conn)
        reset(conn)

    with RawServer(reset, late) as server:
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                ask(server)
        assert server.requests == [POST]


def test_drip_pauses_until_its_event_is_set() -> None:
    """`drip` sends pieces, and without a pause once its event is set."""
    pause = threading.Event()
    with (
        RawServer(drip(b"abc", pause, interval=60)) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=0.1) as conn,
    ):
        conn.sendall(POST)
        server.wait_for_requests(1)
        with pytest.raises(TimeoutError):
            conn.recv(9)
        pause.set()
        conn.settimeout(5)
        assert b"".join(iter(lambda: conn.recv(9), b"")) == b"abc"


def test_the_exit_ends_hangs_and_threads() -> None:
    """The exit ends scripts that hang, drip or idle, and their threads."""
    before = set(threading.enumerate())
    with contextlib.ExitStack() as clients:
        with RawServer(hang(), drip(interval=60), answer()) as server:
            for _ in range(3):
                address = ("127.0.0.1", server.port)
                conn = clients.enter_context(socket.create_connection(address, timeout=5))
                conn.sendall(POST)
            server.wait_for_requests(3)
            leaving_at = time.monotonic()
        assert time.monotonic() - leaving_at < 1
    assert set(threading.enumerate()) == before


def test_a_hang_ends_with_its_event() -> None:
    """`hang` answers nothing, and ends the connection when its event is set."""
    until = threading.Event()
    with (
        RawServer(hang(until)) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as conn,
    ):
        conn.sendall(POST)
        server.wait_for_requests(1)
        until.set()
        assert conn.recv(9) == b""


def test_what_a_script_asserts_is_raised_at_exit() -> None:
    """An error of a script fails the test; a disconnect of the peer does not."""

    def wrong(conn: socket.socket) -> None:
        assert read_request(conn) == b"something else"

    with pytest.raises(AssertionError), RawServer(wrong) as server:
        assert ask(server) == b""


def test_a_wait_in_vain_has_the_number_of_requests() -> None:
    """`wait_for_requests` raises a TimeoutError that has their number."""
    with (
        RawServer(answer()) as server,
        pytest.raises(TimeoutError, match=r"^0 of 1 requests came in 0\.01 s$"),
    ):
        server.wait_for_requests(1, timeout=0.01)
