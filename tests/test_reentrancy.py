"""Log calls inside log calls: from signal handlers, finalizers, and a value's own `__str__`."""

from __future__ import annotations

import pytest

from fslog.collector import Collector
from needs import nested, slow_but
from processes import numbers, run, said

SETTINGS = {
    "usual": "",
    "tiny batches": "batch_events=3",
    "little room": "batch_events=3, overflow='block', buffer_bytes=2000, compression=None",
}


@nested
@pytest.mark.parametrize(
    "settings",
    [pytest.param(name, marks=[pytest.mark.slow] * (name != "usual")) for name in SETTINGS],
)
def test_a_signal_handler_that_logs(settings: str) -> None:
    """A signal handler that logs each millisecond loses no event and keeps their order."""
    program = f"""
        import itertools
        import signal
        from counted import *
        handler = handle({SETTINGS[settings]})
        signals = itertools.count()
        going = [True]
        def interrupt(*_):
            say(next(signals), source="signal")
            # Armed anew here, so that on a slow machine no handler is interrupted for ever.
            if going:
                signal.setitimer(signal.ITIMER_REAL, 0.001)
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        for number in range({20_000 if settings == "usual" else 3_000}):
            say(number)
        going.clear()
        signal.setitimer(signal.ITIMER_REAL, 0)
        refused = handler.stats().refused
        tell(numbers=number + 1, signals=next(signals), refused=refused)
        """
    with Collector() as collector:
        ended = run(program, collector.url, err=None)
        facts = ended.facts
        assert ended.err == "" or facts["refused"]
        assert numbers(collector) == list(range(facts["numbers"]))
        _assert_signals(numbers(collector, "signal"), facts, settings)


def _assert_signals(arrived: list[int], facts: dict[str, int], settings: str) -> None:
    assert facts["signals"] > 20
    # Their own order is undefined: a signal interrupts the handler of the previous one.
    assert len(set(arrived)) == len(arrived)
    # Where there is no room, a call that broke into another cannot wait: it is refused.
    assert len(arrived) == facts["signals"] - facts["refused"]
    assert facts["refused"] == 0 or settings == "little room"


INTERRUPT = """
    import itertools
    import os
    import sys
    import threading
    import fslog
    from counted import *

    home = os.path.dirname(fslog.__file__)

    class Interrupt:
        # Calls a function before the nth instruction in fslog's own code, as a signal handler or
        # a finalizer may: at every place, and not only where chance has it.
        def __init__(self, n, function):
            self.left = n
            self.function = function
        def __call__(self, frame, event, argument):
            if not frame.f_code.co_filename.startswith(home):
                return None
            frame.f_trace_opcodes = True
            return self.at
        def at(self, frame, event, argument):
            if event == "opcode":
                if self.left == 0:
                    self.function()
                self.left -= 1
            return self.at

    def interrupted(action, function, prepare=lambda: None, step=1):
        # Do the action again and again, interrupted `step` instructions later each time.
        for n in itertools.count(0, step):
            prepare()
            interrupt = Interrupt(n, function)
            before = sys.gettrace()
            sys._getframe().f_trace_opcodes = True  # or 3.12 would trace none
            sys.settrace(interrupt)
            try:
                action()
            finally:
                sys.settrace(before)
            if interrupt.left >= 0:
                return n
    """

ACTIONS = {
    "a log call": ("", "lambda: say(next(outer))"),
    "a log call that seals": ("batch_events=2", "lambda: say(next(outer))"),
    "a log call that counts time": ("track_time=True", "lambda: say(next(outer))"),
    "a log call that has to wait": (
        "batch_events=2, overflow='block', buffer_bytes=600, compression=None, block_timeout=20",
        "lambda: say(next(outer))",
    ),
    "flush": ("", "lambda: (say(next(outer)), handler.flush(0))"),
    "stats": ("batch_events=2", "handler.stats"),
}


