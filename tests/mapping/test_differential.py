"""Compiled against plain: whatever is logged, a compiled encoder changes nothing."""

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
    assert run(seed(), 60_000) > 4_500


@pytest.mark.parametrize(
    ("check", "number"),
    [("_check_event", 3), ("_check_names", 3), ("_add_plan", 3)],
)
def test_an_encoder_without_a_check_is_found(
    check: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one of an encoder's checks the comparison fails: it can find differences."""
    monkeypatch.setattr(compiled._Compiler, check, lambda self, *given: None)
    with pytest.raises(AssertionError, match="compiled"):
        run(number, 10_000)
