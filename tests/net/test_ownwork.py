"""fslog's own work is marked by a thread-local, for as long as it lasts and no longer."""

from __future__ import annotations

import contextvars
import threading

import pytest

from fslog.net.ownwork import is_own, own_work, redaction


def outer(text: str) -> str:
    """Stand for one destination's redaction."""
    return text


def inner(text: str) -> str:
    """Stand for another one's."""
    return text


def test_outside_nothing_is_own() -> None:
    """Without the mark no logger's record is fslog's own, not even fslog's."""
    assert redaction() is None
    assert not any(is_own(name) for name in ("fslog", "urllib3", "backoff", "root", ""))


@pytest.mark.parametrize(
    ("logger", "own"),
    [
        ("fslog", True),
        ("fslog.delivery.listener", True),
        ("urllib3", True),
        ("urllib3.connectionpool", True),
        ("urllib3.util.retry", True),
        ("backoff", True),
        ("fslogs", False),
        ("urllib3x.connectionpool", False),
        ("app.urllib3", False),
        ("app", False),
        ("root", False),
        ("", False),
    ],
)
def test_inside_it_goes_by_the_first_part_of_the_name(logger: str, own: bool) -> None:
    """Inside own work the three libraries' loggers are own; every other is the application's."""
    with own_work(outer):
        assert is_own(logger) is own


def test_blocks_nest() -> None:
    """An inner block has its own redaction, and gives the outer one back."""
    with own_work(outer):
        with own_work(inner):
            assert redaction() is inner
        assert redaction() is outer
    assert redaction() is None


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_the_mark_goes_with_an_exception(error: type[BaseException]) -> None:
    """However the block is left, the mark does not stay behind."""

    def leave() -> None:
        with own_work(outer):
            raise error

    with pytest.raises(error):
        leave()
    assert redaction() is None


def test_the_mark_is_the_threads_own() -> None:
    """Another thread that runs meanwhile is not marked."""
    seen: list[object] = []
    with own_work(outer):
        thread = threading.Thread(target=lambda: seen.append((redaction(), is_own("fslog"))))
        thread.start()
        thread.join()
    assert seen == [(None, False)]


def test_the_mark_does_not_travel_with_a_copied_context() -> None:
    """What a handler hands to another thread, context and all, is no longer fslog's own work."""
    seen: list[object] = []
    with own_work(outer):
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(lambda: seen.append((redaction(), is_own("fslog"))),)
        )
        thread.start()
        thread.join()
    assert seen == [(None, False)]
