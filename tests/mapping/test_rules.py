"""Rules: which records they match, which events they make, and why one is refused."""

from __future__ import annotations

import contextlib
import gc
import logging
import re
import textwrap
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fslog import EventFormatter, InvalidEvent
from fslog.mapping.paths import Unreadable
from fslog.mapping.rules import Partial, Rules, no_match


def record(
    name: str = "app",
    msg: Any = "did it",
    args: Any = (),
    level: int = logging.INFO,
    **extra: Any,
) -> logging.LogRecord:
    made = logging.LogRecord(name, level, "/srv/app.py", 7, msg, args, None)
    made.__dict__.update(extra)
    return made


def rule(when: Any, event: Any = None, **properties: Any) -> dict[str, Any]:
    return {"when": when, "event": event or {"action": "feature", **properties}}


def made(rules: Any, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
    """Return what the rules make of one record."""
    return Rules(rules).properties(record(*args, **kwargs))


def fits(when: Any, *args: Any, **kwargs: Any) -> bool:
    return made([rule(when)], *args, **kwargs) is not None


# The examples of the documentation.
DESIGN = textwrap.dedent(
    r"""
    rules:
      - when: {logger: app.reports, message: "exported %s rows"}  # the unformatted message; ...
        event: {action: feature, module: reports, feature: export, total: "{args.0}"}
      - when: {logger: gunicorn.access, args.m: POST,
               args.U: "/^\\/(?P<module>\\w+)\\/(?P<feature>\\w+)/"}
        event: {action: feature, module: "{module}", feature: "{feature}"}
    fields: {accountId: tenant.slug, userId: user.id, sessionId: request.session_key}
    defaults: {product: core}
    """
)

WHO = {
    "tenant": SimpleNamespace(slug="acme"),
    "user": SimpleNamespace(id=7),
    "request": SimpleNamespace(session_key="s-1"),
}


def test_the_first_rule_of_the_design() -> None:
    """A literal message of a child logger; the total keeps its type."""
    formatter = EventFormatter(**yaml.safe_load(DESIGN))
    event = formatter.event(record("app.reports.pdf", "exported %s rows", (12,), **WHO))
    assert event is not None
    assert event.pop("createdAt") > 10**12
    assert event == {
        "accountId": "acme",
        "userId": "7",
        "sessionId": "s-1",
        "action": "feature",
        "module": "reports",
        "feature": "export",
        "total": 12,
        "product": "core",
    }


def test_the_second_rule_of_the_design() -> None:
    """Atoms of an access log, and two properties from a path; a GET is not an event."""
    formatter = EventFormatter(**yaml.safe_load(DESIGN))
    atoms = {"m": "POST", "U": "/billing/pay/17", "s": "200"}
    event = formatter.event(record("gunicorn.access", "%(m)s %(U)s", (atoms,), **WHO))
    assert event is not None
    assert (event["module"], event["feature"], event["product"]) == (
        "billing",
        "pay",
        "core",
    )
    for other in ({**atoms, "m": "GET"}, {**atoms, "U": "/billing"}, {}):
        assert formatter.event(record("gunicorn.access", "%(m)s", (other,), **WHO)) is None


@pytest.mark.parametrize(
    ("when", "is_match"),
    [
        ({"formatted_message": "exported 3 rows"}, True),
        ({"formatted_message": "exported %s rows"}, False),
        ({"formatted_message": "/^exported 3/"}, True),
        ({"formatted_message.user": "ann"}, False),
    ],
)
def test_the_formatted_message_is_a_condition(when: Any, is_match: bool) -> None:
    """It is read, not looked up by the quick filter, which knows attributes only."""
    rules = Rules([rule(when)])
    made = record(msg="exported %s rows", args=(3,))
    for _ in range(2):
        assert (rules.properties(made) is not None) is is_match
        is_out = rules.filters.get("app")
        assert is_out is None or not (is_match and is_out(made))


def test_json_in_the_message_is_a_condition_and_a_source() -> None:
    """Groups, conversions and placeholders work as with any other path."""
    rules = Rules(
        [
            rule(
                {"formatted_message.user.id": r"/^(?P<account>\w+)-/"},
                account="{account}",
                user="{formatted_message.user.id}",
                rows="{formatted_message.rows:int}",
            )
        ]
    )
    made = record(msg='did it: {"user": {"id": "acme-7"}, "rows": "3"}')
    assert rules.properties(made) == {
        "action": "feature",
        "account": "acme",
        "user": "acme-7",
        "rows": 3,
    }
    assert rules.properties(record(msg="did it: {}")) is None


def test_a_message_that_cannot_be_formatted_matches_no_rule() -> None:
    """Unless a later rule does: then the event is unreadable, as with any other path."""
    made = record(msg="exported %s rows", args=(1, 2))
    undecided = rule({"formatted_message": "/rows/"})
    assert Rules([undecided]).properties(made) is None
    with pytest.raises(Unreadable, match="formatted_message raised TypeError"):
        Rules([undecided, rule({"logger": "app"})]).properties(made)


@pytest.mark.parametrize(
    ("prefix", "logger", "is_match"),
    [
        ("app", "app", True),
        ("app", "app.x", True),
        ("app", "app.x.y", True),
        ("app", "application", False),
        ("app", "application.app", False),
        ("app", "my.app", False),
        ("app.x", "app", False),
        ("app.x", "app.x", True),
        ("app.x", "app.xy", False),
        ("app.x", "appax", False),
        ("App", "app", False),
        ("root", "root", True),
        ("", "anything.at.all", True),
        ("a+b", "a+b.c", True),
        ("a+b", "aab", False),
    ],
)
def test_a_logger_is_a_prefix_as_in_logging(prefix: str, logger: str, is_match: bool) -> None:
    """It matches the logger and its children, as `logging.Filter` does."""
    assert fits({"logger": prefix}, logger) is is_match
    assert logging.Filter(prefix).filter(record(logger)) is is_match


@pytest.mark.parametrize(
    ("when", "is_match"),
    [
        ({"logger": r"/^app\.(re|bi)/"}, True),
        ({"logger": "/reports$/"}, True),
        ({"logger": "/^reports/"}, False),
        ({"message": "/^exported .* rows$/"}, True),
        ({"message": "/%s/"}, True),
        ({"message": "/exported 3/"}, False),  # the unformatted message
        ({"args.0": "/^3$/"}, True),
        ({"args.1.kind": "/p[dD]f/"}, True),
        ({"args.1.gone": "/.*/"}, False),
        ({"levelname": "/INFO|ERROR/"}, True),
        ({"levelno": "/^20$/"}, True),
        ({"nothing": "/.*/"}, False),
        ({"none": "/.*/"}, False),
        ({"empty": "/^$/"}, True),
    ],
)
def test_regular_expressions_are_searched_in_the_text(when: Any, is_match: bool) -> None:
    """Of the logger's name, the unformatted message, or the value at a path."""
    args = (3, {"kind": "pdf"})
    assert fits(when, "app.reports", "exported %s rows", args, none=None, empty="") is is_match


def test_named_groups_are_strings() -> None:
    """From logger, message and paths together; converted only by a placeholder."""
    rules = [
        rule(
            {
                "logger": r"/^app\.(?P<part>\w+)/",
                "message": r"/(?P<n>\d+) rows/",
                "args.0": "/(?P<x>.)(?P<rest>z)?$/",
            },
            part="{part}",
            text="{n}",
            number="{n:int}",
            real="{n:float}",
            x="{x}",
            rest="{rest}",
            both="{part}/{n}",
        )
    ]
    properties = made(rules, "app.reports", "007 rows", ("y",))
    assert properties == {
        "action": "feature",
        "part": "reports",
        "text": "007",
        "number": 7,
        "real": 7.0,
        "x": "y",
        "both": "reports/007",
    }
    assert type(properties["number"]) is int


def test_groups_of_one_rule_are_not_those_of_another() -> None:
    """The groups of a rule that does not match are not used."""
    rules = [
        rule({"message": "/(?P<a>d)/", "levelname": "ERROR"}, got="{a}"),
        rule({"message": "/(?P<b>i)/"}, got="{b}", module="{module}"),
    ]
    assert made(rules) == {"action": "feature", "got": "i", "module": "app"}


@pytest.mark.parametrize(
    ("literal", "value", "is_match"),
    [
        ("200", 200, True),
        (200, "200", True),
        (200, 200, True),
        (200, 2000, False),
        (1.5, "1.5", True),
        (True, True, True),
        (True, "True", True),
        (True, 1, False),
        (False, False, True),
        (0, False, False),
        ("POST", "POST", True),
        ("POST", "post", False),
        ("POST", "POSTS", False),
        ("", "", True),
        ("None", None, False),
        ("", None, False),
        ("/", "/", True),
        ("/a", "/a", True),
        ("a/", "a/", True),
        ("a.b", "axb", False),
        ("é", "é", True),
    ],
)
def test_literals_are_compared_by_text(literal: Any, value: Any, is_match: bool) -> None:
    """200 in one library's records is "200" in another's; only the whole text matches."""
    assert fits({"value": literal}, value=value) is is_match
    assert fits({"args.0": literal}, args=(value, 0)) is is_match


def test_a_literal_does_not_match_an_absent_value() -> None:
    """An absent value fulfils no condition."""
    assert not fits({"nobody": "x"})
    assert not fits({"args.0": ""})
    assert not fits({"args.0.name": "x"}, args=("x",))


@pytest.mark.parametrize("message", ["exported %s rows", 404, SimpleNamespace(a=1)])
def test_messages_that_are_not_strings_are_compared_by_text(message: Any) -> None:
    """`logger.info(404)` and `logger.info(obj)` have a message as well."""
    assert fits({"message": str(message)}, msg=message)
    assert not fits({"message": f"{message}!"}, msg=message)


def test_the_unformatted_message_is_always_compared() -> None:
    """Also after another handler's formatter has set the record's attribute `message`."""
    seen = record(msg="exported %s rows", args=(3,))
    logging.Formatter("%(message)s").format(seen)
    rules = Rules([rule({"message": "exported %s rows"}, total="{args.0}")])
    assert rules.properties(seen) == {"action": "feature", "total": 3}


def test_all_conditions_must_hold() -> None:
    """A rule matches if all of its conditions hold."""
    when = {"logger": "app", "message": "did it", "levelname": "INFO", "kind": "x"}
    assert fits(when, kind="x")
    assert not fits(when, "other", kind="x")
    assert not fits(when, msg="did", kind="x")
    assert not fits(when, level=logging.ERROR, kind="x")
    assert not fits(when, kind="y")


def test_the_first_rule_that_matches_wins() -> None:
    """Whether it has a literal message, a regular expression or only a logger."""
    rules = [
        rule({"message": "a", "levelname": "ERROR"}, n=0),
        rule({"message": "/^[ab]/"}, n=1),
        rule({"message": "a"}, n=2),
        rule({"message": "c"}, n=3),
        rule({"logger": "app"}, n=4),
        rule({"message": "d"}, n=5),
        rule({}, n=6),
    ]

    def number(name: str, msg: str, level: int = logging.INFO) -> Any:
        return (made(rules, name, msg, level=level) or {}).get("n")

    assert number("app", "a") == number("x", "a") == 1
    assert number("app", "a", logging.ERROR) == 0
    assert number("app", "c") == number("x", "c") == 3
    assert number("app", "d") == 4
    assert number("x", "d") == 5
    assert number("x", "e") == 6


def test_constants_and_nested_values() -> None:
    """Values keep their types; placeholders work at any depth; braces are doubled."""
    event = {
        "action": "identifyUser",
        "fixed": [1, 2.5, None, True],
        "details": {
            "name": "{args.0.name}",
            "tags": ["{args.1}", "{{x}}"],
            "gone": "{args.7}",
        },
    }
    assert made([{"when": {}, "event": event}], args=({"name": "Ann"}, 3)) == {
        "action": "identifyUser",
        "fixed": [1, 2.5, None, True],
        "details": {"name": "Ann", "tags": [3, "{x}"]},
    }


def test_events_of_one_rule_do_not_share_their_top() -> None:
    """A change of one record's properties does not change those of the next."""
    rules = Rules([rule({}, module="reports")])
    first = rules.properties(record())
    assert first is not None
    first["module"] = "changed"
    assert rules.properties(record()) == {"action": "feature", "module": "reports"}


def test_an_unresolved_required_property_is_missing() -> None:
    """The property is omitted, so that the event is invalid with its problem."""
    formatter = EventFormatter(
        rules=[
            rule(
                {"logger": "app"},
                accountId="{args.0}",
                userId="{args.1:int}",
                total="{args.2}",
            )
        ]
    )
    event = formatter.event(record(args=("acme", "7")))
    assert event is not None
    assert (event["accountId"], event["userId"], "total" in event) == (
        "acme",
        "7",
        False,
    )
    with pytest.raises(InvalidEvent) as caught:
        formatter.event(record(args=("acme", "seven")))
    assert [(p.code, p.property) for p in caught.value.problems] == [("missing", "userId")]


def test_without_rules_nothing_matches() -> None:
    """Neither None nor an empty list makes an event."""
    for rules in (None, [], ()):
        assert made(rules) is None


def test_a_record_without_a_name_does_not_match() -> None:
    """`makeLogRecord` gives records whose name, level and arguments are None."""
    bare = logging.makeLogRecord({"msg": "did it"})
    conditions: list[Any] = [
        {"logger": "app"},
        {"logger": "/a/"},
        {"logger": "app", "message": "x"},
    ]
    for when in conditions:
        assert Rules([rule(when)]).properties(bare) is None
    assert Rules([rule({"logger": "app"}), rule({"message": "did it"})]).properties(bare)


GOOD = rule({"logger": "app"})
ACTION = {"action": "feature"}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("text", ["str"]),
        (5, ["int"]),
        (None, ["None"]),
        (["when", "event"], ["list"]),
        ({}, ["when"]),
        ({"event": ACTION}, ["when"]),
        ({"when": {}}, ["event"]),
        ({"when": None, "event": ACTION}, ["when"]),
        ({"when": "app", "event": ACTION}, ["when"]),
        ({"when": ["app"], "event": ACTION}, ["when"]),
        ({"when": {}, "event": None}, ["event"]),
        ({"when": {}, "event": "feature"}, ["event"]),
        ({"when": {}, "event": [ACTION]}, ["event"]),
        ({"when": {}, "event": ACTION, "name": "x"}, ["'name'"]),
        ({"When": {}, "event": ACTION}, ["'When'"]),
        (rule({5: "x"}), ["5"]),
        (rule({"": "x"}), ["empty part"]),
        (rule({"a..b": "x"}), ["'a..b'", "empty part"]),
        (rule({"_private": "x"}), ["'_private'", "underscore"]),
        (rule({"args.__len__": "x"}), ["underscore"]),
        (rule({"0": "x"}), ["'0'", "number"]),
        (rule({"args.0": None}), ["args.0", "NoneType"]),
        (rule({"args.0": ["a", "b"]}), ["args.0", "list"]),
        (rule({"args.0": {"a": 1}}), ["args.0", "dict"]),
        (rule({"logger": "/(/"}), ["logger", "regular expression"]),
        (rule({"message": "/[a/"}), ["message", "regular expression"]),
        (rule({"args.U": "/*/"}), ["args.U", "regular expression"]),
        (rule({"args.U": "/(?P<a>x)(?P<a>y)/"}), ["args.U", "regular expression"]),
        (
            rule({"message": "/a{99999999999999999999}/"}),
            ["message", "regular expression"],
        ),
        (rule({"message": "//"}), ["message", "empty regular expression"]),
        ({"when": {}, "event": {}}, ["no action"]),
        ({"when": {}, "event": {"module": "m"}}, ["no action"]),
        (rule({}, {"action": ""}), ["action", "empty"]),
        (rule({}, {"action": None}), ["action"]),
        (rule({}, {"action": 5}), ["action"]),
        (rule({}, {"action": ["feature"]}), ["action"]),
        (rule({}, accountId=""), ["event.accountId"]),
        (rule({}, accountId=True), ["event.accountId"]),
        (rule({}, userId=None), ["event.userId"]),
        (rule({}, userId=1.5), ["event.userId"]),
        (rule({}, sessionId=5), ["event.sessionId"]),
        (rule({}, createdAt="now"), ["event.createdAt"]),
        (rule({}, createdAt=float("nan")), ["event.createdAt"]),
        (rule({}, {"action": "feature", 5: "x"}), ["5"]),
        (rule({}, {"action": "feature", "": "x"}), ["''"]),
        (rule({}, x={"y": ["{args[0]}"]}), ["event.x", "{args[0]}", "no source"]),
        (rule({"loger": "app"}), ["key 'loger'", "did you mean 'logger'?", "include"]),
        (rule({"mesage": "/x/"}), ["key 'mesage'", "did you mean 'message'?"]),
        (rule({"levle": "INFO"}), ["key 'levle'", "did you mean 'levelname'?"]),
        (rule({"Logger": "app"}), ["key 'Logger'", "did you mean 'logger'?"]),
        (rule({"funcname": "f"}), ["key 'funcname'", "did you mean 'funcName'?"]),
        (rule({"agrs.0": 1}), ["key 'agrs.0'", "did you mean 'args'?"]),
        (rule({"stakc_info": "x"}), ["key 'stakc_info'", "did you mean 'stack_info'?"]),
        (rule({}, x="{_total}"), ["event.x", "underscore"]),
        (rule({}, x="{args.__len__}"), ["event.x", "underscore"]),
        (rule({}, x="{0}"), ["event.x", "number"]),
        (rule({}, x="{}"), ["event.x", "empty"]),
        (rule({}, x="{args.0"), ["event.x", "single '{'"]),
        (rule({}, x="args.0}"), ["event.x", "single '}'"]),
        (rule({}, x="{args.0:text}"), ["event.x", "'text'", "int", "float", "str"]),
        (
            rule({"message": "%s did %s"}, x="{args.2}"),
            ["event.x", "{args.2}", "2 arguments"],
        ),
        (
            rule({"message": "%s did %s"}, x="{args.3:int}"),
            ["event.x", "{args.3}", "2 arguments"],
        ),
        (rule({"message": "%5.1f%% %-3d"}, x="{args.2}"), ["event.x", "2 arguments"]),
        (
            rule({"message": "%s did %s"}, x=["{args.2}"]),
            ["event.x", "{args.2}", "2 arguments"],
        ),
        (
            rule({"message": "%s %s"}, x={"y": "a{args.9}"}),
            ["event.x", "{args.9}", "2 arguments"],
        ),
    ],
    ids=repr,
)
@pytest.mark.parametrize("before", [0, 2])
def test_an_invalid_rule_is_refused(before: int, wrong: Any, words: list[str]) -> None:
    """The ValueError or TypeError begins with the rule's index and names the error."""
    with pytest.raises((ValueError, TypeError)) as caught:
        EventFormatter(rules=[GOOD] * before + [wrong, GOOD])
    message = str(caught.value)
    assert message.startswith(f"rules[{before}]")
    for word in words:
        assert word in message


