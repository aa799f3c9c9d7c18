"""The spool's directory: which paths are accepted, whose keys it has, what is quarantined."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fslog import FreshsuccessHandler
from fslog.collector import Answer, Collector
from fslog.net.destination import Destination
from fslog.spool import directory as spooldir
from fslog.spool.directory import SpoolDirectory, spool_directory
from fslog.spool.owners import Owner
from fslog.spool.segments import SegmentName
from spools import MASKS, Watched, failing, mode, umask

KEYS, OTHER_KEYS = "a" * 32, "b" * 32
DESTINATION = Destination("https://events.example", "the-auth-key", "the-api-key")
NAME = SegmentName("00000001-aaaaaaaa", 7)


def directory(path: Path, digest: str = KEYS) -> SpoolDirectory:
    """Return a directory whose file system is watched and whose tokens count."""
    tokens = itertools.count(1)
    token = lambda: f"{os.getpid():08x}{id(tokens):016x}{next(tokens):04x}"  # noqa: E731
    return SpoolDirectory(str(path), digest, token, Watched())


def hooks(spool: SpoolDirectory) -> dict[str, Callable[..., Any]]:
    """Return the hooks that make the file system fail."""
    assert isinstance(spool.fs, Watched)
    return spool.fs.hooks


def files(path: Path) -> dict[str, bytes]:
    """Return the content of all files below a directory."""
    found = sorted(path.rglob("*"))
    return {str(one.relative_to(path)): one.read_bytes() for one in found if one.is_file()}


@pytest.mark.parametrize("mask", MASKS, ids=oct)
def test_everything_is_private_under_any_umask(mask: int, tmp_path: Path) -> None:
    """Directories are 0700 and files 0600."""
    spool = directory(tmp_path / "a" / "b")
    with umask(mask):
        spool.check()
        owner = spool.create_owner()
        os.close(spool.fs.create(spool.segment_path(NAME)))
        spool.quarantine("stem", "0", b"text", "reason")
    places = [tmp_path / "a", *(tmp_path / "a").rglob("*")]
    modes = {str(place.relative_to(tmp_path)): mode(place) for place in places}
    assert len(modes) == 9
    for place, found in modes.items():
        is_folder = (tmp_path / place).is_dir()
        assert found == (0o700 if is_folder else 0o600), place
    owner.remove()


def test_permissions_of_others_are_removed(tmp_path: Path) -> None:
    """An existing directory and its owners' folder lose the permissions of other users."""
    (tmp_path / "owners").mkdir()
    for path in (tmp_path, tmp_path / "owners"):
        path.chmod(0o777)
    directory(tmp_path).check()
    assert [mode(path) for path in (tmp_path, tmp_path / "owners")] == [0o700] * 2


def test_a_check_leaves_only_a_marker(tmp_path: Path) -> None:
    """With the format and a digest; no owner, no segment, and no key in any file."""
    spool = spool_directory(tmp_path / "spool", DESTINATION, {})
    assert spool is not None
    spool.check()
    [(name, text)] = files(tmp_path / "spool").items()
    assert name == "spool.json"
    assert json.loads(text) == {"format": 1, "keys": DESTINATION.keys_digest()}
    assert b"the-a" not in text


