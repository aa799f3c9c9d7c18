"""`fslog viewer`: the embedded endpoint with a page that shows events as they arrive."""

from __future__ import annotations

import argparse
import contextlib
import errno
import ipaddress
import re
import signal
import socket
import sys
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue

from fslog.cli.options import (
    CommandError,
    CommandParser,
    add_plan_option,
    require_posix,
    whole,
)
from fslog.cli.output import Printer, folded
from fslog.net.redaction import printable
from fslog.version import VERSION
from fslog.viewer.server import KEEP, Viewer

PORT = 8020
"""Default port."""

_MAX_KEEP = 1_000_000
_HOST = r"[A-Za-z0-9._-]{1,253}"

_DESCRIPTION = """\
Run the endpoint on this machine, with a page that shows events as they arrive
and the problems of those that are not valid, and that can simulate failures of
the endpoint. It needs no account and no keys, and no event leaves this machine."""

_EPILOG = """\
examples:
  fslog viewer
  fslog viewer --port 0 --open
  fslog viewer --store events.ndjson

Start your application with the environment variables that the viewer prints.
Scripts can use the HTTP API below /api/, which `fslog help viewer` describes.

The exit code is 0 after SIGTERM, 130 after Ctrl-C, 1 if the port or the file is
not available, 2 for an invalid argument."""


def run(arguments: Sequence[str]) -> int:
    """Run `fslog viewer` with its arguments until a signal ends it; return the exit code.

    Raises:
        CommandError: the port or the file is not available.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.store is not None:
        require_posix("--store", "start it without --store")
    try:
        viewer = Viewer(
            options.host,
            options.port,
            keep=options.keep,
            store=options.store,
            allow_hosts=options.allow_host,
            plan=options.plan,
            warn=_warn,
        )
    except OSError as error:
        reason = error.strerror or error
        raise CommandError(f"--store {options.store} cannot be written: {reason}", 1) from None
    with _terminated() as end, contextlib.ExitStack() as stack:
        try:
            stack.enter_context(viewer)
        except OSError as error:
            raise CommandError(_not_listening(options, error), 1) from None
        _print_introduction(Printer(sys.stdout), viewer.url, options)
        _wait(end)
    if viewer.missing:
        _warn(f"{viewer.missing} lines could not be written to {options.store}")
    return 0


def _wait(end: SimpleQueue[None]) -> None:
    # CPython may begin to wait after a signal has come and before it calls the handler.
    while True:
        with contextlib.suppress(Empty):
            return end.get(timeout=0.5)


@contextlib.contextmanager
def _terminated() -> Iterator[SimpleQueue[None]]:
    """Yield a queue to which SIGTERM adds an item; an Event is not safe in a signal handler."""
    end: SimpleQueue[None] = SimpleQueue()
    before = signal.signal(signal.SIGTERM, lambda number, frame: end.put(None))
    try:
        yield end
    finally:
        signal.signal(signal.SIGTERM, before)


def _print_introduction(printer: Printer, url: str, options: argparse.Namespace) -> None:
    printer.line((f"fslog {VERSION} viewer", "bold"))
    printer.line(("page      ", "bold"), (f"{url}/", "cyan"))
    printer.line(("endpoint  ", "bold"), (f"{url} (accepts any keys)", ""))
    printer.line()
    printer.line(("Start your application with", ""))
    printer.verbatim(
        (f"  export FSLOG_ENDPOINT={url} FSLOG_AUTH_KEY=any FSLOG_API_KEY=any", "green")
    )
    printer.line(("or set the endpoint of its handler in the logging configuration:", ""))
    printer.verbatim((f"  endpoint: {url}", "green"))
    printer.line()
    kept = f", and every line is appended to {options.store}" if options.store else ""
    printer.line((f"The last {options.keep:,} events are kept in memory{kept}.", "dim"))
    printer.line(("Press Ctrl-C to stop.", "dim"))
    if not _is_loopback(options.host):
        _warn(
            f"other machines can reach {options.host} and post events. They can also open the page "
            "and read all events if --allow-host contains the name that they use"
        )
    if options.open and not webbrowser.open(f"{url}/"):
        _warn("no browser could be started: open the page yourself")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _not_listening(options: argparse.Namespace, error: OSError) -> str:
    host, port = options.host, options.port
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} is in use, perhaps by another viewer (see http://{host}:{port}/): "
            "choose another one with --port N, or a free one with --port 0"
        )
    if error.errno == errno.EACCES:
        return f"port {port} is privileged: choose one above 1023 with --port"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"{host!r} is not an IPv4 address of this machine: choose another one with --host"
    return f"cannot listen on {host}:{port}: {error.strerror or error}"


def _warn(sentence: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # a closed stderr must not end the viewer
        text = folded(f"fslog viewer: {printable(sentence)}", sys.stderr)
        print(text, file=sys.stderr, flush=True)


def _parser() -> CommandParser:
    parser = CommandParser("fslog viewer", _DESCRIPTION, _EPILOG)
    add = parser.add_argument
    add(
        "--host",
        default="127.0.0.1",
        type=_matching(_HOST, "is not a host name or IPv4 address"),
        help="address to listen on (default: 127.0.0.1, which only this machine can reach)",
    )
    add(
        "--port",
        default=PORT,
        type=whole(0, 65_535),
        metavar="N",
        help=f"port to listen on, 0 for a free one (default: {PORT})",
    )
    add(
        "--keep",
        default=KEEP,
        type=whole(1, _MAX_KEEP),
        metavar="N",
        help=f"maximum number of events in memory (default: {KEEP})",
    )
    add(
        "--store",
        type=_matching(r"[^\0]+", "is not a path of a file"),
        metavar="FILE",
        help="append every line to this file",
    )
    add_plan_option(parser, "warn of events that are not as in this tracking plan")
    add(
        "--allow-host",
        action="append",
        default=[],
        type=_matching(rf"{_HOST}(:[0-9]{{1,5}})?", "is neither a host name nor name:port"),
        metavar="NAME",
        help="allow browsers to open the page under this name; repeatable",
    )
    add("--open", action="store_true", help="open the page in the browser")
    return parser


def _matching(pattern: str, otherwise: str) -> Callable[[str], str]:
    """Return a converter of an option that must match a pattern."""

    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"{text!r} {otherwise}")
        return text

    return read
