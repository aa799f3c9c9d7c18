"""A configuration as YAML with comments, without a YAML library: JSON's strings are YAML's, too."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fslog.net.redaction import printable

_PLAIN = re.compile(r"[A-Za-z][\w.]*", re.ASCII)
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"})
_COLUMNS = 96


def scalar(value: Any) -> str:
    r"""Return a text, a number or a boolean.

    >>> scalar("app.reports"), scalar("yes"), scalar(r"/^\w+$/"), scalar("it's %s")
    ('app.reports', '"yes"', "'/^\\w+$/'", '"it\'s %s"')
    """
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    if "\\" in value and value.isprintable():
        doubled = value.replace("'", "''")
        return f"'{doubled}'"
    return f'"{"".join(map(_escaped, value))}"'


def _escaped(one: str) -> str:
    if ord(one) > 0xFFFF:  # YAML has no pairs of surrogates
        return one if one.isprintable() else f"\\U{ord(one):08x}"
    return json.dumps(one, ensure_ascii=not one.isprintable())[1:-1]


def flow(value: Any) -> str:
    """Return a value in one line.

    >>> flow({"methods": ["POST"], "status": "2xx,3xx"})
    '{methods: [POST], status: "2xx,3xx"}'
    """
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{scalar(key)}: {flow(one)}' for key, one in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(flow, value))}]"
    return scalar(value)


def comment(text: str, indent: int = 0) -> Iterator[str]:
    """Yield the lines of a comment; what is in a record cannot end one."""
    mark = f"{' ' * indent}# "
    for line in textwrap.wrap(printable(text), _COLUMNS - len(mark), break_on_hyphens=False):
        yield f"{mark}{line}"


def block(rule: Mapping[str, Any], indent: int) -> Iterator[str]:
    """Yield the lines of a mapping in a list, with a key in each line."""
    mark = "- "
    for key, value in rule.items():
        yield f"{' ' * indent}{mark}{scalar(key)}: {flow(value)}"
        mark = "  "


def items(values: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a list in a comment."""
    for value in values:
        first, *rest = comment(value)
        yield f"# - {first[2:]}"
        yield from (f"#   {line[2:]}" for line in rest)
