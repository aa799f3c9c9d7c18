"""Accepted means kept: processes die at random, and an endpoint fails in every way."""

from __future__ import annotations

import json
import random
import re
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fslog.collector import Answer
from fslog.net import wire
from oracle import (
    MARGIN_SECONDS,
    MAX_BACKOFF_SECONDS,
    SHUTDOWN_SECONDS,
    TIMEOUT_SECONDS,
    Deed,
    Endpoint,
    Event,
    Life,
    Plan,
    Post,
    Verdict,
    Worker,
    chaos,
    content,
    fine,
    seed,
    unless,
)
from processes import KEYS

CHAOS_SECONDS = 20.0
ARRIVAL_SECONDS = 60.0
"""In what time after the last fault everything must have arrived."""

LEAVING_SECONDS = 15.0
"""What an end may take beside `shutdown_timeout`, on a busy machine."""

SIGNALS = {"SIGKILL": 5.0, "SIGTERM": 3.0, "SIGSTOP": 3.0, "SIGUSR1": 12.0}
"""What the killer does, and how often; SIGUSR1 logs in the middle of whatever goes on."""

REPORT = re.compile(r"fslog: abandoned (\d+) events? that 127\.0\.0\.1:\d+ did not [^\n]+\n")
REFUSAL = re.compile(
    r"fslog: an event for 127\.0\.0\.1:\d+ is refused when the process ends, because "
    r"(spool_max_bytes|buffer_bytes) is full, as are any after it\n"
)
"""Other lines that are allowed: some threads go on logging while their process ends."""


def request(poster: str, *events: Event) -> bytes:
    """Return a whole POST of some events."""
    lines = [json.dumps(content(*event)).encode() + b"\n" for event in events]
    body = wire.pack(lines, "deflate", 6)
    head = f"POST /{poster}/v1/{'/'.join(KEYS)} HTTP/1.1\r\nContent-Encoding: deflate\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def test_the_endpoint_detects_which_answers_were_read() -> None:
    """A client that reads an answer and then dies is distinguished from one that does not read."""
    with Endpoint(random.Random(0)) as endpoint:

        def connect(poster: str, lacking: int = 0) -> socket.socket:
            conn = socket.create_connection(("127.0.0.1", endpoint.port), 5.0)
            whole = request(poster, (poster, 0))
            conn.sendall(whole[: len(whole) - lacking])
            return conn

        with connect("reads") as conn:
            assert conn.recv(1_000).startswith(b"HTTP/1.1 200 ")
            conn.sendall(request("reads", ("reads", 1)))
            assert conn.recv(1_000).startswith(b"HTTP/1.1 200 ")
        with connect("closes-over-it") as conn:
            assert conn.recv(1, socket.MSG_PEEK) == b"H"
        with connect("lives-on") as conn:
            assert conn.recv(1, socket.MSG_PEEK) == b"H"
            endpoint.behave(None)
            endpoint.behave(lambda dice, size: Deed(Answer(delay=0.2)))
        with connect("dies-while-it-sends", lacking=1), connect("leaves-before"):
            pass
        assert not endpoint.wait_for({("leaves-before", 0)}, 5.0)
    read = {(post.poster, post.events[0][1]): post.read for post in endpoint.posts}
    assert read == {
        ("reads", 0): True,
        ("reads", 1): True,
        ("closes-over-it", 0): False,
        ("lives-on", 0): False,
        ("leaves-before", 0): False,
    }
    assert {post.taken for post in endpoint.posts} == {True}


FAULTLESS = [("200", 0, 1), ("200", 2, 3), ("200", 4)]


def posts(*came: tuple[Any, ...], poster: str = "w0.0") -> list[Post]:
    """Return posts, one per second from 1.0 on, from their outcomes and numbers."""
    made = []
    for at, (how, *numbers) in enumerate(came, 1):
        events = [("w0.0", number) for number in numbers]
        taken = how in ("200", "close 100%", "answer 50%")
        lines = [content(*event) for event in events] if taken else []
        answered_at = float(at) if how.isdigit() else None
        made.append(Post(poster, float(at), events, lines, how, answered_at, True))
    return made


