"""What a signal handler raised is told from what the interrupted code raised itself."""

from __future__ import annotations

import functools
import logging
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from fslog import FreshsuccessHandler
from fslog.interrupts import is_interrupt, new_lock


class TimeLimit(Exception):
    """What a signal handler raises."""


def plain(number: int, frame: FrameType | None) -> None:
    raise TimeLimit


def any_arguments(*given: Any) -> None:
    raise TimeLimit


def deleting(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise TimeLimit


class Handler:
    """Handlers that are methods."""

    def method(self, number: int, frame: FrameType | None) -> None:
        raise TimeLimit

    def deleting(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        raise TimeLimit

    __call__ = deleting


@pytest.mark.parametrize(
    "handler",
    [
        plain,
        any_arguments,
        deleting,
        Handler().method,
        Handler().deleting,
        Handler(),
        functools.partial(plain),
        lambda *given, **more: plain(*given),
    ],
)
def test_what_a_signal_handler_raises(handler: Callable[[int, FrameType | None], Any]) -> None:
    """However it takes its two arguments, and whatever it does with them."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(TimeLimit) as caught:
            signal.raise_signal(signal.SIGINT)
        assert is_interrupt(caught.value)
    finally:
        signal.signal(signal.SIGINT, before)


def looks_at_its_caller() -> None:
    caller = sys._getframe(1)
    raise LookupError(caller.f_code.co_name)


def is_told_of_its_caller(frame: FrameType) -> None:
    raise LookupError(frame.f_code.co_name)


def deletes_its_argument(value: int) -> None:
    del value
    raise LookupError


@pytest.mark.parametrize(
    "call",
    [
        lambda: looks_at_its_caller(),
        lambda: is_told_of_its_caller(sys._getframe()),
        lambda: deletes_its_argument(1),
    ],
)
def test_what_a_call_raises_itself(call: Callable[[], None]) -> None:
    """Also where it knows its caller's frame: a log call swallows it."""
    with pytest.raises(LookupError) as caught:
        call()
    assert not is_interrupt(caught.value)
    handler = FreshsuccessHandler(
        auth_key="auth-0f3b97", api_key="api-5c21de", enabled=True, context_provider=call
    )
    handler.handle(logging.makeLogRecord({"action": ""}))
    assert handler.stats().invalid == 1


def test_a_lock_is_released_whatever_a_signal_handler_raises() -> None:
    """A timer's signals interrupt a loop of `with` statements anywhere; others get the lock."""
    lock = new_lock()
    before = signal.signal(signal.SIGALRM, plain)
    try:
        for n in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.00002 + n % 50 * 0.000001)
                while True:
                    with lock:
                        pass
            except TimeLimit:
                assert not lock._is_owned()  # type: ignore[attr-defined]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
