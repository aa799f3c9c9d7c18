"""Compiled encoders: record → line in one call, for call sites whose records look alike.

A program has few log calls and makes each of them a million times: the same extras, of the same
types, in the same order. For such a *call shape*, all that `fslog.formatter` and
`fslog.mapping.encoding` would find out again is known, so a function is compiled that checks a
record against the shape, to the last attribute, and joins its line from prepared fragments. If the
record differs in anything (a value of another type, an empty id, a NaN), the function returns
None and the formatter decides. The line is the same, byte for byte; a test compares the two.

The listener compiles. The log calls that show a shape only copy names and types.
"""

from __future__ import annotations

import contextlib
import itertools
import json.encoder
import linecache
import math
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from logging import LogRecord
from typing import Any, NamedTuple

from fslog.mapping import schema, sessions
from fslog.mapping.encoding import encode

Encode = Callable[[dict[str, Any], Any, Mapping[str, Any]], "bytes | None"]
"""Return the line for a record's attributes, its `created` and the bound properties.

None, or any exception: the record does not have the shape.
"""

PlanChecks = Callable[[Mapping[str, Any], Mapping[str, type], frozenset[str]], Any]

CallSite = tuple[Any, Any]
"""The file and the line of a log call."""

_MAX_SITES = 2_000
_MAX_SHAPES = 4
"""Shapes of one call site; a log call with more is not worth the search."""

_KINDS = (str, int, float, bool, type(None))
"""Types whose values have one representation in a line."""

_FLAGS = "('false', 'true')"

_quote = json.encoder.encode_basestring

# Few names: those that were not used for a while have left the processor's caches.
_GLOBALS = {"floor": math.floor, "quote": _quote, **{kind.__name__: kind for kind in _KINDS}}

_numbers = itertools.count(1)


class CallShape(NamedTuple):
    """The names and types of a record that was an event, in order, and the event's action.

    Args:
        attributes, bound: of the record, and of the bound properties.
        nested: of the extra `event`; None if there is none, or if it is None.
        action: of the event.
    """

    attributes: list[tuple[str, type]]
    bound: list[tuple[str, type]]
    nested: list[tuple[str, type]] | None
    action: str


@dataclass(slots=True)
class _Known:
    """What is known of one call site."""

    records: int = 0
    encoders: tuple[tuple[CallShape, Encode], ...] = ()


class EncoderCache:
    """Compile encoders for call sites, and keep them.

    An encoder's source is in `linecache`, so that tracebacks show it and debuggers step through it.
    It is removed when a new cache is created after this one is gone. In older CPythons
    `linecache.checkcache` raises KeyError if the garbage collector removes an entry meanwhile.

    Args:
        is_property: whether an extra of an explicit event is a property.
        fields: the properties that are read from the record if the call does not give them.
        defaults: the properties of events that have no other value for them.
        session: derives a sessionId; None if the call has to give it.
        enabled: False: nothing is compiled.
        plan: the checks of a call shape by a plan, given the properties with the same value each
            time, the types of the others, and the names of derived ones; None for no plan.
    """

    def __init__(
        self,
        is_property: Callable[[str], bool],
        *,
        fields: Iterable[str],
        defaults: Mapping[str, Any],
        session: sessions.SessionIds | None,
        enabled: bool,
        plan: PlanChecks | None = None,
    ) -> None:
        self._configuration = (is_property, frozenset(fields), defaults, session, plan)
        self._max_sites = _MAX_SITES if enabled else 0
        self._known: dict[CallSite, _Known] = {}
        self._sources: list[str] = []
        self.encoders: dict[CallSite, Encode] = {}
        _remove_unused_sources()
        weakref.finalize(self, _unused_sources.append, self._sources).atexit = False

    def observe(
        self, record: LogRecord, bound: Mapping[str, Any], action: Any
    ) -> Callable[[], None] | None:
        """Return the function that compiles an encoder for records like this one, if it is time.

        That is at the second record of a call site without an encoder, and again each time that
        the number of such records has doubled.

        Args:
            record: one whose event had no problem and no warning.
            bound: the bound properties.
            action: of the event.
        """
        attributes = record.__dict__
        site = (attributes["pathname"], attributes["lineno"])
        known = self._known.get(site)
        if known is None:
            if len(self._known) >= self._max_sites:
                return None
            known = self._known.setdefault(site, _Known())
        known.records += 1
        if known.records < 2 or known.records & (known.records - 1) or type(action) is not str:
            return None
        nested = attributes.get("event")
        if len(known.encoders) >= _MAX_SHAPES or type(nested) not in (dict, type(None)):
            return None
        shape = CallShape(
            [(name, type(value)) for name, value in attributes.items()],
            [(name, type(value)) for name, value in bound.items()],
            None if nested is None else [(name, type(nested[name])) for name in nested],
            action,
        )
        return partial(self._compile, site, known, shape)

    def _compile(self, site: CallSite, known: _Known, shape: CallShape) -> None:
        # A busy log call shows the same shape again before the first of it is compiled.
        if any(shape == other for other, _ in known.encoders):
            return
        name = f"<fslog encoder {next(_numbers)} for {site[0]}:{site[1]}>"
        made = _Compiler(*self._configuration, shape).compile(name)
        if made is None:
            return
        encode_record, source = made
        self._sources.append(name)
        # No modification time: `linecache.checkcache` leaves the entry alone.
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        known.encoders = (*known.encoders, (shape, encode_record))
        self.encoders[site] = _first_of([each for _, each in known.encoders])


