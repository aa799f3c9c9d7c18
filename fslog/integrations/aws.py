"""AWS Lambda: events are delivered before an invocation ends, after which its process is frozen."""

from __future__ import annotations

import functools
import importlib
import logging
import math
import os
from collections.abc import Callable
from typing import Any

from fslog import config, context
from fslog.delivery import notices
from fslog.integrations.identity import require_callable
from fslog.interrupts import unless_interrupt
from fslog.net.redaction import internal_work

__all__ = ["flushed"]

VARIABLE = "FSLOG_LAMBDA_HANDLER"

_EXPECTED = "expected module.function or package/module.function"

_MARGIN_SECONDS = 0.2
"""What is left of the invocation's time for its response, if it is nearly over."""

Handler = Callable[..., Any]

_logged: dict[str, object] = {}


def flushed(timeout: float = 2.0) -> Callable[[Handler], Handler]:
    """Return a decorator for a Lambda handler that flushes all handlers at the end of each call.

    It flushes also if the function raises, and changes neither its result nor its exception. That
    events could not be delivered in time is logged once; they remain pending, and are sent in the
    next invocation of this process, if there is one. While the endpoint is unreachable, each
    invocation with events takes `timeout` longer.

    What the function binds in the context is unbound at its end: the next invocation in this
    process is somebody else's.

    Args:
        timeout: the most seconds to wait; 0.2 seconds of the invocation's own time are always left.

    Raises:
        TypeError, ValueError: `timeout` is not a number of seconds, or the decorated object is not
            a function without `async`.

    >>> @flushed(timeout=2)
    ... def lambda_handler(event, context):
    ...     return {"statusCode": 200}
    >>> lambda_handler({}, None)
    {'statusCode': 200}
    """
    from fslog import flush  # here, and not in an invocation: it loads the network code

    if callable(timeout):
        raise TypeError("timeout is a function; write @flushed(), with parentheses")
    most = config.seconds("timeout", timeout, zero=True)

    def decorate(function: Handler) -> Handler:
        require_callable("handler", function, is_async=False)

        @functools.wraps(function)
        def handle(*args: Any, **kwargs: Any) -> Any:
            try:
                with context.bound():
                    return function(*args, **kwargs)
            finally:
                if not flush(min(most, _seconds_left(*args[1:2], **kwargs))):
                    _say_pending(most)

        return handle

    return decorate


def _seconds_left(context: Any = None, **_: Any) -> float:
    """Return how long a flush may take without being what ends the invocation."""
    try:
        left = float(context.get_remaining_time_in_millis())
    except unless_interrupt(Exception):  # no context of the runtime: a test's
        return math.inf
    return max(0.0, left / 1000 - _MARGIN_SECONDS)


def _say_pending(seconds: float) -> None:
    mark = object()
    if _logged.setdefault("pending", mark) is mark:
        with internal_work(str):
            notices.log(
                logging.WARNING,
                f"events were not delivered at the end of an invocation (timeout {seconds:g} s): "
                "the next one in this process sends them, if there is one. Logged once",
            )


def _load(name: str | None) -> Handler:
    """Return the function that the environment names, decorated.

    Raises:
        ValueError, ImportError, TypeError: it does not name one; the message has the name. No
            `AttributeError`: the runtime would replace it by a message of its own.
    """
    if not name:
        raise ValueError(f"{VARIABLE} is not set; {_EXPECTED}: that of your own handler")
    path, _, function = name.rpartition(".")
    module = path.replace("/", ".")
    if not function or not all(module.split(".")):
        raise ValueError(f"{VARIABLE} is {name!r}; {_EXPECTED}")
    if module == __name__:
        raise ValueError(
            f"{VARIABLE} is {name!r}, which is fslog's; {_EXPECTED} of your own handler"
        )
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        is_missing = f"{module}.".startswith(f"{error.name}.")
        hint = f"; {_EXPECTED}" if is_missing else ""
        raise ImportError(f"{VARIABLE} is {name!r}: {error}{hint}") from error
    found = getattr(loaded, function, None)
    if not callable(found):
        names = [one for one, value in vars(loaded).items() if callable(value)]
        near = config.nearest(function, names)
        hint = f"did you mean {near!r}?" if near else _EXPECTED
        raise ValueError(f"{VARIABLE} is {name!r}, but {module} has no such function; {hint}")
    return flushed()(found)


def __getattr__(name: str) -> Any:
    if name != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # The runtime asks once, in the environment's initialization.
    globals()["handler"] = handler = _load(os.environ.get(VARIABLE))
    return handler
