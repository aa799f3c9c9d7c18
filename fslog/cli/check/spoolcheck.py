"""Whether a handler could use its spool, found out without making or touching anything."""

from __future__ import annotations

import os

from fslog.cli.check.configurations import Configuration
from fslog.cli.check.targets import Target
from fslog.cli.output import count
from fslog.cli.spool.contents import NotASpool, SpoolContents, read_contents
from fslog.spool.directory import examine
from fslog.spool.filesystem import FileSystem


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
    if any(owner.is_living for owner in contents.owners):
        made.wrong(where, "a living process uses it with other keys than those given here")
    else:
        made.doubt(where, "it belongs to other keys; with those given here it is taken over")


def state(path: str) -> str:
    """Say in a few words what there is at a spool's path."""
    contents = _contents(path)
    if contents is None:
        return "not there yet" if not os.path.lexists(path) else "empty so far"
    events = sum(owner.events for owner in contents.owners)
    return f"{count(events, 'event')} wait in it" if events else "nothing waits in it"


def _contents(path: str) -> SpoolContents | None:
    try:
        return read_contents(path)
    except NotASpool:
        return None


def unusable(path: str) -> str:
    """Return why a directory cannot be a spool; empty if it can."""
    try:
        reason, _ = examine(FileSystem(), path)
    except FileNotFoundError:
        return _unmakable(path)
    except OSError as error:
        return error.strerror or str(error)
    return reason or ("" if os.access(path, os.W_OK | os.X_OK) else "it is not writable")


def _unmakable(path: str) -> str:
    parent = os.path.dirname(path)
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    if not os.path.isdir(parent):
        return f"{parent!r} is not a directory"
    may = os.access(parent, os.W_OK | os.X_OK)
    return "" if may else f"it does not exist, and {parent!r} is not writable"
