"""One file's upload: where it begins, what is done with, and what is written down of that.

The order of the steps is what makes a process that may be killed at any of them lose nothing: the
endpoint confirms a batch, its wrong lines go to the reject file, and the receipt tells of both.
Who is killed in between posts that batch again, and cuts those lines off before they come again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from fslog.cli.options import CommandError
from fslog.cli.upload import receipts, rejects
from fslog.cli.upload.judgement import Checked
from fslog.cli.upload.ndjson import STDIN, Damaged, Reader, Source
from fslog.cli.upload.receipts import Receipt, Sent
from fslog.cli.upload.rejects import Rejects, Vouched
from fslog.net.destination import Destination
from fslog.spool.filesystem import FileSystem


class Job:
    """Send one input from where it was left.

    Args:
        source: the input.
        receipt: where to write down what was sent; None for nowhere.
        address: of the destination, in the receipt.
        host: of the destination, for a reader of the receipt.
        rejects: where lines go that are not sent; None for nowhere.
        sent: where it was left.
    """

    def __init__(
        self,
        source: Source,
        *,
        receipt: Receipt | None = None,
        address: str = "",
        host: str = "",
        rejects: Rejects | None = None,
        sent: Sent | None = None,
    ) -> None:
        self.source = source
        self.rejects = rejects
        self.reopen: Callable[[], None] | None = None
        self.sent = replace(sent or Sent(), host=host)
        self.begun = self.sent
        self._receipt = receipt
        self._address = address
        self._digest: Any = hashlib.blake2b(digest_size=16)
        self._vouched: Vouched | None = None

    def begin(self, reader: Reader) -> None:
        """Bring a reader to where the upload goes on.

        Raises:
            CommandError: the file is not the one that was begun, or another process sends it.
            Damaged: it cannot be read so far.
        """
        if self._receipt is not None:
            if not _lock(reader):
                raise CommandError(
                    f"{self.source.label} is locked: another process sends it, or writes it"
                )
            self._look_again(self._receipt)
        if not self.sent.offset and self._is_known():
            self._write_down()  # sent once more: an earlier upload's end is not this one's
        if self.sent.offset:
            self._digest = reader.skip(self.sent.offset)
            reader.newlines = self.sent.newlines
            if self._digest.hexdigest() != self.sent.digest:
                raise CommandError(
                    f"{self.source.label} has changed since {self.sent.events:,} events of it were "
                    f"sent, on {self.sent.at}: --again sends all of it"
                )

    def start_over(self) -> None:
        """Forget what an earlier upload sent, if this one begins at the beginning."""
        known = None if self._receipt is None else self._receipt.sent.get(self._address)
        if known is not None and known.offset and not self.sent.offset:
            with contextlib.suppress(Damaged, OSError), Reader(self.source, 1) as reader:
                if _lock(reader):
                    self._write_down()

    def _look_again(self, kept: Receipt) -> None:
        """See, now that the file is locked, that nobody sent of it since the receipt was read."""
        found = receipts.receipt(kept.path)
        if found.sent.get(self._address) != kept.sent.get(self._address):
            raise CommandError(
                f"{self.source.label} was sent by another process meanwhile; this one sent nothing "
                "of it"
            )
        kept.sent = found.sent
        if self.reopen is not None:
            self.reopen()

    def end(self) -> None:
        """Write down that nothing more comes to the reject file, unless it was interrupted."""
        vouched = None if self.rejects is None else self.rejects.vouch()
        if vouched is not None and vouched == self._vouched:
            with contextlib.suppress(OSError):
                self._write_down(is_open=False)

    def _is_known(self) -> bool:
        return self._receipt is not None and self._address in self._receipt.sent

    def settle(self, part: Sequence[Checked], *, is_refused: bool = False) -> list[Checked]:
        """Be done with lines: their events are confirmed, or none of them is.

        Returns:
            Those that were set aside.

        Raises:
            CommandError, OSError: it could not be written down; they may be sent again.
        """
        wrong = [one for one in part if one.problems or (is_refused and one.text)]
        self._set_aside(one.raw if one.raw.endswith(b"\n") else one.raw + b"\n" for one in wrong)
        raw = b"".join(one.raw for one in part)
        self._digest.update(raw)
        events = 0 if is_refused else sum(bool(one.text) for one in part)
        self._advance(len(raw), raw.count(b"\n"), events, len(wrong))
        return wrong

    def settle_long(self, line: Checked, rest: Iterable[bytes]) -> None:
        """Be done with a line that is too long to hold: set it aside, piece by piece.

        Raises:
            Damaged, CommandError, OSError: as for `settle` and `Reader.rest`.
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

        self._set_aside(pieces())
        self._advance(size, int(ended), 0, 1)

    def finish(self) -> None:
        """Write down that the whole file is done with.

        Raises:
            OSError: it could not be written down.
        """
        if self.sent.offset and not self.sent.is_complete:
            self.sent = replace(self.sent, is_complete=True)
            self._write_down()

    def _set_aside(self, pieces: Iterator[bytes]) -> None:
        first = next(pieces, None)
        if first is None:
            return
        if self.rejects is None:
            for _ in pieces:
                pass
            return
        if not self.rejects.is_open:
            self.rejects.open()
        if self._vouched is None:
            # From now on the file is known as one's own, whatever happens to this process.
            self._write_down()
        self.rejects.write(itertools.chain((first,), pieces))
        self.rejects.sync()

    def _advance(self, size: int, newlines: int, events: int, rejected: int) -> None:
        self.sent = replace(
            self.sent,
            offset=self.sent.offset + size,
            newlines=self.sent.newlines + newlines,
            digest=self._digest.hexdigest(),
            events=self.sent.events + events,
            rejected=self.sent.rejected + rejected,
            is_complete=False,
        )
        self._write_down()

    def _write_down(self, *, is_open: bool = True) -> None:
        if self._receipt is not None:
            vouched = None if self.rejects is None else self.rejects.vouch()
            self._vouched = vouched
            if vouched is not None:
                vouched = replace(vouched, is_open=is_open)
            entry = replace(self.sent, at=receipts.now(), rejects=vouched)
            self._receipt.sent[self._address] = entry
            self._receipt.write()


