"""What all integrations have in common: who is acting is bound, or nobody is."""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from fslog import FreshsuccessHandler, context
from fslog.integrations import aiohttp, asgi, flask, wsgi
from fslog.integrations.identity import UNKNOWN, Who, of_message
from fslog.testing import Capture
from needs import slow_but
from readme_blocks import environment

ANN = {"accountId": "acme", "userId": "ann"}

Serve = Callable[[Any], dict[str, Any]]
"""Handles one request of an application whose user `who` names; returns what is bound in it."""


@pytest.fixture(autouse=True)
def _nobody() -> Iterator[None]:
    context.clear()
    yield
    context.clear()


def by_wsgi(who: Any) -> dict[str, Any]:
    seen: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(dict(context.current()))
        return []

    list(wsgi.Identity(app, who)({}, None))
    return seen[0]


def by_asgi(who: Any) -> dict[str, Any]:
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(context.current()))

    asyncio.run(asgi.Identity(app, who)({"type": "http"}, None, None))  # type: ignore[arg-type]
    return seen[0]


def by_flask(who: Any) -> dict[str, Any]:
    import flask as framework

    app = framework.Flask("app")
    flask.identify(app, who)
    app.add_url_rule("/", view_func=lambda: dict(context.current()))
    return dict(app.test_client().get("/").get_json())


def by_aiohttp(who: Any) -> dict[str, Any]:
    from aiohttp import web
    from aiohttp.test_utils import make_mocked_request

    async def handler(request: Any) -> Any:
        return web.json_response(dict(context.current()))

    response: Any = asyncio.run(aiohttp.identity(who)(make_mocked_request("GET", "/"), handler))
    return dict(json.loads(response.text))


FLASK = pytest.mark.needs("flask>=3")
AIOHTTP = pytest.mark.needs("aiohttp>=3.8")
ALL = pytest.mark.parametrize(
    "serve",
    [
        by_wsgi,
        by_asgi,
        pytest.param(by_flask, marks=FLASK),
        pytest.param(by_aiohttp, marks=AIOHTTP),
    ],
)


@ALL
def test_what_who_returns_is_bound(serve: Serve) -> None:
    """Properties without a value are left out, and for an unknown user nothing is bound."""
    assert serve(lambda _: {**ANN, "plan": None}) == ANN
    assert serve(lambda _: None) == {}
    assert serve(lambda _: {}) == {}


@ALL
def test_what_was_bound_before_is_cleared(serve: Serve) -> None:
    """A request has nothing of what was bound earlier in its thread or task."""
    context.bind(userId="bob", plan="gold")
    assert serve(lambda _: ANN) == ANN
    context.bind(userId="bob", plan="gold")
    assert serve(lambda _: None) == {}


DETAILS = {"role": "admin", "since": datetime.date(2026, 1, 31)}


def test_a_generator_of_an_earlier_request_does_not_bind_its_user_again() -> None:
    """What an earlier request left open ends in a later one on the same thread, and stays away."""
    open_ones: list[Iterator[bytes]] = []
    seen: list[dict[str, Any]] = []

    def rows() -> Iterator[bytes]:
        with context.bound(report="sales"):
            yield b"1"

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["user"] == "ann":
            open_ones.append(rows())
            return [next(open_ones[0])]
        open_ones.pop().close()  # type: ignore[attr-defined]
        seen.append(dict(context.current()))
        return []

    served = wsgi.Identity(app, lambda environ: {"userId": environ["user"]})
    for user in ("ann", "bob"):
        body: Any = served({"user": user}, None)
        body.close()
    assert seen == [{"userId": "bob"}]


@pytest.fixture
def usage(freshsuccess: Capture) -> Iterator[logging.Handler]:
    """Return a handler of the root logger."""
    handler = FreshsuccessHandler()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)
    handler.close()


