"""The keys, which are part of the URL's path, appear in no output."""

from __future__ import annotations

import base64
import contextlib
import gc
import http.client
import logging
import logging.config
import os
import pickle
import socket
import subprocess
import sys
import textwrap
import time
import traceback
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import urllib3

from fslog import FreshsuccessHandler
from fslog.collector import Answer, Collector
from fslog.net.transport import PingFailed
from rawserver import RawServer, Script, answer, half_answer, hang, read_request, reset
from waiting import eventually

# One usual pair, and one with all characters that a URL's path may have and a text may break at.
PAIRS = [
    ("Zx9Qw7LkAb3RtHj5", "Mn5Yb8Pd2Uv6Cg4W"),
    ("Zx9'Qw,7Lk)=Ab3~Rt", "Mn5$Yb&8Pd(2!Uv6@:+;*"),
]
WINDOW = 6
EVENT = {"action": "feature", "accountId": "a", "userId": "u", "feature": "f", "total": 1}
EMPTY = b"Content-Length: 0\r\n\r\n"


def leaks(text: str, *secrets: str) -> list[str]:
    """Return the parts of secrets that occur in a text, plain or percent-encoded."""
    found = set()
    low = text.lower()
    for secret in secrets:
        for form in (secret, quote(secret, safe=""), secret.replace("'", "\\'")):
            pieces = {form[at : at + WINDOW].lower() for at in range(len(form) - WINDOW + 1)}
            found |= {piece for piece in pieces if piece in low}
    return sorted(found)


def test_the_search_for_leaks_finds_them() -> None:
    """`leaks` finds a key, a part of one, and an encoded one."""
    key = PAIRS[1][1]
    assert leaks(f"at /v1/x/{key} there", key)
    assert leaks(f"...{key[-WINDOW:]}", key)
    assert leaks(quote(key, safe="").lower(), key)
    assert leaks(repr(PAIRS[1][0]), PAIRS[1][0])
    assert not leaks("a text of fslog about the endpoint /v1/***/***", key)


class Everything(logging.Handler):
    """Keep everything that a handler could show of a record."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{self.format(record)}\n{vars(record)}\n{record!r}")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Everything]:
    """Turn on all debug output that an application can turn on, and keep it."""
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    monkeypatch.setattr(http.client.HTTPResponse, "debuglevel", 1, raising=False)
    root, handler = logging.getLogger(), Everything()
    levels = {logger: logger.level for logger in map(logging.getLogger, (None, "urllib3", "fslog"))}
    for logger in levels:
        logger.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    for logger, level in levels.items():
        logger.setLevel(level)


@contextlib.contextmanager
def shipping(url: str, keys: tuple[str, str], **arguments: Any) -> Iterator[FreshsuccessHandler]:
    """Attach a handler to the root logger, with everything at DEBUG, until the end of a block."""
    fixed = {"timeout": 0.3, "flush_interval": 30.0, "shutdown_timeout": 0.5, "max_backoff": 60.0}
    handler = FreshsuccessHandler(
        auth_key=keys[0], api_key=keys[1], endpoint=url, **{**fixed, **arguments}
    )
    logging.getLogger().addHandler(handler)
    try:
        yield handler
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def echo(raw: str) -> Script:
    """Make a script that puts the request's path, plain and encoded, into an answer."""

    def script(conn: socket.socket) -> None:
        request = read_request(conn)
        if not request:
            return  # the client's timeout has passed
        path = request.split(b" ")[1].decode()
        text = raw.replace("PATH", path).replace("QUOTED", quote(path, safe=""))
        conn.sendall(text.encode())

    return script


def refuse(conn: socket.socket) -> None:
    """Read a request and end the connection with a reset."""
    read_request(conn)
    reset(conn)


MISBEHAVIOUR: dict[str, Script] = {
    "phrase": echo("HTTP/1.1 400 Bad PATH QUOTED\r\nContent-Length: 0\r\n\r\n"),
    "unavailable": echo("HTTP/1.1 503 No PATH\r\nRetry-After: PATH\r\nContent-Length: 0\r\n\r\n"),
    "redirect": echo("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1PATH\r\n\r\n"),
    "headers": echo("HTTP/1.1 404 No\r\nX-PATH: QUOTED\r\nY: PATH\r\nContent-Length: 0\r\n\r\n"),
    "malformed header": echo("HTTP/1.1 500 No\r\nbad PATH\r\nX: y\r\n\r\nPATH"),
    "malformed header of a 413": echo("HTTP/1.1 413 No\r\n : PATH\r\nX y PATH\r\n\r\n"),
    "status line": echo("PATH QUOTED PATH\r\n\r\n"),
    "no number": echo("HTTP/1.1 PATH QUOTED\r\n\r\n"),
    "version": echo("HTTP/PATH 200 OK\r\n\r\n"),
    "length": echo("HTTP/1.1 500 No\r\nContent-Length: PATH\r\n\r\n"),
    "chunk": echo("HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nPATH\r\nPATH\r\n"),
    "body": echo("HTTP/1.1 401 No\r\nContent-Length: 99\r\n\r\nPATH QUOTED"),
    "retry": echo("HTTP/1.1 429 PATH\r\nRetry-After: 1\r\nRetry-After: PATH\r\n\r\n"),
    "nothing": half_answer(b""),
    "reset": refuse,
    "hang": hang(),
}


