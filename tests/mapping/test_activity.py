"""Time in sessions and modules, derived from events.

A simulation measures the error, and the guide's table has its results: after a change of either,
`python tests/mapping/test_activity.py` prints the table anew.
"""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import fslog
from fslog.mapping.activity import Activity
from visits import (
    MODULES,
    START_MS,
    Day,
    Event,
    added,
    day,
    derived,
    greatest,
    in_modules,
    newest,
    relayed,
    session_parts,
)

HALF_HOUR = 1_800.0


class World:
    """An activity, and what it has derived; events come at once unless `now` is given."""

    def __init__(self, **options: Any) -> None:
        self.events: list[Event] = []
        self.activity = Activity(self.events.append, **options)

    def see(
        self,
        seconds: float,
        module: str | None = None,
        *,
        action: str = "feature",
        now: float | None = None,
        user: str = "ann",
        session: str = "s",
        **more: Any,
    ) -> None:
        """Observe an event."""
        event = {"accountId": "acme", "userId": user, "sessionId": session, "action": action}
        if module is not None:
            event["module"] = module
        at_ms = START_MS + seconds * 1000
        now_ms = at_ms if now is None else START_MS + now * 1000
        self.activity.observe({**event, "createdAt": at_ms, **more}, now_ms)

    def taken(self) -> list[tuple[Any, ...]]:
        """Return what was derived, once: action, module, seconds, at which second."""
        found = [
            (
                event["action"],
                event.get("module"),
                event.get("timeSpent", event.get("activeDuration")) / 1000,
                (event["createdAt"] - START_MS) / 1000,
            )
            for event in self.events
        ]
        self.events.clear()
        return found

    def finished(self) -> list[tuple[Any, ...]]:
        """End all sessions, and return what was derived."""
        self.activity.finish()
        return self.taken()


def test_the_derived_events() -> None:
    """They have the ids as they were sent, the sticky product, whole milliseconds and a time."""
    world = World()
    world.see(0, "reports", product="core")
    world.see(1.2345, "reports")
    world.activity.finish()
    ids = {"accountId": "acme", "userId": "ann", "sessionId": "s"}
    at = {"createdAt": START_MS + 1234}
    assert world.events == [
        ids
        | at
        | {"action": "moduleEnd", "module": "reports", "product": "core"}
        | {"timeSpent": 1234},
        ids | at | {"action": "sessionSync", "activeDuration": 1234},
    ]


def test_a_change_of_module_ends_the_one_before() -> None:
    """The gap belongs to the earlier event's module; an event without one does not change it."""
    world = World()
    world.see(0, "reports")
    world.see(10, "home")
    world.see(15)
    world.see(25, "home", product="core")
    assert world.taken() == [
        ("moduleEnd", "reports", 10.0, 10.0),
        ("moduleEnd", "home", 15.0, 25.0),  # of no product
    ]
    world.see(30, "reports")
    assert world.finished() == [
        ("moduleEnd", "home", 5.0, 30.0),
        ("sessionSync", None, 30.0, 30.0),
    ]


@pytest.mark.parametrize(
    ("gap", "counts"), [(300.0, True), (300.001, False), (HALF_HOUR, False), (1e6, False)]
)
def test_a_gap_longer_than_idle_after_does_not_count(gap: float, counts: bool) -> None:
    """The user went away: the module ends where the last event was, and goes on afterwards."""
    world = World()
    world.see(0, "reports")
    world.see(10, "reports")
    world.see(10 + gap, "reports")
    world.see(15 + gap, "reports")
    ends = [found for found in world.finished() if found[0] == "moduleEnd"]
    if counts:
        assert ends == [("moduleEnd", "reports", 15.0 + gap, 15.0 + gap)]
    else:
        assert ends == [
            ("moduleEnd", "reports", 10.0, 10.0),
            ("moduleEnd", "reports", 5.0, 15.0 + gap),
        ]


def test_idle_after_is_an_argument() -> None:
    """Only gaps of at most so many seconds count."""
    world = World(idle_after=5.0)
    for at in (0, 5, 11, 13):
        world.see(at)
    assert world.finished() == [("sessionSync", None, 7.0, 13.0)]


def test_session_syncs_are_cumulative_and_rare() -> None:
    """One for each 60 seconds of activity, with all of the session's so far, and one at the end."""
    world = World()
    for at in range(0, 150, 10):
        world.see(at)
    assert world.taken() == [
        ("sessionSync", None, 60.0, 60.0),
        ("sessionSync", None, 120.0, 120.0),
    ]
    world.activity.sync()
    assert world.taken() == [("sessionSync", None, 140.0, 140.0)]
    world.activity.sync()
    assert world.finished() == []


