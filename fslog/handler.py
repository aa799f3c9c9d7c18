"""The logging handler: checks its arguments, makes lines of records, gives them to its sink.

It is a plain `logging.Handler`, so that `dictConfig` treats it the same on every Python. What it
owns in one process is one `Delivery`; a forked child makes its own.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from types import FrameType
from typing import Any, NoReturn

from fslog import capture, config, events, identify, process
from fslog.capture import Sink
from fslog.config import Settings
from fslog.context import current
from fslog.counters import Health, Stats
from fslog.delivery import notices, sigterm
from fslog.delivery.delivery import Delivery
from fslog.delivery.detached import Watch
from fslog.delivery.rejects import check_rejects, rejected_line
from fslog.delivery.tracking import Tracking
from fslog.errors import ExcludedEvent, InvalidEvent, LimitedEvent, Problem
from fslog.formatter import EventFormatter
from fslog.interrupts import unless_interrupt
from fslog.mapping.encoding import encode
from fslog.mapping.privacy import key_needed
from fslog.mapping.rates import RateLimit
from fslog.net import wire
from fslog.net.destination import Destination, destination
from fslog.net.redaction import Redactor, active_redactor, current_mark, internal_work, is_internal
from fslog.net.retry import MAX_BACKOFF
from fslog.net.transport import Transport, tls_context
from fslog.process import fork_flag
from fslog.spool.directory import spool_directory
from fslog.spool.writer import DiskStore
from fslog.types import (
    Compression,
    Datacenter,
    ExcludedIds,
    Extras,
    Names,
    Overflow,
    PresetRule,
    Redact,
    Rule,
    Session,
    SpoolFsync,
)


class _NotGiven:
    """The default of an argument that has the default of `EventFormatter`."""

    def __repr__(self) -> str:
        return "EventFormatter's"


_NOT_GIVEN: Any = _NotGiven()

_MAPPING = (
    *("fields", "rules", "defaults", "include", "exclude", "no_value", "nested", "session"),
    *("plan", "context_provider", "redact", "excluded", "extras"),
)

_numbers = itertools.count(1)
"""The numbers of this process's handlers, for `stats`."""

_calling: ContextVar[bool] = ContextVar("fslog.calling", default=False)
"""Whether this thread is inside `on_problem`."""


