"""Properties bound to a request, a task or a thread (DESIGN 5.3)."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

import fslog
from fslog import context
from readme_blocks import environment

ACME = {"accountId": "acme"}
ANN = {"userId": "ann"}
BOTH = {**ACME, **ANN}


def now() -> dict[str, Any]:
    return dict(context.current())


@pytest.fixture(autouse=True)
def _nothing_bound() -> Iterator[None]:
    context.clear()
    yield
    context.clear()


def test_nothing_is_bound_at_first() -> None:
    """Without a call of `bind` there are no properties."""
    assert now() == {}


def test_bind_adds_and_replaces() -> None:
    """A property stays bound; if it is bound again, the newer value counts."""
    context.bind(accountId="acme")
    context.bind(userId="ann")
    assert now() == BOTH
    context.bind(userId="bob", tier="gold")
    assert now() == {"accountId": "acme", "userId": "bob", "tier": "gold"}
    context.bind()
    assert now() == {"accountId": "acme", "userId": "bob", "tier": "gold"}


def test_values_are_bound_as_they_are() -> None:
    """Values are neither converted nor copied: an event checks them."""
    value: list[int] = []
    context.bind(none=None, tags=value)
    assert now() == {"none": None, "tags": []}
    assert context.current()["tags"] is value


def test_unbind_forgets_what_is_named_and_nothing_else() -> None:
    """A name that is not bound is ignored."""
    context.bind(accountId="acme", userId="ann", tier="gold")
    context.unbind("userId", "sessionId")
    assert now() == {"accountId": "acme", "tier": "gold"}
    context.unbind()
    context.unbind("accountId", "tier")
    assert now() == {}
    context.unbind("accountId")
    assert now() == {}


def test_clear_forgets_everything() -> None:
    """After `clear` nothing is bound; a second call does nothing."""
    context.bind(accountId="acme", userId="ann")
    context.clear()
    assert now() == {}
    context.clear()
    assert now() == {}


@pytest.mark.parametrize("binder", [context.bind, context.bound])
def test_an_action_cannot_be_bound(binder: Any) -> None:
    """An action is a ValueError, and no property of the call is bound."""
    with pytest.raises(ValueError, match="action"):
        binder(accountId="acme", action="feature")
    assert now() == {}


def test_any_property_but_action_can_be_bound() -> None:
    """Names such as `self` are properties like others."""
    names = ["self", "properties", "name", "module", "event", "cls", "class"]
    wanted = dict.fromkeys(names, "x")
    context.bind(**wanted)
    assert now() == wanted
    context.clear()
    with context.bound(**wanted):
        assert now() == wanted


def test_a_block_binds_for_its_length() -> None:
    """Inside the block its properties win; after it the previous ones are restored."""
    context.bind(accountId="acme", userId="ann")
    with context.bound(userId="bob", tier="gold"):
        assert now() == {"accountId": "acme", "userId": "bob", "tier": "gold"}
    assert now() == BOTH


def test_blocks_nest() -> None:
    """Each block adds to the outer one, and removes only its own properties."""
    with context.bound(accountId="acme"):
        with context.bound(userId="ann"):
            with context.bound(accountId="zeta"):
                assert now() == {"accountId": "zeta", "userId": "ann"}
            assert now() == BOTH
        assert now() == ACME
    assert now() == {}


def test_one_instance_can_be_used_again_and_inside_itself() -> None:
    """An instance can be entered several times."""
    block = context.bound(userId="ann")
    for _ in range(2):
        with block:
            context.bind(userId="bob")
            with block:
                assert now() == ANN
            assert now() == {"userId": "bob"}
        assert now() == {}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_an_exception_ends_a_block_and_passes(error: type[BaseException]) -> None:
    """The previous properties are restored, and the exception propagates."""
    context.bind(accountId="acme")
    raised = error("x")
    with pytest.raises(error) as caught, context.bound(userId="ann"):
        raise raised
    assert caught.value is raised
    assert now() == ACME


def test_whatever_a_block_does_ends_with_it() -> None:
    """`bind`, `unbind` and `clear` inside a block have effect until its end."""
    context.bind(accountId="acme")
    with context.bound(userId="ann"):
        context.bind(tier="gold")
        context.unbind("accountId")
        context.clear()
        assert now() == {}
        context.bind(accountId="zeta")
    assert now() == ACME


def test_blocks_that_end_out_of_order_leave_nothing_bound() -> None:
    """A generator whose block ends inside another block leaves nothing bound."""

    def numbers() -> Iterator[int]:
        with context.bound(userId="ann"):
            yield 1

    some = numbers()
    next(some)
    with context.bound(accountId="acme"):
        some.close()  # type: ignore[attr-defined]
        assert now()["accountId"] == "acme"
    assert now() == {}


def test_what_was_inherited_cannot_be_altered() -> None:
    """A copy of a context keeps its properties, whatever either side binds later."""
    context.bind(accountId="acme")
    inherited = context.current()
    child = copy_context()
    context.bind(userId="ann")
    assert child.run(now) == ACME
    child.run(context.bind, tier="gold")
    assert now() == BOTH
    child.run(context.clear)
    assert now() == BOTH
    assert dict(inherited) == ACME


def test_the_callers_mapping_is_not_kept() -> None:
    """A later change of a dict that was passed by `**` has no effect."""
    given = {"userId": "ann"}
    context.bind(**given)
    block = context.bound(**given)
    given["userId"] = "bob"
    assert now() == ANN
    with block:
        assert now() == ANN


# Threads


def test_a_thread_neither_sees_nor_changes_what_another_has_bound() -> None:
    """Two threads that bind at the same time each see their own, and a new one sees nothing.

    Unless threads inherit the context of their creator, as the free-threaded Python has it.
    """
    context.bind(accountId="acme")
    inherited = ACME if getattr(sys.flags, "thread_inherit_context", 0) else {}
    meeting = threading.Barrier(2)
    seen: dict[str, list[dict[str, Any]]] = {"ann": [], "bob": []}

    def run(user: str) -> None:
        seen[user].append(now())
        context.bind(userId=user)
        meeting.wait(10)
        seen[user].append(now())
        with context.bound(tier=user):
            meeting.wait(10)
            seen[user].append(now())
        meeting.wait(10)
        seen[user].append(now())

    threads = [threading.Thread(target=run, args=(user,)) for user in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    for user, found in seen.items():
        mine = {**inherited, "userId": user}
        assert found == [inherited, mine, {**mine, "tier": user}, mine]
    assert now() == ACME


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before, no thread inherits a context")
@pytest.mark.parametrize("flag", ["0", "1"])
def test_a_thread_begins_with_what_is_bound_if_python_says_so(flag: str) -> None:
    """With `thread_inherit_context` it sees its creator's properties, and keeps its own."""
    program = """
    import threading
    from fslog import context

    found = []
    context.bind(accountId="acme")
    thread = threading.Thread(target=lambda: (found.append(dict(context.current())),
                                              context.bind(accountId="other")))
    thread.start()
    thread.join()
    print(found[0], dict(context.current()))
    """
    env = {**environment({}), "PYTHON_THREAD_INHERIT_CONTEXT": flag}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == f"{ACME if flag == '1' else {}} {ACME}\n"


