"""Equal events of a batch become one, and no number of uses changes on any way to the endpoint."""

from __future__ import annotations

import json
import logging
import math
import signal
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_listener import World, reply

import fslog
from fslog import FreshsuccessHandler
from fslog.collector import Answer, Collector
from fslog.delivery.aggregation import merged
from fslog.mapping.encoding import encode
from fslog.net import wire
from fslog.net.retry import Kind, Outcome
from processes import KEYS, run, started
from spools import Process, processes, quarantined, segments

WINDOW = 10.0
DOWN = Outcome(Kind.RETRY, "it answers 503")
LARGE = Outcome(Kind.TOO_LARGE, "it answers 413")


def use(at_ms: float = 0, **more: Any) -> dict[str, Any]:
    """Return an event, a use of a feature."""
    who = {"accountId": "acme", "userId": "ann", "sessionId": "s"}
    return {**who, "action": "feature", "feature": "export", "createdAt": at_ms, **more}


def merge(*events: dict[str, Any], seconds: float = WINDOW) -> list[dict[str, Any]]:
    """Return events as they are after merging."""
    return [json.loads(line) for line in merged([encode(event) for event in events], seconds)]


def others(event: dict[str, Any]) -> str:
    """Return what must be equal for events to be merged, as text: 1, 1.0 and true differ."""
    rest = {name: event[name] for name in event if name not in ("total", "createdAt")}
    return json.dumps(rest, sort_keys=True)


def uses(events: Iterable[dict[str, Any]]) -> dict[str, Fraction]:
    """Return the sum of the totals for each set of other properties, without any rounding."""
    sums: dict[str, Fraction] = defaultdict(Fraction)
    for event in events:
        sums[others(event)] += Fraction(event.get("total", 1))
    return dict(sums)


TOTALS = st.one_of(
    st.none(),
    st.integers(-5, 2**40),
    # Halves, so that the sum of any of these is exact as a float, too.
    st.integers(0, 2**20).map(lambda number: number / 2),
)
TIME = st.integers(1, 3).map(lambda at: {"a": 1, "createdAt": at})
VALUES = st.one_of(
    st.sampled_from([1, 1.0, True, None, "1", "", [1], [1.0], {}]),
    st.sampled_from([{"a": 1, "b": [True]}, {"b": [True], "a": 1}]),
    # What looks like the event's time, and is not.
    TIME,
    st.lists(TIME, min_size=1, max_size=1),
    TIME.map(json.dumps),
    st.integers(1, 3).map(lambda at: f',"createdAt":{at},'),
    st.integers(1, 3).map(lambda at: f',"createdAt":{at},{{'),
)


@st.composite
def event_lists(draw: st.DrawFn, most: int = 40) -> list[dict[str, Any]]:
    """Return events of few kinds, so that many are equal, in any order of properties and times."""
    found = []
    for _ in range(draw(st.integers(0, most))):
        more: dict[str, Any] = {"feature": draw(st.sampled_from(["export", "save"]))}
        if draw(st.booleans()):
            more["details"] = draw(VALUES)
        if draw(st.booleans()):
            more["action"] = draw(st.sampled_from(["feature", "moduleEnd"]))
        total = draw(TOTALS)
        event = use(
            draw(st.integers(0, 40_000)), **more, **({} if total is None else {"total": total})
        )
        if draw(st.booleans()):
            event = dict(reversed(event.items()))
        found.append(event)
    return found


@given(events=event_lists(), seconds=st.sampled_from([0.001, 1.0, 10.0, 1e6]))
def test_no_number_of_uses_changes(events: list[dict[str, Any]], seconds: float) -> None:
    """For each set of other properties the totals have the same sum as before, exactly; the first
    events of each keep their order, and each event has one within the window to stand for it."""
    after = merge(*events, seconds=seconds)
    assert uses(after) == uses(events)
    assert list(uses(after)) == list(uses(events))
    assert len(after) <= len(events)
    for event in events:
        assert any(
            others(event) == others(other)
            and abs(event["createdAt"] - other["createdAt"]) <= seconds * 1000
            for other in after
        )
    # What is left is a part of what there was, in the same order, apart from the totals.
    rest = iter(events)
    for event in after:
        assert any(
            others(event) == others(other) and event["createdAt"] == other["createdAt"]
            for other in rest
        )
    assert [event for event in after if event["action"] != "feature"] == [
        event for event in events if event["action"] != "feature"
    ]
    lines = [encode(event) for event in events]
    assert merged(lines, seconds) == merged(list(lines), seconds)


