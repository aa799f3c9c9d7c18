"""`fslog check` with records: an explanation agrees with the formatter, and has its reasons."""

from __future__ import annotations

import gzip
import io
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonjsonlogger.json import JsonFormatter

from fslog import EventFormatter, FreshsuccessHandler, InvalidEvent
from fslog.cli import main
from fslog.cli.check.configuration import Configuration, HandlerConfig, parse
from fslog.cli.check.dry_run import EventHandlerInfo, dry_run, event_handlers
from fslog.cli.check.explain import Explainer, Explanation, Summary, shown
from fslog.cli.check.records import (
    RecordError,
    from_json,
    from_mapping,
    from_text,
    parse_values,
    recover_args,
)
from fslog.cli.check.render import Text
from fslog.cli.check.routing import Routing
from fslog.cli.output import Printer
from processes import KEYS

EXPORT = {
    "when": {"logger": "app.reports", "message": "exported %s rows"},
    "event": {"action": "feature", "module": "reports", "feature": "export", "total": "{args.0}"},
}
ACCESS = {
    "when": {
        "logger": "gunicorn.access",
        "args.m": "POST",
        "args.s": "/^2/",
        "args.U": r"/^/(?P<module>\w+)/(?P<feature>\w+)$/",
    },
    "event": {
        "action": "feature",
        "module": "{module}",
        "feature": "{feature}",
        "ms": "{args.M:int}",
        "details": {"path": "{args.U}", "agent": "{args.a}", "list": ["{args.b}"]},
    },
}
WHO = {"accountId": "acme", "userId": "ann"}


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSLOG_AUTH_KEY", KEYS[0])
    monkeypatch.setenv("FSLOG_API_KEY", KEYS[1])


def explainer(bound: dict[str, Any] | None = None, **arguments: Any) -> Explainer:
    """Return an explainer for a handler on the root logger, at INFO."""
    usage = {"class": "fslog.FreshsuccessHandler", "rules": [EXPORT, ACCESS], **arguments}
    return of_configuration({"usage": usage}, bound=bound)


def of_configuration(
    handlers: dict[str, Any], bound: dict[str, Any] | None = None, **parts: Any
) -> Explainer:
    """Return an explainer for the handler `usage`."""
    given = {
        "version": 1,
        "handlers": handlers,
        "root": {"handlers": ["usage"], "level": "INFO"},
        **parts,
    }
    with dry_run() as run:
        config = parse(given)
        found = [info for info in event_handlers(config, run) if info.name == "usage"]
        assert not config.diagnostics
        return Explainer(found[0], bound or {})


def explained(text: str, **arguments: Any) -> Explanation:
    """Return the explanation of a `--record` text."""
    return explainer(**arguments).explain(from_text(text))


def reasons(one: Explanation) -> dict[int, str]:
    """Return reason the rules do not match."""
    return {mismatch.rule: str(mismatch) for mismatch in one.mismatches}


def test_an_event_elsewhere_than_in_the_extra_event() -> None:
    """It is explicit, and its properties are from the place in which it stands."""
    nested = ["event", "extra", "message"]
    one = explained(
        'name=app,extra={"action": "feature", "feature": "x"},accountId=a', nested=nested
    )
    assert (one.result, one.is_explicit) == ("invalid", True)
    assert one.event is not None
    assert one.sources == {
        "accountId": "the call",
        "action": "the call's extra",
        "feature": "the call's extra",
        "createdAt": "the record's time",
    }
    line = {"name": "app", "message": {"event": "exported", "action": "feature", **WHO}}
    for message in (line["message"], json.dumps(line["message"])):
        one = explained(json.dumps({**line, "message": message}), nested=nested)
        assert (one.is_explicit, one.sources["userId"]) == (True, "the call's message")
        assert explained(json.dumps({**line, "message": message})).result == "skipped"


def test_a_text_that_means_no_value() -> None:
    """The reason why a field is missing has the text, and says that it is none."""
    one = explained(
        "name=gunicorn.access,args.m=POST,args.s=200,args.U=/a/b,args.u=-",
        fields={"userId": "args.u", "accountId": "args.a"},
    )
    assert one.result == "invalid"
    assert [text for text in one.left_out if "fields" in text] == [
        'userId: fields reads args.u, which is "-", no value',
        "accountId: fields reads args.a, which is missing",
    ]


PRESET = {"preset": "access", "path": r"/^/(?P<module>\w+)/(?P<feature>\w+)$/", "methods": "POST"}


