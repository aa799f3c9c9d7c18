"""An event's values as strict JSON, whatever they are: never raised, never endless, one line."""

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
    """Read one line as the strictest reader would."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    assert isinstance(line, bytes)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    return json.loads(line.decode("utf-8"), parse_constant=refuse)


def decoded(value: Any) -> Any:
    """Return what a value of an event arrives as; the rest of the event arrives as it is."""
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
def test_what_json_knows_arrives_as_it_was(event: dict[str, Any]) -> None:
    """The round trip of JSON's own types gives an equal event, with its properties in order."""
    arrived = strictly(encode(event))
    assert arrived == event
    assert list(arrived) == list(event)


@given(json_events, st.sampled_from([math.nan, math.inf, -math.inf]))
def test_one_odd_value_does_not_change_the_others(event: dict[str, Any], odd: float) -> None:
    """The slow way writes what the fast way takes exactly as the fast way does."""
    event.pop("odd", None)
    assert encode({**event, "odd": odd}) == encode({**event, "odd": None})


@given(json_events)
def test_encoding_leaves_the_event_as_it_is(event: dict[str, Any]) -> None:
    """Neither way changes what it encodes."""
    before = repr(event)
    encode(event)
    odd = {**event, "odd": math.nan}
    encode(odd)
    assert repr(event) == before
    assert repr(odd) == repr({**event, "odd": math.nan})


@pytest.mark.parametrize("size", [9_000, 60_000, 500_000])
def test_a_long_event_arrives_whole(size: int) -> None:
    """What fits a batch of 1 MiB is not cut: nobody would know that something is missing."""
    event = {"accountId": "acme", "numbers": [0] * size, "end": {"a": ["b"]}}
    line = encode(event)
    assert len(line) < 1024 * 1024
    assert strictly(line) == event


def test_a_line_is_compact_utf8() -> None:
    """No blanks between tokens, no escapes where UTF-8 has the character."""
    line = encode({"accountId": "zoë", "tags": ["漢", 1, {"a": None}], "note": 'a"\\\n\r\t\0'})
    assert (
        line
        == (
            '{"accountId":"zoë","tags":["漢",1,{"a":null}],"note":"a\\"\\\\\\n\\r\\t\\u0000"}\n'
        ).encode()
    )


def test_the_empty_event_is_a_line() -> None:
    """Even that."""
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
    """A number of somebody's own."""

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
def test_the_nearest_thing_that_json_has(companion: Any, value: Any, expected: Any) -> None:
    """A value arrives as the same thing, whatever stands beside it in the event."""
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
    """JSON's own keys as its encoder writes them, any other as its text."""
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
        ),  # two halves, as they come out of a JavaScript string
        ("\ufeffa", "\ufeffa"),
        ("\u2028\u2029\x85\x0b", "\u2028\u2029\x85\x0b"),
    ],
    ids=ascii,
)
def test_text_is_utf8_always(text: str, expected: str) -> None:
    """A lone surrogate has no UTF-8 and becomes the replacement character."""
    assert decoded(text) == expected
    assert decoded([text, math.nan]) == [expected, None]


def test_whole_numbers_have_a_bound() -> None:
    """A number with more digits than Python writes out becomes null; 4,300 digits arrive."""
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
    """A mapping that holds another one of its kind, for ever."""

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


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_values_do_not_hurt(kind: str) -> None:
    """As a value, inside of others, beside a NaN, as a key: never an error, always the rest."""
    hostile = HOSTILE[kind]()
    decoded(hostile)
    assert decoded([1, hostile, 2])[::2] == [1, 2]
    assert decoded({"a": 1, "b": hostile})["a"] == 1
    assert decoded([math.nan, hostile, {"c": hostile}])[0] is None


@pytest.mark.parametrize("kind", [kind for kind in HOSTILE if kind not in UNHASHABLE])
def test_hostile_keys_do_not_hurt(kind: str) -> None:
    """A key becomes a text or is left out; the rest of the event arrives."""
    hostile = HOSTILE[kind]()
    assert strictly(encode({"a": 1, hostile: 2}))["a"] == 1
    assert decoded({"a": 1, (hostile,): 2})["a"] == 1


