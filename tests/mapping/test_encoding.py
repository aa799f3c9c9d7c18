"""Any value is encoded as strict JSON on one line, in bounded time, without an exception."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import fractions
import json
import math
import numbers
import re
import subprocess
import sys
import textwrap
import threading
import types
import uuid
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest
from django.utils.functional import SimpleLazyObject, lazy
from hypothesis import given
from hypothesis import strategies as st

from fslog.mapping import encoding
from fslog.mapping.encoding import encode


def strictly(line: bytes) -> Any:
    """Parse one line as strictly as possible."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    assert isinstance(line, bytes)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    return json.loads(line.decode("utf-8"), parse_constant=refuse)


def decoded(value: Any) -> Any:
    """Return a value after encoding and parsing; check that the rest of the event is unchanged."""
    arrived = strictly(encode({"before": "b", "value": value, "after": 1.5}))
    assert set(arrived) == {"before", "value", "after"}
    assert (arrived["before"], arrived["after"]) == ("b", 1.5)
    return arrived["value"]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
json_events = st.dictionaries(st.text(), json_values, max_size=8)


@given(json_events)
def test_json_types_round_trip(event: dict[str, Any]) -> None:
    """JSON's own types give an equal event, with its properties in order."""
    arrived = strictly(encode(event))
    assert arrived == event
    assert list(arrived) == list(event)


@given(json_events, st.sampled_from([math.nan, math.inf, -math.inf]))
def test_both_ways_encode_other_values_equally(event: dict[str, Any], odd: float) -> None:
    """What the fast way can encode, the slow way encodes to the same bytes."""
    event.pop("odd", None)
    assert encode({**event, "odd": odd}) == encode({**event, "odd": None})


@given(json_events)
def test_encoding_does_not_change_the_event(event: dict[str, Any]) -> None:
    """Neither way changes the event."""
    before = repr(event)
    encode(event)
    odd = {**event, "odd": math.nan}
    encode(odd)
    assert repr(event) == before
    assert repr(odd) == repr({**event, "odd": math.nan})


@pytest.mark.parametrize("size", [9_000, 60_000, 500_000])
def test_a_long_event_is_not_cut(size: int) -> None:
    """An event that fits a batch of 1 MiB is encoded completely."""
    event = {"accountId": "acme", "numbers": [0] * size, "end": {"a": ["b"]}}
    line = encode(event)
    assert len(line) < 1024 * 1024
    assert strictly(line) == event


def test_a_line_is_compact_utf8() -> None:
    """No blanks between tokens, no escapes of characters that UTF-8 can represent."""
    line = encode({"accountId": "zoë", "tags": ["漢", 1, {"a": None}], "note": 'a"\\\n\r\t\0'})
    assert (
        line
        == (
            '{"accountId":"zoë","tags":["漢",1,{"a":null}],"note":"a\\"\\\\\\n\\r\\t\\u0000"}\n'
        ).encode()
    )


def test_the_empty_event_is_a_line() -> None:
    """An event without properties is `{}` and a newline."""
    assert encode({}) == b"{}\n"


class Color(enum.Enum):
    RED = "red"
    MIXED = (1, 2)


class Level(enum.IntEnum):
    LOW = 1


class Word(str, enum.Enum):
    A = "a"


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None


Pair = collections.namedtuple("Pair", ["left", "right"])
AT = datetime.datetime(2026, 1, 31, 12, 30, tzinfo=datetime.timezone.utc)


