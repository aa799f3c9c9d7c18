"""Forgetting a person: whose events are removed, and how processes are asked to remove theirs.

The segments of a dead owner are rewritten by whoever holds the owner's lock. A living owner does
that itself, since it knows what it has read, sent and counted. A file in `.forget/` asks it to, and
the process that asks holds a lock on that file while it waits: without the lock the file is no
request. The listener finds it within 10 seconds, seals the open batch, removes the
person's events from all that it has in memory and on disk, and writes an answer beside it.

Each file is replaced by one without these events, or removed if it has no others. After a crash at
any moment it is as it was or as it is to be; the command can be repeated. What is left in a file
counts as written at that moment, so it expires later.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from fslog.interrupts import Suppressed, unless_interrupt
from fslog.spool import owners
from fslog.spool.directory import DRAFT, FORGET, OWNERS, SpoolDirectory
from fslog.spool.filesystem import FileSystem
from fslog.spool.segments import SegmentName

_REQUEST, _ANSWER = ".json", ".done"
_READ_BYTES = 1 << 20
_MAX_REQUEST_BYTES = 1 << 16


class Person(NamedTuple):
    """Whose events are removed.

    Args:
        users: the texts that the property `userId` may have: the id, and its hash.
        accounts: those that `accountId` may have; empty for any.
    """

    users: frozenset[str]
    accounts: frozenset[str] = frozenset()

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Return whether an event is one of the person's.

        >>> Person(frozenset({"ann"})).matches({"userId": "ann", "accountId": "acme"})
        True
        """
        if str(event.get("userId")) not in self.users:
            return False
        return not self.accounts or str(event.get("accountId")) in self.accounts

    def matches_line(self, line: bytes) -> bool:
        """Return whether a line is one of the person's events, or a torn or garbled one of them."""
        if b"userId" not in line:
            return False
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            return self._is_named_in(line)
        return isinstance(event, dict) and self.matches(event)

    def _is_named_in(self, line: bytes) -> bool:
        text = line.decode("utf-8", "replace")
        return any(
            re.search(rf'"userId"\s*:\s*{re.escape(json.dumps(user, ensure_ascii=ascii))}', text)
            for user in self.users
            for ascii in (True, False)
        )

    def others(self, lines: Iterable[bytes]) -> list[bytes]:
        """Return the lines that are not the person's."""
        return [line for line in lines if not self.matches_line(line)]


def lines_of(fs: FileSystem, path: str, at: int = 0) -> Iterator[bytes]:
    """Yield the lines of a file from an offset on; the last one may be torn."""
    rest = b""
    while text := fs.read(path, at, _READ_BYTES):
        at += len(text)
        *lines, rest = (rest + text).split(b"\n")
        for line in lines:
            yield line + b"\n"
    if rest:
        yield rest


def count_in(fs: FileSystem, path: str, person: Person, at: int = 0) -> int:
    """Return how many lines of a file, from an offset on, are the person's."""
    return sum(map(person.matches_line, lines_of(fs, path, at)))


def rewrite(directory: SpoolDirectory, path: str, person: Person, at: int = 0) -> int:
    """Replace a file by what follows an offset in it, without the person's lines, if it has any.

    Only the process that has the lock of the file's owner may do so.

    Returns:
        How many lines were removed.

    Raises:
        OSError: the file remains as it was.
    """
    count = count_in(directory.fs, path, person, at)
    if count:
        kept = (line for line in lines_of(directory.fs, path, at) if not person.matches_line(line))
        directory.write(path, kept, is_synced=True)
    return count


def forget_dead(directory: SpoolDirectory, name: str, person: Person) -> tuple[int, OSError | None]:
    """Remove a person's events from the segments of an owner, if it is dead.

    Returns:
        How many were removed, none if a process holds the owner's lock; and why some remain.

    Raises:
        OSError: the owner's file cannot be used.
    """
    fs = directory.fs
    owner = owners.hold(fs, directory.join(OWNERS), name, directory.digest)
    if owner is None:
        return 0, None
    try:
        # Listed under the lock: nobody removes or adds any.
        segments = directory.segments().get(name, [])
        removed, left = 0, dict(segments)
        failed: OSError | None = None
        for number, size_bytes in segments:
            path = directory.segment_path(SegmentName(name, number))
            begin = owner.state.settled_bytes(number, size_bytes)
            try:
                count = rewrite(directory, path, person, begin)
                removed += count
                left[number] = fs.lstat(path).st_size
                if count and not left[number]:
                    fs.unlink(path)
                    del left[number]
            except unless_interrupt(OSError) as error:  # the others are not affected
                failed = error
        if removed:
            fs.sync(directory.path)
        if not left:
            owner.remove()
        elif removed and owner.state.digest:
            owner.claim(sum(left.values()))
        return removed, failed
    finally:
        owner.close()


