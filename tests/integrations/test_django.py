"""The middleware for Django, without a server: its setting, its user, its session."""

from __future__ import annotations

import asyncio
import datetime
import logging
import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from fslog import FreshsuccessHandler, context
from fslog.integrations.django import IdentityMiddleware
from fslog.integrations.identity import UNKNOWN
from fslog.testing import Capture

Configure = Callable[..., None]

PATHS = {"accountId": "user.account_id", "userId": "user.pk"}
ANN = {"accountId": "acme", "userId": 7}
USER = SimpleNamespace(account_id="acme", pk=7)
ANONYMOUS = SimpleNamespace(pk=None)  # as Django's `AnonymousUser` has no attributes of a model
BACKENDS = "django.contrib.sessions.backends"


@pytest.fixture(autouse=True)
def _nobody() -> Iterator[None]:
    context.clear()
    yield
    context.clear()


@pytest.fixture
def configure() -> Iterator[Configure]:
    """Return what configures Django, for this test."""
    from django.conf import UserSettingsHolder, global_settings, settings

    def configure(identity: Any = PATHS, **values: Any) -> None:
        holder = UserSettingsHolder(global_settings)
        for name, value in {"FSLOG_IDENTITY": identity, "SECRET_KEY": "s" * 50, **values}.items():
            setattr(holder, name, value)
        settings._wrapped = holder

    before = settings._wrapped
    yield configure
    settings._wrapped = before


def bound(request: Any) -> Any:
    """Be a view that responds with what is bound."""
    return dict(context.current())


async def abound(request: Any) -> Any:
    """Be an asynchronous view that responds with what is bound."""
    return dict(context.current())


def respond(request: Any) -> Any:
    return IdentityMiddleware(bound)(request)


def arespond(request: Any) -> Any:
    """Handle a request in a task, as Django's handler for ASGI does."""

    async def main() -> Any:
        response = await IdentityMiddleware(abound)(request)
        assert dict(context.current()) == response  # as for the access line, later in this task
        return response

    return asyncio.run(main())


MODES = pytest.mark.parametrize("respond", [respond, arespond], ids=["sync", "async"])


def who(request: Any) -> Any:
    return None if request.user.pk is None else {"accountId": "acme", "userId": request.user.pk}


async def awho(request: Any) -> Any:
    await asyncio.sleep(0)
    return who(request)


@MODES
@pytest.mark.parametrize("identity", [PATHS, who, awho, f"{__name__}.who", f"{__name__}.awho"])
def test_each_kind_of_setting(respond: Any, identity: Any, configure: Configure) -> None:
    """The user is bound, and nothing for an anonymous user, whoever was bound before."""
    configure(identity)
    for user, expected in [(USER, ANN), (ANONYMOUS, {}), (USER, ANN)]:
        context.bind(userId="bob")
        assert respond(SimpleNamespace(user=user)) == expected


@MODES
def test_paths_are_read_where_queries_are_allowed(respond: Any, configure: Configure) -> None:
    """Django refuses a query in an event loop's thread."""
    from django.utils.asyncio import async_unsafe

    class User:
        account_id = "acme"

        @property
        @async_unsafe("a query")
        def pk(self) -> int:
            return 7

    configure()
    assert respond(SimpleNamespace(user=User())) == ANN


@MODES
@pytest.mark.parametrize(
    ("identity", "named"),
    [
        (PATHS, "FSLOG_IDENTITY (request.user.pk)"),
        (who, f"{__name__}.who"),
        (awho, f"{__name__}.awho"),
    ],
)
def test_a_failure(
    respond: Any,
    identity: Any,
    named: str,
    configure: Configure,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The request is handled as nobody's; the notice names what failed, without the text."""

    class User:
        account_id = "acme"

        @property
        def pk(self) -> int:
            raise LookupError("token-of-bob")

    configure(identity)
    assert respond(SimpleNamespace(user=User())) == UNKNOWN
    (message,) = [record.getMessage() for record in caplog.records if record.name == "fslog"]
    assert message.startswith(f"{named} raised LookupError: ")
    assert "token-of-bob" not in caplog.text


DETAILS = {
    "details": {"name": "user.name", "joinDate": "user.date_joined", "title": "user.title"},
    "accountDetails": {"tier": "user.account.tier"},
}
JOINED = datetime.datetime(2026, 1, 31, tzinfo=datetime.timezone.utc)


@pytest.fixture
def usage(freshsuccess: Capture) -> Iterator[logging.Handler]:
    """Return a handler of the root logger."""
    handler = FreshsuccessHandler()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)
    handler.close()


