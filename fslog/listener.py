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
import sys
import threading
from collections.abc import Callable
from logging.handlers import QueueListener
from queue import Empty
from typing import Any, Final

from backoff import expo, full_jitter

from fslog.backlog import Backlog
from fslog.batches import Batch, Batches
from fslog.inbox import Inbox
from fslog.notices import Notices
from fslog.outcomes import Kind, Outcome
from fslog.ownwork import Redact, own_work
from fslog.spooled import Sealed
from fslog.stats import Counter

WAKE: Final = object()
"""An item that asks for nothing but another look at the clock."""


class Flush:
    """Ask that everything up to a batch is tried now, whatever `retry_at` says.

    Args:
        number: of the newest batch that is meant.
        deadline_at: when the asker stops waiting, monotonic.
        once: whether the asker stops waiting at the first failure.
    """

    __slots__ = ("deadline_at", "number", "once", "reply")

    def __init__(self, number: int, deadline_at: float, *, once: bool = False) -> None:
        self.number = number
        self.deadline_at = deadline_at
        self.once = once
        self.reply = Inbox()


class Listener(QueueListener):
    """Deliver batches, one at a time, the oldest first.

    Args:
        queue: the items.
        batches: accounts for the batches.
        backlog: keeps them in order until each is settled.
        post: posts a body within so many seconds (None: the usual time) and never raises.
        flush_interval: how old the open batch may get, in seconds.
        max_backoff: the longest pause between two tries, in seconds, and the pause between two
            probes of a wrong set-up.
        notices: told of every change.
        redact: takes the keys out of texts.
        clock: monotonic seconds.
        ended: called when the thread ends because nothing is left to do.
        jitter: makes a pause of a pause at random.
    """

    def __init__(
        self,
        queue: Inbox,
        batches: Batches,
        backlog: Backlog,
        post: Callable[[bytes, float | None], Outcome],
        *,
        flush_interval: float,
        max_backoff: float,
        notices: Notices,
        redact: Redact,
        clock: Callable[[], float],
        ended: Callable[[], None],
        jitter: Callable[[float], float] = full_jitter,
    ) -> None:
        super().__init__(queue)
        self._items = queue
        self._batches = batches
        self._backlog = backlog
        self._post = post
        self._flush_interval = flush_interval
        self._max_backoff = max_backoff
        self._notices = notices
        self._redact = redact
        self._clock = clock
        self._ended = ended
        self._jitter = jitter
        self._flushes: list[Flush] = []
        self._retry_at: float | None = None
        self._pauses = self._new_pauses()
        self._stale = False
        self._serving = False
        self._retired = False
        self._works_here = False
        self.retries = Counter()
        self.last_error: str | None = None

    def wake(self) -> bool:
        """Have a thread look at the clock, and start it if there is none; False if none can be.

        Called with the batches' lock held, so that no two threads are started.
        """
        if not self.is_alive():
            if sys.is_finalizing():  # a thread that is started now never runs, and is waited for
                return False
            self._serving = True
            try:
                self.start()
            except RuntimeError:  # at interpreter exit (3.12.0-3.12.2), or the system has no more
                self._serving = False
                return False
            except Exception:  # gevent: started, but its own loop's callbacks may not wait for that
                return True
        self._items.put(WAKE)
        return True

    def start(self) -> None:
        """Start the thread, a daemon: an endpoint that hangs must not keep a process alive."""
        self._thread = threading.Thread(target=self._monitor, name="fslog", daemon=True)  # type: ignore[attr-defined]
        self._thread.start()

    def is_alive(self) -> bool:
        """Tell whether somebody is serving the queue, and will be at the next item too."""
        thread = self._thread
        return self._works_here or (self._serving and thread is not None and thread.is_alive())

    def retire(self) -> None:
        """Have the thread end when nothing is pending any more; `wake` starts another."""
        self._retired = True
        self._items.put(WAKE)

    def stop(self, timeout: float | None = None) -> None:
        """Retire, and wait so many seconds for the thread to end (None: as long as it takes)."""
        self.retire()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def dequeue(self, block: bool = True) -> Any:
        """Return the next item, `WAKE` when an instant comes first, None to end the thread."""
        with own_work(self._redact):
            if self._retired and not self._backlog and self._batches.end_unless_used(self._end):
                return None
            return self._next(self._instant() if block else self._clock())

    def _end(self) -> bool:
        self._serving = False
        # Whoever asks for something puts it on the queue first and then looks whether the thread
        # serves; we look the other way round, so that one of the two sees the other.
        if not self._items.empty():
            self._serving = True
            return False
        self._retired = False
        self._ended()
        return True

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
            instants.append(self._clock() if self._retry_at is None else self._retry_at)
        if self._backlog.look_at is not None:
            instants.append(self._backlog.look_at)
        return min(instants, default=None)

    def handle(self, item: Any) -> None:
        """Take one item, then do what is due: seal, post once. Never raises.

        An exception out of here would end the thread for good, so even a mistake of ours only
        costs a pause.
        """
        self._work(item, None)

    def _work(self, item: Any, deadline_at: float | None) -> None:
        try:
            with own_work(self._redact):
                self._backlog.look()
                self._take(item)
                # All that came meanwhile, too: a POST may take long, and packed it is small.
                for _ in range(self._items.qsize()):
                    self._take(self._next(self._clock()))
                self._seal_if_due()
                self._post_if_due(deadline_at)
        except Exception as error:
            self.last_error = self._redact(f"internal error: {type(error).__name__}: {error}")
            self._retry_at = self._clock() + self._max_backoff
            self._notices.down(self.last_error, self._pending(), self._max_backoff)
            self._answer_flushes()

    def work_until(self, deadline_at: float) -> None:
        """Do the thread's work in this one, where no thread can be, until all is settled.

        One at a time: where somebody does it already, nothing is done here. Two would post a
        batch twice, or one before another.
        """
        lent: list[bool] = []

        def lend() -> None:  # with the batches' lock held, as a thread starts and ends
            if not self.is_alive():
                self._works_here = True
                lent.append(True)

        self._batches.exclusively(lend)
        if not lent:
            return
        try:
            while self._pending() and self._clock() < deadline_at:
                instant = self._instant()
                at = deadline_at if instant is None else min(instant, deadline_at)
                self._work(self._next(at), deadline_at)
                if self._retry_at is not None and self._retry_at >= deadline_at:
                    break
            self.take_rest()
        finally:
            self._batches.exclusively(self._give_back)

    def _give_back(self) -> None:
        self._works_here = False
        if self._pending():  # logged meanwhile, and told that somebody serves
            self.wake()

    def take_rest(self) -> None:
        """Take what is on the queue without posting: notices are said, flushes answered."""
        with own_work(self._redact):
            while (item := self._next(self._clock())) is not WAKE or not self._items.empty():
                self._take(item)

    def _take(self, item: Any) -> None:
        if isinstance(item, (Batch, Sealed)):
            self._backlog.add(item)
        elif isinstance(item, Flush):
            self._flushes.append(item)
            self._retry_at = None
            self._pauses = self._new_pauses()
            self._answer_flushes()
        elif callable(item):
            item()

    def _aging_since(self) -> float | None:
        """Return when the open batch was opened, if it is to be sealed when it is old enough."""
        return None if self._backlog and self._batches.grows_old() else self._batches.seal_at()

    def _seal_if_due(self) -> None:
        opened_at = self._aging_since()
        if opened_at is not None and self._clock() - opened_at >= self._flush_interval:
            self._batches.seal()

    def _post_if_due(self, deadline_at: float | None) -> None:
        if self._retry_at is not None and self._clock() < self._retry_at:
            return
        batch = self._backlog.head()
        if batch is None:
            self._answer_flushes()
            return
        left = None if deadline_at is None else max(0.001, deadline_at - self._clock())
        outcome = self._post(batch.body or b"", left)
        {
            Kind.DELIVERED: self._delivered,
            Kind.RETRY: self._retry,
            Kind.TOO_LARGE: self._too_large,
            Kind.WRONG: self._wrong,
        }[outcome.kind](batch, outcome)
        self._answer_flushes()

    def _delivered(self, batch: Batch, outcome: Outcome) -> None:
        self._backlog.delivered()
        self._again_at_once()
        self._notices.up()
        self._tell_if_emptied()

    def _retry(self, batch: Batch, outcome: Outcome) -> None:
        self._failed(outcome)
        if outcome.stale and not self._stale:
            self._stale = True
            return
        pause = max(self._jitter(next(self._pauses)), outcome.retry_after or 0.0)
        self._retry_at = self._clock() + pause
        self._notices.down(outcome.reason, self._pending(), self._max_backoff)

    def _wrong(self, batch: Batch, outcome: Outcome) -> None:
        self._failed(outcome)
        self._retry_at = self._clock() + self._max_backoff
        self._notices.wrong(outcome.reason, self._pending(), self._max_backoff)

    def _too_large(self, batch: Batch, outcome: Outcome) -> None:
        self._failed(outcome)
        self._again_at_once()
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

    def _again_at_once(self) -> None:
        self._retry_at = None
        self._stale = False
        self._pauses = self._new_pauses()

    def _answer_flushes(self) -> None:
        """Tell each asker what it waits for, or that it waits in vain."""
        oldest = self._backlog.oldest()
        if oldest is None and any(flush.once for flush in self._flushes):
            self._backlog.last_look()
            oldest = self._backlog.oldest()
        kept = []
        for flush in self._flushes:
            if oldest is None or oldest > flush.number:
                flush.reply.put(True)
            elif max(self._retry_at or 0.0, self._clock()) >= flush.deadline_at or (
                flush.once and self._retry_at is not None
            ):
                flush.reply.put(False)
                if flush.once:  # the process ends: a POST now would be cut short, and made again
                    self._retry_at = math.inf
            else:
                kept.append(flush)
        self._flushes = kept

    def _tell_if_emptied(self) -> None:
        if not self._pending():
            self._notices.emptied(self._batches.refused.value())

    def _pending(self) -> int:
        return self._batches.counts()["pending"]

    def _new_pauses(self) -> Any:
        pauses = expo(max_value=self._max_backoff)
        next(pauses)  # backoff's generators yield None first
        return pauses
