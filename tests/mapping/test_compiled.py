"""Compiled encoders: a line has the same bytes as the formatter's, or there is none."""

from __future__ import annotations

import datetime
import decimal
import gc
import inspect
import linecache
import logging
import sys
import traceback
import uuid
from collections import UserDict
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import example, given
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
    """Return the record of a log call with some extras."""
    made = logging.LogRecord("app", 20, "app.py", 7, "said", (), None)
    made.created = created
    made.__dict__.update(extras)
    return made


def plain_line(formatter: EventFormatter, made: logging.LogRecord) -> bytes | None:
    """Return the line of the formatter's event; None if that is invalid, or has a warning."""
    try:
        event = formatter.event(made)
    except InvalidEvent:
        return None
    return None if event is None or schema.warnings(event) else encode(event)


def compiles(formatter: EventFormatter, made: logging.LogRecord) -> bool:
    """Show a record to the cache repeatedly; return whether it has compiled another encoder."""
    before = formatter.encoders.encoders.get(SITE)
    event = formatter.event(made)
    if event is None or schema.warnings(event):  # the handler does not show such a record
        return False
    for _ in range(64):
        compile_encoder = formatter.encoders.observe(made, context.current(), event["action"])
        if compile_encoder is not None:
            compile_encoder()
            break
    return formatter.encoders.encoders.get(SITE) is not before


def fast_line(formatter: EventFormatter, made: logging.LogRecord) -> bytes | None:
    """Return the line of the fast path, which the handler calls first."""
    assert formatter.fast_line is not None
    return formatter.fast_line(made)


def sources() -> list[str]:
    """Return the names of the encoders' sources, of all formatters."""
    gc.collect()
    return [name for name in linecache.cache if name.startswith("<fslog encoder ")]


