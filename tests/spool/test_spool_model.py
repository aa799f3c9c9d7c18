"""No line is lost, wherever a process dies and whichever system call fails.

The model in `crashing` knows which lines must arrive and what fslog's counts must be. The tests run
processes under it: one life in which everything happens, with a fault at each of its system calls
in turn, and random ones.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from crashing import (
    APPENDING,
    CALLS,
    DOWN,
    LOOKING,
    OK,
    OPENING,
    PARTS,
    ROOM_TAKING,
    Fault,
    Plan,
    Process,
    World,
    at,
    nothing,
    since,
)
from fslog.spool.directory import SpoolDirectory
from fslog.spool.filesystem import FileSystem
from fslog.spool.forget import Request

RAM = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
ANYTHING = 1 << 30

PREFERENCES = [
    pytest.param({}, id="as by default"),
    pytest.param({"fsync": "segment", "is_careful": True}, id="each segment synced"),
    pytest.param({"fsync": "line", "batch_bytes": 500, "batch_events": 4}, id="each line synced"),
]

ERRORS: dict[int, frozenset[str]] = {
    errno.EIO: CALLS,
    errno.ENOSPC: ROOM_TAKING | {"fsync", "sync"},
    errno.EACCES: CALLS
    - APPENDING
    - {"close", "truncate", "fstat", "fsync", "read_from", "try_lock"},
}

TROUBLES: dict[str, tuple[frozenset[str], int]] = {
    "full": (ROOM_TAKING - {"write_at_start", "write_at", "replace"}, errno.ENOSPC),
    "full, and never written in place": (ROOM_TAKING, errno.ENOSPC),
    "read-only": (CALLS - LOOKING - {"close", "try_lock"}, errno.EROFS),
    "dead": (CALLS - {"close"}, errno.EIO),
    "nothing can be removed": (frozenset({"unlink"}), errno.EACCES),
    "nothing can be renamed": (frozenset({"replace"}), errno.EIO),
    "no claim can be made": (frozenset({"write_at_start", "write_at"}), errno.EIO),
    "no descriptors": (OPENING | {"read", "is_locked", "listdir", "sizes"}, errno.EMFILE),
    "locks": (frozenset({"try_lock", "is_locked"}), errno.ENOLCK),
}


@contextlib.contextmanager
def a_world(about: str = "") -> Iterator[World]:
    """Return a world; a failure in it is reported with a text."""
    with tempfile.TemporaryDirectory(dir=RAM) as folder:
        try:
            yield World(Path(folder) / "spool")
        except Exception as error:
            raise AssertionError(f"{about or 'here'}: {error}") from error


def log_all(process: Process, sizes: Iterable[int]) -> None:
    """Make a process log lines of some sizes."""
    for size_bytes in sizes:
        process.log(size_bytes)


def leave_an_orphan(world: World) -> None:
    """Leave three segments of a process that died while it wrote a line."""
    process = world.start(batch_events=2)
    assert process is not None
    assert world.do(process, lambda: log_all(process, (150, 150, 150, 150, 150)))
    process.disk.plan = lambda number, name: Fault("half") if name == "write" else None
    assert not world.do(process, lambda: process.log(150))


def live(
    world: World,
    plan: Plan = nothing,
    *,
    is_up: bool = True,
    drains: bool = False,
    heals: bool = False,
    **more: Any,
) -> Process | None:
    """Run a process in whose life everything happens; its plan says what fails.

    Args:
        is_up: whether the endpoint is up from the start, or only towards the end.
        drains: whether all orphans must have been delivered when it ends.
        heals: whether the disk works again before the process ends.
        more: the process's arguments.

    Returns:
        The process, dead or ended; None if it died while it started.
    """
    leave_an_orphan(world)
    process = world.start(plan=plan, **{"batch_events": 3, **more})
    if process is None:
        return None

    def do(act: Callable[[], object], limit_bytes: int = ANYTHING, answers: int = 9) -> None:
        world.limit_bytes = limit_bytes
        world.outcomes = [OK] * (answers if is_up else 0) + [DOWN] * 99
        if process in world.living:
            world.do(process, act)
        world.limit_bytes, world.outcomes = ANYTHING, []

    do(lambda: log_all(process, (150, 150, 150)))
    do(process.buffer.seal)
    do(process.flush)  # the orphan's segments first
    do(lambda: log_all(process, (150, 500, 150)))
    do(process.flush, limit_bytes=400)  # split; one event is too large by itself
    leave_an_orphan(world)
    do(lambda: process.run(30.0))
    if drains and process in world.living:
        dead = {ident for ident in world.kept if ident[0] != process.number}
        assert dead <= set(world.order) or world.is_unread
    do(lambda: log_all(process, (150, 150, 150, 150)))
    if heals:
        process.disk.plan = nothing
    if heals or not is_up:
        is_up = True
        do(lambda: process.run(30.0), limit_bytes=400, answers=99)
    do(process.end, limit_bytes=300, answers=1)  # a part is delivered, the rest stays
    return process


def calls_of_a_life(**preferences: Any) -> list[str]:
    """Return the system calls of a life without faults, by name, and check the life."""
    with a_world("without a fault") as world:
        process = live(world, **preferences)
        assert process is not None
        world.finish()
        assert not world.failed
        assert max(world.arrived.values()) == 1
        assert len(world.too_large) == 1
        # Orphans are sent before the process's own segments.
        numbers = [number for number, _ in itertools.groupby(world.order, lambda ident: ident[0])]
        assert numbers == ([1, 2, 3, 2] if preferences.get("is_up", True) else [1, 3, 2])
        assert len(world.order) == 19
        return process.disk.calls


def calls_to_begin() -> int:
    """Return how many system calls a process makes in an empty directory before it logs."""
    with a_world() as world:
        process = world.start()
        assert process is not None
        calls = len(process.disk.calls)
        world.finish()
        return calls


def test_a_life_makes_every_system_call() -> None:
    """A fault at each call of the life is a fault of each method of the file system."""
    made = {*calls_of_a_life(), *calls_of_a_life(fsync="line"), *calls_of_a_life(fsync="segment")}
    rare = {"truncate", "set_mode"}  # after a partial write; if the modes were changed
    assert made == CALLS - rare
    assert {name for name in vars(FileSystem) if not name.startswith("_")} == CALLS


@pytest.mark.chaos
@pytest.mark.parametrize("preferences", PREFERENCES)
def test_a_process_may_die_at_any_system_call(preferences: dict[str, Any]) -> None:
    """Before it, after it, or with a part of a line written: all logged lines arrive, in order."""
    for number, name in enumerate(calls_of_a_life(**preferences)):
        moments = ["before"] + ["after"] * (name not in LOOKING) + list(PARTS) * (name in APPENDING)
        for moment in moments:
            with a_world(f"died {moment} call {number}, {name}") as world:
                process = live(world, at(number, Fault(moment)), **preferences)
                assert process is None or (process.disk.is_dead and not process.is_ended)
                world.finish()


@pytest.mark.chaos
@pytest.mark.parametrize(("error", "names"), ERRORS.items(), ids=map(errno.errorcode.get, ERRORS))
def test_any_system_call_may_fail(error: int, names: frozenset[str]) -> None:
    """No log call raises, no line is lost, all counts are right, and no lock is kept."""
    for number, name in enumerate(calls_of_a_life()):
        if name not in names:
            continue
        # By POSIX a write that fails wrote nothing; a partial write is not an error.
        is_done = error == errno.EIO and name not in LOOKING and name != "write"
        for moment in ["before"] + ["after"] * is_done + list(PARTS) * (name in APPENDING):
            with a_world(f"failed {moment} call {number}, {name}") as world:
                live(world, at(number, Fault(moment, error)), drains=True)
                world.finish()


@pytest.mark.chaos
def test_any_system_call_may_fail_in_an_outage() -> None:
    """Lines that wait for the endpoint are neither lost nor adopted by another process."""
    begun = calls_to_begin()
    for number, name in list(enumerate(calls_of_a_life(is_up=False)))[begun:]:
        with a_world(f"failed call {number}, {name}") as world:
            live(world, at(number, Fault("before", errno.EIO)), is_up=False)
            world.finish()


@pytest.mark.chaos
@pytest.mark.parametrize("preferences", PREFERENCES[1:])
def test_any_system_call_may_fail_with_syncs(preferences: dict[str, Any]) -> None:
    """A line that could not be synced is treated as one that could not be written."""
    for number, name in enumerate(calls_of_a_life(**preferences)):
        with a_world(f"failed call {number}, {name}") as world:
            live(world, at(number, Fault("before", errno.EIO)), **preferences)
            world.finish()


@pytest.mark.chaos
@pytest.mark.parametrize("heals", [True, False], ids=["heals in time", "ends first"])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_the_disk_may_fail_from_any_call_on(trouble: str, heals: bool) -> None:
    """Lines on disk and in memory are kept until it works again, and sent once by each process."""
    names, error = TROUBLES[trouble]
    begun = calls_to_begin()  # before that, the construction raises
    for number, name in enumerate(calls_of_a_life()):
        if name in names and (number >= begun or error == errno.ENOSPC):
            with a_world(f"failed from call {number} on, {name}") as world:
                live(world, since(number, names, Fault("before", error)), heals=heals)
                world.finish()


@pytest.mark.chaos
def test_a_disk_may_be_full_at_any_byte() -> None:
    """Lines that fit are on disk, one perhaps in part; the rest is in memory."""
    for room_bytes in range(0, 4000, 37):
        with a_world(f"room for {room_bytes} bytes") as world:
            world.volume.room_bytes = room_bytes
            process = world.start(batch_events=3)
            assert process is not None
            sizes = (150, 400, 150, 200, 150, 150)
            assert world.do(process, partial(log_all, process, sizes))
            assert len(process.taken) == 6
            world.limit_bytes, world.outcomes = 500, [OK, DOWN]
            assert world.do(process, process.flush)
            world.limit_bytes = ANYTHING
            world.finish()
            assert len(world.order) == 6


def deliver_a_large_segment(world: World, plan: Plan = nothing) -> list[str]:
    """Make a process deliver a dead one's segment in many pieces; return its system calls."""
    dead = world.start(batch_events=50, batch_bytes=5000)
    assert dead is not None
    assert world.do(dead, lambda: log_all(dead, [150] * 14))
    world.kill(dead)
    assert len(world.segments()) == 1
    process = world.start(plan=plan, batch_events=2, batch_bytes=500)
    if process is None:
        return []
    world.outcomes = [OK] * 6 + [DOWN] * 9
    if world.do(process, process.flush):
        process.disk.plan = nothing
        if world.do(process, lambda: log_all(process, (150, 150))):
            world.do(process, process.end)
    world.outcomes = []
    return process.disk.calls


