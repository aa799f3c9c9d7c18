"""Lines at once: the same as the long way's, byte for byte, or none."""

from __future__ import annotations

import datetime
import decimal
import logging
import uuid
from collections import UserDict
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fslog import EventFormatter, InvalidEvent, context
from fslog.collector import Answer, Collector
from fslog.handler import FreshsuccessHandler
from fslog.mapping import schema
from fslog.mapping.encoding import encode

FEATURE = {"accountId": "acme", "userId": "ann", "action": "feature", "feature": "export"}
SITE = ("app.py", 7)


class Text(str):
    """A text that is not exactly a str."""


def record(extras: dict[str, Any], created: float = 1_790_000_000.1234) -> logging.LogRecord:
    """Make the record of a log call with such extras."""
    made = logging.LogRecord("app", 20, "app.py", 7, "said", (), None)
    made.created = created
    made.__dict__.update(extras)
    return made


def long_way(formatter: EventFormatter, made: logging.LogRecord) -> bytes | None:
    """Return the line that the formatter makes; None for an invalid event, or one that warns."""
    try:
        event = formatter.event(made)
    except InvalidEvent:
        return None
    return None if event is None or schema.warnings(event) else encode(event)


def learned(formatter: EventFormatter, made: logging.LogRecord) -> bool:
    """Show a record to the formatter's shapes as often as it takes; tell whether it is known."""
    shapes, attributes = formatter.shapes, made.__dict__
    before = len(shapes.of_site.get(SITE, ()))
    event = formatter.event(made)
    if event is None or schema.warnings(event):  # the handler learns nothing of such a one
        return False
    for _ in range(64):
        seen = shapes.example(SITE, attributes, context.current(), event["action"])
        if seen is not None:
            shapes.learn(SITE, seen)
            break
    return len(shapes.of_site.get(SITE, ())) > before


def at_once(formatter: EventFormatter, made: logging.LogRecord) -> bytes | None:
    """Return the line that one of the learned shapes makes."""
    for _, line_of in formatter.shapes.of_site.get(SITE, ()):
        try:
            line = line_of(made.__dict__, made.created, context.current())
        except Exception:
            continue
        if line is not None:
            return line
    return None


ids = st.one_of(
    st.text(min_size=1, max_size=8), st.integers(), st.sampled_from(["", None, True, 1.5])
)
atoms = st.one_of(
    st.text(max_size=8),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.sampled_from(["\ud800", "\u2028", '"', "\\", Text("t"), decimal.Decimal("1.5")]),
    st.sampled_from([[1], {"a": 1}, (1,), uuid.UUID(int=1), 10**400]),
)
names = st.sampled_from(
    ["feature", "module", "total", "product", "note", "sessionId", "createdAt", "event{}", "é"]
)
calls = st.fixed_dictionaries(
    {"accountId": ids, "userId": ids, "action": st.sampled_from(["feature", "moduleEnd", "", 5])},
).flatmap(lambda base: st.dictionaries(names, atoms, max_size=5).map(lambda more: base | more))
nested = st.dictionaries(st.sampled_from(["module", "total", "userId", "x"]), atoms, max_size=3)
configurations = st.fixed_dictionaries(
    {},
    optional={
        "session": st.sampled_from(["window", "none", "idle"]),
        "defaults": st.dictionaries(st.sampled_from(["product", "sessionId"]), atoms, max_size=2),
        "exclude": st.sampled_from([[], ["note"], ["*"]]),
        "fields": st.sampled_from([{}, {"userId": "name"}]),
    },
)


@settings(max_examples=600, deadline=None)
@given(
    configuration=configurations,
    first=calls,
    second=calls,
    within=st.none() | nested,
    bound=st.dictionaries(st.sampled_from(["userId", "product"]), st.text(max_size=3), max_size=2),
    same=st.booleans(),
)
@example(
    configuration={}, first=FEATURE, second=FEATURE, within={"module": "m"}, bound={}, same=True
)
def test_what_is_made_at_once_is_what_the_long_way_makes(
    configuration: dict[str, Any],
    first: dict[str, Any],
    second: dict[str, Any],
    within: dict[str, Any] | None,
    bound: dict[str, str],
    same: bool,
) -> None:
    """Whatever was learned: a record's line at once is the long way's, or there is none."""
    formatter = EventFormatter(**configuration)
    shown = record(first if within is None else {**first, "event": within})
    asked = {**first, **second} if same else second
    with context.bound(**bound):
        try:
            learned(formatter, shown)
        except InvalidEvent:
            return
        for made in (shown, record(asked if within is None else {**asked, "event": within})):
            line = at_once(formatter, made)
            if line is not None:
                assert line == long_way(formatter, made)