def judge(came: list[Post], **life: Any) -> Verdict:
    """Judge posts of one process that logged 0 to 4, and of its successor."""
    said = [("w0.0", number) for number in range(5)]
    return Verdict(came, [Life("w0", **{"said": said, **life}), Life("w1")])


def kinds(found: list[str]) -> set[str]:
    """Return the kinds of findings."""
    return {text.partition(":")[0] for text in found}


def test_the_judge_finds_nothing_in_a_correct_run() -> None:
    """All events arrived once, intact and in order."""
    verdict = judge(posts(*FAULTLESS))
    assert verdict.all() + verdict.lost() == []
    assert not verdict.explained


WRONG: dict[str, tuple[list[Post], dict[str, Any], str]] = {
    "an event is missing": (posts(("200", 0, 1), ("200", 2, 4)), {}, "lost"),
    "it was answered by 503": (posts(("200", 0, 1, 2, 3), ("503", 4)), {}, "lost"),
    "two change places": (posts(("200", 0, 2, 1, 3, 4)), {}, "out of order"),
    "a batch overtakes": (posts(("200", 0, 1), ("200", 4), ("200", 2, 3)), {}, "out of order"),
    "a batch comes again": (posts(*FAULTLESS, ("200", 0, 1)), {}, "repeated"),
    "an older batch of a killed process": (
        [*posts(*FAULTLESS), *posts(("200", 2, 3), poster="w1.0")],
        {"code": -9, "killed_at": 3.1, "ended_at": 3.2},
        "repeated",
    ),
    "long after a kill": (
        [*posts(*FAULTLESS), *posts(("200", 4), poster="w1.0")],
        {"code": -9, "killed_at": 9.0, "ended_at": 9.1},
        "repeated",
    ),
    "after a quick and graceful end": (
        [*posts(*FAULTLESS), *posts(("200", 4), poster="w1.0")],
        {"code": 0, "asked_at": 3.0, "ended_at": 3.5},
        "repeated",
    ),
    "an event stands twice in a body": (
        posts(*FAULTLESS[:2], ("answer 50%", 4, 4), ("200", 4)),
        {},
        "twice in one body",
    ),
    "nobody said it": (posts(*FAULTLESS, ("200", 6)), {}, "arrived and never said"),
    "it was refused": (
        posts(*FAULTLESS),
        {"said": [("w0.0", n) for n in range(4)], "refused": [("w0.0", 4)]},
        "arrived although refused",
    ),
}


@pytest.mark.parametrize(("came", "life", "kind"), WRONG.values(), ids=WRONG)
def test_the_judge_finds_each_fault(came: list[Post], life: dict[str, Any], kind: str) -> None:
    """Each way to break the promise is found and named."""
    verdict = judge(came, **life)
    assert kinds(verdict.all() + verdict.lost()) == {kind}


def test_the_judge_finds_every_change_of_an_event() -> None:
    """An additional property, a missing one, another value, another type: all are found."""
    changes: list[dict[str, Any]] = [{"more": 1}, {"number": 2.0}, {"text": "other"}]
    for change in [*changes, {"nested": None}]:
        came = posts(*FAULTLESS)
        came[1].lines[0].update(change)
        assert kinds(judge(came).all()) == {"garbled"}
    del came[1].lines[0]["userId"]
    assert kinds(judge(came).all()) == {"garbled"}


