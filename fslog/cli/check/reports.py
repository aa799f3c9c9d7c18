"""What `fslog check` finds, as plain values, and as one JSON object for a program."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from fslog import config
from fslog.cli.check import spoolcheck
from fslog.cli.check.configurations import ROOT, Configuration, Finding
from fslog.cli.check.examination import KEYS
from fslog.cli.check.explanations import Explanation, Miss
from fslog.cli.check.routing import ABOVE_ALL
from fslog.cli.check.tally import Tally
from fslog.cli.check.targets import Target
from fslog.cli.output import Printer
from fslog.errors import Problem
from fslog.mapping.encoding import encode
from fslog.mapping.paths import MISSING
from fslog.mapping.schema import WARNINGS


def target_values(made: Configuration, target: Target) -> dict[str, Any]:
    """Return what is to be known of one handler out of which events come."""
    names = {name: target.mapping.get(name) for name in ("fields", "defaults", "include")}
    values: dict[str, Any] = {
        "handler": target.name,
        "factory": factory_name(target.part.factory),
        "posts": target.posts,
        "is_right": target.formatter is not None,
        "rules": None if target.formatter is None else len(list(target.formatter.rules)),
        **{name: sorted(map(str, given or ())) for name, given in names.items()},
        "session": target.mapping.get("session", "window"),
        "filters": filter_names(target),
        "loggers": list(logger_values(target)),
    }
    if target.posts:
        values |= posting_values(target)
    return values


def filter_names(target: Target) -> list[str]:
    """Return what stands among a handler's filters."""
    return [one if isinstance(one, str) else type(one).__name__ for one in target.part.filters]


def posting_values(target: Target) -> dict[str, Any]:
    """Return where a handler posts, with which keys (never shown), and what it keeps on disk."""
    to = target.destination
    spool = None
    if target.spool is not None:
        spool = {"path": target.spool.path, "state": spoolcheck.state(target.spool.path)}
    return {
        "enabled": target.enabled,
        "endpoint": None if to is None else f"{to.ping_url().removesuffix('ping')}***/***",
        "proxy": None if to is None else proxy_host(to.proxy_url()),
        "keys": {name: key_origin(target, name) for name in KEYS},
        "spool": spool,
    }


def key_origin(target: Target, name: str) -> str | None:
    """Say where a key is from; None if it is missing."""
    if target.given.get(name):
        return "configuration"
    return KEYS[name] if config.environment(KEYS[name], os.environ) else None


def proxy_host(url: str | None) -> str | None:
    """Return a proxy's host and port, without the password that its URL may hold."""
    return None if url is None else urlsplit(url).netloc.rpartition("@")[2]


def factory_name(factory: Any) -> str:
    """Return what a class or a function is called where it is defined."""
    module = getattr(factory, "__module__", "")
    name = getattr(factory, "__qualname__", type(factory).__qualname__)
    return "fslog.FreshsuccessHandler" if module == "fslog.handler" else f"{module}.{name}"


def logger_values(target: Target) -> Iterator[dict[str, Any]]:
    """Yield the loggers that have a handler, each with the level from which on it takes records."""
    for name in target.routing.holders():
        level, _ = target.routing.level_of(name)
        level = max(level, target.part.level)
        yield {"logger": name, "level": logging.getLevelName(level)}


def kept_apart(made: Configuration, target: Target) -> list[tuple[str, str]]:
    """Return the configured loggers whose records do not come to a handler, and why."""
    found = []
    for name in made.loggers:
        route = target.routing.route(name, ABOVE_ALL)
        if name != ROOT and not route.by:
            found.append((name, route.reason))
    return found


def finding_values(one: Finding) -> dict[str, Any]:
    """Return a finding for a program."""
    kind = "wrong" if one.is_wrong else "doubtful"
    return {"kind": kind, "where": one.where, "message": one.message}


def explanation_values(one: Explanation) -> dict[str, Any]:
    """Return an explanation for a program; the event is as it would travel."""
    record = one.record
    return {
        "line": one.number,
        "logger": None if record is None else record.name,
        "level": None if record is None else record.levelname,
        "message": None if record is None else str(record.msg),
        "outcome": one.outcome,
        "why": one.why or None,
        "rule": one.rule,
        "explicit": one.is_explicit,
        "event": None if one.event is None else json.loads(encode(one.event)),
        "sources": dict(one.sources),
        "problems": [_problem(problem) for problem in one.problems],
        "misses": [_miss(miss) for miss in one.misses],
        "left_out": list(one.left_out),
        "notes": list(one.notes),
    }


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "code": problem.code,
        "property": problem.property,
        "message": problem.message,
        "warns": problem.code in WARNINGS,
    }


def _miss(miss: Miss) -> dict[str, Any]:
    return {
        "rule": miss.rule,
        "condition": miss.condition.key,
        "wanted": _plain(miss.condition.wanted),
        "found": None if miss.found is MISSING else _plain(miss.found),
        "held": miss.held,
        "conditions": miss.conditions,
        "message": miss.sentence(),
    }


def _plain(value: Any) -> Any:
    return json.loads(encode({"value": value}))["value"]


class Json:
    """Write one JSON object piece by piece, so that a log of any length fits.

    Args:
        paper: where to.
        details: ignored; a program gets all.
    """

    def __init__(self, paper: Printer, details: int) -> None:
        self._paper = paper
        self._records = 0

    def configuration(self, label: str, made: Configuration, found: list[Target]) -> None:
        """Write what there is to know without any record."""
        values = {
            "configuration": label,
            "is_right": not any(one.is_wrong for one in made.findings),
            "findings": [finding_values(one) for one in made.findings],
            "handlers": [target_values(made, target) for target in found],
        }
        self._paper.raw(self._paper.json(values)[:-1])

    def no_target(self) -> None:
        """Write that records cannot be explained."""
        self._paper.raw(', "records": null}')

    def record(self, one: Explanation) -> None:
        """Write one explanation."""
        text = self._paper.json(explanation_values(one))
        self._paper.raw(("," if self._records else ', "records": [') + text)
        self._records += 1

    def summary(self, tally: Tally, target: Target) -> None:
        """Write the numbers."""
        self._paper.raw("]" if self._records else ', "records": []')
        name, numbers = self._paper.json(target.name), self._paper.json(tally.json())
        self._paper.raw(f', "handler": {name}, "summary": {numbers}')

    def end(self) -> None:
        """Write the end."""
        self._paper.raw("}")
