"""What leaves the process by a configuration: the page for whoever has to agree to it.

It is read from the configuration alone: what the log calls of explicit events hold is in the
source. The names on it are those of properties; values are those that the configuration itself
contains.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fslog.cli.check.dry_run import EventHandlerInfo
from fslog.cli.check.explain import is_expression, shown
from fslog.cli.output import Part, Printer
from fslog.config import TIME_PROPERTIES
from fslog.formatter import EXCLUDE, NESTED, EventFormatter
from fslog.mapping import schema
from fslog.mapping.privacy import FORMS
from fslog.mapping.rules import Rule
from fslog.plan.plan import PlannedEvent

_NAME_COLUMNS = 24

NOTHING_ELSE = (
    "Nothing else of a log call leaves, unless a rule above names it: no message, argument, logger,"
    " level, file, line, function, thread, process, host, exception or stack."
)

_PLACES = {
    "event": "in the extra event",
    "extra": "in the extra extra",
    "message": "in a message that is a dict or JSON",
}


@dataclass(frozen=True)
class Row:
    """A property, or several of one kind.

    Args:
        name: of the property, or what stands for several in words.
        action: what becomes of it, see `fslog.mapping.privacy`.
        source: where it is from.
    """

    name: str
    action: str
    source: str

    @property
    def form(self) -> str:
        """In which form it leaves, in words."""
        return FORMS[self.action]


@dataclass(frozen=True)
class Group:
    """The properties of some events.

    Args:
        title: what the events are called.
        about: which log calls they are of.
        rows: their properties.
    """

    title: str
    about: str
    rows: list[Row]


class Leaves:
    """What leaves through one handler, which could be created."""

    def __init__(self, info: EventHandlerInfo) -> None:
        assert info.formatter is not None
        self.info = info
        self._formatter: EventFormatter = info.formatter
        self._actions = self._formatter.redact
        given = info.mapping
        self._fields = {name: given["fields"][name] for name in given.get("fields") or {}}
        self._defaults = {name: given["defaults"][name] for name in given.get("defaults") or {}}
        self._include = [str(one) for one in given.get("include") or ()]
        self._exclude = [str(one) for one in given.get("exclude", EXCLUDE) or ()]
        self._places = [str(one) for one in given.get("nested", NESTED) or ()]
        self._provider = given.get("context_provider")
        self._session = given.get("session", "window")
        self.is_declared: bool = self._formatter.sends_declared
        """Whether only properties that the configuration names leave."""

    @property
    def to(self) -> str:
        """Where the events go, without the keys."""
        destination = self.info.destination
        if not self.info.part.posts:
            return "lines, which another program has to send"
        return (
            "" if destination is None else f"{destination.ping_url().removesuffix('ping')}***/***"
        )

    @property
    def made_by(self) -> str:
        """The class that makes the events, if it is not fslog's; else ""."""
        kind = type(self._formatter)
        return "" if kind.event is EventFormatter.event else _name(kind)

    @property
    def excluded(self) -> str:
        """Of whom there is no event; "" for nobody."""
        given = self.info.mapping.get("excluded")
        if given is None:
            return ""
        if callable(given):
            return f"whom {_name(given)} excludes"
        lists = {key: [*map(str, given[key] or ())] for key in given}
        return "; ".join(f"{key} {', '.join(ids)}" for key, ids in lists.items() if ids)

    def groups(self) -> Iterator[Group]:
        """Yield what leaves, by the kind of the event."""
        yield Group("every event", "", [*self._common()])
        rules = self.info.rules
        for rule in rules:
            yield Group(rule.where, _conditions(rule), [*self._of_rule(rule)])
        if rules:
            about = "log calls that a rule above makes an event of"
            yield Group("every rule", about, [*self._of_every_rule()])
        yield Group("explicit events", self._explicit_calls(), [*self._explicit()])
        if "track_time" in self.info.options:
            about = "made of the events on this page (track_time)"
            yield Group("time in product", about, [*self._times()])
        plan = self._formatter.plan
        for planned in () if plan is None else plan.events.values():
            if planned.when is None:
                about = f"explicit events with {planned.label}"
                yield Group(f"plan: {planned.name}", about, [*self._planned(planned)])

    def _row(self, name: str, source: str) -> Iterator[Row]:
        """Yield a property, and what inside of it has another form."""
        yield Row(name, self._actions.get(name, "keep"), source)
        for path, action in self._actions.items():
            if path.startswith(f"{name}."):
                yield Row(path, action, f"inside of {name}")

    def _common(self) -> Iterator[Row]:
        for name in schema.REQUIRED:
            yield from self._row(name, ", ".join(self._sources_of(name)))
        for name in dict.fromkeys((*self._fields, *self._defaults)):
            if name not in schema.REQUIRED:
                yield from self._row(name, ", ".join(self._configured(name)))
        yield from self._redacted()
        any_name = "only names on this page" if self.is_declared else "any name"
        yield Row("from context", "keep", f"what fslog.context has bound: {any_name}")
        if self._provider is not None:
            source = f"what {_name(self._provider)} returns: {any_name}"
            yield Row("from context_provider", "keep", source)

    def _redacted(self) -> Iterator[Row]:
        """Yield what becomes of properties, wherever they are from."""
        planned = {} if self._formatter.plan is None else self._formatter.plan.pii
        known = {*self._fields, *self._defaults, *schema.REQUIRED}
        for name, action in self._actions.items():
            if known.isdisjoint({name, name.partition(".")[0]}):
                source = "pii in the plan" if name in planned else "redact"
                yield Row(name, action, f"wherever it is from ({source})")

    def _sources_of(self, name: str) -> Iterator[str]:
        if name == "action":
            yield "the log call or the rule"
            return
        yield "the log call"
        yield from self._configured(name)
        yield "context"
        if name == "createdAt":
            yield "the record's time"
        if name == "sessionId" and self._session != "none":
            of = "the ids as they leave"
            yield f"derived from {of} and the time (session: {self._session})"

    def _configured(self, name: str) -> Iterator[str]:
        if name in self._fields:
            yield f"fields: {self._fields[name]}"
        if name in self._defaults:
            yield f"defaults: {shown(self._defaults[name])}"

    def _of_rule(self, rule: Rule) -> Iterator[Row]:
        for name, value in rule.event.items():
            how = "always" if name in rule.constants else "from"
            yield from self._row(name, f"{how} {shown(value)}")

    def _of_every_rule(self) -> Iterator[Row]:
        for name in self._include:
            yield from self._row(name, "an extra (include)")
        any_name = "names on this page" if self.is_declared else "all properties"
        yield Row("from the extra event", "keep", f"{any_name} of a nested extra event")

    def _explicit_calls(self) -> str:
        places = ["as extras", *(_PLACES[one] for one in self._places if one in _PLACES)]
        return f"log calls with an action, {' or '.join(places)}"

    def _explicit(self) -> Iterator[Row]:
        known = {*self._fields, *self._defaults, *schema.REQUIRED}
        if self.is_declared:
            for action, (needed, optional) in schema.ACTIONS.items():
                for name in (*needed, *optional):
                    if name not in known and name not in self._formatter.declared:
                        yield from self._row(name, f"an extra of {action} events")
            for name in (*self._include, *sorted(self._formatter.declared - known)):
                if "." not in name and name not in self._actions:
                    yield Row(name, "keep", "an extra that the configuration names")
        else:
            roots = sorted({path.partition(".")[0] for path in self._fields.values()})
            read = f"; not {', '.join(roots)}, which fields read" if roots else ""
            names = ", ".join(self._exclude)
            except_for = f", except {names}" if names else ""
            yield Row("any other extra", "keep", f"all extras{except_for}{read}")

    def _times(self) -> Iterator[Row]:
        names = {**TIME_PROPERTIES, **(self.info.arguments.get("time_properties") or {})}
        ids = [name for name in schema.REQUIRED if name not in ("createdAt", "action")]
        for name in (*ids, "module", "product"):
            yield from self._row(name, "as in these events")
        for action, name in names.items():
            yield Row(name, "keep", f"milliseconds, of {action} events")

    def _planned(self, planned: PlannedEvent) -> Iterator[Row]:
        for name, value in planned.event.items():
            yield from self._row(name, f"always {shown(value)}")
        for name, one in planned.properties.items():
            if name not in planned.event:
                yield from self._row(name, one.expected if one.types else "any value")


