"""`fslog.testing`: what is caught, from whom, and what a failed assertion says."""

from __future__ import annotations

import datetime
import json
import logging
import logging.config
import logging.handlers
import os
import queue
import re
import socket
import sys
import threading
import time
import urllib.request
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import fslog
from fslog import EventFormatter, FreshsuccessHandler, Problem, context, process
from fslog.collector import Collector
from fslog.testing import Capture, Finding, capture
from fslog.testing.matching import Seen, fits, none_is_meant, some_are_meant
from processes import FORKING, KEYS, run

WHO = {"accountId": "acme", "userId": "ann"}
ENVIRONMENT = ("FSLOG_ENDPOINT", "FSLOG_AUTH_KEY", "FSLOG_API_KEY", "FSLOG_ENABLED", "FSLOG_SPOOL")


@pytest.fixture
def log() -> logging.Logger:
    """Return a logger of this test only."""
    return logging.Logger("shop")


@pytest.fixture
def freshsuccess() -> Iterator[Capture]:
    """Capture, and leave no thread behind."""
    threads = set(threading.enumerate())
    with capture() as captured:
        yield captured
    assert set(threading.enumerate()) <= threads


def attach(log: logging.Logger, **given: Any) -> FreshsuccessHandler:
    """Add a handler to a logger."""
    handler = FreshsuccessHandler(**given)
    log.addHandler(handler)
    return handler


def use(log: logging.Logger, feature: str, **more: Any) -> int:
    """Log that a feature was used; return the line of the log call."""
    event = {"action": "feature", "module": "shop", "feature": feature, **more}
    log.info("used", extra={**WHO, "event": event})
    return sys._getframe().f_lineno - 1


def message(kind: type[BaseException], call: Callable[[], object]) -> str:
    """Return the message of an exception."""
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def without_time(text: str) -> str:
    """Return a message without the parts that differ from run to run."""
    text = re.sub(r", 'createdAt': \d+", "", text)
    return re.sub(r", 'sessionId': '\w+'", "", text)


def test_events_are_there_at_once(freshsuccess: Capture, log: logging.Logger) -> None:
    """An event is there when its log call returns, in order, as at the endpoint."""
    attach(log)
    at = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
    log.info("x", extra={"accountId": 7, "userId": "u", "action": "x", "createdAt": at, "n": {1}})
    use(log, "export")
    first, second = freshsuccess.events
    session = first.pop("sessionId")
    assert isinstance(session, str)
    expected = {"accountId": "7", "userId": "u", "action": "x", "createdAt": 1767312000000}
    assert first == {**expected, "n": [1]}
    assert (second["feature"], second["module"]) == ("export", "shop")
    assert (freshsuccess.problems, freshsuccess.warnings, freshsuccess.skipped) == ([], [], 0)


def test_no_two_captures_share_anything(log: logging.Logger) -> None:
    """Each capture begins empty, and keeps its events when it has ended."""
    attach(log, enabled=False)
    with capture() as first:
        use(log, "export")
    with capture() as second:
        assert second.events == []
        use(log, "share")
    use(log, "print")
    assert [event["feature"] for event in first.events] == ["export"]
    assert [event["feature"] for event in second.events] == ["share"]
    first.assert_event(feature="export")


def test_clear(freshsuccess: Capture, log: logging.Logger) -> None:
    """`clear` removes events, problems, warnings and skipped records so far."""
    attach(log)

    def all_kinds() -> None:
        use(log, "export")
        log.info("no event")
        log.info("invalid", extra={"action": "x"})
        log.info("doubtful", extra={**WHO, "action": "feature", "feature": "x"})

    all_kinds()
    freshsuccess.clear()
    nothing = (freshsuccess.events, freshsuccess.problems, freshsuccess.warnings)
    assert nothing == ([], [], [])
    assert freshsuccess.skipped == 0
    all_kinds()
    assert len(freshsuccess.events) == 2
    assert [problem.property for problem in freshsuccess.problems] == ["accountId", "userId"]
    assert [warning.property for warning in freshsuccess.warnings] == ["module"]
    assert freshsuccess.skipped == 1


