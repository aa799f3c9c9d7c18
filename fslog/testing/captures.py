"""The capture: it overrides all handlers' sinks and the environment, and provides an endpoint.

Lines of handlers of this process are captured before they are batched: at once, without a thread or
a socket, so that a test that forbids the network, or stops the clock, sees them too. Forked
children, and programs that read their settings from the environment, post to an embedded endpoint.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Mapping
from typing import Any

from fslog import identify
from fslog.capture import Sink, SinkOverride
from fslog.collector import Collector
from fslog.config import NO_LIMIT, Settings
from fslog.counters import Stats
from fslog.delivery.delivery import Delivery
from fslog.net.destination import Destination
from fslog.net.transport import Transport
from fslog.plan.plan import Plan
from fslog.testing.matching import Seen, is_meant, none_is_meant, some_are_meant, too_few
from fslog.testing.planned import NO_PLAN, described, plans_of, unplanned
from fslog.testing.sink import Captured, CaptureSink, Finding

_NOWHERE = "http://127.0.0.1:9"
"""RFC 863's port, which no server uses: the endpoint of a test without sockets."""

_CHILD_SETTINGS = Settings(
    level=0,
    compression="deflate",
    compression_level=1,
    batch_events=1_000,
    batch_bytes=2**40,
    flush_interval=0.02,
    aggregate=None,
    buffer_bytes=2**40,
    block_timeout=None,
    timeout=5.0,
    max_backoff=1.0,
    shutdown_timeout=1.0,
    flush_on_sigterm=False,
    spool_max_bytes=1,
    spool_min_free=NO_LIMIT,
    spool_max_age=None,
    spool_fsync="never",
    ca_certs=None,
    enabled=True,
    max_per_second=None,
    on_problem=None,
)
"""Of forked children: they deliver soon, because a test waits for them."""

# unittest omits the frames of such a module: a failure is the test's.
__unittest = True


def capture() -> Capture:
    """Return a context manager that captures the events of this process and its children.

    >>> from fslog import FreshsuccessHandler
    >>> log = logging.Logger("shop")
    >>> with capture() as freshsuccess:
    ...     log.addHandler(FreshsuccessHandler())
    ...     log.info("sold", extra={"accountId": "a", "userId": "u", "action": "sale", "total": 3})
    ...     freshsuccess.assert_event(action="sale")["total"]
    3
    """
    return Capture()


VARIABLES = (
    *("FSLOG_ENDPOINT", "FSLOG_AUTH_KEY", "FSLOG_API_KEY", "FSLOG_ENABLED", "FSLOG_SPOOL"),
    *("FSLOG_AUTH_KEY_FILE", "FSLOG_API_KEY_FILE"),
)
"""The environment variables that a capture sets or unsets."""


