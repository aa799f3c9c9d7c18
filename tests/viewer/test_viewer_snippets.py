"""Snippets create the same event again, and corrections a valid one."""

from __future__ import annotations

import ast
import json
import logging
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fslog import EventFormatter
from fslog.collector.judge import parse_body
from fslog.mapping import schema
from fslog.mapping.schema import problems, warnings
from fslog.viewer import snippets as module
from fslog.viewer.entries import Entry, make_entry
from fslog.viewer.literals import MAX_DEPTH, depth, json_text, parse, python_text, yaml_word
from fslog.viewer.snippets import correction, snippets
from viewing import PATH, entries, event, lines, viewing

ENDPOINT = "http://127.0.0.1:8020"


class Caught(logging.Handler):
    """Keep the records of a logger."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def called(source: str, formatter: EventFormatter | None = None) -> dict[str, Any] | None:
    """Run a log call, and return the event that fslog creates from its record."""
    log, caught = logging.Logger("app"), Caught()
    log.addHandler(caught)
    exec(compile(source, "copied", "exec"), {"log": log})
    (record,) = caught.records
    record.getMessage()
    return (formatter or EventFormatter()).event(record)


def entry(value: Any) -> Entry:
    """Return the entry of one line, given as an event or as bytes."""
    (found,) = entries(value)
    return found


NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
# Including text with a meaning in quotes, terminals, YAML and templates.
ODD = (
    *(
        "'",
        '"',
        "\"'",
        "\\",
        "\n",
        "\r\n",
        "\x00",
        "\x1b[31m",
        "\x85",
        "\u2028",
        "\u202e",
        "\ud800",
    ),
    *("\U0001f600", "{a}", "}", "{{", "{", "%s", "@file", "#", "- a: b", "/x/", "${HOME}", "`id`"),
    *("$(id)", "'''", "NaN", "1e5", "yes", "null", "~", "", " ", "!!python/none"),
)
TEXT = st.text(max_size=8) | st.sampled_from(ODD)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
PROPERTIES = sorted({*schema.REQUIRED, *schema.PROPERTIES})
ACTIONS = [*schema.ACTIONS, "other", "a\nb", "Feature", "modul_end"]
LIKELY = st.sampled_from(["x", "acme", "ann", "ann@acme.example", "None", " - ", "0"])
EVENTS = st.builds(
    lambda fixed, free, action: {**fixed, **free, **action},
    st.dictionaries(st.sampled_from(PROPERTIES), JSON | LIKELY, max_size=12),
    st.dictionaries(TEXT, JSON, max_size=3),
    st.fixed_dictionaries({}, optional={"action": st.sampled_from(ACTIONS)}),
)
RIGHT = st.builds(lambda free: {**free, **event()}, st.dictionaries(TEXT, JSON, max_size=6))


# Python


@given(value=RIGHT)
@example(value=event(a=[[[[[["x" * 100]]]]]], b="'\"" * 60, c={"a" * 90: [None, True, -1.5]}))
def test_the_log_call_creates_the_same_event(value: dict[str, Any]) -> None:
    """The copied log call is valid Python for any JSON value, and creates the same event."""
    made = called(snippets(entry(value), ENDPOINT)["python"])
    assert made == value
    assert list(made or {}) == list(value)


@given(value=JSON)
def test_any_json_value_is_a_python_literal(value: Any) -> None:
    """The Python literal of a JSON value has the same value."""
    source = python_text(parse(json.dumps(value)))
    assert json.dumps(ast.literal_eval(source)) == json.dumps(value)
    assert all(line.isprintable() for line in source.split("\n"))


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("1e400", float("inf")),
        ("-1E400", float("-inf")),
        ("-0", 0),
        ("1.10", 1.1),
        ("0e5", 0.0),
        ("1" * 4000, int("1" * 4000)),
    ],
)
def test_numbers_stay_unchanged(number: str, value: float) -> None:
    """Snippets do not change a digit of a number, and each is valid Python."""
    some = snippets(entry(b'{"a":%s}' % number.encode()), ENDPOINT)
    assert some["json"] == f'{{\n  "a": {number}\n}}'
    assert f'"a": {number},' in some["python"]
    assert ast.literal_eval(python_text(parse(number))) == value


@pytest.mark.parametrize("deep", [MAX_DEPTH - 1, MAX_DEPTH, 150, 900])
def test_deep_values_are_valid_python(deep: int) -> None:
    """A value too deep for Python's parser is parsed from JSON by the log call."""
    value: Any = 1
    for _ in range(deep):
        value = [value]
    some = snippets(entry(event(a=value)), ENDPOINT)
    compile(some["python"], "copied", "exec")
    log, caught = logging.Logger("app"), Caught()
    log.addHandler(caught)
    exec(some["python"], {"log": log})
    assert caught.records[0].event == event(a=value)  # type: ignore[attr-defined]
    assert json.loads(some["json"]) == event(a=value)


