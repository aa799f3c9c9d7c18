"""Problems, and the exception that has them."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from fslog.errors import InvalidEvent, Problem

EVENT = {"accountId": "acme", "userId": ""}
EMPTY = Problem("empty", "userId", "userId is empty; expected a string", EVENT)
MISSING = Problem("missing", "sessionId", "sessionId is missing")


def test_a_problem_has_four_parts() -> None:
    """`Problem(code, property, message, event)` can be built and read by position and by name."""
    assert [field.name for field in dataclasses.fields(Problem)] == [
        "code",
        "property",
        "message",
        "event",
    ]
    assert EMPTY.code == "empty"
    assert EMPTY.property == "userId"
    assert EMPTY.message == "userId is empty; expected a string"
    assert EMPTY.event is EVENT


def test_a_problem_needs_no_event() -> None:
    """If no event was made, `event` is None."""
    assert MISSING.event is None


@pytest.mark.parametrize("name", ["code", "property", "message", "event"])
def test_a_problem_is_frozen(name: str) -> None:
    """A callback cannot change a problem for the next one."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(EMPTY, name, "other")


def test_problems_compare_by_their_parts() -> None:
    """Two problems are equal exactly if all their parts are."""
    assert dataclasses.replace(EMPTY) == EMPTY
    assert dataclasses.replace(EMPTY, code="missing") != EMPTY
    assert dataclasses.replace(EMPTY, event=None) != EMPTY


def test_an_invalid_event_is_a_value_error() -> None:
    """Callers of a formatter can catch `ValueError` without an import."""
    with pytest.raises(ValueError, match="userId is empty"):
        raise InvalidEvent([EMPTY])


def test_an_invalid_event_carries_every_problem_in_order() -> None:
    """`problems` has the given ones; later changes of the list do not change it."""
    given = [EMPTY, MISSING]
    error = InvalidEvent(given)
    given.clear()
    assert error.problems == (EMPTY, MISSING)


def test_the_text_of_an_invalid_event_has_all_messages() -> None:
    """No problem is omitted."""
    text = str(InvalidEvent([EMPTY, MISSING]))
    assert EMPTY.message in text
    assert MISSING.message in text
    assert str(InvalidEvent([MISSING])) == MISSING.message


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))]
)
def test_an_invalid_event_can_be_pickled(clone) -> None:
    """A process pool passes exceptions by pickle: text and problems are kept."""
    error = InvalidEvent([EMPTY, MISSING])
    twin = clone(error)
    assert type(twin) is InvalidEvent
    assert twin.problems == error.problems
    assert str(twin) == str(error)
