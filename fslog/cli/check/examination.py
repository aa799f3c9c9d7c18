"""What is wrong with a configuration beyond what its handlers say themselves.

What is wrong keeps fslog, or the application, from working; what is doubtful works, and probably
not as it was meant.
"""

from __future__ import annotations

import logging
import logging.handlers
from collections.abc import Iterator, Mapping
from typing import Any

from fslog.cli.check import spoolcheck
from fslog.cli.check.configurations import ROOT, Configuration
from fslog.cli.check.explanations import is_expression
from fslog.cli.check.factories import makes
from fslog.cli.check.hosts import HIJACKED
from fslog.cli.check.routing import ABOVE_ALL, logger_label
from fslog.cli.check.targets import Target
from fslog.mapping.rules import Rule

KEYS = {"auth_key": "FSLOG_AUTH_KEY", "api_key": "FSLOG_API_KEY"}
"""The arguments that hold keys, and the variables that do."""


def examine(made: Configuration, found: list[Target], is_taken_away: bool | None = False) -> None:
    """Note in `made.findings` what is wrong, or doubtful.

    Args:
        made: the configuration.
        found: its targets.
        is_taken_away: whether Celery's worker takes the root logger's handlers; None for perhaps.
    """
    if not found:
        _miss(made)
    for target in found:
        _reach(made, target)
        if is_taken_away is not False:
            _look_at_celery(made, target, is_certain=is_taken_away is True)
        if target.posts:
            _look_at_keys(made, target)
            spoolcheck.look_at_spool(made, target)
        else:
            _look_at_filters(made, target)
        if target.formatter is not None:
            rules = list(target.formatter.rules)
            _look_for_shadows(made, target, rules)
            _look_at_loggers(made, target, rules)
            _look_at_queues(made, target, rules)
    _look_at_existing(made)
    made.findings = list(dict.fromkeys(made.findings))


def _miss(made: Configuration) -> None:
    broken = [name for name, part in made.handlers.items() if part.factory is None]
    if broken:
        return  # one of them may be meant to be fslog's, and what is wrong with it is said
    made.wrong(
        "handlers",
        "fslog is not among them; add one with class: fslog.FreshsuccessHandler",
    )


def _where(target: Target) -> str:
    return f"handlers.{target.name}"


def _reach(made: Configuration, target: Target) -> None:
    holders = target.routing.holders()
    if not holders:
        made.wrong(
            _where(target),
            "no logger has it, so that nothing comes to it; name it in root.handlers, or in a "
            "logger's handlers",
        )
        return
    if target.part.level > logging.INFO:
        level = logging.getLevelName(target.part.level)
        made.doubt(f"{_where(target)}.level", f"it is {level}: what log.info says makes no event")
    for name in [ROOT, *made.loggers]:
        by = target.routing.route(name, ABOVE_ALL).by
        if len(by) > 1:
            loggers = " and by ".join(logger_label(one) for one in by)
            made.wrong(
                _logger(name),
                f"its records come to {target.name} {len(by)} times, by {loggers}: each event "
                "would be sent so often; remove one, or set propagate: false",
            )
    for name in holders:
        taken, who = target.routing.level_of(name)
        if taken > logging.INFO:
            why = "it has no level" if who == ROOT and made.root().level is None else "its level"
            if who != name:
                why = f"{logger_label(who)}'s level"
            made.doubt(
                _logger(name),
                f"it takes {logging.getLevelName(taken)} and above ({why}): what log.info says "
                "does not come to fslog; give it the level INFO",
            )


def _look_at_celery(made: Configuration, target: Target, *, is_certain: bool) -> None:
    for name in target.routing.holders():
        if name in HIJACKED:
            note = made.wrong if is_certain else made.doubt
            note(
                _logger(name),
                f"Celery's worker takes {target.name} away from it when it starts, and nothing "
                "comes there any more; set worker_hijack_root_logger to False, or configure "
                "logging in Celery's signal setup_logging",
            )


def _look_at_keys(made: Configuration, target: Target) -> None:
    section = made.given["handlers"].get(target.name)
    for name, variable in KEYS.items():
        given = section.get(name) if isinstance(section, Mapping) else None
        if isinstance(given, str) and "://" not in given and made.is_file:
            made.doubt(
                f"{_where(target)}.{name}",
                f"the key stands in the configuration; {variable} keeps it out of files",
            )