@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=30))
def test_fractions_are_rounded_once(totals: list[float]) -> None:
    """The sum of floats is the float that is nearest to the exact sum, in whatever order."""
    [event] = merge(*(use(total=total) for total in totals))
    assert event["total"] == math.fsum(totals)
    assert type(event["total"]) is float


def test_equal_uses_within_the_window_are_one() -> None:
    """It has the place and time of the first, and counts 1 for each event without a total."""
    found = merge(
        use(0), use(1, userId="bob"), use(9_000, total=3), use(10_000), use(10_001), use(20_001)
    )
    assert found == [use(0, total=5), use(1, userId="bob"), use(10_001, total=2)]


def test_an_event_may_come_late() -> None:
    """The window extends to both sides: `createdAt` need not be in order."""
    assert merge(use(20_000), use(10_000), use(9_999)) == [use(20_000, total=2), use(9_999)]


def test_whole_numbers_stay_whole() -> None:
    """The sum of integers is one, and a sum with a float is a float."""
    texts = [b"".join(merged([encode(use(total=n)) for n in ns], 1.0)) for ns in ([2, 3], [2, 3.0])]
    assert b'"total":5}' in texts[0]
    assert b'"total":5.0}' in texts[1]


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (1, True), (0, False), ("1", 1), (None, "null"), ([], {})]
)
def test_values_of_different_types_are_not_equal(one: Any, other: Any) -> None:
    """Neither at the top nor in `details`, although Python takes 1, 1.0 and True for the same."""
    assert len(merge(use(plan=one), use(plan=other))) == 2
    assert len(merge(use(details={"plan": [one]}), use(details={"plan": [other]}))) == 2


UNCHANGED = [
    b"not JSON\n",
    b'"feature"\n',
    b'["feature"]\n',
    b'{"action":"feature","createdAt":1,"total":NaN}\n',
    b'{"action":"feature","createdAt":1,"total":1e999}\n',
    b'{"action":"feature","createdAt":1,"total":null}\n',
    b'{"action":"feature","createdAt":1,"total":"2"}\n',
    b'{"action":"feature","createdAt":1,"total":true}\n',
    b'{"action":"feature","createdAt":1,"total":%d}\n' % (2**53 + 1),
    b'{"action":"feature","createdAt":1,"total":%s}\n' % (b"9" * 5_000),
    b'{"action":"feature","createdAt":"1"}\n',
    b'{"action":"feature","createdAt":1e999}\n',
    b'{"action":"feature","feature":"x"}\n',
    b'{"action":["feature"],"createdAt":1}\n',
    b'{"action":"feature","createdAt":1,"details":%s}\n' % (b"[" * 1_000_000 + b"]" * 1_000_000),
    b'{"action":"\xff","feature":"feature","createdAt":1}\n',
]


@pytest.mark.parametrize("line", UNCHANGED, ids=lambda line: repr(line[:60]))
def test_a_line_that_cannot_be_summed_is_unchanged(line: bytes) -> None:
    """It remains as often as it was there, byte by byte, and the others are merged around it."""
    one = encode(use())
    found = merged([line, one, line, one, line], WINDOW)
    assert found == [line, encode(use(total=2)), line, line]


def test_a_sum_that_would_not_be_exact_begins_another_event() -> None:
    """Beyond 2**53 a reader that takes numbers for floats would lose some."""
    found = merge(use(total=2**53 - 1), use(), use())
    assert [event["total"] for event in found[:1]] == [2**53]
    assert found[1] == use()


@pytest.mark.parametrize("at", [1, 10, 1_764_439_279_123])
def test_only_the_time_of_the_event_itself_is_its_time(at: int) -> None:
    """A `createdAt` in a nested value, or in a text, distinguishes events as any other value."""
    for value in ({"a": 1, "createdAt": at}, [{"a": 1, "createdAt": at}], f',"createdAt":{at},'):
        other = json.loads(json.dumps(value).replace(str(at), str(at + 1)))
        one, two = {"details": value, **use(1)}, {"details": other, **use(2)}
        assert merge(one, two, {**one, "createdAt": 3}) == [{**one, "total": 2}, two]
        assert merge(two, one, {**two, "createdAt": 3}) == [{**two, "total": 2}, one]
        # The event's own time may be its first property.
        first, last = {"createdAt": 1, **one}, {"createdAt": 1, **two}
        assert merge(first, last, first) == [{**first, "total": 2}, {**last, "createdAt": 2}]