EXCUSED: dict[str, tuple[list[Post], dict[str, Any], str]] = {
    "a half answer": (
        posts(("200", 0, 1), ("answer 50%", 2, 3), ("200", 2, 3), ("200", 4)),
        {},
        "the answer was lost",
    ),
    "in flight at a kill": (
        [*posts(*FAULTLESS), *posts(("200", 4), poster="w1.0")],
        {"code": -9, "killed_at": 3.5, "ended_at": 3.6},
        "it was in flight when its process was killed",
    ),
    "in flight when it was stopped, and then killed": (
        [*posts(*FAULTLESS), *posts(("200", 4), poster="w1.0")],
        {"code": -9, "stops": [[3.1, 8.0]], "killed_at": 9.0, "ended_at": 9.1},
        "it was in flight when its process was killed",
    ),
    "in flight when the time was up": (
        [*posts(*FAULTLESS), *posts(("200", 4), poster="w1.0")],
        {"code": 0, "asked_at": 2.1, "ended_at": 3.2},
        "it was in flight when the time of its process was up",
    ),
    "in flight when a signal hurried its end": (
        [*posts(*FAULTLESS), *posts(("200", 4), poster="w1.0")],
        {"code": 0, "left_at": 2.9, "asked_at": 3.3, "ended_at": 3.4},
        "it was in flight when a SIGTERM hurried the end of its process",
    ),
    "a half of a split batch": (
        [
            *posts(("413", 0, 1, 2, 3, 4), ("413", 0, 1, 2), ("200", 0, 1)),
            *posts(("200", 0, 1, 2, 3, 4), poster="w1.0"),
        ],
        {"code": -9, "killed_at": 20.0, "ended_at": 20.1},
        "a part of its batch was pending at the end of its process",
    ),
}


@pytest.mark.parametrize(("came", "life", "why"), EXCUSED.values(), ids=EXCUSED)
def test_the_judge_allows_explained_repetitions(
    came: list[Post], life: dict[str, Any], why: str
) -> None:
    """A repetition is allowed only if an answer or a process was lost."""
    verdict = judge(came, **life)
    assert verdict.all() + verdict.lost() == []
    assert set(verdict.explained) == {why}


def settings(dice: random.Random, **more: Any) -> dict[str, Any]:
    """Draw the arguments of all handlers of a run."""
    return {
        "timeout": TIMEOUT_SECONDS,
        "max_backoff": MAX_BACKOFF_SECONDS,
        "shutdown_timeout": SHUTDOWN_SECONDS,
        "compression": dice.choice(("deflate", "gzip", None)),
        "batch_events": dice.choice((10, 25, 100)),
        "batch_bytes": dice.choice((8_000, 1_048_576)),
        "flush_interval": dice.choice((0.02, 0.1, 0.4)),
        **more,
    }


def ended_badly(worker: Worker) -> list[str]:
    """Return what is unexpected about the end of a process that was not killed."""
    if worker.is_killed:
        return []
    found = [] if worker.code == 0 else [f"{worker.source} ended with {worker.code}: {worker.err}"]
    if worker.leaving_seconds > SHUTDOWN_SECONDS + LEAVING_SECONDS:
        found.append(f"{worker.source} took long to end: {worker.leaving_seconds:.1f} s")
    handlers = len(worker.stats)
    if handlers != worker.plan.handlers:
        found.append(f"{worker.source} told the numbers of {handlers} handlers")
    for stats in worker.stats:
        records = ("skipped", "excluded", "limited", "invalid", "refused", "accepted")
        emitted = [stats[name] for name in records]
        settled = [stats[name] for name in ("delivered", "pending", "abandoned")]
        if stats["emitted"] + stats["derived"] != sum(emitted):
            found.append(f"{worker.source}: emitted does not balance: {stats}")
        if stats["accepted"] + stats["adopted"] != sum(settled):
            found.append(f"{worker.source}: accepted does not balance: {stats}")
    return found


def unexpected(worker: Worker) -> str:
    """Return what a process wrote to stderr, except one line per handler that refused."""
    refusing = sum(stats["refused"] > 0 for stats in worker.stats)
    return REFUSAL.sub("", worker.err, count=refusing) if refusing else worker.err


def left_in(spool: Path, ended: int = 0) -> list[str]:
    """Return the files of a spool directory except its marker.

    A process that ends while it shortens a segment leaves a draft, one a handler at the most,
    which is swept when it is ten minutes old. So many handlers' processes have ended.
    """
    files = [path for path in spool.rglob("*") if path.is_file()]
    names = sorted(str(path.relative_to(spool)) for path in files if path.name != "spool.json")
    drafts = [name for name in names if name.endswith(".new")]
    return [name for name in names if name not in drafts[:ended]]