def test_threads_may_share_one_block() -> None:
    """One instance entered by two threads at once restores each thread's properties."""
    block = context.bound(userId="system")
    entered, left = threading.Event(), threading.Event()

    def first() -> dict[str, Any]:
        context.bind(accountId="first")
        with block:
            entered.set()
            assert left.wait(10)
        return now()

    def second() -> dict[str, Any]:
        context.bind(accountId="second")
        assert entered.wait(10)
        block.__enter__()
        left.set()
        try:
            one.result(10)
        finally:
            block.__exit__(None, None, None)
        return now()

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(first)
        other = pool.submit(second)
        assert one.result(10) == {"accountId": "first"}
        assert other.result(10) == {"accountId": "second"}


def test_a_decorated_function_can_run_in_many_threads_at_once() -> None:
    """Calls that overlap in threads do not end each other's binding."""
    meeting = threading.Barrier(8)

    @context.bound(userId="system")
    def work(number: int) -> dict[str, Any]:
        context.bind(number=number)
        meeting.wait(10)
        return now()

    def run(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        context.bind(accountId=f"account {number}")
        return work(number), now()

    with ThreadPoolExecutor(8) as pool:
        for number, (inside, after) in enumerate(pool.map(run, range(8))):
            account = {"accountId": f"account {number}"}
            assert inside == {**account, "userId": "system", "number": number}
            assert after == account


# Decorated functions


def test_a_decorated_function_is_bound_during_each_call() -> None:
    """The function keeps its name, arguments and result; each call binds and restores."""

    @context.bound(userId="ann")
    def add(one: int, *, other: int) -> tuple[int, dict[str, Any]]:
        """Add."""
        return one + other, now()

    assert (add.__name__, add.__doc__) == ("add", "Add.")
    assert now() == {}
    for _ in range(2):
        assert add(1, other=2) == (3, ANN)
        assert now() == {}


def test_a_decorated_function_that_raises_forgets() -> None:
    """The binding ends with the call, however it ends."""

    @context.bound(userId="ann")
    def fail() -> None:
        raise LookupError(now()["userId"])

    with pytest.raises(LookupError, match="ann"):
        fail()
    assert now() == {}


def test_a_decorated_function_may_call_itself() -> None:
    """Every return of a recursion restores the caller's properties."""

    @context.bound(userId="ann")
    def count(depth: int) -> None:
        context.bind(depth=depth)
        if depth:
            count(depth - 1)
        assert now() == {"userId": "ann", "depth": depth}

    count(100)
    assert now() == {}


def test_methods_can_be_decorated() -> None:
    """`self` and the class arrive as without the decorator."""

    class Report:
        name = "totals"

        @context.bound(userId="ann")
        def export(self) -> tuple[str, dict[str, Any]]:
            return self.name, now()

        @classmethod
        @context.bound(userId="ann")
        def make(cls) -> tuple[type, dict[str, Any]]:
            return cls, now()

        @staticmethod
        @context.bound(userId="ann")
        def who() -> dict[str, Any]:
            return now()

    assert Report().export() == ("totals", ANN)
    assert Report.make() == (Report, ANN)
    assert Report.who() == ANN
    assert now() == {}


def test_a_decorated_coroutine_function_is_bound_while_it_runs() -> None:
    """It stays a coroutine function, is bound across its awaits, and not before it is awaited."""

    @context.bound(userId="ann")
    async def work(value: int) -> tuple[int, dict[str, Any]]:
        """Work."""
        await asyncio.sleep(0)
        return value, now()

    async def main() -> None:
        context.bind(accountId="acme")
        waiting = work(7)
        assert now() == ACME
        assert await waiting == (7, BOTH)
        assert now() == ACME

    assert inspect.iscoroutinefunction(work)
    assert (work.__name__, work.__doc__) == ("work", "Work.")
    asyncio.run(main())


def test_a_decorated_coroutine_that_raises_forgets() -> None:
    """The binding ends with the coroutine, also by an exception or a cancellation."""

    @context.bound(userId="ann")
    async def fail(error: BaseException) -> None:
        await asyncio.sleep(0)
        raise error

    async def main() -> None:
        with pytest.raises(LookupError):
            await fail(LookupError())
        assert now() == {}
        with pytest.raises(asyncio.CancelledError):
            await fail(asyncio.CancelledError())
        assert now() == {}

    asyncio.run(main())


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("function", [generator, async_generator])
def test_a_generator_function_cannot_be_decorated(function: Any) -> None:
    """Its body would run in the consumer's context: a TypeError with its name."""
    with pytest.raises(TypeError, match=function.__name__):
        context.bound(userId="ann")(function)


@pytest.mark.parametrize("function", [generator, async_generator])
def test_a_generator_function_with_arguments_filled_in_cannot_be_decorated(function: Any) -> None:
    """A `functools.partial` of one is rejected, too."""
    with pytest.raises(TypeError, match=function.__name__):
        context.bound(userId="ann")(functools.partial(function))


def test_a_coroutine_function_in_disguise_is_bound_while_it_runs() -> None:
    """A partial, and an object whose call is a coroutine, are bound as the function would be."""

    class Task:
        async def __call__(self) -> dict[str, Any]:
            await asyncio.sleep(0)
            return now()

    async def work(number: int) -> dict[str, Any]:
        await asyncio.sleep(0)
        return now()

    async def main() -> None:
        assert await context.bound(userId="ann")(functools.partial(work, 1))() == ANN
        assert await context.bound(userId="ann")(Task())() == ANN
        assert now() == {}

    asyncio.run(main())


# Tasks


def test_what_a_task_binds_neither_its_siblings_nor_its_parent_see() -> None:
    """A task inherits the properties of its start; those that it binds are its own."""
    seen: dict[str, list[dict[str, Any]]] = {"ann": [], "bob": []}

    async def run(user: str, mine: asyncio.Event, others: asyncio.Event) -> None:
        seen[user].append(now())
        context.bind(userId=user)
        mine.set()
        await others.wait()
        seen[user].append(now())

    async def main() -> None:
        context.bind(accountId="acme")
        ann, bob = asyncio.Event(), asyncio.Event()
        tasks = [
            asyncio.create_task(run("ann", ann, bob)),
            asyncio.create_task(run("bob", bob, ann)),
        ]
        context.bind(tier="gold")
        await asyncio.wait_for(asyncio.gather(*tasks), 10)
        assert now() == {"accountId": "acme", "tier": "gold"}

    asyncio.run(main())
    for user, found in seen.items():
        assert found == [ACME, {"accountId": "acme", "userId": user}]
    assert now() == {}


def test_a_shared_decorated_coroutine_function_can_run_in_many_tasks_at_once() -> None:
    """Calls that overlap, begun and ended in any order, keep their own properties."""

    @context.bound(userId="system")
    async def work(number: int, turns: int) -> dict[str, Any]:
        context.bind(number=number)
        for _ in range(turns):
            await asyncio.sleep(0)
            assert now()["number"] == number
        return now()

    async def run(number: int) -> None:
        account = {"accountId": f"account {number}"}
        context.bind(**account)
        assert await work(number, number * 7 % 10) == {
            **account,
            "userId": "system",
            "number": number,
        }
        assert now() == account

    async def main() -> None:
        await asyncio.gather(*map(run, range(20)))
        assert now() == {}

    asyncio.run(main())


def test_tasks_may_share_one_block() -> None:
    """One instance entered by two tasks at once restores each task's properties."""

    async def main() -> list[dict[str, Any]]:
        block = context.bound(userId="system")
        entered, second_entered = asyncio.Event(), asyncio.Event()

        async def first() -> dict[str, Any]:
            context.bind(accountId="first")
            with block:
                entered.set()
                await second_entered.wait()
            return now()

        async def second() -> dict[str, Any]:
            context.bind(accountId="second")
            await entered.wait()
            with block:
                second_entered.set()
                await one
            return now()

        one = asyncio.create_task(first())
        return [await asyncio.wait_for(second(), 10), one.result()]

    assert asyncio.run(main()) == [{"accountId": "second"}, {"accountId": "first"}]


def test_a_worker_thread_of_a_task_inherits_and_keeps_to_itself() -> None:
    """`asyncio.to_thread` passes the task's properties to the thread, and none back."""

    def work() -> dict[str, Any]:
        before = now()
        context.bind(userId="bob")
        return before

    async def main() -> None:
        context.bind(accountId="acme")
        assert await asyncio.to_thread(work) == ACME
        assert now() == ACME

    asyncio.run(main())


def test_a_callback_of_the_loop_has_what_was_bound_when_it_was_made() -> None:
    """A `call_soon` callback has the properties of the time of the call."""

    async def main() -> None:
        done: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        with context.bound(userId="ann"):
            asyncio.get_running_loop().call_soon(lambda: done.set_result(now()))
        context.bind(userId="bob")
        assert await asyncio.wait_for(done, 10) == ANN

    asyncio.run(main())


async def numbers_for_ann() -> AsyncIterator[int]:
    with context.bound(userId="ann"):
        yield 1


def test_an_async_generator_that_the_loop_closes_ends_its_block_in_silence() -> None:
    """Abandoned with an open block, it is closed in another context, without an error."""
    complaints: list[dict[str, Any]] = []
    kept: list[AsyncIterator[int]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))

        async def begin() -> None:
            some = numbers_for_ann()
            kept.append(some)
            assert await anext(some) == 1

        await asyncio.create_task(begin())
        context.bind(accountId="acme")
        async for number in numbers_for_ann():
            assert number == 1
            break

    asyncio.run(main())
    assert complaints == []
    assert now() == {}
    with pytest.raises(StopAsyncIteration):
        anext(kept[0]).send(None)  # type: ignore[attr-defined]


