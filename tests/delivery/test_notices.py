"""Notices are logged once per change of state, where somebody will see them."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Iterator

import pytest

from fslog.delivery.notices import Notices, is_visible, log, write_stderr
from memory import Memory


class EventsOnly(Memory):
    """Accept events only, as fslog's own handler declares."""

    takes_events = True


class Broken(logging.Handler):
    """Raise, as a handler should not."""

    def handle(self, record: logging.LogRecord) -> bool:
        raise RuntimeError("not today")


@pytest.fixture(autouse=True)
def alone() -> Iterator[logging.Logger]:
    """Return the logger `fslog` below a separate root, without the handlers of pytest."""
    logger = logging.getLogger("fslog")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logger, "parent", logging.RootLogger(logging.INFO))
        patch.setattr(logger, "disabled", False)
        patch.setattr(logger, "propagate", True)
        patch.setattr(logger, "handlers", [])
        logger.setLevel(logging.NOTSET)  # forgets which levels were enabled before
        yield logger
    logger.setLevel(logging.NOTSET)


class Notebook:
    """The notices about one endpoint, what they logged, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, str]] = []
        self.now = 100.0
        self.notices = Notices("events.example", self._log, lambda: self.now)

    def _log(self, level: int, text: str) -> None:
        self.logged.append((level, text))

    def take(self) -> list[tuple[int, str]]:
        """Return what was logged since the last call."""
        logged, self.logged = self.logged, []
        return logged


def test_notices_are_records_of_the_logger(
    alone: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a handler that shows it, a text becomes one record, and nothing goes to stderr."""
    memory = Memory()
    alone.addHandler(memory)
    log(logging.WARNING, "100 % of it")
    log(logging.INFO, "so be it")
    assert [(r.levelno, r.name, r.getMessage()) for r in memory.records] == [
        (logging.WARNING, "fslog", "100 % of it"),
        (logging.INFO, "fslog", "so be it"),
    ]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("handler", [None, logging.NullHandler(), EventsOnly()])
def test_without_a_visible_handler_a_warning_goes_to_stderr(
    alone: logging.Logger, capsys: pytest.CaptureFixture[str], handler: logging.Handler | None
) -> None:
    """No handler, one that shows nothing, one that accepts events only: stderr has the warning."""
    if handler is not None:
        alone.addHandler(handler)
    assert not is_visible()
    log(logging.WARNING, "help")
    log(logging.INFO, "all is well")
    assert capsys.readouterr() == ("", "fslog: help\n")


