"""The HTTP API below `/api/`: a table of resources and methods, with one function for each."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from operator import attrgetter
from typing import Any

from fslog.collector import Answer, Collector
from fslog.collector.http import Message
from fslog.viewer.entries import first_page
from fslog.viewer.filters import NAMES, Filter
from fslog.viewer.history import History, JsonObject, Snapshot
from fslog.viewer.overview import overview, sessions
from fslog.viewer.planned import PlanCounts
from fslog.viewer.queries import (
    MAX_ID,
    ApiError,
    Query,
    answer_json,
    entries_json,
    has_json_type,
    json_answer,
    json_body,
    parse_answer,
    parse_query,
)
from fslog.viewer.snippets import correction, snippets
from fslog.viewer.stream import Subscription

PREFIX = "/api/"

_MAX_BYTES = 16 * 1024 * 1024
_MAX_LIMIT = 1_000
_LIMIT = 200
_MAX_SECONDS = 60.0
_SECONDS = 10.0
_MAX_LONG_REQUESTS = 100
_MAX_SCRIPTED = 1_000

Handle = Callable[[Message, Query], Answer]


class Api:
    """Answer requests to the API.

    Args:
        history: entries and requests to serve.
        collector: the endpoint, whose answers the API configures.
        hello: returns the properties of the stream's first message.
        planned: the events by a tracking plan, guarded by the history's lock; None for no plan.
    """

    def __init__(
        self,
        history: History,
        collector: Collector,
        hello: Callable[[], JsonObject],
        planned: PlanCounts | None = None,
    ) -> None:
        self._history = history
        self._collector = collector
        self._hello = hello
        self._planned = planned
        self._long_requests = 0
        self._lock = threading.Lock()
        self._last_overview: tuple[Any, JsonObject, Mapping[int, int] | None] = (None, {}, None)
        self._table: Mapping[str, Mapping[str, tuple[Handle, Sequence[str]]]] = {
            "events": {"GET": (self._events, _EVENTS), "DELETE": (self._clear, ())},
            "count": {"GET": (self._count, NAMES)},
            "wait": {"GET": (self._wait, (*NAMES, "count", "timeout"))},
            "requests": {"GET": (self._requests, ("after", "before", "limit"))},
            "overview": {"GET": (self._overview, NAMES)},
            "sessions": {"GET": (self._sessions, (*NAMES, "limit", "offset"))},
            "plan": {"GET": (self._plan, ("limit",))},
            "stream": {"GET": (self._stream, ("after", "entries"))},
            "outcomes": {
                "GET": (self._get_answers, ()),
                "PUT": (self._set_answer, ()),
                "POST": (self._script_answers, ()),
                "DELETE": (self._restore, ()),
            },
        }

    def __call__(self, message: Message) -> Answer:
        """Answer a request to a path below `PREFIX`.

        Raises:
            ApiError: the request is not valid.
        """
        if message.fault:
            raise ApiError(413 if message.fault == "too_long" else 400, "the body cannot be read")
        name = message.target.partition("?")[0].removeprefix(PREFIX)
        methods = self._table.get(name)
        if methods is None and name.startswith("events/"):
            methods = {"GET": (self._event, ())}
        elif methods is None and name.startswith("plan/"):
            methods = {"GET": (self._proposal, ())}
        if methods is None:
            raise ApiError(
                404, f"{PREFIX}{name[:50]} does not exist; `fslog help viewer` lists the API"
            )
        if message.body and not has_json_type(message):
            raise ApiError(400, "send the body as Content-Type: application/json")
        found = methods.get("GET" if message.method == "HEAD" else message.method)
        if found is None:
            allowed = ", ".join([*methods, "HEAD"] if "GET" in methods else methods)
            raise ApiError(405, f"expected one of {allowed}", {"Allow": allowed})
        handle, names = found
        return handle(message, parse_query(message, names))

    def _events(self, message: Message, query: Query) -> Answer:
        after, before = (query.number(name, at, 0, MAX_ID) for name, at in _RANGE)
        limit = query.number("limit", _LIMIT, 0, _MAX_LIMIT)
        offset = query.number("offset", 0, 0, MAX_ID)
        newest_first = query.one_of("order", ("desc", "asc")) == "desc"
        brief = query.one_of("brief", ("0", "1")) == "1"
        kept = self._history.entries()
        selected = Filter.from_query(query).select(kept.entries)
        # Entries are sorted by id: bisect instead of scanning all for one page.
        first, end = bisect_right(selected, after, key=_ID), bisect_left(selected, before, key=_ID)
        within = max(0, end - first)
        if newest_first:
            page = selected[max(first, end - offset - limit) : max(first, end - offset)][::-1]
        else:
            page = selected[first + offset : min(end, first + offset + limit)]
        some, _ = first_page(page, limit, _MAX_BYTES, brief)
        counts = {**kept.json(), "total": len(selected), "within": within}
        more = offset + len(some) < within
        return json_answer(entries_json(some, brief, **counts, more=more))

    def _event(self, message: Message, query: Query) -> Answer:
        id = _id(message, "events/")
        entry = self._history.entry(id)
        if entry is None:
            raise ApiError(404, f"event {id} does not exist, or is not kept any more")
        more: JsonObject = {
            "line": entry.text(),
            "received": self._history.request(entry.request),
            "copies": snippets(entry, self._collector.url),
        }
        if (corrected := correction(entry)) is not None:
            more["hint"] = corrected
        if self._planned is not None:
            with self._history.lock:
                more["unplanned"] = self._planned.id_of(entry)
        return json_answer(entry.json()[:-1] + b"," + json_answer(more).body[1:])

    def _clear(self, message: Message, query: Query) -> Answer:
        with self._history.lock:
            self._history.clear()
            if self._planned is not None:
                self._planned.clear()
        return _NO_CONTENT

    def _count(self, message: Message, query: Query) -> Answer:
        kept = self._history.entries()
        found = Filter.from_query(query).select(kept.entries)
        return json_answer({"count": len(found), "dropped": kept.dropped})

    def _wait(self, message: Message, query: Query) -> Answer:
        count = query.number("count", 1, 1, self._history.keep)
        seconds = query.seconds("timeout", _SECONDS, _MAX_SECONDS)
        wanted = Filter.from_query(query)
        self._check_long_requests()
        with self._long_request():
            found, arrived = self._history.wait_for(wanted, count, seconds)
        some, more = first_page(found, _MAX_LIMIT, _MAX_BYTES)
        if arrived >= count:
            return json_answer(entries_json(some, count=arrived, more=more))
        reason = f"{arrived} of {count} events arrived within {seconds:g} s"
        return json_answer(entries_json(some, count=arrived, more=more, error=reason), 408)

    def _requests(self, message: Message, query: Query) -> Answer:
        after, before = (query.number(name, at, 0, MAX_ID) for name, at in _RANGE)
        limit = query.number("limit", _LIMIT, 1, _MAX_LIMIT)
        kept = self._history.requests()
        page = islice((one for one in kept.requests if after < one["id"] < before), limit)
        counts = {"total": kept.total, "dropped": kept.dropped}
        return json_answer({"requests": list(page), **counts})

    def _overview(self, message: Message, query: Query) -> Answer:
        wanted = Filter.from_query(query)
        last = self._last_overview  # shared by all pages with the same filter
        if last[0] != (self._history.changes(), wanted):
            with self._history.lock:
                key = self._history.changes(), wanted
                kept = self._history.entries()
                requests = self._history.requests().requests
            last = self._last_overview = (key, *self._counted(wanted, kept, requests))
        return json_answer({**last[1], "rate": self._history.rate(last[2])})

    def _counted(
        self, wanted: Filter, kept: Snapshot, requests: list[JsonObject]
    ) -> tuple[JsonObject, Mapping[int, int] | None]:
        found = wanted.select(kept.entries)
        if wanted != _ANY:
            ids = {entry.request for entry in found}
            requests = [request for request in requests if request["id"] in ids]
        counts = overview(found, requests)
        counts |= {"total": kept.total + kept.dropped, "dropped": kept.dropped}
        return counts, (None if wanted == _ANY else Counter(entry.at // 1000 for entry in found))

    def _sessions(self, message: Message, query: Query) -> Answer:
        limit = query.number("limit", _LIMIT, 1, _MAX_LIMIT)
        offset = query.number("offset", 0, 0, MAX_ID)
        entries = Filter.from_query(query).select(self._history.entries().entries)
        found, total = sessions(entries, limit, offset)
        return json_answer({"sessions": found, "total": total})

    def _plan(self, message: Message, query: Query) -> Answer:
        limit = query.number("limit", _LIMIT, 1, _MAX_LIMIT)
        planned = self._required_plan()
        with self._history.lock:
            return json_answer(planned.json(limit))

    def _proposal(self, message: Message, query: Query) -> Answer:
        planned, id = self._required_plan(), _id(message, "plan/")
        with self._history.lock:
            found = planned.proposal(id, self._history.entries().entries)
        if found is None:
            raise ApiError(404, f"unplanned event {id} does not exist, or is not kept any more")
        return json_answer(found)

    def _required_plan(self) -> PlanCounts:
        if self._planned is None:
            raise ApiError(404, "there is no plan: start the viewer with --plan FILE")
        return self._planned

    def answers(self) -> JsonObject:
        """Return the endpoint's configured answers."""
        standing, script = self._collector.outcomes
        shown = None if standing is None else answer_json(standing)
        return {"standing": shown, "script": [answer_json(one) for one in script]}

    def _get_answers(self, message: Message, query: Query) -> Answer:
        return json_answer(self.answers())

    def _set_answer(self, message: Message, query: Query) -> Answer:
        value = json_body(message)
        self._collector.always(None if value is None else parse_answer(value))
        if value is None:
            self._collector.release()
        self._history.notify()
        return json_answer(self.answers())

    def _script_answers(self, message: Message, query: Query) -> Answer:
        body = json_body(message)
        values = body["outcomes"] if isinstance(body, dict) and [*body] == ["outcomes"] else None
        if not isinstance(values, list):
            expected = 'expected the body {"outcomes": [...]}, with one answer for each request'
            raise ApiError(400, expected)
        answers = [parse_answer(value) for value in values]
        if len(self._collector.outcomes[1]) + len(answers) > _MAX_SCRIPTED:
            raise ApiError(400, f"more than {_MAX_SCRIPTED} answers would be waiting")
        self._collector.script(*answers)
        self._history.notify()
        return json_answer(self.answers())

    def _restore(self, message: Message, query: Query) -> Answer:
        self._collector.restore()
        self._history.notify()
        return _NO_CONTENT

    def _stream(self, message: Message, query: Query) -> Answer:
        last = message.headers.get("last-event-id", "")
        query = Query({**query, "after": last}) if last.isdigit() else query
        after = query.number("after", 0, 0, MAX_ID) if query.get("after") else None
        self._check_long_requests()
        with_entries = query.one_of("entries", ("1", "0")) == "1"
        subscribed = Subscription(self._history, after, self._hello, self.answers, with_entries)
        return Answer(headers=_STREAM, stream=lambda: self._messages(subscribed))

    def _messages(self, subscribed: Subscription) -> Generator[bytes, None, None]:
        with self._long_request():
            yield from subscribed.messages()

    def _check_long_requests(self) -> None:
        if self._long_requests >= _MAX_LONG_REQUESTS:
            raise ApiError(503, "too many open pages and waiting requests: close some of them")

    @contextmanager
    def _long_request(self) -> Iterator[None]:
        """Count a request that occupies a thread until it ends."""
        with self._lock:
            self._long_requests += 1
        try:
            yield
        finally:
            with self._lock:
                self._long_requests -= 1


def _id(message: Message, parent: str) -> int:
    text = message.target.partition("?")[0].removeprefix(f"{PREFIX}{parent}")
    return Query({"id": text}).number("id", 0, 1, MAX_ID)


_EVENTS = (*NAMES, "before", "after", "limit", "order", "offset", "brief")
_ID = attrgetter("id")
_ANY = Filter()
_RANGE = (("after", 0), ("before", MAX_ID))
_NO_CONTENT = Answer(204, headers={"Cache-Control": "no-store"})
_STREAM = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}