@ALL
def test_details_are_sent_and_not_bound(
    serve: Serve, freshsuccess: Capture, usage: logging.Handler
) -> None:
    """Those of user and account are sent inside the request, once until they change."""
    more = {"details": DETAILS, "accountDetails": {"tier": "gold"}, "sessionId": "s"}
    bound = {**ANN, "sessionId": "s"}
    for _ in range(3):
        assert serve(lambda _: {**ANN, **more}) == bound
    assert serve(lambda _: {**ANN, **more, "accountDetails": None}) == bound
    assert serve(lambda _: {**ANN, **more, "accountDetails": {"tier": "silver"}}) == bound
    user, account, silver = freshsuccess.events
    assert user["details"] == {"role": "admin", "since": 1_769_817_600_000}
    assert (account["details"], silver["details"]) == ({"tier": "gold"}, {"tier": "silver"})
    for event, action in [(user, "identifyUser"), (account, "identifyAccount")]:
        assert {**event, "action": action, **bound} == event


@ALL
def test_details_of_nobody_are_not_sent(
    serve: Serve, freshsuccess: Capture, usage: logging.Handler
) -> None:
    """Without a known user no event is made, not even an invalid one."""
    for nobody in ({}, {"userId": None}, {"accountId": "acme"}):
        found = {**nobody, "details": DETAILS, "accountDetails": {"tier": "gold"}}
        assert "details" not in serve(lambda _: found)  # noqa: B023
    assert freshsuccess.events == []
    assert freshsuccess.problems == []


