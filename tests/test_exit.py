"""The exit: accepted events arrive, or are abandoned in time, and are then counted."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from exits import TROUBLED, WAYS_OUT
from fslog.collector import Answer, Collector
from fslog.delivery import notices
from needs import slow_but
from processes import Ended, numbers, run, started

pytestmark = pytest.mark.usefixtures("measured")

SHUTDOWN_SECONDS = 0.5
MARGIN_SECONDS = 7.0
"""What leaving may take beside waiting, on a busy machine."""


@pytest.mark.parametrize(
    "way",
    slow_but(
        [
            "the end of the program",
            "a thread that outlives the main one",
            "an atexit callback registered before logging was imported",
            "a weakref.finalize callback",
            "os._exit after a flush",
        ],
        WAYS_OUT,
    ),
)
def test_one_record_then_the_end_arrives(way: str) -> None:
    """The only event of a process arrives, whatever ends it, and nothing is printed."""
    with Collector() as collector:
        run(WAYS_OUT[way], collector.url)
        assert numbers(collector) == [1]


@pytest.mark.parametrize(
    "way",
    slow_but(
        ["an atexit callback registered before logging was imported"],
        [name for name in WAYS_OUT if "registered" in name],
    ),
)
def test_an_event_at_the_end_arrives_after_earlier_ones(way: str) -> None:
    """An event at the very end also arrives if the listener's thread already ran."""
    program = f"{WAYS_OUT[way].rstrip()}\n        say(0)\n"
    with Collector() as collector:
        run(program, collector.url)
        assert numbers(collector) == [0, 1]


@pytest.mark.parametrize(
    ("ending", "code", "last_line"),
    [
        ("raise RuntimeError('as meant')", 1, "RuntimeError: as meant"),
        ("sys.exit('said at exit')", 1, "said at exit"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", -2, "KeyboardInterrupt"),
    ],
)
def test_an_exit_by_an_exception_delivers(ending: str, code: int, last_line: str) -> None:
    """An exception ends the program as usual, and what was logged before arrives."""
    program = f"from counted import *\nhandle()\nsay(1)\n{ending}\n"
    with Collector() as collector:
        ended = run(program, collector.url, code=code, err=None)
        assert numbers(collector) == [1]
        assert ended.err.splitlines()[-1] == last_line
        assert "fslog:" not in ended.err


FINALIZERS = {
    "first": """
        from counted import *
        class Late:
            def __init__(self, number):
                self.number = number
            def __del__(self):
                say(self.number)
        handle()
        late = [Late(number) for number in range(100)]
        leave()
        """,
    "after others": """
        from counted import *
        class Late:
            def __init__(self, number):
                self.number = number
            def __del__(self):
                say(self.number)
        handle()
        say(100)
        late = [Late(number) for number in range(100)]
        leave()
        """,
    "of cycles": """
        from counted import *
        class Late:
            def __init__(self, number):
                self.number = number
                self.itself = self
            def __del__(self):
                say(self.number)
        handle()
        say(100)
        late = [Late(number) for number in range(100)]
        leave()
        """,
    "that flush": """
        import fslog
        from counted import *
        class Late:
            def __init__(self, number, flush=fslog.flush):
                self.number = number
                self.flush = flush
            def __del__(self):
                say(self.number)
                self.flush()
                handler.flush()
                handler.close()
        handler = handle()
        say(100)
        late = [Late(number) for number in range(100)]
        leave()
        """,
}


FINALIZERS_LOG = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="without the GIL a module's names are gone before its last finalizers run",
)


@FINALIZERS_LOG
@pytest.mark.parametrize("which", slow_but(["first", "that flush"], FINALIZERS))
def test_events_of_finalizers_at_shutdown_are_delivered_or_reported(which: str) -> None:
    """What is logged while Python clears its modules arrives, or is reported once as too late."""
    with Collector() as collector:
        ended = run(FINALIZERS[which], collector.url, err=None)
        arrived = numbers(collector)
    assert ended.leaving_seconds < MARGIN_SECONDS
    assert len(set(arrived)) == len(arrived)
    assert "Traceback" not in ended.err
    lines = [line for line in ended.err.splitlines() if line.startswith("fslog: ")]
    assert ended.err.splitlines() == lines
    assert len(lines) == (0 if set(range(100)) <= set(arrived) else 1)
    assert which == "first" or 100 in arrived


