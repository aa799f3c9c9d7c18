"""What must arrive: workers that log, an endpoint that fails, random signals, and a verdict.

A worker is a process that logs numbered events and writes each number to a pipe after the call
returned: each number that is read must arrive. The endpoint accepts what the real one would, and
records for every POST what it answered and whether the client read that. Signals are sent to the
workers at random instants. At the end the verdict compares the numbers with what arrived.

All random choices come from one seed. Instants depend on the machine as well, so a seed repeats a
plan, not a run.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import math
import os
import random
import re
import secrets
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fslog.collector import Answer
from fslog.collector.judge import parse_body
from fslog.net import wire
from processes import KEYS
from rawserver import read_request
from readme_blocks import environment

Event = tuple[str, int]
"""The source and the number of an event."""

TIMEOUT_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 0.5
SHUTDOWN_SECONDS = 1.0
"""The arguments of the workers' handlers."""

FLAGS = ("-X", "faulthandler", "-W", "error")
"""For the workers' interpreters: warnings are errors, and a hanging one prints its stacks."""

MARGIN_SECONDS = 15.0
"""How long a busy machine may take to start or to end as many processes as a run has."""

IN_FLIGHT_SECONDS = 2.0
"""How long after its answer a batch may still be in flight, on a busy machine."""

# Read now: for the tests themselves the environment is cleared of such names.
_GIVEN = os.environ.get("FSLOG_CHAOS_SEED")


def seed() -> int:
    """Return and print the seed in FSLOG_CHAOS_SEED, or else a new one."""
    number = int(_GIVEN) if _GIVEN else secrets.randbelow(10**9)
    print(f"FSLOG_CHAOS_SEED={number}")
    return number


def content(source: str, number: int) -> dict[str, Any]:
    """Return the event of a number; the worker and the verdict build the same one."""
    dice = random.Random(f"{source} {number}")
    letters = "abcdefghij klmnop\t\n\"'\\/{}[]<>%äßéñ日本語\u2028\x7f\x00😀"
    return {
        "accountId": dice.choice(("acme", "große & söhne", "日本")),
        "userId": f"u{dice.randrange(30)}",
        "sessionId": f"s{dice.randrange(10**9):x}",
        "createdAt": 1_700_000_000_000 + number,
        "action": "feature",
        "module": "chaos",
        "feature": "".join(dice.choices(letters, k=5)) + "x",
        "source": source,
        "number": number,
        "text": "".join(dice.choices(letters, k=dice.choice((0, 3, 30, 200)))),
        "nested": {"list": [dice.random(), None, True, -dice.randrange(2**70)], "of": {"a": {}}},
    }


@dataclass
class Post:
    """One complete request and its outcome.

    Args:
        poster: which handler of which process posted it.
        received_at: when it was received completely.
        events: in its body.
        lines: the events as received; empty if they were not accepted.
        how: the status of a complete answer, or else how the answer ended.
        answered_at: when a complete answer was passed to the kernel.
        read: whether the client read it; None if unknown.
    """

    poster: str
    received_at: float
    events: list[Event]
    lines: list[dict[str, Any]] = field(repr=False, default_factory=list)
    how: str = ""
    answered_at: float | None = None
    read: bool | None = None

    @property
    def taken(self) -> bool:
        """Whether the endpoint accepted the events."""
        return bool(self.lines)

    @property
    def confirmed(self) -> bool:
        """Whether the client read the answer 200."""
        return self.how == "200" and self.answered_at is not None and self.read is not False


@dataclass(frozen=True)
class Deed:
    """The reaction to one request: an answer, complete or cut off after a part of it."""

    answer: Answer = field(default_factory=Answer)
    part: float = 1.0


Behaviour = Callable[[random.Random, int], Deed]
"""Returns the reaction to a request of a size in bytes."""


def fine(dice: random.Random, size: int) -> Deed:
    """Accept the events."""
    return Deed()


def slow(dice: random.Random, size: int) -> Deed:
    """Answer after a delay that sometimes exceeds the timeout."""
    return Deed(Answer(delay=dice.uniform(0.05, 1.2 * TIMEOUT_SECONDS)))


def failing(dice: random.Random, size: int) -> Deed:
    """Answer with an error that is to be retried."""
    return Deed(Answer(dice.choice((500, 502, 504, 429, 408))))


