"""What `fslog` does for all handlers of the process: `stats` and `aflush`."""

from __future__ import annotations

import gc
import logging
import logging.config
import threading
from collections.abc import Iterator

import pytest

import fslog
from fslog import FreshsuccessHandler, process
from fslog.collector import Answer, Collector
from needs import slow_but
from processes import FORKING, numbers, run

EVENT = {"accountId": "acme", "userId": "ann", "action": "pageView", "page": "start"}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide the handlers that other tests have left."""
    gc.collect()
    others = set(process.handlers())
    alive = process.handlers
    monkeypatch.setattr(process, "handlers", lambda: [one for one in alive() if one not in others])
    yield
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
    logging.getLogger("shop").handlers.clear()  # which a configuration without it leaves alone


def make(name: str | None = None) -> FreshsuccessHandler:
    """Create a handler that is disabled, with a name."""
    handler = FreshsuccessHandler(enabled=False)
    if name is not None:
        handler.name = name
    return handler


def test_no_handler() -> None:
    """Without handlers there are no statistics."""
    assert fslog.stats() == {}


def test_handlers_have_the_names_of_dictconfig() -> None:
    """Each handler's own numbers stand under its name, in the order of creation."""
    with Collector() as collector:
        keys = {"auth_key": "auth-0f3b97", "api_key": "api-5c21de", "endpoint": collector.url}
        kind = {"class": "fslog.FreshsuccessHandler", "flush_interval": 600, **keys}
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "handlers": {"usage": kind, "audit": {**kind, "enabled": False}},
                "loggers": {"shop": {"handlers": ["usage", "audit"], "level": "INFO"}},
            }
        )
        logging.getLogger("shop").info("x", extra=EVENT)
        found = fslog.stats()
        assert set(found) == {"usage", "audit"}
        assert (found["usage"].accepted, found["usage"].pending) == (1, 1)
        assert found["audit"] == fslog.Stats()
        (usage, _) = logging.getLogger("shop").handlers
        assert isinstance(usage, FreshsuccessHandler)
        assert found["usage"] == usage.stats()
        assert fslog.flush(10)
        assert fslog.stats()["usage"].delivered == 1
        usage.close()


def test_names_are_unique_and_stable() -> None:
    """Without a name, or with one that a newer handler has, a handler's number is added."""
    first, unnamed = make("usage"), make()
    number = int(next(iter(set(fslog.stats()) - {"usage"})).rpartition("-")[2])
    assert list(fslog.stats()) == ["usage", f"FreshsuccessHandler-{number}"]
    second = make("usage")
    thief = make(f"usage-{number - 1}")
    expected = [
        f"usage-{number - 1}-{number - 1}",
        f"FreshsuccessHandler-{number}",
        "usage",
        f"usage-{number - 1}",
    ]
    assert list(fslog.stats()) == list(fslog.stats()) == expected
    del second, thief
    gc.collect()
    assert list(fslog.stats()) == ["usage", f"FreshsuccessHandler-{number}"]
    del first, unnamed


def test_names_in_a_forked_child() -> None:
    """A child has the same names, and its own numbers."""
    program = """
        import os
        import fslog
        from counted import *
        handler = handle()
        say(1)
        names = list(fslog.stats())
        assert fslog.stats()[names[0]].accepted == 1
        if child := os.fork():
            assert os.waitpid(child, 0)[1] == 0
        else:
            assert fslog.stats() == {names[0]: fslog.Stats()}
            say(2)
            assert fslog.stats()[names[0]].accepted == 1
        """
    with Collector() as collector:
        run(program, collector.url, flags=FORKING)
        assert sorted(numbers(collector)) == [1, 2]


def test_aflush_delivers() -> None:
    """It returns True as soon as everything is delivered, from any task, also several at once."""
    program = """
        import asyncio
        import fslog
        from counted import *
        handler = handle(flush_interval=600)
        async def main():
            assert await fslog.aflush() is True
            say(1)
            assert await fslog.aflush() is True
            assert handler.stats().delivered == 1
            say(2)
            assert await asyncio.gather(*(fslog.aflush(20) for _ in range(5))) == [True] * 5
            assert handler.stats().delivered == 2
        asyncio.run(main(), debug=True)
        """
    with Collector() as collector:
        run(program, collector.url)
        assert numbers(collector) == [1, 2]


def test_aflush_does_not_block_the_event_loop() -> None:
    """While it waits for an endpoint that does not answer, other tasks run; then it is False."""
    program = """
        import asyncio
        import threading
        import fslog
        from counted import *
        handle(flush_interval=600, shutdown_timeout=0)
        async def main():
            busy = threading.Event()
            loop = asyncio.get_running_loop()
            # Every thread of the loop's own executor is busy.
            waiting = [loop.run_in_executor(None, busy.wait) for _ in range(40)]
            say(1)
            turns = 0
            flushing = asyncio.ensure_future(fslog.aflush(0.5))
            while not flushing.done():
                await asyncio.sleep(0.01)
                turns += 1
            assert await flushing is False
            assert turns > 5
            busy.set()
            await asyncio.gather(*waiting)
        asyncio.run(main())
        """
    with Collector() as collector:
        collector.always(Answer(then="hang"))
        run(program, collector.url, err=None)


@pytest.mark.parametrize("way", slow_but(["task.cancel()"], ["task.cancel()", "loop.stop()"]))
def test_aflush_that_is_cancelled(way: str) -> None:
    """The call ends at once, the process does not wait for the thread, and nothing is reported."""
    program = f"""
        import asyncio
        import fslog
        from counted import *
        handle(flush_interval=600, shutdown_timeout=0.1)
        async def main():
            say(1)
            loop = asyncio.get_running_loop()
            task = asyncio.ensure_future(fslog.aflush(60))
            await asyncio.sleep(0.05)
            assert not task.done()
            loop.call_soon(lambda: {way})
            try:
                await task
            except asyncio.CancelledError:
                tell(cancelled=True)
                raise
        try:
            asyncio.run(main(), debug=True)
        except (asyncio.CancelledError, RuntimeError):
            pass
        leave()
        """
    with Collector() as collector:
        collector.always(Answer(then="hang"))
        ended = run(program, collector.url, err=None)
        assert ended.facts["cancelled"]
        assert ended.leaving_seconds < 20
        assert len(ended.err.splitlines()) == 1
        assert "1 event" in ended.err


def test_aflush_after_a_cancelled_one() -> None:
    """A cancelled call does not disturb the delivery or the next call."""
    program = """
        import asyncio
        import fslog
        from counted import *
        handler = handle(flush_interval=600)
        async def main():
            say(1)
            for _ in range(3):
                try:
                    await asyncio.wait_for(fslog.aflush(30), 0)
                except asyncio.TimeoutError:
                    pass
            assert await fslog.aflush(30) is True
            assert handler.stats().delivered == 1
        asyncio.run(main(), debug=True)
        """
    with Collector() as collector:
        run(program, collector.url)
        assert numbers(collector) == [1]


def test_aflush_outside_of_an_event_loop() -> None:
    """Without a running event loop of asyncio, no thread is started."""
    before = threading.active_count()
    call = fslog.aflush()
    with pytest.raises(RuntimeError, match="no running event loop"):
        call.send(None)
    assert threading.active_count() == before
