"""Context: properties of the current request, task or thread, such as its user.

Bound once, where the application knows them (in a middleware, in a task's first line), they are
added to every event until they are unbound. One `contextvars.ContextVar` holds them, so threads,
asyncio tasks and greenlets each have their own. The mapping is replaced, never changed: a task
cannot change what another has inherited from it.

`action` cannot be bound: it says what happened, which only a log call or a rule knows.
"""

from __future__ import annotations

import inspect
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import ContextDecorator
from contextvars import Context, ContextVar, copy_context
from functools import wraps
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar
from weakref import ref

from fslog.events import log_event

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


def renew() -> None:
    """Unbind all properties for a new request: no block that is open here restores any at its end.

    An earlier request left such a block open, in a generator that nobody has closed yet: what was
    bound before it is not of this request.
    """
    _blocks.set(None)
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

    _label = "context.bound"
    _restores_all = True

    def __init__(self, /, **properties: Any) -> None:
        self._properties = _checked(properties)

    def __enter__(self) -> None:
        self._enter(None)

    def _enter(self, stretch: _Stretch | None) -> None:
        before, outer = _bound.get(), _blocks.get()
        while outer is not None and outer.owner() is None:  # it ended in another context
            outer = outer.outer
        try:
            _blocks.set(_Block(ref(self), before, outer, stretch, self._restores_all))
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
                f"{self._label} cannot decorate the generator function {_name(function)}: "
                f"use `with {self._label}(...)` inside it, between two yields"
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


