"""The overview: what is kept, counted, for where people would rather look than read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any

from fslog.viewer.entries import STATES, Entry
from fslog.viewer.explain import label
from fslog.viewer.store import Facts

_TOP = 10
_MOST_ACTIONS = 50
_NEWEST_SESSIONS = 20
_LABEL = 500
_WHEN = attrgetter("when")


def overview(entries: Sequence[Entry], requests: Sequence[Facts]) -> Facts:
    """Count entries and requests.

    Invalid lines count as well, where they say the property: what is counted is what a filter
    finds.

    Args:
        entries: the oldest first.
        requests: as the API shows them.

    >>> overview([], [])["accounts"]
    {'count': 0, 'top': []}
    """
    states = Counter(entry.state for entry in entries)
    unpacked = [request for request in requests if request["bytes_unpacked"]]
    modules = (entry.module for entry in entries if entry.module)
    faults = (fault for entry in entries for fault in entry.faults)
    return {
        "kept": len(entries),
        **{state: states[state] for state in STATES},
        "requests": len(requests),
        "failed_requests": sum(request["status"] != 200 for request in requests),
        "bytes_received": sum(request["bytes_received"] for request in unpacked),
        "bytes_unpacked": sum(request["bytes_unpacked"] for request in unpacked),
        "actions": _top((entry.action for entry in entries if entry.action), _MOST_ACTIONS),
        "features": _features(entries),
        "modules": _top(modules, _TOP),
        "accounts": _seen(entry.account for entry in entries if entry.account),
        "users": _seen(entry.user for entry in entries if entry.user),
        "problems": _top(map(label, faults), _MOST_ACTIONS),
        "sessions": sessions(entries, _NEWEST_SESSIONS)[0],
    }


def _features(entries: Sequence[Entry]) -> list[tuple[str, int, str | None, str]]:
    """Return the most frequent features: a label, how often, and the label's two parts."""
    counts = Counter((entry.module, entry.feature) for entry in entries if entry.feature)
    found = []
    for (module, feature), count in counts.most_common(_TOP):
        module, feature = module and module[:_LABEL], str(feature)[:_LABEL]
        found.append((f"{module} / {feature}" if module else feature, count, module, feature))
    return found


def _top(names: Iterable[str], most: int) -> list[tuple[str, int]]:
    return [(name[:_LABEL], count) for name, count in Counter(names).most_common(most)]


def _seen(names: Iterable[str]) -> dict[str, Any]:
    counts = Counter(names)
    return {
        "count": len(counts),
        "top": [(name[:_LABEL], count) for name, count in counts.most_common(_TOP)],
    }


def sessions(entries: Sequence[Entry], limit: int, offset: int = 0) -> tuple[list[Facts], int]:
    """Return sessions, those in which something came last first, and how many there are.

    A session is all that has its id, whoever it is of: what a filter by that id finds.

    Args:
        entries: the oldest first.
        limit: how many are returned at most.
        offset: how many are passed over.

    >>> sessions([], 9)
    ([], 0)
    """
    found: dict[str, list[Entry]] = {}
    for entry in reversed(entries):
        if entry.session:
            found.setdefault(entry.session, []).append(entry)
    some = islice(found.items(), offset, offset + limit)
    return [_session(name, members[::-1]) for name, members in some], len(found)


def _session(session: str, members: Sequence[Entry]) -> Facts:
    first = min(members, key=_WHEN)
    return {
        "sessionId": session[:_LABEL],
        "accountId": first.account and first.account[:_LABEL],
        "userId": first.user and first.user[:_LABEL],
        "users": len({entry.user for entry in members} - {None}),
        "from": first.when,
        "to": max(map(_WHEN, members)),
        "count": len(members),
    }
