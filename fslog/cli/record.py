"""`fslog record`: start a command, and keep some real records of each of its log calls."""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Sequence

from fslog.cli.options import CommandError, CommandParser, require_posix
from fslog.cli.run import become, environment_of, split
from fslog.config import environment
from fslog.integrations.recording import HEADER, RECORDING, levels

_DESCRIPTION = """\
Run COMMAND and keep, of each log call, some real records in a file: message,
arguments and extras two levels deep, with their types, and how often it was
made. The records of each Python process that COMMAND starts are kept as well,
whatever it does to logging. This sends nothing, and needs no keys.

FILE is a logging configuration (JSON, YAML or TOML), of which the loggers'
levels count. Without FILE and FSLOG_CONFIG, records from INFO on are kept.

Values with names such as password, token or cookie, texts that look like keys,
and the query strings of URLs are replaced by ***; long values are cut. The rest
is data of your users: the file is readable by you alone (mode 0600). Delete it
when you have written your rules."""

_EPILOG = """\
examples:
  fslog record -- python manage.py runserver
  fslog record --output shop.ndjson -- uvicorn app:app
  fslog suggest records.ndjson > usage.yaml
  fslog check usage.yaml --log records.ndjson

Of each log call, three records of each message are kept, and of a server's
access log three of each method, path and class of status; ids in paths count
as the same. A file that exists already, from an earlier run, is continued; at
16 MiB it is full. Records are written as they come; how often a call was made
is written at the end of each process, also at SIGTERM.

The process becomes the command: signals and the exit code are its own. The exit
code is 2 if the configuration is invalid or the file cannot be written, 126 if
the command cannot be started, 127 if it is not found."""


def run(arguments: Sequence[str]) -> int:
    """Check the configuration, create the file, and become the command."""
    given, command = split(arguments, ("--config", "--output"))
    options = _parser().parse_args(given)
    if not command:
        raise CommandError("expected a command: fslog record -- COMMAND ...")
    require_posix("fslog record", "run it on another one")
    path = options.config or environment("FSLOG_CONFIG")
    try:
        levels(path)
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from None
    create(options.output)
    environ = {**environment_of(path), RECORDING: os.path.abspath(options.output)}
    return become(command, environ)


def create(path: str) -> None:
    """Create a recording that only this user can read, or make one that exists so.

    Raises:
        CommandError: there is something else, or it cannot be written.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        file = os.open(path, flags, 0o600)
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise CommandError(f"{path} is not a regular file")
            if status.st_size and os.pread(file, len(HEADER), 0) != HEADER:
                raise CommandError(f"{path} exists and is not a recording; choose another --output")
            os.fchmod(file, 0o600)
            if not status.st_size:
                os.write(file, HEADER)
        finally:
            os.close(file)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from None


def _parser() -> CommandParser:
    usage = "fslog record [-h] [--config FILE] [--output FILE] -- COMMAND ..."
    parser = CommandParser("fslog record", _DESCRIPTION, _EPILOG, usage=usage)
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command, with arguments"
    )
    parser.add_argument(
        "--config", metavar="FILE", help="the logging configuration (default: FSLOG_CONFIG)"
    )
    parser.add_argument(
        "--output",
        default="records.ndjson",
        metavar="FILE",
        help="where the records are kept (default: records.ndjson)",
    )
    return parser
