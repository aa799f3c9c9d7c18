"""Record → event → line: which records are events, and where their properties come from."""

from __future__ import annotations

import copy
import datetime
import enum
import itertools
import json
import logging
import logging.config
import math
import re
import threading
import urllib.request
import uuid
import weakref
from collections import UserDict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import SafeString
from hypothesis import example, given
from hypothesis import strategies as st

from fslog import EventFormatter, FreshsuccessHandler, InvalidEvent, Problem, context
from fslog.collector import Collector
from fslog.mapping import schema, sessions
from fslog.net.redaction import internal_work

WHO = {"accountId": "acme", "userId": "ann"}
USE = {"action": "feature", "module": "reports", "feature": "export"}
RULE = {"when": {"logger": "app"}, "event": USE}
UTC = datetime.timezone.utc


def record(
    extra: Mapping[str, Any] | None = None,
    *,
    name: str = "app",
    msg: Any = "exported %s rows",
    args: Any = (3,),
    created: float = 1_700_000_000.5,
) -> logging.LogRecord:
    """Return a record as a logger makes it."""
    logger = logging.Logger(name)
    made = logger.makeRecord(
        name, logging.INFO, "/srv/app.py", 7, msg, args, None, extra=dict(extra or {})
    )
    made.created = created
    return made


def explicit(**extra: Any) -> logging.LogRecord:
    return record({**WHO, **USE_FLAT, **extra})


USE_FLAT = {"action": "feature", "feature": "export"}


def event_of(formatter: EventFormatter, made: logging.LogRecord) -> dict[str, Any]:
    event = formatter.event(made)
    assert event is not None
    return event


def problems_of(formatter: EventFormatter, made: logging.LogRecord) -> list[tuple[str, str]]:
    with pytest.raises(InvalidEvent) as caught:
        formatter.event(made)
    assert caught.value.problems
    assert formatter.format(made) == ""
    assert formatter.filter(made) is False
    return [(problem.code, problem.property) for problem in caught.value.problems]


@pytest.fixture(autouse=True)
def _nothing_bound() -> Iterator[None]:
    context.clear()
    yield
    context.clear()


def test_flat_extras_make_an_event() -> None:
    """With an action among the extras, the record is an event of all extras."""
    event = event_of(EventFormatter(), explicit(total=3, plan={"tier": "gold"}))
    session = event.pop("sessionId")
    assert event == {
        **WHO,
        **USE_FLAT,
        "total": 3,
        "plan": {"tier": "gold"},
        "createdAt": 1_700_000_000_500,
    }
    assert session == sessions.by_window("acme", "ann", 1_700_000_000_500)


@pytest.mark.parametrize(
    "kind", [dict, MappingProxyType, UserDict, lambda d: SimpleLazyObject(lambda: d)]
)
def test_one_nested_extra_makes_an_event(kind: Any) -> None:
    """Of any mapping type; only there can `module`, which `LogRecord` reserves, be a property."""
    event = event_of(
        EventFormatter(session="none", defaults={"sessionId": "s"}),
        record({"event": kind({**WHO, **USE})}),
    )
    assert event == {**WHO, **USE, "sessionId": "s", "createdAt": 1_700_000_000_500}
    with pytest.raises(KeyError):
        record({"module": "reports"})


def test_nested_overrides_flat() -> None:
    """Both together are one event; for a name in both, the nested value is used."""
    made = record(
        {**WHO, "action": "moduleEnd", "total": 1, "event": {**USE, "total": 2, "userId": "bob"}}
    )
    event = event_of(EventFormatter(), made)
    assert (event["action"], event["module"], event["total"]) == ("feature", "reports", 2)
    assert (event["accountId"], event["userId"]) == ("acme", "bob")
    assert "event" not in event


@pytest.mark.parametrize("side", ["flat", "nested"])
def test_the_action_may_be_flat_or_nested(side: str) -> None:
    """An action anywhere makes the call explicit, with all its extras."""
    flat, nested = {**WHO, "total": 1}, {"module": "m", "feature": "f"}
    (flat if side == "flat" else nested)["action"] = "feature"
    event = event_of(EventFormatter(), record({**flat, "event": nested}))
    assert {"action", "total", "module", "feature"} < set(event)


@pytest.mark.parametrize("other", ["click", 5, ["a"], ("action", "x"), b"action", True, {"action"}])
def test_an_event_extra_that_is_not_a_mapping(other: Any) -> None:
    """By itself it makes no event; in an explicit event it is an ordinary property."""
    formatter = EventFormatter(rules=[{"when": {"logger": "other"}, "event": USE}])
    assert formatter.event(record({**WHO, "event": other})) is None
    assert event_of(formatter, explicit(event=other))["event"] == other
    assert event_of(formatter, record({**WHO, "event": other}, name="other"))["action"] == "feature"


def test_a_record_without_an_action_is_skipped() -> None:
    """Without an action and a rule a record is not an event, whatever its extras are."""
    formatter = EventFormatter(fields={"accountId": "name"}, defaults=WHO)
    for extra in ({}, WHO, {"event": None}, {"event": {}}, {"event": WHO}, {"Action": "x"}):
        assert formatter.event(record(extra)) is None
        assert formatter.format(record(extra)) == ""
        assert formatter.filter(record(extra)) is False


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("", "empty"),
        (None, "wrong_type"),
        (0, "wrong_type"),
        (False, "wrong_type"),
        (["feature"], "wrong_type"),
        (math.nan, "wrong_type"),
    ],
)
@pytest.mark.parametrize("side", ["flat", "nested"])
def test_any_action_makes_the_call_explicit(side: str, action: Any, code: str) -> None:
    """An invalid action makes an invalid event, not a skipped record, and no rule runs."""
    formatter = EventFormatter(rules=[RULE])
    extra = {"action": action} if side == "flat" else {"event": {"action": action}}
    assert problems_of(formatter, record({**WHO, **extra})) == [(code, "action")]