_unused_sources: deque[list[str]] = deque()
"""The names of sources by caches that no longer exist."""


def _remove_unused_sources() -> None:
    with contextlib.suppress(IndexError):  # none is left
        while True:
            for name in _unused_sources.popleft():
                linecache.cache.pop(name, None)


def _first_of(encoders: list[Encode]) -> Encode:
    if len(encoders) == 1:
        return encoders[0]

    def encode_first(
        attributes: dict[str, Any], created: Any, bound: Mapping[str, Any]
    ) -> bytes | None:
        for encode_record in encoders:
            line = encode_record(attributes, created, bound)
            if line is not None:
                return line
        return None

    return encode_first


def _is_text(name: Any) -> bool:
    """Return whether a line can hold a name as it is."""
    return type(name) is str and name.encode(errors="replace").decode() == name


@lru_cache(maxsize=16_384)
def _session_without_warning(account: str, user: str, window: int) -> str:
    """Return `of_window`'s id; raise for ids that are to be reported, which is not cached.

    One look-up for both: an event without a warning pays nothing for the check of its ids.
    """
    if schema.id_warnings(account, user):
        raise ValueError("the ids have a warning")
    return sessions.of_window(account, user, window)


@dataclass
class _Compiler:
    """Compile the encoder of one call shape.

    Of a record, only names and the action are in the source, as literals; everything else is bound
    to a global name of the function.
    """

    is_property: Callable[[str], bool]
    fields: frozenset[str]
    defaults: Mapping[str, Any]
    session: sessions.SessionIds | None
    plan: PlanChecks | None
    shape: CallShape
    globals: dict[str, Any] = field(default_factory=_GLOBALS.copy)
    statements: list[str] = field(default_factory=list)
    line: list[str] = field(default_factory=list)

    def compile(self, name: str) -> tuple[Encode, str] | None:
        """Return the function and its source; None if the shape cannot be compiled.

        Args:
            name: of the source's file.
        """
        sources = self._sources()
        if sources is None:
            return None
        self._check_names()
        for number, (property_name, (source, kind)) in enumerate(sources.items()):
            if not self._add_property(property_name, source, kind, f"v{number}"):
                return None
        self._add_time("createdAt" in sources)
        if self.plan is not None:
            self._add_plan(self.plan, sources)
        if "sessionId" in sources or self.session is not sessions.by_window:
            self._require(f"not {self._bind(schema.id_warnings)}(accountId, userId)")
        if "sessionId" not in sources:
            if self.session is None:
                return None
            self._add_session()
        self._write("}\n")
        line = "\n        ".join(self.line)
        body = "\n    ".join([*self.statements, f"return (\n        {line}\n    ).encode()"])
        source_text = f"def encode_record(attributes, created, bound):\n    {body}\n"
        exec(compile(source_text, name, "exec"), self.globals)
        return self.globals["encode_record"], source_text

    def _sources(self) -> dict[str, tuple[str, Any]] | None:
        """Return where each property comes from, in the order of `EventFormatter`."""
        shape = self.shape
        own = {
            name: ("attributes", kind) for name, kind in shape.attributes if self.is_property(name)
        }
        if shape.nested is not None:
            own.pop("event", None)
            own.update((name, ("nested", kind)) for name, kind in shape.nested)
        elif "event" in own:
            return None
        sources: dict[str, tuple[str, Any]] = {
            **{name: ("default", value) for name, value in self.defaults.items()},
            **{name: ("bound", kind) for name, kind in shape.bound},
            **own,
        }
        is_known = (
            "action" in own
            and all(map(_is_text, sources))
            and all(name in sources for name in schema.IDS)
            and not self.fields - own.keys()
        )
        return sources if is_known else None

    def _check_names(self) -> None:
        names = self._bind([name for name, _ in self.shape.attributes])
        self._require(f"list(attributes) == {names}")
        if self.shape.bound:
            names = self._bind([name for name, _ in self.shape.bound])
            self._require(f"list(bound) == {names}")
        else:
            self._require("not bound")
        self._check_event()

    def _check_event(self) -> None:
        """Check an extra `event`, whether it is a property or not: it holds some."""
        if self.shape.nested is not None:
            names = self._bind([name for name, _ in self.shape.nested])
            self.statements.append('nested = attributes["event"]')
            self._require(f"type(nested) is dict and list(nested) == {names}")
        elif any(name == "event" for name, _ in self.shape.attributes):
            self._require('attributes["event"] is None')

    def _add_property(self, name: str, source: str, kind: Any, value: str) -> bool:
        """Add a property to the line; return False if that is not possible."""
        if source == "default":
            return self._add_default(name, kind)
        if kind not in _KINDS or (name == "createdAt" and kind not in (int, float)):
            return False
        if name in schema.REQUIRED and name != "createdAt":
            if kind is not str and not (kind is int and name in schema.IDS):
                return False
        self.statements.append(f"{value} = {source}[{name!r}]")
        self._require(f"type({value}) is {kind.__name__}")
        self._begin(name)
        self._add_value(name, value, kind)
        return True

    def _add_default(self, name: str, value: Any) -> bool:
        """Add a default to the line, encoded now: it is the same each time."""
        coerced = {name: value}
        schema.coerce(coerced)
        if type(value) not in _KINDS or any(p.property == name for p in schema.problems(coerced)):
            return False
        if name in schema.IDS or name == "createdAt":
            self.statements.append(f"{name} = {self._bind(coerced[name])}")
        self._begin(name)
        self._write(encode({"": coerced[name]}).decode()[len('{"":') : -len("}\n")])
        return True

    def _add_plan(self, plan: PlanChecks, sources: Mapping[str, tuple[str, Any]]) -> None:
        """Add the check that the event is as planned, as far as its names and types do not say."""
        fixed = {name: value for name, (source, value) in sources.items() if source == "default"}
        schema.coerce(fixed)
        fixed["action"] = self.shape.action
        variables, kinds = {}, {}
        for number, (name, (source, kind)) in enumerate(sources.items()):
            if source != "default" and name != "action":
                variables[name] = f"v{number}"
                kinds[name] = str if name in schema.IDS else kind
        if "createdAt" not in sources:
            variables["createdAt"], kinds["createdAt"] = "createdAt", int
        derived = frozenset({"sessionId"} - sources.keys())
        checks = plan(fixed, kinds, derived)
        key = "".join(f"{variables[name]}, " for name in checks.names)
        self.statements.append(f"check = {self._bind(checks)}[({key})]")
        arguments = ", ".join(variables[name] for name in checks.arguments)
        self._require(f"check is None or check({arguments})")

    def _begin(self, name: str) -> None:
        self._write(("," if self.line else "{") + _quote(name) + ":")

    def _add_value(self, name: str, value: str, kind: Any) -> None:
        if name in schema.IDS and kind is int:
            self.statements.append(f"{value} = str({value})")
            kind = str
        if name in schema.IDS or name == "createdAt":
            self.statements.append(f"{name} = {value}")
        if name == "action":
            self._require(f"{value} == {self._bind(self.shape.action)}")
            self._write(_quote(self.shape.action))
            return
        if name in schema.REQUIRED and kind is str:
            self._require(value)
        if kind is float:
            self._require(f"{value} - {value} == 0.0")
        expressions = {
            str: f"quote({value})",
            float: f"{value}!r",
            bool: f"{_FLAGS}[{value}]",
            int: value,
        }
        if kind in expressions:
            self._fill(expressions[kind])
        else:
            self._write("null")

    def _add_time(self, is_given: bool) -> None:
        if is_given:
            self._require(f"createdAt <= {self._bind(schema.MOST_MS)}")
        else:
            self._require("type(created) is float")
            self.statements.append("createdAt = floor(created * 1000 + 0.5)")
            self._begin("createdAt")
            self._fill("createdAt")
        self._require(f"createdAt >= {schema.EARLIEST_MS}")

    def _add_session(self) -> None:
        self._begin("sessionId")
        self._write('"')
        if self.session is sessions.by_window:
            window = f"int(createdAt // {sessions.WINDOW_MS})"
            self._fill(f"{self._bind(_session_without_warning)}(accountId, userId, {window})")
        else:
            self._fill(f"{self._bind(self.session)}(accountId, userId, createdAt)")
        self._write('"')

    def _require(self, condition: str) -> None:
        """Add a statement: without the condition, the record does not have the shape."""
        self.statements.append(f"if not ({condition}): return None")

    def _write(self, text: str) -> None:
        """Add a text to the line."""
        self.line.append("f" + repr(text.replace("{", "{{").replace("}", "}}")))

    def _fill(self, expression: str) -> None:
        """Add the value of an expression to the line."""
        self.line.append(f'f"{{{expression}}}"')

    def _bind(self, value: Any) -> str:
        """Return a global name of the function for a value."""
        name = f"k{len(self.globals)}"
        self.globals[name] = value
        return name
