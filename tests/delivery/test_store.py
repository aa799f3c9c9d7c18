"""The protocol between buffer and store: a third store, which fails at random, loses nothing."""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fslog.delivery.backlog import Backlog
from fslog.delivery.buffer import Buffer
from fslog.delivery.notices import Notices
from fslog.delivery.queue import WakeQueue
from fslog.delivery.store import Accounts, Batch, OpenBatch, Source, Store
from fslog.net import wire


class Shelf(Store):
    """Keeps lines in a dictionary by batch; any of its methods may fail.

    Args:
        check: called before everything that may fail; raises `OSError` to let it fail.
    """

    bound = "shelf_bytes"
    is_durable = True

    def __init__(self, check: Callable[[], None]) -> None:
        self.check = check
        self.lines: dict[int, list[bytes]] = {}

    def open(self, number: int, size_bytes: int, unused: OpenBatch | None) -> OpenBatch:
        self.check()
        opened: Any = unused or OnShelf(number, self)
        opened.claimed_bytes = size_bytes
        return opened  # type: ignore[no-any-return]

    def write_alone(self, number: int, line: bytes) -> Shelved:
        self.check()
        self.lines[number] = [line]
        return Shelved(number, 1, len(line))

    def usage(self, now: float) -> Mapping[str, Any]:
        return {"spool_segments": len(self.lines)}

    def source(self, accounts: Accounts, notices: Notices, now: Callable[[], float]) -> Source:
        return ShelfSource(self, accounts)


class OnShelf(OpenBatch):
    """A batch on a shelf while lines are appended to it."""

    bound = Shelf.bound

    def __init__(self, number: int, shelf: Shelf) -> None:
        super().__init__(number)
        self.shelf = shelf
        self.shelf.lines[number] = []
        self.write = self._write
        self.claimed_bytes = 0

    def _write(self, line: bytes) -> None:
        self.shelf.check()
        self.shelf.lines[self.number].append(line)

    def room_bytes(self, free_bytes: int) -> int:
        return self.claimed_bytes

    def extend(self, encoded_bytes: int, free_bytes: int) -> bool:
        self.shelf.check()
        self.claimed_bytes = encoded_bytes
        return True

    def seal(self, lines: list[bytes], encoded_bytes: int) -> Shelved:
        return Shelved(self.number, len(lines), encoded_bytes)

    def discard(self) -> None:
        assert self.shelf.lines.pop(self.number) == []


class Shelved:
    """A sealed batch on a shelf; also what waits there, since it is loaded in one piece."""

    held_bytes = 0
    is_adopted = False

    def __init__(self, number: int, events: int, stored_bytes: int) -> None:
        self.number = number
        self.events = events
        self.stored_bytes = stored_bytes
        self.settled = self.is_queued = False


class Taken:
    """The room that a loaded batch still occupies on its shelf."""

    is_adopted = False

    def __init__(self, source: ShelfSource, shelved: Shelved, batches: list[Batch]) -> None:
        self.source = source
        self.shelved = shelved
        self.batches = batches

    def release(self, batch: Batch) -> None:
        self.batches.remove(batch)
        if not self.batches:
            del self.source.shelf.lines[self.shelved.number]
            self.source.accounts.removed(self.shelved.stored_bytes)

    def divide(self, batch: Batch, halves: list[Batch]) -> None:
        at = self.batches.index(batch)
        self.batches[at : at + 1] = halves
        for half in halves:
            half.stored = self


class ShelfSource(Source):
    """Loads one batch of a shelf at a time."""

    reads_back = True

    def __init__(self, shelf: Shelf, accounts: Accounts) -> None:
        self.shelf = shelf
        self.accounts = accounts

    def enqueue(self, sealed: Any, waiting: deque[Any]) -> None:
        if not sealed.is_queued:
            waiting.append(sealed)
            sealed.is_queued = True

    def load(self, waiting: deque[Any], loaded: deque[Batch]) -> None:
        self.shelf.check()
        pending = waiting[0]
        lines = list(self.shelf.lines[pending.number])
        batch = Batch(lines, sum(map(len, lines)), pending.number)
        batch.stored = Taken(self, pending, [batch])
        batch.pack("deflate", 1)
        self.accounts.load([batch], pending.events)
        loaded.append(batch)
        pending.settled = True