@pytest.mark.parametrize(
    "text",
    [
        "name=gunicorn.access,args.m=POST,args.s=200,args.U=/reports/export",
        'name=uvicorn.access,args=["127.0.0.1:5000","POST","/reports/export?a=1","1.1",200]',
        """name=werkzeug,message='127.0.0.1 - - [t] "POST /reports/export HTTP/1.1" 200 -'""",
        r'{"logger": "wsgi", "message": "::1 - - [t] \"POST /reports/export HTTP/1.1\" 200"}',
    ],
)
def test_a_preset_that_matches(text: str) -> None:
    """From atoms, from arguments, or from the text that a log file has."""
    one = explained(text.replace("'", ""), rules=[PRESET], defaults=WHO)
    assert (one.result, one.rule, one.left_out) == ("event", 0, ())
    assert one.event is not None
    assert (one.event["module"], one.event["feature"]) == ("reports", "export")
    assert (one.sources["action"], one.sources["feature"]) == ("rules[0]", "rules[0]")


@pytest.mark.parametrize(
    ("text", "reason", "held"),
    [
        ("name=app,msg=hello", "not a record that the preset access reads", 0),
        ("name=gunicorn.access,msg=hello", "not a record that the preset access reads", 0),
        (
            'name=app,msg=""127.0.0.1 - - [t] "POST /reports/export HTTP/1.1" 200""',
            "not a record that the preset access reads",
            0,
        ),
        (
            "name=gunicorn.access,args.m=GET,args.s=200,args.U=/reports/export",
            'access.method is "GET", expected "POST"',
            3,
        ),
        (
            "name=gunicorn.access,args.m=POST,args.s=404,args.U=/reports/export",
            'access.status is 404, expected "2xx"',
            3,
        ),
        (
            "name=gunicorn.access,args.m=POST,args.s=200,args.U=/reports",
            'access.path is "/reports", expected a match of /^',
            3,
        ),
    ],
)
def test_a_preset_that_does_not_match(text: str, reason: str, held: int) -> None:
    """The reason is the method, the status or the path, as the preset reads them."""
    one = explained(text, rules=[PRESET], defaults=WHO)
    assert (one.result, one.event) == ("skipped", None)
    assert reasons(one)[0].startswith(reason)
    assert (one.mismatches[0].held, one.mismatches[0].conditions) == (held, 4)


def test_a_rule_that_matches() -> None:
    """The explanation has the rule, the event, and the source of each property."""
    one = explained(
        'name=app.reports.csv,msg="exported %s rows",args=[3],userId=7,tenant.slug=acme',
        fields={"accountId": "tenant.slug"},
        defaults={"product": "core"},
    )
    assert (one.result, one.rule, one.is_explicit, one.mismatches) == ("event", 0, False, ())
    assert one.event is not None
    assert (one.event["total"], one.event["userId"]) == (3, "7")
    assert one.sources == {
        "product": "defaults",
        "accountId": "fields: tenant.slug",
        "userId": "the call",
        "action": "rules[0]",
        "module": "rules[0]",
        "feature": "rules[0]",
        "total": "rules[0]",
        "createdAt": "the record's time",
        "sessionId": "derived",
    }


def test_an_explicit_event() -> None:
    """If the log call has an action, flat or nested, no rule is evaluated."""
    one = explained("name=x,action=signIn,userId=u,event.module=door", bound={"accountId": "a"})
    assert (one.result, one.rule, one.is_explicit, one.mismatches) == ("event", None, True, ())
    assert one.sources["module"] == "the call's event"
    assert (one.sources["action"], one.sources["accountId"]) == ("the call", "context")
    assert explained("name=x,event.action=signIn", bound=WHO).is_explicit


def test_the_call_takes_precedence_over_a_rule() -> None:
    """A nested extra, and an extra that is required, take precedence over the rule."""
    one = explained(
        'name=app.reports,msg="exported %s rows",args=[3],event.module=other,sessionId=s',
        bound=WHO,
    )
    assert one.rule == 0
    assert one.sources["module"] == "the call's event"
    assert one.sources["sessionId"] == "the call"
    assert one.sources["feature"] == "rules[0]"


