"""Sending what dead processes left in a spool, by a handler that nothing is logged to.

All of it is the handler's own work: it takes over what nobody holds, sends it in order, removes
what was answered 200, and leaves the segments of living processes alone.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fslog.cli.spool.spools import Contents, Share, look
from fslog.handler import FreshsuccessHandler
from fslog.stats import Stats

_TICK_SECONDS = 0.2
_MAX_BACKOFF_SECONDS = 5.0


@dataclass(frozen=True)
class Drained:
    """What came of it.

    Args:
        stats: of the handler.
        left: the shares that still wait, and that no other process sees to.
        living: the shares of living processes that have segments.
        set_aside: how many files were added to the quarantine.
        seconds: how long it took.
        interrupt: what ended it before its time; None for nothing.
    """

    stats: Stats
    left: tuple[Share, ...]
    living: tuple[Share, ...]
    set_aside: int
    seconds: float
    interrupt: KeyboardInterrupt | None


def drain(
    before: Contents,
    patience: float,
    tell: Callable[[Stats], None],
    **given: Any,
) -> Drained:
    """Send what dead processes left, until nothing is left, nothing moves any more, or Ctrl-C.

    Args:
        before: what was found in the directory.
        patience: seconds without a delivery after which it is given up.
        tell: called with the handler's numbers a few times a second, from another thread.
        given: further arguments for `FreshsuccessHandler`.

    Raises:
        TypeError, ValueError: as `FreshsuccessHandler` does.
    """
    began_at = time.monotonic()
    handler = FreshsuccessHandler(
        spool=before.path,
        enabled=True,
        max_backoff=_MAX_BACKOFF_SECONDS,
        shutdown_timeout=0.0,
        **given,
    )
    interrupt: KeyboardInterrupt | None = None
    is_settled = False
    try:
        try:
            with _telling(handler, tell):
                is_settled = _wait(handler, before.path, patience)
        except KeyboardInterrupt as error:
            interrupt = error
        stats = handler.stats()
    finally:
        handler.close()
    after = look(before.path)
    # What was taken over and could not be sent is still held by this very process.
    ours = () if is_settled else [share.owner for share in before.waiting(living=False)]
    living = after.waiting(living=True)
    return Drained(
        stats,
        left=(*after.waiting(living=False), *(share for share in living if share.owner in ours)),
        living=tuple(share for share in living if share.owner not in ours),
        set_aside=len(
            {one.name for one in after.set_aside} - {one.name for one in before.set_aside}
        ),
        seconds=time.monotonic() - began_at,
        interrupt=interrupt,
    )


def _wait(handler: FreshsuccessHandler, path: str, patience: float) -> bool:
    """Wait until nothing of the dead is left; tell whether all that was taken over is settled."""
    delivered, moved_at = 0, time.monotonic()
    while True:
        # Twice: at the first call the handler may not have looked yet, and so hold nothing.
        is_settled = handler.flush(patience) and handler.flush(patience)
        if is_settled and not look(path).waiting(living=False):
            return True
        stats = handler.stats()
        if stats.delivered > delivered:
            delivered, moved_at = stats.delivered, time.monotonic()
        elif time.monotonic() - moved_at >= patience or not is_settled:
            return is_settled
        # More than one process takes over at a time, or what rests because others died over it.
        time.sleep(_TICK_SECONDS)


@contextlib.contextmanager
def _telling(handler: FreshsuccessHandler, tell: Callable[[Stats], None]) -> Iterator[None]:
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(_TICK_SECONDS):
            tell(handler.stats())

    thread = threading.Thread(target=repeat, name="fslog progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