def busy(dice: random.Random, size: int) -> Deed:
    """Answer 503 with a Retry-After of one second."""
    return Deed(Answer(503, headers={"Retry-After": "1"}))


def wrong(dice: random.Random, size: int) -> Deed:
    """Answer 400, as for invalid keys."""
    return Deed(Answer(400))


def resetting(dice: random.Random, size: int) -> Deed:
    """Close or reset the connection before or after accepting the events."""
    return Deed(Answer(then=dice.choice(("reset", "close")), keep=dice.random() < 0.5))


def hanging(dice: random.Random, size: int) -> Deed:
    """Never answer, with the events accepted or not."""
    return Deed(Answer(then="hang", keep=dice.random() < 0.5))


def halving(dice: random.Random, size: int) -> Deed:
    """Close the connection in the middle of the answer."""
    return Deed(Answer(dice.choice((200, 200, 503))), part=dice.uniform(0.0, 0.9))


def narrow(limit_bytes: int) -> Behaviour:
    """Return a behaviour that answers 413 to bodies over a size."""

    def behave(dice: random.Random, size: int) -> Deed:
        return Deed(Answer(413 if size > limit_bytes else 200))

    return behave


def mixed(dice: random.Random, size: int) -> Deed:
    """Behave in a random way at each request."""
    return dice.choice(FAULTS)(dice, size)


FAULTS: tuple[Behaviour, ...] = (
    *(fine, slow, failing, busy, wrong, resetting, hanging, halving),
    *(narrow(5_000), narrow(12_000)),
)
"""A body of one event has less than 5,000 bytes, compressed or not."""

PHASES: tuple[Behaviour | None, ...] = (*FAULTS, fine, fine, mixed, mixed, None, None)
"""The phases of an endpoint; None: nothing listens on its port."""


def unless(share: float) -> Behaviour:
    """Return a behaviour that answers 503 to a share of all requests."""

    def behave(dice: random.Random, size: int) -> Deed:
        return Deed(Answer(503 if dice.random() < share else 200))

    return behave


