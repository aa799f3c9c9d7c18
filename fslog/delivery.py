"""All that one handler has in one process: batches, listener, transport, counters.

Made anew in a forked child, which so starts from nothing: no line of its parent's, no lock that
another thread held, no connection that is shared. Whoever holds a delivery may go on using it
after `close`; a thread is there whenever there is something to deliver, and only then.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from fslog import lifecycle, notices
from fslog.batches import Batches, wait
from fslog.destination import Destination
from fslog.errors import Problem
from fslog.listener import Flush, Listener
from fslog.outcomes import Outcome
from fslog.ownwork import own_work, redaction
from fslog.stats import Counter, Stats


@dataclass(frozen=True)
class Settings:
    """The numbers of a delivery; README, "Configuration", says what each is for."""

    encoding: str | None
    level: int
    batch_events: int
    batch_bytes: int
    flush_interval: float
    buffer_bytes: int
    block_timeout: float | None
    max_backoff: float
    shutdown_timeout: float


class Delivery:
    """Take lines, deliver them, and account for them.

    Args:
        destination: where to; only shown by its host.
        post: posts a body, see `fslog.transport.Transport.post`.
        settings: the numbers.
        clock: monotonic seconds.
        say: where notices go.
    """

    def __init__(
        self,
        destination: Destination,
        post: Callable[[bytes, float | None], Outcome],
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
        say: notices.Say = notices.say,
        write: Callable[[str], None] = notices.write_stderr,
    ) -> None:
        self._destination = destination
        self._settings = settings
        self._clock = clock
        self._say = say
        self._write = write
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._notices = notices.Notices(destination.host, say, clock)
        self._batches = Batches(
            self._queue,
            self._opened,
            batch_events=settings.batch_events,
            batch_bytes=settings.batch_bytes,
            buffer_bytes=settings.buffer_bytes,
            clock=clock,
        )
        self._listener = Listener(
            self._queue,
            self._batches,
            post,
            encoding=settings.encoding,
            level=settings.level,
            flush_interval=settings.flush_interval,
            max_backoff=settings.max_backoff,
            notices=self._notices,
            redact=destination.redact,
            clock=clock,
            ended=lambda: lifecycle.let_go(self),
        )
        self._working = threading.Lock()
        self._finishing: Flush | None = None
        self._finish_by: float | None = None
        self._gave_up: tuple[int, int] | None = None
        self.skipped = Counter()
        self.invalid = Counter()

    def put(self, line: bytes) -> bool:
        """Take a line; False, counted, where there is no room, and none in time either."""
        if self._batches.append(line):
            return True
        seconds = self._settings.block_timeout
        if seconds is not None and _may_wait() and self._batches.wait_for_room(line, seconds):
            return True
        self._batches.refused.add()
        if self._notices.is_first("full"):
            refused, buffer_bytes = self._batches.refused.value(), self._settings.buffer_bytes
            self.tell(lambda: self._notices.full(refused, buffer_bytes))
        return False

    def tell(self, notice: Callable[[], None]) -> None:
        """Have something said by the listener thread; where there is none it is not said.

        The log call that it is about pays for no more than a queue item.
        """
        self._queue.put(notice)
        if not self._listener.is_alive():
            self._batches.exclusively(self._opened)

    def tell_problem(self, problem: Problem, record: logging.LogRecord) -> None:
        """Have a problem of an event said, the first of its kind, with the place of its call."""
        where = f"{record.name} ({record.filename}:{record.lineno})"
        code, name, message = problem.code, problem.property, problem.message
        if self._notices.is_first(f"{code} {name}"):
            self.tell(lambda: self._notices.problem(code, message, where))

    def _opened(self) -> None:
        lifecycle.hold(self)
        self._listener.wake()

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
        if self._finish_by is not None:
            seconds = min(seconds, max(0.0, self._finish_by - self._clock()))
        request = self._ask(seconds)
        if request is None:
            return False
        if not _may_wait():
            return not self._batches.counts()["pending"]
        return self._await(request)

    def _ask(self, seconds: float) -> Flush | None:
        number = self._batches.seal()
        if number is None:
            return None
        request = Flush(number, self._clock() + seconds)
        if self._listener.is_alive():
            self._queue.put(request)
        elif self._batches.counts()["pending"]:
            self._queue.put(request)
            self._batches.exclusively(self._opened)
        else:
            self._listener.take_rest()
            request.reply.put(True)
        return request

    def _await(self, request: Flush) -> bool:
        if not self._listener.is_alive() and self._working.acquire(blocking=False):
            try:
                self._listener.work_until(request.deadline_at)
            finally:
                self._working.release()
        settled = wait(request.reply, request.deadline_at - self._clock())
        return bool(settled)

    def close(self) -> None:
        """Deliver what is there, for `shutdown_timeout` at the most, and let the thread end.

        What is not delivered by then goes on being tried; when the process is at its end it is
        abandoned and reported instead.
        """
        if lifecycle.is_finishing():
            self.finish()
            return
        counts = self._batches.counts()
        tried = (counts["accepted"], counts["pending"])
        # logging.shutdown flushes and then closes: what was waited for in vain just now is not
        # waited for twice.
        if counts["pending"] and tried != self._gave_up and not self.flush():
            counts = self._batches.counts()
            self._gave_up = (counts["accepted"], counts["pending"])
        self.retire()

    def retire(self) -> None:
        """Let the thread end when all is settled; also a finalizer may ask for that."""
        self._listener.retire()
        if not self._batches.counts()["pending"]:
            lifecycle.let_go(self)

    def begin_finish(self) -> None:
        """Try everything once more, because the process ends; the time runs from here."""
        if self._finish_by is None:
            self._finish_by = self._clock() + self._settings.shutdown_timeout
        self._finishing = self._ask(max(0.0, self._finish_by - self._clock()))

    def finish(self) -> None:
        """Wait for the last try, then abandon and report what is still pending."""
        if self._finishing is None:
            self.begin_finish()
        request, self._finishing = self._finishing, None
        if request is not None and _may_wait():
            self._await(request)
        count = self._batches.abandon()
        if count:
            self._report(count)
        lifecycle.let_go(self)

    def _report(self, count: int) -> None:
        reason = self._listener.last_error
        text = (
            f"{count} events were not confirmed by {self._destination.host} before the process "
            f"ended, and are given up{f': {reason}' if reason else ''}"
        )
        with own_work(self._destination.redact):
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
        )


def _may_wait() -> bool:
    """Tell whether this thread may wait for the listener without waiting for itself."""
    if redaction() is not None:
        return False
    lock = getattr(logging, "_lock", None)
    is_owned = getattr(lock, "_is_owned", None)
    return not (is_owned is not None and is_owned())