def unusable(path: Path, digest: str = KEYS) -> str:
    """Return why a directory cannot be used."""
    with pytest.raises(ValueError, match=r"spool is .* which cannot be used: ") as caught:
        directory(path, digest).check()
    assert caught.value.__cause__ is None
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A symbolic link, dangling or not, is refused; its target is unchanged."""
    (tmp_path / "target").mkdir(0o755)
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("link", "dangling"):
        assert "a symbolic link, which is not followed" in unusable(tmp_path / name)
    assert os.listdir(tmp_path / "target") == []
    assert mode(tmp_path / "target") == 0o755
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["owners", "spool.json"])
def test_a_link_inside_is_not_followed(name: str, tmp_path: Path) -> None:
    """A part of the spool that is a link is refused; its target is neither used nor changed."""
    target = tmp_path / "target"
    if name == "owners":
        target.mkdir(0o755)
    else:
        target.write_bytes(b"{}")
        target.chmod(0o644)
    before = mode(target)
    spool = tmp_path / "spool"
    spool.mkdir(0o700)
    (spool / name).symlink_to(target)
    unusable(spool)
    assert mode(target) == before
    assert target.read_bytes() == b"{}" if target.is_file() else os.listdir(target) == []


def test_a_quarantine_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """Quarantined lines are written to no other place."""
    spool = directory(tmp_path / "spool")
    spool.check()
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "spool" / "quarantine").symlink_to(target)
    with pytest.raises(OSError, match="quarantine"):
        spool.quarantine("stem", "0", b"text", "reason")
    assert os.listdir(target) == []


def test_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    """A file, also as a parent, and a FIFO."""
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    for name in ("file", "fifo"):
        assert "it is not a directory" in unusable(tmp_path / name)
    unusable(tmp_path / "file" / "below")


def test_a_foreign_directory_is_refused(tmp_path: Path) -> None:
    """A directory with other files is not used, and left unchanged."""
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.tex").write_bytes(b"years of work")
    assert "'thesis.tex'" in unusable(tmp_path)
    assert files(tmp_path) == {"thesis.tex": b"years of work"}
    assert mode(tmp_path) == 0o755


@pytest.mark.parametrize("sign", ["spool.json", "owners"])
def test_foreign_files_in_a_spool_are_left_alone(sign: str, tmp_path: Path) -> None:
    """Files of an editor or a person in an existing spool do not prevent a start."""
    directory(tmp_path).check()
    (tmp_path / ("owners" if sign == "spool.json" else "spool.json")).rename(tmp_path / ".away")
    strange = {f"{NAME}~": b"x\n", f"{NAME}x": b"", "notes.txt": b"n", "lost+found": None}
    for name, text in strange.items():
        (tmp_path / name).mkdir() if text is None else (tmp_path / name).write_bytes(text)
    spool = directory(tmp_path)
    spool.check()
    assert spool.foreign_names == sorted({*strange} - {"lost+found"})
    assert spool.segments() == {}
    assert {name: text for name, text in strange.items() if text is not None}.items() <= files(
        tmp_path
    ).items()


def test_foreign_files_are_reported_once(tmp_path: Path) -> None:
    """A notice says that they are not sent."""
    with Collector() as collector, handler(tmp_path, endpoint=collector.url) as first:
        (tmp_path / "notes.ndjson").touch()
        assert first.flush(10)
    heard: list[str] = []

    class Hearing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    hearing = Hearing()
    logging.getLogger("fslog").addHandler(hearing)
    try:
        record = logging.makeLogRecord(
            {"event": {"accountId": "a", "userId": "u", "action": "x", "sessionId": "s"}}
        )
        with Collector() as collector, handler(tmp_path, endpoint=collector.url) as second:
            for _ in range(3):
                second.handle(record)
                assert second.flush(10)
    finally:
        logging.getLogger("fslog").removeHandler(hearing)
    assert [text for text in heard if "'notes.ndjson'" in text] == [
        "the spool's directory also contains files that are not fslog's, which are not sent: "
        "'notes.ndjson'"
    ]


def test_a_file_system_without_locks_is_refused(tmp_path: Path) -> None:
    """If `flock` has no effect, dead owners cannot be found; the error says what to do."""
    spool = directory(tmp_path / "spool")
    hooks(spool)["is_locked"] = lambda path: False
    with pytest.raises(ValueError, match=r"file locks \(flock\) have no effect.*local disk"):
        spool.check()
    assert os.listdir(tmp_path / "spool" / "owners") == []
    directory(tmp_path / "spool").check()


def test_files_of_tools_are_accepted(tmp_path: Path) -> None:
    """A volume's lost+found, hidden files, and drafts that a crash left."""
    for name in (".keep", ".nfs000012", "spool.json.0a.new", f"{NAME}.0a.new", str(NAME)):
        (tmp_path / name).touch()
    (tmp_path / "lost+found").mkdir()
    directory(tmp_path).check()


