"""`multiprocessing` and `concurrent.futures`: children end without `atexit`, and lose nothing."""

from __future__ import annotations

import pytest

from fslog.collector import Answer, Collector
from needs import slow_but
from processes import FORKING, numbers, run, said

METHODS = (
    "fork",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("spawn", "forkserver")),
)

# What a child needs is set up by a function that it calls, or was inherited by a fork.
PROGRAM = """
    import multiprocessing
    import os
    from concurrent.futures import ProcessPoolExecutor
    from counted import *

    def configure():
        if not log.handlers:
            handle()

    def work(number):
        configure()
        say(number, source="child")
        return os.getpid()

    def main():
        context = multiprocessing.get_context(sys.argv[1])
        configure()
        say(1)
        BODY
        say(2)

    if __name__ == "__main__":
        main()
    """

BODIES = {
    "Process": """
        children = [context.Process(target=work, args=(number,)) for number in range(4)]
        for child in children:
            child.start()
        for child in children:
            child.join()
            assert child.exitcode == 0
            child.close()
        """,
    "Pool": """
        pool = context.Pool(2, initializer=configure)
        assert os.getpid() not in pool.map(work, range(20), chunksize=1)
        pool.close()
        pool.join()
        """,
    "Pool whose workers are replaced": """
        pool = context.Pool(2, maxtasksperchild=1)
        assert len(set(pool.map(work, range(6), chunksize=1))) == 6
        pool.close()
        pool.join()
        """,
    "ProcessPoolExecutor": """
        with ProcessPoolExecutor(2, mp_context=context) as executor:
            assert os.getpid() not in list(executor.map(work, range(20)))
        """,
}
COUNTS = {"Process": 4, "Pool": 20, "Pool whose workers are replaced": 6, "ProcessPoolExecutor": 20}


def _with(body: str) -> str:
    """Return the program with a body of eight spaces' indent in it."""
    return PROGRAM.replace("        BODY\n", body.strip("\n").rstrip() + "\n")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", slow_but(["Process", "ProcessPoolExecutor"], BODIES))
def test_every_event_of_every_child_arrives_once(kind: str, method: str) -> None:
    """For all kinds of children, each event of theirs and of the parent arrives once."""
    with Collector() as collector:
        run(_with(BODIES[kind]), collector.url, flags=FORKING, arguments=[method])
        assert sorted(numbers(collector, "child")) == list(range(COUNTS[kind]))
        assert numbers(collector) == [1, 2]


def _child(target: str, after: str = "") -> str:
    """Return a program whose one forked or spawned child runs some statements."""
    body = f"""
        child = context.Process(target=run_child)
        child.start()
        child.join()
        tell(exitcode=child.exitcode, joined_at=time.monotonic())
        {after}
        """
    return f"""{_with(body).rstrip()}
    """.replace(
        "    def main():",
        f"    def run_child():\n        configure()\n{target}\n    def main():",
    )


THREADS = """
        import threading
        def outlive():
            ended.wait(0.8)  # from 3.13 on the finalizers wait for threads, and not the reverse
            for number in range(5):
                say(number, source="child")
        ended = threading.Event()
        from multiprocessing.util import Finalize
        # The last of the finalizers but fslog's: the thread is still at work when all are through.
        Finalize(None, threading.Timer(0.3, ended.set).start, exitpriority=-1)
        FIRST
        threading.Thread(target=outlive).start()
"""


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.parametrize("first", ["say(9, source='child')", "pass"])
def test_threads_that_outlive_the_main_one_of_a_child(first: str, method: str) -> None:
    """Python waits for a child's threads after its finalizers: what they log then arrives too."""
    program = _child(THREADS.replace("FIRST", first))
    with Collector() as collector:
        ended = run(program, collector.url, flags=FORKING, arguments=[method])
        assert ended.facts["exitcode"] == 0
        assert sorted(set(numbers(collector, "child")) - {9}) == [0, 1, 2, 3, 4]
        assert len(numbers(collector, "child")) == len(set(numbers(collector, "child")))


ENDINGS = {
    "an exception": ("raise RuntimeError('as meant')", 1),
    "sys.exit": ("sys.exit(3)", 3),
    "a finalizer that logs": (
        """
        from multiprocessing.util import Finalize
        Finalize(None, say, args=(2,), kwargs={"source": "child"}, exitpriority=-5)
        """,
        0,
    ),
    "a handler that was closed": ("log.handlers[0].close(); say(2, source='child')", 0),
    "a handler that was closed after its last event": ("log.handlers[0].close()", 0),
    "logging that was shut down": ("logging.shutdown(); say(2, source='child')", 0),
}


@pytest.mark.parametrize("method", [METHODS[0], METHODS[2]])
@pytest.mark.parametrize(
    "ending", slow_but(["sys.exit", "a finalizer that logs", "logging that was shut down"], ENDINGS)
)
def test_a_child_delivers_however_it_ends(ending: str, method: str) -> None:
    """An exception, `sys.exit`, a late finalizer or an early shutdown cost a child no event."""
    statements, exitcode = ENDINGS[ending]
    program = _child(f"        say(1, source='child')\n        {statements.strip()}\n")
    with Collector() as collector:
        ended = run(program, collector.url, flags=FORKING, arguments=[method], err=None)
        assert ended.facts["exitcode"] == exitcode
        assert "fslog:" not in ended.err
        expected = [1, 2] if "source" in statements else [1]
        assert numbers(collector, "child") == expected
        assert numbers(collector) == [1, 2]


@pytest.mark.parametrize("method", METHODS)
def test_a_child_does_not_wait_longer_than_shutdown_timeout(method: str) -> None:
    """An endpoint that hangs delays a child by `shutdown_timeout`; it reports what it abandoned."""
    program = _child(
        """
        say(1, source="child")
        tell(child_left_at=time.monotonic())
""",
        after="os._exit(0)",
    ).replace("handle()", "handle(shutdown_timeout=0.5)")
    with Collector() as collector:
        collector.always(Answer(then="hang"))
        ended = run(program, collector.url, flags=FORKING, arguments=[method], err=None)
    assert ended.facts["exitcode"] == 0
    assert ended.facts["joined_at"] - ended.facts["child_left_at"] < 0.5 + 4.0
    assert ended.err.count("abandoned ") == len(ended.err.splitlines()) == 1
    assert " 1 event " in ended.err


def test_a_hook_of_fork_that_logs_in_the_child() -> None:
    """An event that a `register_at_fork` hook logs in a child arrives with the child's others."""
    program = _child("        say(2, source='child')\n").replace(
        "    def configure():",
        "    os.register_at_fork(after_in_child=lambda: say(1, source='child'))\n\n"
        "    def configure():",
    )
    with Collector() as collector:
        run(program, collector.url, flags=FORKING, arguments=["fork"])
        assert numbers(collector, "child") == [1, 2]
        assert numbers(collector) == [1, 2]


def test_grandchildren() -> None:
    """A child that has children itself delivers, and so do they."""
    program = _child(
        """
        say(1, source="child")
        import multiprocessing
        children = [
            multiprocessing.get_context("fork").Process(target=work, args=(number,))
            for number in (2, 3)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join()
"""
    )
    with Collector() as collector:
        run(program, collector.url, flags=FORKING, arguments=["fork"])
        assert sorted(said(collector)) == [
            *(("child", number) for number in (1, 2, 3)),
            *(("main", number) for number in (1, 2)),
        ]
