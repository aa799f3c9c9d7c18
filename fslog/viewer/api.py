"""The HTTP API below `/api/`: a table of what may be asked, and a function for each."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from itertools import islice
from operator import attrgetter
from typing import Any

from fslog.collector import Answer, Collector
from fslog.collector.httpserver import Message
from fslog.viewer import filters
from fslog.viewer.copies import copies
from fslog.viewer.entries import fitting
from fslog.viewer.filters import Filter
from fslog.viewer.hints import hint
from fslog.viewer.outcomes import MOST_SCRIPTED, answer_of, answers_of, shown
from fslog.viewer.overview import overview, sessions
from fslog.viewer.queries import (
    MOST_ID,
    Query,
    Refused,
    answer,
    is_json,
    listed,
    query_of,
    value_of,
)
from fslog.viewer.store import Facts, Kept, Store
from fslog.viewer.stream import Reader

PREFIX = "/api/"

_MOST_BYTES = 16 * 1024 * 1024
_MOST_LISTED = 1_000
_LISTED = 200
_MOST_SECONDS = 60.0
_SECONDS = 10.0
_MOST_OPEN = 100

Handle = Callable[[Message], Answer]


class Api:
    """Answer what is asked of what arrived, and tell the endpoint what to answer.

    Args:
        store: what arrived.
        collector: the endpoint.
        hello: what the stream says first, beside what the store and the outcomes are.
    """

    def __init__(self, store: Store, collector: Collector, hello: Callable[[], Facts]) -> None:
        self._store = store
        self._collector = collector
        self._hello = hello
        self._open = _Slots(_MOST_OPEN)
        self._last_overview: tuple[tuple[int, Filter], Facts, Mapping[int, int] | None] | None = (
            None
        )
        self._table: Mapping[str, Mapping[str, Handle]] = {
            "events": {"GET": self._events, "DELETE": self._clear},
            "count": {"GET": self._count},
            "wait": {"GET": self._wait},
            "requests": {"GET": self._requests},
            "overview": {"GET": self._overview},
            "sessions": {"GET": self._sessions},
            "stream": {"GET": self._stream},
            "outcomes": {
                "GET": self._outcomes,
                "PUT": self._set_outcome,
                "POST": self._script_outcomes,
                "DELETE": self._restore,
            },
        }

    def __call__(self, message: Message) -> Answer:
        """Answer a request to a path below `PREFIX`.

        Raises:
            Refused: it is not answered as asked.
        """
        if message.fault:
            raise Refused(413 if message.fault == "too_long" else 400, "the body cannot be read")
        name = message.target.partition("?")[0].removeprefix(PREFIX)
        methods = self._table.get(name)
        if methods is None and name.startswith("events/"):
            methods = {"GET": self._event}
        if methods is None:
            raise Refused(404, f"there is no {PREFIX}{name[:50]}; see the README for what there is")
        if message.body and not is_json(message):
            raise Refused(400, "send the body as Content-Type: application/json")
        handle = methods.get("GET" if message.method == "HEAD" else message.method)
        if handle is None:
            allowed = ", ".join([*methods, "HEAD"] if "GET" in methods else methods)
            raise Refused(405, f"expected one of {allowed}", {"Allow": allowed})
        return handle(message)

    def _events(self, message: Message) -> Answer:
        query = query_of(message, (*filters.NAMES, *_PAGING))
        after, before = (query.number(name, at, 0, MOST_ID) for name, at in _RANGE)
        limit = query.number("limit", _LISTED, 0, _MOST_LISTED)
        offset = query.number("offset", 0, 0, MOST_ID)
        newest_first = query.one_of("order", ("desc", "asc")) == "desc"
        brief = query.one_of("brief", ("0", "1")) == "1"
        kept = self._store.kept()
        meant = query.filter().select(kept.entries)
        # By id, in order: no walk over all that is kept for a few rows of it.
        first, end = bisect_right(meant, after, key=_ID), bisect_left(meant, before, key=_ID)
        within = max(0, end - first)
        if newest_first:
            page = meant[max(first, end - offset - limit) : max(first, end - offset)][::-1]
        else:
            page = meant[first + offset : min(end, first + offset + limit)]
        some, _ = fitting(page, limit, _MOST_BYTES, brief)
        facts = {**kept.facts(), "total": len(meant), "within": within}
        return answer(listed(some, brief, **facts, more=offset + len(some) < within))

    def _event(self, message: Message) -> Answer:
        query_of(message, ())
        text = message.target.partition("?")[0].removeprefix(f"{PREFIX}events/")
        entry = self._store.entry(Query({"id": text}).number("id", 0, 1, MOST_ID))
        if entry is None:
            raise Refused(404, f"event {int(text)} is not kept: it never came, or left again")
        more: Facts = {
            "line": entry.text(),
            "received": self._store.request(entry.request),
            "copies": copies(entry, self._collector.url),
        }
        if (right := hint(entry)) is not None:
            more["hint"] = right
        return answer(entry.json()[:-1] + b"," + answer(more).body[1:])

    def _clear(self, message: Message) -> Answer:
        query_of(message, ())
        self._store.clear()
        return _DONE

    def _count(self, message: Message) -> Answer:
        meant = query_of(message, filters.NAMES).filter()
        kept = self._store.kept()
        return answer({"count": len(meant.select(kept.entries)), "dropped": kept.dropped})

    def _wait(self, message: Message) -> Answer:
        query = query_of(message, (*filters.NAMES, "count", "timeout"))
        count = query.number("count", 1, 1, self._store.keep)
        seconds = query.seconds("timeout", _SECONDS, _MOST_SECONDS)
        meant = query.filter()
        self._open.check()
        with self._open:
            found, came = self._store.wait_for(meant, count, seconds)
        some, more = fitting(found, _MOST_LISTED, _MOST_BYTES)
        if came >= count:
            return answer(listed(some, count=came, more=more))
        why = f"{count} were waited for {seconds:g} s, {came} came"
        return answer(listed(some, count=came, more=more, error=why), 408)

    def _requests(self, message: Message) -> Answer:
        query = query_of(message, ("after", "before", "limit"))
        after, before = (query.number(name, at, 0, MOST_ID) for name, at in _RANGE)
        limit = query.number("limit", _LISTED, 1, _MOST_LISTED)
        kept = self._store.requests()
        asked = islice((one for one in kept.requests if after < one["id"] < before), limit)
        facts = {"total": kept.total, "dropped": kept.dropped}
        return answer({"requests": list(asked), **facts})

    def _overview(self, message: Message) -> Answer:
        meant = query_of(message, filters.NAMES).filter()
        asked = self._store.changes(), meant
        last = self._last_overview  # made once for all pages that ask
        if last is None or last[0] != asked:
            with self._store.still():
                asked = self._store.changes(), meant
                kept = self._store.kept()
                requests = self._store.requests().requests
            last = self._last_overview = (asked, *self._counted(meant, kept, requests))
        return answer({**last[1], "rate": self._store.rate(last[2])})

    def _counted(
        self, meant: Filter, kept: Kept, requests: list[Facts]
    ) -> tuple[Facts, Mapping[int, int] | None]:
        found = meant.select(kept.entries)
        if meant != _ANY:
            bore = {entry.request for entry in found}
            requests = [request for request in requests if request["id"] in bore]
        facts = overview(found, requests)
        facts |= {"total": kept.total + kept.dropped, "dropped": kept.dropped}
        return facts, (None if meant == _ANY else Counter(entry.at // 1000 for entry in found))

    def _sessions(self, message: Message) -> Answer:
        query = query_of(message, (*filters.NAMES, "limit", "offset"))
        limit = query.number("limit", _LISTED, 1, _MOST_LISTED)
        offset = query.number("offset", 0, 0, MOST_ID)
        found, total = sessions(query.filter().select(self._store.kept().entries), limit, offset)
        return answer({"sessions": found, "total": total})

    def _outcomes(self, message: Message) -> Answer:
        query_of(message, ())
        return answer(self.outcomes())

    def outcomes(self) -> Facts:
        """Return what the endpoint is told to answer."""
        return shown(*self._collector.outcomes)

    def _set_outcome(self, message: Message) -> Answer:
        query_of(message, ())
        outcome = value_of(message)
        self._collector.always(None if outcome is None else _checked(answer_of, outcome))
        if outcome is None:
            self._collector.release()
        self._store.touch()
        return self._outcomes(message)

    def _script_outcomes(self, message: Message) -> Answer:
        query_of(message, ())
        answers = _checked(answers_of, value_of(message))
        if len(self._collector.outcomes[1]) + len(answers) > MOST_SCRIPTED:
            raise Refused(400, f"more than {MOST_SCRIPTED} outcomes would wait to be used")
        self._collector.script(*answers)
        self._store.touch()
        return self._outcomes(message)

    def _restore(self, message: Message) -> Answer:
        query_of(message, ())
        self._collector.restore()
        self._store.touch()
        return _DONE

    def _stream(self, message: Message) -> Answer:
        query = query_of(message, ("after", "entries"))
        last = message.headers.get("last-event-id", "")
        query = Query({**query, "after": last}) if last.isdigit() else query
        after = query.number("after", 0, 0, MOST_ID) if query.get("after") else None
        self._open.check()
        whole = query.one_of("entries", ("1", "0")) == "1"
        reader = Reader(self._store, after, self._hello, self.outcomes, whole)
        return Answer(headers=_STREAM, stream=lambda: self._open.during(reader.pieces()))


class _Slots:
    """Bound how many requests take long at a time: each of them takes a thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._guard = threading.Lock()

    def check(self) -> None:
        if self._taken >= self._most:
            raise Refused(503, "too many pages and waits are open: close some of them")

    def __enter__(self) -> None:
        with self._guard:
            self._taken += 1

    def __exit__(self, *error: object) -> None:
        with self._guard:
            self._taken -= 1

    def during(self, pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
        with self:
            yield from pieces


_PAGING = ("before", "after", "limit", "order", "offset", "brief")
_ID = attrgetter("id")
_ANY = Filter()
_RANGE = (("after", 0), ("before", MOST_ID))
_DONE = Answer(204, headers={"Cache-Control": "no-store"})
_STREAM = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}


def _checked(take: Callable[[Any], Any], value: Any) -> Any:
    try:
        return take(value)
    except ValueError as error:
        raise Refused(400, str(error)) from None
