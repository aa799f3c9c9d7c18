"""Read a plan for a command."""

from __future__ import annotations

import datetime
import os
import sys
import tempfile

from fslog.cli.options import CommandError
from fslog.cli.upload.ndjson import STDIN
from fslog.plan.plan import Plan


def read_plan(path: str) -> Plan:
    """Return the plan in a file.

    Raises:
        CommandError: it cannot be read, or has a mistake.
    """
    try:
        return Plan.read(path)
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from None


def read_piped_plan(format_of: str) -> Plan:
    """Return the plan on standard input, which has the format of another file.

    Raises:
        CommandError: it cannot be read, or has a mistake.
    """
    extension = os.path.splitext(format_of)[1]
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, f"plan{extension}")
        with open(path, "wb") as file:
            file.write(sys.stdin.buffer.read())
        try:
            return read_plan(path)
        except CommandError as error:
            raise CommandError(str(error).replace(path, "standard input")) from None


def read_either(path: str, other: str) -> Plan:
    """Return the plan in a file, or on standard input in the format of the other one."""
    return read_piped_plan(other) if path == STDIN else read_plan(path)


def today() -> datetime.date:
    """Return the day by which events expire, in UTC."""
    return datetime.datetime.now(datetime.timezone.utc).date()
