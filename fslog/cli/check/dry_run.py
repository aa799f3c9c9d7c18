"""The handlers that produce events, created without their effects.

During a dry run, every `FreshsuccessHandler` is created disabled, also by code of the application:
its arguments are checked, and it has no spool, thread or connection. `dictConfig` and `fileConfig`
do nothing: an imported module may configure logging, which would open files.

The standard library's own `DictConfigurator` creates fslog's handlers, so that an error in their
arguments reads as it does in the application.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import logging.config
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fslog import EventFormatter, FreshsuccessHandler
from fslog.cli.check.configuration import Configuration, HandlerConfig, makes
from fslog.cli.check.routing import Routing
from fslog.config import enabled_state, flag
from fslog.delivery import notices
from fslog.mapping.privacy import key_needed
from fslog.mapping.rules import Rule
from fslog.net.destination import Destination, destination
from fslog.plan.plan import Plan
from fslog.spool.directory import SpoolDirectory, spool_directory

KEYS = {"auth_key": "FSLOG_AUTH_KEY", "api_key": "FSLOG_API_KEY"}
"""The arguments that hold keys, and the corresponding environment variables."""

_BY_CLASS = frozenset({"class", "format", "datefmt", "style", "validate", "defaults"})
"""What dictConfig reads of a formatter that is configured with `class`."""

_BATCH_BYTES = inspect.signature(FreshsuccessHandler).parameters["batch_bytes"].default

ArgumentsOf = Callable[[Any], dict[str, Any]]
"""Return the arguments of a handler or a formatter that a dry run has created; else none."""


@contextlib.contextmanager
def dry_run(plan: Plan | None = None) -> Iterator[ArgumentsOf]:
    """Disable handlers, and the functions that configure logging, until the block ends.

    This changes shared classes, so no other thread may use them meanwhile.

    Args:
        plan: of all formatters; None for their own.

    >>> with dry_run() as arguments_of:
    ...     handler = FreshsuccessHandler(batch_events=7, session="none")
    >>> arguments_of(handler)
    {'batch_events': 7, 'session': 'none'}
    """
    made: list[tuple[Any, dict[str, Any]]] = []

    def remembering(original: Any, **forced: Any) -> Any:
        @functools.wraps(original)
        def init(self: Any, *positional: Any, **given: Any) -> None:
            if "enabled" in forced:
                enabled_state(given.get("enabled"))  # raises what the handler would
            original(self, *positional, **{**given, **forced})
            made.append((self, given))

        return init

    planned = {} if plan is None else {"plan": plan}
    handler_init, formatter_init = FreshsuccessHandler.__init__, EventFormatter.__init__
    replacements: list[tuple[Any, str, Any]] = [
        (FreshsuccessHandler, "__init__", remembering(handler_init, enabled=False)),
        (EventFormatter, "__init__", remembering(formatter_init, **planned)),
        (logging.config, "dictConfig", lambda *given, **named: None),
        (logging.config, "fileConfig", lambda *given, **named: None),
    ]
    with contextlib.ExitStack() as stack:
        stack.enter_context(key_needed(False))  # who checks a configuration may not have the key
        for owner, name, replacement in replacements:
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, replacement)
        yield lambda one: next((given for other, given in made if other is one), {})


@dataclass
class EventHandlerInfo:
    """A handler that produces events: one of fslog's, or another with an `EventFormatter`.

    Args:
        arguments, mapping: those of the handler, and those of its formatter.
        formatter: creates the events; None if it, or the handler, could not be created.
        enabled: whether it accepts records in this environment.
        is_auto: whether that depends on its keys.
        destination: where it would post; None if unknown, or if it does not post.
        spool: its spool directory, if any.
    """

    part: HandlerConfig
    routing: Routing
    arguments: Mapping[str, Any] = field(default_factory=dict)
    formatter: EventFormatter | None = None
    mapping: Mapping[str, Any] = field(default_factory=dict)
    enabled: bool = True
    is_auto: bool = False
    destination: Destination | None = None
    spool: SpoolDirectory | None = None

    @property
    def name(self) -> str:
        """The handler's name in the configuration."""
        return self.part.name

    @property
    def where(self) -> str:
        """Its place in the configuration, for diagnostics."""
        return f"handlers.{self.name}"

    @property
    def rules(self) -> list[Rule]:
        """The rules of its formatter; none without one."""
        return [] if self.formatter is None else list(self.formatter.rules)

    @property
    def options(self) -> dict[str, Any]:
        """What changes which events there are, if it is on; the arguments are valid."""
        given = {name: self.arguments.get(name) for name in ("aggregate", "max_per_second")}
        found = {name: value for name, value in given.items() if value is not None}
        if self.part.posts and flag("track_time", self.arguments.get("track_time", False)):
            found["track_time"] = True
        return found

    @property
    def batch_bytes(self) -> int | None:
        """How long a line may be; None for no limit."""
        return self.arguments.get("batch_bytes", _BATCH_BYTES) if self.part.posts else None