class Endpoint:
    """An endpoint whose behaviour can be changed at any time.

    Each handler posts to its own base URL (`url_of`), which identifies it here.
    """

    def __init__(self, dice: random.Random) -> None:
        self.posts: list[Post] = []
        self.invalid = 0
        self.errors: list[BaseException] = []
        self._dice = dice
        self._behave: Behaviour | None = fine
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None

    def __enter__(self) -> Endpoint:
        # Keeps the port reserved while nothing listens on it.
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind(("127.0.0.1", 0))
        self.port: int = self._holder.getsockname()[1]
        self._listen()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._closing.set()
        self._refuse()
        self._holder.close()
        with self._changed:
            for conn in self._connections:
                with contextlib.suppress(OSError):
                    conn.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        if self.errors and error is None:
            raise self.errors[0]

    def url_of(self, poster: str) -> str:
        """Return the base URL for one handler."""
        return f"http://127.0.0.1:{self.port}/{poster}"

    def behave(self, behaviour: Behaviour | None) -> None:
        """Start another phase."""
        with self._changed:
            self._behave = behaviour
        if behaviour is None:
            self._refuse()
        elif self._listener is None:
            self._listen()

    def arrived(self) -> set[Event]:
        """Return the events accepted so far."""
        with self._changed:
            return {event for post in self.posts if post.taken for event in post.events}

    def wait_for(self, events: Collection[Event], seconds: float) -> set[Event]:
        """Wait for some events; return those that were not accepted in time."""
        missing = set(events) - self.arrived()
        until = time.monotonic() + seconds
        seen = 0
        with self._changed:
            while missing and time.monotonic() < until:
                news, seen = self.posts[seen:], len(self.posts)
                missing.difference_update(e for post in news if post.taken for e in post.events)
                if missing:
                    self._changed.wait(until - time.monotonic())
        return missing

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        self._listener = listener
        self._begin(self._accept, listener)

    def _refuse(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._changed:
            # Only this half: how the client closes its own shows whether it read an answer.
            for conn in self._connections:
                with contextlib.suppress(OSError):
                    conn.shutdown(socket.SHUT_WR)

    def _begin(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=self._guarded, args=(target, *args), name="oracle")
        self._threads = [other for other in self._threads if other.is_alive()] + [thread]
        thread.start()

    def _guarded(self, target: Callable[..., None], *args: Any) -> None:
        try:
            target(*args)
        except BaseException as error:
            self.errors.append(error)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                conn, _ = listener.accept()
            except OSError:
                return
            with self._changed:
                self._connections.add(conn)
            self._begin(self._serve, conn)

    def _serve(self, conn: socket.socket) -> None:
        post: Post | None = None
        try:
            with conn:
                while _is_whole(request := read_request(conn)):
                    if post is not None:
                        post.read = True
                    post, deed = self._take(request)
                    if not self._answer(conn, post, deed):
                        return
                if post is not None and post.answered_at is not None:
                    # A client that closes with an unread answer sends a reset.
                    post.read = conn.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        except OSError:
            if post is not None:
                post.read = False
        finally:
            with self._changed:
                self._connections.discard(conn)

    def _take(self, request: bytes) -> tuple[Post, Deed]:
        received_at = time.monotonic()
        head, _, body = request.partition(b"\r\n\r\n")
        target, headers = _head(head)
        _, poster, *keys = target.split("/")
        assert keys == ["v1", *KEYS], "a request to another path"
        parsed = parse_body(body, wire.encoding_of(headers))
        events = [(event["source"], event["number"]) for event in parsed.events]
        post = Post(poster, received_at, events)
        with self._changed:
            down = Deed(Answer(then="close"))
            deed = self._behave(self._dice, len(body)) if self._behave is not None else down
            post.lines = parsed.events if deed.answer.keeps else []
            whole = deed.answer.then == "answer" and deed.part == 1.0
            post.how = str(deed.answer.status) if whole else f"{deed.answer.then} {deed.part:.0%}"
            self.invalid += len(parsed.invalid)
            self.posts.append(post)
            self._changed.notify_all()
        return post, deed

    def _answer(self, conn: socket.socket, post: Post, deed: Deed) -> bool:
        """Send the answer; return whether to keep the connection."""
        answer = deed.answer
        self._closing.wait(answer.delay)
        if answer.then == "hang":
            read_request(conn)  # until the client times out
        if answer.then == "reset":
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if answer.then != "answer":
            return False
        raw = _raw(answer)
        if _is_left(conn):
            post.read = False
            return False
        conn.sendall(raw[: int(deed.part * len(raw))])
        if deed.part < 1.0:
            return False
        post.answered_at = time.monotonic()
        return True


def _head(head: bytes) -> tuple[str, dict[str, str]]:
    first, *rest = head.decode("latin-1").split("\r\n")
    return first.split(" ")[1], {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)
    }


def _is_whole(request: bytes) -> bool:
    """Return whether the client sent a complete request."""
    head, end, body = request.partition(b"\r\n\r\n")
    return bool(end) and len(body) == int(_head(head)[1]["content-length"])


def _raw(answer: Answer) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in dict(answer.headers).items()]
    return "\r\n".join([*lines, "Content-Length: 0", "\r\n"]).encode()


def _is_left(conn: socket.socket) -> bool:
    """Return whether the client closed the connection before the answer."""
    try:
        return conn.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False


