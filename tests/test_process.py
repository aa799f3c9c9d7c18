"""How a process forks and ends: what is finished, by which process, and when."""

from __future__ import annotations

import atexit
import ctypes
import gc
import logging
import mmap
import multiprocessing.process
import multiprocessing.util
import os
import signal
import sys
import threading
import types
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fslog import FreshsuccessHandler, process
from fslog.collector import Answer, Collector
from fslog.process import fork_flag


class Witness:
    """A handler and delivery that records its calls in a pipe, which works in children too."""

    def __init__(self, name: str, pipe: int, tracks_when_forked: bool = False) -> None:
        self._name = name
        self.pipe = pipe
        self._tracks_when_forked = tracks_when_forked

    def _write(self, what: str) -> None:
        os.write(self.pipe, f"{self._name} {what}\n".encode())

    def close_inherited(self) -> None:
        self._write("closes what it inherited")

    def after_fork(self) -> None:
        self._write("is forked")
        if self._tracks_when_forked:
            process.track(self)

    def after_fork_in_parent(self) -> None:
        """Do nothing: these tests are about children."""

    def end_soon(self) -> None:
        """Do nothing: these tests are about deliveries."""

    def begin_finish(self) -> None:
        self._write("begins")

    def finish(self, request: object) -> None:
        self._write("ends")

    def end_thread(self) -> None:
        self._write("ends its thread")


class Heard:
    """The calls that witnesses recorded."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)

    def witness(self, name: str, tracks_when_forked: bool = False) -> Witness:
        """Return a new witness."""
        return Witness(name, self._writing, tracks_when_forked)

    def since(self) -> list[str]:
        """Return the calls since the last time."""
        try:
            return os.read(self._reading, 65_536).decode().splitlines()
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._reading)
        os.close(self._writing)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """Replace the state of `fslog.process`, so that forks and ends can be simulated."""
    monkeypatch.setattr(process, "_handlers", type(process._handlers)())
    monkeypatch.setattr(process, "_tracked", {})
    monkeypatch.setattr(process, "_finalizer", None)
    monkeypatch.setattr(process, "_finalizer_pid", 0)
    monkeypatch.setattr(process, "_finishing_pid", 0)
    heard = Heard()
    yield heard
    if process._finalizer is not None:
        process._finalizer.cancel()
    heard.close()


def forked(work: Callable[[], Any]) -> int:
    """Run a function in a forked child; return 0 if it returned."""
    with warnings.catch_warnings():
        # From 3.12 on, for the other threads of this process; the child uses nothing of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1]


def test_every_delivery_begins_to_finish_before_any_is_waited_for(heard: Heard) -> None:
    """Every tracked delivery begins to finish before any is waited for."""
    one, other, gone = (heard.witness(name) for name in ("one", "other", "gone"))
    for delivery in (one, gone, other):
        process.track(delivery)
    process.untrack(gone)
    process.untrack(gone)
    process.finish_all()
    assert heard.since() == ["one begins", "other begins", "one ends", "other ends"]


def test_a_child_of_a_finishing_process_is_not_finishing(heard: Heard) -> None:
    """`finish_all` marks only its own process: a child forked at its end is not finishing."""
    assert not process.is_finishing()
    process.finish_all()
    assert process.is_finishing()

    def check() -> None:
        assert not process.is_finishing()

    assert forked(check) == 0


def test_handlers_deliver_at_the_end_of_a_process(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pending events are delivered then, and the event of a later log call before it returns."""
    log = logging.Logger("app")
    extra = {"accountId": "a", "userId": "u", "action": "counted"}
    threads = set(threading.enumerate())
    with Collector() as collector:
        collector.always(Answer(delay=0.5))  # so that the events are pending
        handlers = [
            FreshsuccessHandler(auth_key="a", api_key="b", endpoint=collector.url) for _ in range(2)
        ]
        for handler in handlers:
            log.addHandler(handler)
        log.info("said", extra=extra)
        assert [handler.stats().pending for handler in handlers] == [1, 1]
        process.finish_all()
        assert [handler.stats().delivered for handler in handlers] == [1, 1]
        assert len(collector.events) == 2
        log.info("said by a callback that the interpreter calls later", extra=extra)
        assert len(collector.events) == 4
        monkeypatch.setattr(process, "_finishing_pid", 0)  # this process goes on, after all
        monkeypatch.setattr(process, "_finished_pid", 0)
        for handler in handlers:
            handler.close()
            assert handler.stats().delivered == 2
        for thread in set(threading.enumerate()) - threads:
            if thread.name == "fslog":
                thread.join(10)
                assert not thread.is_alive()
    assert process._tracked == {}