@pytest.mark.parametrize("rules", ["text", b"text", 5, True, {"when": {}, "event": ACTION}, {1}])
def test_rules_are_a_list(rules: Any) -> None:
    """Anything else is a TypeError with the argument and the type."""
    with pytest.raises(TypeError, match=f"^rules is of type {type(rules).__name__}; "):
        EventFormatter(rules=rules)


@pytest.mark.parametrize(
    "wanted",
    [
        rule({"message": "%s did %s"}, x="{args.0}", y="{args.1:int}"),
        rule({"message": "%(who)s did it"}, x="{args.5}"),
        rule({"message": "%*d and %s"}, x="{args.2}"),
        rule({"message": "/%s/"}, x="{args.5}"),
        rule({"message": "%s %s"}, x="{{args.3}}"),
        rule({"message": "100%% of %s"}, x="{args.0}"),
        rule({"kind": "x"}, x="{kind}"),
        rule({}, x="{levelname}{lineno}{taskName}{funcName}"),
        rule({}, x="{tenant.slug}"),
        rule({}, accountId=7, createdAt=10**12),
        rule({}, action="{levelname}"),
        rule({"message": "/(?P<x>.)|y/"}, x="{x}"),
    ],
    ids=repr,
)
def test_a_valid_rule_is_not_refused(wanted: Any) -> None:
    """The checks reject only rules that can never work."""
    Rules([wanted])