@pytest.mark.parametrize(
    "extras",
    [
        FEATURE | {"event": {"module": "reports"}},
        FEATURE | {"accountId": 7, "userId": 8, "event": {"module": "reports"}},
        FEATURE | {"event": {"module": "m", "total": 2.5, "flag": True, "none": None, "n": -3}},
        {"event": {**FEATURE, "module": "reports", "createdAt": 1_790_000_000_000}},
        FEATURE | {"sessionId": "s", "product": "café ☃", "event": {"module": 'a"b\\c'}},
        FEATURE | {"event": {"module": "reports"}, "otelTraceId": "5", "action": "own action"},
    ],
)
def test_usual_calls_are_made_at_once(extras: dict[str, Any]) -> None:
    """Texts, numbers, flags and None, flat and nested, with ids as texts or numbers."""
    formatter = EventFormatter()
    made = record(extras)
    assert learned(formatter, made)
    assert at_once(formatter, made) == long_way(formatter, made) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"accountId": ""},
        {"accountId": Text("acme")},
        {"accountId": 5},
        {"total": float("nan")},
        {"total": 1},
        {"total": True},
        {"action": "other"},
        {"feature": "\ud800"},
        {"another": 1},
        {"event": {"module": "m", "more": 1}},
        {"event": {}},
        {"event": None},
        {"createdAt": datetime.datetime.now(datetime.timezone.utc)},
    ],
)
def test_what_differs_goes_the_long_way(change: dict[str, Any]) -> None:
    """A value of another type, an empty id, NaN, another action, an extra: no line at once."""
    formatter = EventFormatter()
    extras = FEATURE | {"total": 1.5, "event": {"module": "m"}}
    assert learned(formatter, record(extras))
    assert at_once(formatter, record(extras)) is not None
    assert at_once(formatter, record({**extras, **change})) is None


def test_a_time_that_looks_like_seconds_goes_the_long_way() -> None:
    """A record of 1970 is warned of, so its line is not made at once; nor is one without a time."""
    formatter = EventFormatter()
    extras = FEATURE | {"event": {"module": "m"}}
    assert learned(formatter, record(extras))
    for created in (5.0, float("nan"), float("inf"), 5, None):
        assert at_once(formatter, record(extras, created)) is None  # type: ignore[arg-type]


def test_an_attribute_less_and_an_extra_more_are_another_shape() -> None:
    """The number of attributes alone proves nothing."""
    formatter = EventFormatter()
    extras = FEATURE | {"event": {"module": "m"}}
    assert learned(formatter, record(extras))
    made = record({**extras, "plan": "gold"})
    del made.processName
    assert at_once(formatter, made) is None


def test_another_mind_is_asked_each_time() -> None:
    """Where a provider, a field or a subclass has a say, nothing is made at once."""

    class Mine(EventFormatter):
        def event(self, record: logging.LogRecord) -> dict[str, Any] | None:
            return super().event(record)

    made = record(FEATURE | {"event": {"module": "m"}})
    assert not learned(EventFormatter(context_provider=lambda: {"product": "p"}), made)
    assert not learned(EventFormatter(fields={"product": "name"}), made)
    assert learned(EventFormatter(fields={"userId": "name"}), made)
    assert not learned(Mine(), made)


@pytest.mark.parametrize(
    "configuration",
    [{"exclude": ["event"]}, {"exclude": ["e*"]}, {"fields": {"plan": "event.plan"}}],
    ids=str,
)
def test_an_event_extra_that_is_no_property_counts_all_the_same(
    configuration: dict[str, Any],
) -> None:
    """Where `event=None` was learned, a mapping in its place is not passed over."""
    formatter = EventFormatter(**configuration)
    flat = FEATURE | {"action": "pageView", "plan": "gold"}
    assert learned(formatter, record({**flat, "event": None}))
    line = at_once(formatter, record({**flat, "event": None}))
    assert line == long_way(formatter, record({**flat, "event": None})) is not None
    for event in ({"userId": "carol", "feature": "f1"}, {}, UserDict(userId="carol"), "text", 0):
        assert at_once(formatter, record({**flat, "event": event})) is None


