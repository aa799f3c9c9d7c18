"""Processes that die at a chosen system call, and a model of which lines must arrive.

A "process" is the set of parts of one handler with a spool, with the test's clock, endpoint and
file system. It dies when its file system decides so: from then on each of its system calls raises,
and its descriptors, and so its locks, are closed. So any number of processes can live and die on
one directory within one test.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fslog.cli.spool.contents import NotASpool, read_contents
from fslog.cli.spool.forget import forget
from fslog.config import MinFree
from fslog.delivery.backlog import Backlog
from fslog.delivery.buffer import Buffer
from fslog.delivery.listener import WAKE, Flush, Listener
from fslog.delivery.notices import Notices
from fslog.delivery.queue import WakeQueue
from fslog.net.retry import Kind, Outcome
from fslog.spool.directory import FORGET, MARKER, OWNERS, QUARANTINE, SpoolDirectory
from fslog.spool.filesystem import FileSystem
from fslog.spool.forget import Person
from fslog.spool.reader import Limits
from fslog.spool.segments import parse_name
from fslog.spool.share import SpoolShare
from fslog.spool.writer import DiskStore

OK = Outcome(Kind.DELIVERED)
DOWN = Outcome(Kind.RETRY, "it answers 503")
LARGE = Outcome(Kind.TOO_LARGE, "it answers 413")

CALLS = frozenset(name for name in vars(FileSystem) if not name.startswith("_"))
"""All calls of a spool: it reaches the disk in no other way."""

LOOKING = frozenset(
    {
        *("fstat", "fsync", "is_locked", "listdir", "lstat", "read", "read_from", "sizes"),
        *("space", "sync"),
    }
)
"""The calls that change nothing: for them before and after is the same."""

OPENING = frozenset({"create", "create_lockfile", "open_lockfile"})
APPENDING = frozenset({"write", "write_at", "write_at_start"})

PARTS = ("half", "most")

ROOM_TAKING = frozenset({"create", "create_lockfile", "make_directory", "replace"}) | APPENDING
"""The calls that may fail on a full disk; on a copy-on-write file system all of them."""

MOST_STEPS = 5000
"""More steps than any process here needs in its life."""

Ident = tuple[int, int]
"""Identifies a line: the number of its process, and its own."""


class Crash(BaseException):
    """The process is dead: it does nothing more."""


class Fault(NamedTuple):
    """What happens to one system call.

    Args:
        moment: "before" or "after" it took effect, or when "half" of the bytes, or "most", all
            but the last, had been written.
        error: an errno; None for the death of the process.
    """

    moment: str
    error: int | None = None


Plan = Callable[[int, str], "Fault | None"]
"""Returns the fault of a call, given its number and name."""


def nothing(number: int, name: str) -> Fault | None:
    """Plan no fault."""
    return None


def at(when: int, fault: Fault) -> Plan:
    """Plan one fault."""
    return lambda number, name: fault if number == when else None


def since(when: int, names: frozenset[str], fault: Fault) -> Plan:
    """Plan that all calls with some names fail from a number on."""
    return lambda number, name: fault if number >= when and name in names else None


class Volume:
    """The room on a disk that all processes share; None for no limit.

    The disk says that so much is free; what is written does not change that here.
    """

    def __init__(self) -> None:
        self.room_bytes: int | None = None
        self.free_percent = 50

    def fault(self, name: str, args: tuple[Any, ...]) -> Fault | None:
        """Use the room that a call needs; return a fault if there is not enough."""
        if self.room_bytes is None or name not in ROOM_TAKING:
            return None
        need = len(args[1]) if name in APPENDING else 1
        had, self.room_bytes = self.room_bytes, max(0, self.room_bytes - need)
        if need <= had:
            return None
        return Fault("half" if name == "write" and had else "before", errno.ENOSPC)


class Disk(FileSystem):
    """The file system as one process has it: each call is counted, and may be its last.

    Args:
        volume: the room that there is.
        epoch: the time that files are given, as seconds since the epoch.
    """

    def __init__(self, volume: Volume, epoch: Callable[[], float]) -> None:
        self.volume = volume
        self.epoch = epoch
        self.plan: Plan = nothing
        self.calls: list[str] = []
        self.open: set[int] = set()
        self.failed: list[str] = []
        self.failed_with = 0
        self.is_dead = False
        self.written = b""
        self.torn = b""

    def die(self) -> None:
        """End the process: the kernel closes what it had open."""
        self.is_dead = True
        while self.open:
            os.close(self.open.pop())

    def call(self, name: str, args: tuple[Any, ...], act: Callable[[], Any]) -> Any:
        """Make a system call, if it is to be made."""
        if self.is_dead:
            raise Crash
        fault = self.plan(len(self.calls), name) or self.volume.fault(name, args)
        self.calls.append(name)
        if fault is None:
            return self._note(name, args, act())
        if fault.error is not None:
            self.failed.append(name)
            self.failed_with = fault.error
        result: Any = None
        if fault.moment in PARTS and name in APPENDING:
            result = self._write_part(fault.moment, name, *args)
        elif fault.moment != "before":
            result = self._note(name, args, act())
        if fault.error is None:
            self.die()
            raise Crash
        if fault.moment in PARTS and name == "write":
            return result
        if name in OPENING and result is not None:
            self.open.discard(result)
            os.close(result)
        raise OSError(fault.error, os.strerror(fault.error))

    def _note(self, name: str, args: tuple[Any, ...], result: Any) -> Any:
        if name in OPENING:
            self.open.add(result)
            if not os.fstat(result).st_size:
                self._date(result)
        elif name == "close":
            self.open.discard(args[0])
        elif name in APPENDING:
            self.written = args[1] if name == "write" else self.written
            self._date(args[0])
        elif name == "truncate":
            self.written = self.torn = b""
        return result

    def _date(self, fd: int) -> None:
        os.utime(fd, (self.epoch(), self.epoch()))

    def _write_part(self, moment: str, name: str, fd: int, text: bytes, at: int = 0) -> int:
        self.torn = text[:-1] if moment == "most" else text[: len(text) // 2]
        written = os.write(fd, self.torn) if name == "write" else os.pwrite(fd, self.torn, at)
        self._date(fd)
        return written


def _counted(name: str) -> Any:
    is_plain = isinstance(FileSystem.__dict__[name], staticmethod)

    def call(self: Disk, *args: Any, **kwargs: Any) -> Any:
        whole: Any = getattr(FileSystem, name)
        made = () if is_plain else (self,)
        return self.call(name, args, lambda: _at_once(whole(*made, *args, **kwargs)))

    return call


def _at_once(result: Any) -> Any:
    return iter(list(result)) if isinstance(result, Iterator) else result


def _space(self: Disk, path: str) -> tuple[int, int]:
    found: tuple[int, int] = self.call("space", (path,), lambda: (self.volume.free_percent, 100))
    return found


for _name in CALLS:
    setattr(Disk, _name, _counted(_name))
setattr(Disk, "space", _space)  # noqa: B010 - mypy has it as a method


class Process:
    """One process with one handler, on a world's directory.

    Args:
        world: which it lives in.
        number: its own.
        batch_events, batch_bytes, buffer_bytes, max_bytes, fsync: as the handler's arguments.
        is_careful: whether what it reads back is checked line by line, as after a minute.
        max_age: as the handler's `spool_max_age`.
    """

    def __init__(
        self,
        world: World,
        number: int,
        *,
        plan: Plan = nothing,
        batch_events: int = 4,
        batch_bytes: int = 1000,
        buffer_bytes: int = 100_000,
        max_bytes: int = 1 << 30,
        fsync: str = "never",
        is_careful: bool = False,
        max_age: float | None = None,
    ) -> None:
        self.world = world
        self.number = number
        self.disk = Disk(world.volume, world.epoch)
        self.disk.plan = plan
        self.taken: set[Ident] = set()
        self.settled: set[Ident] = set()
        self.fresh: set[Ident] = set()
        self.excused: set[Ident] = set()
        self.refused = self.answered = self.alone = self.lost = self.posts = 0
        self.foreign = self.gone = 0
        self.steps = 0
        self.is_ended = False
        self.said: list[str] = []
        directory = SpoolDirectory(str(world.path), "digest", world.token, self.disk)
        self.is_usable = True
        try:
            directory.check()
        except ValueError:
            if not self.disk.failed:
                raise
            directory.check()  # as an application that is started again
        self.queue = WakeQueue()
        self.spool = SpoolShare(
            directory,
            max_bytes=max_bytes,
            fsync=fsync,
            chunk_bytes=batch_bytes,
            clock=world.clock,
            min_free=MinFree(percent=5.0),
            max_age=max_age,
        )
        store = DiskStore(self.spool, Limits(batch_events, batch_bytes, None, 6))
        self.buffer = Buffer(
            self.queue,
            lambda: True,
            store=store,
            batch_events=batch_events,
            batch_bytes=batch_bytes,
            buffer_bytes=buffer_bytes,
            clock=world.clock,
        )
        notices = Notices("events.example", lambda level, text: self.said.append(text), world.clock)
        notices.unreadable = self._unreadable  # type: ignore[method-assign]
        notices.expired = self._expired  # type: ignore[method-assign]
        notices.quarantine_full = self._full  # type: ignore[method-assign]

        def now() -> float:
            return world.epoch() + (3600.0 if is_careful else 0.0)

        source = store.source(self.buffer, notices, now)
        self.backlog = Backlog(self.buffer, None, 6, source=source, clock=world.clock)
        self._really_forget = self.backlog.forget
        self.backlog.forget = self._forget  # type: ignore[method-assign]
        self.listener = Listener(
            self.queue,
            self.buffer,
            self.backlog,
            self._post,
            flush_interval=5.0,
            max_backoff=8.0,
            notices=notices,
            redact=str,
            clock=world.clock,
            ended=lambda: None,
            jitter=lambda pause: pause,
        )

    def _unreadable(self, reason: str, events: int) -> None:
        self.lost += events
        self.world.is_unread = True
        # No test here removes a segment, and too many open files are not an error of it.
        if reason == "somebody removed it" or self.disk.failed_with == errno.EMFILE:
            self.world.wrong.append(f"process {self.number} gives a segment up: {reason}")

    def _forget(self) -> None:
        before = self.buffer.abandoned
        try:
            self._really_forget()
        finally:
            self.gone += self.buffer.abandoned - before

    def _expired(self) -> None:
        assert self.spool.max_age is not None
        self.world.has_expired = True

    def _full(self, limit_bytes: int) -> None:
        assert self.world.aside_bytes() * 2 > limit_bytes - 1200
        self.world.is_aside_full = True

    def _post(self, body: bytes, timeout: float | None) -> Outcome:
        self.posts += 1
        return self.world.answer(self, body.splitlines(keepends=True))

    def log(self, size_bytes: int) -> bool:
        """Make a log call with a line of a size, or of the least size of a line."""
        ident = self.world.new_line(self.number, size_bytes)
        line = self.world.lines[ident]
        self.disk.written = self.disk.torn = b""
        failed = len(self.disk.failed)
        try:
            taken = self.buffer.append(line)
        except Crash:
            torn = self.disk.torn
            self.world.unsure[ident] = torn if line.startswith(torn) else b""
            raise
        if len(self.disk.failed) > failed:
            self.world.permits[ident] += 1
        if not taken:
            self.refused += 1
            self.world.refused.add(ident)
        else:
            self.taken.add(ident)
            (self.world.kept if self.disk.written == line else self.world.held).add(ident)
        return taken

    def step(self) -> bool:
        """Let the listener do one step; return whether there may be another."""
        self.steps += 1
        assert self.steps < MOST_STEPS, "it never becomes idle"
        assert not self.world.wrong, self.world.wrong
        self.fresh.clear()
        failed, posts = len(self.disk.failed), self.posts
        item = self.listener.dequeue(block=False)
        try:
            self.listener.handle(item)
        except Crash:
            self.excused |= self.fresh
            raise
        if len(self.disk.failed) > failed:
            self.excused |= self.fresh
        return item is not WAKE or self.posts > posts or not self.queue.empty()

    def run(self, seconds: float = 0.0) -> None:
        """Run the listener for some seconds."""
        until = self.world.now + seconds
        while True:
            if self.step():
                continue
            if self.world.now >= until:
                return
            self.world.now += 2.5

    def flush(self, seconds: float = 5.0, *, once: bool = False) -> bool:
        """Flush, as `Delivery` does."""
        number = self.buffer.seal()
        assert number is not None
        request = Flush(number, self.world.now + seconds, once=once)
        self.queue.put(request)
        while request.reply.empty() and self.world.now < request.deadline_at:
            if not self.step():
                self.world.now += 0.25
        return not request.reply.empty() and request.reply.get()

    def end(self) -> None:
        """End as `Delivery.finish` does: one more try, and the rest stays for the next process."""
        self.flush(once=self.buffer.is_durable())
        self.lost += self.buffer.abandon()
        self.backlog.end()
        self.check()
        is_clean = not self.counts()["pending"] and not self.world.segments()
        if is_clean and not {"close", "fstat"} & set(self.disk.failed):
            assert not self.disk.open, "a descriptor was not closed"
        self.is_ended = True
        self.disk.die()

    def counts(self) -> dict[str, int]:
        """Return fslog's own counts."""
        return self.buffer.counts()

    def check(self) -> None:
        """Check that fslog's counts are those of the model."""
        counts = self.counts()
        assert counts["accepted"] == len(self.taken)
        assert self.refused + self.buffer.refused.value() == self.refused
        assert counts["delivered"] == self.answered
        gone = counts["abandoned"] - self.alone - self.lost - counts["expired"]
        if self.world.forgotten and self.disk.failed and gone > self.gone:
            # A segment was replaced, although the call failed: it is seen when it is read.
            assert gone <= len(self.world.forgotten - set(self.world.order)), (gone, self.gone)
            self.gone = gone
        assert gone == self.gone
        assert counts["quarantined"] <= counts["abandoned"]
        if not (self.world.is_aside_full or self.world.is_unread or self.lost or self.alone):
            assert counts["quarantined"] == counts["expired"]
        own = len(self.taken - self.settled) - self.lost - counts["expired"] - self.gone
        assert counts["pending"] == own + counts["adopted"] - self.foreign
        assert counts["adopted"] >= self.foreign
        error = self.listener.last_error or ""
        assert not error.startswith("internal error") or "Too many open files" in error, error


