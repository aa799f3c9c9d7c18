"""Where a command's events go: its options, and the keys from the environment."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any, NoReturn

from fslog import arguments
from fslog.cli.printable import printable
from fslog.destination import Destination, destination
from fslog.redaction import Redactor
from fslog.transport import Transport, tls_context

KEYS = ("FSLOG_AUTH_KEY", "FSLOG_API_KEY")

_NO_KEYS = (
    "the keys of the source are taken from FSLOG_AUTH_KEY and FSLOG_API_KEY, never from arguments, "
    "which every user of the machine can read in the list of processes"
)


class CommandParser(argparse.ArgumentParser):
    """Parse a command's arguments; its errors are printable and show no key.

    Args:
        prog: the command, as it is called.
        description, epilog: as they are to be shown.
        environ: where the keys are, which somebody may have pasted into an argument.
    """

    def __init__(
        self, prog: str, description: str, epilog: str, environ: Mapping[str, str] = os.environ
    ) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self._redact = Redactor(*(environ.get(name) for name in KEYS))

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments, and leave with 2."""
        super().error(self._safe(message))

    def refuse(self, message: str) -> NoReturn:
        """Say why nothing can be done, although the arguments are no mistake, and leave with 2."""
        self.exit(2, f"{self.prog}: error: {self._safe(message)}\n")

    def _safe(self, message: str) -> str:
        return printable(self._redact(message))


class _Refused(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *given: Any) -> None:
        parser.error(_NO_KEYS)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the endpoint is and how it is reached."""
    where = parser.add_argument_group("the endpoint")
    # No choices: argparse would show what came, and that may be a key in the wrong place.
    where.add_argument(
        "--datacenter",
        metavar="us|eu",
        help="the data center (default: FSLOG_DATACENTER, else us)",
    )
    where.add_argument(
        "--endpoint",
        metavar="URL",
        help="base URL to use instead of the data center's (default: FSLOG_ENDPOINT)",
    )
    where.add_argument(
        "--ca-certs",
        metavar="FILE",
        help="PEM file or directory of certificates to trust instead of the system's",
    )
    where.add_argument(
        "--timeout",
        type=seconds("timeout"),
        default=10.0,
        metavar="SECONDS",
        help="for one request, all of it (default: 10)",
    )
    where.add_argument(
        "--auth-key", "--api-key", nargs="?", action=_Refused, help=argparse.SUPPRESS
    )


def destination_of(
    options: argparse.Namespace, *, needs_keys: bool, environ: Mapping[str, str] = os.environ
) -> Destination:
    """Return where the options, and the environment for what they leave open, lead.

    A data center that is named by an option is not overruled by an endpoint of the environment.

    Raises:
        ValueError: something is wrong or missing; the message shows no key.
    """
    if needs_keys:
        for name in KEYS:
            if not environ.get(name, "").strip():
                raise ValueError(f"{name} is not set: {_NO_KEYS}")
    if options.datacenter is not None:
        environ = {name: environ[name] for name in environ if name != "FSLOG_ENDPOINT"}
    return destination(
        auth_key=None,
        api_key=None,
        datacenter=options.datacenter,
        endpoint=options.endpoint,
        proxy=None,
        needs_keys=needs_keys,
        environ=environ,
    )


def transport_to(to: Destination, options: argparse.Namespace, encoding: str | None) -> Transport:
    """Return what posts to a destination as the options say.

    Raises:
        ValueError: the certificates cannot be used.
    """
    if options.ca_certs is not None:
        tls_context(options.ca_certs)  # said here and now, not as trouble on the way
    return Transport(to, ca_certs=options.ca_certs, encoding=encoding, timeout=options.timeout)


def seconds(name: str, *, zero: bool = False) -> Any:
    """Return what reads an option that is a number of seconds.

    >>> seconds("timeout")("2.5")
    2.5
    """

    def read(text: str) -> float:
        try:
            return arguments.seconds(name, float(text), zero=zero)
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
            return arguments.whole(name, int(text), least=1)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number, 1 or more") from None

    return read
