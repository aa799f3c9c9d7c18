"""`fslog spool quarantine`: list and show what could not be sent, requeue it, or remove it.

Other processes may use the spool meanwhile. Requeued events are written as segments of a new
owner, as a dead process would have left them; when they are complete its lock is released, and any
process that uses the spool adopts them. A file leaves the quarantine only after that: a crash in
between causes a second delivery, never a loss.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fslog.cli.options import CommandError
from fslog.cli.output import Printer, count, duration
from fslog.cli.spool import show
from fslog.cli.spool.contents import NotASpool, QuarantinedFile, SpoolContents, as_json
from fslog.spool import owners
from fslog.spool.directory import MARKER, QUARANTINE, SpoolDirectory
from fslog.spool.filesystem import FileSystem
from fslog.spool.owners import Owner
from fslog.spool.segments import RejectedLine, SegmentName, partition_lines

_VERBS = ("ls", "show", "requeue", "rm")
_EMPTY = ("the quarantine is empty", "")

_DESCRIPTION = """\
List and show what could not be sent, requeue it, or remove it.

The quarantine contains torn lines (after a power cut), garbled lines, invalid
events, single events that the endpoint rejects as too large, events that waited
for longer than spool_max_age, and segments that could not be read. The files
are plain text: edit them, then requeue them."""

_EPILOG = """\
commands:
  ls           list the files and why they are there (the default)
  show         print their lines
  requeue      send their events again; lines that are not valid events stay
  rm           remove them

examples:
  fslog spool quarantine /var/spool/myapp
  fslog spool quarantine show /var/spool/myapp 00000003-5f0c77a1-00000012-0
  fslog spool quarantine requeue /var/spool/myapp --all

The exit code is 0 on success, 1 if something could not be requeued or removed,
2 for an invalid argument."""


@dataclass(frozen=True)
class Requeued:
    """The result of requeueing one file.

    Args:
        name: without its suffix.
        events: how many were requeued.
        kept: the lines that stay in the quarantine, because they are not valid events.
        error: why the file was left unchanged; empty if it was not.
    """

    name: str
    events: int
    kept: tuple[RejectedLine, ...]
    error: str = ""


def spelled_out(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the `ls` that `quarantine DIR` stands for.

    >>> spelled_out(["quarantine", "/var/spool/a"]), spelled_out(["quarantine", "rm", "a", "b"])
    (['quarantine', 'ls', '/var/spool/a'], ['quarantine', 'rm', 'a', 'b'])
    """
    given = list(arguments)
    if given[:1] == ["quarantine"] and len(given) > 1:
        if given[1] not in (*_VERBS, "-h", "--help"):
            given.insert(1, "ls")
    return given


def add_commands(commands: Any) -> None:
    """Add `quarantine` and its own commands to those of `fslog spool`."""
    prog = "fslog spool quarantine"
    parser = commands.add_parser("quarantine", prog=prog, description=_DESCRIPTION, epilog=_EPILOG)
    parser.usage = f"{prog} [-h] [ls|show|requeue|rm] DIR [NAME...]"
    verbs = parser.add_subparsers(metavar="COMMAND", required=True, help=argparse.SUPPRESS)

    add = partial(show.add_command, verbs, prog)
    listing = add("ls", _list, "List the files of the quarantine and why they are there.")
    listing.add_argument("--json", action="store_true", help="print one JSON array instead")
    shown = add("show", _show, "Print quarantined lines: rows on a terminal, unchanged for a pipe.")
    shown.add_argument("names", nargs="*", metavar="NAME", help="only these files")
    show.add_show_arguments(shown)
    again = add("requeue", _requeue, "Send events again, after all that wait already.")
    for made in (again, add("rm", _remove, "Remove files of the quarantine.")):
        made.add_argument("names", nargs="*", metavar="NAME", help="as listed by ls")
        made.add_argument("--all", action="store_true", help="all files of the quarantine")
        made.add_argument("--json", action="store_true", help="print one JSON array instead")


def list_files(contents: SpoolContents, printer: Printer) -> None:
    """Write one row for each file of the quarantine."""
    files = contents.quarantine
    lines, size = sum(one.lines for one in files), sum(one.bytes for one in files)
    printer.line(
        ("quarantine", "bold"),
        (f"  {count(lines, 'line')} in {count(len(files), 'file')}, {size:,} bytes", ""),
    )
    now = time.time()
    for one in files:
        age = duration(now - one.written_at)
        printer.line(
            (f"  {one.name:38} {one.bytes:11,} bytes, {age:>10} ago  ", ""), (one.reason, "yellow")
        )