def _look_at_filters(made: Configuration, target: Target) -> None:
    """An EventFormatter that writes needs the same one among the filters."""
    same = []
    for one in target.part.filters:
        section = made.filters.get(one) if isinstance(one, str) else None
        if not isinstance(section, Mapping) or not made.is_event_filter(section):
            continue
        same.append(_are_alike(section, made.formatters[target.part.formatter or ""]))
    if not same:
        made.doubt(
            f"{_where(target)}.filters",
            "without an fslog.EventFormatter among them it writes an empty line for each record "
            "that is no event",
        )
    elif not all(same):
        made.doubt(
            f"{_where(target)}.filters",
            "the EventFormatter there and the one that formats have different arguments, and so "
            "different events",
        )


def _are_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    try:
        return _arguments(one) == _arguments(other)
    except RecursionError:  # YAML's references may lead in a circle
        return True


def _arguments(section: Mapping[str, Any]) -> dict[str, Any]:
    return {name: section[name] for name in section if name not in ("()", "class")}


def _look_for_shadows(made: Configuration, target: Target, rules: list[Rule]) -> None:
    for late, rule in enumerate(rules):
        for early in range(late):
            if all(_is_implied(one.key, one.wanted, rule) for one in rules[early].when):
                made.doubt(
                    f"{_where(target)}.rules[{late}]",
                    f"it never fits: whatever it would fit, rules[{early}] fits first",
                )
                break


def _is_implied(key: str, wanted: Any, rule: Rule) -> bool:
    """Return whether whatever fulfils a rule fulfils a condition, too."""
    for other in rule.when:
        if other.key != key:
            continue
        if str(other.wanted) == str(wanted):
            return True
        if key == "logger" and not (is_expression(wanted) or is_expression(other.wanted)):
            return f"{other.wanted}.".startswith(f"{wanted}.") or not wanted
    return False


def _look_at_loggers(made: Configuration, target: Target, rules: list[Rule]) -> None:
    """Whether the records that rules are for come to the handler at all."""
    holders = target.routing.holders()
    if not holders:
        return
    # A level that is reported for a holder is not reported again for each rule.
    levels = [target.routing.level_of(name) for name in holders]
    reported = {owner for level, owner in levels if level > logging.INFO}
    is_late = target.part.level > logging.INFO
    for index, name in _loggers(rules):
        where = f"{_where(target)}.rules[{index}]"
        route = target.routing.route(name, ABOVE_ALL)
        if not route.by:
            made.doubt(
                where, f"the records of {logger_label(name)} do not come here: {route.reason}"
            )
            continue
        route = target.routing.route(name, logging.INFO)
        if not route.by and target.routing.level_of(name)[1] not in reported and not is_late:
            made.doubt(
                where, f"what {logger_label(name)} says at INFO does not come here: {route.reason}"
            )


def _loggers(rules: list[Rule]) -> Iterator[tuple[int, str]]:
    for index, rule in enumerate(rules):
        for condition in rule.when:
            if condition.key == "logger" and not is_expression(condition.wanted):
                yield index, str(condition.wanted)


def _look_at_queues(made: Configuration, target: Target, rules: list[Rule]) -> None:
    """A QueueHandler joins message and arguments before it hands a record on."""
    queues = [
        part.name
        for part in made.handlers.values()
        if target.name in part.leads_to and makes(part.factory, logging.handlers.QueueHandler)
    ]
    for index, rule in enumerate(rules):
        roots = {condition.key.partition(".")[0] for condition in rule.when}
        if queues and ("args" in roots or (rule.message or "").count("%")):
            made.doubt(
                f"{_where(target)}.rules[{index}]",
                f"the QueueHandler {queues[0]} joins message and arguments, so that it cannot fit "
                "what comes that way",
            )


def _look_at_existing(made: Configuration) -> None:
    if made.is_ini:
        made.doubt(
            "fileConfig",
            "it switches off all loggers that exist already, unless it is called with "
            "disable_existing_loggers=False",
        )
    elif made.given.get("disable_existing_loggers", True) and not made.given.get("incremental"):
        is_said = "disable_existing_loggers" in made.given
        made.doubt(
            "disable_existing_loggers",
            f"it is {'true' if is_said else 'not given, and so true'}: loggers that modules made "
            "before the configuration is loaded are switched off, unless it names them; set it to "
            "false",
        )


def _logger(name: str) -> str:
    return ROOT if name == ROOT else f"loggers.{name}"
