"""SIGTERM's default action delivers first, and nothing else about SIGTERM changes."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fslog import FreshsuccessHandler, process
from fslog.collector import Answer, Collector
from fslog.delivery import sigterm
from needs import slow_but
from processes import FORKING, GEVENT, Ended, Process, numbers, said, started, waits
from waiting import eventually

pytestmark = pytest.mark.usefixtures("measured")

SLOW = Answer(delay=0.2)
"""An answer that comes after the signal."""

SEVERAL = """
    import os
    import signal
    import threading
    import time
    from counted import *

    handler = handle(batch_events=1)  # a POST for each: at the signal at most one is answered
    for number in range(5):
        say(number)
    tell(ready=True)
    """

WAITS = {
    "for a time": "time.sleep(100)",
    "for a lock": "threading.Lock().acquire() and threading.Event().wait()",
    "for a thread": "thread = threading.Thread(target=time.sleep, args=[9], daemon=True)\n"
    "    thread.start()\n    thread.join()",
    "for a signal, after which it would end": "signal.pause()",
    "for nothing": "while True: pass",
    "in an event loop": "import asyncio; asyncio.run(asyncio.sleep(100))",
}


def ended(
    program: str,
    collector: Collector,
    *,
    code: int = -signal.SIGTERM,
    meet: Callable[[Process], object] = Process.terminate,
    **options: Any,
) -> Ended:
    """Run a program, and send it SIGTERM as soon as it is ready."""
    with started(program, collector.url, **options) as process:
        waits(process, "ready")
        meet(process)
        found = process.end(60.0)
    assert found.code == code, found.err
    return found


@pytest.fixture
def slow() -> Any:
    """Yield an endpoint whose answers take half a second."""
    with Collector() as collector:
        collector.always(SLOW)
        yield collector


@pytest.mark.parametrize("way", slow_but(["for a signal, after which it would end"], WAITS))
def test_all_is_delivered_and_the_process_ends_by_the_signal(way: str, slow: Collector) -> None:
    """Whatever the main thread waits for, it does not go on, and the exit status says SIGTERM."""
    found = ended(f"{SEVERAL}{WAITS[way]}\n    os._exit(9)\n", slow)
    assert numbers(slow) == list(range(5))
    assert found.err == ""


def test_a_second_signal_does_not_cut_it_short(slow: Collector) -> None:
    """A container's group and a supervisor may both send it."""

    def twice(process: Process) -> None:
        for _ in range(5):
            process.send(signal.SIGTERM)
            time.sleep(0.02)  # so that the system does not merge them
        process.terminate()

    ended(f"{SEVERAL}time.sleep(100)", slow, meet=twice)
    assert numbers(slow) == list(range(5))


def test_the_end_is_bounded_and_reports_what_was_abandoned() -> None:
    """`shutdown_timeout` holds for this end as for any other."""
    with Collector() as collector:
        collector.always(Answer(then="hang"))
        program = SEVERAL.replace("batch_events=1", "shutdown_timeout=0.3")
        found = ended(f"{program}time.sleep(100)", collector)
    assert "abandoned 5 events that 127.0.0.1" in found.err


def test_a_program_sees_the_default_action_and_can_restore_it(slow: Collector) -> None:
    """As uvicorn does: a handler while it serves, then the previous one, then the signal."""
    program = f"""{SEVERAL}
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    before = signal.signal(signal.SIGTERM, lambda number, frame: tell(served=number))
    assert before is signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    signal.raise_signal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)
    signal.raise_signal(signal.SIGTERM)
    os._exit(9)
    """
    assert ended(program, slow, meet=lambda process: None).facts["served"] == signal.SIGTERM
    assert numbers(slow) == list(range(5))


def test_a_handler_that_is_there_stays(slow: Collector) -> None:
    """It alone decides how the process ends; the default action, once it is back, delivers."""
    program = f"""
    import signal
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))
    {SEVERAL.strip()}
    signal.raise_signal(signal.SIGTERM)
    tell(alive=True)
    signal.raise_signal(signal.SIGTERM)
    """
    assert ended(program, slow, meet=lambda process: None).facts["alive"]
    assert numbers(slow) == list(range(5))


