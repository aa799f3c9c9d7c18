"""The capture itself: all handlers, the environment and an endpoint, for as long as a test needs.

Lines of handlers of this process are captured before they are batched: at once, without a thread or
a socket, so that a test that forbids the network, or stops the clock, sees them too. Forked
children, and programs that read their settings from the environment, post to an embedded endpoint.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from fslog.capture import Sink, SinkOverride
from fslog.collector import Collector
from fslog.config import Settings
from fslog.delivery.delivery import Delivery
from fslog.net.destination import Destination
from fslog.net.transport import Transport
from fslog.stats import Stats
from fslog.testing.matching import Seen, is_meant, none_is_meant, some_are_meant, too_few
from fslog.testing.sink import Captured, CaptureSink, Finding

_NOWHERE = "http://127.0.0.1:9"
"""Where nobody listens (RFC 863's port): the endpoint of a test that may not open a socket."""

_CHILD_SETTINGS = Settings(
    level=0,
    compression="deflate",
    compression_level=1,
    batch_events=1_000,
    batch_bytes=2**40,
    flush_interval=0.02,
    buffer_bytes=2**40,
    block_timeout=None,
    timeout=5.0,
    max_backoff=1.0,
    shutdown_timeout=1.0,
    spool_max_bytes=1,
    spool_fsync="never",
    ca_certs=None,
    enabled=True,
    on_problem=None,
)
"""Forked children deliver soon: a test waits for them."""

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
        self._captured = Captured()
        self._collector = Collector(on_intake=lambda *came: self._captured.add_parsed(came[2]))
        self._why_not: Exception | None = None
        self._override: SinkOverride | None = None
        self._overlay: Overlay | None = None
        self._cleared = Stats()

    def start(self) -> Capture:
        """Begin to catch events.

        Raises:
            RuntimeError: it did so before.
        """
        if self._override is not None:
            raise RuntimeError("a capture is used once; make another one")
        try:
            self._collector.start()
        except Exception as error:  # sockets are forbidden, by whatever means
            self._why_not = error
        url = _NOWHERE if self._why_not else self._collector.url
        keys = (f"auth-{secrets.token_hex(8)}", f"api-{secrets.token_hex(8)}")
        self._override = SinkOverride(Destination(url, *keys), self._make_sink)
        self._overlay = Overlay(dict(zip(VARIABLES, (url, *keys, "yes", None), strict=True)))
        self._overlay.begin()
        self._override.start()
        return self

    def stop(self) -> None:
        """Leave everything as it was; nothing to do is no error."""
        overlay, self._overlay = self._overlay, None
        if overlay is None or self._override is None:
            return
        self._override.stop()
        overlay.end()
        self._collector.stop()

    def _make_sink(self, is_forked: bool) -> Sink:
        if not is_forked:
            return CaptureSink(self._captured)
        assert self._override is not None
        to = self._override.destination
        settings = _CHILD_SETTINGS
        transport = Transport(
            to, ca_certs=None, encoding=settings.compression, timeout=settings.timeout
        )
        return Delivery(to, transport, settings)

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
        return self._captured.events()

    @property
    def problems(self) -> list[Finding]:
        """Return what makes events invalid, which so are not sent: each with its log call."""
        return [finding for finding in self._captured.findings() if not finding.is_warning]

    @property
    def warnings(self) -> list[Finding]:
        """Return what is probably not meant in events that are sent all the same."""
        return [finding for finding in self._captured.findings() if finding.is_warning]

    @property
    def skipped(self) -> int:
        """Return how many records reached a handler of this process and were no event."""
        return self._numbers().skipped - self._cleared.skipped

    def clear(self) -> None:
        """Forget what was caught so far."""
        self._cleared = self._numbers()
        self._captured.clear()

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
        if not self._captured.wait_until(lambda: len(self.matching(**properties)) >= n, timeout):
            raise TimeoutError(too_few(properties, self._seen(), n, timeout))
        return self.matching(**properties)

    def _numbers(self) -> Stats:
        return Stats() if self._override is None else self._override.stats()

    def _seen(self) -> Seen:
        return Seen(self.events, self._captured.findings(), self.skipped, self._hint())

    def _hint(self) -> str:
        if self._override is None or self._numbers().emitted > self._cleared.emitted or self.events:
            return ""
        if not self._override.handlers():
            return "there is no FreshsuccessHandler in this process: is logging configured?"
        level = logging.getLevelName(logging.getLogger().level)
        return (
            "no record reached the FreshsuccessHandler: is it attached to a logger, and do the "
            f"loggers' levels let the record through (the root logger's is {level})?"
        )


_overlays: list[Overlay] = []


class Overlay:
    """Set variables, and restore them; overlays may end in any order.

    Args:
        values: by name; None for a variable that is to be unset.

    >>> overlay = Overlay({"FSLOG_EXAMPLE": "1"})
    >>> overlay.begin(); os.environ["FSLOG_EXAMPLE"]
    '1'
    >>> overlay.end(); "FSLOG_EXAMPLE" in os.environ
    False
    """

    def __init__(self, values: Mapping[str, str | None]) -> None:
        self._values = values
        self._before: Mapping[str, str | None] = {}

    def begin(self) -> None:
        """Set the variables."""
        self._before = {name: os.environ.get(name) for name in self._values}
        _overlays.append(self)
        _set(self._values)

    def end(self) -> None:
        """Restore what was before; beneath a newer overlay, that one will."""
        at = _overlays.index(self)
        del _overlays[at]
        if at == len(_overlays):
            _set(self._before)
        else:
            _overlays[at]._before = self._before


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
