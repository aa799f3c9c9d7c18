"""Presets: the records of real servers and task queues, as they were captured, and other ones."""

from __future__ import annotations

import logging
from http import HTTPStatus
from logging.handlers import QueueHandler
from queue import SimpleQueue
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fslog import EventFormatter, FreshsuccessHandler, context
from fslog.mapping.paths import MISSING
from fslog.mapping.presets import LOGGERS, read_access, read_task
from fslog.mapping.rules import Rules
from fslog.testing import Capture

GUNICORN = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
HYPERCORN = '%(h)s %(l)s %(l)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
GRANIAN = '[%(time)s] %(addr)s - "%(method)s %(path)s %(protocol)s" %(status)d %(dt_ms).3f'
CLF = "127.0.0.1 - - [29/Nov/2026:11:21:07 +0000]"


class SafeAtoms(dict[str, Any]):
    """gunicorn's atoms, which have a value for every key."""

    def __getitem__(self, key: str) -> Any:
        return super().__getitem__(key) if key in self else "-"


def gunicorn(line: str = "POST /rep%20orts/caf%C3%A9%2Fx?secret=1 HTTP/1.1", **more: Any) -> Any:
    method, _, _rest = line.partition(" ")
    return SafeAtoms(
        {
            "h": "127.0.0.1",
            "l": "-",
            "u": "ann",
            "t": "[29/Nov/2026:11:20:29 +0000]",
            "r": line,
            "s": "200",
            "m": method,
            "U": "/rep orts/cafÃ©/x",
            "q": "secret=1",
            "H": "HTTP/1.1",
            "b": "2",
            "f": "-",
            "a": "-",
            "{authorization}i": "Basic YW5uOnB3",
            **more,
        }
    )


def hypercorn(**more: Any) -> dict[str, Any]:
    return {
        "{host}i": "x",
        "{content-length}o": "2",
        "h": "127.0.0.1:35924",
        "l": "-",
        "t": "[29/Nov/2026:11:21:05 +0000]",
        "r": "POST /rep orts/café/x 1.1",
        "R": "POST /rep orts/café/x?secret=1 1.1",
        "s": "200",
        "st": "OK",
        "S": "http",
        "m": "POST",
        "U": "/rep orts/café/x",
        "Uq": "/rep orts/café/x?secret=1",
        "q": "secret=1",
        "H": "1.1",
        "b": "2",
        "f": "-",
        "a": "-",
        **more,
    }


def granian(path: str, status: int = 200) -> dict[str, Any]:
    return {
        "addr": "127.0.0.1",
        "time": "2026-11-29 11:21:08 +0000",
        "dt_ms": 0.156,
        "status": status,
        "path": path,
        "query_string": "secret=1",
        "method": "POST",
        "scheme": "http",
        "protocol": "HTTP/1.1",
    }


def record(logger: str, msg: Any, args: Any = (), **extra: Any) -> logging.LogRecord:
    args = (args,) if isinstance(args, dict) else args
    made = logging.LogRecord(logger, logging.INFO, "/srv/app.py", 7, msg, args, None)
    made.__dict__.update(extra)
    return made


IP = {"access.ip": "127.0.0.1"}
USER = {"access.user": "ann"}
TARGET = "/rep%20orts/caf%C3%A9%2Fx?secret=1"

