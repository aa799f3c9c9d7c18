"""Record → line at once, for log calls whose like was seen before.

A program has few log calls and makes each of them a million times: the same extras, of the same
types, in the same order. For such a *shape* all that `fslog.formatter` and `fslog.mapping.encoding`
would find out again is known. So a function is made that does the rest: it looks whether a record
is of the shape, to the last attribute, and puts the line together from fragments that it wrote
before. Whatever differs, a value of another type, an empty id, a NaN, goes the long way, which
decides. The line is the same, byte for byte; a test compares the two.

A shape is learned by the thread that delivers. The log calls that showed it pay for a few tuples.
"""

from __future__ import annotations

import json.encoder
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from fslog.mapping import schema, sessions
from fslog.mapping.encoding import encode

Line = Callable[[dict[str, Any], Any, Mapping[str, Any]], "bytes | None"]
"""Makes a line of a record's attributes, its instant and what is bound; None: the long way.

It may raise anything, which means the same.
"""

Site = tuple[Any, Any]
"""The file and the line of a log call."""

_MAX_SITES = 2_000
"""How many places of log calls are remembered."""

_MAX_SHAPES = 4
"""How many shapes of one place are; a log call of more is not worth the search."""

_KINDS = (str, int, float, bool, type(None))
"""Types whose values are always the same in a line."""

_quote = json.encoder.encode_basestring


class Example(NamedTuple):
    """What is remembered of a record that was an event: names and types, and its action.

    Args:
        attributes, bound, nested: name and type of each, in order; `nested` is None without an
            extra `event`, and where that is None.
        action: of the event.
    """

    attributes: list[tuple[str, type]]
    bound: list[tuple[str, type]]
    nested: list[tuple[str, type]] | None
    action: str


class Shapes:
    """Learn shapes, and find those of a place.

    Args:
        is_property: whether an extra of an explicit event is a property.
        fields: properties that are read from the record, where the call does not give them.
        defaults: properties of events that have them from nowhere else.
        session: makes a sessionId of account, user and time; None if the call has to.
        enabled: whether anything is learned at all.
    """

    def __init__(
        self,
        is_property: Callable[[str], bool],
        *,
        fields: Iterable[str],
        defaults: Mapping[str, Any],
        session: sessions.SessionIds | None,
        enabled: bool,
    ) -> None:
        self._is_property = is_property
        self._fields = frozenset(fields)
        self._defaults = defaults
        self._session = session
        self._most_sites = _MAX_SITES if enabled else 0
        self._sightings: dict[Site, int] = {}
        self.of_site: dict[Site, tuple[tuple[Example, Line], ...]] = {}
        self.line_of: dict[Site, Line] = {}

    def example(
        self, site: Site, attributes: dict[str, Any], bound: Mapping[str, Any], action: Any
    ) -> Example | None:
        """Return what is to be learned of a record that was an event; None for nothing.

        Each place is looked at again when it was seen twice as often on the long way.
        """
        if len(self._sightings) >= self._most_sites and site not in self._sightings:
            return None
        seen = self._sightings[site] = self._sightings.get(site, 0) + 1
        known = len(self.of_site.get(site, ()))
        if seen < 2 or seen & (seen - 1) or known >= _MAX_SHAPES or type(action) is not str:
            return None
        nested = attributes.get("event")
        if nested is not None and type(nested) is not dict:  # what it does is its own business
            return None
        return Example(
            [(name, type(value)) for name, value in attributes.items()],
            [(name, type(value)) for name, value in bound.items()],
            None if nested is None else [(name, type(nested[name])) for name in nested],
            action,
        )

    def learn(self, site: Site, example: Example) -> None:
        """Make a shape of an example, if its like can be made at once."""
        # A busy log call shows the same shape again before the first example of it is learned.
        known = self.of_site.get(site, ())
        if any(example == other for other, _ in known):
            return
        line = _Maker(
            self._is_property, self._fields, self._defaults, self._session, example
        ).line()
        if line is not None:
            self.of_site[site] = (*known, (example, line))
            self.line_of[site] = _first_of([made for _, made in self.of_site[site]])


def _first_of(lines: list[Line]) -> Line:
    if len(lines) == 1:
        return lines[0]

    def line(attributes: dict[str, Any], created: Any, bound: Mapping[str, Any]) -> bytes | None:
        for line_of in lines:
            made = line_of(attributes, created, bound)
            if made is not None:
                return made
        return None

    return line


def _is_text(name: Any) -> bool:
    """Return whether a name is a text that a line can hold as it is."""
    return type(name) is str and name.encode(errors="replace").decode() == name


