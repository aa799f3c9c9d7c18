"""Properties whose values ought to be few: what takes very many is not a name but data.

Freshsuccess shows each feature, module and product as one of its own. `export_2026_03_01` makes a
new one every day, and none of them has numbers that mean anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise

from fslog.interrupts import unless_interrupt

PROPERTIES = ("action", "product", "module", "feature")

CODE = "many_names"

MOST = 500
"""How many values are plausible in one process."""

_SAMPLE = 100
"""How many lines of a batch are parsed at most."""

_MOST_CHARACTERS = 100
"""How much of a value is kept."""

_decode = json.JSONDecoder().decode


class Names:
    """Collect the names in samples of the lines that are posted, until there are too many.

    Args:
        report: called once for each property, with two values that resemble each other.
        most: how many values of a property are not too many.

    >>> names = Names(print, most=1)
    >>> names.sample([b'{"feature":"export_01"}\\n', b'{"feature":"export_02"}\\n'])
    feature export_01 export_02
    """

    def __init__(self, report: Callable[[str, str, str], None], most: int = MOST) -> None:
        self._report = report
        self._most = most
        self._values: dict[str, set[str]] = {name: set() for name in PROPERTIES}

    def sample(self, lines: list[bytes]) -> None:
        """Collect the names in some of the lines of a batch, evenly spaced. Never raises."""
        step = max(1, -(-len(lines) // _SAMPLE))
        for line in lines[::step] if self._values else ():
            try:
                event = _decode(line.decode())
            except unless_interrupt(ValueError, RecursionError):
                continue
            if isinstance(event, dict):
                for name in [*self._values]:
                    self._add(name, event.get(name))

    def _add(self, name: str, value: object) -> None:
        values = self._values[name]
        if not isinstance(value, str):
            return
        values.add(value[:_MOST_CHARACTERS])
        if len(values) > self._most:
            del self._values[name]
            self._report(name, *similar(values))


def similar(values: set[str]) -> tuple[str, str]:
    """Return the two values, of two or more, with the longest common beginning."""

    def common(pair: tuple[str, str]) -> int:
        same = (at for at, (one, other) in enumerate(zip(*pair, strict=False)) if one != other)
        return next(same, len(pair[0]))

    return max(pairwise(sorted(values)), key=common)