def event_handlers(config: Configuration, arguments_of: ArgumentsOf) -> list[EventHandlerInfo]:
    """Create the handlers that produce events, in a dry run; their errors become diagnostics."""
    for name in filter(config.is_event_filter, config.filters):
        with _reported(config, f"filters.{name}"):
            configurator = config.configurator()
            configurator.configure_filter(configurator.config["filters"][name])
    found = []
    for name, part in config.handlers.items():
        if not (part.posts or config.writes_events(part)):
            continue
        info = EventHandlerInfo(part, Routing(config, name))
        found.append(info)
        if part.posts:
            _create_posting(config, info, arguments_of)
            continue
        with _reported(config, f"formatters.{part.formatter}"):
            info.formatter = _formatter(config, part.formatter or "")
            info.mapping = arguments_of(info.formatter)
    return found


@contextlib.contextmanager
def _reported(config: Configuration, where: str) -> Iterator[None]:
    """Report what the block raises, which may be anything: it calls the application's code."""
    try:
        yield
    except Exception as error:
        text = str(error)
        if not (isinstance(error, (TypeError, ValueError)) and text):
            text = f"{type(error).__name__}: {text}" if text else type(error).__name__
        config.error(where, text)


def _create_posting(
    config: Configuration, info: EventHandlerInfo, arguments_of: ArgumentsOf
) -> None:
    section = config.given["handlers"].get(info.name)
    if isinstance(section, Mapping):  # where its keys are is reported even if it is invalid
        names = [*KEYS, *(f"{name}_file" for name in KEYS)]
        info.arguments = {name: section[name] for name in names if name in section}
    handler: Any = None
    with _reported(config, info.where):
        handler = _handler(config, info.name)
    if handler is None:
        return
    info.arguments = arguments_of(handler)
    with _reported(config, info.where):
        if info.part.formatter is not None:
            handler.setFormatter(_formatter(config, info.part.formatter))
    info.formatter = handler.formatter
    info.mapping = arguments_of(handler.formatter)
    _find_destination(config, info)


def _handler(config: Configuration, name: str) -> FreshsuccessHandler:
    configurator = config.configurator()
    section = configurator.config["handlers"][name]
    for later in ("formatter", "filters"):
        section.pop(later, None)
    handler = configurator.configure_handler(section)
    if not isinstance(handler, FreshsuccessHandler):
        raise TypeError(
            f"the factory returned a {type(handler).__name__}, not a FreshsuccessHandler"
        )
    return handler


def _find_destination(config: Configuration, info: EventHandlerInfo) -> None:
    names = [*KEYS, *(f"{name}_file" for name in KEYS), "datacenter", "endpoint", "proxy"]
    given = {name: info.arguments.get(name) for name in names}
    state = enabled_state(info.arguments.get("enabled"))
    info.enabled, info.is_auto = state is not False, state is None
    for needs_keys in (state, False):
        try:
            info.destination = to = destination(
                **given, needs_keys=needs_keys, environ=os.environ, log=notices.log
            )
            info.enabled = info.enabled and (needs_keys is not None or to.has_keys())
            break
        except (TypeError, ValueError) as error:
            config.error(info.where, f"{error}; FSLOG_ENABLED=no disables fslog, also without keys")
    if info.destination is not None:
        info.spool = spool_directory(info.arguments.get("spool"), info.destination, os.environ)


def _formatter(config: Configuration, name: str) -> Any:
    """Create a formatter if it is fslog's; any other is left empty, for the handler to refuse."""
    factory = config.factory("formatters", name)
    if not makes(factory, EventFormatter):
        kind = factory if isinstance(factory, type) else logging.Formatter
        return object.__new__(kind)
    section = config.formatters[name]
    ignored = ", ".join(sorted(map(str, set(section) - _BY_CLASS)))
    if "()" not in section and ignored:
        message = f"dictConfig ignores {ignored} next to 'class'; write '()' instead of 'class'"
        config.error(f"formatters.{name}", message)
    configurator = config.configurator()
    return configurator.configure_formatter(configurator.config["formatters"][name])