@pytest.mark.parametrize("keys", PAIRS, ids=["plain", "nasty"])
@pytest.mark.parametrize("script", MISBEHAVIOUR.values(), ids=MISBEHAVIOUR)
def test_a_failing_endpoint_reveals_no_key(
    script: Script,
    keys: tuple[str, str],
    log: Everything,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Whatever the answer is, with all debug output on, no log, statistic or stream has a key."""
    problems: list[Any] = []
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(RawServer(script))
        handler = stack.enter_context(shipping(server.url, keys, on_problem=problems.append))
        logging.getLogger("app").info("done", extra=EVENT)
        until = time.monotonic() + 30.0
        while not (stats := handler.stats()).last_error:
            assert handler.flush(0.5) is False or handler.stats().abandoned
            assert time.monotonic() < until
        with pytest.raises(PingFailed) as caught:
            handler.ping()
        seen = [repr(stats), str(handler), repr(handler), *map(repr, problems)]
        seen += traceback.format_exception(caught.value)
        assert len(server.requests) <= 6, "its own records must not become events"
        server.scripts[:] = [answer()]
        assert handler.flush(5.0)
    assert any("urllib3" in text for text in log.texts)
    everything = "\n".join([*seen, *log.texts, *capfd.readouterr()])
    assert "127.0.0.1" in everything
    assert leaks(everything, *keys) == []


@pytest.mark.parametrize("keys", PAIRS, ids=["plain", "nasty"])
def test_normal_delivery_reveals_no_key(
    keys: tuple[str, str], log: Everything, capfd: pytest.CaptureFixture[str]
) -> None:
    """Delivery at DEBUG shows urllib3's records without the path, and makes no events of them."""
    with Collector(keys=keys) as collector, shipping(collector.url, keys) as handler:
        for _ in range(3):
            logging.getLogger("app").info("done", extra=EVENT)
            assert handler.flush(5.0)
        assert handler.stats().delivered == 3
        assert len(collector.requests) == 3
    shown = [text for text in log.texts if "POST /v1/***/***" in text]
    assert len(shown) == 3
    assert leaks("\n".join([*log.texts, *capfd.readouterr()]), *keys) == []


@pytest.mark.parametrize("keys", PAIRS, ids=["plain", "nasty"])
def test_the_report_at_exit_has_no_key(
    keys: tuple[str, str], log: Everything, capfd: pytest.CaptureFixture[str]
) -> None:
    """A process that ends with undelivered events reports why on stderr, without the keys."""
    program = textwrap.dedent("""
        import http.client, logging, os
        from fslog import FreshsuccessHandler
        http.client.HTTPConnection.debuglevel = 1
        logging.basicConfig(level=logging.DEBUG)
        handler = FreshsuccessHandler(shutdown_timeout=0.5, flush_interval=0.0, timeout=0.3)
        logging.getLogger().addHandler(handler)
        logging.info("done", extra={"event": {"action": "x", "accountId": "a", "userId": "u"}})
        assert handler.flush() is False
    """)
    with RawServer(echo("HTTP/1.1 503 PATH\r\nbad PATH\r\nX: QUOTED\r\n\r\n")) as server:
        environ = {"FSLOG_AUTH_KEY": keys[0], "FSLOG_API_KEY": keys[1]}
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            env={**os.environ, **environ, "FSLOG_ENDPOINT": server.url, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "abandoned " in done.stderr
    assert "urllib3" in done.stderr
    assert leaks(done.stdout + done.stderr, *keys) == []


def reachable(start: Any) -> Iterator[Any]:
    """Yield every object of fslog, urllib3 and http.client that can be reached from one."""
    seen, todo = set(), [start]
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        module = type(thing).__module__.partition(".")[0]
        if module in ("fslog", "urllib3", "http"):
            yield thing
        elif not isinstance(thing, (dict, list, tuple, set)) and module != "functools":
            if not isinstance(thing, type((lambda: 0).__get__(0))):  # also through bound methods
                continue
        todo.extend(gc.get_referents(thing))


def test_no_object_shows_a_key() -> None:
    """`repr` and `str` of everything that a used handler refers to have no key."""
    keys = PAIRS[0]
    with Collector() as collector, shipping(collector.url, keys) as handler:
        logging.getLogger("app").warning("done", extra=EVENT)
        assert handler.flush(5.0)
        things = list(reachable(handler))
        names = {type(thing).__name__ for thing in things}
        assert {"Delivery", "Listener", "Transport", "Destination", "Redactor"} <= names
        assert {"PoolManager", "Buffer", "Notices"} <= names
        for thing in things:
            assert leaks(f"{thing!r} {thing!s}", *keys) == [], type(thing)


def test_a_pickle_of_statistics_has_no_key_and_a_handler_has_no_pickle() -> None:
    """Stats and problems can be pickled; for a handler the error has no key."""
    keys = PAIRS[0]
    problems: list[Any] = []
    url = "http://127.0.0.1:9"
    with shipping(url, keys, on_problem=problems.append) as handler:
        logging.getLogger("app").warning("done", extra={**EVENT, "userId": ""})
        assert len(problems) == 1
        stats = handler.stats()
        assert pickle.loads(pickle.dumps(stats)) == stats
        dumped = pickle.dumps((stats, problems)).decode("latin-1")
        assert leaks(dumped, *keys) == []
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)) as caught:
            pickle.dumps(handler)
        assert leaks("".join(traceback.format_exception(caught.value)), *keys) == []