def test_names_given_elsewhere_are_sources() -> None:
    """A bare name can be a root of `fields`, a name in `include`, or a required property."""
    rules = [rule({"logger": "app"}, a="{tenant}", b="{order_id}", c="{accountId}")]
    formatter = EventFormatter(
        rules=rules,
        fields={"userId": "tenant.user"},
        include=["order_*"],
        session="none",
        defaults={"sessionId": "s"},
    )
    event = formatter.event(record(tenant={"user": "u"}, order_id=5, accountId="acme"))
    assert event is not None
    assert (event["a"], event["b"], event["c"]) == ({"user": "u"}, 5, "acme")


LOGGERS = ["a", "a.b", "ab", "", "/^a/", "/b$/", "root"]
MESSAGES = ["m", "n %s", "5", "/m/", "/^.$/"]
VALUES = [1, "1", "x", True, "/x|1/", "/^$/"]

rules_given = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "logger": st.sampled_from(LOGGERS),
            "message": st.sampled_from(MESSAGES),
            "args.0": st.sampled_from(VALUES),
            "args.k": st.sampled_from(VALUES),
            "levelname": st.sampled_from(["INFO", "ERROR"]),
        },
    ),
    max_size=30,
)
records_given = st.lists(
    st.builds(
        record,
        st.sampled_from(["a", "a.b", "a.b.c", "ab", "b", "root", "x"]),
        st.sampled_from(["m", "mm", "n %s", 5, "x"]),
        st.sampled_from([(), (1,), ("x",), ("",), (None, 1), ({"k": "1"},), ({"k": True},)]),
        st.sampled_from([logging.INFO, logging.ERROR]),
    ),
    min_size=1,
    max_size=8,
)