@pytest.mark.parametrize(
    ("text", "rule", "sentence", "held"),
    [
        ("name=app.db,msg=x", 0, 'logger is "app.db", expected "app.reports" or a child of it', 0),
        ("name=app.reports2", 0,
         'logger is "app.reports2", expected "app.reports" or a child of it', 0),
        ("name=app.reports,msg=x", 0, 'message is "x", expected "exported %s rows"', 1),
        ("name=gunicorn.access,args.m=GET,args.s=200,args.U=/a/b", 1,
         'args.m is "GET", expected "POST"', 3),
        ("name=gunicorn.access,args.m=POST,args.s=404,args.U=/a/b", 1,
         "args.s is 404, expected a match of /^2/", 3),
        ("name=gunicorn.access,args.m=POST,args.U=/a/b", 1,
         "args.s is missing, expected a match of /^2/", 3),
        ("name=gunicorn.access,args.m=POST,args.s=null,args.U=x", 1,
         "args.s is null, expected a match of /^2/", 2),
        ("name=gunicorn.access", 1, 'args.m is missing, expected "POST"', 1),
    ],
)  # fmt: skip
def test_why_a_rule_does_not_match(text: str, rule: int, sentence: str, held: int) -> None:
    """The first condition that fails is reported with its value, and how many conditions hold."""
    one = explained(text)
    assert (one.result, one.rule, one.event) == ("skipped", None, None)
    assert reasons(one)[rule] == sentence
    assert [mismatch.held for mismatch in one.mismatches if mismatch.rule == rule] == [held]


def test_missing_properties() -> None:
    """An invalid event names what is missing, the fields without a value, and a remedy."""
    one = explained(
        'name=app.reports,msg="exported %s rows",args=[3]',
        fields={"accountId": "tenant.slug", "userId": "user", "sessionId": "session"},
    )
    assert (one.result, one.rule) == ("invalid", 0)
    assert [(p.code, p.property) for p in one.problems] == [
        ("missing", "accountId"),
        ("missing", "userId"),
    ]
    assert one.left_out == (
        "accountId: fields reads tenant.slug, which is missing",
        "userId: fields reads user, which is missing",
    )
    assert one.notes == ("values bound by fslog.context are unknown here; pass --context",)
    report = explained('name=app.reports,msg="exported %s rows",args=[3]', bound={"userId": "u"})
    assert report.notes == ()
    null = explained("name=x,action=a,user=null", fields={"userId": "user"}, bound={"a": 1})
    assert null.left_out == ("userId: fields reads user, which is null",)


def test_placeholders_without_a_value() -> None:
    """Each placeholder without a value is reported, at any depth; the event lacks its property."""
    one = explained(
        "name=gunicorn.access,args.m=POST,args.s=201,args.U=/a/b,args.M=soon", bound=WHO
    )
    assert (one.result, one.rule) == ("event", 1)
    assert one.event is not None
    assert (one.event["module"], one.event["details"]) == ("a", {"path": "/a/b", "list": []})
    assert one.left_out == (
        "ms: {args.M:int} has no value",
        "details.agent: {args.a} has no value",
        "details.list.0: {args.b} has no value",
    )


def test_what_cannot_be_read_is_reported() -> None:
    """Conditions, placeholders and fields that raise are reported as unreadable, not as missing."""

    class User:
        @property
        def id(self) -> str:
            raise RuntimeError("no database")

    rules = [
        {"when": {"user.id": "7"}, "event": {"action": "feature"}},
        {"when": {"logger": "x"}, "event": {"action": "feature", "userId": "{user.id}"}},
    ]
    record = from_mapping({"name": "x", "msg": "y", "levelname": "INFO"})
    record.__dict__["user"] = User()
    one = explainer(rules=rules, fields={"accountId": "user.id"}).explain(record)
    assert (one.result, [p.code for p in one.problems]) == ("invalid", ["unreadable"])
    assert "user.id raised RuntimeError: no database" in one.problems[0].message
    assert reasons(one)[0] == (
        'user.id cannot be read: user.id raised RuntimeError: no database; expected "7"'
    )
    one = explainer(rules=rules[1:], fields={"accountId": "user.id"}).explain(record)
    assert [(p.code, p.property) for p in one.problems] == [
        ("unreadable", "userId"),
        ("unreadable", "accountId"),
    ]
    assert one.left_out == ()


def test_events_with_warnings() -> None:
    """An event with a warning is sent; one that is too large is not."""
    one = explained("name=x,action=feature,feature=f", bound=WHO)
    assert one.result == "warning"
    assert [p.code for p in one.problems] == ["expected"]
    long = explained(f"name=x,action=a,note={'x' * 300}", bound=WHO, batch_bytes=200)
    assert long.result == "invalid"
    assert [p.code for p in long.problems] == ["too_large"]
    assert "batch_bytes allows 200" in long.problems[0].message


