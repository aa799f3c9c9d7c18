"""Add events to the text of a plan: every byte of it stays, in YAML, JSON and TOML."""

from __future__ import annotations

import json
import os
import pkgutil
import re
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

from fslog.cli.options import CommandError
from fslog.cli.upload.ndjson import reason_of
from fslog.config.documents import document
from fslog.config.files import SourceError
from fslog.plan.inference import Inference
from fslog.plan.plan import Plan
from fslog.plan.proposals import (
    Proposal,
    json_plan,
    toml_event,
    toml_plan,
    yaml_event,
    yaml_flow_event,
    yaml_plan,
)

_BOM = b"\xef\xbb\xbf"
_COMMENT = re.compile(r"#.*")
_BLANK = re.compile(r"[ \t\r\n]*")
_INDENT = re.compile(r"\n([ \t]*)\"")


def extend(path: str, found: Sequence[Proposal]) -> None:
    """Add events to the file of a valid plan, and replace the file in one step.

    Raises:
        CommandError: the file cannot be written, or there is no place for the events in its text.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read()
        bom = _BOM if raw.startswith(_BOM) else b""
        text = raw[len(bom) :].decode()
        made = _FORMATS[format_of(path)](text, found)
        _replace(path, bom + made.encode(), found)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {reason_of(error)}", 1) from None


def create(path: str, label: str, found: Inference) -> None:
    """Write the file of a new plan.

    Raises:
        CommandError: the file cannot be written.
    """
    lines = _PLANS[format_of(path)](label, found)
    try:
        with open(path, "x", encoding="utf-8", errors="replace") as file:
            file.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {reason_of(error)}", 1) from None


def format_of(path: str) -> str:
    """Return the extension of a plan's file.

    Raises:
        CommandError: it is not one of YAML, JSON and TOML.
    """
    extension = os.path.splitext(path)[1].lower()
    if extension not in _FORMATS:
        expected = ", ".join(_FORMATS)
        raise CommandError(f"{path} has an unknown extension; expected one of {expected}")
    return extension


def _replace(path: str, raw: bytes, found: Sequence[Proposal]) -> None:
    target = os.path.realpath(path)
    name, extension = os.path.splitext(os.path.basename(target))
    handle, made = tempfile.mkstemp(extension, f".{name}-", os.path.dirname(target))
    try:
        with open(handle, "wb") as file:
            file.write(raw)
        if not _is_extended(path, made, found):
            raise CommandError(
                f"{path} has no place for more events that leaves its text as it is: write its "
                "events as a block below `events`",
                1,
            )
        try:
            Plan.read(made)
        except (TypeError, ValueError) as error:
            reason = str(error).replace(made, path)
            raise CommandError(
                f"with the events that it lacks the plan is wrong: {reason}"
            ) from None
        shutil.copymode(target, made)
        os.replace(made, target)
    except BaseException:
        os.unlink(made)
        raise


def _is_extended(path: str, made: str, found: Sequence[Proposal]) -> bool:
    """Return whether a file has the content of another one, and the events."""
    before = document(path)
    events = {**(before.get("events") or {}), **{one.name: one.value for one in found}}
    try:
        return bool(document(made) == {**before, "events": events})
    except SourceError:
        return False


def _yaml(text: str, found: Sequence[Proposal]) -> str:
    compose, loader = map(pkgutil.resolve_name, ("yaml:compose", "yaml:SafeLoader"))
    root = compose(text, loader)
    pairs = {key.value: (key, node) for key, node in root.value}
    if "events" not in pairs:
        return _lines_at(text, len(text), ["events:", *_yaml_lines(found, 2, 2)])
    key, events = pairs["events"]
    if not events.value:
        if events.end_mark.index > events.start_mark.index:  # `{}`
            return _in_flow(text, events, found)
        return _lines_at(text, key.end_mark.index, _yaml_lines(found, 2, 2))
    if events.flow_style:
        return _in_flow(text, events, found)
    first, node = events.value[0]
    column = first.start_mark.column
    has_own_line = node.start_mark.line > first.start_mark.line
    step = node.start_mark.column - column if has_own_line else column
    lines = _yaml_lines(found, column, step if step > 0 else 2)
    return _lines_at(text, _end_of(events, first.start_mark.index), lines)


def _yaml_lines(found: Sequence[Proposal], indent: int, step: int) -> list[str]:
    return [line for one in found for line in yaml_event(one, indent, step)]


def _end_of(node: Any, begin: int) -> int:
    """Return where the last part of a block ends; what an alias repeats stands before it."""
    end = begin
    waiting, known = [node], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in known:
            continue
        known.add(id(one))
        is_block = isinstance(one.value, list) and not one.flow_style
        if not is_block and one.start_mark.index >= begin:
            end = max(end, one.end_mark.index)
        if isinstance(one.value, list):
            for part in one.value:
                waiting.extend(part if isinstance(part, tuple) else (part,))
    return end


def _lines_at(text: str, at: int, lines: Sequence[str]) -> str:
    """Insert lines at the beginning of a line, or else after the line of a position."""
    newline = "\r\n" if "\r\n" in text else "\n"
    if at and text[at - 1] != "\n":
        end = text.find("\n", at)
        at = len(text) if end < 0 else end + 1
    head = text[:at]
    if head and not head.endswith("\n"):
        head += newline
    return f"{head}{''.join(f'{line}{newline}' for line in lines)}{text[at:]}"


def _in_flow(text: str, events: Any, found: Sequence[Proposal]) -> str:
    """Insert items before the brace that ends a mapping in flow style."""
    brace = events.end_mark.index - 1
    comma = ""
    if events.value:
        key, value = events.value[-1]
        ends = [
            one.end_mark.index
            for one in (key, value)
            if one.start_mark.index >= key.start_mark.index
        ]
        rest = _COMMENT.sub("", text[max(ends) : brace])
        comma = "" if "," in rest else ", "
    return f"{text[:brace]}{comma}{', '.join(map(yaml_flow_event, found))}{text[brace:]}"


def _json(text: str, found: Sequence[Proposal]) -> str:
    at, events = _json_object(text, "events")
    inside = text[at : at + events]
    indent = _INDENT.search(inside)
    outer = _INDENT.search(text)
    step = outer[1] if outer else ""
    margin = indent[1] if indent else step * 2
    brace = at + events - 1
    end = len(text[:brace].rstrip())
    comma = "" if text[end - 1] == "{" else ","
    parts = []
    for one in found:
        value = json.dumps(one.value, indent=step or None)
        pair = f"{json.dumps(one.name)}: {value}"
        parts.append(pair.replace("\n", f"\n{margin}"))
    if not step:
        return f"{text[:end]}{comma and ', '}{', '.join(parts)}{text[end:]}"
    rest = text[end:] if "\n" in text[end:brace] else f"\n{step}{text[end:]}"
    return f"{text[:end]}{comma}\n{margin}" + f",\n{margin}".join(parts) + rest


def _json_object(text: str, name: str) -> tuple[int, int]:
    """Return where the value of a key of the outermost object begins, and its length."""
    decoder = json.JSONDecoder()
    at = text.index("{") + 1
    found = (0, 0)
    while True:
        at = _skip(text, at, ",")
        if text[at] == "}":
            return found
        key, at = decoder.raw_decode(text, at)
        begin = _skip(text, at, ":")
        _, at = decoder.raw_decode(text, begin)
        if key == name:
            found = begin, at - begin


def _skip(text: str, at: int, mark: str) -> int:
    """Return the position after blanks and a mark, if it is there."""
    blank = _BLANK.match(text, at)
    at = blank.end() if blank else at
    if text[at] != mark:
        return at
    blank = _BLANK.match(text, at + 1)
    return blank.end() if blank else at + 1


def _toml(text: str, found: Sequence[Proposal]) -> str:
    return _lines_at(text, len(text), [line for one in found for line in toml_event(one)])


_FORMATS = {".yaml": _yaml, ".yml": _yaml, ".json": _json, ".toml": _toml}
_PLANS = {".yaml": yaml_plan, ".yml": yaml_plan, ".json": json_plan, ".toml": toml_plan}
