"""Records that are shared, copied, pickled, subclassed, incomplete, or change meanwhile."""

from __future__ import annotations

import copy
import io
import logging
import logging.handlers
import pickle
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from fslog import EventFormatter, context
from fslog.mapping.paths import RECORD_ATTRIBUTES
from memory import Memory

WHO = {"accountId": "acme", "userId": "ann"}
FLAT = {**WHO, "action": "feature", "feature": "export"}
RULES = [
    {
        "when": {"logger": "app", "message": "exported %s rows"},
        "event": {"action": "feature", "feature": "export", "total": "{args.0}"},
    },
    {
        "when": {"logger": "app", "message": r"/^exported (?P<n>\d+) rows$/"},
        "event": {"action": "feature", "feature": "export", "total": "{n:int}"},
    },
]
OWN = {"createdAt", "sessionId"}


def record(extra: dict[str, Any] | None = None, msg: str = "exported %s rows") -> logging.LogRecord:
    return logging.Logger("app").makeRecord(
        "app.x", logging.INFO, "/srv/app.py", 7, msg, (3,), None, extra=extra
    )


def properties(made: logging.LogRecord, **arguments: Any) -> dict[str, Any]:
    """Return the event of a record, without the time and the session."""
    event = EventFormatter(rules=RULES, **arguments).event(made)
    assert event is not None
    return {name: value for name, value in event.items() if name not in OWN}


def test_attributes_of_any_python_are_not_extras() -> None:
    """A record that Python 3.12 made and 3.10 reads has a `taskName`, which is not an extra."""
    made = record(FLAT)
    for name in RECORD_ATTRIBUTES:
        made.__dict__.setdefault(name, f"<{name}>")
    assert properties(made, exclude=[]) == FLAT
    ruled = record({**WHO, "taskName": "<task>"} if sys.version_info < (3, 12) else WHO)
    assert set(properties(ruled, include=["*"])) == {*WHO, "action", "feature", "total"}


@pytest.mark.parametrize("seen_before", [False, True])
def test_the_formatting_of_another_handler_changes_nothing(seen_before: bool) -> None:
    """Formatters set `message`, `asctime` and `exc_text` on the record that all handlers share."""
    plain = record(FLAT)
    expected = EventFormatter().format(plain)
    try:
        raise ValueError("secret")
    except ValueError:
        plain.exc_info = sys.exc_info()
    if seen_before:
        logging.Formatter("%(asctime)s %(message)s %(taskName)s", defaults={"taskName": ""}).format(
            plain
        )
        assert "asctime" in plain.__dict__
    assert EventFormatter().format(plain) == expected
    assert properties(record(WHO)) == properties(plain, exclude=[]) | {"total": 3}


def test_other_handlers_get_the_record_as_it_was_made() -> None:
    """Handlers before and after the formatter see the same record."""
    logger, first, last = logging.Logger("app"), Memory(), Memory()
    stream = logging.StreamHandler(io.StringIO())
    stream.setFormatter(EventFormatter())
    stream.addFilter(EventFormatter())
    states: list[dict[str, Any]] = []
    for handler, note in ((first, True), (stream, False), (last, True)):
        if note:
            handler.addFilter(lambda seen: states.append(copy.deepcopy(seen.__dict__)) or True)
        logger.addHandler(handler)
    logger.info("exported %s rows", 3, extra={**WHO, "event": {"action": "feature", "x": [1]}})
    assert first.records[0] is last.records[0]
    assert states[0] == states[1]
    assert stream.stream.getvalue().count("\n") == 1
    stream.close()


@contextmanager
def through_a_queue(target: logging.Handler) -> Iterator[logging.Logger]:
    """Yield a logger whose records reach the handler by QueueHandler and QueueListener."""
    between: queue.SimpleQueue[Any] = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(between)  # type: ignore[arg-type]
    listener = logging.handlers.QueueListener(between, target)  # type: ignore[arg-type]
    logger = logging.Logger("app.x")
    logger.addHandler(handler)
    listener.start()
    try:
        yield logger
    finally:
        listener.stop()
        handler.close()


def test_records_that_went_through_a_queue() -> None:
    """Their extras are complete, their message is formatted and their arguments are gone."""
    memory = Memory()
    with through_a_queue(memory) as logger, context.bound(userId="bound"):
        logger.info("exported %s rows", 3, extra=FLAT)
        logger.info("exported %s rows", 4, extra={"event": {**FLAT, "module": "reports"}})
        logger.info("exported %s rows", 5, extra=WHO)
        logger.info("imported %s rows", 6, extra=WHO)
    explicit, nested, ruled, none = memory.records
    assert properties(explicit, exclude=[]) == FLAT
    assert properties(nested) == {**FLAT, "module": "reports"}
    assert properties(ruled) == {**FLAT, "total": 5}
    assert EventFormatter(rules=RULES).event(none) is None


@pytest.mark.parametrize(
    "travel",
    [
        copy.copy,
        copy.deepcopy,
        lambda made: pickle.loads(pickle.dumps(made)),
        lambda made: logging.makeLogRecord(made.__dict__),
        lambda made: logging.makeLogRecord(dict(reversed(made.__dict__.items()))),
        lambda made: logging.makeLogRecord(pickle.loads(pickle.dumps(made.__dict__))),
    ],
    ids=["copy", "deepcopy", "pickle", "makeLogRecord", "reversed", "socket"],
)
def test_a_copy_gives_the_same_event(travel: Callable[[logging.LogRecord], Any]) -> None:
    """A record may be copied, pickled, or made again by `makeLogRecord`."""
    formatter = EventFormatter(rules=RULES, include=["sku"])
    for extra in (FLAT, {"event": FLAT}, {**WHO, "sku": 1}):
        made = record(extra)
        arrived = travel(made)
        assert arrived is not made
        assert formatter.event(arrived) == formatter.event(made)


