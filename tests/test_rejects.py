"""The reject file: invalid events of production, corrected by a person, and sent."""

from __future__ import annotations

import json
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fslog import FreshsuccessHandler
from fslog.cli import main
from fslog.collector import Answer, Collector
from fslog.delivery.rejects import NOTE, Rejects, check_rejects, corrected
from fslog.mapping.sessions import by_window
from fslog.net.redaction import Redactor
from fslog.testing import capture
from processes import FORKING, KEYS, run
from waiting import eventually, in_parallel

EVENT = {"accountId": "acme", "userId": "ann", "action": "pageView", "page": "start"}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Run a collector, to which the commands send, too."""
    with Collector() as made:
        for name, value in zip(("AUTH_KEY", "API_KEY"), KEYS, strict=True):
            monkeypatch.setenv(f"FSLOG_{name}", value)
        monkeypatch.setenv("FSLOG_ENDPOINT", made.url)
        yield made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a reject file."""
    return tmp_path / "rejects.ndjson"


def shop(path: Path, **arguments: Any) -> tuple[logging.Logger, FreshsuccessHandler]:
    """Return a logger and its handler."""
    log = logging.Logger("shop")
    handler = FreshsuccessHandler(rejects=path, **arguments)
    log.addHandler(handler)
    return log, handler


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the events in a reject file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_an_invalid_event_is_written_with_reason_and_place(
    collector: Collector, path: Path
) -> None:
    """A line has the event's properties, every problem, the logger, the call site and the time."""
    log, handler = shop(path)
    log.info("x", extra={**EVENT, "userId": "", "accountId": None, "rows": 3})
    log.info("x", extra=EVENT)
    assert handler.flush(10)
    handler.close()
    assert len(collector.events) == 1
    (event,) = lines(path)
    note = event.pop(NOTE)
    assert event.pop("createdAt") > 1_700_000_000_000
    assert event == {**EVENT, "userId": "", "accountId": None, "rows": 3}
    assert [one["property"] for one in note["problems"]] == ["accountId", "userId"]
    assert all(one["code"] and one["message"] for one in note["problems"])
    assert note["logger"] == "shop"
    assert note["place"].startswith(f"{__file__}:")
    assert note["at"].endswith("Z")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not any(key in path.read_text() for key in KEYS)


