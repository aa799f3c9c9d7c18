"""A small HTTP/1.1 server to embed: one complete request in, one answer out.

It is independent of events. `http.server` reads heads and starts threads; this module adds
complete bodies (RFC 9112 6 and 7), answers in one send or streamed, connections that end as a
script says, and a `stop` that closes every socket and joins every thread.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase, BufferedReader
from itertools import takewhile
from socketserver import TCPServer
from typing import Any, Literal, cast, get_args

_LINE_BYTES = 65_536
_TRAILERS = 100
_HEX = re.compile(rb"[0-9A-Fa-f]{1,15}")
_CLOSE = {"Connection": "close"}
_RESET = struct.pack("ii", 1, 0)
# Bytes that are still read after an early answer, so that 413 reaches a client that sends its whole
# body before it reads.
_LINGER_BYTES = 256 * 1024 * 1024
_LINGER_SECONDS = 3.0
# The longest time that a client may read nothing of a stream, or send nothing of a body.
_STUCK_SECONDS = 30.0
_HEAD_SECONDS = 10.0

Then = Literal["answer", "hang", "close", "reset"]
"""What happens after a request, see `Answer`."""


@dataclass(frozen=True)
class Answer:
    """How the server responds to one request.

    Args:
        status: 200 to 599.
        headers: in addition to Content-Length; `Connection: close` closes after the answer.
        body: of the answer.
        delay: seconds before the answer; `Server.release` ends it early, and so does
            `Server.stop`, but without an answer.
        then: `"answer"`; `"hang"`: no answer until the server stops or releases it; `"close"`:
            the connection is closed instead; `"reset"`: it is closed with a TCP reset.
        keep: whether the request's events are accepted; None: if the answer is 200.
        stream: returns a generator of pieces that are sent instead of `body`, until it ends or the
            client disconnects; then the connection and the generator are closed.

    Raises:
        ValueError: a value is not one of these.

    >>> Answer().keeps, Answer(503).keeps, Answer(then="close").keeps, Answer(503, keep=True).keeps
    (True, False, False, True)
    """

    status: int = 200
    _: KW_ONLY
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()
    body: bytes = b""
    delay: float = 0.0
    then: Then = "answer"
    keep: bool | None = None
    stream: Callable[[], Generator[bytes, None, None]] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", tuple(dict(self.headers).items()))
        if not 200 <= self.status <= 599:
            raise ValueError(f"status is {self.status}; expected 200 to 599")
        if self.then not in get_args(Then):
            raise ValueError(
                f"then is {self.then!r}; expected 'answer', 'hang', 'close' or 'reset'"
            )
        if self.delay < 0:
            raise ValueError(f"delay is {self.delay}; expected 0 or more seconds")

    @property
    def keeps(self) -> bool:
        """Return whether the request's events are accepted."""
        return (self.status == 200 and self.then == "answer") if self.keep is None else self.keep


@dataclass(frozen=True)
class Message:
    """One request as received; its repr omits the target, which may contain secrets.

    Args:
        method: as sent.
        target: of the request line.
        headers: by lower-case name; the values of a repeated one are joined by commas.
        body: without chunk framing; empty if there is a fault.
        fault: `""`, `"malformed"` (invalid framing, or a body that ends early) or `"too_long"`;
            after either the connection is closed.
        received_at: the monotonic instant at which the body was complete.
    """

    method: str
    target: str = field(repr=False)
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    fault: str
    received_at: float


class BodyError(ValueError):
    """A body cannot be read; the message is `"malformed"` or `"too_long"`."""


def body_length(headers: Mapping[str, str], limit_bytes: int) -> int | None:
    """Return the length of a request's body; None for a chunked one (RFC 9112 6.3).

    Raises:
        BodyError: the headers contradict each other, or announce more than `limit_bytes`.

    >>> body_length({"content-length": "3"}, 9), body_length({}, 9)
    (3, 0)
    >>> body_length({"transfer-encoding": "chunked"}, 9) is None
    True
    """
    coding, length = headers.get("transfer-encoding"), headers.get("content-length", "0")
    if coding is not None:
        # Requests with both headers may be smuggled ones (RFC 9112 6.1).
        if coding.lower() != "chunked" or "content-length" in headers:
            raise BodyError("malformed")
        return None
    if not (length.isascii() and length.isdigit()):
        raise BodyError("malformed")
    if len(length) > 15 or int(length) > limit_bytes:
        raise BodyError("too_long")
    return int(length)


