"""The handler's arguments: checked at construction, by name, and before logging hears of it."""

from __future__ import annotations

import inspect
import logging
import math
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from fslog import EventFormatter, FreshsuccessHandler, config
from fslog.collector import Collector
from fslog.delivery import notices
from rawserver import RawServer, answer

AUTH = "auth-s3cret-0123456789"
API = "api-s3cret-9876543210"
KEYS = {"auth_key": AUTH, "api_key": API}
EVENT = {"accountId": "acme", "userId": "ann", "action": "pageView", "page": "start"}


def record(**extra: Any) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "app", "levelno": 20, **EVENT, **extra})


@pytest.fixture(autouse=True)
def _as_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget which notices were logged."""
    monkeypatch.setattr(notices, "_logged_once", {})


@pytest.fixture
def handler() -> Iterator[Callable[..., FreshsuccessHandler]]:
    """Make handlers; at the end they are closed and their threads have ended."""
    before = set(threading.enumerate())
    made: list[FreshsuccessHandler] = []

    def make(**given: Any) -> FreshsuccessHandler:
        made.append(FreshsuccessHandler(**given))
        return made[-1]

    yield make
    for one in made:
        one.close()
    for thread in set(threading.enumerate()) - before:
        if thread.name == "fslog":
            thread.join(10)
            assert not thread.is_alive()


def test_the_defaults_are_the_design_s() -> None:
    """The documented defaults; every argument is a keyword, for dictConfig."""
    parameters = inspect.signature(FreshsuccessHandler).parameters
    defaults = {
        name: parameter.default
        for name, parameter in parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert defaults.pop("compression_level") in range(1, 10)  # by measurement
    mapping = {name for name in defaults if repr(defaults[name]) == "EventFormatter's"}
    left_out = {*mapping, "spool", "spool_max_bytes", "spool_min_free", "spool_fsync"}
    left_out |= {"spool_max_age"}
    assert {name: defaults[name] for name in defaults if name not in left_out} == {
        "auth_key": None,
        "api_key": None,
        "auth_key_file": None,
        "api_key_file": None,
        "datacenter": None,
        "endpoint": None,
        "level": logging.NOTSET,
        "compression": "deflate",
        "batch_events": 5_000,
        "batch_bytes": 1024 * 1024,
        "flush_interval": 5.0,
        "aggregate": None,
        "buffer_bytes": 64 * 1024 * 1024,
        "overflow": "refuse",
        "block_timeout": 10.0,
        "timeout": 10.0,
        "max_backoff": 60.0,
        "shutdown_timeout": 5.0,
        "flush_on_sigterm": "auto",
        "ca_certs": None,
        "proxy": None,
        "enabled": None,
        "max_per_second": None,
        "rejects": None,
        "on_problem": None,
        "track_time": False,
        "idle_after": 300.0,
        "time_properties": None,
    }
    assert {parameter.kind for parameter in parameters.values()} <= {
        inspect.Parameter.KEYWORD_ONLY,
        inspect.Parameter.VAR_KEYWORD,
    }


def test_arguments_are_given_by_keyword() -> None:
    """A positional argument is a TypeError, not a key."""
    with pytest.raises(TypeError):
        FreshsuccessHandler(AUTH, API)  # type: ignore[misc]


@pytest.mark.parametrize("made", [FreshsuccessHandler, EventFormatter])
def test_a_misspelt_argument_is_an_error_that_names_the_right_one(made: Callable[..., Any]) -> None:
    """Both classes say which argument was probably meant, and nothing if none is similar."""
    with pytest.raises(TypeError) as error:
        made(feilds={"plan": "tenant.plan"})
    name = made.__name__
    assert str(error.value) == f"{name} has no argument 'feilds'; did you mean 'fields'?"
    for unlike in ("colour", "unknow", "selv", "class"):
        with pytest.raises(TypeError) as error:
            made(**{unlike: "blue"})
        assert str(error.value) == f"{name} has no argument {unlike!r}"


def test_the_handler_has_the_arguments_of_the_formatter() -> None:
    """Their names and types are the same, so a type checker finds the same mistakes."""
    theirs = inspect.signature(EventFormatter).parameters.values()
    named = {one.name: one.annotation for one in theirs if one.kind is one.KEYWORD_ONLY}
    ours = inspect.signature(FreshsuccessHandler).parameters
    assert {name: ours[name].annotation for name in named} == named
    assert all(repr(ours[name].default) == "EventFormatter's" for name in named)


@pytest.mark.parametrize("made", [FreshsuccessHandler, EventFormatter])
def test_the_types_of_arguments_can_be_read_at_run_time(made: Callable[..., Any]) -> None:
    """Tools that read annotations find each of them, and words that are allowed agree with them."""
    hints = get_type_hints(made.__init__)  # type: ignore[misc]
    assert {*inspect.signature(made).parameters} <= {*hints}
    allowed = {name: get_args(hints[name]) for name in WORDS if name in hints}
    for name, args in allowed.items():
        literal = args if name in ("overflow", "session") else get_args(args[0])
        assert [repr(word) for word in literal] == [word for word in WORDS[name] if word != "None"]


def test_every_argument_of_the_formatter_is_one_of_the_handler(
    handler: Callable[..., FreshsuccessHandler],
) -> None:
    """The handler makes its EventFormatter from them."""
    made = handler(
        **KEYS,
        endpoint="http://127.0.0.1:1",
        fields={"plan": "tenant.plan"},
        rules=[{"when": {"logger": "other"}, "event": {"action": "search"}}],
        defaults={"product": "core"},
        include=["sku"],
        exclude=["note"],
        session="none",
        context_provider=lambda: {"sessionId": "s"},
    )
    event = made.formatter.event(record(note="x", tenant={"plan": "gold"}))
    assert event is not None
    event.pop("createdAt")
    assert event == {**EVENT, "plan": "gold", "product": "core", "sessionId": "s"}
    ruled = logging.makeLogRecord(
        {"name": "other", "accountId": "a", "userId": "u", "sku": 1, "x": 2}
    )
    event = made.formatter.event(ruled)
    assert event is not None
    assert (event["action"], event["sku"], "x" in event) == ("search", 1, False)


WHOLE = ["batch_events", "batch_bytes", "buffer_bytes", "compression_level"]
SECONDS = [
    "flush_interval",
    "aggregate",
    "block_timeout",
    "timeout",
    "max_backoff",
    "shutdown_timeout",
]
SHORT = "idle_after"
"""Seconds, but at most half an hour."""

WORDS = {
    "datacenter": ["'us'", "'eu'"],
    "compression": ["'deflate'", "'gzip'", "None"],
    "overflow": ["'refuse'", "'block'"],
    "session": ["'window'", "'idle'", "'none'"],
}

WRONG_TYPES: list[tuple[str, Any, list[str]]] = [
    *[(name, wrong, ["string"]) for name in KEYS for wrong in (5, b"key", ["k"], True)],
    *[(name, 5, allowed) for name, allowed in WORDS.items()],
    *[(name, ["us"], allowed) for name, allowed in WORDS.items()],
    *[(name, True, allowed) for name, allowed in WORDS.items()],
    *[(name, wrong, ["string"]) for name in ("endpoint", "proxy") for wrong in (5, b"x", ["x"])],
    *[("ca_certs", wrong, ["string"]) for wrong in (5, b"x", True)],
    *[("level", wrong, ["int"]) for wrong in (None, 1.5, True, b"INFO", ["INFO"])],
    *[
        (name, wrong, ["whole number"])
        for name in WHOLE
        for wrong in (None, "5", 5.0, True, [5], Decimal(5))
    ],
    *[
        (name, wrong, ["seconds"])
        for name in (*SECONDS, SHORT)
        for wrong in (None, "5", True, [5], timedelta(seconds=5), Decimal(5), 5j)
        if not (name == "aggregate" and wrong is None)
    ],
    *[("max_per_second", wrong, ["events a second"]) for wrong in ("5", True, [5], Decimal(5))],
    *[("enabled", wrong, ["bool"]) for wrong in (5, 1, 0, 1.0, ["yes"])],
    *[("on_problem", wrong, ["callable"]) for wrong in (5, ["f"], {})],
    *[("track_time", wrong, ["bool"]) for wrong in (None, 1, ["yes"])],
    *[("time_properties", wrong, ["mapping"]) for wrong in (5, "moduleEnd", ["moduleEnd"])],
    ("on_problem", "myapp.tell", ["callable", "ext://"]),
    ("context_provider", "myapp.actor", ["callable", "ext://"]),
    ("context_provider", 5, ["callable"]),
    *[(name, wrong, ["mapping"]) for name in ("fields", "defaults") for wrong in (5, "a", ["a"])],
    *[("rules", wrong, ["list"]) for wrong in (5, "a", {"when": {}})],
    *[(name, wrong, ["strings"]) for name in ("include", "exclude") for wrong in (5, "a", b"a")],
    *[(name, [5], ["strings"]) for name in ("include", "exclude")],
]

HUGE = 10**400
WRONG_VALUES: list[tuple[str, Any, list[str]]] = [
    *[(name, wrong, [f"FSLOG_{name.upper()}"]) for name in KEYS for wrong in ("", "  ", "\n")],
    *[
        (name, wrong, ["path"])
        for name in KEYS
        for wrong in ("s3c/ret", "s3c?ret", "s3c#ret", "s3c%ret", "s3c ret", "s3c\nret", "é", "..")
    ],
    *[("datacenter", wrong, WORDS["datacenter"]) for wrong in ("mars", "", "US", "us ")],
    *[("endpoint", wrong, ["https://"]) for wrong in ("", "localhost", "https://", "https://a b")],
    ("endpoint", "ftp://example.com", ["https://"]),
    ("endpoint", "http://example.com", ["https"]),
    *[
        ("endpoint", f"https://{wrong}", ["base URL"])
        for wrong in (
            "user:s3cret@example.com",
            "example.com/v1/s3cret/s3cret",
            "example.com?s3c=1",
        )
    ],
    ("endpoint", "https://example.com:99999", ["https://"]),
    *[("level", wrong, ["'INFO'"]) for wrong in ("LOUD", "info", "", "Level 5")],
    *[("compression", wrong, WORDS["compression"]) for wrong in ("zstd", "br", "Deflate", "")],
    *[("compression_level", wrong, ["1 to 9"]) for wrong in (0, -1, 10, HUGE)],
    *[(name, wrong, ["1 or more"]) for name in WHOLE[:3] for wrong in (0, -1)],
    *[
        (name, wrong, ["finite"])
        for name in (*SECONDS, SHORT)
        for wrong in (-1, -0.1, math.nan, math.inf)
    ],
    *[(name, wrong, ["seconds"]) for name in SECONDS for wrong in (1e12, 1e300, HUGE)],
    *[
        (name, 0, ["more than 0"])
        for name in ("timeout", "max_backoff", "aggregate", "spool_max_age", SHORT)
    ],
    (SHORT, 1_801, ["at most 1800"]),
    *[("track_time", wrong, ["'true'", "'off'"]) for wrong in ("maybe", "", "auto")],
    ("time_properties", {"moduleEnds": "spent"}, ["'moduleEnds'", "did you mean 'moduleEnd'?"]),
    *[
        ("time_properties", {"sessionSync": wrong}, ["time_properties.sessionSync", repr(wrong)])
        for wrong in ("", "userId", "module")
    ],
    *[
        ("max_per_second", wrong, ["events a second", repr(wrong)])
        for wrong in (0, -1, 1e-7, 1e10, math.nan, math.inf)
    ],
    *[("overflow", wrong, WORDS["overflow"]) for wrong in ("drop", "", "Block")],
    ("ca_certs", "/nonexistent/ca.pem", ["/nonexistent/ca.pem", "PEM"]),
    *[("proxy", wrong, ["http"]) for wrong in ("socks5://h:1", "http://", "http://h:99999")],
    *[("enabled", wrong, ["'true'", "'off'"]) for wrong in ("maybe", "", "2", "enabled")],
    *[("session", wrong, WORDS["session"]) for wrong in ("forever", "", "Window")],
    ("fields", {"action": "x"}, ["action"]),
    ("fields", {"userId": "_x"}, ["userId", "underscore"]),
    ("fields", {"userId": "user.id()"}, ["userId", "user.id()", "ends with a call"]),
    ("overflow", "blokc", ["did you mean 'block'?"]),
    *[
        ("spool_min_free", wrong, [repr(wrong), "'5%'"])
        for wrong in ("5", "", "-1%", "100%", "5%%")
    ],
    ("spool_min_free", -1, ["-1", "0 or more"]),
    ("session", "windw", ["did you mean 'window'?"]),
    ("enabled", "atuo", ["did you mean 'auto'?"]),
    ("defaults", {"action": "x"}, ["action"]),
    ("include", [""], ["empty"]),
    ("exclude", ["a", ""], ["empty"]),
    ("rules", [{"when": {}, "event": {}}], ["rules[0]", "action"]),
]


def refused(name: str, value: Any, error: Any, allowed: list[str]) -> str:
    """Return the error's message; logging is unchanged, and no thread was started."""
    threads = set(threading.enumerate())
    handlers, names = list(logging._handlerList), set(logging._handlers)
    with pytest.raises(error) as caught:
        FreshsuccessHandler(**{**KEYS, "endpoint": "https://events.example", name: value})
    # Others may leave meanwhile: the garbage collector decides when.
    assert [handler for handler in logging._handlerList if handler not in handlers] == []
    assert set(logging._handlers) <= names
    assert set(threading.enumerate()) <= threads
    message = str(caught.value)
    assert name in message
    for words in allowed:
        assert words in message
    for secret in (AUTH, API, "s3c"):
        assert secret not in message
    return message


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    WRONG_TYPES,
    ids=[f"{name} {type(value).__name__}" for name, value, _ in WRONG_TYPES],
)
def test_a_wrong_type_is_a_type_error(name: str, value: Any, allowed: list[str]) -> None:
    """The error has the argument, the type and what is allowed."""
    message = refused(name, value, TypeError, allowed)
    came = value[0] if isinstance(value, list) and name in ("include", "exclude") else value
    assert ("None" if came is None else type(came).__name__) in message


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    WRONG_VALUES,
    ids=[f"{name} {str(value)[:24]!r}" for name, value, _ in WRONG_VALUES],
)
def test_a_wrong_value_is_a_value_error(name: str, value: Any, allowed: list[str]) -> None:
    """The error has the argument, what is allowed, and the value if that is not a secret."""
    message = refused(name, value, ValueError, allowed)
    if name in (*SECONDS, *WORDS, "level", "enabled", *WHOLE):
        assert repr(value) in message or value == HUGE


