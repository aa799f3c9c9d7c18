"""`identify_user` and `identify_account`: what is sent, of whom, how often, and on which way."""

from __future__ import annotations

import datetime
import enum
import gc
import io
import logging
import logging.handlers
import os
import queue
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

import fslog
from fslog import EventFormatter, FreshsuccessHandler, context, identify
from fslog.cli.run import STARTUP
from fslog.collector import Collector
from fslog.delivery import notices
from fslog.events import log_event
from fslog.identify import identify_account, identify_user
from fslog.integrations.identity import UNKNOWN
from fslog.net.redaction import internal_work
from fslog.testing import Capture, capture
from needs import nested
from processes import KEYS, run

UTC = datetime.timezone.utc
ANN = {"accountId": "acme", "userId": "ann"}
LOGGER = logging.getLogger("fslog.events")


@pytest.fixture(autouse=True)
def _as_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(notices, "_logged_once", {})
    context.clear()
    identify.forget()
    yield
    context.clear()
    LOGGER.handlers, LOGGER.filters, LOGGER.disabled, LOGGER.propagate = [], [], False, True
    LOGGER.setLevel(logging.NOTSET)


@pytest.fixture
def usage(freshsuccess: Capture) -> Iterator[FreshsuccessHandler]:
    """Return a handler of the root logger."""
    handler = FreshsuccessHandler(defaults={"userId": "nobody", "accountId": "nowhere"})
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)
    handler.close()


def details(freshsuccess: Capture) -> list[Any]:
    return [event["details"] for event in freshsuccess.events]


# What is sent.


def test_a_user_is_an_event(freshsuccess: Capture, usage: FreshsuccessHandler) -> None:
    """Ids and details make an `identifyUser`, as an explicit event's."""
    fslog.identify_user("ann", "acme", name="Ann", role="admin", seats=3)
    event = freshsuccess.assert_event(action="identifyUser", **ANN)
    assert event["details"] == {"name": "Ann", "role": "admin", "seats": 3}
    assert event.keys() == {*ANN, "action", "details", "createdAt", "sessionId"}
    assert not freshsuccess.problems + freshsuccess.warnings


def test_an_account_is_an_event(freshsuccess: Capture, usage: FreshsuccessHandler) -> None:
    """Ids and details make an `identifyAccount`."""
    fslog.identify_account("acme", userId="ann", name="Acme", tier="gold", plan="yearly")
    event = freshsuccess.assert_event(action="identifyAccount", **ANN)
    assert event["details"] == {"name": "Acme", "tier": "gold", "plan": "yearly"}


def test_the_record_names_the_callers_line_and_nobody(
    usage: FreshsuccessHandler, caplog: pytest.LogCaptureFixture
) -> None:
    """The application's own log has neither ids nor details; problems name the call."""
    identify_user("ann", "acme", name="Ann", email="ann@acme.example")
    identify_account("acme", userId="ann", name="Acme")
    texts = [logging.Formatter().format(record) for record in caplog.records]
    assert texts == ["user identified", "account identified"]
    assert {(one.name, one.levelno, one.funcName) for one in caplog.records} == {
        ("fslog.events", logging.INFO, "test_the_record_names_the_callers_line_and_nobody")
    }


def test_times_are_epoch_milliseconds(freshsuccess: Capture, usage: FreshsuccessHandler) -> None:
    """An aware datetime, a date (of midnight in UTC), and both at any depth."""
    east = datetime.timezone(datetime.timedelta(hours=2))
    at = datetime.datetime(2026, 1, 31, 2, 0, 0, 1_600, east)
    day = datetime.date(2026, 1, 31)
    identify_user("ann", "acme", joinDate=at, born=day, visits=[{"at": (at, day)}], ms=1.5)
    ms = 1_769_817_600_000
    assert details(freshsuccess) == [
        {"joinDate": ms + 2, "born": ms, "visits": [{"at": [ms + 2, ms]}], "ms": 1.5}
    ]
    assert not freshsuccess.warnings


