"""The keywords of a plan's properties: what fits, and what the errors name."""

from __future__ import annotations

import datetime
import enum
from decimal import Decimal
from typing import Any

import pytest

from fslog.plan.keywords import TYPES, compile_property


class Format(str, enum.Enum):
    """A choice as applications declare it."""

    CSV = "csv"


class Strange(str):
    """A string whose own methods raise."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    def __hash__(self) -> int:
        raise RuntimeError("no")


FITS: list[tuple[Any, Any]] = [
    (None, object()),
    ({}, None),
    ({"type": "string"}, ""),
    ({"type": "string"}, Strange("x")),
    ({"type": "string"}, datetime.date(2026, 1, 31)),
    ({"type": "integer"}, 3),
    ({"type": "integer"}, 3.0),
    ({"type": "number"}, 3),
    ({"type": "number"}, Decimal("2.5")),
    ({"type": "boolean"}, True),
    ({"type": "object"}, {"a": 1}),
    ({"type": "array"}, (1, 2)),
    ({"type": "array"}, {1}),
    ({"type": "null"}, None),
    ({"type": "null"}, float("nan")),
    ({"type": ["string", "null"]}, None),
    ({"enum": ["csv", "xlsx"]}, "csv"),
    ({"enum": ["csv", "xlsx"]}, Format.CSV),
    ({"enum": [1]}, 1.0),
    ({"enum": [None, [1], {"a": 1}]}, [1]),
    ({"minimum": 1, "maximum": 2}, 1),
    ({"minimum": 1, "maximum": 2}, 2),
    ({"minimum": 1}, "a string has no minimum"),
    ({"pattern": "b"}, "abc"),
    ({"pattern": "^[0-9a-z-]{2,40}$"}, "acme"),
    ({"pattern": "b"}, 7),
    ({"maxLength": 2}, "äö"),
    ({"items": {"type": "integer"}}, [1, 2]),
    ({"items": {"type": "integer"}}, []),
]
BREAKS: list[tuple[Any, Any, str, str]] = [
    ({"type": "string"}, 3, "property_type", "p is an integer; expected a string"),
    ({"type": "string"}, None, "property_type", "p is null; expected a string"),
    ({"type": "integer"}, 2.5, "property_type", "p is 2.5; expected an integer"),
    ({"type": "integer"}, True, "property_type", "p is a boolean; expected an integer"),
    ({"type": "number"}, "3", "property_type", "p is a string; expected a number"),
    ({"type": "number"}, float("nan"), "property_type", "p is null; expected a number"),
    ({"type": "boolean"}, 1, "property_type", "p is an integer; expected a boolean"),
    ({"type": "object"}, [1], "property_type", "p is an array; expected an object"),
    (
        {"type": ["string", "null", "integer"]},
        [],
        "property_type",
        "p is an array; expected a string, an integer or null",
    ),
    (
        {"enum": ["csv", "xlsx"]},
        "cvs",
        "property_value",
        "p is 'cvs'; expected one of 'csv', 'xlsx'; did you mean 'csv'?",
    ),
    ({"enum": [1]}, True, "property_value", "p is True; expected 1"),
    ({"enum": [1]}, {}, "property_value", "p is an object; expected 1"),
    ({"minimum": 1}, 0, "property_value", "p is 0; expected at least 1"),
    ({"maximum": 1.5}, 2, "property_value", "p is 2; expected at most 1.5"),
    ({"pattern": "^a"}, "secret", "property_value", "p does not match the pattern ^a"),
    ({"maxLength": 1}, "secret", "property_value", "p has 6 characters; expected at most 1"),
    (
        {"items": {"type": "integer"}},
        [1, "x"],
        "property_type",
        "p[1] is a string; expected an integer",
    ),
    (
        {"items": {"items": {"maximum": 1}}},
        [[1], [1, 2]],
        "property_value",
        "p[1][1] is 2; expected at most 1",
    ),
]
MISTAKES: list[tuple[Any, type[Exception], str]] = [
    ("integer", TypeError, "e.properties.p is of type str; .*did you mean {type: integer}"),
    ({"typ": "x"}, ValueError, "the unknown keyword 'typ'; expected type, .*; did you mean 'type'"),
    ({"type": "int"}, ValueError, "p.type is 'int'; expected 'string', .*did you mean 'integer'"),
    ({"type": "float"}, ValueError, "did you mean 'number'"),
    ({"type": "strnig"}, ValueError, "did you mean 'string'"),
    ({"type": 3}, TypeError, "p.type is of type int"),
    ({"type": []}, ValueError, "p.type is an empty list"),
    ({"enum": "csv"}, TypeError, "p.enum is 'csv'; expected a list"),
    ({"enum": []}, ValueError, "p.enum is an empty list"),
    ({"enum": ["a"], "type": "integer"}, ValueError, r"p.enum\[0\] is a string; expected an inte"),
    ({"minimum": "1"}, TypeError, "p.minimum is '1'; expected a number"),
    ({"minimum": True}, TypeError, "p.minimum is True; expected a number"),
    ({"maximum": float("inf")}, ValueError, "p.maximum is inf; expected a finite number"),
    ({"minimum": 2, "maximum": 1}, ValueError, "p.minimum is 2; expected at most maximum, 1"),
    ({"type": "string", "minimum": 1}, ValueError, "p.minimum has no effect: the type is 'string'"),
    ({"type": "integer", "maxLength": 1}, ValueError, "p.maxLength has no effect"),
    ({"pattern": "("}, ValueError, r"p.pattern is '\('; expected a regular expression: missing"),
    ({"pattern": 3}, TypeError, "p.pattern is 3; expected a regular expression"),
    ({"maxLength": 1.5}, TypeError, "p.maxLength is 1.5; expected a whole number"),
    ({"maxLength": -1}, ValueError, "p.maxLength is -1; expected 0 or more"),
    ({"required": ["p"]}, TypeError, "p.required is of type list; expected true or false"),
    ({"items": {"minimum": "1"}}, TypeError, "p.items.minimum is '1'"),
    ({"description": 3}, TypeError, "p.description is 3; expected a string"),
]


@pytest.mark.parametrize(("given", "value"), FITS)
def test_a_value_fits(given: Any, value: Any) -> None:
    """Each keyword allows what JSON Schema allows, of the value as it is sent."""
    assert compile_property("e", "p", given).problem(value) is None


@pytest.mark.parametrize(("given", "value", "code", "message"), BREAKS)
def test_a_value_does_not_fit(given: Any, value: Any, code: str, message: str) -> None:
    """The code and the message say what is wrong, without strings that nobody listed."""
    assert compile_property("e", "p", given).problem(value) == (code, message)


@pytest.mark.parametrize(("given", "error", "message"), MISTAKES)
def test_a_mistake_is_named(given: Any, error: type[Exception], message: str) -> None:
    """The error names the event, the property, the keyword, and what is allowed."""
    with pytest.raises(error, match=message) as raised:
        compile_property("e", "p", given)
    assert "p" in str(raised.value)


@pytest.mark.parametrize("name", TYPES)
def test_a_value_of_one_type_breaks_the_others(name: str) -> None:
    """No value has two types, but that an integer is a number."""
    values = {
        "string": "x",
        "integer": 1,
        "number": 1.5,
        "boolean": True,
        "object": {},
        "array": [],
        "null": None,
    }
    planned = compile_property("", "p", {"type": name})
    fits = {other for other, value in values.items() if planned.problem(value) is None}
    assert fits == ({name, "integer"} if name == "number" else {name})


def test_an_error_of_a_common_property_names_it() -> None:
    """Without an event, the place is the section `common`."""
    with pytest.raises(ValueError, match=r"^common\.accountId\.type is 'text'.*'string'\?$"):
        compile_property("", "accountId", {"type": "text"})


def test_a_long_list_of_choices_is_shortened() -> None:
    """A message stays readable, whatever the plan lists."""
    found = compile_property("e", "p", {"enum": list(range(50))}).problem(77)
    assert found == (
        "property_value",
        "p is 77; expected one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9... (50 in all)",
    )


def test_a_number_of_thousands_of_digits_has_a_message() -> None:
    """No value makes the check itself fail."""
    found = compile_property("e", "p", {"maximum": 1}).problem(10**5000)
    assert found == ("property_value", "p is a number of thousands of digits; expected at most 1")
