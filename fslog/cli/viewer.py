"""`fslog viewer`: the embedded endpoint with a page that shows what arrives, as it arrives."""

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
from collections.abc import Iterator, Sequence
from queue import SimpleQueue

from fslog.cli.options import CommandParser, require_posix, whole
from fslog.cli.output import Printer, folded, printable
from fslog.version import VERSION
from fslog.viewer.server import KEEP, Viewer

PORT = 8020
"""Where the viewer listens, unless somebody says otherwise."""

_MOST_KEPT = 1_000_000
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")
_HOST_AND_PORT = re.compile(rf"{_HOST.pattern}(:[0-9]{{1,5}})?")

_DESCRIPTION = """\
Play the endpoint on this machine, and show in a page what arrives: which events
are right, what is wrong with the others, and how an application bears an
endpoint that fails. No account, no keys, and nothing leaves this machine."""

_EPILOG = """\
examples:
  fslog viewer
  fslog viewer --port 0 --open
  fslog viewer --store events.ndjson

Then start your application with the environment that the viewer prints. The
page's address with `api/events` behind it is an API for scripts; the README
tells the rest.

The exit code is 0 after SIGTERM, 130 after Ctrl-C, 1 if the port or the file
cannot be had, 2 for a wrong argument."""


def run(arguments: Sequence[str]) -> int:
    """Run the viewer until a signal ends it.

    Args:
        arguments: those behind `fslog viewer`.

    Returns:
        The exit code, as `--help` explains it.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.store is not None:
        require_posix("--store", "start it without --store")
    try:
        viewer = _viewer(options)
    except OSError as error:
        return _fail(f"--store {options.store} cannot be written: {error.strerror or error}")
    with _terminated() as end, contextlib.ExitStack() as stack:
        try:
            stack.enter_context(viewer)
        except OSError as error:
            return _fail(_no_address(options, error))
        _introduce(Printer(sys.stdout), viewer.url, options)
        end.get()
    if viewer.missing:
        _say(f"{options.store} lacks {viewer.missing} lines that could not be written")
    return 0


def _viewer(options: argparse.Namespace) -> Viewer:
    return Viewer(
        options.host,
        options.port,
        keep=options.keep,
        store=options.store,
        allow_hosts=options.allow_host,
        warn=_say,
    )


@contextlib.contextmanager
def _terminated() -> Iterator[SimpleQueue[None]]:
    """Give a queue that SIGTERM puts something into; an Event is not safe in a handler."""
    end: SimpleQueue[None] = SimpleQueue()
    before = signal.signal(signal.SIGTERM, lambda number, frame: end.put(None))
    try:
        yield end
    finally:
        signal.signal(signal.SIGTERM, before)


def _introduce(screen: Printer, url: str, options: argparse.Namespace) -> None:
    screen.line((f"fslog {VERSION} viewer", "bold"))
    screen.line(("page      ", "bold"), (f"{url}/", "cyan"))
    screen.line(("endpoint  ", "bold"), (f"{url} takes events, with any keys", ""))
    screen.line()
    screen.line(("Start your application with", ""))
    screen.verbatim(
        (f"  export FSLOG_ENDPOINT={url} FSLOG_AUTH_KEY=any FSLOG_API_KEY=any", "green")
    )
    screen.line(("or give its handler, in the logging configuration,", ""))
    screen.verbatim((f"  endpoint: {url}", "green"))
    screen.line()
    kept = f", and {options.store} gets every line" if options.store else ""
    screen.line((f"The last {options.keep:,} events are kept in memory{printable(kept)}.", "dim"))
    screen.line(("Ctrl-C ends it.", "dim"))
    if not _is_loopback(options.host):
        _say(_EXPOSED.format(host=options.host))
    if options.open and not webbrowser.open(f"{url}/"):
        _say("no browser can be started here: open the page yourself")


_EXPOSED = (
    "{host} is not only this machine: who can reach it can post events. The page answers to names "
    "that --allow-host gives, and then anyone who can reach it reads every event"
)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _no_address(options: argparse.Namespace, error: OSError) -> str:
    host, port = options.host, options.port
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} is taken: another viewer may be running, see http://{host}:{port}/. "
            "Or choose another one: --port N, or --port 0 for any that is free"
        )
    if error.errno == errno.EACCES:
        return f"port {port} is not for every user: choose one above 1023 with --port"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"{host!r} is no IPv4 address of this machine: choose another one with --host"
    return f"{host}:{port} cannot be had: {error.strerror or error}"


def _say(words: str) -> None:
    # Nobody may read it any more, and what is said must not end the viewer.
    with contextlib.suppress(OSError, ValueError):
        said = folded(f"fslog viewer: {printable(words)}", sys.stderr)
        print(said, file=sys.stderr, flush=True)


def _fail(words: str) -> int:
    _say(words)
    return 1


def _parser() -> CommandParser:
    parser = CommandParser("fslog viewer", _DESCRIPTION, _EPILOG)
    add = parser.add_argument
    add(
        "--host",
        default="127.0.0.1",
        type=_host,
        help="address to listen on (default: 127.0.0.1, which only this machine reaches)",
    )
    add(
        "--port",
        default=PORT,
        type=whole(0, 65_535),
        metavar="N",
        help=f"port to listen on, 0 for any that is free (default: {PORT})",
    )
    add(
        "--keep",
        default=KEEP,
        type=whole(1, _MOST_KEPT),
        metavar="N",
        help=f"how many events stay in memory, the newest (default: {KEEP})",
    )
    add("--store", type=_path, metavar="FILE", help="append every line that comes to this file")
    add(
        "--allow-host",
        action="append",
        default=[],
        type=_host_and_port,
        metavar="NAME",
        help="answer to the page under this name, too; may be given several times",
    )
    add("--open", action="store_true", help="open the page in the browser")
    return parser


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name or IPv4 address")
    return text


def _host_and_port(text: str) -> str:
    if not _HOST_AND_PORT.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name, and no name:port")
    return text


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no path of a file")
    return text