def test_a_naive_datetime_is_warned_of(freshsuccess: Capture, usage: FreshsuccessHandler) -> None:
    """Nothing says which time it means: it stays the text that it is elsewhere."""
    identify_user("ann", "acme", joinDate=datetime.datetime(2026, 1, 31))
    assert details(freshsuccess) == [{"joinDate": "2026-01-31T00:00:00"}]
    (warning,) = freshsuccess.warnings
    assert (warning.code, warning.property) == ("expected_type", "details")
    assert warning.message.startswith(
        "details.joinDate is a datetime without a time zone or offset, sent as text"
    )


class Tier(enum.Enum):
    GOLD = "gold"


def test_other_values_are_as_in_any_event(
    freshsuccess: Capture, usage: FreshsuccessHandler
) -> None:
    """Ids may be numbers and UUIDs; None is left out; the rest is encoded as elsewhere."""
    number = uuid.UUID(int=7)
    identify_user(number, 5, title=None, tier=Tier.GOLD, key=number, price=Decimal("2.5"))
    event = freshsuccess.assert_event(accountId="5", userId=str(number))
    assert event["details"] == {"tier": "gold", "key": str(number), "price": 2.5}


class Hostile:
    """A value whose methods all raise."""

    def __getattribute__(self, name: str) -> Any:
        raise LookupError(name)

    __str__ = __repr__ = __eq__ = __hash__ = __len__ = __iter__ = __getattribute__  # type: ignore


class HostileList(list[Any]):
    def __iter__(self) -> Any:
        raise LookupError


def test_no_value_raises(freshsuccess: Capture, usage: FreshsuccessHandler) -> None:
    """Neither a hostile value, nor a cycle, nor a broad one: the event is sent with the rest."""
    cycle: list[Any] = [datetime.date(2026, 1, 31)]
    cycle += [cycle, cycle]
    extreme = datetime.datetime.max.replace(tzinfo=datetime.timezone(-datetime.timedelta(hours=9)))
    many = [datetime.date(2026, 1, 31)] * 20_000
    bad = {"a": Hostile(), "b": HostileList([1]), "c": cycle, "d": extreme, "e": many}
    identify_user("ann", "acme", name="Ann", **bad)
    (found,) = details(freshsuccess)
    assert found["name"] == "Ann"
    assert found.keys() == {"name", *bad}


@pytest.mark.parametrize("make", [lambda: None, str, lambda: True, lambda: float("nan"), Hostile])
def test_an_invalid_id_is_an_invalid_event_at_each_call(
    make: Callable[[], Any], freshsuccess: Capture, usage: FreshsuccessHandler
) -> None:
    """It raises nothing, is counted each time, and becomes neither a bound user nor a default."""
    wrong = make()
    with context.bound(accountId="acme", userId="bob"):
        for _ in range(2):
            identify_user(wrong, "acme", role="admin")
            identify_user("ann", wrong, role="admin")
            identify_account(wrong, tier="gold")
    assert usage.stats().invalid == 6
    assert freshsuccess.events == []
    assert {problem.code for problem in freshsuccess.problems} <= {"wrong_type", "empty"}


# Of whom.


def test_the_user_of_an_account_is_given_or_bound(
    freshsuccess: Capture, usage: FreshsuccessHandler
) -> None:
    """The one who is given wins over the one who is bound with that account."""
    with context.bound(accountId=7, userId="ann"):
        identify_account("7", tier="gold")
        identify_account(7, userId="bob", tier="silver")
    assert [event["userId"] for event in freshsuccess.events] == ["ann", "bob"]


@pytest.mark.parametrize(
    "bound", [{}, UNKNOWN, {"userId": "ann"}, {"userId": "ann", "accountId": "other"}]
)
def test_no_account_is_given_a_user_of_another(
    bound: Any, freshsuccess: Capture, usage: FreshsuccessHandler
) -> None:
    """The event would create the user there: it is invalid, at each call."""
    with context.bound(**bound):
        identify_account("acme", tier="gold")
        identify_account("acme", tier="gold")
    assert freshsuccess.events == []
    assert [(found.code, found.property) for found in freshsuccess.problems] == [
        ("wrong_type", "userId")
    ] * 2


