"""`fslog plan types`: a module with a type for each planned event, for mypy and pyright."""

from __future__ import annotations

import argparse
import builtins
import keyword
import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from fslog.cli.options import CommandParser
from fslog.cli.plan.reading import read_plan
from fslog.mapping.schema import REQUIRED
from fslog.plan.keywords import TYPES, Property
from fslog.plan.plan import Plan, PlannedEvent

_DESCRIPTION = """\
Print a Python module with a TypedDict for each event of a plan, so that mypy and
pyright check the log calls. The module needs the standard library alone, from
Python 3.10 on; neither fslog nor the plan is loaded at run time.

What identifies an event, and its own required properties, must be given in the
log call; what is common to all events may be absent, since context, fields or
defaults can provide it. Types cannot express bounds, patterns and lengths: these
are checked when the event is made."""

_EPILOG = """\
example:
  fslog plan types usage-plan.yaml > shop/usage.py

  from shop.usage import ReportExported
  log.info("exported", extra={"event": ReportExported(
      action="feature", module="reports", feature="export", total=3)})

The exit code is 0, or 2 for an invalid argument or plan."""

_TYPES = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "object": "Mapping[str, Any]",
    "array": "Sequence[Any]",
    "null": "None",
}
_GIVEN = {
    "accountId": "str | int | UUID",
    "userId": "str | int | UUID",
    "createdAt": "float | datetime",
    "sessionId": "str",
}
"""What a log call may give for the properties that need not be given, see `fslog.types`."""

_IMPORTS = {
    "collections.abc": ("Mapping", "Sequence"),
    "datetime": ("datetime",),
    "typing": ("Any", "Literal", "TypedDict"),
    "uuid": ("UUID",),
}
_IMPORTED = [name for names in _IMPORTS.values() for name in names]
_COLUMNS = 88
_VALUE = re.compile(r'"(?:[^"\\]|\\.)*"|[^,\s]+')
_LITERAL = re.compile(r'Literal\[((?:"(?:[^"\\]|\\.)*"|[^\]"])*)\]')
_WORD = re.compile(r"[^\W_]+")