def test_the_name_of_a_property_is_a_string() -> None:
    """The error says of which action."""
    refused("time_properties", {"moduleEnd": 5}, TypeError, ["time_properties.moduleEnd", "int"])


@pytest.mark.parametrize("name", ["overflow", "session"])
def test_none_is_not_one_of_the_words(name: str) -> None:
    """If None has no meaning, it is a TypeError like any other."""
    refused(name, None, (TypeError, ValueError), ["None", *WORDS[name]])


@pytest.mark.parametrize("name", KEYS)
def test_a_missing_key_is_named_with_its_variable(name: str) -> None:
    """The error names the argument and the environment variable."""
    refused(name, None, ValueError, [f"FSLOG_{name.upper()}"])


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    """An error of the constructor, not of the first POST."""
    path = tmp_path / "ca.pem"
    path.write_text("nothing")
    refused("ca_certs", str(path), ValueError, [str(path), "PEM"])


def test_a_proxy_s_password_is_not_shown() -> None:
    """Whatever the error in its URL is."""
    for url in ("socks5://user:s3cret@host:1", "http://user:s3cret@", "http://u:s3cret@h:99999"):
        refused("proxy", url, ValueError, [])


@pytest.mark.parametrize("name", ["authkey", "queue", "listener", "formatter", "filters", "fmt"])
def test_an_unknown_argument_is_refused(name: str) -> None:
    """By name: else a misspelled argument would have no effect."""
    refused(name, 5, TypeError, [repr(name)])


