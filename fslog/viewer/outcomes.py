"""Outcomes as the API speaks of them: what the endpoint shall answer, in JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from fslog.collector import Answer

MOST_DELAY = 3_600.0
"""Seconds that an answer may be late."""

MOST_SCRIPTED = 1_000
"""How many outcomes may wait to be used."""

_NAMES = ("status", "headers", "delay", "then")
_MOST_HEADERS = 50
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")  # RFC 9110 5.6.2
_VALUE = re.compile(r"[\x20-\x7e]{0,1000}")
_FRAMING = ("content-length", "transfer-encoding")


def answer_of(outcome: Any) -> Answer:
    """Take one outcome.

    Raises:
        ValueError: it is none; says what is expected.

    >>> answer_of({"status": 503, "headers": {"Retry-After": "5"}})
    ... # doctest: +ELLIPSIS
    Answer(status=503, headers=(('Retry-After', '5'),), body=b'', delay=0, then='answer', ...)
    """
    if not isinstance(outcome, Mapping):
        raise ValueError("an outcome is a JSON object with status, headers, delay or then")
    if unknown := sorted(set(outcome) - set(_NAMES)):
        raise ValueError(f"an outcome has no {unknown[0][:50]!r}; expected {', '.join(_NAMES)}")
    status, delay = outcome.get("status", 200), outcome.get("delay", 0)
    then = outcome.get("then", "answer")
    if type(status) is not int or not 200 <= status <= 599:
        raise ValueError("status is no whole number from 200 to 599")
    if type(delay) not in (int, float) or not 0 <= delay <= MOST_DELAY:
        raise ValueError(f"delay is no number of seconds from 0 to {MOST_DELAY:.0f}")
    if then not in ("answer", "hang", "close", "reset"):
        raise ValueError("then is none of answer, hang, close and reset")
    return Answer(status, headers=_headers(outcome.get("headers", {})), delay=delay, then=then)


def _headers(given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping) or len(given) > _MOST_HEADERS:
        raise ValueError(f"headers is no JSON object of at most {_MOST_HEADERS} names and strings")
    for name, value in given.items():
        if not _TOKEN.fullmatch(name) or name.lower() in _FRAMING:
            raise ValueError(f"{name[:50]!r} cannot be a header of an outcome")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise ValueError(f"the header {name} is no string of at most 1000 ASCII characters")
    return dict(given)


def answers_of(body: Any) -> list[Answer]:
    """Take `{"outcomes": [outcome...]}`.

    Raises:
        ValueError: it is not that.
    """
    outcomes = body.get("outcomes") if isinstance(body, Mapping) and len(body) == 1 else None
    if not isinstance(outcomes, list):
        raise ValueError('the body is not {"outcomes": [...]}, with one outcome for each request')
    return [answer_of(outcome) for outcome in outcomes]


def shown(standing: Answer | None, script: Iterable[Answer]) -> dict[str, Any]:
    """Return what the endpoint is told to answer, as the API shows it.

    >>> shown(None, [Answer(503, delay=1.5)])
    ... # doctest: +NORMALIZE_WHITESPACE
    {'standing': None,
     'script': [{'status': 503, 'headers': {}, 'delay': 1.5, 'then': 'answer'}]}
    """
    return {
        "standing": None if standing is None else _outcome(standing),
        "script": [_outcome(one) for one in script],
    }


def _outcome(answer: Answer) -> dict[str, Any]:
    headers = dict(answer.headers)
    return {"status": answer.status, "headers": headers, "delay": answer.delay, "then": answer.then}
