"""Whether a handler could use its spool, found out without making or touching anything."""

from __future__ import annotations

import os
import stat

from fslog.cli.check.configurations import Configuration
from fslog.cli.check.targets import Target
from fslog.cli.printable import count
from fslog.cli.spool.spools import Contents, NotSpool, look
from fslog.spool.directory import is_spool, strangers


def look_at_spool(made: Configuration, target: Target) -> None:
    """Note in `made.findings` why a handler's spool cannot be used, if that is so."""
    if target.spool is None or not target.enabled:
        return
    where = f"handlers.{target.name}.spool"
    why = unusable(target.spool.path)
    if why:
        made.wrong(where, f"{target.spool.path!r} cannot be used: {why}")
        return
    contents = _contents(target.spool.path)
    if contents is None or contents.digest in (None, target.spool.digest):
        return
    if any(share.is_living for share in contents.shares):
        made.wrong(where, "a living process uses it with other keys than those given here")
    else:
        made.doubt(where, "it belongs to other keys; with those given here it is taken over")


def state(path: str) -> str:
    """Say in a few words what there is at a spool's path."""
    contents = _contents(path)
    if contents is None:
        return "not there yet" if not os.path.lexists(path) else "empty so far"
    events = sum(share.events for share in contents.shares)
    return f"{count(events, 'event')} wait in it" if events else "nothing waits in it"


def _contents(path: str) -> Contents | None:
    try:
        return look(path)
    except NotSpool:
        return None


def unusable(path: str) -> str:
    """Say why a directory cannot be a spool; empty where it can.

    The same reasons as `SpoolDirectory.check` has, which makes what is missing.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return _unmakable(path)
    except OSError as error:
        return error.strerror or str(error)
    if stat.S_ISLNK(found.st_mode):
        return "it is a symbolic link, which is not followed"
    if not stat.S_ISDIR(found.st_mode):
        return "it is no directory"
    if found.st_uid != os.geteuid():
        return "it belongs to another user"
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return "it may not be written to"
    names = os.listdir(path)
    found_else = [] if is_spool(names) else strangers(names)
    return f"it holds something else ({found_else[0]!r})" if found_else else ""


def _unmakable(path: str) -> str:
    parent = os.path.dirname(path)
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    if not os.path.isdir(parent):
        return f"{parent!r} is no directory"
    may = os.access(parent, os.W_OK | os.X_OK)
    return "" if may else f"it is not there, and {parent!r} may not be written to"
