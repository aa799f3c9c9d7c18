"""AWS Lambda: what was logged in an invocation has arrived when its response is sent."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fslog import FreshsuccessHandler, context
from fslog.collector import Answer, Collector
from fslog.integrations import aws
from processes import Process, started
from runtimeapi import RuntimeApi
from users import USERS

EVENT = {"accountId": "acme", "userId": "ann", "action": "feature", "feature": "f", "module": "m"}


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin as a new process does."""
    monkeypatch.setattr(aws, "_logged", {})
    vars(aws).pop("handler", None)
    context.clear()
    yield
    vars(aws).pop("handler", None)
    context.clear()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Yield an endpoint."""
    with Collector() as collector:
        yield collector


@pytest.fixture
def log(collector: Collector) -> Iterator[logging.Logger]:
    """Yield a logger whose events would wait for minutes."""
    handler = FreshsuccessHandler(
        auth_key="auth-key", api_key="api-key", endpoint=collector.url, flush_interval=600
    )
    log = logging.Logger("app")
    log.addHandler(handler)
    yield log
    collector.restore()
    handler.close()


class LambdaContext:
    """The context of an invocation that may take so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        """Return what is left, as the runtime's own context does."""
        return int(self.seconds * 1000)


def test_events_have_arrived_at_the_end(log: logging.Logger, collector: Collector) -> None:
    """The result is the function's own, whoever calls it how."""

    @aws.flushed(timeout=30)
    def lambda_handler(event: Any, context: Any) -> Any:
        """Handle an event."""
        log.info("used", extra={"event": EVENT})
        return event

    event = {"key": "value"}
    assert lambda_handler(event, LambdaContext(60)) is event
    assert len(collector.events) == 1
    assert lambda_handler(event=event, context=None) is event
    assert len(collector.events) == 2
    assert (lambda_handler.__name__, lambda_handler.__doc__) == (
        "lambda_handler",
        "Handle an event.",
    )


@pytest.mark.parametrize("error", [KeyError("k"), SystemExit(3)])
def test_events_of_a_function_that_raises(
    error: BaseException, log: logging.Logger, collector: Collector
) -> None:
    """Its exception is what the runtime gets."""

    @aws.flushed(timeout=30)
    def lambda_handler(event: Any, context: Any) -> None:
        log.info("used", extra={"event": EVENT})
        raise error

    with pytest.raises(type(error)) as caught:
        lambda_handler({}, None)
    assert caught.value is error
    assert error.__context__ is None
    assert len(collector.events) == 1