def test_rules_do_not_apply_to_explicit_calls() -> None:
    """Not even for properties that the call does not have."""
    event = event_of(EventFormatter(rules=[RULE]), explicit())
    assert "module" not in event


def test_an_unknown_action_is_passed_on() -> None:
    """Only the server knows all actions."""
    event = event_of(EventFormatter(), explicit(action="pageView", feature=None))
    assert (event["action"], event["feature"]) == ("pageView", None)


NOISE = {
    "otelTraceID": "1",
    "otelSpanID": "2",
    "otelServiceName": "x",
    "otelTraceSampled": True,
    "dd.trace_id": "3",
    "dd.version": "4",
    "_private": 5,
    "__dunder": 6,
}
KEPT = {"hotel": 1, "dd_x": 2, "add.x": 3, "a_b": 4, "Otel": 5, "x-y": 6, "dd": 7}


def test_what_instrumentations_add_is_excluded_by_default() -> None:
    """By globs, on whole names and case-sensitively."""
    event = event_of(EventFormatter(), explicit(**NOISE, **KEPT))
    assert not set(NOISE) & set(event)
    assert {name: event[name] for name in KEPT} == KEPT


def test_a_given_exclude_replaces_the_default() -> None:
    """Names and globs, instead of the default ones."""
    made = explicit(**NOISE, internal_id=1, secret=2, order_a=3, order_ab=4)
    event = event_of(EventFormatter(exclude=["internal_*", "secret", "order_?", "[_]*"]), made)
    assert {"otelTraceID", "dd.version", "order_ab"} < set(event)
    assert not {"internal_id", "secret", "order_a", "_private"} & set(event)
    for none in (None, [], ()):
        assert set(NOISE) < set(event_of(EventFormatter(exclude=none), made))


def test_excluded_names_are_matched_whole() -> None:
    """A name without a wildcard excludes just that one."""
    event = event_of(EventFormatter(exclude=["a", "x.y", "b["]), explicit(a=1, ab=2, xzy=3, aa=4))
    assert "a" not in event
    assert {"ab", "xzy", "aa"} < set(event)


def test_what_fields_reads_from_is_not_a_property() -> None:
    """Objects such as the request, from which properties are read, are not properties."""
    fields = {"accountId": "tenant.slug", "userId": "user.id", "plan": "plan"}
    made = record(
        {
            **USE_FLAT,
            "tenant": {"slug": "acme"},
            "user": SimpleNamespace(id=7),
            "plan": "gold",
            "users": 3,
        }
    )
    event = event_of(EventFormatter(fields=fields), made)
    assert not {"tenant", "user"} & set(event)
    assert (event["accountId"], event["userId"], event["plan"]) == ("acme", "7", "gold")
    assert event["users"] == 3


def test_a_rule_made_event_has_only_named_properties() -> None:
    """It has extras with required names or in `include`, and the nested mapping."""
    formatter = EventFormatter(
        rules=[RULE],
        include=["order_*", "sku"],
        fields={"tier": "tenant.tier"},
        defaults={"product": "core"},
    )
    made = record(
        {
            **WHO,
            "sessionId": "s-1",
            "createdAt": 1_600_000_000_000,
            "order_id": 1,
            "sku": "x",
            "skus": 2,
            "my_order_id": 3,
            "tenant": {"tier": "gold"},
            "event": {"total": 5, "free": "word"},
            **NOISE,
        }
    )
    assert event_of(formatter, made) == {
        **WHO,
        **USE,
        "sessionId": "s-1",
        "createdAt": 1_600_000_000_000,
        "order_id": 1,
        "sku": "x",
        "tier": "gold",
        "product": "core",
        "total": 5,
        "free": "word",
    }


def test_an_included_extra_may_be_read_by_fields_too() -> None:
    """An extra in `include` is a property of a rule-made event, even if fields read from it."""
    formatter = EventFormatter(
        rules=[RULE], include=["tier"], fields={"plan": "tier"}, defaults=WHO
    )
    event = event_of(formatter, record({"tier": "gold"}))
    assert (event["tier"], event["plan"]) == ("gold", "gold")


def test_the_records_own_attributes_are_never_properties() -> None:
    """Not even if `include` matches everything."""
    formatter = EventFormatter(rules=[RULE], include=["*"], exclude=[], defaults=WHO)
    made = record({"a": 1})
    made.message, made.asctime = "formatted", "now"
    own = {*WHO, *USE, "createdAt", "sessionId"}
    assert set(event_of(formatter, made)) == {*own, "a"}
    made = explicit(a=1)
    made.message = "formatted"
    assert set(event_of(EventFormatter(exclude=[]), made)) == {*own - {"module"}, "a"}


def test_the_cache_of_extras_names_is_bounded() -> None:
    """Extras named after requests cannot fill the memory."""

    class Name(str):
        pass

    formatter = EventFormatter()
    alive: weakref.WeakSet[Name] = weakref.WeakSet()
    made = explicit()
    for number in range(10_000):
        name = Name(f"{'_' if number % 2 else ''}n{number}")
        alive.add(name)
        made.__dict__[name] = number
        assert (name in event_of(formatter, made)) is not bool(number % 2)
        del made.__dict__[name]
    del name
    assert len(alive) <= 5_000


LEVELS = ["nested", "flat", "rule", "fields", "context", "provider", "defaults"]


def subsets(levels: list[str]) -> list[tuple[str, ...]]:
    return [
        chosen
        for size in range(1, len(levels) + 1)
        for chosen in itertools.combinations(levels, size)
    ]


def event_from(levels: tuple[str, ...], *, rules: bool, name: str) -> dict[str, Any]:
    """Return the event of a call for which each level gives the same property."""
    gives = {level: {name: level} if level in levels else {} for level in LEVELS}
    formatter = EventFormatter(
        rules=[{"when": {"logger": "app"}, "event": {**USE, **gives["rule"]}}],
        fields={name: "holder.value"},
        context_provider=lambda: gives["provider"],
        defaults={"accountId": "a", "userId": "u", **gives["defaults"]},
    )
    extra: dict[str, Any] = {**gives["flat"], "event": dict(gives["nested"])}
    if not rules:
        extra["event"] |= USE
    if "fields" in levels:
        extra["holder"] = {"value": "fields"}
    with ExitStack() as stack:
        if "context" in levels:
            stack.enter_context(context.bound(**gives["context"]))
        return event_of(formatter, record(extra))