def test_corrected_events_are_sent(
    collector: Collector, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`fslog send` takes the file once a person has corrected it, and sends no note."""
    log, handler = shop(path)
    log.info("x", extra={**EVENT, "userId": ""})
    log.info("x", extra={**EVENT, "action": ""})
    assert handler.flush(10)
    handler.close()
    assert main(["send", str(path)]) == 1
    assert collector.events == []
    capsys.readouterr()
    mended = [{**event, "userId": "bob", "action": "pageView"} for event in lines(path)]
    path.write_text("".join(f"{json.dumps(event)}\n" for event in mended))
    for left in path.parent.glob("*.rejects.ndjson"):
        left.unlink()
    assert main(["validate", str(path)]) == 0
    assert main(["send", "--again", str(path)]) == 0
    assert [event["userId"] for event in collector.events] == ["bob", "bob"]
    for event in collector.events:
        assert NOTE not in event
        expected = by_window("acme", "bob", event["createdAt"])
        assert event["sessionId"] == expected


def test_the_time_of_an_event_stays(collector: Collector, path: Path) -> None:
    """A corrected event is of the time of its log call, not of its correction."""
    log, handler = shop(path)
    record = log.makeRecord("shop", 20, "shop.py", 7, "x", (), None, None, {**EVENT, "userId": ""})
    record.created = 1_700_000_000.0
    log.handle(record)
    assert handler.flush(10)
    handler.close()
    (event,) = lines(path)
    assert event["createdAt"] == 1_700_000_000_000
    assert event[NOTE]["at"] == "2023-11-14T22:13:20Z"


def test_a_session_is_derived_only_if_the_handler_would(collector: Collector, path: Path) -> None:
    """With `session: none` a missing sessionId is a problem that a person has to correct."""
    log, handler = shop(path, session="none")
    log.info("x", extra={**EVENT, "userId": ""})
    assert handler.flush(10)
    handler.close()
    (event,) = lines(path)
    assert "session" not in event[NOTE]
    mended = json.loads(corrected(json.dumps({**event, "userId": "bob"}).encode()))
    assert "sessionId" not in mended


def test_redacted_properties_are_redacted_in_the_file(
    collector: Collector, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `redact` drops or hashes is on no disk; a given sessionId stays as it is."""
    monkeypatch.setenv("FSLOG_HASH_KEY", "0123456789abcdef0123456789abcdef")
    log, handler = shop(path, redact={"email": "drop", "accountId": "hash"})
    more = {"userId": "", "email": "ann@acme.example", "accountId": "acme-corporation"}
    log.info("x", extra={**EVENT, **more})
    assert handler.flush(10)
    handler.close()
    text = path.read_text()
    assert "ann@acme.example" not in text
    assert "acme-corporation" not in text
    (event,) = lines(path)
    assert "email" not in event
    assert event["accountId"]


def test_an_event_of_an_excluded_person_is_not_written(collector: Collector, path: Path) -> None:
    """Somebody for whom there is no event has none here either: a person might send it."""

    def is_excluded(event: Any) -> bool:
        if event["accountId"] == "unknown":
            raise LookupError
        return bool(event["accountId"] == "staff")

    log, handler = shop(path, excluded=is_excluded)
    log.info("x", extra={**EVENT, "accountId": "staff", "userId": ""})
    log.info("x", extra={**EVENT, "accountId": "unknown", "userId": "eve-17"})
    log.info("x", extra={**EVENT, "accountId": "unknown", "userId": "eve-17", "createdAt": "now"})
    assert handler.flush(10)
    handler.close()
    assert (handler.stats().excluded, handler.stats().invalid) == (1, 2)
    for event in lines(path):
        assert set(event) == {"createdAt", NOTE}
    assert "eve-17" not in path.read_text()


def test_a_relative_path_is_that_of_the_directory_at_the_start(
    collector: Collector, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that goes to another directory writes to the file that was checked."""
    monkeypatch.chdir(path.parent)
    log, handler = shop(Path(path.name))
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    log.info("x", extra={**EVENT, "userId": ""})
    assert handler.flush(10)
    handler.close()
    assert len(lines(path)) == 1


def test_values_that_are_no_json_and_long_events(collector: Collector, path: Path) -> None:
    """Every line is strict JSON; an event of many kilobytes has its ids only."""
    log, handler = shop(path)
    log.info("x", extra={**EVENT, "userId": float("nan"), "tags": {"a"}, "x": object()})
    log.info("x", extra={**EVENT, "userId": "", "text": "y" * 100_000})
    log.info("x", extra={**EVENT, "accountId": "z" * 100_000, "userId": ""})
    assert handler.flush(10)
    handler.close()
    first, second, third = lines(path)
    assert first["userId"] is None
    assert second["accountId"] == "acme"
    assert "text" not in second
    assert second[NOTE]["size_bytes"] > 100_000
    assert third[NOTE]["size_bytes"] > 100_000
    assert path.stat().st_size < 200_000


def test_who_writes_waits_for_what_another_thread_is_writing(path: Path) -> None:
    """`handler.close` alone suffices: what the listener has begun to write is in the file, too."""
    begun, go = threading.Event(), threading.Event()

    class Slow(Rejects):
        def _append(self, fd: int, text: bytes) -> None:
            begun.set()
            assert go.wait(10)
            super()._append(fd, text)

    rejects = Slow(str(path), lambda error: None)
    listener = threading.Thread(target=rejects.write)
    rejects.add(b"{}\n", lambda write: listener.start())
    assert begun.wait(10)
    closing = threading.Thread(target=rejects.write)
    closing.start()
    closing.join(0.3)
    assert closing.is_alive()
    go.set()
    closing.join(10)
    assert path.read_bytes() == b"{}\n"
    listener.join(10)


def test_a_signal_handler_that_raises_leaves_no_lock(path: Path) -> None:
    """Wherever it interrupts the end of a write, the next thread writes at once."""

    class Interrupted:
        def __init__(self, lock: Any) -> None:
            self.acquire, self.release, self._asks = lock.acquire, lock.release, lock._is_owned
            self._is_first = True

        def _is_owned(self) -> bool:
            if self._is_first:
                self._is_first = False
                raise KeyboardInterrupt
            return bool(self._asks())

    rejects = Rejects(str(path), lambda error: None)
    lock = rejects._writing
    rejects._writing = Interrupted(lock)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        rejects.write()
    taken: list[bool] = []
    other = threading.Thread(target=lambda: taken.append(lock.acquire(timeout=0)))
    other.start()
    other.join(10)
    assert taken == [True]


def test_the_file_is_bounded(path: Path) -> None:
    """A full file is renamed, in place of the one before: the newest are kept, at most twice."""
    errors: list[OSError] = []
    rejects = Rejects(str(path), errors.append, max_bytes=1000)
    for number in range(200):
        rejects.add(b'{"number":%03d}\n' % number, lambda write: write())
    assert errors == []
    before = path.parent / "rejects.ndjson.1"
    assert path.stat().st_size <= 1000
    assert before.stat().st_size <= 1000
    kept = [event["number"] for event in [*lines(before), *lines(path)]]
    assert kept == [*range(200)][-len(kept) :]
    assert len(kept) > 60
    assert sorted(one.name for one in path.parent.iterdir()) == [path.name, before.name]


def test_processes_share_the_file(path: Path, collector: Collector) -> None:
    """Lines of several writers are whole, and a rename by one loses none of another's newest."""
    errors: list[OSError] = []

    def writer(name: str) -> Callable[[], None]:
        rejects = Rejects(str(path), errors.append, max_bytes=20_000)

        def write() -> None:
            for number in range(300):
                line = json.dumps({"writer": name, "number": number, "text": "x" * 40})
                rejects.add(f"{line}\n".encode(), lambda write: write())

        return write

    in_parallel(*map(writer, "abcd"))
    assert errors == []
    found = [*lines(path.parent / "rejects.ndjson.1"), *lines(path)]
    for name in "abcd":
        numbers = [event["number"] for event in found if event["writer"] == name]
        assert numbers == [*range(300)][300 - len(numbers) :]


def test_forked_processes_share_the_file(path: Path, collector: Collector) -> None:
    """A child writes its own events, none of its parent's again, into the same file."""
    program = f"""
        import os
        from counted import *
        handler = handle(rejects={str(path)!r})
        def wrong(number):
            log.info("x", extra={{"accountId": "a", "userId": "", "action": "x", "number": number}})
        wrong(0)
        children = []
        for number in range(1, 5):
            if child := os.fork():
                children.append(child)
                continue
            for n in range(100):
                wrong(number * 1000 + n)
            assert handler.flush(10)
            os._exit(0)
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        """
    run(program, collector.url, flags=FORKING, err=None)
    numbers = sorted(event["number"] for event in lines(path))
    assert numbers == [0, *(n * 1000 + m for n in range(1, 5) for m in range(100))]


def test_events_at_the_end_of_a_process(path: Path, collector: Collector) -> None:
    """What is invalid just before the end, or in a callback of it, is in the file."""
    program = f"""
        import atexit
        from counted import *
        def wrong(number):
            log.info("x", extra={{"accountId": "a", "userId": "", "action": "x", "number": number}})
        atexit.register(wrong, 2)
        handle(rejects={str(path)!r})
        wrong(1)
        """
    run(program, collector.url, err=None)
    assert [event["number"] for event in lines(path)] == [1, 2]


def test_a_torn_line_damages_no_other(path: Path) -> None:
    """After a crash or a full disk in the middle of a line, the next one begins anew."""
    path.write_bytes(b'{"number":1}\n{"numb')
    rejects = Rejects(str(path), lambda error: None)
    rejects.add(b'{"number":2}\n', lambda write: write())
    assert path.read_bytes() == b'{"number":1}\n{"numb\n{"number":2}\n'


def test_a_file_that_cannot_be_written_is_reported_once(
    collector: Collector, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Events are delivered as before; one warning says that invalid ones are lost."""
    log, handler = shop(path)
    path.mkdir()
    for _ in range(3):
        log.info("x", extra={**EVENT, "userId": ""})
        assert handler.flush(10)
    log.info("x", extra=EVENT)
    assert handler.flush(10)
    handler.close()
    assert len(collector.events) == 1
    assert caplog.text.count("the reject file cannot be written") == 1
    assert handler.stats().invalid == 3
    assert handler.health().outage_age is None


def test_a_storm_during_a_post_is_bounded(collector: Collector, path: Path) -> None:
    """While the listener is busy, a thousand lines wait at most: memory is bounded."""
    waiting: list[Callable[[], None]] = []
    rejects = Rejects(str(path), lambda error: None)
    for number in range(5000):
        rejects.add(b"%d\n" % number, waiting.append)
    assert len(waiting) == 1
    assert rejects.lost.value() == 4000
    waiting[0]()
    assert len(path.read_bytes().splitlines()) == 1000
    rejects.add(b"x\n", waiting.append)
    assert len(waiting) == 2


def test_the_log_call_does_not_write(collector: Collector, path: Path) -> None:
    """While a POST hangs, log calls of invalid events return, and the file follows later."""
    collector.always(Answer(503, delay=2.0))
    log, handler = shop(path, shutdown_timeout=0.1)
    log.info("x", extra=EVENT)
    assert eventually(lambda: len(collector.requests) == 1)
    log.info("x", extra={**EVENT, "userId": ""})
    assert not path.exists()
    assert eventually(path.exists)
    collector.always(Answer(200))
    assert handler.flush(10)
    handler.close()


def test_an_endpoint_that_hangs_keeps_no_line_out_of_the_file(
    collector: Collector, path: Path
) -> None:
    """At the end of a process the listener may be busy with a POST, and the file is written."""
    collector.always(Answer(then="hang"))
    program = f"""
        from counted import *
        handler = handle(rejects={str(path)!r}, shutdown_timeout=0.2)
        say(1)
        handler.flush(0.2)
        log.info("x", extra={{"accountId": "a", "userId": "", "action": "x", "number": 2}})
        """
    run(program, collector.url, err=None)
    assert [event["number"] for event in lines(path)] == [2]


def test_a_capture_writes_no_file(path: Path, collector: Collector) -> None:
    """A test's invalid events are the test's."""
    log, handler = shop(path)
    with capture() as freshsuccess:
        log.info("x", extra={**EVENT, "userId": ""})
        assert len(freshsuccess.problems) == 1
    assert handler.flush(10)
    handler.close()
    assert not path.exists()


def test_errors_when_the_configuration_is_loaded(path: Path, collector: Collector) -> None:
    """A path that cannot be written is an error at once, unless the handler is disabled."""
    with pytest.raises(ValueError, match=r"rejects is .*is no directory that is writable"):
        FreshsuccessHandler(rejects=path / "missing" / "x")
    with pytest.raises(ValueError, match="it is not a regular file"):
        FreshsuccessHandler(rejects=path.parent)
    with pytest.raises(TypeError, match="rejects is of type int; expected a path"):
        FreshsuccessHandler(rejects=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rejects is a path that contains a key"):
        FreshsuccessHandler(rejects=path.parent / KEYS[0])
    with pytest.raises(ValueError, match="it is not the path of a file"):
        check_rejects("a\0b", Redactor())
    FreshsuccessHandler(rejects=path / "missing" / "x", enabled=False)
    FreshsuccessHandler(rejects="")
    assert not path.exists()


def test_a_link_is_not_followed(path: Path) -> None:
    """A link that somebody else puts there does not make fslog write elsewhere."""
    target = path.parent / "target"
    target.write_text("precious\n")
    path.symlink_to(target)
    with pytest.raises(ValueError, match="not a regular file"):
        check_rejects(str(path), Redactor())
    errors: list[OSError] = []
    rejects = Rejects(str(path), errors.append)
    rejects.add(b"{}\n", lambda write: write())
    assert len(errors) == 1
    assert target.read_text() == "precious\n"


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":"fslog_rejected"}\n',
        b"fslog_rejected\n",
        b'["fslog_rejected"]\n',
        b'"fslog_rejected"\n',
    ],
)
def test_other_lines_are_sent_as_they_are(raw: bytes) -> None:
    """Only a property of that name, at the top, is a note."""
    assert corrected(raw) == raw


def test_any_note_is_accepted() -> None:
    """What a person makes of the note does not matter."""
    for note in (None, 3, [], {}, {"session": "window"}, {"session": 7}):
        line = json.dumps({"accountId": "a", "createdAt": "x", NOTE: note}).encode()
        assert json.loads(corrected(line)) == {"accountId": "a", "createdAt": "x"}


def test_without_the_argument_nothing_is_written(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off by default."""
    monkeypatch.chdir(tmp_path)
    log = logging.Logger("shop")
    handler = FreshsuccessHandler()
    log.addHandler(handler)
    log.info("x", extra={**EVENT, "userId": ""})
    assert handler.flush(10)
    handler.close()
    assert os.listdir(tmp_path) == []