def test_a_name_may_be_written_in_escapes() -> None:
    """Of two properties of one name the last counts, as for any reader of JSON."""
    line = b'{"action":"feature","createdAt":%d,"createdA\\u0074":9}\n'
    [one] = merged([line % 5, line % 100_005], WINDOW)
    assert json.loads(one)["total"] == 2


def test_lines_that_are_all_different_are_not_touched() -> None:
    """The same list is returned, so that nothing is compressed twice."""
    lines = [encode(use(feature=str(number))) for number in range(5)]
    assert merged(lines, WINDOW) is lines


class Lines(World):
    """A listener without a thread that merges events; see `World`."""

    def __init__(self, *outcomes: Any, **limits: Any) -> None:
        super().__init__(*outcomes, **{"aggregate": WINDOW, **limits})
        self.bodies: list[bytes] = []

    def _post(self, body: bytes, timeout: float | None) -> Outcome:
        self.bodies.append(body)
        return super()._post(body, timeout)

    def use(self, *events: dict[str, Any]) -> None:
        """Append the lines of events."""
        for event in events:
            assert self.buffer.append(encode(event))


def test_a_batch_waits_for_the_window() -> None:
    """The first event of a quiet time is not posted at once but when the window is over, although
    `flush_interval` is shorter; so what comes in between is merged with it."""
    world = Lines(flush_interval=1.0)
    world.use(use(0))
    world.run(until=9.0)
    world.use(use(9_000))
    world.run(until=9.75)
    assert world.posts == []
    world.run(until=30.0)
    assert world.delivered == [[use(0, total=2)]]
    assert world.times == [10.0]
    assert (world.counts()["delivered"], world.counts()["merged"]) == (2, 1)


def test_a_longer_flush_interval_remains() -> None:
    """`aggregate` never makes an event leave sooner."""
    world = Lines(flush_interval=20.0)
    world.use(use(0))
    world.run(until=60.0)
    assert world.times == [20.0]


def test_a_flush_does_not_wait_for_the_window() -> None:
    """What is held at the call is merged and posted at once."""
    world = Lines()
    world.use(use(0), use(1))
    request = world.flush()
    world.run()
    assert world.delivered == [[use(0, total=2)]]
    assert reply(request) is True


def test_a_full_batch_is_posted_before_the_window_ends() -> None:
    """Then events are merged within each of the batches."""
    world = Lines(batch_events=3)
    world.use(*[use(at) for at in range(6)])
    world.run()
    assert world.delivered == [[use(0, total=3)], [use(3, total=3)]]


def test_a_retry_posts_the_same_body() -> None:
    """A batch is merged once, however often it is posted."""
    world = Lines(DOWN, DOWN)
    world.use(use(0), use(1, userId="bob"), use(2))
    world.run(until=30.0)
    assert len(world.bodies) == 3
    assert len(set(world.bodies)) == 1
    assert world.counts()["merged"] == 1


def test_a_413_halves_the_events_not_the_lines() -> None:
    """The halves are merged again, in order; single events count 1, and all counts are exact."""
    world = Lines(*[LARGE] * 2, encoding=None)
    world.use(*[use(at, userId=user) for at in range(4) for user in ("ann", "bob")])
    world.flush()
    world.run(until=1.0)
    ann, bob = use(0, userId="ann"), use(0, userId="bob")
    assert world.delivered == [
        [{**ann, "total": 4}, {**bob, "total": 4}],
        [{**ann, "total": 2}, {**bob, "total": 2}],
        [ann, bob],
        [{**ann, "createdAt": 1}, {**bob, "createdAt": 1}],
        [{**ann, "createdAt": 2, "total": 2}, {**bob, "createdAt": 2, "total": 2}],
    ]
    counts = world.counts()
    assert (counts["delivered"], counts["pending"], counts["merged"]) == (8, 0, 2)
    assert counts["bytes_encoded"] == counts["bytes_sent"] == sum(map(len, world.bodies[2:]))
    assert world.buffer._held_bytes == 0