@ALL
@pytest.mark.parametrize(
    ("details", "said"),
    [
        (["ann-the-admin"], "returned details of type list, not a mapping or None: its details "),
        ({7: "ann-the-admin"}, "returned details with a name that is not a string: its details "),
    ],
)
def test_wrong_details(
    serve: Serve,
    details: Any,
    said: str,
    freshsuccess: Capture,
    usage: logging.Handler,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The user is bound nevertheless; what is wrong is logged, without the details."""
    found = {**ANN, "details": details, "accountDetails": {"tier": "gold"}}
    assert serve(lambda _: found) == ANN
    assert [event["action"] for event in freshsuccess.events] == ["identifyAccount"]
    (text,) = [one.getMessage() for one in caplog.records if one.name == "fslog"]
    assert said in text
    assert "are not sent. Logged once" in text
    assert "ann-the-admin" not in text


def test_what_details_raise_is_logged_once_and_reaches_no_request(
    freshsuccess: Capture, usage: logging.Handler, caplog: pytest.LogCaptureFixture
) -> None:
    """Even if a filter of the application's raises in the log call, its user stays bound."""

    def fail(record: logging.LogRecord) -> bool:
        raise LookupError("token-of-ann")

    logger = logging.getLogger("fslog.events")
    logger.addFilter(fail)
    try:
        for role in ("admin", "owner"):
            found = {**ANN, "details": {"role": role}}
            assert by_wsgi(lambda _: found) == ANN  # noqa: B023
            made = Who(lambda _: found, "who")  # noqa: B023
            made.bind(None)
            made.bind(None)
    finally:
        logger.removeFilter(fail)
    texts = [one.getMessage() for one in caplog.records]
    assert len([text for text in texts if text.startswith("who raised LookupError: ")]) == 2
    assert "token-of-ann" not in caplog.text


def test_a_message_of_a_queue_has_no_details(freshsuccess: Capture, usage: logging.Handler) -> None:
    """Only what `who` returns is trusted to: a message that names details is not read for them."""
    who = Who(lambda _: {**ANN, "details": DETAILS}, "a message", check=of_message)
    who.bind(None)
    assert dict(context.current()) == ANN
    assert freshsuccess.events == []


def raises(_: Any) -> None:
    context.bind(userId="bob")
    raise KeyError("token-of-bob")


@ALL
@pytest.mark.parametrize(
    ("who", "said"),
    [
        (raises, f"{__name__}.raises raised KeyError: "),
        (lambda _: ["ann"], "returned a value of type list, not a mapping or None: "),
        (lambda _: {1: "ann"}, "returned a property whose name is not a string: "),
        (lambda _: {**ANN, "action": "feature"}, "returned an action, which only "),
    ],
    ids=["raises", "a list", "a number", "an action"],
)
def test_a_who_that_fails(
    serve: Serve, who: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The request is handled as nobody's; the cause is logged, without the exception's text."""
    context.bind(userId="bob")
    assert serve(who) == UNKNOWN
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("fslog", logging.WARNING)
    assert said in record.getMessage()
    assert "token-of-bob" not in record.getMessage()


def test_a_failure_is_logged_once_and_is_no_event(
    freshsuccess: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even a rule for the logger `fslog` makes an event of it; the function may recover."""
    event = {"action": "feature", "module": "m", "feature": "f"}
    rule = {"when": {"logger": "fslog"}, "event": event}
    handler = FreshsuccessHandler(rules=[rule], defaults={"accountId": "x", "userId": "y"})
    logging.getLogger().addHandler(handler)
    try:
        answers: list[Any] = [1, None, 2, ANN]
        who = Who(lambda _: answers.pop(0), "who")
        bound = []
        for _ in range(4):
            who.bind(None)
            bound.append(dict(context.current()))
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    assert bound == [UNKNOWN, {}, UNKNOWN, ANN]
    assert [record.name for record in caplog.records] == ["fslog"]
    assert freshsuccess.events == []


def test_a_request_of_an_unknown_user_is_not_one_of_the_defaults(freshsuccess: Capture) -> None:
    """After a failure, events are invalid unless they name their user themselves."""
    log = logging.Logger("app")
    log.addHandler(FreshsuccessHandler(defaults={"accountId": "x", "userId": "y"}))

    def use(**ids: Any) -> None:
        event = {"action": "feature", "module": "m", "feature": "f", **ids}
        log.info("used", extra={"event": event})

    for bound in ({}, UNKNOWN) * 50:  # the call site's encoder is compiled meanwhile
        context.clear()
        context.bind(**bound)
        use()
    assert [event["userId"] for event in freshsuccess.events] == ["y"] * 50
    assert {problem.property for problem in freshsuccess.problems} == {"accountId", "userId"}
    use(**ANN)
    assert freshsuccess.events[-1]["userId"] == "ann"


@pytest.mark.parametrize("ends", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("serve", [by_wsgi, by_asgi])
def test_the_end_of_the_process_passes(serve: Serve, ends: type[BaseException]) -> None:
    """`who` does not keep Ctrl-C from ending the process, and no user remains bound."""

    def who(_: Any) -> None:
        context.bind(userId="ann")
        raise ends

    with pytest.raises(ends):
        serve(who)
    if serve is by_wsgi:
        assert dict(context.current()) == {}


def test_a_timeout_by_a_signal_passes() -> None:
    """An exception of a signal handler that interrupts `who` reaches the request."""

    def handle(number: int, frame: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with pytest.raises(TimeoutError):
            by_wsgi(lambda _: signal.raise_signal(signal.SIGUSR1))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert dict(context.current()) == {}


def app(*_: Any) -> Any:
    raise AssertionError


async def who(_: Any) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: wsgi.Identity("app"), "app is of type str; expected a callable"),  # type: ignore
        (lambda: wsgi.Identity(app, {}), "who is of type dict; expected a callable"),  # type: ignore
        (lambda: wsgi.Identity(app, who), f"who is the coroutine function {__name__}.who;"),  # type: ignore
        (lambda: asgi.Identity(None, who), "app is of type NoneType; expected a callable"),  # type: ignore
        (lambda: asgi.Identity(app, "who"), "who is of type str; expected a callable"),  # type: ignore
        pytest.param(
            lambda: flask.identify(app, app),
            "app is of type function; expected a flask.Flask",
            marks=FLASK,
        ),
        pytest.param(
            lambda: aiohttp.identity({}),  # type: ignore[arg-type]
            "who is of type dict; expected a callable",
            marks=AIOHTTP,
        ),
    ],
)
def test_a_wrong_argument(make: Callable[[], object], message: str) -> None:
    """Construction fails and names the argument."""
    with pytest.raises(TypeError) as caught:
        make()
    assert str(caught.value).startswith(message)


@FLASK
def test_flask_with_a_wrong_who() -> None:
    """The application stays as it was."""
    import flask as framework

    app = framework.Flask("app")
    for wrong in (None, who):
        with pytest.raises(TypeError, match=r"^who is"):
            flask.identify(app, wrong)  # type: ignore[arg-type]
    assert app.before_request_funcs == {}
    assert "wsgi_app" not in vars(app)


@pytest.mark.parametrize(
    "module",
    slow_but(["flask", "celery"], ["wsgi", "asgi", "django", "flask", "aiohttp", "celery", "aws"]),
)
def test_an_import_loads_no_framework(module: str) -> None:
    """An integration can be imported without its framework, and starts no event loop."""
    program = (
        f"import sys, fslog.integrations.{module}\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    env = {name: value for name, value in environment({}).items() if "COVERAGE" not in name}
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "fslog" in loaded
    assert not loaded & {
        "flask",
        "werkzeug",
        "django",
        "asgiref",
        "starlette",
        "aiohttp",
        "celery",
        "kombu",
        "asyncio",
        "urllib3",
    }


# The body of a WSGI response.


class Closing(list[bytes]):
    closed = False

    def close(self) -> None:
        self.closed = True
        assert dict(context.current()) == ANN
        raise OSError


@pytest.mark.parametrize("kind", [list, Closing, iter])
def test_a_body_stays_what_it_was(kind: Any) -> None:
    """Its length, if it has one, and its `close` remain; the context is cleared at the end."""
    body = kind([b"a", b"b"])
    wrapped: Any = wsgi.Identity(lambda *_: body, lambda _: ANN)({}, None)
    assert hasattr(wrapped, "__len__") == hasattr(body, "__len__")
    assert list(wrapped) == [b"a", b"b"]
    assert dict(context.current()) == ANN
    with suppress(OSError):
        wrapped.close()
    assert dict(context.current()) == {}
    assert getattr(body, "closed", True)


def test_a_file_that_the_server_sends_itself() -> None:
    """The server gets the object of its own wrapper, and closing it clears the context."""
    from wsgiref.util import FileWrapper

    closed = []

    class File:
        def close(self) -> None:
            closed.append(dict(context.current()))

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        return environ["wsgi.file_wrapper"](File())

    body: Any = wsgi.Identity(app, lambda _: ANN)({"wsgi.file_wrapper": FileWrapper}, None)
    assert type(body) is FileWrapper
    body.close()
    assert closed == [ANN]
    assert dict(context.current()) == {}


# ASGI.


@AIOHTTP
def test_a_coroutine_function_as_who() -> None:
    """It is awaited, whatever kind of callable it is."""

    class AsyncCallable:
        async def __call__(self, scope: Any) -> dict[str, str]:
            await asyncio.sleep(0)
            return ANN

    for found in (AsyncCallable(), AsyncCallable().__call__, lambda scope: AsyncCallable()(scope)):
        assert by_asgi(found) == ANN
        assert by_aiohttp(found) == ANN


@pytest.mark.parametrize(("kind", "bound"), [("websocket", ANN), ("lifespan", {"product": "core"})])
def test_other_scopes(kind: str, bound: dict[str, str]) -> None:
    """A websocket is like a request; the lifespan is not changed."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(context.current()))

    context.bind(product="core")
    asyncio.run(asgi.Identity(app, lambda _: ANN)({"type": kind}, None, None))  # type: ignore
    assert seen == [bound]


def test_asgi_without_who_clears() -> None:
    """The application binds the user itself, later."""
    context.bind(userId="bob")
    assert by_asgi(None) == {}