def read_body(stream: BufferedIOBase, length: int | None, limit_bytes: int) -> bytes:
    r"""Read a body to its end and return it without its framing.

    Args:
        stream: positioned after the head.
        length: from `body_length`.
        limit_bytes: the longest chunked body.

    Raises:
        BodyError: it is malformed, ends early, or is too long.

    >>> import io
    >>> read_body(io.BytesIO(b"3;x=y\r\nabc\r\n0\r\nTrailer: t\r\n\r\n"), None, 9)
    b'abc'
    """
    if length is not None:
        return _exactly(stream, length)
    parts: list[bytes] = []
    left = limit_bytes
    while size := _chunk_size(_line(stream)):
        left -= size
        if left < 0:
            raise BodyError("too_long")
        parts.append(_exactly(stream, size))
        if _exactly(stream, 2) != b"\r\n":
            raise BodyError("malformed")
    for _ in range(_TRAILERS):
        if not _line(stream):
            return b"".join(parts)
    raise BodyError("malformed")


def _exactly(stream: BufferedIOBase, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise BodyError("malformed")
    return data


def _line(stream: BufferedIOBase) -> bytes:
    line = stream.readline(_LINE_BYTES)
    if not line.endswith(b"\r\n"):
        raise BodyError("malformed")
    return line[:-2]


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip(b" \t")
    if not _HEX.fullmatch(digits):
        raise BodyError("malformed")
    return int(digits, 16)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    fields = (f"{name}: {value}" for name, value in headers.items())
    return "\r\n".join([f"HTTP/1.1 {status} {phrase}", *fields, "\r\n"]).encode("latin-1")


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        self._expects, self.command = False, ""
        if self._head():
            message = self._receive()
            if message.fault and self.server.stopping.is_set():
                # The server itself cut the body off: no answer, so that the client tries again.
                self.close_connection = True
                return
            pause = self.server.pause  # read before the answer is chosen: no release is missed
            try:
                answer = self.server.respond(message)
            except BaseException as error:
                self.server.failures.append(error)
                answer = Answer(500)
            self._respond(answer, message.fault, pause)

    def _head(self) -> bool:
        """Read a head; a connection may be idle between two requests for any time."""
        self.close_connection = True
        if not cast(BufferedReader, self.rfile).peek(1):
            return False
        self.server.heads.begin(self.connection)
        try:
            self.raw_requestline = self.rfile.readline(_LINE_BYTES + 1)
            if len(self.raw_requestline) > _LINE_BYTES:
                self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
                return False
            is_whole = self.parse_request()
        finally:
            # The beginning of a head that was cut off can look like a complete one.
            is_in_time = self.server.heads.end(self.connection)
        if not is_in_time:
            self.close_connection = True
        return is_whole and is_in_time

    def handle_expect_100(self) -> bool:
        # Not yet: a body that is rejected by its length is not requested.
        self._expects = True
        return True

    def _receive(self) -> Message:
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        body, fault = b"", ""
        try:
            if self.headers.defects:  # malformed header lines, which `headers` omits
                raise BodyError("malformed")
            length = body_length(headers, self.server.limit_bytes)
            if self._expects:
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.connection.settimeout(_STUCK_SECONDS)
            body = read_body(self.rfile, length, self.server.limit_bytes)
            self.connection.settimeout(None)
        except BodyError as error:
            fault = str(error)
        return Message(self.command, self.path, headers, body, fault, time.monotonic())

    def _respond(self, answer: Answer, fault: str, pause: threading.Event) -> None:
        ended = answer.delay > 0 and pause.wait(answer.delay)
        stopped = ended and self.server.stopping.is_set()
        if answer.then == "hang":
            pause.wait()
        elif answer.then == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if stopped or answer.then != "answer":
            self.close_connection = True
            return
        headers = dict(answer.headers)
        lowered = {(name.lower(), value.lower()) for name, value in headers.items()}
        closes = ("connection", "close") in lowered
        ours = bool(fault) or closes
        if self.request_version != "HTTP/1.1" or self.server.stopping.is_set():
            self.close_connection = True
        if (ours or self.close_connection) and not closes:
            headers |= _CLOSE
        if answer.stream is not None:
            self._stream(_head(answer.status, {**headers, **_CLOSE}), answer.stream)
            return
        self._send(answer.status, headers, answer.body)
        if ours:
            self._linger()

    def _stream(self, head: bytes, stream: Callable[[], Generator[bytes, None, None]]) -> None:
        self.close_connection = True
        self.wfile.write(head)
        if self.command == "HEAD":
            return
        self.connection.settimeout(_STUCK_SECONDS)
        with contextlib.closing(stream()) as pieces:
            for piece in pieces:
                self.wfile.write(piece)

    def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if status != HTTPStatus.NO_CONTENT:  # RFC 9110 8.6
            headers = {**headers, "Content-Length": str(len(body))}
        # One send: with two, the second would wait for the acknowledgement of the first.
        self.wfile.write(_head(status, headers) + (b"" if self.command == "HEAD" else body))

    def _linger(self) -> None:
        # Closing with unread bytes makes TCP send a reset, which can overtake the answer.
        self.close_connection = True
        left, until = _LINGER_BYTES, time.monotonic() + _LINGER_SECONDS
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_LINGER_SECONDS)
            while left > 0 and time.monotonic() < until:
                got = len(self.rfile.read1(_LINE_BYTES))
                left = left - got if got else 0

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self._send(code, _CLOSE, b"")
        self._linger()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the request line contains both keys."""


class _HeadDeadlines:
    """Close connections whose head takes too long.

    A socket timeout is not enough: it restarts with every byte.

    Args:
        seconds: from the first byte of a head to its last.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._guard = threading.Lock()
        self._due: dict[socket.socket, float] = {}  # in the order of the instants

    def begin(self, connection: socket.socket) -> None:
        with self._guard:
            self._due[connection] = time.monotonic() + self._seconds

    def end(self, connection: socket.socket) -> bool:
        """Return whether the head was complete in time."""
        with self._guard:
            return self._due.pop(connection, None) is not None

    def close_overdue(self) -> None:
        now = time.monotonic()
        with self._guard:
            overdue = list(takewhile(lambda one: self._due[one] <= now, self._due))
            for connection in overdue:
                del self._due[connection]
                with contextlib.suppress(OSError):  # closed by its own thread
                    connection.shutdown(socket.SHUT_RDWR)


