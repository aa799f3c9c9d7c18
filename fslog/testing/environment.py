"""Environment variables that are other ones for a while."""

from __future__ import annotations

import os
from collections.abc import Mapping

_overlays: list[Overlay] = []


class Overlay:
    """Set variables, and restore them; overlays may end in any order.

    Args:
        values: by name; None for a variable that is to be unset.

    >>> overlay = Overlay({"FSLOG_EXAMPLE": "1"})
    >>> overlay.begin(); os.environ["FSLOG_EXAMPLE"]
    '1'
    >>> overlay.end(); "FSLOG_EXAMPLE" in os.environ
    False
    """

    def __init__(self, values: Mapping[str, str | None]) -> None:
        self._values = values
        self._before: Mapping[str, str | None] = {}

    def begin(self) -> None:
        """Set the variables."""
        self._before = {name: os.environ.get(name) for name in self._values}
        _overlays.append(self)
        _set(self._values)

    def end(self) -> None:
        """Restore what was before; beneath a newer overlay, that one will."""
        at = _overlays.index(self)
        del _overlays[at]
        if at == len(_overlays):
            _set(self._before)
        else:
            _overlays[at]._before = self._before


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