def test_a_record_of_few_attributes() -> None:
    """`makeLogRecord` with the extras only gives a record without a logger and a level."""
    made = logging.makeLogRecord(FLAT)
    assert properties(made) == FLAT
    assert EventFormatter(rules=RULES).event(logging.makeLogRecord(WHO)) is None


class After(logging.LogRecord):
    """Add attributes after the standard ones."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tenant = "t"
        self._internal = 1


class Before(logging.LogRecord):
    """Add attributes before the standard ones."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.tenant = "t"
        self._internal = 1
        super().__init__(*args, **kwargs)


class Around(logging.LogRecord):
    """Add an attribute and delete another one, so that the number is the usual one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.tenant = "t"
        super().__init__(*args, **kwargs)
        del self.exc_text


class Shuffled(logging.LogRecord):
    """Set the standard attributes in another order."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.process = self.args = self.taskName = None
        self.tenant = "t"
        super().__init__(*args, **kwargs)
        del self.name
        self.name = args[0]


class Slim(logging.LogRecord):
    """Delete most of the standard attributes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in RECORD_ATTRIBUTES - {"name", "msg", "args", "created"}:
            self.__dict__.pop(name, None)
        self.tenant = "t"


class Computed(logging.LogRecord):
    """Have a property and a slot."""

    __slots__ = ("own",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.own = 5
        self.tenant = "t"

    @property
    def costly(self) -> str:
        raise AssertionError("nothing reads this")


KINDS = [After, Before, Around, Shuffled, Slim, Computed]


@contextmanager
def made_by(factory: Any) -> Iterator[None]:
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(factory)
    try:
        yield
    finally:
        logging.setLogRecordFactory(before)


@pytest.mark.parametrize("kind", KINDS)
def test_records_of_a_subclass(kind: type[logging.LogRecord]) -> None:
    """What a subclass adds is an extra, at any position among the attributes; none is lost."""
    with made_by(kind):
        assert properties(record(FLAT)) == {**FLAT, "tenant": "t"}
        assert properties(record({"event": FLAT})) == {**FLAT, "tenant": "t"}
        ruled = record({**WHO, "sku": 1})
        assert properties(ruled) == {**FLAT, "total": 3}
        assert properties(ruled, include=["tenant"]) == {**FLAT, "total": 3, "tenant": "t"}
        assert properties(record(FLAT), fields={"plan": "tenant"}) == {**FLAT, "plan": "t"}


def test_an_extra_between_the_standard_attributes_is_found() -> None:
    """A subclass may set one before the standard attributes, and delete one of these."""

    class Early(logging.LogRecord):
        def __init__(self, name: str, *args: Any) -> None:
            self.name = name
            self.tenant = "early"
            super().__init__(name, *args)

    made = Early("app", 20, "app.py", 7, "said", (), None)
    made.__dict__.update(accountId="acme", userId="ann", action="pageView")
    for name in ("lineno", "msecs", "processName"):
        event = EventFormatter().event(made)
        assert event is not None
        assert event.get("tenant") == "early"
        delattr(made, name)


def test_a_factory_may_add_to_every_record() -> None:
    """A function that wraps the class, as in logging's cookbook."""

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        made = logging.LogRecord(*args, **kwargs)
        made.request = SimpleNamespace(user="ann")
        return made

    with made_by(factory):
        made = record({"accountId": "acme"})
        assert properties(made, fields={"userId": "request.user"}) == {**FLAT, "total": 3}


@pytest.mark.parametrize(
    "name", sorted(RECORD_ATTRIBUTES - {"name", "msg", "args", "created", "message", "asctime"})
)
def test_a_record_without_one_standard_attribute(name: str) -> None:
    """A deleted attribute changes nothing about the extras."""
    made, ruled = record(FLAT), record(WHO)
    made.__dict__.pop(name, None)
    ruled.__dict__.pop(name, None)
    assert properties(made) == FLAT
    assert properties(ruled) == {**FLAT, "total": 3}


def test_unusual_names_of_extras() -> None:
    """A name need not be an identifier, nor a string."""
    made = record({**FLAT, "x-y": 1, "": 2, "é": 3, "with space": 4})
    made.__dict__[5] = 6  # type: ignore[index]
    event = properties(made)
    assert {name: event[name] for name in ("x-y", "", "é", "with space")} == {
        "x-y": 1,
        "": 2,
        "é": 3,
        "with space": 4,
    }
    assert '"5":6' in EventFormatter().format(made)


@pytest.mark.parametrize("kind", [logging.LogRecord, Before])
def test_another_thread_changes_the_record_meanwhile(kind: type[logging.LogRecord]) -> None:
    """A formatter in a QueueListener's thread sets attributes while the event is made."""
    with made_by(kind):
        made = record({**FLAT, **{f"x{number}": number for number in range(50)}})
    stop = threading.Event()
    started = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            made.__dict__[f"message{number % 300}"] = number
            made.__dict__.pop(f"message{(number * 7) % 300}", None)
            made.message = str(number)
            started.set()
            del made.message

    thread = threading.Thread(target=change)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        assert started.wait(10)
        formatter = EventFormatter(exclude=["message*", "tenant", "_*"])
        for _ in range(2_000):
            event = formatter.event(made)
            assert event is not None
            assert {name: event[name] for name in FLAT} == FLAT
            assert len(event) == len(FLAT) + len(OWN) + 50
    finally:
        stop.set()
        thread.join(10)
        sys.setswitchinterval(interval)
    assert not thread.is_alive()
