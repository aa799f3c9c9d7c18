"""Who a user is and what an account is: `identifyUser` and `identifyAccount`, when it has changed.

Both are plain log calls on the logger `fslog.events`, whose level is INFO unless it is configured.
The message has no details.

A process logs the same details of the same user once, and again if they have changed. It remembers
digests, with a key of its own, not the details. There is no lock, which a fork or a signal handler
could leave locked. A forked child remembers what its parent has logged, which its parent delivers.
"""

from __future__ import annotations

import datetime
import logging
import os
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager, nullcontext
from hashlib import blake2b
from typing import Any
from uuid import UUID

from fslog import context, events, process
from fslog.config import loggers
from fslog.delivery import notices
from fslog.interrupts import unless_interrupt
from fslog.mapping import schema
from fslog.mapping.encoding import encode
from fslog.net.redaction import internal_work

Id = str | int | UUID
Time = float | datetime.date
"""Epoch milliseconds, an aware datetime, or a date; a datetime is a date."""

_KEY = os.urandom(16)
MESSAGES = {"identifyUser": "user identified", "identifyAccount": "account identified"}
_ATOMS = frozenset({str, int, float, bool})
_MAX_DEPTH = 16
_MAX_VALUES = 10_000
"""How deep, and among how many values of a detail, times are looked for."""

_UNREACHABLE = (
    f"fslog.identify_user and identify_account log at INFO on the logger {events.LOGGER!r}, from "
    "which no FreshsuccessHandler gets records: attach the handler to the root logger, or to "
    f"{events.LOGGER!r} as well. Logged once"
)
_DISABLED = (
    f"the logger {events.LOGGER!r} is disabled, so fslog.identify_user and identify_account do "
    "nothing: set disable_existing_loggers to false, or name it in loggers. Logged once"
)


def identify_user(
    userId: Id,  # noqa: N803
    accountId: Id,  # noqa: N803
    *,
    name: str | None = None,
    email: str | None = None,
    joinDate: Time | None = None,  # noqa: N803
    title: str | None = None,
    role: str | None = None,
    **details: Any,
) -> None:
    """Log the event `identifyUser`, unless this process has logged these details of the user last.

    Nothing raises, whatever the values are: an invalid id makes an invalid event, which is counted
    and reported as any other, at each call.

    Args:
        userId, accountId: of the user; what is bound for another user is left out of the event.
        name, email, joinDate, title, role: details that are known to Freshsuccess.
        details: any others. In all of them, at any depth, an aware `datetime` becomes epoch
            milliseconds, and a `date` those of its midnight in UTC. None is left out.
    """
    known = {"name": name, "email": email, "joinDate": joinDate, "title": title, "role": role}
    identify("identifyUser", {"accountId": accountId, "userId": userId}, {**known, **details}, 2)


def identify_account(
    accountId: Id,  # noqa: N803
    *,
    userId: Id | None = None,  # noqa: N803
    name: str | None = None,
    joinDate: Time | None = None,  # noqa: N803
    renewalDate: Time | None = None,  # noqa: N803
    tier: str | None = None,
    **details: Any,
) -> None:
    """Log the event `identifyAccount`, unless this process has logged these details of it last.

    Every event has a user, and one that is unknown to Freshsuccess is created there. So this event
    has the user that is given, or the one who is bound in the context with the same account.
    Without either, `userId` is None and the event invalid.

    Args:
        accountId: of the account.
        userId: a user of that account.
        name, joinDate, renewalDate, tier: details that are known to Freshsuccess.
        details: any others; see `identify_user`.
    """
    if userId is None:
        userId = _bound_user(accountId)  # noqa: N806
    known = {"name": name, "joinDate": joinDate, "renewalDate": renewalDate, "tier": tier}
    ids = {"accountId": accountId, "userId": userId}
    identify("identifyAccount", ids, {**known, **details}, 2)


def identify(
    action: str, ids: Mapping[str, Any], details: Mapping[str, Any], stacklevel: int = 1
) -> None:
    """Log an event of either action, unless this process has logged these details last.

    Args:
        action: one of the two.
        ids: `accountId` and `userId`; the formatter adds one that is missing.
        details: whose names are strings.
        stacklevel: 1 for the caller's line as the call site, 2 for that of its caller.
    """
    logger = events.logger()
    if not logger.isEnabledFor(logging.INFO):
        if logger.disabled:
            _notice("identify disabled", _DISABLED)
        return
    ids = dict(ids)
    schema.coerce(ids)
    found = {name: _with_times(value) for name, value in details.items() if value is not None}
    entry = None
    if not loggers.may_lead_to_events(logger, logging.INFO):
        _notice("identify unreachable", _UNREACHABLE)
    elif all(type(value) is str and value for value in ids.values()):
        entry = _logged.claim(_about(action, ids), _digest(dict(sorted(found.items()))))
        if entry is None:
            return
    extra = {"event": {"action": action, **ids, "details": found}}
    try:
        with _unbound() if _is_another_bound(ids) else nullcontext():
            logger.info(MESSAGES[action], extra=extra, stacklevel=stacklevel + 1)
    except BaseException:  # the application's own filter, or a signal handler
        if entry is not None:
            entry.details = b""
        raise


