"""Problems and the exception that carries them (DESIGN 5.1, 5.2)."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from fslog.errors import InvalidEvent, Problem

EVENT = {"accountId": "acme", "userId": ""}
EMPTY = Problem("empty", "userId", "userId is empty; expected a string", EVENT)
MISSING = Problem("missing", "sessionId", "sessionId is missing")


def test_a_problem_has_the_four_parts_of_the_design_in_their_order() -> None:
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
    """A problem of something that never became an event has None for it."""
    assert MISSING.event is None


@pytest.mark.parametrize("name", ["code", "property", "message", "event"])
def test_a_problem_is_frozen(name: str) -> None:
    """What `on_problem` is given cannot be altered for those who are given it next."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(EMPTY, name, "other")


def test_problems_compare_by_what_they_say() -> None:
    """Two problems are equal exactly when all their parts are."""
    assert dataclasses.replace(EMPTY) == EMPTY
    assert dataclasses.replace(EMPTY, code="missing") != EMPTY
    assert dataclasses.replace(EMPTY, event=None) != EMPTY


def test_an_invalid_event_is_a_value_error() -> None:
    """Those who ask a formatter directly can catch `ValueError` and need no import."""
    with pytest.raises(ValueError, match="userId is empty"):
        raise InvalidEvent([EMPTY])


def test_an_invalid_event_carries_every_problem_in_order() -> None:
    """`problems` holds what was given, and a list that changes later does not change it."""
    given = [EMPTY, MISSING]
    error = InvalidEvent(given)
    given.clear()
    assert error.problems == (EMPTY, MISSING)


def test_an_invalid_event_reads_as_all_its_messages() -> None:
    """The text of the exception leaves no problem out."""
    text = str(InvalidEvent([EMPTY, MISSING]))
    assert EMPTY.message in text
    assert MISSING.message in text
    assert str(InvalidEvent([MISSING])) == MISSING.message


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))]
)
def test_an_invalid_event_survives_the_way_to_another_process(clone) -> None:
    """A process pool hands exceptions over by pickle: text and problems arrive."""
    error = InvalidEvent([EMPTY, MISSING])
    twin = clone(error)
    assert type(twin) is InvalidEvent
    assert twin.problems == error.problems
    assert str(twin) == str(error)