@pytest.mark.parametrize(
    ("parts", "record", "reason"),
    [
        ({}, "level=DEBUG", "the root logger accepts INFO and above"),
        ({"root": {"handlers": ["usage"]}}, "level=INFO",
         "the root logger accepts WARNING and above"),
        ({"loggers": {"app": {"level": "ERROR"}}}, "level=INFO",
         "the logger app accepts ERROR and above"),
        ({"loggers": {"app.reports": {"propagate": False}}}, "level=INFO",
         "the logger app.reports does not propagate"),
        ({"root": {"level": "INFO"}, "loggers": {"other": {"handlers": ["usage"]}}}, "level=INFO",
         "neither the logger app.reports nor any of its parents has the handler"),
        ({"filters": {"f": {"name": "web"}}, "root": {"level": "INFO", "handlers": ["usage"]},
          "loggers": {"app.reports": {"filters": ["f"]}}}, "level=INFO",
         "a filter of the logger app.reports rejects it"),
        ({"filters": {"f": {"name": "web"}}}, "level=WARNING,filters=usage",
         "a filter of the handler usage rejects it"),
        ({}, "level=WARNING,handler=ERROR", "the handler usage accepts ERROR and above"),
    ],
)  # fmt: skip
def test_what_stops_a_record(parts: dict[str, Any], record: str, reason: str) -> None:
    """The level, filter or propagation that stops a record is named, and the event it would be."""
    values = parse_values(record)
    usage: dict[str, Any] = {"class": "fslog.FreshsuccessHandler", "rules": [EXPORT]}
    if "filters" in values:
        usage["filters"] = ["f"]
    if "handler" in values:
        usage["level"] = values["handler"]
    text = f'name=app.reports,msg="exported %s rows",args=[3],level={values["level"]}'
    one = of_configuration({"usage": usage}, WHO, **parts).explain(from_text(text))
    assert (one.result, one.reason) == ("stopped", reason)
    assert one.event is not None


def test_a_filter_of_the_application_is_not_created() -> None:
    """A filter that is not fslog's is neither created nor asked, and the explanation says so."""
    usage = {"class": "fslog.FreshsuccessHandler", "rules": [EXPORT], "filters": ["own"]}
    filters = {"own": {"()": "logging.handlers.RotatingFileHandler", "filename": "made.log"}}
    one = of_configuration({"usage": usage}, WHO, filters=filters).explain(
        from_text('name=app.reports,msg="exported %s rows",args=[3]')
    )
    assert one.result == "event"
    assert one.notes == ("the filter own was not run; it may reject the record",)
    assert not Path("made.log").exists()


def test_a_line_without_a_level() -> None:
    """A record without a level is stopped by none."""
    record = from_json(b'{"name": "app.reports", "message": "exported 3 rows"}')
    assert explainer(WHO).explain(record).result == "event"


def test_a_subclass_of_the_formatter() -> None:
    """A subclass's events and exceptions are shown, although no rule matches."""

    class Own(EventFormatter):
        def event(self, record: logging.LogRecord) -> dict[str, Any] | None:
            if record.msg == "bad":
                raise RuntimeError("no")
            return {"action": "own", **WHO, "createdAt": 1, "sessionId": "s"}

    explain = explainer()
    explain._formatter = Own()
    one = explain.explain(from_text("name=x,msg=hello"))
    assert (one.result, one.rule, len(one.mismatches)) == ("warning", None, 2)
    assert explain.explain(from_text("name=x,msg=bad")).problems[0].message == "RuntimeError: no"


RULE_TEXTS = st.sampled_from(["", "a", "a.b", "ab", "POST", "1", "/a/", "/^a.(?P<x>b)?/", "%s a"])
WHENS = st.dictionaries(
    st.sampled_from(["logger", "message", "args.0", "args.m", "extra", "levelname", "x.y"]),
    RULE_TEXTS | st.integers(0, 2) | st.booleans(),
    max_size=3,
)
LEAVES = st.none() | st.integers(0, 2) | st.sampled_from(["", "a", "ab", "a.b", "POST", "1", "x a"])
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["a", "a.b", "ab", "b", "root", ""]),
        "msg": LEAVES.filter(lambda value: value is not None),
        "message": LEAVES.filter(lambda value: value is not None),
        "args": st.lists(LEAVES, max_size=2) | st.dictionaries(st.just("m"), LEAVES),
        "extra": LEAVES,
        "x": st.dictionaries(st.just("y"), LEAVES),
        "event": st.dictionaries(st.sampled_from(["action", "module"]), LEAVES) | LEAVES,
        "action": LEAVES,
        "levelname": st.sampled_from(["INFO", "DEBUG", "odd"]),
    },
)