def test_a_handler_may_call_the_one_before_it(slow: Collector) -> None:
    """One that was obtained before fslog came delivers then, but does not end the process."""
    program = f"""
    from signal import SIGTERM, signal as set_handler
    {SEVERAL.strip()}
    before = set_handler(SIGTERM, lambda *received: before(*received))
    signal.raise_signal(SIGTERM)
    tell(alive=True)
    assert handler.flush(30)
    os._exit(3)
    """
    assert ended(program, slow, code=3, meet=lambda process: None).facts["alive"]
    assert numbers(slow) == list(range(5))


def test_locks_of_the_interrupted_code_are_released_first(slow: Collector) -> None:
    """In the middle of logging or of fslog's own step, the signal takes effect right after it."""
    program = f"""{SEVERAL}
    own = logging.StreamHandler()
    for lock in (own.lock, handler._own._parts.buffer._lock):
        with lock:
            signal.raise_signal(signal.SIGTERM)
            threading.Event().wait(0.05)
            tell(released=True)
    tell(ready_to_end=True)
    time.sleep(100)
    """
    facts = ended(program, slow, meet=lambda process: None).out
    assert '"released"' in facts
    assert numbers(slow) == list(range(5))


def test_at_the_usual_end_it_waits_for_the_rest(slow: Collector) -> None:
    """SIGTERM while `atexit` delivers: all arrives, and the exit status says SIGTERM."""
    program = f"""{SEVERAL}
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
    """
    ended(program, slow, meet=lambda process: None)
    assert numbers(slow) == list(range(5))


def test_after_the_usual_end_it_acts_at_once(slow: Collector) -> None:
    """An exit function of the application that hangs does not make SIGTERM useless."""
    program = f"""
    import atexit, signal, threading
    @atexit.register
    def hang():
        signal.raise_signal(signal.SIGTERM)
        threading.Event().wait()
    {SEVERAL.strip()}
    """
    ended(program, slow, meet=lambda process: None)
    assert numbers(slow) == list(range(5))


