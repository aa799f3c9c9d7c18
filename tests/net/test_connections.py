"""Requests have a deadline, and connections reveal less than urllib3's own."""

from __future__ import annotations

import contextlib
import gc
import queue
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from http.client import HTTPException
from typing import Any

import pytest
import urllib3

from fslog.net import connections
from fslog.net.connections import Answer, Request, Resolve, Stale, manager
from rawserver import OK, RawServer, answer, drip, hang, read_request


@contextlib.contextmanager
def pools(proxy_url: str | None = None, **settings: Any) -> Iterator[urllib3.PoolManager]:
    """Make a pool manager, and close its connections at the end."""
    made = manager(proxy_url, num_pools=1, maxsize=1, retries=False, **settings)
    try:
        yield made
    finally:
        for key in list(made.pools.keys()):
            made.pools[key].close()
        made.clear()


def post(
    made: urllib3.PoolManager,
    url: str,
    body: bytes = b"x",
    timeout: float = 2.0,
    resolve: Resolve = socket.getaddrinfo,
    target: Callable[[], str] = lambda: "/",
) -> Answer:
    """Post once."""
    pool: Any = made.connection_from_url(url)
    request = Request(target, "/", "host.example", {}, body)
    answer: Answer = pool.post(request, seconds=timeout, resolve=resolve)
    return answer


def test_half_made_objects_are_closed_silently() -> None:
    """A Ctrl-C while a reader or a response is created causes no later error."""
    for kind in (connections._DeadlineReader, connections._Response):
        half: Any = kind.__new__(kind)
        half.close()
        del half
        gc.collect()


def test_a_response_has_its_status_and_retry_after() -> None:
    """Status and Retry-After are those that were sent, and the connection can be used again."""
    raw = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 5\r\n\r\nhello"
    with RawServer(answer(raw)) as server, pools() as made:
        for _ in range(3):
            assert post(made, server.url) == Answer(503, "7")
        assert server.connections == 1


def test_the_timeout_bounds_the_head() -> None:
    """A head that arrives byte by byte is aborted after the timeout."""
    with RawServer(drip(OK, interval=0.1)) as server, pools() as made:
        began_at = time.monotonic()
        with pytest.raises(TimeoutError):
            post(made, server.url, timeout=0.35)
        assert time.monotonic() - began_at < 0.8


def test_the_timeout_bounds_head_and_body_together() -> None:
    """Head and body share the timeout."""
    gate = threading.Event()

    def script(conn: socket.socket) -> None:
        read_request(conn)
        gate.wait(0.2)
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        drip(b"x" * 1000, gate, interval=0.05)(conn)

    with RawServer(script) as server, pools() as made:
        began_at = time.monotonic()
        assert post(made, server.url, timeout=0.4).status == 200
        assert 0.35 < time.monotonic() - began_at < 0.8


def test_each_request_has_its_own_deadline() -> None:
    """A connection older than the timeout can still be used."""
    with RawServer(answer()) as server, pools() as made:
        for _ in range(3):
            post(made, server.url, timeout=0.2)
            assert not server.closing.wait(0.25)
        assert server.connections == 1


def test_an_early_200_is_an_error() -> None:
    """An endpoint that answers 200 and closes while the body is sent cannot have read it."""

    def script(conn: socket.socket) -> None:
        conn.recv(1000)
        conn.sendall(OK)

    with RawServer(script) as server, pools() as made, pytest.raises(HTTPException):
        post(made, server.url, b"x" * 10_000_000)


def test_another_early_status_is_a_response() -> None:
    """An early rejection counts, and the connection is not used again."""

    def script(conn: socket.socket) -> None:
        conn.recv(1000)
        conn.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

    with RawServer(script, script, answer()) as server, pools() as made:
        for status in (413, 413, 200):
            assert post(made, server.url, b"x" * 10_000_000).status == status


@contextlib.contextmanager
def deaf(*hosts: str) -> Iterator[list[tuple[str, int]]]:
    """Yield addresses at which connecting hangs."""
    with contextlib.ExitStack() as stack:
        found = []
        for host in hosts:
            listener = stack.enter_context(socket.socket())
            listener.bind((host, 0))
            listener.listen(0)
            found.append(listener.getsockname())
            # One connection waits to be accepted; later ones are not answered.
            while True:
                waiting = stack.enter_context(socket.socket())
                waiting.settimeout(0.2)
                try:
                    waiting.connect(found[-1])
                except TimeoutError:
                    break
        yield found


