"""`fslog suggest`: what it proposes is a valid configuration that fits the records it is for."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fslog import process
from fslog.cli import main
from fslog.cli.record import create
from fslog.cli.suggest.proposals import Proposal
from fslog.cli.suggest.suggest import Suggestion
from fslog.integrations.recording import Recorder
from fslog.net.redaction import Redactor
from processes import KEYS
from uploads import Command

pytestmark = pytest.mark.usefixtures("measured")

Logged = tuple[str, Any, Any, Mapping[str, Any]]
"""A record: logger, message, arguments, extras."""


def record_of(number: int, logged: Logged, path: str = "/app/shop.py") -> logging.LogRecord:
    """Return a record, of a log call in the line of its number."""
    name, message, args, extras = logged
    record = logging.LogRecord(name, logging.INFO, path, number, message, (), None, "view")
    record.args = args
    record.__dict__.update(extras)
    return record


def recorded(path: Path, calls: Sequence[Sequence[Logged]], source: str = "/app/shop.py") -> str:
    """Record, for each of some log calls, its records; return the file's path."""
    path.unlink(missing_ok=True)
    create(str(path))
    recorder = Recorder(str(path), Redactor(*KEYS))
    for number, call in enumerate(calls):
        for logged in call:
            recorder.handle(record_of(number + 1, logged, source))
    recorder.flush()
    process.untrack(recorder)
    return str(path)


def called(*arguments: str) -> tuple[int, str]:
    """Run a command in this process; return its exit code and what it printed."""
    out = io.StringIO()
    with redirect_stdout(out):
        code = main(list(arguments))
    return code, out.getvalue()


