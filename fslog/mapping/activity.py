"""Time in sessions and modules, derived from the events of one process.

As the vendor's browser library measures it: the time between two events of a session is active
time, unless the gap is longer than `idle_after`; it belongs to the module of the earlier event. A
module ends when another one begins, when the user goes idle and when the session ends: that is one
`moduleEnd` with the time of this stretch. A session ends after 30 minutes of silence or with the
process. Its `sessionSync` contains all of its active time so far. There is one after each
`SYNC_SECONDS` of activity or more, and one at the end, so that a lost process loses little.

The times are those of the events, so that late and replayed ones count as what they were. No time
counts twice: the end of a counted gap only moves forward, and never beyond the present.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from fslog.config import IDLE_SECONDS, TIME_PROPERTIES
from fslog.mapping.sessions import WINDOW_MS

SYNC_SECONDS = 60.0
"""How much active time makes a `sessionSync`."""

MAX_SESSIONS = 10_000
"""How many sessions are kept; the one with the oldest event ends if there is another."""

_PASSIVE = frozenset({"identifyUser", "identifyAccount", "sessionIdle"})
"""Actions that do not say that the user was active: a nightly job may identify everybody."""

_MAX_MODULES = 1_000
_EXPIRED_AT_ONCE = 8
"""How many silent sessions one event ends: after a quiet night it would end thousands."""

_Key = tuple[str, str, str]


class _Visit:
    """A session that has not ended. Instants and durations are milliseconds."""

    __slots__ = (
        *("active_ms", "has_own_sync", "key", "last_ms", "module", "module_ms", "product"),
        *("seen_ms", "synced_ms"),
    )

    def __init__(self, key: _Key, at_ms: float) -> None:
        self.key = key
        self.last_ms = at_ms
        self.seen_ms = at_ms
        self.active_ms = self.synced_ms = self.module_ms = 0.0
        self.module: str | None = None
        self.product: str | None = None
        self.has_own_sync = False


class Activity:
    """Derive `sessionSync` and `moduleEnd` from events.

    Once the application has sent a `moduleEnd` of its own for a module, none is derived for that
    module; once it has sent a `sessionSync` for a session, none is derived for that session.

    It is not thread-safe, but survives an exception at any instruction: then at most the gap, or
    the derived event, of that instruction is lost.

    Args:
        derive: called with each derived event.
        idle_after: the longest gap in seconds that counts.
        properties: action → its property with the milliseconds.
        limit: maximum number of sessions.

    >>> derived = []
    >>> activity = Activity(derived.append)
    >>> ids = {"accountId": "acme", "userId": "ann", "sessionId": "s", "action": "feature"}
    >>> for seconds, module in (0, "reports"), (20, "reports"), (30, "home"), (50, "home"):
    ...     activity.observe({**ids, "module": module, "createdAt": seconds * 1000}, 10**12)
    >>> activity.finish()
    >>> [(event["module"], event["timeSpent"]) for event in derived if "module" in event]
    [('reports', 30000), ('home', 20000)]
    >>> derived[-1]["activeDuration"]
    50000
    """

    def __init__(
        self,
        derive: Callable[[dict[str, Any]], object],
        *,
        idle_after: float = IDLE_SECONDS,
        properties: Mapping[str, str] = TIME_PROPERTIES,
        limit: int = MAX_SESSIONS,
    ) -> None:
        self._derive = derive
        self._idle_ms = idle_after * 1000
        self._properties = properties
        self._limit = limit
        self._visits: OrderedDict[_Key, _Visit] = OrderedDict()
        """The session with the oldest last event comes first."""
        self._latest: dict[tuple[str, str], _Visit] = {}
        """Account and user → the session with the newest event."""
        self._own_modules: set[str] = set()

    def observe(self, event: Mapping[str, Any], now_ms: float) -> None:
        """Count an event.

        Args:
            event: as it is sent.
            now_ms: the present, in epoch milliseconds.
        """
        self._expire(now_ms)
        ids = event.get("accountId"), event.get("userId"), event.get("sessionId")
        account, user, session = map(_text, ids)
        created_ms, action = event.get("createdAt"), _text(event.get("action"))
        if not (account and user and session and _is_number(created_ms)) or action in _PASSIVE:
            return
        at_ms = float(min(created_ms, now_ms))  # in the future, it would make what follows late
        visit = self._moved_to((account, user, session), at_ms, now_ms)
        if action == "moduleEnd":
            self._own_module(visit, event, at_ms)
        else:
            is_late = at_ms < visit.last_ms
            self._pass(visit, at_ms)
            if action == "sessionSync":
                visit.has_own_sync = True
            if not is_late:
                self._enter(visit, _text(event.get("module")), _text(event.get("product")), at_ms)
        visit.seen_ms = now_ms
        latest = self._latest.get((account, user))
        if latest is None or visit.last_ms >= latest.last_ms:
            self._latest[account, user] = visit

    def sync(self) -> None:
        """Derive the `sessionSync` of each session with activity since the last one."""
        for visit in list(self._visits.values()):
            self._sync(visit, visit.last_ms)

    def finish(self) -> None:
        """End all sessions."""
        while self._visits:
            self._end(next(iter(self._visits.values())))

    def _expire(self, now_ms: float) -> None:
        """End sessions that have been silent for 30 minutes, some of them at a time."""
        for _ in range(_EXPIRED_AT_ONCE):
            oldest = next(iter(self._visits.values()), None)
            if oldest is None or oldest.seen_ms + WINDOW_MS >= now_ms:
                return
            self._end(oldest)

    def _moved_to(self, key: _Key, at_ms: float, now_ms: float) -> _Visit:
        """Return the session with that key, as the newest one; begin it if there is none."""
        visit = self._visits.get(key)
        if visit is not None:
            visit.last_ms = min(visit.last_ms, now_ms)  # the clock has been set back
            if at_ms - visit.last_ms > WINDOW_MS:
                self._end(visit)
                visit = None
        if visit is None:
            visit = _Visit(key, at_ms)
            self._continue(visit, at_ms, now_ms)
            self._visits[key] = visit
            if len(self._visits) > self._limit:
                self._end(next(iter(self._visits.values())))
        self._visits.move_to_end(key)
        return visit

    def _continue(self, visit: _Visit, at_ms: float, now_ms: float) -> None:
        """Begin a session of a user who may have been active in another one until now.

        A session id that is derived from the time changes while the user works. The time until
        then belongs to the previous session, and the user is in the same module still.
        """
        before = self._latest.get(visit.key[:2])
        if before is None:
            return
        before.last_ms = min(before.last_ms, now_ms)
        if not 0 <= at_ms - before.last_ms <= self._idle_ms:
            return
        self._pass(before, at_ms)
        visit.module, visit.product = before.module, before.product
        self._leave(before, at_ms)
        self._sync(before, at_ms)

    def _pass(self, visit: _Visit, at_ms: float, own_ms: float = 0.0) -> None:
        """Count the time since the last event; `own_ms` of it is not the module's."""
        gap_ms = at_ms - visit.last_ms
        if gap_ms <= 0:  # a late event
            return
        if gap_ms > self._idle_ms:
            self._leave(visit, visit.last_ms)
            visit.last_ms = at_ms
            return
        visit.last_ms = at_ms  # first: if this is interrupted, nothing counts twice
        visit.active_ms += gap_ms
        visit.module_ms += max(0.0, gap_ms - max(0.0, own_ms))
        if visit.active_ms - visit.synced_ms >= SYNC_SECONDS * 1000:
            self._sync(visit, at_ms)

    def _own_module(self, visit: _Visit, event: Mapping[str, Any], at_ms: float) -> None:
        """Count the application's own `moduleEnd`, whose time is counted already."""
        module, own_ms = _text(event.get("module")), event.get(self._properties["moduleEnd"])
        if module and len(self._own_modules) < _MAX_MODULES:
            self._own_modules.add(module)
        self._pass(visit, at_ms, own_ms if _is_number(own_ms) else 0.0)
        if visit.module == module:
            visit.module, visit.module_ms = None, 0.0

    def _enter(self, visit: _Visit, module: str, product: str, at_ms: float) -> None:
        """Begin a module if it is another one; module and product hold until they are changed."""
        wanted = module or visit.module, product or visit.product
        if wanted != (visit.module, visit.product):
            self._leave(visit, at_ms)
            visit.module, visit.product = wanted

    def _leave(self, visit: _Visit, at_ms: float) -> None:
        """End the stretch of time in the module; the user may go on in it."""
        spent_ms, visit.module_ms = int(visit.module_ms), 0.0
        if spent_ms and visit.module and visit.module not in self._own_modules:
            found = {"module": visit.module}
            if visit.product:
                found["product"] = visit.product
            self._derive_of(visit, "moduleEnd", spent_ms, at_ms, found)

    def _sync(self, visit: _Visit, at_ms: float) -> None:
        active_ms = int(visit.active_ms)
        if active_ms > visit.synced_ms:
            visit.synced_ms = active_ms
            if not visit.has_own_sync:
                self._derive_of(visit, "sessionSync", active_ms, at_ms, {})

    def _end(self, visit: _Visit) -> None:
        self._leave(visit, visit.last_ms)
        self._sync(visit, visit.last_ms)
        self._visits.pop(visit.key, None)
        if self._latest.get(visit.key[:2]) is visit:
            self._latest.pop(visit.key[:2], None)

    def _derive_of(
        self, visit: _Visit, action: str, spent_ms: int, at_ms: float, found: Mapping[str, str]
    ) -> None:
        account, user, session = visit.key
        self._derive(
            {
                "accountId": account,
                "userId": user,
                "sessionId": session,
                "action": action,
                **found,
                self._properties[action]: spent_ms,
                "createdAt": math.floor(at_ms),
            }
        )


def _text(value: Any) -> str:
    """Return a string; `""` for anything else."""
    return str.__str__(value) if isinstance(value, str) else ""


def _is_number(value: Any) -> TypeGuard[float]:
    # Greater ones have no use, and an int may be too large for a float.
    return type(value) in (int, float) and abs(value) < 2**53
