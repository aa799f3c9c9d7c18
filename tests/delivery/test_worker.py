"""At most one thread serves, however its start is interrupted, doubled or refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from fslog import process
from fslog.delivery.worker import Token, Worker, start_thread

WAIT_SECONDS = 30.0


class Interrupt(KeyboardInterrupt):
    """Stand in for what a signal handler raises."""


class Served:
    """A worker whose thread serves until it may end, and the tokens that have served."""

    def __init__(self, start: Callable[..., Any] = start_thread, **given: Any) -> None:
        self.tokens: list[object] = []
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Event()
        self.worker = Worker(self._serve, start=start, **given)

    def _serve(self, token: object) -> None:
        self.tokens.append(token)
        self.begun.release()
        assert self.may_end.wait(WAIT_SECONDS)

    def end(self) -> None:
        """Let the thread end, and wait until it has."""
        self.may_end.set()
        assert self.worker.wait(WAIT_SECONDS)
        assert not self.worker.is_served()


def test_a_start_is_not_waited_for() -> None:
    """`ensure` returns before the thread has begun, and then starts no other."""
    asked: list[Any] = []
    served = Served(lambda *call: asked.append(call))
    assert served.worker.ensure()
    assert served.worker.ensure()
    assert served.worker.is_served()
    [(function, arguments)] = asked
    start_thread(function, arguments)
    assert served.begun.acquire(timeout=WAIT_SECONDS)
    assert served.worker.ensure()
    served.end()
    assert len(asked) == len(served.tokens) == 1


def test_of_many_that_are_started_one_serves() -> None:
    """Threads that find the role taken end without serving."""
    served = Served()
    assert served.worker.ensure()
    assert served.begun.acquire(timeout=WAIT_SECONDS)
    others = [Token() for _ in range(5)]
    for other in others:
        start_thread(served.worker._begin, (other,))
    for other in others:
        assert other.ended.acquire(timeout=WAIT_SECONDS)
    assert served.worker.is_served()
    served.end()
    assert len(served.tokens) == 1


@pytest.mark.parametrize("is_started", [True, False])
def test_a_start_that_is_interrupted_leaves_one_thread(is_started: bool) -> None:
    """One thread serves, whether the exception came before or after the system started it."""
    interrupts = [Interrupt()]
    started: list[Token] = []

    def start(*call: Any) -> None:
        if is_started or not interrupts:
            started.extend(call[1])
            start_thread(*call)
        if interrupts:
            raise interrupts.pop()

    served = Served(start)
    with pytest.raises(Interrupt):
        served.worker.ensure()
    assert served.begun.acquire(timeout=WAIT_SECONDS)
    assert served.worker.ensure()
    for token in started:
        if token not in served.tokens:
            assert token.ended.acquire(timeout=WAIT_SECONDS)
    served.end()
    assert len(served.tokens) == 1
    assert len(started) == (2 if is_started else 1)
    assert started[-1].is_spare


def test_a_system_without_threads_is_asked_again() -> None:
    """If no thread can be started, `ensure` returns False, and the next call tries again."""
    refusals = [RuntimeError("can't start new thread")]

    def start(*call: Any) -> None:
        if refusals:
            raise refusals.pop()
        start_thread(*call)

    served = Served(start)
    assert not served.worker.ensure()
    assert not served.worker.is_served()
    assert served.worker.ensure()
    assert served.begun.acquire(timeout=WAIT_SECONDS)
    served.end()


def test_a_thread_that_lends_itself_keeps_others_out() -> None:
    """While a token has the role no thread is started; `release` frees the role."""
    served = Served()
    token = object()
    assert served.worker.claim(token)
    assert served.worker.serves(token)
    assert not served.worker.claim(object())
    assert served.worker.ensure()
    served.worker.release(object())
    assert served.worker.serves(token)
    served.worker.release(token)
    assert not served.worker.is_served()
    assert served.tokens == []


def test_where_threads_must_end_they_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of a sub-interpreter every thread is joined, and no other is started."""
    monkeypatch.setattr(process, "_is_over", False)
    served = Served(must_join=True)
    assert served.worker.ensure()
    assert served.begun.acquire(timeout=WAIT_SECONDS)
    before = threading.active_count()
    served.worker.end()
    assert not served.worker.serves(served.tokens[0])
    served.may_end.set()
    process.join_threads()
    assert not served.worker.is_served()
    assert not served.worker.ensure()
    assert threading.active_count() <= before
    assert not Served(must_join=True).worker.ensure()
    lent = object()
    assert served.worker.claim(lent)
    assert served.worker.serves(lent)


def test_threads_that_ended_are_not_kept() -> None:
    """If each batch has its own thread, the handles of those that ended do not accumulate."""
    for _ in range(5):
        served = Served(must_join=True)
        assert served.worker.ensure()
        assert served.begun.acquire(timeout=WAIT_SECONDS)
        [*_, thread] = process._threads
        served.end()
        until = time.monotonic() + WAIT_SECONDS
        while not thread.is_done():
            assert time.monotonic() < until
            time.sleep(0.001)
    assert len(process._threads) == 1


def test_the_end_waits_for_a_thread_to_begin() -> None:
    """`wait_begun` returns when a started thread has begun, or after a bounded time."""
    asked: list[Any] = []
    served = Served(lambda *call: asked.append(call))
    assert served.worker.ensure()
    served.worker.wait_begun(0.01)
    assert served.tokens == []
    [(function, arguments)] = asked
    threading.Timer(0.05, start_thread, (function, arguments)).start()
    served.worker.wait_begun(WAIT_SECONDS)
    assert served.begun.acquire(timeout=WAIT_SECONDS)
    served.worker.wait_begun(0.0)
    served.end()