class Server(ThreadingHTTPServer):
    """Serve from construction until `stop`, with a thread for each connection.

    Nothing is written to stderr. Exceptions other than network errors are kept in `failures`.

    Args:
        address: host and port; port 0 binds to a free one, which `server_address` has.
        respond: called with each `Message`, in its connection's thread; returns the answer.
        limit_bytes: the longest body.
        head_seconds: the longest time from the first byte of a head to its last.

    Raises:
        OSError: the server cannot bind to the address.
    """

    daemon_threads = True
    allow_reuse_port = False  # otherwise two servers could share one port unnoticed
    request_queue_size = 128
    timeout: float = 0.5  # for systems on which `shutdown` does not wake the accepting thread

    def __init__(
        self,
        address: tuple[str, int],
        respond: Callable[[Message], Answer],
        limit_bytes: int,
        head_seconds: float = _HEAD_SECONDS,
    ) -> None:
        self.heads: _HeadDeadlines = _HeadDeadlines(head_seconds)
        self.respond = respond
        self.limit_bytes = limit_bytes
        self.stopping: threading.Event = threading.Event()
        self.pause: threading.Event = threading.Event()
        self.failures: list[BaseException] = []
        self._pid = os.getpid()
        self._guard = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._workers: list[threading.Thread] = []
        super().__init__(address, _Handler)
        self._acceptor = threading.Thread(target=self._accept, name="fslog-server", daemon=True)
        self._acceptor.start()

    def server_bind(self) -> None:
        # HTTPServer's own method resolves the host's name, which can take seconds.
        TCPServer.server_bind(self)
        name, port = self.socket.getsockname()[:2]
        self.server_name: str = name
        self.server_port: int = port

    def _accept(self) -> None:
        while not self.stopping.is_set():
            self.handle_request()
            self.heads.close_overdue()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._connections.add(request)
        worker = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name="fslog-server-connection",
            daemon=True,
        )
        worker.start()
        self._workers = [other for other in self._workers if other.is_alive()] + [worker]

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._connections.discard(request)
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(_RESET)) == _RESET:
            request.close()  # without the FIN of `shutdown`, which is not a reset
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.failures.append(error)

    def release(self) -> None:
        """End current delays and hangs: delayed answers are sent, hung connections closed."""
        with self._guard:
            self.pause.set()
            if not self.stopping.is_set():
                self.pause = threading.Event()

    def stop(self) -> None:
        """Stop now: idle connections are closed, delays and hangs end without an answer.

        An answer that is being sent is completed. Every thread is joined, except the caller's own
        and those that `respond` blocks for more than a few seconds. A forked child closes only its
        copy of the listening socket, since the connections are the parent's.
        """
        if os.getpid() != self._pid:
            self.server_close()
            return
        self.stopping.set()
        self.release()
        # Frees the port even if a forked child has a copy, and wakes the accepting thread.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self.server_close()
        for how, seconds in ((socket.SHUT_RD, 1.0), (socket.SHUT_RDWR, 5.0)):
            self._end_connections(how, seconds)

    def _end_connections(self, how: int, seconds: float) -> None:
        with self._guard:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(how)
        until = time.monotonic() + seconds
        for worker in self._workers:
            if worker is not threading.current_thread():
                worker.join(max(0.0, until - time.monotonic()))