class FreshsuccessHandler(logging.Handler):
    """Turn log records into events and deliver them, without slowing or breaking a log call.

    The constructor checks every argument. From then on the handler reports problems to
    `on_problem`, in `stats()` and on the logger `fslog`, and never raises.

    Args:
        auth_key, api_key: the source's two keys; else `FSLOG_AUTH_KEY`, `FSLOG_API_KEY`.
        auth_key_file, api_key_file: files that contain them, instead; else `FSLOG_AUTH_KEY_FILE`,
            `FSLOG_API_KEY_FILE`. They are read again when the endpoint rejects the keys.
        datacenter: `"us"` or `"eu"`; else `FSLOG_DATACENTER`, else `"us"`.
        endpoint: base URL instead of the data center's; else `FSLOG_ENDPOINT`.
        level: as for any handler.
        compression: `"deflate"`, `"gzip"` or None.
        compression_level: zlib's, 1 to 9.
        batch_events: maximum number of events in a batch.
        batch_bytes: maximum size of a batch before compression; a longer event is invalid
            (`too_large`).
        flush_interval: maximum seconds that an event waits for others: on disk, or while a POST is
            under way; else it is posted at once, five times a second at most.
        aggregate: merge `feature` events of a batch that differ only in `createdAt`, by at most so
            many seconds, and in `total`, which is summed; an event waits as long for others.
        buffer_bytes: maximum size of the events in memory, as they are kept there: waiting
            batches are compressed.
        overflow: what happens beyond that: `"refuse"` the newest event, or `"block"` the log call.
        block_timeout: maximum seconds that a log call blocks.
        timeout: seconds for one request.
        max_backoff: maximum seconds between two attempts.
        shutdown_timeout: seconds for delivering the rest when the process ends.
        flush_on_sigterm: `"auto"`: also if SIGTERM ends it by its default action; False: not then.
        spool: a directory that keeps events until they are delivered; else `FSLOG_SPOOL`.
        spool_max_bytes: maximum size of the spool, of all processes together.
        spool_min_free: how much of the spool's file system has to stay free, in bytes or in percent
            of its size (`"5%"`); while less is, new events are refused. 0: no limit.
        spool_max_age: seconds after which what waits in the spool is quarantined instead of sent;
            None: never.
        spool_fsync: what is flushed to the disk itself: `"never"` (events survive the death of
            the process), each `"segment"` or each `"line"` (and of the machine).
        ca_certs: a PEM file or a directory of certificates instead of the system's.
        proxy: URL; `""` for none; else the usual environment variables, read once, now.
        enabled: False: accept nothing and start nothing; True: without keys, raise ValueError;
            `"auto"`: True if both keys are set, False if neither is, which a WARNING on the logger
            `fslog` reports once per process; else `FSLOG_ENABLED`, else `"auto"`.
        max_per_second: how many events of each action and feature are sent in a second at most;
            those beyond are counted as `limited`.
        on_problem: called with a `Problem` in the thread of the log call.
        rejects: a file to which invalid events are written, to be corrected and sent with
            `fslog send`.
        track_time: True: derive `sessionSync` and `moduleEnd` from the events of this process.
        idle_after: the longest gap between two events, in seconds, that counts as time.
        time_properties: action → the property of its milliseconds, if it is not `activeDuration`
            of a `sessionSync` and `timeSpent` of a `moduleEnd`.
        fields, rules, defaults, include, exclude, no_value, nested, session, context_provider,
            plan, redact, excluded, extras: see `EventFormatter`; not together with `setFormatter`.

    Raises:
        TypeError, ValueError: an argument of the wrong type or value, named in the message.
    """

    takes_events = True

    def __init__(
        self,
        *,
        auth_key: str | None = None,
        api_key: str | None = None,
        auth_key_file: str | os.PathLike[str] | None = None,
        api_key_file: str | os.PathLike[str] | None = None,
        datacenter: Datacenter | None = None,
        endpoint: str | None = None,
        level: int | str = logging.NOTSET,
        compression: Compression | None = wire.ENCODING,
        compression_level: int = wire.LEVEL,
        batch_events: int = 5_000,
        batch_bytes: int = 1_048_576,
        flush_interval: float = 5.0,
        aggregate: float | None = None,
        buffer_bytes: int = 67_108_864,
        overflow: Overflow = "refuse",
        block_timeout: float = 10.0,
        timeout: float = 10.0,
        max_backoff: float = MAX_BACKOFF,
        shutdown_timeout: float = 5.0,
        flush_on_sigterm: bool | str = config.AUTO,
        spool: str | os.PathLike[str] | None = None,
        spool_max_bytes: int = 1_073_741_824,
        spool_min_free: int | str = "5%",
        spool_max_age: float | None = None,
        spool_fsync: SpoolFsync = "never",
        ca_certs: str | None = None,
        proxy: str | None = None,
        enabled: bool | str | None = None,
        max_per_second: float | None = None,
        on_problem: Callable[[Problem], None] | None = None,
        rejects: str | os.PathLike[str] | None = None,
        track_time: bool = False,
        idle_after: float = config.IDLE_SECONDS,
        time_properties: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = _NOT_GIVEN,
        rules: Sequence[Rule | PresetRule] | None = _NOT_GIVEN,
        defaults: Mapping[str, Any] | None = _NOT_GIVEN,
        include: Names | None = _NOT_GIVEN,
        exclude: Names | None = _NOT_GIVEN,
        no_value: Names | None = _NOT_GIVEN,
        nested: Names | None = _NOT_GIVEN,
        session: Session = _NOT_GIVEN,
        context_provider: Callable[[], Mapping[str, Any] | None] | None = _NOT_GIVEN,
        plan: str | os.PathLike[str] | Mapping[str, Any] | None = _NOT_GIVEN,
        redact: Mapping[str, Redact] | None = _NOT_GIVEN,
        excluded: ExcludedIds | Callable[[Mapping[str, Any]], bool] | None = _NOT_GIVEN,
        extras: Extras = _NOT_GIVEN,
        **unknown: NoReturn,
    ) -> None:
        given = locals()
        config.reject_unknown("FreshsuccessHandler", unknown, given)
        mapping = {name: given[name] for name in _MAPPING if given[name] is not _NOT_GIVEN}
        checked = (*Settings.__annotations__, "overflow")  # not the keys
        settings = Settings.checked(**{name: given[name] for name in checked})
        # A handler created during a capture belongs to it: it never uses its own endpoint, and
        # accepts nothing after the capture has ended. So does one of a pytest run.
        is_captured = capture.is_off() or capture.override() is not None
        self._destination = destination(
            auth_key=auth_key,
            api_key=api_key,
            auth_key_file=auth_key_file,
            api_key_file=api_key_file,
            datacenter=datacenter,
            endpoint=endpoint,
            proxy="" if is_captured else proxy,
            needs_keys=False if is_captured else settings.enabled,
            environ=os.environ,
            log=notices.log,
        )
        self._spool = spool_directory(spool, self._destination, os.environ)
        is_enabled = settings.enabled
        if is_enabled is None:
            is_enabled = self._destination.has_keys()
        self._uses_own = is_enabled and not is_captured
        # Made now, not in the listener's thread: a fork amid the making would leave a lock of
        # OpenSSL locked in the child. And if the certificates cannot be used, it raises now.
        self._tls = tls_context(settings.ca_certs)
        with key_needed(self._uses_own):
            formatter = EventFormatter(**mapping)
        _check_times(formatter, settings)
        self._is_mapped = bool(mapping)
        if self._uses_own:
            check_rejects(settings.rejects, self._destination.redact)
        if self._uses_own and self._spool is not None:
            self._spool.check()
        self._settings = settings
        self._number = next(_numbers)
        self._enabled = is_enabled
        self._batch_bytes = settings.batch_bytes
        self._watch = Watch()
        self._time_property = settings.time_properties["moduleEnd"]
        self._is_time_renamed = self._time_property != config.TIME_PROPERTIES["moduleEnd"]
        # Whether some option needs each event as a dict, so that no encoder is compiled.
        is_limited = settings.max_per_second is not None
        self._sees_events = settings.track_time or self._is_time_renamed or is_limited
        self._rate: RateLimit | None = None
        self._tracking: Tracking | None = None
        self._end_tracking: Any = None
        super().__init__(settings.level)
        self.formatter: EventFormatter = formatter
        self._deliveries: dict[int, Delivery] = {}
        self._fork_flag = fork_flag()
        self._own: Delivery
        self._sink: Sink
        self._retire: Any = None
        self._current()
        process.register(self)
        self._choose_sink()  # another thread may have started a capture before the registration
        if self._uses_own:
            weakref.finalize(self, self._watch.died).atexit = False
            self._own.begin()
        elif settings.enabled is None and not is_captured:
            self._report_missing_keys()

    def _report_missing_keys(self) -> None:
        spool = self._spool
        waiting = spool.path if spool is not None and spool.has_segments() else ""
        with internal_work(self._destination.redact):
            notices.off_without_keys(waiting)

    def set_name(self, name: str | None) -> None:
        """Set the handler's name, as `dictConfig` does."""
        self._name_by(name, sys._getframe().f_back)

    @property
    def name(self) -> str | None:
        """The handler's name: that of its section in `dictConfig`."""
        return self.get_name()

    @name.setter
    def name(self, name: str | None) -> None:
        self._name_by(name, sys._getframe().f_back)

    def _name_by(self, name: str | None, caller: FrameType | None) -> None:
        super().set_name(name)  # type: ignore[arg-type]
        self._watch.named(self, name or "", caller)

    def setFormatter(self, fmt: logging.Formatter | None) -> None:
        """Use another `EventFormatter`.

        Raises:
            ValueError: it is not one, redacts a time that the handler makes, or the handler has
                mapping arguments of its own.
        """
        if not isinstance(fmt, EventFormatter):
            raise ValueError(
                f"the formatter is of type {type(fmt).__name__}; a FreshsuccessHandler needs an "
                "fslog.EventFormatter, or fields, rules, defaults... of its own and no formatter"
            )
        if self._is_mapped:
            raise ValueError(
                f"{', '.join(_MAPPING[:-1])} and {_MAPPING[-1]} are given "
                "to both the handler and a formatter; give them to one of the two"
            )
        _check_times(fmt, self._settings)
        super().setFormatter(fmt)
        self._use_formatter()

    def _use_formatter(self) -> None:
        formatter = self.formatter
        is_own = type(formatter).event is not EventFormatter.event
        event = formatter.event if is_own else formatter.allowed_event
        self._event = event if self._rate is None else self._rate.checked(event)
        self._warnings = self.formatter.warnings
        # A subclass that overrides emit() sees every record, so it gets no fast path.
        is_plain = self._enabled and type(self).emit is FreshsuccessHandler.emit
        fast_line = formatter.fast_skip if self._sees_events else formatter.fast_line
        self._fast_line = fast_line if is_plain else None
        if self._enabled:
            redact = self._destination.redact
            self.formatter.rules.report = partial(_log_warning, weakref.ref(self), redact)

    def handle(self, record: logging.LogRecord) -> Any:
        """Filter a record and emit it, without holding the handler's lock.

        Formatting needs no lock, and holding one while methods of the application's values run
        invites deadlocks; shared state has locks of its own.
        """
        line = None
        if self.filters:
            kept: Any = self.filter(record)
            if not kept:
                return kept
            if isinstance(kept, logging.LogRecord):  # from Python 3.12 on it may be another one
                record = kept
        elif (fast_line := self._fast_line) is not None and current_mark() is None:
            line = fast_line(record)
        if line is None:
            self.emit(record)
            return True
        sink = self._sink if self._fork_flag[0] else self._current()
        if not line:
            sink.skipped.add()
        elif len(line) > self._batch_bytes:
            self.emit(record)
        elif not sink.append(line) and not sink.submit(line):
            self._refuse(sink, record, json.loads(line))
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Submit the line of the record's event; never raise, never wait for the network."""
        if not self._enabled or (
            active_redactor() is not None and is_internal(record.__dict__.get("name"))
        ):
            return
        sink = self._current()
        try:
            event = self._event(record)
            if event is None:
                sink.skipped.add()
                return
            warnings = self._warnings(event)
            if self._is_time_renamed and record.name == events.LOGGER:
                self._rename_time(event)
            line = encode(event)
        except ExcludedEvent:
            sink.excluded.add()
        except LimitedEvent as error:
            sink.limited.add()
            if record.name == events.LOGGER:  # its details are sent with a later call
                identify.not_sent(record)
            self._report(sink, record, (error.problem,))
        except InvalidEvent as error:
            self._reject(sink, record, error.problems)
        except unless_interrupt(Exception) as error:
            # An error of fslog, or of a subclass of EventFormatter.
            message = f"the event could not be made: {type(error).__name__}"
            self._reject(sink, record, (Problem("failed", "", message),))
            self.handleError(record)
        else:
            self._submit(sink, record, event, line, warnings)
            if self._tracking is not None:
                self._observe(self._tracking, record, event)

    def _rename_time(self, event: dict[str, Any]) -> None:
        """Give the time of a block of `context.module` the name that is configured."""
        name = config.TIME_PROPERTIES["moduleEnd"]
        if event.get("action") == "moduleEnd" and name in event:
            event[self._time_property] = event.pop(name)

    def _observe(self, tracking: Tracking, record: logging.LogRecord, event: Any) -> None:
        try:
            tracking.observe(event)
        except unless_interrupt(Exception):  # an error of fslog, or of a subclass
            self.handleError(record)

    def _submit(
        self, sink: Sink, record: logging.LogRecord, event: Any, line: bytes, warnings: Any
    ) -> None:
        if len(line) > self._batch_bytes:
            message = f"the event has {len(line)} bytes; batch_bytes allows {self._batch_bytes}"
            self._reject(sink, record, (Problem("too_large", "", message, event),))
        elif not sink.submit(line):
            self._refuse(sink, record, event)
        elif not (warnings or self._sees_events):
            self._compile(sink, record, event)
        if warnings:
            self._report(sink, record, warnings)

    def _reject(self, sink: Sink, record: logging.LogRecord, problems: Any) -> None:
        sink.reject()
        if self._settings.rejects is not None:
            self._keep_rejected(sink, record, problems)
        self._report(sink, record, problems)

    def _keep_rejected(self, sink: Sink, record: logging.LogRecord, problems: Any) -> None:
        derives_session = self.formatter.derives_session
        try:
            sink.keep_rejected(rejected_line(record, problems, derives_session=derives_session))
        except unless_interrupt(Exception):  # a record made by hand
            self.handleError(record)

    def _refuse(self, sink: Sink, record: logging.LogRecord, event: Any) -> None:
        message = f"there is no room: {sink.shortage()}"
        self._call_on_problem(record, Problem("refused", "", message, event))

    def _compile(self, sink: Sink, record: logging.LogRecord, event: Any) -> None:
        """Make the listener compile an encoder for records like this one."""
        try:
            compile_encoder = self.formatter.encoders.observe(
                record, current(), event.get("action")
            )
            if compile_encoder is not None:
                sink.run_on_listener(compile_encoder)
        except unless_interrupt(Exception):
            # A record made by hand, or one that another thread changes.
            return

    def _report(self, sink: Sink, record: logging.LogRecord, problems: Any) -> None:
        for problem in problems:
            sink.report_problem(problem, record)
            self._call_on_problem(record, problem)

    def _call_on_problem(self, record: logging.LogRecord, problem: Problem) -> None:
        # Problems of events that `on_problem` itself logs would recurse without end.
        on_problem = self._settings.on_problem
        if on_problem is None or _calling.get():
            return
        try:
            _calling.set(True)  # inside: a signal handler may raise right after it
            on_problem(problem)
        except unless_interrupt(Exception):
            self.handleError(record)
        finally:
            _calling.set(False)

    def flush(self, timeout: float | None = None) -> bool:  # type: ignore[override]
        """Try to deliver now, without waiting for the time of the next attempt.

        Args:
            timeout: maximum seconds to wait; None means `shutdown_timeout`.

        Returns:
            Whether all events that were pending at the call are settled. False at once while the
            caller holds logging's module lock, as `dictConfig` does, if some are pending.
        """
        sink = self._in_use()
        if self._tracking is not None:
            self._tracking.sync()
        return sink is None or sink.flush(timeout)

    def close(self) -> None:
        """Deliver pending events within `shutdown_timeout`; the handler may be used again."""
        if self._uses_own:
            self._watch.closing(self)
        super().close()
        if (sink := self._in_use()) is not None:
            if self._tracking is not None:
                self._tracking.finish()
            sink.close()

    def stats(self) -> Stats:
        """Return the numbers of this process, see `Stats`."""
        return (self._in_use() or self._own).stats()

    def health(self) -> Health:
        """Return whether events arrive, and if not, why and since when, see `Health`.

        Quick enough for a probe: it waits for no lock, thread or network. With a spool it looks
        into the directory, every 5 seconds at most.
        """
        sink = self._in_use()
        if sink is not None:
            return sink.health()
        why = "it is switched off for a test"
        if self._settings.enabled is False:
            why = "enabled, or FSLOG_ENABLED, is no"
        elif self._settings.enabled is None and not self._destination.has_keys():
            why = "FSLOG_AUTH_KEY and FSLOG_API_KEY are not set"
        return Health(reasons=(f"the handler is off and accepts no events: {why}",), enabled=False)

    def ping(self) -> float:
        """Return how many seconds the endpoint took to answer a ping.

        Raises:
            ConnectionError: no answer, or another status than 200; the message says why.
        """
        override = capture.override()
        to = override.destination if override else self._destination
        with contextlib.closing(self._transport(to)) as transport:
            return transport.ping()

    def after_fork(self) -> None:
        """Make a new `Delivery` in a forked child: the parent delivers its own events."""
        # Unless the child has one: another hook may have logged already.
        self._current()

    def end_soon(self) -> None:
        """Deliver every later event at once: the process ends."""
        sink = self._current()
        if self._tracking is not None:
            self._tracking.finish()
        sink.end_soon()
        self._own.end_soon()

    def after_fork_in_parent(self) -> None:
        """Watch for orphans: a child may end by `os._exit`, or be killed."""
        if self._enabled:
            self._current().watch()

    def reroute(self) -> None:
        """Choose the sink again: an override has started or stopped, see `fslog.capture`."""
        self._current()
        self._choose_sink()

    def _choose_sink(self) -> None:
        while True:
            override, is_off = capture.override(), capture.is_off()
            uses_own = self._uses_own and not is_off
            if override is not None:
                self._sink = override.sink(self)
            # If it may not use its own sink, it keeps the override's: a log call that is in
            # progress must not reach the handler's own endpoint.
            elif uses_own or not self._fork_flag[0]:
                self._sink = self._own
            self._enabled = uses_own or override is not None
            self._use_formatter()
            if self._settings.track_time:
                self._track()
            if capture.override() is override and capture.is_off() == is_off:
                return

    def _track(self) -> None:
        """Derive times for the sink in use; what another one's events have begun ends there."""
        before = self._tracking
        if before is not None:
            if before.sink is self._sink:
                return
            self._end_tracking.detach()
        self._tracking = Tracking(
            self._sink,
            idle_after=self._settings.idle_after,
            properties=self._settings.time_properties,
        )
        # Called before the delivery's: the newest finalizer is the first.
        self._end_tracking = weakref.finalize(self, self._tracking.finish)
        self._end_tracking.atexit = False
        if before is not None:
            before.finish()

    def _in_use(self) -> Sink | None:
        """Return the sink that accepts records, or did before it was switched off."""
        sink = self._current()
        if self._enabled:
            return sink
        return self._own if self._uses_own else None

    def _current(self) -> Sink:
        # By a flag: not every fork runs Python's hooks (uWSGI's does not by default).
        return self._sink if self._fork_flag[0] else self._begin(os.getpid())

    def _begin(self, pid: int) -> Sink:
        is_forked = bool(self._deliveries)
        transport = self._transport(self._destination)
        made = Delivery(
            self._destination,
            transport,
            self._settings,
            store=None if self._spool is None else DiskStore.of(self._spool, self._settings),
            is_forked=is_forked,
        )
        # setdefault is atomic: if several threads are here at once, one wins.
        delivery = self._deliveries.setdefault(pid, made)
        if delivery is made and self._settings.max_per_second is not None:
            self._rate = RateLimit(self._settings.max_per_second)
        for other in self._deliveries.keys() - {pid}:
            parents = self._deliveries.pop(other, None)
            if parents is not None:
                parents.close_inherited()
        if self._retire is not None:
            self._retire.detach()  # of the parent's delivery
        self._retire = weakref.finalize(self, delivery.retire)
        self._retire.atexit = False
        self._own = delivery
        if self._uses_own and self._settings.flush_on_sigterm:
            sigterm.watch()
            server = process.uwsgi()
            if server is not None and process.skips_atexit(server):
                with contextlib.suppress(ImportError):  # of `ctypes`
                    from fslog.delivery import uwsgi

                    uwsgi.watch(server, self._settings.shutdown_timeout)
        self._choose_sink()
        self._fork_flag[0] = 1
        return self._sink

    def _transport(self, destination: Destination) -> Transport:
        return Transport(
            destination,
            ca_certs=self._settings.ca_certs,
            encoding=self._settings.compression,
            timeout=self._settings.timeout,
            tls=self._tls,
        )


