"""Filters: equal properties, states, problems, and text as a person reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fslog.viewer.entries import Entry
from fslog.viewer.filters import Filter
from fslog.viewer.overview import overview
from fslog.viewer.queries import ApiError
from viewing import entries, event


def chosen(among: list[Entry], **query: str) -> list[int]:
    """Return the ids of the entries that a query selects."""
    return [entry.id for entry in Filter.from_query(query).select(among)]


PROPERTIES = {
    "action": "action",
    "account": "accountId",
    "user": "userId",
    "session": "sessionId",
    "module": "module",
    "feature": "feature",
}


@pytest.mark.parametrize(("name", "property"), PROPERTIES.items())
def test_a_property_must_be_equal(name: str, property: str) -> None:
    """Each filter compares one property, as a whole and case-sensitively."""
    some = entries(event(), event(**{property: "x"}), event(**{property: "X"}), event())
    assert chosen(some, **{name: "x"}) == [2]
    assert chosen(some, **{name: ""}) == [1, 2, 3, 4]


@pytest.mark.parametrize(("value", "text"), [(5, "5"), (True, "true"), (1.5, "1.5")])
def test_a_wrong_type_is_found_by_its_text(value: Any, text: str) -> None:
    """A filter for digits finds an account that is a number."""
    assert chosen(entries(event(accountId=value), event()), account=text) == [1]


def test_a_kind_of_problem_is_found_by_its_label_and_by_its_code() -> None:
    """Each label of the overview selects the entries that it counts."""
    some = entries(event(), event(userId=None), event(accountId=None, userId=None), b"no json")
    found = dict(overview(some, [])["problems"])
    assert found == {"missing userId": 2, "missing accountId": 1, "not_json": 1}
    for label, count in found.items():
        assert len(chosen(some, problem=label)) == count
    assert chosen(some, problem="missing") == [2, 3]
    assert chosen(some, problem="missing accountId", state="invalid") == [3]
    assert chosen(some, problem="userId") == chosen(some, problem="Missing userId") == []


@pytest.mark.parametrize("value", [[], {}, ["acme"], b"null"])
def test_structures_match_no_value(value: Any) -> None:
    """A list, an object or null as a property matches no value, and raises nothing."""
    one = value if isinstance(value, (list, dict)) else None
    raw = json.dumps({**event(), "accountId": one}).encode()
    assert chosen(entries(raw), account="acme") == []
    assert chosen(entries(raw), account="null") == []
    assert chosen(entries(raw)) == [1]


def test_a_line_that_is_not_an_object_has_no_properties() -> None:
    """Lines without an event match no filter of a property, but text."""
    some = entries(b"[1]", b"not json", b'"feature"')
    assert chosen(some, action="feature") == []
    assert chosen(some, q="feature") == [3]
    assert chosen(some, q="NOT JSON") == [2]


def test_states() -> None:
    """`state` is one of the three, or `problems` for warning and invalid."""
    some = entries(event(), event(module=None), event(userId=None))
    assert [entry.state for entry in some] == ["valid", "warning", "invalid"]
    for number, state in enumerate(("valid", "warning", "invalid"), 1):
        assert chosen(some, state=state) == [number]
    assert chosen(some, state="problems") == [2, 3]
    assert chosen(some, state="") == [1, 2, 3]
    with pytest.raises(
        ApiError,
        match=r"^state is 'bad'; expected valid, warning, invalid or problems$",
    ):
        Filter.from_query({"state": "bad"})


def test_the_request_of_a_line() -> None:
    """`request` selects the lines of one request; an invalid id is an error."""
    some = entries(event(), event(), event())
    for entry, request in zip(some, (7, 8, 7), strict=True):
        entry.request = request
    assert chosen(some, request="7") == [1, 3]
    assert chosen(some, request="") == [1, 2, 3]
    for wrong in ("x", "-1", "\u00b2", "9" * 99):
        with pytest.raises(ApiError, match="expected the id of a request"):
            Filter.from_query({"request": wrong})


def test_filters_are_joined_by_and() -> None:
    """An entry must match all filters."""
    some = entries(event(), event(userId="bob"), event(userId="bob", module=None))
    assert chosen(some, user="bob", state="valid", q="EXPORT") == [2]


def test_text_is_found_in_any_case() -> None:
    """Text search ignores case, also beyond ASCII."""
    some = entries(event(note="Zoë STRASSE"), event())
    assert chosen(some, q="zoË") == [1]
    assert chosen(some, q="straße") == [1]


def test_text_is_found_behind_escapes() -> None:
    """An escape is found by the character and by its spelling in the line."""
    some = entries(b'{"a":"Zo\\u00eb \\ud83d\\ude00 a\\/b"}', b'{"a":"x"}')
    for text in ("zoë", "\U0001f600", "a/b", "\\u00eb"):
        assert chosen(some, q=text) == [1]


def test_escapes_in_a_line_that_is_not_json() -> None:
    """In a line that is not JSON a backslash is a plain character."""
    some = entries(b"\\u00eb", b'{"a":"\\u00eb"')
    assert chosen(some, q="\\u00EB") == [1, 2]
    assert chosen(some, q="\xeb") == []


def test_text_is_found_in_messages() -> None:
    """Text search includes the messages of problems."""
    assert chosen(entries(event(), event(userId=None)), q="userid is missing") == [2]


def test_text_is_searched_in_bytes_that_are_not_utf8() -> None:
    """A line in another encoding is searched as far as it can be decoded."""
    assert chosen(entries(b'{"a":"\xfcber export"}'), q="ber EXPORT") == [1]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(value=JSON, text=st.text(max_size=3), name=st.sampled_from(list(PROPERTIES)))
def test_no_value_breaks_a_filter(value: Any, text: str, name: str) -> None:
    """No filter raises for any value, and text search finds every text in a value."""
    some = entries({PROPERTIES[name]: value, "b": text}, value)
    for state in ("valid", "problems"):
        Filter.from_query({name: text, "state": state, "q": text}).select(some)
    assert 1 in chosen(some, q=text)