def who_with_details(request: Any) -> Any:
    details = {"name": "Ann", "joinDate": JOINED}
    return {**ANN, "details": details, "accountDetails": {"tier": "gold"}}


@MODES
@pytest.mark.parametrize("identity", [{**PATHS, **DETAILS}, who_with_details])
def test_details_are_sent_once_and_not_bound(
    respond: Any,
    identity: Any,
    configure: Configure,
    freshsuccess: Capture,
    usage: logging.Handler,
) -> None:
    """Paths of details are read like others; what has no value is left out."""
    configure(identity)
    account = SimpleNamespace(tier="gold")
    user = SimpleNamespace(**vars(USER), name="Ann", date_joined=JOINED, account=account)
    for _ in range(2):
        assert respond(SimpleNamespace(user=user)) == ANN
    found = [(event["action"], event["details"]) for event in freshsuccess.events]
    assert found == [
        ("identifyUser", {"name": "Ann", "joinDate": 1_769_817_600_000}),
        ("identifyAccount", {"tier": "gold"}),
    ]


@MODES
def test_details_that_cannot_be_read(
    respond: Any,
    configure: Configure,
    freshsuccess: Capture,
    usage: logging.Handler,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The user is bound, and other details are sent; of an anonymous user none are read."""

    class User:
        account_id = "acme"
        account = SimpleNamespace(tier="gold")

        def __init__(self, pk: Any) -> None:
            self.pk = pk
            self.reads = 0

        @property
        def name(self) -> str:
            self.reads += 1
            raise LookupError("token-of-bob")

    configure({**PATHS, **DETAILS})
    user, anonymous = User(7), User(None)
    assert respond(SimpleNamespace(user=user)) == ANN
    assert respond(SimpleNamespace(user=anonymous)) == {"accountId": "acme"}
    assert (user.reads, anonymous.reads) == (1, 0)
    assert [event["action"] for event in freshsuccess.events] == ["identifyAccount"]
    (text,) = [record.getMessage() for record in caplog.records if record.name == "fslog"]
    assert text.startswith("FSLOG_IDENTITY (request.user.name) raised LookupError: its details ")


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        (None, "FSLOG_IDENTITY is not set; expected a mapping"),
        ({}, "FSLOG_IDENTITY is empty; expected a mapping"),
        (["userId"], "FSLOG_IDENTITY is of type list; expected a mapping"),
        ({1: "user.pk"}, "FSLOG_IDENTITY has the key 1"),
        ({"userID": "user.pk"}, "FSLOG_IDENTITY has the property 'userID'; did you mean 'userId'?"),
        ({"account_id": "user.pk"}, "'account_id'; did you mean 'accountId'?"),
        ({"action": "user.pk"}, "FSLOG_IDENTITY has an action, which only"),
        ({"userId": "user..pk"}, "FSLOG_IDENTITY['userId']: the path 'user..pk' has an empty part"),
        ({"userId": "user.get_username()"}, "FSLOG_IDENTITY['userId']: the path"),
        ({"userId": 7}, "FSLOG_IDENTITY['userId']: 7 is not a path"),
        ({"userId": "request.user.pk"}, "FSLOG_IDENTITY['userId'] is 'request.user.pk'; write "),
        ({"sessionId": "session.session_key"}, "FSLOG_IDENTITY['sessionId'] is the session's key"),
        ({"details": "user.profile"}, "FSLOG_IDENTITY['details'] is of type str; expected a mappi"),
        ({"details": {"name": 7}}, "FSLOG_IDENTITY['details']['name']: 7 is not a path"),
        ({"accountDetail": {}}, "the property 'accountDetail'; did you mean 'accountDetails'?"),
        ("who", "FSLOG_IDENTITY is 'who', which cannot be imported"),
        (f"{__name__}.whom", f"FSLOG_IDENTITY is '{__name__}.whom', which cannot be imported"),
        (f"{__name__}.PATHS", f"FSLOG_IDENTITY ({__name__}.PATHS) is of type dict"),
    ],
)
def test_an_error_in_the_setting(identity: Any, message: str, configure: Configure) -> None:
    """The server does not start, and the message names the setting."""
    from django.core.exceptions import ImproperlyConfigured

    configure(identity)
    with pytest.raises(ImproperlyConfigured, match=re.escape(message)):
        IdentityMiddleware(bound)


def test_without_the_next_middleware() -> None:
    """As for Django's own middleware, it is an error."""
    with pytest.raises(TypeError, match="get_response is of type NoneType"):
        IdentityMiddleware(None)  # type: ignore[arg-type]


def test_other_properties_are_allowed(configure: Configure) -> None:
    """Only names close to the ids are taken for mistakes."""
    configure({**PATHS, "plan": "user.plan", "users": "user.users"})
    assert respond(SimpleNamespace(user=SimpleNamespace(**vars(USER), plan="gold"))) == {
        **ANN,
        "plan": "gold",
    }


@pytest.mark.parametrize("is_async", [False, True])
def test_django_finds_the_mode(is_async: bool, configure: Configure) -> None:
    """Django runs the middleware in its own mode, without a thread in between."""
    from asgiref.sync import iscoroutinefunction

    configure()
    made = IdentityMiddleware(abound if is_async else bound)
    assert iscoroutinefunction(made) is is_async
    assert IdentityMiddleware.sync_capable
    assert IdentityMiddleware.async_capable


def test_the_signals_clear(configure: Configure) -> None:
    """Django's handler for WSGI clears the context before the first middleware and at the end."""
    from django.core.handlers.wsgi import WSGIHandler
    from django.core.signals import request_finished, request_started

    configure()
    IdentityMiddleware(bound)
    for signal in (request_started, request_finished):
        context.bind(userId="bob")
        signal.send(sender=WSGIHandler, environ={})
        assert dict(context.current()) == {}


# The session.


def session(kind: str, *, is_saved: bool = True) -> Any:
    """Return a session as `SessionMiddleware` makes one for a request with a cookie."""
    from importlib import import_module

    store = import_module(f"{BACKENDS}.{kind}").SessionStore
    first = store()
    first["user"] = 7
    if is_saved:
        first.save()
    return store(first.session_key)


def read_user(request: Any) -> Any:
    return {"userId": request.session["user"]}


@MODES
def test_the_session_becomes_a_digest(respond: Any, configure: Configure) -> None:
    """Requests of one session have one `sessionId`, which is not its key; other sessions differ."""
    configure(read_user)
    ann, bob = session("cache"), session("cache")
    first, again, other = (respond(SimpleNamespace(session=one)) for one in (ann, ann, bob))
    assert re.fullmatch("[0-9a-f]{32}", first["sessionId"])
    assert first == again
    assert first["sessionId"] not in (ann.session_key, other["sessionId"])


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("cache", {"userId": 7}),  # the session was not accessed
        ("cache", {"userId": None}),
        ("signed_cookies", {"userId": 7}),
    ],
)
def test_when_there_is_no_session_id(kind: str, found: Any, configure: Configure) -> None:
    """None of a session that `who` has not read, of an anonymous user, or of a changing key."""
    configure(lambda request: found)
    one = session(kind)
    if kind == "signed_cookies" or found["userId"] is None:
        assert one["user"] == 7
    assert "sessionId" not in respond(SimpleNamespace(session=one))
    assert one.accessed is (kind == "signed_cookies" or found["userId"] is None)


def test_an_own_session_id_wins(configure: Configure) -> None:
    """The application may have sessions of its own."""
    configure(lambda request: {**read_user(request), "sessionId": "s"})
    assert respond(SimpleNamespace(session=session("cache")))["sessionId"] == "s"


@pytest.mark.parametrize("identity", [{"userId": "META.REMOTE_USER"}, read_user])
def test_no_header_is_added(identity: Any, configure: Configure) -> None:
    """A response varies on the cookie only if the session was read for the user."""
    from django.contrib.sessions.middleware import SessionMiddleware
    from django.http import HttpResponse
    from django.test import RequestFactory

    configure(identity, SESSION_ENGINE=f"{BACKENDS}.cache")
    request = RequestFactory().get("/", REMOTE_USER="ann")
    request.COOKIES["sessionid"] = session("cache").session_key
    chain = SessionMiddleware(IdentityMiddleware(lambda request: HttpResponse()))
    assert chain(request).has_header("Vary") is (identity is read_user)
    assert context.current()["userId"] == ("ann" if isinstance(identity, dict) else 7)
    assert ("sessionId" in context.current()) is (identity is read_user)
    assert logging.getLogger("fslog").handlers == []
