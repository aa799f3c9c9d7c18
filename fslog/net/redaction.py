"""The two keys, kept out of every text that fslog causes.

Both stand in the URL's path (EVENT_API, "Endpoint"), and urllib3 logs it: the path at DEBUG, the
whole URL at WARNING if a response is malformed. Exceptions contain it too.

Redaction applies to internal work: what fslog does for itself, in whatever thread (listener,
closing thread, `ping`). A context variable marks it, because logger names cannot tell fslog's
requests from those of an application that uses urllib3 too. The mark also keeps records that
urllib3, backoff and fslog log meanwhile from becoming events.
"""

from __future__ import annotations

import logging
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote

from fslog import events
from fslog.interrupts import unless_interrupt

Redact = Callable[[str], str]
"""Returns a text without the keys."""

MASK = "***"

LEAST_LENGTH = 8
"""The length from which a key is treated as a secret.

Keys are made of 64 different characters, so eight of them are 48 bits, too many to guess.
Placeholders ("test", "dev", "staging") are shorter: replacing such words everywhere would hide
nothing and garble messages and paths.
"""

_END = r"(?![\w.~!$&'()*+,;=:@%-])"
_SEGMENTS = (r"[^\s/'\"?#]+", r"[^\s/'\"?#,)]+")


def printable(text: str) -> str:
    r"""Return a text with each character that a terminal would execute or hide escaped.

    These are the characters for which `str.isprintable` is false: control characters, marks that
    change the writing direction, unusual blanks, lone surrogates.

    >>> printable("zoë \x1b[31m\u202e\n")
    'zoë \\x1b[31m\\u202e\\n'
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


class Redactor:
    """Replace secrets, and the two path segments in which keys stand, by `***`.

    A secret of at least `LEAST_LENGTH` characters is replaced wherever it stands, a shorter one
    only in the path `/v1/{auth_key}/{api_key}`.

    >>> Redactor("s3cret-key", "dev")("POST /v1/s3cret-key/dev gave s3cret-key%2Fx in dev")
    'POST /v1/***/*** gave ***%2Fx in dev'
    """

    def __init__(self, *secrets: str | None) -> None:
        self._secrets: set[str] = set()
        self.add(*secrets)

    def add(self, *secrets: str | None) -> None:
        """Replace further secrets from now on, and still those from before."""
        self._secrets |= {secret for secret in secrets if secret}
        forms = {form for secret in self._secrets for form in (secret, quote(secret, safe=""))}
        ordered = sorted(forms, key=len, reverse=True)
        sure = [re.escape(form) for form in ordered if len(form) >= LEAST_LENGTH]
        self._pattern = re.compile("|".join(sure), re.IGNORECASE) if sure else None
        # A key may contain characters that end other segments.
        known = "".join(f"{re.escape(form)}{_END}|" for form in (MASK, *ordered))
        first, second = (f"(?:{known}{segment})" for segment in _SEGMENTS)
        self._path = re.compile(f"/v1/{first}/{second}", re.IGNORECASE)

    def __call__(self, text: str) -> str:
        return self._path.sub(f"/v1/{MASK}/{MASK}", self.secrets(text))

    def secrets(self, text: str) -> str:
        """Replace only the secrets, for texts without URLs: a file's path may contain `/v1/`.

        >>> Redactor("s3cret-key")("/v1/2024/s3cret-key"), Redactor("s3cret-key").secrets("/v1/a/b")
        ('/v1/***/***', '/v1/a/b')
        """
        return self._pattern.sub(MASK, text) if self._pattern else text

    def __repr__(self) -> str:
        return "Redactor()"


class _Mark:
    """One block of internal work: its thread, and whether it is still being run."""

    __slots__ = ("active", "redact", "thread")

    def __init__(self, redact: Redact) -> None:
        self.redact = redact
        self.thread = threading.get_ident()
        self.active = True


# A context variable is separate for each thread, and for each greenlet whenever gevent patches.
_mark: ContextVar[_Mark | None] = ContextVar("fslog.net.redaction", default=None)

current_mark: Callable[[], _Mark | None] = _mark.get
"""None if this is certainly not internal work; else `active_redactor` decides. Cheap."""

_LOGGERS = ("fslog", "urllib3", "backoff")


@contextmanager
def internal_work(redact: Redact) -> Iterator[None]:
    """Mark what this thread does inside the block as internal; blocks may nest.

    >>> with internal_work(lambda text: text):
    ...     active_redactor() is not None
    True
    >>> active_redactor() is None
    True
    """
    before = _mark.get()
    mark = _Mark(redact)
    _mark.set(mark)
    try:
        yield
    finally:
        mark.active = False
        _mark.set(before)


def restore_mark(mark: Any) -> None:
    """Set the mark that `current_mark` returned before an exception may have left another."""
    _mark.set(mark)


def active_redactor() -> Redact | None:
    """Return the function that redacts this thread's texts; None outside of internal work."""
    mark = _mark.get()
    # A context may be copied to a task or another thread, and outlive the block there.
    if mark is None or not mark.active or mark.thread != threading.get_ident():
        return None
    return mark.redact


def is_internal(logger: object) -> bool:
    """Return whether a record made here by the logger of that name is about internal work.

    A record of any other logger is the application's, even during internal work: the garbage
    collector may run a finalizer in any thread.

    >>> is_internal("urllib3.connectionpool")
    False
    >>> with internal_work(lambda text: text):
    ...     [is_internal(name) for name in ("urllib3.connectionpool", "urllib3x", "app")]
    [True, False, False]
    """
    return (
        active_redactor() is not None
        and isinstance(logger, str)
        and logger.partition(".")[0] in _LOGGERS
        and logger != events.LOGGER  # which is for the application
    )


class _RecordFilter(logging.Filter):
    """Redact records that urllib3 makes during internal work.

    A logger's filter runs before any handler, so no handler can print a key. The record is kept,
    for applications that turned urllib3's DEBUG lines on.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        redact = active_redactor()
        if redact is not None:
            try:
                text = record.getMessage()
            except unless_interrupt(Exception):
                # logging would print the arguments of an invalid log call to stderr.
                text = f"{record.msg} {record.args}"
            record.msg, record.args = redact(text), None
            if record.exc_info:
                text = "".join(traceback.format_exception(*record.exc_info))
                record.exc_info, record.exc_text = None, redact(text.rstrip("\n"))
        return True


_filter = _RecordFilter()


def guard_urllib3() -> None:
    """Add the filter to every existing logger of urllib3; repeated calls add nothing.

    A logger's filters apply only to records made by that very logger, so each needs its own.
    """
    for name in list(logging.Logger.manager.loggerDict):
        if name == "urllib3" or name.startswith("urllib3."):
            logging.getLogger(name).addFilter(_filter)