@pytest.mark.parametrize("error", [None, pytest.param(errno.EIO, marks=pytest.mark.slow)])
def test_a_large_segment_at_any_system_call(error: int | None) -> None:
    """A process that delivers it in pieces may die or fail at any call: one batch is sent twice."""
    with a_world("without a fault") as world:
        calls = deliver_a_large_segment(world)
        world.finish()
        assert max(world.arrived.values()) == 1
        assert calls.count("write_at") == 6
    for number, name in enumerate(calls):
        is_done = name not in LOOKING and name != "write"
        for moment in ["before"] + ["after"] * is_done + list(PARTS) * (name in APPENDING):
            with a_world(f"{moment} call {number}, {name}") as world:
                deliver_a_large_segment(world, at(number, Fault(moment, error)))
                world.finish()
                assert len(world.order) >= 14 or world.is_unread
                assert sum(times > 1 for times in world.arrived.values()) <= 2


@pytest.mark.parametrize("error", [None, errno.EIO])
def test_an_offset_may_be_torn(error: int | None) -> None:
    """A process may die, or the disk fail, while it writes up to where a segment is settled."""
    for number, name in enumerate(calls_of_a_life()):
        if name == "write_at":
            for moment in ("before", "after", *PARTS):
                with a_world(f"{moment} call {number}") as world:
                    live(world, at(number, Fault(moment, error)))
                    world.finish()


