"""The arguments of commands: one parser, numbers with bounds, the endpoint's options, one error.

Every command loads this module, so it imports urllib3 only when a destination is needed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from fslog import config
from fslog.cli.output import folded
from fslog.net.keys import known_keys
from fslog.net.redaction import Redactor, printable
from fslog.spool.filesystem import CAN_LOCK

if TYPE_CHECKING:
    from fslog.net.destination import Destination
    from fslog.net.transport import Transport
    from fslog.plan.plan import Plan

KEYS = ("FSLOG_AUTH_KEY", "FSLOG_API_KEY")

_NO_KEYS = (
    "the keys of the source are read from FSLOG_AUTH_KEY and FSLOG_API_KEY, or from the files that "
    "FSLOG_AUTH_KEY_FILE and FSLOG_API_KEY_FILE name, never from arguments, which every user of "
    "the machine can read in the list of processes"
)

_POSIX = ("O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC", "fchmod", "pread", "pwrite", "geteuid")
"""Names in `os` without which no private file can be written safely."""


class CommandError(Exception):
    """Report why a command cannot do what was asked; `fslog.cli.main` prints it and exits.

    Args:
        message: the reason, and the remedy if there is one.
        code: the exit code; 2 is for arguments, and nothing has been done then.
    """

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


class CommandParser(argparse.ArgumentParser):
    """Parse a command's arguments; its error messages are printable and redacted.

    Args:
        prog: the command, as it is called.
        description, epilog: shown without reformatting.
        others: of argparse; what it passes to the parsers of subcommands depends on its version.
    """

    def __init__(self, prog: str, description: str, epilog: str, **others: Any) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **others,
        )

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Exit with a message that is wrapped for a terminal."""
        super().exit(status, message and folded(message, sys.stderr))

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, and exit with 2."""
        super().error(_safe(message))


def report_error(prog: str, error: CommandError) -> int:
    """Print a command's error on stderr, printable and redacted, and return the exit code."""
    message = f"{prog}: error: {_safe(str(error))}\n"
    sys.stderr.write(folded(message, sys.stderr))
    return error.code


def _safe(message: str) -> str:
    # A key may have been pasted into an argument.
    return printable(Redactor(*known_keys(os.environ))(message))


def require_posix(what: str, remedy: str) -> None:
    """Check that the platform has POSIX files, which fslog's own files need.

    Args:
        what: needs them.
        remedy: what to do without them.

    Raises:
        CommandError: it has not.
    """
    missing = [name for name in _POSIX if not hasattr(os, name)]
    missing += [] if CAN_LOCK else ["fcntl"]
    if missing:
        raise CommandError(
            f"{what} needs POSIX files, which this platform does not have "
            f"({', '.join(missing)}): {remedy}"
        )


def seconds(*, zero: bool = False) -> Callable[[str], float]:
    """Return a converter of an option to a number of seconds.

    >>> seconds()("2.5")
    2.5
    """

    def read(text: str) -> float:
        try:
            return config.seconds("", float(text), zero=zero)
        except ValueError:
            least = "0 or more" if zero else "more than 0"
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a number of seconds, {least}"
            ) from None

    return read


def whole(least: int = 1, most: int | None = None) -> Callable[[str], int]:
    """Return a converter of an option to a whole number.

    >>> whole()("5_000")
    5000
    """

    def read(text: str) -> int:
        try:
            return config.whole("", int(text), least=least, most=most)
        except ValueError:
            bounds = f", {least} or more" if most is None else f" from {least} to {most}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number{bounds}") from None

    return read


def add_plan_option(parser: argparse.ArgumentParser, use: str) -> None:
    """Add the option for a tracking plan.

    Args:
        use: what the plan is used for, for the help.
    """
    parser.add_argument(
        "--plan",
        type=_plan,
        default=config.environment("FSLOG_PLAN"),
        metavar="FILE",
        help=f"{use} (default: FSLOG_PLAN)",
    )


def _plan(path: str) -> Plan:
    from fslog.plan.plan import Plan

    try:
        return Plan.read(path)
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class _KeyOption(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *given: Any) -> None:
        parser.error(_NO_KEYS)


def add_endpoint_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the endpoint and the connection to it."""
    group = parser.add_argument_group("the endpoint")
    # No choices: argparse would show the value, which may be a misplaced key.
    group.add_argument(
        "--datacenter",
        metavar="us|eu",
        help="the data center (default: FSLOG_DATACENTER, else us)",
    )
    group.add_argument(
        "--endpoint",
        metavar="URL",
        help="base URL to use instead of the data center's (default: FSLOG_ENDPOINT)",
    )
    group.add_argument(
        "--ca-certs",
        metavar="FILE",
        help="PEM file or directory of certificates to trust instead of the system's",
    )
    group.add_argument(
        "--timeout",
        type=seconds(),
        default=10.0,
        metavar="SECONDS",
        help="limit for one whole request (default: 10)",
    )
    group.add_argument(
        "--auth-key", "--api-key", nargs="?", action=_KeyOption, help=argparse.SUPPRESS
    )


def destination_of(
    options: argparse.Namespace, *, needs_keys: bool, environ: Mapping[str, str] = os.environ
) -> Destination:
    """Return the destination of the endpoint's options and, for those not given, the environment.

    `--datacenter` overrides FSLOG_ENDPOINT.

    Raises:
        CommandError: a value is invalid or missing; the message shows no key.
    """
    from fslog.delivery import notices
    from fslog.net.destination import destination

    if needs_keys:
        for name in KEYS:
            if not (environ.get(name, "").strip() or environ.get(f"{name}_FILE", "").strip()):
                raise CommandError(f"{name} is not set: {_NO_KEYS}")
    if options.datacenter is not None:
        environ = {name: environ[name] for name in environ if name != "FSLOG_ENDPOINT"}
    try:
        return destination(
            auth_key=None,
            api_key=None,
            datacenter=options.datacenter,
            endpoint=options.endpoint,
            proxy=None,
            needs_keys=needs_keys,
            environ=environ,
            log=notices.log,
        )
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from None


def transport_to(to: Destination, options: argparse.Namespace, encoding: str | None) -> Transport:
    """Return a transport to a destination, as the endpoint's options configure it.

    Raises:
        CommandError: the certificates cannot be used.
    """
    from fslog.net.transport import Transport, tls_context

    try:
        if options.ca_certs is not None:
            tls_context(options.ca_certs)  # fails here, not at the first request
        return Transport(to, ca_certs=options.ca_certs, encoding=encoding, timeout=options.timeout)
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from None
