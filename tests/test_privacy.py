"""Only the documented parts of a record are sent."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fslog import EventFormatter, FreshsuccessHandler, Problem, context
from fslog.mapping.privacy import hashed
from fslog.mapping.schema import REQUIRED
from rawserver import RawServer, answer

CANARY = "canary"
WHO = {"accountId": "acme", "userId": "ann"}
RULE = {
    "when": {"logger": "app", "message": "exported %s rows of %s"},
    "event": {"action": "feature", "module": "reports", "feature": "export", "total": "{args.0}"},
}
RULE_MADE = {"action", "module", "feature", "total"}


@contextmanager
def sent(**arguments: Any) -> Iterator[tuple[logging.Logger, Callable[[], list[bytes]]]]:
    """Yield a logger, and a function that flushes its handler and returns all requests."""
    before = set(threading.enumerate())
    with RawServer(answer()) as server:
        handler = FreshsuccessHandler(
            auth_key="auth-key",
            api_key="api-key",
            endpoint=server.url,
            compression=None,
            **arguments,
        )
        logger = logging.Logger("app.canary_logger")
        logger.addHandler(handler)

        def requests() -> list[bytes]:
            assert handler.flush(10)
            return list(server.requests)

        try:
            yield logger, requests
        finally:
            handler.close()
            for thread in set(threading.enumerate()) - before:
                if thread.name == "fslog":
                    thread.join(10)
                    assert not thread.is_alive()


def events_in(requests: list[bytes]) -> list[dict[str, Any]]:
    bodies = [request.partition(b"\r\n\r\n")[2] for request in requests]
    return [json.loads(line) for body in bodies for line in body.splitlines()]


def canary_call(logger: logging.Logger, **extra: Any) -> None:
    """Log a record that has a canary in every part that no configuration names."""
    try:
        raise ValueError("canary in an exception")
    except ValueError:
        logger.error(
            "exported %s rows of %s",
            3,
            "canary argument",
            exc_info=True,
            stack_info=True,
            extra={
                "password": "canary extra",
                "request": SimpleNamespace(token="canary attribute", __repr__="canary"),
                "canary_name": 5,
                "nested": {"deep": ["canary item"]},
                "_private": "canary",
                "otelTraceID": "canary",
                "event_": {"x": "canary"},
                **extra,
            },
        )


def test_a_rule_made_event_has_only_what_the_rule_names() -> None:
    """Message, other arguments and extras, exception, stack, path, thread, logger stay private."""
    threading.current_thread().name, name = "canary thread", threading.current_thread().name
    try:
        with sent(rules=[RULE]) as (logger, requests):
            canary_call(logger, **WHO)
            raw = requests()
    finally:
        threading.current_thread().name = name
    assert CANARY.encode() not in b"".join(raw).lower()
    assert b"test_privacy" not in b"".join(raw)
    (event,) = events_in(raw)
    assert set(event) == {*REQUIRED, *RULE_MADE}


def test_only_named_properties_are_sent() -> None:
    """`fields`, context, provider, `defaults`, `include`, required properties, a nested event."""
    user = SimpleNamespace(
        id=7, email="canary@example.com", plan={"name": "gold", "card": "canary"}
    )
    with sent(
        rules=[RULE],
        fields={"userId": "user.id", "plan": "user.plan.name"},
        include=["order_*", "sku"],
        defaults={"product": "core"},
        context_provider=lambda: {"region": "eu"},
    ) as (logger, requests):
        with context.bound(tier="gold"):
            canary_call(
                logger,
                user=user,
                accountId="acme",
                order_id=5,
                my_order_id="canary",
                sku="x",
                sku2="canary",
                event={"free": "word"},
            )
        raw = requests()
    assert CANARY.encode() not in b"".join(raw).lower()
    (event,) = events_in(raw)
    assert set(event) == {
        *(*REQUIRED, *RULE_MADE, "plan", "order_id", "sku", "product", "region", "tier", "free"),
    }


def test_records_that_make_no_event_are_not_sent() -> None:
    """Skipped records and invalid events are not sent, not even in part."""
    with sent(rules=[RULE], on_problem=lambda problem: None) as (logger, requests):
        logger.info("canary %s", "canary", extra={**WHO, "x": "canary"})
        canary_call(logger, accountId="acme")
        logger.info("canary", extra={**WHO, "action": "", "x": "canary"})
        logger.info("canary", extra={"event": "canary"})
        assert requests() == []


def test_an_explicit_event_has_only_the_extras() -> None:
    """Message, arguments, exception, call site and excluded extras are not sent."""
    with sent(exclude=["password", "_*", "secret_*"]) as (logger, requests):
        try:
            raise ValueError("canary in an exception")
        except ValueError:
            logger.error(
                "canary %s",
                "canary",
                exc_info=True,
                stack_info=True,
                extra={
                    **WHO,
                    "action": "pageView",
                    "page": "start",
                    "password": "canary",
                    "_x": "canary",
                    "secret_x": ["canary"],
                },
            )
        raw = requests()
    assert CANARY.encode() not in b"".join(raw).lower()
    (event,) = events_in(raw)
    assert set(event) == {*REQUIRED, "page"}


def test_what_instrumentations_add_is_not_sent() -> None:
    """Trace ids, service names and private attributes are excluded by default."""
    noise = {
        "otelTraceID": "canary",
        "otelServiceName": "canary",
        "dd.service": "canary",
        "dd.env": "canary",
        "_request": "canary",
    }
    with sent() as (logger, requests):
        logger.info("x", extra={**WHO, "action": "pageView", **noise})
        raw = requests()
    assert CANARY.encode() not in b"".join(raw).lower()


def test_what_fields_reads_from_is_not_sent() -> None:
    """Also in an explicit event: the request itself is not sent, only the value read from it."""
    request = {"user": {"id": 7, "email": "canary"}, "headers": {"cookie": "canary"}}
    with sent(fields={"userId": "request.user.id"}) as (logger, requests):
        logger.info("x", extra={"accountId": "acme", "action": "pageView", "request": request})
        raw = requests()
    assert CANARY.encode() not in b"".join(raw).lower()
    assert events_in(raw)[0]["userId"] == "7"


def test_a_derived_session_does_not_reveal_the_user() -> None:
    """It contains neither the account nor the user."""
    for session in ("window", "idle"):
        formatter = EventFormatter(session=session)
        event = formatter.event(
            logging.makeLogRecord({"accountId": "acme-4711", "userId": "ann", "action": "x"})
        )
        assert event is not None
        assert "acme" not in event["sessionId"]
        assert "4711" not in event["sessionId"]
        assert "ann" not in event["sessionId"]


def test_the_headers_reveal_nothing_about_the_machine() -> None:
    """The headers name fslog and its version, but no host, user, platform or program."""
    with sent() as (logger, requests):
        logger.info("x", extra={**WHO, "action": "pageView"})
        (request,) = requests()
    head = request.partition(b"\r\n\r\n")[0].decode()
    names = {line.partition(":")[0].lower() for line in head.splitlines()[1:]}
    assert names == {
        *("host", "accept-encoding", "content-length", "content-type", "user-agent"),
    }
    (agent,) = [line for line in head.splitlines() if line.lower().startswith("user-agent:")]
    assert agent.split("/")[0].endswith("fslog")
    assert "python" not in agent.lower()


KEY = "correct horse battery staple"
ANN = "ann-4711"
PRIVATE = {"email": "drop", "userId": "hash", "details.email": "drop", "ip": "drop"}


@pytest.mark.parametrize("spool", [False, True], ids=["memory", "spool"])
def test_what_is_redacted_does_not_leave(
    spool: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in a request, not in the spool, not in a problem, not on a logger: only as a hash."""
    monkeypatch.setenv("FSLOG_HASH_KEY", KEY)
    told: list[Problem] = []
    arguments: dict[str, Any] = {"spool": tmp_path} if spool else {}
    with (
        sent(redact=PRIVATE, on_problem=told.append, **arguments) as (logger, requests),
        logged() as records,
    ):
        private = {"email": ANN, "details": {"email": ANN, "role": "x"}, "ip": ANN}
        for _ in range(3):
            logger.info("x", extra={**WHO, "userId": ANN, "action": "x", **private})
        for user in (ANN, 1.0625):
            extra = {**WHO, "userId": user, "action": "features", **private}
            logger.info("x", extra=extra)
        on_disk = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        raw = requests()
    said = [record.getMessage() for record in records]
    for text in (b"".join(raw).decode(), on_disk.decode(errors="replace"), repr(told), *said):
        assert KEY not in text
        assert ANN not in text
    events = events_in(raw)
    digest = hmac.new(KEY.encode(), ANN.encode(), hashlib.sha256).hexdigest()
    assert [event["userId"] for event in events] == [digest] * 4
    assert all(event["details"] == {"role": "x"} for event in events)
    assert {problem.code for problem in told} == {"looks_misspelt", "wrong_type"}