def test_a_log_call_is_formatted() -> None:
    """A log call has one property per line, and long values on several."""
    value = event(5, note="it's", list=["a" * 50, "b" * 50])
    del value["sessionId"]
    assert snippets(entry(value), ENDPOINT)["python"] == (
        "log.info(\n"
        '    "export",\n'
        "    extra={\n"
        '        "event": {\n'
        '            "accountId": "acme",\n'
        '            "userId": "ann",\n'
        '            "createdAt": 1700000000005,\n'
        '            "action": "feature",\n'
        '            "module": "reports",\n'
        '            "feature": "export",\n'
        '            "note": "it\'s",\n'
        '            "list": [\n'
        f'                "{"a" * 50}",\n'
        f'                "{"b" * 50}",\n'
        "            ],\n"
        "        },\n"
        "    },\n"
        ")"
    )


@pytest.mark.parametrize("raw", [b"x", b"[1]", b"null", b"\xff", b'"a"', b"{"])
def test_a_line_that_is_not_an_event_has_no_log_call(raw: bytes) -> None:
    """Without an event the log call is a comment, and the JSON is the line."""
    some = snippets(entry(raw), ENDPOINT)
    assert ast.parse(some["python"]).body == []
    assert some["json"] == raw.decode("utf-8", "replace")


# JSON


@given(value=JSON)
def test_the_indented_json_is_the_same_value(value: Any) -> None:
    """Indented JSON has the same value and only printable characters."""
    text = json_text(parse(json.dumps(value)))
    assert json.dumps(json.loads(text)) == json.dumps(value)
    assert all(line.isprintable() for line in text.split("\n"))


# curl