def plainly(when: Mapping[str, Any], seen: logging.LogRecord) -> bool:
    """Apply one rule condition by condition, in the simplest way."""

    for key, wanted in when.items():
        value: Any = None
        if key == "logger":
            value = seen.name
        elif key == "message":
            value = seen.msg
        elif key == "levelname":
            value = seen.levelname
        elif key == "args.0" and isinstance(seen.args, tuple):
            value = seen.args[0] if seen.args else None
        elif key == "args.k" and isinstance(seen.args, dict):
            value = seen.args.get("k")
        if value is None:
            return False
        if isinstance(wanted, str) and len(wanted) > 2 and wanted[0] == wanted[-1] == "/":
            if not re.search(wanted[1:-1], str(value)):
                return False
        elif key == "logger":
            if wanted and value != wanted and not value.startswith(wanted + "."):
                return False
        elif str(value) != str(wanted):
            return False
    return True


@given(rules_given, records_given)
def test_it_agrees_with_a_plain_reading(
    conditions: list[dict[str, Any]], records: list[logging.LogRecord]
) -> None:
    """However rules are selected, the first one in order that matches wins."""
    rules = Rules([rule(when, n=number) for number, when in enumerate(conditions)])
    for seen in records:
        expected = [n for n, when in enumerate(conditions) if plainly(when, seen)][:1]
        properties = rules.properties(seen)
        assert ([] if properties is None else [properties["n"]]) == expected