RECORDS: dict[str, tuple[logging.LogRecord, dict[str, Any]]] = {
    # gunicorn 27.0.1
    "gunicorn": (record("gunicorn.access", GUNICORN, gunicorn()), {**USER, **IP}),
    "gunicorn asgi": (record("gunicorn.access", GUNICORN, gunicorn(s=200)), {**USER, **IP}),
    # uvicorn 0.54.0
    "uvicorn": (
        record(
            "uvicorn.access",
            '%s - "%s %s HTTP/%s" %d',
            ("127.0.0.1:34860", "POST", "/rep%20orts/caf%C3%A9/x?secret=1", "1.1", 200),
        ),
        IP,
    ),
    # hypercorn 0.18.0
    "hypercorn": (record("hypercorn.access", HYPERCORN, hypercorn()), IP),
    # aiohttp 3.14.5
    "aiohttp": (
        record(
            "aiohttp.access",
            f'127.0.0.1 [29/Nov/2026:11:21:06 +0000] "POST {TARGET} HTTP/1.1" 200 173 "-" "-"',
            remote_address="127.0.0.1",
            request_start_time="[29/Nov/2026:11:21:06 +0000]",
            first_request_line=f"POST {TARGET} HTTP/1.1",
            response_status=200,
            response_size=173,
            request_header={"Referer": "-", "User-Agent": "-"},
        ),
        IP,
    ),
    # Werkzeug 3.1.9
    "werkzeug": (
        record(
            "werkzeug",
            '127.0.0.1 - - [29/Nov/2026 11:21:06] "%s" %s %s',
            ("POST /rep%20orts/café%2Fx?secret=1 HTTP/1.1", "200", "-"),
        ),
        IP,
    ),
    # Paste 3.10.1
    "paste": (
        record(
            "wsgi", f'{CLF} "POST /rep%20orts/caf%C3%83%C2%A9/x?secret=1 HTTP/1.1" 200 2 "-" "-"'
        ),
        IP,
    ),
    # Tornado 6.6.1
    "tornado": (
        record("tornado.access", "%d %s %.2fms", (200, f"POST {TARGET} (127.0.0.1)", 4.28)),
        IP,
    ),
    # CherryPy 18.10.0
    "cherrypy": (
        record(
            "cherrypy.access.139706991634768",
            "127.0.0.1 - ann [29/Nov/2026:11:21:08] "
            '"POST /rep orts/caf\\xc3\\xa9%2Fx?secret=1 HTTP/1.1" 200 2 "" ""',
        ),
        {**USER, **IP},
    ),
    # granian 2.8.9
    "granian asgi": (record("granian.access", GRANIAN, granian("/rep orts/café/x")), IP),
    "granian wsgi": (record("granian.access", GRANIAN, granian("/rep orts/cafÃ©/x")), IP),
    # Sanic 25.12.1
    "sanic": (
        record(
            "sanic.access",
            "",
            status=200,
            byte=2,
            host="127.0.0.1:58056",
            request=f"POST http://x{TARGET}",
            duration=" 0.4ms",
        ),
        IP,
    ),
    # Django 5.2.19
    "django": (
        record(
            "django.server",
            '"%s" %s %s',
            (f"POST {TARGET} HTTP/1.1", "200", "2"),
            request=object(),
            server_time="29/Nov/2026 11:21:11",
            status_code=200,
        ),
        {},
    ),
    # Daphne 4.2.3
    "daphne": (
        record(
            "django.channels.server",
            "\x1b[32;1mHTTP %(method)s %(path)s %(status)s [%(time_taken).2f, %(client)s]\x1b[0m",
            {
                "path": TARGET,
                "status": 200,
                "method": "POST",
                "client": "127.0.0.1:5000",
                "time_taken": 0.01,
                "size": 2,
            },
        ),
        IP,
    ),
}


@pytest.mark.parametrize("server", RECORDS)
def test_the_access_line_of_each_server_is_read(server: str) -> None:
    """The same values whatever the form; no query string, the path as the application sees it."""
    made, more = RECORDS[server]
    expected = {"access.method": "POST", "access.path": "/rep orts/café/x", "access.status": 200}
    assert read_access(made) == {**expected, **more}


@pytest.mark.parametrize("server", sorted(set(RECORDS) - {"sanic"}))  # which has no message
def test_a_queue_leaves_only_the_message(server: str) -> None:
    """A `QueueHandler` merges the arguments; extras stay, but not on the way through a socket."""
    made, more = RECORDS[server]
    merged = QueueHandler(SimpleQueue()).prepare(made)
    merged = record(made.name, merged.getMessage())
    expected = {"access.method": "POST", "access.path": "/rep orts/café/x", "access.status": 200}
    assert read_access(merged) == {**expected, **more}


