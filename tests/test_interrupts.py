"""Exceptions of signal handlers are distinguished from those of the interrupted code."""

from __future__ import annotations

import ast
import dis
import functools
import logging
import os
import signal
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import fslog
from fslog import FreshsuccessHandler
from fslog.interrupts import Suppressed, is_interrupt, new_lock, unless_interrupt


class TimeLimit(Exception):
    """Stand in for what a signal handler raises."""


def plain(number: int, frame: FrameType | None) -> None:
    raise TimeLimit


def any_arguments(*given: Any) -> None:
    raise TimeLimit


def deleting(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise TimeLimit


class Handler:
    """Signal handlers that are methods."""

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
    """It is found whatever its parameters are, and whatever it does with them."""
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
    """A function with its caller's frame is not a signal handler: a log call suppresses it."""
    with pytest.raises(LookupError) as caught:
        call()
    assert not is_interrupt(caught.value)
    handler = FreshsuccessHandler(
        auth_key="auth-0f3b97", api_key="api-5c21de", enabled=True, context_provider=call
    )
    handler.handle(logging.makeLogRecord({"action": ""}))
    assert handler.stats().invalid == 1


def times_out(number: int, frame: FrameType | None) -> None:
    raise TimeoutError


def interrupted_disk() -> None:
    """Handle a failing disk, interrupted by a timeout there."""
    try:
        signal.raise_signal(signal.SIGINT)
    except unless_interrupt(OSError):
        pass
    else:
        raise AssertionError("the handler did not run")


def interrupted_suppression() -> None:
    """The same with a `with`."""
    with Suppressed(OSError):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("call", [interrupted_disk, interrupted_suppression])
def test_a_time_out_is_not_a_failing_disk(call: Callable[[], None]) -> None:
    """`TimeoutError` is an `OSError`, but propagates if a signal handler raised it."""
    before = signal.signal(signal.SIGINT, times_out)
    try:
        with pytest.raises(TimeoutError):
            call()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_failing_disk_is_one() -> None:
    """An exception of the code itself is handled by the `except` clause."""
    with Suppressed(OSError):
        os.stat("/no/such/file")
    caught: Exception | None = None
    try:
        os.stat("/no/such/file")
    except unless_interrupt(OSError, ValueError) as error:
        caught = error
    assert isinstance(caught, FileNotFoundError)


APART = {"config/files.py", "cli", "viewer", "testing", "collector", "pytest_plugin.py"}
"""Modules that no log call runs."""

AT_THE_VERY_END = ("spool/writer.py", "write_during_shutdown")
"""There signal handlers no longer run, and modules may be half torn down."""

BROAD = {"OSError", "Exception", "RuntimeError", "TimeoutError"}


def broad_handlers() -> Iterator[tuple[str, str]]:
    """Yield the places that handle exceptions that a signal handler may have raised."""
    package = Path(fslog.__file__).parent
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        if place.parts[0] in APART or str(place) in APART:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)]:
            for node in ast.walk(function):
                if isinstance(node, ast.ExceptHandler) and node.type is not None:
                    caught = [node.type, *getattr(node.type, "elts", [])]
                elif isinstance(node, ast.Call) and "suppress" in ast.unparse(node.func):
                    caught = node.args
                else:
                    continue
                if BROAD & {one.id for one in caught if isinstance(one, ast.Name)}:
                    yield str(place), function.name


def test_no_handler_of_a_log_call_swallows_what_a_signal_handler_raised() -> None:
    """Each uses `except unless_interrupt(...)` or `with Suppressed(...)`."""
    assert set(broad_handlers()) == {AT_THE_VERY_END}


def test_a_lock_is_released_whatever_a_signal_handler_raises() -> None:
    """Signals interrupt `with` statements anywhere, and other threads still get the lock."""
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


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield a code object and those of the functions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="blocks have no tables of this form before")
@pytest.mark.parametrize(
    "module", sorted(Path(fslog.__file__).with_name("delivery").glob("*.py")), ids=lambda p: p.stem
)
def test_no_jump_leaves_a_block_for_an_instant(module: Path) -> None:
    """CPython 3.12 and 3.13 check for signals where a loop inside a block jumps to its start.

    If the loop ends in a condition, that jump is not in the block's exception table: what a signal
    handler raises there skips `finally`. Such a loop stands in a function of its own.
    """
    for code in codes(compile(module.read_text(encoding="utf-8"), str(module), "exec")):
        bytecode: Any = dis.Bytecode(code)
        found = {one.offset: one for one in bytecode}
        blocks = [
            (range(entry.start, entry.end), entry.target)
            for entry in bytecode.exception_entries
            if found[entry.target].opname == "PUSH_EXC_INFO"
        ]
        for one in found.values():
            if one.opname == "JUMP_BACKWARD":
                begin = {handler for block, handler in blocks if one.argval in block}
                end = {handler for block, handler in blocks if one.offset in block}
                assert begin <= end, f"{code.co_name}, line {one.positions.lineno}"