class Name(str):
    """A logger's name that can be watched."""


def test_the_cache_of_logger_names_is_bounded() -> None:
    """Loggers named after requests, matching or not, cannot fill the memory."""
    rules = Rules([rule({"logger": "app"}, n="{name}"), rule({"message": "/x/"})])
    alive: weakref.WeakSet[Name] = weakref.WeakSet()
    for number in range(10_000):
        name = Name(f"{'app' if number % 2 else 'other'}.{number}")
        alive.add(name)
        properties = rules.properties(record(name, "did it"))
        assert (properties is not None) is bool(number % 2)
    del name, properties
    gc.collect()
    assert len(alive) <= 5_000


class Watched:
    """Record every access, and raise."""

    asked: list[str]

    def __init__(self) -> None:
        object.__setattr__(self, "asked", [])

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        raise RuntimeError(name)

    def _no(self, *args: Any) -> Any:
        self.asked.append("dunder")
        raise RuntimeError("dunder")

    __str__ = __repr__ = __bool__ = __len__ = __iter__ = __contains__ = __getitem__ = _no
    __eq__ = __call__ = __format__ = __int__ = __index__ = _no
    __hash__ = object.__hash__

    @property
    def touchy(self) -> str:
        self.asked.append("touchy")
        raise RuntimeError("touchy")


