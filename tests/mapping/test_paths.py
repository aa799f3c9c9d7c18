"""Where a value lives on a record: paths that are read without calling or changing anything."""

from __future__ import annotations

import functools
import logging
import sys
from collections import OrderedDict, UserDict, defaultdict, namedtuple
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.utils.functional import SimpleLazyObject
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from fslog.mapping.paths import MISSING, RECORD_ATTRIBUTES, SOURCES, Unreadable, compile_path, parse

Point = namedtuple("Point", ["x", "y"])


def record(msg: Any = "exported %s rows", args: Any = (), **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("app.reports", logging.INFO, "/srv/app.py", 7, msg, args, None)
    made.__dict__.update(extra)
    return made


def read(path: str, **extra: Any) -> Any:
    return compile_path(path)(record(**extra))


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("levelname", ("levelname",)),
        ("request.user.id", ("request", "user", "id")),
        ("args.0", ("args", "0")),
        ("args.{x-tenant}i", ("args", "{x-tenant}i")),
        ("tenant-id.a b", ("tenant-id", "a b")),
    ],
)
def test_a_path_is_its_parts(path: str, parts: tuple[str, ...]) -> None:
    """Dots separate the parts; no other character has a meaning."""
    assert parse(path) == parts


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("", "empty"),
        (".", "empty"),
        ("a.", "empty"),
        (".a", "empty"),
        ("a..b", "empty"),
        ("0", "number"),
        ("0.a", "number"),
        ("_a", "underscore"),
        ("_a.b", "underscore"),
        ("a.b.__class__", "underscore"),
        ("__dict__", "underscore"),
    ],
)
@pytest.mark.parametrize("function", [parse, compile_path])
def test_a_wrong_path_is_a_value_error(
    function: Callable[[object], object], path: str, word: str
) -> None:
    """The error has the path and the reason."""
    with pytest.raises(ValueError, match=word) as caught:
        function(path)
    assert repr(path) in str(caught.value)


@pytest.mark.parametrize("path", [None, 5, b"a", ["a"], ("a", "b")])
def test_a_path_is_text(path: object) -> None:
    """The error has the value that is not a string."""
    with pytest.raises((ValueError, TypeError)) as caught:
        parse(path)
    assert repr(path) in str(caught.value)


def test_what_every_record_has_is_known_for_every_python() -> None:
    """Attributes of records of Python 3.10 to 3.13, and of formatters, are not extras."""
    until_311 = {
        *(
            "name",
            "msg",
            "args",
            "levelname",
            "levelno",
            "pathname",
            "filename",
            "module",
        ),
        *(
            "exc_info",
            "exc_text",
            "stack_info",
            "lineno",
            "funcName",
            "created",
            "msecs",
        ),
        *("relativeCreated", "thread", "threadName", "processName", "process"),
    }
    assert until_311 | {"taskName", "message", "asctime"} == RECORD_ATTRIBUTES
    assert set(record().__dict__) <= RECORD_ATTRIBUTES
    assert RECORD_ATTRIBUTES | {"logger", "formatted_message"} == SOURCES
    assert ("taskName" in record().__dict__) == (sys.version_info >= (3, 12))


def test_attributes_keys_and_indexes_are_read() -> None:
    """A path can have attributes, mapping keys and sequence indexes, in any order."""
    user = SimpleNamespace(id=7, roles=["admin", {"name": "owner"}], at=Point(1, 2))
    extra = {"request": SimpleNamespace(user=user, session={"key": "s-1"})}
    assert read("request.user.id", **extra) == 7
    assert read("request.user.roles.0", **extra) == "admin"
    assert read("request.user.roles.1.name", **extra) == "owner"
    assert read("request.session.key", **extra) == "s-1"
    assert (read("request.user.at.y", **extra), read("request.user.at.1", **extra)) == (
        2,
        2,
    )
    assert read("request.user.roles", **extra) is user.roles


@pytest.mark.parametrize(
    "mapping",
    [{"a": 1}, OrderedDict(a=1), MappingProxyType({"a": 1}), UserDict({"a": 1})],
    ids=lambda mapping: type(mapping).__name__,
)
def test_every_kind_of_mapping_is_read_by_key(mapping: Mapping[str, int]) -> None:
    """Any Mapping has keys; its methods are not read."""
    assert read("m.a", m=mapping) == 1
    for name in ("b", "items", "keys", "0"):
        assert read(f"m.{name}", m=mapping) is MISSING