def test_orphans_are_delivered_from_a_full_disk() -> None:
    """Delivery makes room; a torn line waits until there is room in the quarantine."""
    with a_world() as world:
        for _ in range(4):
            leave_an_orphan(world)
        process = world.start()
        assert process is not None
        # Writes in place fail, too, as on a copy-on-write file system.
        process.disk.plan = since(0, ROOM_TAKING, Fault("before", errno.ENOSPC))
        assert world.do(process, lambda: process.run(120.0))
        assert world.order == [(dead, number) for dead in range(1, 5) for number in range(1, 6)]
        assert set(world.arrived.values()) == {1}
        assert len(world.segments()) == 4
        process.disk.plan = nothing
        assert world.do(process, lambda: process.run(20.0))
        assert world.segments() == []
        world.finish()


def test_an_event_that_cannot_be_quarantined_survives() -> None:
    """It stays in its segment, without the delivered ones, until it can be quarantined."""
    with a_world() as world:
        process = world.start()
        assert process is not None
        assert world.do(process, partial(log_all, process, (150, 500, 150)))
        process.disk.plan = since(0, frozenset({"make_directory"}), Fault("before", errno.EIO))
        world.limit_bytes, world.outcomes = 400, [OK] + [DOWN] * 9
        assert world.do(process, process.flush)
        assert process.counts()["abandoned"] == 1
        world.kill(process)
        world.limit_bytes, world.outcomes = ANYTHING, []
        world.finish()
        assert world.order == [(1, 1), (1, 2), (1, 3)]


