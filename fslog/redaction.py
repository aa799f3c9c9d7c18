"""The two keys, kept out of every text that fslog causes.

Both stand in the URL's path (EVENT_API, "Endpoint"), and urllib3 writes the path: in its DEBUG
lines, and whole URLs at WARNING when an answer is malformed. Exceptions carry it too.
"""

from __future__ import annotations

import logging
import re
import traceback
from urllib.parse import quote

from fslog.ownwork import redaction

MASK = "***"

_PATH = re.compile(r"/v1/[^\s/'\"?#]+/[^\s/'\"?#,)]+")
_SURE_LENGTH = 8


class Redactor:
    """Replace secrets, and whatever stands where the keys stand in a path, by `***`.

    A secret of eight characters or more is replaced wherever it stands; a shorter one (only tests
    have such keys) where it stands alone, so that a key "a" does not eat every word.

    >>> Redactor("s3cret-key", "b")("POST /v1/s3cret-key/b gave s3cret-key%2Fb, absent, b")
    'POST /v1/***/*** gave ***%2Fb, absent, ***'
    """

    def __init__(self, *secrets: str | None) -> None:
        forms = {form for secret in secrets if secret for form in (secret, quote(secret, safe=""))}
        patterns = [
            re.escape(form) if len(form) >= _SURE_LENGTH else rf"(?<!\w){re.escape(form)}(?!\w)"
            for form in sorted(forms, key=len, reverse=True)
        ]
        self._pattern = re.compile("|".join(patterns), re.IGNORECASE) if patterns else None

    def __call__(self, text: str) -> str:
        return _PATH.sub(f"/v1/{MASK}/{MASK}", self.secrets(text))

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
            except Exception:  # a wrong log call of urllib3's would be shown with its arguments
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
