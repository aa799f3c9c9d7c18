"""How much of a file was sent, and where to: a small file beside it, which outlives the process.

A receipt vouches for the text it counts by a hash of it, so that a file that changed is noticed,
whatever its name, its number on the disk and its compression. It is written anew, in one step,
after each batch that the endpoint confirmed, and stays when all is sent: what was sent once is not
sent again by mistake.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from fslog.cli.options import CommandError
from fslog.cli.upload.ndjson import words
from fslog.cli.upload.rejects import Vouched
from fslog.net.destination import Destination
from fslog.spool.filesystem import FileSystem

SUFFIX = ".fslog-sent"

_VERSION = 1
_NOTE = "How much of the file beside this one `fslog send` has sent, and where to."


@dataclass(frozen=True)
class Sent:
    """Say how much of a file one destination has.

    Args:
        offset: bytes of the text, uncompressed, that are done with: sent, or set aside.
        newlines: in them.
        digest: BLAKE2 of them.
        events: how many of its lines were sent.
        rejected: how many were set aside instead.
        is_complete: whether the file ended there.
        host: of the destination, for a reader.
        at: when that was written down, likewise.
        rejects: the reject file, as far as it is this upload's; None if there is none.
    """

    offset: int = 0
    newlines: int = 0
    digest: str = ""
    events: int = 0
    rejected: int = 0
    is_complete: bool = False
    host: str = ""
    at: str = ""
    rejects: Vouched | None = None


def address(to: Destination) -> str:
    """Return what tells a destination and its keys from others, and tells nothing about them."""
    text = f"{to.ping_url()} {to.keys_digest()}".encode()
    return hashlib.blake2b(text, digest_size=16).hexdigest()


@dataclass
class Receipt:
    """Keep what was sent of one file, by destination.

    Args:
        path: where it is written.
        sent: by `address`.
    """

    path: str
    sent: dict[str, Sent] = field(default_factory=dict)
    files: FileSystem = field(default_factory=FileSystem, repr=False)

    def write(self) -> None:
        """Write it down, so that whoever reads finds all of this or all of what was before.

        Raises:
            OSError: that failed; what was written before still stands.
        """
        entries = {name: asdict(entry) for name, entry in self.sent.items()}
        given = {"about": _NOTE, "version": _VERSION, "sent": entries}
        text = f"{json.dumps(given, indent=1)}\n".encode()
        draft = f"{self.path}.tmp"
        with contextlib.suppress(FileNotFoundError):
            self.files.unlink(draft)
        fd = self.files.create(draft)
        try:
            while text:
                text = text[self.files.write(fd, text) :]
            self.files.fsync(fd)
        finally:
            self.files.close(fd)
        self.files.replace(draft, self.path)


def receipt(path: str) -> Receipt:
    """Read a receipt; an empty one where there is none.

    Raises:
        CommandError: what is there is none, or cannot be read, or none could be written.
    """
    if not os.access(os.path.dirname(path) or ".", os.W_OK | os.X_OK):
        raise CommandError(
            f"{os.path.dirname(path) or 'this directory'} cannot be written to, and {path} is to "
            "tell how much was sent: --state-dir DIR keeps it elsewhere"
        )
    found = Receipt(path)
    try:
        text = found.files.read(path)
    except FileNotFoundError:
        return found
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {words(error)}") from None
    try:
        found.sent = _entries(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise CommandError(f"{path} is not what fslog wrote; move it away to send all") from None
    return found


def _entries(given: Any) -> dict[str, Sent]:
    if given["version"] != _VERSION:
        raise ValueError("another version")
    return {str(name): _entry(entry) for name, entry in given["sent"].items()}


def _entry(given: Mapping[str, Any]) -> Sent:
    kinds = {"int": int, "str": str, "bool": bool}
    values = {one.name: given[one.name] for one in fields(Sent)}
    for one in fields(Sent):
        kind = kinds.get(str(one.type))
        if kind is not None and (type(values[one.name]) is not kind or values[one.name] < kind()):
            raise TypeError(one.name)
    if values["rejects"] is not None:
        values["rejects"] = Vouched.of(values["rejects"])
    return Sent(**values)


def now() -> str:
    """Return this moment as a receipt has it."""
    at = datetime.datetime.now(datetime.timezone.utc)
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
