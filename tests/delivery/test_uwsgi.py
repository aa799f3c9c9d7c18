"""The signals by which uWSGI ends a worker with `--skip-atexit`, without uWSGI.

Here `_exit` itself stands for uWSGI's handler, which calls it: a process that a signal ends so has
the number of the signal as its status. The real server is in `test_sigterm_servers`.
"""

from __future__ import annotations

import signal
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fslog import process
from fslog.collector import Answer, Collector
from fslog.delivery import uwsgi
from needs import slow_but
from processes import FORKING, numbers, run, started, waits

SERVED = """
    import ctypes
    import os
    import signal
    import sys
    import threading
    import types

    libc = ctypes.CDLL(None)
    server = types.ModuleType("uwsgi")
    server.opt = {"skip-atexit": True}
    server.masterpid = os.getppid
    sys.modules["uwsgi"] = server

    from fslog.delivery import uwsgi
    uwsgi._ENDS = ("_exit",)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        libc.signal(number, libc._exit)

    def is_uwsgis(number):
        action = ctypes.create_string_buffer(512)
        libc.sigaction(number, None, action)
        address = ctypes.c_void_p.from_buffer(action).value
        return address == ctypes.cast(libc._exit, ctypes.c_void_p).value

    def wait():
        "Wait inside C code that no signal interrupts, as uWSGI waits for a request."
        mutex = ctypes.create_string_buffer(64)
        libc.pthread_mutex_lock(mutex)
        libc.pthread_mutex_lock(mutex)

    from counted import *
    """

LOGS = f"""{SERVED}
    handler = handle(batch_events=1)  # a POST for each: at the signal at most one is answered
    for number in range(5):
        say(number)
    """


@pytest.fixture
def slow() -> Iterator[Collector]:
    """Yield an endpoint whose answers come after the signal."""
    with Collector() as collector:
        collector.always(Answer(delay=0.2))
        yield collector


def ended(program: str, collector: Collector, number: int = signal.SIGTERM) -> None:
    """Run a program, send it a signal as soon as it is ready, and expect uWSGI's end."""
    with started(program, collector.url) as found:
        waits(found, "ready")
        found.send(number)
        end = found.end(60.0)
    assert end.code == number, end.err
    assert end.err == ""