@pytest.mark.parametrize(
    "good",
    [
        {"compression": None},
        {"compression": "gzip", "compression_level": 9},
        {"flush_interval": 0, "block_timeout": 0, "shutdown_timeout": 0},
        {"timeout": 1, "max_backoff": 0.001},
        {"batch_events": 1, "batch_bytes": 1, "buffer_bytes": 1},
        {"batch_events": 10**30, "batch_bytes": 10**30, "buffer_bytes": 10**30},
        {"level": "INFO"},
        {"level": 15},
        {"datacenter": "eu"},
        {"endpoint": "https://events.example:8443/base/"},
        {"proxy": ""},
        {"enabled": "Yes"},
        {"enabled": True},
        {"overflow": "block"},
        {"spool_min_free": 0},
        {"spool_max_age": 0.5},
        {"spool_min_free": " 2.5 % "},
        {"auth_key": f" {AUTH}\n"},
        {"on_problem": print},
        {"track_time": "yes", "idle_after": 1_800, "time_properties": {"moduleEnd": "spent"}},
        {"rules": None, "fields": None, "defaults": None, "include": None, "exclude": None},
    ],
    ids=repr,
)
def test_right_arguments_are_taken(
    handler: Callable[..., FreshsuccessHandler], good: dict[str, Any]
) -> None:
    """And a handler starts no thread before it has something to deliver."""
    before = set(threading.enumerate())
    made = handler(**{**KEYS, "endpoint": "http://127.0.0.1:1", **good})
    assert set(threading.enumerate()) <= before
    assert made.flush() is True
    assert isinstance(made.formatter, EventFormatter)


