"""What fslog says of itself is said once per change of state, where somebody will see it."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Iterator

import pytest

from fslog.delivery.notices import Notices, is_heard, say, write_stderr


class Memory(logging.Handler):
    """Keep the records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class Deaf(Memory):
    """Take events only, as fslog's own handler says of itself."""

    takes_events = True


class Angry(logging.Handler):
    """Raise where a handler should not."""

    def handle(self, record: logging.LogRecord) -> bool:
        raise RuntimeError("not today")


@pytest.fixture(autouse=True)
def alone() -> Iterator[logging.Logger]:
    """Give the logger `fslog` below a root of its own, without the handlers of pytest."""
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
    """Notices about one endpoint, what they said, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.said: list[tuple[int, str]] = []
        self.now = 100.0
        self.notices = Notices("events.example", self._say, lambda: self.now)

    def _say(self, level: int, text: str) -> None:
        self.said.append((level, text))

    def take(self) -> list[tuple[int, str]]:
        """Return what was said since the last time."""
        said, self.said = self.said, []
        return said


def test_it_is_said_on_the_logger(
    alone: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a handler that shows it, a text becomes one record and nothing goes to stderr."""
    memory = Memory()
    alone.addHandler(memory)
    say(logging.WARNING, "100 % of it")
    say(logging.INFO, "so be it")
    assert [(r.levelno, r.name, r.getMessage()) for r in memory.records] == [
        (logging.WARNING, "fslog", "100 % of it"),
        (logging.INFO, "fslog", "so be it"),
    ]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("handler", [None, logging.NullHandler(), Deaf()])
def test_where_nobody_listens_a_warning_goes_to_stderr(
    alone: logging.Logger, capsys: pytest.CaptureFixture[str], handler: logging.Handler | None
) -> None:
    """No handler, one that shows nothing, one that takes events only: stderr has the warning."""
    if handler is not None:
        alone.addHandler(handler)
    assert not is_heard()
    say(logging.WARNING, "help")
    say(logging.INFO, "all is well")
    assert capsys.readouterr() == ("", "fslog: help\n")


def test_a_logger_that_was_switched_off_is_not_heard(
    alone: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """`disable_existing_loggers` of a dictConfig does not silence a warning."""
    alone.addHandler(Memory())
    alone.disabled = True
    assert not is_heard()
    say(logging.ERROR, "help")
    assert capsys.readouterr().err == "fslog: help\n"


def test_a_parents_handler_counts_as_far_as_records_propagate(alone: logging.Logger) -> None:
    """Root's handlers show what fslog says, unless the logger keeps its records to itself."""
    memory, root = Memory(), alone.parent
    assert root is not None
    root.addHandler(memory)
    assert is_heard()
    say(logging.WARNING, "to all")
    assert [record.getMessage() for record in memory.records] == ["to all"]
    alone.propagate = False
    assert not is_heard()


def test_saying_never_raises(
    alone: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An application's handler that raises, and a stderr that is gone, are no reason to fail."""
    alone.addHandler(Angry())
    say(logging.WARNING, "help")
    alone.handlers.clear()
    closed = io.StringIO()
    closed.close()
    for gone in (closed, None):
        monkeypatch.setattr(sys, "stderr", gone)
        monkeypatch.setattr(sys, "__stderr__", gone)
        say(logging.WARNING, "help")
    monkeypatch.undo()
    assert capsys.readouterr() == ("", "")


def test_stderr_that_cannot_write_every_character_is_no_reason_to_fail() -> None:
    """A text that stderr's encoding lacks characters for does not raise."""
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii", errors="strict") as stream:
        write_stderr("caf\u00e9", stream)
        write_stderr("tea", stream)
        assert raw.getvalue().endswith(b"fslog: tea\n")


def test_a_broken_pipe_is_no_reason_to_fail() -> None:
    """A stderr whose reader has left does not raise."""

    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    stream = Broken()
    write_stderr("help", stream)
    assert stream.getvalue() == ""


def test_an_outage_is_said_once_and_so_is_its_end() -> None:
    """Many failures make one WARNING, the recovery one INFO with its length, and so each time."""
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


def test_a_wrong_set_up_is_said_once_and_says_what_to_do() -> None:
    """A 400 is another state than an outage: said once each, however often they alternate."""
    book = Notebook()
    for _ in range(5):
        book.notices.misconfigured("it answers 400 Bad Request", 3, 60.0)
        book.notices.down("timed out", 3, 60.0)
    wrong, down = book.take()
    assert wrong[0] == down[0] == logging.WARNING
    for word in ("400", "auth_key", "api_key", "datacenter", "3 events are kept", "60 s"):
        assert word in wrong[1]
    assert "timed out" in down[1]
    book.notices.up()
    book.notices.up()
    assert [level for level, _ in book.take()] == [logging.INFO]
    book.notices.misconfigured("it answers 401 Unauthorized", 1, 60.0)
    assert len(book.take()) == 1


def test_a_full_buffer_is_claimed_once_until_it_is_empty() -> None:
    """The first refusal may speak, no other may; the end is said with the number of refused."""
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
    assert "5 events were refused" in text
    book.now += 61
    assert book.notices.is_first("full")


def test_a_buffer_that_is_full_and_empty_many_times_a_second_is_said_once_a_minute() -> None:
    """Ten minutes of it are not ten thousand sentences; each refused event is told in the end."""
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
    said = book.take()
    assert 10 <= len(said) <= 25
    told = [int(text.split()[4]) for _, text in said if "room again" in text]
    assert sum(told) == refused


def test_a_disk_at_its_limit_is_said_once_a_minute() -> None:
    """Also where every second line finds room."""
    book = Notebook()
    for _ in range(6_000):
        book.now += 0.01
        book.notices.spool_failed(OSError(28, "No space left on device"))
        book.notices.spool_works()
    assert len(book.take()) == 2
    book.now += 61
    book.notices.spool_failed(OSError(28, "No space left on device"))
    assert len(book.take()) == 1


def test_an_empty_buffer_is_nothing_to_speak_of() -> None:
    """Without a refusal nobody hears that there is room."""
    book = Notebook()
    book.notices.emptied(0)
    assert book.take() == []


def test_a_split_and_an_abandoned_event_are_said_once() -> None:
    """413 on every batch is not news each time."""
    book = Notebook()
    for size in (900, 450, 225):
        book.notices.split(size)
        book.notices.abandoned_one(size, False)
    (level, text), (warning, abandoned) = book.take()
    assert (level, warning) == (logging.INFO, logging.WARNING)
    assert "900 bytes" in text
    assert "900 bytes" in abandoned


def test_a_problem_names_the_place_of_the_log_call() -> None:
    """Who reads that an event is invalid is told which log call made it."""
    book = Notebook()
    book.notices.problem("missing", "userId is missing", "app.views (views.py:7)")
    [(level, text)] = book.take()
    assert level == logging.WARNING
    for word in ("app.views (views.py:7)", "userId is missing", "[missing]"):
        assert word in text


def test_only_one_of_many_threads_is_the_first() -> None:
    """The right to say something is given once, however many ask for it at the same time."""
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
    """However many kinds of problems a program makes up, few are told apart."""
    book = Notebook()
    claimed = sum(book.notices.is_first(f"invalid {n}") for n in range(10_000))
    assert 0 < claimed <= 100


def test_a_full_buffer_is_told_whatever_else_was_said() -> None:
    """A hundred kinds of invalid events do not silence the refusal of good ones."""
    book = Notebook()
    for n in range(10_000):
        book.notices.is_first(f"invalid {n}")
    assert book.notices.is_first("full")
    assert not book.notices.is_first("full")