def is_idle(spool: Path, handlers: int, ended: int) -> bool:
    """Return whether the directory has only the owner files of so many living handlers."""
    left = left_in(spool, ended)
    return len(left) <= handlers and all(name.startswith("owners/") for name in left)


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_with_a_spool_every_event_whose_log_call_returned_arrives(tmp_path: Path) -> None:
    """Processes are killed, stopped and replaced while the endpoint fails in every way.

    All events arrive intact, in the order of each source, and twice only if an answer or a
    process was lost.
    """
    number = seed()
    dice = random.Random(f"{number} plan")
    spool = tmp_path / "spool"
    fsync = dice.choice(("never", "never", "segment", "line"))
    common = settings(dice, spool=str(spool), spool_fsync=fsync)
    if dice.random() < 0.3:
        common["spool_max_bytes"] = 150_000

    def plan(dice: random.Random) -> Plan:
        handlers = dice.choice((1, 1, 2))
        events = dice.choice((300, 10**9, 10**9))
        return Plan(common, handlers, handlers + dice.choice((0, 0, 1)), events, rest=0.15)

    with chaos(number, tmp_path, plan) as run:
        run.run(CHAOS_SECONDS, 3, SIGNALS)
        living = [worker for worker in run.living() if worker.asked_at is None]
        run.endpoint.behave(fine)
        stopped_at = time.monotonic()
        dying = [worker for worker in run.workers if worker not in living]
        run.wait_for_end(dying, SHUTDOWN_SECONDS + MARGIN_SECONDS)
        living.append(run.start(Plan(common)))
        run.quieten(living)
        said = {event for worker in run.workers for event in worker.said}
        missing = run.endpoint.wait_for(said, stopped_at + ARRIVAL_SECONDS - time.monotonic())
        took = time.monotonic() - stopped_at
        handlers = sum(worker.plan.handlers for worker in living)
        ended = sum(worker.plan.handlers for worker in run.workers) - handlers
        run.wait_until(lambda: is_idle(spool, handlers, ended), stopped_at + ARRIVAL_SECONDS)
        emptied = time.monotonic() - stopped_at
        run.end(living)
        verdict = Verdict(run.endpoint.posts, run.workers)
        verdict.write(tmp_path / "run.ndjson")
        found = verdict.all() + [f"late: {event}" for event in sorted(missing)] + verdict.lost()
        found += [text for worker in run.workers for text in ended_badly(worker)]
        for worker in run.workers:
            if not worker.is_killed:
                said_badly = unexpected(worker)
                found += [f"{worker.source} wrote {said_badly!r}"] if said_badly else []
                lost = sum(stats["abandoned"] for stats in worker.stats)
                found += [f"{worker.source} abandoned {lost}"] if lost else []
        found += [f"left behind: {name}" for name in left_in(spool, ended)]
        killed = sum(worker.is_killed for worker in run.workers)
        summary = (
            f"{len(said)} events of {len(run.workers)} processes, "
            f"{killed} killed, "
            f"{sum(len(worker.refused) for worker in run.workers)} refused, "
            f"{len(run.endpoint.posts)} posts; all there after {took:.1f} s, spool empty after "
            f"{emptied:.1f} s; repeated: {dict(verdict.explained)}"
        )
        print(summary)
        assert not found, told(number, found)
        assert run.endpoint.invalid == 0
        assert len(said) > 100, summary
        assert killed, summary


def told(number: int, found: list[str]) -> str:
    """Return the findings, and how to reproduce them."""
    kinds = Counter(text.partition(":")[0] for text in found)
    return "\n".join([f"FSLOG_CHAOS_SEED={number}", str(dict(kinds)), *found[:40]])


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_without_a_spool_every_event_that_did_not_arrive_is_counted(tmp_path: Path) -> None:
    """If processes exit or get SIGTERM, the counts and the report give what is missing."""
    number = seed()
    dice = random.Random(f"{number} plan")
    common = settings(dice, buffer_bytes=dice.choice((20_000, 100_000, 67_108_864)))

    def plan(dice: random.Random) -> Plan:
        return Plan(common, 1, dice.choice((1, 1, 2)), dice.choice((50, 300, 10**9)), rest=0.1)

    signals = {"SIGTERM": 3.0, "SIGSTOP": 2.0}
    with chaos(number, tmp_path, plan) as run:
        run.run(CHAOS_SECONDS * 0.6, 3, signals)
        down, up = run.start(Plan(common)), run.start(Plan(common))
        run.endpoint.behave(None)
        run.quieten([down, up])
        run.end(worker for worker in run.living() if worker is not up)
        run.endpoint.behave(fine)
        run.end([up])
        verdict = Verdict(run.endpoint.posts, run.workers)
        verdict.write(tmp_path / "run.ndjson")
        found = verdict.all()
        exact = 0
        for worker in run.workers:
            found += ended_badly(worker) or unaccounted(worker, verdict)
            exact += not unconfirmed(worker, verdict)
        print(
            f"{len(run.workers)} processes, {exact} of them with exact numbers, "
            f"{sum(worker.stats[0]['abandoned'] for worker in run.workers if worker.stats)} "
            f"abandoned, {sum(len(worker.refused) for worker in run.workers)} refused; "
            f"repeated: {dict(verdict.explained)}"
        )
        assert not found, told(number, found)
        assert down.stats[0]["abandoned"] > 0
        assert (up.err, up.stats[0]["abandoned"]) == ("", 0)


