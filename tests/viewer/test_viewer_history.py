"""The history is bounded, ordered, and readable by position during writes; and its overview."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from queue import SimpleQueue
from typing import Any

import pytest

from fslog.collector import Answer, Collector
from fslog.viewer import history as module
from fslog.viewer.entries import Entry, first_page
from fslog.viewer.filters import Filter
from fslog.viewer.history import MAX_REQUESTS, RATE_SECONDS, History
from fslog.viewer.overview import overview, sessions
from fslog.viewer.recorder import Recorder
from posting import send
from viewing import entries, event, lines
from waiting import in_parallel


def filled(history: History, *sizes: int) -> History:
    """Add requests with these numbers of entries to a history."""
    for size in sizes:
        history.add({}, entries(*[event(n) for n in range(size)]))
    return history


def test_the_oldest_are_evicted_and_counted() -> None:
    """A history keeps the newest entries and counts those it evicted."""
    kept = filled(History(5, 10**9), 3, 4).entries()
    assert [entry.id for entry in kept.entries] == [3, 4, 5, 6, 7]
    assert [entry.request for entry in kept.entries] == [1, 2, 2, 2, 2]
    assert kept.json() == {"total": 5, "oldest": 3, "newest": 7, "dropped": 2}
    assert kept.last_id == 7


def test_a_body_larger_than_the_history() -> None:
    """Of a body with more entries than fit, the last ones are kept."""
    kept = filled(History(3, 10**9), 10).entries()
    assert [entry.id for entry in kept.entries] == [8, 9, 10]
    assert kept.dropped == 7


def test_memory_is_bounded_in_bytes_too() -> None:
    """Memory is limited in bytes too, whatever `keep` is."""
    limit = 50_000_000
    history = History(20_000, limit)
    line = lines(event(pad="x" * 1_000_000)).rstrip()
    for _ in range(1_000):
        history.add({}, [Entry(line, {}, (), "valid", 0) for _ in range(10)])
    kept = history.entries()
    assert sum(entry.size_bytes for entry in kept.entries) <= limit
    assert 40 <= kept.total <= 50
    assert kept.total + kept.dropped == kept.newest == 10_000


def test_long_properties_are_counted() -> None:
    """The properties that an entry keeps for filters count as memory."""
    (short,) = entries(event())
    (long,) = entries(event(userId="\U0001f600" + "x" * 100_000))
    assert long.size_bytes - short.size_bytes > 400_000  # four bytes a character


def test_the_newest_entry_always_stays() -> None:
    """An entry larger than the limit is kept alone until the next one arrives."""
    history = filled(History(10, 1), 3)
    assert [entry.id for entry in history.entries().entries] == [3]
    filled(history, 1)
    assert [entry.id for entry in history.entries().entries] == [4]


def test_evicted_entries_release_their_bytes() -> None:
    """`clear` and eviction release the bytes of entries."""
    (size,) = {entry.size_bytes for entry in filled(History(9, 10**9), 4).entries().entries}
    history = History(4, 4 * size)
    for _ in range(50):
        filled(history, 3)
    assert history.entries().total == 4
    history.clear()
    filled(history, 4)
    assert history.entries().total == 4


def test_requests_are_bounded() -> None:
    """Requests are evicted like entries, and counted separately."""
    history = History(1, 10**9)
    for _ in range(MAX_REQUESTS + 7):
        history.add({}, [])
    found, *facts = history.requests(0, 10**9)
    assert len(found) == MAX_REQUESTS
    assert facts == [MAX_REQUESTS, 7, MAX_REQUESTS + 7]
    assert [found[0]["id"], found[-1]["id"]] == [MAX_REQUESTS + 7, 8]
    assert history.request(7) is None
    assert history.request(8) is found[-1]
    assert history.request(MAX_REQUESTS + 8) is None


def test_an_entry_by_its_id() -> None:
    """A kept entry is found by its id, an evicted or unknown one is not."""
    history = History(3, 10**9)
    assert history.entry(1) is None
    filled(history, 5)
    found = [history.entry(id) for id in range(-1, 8)]
    assert [entry and entry.id for entry in found] == [None, None, None, None, 3, 4, 5, None, None]


def test_entries_since_a_position() -> None:
    """Entries newer than an id are returned in order, the newest if they are too many."""
    history = filled(History(10, 10**9), 8)
    assert [entry.id for entry in history.entries(5).entries] == [6, 7, 8]
    assert [entry.id for entry in history.entries(2, 3).entries] == [6, 7, 8]
    assert (
        history.entries(8).entries
        == history.entries(99).entries
        == history.entries(0, 0).entries
        == []
    )
    assert len(history.entries(0).entries) == 8


def test_ids_continue_after_clear() -> None:
    """`clear` removes entries, requests and counts; ids are not reused."""
    history = filled(History(3, 10**9), 5)
    history.clear()
    assert history.entries().json() == {"total": 0, "oldest": 0, "newest": 0, "dropped": 0}
    assert history.requests() == ([], 0, 0, 1)
    assert sum(history.rate()["counts"]) == 0
    assert (history.entries().last_id, history.entries().cleared_id) == (5, 5)
    filled(history, 2)
    assert [entry.id for entry in history.entries(5).entries] == [6, 7]
    assert [one["id"] for one in history.requests(1).requests] == [2]
    assert history.requests(most=0) == ([], 1, 0, 2)


def test_a_wait_ends_when_enough_have_arrived() -> None:
    """Kept entries count, and new ones count at once."""
    history = filled(History(10, 10**9), 2)
    assert len(history.wait_for(Filter(), 2, 0)[0]) == 2
    found: list[Any] = []
    job = threading.Thread(target=lambda: found.extend(history.wait_for(Filter(), 5, 30)))
    job.start()
    filled(history, 1, 1, 2)
    job.join(30)
    assert [entry.id for entry in found[0]][:5] == [1, 2, 3, 4, 5]
    assert found[1] >= 5


def test_a_wait_times_out() -> None:
    """A wait returns in time with what arrived, also while others arrive steadily."""
    history = filled(History(10, 10**9), 2)
    started_at = time.monotonic()
    assert history.wait_for(Filter(), 3, 0.05)[1] == 2
    assert 0.05 <= time.monotonic() - started_at < 5
    stop = threading.Event()

    def keep_arriving() -> None:
        while not stop.wait(0.001):
            filled(history, 1)

    other = threading.Thread(target=keep_arriving)
    other.start()
    none = Filter.from_query({"user": "nobody"})
    assert history.wait_for(none, 1, 0.1) == ([], 0)
    stop.set()
    other.join()


class Watched(History):
    """A history that reports when a waiting reader has seen everything."""

    def __init__(self, keep: int) -> None:
        super().__init__(keep, 10**9)
        self._looks: SimpleQueue[int] = SimpleQueue()

    def wait(self, seen: int, seconds: float) -> int:
        self._looks.put(seen)
        return super().wait(seen, seconds)

    def looked_at(self) -> None:
        """Block until the waiting reader has seen the current state."""
        while self._looks.get(timeout=10) != self.changes():
            pass


def test_clear_restarts_a_wait() -> None:
    """After a `clear` a wait counts new entries only."""
    history = Watched(10)
    filled(history, 2)
    found: list[Any] = []
    job = threading.Thread(target=lambda: found.extend(history.wait_for(Filter(), 3, 30)))
    job.start()
    history.looked_at()
    history.clear()
    filled(history, 2)
    history.looked_at()
    assert found == []
    filled(history, 1)
    job.join(30)
    assert ([entry.id for entry in found[0]], found[1]) == ([3, 4, 5], 3)


def test_a_clear_at_the_last_moment() -> None:
    """Entries that are cleared just before a wait returns are not in its result."""
    history = filled(History(10, 10**9), 2)
    looks: list[int] = []

    class Clearing(Filter):
        def select(self, entries: Iterable[Entry]) -> list[Entry]:
            looks.append(1)
            found = super().select(entries)
            if len(looks) == 1:
                history.clear()
                filled(history, 1)
            return found

    assert history.wait_for(Clearing(), 2, 0.05)[1] == 1
    filled(history, 1)
    assert [entry.id for entry in history.wait_for(Clearing(), 2, 30)[0]] == [3, 4]


def test_a_wait_counts_evicted_entries() -> None:
    """Entries that arrived and were evicted during a wait count."""
    history = Watched(2)
    found: list[Any] = []
    job = threading.Thread(target=lambda: found.extend(history.wait_for(Filter(), 4, 30)))
    job.start()
    for size in (1, 2):
        filled(history, size)
        history.looked_at()
    assert found == []
    filled(history, 1)
    job.join(30)
    assert ([entry.id for entry in found[0]], found[1]) == ([3, 4], 4)


def test_closing_ends_every_wait() -> None:
    """Closing a history ends present waits, and later ones at once."""
    history = History(10, 10**9)
    jobs = [lambda: history.wait(0, 60), lambda: history.wait_for(Filter(), 1, 60)]
    started_at = time.monotonic()
    in_parallel(*jobs, history.close)
    history.wait(history.changes(), 60)
    assert history.wait_for(Filter(), 1, 60) == ([], 0)
    assert time.monotonic() - started_at < 20


def test_the_rate_is_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of each second are counted, also if the clock is set back."""
    now = [1_000_000.5]
    monkeypatch.setattr(module.time, "time", lambda: now[0])
    history = filled(History(10, 10**9), 3)
    for at, size in ((1_000_002.0, 2), (1_000_001.0, 1), (1_000_003.9, 4)):
        now[0] = at
        filled(history, size)
    rate = history.rate()
    assert rate["from"] + (len(rate["counts"]) - 1) * rate["step"] == 1_000_003
    assert len(rate["counts"]) == RATE_SECONDS == 300
    assert rate["counts"][-4:] == [3, 0, 3, 4]
    now[0] += 298
    assert history.rate()["counts"][:4] == [3, 4, 0, 0]
    now[0] += 10_000
    assert sum(history.rate()["counts"]) == 0