class module(bound):
    """Time what runs in a `with` block, or in a function, as the user's time in a module.

    At the end, also by an exception, one event `moduleEnd` is logged at INFO on the logger
    `fslog.events`, with the milliseconds as `timeSpent`. Its user is whoever was bound when the
    block began, or, if nobody was, whoever is bound at its end. While an inner block of the kind
    runs, also in a task or thread that inherited the context, the outer one is suspended: no time
    counts twice. Less than half a millisecond is no event. If the process forks in the block, the
    event is the parent's.

    Inside the block `module`, and `product` if it is given, are bound; what else is bound there
    stays. It decorates what `bound` does.

    Args:
        name: of the module.
        product: to which it belongs; None leaves the product that is bound.
        clock: monotonic seconds.

    Raises:
        TypeError, ValueError: a name that is not a string, or empty; it decorates a generator
            function.

    >>> with module("reports"):
    ...     dict(current())
    {'module': 'reports'}
    """

    _label = "context.module"
    _restores_all = False

    def __init__(
        self,
        name: str,
        /,
        *,
        product: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        given: dict[str, Any]
        given = {"module": name} if product is None else {"module": name, "product": product}
        for argument, value in given.items():
            if not isinstance(value, str):
                kind = "None" if value is None else f"of type {type(value).__name__}"
                raise TypeError(f"{argument} is {kind}; expected a string")
            if not value:
                raise ValueError(f"{argument} is empty; expected a non-empty string")
        super().__init__(**given)
        self._clock = clock
        self._open: dict[_Stretch, Context] = {}

    def __enter__(self) -> None:
        stretch = _Stretch(self._clock(), _timed())
        try:
            self._enter(stretch)
            self._open[stretch] = copy_context()
            if stretch.outer is not None:
                stretch.outer.suspend(stretch)
        except BaseException:  # a signal handler's: `__exit__` would not be called
            self._open.pop(stretch, None)
            stretch.end(stretch.began_at)
            _restore(self)
            raise

    def __exit__(self, *error: object) -> None:
        block = _block_of(self)
        try:
            if block is not None and block.stretch is not None:
                where = self._open.pop(block.stretch, None)
                if where is not None and "userId" in where.get(_bound, _EMPTY):
                    where.run(self._end, block.stretch)
                else:
                    self._end(block.stretch)
            elif self._open:
                self._end_elsewhere()
        finally:
            _restore(self)

    def _end_elsewhere(self) -> None:
        """End a block that began in another context, with the identity that was bound there.

        An async generator's may: the event loop closes it in any task, perhaps of another user. If
        several blocks of this object are open, nothing says which of them ended: no event.
        """
        is_certain = len(self._open) == 1
        stretch = next(iter(self._open))
        where = self._open.pop(stretch)
        if is_certain:
            where.run(self._end, stretch)
        else:
            stretch.end(self._clock())

    def _end(self, stretch: _Stretch) -> None:
        milliseconds = round(stretch.end(self._clock()) * 1000)
        if milliseconds > 0 and stretch.pid == os.getpid():
            event = {"action": "moduleEnd", **self._properties, "timeSpent": milliseconds}
            log_event("time in the module %s", self._properties["module"], event=event)

    def _recreate_cm(self) -> module:
        found = self._properties
        return module(found["module"], product=found.get("product"), clock=self._clock)


class _Merged(NamedTuple):
    """The time up to an instant in which a stretch was suspended, and what suspends it now."""

    seconds: float
    until: float
    running: tuple[_Stretch, ...]


_MANY = 32
"""How many inner stretches are kept before those that have ended are merged."""


class _Stretch:
    """The time of one block, without the time in which at least one inner block ran.

    Inner blocks may run at once, in tasks and threads that inherited the context, and end in any
    order, even after the outer one. So the outer one has them all, and subtracts the union of their
    times. No lock is waited for; what two threads do at once is done again without harm.
    """

    __slots__ = ("_inner", "_merged", "_merging", "began_at", "ended_at", "outer", "pid")

    def __init__(self, began_at: float, outer: _Stretch | None) -> None:
        self.began_at = began_at
        self.ended_at: float | None = None
        self.outer = outer
        self.pid = os.getpid()
        self._inner: deque[_Stretch] = deque()
        self._merged = _Merged(0.0, began_at, ())
        self._merging = threading.Lock()

    def suspend(self, inner: _Stretch) -> None:
        """Do not count the time of an inner stretch, from its begin to its end."""
        self._inner.append(inner)
        if len(self._inner) > _MANY and self._merging.acquire(blocking=False):
            try:
                found = self._inner.copy()
                self._merged = self._merge(found)
                for _ in found:
                    self._inner.popleft()
            finally:
                self._merging.release()

    def _merge(self, inner: Iterable[_Stretch]) -> _Merged:
        """Return what is merged together with further inner stretches.

        One that has ended, and began after one that still runs, is forgotten: the time of the
        latter covers it.
        """
        seconds, until, running = self._merged
        kept: list[_Stretch] = []
        for one in sorted({*running, *inner}, key=lambda found: found.began_at):
            if one.ended_at is None:
                kept.append(one)
            elif not kept and one.ended_at > until:
                seconds += one.ended_at - max(one.began_at, until)
                until = one.ended_at
        return _Merged(seconds, until, tuple(kept))

    def end(self, now: float) -> float:
        """Return the seconds that count; 0 if it has ended already."""
        if self.ended_at is not None:
            return 0.0
        self.ended_at = now
        # The inner ones first: one that is merged meanwhile is found twice, which changes nothing.
        inner = self._inner.copy()
        seconds, until, running = self._merge(inner)
        if running:
            seconds += max(0.0, now - max(running[0].began_at, until))
            if (outer := _not_ended(self.outer)) is not None:
                for one in running:
                    one.outer = outer
                    outer.suspend(one)
        return max(0.0, now - self.began_at - seconds)


def _not_ended(stretch: _Stretch | None) -> _Stretch | None:
    while stretch is not None and stretch.ended_at is not None:
        stretch = stretch.outer
    return stretch


def _timed() -> _Stretch | None:
    """Return the stretch of the innermost timed block in this context."""
    block = _blocks.get()
    while block is not None:
        if block.stretch is not None and block.stretch.ended_at is None:
            return block.stretch
        block = block.outer
    return None


class _Block(NamedTuple):
    """A `with` block that runs in this context, what was bound before it, and the outer block."""

    owner: ref[bound]  # weak: a block that no longer exists cannot end
    before: Mapping[str, Any]
    outer: _Block | None
    stretch: _Stretch | None
    restores_all: bool
    """Whether its end restores everything from before, and not only its own properties."""


def _block_of(owner: bound) -> _Block | None:
    """Return the innermost block of `owner` in this context."""
    block = _blocks.get()
    while block is not None and block.owner() is not owner:
        block = block.outer
    return block


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
        _bound.set(_restored(block, owner, _bound.get()))
    outer = block.outer
    if inner:
        last = inner.pop()
        outer = last._replace(
            before=_restored(block, owner, last.before),
            outer=outer,
            restores_all=last.restores_all or block.restores_all,
        )
    for kept in reversed(inner):
        outer = kept._replace(outer=outer)
    _blocks.set(outer)


def _restored(block: _Block, owner: bound, now: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is bound after the end of a block, if `now` is bound at its end."""
    before, own = block.before, owner._properties
    if block.restores_all:
        return before
    kept = {name: value for name, value in now.items() if name not in own}
    return {**kept, **{name: before[name] for name in own if name in before}}


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", None) or repr(function)


def _checked(properties: dict[str, Any]) -> dict[str, Any]:
    if "action" in properties:
        raise ValueError("action cannot be bound: it comes from a log call or from a rule")
    return properties
