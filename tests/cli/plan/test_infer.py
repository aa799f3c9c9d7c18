"""`fslog plan infer`: a first plan from events."""

from __future__ import annotations

import gzip
import json
import logging
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fslog import FreshsuccessHandler
from fslog.collector import Collector
from fslog.plan.inference import MOST_NAMES, MOST_VALUES, Inference
from fslog.plan.judgement import problems
from fslog.plan.plan import Plan
from fslog.plan.proposals import json_plan, toml_plan, yaml_plan
from fslog.viewer.server import Viewer
from uploads import Command
from viewing import event


def export(at: int, **more: Any) -> dict[str, Any]:
    """Return an event of reports / export."""
    return event(at, **{"total": at, **more})


def written(path: Path, events: list[dict[str, Any]]) -> Path:
    """Write a file of events."""
    path.write_text("".join(f"{json.dumps(one)}\n" for one in events), encoding="utf-8")
    return path


def planned(*events: dict[str, Any]) -> dict[tuple[str, ...], dict[str, Any]]:
    """Return the properties that are inferred for each kind of events."""
    found = Inference()
    for one in events:
        found.add(one)
    return {
        tuple(kind.constants.values()): {name: kind.keywords(name) for name in kind.properties}
        for kind in found.kinds()
    }


def test_the_plan(fslog: Command, tmp_path: Path) -> None:
    """Events, properties, types, enums and what is always there are written, with their counts."""
    events = [export(n, product="core", format=["csv", "xlsx"][n % 2]) for n in range(9)]
    events += [export(n, product="core", cols=["a", 1], note=f"n{n}") for n in range(9, 12)]
    events += [event(86_400_000 * 9, feature=None, action="moduleEnd", product="core")]
    said = fslog("plan", "infer", written(tmp_path / "e.ndjson", events).name)
    assert (said.code, said.err) == (0, "")
    head, _, rest = said.out.partition("version: 1\n")
    assert head.startswith("# Inferred by fslog plan infer from 13 events of e.ndjson.\n# These")
    assert rest == (
        "common:\n"
        "  product: {type: string, enum: [core], required: true}  # 13 of 13: core 13\n"
        "events:\n"
        "  # seen 12 times, on 2023-11-14\n"
        '  "reports / export":\n'
        "    event: {action: feature, module: reports, feature: export}\n"
        "    properties:\n"
        "      cols: {type: array, items: {type: [string, integer]}}  # 3 of 12\n"
        "      format: {type: string, enum: [csv, xlsx]}  # 9 of 12: csv 5, xlsx 4\n"
        "      note: {type: string}  # 3 of 12\n"
        "      total: {type: integer, required: true}  # 12 of 12\n"
        "  # seen once, on 2023-11-23\n"
        '  "time in reports":\n'
        "    event: {action: moduleEnd, module: reports}\n"
    )


def test_the_order_of_events_does_not_count(fslog: Command, tmp_path: Path) -> None:
    """The same events give the same plan byte for byte, also when ids are merged on the way."""
    events = [export(n, feature=f"f{n}", kind=f"k{n % 3}", size=n / 2) for n in range(250)]
    events += [export(n, module=f"m{n}") for n in range(5)] + [event(n) for n in range(3)]
    shown = set()
    for seed in range(3):
        random.Random(seed).shuffle(events)
        shown.add(fslog("plan", "infer", written(tmp_path / "events", events)).out)
    assert len(shown) == 1
    assert "event: {action: feature, module: reports}" in shown.pop()


@pytest.mark.parametrize("name", ["module", "feature"])
def test_ids_are_no_names(name: str) -> None:
    """Up to the limit each name is an event; beyond it, all of them are one."""
    events = [event(n, **{name: f"x{n}"}) for n in range(MOST_NAMES)]
    assert len(planned(*events)) == MOST_NAMES
    found = planned(*events, event(0, **{name: "one more"}))
    assert len(found) == 1
    ((constants, properties),) = found.items()
    assert constants == (("feature",) if name == "module" else ("feature", "reports"))
    assert properties[name] == {"type": "string", "required": True}