def test_an_endpoint_that_is_too_slow(
    log: logging.Logger, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """The function's result is returned in time; the delay is logged once; nothing is lost."""
    collector.always(Answer(then="hang"))

    @aws.flushed(timeout=0.05)
    def lambda_handler(event: Any, context: Any) -> str:
        log.info("used", extra={"event": EVENT})
        return "result"

    for _ in range(2):
        assert lambda_handler({}, None) == "result"
    said = [one.getMessage() for one in caplog.records if "invocation" in one.getMessage()]
    assert said == [
        "events were not delivered at the end of an invocation (timeout 0.05 s): the next one in "
        "this process sends them, if there is one. Logged once"
    ]
    collector.restore()
    assert log.handlers[0].flush(30)  # type: ignore[func-returns-value]
    assert len(collector.events) == 2


@pytest.mark.parametrize(
    ("left", "seconds"),
    [
        (60, 2.0),
        (1.2, 1.0),
        (0.1, 0.0),
        (-1, 0.0),
        (None, 2.0),
        (SimpleNamespace(), 2.0),
    ],
)
def test_a_flush_leaves_the_invocation_time_to_end(
    left: Any, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runtime ends a function that takes longer than it may."""
    asked: list[float] = []
    monkeypatch.setattr("fslog.handler.flush", lambda timeout: asked.append(timeout) or True)
    given = LambdaContext(left) if isinstance(left, (int, float)) else left
    aws.flushed()(lambda event, context: None)({}, given)
    assert asked == [pytest.approx(seconds)]


def test_an_invocation_leaves_no_user_bound() -> None:
    """What was bound before, in the initialization, is bound again."""
    seen = []

    @aws.flushed()
    def lambda_handler(event: Any, _: Any) -> None:
        seen.append(dict(context.current()))
        if event:
            context.bind(userId=event)

    context.bind(product="core")
    for user in ("ann", None, "bob", None):
        lambda_handler(user, None)
    assert seen == [{"product": "core"}] * 4


async def alambda_handler(event: Any, context: Any) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: aws.flushed(test_an_invocation_leaves_no_user_bound), "timeout is a function;"),  # type: ignore
        (lambda: aws.flushed("2"), "timeout is of type str; expected a number of seconds"),  # type: ignore
        (lambda: aws.flushed(timeout=-1), "timeout is -1; expected a finite number"),
        (lambda: aws.flushed()("app.f"), "handler is of type str; expected a callable"),  # type: ignore
        (lambda: aws.flushed()(alambda_handler), "handler is the coroutine function"),
    ],
)
def test_a_wrong_argument(make: Any, message: str) -> None:
    """The decorator fails when the module is loaded."""
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert str(caught.value).startswith(message)


# The handler that the environment names.

MODULE = "def lambda_handler(event, context):\n    return event\n\nlambda_handlers = 7\n"


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make modules of a function that can be imported."""
    import sys

    (tmp_path / "shop_lambda" / "no-name").mkdir(parents=True)
    for name in ("shop_app.py", "shop_lambda/app.py", "shop_lambda/no-name/app.py"):
        (tmp_path / name).write_text(MODULE, encoding="utf-8")
    (tmp_path / "shop_broken.py").write_text("import no_such_module", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.startswith("shop_")]:
        del sys.modules[name]


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(
    "name",
    [
        "shop_app.lambda_handler",
        "shop_lambda/app.lambda_handler",
        "shop_lambda.app.lambda_handler",
        "shop_lambda/no-name/app.lambda_handler",
    ],
)
def test_the_handler_of_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the function of that name, decorated."""
    monkeypatch.setenv("FSLOG_LAMBDA_HANDLER", name)
    assert aws.handler("event", None) == "event"
    assert aws.handler.__wrapped__.__name__ == "lambda_handler"
    assert aws.handler is aws.handler


EXPECTED = "expected module.function or package/module.function"


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, f"FSLOG_LAMBDA_HANDLER is not set; {EXPECTED}: that of your own handler"),
        ("", f"FSLOG_LAMBDA_HANDLER is not set; {EXPECTED}: that of your own handler"),
        *(
            (name, f"FSLOG_LAMBDA_HANDLER is {name!r}; {EXPECTED}")
            for name in ("lambda_handler", "shop_app.", ".lambda_handler", "./shop_app.f", "a//b.c")
        ),
        (
            "fslog.integrations.aws.handler",
            "FSLOG_LAMBDA_HANDLER is 'fslog.integrations.aws.handler', which is fslog's; "
            f"{EXPECTED} of your own handler",
        ),
        (
            "shop_other.lambda_handler",
            "FSLOG_LAMBDA_HANDLER is 'shop_other.lambda_handler': No module named 'shop_other'; "
            f"{EXPECTED}",
        ),
        (
            "shop_lambda/other.lambda_handler",
            "FSLOG_LAMBDA_HANDLER is 'shop_lambda/other.lambda_handler': "
            f"No module named 'shop_lambda.other'; {EXPECTED}",
        ),
        (
            "shop_broken.lambda_handler",
            "FSLOG_LAMBDA_HANDLER is 'shop_broken.lambda_handler': "
            "No module named 'no_such_module'",
        ),
        (
            "shop_app.lambda_handlers",
            "FSLOG_LAMBDA_HANDLER is 'shop_app.lambda_handlers', but shop_app has no such "
            "function; did you mean 'lambda_handler'?",
        ),
        (
            "shop_app.main",
            "FSLOG_LAMBDA_HANDLER is 'shop_app.main', but shop_app has no such function; "
            f"{EXPECTED}",
        ),
    ],
)
def test_an_environment_that_names_no_handler(
    name: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The initialization fails with the value and what is allowed."""
    if name is None:
        monkeypatch.delenv("FSLOG_LAMBDA_HANDLER", raising=False)
    else:
        monkeypatch.setenv("FSLOG_LAMBDA_HANDLER", name)
    with pytest.raises((ValueError, ImportError)) as caught:
        _ = aws.handler
    assert str(caught.value) == message


def test_another_name() -> None:
    """The module has no others."""
    with pytest.raises(AttributeError, match=r"has no attribute 'handle'$"):
        _ = aws.handle


# The runtime's own client.

APP = """
import logging
from fslog import FreshsuccessHandler, context

log = logging.getLogger("app")
log.setLevel(logging.INFO)
log.addHandler(FreshsuccessHandler(flush_interval=600))
EVENT = {"action": "feature", "module": "reports", "feature": "call"}


def lambda_handler(event, lambda_context):
    if event["user"]:
        context.bind(accountId="acme", userId=event["user"])
    log.info("used", extra={"event": {**EVENT, "number": event["number"]}})
    if event["number"] % 5 == 4:
        raise RuntimeError("the function failed")
    return event
"""


@contextlib.contextmanager
def runtime(api: RuntimeApi, handler: str) -> Iterator[Process]:
    """Run the runtime's client until the end of the block."""
    settings = {"AWS_LAMBDA_RUNTIME_API": api.address, "FSLOG_LAMBDA_HANDLER": handler}
    with (
        api,
        started(
            "",
            api.collector.url,
            flags=["-m", "awslambdaric"],
            arguments=["fslog.integrations.aws.handler"],
            files={"shop/app.py": APP},
            settings=settings,
        ) as process,
    ):
        yield process


@pytest.mark.slow
@pytest.mark.needs("awslambdaric>=3")
def test_24_invocations_in_the_runtime(collector: Collector) -> None:
    """Each event has arrived when the response is sent, so that SIGKILL loses none."""
    api = RuntimeApi([{"user": user, "number": n} for n, user in enumerate(USERS)], collector)
    with runtime(api, "shop/app.lambda_handler") as process:
        assert api.is_frozen.wait(60), process.written("err")
        process.send(signal.SIGKILL)
        process.end(10)
    known = [(n, user) for n, user in enumerate(USERS) if user]
    assert [(event["number"], event["userId"]) for event in collector.events] == known
    arrived = [sum(n <= number for n, _ in known) for number in range(24)]
    assert [answer[2] for answer in api.answers] == arrived
    for number, (kind, body, _) in enumerate(api.answers):
        if number % 5 == 4:
            assert (kind, body["errorType"]) == ("error", "RuntimeError")
        else:
            assert (kind, body) == ("response", {"user": USERS[number], "number": number})


@pytest.mark.slow
@pytest.mark.needs("awslambdaric>=3")
def test_a_wrong_name_in_the_runtime(collector: Collector) -> None:
    """The initialization fails, and Lambda shows the message."""
    api = RuntimeApi([], collector)
    with runtime(api, "shop/app.lambda_handlr") as process:
        assert process.end(60).code == 1
    ((_, body, _),) = api.answers
    assert body["errorType"] == "ValueError"
    assert body["errorMessage"].endswith("did you mean 'lambda_handler'?")
