"""At a glance: whether no rule can fit a record, for most records without looking at the rules.

Most of what an application logs is no event. Which rules may fit a logger's records is known, and
each of them needs its literal message, or a literal value of some attribute: where none of these is
there, no rule fits. A function is written that compares them all at once, by attribute.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from fslog.mapping.paths import RECORD_ATTRIBUTES

Glance = Callable[[logging.LogRecord], bool]
"""True: no rule can match the record. False, or an exception: run the rules."""

_ALWAYS_THERE = RECORD_ATTRIBUTES - {"asctime", "message", "taskName"}


@functools.lru_cache(maxsize=1024)
def glance(needed: frozenset[tuple[str, str]]) -> Glance:
    """Return the function of a logger each of whose rules needs one of these.

    It is the same for all loggers that need the same: there may be a logger for each request.

    Args:
        needed: names of attributes, and their values as text.

    >>> is_out = glance(frozenset({("msg", "sold %s"), ("levelname", "ERROR")}))
    >>> record = logging.LogRecord("app", 20, "", 0, "read %s", (3,), None)
    >>> is_out(record), is_out(logging.LogRecord("app", 20, "", 0, "sold %s", (3,), None))
    (True, False)
    """
    by_name: dict[str, set[str]] = {}
    for name, text in sorted(needed):
        by_name.setdefault(name, set()).add(text)
    code = ["def is_out(record):"]
    known: dict[str, Any] = {"type": type, "str": str, "getattr": getattr}
    for number, (name, texts) in enumerate(by_name.items()):
        known[f"texts{number}"] = frozenset(texts)
        # What is not there fulfils nothing; what is no text may have one of these texts.
        value = f"record.{name}" if name in _ALWAYS_THERE else f"getattr(record, {name!r}, '')"
        code.append(f" value = {value}")
        code.append(f" if type(value) is not str or value in texts{number}: return False")
    exec("\n".join([*code, " return True"]), known)
    made: Glance = known["is_out"]
    return made