def test_numbers_are_keys_too() -> None:
    """In a mapping a number is first a text key, then a whole-number key."""
    assert read("m.1", m={1: "one"}) == "one"
    assert read("m.1", m={1: "one", "1": "text"}) == "text"
    assert read("m.01", m={1: "one"}) in ("one", MISSING)


def test_a_key_may_be_spelled_as_access_logs_do() -> None:
    """Gunicorn's atoms have names such as `{x-tenant}i`."""
    args = ({"{x-tenant}i": "acme", "m": "POST"},)
    assert compile_path("args.{x-tenant}i")(record(args=args)) == "acme"
    assert compile_path("args.m")(record(args=args)) == "POST"


def test_arguments_are_read_by_index() -> None:
    """`args.0` is the first argument of the log call, of whatever type."""
    made = record(args=(3, {"k": [None, 5]}))
    assert compile_path("args.0")(made) == 3
    assert compile_path("args.1.k.1")(made) == 5
    assert compile_path("args.1.k.0")(made) is None


def test_message_and_logger_are_the_plainer_names() -> None:
    """`message` is the unformatted one, whatever a formatter has set; `logger` is the name."""
    made = record(args=(3,), message="exported 3 rows")
    assert compile_path("message")(made) == "exported %s rows"
    assert compile_path("logger")(made) == "app.reports"
    assert compile_path("msg")(made) == "exported %s rows"
    assert compile_path("name")(made) == "app.reports"


@pytest.mark.parametrize(
    "path",
    [
        "nobody",
        "nobody.at.all",
        "args.2",
        "args.-1",
        "args.99999999999999999999999999",
        "args.zero",
        "args.0.0",  # no indexing into text
        "items.1000000",
        "items.a",
        "none.a",
        "number.a",
        "tags.0",  # a set has no order
    ],
)
def test_what_is_not_there_is_missing(path: str) -> None:
    """A missing attribute, key or index is `MISSING`, however it is missing."""
    extra: dict[str, Any] = {"items": [1, 2], "none": None, "number": 5, "tags": {0, 1}}
    assert compile_path(path)(record(args=("a", "b"), **extra)) is MISSING


def test_none_is_a_value() -> None:
    """None is a value, and differs from an absent one."""
    assert read("user", user=None) is None
    assert read("user.id", user=SimpleNamespace(id=None)) is None


class Counted:
    """Count the accesses."""

    def __init__(self) -> None:
        self.calls = 0

    def method(self) -> int:
        self.calls += 1
        return 1

    def __call__(self) -> int:
        self.calls += 1
        return 1


def test_nothing_is_called() -> None:
    """Functions, methods, classes and callable objects are missing, not called."""
    counted = Counted()
    calls: list[int] = []
    extra = {
        "function": lambda: calls.append(1),
        "counted": counted,
        "holder": SimpleNamespace(counted=counted, kind=dict),
        "mapping": {"f": lambda: calls.append(1)},
    }
    for path in (
        "function",
        "counted",
        "counted.method",
        "counted.method.x",
        "holder.counted",
        "holder.counted.method",
        "holder.kind",
        "mapping.f",
        "getMessage",
        "getMessage.x",
        "msg.upper",
    ):
        assert read(path, **extra) is MISSING
    assert read("counted.calls", **extra) == 0
    assert calls == []


def test_a_defaultdict_does_not_grow() -> None:
    """A missing key is not looked up: reading creates nothing."""
    made: list[int] = []
    found: defaultdict[str, int] = defaultdict(lambda: made.append(1) or 0)
    found["here"] = 5
    assert read("found.here", found=found) == 5
    assert read("found.gone", found=found) is MISSING
    assert read("found.0", found=found) is MISSING
    assert (dict(found), made) == ({"here": 5}, [])


def test_missing_keys_are_not_made_up() -> None:
    """A dict's `__missing__` is not called."""

    class Guess(dict[str, str]):
        def __missing__(self, key: str) -> str:
            raise AssertionError(f"asked for {key}")

    assert read("atoms.u", atoms=Guess(m="POST")) is MISSING
    assert read("atoms.m", atoms=Guess(m="POST")) == "POST"