@pytest.mark.parametrize(
    "defaults",
    [
        {"accountId": 7},
        {"accountId": uuid.UUID(int=5).int, "userId": -1},
        {"accountId": "zoë", "sessionId": 's"{}'},
        {"accountId": 7, "createdAt": 1_790_000_000_000},
        {"accountId": 7, "rate": 2.5, "flag": True, "none": None, "nan": float("nan")},
        {"accountId": "a\ud800", "huge": 10**5000},
    ],
    ids=lambda defaults: ",".join(defaults),
)
@pytest.mark.parametrize("session", ["window", "idle"])
def test_defaults_are_made_at_once(session: str, defaults: dict[str, Any]) -> None:
    """Whatever may stand there, ids as numbers too, is in the line as on the long way."""
    formatter = EventFormatter(session=session, defaults={"userId": "nobody", **defaults})
    made = record({"action": "feature", "feature": "f", "event": {"module": "m"}})
    assert learned(formatter, made)
    for _ in range(2):
        assert at_once(formatter, made) == long_way(formatter, made) is not None


@pytest.mark.parametrize("wrong", ["", None, True, 1.5, Text("t"), uuid.UUID(int=5), ["a"]])
def test_a_default_that_needs_a_look_is_not_made_at_once(wrong: Any) -> None:
    """An id that is none, and one that is no plain text or number, is for the long way."""
    formatter = EventFormatter(defaults={"userId": "ann", "accountId": "a"})
    example = formatter.shapes.example
    made = record({"action": "feature", "feature": "f", "event": {"module": "m"}})
    other = EventFormatter(defaults={"userId": "ann", "accountId": wrong})
    seen = [example(SITE, made.__dict__, {}, "feature") for _ in range(2)][-1]
    assert seen is not None
    other.shapes.learn(SITE, seen)
    assert not other.shapes.of_site
    formatter.shapes.learn(SITE, seen)
    assert formatter.shapes.of_site


def test_a_name_that_no_line_can_hold_is_not_learned() -> None:
    """A half of a surrogate pair is replaced on the long way, each time."""
    assert not learned(EventFormatter(), record(FEATURE | {"event": {"module": "m"}, "\ud800": 1}))


class Fickle(Mapping[str, Any]):
    """A mapping that can be read once, and then not again."""

    def __init__(self) -> None:
        self.reads = 0

    def __getitem__(self, name: str) -> Any:
        return {"module": "m"}[name]

    def __iter__(self) -> Iterator[str]:
        self.reads += 1
        if self.reads > 1:
            raise RuntimeError("it was read before")
        return iter(["module"])

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize("change", ["a fickle mapping", "no place", "no place at all"])
def test_learning_never_reaches_the_application(change: str) -> None:
    """Records that nothing can be learned of, as often as they come, are events all the same."""
    with Collector() as collector:
        handler = FreshsuccessHandler(auth_key="a1", api_key="b2", endpoint=collector.url)
        for _ in range(20):
            made = record(FEATURE | {"event": {"module": "m"}})
            if change == "a fickle mapping":
                made.__dict__["event"] = Fickle()
            elif change == "no place":
                made.__dict__["pathname"] = []
            else:
                del made.__dict__["pathname"]
            handler.handle(made)
        assert handler.flush(10)
        handler.close()
        assert len(collector.events) == 20


def test_what_is_refused_at_once_is_told_with_its_event() -> None:
    """`on_problem` is shown the same event whether its line was made at once or the long way."""
    told: list[Any] = []
    with Collector() as collector:
        handler = FreshsuccessHandler(
            auth_key="a1",
            api_key="b2",
            endpoint=collector.url,
            batch_bytes=1_000,
            buffer_bytes=1_000,
            on_problem=told.append,
        )
        handler.handle(record(FEATURE | {"event": {"module": "m"}}))
        for _ in range(3):
            handler.handle(record(FEATURE | {"event": {"module": "m"}}))
            assert handler.flush(10)
        assert len(handler.formatter.shapes.of_site) == 1
        collector.always(Answer(503))
        for _ in range(50):
            handler.handle(record(FEATURE | {"event": {"module": "m"}}))
        assert len(told) == handler.stats().refused > 10
        assert {problem.code for problem in told} == {"refused"}
        expected = handler.formatter.event(record(FEATURE | {"event": {"module": "m"}}))
        assert all(problem.event == expected for problem in told)
        collector.always(None)
        assert handler.flush(10)
        handler.close()


def test_a_formatter_of_ones_own_sees_every_record() -> None:
    """A subclass may make an event of what no rule fits; so no record is skipped before it."""

    class Mine(EventFormatter):
        def event(self, record: logging.LogRecord) -> dict[str, Any] | None:
            return {**FEATURE, "createdAt": 1_790_000_000_000, "sessionId": "s", "module": "m"}

    with Collector() as collector:
        handler = FreshsuccessHandler(auth_key="a1", api_key="b2", endpoint=collector.url)
        handler.setFormatter(Mine())
        for _ in range(10):
            handler.handle(record({}))
        assert handler.flush(10)
        handler.close()
        assert (handler.stats().skipped, len(collector.events)) == (0, 10)


