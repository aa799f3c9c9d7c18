"""Values with placeholders: what they become, what they are refused for, what they never call."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fslog.mapping.paths import MISSING, Unreadable
from fslog.mapping.templates import Names, Watch, compile_value, meant

MANY = 10**30


def names(*groups: str) -> Names:
    return Names(frozenset(groups))


def record(args: Any = (), **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("app.x", logging.INFO, "/srv/a.py", 1, "did %s", args, None)
    made.__dict__.update(extra)
    return made


def made(value: Any, groups: dict[str, str] | None = None, args: Any = (), **extra: Any) -> Any:
    """Return the value that a template has for a record."""
    groups = groups or {}
    constant, result = compile_value(value, names(*groups))
    return result if constant else result(record(args, **extra), groups)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "feature",
        5,
        1.5,
        True,
        None,
        Decimal("1.5"),
        [],
        {},
        [1, "a"],
        {"a": {"b": [1]}},
    ],
)
def test_what_has_no_placeholder_is_a_constant(value: Any) -> None:
    """It is known when it is compiled, with its type."""
    assert compile_value(value, names()) == (True, value)


def test_a_tuple_is_a_list() -> None:
    """JSON has no other sequence."""
    assert compile_value((1, ("a",)), names()) == (True, [1, ["a"]])


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{", "{"),
        ("}}", "}"),
        ("{{}}", "{}"),
        ("{{args.0}}", "{args.0}"),
        ("a{{b}}c", "a{b}c"),
        ("{{{{", "{{"),
        ("{{{args.0}}}", "{x}"),
        ("{{{{{args.0}}}}}", "{{x}}"),
        ("{args.0}}}", "x}"),
        ("{{{args.0}", "{x"),
    ],
)
def test_doubled_braces_are_braces(text: str, result: str) -> None:
    """As in Python's own format strings, also right beside a placeholder."""
    assert made(text, args=("x",)) == result


@given(st.text())
def test_any_text_can_be_written(text: str) -> None:
    """With its braces doubled every text is a constant."""
    assert compile_value(text.replace("{", "{{").replace("}", "}}"), names()) == (
        True,
        text,
    )


@given(st.text(alphabet="{}:.ab0_ int", max_size=24))
def test_any_text_is_compiled_or_a_value_error(text: str) -> None:
    """A configured text compiles, or is a ValueError; a log call never raises."""
    try:
        constant, make = compile_value(text, names("a", "b"))
    except ValueError:
        return
    if not constant:
        make(record((1,)), {"a": "1"})


OBJECT = SimpleNamespace(id=UUID(int=7))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "text",
        0,
        5,
        1.5,
        True,
        [1],
        {"k": 2},
        (1, 2),
        Decimal("0.10"),
        UUID(int=3),
        OBJECT,
    ],
    ids=str,
)
def test_alone_a_placeholder_keeps_the_type(value: Any) -> None:
    """The event gets the record's value itself, neither a copy nor its text."""
    assert made("{args.0}", args=(value, 1)) is value
    assert made("{thing}", thing=value) is value


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("report-{args.0}", "report-7"),
        ("{args.0}{args.1}", "7True"),
        ("{args.0}:{args.1}", "7:True"),
        (" {args.0}", " 7"),
        ("{logger}/{levelname}", "app.x/INFO"),
        ("{message}!", "did %s!"),
        ("{args.0:float}s", "7.0s"),
    ],
)
def test_embedded_a_placeholder_becomes_text(text: str, result: str) -> None:
    """Among other text, if only a blank or another placeholder, values are written as text."""
    assert made(text, args=(7, True)) == result


@pytest.mark.parametrize(
    ("text", "value", "result"),
    [
        ("{plan|tier}", {"plan": "pro", "tier": 1}, "pro"),
        ("{plan|tier}", {"tier": 1}, 1),
        ("{plan|tier}", {"plan": None, "tier": 1}, 1),
        ("{plan|tier}", {"plan": "", "tier": 1}, ""),
        ('{plan|tier|"none"}', {}, "none"),
        ('{plan|""}', {}, ""),
        ('{plan|"a|b: c"}', {}, "a|b: c"),
        ('on {plan|tier|"no plan"}', {}, "on no plan"),
        ("on {plan|tier}", {}, MISSING),
        ("{kind|plan}", {"plan": "pro"}, "of the group"),
    ],
)
def test_the_first_alternative_with_a_value_counts(
    text: str, value: dict[str, Any], result: Any
) -> None:
    """None is no value here; the last alternative may be a text."""
    assert made(text, {"kind": "of the group"} if "kind" in text else {}, **value) == result