def test_what_is_bound_for_another_user_stays_out(
    freshsuccess: Capture, usage: FreshsuccessHandler
) -> None:
    """The session of who acts is theirs, not that of the user whom they edit."""
    with context.bound(**ANN, sessionId="of-ann", plan="trial"):
        identify_user("bob", "acme", role="guest")
        identify_user("ann", "acme", role="admin")
        assert context.current()["sessionId"] == "of-ann"
    bob, ann = freshsuccess.events
    assert (ann["sessionId"], ann["plan"]) == ("of-ann", "trial")
    assert bob["sessionId"] != "of-ann"
    assert "plan" not in bob


# How often.


def test_the_same_details_are_sent_once(freshsuccess: Capture, usage: FreshsuccessHandler) -> None:
    """No record is made of the same details, whatever their order, until they change."""
    for role in ("admin", "admin", "owner", "owner", "admin"):
        identify_user("ann", "acme", role=role, seats=3, pet="cat")
        identify_user("ann", "acme", pet="cat", seats=3, role=role)
    assert [one["role"] for one in details(freshsuccess)] == ["admin", "owner", "admin"]
    assert usage.stats().emitted == 3


def test_each_user_and_account_has_details_of_its_own(
    freshsuccess: Capture, usage: FreshsuccessHandler
) -> None:
    """Nobody's details keep another's from being sent; an account's do not depend on the user."""
    for _ in range(2):
        for user, account in (("ann", "acme"), ("bob", "acme"), ("ann", "other"), ("nacme", "a")):
            identify_user(user, account, name="x")
            identify_account(account, userId=user, name="x")
    found = [(one["action"], one["accountId"], one["userId"]) for one in freshsuccess.events]
    assert found == [
        ("identifyUser", "acme", "ann"),
        ("identifyAccount", "acme", "ann"),
        ("identifyUser", "acme", "bob"),
        ("identifyUser", "other", "ann"),
        ("identifyAccount", "other", "ann"),
        ("identifyUser", "a", "nacme"),
        ("identifyAccount", "a", "nacme"),
    ]


def test_an_invalid_call_does_not_count_as_the_first(
    freshsuccess: Capture, usage: FreshsuccessHandler
) -> None:
    """What was logged without a user is logged again once there is one."""
    identify_account("acme", tier="gold")
    identify_account("acme", tier="gold", userId="ann")
    assert len(freshsuccess.events) == 1


def test_memory_has_no_details(usage: FreshsuccessHandler) -> None:
    """What is remembered has neither ids nor details, in any form but keyed digests."""
    identify_user("ann-the-user", "acme-the-account", email="ann@acme.example")
    identify_user("ann-the-user", "acme-the-account", email="bob@acme.example")
    texts, seen, left = [], set(), [identify._logged]
    while left:
        one: Any = left.pop()
        if id(one) in seen or isinstance(one, type):
            continue
        seen.add(id(one))
        if isinstance(one, (str, bytes)):
            texts.append(repr(one))
        left += gc.get_referents(one)
    assert len(texts) >= 2
    assert not [one for one in texts if any(part in one for part in ("ann-", "acme", "example"))]


def test_memory_is_bounded() -> None:
    """Of a hundred users the most recent half of the limit, at least, is remembered."""
    logged = identify._Logged(limit=10)
    users = [b"%d" % number for number in range(100)]
    assert all(logged.claim(user, b"x") for user in users)
    assert sum(map(len, logged._generations)) <= 10
    assert not any(logged.claim(user, b"x") for user in users[-5:])
    assert logged.claim(users[0], b"x")


def test_threads_log_each_change_once(freshsuccess: Capture, usage: FreshsuccessHandler) -> None:
    """However many threads have the same details at once, one logs them."""
    start = threading.Barrier(8)

    def work() -> None:
        for number in range(150):
            if number % 10 == 0:
                start.wait()
            identify_user(number % 50, "acme", visits=number)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one["visits"] for one in details(freshsuccess)) == list(range(150))


def test_another_thread_changes_them_during_a_change() -> None:
    """Both changes are logged, the other thread's counts as the last, and no claim is endless."""
    logged = identify._Logged()

    class Interrupted(list[Any]):
        def append(self, entry: Any) -> None:
            super().append(entry)
            others.append(logged.claim(b"ann", b"3"))

    others: list[Any] = []
    first = logged.claim(b"ann", b"1")
    assert first is not None
    first.next = Interrupted()
    assert logged.claim(b"ann", b"2")
    assert others[0]
    again = [bool(logged.claim(b"ann", details)) for details in (b"3", b"2", b"2")]
    assert again == [False, True, False]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # the runner has threads
