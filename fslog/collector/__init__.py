"""An embedded endpoint: it accepts and answers as the real one does, and shows what that one drops.

For tests, the demo and the viewer, not for production data: it listens on plain http, by default on
loopback, and keeps everything it received in memory until `clear`, or up to `keep` items of a kind.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from fslog import capture
from fslog.collector.http import Answer, Message, Server
from fslog.collector.judge import InvalidLine, ParsedBody, Request, judge_request
from fslog.errors import Problem
from fslog.mapping import schema

__all__ = ["Answer", "Collector", "InvalidLine", "Request"]

_OFF = "; handlers send nothing in a pytest run without fslog_send = true in its configuration"


class Collector:
    """An endpoint as in EVENT_API on this machine; a context manager, usable again after `stop`.

    A request is recorded before it is answered, so a client that has received 200 finds its events
    here. `script` and `always` apply until used up or changed; `clear` removes only what was
    received. Lists are copies; the events in them are not.

    Args:
        host: IPv4 address or name to listen on.
        port: 0 binds to a free one, which is kept for the next start.
        keys: the auth key and API key to accept; None accepts any.
        limit_bytes: a body longer than this, before or after unpacking, gets 413.
        limit_events: a body of more lines than this gets 413; None for no limit.
        on_request: called with every request and the events accepted from it, in order of arrival,
            one call at a time, before the answer is sent. It may read and `clear` the
            collector, but not stop it. `stop` raises what it raises.
        on_intake: called just before `on_request`, with the message as received, the request, and
            every line accepted from it, invalid ones included.
        route: called first with every request. If it returns an answer, the request is neither
            judged nor recorded; if it returns None, the endpoint handles the request.
        keep: the most events, invalid lines and requests to keep, the newest of each; None for
            all. Waits also count those that are no longer kept.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        keys: tuple[str, str] | None = None,
        limit_bytes: int = 64 * 1024 * 1024,
        limit_events: int | None = None,
        on_request: Callable[[Request, list[dict[str, Any]]], None] | None = None,
        on_intake: Callable[[Message, Request, ParsedBody], None] | None = None,
        route: Callable[[Message], Answer | None] | None = None,
        keep: int | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._keys = keys
        self._limit_bytes = limit_bytes
        self._limit_events = limit_events
        self._on_request = on_request
        self._on_intake = on_intake
        self._route = route
        self._server: Server | None = None
        self._life = threading.Lock()
        self._turn = threading.Lock()
        self._arrival = threading.Condition()
        self._arrivals = 0
        # Counted separately, for `wait_for`: the deques may be shorter.
        self._events: deque[dict[str, Any]] = deque(maxlen=keep)
        self._invalid: deque[InvalidLine] = deque(maxlen=keep)
        self._requests: deque[Request] = deque(maxlen=keep)
        self._event_count = self._invalid_count = self._request_count = 0
        self._script: deque[Answer] = deque()
        self._standing: Answer | None = None

    def start(self) -> None:
        """Listen, unless it does already. What was received before a `stop` is kept.

        Raises:
            OSError: it cannot bind to the address.
        """
        with self._life:
            if self._server is None:
                self._server = Server((self._host, self._port), self._respond, self._limit_bytes)
                self._port = self._server.server_port

    def stop(self) -> None:
        """Close every connection and join every thread, if it was started.

        Raises:
            BaseException: the first exception of `on_request`, if there was one.
        """
        with self._life:
            server, self._server = self._server, None
            if server is not None:
                server.stop()
                if server.failures:
                    raise server.failures[0]

    def __enter__(self) -> Collector:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Collector {self.url if self._port else 'not started'}>"

    @property
    def url(self) -> str:
        """Return the base URL, for `endpoint` and FSLOG_ENDPOINT.

        Raises:
            RuntimeError: the port is not known before the first `start`.
        """
        if not self._port:
            raise RuntimeError("the collector has no port yet: start it first")
        host = "127.0.0.1" if self._host in ("", "0.0.0.0") else self._host
        return f"http://{host}:{self._port}"

    @property
    def events(self) -> list[dict[str, Any]]:
        """Return the valid events so far, in order of arrival."""
        with self._arrival:
            return list(self._events)

    @property
    def invalid(self) -> list[InvalidLine]:
        """Return the lines that the endpoint would have dropped silently, in order of arrival."""
        with self._arrival:
            return list(self._invalid)

    @property
    def problems(self) -> list[Problem]:
        """Return the problems of all invalid lines."""
        return [problem for bad in self.invalid for problem in bad.problems]

    @property
    def warnings(self) -> list[Problem]:
        """Return the problems of the valid events: what is probably a mistake."""
        return [problem for event in self.events for problem in schema.warnings(event)]

    @property
    def requests(self) -> list[Request]:
        """Return every request so far, in order of arrival."""
        with self._arrival:
            return list(self._requests)

    def clear(self) -> None:
        """Remove what was received and count from zero; scripted answers are kept."""
        with self._arrival:
            for kept in (self._events, self._invalid, self._requests):
                kept.clear()
            self._event_count = self._invalid_count = self._request_count = 0

    def script(self, *outcomes: Answer) -> None:
        """Answer the next POSTs to the events path with these, in order, one each.

        Limits apply to an answer of 200: a body over a limit gets 413 instead.
        """
        with self._arrival:
            self._script.extend(outcomes)

    def always(self, outcome: Answer | None) -> None:
        """Answer POSTs with this after the script is used up; None answers as the real endpoint."""
        with self._arrival:
            self._standing = outcome

    @property
    def outcomes(self) -> tuple[Answer | None, tuple[Answer, ...]]:
        """Return the answer set by `always`, and those of the script that are not used up."""
        with self._arrival:
            return self._standing, tuple(self._script)

    def release(self) -> None:
        """End current delays and hangs: delayed answers are sent now, hung connections closed."""
        with self._life:
            if self._server is not None:
                self._server.release()

    def restore(self) -> None:
        """Answer as the real endpoint again: undo `always` and `script`, then `release`."""
        with self._arrival:
            self._script.clear()
            self._standing = None
        self.release()

    def wait_for(self, n: int, timeout: float = 10.0) -> list[dict[str, Any]]:
        """Return the events once at least `n` have arrived since the first start or `clear`.

        Raises:
            TimeoutError: fewer arrived in `timeout` seconds; the message says how many.
        """
        words = f"fewer than {n} events arrived in {timeout:g} s"
        self._wait(lambda: self._event_count >= n, timeout, words)
        return self.events

    def wait_for_requests(self, n: int, timeout: float = 10.0) -> list[Request]:
        """Return the requests once at least `n` have arrived since the first start or `clear`.

        Raises:
            TimeoutError: fewer arrived in `timeout` seconds; the message says how many.
        """
        words = f"fewer than {n} requests arrived in {timeout:g} s"
        self._wait(lambda: self._request_count >= n, timeout, words)
        return self.requests

    def wait_until(self, predicate: Callable[[Collector], bool], timeout: float = 10.0) -> None:
        """Return when `predicate(self)` is true; it is called now and after each arrival.

        Raises:
            TimeoutError: it stayed false for `timeout` seconds.
        """
        until = time.monotonic() + timeout
        while True:
            seen = self._arrivals
            if predicate(self):
                return
            news = partial(self._is_news, seen, until)
            words = f"the predicate stayed false for {timeout:g} s"
            self._wait(news, until - time.monotonic(), words)

    def _is_news(self, seen: int, until: float) -> bool:
        return self._arrivals != seen and time.monotonic() < until

    def _wait(self, done: Callable[[], bool], timeout: float, words: str) -> None:
        with self._arrival:
            if not self._arrival.wait_for(done, timeout):
                lines = f"{self._event_count} events, {self._invalid_count} invalid lines"
                came = f"{words}: {lines} and {self._request_count} requests"
                raise TimeoutError(f"{came}{_OFF if capture.is_off() else ''}")

    def _respond(self, message: Message) -> Answer:
        routed = self._route(message) if self._route is not None else None
        return self._judge(message) if routed is None else routed

    def _judge(self, message: Message) -> Answer:
        limits = self._limit_bytes, self._limit_events
        answer, request, parsed = judge_request(message, self._keys, *limits)
        if request.target == "events" and answer.status in (200, 413):
            with self._arrival:
                scripted = self._script.popleft() if self._script else self._standing
            if scripted is not None:
                if answer.status == 413 and (scripted.status, scripted.then) == (200, "answer"):
                    scripted = replace(answer, delay=scripted.delay)
                answer = scripted
                request = replace(
                    request,
                    status=answer.status if answer.then == "answer" else None,
                    kept=request.kept and answer.keeps,
                    scripted=True,
                    then=answer.then,
                    reason="",
                )
        self._record(message, request, parsed if request.kept else ParsedBody())
        return answer

    def _record(self, message: Message, request: Request, parsed: ParsedBody) -> None:
        with self._turn:
            with self._arrival:
                self._events.extend(parsed.events)
                self._invalid.extend(parsed.invalid)
                self._requests.append(request)
                self._event_count += len(parsed.events)
                self._invalid_count += len(parsed.invalid)
                self._request_count += 1
                self._arrivals += 1
                self._arrival.notify_all()
            if self._on_intake is not None:
                self._on_intake(message, request, parsed)
            if self._on_request is not None:
                self._on_request(request, parsed.events)