def test_another_users_directory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the permissions suffice, as root's do."""
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(tmp_path).st_uid + 1)
    assert "it belongs to another user" in unusable(tmp_path)


@pytest.mark.parametrize("call", ["make_directory", "listdir", "create_lockfile", "create"])
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_directory_that_cannot_be_written_is_refused(
    call: str, number: int, tmp_path: Path
) -> None:
    """Whatever fails, the error contains the system's reason."""
    spool = directory(tmp_path / "spool")
    hooks(spool)[call] = failing(number)
    with pytest.raises(ValueError, match=os.strerror(number)):
        spool.check()


def test_an_error_without_errno_is_shown_by_its_text(tmp_path: Path) -> None:
    """Locks that never succeed are a reason, too."""
    spool = directory(tmp_path)
    hooks(spool)["try_lock"] = lambda fd: False
    with pytest.raises(ValueError, match="no owner's file could be made and locked"):
        spool.check()


@pytest.mark.parametrize("call", ["create_lockfile", "write_at_start", "write", "make_directory"])
def test_a_full_disk_does_not_prevent_a_start(call: str, tmp_path: Path) -> None:
    """It may have room again later; no incomplete file is left."""
    spool = directory(tmp_path / "spool")
    hooks(spool)[call] = failing(errno.ENOSPC)
    spool.check()
    assert files(tmp_path) == {}


def test_a_directory_of_another_format_is_refused(tmp_path: Path) -> None:
    """A later version's directory is left unchanged, and the error names both formats."""
    (tmp_path / "spool.json").write_text('{"format": 2}')
    assert "it has format 2, not format 1" in unusable(tmp_path)
    assert files(tmp_path) == {"spool.json": b'{"format": 2}'}
    for strange in ("9" * 2000, "[" * 500 + "]" * 500, '"' + "x" * 3000 + '"'):
        (tmp_path / "spool.json").write_text(f'{{"format": {strange}}}')
        text = unusable(tmp_path)
        assert "an unknown format" in text
        assert len(text) < 500