@contextmanager
def logged() -> Iterator[list[logging.LogRecord]]:
    """Collect what the logger `fslog` says."""
    found: list[logging.LogRecord] = []
    listening = logging.Handler()
    listening.emit = found.append  # type: ignore[method-assign]
    logger = logging.getLogger("fslog")
    logger.addHandler(listening)
    try:
        yield found
    finally:
        logger.removeHandler(listening)


def test_who_is_excluded_does_not_leave() -> None:
    """Their events are counted as such, are no problem, and reach neither endpoint nor spool."""
    told: list[Problem] = []
    with sent(excluded={"users": ["*@staff.example"]}, on_problem=told.append) as (
        logger,
        requests,
    ):
        handler = logger.handlers[0]
        assert isinstance(handler, FreshsuccessHandler)
        for user in ("ann", "canary@staff.example", "bob", "", "canary2@staff.example"):
            logger.info("x", extra={"accountId": "acme", "userId": user, "action": "x"})
        logger.info("said")
        raw = requests()
        stats = handler.stats()
    assert CANARY.encode() not in b"".join(raw).lower()
    assert [event["userId"] for event in events_in(raw)] == ["ann", "bob"]
    assert [problem.code for problem in told] == ["empty"]
    assert (stats.emitted, stats.skipped, stats.excluded) == (6, 1, 2)
    assert (stats.invalid, stats.accepted, stats.delivered) == (1, 2, 2)