@nested
@pytest.mark.parametrize("action", slow_but(["a log call", "a log call that seals"], ACTIONS))
def test_a_log_call_at_any_instruction(action: str) -> None:
    """A log call before any instruction of another one loses no event and sends none twice."""
    settings, call = ACTIONS[action]
    program = f"""{INTERRUPT}
    handler = handle({settings})
    outer, inner = itertools.count(), itertools.count()
    places = interrupted({call}, lambda: say(next(inner), source="inner"))
    refused = handler.stats().refused
    tell(places=places, outer=next(outer), inner=next(inner), refused=refused)
    """
    with Collector() as collector:
        ended = run(program, collector.url, err=None)
        facts = ended.facts
        assert facts["places"] > 100
        assert facts["inner"] == facts["places"]
        assert sorted(numbers(collector)) == list(range(facts["outer"]))
        arrived = numbers(collector, "inner")
        assert len(arrived) == len(set(arrived)) == facts["inner"] - facts["refused"]
        # If there is no room, a re-entrant call cannot wait: its event is refused.
        assert (facts["refused"] == 0 and ended.err == "") or "wait" in action


@pytest.mark.parametrize(
    "inner",
    slow_but(["handler.close()"], ["handler.flush(10)", "handler.close()", "handler.stats()"]),
)
def test_other_calls_at_any_instruction_of_a_log_call(inner: str) -> None:
    """`flush`, `close` and `stats` inside a log call return at once, and nothing is lost."""
    program = f"""{INTERRUPT}
    handler = handle(batch_events=3)
    outer = itertools.count()
    longest = 0.0
    def inner():
        global longest
        began_at = time.monotonic()
        {inner}
        longest = max(longest, time.monotonic() - began_at)
    places = interrupted(lambda: say(next(outer)), inner)
    tell(places=places, outer=next(outer), longest=longest)
    """
    with Collector() as collector:
        facts = run(program, collector.url).facts
        assert facts["places"] > 100
        assert sorted(numbers(collector)) == list(range(facts["outer"]))
        assert facts["longest"] < 2.0


@nested
@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_the_first_log_call_of_all_at_any_instruction(step: int) -> None:
    """A log call during the start of the listener's thread does not start a second one."""
    program = f"""{INTERRUPT}
    def threads():
        return [thread for thread in threading.enumerate() if thread.name == "fslog"]
    outer, inner = itertools.count(), itertools.count()
    handler = handle()
    def end():
        handler.close()
        for thread in threads():
            thread.join(10)
        assert not threads()
    def first():
        say(next(outer))
        assert len(threads()) <= 1
        assert handler.flush(10)
    places = interrupted(first, lambda: say(next(inner), source="inner"), end, {step})
    tell(places=places, outer=next(outer), inner=next(inner))
    """
    with Collector() as collector:
        facts = run(program, collector.url).facts
        assert facts["places"] > 100
        assert numbers(collector) == list(range(facts["outer"]))
        assert numbers(collector, "inner") == list(range(facts["inner"]))


@nested
def test_a_text_that_logs() -> None:
    """A value whose `__str__` logs makes two events, the inner one before the outer one."""
    program = """
        from counted import *
        class Chatty:
            def __init__(self, number):
                self.number = number
            def __str__(self):
                say(self.number, source="inner")
                return "text"
        handle(batch_events=2, redact={"value": "keep"})
        for number in range(10):
            say(number, value=Chatty(number))
        """
    with Collector() as collector:
        run(program, collector.url)
        both = [(who, number) for number in range(10) for who in ("inner", "main")]
        assert said(collector) == both
        assert {event.get("value") for event in collector.events} == {"text", None}


def test_a_text_that_logs_itself_is_bounded() -> None:
    """A value whose `__str__` logs the value itself ends at the recursion limit."""
    program = """
        import fslog
        from counted import *
        class Endless:
            def __str__(self):
                say(1, source="inner", value=self)
                return "text"
        handle()
        say(1, value=Endless())
        say(2)
        """
    with Collector() as collector:
        run(program, collector.url, err=None)
        assert numbers(collector) == [1, 2]