def test_the_longest_durations_that_are_taken_work(
    handler: Callable[..., FreshsuccessHandler],
) -> None:
    """A year does not kill the thread."""
    year = 365 * 86_400.0
    with Collector() as collector:
        made = handler(**KEYS, endpoint=collector.url, **dict.fromkeys(SECONDS, year))
        made.handle(record())
        assert made.flush() is True
        assert made.flush(math.inf) is True
        assert len(collector.events) == 1


def test_what_is_not_given_comes_from_the_environment(
    handler: Callable[..., FreshsuccessHandler], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys and endpoint, without surrounding blanks such as mounted files have."""
    with Collector(keys=("env-auth", "env-api")) as collector:
        monkeypatch.setenv("FSLOG_AUTH_KEY", " env-auth\n")
        monkeypatch.setenv("FSLOG_API_KEY", "env-api\n")
        monkeypatch.setenv("FSLOG_ENDPOINT", f" {collector.url}/ ")
        made = handler()
        made.handle(record())
        assert made.flush()
        assert [event["userId"] for event in collector.events] == ["ann"]


def test_an_argument_wins_over_the_environment(
    handler: Callable[..., FreshsuccessHandler], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each of them."""
    for name in ("AUTH_KEY", "API_KEY", "ENDPOINT", "DATACENTER", "ENABLED"):
        monkeypatch.setenv(f"FSLOG_{name}", "b a d")
    with Collector(keys=(AUTH, API)) as collector:
        made = handler(**KEYS, endpoint=collector.url, datacenter="us", enabled=True)
        made.handle(record())
        assert made.flush()
        assert len(collector.events) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("AUTH_KEY", ["auth_key", "path"]),
        ("API_KEY", ["api_key", "path"]),
        ("ENDPOINT", ["endpoint"]),
        ("DATACENTER", ["'b a d'", "'us'"]),
        ("ENABLED", ["FSLOG_ENABLED", "'b a d'", "'on'"]),
    ],
)
def test_a_wrong_variable_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, words: list[str]
) -> None:
    """Like an invalid argument."""
    for key in ("AUTH_KEY", "API_KEY"):
        monkeypatch.setenv(f"FSLOG_{key}", AUTH)
    monkeypatch.setenv(f"FSLOG_{name}", "b a d")
    handlers = list(logging._handlerList)
    with pytest.raises(ValueError, match=r"b a d|path|URL") as caught:
        FreshsuccessHandler()
    for word in words:
        assert word in str(caught.value)
    assert [handler for handler in logging._handlerList if handler not in handlers] == []


