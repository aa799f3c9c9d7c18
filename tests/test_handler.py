"""The handler between a log call and its delivery: what it accepts, reports and counts."""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
import math
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from django.utils.functional import SimpleLazyObject

from fslog import EventFormatter, FreshsuccessHandler, InvalidEvent, Problem, Stats, context
from fslog.collector import Answer, Collector
from fslog.testing import capture
from needs import nested

KEYS = {"auth_key": "auth-s3cret-0123456789", "api_key": "api-s3cret-9876543210"}
EVENT = {"accountId": "acme", "userId": "ann", "action": "pageView", "page": "start"}

Make = Callable[..., FreshsuccessHandler]


def record(extra: Mapping[str, Any] = EVENT, **attributes: Any) -> logging.LogRecord:
    made = logging.Logger("app").makeRecord(
        "app", logging.INFO, "/srv/app.py", 7, "did it", (), None, extra=dict(extra)
    )
    made.__dict__.update(attributes)
    return made


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture
def make(collector: Collector) -> Iterator[Make]:
    """Make handlers for the collector; at the end all is delivered and every thread has ended."""
    before = set(threading.enumerate())
    made: list[FreshsuccessHandler] = []

    def make(
        kind: type[FreshsuccessHandler] = FreshsuccessHandler, **given: Any
    ) -> FreshsuccessHandler:
        made.append(kind(**{**KEYS, "endpoint": collector.url, **given}))
        return made[-1]

    yield make
    collector.always(None)
    for handler in made:
        assert handler.flush(10)
        handler.close()
    for thread in set(threading.enumerate()) - before:
        if thread.name == "fslog":
            thread.join(10)
            assert not thread.is_alive()


def balanced(handler: FreshsuccessHandler) -> Stats:
    """Return the statistics after checking their balances."""
    stats = handler.stats()
    assert stats.emitted == stats.skipped + stats.invalid + stats.refused + stats.accepted
    assert stats.accepted + stats.adopted == stats.delivered + stats.pending + stats.abandoned
    return stats


def logger_of(handler: logging.Handler) -> logging.Logger:
    logger = logging.Logger("app.x")
    logger.addHandler(handler)
    return logger


def test_a_log_call_becomes_an_event(make: Make, collector: Collector) -> None:
    """The endpoint receives what the EventFormatter makes of the record."""
    handler = make(session="idle", defaults={"product": "core"})
    seen: list[logging.LogRecord] = []
    handler.addFilter(lambda made: seen.append(made) or True)
    logger_of(handler).info("opened", extra={**EVENT, "userId": 7})
    assert handler.flush()
    assert collector.events == [json.loads(handler.formatter.format(seen[0]))]
    assert collector.events[0]["userId"] == "7"
    stats = balanced(handler)
    assert (stats.emitted, stats.accepted, stats.delivered) == (1, 1, 1)


def test_every_record_is_counted_once(make: Make, collector: Collector) -> None:
    """Skipped, invalid or accepted; only accepted ones are sent."""
    handler = make()
    logger = logger_of(handler)
    for _ in range(3):
        logger.info("nothing of ours")
    for _ in range(2):
        logger.info("invalid", extra={"action": ""})
    for number in range(4):
        logger.info("valid", extra={**EVENT, "number": number})
    assert handler.flush()
    stats = balanced(handler)
    assert (stats.emitted, stats.skipped, stats.invalid, stats.accepted) == (9, 3, 2, 4)
    assert (stats.refused, stats.delivered, stats.pending) == (0, 4, 0)
    assert [event["number"] for event in collector.events] == [0, 1, 2, 3]
    assert collector.invalid == []


def test_the_event_is_a_snapshot(make: Make, collector: Collector) -> None:
    """A change of its values after the log call does not change the event."""
    handler = make()
    details = {"tags": ["a"]}
    logger_of(handler).info("x", extra={**EVENT, "details": details})
    details["tags"].append("b")
    details.clear()
    assert handler.flush()
    assert collector.events[0]["details"] == {"tags": ["a"]}


