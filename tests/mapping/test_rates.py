"""Events beyond the rate are not sent, and counted, whatever threads, forks and signals do."""

from __future__ import annotations

import logging
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from types import FrameType, MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fslog import EventFormatter, FreshsuccessHandler, Problem, identify
from fslog.collector import Collector
from fslog.mapping.rates import RateLimit, key_of
from memory import Memory
from spools import ended_well, fork

KEY = ("feature", "export")


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Model:
    """The same rule for one key, without any thought of threads."""

    def __init__(self, tokens: int, seconds: float) -> None:
        self.tokens, self.seconds = tokens, seconds
        self.left, self.ends_at = tokens, -1.0

    def allows(self, now: float) -> bool:
        if now >= self.ends_at:
            self.left, self.ends_at = self.tokens, now + self.seconds
        self.left -= 1
        return self.left >= 0


RATES = st.sampled_from([(0.25, 1, 4.0), (1, 1, 1.0), (2.5, 2, 0.8), (3, 3, 1.0)])
STEPS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0.0, 0.125, 0.5, 1.0, 4.0])))


@given(rate=RATES, steps=STEPS)
def test_each_action_and_feature_has_its_own_rate(
    rate: tuple[float, int, float], steps: list[tuple[str, float]]
) -> None:
    """At most the tokens of one bucket are used until it is filled, a second after the first; over
    any time there are no more than configured, and one bucket more."""
    per_second, tokens, seconds = rate
    clock = Clock()
    limit = RateLimit(per_second, clock=clock)
    models = {name: Model(tokens, seconds) for name in "ab"}
    allowed: dict[str, list[float]] = {"a": [], "b": []}
    for name, pause in steps:
        clock.now += pause
        is_allowed = limit.allows(("feature", name))
        assert is_allowed == models[name].allows(clock.now)
        if is_allowed:
            allowed[name].append(clock.now)
    for times in allowed.values():
        for at, first in enumerate(times):
            assert sum(one - first < seconds for one in times[at:]) <= 2 * tokens
        if times:
            assert len(times) <= per_second * (times[-1] - times[0]) + tokens


@pytest.fixture
def restless() -> Iterator[None]:
    """Make the interpreter switch threads as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_take_no_token_twice(restless: None) -> None:
    """Eight threads at once, over many fillings: each filling allows exactly its tokens."""
    clock = Clock()
    limit = RateLimit(50, clock=clock, limit=1_000)
    threads, calls = 8, 40
    for _ in range(30):
        clock.now += 10.0
        start = threading.Barrier(threads)
        allowed: list[bool] = []

        def work(start: threading.Barrier = start, allowed: list[bool] = allowed) -> None:
            start.wait(10)
            allowed.extend([limit.allows(KEY) for _ in range(calls)])

        running = [threading.Thread(target=work) for _ in range(threads)]
        for one in running:
            one.start()
        for one in running:
            one.join(20)
        assert Counter(allowed) == {True: 50, False: threads * calls - 50}


def test_threads_that_make_room_lose_no_bucket(restless: None) -> None:
    """While others need ever new buckets, a bucket that is in use is not made twice."""
    clock = Clock()
    limit = RateLimit(100, clock=clock, limit=200)
    start = threading.Barrier(4)
    allowed: list[bool] = []

    def others(number: int) -> None:
        start.wait(10)
        for at in range(2_000):
            limit.allows(("feature", f"{number} {at}"))
            allowed.append(limit.allows(KEY))

    running = [threading.Thread(target=others, args=(number,)) for number in range(4)]
    for one in running:
        one.start()
    for one in running:
        one.join(30)
    assert Counter(allowed) == {True: 100, False: 7_900}


def test_a_bucket_that_another_thread_has_made_is_used() -> None:
    """While a bucket is put into its place, others make room and one of its own: that counts."""
    limit = RateLimit(1, clock=Clock(), limit=4)
    allowed: list[bool] = []

    class Slow(dict[Any, Any]):
        """Buckets, where the other threads run before the first one gets its place."""

        def setdefault(self, key: Any, default: Any = None) -> Any:
            if not allowed:
                allowed.append(True)
                allowed.extend(limit.allows(("sale", str(number))) for number in range(3))
                allowed.append(limit.allows(KEY))
            return super().setdefault(key, default)

    limit._generation.buckets = Slow()
    assert limit.allows(KEY) is False
    assert allowed == [True] * 5


def test_the_number_of_buckets_is_bounded() -> None:
    """At most `limit` are kept, and the newest half always."""
    limit = RateLimit(1, clock=Clock(), limit=100)
    for number in range(10_000):
        assert limit.allows(("feature", str(number)))
        generation = limit._generation
        assert len(generation.buckets) + len(generation.before) <= 100
    assert not any(limit.allows(("feature", str(number))) for number in range(9_951, 10_000))


def test_an_exception_of_a_signal_handler_leaves_nothing_locked() -> None:
    """At each instruction of a decision one is raised: the next decisions are right."""
    stopped = 0
    for at in range(400):
        clock = Clock()
        limit = RateLimit(2, clock=clock)
        limit.allows(KEY)
        clock.now += 5.0
        left = at

        def interrupt(frame: FrameType, what: str, detail: Any) -> Any:
            nonlocal left
            if not frame.f_code.co_filename.endswith("rates.py"):
                return None
            frame.f_trace_opcodes = True
            if what == "opcode":
                left -= 1
                if left < 0:
                    raise KeyboardInterrupt
            return interrupt

        sys.settrace(interrupt)
        try:
            limit.allows(KEY)
        except KeyboardInterrupt:
            stopped += 1
        finally:
            sys.settrace(None)
        assert [limit.allows(KEY) for _ in range(4)].count(True) in (1, 2), at
        clock.now += 5.0
        assert [limit.allows(KEY) for _ in range(4)] == [True, True, False, False], at
    assert 30 < stopped < 400


class Hostile:
    """A value whose methods raise."""

    def __hash__(self) -> int:
        raise RuntimeError

    __eq__ = __str__ = __bool__ = __hash__  # type: ignore[assignment]


class Text(str):
    """A text that is equal to nothing."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError


@pytest.mark.parametrize("value", [None, 3, Hostile(), ["a"], {}])
def test_a_name_that_is_no_text_is_none(value: Any) -> None:
    """None of its methods is called."""
    assert key_of({"action": "sale", "feature": value}) == ("sale", "")


def test_a_subclass_of_a_text_is_that_text() -> None:
    """Its own methods do not decide which bucket it has."""
    assert type(key_of({"action": Text("sale")})[0]) is str


# The handler.


class App:
    """An application with a handler whose rate has a clock that stands still."""

    def __init__(self, collector: Collector, per_second: float | None = 5, **given: Any) -> None:
        self.problems: list[Problem] = []
        self.logger = logging.Logger("app")
        self.handler = FreshsuccessHandler(
            auth_key="a",
            api_key="b",
            endpoint=collector.url,
            max_per_second=per_second,
            on_problem=self.problems.append,
            flush_interval=600.0,
            rules=[{"when": {"message": "sold %s"}, "event": {"action": "sale"}}],
            **given,
        )
        if per_second is not None:
            self.clock = Clock()
            self.handler._rate = RateLimit(per_second, clock=self.clock)
            self.handler._use_formatter()
        self.logger.addHandler(self.handler)

    def use(self, feature: str, times: int = 1, **more: Any) -> None:
        """Log uses of a feature."""
        event = {"accountId": "a", "userId": "u", "action": "feature", "module": "m", **more}
        for _ in range(times):
            self.logger.info("used", extra={"event": {**event, "feature": feature}})

    def stats(self) -> Any:
        """Return the numbers, and check that they balance."""
        found = self.handler.stats()
        kept = found.skipped + found.excluded + found.invalid + found.refused + found.accepted
        assert found.emitted + found.derived == kept + found.limited
        return found


