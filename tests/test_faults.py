"""Whatever an endpoint does, no event is lost, no notice is repeated, and all is counted.

End to end: a configuration by `dictConfig`, log calls, the handler, its thread, sockets, and an
endpoint that fails in many ways and recovers.
"""

from __future__ import annotations

import contextlib
import json
import logging
import logging.config
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest

from fslog import FreshsuccessHandler, Problem, Stats
from fslog.collector import Answer, Collector
from fslog.net import wire
from memory import Memory
from rawserver import OK, RawServer, Script, drip, half_answer, hang, read_request, reset
from waiting import eventually

APP = logging.getLogger("faults.app")


class Application:
    """An application that logs numbered events."""

    def __init__(self, url: str, **arguments: Any) -> None:
        self.said = Memory()
        self.problems: list[Problem] = []
        self.logged = 0
        self.handlers: list[FreshsuccessHandler] = []
        self._url = url
        self._arguments = arguments
        self.configure()

    def configure(self) -> None:
        """Load the logging configuration, perhaps again."""
        events = {
            "class": "fslog.FreshsuccessHandler",
            "auth_key": "the-auth-key",
            "api_key": "the-api-key",
            "endpoint": self._url,
            "flush_interval": 0.02,
            "max_backoff": 0.05,
            "batch_events": 3,
            "timeout": 10.0,  # as long as a busy machine may need for an answer
            "on_problem": self.problems.append,
            **self._arguments,
        }
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "handlers": {"events": events, "said": {"()": lambda: self.said}},
                "loggers": {
                    APP.name: {"handlers": ["events"], "level": "INFO", "propagate": False},
                    "fslog": {"handlers": ["said"], "level": "INFO", "propagate": False},
                },
            }
        )
        [handler] = APP.handlers
        assert isinstance(handler, FreshsuccessHandler)
        self.handlers.append(handler)

    def log(self, count: int, **more: Any) -> None:
        """Make log calls."""
        for _ in range(count):
            event = {"action": "x", "accountId": "a", "userId": "u", "n": self.logged, **more}
            APP.info("done", extra={"event": event})
            self.logged += 1

    @property
    def stats(self) -> Stats:
        """Return the statistics of the newest handler after checking their balance."""
        stats = self.handlers[-1].stats()
        assert stats.emitted == stats.skipped + stats.invalid + stats.refused + stats.accepted
        assert stats.accepted == stats.delivered + stats.pending + stats.abandoned
        return stats

    def delivered(self) -> bool:
        """Wait until nothing is pending."""
        return eventually(lambda: all(h.stats().pending == 0 for h in self.handlers))

    def levels(self) -> list[str]:
        """Return the levels of the notices."""
        return [record.levelname for record in self.said.records]

    def texts(self) -> list[str]:
        """Return the texts of the notices."""
        return [record.getMessage() for record in self.said.records]

    def end(self) -> None:
        """Remove the configuration."""
        for name in (APP.name, "fslog"):
            logger = logging.getLogger(name)
            logger.handlers.clear()
            logger.setLevel(logging.NOTSET)
            logger.propagate = True
        for handler in self.handlers:
            handler.close()
        assert eventually(lambda: not [t for t in threading.enumerate() if t.name == "fslog"])


@contextlib.contextmanager
def application(url: str, **arguments: Any) -> Iterator[Application]:
    """Run an application until the end of a block."""
    app = Application(url, **arguments)
    try:
        yield app
    finally:
        app.end()


def numbers(events: list[dict[str, Any]]) -> list[int]:
    """Return the numbers of the log calls of some events."""
    return [event["n"] for event in events]


FAULTS: dict[str, tuple[Answer, str, str]] = {
    "400": (Answer(400), "rejects the events", "it answers 400 Bad Request"),
    "401": (Answer(401), "rejects the events", "it answers 401 Unauthorized"),
    "404": (Answer(404), "rejects the events", "it answers 404 Not Found"),
    "302": (
        Answer(302, headers={"Location": "http://127.0.0.1:9/"}),
        "rejects the events",
        "it answers 302 Found",
    ),
    "204": (Answer(204), "rejects the events", "it answers 204 No Content"),
    "500": (Answer(500), "fails: it answers 500", "it answers 500 Internal Server Error"),
    "503": (Answer(503), "fails: it answers 503", "it answers 503 Service Unavailable"),
    "408": (Answer(408), "fails: it answers 408", "it answers 408 Request Timeout"),
    "425": (Answer(425), "fails: it answers 425", "it answers 425 Too Early"),
    "429": (Answer(429), "fails: it answers 429", "it answers 429 Too Many Requests"),
    "hang": (Answer(then="hang"), "fails: no answer", "no answer within 0.3 s"),
    "close": (Answer(then="close"), "fails: ", "closed connection without response"),
    "reset": (Answer(then="reset"), "fails: ", "reset by peer"),
    "late": (Answer(503, delay=0.6), "fails: no answer", "no answer within 0.3 s"),
    "long body": (
        Answer(503, body=b"x" * 300_000),
        "fails: it answers 503",
        "it answers 503 Service Unavailable",
    ),
}


