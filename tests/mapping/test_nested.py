"""Where an explicit event may stand: the extras `event` and `extra`, and the message."""

from __future__ import annotations

import importlib
import json
import logging
import operator
from collections import OrderedDict, UserDict
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fslog import EventFormatter, FreshsuccessHandler, InvalidEvent, context
from fslog.mapping.nested import PLACES
from fslog.testing import Capture

USE = {"action": "feature", "module": "reports", "feature": "export"}
WHO = {"accountId": "acme", "userId": "ann"}
ALL = list(PLACES)


def record(msg: Any = "exported", args: Any = (), **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("app", logging.INFO, "/srv/app.py", 7, msg, args, None)
    made.__dict__.update(extra)
    return made


def event_of(made: logging.LogRecord, nested: Any = ALL, **arguments: Any) -> dict[str, Any] | None:
    """Return the event, without what is derived; the fast path agrees that there is one."""
    formatter = EventFormatter(nested=nested, **arguments)
    event = formatter.event(made)
    assert formatter.fast_line is not None
    line = formatter.fast_line(made)
    assert line is None or (line == b"") is (event is None)
    if event is not None:
        assert event.pop("createdAt")
        assert event.pop("sessionId")
    return event


@pytest.mark.parametrize(
    ("place", "made"),
    [
        ("event", record(event={**WHO, **USE})),
        ("extra", record(extra={**WHO, **USE})),
        ("extra", record(extra=UserDict({**WHO, **USE}))),
        ("extra", record(extra={**WHO, "event": USE})),
        ("message", record({**WHO, **USE})),
        ("message", record(OrderedDict({**WHO, **USE}))),
        ("message", record({"event": "exported", "level": "info", **WHO, **USE})),
        ("message", record({"event": USE, "timestamp": "2026", "logger": "app", **WHO})),
        ("message", record({"event": "exported", "extra": USE, **WHO})),
        ("message", record(json.dumps({"event": "exported", **WHO, **USE}))),
    ],
)
def test_an_event_stands_in_one_place(place: str, made: logging.LogRecord) -> None:
    """It is found if the place is named, and only then."""
    expected = {**WHO, **USE}
    for nested in ([place], ALL, ALL[::-1], ["event", place]):
        assert event_of(made, nested) == expected
    assert event_of(made, [one for one in PLACES if one != place]) is None
    assert (event_of(made, None) is None) is True
    assert (event_of(made, ["event"]) == expected) is (place == "event")


def test_the_first_place_that_has_an_action_counts() -> None:
    """The order is that of the configuration; a flat action is explicit before all others."""
    made = record(
        json.dumps({**WHO, "action": "by message"}),
        event={**WHO, "action": "by event"},
        extra={**WHO, "action": "by extra"},
    )
    for nested in (["event", "extra"], ["extra", "message"], ["message", "event"]):
        event = event_of(made, nested)
        assert event is not None
        assert event["action"] == f"by {nested[0]}"
    made = record(json.dumps({**WHO, "action": "by message"}), **WHO, action="flat", extra=USE)
    event = event_of(made, ["message", "extra", "event"])
    assert event is not None
    assert (event["action"], event["extra"]) == ("flat", USE)


def test_context_and_defaults_complete_it() -> None:
    """Its own properties win, as in any explicit event; rules do not apply."""
    made = record(extra={**USE, "product": "own"})
    with context.bound(userId="ann", product="bound"):
        event = event_of(
            made,
            defaults={"accountId": "acme"},
            rules=[{"when": {"logger": "app"}, "event": {"action": "ruled"}}],
        )
    assert event == {**WHO, **USE, "product": "own"}


def test_without_an_action_it_is_no_event() -> None:
    """The extra `event` still adds to an event of a rule; the other places do not."""
    assert event_of(record({"event": "exported", **WHO}, extra=WHO)) is None
    rules = [{"when": {"logger": "app"}, "event": USE}]
    made = record({"rows": 1}, event={"total": 3}, extra={"rows": 2})
    assert event_of(made, rules=rules, defaults=WHO) == {**WHO, **USE, "total": 3}
    assert event_of(made, ["extra"], rules=rules, defaults=WHO) == {**WHO, **USE}


def test_what_is_a_property() -> None:
    """All keys but those of `exclude`, and but what structlog says of the log call."""
    more = {"_logger": "x", "dd.trace_id": "x", "otelSpanID": "x", "rows": 3}
    dict_of_structlog = {
        "event": "exported",
        "level": "info",
        "timestamp": "2026-11-29T11:40:47Z",
        "logger": "app",
        "exception": "Traceback",
        "lineno": 3,
    }
    expected = {**WHO, **USE, "rows": 3}
    assert event_of(record({**dict_of_structlog, **more, **WHO, **USE})) == expected
    assert event_of(record(extra={**more, **WHO, **USE})) == expected
    found = event_of(record(extra={"level": "gold", **WHO, **USE}))
    assert found == {**WHO, **USE, "level": "gold"}
    made = record({"level": "info", **WHO, **USE})
    assert event_of(made, exclude=["feature"]) == {**WHO, "action": "feature", "module": "reports"}


@pytest.mark.parametrize(
    ("message", "args"),
    [
        ('{"action": "feature"', ()),
        ('{"action": "feature"} ', (1,)),
        ('["action"]', ()),
        ('{"a": "action"}', ()),
        (' {"action": "feature"}', ()),
        ('{"action": ' + "[" * 30_000, ()),
        ('{"action": "feature", "x": "' + "x" * 70_000 + '"}', ()),
        ('prefix {"action": "feature"}', ()),
        ([("action", "feature")], ()),
        (None, ()),
        (5, ()),
    ],
    ids=range(11),
)
def test_other_messages_are_no_events(message: Any, args: Any) -> None:
    """Text that is no JSON object, or has arguments to be filled in, and any other message."""
    assert event_of(record(message, args), defaults=WHO) is None


@given(st.text(max_size=40))
def test_any_text_is_a_message(text: str) -> None:
    """Nothing raises."""
    assert event_of(record("{" + text + '"action"}'), defaults=WHO) is None


def test_an_extra_that_cannot_be_read_is_invalid() -> None:
    """As an extra `event` is: it might have named the user."""

    class Broken(Mapping[str, Any]):
        def __getitem__(self, key: str) -> Any:
            raise RuntimeError("no")

        def __iter__(self) -> Iterator[str]:
            raise RuntimeError("no")

        def __len__(self) -> int:
            raise RuntimeError("no")

    formatter = EventFormatter(nested=ALL)
    made = record(extra=Broken())
    with pytest.raises(InvalidEvent, match="the extra extra cannot be read: RuntimeError"):
        formatter.event(made)
    assert formatter.fast_line is not None
    assert formatter.fast_line(made) is None
    assert event_of(record(extra=5)) is None


def test_a_record_without_a_message_is_no_event() -> None:
    """The fast path leaves it to `event`, which skips it."""
    made = record()
    del made.msg
    formatter = EventFormatter(nested=ALL)
    assert formatter.fast_line is not None
    assert formatter.fast_line(made) is None


@pytest.mark.parametrize(
    ("nested", "words"),
    [
        (["evnt"], ["nested", "'evnt'", "did you mean 'event'?"]),
        ("event", ["nested", "str"]),
        ([5], ["nested", "5"]),
        ([""], ["nested", "empty"]),
    ],
)
def test_a_wrong_place_is_an_error(nested: Any, words: list[str]) -> None:
    """It names the argument, its value and what is allowed."""
    with pytest.raises((ValueError, TypeError)) as caught:
        EventFormatter(nested=nested)
    for word in words:
        assert word in str(caught.value)


def handler() -> FreshsuccessHandler:
    return FreshsuccessHandler(nested=ALL)


def events(freshsuccess: Capture) -> list[dict[str, Any]]:
    assert freshsuccess.problems == []
    derived = ("createdAt", "sessionId")
    return [
        {name: event[name] for name in event if name not in derived}
        for event in freshsuccess.events
    ]


@pytest.mark.needs("structlog>=25")
@pytest.mark.parametrize(
    "last",
    [
        "stdlib.ProcessorFormatter.wrap_for_formatter",
        "processors.JSONRenderer",
        "stdlib.render_to_log_kwargs",
    ],
)
def test_structlog_needs_no_rules(last: str, freshsuccess: Capture) -> None:
    """A call with an action is an event, with what was bound, and without structlog's own keys."""
    structlog: Any = importlib.import_module("structlog")
    processor = operator.attrgetter(last)(structlog)
    is_flat = last == "stdlib.render_to_log_kwargs"
    added = [] if is_flat else [structlog.stdlib.add_log_level, structlog.processors.TimeStamper()]
    logger = logging.Logger("shop")
    logger.addHandler(handler())
    log = structlog.wrap_logger(
        logger,
        processors=[*added, processor() if last.endswith("Renderer") else processor],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    log = log.bind(**WHO)
    log.info("opened")
    log.info("exported", extra={**USE, "rows": 3})
    flat = {"action": "feature", "feature": "share"}  # `module` would be a KeyError of logging
    log.info("shared", **flat if is_flat else {**USE, **flat})
    assert events(freshsuccess) == [
        {**WHO, **USE, "rows": 3},
        {**WHO, **flat} if is_flat else {**WHO, **USE, **flat},
    ]


@pytest.mark.needs("loguru>=0.7")
def test_loguru_needs_no_rules(freshsuccess: Capture) -> None:
    """What `bind` binds is an event, if it has an action."""
    logger: Any = importlib.import_module("loguru").logger
    logger.remove()
    number = logger.add(handler(), format="{message}")
    try:
        logger.info("started")
        user = logger.bind(**WHO)
        user.info("opened {}", 5)
        user.bind(**USE).info("exported {} rows", 3)
        user.info("shared", **{**USE, "feature": "share"})
        user.bind(event={**USE, "feature": "print"}).info("printed")
    finally:
        logger.remove(number)
    assert events(freshsuccess) == [
        {**WHO, **USE, "feature": feature} for feature in ("export", "share", "print")
    ]
