"""Whether an event has the expected properties, and messages about how others differ."""

from __future__ import annotations

import difflib
import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fslog.net.redaction import printable
from fslog.testing.sink import Finding

_MOST = 3
"""How many events of each kind a message shows."""

_SHORT, _MIDDLE, _LONG = 60, 200, 1_000
"""Maximum characters of a value in an event, of a single value, and of an event."""

_GAP = " ... "


class Seen(NamedTuple):
    """What arrived.

    Args:
        events: the valid ones.
        findings: problems of events.
        skipped: how many records were not events.
        hint: a possible reason why nothing arrived.
    """

    events: Sequence[Mapping[str, Any]]
    findings: Sequence[Finding]
    skipped: int = 0
    hint: str = ""


def fits(expected: Any, actual: Any) -> bool:
    """Return whether a value is as expected.

    It is if both are equal (`unittest.mock.ANY` and `pytest.approx` work); if a compiled regular
    expression is found in a string; if it is an instance of a class; or if another callable returns
    a true value for it. An exception means no.

    >>> fits(3, 3.0), fits(re.compile("^ex"), "export"), fits(int, "3"), fits(lambda n: n > 2, 3)
    (True, True, False, True)
    """
    try:
        if expected == actual:
            return True
        if isinstance(expected, re.Pattern):
            return isinstance(actual, str) and expected.search(actual) is not None
        if isinstance(expected, type):
            return isinstance(actual, expected)
        return callable(expected) and bool(expected(actual))
    except Exception:
        return False