@pytest.mark.parametrize(
    "number", slow_but([signal.SIGTERM], [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
)
def test_all_is_delivered_before_the_handler_in_c_ends_the_process(
    number: int, slow: Collector
) -> None:
    """Also while the main thread runs no Python code; and the status is that of the handler."""
    ended(f"{LOGS}tell(ready=True)\n    wait()", slow, number)
    assert numbers(slow) == list(range(5))


THREADED = f"""{SERVED}
    def work():
        for number in range(5):
            say(number)

    handler = handle(batch_events=1)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    tell(ready=True)
    wait()
    """


def test_the_first_event_may_come_from_any_thread(slow: Collector) -> None:
    """The main thread catches the signals when it runs Python code the next time."""
    ended(THREADED, slow)
    assert numbers(slow) == list(range(5))


@pytest.mark.slow
def test_the_end_is_bounded() -> None:
    """`shutdown_timeout` holds, and what is abandoned is reported."""
    with Collector() as collector:
        collector.always(Answer(then="hang"))
        program = LOGS.replace("batch_events=1", "shutdown_timeout=0.3")
        with started(f"{program}tell(ready=True)\n    wait()", collector.url) as found:
            waits(found, "ready")
            found.send(signal.SIGTERM)
            end = found.end(60.0)
    assert end.code == signal.SIGTERM
    assert "abandoned 5 events that 127.0.0.1" in end.err


FAILURES = {
    "hangs": """
    uwsgi._MARGIN_SECONDS = uwsgi._seconds = 0.1
    uwsgi.process.finish_all = lambda: threading.Event().wait()
    """,
    "has no thread": """
    def refuse(function, arguments):
        raise RuntimeError("can't start new thread")
    uwsgi.start_thread = refuse
    """,
}


@pytest.mark.parametrize("how", slow_but(["hangs"], FAILURES))
def test_a_delivery_that_fails_ends_the_process_all_the_same(how: str, slow: Collector) -> None:
    """By the handler in C, too."""
    ended(f"{LOGS}{FAILURES[how].strip()}\n    tell(ready=True)\n    wait()", slow)


@pytest.mark.parametrize("given", slow_but(["{}"], ["None", "{}", '{"skip-atexit": b"false"}']))
def test_without_the_option_nothing_of_it_runs(given: str, slow: Collector) -> None:
    """The module is not even loaded, and the handlers of signals are left alone."""
    program = LOGS.replace('{"skip-atexit": True}', given)
    program = program.replace("from fslog.delivery import uwsgi\n", "\n")
    program = program.replace("uwsgi._ENDS", "unused")
    run(
        f"""{program}
    assert "fslog.delivery.uwsgi" not in sys.modules
    assert all(map(is_uwsgis, (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)))
    """.replace("server.opt = None\n", "\n"),
        slow.url,
    )


OTHERS = {
    "an application's handler": """
    signal.signal(signal.SIGTERM, print)
    handler = handle()
    say(0)
    assert signal.getsignal(signal.SIGTERM) is print
    assert not is_uwsgis(signal.SIGINT)
    """,
    "a descriptor of the application": """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    handler = handle()
    say(0)
    assert is_uwsgis(signal.SIGINT) and is_uwsgis(signal.SIGTERM)
    assert signal.set_wakeup_fd(-1) == writer
    """,
    "a later descriptor of the application": """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    handler = handle()
    say(0)
    assert not is_uwsgis(signal.SIGINT)
    assert signal.set_wakeup_fd(writer) == -1
    assert is_uwsgis(signal.SIGINT) and is_uwsgis(signal.SIGTERM)
    say(1)
    assert is_uwsgis(signal.SIGTERM)
    assert signal.set_wakeup_fd(-1) == writer
    """,
    "another process than a worker": """
    server.masterpid = os.getpid
    handler = handle()
    say(0)
    assert is_uwsgis(signal.SIGTERM)
    """,
}


@pytest.mark.parametrize("whose", slow_but(["a later descriptor of the application"], OTHERS))
def test_what_is_not_uwsgis_is_left_alone(whose: str, slow: Collector) -> None:
    """And if the thread cannot be told of a signal, uWSGI has its handlers back."""
    run(f"{SERVED}{OTHERS[whose].strip()}\n    signal.signal(signal.SIGTERM, print)", slow.url)


FORKS = {
    "os.fork()": """
        if not is_uwsgis(signal.SIGTERM) or signal.set_wakeup_fd(-1) != -1:
            os._exit(1)
        """,
    "ctypes.PyDLL(None).fork()": "",  # which runs no hook of Python
}


@pytest.mark.parametrize("fork", slow_but(["os.fork()"], FORKS))
def test_a_fork_gives_the_signals_back(fork: str, slow: Collector) -> None:
    """It ends as it would without fslog, and does not end the process that forked it."""
    program = f"""{LOGS}
    pid = {fork}
    if pid == 0:
        {FORKS[fork].strip()}
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            time.sleep(100)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == signal.SIGTERM, status
    assert not is_uwsgis(signal.SIGTERM)
    handler.flush()
    assert not uwsgi.process.is_finishing()
    for number in range(5, 10):
        say(number)
    tell(ready=True)
    wait()
    """
    with started(program, slow.url, flags=FORKING) as found:
        waits(found, "ready")
        found.send(signal.SIGTERM)
        end = found.end(60.0)
    assert (end.code, end.err) == (signal.SIGTERM, "")
    assert numbers(slow) == list(range(10))


class Flushed:
    """A handler that counts."""

    def __init__(self) -> None:
        self.count = 0

    def flush(self, timeout: float | None = None) -> None:
        """Count once, not the beginning."""
        self.count += timeout is None


REQUESTS = {
    "before the limit": ({"max-requests": b"5"}, {"delta_requests": 4}, 0),
    "at the limit": ({"max-requests": b"5"}, {"delta_requests": 5}, 1),
    "given twice": ({"max-requests": [b"9", b"5"]}, {"delta_requests": 5}, 1),
    "before the limit of this worker": (
        {"max-requests": b"5", "max-requests-delta": b"3"},
        {"delta_requests": 7},
        0,
    ),
    "too young": ({"max-requests": b"5"}, {"delta_requests": 5, "last_spawn": 2**40}, 0),
    "small": ({"reload-on-rss": b"100"}, {"rss": 99 << 20}, 0),
    "large": ({"reload-on-rss": b"100"}, {"rss": 100 << 20}, 1),
    "large in addresses": ({"reload-on-as": b"100"}, {"vsz": 100 << 20}, 1),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_request_that_ends_a_worker_flushes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After what the application does after each request, whatever that raises; no other one."""
    options, state, count = REQUESTS[name]
    flushed = Flushed()
    monkeypatch.setattr(process, "handlers", lambda: [flushed])
    server = types.SimpleNamespace(opt=options, worker_id=lambda: 2, after_req_hook=_fails)
    worker = {"delta_requests": 0, "rss": 0, "vsz": 0, "last_spawn": 0, **state}
    server.workers = lambda: ({}, worker)
    monkeypatch.setattr(uwsgi, "_server", server)
    uwsgi._watch_requests()
    with pytest.raises(ValueError, match="of the application"):
        server.after_req_hook()
    assert flushed.count == count


def _fails() -> None:
    raise ValueError("of the application")


def test_without_a_limit_no_request_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that does not end by itself has no more to do."""
    server: Any = types.SimpleNamespace(opt={"skip-atexit": True, "max-requests": b"0"})
    monkeypatch.setattr(uwsgi, "_server", server)
    uwsgi._watch_requests()
    hook: Callable[[], None] | None = getattr(server, "after_req_hook", None)
    assert hook is None