@pytest.mark.parametrize("name", ["auth_key", "api_key"])
@pytest.mark.parametrize("bad", ["\n", " ", "/", "?", "%", "\x00", "\u00e9"])
def test_a_configuration_error_shows_no_key(name: str, bad: str) -> None:
    """For a key with an invalid character, no part of it is in the error or its causes."""
    start, end = PAIRS[0]
    config = {
        "version": 1,
        "incremental": False,
        "disable_existing_loggers": False,
        "handlers": {
            "events": {
                "class": "fslog.FreshsuccessHandler",
                "auth_key": "a",
                "api_key": "b",
                name: f"{start}{bad}{end}",
            }
        },
    }
    before = logging.getLogger().handlers[:]
    with pytest.raises(ValueError, match="events") as caught:
        logging.config.dictConfig(config)
    assert logging.getLogger().handlers == before
    text = "".join(traceback.format_exception(caught.value))
    assert name in text
    assert leaks(text, start, end) == []


def test_a_proxys_password_is_a_secret_too(
    log: Everything, capfd: pytest.CaptureFixture[str]
) -> None:
    """The answer of a proxy that echoes its credentials in every form reveals none of them."""
    password = "Gh7Jk9Ls3%40Df5"
    forms = ("Gh7Jk9Ls3@Df5", password)
    basic = base64.b64encode(b"proxyuser:Gh7Jk9Ls3@Df5").decode()
    raw = f"HTTP/1.1 407 No {basic} {forms[0]} {forms[1]}\r\nX: {basic}\r\n".encode() + EMPTY
    with RawServer(half_answer(raw, len(raw))) as proxy:
        url = f"http://proxyuser:{password}@127.0.0.1:{proxy.port}"
        with shipping("http://127.0.0.1:9", PAIRS[0], proxy=url) as handler:
            logging.getLogger("app").info("done", extra=EVENT)
            assert handler.flush(0.5) is False
            assert eventually(lambda: "407" in repr(handler.stats()))
            seen = repr(handler.stats())
            proxy.scripts[:] = [answer()]
            assert handler.flush(5.0)
        assert basic.encode() in proxy.requests[0]
    text = "\n".join([seen, *log.texts, *capfd.readouterr()])
    assert leaks(text, *PAIRS[0], *forms, basic) == []


def test_urllib3_records_of_the_application_are_unchanged(log: Everything) -> None:
    """Records of the application's own use of urllib3 are not redacted."""
    with Collector() as collector, shipping(collector.url, PAIRS[0]), urllib3.PoolManager() as own:
        own.request("POST", f"{collector.url}/v1/my-own/path", retries=False)
    assert any("/v1/my-own/path" in text for text in log.texts)


def test_records_of_the_listeners_work_never_become_events(log: Everything) -> None:
    """With root at DEBUG and a rule for every record, delivery makes no events itself."""
    rules = [{"when": {"message": "/.*/"}, "event": {"action": "x"}}]
    mapping = {"rules": rules, "defaults": {"accountId": "a", "userId": "u"}}
    with Collector() as collector:
        collector.script(Answer(503), Answer(400), Answer(then="reset"))
        with shipping(
            collector.url, PAIRS[0], timeout=10.0, flush_interval=0.01, max_backoff=0.01, **mapping
        ) as handler:
            logging.getLogger("app").info("once")
            collector.wait_for(1)
            assert handler.flush(5.0)
            stats = handler.stats()
            assert (stats.accepted, stats.delivered) == (1, 1)
            assert len(collector.requests) == 4
    assert sum("urllib3" in text for text in log.texts) >= 4