WORKER = '''
"""Logs numbered events and reports each call that returned."""

import atexit
import json
import math
import os
import sys

PLAN = json.loads(sys.argv[1])
handlers = []


def tell(*words):
    os.write(PLAN["pipe"], (" ".join(map(str, words)) + chr(10)).encode())


def account():
    deaf = False
    while not deaf:
        with contextlib.suppress(SystemExit):  # from a SIGTERM at this moment
            for name in ("SIGTERM", "SIGUSR1", "SIGUSR2"):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
            deaf = True
    for handler in handlers:
        tell("stats", json.dumps(dataclasses.asdict(handler.stats())))


atexit.register(account)  # registered before those of logging and fslog, so called after them

import contextlib
import dataclasses
import itertools
import logging
import logging.config
import random
import signal
import threading

from content import content

ending = quiet = breaking_in = False
rest = threading.Event()
here = threading.local()
broken_in = itertools.count()


def note(problem):
    here.verdict = problem.code


def say(logger, source, number, event):
    interrupted = getattr(here, "verdict", None)
    here.verdict = "said"
    logger.info("done", extra={"event": event})
    tell(here.verdict, source, number)
    here.verdict = interrupted


def end(*_):
    global ending
    ending = True
    sys.exit(0)


def be_quiet(*_):
    global quiet
    quiet = True


def break_in(*_):
    global breaking_in
    if not breaking_in:
        breaking_in = True
        source, number = PLAN["source"] + ".signal", next(broken_in)
        say(logging.getLogger("app.0"), source, number, content(source, number))
        breaking_in = False


def work(place):
    dice = random.Random(f"{PLAN['seed']} {place}")
    logger = logging.getLogger(f"app.{place}")
    source = f"{PLAN['source']}.{place}"
    coming = iter(range(PLAN["events"]))
    while not (ending or quiet):
        # Built beforehand, so that most of the time is spent in log calls.
        chosen = itertools.islice(coming, dice.choice(PLAN["bursts"]))
        burst = [(number, content(source, number)) for number in chosen]
        if not burst:
            break
        for number, event in burst:
            if ending:
                return
            say(logger, source, number, event)
        rest.wait(dice.expovariate(1 / PLAN["rest"]) if PLAN["rest"] else 0)
    tell("quiet", place)
    while quiet and not ending:
        rest.wait(0.02)


def configure():
    logging.config.dictConfig({
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "notices": {"class": "logging.FileHandler", "filename": "notices.txt"},
            **{
                f"events{place}": {
                    "class": "fslog.FreshsuccessHandler", "on_problem": note, **settings
                }
                for place, settings in enumerate(PLAN["handlers"])
            },
        },
        "loggers": {
            "fslog": {"handlers": ["notices"], "level": "INFO", "propagate": False},
            **{
                f"app.{place}": {
                    "handlers": [f"events{place % len(PLAN['handlers'])}"],
                    "level": "INFO",
                    "propagate": False,
                }
                for place in range(PLAN["threads"])
            },
        },
    })
    for place in range(len(PLAN["handlers"])):
        handlers.extend(logging.getLogger(f"app.{place}").handlers)


configure()
signal.signal(signal.SIGUSR2, be_quiet)
signal.signal(signal.SIGUSR1, break_in)
signal.signal(signal.SIGTERM, end)
tell("ready", 0)
others = [threading.Thread(target=work, args=(place,)) for place in range(1, PLAN["threads"])]
for other in others:
    other.start()
try:
    work(0)
    for other in others:
        other.join()
    if PLAN["drains"]:
        while any(handler.stats().spool_segments for handler in handlers):
            rest.wait(0.02)
    tell("left", 0)
finally:
    ending = True
'''


_IGNORED = re.compile(
    r"Exception ignored in[^\n]*\nTraceback[^\n]*\n(?:  [^\n]*\n)+SystemExit: 0\n"
)


@dataclass(frozen=True)
class Plan:
    """The plan of a worker.

    Args:
        settings: arguments of its handlers.
        handlers: how many handlers it has.
        threads: how many threads log, at least one per handler.
        events: how many each thread logs before it ends.
        bursts: possible sizes of a burst.
        rest: mean pause between two bursts, in seconds.
        drains: whether it waits until its spool is empty.
    """

    settings: Mapping[str, Any]
    handlers: int = 1
    threads: int = 1
    events: int = 10**9
    bursts: Sequence[int] = (1, 5, 20, 60)
    rest: float = 0.1
    drains: bool = False