def _check_times(formatter: EventFormatter, settings: Settings) -> None:
    """Raise `ValueError` if a time is redacted that is made after the redaction."""
    for action, name in settings.time_properties.items():
        is_made = settings.track_time or name != config.TIME_PROPERTIES[action]
        became = formatter.redact.get(name, "keep")
        if is_made and became != "keep":
            raise ValueError(
                f"redact.{name} is {became!r}, but {name} is the time in {action} events (by "
                "track_time or time_properties); expected 'keep', or no such time"
            )


def _log_warning(handler: weakref.ref[FreshsuccessHandler], redact: Redactor, text: str) -> None:
    """Log a warning about a handler's configuration; never raise."""

    def log() -> None:
        # A test's sink calls it in the thread of the log call.
        with internal_work(redact):
            notices.log(logging.WARNING, text)

    found = handler()
    try:
        if found is None:  # another handler uses the same formatter
            log()
        else:
            found._current().run_on_listener(log)
    except unless_interrupt(Exception):  # no thread can be started
        return


def flush(timeout: float | None = None) -> bool:
    """Flush every live handler of this process, with one deadline for all.

    Args:
        timeout: the most seconds to wait; None: each handler's `shutdown_timeout`.

    Returns:
        Whether everything that was pending at the call has been delivered.
    """
    flushed = process.handlers()
    for handler in flushed:
        handler.flush(0.0)  # begin everywhere before waiting anywhere
    deadline_at = None if timeout is None else time.monotonic() + timeout
    done = [
        handler.flush(None if deadline_at is None else max(0.0, deadline_at - time.monotonic()))
        for handler in flushed
    ]
    return all(done)