def test_a_forked_child_sends_what_its_parent_has_not(
    freshsuccess: Capture, usage: FreshsuccessHandler
) -> None:
    """It remembers what the parent has logged, which the parent delivers."""
    identify_user("ann", "acme", role="admin")
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            identify_user("ann", "acme", role="admin")
            identify_user("ann", "acme", role="owner")
            fslog.flush(10)
        os._exit(0)
    os.waitpid(child, 0)
    freshsuccess.wait_for(2, timeout=10)
    assert [one["role"] for one in details(freshsuccess)] == ["admin", "owner"]


def test_a_log_call_that_raises_is_made_again(
    freshsuccess: Capture, usage: FreshsuccessHandler
) -> None:
    """What the application's own filter raises passes, and nothing was sent."""

    def fail(record: logging.LogRecord) -> bool:
        raise LookupError

    LOGGER.addFilter(fail)
    with pytest.raises(LookupError):
        identify_user("ann", "acme", role="admin")
    LOGGER.removeFilter(fail)
    identify_user("ann", "acme", role="admin")
    assert details(freshsuccess) == [{"role": "admin"}]


@nested
def test_a_filter_that_identifies_does_not_recurse(
    freshsuccess: Capture, usage: FreshsuccessHandler
) -> None:
    """A call inside of the log call finds the details already logged."""

    def again(record: logging.LogRecord) -> bool:
        identify_user("ann", "acme", role="admin")
        return True

    LOGGER.addFilter(again)
    identify_user("ann", "acme", role="admin")
    assert details(freshsuccess) == [{"role": "admin"}]


def test_each_capture_begins_anew(usage: FreshsuccessHandler) -> None:
    """A test sees what an earlier one has seen too; what it saw is not lost to the endpoint."""
    for _ in range(2):
        with capture() as captured:
            identify_user("ann", "acme", role="admin")
            captured.assert_event(action="identifyUser")
    assert identify._logged._generations == ({}, {})


# On which way.


def test_a_high_level_of_the_root_loses_nothing(
    freshsuccess: Capture, usage: FreshsuccessHandler
) -> None:
    """The logger has a level of its own, INFO, which a configuration of `fslog` takes away."""
    root, parent = logging.getLogger(), logging.getLogger("fslog")
    before = root.level
    try:
        root.setLevel(logging.WARNING)
        identify_user("ann", "acme", visits=1)
        with context.bound(**ANN):
            log_event("time", event={"action": "moduleEnd", "module": "m", "timeSpent": 1})
        parent.setLevel(logging.ERROR)
        LOGGER.setLevel(logging.NOTSET)  # as `dictConfig` does with what is below a logger it names
        identify_user("ann", "acme", visits=2)
    finally:
        root.setLevel(before)
        parent.setLevel(logging.NOTSET)
    assert len(freshsuccess.events) == 3


def test_a_configured_level_switches_it_off(
    freshsuccess: Capture, usage: FreshsuccessHandler, caplog: pytest.LogCaptureFixture
) -> None:
    """That is the application's decision, about which nothing is said, and nothing remembered."""
    LOGGER.setLevel(logging.WARNING)
    identify_user("ann", "acme", role="admin")
    assert (freshsuccess.events, caplog.records) == ([], [])
    LOGGER.setLevel(logging.INFO)
    identify_user("ann", "acme", role="admin")
    assert len(freshsuccess.events) == 1


