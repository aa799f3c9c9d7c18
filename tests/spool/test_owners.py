"""Owners of segments: a lock tells the living from the dead, claims keep the sum in its bounds."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fslog.spool import owners
from fslog.spool.owners import Owner, SettledOffset, parse_owner_file
from fslog.spool.segments import MAX_NUMBER, generation_of, owner_name
from spools import Watched, ended_well, failing, fork, mode

KEYS, OTHER_KEYS = "a" * 32, "b" * 32


class Folder:
    """A folder of owners' files, and a file system that can be watched and made to fail."""

    def __init__(self, path: Path) -> None:
        self.fs = Watched()
        self.path = path
        self.tokens = (f"{number:08x}" for number in itertools.count(1))

    def create(self, again: str = "", digest: str = KEYS) -> Owner:
        return owners.create_owner(
            self.fs, str(self.path), digest, lambda: next(self.tokens), again
        )

    def adopt(
        self, name: str, digest: str = KEYS, now: float | None = None, *, make: bool = False
    ) -> Owner | None:
        at = time.time() if now is None else now
        return owners.adopt(self.fs, str(self.path), name, digest, at, make=make)

    def is_living(self, name: str) -> bool:
        return owners.is_living(self.fs, str(self.path), name)

    def claimed(self) -> int:
        return owners.claimed_bytes(self.fs, str(self.path))

    def is_used_with_other_keys(
        self, digest: str = KEYS, pause: Callable[[], None] = lambda: None
    ) -> bool:
        return owners.is_used_with_other_keys(self.fs, str(self.path), digest, pause)

    def names(self) -> list[str]:
        return sorted(os.listdir(self.path))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_each_owner_is_of_a_later_generation(folder: Folder) -> None:
    """One more than the highest that is there, dead or alive; other files do not count."""
    (folder.path / "99999999-notes.txt").touch()
    first, second = folder.create(), folder.create()
    first.close()
    third = folder.create()
    found = [generation_of(owner.name) for owner in (first, second, third)]
    assert found == [1, 2, 3]
    second.remove()
    third.remove()
    assert folder.names() == [first.name, "99999999-notes.txt"]


