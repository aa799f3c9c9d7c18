"""Sealed batches → bodies → POSTs, in order, in one background thread.

A `logging.handlers.QueueListener` whose items are batches. It sleeps until a batch comes, the
open batch is old enough to be sealed, or the time has come to try again. Backoff is an instant,
not a sleep: while it waits to retry it goes on taking and compressing batches, and a flush or
the end of the process finds it listening.

The queue's other items are requests: `Flush`, and functions, which say something about what
happened in a log call, where saying it would have cost the application's thread.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from logging.handlers import QueueListener
from queue import Empty
from typing import Any, Final

from fslog.delivery.backlog import Backlog
from fslog.delivery.buffer import Buffer
from fslog.delivery.notices import Notices
from fslog.delivery.queue import WakeQueue
from fslog.delivery.store import Batch
from fslog.delivery.worker import Start, Token, Worker, start_thread
from fslog.interrupts import Suppressed, unless_interrupt
from fslog.net import redaction
from fslog.net.redaction import Redact, internal_work
from fslog.net.retry import Backoff, Kind, Outcome, full_jitter
from fslog.process import IN_SUBINTERPRETER
from fslog.stats import Counter

_TURN_SECONDS = 0.05
"""How often a listener whose turn it is not looks again."""

WAKE: Final = object()
"""An item that asks for nothing but another look at the clock."""


class Flush:
    """Ask that everything up to a batch is tried now, whatever `retry_at` says.

    Args:
        number: of the newest batch that is meant.
        deadline_at: when the asker stops waiting, monotonic.
        once: whether the asker stops waiting at the first failure.
        is_last: whether the process ends, so that files and connections are to be closed.
    """

    __slots__ = ("deadline_at", "is_last", "number", "once", "reply")

    def __init__(
        self, number: int, deadline_at: float, *, once: bool = False, is_last: bool = False
    ) -> None:
        self.number = number
        self.deadline_at = deadline_at
        self.once = once
        self.is_last = is_last
        self.reply = WakeQueue()


class Listener(QueueListener):
    """Deliver batches, one at a time, the oldest first.

    Args:
        queue: the items.
        buffer: accounts for the batches.
        backlog: keeps them in order until each is settled.
        post: posts a body within so many seconds (None: the usual time) and never raises.
        flush_interval: how old the open batch may get, in seconds.
        max_backoff: the longest pause between two tries, in seconds, and the pause between two
            probes of a wrong set-up.
        notices: told of every change.
        redact: takes the keys out of texts.
        clock: monotonic seconds.
        ended: called when the thread ends because nothing is left to do.
        begun: called when the thread goes on, because something came while it was ending.
        closed: called before the last flush of a process is answered.
        is_turn: returns whether this listener may post, or others have older events.
        jitter: makes a pause of a pause at random.
        start: starts a bare thread.
        is_brief: whether the thread ends each time that nothing is pending, as it has to where a
            thread that waits for something to do would be in the way of an end.
    """

    def __init__(
        self,
        queue: WakeQueue,
        buffer: Buffer,
        backlog: Backlog,
        post: Callable[[bytes, float | None], Outcome],
        *,
        flush_interval: float,
        max_backoff: float,
        notices: Notices,
        redact: Redact,
        clock: Callable[[], float],
        ended: Callable[[], None],
        begun: Callable[[], None] = lambda: None,
        closed: Callable[[], None] = lambda: None,
        is_turn: Callable[[], bool] = lambda: True,
        jitter: Callable[[float], float] = full_jitter,
        start: Start = start_thread,
        is_brief: bool = IN_SUBINTERPRETER,
    ) -> None:
        super().__init__(queue)
        self._items = queue
        self._buffer = buffer
        self._backlog = backlog
        self._post = post
        self._flush_interval = flush_interval
        self._max_backoff = max_backoff
        self._notices = notices
        self._redact = redact
        self._clock = clock
        self._ended = ended
        self._begun = begun
        self._closed = closed
        self._is_turn = is_turn
        self._backoff = Backoff(max_backoff, jitter)
        self._received: deque[Any] = deque()
        self._flushes: list[Flush] = []
        self._retry_at: float | None = None
        self._turn_at: float | None = None
        self._is_brief = self._retired = is_brief
        self._token: object = None
        self.worker = Worker(self._serve, start=start)
        self.retries = Counter()
        self.last_error: str | None = None

    def wake(self) -> bool:
        """Have a thread look at the clock, and start it if there is none; False if none can be.

        Waits for nothing; may be called from anywhere.
        """
        if not self.worker.ensure():
            return False
        self._items.put(WAKE)
        return True

    def start(self) -> None:
        """Start the thread, unless there is one."""
        self.worker.ensure()

    def is_alive(self) -> bool:
        """Return whether somebody serves the queue, and will be at the next item too."""
        return self.worker.is_served()

    def retire(self) -> None:
        """Have the thread end when nothing is pending any more; `wake` starts another."""
        self._retired = True
        self._items.put(WAKE)

    def stop(self, timeout: float | None = None) -> None:
        """Retire, and wait so many seconds for the thread to end (None: as long as it takes)."""
        self.retire()
        self.worker.wait(timeout)

    def end(self) -> None:
        """Have the thread end, whatever is pending, and start no other."""
        self.worker.end()
        self._items.put(WAKE)

    def _serve(self, token: Token) -> None:
        self._token = token
        if token.is_spare:  # perhaps nothing is left to do, and nobody to say that it may end
            self._retired = True
        while self.worker.serves(token):
            item = self.dequeue()
            if item is None:
                return
            self._received.append(item)
            self._work(None, token)

    def dequeue(self, block: bool = True) -> Any:
        """Return the next item, `WAKE` when an instant comes first, None to end the thread."""
        with internal_work(self._redact):
            is_over = self._retired and not (self._backlog or self._received)
            if is_over and self._buffer.end_unless_used(self._end):
                return None
            return self._next(self._instant() if block else self._clock())

    def _end(self) -> bool:
        if not self._items.empty():
            return False
        token = self._token  # another's, as soon as this one is released
        self._ended()
        self._retired = self._is_brief
        self.worker.release(token)
        # Producers enqueue, then check whether the thread serves; the thread gives its role back,
        # then checks the queue: one side always notices.
        if self._items.empty() or not self.worker.claim(token):
            return True
        self._retired = True
        self._begun()
        return False

    def _next(self, at: float | None) -> Any:
        timeout = None if at is None else max(0.0, at - self._clock())
        try:
            if timeout is None:
                return self._items.get()
            if timeout == 0.0:
                return self._items.get_nowait()
            return self._items.get(timeout=min(timeout, threading.TIMEOUT_MAX))
        except Empty:
            return WAKE

    def _instant(self) -> float | None:
        """Return when something is to be done that no item announces; None for never."""
        instants = []
        opened_at = self._aging_since()
        if opened_at is not None:
            instants.append(opened_at + self._flush_interval)
        if self._backlog:
            at = [at for at in (self._turn_at, self._retry_at) if at is not None]
            instants.append(max(at, default=self._clock()))
        if self._backlog.adopt_at is not None:
            instants.append(self._backlog.adopt_at)
        if self._received:
            instants.append(self._retry_at or self._clock())
        return min(instants, default=None)

    def handle(self, item: Any) -> None:
        """Take one item, then do what is due: seal, post once. Never raises.

        An exception out of here would end the thread for good, so even a mistake of ours only
        costs a pause.
        """
        self._received.append(item)
        self._work(None, None)

    def _work(self, deadline_at: float | None, token: object) -> None:
        with internal_work(self._redact):
            for step in (
                self._look,  # first: a flush means what it finds, too
                self._take_received,
                self._seal_if_due,
                lambda: self._post_if_due(deadline_at, token),
            ):
                try:
                    step()
                except unless_interrupt(Exception) as error:
                    self._failed_inside(error)

    def _failed_inside(self, error: Exception) -> None:
        self.last_error = self._redact(f"internal error: {type(error).__name__}: {error}")
        self._retry_at = self._clock() + self._max_backoff
        self._notices.down(self.last_error, self._pending(), self._max_backoff)
        with Suppressed(Exception):  # the same mistake, perhaps
            self._answer_flushes()

    def _take_received(self) -> None:
        """Take what came off the queue, in order; what fails stays there for the next time."""
        # All that came meanwhile, too: a POST may take long, and packed it is small.
        self._items.move_to(self._received)
        while self._received:
            item = self._received[0]
            if callable(item):
                self._received.popleft()
                item()
            else:
                self._take(item)
                self._received.popleft()

    def _look(self) -> None:
        try:
            self._backlog.adopt_if_due()
        except unless_interrupt(Exception) as error:
            # It is made again; what is here can be posted meanwhile.
            self.last_error = self._redact(f"internal error: {type(error).__name__}: {error}")

    def work_until(self, deadline_at: float) -> None:
        """Do the thread's work in this one, where no thread can be, until all is settled.

        One at a time: where somebody does it already, nothing is done here. Two would post a
        batch twice, or one before another.
        """
        token, mark = object(), redaction.current_mark()
        try:
            if not self.worker.claim(token):
                return
            while self._pending() and self._clock() < deadline_at:
                instant = self._instant()
                at = deadline_at if instant is None else min(instant, deadline_at)
                self._items.wait(max(0.0, at - self._clock()))
                self._work(deadline_at, token)
                if self._retry_at is not None and self._retry_at >= deadline_at:
                    break
            self.take_rest()
        except BaseException:
            self._backlog.interrupted()
            raise
        finally:
            try:
                self.worker.release(token)
            finally:  # once more: what a signal handler raises may be in the way of the first
                self.worker.release(token)
                redaction.restore_mark(mark)
                if self._pending():  # logged meanwhile, and told that somebody serves
                    self.wake()

    def take_rest(self) -> None:
        """Take what is on the queue without posting: notices are said, flushes answered."""
        with internal_work(self._redact):
            self._take_received()

    def _take(self, item: Any) -> None:
        if item is WAKE:
            return
        if not isinstance(item, Flush):
            self._backlog.add(item)
            return
        if item not in self._flushes:
            self._flushes.append(item)
        self._retry_at = self._turn_at = None
        self._backoff.reset()
        self._answer_flushes()

    def _aging_since(self) -> float | None:
        """Return when the open batch was opened, if it is to be sealed when it is old enough."""
        return None if self._backlog and self._buffer.may_stay_open() else self._buffer.seal_at()

    def _seal_if_due(self) -> None:
        opened_at = self._aging_since()
        if opened_at is not None and self._clock() - opened_at >= self._flush_interval:
            self._buffer.seal()

    def _post_if_due(self, deadline_at: float | None, token: object) -> None:
        if self._retry_at is not None and self._clock() < self._retry_at:
            return
        batch = self._backlog.head()
        if batch is None:
            self._answer_flushes()
            return
        self._turn_at = None if self._is_turn() else self._clock() + _TURN_SECONDS
        if self._turn_at is not None:
            self._answer_flushes()
            return
        if token is not None and not self.worker.serves(token):
            return
        left = None if deadline_at is None else max(0.001, deadline_at - self._clock())
        outcome = self._post(batch.body or b"", left)
        self._backlog.posted()
        pause = self._backoff.pause_after(outcome)
        self._retry_at = None if pause is None else self._clock() + pause
        {
            Kind.DELIVERED: self._delivered,
            Kind.RETRY: self._retry,
            Kind.TOO_LARGE: self._too_large,
            Kind.MISCONFIGURED: self._misconfigured,
        }[outcome.kind](batch, outcome)
        self._answer_flushes()

    def _delivered(self, batch: Batch, outcome: Outcome) -> None:
        self._backlog.delivered()
        self._notices.up()
        self._tell_if_emptied()

    def _retry(self, batch: Batch, outcome: Outcome) -> None:
        self._failed(outcome)
        if self._retry_at is not None:
            self._notices.down(outcome.reason, self._pending(), self._max_backoff)

    def _misconfigured(self, batch: Batch, outcome: Outcome) -> None:
        self._failed(outcome)
        self._notices.misconfigured(outcome.reason, self._pending(), self._max_backoff)

    def _too_large(self, batch: Batch, outcome: Outcome) -> None:
        self._failed(outcome)
        if batch.events > 1:
            body_bytes = len(batch.body or b"")
            self._backlog.split()
            self._notices.split(body_bytes)
        else:
            is_kept = self._backlog.abandon(outcome.reason)
            self._notices.abandoned_one(batch.encoded_bytes, is_kept)
            self._tell_if_emptied()

    def _failed(self, outcome: Outcome) -> None:
        self.last_error = outcome.reason
        self.retries.add()

    def _answer_flushes(self) -> None:
        """Tell each asker what it waits for, or that it waits in vain."""
        oldest = self._backlog.oldest()
        if oldest is None and any(flush.once for flush in self._flushes):
            self._backlog.adopt_last()
            oldest = self._backlog.oldest()
        kept = []
        for flush in self._flushes:
            if oldest is None or oldest > flush.number:
                self._answer(flush, not (self._backlog.is_uncertain and self._pending()))
            elif max(self._retry_at or 0.0, self._clock()) >= flush.deadline_at or (
                flush.once and self._retry_at is not None
            ):
                self._answer(flush, False)
                if flush.once:  # the process ends: a POST now would be cut short, and made again
                    self._retry_at = math.inf
            else:
                kept.append(flush)
        self._flushes = kept

    def _answer(self, flush: Flush, is_done: bool) -> None:
        try:
            if flush.is_last:
                self._closed()
        finally:
            flush.reply.put(is_done)

    def _tell_if_emptied(self) -> None:
        if not self._pending():
            self._notices.emptied(self._buffer.refused.value())

    def _pending(self) -> int:
        return self._buffer.counts()["pending"]