@pytest.mark.parametrize(
    ("values", "keywords"),
    [
        ([1, 2.5], {"type": "number"}),
        ([1, "a", None], {"type": ["string", "integer", "null"]}),
        ([True], {"type": "boolean"}),
        ([{"a": 1}], {"type": "object"}),
        ([[], [[1]]], {"type": "array", "items": {"type": "array"}}),
        ([[]], {"type": "array"}),
        (["a"] * 3 + ["b"] * 3, {"type": "string", "enum": ["a", "b"]}),
        (["a"] * 3 + ["b"] * 2, {"type": "string"}),
        (["a"] * 3 + [None], {"type": ["string", "null"]}),
        (["a" * 41] * 3, {"type": "string"}),
        (["ann@example.org"] * 3, {"type": "string"}),
        (["a\nb"] * 3, {"type": "string"}),
        ([f"v{n}" for n in range(MOST_VALUES)] * 3, {"type": "string", "enum": ...}),
        ([f"v{n}" for n in range(MOST_VALUES + 1)] * 3, {"type": "string"}),
    ],
)
def test_the_keywords(values: list[Any], keywords: dict[str, Any]) -> None:
    """Types are those that occur; an enum needs few texts, each seen several times."""
    (found,) = planned(*({**export(0), "value": value} for value in values), export(0)).values()
    shown = found["value"]
    if keywords.get("enum") is ...:
        assert len(shown.pop("enum")) == MOST_VALUES
        keywords = {"type": keywords["type"]}
    assert shown == keywords


def test_a_name_of_strange_characters_is_kept(fslog: Command, tmp_path: Path) -> None:
    """YAML reads the names and values that the events have; braces are no placeholders."""
    for name in ("{id}", "a: b", "ünï\U0001f600\x85", "y", "#", "\\d'\"", "\ud800"):
        path = written(tmp_path / "events", [export(0, feature=name, **{f"{name}?": name})])
        plan = yaml.safe_load(fslog("plan", "infer", path).out)
        (found,) = plan["events"].values()
        assert found["event"]["feature"] == name.replace("{", "{{").replace("}", "}}")
        assert list(found["properties"]) == sorted([f"{name}?", "total"])


def test_a_blank_name(fslog: Command, tmp_path: Path) -> None:
    """What a plan cannot name is left out, and a blank action has a name."""
    events = [export(0, action=" ", module=None, feature=None, **{" ": 1, "": 2})]
    plan = yaml.safe_load(fslog("plan", "infer", written(tmp_path / "events", events)).out)
    (found,) = plan["events"].items()
    assert found[0] == "blank"
    assert list(found[1]["properties"]) == ["total"]


def test_equal_names_are_numbered(fslog: Command, tmp_path: Path) -> None:
    """Two kinds of events for which the same name would do are two planned events."""
    events = [export(0, module="a / b", feature="c"), export(0, module="a", feature="b / c")]
    plan = yaml.safe_load(fslog("plan", "infer", written(tmp_path / "events", events)).out)
    assert list(plan["events"]) == ["a / b / c", "a / b / c (2)"]


def test_invalid_lines_are_left_out(fslog: Command, tmp_path: Path) -> None:
    """A line that the endpoint would drop is no evidence, and is counted; so is a huge one."""
    path = written(tmp_path / "events", [export(0), export(0, userId=None)])
    path.write_bytes(path.read_bytes() + b"{\n\n" + b"x" * 2_000_000)
    said = fslog("plan", "infer", path)
    assert said.code == 0
    assert said.err == "3 invalid lines left out; fslog validate explains them\n"
    assert "seen once" in said.out


def test_no_events(fslog: Command, tmp_path: Path) -> None:
    """Without an event there is no plan, and the exit code is 1."""
    said = fslog("plan", "infer", written(tmp_path / "events", []))
    assert (said.code, said.out) == (1, "")
    assert "no event in " in said.err


@pytest.mark.parametrize("sources", [[], ["events", "--viewer", "x"], ["a", "--spool", "b"]])
def test_one_source(sources: list[str], fslog: Command) -> None:
    """Without a source, or with several, nothing is done."""
    said = fslog("plan", "infer", *sources)
    assert said.code == 2
    assert "expected events from exactly one of FILE, --viewer, --spool" in said.err


