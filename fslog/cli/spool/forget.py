"""`fslog spool forget`: remove what waits of a person, without disturbing living processes.

What dead processes left is rewritten here, under the locks by which it is adopted otherwise. Living
processes are asked to remove theirs. At the end the directory is searched once more, so that what
is left is known and not assumed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fslog.cli.options import CommandError, seconds
from fslog.cli.output import Printer, count
from fslog.cli.spool import quarantine
from fslog.cli.spool.contents import OwnerInfo, SpoolContents, read_contents
from fslog.mapping.privacy import hash_key, hashed
from fslog.spool import owners
from fslog.spool.directory import DRAFT, OWNERS, QUARANTINE, SpoolDirectory
from fslog.spool.filesystem import FileSystem
from fslog.spool.forget import Person, Request, count_in, forget_dead, rewrite

WAIT_SECONDS = 30.0
"""More than a process needs: it looks every 10 seconds, after a POST of 10 at most by default."""

_POLL_SECONDS = 0.1

DESCRIPTION = """\
Remove the events of a user that wait in the directory, the quarantine
included, while other processes use it. Living processes remove theirs within
10 seconds, or once the request that they are sending is answered. What was
sent already, and what is logged after that, is not affected.

If FSLOG_HASH_KEY or FSLOG_HASH_KEY_FILE is set, events that hold the hash of
the id are removed as well, as `redact` writes it."""

EPILOG = """\
The exit code is 0 if nothing of the user is left, 1 if something is (run the
command again later), 2 for an invalid argument, 130 after Ctrl-C."""


@dataclass
class Forgotten:
    """What was removed, and what could not be.

    Args:
        dead, living, quarantine: how many events of dead and living processes, and of the
            quarantine, were removed.
        left: where lines are left, how many, and why.
        errors: the owners whose segments could not be rewritten, and why.
    """

    dead: int = 0
    living: int = 0
    quarantine: int = 0
    left: list[tuple[str, int, str]] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def removed(self) -> int:
        """How many were removed in all."""
        return self.dead + self.living + self.quarantine


def add_arguments(parser: Any) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--user", required=True, metavar="ID", help="the events' userId")
    parser.add_argument("--account", metavar="ID", help="only events with this accountId")
    parser.add_argument(
        "--wait",
        type=seconds(),
        default=WAIT_SECONDS,
        metavar="SECONDS",
        help=f"how long to wait for living processes (default: {WAIT_SECONDS:g})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run_forget(contents: SpoolContents, options: argparse.Namespace, printer: Printer) -> int:
    """Run `fslog spool forget` and return the exit code.

    Raises:
        CommandError: an argument or the environment is invalid, or the disk fails.
    """
    person = _person(options)
    try:
        result = forget(contents, person, options.wait)
    except OSError as error:
        raise CommandError(f"{contents.path!r}: {error.strerror or error}") from None
    if options.json:
        left = [{"where": name, "lines": lines, "why": why} for name, lines, why in result.left]
        removed = {name: getattr(result, name) for name in ("dead", "living", "quarantine")}
        printer.values({"removed": result.removed, **removed, "left": left})
    else:
        _write_summary(result, printer)
    return 1 if result.left else 0


def _person(options: argparse.Namespace) -> Person:
    try:
        key = hash_key()
    except ValueError as error:
        raise CommandError(str(error)) from None

    def texts(identifier: str | None) -> frozenset[str]:
        if identifier is None:
            return frozenset()
        return frozenset([identifier, *([hashed(identifier, key)] if key is not None else [])])

    if not options.user or options.account == "":
        raise CommandError("--user and --account need an id that is not empty")
    return Person(texts(options.user), texts(options.account))


def forget(
    contents: SpoolContents, person: Person, wait_seconds: float, fs: FileSystem | None = None
) -> Forgotten:
    """Remove a person's events from a directory.

    Args:
        contents: of the directory, before.
        person: whose events.
        wait_seconds: how long to wait for the answers of living processes.
        fs: the file system.

    Raises:
        OSError: the directory cannot be written.
    """
    result = Forgotten()
    directory = SpoolDirectory(contents.path, contents.digest or "", fs=fs)
    directory.remove_stale_drafts(time.time())
    _forget_dead(directory, contents, person, result)
    contents = read_contents(contents.path, fs)
    if any(_count(directory, owner, person) for owner in contents.owners):
        _ask_living(directory, contents, person, wait_seconds, result)
        # Those that ended meanwhile.
        _forget_dead(directory, read_contents(contents.path, fs), person, result)
    # After the segments: what they hold may be quarantined at any time, but not the reverse.
    _forget_quarantined(directory, person, result)
    result.left = list(_left(directory, person, result))
    return result


def _forget_dead(
    directory: SpoolDirectory, contents: SpoolContents, person: Person, result: Forgotten
) -> None:
    for owner in contents.owners:
        if not owner.is_living and owner.segments:
            try:
                removed, failed = forget_dead(directory, owner.name, person)
                result.dead += removed
            except OSError as error:
                failed = error
            if failed is not None:
                result.errors[owner.name] = failed.strerror or str(failed)


def _count(directory: SpoolDirectory, owner: OwnerInfo, person: Person) -> int:
    """Return how many lines of an owner, in files that can be read, are the person's."""
    return sum(
        _count_in(directory, directory.segment_path(segment.name), person, segment.begin)
        for segment in owner.segments
    )


