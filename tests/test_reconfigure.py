"""A second `dictConfig` closes all handlers under logging's lock: quickly, without a loss."""

from __future__ import annotations

import pytest

from fslog.collector import Answer, Collector
from needs import slow_but
from processes import STRICT, numbers, run

PROMPT_SECONDS = 2.5

CONFIGURE = """
    import logging.config
    import threading
    from counted import *

    def configure(on="root", **settings):
        began_at = time.monotonic()
        level = {"level": "INFO", "handlers": ["events"]}
        logging.config.dictConfig({
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"events": {"class": "fslog.FreshsuccessHandler", **settings}},
            "loggers": {} if on == "root" else {on: level},
            "root": level if on == "root" else {},
        })
        return time.monotonic() - began_at
    """


def test_while_the_endpoint_hangs_and_threads_log() -> None:
    """During a POST of several seconds `dictConfig` returns at once; all is delivered."""
    program = f"""{CONFIGURE}
    settings = {{"batch_events": 10, "shutdown_timeout": 30.0}}
    configure(**settings)
    enough = threading.Event()
    done = threading.Event()
    totals = {{}}
    def work(name):
        number = 0
        while not done.is_set() or number < 200:
            say(number, source=name)
            number += 1
            if number == 200:
                enough.set()
        totals[name] = number
    threads = [threading.Thread(target=work, args=(f"thread {{n}}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    enough.wait()
    tell(seconds=[configure(**settings) for _ in range(3)])
    done.set()
    for thread in threads:
        thread.join()
    tell(**totals)
    """
    with Collector() as collector:
        collector.script(Answer(delay=4.0))
        ended = run(program, collector.url)
        facts = ended.facts
        assert max(facts.pop("seconds")) < PROMPT_SECONDS
        assert len(facts) == 3
        for name, total in facts.items():
            # Handlers of one process deliver concurrently; each of them keeps the order.
            assert sorted(numbers(collector, name)) == list(range(total))


def test_an_endpoint_that_never_answers_does_not_delay_dict_config() -> None:
    """Ten calls of `dictConfig` while the endpoint hangs are quick, and the exit is bounded."""
    program = f"""{CONFIGURE}
    seconds = []
    for number in range(10):
        seconds.append(configure(shutdown_timeout=0.5))
        say(number)
    tell(seconds=seconds)
    leave()
    """
    with Collector() as collector:
        collector.always(Answer(then="hang"))
        ended = run(program, collector.url, err=None)
    assert max(ended.facts["seconds"]) < PROMPT_SECONDS
    assert ended.leaving_seconds < 0.5 + 7.0
    assert ended.err.count("abandoned ") == len(ended.err.splitlines()) == 10


def test_loggers_that_keep_the_closed_handler_deliver_on() -> None:
    """A logger that the second configuration does not name keeps its closed handler."""
    program = f"""{CONFIGURE}
    elsewhere = logging.getLogger("elsewhere")
    elsewhere.setLevel("INFO")
    configure(on="app")
    (kept,) = log.handlers
    say(1)
    configure(on="other")
    assert log.handlers == [kept]
    say(2)
    elsewhere.addHandler(kept)
    say(3, logger=elsewhere)
    assert kept.flush(10)
    say(4)
    assert balance(kept)["accepted"] == 4
    """
    with Collector() as collector:
        run(program, collector.url)
        assert numbers(collector) == [1, 2, 3, 4]


@pytest.mark.slow
def test_threads_end_after_many_reconfigurations() -> None:
    """After thirty calls of `dictConfig`, with events between, threads of closed handlers end."""
    program = f"""{CONFIGURE}
    for number in range(30):
        configure()
        say(number)
    handler, = logging.getLogger().handlers
    assert handler.flush(10)
    handler.close()
    for thread in threading.enumerate():
        if thread.name == "fslog":
            thread.join(10)
            assert not thread.is_alive()
    """
    with Collector() as collector:
        run(program, collector.url)
        assert sorted(numbers(collector)) == list(range(30))


