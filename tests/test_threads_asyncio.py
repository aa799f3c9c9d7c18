"""Threads and asyncio tasks: each event arrives once, in the order of the log calls."""

from __future__ import annotations

from collections import defaultdict

import pytest

from fslog.collector import Answer, Collector
from processes import numbers, run, said


def _by_source(collector: Collector) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for source, number in said(collector):
        found[source].append(number)
    return dict(found)


@pytest.mark.parametrize(
    "settings",
    [
        "",
        "batch_events=70",
        pytest.param(
            "batch_bytes=500, compression=None, shutdown_timeout=90", marks=pytest.mark.slow
        ),
    ],
)
def test_eight_threads(settings: str) -> None:
    """Eight threads log at full speed: each event arrives once, in the order of its thread."""
    program = f"""
        import threading
        from counted import *
        handler = handle({settings})
        start = threading.Barrier(8)
        def work(name):
            start.wait()
            for number in range(1000):
                say(number, source=name)
        threads = [threading.Thread(target=work, args=(f"thread {{n}}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert balance(handler)["accepted"] == 8000
        """
    with Collector() as collector:
        run(program, collector.url)
        expected = {f"thread {n}": list(range(1000)) for n in range(8)}
        assert _by_source(collector) == expected
        if settings == "batch_events=70":
            # The first event, or what waits after a pause, is posted at once.
            assert max(request.events for request in collector.requests) == 70


def test_order_across_batches_and_failures() -> None:
    """Batches of seven arrive in the order of their log calls, though every other POST fails."""
    program = """
        from counted import *
        handler = handle(batch_events=7, max_backoff=0.01)
        for number in range(500):
            say(number)
        assert handler.flush(20)
        """
    with Collector() as collector:
        failures = [Answer(503), Answer(then="close"), Answer(429), Answer(then="reset")]
        collector.script(*[one for bad in failures * 5 for one in (bad, Answer(200))])
        run(program, collector.url, err=None)
        assert numbers(collector) == list(range(500))


def test_threads_that_block_for_room_get_it() -> None:
    """With `overflow="block"` and little room, six threads wait for it, and no event is refused."""
    program = """
        import threading
        from counted import *
        handler = handle(
            batch_events=5, buffer_bytes=3000, overflow="block", compression=None, block_timeout=60
        )
        def work(name):
            for number in range(150):
                say(number, source=name)
        threads = [threading.Thread(target=work, args=(f"thread {n}",)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert handler.stats().refused == 0
        """
    with Collector() as collector:
        run(program, collector.url)
        assert _by_source(collector) == {f"thread {n}": list(range(150)) for n in range(6)}


def test_threads_flush_and_close_at_once() -> None:
    """Threads that log, flush and close without pause lose nothing, and every flush succeeds."""
    program = """
        import threading
        from counted import *
        handler = handle(batch_events=5)
        longest = []
        def work(name):
            slowest = 0.0
            for number in range(150):
                say(number, source=name)
                began_at = time.monotonic()
                assert handler.flush(20)
                slowest = max(slowest, time.monotonic() - began_at)
                if number % 3 == 0:
                    handler.close()
            longest.append(slowest)
        threads = [threading.Thread(target=work, args=(f"thread {n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        tell(longest=max(longest))
        """
    with Collector() as collector:
        facts = run(program, collector.url).facts
        assert _by_source(collector) == {f"thread {n}": list(range(150)) for n in range(4)}
        assert facts["longest"] < 5.0


def test_asyncio_tasks_keep_their_context() -> None:
    """Tasks that interleave at every `await` log with the ids that each of them bound."""
    program = """
        import asyncio
        import fslog
        from counted import *
        handler = handle(batch_events=7)
        async def work(name):
            with fslog.context.bound(accountId=f"account {name}", userId=f"user {name}"):
                for number in range(50):
                    extra = {"action": "counted", "number": number, "source": name}
                    log.info("said", extra=extra)
                    await asyncio.sleep(0)
        async def main():
            asyncio.get_running_loop().slow_callback_duration = 600.0  # on a busy machine each is
            await asyncio.gather(*(work(f"task {n}") for n in range(20)))
            assert await asyncio.to_thread(handler.flush, 10)
        asyncio.run(main())
        """
    with Collector() as collector:
        run(program, collector.url)
        assert _by_source(collector) == {f"task {n}": list(range(50)) for n in range(20)}
        for event in collector.events:
            assert event["accountId"] == f"account {event['source']}"
            assert event["userId"] == f"user {event['source']}"


def test_an_event_loop_is_not_blocked_by_the_endpoint() -> None:
    """While the endpoint hangs, log calls on the event loop delay no callback."""
    program = """
        import asyncio
        from counted import *
        handle(batch_events=5, shutdown_timeout=0.2)
        async def main():
            slowest = 0.0
            for number in range(2000):
                began_at = time.monotonic()
                say(number)
                slowest = max(slowest, time.monotonic() - began_at)
                await asyncio.sleep(0)
            tell(slowest=slowest)
        asyncio.run(main(), debug=False)
        """
    with Collector() as collector:
        collector.always(Answer(then="hang"))
        ended = run(program, collector.url, err=None)
    # Far below any timeout, and far above the delays of a busy machine.
    assert ended.facts["slowest"] < 0.5
    assert " 2000 events " in ended.err
