"""What a plan, or a logging configuration, expects of log calls."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fslog import EventFormatter
from fslog.cli.check.configuration import parse
from fslog.cli.check.dry_run import dry_run, event_handlers
from fslog.cli.check.sources import application, load
from fslog.cli.options import CommandError
from fslog.config.documents import document
from fslog.config.files import SourceError
from fslog.formatter import NESTED
from fslog.mapping import schema
from fslog.mapping.privacy import key_needed
from fslog.mapping.rules import Rule
from fslog.plan.plan import Plan, PlannedEvent

_PLAN_EXTENSIONS = (".yaml", ".yml", ".json", ".toml")


@dataclass(frozen=True)
class ExpectedRule:
    """A rule that log calls are to fit.

    Args:
        index: its place among all rules.
        name: the planned event's, or `rules[0]`.
        rule: as compiled.
    """

    index: int
    name: str
    rule: Rule

    @property
    def has_preset(self) -> bool:
        """Whether it is about the records of a server or a task queue."""
        return any(condition.key == "preset" for condition in self.rule.when)

    @property
    def message(self) -> Any:
        """What it requires of the message; None for nothing."""
        return next((one.wanted for one in self.rule.when if one.key == "message"), None)

    @property
    def logger(self) -> str | None:
        """The literal name of the logger; None without one."""
        wanted = next((one.wanted for one in self.rule.when if one.key == "logger"), None)
        is_pattern = isinstance(wanted, str) and len(wanted) > 1 and wanted[0] == wanted[-1] == "/"
        return None if wanted is None or is_pattern else str(wanted)


@dataclass(frozen=True)
class Expected:
    """The rules and the plan of one configuration.

    Args:
        label: where it was found.
        formatter: makes the events.
        rules: in the order in which they match.
        plan: None without one.
        given: the names of properties that `fields` and `defaults` give.
        has_provider: whether a function of the application gives properties, too.
        places: where an explicit event may stand as one mapping.
    """

    label: str
    formatter: EventFormatter
    rules: list[ExpectedRule]
    plan: Plan | None
    given: frozenset[str] = frozenset()
    has_provider: bool = False
    places: tuple[str, ...] = NESTED

    def names(self) -> list[str]:
        """Return the names of all rules, then of the planned events that are no rules."""
        names = [one.name for one in self.rules]
        planned = self.plan.events if self.plan is not None else {}
        return names + [name for name in planned if name not in names]

    def planned(self, event: Mapping[str, Any]) -> PlannedEvent | None:
        """Return the planned event that an event is; None if it is unplanned, or without a plan."""
        return None if self.plan is None else self.plan.find(event)


def expected(config: str, key: str | None, handler: str | None) -> Expected:
    """Return what a plan's file, or a logging configuration, expects.

    Args:
        config: as for `fslog check`, or the path of a plan.
        key, handler: of a logging configuration, as for `fslog check`.

    Raises:
        CommandError: it cannot be read, or has an error.
    """
    plan = _plan_in(config)
    if plan is not None:
        for option, value in (("--key", key), ("--handler", handler)):
            if value is not None:
                raise CommandError(f"{option}: {config} is a plan; a configuration is expected")
        with key_needed(False):
            formatter = EventFormatter(plan=config, session="none")
        # What all events have is probably given by `fields`, `defaults` or a context.
        given = frozenset({*schema.REQUIRED, *plan.common} - {"action"})
        return _expected(f"{config} (plan)", formatter, {}, given)
    return _of_configuration(config, key, handler)


def _plan_in(config: str) -> Plan | None:
    """Return the plan in a file; None if it is not the file of a plan."""
    if not config.lower().endswith(_PLAN_EXTENSIONS) or not os.path.isfile(config):
        return None
    try:
        found = document(config)
        if not isinstance(found, Mapping) or "handlers" in found or "events" not in found:
            return None
        return Plan.read(config)
    except SourceError:
        return None  # reported as a configuration is
    except (ValueError, TypeError) as error:
        raise CommandError(str(error)) from None


def _of_configuration(config: str, key: str | None, handler: str | None) -> Expected:
    try:
        with dry_run() as arguments_of, application():
            label, found = load(config, key)
            parts = parse(found.given, is_file=not found.scope, name=found.name)
            handlers = event_handlers(parts, arguments_of)
    except SourceError as error:
        raise CommandError(str(error)) from None
    working = {info.name: info for info in handlers if info.formatter is not None}
    if handler is not None and handler not in working:
        raise CommandError(
            f"--handler: {handler!r} produces no events; these do: {', '.join(working) or 'none'}"
        )
    chosen = (
        working[handler]
        if handler is not None
        else min(working.values(), key=lambda info: not info.part.posts, default=None)
    )
    if chosen is None:
        errors = [f"{one.where}: {one.message}" for one in parts.diagnostics if one.kind == "error"]
        reason = f": {errors[0]}" if errors else ""
        raise CommandError(f"{config} has no handler that produces events{reason}")
    formatter = chosen.formatter
    assert formatter is not None
    given = {*(chosen.mapping.get("fields") or {}), *(chosen.mapping.get("defaults") or {})}
    return _expected(
        label,
        formatter,
        chosen.mapping,
        frozenset(given | {"createdAt", "sessionId"}),
    )


def _expected(
    label: str,
    formatter: EventFormatter,
    mapping: Mapping[str, Any],
    given: frozenset[str],
) -> Expected:
    rules, plan = list(formatter.rules), formatter.plan
    # The plan's rules stand after those of the configuration.
    planned = [] if plan is None else [one.name for one in plan.events.values() if one.rule()]
    names = [f"rules[{index}]" for index in range(len(rules) - len(planned))] + planned
    pairs = enumerate(zip(names, rules, strict=True))
    return Expected(
        label,
        formatter,
        [ExpectedRule(index, name, rule) for index, (name, rule) in pairs],
        plan,
        given,
        has_provider=mapping.get("context_provider") is not None,
        places=tuple(mapping.get("nested") or NESTED),
    )
