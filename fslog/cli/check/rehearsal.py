"""Code that configures logging, run without what it would do to the world.

Inside the block every `FreshsuccessHandler`, whoever makes it, is a disabled one: its arguments
are checked as ever, and it makes no directory, thread or connection. What `dictConfig` and
`fileConfig` are called with is not done: an imported module may configure logging, and would open
its files.
"""

from __future__ import annotations

import contextlib
import functools
import logging.config
from collections.abc import Callable, Iterator
from typing import Any

from fslog import EventFormatter, FreshsuccessHandler, config


class Rehearsal:
    """Remember with which arguments handlers and formatters were made."""

    def __init__(self) -> None:
        self._given: list[tuple[Any, dict[str, Any]]] = []

    def note(self, made: Any, given: dict[str, Any]) -> None:
        """Remember one."""
        self._given.append((made, given))

    def given_to(self, made: Any) -> dict[str, Any]:
        """Return the arguments that a handler or a formatter was made with; empty if unknown."""
        return next((given for one, given in self._given if one is made), {})


@contextlib.contextmanager
def rehearsal() -> Iterator[Rehearsal]:
    """Keep what is done inside the block without effects; for a program of one thread.

    >>> with rehearsal() as rehearsed:
    ...     handler = FreshsuccessHandler(batch_events=7, session="none")
    >>> rehearsed.given_to(handler)
    {'batch_events': 7, 'session': 'none'}
    """
    made = Rehearsal()
    with contextlib.ExitStack() as stack:
        _replace(stack, FreshsuccessHandler, "__init__", functools.partial(_disabled, made))
        _replace(stack, EventFormatter, "__init__", functools.partial(_noted, made))
        for name in ("dictConfig", "fileConfig"):
            _replace(stack, logging.config, name, lambda original: _nothing)
        yield made


def _replace(
    stack: contextlib.ExitStack, owner: Any, name: str, wrap: Callable[[Any], Any]
) -> None:
    original = getattr(owner, name)
    setattr(owner, name, wrap(original))
    stack.callback(setattr, owner, name, original)


def _disabled(made: Rehearsal, original: Any) -> Any:
    @functools.wraps(original)
    def init(self: Any, *positional: Any, **given: Any) -> None:
        config.is_enabled(given.get("enabled"))
        original(self, *positional, **{**given, "enabled": False})
        made.note(self, given)

    return init


def _noted(made: Rehearsal, original: Any) -> Any:
    @functools.wraps(original)
    def init(self: Any, *positional: Any, **given: Any) -> None:
        original(self, *positional, **given)
        made.note(self, given)

    return init


def _nothing(*given: Any, **named: Any) -> None:
    """Stand in for `dictConfig` and `fileConfig`."""