def test_readers_miss_nothing() -> None:
    """Readers that continue at a position see every entry once, in order, during writes."""
    history = History(100_000, 10**9)
    seen: list[list[int]] = [[], []]
    total = 2 * 40 * 25

    def write() -> None:
        for _ in range(40):
            filled(history, 25)

    def read(into: list[int]) -> None:
        changes = -1
        while len(into) < total:
            changes = history.wait(changes, 10)
            into += [entry.id for entry in history.entries(into[-1] if into else 0).entries]

    in_parallel(write, write, *[lambda into=into: read(into) for into in seen])
    assert seen[0] == seen[1] == list(range(1, total + 1))


def test_a_page_is_bounded() -> None:
    """A page has a limit of entries and bytes, but one entry at least; it states if more follow."""
    some = entries(*[event(pad="x" * 1000) for _ in range(4)])
    assert [
        len(found) for found in (first_page(some, 9, 10**6)[0], first_page(some, 3, 10**6)[0])
    ] == [
        4,
        3,
    ]
    assert [first_page(some, most, 10**6)[1] for most in (3, 4)] == [True, False]
    assert (len(first_page(some, 9, 2500)[0]), first_page(some, 9, 2500)[1]) == (2, True)
    assert (len(first_page(some, 9, 1)[0]), first_page(some, 9, 1)[1]) == (1, True)
    assert first_page([], 9, 1) == ([], False)


