"""A small HTTP/1.1 server to embed: a whole request in, one answer out, stopped at once.

It knows nothing of events. `http.server` reads heads and makes threads; what it leaves to others is
here: whole bodies, answers in one send or piece by piece, connections that end as a script says,
and a `stop` that leaves no thread and no socket behind.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedReader
from itertools import takewhile
from socketserver import TCPServer
from typing import Any, cast

from fslog.collector.httpbody import Fault, body_length, read_body

_LINE_BYTES = 65_536
_CLOSE = ("Connection", "close")
_RESET = struct.pack("ii", 1, 0)
# After an early answer, so much is still read: 413 must reach a client that sends before it reads.
_LINGER_BYTES = 256 * 1024 * 1024
_LINGER_SECONDS = 3.0
# Who takes nothing of a stream, or sends nothing of a body, for so long has left, or sleeps; either
# may come again.
_STUCK_SECONDS = 30.0
_HEAD_SECONDS = 10.0


@dataclass(frozen=True)
class Answer:
    """Describe what becomes of one request.

    Args:
        status: of the answer, 200 to 599.
        headers: beside Content-Length; `Connection: close` closes after the answer.
        body: of the answer.
        delay: seconds before it; `Server.release` cuts it short, `Server.stop` too, and then
            nothing is answered.
        then: `"answer"`; `"hang"` never answers, until the server stops or releases it; `"close"`
            closes the connection instead; `"reset"` does so with a TCP reset.
        keep: whether the events of the request are taken; None takes them where 200 is answered.
        stream: makes pieces that are sent as they come, in place of `body`, until there are no
            more or the client leaves; then the connection is closed, and so is the generator.

    Raises:
        ValueError: a value that is none of these.

    >>> Answer().keeps, Answer(503).keeps, Answer(then="close").keeps, Answer(503, keep=True).keeps
    (True, False, False, True)
    """

    status: int = 200
    _: KW_ONLY
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()
    body: bytes = b""
    delay: float = 0.0
    then: str = "answer"
    keep: bool | None = None
    stream: Callable[[], Generator[bytes, None, None]] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", tuple(dict(self.headers).items()))
        if not 200 <= self.status <= 599:
            raise ValueError(f"status is {self.status}; expected 200 to 599")
        if self.then not in ("answer", "hang", "close", "reset"):
            raise ValueError(
                f"then is {self.then!r}; expected 'answer', 'hang', 'close' or 'reset'"
            )
        if self.delay < 0:
            raise ValueError(f"delay is {self.delay}; expected 0 or more seconds")

    @property
    def keeps(self) -> bool:
        """Say whether the events of the request are taken."""
        return (self.status == 200 and self.then == "answer") if self.keep is None else self.keep


@dataclass(frozen=True)
class Message:
    """Hold one request as it came; the target, which may hold secrets, is not in its repr.

    Args:
        method: as sent.
        target: of the request line.
        headers: by lower-case name; the values of a repeated one are joined by commas.
        body: less its chunk framing; empty where there is a fault.
        fault: `""`, `"malformed"` (framing that cannot be understood, or a body that ends early)
            or `"too_long"`; the connection is closed after the answer to either.
        received_at: the monotonic instant at which the body was complete.
    """

    method: str
    target: str = field(repr=False)
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    fault: str
    received_at: float


def _is_close(header: tuple[str, str]) -> bool:
    return (header[0].lower(), header[1].lower()) == ("connection", "close")


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
                # Cut off by us: no verdict on the body, so that the client tries again.
                self.close_connection = True
                return
            pause = self.server.pause  # before the answer is chosen, so that no release is missed
            try:
                answer = self.server.respond(message)
            except BaseException as error:
                self.server.failures.append(error)
                answer = Answer(500)
            self._perform(answer, message.fault, pause)

    def _head(self) -> bool:
        """Read a head; between two requests a client may be silent for as long as it likes."""
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
            # What is left of a head that was cut off can look like a whole one.
            is_in_time = self.server.heads.end(self.connection)
        if not is_in_time:
            self.close_connection = True
        return is_whole and is_in_time

    def handle_expect_100(self) -> bool:
        # Not yet: a body that is refused by its length is not asked for.
        self._expects = True
        return True

    def _receive(self) -> Message:
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        body, fault = b"", ""
        try:
            if self.headers.defects:  # lines that are no header end up in nobody's hands
                raise Fault("malformed")
            length = body_length(headers, self.server.limit_bytes)
            if self._expects:
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.connection.settimeout(_STUCK_SECONDS)
            body = read_body(self.rfile, length, self.server.limit_bytes)
            self.connection.settimeout(None)
        except Fault as error:
            fault = str(error)
        return Message(self.command, self.path, headers, body, fault, time.monotonic())

    def _perform(self, answer: Answer, fault: str, pause: threading.Event) -> None:
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
        closes = any(map(_is_close, headers.items()))
        ours = bool(fault) or closes
        if self.request_version != "HTTP/1.1" or self.server.stopping.is_set():
            self.close_connection = True
        if (ours or self.close_connection) and not closes:
            headers.update((_CLOSE,))
        if answer.stream is not None:
            self._stream(answer.status, {**headers, **dict([_CLOSE])}, answer.stream)
            return
        self._send(answer.status, headers, answer.body)
        if ours:
            self._linger()

    def _stream(
        self,
        status: int,
        headers: Mapping[str, str],
        stream: Callable[[], Generator[bytes, None, None]],
    ) -> None:
        self.close_connection = True
        self.wfile.write(_head(status, headers))
        if self.command == "HEAD":
            return
        self.connection.settimeout(_STUCK_SECONDS)
        with contextlib.closing(stream()) as pieces:
            for piece in pieces:
                self.wfile.write(piece)

    def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if status != HTTPStatus.NO_CONTENT:  # RFC 9110 8.6
            headers = {**headers, "Content-Length": str(len(body))}
        # One send: head and body in two would wait for each other's acknowledgement.
        self.wfile.write(_head(status, headers) + (b"" if self.command == "HEAD" else body))

    def _linger(self) -> None:
        # Closing over unread bytes makes TCP send a reset, which can overtake the answer.
        self.close_connection = True
        left, until = _LINGER_BYTES, time.monotonic() + _LINGER_SECONDS
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_LINGER_SECONDS)
            while left > 0 and time.monotonic() < until:
                got = len(self.rfile.read1(_LINE_BYTES))
                left = left - got if got else 0

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self._send(code, dict([_CLOSE]), b"")
        self._linger()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the request line holds both keys."""


