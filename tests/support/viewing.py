"""Helpers of the viewer's tests: a viewer, requests to it, and a reader of its stream."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from fslog.collector.judge import parse_body
from fslog.viewer.entries import Entry, make_entry
from fslog.viewer.server import Viewer

PATH = "/v1/the-auth/the-api"
"""The path for events; its keys must not be shown anywhere."""


def event(n: int = 0, **more: Any) -> dict[str, Any]:
    """Return a valid event with a number in its `createdAt`."""
    fixed = {
        "accountId": "acme",
        "userId": "ann",
        "createdAt": 1_700_000_000_000 + n,
        "action": "feature",
        "module": "reports",
        "feature": "export",
        "sessionId": "s-1",
    }
    return {name: value for name, value in {**fixed, **more}.items() if value is not None}


def lines(*events: Any) -> bytes:
    """Return an uncompressed body; `bytes` are lines as they are."""
    return b"".join(
        (one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in events
    )


def entries(*events: Any) -> list[Entry]:
    """Return the entries of one uncompressed body, numbered from 1."""
    found = [make_entry(line, 0) for line in parse_body(lines(*events), None).lines]
    for number, entry in enumerate(found, 1):
        entry.id = number
    return found


class Reply:
    """The response to one request."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


class Visitor:
    """A client of a viewer, with one connection per request."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.address = viewer.url.removeprefix("http://")

    def connect(self, timeout: float = 10.0) -> http.client.HTTPConnection:
        """Return a client that is not connected yet."""
        return http.client.HTTPConnection(self.address, timeout=timeout)

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str | None
    ) -> Reply:
        """Send one request; a header given as None is left out."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(self.connect()) as client:
            client.putrequest(method, path, skip_host="Host" in named, skip_accept_encoding=True)
            if body is not None and "Content-Length" not in named:
                client.putheader("Content-Length", str(len(body)))
            for name, value in named.items():
                if value is not None:
                    client.putheader(name, value)
            client.endheaders(body)
            return Reply(client.getresponse())

    def post(self, *events: Any, path: str = PATH, **headers: str) -> int:
        """Post events, and return the status."""
        return self.ask("POST", path, lines(*events), **headers).status

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON of a response that must be a 200."""
        reply = self.ask("GET", f"/api/{path}?{urlencode(query)}")
        assert reply.status == 200, reply.body
        return reply.json

    def send(self, method: str, path: str, value: Any) -> Reply:
        """Send the API a JSON value."""
        body = json.dumps(value).encode()
        return self.ask(method, f"/api/{path}", body, Content_Type="application/json")

    def ids(self, path: str = "events", **query: Any) -> list[int]:
        """Return the ids of the entries that are listed."""
        return [entry["id"] for entry in self.get(path, **query)["entries"]]

    @contextlib.contextmanager
    def stream(self, query: str = "", **headers: str) -> Iterator[Stream]:
        """Open the stream."""
        with contextlib.closing(self.connect()) as client:
            client.request("GET", f"/api/stream{query}", headers=headers)
            with client.getresponse() as response:
                yield Stream(response)


class Stream:
    """Read server-sent events as a browser does."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response
        self.last_id = ""
        self.comments = 0

    def next(self) -> tuple[str, Any] | None:
        """Return the next message, its kind and its JSON; None at the end of the stream."""
        fields: dict[str, str] = {}
        while line := self.response.readline().decode():
            line = line.removesuffix("\n")
            assert "\r" not in line
            if not line and "data" in fields:
                self.last_id = fields.get("id", self.last_id)
                return fields["event"], json.loads(fields["data"])
            self.comments += line.startswith(":")
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                assert name not in fields, f"{name} stands in a message twice"
                fields[name] = value
        return None

    def until(self, kind: str) -> Any:
        """Return the JSON of the next message of a kind; others are skipped."""
        while (found := self.next()) is not None:
            if found[0] == kind:
                return found[1]
        raise AssertionError(f"the stream ended before {kind}")


@contextlib.contextmanager
def viewing(**options: Any) -> Iterator[Visitor]:
    """Run a viewer, and fail if it gave an unexpected warning."""
    warnings: list[str] = []
    options.setdefault("warn", warnings.append)
    with Viewer(**options) as viewer:
        yield Visitor(viewer)
    assert warnings == []


def dial(visitor: Visitor) -> socket.socket:
    """Open a TCP connection."""
    host, port = visitor.address.split(":")
    return socket.create_connection((host, int(port)), timeout=10)
