"""A queue whose waits end in time, with items of threads, signal handlers and forks."""

from __future__ import annotations

import itertools
import os
import queue
import signal
import threading
import time

import pytest

from fslog.delivery.queue import WakeQueue
from processes import run


def test_items_come_in_order() -> None:
    """First in, first out, whether a thread waits for them or not."""
    inbox = WakeQueue()
    for number in range(5):
        inbox.put(number)
    assert not inbox.empty()
    assert [inbox.get(), inbox.get(0.0), inbox.get_nowait(), inbox.get(9.0), inbox.get()] == [
        *range(5)
    ]
    with pytest.raises(queue.Empty):
        inbox.get_nowait()


@pytest.mark.parametrize("timeout", [0.0, -1.0, 0.05])
def test_a_wait_in_vain_ends_in_time(timeout: float) -> None:
    """An empty queue raises at the timeout; at once for a timeout of 0."""
    inbox = WakeQueue()
    inbox.put(1)
    inbox.get()
    began_at = time.monotonic()
    with pytest.raises(queue.Empty):
        inbox.get(timeout)
    assert max(0.0, timeout) <= time.monotonic() - began_at < 5.0


@pytest.mark.parametrize("timeout", [None, 30.0, 1e300])
def test_a_waiting_thread_is_woken(timeout: float | None) -> None:
    """Whatever its timeout is, and however many items arrive before it is awake."""
    inbox = WakeQueue()
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend(inbox.get(timeout) for _ in range(100)))
    thread.start()
    for number in range(100):
        inbox.put(number)
    thread.join(20)
    assert not thread.is_alive()
    assert found == [*range(100)]


def test_no_item_is_lost_between_threads() -> None:
    """Four threads put, two get: each item arrives once."""
    inbox = WakeQueue()
    found: list[int] = []

    def take() -> None:
        while (item := inbox.get(20.0)) is not None:
            found.append(item)

    numbers = itertools.count()
    takers = [threading.Thread(target=take) for _ in range(2)]
    givers = [
        threading.Thread(target=lambda: [inbox.put(next(numbers)) for _ in range(2_000)])
        for _ in range(4)
    ]
    for thread in (*takers, *givers):
        thread.start()
    for thread in givers:
        thread.join(20)
    for _ in takers:
        inbox.put(None)
    for thread in takers:
        thread.join(20)
    assert sorted(found) == [*range(8_000)]


def test_a_signal_handler_may_put() -> None:
    """An item that it puts while the same thread waits ends the wait."""
    inbox = WakeQueue()
    before = signal.signal(signal.SIGALRM, lambda *_: inbox.put("rung"))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert inbox.get(20.0) == "rung"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def test_a_process_that_was_stopped_keeps_time() -> None:
    """Stopped until after the timeout, with a signal pending, the wait still ends."""
    program = """
    import os
    import queue
    import signal
    import sys
    import threading
    import time
    from fslog.delivery.queue import WakeQueue
    signal.signal(signal.SIGUSR1, lambda *_: None)
    inbox = WakeQueue()
    ended = threading.Event()
    def wait():
        # The signals come to this thread, as the kernel may choose; the handler runs elsewhere.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        for _ in range(200):
            try:
                inbox.get(0.002)
            except queue.Empty:
                pass
        ended.set()
    thread = threading.Thread(target=wait, daemon=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    thread.start()
    while not ended.wait(0.0005):
        signal.pthread_kill(thread.ident, signal.SIGUSR1)
    """
    run(program, "http://127.0.0.1:9")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # the runner has threads
def test_a_forked_child_can_make_a_queue() -> None:
    """A queue made in a child works, even if a lock of the parent's was held."""
    pid = os.fork()
    if pid == 0:
        inbox = WakeQueue()
        inbox.put(1)
        os._exit(0 if inbox.get(5.0) == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