def test_problems_tell_the_log_call(
    freshsuccess: Capture, log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A problem has the file, the line and the logger of its log call, a warning too."""
    monkeypatch.chdir(Path(__file__).parent)
    attach(log)
    line = use(log, "export", userId=None)
    (problem,) = freshsuccess.problems
    assert isinstance(problem, Problem)
    assert (problem.code, problem.property) == ("wrong_type", "userId")
    assert problem.event is not None
    assert problem.event["feature"] == "export"
    assert problem.place == f"test_testing.py:{line}, logger 'shop'"
    assert str(problem).startswith(f"{problem.place}: userId is None; expected")
    monkeypatch.chdir("/")
    use(log, "export", total="3")
    (warning,) = freshsuccess.warnings
    assert (warning.code, warning.place) == (
        "expected_type",
        f"{__file__.removeprefix('/')}:{line}, logger 'shop'",
    )
    assert len(freshsuccess.events) == 1


def test_problems_of_records_made_by_hand(freshsuccess: Capture, log: logging.Logger) -> None:
    """A record that lacks what logging gives every record has a problem all the same."""
    handler = attach(log)
    record = logging.makeLogRecord({"action": "x"})
    for name in ("pathname", "lineno", "name"):
        del record.__dict__[name]
    handler.handle(record)
    assert {problem.place for problem in freshsuccess.problems} == {"None:None, logger None"}


def test_what_the_endpoint_would_drop_is_a_problem(
    freshsuccess: Capture, log: logging.Logger
) -> None:
    """An event of a project's own formatter is checked as the endpoint checks it."""

    class Careless(EventFormatter):
        def event(self, record: logging.LogRecord) -> dict[str, Any] | None:
            return {"action": "x", "createdAt": 10**12}

    attach(log).setFormatter(Careless())
    log.info("x")
    assert freshsuccess.events == []
    missing = [problem.property for problem in freshsuccess.problems]
    assert missing == ["accountId", "userId", "sessionId"]
    assert freshsuccess.problems[0].event == {"action": "x", "createdAt": 10**12}


def test_the_project_is_told_of_problems_too(freshsuccess: Capture, log: logging.Logger) -> None:
    """`on_problem` is called as without a capture."""
    told: list[Problem] = []
    attach(log, on_problem=told.append)
    use(log, "export", userId="")
    assert [problem.code for problem in told] == ["empty"]


def test_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment has the capture's endpoint and no spool; then it is restored."""
    spool = str(tmp_path / "spool")
    values = ["https://a.b", "auth-k", "api-k", "no", spool]
    for name, value in zip(ENVIRONMENT, values, strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("FSLOG_AUTH_KEY")
    before = dict(os.environ)
    with capture() as freshsuccess:
        assert os.environ["FSLOG_ENDPOINT"] == freshsuccess.url
        assert os.environ["FSLOG_ENABLED"] == "yes"
        assert {"FSLOG_AUTH_KEY", "FSLOG_API_KEY"} <= os.environ.keys()
        assert os.environ["FSLOG_API_KEY"] != "api-k"
        assert "FSLOG_SPOOL" not in os.environ
        changed = {name for name in os.environ if os.environ[name] != before.get(name)}
        assert changed == set(ENVIRONMENT) - {"FSLOG_SPOOL"}
    assert dict(os.environ) == before


@pytest.mark.parametrize("order", [[2, 1, 0], [0, 1, 2], [1, 2, 0], [0, 2, 1]])
def test_captures_in_captures(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch, order: list[int]
) -> None:
    """The newest active capture receives events, in whatever order captures end."""
    monkeypatch.setenv("FSLOG_ENDPOINT", "https://a.b")
    before = dict(os.environ)
    attach(log, enabled=False)
    captures = [capture().start() for _ in range(3)]
    running = captures.copy()
    for number in order:
        assert os.environ["FSLOG_ENDPOINT"] == running[-1].url
        use(log, f"before {number}")
        for one in captures:
            assert bool(one.matching(feature=f"before {number}")) == (one is running[-1])
        captures[number].stop()
        running.remove(captures[number])
    assert dict(os.environ) == before


def test_a_capture_is_used_once() -> None:
    """A capture starts once; stopping it twice, or before its start, does nothing."""
    freshsuccess = capture()
    assert message(RuntimeError, lambda: freshsuccess.url).startswith("the collector has no port")
    freshsuccess.stop()
    before = dict(os.environ)
    with freshsuccess:
        assert message(RuntimeError, freshsuccess.start) == (
            "a capture is used once; make another one"
        )
        assert os.environ["FSLOG_ENDPOINT"] == freshsuccess.url
    freshsuccess.stop()
    assert message(RuntimeError, freshsuccess.start) == "a capture is used once; make another one"
    assert dict(os.environ) == before
    assert freshsuccess.skipped == 0


def test_its_repr(freshsuccess: Capture, log: logging.Logger) -> None:
    """The `repr` of a capture has the numbers of events and problems."""
    attach(log)
    use(log, "export")
    use(log, "export", userId="")
    assert repr(freshsuccess) == "<Capture events=1 problems=1>"


@pytest.mark.parametrize("configured", [{}, {"enabled": False}])
def test_dictconfig_in_a_test(configured: dict[str, Any], tmp_path: Path) -> None:
    """The events of a `dictConfig` are captured, whatever endpoint and spool it has."""
    with Collector() as endpoint:
        config = {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {
                "usage": {
                    "class": "fslog.FreshsuccessHandler",
                    "auth_key": KEYS[0],
                    "api_key": KEYS[1],
                    "endpoint": endpoint.url,
                    "proxy": "http://127.0.0.1:1",
                    "spool": str(tmp_path / "spool"),
                    "rules": [{"when": {"message": "sold"}, "event": {"action": "sale"}}],
                    "defaults": WHO,
                    **configured,
                }
            },
            "loggers": {"test_testing": {"handlers": ["usage"], "level": "INFO"}},
        }
        log = logging.getLogger("test_testing")
        with capture() as freshsuccess:
            for _ in range(2):
                logging.config.dictConfig(config)
                log.info("sold")
            assert len(freshsuccess.matching(action="sale")) == 2
        log.info("sold")
        assert fslog.flush(10)
        log.handlers.clear()
        assert endpoint.requests == []
        assert not (tmp_path / "spool").exists()


def test_a_handler_that_could_not_deliver_outside() -> None:
    """One without keys, or with a proxy for an endpoint without TLS, can be created."""
    log = logging.getLogger("test_testing")
    log.setLevel(logging.INFO)
    with capture() as freshsuccess:
        for given in ({"auth_key": "", "api_key": ""}, {"proxy": "http://proxy.example:3128"}):
            handler = fslog.FreshsuccessHandler(**given)
            log.addHandler(handler)
            log.info("sold", extra={**WHO, "action": "sale"})
            log.removeHandler(handler)
        assert len(freshsuccess.matching(action="sale")) == 2


def test_a_running_handler_with_keys_of_its_own(log: logging.Logger) -> None:
    """An existing handler sends no captured event to its endpoint, nor later."""
    with Collector() as endpoint:
        handler = attach(log, auth_key="auth", api_key="api", endpoint=endpoint.url)
        use(log, "before")
        with capture() as freshsuccess:
            use(log, "meanwhile")
        use(log, "after")
        assert handler.flush(10)
        handler.close()
        assert [event["feature"] for event in endpoint.events] == ["before", "after"]
    assert [event["feature"] for event in freshsuccess.events] == ["meanwhile"]


def test_threads(freshsuccess: Capture, log: logging.Logger) -> None:
    """No event of many threads is lost, and `wait_for` waits for them."""
    attach(log)

    def work(who: int) -> None:
        with context.bound(userId=f"user {who}"):
            for number in range(200):
                log.info("x", extra={"accountId": "a", "action": "x", "number": number})

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    assert len(freshsuccess.wait_for(800)) == 800
    for thread in threads:
        thread.join()
    for who in range(4):
        found = freshsuccess.matching(userId=f"user {who}")
        assert [event["number"] for event in found] == list(range(200))


def test_a_queue_of_the_application_s_own(freshsuccess: Capture, log: logging.Logger) -> None:
    """`wait_for` waits for records in a `QueueHandler`."""
    items: queue.SimpleQueue[Any] = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(items, FreshsuccessHandler())
    log.addHandler(logging.handlers.QueueHandler(items))
    listener.start()
    use(log, "export")
    (event,) = freshsuccess.wait_for(feature="export")
    assert event["module"] == "shop"
    listener.stop()


def test_waiting_for_more_than_there_is(freshsuccess: Capture, log: logging.Logger) -> None:
    """`wait_for` returns when enough events match; else its message has their number."""
    attach(log)
    use(log, "export", total=1)
    use(log, "share")
    timer = threading.Timer(0.05, use, (log, "export"), {"total": 2})
    timer.start()
    began_at = time.monotonic()
    found = freshsuccess.wait_for(2, feature="export", timeout=30)
    assert time.monotonic() - began_at < 15
    timer.join()
    assert [event["total"] for event in found] == [1, 2]
    assert len(freshsuccess.wait_for()) == 3
    began_at = time.monotonic()
    said = message(TimeoutError, lambda: freshsuccess.wait_for(3, feature="export", timeout=0.05))
    assert 0.04 < time.monotonic() - began_at < 5
    assert said.startswith("2 of 3 events with feature='export' arrived in 0.05 s\n  event 2 is {")
    assert "    feature is 'share', expected 'export'" in said
    said = message(TimeoutError, lambda: freshsuccess.wait_for(4, timeout=0))
    assert said == "3 of 4 events arrived in 0 s"


def test_a_stopped_clock(
    freshsuccess: Capture, log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a test has stopped the clock, events are captured and a wait still ends."""
    attach(log)
    monkeypatch.setattr(time, "time", lambda: 1_767_312_000.0)
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    use(log, "export")
    freshsuccess.assert_event(feature="export")
    with pytest.raises(TimeoutError):
        freshsuccess.wait_for(2, timeout=0.05)


class Forbidden(RuntimeError):
    """What a plugin that forbids sockets raises."""


def test_no_sockets(log: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    """If sockets are forbidden, the events of this process are captured."""

    def forbidden(*args: Any, **more: Any) -> None:
        raise Forbidden("no sockets in tests")

    before = dict(os.environ)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", forbidden)
        with capture() as freshsuccess:
            attach(log)
            use(log, "export")
            freshsuccess.assert_event(feature="export")
            with pytest.raises(RuntimeError, match="no socket could be opened") as caught:
                print(freshsuccess.url)
            assert isinstance(caught.value.__cause__, Forbidden)
            assert "127.0.0.1" in os.environ["FSLOG_ENDPOINT"]
    assert dict(os.environ) == before


def test_what_other_programs_post(freshsuccess: Capture) -> None:
    """Posted events are checked as well, and their problems have no call site."""
    good = {**WHO, "createdAt": 1, "action": "feature", "sessionId": "s", "module": "m"}
    lines = [json.dumps(event).encode() for event in (good, {"action": "x"})]
    url = f"{freshsuccess.url}/v1/any/keys"
    with urllib.request.urlopen(url, b"\n".join([*lines, b"{"])) as answer:
        assert answer.status == 200
    assert freshsuccess.events == [good]
    codes = [problem.code for problem in freshsuccess.problems]
    assert codes == ["missing"] * 4 + ["not_json"]
    assert [warning.code for warning in freshsuccess.warnings] == ["expected", "looks_like_seconds"]
    assert str(freshsuccess.problems[-1]).startswith("from another process: the line is not")
    assert freshsuccess.skipped == 0


CHILDREN = """
    import multiprocessing, os, subprocess, sys
    from counted import *
    from fslog.testing import capture

    CHILD = "from counted import *; handle(); say(4)"

    handler = handle(enabled=False)

    if __name__ == "__main__":
        with capture() as freshsuccess:
            say(0)
            if os.fork() == 0:
                say(1)
                handler.flush()
                os._exit(0)
            os.wait()
            child = multiprocessing.get_context("fork").Process(target=say, args=(2,))
            child.start()
            child.join()
            if os.fork() == 0:
                say(3)
                time.sleep(60)  # it delivers without being asked
                os._exit(1)
            freshsuccess.wait_for(4, timeout=20)
            subprocess.run([sys.executable, "-c", CHILD], check=True)
            freshsuccess.wait_for(5, timeout=20)
            tell(numbers=sorted(event["number"] for event in freshsuccess.events))
            tell(place=[os.path.basename(problem.place) for problem in freshsuccess.problems])
        say(5)
    """


@pytest.mark.slow
def test_children() -> None:
    """The events of forked children and started programs are captured as well."""
    with Collector() as endpoint:
        ended = run(CHILDREN, endpoint.url, flags=FORKING)
        assert ended.facts["numbers"] == [0, 1, 2, 3, 4]
        assert ended.facts["place"] == []
        assert endpoint.requests == []


def test_a_child_that_leaves_the_block() -> None:
    """A forked child that leaves the `with` block ends the capture for itself only."""
    program = """
    import os
    from counted import *
    from fslog.testing import capture

    handler = handle()
    with capture() as freshsuccess:
        child = os.fork()
        say(1 if child else 2)
        if child:
            freshsuccess.wait_for(2, timeout=20)
        else:
            handler.flush()
    if not child:
        say(3)
        sys.exit()
    os.waitpid(child, 0)
    say(4)
    tell(numbers=sorted(event["number"] for event in freshsuccess.events))
    """
    with Collector() as endpoint:
        ended = run(program, endpoint.url, flags=FORKING)
        assert ended.facts["numbers"] == [1, 2]
        assert [event["number"] for event in endpoint.events] == [3, 4]


UNITTEST = """
    import contextlib, logging, sys, unittest
    import fslog
    from fslog.testing import capture

    log = logging.getLogger("shop")
    log.setLevel(logging.INFO)
    log.addHandler(fslog.FreshsuccessHandler())

    def use(feature):
        event = {"action": "feature", "module": "shop", "feature": feature}
        log.info("used", extra={"accountId": "a", "userId": "u", "event": event})

    class ForTheClass(unittest.TestCase):
        @classmethod
        def setUpClass(cls):
            if sys.version_info >= (3, 11):
                cls.freshsuccess = cls.enterClassContext(capture())
            else:
                cls.freshsuccess = capture().start()
                cls.addClassCleanup(cls.freshsuccess.stop)
            use("shared")

        def setUp(self):
            self.freshsuccess.clear()

        def test_one(self):
            use("export")
            self.freshsuccess.assert_event(feature="export")
            self.freshsuccess.assert_no_event(feature="shared")

        def test_two(self):
            self.freshsuccess.assert_no_event()

    class ForEachTest(unittest.TestCase):
        def setUp(self):
            if sys.version_info >= (3, 11):
                self.freshsuccess = self.enterContext(capture())
            else:
                self.freshsuccess = capture().start()
                self.addCleanup(self.freshsuccess.stop)

        def test_one(self):
            use("export")
            self.freshsuccess.assert_event(feature="export")

        def test_two(self):
            use("exprot")
            self.freshsuccess.assert_event(feature="export")

    unittest.main()
    """


@pytest.mark.slow
def test_unittest() -> None:
    """A unittest case has a capture per test or class; a failure shows the message only."""
    with Collector() as endpoint:
        ended = run(UNITTEST, endpoint.url, code=1, err=None)
        assert endpoint.requests == []
    assert "Ran 4 tests" in ended.err
    assert "FAILED (failures=1)" in ended.err
    assert "FAIL: test_two (__main__.ForEachTest" in ended.err
    assert "AssertionError: no event with feature='export' arrived, but 1 other\n" in ended.err
    assert "    feature is 'exprot', expected 'export'" in ended.err
    assert "fslog" not in ended.err.replace("fslog.flush", "")


EXPECTATIONS: list[tuple[Any, Any, bool]] = [
    ("export", "export", True),
    ("export", "Export", False),
    (3, 3.0, True),
    (None, None, True),
    (mock.ANY, None, True),
    (pytest.approx(0.3), 0.1 + 0.2, True),
    ({"name": mock.ANY}, {"name": "Ann"}, True),
    (re.compile("xpo"), "export", True),
    (re.compile("^xpo"), "export", False),
    (re.compile("3"), 3, False),
    (int, 3, True),
    (int, "3", False),
    (lambda total: total > 2, 3, True),
    (lambda total: total > 2, 2, False),
    (lambda total: total > 2, "3", False),
    (lambda total: [], 2, False),
]


@pytest.mark.parametrize(("expected", "actual", "is_so"), EXPECTATIONS)
def test_what_fits(expected: Any, actual: Any, is_so: bool) -> None:
    """Values, objects with `__eq__`, expressions, classes and functions can be expected."""
    assert fits(expected, actual) is is_so


def test_what_raises_does_not_fit() -> None:
    """A value whose comparison raises, or has no truth value, does not match."""

    class Odd:
        def __eq__(self, other: object) -> bool:
            raise ValueError("compared")

        __hash__ = None  # type: ignore[assignment]

    assert fits(Odd(), 1) is False


def test_matching(freshsuccess: Capture, log: logging.Logger) -> None:
    """`matching` finds the events that have all properties; any name may be one."""
    attach(log)
    use(log, "export", total=3, self="me", n=1, timeout=2, properties=None)
    use(log, "export", total=4)
    use(log, "share", total=3)
    assert len(freshsuccess.matching()) == 3
    assert [e["total"] for e in freshsuccess.matching(feature="export")] == [3, 4]
    assert len(freshsuccess.matching(feature="export", total=3)) == 1
    odd = {"self": "me", "n": 1, "timeout": 2, "properties": None}
    (event,) = freshsuccess.matching(**odd)
    assert freshsuccess.assert_event(**odd) == event
    assert freshsuccess.matching(product=None) == []
    assert freshsuccess.assert_event(feature="export")["total"] == 3
    freshsuccess.assert_no_event(feature="print")


def test_the_nearest_events_are_shown(freshsuccess: Capture, log: logging.Logger) -> None:
    """A message shows the most similar events, and each difference."""
    attach(log)
    for feature in ("open", "close", "export", "exprot"):
        use(log, feature, total="3")
    log.info("logged in", extra={**WHO, "action": "login"})
    line = use_line(is_more)
    said = message(
        AssertionError,
        lambda: freshsuccess.assert_event(
            action="feature",
            feature="export",
            total=is_more,
            accountID=re.compile("^a"),
            module=str,
            product="core",
        ),
    )
    shown = "'accountId': 'acme', 'userId': 'ann', 'action': 'feature', 'module': 'shop'"
    rest = f"""
    total is '3', expected is_more (test_testing.py:{line})
    accountID is missing (there is accountId), expected /^a/
    product is missing, expected 'core'
    """
    assert without_time(said) == (
        "no event with action='feature', feature='export', "
        f"total=is_more (test_testing.py:{line}), accountID=/^a/, module=str, product='core' "
        "arrived, but 5 others; the nearest:\n"
        f"  event 3 is {{{shown}, 'feature': 'export', 'total': '3'}}"
        f"{rest.rstrip()}\n"
        f"  event 4 is {{{shown}, 'feature': 'exprot', 'total': '3'}}\n"
        f"    feature is 'exprot', expected 'export'{rest.rstrip()}\n"
        f"  event 1 is {{{shown}, 'feature': 'open', 'total': '3'}}\n"
        f"    feature is 'open', expected 'export'{rest.rstrip()}\n"
        "  and 2 more"
    )


def is_more(total: int) -> bool:
    """Stand for a test's own function."""
    return total > 2


def use_line(function: Any) -> int:
    """Return where a function begins."""
    return int(function.__code__.co_firstlineno)


def test_invalid_events_and_skipped_records_are_shown(
    freshsuccess: Capture, log: logging.Logger
) -> None:
    """If the expected event was logged and is invalid, the message has it and its call site."""
    attach(log)
    use(log, "share")
    line = use(log, "print", userId="")
    log.info("x", extra={"event": {"action": "feature", "feature": "export"}})
    log.info("no event")
    log.info("no event either")
    said = message(AssertionError, lambda: freshsuccess.assert_event(feature="export"))
    place = f"{os.path.relpath(__file__)}:{{}}, logger 'shop'"
    here = sys._getframe().f_lineno
    what = "give it in the log call's extra, in fields, in context or in defaults"
    assert without_time(said).splitlines() == [
        "no event with feature='export' arrived, but 1 other",
        "  event 1 is {'accountId': 'acme', 'userId': 'ann', 'action': 'feature', "
        "'module': 'shop', 'feature': 'share'}",
        "    feature is 'share', expected 'export'",
        "  never sent, because it is what is expected, but invalid: "
        "{'action': 'feature', 'feature': 'export'}",
        f"    {place.format(here - 5)}: accountId is missing: {what} [missing]",
        f"    {place.format(here - 5)}: userId is missing: {what} [missing]",
        "  never sent, because it is invalid: {'accountId': 'acme', 'userId': '', "
        "'action': 'feature', 'module': 'shop', 'feature': 'print'}",
        f"    {place.format(line)}: userId is empty; expected a non-empty string [empty]",
        "  skipped: 2 records without an action that no rule fits",
    ]


def test_it_says_what_may_be_wrong_when_nothing_came(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If there is no handler, or no record reached it, the message has the reason."""
    monkeypatch.setattr(process, "_handlers", weakref.WeakSet())  # those of other tests
    with capture() as freshsuccess:
        _nothing_came(freshsuccess, log)


def _nothing_came(freshsuccess: Capture, log: logging.Logger) -> None:
    said = message(AssertionError, freshsuccess.assert_event)
    nobody = "there is no FreshsuccessHandler in this process: is logging configured?"
    assert said == f"no event arrived\n  {nobody}"
    handler = FreshsuccessHandler()
    said = message(AssertionError, lambda: freshsuccess.assert_event(action="x"))
    level = logging.getLevelName(logging.getLogger().level)
    assert said == (
        "no event with action='x' arrived\n"
        "  no record reached the FreshsuccessHandler: is it attached to a logger, and do the "
        f"loggers' levels let the record through (the root logger's is {level})?"
    )
    log.addHandler(handler)
    log.info("no event")
    said = message(AssertionError, freshsuccess.assert_event)
    assert said == "no event arrived\n  skipped: 1 record without an action that no rule fits"


def test_what_was_not_to_come_is_shown(freshsuccess: Capture, log: logging.Logger) -> None:
    """`assert_no_event` shows the events, or the first ones of many."""
    attach(log)
    use(log, "open")
    for number in range(5):
        use(log, "export", number=number)
    said = message(AssertionError, lambda: freshsuccess.assert_no_event(feature="export"))
    lines = without_time(said).splitlines()
    assert lines[0] == "5 events with feature='export' arrived, expected none"
    assert [line[:12] for line in lines[1:4]] == [f"  event {n} is" for n in (2, 3, 4)]
    assert "'number': 0" in lines[1]
    assert lines[4:] == ["  and 2 more"]
    said = message(AssertionError, lambda: freshsuccess.assert_no_event(feature="open"))
    assert said.startswith("1 event with feature='open' arrived, expected none\n  event 1 is {")


class Hostile:
    """A value whose `repr` would write to the terminal, or raises."""

    def __init__(self, text: str | None) -> None:
        self._text = text

    def __repr__(self) -> str:
        if self._text is None:
            raise ValueError("no repr")
        return self._text


def test_hostile_values_are_shown_harmlessly() -> None:
    """No value writes control characters, many lines, or endless text into a message."""
    event = {
        "a\x1b[2J": "\x1b]0;title\x07",
        "b": Hostile("\x1b[31m\nred\u202e\ud800"),
        "c": Hostile(None),
        "d": "x" * 100_000,
        "e": ["y"] * 100_000,
    }
    problem = Finding("custom", "", "so\x1b[31m\rbad", event, "a\nb.py:1, logger 'x'")
    wanted = {"a\x1b[2J": "\x1b[1m", "b": 1, "d": "z" * 100_000, "a\x1b[2K": 5}
    for said in (
        none_is_meant(wanted, Seen([event] * 5, [problem])),
        some_are_meant({"a\x1b[2J": str}, Seen([event] * 5, [])),
    ):
        assert all(char.isprintable() or char == "\n" for char in said)
        assert len(said) < 10_000
    assert "\\x1b[31m\\nred\\u202e\\ud800" in said
    assert "<Hostile whose repr raises ValueError>" in said
