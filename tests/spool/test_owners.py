"""Owners: locks separate the living from the dead, claims never exceed the limit."""

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
    """A folder of owners' files, with a file system that can be watched and made to fail."""

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


def test_each_owner_has_a_later_generation(folder: Folder) -> None:
    """One more than the highest existing one, living or dead; other files do not count."""
    (folder.path / "99999999-notes.txt").touch()
    first, second = folder.create(), folder.create()
    first.close()
    third = folder.create()
    found = [generation_of(owner.name) for owner in (first, second, third)]
    assert found == [1, 2, 3]
    second.remove()
    third.remove()
    assert folder.names() == [first.name, "99999999-notes.txt"]


def test_an_owner_is_living_until_it_is_closed(folder: Folder) -> None:
    """The lock decides, within one process too; closing twice is safe; a removed owner is dead."""
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


def test_a_killed_process_is_dead(tmp_path: Path) -> None:
    """The kernel's lock decides, not the file or the process id."""
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


def test_a_child_releases_its_copy_of_the_lock(folder: Folder) -> None:
    """After a forked child has closed its copy, only the parent keeps its owner alive."""
    owner = folder.create()
    asked, told = os.pipe()
    heard, said = os.pipe()

    def child() -> None:
        os.close(said)
        owner.close()
        os.write(told, b".")
        os.read(heard, 1)  # until the parent closes its end of the pipe

    pid = fork(child)
    os.read(asked, 1)
    assert folder.is_living(owner.name)
    owner.close()
    assert not folder.is_living(owner.name)
    os.close(said)
    assert ended_well(pid)
    for fd in (asked, told, heard):
        os.close(fd)


def test_close_spares_a_reused_descriptor(folder: Folder) -> None:
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


def test_a_removed_owners_file_is_noticed(folder: Folder) -> None:
    """If it is gone, or another file has its path, it is not linked; that file is not removed."""
    owner = folder.create()
    assert owner.is_linked()
    path = folder.path / owner.name
    path.unlink()
    assert not owner.is_linked()
    path.write_bytes(b"another's")
    assert not owner.is_linked()
    owner.remove()
    assert path.read_bytes() == b"another's"


def test_an_owner_is_created_again_with_its_name(folder: Folder) -> None:
    """If its file was removed, the name is reused, unless another file has it by now."""
    owner = folder.create()
    (folder.path / owner.name).unlink()
    owner.close()
    again = folder.create(owner.name)
    assert again.name == owner.name
    other = folder.create(owner.name)
    assert generation_of(other.name) == 2
    other.remove()
    again.remove()


def test_an_owners_file_that_cannot_be_removed_is_unlocked(folder: Folder) -> None:
    """A failing disk raises nothing and keeps no lock; an owner without segments is left."""
    owner = folder.create()
    folder.fs.hooks["unlink"] = failing(errno.EROFS)
    owner.remove()
    assert folder.names() == [owner.name]
    assert not folder.is_living(owner.name)


def test_a_new_file_that_was_adopted_is_not_used(folder: Folder) -> None:
    """A process that adopts a new file before it is locked keeps it; another file is created."""
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
    # The other process may also have removed it by then.
    stolen.clear()

    def steal_and_remove(fd: int) -> None:
        steal(fd)
        stolen[0].remove()

    folder.fs.hooks["try_lock"] = steal_and_remove
    owner = folder.create()
    assert folder.names() == [owner.name]
    assert folder.is_living(owner.name)
    owner.remove()


def test_locks_that_never_succeed_are_an_error(folder: Folder) -> None:
    """A file system without locks causes an error, not an endless loop."""
    folder.fs.hooks["try_lock"] = lambda fd: False
    with pytest.raises(OSError, match="no owner's file could be made and locked"):
        folder.create()
    folder.fs.hooks["create_lockfile"] = failing(errno.EEXIST)
    with pytest.raises(OSError, match="no owner's file could be made and locked"):
        folder.create()


@pytest.mark.parametrize("call", ["write_at_start", "try_lock"])
def test_a_failing_disk_leaves_no_owner(call: str, folder: Folder) -> None:
    """If an owner cannot be written, its file is removed and its lock released."""
    folder.fs.hooks[call] = failing(errno.ENOSPC, 1)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        folder.create()
    assert folder.names() == []


def test_a_late_adopter_gets_nothing(folder: Folder) -> None:
    """A file that its adopter removed between this open and this lock is not adopted."""
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