@pytest.fixture
def said() -> Iterator[Memory]:
    """Yield what is logged on the logger `fslog`."""
    logger, memory = logging.getLogger("fslog"), Memory()
    logger.addHandler(memory)
    yield memory
    logger.removeHandler(memory)


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Yield an endpoint."""
    with Collector() as made:
        yield made


def test_a_loop_that_logs(collector: Collector, said: Memory) -> None:
    """Of a thousand uses five arrive, in the first second; the others are counted, reported to
    `on_problem`, and said once for each action and feature; other features are not concerned."""
    app = App(collector)
    app.use("export", 1_000)
    app.use("save", 5)
    app.use("print", 7)
    for number in range(6):
        app.logger.info("sold %s", number, extra={"accountId": "a", "userId": "u"})
    app.logger.info("nothing")
    app.use("export", 1, accountId=None)
    stats = app.stats()
    assert (stats.accepted, stats.limited, stats.skipped, stats.invalid) == (20, 998, 1, 1)
    assert app.handler.flush(10.0)
    arrived = Counter(event.get("feature", "") for event in collector.events)
    assert arrived == {"export": 5, "save": 5, "print": 5, "": 5}
    limited = [problem for problem in app.problems if problem.code == "limited"]
    assert len(limited) == 998
    assert limited[0].event is not None
    assert limited[0].event["feature"] == "export"
    texts = [record.getMessage() for record in said.records]
    texts = [text for text in texts if "[limited]" in text]
    what = ["action 'feature' and feature 'export'", "action 'feature' and feature 'print'"]
    assert len(texts) == 3
    for text, named in zip(texts, [*what, "action 'sale' than max_per_second (5)"], strict=True):
        assert named in text
        assert "test_rates.py" in text
    app.clock.now += 1.0
    app.use("export", 6)
    assert app.stats().limited == 999
    assert app.handler.flush(10.0)
    assert len([record for record in said.records if "[limited]" in record.getMessage()]) == 3
    app.handler.close()


def test_an_invalid_event_takes_no_token(collector: Collector) -> None:
    """It is counted as invalid, and the events after it are allowed."""
    app = App(collector)
    app.use("export", 10, userId="")
    app.use("export", 5)
    stats = app.stats()
    assert (stats.invalid, stats.accepted, stats.limited) == (10, 5, 0)
    app.handler.close()


@pytest.mark.parametrize("action", ["identifyUser", "identifyAccount"])
def test_details_beyond_the_rate_are_sent_later(collector: Collector, action: str) -> None:
    """Many people who sign in at once are each identified, by the next call that is allowed."""
    app = App(collector)
    root = logging.getLogger()
    root.addHandler(app.handler)
    identify.forget()
    try:
        for _ in range(4):
            for number in range(12):
                ids = {"accountId": f"account {number}", "userId": f"user {number}"}
                identify.identify(action, ids, {"name": "a name"})
            app.clock.now += 1.0
    finally:
        root.removeHandler(app.handler)
    assert (app.stats().accepted, app.stats().limited) == (12, 7 + 2)
    assert app.handler.flush(10.0)
    assert len({event["userId"] for event in collector.events}) == 12
    app.handler.close()


@pytest.mark.parametrize(
    "event",
    [None, {"action": []}, {"action": "identifyUser", "userId": object()}, MappingProxyType({})],
)
def test_a_record_on_that_logger_that_is_of_the_application(event: Any) -> None:
    """Whatever it has as its event, its log call raises nothing when it is beyond the rate."""
    record = logging.LogRecord("fslog.events", logging.INFO, "a.py", 1, "used", (), None)
    record.event = event
    identify.not_sent(record)


def test_the_rate_limits_a_formatter_of_the_application_too(collector: Collector) -> None:
    """A subclass of `EventFormatter` with an `event` of its own, set later, is limited."""

    class Own(EventFormatter):
        def event(self, record: logging.LogRecord) -> dict[str, Any] | None:
            return {**(super().event(record) or {}), "own": True}

    handler = FreshsuccessHandler(
        auth_key="a", api_key="b", endpoint=collector.url, max_per_second=1e-6
    )
    handler.setFormatter(Own())
    logger = logging.Logger("app")
    logger.addHandler(handler)
    extra = {"accountId": "a", "userId": "u", "action": "sale"}
    for _ in range(3):
        logger.info("sold", extra=extra)
    assert (handler.stats().accepted, handler.stats().limited) == (1, 2)
    assert handler.flush(10.0)
    assert [event["own"] for event in collector.events] == [True]
    handler.close()


def test_a_forked_child_begins_with_full_buckets(collector: Collector) -> None:
    """And its parent's are as they were: each process has its own."""
    handler = FreshsuccessHandler(
        auth_key="a", api_key="b", endpoint=collector.url, max_per_second=1e-6
    )
    logger = logging.Logger("app")
    logger.addHandler(handler)
    extra = {"accountId": "a", "userId": "u", "action": "sale"}

    def log() -> tuple[int, int]:
        for _ in range(3):
            logger.info("sold", extra=extra)
        stats = handler.stats()
        return stats.accepted, stats.limited

    assert log() == (1, 2)

    def child() -> None:
        assert log() == (1, 2)
        assert handler.flush(10.0)

    assert ended_well(fork(child))
    assert log() == (1, 5)
    assert handler.flush(10.0)
    assert len(collector.events) == 2
    handler.close()


def test_without_a_rate_nothing_is_counted(collector: Collector) -> None:
    """By default records take the compiled encoders, and events are made by the formatter alone."""
    app = App(collector, None)
    assert app.handler._rate is None
    assert app.handler._fast_line is app.handler.formatter.fast_line
    assert app.handler._event == app.handler.formatter.allowed_event
    app.use("export", 100)
    assert (app.stats().accepted, app.stats().limited) == (100, 0)
    assert app.handler.flush(10.0)
    app.handler.close()
