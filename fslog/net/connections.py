"""HTTP connections that keep two promises urllib3's own do not: a request ends in time, unseen.

In time: `urllib3.Timeout` bounds each wait on the socket. An endpoint that sends one byte now and
then holds a request for hours that way, and with it the listener thread; a name with many
addresses does so for a multiple of the timeout. Here all of a request has one deadline: before each
wait the socket's timeout becomes what is left.

Unseen: the keys stand in the request's path. Tracers replace the functions that a path passes in
urllib3 (`urlopen`, `_make_request`) and in http.client (`request`, `putrequest`, `endheaders`,
`getresponse`), some of them by changing the function itself, and export it. So no request of
fslog's passes through any of these: urllib3 opens and keeps the connections, with TLS and through
proxies, and the request is written onto the socket here. For the same reason no local variable
holds the path while anything is waited for: there are tools that show those of every frame.
"""

from __future__ import annotations

import codecs
import errno
import io
import logging
import queue
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException, HTTPResponse, parse_headers
from typing import Any
from urllib.parse import unquote

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.connection import allowed_gai_family

from fslog.interrupts import unless_interrupt

# Looked up now, because `socket.getaddrinfo` does it at the first connection: a late import in the
# listener while another thread forks leaves the child on a dead lock.
codecs.lookup("idna")


_LONGEST_SECONDS = 1e9
"""More than any socket's timeout may be is as good as for ever."""

_ANSWER_BYTES = 65_536
"""How much of an answer's body is read so that its connection can be kept; the rest is cut off."""

_PIECE_BYTES = 1_048_576
"""How much is given to the socket at a time, which over TLS takes all of it or none."""

_log = logging.getLogger("urllib3.connectionpool")

Resolve = Callable[..., Sequence[Any]]
"""Takes and returns what `socket.getaddrinfo` does."""


class Gone(ConnectionError):
    """Report that a connection which had been kept was gone: a new one may do better."""


@dataclass(frozen=True)
class Request:
    """Describe a POST without holding what is secret in it.

    Args:
        target: returns what stands in the request line: a path, or a URL for a proxy.
        shown: what is shown in its place.
        host: what the Host header says.
        headers: further ones.
        body: as it travels.
        is_forwarded: whether a proxy is asked to pass it on, and not to open a tunnel for it.
    """

    target: Callable[[], str]
    shown: str
    host: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    is_forwarded: bool = False

    def encoded(self, **more: str) -> bytes:
        """Return the request as it travels, with more headers: a secret."""
        fixed = {"Host": self.host, "Accept-Encoding": "identity"}
        headers = {**fixed, "Content-Length": len(self.body), **self.headers, **more}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self.target()} HTTP/1.1\r\n{lines}\r\n".encode("ascii") + self.body


@dataclass(frozen=True)
class Answer:
    """Hold what counts of an answer."""

    status: int
    retry_after: str | None


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


