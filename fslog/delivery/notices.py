"""Notices: log messages about fslog itself, on the logger `fslog`, once per change of state.

If no handler would show them (none is configured, the only ones accept events, or a `dictConfig`
with `disable_existing_loggers` disabled the logger), warnings go to stderr instead.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TextIO

from fslog.delivery.names import CODE, MOST, Names
from fslog.interrupts import unless_interrupt

LOGGER = "fslog"

Log = Callable[[int, str], None]
"""Logs a text at a level of the logging module."""

_logged_once: dict[str, object] = {}
"""The notices of this process, and of those that it was forked from."""

_MAX_KINDS = 100
_MAX_WORDS = 20
_STATES = ("full", "split", "abandoned", "spool", "low")

_FLAPPING = ("full", "spool", "low")
"""States that may change many times a second: a small buffer under load, a full disk."""

_MUTE_SECONDS = 60.0
"""How long such a state is not logged again."""


def log(level: int, text: str) -> None:
    """Log a text on the logger `fslog`, or write it to stderr if no handler would show it.

    Call it during internal work only, so that the record does not become an event. Never raises.
    """
    logger = logging.getLogger(LOGGER)
    try:
        if not is_visible():
            if level >= logging.WARNING:
                write_stderr(text)
        else:
            logger.log(level, "%s", text)
    except unless_interrupt(Exception):
        # An application's filter or handler raised, and there is no other place to report it.
        return


def is_visible() -> bool:
    """Return whether any handler would show what the logger `fslog` logs."""
    logger: logging.Logger | None = logging.getLogger(LOGGER)
    if logger is not None and logger.disabled:
        return False
    while logger is not None:
        for handler in logger.handlers:
            only_events = hasattr(handler, "takes_events") or hasattr(
                getattr(handler, "formatter", None), "takes_events"
            )
            if not (only_events or isinstance(handler, logging.NullHandler)):
                return True
        logger = logger.parent if logger.propagate else None
    return False


def off_without_keys(spool: str = "") -> None:
    """WARNING, once per process: a handler is disabled because it has no keys; see also `log`.

    Args:
        spool: the path of its spool, if events of earlier processes wait in it.
    """
    waiting = f", and events wait in the spool {spool!r}" if spool else ""
    log_once(
        "off",
        f"fslog is off: FSLOG_AUTH_KEY and FSLOG_API_KEY are not set{waiting}; "
        "FSLOG_ENABLED=yes makes this an error",
    )


def log_once(kind: str, text: str) -> None:
    """WARNING, once per process for each kind; see `log`."""
    mark = object()
    if _logged_once.setdefault(kind, mark) is mark:
        log(logging.WARNING, text)


def write_stderr(text: str, stream: TextIO | None = None) -> None:
    """Write one line to stderr; if there is none (pythonw, a closed descriptor), do nothing."""
    try:
        stream = stream or sys.stderr or sys.__stderr__
        if stream is not None:
            stream.write(f"{text}\n" if text.startswith(f"{LOGGER} ") else f"{LOGGER}: {text}\n")
            stream.flush()
    except unless_interrupt(Exception):  # stderr is closed, full, or not a stream
        return


def call_site(record: logging.LogRecord) -> str:
    """Return the logger's name and the call site of a record."""
    seen = record.__dict__.get  # records made by hand may lack anything
    return f"{seen('name')} ({seen('filename')}:{seen('lineno')})"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun; the digits are not grouped, so that a search finds them.

    >>> counted(1, "event"), counted(1200, "event")
    ('1 event', '1200 events')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class Notices:
    """The notices about the delivery to one endpoint.

    Args:
        host: the endpoint's, without keys.
        log: logs a text at a level.
        clock: monotonic seconds.
    """

    def __init__(self, host: str, log: Log, clock: Callable[[], float]) -> None:
        self._host = host
        self._log = log
        self._clock = clock
        self._failures: set[str] = set()
        self._failing_since = 0.0
        self._logged: dict[str, object] = {}
        self._common: set[str] = set()
        """The first words of kinds, of which there are too many."""
        self._muted_until: dict[str, float] = {}
        self._refused_before: int | None = None
        self.names: Names = Names(self.many_names)

    def down(self, reason: str, pending: int, max_backoff: float) -> None:
        """WARNING, once per outage: the endpoint is unreachable or overloaded."""
        self._log_failure(
            "down",
            f"delivery to {self._host} fails: {reason}. {counted(pending, 'event')} pending, "
            f"retried with growing pauses, at least every {max_backoff:g} s",
        )

    def misconfigured(
        self, reason: str, pending: int, max_backoff: float, *, in_files: bool = False
    ) -> None:
        """WARNING, once per outage: the endpoint rejects every event, a configuration error.

        Args:
            reason: of the endpoint.
            pending: how many events are kept.
            max_backoff: when the next attempt is made.
            in_files: whether the keys are in files, which are read again.
        """
        effect = "a corrected configuration takes effect at restart"
        if in_files:
            effect = "other keys in the files take effect then"
        self._log_failure(
            "misconfigured",
            f"{self._host} rejects the events: {reason}. Check whether auth_key, api_key and "
            f"datacenter (or endpoint) belong together. {counted(pending, 'event')} kept, "
            f"retried every {max_backoff:g} s; {effect}",
        )

    def rekeyed(self) -> None:
        """INFO: other keys were found in the files, and are used from now on."""
        self._log(
            logging.INFO,
            f"{self._host} rejects the keys, and there are other ones in their files: these are "
            "used from now on",
        )

    def _log_failure(self, kind: str, text: str) -> None:
        if not self._failures:
            self._failing_since = self._clock()
        if kind not in self._failures:
            self._failures.add(kind)
            self._log(logging.WARNING, text)

    def up(self) -> None:
        """INFO, if a failure was logged before: a body was delivered."""
        if self._failures:
            self._failures.clear()
            seconds = self._clock() - self._failing_since
            self._log(logging.INFO, f"delivery to {self._host} works again after {seconds:.0f} s")

    def is_first(self, kind: str) -> bool:
        """Return True to the first caller for each kind, from any thread: it logs the notice.

        The number of kinds with the same first word is limited, so that a program's mistakes cannot
        fill the memory. A state that may change many times a second returns True at most once a
        minute.
        """
        mark = object()
        if kind in self._logged or (kind not in _STATES and self._is_common(kind)):
            return False
        if self._is_muted(kind) or self._logged.setdefault(kind, mark) is not mark:
            return False
        if kind in _FLAPPING:
            self._muted_until[kind] = self._clock() + _MUTE_SECONDS
        return True

    def _is_common(self, kind: str) -> bool:
        if len(self._logged) < _MAX_KINDS:
            return False
        if len(self._logged) >= _MAX_KINDS * _MAX_WORDS:
            return True
        word = kind.partition(" ")[0]
        if word not in self._common:
            same = sum(other.partition(" ")[0] == word for other in list(self._logged))
            if same < _MAX_KINDS:
                return False
            self._common.add(word)
        return True

    def _is_muted(self, kind: str) -> bool:
        until = self._muted_until.get(kind)
        return until is not None and self._clock() < until

    def full(self, refused: int, name: str, limit_bytes: int) -> None:
        """WARNING, once until everything is delivered, and at most once a minute: no room.

        The caller has checked `is_first("full")`.

        Args:
            refused: how many events have been refused so far.
            name, limit_bytes: the setting that limits the room.
        """
        if self._refused_before is None:
            self._refused_before = refused - 1
        self._log(
            logging.WARNING,
            f"{name} ({limit_bytes} bytes) is full and new events are refused: increase {name}, "
            'or set overflow="block" to make log calls wait',
        )

    def low(self, shortage: str) -> None:
        """WARNING, once until there is room, and at most once a minute: the disk is almost full.

        The caller has checked `is_first("low")`.
        """
        self._log(
            logging.WARNING,
            f"{shortage}: new events are refused until there is room. Free some space, or choose "
            "another spool_min_free (0 for no limit)",
        )

    def enough(self) -> None:
        """INFO, if too little of the disk was free before: now there is enough."""
        if self._logged.pop("low", None) is not None:
            self._log(logging.INFO, "the spool's file system has room again: events are accepted")

    def emptied(self, refused: int) -> None:
        """INFO, if events were refused before: nothing is pending any more.

        Events that are refused while "full" is muted are reported a minute later.
        """
        if "low" in self._logged:  # that nothing is pending makes no room on the disk
            return
        count = refused - (self._refused_before or 0)
        was_logged = self._logged.pop("full", None) is not None
        is_due = self._refused_before is not None and count and not self._is_muted("full")
        if was_logged or is_due:
            self._refused_before = refused
            self._muted_until["full"] = self._clock() + _MUTE_SECONDS
            self._log(logging.INFO, f"there is room again, after {counted(count, 'refused event')}")

    def split(self, body_bytes: int) -> None:
        """INFO, once: a body was too large for the endpoint."""
        if self.is_first("split"):
            self._log(
                logging.INFO,
                f"{self._host} rejects a body of {body_bytes} bytes as too large: batches are "
                "split until they fit; a smaller batch_bytes saves the extra requests",
            )

    def abandoned_one(self, line_bytes: int, is_kept: bool) -> None:
        """WARNING, once: a single event was too large for the endpoint."""
        if self.is_first("abandoned"):
            result = "moved to the spool's quarantine" if is_kept else "abandoned"
            self._log(
                logging.WARNING,
                f"{self._host} rejects a single event of {line_bytes} bytes as too large: it is "
                f"{result}, as others like it will be; stats() counts them",
            )

    def spool_failed(self, error: Exception) -> None:
        """WARNING, once until it works again: the spool cannot be written."""
        if self.is_first("spool"):
            why = getattr(error, "strerror", None) or str(error)
            self._log(
                logging.WARNING,
                f"the spool cannot be written: {why}. New events are kept in memory, and are lost "
                "if the process ends before they are delivered",
            )

    def spool_works(self) -> None:
        """INFO, if it could not be written before: the spool was written."""
        if self._logged.pop("spool", None) is not None:
            self._log(logging.INFO, "the spool can be written again")

    def rejects_failed(self, error: OSError) -> None:
        """WARNING, once: the reject file cannot be written."""
        if self.is_first("rejects"):
            self._log(
                logging.WARNING,
                f"the reject file cannot be written: {error.strerror or error}. Invalid events are "
                "lost, those that could not be written included",
            )

    def adopted(self, segments: int) -> None:
        """INFO, once, and DEBUG from then on: segments of dead processes are adopted."""
        level = logging.INFO if self.is_first("adopted") else logging.DEBUG
        self._log(level, f"adopted {counted(segments, 'segment')} of processes that ended, to send")

    def quarantined(self, lines: int, reason: str) -> None:
        """WARNING, once for each reason: lines of a segment cannot be sent."""
        if self.is_first(f"quarantined {reason}"):
            self._log(
                logging.WARNING,
                f"moved {counted(lines, 'line')} of a segment to the spool's quarantine: {reason}",
            )

    def expired(self) -> None:
        """WARNING, once: events wait for longer than `spool_max_age`."""
        if self.is_first("expired"):
            self._log(
                logging.WARNING,
                "events in the spool have waited for longer than spool_max_age: they are not sent, "
                "but moved to its quarantine, as others will be; stats() counts them",
            )

    def quarantine_full(self, limit_bytes: int) -> None:
        """WARNING, once: the quarantine has no room."""
        if self.is_first("quarantine"):
            self._log(
                logging.WARNING,
                f"the spool's quarantine is full ({limit_bytes} bytes, a quarter of "
                "spool_max_bytes): what cannot be sent is lost from now on. Look at it by "
                "`fslog spool quarantine`, then requeue or remove it; stats() counts what is lost",
            )

    def unreadable(self, reason: str, events: int) -> None:
        """WARNING, once for each reason: a segment cannot be read."""
        if self.is_first(f"unreadable {reason}"):
            count = f"; counted as abandoned: {counted(events, 'event')}" if events else ""
            self._log(
                logging.WARNING,
                f"a segment of the spool cannot be read: {reason}{count}. Logged once for each "
                "reason",
            )

    def unexpected(self, text: str) -> None:
        """WARNING, once for each text: something in the spool is unexpected."""
        if self.is_first(f"unexpected {text}"):
            self._log(logging.WARNING, text)

    def many_names(self, name: str, one: str, other: str) -> None:
        """WARNING, once for each property: what is shown by its names takes very many values.

        Args:
            name: of the property.
            one, other: two of its values.
        """
        self._log(
            logging.WARNING,
            f"{name} has more than {MOST} values in this process, such as {one!r} and {other!r}: "
            "Freshsuccess shows each as one of its own. Write a fixed text in the log call or the "
            f"rule, and give what varies a property of its own [{CODE}]. Logged once for each "
            "property",
        )

    def problem(
        self, code: str, message: str, where: str, more: str = "; on_problem receives every one"
    ) -> None:
        """WARNING: an event is invalid or has a likely mistake.

        The caller has checked `is_first`.

        Args:
            code, message: of the problem.
            where: the call site, see `call_site`.
            more: where all problems of the kind are reported.
        """
        text = f"event from {where}: {message} [{code}]. Logged once for each kind{more}"
        self._log(logging.WARNING, text)
