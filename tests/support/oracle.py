"""Who knows what must arrive: workers that oblige, an endpoint that fails, a killer, and a judge.

A worker is a process that logs numbered events and writes each number to a pipe after the call
returned: a number that was read is an obligation. The endpoint takes what the real one would, and
notes of every POST what it answered and whether the client read that. The killer sends signals at
random instants. At the end the judge compares what was said with what arrived.

What is drawn at random comes from one seed. Instants come from the machine as well, so that a seed
repeats a plan and not a run.
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
"""The workers' arguments of these names."""

FLAGS = ("-X", "faulthandler", "-W", "error")
"""For the workers' interpreters: warnings are errors, and who hangs says where."""

MARGIN_SECONDS = 15.0
"""How long a busy machine may take to start or to end as many processes as a run has."""

IN_FLIGHT_SECONDS = 2.0
"""How long after its answer a batch may still be in flight, on a busy machine."""

# Read now: for the tests themselves the environment is cleared of such names.
_GIVEN = os.environ.get("FSLOG_CHAOS_SEED")


def seed() -> int:
    """Return the seed that FSLOG_CHAOS_SEED names, else a fresh one; it is printed."""
    number = int(_GIVEN) if _GIVEN else secrets.randbelow(10**9)
    print(f"FSLOG_CHAOS_SEED={number}")
    return number


def content(source: str, number: int) -> dict[str, Any]:
    """Return the whole event of a number: worker and judge make the same one."""
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
    """One whole request, and what came of it.

    Args:
        poster: which handler of which process posted it.
        received_at: when it was complete.
        events: what was in it.
        lines: the events as they came; empty where they were not taken.
        how: what was done: the status of a complete answer, or another word.
        answered_at: when a complete answer was in the kernel's hands.
        read: whether the client read that; None as long as nothing tells.
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
        """Whether the endpoint kept the events."""
        return bool(self.lines)

    @property
    def confirmed(self) -> bool:
        """Whether the client got the 200 for it."""
        return self.how == "200" and self.answered_at is not None and self.read is not False


@dataclass(frozen=True)
class Deed:
    """What is done with one request: an answer, whole or cut off after a part of it."""

    answer: Answer = field(default_factory=Answer)
    part: float = 1.0


Behaviour = Callable[[random.Random, int], Deed]
"""Decides what is done with a request of so many bytes."""


def fine(dice: random.Random, size: int) -> Deed:
    """Do what an endpoint is for."""
    return Deed()


def slow(dice: random.Random, size: int) -> Deed:
    """Take a time that is sometimes too long."""
    return Deed(Answer(delay=dice.uniform(0.05, 1.2 * TIMEOUT_SECONDS)))


def failing(dice: random.Random, size: int) -> Deed:
    """Have an internal error."""
    return Deed(Answer(dice.choice((500, 502, 504, 429, 408))))


def busy(dice: random.Random, size: int) -> Deed:
    """Ask to come back in a second."""
    return Deed(Answer(503, headers={"Retry-After": "1"}))


def wrong(dice: random.Random, size: int) -> Deed:
    """Say that the keys are wrong."""
    return Deed(Answer(400))


def resetting(dice: random.Random, size: int) -> Deed:
    """Break the connection before or after the events are taken."""
    return Deed(Answer(then=dice.choice(("reset", "close")), keep=dice.random() < 0.5))


def hanging(dice: random.Random, size: int) -> Deed:
    """Never answer, with or without the events."""
    return Deed(Answer(then="hang", keep=dice.random() < 0.5))


def halving(dice: random.Random, size: int) -> Deed:
    """Break off in the middle of an answer."""
    return Deed(Answer(dice.choice((200, 200, 503))), part=dice.uniform(0.0, 0.9))


def narrow(limit_bytes: int) -> Behaviour:
    """Make a behaviour that finds bodies over a size too large."""

    def behave(dice: random.Random, size: int) -> Deed:
        return Deed(Answer(413 if size > limit_bytes else 200))

    return behave


def mixed(dice: random.Random, size: int) -> Deed:
    """Do anything, another thing each time."""
    return dice.choice(FAULTS)(dice, size)


FAULTS: tuple[Behaviour, ...] = (
    *(fine, slow, failing, busy, wrong, resetting, hanging, halving),
    *(narrow(5_000), narrow(12_000)),
)
"""A body of one event has less than 5,000 bytes, compressed or not."""

PHASES: tuple[Behaviour | None, ...] = (*FAULTS, fine, fine, mixed, mixed, None, None)
"""What an endpoint goes through; None: nobody listens at its port."""


def unless(share: float) -> Behaviour:
    """Make a behaviour that answers a share of all requests by 503."""

    def behave(dice: random.Random, size: int) -> Deed:
        return Deed(Answer(503 if dice.random() < share else 200))

    return behave


class Endpoint:
    """Play an endpoint that behaves in another way whenever it is told so.

    Each handler posts to a base URL of its own (`url_of`), by which it is known here.
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
        # Holds the port while nobody listens, so that nobody else can be given it meanwhile.
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
        """Begin another phase."""
        with self._changed:
            self._behave = behaviour
        if behaviour is None:
            self._refuse()
        elif self._listener is None:
            self._listen()

    def arrived(self) -> set[Event]:
        """Return what was taken so far."""
        with self._changed:
            return {event for post in self.posts if post.taken for event in post.events}

    def wait_for(self, events: Collection[Event], seconds: float) -> set[Event]:
        """Return what of these events was not taken within that time."""
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
            # Only our half: what the client does with its own tells whether it read an answer.
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
                    # A client that closes over an answer that it has not read sends a reset.
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
        """Do it; False to end the connection."""
        answer = deed.answer
        self._closing.wait(answer.delay)
        if answer.then == "hang":
            read_request(conn)  # until the client gives up
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
    """Tell whether the client lived to send all of a request."""
    head, end, body = request.partition(b"\r\n\r\n")
    return bool(end) and len(body) == int(_head(head)[1]["content-length"])


