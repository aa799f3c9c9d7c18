"""Sealed batches → bodies → POSTs, in order, in one background thread.

A `logging.handlers.QueueListener` whose items are batches. It waits until a batch arrives, the open
batch is old enough to be sealed, or it is time for the next attempt. The other items of its queue
are `Flush` requests, and functions that report what happened in a log call, which costs the
application's thread nothing.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from logging.handlers import QueueListener
from queue import Empty
from typing import Any, Final

from fslog.counters import Counter
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

_GAP_SECONDS = 0.2
"""The least time between the starts of two POSTs of small batches: a process posts five times a
second at most, unless batches are full."""

_TURN_SECONDS = 0.05
"""How often a listener checks again whether it may post before an older one has finished."""

WAKE: Final = object()
"""An item that only makes the listener check the clock."""


class Flush:
    """A request to attempt everything up to a batch now, regardless of `retry_at`.

    Args:
        number: of the newest batch that is included.
        deadline_at: when the caller stops waiting, monotonic.
        once: whether the caller stops waiting at the first failure.
        leaves: whether to attempt nothing, but let a POST that is under way end, because another
            process sends what is left.
        is_last: whether the process ends, so that files and connections are closed.
    """

    __slots__ = ("deadline_at", "is_last", "leaves", "number", "once", "reply")

    def __init__(
        self,
        number: int,
        deadline_at: float,
        *,
        once: bool = False,
        leaves: bool = False,
        is_last: bool = False,
    ) -> None:
        self.number: int = number
        self.deadline_at: float = deadline_at
        self.once: bool = once or leaves
        self.leaves: bool = leaves
        self.is_last: bool = is_last
        self.reply: WakeQueue = WakeQueue()


class Listener(QueueListener):
    """Deliver batches, one at a time, the oldest first.

    Args:
        queue: of items.
        buffer: accounts for the batches.
        backlog: keeps them in order until each is settled.
        post: posts a body, never raises; its second argument is the timeout in seconds, None for
            the transport's own.
        flush_interval: the greatest age of the open batch, in seconds.
        aggregate: within how many seconds equal events are merged: the open batch becomes as old,
            even if nothing else waits; None if they are not.
        max_backoff: the longest pause between two attempts, in seconds, and the pause after an
            answer that means a configuration error.
        notices: reports changes of state.
        redact: removes the keys from a text.
        clock: monotonic seconds.
        ended: called when the thread ends because nothing is left to do.
        begun: called if the thread continues, because an item arrived while it was ending.
        closed: called before the last flush of a process is answered.
        is_turn: returns whether this listener may post; False while others have older events.
        reread_keys: called if the endpoint rejects the keys; reads them again from their files, and
            returns whether there are other ones (`ValueError`: they cannot be read). None if they
            are not in files.
        jitter: returns a random part of a pause.
        start: starts a bare thread.
        is_brief: whether the thread ends whenever nothing is pending, as it must in a
            sub-interpreter, whose end an idle thread would prevent.
    """

    def __init__(
        self,
        queue: WakeQueue,
        buffer: Buffer,
        backlog: Backlog,
        post: Callable[[bytes, float | None], Outcome],
        *,
        flush_interval: float,
        aggregate: float | None = None,
        max_backoff: float,
        notices: Notices,
        redact: Redact,
        clock: Callable[[], float],
        ended: Callable[[], None],
        begun: Callable[[], None] = lambda: None,
        closed: Callable[[], None] = lambda: None,
        is_turn: Callable[[], bool] = lambda: True,
        reread_keys: Callable[[], bool] | None = None,
        jitter: Callable[[float], float] = full_jitter,
        start: Start = start_thread,
        is_brief: bool = IN_SUBINTERPRETER,
    ) -> None:
        super().__init__(queue)
        self._items = queue
        self._buffer = buffer
        self._backlog = backlog
        self._post = post
        self._flush_interval = max(flush_interval, aggregate or 0.0)
        self._aggregate = aggregate
        self._max_backoff = max_backoff
        self._notices = notices
        self._redact = redact
        self._clock = clock
        self._ended = ended
        self._begun = begun
        self._closed = closed
        self._is_turn = is_turn
        self._reread_keys = reread_keys
        self._backoff = Backoff(max_backoff, jitter)
        self._received: deque[Any] = deque()
        self._flushes: list[Flush] = []
        self._retry_at: float | None = None
        self._turn_at: float | None = None
        self._posted_at = -math.inf
        self._is_brief = self._retired = is_brief
        self._token: object = None
        self.worker: Worker = Worker(self._serve, start=start)
        self.retries: Counter = Counter()
        self.last_error: str | None = None
        self.delivered_at: float | None = None
        """When a body was delivered last."""
        self.outage_since: float | None = None
        """When a POST failed first since then, of those that are repeated after a pause."""
        self.misconfigured_since: float | None = None
        """When the endpoint rejected the keys first since then."""
        self.abandoned_at: float | None = None
        """When a single event was abandoned last."""

    def wake(self) -> bool:
        """Make a thread check the clock; start one if none runs, return False if none can start.

        Waits for nothing, and may be called from anywhere.
        """
        if not self.worker.ensure():
            return False
        self._items.put(WAKE)
        return True

    def start(self) -> None:
        """Start the thread, unless it runs."""
        self.worker.ensure()

    def is_alive(self) -> bool:
        """Return whether a thread serves the queue, and will serve the next item, too."""
        return self.worker.is_served()

    def retire(self) -> None:
        """Let the thread end when nothing is pending any more; `wake` starts another one."""
        self._retired = True
        self._items.put(WAKE)

    def pause(self) -> None:
        """Attempt nothing until a flush that does not leave it; only the thread may call this."""
        self._retry_at = math.inf

    def stop(self, timeout: float | None = None) -> None:
        """Retire, and wait at most so many seconds for the thread to end (None: no limit)."""
        self.retire()
        self.worker.wait(timeout)

    def end(self) -> None:
        """End the thread, even if something is pending, and start no other."""
        self.worker.end()
        self._items.put(WAKE)

    def _serve(self, token: Token) -> None:
        self._token = token
        if token.is_spare:  # there may be nothing to do, and nothing else retires it
            self._retired = True
        while self.worker.serves(token):
            item = self.dequeue()
            if item is None:
                return
            self._received.append(item)
            self._work(None, token)

    def dequeue(self, block: bool = True) -> Any:
        """Return the next item, `WAKE` if an instant comes first, None to end the thread."""
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
        # Producers enqueue, then check whether the thread serves; the thread releases its role,
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
        """Return when something is due that no item announces; None for never."""
        instants = []
        seal_at = self._seal_at()
        if seal_at is not None:
            instants.append(seal_at)
        if self._backlog:
            at = [at for at in (self._turn_at, self._retry_at) if at is not None]
            instants.append(max(at, default=self._clock()))
        if self._backlog.adopt_at is not None:
            instants.append(self._backlog.adopt_at)
        if self._received:
            instants.append(self._retry_at or self._clock())
        return min(instants, default=None)

    def handle(self, item: Any) -> None:
        """Process one item, then do what is due: seal, post once. Never raises.

        An exception would end the thread, so even an internal error only costs a pause.
        """
        self._received.append(item)
        self._work(None, None)

    def _work(self, deadline_at: float | None, token: object) -> None:
        with internal_work(self._redact):
            for step in (
                self._adopt,  # first: a flush includes what it adopts
                self._process_received,
                self._forget,
                self._seal_if_due,
                lambda: self._post_if_due(deadline_at, token),
            ):
                try:
                    step()
                except unless_interrupt(Exception) as error:
                    self._report_internal_error(error)

    def _report_internal_error(self, error: Exception) -> None:
        self.last_error = self._redact(f"internal error: {type(error).__name__}: {error}")
        self._retry_at = self._clock() + self._max_backoff
        self._begin_outage()
        self._notices.down(self.last_error, self._pending(), self._max_backoff)
        with Suppressed(Exception):  # perhaps the same error
            self._answer_flushes()

    def _process_received(self) -> None:
        """Process received items in order; one that fails stays for the next time."""
        # Also what has arrived since: a POST may take long, and compressed batches are small.
        self._items.move_to(self._received)
        while self._received:
            item = self._received[0]
            if callable(item):
                self._received.popleft()
                item()
            else:
                self._process(item)
                self._received.popleft()

    def _adopt(self) -> None:
        try:
            self._backlog.adopt_if_due()
        except unless_interrupt(Exception) as error:
            # Adoption is attempted again; what is here can be posted meanwhile.
            self.last_error = self._redact(f"internal error: {type(error).__name__}: {error}")

    def _forget(self) -> None:
        if self._backlog.is_to_forget and not self._received:
            self._backlog.forget()

    def work_until(self, deadline_at: float) -> None:
        """Do the thread's work in the calling one, if no thread can run, until all is settled.

        If another thread does it already, return: two would post a batch twice or out of order.
        """
        token, mark = object(), redaction.current_mark()
        try:
            if not self.worker.claim(token):
                return
            self._work_while_pending(deadline_at, token)
            self.process_rest()
        except BaseException:
            self._backlog.interrupted()
            raise
        finally:
            try:
                self.worker.release(token)
            finally:  # again: a signal handler may have raised inside the first call
                self.worker.release(token)
                redaction.restore_mark(mark)
                if self._pending():  # logged meanwhile, by a call that found the role taken
                    self.wake()

    def _work_while_pending(self, deadline_at: float, token: object) -> None:
        # A function of its own, as `Buffer._empty_parked` is.
        while self._pending() and self._clock() < deadline_at:
            instant = self._instant()
            at = deadline_at if instant is None else min(instant, deadline_at)
            self._items.wait(max(0.0, at - self._clock()))
            self._work(deadline_at, token)
            if self._retry_at is not None and self._retry_at >= deadline_at:
                break

    def process_rest(self) -> None:
        """Process what is on the queue without posting: report notices, answer flushes."""
        with internal_work(self._redact):
            self._process_received()

    def _process(self, item: Any) -> None:
        if item is WAKE:
            return
        if not isinstance(item, Flush):
            self._backlog.add(item)
            return
        if item not in self._flushes:
            self._flushes.append(item)
        self._turn_at = None
        self._retry_at = math.inf if item.leaves else None
        self._backoff.reset()
        self._answer_flushes()

    def _seal_at(self) -> float | None:
        """Return when the open batch is to be sealed; None if only a later line will do it.

        As Nagle's algorithm (RFC 896) does it: what is alone leaves at once, and while a POST is
        under way others gather, since this thread is the one that posts. What is on disk is not in
        a hurry: it cannot be lost, and if each process of a job, which ends by `os._exit`, began
        its own POST, most events would be sent twice. Nor is what may be merged with later events.
        """
        opened_at = self._buffer.open_since()
        if opened_at is None or (self._backlog and self._buffer.may_stay_open()):
            return None
        latest_at = opened_at + self._flush_interval
        if self._backlog or self._aggregate is not None or self._buffer.is_stored():
            return latest_at
        return min(latest_at, self._posted_at + _GAP_SECONDS)

    def _seal_if_due(self) -> None:
        seal_at = self._seal_at()
        if seal_at is not None and self._clock() >= seal_at:
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
        self._posted_at = self._clock()
        left = None if deadline_at is None else max(0.001, deadline_at - self._posted_at)
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
        self.delivered_at = self._clock()
        self.outage_since = self.misconfigured_since = None
        self._backlog.delivered()
        self._notices.up()
        self._report_if_empty()

    def _retry(self, batch: Batch, outcome: Outcome) -> None:
        self._failed(outcome)
        if self._retry_at is not None:
            self._begin_outage()
            self._notices.down(outcome.reason, self._pending(), self._max_backoff)

    def _begin_outage(self) -> None:
        if self.outage_since is None:
            self.outage_since = self._clock()

    def _misconfigured(self, batch: Batch, outcome: Outcome) -> None:
        self._failed(outcome)
        if self.misconfigured_since is None:
            self.misconfigured_since = self._clock()
        reason = outcome.reason
        if self._reread_keys is not None:
            try:
                if self._reread_keys():
                    self._retry_at = None
                    self._notices.rekeyed()
                    return
            except unless_interrupt(ValueError) as error:
                reason = self.last_error = self._redact(f"{reason}; {error}")
        in_files = self._reread_keys is not None
        self._notices.misconfigured(reason, self._pending(), self._max_backoff, in_files=in_files)

    def _too_large(self, batch: Batch, outcome: Outcome) -> None:
        self._failed(outcome)
        if batch.events > 1:
            body_bytes = len(batch.body or b"")
            self._backlog.split()
            self._notices.split(body_bytes)
        else:
            is_kept = self._backlog.abandon(outcome.reason)
            if not is_kept:
                self.abandoned_at = self._clock()
            self._notices.abandoned_one(batch.encoded_bytes, is_kept)
            self._report_if_empty()

    def _failed(self, outcome: Outcome) -> None:
        self.last_error = outcome.reason
        self.retries.add()

    def _answer_flushes(self) -> None:
        """Answer each flush that is settled, and each that cannot be before its deadline."""
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
                if flush.once:  # the process ends, which would interrupt another POST
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

    def _report_if_empty(self) -> None:
        if not self._pending():
            self._notices.emptied(self._buffer.refused.value())

    def _pending(self) -> int:
        return self._buffer.counts()["pending"]