@pytest.mark.needs("curl")
@pytest.mark.parametrize(
    "raw",
    [
        lines(event()).rstrip(),
        json.dumps(event(note="it's $HOME `id` $(id) \\ \" !! \U0001f600 %s")).encode(),
        json.dumps(event(note="Zo\xeb \u202e\x85"), ensure_ascii=False).encode(),
        b'{"a":\t1,\r"b":2}',
        b"@/etc/passwd",
        b"-",
        b"\x00\x01\xff\xfe%s%%\\n'\"",
        b"plain",
        json.dumps(event(pad="'x%" * 100_000)).encode(),
        b'{"a":"' + b"[" * 300_000 + b'"}',
    ],
    ids=range(10),
)
def test_the_curl_line_posts_the_same_line(raw: bytes) -> None:
    """Pasted into a shell, the curl command posts any line byte for byte."""
    with viewing() as viewer:
        viewer.post(raw)
        detail = viewer.get("events/1")
        line = detail["copies"]["curl"]
        assert "\n" not in line
        assert "/v1/${FSLOG_AUTH_KEY:?" in line
        done = subprocess.run(
            ["sh", "-eu"],
            input=line.encode(),
            capture_output=True,
            env={
                "FSLOG_AUTH_KEY": "a",
                "FSLOG_API_KEY": "b",
                "PATH": "/usr/local/bin:/usr/bin:/bin",
            },
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (0, b"")
        assert viewer.get("events/2")["line"] == detail["line"]
        first, second = (viewer.viewer._history.entry(id) for id in (1, 2))
        assert first is not None
        assert second is not None
        assert first.line == second.line == raw
        agents = [one["user_agent"] for one in viewer.get("requests")["requests"]]
        assert agents[0].startswith("curl/")


@pytest.mark.needs("curl")
def test_the_curl_line_uses_the_endpoint_of_the_environment() -> None:
    """The curl command posts to FSLOG_ENDPOINT if it is set."""
    with viewing() as viewer, viewing() as other:
        viewer.post(event())
        settings = {"FSLOG_AUTH_KEY": "a", "FSLOG_API_KEY": "b", "FSLOG_ENDPOINT": other.viewer.url}
        env = {**settings, "PATH": "/usr/local/bin:/usr/bin:/bin"}
        line = viewer.get("events/1")["copies"]["curl"]
        subprocess.run(["sh", "-c", line], env=env, check=True, capture_output=True, timeout=60)
        assert (viewer.get("count")["count"], other.get("count")["count"]) == (1, 1)


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("raw", [lines(event()).rstrip(), b"\x00 no text"])
@pytest.mark.parametrize("missing", ["FSLOG_AUTH_KEY", "FSLOG_API_KEY"])
def test_the_curl_line_fails_if_a_key_is_not_set(shell: str, raw: bytes, missing: str) -> None:
    """The shell names the missing variable, the command fails, and nothing is posted."""
    with viewing() as viewer:
        viewer.post(raw)
        line = viewer.get("events/1")["copies"]["curl"]
        env = {"FSLOG_AUTH_KEY": "a", "FSLOG_API_KEY": "b", "PATH": "/usr/local/bin:/usr/bin:/bin"}
        done = _pasted(shell, line, {name: env[name] for name in env if name != missing})
        assert done.returncode != 0
        assert f"{missing}: set it first; the viewer accepts any value" in done.stderr.decode()
        assert viewer.get("requests")["total"] == 1


def test_the_curl_line_fails_if_the_post_is_refused() -> None:
    """The curl command fails with the status if the POST is refused."""
    with viewing() as viewer:
        viewer.post(event())
        line = viewer.get("events/1")["copies"]["curl"]
        viewer.send("PUT", "outcomes", {"status": 400})
        env = {"FSLOG_AUTH_KEY": "a", "FSLOG_API_KEY": "b", "PATH": "/usr/local/bin:/usr/bin:/bin"}
        done = _pasted("sh", line, env)
        assert done.returncode == 22
        assert b"400" in done.stderr


def _pasted(shell: str, line: str, env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([shell, "-c", line], env=env, capture_output=True, timeout=60)


def test_a_line_too_long_has_no_snippets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of many megabytes has no snippets; its correction does not contain it."""
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    one = entry(event(userId=None, pad="x" * 100))
    some = snippets(one, ENDPOINT)
    assert len(set(some.values())) == 1
    assert ast.parse(some["python"]).body == []
    assert "xxx" not in str(correction(one))


def test_a_line_that_cannot_be_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line too deep for this thread's stack is treated as one without an event."""

    def fail(text: str) -> Any:
        raise RecursionError

    one = entry(event(userId=None))
    monkeypatch.setattr(module.literals, "parse", fail)
    some = snippets(one, ENDPOINT)
    assert ast.parse(some["python"]).body == []
    assert json.loads(some["json"]) == event(userId=None)
    assert correction(one) is not None


# Corrections


@given(value=EVENTS)
@example(value={"action": "feature"})
@example(value={"action": "a\nimport os", "createdAt": 5})
@example(value={"action": "sessionSync", "activeDuration": "1e999"})
@example(value={"action": 5, "userId": True, "accountId": 7, "createdAt": "1700000000"})
@example(value={"feature": "{a}", "details": {"k" * 2000: "{b}"}})
@example(value={"action": "Feature", "accountId": "ann", "userId": "0"})
@example(value={"action": "Feature", "accountId": "acme", "userId": "acme", "createdAt": 1})
def test_the_correction_is_valid(value: dict[str, Any]) -> None:
    """The corrected log call and rule create events without problems."""
    one = entry(value)
    found = correction(one)
    assert (found is None) == (one.state == "valid")
    assume(found is not None)
    for made in (called(found["python"]), by_rule(found["rule"])):  # type: ignore[index]
        assert made is not None
        assert (problems(made), warnings(made)) == ([], [])


def by_rule(rule: str) -> dict[str, Any] | None:
    """Return the event that a corrected rule creates from a matching log call."""
    settings = yaml.safe_load(rule)
    when = settings["rules"][0]["when"]
    record = logging.LogRecord(when["logger"], 20, "", 0, when["message"], (), None)
    record.account_id, record.user_id = "acme", "bob"
    made = EventFormatter(**settings).event(record)
    assert made is not None
    assert (made["accountId"], made["userId"]) == ("acme", "bob")
    return made


@given(value=RIGHT)
@example(value=event(total=3, version="2"))
def test_valid_properties_stay(value: dict[str, Any]) -> None:
    """A correction does not change a property without a problem."""
    assume(entry(value).state == "valid")
    found = correction(entry({**value, "userId": 5}))
    assert found is not None
    assert called(found["python"]) == {**value, "userId": "5"}


def test_what_looks_like_a_secret_is_shown_and_left_out_of_the_correction() -> None:
    """An event with a name that looks like a secret is marked; its problems do not repeat it."""
    details = {"token": "t-1", "name": "Ann"}
    found = entry(event(api_key="k-3", details=details))
    assert found.state == "warning"
    labels = [(problem.code, problem.property) for problem in found.problems]
    names = ["details.token", "api_key"]
    assert sorted(labels) == sorted(("looks_secret", name) for name in names)
    assert not any(text in str(found.problems) for text in ("t-1", "k-3"))
    corrected = correction(found)
    assert corrected is not None
    made = called(corrected["python"])
    assert made == event(details={"name": "Ann"})


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ({"userId": None}, '"userId": "ann",  # was missing'),
        ({"userId": ""}, '"userId": "ann",  # was empty'),
        ({"userId": 5}, '"userId": "5",  # was a number'),
        ({"userId": True}, '"userId": "ann",  # was a boolean'),
        ({"accountId": ["a"]}, '"accountId": "acme",  # was an array'),
        ({"accountId": {}}, '"accountId": "acme",  # was an object'),
        ({"action": None}, '"action": "feature",  # was missing'),
        ({"module": None}, '"module": "reports",  # was missing'),
        ({"total": "3"}, '"total": 3,  # was a string'),
        ({"total": "2.5"}, '"total": 2.5,  # was a string'),
        ({"total": "many"}, '"total": 1,  # was a string'),
        ({"product": 7}, '"product": "7",  # was a number'),
        ({"createdAt": "1700000000000"}, '"createdAt": 1700000000000,  # was a string'),
        ({"createdAt": "2023-11-14T22:13:20Z"}, '"createdAt": 1700000000000,  # was a string'),
        ({"createdAt": "2023-11-14 23:13:20+01:00"}, '"createdAt": 1700000000000,  # was a string'),
        ({"createdAt": 1_700_000_000}, '"createdAt": 1700000000000,  # was in seconds'),
        (
            {"createdAt": 1_700_000_000, "userId": ""},
            '"createdAt": 1700000000000,  # was in seconds',
        ),
        ({"sessionId": 12}, '"sessionId": "12",  # was a number'),
        ({"action": "feeture"}, '"action": "feature",  # was misspelt'),
        ({"action": "module_end", "timeSpent": 1}, '"action": "moduleEnd",  # was misspelt'),
        ({"userId": "Anonymous"}, '"userId": "ann",  # was nobody\'s id'),
        ({"userId": 0}, '"userId": "ann",  # was a number'),
        ({"accountId": "null"}, '"accountId": "acme",  # was nobody\'s id'),
        ({"accountId": "ann@acme.example"}, '"accountId": "acme",  # was a user\'s id'),
        ({"accountId": "acme", "userId": "acme"}, '"accountId": "globex",  # was a user\'s id'),
        ({"accountId": "ann", "userId": "-"}, '"userId": "bob",  # was nobody\'s id'),
    ],
)
def test_a_correction_converts_values(change: dict[str, Any], row: str) -> None:
    """A value is converted to what was probably meant, with a comment on what it was."""
    found = correction(entry(event(**change)))
    assert found is not None
    assert row in found["python"]
    assert called(found["python"])