@pytest.mark.parametrize(
    ("given", "variable", "host"),
    [
        ({}, None, b"events-us.freshsuccess.com"),
        ({"datacenter": "eu"}, None, b"events-eu.freshsuccess.com"),
        ({}, "eu", b"events-eu.freshsuccess.com"),
        ({}, " ", b"events-us.freshsuccess.com"),
        ({"datacenter": "us"}, "eu", b"events-us.freshsuccess.com"),
        ({"endpoint": "https://events.example"}, "eu", b"events.example"),
    ],
    ids=str,
)
def test_the_data_center_decides_on_the_host(
    handler: Callable[..., FreshsuccessHandler],
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
    variable: str | None,
    host: bytes,
) -> None:
    """It is the proxy that receives the request."""
    if variable is not None:
        monkeypatch.setenv("FSLOG_DATACENTER", variable)
    forbidden = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with RawServer(answer(forbidden)) as server:
        made = handler(**KEYS, **given, proxy=server.url)
        with pytest.raises(ConnectionError):
            made.ping()
        asked = server.wait_for_requests(1)[0]
    assert asked.startswith(b"CONNECT " + host + b":443 ")


@pytest.mark.parametrize("word", ["1", "true", "yes", "on", "True", "YES", " on\n"])
@pytest.mark.parametrize("way", ["variable", "argument"])
def test_words_that_enable(
    handler: Callable[..., FreshsuccessHandler],
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    word: str,
) -> None:
    """Enabled by variable or by argument, it demands both keys."""
    if way == "variable":
        monkeypatch.setenv("FSLOG_ENABLED", word)
    given = {"enabled": word} if way == "argument" else {}
    with pytest.raises(
        ValueError, match=r"^auth_key is missing: .* FSLOG_AUTH_KEY, or its file in"
    ):
        FreshsuccessHandler(**given)
    made = handler(**KEYS, **given, endpoint="http://127.0.0.1:1")
    assert accepts(made)