def suggested(file: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the suggestion's JSON and what `fslog check` says to its YAML and the recording.

    The YAML is the configuration of the JSON. The check knows no identity but the records' own, and
    the context if the suggestion says that it has to be bound.
    """
    code, out = called("suggest", file, "--json")
    made = json.loads(out)
    assert code == (0 if made["rules"] else 1)
    _, text = called("suggest", file)
    if not made["rules"]:
        return made, {}
    assert yaml.safe_load(text) == made["configuration"]
    usage = Path(file).with_name("usage.yaml")
    usage.write_text(text, encoding="utf-8")
    unknown = [note.partition(":")[0] for note in made["undecided"] if "do not say it" in note]
    bound = ["--context", ",".join(f"{name}=bound" for name in unknown)] if unknown else []
    keys = {"FSLOG_AUTH_KEY": KEYS[0], "FSLOG_API_KEY": KEYS[1]}
    with mock.patch.dict(os.environ, keys):
        code, out = called(
            "check", str(usage), "--log", file, "--json", "--details", "9999", *bound
        )
    report = json.loads(out)
    assert code == 0, report
    assert report["errors"] == 0
    return made, report


def access(method: str, path: str, status: int = 200, user: str = "ann") -> Logged:
    """Return a line of gunicorn's access log."""
    line = {"m": method, "U": path, "s": str(status), "h": "1.2.3.4", "u": "-", "H": "1.1"}
    line |= {"r": f"{method} {path}?token=hunter2 HTTP/1.1", "{x-user}i": user}
    return ("gunicorn.access", '%(h)s "%(r)s" %(s)s', {**line, "{x-tenant}i": "acme"}, {})


def uvicorn(method: str, path: str, status: int = 200) -> Logged:
    """Return a line of uvicorn's access log."""
    args = ("1.2.3.4:5", method, path, "1.1", status)
    return ("uvicorn.access", '%s - "%s %s HTTP/%s" %d', args, {})


WHO = {"user_id": 7, "account": {"slug": "acme"}}


def rules_of(made: Mapping[str, Any]) -> list[Any]:
    """Return the proposed rules."""
    return [one["rule"] for one in made["rules"]]


def test_log_calls(tmp_path: Path) -> None:
    """A message that says what a user did makes a rule; `fields` have who it was."""
    calls: list[list[Logged]] = [
        [("shop.reports.views", "exported %s rows", (n,), WHO) for n in range(9)],
        [("shop.auth", "user %s logged in", ("ann",), {"account": {"slug": "acme"}})],
        [("shop.teams", f"user created project {n} in team-{n}", (), WHO) for n in range(5)],
        [("shop.teams", {"event": "moved card", "user_id": "bob"}, (), {})],
        [("shop.teams", "/invited/", (), WHO)],
        [("shop.jobs", "created database connection", (), {})],
        [("shop.jobs", "user_7 is here", (), WHO)],
        [("shop.jobs", f"deleted {'x' * n}", (), WHO) for n in range(50)],
        [("shop.jobs", "tick", (), {})],
        [("shop.auth", "user %s logged in", ("bob",), {"account": {"slug": "acme"}})],
        [("shop.long", "created " + "x" * 2_000, (), WHO)],
        [("shop.secret", "created token=hunter2", (), WHO)],
        [("shop.boards", f"user ann moved card {n}", (), WHO) for n in range(3)],
        [("shop.noise", f"{n} * {n}", (), {}) for n in range(3)],
        [("shop.names", f"deleted {'y ' * n}", (), {}) for n in range(1, 9)],
        [("shop", "exported", (), {"action": "feature", "feature": "x", **WHO})],
        [("shop", "exported", (), {"event": {"action": "feature"}, **WHO})],
    ]
    file = recorded(tmp_path / "records.ndjson", calls)
    made, report = suggested(file)
    by_logger = {rule["when"]["logger"]: rule for rule in rules_of(made)}
    assert by_logger["shop.reports.views"] == {
        "when": {"logger": "shop.reports.views", "message": "exported %s rows"},
        "event": {"action": "feature", "module": "reports", "feature": "export"},
    }
    assert by_logger["shop.jobs"]["when"]["message"] == r"/^deleted \S+$/"
    assert by_logger["shop.auth"]["event"]["feature"] == "log in"
    assert by_logger["shop.auth"]["event"]["userId"] == "{args.0}"
    assert made["configuration"]["handlers"]["usage"]["fields"] == {
        "accountId": "account.slug",
        "userId": "user_id",
    }
    notes = "\n".join(made["undecided"])
    assert '"created database connection" may be about the application itself' in notes
    assert by_logger["shop.boards"]["when"]["message"] == r"/^user \S+ moved card \S+$/"
    assert [rule["when"]["logger"] for rule in rules_of(made)].count("shop.auth") == 1
    assert "shop.long, /app/shop.py:11: no rule could be made" in notes
    assert "shop.secret, /app/shop.py:12, 1 times: the message is not in the file" in notes
    assert "shop.noise, /app/shop.py:14, 3 times: the messages differ too much" in notes
    assert "2 records are events already" in notes
    assert "has an id, but no word for what a user did" in notes
    assert report["summary"]["results"]["event"] >= 3


def test_requests(tmp_path: Path) -> None:
    """Requests that write make rules by the form of their paths; what was read does not."""
    calls = [
        [
            *(access("POST", f"/api/v1/reports/{n}/export") for n in range(9)),
            *(access("POST", f"/api/v1/teams/{n}/invite") for n in range(3)),
            *(access("DELETE", f"/api/v1/teams/{n}/") for n in range(2)),
            access("PUT", "/api/v1/teams/7"),
            access("POST", "/teams"),
            access("POST", "/login", 302),
            access("POST", "/cart/items/x", 201, "-"),
            access("GET", "/teams"),
            access("POST", "/graphql"),
            access("POST", "/17"),
            access("POST", "/reports/1/export", 500),
        ]
    ]
    file = recorded(tmp_path / "records.ndjson", calls)
    assert "hunter2" not in Path(file).read_text()
    made, report = suggested(file)
    rules = {json.dumps(rule.get("path")): rule for rule in rules_of(made)}
    assert rules[
        json.dumps("/^/api/v1/(?P<module>reports|teams)/[^/]+/(?P<feature>export|invite)/?$/")
    ] == {
        "preset": "access",
        "methods": ["POST"],
        "path": "/^/api/v1/(?P<module>reports|teams)/[^/]+/(?P<feature>export|invite)/?$/",
    }
    features = [(r["methods"], r.get("event", {}).get("feature")) for r in rules_of(made)]
    assert (["DELETE"], "delete") in features
    assert (["PUT"], "update") in features
    assert (["POST"], "create") in features
    (login,) = [rule for rule in rules_of(made) if rule.get("status") == "2xx,3xx"]
    assert login["event"]["module"] == "web"
    assert made["configuration"]["loggers"] == {"gunicorn.access": {"propagate": True}}
    fields = made["configuration"]["handlers"]["usage"]["fields"]
    assert fields == {"userId": "args.{x-user}i", "accountId": "args.{x-tenant}i"}
    notes = "\n".join(made["undecided"])
    for reason in ("failed", "pages and data", "programs call such paths", "nothing but ids"):
        assert reason in notes
    assert report["summary"]["results"]["event"] == sum(
        one["result"] == "event" for one in report["records"]
    )


def test_nobody(tmp_path: Path) -> None:
    """A rule leaves out the requests of nobody, if the records show that there are some."""
    calls = [[access("POST", "/a/b", user=user) for user in ("ann", "-", "bob")]]
    made, report = suggested(recorded(tmp_path / "records.ndjson", calls))
    assert made["rules"][0]["rule"]["when"] == {"args.{x-user}i": "/[^-]/"}
    assert report["summary"]["results"] == {"event": 2, "skipped": 1}


def test_a_header_and_an_extra(tmp_path: Path) -> None:
    """`fields` have the path that a rule's own event cannot have; not every request has one."""
    lines = [access("POST", "/a/b", user=user) for user in ("ann", "bob", "")]
    del lines[2][2]["{x-user}i"]
    calls: list[list[Logged]] = [lines, [("shop", "exported rows", (), WHO)] * 9]
    made, report = suggested(recorded(tmp_path / "records.ndjson", calls))
    fields = made["configuration"]["handlers"]["usage"]["fields"]
    assert fields == {"userId": "args.{x-user}i", "accountId": "args.{x-tenant}i"}
    (of_requests, of_calls) = rules_of(made)
    assert of_requests["when"] == {"args.{x-user}i": "/[^-]/"}
    assert of_calls["event"]["userId"] == "{user_id}"
    assert of_calls["event"]["accountId"] == "{account.slug}"
    assert report["summary"]["results"] == {"event": 5, "skipped": 1}


def test_two_servers_and_log_calls(tmp_path: Path) -> None:
    """Requests that two servers may log are counted for one of them; the user stands nowhere."""
    calls = [
        [uvicorn("POST", "/reports/export") for _ in range(5)],
        [("werkzeug", '"%s" %s %s', ("POST /reports/export HTTP/1.1", "200", "-"), {})],
        [("shop", "report exported", (), {})],
        [("celery.app.trace", "Task shop.export[%s] succeeded in 0.5s: None", ("i",), {})],
    ]
    made, _ = suggested(recorded(tmp_path / "records.ndjson", calls))
    (first, second) = rules_of(made)
    assert first["when"] == {"logger": "uvicorn.access"}
    assert second["event"]["feature"] == "export report"
    notes = "\n".join(made["undecided"])
    assert "access lines of werkzeug" in notes
    assert "userId: the records of any rule do not say it" in notes
    assert "may count the same use twice" in notes
    assert "preset: celery" in notes


def test_json_in_messages(tmp_path: Path) -> None:
    """A message that is a JSON object, as structlog renders it, makes a rule on its event."""
    calls: list[list[Logged]] = [
        [
            ("shop", json.dumps({"event": "exported report", "user_id": n, "at": n}), (), {})
            for n in range(1, 4)
        ],
        [("shop", '{"event": 1}', (), {}), ("shop", "{not JSON", (), {})],
    ]
    made, report = suggested(recorded(tmp_path / "records.ndjson", calls))
    (rule,) = rules_of(made)
    assert rule["when"] == {"logger": "shop", "formatted_message.event": "exported report"}
    assert made["configuration"]["handlers"]["usage"]["fields"] == {
        "userId": "formatted_message.user_id"
    }
    assert report["summary"]["results"]["event"] == 3


def test_libraries_make_no_rules(tmp_path: Path) -> None:
    """What an installed package logs is not what a user did."""
    calls: list[list[Logged]] = [[("lib", "user created", (), WHO)]]
    path = "/venv/lib/python3.11/site-packages/lib/x.py"
    file = recorded(tmp_path / "records.ndjson", calls, path)
    made, _ = suggested(file)
    assert made["rules"] == []
    assert "# No rule is proposed." in called("suggest", file)[1]


def test_a_full_or_damaged_recording(tmp_path: Path) -> None:
    """A torn line is passed over, and a full file is noted."""
    file = recorded(tmp_path / "records.ndjson", [[("shop", "user created", (), WHO)]])
    with open(file, "a") as more:
        more.write('{"_fslog": {"full": true}}\n{"_fslog": {"id": "x", "count": 5}}\n[]\n{"torn')
    made = json.loads(called("suggest", file, "--json")[1])
    assert len(made["rules"]) == 1
    assert "the recording was full: later records are missing" in made["undecided"]


def test_a_rule_that_is_none() -> None:
    """A proposal that would be an error in a configuration is not made."""
    wrong = Proposal({"preset": "acess"}, [])
    assert not Suggestion([], is_full=False)._fits(wrong, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "cannot be read: No such file"), ("{}\n", "is not a recording; fslog record")],
)
def test_what_is_no_recording(text: str | None, message: str, fslog: Command) -> None:
    """It is an error that says what is expected."""
    if text is not None:
        Path("app.log").write_text(text)
    said = fslog("suggest", "app.log")
    assert said.code == 2
    assert message in said.err


