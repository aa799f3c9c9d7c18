"""What fslog says of itself: once per change of state, where somebody will see it.

It speaks on the logger `fslog`. Where no handler would show that (none is configured, the only
ones take events, or a `dictConfig` with `disable_existing_loggers` switched the logger off), a
warning goes to stderr instead: what fslog does not tell, nobody does.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TextIO

from fslog.interrupts import unless_interrupt

LOGGER = "fslog"

Say = Callable[[int, str], None]
"""Says a text at a level of the logging module."""

_MAX_KINDS = 100
_STATES = ("full", "split", "abandoned", "spool")

_PASSING = ("full", "spool")
"""States that may come and go many times a second: a small buffer under load, a full disk."""

_REST_SECONDS = 60.0
"""How long such a state is not said again."""


def say(level: int, text: str) -> None:
    """Say a text on the logger `fslog`, or on stderr where that would reach nobody.

    Called from inside fslog's own work only, so that it never becomes an event. Never raises.
    """
    logger = logging.getLogger(LOGGER)
    try:
        if not is_heard():
            if level >= logging.WARNING:
                write_stderr(text)
        else:
            logger.log(level, "%s", text)
    except unless_interrupt(Exception):
        # An application's own filter or handler; there is nobody left to tell.
        return


def is_heard() -> bool:
    """Return whether any handler would show what the logger `fslog` says."""
    logger: logging.Logger | None = logging.getLogger(LOGGER)
    if logger is not None and logger.disabled:
        return False
    while logger is not None:
        for handler in logger.handlers:
            if not (isinstance(handler, logging.NullHandler) or hasattr(handler, "takes_events")):
                return True
        logger = logger.parent if logger.propagate else None
    return False


def write_stderr(text: str, stream: TextIO | None = None) -> None:
    """Write one line to stderr; without one (pythonw, a closed descriptor) do nothing."""
    try:
        stream = stream or sys.stderr or sys.__stderr__
        if stream is not None:
            stream.write(f"fslog: {text}\n")
            stream.flush()
    except unless_interrupt(Exception):  # a stderr that is closed, full, or not a stream at all
        return


class Notices:
    """Turn what happens on the way to one endpoint into few sentences.

    Args:
        host: where events go, as a person may see it.
        say: where the sentences go.
        clock: monotonic seconds.
    """

    def __init__(self, host: str, say: Say, clock: Callable[[], float]) -> None:
        self._host = host
        self._say = say
        self._clock = clock
        self._trouble: set[str] = set()
        self._troubled_at = 0.0
        self._said: dict[str, object] = {}
        self._rests_until: dict[str, float] = {}
        self._refused_before: int | None = None

    def down(self, reason: str, pending: int, max_backoff: float) -> None:
        """The endpoint cannot be reached, or is not up to it: WARNING, once per outage."""
        self._trouble_said(
            "down",
            f"delivery to {self._host} fails: {reason}. {pending} events wait; they are tried "
            f"again with growing pauses, at least every {max_backoff:g} s",
        )

    def misconfigured(self, reason: str, pending: int, max_backoff: float) -> None:
        """The endpoint takes nothing from us as we are set up: WARNING, once per outage."""
        self._trouble_said(
            "misconfigured",
            f"{self._host} refuses the events: {reason}. Check auth_key, api_key and datacenter "
            f"(or endpoint): they do not fit together. {pending} events are kept and one attempt "
            f"is made every {max_backoff:g} s; a corrected configuration takes effect at restart",
        )

    def _trouble_said(self, kind: str, text: str) -> None:
        if not self._trouble:
            self._troubled_at = self._clock()
        if kind not in self._trouble:
            self._trouble.add(kind)
            self._say(logging.WARNING, text)

    def up(self) -> None:
        """A body was delivered: INFO, if trouble was said before."""
        if self._trouble:
            self._trouble.clear()
            seconds = self._clock() - self._troubled_at
            self._say(logging.INFO, f"delivery to {self._host} works again after {seconds:.0f} s")

    def is_first(self, kind: str) -> bool:
        """Claim the right to say something of a kind, for the first who asks; from any thread.

        At most so many kinds are told apart that a program's mistakes cannot fill the memory. A
        state that comes and goes rests for a minute after each time.
        """
        mark = object()
        if kind in self._said or (kind not in _STATES and len(self._said) >= _MAX_KINDS):
            return False
        if self._rests(kind) or self._said.setdefault(kind, mark) is not mark:
            return False
        if kind in _PASSING:
            self._rests_until[kind] = self._clock() + _REST_SECONDS
        return True

    def _rests(self, kind: str) -> bool:
        until = self._rests_until.get(kind)
        return until is not None and self._clock() < until

    def full(self, refused: int, name: str, limit_bytes: int) -> None:
        """Events are refused for lack of room: WARNING, once until all is delivered, and a minute.

        Called by who claimed `"full"`.

        Args:
            refused: how many were, so far.
            name, limit_bytes: the setting that they were refused by.
        """
        if self._refused_before is None:
            self._refused_before = refused - 1
        self._say(
            logging.WARNING,
            f"{name}, {limit_bytes} bytes, is full and new events are refused: a larger {name} "
            'holds out longer, overflow="block" makes log calls wait',
        )

    def emptied(self, refused: int) -> None:
        """Nothing is pending any more: INFO, if events were refused before.

        Those that were refused while this was not said are told a minute later.
        """
        count = refused - (self._refused_before or 0)
        was_said = self._said.pop("full", None) is not None
        if was_said or (self._refused_before is not None and count and not self._rests("full")):
            self._refused_before = refused
            self._rests_until["full"] = self._clock() + _REST_SECONDS
            self._say(logging.INFO, f"there is room again; {count} events were refused meanwhile")

    def split(self, body_bytes: int) -> None:
        """A body was too large for the endpoint: INFO, once."""
        if self.is_first("split"):
            self._say(
                logging.INFO,
                f"{self._host} finds a body of {body_bytes} bytes too large: batches are split "
                "until they fit; a smaller batch_bytes saves the attempts",
            )

    def abandoned_one(self, line_bytes: int, is_kept: bool) -> None:
        """A single event was too large for the endpoint: WARNING, once."""
        if self.is_first("abandoned"):
            where = "it is set aside in the spool's quarantine" if is_kept else "it is abandoned"
            self._say(
                logging.WARNING,
                f"{self._host} finds a single event of {line_bytes} bytes too large: {where}, "
                "as will be others like it; stats() counts them",
            )

    def spool_failed(self, error: Exception) -> None:
        """The spool cannot be written: WARNING, once until it works again."""
        if self.is_first("spool"):
            why = getattr(error, "strerror", None) or str(error)
            self._say(
                logging.WARNING,
                f"the spool cannot be written: {why}. New events are held in memory meanwhile, "
                "where the end of the process can lose them",
            )

    def spool_works(self) -> None:
        """The spool was written: INFO, if it could not be before."""
        if self._said.pop("spool", None) is not None:
            self._say(logging.INFO, "the spool can be written again")

    def adopted(self, segments: int) -> None:
        """Segments were taken over from dead processes: INFO."""
        self._say(
            logging.INFO, f"{segments} segments of processes that ended are taken over and sent"
        )

    def quarantined(self, lines: int, reason: str) -> None:
        """Lines of a segment cannot be sent: WARNING, once for each reason."""
        if self.is_first(f"quarantined {reason}"):
            self._say(
                logging.WARNING,
                f"{lines} lines of a segment are set aside in the spool's quarantine: {reason}",
            )

    def unreadable(self, reason: str, events: int) -> None:
        """A segment cannot be read: WARNING, once for each reason."""
        if self.is_first(f"unreadable {reason}"):
            count = f"; its {events} events are counted as abandoned" if events else ""
            self._say(
                logging.WARNING,
                f"a segment of the spool cannot be read: {reason}{count}. Said once, also if there "
                "are more",
            )

    def remark(self, text: str) -> None:
        """Something in the spool is not as fslog leaves it: WARNING, once for each text."""
        if self.is_first(f"remark {text}"):
            self._say(logging.WARNING, text)

    def problem(self, code: str, message: str, where: str) -> None:
        """An event is invalid, or probably not what was meant: WARNING.

        Called by who claimed its kind.
        """
        self._say(
            logging.WARNING,
            f"event from {where}: {message} [{code}]. Said once of each kind; on_problem is told "
            "of every one",
        )