@pytest.mark.parametrize("seed", range(20))
def test_a_lost_process_loses_less_than_an_interval(seed: int) -> None:
    """After each event, less than 60 seconds of the session's time are not sent yet."""
    chance, world, at, active = random.Random(seed), World(), 0.0, 0.0
    world.see(at)
    for _ in range(200):
        gap = chance.expovariate(1 / chance.choice([0.1, 5.0, 100.0]))
        at += gap
        active += gap if gap <= 300 else 0.0
        world.see(at)
        sent = max((event["activeDuration"] for event in world.events), default=0)
        assert 0 <= active * 1000 - sent < 60_000 + 1


def test_half_an_hour_of_silence_ends_a_session() -> None:
    """With the same id, the time begins anew."""
    world = World()
    world.see(0)
    world.see(30)
    world.see(30 + HALF_HOUR + 1)
    assert world.taken() == [("sessionSync", None, 30.0, 30.0)]
    world.see(41 + HALF_HOUR)
    assert world.finished() == [("sessionSync", None, 10.0, 41.0 + HALF_HOUR)]


def test_silent_sessions_end_with_whatever_is_observed() -> None:
    """An event of anybody ends them, a few at a time; none is forgotten."""
    world = World()
    for number in range(20):
        for at in (0, 10):
            world.see(at, user=f"user{number}")
    for number, ended in enumerate([8, 8, 4, 0]):
        world.see(11 + HALF_HOUR + number, user="bob", action="pageViewEnd")
        assert [found[0] for found in world.taken()] == ["sessionSync"] * ended


def test_a_session_that_is_evicted_has_ended() -> None:
    """Beyond the limit the one that was silent longest ends, and nothing is lost."""
    world = World(limit=2)
    for user in ("ann", "bob"):
        world.see(0, "home", user=user)
        world.see(5, "home", user=user)
    world.see(6, "home", user="ann")
    world.see(7, "home", user="eve")
    assert [event["userId"] for event in world.events] == ["bob", "bob"]
    assert world.taken() == [("moduleEnd", "home", 5.0, 5.0), ("sessionSync", None, 5.0, 5.0)]
    assert world.finished() == [("moduleEnd", "home", 6.0, 6.0), ("sessionSync", None, 6.0, 6.0)]


def test_memory_is_bounded() -> None:
    """However many users there are, only so many sessions are kept."""
    world = World(limit=100)
    for number in range(2_000):
        world.see(number / 10, f"module{number}", user=f"user{number}", session=f"s{number}")
    activity = world.activity
    assert len(activity._visits) == len(activity._latest) == 100
    world.activity.finish()
    assert not activity._visits
    assert not activity._latest


def test_users_and_sessions_are_apart() -> None:
    """Accounts, users and sessions that alternate do not share their times."""
    world = World()
    for at in (0, 10):
        for account in ("acme", "zeta"):
            for user in ("ann", "bob"):
                world.see(at, "home", user=user, accountId=account)
    world.activity.finish()
    syncs = [event for event in world.events if event["action"] == "sessionSync"]
    assert {(one["accountId"], one["userId"]) for one in syncs} == {
        (account, user) for account in ("acme", "zeta") for user in ("ann", "bob")
    }
    assert [one["activeDuration"] for one in syncs] == [10_000] * 4


def test_two_sessions_of_a_user_at_once() -> None:
    """On two devices: each session has its own time, and neither ends the other."""
    world = World()
    for at in range(0, 50, 10):
        world.see(at, "home", session="desk")
        world.see(at + 1, "home", session="phone")
    syncs = [found for found in world.finished() if found[0] == "sessionSync"]
    assert [found[2] for found in syncs] == [1.0, 40.0, 40.0]  # the first: when the other began


def test_a_session_goes_on_in_the_next() -> None:
    """At a change of the session's id the time until then belongs to the one before.

    Derived ids change with the clock while the user works; the module goes on.
    """
    world = World()
    world.see(0, "home", session="first")
    world.see(20, "home", session="first")
    world.see(50, session="second")
    assert world.taken() == [
        ("moduleEnd", "home", 50.0, 50.0),
        ("sessionSync", None, 50.0, 50.0),
    ]
    world.see(60, session="second")
    assert world.finished() == [
        ("moduleEnd", "home", 10.0, 60.0),
        ("sessionSync", None, 10.0, 60.0),
    ]


