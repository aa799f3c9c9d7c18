"""A mark that a fork takes away."""

from __future__ import annotations

import mmap
import os

import pytest

from fslog.forkmark import fork_mark


@pytest.fixture(params=["by memory", "by process id"])
def _kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "by process id":
        monkeypatch.delattr(mmap, "MAP_ANONYMOUS")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # the runner has threads
@pytest.mark.usefixtures("_kind")
def test_a_mark_is_set_here_and_not_in_a_child() -> None:
    """It is 0 at first, 1 where it was set, and 0 again in a child until that sets it."""
    mark = fork_mark()
    assert not mark[0]
    mark[0] = 1
    assert mark[0]
    pid = os.fork()
    if pid == 0:
        code = 1 if mark[0] else 0
        mark[0] = 1
        os._exit(code or (0 if mark[0] else 2))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert mark[0]


def test_no_hook_is_needed() -> None:
    """A fork behind Python's back, as uWSGI forks, takes the mark away as well."""
    import ctypes

    mark = fork_mark()
    mark[0] = 1
    libc = ctypes.PyDLL(None)
    pid = libc.fork()
    if pid == 0:
        os._exit(1 if mark[0] else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_this_system_needs_no_system_call() -> None:
    """On Linux the mark is a page of memory."""
    assert isinstance(fork_mark(), mmap.mmap)