@pytest.mark.parametrize(
    "child",
    [
        """
    read, write = os.pipe()
    if not (child := os.fork()):
        for number in range(3):
            say(number, "child")
        os.write(write, b"x")
        while True:
            time.sleep(0.1)  # not for long: see `Process.terminate`
    os.read(read, 1)
    os.kill(child, signal.SIGTERM)
    assert os.waitpid(child, 0)[1] == signal.SIGTERM
    """,
        pytest.param(
            """
    import multiprocessing
    def work(began):
        for number in range(3):
            say(number, "child")
        began.set()
        while True:
            time.sleep(0.1)  # not for long: see `Process.terminate`
    context = multiprocessing.get_context("fork")
    began = context.Event()
    process = context.Process(target=work, args=[began])
    process.start()
    began.wait()
    process.terminate()
    process.join()
    assert process.exitcode == -signal.SIGTERM, process.exitcode
    """,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_child_delivers_its_own(child: str, slow: Collector) -> None:
    """A forked child has the same default action, for its own events."""
    program = f"{SEVERAL}{child}\n    os._exit(0 if handler.flush(30) else 1)\n"
    ended(program, slow, code=0, meet=lambda process: None, flags=FORKING)
    assert sorted(said(slow)) == [
        *(("child", number) for number in range(3)),
        *(("main", number) for number in range(5)),
    ]


def test_it_can_be_switched_off(slow: Collector) -> None:
    """Then `signal` is not wrapped, and the default action loses what was not posted."""
    slow.always(Answer(then="hang"))
    program = SEVERAL.replace("batch_events=1", "flush_on_sigterm=False")
    ended(f"{program}assert not hasattr(signal.signal, '__wrapped__')\n    time.sleep(9)", slow)
    assert numbers(slow) == []


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("atuo", "flush_on_sigterm is 'atuo'; expected one of .*did you mean 'auto'"),
        (3, "flush_on_sigterm is of type int; expected a bool or 'auto'"),
    ],
)
def test_another_value_is_an_error(value: Any, error: str) -> None:
    """The message names the argument, the value, and what is allowed."""
    with pytest.raises((TypeError, ValueError), match=error):
        FreshsuccessHandler(auth_key="a", api_key="b", flush_on_sigterm=value)


@pytest.fixture
def received() -> Iterator[list[int]]:
    """Yield the numbers of the signals that another handler of SIGTERM receives."""
    numbers: list[int] = []
    before = sigterm._set(signal.SIGTERM, lambda number, frame: numbers.append(number))
    yield numbers
    sigterm._set(signal.SIGTERM, before)


def test_called_by_another_handler_it_begins_to_deliver(
    received: list[int], slow: Collector
) -> None:
    """Neither the handler of the signal nor the process ends with it."""
    handler = FreshsuccessHandler(auth_key="a", api_key="b", endpoint=slow.url, batch_events=1)
    event = {"action": "counted", "accountId": "a", "userId": "u"}
    handler.handle(logging.makeLogRecord({"event": event}))
    sigterm._end(signal.SIGTERM, None)
    assert received == []
    assert eventually(lambda: handler.stats().delivered == 1)
    handler.close()


@pytest.mark.parametrize(("finishing", "finished"), [(True, False), (True, True), (False, False)])
def test_the_default_action_comes_last(
    finishing: bool, finished: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the process, whether an exit has begun, is over, or begins now."""
    acted: list[str] = []
    monkeypatch.setattr(sigterm, "_default_action", lambda: acted.append("ended"))
    monkeypatch.setattr(sigterm, "_get", lambda number: sigterm._end)
    monkeypatch.setattr(process, "_finish_all", lambda: acted.append("delivered"))
    monkeypatch.setattr(process, "_finishing_pid", os.getpid() * finishing)
    monkeypatch.setattr(process, "_finished_pid", os.getpid() * finished)
    monkeypatch.setattr(process, "_last_act", None)
    sigterm._end(signal.SIGTERM, None)
    if finishing and not finished:
        assert acted == []
        process.finish_all()
    assert acted == (["ended"] if finished else ["delivered", "ended"])


def test_a_step_that_holds_a_lock_is_interrupted_again(received: list[int]) -> None:
    """The signal is sent again until the interrupted code has released what delivery may need."""
    own = logging.StreamHandler()
    with own.lock:  # type: ignore[union-attr]
        assert not sigterm._may_wait()
    assert eventually(lambda: received == [signal.SIGTERM])
    assert sigterm._may_wait()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_a_handler_in_c_code_is_noticed() -> None:
    """Python does not know of it, but the system does."""
    before = sigterm._set(signal.SIGTERM, signal.SIG_DFL)
    try:
        assert not sigterm._is_caught()
        sigterm._set(signal.SIGTERM, lambda *received: None)
        assert sigterm._is_caught()
    finally:
        sigterm._set(signal.SIGTERM, before)


@pytest.mark.needs("namespaces")
def test_the_first_process_of_a_container_delivers_and_goes_on(slow: Collector) -> None:
    """No default action ends process 1, with or without fslog; the supervisor kills it later."""
    program = """
    import subprocess, sys
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    sys.exit(subprocess.call([*unshare, sys.executable, "inner.py"]))
    """
    inner = f"""{SEVERAL}
    assert os.getpid() == 1
    os.kill(1, signal.SIGTERM)
    os.kill(1, signal.SIGTERM)
    tell(alive=True)
    while handler.stats().pending:
        time.sleep(0.01)
    os._exit(3)
    """
    found = ended(program, slow, code=3, meet=lambda process: None, files={"inner.py": inner})
    assert found.facts["alive"]
    assert numbers(slow) == list(range(5))


@pytest.mark.parametrize("first", ["main", pytest.param("other", marks=pytest.mark.slow)])
def test_under_fslog_run_it_is_ready_before_the_first_event(first: str, slow: Collector) -> None:
    """That event, with which the handlers are created, may come from a thread of a server."""
    program = """
    import threading, time
    from counted import *

    def work():
        for number in range(5):
            say(number)
        tell(ready=True)

    if sys.argv[1:] == ["main"]:
        work()
    else:
        threading.Thread(target=work).start()
    time.sleep(100)
    """
    usage = {"class": "fslog.FreshsuccessHandler", "batch_events": 1, "shutdown_timeout": 20}
    config = {"version": 1, "handlers": {"usage": usage}}
    files = {"usage.json": json.dumps({**config, "root": {"handlers": ["usage"]}})}
    command = ["run", "--config", "usage.json", "--", sys.executable, "program.py", first]
    ended(program, slow, flags=("-m", "fslog"), arguments=command, files=files)
    assert numbers(slow) == list(range(5))


@pytest.mark.slow
def test_under_gevent(slow: Collector) -> None:
    """The hub, in which a handler of a signal may run, does not wait."""
    pytest.importorskip("gevent")
    program = f"""
    from gevent import monkey
    monkey.patch_all()
    {SEVERAL.strip()}
    import gevent
    gevent.sleep(100)
    """
    ended(program, slow, settings=GEVENT, flags=("-X", "faulthandler"))
    assert numbers(slow) == list(range(5))