def is_meant(wanted: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """Return whether an event has all the wanted properties; it may have more.

    >>> is_meant({"action": "feature"}, {"action": "feature", "feature": "export"})
    True
    """
    return all(name in event and fits(value, event[name]) for name, value in wanted.items())


def differences(wanted: Mapping[str, Any], event: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each wanted property that the event does not have.

    >>> differences({"feature": "export", "accountID": "a"}, {"feature": "x", "accountId": "a"})
    ["feature is 'x', expected 'export'", "accountID is missing (there is accountId), expected 'a'"]
    """
    found = []
    for name, value in wanted.items():
        if name not in event:
            found.append(f"{name} is missing{_alike(name, event)}, expected {_described(value)}")
        elif not fits(value, event[name]):
            found.append(f"{name} is {shown(event[name])}, expected {_described(value)}")
    return found


def _alike(name: str, event: Mapping[str, Any]) -> str:
    alike = difflib.get_close_matches(name, map(str, event), n=1, cutoff=0.75)
    return f" (there is {alike[0]})" if alike else ""


def words(wanted: Mapping[str, Any]) -> str:
    """Return the wanted properties, if there are any, for a sentence.

    >>> words({"action": "feature", "feature": re.compile("^ex"), "total": int})
    " with action='feature', feature=/^ex/, total=int"
    """
    pairs = ", ".join(f"{name}={_described(value)}" for name, value in wanted.items())
    return f" with {pairs}" if pairs else ""


def _described(expected: Any) -> str:
    if isinstance(expected, re.Pattern):
        return f"/{expected.pattern}/"
    if isinstance(expected, type):
        return expected.__name__
    code = getattr(expected, "__code__", None)
    if code is None:
        return shown(expected)
    return f"{expected.__name__} ({os.path.basename(code.co_filename)}:{code.co_firstlineno})"


def shown(value: Any, most: int = _MIDDLE) -> str:
    """Return a value's `repr`, without its middle if it is long.

    >>> shown("a" * 30, 20)
    "'aaaaaa ... aaaaaaa'"
    """
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    return _cut(text, most)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    head = (most - len(_GAP)) // 2
    return f"{text[:head]}{_GAP}{text[head + len(_GAP) - most :]}"


def shown_event(event: Mapping[str, Any]) -> str:
    """Return an event as `repr` shows a dict, with long values cut.

    >>> shown_event({"accountId": "acme", "text": "a" * 100})
    "{'accountId': 'acme', 'text': 'aaaaaaaaaaaaaaaaaaaaaaaaaa ... aaaaaaaaaaaaaaaaaaaaaaaaaaa'}"
    """
    pairs = [f"{shown(name)}: {shown(value, _SHORT)}" for name, value in event.items()]
    return _cut(f"{{{', '.join(pairs)}}}", _LONG)


def none_is_meant(wanted: Mapping[str, Any], seen: Seen) -> str:
    """Return the message that no event matches; it shows similar and invalid ones."""
    others = f", but {_plural(len(seen.events), 'other')}" if seen.events else ""
    others += "; the nearest:" if len(seen.events) > 1 else ""
    return _text([f"no event{words(wanted)} arrived{others}", *_account(wanted, seen)])


def too_few(wanted: Mapping[str, Any], seen: Seen, n: int, seconds: float) -> str:
    """Return the message that fewer events match than expected."""
    count = sum(is_meant(wanted, event) for event in seen.events)
    head = f"{count} of {_plural(n, 'event')}{words(wanted)} arrived in {seconds:g} s"
    return _text([head, *_account(wanted, seen)])


def some_are_meant(wanted: Mapping[str, Any], seen: Seen) -> str:
    """Return the message that events match although none was expected."""
    found = [(n, event) for n, event in enumerate(seen.events, 1) if is_meant(wanted, event)]
    lines = [f"{_plural(len(found), 'event')}{words(wanted)} arrived, expected none"]
    lines += [f"  event {n} is {shown_event(event)}" for n, event in found[:_MOST]]
    return _text([*lines, *_and_more(len(found))])


def _account(wanted: Mapping[str, Any], seen: Seen) -> Iterable[str]:
    yield from _nearest(wanted, seen.events)
    yield from _invalid(wanted, seen.findings)
    if seen.skipped:
        yield f"  skipped: {_plural(seen.skipped, 'record')} without an action that no rule fits"
    if seen.hint:
        yield f"  {seen.hint}"


def _nearest(wanted: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    numbered = [(n, event) for n, event in enumerate(events, 1) if not is_meant(wanted, event)]
    # Of two equally similar ones, the later one is more probably the one under test.
    numbered.sort(key=lambda one: (_nearness(wanted, one[1]), one[0]), reverse=True)
    for n, event in numbered[:_MOST]:
        yield f"  event {n} is {shown_event(event)}"
        for text in differences(wanted, event):
            yield f"    {text}"
    yield from _and_more(len(numbered))


def _nearness(wanted: Mapping[str, Any], event: Mapping[str, Any]) -> tuple[int, float]:
    right, alike = 0, 0.0
    for name, value in wanted.items():
        actual = event.get(name)
        if name in event and fits(value, actual):
            right += 1
        elif isinstance(value, str) and isinstance(actual, str):
            pair = (value[:_MIDDLE], actual[:_MIDDLE])
            alike += difflib.SequenceMatcher(None, *pair).quick_ratio()
    return right, alike


def _invalid(wanted: Mapping[str, Any], findings: Sequence[Finding]) -> Iterable[str]:
    errors = (finding for finding in findings if not finding.is_warning)
    groups = itertools.groupby(errors, lambda finding: (id(finding.event), finding.place))
    events = [(found[0].event or {}, found) for found in (list(group) for _, group in groups)]
    events.sort(key=lambda one: _nearness(wanted, one[0]), reverse=True)
    for event, group in events[:_MOST]:
        meant = " what is expected, but" if wanted and is_meant(wanted, event) else ""
        yield f"  never sent, because it is{meant} invalid: {shown_event(event)}"
        for finding in group:
            yield f"    {finding}"
    yield from _and_more(len(events))


def _and_more(count: int) -> Iterable[str]:
    if count > _MOST:
        yield f"  and {count - _MOST} more"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _text(lines: Iterable[str]) -> str:
    return "\n".join(map(printable, lines))
