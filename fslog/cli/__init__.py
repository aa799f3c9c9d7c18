"""The command `fslog`: a table of commands, each in its own module, imported when it is called.

A command is a function: its argument is the list of arguments after the command's name, its result
the exit code. It parses its arguments itself, `--help` included, and raises `CommandError` if it
cannot do what was asked.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import TextIO

import fslog
from fslog.cli.names import COMMANDS, TOPICS
from fslog.cli.options import CommandError, CommandParser, report_error
from fslog.config import did_you_mean
from fslog.version import VERSION

INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 plus the signal's number, as in a shell."""

PIPE_CLOSED = 141
"""The exit code if the reader of the output has closed it, likewise."""

REPLACED = (
    "another project, the distribution fslog, replaced or removed a file of this one: pip "
    "uninstall -y fslog, then pip install --force-reinstall --no-deps freshsuccess-logging"
)


def load(name: str) -> Callable[[Sequence[str]], int]:
    """Import the module of a command, and of no other one, and return its function."""
    if name == "demo":
        from fslog.cli.demo.demo import run
    elif name == "viewer":
        from fslog.cli.viewer import run
    elif name == "check":
        from fslog.cli.check.check import run
    elif name == "run":
        from fslog.cli.run import run
    elif name == "record":
        from fslog.cli.record import run
    elif name == "suggest":
        from fslog.cli.suggest.suggest import run
    elif name == "ping":
        from fslog.cli.ping import run
    elif name == "send":
        from fslog.cli.upload.send import run
    elif name == "validate":
        from fslog.cli.upload.validate import run
    elif name == "plan":
        from fslog.cli.plan.plan import run
    elif name == "help":
        from fslog.cli.help import run
    else:
        from fslog.cli.spool.spool import run
    return run


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments without the program's name; None means `sys.argv`.

    Returns:
        The command's exit code; 1 if the output cannot be written, 2 for an invalid argument, 130
        after Ctrl-C, 141 if the reader of the output has closed it.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    _open_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Escape a character that stdout's encoding lacks, as stderr does.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _run(arguments) if _is_complete() else report_error("fslog", CommandError(REPLACED))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _discard(sys.stdout)
        return PIPE_CLOSED
    except OSError as error:
        if error.filename is not None:  # about a file, not about the output: a bug
            raise
        _report_unwritable(error)
        return 1


def _is_complete() -> bool:
    # The distribution `fslog` consists of a file `fslog/__init__.py`.
    return "FreshsuccessHandler" in getattr(fslog, "__all__", ())


def _run(arguments: list[str]) -> int:
    try:
        if not arguments:
            _parser().print_help(sys.stderr)
            return 2
        if not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
            hint = (
                did_you_mean(arguments[0], COMMANDS) or f"; expected one of {', '.join(COMMANDS)}"
            )
            _parser().error(f"unknown command {arguments[0]!r}{hint}")
        # The arguments after a command's name are for the command alone.
        name = _parser().parse_args(arguments[:1]).command
        rest = arguments[1:]
        if name == "help" and len(rest) == 1 and rest[0] in COMMANDS and rest[0] not in TOPICS:
            name, rest = rest[0], ["--help"]
        try:
            return load(name)(rest)
        except CommandError as error:
            return report_error(f"fslog {name}", error)
    except SystemExit as error:  # argparse: --help, --version, an invalid argument
        return error.code if isinstance(error.code, int) else 1


def _parser() -> CommandParser:
    rows = "\n".join(f"  {name:10}{summary}" for name, summary in COMMANDS.items())
    parser = CommandParser(
        "fslog",
        "Freshsuccess product-usage events from log calls.",
        f"commands:\n{rows}\n\n`fslog COMMAND --help` explains a command.\n"
        "`fslog help` lists the topics of the guide.",
        usage="fslog [-h] [--version] COMMAND ...",
    )
    parser.add_argument("--version", action="version", version=f"fslog {VERSION}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    return parser


def _open_streams() -> None:
    """Open /dev/null for a stdout or stderr that was closed: Python sets it to None."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # By descriptor, like the interpreter's own, so that no ResourceWarning is issued.
            null = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, os.fdopen(null, "w", encoding="utf-8", closefd=False))


def _report_unwritable(error: OSError) -> None:
    """Print why the output cannot be written; flush the streams that still work."""
    with contextlib.suppress(OSError, ValueError):
        print(f"fslog: {error.strerror or error}", file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _discard(stream)


def _discard(stream: TextIO) -> None:
    """Redirect a stream's buffered output to /dev/null: the interpreter flushes it at exit."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
