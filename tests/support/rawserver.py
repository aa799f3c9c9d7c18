"""A server of plain sockets, for what frameworks cannot do: half answers, resets, slow answers.

Each accepted connection runs the next script, a plain function of the connection, in a thread of
its own; the last script repeats. A script may be one of those made here, or any function:

    def twice(conn: socket.socket) -> None:
        read_request(conn)
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        read_request(conn)
        reset(conn)
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

Script = Callable[[socket.socket], Any]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Connection(socket.socket):
    """A socket that knows which server accepted it."""

    server: RawServer


class RawServer:
    """Listen on a free port of the loopback interface from `__enter__` to `__exit__`.

    At exit every connection is shut, every event that a script waits on is set, every thread is
    joined; then the first exception of a script that is not an `OSError` is raised.

    `requests` has what `read_request` read: the head and as much of the body as arrived.
    """

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.requests: list[bytes] = []
        self.errors: list[BaseException] = []
        self.closing = threading.Event()
        self._changed = threading.Condition()
        self._connections: list[Connection] = []
        self._releases: list[threading.Event] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> RawServer:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._acceptor = threading.Thread(target=self._accept, name="rawserver")
        self._acceptor.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with self._changed:
            self.closing.set()
            for release in self._releases:
                release.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        for conn in self._connections:
            with contextlib.suppress(OSError):
                conn.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        if self.errors and error is None:
            raise self.errors[0]

    @property
    def connections(self) -> int:
        """Return how many connections were accepted."""
        return len(self._connections)

    def wait_for_requests(self, n: int, timeout: float = 10.0) -> list[bytes]:
        """Return the requests when there are at least `n`, or raise a TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.requests) >= n, timeout):
                raise TimeoutError(f"{len(self.requests)} of {n} requests came in {timeout:g} s")
            return list(self.requests)

    def remember(self, request: bytes) -> None:
        """Add a request to `requests`."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()

    def release_at_exit(self, event: threading.Event) -> None:
        """Set an event when the server exits, so that no script waits for ever."""
        with self._changed:
            self._releases.append(event)
            if self.closing.is_set():
                event.set()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            conn = Connection(fileno=accepted.detach())
            conn.server = self
            script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
            thread = threading.Thread(target=self._run, args=(script, conn), name="rawserver-conn")
            self._connections.append(conn)
            self._threads.append(thread)
            thread.start()

    def _run(self, script: Script, conn: Connection) -> None:
        with conn:
            try:
                script(conn)
            except OSError:
                pass  # the peer disconnected, which scripts provoke
            except BaseException as error:
                self.errors.append(error)


def read_request(conn: socket.socket) -> bytes:
    """Read one request, its head and a body of its Content-Length, and remember it.

    Returns what arrived if the peer closes the connection first.
    """
    request = bytearray()
    while b"\r\n\r\n" not in request and (data := conn.recv(65_536)):
        request += data
    head, _, body = bytes(request).partition(b"\r\n\r\n")
    missing = _content_length(head) - len(body)
    while missing > 0 and (data := conn.recv(missing)):
        request += data
        missing -= len(data)
    if request and isinstance(conn, Connection):
        conn.server.remember(bytes(request))
    return bytes(request)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def answer(raw: bytes = OK) -> Script:
    """Make a script that gives every request of its connection the same bytes."""

    def script(conn: socket.socket) -> None:
        while read_request(conn):
            conn.sendall(raw)

    return script


def half_answer(raw: bytes = OK, cut: int | None = None) -> Script:
    """Make a script that sends `cut` bytes (by default half) and closes the connection."""

    def script(conn: socket.socket) -> None:
        read_request(conn)
        conn.sendall(raw[: len(raw) // 2 if cut is None else cut])

    return script


def drip(
    raw: bytes = OK, pause: threading.Event | None = None, interval: float = 0.05, size: int = 1
) -> Script:
    """Make a script that sends `size` bytes every `interval` seconds, until `pause` is set.

    When `pause` is set, also by the exit of the server, the rest is sent without pauses.
    """

    def script(conn: socket.socket) -> None:
        event = threading.Event() if pause is None else pause
        conn.server.release_at_exit(event)  # type: ignore[attr-defined]
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        read_request(conn)
        for start in range(0, len(raw), size):
            event.wait(interval)
            conn.sendall(raw[start : start + size])

    return script


def hang(until: threading.Event | None = None) -> Script:
    """Make a script that reads a request, waits for `until` or the server's exit, and ends."""

    def script(conn: socket.socket) -> None:
        event = threading.Event() if until is None else until
        conn.server.release_at_exit(event)  # type: ignore[attr-defined]
        read_request(conn)
        event.wait()

    return script


def reset(conn: socket.socket) -> None:
    """Close a connection with a TCP reset; a script, or the last step of one."""
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()