@pytest.mark.parametrize(
    ("name", "msg"),
    [
        ("other", "did it"),
        ("other.app", "exported"),
        ("app", "else"),
        ("app.x", "did it"),
    ],
)
def test_records_that_match_nothing_call_nothing(name: str, msg: str) -> None:
    """Nothing reads the extras or arguments of a record that matches no rule's logger."""
    watched = Watched()
    formatter = EventFormatter(
        rules=[
            rule(
                {"logger": "app", "message": "exported"},
                x="{args.0.touchy}",
                y="{user.touchy}",
            ),
            rule({"logger": "app", "levelname": "ERROR", "user.touchy": "x"}),
        ],
        fields={"userId": "user.touchy"},
        include=["extra"],
        context_provider=watched._no,
    )
    seen = record(name, msg, (watched, watched), user=watched, extra=watched)
    assert formatter.event(seen) is None
    assert not formatter.filter(seen)
    assert formatter.format(seen) == ""
    assert watched.asked == []


def test_the_text_of_a_message_object_is_not_made_in_vain() -> None:
    """Its `str` may be costly: without a rule for its logger that compares it, it is not called."""
    watched = Watched()
    rules = Rules(
        [
            rule({"logger": "other", "message": "exported"}),
            rule({"logger": "app", "levelname": "ERROR"}),
        ]
    )
    assert rules.properties(record(msg=watched)) is None
    assert watched.asked == []


def test_a_message_without_a_text_matches_nothing() -> None:
    """A message whose `__str__` raises matches no rule."""
    rules = Rules([rule({"message": "x"}, n=0), rule({"message": "/./"}, n=1), rule({}, n=2)])
    assert rules.properties(record(msg=Watched())) == {"action": "feature", "n": 2}


