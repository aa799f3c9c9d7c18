"""Configured answers of the endpoint as JSON; the API calls them outcomes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from fslog.collector import Answer

MAX_DELAY = 3_600.0
"""Maximum delay of an answer in seconds."""

MAX_SCRIPTED = 1_000
"""Maximum number of scripted answers that are waiting to be used."""

_NAMES = ("status", "headers", "delay", "then")
_MAX_HEADERS = 50
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")  # RFC 9110 5.6.2
_VALUE = re.compile(r"[\x20-\x7e]{0,1000}")
_FRAMING = ("content-length", "transfer-encoding")


def parse_answer(value: Any) -> Answer:
    """Parse one answer.

    Raises:
        ValueError: the value is not an answer; the message states what is expected.

    >>> parse_answer({"status": 503, "headers": {"Retry-After": "5"}})
    ... # doctest: +ELLIPSIS
    Answer(status=503, headers=(('Retry-After', '5'),), body=b'', delay=0, then='answer', ...)
    """
    if not isinstance(value, Mapping):
        raise ValueError("expected a JSON object with status, headers, delay or then")
    if unknown := sorted(set(value) - set(_NAMES)):
        raise ValueError(f"unknown property {unknown[0][:50]!r}; expected {', '.join(_NAMES)}")
    status, delay = value.get("status", 200), value.get("delay", 0)
    then = value.get("then", "answer")
    if type(status) is not int or not 200 <= status <= 599:
        raise ValueError("status: expected an integer from 200 to 599")
    if type(delay) not in (int, float) or not 0 <= delay <= MAX_DELAY:
        raise ValueError(f"delay: expected a number of seconds from 0 to {MAX_DELAY:.0f}")
    if then not in ("answer", "hang", "close", "reset"):
        raise ValueError("then: expected answer, hang, close or reset")
    return Answer(status, headers=_headers(value.get("headers", {})), delay=delay, then=then)


def _headers(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or len(value) > _MAX_HEADERS:
        raise ValueError(f"headers: expected a JSON object of at most {_MAX_HEADERS} strings")
    for name, text in value.items():
        if not _TOKEN.fullmatch(name) or name.lower() in _FRAMING:
            raise ValueError(f"headers: the header {name[:50]!r} is not allowed")
        if not isinstance(text, str) or not _VALUE.fullmatch(text):
            raise ValueError(f"headers: {name}: expected a string of at most 1000 ASCII characters")
    return dict(value)


def parse_answers(body: Any) -> list[Answer]:
    """Parse `{"outcomes": [answer...]}`.

    Raises:
        ValueError: the body has another form.
    """
    answers = body.get("outcomes") if isinstance(body, Mapping) and len(body) == 1 else None
    if not isinstance(answers, list):
        raise ValueError('expected the body {"outcomes": [...]}, with one answer for each request')
    return [parse_answer(answer) for answer in answers]


def answers_json(standing: Answer | None, script: Iterable[Answer]) -> dict[str, Any]:
    """Return the endpoint's configured answers as the API shows them.

    >>> answers_json(None, [Answer(503, delay=1.5)])
    ... # doctest: +NORMALIZE_WHITESPACE
    {'standing': None,
     'script': [{'status': 503, 'headers': {}, 'delay': 1.5, 'then': 'answer'}]}
    """
    return {
        "standing": None if standing is None else _json(standing),
        "script": [_json(answer) for answer in script],
    }


def _json(answer: Answer) -> dict[str, Any]:
    headers = dict(answer.headers)
    return {"status": answer.status, "headers": headers, "delay": answer.delay, "then": answer.then}