def test_an_async_generator_closed_by_another_task_leaves_that_task_alone() -> None:
    """The task that closes it keeps its own account, not that of the task that began it."""

    async def main() -> dict[str, Any]:
        some = numbers_for_ann()

        async def begin() -> None:
            context.bind(accountId="first")
            await anext(some)

        async def close() -> dict[str, Any]:
            context.bind(accountId="second")
            with context.bound(tier="gold"):
                await some.aclose()  # type: ignore[attr-defined]
                assert now() == {"accountId": "second", "tier": "gold"}
            return now()

        await asyncio.create_task(begin())
        return await asyncio.create_task(close())

    assert asyncio.run(main()) == {"accountId": "second"}


def test_blocks_that_end_elsewhere_take_no_memory_here() -> None:
    """A worker that abandons many generators does not accumulate their blocks."""

    async def main() -> list[int]:
        counts = []
        for _ in range(4):
            for _ in range(200):
                some = numbers_for_ann()
                await anext(some)
                await asyncio.create_task(some.aclose())  # type: ignore[attr-defined]
            gc.collect()
            counts.append(len(gc.get_objects()))
        return counts

    counts = asyncio.run(main())
    assert counts[-1] - counts[1] < 100


# Greenlets

GREENLETS = """
    import gevent.monkey
    gevent.monkey.patch_all()

    import gevent
    import gevent.event
    from fslog import context

    def now():
        return dict(context.current())

    block = context.bound(userId="system")
    decorated = context.bound(tier="gold")(now)
    entered = {name: gevent.event.Event() for name in ("ann", "bob")}

    def run(name, other):
        context.bind(accountId=name)
        entered[name].set()
        assert entered[other].wait(10)
        assert now() == {"accountId": name}, now()
        with context.bound(userId=name):
            gevent.sleep(0)
            assert now() == {"accountId": name, "userId": name}, now()
            assert decorated() == {"accountId": name, "userId": name, "tier": "gold"}
        with block:
            gevent.sleep(0)
            context.bind(tier=name)
            gevent.sleep(0)
            assert now() == {"accountId": name, "userId": "system", "tier": name}, now()
        gevent.sleep(0)
        return now()

    context.bind(accountId="main")
    greenlets = [gevent.spawn(run, "ann", "bob"), gevent.spawn(run, "bob", "ann")]
    gevent.joinall(greenlets, timeout=20, raise_error=True)
    assert [one.value for one in greenlets] == [{"accountId": "ann"}, {"accountId": "bob"}]
    assert now() == {"accountId": "main"}, now()

    import threading
    found = []
    thread = threading.Thread(target=lambda: (context.bind(userId="bob"), found.append(now())))
    thread.start()
    thread.join(10)
    assert found[0]["userId"] == "bob"
    assert now() == {"accountId": "main"}, now()
    print("right")
"""


def test_greenlets_each_see_their_own() -> None:
    """Under gevent's monkey patching, greenlets and patched threads do not mix their properties."""
    pytest.importorskip("gevent")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(GREENLETS)],
        env={**os.environ, "PYTHONPATH": str(Path(fslog.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("right\n", "", 0)


class Interrupted:
    """A context variable; a signal handler raises right after its first `set`."""

    def __init__(self, variable: Any) -> None:
        self.get = variable.get
        self._set = variable.set
        self._is_first = True

    def set(self, value: Any) -> None:
        """Set it, and be interrupted once."""
        self._set(value)
        if self._is_first:
            self._is_first = False
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["_bound", "_blocks"])
def test_a_block_that_is_interrupted_while_it_begins_binds_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The worker's next task does not have the user of the interrupted one."""
    monkeypatch.setattr(context, name, Interrupted(getattr(context, name)))
    with pytest.raises(KeyboardInterrupt), context.bound(userId="ann"):
        raise AssertionError("it has begun")
    assert dict(context.current()) == {}
    with context.bound(userId="bob"):
        assert dict(context.current()) == {"userId": "bob"}
    assert dict(context.current()) == {}
