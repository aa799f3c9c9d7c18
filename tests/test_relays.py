"""Debian's syslog-ng with the example's configuration, between real processes and an endpoint."""

from __future__ import annotations

import contextlib
import itertools
import json
import shlex
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fslog.collector import Answer, Collector
from processes import KEYS, Process, run
from readme_blocks import ROOT, parse
from waiting import eventually

pytestmark = [pytest.mark.services, pytest.mark.needs("syslog-ng")]

EXAMPLE = ROOT / "examples" / "relays"
README = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
PLACES = ("/var/log/myapp", "/var/lib/myapp", "/run/myapp")
SECONDS = 90.0


def block(start: str) -> str:
    """Return the block of the examples' README that begins with a text."""
    return next(one.text for one in parse(README) if one.text.startswith(start))


class Site:
    """A copy of the example whose absolute paths are in one directory, and its endpoint."""

    def __init__(self, where: Path, collector: Collector) -> None:
        self.where = where
        self.collector = collector
        for name in ("syslog-ng.conf", "logging.json", "app.py"):
            (where / name).write_text(self._moved((EXAMPLE / name).read_text()), encoding="utf-8")
        logging = json.loads((where / "logging.json").read_text())
        logging["handlers"]["events"] = json.loads(self._moved(block('{"class": "logging.handl')))
        (where / "socket.json").write_text(json.dumps(logging), encoding="utf-8")
        self.logged: dict[str, list[int]] = {"file": [], "socket": []}

    def _moved(self, text: str) -> str:
        for place in PLACES:
            text = text.replace(place, str(self.where))
        return text

    def log(self, user: str, count: int) -> None:
        """Run a process that logs events of a user and is killed.

        The user is named after the way of the lines.
        """
        first = len(self.logged[user])
        rows = list(range(first, first + count))
        name = {"file": "logging.json", "socket": "socket.json"}[user]
        program = f"{(self.where / 'app.py').read_text()}\nos.kill(os.getpid(), 9)\n"
        settings = {"LOGGING": str(self.where / name)}
        run(program, "", arguments=[user, *map(str, rows)], settings=settings, code=-9)
        self.logged[user] += rows

    @contextlib.contextmanager
    def relay(self) -> Iterator[Process]:
        """Run syslog-ng, by the command of the README, until the end of the block."""
        (self.where / "events.sock").unlink(missing_ok=True)
        command = shlex.split(self._moved(block("syslog-ng ")).replace("\\\n", " "))
        settings = {
            "FSLOG_ENDPOINT": self.collector.url,
            "FSLOG_AUTH_KEY": KEYS[0],
            "FSLOG_API_KEY": KEYS[1],
        }
        with Process(command, self.where, settings) as process:
            assert eventually((self.where / "events.sock").exists), process.written("err")
            yield process

    def arrived(self, user: str) -> list[int]:
        """Return what has arrived of a user, in order."""
        events = self.collector.events
        return [event["rows"] for event in events if event["userId"] == user]

    def until_all_arrived(self) -> None:
        """Wait for all events; no line may have been invalid."""
        wanted = sum(map(len, self.logged.values()))
        assert eventually(lambda: len(self.collector.events) >= wanted, SECONDS), self.said()
        assert self.collector.invalid == []

    def said(self) -> str:
        """Return what syslog-ng logged about itself."""
        return (self.where / "syslog-ng.log").read_text()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Collector(keys=KEYS, keep=10**6) as collector:
        yield Site(tmp_path, collector)


def test_nothing_is_lost_or_doubled(site: Site) -> None:
    """An outage, wrong keys, a renamed file, and a SIGKILL while events are in the buffer.

    What is logged to the file while no syslog-ng runs arrives, too. Each way keeps its order, and
    no file contains a key.
    """
    with site.relay() as relay:
        for user in site.logged:
            site.log(user, 10)
        site.until_all_arrived()
        (site.where / "events.ndjson").rename(site.where / "events.ndjson.1")
        site.collector.script(Answer(400), Answer(302))
        site.collector.always(Answer(503))
        for user in site.logged:
            site.log(user, 10)
        assert eventually(
            lambda: (
                site.collector.requests[-1].status == 503
                and site.collector.requests[-1].events == 20
            ),
            SECONDS,
        ), site.said()
        relay.send(signal.SIGKILL)
        assert relay.end(10.0).code == -signal.SIGKILL
    site.log("file", 10)
    site.collector.always(Answer(then="close"))
    with site.relay() as relay:
        for user in site.logged:
            site.log(user, 10)
        refused = len(site.collector.requests)
        assert eventually(lambda: len(site.collector.requests) > refused, SECONDS), site.said()
        site.collector.always(None)
        site.until_all_arrived()
        relay.send(signal.SIGTERM)
        assert relay.end(30.0).code == 0
    assert {user: site.arrived(user) for user in site.logged} == site.logged
    assert "/v1/***/***" in site.said()
    for path in filter(Path.is_file, site.where.iterdir()):
        assert not any(key.encode() in path.read_bytes() for key in KEYS), path


def test_a_relay_that_is_killed_at_any_moment(site: Site) -> None:
    """Killed again and again under load: nothing is lost, the first arrivals are in order.

    At most the one batch that is under way at each kill arrives twice.
    """
    lines, kills, most_events = itertools.count(), 3, 5000
    event = {"accountId": "acme", "action": "x", "sessionId": "s", "createdAt": 1, "userId": "file"}
    rows = 0
    with open(site.where / "events.ndjson", "ab", buffering=0) as file:
        for pause in (0.6, 4.9, 5.3):  # a batch is posted every five seconds
            with site.relay() as relay:
                until = time.monotonic() + pause
                while time.monotonic() < until:
                    for rows in itertools.islice(lines, 100):
                        file.write(json.dumps({**event, "rows": rows}).encode() + b"\n")
                    time.sleep(0.02)  # the load, not a wait for anything
                relay.send(signal.SIGKILL)
                relay.end(10.0)
    with site.relay():
        at_the_end = {"rows": rows}.items()
        assert eventually(
            lambda: any(at_the_end <= event.items() for event in site.collector.events[-1:]),
            SECONDS,
        ), site.said()
    assert site.collector.invalid == []
    arrived = site.arrived("file")
    assert list(dict.fromkeys(arrived)) == list(range(rows + 1))
    assert len(arrived) - len(set(arrived)) <= kills * most_events


def test_a_batch_whose_answer_was_lost_arrives_twice(site: Site) -> None:
    """Killed between the endpoint's acceptance and its answer: that batch twice, and no other."""
    site.collector.script(Answer(then="hang", keep=True))
    with site.relay() as relay:
        site.log("file", 5)
        assert eventually(lambda: len(site.collector.events) == 5, SECONDS)
        relay.send(signal.SIGKILL)
        relay.end(10.0)
    with site.relay():
        assert eventually(lambda: len(site.collector.events) == 10, SECONDS), site.said()
        site.log("file", 5)
        assert eventually(lambda: len(site.collector.events) == 15, SECONDS), site.said()
    assert site.arrived("file") == [*range(5), *range(10)]


def test_a_socket_needs_a_reader(site: Site) -> None:
    """While no syslog-ng runs, an event for the socket is lost, and logging says so on stderr."""
    program = (site.where / "app.py").read_text()
    settings = {"LOGGING": str(site.where / "socket.json")}
    with site.relay() as relay:
        site.log("socket", 1)
        site.until_all_arrived()
        relay.send(signal.SIGKILL)
        relay.end(10.0)
    ended = run(program, "", arguments=["socket", "1"], settings=settings, err=None, code=0)
    assert "--- Logging error ---" in ended.err