class Closed:
    """A value that exists and cannot be read."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    @property
    def touchy(self) -> str:
        raise RuntimeError("no database")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


UNREADABLE: list[Any] = [
    {"args.0": "x"},
    {"args.0": "/./"},
    {"args.0.touchy": "x"},
    {"args.0.touchy": "/./"},
    {"args.0.gone": "x"},
]


@pytest.mark.parametrize("when", UNREADABLE, ids=str)
def test_after_a_rule_that_cannot_be_evaluated_no_other_matches(when: dict[str, Any]) -> None:
    """A later rule that matches might make the event of another user: there is no event."""
    undecided = rule({"logger": "app", **when}, userId="vip")
    rules = Rules([undecided, rule({"logger": "app", "levelname": "INFO"}, userId="guest")])
    with pytest.raises(Unreadable, match=next(iter(when))):
        rules.properties(record(args=(Closed(), 1)))
    # A rule that matches earlier is not affected.
    rules = Rules([rule({"levelname": "INFO"}, n=1), undecided])
    assert rules.properties(record(args=(Closed(), 1))) == {"action": "feature", "n": 1}


@pytest.mark.parametrize("when", UNREADABLE, ids=str)
def test_a_rule_that_cannot_be_evaluated_matches_nothing_by_itself(when: dict[str, Any]) -> None:
    """By itself it matches nothing, else every record of a logger might be invalid."""
    rules = Rules([rule({"logger": "app", **when}), rule({"levelname": "ERROR"})])
    assert rules.properties(record(args=(Closed(), 1))) is None


@pytest.mark.parametrize("message", ["did it", "/^did/"])
@pytest.mark.parametrize("when", UNREADABLE, ids=str)
def test_a_rule_for_a_message_that_cannot_be_evaluated_makes_an_invalid_event(
    when: dict[str, Any], message: str
) -> None:
    """If all other conditions hold, the record of that log call is an invalid event."""
    rules = Rules([rule({**when, "message": message})])
    with pytest.raises(Unreadable):
        rules.properties(record(args=(Closed(), 1)))
    assert rules.properties(record(msg="other", args=(Closed(), 1))) is None
    rules = Rules([rule({**when, "message": message, "levelname": "ERROR"})])
    assert rules.properties(record(args=(Closed(), 1))) is None


def test_what_a_rule_cannot_read_is_a_problem_of_its_property() -> None:
    """The other properties are made, and the problem names the unreadable one."""
    event = {"action": "feature", "a": "{args.0.touchy}", "b": "{args.1}", "userId": "u{args.0}"}
    properties = made([rule({}, event)], args=(Closed(), 1))
    assert type(properties) is Partial
    assert properties == {"action": "feature", "b": 1}
    assert list(properties.unread) == ["a", "userId"]


def test_later_changes_of_the_configuration_have_no_effect() -> None:
    """Rules are compiled once; later changes of their lists and mappings have no effect."""
    when, event = {"logger": "app"}, {"action": "feature", "tags": ["a"]}
    given_rules = [{"when": when, "event": event}]
    rules = Rules(given_rules)
    when["logger"], event["action"] = "other", "changed"
    event["tags"].append("b")
    given_rules.clear()
    assert rules.properties(record()) == {"action": "feature", "tags": ["a"]}


SOME_LOGGERS = st.sampled_from(["app", "app.reports", "web"])
SOME_WORDS = st.sampled_from(["sold %s", "read %s", "INFO", "ERROR", "20", "GET", ""])
SOME_CONDITIONS = st.dictionaries(
    st.sampled_from(["logger", "message", "levelname", "levelno", "method", "args.0"]),
    st.one_of(SOME_LOGGERS, SOME_WORDS, st.just("/s.l/"), st.just(20)),
    max_size=3,
)


@given(
    whens=st.lists(SOME_CONDITIONS, min_size=1, max_size=5),
    logger=SOME_LOGGERS,
    message=st.one_of(SOME_WORDS, st.integers(), st.none()),
    level=st.sampled_from([20, 40]),
    extras=st.dictionaries(st.just("method"), st.one_of(SOME_WORDS, st.integers(), st.none())),
)
def test_a_record_that_is_filtered_out_matches_no_rule(
    whens: list[dict[str, Any]], logger: str, message: Any, level: int, extras: dict[str, Any]
) -> None:
    """Whatever the rules, the quick filter only drops records that they would drop, too."""
    try:
        rules = Rules([{"when": when, "event": {"action": "feature"}} for when in whens])
    except ValueError:  # `//` and the like
        return
    record = logging.LogRecord(logger, level, "app.py", 7, message, ("GET",), None)
    record.__dict__.update(extras)
    fits = rules.properties(record) is not None
    is_out = rules.filters.get(logger)
    assert is_out is None or not (fits and is_out(record))


def test_a_record_without_a_needed_literal_is_filtered_out() -> None:
    """The rules of other messages, levels and loggers do not run."""
    rules = Rules(
        [
            {"when": {"logger": "app", "message": "sold %s"}, "event": {"action": "feature"}},
            {"when": {"logger": "app", "levelname": "ERROR"}, "event": {"action": "feature"}},
            {"when": {"logger": "web", "args.0": "/x/"}, "event": {"action": "feature"}},
        ]
    )
    record = logging.LogRecord("app", 20, "app.py", 7, "read %s", (1,), None)
    assert not rules.filters  # the logger is seen for the first time
    assert rules.properties(record) is None
    assert rules.filters["app"](record)
    record.levelname = "ERROR"
    assert not rules.filters["app"](record)
    record.name = "web"
    assert rules.properties(record) is None
    assert "web" not in rules.filters  # its rule has no literal, and has to run
    record.name = "db"
    assert rules.properties(record) is None
    assert rules.filters["db"](record)


NEEDED = frozenset(
    {("msg", "sold %s"), ("levelname", "ERROR"), ("method", "POST"), ("my key", "1")}
)


def unmatched(**attributes: Any) -> logging.LogRecord:
    """Return a record without any needed value, apart from the given attributes."""
    made = record(msg="read %s", args=(3,))
    made.__dict__.update(attributes)
    return made


def test_a_record_without_any_needed_value_is_out() -> None:
    """With other values, or no such attributes at all."""
    is_out = no_match(NEEDED)
    assert is_out(unmatched())
    assert is_out(unmatched(method="GET", **{"my key": "2"}))


@pytest.mark.parametrize(
    "attributes",
    [{"msg": "sold %s"}, {"levelname": "ERROR"}, {"method": "POST"}, {"my key": "1"}],
    ids=str,
)
def test_with_one_needed_value_the_rules_run(attributes: dict[str, Any]) -> None:
    """For any of the attributes, whether its name is an identifier or not."""
    assert not no_match(NEEDED)(unmatched(**attributes))


@pytest.mark.parametrize("name", ["msg", "levelname", "method", "my key"])
@pytest.mark.parametrize("value", [1, None, ["sold %s"], type("Text", (str,), {})("x")], ids=repr)
def test_with_a_value_that_is_not_a_string_the_rules_run(name: str, value: Any) -> None:
    """They compare it by its text."""
    assert not no_match(NEEDED)(unmatched(**{name: value}))


def test_without_rules_every_record_is_out() -> None:
    """A logger that no rule names."""
    assert no_match(frozenset())(unmatched(msg=None))


def test_two_values_of_one_attribute() -> None:
    """Each of them is enough."""
    is_out = no_match(frozenset({("funcName", "sell"), ("funcName", "buy")}))
    assert is_out(unmatched(funcName="read"))
    assert not is_out(unmatched(funcName="sell"))
    assert not is_out(unmatched(funcName="buy"))


def test_loggers_with_the_same_needs_share_a_filter() -> None:
    """There may be a logger for each request."""
    assert no_match(frozenset(NEEDED)) is no_match(frozenset(set(NEEDED)))


@pytest.mark.parametrize("needed", [NEEDED, frozenset({("msg", "sold %s")})], ids=len)
def test_with_a_missing_standard_attribute_the_rules_run(
    needed: frozenset[tuple[str, str]],
) -> None:
    """The filter returns False, or raises."""
    made = unmatched()
    del made.msg
    with contextlib.suppress(AttributeError):
        assert not no_match(needed)(made)


def test_names_and_values_are_data() -> None:
    """No text of a configuration is run as code."""
    hostile = "x') or open('/nowhere') #\n\"\\"
    is_out = no_match(frozenset({(hostile, hostile)}))
    assert is_out(unmatched())
    assert not is_out(unmatched(**{hostile: hostile}))


@pytest.mark.parametrize(
    "key",
    [
        *(
            "tenant",
            "level",
            "event.plan",
            "messages",
            "loggers",
            "file_name",
            "line_no",
            "task_name",
            "ext_info",
            "exec_info",
        ),
        *("secs", "create", "threads", "arg", "game", "nome", "user_id", "path", "status", "kind"),
        *("accountId", "msg", "name", "taskName", "args.m", "request.method"),
    ],
)
def test_extras_have_names_of_any_kind(key: str) -> None:
    """A key that is no misspelt attribute is an extra, or an attribute itself."""
    EventFormatter(rules=[rule({key: "x"})])


def test_an_extra_that_looks_misspelt_can_be_named() -> None:
    """`include` and `fields` say that records have it, and paths there are not checked at all."""
    for more in ({"include": ["loger"]}, {"fields": {"userId": "loger.id"}}):
        defaults = {"accountId": "acme", "userId": "ann"}
        formatter = EventFormatter(rules=[rule({"loger": "x"})], defaults=defaults, **more)
        assert formatter.event(record(loger="x")) is not None
    EventFormatter(fields={"userId": "mesage"}, include=["loger"], exclude=["mesage"])


REPORTING = rule({"logger": "app", "message": "/(?P<what>sold)/"}, rows="{rows}", n="{mesage}")


def reports(formatter: EventFormatter) -> list[str]:
    """Return what the formatter's rules will report."""
    found: list[str] = []
    formatter.rules.report = found.append
    return found


