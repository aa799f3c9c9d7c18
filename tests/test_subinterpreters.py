"""Sub-interpreters, in which mod_wsgi and uWSGI run applications: delivered, and ended in order."""

from __future__ import annotations

import sys

import pytest

from fslog.collector import Collector
from needs import slow_but
from processes import numbers, run

PROGRAM = """
    import sys
    import textwrap
    import time
    if sys.version_info >= (3, 13):
        import _interpreters as interpreters
        create = lambda: interpreters.create({new!r})
    else:
        import _xxsubinterpreters as interpreters
        create = lambda: interpreters.create(isolated={isolated})
    script = '''
    import sys
    sys.path.insert(0, ".")
    import atexit
    from counted import *
    late = []
    atexit.register(lambda: [say(number) for number in late])  # called after fslog's own
    handler = handle()
    for number in range(3):
        say(number)
    assert handler.flush(20)
    {last}
    '''
    for _ in range(2):
        made = create()
        failed = interpreters.run_string(made, textwrap.dedent(script))
        assert failed is None, failed
        until = time.monotonic() + 20
        while True:
            try:
                interpreters.destroy(made)
                break
            except RuntimeError:  # before 3.12: while the thread has not ended
                assert time.monotonic() < until
                time.sleep(0.01)
    """

LAST = {
    "an idle thread": "pass",
    "an event that waits": "say(3)",
    "an event that waits, and a later one": "say(3); late.append(4)",
    "a thread that is ending": """
    import fslog.delivery.listener
    dequeue = fslog.delivery.listener.Listener.dequeue
    def slowly(*arguments):
        item = dequeue(*arguments)
        if item is None:
            time.sleep(0.05)
        return item
    fslog.delivery.listener.Listener.dequeue = slowly
    say(3)
    handler.flush(20)
    """,
}


@pytest.mark.parametrize("last", slow_but(["an idle thread", "a thread that is ending"], LAST))
@pytest.mark.parametrize("kind", ["legacy", "isolated"])
def test_a_sub_interpreter_ends_with_its_thread(kind: str, last: str) -> None:
    """Its events arrive, and its end neither aborts the process nor leaves a thread running."""
    if kind == "isolated" and sys.version_info < (3, 13):
        pytest.skip("before 3.13 `import ssl` in an isolated interpreter crashes CPython")
    if last != "an idle thread" and sys.version_info < (3, 12):
        pytest.skip("before 3.12 an interpreter that has a thread cannot be asked to end from here")
    text = PROGRAM.format(new=kind, isolated=kind == "isolated", last=LAST[last])
    with Collector() as collector:
        ended = run(text, collector.url, flags=(), err=None)
        assert "Fatal" not in ended.err
        each = {"an idle thread": 3, "an event that waits, and a later one": 5}.get(last, 4)
        assert numbers(collector) == list(range(each)) * 2
