"""JSON values as literals: indented JSON, Python, YAML; and bytes for a POSIX shell.

`parse` keeps numbers as text, so that no digit changes. The output is safe to read and to paste:
unprintable characters are escaped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

WIDTH = 88
"""Python literals that fit into this line length are not broken."""

MAX_DEPTH = 40
"""Deeper values are not formatted; Python's own parser fails at 200 brackets."""

_STEP = "    "


class Number(str):
    """The text of a JSON number, unchanged."""

    __slots__ = ()


parse: Callable[[str], Any] = json.JSONDecoder(parse_int=Number, parse_float=Number).decode
"""Parse JSON with its numbers as `Number`."""


def depth(value: Any) -> int:
    """Return the nesting depth of containers, without recursion.

    >>> depth(1), depth([]), depth({"a": [1, [2]]})
    (0, 1, 3)
    """
    deepest, level = 0, [value]
    while level := [one for one in level if isinstance(one, (dict, list))]:
        deepest += 1
        level = [
            inner for one in level for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return deepest


def json_text(value: Any, indent: str = "") -> str:
    r"""Return indented JSON.

    >>> print(json_text(parse('{"a":1e400,"b":["\\u00eb",{}]}')))
    {
      "a": 1e400,
      "b": [
        "ë",
        {}
      ]
    }
    """
    if isinstance(value, (dict, list)) and value:
        inner = f"{indent}  "
        rows = [f"{inner}{head}{json_text(item, inner)}" for head, item in _items(value, json_word)]
        start, end = "{}" if isinstance(value, dict) else "[]"
        return f"{start}\n" + ",\n".join(rows) + f"\n{indent}{end}"
    return json_word(value)


def json_word(value: Any) -> str:
    r"""Return a JSON value on one line, with unprintable characters escaped.

    >>> json_word("Zo\xeb\u202e"), json_word([]), json_word(None)
    ('"Zoë\\u202e"', '[]', 'null')
    """
    if isinstance(value, Number):
        return str(value)
    if not isinstance(value, str):
        return json.dumps(value)
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in quoted)


def python_text(value: Any, indent: str = "") -> str:
    """Return a JSON value as a Python literal, on several lines if one would be too long.

    >>> print(python_text({"a": [True, None, Number("1e400")], "b": "it's"}))
    {"a": [True, None, 1e400], "b": "it's"}
    """
    flat = python_word(value)
    if len(indent) + len(flat) <= WIDTH or not (isinstance(value, (dict, list)) and value):
        return flat
    inner = indent + _STEP
    rows = [
        f"{inner}{head}{python_text(item, inner)}," for head, item in _items(value, python_word)
    ]
    start, end = "{}" if isinstance(value, dict) else "[]"
    return "\n".join([start, *rows, f"{indent}{end}"])


def python_word(value: Any) -> str:
    r"""Return a JSON value as a Python literal on one line.

    >>> python_word("a\n"), python_word('say "a"'), python_word({"a": Number("-0")})
    ('"a\\n"', '\'say "a"\'', '{"a": -0}')
    """
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, str):
        shown = repr(value)
        return f'"{shown[1:-1]}"' if shown[0] == "'" and '"' not in shown else shown
    return _on_one_line(value, python_word) if isinstance(value, (dict, list)) else repr(value)


def yaml_word(value: Any) -> str:
    r"""Return a JSON value as one line of YAML with the same meaning in YAML 1.1 and 1.2.

    >>> yaml_word({"a\n": ["\U0001f600\u202e", 1e16, None, True, float("inf")]})
    '{"a\\n": ["😀\\u202E", 1.0e+16, null, true, .inf]}'
    """
    if isinstance(value, str):
        return f'"{"".join(map(_yaml_character, value))}"'
    if isinstance(value, (dict, list)):
        return _on_one_line(value, yaml_word)
    return _yaml_number(repr(value)) if isinstance(value, float) else json.dumps(value)


def _yaml_character(one: str) -> str:
    if one in '"\\':
        return f"\\{one}"
    if one == "\n":
        return "\\n"
    if one.isprintable():
        return one
    if "\ud800" <= one <= "\udfff":
        return "\ufffd"  # YAML cannot express a lone surrogate
    return f"\\U{ord(one):08X}" if ord(one) > 0xFFFF else f"\\u{ord(one):04X}"


def _yaml_number(text: str) -> str:
    if text in ("inf", "-inf"):
        return text.replace("inf", ".inf")
    mantissa, e, exponent = text.partition("e")
    # YAML 1.1 reads "1e+16" as text.
    return f"{mantissa}{'' if '.' in mantissa else '.0'}{e}{exponent}"


def _on_one_line(value: Any, word: Callable[[Any], str]) -> str:
    inside = ", ".join(f"{head}{word(item)}" for head, item in _items(value, word))
    return f"{{{inside}}}" if isinstance(value, dict) else f"[{inside}]"


def _items(value: Any, word: Callable[[Any], str]) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"{word(name)}: ", item) for name, item in value.items()]
    return [("", item) for item in value]


def shell_bytes(data: bytes) -> str:
    r"""Return bytes as a format string of the shell's built-in `printf`, which has no length limit.

    >>> shell_bytes(b"a'%\x00")
    "'a\\047%%\\000'"
    """
    plain = {ord("%"): "%%", ord("'"): "\\047", ord("\\"): "\\\\"}
    shown = (plain.get(one, chr(one)) if 32 <= one < 127 else f"\\{one:03o}" for one in data)
    return f"'{''.join(shown)}'"
