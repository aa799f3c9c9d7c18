"""Under `gevent.monkey.patch_all()` the listener is a greenlet, and all promises hold."""

from __future__ import annotations

import pytest

from exits import TROUBLED, WAYS_OUT
from fslog.collector import Answer, Collector
from processes import GEVENT, numbers, run, said
from rawserver import RawServer, hang

pytestmark = pytest.mark.slow

PATCHED = ("-X", "dev", "-m", "gevent.monkey", "program.py")
"""The program runs patched from its first line on. Warnings of gevent's own are its own."""

PATCH = """
    from gevent import monkey
    monkey.patch_all()
    import gevent
    from counted import *
    """


@pytest.mark.parametrize(
    "way",
    [
        "the end of the program",
        "sys.exit inside a function that logs once more",
        "a thread that outlives the main one",
        "an atexit callback registered after fslog was imported",
        "an atexit callback registered before fslog was imported",
        "logging that was shut down before",
        "a handler that was thrown away",
        "os._exit after a flush",
    ],
)
def test_one_record_then_the_end_arrives(way: str) -> None:
    """The only event of a patched process arrives, whatever ends it."""
    with Collector() as collector:
        run(WAYS_OUT[way], collector.url, flags=PATCHED, settings=GEVENT)
        assert numbers(collector) == [1]


def test_greenlets_threads_and_order() -> None:
    """Of a hundred greenlets that yield all the time, each event arrives once, in order."""
    program = f"""{PATCH}
    handler = handle(batch_events=7)
    def work(name):
        for number in range(30):
            say(number, source=name)
            gevent.sleep(0)
    gevent.joinall([gevent.spawn(work, f"{{n}}") for n in range(100)], raise_error=True)
    assert balance(handler)["accepted"] == 3000
    assert handler.flush(20)
    """
    with Collector() as collector:
        run(program, collector.url, flags=("-X", "dev"))
        for name in range(100):
            assert numbers(collector, f"{name}") == list(range(30))


def test_an_endpoint_that_hangs_blocks_no_greenlet() -> None:
    """While a POST hangs, and while `flush` waits, other greenlets go on."""
    program = f"""{PATCH}
    handler = handle(batch_events=2, shutdown_timeout=0.3)
    ticks = []
    def tick():
        while True:
            ticks.append(time.monotonic())
            gevent.sleep(0.01)
    ticker = gevent.spawn(tick)
    for number in range(10):
        say(number)
        gevent.sleep(0)
    assert handler.flush(0.7) is False
    gevent.sleep(0)
    tell(ticks=len(ticks), longest=max(b - a for a, b in zip(ticks, ticks[1:])))
    leave()
    """
    with Collector() as collector:
        collector.always(Answer(then="hang"))
        ended = run(program, collector.url, flags=("-X", "dev"), err=None)
    assert ended.facts["ticks"] > 10
    assert ended.facts["longest"] < 0.5
    assert ended.err.count("abandoned ") == len(ended.err.splitlines()) == 1
    assert ended.leaving_seconds < 0.3 + 7.0


@pytest.mark.parametrize("answer", [Answer(503), Answer(then="hang")])
def test_a_bounded_exit(answer: Answer) -> None:
    """A patched process ends in time too, and reports what it abandoned."""
    with Collector() as collector:
        collector.always(answer)
        ended = run(TROUBLED, collector.url, flags=PATCHED, err=None)
    assert ended.facts["abandoned"] == 7
    assert " 7 events " in ended.err
    assert ended.leaving_seconds < 1.0 + 7.0


def test_a_handler_that_was_built_before_the_patch() -> None:
    """Created before the patch and used after it, as with gunicorn's gevent worker: no deadlock."""
    program = """
        import os
        from counted import *
        handler = handle(batch_events=3)
        say(0)
        assert handler.flush(10)
        child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0
            sys.exit()
        from gevent import monkey
        monkey.patch_all()
        import gevent
        progress = []
        def tick():
            while True:
                progress.append(1)
                gevent.sleep(0.01)
        gevent.spawn(tick)
        for number in range(1, 11):
            say(number)
            gevent.sleep(0.02)
        assert handler.flush(10) is True
        tell(progress=len(progress), before_exit=time.monotonic())
        """
    flags = ("-W", "ignore")  # gevent warns of a late patch
    with Collector() as collector:
        ended = run(program, collector.url, flags=flags, err=None)
        assert numbers(collector) == list(range(11))
        assert ended.facts["progress"] > 5
        assert ended.ended_at - ended.facts["before_exit"] < 3.0


def test_tls_of_a_handler_that_was_built_before_the_patch() -> None:
    """Its TLS handshake with an endpoint that sends nothing blocks no greenlet either."""
    program = """
        from counted import *
        handler = handle(flush_interval=0, timeout=1.0, shutdown_timeout=0.1)
        from gevent import monkey
        monkey.patch_all()
        import gevent
        ticks = [time.monotonic()]
        def tick():
            while True:
                gevent.sleep(0.01)
                ticks.append(time.monotonic())
        gevent.spawn(tick)
        say(1)
        handler.flush(0.7)
        tell(ticks=len(ticks), longest=max(b - a for a, b in zip(ticks, ticks[1:])))
        """
    with RawServer(hang()) as server:
        ended = run(program, f"https://127.0.0.1:{server.port}", flags=("-W", "ignore"), err=None)
    assert ended.facts["ticks"] > 10
    assert ended.facts["longest"] < 0.5


@pytest.mark.parametrize("warm", [True, False])
def test_callbacks_of_the_event_loop(warm: bool) -> None:
    """A signal handler and a callback that run in gevent's own loop log without an error."""
    program = f"""{PATCH}
    import os
    import signal
    handler = handle(batch_events=2)
    if {warm}:
        say(0)
        assert handler.flush(10)
    signal.signal(signal.SIGUSR1, lambda *_: say(1, source="signal"))
    gevent.get_hub().loop.run_callback(lambda: say(2, source="callback"))
    gevent.sleep(0.05)
    os.kill(os.getpid(), signal.SIGUSR1)
    gevent.spawn(os.kill, os.getpid(), signal.SIGUSR1)
    gevent.sleep(0.05)
    assert handler.flush(10) is True
    """
    with Collector() as collector:
        run(program, collector.url, flags=("-X", "dev"))
        expected = [("callback", 2), ("signal", 1), ("signal", 1)]
        assert sorted(said(collector)) == sorted([*expected, *([("main", 0)] if warm else [])])


def test_fork_and_multiprocessing() -> None:
    """Patched parents and children deliver their own events once, by `os.fork` and by `Process`."""
    program = f"""{PATCH}
    import multiprocessing
    import os
    handler = handle()
    def work(number):
        say(number, source="child")
    for number in range(5):
        say(number)
    if child := gevent.os.fork():
        assert os.waitpid(child, 0)[1] == 0
    else:
        work(1)
        assert handler.flush(10)
        os._exit(0)
    process = multiprocessing.get_context("fork").Process(target=work, args=(2,))
    process.start()
    process.join()
    assert process.exitcode == 0
    say(5)
    """
    flags = ("-X", "dev", "-W", "ignore:This process:DeprecationWarning")
    with Collector() as collector:
        run(program, collector.url, flags=flags, err=None, settings=GEVENT)
        assert sorted(numbers(collector, "child")) == [1, 2]
        assert numbers(collector) == list(range(6))