@nested
@pytest.mark.parametrize(
    "settings", ["", pytest.param("batch_events=2, shutdown_timeout=90", marks=pytest.mark.slow)]
)
def test_finalizers_that_log_during_appends(settings: str) -> None:
    """Finalizers that log run anywhere in an append: each event arrives once."""
    program = f"""
        import gc
        import itertools
        from counted import *
        handler = handle({settings})
        begun, ended = itertools.count(), itertools.count()
        class Cycle:
            def __init__(self):
                self.itself = self
            def __del__(self):
                say(next(begun), source="finalizer")
                next(ended)
        gc.set_threshold(3, 1, 1)
        for number in range(1500):
            Cycle()
            say(number)
        gc.set_threshold(0)
        # A collection under way on the listener's thread makes this one do nothing.
        while repr(ended) != "count(1500)":
            gc.collect()
        tell(finalized=next(begun))
        """
    with Collector() as collector:
        facts = run(program, collector.url).facts
        assert facts["finalized"] == 1500
        assert numbers(collector) == list(range(1500))
        # From several threads: the listener's own runs finalizers too.
        assert sorted(numbers(collector, "finalizer")) == list(range(1500))


@nested
def test_a_finalizer_on_the_listeners_own_thread() -> None:
    """What a finalizer logs while fslog posts is accepted without waiting."""
    program = """
        import gc
        import threading
        from counted import *
        class Cycle:
            def __init__(self):
                self.itself = self
            def __del__(self):
                say(1, source=threading.current_thread().name)
                handler.flush()
        class Watch(logging.Handler):
            # urllib3's own records are made in the middle of a POST.
            def emit(self, record):
                if threading.current_thread().name == "fslog":
                    if garbage:
                        garbage.clear()
                        gc.collect()
        gc.disable()
        garbage = [Cycle()]
        handler = handle(overflow="block", buffer_bytes=400, batch_events=1, compression=None)
        logging.getLogger("urllib3").addHandler(Watch())
        logging.getLogger("urllib3").setLevel("DEBUG")
        say(1)
        assert handler.flush(10)
        assert not garbage
        tell(**balance(handler))
        """
    with Collector() as collector:
        run(program, collector.url)
        assert sorted(said(collector)) == [("fslog", 1), ("main", 1)]


@pytest.mark.slow
def test_a_handler_collected_during_a_log_call_of_another_one() -> None:
    """A handler that is collected while another one appends delivers its lines."""
    program = """
        import gc
        from counted import *
        other = logging.getLogger("other")
        other.setLevel("INFO")
        handle(batch_events=3)
        gc.set_threshold(5, 1, 1)
        for number in range(40):
            short = handle(other, flush_interval=0)
            say(number, source="short", logger=other)
            other.removeHandler(short)
            short.itself = short
            del short
            for again in range(10):
                say(10 * number + again)
        """
    with Collector() as collector:
        run(program, collector.url)
        assert sorted(numbers(collector, "short")) == list(range(40))
        assert numbers(collector) == list(range(400))


def test_a_finalizer_in_a_thread_that_has_not_reported_yet() -> None:
    """What is logged in the listener's new thread before `start` returns does not block."""
    program = """
        import itertools
        import threading
        from counted import *
        count = itertools.count()
        set_ident = threading.Thread._set_ident
        def log_first(thread):
            # As the garbage collector, which may run here and call a finalizer that logs.
            set_ident(thread)
            if thread.name == "fslog":
                say(next(count), source="finalizer")
                log.info("invalid", extra={"action": ""})
        threading.Thread._set_ident = log_first
        for number in range(20):
            handler = handle()
            say(number)
            assert handler.flush(10)
            handler.close()
            log.removeHandler(handler)
        tell(finalized=next(count))
        """
    with Collector() as collector:
        facts = run(program, collector.url, err=None, deadline=60.0).facts
        assert numbers(collector) == list(range(20))
        assert sorted(numbers(collector, "finalizer")) == list(range(facts["finalized"]))
        assert facts["finalized"] >= 20


@pytest.mark.slow
@pytest.mark.parametrize("settings", ["", "spool='waiting'"])
def test_finalizers_that_log_while_threads_start(settings: str) -> None:
    """Finalizers that log run during hundreds of starts of the thread: none blocks."""
    program = f"""
        import gc
        import itertools
        from counted import *
        count = itertools.count()
        class Cycle:
            def __init__(self):
                self.itself = self
            def __del__(self):
                say(next(count), source="finalizer")
        gc.set_threshold(7, 2, 2)
        for number in range(600):
            handler = handle({settings})
            for _ in range(3):
                Cycle()
            say(number)
            handler.close()
            log.removeHandler(handler)
        gc.set_threshold(0)
        """
    with Collector() as collector:
        run(program, collector.url, err=None, deadline=250.0)
        assert numbers(collector) == list(range(600))