class _Maker:
    """Write the function of one shape.

    Nothing of a record stands in the code but names and the action, as text of literals; all else
    is bound to names of its own in the function's globals.
    """

    def __init__(
        self,
        is_property: Callable[[str], bool],
        fields: frozenset[str],
        defaults: Mapping[str, Any],
        session: sessions.SessionIds | None,
        example: Example,
    ) -> None:
        self._is_property = is_property
        self._fields = fields
        self._defaults = defaults
        self._session = session
        self._example = example
        # Few names, for what was not used for a while has left the processor's caches.
        self._known: dict[str, Any] = {
            "floor": math.floor,
            "quote": _quote,
            **{kind.__name__: kind for kind in _KINDS},
        }
        self._code: list[str] = []
        self._line: list[str] = []

    def line(self) -> Line | None:
        """Return the function; None if there can be none."""
        sources = self._sources()
        if sources is None:
            return None
        self._look_at_names()
        for name, (where, kind) in sources.items():
            if not self._add(name, where, kind):
                return None
        self._add_time("createdAt" in sources)
        if "sessionId" not in sources:
            if self._session is None:
                return None
            self._add_session()
        self._write("}\n")
        self._code.append(f"return ({' '.join(self._line)}).encode()")
        body = "\n ".join(self._code)
        scope = self._known
        exec(f"def line(attributes, created, bound):\n {body}", scope)
        made: Line = scope["line"]
        return made

    def _sources(self) -> dict[str, tuple[str, Any]] | None:
        """Return where each property comes from, in the order of `EventFormatter`."""
        sources: dict[str, tuple[str, Any]] = {}
        for name, value in self._defaults.items():
            sources[name] = ("default", value)
        sources.update((name, ("bound", kind)) for name, kind in self._example.bound)
        own = {
            name: ("attributes", kind)
            for name, kind in self._example.attributes
            if self._is_property(name)
        }
        if self._example.nested is not None:
            own.pop("event", None)
            own.update((name, ("nested", kind)) for name, kind in self._example.nested)
        elif "event" in own:
            return None
        if "action" not in own or not all(map(_is_text, (*sources, *own))):
            return None
        if (
            not all(name in sources or name in own for name in schema.IDS)
            or self._fields - own.keys()
        ):
            return None
        sources.update(own)
        return sources

    def _look_at_names(self) -> None:
        names = self._bind([name for name, _ in self._example.attributes])
        self._code.append(f"if list(attributes) != {names}: return None")
        if self._example.bound:
            names = self._bind([name for name, _ in self._example.bound])
            self._code.append(f"if list(bound) != {names}: return None")
        else:
            self._code.append("if bound: return None")
        self._look_at_event()

    def _look_at_event(self) -> None:
        """Have an extra `event` be what it was, whether it is a property or not: it holds some."""
        if self._example.nested is not None:
            names = self._bind([name for name, _ in self._example.nested])
            self._code.append('nested = attributes["event"]')
            self._code.append(
                f"if type(nested) is not dict or list(nested) != {names}: return None"
            )
        elif any(name == "event" for name, _ in self._example.attributes):
            self._code.append('if attributes["event"] is not None: return None')

    def _add(self, name: str, where: str, kind: Any) -> bool:
        """Have a property of one source and type in the line; False if that is not possible."""
        if where == "default":
            return self._add_default(name, kind)
        value = f"v{len(self._known)}"
        self._code.append(f"{value} = {where}[{name!r}]")
        if kind not in _KINDS:
            return False
        if name == "createdAt" and kind not in (int, float):
            return False
        if name in schema.REQUIRED and name != "createdAt":
            if kind is not str and not (kind is int and name in schema.IDS):
                return False
        self._code.append(f"if type({value}) is not {kind.__name__}: return None")
        self._begin(name)
        self._add_value(name, value, kind)
        return True

    def _add_default(self, name: str, value: Any) -> bool:
        """Have a default in the line: as text, since it is the same each time."""
        coerced = {name: value}
        schema.coerce(coerced)
        if type(value) not in _KINDS or any(p.property == name for p in schema.problems(coerced)):
            return False
        if name in schema.IDS or name == "createdAt":
            self._code.append(f"{name} = {self._bind(coerced[name])}")
        self._begin(name)
        self._write(encode({"": coerced[name]}).decode()[len('{"":') : -len("}\n")])
        return True

    def _begin(self, name: str) -> None:
        self._write(("," if self._line else "{") + _quote(name) + ":")

    def _add_value(self, name: str, value: str, kind: Any) -> None:
        if name in schema.IDS and kind is int:
            self._code.append(f"{value} = str({value})")
            kind = str
        if name in schema.IDS or name == "createdAt":
            self._code.append(f"{name} = {value}")
        if name == "action":
            self._code.append(f"if {value} != {self._bind(self._example.action)}: return None")
            self._write(_quote(self._example.action))
            return
        if name in schema.REQUIRED and kind is str:
            self._code.append(f"if not {value}: return None")
        if kind is float:
            self._code.append(f"if {value} - {value} != 0.0: return None")
        self._fill(
            {
                str: f"quote({value})",
                float: f"{value}!r",
                bool: f"{self._bind(('false', 'true'))}[{value}]",
                int: value,
            }.get(kind, self._bind("null"))
        )

    def _add_time(self, is_given: bool) -> None:
        if is_given:
            self._code.append(f"if createdAt > {self._bind(schema.MOST_MS)}: return None")
        else:
            self._code.append("if type(created) is not float: return None")
            self._code.append("createdAt = floor(created * 1000 + 0.5)")
            self._write(',"createdAt":')
            self._fill("createdAt")
        self._code.append(f"if createdAt < {schema.EARLIEST_MS}: return None")

    def _add_session(self) -> None:
        self._write(',"sessionId":"')
        if self._session is sessions.by_window:
            window = self._bind(sessions.WINDOW_MS)
            make = (
                f"{self._bind(sessions.of_window)}(accountId, userId, int(createdAt // {window}))"
            )
        else:
            make = f"{self._bind(self._session)}(accountId, userId, createdAt)"
        self._fill(make)
        self._write('"')

    def _write(self, text: str) -> None:
        """Have a text in the line as it is."""
        self._line.append("f" + repr(text.replace("{", "{{").replace("}", "}}")))

    def _fill(self, expression: str) -> None:
        """Have an expression's value in the line."""
        self._line.append(f'f"{{{expression}}}"')

    def _bind(self, value: Any) -> str:
        """Give a value a name in the function's globals."""
        name = f"k{len(self._known)}"
        self._known[name] = value
        return name
