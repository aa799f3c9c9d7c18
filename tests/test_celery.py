"""Celery with its prefork pool, on a real Redis: events of tasks arrive, whatever is killed."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fslog.collector import Answer
from processes import Process
from redisserver import ENDS, LOGGING, NEVER, Site, site

pytestmark = [pytest.mark.services, pytest.mark.needs("redis-server")]

APP = """
    import os
    import celery
    import tasks

    app = celery.Celery("app", broker=os.environ["REDIS_URL"])
    app.conf.worker_hijack_root_logger = False
    app.conf.broker_connection_retry_on_startup = True
    use = app.task(ignore_result=True, name="use")(tasks.use)
    use_and_stay = app.task(ignore_result=True, name="use_and_stay")(tasks.use_and_stay)
    """

BY_SIGNAL = """
    import logging.config
    from celery.signals import setup_logging
    from logging_settings import LOGGING

    @setup_logging.connect
    def configure(**settings):
        logging.config.dictConfig(LOGGING)
    """

BY_MODULE = """
    import logging.config
    from logging_settings import LOGGING

    logging.config.dictConfig(LOGGING)
    """

QUEUE = """
    import sys
    import app

    for number in sys.argv[2:]:
        getattr(app, sys.argv[1]).delay(int(number))
    """


def _files(configured: str = BY_SIGNAL) -> dict[str, str]:
    return {"app.py": APP + configured, "logging_settings.py": LOGGING}


@contextlib.contextmanager
def _celery(
    at: Site, *options: str, flush_interval: str = NEVER, configured: str = BY_SIGNAL
) -> Iterator[Process]:
    """Run a Celery worker until the end of the block."""
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
    command = ["celery", "--app", "app", "worker", *quiet, *options]
    with at.worker(*command, files=_files(configured), flush_interval=flush_interval) as process:
        yield process


def _queue(at: Site, task: str, *wanted: int) -> None:
    at.queue(QUEUE, task, wanted, {"app.py": APP})


def _stop(process: Process) -> None:
    """End a worker by SIGTERM, and check that it reported no error."""
    process.send(signal.SIGTERM)
    ended = process.end(ENDS)
    assert ended.code == 0, ended.err
    assert "WARNING fslog:" not in ended.err, ended.err


def _deliver_the_rest(at: Site, count: int) -> None:
    """Start a new worker, without tasks, to send what earlier ones left."""
    with _celery(at, "--concurrency", "1") as process:
        at.until(process, lambda: " ready." in process.written("err"))
        at.until(process, lambda: len(at.arrived) >= count and not at.segments)
        _stop(process)


@pytest.mark.parametrize("configured", [BY_SIGNAL, BY_MODULE], ids=["signal", "module"])
def test_every_task_of_recycled_children_is_an_event(configured: str, tmp_path: Path) -> None:
    """Children that end by `os._exit` after every ten tasks lose no event and repeat none."""
    with site(tmp_path) as at:
        _queue(at, "use", *range(40))
        options = ("--concurrency", "2", "--max-tasks-per-child", "10")
        with _celery(at, *options, configured=configured) as process:
            at.until(process, lambda: at.has_recorded(range(40)))
            _stop(process)
        assert len(set(at.recorded.values())) >= 4
        _deliver_the_rest(at, 40)
        at.assert_all_arrived(range(40))


def test_a_child_is_killed_in_the_middle_of_a_task(tmp_path: Path) -> None:
    """What a killed child of the pool has logged is sent once, while the pool goes on."""
    with site(tmp_path) as at:
        _queue(at, "use", *range(10))
        with _celery(at, "--concurrency", "2") as process:
            at.until(process, lambda: at.has_recorded(range(10)))
            _queue(at, "use_and_stay", 100)
            at.until(process, lambda: at.has_recorded([100]))
            victim = at.recorded[100]
            assert victim != process.pid
            assert 100 not in at.arrived
            os.kill(victim, signal.SIGKILL)
            at.until(process, lambda: "SIGKILL" in process.written("err"))
            _queue(at, "use", *range(200, 210))
            at.until(process, lambda: at.has_recorded(range(200, 210)) and 100 in at.arrived)
            process.send(signal.SIGTERM)
            assert "WARNING fslog:" not in process.end(ENDS).err
        assert victim not in [at.recorded[number] for number in range(200, 210)]
        _deliver_the_rest(at, 21)
        at.assert_all_arrived([*range(10), 100, *range(200, 210)])


def test_the_whole_worker_is_killed_in_the_middle_of_a_task(tmp_path: Path) -> None:
    """What a killed worker and its children have logged is sent once, by the next worker."""
    with site(tmp_path) as at:
        _queue(at, "use", *range(20))
        with _celery(at, "--concurrency", "2") as process:
            at.until(process, lambda: at.has_recorded(range(20)))
            _queue(at, "use_and_stay", 100, 200)
            at.until(process, lambda: at.has_recorded([100, 200]))
            assert at.recorded[100] != at.recorded[200]
            process.send(signal.SIGKILL)  # and Celery has the kernel kill the children with it
            assert process.end(10.0).code == -signal.SIGKILL
        _deliver_the_rest(at, 22)
        at.assert_all_arrived([*range(20), 100, 200])


def test_a_batch_in_flight_when_its_process_is_killed_arrives_twice(tmp_path: Path) -> None:
    """Only the batch that was accepted and not yet answered is sent again."""
    with site(tmp_path) as at:
        at.collector.script(Answer(then="hang", keep=True))
        _queue(at, "use", *range(5))
        with _celery(at, "--concurrency", "1", flush_interval="0.05") as process:
            at.until(process, lambda: at.has_recorded(range(5)) and at.arrived)
            _queue(at, "use_and_stay", 100)
            at.until(process, lambda: at.has_recorded([100]))
            taken = at.arrived
            assert 100 not in taken
            process.send(signal.SIGKILL)
            process.end(10.0)
        _deliver_the_rest(at, 6 + len(taken))
        at.assert_all_arrived([*range(5), 100], twice=taken)