def _name(function: Any) -> str:
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '?')}"


def _conditions(rule: Rule) -> str:
    texts = []
    for key, wanted in ((one.key, one.wanted) for one in rule.when):
        text = str(wanted) if is_expression(wanted) or key in ("logger", "preset") else None
        texts.append(f"{key} {shown(wanted) if text is None else text}")
    return f"log calls with {', '.join(texts)}" if texts else "all log calls"


def print_text(printer: Printer, label: str, leaves: Iterable[Leaves]) -> None:
    """Print the page for a person."""
    printer.line((label, "bold"), (": what leaves the process", ""))
    for one in leaves:
        printer.line()
        printer.line(("handler ", "dim"), (one.info.name, "bold"))
        for row in _about(one):
            printer.line(*row)
        for group in one.groups():
            printer.line()
            about = f"  {group.about}" if group.about else ""
            printer.line((group.title, "bold"), (about, "dim"))
            for property_row in group.rows:
                printer.line(*_parts(property_row))
        printer.line()
        printer.line((NOTHING_ELSE, "dim"))


def _about(one: Leaves) -> Iterator[tuple[Part, ...]]:
    texts = {"to": one.to, "not of": one.excluded}
    if one.made_by:
        texts["made by"] = f"{one.made_by}, code of the application, which may send more"
    if one.is_declared:
        texts["extras"] = "declared: only the names on this page, whatever a log call has"
    for name, text in texts.items():
        if text:
            yield ((f"  {name:10}", "dim"), (text, ""))


def _parts(row: Row) -> tuple[Part, ...]:
    style = {"keep": "", "hash": "yellow", "drop": "green"}[row.action]
    name = f"  {row.name:{_NAME_COLUMNS}}  "
    return (
        (name, "cyan"),
        (f"{row.form:{max(map(len, FORMS.values()))}}  ", style),
        (row.source, "dim"),
    )


def values(one: Leaves) -> Mapping[str, Any]:
    """Return the page of a handler for a program."""
    return {
        "handler": one.info.name,
        "to": one.to,
        "made_by": one.made_by or None,
        "excluded": one.excluded or None,
        "extras": "declared" if one.is_declared else "all",
        "groups": [
            {
                "events": group.title,
                "log_calls": group.about or None,
                "properties": [
                    {"property": row.name, "action": row.action, "from": row.source}
                    for row in group.rows
                ],
            }
            for group in one.groups()
        ],
    }
