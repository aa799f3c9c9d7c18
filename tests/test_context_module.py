"""`context.module`: the time of a block is one `moduleEnd`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import copy_context
from typing import Any

import pytest

from fslog import FreshsuccessHandler, context
from fslog.collector import Collector
from processes import FORKING, run

Seen = list[tuple[str, int]]


class Clock:
    """A monotonic clock that a test turns."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def __call__(self) -> float:
        return self.at

    def passes(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.at += seconds


class Noted(logging.Handler):
    """Note each event with the context in which it was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[logging.LogRecord, dict[str, Any]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note a record."""
        self.records.append((record, dict(context.current())))

    @property
    def seen(self) -> Seen:
        """The modules and their milliseconds, in the order of the events."""
        events = [vars(record)["event"] for record, _ in self.records]
        return [(event["module"], event["timeSpent"]) for event in events]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def noted() -> Iterator[Noted]:
    context.clear()
    logger, handler = logging.getLogger("fslog.events"), Noted()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)
    context.clear()


@pytest.fixture
def timed(clock: Clock) -> Callable[[str], context.module]:
    return lambda name: context.module(name, clock=clock)


def test_a_block_is_one_event_with_its_milliseconds(noted: Noted, clock: Clock) -> None:
    """The event is explicit, at INFO, at the place of the block, with `product` if given."""
    with context.module("reports", product="core", clock=clock):
        clock.passes(90.0)
    ((record, _),) = noted.records
    assert vars(record)["event"] == {
        "action": "moduleEnd",
        "module": "reports",
        "product": "core",
        "timeSpent": 90_000,
    }
    assert (record.levelno, record.name) == (logging.INFO, "fslog.events")
    assert record.pathname == __file__


def test_the_module_is_bound_inside(noted: Noted, clock: Clock) -> None:
    """Events inside have the module unless they say another; afterwards it is as before."""
    context.bind(module="home", userId="ann")
    with context.module("reports", clock=clock):
        assert dict(context.current()) == {"module": "reports", "userId": "ann"}
    assert dict(context.current()) == {"module": "home", "userId": "ann"}


def test_the_time_is_that_of_who_began_it(noted: Noted, clock: Clock) -> None:
    """A generator that is closed in the next request of the thread does not become its user's."""

    def numbers() -> Iterator[int]:
        with context.module("stream", clock=clock):
            yield 1

    context.bind(accountId="acme", userId="ann")
    some = numbers()
    next(some)
    clock.passes(1.0)
    context.clear()
    context.bind(accountId="zeta", userId="bob")
    some.close()  # type: ignore[attr-defined]
    assert noted.records[0][1] == {"accountId": "acme", "userId": "ann", "module": "stream"}
    assert dict(context.current()) == {"accountId": "zeta", "userId": "bob"}


def test_the_user_may_be_known_only_at_the_end(noted: Noted, clock: Clock) -> None:
    """If nobody was bound, a user who is bound inside, as by a sign-in, is it, and stays bound."""
    with context.module("reports", clock=clock):
        clock.passes(1.0)
        context.bind(accountId="acme", userId="ann")
    assert noted.records[0][1] == {"accountId": "acme", "userId": "ann", "module": "reports"}
    assert dict(context.current()) == {"accountId": "acme", "userId": "ann"}


def test_the_event_arrives() -> None:
    """A handler on the root logger delivers it; a real clock measures what passes."""
    root = logging.getLogger()
    level = root.level
    with Collector() as collector:
        handler = FreshsuccessHandler(
            auth_key="a", api_key="b", endpoint=collector.url, enabled=True, spool=None
        )
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        waited = threading.Event()
        try:
            with context.bound(accountId="acme", userId="ann"), context.module("reports"):
                waited.wait(0.02)
            assert handler.flush(10.0)
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
            handler.close()
        (event,) = collector.events
    assert (event["action"], event["module"], event["userId"]) == ("moduleEnd", "reports", "ann")
    assert 20 <= event["timeSpent"] < 10_000


def test_an_inner_block_suspends_the_outer(
    noted: Noted, clock: Clock, timed: Callable[[str], context.module]
) -> None:
    """The time of inner ones, and of theirs, counts once: to the innermost."""
    with timed("reports"):
        clock.passes(1.0)
        with timed("editor"):
            clock.passes(10.0)
            with timed("help"):
                clock.passes(100.0)
            clock.passes(20.0)
        clock.passes(2.0)
        with timed("help"):
            clock.passes(200.0)
    assert noted.seen == [
        ("help", 100_000),
        ("editor", 30_000),
        ("help", 200_000),
        ("reports", 3_000),
    ]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_ends_the_block(
    error: type[BaseException], noted: Noted, clock: Clock, timed: Callable[[str], context.module]
) -> None:
    """The exception passes, the event is there, and the outer block goes on."""
    with timed("reports"):
        with pytest.raises(error), timed("editor"):  # noqa: PT012
            clock.passes(3.0)
            raise error
        clock.passes(1.0)
    assert noted.seen == [("editor", 3_000), ("reports", 1_000)]
    assert dict(context.current()) == {}