@pytest.mark.parametrize("word", ["auto", "AUTO", " auto\n", "", "  ", None])
@pytest.mark.parametrize("way", ["variable", "argument"])
def test_auto_goes_by_the_keys(
    handler: Callable[..., FreshsuccessHandler],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    way: str,
    word: str | None,
) -> None:
    """By default, a handler is enabled with both keys and disabled without; one is an error."""
    given: dict[str, Any] = {"endpoint": "http://127.0.0.1:1"}
    if way == "argument":
        given["enabled"] = word if (word or "").strip() else None
        monkeypatch.setenv("FSLOG_ENABLED", "no" if given["enabled"] else "")
    elif word is not None:
        monkeypatch.setenv("FSLOG_ENABLED", word)
    assert accepts(handler(**KEYS, **given))
    assert caplog.messages == []
    assert not accepts(handler(**given))
    assert len(caplog.messages) == 1
    for name, other in (("auth_key", "api_key"), ("api_key", "auth_key")):
        variable = f"FSLOG_{name.upper()}"
        with pytest.raises(ValueError, match=rf"^{name} is missing, .*{other} .* {variable}, or"):
            FreshsuccessHandler(**given, **{other: KEYS[other]})


@pytest.mark.parametrize("blank", ["", " ", "\n"])
@pytest.mark.parametrize("way", ["variable", "argument"])
def test_a_blank_key_is_not_set(
    handler: Callable[..., FreshsuccessHandler],
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    blank: str,
) -> None:
    """What a template or a compose file leaves empty disables the handler, like an unset key."""
    blanks = dict.fromkeys(KEYS, blank)
    if way == "variable":
        for name in KEYS:
            monkeypatch.setenv(f"FSLOG_{name.upper()}", blank)
    assert not accepts(handler(**(blanks if way == "argument" else {})))
    with pytest.raises(ValueError, match="api_key is missing"):
        FreshsuccessHandler(**{**(blanks if way == "argument" else {}), "auth_key": AUTH})
    for name, value in KEYS.items():
        monkeypatch.setenv(f"FSLOG_{name.upper()}", value)
    assert accepts(handler(endpoint="http://127.0.0.1:1", **blanks))


