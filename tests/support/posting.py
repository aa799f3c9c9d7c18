"""Requests to the embedded endpoint without fslog's own client."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator

from fslog.collector import Collector

PATH = "/v1/the-auth/the-api"


class Reply:
    """The response to one request: status, headers, body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = dict(response.getheaders())
        self.body = response.read()


def send(
    c: Collector,
    body: bytes | None = b"",
    method: str = "POST",
    path: str = PATH,
    client: http.client.HTTPConnection | None = None,
    timeout: float = 5.0,
    **headers: str,
) -> Reply:
    """Send one request, over a connection of its own unless one is given."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if client is not None:
        client.request(method, path, body, named)
        return Reply(client.getresponse())
    with connected(c, timeout) as own:
        return send(c, body, method, path, own, **headers)


@contextlib.contextmanager
def connected(c: Collector, timeout: float = 5.0) -> Iterator[http.client.HTTPConnection]:
    """Return a client with an open connection."""
    client = http.client.HTTPConnection(c.url.removeprefix("http://"), timeout=timeout)
    with contextlib.closing(client):
        client.connect()
        yield client