def test_every_server_s_logger_is_known() -> None:
    """Each of the records above is one of a logger in the table, and each logger has one."""
    loggers = {"cherrypy.access" if "cherrypy" in key else RECORDS[key][0].name for key in RECORDS}
    assert loggers == set(LOGGERS)


RULE = {"preset": "access", "path": r"/^/(?P<module>\w+)/(?P<feature>\w+)/"}
MADE = {"action": "feature", "module": "reports", "feature": "export"}


def uvicorn(method: str, target: str, status: int = 200) -> logging.LogRecord:
    args = ("127.0.0.1:5000", method, target, "1.1", status)
    return record("uvicorn.access", '%s - "%s %s HTTP/%s" %d', args)


def made(rule: Any, made: logging.LogRecord) -> dict[str, Any] | None:
    return Rules([rule]).properties(made)


def test_a_rule_with_a_preset_needs_no_event() -> None:
    """Its groups are the properties of an event `feature`; the query string is no part of it."""
    assert made(RULE, uvicorn("POST", "/reports/export?token=secret")) == MADE
    rule = {**RULE, "path": r"/^/(?P<plan>\w+)/(?P<module>\w+)/(?P<feature>\w+)$/"}
    found = made(rule, uvicorn("POST", "/pro/reports/export"))
    assert found == {**MADE, "plan": "pro"}


def test_placeholders_read_what_the_preset_does() -> None:
    """An event of one's own has the values with their types; one that is absent is left out."""
    event = {
        "action": "feature",
        "feature": "{access.method} {access.path}",
        "status": "{access.status}",
        "ip": "{access.ip}",
        "user": "{access.user}",
        "plan": '{access.user|"none"}',
    }
    assert made({"preset": "access", "event": event}, uvicorn("GET", "/a%20b?c")) == {
        "action": "feature",
        "feature": "GET /a b",
        "status": 200,
        "ip": "127.0.0.1",
        "plan": "none",
    }


def test_a_condition_on_what_a_preset_reads_has_groups_too() -> None:
    """The group is a placeholder of the event, as those of any condition are."""
    rule = {
        "preset": "access",
        "when": {"access.user": r"/^(?P<user>\w+)@(?P<plan>\w+)$/"},
        "event": {"action": "feature", "user": "{user}", "plan": "{plan}"},
    }
    one = record("gunicorn.access", GUNICORN, gunicorn(u="ann@pro"))
    assert made(rule, one) == {"action": "feature", "user": "ann", "plan": "pro"}
    assert made(rule, record("gunicorn.access", GUNICORN, gunicorn(u="-"))) is None