@pytest.mark.parametrize(("seconds", "seen"), [(0.0, []), (0.0005, []), (0.0006, [("home", 1)])])
def test_less_than_half_a_millisecond_is_no_event(
    seconds: float, seen: Seen, noted: Noted, clock: Clock, timed: Callable[[str], context.module]
) -> None:
    """Milliseconds are whole; 0 says nothing, and a function called often would say it often."""
    clock.at = 0.0
    with timed("home"):
        clock.passes(seconds)
    assert noted.seen == seen


def test_one_object_may_be_used_again_and_inside_itself(
    noted: Noted, clock: Clock, timed: Callable[[str], context.module]
) -> None:
    """Each use is timed by itself."""
    one = timed("reports")
    with one:
        clock.passes(1.0)
        with one:
            clock.passes(10.0)
    with one:
        clock.passes(100.0)
    assert noted.seen == [("reports", 10_000), ("reports", 1_000), ("reports", 100_000)]


def test_functions_are_timed_at_each_call(
    noted: Noted, clock: Clock, timed: Callable[[str], context.module]
) -> None:
    """Functions, also recursive ones, and coroutine functions; what they return is returned."""

    @timed("sync")
    def down(depth: int) -> int:
        clock.passes(1.0)
        return depth if depth == 0 else down(depth - 1)

    @timed("async")
    async def work() -> str:
        await asyncio.sleep(0)
        clock.passes(5.0)
        return "done"

    assert down(2) == 0
    assert asyncio.run(work()) == "done"
    assert noted.seen == [("sync", 1_000)] * 3 + [("async", 5_000)]


def test_a_generator_function_cannot_be_decorated(timed: Callable[[str], context.module]) -> None:
    """Its body would run in its consumer's context; the message says what to do."""

    def numbers() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for function in (numbers, later):
        with pytest.raises(TypeError, match=r"context\.module cannot decorate the generator"):
            timed("reports")(function)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("",), ValueError, "module is empty"),
        ((None,), TypeError, "module is None"),
        ((7,), TypeError, "module is of type int"),
        (("reports", ""), ValueError, "product is empty"),
        (("reports", 7), TypeError, "product is of type int"),
    ],
)
def test_wrong_names(arguments: Any, error: type[Exception], says: str) -> None:
    """A name that is none is an error where the block is written."""
    name, *product = arguments
    with pytest.raises(error, match=says):
        context.module(name, **({"product": product[0]} if product else {}))


def test_blocks_that_end_in_the_wrong_order(
    noted: Noted, clock: Clock, timed: Callable[[str], context.module]
) -> None:
    """If the outer one ends first (generators), the inner one suspends what is around both."""
    first, second = timed("first"), timed("second")
    with timed("around"):
        first.__enter__()
        clock.passes(1.0)
        second.__enter__()
        clock.passes(10.0)
        first.__exit__(None, None, None)
        clock.passes(100.0)
        second.__exit__(None, None, None)
        clock.passes(1_000.0)
    assert noted.seen == [("first", 1_000), ("second", 110_000), ("around", 1_000_000)]
    assert dict(context.current()) == {}


def test_kinds_of_blocks_that_end_in_the_wrong_order(clock: Clock) -> None:
    """Each takes away what it has bound itself, and nothing else."""
    timed, bound = context.module("reports", clock=clock), context.bound(userId="ann")
    context.bind(module="home", accountId="acme")
    timed.__enter__()
    bound.__enter__()
    timed.__exit__(None, None, None)
    assert context.current()["userId"] == "ann"
    bound.__exit__(None, None, None)
    assert dict(context.current()) == {"module": "home", "accountId": "acme"}
    bound.__enter__()
    timed.__enter__()
    bound.__exit__(None, None, None)
    assert context.current()["module"] == "reports"
    timed.__exit__(None, None, None)
    assert dict(context.current()) == {"module": "home", "accountId": "acme"}