def test_a_line_of_many_events_that_is_too_large_is_abandoned_event_by_event() -> None:
    """If even one event is too large, each of them is counted as abandoned."""
    world = Lines(*[LARGE] * 5)
    world.use(*[use(at) for at in range(3)])
    world.flush()
    world.run(until=1.0)
    assert world.counts()["abandoned"] == 3
    assert world.counts()["merged"] == 0


@given(st.lists(st.tuples(event_lists(12), st.sampled_from(["ok", "down", "large"])), max_size=6))
def test_the_numbers_balance_in_memory(rounds: list[tuple[list[dict[str, Any]], str]]) -> None:
    """Whatever is merged, retried or split: accepted = delivered + pending + abandoned, the uses
    that arrive are those that were logged, and the buffer is empty in the end."""
    world = Lines(batch_events=7, encoding=None)
    arrived: list[dict[str, Any]] = []
    moods = ["ok"]

    def answer(events: Any) -> Outcome:
        if moods[-1] == "down" or (moods[-1] == "large" and len(events) > 1):
            return DOWN if moods[-1] == "down" else LARGE
        arrived.extend(events)
        return Outcome(Kind.DELIVERED)

    world.answer = answer
    logged: list[dict[str, Any]] = []
    for events, mood in rounds:
        moods.append(mood)
        world.use(*events)
        logged += events
        world.flush()
        world.run()
        counts = world.counts()
        assert counts["accepted"] == len(logged) == counts["delivered"] + counts["pending"]
    moods.append("ok")
    world.flush()
    world.run()
    counts = world.counts()
    assert (counts["delivered"], counts["pending"]) == (len(logged), 0)
    assert counts["delivered"] - counts["merged"] == len(arrived)
    assert uses(arrived) == uses(logged)
    assert world.buffer._held_bytes == 0


ROUNDS = st.lists(
    st.tuples(event_lists(12), st.sampled_from(["deliver", "split", "die", "abandon", "wait"])),
    max_size=8,
)


def _post(process: Process, what: str) -> Iterator[dict[str, Any]]:
    """Deliver, split or abandon what waits, and yield the events that arrived."""
    process.buffer.seal()
    process.take()
    while (batch := process.backlog.head()) is not None:
        if what == "wait":
            return
        if (what == "split" and batch.events > 2) or (what == "abandon" and batch.events > 1):
            process.backlog.split()
        elif what == "abandon":
            process.backlog.abandon("too large")
        else:
            yield from map(json.loads, batch_lines(batch.body))
            process.backlog.delivered()
            if what == "die":
                return


def batch_lines(body: bytes | None) -> list[bytes]:
    """Return the lines of a body."""
    return list(wire.lines_of(wire.unpack(body or b"", "deflate")))


@given(rounds=ROUNDS, events=st.integers(2, 9))
def test_no_number_of_uses_changes_through_a_spool(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[Any], events: int
) -> None:
    """Processes merge, split, die with a part of their segments delivered, and are adopted: what
    arrived and what is in quarantine has the uses that were logged, each event accounted for."""
    path = tmp_path_factory.mktemp("spool")
    logged: list[dict[str, Any]] = []
    arrived: list[dict[str, Any]] = []

    def begin() -> Process:
        process = Process(path, aggregate=WINDOW, batch_events=events)
        process.backlog.adopt_at = 0.0
        process.backlog.adopt_if_due()
        return process

    process = begin()
    try:
        for round_events, what in [*rounds, ([], "deliver")]:
            for event in round_events:
                assert process.buffer.append(encode(event))
            logged += round_events
            arrived += _post(process, what)
            process.counts()
            if what == "die":
                process.die()
                process = begin()
        assert process.counts("pending") == [0]
    finally:
        process.die()
    kept = [json.loads(text) for text in quarantined(path).values() if text.endswith(b"}\n")]
    assert uses([*arrived, *kept]) == uses(logged)
    assert segments(path) == []


def test_a_quarantined_event_is_as_it_was_logged(tmp_path: Path) -> None:
    """An event that alone is too large is set aside unmerged, and counted as one."""
    with processes(tmp_path, aggregate=WINDOW) as [process]:
        for at in range(4):
            assert process.buffer.append(encode(use(at)))
        assert list(_post(process, "abandon")) == []
        assert process.counts("abandoned", "pending") == [4, 0]
        found = sorted(text for text in quarantined(tmp_path).values() if text.startswith(b"{"))
        assert found == [encode(use(at)) for at in range(4)]