def test_an_own_module_end_is_not_derived_again() -> None:
    """From the application's first one of a module on, none is derived for it, of any user."""
    world = World()
    world.see(0, "reports")
    world.see(30, "reports", action="moduleEnd", timeSpent=30_000)
    world.see(40, "home")
    world.see(50, "reports")
    world.see(55, "home")
    assert world.taken() == [("moduleEnd", "home", 10.0, 50.0)]
    world.see(0, "reports", user="bob")
    world.see(10, "reports", user="bob")
    assert world.finished() == [
        ("sessionSync", None, 55.0, 55.0),
        ("sessionSync", None, 10.0, 10.0),
    ]


def test_the_time_of_an_own_module_end_is_nobody_elses() -> None:
    """A block inside a module that is derived is subtracted from it, not from the session."""
    world = World()
    world.see(0, "home")
    world.see(30, "editor", action="moduleEnd", timeSpent=20_000)
    world.see(35, "home")
    assert world.finished() == [
        ("moduleEnd", "home", 15.0, 35.0),
        ("sessionSync", None, 35.0, 35.0),
    ]


@pytest.mark.parametrize("spent", [-1e9, 10**400, -(10**400), float("inf"), True, "20000", None])
def test_an_own_module_end_with_an_impossible_time(spent: Any) -> None:
    """It adds nothing to the module around it, and raises nothing."""
    world = World()
    world.see(0, "home")
    world.see(30, "editor", action="moduleEnd", timeSpent=spent)
    assert world.finished() == [
        ("moduleEnd", "home", 30.0, 30.0),
        ("sessionSync", None, 30.0, 30.0),
    ]


def test_an_own_session_sync_is_not_derived_again() -> None:
    """From the application's first one of a session on, none is derived for that session."""
    world = World()
    world.see(0, "home")
    world.see(30, action="sessionSync", activeDuration=30_000)
    world.see(200, "home")
    world.see(0, user="bob", session="t")
    world.see(9, user="bob", session="t")
    assert world.finished() == [
        ("moduleEnd", "home", 200.0, 200.0),
        ("sessionSync", None, 9.0, 9.0),
    ]


@pytest.mark.parametrize("action", ["identifyUser", "identifyAccount", "sessionIdle"])
def test_what_is_no_activity(action: str) -> None:
    """A job that describes a user every minute does not keep the user active."""
    world = World()
    world.see(0)
    for at in range(60, 600, 60):
        world.see(at, action=action)
    world.see(600)
    assert world.finished() == []


def test_a_late_event_changes_nothing() -> None:
    """Whatever its time and module, the session's times are as without it."""
    plain, late = World(), World()
    for world in (plain, late):
        world.see(0, "home")
        world.see(20, "reports")
        if world is late:
            for at in (19.9, 10, 0, -10, -1e6):
                world.see(at, "home", now=20)
        world.see(40, "home")
    assert plain.finished() == late.finished()


def test_a_replay_has_the_times_of_its_events() -> None:
    """Events of a day long past are logged in a moment: their times are what they were then."""
    world = World()
    for at in (0, 30, 50):
        world.see(at, "home", now=10**6)
    assert world.finished() == [
        ("moduleEnd", "home", 50.0, 50.0),
        ("sessionSync", None, 50.0, 50.0),
    ]


def test_a_time_in_the_future_is_now() -> None:
    """A wrong clock elsewhere adds nothing, and does not make what follows late."""
    world = World()
    world.see(0)
    world.see(10**9, now=10)
    world.see(20)
    assert world.finished() == [("sessionSync", None, 20.0, 20.0)]


def test_a_clock_that_is_set_back() -> None:
    """What follows counts on; nothing is negative, and nothing waits for the old time."""
    world = World()
    world.see(5_000)
    world.see(5_010)
    world.see(1_000)
    world.see(1_010)
    assert world.finished() == [("sessionSync", None, 20.0, 1_010.0)]


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"userId": None},
        {"sessionId": 7},
        {"createdAt": "now"},
        {"createdAt": True},
        {"createdAt": float("inf")},
        {"createdAt": float("nan")},
    ],
)
def test_an_event_of_nobody_or_no_time(event: Mapping[str, Any]) -> None:
    """An application's own formatter may leave anything out: nothing is derived of it."""
    world = World()
    ids = {"accountId": "acme", "userId": "ann", "sessionId": "s"} if event else {}
    for at in (1, 2):
        world.activity.observe(
            {**ids, "action": "feature", "createdAt": START_MS + at, **event}, START_MS + 10
        )
    assert world.finished() == []


