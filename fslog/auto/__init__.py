"""Attach handlers beside the application's logging, where no configuration detaches them.

`import fslog.auto` does that once, for this process and those that it forks. The configuration is
the file that `FSLOG_CONFIG` names; without it, one handler with its defaults on the root logger,
whose level is INFO. An error in the configuration is a `TypeError` or `ValueError` at the import.

`fslog run` imports this module when Python starts, in each process of a command. The handlers are
created there by the first event, after `gevent.monkey.patch_all()`, and the application runs on
without fslog if that fails, which one line on stderr reports. `fslog record` imports it likewise,
and has it attach a handler that keeps records in a file instead.
"""

from __future__ import annotations

import sys
from typing import Any

from fslog.config import environment
from fslog.config.files import mapping_in
from fslog.integrations.attachment import Attachment
from fslog.integrations.configured import DEFAULT, Configured


def _is_python_starting() -> bool:
    """Return whether Python imports this as it starts: the module `site` does, before a program."""
    frame: Any = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__") != "site":
        frame = frame.f_back
    return frame is not None


def _attach(path: str | None) -> None:
    recording = environment("_FSLOG_RECORD")
    if recording is not None:
        from fslog.integrations.recording import record_into

        return record_into(recording, path)
    configured = Configured(DEFAULT if path is None else mapping_in(path), path or "fslog")
    created = None if _is_python_starting() else configured.create()
    Attachment(configured, created).install()


_attach(environment("FSLOG_CONFIG"))
