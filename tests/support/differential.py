"""Random records for two handlers, of which only one compiles encoders for its call sites.

Both must accept the same lines, report the same problems and skip the same records.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import json
import logging
import os
import random
import secrets
import types
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fslog import EventFormatter, FreshsuccessHandler, Problem, context
from fslog.capture import SinkOverride
from fslog.counters import Counter, Stats
from fslog.net.destination import Destination

_GIVEN = os.environ.get("FSLOG_DIFFERENTIAL_SEED")  # read now: a fixture clears the environment

RECORDS_OF_A_SCENARIO = 100


def seed() -> int:
    """Return the seed that FSLOG_DIFFERENTIAL_SEED names, else a fresh one; it is printed."""
    number = int(_GIVEN) if _GIVEN else secrets.randbelow(10**9)
    print(f"FSLOG_DIFFERENTIAL_SEED={number}")
    return number


class Keeper:
    """A sink that keeps all it is given, and compiles encoders at once, or never."""

    def __init__(self, compiles: bool) -> None:
        self._compiles = compiles
        self.skipped, self.invalid = Counter(), Counter()
        self.came: list[tuple[str, ...]] = []
        self.at_once = 0

    def append(self, line: bytes) -> bool:
        """Keep a line of the fast path."""
        self.at_once += 1
        return self.submit(line)

    def submit(self, line: bytes) -> bool:
        """Keep a line."""
        self.came.append(("line", line.decode()))
        return True

    def reject(self) -> None:
        """Count an invalid event."""
        self.invalid.add()

    def run_on_listener(self, function: Callable[[], None]) -> None:
        """Call it here, or never."""
        if self._compiles:
            function()

    def report_problem(self, problem: Problem, record: logging.LogRecord) -> None:
        """Keep a problem."""
        self.came.append((problem.code, problem.property, problem.message))

    def outcome(self) -> list[tuple[str, ...]]:
        """Return what has come since the last time, and how many were skipped so far."""
        came, self.came = self.came, []
        return [*came, ("skipped", str(self.skipped.value())), ("in", str(self.invalid.value()))]

    def bound(self) -> tuple[str, int]:
        """Return what is never asked for."""
        return "nothing", 0

    def flush(self, timeout: float | None = None) -> bool:
        """Return that nothing is pending."""
        return True

    def close(self) -> None:
        """Do nothing."""

    watch = end_soon = close

    def stats(self) -> Stats:
        """Return nothing."""
        return Stats()


@contextmanager
def pair() -> Iterator[tuple[list[FreshsuccessHandler], list[Keeper]]]:
    """Give two handlers, the first of which compiles encoders, and their keepers."""
    keys = {"auth_key": "auth-key", "api_key": "api-key", "endpoint": "http://127.0.0.1:9"}
    handlers = [FreshsuccessHandler(**keys, proxy="") for _ in range(2)]
    keepers = [Keeper(compiles=True), Keeper(compiles=False)]
    unused = iter(keepers)
    override = SinkOverride(
        Destination("http://127.0.0.1:9", "auth-key", "api-key"),
        lambda is_forked: next(unused, Keeper(compiles=False)),
    )
    for handler in handlers:  # in this order, whatever other handlers there are
        override.sink(handler)
    override.start()
    try:
        yield handlers, keepers
    finally:
        override.stop()
        for handler in handlers:
            handler.close()


class Text(str):
    """A text that is not exactly a str."""


class Whole(int):
    """A number that is not exactly an int."""


class Table(dict[str, Any]):
    """A mapping that is not exactly a dict."""


class Word(str, enum.Enum):
    ANN = "ann"
    FEATURE = "feature"


class Level(enum.IntEnum):
    LOW = 7


class Early(logging.LogRecord):
    """A record that has extras between, and before, the attributes of every record."""

    def __init__(self, name: str, *args: Any) -> None:
        self.name = name
        self.tenant = "early"
        super().__init__(name, *args)


AT = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.timezone.utc)
IDS = ("ann", "bob", "zoë", "7")
TEXTS = ("ann", "bob", "f1", "zoë", 'a"b\\', "\u2028", "", "7", "feature", "x" * 40)
PLAIN: tuple[Callable[[random.Random], Any], ...] = (
    lambda dice: dice.choice(TEXTS),
    lambda dice: dice.randrange(-3, 10**6),
    lambda dice: dice.uniform(-1e3, 1e3),
    lambda dice: dice.random() < 0.5,
    lambda dice: None,
)
ODD = (
    *("\ud800", Text("ann"), Word.ANN, Whole(7), Level.LOW, True, 10**400, 10**5000),
    *(float("nan"), float("inf"), 1e300, -0.0, decimal.Decimal("1.5"), uuid.UUID(int=5), AT),
    *([1, {"a": 2}], {"a": [1]}, {1: 2, "1": 3}, (1, 2), (), b"ann", {1}, object, 1j),
)
TIMES = (1_790_000_000_000, 1_790_000_000_000.5, 5, -1, 10**400, float("nan"), AT, "now", True)
NAMES = ("feature", "module", "total", "product", "note", "sessionId", "createdAt", "plan", "é")
LESS_USUAL = ("event", "_x", "otelTraceID", "tenant", "user", "a{b}'\"", "\udfff", 5, Text("note"))
BETWEEN = ("msecs", "args", "created", "name", "lineno", "process", "levelname")

EXCLUDES = (["event"], ["e*"], ["event", "_*"], [], ["note"], ["m*", "_*"], ["userId"])
WIDE_EXCLUDES = (["*"], ["action"])
PROVIDERS: tuple[Callable[[], Any], ...] = (lambda: {"userId": "p", "plan": 1}, lambda: 1 // 0)
INCLUDES = (["event"], ["e*"], ["note"], ["_x"], ["userId", "plan"], ["*"])
FIELDS = {
    "userId": ("user.id", "event.userId", "name", "note", "args.0"),
    "accountId": ("tenant.slug", "event.a", "accountId"),
    "plan": ("event.plan", "plan", "event", "note"),
    "createdAt": ("at", "event.createdAt"),
    "sessionId": ("user.sid", "note"),
}
PLACES = (["event", "extra"], ["message", "event"], ["extra"], ["extra", "event", "message"], [])
RULES = (
    {"when": {"logger": "app"}, "event": {"action": "feature", "module": "m", "feature": "f"}},
    {"when": {"note": "ann"}, "event": {"action": "moduleEnd", "module": "m", "timeSpent": 1}},
    {
        "when": {"message": "said", "event.userId": "bob"},
        "event": {"action": "x", "n": "{event.userId}"},
    },
)

_ANY: dict[str, dict[str, Any]] = {name: {} for name in ("feature", "module", "note", "plan", "é")}
PLAN: dict[str, Any] = {
    "version": 1,
    "common": {
        **_ANY,
        "accountId": {"type": "string", "pattern": "^[a-z0-9ë]+$"},
        "userId": {"type": ["string"], "maxLength": 5},
        "product": {"enum": ["ann", "bob", "7"]},
        "total": {"type": ["integer", "number"], "minimum": 0, "maximum": 90},
        "note": {"type": ["string", "integer", "null"], "minimum": -2},
        "plan": {"enum": [True, None, 1, "ann"]},
    },
    "events": {
        "feature": {
            "event": {"action": "feature"},
            "properties": {"sessionId": {"type": "string"}},
        },
        "f": {
            "event": {"action": "feature", "module": "m", "feature": "f"},
            "properties": {"total": {"type": "integer", "required": True}},
        },
        "page": {
            "event": {"action": "pageView"},
            "properties": {"createdAt": {"type": "integer"}, "x": {}, "event": {}},
            "expires": "2026-09-22",
        },
        "page of ann": {"event": {"action": "pageView", "product": "ann"}},
        "said": {
            "event": {"action": "x", "n": "{event.userId}"},
            "when": {"message": "said", "event.userId": "bob"},
        },
    },
}


class Scenario:
    """One configuration, a few log calls, and what changes from one call to the next."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.mapping = self._configuration()
        self._sites = [self._site() for _ in range(dice.randint(1, 3))]
        self._bound = self._some({"accountId": 0.3, "userId": 0.3, "product": 0.2, "plan": 0.2})
        self._last: logging.LogRecord | None = None

    def _configuration(self) -> dict[str, Any]:
        dice = self._dice
        mapping: dict[str, Any] = {
            "session": dice.choice(("window", "window", "idle", "idle", "none"))
        }
        if dice.random() < 0.6:
            mapping["defaults"] = self._some(
                {
                    "accountId": 0.7,
                    "userId": 0.7,
                    "product": 0.3,
                    "sessionId": 0.2,
                    "total": 0.1,
                    "x": 0.1,
                }
            )
        if dice.random() < 0.5:
            mapping["exclude"] = dice.choice(EXCLUDES if dice.random() < 0.9 else WIDE_EXCLUDES)
        if dice.random() < 0.2:
            mapping["include"] = dice.choice(INCLUDES)
        if dice.random() < 0.25:
            chosen = dice.sample(sorted(FIELDS), dice.randint(1, 2))
            mapping["fields"] = {name: dice.choice(FIELDS[name]) for name in chosen}
        if dice.random() < 0.2:
            mapping["rules"] = dice.sample(RULES, dice.randint(1, 2))
        if dice.random() < 0.15:
            mapping["nested"] = dice.choice(PLACES)
        if dice.random() < 0.05:
            mapping["context_provider"] = dice.choice(
                (lambda: {"userId": "p", "plan": 1}, lambda: 1 // 0)
            )
        if dice.random() < 0.3:
            mapping["plan"] = {**PLAN, "unplanned": dice.choice(("warn", "refuse"))}
        return mapping

    def _value(self, name: Any, odd: float = 0.1) -> Any:
        dice = self._dice
        if name == "createdAt":
            return TIMES[0] + dice.randrange(10**7) if dice.random() < 0.8 else dice.choice(TIMES)
        if dice.random() < odd:
            return dice.choice(ODD)
        if name in ("accountId", "userId"):
            return dice.choice((*IDS, dice.randrange(99)) if dice.random() < 0.99 else ("", None))
        if name in ("feature", "module", "product", "sessionId"):
            return dice.choice(IDS if dice.random() < 0.95 else TEXTS)
        if name == "total":
            return dice.choice((dice.randrange(99), dice.uniform(0, 9)))
        return dice.choice(PLAIN)(dice)

    def _some(self, chances: dict[str, float]) -> dict[str, Any]:
        names = [name for name, chance in chances.items() if self._dice.random() < chance]
        return {name: self._value(name, 0.02) for name in names}

    def _action(self) -> Any:
        usual = self._dice.random() < 0.95
        return self._dice.choice(("pageView", "feature") if usual else ("", None, 5, Word.FEATURE))

    def _site(self) -> tuple[dict[Any, Any], dict[Any, Any] | None, int]:
        """Make the usual extras of one log call, and the line that it stands on."""
        dice = self._dice
        flat: dict[Any, Any] = self._some({"accountId": 0.9, "userId": 0.9})
        nested: dict[Any, Any] | None = None if dice.random() < 0.3 else {}
        action = self._action()
        (flat if nested is None or dice.random() < 0.5 else nested)["action"] = action
        if action == "feature":
            nested = {} if nested is None else nested
            nested["module"], nested["feature"] = "m", "f"
        if self.mapping["session"] == "none":
            flat["sessionId"] = "s"
        for name in dice.sample(NAMES, dice.randint(0, 3)):
            side = flat if nested is None or dice.random() < 0.5 else nested
            side[name] = self._value(name, 0.01)
        if dice.random() < 0.2:
            flat[dice.choice(LESS_USUAL)] = self._value("", 0.01)
        if nested is not None and dice.random() < 0.3:
            nested["userId"] = self._value("userId", 0.01)
        if nested is None and dice.random() < 0.5:
            flat["event"] = None
        items = list(flat.items())
        dice.shuffle(items)
        return dict(items), nested, dice.randint(1, 3)

    def record(self) -> logging.LogRecord:
        """Return the next record, which may be the last one, changed meanwhile."""
        dice = self._dice
        if self._last is not None and dice.random() < 0.15:
            self._mutate(self._last)
            return self._last
        flat, nested, line = dice.choice(self._sites)
        # Other values of the same types, most of the time.
        flat = {name: self._alike(name, value) for name, value in flat.items()}
        nested = nested and {name: self._alike(name, value) for name, value in nested.items()}
        if nested is not None:
            flat.setdefault("event", nested)
        kind = Early if dice.random() < 0.05 else logging.LogRecord
        made = kind("app", 20, "app.py", line, "said", ("ann",), None)
        made.created = 1_790_000_000.1234 + dice.randrange(10**5)
        made.__dict__.update(flat)
        while dice.random() < 0.25:
            self._mutate(made)
        self._last = made
        return made

    def _alike(self, name: Any, value: Any) -> Any:
        dice = self._dice
        if name == "action" or dice.random() < 0.2:
            return value
        for _ in range(8):
            other = self._value(name, 0.0)
            if type(other) is type(value):
                return other
        return value

    def _mutate(self, record: logging.LogRecord) -> None:
        """Change something about a record, or what is bound."""
        self._dice.choice(
            (
                *(self._mutate_value, self._mutate_nested),
                *(self._mutate_event, self._mutate_event),
                *(self._mutate_names, self._mutate_record, self._mutate_bound),
                *((self._mutate_places,) if "nested" in self.mapping else ()),
            )
        )(record.__dict__)

    def _mutate_value(self, attributes: dict[Any, Any]) -> None:
        extras = list(attributes)[22:]
        if extras:
            name = self._dice.choice(extras)
            if name != "event":
                attributes[name] = self._action() if name == "action" else self._value(name, 0.5)

    def _mutate_event(self, attributes: dict[Any, Any]) -> None:
        nested = attributes.get("event")
        if type(nested) is not dict:
            nested = {"userId": "carol", "feature": "f1", "module": "m"}
        reversed_ = dict(reversed(nested.items()))
        attributes["event"] = self._dice.choice(
            (
                *(None, None, None, nested, nested, reversed_, Table(nested), {}, {}),
                *("text", 0, True, False, ["a"], Text(""), Word.ANN),
                *(types.MappingProxyType(nested), collections.UserDict(nested), [("action", "x")]),
                {**nested, "action": self._action()},
                {name: value for name, value in nested.items() if name != "action"},
            )
        )
        if self._dice.random() < 0.1:
            del attributes["event"]

    def _mutate_nested(self, attributes: dict[Any, Any]) -> None:
        nested = attributes.get("event")
        if type(nested) is not dict:
            return
        name = self._dice.choice((*nested, "userId", "plan", "event", 5, True, Text("plan")))
        if self._dice.random() < 0.2:
            nested.pop(name, None)
        else:
            nested[name] = self._action() if name == "action" else self._value(name, 0.3)

    def _mutate_places(self, attributes: dict[Any, Any]) -> None:
        """Put an event, or what is nearly one, into another place than the extra `event`."""
        event = {"action": self._action(), "feature": "f1", "module": "m", "accountId": "a"}
        values = self._dice.choice(
            (event, {"event": event}, {"extra": event}, {"userId": "carol"}, {}, Table(event))
        )
        if self._dice.random() < 0.5:
            attributes["extra"] = self._dice.choice((values, values, None, "text"))
        else:
            attributes["msg"] = self._dice.choice((values, json.dumps(values, default=str), "{"))

    def _mutate_names(self, attributes: dict[Any, Any]) -> None:
        name = self._dice.choice((*NAMES, *LESS_USUAL, "userId", "accountId", "action"))
        if name in attributes and self._dice.random() < 0.7:
            value = attributes.pop(name)
            if self._dice.random() < 0.5:  # it stands at the end now
                attributes[name] = value
        else:
            attributes[name] = self._action() if name == "action" else self._value(name)

    def _mutate_record(self, attributes: dict[Any, Any]) -> None:
        dice = self._dice
        name = dice.choice((*BETWEEN, "message", "taskName"))
        if name not in attributes:
            attributes[name] = "formatted"
        elif dice.random() < 0.4:
            del attributes[name]
        elif name == "created":
            attributes[name] = dice.choice((5.0, float("nan"), 1_790_000_001, None, "x"))

    def _mutate_bound(self, attributes: dict[Any, Any]) -> None:
        name = self._dice.choice(("accountId", "userId", "product", "createdAt", "plan"))
        if self._bound.pop(name, None) is None or self._dice.random() < 0.5:
            self._bound[name] = self._value(name, 0.3)

    def bound(self) -> context.bound:
        """Return the block in which the next record is logged."""
        return context.bound(**self._bound)


def run(number: int, records: int) -> int:
    """Compare what becomes of so many records, and return of how many the line was made at once.

    Raises:
        AssertionError: of one record the two ways made different things; shows both.
    """
    with pair() as (handlers, keepers):
        for scenario_number in range(records // RECORDS_OF_A_SCENARIO):
            scenario = Scenario(random.Random(f"{number} {scenario_number}"))
            for handler in handlers:
                handler.setFormatter(EventFormatter(**scenario.mapping))
            for index in range(RECORDS_OF_A_SCENARIO):
                made = scenario.record()
                with scenario.bound():
                    for handler in handlers:
                        handler.handle(made)
                found, expected = (keeper.outcome() for keeper in keepers)
                assert found == expected, (
                    f"seed {number}, scenario {scenario_number}, record {index}: compiled {found}, "
                    f"plain {expected}; {scenario.mapping}; {made.__dict__}"
                )
        assert keepers[1].at_once == 0
        return keepers[0].at_once
