"""The delivery of one handler in one process: buffer, backlog, listener, transport, counters.

A forked child gets a new one, so that it has no line, lock or connection of its parent. It may be
used after `close`: a thread runs whenever there is something to deliver, and only then.
"""

from __future__ import annotations

import itertools
import logging
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

from fslog import process
from fslog.config import Settings
from fslog.config.loggers import is_locked_here
from fslog.counters import Counter, Health, RecordCounters, Stats
from fslog.delivery import notices
from fslog.delivery.backlog import Backlog
from fslog.delivery.buffer import Buffer, wait
from fslog.delivery.health import Ages, health_of
from fslog.delivery.listener import Flush, Listener
from fslog.delivery.queue import WakeQueue
from fslog.delivery.rejects import Rejects
from fslog.delivery.store import Store
from fslog.errors import Problem
from fslog.net.destination import Destination
from fslog.net.redaction import active_redactor, internal_work
from fslog.net.retry import Outcome

_MOMENT_SECONDS = 1.0
"""How long after a flush that timed out `close` does not wait for the same events again."""

_POLL_SECONDS = 0.2
"""How often a log call that waits for room tries again, because other processes may make room."""

_LOOK_SECONDS = 5.0
"""How long `health` uses what it has found in the store."""

_serials = itertools.count()


def _append_nothing(line: bytes) -> bool:
    return False


class Posting(Protocol):
    """The part of `fslog.net.transport.Transport` that a delivery uses."""

    def post(self, body: bytes, timeout: float | None = None) -> Outcome: ...

    def close(self) -> None: ...


class _Parts(NamedTuple):
    queue: WakeQueue
    buffer: Buffer
    backlog: Backlog
    listener: Listener


