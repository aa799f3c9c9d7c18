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
from fslog.config import is_enabled
from fslog.delivery import notices
from fslog.net.destination import Destination, destination
from fslog.spool.directory import SpoolDirectory, spool_directory

KEYS = {"auth_key": "FSLOG_AUTH_KEY", "api_key": "FSLOG_API_KEY"}
"""The arguments that hold keys, and the corresponding environment variables."""

_BY_CLASS = frozenset({"class", "format", "datefmt", "style", "validate", "defaults"})
"""What dictConfig reads of a formatter that is configured with `class`."""

_BATCH_BYTES = inspect.signature(FreshsuccessHandler).parameters["batch_bytes"].default


class DryRun:
    """Remember the arguments with which handlers and formatters were created."""

    def __init__(self) -> None:
        self._given: list[tuple[Any, dict[str, Any]]] = []

    def remember(self, made: Any, given: dict[str, Any]) -> None:
        """Remember the arguments of one object."""
        self._given.append((made, given))

    def arguments_of(self, made: Any) -> dict[str, Any]:
        """Return the arguments of a handler or a formatter; empty if unknown."""
        return next((given for one, given in self._given if one is made), {})


@contextlib.contextmanager
def dry_run() -> Iterator[DryRun]:
    """Disable handlers, and the functions that configure logging, until the block ends.

    This changes shared classes, so no other thread may use them meanwhile.

    >>> with dry_run() as run:
    ...     handler = FreshsuccessHandler(batch_events=7, session="none")
    >>> run.arguments_of(handler)
    {'batch_events': 7, 'session': 'none'}
    """
    run = DryRun()
    with contextlib.ExitStack() as stack:
        _replace(stack, FreshsuccessHandler, "__init__", functools.partial(_disabled, run))
        _replace(stack, EventFormatter, "__init__", functools.partial(_remembered, run))
        for name in ("dictConfig", "fileConfig"):
            _replace(stack, logging.config, name, lambda original: _do_nothing)
        yield run


def _replace(
    stack: contextlib.ExitStack, owner: Any, name: str, wrap: Callable[[Any], Any]
) -> None:
    original = getattr(owner, name)
    setattr(owner, name, wrap(original))
    stack.callback(setattr, owner, name, original)


def _disabled(run: DryRun, original: Any) -> Any:
    @functools.wraps(original)
    def init(self: Any, *positional: Any, **given: Any) -> None:
        is_enabled(given.get("enabled"))  # raises what the handler would
        original(self, *positional, **{**given, "enabled": False})
        run.remember(self, given)

    return init


def _remembered(run: DryRun, original: Any) -> Any:
    @functools.wraps(original)
    def init(self: Any, *positional: Any, **given: Any) -> None:
        original(self, *positional, **given)
        run.remember(self, given)

    return init


def _do_nothing(*given: Any, **named: Any) -> None:
    """Replace `dictConfig` and `fileConfig`."""


@dataclass
class EventHandlerInfo:
    """A handler that produces events: one of fslog's, or another with an `EventFormatter`.

    Args:
        part: its configuration.
        routing: how records reach it.
        arguments: of the handler.
        formatter: creates the events; None if it, or the handler, could not be created.
        mapping: the arguments of the formatter.
        enabled: whether it accepts records in this environment.
        destination: where it would post; None if unknown, or if it does not post.
        spool: its spool directory, if any.
    """

    part: HandlerConfig
    routing: Routing
    arguments: Mapping[str, Any] = field(default_factory=dict)
    formatter: EventFormatter | None = None
    mapping: Mapping[str, Any] = field(default_factory=dict)
    enabled: bool = True
    destination: Destination | None = None
    spool: SpoolDirectory | None = None

    @property
    def name(self) -> str:
        """The handler's name in the configuration."""
        return self.part.name

    @property
    def posts(self) -> bool:
        """Whether it posts events; if not, it writes them as lines."""
        return self.part.posts

    @property
    def where(self) -> str:
        """Its place in the configuration, for diagnostics."""
        return f"handlers.{self.name}"

    @property
    def batch_bytes(self) -> int | None:
        """How long a line may be; None for no limit."""
        return self.arguments.get("batch_bytes", _BATCH_BYTES) if self.posts else None