def test_a_forked_child_delivers_nothing_of_its_parents(heard: Heard) -> None:
    """In a child every handler is called, and the parent's deliveries are left to the parent."""
    held, member = heard.witness("held"), heard.witness("member")
    own = heard.witness("own", tracks_when_forked=True)
    process.track(held)
    process.register(member)
    assert forked(process.finish_all) == 0
    assert heard.since() == ["held closes what it inherited", "member is forked"]
    process.register(own)
    assert forked(process.finish_all) == 0
    words = ["held closes what it inherited", "member is forked"]
    assert sorted(heard.since()) == [*words, "own begins", "own ends", "own is forked"]
    process.finish_all()
    assert heard.since() == ["held begins", "held ends"]


def test_an_exception_in_one_finish_does_not_stop_the_others(heard: Heard) -> None:
    """If a signal handler raises SystemExit, the others finish before it propagates."""

    class Interrupted(Witness):
        def finish(self, request: object) -> None:
            super().finish(request)
            raise SystemExit(3)

    broken = Interrupted("broken", heard.witness("other").pipe)
    for member in (broken, heard.witness("second"), heard.witness("third")):
        process.track(member)
    with pytest.raises(SystemExit) as caught:
        process.finish_all()
    assert caught.value.code == 3
    told = heard.since()
    assert sorted(told[:3]) == ["broken begins", "second begins", "third begins"]
    assert sorted(told[3:]) == ["broken ends", "second ends", "third ends"]


def test_a_fork_that_runs_no_hook_finishes_nothing_of_its_parents(heard: Heard) -> None:
    """Deliveries of another process are never finished here, and the hook untracks them."""
    theirs, ours = heard.witness("theirs"), heard.witness("ours")
    process.track(theirs)
    process._tracked[theirs] = os.getppid()
    process.track(ours)
    process.finish_all()
    assert heard.since() == ["ours begins", "ours ends"]
    process.register(ours)
    process._after_fork_in_child()
    assert heard.since() == ["theirs closes what it inherited", "ours is forked"]
    assert list(process._tracked) == [ours]


def test_a_fork_that_clears_its_exit_callbacks_finishes_its_own_deliveries(heard: Heard) -> None:
    """Airflow's tasks run only what they have registered themselves, and end by `os._exit`."""

    def keep() -> None:
        before = callbacks._ncallbacks()
        process.track(heard.witness("one"))
        assert callbacks._ncallbacks() == before

    def clear() -> None:
        callbacks._clear()
        for name in ("one", "other"):
            process.track(heard.witness(name))
        assert callbacks._ncallbacks() == 1
        callbacks._run_exitfuncs()

    callbacks: Any = atexit
    assert forked(keep) == 0
    assert forked(clear) == 0
    assert heard.since() == ["one begins", "other begins", "one ends", "other ends"]


def test_a_handler_is_registered_weakly_and_once(heard: Heard) -> None:
    """Registering keeps nothing alive, and registering again changes nothing."""
    one, other = heard.witness("one"), heard.witness("other")
    for member in (one, other, one):
        process.register(member)
    assert set(process.handlers()) == {one, other}
    assert len(process.handlers()) == 2
    del other, member
    gc.collect()
    assert process.handlers() == [one]