@pytest.mark.parametrize("error", [errno.EACCES, errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_directory_that_cannot_be_created_again(error: int) -> None:
    """Lines are kept in memory; when the directory can be created, they are written there."""
    with a_world() as world:
        process = world.start(batch_events=1)
        assert process is not None
        assert world.do(process, partial(log_all, process, (150, 150)))
        assert world.do(process, process.flush)
        shutil.rmtree(world.path)
        plan = since(0, frozenset({"make_directory"}), Fault("before", error))
        process.disk.plan = plan
        assert world.do(process, partial(log_all, process, (150, 150, 150)))
        assert world.do(process, lambda: process.run(30.0))
        assert len(world.order) == 5
        assert world.do(process, partial(log_all, process, (150, 150, 150)))
        process.disk.plan = nothing
        assert world.do(process, partial(log_all, process, (150, 150, 150)))
        assert len(world.segments()) == 3
        world.finish()
        assert len(world.order) == 11


@pytest.mark.chaos
def test_another_process_may_run_at_any_call() -> None:
    """It adopts orphans, nothing of the living process, and nothing is sent twice."""
    for number, name in enumerate(calls_of_a_life()):
        with a_world(f"another at call {number}, {name}") as world:

            def another(when: int, name: str, number: int = number, world: World = world) -> None:
                if when == number:
                    before = world.limit_bytes, world.outcomes
                    world.limit_bytes, world.outcomes = ANYTHING, []
                    process = world.start()
                    assert process is not None
                    for act in (lambda: process.log(200), process.flush, process.end):
                        world.do(process, act)
                    world.limit_bytes, world.outcomes = before

            live(world, another)
            assert world.crashes == 2
            world.finish()
            assert max(world.arrived.values()) == 1


def start_two(world: World, first: int, second: int) -> tuple[Process, Process]:
    """Start a process, and at its `first` call another one, which waits at its `second` call."""
    rests, go_on = threading.Event(), threading.Event()
    made: list[Process | None] = []

    def rest(when: int, name: str) -> None:
        if when == second:
            rests.set()
            assert go_on.wait(10)

    def start_other() -> None:
        try:
            made.append(world.start(plan=rest))
        finally:
            rests.set()

    thread = threading.Thread(target=start_other)

    def begin(when: int, name: str) -> None:
        if when == first:
            thread.start()
            assert rests.wait(10)

    try:
        made.append(world.start(plan=begin))
    finally:
        go_on.set()
        thread.join()
    one, other = made
    assert one is not None
    assert other is not None
    return one, other


@pytest.mark.chaos
def test_two_processes_may_start_at_once() -> None:
    """However their system calls interleave, each sees that the other is alive."""
    calls = calls_to_begin()
    for first, second in itertools.product(range(calls), range(0, calls, 3)):
        second = (second + first) % calls
        with a_world(f"paused at {first}; the other at {second}") as world:
            one, other = start_two(world, first, second)
            for process in (one, other):
                assert world.do(process, partial(process.log, 150))
            assert len(world.segments()) == 2
            world.finish()
            assert world.arrived == {(1, 1): 1, (2, 1): 1}


def text_on_disk(world: World) -> bytes:
    """Return everything that waits, and the quarantine."""
    paths = [path for path in world.path.rglob("*.ndjson*") if path.is_file()]
    return b"".join(path.read_bytes() for path in paths)


def forget_the_dead(world: World, plan: Plan = nothing) -> list[str]:
    """Run `fslog spool forget` after two processes have died; return its system calls."""
    large = world.start(batch_events=50, batch_bytes=5000)
    assert large is not None
    assert world.do(large, lambda: log_all(large, [150] * 8))
    world.kill(large)
    leave_an_orphan(world)
    reader = world.start(batch_events=2, batch_bytes=400)  # it delivers a part of the first
    assert reader is not None
    world.outcomes, world.limit_bytes = [OK] + [DOWN] * 50, 400
    assert world.do(reader, reader.flush)
    world.kill(reader)
    world.outcomes, world.limit_bytes = [], ANYTHING
    return world.forget(plan).calls


@pytest.mark.slow
@pytest.mark.parametrize("error", [None, errno.EIO, errno.ENOSPC])
def test_who_forgets_may_die_at_any_system_call(error: int | None) -> None:
    """No line of others is lost or sent twice; repeated, nothing of the person is left or sent."""
    with a_world("without a fault") as world:
        calls = forget_the_dead(world)
        before = set(world.order)
        assert b'"userId":"v"' not in text_on_disk(world)
        world.finish()
        assert not (set(world.order) - before) & world.forgotten
        assert len(world.order) >= 9
    for number, name in enumerate(calls):
        moments = ["before"] + ["after"] * (name not in LOOKING) + list(PARTS) * (name in APPENDING)
        for moment in moments:
            with a_world(f"{moment} call {number}, {name}") as world:
                forget_the_dead(world, at(number, Fault(moment, error)))
                before = set(world.order)
                world.now += 3600.0  # drafts are old then
                again = world.forget()
                assert not again.failed
                left = [one for one in world.path.rglob("*") if one.suffix != ".new"]
                assert not any(b'"userId":"v"' in one.read_bytes() for one in left if one.is_file())
                world.finish()
                assert not (set(world.order) - before) & world.forgotten


def forget_alive(world: World, plan: Plan = nothing) -> tuple[Process, list[str]]:
    """Let a living process forget a person, while events wait in all of its states.

    Returns:
        The process, which may be dead, and its system calls meanwhile.
    """
    leave_an_orphan(world)
    process = world.start(batch_events=3, batch_bytes=700)
    assert process is not None
    world.outcomes = [DOWN] * 99
    assert world.do(process, lambda: log_all(process, [150] * 8))
    assert world.do(process, lambda: process.run(2.5))
    large = world.start(batch_events=50, batch_bytes=5000)
    assert large is not None
    assert world.do(large, lambda: log_all(large, [150] * 8))
    world.kill(large)
    request = Request(SpoolDirectory(str(world.path), "digest"), world.begin_to_forget())
    try:
        process.disk.plan, before = nothing, len(process.disk.calls)
        process.disk.plan = lambda number, name: plan(number - before, name)
        world.do(process, lambda: process.run(12.5))
        process.disk.plan = nothing
        answers = request.answers()
        assert answers or process.disk.is_dead or process.disk.failed
        for answer in answers:
            names = [name for name in world.segments() if name.rpartition("-")[0] in answer.owners]
            texts = [(world.path / name).read_bytes() for name in names]
            assert not answer.is_complete or not any(b'"userId":"v"' in text for text in texts)
        if plan is nothing:
            assert len(answers) == 1
            assert answers[0].is_complete
            assert b'"userId":"v"' not in text_on_disk(world)
    finally:
        request.close()
    world.outcomes = []
    return process, process.disk.calls[before:]


@pytest.mark.slow
@pytest.mark.parametrize("error", [None, errno.EIO])
def test_a_process_may_die_at_any_system_call_while_it_forgets(error: int | None) -> None:
    """Lines of others arrive once and in order; all counts are right; it tells what is left."""
    with a_world("without a fault") as world:
        process, calls = forget_alive(world)
        assert process.gone >= 2
        world.finish()
        assert not set(world.order) & world.forgotten
        assert len(world.order) == 4 + 6 + 6
        assert max(world.arrived.values()) == 1
    for number, name in enumerate(calls):
        is_done = name not in LOOKING and name != "write"
        for moment in ["before"] + ["after"] * is_done + list(PARTS) * (name in APPENDING):
            with a_world(f"{moment} call {number}, {name}") as world:
                forget_alive(world, at(number, Fault(moment, error)))
                world.finish()


FAULTS = st.tuples(
    st.integers(0, 8) | st.integers(0, 60),
    st.builds(
        Fault,
        st.sampled_from(["before", "after", *PARTS]),
        st.none() | st.sampled_from([errno.EIO, errno.ENOSPC, errno.EACCES, errno.EMFILE]),
    ),
)
"""A fault at one of the next system calls. POSIX has no error after a complete write."""

WHICH = st.integers(0, 2)
TROUBLE = st.none() | FAULTS.filter(
    lambda fault: fault[1].error is None or fault[1].moment != "after"
)


class Lives(RuleBasedStateMachine):
    """Processes that log, deliver, fail, die and adopt, on a disk that is full at times."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=RAM)
        self.world = World(Path(self.folder.name) / "spool")
        self.max_bytes = ANYTHING

    @initialize(max_bytes=st.sampled_from([ANYTHING, 5000, 1500]))
    def begin(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.world.start(max_bytes=max_bytes)

    def do(self, which: int, act: Callable[[Process], object], trouble: Any = None) -> None:
        living = self.world.living
        process = living[which % len(living)]
        if trouble is not None:
            calls, fault = trouble
            process.disk.plan = at(len(process.disk.calls) + calls, fault)
        self.world.do(process, lambda: act(process))
        process.disk.plan = nothing

    @precondition(lambda self: len(self.world.living) < 3)
    @rule(
        batch_events=st.integers(1, 5),
        batch_bytes=st.sampled_from([600, 1000]),
        buffer_bytes=st.sampled_from([100_000, 700]),
        fsync=st.sampled_from(["never", "segment", "line"]),
        is_careful=st.booleans(),
        max_age=st.sampled_from([None, None, 60.0, 15.0]),
        dies_at=st.sampled_from([None] * 12 + list(range(40))),
    )
    def start(self, dies_at: int | None, **preferences: Any) -> None:
        plan = nothing if dies_at is None else at(dies_at, Fault("after"))
        process = self.world.start(plan=plan, max_bytes=self.max_bytes, **preferences)
        if process is not None:
            process.disk.plan = nothing

    @precondition(lambda self: self.world.living)
    @rule(
        which=WHICH,
        sizes=st.lists(st.sampled_from([130, 200, 590]), min_size=1, max_size=12),
        trouble=TROUBLE,
    )
    def log(self, which: int, sizes: list[int], trouble: Any) -> None:
        self.do(which, lambda process: log_all(process, sizes), trouble)

    @precondition(lambda self: self.world.living)
    @rule(which=WHICH, trouble=TROUBLE)
    def seal(self, which: int, trouble: Any) -> None:
        self.do(which, lambda process: process.buffer.seal(), trouble)

    @precondition(lambda self: self.world.living)
    @rule(which=WHICH, answers=st.integers(0, 5) | st.just(100), trouble=TROUBLE)
    def deliver(self, which: int, answers: int, trouble: Any) -> None:
        self.world.outcomes = [OK] * answers + [DOWN] * 50
        self.do(which, lambda process: process.flush(), trouble)
        self.world.outcomes = []

    @precondition(lambda self: self.world.living)
    @rule(
        which=WHICH,
        seconds=st.sampled_from([0.0, 5.0, 12.0, 70.0]),
        is_up=st.booleans(),
        trouble=TROUBLE,
    )
    def wait(self, which: int, seconds: float, is_up: bool, trouble: Any) -> None:
        self.world.is_up = is_up
        self.do(which, lambda process: process.run(seconds), trouble)
        self.world.is_up = True

    @rule(limit_bytes=st.sampled_from([ANYTHING, 450, 150]))
    def limit(self, limit_bytes: int) -> None:
        self.world.limit_bytes = limit_bytes

    @rule(room_bytes=st.none() | st.integers(0, 1500))
    def fill(self, room_bytes: int | None) -> None:
        self.world.volume.room_bytes = room_bytes

    @rule(free_percent=st.sampled_from([50, 50, 5, 4, 0]))
    def use(self, free_percent: int) -> None:
        self.world.volume.free_percent = free_percent

    @precondition(lambda self: self.world.living)
    @rule(which=WHICH, is_up=st.booleans(), trouble=TROUBLE)
    def forget(self, which: int, is_up: bool, trouble: Any) -> None:
        if not self.world.path.exists():
            return
        self.world.is_up = is_up
        person = self.world.begin_to_forget()
        request = Request(SpoolDirectory(str(self.world.path), "digest"), person)
        self.do(which, lambda process: process.run(12.5), trouble)
        request.close()
        self.world.is_up = True

    @rule(trouble=TROUBLE)
    def forget_dead(self, trouble: Any) -> None:
        if self.world.path.exists():
            self.world.forget(at(*trouble) if trouble is not None else nothing)

    @precondition(lambda self: self.world.living)
    @rule(which=WHICH, is_up=st.booleans(), trouble=TROUBLE)
    def end(self, which: int, is_up: bool, trouble: Any) -> None:
        self.world.is_up = is_up
        self.do(which, lambda process: process.end(), trouble)
        self.world.is_up = True

    @invariant()
    def accounts_are_right(self) -> None:
        for process in self.world.living:
            process.check()
        assert self.world.spooled_bytes() <= self.max_bytes

    def teardown(self) -> None:
        try:
            self.world.finish()
        finally:
            for process in self.world.living:
                process.disk.die()
            self.folder.cleanup()


TestLives = pytest.mark.chaos(Lives.TestCase)
TestLives.settings = settings(
    max_examples=300,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