@pytest.mark.parametrize("module", [7, "", ["reports"]])
def test_a_module_that_is_none(module: Any) -> None:
    """The module before goes on."""
    world = World()
    world.see(0, "home")
    world.see(10, module)
    world.see(20)
    assert world.finished()[0] == ("moduleEnd", "home", 20.0, 20.0)


def test_the_properties_can_be_changed() -> None:
    """Their names are inferred: the configuration may know better."""
    world = World(properties={"sessionSync": "active", "moduleEnd": "spent"})
    world.see(0, "home")
    world.see(10, "home")
    world.activity.finish()
    assert [event.get("spent", event.get("active")) for event in world.events] == [10_000, 10_000]
    assert not any({"timeSpent", "activeDuration"} & event.keys() for event in world.events)


def chaos(seed: int) -> list[Event]:
    """Return events of few users in any order, with clocks that differ, and when each came."""
    chance = random.Random(seed)
    at = float(START_MS)
    events: list[Event] = []
    for _ in range(chance.randrange(1, 400)):
        at += chance.choice([0, 1, 999.5, 7_000, 59_000, 299_999, 300_001, 2_000_000])
        created = at + chance.choice([0, 0, 0, -3, -5_000, 5_000, -(10**7), 10**9])
        event: Event = {
            "accountId": "acme",
            "userId": chance.choice(["ann", "bob"]),
            "sessionId": chance.choice(["s", "t"]),
            "action": chance.choice(["feature", "feature", "pageViewEnd", "identifyUser"]),
            "createdAt": created,
            "came": at,
        }
        if chance.random() < 0.7:
            event["module"] = chance.choice(MODULES)
        events.append(event)
    return events


def total(events: list[Event], name: str) -> int:
    """Return the sum of a property."""
    return sum(event.get(name, 0) for event in events)


class Ended(Activity):
    """An activity that notes the milliseconds of each session that ends."""

    def __init__(self, events: list[Event], **options: Any) -> None:
        super().__init__(events.append, **options)
        self.ended: list[tuple[tuple[str, str, str], float]] = []

    def _end(self, visit: Any) -> None:
        super()._end(visit)
        self.ended.append((visit.key, visit.active_ms))


@pytest.mark.parametrize("seed", range(60))
def test_no_more_than_the_time_that_passed(seed: int) -> None:
    """In one process a session has at most the time from its user's first event to the last.

    Nothing derived is negative or 0, the modules of a session have no more than the session, and
    the last `sessionSync` has all of it.
    """
    found, chance = chaos(seed), random.Random(-seed)
    events: list[Event] = []
    limit, idle = chance.choice([1, 2, 3, 100]), chance.choice([5.0, 300.0, 1_800.0])
    activity = Ended(events, limit=limit, idle_after=idle)
    for event in found:
        activity.observe(event, event["came"])
        if chance.random() < 0.05:
            chance.choice([activity.sync, activity.finish])()
    activity.finish()
    times = [one.get("timeSpent", one.get("activeDuration")) for one in events]
    assert all(type(one) is int and one > 0 for one in times)
    for user, session in itertools.product(("ann", "bob"), ("s", "t")):
        key = ("acme", user, session)
        active = [active_ms for ended, active_ms in activity.ended if ended == key]
        theirs = [one for one in events if (one["userId"], one["sessionId"]) == key[1:]]
        assert total(theirs, "timeSpent") <= sum(active)
        synced = [one["activeDuration"] for one in theirs if one["action"] == "sessionSync"]
        assert {int(active_ms) for active_ms in active} <= {0, *synced}
        assert max(synced, default=0) <= max(active, default=0)
        created = [min(one["createdAt"], one["came"]) for one in found if one["userId"] == user]
        assert sum(active) <= max(created, default=0) - min(created, default=0)


@pytest.mark.parametrize("seed", range(60))
def test_processes_add_up_to_at_most_their_number(seed: int) -> None:
    """If several processes serve a session, their parts are at most its time for each of them.

    That is the bound: more cannot be guaranteed, since none knows of the others.
    """
    chance = random.Random(seed)
    processes = chance.randrange(1, 6)
    events, at = [], float(START_MS)
    for _ in range(chance.randrange(2, 300)):
        at += chance.expovariate(1 / chance.choice([100, 10_000, 200_000]))
        ids = {"accountId": "acme", "userId": "ann", "sessionId": "s", "action": "feature"}
        events.append({**ids, "createdAt": at, "module": chance.choice(MODULES)})
    found = derived(events, processes, lambda number, event: chance.randrange(processes))
    wall = events[-1]["createdAt"] - events[0]["createdAt"]
    serving = [process for process in found if process]
    for process in found:
        assert total(process, "timeSpent") <= wall
        assert all(one.get("activeDuration", 0) <= wall for one in process)
    if wall < HALF_HOUR * 1000:  # else a session may have ended and begun again
        assert added(found) <= wall * len(serving)
        assert greatest(found) <= wall
        assert newest(found) <= wall