def test_subclasses_of_plain_types_arrive_as_these() -> None:
    """Whatever a subclass makes of its own text."""
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
def test_depth_has_a_bound(wrap: Callable[[Any], Any], inner: Any) -> None:
    """What is nested 30,000 deep is followed for a while and cut off."""
    assert decoded(nested(40, wrap, inner)) is not None
    line = encode({"a": 1, "value": nested(30_000, wrap, inner)})
    assert strictly(line)["a"] == 1


def test_cycles_end() -> None:
    """An event that holds itself, in whatever way, is cut where it comes round."""
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
    """The C encoder is never given what would recurse deeper than the slow way does."""
    line = encode({"value": nested(depth, lambda x: [x], inner)})
    expected = "1" if inner == 1 else "null"
    if depth >= encoding.MAX_DEPTH:
        depth, expected = encoding.MAX_DEPTH - 1, '"<list nested too deep>"'
    assert line.decode() == f'{{"value":{"[" * depth}{expected}{"]" * depth}}}\n'


def test_a_deep_value_does_not_overflow_a_small_stack() -> None:
    """A thread with as little stack as some systems give encodes a list nested 9,000 deep."""
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
        os._exit(0)  # taking the value down recurses too
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
    """Return nodes each of which holds all of them."""
    nodes: list[list[Any]] = [[] for _ in range(count)]
    for node in nodes:
        node += nodes
    return nodes


@pytest.mark.parametrize(
    ("make", "most"),
    [(lambda: family(10), 40_000), (lambda: family(10)["children"][3], 40_000), (meshed, 20_000)],
    ids=["root", "child", "mesh"],
)
def test_a_cycle_costs_what_is_there(make: Any, most: int) -> None:
    """Not what it stands for, nor what may be had before it is given up: counted in steps."""
    value = make(12) if make is meshed else make()
    steps = 0

    def count(frame: Any, event: str, arg: Any) -> Any:
        nonlocal steps
        steps += 1
        return count

    before = sys.gettrace()  # coverage's
    sys.settrace(count)
    try:
        line = encode({"a": 1, "value": value})
    finally:
        sys.settrace(before)
    assert strictly(line)["a"] == 1
    assert 100 < steps < most


@pytest.mark.parametrize("companion", [None, math.nan], ids=["alone", "beside a NaN"])
def test_much_that_is_shared_arrives_whole(companion: Any) -> None:
    """Values that stand for no more than an event may have are not cut, however few they are."""
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
def test_no_key_stands_twice(pair: dict[Any, Any], order: int, companion: Any) -> None:
    """Of two keys that JSON makes equal the text counts, in the event and within it."""
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


def test_names_that_are_no_texts_are_not_taken_for_known_ones() -> None:
    """Not after their texts have been seen, and not where there are more than are remembered."""
    for number in range(5_000):
        encode({str(number): 1, "value": {f"n{number}": 1}})
    assert len(encoding._names) < 6_000
    assert encode({"7": 1, 7: 2}) == b'{"7":1}\n'
    assert encode({"value": {7: 2, "7": 1}}) == b'{"value":{"7":1}}\n'


class Meddling(datetime.tzinfo):
    """A time zone that, when it is asked, does what another thread might do at that moment."""

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
    """What happens to a container while it is encoded does not reach the encoder there."""
    held: list[Any] = []
    at = datetime.datetime(2026, 1, 31, tzinfo=Meddling(held.clear))
    held += [at, {"a": [1]}, (2,)]
    line = encode({"a": 1, "held": held}, shares=shares)
    whole = ["2026-01-31T00:00:00+00:00", {"a": [1]}, [2]]
    assert strictly(line) == {"a": 1, "held": whole[:1] if shares else whole}


@given(json_events)
def test_copies_are_encoded_as_what_they_are_copied_from(event: dict[str, Any]) -> None:
    """A line has the same bytes with and without the GIL."""
    assert encode(event, shares=False) == encode(event)
    assert encode({**event, "nan": math.nan}, shares=False) == encode({**event, "nan": math.nan})


