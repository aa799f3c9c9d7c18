"""The two keys, kept out of every text that fslog causes.

Both stand in the URL's path (EVENT_API, "Endpoint"), and urllib3 writes the path: in its DEBUG
lines, and whole URLs at WARNING when an answer is malformed. Exceptions carry it too.
"""

from __future__ import annotations

import logging
import re
import traceback
from urllib.parse import quote

from fslog.interrupts import unless_interrupt
from fslog.net.ownwork import redaction

MASK = "***"

LEAST_LENGTH = 8
"""How many characters a key has at the least, or it is no secret but a word.

Of the 64 characters that keys are made of, eight are 48 bits, which is the least that nobody finds
by trying; and the words that stand in for keys ("test", "dev", "staging") are shorter. Taking them
out of texts would hide nothing and make riddles of messages and paths.
"""

_END = r"(?![\w.~!$&'()*+,;=:@%-])"
_SEGMENTS = (r"[^\s/'\"?#]+", r"[^\s/'\"?#,)]+")


class Redactor:
    """Replace secrets, and whatever stands where the keys stand in a path, by `***`.

    A secret of `LEAST_LENGTH` is replaced wherever it stands; a shorter one in the keys' places of
    a path, `/v1/{auth_key}/{api_key}`, and nowhere else.

    >>> Redactor("s3cret-key", "dev")("POST /v1/s3cret-key/dev gave s3cret-key%2Fx in dev")
    'POST /v1/***/*** gave ***%2Fx in dev'
    """

    def __init__(self, *secrets: str | None) -> None:
        forms = {form for secret in secrets if secret for form in (secret, quote(secret, safe=""))}
        ordered = sorted(forms, key=len, reverse=True)
        sure = [re.escape(form) for form in ordered if len(form) >= LEAST_LENGTH]
        self._pattern = re.compile("|".join(sure), re.IGNORECASE) if sure else None
        # A key may hold what ends other segments.
        known = "".join(f"{re.escape(form)}{_END}|" for form in (MASK, *ordered))
        first, second = (f"(?:{known}{segment})" for segment in _SEGMENTS)
        self._path = re.compile(f"/v1/{first}/{second}", re.IGNORECASE)

    def __call__(self, text: str) -> str:
        return self._path.sub(f"/v1/{MASK}/{MASK}", self.secrets(text))

    def secrets(self, text: str) -> str:
        """Replace the secrets alone, in what holds no URL: a file's path may have a `/v1/`, too.

        >>> Redactor("s3cret-key")("/v1/2024/s3cret-key"), Redactor("s3cret-key").secrets("/v1/a/b")
        ('/v1/***/***', '/v1/a/b')
        """
        return self._pattern.sub(MASK, text) if self._pattern else text

    def __repr__(self) -> str:
        return "Redactor()"


class _RecordFilter(logging.Filter):
    """Redact records that urllib3 makes inside fslog's own work; leave all others as they are.

    The record is redacted before any handler sees it, so that no handler can print a key. It is
    kept, not dropped: somebody who turned urllib3's DEBUG lines on wants to see them.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        redact = redaction()
        if redact is not None:
            try:
                text = record.getMessage()
            except unless_interrupt(Exception):
                # A wrong log call of urllib3's would be shown with its arguments.
                text = f"{record.msg} {record.args}"
            record.msg, record.args = redact(text), None
            if record.exc_info:
                text = "".join(traceback.format_exception(*record.exc_info))
                record.exc_info, record.exc_text = None, redact(text.rstrip("\n"))
        return True


_filter = _RecordFilter()


def guard_urllib3() -> None:
    """Put the filter on every logger of urllib3 that exists; again is no more.

    On each of them: a logger's filters see only the records made on that very logger.
    """
    for name in list(logging.Logger.manager.loggerDict):
        if name == "urllib3" or name.startswith("urllib3."):
            logging.getLogger(name).addFilter(_filter)
