"""RQ on a real Redis: its work horses end by `os._exit`, or are killed, and lose no event."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fslog.collector import Answer
from processes import Process, started
from redisserver import LOGGING, NEVER, Site, site

pytestmark = [pytest.mark.services, pytest.mark.needs("redis-server")]

FILES = {
    "logging_settings.py": LOGGING,
    "settings.py": """
        import os
        from logging_settings import LOGGING

        REDIS_URL = os.environ["REDIS_URL"]
        DICT_CONFIG = LOGGING
        """,
}

QUEUE = """
    import os
    import sys
    from redis import Redis
    from rq import Queue

    with Redis.from_url(os.environ["REDIS_URL"]) as redis:
        queue = Queue(connection=redis)
        for number in sys.argv[2:]:
            queue.enqueue(f"tasks.{sys.argv[1]}", int(number))
    """


@contextlib.contextmanager
def _rq(at: Site, *options: str, flush_interval: str = NEVER) -> Iterator[Process]:
    """Run an RQ worker until the end of the block."""
    command = ["rq.cli", "worker", "--config", "settings", *options]
    with at.worker(*command, files=FILES, flush_interval=flush_interval) as process:
        yield process


def _queue(at: Site, task: str, *wanted: int) -> None:
    at.queue(QUEUE, task, wanted, {})


def _stop(process: Process) -> None:
    """End a worker by SIGTERM, and check that it reported no error."""
    process.send(signal.SIGTERM)
    _end(process)


def _end(process: Process) -> None:
    ended = process.end(30.0)
    assert ended.code == 0, ended.err
    assert "WARNING fslog:" not in ended.err, ended.err


def _deliver_the_rest(at: Site) -> None:
    """Run a new worker, which has no job and ends, to send what earlier ones left."""
    with _rq(at, "--burst") as process:
        _end(process)


@pytest.mark.parametrize("delay", [0.0, 0.1], ids=["near", "far"])
def test_every_job_is_an_event(delay: float, tmp_path: Path) -> None:
    """Each job's process ends by `os._exit` after its event, and each event arrives once.

    If the endpoint is far away, none of these processes lives long enough for its answer.
    """
    with site(tmp_path) as at:
        at.collector.always(Answer(delay=delay))
        _queue(at, "use_and_work", *range(40))
        with _rq(at, "--burst") as process:
            _end(process)
        assert len(set(at.recorded.values())) == 40
        _deliver_the_rest(at)
        at.assert_all_arrived(range(40))


def test_a_horse_is_killed_in_the_middle_of_a_job(tmp_path: Path) -> None:
    """What a killed work horse has logged is sent once, while the worker goes on."""
    with site(tmp_path) as at, _rq(at) as process:
        _queue(at, "use", 1, 2)
        _queue(at, "use_and_stay", 100)
        at.until(process, lambda: at.has_recorded([100]))
        assert at.recorded[100] != process.pid
        assert 100 not in at.arrived
        os.kill(at.recorded[100], signal.SIGKILL)
        _queue(at, "use", 3, 4)
        at.until(process, lambda: at.has_recorded([3, 4]) and 100 in at.arrived)
        _stop(process)
        _deliver_the_rest(at)
        at.assert_all_arrived([1, 2, 100, 3, 4])


def test_the_worker_and_its_horse_are_killed_in_the_middle_of_a_job(tmp_path: Path) -> None:
    """What a killed worker and its work horses have logged is sent once, by the next worker."""
    with site(tmp_path) as at:
        _queue(at, "use", *range(5))
        _queue(at, "use_and_stay", 100)
        with _rq(at) as process:
            at.until(process, lambda: at.has_recorded([*range(5), 100]))
            process.send(signal.SIGKILL)
            os.kill(at.recorded[100], signal.SIGKILL)
            process.end(10.0)
        _deliver_the_rest(at)
        at.assert_all_arrived([*range(5), 100])


def test_a_horse_survives_its_worker(tmp_path: Path) -> None:
    """A new worker sends what dead processes left, but not the events of a living work horse."""
    with site(tmp_path) as at:
        _queue(at, "use", *range(5))
        _queue(at, "use_and_stay", 100)
        with _rq(at) as process:
            at.until(process, lambda: at.has_recorded([*range(5), 100]))
            process.send(signal.SIGKILL)
            process.end(10.0)
            with _rq(at) as fresh:
                at.until(fresh, lambda: at.arrived and len(at.segments) == 1)
                assert 100 not in at.arrived
                at.go()
                at.until(fresh, lambda: at.has_recorded([101]))
                _queue(at, "use", 200)
                at.until(fresh, lambda: at.has_recorded([200]))
                _stop(fresh)
        _deliver_the_rest(at)
        at.assert_all_arrived([*range(5), 100, 101, 200])


def test_beside_a_process_that_follows_the_spool(tmp_path: Path) -> None:
    """The worker and its work horses send nothing; what they leave arrives once, in few bodies."""
    command = ["spool", "drain", "--follow", str(tmp_path / "spool")]
    with site(tmp_path) as at:
        _queue(at, "use", *range(20))
        with started("", at.collector.url, flags=["-m", "fslog"], arguments=command) as follower:
            at.until(follower, lambda: follower.written("out"))
            with _rq(at, "--burst") as process:
                _end(process)
            at.until(follower, lambda: len(at.arrived) == 20)
            follower.send(signal.SIGTERM)
            assert follower.end(30.0).code == 0
        at.assert_all_arrived(range(20))
        assert len(at.collector.requests) <= 4


def test_a_batch_in_flight_when_its_horse_is_killed_arrives_twice(tmp_path: Path) -> None:
    """Only the batch that was accepted and not yet answered is sent again."""
    with site(tmp_path) as at:
        at.collector.script(Answer(then="hang", keep=True))
        _queue(at, "use_and_stay", 100)
        _queue(at, "use", 200)
        with _rq(at, flush_interval="0.05") as process:
            at.until(process, lambda: at.has_recorded([100]) and at.arrived)
            os.kill(at.recorded[100], signal.SIGKILL)
            at.until(process, lambda: at.has_recorded([200]))
            _stop(process)
        _deliver_the_rest(at)
        at.assert_all_arrived([100, 200], twice=[100])