ids = st.one_of(
    st.text(min_size=1, max_size=8),
    st.integers(),
    st.sampled_from(["", None, True, 1.5, "None", 0, "a@b.example", "ann"]),
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
def test_a_compiled_line_is_the_plain_line(
    configuration: dict[str, Any],
    first: dict[str, Any],
    second: dict[str, Any],
    within: dict[str, Any] | None,
    bound: dict[str, str],
    same: bool,
) -> None:
    """Whatever was compiled: a record's line is the plain one, or there is none."""
    formatter = EventFormatter(**configuration)
    shown = record(first if within is None else {**first, "event": within})
    asked = {**first, **second} if same else second
    with context.bound(**bound):
        try:
            compiles(formatter, shown)
        except InvalidEvent:
            return
        for made in (shown, record(asked if within is None else {**asked, "event": within})):
            line = fast_line(formatter, made)
            if line is not None:
                assert line == plain_line(formatter, made)


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
def test_usual_calls_are_compiled(extras: dict[str, Any]) -> None:
    """Strings, numbers, flags and None, flat and nested, with ids as strings or numbers."""
    formatter = EventFormatter()
    made = record(extras)
    assert compiles(formatter, made)
    assert fast_line(formatter, made) == plain_line(formatter, made) is not None


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
def test_a_record_that_differs_is_not_encoded(change: dict[str, Any]) -> None:
    """A value of another type, an empty id, NaN, another action, an extra: no line."""
    formatter = EventFormatter()
    extras = FEATURE | {"total": 1.5, "event": {"module": "m"}}
    assert compiles(formatter, record(extras))
    assert fast_line(formatter, record(extras)) is not None
    assert fast_line(formatter, record({**extras, **change})) is None


def test_a_time_that_looks_like_seconds_is_not_encoded() -> None:
    """A record of 1970 has a warning, which only the formatter gives."""
    formatter = EventFormatter()
    extras = FEATURE | {"event": {"module": "m"}}
    assert compiles(formatter, record(extras))
    for created in (5.0, float("nan"), float("inf"), 5, None):
        assert fast_line(formatter, record(extras, created)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("session", ["window", "idle", "given"])
@pytest.mark.parametrize(
    "ids",
    [
        *({"accountId": "None"}, {"userId": "-"}, {"userId": " Anonymous "}, {"accountId": 0}),
        *({"accountId": "ann"}, {"userId": "acme"}, {"accountId": "ann@acme.example"}),
    ],
    ids=str,
)
def test_ids_that_warn_are_not_encoded(ids: dict[str, Any], session: str) -> None:
    """Whatever derives the session: the formatter reports such ids each time."""
    formatter = EventFormatter(session="none" if session == "given" else session)
    extras = FEATURE | {"event": {"module": "m"}}
    if session == "given":
        extras["sessionId"] = "s"
    for kind in (str, int):  # a shape for each type of id
        assert compiles(formatter, record({**extras, "accountId": kind(7)}))
    assert compiles(formatter, record(extras)) is False
    assert fast_line(formatter, record(extras)) is not None
    for _ in range(3):
        assert fast_line(formatter, record({**extras, **ids})) is None


def test_an_attribute_less_and_an_extra_more_are_another_shape() -> None:
    """The number of attributes alone proves nothing."""
    formatter = EventFormatter()
    extras = FEATURE | {"event": {"module": "m"}}
    assert compiles(formatter, record(extras))
    made = record({**extras, "plan": "gold"})
    del made.processName
    assert fast_line(formatter, made) is None


def test_code_of_the_application_is_called_each_time() -> None:
    """If a provider, a field or a subclass decides, nothing is compiled."""

    class Mine(EventFormatter):
        def event(self, record: logging.LogRecord) -> dict[str, Any] | None:
            return super().event(record)

    made = record(FEATURE | {"event": {"module": "m"}})
    assert not compiles(EventFormatter(context_provider=lambda: {"product": "p"}), made)
    assert not compiles(EventFormatter(fields={"product": "name"}), made)
    assert compiles(EventFormatter(fields={"userId": "name"}), made)
    assert not compiles(Mine(), made)


@pytest.mark.parametrize(
    "configuration",
    [{"exclude": ["event"]}, {"exclude": ["e*"]}, {"fields": {"plan": "event.plan"}}],
    ids=str,
)
def test_an_event_extra_of_none_is_checked(
    configuration: dict[str, Any],
) -> None:
    """If `event=None` was compiled, a mapping in its place is not ignored."""
    formatter = EventFormatter(**configuration)
    flat = FEATURE | {"action": "pageView", "plan": "gold"}
    assert compiles(formatter, record({**flat, "event": None}))
    line = fast_line(formatter, record({**flat, "event": None}))
    assert line == plain_line(formatter, record({**flat, "event": None})) is not None
    for event in ({"userId": "carol", "feature": "f1"}, {}, UserDict(userId="carol"), "text", 0):
        assert fast_line(formatter, record({**flat, "event": event})) is None


@pytest.mark.parametrize(
    "defaults",
    [
        {"accountId": 7},
        {"accountId": uuid.UUID(int=5).int, "userId": -2},
        {"accountId": "zoë", "sessionId": 's"{}'},
        {"accountId": 7, "createdAt": 1_790_000_000_000},
        {"accountId": 7, "rate": 2.5, "flag": True, "none": None, "nan": float("nan")},
        {"accountId": "a\ud800", "huge": 10**5000},
    ],
    ids=lambda defaults: ",".join(defaults),
)
@pytest.mark.parametrize("session", ["window", "idle"])
def test_defaults_are_compiled(session: str, defaults: dict[str, Any]) -> None:
    """Default values of any kind, numeric ids included, are in the line as in the plain one."""
    formatter = EventFormatter(session=session, defaults={"userId": "nobody", **defaults})
    made = record({"action": "feature", "feature": "f", "event": {"module": "m"}})
    assert compiles(formatter, made)
    for _ in range(2):
        assert fast_line(formatter, made) == plain_line(formatter, made) is not None


@pytest.mark.parametrize("wrong", ["", None, True, 1.5, Text("t"), uuid.UUID(int=5), ["a"]])
def test_an_unusual_default_is_not_compiled(wrong: Any) -> None:
    """An invalid id, or one that is not exactly a string or a number, is left to the formatter."""
    made = record({"action": "feature", "feature": "f", "event": {"module": "m"}})
    for account, is_compiled in (("a", True), (wrong, False)):
        formatter = EventFormatter(defaults={"userId": "ann", "accountId": account})
        observed = [formatter.encoders.observe(made, {}, "feature") for _ in range(2)]
        compile_encoder = observed[-1]
        assert compile_encoder is not None
        compile_encoder()
        assert bool(formatter.encoders.encoders) is is_compiled


def test_a_name_with_a_lone_surrogate_is_not_compiled() -> None:
    """The encoder of plain lines replaces it each time."""
    assert not compiles(EventFormatter(), record(FEATURE | {"event": {"module": "m"}, "\ud800": 1}))


class Fickle(Mapping[str, Any]):
    """A mapping that can be read only once."""

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
def test_observing_never_raises(change: str) -> None:
    """Records that cannot be observed are still events, each time."""
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


def test_a_refused_line_is_reported_with_its_event() -> None:
    """`on_problem` receives the same event, compiled or not."""
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
        assert len(handler.formatter.encoders.encoders) == 1
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


def test_a_subclass_of_the_formatter_sees_every_record() -> None:
    """A subclass may make an event of what no rule matches: no record is skipped before it."""

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


def test_a_subclass_of_the_handler_sees_every_record() -> None:
    """A subclass that overrides `emit` gets each record."""

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
    """Bound names are part of the shape; the values are those bound at the call."""
    formatter = EventFormatter(defaults={"product": "core", "userId": "nobody"})
    extras = {"action": "feature", "feature": "f", "event": {"module": "m"}}
    with context.bound(accountId="acme"):
        assert compiles(formatter, record(extras))
    for account in ("acme", "other"):
        with context.bound(accountId=account):
            line = fast_line(formatter, record(extras))
            assert line == plain_line(formatter, record(extras)) is not None
    assert fast_line(formatter, record(extras)) is None
    with context.bound(accountId="acme", userId="ann"):
        assert fast_line(formatter, record(extras)) is None


def test_a_call_site_has_a_few_encoders() -> None:
    """A log call whose records always differ is no longer compiled after a while."""
    formatter, before = EventFormatter(), len(sources())
    compiled = 0
    for number in range(2_000):
        extras = FEATURE | {f"extra{number}": 1, "event": {"module": "m"}}
        compile_encoder = formatter.encoders.observe(record(extras), {}, "feature")
        if compile_encoder is not None:
            compiled += 1
            compile_encoder()
    assert compiled == len(sources()) - before == 4


def test_a_shape_keeps_no_values() -> None:
    """A property with ever new values does not accumulate memory."""
    formatter = EventFormatter()
    extras = FEATURE | {"event": {"module": "m"}}
    assert compiles(formatter, record(extras))
    encode_record: Any = formatter.encoders.encoders[SITE]
    before = {name: repr(value) for name, value in encode_record.__globals__.items()}
    for number in range(1_000):
        line = fast_line(formatter, record({**extras, "userId": f"user-{number}"}))
        assert line is not None
        assert b'"userId":"user-%d"' % number in line
    after = {name: repr(value) for name, value in encode_record.__globals__.items()}
    assert after == before


def test_a_shape_is_compiled_once() -> None:
    """The same shape, shown twice before it is compiled, makes one function."""
    formatter, made, before = EventFormatter(), record(FEATURE), len(sources())
    observed = [formatter.encoders.observe(made, {}, FEATURE["action"]) for _ in range(16)]
    compilations = [one for one in observed if one is not None]
    assert len(compilations) > 1
    for compile_encoder in compilations:
        compile_encoder()
    assert len(sources()) - before == 1


def test_a_traceback_shows_the_line_of_an_encoder() -> None:
    """Its source is known to `linecache`, and stays when that checks its files."""
    formatter = EventFormatter(defaults={"product": "core"})
    extras = {"action": "feature", "feature": "f", "event": {"module": "m"}}
    with context.bound(accountId="acme", userId="ann"):
        assert compiles(formatter, record(extras))
    encode_record: Any = formatter.encoders.encoders[SITE]
    linecache.checkcache()
    bound: Any = 5
    try:
        encode_record(record(extras).__dict__, 1.0, bound)
    except TypeError as error:
        *_, frame = traceback.extract_tb(error.__traceback__)
    assert frame.name == "encode_record"
    assert frame.filename.endswith(" for app.py:7>")
    assert (frame.line or "").startswith("if not (list(bound) == ")
    assert frame.line in "".join(traceback.format_list([frame]))


def test_a_debugger_steps_through_an_encoder() -> None:
    """Each line that runs is one of the source, from the first check to the return."""
    formatter = EventFormatter()
    made = record(FEATURE | {"event": {"module": "m"}})
    assert compiles(formatter, made)
    encode_record: Any = formatter.encoders.encoders[SITE]
    source = inspect.getsource(encode_record)
    stepped: list[str] = []

    def trace(frame: Any, event: str, _: Any) -> Any:
        if frame.f_code is not encode_record.__code__:
            return None
        if event == "line":
            stepped.append(linecache.getline(frame.f_code.co_filename, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        line = encode_record(made.__dict__, made.created, {})
    finally:
        sys.settrace(before)
    assert line == plain_line(formatter, made)
    assert stepped[0].strip().startswith("if not (list(attributes) == ")
    assert len(stepped) > 10
    assert all(each and each in source for each in stepped)


def test_sources_are_removed_with_their_formatter() -> None:
    """The next configuration removes what a replaced one left in `linecache`, and no other's.

    The garbage collector does not: it may run while `linecache` iterates over its entries.
    """
    gc.collect()
    EventFormatter()
    before = sources()
    made = record(FEATURE | {"event": {"module": "m"}})
    kept, gone = EventFormatter(), EventFormatter()
    assert compiles(kept, made)
    mine = sources()
    assert compiles(gone, made)
    both = sources()
    assert len(both) == len(mine) + 1 == len(before) + 2
    del gone
    assert sources() == both
    EventFormatter()
    assert sources() == mine


def test_the_endpoint_sees_no_difference() -> None:
    """Before and after it is compiled, a log call's events have the same properties."""
    log = logging.getLogger("compiled")
    log.propagate = False
    log.setLevel(logging.INFO)
    with Collector() as collector:
        handler = FreshsuccessHandler(auth_key="a1", api_key="b2", endpoint=collector.url)
        log.addHandler(handler)
        try:
            for number in range(300):
                if number % 50 == 0:
                    assert handler.flush(10)  # the listener has compiled what was requested
                extras = {**FEATURE, "total": number, "event": {"module": "m"}}
                log.info("said", extra=extras)
            assert handler.flush(10)
            assert len(handler.formatter.encoders.encoders) == 1
            stats = handler.stats()
            assert (stats.emitted, stats.accepted, stats.delivered) == (300, 300, 300)
        finally:
            log.removeHandler(handler)
            handler.close()
        assert [event["total"] for event in collector.events] == list(range(300))
        assert {tuple(event) for event in collector.events} == {tuple(collector.events[0])}
        assert collector.invalid == []