def _lock(reader: Reader) -> bool:
    """Keep other uploads of the file away until it is closed; where locks work."""
    with contextlib.suppress(OSError):
        return FileSystem().try_lock(reader.fileno())
    return True


def jobs(
    found: Sequence[Source],
    to: Destination,
    *,
    is_resumed: bool,
    is_again: bool,
    is_dry: bool,
    state_dir: str | None,
    rejects_path: str | None,
) -> list[Job]:
    """Look at everything before the first file is sent, and prepare each one's upload.

    Args:
        found: the inputs.
        to: where they go.
        is_resumed: whether to go on where an earlier run was left.
        is_again: whether to send what was sent before.
        is_dry: whether nothing is sent, so that nothing is to be written down.
        state_dir: where receipts are; None for beside each input.
        rejects_path: one reject file for all inputs; None for one beside each.

    Raises:
        CommandError: one was sent before, or something stands in the way.
    """
    if is_dry and not is_resumed:
        return [Job(source) for source in found]
    made = []
    for source in found:
        kept = None if source.is_stream else receipts.receipt(_receipt_path(source, state_dir))
        if kept is None and is_resumed:
            raise CommandError(f"{source.label} is a stream, which can be read once: no --resume")
        sent = None if kept is None else _begun(source, kept, to, is_resumed, is_again)
        made.append(
            Job(source, receipt=kept, address=receipts.address(to), host=to.host, sent=sent)
        )
    if is_dry:
        return [Job(job.source, sent=job.begun) for job in made]
    _share_rejects(made, rejects_path)
    return made


def _receipt_path(source: Source, state_dir: str | None) -> str:
    if state_dir is None:
        return f"{source.path}{receipts.SUFFIX}"
    # Files of one name may come from several directories.
    folder = os.path.dirname(os.path.abspath(source.path))
    place = hashlib.blake2b(os.fsencode(folder), digest_size=4).hexdigest()
    name = f"{os.path.basename(source.path)}.{place}{receipts.SUFFIX}"
    return os.path.join(state_dir, name)


def _begun(
    source: Source, kept: Receipt, to: Destination, is_resumed: bool, is_again: bool
) -> Sent | None:
    """Return where to go on; None for the beginning."""
    if is_again:
        return None
    mine = kept.sent.get(receipts.address(to))
    if mine is None:
        for other in kept.sent.values():
            if other.host == to.host and other.offset and not other.is_complete:
                raise CommandError(
                    f"{source.label} was sent in part, up to line {other.newlines:,}, to {to.host} "
                    "with other keys: --again sends all of it with these"
                )
    elif mine.offset and not is_resumed:
        if mine.is_complete:
            raise CommandError(
                f"{source.label} was sent to {to.host} on {mine.at}, {mine.events:,} events: "
                "--again sends it once more, --resume what was added since"
            )
        raise CommandError(
            f"{source.label} was sent to {to.host} in part, up to line {mine.newlines:,}: "
            "--resume sends the rest, --again all of it once more"
        )
    return mine


def _share_rejects(made: Sequence[Job], path: str | None) -> None:
    """Give each job its reject file, and go on with those of earlier runs."""
    shared = None if path is None else Rejects(path)
    for job in made:
        job.rejects = shared or Rejects(_rejects_path(job.source))
    inputs = {job.source.identity for job in made} - {None}
    for file in {id(job.rejects): job.rejects for job in made}.values():
        if file is not None:
            if _identity(file.path) in inputs:
                raise CommandError(f"{file.path} is to be sent, and cannot take what is rejected")
            known = [job.begun.rejects for job in made if job.rejects is file]
            mine = [one for one in known if one is not None and _is_of(one, file.path)]
            if not mine:
                file.check()
                continue
            for job in made:
                if job.rejects is file:
                    job.reopen = functools.partial(_reopen, file, mine)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _reopen(file: Rejects, vouched: Sequence[Vouched]) -> None:
    if not file.is_open:
        file.reopen(vouched)


def _rejects_path(source: Source) -> str:
    if source.path == STDIN:
        return f"stdin{rejects.SUFFIX}"
    # Beside a stream, in /dev/fd or so, is no place for a file.
    return f"{os.path.basename(source.path) if source.is_stream else source.path}{rejects.SUFFIX}"


def _is_of(vouched: Vouched, path: str) -> bool:
    with contextlib.suppress(OSError):
        if os.stat(path, follow_symlinks=False).st_ino == vouched.inode:
            return True
    return vouched.path == os.path.abspath(path)
