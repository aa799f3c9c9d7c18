"""Session ids for applications that have none of their own.

Both kinds use the event's own time, so that a late or replayed event gets its session. Neither has
a lock, which a fork or a signal handler could leave locked.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

WINDOW_MS = 30 * 60 * 1000
"""A session's length in milliseconds: "typically expires in 30 minutes" (EVENT_API, Event)."""

SessionIds = Callable[[str, str, float], str]
"""account, user, the event's time in epoch milliseconds -> session id"""


def session_id(account: str, user: str, began: int) -> str:
    """Derive an id from a user and a time: the same in every process, revealing neither.

    Args:
        account, user: the event's `accountId` and `userId`.
        began: a whole number that differs between sessions of one user.

    Returns:
        32 hexadecimal digits.

    >>> session_id("acme", "ann", 1) == session_id("acme", "ann", 1)
    True
    >>> session_id("ac", "meann", 1) == session_id("acme", "ann", 1)
    False
    """
    # The account's length keeps ("ac", "me") and ("acm", "e") apart, whatever the ids hold.
    text = f"{len(account)}:{account}{user}@{began}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


of_window: Callable[[str, str, int], str] = lru_cache(maxsize=16_384)(session_id)
"""account, user, number of the window -> session id"""


def by_window(account: str, user: str, created_at_ms: float) -> str:
    """Return the id of the session for the 30-minute window of the clock with the event.

    Without state: in every process and on every host, an event has the same session.

    >>> by_window("acme", "ann", 0) == by_window("acme", "ann", WINDOW_MS - 1)
    True
    >>> by_window("acme", "ann", 0) == by_window("acme", "ann", WINDOW_MS)
    False
    """
    return of_window(account, user, int(created_at_ms // WINDOW_MS))


class _Session:
    __slots__ = ("began_ms", "id", "last_ms", "next")

    def __init__(self, account: str, user: str, at_ms: float) -> None:
        self.id = session_id(account, user, int(at_ms))
        self.began_ms = self.last_ms = at_ms
        self.next: list[_Session] = []


class _Generation:
    """Recent users; with those of the previous generation, all that are kept."""

    __slots__ = ("before", "next", "sessions")

    def __init__(self, before: dict[tuple[str, str], _Session]) -> None:
        self.before = before
        self.sessions: dict[tuple[str, str], _Session] = {}
        self.next: list[_Generation] = []


class IdleSessions:
    """Keep one session per user, which ends after 30 minutes without an event.

    The sessions of other processes differ. An event more than 30 minutes older than its user's
    session gets the id of its clock window, and the session stays as it is. At most `limit` users
    are kept, at least the most recent half of them; others begin a new session with the next event.

    If several threads replace the same object at once (a session has ended, there is no room),
    each appends its successor to a list and all use the first one: appending is atomic.

    Args:
        limit: maximum number of users; 2 or more.

    >>> ids = IdleSessions()
    >>> ids("acme", "ann", 0) == ids("acme", "ann", WINDOW_MS) == ids("acme", "ann", 2 * WINDOW_MS)
    True
    >>> ids("acme", "ann", 2 * WINDOW_MS) == ids("acme", "ann", 3 * WINDOW_MS + 1)
    False
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._half = max(1, limit // 2)
        self._generation = _Generation({})

    def __call__(self, account: str, user: str, created_at_ms: float) -> str:
        key = (account, user)
        session = self._find(key, created_at_ms)
        if created_at_ms < session.began_ms - WINDOW_MS:
            return by_window(account, user, created_at_ms)
        if created_at_ms > session.last_ms + WINDOW_MS:
            session.next.append(_Session(account, user, created_at_ms))
            session = self._generation.sessions[key] = session.next[0]
        if created_at_ms > session.last_ms:
            session.last_ms = created_at_ms
        return session.id

    def _find(self, key: tuple[str, str], at_ms: float) -> _Session:
        while True:
            generation = self._generation
            session = generation.sessions.get(key)
            if session is None:
                session = self._keep(key, generation.before.get(key) or _Session(*key, at_ms))
                # Else an ended session would keep all its successors alive.
                generation.before.pop(key, None)
            if generation is self._generation:  # else another thread has made room: search again
                return session

    def _keep(self, key: tuple[str, str], session: _Session) -> _Session:
        # Two generations approximate least-recently-used order without a list to relink or a lock.
        generation = self._generation
        # A next generation is final: sessions kept since are there.
        while generation.next or len(generation.sessions) >= self._half:
            generation.next.append(_Generation(generation.sessions))
            generation = self._generation = generation.next[0]
        # Another thread may have added the session, and then made room, since the search.
        return generation.sessions.setdefault(key, generation.before.get(key) or session)