@pytest.mark.parametrize(
    ("keys", "method", "status", "is_event"),
    [
        ({}, "POST", 200, True),
        ({}, "GET", 299, True),
        ({}, "HEAD", 200, False),
        ({}, "OPTIONS", 200, False),
        ({}, "POST", 302, False),
        ({}, "POST", 404, False),
        ({"methods": ["POST", "PUT"]}, "PUT", 200, True),
        ({"methods": ["post"]}, "POST", 200, True),
        ({"methods": "POST, put"}, "PUT", 200, True),
        ({"methods": ["POST"]}, "GET", 200, False),
        ({"methods": "options"}, "OPTIONS", 200, True),
        ({"methods": "POST"}, "post", 200, False),
        ({"methods": None, "status": None}, "POST", 200, True),
        ({"status": "2xx,3xx"}, "POST", 302, True),
        ({"status": "2XX"}, "POST", 302, False),
        ({"status": 201}, "POST", 201, True),
        ({"status": 201}, "POST", 200, False),
        ({"status": [200, "3xx"]}, "POST", 303, True),
        ({"status": "201, 204"}, "POST", 204, True),
        ({"when": {"levelname": "INFO"}}, "POST", 200, True),
        ({"when": {"levelname": "ERROR"}}, "POST", 200, False),
        ({"when": {"logger": "uvicorn"}}, "POST", 200, True),
        ({"when": {"logger": "gunicorn.access"}}, "POST", 200, False),
        ({"when": {"access.ip": "127.0.0.1"}}, "POST", 200, True),
        ({"when": {"access.ip": "/^10[.]/"}}, "POST", 200, False),
        ({"when": {"access.user": "/./"}}, "POST", 200, False),
        ({"when": {"access.status": 200, "access.path": "/export/"}}, "POST", 200, True),
        ({"path": "/reports/export"}, "POST", 200, True),
        ({"path": "/reports"}, "POST", 200, False),
        ({"path": "/nothing/"}, "POST", 200, False),
    ],
)
def test_conditions(keys: Any, method: str, status: int, is_event: bool) -> None:
    """Methods, status and path, each with a default, and all other conditions of a rule."""
    rule = {**RULE, "event": {"action": "feature"}, **keys}
    found = made(rule, uvicorn(method, "/reports/export?a=1", status))
    assert (found is not None) is is_event


@pytest.mark.parametrize("logger", ["app", "uvicorn", "uvicorn.error", "werkzeug2", "root"])
def test_other_loggers_have_no_access_lines(logger: str) -> None:
    """Nothing is read from their records, and they are filtered by one look-up."""
    rules = Rules([RULE])
    one = record(logger, f'{CLF} "POST /reports/export HTTP/1.1" 200 2')
    assert rules.properties(one) is None
    assert rules.filters[logger](one)


def test_the_logger_of_another_server_can_be_named() -> None:
    """Its lines have one of the known forms: gevent's, say, with a logger of one's own."""
    rule = {**RULE, "when": {"logger": "my.server"}}
    line = '127.0.0.1 - - [2026-11-29 11:00:00] "POST /reports/export HTTP/1.1" 200 12 0.001'
    assert made(rule, record("my.server", line)) == MADE
    assert (
        made(rule, record("my.server", GUNICORN, gunicorn("POST /reports/export HTTP/1.1"))) == MADE
    )
    assert made(rule, uvicorn("POST", "/reports/export")) is None


def values(**more: Any) -> dict[str, Any]:
    """Return the values of gunicorn's record with other atoms."""
    found = read_access(record("gunicorn.access", GUNICORN, gunicorn(**more)))
    assert found is not MISSING
    return {name.removeprefix("access."): value for name, value in found.items()}


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"),
        ("/a?b?c", "/a"),
        ("/a#b", "/a"),
        ("/a%3Fb?c", "/a?b"),
        ("/a%0Ab", "/a\nb"),
        ("/%zz/%ff", "/%zz/\ufffd"),
        ("//double", "//double"),
        ('/a\\"b', '/a"b'),
        ("http://example.com/abs?q", "/abs"),
        ("HTTPS://example.com", "/"),
        ("http://example.com:8000/a/b", "/a/b"),
    ],
)
def test_a_path_is_decoded_and_has_no_query(target: str, path: str) -> None:
    """It has no authority either, even if the request names one."""
    assert values(line=f"POST {target} HTTP/1.1")["path"] == path


@pytest.mark.parametrize(
    "line",
    [
        "OPTIONS * HTTP/1.1",
        "CONNECT example.com:443 HTTP/1.1",
        "GET /old HTTP/0.9",
        "GET /old",
        "GET  HTTP/1.1",
        "GET",
        "",
        "-",
        "\\x16\\x03\\x01",
        "GET /a HTTP/1.1\nPOST /b HTTP/1.1",
        "GET relative HTTP/1.1",
        "G@T / HTTP/1.1",
    ],
)
def test_a_request_without_a_path_is_no_event(line: str) -> None:
    """Nor one that no HTTP version has; neither is an error, from arguments or from text."""
    atoms = gunicorn(line)
    assert read_access(record("gunicorn.access", GUNICORN, atoms)) is MISSING
    assert read_access(record("werkzeug", f'{CLF} "%s" %s %s', (line, "200", "-"))) is MISSING
    assert read_access(record("wsgi", f'{CLF} "{line}" 200 2 "-" "-"')) is MISSING


