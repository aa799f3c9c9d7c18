"""`fslog plan types`: a module that type checkers read, and Python runs without fslog."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from test_typing import pyright

from fslog.cli.plan.types import class_names, module_text
from fslog.plan.plan import Plan
from uploads import Command

EXPORT = {"action": "feature", "module": "reports", "feature": "export"}

PLAN = (
    r"""
version: 1
common:
  accountId: {type: string, pattern: "^[0-9a-z-]{2,40}$", required: true}
  product: {enum: [core, more], required: true}
events:
  report exported:
    description: |-
      A user downloaded a report, \ as """
    + '"""'
    + r""" a "file".

      Twice \N{x}
    event: {action: feature, module: reports, feature: export}
    properties:
      total: {type: integer, minimum: 1, required: true}
      format: {enum: [csv, xlsx, null]}
      ratio: {type: [number, "null"]}
      tags: {type: array, items: {type: string}}
      level: {enum: [1, 2.5, true, [1], {a: 1}]}
      details: {type: object}
      flag: {type: boolean}
      anything: {}
    expires: 2027-03
  "report: exported":
    event: {action: feature, module: reports, feature: "a\"b\\c\nd\U0001f600"}
    properties: {product: {type: string, required: true}}
  report exported required: {event: {action: report.exported, version: 2, is_new: true}}
  odd names:
    event: {action: odd, "class": "x"}
    properties:
      str: {type: string, required: true}
      Any: {type: array, items: {}}
      report-id: {type: string}
      __private: {type: integer}
      "\uff21": {type: integer}
  dict: {event: {action: dict}}
  existing call:
    when: {logger: shop, message: sold %s}
    event: {action: sale, total: "{args.0}"}
  long list:
    event: {action: long}
    properties:
      "Literal[\"": {enum: [{a: 1}, "a ] long value", "another long value, quite so", "third"]}
      value:
        enum: ["one value, with a comma", "another \"value\"", "a third one of some length", 4]
  "漢字": {event: {action: kanji}}
"""
)

RIGHT = """
from usage import (
    Dict, ExistingCall, LongList, OddNames, ReportExported, ReportExported2,
    ReportExportedRequired, \u6f22\u5b57,
)

ReportExported(
    action="feature", module="reports", feature="export", total=3, format=None, ratio=1,
    tags=["a"], level=2.5, details={"a": 1}, flag=True, anything=object(), product="core",
    accountId=7,
)
ReportExported2(action="feature", module="reports", feature='a"b\\\\c\\nd\U0001f600', product="x")
ReportExportedRequired(action="report.exported", version=2, is_new=True)
OddNames({"action": "odd", "class": "x", "str": "a", "report-id": "r", "__private": 1, "Any": []})
Dict(action="dict", userId="ann")
ExistingCall(action="sale", total=3)
LongList(action="long", value="one value, with a comma")
LongList(action="long", value=4)
LongList({"action": "long", 'Literal["': "third"})
LongList({"action": "long", 'Literal["': {"a": 1}})
\u6f22\u5b57(action="kanji")
"""

WRONG = """
from usage import LongList, OddNames, ReportExported

ReportExported(action="feature", module="reports", feature="export")  # error
ReportExported(action="feature", module="reports", feature="exprot", total=1)  # error
ReportExported(action="feature", module="reports", feature="export", total="1")  # error
ReportExported(action="feature", module="reports", feature="export", total=1, formt="csv")  # error
ReportExported(action="feature", module="reports", feature="export", total=1, format="pdf")  # error
ReportExported(action="feature", module="reports", feature="export", total=1, tags=[1])  # error
OddNames({"action": "odd", "class": "x", "str": 1})  # error
OddNames({"action": "odd", "class": "x", "str": "a", "report-id": 1})  # error
LongList(action="long", value="another")  # error
"""


@pytest.fixture
def samples(fslog: Command, tmp_path: Path) -> Path:
    """Return a directory with a generated module, and modules that use it rightly and wrongly."""
    (tmp_path / "plan.yaml").write_text(PLAN, encoding="utf-8")
    said = fslog("plan", "types", "plan.yaml")
    assert (said.code, said.err) == (0, "")
    for name, text in {"usage": said.out, "right": RIGHT, "wrong": WRONG}.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    return tmp_path


def errors_of(path: Path) -> set[tuple[str, int]]:
    """Return the lines that a checker must report."""
    lines = (path / "wrong.py").read_text(encoding="utf-8").splitlines()
    return {("wrong.py", n) for n, line in enumerate(lines, 1) if line.endswith("# error")}


@pytest.mark.slow
@pytest.mark.needs("mypy>=2")
def test_mypy_finds_the_mistakes_and_nothing_else(
    samples: Path, pytestconfig: pytest.Config
) -> None:
    """In strict mode the module has no error, each misuse is one, and no correct use is."""
    cache = pytestconfig.cache
    assert cache is not None
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"]
    command += ["--python-version", "3.10", f"--cache-dir={cache.mkdir('mypy')}", "."]
    done = subprocess.run(command, cwd=samples, capture_output=True, text=True, check=False)
    found = re.findall(r"^(\w+\.py):(\d+): error", done.stdout, re.MULTILINE)
    assert {(name, int(line)) for name, line in found} == errors_of(samples), done.stdout