def test_a_retry_is_recognized_by_its_body() -> None:
    """A request with the body of a failed one refers to it; after a 200 none does."""
    history = History(10, 10**9)
    with Collector(on_intake=Recorder(history, None)) as collector:
        collector.script(Answer(503), Answer(429))
        bodies = [event(1), event(1), event(2), event(1), event(1)]
        for one in bodies:
            send(collector, lines(one))
    found = history.requests().requests[::-1]
    assert [one["status"] for one in found] == [503, 429, 200, 200, 200]
    assert [one["retry_of"] for one in found] == [None, 1, None, 2, None]


def test_pings_are_not_retries() -> None:
    """Requests without a body are not retries of one another."""
    history = History(10, 10**9)
    with Collector(keys=("a", "b"), on_intake=Recorder(history, None)) as collector:
        for _ in range(2):
            send(collector, path="/v1/wrong/keys")
    assert [one["retry_of"] for one in history.requests().requests] == [None, None]


def test_failed_bodies_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the newest failed bodies are remembered."""
    monkeypatch.setattr("fslog.viewer.recorder._MAX_FAILED_BODIES", 2)
    history = History(10, 10**9)
    with Collector(on_intake=Recorder(history, None)) as collector:
        collector.always(Answer(503))
        for n in (1, 2, 3, 2, 1):
            send(collector, lines(event(n)))
    assert [one["retry_of"] for one in history.requests().requests[::-1]] == [
        None,
        None,
        None,
        2,
        None,
    ]


def test_the_overview_counts_what_is_kept() -> None:
    """Every number of the overview follows from its entries and requests."""
    some = entries(
        event(0),
        event(5_000, sessionId="s-2", userId="bob", feature="share"),
        event(2_000, action="moduleEnd", module="wiki", feature=None, timeSpent=5),
        event(1_000, feature=None),
        event(3_000, userId=None),
        b"no json",
    )
    requests = [
        {"status": status, "bytes_received": 10, "bytes_unpacked": 100}
        for status in (200, 503, None)
    ]
    found = overview(some, requests)
    assert {name: found[name] for name in ("kept", "valid", "warning", "invalid")} == {
        "kept": 6,
        "valid": 3,
        "warning": 1,
        "invalid": 2,
    }
    assert (found["requests"], found["failed_requests"]) == (3, 2)
    assert (found["bytes_received"], found["bytes_unpacked"]) == (30, 300)
    assert found["actions"] == [("feature", 4), ("moduleEnd", 1)]
    assert found["features"] == [
        ("reports / export", 2, "reports", "export"),
        ("reports / share", 1, "reports", "share"),
    ]
    assert found["modules"] == [("reports", 4), ("wiki", 1)]
    assert found["accounts"] == {"count": 1, "top": [("acme", 5)]}
    assert found["users"] == {"count": 2, "top": [("ann", 3), ("bob", 1)]}
    assert found["problems"] == [("expected feature", 1), ("missing userId", 1), ("not_json", 1)]
    base = 1_700_000_000_000
    assert found["sessions"] == [
        {
            "sessionId": "s-1",
            "accountId": "acme",
            "userId": "ann",
            "users": 1,
            "from": base,
            "to": base + 3_000,
            "count": 4,
        },
        {
            "sessionId": "s-2",
            "accountId": "acme",
            "userId": "bob",
            "users": 1,
            "from": base + 5_000,
            "to": base + 5_000,
            "count": 1,
        },
    ]


def test_the_overview_is_bounded() -> None:
    """The overview stays small for any number and length of names."""
    names = [f"{n}-" + "x" * 5000 for n in range(300)]
    some = entries(
        *[event(action=n, module=n, feature=n, sessionId=n, userId=n, accountId=n) for n in names]
    )
    found = overview(some, [])
    assert len(str(found)) < 200_000
    assert [len(found[name]) for name in ("features", "modules", "sessions")] == [10, 10, 20]
    assert found["users"]["count"] == found["accounts"]["count"] == 300


def test_a_property_with_too_many_values_is_named() -> None:
    """The handler warns of more than 500, and so does the overview: with two that are similar."""
    some = entries(*[event(feature=f"{n:03} export") for n in range(500)])
    assert overview(some, [])["many_names"] == []
    some += entries(event(feature="499 export again"), event(feature=None))
    similar = ["499 export", "499 export again"]
    assert overview(some, [])["many_names"] == [("feature", 501, *similar)]


def test_odd_times_and_names() -> None:
    """Infinite times, and features without a module, result in valid JSON."""
    some = entries(
        event(module=None),
        json.dumps(event()).replace("1700000000000", "1e999").encode(),
        json.dumps(event()).replace("1700000000000", "-1e999").encode(),
        json.dumps(event()).replace("1700000000000", "9" * 400).encode(),
        event(createdAt=True),
        event(createdAt="now"),
    )
    found = overview(some, [])
    json.dumps(found, allow_nan=False)
    assert found["features"][1] == ("export", 1, None, "export")
    assert found["sessions"][0]["count"] == 6
    assert (found["sessions"][0]["from"], found["sessions"][0]["to"]) == (0, 1_700_000_000_000)


@pytest.mark.parametrize(
    ("told", "when"),
    [
        (1_700_000_000_000, 1_700_000_000_000),
        (1_700_000_000, 5),  # seconds: 1970
        (1_700_000_000_000_000, 5),  # microseconds: the year 55,840
        (-1, 5),
        (None, 5),
        ("yesterday", 5),
        (True, 5),
        (1_700_000_000_000.5, 1_700_000_000_000),
    ],
)
def test_the_time_of_an_event(told: Any, when: int) -> None:
    """A `createdAt` in another unit is ignored: it would stretch a session over decades."""
    [entry] = entries(event(createdAt=told))
    entry.at = 5
    assert json.loads(entry.json())["when"] == when


def test_a_session_is_all_that_has_its_id() -> None:
    """Users who share an id share the session, which counts what a filter by the id selects."""
    some = entries(
        event(2_000, userId="bob"),
        event(1_000),
        event(sessionId="s-2"),
        event(3_000, createdAt=1_700_000_000),
        event(userId=None),
        event(sessionId=""),
        event(sessionId=None),
    )
    for entry in some:
        entry.at = 1_700_000_004_000
    found, total = sessions(some, 9)
    assert total == 2
    for one in found:
        assert one["count"] == len(Filter.from_query({"session": one["sessionId"]}).select(some))
    assert found[0] == {
        "sessionId": "s-1",
        "accountId": "acme",
        "userId": None,
        "users": 2,
        "from": 1_700_000_000_000,
        "to": 1_700_000_004_000,
        "count": 4,
    }
    assert sessions(some, 1, 1) == ([found[1]], 2)
    assert sessions(some, 1, 2) == ([], 2)


def test_a_brief_entry_is_short() -> None:
    """A brief entry of a long line has the properties that a list shows; of a short one all."""
    short, long, odd = entries(
        event(),
        event(accountId="a" * 9000, pad="x" * 9000),
        {"userId": 5, "feature": ["x" * 9000], "createdAt": "now", "pad": ["x" * 9000]},
    )
    assert short.json(brief=True) == short.json()
    shown = json.loads(long.json(brief=True))
    assert shown["cut"] is True
    assert shown["event"] == event(accountId="a" * 200)
    assert "cut" not in json.loads(long.json())
    assert json.loads(odd.json(brief=True))["event"] == {"userId": "5"}
    assert len(odd.json(brief=True)) < 5_000
    assert len(first_page([long] * 9, 9, 10_000)[0]) == 1
    assert len(first_page([long] * 9, 9, 10_000, brief=True)[0]) == 2