@pytest.mark.parametrize(
    "change",
    [
        {"createdAt": "now"},
        {"createdAt": 5},
        {"createdAt": -1},
        {"createdAt": "9" * 400},
        {"createdAt": []},
        {"sessionId": None},
        {"sessionId": ""},
        {"sessionId": ["s"]},
    ],
)
def test_a_correction_omits_what_fslog_supplies(change: dict[str, Any]) -> None:
    """A time or session that cannot be converted is omitted, since fslog supplies it."""
    found = correction(entry(event(**change)))
    assert found is not None
    (name,) = change
    assert name not in found["python"]
    made = called(found["python"])
    assert made is not None
    assert problems(made) == warnings(made) == []


@pytest.mark.parametrize("raw", [b"x", b"[1]", b"\xff", b'{"a":' * 60 + b"1" + b"}" * 60])
def test_a_line_without_an_event_has_a_correction(raw: bytes) -> None:
    """If nothing can be converted the correction is a complete, valid example."""
    found = correction(entry(raw))
    assert found is not None
    for made in (called(found["python"]), by_rule(found["rule"])):
        assert made is not None
        assert problems(made) == warnings(made) == []


def test_a_body_that_cannot_be_decompressed_has_a_correction() -> None:
    """The corrected log call explains the problem of the whole body."""
    one = make_entry(parse_body(b"plain", "gzip").lines[0], 0)
    found = correction(one)
    assert found is not None
    assert found["python"].startswith("# a body must match its Content-Encoding;")
    assert called(found["python"])