def test_a_handler_of_ones_own_is_asked_about_every_record() -> None:
    """A subclass whose `emit` has a mind of its own is given each record, known or not."""

    class Picky(FreshsuccessHandler):
        asked = 0

        def emit(self, record: logging.LogRecord) -> None:
            self.asked += 1
            super().emit(record)

    with Collector() as collector:
        handler = Picky(auth_key="a1", api_key="b2", endpoint=collector.url)
        for _ in range(50):
            handler.handle(record(FEATURE | {"event": {"module": "m"}}))
            handler.handle(record({}))
        assert handler.flush(10)
        handler.close()
        assert (handler.asked, handler.stats().skipped, len(collector.events)) == (100, 50, 50)


def test_what_is_bound_is_in_the_line() -> None:
    """Context makes a shape of its own, with the values that are bound at the call."""
    formatter = EventFormatter(defaults={"product": "core", "userId": "nobody"})
    extras = {"action": "feature", "feature": "f", "event": {"module": "m"}}
    with context.bound(accountId="acme"):
        assert learned(formatter, record(extras))
    for account in ("acme", "other"):
        with context.bound(accountId=account):
            line = at_once(formatter, record(extras))
            assert line == long_way(formatter, record(extras)) is not None
    assert at_once(formatter, record(extras)) is None
    with context.bound(accountId="acme", userId="ann"):
        assert at_once(formatter, record(extras)) is None


def test_a_place_has_a_few_shapes_and_few_tries() -> None:
    """A log call that is different each time is left alone after a while."""
    formatter = EventFormatter()
    tries = 0
    for number in range(2_000):
        extras = FEATURE | {f"extra{number}": 1, "event": {"module": "m"}}
        seen = formatter.shapes.example(SITE, record(extras).__dict__, {}, "feature")
        if seen is not None:
            tries += 1
            formatter.shapes.learn(SITE, seen)
    assert len(formatter.shapes.of_site[SITE]) == 4
    assert tries == 4


def test_a_shape_keeps_no_values() -> None:
    """A property of endlessly many values takes no memory that stays."""
    formatter = EventFormatter()
    extras = FEATURE | {"event": {"module": "m"}}
    assert learned(formatter, record(extras))
    ((_, line_of),) = formatter.shapes.of_site[SITE]
    before = {name: repr(value) for name, value in line_of.__globals__.items()}  # type: ignore[attr-defined]
    for number in range(1_000):
        line = at_once(formatter, record({**extras, "userId": f"user-{number}"}))
        assert line is not None
        assert b'"userId":"user-%d"' % number in line
    after = {name: repr(value) for name, value in line_of.__globals__.items()}  # type: ignore[attr-defined]
    assert after == before


def test_a_shape_is_learned_once() -> None:
    """The same example, shown twice before it was learned, makes one function."""
    formatter = EventFormatter()
    made = record(FEATURE)
    seen = [formatter.shapes.example(SITE, made.__dict__, {}, FEATURE["action"]) for _ in range(16)]
    examples = [example for example in seen if example is not None]
    assert len(examples) > 1
    for one in examples:
        formatter.shapes.learn(SITE, one)
    assert len(formatter.shapes.of_site[SITE]) == 1


def test_a_handler_learns_and_the_endpoint_sees_no_difference() -> None:
    """Before and after its shape is known, a log call's events have the same properties."""
    log = logging.getLogger("shapes")
    log.propagate = False
    log.setLevel(logging.INFO)
    with Collector() as collector:
        handler = FreshsuccessHandler(auth_key="a1", api_key="b2", endpoint=collector.url)
        log.addHandler(handler)
        try:
            for number in range(300):
                if number % 50 == 0:
                    assert handler.flush(10)  # the listener has learned what it was asked to
                extras = {**FEATURE, "total": number, "event": {"module": "m"}}
                log.info("said", extra=extras)
            assert handler.flush(10)
            assert len(handler.formatter.shapes.of_site) == 1
            stats = handler.stats()
            assert (stats.emitted, stats.accepted, stats.delivered) == (300, 300, 300)
        finally:
            log.removeHandler(handler)
            handler.close()
        assert [event["total"] for event in collector.events] == list(range(300))
        assert {tuple(event) for event in collector.events} == {tuple(collector.events[0])}
        assert collector.invalid == []
