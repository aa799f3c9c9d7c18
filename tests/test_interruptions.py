"""Exceptions of signal handlers at every possible place lose no event and send none twice.

Such as Ctrl-C, a task's soft time limit, or a timeout by SIGALRM. CPython calls signal handlers
after calls, at the beginning of functions, at the end of loop iterations, and inside calls that
wait. Each test raises at these places, one after the other, in fslog's code and in what it calls of
the standard library, and then goes on logging as the application would.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from fslog.collector import Collector
from needs import slow_but
from processes import numbers, run

STEP = int(os.environ.get("FSLOG_TEST_STEP", "41"))
SLOW_STEP = int(os.environ.get("FSLOG_TEST_SLOW_STEP", "17"))
"""The quick tests and the slow ones try one of so many places; 1 tries all."""

FULLY = ("Ctrl-C", "a task's time limit")
"""One that is an `Exception` and one that is not; of the others the slow tests try a fifth."""

INTERRUPTED = """
    import dis
    import faulthandler
    import gc
    import itertools
    import os
    import queue
    import signal
    import sys
    import threading
    import warnings
    import fslog
    import fslog.delivery.worker
    from counted import *

    home = os.path.dirname(fslog.__file__)
    files = (threading.__file__, queue.__file__)

    class Interrupt(Exception):
        pass

    def places(code):
        # The offsets of a function's instructions before which the interpreter may run a signal
        # handler, or in which it may wait and run one.
        found, before, nones = set(), None, 0
        for one in dis.get_instructions(code):
            name = one.opname
            calls = name.startswith("CALL") or name in ("PRECALL", "BEFORE_WITH", "SETUP_WITH")
            # A call with three constants ends a `with`: it waits for nothing.
            if calls and nones < 2 or before == "call" or before is None:
                found.add(one.offset)
            if "JUMP" in name and isinstance(one.argval, int) and one.argval < one.offset:
                found.add(one.argval)
            if name not in ("CACHE", "EXTENDED_ARG", "NOP", "PRECALL"):
                before = "call" if calls or name == "RESUME" else name
                is_none = name in ("LOAD_CONST", "LOAD_COMMON_CONSTANT") and one.argval is None
                nones = nones + 1 if is_none or name == "DUP_TOP" else 0
        return found

    def refuse_threads():
        def refuse(*arguments):
            raise RuntimeError("can't start new thread")
        fslog.delivery.worker._thread.start_new_thread = refuse
        # A socket is lost if the call that creates it is interrupted right after its creation.
        warnings.simplefilter("ignore", ResourceWarning)

    gc.disable()  # exceptions of finalizers are lost

    class Interrupting:
        # Raises before the nth of these places that this thread reaches.
        def __init__(self, n, exception):
            self.left = n
            self.exception = exception
            self.thread = threading.get_ident()
            signal.signal(signal.SIGINT, self.handle)
        def handle(self, number, frame):
            raise self.exception
        def is_watched(self, code):
            is_ours = code.co_filename.startswith(home) or code.co_filename in files
            return is_ours and code.co_name not in ("__del__", "_excepthook")
        def at(self, code, offset):
            if code not in known:
                known[code] = places(code) if self.is_watched(code) else ()
            if offset not in known[code]:
                return False
            if threading.get_ident() == self.thread:
                if self.left == 0:
                    self.left = -1
                    signal.raise_signal(signal.SIGINT)
                self.left -= 1
            return True
        def trace(self, frame, event, argument):
            if not self.is_watched(frame.f_code):
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                self.at(frame.f_code, frame.f_lasti)
            return self.trace
        def begin(self):
            # From 3.13 on sys.settrace reports instructions only from a function's second run on.
            if monitoring is None:
                sys._getframe(1).f_trace_opcodes = True  # or 3.12 would trace none
                sys.settrace(self.trace)
                return
            def at(code, offset):
                return None if self.at(code, offset) else monitoring.DISABLE
            monitoring.register_callback(TOOL, monitoring.events.INSTRUCTION, at)
            monitoring.set_events(TOOL, monitoring.events.INSTRUCTION)
        def end(self):
            if monitoring is None:
                sys.settrace(None)
            else:
                monitoring.set_events(TOOL, 0)

    known = {}
    TOOL = 4
    monitoring = sys.monitoring if sys.version_info >= (3, 13) else None
    if monitoring is not None:
        monitoring.use_tool_id(TOOL, "interrupting")

    def until_there_are_at_most(number, place):
        until = time.monotonic() + 20
        while len(found := [one for one in threading.enumerate() if one.name == "fslog"]) > number:
            if time.monotonic() > until:
                faulthandler.dump_traceback()
                raise AssertionError((place, found))
            threading.Event().wait(0.001)

    def interrupted(n, action, exception):
        # Do the action, interrupted at the nth place; return what it raised, None if nothing.
        interrupt = Interrupting(n, exception)
        interrupt.begin()
        try:
            action()
        except BaseException as error:
            interrupt.end()
            if error is not exception and not (
                error.__context__ is exception or error.__cause__ is exception
            ):
                raise
            return error, interrupt
        finally:
            interrupt.end()
        return None, interrupt
    """

EXCEPTIONS = {
    "Ctrl-C": "KeyboardInterrupt()",
    "a task's time limit": "Interrupt('time limit')",
    "a timeout": "TimeoutError('timeout')",
    "another": "RuntimeError('out of a signal handler')",
}

WITHOUT_THREADS = "flush without threads"

ACTIONS = {
    # The preparation, and the call that is interrupted.
    "the first log call": ("pass", "say(number)"),
    "the second log call, which compiles an encoder": ("say(next(count))", "say(number)"),
    "a log call that seals": (
        "say(next(count)); say(next(count)); say(next(count))",
        "say(number)",
    ),
    "flush": ("say(number)", "handler.flush(10)"),
    "close": ("say(number)", "handler.close()"),
    "a log call after close": ("say(next(count)); handler.close()", "say(number)"),
    WITHOUT_THREADS: ("refuse_threads(); say(number)", "handler.flush(10)"),
}


def program(action: str, exception: str, step: int, settings: str) -> str:
    """Return a program that interrupts an action at every `step`th place."""
    before, call = ACTIONS[action]
    return f"""{INTERRUPTED}
    import tempfile
    count = itertools.count()
    returned, raised, swallowed = [], [], []
    for place in itertools.count(0, {step}):
        spool = tempfile.mkdtemp(dir=".")
        handler = handle(batch_events=4, flush_interval=0.02, {settings})
        def begin():
            {before}
        def act():
            {call}
        number = next(count)
        begin()
        if place % 50 == 0:
            gc.collect()
        error, interrupt = interrupted(place, act, {EXCEPTIONS[exception]})
        (returned if error is None else raised).append(number)
        if error is None and interrupt.left == -1:
            swallowed.append(place)
        for again in range(3):
            last = next(count)
            say(last)
            returned.append(last)
        assert handler.flush(20), (place, handler.stats())
        stats = handler.stats()
        assert stats.pending == stats.abandoned == 0, (place, stats)
        assert stats.delivered == stats.accepted, (place, stats)
        # A second thread may have been started; it ends when it finds the first one.
        until_there_are_at_most(1, place)
        log.removeHandler(handler)
        handler.close()
        until_there_are_at_most(0, place)
        if error is None and interrupt.left >= 0:
            break
    tell(places=place, returned=returned, raised=raised, swallowed=swallowed, total=next(count))
    """


def judge(collector: Collector, facts: dict[str, Any], action: str) -> None:
    """Assert that each event whose call returned arrived once, and no event twice."""
    arrived = numbers(collector)
    # A POST that was interrupted in the main thread may have arrived, and is repeated.
    if action != WITHOUT_THREADS:
        assert len(arrived) == len(set(arrived)), "an event arrived twice"
    assert set(facts["returned"]) <= set(arrived), "an event was lost"
    assert facts["swallowed"] == [], "what a signal handler raised was swallowed"
    assert len(facts["raised"]) > 3


SPOOLS = {"in memory": "", "with a spool": "spool=spool"}

# What an interrupted flush has read from a spool stays on disk, see `test_writer`.
CASES = [
    (action, settings)
    for action in ACTIONS
    for settings in SPOOLS
    if (action, settings) != (WITHOUT_THREADS, "with a spool")
]


@pytest.mark.parametrize(
    "action", slow_but(["the first log call", "a log call that seals", "flush", "close"], ACTIONS)
)
def test_an_exception_out_of_a_signal_handler(action: str) -> None:
    """Wherever it is raised, the call raises it, and all other events arrive exactly once."""
    with Collector() as collector:
        text = program(action, "a task's time limit", STEP, SPOOLS["in memory"])
        judge(collector, run(text, collector.url, deadline=250.0).facts, action)


@pytest.mark.parametrize("action", slow_but(["close"], ["a log call that seals", "flush", "close"]))
def test_an_exception_while_time_is_tracked(action: str) -> None:
    """The same: what is derived may be lost, but no event."""
    with Collector() as collector:
        text = program(action, "Ctrl-C", STEP, "track_time=True")
        judge(collector, run(text, collector.url, deadline=250.0).facts, action)


@pytest.mark.slow
@pytest.mark.parametrize("exception", EXCEPTIONS)
@pytest.mark.parametrize(("action", "settings"), CASES)
@pytest.mark.timeout(600)
def test_any_exception_out_of_a_signal_handler_anywhere(
    action: str, exception: str, settings: str
) -> None:
    """The same at many more places, with several exceptions."""
    with Collector() as collector:
        step = SLOW_STEP if exception in FULLY else 5 * SLOW_STEP + 1
        text = program(action, exception, step, SPOOLS[settings])
        judge(collector, run(text, collector.url, deadline=590.0).facts, action)


@pytest.mark.parametrize("call", ["handler.flush(10)", "handler.close()"])
def test_what_an_interrupted_call_leaves_is_delivered_without_another(call: str) -> None:
    """The application needs no further call: the thread was woken, or wakes up by itself."""
    text = f"""{INTERRUPTED}
    count = itertools.count()
    for place in itertools.count(0, {STEP}):
        handler = handle(flush_interval=0.02)
        say(next(count))
        error, _ = interrupted(place, lambda: {call}, Interrupt())
        until = time.monotonic() + 20
        while (stats := handler.stats()).pending:
            assert time.monotonic() < until, (place, stats)
            time.sleep(0.001)
        assert stats.accepted == stats.delivered == 1, (place, stats)
        log.removeHandler(handler)
        handler.close()
        if error is None:
            break
    tell(places=place, total=next(count))
    """
    with Collector() as collector:
        facts = run(text, collector.url, deadline=250.0).facts
        assert facts["places"] > 20
        assert numbers(collector) == list(range(facts["total"]))