@pytest.mark.parametrize(
    ("made", "ip"),
    [
        (record("gunicorn.access", GUNICORN, gunicorn(h="::1")), "::1"),
        (record("gunicorn.access", GUNICORN, gunicorn(h="")), None),  # a unix socket
        (record("gunicorn.access", GUNICORN, gunicorn(h="-")), None),
        (record("hypercorn.access", HYPERCORN, hypercorn(h="::1:5000")), "::1"),
        (record("hypercorn.access", HYPERCORN, hypercorn(h=None)), None),
        (record("x", "%s%s%s%s%s", ("::1:54321", "GET", "/", "1.1", 200)), "::1"),
        (record("x", "%s%s%s%s%s", ("", "GET", "/", "1.1", 200)), None),
        (record("x", '::1 - - [t] "GET / HTTP/1.1" 200 2'), "::1"),
        (record("x", '10.0.0.1 - ann - - [t] "GET / HTTP/1.1" 200'), MISSING),
        (record("x", '[::1]:5000 - "GET / HTTP/1.1" 200'), "::1"),
        (record("x", '10.0.0.1:5000 - "GET / HTTP/1.1" 200'), "10.0.0.1"),
        (record("uvicorn.access", '::1:5000 - "GET / HTTP/1.1" 200'), "::1"),
        (record("uvicorn.access", ' - "GET / HTTP/1.1" 200'), None),
        (
            record("werkzeug", 'fe80::1%%eth0 - - [t] "%s" %s %s', ("GET / HTTP/1.1", "200", "-")),
            "fe80::1%eth0",
        ),
        (record("x", '10.0.0.1, 10.0.0.2 - - [t] "GET / HTTP/1.1" 200'), "10.0.0.1"),
        (
            record("sanic.access", "", byte=2, status=200, host="D1D5unx", request="GET http:///"),
            None,
        ),
        (record("tornado.access", "%d %s %.2fms", (200, "GET / (0.0.0.0)", 1.0)), "0.0.0.0"),
    ],
)
def test_clients(made: logging.LogRecord, ip: Any) -> None:
    """Addresses of version 6, with or without a port; a unix socket has none."""
    found = read_access(made)
    assert (found if ip is MISSING else found.get("access.ip")) == ip


@pytest.mark.parametrize(
    ("status", "expected"),
    [("200", 200), (200, 200), ("404 NOT FOUND", 404), (HTTPStatus.CREATED, 201)],
)
def test_a_status_is_a_number(status: Any, expected: int) -> None:
    """Servers write it as a number, as text or with its phrase."""
    assert values(s=status)["status"] == expected


@pytest.mark.parametrize("status", ["-", "", None, 0, 99, 600, "2xx", True, "20"])
def test_a_response_without_a_status_is_no_event(status: Any) -> None:
    """As when the client has gone before the answer."""
    assert read_access(record("gunicorn.access", GUNICORN, gunicorn(s=status))) is MISSING