def test_context_is_that_of_the_log_call(make: Make, collector: Collector) -> None:
    """Not that of the listener."""
    handler = make(context_provider=lambda: {"thread": threading.current_thread().name})
    with context.bound(userId="bound"):
        logger_of(handler).info("x", extra={"accountId": "acme", "action": "pageView"})
    assert handler.flush()
    event = collector.events[0]
    assert (event["userId"], event["thread"]) == ("bound", threading.current_thread().name)


def test_the_level_of_the_handler(make: Make) -> None:
    """A record below the level is not counted; the level can be changed."""
    handler = make(level="WARNING")
    logger = logger_of(handler)
    logger.info("x", extra=EVENT)
    assert balanced(handler).emitted == 0
    logger.warning("x", extra=EVENT)
    assert balanced(handler).emitted == 1
    handler.setLevel(logging.INFO)
    logger.info("x", extra=EVENT)
    assert balanced(handler).emitted == 2


def test_filters_work_as_in_any_handler(make: Make, collector: Collector) -> None:
    """A record that a filter rejects is not counted; `handle` returns the filter's result."""
    handler = make()
    handler.addFilter(lambda made: made.page != "secret")
    assert handler.handle(record()) is True
    assert not handler.handle(record({**EVENT, "page": "secret"}))
    assert handler.flush()
    assert [event["page"] for event in collector.events] == ["start"]
    assert balanced(handler).emitted == 1


def test_a_filter_may_return_another_record(make: Make, collector: Collector) -> None:
    """From Python 3.12 on the returned record is handled; before, a true value accepts."""
    handler = make()
    other = record({**EVENT, "page": "other"})
    handler.addFilter(lambda made: other)
    given = record()
    handler.handle(given)
    assert handler.flush()
    expected = "other" if sys.version_info >= (3, 12) else "start"
    assert [event["page"] for event in collector.events] == [expected]
    assert given.__dict__["page"] == "start"


def test_a_filter_method_of_a_subclass_may_return_any_true_value(
    make: Make, collector: Collector
) -> None:
    """Old code returns 1 and 0 from `filter`."""

    class Old(FreshsuccessHandler):
        def filter(self, made: logging.LogRecord) -> Any:
            return 1 if made.page == "start" else 0  # type: ignore[attr-defined]

    handler = make(Old)
    handler.addFilter(lambda made: True)
    handler.handle(record())
    handler.handle(record({**EVENT, "page": "other"}))
    assert handler.flush()
    assert [event["page"] for event in collector.events] == ["start"]


def test_another_event_formatter_is_accepted(make: Make, collector: Collector) -> None:
    """It replaces the handler's own."""
    handler = make()
    handler.setFormatter(EventFormatter(defaults={"product": "other"}))
    handler.handle(record())
    assert handler.flush()
    assert collector.events[0]["product"] == "other"


@pytest.mark.parametrize(
    "formatter", [None, logging.Formatter("%(message)s"), logging.BufferingFormatter(), "x", 5]
)
def test_no_other_formatter_is_accepted(make: Make, collector: Collector, formatter: Any) -> None:
    """The ValueError has the type and what is expected; the handler keeps its formatter."""
    handler = make()
    with pytest.raises(ValueError, match="EventFormatter") as caught:
        handler.setFormatter(formatter)
    assert type(formatter).__name__ in str(caught.value)
    handler.handle(record())
    assert handler.flush()
    assert len(collector.events) == 1


@pytest.mark.parametrize(
    "given",
    [
        {"fields": {"userId": "user.id"}},
        {"rules": [{"when": {}, "event": {"action": "x"}}]},
        {"defaults": {"product": "core"}},
        {"include": ["x"]},
        {"exclude": ["x"]},
        {"session": "window"},
        {"context_provider": dict},
        {"fields": None},
        {"exclude": None},
    ],
    ids=lambda given: next(iter(given)),
)
def test_mapping_arguments_and_a_formatter_exclude_each_other(
    make: Make, given: dict[str, Any]
) -> None:
    """Mapping arguments and a formatter are a ValueError; the handler keeps working."""
    handler = make(**given)
    own = handler.formatter
    with pytest.raises(ValueError, match=f"{next(iter(given))}.*formatter"):
        handler.setFormatter(EventFormatter())
    assert handler.formatter is own
    assert handler.handle(record())