def test_a_rule_is_formatted() -> None:
    """The corrected rule is formatted and states what the reader must fill in."""
    found = correction(entry(event(userId=None, total=3, note="{x}")))
    assert found is not None
    assert found["rule"] == (
        "rules:\n"
        "  # the name of your logger, and your log call's message as written in the code\n"
        '  - when: {logger: "app", message: "exported %s rows"}\n'
        "    event:\n"
        '      "action": "feature"\n'
        '      "module": "reports"\n'
        '      "feature": "export"\n'
        '      "total": 3\n'
        '      "note": "{{x}}"\n'
        "fields:  # attributes of your records; or use context.bind(accountId=..., userId=...)\n"
        "  accountId: account_id\n"
        "  userId: user_id"
    )


@given(value=JSON)
@example(value=[1e16, -1e-7, 1.5e300, 0.0, 123456789012345678901234567890])
@example(value=["\U00010000", "\U000103ff\ud800"])
def test_yaml_has_the_same_value(value: Any) -> None:
    """The YAML of a JSON value has the same value, except for lone surrogates."""
    text = yaml_word(value)
    assert text.isprintable()
    whole = json.loads(re.sub("[\ud800-\udfff]", "\ufffd", json.dumps(value, ensure_ascii=False)))
    assert yaml.safe_load(text) == whole


def test_yaml_has_infinity() -> None:
    """Infinity is written as YAML's own."""
    assert yaml.safe_load(yaml_word([float("inf"), float("-inf")])) == [float("inf"), -float("inf")]


def test_depth_is_counted_without_recursion() -> None:
    """The depth of a value is computed for any depth."""
    value: Any = {}
    for _ in range(sys.getrecursionlimit() * 3):
        value = {"a": value}
    assert depth(value) == sys.getrecursionlimit() * 3 + 1
    assert depth([1, [2], {"a": [[]]}]) == 4
    assert depth("text") == 0


def test_snippets_contain_no_keys() -> None:
    """No snippet contains the keys of the request."""
    with viewing() as viewer:
        viewer.post(event(userId=None))
        shown = viewer.ask("GET", "/api/events/1").body.decode()
        assert not [part for part in PATH.split("/")[2:] if part in shown]