class Case:
    """A buffer and a backlog on a shelf that fails with some probability."""

    def __init__(self, seed: int, failures: float) -> None:
        self.random = random.Random(seed)
        self.failures = failures
        self.shelf = Shelf(self.check)
        self.queue = WakeQueue()
        self.news: list[Exception | None] = []
        self.nested: list[bytes] = []
        self.delivered: list[int] = []
        self.buffer = Buffer(
            self.queue,
            self.opened,
            store=self.shelf,
            failed=self.news.append,
            batch_events=5,
            batch_bytes=100,
            buffer_bytes=10**6,
            clock=lambda: 0.0,
        )
        notices = Notices("host", lambda level, text: None, lambda: 0.0)
        source = self.shelf.source(self.buffer, notices, lambda: 0.0)
        self.backlog = Backlog(self.buffer, "deflate", 1, source=source)

    def check(self) -> None:
        if self.random.random() < self.failures:
            raise OSError("the shelf fails")

    def opened(self) -> bool:
        """Log what the test requested, as a finalizer may during an append."""
        while self.nested:
            assert self.buffer.append(self.nested.pop())
        return True

    def post(self, outcome: str) -> None:
        """Deliver or split the next batch, or leave it pending."""
        while not self.queue.empty():
            self.backlog.add(self.queue.get_nowait())
        try:
            batch = self.backlog.head()
        except OSError:
            return
        if batch is None or outcome == "retry":
            return
        if outcome == "split" and batch.events > 1:
            self.backlog.split()
            return
        text = wire.unpack(batch.body or b"", "deflate")
        self.delivered += map(int, text.split())
        self.backlog.delivered()

    def finish(self) -> None:
        """Deliver everything, on a shelf that works again."""
        self.failures = 0.0
        self.buffer.seal()
        while self.buffer.counts()["pending"]:
            self.post("deliver")


ACTIONS = ["append"] * 6 + ["append, interrupted", "seal", "retry", "split", "deliver", "deliver"]


@given(st.lists(st.sampled_from(ACTIONS), max_size=120), st.integers(0, 9), st.integers(0, 2**32))
def test_a_store_that_fails_at_random_loses_nothing(
    actions: list[str], tenths: int, seed: int
) -> None:
    """Every line is delivered once, in order, and the counts balance, whatever fails."""
    case = Case(seed, tenths / 10)
    logged = 0
    nested: set[int] = set()
    for action in actions:
        if action.startswith("append"):
            if "interrupted" in action:
                logged += 1
                nested.add(logged)
                case.nested.append(b"%d\n" % logged)
            logged += 1
            assert case.buffer.append(b"%d\n" % logged)
        elif action == "seal":
            case.buffer.seal()
        else:
            case.post(action)
        counts = case.buffer.counts()
        assert counts["pending"] == counts["accepted"] - counts["delivered"]
    never_run = {int(line) for line in case.nested}
    case.nested.clear()
    case.finish()
    assert [n for n in case.delivered if n not in nested] == [
        n for n in range(1, logged + 1) if n not in nested
    ]
    assert sorted(case.delivered) == [n for n in range(1, logged + 1) if n not in never_run]
    assert case.shelf.lines == {}
    assert case.shelf.used_bytes == 0
    assert case.buffer._held_bytes == 0
    # A recovery is reported once, and after a failure only.
    assert (None, None) not in itertools.pairwise([None, *case.news])


def test_a_failing_store_is_tried_again_for_each_batch() -> None:
    """While it fails, lines wait in memory, bounded by the buffer; then it is used again."""
    case = Case(0, failures=1.0)
    assert case.buffer.append(b"1\n")
    assert case.buffer.bound() == "buffer_bytes"
    assert not case.buffer.is_durable()
    case.failures = 0.0
    assert case.buffer.append(b"2\n")
    assert case.buffer.bound() == "buffer_bytes"
    case.buffer.seal()
    assert case.buffer.append(b"3\n")
    assert case.buffer.bound() == Shelf.bound
    assert [list(map(int, lines)) for lines in case.shelf.lines.values()] == [[3]]
    case.finish()
    assert case.delivered == [1, 2, 3]
    assert [one is None for one in case.news] == [False, True]