def test_while_the_listener_wants_to_log() -> None:
    """A listener that reports an outage while another thread configures causes no deadlock."""
    program = f"""{CONFIGURE}
    class Slow(logging.Handler):
        # Made while dictConfig holds logging's lock, it gives the listener time to want it.
        def __init__(self):
            super().__init__()
            deadline = time.monotonic() + 0.3
            number = next(counter)
            say(number)
            for handler in old:
                assert handler.flush() is False
            while time.monotonic() < deadline:
                pass
        def handle(self, record):
            # Takes logging's lock, and does so without its own: a handler that held its own here
            # would deadlock with any thread that configures, in the standard library alone.
            logging.getLogger(f"new.{{record.lineno}}").isEnabledFor(10)
    import itertools
    counter = itertools.count()
    old = []
    handler = {{"class": "fslog.FreshsuccessHandler", "max_backoff": 0.05, "batch_events": 1}}
    for turn in range(4):
        began_at = time.monotonic()
        logging.config.dictConfig({{
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {{"events": handler, "slow": {{"()": Slow}}}},
            "loggers": {{"app": {{"handlers": ["events"]}}, "fslog": {{"handlers": ["slow"]}}}},
        }})
        tell(seconds=time.monotonic() - began_at)
        assert time.monotonic() - began_at < 4.0
        old[:] = log.handlers
        say(next(counter))
    """
    with Collector() as collector:
        collector.script(*[Answer(503), Answer(200)] * 4)
        run(program, collector.url)
        # The first event is logged before there is a handler.
        assert sorted(numbers(collector)) == list(range(1, 8))


@pytest.mark.parametrize(
    "how", slow_but(["dropped in a cycle"], ["dropped", "dropped in a cycle", "closed twice"])
)
def test_a_handler_without_references_delivers_and_its_thread_ends(how: str) -> None:
    """A handler that is not referenced delivers what it accepted, and then its thread ends."""
    program = f"""
        import gc
        import threading
        import weakref
        from counted import *
        handler = handle(flush_interval=0.2)
        say(1)
        while not (threads := [one for one in threading.enumerate() if one.name == "fslog"]):
            threading.Event().wait(0.01)  # it is being started
        (thread,) = threads
        log.removeHandler(handler)
        gone = weakref.ref(handler)
        if {how!r} == "dropped in a cycle":
            handler.itself = handler
        if {how!r} == "closed twice":
            handler.close()
            handler.close()
        del handler
        gc.collect()
        assert gone() is None
        thread.join(10)
        assert not thread.is_alive()
        tell(gone=True)
        import os
        os._exit(0)
        """
    with Collector() as collector:
        assert run(program, collector.url, flags=STRICT).facts == {"gone": True}
        assert numbers(collector) == [1]


def test_names_that_dict_config_treats_specially_are_not_used() -> None:
    """From 3.12 on `dictConfig` treats `QueueHandler`, `queue` and `listener` specially."""
    program = f"""{CONFIGURE}
    import logging.handlers
    configure()
    (handler,) = logging.getLogger().handlers
    assert not isinstance(handler, logging.handlers.QueueHandler)
    assert not hasattr(handler, "queue") and not hasattr(handler, "listener")
    assert logging.getHandlerByName("events") is handler if sys.version_info >= (3, 12) else True
    """
    with Collector() as collector:
        run(program, collector.url)


@pytest.mark.parametrize("respect", slow_but([True], [True, False]))
def test_behind_a_queue_handler_of_the_application(respect: bool) -> None:
    """Behind the application's own `QueueListener`, all events arrive in order."""
    program = f"""
        import logging.handlers
        import queue
        from counted import *
        from fslog import FreshsuccessHandler
        between = queue.Queue()
        log.addHandler(logging.handlers.QueueHandler(between))
        handler = FreshsuccessHandler()
        listener = logging.handlers.QueueListener(
            between, handler, respect_handler_level={respect}
        )
        listener.start()
        for number in range(50):
            say(number)
        listener.stop()
        assert balance(handler)["accepted"] == 50
        """
    with Collector() as collector:
        run(program, collector.url)
        assert numbers(collector) == list(range(50))


@pytest.mark.parametrize("spool", slow_but([""], ["", "spool='waiting'"]))
def test_newer_events_do_not_overtake_those_of_the_previous_handler(spool: str) -> None:
    """`dictConfig` during an outage: after it, the older events are posted first."""
    program = f"""{CONFIGURE}
    settings = dict(batch_events=10, flush_interval=0.05, max_backoff=0.3, {spool})
    for part in range(4):
        configure(shutdown_timeout=0.1, **settings)
        for number in range(25):
            say(part * 25 + number)
    (handler,) = logging.getLogger().handlers
    while handler.stats().delivered < 25:
        handler.flush(1.0)
    """
    with Collector() as collector:
        collector.script(*[Answer(503)] * 12)
        run(program, collector.url, deadline=60.0, err=None)
        assert numbers(collector) == list(range(100))


def test_a_corrected_destination_does_not_wait_for_the_previous_one() -> None:
    """A handler with other keys, or another proxy, posts although the previous one cannot."""
    program = f"""{CONFIGURE}
    configure(max_backoff=60.0, shutdown_timeout=0.1, proxy="http://127.0.0.1:9")
    say(1)
    configure(shutdown_timeout=0.1)
    say(2)
    (handler,) = logging.getLogger().handlers
    assert handler.flush(20)
    """
    with Collector() as collector:
        run(program, collector.url, deadline=60.0, err=None)
        assert numbers(collector) == [2]