def _list(contents: SpoolContents, options: argparse.Namespace, printer: Printer) -> int:
    if options.json:
        printer.values(as_json(contents)["quarantine"])
    elif contents.quarantine:
        list_files(contents, printer)
    else:
        printer.line(_EMPTY)
    return 0


def _show(contents: SpoolContents, options: argparse.Namespace, printer: Printer) -> int:
    files, code = _select(contents, options.names)
    texts = _read_files(contents, files)
    if show.is_for_a_person(options):
        show.write_rows(_parsed(texts), options, printer)
    else:
        lines = (one + b"\n" for _, text in texts for one in text.split(b"\n") if one)
        show.write_raw(lines, options)
    return code


def _parsed(texts: Iterable[tuple[str, bytes]]) -> Iterator[show.Line]:
    for name, text in texts:
        events, rejected = events_in(text)
        yield from ((name, line) for line in events)
        yield from ((name, line) for line in rejected)


def _select(contents: SpoolContents, names: Sequence[str]) -> tuple[list[QuarantinedFile], int]:
    """Return the files with some names, else all; and the exit code 2 if a name is unknown."""
    known = {one.name: one for one in contents.quarantine}
    stems = [name.removesuffix(".ndjson").removesuffix(".reason") for name in names or known]
    for name in stems:
        if name not in known:
            _write_error(f"{name!r} is not in the quarantine; `ls` lists its files")
    found = [known[name] for name in dict.fromkeys(stems) if name in known]
    return found, 0 if len(found) == len(set(stems)) else 2


def _read_files(
    contents: SpoolContents, files: Sequence[QuarantinedFile]
) -> Iterator[tuple[str, bytes]]:
    for one in files:
        try:
            yield one.name, FileSystem().read(_path(contents.path, one.name))
        except OSError as error:
            _write_error(f"{one.name} cannot be read: {error.strerror or error}")


def _path(directory: str, name: str) -> str:
    return os.path.join(directory, QUARANTINE, f"{name}.ndjson")


def events_in(text: bytes) -> tuple[list[bytes], list[RejectedLine]]:
    r"""Separate the events of a quarantined file from the lines that are not valid events.

    A last line that lacks only its newline is an event here: a person has seen it.

    >>> event = b'{"accountId":"a","userId":"u","createdAt":1,"action":"x","sessionId":"s"}'
    >>> events, rejected = events_in(b"torn\n" + event)
    >>> events == [event + b"\n"], [(line.offset, line.text) for line in rejected]
    (True, [(0, b'torn\n')])
    """
    events, rejected, _ = partition_lines(text)
    if rejected and not rejected[-1].text.endswith(b"\n"):
        last, _, _ = partition_lines(rejected[-1].text + b"\n")
        if last:
            return events + last, rejected[:-1]
    return events, rejected


def _select_explicitly(
    contents: SpoolContents, options: argparse.Namespace
) -> tuple[list[QuarantinedFile], int]:
    """Return the files to act on, which must be given by names or by `--all`."""
    if options.all == bool(options.names):
        _write_error("name the files, or use --all")
        return [], 2
    return _select(contents, options.names)


def _requeue(contents: SpoolContents, options: argparse.Namespace, printer: Printer) -> int:
    files, code = _select_explicitly(contents, options)
    results: list[Requeued] = []
    if files and not code:
        try:
            for one in requeue(contents, [file.name for file in files]):
                results.append(one)
                if not options.json:
                    _write_requeued(one, printer)
        except (CommandError, OSError, ValueError) as error:
            _write_error(f"the remaining files could not be requeued: {error}")
            code = 1
    if options.json:
        printer.values([_as_json(one) for one in results])
    elif not files and not code:
        printer.line(_EMPTY)
    return code or int(any(one.error or one.kept for one in results))


def _write_requeued(one: Requeued, printer: Printer) -> None:
    if one.error:
        printer.line((f"{one.name}: {one.error}", "red"))
    else:
        requeued = f"{one.name}: {count(one.events, 'event')} requeued"
        printer.line((requeued, "green" if one.events else ""))
    for line in one.kept:
        printer.line((f"  byte {line.offset} kept: {line.reason}", "yellow"))