@given(st.lists(WHENS, max_size=4), RECORDS)
def test_the_explanation_agrees_with_the_formatter(
    whens: list[dict[str, Any]], line: dict[str, Any]
) -> None:
    """For any rules and record, the rule, the event and the problems are the formatter's."""
    event = {"action": "made", "value": "{args.0}"}
    rules = [{"when": when, "event": {**event, "rule": at}} for at, when in enumerate(whens)]
    arguments: Any = {"rules": rules, "session": "none", "defaults": {"sessionId": "s"}}
    routing = Routing(Configuration({}), "usage")
    formatter = EventFormatter(**arguments)
    info = EventHandlerInfo(HandlerConfig("usage", None), routing, formatter=formatter)
    explain = Explainer(info, WHO)
    one = explain.explain(from_mapping(line))
    assert one.record is not None
    formatter = EventFormatter(rules=rules, session="none", defaults={"sessionId": "s", **WHO})
    try:
        made = formatter.event(one.record)
        problems: tuple[Any, ...] = ()
    except InvalidEvent as error:
        made, problems = None, error.problems
    codes = [(problem.code, problem.property) for problem in problems]
    if problems:
        assert [(problem.code, problem.property) for problem in one.problems] == codes
        return
    assert one.event == made
    assert one.result == "stopped"  # no logger has the handler
    if made is not None and not one.is_explicit:
        assert made["rule"] == one.rule
    if not one.is_explicit:
        last = len(rules) if one.rule is None else one.rule
        assert [mismatch.rule for mismatch in one.mismatches] == list(range(last))
        assert all(mismatch.held < mismatch.conditions for mismatch in one.mismatches)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name=app", {"name": "app", "levelno": 20, "msg": "", "args": ()}),
        ("logger=app,level=WARNING,msg=hi", {"name": "app", "levelno": 30, "msg": "hi"}),
        ("name=a,levelno=7", {"levelno": 7}),
        ("name=a,severity=error", {"levelno": 40}),
        ("msg=one, two,b=2", {"name": "root", "msg": "one, two", "b": 2}),
        ('msg="a=b,c=d",e=f=g', {"msg": "a=b,c=d", "e": "f=g"}),
        ("msg=exported %s rows, x,args=[3, 4]", {"msg": "exported %s rows, x", "args": (3, 4)}),
        ("a=true,b=null,c=1.5,d=[],e={}", {"a": True, "b": None, "c": 1.5, "d": [], "e": {}}),
        ("a=truely,b=12monkeys,c=,d=]", {"a": "truely", "b": "12monkeys", "c": "", "d": "]"}),
        ("args.0=3,args.1=x", {"args": (3, "x")}),
        ("args.m=POST,args.{x-account}i=acme", {"args": {"m": "POST", "{x-account}i": "acme"}}),
        ("request.user.id=5,request.path=/a", {"request": {"user": {"id": 5}, "path": "/a"}}),
        ('{"name": "a", "message": "hi"}', {"name": "a", "msg": "hi"}),
        ("created=12.5,a=1,", {"created": 12.5, "a": 1}),
    ],
)
def test_records_of_the_command_line(text: str, expected: dict[str, Any]) -> None:
    """Values of --record are JSON if they parse as JSON, else text."""
    record = from_text(text)
    assert {name: record.__dict__[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty; expected"),
        ("app", "expected name=value at 'app', character 1"),
        ("=x", "expected name=value"),
        ('a=1,"b"=2', "expected name=value"),
        ("a=1,a.b=2", "a is both a value and a mapping"),
        ("{", "not valid JSON"),
    ],
)
def test_texts_that_are_not_records(text: str, reason: str) -> None:
    """A text of another form is refused, with the place."""
    with pytest.raises(RecordError, match=reason.replace("(", r"\(")):
        from_text(text)


def log_line(level: int = logging.INFO, fmt: str = "", **more: Any) -> bytes:
    """Return the line that python-json-logger writes for a log call."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(fmt or "%(name)s %(levelname)s %(message)s", **more))
    logger = logging.Logger("app.reports")
    logger.addHandler(handler)
    logger.log(level, "exported %s rows", 42, extra={"userId": "ann", "tags": ["a"]})
    return stream.getvalue().encode()


@pytest.mark.parametrize(
    "line",
    [
        log_line(),
        log_line(fmt="%(name)s %(levelname)s %(msg)s %(args)s"),
        log_line(rename_fields={"levelname": "severity", "name": "logger"}, timestamp=True),
        log_line(fmt="%(asctime)s %(name)s %(levelno)s %(message)s"),
    ],
)
def test_lines_of_python_json_logger(line: bytes) -> None:
    """The record is recovered whatever the formatter's options, and its rule matches."""
    record = from_json(line)
    assert (record.name, record.levelno) == ("app.reports", logging.INFO)
    assert not {"severity", "logger", "timestamp"} & record.__dict__.keys()
    one = explainer({"accountId": "acme"}).explain(record, 7)
    assert (one.number, one.result, one.rule) == (7, "event", 0)
    assert one.event is not None
    assert (one.event["total"], one.event["userId"], "tags" in one.event) == (42, "ann", False)