@pytest.mark.parametrize(
    "made",
    [
        record("werkzeug", " * Running on http://127.0.0.1:5000"),
        record("werkzeug", f"{CLF} code %d, message %s", (HTTPStatus.BAD_REQUEST, "Bad request")),
        record("django.server", "- Broken pipe from %s", (("127.0.0.1", 5000),)),
        record("uvicorn.access", "%s %s", ("only two", "arguments")),
        record("uvicorn.access", "%s", (1, 2)),
        record("uvicorn.access", "%s%s%s%s%s", (1, 2, 3, 4, 5)),
        record("granian.access", GRANIAN, {"method": 5, "path": None, "status": 200}),
        record("gunicorn.access", "%(m)s", {"m": "GET"}),
        record("hypercorn.access", HYPERCORN, hypercorn(H="ws", r="GET /socket ws")),
        record("sanic.access", "", request="POST", byte=1),
        record("sanic.access", "", request=object(), byte=1),
        record("tornado.access", "%d %s %.2fms", (200, "no summary", 1.0)),
        record("wsgi", None),
    ],
)
def test_other_records_of_servers_are_no_events(made: logging.LogRecord) -> None:
    """They are skipped, and never an error."""
    assert read_access(made) is MISSING


@pytest.mark.parametrize(
    "text",
    [
        # the request line that Werkzeug and Django report as malformed
        f"{CLF} code 400, message Bad ('GET / \"POST /reports/export HTTP/1.1\" 200')",
        # the header X-Forwarded-For, which Paste writes as it is
        f'1.1.1.1 - - [x] "POST /reports/export HTTP/1.1" 200 2 {CLF} "GET / HTTP/1.1" 404 2 "-"',
        # a user's name
        '1.1.1.1 - a "POST /reports/export HTTP/1.1" 200 [t] "GET / HTTP/1.1" 404 2 "-" "-"',
        '1.1.1.1 - a [t] "POST /reports/export HTTP/1.1" 200 [t] "GET / HTTP/1.1" 404 2 "-" "-"',
        # a path that hypercorn has decoded
        f'{CLF} "POST /reports/export 1.1" 200 " 1.1" 404 2 "-" "-"',
        # a user agent
        f'{CLF} "-" 400 2 "-" "POST /reports/export HTTP/1.1" 200',
    ],
)
def test_a_client_cannot_write_a_line_into_another(text: str) -> None:
    """What a client sends may look like an access line; only a whole message is one."""
    found = read_access(record("wsgi", text))
    assert found is MISSING or found["access.path"] != "/reports/export"


@given(st.text(max_size=80), st.sampled_from([*LOGGERS, "x"]))
def test_any_message_is_an_access_line_or_none(text: str, logger: str) -> None:
    """Nothing raises, whatever was logged."""
    for made in (
        record(logger, text),
        record(logger, "%s", (text,)),
        record(logger, text, {"r": text, "s": 200}),
    ):
        found = read_access(made)
        assert found is MISSING or found["access.path"].startswith("/")