class Delivery(RecordCounters):
    """Accept lines, deliver them, and account for them.

    Args:
        destination: of the events; notices contain its host.
        transport: posts bodies.
        settings: of the handler.
        store: holds lines outside of memory; None for memory alone.
        clock: monotonic seconds.
        now: seconds since the epoch.
        say: reports a notice.
        write: writes a line to stderr when the process ends.
        is_forked: whether the handler was created by a parent process, which adopts orphans, too.
    """

    def __init__(
        self,
        destination: Destination,
        transport: Posting,
        settings: Settings,
        *,
        store: Store | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        say: notices.Log = notices.log,
        write: Callable[[str], None] = notices.write_stderr,
        is_forked: bool = False,
    ) -> None:
        super().__init__()
        self._destination = destination
        self._transport = transport
        self._settings = settings
        self._clock = clock
        self._now = now
        self._say = say
        self._write = write
        self._notices = notices.Notices(destination.host, say, clock)
        self._is_forked = is_forked
        rejects = settings.rejects
        self._rejects = None if rejects is None else Rejects(rejects, self._rejects_failed)
        self._store = Store() if store is None else store
        self._serial = next(_serials)
        self._last_flush: Flush | None = None
        self._shutdown_seconds = settings.shutdown_timeout
        self._timed_out: tuple[int, int, float] | None = None
        self._reports = Counter()
        self._store_error = ""
        self._was_low = False
        self._invalid_at: float | None = None
        self._looked: tuple[float, float | None] | None = None
        self.append: Callable[[bytes], bool] = _append_nothing
        """Append a line if there is room; if it returns False, call `submit`."""

    @property
    def _parts(self) -> _Parts:
        # Queue, lock and listener are made when they are first needed, not at the fork or before:
        # gevent may patch what they are made of in between.
        return self._made() or self._make()

    def _made(self) -> _Parts | None:
        return self.__dict__.get("parts")

    def _make(self) -> _Parts:
        made: _Parts = self.__dict__.setdefault("parts", self._new_parts())  # atomic: one set wins
        if process.is_finishing():
            self.end_soon()
        else:
            self.append = made.buffer.append
        return made

    def _new_parts(self) -> _Parts:
        settings = self._settings
        encoding, level = settings.compression, settings.compression_level
        queue = WakeQueue()
        buffer = Buffer(
            queue,
            self._opened,
            store=self._store,
            failed=self._store_failed,
            batch_events=settings.batch_events,
            batch_bytes=settings.batch_bytes,
            buffer_bytes=settings.buffer_bytes,
            clock=self._clock,
        )
        source = self._store.source(buffer, self._notices, self._now)
        backlog = Backlog(
            buffer,
            encoding,
            level,
            aggregate=settings.aggregate,
            sample=self._notices.names.sample,
            source=source,
            clock=self._clock,
            is_forked=self._is_forked,
        )
        reread_keys = None
        if self._destination.has_key_files():
            reread_keys = partial(self._reread_keys, buffer)
        listener = Listener(
            queue,
            buffer,
            backlog,
            self._transport.post,
            flush_interval=settings.flush_interval,
            aggregate=settings.aggregate,
            max_backoff=settings.max_backoff,
            notices=self._notices,
            redact=self._destination.redact,
            clock=self._clock,
            ended=lambda: self._ended(backlog),
            begun=lambda: process.track(self),
            closed=lambda: self._closed(backlog),
            is_turn=self._is_turn,
            reread_keys=reread_keys,
        )
        return _Parts(queue, buffer, backlog, listener)

    def _reread_keys(self, buffer: Buffer) -> bool:
        if not self._destination.reread_keys():
            return False
        self._store.use_keys(self._destination.keys_digest(), buffer.locked)
        return True

    def begin(self) -> None:
        """Lock out other keys and adopt orphans, which must not wait for a log call."""
        if self._store.prepare():
            self._opened()

    def watch(self) -> None:
        """Start a thread that adopts the segments that forked children will leave.

        A child that ends before a POST is answered cannot deliver by itself.
        """
        if not self._store.is_durable or process.is_finishing():
            return
        if not self._parts.listener.is_alive():
            self._opened()

    def close_inherited(self) -> None:
        """Close what a fork copied, in the child."""
        self._store.close_inherited()
        if made := self._made():
            made.buffer.close_inherited()
            made.listener.worker.abandon()

    def end_soon(self) -> None:
        """Deliver every later line within its own log call, because the process ends."""
        self.append = _append_nothing
        if made := self._made():
            made.buffer.close()

    def submit(self, line: bytes) -> bool:
        """Accept a line; count it as refused and return False if there is no room in time."""
        if process.is_finishing():
            return self._submit_late(line)
        if self._parts.buffer.append(line):
            return True
        seconds = self._settings.block_timeout
        if seconds is not None and self.may_wait():
            poll = _POLL_SECONDS if self._store.is_durable else None
            if self._parts.buffer.wait_for_room(line, seconds, poll):
                return True
        if process.is_finishing():  # meanwhile
            return self._submit_late(line)
        self._parts.buffer.refuse()
        shortage = self._store.shortage()
        self._was_low = bool(shortage)
        if self._notices.is_first("low" if shortage else "full"):
            if shortage:
                self.run_on_listener(lambda: self._notices.low(shortage))
            else:
                refused = self._parts.buffer.refused.value()
                self.run_on_listener(lambda: self._notices.full(refused, *self.bound()))
        return False

    def bound(self) -> tuple[str, int]:
        """Return the name and the value of the argument that bounds what is held now."""
        name = self._parts.buffer.bound()
        return name, getattr(self._settings, name)

    def shortage(self) -> str:
        """Return why there is no room, in words."""
        name, limit_bytes = self.bound()
        return self._store.shortage() or f"{name} ({limit_bytes}) are in use"

    def _store_failed(self, error: Exception | None) -> None:
        # Called with the buffer's lock held: the listener reports it.
        if error is not None:
            self._store_error = getattr(error, "strerror", None) or str(error)
            self._parts.queue.put(lambda: self._notices.spool_failed(error))
        else:
            self._parts.queue.put(self._notices.spool_works)

    def _submit_late(self, line: bytes) -> bool:
        """Accept a line after the last flush of the process, and deliver it at once.

        While the interpreter shuts down that is impossible: no thread runs any more, and one that
        was stopped may hold a lock for ever. So no lock is acquired.
        """
        if sys.is_finalizing():
            if self._parts.buffer.write_during_shutdown(line):
                return True
            why = "came too late, when the interpreter was shutting down, and is lost"
        elif (number := self._parts.buffer.append_late(line)) is not None:
            if number:
                self.finish(self._ask_last(number))
            return True
        else:
            full = "the disk" if self._store.shortage() else self.bound()[0]
            why = f"is refused when the process ends, because {full} is full"
        self._parts.buffer.refuse()
        if self._notices.is_first("late"):
            self._write(f"an event for {self._destination.host} {why}, as are any after it")
        return False

    def run_on_listener(self, notice: Callable[[], None]) -> None:
        """Call a function on the listener thread; it is not called if that cannot run any more.

        The log call that it reports adds only one item to the queue.
        """
        self._parts.queue.put(notice)
        if not self._parts.listener.is_alive():
            self._opened()

    def reject(self) -> None:
        """Count an invalid event."""
        self._invalid_at = self._clock()
        self.invalid.add()

    def keep_rejected(self, line: bytes) -> None:
        """Have the line of an invalid event written to the reject file."""
        if self._rejects is None:
            return
        if process.is_finishing():  # no thread may come to it any more
            self._rejects.add(line, lambda write: write())
        else:
            self._rejects.add(line, self.run_on_listener)

    def _write_rejects(self) -> None:
        """Write in this thread what waits for the listener, which may be busy with a POST."""
        if self._rejects is not None:
            self._rejects.write()

    def _rejects_failed(self, error: OSError) -> None:
        with internal_work(self._destination.redact):
            self._notices.rejects_failed(error)

    def report_problem(self, problem: Problem, record: logging.LogRecord) -> None:
        """Report a problem of an event with its call site: the first of its kind only."""
        where = notices.call_site(record)
        code, message = problem.code, problem.message
        if self._notices.is_first(problem.kind):
            self.run_on_listener(lambda: self._notices.problem(code, message, where))

    def _opened(self) -> bool:
        process.track(self)
        # A thread that is started when the process ends may never begin; `_await` works instead.
        if process.is_finishing() and not self._parts.listener.is_alive():
            return False
        return self._parts.listener.wake()

    def _ended(self, backlog: Backlog) -> None:
        process.untrack(self)
        backlog.end(is_exclusive=True)
        self._transport.close()

    def _closed(self, backlog: Backlog) -> None:
        backlog.end()
        self._transport.close()

    def _is_turn(self) -> bool:
        return not self._predecessors()

    def _predecessors(self) -> list[Delivery]:
        """Return the deliveries with older events of this process for the same endpoint.

        After a second `dictConfig` the previous delivery may still have something to deliver.

        Returns:
            The oldest first.
        """
        found = [
            other
            for other in process.tracked()
            if isinstance(other, Delivery)
            and other._serial < self._serial
            and other._last_flush is not None
            and other._last_flush.reply.empty()
            and other._settings.ca_certs == self._settings.ca_certs
            and other._destination.is_reached_as(self._destination)
        ]
        return sorted(found, key=lambda other: other._serial)

    def flush(self, timeout: float | None = None) -> bool:
        """Attempt delivery now, and wait until everything that was pending at the call is settled.

        Args:
            timeout: the most seconds to wait; None means `shutdown_timeout`.

        Returns:
            Whether none of it is pending any more. False at once if waiting could never end:
            inside internal work, inside an interrupted append, or while the caller holds
            logging's module lock, which the listener may need.
        """
        seconds = self._settings.shutdown_timeout if timeout is None else timeout
        if process.is_finishing():
            if sys.is_finalizing():
                return False
            seconds = min(seconds, self._shutdown_seconds)
        request = self._ask(seconds)
        if request is None:
            return False
        is_empty = not (self._parts.buffer.counts()["pending"] or self._parts.backlog)
        if not self.may_wait():
            return is_empty
        if self._await(request) or is_empty:
            return True
        if seconds >= self._settings.shutdown_timeout:
            counts = self._parts.buffer.counts()
            self._timed_out = (counts["accepted"], counts["pending"], self._clock())
        return False

    def _ask(self, seconds: float) -> Flush | None:
        number = self._seal()
        if number is None:
            return None
        once = process.is_finishing() and self._parts.buffer.is_durable()
        leaves = once and self._store.is_followed()
        return self._request(Flush(number, self._clock() + seconds, once=once, leaves=leaves))

    def _seal(self) -> int | None:
        if process.is_finishing() and self._store.is_followed():
            # First, so that a batch that is to be left is not posted before the flush says so.
            self._parts.queue.put(self._parts.listener.pause)
        return self._parts.buffer.seal()

    def _ask_last(self, number: int) -> Flush:
        # With a spool the first failure ends the attempts: the next process delivers the rest, and
        # if one waits for it already, it sends the events of many processes together.
        deadline_at = self._clock() + self._shutdown_seconds
        once = self._parts.buffer.is_durable()
        leaves = once and self._store.is_followed()
        request = Flush(number, deadline_at, once=once, leaves=leaves, is_last=True)
        return self._request(request)

    def _request(self, request: Flush) -> Flush:
        if request.deadline_at < math.inf:
            for other in self._predecessors():
                other.expedite(request.deadline_at)
        self._parts.queue.put(request)
        if not self._parts.listener.is_alive() and self._parts.buffer.counts()["pending"]:
            self._opened()
        return request

    def expedite(self, deadline_at: float) -> None:
        """Attempt now what a later delivery waits for, regardless of `retry_at`."""
        if self._last_flush is not None:
            self._parts.queue.put(Flush(self._last_flush.number, deadline_at))

    def work_until(self, deadline_at: float) -> None:
        """Deliver in this thread what a later delivery waits for, if no thread can run."""
        if not self._parts.listener.is_alive():
            self._parts.listener.work_until(deadline_at)

    def _await(self, request: Flush) -> bool:
        if not self._parts.listener.is_alive():
            for other in self._predecessors():
                other.work_until(request.deadline_at)
            self._parts.listener.work_until(request.deadline_at)
        return bool(wait(request.reply, request.deadline_at - self._clock()))

    def close(self) -> None:
        """Deliver what is pending, within `shutdown_timeout`, and let the thread end.

        The rest is still attempted after that; if the process ends, it is abandoned and reported.
        """
        if process.is_finishing():
            if not sys.is_finalizing():
                self.finish(self.begin_finish())
            return
        self._write_rejects()
        counts = self._parts.buffer.counts()
        if counts["pending"] and not self._just_timed_out(counts):
            self.flush()
        self.retire()

    def _just_timed_out(self, counts: dict[str, int]) -> bool:
        # logging.shutdown flushes and then closes: the same events are not waited for twice.
        if self._timed_out is None:
            return False
        accepted, pending, at = self._timed_out
        same = (accepted, pending) == (counts["accepted"], counts["pending"])
        return same and self._clock() - at < _MOMENT_SECONDS

    def retire(self) -> None:
        """Let the thread end when everything is settled. A finalizer may call this."""
        self._parts.listener.retire()
        if not self._parts.buffer.end_unless_used(self._end_if_empty):
            number = self._parts.buffer.seal()
            if number is not None:
                self._last_flush = self._request(Flush(number, math.inf))

    def _end_if_empty(self) -> bool:
        if self._parts.backlog:  # adopted, and not loaded yet
            return False
        process.untrack(self)
        self._parts.backlog.end(is_exclusive=True)
        return True

    def begin_finish(self) -> Flush | None:
        """Attempt everything once more, because the process ends. The time starts here.

        Returns:
            What `finish` waits for; None inside an append of this very thread.
        """
        self._parts.listener.worker.wait_begun()
        self._write_rejects()
        number = self._seal()
        return None if number is None else self._ask_last(number)

    def finish(self, request: Flush | None) -> None:
        """Wait for the last attempt, then abandon and report what is still pending."""
        is_done = False
        try:
            if request is not None and self.may_wait():
                is_done = self._await(request)
                # Events of later exit callbacks share the rest of the time; the time that the
                # application itself needs does not count.
                left = request.deadline_at - self._clock()
                self._shutdown_seconds = min(self._shutdown_seconds, max(0.0, left))
        finally:  # a signal handler may have ended the wait
            if not is_done:
                self._abandon_rest(request)
        self._parts.buffer.end_unless_used(self._forget)

    def _forget(self) -> bool:
        process.untrack(self)
        return True

    def _abandon_rest(self, request: Flush | None) -> None:
        count = self._parts.buffer.abandon(None if request is None else request.number)
        if count:
            self._report(count)
        if request is None or request.reply.empty():  # a POST is still under way
            self._parts.backlog.end()

    def end_thread(self) -> None:
        """Make the thread end."""
        self._parts.listener.end()

    def _report(self, count: int) -> None:
        # There may be thousands of late log calls, each of which waits for its own event.
        number = self._reports.add()
        if number > 1:
            return
        reason = self._parts.listener.last_error
        more = ", and any after them" if number else ""
        text = (
            f"abandoned {notices.counted(count, 'event')} that {self._destination.host} did not "
            f"confirm before the process ended{more}{f': {reason}' if reason else ''}"
        )
        with internal_work(self._destination.redact):
            if notices.is_visible():
                self._say(logging.WARNING, text)
        self._write(text)

    def stats(self) -> Stats:
        """Return the current counts."""
        counts = self._parts.buffer.counts()
        refused = self._parts.buffer.refused.value()
        return Stats(
            **self.numbers(refused=refused, accepted=counts["accepted"]),
            retries=self._parts.listener.retries.value(),
            last_error=self._parts.listener.last_error,
            **counts,
            **self._store.usage(self._now()),
        )

    def health(self) -> Health:
        """Return whether events arrive, and if not, why; waits for no lock and no thread."""
        listener, buffer, now = self._parts.listener, self._parts.buffer, self._clock()
        ages = Ages(
            last_delivery_age=_age(listener.delivered_at, now),
            oldest_waiting_age=self._oldest_waiting_age(now),
            outage_age=_age(listener.outage_since, now),
            misconfigured_age=_age(listener.misconfigured_since, now),
            spool_failed_age=_age(buffer.failing_since, now),
            refused_age=_age(buffer.refused_at, now),
            abandoned_age=_age(listener.abandoned_at, now),
            invalid_age=_age(self._invalid_at, now),
        )
        return health_of(
            ages,
            host=self._destination.host,
            bound=self.bound(),
            min_free=str(self._settings.spool_min_free) if self._store.shortage() else "",
            was_low=self._was_low,
            last_error=listener.last_error or "",
            store_error=self._store_error,
            is_durable=self._store.is_durable,
        )

    def _oldest_waiting_age(self, now: float) -> float | None:
        oldest_at = self._parts.backlog.oldest_at()
        if oldest_at is None:
            oldest_at = self._parts.buffer.open_since()
        stored_at = self._oldest_stored_at(now)
        found = [at for at in (oldest_at, stored_at) if at is not None]
        return _age(min(found, default=None), now)

    def _oldest_stored_at(self, now: float) -> float | None:
        """Return when the oldest segment was written, monotonic, as of a few seconds ago."""
        if not self._store.is_durable:
            return None
        looked = self._looked
        if looked is None or now - looked[0] > _LOOK_SECONDS:
            age = self._store.usage(self._now()).get("spool_oldest_age")
            looked = self._looked = (now, None if age is None else now - age)
        return looked[1]

    def may_wait(self) -> bool:
        """Return whether blocking on the listener is safe here (no deadlock)."""
        if active_redactor() is not None or self._parts.buffer.is_locked_here():
            return False
        # The listener may need that lock to log a notice.
        return not is_locked_here()


def _age(at: float | None, now: float) -> float | None:
    return None if at is None else max(0.0, now - at)