class World:
    """One directory, one endpoint, one clock, and the lines that must arrive.

    Args:
        path: of the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.volume = Volume()
        self.now = 1000.0
        self.limit_bytes = 1 << 30
        self.outcomes: list[Outcome] = []
        self.is_up = True
        self.living: list[Process] = []
        self.crashes = 0
        self.lines: dict[Ident, bytes] = {}
        self.kept: set[Ident] = set()
        self.held: set[Ident] = set()
        self.refused: set[Ident] = set()
        self.unsure: dict[Ident, bytes] = {}
        self.permits: dict[Ident, int] = defaultdict(int)
        self.too_large: set[Ident] = set()
        self.given_up: set[Ident] = set()
        self.forgotten: set[Ident] = set()
        self.arrived: dict[Ident, int] = defaultdict(int)
        self.order: list[Ident] = []
        self.wrong: list[str] = []
        self.failed: set[str] = set()
        self.is_unread = False
        self.has_expired = self.is_aside_full = False
        self._numbers = itertools.count(1)
        self._tokens = itertools.count(1)
        self._counts: dict[int, int] = defaultdict(int)

    def clock(self) -> float:
        """Return the monotonic time."""
        return self.now

    def epoch(self) -> float:
        """Return the seconds since the epoch."""
        return 1_700_000_000 + self.now

    def token(self) -> str:
        """Return unique hexadecimal digits."""
        return hashlib.md5(b"%d" % next(self._tokens), usedforsecurity=False).hexdigest()[:12]

    def new_line(self, process: int, size_bytes: int) -> Ident:
        """Create the next line of a process."""
        self._counts[process] += 1
        ident = (process, self._counts[process])
        user = "v" if ident[1] % 3 == 0 else "u"
        event = {"p": process, "n": ident[1], "accountId": "a", "userId": user, "action": "x"}
        event |= {"sessionId": "s", "createdAt": 1_700_000_000_000, "pad": ""}
        text = json.dumps(event, separators=(",", ":"))
        pad = "x" * max(0, size_bytes - len(text) - 1)
        self.lines[ident] = f'{text[:-2]}{pad}"}}\n'.encode("ascii")
        return ident

    def answer(self, process: Process, lines: list[bytes]) -> Outcome:
        """Answer as the endpoint; errors are recorded, because the listener would handle them."""
        idents = []
        for line in lines:
            try:
                event = json.loads(line)
                idents.append((event["p"], event["n"]))
            except ValueError:
                self.wrong.append(f"{line!r} was sent")
                continue
            if self.lines[idents[-1]] != line:
                self.wrong.append(f"{line!r} was sent instead of {self.lines[idents[-1]]!r}")
            if idents[-1] in self.refused:
                self.wrong.append(f"{idents[-1]} was refused and sent")
            if self.arrived[idents[-1]] > self.permits[idents[-1]]:
                self.wrong.append(f"{idents[-1]} was sent again, by process {process.number}")
        outcome = self._outcome(sum(map(len, lines)))
        if outcome is OK or (outcome is LARGE and len(idents) == 1):
            process.settled |= set(idents)
            process.foreign += sum(ident not in process.taken for ident in idents)
            process.fresh |= set(idents)
        if outcome is OK:
            process.answered += len(idents)
            for ident in idents:
                if not self.arrived[ident]:
                    self.order.append(ident)
                self.arrived[ident] += 1
        elif outcome is LARGE and len(idents) == 1:
            process.alone += 1
            self.too_large.add(idents[0])
        return outcome

    def _outcome(self, size_bytes: int) -> Outcome:
        if not self.is_up:
            return DOWN
        if size_bytes > self.limit_bytes:
            return LARGE
        return self.outcomes.pop(0) if self.outcomes else OK

    def start(self, **settings: Any) -> Process | None:
        """Start a process; None if it died while it started."""
        number = next(self._numbers)
        try:
            process = Process(self, number, **settings)
        except Crash:
            self.crashes += 1
            return None
        self.living.append(process)
        return process

    def do(self, process: Process, act: Callable[[], object]) -> bool:
        """Make a process do something and check its counts; return whether it is alive."""
        try:
            act()
        except Crash:
            self.kill(process)
        else:
            if not process.disk.is_dead:
                process.check()
            elif process in self.living:
                self.living.remove(process)
                self._leave(process)
        assert not self.wrong, self.wrong
        return process in self.living

    def kill(self, process: Process) -> None:
        """End a process as the kernel does."""
        process.disk.die()
        self.crashes += 1
        self.living.remove(process)
        self._leave(process)

    def _leave(self, process: Process) -> None:
        self.given_up |= (process.taken & self.held) - process.settled
        # Answered by 200, but not removed or recorded, because of a crash or a failing disk.
        for ident in process.excused:
            self.permits[ident] += 1
        self.failed |= set(process.disk.failed)

    def begin_to_forget(self) -> Person:
        """Let all lines of the user `v` be forgotten from now on, and return the person."""
        self.forgotten |= {ident for ident in self.lines if ident[1] % 3 == 0}
        return Person(frozenset("v"))

    def forget(self, plan: Plan = nothing) -> Disk:
        """Run `fslog spool forget` for the user `v`, with no time for living processes."""
        disk = Disk(self.volume, self.epoch)
        disk.plan = plan
        person = self.begin_to_forget()
        try:
            forget(read_contents(str(self.path)), person, 0.0, disk)
            is_closed = not disk.open or {"close", "fstat"} & set(disk.failed)
            assert is_closed, "a descriptor was not closed"
        except (Crash, OSError, NotASpool):
            assert disk.is_dead or disk.failed
        finally:
            disk.die()
        return disk

    def names(self, *under: str) -> list[str]:
        """Return the names in the directory."""
        try:
            return sorted(os.listdir(os.path.join(self.path, *under)))
        except FileNotFoundError:
            return []

    def segments(self) -> list[str]:
        """Return the names of the segments."""
        return [name for name in self.names() if parse_name(name) is not None]

    def spooled_bytes(self) -> int:
        """Return the total size of the segments."""
        return sum((self.path / name).stat().st_size for name in self.segments())

    def aside_bytes(self) -> int:
        """Return the total size of the quarantine."""
        return sum((self.path / QUARANTINE / one).stat().st_size for one in self.names(QUARANTINE))

    def quarantined(self) -> list[bytes]:
        """Return the content of all files in the quarantine."""
        return [
            (self.path / QUARANTINE / name).read_bytes()
            for name in self.names(QUARANTINE)
            if name.endswith(".ndjson")
        ]

    def finish(self) -> None:
        """End all faults and processes, let a new process send the rest, and check everything."""
        self.volume.room_bytes, self.volume.free_percent = None, 50
        self.outcomes, self.is_up = [], True
        for process in list(self.living):
            process.disk.plan = nothing
            self.do(process, lambda process=process: process.run(35.0))  # type: ignore[misc]
            self.do(process, process.end)
        self.now += 3600.0  # drafts that a crash left are old by then
        last = self.start()
        assert last is not None
        self.do(last, lambda: last.run(35.0))
        assert last.counts()["pending"] == 0
        self.do(last, last.end)
        self.settle_accounts()

    def settle_accounts(self) -> None:
        """Check that all lines that must arrive did, and what is left on disk."""
        aside = self.quarantined()
        whole = {line for text in aside for line in text.splitlines(keepends=True)}
        came = {ident for ident, times in self.arrived.items() if times}
        for ident in (self.kept | self.held) - self.given_up - self.forgotten - came:
            if ident in self.too_large & self.held and self.failed:
                continue  # rejected alone, and the quarantine could not be written
            if self.is_aside_full and (self.has_expired or ident in self.too_large):
                continue
            assert self.lines[ident] in whole, f"{ident} is lost"
            is_explained = ident in self.too_large or self.is_unread or self.has_expired
            assert is_explained, f"{ident} is quarantined"
        # The truncated part of a line is not quarantined.
        explained = {self.lines[ident] for ident in self.too_large} | set(self.unsure.values())
        is_open = self.is_unread or self.has_expired or self.failed & {"truncate", "fstat"}
        assert set(aside) <= explained or is_open
        for ident, torn in self.unsure.items():
            is_aside = any(torn in text for text in aside)
            is_aside |= self.is_aside_full or ident in self.forgotten
            assert ident in came or not torn or is_aside, f"{ident} is neither whole nor torn"
        for number in {process for process, _ in self.order}:
            ours = [ident for ident in self.order if ident[0] == number]
            order = [count for _, count in ours if (number, count) not in self.too_large]
            # A segment that cannot be read waits for the next process; others are sent before it.
            assert order == sorted(order) or self.is_unread, (
                f"the lines of {number} came as {order}"
            )
        assert self.segments() == []
        assert self.names(OWNERS) == []
        assert set(self.names()) - {QUARANTINE, FORGET} == {MARKER, OWNERS}
        assert not [name for name in self.names(QUARANTINE) if name.endswith(".new")]
        reasons = {name for name in self.names(QUARANTINE) if name.endswith(".reason")}
        for name in self.names(QUARANTINE):
            if name.endswith(".ndjson"):
                is_explained = f"{name[:-7]}.reason" in reasons
                assert is_explained or self.crashes or self.failed