def test_several_files(fslog: Command, tmp_path: Path) -> None:
    """Files may be compressed, and are read together."""
    first = written(tmp_path / "a", [export(0)])
    (tmp_path / "b.gz").write_bytes(gzip.compress(first.read_bytes()))
    said = fslog("plan", "infer", first, tmp_path / "b.gz")
    assert "2 events of" in said.out
    assert "a and 1 other file." in said.out


def test_a_viewer(fslog: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entries of a running viewer are read, page by page."""
    monkeypatch.setattr("fslog.cli.plan.arrivals._PAGE", 2)
    with Viewer("127.0.0.1", 0) as viewer:
        path = written(tmp_path / "events", [export(n) for n in range(5)])
        monkeypatch.setenv("FSLOG_AUTH_KEY", "any-auth")
        monkeypatch.setenv("FSLOG_API_KEY", "any-api")
        assert fslog("send", "--endpoint", viewer.url, path).code == 0
        said = fslog("plan", "infer", "--viewer", viewer.url.removeprefix("http://"))
    assert "from 5 events of the viewer at 127.0.0.1:" in said.out


def test_what_is_no_viewer(fslog: Command) -> None:
    """Another server, a closed port and a text that is no URL are errors without a traceback."""
    with Collector() as other:
        said = fslog("plan", "infer", "--viewer", other.url)
        assert (said.code, said.out) == (1, "")
        assert "is not a viewer that can be reached: it answers 4" in said.err
        url = other.url
    assert "is not a viewer" in fslog("plan", "infer", "--viewer", url).err
    assert fslog("plan", "infer", "--viewer", "ftp://x").code == 2


NAMES = st.sampled_from(["reports", "a: b", "{x}", " ", "y", "-", "#", "null", "1", "\u2028", "é"])
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=3),
    st.lists(st.one_of(st.integers(0, 2), st.text(max_size=1), st.lists(st.none())), max_size=2),
    st.just({"a": {"b": 1}}),
)
EVENTS = st.builds(
    lambda given, more: {**event(0, module=None, feature=None), **more, **given},
    st.fixed_dictionaries(
        {"action": st.one_of(st.sampled_from(["feature", "moduleEnd"]), NAMES)},
        optional={"module": st.one_of(NAMES, VALUES), "feature": st.one_of(NAMES, VALUES)},
    ),
    st.dictionaries(st.one_of(NAMES, st.text(max_size=2)).filter(str.strip), VALUES, max_size=3),
)


@given(st.lists(EVENTS, min_size=1, max_size=20))
def test_each_event_is_as_the_inferred_plan_says(events: list[dict[str, Any]]) -> None:
    """Nothing that was seen is unplanned, in whatever format the plan is written."""
    found = Inference()
    for one in events:
        found.add(one)
    writers = {".yaml": yaml_plan, ".json": json_plan, ".toml": toml_plan}
    with tempfile.TemporaryDirectory() as directory:
        for extension, write in writers.items():
            if extension == ".toml" and sys.version_info < (3, 11):
                continue
            path = Path(directory, f"plan{extension}")
            path.write_text("\n".join(write("events", found)), encoding="utf-8")
            plan = Plan.read(path)
            for one in events:
                assert problems(plan, one) == []


def test_a_spool(fslog: Command, tmp_path: Path, collector: Collector) -> None:
    """The events that wait in a spool are read, and stay in it; what is no spool is an error."""
    log, directory = logging.Logger("shop"), tmp_path / "spool"
    handler = FreshsuccessHandler(spool=str(directory), flush_interval=600)
    log.addHandler(handler)
    for n in range(3):
        log.info("exported", extra={"event": export(n)})
    said = fslog("plan", "infer", "--spool", directory)
    assert handler.stats().pending == 3
    assert handler.flush(30)
    handler.close()
    assert len(collector.events) == 3
    assert "  # seen 3 times, on 2023-11-14\n" in said.out
    assert fslog("plan", "infer", "--spool", tmp_path).code == 2