def test_what_dead_processes_left_is_merged(tmp_path: Path) -> None:
    """Events of several processes are equal, too, if they are within the window; all are counted
    as adopted and delivered."""
    for at in range(3):
        with processes(tmp_path) as [dead]:
            assert dead.buffer.append(encode(use(at)))
    with processes(tmp_path, aggregate=WINDOW) as [process]:
        process.backlog.adopt_at = 0.0
        process.backlog.adopt_if_due()
        assert list(_post(process, "deliver")) == [use(0, total=3)]
        assert process.counts("adopted", "delivered", "merged") == [3, 3, 2]


PROGRAM = """
    import os, signal
    from counted import *

    handler = handle(aggregate=600, batch_events=50)
    for number in range(int(sys.argv[1])):
        more = {} if number % 3 else {"total": 2}
        event = {"accountId": "a", "userId": "u%d" % (number % 2), "sessionId": "s"}
        event |= {"action": "feature", "module": "m", "feature": "f", **more}
        log.info("used", extra={"event": event})
    if "killed" in sys.argv:
        tell(logged=number + 1)
        os.kill(os.getpid(), signal.SIGKILL)
    handler.flush(30.0)
    stats = handler.stats()
    tell(merged=stats.merged, delivered=stats.delivered, pending=stats.pending)
"""


def totals(collector: Collector) -> dict[str, int]:
    """Return the uses of each user that arrived."""
    found: dict[str, int] = defaultdict(int)
    for event in collector.events:
        found[event["userId"]] += event.get("total", 1)
    return dict(found)


@pytest.mark.slow
def test_a_process_that_ends_in_order_delivers_merged_events() -> None:
    """Without a spool: 120 events of two users are six lines, two for each batch."""
    with Collector(keys=KEYS) as endpoint:
        ended = run(PROGRAM, endpoint.url, arguments=["120"])
        assert ended.facts == {"merged": 114, "delivered": 120, "pending": 0}
        assert totals(endpoint) == {"u0": 80, "u1": 80}
        assert len(endpoint.events) == 6


@pytest.mark.slow
def test_a_kill_loses_no_event_that_waits_to_be_merged(tmp_path: Path) -> None:
    """With a spool: while the endpoint is down a process is killed in the window; the next one
    sends its events, merged, and none is missing."""
    with Collector(keys=KEYS) as endpoint:
        endpoint.always(Answer(503))
        settings = {"FSLOG_SPOOL": str(tmp_path / "spool")}
        with started(PROGRAM, endpoint.url, arguments=["130", "killed"], settings=settings) as dead:
            assert dead.end(60.0).code == -signal.SIGKILL
        endpoint.always(None)
        assert endpoint.events == []
        run(PROGRAM, endpoint.url, arguments=["20"], settings=settings)
        assert totals(endpoint) == {"u0": 101, "u1": 100}
        assert len(endpoint.events) < 30


def called(endpoint: Collector, **given: Any) -> list[str]:
    """Return the functions of fslog that a log call runs, after some that were like it.

    But those that find that the listener has been woken already: whether it has depends on when
    its thread runs.
    """
    logger = logging.Logger("app")
    keys = {"auth_key": KEYS[0], "api_key": KEYS[1], "endpoint": endpoint.url}
    handler = FreshsuccessHandler(**{**keys, "flush_interval": 600.0, **given})
    logger.addHandler(handler)
    found: list[str] = []
    ours = (str(Path(fslog.__file__).parent), "<fslog encoder")
    woken = {"unless_interrupt", "is_interrupt"}

    def profile(frame: FrameType, what: str, function: Any) -> None:
        code = frame.f_code
        if what == "call" and code.co_filename.startswith(ours) and code.co_name not in woken:
            found.append(code.co_name)

    def log() -> None:
        logger.info("used", extra={"event": use()})

    try:
        for _ in range(5):
            log()
            assert handler.flush(10.0)
        sys.setprofile(profile)
        log()
    finally:
        sys.setprofile(None)
        handler.close()
    return found


def test_the_log_call_costs_the_same() -> None:
    """It runs the same functions with `aggregate` and without: all of it is the listener's."""
    with Collector(keys=KEYS) as endpoint:
        plain = called(endpoint)
        assert plain[:1] == ["handle"]
        assert {"append", "_append"} <= {*plain}
        assert "event" not in plain  # the compiled encoder makes the line
        assert called(endpoint, aggregate=10) == plain