def _raw(answer: Answer) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in dict(answer.headers).items()]
    return "\r\n".join([*lines, "Content-Length: 0", "\r\n"]).encode()


def _is_left(conn: socket.socket) -> bool:
    """Tell whether the client closed the connection before it had an answer."""
    try:
        return conn.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False


WORKER = '''
"""Logs numbered events, and says of each that its call returned."""

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
        with contextlib.suppress(SystemExit):  # of a SIGTERM at this moment
            for name in ("SIGTERM", "SIGUSR1", "SIGUSR2"):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
            deaf = True
    for handler in handlers:
        tell("stats", json.dumps(dataclasses.asdict(handler.stats())))


atexit.register(account)  # before logging and fslog register theirs, so it is called after them

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
        # Made beforehand, so that most of the time goes by inside of log calls.
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
    """What a worker does.

    Args:
        settings: its handlers' arguments.
        handlers: how many it has.
        threads: how many log, at least one for each handler.
        events: how many each of them logs, then it ends.
        bursts: sizes of bursts.
        rest: mean pause between two, in seconds.
        drains: whether it stays until its spool is empty.
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
    """What a process said by its pipe, and what was done to it; instants are monotonic.

    Args:
        source: what its events' sources begin with.
        said: the events of calls that returned: obligations.
        refused: those of which `on_problem` was told within the call.
        stats: of each of its handlers, told at a graceful end.
        problems: what it told that was not expected.
        stops: when SIGSTOP was sent, and SIGCONT.
        killed_at, asked_at: when SIGKILL, SIGTERM was sent.
        left_at: when it had nothing more to log.
        ended_at: when it had ended, with `code`.
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
        """Whether a signal ended it, and no code of its own."""
        return self.code in (-signal.SIGKILL, -signal.SIGTERM)

    @property
    def has_failed(self) -> bool:
        """Whether it ended in a way that nobody asked for."""
        return bool(self.code) and not self.is_killed

    def cut_short(self, answered_at: float) -> str:
        """Say how the end may have come between an answer and what follows it; empty for no way."""
        if self.ended_at is None:
            return ""
        ended_at = self.ended_at
        asked_at = min(at for at in (self.asked_at, self.left_at, ended_at) if at is not None)
        if self.is_killed:  # or by a SIGTERM before its handler was there
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
        """How long it took to end once it was asked to, or had nothing more to log."""
        asked_at = [at for at in (self.asked_at, self.left_at) if at is not None]
        assert self.ended_at is not None
        return self.running_seconds(max(asked_at, default=self.ended_at), self.ended_at)

    def running_seconds(self, begin: float, end: float) -> float:
        """Return how long it was not stopped between two instants."""
        stopped = 0.0
        for stop in self.stops:
            since, until = stop[0], stop[1] if len(stop) == 2 else end
            stopped += max(0.0, min(until, end) - max(since, begin))
        return end - begin - stopped


class Worker(Life):
    """A process that logs.

    Args:
        source: its name.
        plan: what it does.
        endpoint: where it posts to.
        where: a directory of which it gets a part.
        number: seed of what it draws at random.
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
        """Tell whether the process has not ended; note when it did."""
        if self.ended_at is None and self._process.poll() is not None:
            self.ended_at, self.code = time.monotonic(), self._process.returncode
        return self.ended_at is None

    def is_quiet(self) -> bool:
        """Tell whether it logs no more."""
        threads = max(self.plan.threads, self.plan.handlers)
        return len(self.quiet) >= threads or not self.is_running()

    @property
    def is_stopped(self) -> bool:
        """Whether it was sent SIGSTOP and no SIGCONT."""
        return bool(self.stops) and len(self.stops[-1]) == 1

    def strike(self, number: int) -> None:
        """Send a signal, and note when."""
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
        """Read to the end what a process that has ended said.

        Raises:
            AssertionError: it has not; shows what every thread was doing.
        """
        if self.is_running():
            self._process.send_signal(signal.SIGABRT)
            self._process.wait(5.0)
            raise AssertionError(f"{self.source} does not end:\n{self.err}")
        self._reader.join()

    def abort(self) -> None:
        """End it whatever it does."""
        self._process.kill()
        self._process.wait()
        self._reader.join()

    @property
    def err(self) -> str:
        """What it wrote, less what Python says of a SIGTERM that came when it was ending anyway."""
        return _IGNORED.sub("", (self.where / "err.txt").read_text(encoding="utf-8"))


_LIFE = frozenset(one.name for one in fields(Life))


def _canonical(event: Mapping[str, Any]) -> str:
    return json.dumps(event, sort_keys=True)


class Verdict:
    """Compare what workers said with what an endpoint took.

    Args:
        posts: in order of arrival.
        workers: all that there were.
    """

    def __init__(self, posts: Sequence[Post], workers: Iterable[Life]) -> None:
        self.posts = posts
        self.workers = {worker.source: worker for worker in workers}
        self.explained: Counter[str] = Counter()

    def _worker(self, post: Post) -> Life:
        return self.workers[post.poster.split(".")[0]]

    @cached_property
    def arrivals(self) -> dict[Event, list[int]]:
        """The posts by which each event came, in order of first arrival."""
        found: dict[Event, list[int]] = {}
        for index, post in enumerate(self.posts):
            if post.taken:
                for event in post.events:
                    found.setdefault(event, []).append(index)
        return found

    def lost(self) -> list[str]:
        """Tell of obligations that did not arrive."""
        return [
            f"lost: {event}"
            for worker in self.workers.values()
            for event in worker.said
            if event not in self.arrivals
        ]

    def strange(self) -> list[str]:
        """Tell of events that nobody can have logged, or whose refusal was told."""
        said = {event for worker in self.workers.values() for event in worker.said}
        refused = {event for worker in self.workers.values() for event in worker.refused}
        newest: dict[str, int] = defaultdict(lambda: -1)
        for source, number in said | refused:
            newest[source] = max(newest[source], number)
        found = [f"arrived although refused: {event}" for event in self.arrivals.keys() & refused]
        for post in self.posts:
            found += [f"twice in one body: {e}" for e, n in Counter(post.events).items() if n > 1]
        # The newest call may have done its work and not been able to say so.
        for source, number in self.arrivals.keys() - said - refused:
            if number != newest[source] + 1:
                found.append(f"arrived and never said: {source} {number}")
        return found

    def garbled(self) -> list[str]:
        """Tell of events with another content than was logged."""
        return [
            f"garbled: {line} is not {content(*event)}"
            for post in self.posts
            if post.taken
            for event, line in zip(post.events, post.lines, strict=True)
            if _canonical(line) != _canonical(content(*event))
        ]

    def disordered(self) -> list[str]:
        """Tell of sources whose events arrived first in another order than they were logged."""
        found: list[str] = []
        newest: dict[str, int] = {}
        for source, number in self.arrivals:
            if number < newest.get(source, -1):
                found.append(f"out of order: {source} {number} after {newest[source]}")
            newest[source] = number
        return found

    def repeated(self) -> list[str]:
        """Tell of events that came again although nothing explains it; count what does."""
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
        """Say why the events of a post may come again; empty where they may not."""
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
        """Tell whether the process that posted may not know that the events were taken."""
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
        """Write down who did what when, one JSON line each, for whoever looks for the cause."""
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
        """Tell of everything that must not be, whether there is a spool or not; losses apart."""
        told = [
            f"{worker.source} told of {problem!r}"
            for worker in self.workers.values()
            for problem in worker.problems
        ]
        return told + self.strange() + self.garbled() + self.disordered() + self.repeated()


class Chaos:
    """An endpoint, and workers that come and go.

    Args:
        number: the seed.
        endpoint: it.
        where: a directory for the workers' files.
        plan: makes the next worker's plan.
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
        """Return the workers that run."""
        return [worker for worker in self.workers if worker.is_running()]

    def run(
        self, seconds: float, slots: int, strikes: Mapping[str, float], every: float = 0.25
    ) -> None:
        """Let everything happen.

        Args:
            seconds: how long.
            slots: how many workers run at a time.
            strikes: what the killer does (a signal's name) and how often, relatively.
            every: mean pause between two strikes, in seconds.
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
        # Before its handlers are there, SIGTERM and SIGUSR1 kill a process.
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
        """Ask workers to end, and wait until they have."""
        workers = list(workers)
        for worker in workers:
            if worker.is_running() and worker.asked_at is None:
                assert worker.is_ready.wait(MARGIN_SECONDS), f"{worker.source}: {worker.err}"
                worker.strike(signal.SIGTERM)
        self.wait_for_end(workers, SHUTDOWN_SECONDS + MARGIN_SECONDS)

    def wait_for_end(self, workers: Collection[Worker], seconds: float) -> None:
        """Wait until workers have ended, and all that they said was read.

        Raises:
            AssertionError: one has not within that time.
        """
        until = time.monotonic() + seconds
        # All at a time, since the instants of their ends are noted here.
        self.wait_until(lambda: sum(worker.is_running() for worker in workers) == 0, until)
        for worker in workers:
            worker.end()

    def quieten(self, workers: Iterable[Worker]) -> None:
        """Have workers that have logged live on and log no more, and wait until they do."""
        workers = list(workers)
        for worker in workers:
            assert worker.has_logged.wait(MARGIN_SECONDS), f"{worker.source}: {worker.err}"
            worker.strike(signal.SIGUSR2)
        until = time.monotonic() + MARGIN_SECONDS
        for worker in workers:
            assert self.wait_until(worker.is_quiet, until), f"{worker.source}: {worker.err}"

    def wait_until(self, condition: Callable[[], bool], until: float) -> bool:
        """Wait for what no event announces; False: it did not come before that instant."""
        while not condition():
            if time.monotonic() > until:
                return False
            self._pacing.wait(0.02)
        return True


@contextlib.contextmanager
def chaos(number: int, where: Path, plan: Callable[[random.Random], Plan]) -> Iterator[Chaos]:
    """Open an endpoint and a run."""
    with (
        Endpoint(random.Random(f"{number} endpoint")) as endpoint,
        Chaos(number, endpoint, where, plan) as run,
    ):
        yield run