def test_a_long_message_takes_no_time() -> None:
    """A client can send kilobytes of any character; the expressions need one pass."""
    for text in ("[" * 200_000, "- [" * 70_000, '"\\' * 100_000, "a - " * 50_000, '" ' * 100_000):
        assert read_access(record("wsgi", f"1.1.1.1 - {text}")) is MISSING
        assert read_access(record("wsgi", f'"GET /{text} HTTP/1.1" 2x')) is MISSING


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"preset": "acess"}, ["preset", "'acess'", "did you mean 'access'?"]),
        ({"preset": 5}, ["preset", "int"]),
        ({**RULE, "methdos": "POST"}, ["'methdos'", "did you mean 'methods'?"]),
        ({**RULE, "task": "x"}, ["'task'", "methods, status, path"]),
        ({**RULE, "methods": ["POTS"]}, ["methods", "'POTS'", "did you mean 'POST'?"]),
        ({**RULE, "methods": "GETT"}, ["'GETT'", "did you mean 'GET'?"]),
        ({**RULE, "methods": []}, ["methods", "empty"]),
        ({**RULE, "methods": "POST,"}, ["methods", "empty"]),
        ({**RULE, "methods": 5}, ["methods", "'5'"]),
        ({**RULE, "methods": {}}, ["methods", "{}"]),
        ({**RULE, "status": "2x"}, ["status", "'2x'", "did you mean '2xx'?"]),
        ({**RULE, "status": "OK"}, ["status", "'OK'", "2xx"]),
        ({**RULE, "status": 20}, ["status", "'20'", "100 to 599"]),
        ({**RULE, "status": 600}, ["status", "'600'"]),
        ({**RULE, "status": True}, ["status", "True"]),
        ({**RULE, "status": 2.5}, ["status", "2.5"]),
        ({**RULE, "path": "reports"}, ["path", "'reports'", "begins with a slash"]),
        ({**RULE, "path": "/(?P<module>/"}, ["path", "not a regular expression"]),
        ({**RULE, "path": "//"}, ["path", "empty"]),
        ({**RULE, "path": 5, "event": MADE}, ["path", "int"]),
        ({**RULE, "path": ["/a"], "event": MADE}, ["path", "list"]),
        ({"preset": "access"}, ["event", "groups module and feature"]),
        ({**RULE, "path": r"/(?P<module>\w+)/"}, ["event", "groups module and feature"]),
        ({**RULE, "event": []}, ["event", "not a mapping"]),
        ({**RULE, "when": []}, ["when", "not a mapping"]),
        (
            {**RULE, "event": {"action": "feature", "x": "{access.stauts}"}},
            ["event.x", "{access.stauts}", "did you mean 'access.status'?"],
        ),
        ({**RULE, "when": {"access.usr": "/./"}}, ["'access.usr'", "mean 'access.user'?"]),
        ({**RULE, "when": {"access.user": "/(/"}}, ["when.access.user", "regular expression"]),
        ({**RULE, "when": {"access.user": None}}, ["when.access.user", "NoneType"]),
        ({"path": "/x", "event": MADE}, ["'path'", "when and event"]),
        ({"perset": "access", "event": MADE}, ["'perset'", "did you mean 'preset'?"]),
        ({"preset": "celery", "state": "done", "event": MADE}, ["state", "'done'", "succeeded"]),
        ({"preset": "celery", "task": 5, "event": MADE}, ["task", "int"]),
        ({"preset": "celery", "methods": "GET", "event": MADE}, ["'methods'", "state, task"]),
    ],
)
def test_a_wrong_preset_is_an_error_at_configuration_time(rule: Any, words: list[str]) -> None:
    """It begins with the rule's index, and has the name, the value and what is allowed."""
    with pytest.raises((ValueError, TypeError)) as caught:
        Rules([RULE, rule])
    said = str(caught.value)
    assert said.startswith("rules[1]")
    for word in words:
        assert word in said, said


def test_fields_do_not_read_what_presets_do() -> None:
    """The error says where it can be read; without a preset the path is one of an extra."""
    with pytest.raises(ValueError, match=r"fields\.userId: .*\{access\.user\}"):
        EventFormatter(rules=[RULE], fields={"userId": "access.user"})
    EventFormatter(fields={"userId": "access.user"})


SUCCEEDED = "Task %(name)s[%(id)s] succeeded in %(runtime)ss: %(return_value)s"
FAILED = "Task %(name)s[%(id)s] %(description)s: %(exc)s"
ID = "5b1cf41c-9d9e-4a9d-a9d5-3f2b8a0c7a11"
# As Celery 5.7.0 logs them.
DONE = {
    "id": ID,
    "name": "reports.tasks.export",
    "return_value": "'secret'",
    "runtime": 0.0125,
    "args": "('secret',)",
    "kwargs": "{}",
}


def failed(description: str) -> logging.LogRecord:
    context = {
        "hostname": "celery@host",
        "id": ID,
        "name": "reports.tasks.export",
        "exc": "RuntimeError('secret')",
        "traceback": "Traceback...",
        "args": "('secret',)",
        "kwargs": "{}",
        "description": description,
        "internal": False,
    }
    return record("celery.app.trace", FAILED, context, data=context)


TASK = {
    "preset": "celery",
    "task": r"/^(?P<module>\w+)\.tasks\.(?P<feature>\w+)$/",
}