def test_no_alternative_replaces_what_cannot_be_read() -> None:
    """An identity that exists and cannot be read never becomes another one."""

    class Broken:
        @property
        def id(self) -> str:
            raise RuntimeError("no database")

    for text in ('{user.id|other|"none"}', "{gone|user.id|other}", "{user.id|other:str}"):
        with pytest.raises(Unreadable, match=r"user\.id raised RuntimeError"):
            made(text, user=Broken(), other="bob")


def test_groups_win_over_attributes() -> None:
    """A named group `module` wins over the attribute `module` of every record."""
    assert made("{module}", {"module": "reports"}) == "reports"
    assert made("{module}-{name}", {"module": "reports"}) == "reports-app.x"
    assert made("{module}") == "a"


def test_a_group_without_a_match_is_missing() -> None:
    """For an optional group without a match the property is omitted."""
    constant, make = compile_value("{rest}", names("rest"))
    assert not constant
    assert make(record(), {}) is MISSING


@pytest.mark.parametrize(
    ("text", "value", "result"),
    [
        ("{v:int}", "42", 42),
        ("{v:int}", " 42\n", 42),
        ("{v:int}", "-3", -3),
        ("{v:int}", 3.9, 3),
        ("{v:int}", True, 1),
        ("{v:int}", Decimal(12), 12),
        ("{v:float}", "1.25", 1.25),
        ("{v:float}", 3, 3.0),
        ("{v:float}", Decimal("0.5"), 0.5),
        ("{v:str}", 7, "7"),
        ("{v:str}", UUID(int=3), "00000000-0000-0000-0000-000000000003"),
        ("{gone|v:int}", "42", 42),
        ('{gone|"7":int}', None, 7),
    ],
)
def test_conversions(text: str, value: Any, result: Any) -> None:
    """`:int`, `:float` and `:str` return values of exactly that type."""
    number = made(text, v=value)
    assert (number, type(number)) == (result, type(result))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("{v:int}", value) for value in ("", "x", "3.5", None, [], {}, object())],
        *[("{v:int}", value) for value in (float("nan"), float("inf"), "9" * 5000)],
        *[("{v:float}", value) for value in ("", "x", None, [1], "1,5", 10**400)],
        ("{v:str}", None),
        ("{v|gone}", None),
    ],
    ids=lambda value: str(value)[:12],
)
def test_what_cannot_be_converted_is_left_out(text: str, value: Any) -> None:
    """No conversion ever raises, alone or among text."""
    assert made(text, v=value) is MISSING
    assert made(f"v={text}", v=value) is MISSING


@pytest.mark.parametrize(
    "text",
    [
        "{args.1}",
        "{args.0.name}",
        "a{args.1}",
        "{args.0}{args.1}",
        "{user.id}",
        "{user.id}!",
    ],
)
def test_what_cannot_be_resolved_is_left_out(text: str) -> None:
    """One placeholder without a value makes the whole value missing."""
    assert made(text, args=("x",), user=SimpleNamespace()) is MISSING


def test_none_is_no_text() -> None:
    """Alone it is a value; among text it makes the whole value missing."""
    assert made("{args.0}", args=(None, 1)) is None
    assert made("report-{args.0}", args=(None, 1)) is MISSING


def test_placeholders_lie_in_lists_and_mappings() -> None:
    """At any depth; an item without a value is omitted from its list or mapping."""
    value = {
        "who": {"id": "{args.0:int}", "gone": "{args.5}", "fixed": 1},
        "list": ["{args.1}", "{args.5}", ["{args.0}", "{{}}"], {"k": "-{args.1}-"}],
        "constant": [1, {"a": "b"}],
    }
    assert made(value, args=("7", "x")) == {
        "who": {"id": 7, "fixed": 1},
        "list": ["x", ["7", "{}"], {"k": "-x-"}],
        "constant": [1, {"a": "b"}],
    }


