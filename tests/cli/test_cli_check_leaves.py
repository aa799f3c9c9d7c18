"""`fslog check --leaves`: the page that says what leaves, and that it says the truth."""

from __future__ import annotations

import json
import logging
from fnmatch import fnmatchcase
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checking import Check, write
from configurations import RULE, USAGE, changed
from fslog import EventFormatter, InvalidEvent, context
from fslog.cli.check.configuration import parse
from fslog.cli.check.dry_run import dry_run, event_handlers
from fslog.cli.check.leaves import Leaves
from fslog.mapping.privacy import hashed

pytestmark = pytest.mark.usefixtures("person")

KEY = "correct horse battery staple"


def provide() -> dict[str, Any]:
    """Return what an application's function would."""
    return {}


def consent(event: Any) -> bool:
    """Exclude nobody."""
    return False


def usage(**arguments: Any) -> dict[str, Any]:
    """Return the plain configuration with more arguments for the handler."""
    return changed(handlers={"usage": {**USAGE, **arguments}})


PRIVATE: dict[str, Any] = {
    "fields": {"accountId": "tenant.slug", "userId": "user.id"},
    "defaults": {"product": "core"},
    "include": ["sku", "order_*"],
    "redact": {"userId": "hash", "email": "drop", "details.phone": "drop", "total": "keep"},
    "excluded": {"users": ["*@staff.example"], "accounts": ["demo", 7]},
    "plan": {
        "version": 1,
        "common": {"ip": {"pii": "hash"}},
        "events": {
            "signed in": {
                "event": {"action": "identifyUser"},
                "properties": {"details": {"type": "object"}},
            }
        },
    },
}

PAGE = """\
logging.json (dictConfig): what leaves the process

handler usage
  to        https://events-us.freshsuccess.com/v1/***/***
  not of    users *@staff.example; accounts demo, 7

every event
  accountId                 as it is   the log call, fields: tenant.slug, context
  userId                    as a hash  the log call, fields: user.id, context
  createdAt                 as it is   the log call, context, the record's time
  action                    as it is   the log call or the rule
  sessionId                 as it is   the log call, context, derived from the ids as they leave and the time (session: window)
  product                   as it is   defaults: "core"
  ip                        as a hash  wherever it is from (pii in the plan)
  email                     never      wherever it is from (redact)
  details.phone             never      wherever it is from (redact)
  total                     as it is   wherever it is from (redact)
  from context              as it is   what fslog.context has bound: any name

rules[0]  log calls with logger app.reports, message "exported %s rows"
  action                    as it is   always "feature"
  module                    as it is   always "reports"
  feature                   as it is   always "export"
  total                     as it is   from "{args.0}"

every rule  log calls that a rule above makes an event of
  sku                       as it is   an extra (include)
  order_*                   as it is   an extra (include)
  from the extra event      as it is   all properties of a nested extra event

explicit events  log calls with an action, as extras or in the extra event
  any other extra           as it is   all extras, except otel*, dd.*, _*; not tenant, user, which fields read

plan: signed in  explicit events with identifyUser
  action                    as it is   always "identifyUser"
  ip                        as a hash  any value
  details                   as it is   an object
  details.phone             never      inside of details

Nothing else of a log call leaves, unless a rule above names it: no message, argument, logger, level, file, line, function, thread, process, host, exception or stack.
"""  # noqa: E501 - lines of the page