@pytest.mark.parametrize(
    ("value", "created"),
    [
        (12.5, 12.5),
        (1_700_000_000_500, 1_700_000_000.5),
        ("1970-01-01T00:00:12.500000+00:00", 12.5),
        ("1970-01-01T00:00:12Z", 12.0),
    ],
)
def test_instants(value: Any, created: float) -> None:
    """Seconds, milliseconds and ISO 8601 texts are accepted as the record's time."""
    assert from_mapping({"timestamp": value}).created == created
    assert "timestamp" not in from_mapping({"timestamp": value}).__dict__


def test_other_values_are_extras() -> None:
    """A value of another type under the name of a time, level or logger is an extra."""
    record = from_mapping({"time": "soon", "level": "gold", "logger": 5, "created": True})
    assert (record.time, record.level, record.logger) == ("soon", "gold", 5)  # type: ignore[attr-defined]
    assert (record.name, record.levelno) == ("root", 0)
    assert from_mapping({"timestamp": "0001-01-01", "time": float("inf")}).created > 1e9


@pytest.mark.parametrize(
    ("message", "template", "args"),
    [
        ("a 1 b 2.5 c", "a %d b %.1f c", (1, 2.5)),
        ("50 % of x", "%d %% of %s", (50, "x")),
        ("user ann did it", "user %(user)s did %(what)s", {"user": "ann", "what": "it"}),
        ("one\ntwo", "%s", ("one\ntwo",)),
        ("007 is 1e3", "%s is %s", ("007", "1e3")),
        ("done", "done", None),
        ("done", "do%%ne", None),
        ("exported x rows", "exported %d rows", None),
        ("x" * 3_000, "%s", None),
        (5, "%s", None),
    ],
)
def test_arguments_are_recovered_from_a_message(message: Any, template: str, args: Any) -> None:
    """Arguments are recovered from a formatted message only if the template gives it."""
    assert recover_args(message, template) == args


def test_arguments_are_recovered_for_a_rule_only() -> None:
    """They are recovered if the rule's logger matches and the line has none; a note says so."""
    explain = explainer(WHO)
    one = explain.explain(from_mapping({"name": "app.reports", "message": "exported 3 rows"}))
    assert (one.rule, one.notes) == (0, ("msg and args are recovered from the formatted message",))
    for name, args in (("other", ()), ("app.reports", [1])):
        record = from_mapping({"name": name, "message": "exported 3 rows", "args": args})
        one = explain.explain(record)
        assert (one.result, one.notes) == ("skipped", ())
        assert record.msg == "exported 3 rows"


def test_shown_values() -> None:
    """Values are shown as JSON, truncated if long; others by their type."""
    assert shown("a" * 100, 10) == '"aaaaaaaa...'
    assert shown({1, 2}) == "of type set"
    endless: list[Any] = []
    endless.append(endless)
    assert shown(endless) == "of type list"


Check = Callable[..., tuple[int, str, str]]