def test_keys_are_no_templates() -> None:
    """Only values can have placeholders."""
    assert made({"{args.0}": "{args.0}"}, args=("x",)) == {"{args.0}": "x"}


def test_the_configuration_is_not_shared() -> None:
    """Later changes of the configured mapping or list have no effect."""
    config: dict[str, Any] = {"a": [1], "b": "{args.0}"}
    _, make = compile_value(config, names())
    config["b"] = "changed"
    config["a"].append(2)
    assert make(record(("x",)), {}) == {"a": [1], "b": "x"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "single '{'"),
        ("}", "single '}'"),
        ("a{b", "single '{'"),
        ("a}b", "single '}'"),
        ("{args.0}}", "single '}'"),
        ("{{args.0}", "single '}'"),
        ("{}", "empty"),
        ("{:int}", "empty"),
        ("{args.0:strg}", "did you mean 'str'?"),
        ("{args.0:text}", "'text'"),
        ("{args.0:INT}", "'INT'"),
        ("{args.0:}", "int, float or str"),
        ("{args.0:>5}", "'>5'"),
        ("{args.0:int:float}", "int, float or str"),
        ('{"none"}', "quotation mark"),
        ('{"none"|args.0}', "quotation mark"),
        ('{args.0|"none}', "quotation mark"),
        ('{args.0|"a"b}', "quotation mark"),
        ("{args.0|}", "empty"),
        ("{|args.0}", "empty"),
        ("{args.0|_x}", "underscore"),
        ("{0}", "number"),
        ("{0.name}", "number"),
        ("{_private}", "underscore"),
        ("{args.__x__}", "underscore"),
        ("{args.0.__class__}", "underscore"),
        ("{a..b}", "empty part"),
        ("{args.}", "empty part"),
        ("{args[0]}", "no source"),
        ("{a b}", "no source"),
        ("{total!r}", "no source"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda text: text, lambda text: {"a": ["x", text]}])
def test_a_wrong_placeholder_is_a_value_error(wrap: Any, text: str, words: str) -> None:
    """It is rejected when it is compiled, at any depth, and the error describes it."""
    with pytest.raises(ValueError, match=re.escape(words)):
        compile_value(wrap(text), names("group"))


class Watched(Watch):
    """Keep what a watch reports."""

    def __init__(self) -> None:
        self.reported: list[str] = []
        self.ends = 0
        super().__init__(self.reported.append, self._count)

    def _count(self) -> None:
        self.ends += 1


def test_a_placeholder_that_is_found_is_not_watched_any_more() -> None:
    """A value once, be it None, is enough; the watch ends when it was the last placeholder."""
    watch = Watched()
    make = compile_value({"a": "{rows}", "b": ["{user.id}"]}, Names(frozenset(), watch=watch))[1]
    assert watch.names() == ("rows", "user.id")
    make(record(rows=None), {})
    assert (watch.names(), watch.ends) == (("user.id",), 0)
    make(record(user={"id": 5}), {})
    assert (watch.names(), watch.ends) == ((), 1)
    for _ in range(3 * Watch.ENOUGH):
        make(record(), {})
    assert (watch.reported, watch.ends) == ([], 1)


def test_a_placeholder_that_is_found_on_no_record_is_reported_once() -> None:
    """The twentieth record without a value reports it, and not the nineteenth, or a later one."""
    watch = Watched()
    make = compile_value("{rows:int} {plan}", Names(frozenset(), watch=watch))[1]
    for _ in range(Watch.ENOUGH - 1):
        assert make(record(plan="x"), {}) is MISSING
    assert watch.reported == []
    make(record(plan="x"), {})
    assert watch.reported == ["rows"]
    make(record(rows=3, plan="x"), {})
    for _ in range(2 * Watch.ENOUGH):
        make(record(), {})
    assert (watch.reported, watch.ends) == (["rows"], 1)


