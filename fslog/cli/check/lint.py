"""Diagnostics beyond what creating the handlers reports: unreachable handlers, rules, spools.

An error keeps fslog, or the application, from working. A configuration with a warning works, but
probably not as intended.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import logging.handlers
import os
import re
from collections.abc import Mapping
from typing import Any

from fslog.cli.check.configuration import ROOT, Configuration, logger_path, makes
from fslog.cli.check.dry_run import KEYS, EventHandlerInfo
from fslog.cli.check.explain import Summary, is_expression
from fslog.cli.check.frameworks import HIJACKED
from fslog.cli.check.routing import ABOVE_ALL, logger_label
from fslog.cli.output import count
from fslog.cli.spool.contents import NotASpool, SpoolContents, read_contents
from fslog.delivery.names import CODE, PROPERTIES
from fslog.mapping.presets import PRESETS
from fslog.mapping.privacy import HASH_KEY, hash_key
from fslog.mapping.rules import Rule
from fslog.mapping.schema import ACTIONS, nearest_action
from fslog.spool.directory import examine
from fslog.spool.filesystem import FileSystem

_DATA = re.compile(
    r"(?:\A|[._])(?:id|pk|uuid|guid|email|token|date|time|timestamp|asctime|created|"
    r"formatted_message)\Z|[a-z]I[dD]\Z"
)
"""The names of placeholders whose values are certainly not few."""


def lint(
    config: Configuration, handlers: list[EventHandlerInfo], hijacks: bool | None = False
) -> None:
    """Add diagnostics about the handlers that produce events, and remove duplicates.

    `hijacks`: whether Celery's worker removes the root logger's handlers; None for perhaps.
    """
    if not handlers and all(part.factory is not None for part in config.handlers.values()):
        # If a factory cannot be resolved, that is reported: it may be meant to be fslog's.
        config.error("handlers", "none is fslog's; add one with class: fslog.FreshsuccessHandler")
    for info in handlers:
        _lint_loggers(config, info)
        if hijacks is not False:
            _lint_celery(config, info, is_certain=hijacks is True)
        if info.part.posts:
            _lint_keys(config, info)
            _lint_spool(config, info)
        else:
            _lint_filters(config, info)
        _lint_hash_key(config, info)
        _lint_rule_order(config, info)
        _lint_names(config, info)
        _lint_rule_loggers(config, info)
        _lint_queues(config, info)
    _lint_existing_loggers(config)
    _lint_installation(config)
    config.diagnostics = list(dict.fromkeys(config.diagnostics))


def _lint_loggers(config: Configuration, info: EventHandlerInfo) -> None:
    """Report a handler that no record reaches, or the same record more than once."""
    holders = info.routing.holders()
    if not holders:
        config.error(
            info.where,
            "no logger has it, so no record reaches it; add it to root.handlers, or to the "
            "handlers of a logger",
        )
        return
    if info.part.level > logging.INFO:
        message = f"{logging.getLevelName(info.part.level)}: calls of log.info() make no events"
        config.warn(f"{info.where}.level", message)
    for name in [ROOT, *config.loggers]:
        by = info.routing.route(name, ABOVE_ALL).by
        if len(by) > 1:
            loggers = " and ".join(logger_label(one) for one in by)
            config.error(
                logger_path(name),
                f"its records reach {info.name} {len(by)} times, through {loggers}: each event "
                "would be sent that often; remove one, or set propagate: false",
            )
    for name in holders:
        level, owner = info.routing.level_of(name)
        if level > logging.INFO:
            why = "its level"
            if owner != name:
                why = f"the level of {logger_label(owner)}"
            elif owner == ROOT and getattr(config.loggers.get(ROOT), "level", None) is None:
                why = "the default, as it has no level"
            config.warn(
                logger_path(name),
                f"it accepts {logging.getLevelName(level)} and above ({why}): calls of log.info() "
                "do not reach fslog; set its level to INFO",
            )


def _lint_hash_key(config: Configuration, info: EventHandlerInfo) -> None:
    formatter = info.formatter
    hashes = formatter is not None and "hash" in formatter.redact.values()
    if hashes and info.enabled and hash_key() is None:
        config.warn(
            info.where,
            f"redact has a hash, and {HASH_KEY} is not set here; without it, or {HASH_KEY}_FILE, "
            "the application does not start",
        )


def _lint_celery(config: Configuration, info: EventHandlerInfo, *, is_certain: bool) -> None:
    report = config.error if is_certain else config.warn
    for name in info.routing.holders():
        if name in HIJACKED:
            report(
                logger_path(name),
                f"Celery's worker removes {info.name} from it at startup, and no record arrives "
                "from then on; start it with fslog run, or configure logging in Celery's signal "
                "setup_logging, or set worker_hijack_root_logger to False",
            )


def lint_airflow(config: Configuration, reader: str | None) -> None:
    """Report what Airflow refuses when it starts; `reader` as of `frameworks.task_log_reader`."""
    if reader is None:
        return
    remedy = "extend a deep copy of airflow's DEFAULT_LOGGING_CONFIG"
    task = config.loggers.get("airflow.task")
    if task is None or reader not in task.handlers:
        config.error(
            "loggers.airflow.task",
            f"Airflow requires the handler {reader!r} (task_log_reader) there; {remedy}",
        )
    if "mask_secrets" in config.filters and "task" not in config.handlers:
        config.error(
            "filters.mask_secrets", f"Airflow adds it to handlers.task, which is missing; {remedy}"
        )


def _lint_keys(config: Configuration, info: EventHandlerInfo) -> None:
    section = config.given["handlers"].get(info.name)
    for name, variable in KEYS.items():
        given = section.get(name) if isinstance(section, Mapping) else None
        if isinstance(given, str) and "://" not in given and config.is_file:
            message = f"the key is in the file; use {variable}, or {name}_file, to keep it out"
            config.warn(f"{info.where}.{name}", message)


def _lint_filters(config: Configuration, info: EventHandlerInfo) -> None:
    """Report an `EventFormatter` that writes without an equal one among the filters."""
    formatter = config.formatters[info.part.formatter or ""]
    are_equal = [
        _have_equal_arguments(config.filters[one], formatter)
        for one in info.part.filters
        if isinstance(one, str) and config.is_event_filter(one)
    ]
    if not are_equal:
        config.warn(
            f"{info.where}.filters",
            "no fslog.EventFormatter: the handler writes an empty line for each record that is not "
            f"an event; a filter with '()': 'cfg://formatters.{info.part.formatter}' is the same",
        )
    elif not all(are_equal):
        config.warn(
            f"{info.where}.filters",
            "the EventFormatter here and that of the handler have different arguments, and "
            "therefore different events",
        )


def _have_equal_arguments(*sections: Mapping[str, Any]) -> bool:
    one, other = ({key: s[key] for key in s if key not in ("()", "class")} for s in sections)
    try:
        return one == other
    except RecursionError:  # YAML's references may be circular
        return True


def _lint_rule_order(config: Configuration, info: EventHandlerInfo) -> None:
    # A rule with a literal message hides only rules with the same one: a plan has thousands.
    by_message: dict[str | None, list[tuple[int, Rule]]] = {}
    for index, rule in enumerate(info.rules):
        earlier = {**dict(by_message.get(None, ())), **dict(by_message.get(rule.message, ()))}
        for _, early in sorted(earlier.items(), key=lambda one: one[0]):
            if all(_is_implied(one.key, one.wanted, rule) for one in early.when):
                message = f"it never matches, since {early.where} matches all of its records first"
                config.warn(f"{info.where}.{rule.where}", message)
                break
        by_message.setdefault(rule.message, []).append((index, rule))


def _lint_names(config: Configuration, info: EventHandlerInfo) -> None:
    """Report actions and placeholders that are probably misspelt.

    Which other placeholders have a value, only records show.
    """
    for rule in info.rules:
        where, action = f"{info.where}.{rule.where}", rule.constants.get("action")
        if action is not None and action not in ACTIONS and (known := nearest_action(action)):
            message = f"action {action!r} is not known; did you mean {known!r}?"
            config.warn(where, message)
        for name, near in rule.reads.items():
            if near is not None:
                config.warn(
                    where,
                    f"{{{name}}} is no named group and no attribute of every record; did you mean "
                    f"{{{near}}}?",
                )
        for name in PROPERTIES:
            for data in _data_in(rule.event.get(name)):
                config.warn(
                    where,
                    f"{name} is made of {{{data}}}, which has very many values: Freshsuccess shows "
                    f"each as one of its own [{CODE}]; write a fixed text there, and give the "
                    "value a property of its own",
                )


def _data_in(template: Any) -> list[str]:
    """Return the placeholders of a template that stand for ids and times."""
    text = template.replace("{{", "").replace("}}", "") if isinstance(template, str) else ""
    inside = re.findall(r"\{([^{}]+)\}", text)
    names = [name.strip() for one in inside for name in one.split(":")[0].split("|")]
    return [name for name in names if _DATA.search(name)]


def lint_records(config: Configuration, info: EventHandlerInfo, summary: Summary) -> None:
    """Add diagnostics about the placeholders that are found on no record.

    Not about those that `lint` has reported.
    """
    for index, name in summary.not_found():
        if info.rules[index].reads[name] is None:
            matches = summary.matches[index]
            records = "the record" if matches == 1 else f"any of the {count(matches, 'record')}"
            config.warn(
                f"{info.where}.{info.rules[index].where}",
                f"{{{name}}} is not found on {records} that it matches",
            )


def _is_implied(key: str, wanted: Any, rule: Rule) -> bool:
    """Return whether every record that matches a rule fulfils a condition."""
    for other in rule.when:
        if other.key != key:
            continue
        if str(other.wanted) == str(wanted):
            return True
        if key == "logger" and not (is_expression(wanted) or is_expression(other.wanted)):
            return f"{other.wanted}.".startswith(f"{wanted}.") or not wanted
    return False


def _lint_rule_loggers(config: Configuration, info: EventHandlerInfo) -> None:
    """Report rules for loggers whose records do not reach the handler."""
    holders = info.routing.holders()
    if not holders:
        return
    # A level that is reported for a holder is not reported again for each rule.
    levels = [info.routing.level_of(name) for name in holders]
    reported = {owner for level, owner in levels if level > logging.INFO}
    names = [(rule, name) for rule in info.rules for name in _loggers_of(config, rule)]
    for rule, name in names:
        where, logger = f"{info.where}.{rule.where}", logger_label(name)
        route = info.routing.route(name, ABOVE_ALL)
        if not route.by:
            config.warn(where, f"records of {logger} do not arrive: {route.reason}")
            continue
        route = info.routing.route(name, logging.INFO)
        is_new = info.routing.level_of(name)[1] not in reported and info.part.level <= logging.INFO
        if not route.by and is_new:
            config.warn(where, f"INFO records of {logger} do not arrive: {route.reason}")


def _loggers_of(config: Configuration, rule: Rule) -> list[str]:
    """Return the loggers whose records a rule is for, as far as the configuration says."""
    conditions = {one.key: one.wanted for one in rule.when}
    if "logger" in conditions:
        name = conditions["logger"]
        return [] if is_expression(name) else [str(name)]
    if "preset" not in conditions:
        return []
    # Which server runs the application is unknown, unless the configuration names its logger.
    named = {*config.loggers, *(["gunicorn.access"] if config.is_gunicorn else [])}
    return [name for name in PRESETS[conditions["preset"]].loggers if name in named]


def _lint_queues(config: Configuration, info: EventHandlerInfo) -> None:
    """Report rules that need what a `QueueHandler` merges before it passes a record on."""
    queues = [
        part.name
        for part in config.handlers.values()
        if info.name in part.targets and makes(part.factory, logging.handlers.QueueHandler)
    ]
    for rule in info.rules:
        roots = {condition.key.partition(".")[0] for condition in rule.when}
        if queues and ("args" in roots or "%" in (rule.message or "")):
            config.warn(
                f"{info.where}.{rule.where}",
                f"the QueueHandler {queues[0]} merges message and arguments: the rule cannot match "
                "records that pass through it",
            )


def _lint_existing_loggers(config: Configuration) -> None:
    name = "disable_existing_loggers"
    if config.is_ini:
        message = f"it disables all existing loggers unless it is called with {name}=False"
        config.warn("fileConfig", message)
    elif config.given.get(name, True) and not config.given.get("incremental"):
        value = "true" if name in config.given else "not set, and true by default"
        config.warn(
            name,
            f"{value}: loggers that exist before the configuration is loaded are disabled, unless "
            "it names them; set it to false",
        )


def _lint_installation(config: Configuration) -> None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.distribution("fslog")
        config.warn(
            "installation",
            "the distribution fslog, another project with a file fslog/__init__.py, is installed, "
            "too; pip uninstall -y fslog, then pip install --force-reinstall freshsuccess-logging",
        )


def _lint_spool(config: Configuration, info: EventHandlerInfo) -> None:
    """Report a spool that cannot be used, or that belongs to other keys; nothing is created."""
    if info.spool is None or not info.enabled:
        return
    where = f"{info.where}.spool"
    reason = _unusable(info.spool.path)
    if reason:
        config.error(where, f"{info.spool.path!r} cannot be used: {reason}")
        return
    contents = _contents(info.spool.path)
    if contents is None or contents.belongs_to(info.spool.digest, info.spool.files_digest):
        return
    if any(owner.is_living for owner in contents.owners):
        config.error(where, "a living process uses it with other keys than this configuration")
    else:
        config.warn(where, "it belongs to other keys; this configuration would take it over")


def spool_state(path: str) -> str:
    """Return what is at a spool's path, in a few words."""
    contents = _contents(path)
    if contents is None:
        return "not created yet" if not os.path.lexists(path) else "empty"
    events = sum(owner.events for owner in contents.owners)
    return f"{count(events, 'event')} waiting" if events else "no events waiting"


def _contents(path: str) -> SpoolContents | None:
    try:
        return read_contents(path)
    except NotASpool:
        return None


def _unusable(path: str) -> str:
    """Return why a directory cannot be a spool; empty if it can."""
    try:
        reason, _ = examine(FileSystem(), path)
    except FileNotFoundError:
        return _uncreatable(path)
    except OSError as error:
        return error.strerror or str(error)
    return reason or ("" if os.access(path, os.W_OK | os.X_OK) else "it is not writable")


def _uncreatable(path: str) -> str:
    parent = os.path.dirname(path)
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    if not os.path.isdir(parent):
        return f"{parent!r} is not a directory"
    is_writable = os.access(parent, os.W_OK | os.X_OK)
    return "" if is_writable else f"it does not exist, and {parent!r} is not writable"