class Scope(Mapping[str, Any]):
    """A mapping with attributes, as Starlette's requests are."""

    def __init__(self, **scope: Any) -> None:
        self.scope = scope
        self.asked: list[str] = []

    def __getitem__(self, key: str) -> Any:
        return self.scope[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.scope)

    def __len__(self) -> int:
        return len(self.scope)

    @property
    def client(self) -> Any:
        return SimpleNamespace(host="10.0.0.1")

    @property
    def user(self) -> Any:
        assert "user" in self.scope, "no middleware"
        return self.scope["user"]

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        return "made up"


def test_of_a_mapping_the_key_counts_and_then_the_attribute() -> None:
    """If there is nothing at the key, or further on, the attribute is read."""
    request = Scope(client=("10.0.0.2", 1), user=SimpleNamespace(id=7), path="/x")
    found = {
        path: read(f"r.{path}", r=request)
        for path in ("path", "client.0", "client.host", "user.id", "user.name", "scope.path")
    }
    assert found == {
        "path": "/x",
        "client.0": "10.0.0.2",
        "client.host": "10.0.0.1",
        "user.id": 7,
        "user.name": MISSING,
        "scope.path": "/x",
    }


def test_a_mapping_makes_up_no_attribute() -> None:
    """Only declared or stored attributes are read: `__getattr__` might create a key."""
    request = Scope()
    assert read("r.other", r=request) is MISSING
    assert request.asked == []

    class Growing(defaultdict[str, Any]):
        __getattr__ = defaultdict.__getitem__

    growing = Growing(dict)
    assert read("r.a.b", r=growing) is MISSING
    assert growing == {}


def test_a_mapping_whose_attributes_are_its_keys_is_read_once() -> None:
    """However long the path is, each step is tried once."""
    steps: list[str] = []

    class Node(dict[str, Any]):
        @property
        def a(self) -> Any:
            steps.append("a")
            return self["a"]

    node = Node()
    node["a"] = node
    assert read("n" + ".a" * 20 + ".b", n=node) is MISSING
    assert len(steps) == 20


def test_a_key_may_begin_with_an_underscore_an_attribute_may_not() -> None:
    """structlog's and GraphQL's mappings have such keys; attributes of that name are internal."""

    class Both(Mapping[str, Any]):
        _own = "attribute"

        def __getitem__(self, key: str) -> Any:
            return {"_key": "key"}[key]

        def __iter__(self) -> Iterator[str]:
            return iter(["_key"])

        def __len__(self) -> int:
            return 1

    values = {"plain": {"_id": 7, "__typename": "User"}, "both": Both(), "point": Point(1, 2)}
    assert read("v.plain._id", v=values) == 7
    assert read("v.plain.__typename", v=values) == "User"
    assert read("v.both._key", v=values) == "key"
    assert read("v.both._own", v=values) is MISSING
    assert read("v.point._fields", v=values) is MISSING
    assert read("v.holder._own", v={"holder": SimpleNamespace(_own="internal")}) is MISSING


class Session:
    """An object with keys that is no `Mapping`, as Django's sessions are: keys load it."""

    session_key = "s-1"

    def __init__(self) -> None:
        self.loads = 0

    def __getitem__(self, key: str) -> Any:
        return self._load()[key]

    def __contains__(self, key: object) -> bool:
        return key in self._load()

    def keys(self) -> Any:
        return self._load().keys()

    def _load(self) -> dict[str, Any]:
        self.loads += 1
        return {"account": {"slug": "acme"}, "session_key": "other", "_auth_user_id": "7"}


def test_an_object_with_keys_is_asked_for_the_attribute_first() -> None:
    """Reading the key of a session that nobody has used must not load it from a database."""
    session = Session()
    assert read("request.session.session_key", request={"session": session}) == "s-1"
    assert session.loads == 0
    assert read("session.account.slug", session=session) == "acme"
    assert read("session._auth_user_id", session=session) == "7"
    assert read("session.other", session=session) is MISSING
    assert read("session.keys", session=session) is MISSING


def test_a_session_that_cannot_be_loaded_is_not_missing() -> None:
    """Its database may be gone: the value is unreadable."""

    class Gone(Session):
        def _load(self) -> dict[str, Any]:
            raise RuntimeError("no database")

    with pytest.raises(Unreadable, match=r"session\.account raised RuntimeError: no database"):
        read("session.account", session=Gone())