def event_handlers(config: Configuration, run: DryRun) -> list[EventHandlerInfo]:
    """Create the handlers that produce events; their errors become diagnostics.

    Args:
        config: the configuration.
        run: the dry run in which this is called.
    """
    _try_filters(config)
    found = []
    for part in config.handlers.values():
        if part.posts or config.writes_events(part):
            info = EventHandlerInfo(part, Routing(config, part.name))
            (_create_posting if part.posts else _create_writing)(config, info, run)
            found.append(info)
    return found


def _create_posting(config: Configuration, info: EventHandlerInfo, run: DryRun) -> None:
    section = config.given["handlers"].get(info.name)
    if isinstance(section, Mapping):  # where its keys are is reported even if it is invalid
        info.arguments = {name: section[name] for name in KEYS if name in section}
    try:
        configurator = config.configurator()
        section = configurator.config["handlers"][info.name]
        for later in ("formatter", "filters"):
            section.pop(later, None)
        handler = configurator.configure_handler(section)
    except Exception as error:  # also what a subclass or a factory raises
        config.error(info.where, _text(error))
        return
    if not isinstance(handler, FreshsuccessHandler):
        kind = type(handler).__name__
        config.error(info.where, f"the factory returned a {kind}, not a FreshsuccessHandler")
        return
    info.arguments = run.arguments_of(handler)
    info.enabled = is_enabled(info.arguments.get("enabled"))
    try:
        if info.part.formatter is not None:
            handler.setFormatter(_formatter(config, info.part.formatter))
    except Exception as error:
        config.error(info.where, _text(error))
    info.formatter = handler.formatter
    info.mapping = run.arguments_of(handler.formatter)
    _find_destination(config, info)


def _find_destination(config: Configuration, info: EventHandlerInfo) -> None:
    names = ("auth_key", "api_key", "datacenter", "endpoint", "proxy")
    given = {name: info.arguments.get(name) for name in names}
    for needs_keys in (info.enabled, False):
        try:
            info.destination = destination(
                **given, needs_keys=needs_keys, environ=os.environ, log=notices.log
            )
            break
        except (TypeError, ValueError) as error:
            config.error(info.where, f"{error}; FSLOG_ENABLED=no disables fslog, also without keys")
    if info.destination is not None:
        spool = info.arguments.get("spool")
        info.spool = spool_directory(spool, info.destination, os.environ)


def _create_writing(config: Configuration, info: EventHandlerInfo, run: DryRun) -> None:
    name = info.part.formatter or ""
    try:
        info.formatter = _formatter(config, name)
        info.mapping = run.arguments_of(info.formatter)
    except Exception as error:
        config.error(f"formatters.{name}", _text(error))


def _formatter(config: Configuration, name: str) -> Any:
    """Create a formatter if it is fslog's; any other is left empty, for the handler to refuse."""
    factory = config.factory("formatters", name)
    if not makes(factory, EventFormatter):
        kind = factory if isinstance(factory, type) else logging.Formatter
        return object.__new__(kind)
    section = config.formatters[name]
    ignored = set(section) - _BY_CLASS
    if "()" not in section and ignored:
        names = ", ".join(sorted(map(str, ignored)))
        config.error(
            f"formatters.{name}",
            f"dictConfig ignores {names} next to 'class'; write '()' instead of 'class'",
        )
    configurator = config.configurator()
    return configurator.configure_formatter(configurator.config["formatters"][name])


def _try_filters(config: Configuration) -> None:
    """Create each `EventFormatter` among the filters, to report its errors."""
    for name in config.filters:
        if config.is_event_filter(name):
            configurator = config.configurator()
            try:
                configurator.configure_filter(configurator.config["filters"][name])
            except Exception as error:
                config.error(f"filters.{name}", _text(error))


def _text(error: Exception) -> str:
    text = str(error)
    if isinstance(error, (TypeError, ValueError)) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