def accepts(made: FreshsuccessHandler) -> bool:
    """Return whether a handler counts a record that is not an event."""
    made.handle(logging.makeLogRecord({"msg": "no event"}))
    return made.stats().emitted == 1


@pytest.mark.parametrize("word", ["0", "false", "no", "off", "False", "NO", " off "])
@pytest.mark.parametrize("way", ["variable", "argument"])
def test_words_that_disable(
    handler: Callable[..., FreshsuccessHandler],
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    word: str,
) -> None:
    """Disabled by variable or by argument, it needs no keys."""
    if way == "variable":
        monkeypatch.setenv("FSLOG_ENABLED", word)
    made = handler(**({"enabled": word} if way == "argument" else {}))
    made.handle(record())
    assert made.stats().emitted == 0


def test_a_disabled_handler_does_nothing(handler: Callable[..., FreshsuccessHandler]) -> None:
    """It accepts nothing, reports nothing, starts nothing, and never waits."""
    told: list[Any] = []
    with Collector() as collector:
        before = set(threading.enumerate())
        made = handler(enabled=False, endpoint=collector.url, on_problem=told.append)
        logger = logging.Logger("app")
        logger.addHandler(made)
        logger.info("valid", extra=EVENT)
        logger.info("invalid", extra={"action": ""})
        assert made.flush() is True
        assert made.flush(0) is True
        made.close()
        logger.info("valid", extra=EVENT)
        assert made.flush() is True
        assert set(threading.enumerate()) <= before
        assert collector.requests == []
    assert told == []
    stats = made.stats()
    assert (stats.emitted, stats.accepted, stats.pending, stats.invalid) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        *[case for case in WRONG_TYPES if case[0] != "enabled"],
        *[
            (name, value, allowed)
            for name, value, allowed in WRONG_VALUES
            if name != "enabled" and not (name in KEYS and not value.strip())
        ],
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)
def test_a_disabled_handler_checks_its_arguments(name: str, value: Any, allowed: list[str]) -> None:
    """All but missing keys: errors are found before production."""
    with pytest.raises((TypeError, ValueError), match=name):
        FreshsuccessHandler(**{"enabled": False, "endpoint": "https://events.example", name: value})


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (lambda value: config.seconds("x", value), 5),
        (lambda value: config.seconds("x", value, zero=True), 0),
        (lambda value: config.whole("x", value, least=0), 0),
        (lambda value: config.min_free("x", value.bytes), config.MinFree(bytes=7)),
        (lambda value: config.min_free("x", str(value)), config.MinFree(percent=7.5)),
        (lambda value: config.text("x", value), "a"),
        (lambda value: config.function("x", value), None),
        (lambda value: config.names("x", value), ("a",)),
        (lambda value: config.mapping("x", value), {"a": 1}),
        (lambda value: config.one_of("x", value, ("a", None)), None),
    ],
)
def test_checks_give_back_what_is_right(check: Callable[[Any], Any], value: Any) -> None:
    """A valid value is returned unchanged."""
    assert check(value) == value


def test_sets_and_generators_are_lists_of_names() -> None:
    """A set of YAML, or any iterable."""
    assert set(config.names("x", {"a", "b"})) == {"a", "b"}
    assert config.names("x", (name for name in "ab")) == ("a", "b")
    assert config.names("x", None) == ()
    assert config.mapping("x", None) == {}


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("loger", ["logger", "level"], "logger"),
        ("levle", ["logger", "level"], "level"),
        ("Batch-Events", ["batch_events", "batch_bytes"], "batch_events"),
        ("batchevnts", ["batch_events", "batch_bytes"], "batch_events"),
        ("flush_intrvl", ["flush_interval"], "flush_interval"),
        ("mgs", ["msg"], None),
        ("MSG", ["msg"], "msg"),
        ("rule", ["fields"], None),
        ("", ["fields"], None),
        ("_", ["fields"], None),
        ("fields", [], None),
        ("filds", ["fildes", "fields", "filds"], "filds"),
        ("f" * 10**6, ["f" * 100], None),
    ],
)
def test_the_nearest_word(word: str, known: list[str], meant: str | None) -> None:
    """One edit of a word, two of a long one, none of a short one; the least number counts."""
    assert config.nearest(word, known) == meant