class _Heads:
    """Close connections whose head has begun and does not come to its end.

    A time-out of a socket would not do: it begins anew with every byte.

    Args:
        seconds: that a head may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._guard = threading.Lock()
        self._due: dict[socket.socket, float] = {}  # in the order of the instants

    def begin(self, connection: socket.socket) -> None:
        with self._guard:
            self._due[connection] = time.monotonic() + self._seconds

    def end(self, connection: socket.socket) -> bool:
        """Return whether the head has come in time."""
        with self._guard:
            return self._due.pop(connection, None) is not None

    def close_overdue(self) -> None:
        now = time.monotonic()
        with self._guard:
            overdue = list(takewhile(lambda one: self._due[one] <= now, self._due))
            for connection in overdue:
                del self._due[connection]
                with contextlib.suppress(OSError):  # its own thread closes it
                    connection.shutdown(socket.SHUT_RDWR)


class Server(ThreadingHTTPServer):
    """Serve from construction until `stop`, each connection in a thread of its own.

    Nothing is written to stderr. Exceptions that are no network trouble are kept in `failures`.

    Args:
        address: host and port; port 0 takes a free one, `server_address` says which.
        respond: called with each `Message`, in its connection's thread, before the answer is sent.
        limit_bytes: the longest body that is read.
        head_seconds: how long a head may take from its first byte; then the connection is closed.

    Raises:
        OSError: the address cannot be had.
    """

    daemon_threads = True
    allow_reuse_port = False  # or two servers would share one port in silence
    request_queue_size = 128
    timeout = 0.5  # how soon a stop is noticed where a shut listener does not wake its thread

    def __init__(
        self,
        address: tuple[str, int],
        respond: Callable[[Message], Answer],
        limit_bytes: int,
        head_seconds: float = _HEAD_SECONDS,
    ) -> None:
        self.heads = _Heads(head_seconds)
        self.respond = respond
        self.limit_bytes = limit_bytes
        self.stopping = threading.Event()
        self.pause = threading.Event()
        self.failures: list[BaseException] = []
        self._pid = os.getpid()
        self._guard = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._workers: list[threading.Thread] = []
        super().__init__(address, _Handler)
        self._acceptor = threading.Thread(target=self._accept, name="fslog-server", daemon=True)
        self._acceptor.start()

    def server_bind(self) -> None:
        # HTTPServer's own looks the host's name up, which can take seconds.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

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
            request.close()  # a FIN first would look like an orderly end
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.failures.append(error)

    def release(self) -> None:
        """End the delays and hangs under way: late answers are sent, hung connections closed."""
        with self._guard:
            self.pause.set()
            if not self.stopping.is_set():
                self.pause = threading.Event()

    def stop(self) -> None:
        """Stop at once: idle connections are closed, delays and hangs end without an answer.

        An answer on its way is sent. Every thread is joined, but the caller's own, and but one
        that `respond` keeps for more than seconds. In a forked child only the listener's copy is
        closed, since the connections are the parent's.
        """
        if os.getpid() != self._pid:
            self.server_close()
            return
        self.stopping.set()
        self.release()
        # Frees the port even where a forked child holds a copy, and wakes the acceptor.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self.server_close()
        for how, seconds in ((socket.SHUT_RD, 1.0), (socket.SHUT_RDWR, 5.0)):
            self._shut(how)
            self._join(seconds)

    def _shut(self, how: int) -> None:
        with self._guard:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(how)

    def _join(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        for worker in self._workers:
            if worker is not threading.current_thread():
                worker.join(max(0.0, until - time.monotonic()))