@pytest.mark.slow
def test_pyright_finds_the_mistakes_and_nothing_else(samples: Path) -> None:
    """Another checker agrees."""
    (samples / "pyrightconfig.json").write_text(
        json.dumps({"typeCheckingMode": "strict", "pythonVersion": "3.10"})
    )
    report = pyright(samples)["generalDiagnostics"]
    found = {
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1)
        for one in report
        if one["severity"] == "error"
    }
    assert found == errors_of(samples), report


def run(text: str) -> dict[str, Any]:
    """Return the names of a module."""
    names: dict[str, Any] = {"__name__": "usage"}
    exec(compile(text, "usage.py", "exec", dont_inherit=True), names)
    return names


def test_the_module_runs() -> None:
    """Python runs the module; keys, and which of them are required, are those of the plan."""
    plan = Plan(yaml.safe_load(PLAN))
    text = module_text(plan)
    assert text.isascii() is False  # the names of events
    assert "fslog" not in re.sub(r'"""[^"]*"""', "", text)
    assert "__future__" not in text
    names = run(text)
    assert len(names["__all__"]) == len(plan.events)
    made = names["ReportExported"]
    assert made.__required_keys__ == {"action", "module", "feature", "total"}
    assert made.__optional_keys__ >= {"product", "accountId", "userId", "format", "sessionId"}
    # From 3.13 on the compiler itself removes the indentation.
    assert inspect.getdoc(made) == (
        'A user downloaded a report, \\ as """ a "file".\n\nTwice \\N{x}\n\n'
        "Not expected any more from 2027-03-01 on."
    )
    odd = names["OddNames"]
    assert odd.__required_keys__ == {"action", "class", "str"}
    assert {"report-id", "__private", "\uff21", "Any"} <= odd.__optional_keys__
    hints = typing.get_type_hints(names["ReportExported2"])
    assert typing.get_args(hints["feature"]) == ('a"b\\c\nd\U0001f600',)
    assert hints["product"] is str
    assert max(map(len, text.splitlines())) <= 88


def test_names_do_not_collide() -> None:
    """Each event has a class of its own, with a valid name that nothing else has."""
    events = [
        "a b",
        "A-b",
        "ab",
        "1",
        "",
        "any",
        "none",
        "\u00e9t\u00e9",
        "\ufb01sh",
        "int",
        "a\u0301",
        "\u00b7",
    ]
    names = class_names(events)
    assert len(set(names.values())) == len(events)
    assert all(name.isidentifier() for name in names.values())
    assert names["a b"] == "AB"
    assert names["A-b"] == "AB2"
    run(
        module_text(
            Plan(
                {
                    "version": 1,
                    "events": {
                        name or " x": {"event": {"action": f"a{n}"}}
                        for n, name in enumerate(events)
                    },
                }
            )
        )
    )


def test_a_plan_without_events() -> None:
    """The module is valid, and empty."""
    assert run(module_text(Plan({"version": 1, "events": {}})))["__all__"] == []


NAMES = st.one_of(
    st.text(min_size=1, max_size=3).filter(str.strip),
    st.sampled_from(["Any", "str", "class", "__x", "a-b", "Literal", "TypedDict", "accountId"]),
)
VALUES = st.one_of(
    st.sampled_from([None, True, 1, 1.5, "x" * 30, "] | Literal[", [1], {"a": 1}]), st.text()
)
PROPERTIES = st.dictionaries(
    NAMES,
    st.fixed_dictionaries(
        {"required": st.booleans()},
        optional={"enum": st.lists(VALUES, min_size=1, max_size=6), "description": st.text()},
    ),
    max_size=3,
)


@given(st.dictionaries(NAMES, PROPERTIES, max_size=4), PROPERTIES)
def test_any_plan_gives_a_module_that_runs(
    events: dict[str, dict[str, Any]], common: dict[str, Any]
) -> None:
    """Whatever names and values a plan has, each of its properties is a key of its event's type."""
    plan = Plan(
        {
            "version": 1,
            "common": common,
            "events": {
                name: {"event": {"action": f"a{n}"}, "properties": properties}
                for n, (name, properties) in enumerate(events.items())
            },
        }
    )
    names = run(module_text(plan))
    made = {
        typing.get_args(typing.get_type_hints(names[name])["action"]): names[name]
        for name in names["__all__"]
    }
    for planned in plan.events.values():
        found = made[(planned.constants["action"],)]
        needed = {name for name, one in planned.properties.items() if one.required}
        assert found.__required_keys__ <= {"action", *needed}
        assert found.__required_keys__ | found.__optional_keys__ >= {*planned.properties}
