"""All that one handler has in one process: batches, listener, transport, counters.

Made anew in a forked child, which so starts from nothing: no line of its parent's, no lock that
another thread held, no connection that is shared. Whoever holds a delivery may go on using it
after `close`; a thread is there whenever there is something to deliver, and only then.
"""

from __future__ import annotations

import itertools
import logging
import math
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from fslog import process
from fslog.config import Settings
from fslog.delivery import notices
from fslog.delivery.backlog import Backlog, SpooledBacklog
from fslog.delivery.batches import Batches, wait
from fslog.delivery.listener import Flush, Listener
from fslog.delivery.queue import Inbox
from fslog.errors import Problem
from fslog.interrupts import Suppressed
from fslog.net.destination import Destination
from fslog.net.redaction import active_redactor, internal_work
from fslog.net.retry import Outcome
from fslog.spool.directory import SpoolDirectory
from fslog.spool.share import Spool
from fslog.spool.writer import SpooledBatches
from fslog.stats import Counter, Stats

_MOMENT_SECONDS = 1.0
_POLL_SECONDS = 0.2
"""How often a log call that waits for room looks for what other processes made of it."""

_serials = itertools.count()

_PARTS = ("_queue", "_batches", "_backlog", "_listener")


def _append_nothing(line: bytes) -> bool:
    return False


class Posting(Protocol):
    """What a delivery asks of `fslog.net.transport.Transport`."""

    def post(self, body: bytes, timeout: float | None = None) -> Outcome: ...

    def close(self) -> None: ...


