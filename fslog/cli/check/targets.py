"""Where events of a configuration come out: fslog's handlers, and others that write events.

They are built by the standard library's own `DictConfigurator`, in a rehearsal: what is wrong with
their arguments is what the application would be told.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fslog import EventFormatter, FreshsuccessHandler, config
from fslog.cli.check.configurations import (
    Configuration,
    HandlerPart,
    formatter_factory,
    is_posting,
    is_writing,
)
from fslog.cli.check.factories import makes
from fslog.cli.check.rehearsal import Rehearsal
from fslog.cli.check.routing import Routing
from fslog.delivery import notices
from fslog.net.destination import Destination, destination
from fslog.spool.directory import SpoolDirectory, spool_directory

_BY_CLASS = frozenset({"class", "format", "datefmt", "style", "validate", "defaults"})
"""All that dictConfig looks at in a formatter that is given by its class."""

_BATCH_BYTES = inspect.signature(FreshsuccessHandler).parameters["batch_bytes"].default


@dataclass
class Target:
    """One handler out of which events come.

    Args:
        part: of the configuration.
        posts: whether it is fslog's own; else it writes events as lines.
        given: the arguments of the handler.
        formatter: makes the events; None if it, or the handler, could not be made.
        mapping: the arguments of the formatter.
        enabled: whether it takes anything here and now.
        destination: where it would post; None if it writes, or that is not known.
        routing: how records reach it.
    """

    part: HandlerPart
    routing: Routing
    posts: bool
    given: Mapping[str, Any] = field(default_factory=dict)
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
    def batch_bytes(self) -> int | None:
        """How long a line may be; None if nothing bounds it."""
        return self.given.get("batch_bytes", _BATCH_BYTES) if self.posts else None


def targets(made: Configuration, rehearsed: Rehearsal) -> Iterator[Target]:
    """Build each target of a configuration; what is wrong with it is noted in `made.findings`.

    Inside of a rehearsal.
    """
    _try_filters(made)
    for part in made.handlers.values():
        if is_posting(part):
            yield _posting(made, part, rehearsed)
        elif is_writing(made, part):
            yield _writing(made, part, rehearsed)


def _posting(made: Configuration, part: HandlerPart, rehearsed: Rehearsal) -> Target:
    # Which keys are given is told even where nothing can be made of the rest.
    target = Target(
        part,
        Routing(made, part.name),
        posts=True,
        given=_keys(made.given["handlers"].get(part.name)),
    )
    where = f"handlers.{part.name}"
    try:
        configurator = made.configurator()
        section = configurator.config["handlers"][part.name]
        for later in ("formatter", "filters"):
            section.pop(later, None)
        handler = configurator.configure_handler(section)
    except Exception as error:  # also what somebody's subclass, or factory, raises
        made.wrong(where, told(error))
        return target
    if not isinstance(handler, FreshsuccessHandler):
        made.wrong(where, f"it makes a {type(handler).__name__}, which is no FreshsuccessHandler")
        return target
    target.given = rehearsed.given_to(handler)
    target.enabled = config.is_enabled(target.given.get("enabled"))
    try:
        if part.formatter is not None:
            handler.setFormatter(_formatter(made, part.formatter))
    except Exception as error:
        made.wrong(where, told(error))
    target.formatter = handler.formatter
    target.mapping = rehearsed.given_to(handler.formatter)
    _lead(made, target)
    return target


def _keys(section: Any) -> dict[str, Any]:
    given = section if isinstance(section, Mapping) else {}
    return {name: given[name] for name in ("auth_key", "api_key") if name in given}


def _lead(made: Configuration, target: Target) -> None:
    """Find out where a handler would post, and what it keeps on disk."""
    where = f"handlers.{target.name}"
    named = {
        name: target.given.get(name)
        for name in ("auth_key", "api_key", "datacenter", "endpoint", "proxy")
    }
    for needs_keys in (target.enabled, False):
        try:
            target.destination = destination(
                **named, needs_keys=needs_keys, environ=os.environ, say=notices.say
            )
            break
        except (TypeError, ValueError) as error:
            hint = "; where there are no keys, FSLOG_ENABLED=no switches fslog off"
            made.wrong(where, f"{error}{hint}")
    if target.destination is not None:
        spool = target.given.get("spool")
        target.spool = spool_directory(spool, target.destination, os.environ)


def _writing(made: Configuration, part: HandlerPart, rehearsed: Rehearsal) -> Target:
    target = Target(part, Routing(made, part.name), posts=False)
    try:
        target.formatter = _formatter(made, part.formatter or "")
        target.mapping = rehearsed.given_to(target.formatter)
    except Exception as error:
        made.wrong(f"formatters.{part.formatter}", told(error))
    return target


def _formatter(made: Configuration, name: str) -> Any:
    """Build a formatter, if it is fslog's; of any other, return what is enough to refuse it."""
    factory = formatter_factory(made, name)
    if not makes(factory, EventFormatter):
        kind = factory if isinstance(factory, type) else logging.Formatter
        return object.__new__(kind)
    section = made.formatters[name]
    ignored = set(section) - _BY_CLASS
    if "()" not in section and ignored:
        names = ", ".join(sorted(map(str, ignored)))
        made.wrong(
            f"formatters.{name}",
            f"dictConfig ignores {names} beside 'class'; write '()' instead of 'class'",
        )
    configurator = made.configurator()
    return configurator.configure_formatter(configurator.config["formatters"][name])


def _try_filters(made: Configuration) -> None:
    """See whether fslog's formatter can be built where it stands among the filters."""
    for name, section in made.filters.items():
        if isinstance(section, Mapping) and made.is_event_filter(section):
            configurator = made.configurator()
            try:
                configurator.configure_filter(configurator.config["filters"][name])
            except Exception as error:
                made.wrong(f"filters.{name}", told(error))


def told(error: Exception) -> str:
    """Return what is wrong, in the error's own words."""
    text = str(error)
    if isinstance(error, (TypeError, ValueError)) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