async def aflush(timeout: float | None = None) -> bool:
    """Flush every live handler of this process as `flush` does, without blocking the event loop.

    A thread does the waiting. If the call is cancelled, so is the waiting, but not the delivery.

    Args:
        timeout: maximum seconds to wait; None: each handler's `shutdown_timeout`.

    Returns:
        Whether everything that was pending at the call is settled.

    Raises:
        RuntimeError: no event loop of asyncio is running, or no thread can be started.
    """
    import asyncio
    from concurrent.futures import Future

    loop = asyncio.get_running_loop()
    flushed: Future[bool] = Future()
    flushed.set_running_or_notify_cancel()

    def work() -> None:
        try:
            flushed.set_result(flush(timeout))
        except BaseException as error:
            flushed.set_exception(error)

    # Not one of the loop's own threads: those may all be busy, and the loop's end waits for them.
    is_daemon = not process.IN_SUBINTERPRETER
    threading.Thread(target=work, name="fslog aflush", daemon=is_daemon).start()
    return await asyncio.wrap_future(flushed, loop=loop)


def stats() -> dict[str, Stats]:
    """Return the numbers of every live handler of this process, by the handler's name.

    The name is that of `dictConfig`. If several handlers have the same one, it stands for the
    newest, as in `logging.getHandlerByName`. The others, and handlers without a name, have a number
    added, which is theirs in the order of creation: `usage-1`, `FreshsuccessHandler-2`.

    Returns:
        The oldest handler's first. Events of a handler that no longer exists are not counted.
    """
    return {name: handler.stats() for name, handler in _by_name().items()}


def health() -> Health:
    """Return whether the events of every live handler of this process arrive.

    Returns:
        The worst of them; its `handlers` has those of each, by the names of `stats`.
    """
    return Health.of_all({name: handler.health() for name, handler in _by_name().items()})


def _by_name() -> dict[str, FreshsuccessHandler]:
    found: dict[str, FreshsuccessHandler] = {}
    for handler in sorted(process.handlers(), key=lambda one: -int(one._number)):
        name = str(handler.name or "")
        if not name or name in found:
            name = f"{name or type(handler).__name__}-{handler._number}"
        while name in found:
            name = f"{name}-{handler._number}"
        found[name] = handler
    return dict(reversed(found.items()))