@pytest.mark.parametrize("seed", range(30))
def test_the_order_of_neighbours_hardly_matters(seed: int) -> None:
    """Threads that overtake each other by some milliseconds change the times by as little."""
    chance = random.Random(seed)
    events = day(seed, users=2).events
    shuffled = sorted(events, key=lambda event: event["createdAt"] + chance.uniform(0, 20))
    (plain,), (other,) = (derived(one, 1, lambda *_: 0) for one in (events, shuffled))
    assert added([other]) == pytest.approx(added([plain]), abs=100 * len(events) // 20)


def test_twice_the_same_event_counts_once() -> None:
    """A record that two handlers' configurations log twice adds nothing."""
    events = day(3, users=3).events
    doubled = [event for event in events for _ in range(2)]
    assert derived(events, 1, lambda *_: 0) == derived(doubled, 1, lambda *_: 0)


# The simulation


def _in_turn(number: int, event: Event) -> int:
    return number


def _sticky(number: int, event: Event) -> int:
    return zlib.crc32(event["userId"].encode())


class Way(NamedTuple):
    """A row of the guide's table: how many processes, and who serves which request."""

    processes: int
    requests: str
    derive: Callable[[Day], list[list[Event]]]


def way(processes: int, requests: str, process_of: Callable[[int, Event], int]) -> Way:
    def derive(found: Day) -> list[list[Event]]:
        return derived(found.events, processes, lambda n, event: process_of(n, event) % processes)

    return Way(processes, requests, derive)


WAYS = [
    way(1, "all in one", _in_turn),
    way(2, "in turn", _in_turn),
    way(4, "in turn", _in_turn),
    way(4, "sticky: one user's in one process", _sticky),
    Way(4, "in turn; one relay has the events of all", lambda d: relayed(d, 4, 5.0)),
]


@pytest.fixture(scope="module")
def simulated() -> Day:
    return day(2026, users=40)


def errors(found: list[list[Event]], truth: Day) -> list[str]:
    """Return the error of each sum, as the guide's table has it."""
    sums = [added(found), greatest(found), newest(found), sum(in_modules(found).values())]
    return [f"{100 * (one / truth.session_ms - 1):+.0f} %" for one in sums]


def row(each: Way, truth: Day) -> str:
    """Return a way's row of the guide's table."""
    cells = [str(each.processes), each.requests, *errors(each.derive(truth), truth)]
    return f"| {' | '.join(cells)} |"


def test_one_process_is_within_5_percent_of_the_truth(simulated: Day) -> None:
    """Sessions, and each of the modules: users with known times, whose requests are observed."""
    assert len(simulated.events) > 5_000
    found = WAYS[0].derive(simulated)
    assert added(found) == greatest(found) == newest(found)
    assert added(found) == pytest.approx(simulated.session_ms, rel=0.05)
    times = in_modules(found)
    for module in MODULES:
        assert times[module] == pytest.approx(simulated.module_ms[module], rel=0.05)


def test_each_session_is_within_its_window(simulated: Day) -> None:
    """Half an hour of the clock has at most half an hour of activity, and a gap."""
    parts = session_parts(WAYS[0].derive(simulated))
    assert max(part for by in parts.values() for part in by.values()) <= (HALF_HOUR + 300) * 1000


@pytest.mark.parametrize("each", WAYS, ids=lambda each: f"{each.processes} {each.requests[:6]}")
def test_the_guide_has_the_errors(each: Way, simulated: Day) -> None:
    """The guide's table is what the simulation measures."""
    text = (Path(fslog.__file__).parent / "guide" / "time.md").read_text(encoding="utf-8")
    assert row(each, simulated) in text.splitlines()


def test_a_relay_and_stickiness_mend_it(simulated: Day) -> None:
    """Four processes are then within 5 % of the truth, as one is; in turn they are far off."""
    for each in WAYS[3:]:
        found = each.derive(simulated)
        assert added(found) == pytest.approx(simulated.session_ms, rel=0.05)
        assert sum(in_modules(found).values()) == pytest.approx(simulated.session_ms, rel=0.05)
    assert added(WAYS[2].derive(simulated)) > 2 * simulated.session_ms


if __name__ == "__main__":
    for each in WAYS:
        print(row(each, day(2026, users=40)))