WORDS = st.sampled_from(
    ["exported", "created", "%s", "rows", "user", "ann's", "100%%", "logged", "in", "/", "é", "yes"]
)
TEXTS = st.lists(WORDS, min_size=1, max_size=6).map(" ".join) | st.text(max_size=20)
NAMES = st.sampled_from(["shop", "shop.reports", "root", "a b", "yes", "shop.views"])
WHOM = st.integers(1) | st.text("abc", min_size=1)
EXTRAS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("userId", "accountId"), WHOM),
        **{name: st.none() | WHOM for name in ("user_id", "tenant", "x", "_y", "logger")},
        "user": st.none() | st.fixed_dictionaries({"id": st.none() | WHOM}),
        "session_id": st.none() | st.text(max_size=5),
    },
)
PATHS = st.lists(
    st.sampled_from(["a", "reports", "7", "x-y", "é", "a.b", "(", "api", "v1", "login"]),
    max_size=4,
).map(lambda parts: "/" + "/".join(parts))


@st.composite
def log_calls(draw: Any) -> list[Logged]:
    """Return the records of one log call, or of a server."""
    if draw(st.booleans()):
        methods = st.sampled_from(["GET", "POST", "PUT", "DELETE"])
        statuses = st.sampled_from([200, 201, 302, 404])
        server = draw(st.sampled_from([uvicorn, access]))
        some = st.lists(st.tuples(methods, PATHS, statuses), min_size=1, max_size=5)
        return [server(*one) for one in draw(some)]
    name, message = draw(NAMES), draw(TEXTS)
    args = tuple(draw(st.integers() | st.text(max_size=5)) for _ in range(message.count("%s")))
    return [(name, message, args, draw(EXTRAS)) for _ in range(draw(st.integers(1, 4)))]


@given(st.lists(log_calls(), min_size=1, max_size=5))
def test_what_is_proposed_fits(tmp_path_factory: Any, calls: list[list[Logged]]) -> None:
    """Any suggestion is a configuration without errors, and each of its rules makes events.

    No record that a rule fits gives an invalid event.
    """
    file = recorded(tmp_path_factory.getbasetemp() / "proposed.ndjson", calls)
    made, report = suggested(file)
    for number, rule in enumerate(made["rules"]):
        assert rule["fits"] > 0
        assert any(one["rule"] == number for one in report["records"]), (rule, report)