@pytest.mark.parametrize("name", ["accountId", "sessionId"])
@pytest.mark.parametrize("levels", subsets(LEVELS), ids=" ".join)
def test_precedence_in_rule_made_events(levels: tuple[str, ...], name: str) -> None:
    """The call, the rule, fields, bound and provided context, defaults: the first one wins."""
    assert event_from(levels, rules=True, name=name)[name] == levels[0]


@pytest.mark.parametrize("name", ["userId", "free"])
@pytest.mark.parametrize(
    "levels", subsets([level for level in LEVELS if level != "rule"]), ids=" ".join
)
def test_precedence_in_explicit_events(levels: tuple[str, ...], name: str) -> None:
    """Also without a rule, and for properties of any name."""
    assert event_from(levels, rules=False, name=name)[name] == levels[0]


def test_fields_that_find_nothing() -> None:
    """If there is nothing at the path, or None, context and defaults apply."""
    formatter = EventFormatter(
        fields={"accountId": "tenant.slug", "userId": "user.id", "plan": "plan.name"},
        defaults={"accountId": "d", "plan": "d"},
    )
    with context.bound(userId="c", plan="c"):
        event = event_of(formatter, record({**USE_FLAT, "user": {"id": None}, "plan": {"name": 0}}))
    assert (event["accountId"], event["userId"], event["plan"]) == ("d", "c", 0)


@pytest.mark.parametrize("value", ["", "-", "None", SafeString("-")])
def test_texts_in_fields_that_mean_no_value(value: str) -> None:
    """Access logs write `-` for nobody; the next source applies, or the event is invalid."""
    fields = {"accountId": "tenant", "userId": "user"}
    with context.bound(userId="bound"):
        event = event_of(EventFormatter(fields=fields), record({**USE_FLAT, **WHO, "user": value}))
        assert event["userId"] == "ann"  # the call's own
        extra = {"action": "feature", "tenant": "acme", "user": value}
        assert event_of(EventFormatter(fields=fields), record(extra))["userId"] == "bound"
    assert problems_of(EventFormatter(fields=fields), record(extra)) == [("missing", "userId")]


def test_which_texts_mean_no_value_is_configurable() -> None:
    """`no_value` replaces the default; an empty list means that every text is a value."""
    for no_value, value, is_kept in [
        (["n/a"], "n/a", False),
        (["n/a"], "-", True),
        ([], "None", True),
        (None, "-", True),
        (None, 0, True),
    ]:
        formatter = EventFormatter(fields={"plan": "tier"}, no_value=no_value, defaults=WHO)
        event = event_of(formatter, record({"action": "feature", "tier": value}))
        assert ("plan" in event) is is_kept


def test_fields_are_not_read_if_the_call_or_rule_has_the_property() -> None:
    """Reading an attribute of an ORM may cost a query."""
    reads: list[str] = []

    class User:
        @property
        def id(self) -> str:
            reads.append("id")
            return "read"

    formatter = EventFormatter(
        rules=[{"when": {"logger": "app"}, "event": {**USE, "userId": "ruled"}}],
        fields={"userId": "user.id"},
        defaults={"accountId": "a"},
    )
    assert event_of(formatter, record({"user": User()}))["userId"] == "ruled"
    assert event_of(formatter, record({**USE_FLAT, "user": User(), "userId": "x"}))["userId"] == "x"
    nested = {**USE, "userId": "y"}
    assert event_of(formatter, record({"user": User(), "event": nested}))["userId"] == "y"
    assert reads == []
    assert event_of(formatter, record({**USE_FLAT, "user": User()}))["userId"] == "read"
    assert reads == ["id"]


def lazy_user() -> SimpleLazyObject:
    """Return what Django's `request.user` is in an async view."""

    def fail() -> Any:
        raise SynchronousOnlyOperation("You cannot call this from an async context")

    return SimpleLazyObject(fail)


class Broken:
    """A user whose id raises."""

    @property
    def id(self) -> str:
        return None.name  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("user", [lazy_user, Broken, lambda: SimpleLazyObject(Broken)])
@pytest.mark.parametrize("way", ["fields", "rule"])
def test_an_identity_that_cannot_be_read_is_never_replaced(way: str, user: Any) -> None:
    """Neither context nor a default nor another path replaces it."""
    mapping: dict[str, Any] = {"fields": {"userId": "request.user.id", "accountId": "tenant"}}
    made = record({"request": SimpleNamespace(user=user()), "tenant": "acme", **USE_FLAT})
    if way == "rule":
        mapping = {
            "rules": [{"when": {"logger": "app"}, "event": {**USE, "userId": "{request.user.id}"}}],
            "fields": {"userId": "name", "accountId": "tenant"},
        }
        del made.__dict__["action"]
    formatter = EventFormatter(**mapping, defaults={"userId": "anonymous", "product": "core"})
    with context.bound(userId="somebody"), pytest.raises(InvalidEvent) as caught:
        formatter.event(made)
    [problem] = caught.value.problems
    assert (problem.code, problem.property) == ("unreadable", "userId")
    assert "request.user.id raised" in problem.message
    assert problem.event is not None
    assert "userId" not in problem.event
    assert (problem.event["accountId"], problem.event["product"]) == ("acme", "core")