def test_tasks_suspend_what_they_inherit_once(
    noted: Noted, clock: Clock, timed: Callable[[str], context.module]
) -> None:
    """While any of several tasks is in an inner block, the outer one, which waits, is suspended."""

    async def main() -> None:
        begun, ends = asyncio.Event(), asyncio.Event()

        async def work(name: str, waits: bool) -> None:
            with timed(name):
                begun.set()
                if waits:
                    await ends.wait()
                clock.passes(1.0)

        with timed("outer"):
            clock.passes(0.5)
            long = asyncio.create_task(work("long", True))
            await begun.wait()
            for _ in range(200):  # more than are kept
                await asyncio.create_task(work("short", False))
            ends.set()
            await long
            clock.passes(0.25)

    asyncio.run(main())
    assert noted.seen == [*[("short", 1_000)] * 200, ("long", 201_000), ("outer", 750)]


def test_a_task_that_outlives_the_block_suspends_it_no_longer(
    noted: Noted, clock: Clock, timed: Callable[[str], context.module]
) -> None:
    """The outer block's time ends with it, the task's own later."""

    async def main() -> None:
        begun, ends = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            with timed("task"):
                begun.set()
                await ends.wait()
                clock.passes(4.0)

        with timed("outer"):
            clock.passes(1.0)
            task = asyncio.create_task(work())
            await begun.wait()
            clock.passes(2.0)
        ends.set()
        await task

    asyncio.run(main())
    assert noted.seen == [("outer", 1_000), ("task", 6_000)]


def test_threads_time_by_themselves(
    noted: Noted, clock: Clock, timed: Callable[[str], context.module]
) -> None:
    """A thread without the context suspends nothing; one with a copy of it does."""

    def work() -> None:
        with timed("thread"):
            clock.passes(2.0)

    for inherits in (False, True):
        with timed("outer"):
            clock.passes(1.0)
            run = functools.partial(copy_context().run, work) if inherits else work
            thread = threading.Thread(target=run)
            thread.start()
            thread.join(10)
    without, within = noted.seen[:2], noted.seen[2:]
    assert without == [("thread", 2_000), ("outer", 3_000)]
    assert within == [("thread", 2_000), ("outer", 1_000)]


def test_one_object_in_many_threads(noted: Noted) -> None:
    """Threads that share an object each end their own block."""
    clocks = threading.local()
    shared = context.module("reports", clock=lambda: clocks.at)
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        clocks.at = 0.0
        for _ in range(50):
            with shared:
                barrier.wait(10)
                clocks.at += number
                barrier.wait(10)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    wanted = [("reports", number * 1000) for number in range(1, 9) for _ in range(50)]
    assert sorted(noted.seen) == wanted
    assert not shared._open


def test_greenlets_time_by_themselves(noted: Noted, clock: Clock) -> None:
    """Greenlets that alternate within their blocks do not suspend each other."""
    greenlet = pytest.importorskip("greenlet")

    def work(name: str) -> None:
        context.bind(userId=name)
        with context.module(name, clock=clock):
            main.switch()
            clock.passes(1.0)

    main = greenlet.getcurrent()
    both = [greenlet.greenlet(work), greenlet.greenlet(work)]
    for one, name in zip(both, ("ann", "bob"), strict=True):
        one.switch(name)
    clock.passes(5.0)
    for one in both:
        one.switch()
    assert noted.seen == [("ann", 6_000), ("bob", 7_000)]
    assert [bound["userId"] for _, bound in noted.records] == ["ann", "bob"]


def test_a_block_that_ends_elsewhere_keeps_its_user(noted: Noted, clock: Clock) -> None:
    """An async generator that a task of bob's closes has timed ann, and is ann's event."""

    async def numbers() -> AsyncIterator[int]:
        with context.module("stream", clock=clock):
            yield 1

    async def begin(some: AsyncIterator[int]) -> None:
        context.bind(accountId="acme", userId="ann")
        await anext(some)

    async def close(some: Any) -> None:
        context.bind(accountId="zeta", userId="bob")
        await some.aclose()

    async def main() -> None:
        some = numbers()
        await asyncio.create_task(begin(some))
        clock.passes(7.0)
        await asyncio.create_task(close(some))

    asyncio.run(main())
    assert noted.seen == [("stream", 7_000)]
    assert noted.records[0][1]["userId"] == "ann"


def test_which_of_several_ended_elsewhere_is_not_guessed(noted: Noted, clock: Clock) -> None:
    """One object with blocks of two users, one of which ends elsewhere: no event names either."""
    shared = context.module("stream", clock=clock)

    def begin(user: str) -> None:
        context.bind(userId=user)
        shared.__enter__()

    for user in ("ann", "bob"):
        copy_context().run(begin, user)
    clock.passes(1.0)
    shared.__exit__(None, None, None)
    assert noted.seen == []
    shared.__exit__(None, None, None)
    assert (noted.seen, noted.records[0][1]["userId"]) == ([("stream", 1_000)], "bob")
    shared.__exit__(None, None, None)
    assert len(noted.records) == 1