def test_an_owner_lives_until_it_lets_go(folder: Folder) -> None:
    """The lock tells, in the same process too; closing twice is nothing; a gone one is dead."""
    owner = folder.create()
    assert folder.is_living(owner.name)
    assert folder.adopt(owner.name) is None
    owner.close()
    owner.close()
    assert not folder.is_living(owner.name)
    adopted = folder.adopt(owner.name)
    assert adopted is not None
    assert folder.is_living(owner.name)
    adopted.remove()
    assert not folder.is_living(owner.name)
    assert folder.names() == []


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    """Not the process's file nor its number: the kernel's lock says that it is dead."""
    folder = Folder(tmp_path)
    program = (
        "import sys\n"
        "from fslog.spool import owners\n"
        "from fslog.spool.filesystem import FileSystem\n"
        "owner = owners.create_owner(FileSystem(), sys.argv[1], 'a' * 32, lambda: '0' * 8)\n"
        "print(owner.name, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert folder.is_living(name)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        owner = folder.adopt(name)
        assert owner is not None
        owner.remove()


def test_a_childs_copy_keeps_the_lock_until_it_is_closed(folder: Folder) -> None:
    """A forked child that closes its copy leaves the parent's life to the parent alone."""
    owner = folder.create()
    asked, told = os.pipe()
    heard, said = os.pipe()

    def child() -> None:
        os.close(said)
        owner.close()
        os.write(told, b".")
        os.read(heard, 1)  # lives on until the parent's end of the pipe is closed

    pid = fork(child)
    os.read(asked, 1)
    assert folder.is_living(owner.name)
    owner.close()
    assert not folder.is_living(owner.name)
    os.close(said)
    assert ended_well(pid)
    for fd in (asked, told, heard):
        os.close(fd)


def test_closing_leaves_alone_what_took_the_number(folder: Folder) -> None:
    """A daemon closes all descriptors; another file that got the number is not closed."""
    for what in ("another", "nothing"):
        owner = folder.create()
        fd = next(fd for fd in range(3, 1024) if _is_open_on(fd, folder.path / owner.name))
        os.close(fd)
        if what == "another":
            other = os.open(os.devnull, os.O_RDONLY)
            if other != fd:
                os.dup2(other, fd)
                os.close(other)
        owner.close()
        if what == "another":
            os.fstat(fd)
            os.close(fd)


def _is_open_on(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:
        return False


def test_an_owners_file_that_somebody_removed_is_noticed(folder: Folder) -> None:
    """Gone, or another file in its place: it is linked no more, and that other is not removed."""
    owner = folder.create()
    assert owner.is_linked()
    path = folder.path / owner.name
    path.unlink()
    assert not owner.is_linked()
    path.write_bytes(b"another's")
    assert not owner.is_linked()
    owner.remove()
    assert path.read_bytes() == b"another's"


def test_an_owner_comes_again_under_its_name(folder: Folder) -> None:
    """Where its file was removed it keeps its name; where another has that, it gets a new one."""
    owner = folder.create()
    (folder.path / owner.name).unlink()
    owner.close()
    again = folder.create(owner.name)
    assert again.name == owner.name
    other = folder.create(owner.name)
    assert generation_of(other.name) == 2
    other.remove()
    again.remove()


def test_a_file_that_cannot_be_removed_is_an_owner_without_segments(folder: Folder) -> None:
    """A failing disk costs no exception and keeps no lock."""
    owner = folder.create()
    folder.fs.hooks["unlink"] = failing(errno.EROFS)
    owner.remove()
    assert folder.names() == [owner.name]
    assert not folder.is_living(owner.name)


def test_nobody_begins_under_a_file_that_was_taken(folder: Folder) -> None:
    """Who takes a new file for an orphan's, before it is locked, has it: another one is made."""
    stolen: list[Owner] = []

    def steal(fd: int) -> None:
        if not stolen:
            folder.fs.hooks.pop("try_lock")
            thief = folder.adopt(folder.names()[0])
            assert thief is not None
            stolen.append(thief)

    folder.fs.hooks["try_lock"] = steal
    owner = folder.create()
    assert owner.name != stolen[0].name
    assert folder.is_living(owner.name)
    stolen[0].remove()
    owner.remove()
    # Or it is even gone again by then.
    stolen.clear()

    def steal_and_remove(fd: int) -> None:
        steal(fd)
        stolen[0].remove()

    folder.fs.hooks["try_lock"] = steal_and_remove
    owner = folder.create()
    assert folder.names() == [owner.name]
    assert folder.is_living(owner.name)
    owner.remove()


def test_a_folder_where_no_file_can_be_locked_is_an_error(folder: Folder) -> None:
    """Locks that never come (a file system without them) end in an error, not in a loop."""
    folder.fs.hooks["try_lock"] = lambda fd: False
    with pytest.raises(OSError, match="no owner's file could be made and locked"):
        folder.create()
    folder.fs.hooks["create_lockfile"] = failing(errno.EEXIST)
    with pytest.raises(OSError, match="no owner's file could be made and locked"):
        folder.create()


@pytest.mark.parametrize("call", ["write_at_start", "try_lock"])
def test_a_failing_disk_leaves_no_owner_behind(call: str, folder: Folder) -> None:
    """An owner that could not be made whole is an error, its file is removed, its lock let go."""
    folder.fs.hooks[call] = failing(errno.ENOSPC, 1)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        folder.create()
    assert folder.names() == []


def test_an_adopter_that_comes_too_late_takes_nothing(folder: Folder) -> None:
    """A file that its adopter removed between our opening and our locking is nobody's."""
    dead = folder.create()
    dead.close()
    first = folder.adopt(dead.name)
    assert first is not None

    def remove(fd: int) -> None:
        folder.fs.hooks.clear()
        first.remove()

    folder.fs.hooks["try_lock"] = remove
    assert folder.adopt(dead.name) is None
    assert folder.names() == []


def test_an_owner_whose_file_is_gone_can_be_adopted(folder: Folder) -> None:
    """Segments may be left of one: a file is made anew, private, and locked; else never."""
    name = owner_name(7, "0" * 8)
    before = os.umask(0o777)
    try:
        with pytest.raises(FileNotFoundError):
            folder.adopt(name)
        assert folder.names() == []
        owner = folder.adopt(name, make=True)
    finally:
        os.umask(before)
    assert owner is not None
    assert mode(folder.path / name) == 0o600
    assert folder.is_living(name)
    owner.remove()


def test_of_many_adopters_one_wins(tmp_path: Path) -> None:
    """Eight threads with descriptors of their own, 50 dead owners: each is taken once."""
    folder = Folder(tmp_path)
    dead = [folder.create() for _ in range(50)]
    for owner in dead:
        owner.close()
    won: list[Owner] = []
    barrier = threading.Barrier(8)

    def adopt() -> None:
        mine = Folder(tmp_path)
        for owner in dead:
            barrier.wait(10)
            taken = mine.adopt(owner.name)
            if taken is not None:
                won.append(taken)

    threads = [threading.Thread(target=adopt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [owner.name for owner in won] == [owner.name for owner in dead]
    for owner in won:
        owner.remove()


def test_claims_of_the_living_and_the_dead_are_added_up(folder: Folder) -> None:
    """A later claim replaces the earlier; what is empty, torn or no file counts nothing."""
    first, second = folder.create(), folder.create()
    assert folder.claimed() == 0
    first.claim(10**12)
    first.claim(5)
    second.claim(70)
    assert folder.claimed() == 75
    second.close()
    assert folder.claimed() == 75
    for name, text in ((8, b""), (9, b"\xff\xff\n"), (10, b"x y\n")):
        (folder.path / owner_name(name, "0" * 8)).write_bytes(text)
    (folder.path / owner_name(11, "0" * 8)).symlink_to(folder.path / first.name)
    os.mkfifo(folder.path / owner_name(12, "0" * 8))
    assert folder.claimed() == 75
    first.remove()


def test_a_claim_that_cannot_be_read_is_an_error(folder: Folder) -> None:
    """Where it is not known what others claim, nothing is granted; what is gone claims nothing."""
    owner = folder.create()
    owner.claim(5)
    folder.fs.hooks["read"] = failing(errno.EMFILE)
    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        folder.claimed()
    folder.fs.hooks["read"] = failing(errno.ENOENT)
    assert folder.claimed() == 0
    owner.remove()


def test_of_two_that_claim_at_once_one_sees_the_other(folder: Folder) -> None:
    """At every interleaving of writing a claim and reading all, the later reader sees both."""
    first, second = folder.create(), folder.create()
    sums: list[int] = []

    def interrupt(path: str) -> None:
        folder.fs.hooks.clear()
        second.claim(60)
        sums.append(folder.claimed())

    first.claim(60)
    folder.fs.hooks["listdir"] = interrupt
    sums.append(folder.claimed())
    assert max(sums) == 120
    first.remove()
    second.remove()


def test_only_a_living_owner_with_other_keys_counts(folder: Folder) -> None:
    """A dead one with others, and a living one with the same, are no hindrance."""
    same, other = folder.create(), folder.create(digest=OTHER_KEYS)
    assert folder.is_used_with_other_keys()
    assert folder.is_used_with_other_keys(OTHER_KEYS)
    other.close()
    assert not folder.is_used_with_other_keys()
    assert folder.is_used_with_other_keys(OTHER_KEYS)
    same.remove()
    assert not folder.is_used_with_other_keys(OTHER_KEYS)


def test_an_owner_that_goes_amid_the_look_is_dead(folder: Folder) -> None:
    """Its file may be removed after it was listed, and after it was read."""
    for call in ("read", "is_locked"):
        other = folder.create(digest=OTHER_KEYS)

        def leave(*given: Any, other: Owner = other) -> None:
            folder.fs.hooks.clear()
            other.remove()

        folder.fs.hooks[call] = leave
        assert not folder.is_used_with_other_keys()


def test_two_checks_at_once_do_not_see_each_other(folder: Folder) -> None:
    """The lock that another process's check holds for an instant does not make an owner alive."""
    dead = folder.create(digest=OTHER_KEYS)
    dead.close()
    with (folder.path / dead.name).open("rb") as checked:
        fcntl.flock(checked.fileno(), fcntl.LOCK_SH)
        assert not folder.is_living(dead.name)
        assert not folder.is_used_with_other_keys()


def test_who_takes_over_is_waited_for(folder: Folder) -> None:
    """An owner that is locked but still bears the old keys is looked at again after a moment."""
    dead = folder.create(digest=OTHER_KEYS)
    dead.close()
    taken: list[Owner | None] = []
    seen: list[bool] = []
    pauses: list[int] = []

    def look(fd: int, text: bytes) -> None:
        # Amid the adoption: the lock is had, the file does not say so yet.
        folder.fs.hooks.clear()

        def pause() -> None:
            pauses.append(1)
            if len(pauses) == 3:
                os.pwrite(fd, text, 0)

        seen.append(Folder(folder.path).is_used_with_other_keys(pause=pause))

    folder.fs.hooks["write_at_start"] = look
    taken.append(folder.adopt(dead.name))
    assert (seen, len(pauses)) == ([False], 3)
    for owner in taken:
        assert owner is not None
        owner.remove()


def test_an_adopted_owner_has_the_keys_of_its_adopter(folder: Folder) -> None:
    """From the adoption on: another process with the same keys is not told that others live."""
    dead = folder.create(digest=OTHER_KEYS)
    dead.claim(77)
    dead.close()
    adopted = folder.adopt(dead.name, KEYS)
    assert adopted is not None
    assert not folder.is_used_with_other_keys(KEYS)
    assert folder.is_used_with_other_keys(OTHER_KEYS)
    assert folder.claimed() == 77
    adopted.remove()


def test_segments_that_were_taken_over_in_vain_rest(folder: Folder) -> None:
    """Two may try at once; after that they are left alone for ten seconds after each in vain."""
    dead = folder.create()
    dead.close()

    def attempt(now: float) -> bool:
        owner = folder.adopt(dead.name, now=now)
        if owner is None:
            return False
        owner.close()
        os.utime(folder.path / dead.name, (now, now))
        return True

    now = 10.0**9
    assert [attempt(now) for _ in range(3)] == [True, True, False]
    for _ in range(3):
        assert not attempt(now + 9.5)
        now += 10.0
        assert attempt(now)
    # A clock that was set back must not make it rest for an hour.
    assert attempt(now - 3600)


def test_no_file_holds_more_than_a_digest_and_numbers(folder: Folder) -> None:
    """The text of an owner's file is its claim, which fits 20 digits, and nothing else."""
    owner = folder.create()
    owner.claim(2**63)
    digest, claim, *rest = (folder.path / owner.name).read_text().split()
    assert (digest, claim) == (KEYS, f"{2**63:020d}")
    assert all(word.isdecimal() and len(word) < 8 for word in rest)
    owner.remove()


STRANGE = {
    "of thousands of digits": b"a" * 32 + b" " + b"9" * 5000 + b" 0\n",
    "above 64 bits": b"a" * 32 + b" " + b"9" * 21 + b" 0\n",
    "of no ASCII digits": f"{KEYS} \N{ARABIC-INDIC DIGIT ONE} 0\n".encode(),
    "negative": KEYS.encode() + b" -5 -5\n",
    "of gigabytes": None,
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_claim_that_nobody_can_have_made_counts_nothing(kind: str, folder: Folder) -> None:
    """It raises nothing either; its owner can be taken over, as any other."""
    path = folder.path / owner_name(3, "0" * 8)
    text = STRANGE[kind]
    if text is None:
        path.touch()
        os.truncate(path, 1 << 40)
    else:
        path.write_bytes(text)
    assert folder.claimed() == 0
    folder.is_used_with_other_keys()
    owner = folder.adopt(path.name)
    assert owner is not None
    owner.claim(10**30)
    assert owner.read_state().claim_bytes == 10**20 - 1
    owner.remove()


def test_a_file_that_is_no_owners_has_no_say(folder: Folder) -> None:
    """It claims nothing, and whoever has it locked is no process with other keys."""
    other = folder.path / "notes.txt"
    other.write_bytes(OTHER_KEYS.encode() + b" 500 0\n")
    with other.open() as file:
        assert folder.fs.try_lock(file.fileno())
        assert folder.claimed() == 0
        assert not folder.is_used_with_other_keys()


def test_generations_end_with_64_bits(folder: Folder) -> None:
    """Where somebody left the largest name that there is, a new owner has one that is valid."""
    (folder.path / owner_name(MAX_NUMBER, "f" * 8)).touch()
    (folder.path / owner_name(MAX_NUMBER + 5, "f" * 8)).touch()
    owner = folder.create()
    assert generation_of(owner.name) == MAX_NUMBER
    owner.remove()


def test_marks_are_read_as_they_were_written(folder: Folder) -> None:
    """The newest of a segment counts; claims, and those who take over, leave marks alone."""
    owner = folder.create()
    assert owner.read_state().settled_bytes(7, 1000) == 0
    for settled in (100, 250, 400):
        owner.write_offset(SettledOffset(7, settled, 1000))
        owner.claim(settled)
        assert owner.read_state().settled_bytes(7, 1000) == settled
    assert owner.read_state().settled_bytes(7, 600) == 0
    assert owner.read_state().settled_bytes(8, 1000) == 0
    owner.close()
    adopted = folder.adopt(owner.name)
    assert adopted is not None
    assert adopted.state.settled_bytes(7, 1000) == 400
    adopted.write_offset(SettledOffset(8, 3, 5))
    found = adopted.read_state()
    assert (found.digest, found.claim_bytes, found.tries) == (KEYS, 400, 1)
    assert (found.settled_bytes(7, 1000), found.settled_bytes(8, 5)) == (400, 3)
    assert len((folder.path / owner.name).read_bytes()) < 256
    adopted.remove()


def test_a_torn_offset_is_ignored(folder: Folder) -> None:
    """However much of it was written: never a place between, and never none."""
    owner = folder.create()
    path = folder.path / owner.name
    seen = set()
    owner.write_offset(SettledOffset(7, 99_999_999, 10**12))
    owner.write_offset(SettledOffset(7, 123_456_789, 10**12))
    before = path.read_bytes()
    owner.write_offset(SettledOffset(7, 987_654_321, 10**12))
    after = path.read_bytes()
    assert len(before) == len(after)
    for cut in range(len(after) + 1):
        seen.add(parse_owner_file(after[:cut] + before[cut:]).settled_bytes(7, 10**12))
    assert seen == {123_456_789, 987_654_321}
    owner.remove()


def test_who_ends_in_order_has_not_tried(folder: Folder) -> None:
    """Its try is taken back; those of the dead before it are not."""
    dead = folder.create()
    dead.claim(5)
    dead.close()
    for tries in (0, 1):
        for _ in range(3):
            owner = folder.adopt(dead.name)
            assert owner is not None
            assert owner.read_state().tries == tries + 1
            owner.restore_tries()
            assert owner.read_state()[:3] == (KEYS, 5, tries)
            owner.close()
        owner = folder.adopt(dead.name)
        assert owner is not None
        owner.close()  # killed
    assert folder.adopt(dead.name) is None