@pytest.mark.parametrize(("answer", "said", "error"), FAULTS.values(), ids=FAULTS)
def test_after_a_fault_everything_arrives_once_and_in_order(
    answer: Answer, said: str, error: str
) -> None:
    """Events before, during and after a fault arrive; the fault and its end are logged once."""
    timeout = {"timeout": 0.3} if "within 0.3 s" in error else {}
    with Collector() as collector, application(collector.url, **timeout) as app:
        collector.script(*[Answer()] * 2, *[answer] * 3)
        app.log(10)
        collector.wait_for_requests(5)
        app.log(10)
        assert app.delivered()
        app.log(1)
        assert app.handlers[0].flush(30.0)
        assert numbers(collector.events) == [*range(21)]
        stats = app.stats
    assert (stats.accepted, stats.delivered, stats.refused, stats.abandoned) == (21, 21, 0, 0)
    assert error in (stats.last_error or "")
    assert stats.retries >= 3
    assert app.levels() == ["WARNING", "INFO"]
    assert said in app.texts()[0]
    assert "works again" in app.texts()[1]


def taking(taken: list[int]) -> Script:
    """Make a script that accepts events and answers each request with 200."""

    def script(conn: socket.socket) -> None:
        while request := read_request(conn):
            body = request.partition(b"\r\n\r\n")[2]
            taken.extend(json.loads(x)["n"] for x in wire.lines_of(wire.unpack(body, "deflate")))
            conn.sendall(OK)

    return script


def refuse(conn: socket.socket) -> None:
    """Read a request and end the connection with a reset."""
    read_request(conn)
    reset(conn)


