"""The endpoint, embedded: takes what the real one takes, answers like it, remembers what it drops.

For tests, the demo and the viewer. It listens on plain http, on loopback unless told otherwise,
and is no place for production data: everything it was sent stays in memory until `clear`, or
until `keep` newer ones are there.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any

from fslog.collector.httpserver import Answer, Message, Server
from fslog.collector.intake import Intake, InvalidLine, Request, Verdict, judge
from fslog.errors import Problem
from fslog.mapping import schema

__all__ = ["Answer", "Collector", "InvalidLine", "Request"]

_CLOSE = {"Connection": "close"}


class Collector:
    """Play the endpoint of EVENT_API on this machine; a context manager, usable again after `stop`.

    A request is remembered before it is answered: who has the 200 finds the events here. What a
    test says with `script` and `always` stands until used up or changed; `clear` forgets
    only what arrived. Lists are copies; the events in them are not.

    Args:
        host: IPv4 address or name to listen on.
        port: 0 takes a free one, and keeps it when started again.
        keys: auth key and API key that are accepted; None accepts any.
        limit_bytes: a body longer than this, before or after unpacking, gets 413.
        limit_events: a body of more lines than this gets 413; None for no limit.
        on_request: called with every request and the events taken from it, in order of arrival,
            one call at a time, before the answer is sent. It may read and `clear` the
            collector, not stop it. What it raises comes out of `stop`.
        on_intake: likewise, just before; called with the message as it came, and with every line
            that was taken from it, invalid ones too.
        route: asked first about every request; what it answers is no request to the endpoint,
            and is neither judged nor remembered. None leaves the request to the endpoint.
        keep: how many events, invalid lines and requests are remembered at most, the newest of
            each; None for all. Waits count what has been forgotten too.
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
        on_intake: Callable[[Message, Request, Intake], None] | None = None,
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
        # What `wait_for` goes by is counted apart.
        self._events: deque[dict[str, Any]] = deque(maxlen=keep)
        self._invalid: deque[InvalidLine] = deque(maxlen=keep)
        self._requests: deque[Request] = deque(maxlen=keep)
        self._event_count = self._invalid_count = self._request_count = 0
        self._script: deque[Answer] = deque()
        self._standing: Answer | None = None

    def start(self) -> None:
        """Listen, unless it does already. What arrived before a `stop` is still there.

        Raises:
            OSError: the address cannot be had.
        """
        with self._life:
            if self._server is None:
                self._server = Server((self._host, self._port), self._respond, self._limit_bytes)
                self._port = self._server.server_port

    def stop(self) -> None:
        """Close every connection and join every thread, at once; nothing to do is no error.

        Raises:
            BaseException: the first that `on_request` raised, if it did.
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Collector {self.url if self._port else 'not started'}>"

    @property
    def url(self) -> str:
        """Return the base URL, as `endpoint` and FSLOG_ENDPOINT take it.

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
        """Return what the endpoint would have dropped in silence, in order of arrival."""
        with self._arrival:
            return list(self._invalid)

    @property
    def problems(self) -> list[Problem]:
        """Return the problems of all invalid lines."""
        return [problem for bad in self.invalid for problem in bad.problems]

    @property
    def warnings(self) -> list[Problem]:
        """Return what is probably not meant in the valid events."""
        return [problem for event in self.events for problem in schema.warnings(event)]

    @property
    def requests(self) -> list[Request]:
        """Return every request so far, in order of arrival."""
        with self._arrival:
            return list(self._requests)

    def clear(self) -> None:
        """Forget what arrived and count from zero; scripted answers stand."""
        with self._arrival:
            for kept in (self._events, self._invalid, self._requests):
                kept.clear()
            self._event_count = self._invalid_count = self._request_count = 0

    def script(self, *outcomes: Answer) -> None:
        """Give the next POSTs to the events path these outcomes, in order, one each.

        An outcome of 200 keeps to the limits: a body that breaks one gets 413 instead.
        """
        with self._arrival:
            self._script.extend(outcomes)

    def always(self, outcome: Answer | None) -> None:
        """Give POSTs this outcome where the script is used up; None is like the real endpoint."""
        with self._arrival:
            self._standing = outcome

    @property
    def outcomes(self) -> tuple[Answer | None, tuple[Answer, ...]]:
        """Return the outcome that `always` gave, and those of the script that are not used up."""
        with self._arrival:
            return self._standing, tuple(self._script)

    def release(self) -> None:
        """End delays and hangs under way: late answers are sent now, hung connections closed."""
        with self._life:
            if self._server is not None:
                self._server.release()

    def restore(self) -> None:
        """Be like the real endpoint again: forget `always` and the script, then `release`."""
        with self._arrival:
            self._script.clear()
            self._standing = None
        self.release()

    def wait_for(self, n: int, timeout: float = 10.0) -> list[dict[str, Any]]:
        """Return the events once at least `n` have arrived since the first start or `clear`.

        Raises:
            TimeoutError: fewer arrived in `timeout` seconds; says how many.
        """
        self._wait(
            lambda: self._event_count >= n, timeout, f"{n} events were waited for {timeout:g} s"
        )
        return self.events

    def wait_for_requests(self, n: int, timeout: float = 10.0) -> list[Request]:
        """Return the requests once at least `n` have arrived since the first start or `clear`.

        Raises:
            TimeoutError: fewer arrived in `timeout` seconds; says how many.
        """
        self._wait(
            lambda: self._request_count >= n, timeout, f"{n} requests were waited for {timeout:g} s"
        )
        return self.requests

    def wait_until(self, predicate: Callable[[Collector], bool], timeout: float = 10.0) -> None:
        """Return once `predicate(self)` is true; it is asked now and after each arrival.

        Raises:
            TimeoutError: it stayed false for `timeout` seconds.
        """
        until = time.monotonic() + timeout
        while True:
            seen = self._arrivals
            if predicate(self):
                return
            news = partial(self._is_news, seen, until)
            self._wait(
                news, until - time.monotonic(), f"a predicate stayed false for {timeout:g} s"
            )

    def _is_news(self, seen: int, until: float) -> bool:
        return self._arrivals != seen and time.monotonic() < until

    def _wait(self, done: Callable[[], bool], timeout: float, words: str) -> None:
        with self._arrival:
            if not self._arrival.wait_for(done, timeout):
                came = f"{self._event_count} events, {self._invalid_count} invalid lines"
                raise TimeoutError(f"{words}; {came} and {self._request_count} requests came")

    def _respond(self, message: Message) -> Answer:
        routed = self._route(message) if self._route is not None else None
        return self._take(message) if routed is None else routed

    def _take(self, message: Message) -> Answer:
        verdict = judge(message, self._keys, self._limit_bytes, self._limit_events)
        answer, scripted = self._choose(verdict)
        intake = verdict.intake
        request = Request(
            method=message.method,
            target=verdict.target,
            path=verdict.path,
            status=answer.status if answer.then == "answer" else None,
            encoding=verdict.encoding,
            headers=message.headers,
            bytes_received=len(message.body),
            bytes_unpacked=intake.bytes_unpacked,
            events=len(intake.events),
            invalid=len(intake.invalid),
            kept=(verdict.target, verdict.status) == ("events", 200) and answer.keeps,
            received_at=message.received_at,
            scripted=scripted,
            then=answer.then,
            reason="" if scripted else verdict.reason,
        )
        self._remember(message, request, intake if request.kept else Intake())
        return answer

    def _choose(self, verdict: Verdict) -> tuple[Answer, bool]:
        natural = Answer(verdict.status, headers=_CLOSE if verdict.status in (411, 413) else ())
        if verdict.target != "events" or verdict.status not in (200, 413):
            return natural, False
        with self._arrival:
            outcome = self._script.popleft() if self._script else self._standing
        if outcome is None:
            return natural, False
        if verdict.status == 413 and (outcome.status, outcome.then) == (200, "answer"):
            return replace(natural, delay=outcome.delay), True
        return outcome, True

    def _remember(self, message: Message, request: Request, intake: Intake) -> None:
        with self._turn:
            with self._arrival:
                self._events.extend(intake.events)
                self._invalid.extend(intake.invalid)
                self._requests.append(request)
                self._event_count += len(intake.events)
                self._invalid_count += len(intake.invalid)
                self._request_count += 1
                self._arrivals += 1
                self._arrival.notify_all()
            if self._on_intake is not None:
                self._on_intake(message, request, intake)
            if self._on_request is not None:
                self._on_request(request, intake.events)
