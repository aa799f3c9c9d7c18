"""The command `fslog`: a table of commands, each a module of its own, loaded when it is asked for.

A command's module has a function that takes the arguments behind the command's name and returns
the exit code; it does its own parsing, and its own `--help`.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TextIO

from fslog.cli.commandline import CommandParser
from fslog.version import VERSION

INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 and the signal's number, as shells have it."""

PIPE_CLOSED = 141
"""The exit code when whoever reads the output has gone, likewise."""


@dataclass(frozen=True)
class Command:
    """Describe one command.

    Args:
        summary: one line for `fslog --help`.
        load: imports the command's module, and only that, and returns its function.
    """

    summary: str
    load: Callable[[], Callable[[Sequence[str]], int]]


def _demo() -> Callable[[Sequence[str]], int]:
    from fslog.cli.demo import demo

    return demo.run


def _viewer() -> Callable[[Sequence[str]], int]:
    from fslog.cli import viewer

    return viewer.run


def _check() -> Callable[[Sequence[str]], int]:
    from fslog.cli.check import check

    return check.run


def _ping() -> Callable[[Sequence[str]], int]:
    from fslog.cli import ping

    return ping.run


def _send() -> Callable[[Sequence[str]], int]:
    from fslog.cli.upload import send

    return send.run


def _validate() -> Callable[[Sequence[str]], int]:
    from fslog.cli.upload import validate

    return validate.run


def _spool() -> Callable[[Sequence[str]], int]:
    from fslog.cli.spool import spool

    return spool.run


COMMANDS = {
    "demo": Command("run a small application and watch its events arrive", _demo),
    "viewer": Command("watch events arrive in a page, and see what is wrong with them", _viewer),
    "check": Command("say what a logging configuration makes of log calls", _check),
    "ping": Command("say whether the endpoint can be reached", _ping),
    "send": Command("upload events from files", _send),
    "validate": Command("check the events in files", _validate),
    "spool": Command("look at what waits in a spool directory, and send it", _spool),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments without the program's name; None takes the process's own.

    Returns:
        The exit code: what the command says, 1 where the output cannot be written, 2 for a wrong
        argument, 130 after Ctrl-C, 141 where nobody reads the output any more.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    _open_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the locale has no letters for is shown escaped, as stderr does.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _discard(sys.stdout)
        return PIPE_CLOSED
    except OSError as error:
        if error.filename is not None:  # it is about a file, not about the output: a bug
            raise
        _tell_unwritable(error)
        return 1


def _run(arguments: list[str]) -> int:
    try:
        if not arguments:
            _parser().print_help(sys.stderr)
            return 2
        # What stands behind a command's name is for the command alone.
        chosen = _parser().parse_args(arguments[:1]).command
        return COMMANDS[chosen].load()(arguments[1:])
    except SystemExit as leaving:  # argparse: --help, --version, a wrong argument
        return leaving.code if isinstance(leaving.code, int) else 1


def _parser() -> CommandParser:
    rows = "\n".join(f"  {name:10}{command.summary}" for name, command in COMMANDS.items())
    parser = CommandParser(
        "fslog",
        "Freshsuccess product-usage events from log calls.",
        f"commands:\n{rows}\n\n`fslog COMMAND --help` tells more.",
        usage="fslog [-h] [--version] COMMAND ...",
    )
    parser.add_argument("--version", action="version", version=f"fslog {VERSION}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    return parser


def _open_streams() -> None:
    """Lead stdout and stderr nowhere where they were closed: Python has None for them then."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # By its number, as the interpreter's own are: nobody closes them, and nobody warns.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, os.fdopen(nowhere, "w", encoding="utf-8", closefd=False))


def _tell_unwritable(error: OSError) -> None:
    """Say why the output could not be written; what can still be written is."""
    with contextlib.suppress(OSError, ValueError):
        print(f"fslog: {error.strerror or error}", file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _discard(stream)


def _discard(stream: TextIO) -> None:
    """Lead what is still buffered nowhere: the interpreter flushes once more when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