def test_a_task_that_succeeded_is_an_event() -> None:
    """It has name, id and run time of the task, and nothing of its arguments and result."""
    done = record("celery.app.trace", SUCCEEDED, DONE, data=DONE)
    expected = {
        "task.name": "reports.tasks.export",
        "task.id": ID,
        "task.state": "succeeded",
        "task.runtime": 0.0125,
    }
    assert read_task(done) == expected
    assert read_task(record("celery.app.trace", done.getMessage())) == expected
    assert made(TASK, done) == MADE
    event = {"action": "feature", "feature": "{task.name}", "seconds": "{task.runtime}"}
    found = made({"preset": "celery", "task": "reports.tasks.export", "event": event}, done)
    assert found == {"action": "feature", "feature": "reports.tasks.export", "seconds": 0.0125}
    assert made({**TASK, "task": "reports.tasks.other", "event": event}, done) is None


def test_celery_s_own_records_are_events(freshsuccess: Capture) -> None:
    """Tasks that Celery traces, as a worker does, have the user who is bound while they run."""
    import celery
    from celery.app.trace import build_tracer

    app = celery.Celery("app", broker="memory://", set_as_current=False)
    app.conf.update(task_store_eager_result=False, task_ignore_result=True)

    def run(task: Any, then: str) -> str:
        if then == "retry":
            raise task.retry(countdown=1000)
        if then == "fail":
            raise RuntimeError("secret")
        return "secret"

    task = app.task(bind=True, name="reports.tasks.export", shared=False)(run)
    logger = logging.getLogger("celery.app.trace")
    event = {
        "action": "{task.state}",
        "feature": "{feature}",
        "task": "{task.id}",
        "seconds": "{task.runtime}",
    }
    handler = FreshsuccessHandler(
        rules=[{**TASK, "state": ["succeeded", "failed"], "event": event}]
    )
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        for then in ("succeed", "fail", "retry"):
            trace = build_tracer(task.name, task, app=app)
            request = {"is_eager": False, "delivery_info": {}, "id": then, "root_id": then}
            with context.bound(accountId="acme", userId=f"who wants {then}"):
                trace(then, (then,), {}, request)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    succeeded, failed = freshsuccess.events
    assert 0 <= succeeded.pop("seconds") < 60
    for found, then, state in (
        (succeeded, "succeed", "succeeded"),
        (failed, "fail", "failed"),
    ):
        assert found["userId"] == f"who wants {then}"
        assert (found["action"], found["task"], found["feature"]) == (state, then, "export")
        assert "seconds" not in found
        assert "secret" not in str(found)
    assert freshsuccess.problems == []


@pytest.mark.parametrize("description", ["raised unexpected", "raised expected", "INTERNAL ERROR"])
def test_a_task_that_failed_is_an_event_if_it_is_wanted(description: str) -> None:
    """The state is part of the rule; a failed task has no run time."""
    assert made(TASK, failed(description)) is None
    for state in ("failed", ["succeeded", "failed"], "succeeded, failed"):
        rule = {**TASK, "state": state}
        assert made(rule, failed(description)) == MADE
    event = {"action": "{task.state}", "seconds": "{task.runtime}"}
    rule = {**TASK, "state": "failed", "event": event}
    assert made(rule, failed(description)) == {"action": "failed"}


@pytest.mark.parametrize(
    "made",
    [
        record("celery.app.trace", "Task %(name)s[%(id)s] ignored", {"name": "a", "id": "b"}),
        record("celery.app.trace", "Task %(name)s[%(id)s] retry: %(exc)s", {**DONE, "exc": "x"}),
        record("celery.app.trace", "%s", (1, 2)),
        record("celery.app.trace", "Task a[b] succeeded in --s: None"),
        record("celery.app.trace", "Process cleanup failed: %r", (5,)),
    ],
)
def test_other_records_of_celery_are_no_events(made: logging.LogRecord) -> None:
    """A task that is retried or ignored is not done."""
    assert read_task(made) is MISSING
