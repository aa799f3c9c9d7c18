"""A document in a file: JSON, YAML or TOML, without a key that occurs twice.

A second value of a key would replace the first without a word. YAML is constructed here from the
parser's events: that takes a fifth of the time of PyYAML's own constructor, if PyYAML has its
parser in C, and a document of ten thousand mappings is read when a program starts.
"""

from __future__ import annotations

import json
import os
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fslog.config.files import FileError, SourceError, text_of, yaml_error
from fslog.interrupts import unless_interrupt

_MAX_DEPTH = 32
_ABSENT, _OPEN, _MERGE = object(), object(), object()


def document(path: str | os.PathLike[str]) -> Any:
    """Return what a file contains; None for an empty one.

    Raises:
        FileError: the file cannot be read, or not by this Python.
        SourceError: it is not valid.
    """
    path = os.fspath(path)
    extension = os.path.splitext(path)[1].lower()
    if extension not in _PARSERS:
        if os.path.isdir(path):
            raise FileError(f"{path} is a directory; expected a file")
        raise FileError(f"{path} has an unknown extension; expected {', '.join(_PARSERS)}")
    kind, remedy, module, parse = _PARSERS[extension]
    try:
        parser = pkgutil.resolve_name(module)
    except ImportError:
        raise FileError(f"{path}: {kind} needs {remedy}") from None
    text = text_of(path)
    try:
        return parse(parser, text) if text.strip() else None
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from None
    except unless_interrupt(Exception) as error:  # PyYAML may be missing: its own has no name here
        reason = yaml_error(error) if kind == "YAML" else error
        raise SourceError(f"{path} is not valid {kind}: {reason}") from None


def _json(parser: Any, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise SourceError("it is nested too deep") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise SourceError(f"the key {_repeated(key for key, _ in pairs)!r} occurs twice")
    return found


def _repeated(keys: Iterable[Any]) -> Any:
    seen: set[Any] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return None


def _toml(parser: Any, text: str) -> Any:
    return parser.loads(text)


def _yaml(parser: Any, text: str) -> Any:
    return _Yaml(parser, text).document()


class _Yaml:
    """Construct a document from the events of PyYAML's parser, in C if there is one."""

    def __init__(self, yaml: Any, text: str) -> None:
        self._yaml = yaml
        self._text = text
        self._loader = yaml.SafeLoader("")
        # Any text that begins otherwise is a string.
        self._firsts = yaml.SafeLoader.yaml_implicit_resolvers
        self._plain: dict[str, Any] = {}
        self._anchors: dict[str, Any] = {}

    def document(self) -> Any:
        yaml = self._yaml
        parser = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(self._text)
        root: list[Any] = []
        # The containers that are open: their values, or alternating keys and values.
        values, stack = root, []
        scalar, plain = yaml.ScalarEvent, self._plain
        starts = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
        ends = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
        for event in iter(parser.get_event, None):
            kind = type(event)
            if kind is scalar:
                # Most events are strings in quotes, or plain words that have been there before.
                value = event.value
                if event.tag is not None or event.implicit[0]:
                    if event.tag is not None or (value := plain.get(value, _ABSENT)) is _ABSENT:
                        value = self._scalar(event)
            elif kind in starts:
                stack.append((values, event))
                if len(stack) > _MAX_DEPTH:
                    raise SourceError(f"{_place(event)}: it is nested too deep")
                if event.anchor:
                    self._anchors[event.anchor] = _OPEN
                values = []
                continue
            elif kind in ends:
                inner = values
                values, event = stack.pop()
                value = _mapping(inner, event) if kind is ends[0] else inner
            elif kind is yaml.AliasEvent:
                values.append(self._alias(event))
                continue
            elif kind is yaml.DocumentStartEvent and root:
                raise SourceError(f"{_place(event)}: a second document begins; expected one")
            else:
                continue
            if event.anchor:
                self._anchors[event.anchor] = value
            values.append(value)
        return root[0] if root else None

    def _alias(self, event: Any) -> Any:
        value = self._anchors.get(event.anchor, _ABSENT)
        if value is _ABSENT:
            raise SourceError(f"{_place(event)}: the anchor {event.anchor!r} is not defined")
        if value is _OPEN:
            raise SourceError(
                f"{_place(event)}: {event.anchor!r} contains itself, which is a cycle"
            )
        return value

    def _scalar(self, event: Any) -> Any:
        text = event.value
        if event.tag is None and text[:1] not in self._firsts and None not in self._firsts:
            self._plain[text] = text
            return text
        node_type, loader = self._yaml.ScalarNode, self._loader
        tag = event.tag or loader.resolve(node_type, text, (True, False))
        if tag == "tag:yaml.org,2002:merge":
            return _MERGE
        node = node_type(tag, text, event.start_mark, event.end_mark)
        value = loader.construct_object(node, deep=True)
        if event.tag is None:
            self._plain[text] = value
        return value


def _mapping(values: list[Any], event: Any) -> dict[Any, Any]:
    both = iter(values)
    try:
        found = dict(zip(both, both, strict=True))
    except TypeError:
        raise SourceError(f"{_place(event)}: a key is a list or a mapping") from None
    if len(found) * 2 != len(values):
        twice = "<<" if (key := _repeated(values[::2])) is _MERGE else key
        raise SourceError(f"{_place(event)}: the key {twice!r} occurs twice in this mapping")
    if _MERGE in found:
        merged = found.pop(_MERGE)
        for each in merged if isinstance(merged, list) else [merged]:
            if not isinstance(each, Mapping):
                raise SourceError(f"{_place(event)}: what << merges is not a mapping")
            found = {**each, **found}
    return found


def _place(event: Any) -> str:
    mark = event.start_mark
    return f"line {mark.line + 1}, column {mark.column + 1}"


_PARSERS: dict[str, tuple[str, str, str, Callable[[Any, str], Any]]] = {
    ".yaml": ("YAML", "PyYAML: pip install PyYAML", "yaml", _yaml),
    ".yml": ("YAML", "PyYAML: pip install PyYAML", "yaml", _yaml),
    ".json": ("JSON", "Python", "json", _json),
    ".toml": ("TOML", "Python 3.11 or newer", "tomllib", _toml),
}