class Real:
    """A number class of an application."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Real({self.value})"

    def __float__(self) -> float:
        return self.value

    def __int__(self) -> int:
        return int(self.value)

    def __eq__(self, other: object) -> bool:
        return self.value == other

    def __hash__(self) -> int:
        return hash(self.value)


numbers.Real.register(Real)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (math.inf, None),
        (-math.inf, None),
        ([1, math.nan], [1, None]),
        ({"a": math.inf}, {"a": None}),
        (Decimal("2.50"), 2.5),
        (Decimal("7"), 7),
        (Decimal("-0"), 0),
        (Decimal("NaN"), None),
        (Decimal("sNaN"), None),
        (Decimal("-Infinity"), None),
        (fractions.Fraction(1, 4), 0.25),
        (fractions.Fraction(-5, 2), -2.5),
        (Real(2.5), 2.5),
        (Real(math.nan), None),
        (Real(math.inf), None),
        (AT, "2026-01-31T12:30:00+00:00"),
        (AT.date(), "2026-01-31"),
        (AT.time(), "12:30:00"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (b"ab\xff", "ab\ufffd"),
        (bytearray(b"ab"), "ab"),
        (memoryview(b"ab"), "ab"),
        (Color.RED, "red"),
        (Color.MIXED, [1, 2]),
        (Level.LOW, 1),
        (Word.A, "a"),
        (Point(1, Point(2)), {"x": 1, "y": {"x": 2, "y": None}}),
        (Point, "Point"),
        (Pair(1, "r"), [1, "r"]),
        ((1, (2,)), [1, [2]]),
        ({5}, [5]),
        (frozenset({"a"}), ["a"]),
        ({"a": 1}.keys(), ["a"]),
        (types.MappingProxyType({"a": {1}}), {"a": [1]}),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (collections.UserDict({"a": 1}), {"a": 1}),
        (collections.Counter("a"), {"a": 1}),
        (collections.ChainMap({"a": 1}), {"a": 1}),
        (ValueError("bad"), "bad"),
        (1j, "1j"),
        (range(2), "range(0, 2)"),
    ],
    ids=lambda value: re.sub(r" at 0x\w+", "", repr(value)),
)
@pytest.mark.parametrize("companion", [None, math.nan], ids=["alone", "beside a NaN"])
def test_a_value_becomes_its_nearest_json_value(companion: Any, value: Any, expected: Any) -> None:
    """A value is encoded in the same way, whatever else the event has."""
    arrived = strictly(encode({"value": value, "companion": companion}))
    assert arrived == {"value": expected, "companion": None}
    assert type(arrived["value"]) is type(expected)


@pytest.mark.parametrize("companion", [None, math.nan], ids=["alone", "beside a NaN"])
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a", "a"),
        (1, "1"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
        (("a", 1), "('a', 1)"),
        (AT.date(), "2026-01-31"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (math.nan, "nan"),
        ("\ud800", "\ufffd"),
    ],
    ids=ascii,
)
def test_keys_become_text(companion: Any, key: Any, expected: str) -> None:
    """Keys of JSON's types are written as by `json`, all others by `str`."""
    arrived = strictly(encode({"value": {key: 1}, key: 2, "companion": companion}))
    assert arrived == {"value": {expected: 1}, expected: 2, "companion": None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\ud800", "\ufffd"),
        ("a\udfffb", "a\ufffdb"),
        (
            "\ud83d\ude00",
            "\U0001f600",
        ),  # a surrogate pair, as JavaScript strings have them
        ("\ufeffa", "\ufeffa"),
        ("\u2028\u2029\x85\x0b", "\u2028\u2029\x85\x0b"),
    ],
    ids=ascii,
)
def test_text_is_always_utf8(text: str, expected: str) -> None:
    """A lone surrogate cannot be encoded and becomes the replacement character."""
    assert decoded(text) == expected
    assert decoded([text, math.nan]) == [expected, None]


def test_long_integers_become_null() -> None:
    """An integer with more digits than Python converts becomes null; 4,300 digits are kept."""
    assert decoded(10**4000) == 10**4000
    assert decoded(10**5000) is None
    assert decoded([-(10**5000), Decimal(10) ** 5]) == [None, 100_000]
    assert strictly(encode({"a": 1, 10**5000: 2}))["a"] == 1


