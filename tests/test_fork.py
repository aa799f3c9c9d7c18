"""Forked processes: each delivers the events that it accepted itself, once, and no others."""

from __future__ import annotations

import logging
import ssl
import threading
from collections import Counter
from typing import Any

import pytest

from fslog import FreshsuccessHandler
from fslog.collector import Answer, Collector
from needs import slow_but
from processes import FORKING, numbers, run, said, started

pytestmark = pytest.mark.usefixtures("measured")

PARENT_AND_CHILD = """
    import os
    from counted import *
    handler = handle()
    for number in range(10):
        say(number)
    if child := os.fork():
        for number in range(10, 20):
            say(number)
        assert os.waitpid(child, 0)[1] == 0
    else:
        assert handler.stats().emitted == 0
        for number in range(10):
            say(number, source="child")
        assert balance(handler)["accepted"] == 10
    """


def test_parent_and_child_deliver_their_own() -> None:
    """A fork with a full buffer sends each of the parent's events once, and each of the child's."""
    with Collector() as collector:
        run(PARENT_AND_CHILD, collector.url, flags=FORKING)
        assert numbers(collector) == list(range(20))
        assert numbers(collector, "child") == list(range(10))


def test_the_context_for_tls_is_made_once(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other thread makes one: a fork amid that would leave a lock of OpenSSL locked."""
    makers: list[str] = []

    def make(**settings: Any) -> ssl.SSLContext:
        makers.append(threading.current_thread().name)
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    monkeypatch.setattr("ssl.create_default_context", make)
    handler = FreshsuccessHandler(
        defaults={"accountId": "acme", "userId": "ann", "sessionId": "s"},
        rules=[{"when": {"message": "exported"}, "event": {"action": "export"}}],
    )
    handler.handle(logging.LogRecord("app", logging.INFO, "", 0, "exported", (), None))
    assert handler.flush(30)
    handler.close()
    assert len(collector.events) == 1
    assert makers == ["MainThread"]


def test_a_fork_while_the_endpoint_is_down() -> None:
    """Events that wait for a retry stay with the parent: the child does not send or report them."""
    program = """
        import os
        from counted import *
        handler = handle(batch_events=2, max_backoff=0.1)
        for number in range(9):
            say(number)
        handler.flush(0.5)
        if child := os.fork():
            assert os.waitpid(child, 0)[1] == 0
            tell(pending=handler.stats().pending)
        else:
            assert handler.flush(10) and handler.stats().emitted == 0
            say(1, source="child")
            handler.flush(0.5)
            assert handler.stats().pending == 1
            log.removeHandler(handler)
            os._exit(0)
        """
    with Collector() as collector:
        collector.always(Answer(then="hang"))
        ended = run(program + "\n        os._exit(0)\n", collector.url, flags=FORKING)
        assert ended.facts["pending"] == 9
        assert {request.events for request in collector.requests} <= {1, 2}


def test_a_fork_from_a_thread_and_grandchildren() -> None:
    """Children of threads, and children of children, deliver what they log."""
    program = """
        import os
        import threading
        from counted import *
        handle()
        def generation(depth):
            say(depth, source="before")
            if child := os.fork():
                assert os.waitpid(child, 0)[1] == 0
                say(depth, source="after")
                return
            if depth < 3:
                generation(depth + 1)
            else:
                say(depth, source="last")
            logging.shutdown()
            os._exit(0)
        if sys.argv[1] == "thread":
            thread = threading.Thread(target=generation, args=(1,))
            thread.start()
            thread.join()
        else:
            generation(1)
        """
    for where in ("thread", "main"):
        with Collector() as collector:
            run(program, collector.url, flags=FORKING, arguments=[where])
            every = [(who, depth) for who in ("before", "after") for depth in (1, 2, 3)]
            assert sorted(said(collector)) == sorted([*every, ("last", 3)])


@pytest.mark.slow
def test_fork_under_full_load_a_hundred_times() -> None:
    """100 forks while four threads log at full speed: no child hangs, every event arrives once."""
    program = """
        import gc
        import os
        import threading
        from counted import *
        handler = handle(batch_events=100, buffer_bytes=10**9, shutdown_timeout=30)
        done = threading.Event()
        totals = {}
        def work(name):
            number = 0
            while not done.is_set():
                say(number, source=name)
                number += 1
            totals[name] = number
        threads = [threading.Thread(target=work, args=(f"thread {n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for rank in range(5):
            children = []
            for child_number in range(rank * 20, rank * 20 + 20):
                if child := os.fork():
                    children.append(child)
                    continue
                say(child_number, source="child")
                code = 0 if handler.flush(20) else 1
                if child_number % 2:
                    # Throwing it away must not touch what the parent's threads held.
                    log.removeHandler(handler)
                    del handler
                    gc.collect()
                os._exit(code)
            for child in children:
                status = os.waitpid(child, 0)[1]
                assert status == 0, (rank, status, handler.stats())
        done.set()
        for thread in threads:
            thread.join()
        tell(**totals)
        """
    with Collector() as collector:
        ended = run(program, collector.url, flags=FORKING)
        assert sorted(numbers(collector, "child")) == list(range(100))
        assert len(ended.facts) == 4
        for name, total in ended.facts.items():
            assert numbers(collector, name) == list(range(total))


def test_a_child_that_ends_by_os_exit_loses_only_its_own_events() -> None:
    """`os._exit` in a child loses what the child had not flushed, and no event of the parent."""
    program = """
        import os
        import fslog
        from counted import *
        handle()
        say(1)
        if child := os.fork():
            assert os.waitpid(child, 0)[1] == 0
            say(2)
        else:
            say(1, source="child")
            assert fslog.flush(10)
            say(2, source="child")
            os._exit(0)
        """
    with Collector() as collector:
        run(program, collector.url, flags=FORKING)
        assert sorted(said(collector)) == [("child", 1), ("main", 1), ("main", 2)]


def test_hooks_that_log_while_forking() -> None:
    """An event of another `register_at_fork` hook is kept, in either order of registration."""
    program = """
        import os
        from counted import *
        def hook(number):
            return lambda: say(number, source="hook")
        os.register_at_fork(before=hook(1), after_in_parent=hook(2), after_in_child=hook(3))
        handler = handle()
        os.register_at_fork(before=hook(4), after_in_parent=hook(5), after_in_child=hook(6))
        if child := os.fork():
            assert os.waitpid(child, 0)[1] == 0
        """
    with Collector() as collector:
        run(program, collector.url, flags=FORKING)
        assert sorted(numbers(collector, "hook")) == [1, 2, 3, 4, 5, 6]


def test_a_child_that_outlives_its_parent() -> None:
    """A child, such as a daemon, goes on logging and delivering after its parent has ended."""
    program = """
        import os
        import time
        from counted import *
        handle()
        say(1)
        parent = os.getpid()
        if not os.fork():
            deadline = time.monotonic() + 20
            while os.getppid() == parent and time.monotonic() < deadline:
                os.sched_yield()
            say(1, source="child")
            logging.shutdown()
        """
    with Collector() as collector:
        with started(program, collector.url, flags=FORKING) as process:
            assert process.end(20.0).code == 0
            collector.wait_for(2)
        assert sorted(said(collector)) == [("child", 1), ("main", 1)]


RAW_FORK = """
    import ctypes
    import os
    import threading
    from counted import *
    handler = handle(flush_interval=60)

    def fork():
        # Without the hooks of os.fork, as uWSGI forks. Like it, with no other thread about to run.
        def switches():
            def begun():
                threads = [t.native_id for t in threading.enumerate() if t.name == "fslog"]
                return [task for task in threads if task]
            while not (tasks := begun()):
                threading.Event().wait(0.01)  # it is being started
            (task,) = tasks
            with open(f"/proc/self/task/{task}/status") as status:
                lines = status.read().splitlines()
            is_waiting = any(line.startswith("State:") and "S (" in line for line in lines)
            # Not for an answer, nor for a core of a busy machine.
            if is_waiting and handler.stats().delivered:
                return [line for line in lines if "switches" in line]
        def is_idle():
            seen = switches()
            threading.Event().wait(0.05)
            return seen is not None and seen == switches()
        while not is_idle():
            pass
        return ctypes.PyDLL(None).fork()

    for number in range(4):
        say(number)
    BEFORE
    child = fork()
    leave()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        for number in range(4, 8):
            say(number)
    else:
        assert handler.stats().emitted == 0
        INSIDE
    """


def _raw_fork(before: str, inside: str) -> str:
    return RAW_FORK.replace("BEFORE", before).replace("INSIDE", inside)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("pass", "sys.exit(0)"),
        ("assert handler.flush(10)", "sys.exit(0)"),
        ("pass", "assert handler.flush(10); os._exit(0)"),
    ],
)
def test_a_fork_without_hooks(before: str, after: str) -> None:
    """Such a fork is detected by the process id: each process delivers its own events."""
    inside = f"[say(number, source='child') for number in range(8)]; {after}"
    with Collector() as collector:
        ended = run(_raw_fork(before, inside), collector.url)
        assert numbers(collector) == list(range(8))
        assert numbers(collector, "child") == list(range(8))
        assert ended.leaving_seconds < 10.0  # of the 20 of `shutdown_timeout`


@pytest.mark.parametrize(
    "inside", slow_but(["pass"], ["pass", "del handler; log.handlers.clear()"])
)
def test_a_child_of_such_a_fork_that_logs_nothing(inside: str) -> None:
    """It does not wait for its parent's events, nor report their loss."""
    with Collector() as collector:
        ended = run(_raw_fork("pass", inside), collector.url)
        assert numbers(collector) == list(range(8))
        assert ended.leaving_seconds < 10.0  # of the 20 of `shutdown_timeout`


def test_children_with_a_handler_of_their_own() -> None:
    """A handler that is created in the child, beside an inherited one, delivers too."""
    program = """
        import os
        from counted import *
        handle()
        say(1)
        children = []
        for number in range(3):
            if child := os.fork():
                children.append(child)
                continue
            own = handle(logging.getLogger("app.child"))
            say(number, source="child", logger=logging.getLogger("app.child"))
            assert own.stats().accepted == 1
            sys.exit()
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        """
    with Collector() as collector:
        run(program, collector.url, flags=FORKING)
        # Twice each: through the child's own handler and through the inherited one above it.
        assert Counter(numbers(collector, "child")) == {0: 2, 1: 2, 2: 2}
        assert numbers(collector) == [1]


def test_the_first_event_of_a_child_is_refused_once() -> None:
    """An encoder compiled in the parent finds a full spool in the child: one refused event."""
    program = """
        import os
        from counted import *
        bounds = {"spool_max_bytes": 5_000, "overflow": "block", "block_timeout": 0.5}
        handler = handle(spool="waiting", **bounds)
        while not handler.stats().refused:
            say(1)
        pid = os.fork()
        if not pid:
            began_at = time.monotonic()
            say(1)
            tell(seconds=time.monotonic() - began_at, refused=handler.stats().refused)
            os._exit(0)
        os.waitpid(pid, 0)
        """
    with Collector() as collector:
        collector.always(Answer(503))
        facts = run(program, collector.url, flags=FORKING, err=None).facts
        assert facts["refused"] == 1
        assert 0.5 <= facts["seconds"] < 0.98
