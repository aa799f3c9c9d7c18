"""Session ids for events that come without one (DESIGN 5.3)."""

from __future__ import annotations

import copy
import os
import pickle
import random
import subprocess
import sys
import threading
import types
from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import fslog
from fslog.mapping import sessions
from fslog.mapping.sessions import IdleSessions, by_window, session_id

HALF_HOUR = 30 * 60 * 1000
NOW = 1_767_225_600_000  # 1 January 2026, a whole number of windows

instants = st.integers(-(10**13), 10**14) | st.floats(-1e13, 1e14)
names = st.text(min_size=1, max_size=8)


@given(names, names, instants, st.integers(-2 * HALF_HOUR, 2 * HALF_HOUR))
def test_a_window_is_half_an_hour_of_the_clock(
    account: str, user: str, at: float, later: float
) -> None:
    """Two events of a user share a session exactly if they are in the same window."""
    other = at + later
    same = at // HALF_HOUR == other // HALF_HOUR
    assert (by_window(account, user, at) == by_window(account, user, other)) is same


@pytest.mark.parametrize("began", [0, NOW, -HALF_HOUR, 1_000_000 * HALF_HOUR])
def test_a_window_begins_with_its_first_and_ends_before_the_next_millisecond(began: int) -> None:
    """The edges of a window belong to one window each, before 1970 too."""
    session = by_window("acme", "ann", began)
    assert by_window("acme", "ann", began + HALF_HOUR - 1) == session
    assert by_window("acme", "ann", began + HALF_HOUR - 0.5) == session
    assert by_window("acme", "ann", began + HALF_HOUR) != session
    assert by_window("acme", "ann", began - 1) != session


def test_a_time_is_the_same_as_int_and_as_float() -> None:
    """`createdAt` may be either number."""
    assert by_window("acme", "ann", NOW) == by_window("acme", "ann", float(NOW))
    ids = IdleSessions()
    assert ids("acme", "ann", NOW) == ids("acme", "ann", float(NOW))
    assert IdleSessions()("acme", "ann", NOW) == IdleSessions()("acme", "ann", float(NOW))


@pytest.mark.parametrize("settings_of_host", [{"PYTHONHASHSEED": "1"}, {"TZ": "Asia/Kathmandu"}])
def test_a_window_is_the_same_in_every_process_and_on_every_host(
    settings_of_host: dict[str, str],
) -> None:
    """Another process, with another hash seed or time zone, has the same id."""
    package = str(Path(fslog.__file__).parent.parent)
    code = f"from fslog.mapping.sessions import by_window; print(by_window('acme', 'zoë', {NOW}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": package, "PYTHONUTF8": "1", **settings_of_host},
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.decode().strip() == by_window("acme", "zoë", NOW)


def test_a_window_is_the_same_in_every_release() -> None:
    """Hosts with different releases share sessions; a change of this id would split them."""
    assert by_window("acme", "ann", NOW) == "4a16035dc4562168918e472515aff2e0"


@given(names, names, names, names)
@example("ac", "me", "acm", "e")
@example("a", "1:b", "a1", ":b")
@example("a:", "b", "a", ":b")
def test_users_do_not_share_sessions(account: str, user: str, account2: str, user2: str) -> None:
    """Another account or user has another session, however the names concatenate."""
    same = (account, user) == (account2, user2)
    assert (by_window(account, user, NOW) == by_window(account2, user2, NOW)) is same
    ids = IdleSessions()
    assert (ids(account, user, NOW) == ids(account2, user2, NOW)) is same


@given(st.text(min_size=2, max_size=10), st.data())
def test_where_the_account_ends_matters(text: str, data: st.DataObject) -> None:
    """One text split at two places gives two sessions."""
    cuts = st.integers(0, len(text))
    one, other = data.draw(cuts), data.draw(cuts)
    ids = [by_window(text[:cut], text[cut:], NOW) for cut in (one, other)]
    assert (ids[0] == ids[1]) is (one == other)