@pytest.mark.parametrize("way", ["fields", "rule"])
@pytest.mark.parametrize("side", ["flat", "nested"])
def test_values_of_the_call_need_no_other_source(way: str, side: str) -> None:
    """The call's value wins, even if a rule or field cannot be read."""
    mapping: dict[str, Any] = {
        "rules": [{"when": {"logger": "app"}, "event": {**USE, "userId": "{request.user.id}"}}]
    }
    if way == "fields":
        mapping = {
            "rules": [{"when": {"logger": "app"}, "event": USE}],
            "fields": {"userId": "request.user.id"},
        }
    given_by = {"userId": "ann"} if side == "flat" else {"event": {"userId": "ann"}}
    made = record({"request": SimpleNamespace(user=lazy_user()), "accountId": "a", **given_by})
    assert event_of(EventFormatter(**mapping), made)["userId"] == "ann"


def test_every_property_that_cannot_be_read_is_reported() -> None:
    """Each property has its problem, with name and path."""
    fields = {"userId": "user.id", "plan": "user.plan.name", "accountId": "tenant.slug"}
    made = explicit(user=lazy_user(), tenant=SimpleLazyObject(Broken))
    made.__dict__.pop("userId")
    assert problems_of(EventFormatter(fields=fields), made) == [
        ("unreadable", "userId"),
        ("unreadable", "plan"),
    ]


def test_a_rule_that_cannot_be_evaluated_makes_the_event_invalid() -> None:
    """Even if a later rule matches, because that might be the event of another user."""
    rules = [
        {"when": {"request.user.is_staff": True}, "event": {**USE, **WHO, "userId": "staff"}},
        {"when": {"logger": "app"}, "event": {**USE, **WHO}},
    ]
    made = record({"request": SimpleNamespace(user=lazy_user())})
    assert problems_of(EventFormatter(rules=rules), made) == [("unreadable", "")]
    assert EventFormatter(rules=rules[:1]).event(made) is None
    assert event_of(EventFormatter(rules=rules), record())["userId"] == "ann"


@pytest.mark.parametrize("where", ["defaults", "fields"])
def test_an_action_is_refused_in_the_configuration(where: str) -> None:
    """Only a log call or a rule can give the action."""
    with pytest.raises(ValueError, match=f"{where}.*action"):
        EventFormatter(**{where: {"action": "feature"}})  # type: ignore[arg-type]


def test_a_provider_is_called_for_events_only() -> None:
    """Once for each event, and never for a record that is not one."""
    calls: list[int] = []

    def provide() -> Mapping[str, Any]:
        calls.append(1)
        return MappingProxyType(WHO)

    formatter = EventFormatter(context_provider=provide)
    assert formatter.event(record()) is None
    assert calls == []
    assert event_of(formatter, record(USE_FLAT))["userId"] == "ann"
    assert calls == [1]


def test_a_provider_may_return_nothing() -> None:
    """None and an empty mapping add nothing."""
    for nothing in (None, {}):
        formatter = EventFormatter(context_provider=lambda nothing=nothing: nothing, defaults=WHO)
        assert event_of(formatter, record(USE_FLAT))["userId"] == "ann"


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


def _raise(error: Exception) -> Any:
    raise error