def add_command(commands: Any, prog: str) -> None:
    """Add the parser of this command."""
    parser: CommandParser = commands.add_parser(
        "types", prog=f"{prog} types", description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument("plan", metavar="PLAN", help="the plan: YAML, JSON or TOML")
    parser.set_defaults(act=run_types)


def run_types(options: argparse.Namespace) -> int:
    """Print the module.

    Raises:
        CommandError: the plan is not valid.
    """
    print(module_text(read_plan(options.plan)), end="")
    return 0


def module_text(plan: Plan) -> str:
    """Return the source of the module."""
    body = "\n".join(line for block in _blocks(plan) for line in block)
    imports = "".join(_import_lines(body))
    of = f" of {os.path.basename(plan.source)}" if plan.source else ""
    head = _docstring(f"The planned events{of}, made by `fslog plan types`: do not edit.", "")
    return f"{head}\n\n{imports}\n{body}\n"


def _import_lines(body: str) -> Iterator[str]:
    words = set(re.findall(r"\w+", body))
    for module, names in _IMPORTS.items():
        used = [name for name in names if name in words or name == "TypedDict"]
        if used:
            yield f"from {module} import {', '.join(used)}\n"


def _blocks(plan: Plan) -> Iterator[list[str]]:
    names = class_names(plan.events)
    yield _all(names.values())
    for name, planned in plan.events.items():
        yield from _event(names[name], planned, plan.common)


def _all(names: Iterable[str]) -> list[str]:
    return ["__all__ = [", *(f'    "{name}",' for name in sorted(names)), "]"]


def class_names(events: Iterable[str]) -> dict[str, str]:
    """Return the name of each event's class: different ones, none of which is used otherwise.

    >>> [*class_names(["report exported", "Report: exported", "2nd", "any"]).values()]
    ['ReportExported', 'ReportExported2', 'Event2nd', 'Any2']
    """
    taken = {*_IMPORTED, *dir(builtins), *keyword.kwlist}
    found = {}
    for event in events:
        words = _WORD.findall(unicodedata.normalize("NFKC", event))
        name = "".join(f"{word[0].upper()}{word[1:]}" for word in words)
        name = "".join(one for one in name if f"a{one}".isidentifier())
        name = name if name.isidentifier() else f"Event{name}"
        number, free = 1, name
        while free in taken:
            number += 1
            free = f"{name}{number}"
        taken.add(free)
        found[event] = free
    return found


def _event(name: str, planned: PlannedEvent, common: Mapping[str, Property]) -> Iterator[list[str]]:
    """Yield the class of an event, after one with the properties that it must have."""
    needed: dict[str, str] = {}
    optional: dict[str, str] = {}
    for key, value in planned.constants.items():
        needed[key] = _literal([value])
    for key in [*planned.event, *planned.properties, *_GIVEN]:
        if key in needed or key in optional:
            continue
        one = planned.properties.get(key)
        is_own = one is not None and one is not common.get(key)
        kinds = needed if one and one.required and is_own and key not in REQUIRED else optional
        kinds[key] = _type_of(key, one)
    base = f"_Required{name}"
    yield ["", "", *_keys(base, needed, optional=False)]
    text = planned.description
    if planned.expires is not None:
        text = f"{text}\n\nNot expected any more from {planned.expires} on.".lstrip()
    doc = _docstring(text, "    ") if text else ""
    is_plain = all(map(_is_attribute, optional))
    keys = f"_Optional{name}"
    if not is_plain:
        yield ["", "", *_keys(keys, optional, optional=True)]
    bases = f"{base}, total=False" if is_plain else f"{base}, {keys}"
    lines = [f"class {name}({bases}):"]
    lines += [f"    {doc}"] if doc else []
    if is_plain:
        lines += [""] if doc else []
        lines += [line for key, kind in optional.items() for line in _field(key, kind)]
    elif not doc:
        lines.append("    pass")
    yield ["", "", *lines]


def _keys(name: str, fields: Mapping[str, str], *, optional: bool) -> Iterator[str]:
    """Yield a TypedDict with these keys, by a call if one of them cannot be an attribute."""
    total = ", total=False" if optional else ""
    if all(map(_is_attribute, fields)):
        yield f"class {name}(TypedDict{total}):"
        for key, kind in fields.items():
            yield from _field(key, kind)
        return
    yield f"{name} = TypedDict("
    yield f'    "{name}",'
    yield "    {"
    for key, kind in fields.items():
        yield from _wrapped("        ", text_literal(key), kind, ",")
    yield "    },"
    if optional:
        yield "    total=False,"
    yield ")"


def _field(key: str, kind: str) -> Iterator[str]:
    return _wrapped("    ", key, kind)


def _wrapped(indent: str, key: str, kind: str, end: str = "") -> Iterator[str]:
    """Yield a line, with each value of a `Literal` in a line of its own if it is too long."""
    found = _LITERAL.search(kind)
    line = f"{indent}{key}: {kind}{end}"
    if len(line) <= _COLUMNS or found is None:
        yield line
        return
    yield f"{indent}{key}: {kind[: found.start(1)]}"
    for value in _VALUE.findall(found[1]):
        yield f"{indent}    {value},"
    yield f"{indent}{kind[found.end(1) :]}{end}"


def _is_attribute(name: str) -> bool:
    """Return whether a key can be an annotation in a class.

    Not if that would hide a name that other annotations use, or if Python would change it.
    """
    return (
        name.isidentifier()
        and not keyword.iskeyword(name)
        and not name.startswith("__")
        and unicodedata.normalize("NFKC", name) == name
        and name not in {*_IMPORTED, *_TYPES.values()}
    )


def _type_of(name: str, one: Property | None) -> str:
    if one is None or (not one.types and one.enum is None):
        return _GIVEN.get(name, "Any")
    if one.enum is not None:
        return _literal(one.enum)
    if name in _GIVEN:
        return _GIVEN[name]
    return _union(_TYPES[kind] if kind != "array" else _array(one) for kind in _kinds(one.types))


def _kinds(types: Collection[str]) -> list[str]:
    return [
        kind for kind in TYPES if kind in types and not (kind == "integer" and "number" in types)
    ]


def _array(one: Property) -> str:
    return f"Sequence[{_type_of('', one.items)}]"


def _literal(values: Iterable[Any]) -> str:
    """Return the type of one of some JSON values; `Literal` has no numbers with a fraction."""
    shown = [_value(value) for value in values if isinstance(value, (str, int))]
    kinds = [f"Literal[{', '.join(dict.fromkeys(shown))}]"] if shown else []
    for value in values:
        if isinstance(value, float):
            kinds.append("float")
        elif isinstance(value, Mapping):
            kinds.append(_TYPES["object"])
        elif isinstance(value, (list, tuple)):
            kinds.append(_TYPES["array"])
    if any(value is None for value in values):
        kinds.append("None")
    return _union(kinds)


def _value(value: Any) -> str:
    return text_literal(value) if isinstance(value, str) else repr(value)


def text_literal(text: str) -> str:
    r"""Return a string as Python source in ASCII, in double quotes.

    >>> print(text_literal('a "b"\n\U0001f600'))
    "a \"b\"\n\U0001f600"
    """
    inside = "".join("\\\\" if one == "\\" else '\\"' if one == '"' else one for one in text)
    escaped = [one if one.isascii() and one.isprintable() else _escape(one) for one in inside]
    return f'"{"".join(escaped)}"'


def _escape(one: str) -> str:
    return one.encode("unicode_escape", "surrogatepass").decode()


def _union(kinds: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(kinds))


def _docstring(text: str, indent: str) -> str:
    """Return a docstring; nothing in the text ends it."""
    lines = [line.rstrip() for line in text.strip().splitlines()]
    safe = "".join(
        "\\\\"
        if one == "\\"
        else '\\"'
        if one == '"'
        else one
        if one == "\n" or one.isprintable()
        else _escape(one)
        for one in "\n".join(lines)
    )
    first, *rest = safe.split("\n")
    more = "".join(f"\n{indent}{line}" if line else "\n" for line in rest)
    end = f"\n{indent}" if rest else ""
    return f'"""{first}{more}{end}"""'
