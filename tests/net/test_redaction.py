"""Keys are removed from every text that fslog causes; internal work is marked as such."""

from __future__ import annotations

import contextvars
import logging
import re
import threading
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import urllib3.connectionpool
import urllib3.util.retry
from hypothesis import assume, given
from hypothesis import strategies as st

from fslog.net.redaction import (
    LEAST_LENGTH,
    MASK,
    Redactor,
    active_redactor,
    guard_urllib3,
    internal_work,
    is_internal,
)

KEYS = st.text(alphabet="aZ09._~!$&'()*+,;=:@-", min_size=8, max_size=20)
# Characters around a URL in messages, tracebacks and headers; none can be part of a key.
AROUND = st.text(alphabet='\n "<>[]{}|/?#', max_size=8)


class Memory(logging.Handler):
    """Keep records, and their texts as a stream would show them."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.texts.append(self.format(record))


@pytest.fixture
def memory() -> Iterator[Memory]:
    """Return a handler of urllib3's guarded pool logger."""
    logger = logging.getLogger("urllib3.connectionpool")
    handler, level = Memory(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    guard_urllib3()
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@given(auth=KEYS, api=KEYS, before=AROUND, after=AROUND)
def test_keys_in_a_path_are_masked(auth: str, api: str, before: str, after: str) -> None:
    """A path with both keys is masked as a whole, in any text and with any keys."""
    text = Redactor(auth, api)(f"{before}/v1/{auth}/{api}{after}")
    assert f"/v1/{MASK}/{MASK}" in text
    assert set(text.replace(f"/v1/{MASK}/{MASK}", "", 1)) <= set(before + after)


@given(auth=KEYS, api=KEYS, before=AROUND, after=AROUND)
def test_a_key_alone_is_masked(auth: str, api: str, before: str, after: str) -> None:
    """Each key is masked anywhere, plain and percent-encoded in either case."""
    assume(auth not in api and api not in auth)
    redact = Redactor(auth, api)
    for key in (auth, api):
        encoded = quote(key, safe="")
        lower = re.sub("%..", lambda match: match[0].lower(), encoded)
        for form in (key, encoded, lower):
            assert redact(f"{before}{form}{after}") == f"{before}{MASK}{after}"
            assert form not in redact(f"x{form}x")


@given(KEYS)
def test_redaction_is_idempotent(key: str) -> None:
    """Redacting a redacted text does not change it."""
    redact = Redactor(key, "another-key-0")
    once = redact(f"POST /v1/{key}/another-key-0 HTTP/1.1, {key}")
    assert redact(once) == once


def test_a_key_that_contains_the_other_is_masked_completely() -> None:
    """The longer of two keys is replaced first, so that no suffix of it remains."""
    redact = Redactor("source-1234", "source-1234-and-more")
    assert redact("source-1234-and-more source-1234") == f"{MASK} {MASK}"


def test_foreign_keys_in_a_path_are_masked() -> None:
    """The key segments of a path are masked even if their values are not the keys."""
    assert Redactor("the-auth-key", "the-api-key")("at /v1/other-auth/other-api?x=1") == (
        f"at /v1/{MASK}/{MASK}?x=1"
    )


SHORT = st.text(alphabet="aZ09._~!$&'()*+,;=:@-", min_size=1, max_size=7)


@given(auth=SHORT, api=SHORT, before=AROUND, after=AROUND)
def test_short_keys_are_masked_in_the_path(auth: str, api: str, before: str, after: str) -> None:
    """In the key segments of a path they are masked, whatever their length and characters."""
    redact = Redactor(auth, api)
    for first, second in ((auth, api), (quote(auth, safe=""), quote(api, safe=""))):
        text = redact(f"{before}/v1/{first}/{second}{after}")
        assert text == f"{before}/v1/{MASK}/{MASK}{after}"


def test_a_short_key_is_not_masked_as_a_word() -> None:
    """A word that equals a short key ("test", "dev") stays unless it is a path's key segment."""
    redact = Redactor("test", "dev")
    text = "a test in /srv/test/dev of test-dev.example, tested by dev"
    assert redact(text) == text
    assert redact.secrets(f"{text} /v1/test/dev") == f"{text} /v1/test/dev"
    assert redact("test of /v1/test/dev, dev") == f"test of /v1/{MASK}/{MASK}, dev"
    assert redact("/v1/tested/develop /v1/test/x") == f"/v1/{MASK}/{MASK} /v1/{MASK}/{MASK}"


def test_a_key_of_the_least_length_is_masked_anywhere() -> None:
    """A key of `LEAST_LENGTH` is a secret; one that is a character shorter is not."""
    assert LEAST_LENGTH == 8
    assert Redactor("k" * 8, "m" * 7)(f"x{'k' * 8}y {'m' * 7}") == f"x{MASK}y {'m' * 7}"


def test_without_secrets_paths_are_still_masked() -> None:
    """A disabled handler has no keys; only key segments of paths change in a text."""
    assert Redactor(None, None)("plain /v1/x/y") == f"plain /v1/{MASK}/{MASK}"
    assert Redactor()("plain") == "plain"


def test_secrets_leaves_paths_as_they_are() -> None:
    """In a text without URLs only the keys are masked: a file's path may contain /v1/."""
    redact = Redactor("the-auth-key", "b")
    assert redact.secrets("/x/v1/2024/e, the-auth-key, b") == f"/x/v1/2024/e, {MASK}, b"
    assert Redactor().secrets("/v1/x/y") == "/v1/x/y"


def test_a_redactor_does_not_show_its_secrets() -> None:
    """Neither `repr` nor `str` of the redactor contains a key."""
    redact = Redactor("the-auth-key", "the-api-key")
    assert "the-" not in f"{redact!r} {redact}"


def test_urllib3s_records_are_redacted_during_internal_work(memory: Memory) -> None:
    """Message, arguments and traceback are redacted before any handler sees the record."""
    logger = logging.getLogger("urllib3.connectionpool")
    with internal_work(Redactor("the-auth-key", "the-api-key")):
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


def test_other_records_of_urllib3_are_not_changed(memory: Memory) -> None:
    """Records of the application's own use of urllib3 keep their message and arguments."""
    logger = logging.getLogger("urllib3.connectionpool")
    logger.debug("%s", "/v1/the-auth-key/the-api-key")
    [record] = memory.records
    assert (record.msg, record.args) == ("%s", ("/v1/the-auth-key/the-api-key",))


def test_a_message_that_cannot_be_formatted_shows_no_key(
    memory: Memory, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log call with invalid arguments does not raise into urllib3, and shows no key."""
    with internal_work(Redactor("the-auth-key", "the-api-key")):
        logging.getLogger("urllib3.connectionpool").debug("%d", "/v1/the-auth-key/the-api-key")
    assert "the-auth-key" not in "".join(memory.texts) + capsys.readouterr().err


def test_every_logger_of_urllib3_is_guarded_once() -> None:
    """Each logger has the filter exactly once, however often it is added."""
    guard_urllib3()
    guard_urllib3()
    for name in ("urllib3", urllib3.connectionpool.log.name, urllib3.util.retry.log.name):
        filters = [type(f).__name__ for f in logging.getLogger(name).filters]
        assert filters.count("_RecordFilter") == 1


def test_no_other_logger_is_changed() -> None:
    """Loggers with similar names get no filter."""
    logging.getLogger("urllib3x")
    logging.getLogger("app.urllib3")
    guard_urllib3()
    for name in ("urllib3x", "app.urllib3", "root", "backoff"):
        assert logging.getLogger(name).filters == []


def outer(text: str) -> str:
    """Stand in for one destination's redactor."""
    return text


def inner(text: str) -> str:
    """Stand in for another destination's redactor."""
    return text


def test_without_a_mark_nothing_is_internal() -> None:
    """Outside of internal work no record is internal, not even one of fslog's loggers."""
    assert active_redactor() is None
    assert not any(is_internal(name) for name in ("fslog", "urllib3", "backoff", "root", ""))


@pytest.mark.parametrize(
    ("logger", "internal"),
    [
        ("fslog", True),
        ("fslog.delivery.listener", True),
        ("urllib3", True),
        ("urllib3.connectionpool", True),
        ("urllib3.util.retry", True),
        ("backoff", True),
        ("fslogs", False),
        ("urllib3x.connectionpool", False),
        ("app.urllib3", False),
        ("app", False),
        ("root", False),
        ("", False),
    ],
)
def test_internal_loggers_are_those_of_three_libraries(logger: str, internal: bool) -> None:
    """During internal work the first part of a logger's name decides."""
    with internal_work(outer):
        assert is_internal(logger) is internal


def test_blocks_nest() -> None:
    """An inner block has its own redactor, and restores the outer one."""
    with internal_work(outer):
        with internal_work(inner):
            assert active_redactor() is inner
        assert active_redactor() is outer
    assert active_redactor() is None


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_an_exception_removes_the_mark(error: type[BaseException]) -> None:
    """The mark is removed however the block ends."""

    def leave() -> None:
        with internal_work(outer):
            raise error

    with pytest.raises(error):
        leave()
    assert active_redactor() is None


def test_other_threads_are_not_marked() -> None:
    """The mark applies to the thread that set it."""
    seen: list[object] = []
    with internal_work(outer):
        thread = threading.Thread(
            target=lambda: seen.append((active_redactor(), is_internal("fslog")))
        )
        thread.start()
        thread.join()
    assert seen == [(None, False)]


def test_a_copied_context_is_not_marked() -> None:
    """A context that is copied to another thread does not carry the mark there."""
    seen: list[object] = []
    with internal_work(outer):
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run,
            args=(lambda: seen.append((active_redactor(), is_internal("fslog"))),),
        )
        thread.start()
        thread.join()
    assert seen == [(None, False)]