class Torn(Mapping[str, Any]):
    """A mapping that cannot be read."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("torn")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("torn")

    def __len__(self) -> int:
        return 1

    def __contains__(self, key: object) -> bool:
        return False


@pytest.mark.parametrize(
    ("provide", "word"),
    [
        (lambda: _raise(RuntimeError("no database")), "no database"),
        (lambda: _raise(KeyError("user")), "user"),
        (lambda: _raise(Mute()), "Mute"),
        (lambda: "ann", "str"),
        (lambda: ["ann"], "list"),
        (lambda: 5, "int"),
        (lambda: {"action": "feature"}, "action"),
        (lambda: {"action": None}, "action"),
        (Torn, "torn"),
    ],
)
def test_an_event_is_sent_without_a_provider_that_fails(provide: Any, word: str) -> None:
    """If the call, a rule, a field or the context has the user; with a warning."""
    formatter = EventFormatter(
        rules=[{"when": {"logger": "ruled"}, "event": {**USE, **WHO}}],
        fields={"userId": "user"},
        context_provider=provide,
        defaults={"product": "core"},
    )
    flat = {"accountId": "acme", **USE, **USE_FLAT}
    del flat["module"]
    with context.bound(module="m"):
        for made in (
            explicit(),
            record({**flat, "user": "ann"}),
            record({**flat, "event": {"userId": "ann"}}),
            record(name="ruled"),
        ):
            event = event_of(formatter, made)
            assert (event["userId"], event["product"]) == ("ann", "core")
            [warning] = schema.warnings(event)
            assert (warning.code, warning.property) == ("context_provider", "")
            assert word in warning.message
            assert json.loads(formatter.format(made)) == event
        with context.bound(userId="ann"):
            assert event_of(formatter, record(flat))["userId"] == "ann"
    assert formatter.event(record()) is None


@pytest.mark.parametrize("missing", [("accountId",), ("userId",), ("accountId", "userId")])
def test_a_provider_that_fails_is_not_replaced_by_the_default_user(
    missing: tuple[str, ...],
) -> None:
    """The user it would have returned is unknown, so the event is invalid with that problem."""
    formatter = EventFormatter(
        context_provider=lambda: _raise(RuntimeError("no database")), defaults=WHO
    )
    made = explicit()
    for name in missing:
        delattr(made, name)
    assert problems_of(formatter, made) == [("missing", name) for name in missing]
    with pytest.raises(InvalidEvent, match="context_provider failed: RuntimeError: no database"):
        formatter.event(made)


def test_a_provider_that_fails_is_a_warning_of_the_handler() -> None:
    """The event is sent and `on_problem` called; without a user it is invalid."""
    told: list[Problem] = []
    with Collector() as collector:
        handler = FreshsuccessHandler(
            auth_key="a1",
            api_key="b2",
            endpoint=collector.url,
            on_problem=told.append,
            context_provider=lambda: _raise(LookupError("outside of a request")),
            defaults={"userId": "anonymous"},
        )
        for _ in range(3):
            handler.handle(record({"accountId": "acme", "userId": "ann", "action": "pageView"}))
        handler.handle(record({"accountId": "acme", "action": "pageView"}))
        assert handler.flush(10)
        handler.close()
        assert [event["userId"] for event in collector.events] == ["ann"] * 3
        assert handler.stats().invalid == 1
    assert [problem.code for problem in told] == ["context_provider"] * 3 + ["missing"]


@pytest.mark.parametrize(
    ("given_at", "expected"),
    [
        (1_600_000_000_000, 1_600_000_000_000),
        (1_600_000_000_000.25, 1_600_000_000_000.25),
        (0, 0),
        (-1, -1),
        (datetime.datetime(2026, 1, 31, 12, tzinfo=UTC), 1_769_860_800_000),
        (
            datetime.datetime(
                2026, 1, 31, 14, tzinfo=datetime.timezone(datetime.timedelta(hours=2))
            ),
            1_769_860_800_000,
        ),
        (datetime.datetime(2026, 1, 31, 12, 0, 0, 123_000, tzinfo=UTC), 1_769_860_800_123),
        (datetime.datetime(1960, 1, 1, tzinfo=UTC), -315_619_200_000),
    ],
)
def test_a_given_time_is_a_number_or_an_aware_datetime(given_at: Any, expected: float) -> None:
    """Numbers are milliseconds and are not changed."""
    assert event_of(EventFormatter(), explicit(createdAt=given_at))["createdAt"] == expected
    formatter = EventFormatter(fields={"createdAt": "at"})
    assert event_of(formatter, explicit(at=given_at))["createdAt"] == expected


@example(538_375_473_183)  # in floating point slightly less than that
@given(st.integers(10**11, 4 * 10**12))
def test_the_time_of_the_record_is_in_seconds(milliseconds: int) -> None:
    """The event has `created` in milliseconds."""
    event = event_of(EventFormatter(), record({**WHO, **USE_FLAT}, created=milliseconds / 1000))
    assert event["createdAt"] == milliseconds
    assert type(event["createdAt"]) is int


@pytest.mark.parametrize(
    ("given_at", "code"),
    [
        (None, "wrong_type"),
        ("", "wrong_type"),
        ("2026-01-31", "wrong_type"),
        (True, "wrong_type"),
        ([1], "wrong_type"),
        (datetime.date(2026, 1, 31), "wrong_type"),
        (datetime.datetime(2026, 1, 31), "naive_datetime"),
        (math.nan, "not_finite"),
        (math.inf, "not_finite"),
        (-math.inf, "not_finite"),
        (10**400, "not_finite"),
        (10**5000, "not_finite"),
        (-(10**5000), "not_finite"),
    ],
    ids=lambda value: str(value)[:20] if not isinstance(value, int) else type(value).__name__,
)
@pytest.mark.parametrize("session", ["window", "idle", "none"])
def test_an_invalid_time_is_a_problem(session: str, given_at: Any, code: str) -> None:
    """For every kind of session."""
    formatter = EventFormatter(session=session)
    extra = {"sessionId": "s"} if session == "none" else {}
    assert problems_of(formatter, explicit(createdAt=given_at, **extra)) == [(code, "createdAt")]


class Number(enum.IntEnum):
    SEVEN = 7


@pytest.mark.parametrize("name", ["accountId", "userId"])
@pytest.mark.parametrize(
    ("given_id", "expected"),
    [
        ("ann", "ann"),
        ("0", "0"),
        (" ", " "),
        (7, "7"),
        (0, "0"),
        (-1, "-1"),
        (10**30, "1" + "0" * 30),
        (Number.SEVEN, "7"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (SimpleLazyObject(lambda: "ann"), "ann"),
        (SimpleLazyObject(lambda: 7), "7"),
        (SimpleLazyObject(lambda: uuid.UUID(int=5)), "00000000-0000-0000-0000-000000000005"),
    ],
    ids=str,
)
def test_ids_are_sent_as_strings(name: str, given_id: Any, expected: str) -> None:
    """An int, a UUID, or a subclass or proxy of them, in the event and in the line."""
    made = explicit(**{name: given_id})
    assert event_of(EventFormatter(), made)[name] == expected
    assert json.loads(EventFormatter().format(made))[name] == expected


@pytest.mark.parametrize("name", ["accountId", "userId", "sessionId"])
@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "empty"),
        (None, "wrong_type"),
        (True, "wrong_type"),
        (False, "wrong_type"),
        (1.5, "wrong_type"),
        (math.nan, "wrong_type"),
        (math.inf, "wrong_type"),
        (b"ann", "wrong_type"),
        (["ann"], "wrong_type"),
        ({"id": "ann"}, "wrong_type"),
        (object(), "wrong_type"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_invalid_ids_are_problems(name: str, value: Any, code: str) -> None:
    """`bool`, None, the empty string, NaN, and all that is not a string, an int or a UUID."""
    assert problems_of(EventFormatter(), explicit(**{name: value})) == [(code, name)]


def test_all_problems_are_reported_together() -> None:
    """With code, property, message and the event as far as it was made."""
    made = record({"action": "", "userId": None, "createdAt": "now", "total": 5})
    with pytest.raises(InvalidEvent) as caught:
        EventFormatter().event(made)
    problems = caught.value.problems
    assert isinstance(caught.value, ValueError)
    assert [(p.code, p.property) for p in problems] == [
        ("missing", "accountId"),
        ("wrong_type", "userId"),
        ("wrong_type", "createdAt"),
        ("empty", "action"),
    ]
    for problem in problems:
        assert type(problem) is Problem
        assert problem.property in problem.message
        assert problem.event is not None
        assert problem.event["total"] == 5
        assert "sessionId" not in problem.event


def test_a_missing_session_is_a_problem_only_without_derived_sessions() -> None:
    """With `session: none` only the call has one."""
    assert problems_of(EventFormatter(session="none"), explicit()) == [("missing", "sessionId")]
    assert event_of(EventFormatter(session="none"), explicit(sessionId="s"))["sessionId"] == "s"


def test_window_sessions_depend_on_account_user_and_time() -> None:
    """The id is the same on every host: it depends on the event's time, in 30-minute windows."""
    at = 1_800_000 * 900_000
    formatters = [EventFormatter(), EventFormatter(session="window")]

    def session(**extra: Any) -> Any:
        found = {event_of(f, explicit(**extra))["sessionId"] for f in formatters}
        assert len(found) == 1
        return found.pop()

    first = session(createdAt=at)
    assert session(createdAt=at + 1_799_999) == first
    assert session(createdAt=datetime.datetime.fromtimestamp(at / 1000, UTC)) == first
    assert session(createdAt=at + 1_800_000) != first
    assert session(createdAt=at, userId="bob") != first
    assert session(createdAt=at, accountId="zeta") != first
    assert session(createdAt=at, userId=7) == session(createdAt=at, userId="7")
    assert session(createdAt=at, sessionId="mine") == "mine"