@pytest.mark.parametrize(
    ("path", "message", "args", "found"),
    [
        ("formatted_message", "sold %s of %s", (3, "tea"), "sold 3 of tea"),
        ("formatted_message", "100%", (), "100%"),
        ("formatted_message.user.id", '{"user": {"id": 7}}', (), 7),
        ("formatted_message.tags.0", 'did it: {"tags": ["%s"]} in 3 ms', ("a",), "a"),
        ("formatted_message._id", '{"_id": 7}', (), 7),
        ("formatted_message.other", '{"user": 7}', (), MISSING),
        ("formatted_message.user", "sold {user}", (), MISSING),
        ("formatted_message.user", "sold tea", (), MISSING),
        ("formatted_message.user", '["user"]', (), MISSING),
        ("formatted_message.a", '{"a":' * 100_000, (), MISSING),
        ("formatted_message.a", '{"a":' * 10_000, (), MISSING),
        ("formatted_message.a", '{"a": 1}' + " " * 70_000, (), MISSING),
    ],
    ids=range(12),
)
def test_the_formatted_message_and_json_in_it_are_read(
    path: str, message: str, args: Any, found: Any
) -> None:
    """A step into the text reads the JSON object in it; text that is none has nothing."""
    assert compile_path(path)(record(message, args)) == found


def test_a_message_that_cannot_be_formatted_is_unreadable() -> None:
    """The log call's own mistake, as `handleError` reports it elsewhere."""
    with pytest.raises(Unreadable, match="formatted_message raised TypeError"):
        compile_path("formatted_message")(record("sold %s", (1, 2)))


def starlette_request() -> Request:
    headers = [(b"x-user", b"ann"), (b"cookie", b"sid=s-1"), (b"host", b"example.com")]
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": "/reports",
            "query_string": b"tenant=acme",
            "headers": headers,
            "client": ("10.0.0.1", 5),
            "path_params": {"id": 3},
        }
    )


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("headers.x-user", "ann"),
        ("client.host", "10.0.0.1"),
        ("client.port", 5),
        ("cookies.sid", "s-1"),
        ("query_params.tenant", "acme"),
        ("path_params.id", 3),
        ("url.path", "/reports"),
        ("method", "GET"),
        ("path", "/reports"),
        ("scope.path", "/reports"),
        ("state.tenant", "acme"),
        ("state.other", MISSING),
        ("headers.x-other", MISSING),
        ("cookies.other", MISSING),
        ("client.name", MISSING),
        ("other", MISSING),
        ("json", MISSING),
    ],
)
def test_a_starlette_request_is_read(path: str, expected: Any) -> None:
    """Its headers, client, cookies and so on, though it is a mapping of its scope."""
    request = starlette_request()
    request.state.tenant = "acme"
    assert read(f"request.{path}", request=request) == expected


def test_what_starlette_s_middleware_did_not_provide_cannot_be_read() -> None:
    """`request.user` and `request.session` raise without it; with it they are read."""
    for path in ("user.id", "session.key"):
        with pytest.raises(Unreadable, match=r"raised AssertionError: .*Middleware must be"):
            read(f"request.{path}", request=starlette_request())
    request = starlette_request()
    request.scope["user"], request.scope["session"] = SimpleNamespace(id=7), {"key": "k"}
    assert read("request.user.id", request=request) == 7
    assert read("request.session.key", request=request) == "k"


ERRORS = [
    ValueError,
    KeyError,
    AttributeError,
    IndexError,
    RecursionError,
    RuntimeError,
]


@pytest.mark.parametrize("error", ERRORS)
def test_what_raises_is_not_missing(error: type[Exception]) -> None:
    """A value that raises is unreadable, and differs from an absent one."""

    class Lazy:
        @property
        def name(self) -> str:
            raise error("no")

        @functools.cached_property
        def cached(self) -> str:
            raise error("no")

    class Odd(Mapping[str, int]):
        def __getitem__(self, key: str) -> int:
            raise error("no")

        def __iter__(self) -> Iterator[str]:
            raise error("no")

        def __len__(self) -> int:
            raise error("no")

        def __contains__(self, key: object) -> bool:
            return True

    class Row(list[int]):
        def __getitem__(self, index: Any) -> Any:
            raise error("no")

    class Named(logging.LogRecord):
        @property
        def tenant(self) -> str:
            raise error("no")

    lazy = SimpleLazyObject(Lazy)
    extra = {"lazy": Lazy(), "proxy": lazy, "odd": Odd(), "row": Row([1]), "in": {"a": Lazy()}}
    for path in (
        *("lazy.name", "lazy.cached", "odd.a", "row.0", "lazy.name.x", "in.a.name"),
        *("proxy.name", "proxy.name.x", "proxy.cached"),
    ):
        with pytest.raises(Unreadable) as caught:
            read(path, **extra)
        assert str(caught.value).startswith(f"{path} raised {error.__name__}")
        assert type(caught.value.error) is error
    with pytest.raises(Unreadable):
        compile_path("tenant")(Named("app", 20, "", 0, "", (), None))