def test_an_exclusion_that_fails_lets_nothing_out() -> None:
    """Its events are invalid; that is said once, without the text of the exception."""
    told: list[Problem] = []

    def fail(event: Mapping[str, Any]) -> bool:
        raise LookupError(event["userId"])

    with (
        sent(excluded=fail, on_problem=told.append) as (logger, requests),
        logged() as records,
    ):
        handler = logger.handlers[0]
        assert isinstance(handler, FreshsuccessHandler)
        for number in range(3):
            logger.info("x", extra={**WHO, "userId": f"canary{number}", "action": "x"})
        assert requests() == []
        assert handler.stats().invalid == 3
    assert [problem.code for problem in told] == ["exclusion"] * 3
    (message,) = [record.getMessage() for record in records]
    assert "excluded raised LookupError" in message
    assert "canary0" not in message


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("activeDuration", {"track_time": True}),
        ("timeSpent", {"track_time": True}),
        ("spent", {"time_properties": {"moduleEnd": "spent"}}),
    ],
)
def test_a_time_that_is_made_after_the_redaction_cannot_be_redacted(
    name: str, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would leave, although `redact` says that it never does; as an extra it can be dropped."""
    monkeypatch.setenv("FSLOG_HASH_KEY", KEY)
    for became in ("drop", "hash"):
        words = rf"redact\.{name} is '{became}'.*track_time"
        with pytest.raises(ValueError, match=words):
            FreshsuccessHandler(enabled=False, redact={name: became}, **arguments)
        with pytest.raises(ValueError, match=words):
            FreshsuccessHandler(enabled=False, **arguments).setFormatter(
                EventFormatter(redact={name: became})
            )
        FreshsuccessHandler(enabled=False, redact={name: became}).close()
    FreshsuccessHandler(enabled=False, redact={name: "keep"}, **arguments).close()


def test_a_relay_redacts_and_excludes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain handler writes the same lines, and none of who is excluded."""
    monkeypatch.setenv("FSLOG_HASH_KEY", KEY)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    formatter = EventFormatter(redact=PRIVATE, excluded={"accounts": ["test-*"]})
    handler.setFormatter(formatter)
    handler.addFilter(formatter)
    logger = logging.Logger("app")
    logger.addHandler(handler)
    logger.info("x", extra={**WHO, "userId": CANARY, "action": "x", "email": CANARY})
    logger.info("x", extra={**WHO, "accountId": "test-1", "userId": CANARY, "action": "x"})
    (line,) = stream.getvalue().splitlines()
    assert CANARY not in line
    assert json.loads(line)["userId"] == hashed(CANARY, KEY.encode())


NAMES = ["accountId", "userId", "sku", "order_id", "order_no", "x", "xy", "tenant", "_z", "a.b"]
GLOBS = ["*", "order_*", "o*d", "s?u", "x", "[xs]*", "_*", "a.b", "a?b", "nothing"]

extras_given = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 9), max_size=8)


@given(
    extras_given,
    st.lists(st.sampled_from(GLOBS), max_size=3),
    st.dictionaries(st.sampled_from(["free", "x"]), st.integers(1, 9)),
)
def test_rule_made_events_agree_with_the_design(
    extra: Mapping[str, Any], include: list[str], nested: Mapping[str, Any]
) -> None:
    """For any extras and `include`: only named properties; globs match whole names, with case."""
    formatter = EventFormatter(
        rules=[{"when": {}, "event": {"action": "search", "ruled": 1}}],
        include=include,
        fields={"plan": "tenant"},
        defaults={"accountId": "d", "userId": "d"},
    )
    event = formatter.event(logging.makeLogRecord({**extra, "event": nested}))
    assert event is not None
    named = {"action", "ruled", *REQUIRED, *nested} | ({"plan"} if "tenant" in extra else set())
    included = {name for name in extra if any(fnmatchcase(name, glob) for glob in include)}
    assert set(event) == named | included


@given(extras_given, st.lists(st.sampled_from(GLOBS), max_size=3))
def test_explicit_events_agree_with_the_design(
    extra: Mapping[str, Any], exclude: list[str]
) -> None:
    """All extras except `exclude` and what `fields` reads from."""
    formatter = EventFormatter(
        exclude=[glob for glob in exclude if glob != "*"],
        fields={"plan": "tenant.plan"},
        defaults={"accountId": "d", "userId": "d"},
    )
    event = formatter.event(logging.makeLogRecord({**extra, "action": "search"}))
    assert event is not None
    kept = {
        name
        for name in extra
        if name != "tenant" and not any(fnmatchcase(name, g) for g in exclude if g != "*")
    }
    assert set(event) == {*REQUIRED, *kept}