def test_a_logger_that_leads_nowhere_is_reported_once(
    freshsuccess: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warning says what to do; the details are sent as soon as they can be."""
    heard: list[str] = []
    monkeypatch.setattr(notices, "log", lambda level, text: heard.append(text))
    LOGGER.propagate = False
    LOGGER.addHandler(logging.NullHandler())
    elsewhere = logging.getLogger("app")
    handler = FreshsuccessHandler()
    elsewhere.addHandler(handler)
    try:
        for _ in range(2):
            identify_user("ann", "acme", role="admin")
        (text,) = heard
        assert "'fslog.events'" in text
        assert "attach the handler to the root logger" in text
        LOGGER.addHandler(handler)
        identify_user("ann", "acme", role="admin")
        identify_user("ann", "acme", role="admin")
    finally:
        elsewhere.removeHandler(handler)
    assert len(freshsuccess.events) == 1


class Forwarding(logging.Handler):
    """A handler of the application's, which may do anything."""

    def emit(self, record: logging.LogRecord) -> None:
        pass


def relay() -> logging.Handler:
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(EventFormatter())
    return handler


@pytest.mark.parametrize(
    "make",
    [
        lambda: logging.handlers.QueueHandler(queue.SimpleQueue()),
        lambda: logging.handlers.SocketHandler("127.0.0.1", 9),
        lambda: logging.handlers.MemoryHandler(9, target=logging.NullHandler()),
        Forwarding,
        relay,
        lambda: FreshsuccessHandler(enabled=False),
    ],
)
def test_what_may_lead_to_a_handler_is_not_accused(
    make: Callable[[], logging.Handler], freshsuccess: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue, a socket, a file of lines, an unknown handler: the record may become an event."""
    heard: list[str] = []
    monkeypatch.setattr(notices, "log", lambda level, text: heard.append(text))
    monkeypatch.setattr(logging.handlers.SocketHandler, "emit", lambda *_: None)
    LOGGER.propagate = False
    alive = FreshsuccessHandler()
    handler = make()
    LOGGER.addHandler(handler)
    identify_user("ann", "acme", role="admin")
    assert heard == []
    assert identify._logged._generations[0]
    alive.close()
    handler.close()


def test_a_program_without_fslog_hears_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of any other log call: no handler of fslog's exists, so nobody expects an event."""
    heard: list[str] = []
    monkeypatch.setattr(notices, "log", lambda level, text: heard.append(text))
    monkeypatch.setattr(identify.process, "handlers", list)
    LOGGER.propagate = False
    identify_user("ann", "acme", role="admin")
    assert heard == []


def test_a_disabled_logger_is_reported_once(
    usage: FreshsuccessHandler, freshsuccess: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later `dictConfig` disables it by default: that is said, and nothing remembered."""
    heard: list[str] = []
    monkeypatch.setattr(notices, "log", lambda level, text: heard.append(text))
    LOGGER.disabled = True
    for _ in range(2):
        identify_user("ann", "acme", role="admin")
    (text,) = heard
    assert "disable_existing_loggers" in text
    LOGGER.disabled = False
    identify_user("ann", "acme", role="admin")
    assert len(freshsuccess.events) == 1


def test_a_call_during_internal_work_is_the_applications(
    freshsuccess: Capture, usage: FreshsuccessHandler
) -> None:
    """A finalizer may run in the listener's thread; its event is accepted there too."""
    with internal_work(str):
        identify_user("ann", "acme", role="admin")
    assert len(freshsuccess.events) == 1


@pytest.mark.slow
def test_beside_the_applications_logging() -> None:
    """`fslog.auto` takes it, and the application's own log does not show it."""
    with Collector(keys=KEYS) as endpoint:
        run(
            """
            import logging
            import fslog

            logging.basicConfig(level="ERROR")
            fslog.identify_user("ann", "acme", role="admin")
            fslog.identify_user("ann", "acme", role="admin")
            """,
            endpoint.url,
            settings={"PYTHONPATH": str(STARTUP)},
        )
        assert [event["details"] for event in endpoint.wait_for(1)] == [{"role": "admin"}]


@pytest.mark.slow
def test_with_the_configuration_that_most_have() -> None:
    """The first `dictConfig` disables what exists: not this logger, which no import makes."""
    with Collector(keys=KEYS) as endpoint:
        run(
            """
            import logging.config
            import fslog

            logging.config.dictConfig({
                "version": 1,
                "handlers": {"usage": {"class": "fslog.FreshsuccessHandler"}},
                "root": {"handlers": ["usage"], "level": "WARNING"},
                "loggers": {"fslog": {"level": "ERROR"}},
            })
            fslog.identify_user("ann", "acme", role="admin")
            """,
            endpoint.url,
        )
        assert [event["details"] for event in endpoint.wait_for(1)] == [{"role": "admin"}]