@dataclass
class Life:
    """What a process reported by its pipe, and the signals sent to it; instants are monotonic.

    Args:
        source: prefix of its events' sources.
        said: the events of calls that returned, which must arrive.
        refused: the events reported to `on_problem` within the call.
        stats: of each of its handlers, reported at an orderly end.
        problems: unexpected lines on the pipe.
        stops: when SIGSTOP and SIGCONT were sent.
        killed_at, asked_at: when SIGKILL and SIGTERM were sent.
        left_at: when it had logged everything.
        ended_at: when it ended, with `code`.
    """

    source: str
    said: list[Event] = field(default_factory=list)
    refused: list[Event] = field(default_factory=list)
    stats: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    stops: list[list[float]] = field(default_factory=list)
    killed_at: float | None = None
    asked_at: float | None = None
    left_at: float | None = None
    ended_at: float | None = None
    code: int | None = None

    @property
    def is_killed(self) -> bool:
        """Whether a signal ended it."""
        return self.code in (-signal.SIGKILL, -signal.SIGTERM)

    @property
    def has_failed(self) -> bool:
        """Whether it ended with an unexpected exit code."""
        return bool(self.code) and not self.is_killed

    def cut_short(self, answered_at: float) -> str:
        """Return how its end can have come before the answer was handled; empty if it cannot."""
        if self.ended_at is None:
            return ""
        ended_at = self.ended_at
        asked_at = min(at for at in (self.asked_at, self.left_at, ended_at) if at is not None)
        if self.is_killed:  # or by a SIGTERM before its handler was installed
            ended_at = self.killed_at or asked_at
        if self.running_seconds(answered_at, ended_at) >= IN_FLIGHT_SECONDS:
            return ""
        if self.is_killed:
            return "it was in flight when its process was killed"
        if self.running_seconds(asked_at, ended_at) >= SHUTDOWN_SECONDS:
            return "it was in flight when the time of its process was up"
        if None not in (self.asked_at, self.left_at) and asked_at == self.left_at:
            return "it was in flight when a SIGTERM hurried the end of its process"
        return ""

    @property
    def leaving_seconds(self) -> float:
        """How long it took to end after SIGTERM, or after it had logged everything."""
        asked_at = [at for at in (self.asked_at, self.left_at) if at is not None]
        assert self.ended_at is not None
        return self.running_seconds(max(asked_at, default=self.ended_at), self.ended_at)

    def running_seconds(self, begin: float, end: float) -> float:
        """Return for how long it was not stopped between two instants."""
        stopped = 0.0
        for stop in self.stops:
            since, until = stop[0], stop[1] if len(stop) == 2 else end
            stopped += max(0.0, min(until, end) - max(since, begin))
        return end - begin - stopped