class Capture:
    """Receive events instead of the endpoint, from `start` to `stop`, and make assertions on them.

    It receives the events of every `FreshsuccessHandler` of this process, existing or new, disabled
    or not, whatever its endpoint, keys, proxy or spool. Programs that the test starts find an
    embedded endpoint in the environment (`FSLOG_ENDPOINT`, `FSLOG_AUTH_KEY`, `FSLOG_API_KEY`,
    `FSLOG_ENABLED`; `FSLOG_SPOOL` and the files of keys are unset). Events from before are
    delivered as usual, captured ones never.

    `stop` restores everything; a handler that was created meanwhile accepts nothing more. If there
    are several captures, the newest receives events. A capture is used once; its events remain.
    """

    def __init__(self) -> None:
        self._captured = Captured()
        self._collector = Collector(on_intake=lambda *came: self._captured.add(came[2]))
        self._why_not: Exception | None = None
        self._override: SinkOverride | None = None
        self._overlay: Overlay | None = None
        self._cleared = Stats()

    def start(self) -> Capture:
        """Start to receive events.

        Raises:
            RuntimeError: it was started before.
        """
        if self._override is not None:
            raise RuntimeError("a capture is used once; make another one")
        try:
            self._collector.start()
        except Exception as error:  # the test forbids sockets in some way
            self._why_not = error
        url = _NOWHERE if self._why_not else self._collector.url
        keys = (f"auth-{secrets.token_hex(8)}", f"api-{secrets.token_hex(8)}")
        self._override = SinkOverride(Destination(url, *keys), self._make_sink)
        values = (url, *keys, "yes", None, None, None)
        self._overlay = Overlay(dict(zip(VARIABLES, values, strict=True)))
        self._override.start()
        identify.forget()  # else the test would miss what an earlier one has logged
        return self

    def stop(self) -> None:
        """Restore everything; a second call does nothing."""
        overlay, self._overlay = self._overlay, None
        if overlay is None or self._override is None:
            return
        self._override.stop()
        identify.forget()  # what was captured is not delivered
        overlay.end()
        self._collector.stop()
        self._captured.events()  # for observers

    def _make_sink(self, is_forked: bool) -> Sink:
        if not is_forked:
            return CaptureSink(self._captured)
        assert self._override is not None
        to, settings = self._override.destination, _CHILD_SETTINGS
        transport = Transport(
            to, ca_certs=None, encoding=settings.compression, timeout=settings.timeout
        )
        return Delivery(to, transport, settings)

    def __enter__(self) -> Capture:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Capture events={len(self.events)} problems={len(self.problems)}>"

    @property
    def url(self) -> str:
        """Return the base URL of the endpoint for other programs, a value for FSLOG_ENDPOINT.

        Raises:
            RuntimeError: the capture was not started, or no socket could be opened.
        """
        if self._why_not is not None:
            raise RuntimeError("no socket could be opened for other programs") from self._why_not
        return self._collector.url

    @property
    def events(self) -> list[dict[str, Any]]:
        """Return the valid events in order of their log calls, or of arrival from other programs.

        The list is a copy; the events in it are not.
        """
        return self._captured.events()

    @property
    def problems(self) -> list[Finding]:
        """Return the errors of invalid events, which are not sent, each with its call site."""
        return [finding for finding in self._captured.findings() if not finding.is_warning]

    @property
    def warnings(self) -> list[Finding]:
        """Return the warnings of valid events, which are sent, each with its call site."""
        return [finding for finding in self._captured.findings() if finding.is_warning]

    @property
    def skipped(self) -> int:
        """Return how many records reached a handler of this process and were not events."""
        return self._numbers().skipped - self._cleared.skipped

    def clear(self) -> None:
        """Remove all events, problems, warnings and counts so far."""
        self._cleared = self._numbers()
        self._captured.clear()

    def matching(self, /, **properties: Any) -> list[dict[str, Any]]:
        """Return the events that have all these properties, and perhaps more.

        Args:
            properties: for each, a value that it equals, a compiled regular expression that is
                found in it, a class that it is an instance of, or a predicate.
        """
        return [event for event in self.events if is_meant(properties, event)]

    def assert_event(self, /, **properties: Any) -> dict[str, Any]:
        """Return the first event that has all these properties, see `matching`.

        Events of this thread are there at once. For those of another thread or process, and for
        records in a queue, use `wait_for`.

        Raises:
            AssertionError: there is none; the message shows the most similar events and how they
                differ, the invalid ones, and how many records were not events.
        """
        __tracebackhide__ = True
        found = self.matching(**properties)
        if not found:
            raise AssertionError(none_is_meant(properties, self._seen()))
        return found[0]

    def assert_no_event(self, /, **properties: Any) -> None:
        """Check that no event has all these properties, see `matching`.

        Raises:
            AssertionError: there is one; the message shows it.
        """
        __tracebackhide__ = True
        if self.matching(**properties):
            raise AssertionError(some_are_meant(properties, self._seen()))

    def assert_planned(
        self, plan: str | os.PathLike[str] | Mapping[str, Any] | None = None
    ) -> None:
        """Check that every event is as a tracking plan says, those of other processes included.

        Args:
            plan: the path of a plan, or a mapping; None: that of the handlers through which this
                process has logged, else `FSLOG_PLAN`.

        Raises:
            AssertionError: an event is not, or there is no plan; the message lists each problem.
            TypeError, ValueError: the plan cannot be read, or has a mistake.
        """
        __tracebackhide__ = True
        users = [] if self._override is None else self._override.users()
        plans = [Plan.read(plan)] if plan is not None else plans_of(users)
        if not plans:
            raise AssertionError(NO_PLAN)
        found = unplanned(plans, self.events, self._captured.findings())
        if found:
            raise AssertionError(described(found))

    def wait_for(
        self, n: int = 1, /, *, timeout: float = 10.0, **properties: Any
    ) -> list[dict[str, Any]]:
        """Wait for a number of events that have all these properties, and return them.

        It blocks its thread; beside an event loop, call it in another thread
        (`anyio.to_thread.run_sync(freshsuccess.wait_for, 3)`).

        Args:
            n: minimum number of events.
            timeout: maximum seconds to wait.
            properties: see `matching`; none for any event.

        Raises:
            TimeoutError: fewer events arrived; the message is that of `assert_event`.
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
    """Set environment variables until `end` restores them; overlays may end in any order.

    Args:
        values: by name; None: unset the variable.

    >>> overlay = Overlay({"FSLOG_EXAMPLE": "1"}); os.environ["FSLOG_EXAMPLE"]
    '1'
    >>> overlay.end(); "FSLOG_EXAMPLE" in os.environ
    False
    """

    def __init__(self, values: Mapping[str, str | None]) -> None:
        self._before: Mapping[str, str | None] = {name: os.environ.get(name) for name in values}
        _overlays.append(self)
        _set(values)

    def end(self) -> None:
        """Restore the previous values; if there is a newer overlay, it restores them at its end."""
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