def test_idle_sessions_slide() -> None:
    """A session ends after 30 minutes without an event of its user."""
    formatter = EventFormatter(session="idle")
    minute = 60_000

    def session(at: int, user: str = "ann") -> Any:
        return event_of(formatter, explicit(createdAt=10**12 + at * minute, userId=user))[
            "sessionId"
        ]

    first = session(0)
    assert session(29) == session(58) == session(88) == first
    assert session(40, "bob") != first
    assert session(88 + 31) != first


some_values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.uuids()
)
some_extras = st.dictionaries(
    st.sampled_from(["accountId", "userId", "action", "sessionId", "createdAt", "total", "_x"]),
    some_values,
)


@given(some_extras, some_extras | st.none() | st.just("text"), st.sampled_from(["app", "other"]))
def test_event_format_and_filter_agree(extra: Any, nested: Any, name: str) -> None:
    """The line of a valid event, and nothing for another record."""
    formatter = EventFormatter(rules=[RULE], defaults={"accountId": "d"})
    made = record({**extra, "event": nested}, name=name)
    try:
        event = formatter.event(made)
    except InvalidEvent:
        event = None
    line = formatter.format(made)
    assert formatter.filter(made) is (event is not None) is (line != "")
    assert "\n" not in line
    if event is not None:
        arrived = json.loads(line)
        assert arrived.keys() == event.keys()
        assert (arrived["action"], arrived["accountId"]) == (event["action"], event["accountId"])


def test_a_line_is_the_event_as_compact_json() -> None:
    """Without a newline, and with non-ASCII characters."""
    formatter = EventFormatter(session="none")
    line = formatter.format(
        record({"event": {**WHO, **USE, "sessionId": "zoë", "total": math.nan}})
    )
    assert line == (
        '{"accountId":"acme","userId":"ann","action":"feature","module":"reports",'
        '"feature":"export","sessionId":"zoë","total":null,"createdAt":1700000000500}'
    )


def test_one_object_is_formatter_and_filter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rules stand once, each record is examined once, and an invalid event is reported once."""
    path = tmp_path / "events.ndjson"
    rule = {"when": {"message": "exported"}, "event": USE}
    with own_logging():
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "formatters": {"events": {"()": Counting, "rules": [rule]}},
                "filters": {"events": {"()": "cfg://formatters.events"}},
                "handlers": {
                    "file": {
                        "class": "logging.FileHandler",
                        "filename": str(path),
                        "formatter": "events",
                        "filters": ["events"],
                    }
                },
                "root": {"level": "DEBUG", "handlers": ["file"]},
            }
        )
        (handler,) = logging.getLogger().handlers
        assert handler.filters == [handler.formatter]
        log = logging.getLogger("app")
        for number in range(3):
            log.info("said", extra={**WHO, "action": "said", "number": number})
            log.info("no event")
            log.info("invalid", extra={**WHO, "action": "said", "userId": ""})
        log.info("exported", extra=WHO)
        log.info("broken", extra={**WHO, "action": "broken"})
        handler.close()
    assert isinstance(handler.formatter, Counting)
    assert handler.formatter.examined == 11
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert [event.get("number") for event in written] == [0, 1, 2, None]
    first, second = capsys.readouterr().err.splitlines()
    where = r"event from app \(test_formatter\.py:\d+\): "
    assert re.fullmatch(rf"fslog: {where}userId is empty.*\. Logged once for each kind", first)
    assert re.match(rf"fslog: {where}the event could not be made: ZeroDivisionError", second)


class Counting(EventFormatter):
    """Counts the records that are examined; the application's own code fails for one of them."""

    examined = 0

    def event(self, record: logging.LogRecord) -> dict[str, Any] | None:
        self.examined += 1
        if record.getMessage() == "broken":
            raise ZeroDivisionError
        return super().event(record)


def test_a_line_belongs_to_the_record_that_was_filtered() -> None:
    """Another record in between, or none, does not change what is written."""
    formatter = EventFormatter(session="none", defaults={"sessionId": "s", **WHO})
    one, other = (record({**USE_FLAT, "number": number}) for number in (1, 2))
    assert formatter.filter(one)
    assert json.loads(formatter.format(other))["number"] == 2
    assert json.loads(formatter.format(one))["number"] == 1
    assert formatter.filter(one)
    assert formatter.filter(other)
    assert json.loads(formatter.format(other))["number"] == 2
    assert formatter._filtered == {}


def test_what_fslog_logs_is_never_a_line() -> None:
    """A rule that fits every record does not fit fslog's own notices, as for the handler."""
    formatter = EventFormatter(rules=[{"when": {}, "event": USE}], defaults=WHO)
    made = record({}, name="fslog")
    with internal_work(lambda text: text):
        assert not formatter.filter(made)
        assert formatter.format(made) == ""
    assert formatter.filter(made)