class Request:
    """A request to all living processes that use a directory, for as long as it is open.

    Args:
        directory: of the spool.
        person: to be forgotten.

    Raises:
        OSError: it could not be written.
    """

    def __init__(self, directory: SpoolDirectory, person: Person) -> None:
        fs = self._fs = directory.fs
        self._folder = directory.join(FORGET)
        fs.make_directory(self._folder)
        remove_old_requests(directory)
        self._token = directory.new_token()
        self._path = os.path.join(self._folder, self._token + _REQUEST)
        text = json.dumps({"users": sorted(person.users), "accounts": sorted(person.accounts)})
        draft = self._path + DRAFT
        self._fd = fs.create_lockfile(draft)
        try:
            # Locked and complete before it has its name: then it is a request, and not before.
            fs.try_lock(self._fd)
            fs.write_at_start(self._fd, text.encode("ascii"))
            fs.replace(draft, self._path)
        except unless_interrupt(OSError):
            self.close()
            raise

    def answers(self) -> list[Answer]:
        """Return the answers that there are."""
        found = []
        for name in self._fs.listdir(self._folder):
            if name.startswith(f"{self._token}-") and name.endswith(_ANSWER):
                with Suppressed(OSError, ValueError):
                    found.append(Answer(**json.loads(self._fs.read(f"{self._folder}/{name}"))))
        return found

    def close(self) -> None:
        """Withdraw the request, and remove it and its answers."""
        with Suppressed(OSError):
            for name in self._fs.listdir(self._folder):
                if name.startswith(self._token):
                    self._fs.unlink(os.path.join(self._folder, name))
        self._fs.close(self._fd)


class Answer(NamedTuple):
    """What one handler of a living process has done.

    Args:
        owners: whose segments it has: its own, and those that it adopted.
        removed: how many events it removed.
        is_complete: whether none is left; False if the disk failed.
    """

    owners: list[str]
    removed: int
    is_complete: bool


def open_requests(directory: SpoolDirectory, known: set[str]) -> dict[str, Person]:
    """Return the requests, by token, that a living process makes; not those that are known."""
    fs, folder = directory.fs, directory.join(FORGET)
    found: dict[str, Person] = {}
    try:
        names = fs.listdir(folder)
    except unless_interrupt(OSError):  # nobody ever made one
        return found
    known.intersection_update(name.partition(".")[0] for name in names)
    for name in names:
        token, _, suffix = name.partition(".")
        if f".{suffix}" != _REQUEST or token in known:
            continue
        with Suppressed(OSError, ValueError, KeyError, TypeError):
            path = os.path.join(folder, name)
            if not fs.is_locked(path):  # who asked has ended, and the file names a person
                fs.unlink(path)
                continue
            asked = json.loads(fs.read(path, 0, _MAX_REQUEST_BYTES))
            found[token] = Person(frozenset(asked["users"]), frozenset(asked["accounts"]))
    return found


def answer(directory: SpoolDirectory, token: str, given: Answer) -> None:
    """Answer a request.

    Raises:
        OSError: it could not be written.
    """
    path = directory.join(FORGET, f"{token}-{directory.new_token()}{_ANSWER}")
    directory.write(path, json.dumps(given._asdict()).encode("ascii"))


def remove_old_requests(directory: SpoolDirectory) -> None:
    """Remove what a process that asked, and ended, has left: it names a person."""
    fs, folder = directory.fs, directory.join(FORGET)
    with Suppressed(OSError):
        names = fs.listdir(folder)
        living = {
            name.partition(".")[0]
            for name in names
            if not name.endswith(_ANSWER) and fs.is_locked(os.path.join(folder, name))
        }
        for name in names:
            if re.split(r"[-.]", name)[0] not in living:
                fs.unlink(os.path.join(folder, name))