def test_problems_are_reported(make: Make) -> None:
    """Every problem of an invalid event, and every warning, in the thread of the log call."""
    told: list[tuple[Problem, threading.Thread]] = []
    handler = make(on_problem=lambda p: told.append((p, threading.current_thread())))
    logger = logger_of(handler)
    thread = threading.Thread(
        target=lambda: logger.info("x", extra={"accountId": 1.5, "action": "pageView"})
    )
    thread.start()
    thread.join()
    assert [(p.code, p.property) for p, _ in told] == [
        ("wrong_type", "accountId"),
        ("missing", "userId"),
    ]
    assert {where for _, where in told} == {thread}
    problem = told[0][0]
    assert type(problem) is Problem
    assert problem.event is not None
    assert problem.event["accountId"] == 1.5
    with pytest.raises(dataclasses.FrozenInstanceError):
        problem.code = "x"  # type: ignore[misc]
    told.clear()
    logger.info("x", extra={**EVENT, "action": "feature", "feature": 5})
    assert [(p.code, p.property, p.event and p.event["userId"]) for p, _ in told] == [
        ("expected_type", "feature", "ann"),
        ("expected", "module", "ann"),
    ]
    assert balanced(handler).accepted == 1
    told.clear()
    logger.info("x", extra=EVENT)
    logger.info("nothing of ours")
    assert told == []