def test_any_handler_can_write_valid_lines(tmp_path: Path) -> None:
    """A FileHandler with the class as formatter and as filter writes the valid events' lines."""
    path = tmp_path / "events.ndjson"
    arguments: dict[str, Any] = {
        "()": "fslog.EventFormatter",
        "rules": [
            {
                "when": {"logger": "fslog_test", "message": "exported %s rows"},
                "event": {**USE, "total": "{args.0}"},
            }
        ],
        "defaults": {"accountId": "acme"},
        "session": "window",
    }
    with Collector() as collector, own_logging():
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "formatters": {"events": dict(arguments)},
                "filters": {"events": dict(arguments)},
                "handlers": {
                    "file": {
                        "class": "logging.FileHandler",
                        "filename": str(path),
                        "encoding": "utf-8",
                        "formatter": "events",
                        "filters": ["events"],
                    }
                },
                "loggers": {
                    "fslog_test": {"level": "DEBUG", "handlers": ["file"], "propagate": False}
                },
            }
        )
        logger = logging.getLogger("fslog_test.x")
        logger.info("exported %s rows", 5, extra={"userId": "ann", "other": "no"})
        logger.info("nothing to see")
        logger.info("exported %s rows", 5)  # without a user: invalid
        logger.debug("explicit", extra={"userId": 7, "action": "feature", "note": "a\nb é\ud800"})
        logger.info("hostile", extra={"action": "x", "userId": SimpleLazyObject(lambda: 1 / 0)})
        logger.error("exported %s rows", math.nan, extra={"userId": uuid.UUID(int=1)})
        logging.getLogger("fslog_test").handlers[0].close()
        with urllib.request.urlopen(
            urllib.request.Request(
                f"{collector.url}/v1/auth-key/api-key", data=path.read_bytes(), method="POST"
            ),
            timeout=10,
        ) as answer:
            assert answer.status == 200
        events = collector.events
        assert (collector.invalid, len(path.read_bytes().splitlines())) == ([], 3)
    assert [event["userId"] for event in events] == [
        "ann",
        "7",
        "00000000-0000-0000-0000-000000000001",
    ]
    assert [event.get("total", "none") for event in events] == [5, "none", None]
    assert events[1]["note"] == "a\nb é\ufffd"
    assert "other" not in events[0]


class own_logging:
    """Restore the logging configuration after a `dictConfig`."""

    def __enter__(self) -> None:
        root = logging.getLogger()
        self._root = root, root.level, list(root.handlers), list(root.filters)
        self._known = set(logging.Logger.manager.loggerDict)
        self._list, self._names = list(logging._handlerList), dict(logging._handlers)

    def __exit__(self, *error: object) -> None:
        root, level, handlers, filters = self._root
        for name in set(logging.Logger.manager.loggerDict) - self._known:
            logger = logging.Logger.manager.loggerDict.pop(name)
            for handler in getattr(logger, "handlers", []):
                handler.close()
        root.setLevel(level)
        root.handlers[:], root.filters[:] = handlers, filters
        logging._handlerList[:] = self._list
        logging._handlers.clear()
        logging._handlers.update(self._names)


class NoZone(datetime.tzinfo):
    def utcoffset(self, at: datetime.datetime | None) -> datetime.timedelta:
        raise RuntimeError("no zone")


class BadText(str):
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    def __hash__(self) -> int:
        raise RuntimeError("no")

    __str__ = __repr__ = __len__ = __ne__ = __eq__  # type: ignore[assignment]


class NoClass:
    @property
    def __class__(self) -> Any:
        raise RuntimeError("no")


def _without(name: str, made: logging.LogRecord) -> logging.LogRecord:
    del made.__dict__[name]
    return made


def _created(at: Any) -> logging.LogRecord:
    made = explicit()
    made.created = at
    return made


