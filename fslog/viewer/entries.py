"""Entries: one for each line that arrived, valid or not, with its problems.

An entry keeps the line as bytes, not the parsed event. This is smaller, and the API can return
events byte for byte, so that no number and no escape changes on the way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from sys import getsizeof
from typing import Any, NamedTuple

from fslog.collector.judge import InvalidLine
from fslog.errors import Problem
from fslog.mapping import extras, schema
from fslog.plan.judgement import CODES
from fslog.plan.judgement import problems as plan_problems
from fslog.plan.plan import Plan

STATES = ("valid", "warning", "invalid")

BRIEF_BYTES = 4_096
"""Lists shorten lines that are longer than this."""

MAX_TIME_MS = 253_402_300_800_000
"""The year 10000; a later `createdAt` is in another unit."""

_BRIEF_CHARACTERS = 200
_BRIEF_PROPERTIES = ("accountId", "userId", "action", "sessionId", "module", "feature")
_OVERHEAD_BYTES = 600  # of an entry, and of each of its problems
_NOT_UNPACKED = "not_compressed_so"
_MAX_UNPARSED_BYTES = 65_536


class LineProblem(NamedTuple):
    """A problem of a line; unlike `Problem` it does not hold the event.

    Args:
        code: short and stable; the guide's topic `events` lists the codes.
        property: the affected property, `""` for the whole line.
        message: a sentence.
        got: what the line contains, with its type.
        expected: what is valid.
    """

    code: str
    property: str
    message: str
    got: str
    expected: str


class Entry:
    """A line that arrived.

    Args:
        line: without its newline.
        value: its JSON value; only the properties that filters and the overview use are kept.
        problems: of the line.
        state: one of `STATES`.
        at: epoch milliseconds of its arrival.

    `size_bytes` is an estimate of the memory that the entry uses.
    """

    __slots__ = (
        "account",
        "action",
        "at",
        "created",
        "feature",
        "id",
        "is_object",
        "line",
        "module",
        "problems",
        "request",
        "session",
        "size_bytes",
        "state",
        "user",
    )

    def __init__(
        self, line: bytes, value: Any, problems: tuple[LineProblem, ...], state: str, at: int
    ) -> None:
        self.id: int = 0  # assigned by the history, like the next one
        self.request: int = 0
        self.at: int = at
        self.line: bytes = line
        self.problems: tuple[LineProblem, ...] = problems
        self.state: str = state
        self.is_object: bool = isinstance(value, dict)
        get = value.get if isinstance(value, dict) else {}.get
        self.action: str | None = _text(get("action"))
        self.account: str | None = _text(get("accountId"))
        self.user: str | None = _text(get("userId"))
        self.session: str | None = _text(get("sessionId"))
        self.module: str | None = _text(get("module"))
        self.feature: str | None = _text(get("feature"))
        self.created: float | None = _time(get("createdAt"))
        texts = sum(getsizeof(text) for text in self._texts() if text is not None)
        self.size_bytes: int = len(line) + texts + _OVERHEAD_BYTES * (1 + len(problems))

    @property
    def when(self) -> int | float:
        """Return `createdAt`, or the arrival if `createdAt` is not a time in milliseconds.

        A time in seconds would sort the event into 1970.
        """
        created = self.created
        if created is None or not schema.EARLIEST_MS <= created < MAX_TIME_MS:
            return self.at
        return created

    @property
    def is_line(self) -> bool:
        """Return whether this is a line; False for a body that cannot be decompressed."""
        return not (self.problems and self.problems[0].code == _NOT_UNPACKED)

    def text(self) -> str:
        """Return the line as text, with U+FFFD for invalid UTF-8."""
        return self.line.decode("utf-8", "replace")

    def json(self, brief: bool = False) -> bytes:
        r"""Return the entry as the API shows it, without line breaks.

        Args:
            brief: if the line is longer than `BRIEF_BYTES`, include only what a list shows.

        >>> entry = make_entry((b'{"a":\r1e9}\n', {"a": 1e9}), 5)
        >>> entry.json()
        b'{"id":0,"at":5,"when":5,"state":"valid","event":{"a": 1e9},"problems":[],"request":0}'
        """
        # JSON allows a CR between values only; in a stream of server-sent events it ends a line.
        event = self.line.replace(b"\r", b" ") if self.is_object else b"null"
        cut = b""
        if brief and len(event) > BRIEF_BYTES:
            event, cut = self._brief(), b',"cut":true'
        problems = json.dumps([one._asdict() for one in self.problems]) if self.problems else "[]"
        shape = b'{"id":%d,"at":%d,"when":%d,"state":"%b","event":%b,"problems":%b,"request":%d%b}'
        return shape % (
            self.id,
            self.at,
            self.when,
            self.state.encode(),
            event,
            problems.encode(),
            self.request,
            cut,
        )

    def _brief(self) -> bytes:
        shown: dict[str, Any] = {} if self.created is None else {"createdAt": self.created}
        for name, text in zip(_BRIEF_PROPERTIES, self._texts(), strict=True):
            if text is not None:
                shown[name] = text[:_BRIEF_CHARACTERS]
        return json.dumps(shown, separators=(",", ":")).encode()

    def _texts(self) -> tuple[str | None, ...]:
        return self.account, self.user, self.action, self.session, self.module, self.feature


def make_entry(
    line: tuple[bytes, dict[str, Any]] | InvalidLine, at: int, plan: Plan | None = None
) -> Entry:
    """Return the entry of a line from `fslog.collector.judge`.

    Args:
        line: a valid event with its line, or an invalid one.
        at: epoch milliseconds of its arrival.
        plan: a tracking plan; what is not as planned is a warning, since it arrived.
    """
    found: Sequence[Problem]
    if isinstance(line, InvalidLine):
        raw, value, found, state = line.line, line.value, line.problems, "invalid"
        if found[0].code == _NOT_UNPACKED:
            raw = raw[:_MAX_UNPARSED_BYTES]
    else:
        raw, value = line
        found = [*schema.warnings(value), *extras.secrets(value)] if "action" in value else ()
        if plan is not None:
            found = [*found, *plan_problems(plan, value)]
        state = "warning" if found else "valid"
    problems = tuple(describe_problem(problem, value) for problem in found)
    return Entry(raw.removesuffix(b"\n"), value, problems, state, at)


def first_page(
    entries: Iterable[Entry], limit: int, limit_bytes: int, brief: bool = False
) -> tuple[list[Entry], bool]:
    """Return the first entries that fit into one response, and whether more follow.

    Args:
        entries: in the order of the response.
        limit: maximum number of entries.
        limit_bytes: maximum total length of their lines; the first entry always fits.
        brief: whether the response shortens long lines.
    """
    page: list[Entry] = []
    left = limit_bytes
    for entry in entries:
        left -= min(len(entry.line), BRIEF_BYTES) if brief else len(entry.line)
        if len(page) >= limit or (left < 0 and page):
            return page, True
        page.append(entry)
    return page, False


def _text(value: Any) -> str | None:
    if type(value) is str:
        return value
    if value is None or isinstance(value, (list, dict)):
        return None
    return json.dumps(value)  # a filter for "5" also finds an invalid 5


def _time(value: Any) -> int | float | None:
    if type(value) not in (int, float):
        return None
    # 1e999 is valid JSON, but it is infinite, which no JSON response can hold.
    return value if abs(value) <= schema.MOST_MS else None


_SHOWN_CHARACTERS = 60
_UNPARSED = {
    "not_utf8": ("bytes that are not UTF-8", "UTF-8"),
    "not_json": ("text that is not JSON", "one JSON object per line"),
    _NOT_UNPACKED: (
        "a body that cannot be decompressed",
        "a body compressed as its Content-Encoding says",
    ),
}
_ABSENT = object()
_PLANNED = "what is planned"


def problem_label(problem: LineProblem) -> str:
    """Return code and property as one text, by which the overview groups and filters select."""
    return f"{problem.code} {problem.property}".strip()


def describe_problem(problem: Problem, value: Any) -> LineProblem:
    """Return a problem in terms of JSON, with what the line contains and what is expected.

    Problems of `fslog.mapping.schema` are worded for Python values, which fslog converts: an `int`
    is a valid `accountId` in a log call, but not in JSON.

    Args:
        problem: from `fslog.mapping.schema` or `fslog.collector.judge`.
        value: the line's JSON value, None if it has none.

    >>> describe_problem(Problem("wrong_type", "userId", "..."), {"userId": 5})[2:]
    ('userId is number 5; expected a non-empty string', 'number 5', 'a non-empty string')
    """
    code, name = problem.code, problem.property
    if code in _UNPARSED:
        return LineProblem(code, name, problem.message, *_UNPARSED[code])
    if code == "not_an_object":
        got, expected = describe_value(value), "one JSON object per line"
        return LineProblem(code, name, f"the line is {got}; expected {expected}", got, expected)
    if code == "looks_secret":  # the page shows the value, where it stands; no message repeats it
        message = f"{name} looks like a secret: leave it out of the log call, or exclude it"
        return LineProblem(code, name, message, "a value that is not shown here", "no secret")
    found = value.get(name, _ABSENT) if isinstance(value, Mapping) else _ABSENT
    got, expected = describe_value(found), _expected(code, name, found)
    message = problem.message
    if code in CODES:
        got = got if name else "another event"
        return LineProblem(
            code, name, message, got, message.partition("; expected ")[2] or _PLANNED
        )
    if code in ("wrong_type", "not_finite", "empty", "expected_type"):
        message = f"{name} is {got}; expected {expected}"
    elif code == "missing":
        message = f"{name} is missing; expected {expected}"
    return LineProblem(code, name, message, got, expected)


def _expected(code: str, name: str, found: Any) -> str:
    if code == "looks_like_seconds":
        return f"epoch milliseconds, at least {schema.EARLIEST_MS}"
    if code == "looks_misspelt":
        return f"{schema.nearest_action(found)!r}, or an action of your own"
    if code in ("looks_anonymous", "looks_like_user"):
        return f"the id of one {schema.KINDS_OF_ID[name]}"
    if code in ("expected", "expected_type"):
        known = schema.PROPERTIES.get(name)
        return schema.KINDS[known.kind if known else "string"][1]
    if name == "createdAt":
        return "a number, epoch milliseconds"
    return "a non-empty string" if name in schema.REQUIRED else "another value"


def describe_value(value: Any) -> str:
    """Return a JSON value's type and a short form of the value.

    >>> describe_value("ann"), describe_value(""), describe_value(1.5), describe_value(True)
    ('string "ann"', 'an empty string', 'number 1.5', 'boolean true')
    >>> describe_value(None), describe_value([1]), describe_value({"a": 1, "b": 2})
    ('null', 'array of 1 item', 'object of 2 properties')
    """
    if value is _ABSENT:
        return "nothing"
    if value is None:
        return "null"
    if value == "":
        return "an empty string"
    if isinstance(value, str):
        return f"string {json.dumps(_shortened(value), ensure_ascii=False)}"
    if isinstance(value, bool):
        return f"boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"number {_shortened(repr(value))}"
    size = len(value)
    if isinstance(value, list):
        return f"array of {size} item{'' if size == 1 else 's'}"
    return f"object of {size} {'property' if size == 1 else 'properties'}"


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