def test_the_page(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of log call with its properties, in which form they leave, and where from."""
    monkeypatch.setenv("FSLOG_HASH_KEY", KEY)
    write("logging.json", json.dumps(usage(**PRIVATE)))
    assert check("logging.json", "--leaves") == (0, PAGE, "")


def test_the_page_without_the_key(check: Check) -> None:
    """Who signs need not have it; that the application needs it is said below."""
    write("logging.json", json.dumps(usage(**PRIVATE)))
    code, out, _ = check("logging.json", "--leaves")
    assert code == 0
    assert out.startswith(PAGE)
    assert "FSLOG_HASH_KEY is not set here" in out[len(PAGE) :]


def rows(check: Check, **arguments: Any) -> dict[str, dict[str, tuple[str, str]]]:
    """Return the page's rows by group and property: what becomes of it, and where it is from."""
    write("logging.json", json.dumps(usage(**arguments)))
    code, out, _ = check("logging.json", "--leaves", "--json")
    assert code == 0
    (page,) = json.loads(out)["leaves"]
    return {
        group["events"]: {
            row["property"]: (row["action"], row["from"]) for row in group["properties"]
        }
        for group in page["groups"]
    }


def test_only_what_is_declared(check: Check) -> None:
    """The page then lists each name that an explicit event may have."""
    found = rows(check, **{**PRIVATE, "extras": "declared"})
    explicit = found["explicit events"]
    assert explicit.keys() == {
        *("timeSpent", "activeDuration", "sku", "order_*", "details", "feature", "module"),
    }
    assert found["every event"]["from context"] == (
        "keep",
        "what fslog.context has bound: only names on this page",
    )
    code, out, _ = check("logging.json", "--leaves")
    assert code == 0
    assert "extras    declared: only the names on this page" in out


def test_what_is_derived(check: Check) -> None:
    """Times in product are events of their own, with the ids as they leave."""
    assert "time in product" not in rows(check)
    found = rows(check, track_time=True, redact={"module": "drop"})["time in product"]
    assert found == {
        **dict.fromkeys(
            ("accountId", "userId", "sessionId", "product"), ("keep", "as in these events")
        ),
        "module": ("drop", "as in these events"),
        "activeDuration": ("keep", "milliseconds, of sessionSync events"),
        "timeSpent": ("keep", "milliseconds, of moduleEnd events"),
    }


def test_functions_of_the_application(check: Check) -> None:
    """Who excludes, who provides and who makes the events is named: their code is to be read."""
    given = usage(
        excluded=f"ext://{__name__}.consent", context_provider=f"ext://{__name__}.provide"
    )
    write("logging.json", json.dumps(given))
    _, out, _ = check("logging.json", "--leaves")
    assert f"not of    whom {__name__}.consent excludes" in out
    assert f"what {__name__}.provide returns: any name" in out


class Mine(EventFormatter):
    """A formatter that decides itself."""

    def event(self, record: logging.LogRecord) -> dict[str, Any] | None:
        return super().event(record)


def test_a_formatter_of_the_application(check: Check) -> None:
    """What it sends is for its own code to say; a relay's lines are sent by another program."""
    given = changed(
        formatters={"events": {"()": f"{__name__}.Mine", "redact": {"x": "drop"}}},
        filters={"events": {"()": "cfg://formatters.events"}},
        handlers={
            "file": {
                "class": "logging.FileHandler",
                "filename": "events.ndjson",
                "formatter": "events",
                "filters": ["events"],
            }
        },
        root={"handlers": ["file"], "level": "INFO"},
    )
    write("logging.json", json.dumps(given))
    _, out, _ = check("logging.json", "--leaves")
    assert f"made by   {__name__}.Mine, code of the application, which may send more" in out
    assert "to        lines, which another program has to send" in out
    assert "x                         never" in out


def test_errors_are_below_the_page(check: Check) -> None:
    """A handler that cannot be created has no page, and the exit code is 1."""
    write("logging.json", json.dumps(usage(redact={"x": "remove"})))
    code, out, _ = check("logging.json", "--leaves")
    assert code == 1
    assert "redact.x is 'remove'" in out
    assert "every event" not in out
    code, out, _ = check("logging.json", "--leaves", "--json")
    assert code == 1
    report = json.loads(out)
    assert (report["ok"], report["leaves"]) == (False, [])


@pytest.mark.parametrize("more", [["--record", "name=app"], ["--log", "app.log"]])
def test_no_record_is_needed(check: Check, more: list[str]) -> None:
    """What becomes of one is the command's other answer."""
    write("logging.json", json.dumps(usage()))
    code, _, err = check("logging.json", "--leaves", *more)
    assert code == 2
    assert "--leaves" in err


# Records: what becomes of one.


def explained(check: Check, record: str, **arguments: Any) -> Any:
    """Return the explanation of a record as JSON."""
    write("logging.json", json.dumps(usage(**arguments)))
    _, out, _ = check("logging.json", "--record", record, "--json")
    (found,) = json.loads(out)["records"]
    return found


def test_a_record_whose_event_is_redacted(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is shown as it is sent, with the source of each property; what is left out is said."""
    monkeypatch.setenv("FSLOG_HASH_KEY", KEY)
    found = explained(
        check,
        "user.id=7,action=x,email=e,ip=::1,page=start",
        fields={"userId": "user.id"},
        defaults={"accountId": "acme"},
        redact={"userId": "hash", "accountId": "hash", "ip": "hash", "email": "drop"},
        extras="declared",
    )
    event = {name: found["event"][name] for name in ("userId", "accountId", "ip")}
    assert event == {
        name: hashed(text, KEY.encode())
        for name, text in {"userId": "7", "accountId": "acme", "ip": "::1"}.items()
    }
    assert {name: found["sources"][name] for name in event} == {
        "userId": "fields: user.id",
        "accountId": "defaults",
        "ip": "the call",
    }
    assert found["left_out"] == ["email: redact drops it", "page: it is not declared"]


def test_a_record_whose_event_is_excluded(check: Check) -> None:
    """It is neither an event nor skipped, and no error."""
    found = explained(check, "accountId=acme,userId=ann,action=x", excluded={"users": ["ann"]})
    assert (found["result"], found["event"]) == ("excluded", None)
    code, out, _ = check("logging.json", "--record", "accountId=acme,userId=ann,action=x")
    assert code == 0
    assert "excluded, not sent" in out


def test_a_missing_hash_key_is_a_warning(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that checks may not have it; one that cannot be used is an error."""
    write("logging.json", json.dumps(usage(redact={"userId": "hash"})))
    code, out, _ = check("logging.json")
    assert code == 0
    assert "FSLOG_HASH_KEY is not set here" in out
    monkeypatch.setenv("FSLOG_HASH_KEY", "short")
    code, out, _ = check("logging.json")
    assert code == 1
    assert "FSLOG_HASH_KEY holds 5 bytes" in out
    monkeypatch.setenv("FSLOG_HASH_KEY", KEY)
    code, out, _ = check("logging.json")
    assert (code, "FSLOG_HASH_KEY" in out) == (0, False)


NAMES = ["email", "ip", "sku", "order_id", "total", "details", "x"]
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "redact": st.dictionaries(
            st.sampled_from([*NAMES, "userId", "accountId"]), st.sampled_from(["hash", "keep"])
        ).map(lambda found: {**found, **({"x": "drop"} if len(found) % 2 else {})}),
        "extras": st.sampled_from(["all", "declared"]),
        "include": st.lists(st.sampled_from(["sku", "order_*"]), max_size=2),
        "exclude": st.lists(st.sampled_from(["sku", "e*"]), max_size=1),
        "defaults": st.dictionaries(st.sampled_from(NAMES), st.just("d"), max_size=2),
        "fields": st.dictionaries(st.sampled_from(NAMES), st.just("request.f"), max_size=2),
    },
)