RAW: dict[str, Script] = {
    "nothing": half_answer(b""),
    "half a status line": half_answer(b"HTTP/1.1 20"),
    "half a head": half_answer(b"HTTP/1.1 503 No\r\nContent-Le"),
    "garbage": half_answer(b"\x16\x03\x01\x02\x00 hello\r\n\r\n"),
    "another protocol": half_answer(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "reset": refuse,
    "reset at once": reset,
    "drip": drip(OK, interval=0.05),
    "hang": hang(),
}


@pytest.mark.parametrize("name", RAW)
def test_after_a_protocol_error_everything_arrives_once_and_in_order(name: str) -> None:
    """The same, with an endpoint that violates the protocol."""
    taken: list[int] = []
    fault = RAW[name]
    timeout = {"timeout": 0.3} if name in ("drip", "hang") else {}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(RawServer(fault, fault, fault, taking(taken)))
        app = stack.enter_context(application(server.url, **timeout))
        app.log(10)
        assert app.delivered()
        app.log(1)
        assert app.handlers[0].flush(30.0)
        assert taken == [*range(11)]
        assert app.stats.last_error
        assert app.levels() == ["WARNING", "INFO"]


def test_a_batch_whose_answer_was_lost_is_sent_twice() -> None:
    """If events were accepted but the 200 was lost, they are sent again: at least once."""
    with Collector() as collector, application(collector.url) as app:
        collector.script(Answer(then="close", keep=True))
        app.log(3)
        assert app.delivered()
        app.log(1)
        assert app.handlers[0].flush(30.0)
        twice = collector.requests[0].events  # the first event may leave alone
        assert numbers(collector.events) == [*range(twice), *range(4)]
        assert app.stats.delivered == 4


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(as_date: bool) -> None:
    """No request is made before that time, given in seconds or as a date."""
    asked_at = time.time() + 2.0
    value = formatdate(asked_at, usegmt=True) if as_date else "1"
    with Collector() as collector, application(collector.url) as app:
        collector.script(Answer(503, headers={"Retry-After": value}))
        app.log(3)
        first, second = collector.wait_for_requests(2)
        if as_date:
            assert time.time() >= int(asked_at)
        else:
            assert second.received_at - first.received_at >= 1.0
        assert app.delivered()
        assert eventually(lambda: app.levels() == ["WARNING", "INFO"])


def test_a_flush_does_not_wait_for_retry_after() -> None:
    """A flush, such as that at the end of a job, tries now."""
    with Collector() as collector, application(collector.url) as app:
        collector.script(Answer(429, headers={"Retry-After": "600"}))
        app.log(3)
        collector.wait_for_requests(1)
        assert eventually(lambda: app.stats.last_error is not None)
        assert app.handlers[0].flush(30.0)
        assert numbers(collector.events) == [0, 1, 2]


def test_batches_that_are_too_large_are_split() -> None:
    """An endpoint with a lower limit gets all events in order, in bodies that it accepts."""
    large = {"batch_events": 100, "flush_interval": 30.0}
    with Collector(limit_events=3) as collector, application(collector.url, **large) as app:
        app.log(50)
        assert app.handlers[0].flush(30.0)
        assert numbers(collector.events) == [*range(50)]
        stats = app.stats
        assert (stats.delivered, stats.abandoned) == (50, 0)
        assert max(request.events for request in collector.requests if request.kept) <= 3
        assert app.levels() == ["INFO"]
        assert "too large" in app.texts()[0]


def test_only_the_event_that_is_too_large_is_abandoned() -> None:
    """It does not delay the others; it is counted and reported once."""
    large = {"batch_events": 100, "flush_interval": 30.0}
    with Collector(limit_bytes=2_000) as collector, application(collector.url, **large) as app:
        app.log(20)
        app.log(1, text="x" * 3_000)
        app.log(20)
        app.log(1, text="y" * 3_000)
        app.log(5)
        assert app.handlers[0].flush(30.0)
        assert numbers(collector.events) == [n for n in range(47) if n not in (20, 41)]
        stats = app.stats
        assert (stats.delivered, stats.abandoned, stats.pending) == (45, 2, 0)
        assert "413" in (stats.last_error or "")
        assert app.levels() == ["INFO", "WARNING"]
        assert "abandoned" in app.texts()[1]


def test_an_outage_with_a_small_buffer_refuses_the_newest_and_reports_it() -> None:
    """Accepted events arrive; refusals are counted and reported; full and room are logged once."""
    with (
        Collector() as collector,
        application(
            collector.url, buffer_bytes=3_000, batch_bytes=1_000, batch_events=1_000
        ) as app,
    ):
        collector.always(Answer(503))
        app.log(300)
        stats = app.stats
        assert stats.accepted + stats.refused == stats.emitted == 300
        assert stats.refused == len(app.problems) > 100
        assert {problem.code for problem in app.problems} == {"refused"}
        refused = {(problem.event or {})["n"] for problem in app.problems}
        assert eventually(lambda: any("full" in text for text in app.texts()))
        assert eventually(lambda: any("fails" in text for text in app.texts()))
        collector.always(None)
        assert app.delivered()
        assert numbers(collector.events) == [n for n in range(300) if n not in refused]
        assert eventually(lambda: any("room again" in text for text in app.texts()))
        app.log(1)
        assert app.handlers[0].flush(30.0)
        assert app.stats.refused == len(refused)
        full = [text for text in app.texts() if "full" in text]
        room = [text for text in app.texts() if "room again" in text]
        assert (len(full), len(room)) == (1, 1)
        assert f"{len(refused)} refused events" in room[0]
        assert len(app.said.records) == 4


def test_each_outage_is_logged() -> None:
    """A notice is logged at each change of the endpoint's state, not at each try."""
    with Collector() as collector, application(collector.url) as app:
        for outage in range(1, 4):
            collector.script(*[Answer(503)] * 4)
            app.log(3)
            assert app.delivered()
            assert eventually(lambda n=outage: len(app.said.records) == 2 * n)
        assert app.levels() == ["WARNING", "INFO"] * 3
        assert app.stats.retries == 12


def test_a_restart_of_the_endpoint_loses_nothing() -> None:
    """Events are kept while the port is closed; then they arrive over a new connection."""
    with Collector() as collector, application(collector.url) as app:
        app.log(3)
        assert app.delivered()
        collector.stop()
        app.log(4)
        assert eventually(lambda: app.stats.retries > 3)
        assert app.stats.pending == 4
        collector.start()
        assert app.delivered()
        assert numbers(collector.events) == [*range(7)]
        assert app.levels() == ["WARNING", "INFO"]


def test_another_configuration_in_an_outage_loses_nothing() -> None:
    """A second `dictConfig` closes the handler, and what it held still arrives."""
    with Collector() as collector, application(collector.url) as app:
        collector.always(Answer(503))
        app.log(4)
        began_at = time.monotonic()
        app.configure()
        assert time.monotonic() - began_at < 4.0  # of the five of `shutdown_timeout`
        app.log(4)
        collector.always(None)
        assert app.delivered()
        assert sorted(numbers(collector.events)) == [*range(8)]
        assert [handler.stats().delivered for handler in app.handlers] == [4, 4]


def test_a_slow_endpoint_does_not_slow_log_calls() -> None:
    """A log call needs microseconds however slow the endpoint is, and all events arrive."""
    with Collector() as collector, application(collector.url, timeout=30.0) as app:
        collector.always(Answer(200, delay=1.0))
        slowest = 0.0
        for _ in range(20):
            began_at = time.perf_counter()
            app.log(1)
            slowest = max(slowest, time.perf_counter() - began_at)
        assert slowest < 0.9
        collector.always(None)
        assert app.delivered()
        assert numbers(collector.events) == [*range(20)]
        assert app.levels() == []


def test_an_endpoint_that_closes_idle_connections_is_not_reported() -> None:
    """A server may close a connection between two requests: nothing is logged."""
    with Collector() as collector, application(collector.url) as app:
        collector.always(Answer(200, headers={"Connection": "close"}))
        for _ in range(5):
            app.log(3)
            assert app.delivered()
        assert numbers(collector.events) == [*range(15)]
        assert (app.levels(), app.stats.retries) == ([], 0)
