"""A connection ends its requests in time, and keeps what urllib3's own would tell to itself."""

from __future__ import annotations

import contextlib
import gc
import queue
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from fslog import connections
from fslog.connections import manager
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


def post(made: urllib3.PoolManager, url: str, body: bytes = b"x", timeout: float = 2.0) -> Any:
    """Post once, without reading the body of the answer."""
    return made.urlopen(
        "POST",
        url,
        body=body,
        timeout=urllib3.Timeout(connect=timeout, read=timeout),
        retries=False,
        redirect=False,
        preload_content=False,
        decode_content=False,
    )


def test_what_an_interrupt_left_half_made_is_closed_silently() -> None:
    """A Ctrl-C in the midst of making a reader or a response leaves nothing that complains."""
    for kind in (connections._DeadlineReader, connections._Response):
        half: Any = kind.__new__(kind)
        half.close()
        del half
        gc.collect()


def test_an_answer_comes_with_its_head_and_body() -> None:
    """Status, headers and body are those that were sent, and the connection is there for more."""
    raw = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 5\r\n\r\nhello"
    with RawServer(answer(raw)) as server, pools() as made:
        for _ in range(3):
            response = post(made, server.url)
            assert (response.status, response.headers["Retry-After"]) == (503, "7")
            assert response.read() == b"hello"
            response.release_conn()
        assert server.connections == 1


def test_the_head_is_bounded_as_a_whole() -> None:
    """A head of which a byte comes now and then is given up after the timeout."""
    with RawServer(drip(OK, interval=0.1)) as server, pools() as made:
        began_at = time.monotonic()
        with pytest.raises(ReadTimeoutError):
            post(made, server.url, timeout=0.35)
        assert time.monotonic() - began_at < 0.8


def test_the_body_is_bounded_with_the_head() -> None:
    """Time that the head took is not there for the body again."""
    gate = threading.Event()

    def script(conn: socket.socket) -> None:
        read_request(conn)
        gate.wait(0.2)
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        drip(b"x" * 1000, gate, interval=0.05)(conn)

    with RawServer(script) as server, pools() as made:
        began_at = time.monotonic()
        response = post(made, server.url, timeout=0.4)
        with pytest.raises(ReadTimeoutError):
            response.read()
        assert time.monotonic() - began_at < 0.8
        response.close()


def test_each_request_has_its_own_time() -> None:
    """A connection that is older than the timeout serves as well as a new one."""
    with RawServer(answer()) as server, pools() as made:
        for _ in range(3):
            post(made, server.url, timeout=0.2).read()
            assert not server.closing.wait(0.25)
        assert server.connections == 1


def test_a_200_before_the_whole_body_was_taken_is_an_error() -> None:
    """Whoever says 200 and leaves while we send cannot have read what we sent."""

    def script(conn: socket.socket) -> None:
        conn.recv(1000)
        conn.sendall(OK)

    with RawServer(script) as server, pools() as made, pytest.raises(ProtocolError):
        post(made, server.url, b"x" * 10_000_000)


def test_another_answer_before_the_whole_body_was_taken_is_an_answer() -> None:
    """A refusal that comes early is what it says, over a new connection each time."""

    def script(conn: socket.socket) -> None:
        conn.recv(1000)
        conn.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

    with RawServer(script, script, answer()) as server, pools() as made:
        for status in (413, 413, 200):
            response = post(made, server.url, b"x" * 10_000_000)
            assert response.status == status
            response.read()
            response.close()


def test_a_small_pool_keeps_one_connection() -> None:
    """What is idle is kept up to the pool's size; a second connection at a time is let go."""
    with RawServer(answer()) as server, pools() as made:
        first, second = post(made, server.url), post(made, server.url)
        for response in (first, second):
            response.read()
            response.release_conn()
        assert server.connections == 2
        post(made, server.url).read()
        assert server.connections == 2


def test_idle_connections_are_kept_without_a_lock() -> None:
    """A child that is forked at any moment finds no lock of its parent's in the pool."""
    with RawServer(answer()) as server, pools() as made:
        post(made, server.url).read()
        pool = made.connection_from_url(server.url)
        assert not isinstance(pool.pool, queue.Queue)
        locks = [
            value
            for value in vars(pool.pool).values()
            if isinstance(value, (type(threading.Lock()), type(threading.RLock())))
        ]
        assert locks == []


def test_an_answer_leaves_nothing_open() -> None:
    """Closing the pool after complete and late answers leaves no socket to the collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with RawServer(answer(), hang()) as server, pools() as made:
            post(made, server.url).read()
            made.pools[next(iter(made.pools.keys()))].close()
            made.clear()
            with pytest.raises(ReadTimeoutError):
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
