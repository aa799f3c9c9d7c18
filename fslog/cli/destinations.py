"""Where a command's events go: its options, and the keys from the environment."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any

from fslog.cli.commandline import KEYS, seconds
from fslog.delivery import notices
from fslog.net.destination import Destination, destination
from fslog.net.transport import Transport, tls_context

_NO_KEYS = (
    "the keys of the source are taken from FSLOG_AUTH_KEY and FSLOG_API_KEY, never from arguments, "
    "which every user of the machine can read in the list of processes"
)


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
        say=notices.say,
    )


def transport_to(to: Destination, options: argparse.Namespace, encoding: str | None) -> Transport:
    """Return what posts to a destination as the options say.

    Raises:
        ValueError: the certificates cannot be used.
    """
    if options.ca_certs is not None:
        tls_context(options.ca_certs)  # said here and now, not as trouble on the way
    return Transport(to, ca_certs=options.ca_certs, encoding=encoding, timeout=options.timeout)
