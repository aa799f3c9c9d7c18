"""24 requests of ann, nobody and bob, several at a time, and to whom their events belong."""

from __future__ import annotations

import http.client
import signal
import socket
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from fslog.collector import Collector
from servers import DEADLINE, Server, ask

USERS = ["ann", None, "bob"] * 8

USERS_OF_24 = {("ann", "ann"): 8, ("bob", "bob"): 8}
"""Number of events by user in the path and user of the event; `nobody` has none."""

CALLS = """
import logging

from fslog import context

log = logging.getLogger("app")
EVENT = {"action": "feature", "module": "reports", "feature": "call"}


def use(asked):
    log.info("used", extra={"event": {**EVENT, "asked": asked}})
"""
"""The beginning of an application: `use(path)` logs an event; POST requests call it."""


def ask_24(server: Server) -> None:
    """Send the requests, several at a time."""

    def ask(user: str | None) -> None:
        headers = {} if user is None else {"X-User": user, "X-Account": "acme"}
        assert server.ask("POST", f"/reports/{user or 'nobody'}", headers) == 200

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, USERS))


def ask_24_in_turn(connection: http.client.HTTPConnection) -> None:
    """Send the requests over one connection, each after the response to the one before."""
    for user in USERS:
        headers = {} if user is None else {"X-User": user}
        assert ask(connection, "POST", f"/reports/{user or 'nobody'}", headers) == 200


def pipeline_24(server: Server) -> None:
    """Send the requests over one connection, without waiting for responses."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as connection:
        for user in USERS:
            header = f"X-User: {user}\r\n" if user else ""
            head = f"POST /reports/{user or 'nobody'} HTTP/1.1\r\nHost: shop\r\n{header}"
            connection.sendall(f"{head}Content-Length: 0\r\n\r\n".encode())
        answers = b""
        while answers.count(b"HTTP/1.1 200") < len(USERS):
            answers += connection.recv(65536)


def stop(server: Server, code: int) -> None:
    """Stop the server by SIGTERM, and check its exit code and its output."""
    server.send(signal.SIGTERM)
    ended = server.end(DEADLINE)
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err, ended.err


def users(collector: Collector) -> tuple[Mapping[tuple[str, str], int], ...]:
    """Count the events of log calls and of access lines by the user in path and event."""
    calls: Counter[tuple[str, str]] = Counter()
    lines: Counter[tuple[str, str]] = Counter()
    assert collector.invalid == []
    for event in collector.events:
        is_call = event["feature"] == "call"
        path = event["asked"] if is_call else event["feature"]
        (calls if is_call else lines)[path.rpartition("/")[2], event["userId"]] += 1
    return calls, lines
