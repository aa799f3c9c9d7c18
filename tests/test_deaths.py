"""The guide's table: what happens to an accepted event, by the way in which its process ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fslog.collector import Answer, Collector
from needs import slow_but
from processes import KEYS, Ended, numbers, run, started, waits


@dataclass(frozen=True)
class Death:
    """A way in which a process ends.

    Args:
        statement: the last one of the program.
        code: the exit code, negative for a signal.
        is_orderly: whether fslog's exit functions run.
    """

    statement: str
    code: int
    is_orderly: bool

    @property
    def has_atexit(self) -> bool:
        """Return whether the application's own exit functions run."""
        return self.is_orderly and self.code >= 0


DEATHS = {
    "return from main": Death("pass", 0, True),
    "exception": Death("raise RuntimeError('as meant')", 1, True),
    "sys.exit": Death("sys.exit(3)", 3, True),
    "SIGTERM": Death("die(signal.SIGTERM)", -signal.SIGTERM, True),
    "SIGHUP": Death("die(signal.SIGHUP)", -signal.SIGHUP, False),
    "SIGKILL": Death("die(signal.SIGKILL)", -signal.SIGKILL, False),
    "os._exit": Death("os._exit(4)", 4, False),
}

NAMES = [pytest.param(name, marks=[] if name == "SIGKILL" else pytest.mark.slow) for name in DEATHS]
"""The hardest death of all in the quick tier, the others in the slow one."""

LIFE = """
    import atexit
    import os
    import signal
    import threading
    from counted import *

    def die(number):
        os.kill(os.getpid(), number)
        threading.Event().wait()

    def account():
        stats = handler.stats()
        tell(delivered=stats.delivered, pending=stats.pending, abandoned=stats.abandoned)

    atexit.register(account)  # registered before fslog's own, and so called after it
    is_up, shutdown_timeout = int(sys.argv[1]), float(sys.argv[2])
    handler = handle(flush_interval=600, shutdown_timeout=shutdown_timeout)
    for number in range(3):
        say(number)
    tell(is_flushed=handler.flush(10 if is_up else 0.2))
    while not os.path.exists("endpoint.is.set"):
        time.sleep(0.01)
    for number in range(3, 7):
        say(number)
    leave()
    """

SUCCESSORS = {
    "a successor that logs nothing": ("", []),
    "a successor that logs": ("say(7)", [7]),
}


@contextmanager
def _endpoint(is_up: bool) -> Iterator[Collector]:
    """Yield an endpoint that listens, or one that can be started and refuses connections."""
    with Collector(keys=KEYS) as collector:
        if not is_up:
            collector.stop()
        yield collector


def _live(
    collector: Collector,
    death: Death,
    is_up: bool,
    settings: dict[str, str],
    shutdown_timeout: float = 30.0,
) -> tuple[Ended, list[str]]:
    """Run a process that logs seven events, flushes three of them if possible, and ends.

    Returns:
        How it ended, and the lines that fslog wrote to stderr.
    """
    program = f"{LIFE.rstrip()}\n    {death.statement}\n"
    arguments = [str(int(is_up)), str(shutdown_timeout)]
    with started(program, collector.url, arguments=arguments, settings=settings) as process:
        waits(process, "is_flushed")
        if not death.is_orderly:  # what is posted before the end must not arrive
            collector.always(Answer(then="hang"))
        (process.where / "endpoint.is.set").touch()
        ended = process.end(100.0)
    assert ended.code == death.code, ended.err
    collector.always(None)
    lines = ended.err.splitlines()
    said = [line for line in lines if line.startswith("fslog: ")]
    other = [line for line in lines if line not in said]
    assert other[-1:] == (["RuntimeError: as meant"] if "as meant" in death.statement else [])
    assert ended.facts["is_flushed"] is is_up
    assert ("delivered" in ended.facts) is death.has_atexit
    return ended, said


@pytest.mark.parametrize("successor", slow_but(["a successor that logs"], SUCCESSORS))
@pytest.mark.parametrize("is_up", slow_but([False], [True, False]), ids=["up", "down"])
@pytest.mark.parametrize("name", NAMES)
def test_a_spool_keeps_every_event(name: str, is_up: bool, successor: str, tmp_path: Path) -> None:
    """Whatever ends a process, each of its events arrives once, at the latest from the next one."""
    death, spool = DEATHS[name], tmp_path / "spool"
    settings = {"FSLOG_SPOOL": str(spool)}
    with _endpoint(is_up) as collector:
        ended, said = _live(collector, death, is_up, settings)
        delivered = 7 if is_up and death.is_orderly else 3 if is_up else 0
        assert numbers(collector) == list(range(delivered))
        assert bool(list(spool.glob("*.ndjson"))) is (delivered < 7)
        assert not any("abandoned " in line for line in said)
        assert len(said) <= (0 if is_up else 1)
        if death.has_atexit:
            assert ended.facts["pending"] == 7 - delivered
            assert ended.facts["abandoned"] == 0
        if death.is_orderly:
            assert ended.leaving_seconds < 15.0  # of 30: the first failure ends the attempt
        collector.start()
        statement, more = SUCCESSORS[successor]
        run(f"from counted import *\nhandle()\n{statement}\n", collector.url, settings=settings)
        assert numbers(collector) == [*range(7), *more]
        assert list(spool.glob("*.ndjson")) == []


@pytest.mark.parametrize("is_up", slow_but([True], [True, False]), ids=["up", "down"])
@pytest.mark.parametrize("name", NAMES)
def test_without_a_spool_an_abrupt_end_loses_what_was_not_posted(name: str, is_up: bool) -> None:
    """An orderly end posts the rest or reports how much it abandoned; any other loses the rest."""
    death = DEATHS[name]
    with _endpoint(is_up) as collector:
        ended, said = _live(collector, death, is_up, {}, 30.0 if is_up else 0.5)
        delivered = 7 if is_up and death.is_orderly else 3 if is_up else 0
        assert numbers(collector) == list(range(delivered))
        given_up = [line for line in said if "abandoned " in line]
        if death.has_atexit:
            assert ended.facts["pending"] == 0
            assert ended.facts["abandoned"] == 7 - delivered
        if death.is_orderly:
            assert len(given_up) == (0 if is_up else 1)
            assert is_up or " 7 events " in given_up[0]
        else:
            assert given_up == []
        collector.start()
        run("from counted import *\nhandle()\n", collector.url)
        assert numbers(collector) == list(range(delivered))
