"""The fixture itself: every handler, the environment and an endpoint, for as long as a test needs.

What handlers of this process take is caught before it is packed: at once, without a thread or a
socket, so that a test that forbids the network, or stops the clock, sees it too. Forked children,
and programs that find their settings in the environment, post it to an embedded endpoint.
"""

from __future__ import annotations

import logging
import secrets
from types import TracebackType
from typing import Any

from fslog import detours
from fslog.collector import Collector
from fslog.net.destination import Destination
from fslog.stats import Stats
from fslog.testing.arrivals import Arrivals
from fslog.testing.environment import Overlay
from fslog.testing.expectations import Seen, is_meant, none_is_meant, some_are_meant, too_few
from fslog.testing.findings import Finding
from fslog.testing.standin import ToArrivals

_NOWHERE = "http://127.0.0.1:9"
"""Where nobody listens (RFC 863's port): the endpoint of a test that may not open a socket."""

# unittest shows no frame of a module that says so: a failure is the test's, not ours.
__unittest = True


def capture() -> Capture:
    """Return a context manager that catches what this process and its children log.

    >>> from fslog import FreshsuccessHandler
    >>> log = logging.Logger("shop")
    >>> with capture() as freshsuccess:
    ...     log.addHandler(FreshsuccessHandler())
    ...     log.info("sold", extra={"accountId": "a", "userId": "u", "action": "sale", "total": 3})
    ...     freshsuccess.assert_event(action="sale")["total"]
    3
    """
    return Capture()


VARIABLES = ("FSLOG_ENDPOINT", "FSLOG_AUTH_KEY", "FSLOG_API_KEY", "FSLOG_ENABLED", "FSLOG_SPOOL")
"""What is set, or unset, in the environment meanwhile."""