HOSTILE = {
    **{f"without {name}": _without(name, explicit()) for name in sorted(explicit().__dict__)},
    **{f"created {at!s:.9}": _created(at) for at in (math.nan, math.inf, None, "now", 1e300)},
    **{f"ruled, without {name}": _without(name, record(WHO)) for name in sorted(record().__dict__)},
    **{
        f"{name} {type(value).__name__}": explicit(**{name: value})
        for name in ("accountId", "userId", "action", "sessionId", "createdAt", "event", "x")
        for value in (
            SimpleLazyObject(lambda: 1 / 0),
            BadText("x"),
            NoClass(),
            Torn(),
            datetime.datetime(2026, 1, 1, tzinfo=NoZone()),
            10**5000,
        )
    },
    "no name": logging.makeLogRecord({"msg": "x", "args": (1,)}),
    "nothing": logging.makeLogRecord({}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_record_is_an_event_skipped_or_invalid(kind: str) -> None:
    """`event` raises only InvalidEvent, and `filter` nothing."""
    formatter = EventFormatter(
        rules=[
            {"when": {"logger": "app", "message": "/x/", "x": "/./"}, "event": USE},
            {"when": {"logger": "app", "levelname": "INFO"}, "event": {**USE, "x": "a{args.0}"}},
        ],
        fields={"plan": "user.plan"},
        session="idle",
    )
    made = HOSTILE[kind]
    try:
        event = formatter.event(made)
    except InvalidEvent:
        event = None
    assert formatter.filter(made) is (event is not None)
    assert (formatter.format(made) != "") is (event is not None)


def test_an_event_extra_that_cannot_be_inspected_is_ignored() -> None:
    """A value whose class cannot be read is not a mapping."""
    assert EventFormatter().event(record({"event": NoClass()})) is None


def snapshot(made: logging.LogRecord) -> dict[str, Any]:
    return copy.deepcopy(made.__dict__)


def test_a_record_is_not_changed() -> None:
    """Neither its attributes, nor their order, nor their values."""
    formatter = EventFormatter(
        rules=[{"when": {}, "event": {**USE, "details": {"n": "{args.0.n}"}}}],
        fields={"accountId": "tenant.id", "createdAt": "at"},
        include=["*"],
        defaults={"plan": "x"},
    )
    tenant = {"id": 7, "more": [1, {"a": "b"}]}
    extras: list[dict[str, Any]] = [
        {"tenant": tenant, "userId": 7, "at": datetime.datetime(2026, 1, 1, tzinfo=UTC)},
        {"tenant": tenant, "event": {"userId": 7, "tags": [1]}},
        {"tenant": tenant, "event": {**USE, "userId": 7, "tags": [1], "createdAt": math.nan}},
        {"tenant": tenant, "action": "feature", "userId": uuid.UUID(int=1), "event": {}},
        {"tenant": tenant, "action": "", "_x": [1]},
    ]
    for extra in extras:
        made = record(extra, args=({"n": 5},))
        before, names = snapshot(made), list(made.__dict__)
        identities = {name: id(value) for name, value in made.__dict__.items()}
        formatter.filter(made)
        formatter.format(made)
        assert made.__dict__ == before
        assert list(made.__dict__) == names
        assert {name: id(value) for name, value in made.__dict__.items()} == identities


def test_the_event_is_independent() -> None:
    """A change of the event changes neither the record nor the next event."""
    formatter = EventFormatter(rules=[RULE], defaults={"product": "core"})
    made = record({"event": {**WHO, **USE}})
    for source in (made, record(WHO)):
        first = event_of(formatter, source)
        first["accountId"] = first["product"] = "changed"
        first.clear()
        assert event_of(formatter, source)["product"] == "core"
    assert made.__dict__["event"] == {**WHO, **USE}
    with context.bound(tier="gold"):
        event_of(formatter, made).clear()
        assert context.current() == {"tier": "gold"}


def test_later_changes_of_the_arguments_have_no_effect() -> None:
    """The constructor copies its arguments."""
    defaults, fields, exclude = {"product": "core"}, {"accountId": "tenant"}, ["x"]
    formatter = EventFormatter(defaults=defaults, fields=fields, exclude=exclude)
    defaults["product"] = fields["accountId"] = exclude[0] = "changed"
    event = event_of(formatter, record({**USE_FLAT, "userId": "u", "tenant": "acme", "x": 1}))
    assert (event["product"], event["accountId"], "x" in event) == ("core", "acme", False)


def test_one_formatter_serves_many_threads() -> None:
    """Threads that share a formatter do not share events."""
    formatter = EventFormatter(rules=[RULE], fields={"userId": "user.id"})
    wrong: list[Any] = []

    def work(number: int) -> None:
        with context.bound(accountId=f"a{number}"):
            for turn in range(300):
                made = record({"user": {"id": turn}, f"x{number}.{turn}": 1}, name=f"app.{turn}")
                event = formatter.event(made)
                if event is None or (event["accountId"], event["userId"]) != (
                    f"a{number}",
                    str(turn),
                ):
                    wrong.append((number, turn, event))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


@pytest.mark.parametrize(
    "positional", [(), (None,), (None, None), (None, None, "%"), (None, None, "%", True)]
)
def test_arguments_of_dictconfig_are_accepted(positional: tuple[Any, ...]) -> None:
    """For a formatter with `class:` it passes fmt, datefmt, style and perhaps validate."""
    assert EventFormatter(*positional).format(explicit())


@pytest.mark.parametrize("wrong", [{"fmt": "%(message)s"}, {"datefmt": "%Y"}])
def test_a_format_is_refused(wrong: dict[str, Any]) -> None:
    """A format string cannot define an event."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EventFormatter(**wrong)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"no_value": "-"}, TypeError, ["no_value", "str"]),
        ({"no_value": ["-", 5]}, TypeError, ["no_value", "5"]),
        ({"no_valeu": ["-"]}, TypeError, ["did you mean 'no_value'?"]),
        ({"fields": ["a"]}, TypeError, ["fields", "list"]),
        ({"fields": "a"}, TypeError, ["fields", "str"]),
        ({"fields": {5: "a"}}, TypeError, ["fields", "5"]),
        ({"fields": {"": "a"}}, ValueError, ["fields", "empty"]),
        ({"fields": {"userId": 5}}, (TypeError, ValueError), ["fields.userId", "5"]),
        ({"fields": {"userId": None}}, (TypeError, ValueError), ["fields.userId", "None"]),
        ({"fields": {"userId": ""}}, ValueError, ["fields.userId", "empty part"]),
        ({"fields": {"userId": "_x"}}, ValueError, ["fields.userId", "underscore"]),
        ({"fields": {"userId": "0.a"}}, ValueError, ["fields.userId", "number"]),
        ({"defaults": ["a"]}, TypeError, ["defaults", "list"]),
        ({"defaults": {5: "a"}}, TypeError, ["defaults", "5"]),
        ({"defaults": {"": "a"}}, ValueError, ["defaults", "empty"]),
        ({"include": "a"}, TypeError, ["include", "str"]),
        ({"include": 5}, TypeError, ["include", "int"]),
        ({"include": [5]}, TypeError, ["include", "5"]),
        ({"include": [""]}, ValueError, ["include", "empty"]),
        ({"exclude": "a"}, TypeError, ["exclude", "str"]),
        ({"exclude": b"a"}, TypeError, ["exclude", "bytes"]),
        ({"exclude": ["a", None]}, TypeError, ["exclude", "None"]),
        ({"session": "forever"}, ValueError, ["session", "'forever'", "window", "idle", "none"]),
        ({"session": 5}, TypeError, ["session", "int", "window", "idle", "none"]),
        ({"session": None}, (TypeError, ValueError), ["session", "None", "window"]),
        ({"context_provider": "myapp.actor"}, TypeError, ["context_provider", "str", "ext://"]),
        ({"context_provider": {}}, TypeError, ["context_provider", "dict"]),
        ({"rules": "x"}, TypeError, ["rules", "str"]),
        ({"rules": [{}]}, ValueError, ["rules[0]"]),
        ({"rulez": []}, TypeError, ["rulez"]),
    ],
    ids=repr,
)
def test_invalid_arguments_are_refused(
    arguments: dict[str, Any], error: Any, words: list[str]
) -> None:
    """The error has the name, the value and what is allowed."""
    with pytest.raises(error) as caught:
        EventFormatter(**arguments)
    for word in words:
        assert word in str(caught.value)