def test_groups_and_attributes_of_every_record_are_not_watched() -> None:
    """They are optional, or certain; what cannot be read is there."""
    watch = Watched()
    values = ["{group}", "{taskName}", "{logger}", "{message}"]
    make = compile_value(values, Names(frozenset(["group"]), watch=watch))[1]
    for _ in range(2 * Watch.ENOUGH):
        make(record(), {})
    assert watch.names() == ()
    compile_value("{args.5} {event.plan}", Names(frozenset(), watch=watch))
    assert watch.names() == ("args.5", "event.plan")


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("mesage", "message"),
        ("faeture", "feature"),
        ("arg.0", "args.0"),
        ("feture.id", None),
        ("rows", None),
        ("message", None),
        ("feature", None),
    ],
)
def test_what_was_probably_meant(name: str, guess: str | None) -> None:
    """A group by itself, or the attribute with which a path begins."""
    assert meant(name, ["feature"]) == guess


class Hostile:
    """Count every access, and raise."""

    def __init__(self) -> None:
        self.__dict__["asked"] = []

    def _no(self, *args: Any) -> Any:
        self.__dict__["asked"].append(args)
        raise RuntimeError("not mine to tell")

    __str__ = __repr__ = __int__ = __float__ = __len__ = __iter__ = __getitem__ = _no
    __getattr__ = __format__ = __bool__ = __eq__ = __index__ = __contains__ = _no
    __hash__ = object.__hash__


def test_a_hostile_value_is_passed_on_untouched_when_alone() -> None:
    """The encoder reads it; a template does not."""
    hostile = Hostile()
    assert made("{args.0}", args=(hostile, 1)) is hostile
    assert hostile.asked == []


@pytest.mark.parametrize("text", ["x{args.0}", "{args.0:int}", "{args.0:float}", "{args.0.a}"])
def test_a_hostile_value_cannot_be_read_otherwise(text: str) -> None:
    """The value exists, and no other replaces it."""
    with pytest.raises(Unreadable, match="raised RuntimeError: not mine to tell"):
        made(text, args=(Hostile(), 1))
    with pytest.raises(Unreadable):
        made({"a": ["b", text]}, args=(Hostile(), 1))


def test_nothing_is_called() -> None:
    """Callables are omitted and not called, and a defaultdict does not grow."""
    calls: list[str] = []
    found: defaultdict[str, list[int]] = defaultdict(list)
    extra = {
        "user": SimpleNamespace(name=lambda: calls.append("name"), found=found),
        "f": lambda: calls.append("f"),
    }
    for text in ("{f}", "{user.name}", "a{f}", "{user.name:int}", "{user.found.gone}"):
        assert made(text, **extra) is MISSING
    assert (calls, dict(found)) == ([], {})


@pytest.mark.parametrize("index", [5, 10**6, MANY])
def test_indexes_beyond_the_end_are_missing(index: int) -> None:
    """However large they are."""
    assert made(f"{{args.{index}}}", args=(1, 2)) is MISSING


pieces = st.lists(
    st.one_of(
        st.text(alphabet="ab {}", max_size=3).map(lambda text: ("text", text)),
        st.sampled_from(["args.0", "args.1", "args.2", "word", "number"]).map(
            lambda place: ("place", place)
        ),
    ),
    max_size=6,
)


@given(pieces)
def test_it_agrees_with_a_plain_reading(parts: list[tuple[str, str]]) -> None:
    """Text is kept, a placeholder has the text of its value, or all is missing."""
    values: dict[str, Any] = {"args.0": 7, "args.1": "x", "word": "w", "number": 1.5}
    text = "".join(
        f"{{{part}}}" if kind == "place" else part.replace("{", "{{").replace("}", "}}")
        for kind, part in parts
    )
    visible = [(kind, part) for kind, part in parts if part]
    expected: Any
    if len(visible) == 1 and visible[0][0] == "place":
        expected = values.get(visible[0][1], MISSING)
    elif any(kind == "place" and part not in values for kind, part in visible):
        expected = MISSING
    else:
        expected = "".join(str(values[part]) if kind == "place" else part for kind, part in visible)
    assert made(text, args=(7, "x"), word="w", number=1.5) == expected