def test_handlers_can_be_listed_while_others_register(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may register a handler while `handlers` runs."""
    kept = [heard.witness(str(number)) for number in range(3)]
    late = [heard.witness("late")]

    class Busy(weakref.WeakSet[Any]):
        def __iter__(self) -> Iterator[Any]:
            for member in super().__iter__():
                if late:
                    kept.append(late.pop())
                    process.register(kept[-1])
                yield member

    monkeypatch.setattr(process, "_handlers", Busy())
    for member in kept[:]:
        process.register(member)
    before = set(kept)
    # Some versions of Python look at the members that there were at the beginning.
    assert before <= set(process.handlers()) <= set(kept)
    assert set(process.handlers()) == set(kept) > before
    assert len(kept) == 4


def test_a_child_of_multiprocessing_finishes_what_came_before_its_bootstrap(heard: Heard) -> None:
    """Such a child clears earlier finalizers and skips `atexit`; ours is set after that."""
    member = heard.witness("member", tracks_when_forked=True)
    process.register(member)
    child = multiprocessing.get_context("fork").Process(target=os.getpid)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    try:
        child.join(30)
        assert child.exitcode == 0
    finally:
        child.kill()
        child.join()
        child.close()
    assert heard.since() == ["member is forked", "member begins", "member ends"]
    assert process._tracked == {}


def test_a_child_of_multiprocessing_has_one_finalizer_of_its_own(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is set once, set again if it ran or is an ancestor's, and finishes every delivery."""
    parent = multiprocessing.process.current_process()
    monkeypatch.setattr(multiprocessing.process, "_parent_process", parent)
    one, other = heard.witness("one"), heard.witness("other")
    process.track(one)
    first = process._finalizer
    assert first.still_active()
    process.track(other)
    assert process._finalizer is first
    first()
    assert heard.since() == ["one begins", "other begins", "one ends", "other ends"]
    process.track(one)
    second = process._finalizer
    assert second is not first
    assert second.still_active()
    process._finalizer_pid = os.getppid()
    process.track(one)
    assert process._finalizer not in (first, second)
    second.cancel()


def test_only_a_child_of_multiprocessing_gets_a_finalizer(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any other process relies on `atexit`, and imports nothing to find that out."""
    one = heard.witness("one")
    process.track(one)
    assert process._finalizer is None
    monkeypatch.delitem(sys.modules, "multiprocessing.util")
    process.track(one)
    assert forked(os.getpid) == 0
    assert "multiprocessing.util" not in sys.modules
    assert process._finalizer is None


def test_uwsgi_finishes_everything_after_what_the_application_does_at_the_end(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever the application sets `uwsgi.atexit`, and also if that raises."""
    server: Any = types.ModuleType("uwsgi")
    monkeypatch.setitem(sys.modules, "uwsgi", server)
    member = heard.witness("member")
    process.track(member)
    ours = server.atexit
    process.track(member)
    assert server.atexit is ours

    def end() -> None:
        os.write(member.pipe, b"the application ends\n")
        raise ValueError("of the application")

    server.atexit = end
    process.track(member)
    with pytest.raises(ValueError, match="of the application"):
        server.atexit()
    assert heard.since() == ["the application ends", "member begins", "member ends"]
    ours()
    assert heard.since() == ["member begins", "member ends"]


def test_a_module_of_the_application_may_be_named_uwsgi(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left as it is; uWSGI's own has no file."""
    module: Any = types.ModuleType("uwsgi")
    module.__file__ = "uwsgi.py"
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    process.track(heard.witness("member"))
    assert not hasattr(module, "atexit")


@pytest.fixture(params=["by memory", "by process id"])
def _kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "by process id":
        monkeypatch.delattr(mmap, "MAP_ANONYMOUS")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # the runner has threads
@pytest.mark.usefixtures("_kind")
def test_a_fork_flag_is_set_in_one_process_only() -> None:
    """It is 0 at first, 1 once it is set, and 0 in a child until the child sets it."""
    flag = fork_flag()
    assert not flag[0]
    flag[0] = 1
    assert flag[0]
    pid = os.fork()
    if pid == 0:
        code = 1 if flag[0] else 0
        flag[0] = 1
        os._exit(code or (0 if flag[0] else 2))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert flag[0]


def test_a_fork_flag_needs_no_hook() -> None:
    """A fork that does not run Python's hooks, such as uWSGI's, clears the flag too."""
    flag = fork_flag()
    flag[0] = 1
    libc = ctypes.PyDLL(None)
    pid = libc.fork()
    if pid == 0:
        os._exit(1 if flag[0] else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_fork_flag_is_memory_on_linux() -> None:
    """On Linux the flag is a page of memory, which is read without a system call."""
    assert isinstance(fork_flag(), mmap.mmap)