def test_an_owner_without_a_file_can_be_adopted(folder: Folder) -> None:
    """On request a private, locked file is created, for segments that exist; otherwise never."""
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


def test_one_of_many_adopters_wins(tmp_path: Path) -> None:
    """Eight threads with their own descriptors, 50 dead owners: each is adopted once."""
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


def test_claims_of_all_owners_are_added_up(folder: Folder) -> None:
    """A later claim replaces an earlier one; empty, torn and irregular files claim nothing."""
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
    """If a claim is unknown, no room is granted; a file that is gone claims nothing."""
    owner = folder.create()
    owner.claim(5)
    folder.fs.hooks["read"] = failing(errno.EMFILE)
    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        folder.claimed()
    folder.fs.hooks["read"] = failing(errno.ENOENT)
    assert folder.claimed() == 0
    owner.remove()


def test_one_of_two_claims_at_once_sees_the_other(folder: Folder) -> None:
    """However writing and adding up interleave, the later reader sees both claims."""
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


def test_only_living_owners_with_other_keys_count(folder: Folder) -> None:
    """A dead one with other keys, and a living one with the same keys, do not count."""
    same, other = folder.create(), folder.create(digest=OTHER_KEYS)
    assert folder.is_used_with_other_keys()
    assert folder.is_used_with_other_keys(OTHER_KEYS)
    other.close()
    assert not folder.is_used_with_other_keys()
    assert folder.is_used_with_other_keys(OTHER_KEYS)
    same.remove()
    assert not folder.is_used_with_other_keys(OTHER_KEYS)


def test_an_owner_removed_during_the_check_is_dead(folder: Folder) -> None:
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


def test_an_adopter_is_waited_for(folder: Folder) -> None:
    """An owner that is locked but still has the old digest is checked again after a moment."""
    dead = folder.create(digest=OTHER_KEYS)
    dead.close()
    taken: list[Owner | None] = []
    seen: list[bool] = []
    pauses: list[int] = []

    def look(fd: int, text: bytes) -> None:
        # During the adoption: the file is locked, but still has the old digest.
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
    """From the adoption on, another process with the same keys finds no other keys."""
    dead = folder.create(digest=OTHER_KEYS)
    dead.claim(77)
    dead.close()
    adopted = folder.adopt(dead.name, KEYS)
    assert adopted is not None
    assert not folder.is_used_with_other_keys(KEYS)
    assert folder.is_used_with_other_keys(OTHER_KEYS)
    assert folder.claimed() == 77
    adopted.remove()


def test_failed_adoptions_cause_a_cooldown(folder: Folder) -> None:
    """The first two tries may follow at once; after that there is one every ten seconds."""
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
    # A clock that is set back must not extend the cooldown to an hour.
    assert attempt(now - 3600)


def test_an_owners_file_contains_a_digest_and_numbers(folder: Folder) -> None:
    """Its text is the digest, the claim in 20 digits and short numbers, and nothing else."""
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
def test_an_impossible_claim_counts_as_none(kind: str, folder: Folder) -> None:
    """It raises nothing, and its owner can be adopted as any other."""
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


def test_a_foreign_file_is_not_an_owner(folder: Folder) -> None:
    """It claims nothing, and its lock is not that of a process with other keys."""
    other = folder.path / "notes.txt"
    other.write_bytes(OTHER_KEYS.encode() + b" 500 0\n")
    with other.open() as file:
        assert folder.fs.try_lock(file.fileno())
        assert folder.claimed() == 0
        assert not folder.is_used_with_other_keys()


def test_generations_have_64_bits(folder: Folder) -> None:
    """If a file has the largest name that exists, a new owner still gets a valid one."""
    (folder.path / owner_name(MAX_NUMBER, "f" * 8)).touch()
    (folder.path / owner_name(MAX_NUMBER + 5, "f" * 8)).touch()
    owner = folder.create()
    assert generation_of(owner.name) == MAX_NUMBER
    owner.remove()


def test_offsets_are_read_as_written(folder: Folder) -> None:
    """The newest one of a segment counts; claims and adoptions leave offsets unchanged."""
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
    """However much of it was written, the older or the newer offset is read, never another."""
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


def test_an_orderly_end_is_not_a_failed_try(folder: Folder) -> None:
    """Its own try is withdrawn; those of dead processes before it are not."""
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