def test_an_extra_is_read_by_its_bare_name() -> None:
    """Nothing else has to name it, and it keeps its type."""
    formatter = EventFormatter(rules=[REPORTING], defaults={"accountId": "a", "userId": "u"})
    made = logging.makeLogRecord({"name": "app", "msg": "sold", "rows": 7})
    event = formatter.event(made)
    assert event is not None
    assert event["rows"] == 7
    assert "n" not in event
    assert "what" not in event


def test_what_no_record_has_is_reported_once_for_each_rule() -> None:
    """After twenty records that the rule matches, others do not count; with a guess."""
    formatter = EventFormatter(
        rules=[REPORTING, rule({"logger": "app"}, user="{usr}")],
        defaults={"accountId": "a", "userId": "u"},
    )
    found = reports(formatter)
    matching = logging.makeLogRecord({"name": "app", "msg": "sold", "rows": 7})
    other = logging.makeLogRecord({"name": "elsewhere", "msg": "sold"})
    for _ in range(19):
        formatter.event(matching)
        formatter.event(other)
    assert found == []
    for _ in range(30):
        formatter.event(matching)
    assert found == [
        "rules[0]: none of 20 records that it matches has {mesage}; did you mean {message}?"
    ]
    for _ in range(20):
        formatter.event(logging.makeLogRecord({"name": "app", "msg": "read"}))
    assert found[1:] == ["rules[1]: none of 20 records that it matches has {usr}"]


def test_a_property_that_cannot_be_made_reports_too() -> None:
    """The event may be invalid for the very want of it: the id in a misspelt placeholder."""
    formatter = EventFormatter(rules=[rule({"logger": "app"}, userId="{usr}")])
    found = reports(formatter)
    for _ in range(20):
        with pytest.raises(InvalidEvent):
            formatter.event(logging.makeLogRecord({"name": "app", "msg": "sold"}))
    assert len(found) == 1


def test_when_all_is_found_nothing_is_watched() -> None:
    """The rule then reads its placeholders as if it had never been watched."""
    formatter = EventFormatter(rules=[REPORTING], defaults={"accountId": "a", "userId": "u"})
    (compiled,) = formatter.rules
    assert compiled.reads == {"mesage": "message", "rows": None}
    watched = [make for _, make in compiled.made]
    formatter.event(logging.makeLogRecord({"name": "app", "msg": "sold", "rows": 7}))
    assert [make for _, make in compiled.made] == watched
    formatter.event(logging.makeLogRecord({"name": "app", "msg": "sold", "mesage": 7}))
    assert not set(watched) & {make for _, make in compiled.made}


def test_threads_may_be_the_first_to_match_a_rule_at_the_same_time() -> None:
    """Each of them gets its event, and the watch of the placeholders ends."""
    threads = 8
    for _ in range(20):
        formatter = EventFormatter(rules=[REPORTING], defaults={"accountId": "a", "userId": "u"})
        (compiled,) = formatter.rules
        watched = [make for _, make in compiled.made]
        record = logging.makeLogRecord({"name": "app", "msg": "sold", "rows": 7, "mesage": 8})
        barrier = threading.Barrier(threads)

        def use() -> object:
            barrier.wait(timeout=60)  # noqa: B023
            return formatter.event(record)  # noqa: B023

        with ThreadPoolExecutor(threads) as pool:
            made = [each.result() for each in [pool.submit(use) for _ in range(threads)]]
        expected = formatter.event(record)
        assert expected is not None
        assert made == [expected] * threads
        assert not set(watched) & {make for _, make in compiled.made}