@given(st.text(max_size=20), st.text(max_size=20), st.integers())
def test_an_id_is_short_and_tells_neither_account_nor_user(
    account: str, user: str, began: int
) -> None:
    """An id is 32 hexadecimal digits, whatever it is made of."""
    made = session_id(account, user, began)
    assert len(made) == 32
    assert set(made) <= set("0123456789abcdef")


def test_a_lone_surrogate_in_a_name_is_no_error() -> None:
    """File names and broken decoding put surrogates into strings; the log call stays safe."""
    assert by_window("\ud800", "\udfff", NOW) != by_window("\ud801", "\udfff", NOW)


def slow_sessions(times: list[int]) -> list[int]:
    """Number the sessions of one user's events, in order, in the simplest way."""
    numbers = [0]
    for before, at in pairwise(times):
        numbers.append(numbers[-1] + (at - before > HALF_HOUR))
    return numbers


gaps = st.lists(
    st.sampled_from([0, 1, HALF_HOUR // 2, HALF_HOUR - 1, HALF_HOUR, HALF_HOUR + 1, 10 * HALF_HOUR])
    | st.integers(0, 3 * HALF_HOUR),
    max_size=12,
)


def times_of(some: list[int]) -> list[int]:
    times = [NOW]
    for gap in some:
        times.append(times[-1] + gap)
    return times


@given(gaps)
def test_an_idle_session_slides_and_ends_after_half_an_hour_without_events(some: list[int]) -> None:
    """Two events share a session exactly if no pause between them exceeds 30 minutes."""
    times = times_of(some)
    ids = IdleSessions()
    made = [ids("acme", "ann", at) for at in times]
    numbers = slow_sessions(times)
    for one, n in zip(made, numbers, strict=True):
        for other, m in zip(made, numbers, strict=True):
            assert (one == other) is (n == m)


@given(gaps, gaps, st.randoms(use_true_random=False))
def test_users_do_not_disturb_each_others_idle_sessions(
    anns: list[int], bobs: list[int], chance: random.Random
) -> None:
    """Events of two users in any order have the ids that they would have alone."""
    waiting = {"ann": times_of(anns), "bob": times_of(bobs)}
    alone = {user: IdleSessions() for user in waiting}
    together = IdleSessions()
    while waiting:
        user = chance.choice(sorted(waiting))
        at = waiting[user].pop(0)
        assert together("acme", user, at) == alone[user]("acme", user, at)
        if not waiting[user]:
            del waiting[user]


def test_idle_sessions_are_of_this_process() -> None:
    """Instances share no sessions."""
    ids, others = IdleSessions(), IdleSessions()
    first = ids("acme", "ann", NOW)
    assert ids("acme", "ann", NOW + 20 * 60_000) == first
    assert others("acme", "ann", NOW + 20 * 60_000) != first


def test_a_session_can_last_longer_than_a_window() -> None:
    """A user who does something every ten minutes stays in one idle session for a day."""
    ids = IdleSessions()
    assert len({ids("acme", "ann", NOW + n * 600_000) for n in range(144)}) == 1


def test_events_of_two_threads_that_arrive_out_of_order_share_a_session() -> None:
    """The event time counts: an event a little older than the first shares its session."""
    ids = IdleSessions()
    first = ids("acme", "ann", NOW)
    assert ids("acme", "ann", NOW - 1) == first
    assert ids("acme", "ann", NOW - 60_000) == first
    assert ids("acme", "ann", NOW + 1) == first


def test_an_event_that_comes_late_does_not_end_a_session_early() -> None:
    """The pause begins at the newest event time, not at the last call."""
    ids, minute = IdleSessions(), 60_000
    first = ids("acme", "ann", NOW)
    assert ids("acme", "ann", NOW + 20 * minute) == first
    assert ids("acme", "ann", NOW + 1 * minute) == first
    assert ids("acme", "ann", NOW + 45 * minute) == first


def test_a_replayed_event_gets_its_window_and_leaves_the_session_alone() -> None:
    """An import of last year's events neither joins nor ends the current session."""
    ids = IdleSessions()
    first = ids("acme", "ann", NOW)
    for days in range(1, 400):
        old = NOW - days * 86_400_000
        assert ids("acme", "ann", old) == by_window("acme", "ann", old)
    assert ids("acme", "ann", NOW + HALF_HOUR) == first


def remembers(ids: IdleSessions, user: str, session: str) -> bool:
    """Return whether a session is kept, without refreshing it."""
    return copy.deepcopy(ids)("acme", user, NOW + HALF_HOUR) == session


@given(st.integers(2, 9), st.lists(st.integers(0, 14), max_size=40))
@example(10, [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 7, 5])
def test_the_users_seen_last_are_remembered(limit: int, seen: list[int]) -> None:
    """A session is kept while at most half of the limit's users have followed."""
    ids = IdleSessions(limit)
    made: OrderedDict[str, str] = OrderedDict()
    for tick, user in enumerate(map(str, seen)):
        if user in made and list(reversed(made)).index(user) <= limit // 2:
            assert remembers(ids, user, made[user])
        made[user] = ids("acme", user, NOW + tick)
        made.move_to_end(user)
        assert sum(remembers(ids, one, session) for one, session in made.items()) <= limit


@pytest.mark.parametrize("limit", [2, 3, 10, 11])
def test_no_more_users_are_remembered_than_the_limit(limit: int) -> None:
    """However many users there are, at most the limit's sessions are kept."""
    ids = IdleSessions(limit)
    made: dict[str, str] = {}
    for n in range(5 * limit):
        made[f"user {n}"] = ids("acme", f"user {n}", NOW)
        assert sum(remembers(ids, user, session) for user, session in made.items()) <= limit
        assert remembers(ids, f"user {n}", made[f"user {n}"])


def size(ids: IdleSessions) -> int:
    return len(pickle.dumps(ids))


def test_memory_does_not_grow_with_the_number_of_users() -> None:
    """A hundred times more users than the limit need no more memory."""
    ids = IdleSessions(100)
    for n in range(1_000, 1_200):
        ids("acme", f"user {n}", NOW)
    full = size(ids)
    for n in range(1_200, 9_999):
        ids("acme", f"user {n}", NOW)
        if n % 1_000 == 0:
            assert size(ids) <= full * 1.1
    assert size(ids) <= full * 1.1


@pytest.mark.parametrize("before", [[], ["bob", "cyd"], ["bob", "cyd", "dan"]])
def test_memory_does_not_grow_with_the_number_of_sessions(before: list[str]) -> None:
    """A user's thousandth session needs no more memory than the second."""
    ids = IdleSessions(4)
    for user in ["ann", *before]:
        ids("acme", user, NOW)
    ids("acme", "ann", NOW)
    few = size(ids)
    for n in range(1_000):
        ids("acme", "ann", NOW + n * 2 * HALF_HOUR)
    assert size(ids) <= few + 100


def interrupted(
    call: Callable[[], str], at: int, meanwhile: Callable[[], object]
) -> tuple[str, bool]:
    """Make a call, and another in the middle of it: before the module's instruction number `at`.

    That is what a signal handler does, and what the other threads look like to a thread that waits.
    """
    left = [at]

    def trace(frame: types.FrameType, event: str, _: object) -> object:
        if frame.f_code.co_filename != sessions.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left[0] -= 1
            if left[0] == 0:
                meanwhile()
        return trace

    outcome: list[str] = []

    def run() -> None:
        # 3.12 sends no opcode events to frames that begin later unless this one wants them too.
        sys._getframe().f_trace_opcodes = True
        before = sys.gettrace()  # coverage's
        sys.settrace(trace)
        try:
            outcome.append(call())
        finally:
            sys.settrace(before)

    # In a thread of its own, so that whatever traces the test is left as it is.
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    return outcome[0], left[0] <= 0


def each_moment(attempt: Callable[[int], bool]) -> None:
    """Call with 1, 2, 3... until the attempt says that its call was over before that moment."""
    moments = next(at for at in range(1, 1_000) if not attempt(at))
    assert moments > 40


def test_an_ended_session_has_one_successor_wherever_a_thread_waits() -> None:
    """Two threads that see a session end at the same time begin the same next one."""

    def attempt(at: int) -> bool:
        ids, later = IdleSessions(), NOW + 5 * HALF_HOUR
        first = ids("acme", "ann", NOW)
        inside: list[str] = []
        made, reached = interrupted(
            lambda: ids("acme", "ann", later),
            at,
            lambda: inside.append(ids("acme", "ann", later + 1)),
        )
        assert made != first
        assert {made, *inside, ids("acme", "ann", later + 2)} == {made}
        return reached

    each_moment(attempt)


def test_a_first_session_is_one_wherever_a_thread_waits() -> None:
    """Two threads that see a user for the first time begin the same session."""

    def attempt(at: int) -> bool:
        ids = IdleSessions()
        inside: list[str] = []
        made, reached = interrupted(
            lambda: ids("acme", "ann", NOW), at, lambda: inside.append(ids("acme", "ann", NOW + 1))
        )
        assert {made, *inside, ids("acme", "ann", NOW + 2)} == {made}
        return reached

    each_moment(attempt)


@pytest.mark.parametrize("newcomers", [["dan"], ["dan", "eve"]])
def test_no_session_is_lost_when_threads_make_room_at_once(newcomers: list[str]) -> None:
    """Room is made once, however many threads find that there is none."""

    def attempt(at: int) -> bool:
        ids = IdleSessions(8)
        made = {user: ids("acme", user, NOW) for user in ["bob", "cyd", "fay", "ann"]}
        made["new"], reached = interrupted(
            lambda: ids("acme", "new", NOW),
            at,
            lambda: made.update({user: ids("acme", user, NOW) for user in newcomers}),
        )
        for user in made.keys() - {"bob", "cyd", "fay"}:
            assert remembers(ids, user, made[user]), f"{user}, interrupted at {at}"
        return reached

    each_moment(attempt)


def test_no_session_is_lost_when_it_is_found_while_room_is_made() -> None:
    """A user seen in two threads at once keeps the session, though room is made between."""

    def attempt(at: int) -> bool:
        ids = IdleSessions(8)
        first = ids("acme", "ann", NOW)
        for user in ["bob", "cyd", "dan", "eve", "fay", "gus"]:
            ids("acme", user, NOW)
        inside: list[str] = []

        def meanwhile() -> None:
            inside.extend(ids("acme", user, NOW + 1) for user in ["ann", "new"])

        made, reached = interrupted(lambda: ids("acme", "ann", NOW + 2), at, meanwhile)
        assert {made, *inside[:1], ids("acme", "ann", NOW + 3)} == {first}, f"interrupted at {at}"
        return reached

    each_moment(attempt)


@pytest.mark.parametrize("slow", ["ann", "late"])
@pytest.mark.parametrize("many", [2, 4, 6])
def test_no_session_is_lost_when_a_thread_waits_while_room_is_made_again_and_again(
    slow: str, many: int
) -> None:
    """A thread that continues after a long pause works with the current generation."""

    def attempt(at: int) -> bool:
        ids = IdleSessions(8)
        made: dict[str, set[str]] = {"ann": set(), "bob": set(), "late": set()}

        def visit(name: str, number: int) -> None:
            for n in range(number):
                for user in ("ann", "bob"):
                    made[user].add(ids("acme", user, NOW + n))
                ids("acme", f"{name} {n}", NOW)

        visit("before", 6)
        session, reached = interrupted(
            lambda: ids("acme", slow, NOW + 100), at, lambda: visit("meanwhile", many)
        )
        made[slow].add(session)
        visit("after", 6)
        assert max(map(len, made.values())) == 1, f"interrupted at {at}"
        return reached

    each_moment(attempt)


def test_idle_sessions_stay_whole_under_many_threads() -> None:
    """Active users keep their session while other users change in many threads."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    ids = IdleSessions(200)
    made: dict[str, set[str]] = {f"hot {n}": set() for n in range(5)}
    failed: list[BaseException] = []

    def run(number: int) -> None:
        try:
            for n in range(1_500):
                ids("acme", f"{number} {n}", NOW)
                for hot, found in made.items():
                    found.add(ids("acme", hot, NOW + n))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    finally:
        sys.setswitchinterval(before)
    assert not failed
    assert all(len(found) == 1 for found in made.values())