def _as_json(one: Requeued) -> dict[str, Any]:
    kept = [{"offset": line.offset, "reason": line.reason} for line in one.kept]
    return {"name": one.name, "events": one.events, "kept": kept, "trouble": one.error}


def requeue(
    contents: SpoolContents, names: Sequence[str], fs: FileSystem | None = None
) -> Iterator[Requeued]:
    """Requeue the events in files of the quarantine, after all that wait already.

    Raises:
        NotASpool: the marker is not readable, so the keys of the directory are unknown.
        OSError, ValueError: the directory cannot be written; files not yielded yet are unchanged.
    """
    if contents.digest is None:
        raise NotASpool(
            f"{contents.path!r} has no readable marker ({MARKER}): start a process that uses the "
            "spool, which writes a new one, and try again"
        )
    directory = SpoolDirectory(
        contents.path, contents.digest, fs=fs, files_digest=contents.files_digest
    )
    owner = directory.create_owner()
    try:
        for number, name in enumerate(names, start=1):
            yield _requeue_one(directory, owner, number, name)
    finally:
        if _written_bytes(directory, owner):
            owner.close()  # its segments are orphans from now on
        else:
            owner.remove()


def _requeue_one(directory: SpoolDirectory, owner: Owner, number: int, name: str) -> Requeued:
    path = _path(directory.path, name)
    fs = directory.fs
    try:
        fd = fs.open_lockfile(path, make=False)
    except FileNotFoundError:
        return Requeued(name, 0, (), "it no longer exists")
    except OSError as error:
        return Requeued(name, 0, (), f"it cannot be opened: {error.strerror or error}")
    try:
        # Another process that requeues the same file must not send it a second time.
        if not fs.try_lock(fd) or not owners.is_linked(fs, fd, path):
            return Requeued(name, 0, (), "another process is requeueing it")
        try:
            events, rejected = events_in(fs.read_from(fd))
        except OSError as error:
            return Requeued(name, 0, (), f"it cannot be read: {error.strerror or error}")
        if events:
            _write_segment(directory, owner, number, events)
            _keep(directory, name, rejected)
        return Requeued(name, len(events), tuple(rejected))
    finally:
        fs.close(fd)


def _write_segment(
    directory: SpoolDirectory, owner: Owner, number: int, events: list[bytes]
) -> None:
    text = b"".join(events)
    owner.claim(_written_bytes(directory, owner) + len(text))
    directory.write(directory.segment_path(SegmentName(owner.name, number)), text, is_synced=True)
    directory.fs.sync(directory.path)


def _written_bytes(directory: SpoolDirectory, owner: Owner) -> int:
    return sum(size for _, size in directory.segments().get(owner.name, []))


def _keep(directory: SpoolDirectory, name: str, rejected: list[RejectedLine]) -> None:
    """Keep only the rejected lines of a file, with the reason of the first one."""
    if not rejected:
        remove(directory.path, name, directory.fs)
        return
    text = b"".join(line.text for line in rejected)
    directory.write(_path(directory.path, name), text, is_synced=True)
    reason = rejected[0].reason
    if len(rejected) > 1:
        reason += f" (and {count(len(rejected) - 1, 'more invalid line')})"
    path = directory.join(QUARANTINE, f"{name}.reason")
    directory.write(path, f"{reason}\n".encode("utf-8", "replace"))


def _remove(contents: SpoolContents, options: argparse.Namespace, printer: Printer) -> int:
    files, code = _select_explicitly(contents, options)
    removed: list[str] = []
    for one in [] if code else files:
        try:
            if remove(contents.path, one.name):
                removed.append(one.name)
                if not options.json:
                    printer.line((f"{one.name}: removed, {count(one.lines, 'line')}", ""))
        except OSError as error:
            _write_error(f"{one.name} cannot be removed: {error.strerror or error}")
            code = 1
    if options.json:
        printer.values(removed)
    elif not files and not code:
        printer.line(_EMPTY)
    return code


def remove(path: str, name: str, fs: FileSystem | None = None) -> bool:
    """Remove a file of the quarantine and its reason; return False if the file no longer exists."""
    fs = fs or FileSystem()
    try:
        fs.unlink(_path(path, name))
    except FileNotFoundError:
        return False
    with contextlib.suppress(FileNotFoundError):
        fs.unlink(os.path.join(path, QUARANTINE, f"{name}.reason"))
    return True


def _write_error(text: str) -> None:
    Printer(sys.stderr).line((f"fslog spool: {text}", ""))