@given(
    ARGUMENTS,
    st.lists(st.sampled_from(NAMES), unique=True),
    st.sampled_from(["feature", "identifyUser", "x", None]),
    st.dictionaries(st.sampled_from(NAMES), st.just("bound"), max_size=2),
)
def test_what_leaves_is_on_the_page(
    arguments: dict[str, Any], extras: list[str], action: str | None, bound: dict[str, Any]
) -> None:
    """For any configuration and log call: each property that is sent is there, in its form."""
    with mock.patch.dict("os.environ", {"FSLOG_HASH_KEY": KEY}):
        formatter = EventFormatter(rules=[RULE], **arguments)
        with dry_run() as arguments_of:
            config = parse(usage(**arguments), is_file=True, name="logging.json")
            (info,) = event_handlers(config, arguments_of)
    made = logging.LogRecord("app.reports", 20, "", 0, "exported %s rows", (3,), None)
    made.__dict__.update({"accountId": "a", "userId": "u", "request": {"f": "field"}})
    made.__dict__.update(dict.fromkeys(extras, "extra"), **({"action": action} if action else {}))
    leaves = Leaves(info)
    groups = {group.title: group.rows for group in leaves.groups()}
    kind = ["explicit events"] if action else ["rules[0]", "every rule"]
    found = [row for title in ["every event", *kind] for row in groups[title]]
    with context.bound(**bound):
        try:
            event = formatter.event(made)
        except InvalidEvent:
            raise AssertionError("the log call is valid") from None
    assert event is not None
    for name, value in event.items():
        named = [row for row in found if fnmatchcase(name, row.name)]
        if not named and name in bound:
            named = [row for row in found if row.name == "from context"]
        if not named and action:
            named = [row for row in found if row.name == "any other extra"]
        assert named
        texts = {"a", "u", "extra", "field", "d", "bound", "3"}
        is_hashed = value in [hashed(text, KEY.encode()) for text in texts]
        assert ("hash" in {row.action for row in named}) is is_hashed
        assert "drop" not in {row.action for row in named}