@FINALIZERS_LOG
def test_a_daemon_thread_that_logs_does_not_prolong_the_exit() -> None:
    """A daemon thread that logs without pause does not block the exit or change the order."""
    program = """
        import itertools
        import threading
        from counted import *
        handle(batch_events=50, shutdown_timeout=1)
        enough = threading.Event()
        def storm():
            for number in itertools.count():
                say(number)
                if number == 1000:
                    enough.set()
        threading.Thread(target=storm, daemon=True).start()
        class Late:
            def __del__(self):
                say(1, source="late")
        late = Late()
        enough.wait()
        leave()
        """
    with Collector() as collector:
        # What such a thread logs at the last moment may be abandoned or too late; that is reported.
        ended = run(program, collector.url, err=None)
        assert all(line.startswith("fslog: ") for line in ended.err.splitlines()), ended.err
        assert len(ended.err.splitlines()) <= 3
        assert ended.leaving_seconds < 1 + MARGIN_SECONDS
        arrived = numbers(collector)
        assert len(arrived) > 1000
        assert arrived == sorted(set(arrived))


@contextmanager
def _collector(answer: Answer) -> Iterator[str]:
    with Collector() as collector:
        collector.always(answer)
        yield collector.url


@contextmanager
def _refusing() -> Iterator[str]:
    with socket.socket() as bound:  # bound and not listening: every connection is refused
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def _deaf() -> Iterator[str]:
    """Yield an endpoint whose backlog is full, so that connecting itself never ends."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            yield f"http://127.0.0.1:{address[1]}"
        finally:
            for filler in fillers:
                filler.close()


TROUBLES: dict[str, tuple[Callable[[], AbstractContextManager[str]], str, bool]] = {
    # endpoint, words of the reason, whether all of the time is used
    "hangs": (lambda: _collector(Answer(then="hang")), "", True),
    "is slow": (lambda: _collector(Answer(delay=30.0)), "", True),
    "cannot be connected to": (_deaf, "", True),
    "refuses connections": (_refusing, "onnection refused", True),
    "closes": (lambda: _collector(Answer(then="close")), "", True),
    "answers 503": (lambda: _collector(Answer(503)), "503", True),
    "asks for patience": (
        lambda: _collector(Answer(503, headers={"Retry-After": "120"})),
        "503",
        False,
    ),
    "answers 400": (lambda: _collector(Answer(400)), "400", False),
}


def _assert_given_up(ended: Ended, count: int, reason: str) -> None:
    lines = ended.err.splitlines()
    given_up = [line for line in lines if "abandoned " in line]
    assert len(given_up) == 1, ended.err
    assert f"abandoned {notices.counted(count, 'event')} that " in given_up[0]
    assert reason in given_up[0]
    # Otherwise only the notice of an outage is allowed.
    assert len(lines) <= 2, ended.err
    assert all(line.startswith("fslog: ") for line in lines), ended.err


@pytest.mark.parametrize(
    "trouble", slow_but(["hangs", "refuses connections", "answers 400"], TROUBLES)
)
def test_the_exit_is_bounded_and_reports_what_was_abandoned(trouble: str) -> None:
    """A failing endpoint delays the exit by `shutdown_timeout` at most; a line reports the loss."""
    endpoint, reason, patient = TROUBLES[trouble]
    with endpoint() as url:
        ended = run(TROUBLED, url, err=None)
    _assert_given_up(ended, 7, reason)
    bound = SHUTDOWN_SECONDS if patient else 0.0
    assert ended.leaving_seconds < bound + MARGIN_SECONDS
    assert ended.facts["abandoned"] == ended.facts["accepted"] == 7
    assert ended.facts["delivered"] == 0


def test_an_endpoint_that_recovers_in_time_gets_everything() -> None:
    """An outage that ends within `shutdown_timeout` loses no event, and its end is logged."""
    with Collector() as collector:
        collector.script(Answer(503), Answer(then="close"))
        ended = run(TROUBLED.replace("=0.5)", "=20)"), collector.url, err=None)
        assert numbers(collector) == list(range(7))
    assert ended.facts["delivered"] == 7
    assert "abandoned " not in ended.err


def test_a_loss_is_reported_on_the_logger_too() -> None:
    """If a handler shows the records of `fslog`, the loss is reported there and on stderr."""
    program = """
        import sys
        from counted import *
        show = logging.StreamHandler(sys.stdout)
        show.setFormatter(logging.Formatter('{"logger": "%(name)s", "text": "%(message)s"}'))
        logging.getLogger("fslog").addHandler(show)
        handle(shutdown_timeout=0.2)
        say(1)
        """
    with _collector(Answer(then="hang")) as url:
        ended = run(program, url, err=None)
    assert ended.facts["logger"] == "fslog"
    assert ended.err == f"fslog: {ended.facts['text']}\n"
    assert " 1 event " in ended.err


def test_handlers_that_hang_share_one_deadline() -> None:
    """Ten handlers whose endpoints hang end within one `shutdown_timeout`, not ten."""
    program = """
        from counted import *
        for number in range(10):
            one = logging.getLogger(f"app.{number}")
            handle(one, shutdown_timeout=2.0)
            say(number, logger=one)
        leave()
        """
    with _collector(Answer(then="hang")) as url:
        ended = run(program, url, err=None)
    assert ended.leaving_seconds < 2.0 + MARGIN_SECONDS
    assert ended.err.count("abandoned ") == 10


def test_an_explicit_logging_shutdown_waits_once() -> None:
    """`logging.shutdown` flushes and closes each handler, and waits one `shutdown_timeout`."""
    program = """
        from counted import *
        handle(shutdown_timeout=0.8)
        say(1)
        began_at = time.monotonic()
        logging.shutdown()
        tell(seconds=time.monotonic() - began_at)
        """
    with _collector(Answer(then="hang")) as url:
        ended = run(program, url, err=None)
    assert 0.75 < ended.facts["seconds"] < 1.5
    _assert_given_up(ended, 1, "")


def test_logging_shutdown_twice_with_events_between() -> None:
    """If logging is shut down twice, events before, between and after arrive once."""
    program = """
        from counted import *
        handler = handle()
        for number in range(6):
            say(number)
            if number % 2:
                logging.shutdown()
                assert balance(handler)["delivered"] == number + 1
        logging.shutdown()
        logging.shutdown()
        say(6)
        """
    with Collector() as collector:
        run(program, collector.url)
        assert numbers(collector) == list(range(7))


def test_the_time_of_the_applications_exit_functions_does_not_count() -> None:
    """A callback that works longer than `shutdown_timeout` and then logs loses nothing."""
    program = """
        import atexit
        import threading
        from counted import *
        def work():
            threading.Event().wait(0.6)
            say(2)
        atexit.register(work)
        handle(shutdown_timeout=0.5)
        say(1)
        """
    with Collector() as collector:
        run(program, collector.url)
        assert numbers(collector) == [1, 2]


def test_a_zero_shutdown_timeout_does_not_wait() -> None:
    """`shutdown_timeout=0` ends at once, and reports what was abandoned."""
    program = TROUBLED.replace("=0.5)", "=0)")
    with _collector(Answer(then="hang")) as url:
        ended = run(program, url, err=None)
    _assert_given_up(ended, 7, "")
    assert ended.leaving_seconds < MARGIN_SECONDS


@pytest.mark.parametrize(
    "stderr",
    slow_but(
        ["sys.stderr = None", "import os; os.close(2)"],
        [
            "sys.stderr = None",
            "sys.stderr.close()",
            "import os; os.close(2)",
            "sys.stderr = sys.__stderr__ = None",
            "sys.stderr = Broken(OSError)",
            "sys.stderr = Broken(RuntimeError)",
        ],
    ),
)
def test_a_loss_without_a_stderr(stderr: str) -> None:
    """If nothing can be reported at exit, the process still ends in time with its own code."""
    program = f"""
        import atexit
        from counted import *
        class Broken:
            def __init__(self, error):
                self.error = error
            def write(self, text):
                raise self.error("not written")
            def flush(self):
                pass
        # Whichever comes first, the other must get its turn.
        atexit.register(lambda: tell(abandoned=[one.stats().abandoned for one in handlers]))
        handlers = [handle(shutdown_timeout=0.2) for _ in range(2)]
        say(1)
        leave()
        {stderr}
        sys.exit(3)
        """
    with _collector(Answer(then="hang")) as url, started(program, url) as process:
        ended = process.end(60.0)
    assert ended.code == 3
    assert ended.facts["abandoned"] == [1, 1]
    assert "Traceback" not in ended.err
    assert ended.leaving_seconds < MARGIN_SECONDS


def test_os_exit_loses_only_what_was_not_flushed() -> None:
    """`os._exit` runs no exit functions: only what was flushed before has arrived."""
    program = """
        import os
        import fslog
        from counted import *
        handle()
        say(1)
        assert fslog.flush(10)
        say(2)
        os._exit(0)
        """
    with Collector() as collector:
        run(program, collector.url)
        assert numbers(collector) == [1]


def test_a_disabled_handler_does_nothing_at_exit() -> None:
    """A disabled handler starts no thread, does not delay the exit and prints nothing."""
    program = """
        import threading
        from counted import *
        handler = handle(enabled=False)
        say(1)
        assert threading.active_count() == 1
        assert handler.flush() and handler.stats().accepted == 0
        """
    with _refusing() as url:
        run(program, url)


LATE = """
    import atexit
    import itertools
    import threading
    from counted import *

    def judge():
        # Runs after fslog's own end, while other threads still log.
        while min(len(numbers) for numbers in said.values()) < 10:
            threading.Event().wait(0.01)
        going.clear()
        for thread in threads:
            thread.join(10)
        tell(said=said, stats=balance(handler))

    atexit.register(judge)
    handler = handle()
    going = [True]
    said = {{f"thread {{n}}": [] for n in range({threads})}}

    def work(name):
        for number in itertools.count():
            if not going:
                return
            say(number, source=name)
            said[name].append(number)
            if number > 10:
                threading.Event().wait(0.001)

    threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in said]
    for thread in threads:
        thread.start()
    while min(len(numbers) for numbers in said.values()) < 5:
        threading.Event().wait(0.001)
    """


@pytest.mark.parametrize("threads", [1, 8])
def test_threads_that_log_while_the_process_ends(threads: int) -> None:
    """Each thread waits for its own events: all arrive, because there is time."""
    with Collector() as collector:
        facts = run(LATE.format(threads=threads), collector.url, deadline=60.0).facts
        assert facts["stats"]["abandoned"] == 0
        for name, logged in facts["said"].items():
            assert len(logged) >= 10
            assert sorted(numbers(collector, name)) == logged


def test_a_late_event_that_is_refused_is_counted_once() -> None:
    """If there is no room at exit, one record is one refused event."""
    program = """
        import atexit
        from counted import *
        def late():
            say(2)
            tell(refused=handler.stats().refused)
        atexit.register(late)
        handler = handle(buffer_bytes=1)
        """
    with Collector() as collector:
        ended = run(program, collector.url, err=None)
        assert ended.facts == {"refused": 1}


def test_late_events_that_are_abandoned_are_reported_together() -> None:
    """After the deadline, with the endpoint down, two lines on stderr report any number."""
    program = """
        import atexit
        from counted import *
        def late():
            for number in range(50):
                say(number)
            tell(**balance(handler))
        atexit.register(late)
        handler = handle(shutdown_timeout=0.2)
        say(-1)
        """
    with Collector() as collector:
        collector.always(Answer(503))
        ended = run(program, collector.url, err=None)
        given_up = [text for text in ended.err.splitlines() if "abandoned " in text]
        assert len(given_up) == 2
        assert ", and any after them" in given_up[1]
        assert ended.facts["abandoned"] == 51