class Worker(Life):
    """A process that logs.

    Args:
        source: its name.
        plan: of its work.
        endpoint: that it posts to.
        where: the parent of its working directory.
        number: the seed of its random choices.
    """

    def __init__(self, source: str, plan: Plan, endpoint: Endpoint, where: Path, number: int):
        super().__init__(source)
        self.plan = plan
        self.where = where / source
        self.where.mkdir()
        self.quiet: set[int] = set()
        self.is_ready = threading.Event()
        self.has_logged = threading.Event()
        self.resume_at = 0.0
        (self.where / "worker.py").write_text(WORKER, encoding="utf-8")
        made = f"import random\n\n\n{inspect.getsource(content)}"
        (self.where / "content.py").write_text(made.replace("Any", "object"), encoding="utf-8")
        self._start(endpoint, number)

    def _start(self, endpoint: Endpoint, number: int) -> None:
        mine, its = os.pipe()
        handlers = [
            {**self.plan.settings, "endpoint": endpoint.url_of(f"{self.source}.{place}")}
            for place in range(self.plan.handlers)
        ]
        plan = {
            "pipe": its,
            "source": self.source,
            "seed": number,
            "handlers": handlers,
            "threads": max(self.plan.threads, self.plan.handlers),
            "events": self.plan.events,
            "bursts": self.plan.bursts,
            "rest": self.plan.rest,
            "drains": self.plan.drains,
        }
        keys = {"FSLOG_AUTH_KEY": KEYS[0], "FSLOG_API_KEY": KEYS[1], "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            with open(self.where / "err.txt", "wb") as err:
                self._process = subprocess.Popen(
                    [sys.executable, *FLAGS, "worker.py", json.dumps(plan)],
                    cwd=self.where,
                    env=environment({**keys, "PYTHONPATH": str(self.where)}),
                    pass_fds=(its,),
                    stdin=subprocess.DEVNULL,
                    stdout=err,
                    stderr=err,
                    start_new_session=True,
                )
        except BaseException:
            os.close(mine)
            raise
        finally:
            os.close(its)
        self._reader = threading.Thread(target=self._read, args=(mine,), name=self.source)
        self._reader.start()

    def _read(self, pipe: int) -> None:
        with open(pipe, encoding="utf-8") as lines:
            for line in lines:
                word, _, rest = line.strip().partition(" ")
                if word in ("said", "refused"):
                    source, number = rest.split()
                    (self.said if word == "said" else self.refused).append((source, int(number)))
                    self.has_logged.set()
                elif word == "stats":
                    self.stats.append(json.loads(rest))
                elif word == "quiet":
                    self.quiet.add(int(rest))
                elif word == "left":
                    self.left_at = time.monotonic()
                elif word == "ready":
                    self.is_ready.set()
                else:
                    self.problems.append(line)

    def is_running(self) -> bool:
        """Return whether the process is running; record when it ended."""
        if self.ended_at is None and self._process.poll() is not None:
            self.ended_at, self.code = time.monotonic(), self._process.returncode
        return self.ended_at is None

    def is_quiet(self) -> bool:
        """Return whether it has stopped logging."""
        threads = max(self.plan.threads, self.plan.handlers)
        return len(self.quiet) >= threads or not self.is_running()

    @property
    def is_stopped(self) -> bool:
        """Whether it was sent SIGSTOP without a SIGCONT after it."""
        return bool(self.stops) and len(self.stops[-1]) == 1

    def strike(self, number: int) -> None:
        """Send a signal and record when."""
        now = time.monotonic()
        if number == signal.SIGKILL:
            self.killed_at = self.killed_at or now
        elif number == signal.SIGTERM:
            self.asked_at = self.asked_at or now
        elif number == signal.SIGSTOP:
            self.stops.append([now])
        self._process.send_signal(number)
        if number == signal.SIGCONT and self.is_stopped:
            self.stops[-1].append(time.monotonic())

    def end(self) -> None:
        """Read the rest of the pipe of a process that has ended.

        Raises:
            AssertionError: it is still running; the message has the stacks of its threads.
        """
        if self.is_running():
            self._process.send_signal(signal.SIGABRT)
            self._process.wait(5.0)
            raise AssertionError(f"{self.source} does not end:\n{self.err}")
        self._reader.join()

    def abort(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()
        self._reader.join()

    @property
    def err(self) -> str:
        """Its output, without what Python writes about a SIGTERM that arrives during its end."""
        return _IGNORED.sub("", (self.where / "err.txt").read_text(encoding="utf-8"))


_LIFE = frozenset(one.name for one in fields(Life))


def _canonical(event: Mapping[str, Any]) -> str:
    return json.dumps(event, sort_keys=True)


class Verdict:
    """Compare what workers reported with what an endpoint accepted.

    Args:
        posts: in order of arrival.
        workers: all of them.
    """

    def __init__(self, posts: Sequence[Post], workers: Iterable[Life]) -> None:
        self.posts = posts
        self.workers = {worker.source: worker for worker in workers}
        self.explained: Counter[str] = Counter()

    def _worker(self, post: Post) -> Life:
        return self.workers[post.poster.split(".")[0]]

    @cached_property
    def arrivals(self) -> dict[Event, list[int]]:
        """The posts that delivered each event, in order of first arrival."""
        found: dict[Event, list[int]] = {}
        for index, post in enumerate(self.posts):
            if post.taken:
                for event in post.events:
                    found.setdefault(event, []).append(index)
        return found

    def lost(self) -> list[str]:
        """Return events that had to arrive and did not."""
        return [
            f"lost: {event}"
            for worker in self.workers.values()
            for event in worker.said
            if event not in self.arrivals
        ]

    def strange(self) -> list[str]:
        """Return events that were never logged, or that were refused."""
        said = {event for worker in self.workers.values() for event in worker.said}
        refused = {event for worker in self.workers.values() for event in worker.refused}
        newest: dict[str, int] = defaultdict(lambda: -1)
        for source, number in said | refused:
            newest[source] = max(newest[source], number)
        found = [f"arrived although refused: {event}" for event in self.arrivals.keys() & refused]
        for post in self.posts:
            found += [f"twice in one body: {e}" for e, n in Counter(post.events).items() if n > 1]
        # The newest call may have logged its event without being able to report it.
        for source, number in self.arrivals.keys() - said - refused:
            if number != newest[source] + 1:
                found.append(f"arrived and never said: {source} {number}")
        return found

    def garbled(self) -> list[str]:
        """Return events that arrived with other content than was logged."""
        return [
            f"garbled: {line} is not {content(*event)}"
            for post in self.posts
            if post.taken
            for event, line in zip(post.events, post.lines, strict=True)
            if _canonical(line) != _canonical(content(*event))
        ]

    def disordered(self) -> list[str]:
        """Return sources whose events arrived in another order than they were logged."""
        found: list[str] = []
        newest: dict[str, int] = {}
        for source, number in self.arrivals:
            if number < newest.get(source, -1):
                found.append(f"out of order: {source} {number} after {newest[source]}")
            newest[source] = number
        return found

    def repeated(self) -> list[str]:
        """Return events that arrived again without an explanation; count the explanations."""
        repeats: dict[int, list[Event]] = {}
        for event, came in self.arrivals.items():
            for index in came[:-1]:
                repeats.setdefault(index, []).append(event)
        found = []
        for index, events in repeats.items():
            why = self._excuse(index)
            self.explained[why or "nothing"] += len(events)
            if not why:
                post = self.posts[index]
                again = [(i, self.posts[i].poster) for i in self.arrivals[events[0]]]
                found.append(f"repeated: {events[0]} and {len(events) - 1} more; {post}; {again}")
        return found

    def _excuse(self, index: int) -> str:
        """Return why the events of a post may arrive again; empty if they may not."""
        post, worker = self.posts[index], self._worker(self.posts[index])
        if not post.confirmed:
            return "the answer was lost"
        batch = self._last_batch(post.poster)
        if index not in batch:
            return ""
        if worker.ended_at is None:
            return ""
        held = {event for i in batch for event in self.posts[i].events}
        sent = {e for i in batch if self.posts[i].confirmed for e in self.posts[i].events}
        if held - sent:
            return "a part of its batch was pending at the end of its process"
        last = max(self.posts[i].answered_at or 0.0 for i in batch)
        return worker.cut_short(last)

    def in_doubt(self, index: int) -> bool:
        """Return whether the process that posted may not know that the events were accepted."""
        post = self.posts[index]
        if not post.confirmed:
            return True
        newest = index == self._by_poster[post.poster][-1]
        return newest and bool(self._worker(post).cut_short(post.answered_at or 0.0))

    def _last_batch(self, poster: str) -> list[int]:
        """Return the posts of a handler's last batch, which a 413 may have split into many."""
        mine = self._by_poster[poster]
        last = set(self.posts[mine[-1]].events)
        whole = last
        for index in mine:
            events = set(self.posts[index].events)
            if self.posts[index].how == "413" and last <= events and len(events) > len(whole):
                whole = events
        return [index for index in mine if whole.issuperset(self.posts[index].events)]

    @cached_property
    def _by_poster(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for index, post in enumerate(self.posts):
            found.setdefault(post.poster, []).append(index)
        return found

    def write(self, path: Path) -> None:
        """Write the lives of all workers and all posts to a file, one JSON line each."""
        lines: list[Any] = [
            {name: value for name, value in vars(worker).items() if name in _LIFE}
            for worker in self.workers.values()
        ]
        for post in self.posts:
            known = {name: value for name, value in vars(post).items() if name != "lines"}
            lines.append({**known, "taken": post.taken})
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)

    def all(self) -> list[str]:
        """Return everything that must not happen, with or without a spool, except for losses."""
        told = [
            f"{worker.source} told of {problem!r}"
            for worker in self.workers.values()
            for problem in worker.problems
        ]
        return told + self.strange() + self.garbled() + self.disordered() + self.repeated()


class Chaos:
    """An endpoint, and workers that start and end.

    Args:
        number: the seed.
        endpoint: that the workers post to.
        where: a directory for the workers' files.
        plan: returns the plan of the next worker.
    """

    def __init__(
        self,
        number: int,
        endpoint: Endpoint,
        where: Path,
        plan: Callable[[random.Random], Plan],
    ) -> None:
        self.dice = random.Random(f"{number} chaos")
        self.endpoint = endpoint
        self.workers: list[Worker] = []
        self._where = where
        self._plan = plan
        self._pacing = threading.Event()

    def __enter__(self) -> Chaos:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for worker in self.workers:
            worker.abort()

    def start(self, plan: Plan | None = None) -> Worker:
        """Start a worker."""
        plan = plan or self._plan(self.dice)
        source = f"w{len(self.workers)}"
        worker = Worker(source, plan, self.endpoint, self._where, self.dice.randrange(10**9))
        self.workers.append(worker)
        return worker

    def living(self) -> list[Worker]:
        """Return the running workers."""
        return [worker for worker in self.workers if worker.is_running()]

    def run(
        self, seconds: float, slots: int, strikes: Mapping[str, float], every: float = 0.25
    ) -> None:
        """Start workers, change the endpoint's behaviour and send signals, at random.

        Args:
            seconds: the duration.
            slots: how many workers run at the same time.
            strikes: the names of the signals with their relative frequencies.
            every: mean pause between two signals, in seconds.
        """
        began_at = phase_at = strike_at = start_at = time.monotonic()
        while (now := time.monotonic()) < began_at + seconds:
            if now >= phase_at:
                self.endpoint.behave(self.dice.choice(PHASES))
                phase_at = now + self.dice.uniform(0.2, 2.0)
            running = self.living()
            failed = [worker for worker in self.workers if worker.has_failed]
            assert not failed, f"{failed[0].source} ended with {failed[0].code}: {failed[0].err}"
            if now >= start_at and len(running) < slots:
                start_at = now + self.dice.choice((0.0, 0.0, 0.3))
                running.append(self.start())
            if now >= strike_at and running:
                strike_at = now + self.dice.expovariate(1 / every)
                self._strike(now, self.dice.choice(running), strikes)
            self._resume(now)
            self._pacing.wait(0.01)
        self._resume(math.inf)

    def _strike(self, now: float, worker: Worker, strikes: Mapping[str, float]) -> None:
        [name] = self.dice.choices([*strikes], weights=[*strikes.values()])
        if name != "SIGKILL" and worker.asked_at is not None:
            return
        # Before its signal handlers are installed, SIGTERM and SIGUSR1 kill a process.
        may_kill = name != "SIGUSR1" and "SIGKILL" in strikes
        if not (worker.is_ready.is_set() or may_kill):
            return
        if name == "SIGSTOP":
            if worker.is_stopped:
                return
            worker.resume_at = now + self.dice.uniform(0.05, 1.8 * TIMEOUT_SECONDS)
        worker.strike(getattr(signal, name))

    def _resume(self, now: float) -> None:
        for worker in self.living():
            if worker.is_stopped and worker.resume_at <= now:
                worker.strike(signal.SIGCONT)

    def end(self, workers: Iterable[Worker]) -> None:
        """Send SIGTERM to workers and wait until they have ended."""
        workers = list(workers)
        for worker in workers:
            if worker.is_running() and worker.asked_at is None:
                assert worker.is_ready.wait(MARGIN_SECONDS), f"{worker.source}: {worker.err}"
                worker.strike(signal.SIGTERM)
        self.wait_for_end(workers, SHUTDOWN_SECONDS + MARGIN_SECONDS)

    def wait_for_end(self, workers: Collection[Worker], seconds: float) -> None:
        """Wait until workers have ended and their pipes were read.

        Raises:
            AssertionError: one is still running after that time.
        """
        until = time.monotonic() + seconds
        # All at once, because is_running records the instants of their ends.
        self.wait_until(lambda: sum(worker.is_running() for worker in workers) == 0, until)
        for worker in workers:
            worker.end()

    def quieten(self, workers: Iterable[Worker]) -> None:
        """Make workers stop logging after their first event, without ending, and wait for that."""
        workers = list(workers)
        for worker in workers:
            assert worker.has_logged.wait(MARGIN_SECONDS), f"{worker.source}: {worker.err}"
            worker.strike(signal.SIGUSR2)
        until = time.monotonic() + MARGIN_SECONDS
        for worker in workers:
            assert self.wait_until(worker.is_quiet, until), f"{worker.source}: {worker.err}"

    def wait_until(self, condition: Callable[[], bool], until: float) -> bool:
        """Poll a condition until it is true; return False if it is not by an instant."""
        while not condition():
            if time.monotonic() > until:
                return False
            self._pacing.wait(0.02)
        return True


@contextlib.contextmanager
def chaos(number: int, where: Path, plan: Callable[[random.Random], Plan]) -> Iterator[Chaos]:
    """Return a run with its endpoint, and end both after the block."""
    with (
        Endpoint(random.Random(f"{number} endpoint")) as endpoint,
        Chaos(number, endpoint, where, plan) as run,
    ):
        yield run