MARKERS = [
    b"",
    b"\0\0\0",
    b'{"form',
    b"[]",
    b"\xff",
    b"[" * 100_000,
    b'{"format":' + b"[" * 100_000,
    b'{"format": ' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("text", MARKERS, ids=lambda text: repr(text[:12]))
def test_a_torn_marker_is_written_again(text: bytes, tmp_path: Path) -> None:
    """A power cut during its write does no harm: its content is known."""
    (tmp_path / "spool.json").write_bytes(text)
    directory(tmp_path).check()
    [found] = files(tmp_path).values()
    assert json.loads(found) == {"format": 1, "keys": KEYS}


def test_a_valid_marker_is_not_written_again(tmp_path: Path) -> None:
    """The next process leaves it unchanged."""
    directory(tmp_path).check()
    before = os.stat(tmp_path / "spool.json")
    directory(tmp_path).check()
    assert os.path.samestat(before, os.stat(tmp_path / "spool.json"))


def test_other_keys_are_refused_while_an_owner_lives(tmp_path: Path) -> None:
    """The marker is unchanged until no owner is alive; then the directory is taken over."""
    owner = directory(tmp_path).create_owner()
    assert "a living process uses it with other keys" in unusable(tmp_path, OTHER_KEYS)
    assert json.loads((tmp_path / "spool.json").read_bytes())["keys"] == KEYS
    assert os.listdir(tmp_path / "owners") == [owner.name]
    owner.close()
    directory(tmp_path, OTHER_KEYS).check()
    assert json.loads((tmp_path / "spool.json").read_bytes())["keys"] == OTHER_KEYS
    assert os.listdir(tmp_path / "owners") == [owner.name]


def test_two_sets_of_keys_never_both_get_an_owner(tmp_path: Path) -> None:
    """The second process sees the first, at whatever step of its creation the first is."""
    begun: list[str] = []

    def attempt(path: Path, digest: str, hook: Callable[..., Any] | None, call: str) -> list[Owner]:
        spool = directory(path, digest)
        if hook is not None:
            hooks(spool)[call] = hook
        try:
            return [spool.create_owner()]
        except ValueError:
            begun.append(digest)
            return []

    for call in ("create_lockfile", "write_at_start", "try_lock", "listdir", "read", "replace"):
        path = tmp_path / call
        others: list[Owner] = []

        def other(*given: Any, path: Path = path, others: list[Owner] = others) -> None:
            if not others:
                others += attempt(path, OTHER_KEYS, None, "")

        mine = attempt(path, KEYS, other, call)
        assert len(mine) + len(others) < 2, call
        for owner in (*mine, *others):
            owner.remove()


@pytest.mark.parametrize("call", ["is_locked", "read"])
def test_corrected_keys_in_two_processes_at_once(call: str, tmp_path: Path) -> None:
    """Two workers start with corrected keys: neither mistakes the other for the old one."""
    old = directory(tmp_path, OTHER_KEYS).create_owner()
    (tmp_path / f"{old.name}-00000001.ndjson").write_bytes(b"x\n")
    old.close()
    begun: list[Owner] = []
    moved, done = threading.Event(), threading.Event()
    first, second = directory(tmp_path), directory(tmp_path)

    def pause() -> None:
        moved.set()
        done.wait(10)

    second._pause = pause

    def begin() -> None:
        begun.append(second.create_owner())
        moved.set()

    thread = threading.Thread(target=begin)

    def start(*given: Any) -> None:
        hooks(first).clear()
        thread.start()
        moved.wait(10)

    hooks(first)[call] = start
    begun.append(first.create_owner())
    done.set()
    thread.join(10)
    assert len(begun) == 2
    for owner in begun:
        owner.remove()


def test_a_file_is_replaced_atomically(tmp_path: Path) -> None:
    """If the write, the sync or the rename fails, the old file stays and no draft is left."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    for call, number in (("write", errno.ENOSPC), ("fsync", errno.EIO), ("replace", errno.EIO)):
        spool = directory(tmp_path)
        hooks(spool)[call] = failing(number)
        with pytest.raises(OSError, match=os.strerror(number)):
            spool.write(str(path), b"new text", is_synced=True)
        assert files(tmp_path) == {"file": b"old"}
    spool = directory(tmp_path)
    hooks(spool)["write"] = lambda fd, text: os.write(fd, text[:3])
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        spool.write(str(path), b"new text")
    assert files(tmp_path) == {"file": b"old"}
    hooks(spool).clear()
    spool.write(str(path), b"new text")
    assert files(tmp_path) == {"file": b"new text"}


def test_drafts_that_a_crash_left_are_removed(tmp_path: Path) -> None:
    """After ten minutes, in the quarantine too; a recent draft may be in use, and stays."""
    spool = directory(tmp_path)
    spool.check()
    spool.quarantine("stem", "0", b"text", "why")
    now = 1e9
    for folder in (tmp_path, tmp_path / "quarantine"):
        for name, age in (("old.new", 700), ("recent.new", 500), ("other", 700)):
            (folder / name).touch()
            os.utime(folder / name, (now - age, now - age))
    spool.remove_stale_drafts(now)
    for folder in (tmp_path, tmp_path / "quarantine"):
        assert {"recent.new", "other"} < set(os.listdir(folder))
        assert "old.new" not in os.listdir(folder)


def test_the_quarantine_keeps_bytes_and_reason(tmp_path: Path) -> None:
    """Unchanged bytes and the reason, in two files named by segment and offset."""
    spool = directory(tmp_path)
    spool.quarantine(NAME.stem, "17", b"\xff\0torn", "why \ud800")
    assert files(tmp_path / "quarantine") == {
        "00000001-aaaaaaaa-00000007-17.ndjson": b"\xff\0torn",
        "00000001-aaaaaaaa-00000007-17.reason": b"why ?\n",
    }
    assert spool.quarantined_bytes() == len(b"\xff\0torn") + len(b"why ?\n")


def test_the_quarantine_is_never_overwritten(tmp_path: Path) -> None:
    """The same bytes are written once; other bytes from the same place get another name."""
    spool = directory(tmp_path)
    spool.quarantine("stem", "0", b"first", "one")
    before = files(tmp_path)
    spool.quarantine("stem", "0", b"first", "one")
    assert files(tmp_path) == before
    spool.quarantine("stem", "0", b"second", "two")
    after = files(tmp_path)
    assert before.items() < after.items()
    assert len(after) == 4
    assert {b"second", b"two\n"} < set(after.values())


def test_a_whole_segment_can_be_quarantined(tmp_path: Path) -> None:
    """It is moved with its reason; an earlier one of the same name is not overwritten."""
    spool = directory(tmp_path)
    for text in (b"first", b"second"):
        (tmp_path / str(NAME)).write_bytes(text)
        spool.quarantine_file(NAME, f"reason of the {text.decode()}")
    assert not (tmp_path / str(NAME)).exists()
    kept = files(tmp_path / "quarantine")
    assert kept[f"{NAME.stem}-whole.ndjson"] == b"first"
    assert kept[f"{NAME.stem}-whole.reason"] == b"reason of the first\n"
    assert set(kept.values()) == {
        b"first",
        b"second",
        b"reason of the first\n",
        b"reason of the second\n",
    }


def test_segments_are_listed_by_owner_in_order(tmp_path: Path) -> None:
    """Numbers and sizes, sorted by number; other files are skipped."""
    spool = directory(tmp_path)
    spool.check()
    assert not spool.has_segments()
    assert spool.segments() == {}
    sizes = {("00000002-bbbbbbbb", 1): 5, ("00000001-aaaaaaaa", 12): 3, ("00000001-aaaaaaaa", 3): 0}
    for (owner, number), size in sizes.items():
        (tmp_path / str(SegmentName(owner, number))).write_bytes(b"x" * size)
    assert spool.has_segments()
    assert spool.segments() == {
        "00000001-aaaaaaaa": [(3, 0), (12, 3)],
        "00000002-bbbbbbbb": [(1, 5)],
    }


def test_usage_covers_the_whole_directory(tmp_path: Path) -> None:
    """Segments, bytes and the age of the oldest, without empty ones; no age is negative."""
    spool = directory(tmp_path)
    spool.check()
    nothing = {"spool_segments": 0, "spool_bytes": 0, "spool_oldest_age": None}
    (tmp_path / str(SegmentName("00000003-cccccccc", 1))).touch()
    assert spool.usage(1000.0) == nothing
    for number, (size, at) in enumerate(((10, 500), (5, 900)), 1):
        path = tmp_path / str(SegmentName(f"0000000{number}-aaaaaaaa", number))
        path.write_bytes(b"x" * size)
        os.utime(path, (at, at))
    expected = {"spool_segments": 2, "spool_bytes": 15, "spool_oldest_age": 500.0}
    assert spool.usage(1000.0) == expected
    assert spool.usage(100.0) == {**expected, "spool_oldest_age": 0.0}


def test_a_missing_directory_is_empty(tmp_path: Path) -> None:
    """Asking for its contents is not an error."""
    spool = directory(tmp_path / "gone")
    assert not spool.has_segments()
    assert spool.usage(0.0)["spool_segments"] == 0
    assert spool.quarantined_bytes() == 0


def test_the_argument_and_the_environment(tmp_path: Path) -> None:
    """The argument, or else FSLOG_SPOOL; empty means no spool; a relative path is made absolute."""
    environ = {"FSLOG_SPOOL": f" {tmp_path}/env "}

    def path(value: Any, environ: dict[str, str] = environ) -> str | None:
        spool = spool_directory(value, DESTINATION, environ)
        return None if spool is None else spool.path

    assert path(None) == f"{tmp_path}/env"
    assert path(f"{tmp_path}/arg") == f"{tmp_path}/arg"
    assert path(tmp_path / "arg") == f"{tmp_path}/arg"
    assert path("") is None
    assert path(None, {}) is None
    assert path("rel/../x") == os.path.join(os.getcwd(), "x")
    assert os.listdir(tmp_path) == []


def test_a_tilde_is_a_home_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """At the start, in the argument and the environment; within a path it is a name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def path(value: Any, environ: Any = None) -> str:
        spool = spool_directory(value, DESTINATION, environ or {})
        assert spool is not None
        return spool.path

    assert path("~/x") == path(Path("~/x")) == path(None, {"FSLOG_SPOOL": "~/x"}) == f"{tmp_path}/x"
    assert path("~") == str(tmp_path)
    assert path("./~/x") == f"{tmp_path}/~/x"
    with pytest.raises(
        ValueError, match=r"spool is '~nobody-is-called-so/x', but that user has no home"
    ):
        path("~nobody-is-called-so/x")
    with pytest.raises(ValueError, match="without NUL characters"):
        path("~\0/x")
    monkeypatch.setenv("HOME", "/home/the-auth-key")
    with pytest.raises(ValueError, match="contains a key") as caught:
        path("~/x")
    assert "the-auth-key" not in str(caught.value)


@pytest.mark.parametrize("value", [5, b"/bytes", True, ["/x"], object()])
def test_a_value_of_another_type_is_an_error(value: Any) -> None:
    """The error names the type and does not show the value."""
    with pytest.raises(TypeError, match=f"spool is of type {type(value).__name__}; expected"):
        spool_directory(value, DESTINATION, {})


def test_an_impossible_path_is_an_error(tmp_path: Path) -> None:
    """One with a NUL, or with a key, which is not shown."""
    with pytest.raises(ValueError, match=r"spool is '.*\\x00b'; expected a path without NUL"):
        spool_directory(f"{tmp_path}/a\0b", DESTINATION, {})
    with pytest.raises(ValueError, match="contains a key") as caught:
        spool_directory(f"{tmp_path}/the-auth-key", DESTINATION, {})
    assert "the-auth-key" not in str(caught.value)


def test_a_path_like_the_endpoints_is_accepted(tmp_path: Path) -> None:
    """Only the keys themselves are refused."""
    assert spool_directory(tmp_path / "v1" / "shop" / "spool", DESTINATION, {}) is not None


def test_a_platform_without_locks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without locks dead owners cannot be found."""
    monkeypatch.setattr(spooldir, "CAN_LOCK", False)
    with pytest.raises(ValueError, match="does not have"):
        spool_directory("/x", DESTINATION, {})
    assert spool_directory("", DESTINATION, {}) is None


@contextlib.contextmanager
def handler(path: Path, api_key: str = "api-key-1", **settings: Any) -> Iterator[Any]:
    """Build a handler with nothing to deliver, and close it."""
    given = {"endpoint": "http://127.0.0.1:9", **settings}
    made = FreshsuccessHandler(auth_key="auth-key-1", api_key=api_key, spool=path, **given)
    try:
        yield made
    finally:
        made.close()


def test_handlers_with_other_keys(tmp_path: Path) -> None:
    """A handler keeps other keys out from its construction until it is closed."""
    record = logging.makeLogRecord(
        {"event": {"accountId": "a", "userId": "u", "action": "x", "sessionId": "s"}}
    )
    with Collector() as collector, handler(tmp_path, endpoint=collector.url) as first:
        collector.always(Answer(503))
        with pytest.raises(ValueError, match="other keys"), handler(tmp_path, "api-key-2"):
            pass  # even before the first log call
        first.handle(record)
        assert first.stats().accepted == 1
        collector.wait_for_requests(1)  # after its search for orphans; the next one is later
        before = files(tmp_path)
        with pytest.raises(ValueError, match="other keys") as caught:
            FreshsuccessHandler(
                auth_key="auth-key-1",
                api_key="api-key-2",
                endpoint="http://127.0.0.1:9",
                spool=tmp_path,
            )
        assert "api-key" not in str(caught.value)
        with handler(tmp_path):
            assert before.items() < files(tmp_path).items()
        assert files(tmp_path) == before
        for name, text in before.items():
            assert "-key-" not in name
            assert b"-key-" not in text
        collector.always(None)
        assert first.flush(10)


def test_a_disabled_handler_ignores_the_directory(tmp_path: Path) -> None:
    """It is neither read nor created."""
    with handler(tmp_path / "spool", enabled=False):
        assert os.listdir(tmp_path) == []
