"""The overview: counts and rankings over entries and requests, and the list of sessions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from operator import attrgetter

from fslog.delivery.names import MOST, similar
from fslog.viewer.entries import STATES, Entry, problem_label
from fslog.viewer.history import JsonObject

_TOP = 10
_MAX_KINDS = 50
_NEWEST_SESSIONS = 20
_MAX_LABEL = 500
_WHEN = attrgetter("when")


def overview(entries: Sequence[Entry], requests: Sequence[JsonObject]) -> JsonObject:
    """Count entries, the oldest first, and requests, as the API shows them.

    Invalid lines with a property are counted too: each count equals what its filter selects.

    >>> overview([], [])["accounts"]
    {'count': 0, 'top': []}
    """
    states = Counter(entry.state for entry in entries)
    unpacked = [request for request in requests if request["bytes_unpacked"]]
    problems = Counter(problem_label(one) for entry in entries for one in entry.problems)
    return {
        "kept": len(entries),
        **{state: states[state] for state in STATES},
        "requests": len(requests),
        "failed_requests": sum(request["status"] != 200 for request in requests),
        "bytes_received": sum(request["bytes_received"] for request in unpacked),
        "bytes_unpacked": sum(request["bytes_unpacked"] for request in unpacked),
        "actions": _top(Counter(entry.action for entry in entries if entry.action), _MAX_KINDS),
        "features": _features(entries),
        "modules": _top(Counter(entry.module for entry in entries if entry.module)),
        "accounts": _distinct(Counter(entry.account for entry in entries if entry.account)),
        "users": _distinct(Counter(entry.user for entry in entries if entry.user)),
        "problems": _top(problems, _MAX_KINDS),
        "many_names": _many_names(entries),
        "sessions": sessions(entries, _NEWEST_SESSIONS)[0],
    }


def _features(entries: Sequence[Entry]) -> list[tuple[str, int, str | None, str]]:
    """Return the most frequent features: label, count, module and feature."""
    counts = Counter((entry.module, entry.feature) for entry in entries if entry.feature)
    found = []
    for (module, feature), count in counts.most_common(_TOP):
        module, feature = module and module[:_MAX_LABEL], str(feature)[:_MAX_LABEL]
        found.append((f"{module} / {feature}" if module else feature, count, module, feature))
    return found


def _many_names(entries: Sequence[Entry]) -> list[tuple[str, int, str, str]]:
    """Return each property with too many values: its name, their number, and two similar ones."""
    found = []
    for name in ("action", "module", "feature"):
        labels = (value[:_MAX_LABEL] for entry in entries if (value := getattr(entry, name)))
        values = list(dict.fromkeys(labels))
        if len(values) > MOST:
            # Of the oldest: to compare all would take longer than the rest of the overview.
            found.append((name, len(values), *similar({*values[: MOST + 1]})))
    return found


def _top(counts: Counter[str], most: int = _TOP) -> list[tuple[str, int]]:
    return [(name[:_MAX_LABEL], count) for name, count in counts.most_common(most)]


def _distinct(counts: Counter[str]) -> JsonObject:
    return {"count": len(counts), "top": _top(counts)}


def sessions(entries: Sequence[Entry], limit: int, offset: int = 0) -> tuple[list[JsonObject], int]:
    """Return sessions, those with the newest entries first, and the total number of sessions.

    A session consists of all entries with its id, also of different users, so that it equals what
    a filter by that id selects. The entries are sorted, the oldest first.

    >>> sessions([], 9)
    ([], 0)
    """
    found: dict[str, list[Entry]] = {}
    for entry in reversed(entries):
        if entry.session:
            found.setdefault(entry.session, []).append(entry)
    some = islice(found.items(), offset, offset + limit)
    return [_session(name, members[::-1]) for name, members in some], len(found)


def _session(session: str, members: Sequence[Entry]) -> JsonObject:
    first = min(members, key=_WHEN)
    return {
        "sessionId": session[:_MAX_LABEL],
        "accountId": first.account and first.account[:_MAX_LABEL],
        "userId": first.user and first.user[:_MAX_LABEL],
        "users": len({entry.user for entry in members} - {None}),
        "from": first.when,
        "to": max(map(_WHEN, members)),
        "count": len(members),
    }
