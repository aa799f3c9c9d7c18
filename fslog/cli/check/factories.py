"""What a class or a function of a logging configuration makes, told without calling it."""

from __future__ import annotations

import functools
from typing import Any


def makes(factory: Any, kind: type) -> bool:
    """Return whether a class is of a kind, or a function seems to make something of that kind.

    A function is not called, it might open a file; but it is looked which classes it names.

    Args:
        factory: what stands at `class` or at `()`; anything else makes nothing.

    >>> makes(functools.partial(TimeoutError, "late"), OSError), makes(KeyError, OSError)
    (True, False)
    >>> makes(lambda: TimeoutError(), TimeoutError), makes(lambda: open("a.log"), TimeoutError)
    (True, False)
    """
    while isinstance(factory, functools.partial):
        factory = factory.func
    if isinstance(factory, type):
        return issubclass(factory, kind)
    owner = getattr(factory, "__self__", None)
    if isinstance(owner, type) and issubclass(owner, kind):
        return True
    names = getattr(getattr(factory, "__code__", None), "co_names", ())
    scope = getattr(factory, "__globals__", {})
    known = [scope.get(name) for name in names]
    return kind.__name__ in names or any(isinstance(k, type) and issubclass(k, kind) for k in known)