@pytest.fixture
def check(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Check:
    """Return a function that runs `fslog check` and returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "providing", raising=False)
    usage = {"class": "fslog.FreshsuccessHandler", "rules": [EXPORT, ACCESS]}
    given = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"usage": usage},
        "root": {"handlers": ["usage"], "level": "INFO"},
    }
    Path("logging.json").write_text(json.dumps(given))

    def run_it(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(["check", "logging.json", *map(str, arguments)])
        sys.stdout.flush()
        return (code, *capfd.readouterr())

    return run_it


def logged(*lines: Any) -> str:
    """Write a log file and return its name."""
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    Path("app.log").write_bytes(b"".join(text + b"\n" for text in texts))
    return "app.log"


MISSING = (
    "accountId is missing: give it in the log call's extra, in fields, in context or in defaults"
)
LINES: list[Any] = [
    {"name": "app.reports", "levelname": "INFO", "message": "exported 3 rows", **WHO},
    {"name": "app.reports", "levelname": "INFO", "message": "exported 4 rows", "userId": "u"},
    {"name": "app.db", "levelname": "INFO", "message": "connected"},
    {"name": "app.db", "levelname": "INFO", "message": "slow"},
    b"Traceback (most recent call last):",
    b"",
    {"name": "app.reports", "levelname": "DEBUG", "message": "exported 5 rows", **WHO},
    {"name": "web", "levelname": "INFO", "message": "hi", "action": "feature", **WHO},
    b"[1]",
]


def test_what_a_person_reads_of_a_log(check: Check) -> None:
    """The first records are explained in full, and all are counted."""
    code, out, err = check("--log", logged(*LINES), "--details", "2")
    assert (code, err) == (1, "")
    lines = out[out.index("line 1 ") :].splitlines()
    report = [" ".join(line.split()) for line in lines]
    assert [line for line in report if not line.startswith(("createdAt ", "sessionId "))] == [
        'line 1 app.reports INFO "exported %s rows" [3]',
        "event, by rules[0]",
        'action "feature" rules[0]',
        'module "reports" rules[0]',
        'feature "export" rules[0]',
        "total 3 rules[0]",
        'accountId "acme" the call',
        'userId "ann" the call',
        "msg and args are recovered from the formatted message",
        "",
        'line 2 app.reports INFO "exported %s rows" [4]',
        "invalid, not sent, by rules[0]",
        'action "feature" rules[0]',
        'module "reports" rules[0]',
        'feature "export" rules[0]',
        "total 4 rules[0]",
        'userId "u" the call',
        MISSING,
        "msg and args are recovered from the formatted message",
        "values bound by fslog.context are unknown here; pass --context",
        "",
        "6 more records not shown; see --details and --only",
        "",
        "8 records",
        "1 event",
        "1 event with a warning",
        "1 action 'feature' is expected to have feature, a string",
        "1 action 'feature' is expected to have module, a string",
        "1 invalid event, not sent",
        f"1 {MISSING}",
        "2 records without an event",
        "from app.db 2",
        "1 record does not reach the handler",
        "1 the root logger accepts INFO and above",
        "1 would be an event",
        "2 lines are not log records",
        "by",
        "1 the log call itself",
        "2 rules[0]",
        'never rules[1]: in the nearest record, logger is "app.db", expected "gunicorn.access" '
        "or a child of it",
        "",
        "1 invalid event",
    ]


def test_only_some_records(check: Check) -> None:
    """--only selects what is explained; all records are counted."""
    path = logged(*LINES)
    report = json.loads(check("--log", path, "--only", "skipped,unreadable", "--json")[1])
    assert [one["line"] for one in report["records"]] == [3, 4, 5, 9]
    assert report["records"][2]["reason"].startswith("not valid JSON: ")
    assert report["summary"]["results"] == {
        "event": 1,
        "invalid": 1,
        "skipped": 2,
        "unreadable": 2,
        "stopped": 1,
        "warning": 1,
    }
    _, out, _ = check("--log", path, "--only", "stopped")
    assert (
        "  does not reach the handler: the root logger accepts INFO and above (it would be an event"
        in out
    )
    assert "line 1 " not in out


def test_the_summary_for_a_program(check: Check) -> None:
    """The JSON summary counts by rule, logger and problem, with the conditions that fail."""
    access = {"name": "gunicorn.access", "levelname": "INFO", "args": {"m": "GET", "s": 200}}
    report = json.loads(check("--log", logged(*LINES, access), "--json")[1])
    assert (report["handler"], report["ok"]) == ("usage", True)
    summary = report["summary"]
    assert (summary["lines"], summary["explicit"], summary["stopped_events"]) == (9, 1, 1)
    assert summary["skipped_by_logger"] == {"app.db": 2, "gunicorn.access": 1}
    first, second = summary["rules"]
    assert (first["matches"], first["failed"]) == (2, {"logger": 3})
    assert (second["matches"], second["nearest"]) == (0, 'args.m is "GET", expected "POST"')
    assert summary["stopped"] == {"the root logger accepts INFO and above": 1}
    assert {one["code"] for one in summary["problems"]} == {"missing", "expected"}
    explained = report["records"][0]
    assert (explained["result"], explained["event"]["total"]) == ("event", 3)
    assert explained["sources"]["total"] == "rules[0]"


def test_what_would_be_invalid(check: Check) -> None:
    """A stopped record that would be invalid is reported as both."""
    record = 'name=app.reports,msg="exported %s rows",args=[3],level=DEBUG'
    code, out, _ = check("--record", record)
    assert code == 0
    assert "accepts INFO and above (it would be invalid, by rules[0])" in out


def test_rules_that_never_match(check: Check) -> None:
    """The summary names the nearest record of a rule that never matches."""
    access = {"name": "gunicorn.access", "levelname": "INFO", "args": {"m": "GET", "s": 200}}
    _, out, _ = check("--log", logged(LINES[0], LINES[2], access))
    assert out.splitlines()[-5:] == [
        "by",
        "        1  rules[0]",
        '    never  rules[1]: in the nearest record, args.m is "GET", expected "POST"',
        "",
        "OK",
    ]
    _, out, _ = check("--log", logged(LINES[0], LINES[0]))
    assert out.splitlines()[-3].startswith(
        "    never  rules[1]: an earlier rule always matched first"
    )


@pytest.mark.slow
def test_logs_from_anywhere(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log may be compressed, missing or truncated."""
    text = json.dumps(LINES[0]).encode() + b"\n"
    Path("app.log.gz").write_bytes(gzip.compress(text * 20))
    assert "20 records" in check("--log", "app.log.gz")[1]
    code, out, err = check("--log", "missing.log")
    assert (code, out) == (2, "")
    assert "missing.log cannot be read: No such file or directory" in err
    Path("torn.log.gz").write_bytes(gzip.compress(text * 2_000)[:-20])
    code, out, err = check("--log", "torn.log.gz")
    assert code == 1
    assert "ends in the middle of its gzip data" in err
    assert " records\n" in out
    assert out.endswith("\n\n1 error\n")


def test_lines_that_are_too_long(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line beyond the limit is not read into memory."""
    monkeypatch.setattr("fslog.cli.check.check._LINE_BYTES", 1_000)
    path = logged({"name": "a", "message": "x" * 5_000}, LINES[0])
    report = json.loads(check("--log", path, "--json")[1])
    assert [one["result"] for one in report["records"]] == ["unreadable", "event"]
    assert report["records"][0]["reason"] == "longer than 1,000 bytes"


@pytest.mark.parametrize("line", [b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}', b"null", b"\x00"])
def test_hostile_lines(line: bytes, check: Check) -> None:
    """Any line is a record, or unreadable."""
    code, out, err = check("--log", logged(line, LINES[0]), "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["summary"]["lines"] == 2


def test_hostile_values_are_escaped(check: Check) -> None:
    """Control characters of a log line are escaped, and a key in it is not shown."""
    evil = "\x1b[31m\x9b\u202e\r"
    line = {"name": evil, "levelname": evil, "message": evil, "action": evil, "k": KEYS[0], **WHO}
    _, out, _ = check("--log", logged(line, {**line, evil: evil}))
    assert not [one for one in out if not one.isprintable() and one != "\n"]
    assert KEYS[0] not in out
    report = check("--log", logged(line), "--json")[1]
    assert KEYS[0] not in report
    assert json.loads(report)["records"][0]["event"]["action"] == evil


def test_the_context_provider_runs(check: Check) -> None:
    """The application's function provides its values; its exception is a problem."""
    Path("providing.py").write_text(
        "def actor(): return {'accountId': 'provided', 'userId': 'u'}\n"
        "def broken(): raise RuntimeError('no request')\n"
    )
    given = json.loads(Path("logging.json").read_text())
    record = "name=x,action=signIn"
    for name, result in (("actor", "event"), ("broken", "invalid")):
        given["handlers"]["usage"]["context_provider"] = f"ext://providing.{name}"
        Path("logging.json").write_text(json.dumps(given))
        (one,) = json.loads(check("--record", record, "--json")[1])["records"]
        assert one["result"] == result
        if result == "event":
            assert one["sources"]["accountId"] == "context_provider"
        else:
            assert "RuntimeError: no request" in one["problems"][0]["message"]


def test_the_summary_is_bounded() -> None:
    """Loggers with names of their own for each request are counted up to a limit."""
    summary = Summary([])
    for number in range(1_200):
        record = from_mapping({"name": f"request.{number}"})
        summary.add(Explanation(number, record, "skipped"))
    assert (summary.lines, len(summary.skipped)) == (1_200, 1_000)


def test_a_single_record_needs_no_summary() -> None:
    """A single record is explained without a summary."""
    stream = io.StringIO()
    summary = Summary(["rules[0]", "rules[1]"])
    summary.add(explained("name=x,msg=y"))
    Text(Printer(stream, environ={}), 10).summary(summary, None)  # type: ignore[arg-type]
    assert stream.getvalue() == ""


def test_the_handler_sends_what_the_explanation_shows() -> None:
    """The event of an explanation is the event of a handler with the same rules."""
    handler = FreshsuccessHandler(enabled=False, rules=[EXPORT, ACCESS], defaults=WHO)
    one = explained(
        "name=gunicorn.access,args.m=POST,args.s=201,args.U=/a/b,created=5000", defaults=WHO
    )
    assert one.record is not None
    assert handler.formatter.event(one.record) == one.event