def arrived(worker: Worker, verdict: Verdict) -> set[Event]:
    """Return the events of a worker that arrived."""
    return {event for event in verdict.arrivals if event[0].split(".")[0] == worker.source}


def unconfirmed(worker: Worker, verdict: Verdict) -> set[Event]:
    """Return the events of a worker that arrived, perhaps without its knowledge."""
    return {
        event
        for event in arrived(worker, verdict)
        if all(verdict.in_doubt(index) for index in verdict.arrivals[event])
    }


def unaccounted(worker: Worker, verdict: Verdict) -> list[str]:
    """Return where the counts or the report of a process contradict what arrived."""
    [stats] = worker.stats
    source = worker.source
    missing = stats["accepted"] - len(arrived(worker, verdict))
    err = unexpected(worker)
    report = REPORT.fullmatch(err)
    reported = int(report[1]) if report else 0
    doubtful = len(unconfirmed(worker, verdict))
    found = []
    if err and not report:
        found.append(f"{source} wrote {err!r}")
    if stats["pending"]:
        found.append(f"{source} ended with {stats['pending']} pending")
    if reported != stats["abandoned"]:
        found.append(f"{source} reported {reported} and abandoned {stats['abandoned']}")
    if not missing <= reported <= missing + doubtful:
        found.append(f"{source} reported {reported}, missing are {missing} (+{doubtful}): {stats}")
    # SIGTERM may have ended one call before its result was recorded.
    calls = stats["accepted"] - len(worker.said), stats["refused"] - len(worker.refused)
    if calls not in ((0, 0), (1, 0), (0, 1)):
        found.append(f"{source} counts {calls} more than it said")
    return found


@pytest.mark.chaos
@pytest.mark.timeout(120)
def test_four_processes_share_a_directory_without_repetitions(tmp_path: Path) -> None:
    """Of 4,000 events 4,000 arrive, each once and in order, while 30 % of the answers are 503."""
    number = seed()
    common = {"spool": str(tmp_path / "spool"), "batch_events": 20, "flush_interval": 0.05}
    common |= {"max_backoff": 0.1, "shutdown_timeout": SHUTDOWN_SECONDS}
    plan = Plan(common, events=1_000, bursts=(1, 5, 20), rest=0.005)
    with chaos(number, tmp_path, lambda dice: plan) as run:
        run.endpoint.behave(unless(0.3))
        workers = [run.start() for _ in range(4)]
        run.wait_for_end(workers, 60.0)
        # A new process adopts what a failure at the end left on disk.
        workers.append(run.start(Plan(common, events=0, drains=True)))
        run.wait_for_end(workers, 60.0)
        verdict = Verdict(run.endpoint.posts, workers)
        verdict.write(tmp_path / "run.ndjson")
        found = verdict.all() + verdict.lost()
        found += [text for worker in workers for text in ended_badly(worker)]
        found += [f"left behind: {name}" for name in left_in(tmp_path / "spool")]
        found += [f"doubled: {n} events: {why}" for why, n in verdict.explained.items()]
        assert not found, told(number, found)
        assert len(verdict.arrivals) == 4_000
        assert {post.how for post in run.endpoint.posts} == {"200", "503"}
