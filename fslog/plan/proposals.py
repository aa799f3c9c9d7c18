"""Planned events that are proposed, and their text in YAML, JSON and TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from fslog.interrupts import unless_interrupt
from fslog.plan import yaml
from fslog.plan.inference import Inference, Kind, name_of

_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_STEP = 2


@dataclass(frozen=True)
class Proposal:
    """A planned event, or the common properties.

    Args:
        name: its key in the plan.
        value: what the plan says of it, with `properties` last, if it has any.
        comment: how often it was seen, and when.
        seen: for each property, how often it was seen.
    """

    name: str
    value: Mapping[str, Any]
    comment: str
    seen: Mapping[str, str]


def proposals(found: Inference, taken: Collection[str], common: Collection[str]) -> list[Proposal]:
    """Return the kinds of events as planned events.

    Args:
        found: the kinds.
        taken: names that others have.
        common: properties that are not repeated in each event.
    """
    names = set(taken)
    made = []
    for kind in found.kinds():
        name = _free(name_of(kind.constants), names)
        names.add(name)
        made.append(_proposal(name, kind, common))
    return made


def _free(name: str, taken: Collection[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    return free


def _proposal(name: str, kind: Kind, common: Collection[str]) -> Proposal:
    constants = {key: _literal(text) for key, text in kind.constants.items()}
    value: dict[str, Any] = {"event": constants}
    own = [one for one in kind.properties if one not in common]
    if own:
        value["properties"] = {one: kind.keywords(one) for one in own}
    comment = f"seen {_times(kind.count)}{_period(kind)}"
    if kind.others:
        comment += f"; it has more properties, with {_counted(kind.others, 'value')}"
    return Proposal(name, value, comment, {one: seen(kind, one) for one in own})


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")  # no placeholder


def seen(kind: Kind, name: str) -> str:
    """Return how often a property was seen, and each value of its enum."""
    values = kind.properties[name]
    text = f"{values.count:,} of {kind.count:,}"
    if "enum" in kind.keywords(name):
        each = (f"{value} {times:,}" for value, times in sorted(values.values().items()))
        text += f": {', '.join(each)}"
    return text


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun if number == 1 else f'{noun}s'}"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"


def _period(kind: Kind) -> str:
    first, last = day(kind.first), day(kind.last)
    if not first or not last:
        return ""
    return f", on {first}" if first == last else f", from {first} to {last}"


def day(at_ms: float | None) -> str:
    """Return the day of an instant, in UTC; `""` if no calendar has it.

    >>> day(1_700_000_000_000)
    '2023-11-14'
    """
    try:
        return f"{datetime.fromtimestamp((at_ms or 0) / 1000, timezone.utc):%Y-%m-%d}"
    except unless_interrupt(OverflowError, OSError, ValueError):
        return ""


# YAML.


def yaml_event(one: Proposal, indent: int, step: int = _STEP) -> Iterator[str]:
    """Yield the lines of an event in block style, with its comments."""
    yield from yaml.comment(one.comment, indent)
    yield f"{' ' * indent}{yaml.scalar(one.name)}:"
    inner = " " * (indent + step)
    for key, value in one.value.items():
        if key != "properties":
            yield f"{inner}{key}: {yaml.flow(value)}"
            continue
        yield f"{inner}properties:"
        yield from _yaml_properties(value, one.seen, indent + 2 * step)


def _yaml_properties(
    properties: Mapping[str, Any], seen: Mapping[str, str], indent: int
) -> Iterator[str]:
    for name, keywords in properties.items():
        text = f"{' ' * indent}{yaml.scalar(name)}: {yaml.flow(keywords)}"
        yield f"{text}  # {seen[name]}"


def yaml_flow_event(one: Proposal) -> str:
    """Return an event as an item of a mapping in flow style."""
    return f"{yaml.scalar(one.name)}: {yaml.flow(one.value)}"


def yaml_plan(label: str, found: Inference) -> Iterator[str]:
    """Yield the lines of a whole plan."""
    yield from _introduction(label, found)
    yield "version: 1"
    common = found.common()
    if common is not None:
        yield "common:"
        yield from _yaml_properties(*_of_common(common), _STEP)
    yield "events:"
    for one in proposals(found, (), common.properties if common else ()):
        yield from yaml_event(one, _STEP)


def _introduction(label: str, found: Inference) -> Iterator[str]:
    total = _counted(sum(kind.count for kind in found.kinds()), "event")
    yield from yaml.comment(f"Inferred by fslog plan infer from {total} of {label}.")
    yield from yaml.comment(
        "These are guesses: a comment says in how many events a property was seen, and how often "
        "each value. Say in `description` and `owner` what an event means, and delete what is no "
        "rule."
    )


def _of_common(common: Kind) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the keywords of the common properties, and how often each was seen."""
    return (
        {name: common.keywords(name) for name in common.properties},
        {name: seen(common, name) for name in common.properties},
    )


def json_plan(label: str, found: Inference) -> Iterator[str]:
    """Yield the lines of a whole plan, without comments."""
    common = found.common()
    plan: dict[str, Any] = {"version": 1}
    if common is not None:
        plan["common"] = _of_common(common)[0]
    made = proposals(found, (), common.properties if common else ())
    plan["events"] = {one.name: one.value for one in made}
    yield from json.dumps(plan, indent=2).split("\n")


def json_event(one: Proposal) -> str:
    """Return an event as an item of a JSON object, without comments."""
    return f"{json.dumps(one.name)}: {json.dumps(one.value, indent=_STEP)}"


# TOML.


def toml_event(one: Proposal) -> Iterator[str]:
    """Yield the lines of an event as tables, with its comments."""
    path = f"events.{_toml_key(one.name)}"
    yield ""
    yield from yaml.comment(one.comment)
    yield f"[{path}]"
    properties = one.value.get("properties", {})
    for key, value in one.value.items():
        if key != "properties":
            yield f"{key} = {toml(value)}"
    if properties:
        yield ""
        yield from _toml_properties(f"{path}.properties", properties, one.seen)


def _toml_properties(
    path: str, properties: Mapping[str, Any], seen: Mapping[str, str]
) -> Iterator[str]:
    yield f"[{path}]"
    for name, keywords in properties.items():
        yield f"{_toml_key(name)} = {toml(keywords)}  # {seen[name]}"


def toml_plan(label: str, found: Inference) -> Iterator[str]:
    """Yield the lines of a whole plan."""
    yield from _introduction(label, found)
    yield "version = 1"
    common = found.common()
    if common is not None:
        yield ""
        yield from _toml_properties("common", *_of_common(common))
    for one in proposals(found, (), common.properties if common else ()):
        yield from toml_event(one)


def toml(value: Any) -> str:
    """Return a value as TOML, in one line.

    >>> toml({"type": "string", "enum": ["a b", "c"], "required": True})
    '{type = "string", enum = ["a b", "c"], required = true}'
    """
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_toml_key(key)} = {toml(one)}' for key, one in value.items())}}}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, str):
        text = value.encode("utf-8", "replace").decode()  # TOML has no lone surrogates
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


def _toml_key(key: str) -> str:
    return key if _BARE.fullmatch(key) else toml(key)