def test_a_disabled_logger_is_not_visible(
    alone: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """`disable_existing_loggers` of a dictConfig does not suppress a warning."""
    alone.addHandler(Memory())
    alone.disabled = True
    assert not is_visible()
    log(logging.ERROR, "help")
    assert capsys.readouterr().err == "fslog: help\n"


def test_a_parents_handler_counts_if_records_propagate(alone: logging.Logger) -> None:
    """Root's handlers show notices, unless the logger does not propagate."""
    memory, root = Memory(), alone.parent
    assert root is not None
    root.addHandler(memory)
    assert is_visible()
    log(logging.WARNING, "to all")
    assert [record.getMessage() for record in memory.records] == ["to all"]
    alone.propagate = False
    assert not is_visible()


def test_log_never_raises(
    alone: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither an application's handler that raises nor a missing stderr makes it fail."""
    alone.addHandler(Broken())
    log(logging.WARNING, "help")
    alone.handlers.clear()
    closed = io.StringIO()
    closed.close()
    for gone in (closed, None):
        monkeypatch.setattr(sys, "stderr", gone)
        monkeypatch.setattr(sys, "__stderr__", gone)
        log(logging.WARNING, "help")
    monkeypatch.undo()
    assert capsys.readouterr() == ("", "")


def test_an_encoding_error_of_stderr_is_ignored() -> None:
    """A text that stderr's encoding cannot represent does not raise."""
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii", errors="strict") as stream:
        write_stderr("caf\u00e9", stream)
        write_stderr("tea", stream)
        assert raw.getvalue().endswith(b"fslog: tea\n")


def test_a_broken_pipe_is_ignored() -> None:
    """A stderr whose reader has closed it does not raise."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    stream = Closed()
    write_stderr("help", stream)
    assert stream.getvalue() == ""


def test_an_outage_is_logged_once_and_so_is_its_end() -> None:
    """Many failures log one WARNING, the recovery one INFO with the duration, in each outage."""
    book = Notebook()
    book.notices.up()
    assert book.take() == []
    for _ in range(2):
        for reason in ("it answers 503", "timed out", "it answers 503"):
            book.notices.down(reason, 7, 60.0)
            book.now += 14.0
        [(level, text)] = book.take()
        assert level == logging.WARNING
        assert "events.example" in text
        assert "it answers 503" in text
        assert "7 events" in text
        assert "60 s" in text
        for _ in range(3):
            book.notices.up()
        [(level, text)] = book.take()
        assert level == logging.INFO
        assert "events.example" in text
        assert "42 s" in text


def test_a_configuration_error_is_logged_once_with_advice() -> None:
    """A 400 is another state than an outage: each is logged once, however often they alternate."""
    book = Notebook()
    for _ in range(5):
        book.notices.misconfigured("it answers 400 Bad Request", 3, 60.0)
        book.notices.down("timed out", 3, 60.0)
    misconfigured, down = book.take()
    assert misconfigured[0] == down[0] == logging.WARNING
    for word in ("400", "auth_key", "api_key", "datacenter", "3 events kept", "60 s"):
        assert word in misconfigured[1]
    assert "timed out" in down[1]
    book.notices.up()
    book.notices.up()
    assert [level for level, _ in book.take()] == [logging.INFO]
    book.notices.misconfigured("it answers 401 Unauthorized", 1, 60.0)
    assert len(book.take()) == 1


def test_a_full_buffer_is_logged_once_until_it_is_empty() -> None:
    """Only the first refusal logs; the end is logged with the number of refused events."""
    book = Notebook()
    assert book.notices.is_first("full")
    assert not book.notices.is_first("full")
    book.notices.full(11, "buffer_bytes", 1000)
    [(level, text)] = book.take()
    assert level == logging.WARNING
    assert "1000 bytes" in text
    book.notices.emptied(15)
    book.notices.emptied(15)
    [(level, text)] = book.take()
    assert level == logging.INFO
    assert "5 refused events" in text
    book.now += 61
    assert book.notices.is_first("full")


def test_a_buffer_that_fills_many_times_a_second_is_logged_once_a_minute() -> None:
    """Ten minutes of it log few notices, which count each refused event in the end."""
    book = Notebook()
    refused = 0
    for _ in range(60_000):
        refused += 3
        book.now += 0.01
        if book.notices.is_first("full"):
            book.notices.full(refused - 2, "buffer_bytes", 1000)
        book.notices.emptied(refused)
    book.now += 60
    book.notices.emptied(refused)
    logged = book.take()
    assert 10 <= len(logged) <= 25
    counts = [int(text.split()[5]) for _, text in logged if "room again" in text]
    assert sum(counts) == refused


def test_a_full_disk_is_logged_once_a_minute() -> None:
    """The limit holds even if every second line can be written."""
    book = Notebook()
    for _ in range(6_000):
        book.now += 0.01
        book.notices.spool_failed(OSError(28, "No space left on device"))
        book.notices.spool_works()
    assert len(book.take()) == 2
    book.now += 61
    book.notices.spool_failed(OSError(28, "No space left on device"))
    assert len(book.take()) == 1


def test_an_empty_buffer_without_refusals_is_not_logged() -> None:
    """Without a refusal, no notice says that there is room again."""
    book = Notebook()
    book.notices.emptied(0)
    assert book.take() == []


def test_a_split_and_an_abandoned_event_are_logged_once() -> None:
    """413 for every batch logs one notice of each kind."""
    book = Notebook()
    for size in (900, 450, 225):
        book.notices.split(size)
        book.notices.abandoned_one(size, False)
    (level, text), (warning, abandoned) = book.take()
    assert (level, warning) == (logging.INFO, logging.WARNING)
    assert "900 bytes" in text
    assert "900 bytes" in abandoned


def test_a_problem_names_the_place_of_the_log_call() -> None:
    """The notice of an invalid event names the call site that made it."""
    book = Notebook()
    book.notices.problem("missing", "userId is missing", "app.views (views.py:7)")
    [(level, text)] = book.take()
    assert level == logging.WARNING
    for word in ("app.views (views.py:7)", "userId is missing", "[missing]"):
        assert word in text


def test_only_one_of_many_threads_is_the_first() -> None:
    """`is_first` is True once for each kind, however many threads ask at the same time."""
    book = Notebook()
    barrier = threading.Barrier(8)
    claims: list[int] = []

    def ask() -> None:
        barrier.wait(5)
        claims.append(sum(book.notices.is_first(f"kind {n}") for n in range(50)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(claims) == 50


def test_the_kinds_do_not_fill_the_memory() -> None:
    """The number of kinds is limited, however many a program produces."""
    book = Notebook()
    claimed = sum(book.notices.is_first(f"invalid {n}") for n in range(10_000))
    assert 0 < claimed <= 100


def test_a_full_buffer_is_logged_whatever_else_was() -> None:
    """A hundred kinds of invalid events do not suppress the notice of refused ones."""
    book = Notebook()
    for n in range(10_000):
        book.notices.is_first(f"invalid {n}")
    assert book.notices.is_first("full")
    assert not book.notices.is_first("full")