def not_sent(record: logging.LogRecord) -> None:
    """Forget the details in a record of `identify` that a handler may not send now."""
    event = record.__dict__.get("event")
    if type(event) is not dict:  # not of `identify`
        return
    action, *ids = map(event.get, ("action", "accountId", "userId"))
    if type(action) is str and action in MESSAGES and all(type(value) is str for value in ids):
        _logged.forget(_about(action, dict(zip(("accountId", "userId"), ids, strict=True))))


def forget() -> None:
    """Forget what was logged, so that the same details are logged again."""
    global _logged
    _logged = _Logged()


class _Entry:
    """The details that were logged last of one user or account, and, once changed, their successor.

    If threads change them at once, each appends its own entry, and the first one counts: appending
    is atomic.
    """

    __slots__ = ("details", "next")

    def __init__(self, details: bytes) -> None:
        self.details = details
        self.next: list[_Entry] = []


class _Logged:
    """The digests of what was logged last.

    Two generations of entries approximate least-recently-used order. If threads begin a generation
    at once, a few entries may be lost, and their details are logged once more.

    Args:
        limit: maximum number of users and accounts; 2 or more.

    >>> logged = _Logged()
    >>> [logged.claim(b"ann", details) is not None for details in (b"1", b"1", b"2", b"1")]
    [True, False, True, True]
    """

    def __init__(self, limit: int = 50_000) -> None:
        self._half = max(1, limit // 2)
        self._generations: tuple[dict[bytes, _Entry], dict[bytes, _Entry]] = ({}, {})

    def claim(self, about: bytes, details: bytes) -> _Entry | None:
        """Return a new entry for details that the caller has to log; None if they were logged last.

        To set the entry's `details` to `b""` is to forget them.
        """
        recent, before = self._generations
        if about not in recent and len(recent) >= self._half:
            recent, before = self._generations = {}, recent
        own = _Entry(details)
        entry = recent.setdefault(about, before.get(about, own))
        before.pop(about, None)  # else it would keep all its successors alive
        while entry is not own:
            while entry.next:
                entry = entry.next[0]
            if entry.details == details:
                return None
            entry.next.append(own)
            # At once: it may have a successor by now, and would be appended to that.
            if entry.next[0] is own:
                recent[about] = entry = own
        return own

    def forget(self, about: bytes) -> None:
        """Forget what was logged last; a thread that logs at once may log it again."""
        for generation in self._generations:
            generation.pop(about, None)


_logged = _Logged()


def _notice(kind: str, text: str) -> None:
    """Log a notice once, if this process has a handler of fslog's: else nothing is expected."""
    if process.handlers():
        with internal_work(str):
            notices.log_once(kind, text)


def _bound_user(account: Any) -> Any:
    """Return the `userId` that is bound together with that account; None if there is none."""
    given, bound = {"accountId": account}, dict(context.current())
    schema.coerce(given)
    schema.coerce(bound)
    found = [ids.get("accountId") for ids in (given, bound)]
    is_same = all(type(value) is str for value in found) and found[0] == found[1]
    return bound.get("userId") if is_same else None


def _is_another_bound(ids: Mapping[str, Any]) -> bool:
    """Return whether the context has another user, or another account, than coerced ids."""
    bound = {name: context.current().get(name) for name in ids}
    schema.coerce(bound)
    return any(
        type(value) is str and type(ids[name]) is str and value != ids[name]
        for name, value in bound.items()
    )


@contextmanager
def _unbound() -> Iterator[None]:
    with context.bound():
        context.clear()
        yield


def _about(action: str, ids: Mapping[str, Any]) -> bytes:
    about = {"action": action, **ids}
    if action == "identifyAccount":  # an account has the same details for all of its users
        about.pop("userId", None)
    return _digest(dict(sorted(about.items())))


def _digest(properties: Mapping[str, Any]) -> bytes:
    return blake2b(encode(properties), digest_size=16, key=_KEY).digest()


def _with_times(value: Any) -> Any:
    """Return a value in which times are epoch milliseconds; itself if its own methods raise."""
    if type(value) in _ATOMS:
        return value
    try:
        return _converted(value, [_MAX_VALUES])
    except unless_interrupt(Exception):
        return value


def _converted(value: Any, left: list[int], depth: int = 0) -> Any:
    if isinstance(value, datetime.date):
        return _milliseconds(value)
    if depth >= _MAX_DEPTH or not isinstance(value, (Mapping, Set, list, tuple)):
        return value
    left[0] -= len(value)
    if left[0] < 0:
        return value
    if isinstance(value, Mapping):
        return {name: _converted(each, left, depth + 1) for name, each in value.items()}
    return [_converted(each, left, depth + 1) for each in value]


def _milliseconds(value: datetime.date) -> Any:
    """Return epoch milliseconds; a naive datetime as it is, since nothing says what it means."""
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime.combine(value, datetime.time(), datetime.timezone.utc)
    return value if value.utcoffset() is None else round(value.timestamp() * 1000)