@pytest.mark.parametrize("make", [lambda: family(3), lambda: nested(9_000, lambda x: [x], 1)])
def test_copies_have_the_same_bounds(make: Any) -> None:
    """A cycle and a deep value end there too."""
    event = {"a": 1, "value": make(), "shared": [[1]] * 2}
    assert encode(event, shares=False) == encode(event)


def test_there_are_copies_where_there_is_no_gil() -> None:
    """It is asked at import, of interpreters that can be asked."""
    enabled = getattr(sys, "_is_gil_enabled", lambda: True)()
    assert encoding._SHARES_CONTAINERS is enabled


def test_what_is_shared_is_no_cycle() -> None:
    """The same value twice, side by side or above each other, arrives twice."""
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


@pytest.mark.parametrize("kind", ENDLESS)
def test_nothing_is_endless(kind: str) -> None:
    """Few values that stand for endlessly many cost bounded time and memory, and no event."""
    code = IN_BOUNDS.format(value=textwrap.dedent(ENDLESS[kind]))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


# Values are drawn as recipes, (kind, ingredients), since hypothesis looks into what it draws.
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
    """Whatever is in it: no error, one line, UTF-8, strict JSON, one object."""
    event = {cooked(key): cooked(value) for key, value in recipes}
    arrived = strictly(encode({**event, "accountId": "acme"}))
    assert isinstance(arrived, dict)
    assert arrived["accountId"] == "acme"


class Changing(dict[str, int]):
    """A mapping that another thread changes in the midst of being copied, so many times."""

    times = 0

    def items(self) -> Any:
        for item in list(super().items()):
            yield item
            if self.times:
                self.times -= 1
                raise RuntimeError("dictionary changed size during iteration")


def test_what_changes_while_it_is_copied_is_copied_again() -> None:
    """A change in the midst of the copy costs no value, unless there is one each time."""
    value = Changing(a=1, b=2)
    value.times = 3
    assert strictly(encode({"value": value})) == {"value": {"a": 1, "b": 2}}
    value.times = 1_000
    assert "could not be encoded" in strictly(encode({"value": value}))["value"]


def test_a_value_may_change_meanwhile() -> None:
    """Another thread that changes what is being encoded costs no event."""
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
def test_what_is_always_being_changed_arrives(make: Any) -> None:
    """Also where threads run at the same time, so that no second try finds it at rest."""
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
            arrived = strictly(encode({"one": shared, "other": shared}))  # no tree: the slow way
            for found in arrived.values():
                assert type(found) is (list if make is set else dict)
                assert set(kept) <= set(found)
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


def test_an_ordered_dict_arrives_whole_without_the_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read by what locks it, which does not know that an entry was moved."""
    monkeypatch.setattr(encoding, "_SHARES_CONTAINERS", False)
    value = collections.OrderedDict(a=1, b={"c": [2]}, d=3)
    value.move_to_end("a")
    assert decoded(value) == {"a": 1, "b": {"c": [2]}, "d": 3}


def test_a_line_does_not_depend_on_later_changes() -> None:
    """The line is made when `encode` returns; bytes do not change."""
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
def test_django_s_lazy_objects_arrive_as_what_they_stand_for(companion: Any, value: Any) -> None:
    """As the value or as its text, and never as a word for what could not be encoded."""
    proxy = SimpleLazyObject(lambda: value)
    arrived = strictly(encode({"value": proxy, "companion": companion}))["value"]
    assert arrived == value or arrived == str(value)


def test_lazy_text_arrives_as_text() -> None:
    """What `gettext_lazy` returns claims to be a `str` and is none."""
    words = lazy(lambda: "Einstellungen\ud800", str)()
    text = "Einstellungen\ufffd"
    assert decoded([words, {"k": words}]) == [text, {"k": text}]


def test_a_lazy_object_that_fails_costs_no_event() -> None:
    """What it raises stays inside, and a word for it arrives."""

    def fail() -> Any:
        raise RuntimeError("no database")

    assert isinstance(decoded(SimpleLazyObject(fail)), str)


def test_translations_are_translated() -> None:
    """`gettext_lazy` of a configured Django, as value and inside of others."""
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