def test_likely_mistakes_are_reported_each_time_and_sent(
    make: Make, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """Also from a call site whose encoder is compiled; the logger `fslog` has each kind once."""
    told: list[Problem] = []
    handler = make(on_problem=told.append)
    logger = logger_of(handler)

    def call(**changes: Any) -> None:
        logger.info("x", extra={**EVENT, **changes})

    for _ in range(10):
        call()
    assert handler.flush()  # the listener has compiled by now
    assert handler.formatter.encoders.encoders
    assert told == []
    mistakes: list[dict[str, Any]] = [
        {"userId": "None"},
        {"accountId": "ann@acme.example"},
        {"action": "Feature"},
    ]
    for mistake in mistakes * 3:
        call(**mistake)
    call()
    assert handler.flush()
    codes = ["looks_anonymous", "looks_like_user", "looks_misspelt"]
    assert [problem.code for problem in told] == codes * 3
    assert len(collector.events) == 20
    assert balanced(handler).invalid == 0
    said = [r.getMessage() for r in caplog.records if r.name == "fslog"]
    assert [next(code for code in codes if f"[{code}]" in text) for text in said] == codes


def test_a_placeholder_that_no_record_has_is_logged_once(
    make: Make, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """After twenty records of the rule: a warning on the logger `fslog`, which is no event."""
    event = {"action": "pageView", "rows": "{rows}", "plan": "{plna}", "text": "{mesage}"}
    handler = make(rules=[{"when": {"message": "/sold/"}, "event": event}])
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with caplog.at_level(logging.INFO), context.bound(accountId="acme", userId="ann"):
            for _ in range(19):
                root.info("sold", extra={"rows": 3})
            assert handler.flush()
            assert [r for r in caplog.records if r.name == "fslog"] == []
            for _ in range(30):
                root.info("sold", extra={"rows": 3})
            assert handler.flush()
    finally:
        root.removeHandler(handler)
    said = [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "fslog"]
    assert said == [
        ("WARNING", "rules[0]: none of 20 records that it matches has {plna}"),
        (
            "WARNING",
            "rules[0]: none of 20 records that it matches has {mesage}; did you mean {message}?",
        ),
    ]
    assert [event["rows"] for event in collector.events] == [3] * 49
    assert handler.stats().emitted == 49


def test_it_is_logged_though_a_handler_with_the_same_formatter_is_gone(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not matter which of the handlers was created last."""
    rules = [{"when": {"logger": ""}, "event": {"action": "pageView", "plan": "{plna}"}}]
    formatter = EventFormatter(rules=rules, defaults={"accountId": "acme", "userId": "ann"})
    handler = make()
    handler.setFormatter(formatter)
    FreshsuccessHandler(auth_key="a" * 20, api_key="b" * 20).setFormatter(formatter)
    gc.collect()
    for _ in range(20):
        handler.handle(logging.makeLogRecord({"name": "app", "msg": "sold"}))
    assert [r.getMessage() for r in caplog.records if r.name == "fslog"] == [
        "rules[0]: none of 20 records that it matches has {plna}"
    ]


@nested
def test_a_captured_handler_logs_it_too(caplog: pytest.LogCaptureFixture) -> None:
    """In a test the listener does not run, and the warning is no event of the test either."""
    rules = [{"when": {"logger": ""}, "event": {"action": "pageView", "plan": "{plna}"}}]
    root = logging.getLogger()
    with capture() as captured, context.bound(accountId="acme", userId="ann"):
        handler = FreshsuccessHandler(rules=rules)
        root.addHandler(handler)
        try:
            for _ in range(25):
                root.warning("sold")
        finally:
            root.removeHandler(handler)
        assert len(captured.events) == 25
    assert [r.getMessage() for r in caplog.records if r.name == "fslog"] == [
        "rules[0]: none of 20 records that it matches has {plna}"
    ]


def test_refused_events_are_reported(make: Make, collector: Collector) -> None:
    """Without room there is one problem for each event; then the handler works on."""
    told: list[Problem] = []
    collector.always(Answer(503))
    handler = make(buffer_bytes=1_000, compression=None, on_problem=told.append)
    logger = logger_of(handler)
    for number in range(20):
        logger.info("x", extra={**EVENT, "number": number})
    stats = balanced(handler)
    assert stats.refused > 0
    assert stats.accepted + stats.refused == 20
    assert len(told) == stats.refused
    assert {(p.code, p.property) for p in told} == {("refused", "")}
    assert "1000" in told[0].message
    assert told[-1].event is not None
    assert told[-1].event["number"] == 19
    collector.always(None)
    assert handler.flush(10)
    assert [event["number"] for event in collector.events] == list(range(stats.accepted))


def test_on_problem_may_fail(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An exception in it is passed to `handleError`, once per call; the log call returns."""
    failed: list[logging.LogRecord] = []

    def fail(problem: Problem) -> None:
        raise RuntimeError(f"cannot tell {problem.code}")

    handler = make(on_problem=fail)
    logger = logger_of(handler)
    logger.info("x", extra={**EVENT, "userId": ""})
    assert "cannot tell empty" in capsys.readouterr().err
    monkeypatch.setattr(handler, "handleError", failed.append)
    made = record({**EVENT, "userId": "", "accountId": ""})
    handler.handle(made)
    assert failed == [made, made]
    monkeypatch.undo()
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger.info("x", extra={**EVENT, "userId": ""})
    assert capsys.readouterr().err == ""
    logger.info("x", extra=EVENT)
    assert (balanced(handler).invalid, balanced(handler).accepted) == (3, 1)


def test_on_problem_may_log(make: Make) -> None:
    """Even an invalid event with two problems causes no recursion."""
    calls = 0

    def tell(problem: Problem) -> None:
        nonlocal calls
        calls += 1
        if calls < 200:  # otherwise a failure of this test would never end
            logger.warning("invalid as well", extra={"action": "pageView"})

    handler = make(on_problem=tell)
    logger = logger_of(handler)
    logger.info("x", extra={"action": "pageView"})
    assert calls < 100
    handler.handle(record())
    assert balanced(handler).accepted == 1


def test_a_line_may_be_as_long_as_a_batch(make: Make, collector: Collector) -> None:
    """The newline counts; with one byte more the event is invalid, with a problem."""
    told: list[Problem] = []
    made = record({**EVENT, "note": "é" * 100})
    size = len(EventFormatter().format(made).encode()) + 1
    handler = make(batch_bytes=size, on_problem=told.append)
    handler.handle(made)
    assert handler.flush()
    assert (told, len(collector.events)) == ([], 1)
    handler = make(batch_bytes=size - 1, on_problem=told.append)
    handler.handle(made)
    assert [(p.code, p.property) for p in told] == [("too_large", "")]
    assert str(size) in told[0].message
    assert str(size - 1) in told[0].message
    assert told[0].event is not None
    assert told[0].event["note"] == "é" * 100
    assert (balanced(handler).invalid, balanced(handler).accepted) == (1, 0)
    handler.handle(record())
    assert handler.flush()
    assert len(collector.events) == 2


def test_no_body_is_longer_than_batch_bytes(make: Make, collector: Collector) -> None:
    """Its size before compression counts."""
    handler = make(batch_bytes=1_000, flush_interval=60)
    for number in range(50):
        handler.handle(record({**EVENT, "note": "x" * (number * 13 % 600)}))
    assert handler.flush()
    assert len(collector.events) == 50
    assert max(request.bytes_unpacked for request in collector.requests) <= 1_000


class NoText:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class NoClass:
    @property
    def __class__(self) -> Any:
        raise RuntimeError("no")


def _made(extra: Mapping[str, Any], *without: str, **attributes: Any) -> logging.LogRecord:
    made = record(extra, **attributes)
    for name in without:
        del made.__dict__[name]
    return made


INVALID = {**EVENT, "userId": ""}
WARNED = {**EVENT, "action": "feature"}
DIFFICULT = {
    "no text": record({**EVENT, "x": NoText(), "userId": NoText()}),
    "no class": record({**EVENT, "x": NoClass(), "userId": NoClass()}),
    "a lazy failure": record({**EVENT, "userId": SimpleLazyObject(lambda: 1 / 0)}),
    "a lazy event": record({"event": SimpleLazyObject(lambda: 1 / 0)}),
    "no time": record(created=None),
    "an infinite time": record(created=math.inf),
    "a huge time": record({**EVENT, "createdAt": -(10**5000)}),
    "nothing": logging.makeLogRecord({}),
    "nothing but extras": logging.makeLogRecord({"event": INVALID}),
    **{
        f"{words} without {name}": _made(extra, name)
        for name in ("name", "msg", "args", "created", "filename", "lineno", "pathname", "levelno")
        for words, extra in (("valid", EVENT), ("invalid", INVALID), ("warned", WARNED), ("no", {}))
    },
}


@pytest.mark.parametrize("kind", DIFFICULT)
def test_a_log_call_returns(make: Make, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """Whatever the record is, it is counted once, and the handler works on."""
    handler = make(
        rules=[{"when": {"logger": "other", "message": "x"}, "event": {"action": "x"}}],
        on_problem=lambda problem: None,
    )
    handler.handle(DIFFICULT[kind])
    assert balanced(handler).emitted == 1
    handler.handle(record())
    assert balanced(handler).emitted == 2
    capsys.readouterr()


def test_a_formatter_that_raises_makes_the_event_invalid(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    """The event is invalid with the code `failed`; `handleError` shows the traceback."""

    class Broken(EventFormatter):
        def event(self, record: logging.LogRecord) -> dict[str, Any] | None:
            raise ZeroDivisionError("mine")

    told: list[Problem] = []
    handler = make(on_problem=told.append)
    handler.setFormatter(Broken())
    logger_of(handler).info("x", extra=EVENT)
    assert [(p.code, p.property) for p in told] == [("failed", "")]
    assert "ZeroDivisionError" in told[0].message
    assert "ZeroDivisionError: mine" in capsys.readouterr().err
    assert balanced(handler).invalid == 1


def test_an_invalid_event_does_not_call_handle_error(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The invalid event is counted and reported, and nothing is printed."""
    handler = make()
    failed: list[Any] = []
    monkeypatch.setattr(handler, "handleError", failed.append)
    handler.handle(record(INVALID))
    handler.handle(record(WARNED))
    assert failed == []


def test_a_formatter_may_raise_invalid_event(make: Make) -> None:
    """A subclass of EventFormatter has its own problems."""

    class Strict(EventFormatter):
        def event(self, record: logging.LogRecord) -> dict[str, Any] | None:
            raise InvalidEvent([Problem("mine", "page", "not this page")])

    told: list[Problem] = []
    handler = make(on_problem=told.append)
    handler.setFormatter(Strict())
    handler.handle(record())
    assert told == [Problem("mine", "page", "not this page")]


@nested
def test_a_value_may_log_while_it_is_encoded(make: Make, collector: Collector) -> None:
    """A log call inside a value's `__str__` is an event of its own, before the outer one."""

    class Chatty:
        def __str__(self) -> str:
            logger.info("inside", extra={**EVENT, "page": "inside"})
            return "text"

    handler = make(flush_interval=60)
    logger = logger_of(handler)
    logger.info("outside", extra={**EVENT, "page": Chatty()})
    assert handler.flush()
    assert [event["page"] for event in collector.events] == ["inside", "text"]


def test_handlers_of_one_logger_do_not_disturb_each_other(make: Make, collector: Collector) -> None:
    """Each handler makes its own event of a record."""
    first, second = make(defaults={"n": 1}), make(defaults={"n": 2})
    logger = logger_of(first)
    logger.addHandler(second)
    logger.info("x", extra={**EVENT, "tags": ["a"]})
    assert first.flush()
    assert second.flush()
    assert sorted(event["n"] for event in collector.events) == [1, 2]
    assert [event["tags"] for event in collector.events] == [["a"], ["a"]]


def test_a_log_call_does_not_wait_for_the_endpoint(make: Make, collector: Collector) -> None:
    """While a POST waits for its answer, events are accepted."""
    collector.script(Answer(delay=1.5))
    handler = make(batch_events=1, timeout=30)
    for number in range(100):
        handler.handle(record({**EVENT, "number": number}))
    stats = balanced(handler)
    assert (stats.accepted, stats.delivered) == (100, 0)
    assert handler.flush(0) is False
    assert handler.flush(30) is True
    assert [event["number"] for event in collector.events] == list(range(100))


def test_a_closed_handler_works_on(make: Make, collector: Collector) -> None:
    """Loggers may keep a handler that a second `dictConfig` closed; no event is lost."""
    handler = make()
    handler.handle(record())
    handler.close()
    handler.close()
    assert len(collector.events) == 1
    handler.handle(record())
    handler.handle(record())
    assert handler.flush()
    assert len(collector.events) == 3
    handler.close()


def test_many_threads_log_at_once(make: Make, collector: Collector) -> None:
    """Each event arrives once, those of a thread in order, and the balances hold."""
    handler = make(batch_events=17)
    logger = logger_of(handler)
    barrier = threading.Barrier(4)

    def work(who: int) -> None:
        barrier.wait(10)
        for number in range(200):
            logger.info("x", extra={**EVENT, "who": who, "number": number})
            logger.info("nothing of ours")
            logger.info("invalid", extra={"action": ""})

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert handler.flush(10)
    stats = balanced(handler)
    assert (stats.accepted, stats.skipped, stats.invalid) == (800, 800, 800)
    for who in range(4):
        numbers = [event["number"] for event in collector.events if event["who"] == who]
        assert numbers == list(range(200))


def test_nothing_shows_the_keys(make: Make) -> None:
    """Neither the handler's `repr` nor that of its parts."""
    handler = make(proxy="")
    handler.handle(record())
    assert handler.flush()
    held = [handler, vars(handler), handler.stats(), *vars(handler).values()]
    assert not any("s3cret" in f"{part!r} {part!s}" for part in held)
