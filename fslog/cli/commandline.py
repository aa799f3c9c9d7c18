"""A command's arguments: its help as it was written, its errors without keys, numbers in bounds.

Loaded with every command, so it loads no more than it needs: neither urllib3 nor http.server.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from fslog import config
from fslog.cli.printable import printable
from fslog.cli.screen import folded
from fslog.net.redaction import Redactor
from fslog.spool.filesystem import CAN_LOCK

KEYS = ("FSLOG_AUTH_KEY", "FSLOG_API_KEY")

_POSIX = ("O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC", "fchmod", "pread", "pwrite", "geteuid")
"""Names in `os` without which nothing private, and safe from others, can be written."""


class CommandParser(argparse.ArgumentParser):
    """Parse a command's arguments; its errors are printable and show no key.

    Args:
        prog: the command, as it is called.
        description, epilog: as they are to be shown.
        usage: one line, where argparse would write another.
        environ: where the keys are, which somebody may have pasted into an argument.
        others: as argparse has them; it hands its own on to the parsers of subcommands, and newer
            versions of it hand on more.
    """

    def __init__(
        self,
        prog: str,
        description: str,
        epilog: str,
        usage: str | None = None,
        environ: Mapping[str, str] = os.environ,
        **others: Any,
    ) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **others,
        )
        self._redact = Redactor(*(environ.get(name) for name in KEYS))

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Leave, with a message that a terminal does not break inside of a word."""
        super().exit(status, message and folded(message, sys.stderr))

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments, and leave with 2."""
        super().error(self._safe(message))

    def refuse(self, message: str) -> NoReturn:
        """Say why nothing can be done, although the arguments are no mistake, and leave with 2."""
        self.exit(2, f"{self.prog}: error: {self._safe(message)}\n")

    def require_posix(self, what: str, remedy: str) -> None:
        """Leave with 2 where files of fslog's own cannot be kept as POSIX keeps them.

        Args:
            what: needs it.
            remedy: what can be done instead.
        """
        missing = [name for name in _POSIX if not hasattr(os, name)]
        missing += [] if CAN_LOCK else ["fcntl"]
        if missing:
            self.refuse(
                f"{what} needs files as POSIX has them, which this platform does not have "
                f"({', '.join(missing)}): {remedy}"
            )

    def _safe(self, message: str) -> str:
        return printable(self._redact(message))


def seconds(name: str, *, zero: bool = False) -> Any:
    """Return what reads an option that is a number of seconds.

    >>> seconds("timeout")("2.5")
    2.5
    """

    def read(text: str) -> float:
        try:
            return config.seconds(name, float(text), zero=zero)
        except ValueError:
            least = "0 or more" if zero else "more than 0"
            raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds, {least}") from None

    return read


def whole(name: str) -> Any:
    """Return what reads an option that is a whole number, 1 or more.

    >>> whole("batch_events")("5_000")
    5000
    """

    def read(text: str) -> int:
        try:
            return config.whole(name, int(text), least=1)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number, 1 or more") from None

    return read
