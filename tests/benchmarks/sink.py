"""The endpoint of the benchmark, in its own process: it answers any POST with 200 and counts.

`python -m tests.benchmarks.sink` prints its port and exits when its stdin is closed. While a
contender runs, the sink does as little as possible: it stores each body as received, and
decompresses the bodies only when the report is requested.

`POST /-/reset` with `{"delay": seconds, "status": code}` starts a new tally; `GET /-/report`
returns the current one.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import threading
import time
import zlib
from typing import Any

from tests.benchmarks.workload import MARK

KEPT_BYTES = 256 * 1024 * 1024
"""Above this size the bodies are stored in a file."""

SATISFIED = b'{"code":200,"success":true,"status":1,"events_ingested":1}'
"""The response that Amplitude, Segment and PostHog require; other contenders ignore it."""


class Tally:
    """Count the requests since the last reset."""

    def __init__(self, delay: float = 0.0, status: int = 200) -> None:
        self.delay, self.status = delay, status
        self.requests = self.wire_bytes = 0
        self.first_at = self.last_at = 0.0
        self.cpu_at = time.process_time()
        self._bodies = tempfile.SpooledTemporaryFile(KEPT_BYTES)  # noqa: SIM115 - see `close`
        self._index: list[tuple[int, bytes]] = []

    def close(self) -> None:
        """Discard the stored bodies."""
        self._bodies.close()

    def take(self, body: bytes, encoding: bytes, wire_bytes: int) -> None:
        """Record one request without reading its body."""
        self.requests += 1
        self.wire_bytes += wire_bytes
        self._bodies.write(body)
        self._index.append((len(body), encoding))

    def report(self) -> dict[str, Any]:
        """Decompress the bodies and return all counts; instants are from the monotonic clock."""
        told = {
            "requests": self.requests,
            "wire_bytes": self.wire_bytes,
            "first_at": self.first_at,
            "last_at": self.last_at,
            "cpu_s": time.process_time() - self.cpu_at,
        }
        self._bodies.seek(0)
        events = plain_bytes = 0
        for length, encoding in self._index:
            body = unpacked(self._bodies.read(length), encoding)
            events += body.count(MARK)
            plain_bytes += len(body)
        return {**told, "events": events, "plain_bytes": plain_bytes}


def unpacked(body: bytes, encoding: bytes) -> bytes:
    """Return the body without its Content-Encoding.

    >>> unpacked(zlib.compress(b"abc"), b"deflate"), unpacked(b"abc", b"")
    (b'abc', b'abc')
    """
    if encoding not in (b"gzip", b"deflate"):
        return body
    return zlib.decompress(body, 47)  # detects the format from the header


class Connection(asyncio.Protocol):
    """Speak as much HTTP/1.1 as clients of an endpoint need: bodies with a Content-Length."""

    tally = Tally()
    open: set[asyncio.Transport] = set()  # noqa: RUF012 - shared on purpose, as is the tally

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = 0
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.open.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        if not self.tally.first_at:
            self.tally.first_at = time.monotonic()
        self._buffer += data
        while len(self._buffer) >= self._needed and self._take():
            pass

    def _take(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        target, headers = parsed(bytes(self._buffer[:end]))
        whole = end + 4 + int(headers.get(b"content-length", b"0"))
        if len(self._buffer) < whole:
            self._needed = whole
            return False
        body = bytes(memoryview(self._buffer)[end + 4 : whole])
        del self._buffer[:whole]
        self._needed = 0
        if target.startswith(b"/-/"):
            self._control(target, body)
        elif headers.get(b"transfer-encoding"):
            self._answer(411)  # no contender does this; fail visibly if one does
        else:
            self._event_request(target, body, headers, whole)
        return bool(self._buffer)

    def _event_request(
        self, target: bytes, body: bytes, headers: dict[bytes, bytes], whole: int
    ) -> None:
        tally = self.tally
        content = b"" if target.endswith(b"/v1/logs") else SATISFIED  # OTLP: an empty message
        if tally.status == 200:
            tally.take(body, headers.get(b"content-encoding", b""), whole)
        if tally.delay:
            loop = asyncio.get_running_loop()
            loop.call_later(tally.delay, self._answer, tally.status, content)
        else:
            self._answer(tally.status, content)

    def _answer(self, status: int, content: bytes = b"") -> None:
        kind = b"application/json" if content else b"application/x-protobuf"
        head = b"HTTP/1.1 %d -\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % (status, kind, len(content)) + content)
        self.tally.last_at = time.monotonic()

    def _control(self, target: bytes, body: bytes) -> None:
        if target == b"/-/reset":
            for transport in self.open - {self._transport}:
                transport.abort()  # left open by the previous contender
            self.tally.close()
            Connection.tally = Tally(**json.loads(body or b"{}"))
            told: dict[str, Any] = {}
        else:
            told = self.tally.report()
        content = json.dumps(told).encode()
        head = b"HTTP/1.1 200 -\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        self._transport.write(head % len(content) + content)
        self._transport.close()


def parsed(head: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    r"""Return the target and the headers, with names in lower case.

    >>> parsed(b"POST /v1/a HTTP/1.1\r\nContent-Length: 5")
    (b'/v1/a', {b'content-length': b'5'})
    """
    first, *rest = head.split(b"\r\n")
    pairs = (line.partition(b":") for line in rest)
    return first.split(b" ")[1], {name.lower(): value.strip() for name, _, value in pairs}


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
