"""HTTP connections with two guarantees that urllib3's lack: a deadline, and hidden URLs.

Deadline: `urllib3.Timeout` bounds each wait on the socket, so an endpoint that sends a byte now and
then can hold a request, and with it the listener thread, for hours; a host name with many addresses
multiplies the timeout. Here a whole request has one deadline: before each wait, the socket's
timeout is set to the remaining time.

Hidden URLs: the keys stand in the request's path. Tracers replace the functions that receive a path
in urllib3 (`urlopen`, `_make_request`) and http.client (`request`, `putrequest`, `endheaders`,
`getresponse`), some by changing the function itself, and export it. So no request of fslog calls
any of these: urllib3 opens and keeps the connections, with TLS and through proxies, and the request
is written to the socket here. For the same reason no local variable holds the path during a wait:
some tools export the variables of every frame.
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

# `socket.getaddrinfo` would do this lookup at the first connection: an import in the listener while
# another thread forks would leave its lock locked in the child.
codecs.lookup("idna")


_LONGEST_SECONDS = 1e9
"""Less than the largest timeout of a socket, and more than anybody waits."""

_ANSWER_BYTES = 65_536
"""How much of a response's body is read to keep its connection; for a longer one it is closed."""

_PIECE_BYTES = 1_048_576
"""How much is sent at a time; over TLS a send is all or nothing."""

_log = logging.getLogger("urllib3.connectionpool")

Resolve = Callable[..., Sequence[Any]]
"""Has the arguments and the result of `socket.getaddrinfo`."""


class Stale(ConnectionError):
    """A kept connection had been closed by the endpoint; a new one may work."""


@dataclass(frozen=True)
class Request:
    """A POST, without its secrets.

    Args:
        target: returns the target of the request line: a path, or a URL for a proxy.
        shown: what to log instead.
        host: the Host header.
        headers: other headers.
        body: encoded.
        is_forwarded: whether a proxy forwards it, instead of opening a tunnel.
    """

    target: Callable[[], str]
    shown: str
    host: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    is_forwarded: bool = False

    def encoded(self, **more: str) -> bytes:
        """Return the bytes of the request, with more headers: a secret."""
        fixed = {"Host": self.host, "Accept-Encoding": "identity"}
        headers = {**fixed, "Content-Length": len(self.body), **self.headers, **more}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self.target()} HTTP/1.1\r\n{lines}\r\n".encode("ascii") + self.body


@dataclass(frozen=True)
class Answer:
    """The parts of a response that determine the outcome."""

    status: int
    retry_after: str | None


class _DeadlineReader(io.RawIOBase):
    """Read from a socket until a deadline, however slowly data arrives."""

    _raw: io.RawIOBase | None = None  # for a Ctrl-C during `__init__`

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
    """The part of a socket that `http.client.HTTPResponse` uses: `makefile`."""

    def __init__(self, sock: socket.socket, deadline_at: float) -> None:
        self._sock = sock
        self._deadline_at = deadline_at

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._sock, self._deadline_at))


class _Response(HTTPResponse):
    fp: Any = None  # for a Ctrl-C during `__init__`: `__del__` closes it

    def _read_status(self) -> Any:
        # http.client skips only 100, and returns 102 and 103 as the response (RFC 9110 15.2).
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 101 < status < 200:
                return version, status, reason
            parse_headers(self.fp)


def _response(sock: socket.socket, *args: Any, deadline_at: float, **kwargs: Any) -> HTTPResponse:
    return _Response(_DeadlineSocket(sock, deadline_at), *args, **kwargs)  # type: ignore[arg-type]


class _Bounded:
    """What plain and TLS connections have in common."""

    # Not http.client's class attribute, which an application may set to debug its own connections:
    # the CONNECT to a proxy would be printed, with its password.
    debuglevel = 0
    deadline_at = 0.0
    resolve: Resolve
    sock: Any
    socket_options: Any
    _dns_host: str
    port: int
    close: Callable[[], None]

    def _left(self) -> float:
        """Return how many seconds are left for the request, always more than 0."""
        return max(0.001, self.deadline_at - time.monotonic())

    def _new_conn(self) -> socket.socket:
        host = self._dns_host.strip("[]")
        found = self.resolve(host, self.port, allowed_gai_family(), socket.SOCK_STREAM)
        error = OSError("its name has no address")
        for tried, (family, kind, protocol, _, address) in enumerate(found):
            try:
                sock = socket.socket(family, kind, protocol)
            except unless_interrupt(OSError) as unknown:
                # An address family that this machine does not support.
                error = unknown
                continue
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                # An address that hangs uses only its share of the remaining time.
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
        # Unlike http.client's own method this raises no audit event, which would contain the data.
        view = memoryview(data)
        while view:
            self.sock.settimeout(self._left())
            view = view[self.sock.send(view[:_PIECE_BYTES]) :]

    def exchange(self, request: Request, proxy_headers: Mapping[str, str]) -> Answer:
        """Send a request over this open connection and return the response.

        Raises:
            OSError, HTTPException: there is no response; the connection cannot be used again.
        """
        is_cut = False
        try:
            # A memoryview, because its repr shows no data.
            self.send(memoryview(request.encoded(**proxy_headers)))
        except unless_interrupt(OSError) as error:
            if not isinstance(error, ConnectionError) and error.errno != errno.EPROTOTYPE:
                raise
            is_cut = True  # a response may have been received before, such as an early 413
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
    """Read the response's body, and return whether the connection can be kept.

    An incomplete body is no error, because only the status counts.
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
    """A pool's idle connections, without the locks of `queue.LifoQueue`.

    If the listener held such a lock during a fork, the child would wait for it forever when it
    collects its parent's pool. Pools that never block need only a deque.
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
    """What plain and TLS pools have in common."""

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
        """Post once, over a kept connection or a new one.

        Connecting, sending and the response share the time. Resolving the host's name counts too,
        but is not bounded: the system's resolver has no timeout.

        Args:
            request: the POST.
            seconds: for all of it.
            resolve: resolves the addresses of a name.
            see: called with the socket of a new connection as soon as it is usable, TLS included.

        Raises:
            Stale: a kept connection had been closed.
            OSError, HTTPException: any other failure.
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
                raise Stale(*error.args) from None
            raise
        self._put_conn(conn)
        # urllib3's own log record, for applications that enable it.
        _log.debug('%s "POST %s HTTP/1.1" %s', request.host, request.shown, answer.status)
        return answer


class _Pool(_Posting, urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection
    QueueCls = _Idle  # type: ignore[assignment]


class _TLSPool(_Posting, urllib3.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection
    QueueCls = _Idle  # type: ignore[assignment]


def manager(proxy_url: str | None, **settings: Any) -> urllib3.PoolManager:
    """Return a pool manager whose connections have deadlines.

    Args:
        proxy_url: with a percent-encoded user and password, if it has any; None for no proxy.
        settings: urllib3's, for each pool.
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
