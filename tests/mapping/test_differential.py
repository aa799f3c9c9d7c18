"""Compiled against plain: whatever is logged, a shape that was learned changes nothing."""

from __future__ import annotations

import pytest

from differential import run, seed
from fslog.mapping import compiled


def test_a_few_thousand_records_are_the_same_both_ways() -> None:
    """Configurations, contexts, calls and values at random: the same lines, problems and skips."""
    assert run(seed(), 5_000) > 250  # or nothing was compared


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_very_many_records_are_the_same_both_ways() -> None:
    """The same, as often as it takes to meet what is rare."""
    assert run(seed(), 200_000) > 15_000


@pytest.mark.parametrize(
    ("look", "number"),
    [("_check_event", 3), ("_check_names", 3)],
)
def test_a_shape_that_forgets_to_look_is_found(
    look: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one of the looks at a record the comparison fails, which so is no idle one."""
    monkeypatch.setattr(compiled._Compiler, look, lambda self: None)
    with pytest.raises(AssertionError, match="compiled"):
        run(number, 10_000)
