"""The upload of one file: where it begins, which lines are done, and what is recorded of them.

The order of the steps makes an upload that is killed at any of them lose nothing: the endpoint
confirms a batch, its invalid lines are appended to the reject file, and the checkpoint records
both. After a kill in between, the batch is posted again, and the reject file is truncated before
the same lines are appended again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from fslog.cli.options import CommandError
from fslog.cli.upload.checkpoint import (
    CHECKPOINT_SUFFIX,
    REJECTS_SUFFIX,
    Checkpoint,
    Progress,
    RejectFile,
    RejectsCheckpoint,
    destination_id,
    read_checkpoint,
)
from fslog.cli.upload.lines import CheckedLine
from fslog.cli.upload.ndjson import STDIN, DamagedInput, InputFile, Reader, input_files
from fslog.net.destination import Destination
from fslog.spool.filesystem import FileSystem


class FileUpload:
    """Record the upload of one input.

    Args:
        file: the input.
        to: the destination.
        start: the progress to resume from; None for the beginning.
        checkpoint: where to record the progress; None for a stream or a dry run.
    """

    def __init__(
        self,
        file: InputFile,
        to: Destination,
        start: Progress | None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.file = file
        self.rejects: RejectFile | None = None  # stays so in a dry run
        self.known_rejects: Sequence[RejectsCheckpoint] = ()
        self.start: Progress = replace(start or Progress(), host=to.host)
        self.progress: Progress = self.start
        self._checkpoint = checkpoint
        self._destination = destination_id(to)
        self._digest: Any = hashlib.blake2b(digest_size=16)
        self._recorded_rejects: RejectsCheckpoint | None = None

    def begin(self, reader: Reader) -> None:
        """Lock the file, and skip what was sent before.

        Raises:
            CommandError: the text that was sent has changed, or another process sends the file.
            DamagedInput: the text that was sent cannot be read.
        """
        if self._checkpoint is not None:
            if not _lock(reader):
                raise CommandError(
                    f"{self.file.label} is locked: another process sends or writes it"
                )
            self._reload(self._checkpoint)
            if not self.progress.offset and self._destination in self._checkpoint.sent:
                self._write_checkpoint()  # an earlier upload's entry does not apply to this one
        if self.progress.offset:
            self._digest = reader.skip(self.progress.offset)
            reader.newlines = self.progress.newlines
            if self._digest.hexdigest() != self.progress.digest:
                raise CommandError(
                    f"{self.file.label} has changed since {self.progress.events:,} events of it "
                    f"were sent, on {self.progress.at}: --again sends all of it"
                )

    def reset(self) -> None:
        """Discard the progress of an earlier upload, if this one begins at the first line."""
        known = self._checkpoint and self._checkpoint.sent.get(self._destination)
        if known and known.offset and not self.progress.offset:
            with contextlib.suppress(DamagedInput, OSError), Reader(self.file, 1) as reader:
                if _lock(reader):
                    self._write_checkpoint()

    def _reload(self, checkpoint: Checkpoint) -> None:
        """Check, now that the file is locked, that no other process has sent any of it."""
        current = read_checkpoint(checkpoint.path)
        if current.sent.get(self._destination) != checkpoint.sent.get(self._destination):
            raise CommandError(
                f"{self.file.label} was sent by another process meanwhile; this one sent nothing "
                "of it"
            )
        checkpoint.sent = current.sent
        # Several files may have one reject file.
        if self.rejects is not None and self.known_rejects and not self.rejects.is_open:
            self.rejects.reopen(self.known_rejects)

    def end(self) -> None:
        """Record that the reject file is finished, unless a write to it was interrupted."""
        rejects = None if self.rejects is None else self.rejects.checkpoint()
        if rejects is not None and rejects == self._recorded_rejects:
            with contextlib.suppress(OSError):
                self._write_checkpoint(is_open=False)

    def record(self, part: Sequence[CheckedLine], *, is_refused: bool = False) -> list[CheckedLine]:
        """Record lines whose events were confirmed, or refused; reject the others.

        Returns:
            The rejected lines.

        Raises:
            CommandError, OSError: nothing was recorded; the lines may be sent again.
        """
        rejected = [one for one in part if one.problems or (is_refused and one.text)]
        if rejected:
            self._reject(one.raw.removesuffix(b"\n") + b"\n" for one in rejected)
        raw = b"".join(one.raw for one in part)
        self._digest.update(raw)
        events = 0 if is_refused else sum(bool(one.text) for one in part)
        self._advance(len(raw), raw.count(b"\n"), events, len(rejected))
        return rejected

    def record_long(self, line: CheckedLine, rest: Iterable[bytes]) -> None:
        """Reject a line that is too long to hold, piece by piece, and record it.

        Raises:
            DamagedInput, CommandError, OSError: as for `record` and `Reader.rest`.
        """
        size = ended = 0

        def pieces() -> Iterator[bytes]:
            nonlocal size, ended
            last = b""
            for last in itertools.chain((line.raw,), rest):
                size += len(last)
                self._digest.update(last)
                yield last
            ended = last.endswith(b"\n")
            if not ended:
                yield b"\n"

        self._reject(pieces())
        self._advance(size, int(ended), 0, 1)

    def complete(self) -> None:
        """Record that the whole file is done.

        Raises:
            OSError: the checkpoint cannot be written.
        """
        if self.progress.offset and not self.progress.is_complete:
            self.progress = replace(self.progress, is_complete=True)
            self._write_checkpoint()

    def _reject(self, pieces: Iterable[bytes]) -> None:
        if self.rejects is None:
            for _ in pieces:  # they count all the same
                pass
            return
        if not self.rejects.is_open:
            self.rejects.open()
        if self._recorded_rejects is None:
            # Before the first write, so that the file is recognised even after a kill.
            self._write_checkpoint()
        self.rejects.write(pieces)
        self.rejects.sync()

    def _advance(self, size: int, newlines: int, events: int, rejected: int) -> None:
        self.progress = replace(
            self.progress,
            offset=self.progress.offset + size,
            newlines=self.progress.newlines + newlines,
            digest=self._digest.hexdigest(),
            events=self.progress.events + events,
            rejected=self.progress.rejected + rejected,
            is_complete=False,
        )
        self._write_checkpoint()

    def _write_checkpoint(self, *, is_open: bool = True) -> None:
        if self._checkpoint is not None:
            rejects = None if self.rejects is None else self.rejects.checkpoint()
            self._recorded_rejects = rejects
            if rejects is not None:
                rejects = replace(rejects, is_open=is_open)
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            entry = replace(self.progress, at=at, rejects=rejects)
            self._checkpoint.sent[self._destination] = entry
            self._checkpoint.write()


def _lock(reader: Reader) -> bool:
    """Lock a file against other uploads until it is closed; True if locks do not work there."""
    with contextlib.suppress(OSError):
        return FileSystem().try_lock(reader.fileno())
    return True


def file_uploads(options: argparse.Namespace, to: Destination) -> list[FileUpload]:
    """Return an upload for each input; everything is checked before the first one begins.

    Args:
        options: of `fslog send`.
        to: the destination.

    Raises:
        CommandError: an input was sent before, or a file cannot be used.
    """
    uploads = [_file_upload(file, to, options) for file in input_files(options.files)]
    if not options.dry_run:
        _assign_rejects(uploads, options.rejects)
    return uploads


def _file_upload(file: InputFile, to: Destination, options: argparse.Namespace) -> FileUpload:
    if file.is_stream and options.resume:
        raise CommandError(
            f"{file.label} is a stream, which can be read only once: --resume is not possible"
        )
    if file.is_stream or (options.dry_run and not options.resume):
        return FileUpload(file, to, None)
    checkpoint = read_checkpoint(_checkpoint_path(file, options.state_dir))
    start = None if options.again else _start(file, checkpoint, to, options.resume)
    return FileUpload(file, to, start, None if options.dry_run else checkpoint)


def _checkpoint_path(file: InputFile, state_dir: str | None) -> str:
    if state_dir is None:
        return f"{file.path}{CHECKPOINT_SUFFIX}"
    # Files of one name may come from several directories.
    directory = os.path.dirname(os.path.abspath(file.path))
    place = hashlib.blake2b(os.fsencode(directory), digest_size=4).hexdigest()
    name = f"{os.path.basename(file.path)}.{place}{CHECKPOINT_SUFFIX}"
    return os.path.join(state_dir, name)


def _start(
    file: InputFile, checkpoint: Checkpoint, to: Destination, is_resumed: bool
) -> Progress | None:
    """Return the progress to resume from; None for the beginning."""
    mine = checkpoint.sent.get(destination_id(to))
    if mine is None:
        for other in checkpoint.sent.values():
            if other.host == to.host and other.offset and not other.is_complete:
                raise CommandError(
                    f"{file.label} was sent in part, up to line {other.newlines:,}, to {to.host} "
                    "with other keys: --again sends all of it with these"
                )
    elif mine.offset and not is_resumed:
        if mine.is_complete:
            raise CommandError(
                f"{file.label} was sent to {to.host} on {mine.at}, {mine.events:,} events: "
                "--again sends it once more, --resume what was added since"
            )
        raise CommandError(
            f"{file.label} was sent to {to.host} in part, up to line {mine.newlines:,}: "
            "--resume sends the rest, --again all of it once more"
        )
    return mine


def _assign_rejects(uploads: Sequence[FileUpload], path: str | None) -> None:
    """Set the reject file of each upload; those of earlier runs are reopened when it begins."""
    inputs = {upload.file.identity for upload in uploads}
    for group in [[upload] for upload in uploads] if path is None else [uploads]:
        rejects = RejectFile(_rejects_path(group[0].file) if path is None else path)
        with contextlib.suppress(OSError):
            found = os.stat(rejects.path)
            if (found.st_dev, found.st_ino) in inputs:
                raise CommandError(f"{rejects.path} is an input; it cannot be the reject file too")
        known = [upload.start.rejects for upload in group]
        mine = [one for one in known if one is not None and _is_of(one, rejects.path)]
        if not mine:
            rejects.check()
        for upload in group:
            upload.rejects = rejects
            upload.known_rejects = mine


def _rejects_path(file: InputFile) -> str:
    if file.path == STDIN:
        return f"stdin{REJECTS_SUFFIX}"
    # The directory of a stream, such as /dev/fd, cannot hold a file.
    return f"{os.path.basename(file.path) if file.is_stream else file.path}{REJECTS_SUFFIX}"


def _is_of(rejects: RejectsCheckpoint, path: str) -> bool:
    with contextlib.suppress(OSError):
        if os.stat(path, follow_symlinks=False).st_ino == rejects.inode:
            return True
    return rejects.path == os.path.abspath(path)