def test_a_proxy_that_cannot_be_resolved_cannot_be_read() -> None:
    """Django's lazy `request.user` raises in an async view, before it has any attribute."""

    def fail() -> Any:
        raise SynchronousOnlyOperation("not from an async context")

    for path in ("user.id", "user.id.x"):
        with pytest.raises(Unreadable, match=f"^{path} raised SynchronousOnlyOperation: not from"):
            read(path, user=SimpleLazyObject(fail))


@pytest.mark.parametrize("error", [KeyError, RuntimeError, IndexError])
def test_a_getattr_that_raises_is_not_missing(error: type[Exception]) -> None:
    """But for an AttributeError, which means that there is no such attribute."""

    class Proxy:
        def __getattr__(self, name: str) -> Any:
            raise error("no")

    with pytest.raises(Unreadable):
        read("proxy.name", proxy=Proxy())

    class Refusing:
        def __getattr__(self, name: str) -> Any:
            raise AttributeError("no")

    assert read("proxy.name", proxy=Refusing()) is MISSING
    assert read("proxy.name", proxy=SimpleLazyObject(Refusing)) is MISSING


def test_an_attribute_that_is_not_set_is_missing() -> None:
    """A slot, and an annotated field, exist if they are set."""

    class Slotted:
        __slots__ = ("name",)
        other: str

    for path in ("s.name", "s.other", "p.name"):
        assert read(path, s=Slotted(), p=SimpleLazyObject(Slotted)) is MISSING


def test_a_descriptor_may_say_that_there_is_none() -> None:
    """Django's reverse one-to-one raises a class of AttributeError of its own: it is absent."""

    class DoesNotExist(AttributeError):
        pass

    class User:
        @property
        def profile(self) -> Any:
            raise DoesNotExist("the user has no profile")

    assert read("user.profile.plan", user=User()) is MISSING


def test_what_another_thread_takes_away_meanwhile_is_missing() -> None:
    """A key that is removed between check and look-up is absent."""

    class Passing(dict[str, int]):
        def __getitem__(self, key: str) -> int:
            del self[key]
            return super().__getitem__(key)

    class Shrinking(list[int]):
        def __getitem__(self, index: Any) -> Any:
            self.clear()
            return super().__getitem__(index)

    assert read("m.a", m=Passing(a=1)) is MISSING
    assert read("m.0", m=Shrinking([1])) is MISSING


def test_a_deep_path_is_read_without_recursion() -> None:
    """A path can have ten thousand steps."""
    value: Any = "end"
    for _ in range(10_000):
        value = {"a": value}
    assert read("v" + ".a" * 10_000, v=value) == "end"


def test_reading_leaves_the_record_as_it_is() -> None:
    """Reading changes neither the record nor its values."""
    extra: dict[str, Any] = {"a": {"b": [1, {"c": 2}]}, "d": defaultdict(list)}
    made = record(args=(1,), **extra)
    before = {name: repr(value) for name, value in made.__dict__.items()}
    for path in ("a.b.1.c", "a.x.y", "d.e.f", "nobody", "args.0", "args.9", "message"):
        compile_path(path)(made)
    assert {name: repr(value) for name, value in made.__dict__.items()} == before


@given(st.text(max_size=20) | st.lists(st.sampled_from(["a", "0", "_b", "é", ""])).map(".".join))
def test_any_text_is_a_path_or_a_value_error(text: str) -> None:
    """Any configured value is a path or a ValueError."""
    try:
        compiled = compile_path(text)
    except ValueError:
        return
    assert all(text.split("."))
    assert not text.startswith("_")
    compiled(record(args=(1, 2), a=[0, [1]], é={"0": {"a": 5}}))


@given(st.text(min_size=1, max_size=8).filter(lambda key: "." not in key and key[:2] != "__"))
def test_any_key_without_a_dot_can_be_named(key: str) -> None:
    """A mapping's key is found by its own text, whatever characters it has."""
    assert read(f"holder.{key}", holder={key: "found"}) == "found"