class Capture:
    """Catch events instead of sending them, from `start` to `stop`, and assert upon them.

    Meanwhile every `FreshsuccessHandler` of this process delivers here: those that exist and those
    that are built, also when they are switched off, whatever endpoint, keys, proxy or spool they
    are configured with. Programs that the test starts are led here by the environment
    (`FSLOG_ENDPOINT`, `FSLOG_AUTH_KEY`, `FSLOG_API_KEY`, `FSLOG_ENABLED`; `FSLOG_SPOOL` is unset).
    What a handler accepted before is delivered as ever; what it takes meanwhile never is.

    At the end all is as before, and a handler that was built meanwhile takes nothing any more. Of
    several captures the newest one catches. It is used once; what it caught remains.
    """

    def __init__(self) -> None:
        self._arrivals = Arrivals()
        self._collector = Collector(on_intake=lambda *came: self._arrivals.add_parsed(came[2]))
        self._why_not: Exception | None = None
        self._detour: ToArrivals | None = None
        self._overlay: Overlay | None = None
        self._cleared = Stats()

    def start(self) -> Capture:
        """Begin to catch events.

        Raises:
            RuntimeError: it did so before.
        """
        if self._detour is not None:
            raise RuntimeError("a capture is used once; make another one")
        try:
            self._collector.start()
        except Exception as error:  # sockets are forbidden, by whatever means
            self._why_not = error
        url = _NOWHERE if self._why_not else self._collector.url
        keys = (f"auth-{secrets.token_hex(8)}", f"api-{secrets.token_hex(8)}")
        self._detour = ToArrivals(self._arrivals, Destination(url, *keys))
        self._overlay = Overlay(dict(zip(VARIABLES, (url, *keys, "yes", None), strict=True)))
        self._overlay.begin()
        detours.begin(self._detour)
        return self

    def stop(self) -> None:
        """Leave everything as it was; nothing to do is no error."""
        overlay, self._overlay = self._overlay, None
        if overlay is None or self._detour is None:
            return
        detours.end(self._detour)
        overlay.end()
        self._collector.stop()

    def __enter__(self) -> Capture:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Capture events={len(self.events)} problems={len(self.problems)}>"

    @property
    def url(self) -> str:
        """Return the base URL of the endpoint for other programs, as FSLOG_ENDPOINT takes it.

        Raises:
            RuntimeError: it was not started, or no socket could be opened.
        """
        if self._why_not is not None:
            raise RuntimeError("no socket could be opened for other programs") from self._why_not
        return self._collector.url

    @property
    def events(self) -> list[dict[str, Any]]:
        """Return the valid events, in the order of their log calls, other programs' as they come.

        The list is a copy; the events in it are not.
        """
        return self._arrivals.events()

    @property
    def problems(self) -> list[Finding]:
        """Return what makes events invalid, which so are not sent: each with its log call."""
        return [finding for finding in self._arrivals.findings() if not finding.is_warning]

    @property
    def warnings(self) -> list[Finding]:
        """Return what is probably not meant in events that are sent all the same."""
        return [finding for finding in self._arrivals.findings() if finding.is_warning]

    @property
    def skipped(self) -> int:
        """Return how many records reached a handler of this process and were no event."""
        return self._numbers().skipped - self._cleared.skipped

    def clear(self) -> None:
        """Forget what was caught so far."""
        self._cleared = self._numbers()
        self._arrivals.clear()

    def matching(self, /, **properties: Any) -> list[dict[str, Any]]:
        """Return the events that have all these properties, and perhaps more.

        Args:
            properties: what each is to be: a value it equals, a compiled regular expression that
                is found in it, a class it is an instance of, or a function that takes it.
        """
        return [event for event in self.events if is_meant(properties, event)]

    def assert_event(self, /, **properties: Any) -> dict[str, Any]:
        """Return the first event that has all these properties, see `matching`.

        What this thread has logged is there. What travels through a queue, another thread or
        another process may still be on its way: see `wait_for`.

        Raises:
            AssertionError: there is none; shows the nearest ones and how they differ, what is
                invalid, and how many records were no event.
        """
        __tracebackhide__ = True
        found = self.matching(**properties)
        if not found:
            raise AssertionError(none_is_meant(properties, self._seen()))
        return found[0]

    def assert_no_event(self, /, **properties: Any) -> None:
        """See that there is no event that has all these properties, see `matching`.

        Raises:
            AssertionError: there is one; shows it.
        """
        __tracebackhide__ = True
        if self.matching(**properties):
            raise AssertionError(some_are_meant(properties, self._seen()))

    def wait_for(
        self, n: int = 1, /, *, timeout: float = 10.0, **properties: Any
    ) -> list[dict[str, Any]]:
        """Return the events that have all these properties as soon as there are so many.

        It holds up its thread; where that serves an event loop, use another thread for it
        (`anyio.to_thread.run_sync(freshsuccess.wait_for, 3)`).

        Args:
            n: how many events, at least.
            timeout: seconds to wait at the most.
            properties: see `matching`; none for any event.

        Raises:
            TimeoutError: fewer came; says the same as `assert_event`.
        """
        __tracebackhide__ = True
        if not self._arrivals.wait_until(lambda: len(self.matching(**properties)) >= n, timeout):
            raise TimeoutError(too_few(properties, self._seen(), n, timeout))
        return self.matching(**properties)

    def _numbers(self) -> Stats:
        return Stats() if self._detour is None else self._detour.count()

    def _seen(self) -> Seen:
        return Seen(self.events, self._arrivals.findings(), self.skipped, self._hint())

    def _hint(self) -> str:
        if self._detour is None or self._numbers().emitted > self._cleared.emitted or self.events:
            return ""
        if not self._detour.handlers():
            return "there is no FreshsuccessHandler in this process: is logging configured?"
        level = logging.getLevelName(logging.getLogger().level)
        return (
            "no record reached the FreshsuccessHandler: is it attached to a logger, and do the "
            f"loggers' levels let the record through (the root logger's is {level})?"
        )