class Delivery:
    """Take lines, deliver them, and account for them.

    Args:
        destination: where to; only shown by its host.
        transport: posts bodies.
        settings: of the handler.
        spool: the directory that keeps lines; None for memory.
        clock: monotonic seconds.
        now: seconds since the epoch.
        say: where notices go.
        write: where the last words go.
        is_forked: whether another process built the handler, and looks after orphans, too.
    """

    _queue: Inbox
    _batches: Batches
    _backlog: Backlog
    _listener: Listener

    def __init__(
        self,
        destination: Destination,
        transport: Posting,
        settings: Settings,
        *,
        spool: SpoolDirectory | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        say: notices.Say = notices.say,
        write: Callable[[str], None] = notices.write_stderr,
        is_forked: bool = False,
    ) -> None:
        self._destination = destination
        self._transport = transport
        self._settings = settings
        self._clock = clock
        self._now = now
        self._say = say
        self._write = write
        self._notices = notices.Notices(destination.host, say, clock)
        self._is_forked = is_forked
        self._spool = None
        if spool is not None:
            self._spool = Spool(
                spool,
                max_bytes=settings.spool_max_bytes,
                fsync=settings.spool_fsync,
                chunk_bytes=settings.batch_bytes,
                clock=clock,
            )
        self._serial = next(_serials)
        self._debt: Flush | None = None
        self._last_seconds = settings.shutdown_timeout
        self._gave_up: tuple[int, int, float] | None = None
        self._reports = Counter()
        self.skipped = Counter()
        self.invalid = Counter()
        self.append: Callable[[bytes], bool] = _append_nothing
        """Append a line if there is room; if it returns False, call `submit`."""

    def __getattr__(self, name: str) -> Any:
        # Queue, lock and listener are made at the first need, not at the fork or before: gevent
        # may patch what they are made of in between. setdefault is atomic: one set of them wins.
        if name not in _PARTS:
            raise AttributeError(f"a Delivery has no attribute {name!r}")
        self.__dict__.update(self.__dict__.setdefault("_parts", self._make_parts()))
        if process.is_finishing():
            self.end_soon()
        else:
            self.append = self._batches.append
        return self.__dict__[name]

    def _make_parts(self) -> dict[str, Any]:
        settings = self._settings
        items = Inbox()
        batches, backlog = self._make_store(items)
        listener = Listener(
            items,
            batches,
            backlog,
            self._transport.post,
            flush_interval=settings.flush_interval,
            max_backoff=settings.max_backoff,
            notices=self._notices,
            redact=self._destination.redact,
            clock=self._clock,
            ended=lambda: self._ended(backlog),
            begun=lambda: process.track(self),
            closed=lambda: self._closed(backlog),
            is_turn=self._is_turn,
        )
        return {"_queue": items, "_batches": batches, "_backlog": backlog, "_listener": listener}

    def _make_store(self, items: Inbox) -> tuple[Batches, Backlog]:
        settings = self._settings
        encoding, level = settings.compression, settings.compression_level
        limits = {"batch_events": settings.batch_events, "batch_bytes": settings.batch_bytes}
        held: Any = {**limits, "buffer_bytes": settings.buffer_bytes, "clock": self._clock}
        spool = self._spool
        if spool is None:
            batches = Batches(items, self._opened, **held)
            return batches, Backlog(batches, encoding, level)
        spooled = SpooledBatches(items, self._opened, spool=spool, failed=self._failed, **held)
        backlog = SpooledBacklog(
            spool,
            spooled,
            encoding,
            level,
            **limits,
            notices=self._notices,
            clock=self._clock,
            now=self._now,
            is_forked=self._is_forked,
        )
        return spooled, backlog

    def begin(self) -> None:
        """Start what must not wait for a log call: keep others' keys away, take orphans over."""
        if self._spool is None:
            return
        with Suppressed(OSError, ValueError):  # it was possible a moment ago
            self._spool.begin()
        if self._spool.directory.has_segments():
            self._opened()

    def watch(self) -> None:
        """Have a thread that looks for orphans from time to time, because children will leave some.

        A child that never lives as long as a POST takes cannot do that itself.
        """
        if self._spool is None or process.is_finishing():
            return
        if not self._listener.is_alive():
            self._opened()

    def close_inherited(self) -> None:
        """Close what a fork copied, in the child."""
        if self._spool is not None:
            self._spool.close_inherited()
        batches = self.__dict__.get("_batches")
        if isinstance(batches, SpooledBatches):
            batches.close_inherited()

    def end_soon(self) -> None:
        """Have every later line delivered at once: the process ends."""
        self.append = _append_nothing
        parts = self.__dict__.get("_parts")
        if parts is not None:
            parts["_batches"].close()

    def submit(self, line: bytes) -> bool:
        """Accept a line; return False, and count it, if there is no room in time."""
        if process.is_finishing():
            return self._submit_late(line)
        if self._batches.append(line):
            return True
        seconds = self._settings.block_timeout
        if seconds is not None and self._may_wait():
            poll = None if self._spool is None else _POLL_SECONDS
            if self._batches.wait_for_room(line, seconds, poll):
                return True
        if process.is_finishing():  # meanwhile
            return self._submit_late(line)
        self._batches.refused.add()
        if self._notices.is_first("full"):
            refused = self._batches.refused.value()
            self.run_on_listener(lambda: self._notices.full(refused, *self.bound()))
        return False

    def bound(self) -> tuple[str, int]:
        """Return the name and the value of the setting that bounds what is kept now."""
        if self._batches.is_in_memory():
            return "buffer_bytes", self._settings.buffer_bytes
        return "spool_max_bytes", self._settings.spool_max_bytes

    def _failed(self, error: Exception | None) -> None:
        # With the batches' lock held: what there is to say is said by the listener.
        if error is not None:
            self._queue.put(lambda: self._notices.spool_failed(error))
        else:
            self._queue.put(self._notices.spool_works)

    def _submit_late(self, line: bytes) -> bool:
        """Take a line after the process's last flush, and deliver it at once: nobody else will.

        While the interpreter takes itself down even that is not possible. No thread runs any
        more, and one that was stopped may hold a lock for ever: no lock is touched.
        """
        if sys.is_finalizing():
            if self._batches.keep_late(line):
                return True
            why = "came too late, when the interpreter was shutting down, and is lost"
        elif (number := self._batches.append_late(line)) is not None:
            if number:
                self.finish(self._ask_last(number))
            return True
        else:
            why = f"is refused when the process ends, because {self.bound()[0]} is full"
        self._batches.refused.add()
        if self._notices.is_first("late"):
            self._write(f"an event for {self._destination.host} {why}, as are any after it")
        return False

    def run_on_listener(self, notice: Callable[[], None]) -> None:
        """Call a function on the listener thread; it is not called if that cannot run any more.

        The log call that it is about pays for one queue item.
        """
        self._queue.put(notice)
        if not self._listener.is_alive():
            self._opened()

    def report_problem(self, problem: Problem, record: logging.LogRecord) -> None:
        """Report a problem of an event with its call site: the first of its kind only."""
        seen = record.__dict__.get  # records made by hand may lack anything
        where = f"{seen('name')} ({seen('filename')}:{seen('lineno')})"
        code, name, message = problem.code, problem.property, problem.message
        if self._notices.is_first(f"{code} {name}"):
            self.run_on_listener(lambda: self._notices.problem(code, message, where))

    def _opened(self) -> bool:
        process.track(self)
        # A thread that is started when the process ends may never begin: who waits works itself.
        if process.is_finishing() and not self._listener.is_alive():
            return False
        return self._listener.wake()

    def _ended(self, backlog: Backlog) -> None:
        process.untrack(self)
        backlog.end(is_exclusive=True)
        self._transport.close()

    def _closed(self, backlog: Backlog) -> None:
        backlog.end()
        self._transport.close()

    def _is_turn(self) -> bool:
        return not self._creditors()

    def _creditors(self) -> list[Delivery]:
        """Return who has older events of this process to deliver to the same endpoint.

        The oldest first. A second `dictConfig` leaves a delivery behind that has not delivered
        everything yet.
        """
        found = [
            other
            for other in process.tracked()
            if isinstance(other, Delivery)
            and other._serial < self._serial
            and other._debt is not None
            and other._debt.reply.empty()
            and other._settings.ca_certs == self._settings.ca_certs
            and other._destination.is_reached_as(self._destination)
        ]
        return sorted(found, key=lambda other: other._serial)

    def flush(self, timeout: float | None = None) -> bool:
        """Try now, and wait until all that was held at the call is settled.

        Args:
            timeout: seconds to wait at the most; None means `shutdown_timeout`.

        Returns:
            Whether nothing of it is pending any more. False at once, with the try under way,
            where waiting could never end: inside fslog's own work, inside an interrupted append,
            and while the caller holds logging's module lock, which the listener may need.
        """
        seconds = self._settings.shutdown_timeout if timeout is None else timeout
        if process.is_finishing():
            if sys.is_finalizing():
                return False
            seconds = min(seconds, self._last_seconds)
        request = self._ask(seconds, once=process.is_finishing() and self._batches.is_safe())
        if request is None:
            return False
        is_empty = not (self._batches.counts()["pending"] or self._backlog)
        if not self._may_wait():
            return is_empty
        if self._await(request) or is_empty:
            return True
        if seconds >= self._settings.shutdown_timeout:
            counts = self._batches.counts()
            self._gave_up = (counts["accepted"], counts["pending"], self._clock())
        return False

    def _ask(self, seconds: float, *, once: bool = False) -> Flush | None:
        number = self._batches.seal()
        if number is None:
            return None
        return self._request(Flush(number, self._clock() + seconds, once=once))

    def _ask_last(self, number: int) -> Flush:
        # What a spool keeps is tried until the first failure only: the next process has it.
        deadline_at = self._clock() + self._last_seconds
        once = self._batches.is_safe()
        return self._request(Flush(number, deadline_at, once=once, is_last=True))

    def _request(self, request: Flush) -> Flush:
        if request.deadline_at < math.inf:
            for other in self._creditors():
                other.hurry(request.deadline_at)
        self._queue.put(request)
        if not self._listener.is_alive() and self._batches.counts()["pending"]:
            self._opened()
        return request

    def hurry(self, deadline_at: float) -> None:
        """Try what others wait for now, whatever the time of the next try is."""
        if self._debt is not None:
            self._queue.put(Flush(self._debt.number, deadline_at))

    def lend(self, deadline_at: float) -> None:
        """Do in this thread what others wait for, where no thread can."""
        if not self._listener.is_alive():
            self._listener.work_until(deadline_at)

    def _await(self, request: Flush) -> bool:
        if not self._listener.is_alive():
            for other in self._creditors():
                other.lend(request.deadline_at)
            self._listener.work_until(request.deadline_at)
        return bool(wait(request.reply, request.deadline_at - self._clock()))

    def close(self) -> None:
        """Deliver what is there, for `shutdown_timeout` at the most, and let the thread end.

        What is not delivered by then goes on being tried; when the process is at its end it is
        abandoned and reported instead.
        """
        if process.is_finishing():
            if not sys.is_finalizing():
                self.finish(self.begin_finish())
            return
        counts = self._batches.counts()
        if counts["pending"] and not self._just_gave_up(counts):
            self.flush()
        self.retire()

    def _just_gave_up(self, counts: dict[str, int]) -> bool:
        # logging.shutdown flushes and then closes: what was waited for in vain a moment ago is
        # not waited for twice.
        if self._gave_up is None:
            return False
        accepted, pending, at = self._gave_up
        same = (accepted, pending) == (counts["accepted"], counts["pending"])
        return same and self._clock() - at < _MOMENT_SECONDS

    def retire(self) -> None:
        """Let the thread end when all is settled; also a finalizer may ask for that."""
        self._listener.retire()
        if not self._batches.end_unless_used(self._let_go):
            number = self._batches.seal()
            if number is not None:
                self._debt = self._request(Flush(number, math.inf))

    def _let_go(self) -> bool:
        if self._backlog:  # taken over from others, and not read yet
            return False
        process.untrack(self)
        self._backlog.end(is_exclusive=True)
        return True

    def begin_finish(self) -> Flush | None:
        """Try everything once more, because the process ends; the time runs from here.

        Returns:
            What `finish` waits for; None from within an append on this very thread.
        """
        self._listener.worker.settle()
        number = self._batches.seal()
        return None if number is None else self._ask_last(number)

    def finish(self, request: Flush | None) -> None:
        """Wait for a last try, then abandon and report what of it is still pending."""
        is_done = False
        try:
            if request is not None and self._may_wait():
                is_done = self._await(request)
                # Later events, of callbacks that come after ours, share what is left of the time;
                # what the application itself takes is not charged.
                left = request.deadline_at - self._clock()
                self._last_seconds = min(self._last_seconds, max(0.0, left))
        finally:  # a signal handler may have ended the wait
            if not is_done:
                self._give_up(request)
        self._batches.end_unless_used(self._forget)

    def _forget(self) -> bool:
        process.untrack(self)
        return True

    def _give_up(self, request: Flush | None) -> None:
        count = self._batches.abandon(None if request is None else request.number)
        if count:
            self._report(count)
        if request is None or request.reply.empty():  # a POST is under way, and not waited for
            self._backlog.end()

    def end_thread(self) -> None:
        """Have the thread end."""
        self._listener.end()

    def _report(self, count: int) -> None:
        # Late log calls, each of which waits for its own event, may come by the thousand.
        number = self._reports.add()
        if number > 1:
            return
        reason = self._listener.last_error
        more = ", as are any after them" if number else ""
        text = (
            f"{count} events were not confirmed by {self._destination.host} before the process "
            f"ended, and are given up{more}{f': {reason}' if reason else ''}"
        )
        with internal_work(self._destination.redact):
            if notices.is_heard():
                self._say(logging.WARNING, text)
        self._write(text)

    def stats(self) -> Stats:
        """Return the numbers of this moment."""
        counts = self._batches.counts()
        skipped, invalid = self.skipped.value(), self.invalid.value()
        refused = self._batches.refused.value()
        return Stats(
            emitted=skipped + invalid + refused + counts["accepted"],
            skipped=skipped,
            invalid=invalid,
            refused=refused,
            retries=self._listener.retries.value(),
            last_error=self._listener.last_error,
            **counts,
            **({} if self._spool is None else self._spool.directory.usage(self._now())),
        )

    def _may_wait(self) -> bool:
        """Return whether blocking on the listener is safe here (no deadlock)."""
        if active_redactor() is not None or self._batches.is_locked_here():
            return False
        # The listener may need it to say something.
        lock = getattr(logging, "_lock", None)
        is_owned = getattr(lock, "_is_owned", None)
        return not (is_owned is not None and is_owned())
