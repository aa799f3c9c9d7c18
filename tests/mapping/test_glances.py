"""At a glance: whether no rule can fit a record."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from fslog.mapping.glances import glance

NEEDED = frozenset(
    {("msg", "sold %s"), ("levelname", "ERROR"), ("method", "POST"), ("my key", "1")}
)


def record(**attributes: Any) -> logging.LogRecord:
    """Return a record that fulfils nothing of what is needed, but for what is given."""
    made = logging.LogRecord("app", 20, "app.py", 7, "read %s", (3,), None)
    made.__dict__.update(attributes)
    return made


def test_a_record_that_has_nothing_of_what_is_needed_is_out() -> None:
    """With other values, or no such attributes at all."""
    is_out = glance(NEEDED)
    assert is_out(record())
    assert is_out(record(method="GET", **{"my key": "2"}))


@pytest.mark.parametrize(
    "attributes",
    [{"msg": "sold %s"}, {"levelname": "ERROR"}, {"method": "POST"}, {"my key": "1"}],
    ids=str,
)
def test_one_of_what_is_needed_takes_a_look(attributes: dict[str, Any]) -> None:
    """Whichever attribute it is, its name a word or not."""
    assert not glance(NEEDED)(record(**attributes))


@pytest.mark.parametrize("name", ["msg", "levelname", "method", "my key"])
@pytest.mark.parametrize("value", [1, None, ["sold %s"], type("Text", (str,), {})("x")], ids=repr)
def test_what_is_no_text_takes_a_look(name: str, value: Any) -> None:
    """It may be compared by its text, which only the long way asks for."""
    assert not glance(NEEDED)(record(**{name: value}))


def test_where_nothing_is_needed_no_rule_can_fit() -> None:
    """A logger that no rule names."""
    assert glance(frozenset())(record(msg=None))


def test_two_values_of_one_attribute() -> None:
    """Each of them is enough."""
    is_out = glance(frozenset({("funcName", "sell"), ("funcName", "buy")}))
    assert is_out(record(funcName="read"))
    assert not is_out(record(funcName="sell"))
    assert not is_out(record(funcName="buy"))


def test_loggers_that_need_the_same_share_a_function() -> None:
    """There may be a logger for each request; a function is written once."""
    assert glance(frozenset(NEEDED)) is glance(frozenset(set(NEEDED)))


def test_names_and_values_are_data() -> None:
    """Whatever stands in a configuration, none of it is run."""
    hostile = "x') or open('/nowhere') #\n\"\\"
    is_out = glance(frozenset({(hostile, hostile)}))
    assert is_out(record())
    assert not is_out(record(**{hostile: hostile}))