def _ask_living(
    directory: SpoolDirectory,
    contents: SpoolContents,
    person: Person,
    wait_seconds: float,
    result: Forgotten,
) -> None:
    """Ask living processes, and wait until all of them have answered or ended."""
    waiting = {
        owner.name
        for owner in contents.owners
        if owner.segments and _count(directory, owner, person)
    }
    folder, deadline_at = directory.join(OWNERS), time.monotonic() + wait_seconds
    request = Request(directory, person)
    try:
        while waiting and time.monotonic() < deadline_at:
            time.sleep(_POLL_SECONDS)
            for given in request.answers():
                waiting.difference_update(given.owners)
            waiting = {one for one in waiting if owners.is_living(directory.fs, folder, one)}
        result.living += sum(given.removed for given in request.answers())
    finally:
        request.close()


def _forget_quarantined(directory: SpoolDirectory, person: Person, result: Forgotten) -> None:
    fs, folder = directory.fs, directory.join(QUARANTINE)
    try:
        names = [name for name in fs.listdir(folder) if name.endswith(".ndjson")]
    except FileNotFoundError:
        return
    for name in sorted(names):
        path = os.path.join(folder, name)
        try:
            fd = fs.open_lockfile(path, make=False)
        except OSError:  # gone, or not a file; what is left is reported
            continue
        try:
            # As `requeue` does, which must not send what is removed.
            if fs.try_lock(fd) and owners.is_linked(fs, fd, path):
                result.quarantine += _rewrite_quarantined(directory, path, person)
        finally:
            fs.close(fd)


def _rewrite_quarantined(directory: SpoolDirectory, path: str, person: Person) -> int:
    removed = rewrite(directory, path, person)
    if removed and not directory.fs.lstat(path).st_size:
        name = os.path.basename(path).removesuffix(".ndjson")
        quarantine.remove(directory.path, name, directory.fs)
    return removed


def _left(
    directory: SpoolDirectory, person: Person, result: Forgotten
) -> Iterator[tuple[str, int, str]]:
    """Yield what is left of a person: where, how many lines, and why."""
    for owner in read_contents(directory.path, directory.fs).owners:
        lines = _count(directory, owner, person)
        error = result.errors.get(owner.name, "")
        if lines or error:
            yield owner.name, lines, error or _why(owner)
    for folder in (directory.path, directory.join(QUARANTINE)):
        try:
            names = directory.fs.listdir(folder)
        except FileNotFoundError:
            continue
        for name in names:
            is_aside = folder != directory.path and name.endswith(".ndjson")
            if is_aside or name.endswith(DRAFT):
                lines = _count_in(directory, os.path.join(folder, name), person)
                if lines:
                    yield name, lines, "another process uses the file"


def _count_in(directory: SpoolDirectory, path: str, person: Person, at: int = 0) -> int:
    try:
        return count_in(directory.fs, path, person, at)
    except OSError:
        return 0


def _why(owner: OwnerInfo) -> str:
    if not owner.is_living:
        return "it was left there meanwhile"
    process = f"process {owner.pid}" if owner.pid else "a living process"
    return f"{process} did not answer, or the user has been active again"


def _write_summary(result: Forgotten, printer: Printer) -> None:
    if result.removed:
        parts = {
            "dead processes": result.dead,
            "living processes": result.living,
            "the quarantine": result.quarantine,
        }
        shown = ", ".join(f"{number:,} of {where}" for where, number in parts.items() if number)
        printer.line((f"{count(result.removed, 'event')} removed: {shown}", "bold"))
    elif not result.left:
        printer.line(("nothing waits of this user", ""))
    for where, lines, why in result.left:
        what = count(lines, "event") if lines else "events, perhaps,"
        text = f"{what} could not be removed yet from {where}: {why}"
        Printer(sys.stderr).line((f"fslog spool: {text}; run the command again later", "red"))
