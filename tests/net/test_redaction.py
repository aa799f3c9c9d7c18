"""Keys are taken out of every text that fslog causes, whatever they consist of."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import urllib3.connectionpool
import urllib3.util.retry
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fslog.net.ownwork import own_work
from fslog.net.redaction import LEAST_LENGTH, MASK, Redactor, guard_urllib3

KEYS = st.text(alphabet="aZ09._~!$&'()*+,;=:@-", min_size=8, max_size=20)
# What stands around a URL in messages, tracebacks and headers; none of it can be part of a key.
AROUND = st.text(alphabet='\n "<>[]{}|/?#', max_size=8)


class Memory(logging.Handler):
    """Keep the texts of records as a stream would show them."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.texts.append(self.format(record))


@pytest.fixture
def memory() -> Iterator[Memory]:
    """Listen to urllib3's pool logger, which is guarded."""
    logger = logging.getLogger("urllib3.connectionpool")
    handler, level = Memory(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    guard_urllib3()
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@given(auth=KEYS, api=KEYS, before=AROUND, after=AROUND)
def test_no_part_of_a_url_path_shows_a_key(auth: str, api: str, before: str, after: str) -> None:
    """A path with both keys is masked wholly, in whatever text and whatever the keys are."""
    text = Redactor(auth, api)(f"{before}/v1/{auth}/{api}{after}")
    assert f"/v1/{MASK}/{MASK}" in text
    assert set(text.replace(f"/v1/{MASK}/{MASK}", "", 1)) <= set(before + after)


@given(auth=KEYS, api=KEYS, before=AROUND, after=AROUND)
def test_a_key_alone_is_masked(auth: str, api: str, before: str, after: str) -> None:
    """Each key goes wherever it stands, as it is and percent-encoded in either case."""
    assume(auth not in api and api not in auth)
    redact = Redactor(auth, api)
    for key in (auth, api):
        encoded = quote(key, safe="")
        lower = re.sub("%..", lambda match: match[0].lower(), encoded)
        for form in (key, encoded, lower):
            assert redact(f"{before}{form}{after}") == f"{before}{MASK}{after}"
            assert form not in redact(f"x{form}x")


@given(KEYS)
def test_redacting_twice_changes_nothing_more(key: str) -> None:
    """What is redacted already stays as it is."""
    redact = Redactor(key, "another-key-0")
    once = redact(f"POST /v1/{key}/another-key-0 HTTP/1.1, {key}")
    assert redact(once) == once


def test_a_key_that_holds_the_other_is_masked_wholly() -> None:
    """The longer of two keys is replaced first, so that no end of it remains."""
    redact = Redactor("source-1234", "source-1234-and-more")
    assert redact("source-1234-and-more source-1234") == f"{MASK} {MASK}"


def test_keys_in_a_strangers_path_are_masked() -> None:
    """What stands where keys stand goes, even if it is not ours: a misconfigured peer's echo."""
    assert Redactor("the-auth-key", "the-api-key")("at /v1/other-auth/other-api?x=1") == (
        f"at /v1/{MASK}/{MASK}?x=1"
    )


SHORT = st.text(alphabet="aZ09._~!$&'()*+,;=:@-", min_size=1, max_size=7)


@settings(deadline=None)
@given(auth=SHORT, api=SHORT, before=AROUND, after=AROUND)
def test_short_keys_are_masked_in_the_path(auth: str, api: str, before: str, after: str) -> None:
    """In the keys' places of a path they go, whatever their length and characters."""
    redact = Redactor(auth, api)
    for first, second in ((auth, api), (quote(auth, safe=""), quote(api, safe=""))):
        text = redact(f"{before}/v1/{first}/{second}{after}")
        assert text == f"{before}/v1/{MASK}/{MASK}{after}"


def test_a_short_key_does_not_eat_words() -> None:
    """A word that equals a short key ("test", "dev") stays wherever it is not in a key's place."""
    redact = Redactor("test", "dev")
    text = "a test in /srv/test/dev of test-dev.example, tested by dev"
    assert redact(text) == text
    assert redact.secrets(f"{text} /v1/test/dev") == f"{text} /v1/test/dev"
    assert redact("test of /v1/test/dev, dev") == f"test of /v1/{MASK}/{MASK}, dev"
    assert redact("/v1/tested/develop /v1/test/x") == f"/v1/{MASK}/{MASK} /v1/{MASK}/{MASK}"


def test_what_is_as_long_as_a_real_key_is_masked_anywhere() -> None:
    """The least length is the boundary: one character less is a word like others."""
    assert LEAST_LENGTH == 8
    assert Redactor("k" * 8, "m" * 7)(f"x{'k' * 8}y {'m' * 7}") == f"x{MASK}y {'m' * 7}"


def test_without_secrets_paths_are_still_masked() -> None:
    """A disabled handler has no keys; nothing else changes in a text."""
    assert Redactor(None, None)("plain /v1/x/y") == f"plain /v1/{MASK}/{MASK}"
    assert Redactor()("plain") == "plain"


def test_secrets_alone_leave_paths_as_they_are() -> None:
    """In a text that holds no URL only the keys are masked: a file's path may look like one."""
    redact = Redactor("the-auth-key", "b")
    assert redact.secrets("/x/v1/2024/e, the-auth-key, b") == f"/x/v1/2024/e, {MASK}, b"
    assert Redactor().secrets("/v1/x/y") == "/v1/x/y"


def test_a_redactor_does_not_show_what_it_hides() -> None:
    """Neither `repr` nor `str` of the redactor holds a key."""
    redact = Redactor("the-auth-key", "the-api-key")
    assert "the-" not in f"{redact!r} {redact}"


def test_urllib3s_records_are_redacted_inside_own_work(memory: Memory) -> None:
    """The record has lost the keys before any handler sees it: message, arguments, traceback."""
    logger = logging.getLogger("urllib3.connectionpool")
    with own_work(Redactor("the-auth-key", "the-api-key")):
        logger.debug('"%s %s" %s', "POST", "/v1/the-auth-key/the-api-key", 200)
        try:
            raise ValueError("no /v1/the-auth-key/the-api-key here")
        except ValueError:
            logger.warning("failed", exc_info=True)
    assert memory.texts[0] == f'"POST /v1/{MASK}/{MASK}" 200'
    assert "ValueError: no /v1/***/*** here" in memory.texts[1]
    for record in memory.records:
        assert "the-" not in str(vars(record))
        assert record.levelno in (logging.DEBUG, logging.WARNING)


def test_other_records_of_urllib3_are_left_alone(memory: Memory) -> None:
    """The application's own use of urllib3 logs what it always did, arguments and all."""
    logger = logging.getLogger("urllib3.connectionpool")
    logger.debug("%s", "/v1/the-auth-key/the-api-key")
    [record] = memory.records
    assert (record.msg, record.args) == ("%s", ("/v1/the-auth-key/the-api-key",))


def test_a_message_that_cannot_be_formatted_is_logged_as_ever(
    memory: Memory, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log call with wrong arguments never raises into urllib3, and shows no key."""
    with own_work(Redactor("the-auth-key", "the-api-key")):
        logging.getLogger("urllib3.connectionpool").debug("%d", "/v1/the-auth-key/the-api-key")
    assert "the-auth-key" not in "".join(memory.texts) + capsys.readouterr().err


def test_every_logger_of_urllib3_is_guarded_once() -> None:
    """A filter sees its own logger's records only: each one has it, and has it one time."""
    guard_urllib3()
    guard_urllib3()
    for name in ("urllib3", urllib3.connectionpool.log.name, urllib3.util.retry.log.name):
        filters = [type(f).__name__ for f in logging.getLogger(name).filters]
        assert filters.count("_RecordFilter") == 1


def test_no_other_logger_is_touched() -> None:
    """Loggers that merely resemble urllib3's keep their filters."""
    logging.getLogger("urllib3x")
    logging.getLogger("app.urllib3")
    guard_urllib3()
    for name in ("urllib3x", "app.urllib3", "root", "backoff"):
        assert logging.getLogger(name).filters == []