class _Bounded:
    """What plain and TLS connections have in common here."""

    # An application that debugs its own connections by http.client's class attribute would print
    # the CONNECT to a proxy, with its password.
    debuglevel = 0
    deadline_at = 0.0
    resolve: Resolve
    sock: Any
    socket_options: Any
    _dns_host: str
    port: int
    close: Callable[[], None]

    def _left(self) -> float:
        """Return how many seconds the request may still take, never none at all."""
        return max(0.001, self.deadline_at - time.monotonic())

    def _new_conn(self) -> socket.socket:
        host = self._dns_host.strip("[]")
        found = self.resolve(host, self.port, allowed_gai_family(), socket.SOCK_STREAM)
        error = OSError("its name has no address")
        for tried, (family, kind, protocol, _, address) in enumerate(found):
            try:
                sock = socket.socket(family, kind, protocol)
            except unless_interrupt(OSError) as unknown:
                # A family that this machine does not speak.
                error = unknown
                continue
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                # Each has its share of what is left, so that one that hangs leaves time to others.
                sock.settimeout(self._left() / (len(found) - tried))
                sock.connect(address)
                sock.settimeout(self._left())  # for the TLS handshake
                return sock
            except BaseException as failure:
                sock.close()
                if not isinstance(failure, OSError):
                    raise
                error = failure
        raise error

    def _tunnel(self) -> None:
        self.response_class = partial(_response, deadline_at=self.deadline_at)
        super()._tunnel()  # type: ignore[misc]
        self.sock.settimeout(self._left())

    def send(self, data: Any) -> None:
        # Nothing that http.client's own tells an audit hook: the data.
        view = memoryview(data)
        while view:
            self.sock.settimeout(self._left())
            view = view[self.sock.send(view[:_PIECE_BYTES]) :]

    def exchange(self, request: Request, proxy_headers: Mapping[str, str]) -> Answer:
        """Send a request and read its answer, over this connection, which is open.

        Raises:
            OSError, HTTPException: there is no answer; the connection is of no more use.
        """
        is_cut = False
        try:
            self.send(memoryview(request.encoded(**proxy_headers)))  # whose repr shows nothing
        except unless_interrupt(OSError) as error:
            if not isinstance(error, ConnectionError) and error.errno != errno.EPROTOTYPE:
                raise
            is_cut = True  # the answer may have come before, which is how an early 413 gets through
        response = _response(self.sock, method="POST", deadline_at=self.deadline_at)
        try:
            response.begin()
            if is_cut and response.status == 200:
                raise HTTPException("the endpoint answered 200 before it had the whole body")
            if is_cut or not _finish(response):
                self.close()
            return Answer(response.status, response.headers.get("Retry-After"))
        finally:
            response.close()


def _finish(response: HTTPResponse) -> bool:
    """Read the answer's body, and tell whether its connection can be kept.

    The status has come, and it is all that counts: a body that breaks off changes nothing.
    """
    try:
        response.read(_ANSWER_BYTES)
        is_over = not response.read(1) and not response.length
    except unless_interrupt(Exception):
        return False
    return is_over and not response.will_close


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


class _Posting:
    """What plain and TLS pools have in common here."""

    proxy: Any
    proxy_headers: Mapping[str, str]
    _get_conn: Any
    _put_conn: Any
    _prepare_proxy: Any

    def post(
        self,
        request: Request,
        *,
        seconds: float,
        resolve: Resolve,
        see: Callable[[Any], object] | None = None,
    ) -> Answer:
        """Post once, over a connection that was kept or a new one.

        Connecting, sending and the answer share the time. Looking up the host's name is not
        bounded, though it counts: the system's resolver knows no deadline.

        Args:
            request: what to post.
            seconds: for all of it.
            resolve: looks up the addresses of a name.
            see: shown the socket of a new connection as soon as it can be used, TLS included.

        Raises:
            Gone: a connection that had been kept was gone.
            OSError, HTTPException: other trouble on the way.
        """
        conn = self._get_conn()
        conn.deadline_at = time.monotonic() + min(seconds, _LONGEST_SECONDS)
        conn.resolve = resolve
        is_new = conn.is_closed
        try:
            if is_new:
                if self.proxy is None or request.is_forwarded:
                    conn.connect()
                else:
                    self._prepare_proxy(conn)  # which connects
                if see is not None:
                    see(conn.sock)
            more = self.proxy_headers if request.is_forwarded else {}
            answer: Answer = conn.exchange(request, more)
        except BaseException as error:
            conn.close()
            if not is_new and isinstance(error, (ConnectionError, ssl.SSLEOFError)):
                raise Gone(*error.args) from None
            raise
        self._put_conn(conn)
        # What urllib3 says of its own requests, for whoever turned that on.
        _log.debug('%s "POST %s HTTP/1.1" %s', request.host, request.shown, answer.status)
        return answer


class _Pool(_Posting, urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection
    QueueCls = _Idle  # type: ignore[assignment]


class _TLSPool(_Posting, urllib3.HTTPSConnectionPool):
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