def test_blocks_that_ended_take_no_memory(
    noted: Noted,
    clock: Clock,
    timed: Callable[[str], context.module],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that stays in one block does not accumulate what ended inside it."""
    monkeypatch.setattr(logging.getLogger("fslog.events"), "propagate", False)  # pytest keeps all
    counts = []
    with timed("server"):
        for _ in range(4):
            for _ in range(500):
                with timed("request"):
                    clock.passes(1.0)
            noted.records.clear()
            gc.collect()
            counts.append(len(gc.get_objects()))
    assert counts[-1] - counts[1] < 200
    assert noted.seen == []  # the server's own time is none, which is no event


class Raising:
    """A context variable; a signal handler raises right after its first `set`."""

    def __init__(self, variable: Any) -> None:
        self.get, self._set, self._is_first = variable.get, variable.set, True

    def set(self, value: Any) -> None:
        """Set it, and raise once."""
        self._set(value)
        if self._is_first:
            self._is_first = False
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["_bound", "_blocks"])
def test_a_block_that_is_interrupted_while_it_begins_suspends_nothing(
    name: str,
    noted: Noted,
    clock: Clock,
    timed: Callable[[str], context.module],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The outer block goes on, and nothing is bound."""
    with timed("outer"):
        with monkeypatch.context() as patched:
            patched.setattr(context, name, Raising(getattr(context, name)))
            with pytest.raises(KeyboardInterrupt), timed("inner"):
                raise AssertionError("it has begun")
        assert dict(context.current()) == {"module": "outer"}
        clock.passes(1.0)
    assert noted.seen == [("outer", 1_000)]


@pytest.mark.parametrize("seed", range(40))
def test_no_time_counts_twice(seed: int, noted: Noted) -> None:
    """Blocks of one context that begin and end in any order sum up to at most the time passed.

    It is all of that time while the first of them stays open.
    """
    chance, clock = random.Random(seed), Clock()
    open_blocks: list[context.module] = []
    with context.module("first", clock=clock):
        for number in range(chance.randrange(1, 200)):
            clock.passes(chance.choice([0.0, 0.001, 1.0, 60.0]))
            if open_blocks and chance.random() < 0.5:
                open_blocks.pop(chance.randrange(len(open_blocks))).__exit__(None, None, None)
            else:
                open_blocks.append(context.module(f"m{number % 5}", clock=clock))
                open_blocks[-1].__enter__()
        while open_blocks:
            open_blocks.pop(chance.randrange(len(open_blocks))).__exit__(None, None, None)
    passed = (clock.at - 1_000.0) * 1000
    total = sum(milliseconds for _, milliseconds in noted.seen)
    assert total == pytest.approx(passed, abs=0.5 * 201 + 1)
    assert all(milliseconds > 0 for _, milliseconds in noted.seen)


def test_a_filter_that_raises_ends_the_block_all_the_same(noted: Noted, clock: Clock) -> None:
    """What the application's own filter raises is its own; the module is not bound any more."""

    class Broken(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise ZeroDivisionError

    broken, logger = Broken(), logging.getLogger("fslog.events")
    logger.addFilter(broken)
    with contextlib.ExitStack() as stack:
        stack.callback(logger.removeFilter, broken)
        with pytest.raises(ZeroDivisionError), context.module("reports", clock=clock):
            clock.passes(1.0)
    assert dict(context.current()) == {}


def test_a_fork_in_a_block_counts_its_time_once() -> None:
    """Parent and child both leave the block: the event is the parent's; the child's own are its."""
    program = """
        import os
        from counted import *
        from fslog import context
        now = [0.0]
        handler = handle(logging.getLogger("fslog.events"))
        logging.getLogger("fslog.events").setLevel(logging.INFO)
        def module(name):
            return context.module(name, clock=lambda: now[0])
        with context.bound(accountId="a", userId="u"), module("reports"):
            now[0] += 60
            if not (child := os.fork()):
                with module("editor"):
                    now[0] += 7
            else:
                now[0] += 3
        if child:
            assert os.waitpid(child, 0)[1] == 0
        assert handler.flush(10)
        if not child:
            os._exit(0)
        """
    with Collector() as collector:
        run(program, collector.url, flags=FORKING)
        found = [(event["module"], event["timeSpent"]) for event in collector.events]
    assert sorted(found) == [("editor", 7_000), ("reports", 63_000)]
