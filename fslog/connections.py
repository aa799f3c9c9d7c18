"""HTTP connections that keep a promise urllib3's own do not: a request ends in time.

`urllib3.Timeout` bounds each wait on the socket. An endpoint that sends one byte now and then
holds a request for hours that way, and with it the listener thread. Here the time for the answer
is bounded as a whole: before each read the socket's timeout becomes what is left.
"""

from __future__ import annotations

import codecs
import io
import queue
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from http.client import HTTPException, HTTPResponse, parse_headers
from typing import Any
from urllib.parse import unquote

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

# Looked up now, because `socket.getaddrinfo` does it at the first connection: a late import in the
# listener while another thread forks leaves the child on a dead lock.
codecs.lookup("idna")


_LONGEST_SECONDS = 1e9
"""More than any socket's timeout may be is as good as for ever."""


class _DeadlineReader(io.RawIOBase):
    """Read from a socket until an instant, however little comes at a time."""

    _raw: io.RawIOBase | None = None  # until then, for a Ctrl-C amid `__init__`

    def __init__(self, sock: socket.socket, deadline_at: float) -> None:
        self._sock = sock
        self._raw = self._file = sock.makefile("rb", buffering=0)
        self._deadline_at = deadline_at

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return self._file.readinto(buffer)

    def close(self) -> None:
        if self._raw is not None:
            self._raw.close()
        super().close()


class _DeadlineSocket:
    """Stand in for the socket of which `http.client.HTTPResponse` asks nothing but a file."""

    def __init__(self, sock: socket.socket, deadline_at: float) -> None:
        self._sock = sock
        self._deadline_at = deadline_at

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._sock, self._deadline_at))


class _Response(HTTPResponse):
    fp: Any = None  # until then, for a Ctrl-C amid `__init__`, which has `__del__` close it

    def _read_status(self) -> Any:
        # http.client passes over 100 only, and takes 102 and 103 for the answer (RFC 9110 15.2).
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 101 < status < 200:
                return version, status, reason
            parse_headers(self.fp)


def _response(sock: socket.socket, *args: Any, deadline_at: float, **kwargs: Any) -> HTTPResponse:
    return _Response(_DeadlineSocket(sock, deadline_at), *args, **kwargs)  # type: ignore[arg-type]


_deadline_at: ContextVar[float | None] = ContextVar("fslog.deadline_at", default=None)


def _left(otherwise: float) -> float:
    """Return how many seconds this thread's request may still take, never none at all."""
    deadline_at = _deadline_at.get()
    return otherwise if deadline_at is None else max(0.001, deadline_at - time.monotonic())


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Bound what this thread's connections do in the block, taken together.

    Connecting, sending and the answer share the time. Looking up the host's name is not bounded:
    the system's resolver knows no deadline.
    """
    _deadline_at.set(time.monotonic() + min(seconds, _LONGEST_SECONDS))
    try:
        yield
    finally:
        _deadline_at.set(None)


class _Bounded:
    """What plain and TLS connections have in common here."""

    # An application that debugs its own connections by http.client's class attribute would print
    # our request lines, which hold the keys.
    debuglevel = 0
    _cut_short = False
    sock: Any
    timeout: Any

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._cut_short = False
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
        except (BrokenPipeError, ConnectionResetError):
            # urllib3 goes on to read the answer, which is how a 413 that came early gets through.
            self._cut_short = True
            raise

    def connect(self) -> None:
        self.timeout = _left(self.timeout)
        self._bound()  # a proxy's answer to CONNECT is read here
        super().connect()  # type: ignore[misc]

    def _new_conn(self) -> socket.socket:
        sock: socket.socket = super()._new_conn()  # type: ignore[misc]
        sock.settimeout(_left(self.timeout))  # for the TLS handshake, what connecting has left
        return sock

    def _tunnel(self) -> None:
        super()._tunnel()  # type: ignore[misc]
        self.sock.settimeout(_left(self.timeout))

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        self.sock.settimeout(_left(self.timeout))
        super().send(data)  # type: ignore[misc]

    def _bound(self) -> None:
        deadline_at = time.monotonic() + _left(self.timeout)
        self.response_class = partial(_response, deadline_at=deadline_at)

    def getresponse(self) -> Any:
        self._bound()
        response = super().getresponse()  # type: ignore[misc]
        if self._cut_short and response.status == 200:
            response.close()
            raise HTTPException("the endpoint answered 200 before it had the whole body")
        return response


class _Connection(_Bounded, HTTPConnection):  # type: ignore[misc]
    pass


class _TLSConnection(_Bounded, HTTPSConnection):  # type: ignore[misc]
    pass


class _Idle:
    """Keep a pool's idle connections, without the locks of `queue.LifoQueue`.

    A child that was forked while the listener held such a lock would wait for it for ever when
    the pool of its parent is collected. Pools that never block need nothing but a deque.
    """

    def __init__(self, maxsize: int) -> None:
        self._items: deque[Any] = deque()
        self._maxsize = maxsize

    def get(self, block: bool = False, timeout: float | None = None) -> Any:
        try:
            return self._items.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, item: Any, block: bool = False) -> None:
        if len(self._items) >= self._maxsize:
            raise queue.Full
        self._items.append(item)

    def qsize(self) -> int:
        return len(self._items)


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection
    QueueCls = _Idle  # type: ignore[assignment]


class _TLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection
    QueueCls = _Idle  # type: ignore[assignment]


def manager(proxy_url: str | None, **settings: Any) -> urllib3.PoolManager:
    """Make a pool manager of bounded connections, through a proxy or directly.

    Args:
        proxy_url: may hold a user and a password, percent-encoded.
        settings: urllib3's, for each of the pools.
    """
    made: urllib3.PoolManager
    if proxy_url is None:
        made = urllib3.PoolManager(**settings)
    else:
        url = urllib3.util.parse_url(proxy_url)
        headers = urllib3.util.make_headers(proxy_basic_auth=unquote(url.auth)) if url.auth else {}
        made = urllib3.ProxyManager(url._replace(auth=None).url, proxy_headers=headers, **settings)
    made.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
    return made
