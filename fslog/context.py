"""Context: properties of the current request, task or thread, such as its user.

Bound once, where the application knows them (in a middleware, in a task's first line), they are
added to every event until they are unbound. One `contextvars.ContextVar` holds them, so threads,
asyncio tasks and greenlets each have their own. The mapping is replaced, never changed: a task
cannot change what another has inherited from it.

`action` cannot be bound: it says what happened, which only a log call or a rule knows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import ContextDecorator
from contextvars import ContextVar
from functools import wraps
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar
from weakref import ref

_F = TypeVar("_F", bound=Callable[..., Any])

_EMPTY: Mapping[str, Any] = MappingProxyType({})
_bound: ContextVar[Mapping[str, Any]] = ContextVar("fslog.context", default=_EMPTY)
_blocks: ContextVar[_Block | None] = ContextVar("fslog.context.blocks", default=None)

current: Callable[[], Mapping[str, Any]] = _bound.get
"""Return the bound properties, as a mapping that must not be changed."""


def bind(**properties: Any) -> None:
    """Bind properties until `unbind`, `clear`, or the end of the task or thread.

    Args:
        properties: named as in the event (`accountId`).

    Raises:
        ValueError: `action` is among them.

    >>> bind(accountId="acme"); bind(userId="ann"); dict(current())
    {'accountId': 'acme', 'userId': 'ann'}
    >>> clear()
    """
    _bound.set({**_bound.get(), **_checked(properties)})


def unbind(*names: str) -> None:
    """Unbind the named properties; a name that is not bound is ignored.

    >>> bind(accountId="acme", userId="ann"); unbind("userId", "sessionId"); dict(current())
    {'accountId': 'acme'}
    >>> clear()
    """
    _bound.set({name: value for name, value in _bound.get().items() if name not in names})


def clear() -> None:
    """Unbind all properties."""
    _bound.set(_EMPTY)


class bound(ContextDecorator):
    """Bind properties during a `with` block, or during each call of a function.

    It decorates functions and coroutine functions. At the end the properties from before are
    restored, whatever the block did. A generator function is rejected: its body would run in its
    consumer's context, between the consumer's own log calls.

    Args:
        properties: as for `bind`.

    Raises:
        ValueError: `action` is among them.
        TypeError: it decorates a generator function.

    >>> with bound(accountId="acme"):
    ...     dict(current())
    {'accountId': 'acme'}
    >>> dict(current())
    {}
    """

    def __init__(self, /, **properties: Any) -> None:
        self._properties = _checked(properties)

    def __enter__(self) -> None:
        before, outer = _bound.get(), _blocks.get()
        while outer is not None and outer.owner() is None:  # it ended in another context
            outer = outer.outer
        try:
            _blocks.set(_Block(ref(self), before, outer))
            _bound.set({**before, **self._properties})
        except BaseException:
            # A signal handler may raise right after either, and `__exit__` would not be called.
            _restore(self)
            raise

    def __exit__(self, *error: object) -> None:
        _restore(self)

    def __call__(self, function: _F) -> _F:
        call = getattr(function, "__call__", None)  # noqa: B004 - its kind is needed
        if any(map(inspect.isgeneratorfunction, (function, call))) or any(
            map(inspect.isasyncgenfunction, (function, call))
        ):
            raise TypeError(
                f"context.bound cannot decorate the generator function {_name(function)}: "
                "use `with context.bound(...)` inside it, between two yields"
            )
        if any(map(inspect.iscoroutinefunction, (function, call))):
            return self._around_coroutine(function)  # type: ignore[return-value]
        return super().__call__(function)

    def _around_coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        async def inside(*args: Any, **kwargs: Any) -> Any:
            with self._recreate_cm():
                return await function(*args, **kwargs)

        return inside

    def _recreate_cm(self) -> bound:
        """Return an instance for one call, so that calls may overlap in threads and tasks."""
        return bound(**self._properties)


class _Block(NamedTuple):
    """A `with` block that runs in this context, what was bound before it, and the outer block."""

    owner: ref[bound]  # weak: a block that no longer exists cannot end
    before: Mapping[str, Any]
    outer: _Block | None


def _restore(owner: bound) -> None:
    """Restore the properties from before the innermost block of `owner`.

    `ContextVar.reset` cannot do this: blocks may end in another order than they began (generators),
    or in another context (an async generator that the event loop closes). Then the inner blocks
    keep their properties, and restore those from before the block that ended first; a context in
    which the block did not begin stays as it is.
    """
    inner: list[_Block] = []
    block = _blocks.get()
    while block is not None and block.owner() is not owner:
        inner.append(block)
        block = block.outer
    if block is None:
        return
    if not inner:
        _bound.set(block.before)
    outer = block.outer
    for number, kept in enumerate(reversed(inner)):
        outer = _Block(kept.owner, kept.before if number else block.before, outer)
    _blocks.set(outer)


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", None) or repr(function)


def _checked(properties: dict[str, Any]) -> dict[str, Any]:
    if "action" in properties:
        raise ValueError("action cannot be bound: it comes from a log call or from a rule")
    return properties