def resolved(*addresses: tuple[str, int]) -> Resolve:
    """Return a resolver that has some addresses for every name."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in addresses]
    return lambda *query: found


def test_all_addresses_of_a_name_share_the_timeout() -> None:
    """If all addresses of a name hang, they share one timeout."""
    with deaf("127.0.0.2", "127.0.0.3", "127.0.0.4") as addresses, pools() as made:
        began_at = time.monotonic()
        with pytest.raises(TimeoutError):
            post(made, "http://many.example", timeout=0.6, resolve=resolved(*addresses))
        assert 0.5 < time.monotonic() - began_at < 0.9


def test_an_address_that_hangs_leaves_time_to_the_others() -> None:
    """The last of several addresses is reached even if those before it hang or refuse."""
    with deaf("127.0.0.2", "127.0.0.3") as (first, second), RawServer(answer()) as server:
        with socket.create_server(("127.0.0.1", 0)) as free:
            refusing = free.getsockname()
        addresses = (first, refusing, second, ("127.0.0.1", server.port))
        with pools() as made:
            began_at = time.monotonic()
            known = resolved(*addresses)
            assert post(made, "http://many.example", timeout=0.8, resolve=known).status == 200
            assert time.monotonic() - began_at < 0.8


def test_the_last_address_determines_the_error() -> None:
    """An address of an unsupported family is skipped like one that fails."""
    strange = (9999, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 9))
    with socket.create_server(("127.0.0.1", 0)) as free:
        refusing = (socket.AF_INET, socket.SOCK_STREAM, 0, "", free.getsockname())
    with pools() as made:
        with pytest.raises(ConnectionRefusedError):
            post(made, "http://two.example", resolve=lambda *query: [strange, refusing])
        with pytest.raises(OSError, match="no address"):
            post(made, "http://none.example", resolve=lambda *query: [])


def test_only_a_kept_connection_is_stale() -> None:
    """Only a kept connection that was closed is stale; a new one raises its own error."""

    def script(conn: socket.socket) -> None:
        read_request(conn)
        conn.sendall(OK)
        read_request(conn)

    with RawServer(script, lambda conn: read_request(conn)) as server, pools() as made:
        post(made, server.url)
        with pytest.raises(Stale):
            post(made, server.url)
        with pytest.raises(ConnectionError) as caught:
            post(made, server.url)
        assert not isinstance(caught.value, Stale)


@pytest.mark.parametrize("body", [b"x", b"x" * 30_000_000], ids=["answer", "body"])
def test_no_frame_of_a_request_that_waits_shows_its_target(body: bytes) -> None:
    """No variable of a frame, nor an object it refers to, reveals a key."""
    arrived = threading.Event()

    def script(conn: socket.socket) -> None:
        conn.recv(1000)
        arrived.set()
        conn.server.closing.wait()  # type: ignore[attr-defined]

    def run() -> None:
        with contextlib.suppress(OSError, HTTPException):
            post(made, server.url, body, 30.0, target=lambda: "".join(["/the-", "secret"]))

    with pools() as made:
        with RawServer(script) as server:
            thread = threading.Thread(target=run)
            thread.start()
            assert arrived.wait(10)
            frame: Any = sys._current_frames()[thread.ident or 0]
            names = []
            while frame is not None:
                names.append(frame.f_code.co_name)
                assert "the-secret" not in repr(frame.f_locals), names
                frame = frame.f_back
        thread.join()
    assert "exchange" in names


def test_a_small_pool_keeps_one_connection() -> None:
    """The pool keeps idle connections up to its size; a second one is closed."""
    gate = threading.Barrier(2)

    def script(conn: socket.socket) -> None:
        read_request(conn)
        gate.wait(5)
        conn.sendall(OK)
        answer()(conn)

    with RawServer(script) as server, pools() as made:
        other = threading.Thread(target=post, args=(made, server.url))
        other.start()
        post(made, server.url)
        other.join()
        assert server.connections == 2
        post(made, server.url)
        assert server.connections == 2


def test_idle_connections_are_kept_without_a_lock() -> None:
    """A child forked at any moment finds no locked lock in the pool."""
    with RawServer(answer()) as server, pools() as made:
        post(made, server.url)
        pool = made.connection_from_url(server.url)
        assert not isinstance(pool.pool, queue.Queue)
        locks = [
            value
            for value in vars(pool.pool).values()
            if isinstance(value, (type(threading.Lock()), type(threading.RLock())))
        ]
        assert locks == []


def test_no_response_leaves_a_socket_open() -> None:
    """Closing the pool after complete and late responses leaves no open socket."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with RawServer(answer(), hang()) as server, pools() as made:
            post(made, server.url)
            made.pools[next(iter(made.pools.keys()))].close()
            made.clear()
            with pytest.raises(TimeoutError):
                post(made, server.url, timeout=0.1)
        gc.collect()


def test_a_proxys_url_becomes_its_address_and_its_credentials() -> None:
    """User and password go into the header, decoded, and stay out of the proxy's URL."""
    with pools("http://us%40er:p%2Fw@127.0.0.1:3128") as made:
        assert isinstance(made, urllib3.ProxyManager)
        assert str(made.proxy) == "http://127.0.0.1:3128"
        header = urllib3.util.make_headers(proxy_basic_auth="us@er:p/w")
        assert made.proxy_headers == header
    with pools("https://proxy.example:8443") as made:
        assert isinstance(made, urllib3.ProxyManager)
        assert not made.proxy_headers