class NoText:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class WrongText:
    def __str__(self) -> Any:
        return 5

    __repr__ = __str__


class OddText:
    def __str__(self) -> str:
        return "\ud800\n"


class NoClass:
    @property
    def __class__(self) -> Any:
        raise RuntimeError("no")

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class EveryAttribute:
    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *args: Any) -> Any:
        return self


class BadMapping(Mapping[Any, Any]):
    def __getitem__(self, key: Any) -> Any:
        raise RuntimeError("no")

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("no")

    def __len__(self) -> int:
        return 3


class BadKeys(Mapping[Any, Any]):
    def __getitem__(self, key: Any) -> Any:
        return key

    def __iter__(self) -> Iterator[Any]:
        return iter([1, 2])

    def __len__(self) -> int:
        raise RuntimeError("no")

    def items(self) -> Any:
        return [1, (1, 2, 3)]

    def keys(self) -> Any:
        return 5


class BadItems(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no")


class BadList(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("no")


class BadStr(str):
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = encode = __len__ = __format__ = __str__  # type: ignore[assignment]


class BadInt(int):
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __int__ = __index__ = __repr__  # type: ignore[assignment]


class BadFloat(float):
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __float__ = __repr__  # type: ignore[assignment]


class BadDate(datetime.date):
    def isoformat(self) -> str:
        raise RuntimeError("no")


class BadEnum(enum.Enum):
    A = NoText()


@dataclasses.dataclass
class BadDataclass:
    x: int = 1

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("no")


class BadMeta(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("no")


class NoName(metaclass=BadMeta):
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class OddMeta(type):
    __name__ = "\ud800\n"  # type: ignore[assignment]


class OddName(list[Any], metaclass=OddMeta):
    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("no")


class Growing(Mapping[Any, Any]):
    """An infinitely deep mapping."""

    def __getitem__(self, key: Any) -> Any:
        return Growing()

    def __iter__(self) -> Iterator[Any]:
        return iter(["a", "b"])

    def __len__(self) -> int:
        return 2


HOSTILE: dict[str, Callable[[], Any]] = {
    "no text": NoText,
    "a wrong text": WrongText,
    "an odd text": OddText,
    "no class": NoClass,
    "every attribute": EveryAttribute,
    "a bad mapping": BadMapping,
    "bad keys": BadKeys,
    "bad items": lambda: BadItems(a=1),
    "a bad list": lambda: BadList([1]),
    "a bad str": lambda: BadStr("text"),
    "a bad int": lambda: BadInt(5),
    "a bad float": lambda: BadFloat(1.5),
    "a bad date": lambda: BadDate(2026, 1, 31),
    "a bad enum": lambda: BadEnum.A,
    "a bad dataclass": BadDataclass,
    "no name": NoName,
    "a class without a name": lambda: NoName,
    "an odd name": lambda: OddName([math.nan]),
    "a growing mapping": Growing,
    "an object": object,
    "an iterator": lambda: iter([]),
    "a generator": lambda: (x for x in ()),
    "a function": lambda: len,
    "a module": lambda: sys,
    "a lock": threading.Lock,
}


UNHASHABLE = {
    *("bad items", "a bad list", "an odd name", "a bad dataclass"),
    *("a bad mapping", "bad keys", "a growing mapping"),
}


@pytest.mark.parametrize(
    "kind",
    [pytest.param(one, marks=[pytest.mark.slow] * (one == "a growing mapping")) for one in HOSTILE],
)
def test_hostile_values_cause_no_error(kind: str) -> None:
    """As a value, nested, beside a NaN, or as a key: no error, and the rest is encoded."""
    hostile = HOSTILE[kind]()
    decoded(hostile)
    assert decoded([1, hostile, 2])[::2] == [1, 2]
    assert decoded({"a": 1, "b": hostile})["a"] == 1
    assert decoded([math.nan, hostile, {"c": hostile}])[0] is None


@pytest.mark.parametrize("kind", [kind for kind in HOSTILE if kind not in UNHASHABLE])
def test_hostile_keys_cause_no_error(kind: str) -> None:
    """A key becomes text or is omitted; the rest of the event is encoded."""
    hostile = HOSTILE[kind]()
    assert strictly(encode({"a": 1, hostile: 2}))["a"] == 1
    assert decoded({"a": 1, (hostile,): 2})["a"] == 1


def test_subclasses_of_json_types_are_encoded_as_these() -> None:
    """The `__str__` and `__repr__` of a subclass do not matter."""
    assert decoded([BadStr("text"), BadInt(5), BadFloat(1.5)]) == ["text", 5, 1.5]


def nested(depth: int, wrap: Callable[[Any], Any], inner: Any) -> Any:
    for _ in range(depth):
        inner = wrap(inner)
    return inner


@pytest.mark.parametrize("inner", [1, math.nan, NoText()], ids=["plain", "NaN", "hostile"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: [x],
        lambda x: (x,),
        lambda x: {"k": x},
        lambda x: types.MappingProxyType({"k": x}),
        lambda x: [{"k": (x,)}],
    ],
    ids=["list", "tuple", "dict", "proxy", "mixed"],
)
def test_depth_is_bounded(wrap: Callable[[Any], Any], inner: Any) -> None:
    """A value nested 30,000 levels deep is cut at the bound."""
    assert decoded(nested(40, wrap, inner)) is not None
    line = encode({"a": 1, "value": nested(30_000, wrap, inner)})
    assert strictly(line)["a"] == 1


def test_cycles_end() -> None:
    """An event that contains itself, directly or not, is cut at the repetition."""
    loop: list[Any] = [1]
    loop.append(loop)
    assert decoded(loop)[0] == 1
    assert isinstance(decoded(loop)[1], str)
    event: dict[str, Any] = {"a": 1}
    event["self"] = {"x": [event]}
    arrived = strictly(encode(event))
    assert arrived["a"] == 1
    assert isinstance(arrived["self"]["x"][0], str)
    point = Point(1)
    point.y = {"again": point}
    assert decoded(point)["x"] == 1
    assert decoded([point, math.nan])[0]["x"] == 1


@pytest.mark.parametrize("inner", [1, math.nan], ids=["plain", "NaN"])
@pytest.mark.parametrize("depth", [62, 63, 64, 65, 9_000])
def test_both_ways_cut_at_the_same_depth(depth: int, inner: Any) -> None:
    """The C encoder never gets a value that is deeper than the slow way allows."""
    line = encode({"value": nested(depth, lambda x: [x], inner)})
    expected = "1" if inner == 1 else "null"
    if depth >= encoding.MAX_DEPTH:
        depth, expected = encoding.MAX_DEPTH - 1, '"<list nested too deep>"'
    assert line.decode() == f'{{"value":{"[" * depth}{expected}{"]" * depth}}}\n'


def test_a_deep_value_does_not_overflow_a_small_stack() -> None:
    """A thread with a small stack encodes a list nested 9,000 levels deep."""
    code = """
        import threading
        from fslog.mapping.encoding import encode
        value = []
        for _ in range(9_000):
            value = [value]
        threading.stack_size(256 * 1024)
        lines = []
        thread = threading.Thread(target=lambda: lines.append(encode({"a": 1, "value": value})))
        thread.start()
        thread.join()
        print(lines[0][:8].decode(), flush=True)
        import os
        os._exit(0)  # deallocating the value recurses too
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, '{"a":1,"\n')


def family(children: int) -> dict[str, Any]:
    """Return a tree node whose children hold their parent."""
    node: dict[str, Any] = {"name": "root"}
    node["children"] = [{"name": str(n), "parent": node} for n in range(children)]
    return node


def meshed(count: int) -> list[Any]:
    """Return nodes that each refer to all of them."""
    nodes: list[list[Any]] = [[] for _ in range(count)]
    for node in nodes:
        node += nodes
    return nodes


@pytest.mark.parametrize(
    ("make", "most"),
    [(lambda: family(10), 40_000), (lambda: family(10)["children"][3], 40_000), (meshed, 20_000)],
    ids=["root", "child", "mesh"],
)
def test_the_cost_of_a_cycle_is_bounded(make: Any, most: int) -> None:
    """It is cut long before the limit of an event is reached; measured in lines executed."""
    value = make(12) if make is meshed else make()
    steps = 0

    def count(frame: Any, event: str, arg: Any) -> Any:
        nonlocal steps
        steps += 1
        return count

    before = sys.gettrace()  # that of coverage
    sys.settrace(count)
    try:
        line = encode({"a": 1, "value": value})
    finally:
        sys.settrace(before)
    assert strictly(line)["a"] == 1
    assert 100 < steps < most


@pytest.mark.parametrize("companion", [None, math.nan], ids=["alone", "beside a NaN"])
def test_shared_values_are_not_cut(companion: Any) -> None:
    """Few objects that are repeated often are encoded completely, up to the bound of an event."""
    row = [0] * 10
    event = {"rows": [row] * 20_000, "end": {"a": ["b"]}, "companion": companion}
    assert strictly(encode(event)) == event | {"companion": None}


@pytest.mark.parametrize("companion", [None, math.nan], ids=["alone", "beside a NaN"])
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    "pair",
    [{1: "o", "1": "t"}, {None: "o", "null": "t"}, {True: "o", "true": "t"}, {1.5: 1, "1.5": "t"}],
    ids=str,
)
def test_no_key_is_written_twice(pair: dict[Any, Any], order: int, companion: Any) -> None:
    """If two keys have the same text, the string wins, at every level."""
    pair = dict([*pair.items()][::order])
    for event in ({**pair, "z": companion}, {"z": companion, "in": [pair, {"in": pair}]}):
        line = encode(event)
        found = json.loads(line, object_pairs_hook=lambda pairs: pairs)
        text = str(found)
        assert text.count(f"('{next(k for k in pair if type(k) is str)}', 't')") in (1, 2)
        assert "'o'" not in text

        def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            assert len(dict(pairs)) == len(pairs)
            return dict(pairs)

        json.loads(line, object_pairs_hook=once)


def test_a_name_that_is_not_a_string_differs_from_a_cached_one() -> None:
    """The string 7 may be cached, or the cache full: the number 7 is another name."""
    for number in range(5_000):
        encode({str(number): 1, "value": {f"n{number}": 1}})
    assert len(encoding._names) < 6_000
    assert encode({"7": 1, 7: 2}) == b'{"7":1}\n'
    assert encode({"value": {7: 2, "7": 1}}) == b'{"value":{"7":1}}\n'


class Meddling(datetime.tzinfo):
    """A time zone whose methods do what another thread might do at that moment."""

    def __init__(self, meddle: Callable[[], Any]) -> None:
        self.meddle = meddle

    def utcoffset(self, at: Any) -> datetime.timedelta:
        self.meddle()
        return datetime.timedelta(0)

    def tzname(self, at: Any) -> str:
        return "UTC"

    def dst(self, at: Any) -> None:
        return None


@pytest.mark.parametrize("shares", [True, False])
def test_without_the_gil_the_c_encoder_is_given_copies(shares: bool) -> None:
    """A change of a container during the encoding does not affect the C encoder."""
    held: list[Any] = []
    at = datetime.datetime(2026, 1, 31, tzinfo=Meddling(held.clear))
    held += [at, {"a": [1]}, (2,)]
    line = encode({"a": 1, "held": held}, shares=shares)
    whole = ["2026-01-31T00:00:00+00:00", {"a": [1]}, [2]]
    assert strictly(line) == {"a": 1, "held": whole[:1] if shares else whole}


@given(json_events)
def test_copies_are_encoded_as_their_originals(event: dict[str, Any]) -> None:
    """With and without the GIL a line has the same bytes."""
    assert encode(event, shares=False) == encode(event)
    assert encode({**event, "nan": math.nan}, shares=False) == encode({**event, "nan": math.nan})


@pytest.mark.parametrize("make", [lambda: family(3), lambda: nested(9_000, lambda x: [x], 1)])
def test_copies_have_the_same_bounds(make: Any) -> None:
    """Cycles and deep values are cut there too."""
    event = {"a": 1, "value": make(), "shared": [[1]] * 2}
    assert encode(event, shares=False) == encode(event)


def test_copies_are_made_if_there_is_no_gil() -> None:
    """The interpreter is asked at import, if it can be asked."""
    enabled = getattr(sys, "_is_gil_enabled", lambda: True)()
    assert encoding._SHARES_CONTAINERS is enabled


def test_a_shared_value_is_not_a_cycle() -> None:
    """A value that occurs twice, at one level or at two, is encoded twice."""
    shared = {"k": [1]}
    expected = {"k": [1]}
    assert decoded([shared, shared, {"in": shared}, math.nan]) == [
        expected,
        expected,
        {"in": expected},
        None,
    ]


ENDLESS = {
    "sharing": """
        value = 1
        for _ in range(60):
            value = [value, value]
        """,
    "sharing with a NaN": """
        value = float("nan")
        for _ in range(60):
            value = [value, value]
        """,
    "sharing of mappings": """
        value = {"x": object()}
        for _ in range(60):
            value = {"a": value, "b": value}
        """,
    "sharing of proxies": """
        import types
        value = 1
        for _ in range(60):
            value = types.MappingProxyType({"a": value, "b": value})
        """,
    "sharing of dataclasses": """
        import dataclasses
        @dataclasses.dataclass
        class Two:
            a: object
            b: object
        value = 1
        for _ in range(60):
            value = Two(value, value)
        """,
    "wide sharing": """
        value = 0
        for _ in range(4):
            value = [value] * 10_000
        """,
    "a Decimal": "from decimal import Decimal; value = Decimal('1E+999999999')",
    "a small Decimal": "from decimal import Decimal; value = Decimal('1E-999999999')",
    "a set": """
        import collections.abc, itertools
        class Endless(collections.abc.Set):
            def __contains__(self, item): return True
            def __len__(self): return 5
            def __iter__(self): return itertools.count()
        value = Endless()
        """,
    "a mapping": """
        import collections.abc, itertools
        class Endless(collections.abc.Mapping):
            def __getitem__(self, key): return key
            def __len__(self): return 5
            def __iter__(self): return itertools.count()
        value = Endless()
        """,
    "a dict": """
        import itertools
        class Endless(dict):
            def items(self): return ((number, 1) for number in itertools.count())
        value = Endless(a=1)
        """,
    "a list": """
        import itertools
        class Endless(list):
            def __iter__(self): return itertools.count()
        value = [float("nan"), Endless([1])]
        """,
}

IN_BOUNDS = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (4, 4))
from fslog.mapping.encoding import encode
{value}
line = encode({{"accountId": "acme", "value": value}})
assert line.endswith(b"\\n") and json.loads(line)["accountId"] == "acme"
used = resource.getrusage(resource.RUSAGE_SELF)
assert (len(line) < 16 << 20, used.ru_maxrss < 512 << 10) == (True, True), (len(line), used)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ENDLESS)
def test_infinite_values_are_bounded(kind: str) -> None:
    """An infinite value costs bounded time and memory, and the event is encoded."""
    code = IN_BOUNDS.format(value=textwrap.dedent(ENDLESS[kind]))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


# Values are drawn as recipes, (kind, ingredients), because hypothesis inspects what it draws.
Recipe = tuple[str, Any]

plain_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=5),
    st.binary(max_size=5),
    st.uuids(),
    st.datetimes(timezones=st.none() | st.just(datetime.timezone.utc)),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.fractions(),
    st.complex_numbers(),
    st.decimals(),
    st.sampled_from([Color.RED, Color.MIXED, Level.LOW, Word.A, Pair(1, 2), range(3)]),
).map(lambda value: ("plain", value))
key_recipes = st.one_of(
    plain_leaves.filter(lambda recipe: not _is_signalling(recipe[1])),
    st.integers(4299, 4301).map(lambda digits: ("huge", digits)),
    st.sampled_from([kind for kind in HOSTILE if kind not in UNHASHABLE]).map(
        lambda kind: ("hostile", kind)
    ),
)
leaves = st.one_of(
    plain_leaves,
    key_recipes,
    st.sampled_from(list(HOSTILE)).map(lambda kind: ("hostile", kind)),
)


def _is_signalling(value: Any) -> bool:
    return isinstance(value, Decimal) and value.is_snan()  # has no hash


MAPPINGS: dict[str, Callable[[dict[Any, Any]], Any]] = {
    "dict": dict,
    "proxy": types.MappingProxyType,
    "ordered": collections.OrderedDict,
    "user's": collections.UserDict,
}
SEQUENCES: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "deque": collections.deque,
    "dataclass": lambda items: Point(len(items), items),
    "values": lambda items: dict(enumerate(items)).values(),
}


def containers(inner: st.SearchStrategy[Recipe]) -> st.SearchStrategy[Recipe]:
    return st.one_of(
        st.tuples(st.sampled_from(list(SEQUENCES)), st.lists(inner, max_size=3)),
        st.tuples(st.just("set"), st.lists(key_recipes, max_size=3)),
        st.tuples(
            st.sampled_from(list(MAPPINGS)), st.lists(st.tuples(key_recipes, inner), max_size=3)
        ),
    )


def cooked(recipe: Recipe) -> Any:
    kind, ingredients = recipe
    if kind in SEQUENCES:
        return SEQUENCES[kind]([cooked(item) for item in ingredients])
    if kind in MAPPINGS:
        return MAPPINGS[kind]({cooked(key): cooked(item) for key, item in ingredients})
    if kind == "set":
        return {cooked(item) for item in ingredients}
    if kind == "huge":
        return 10**ingredients
    return HOSTILE[ingredients]() if kind == "hostile" else ingredients


@given(
    st.lists(st.tuples(key_recipes, st.recursive(leaves, containers, max_leaves=12)), max_size=5)
)
def test_any_event_is_one_strict_line(recipes: list[tuple[Recipe, Recipe]]) -> None:
    """For any values: no error, one line, UTF-8, strict JSON, one object."""
    event = {cooked(key): cooked(value) for key, value in recipes}
    arrived = strictly(encode({**event, "accountId": "acme"}))
    assert isinstance(arrived, dict)
    assert arrived["accountId"] == "acme"


class Changing(dict[str, int]):
    """A mapping that another thread changes during the first so many copies."""

    times = 0

    def items(self) -> Any:
        for item in list(super().items()):
            yield item
            if self.times:
                self.times -= 1
                raise RuntimeError("dictionary changed size during iteration")


def test_what_changes_while_it_is_copied_is_copied_again() -> None:
    """A change during the copy loses no value, unless every attempt is interrupted."""
    value = Changing(a=1, b=2)
    value.times = 3
    assert strictly(encode({"value": value})) == {"value": {"a": 1, "b": 2}}
    value.times = 1_000
    assert "could not be encoded" in strictly(encode({"value": value}))["value"]


def test_a_value_that_changes_meanwhile_is_encoded() -> None:
    """Another thread changes a value while it is encoded: there is no error."""
    shared: dict[str, Any] = {"kept": 1, "list": [math.nan], "map": {}}
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            shared[f"k{number % 50}"] = shared["map"][number % 70] = number
            shared["list"].append(number)
            shared.pop(f"k{(number * 7) % 50}", None)
            shared["map"].pop((number * 11) % 70, None)
            if number % 100 == 0:
                shared["list"][:] = [math.nan]

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(500):
            assert strictly(encode({"a": 1, "shared": shared}))["shared"]["kept"] == 1
            assert strictly(encode(shared))["kept"] == 1
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("make", [dict, collections.OrderedDict, collections.defaultdict, set])
def test_a_value_that_changes_all_the_time_is_encoded(make: Any) -> None:
    """Also without the GIL, where every attempt may be interrupted."""
    kept = [f"kept{number}" for number in range(200)]
    shared = make()
    add = shared.add if make is set else lambda name: shared.__setitem__(name, 1)
    remove = shared.discard if make is set else lambda name: shared.pop(name, None)
    for name in kept:
        add(name)
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            add(f"k{number % 50}")
            remove(f"k{(number * 7) % 50}")

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(20):
            arrived = strictly(encode({"one": shared, "other": shared}))  # the slow way
            for found in arrived.values():
                assert type(found) is (list if make is set else dict)
                assert set(kept) <= set(found)
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


def test_an_ordered_dict_arrives_whole_without_the_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its copy, made under its lock, may have another order of entries."""
    monkeypatch.setattr(encoding, "_SHARES_CONTAINERS", False)
    value = collections.OrderedDict(a=1, b={"c": [2]}, d=3)
    value.move_to_end("a")
    assert decoded(value) == {"a": 1, "b": {"c": [2]}, "d": 3}


def test_a_line_does_not_depend_on_later_changes() -> None:
    """Later changes of the event do not change its line."""
    tags = ["a"]
    line = encode({"tags": tags})
    tags.append("b")
    assert line == b'{"tags":["a"]}\n'


@pytest.mark.parametrize(
    "value",
    [
        "x",
        7,
        1.5,
        True,
        None,
        uuid.UUID(int=5),
        AT.date(),
        Decimal("2.5"),
        {"a": [1]},
        [1, "b"],
    ],
    ids=lambda value: re.sub(r" at 0x\w+", "", repr(value)),
)
@pytest.mark.parametrize("companion", [None, math.nan], ids=["alone", "beside a NaN"])
def test_lazy_objects_of_django_are_evaluated(companion: Any, value: Any) -> None:
    """They are encoded as the value or its text, never as a placeholder."""
    proxy = SimpleLazyObject(lambda: value)
    arrived = strictly(encode({"value": proxy, "companion": companion}))["value"]
    assert arrived == value or arrived == str(value)


def test_lazy_text_is_encoded_as_text() -> None:
    """The result of `gettext_lazy` claims to be a `str`, but is not."""
    words = lazy(lambda: "Einstellungen\ud800", str)()
    text = "Einstellungen\ufffd"
    assert decoded([words, {"k": words}]) == [text, {"k": text}]


def test_a_lazy_object_that_fails_becomes_a_placeholder() -> None:
    """Its exception is caught, and a placeholder is encoded."""

    def fail() -> Any:
        raise RuntimeError("no database")

    assert isinstance(decoded(SimpleLazyObject(fail)), str)


def test_translations_are_translated() -> None:
    """`gettext_lazy` of a configured Django, as a value and nested."""
    code = """
        import django, json
        from django.conf import settings
        settings.configure(USE_I18N=True, LANGUAGE_CODE="de")
        django.setup()
        from django.utils.translation import gettext_lazy
        from fslog.mapping.encoding import encode
        print(json.loads(encode({"a": gettext_lazy("Yes"), "b": [gettext_lazy("No")]})))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert re.fullmatch(r"\{'a': 'Ja', 'b': \['Nein'\]\}\n", done.stdout), done.stderr
