"""`fslog plan infer --into`: events are added to a plan, whose text stays as it is."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from fslog.plan.plan import Plan
from uploads import Command, Said
from viewing import event

NEEDS_TOML = pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib is new in 3.11")

OLD = {"version": 1, "events": {"shared": {"event": {"action": "feature", "module": "m"}}}}

TEXTS = {
    "commented": """\
# Ours.
version: 1
events:
    # The most important one.
    shared:   # by link
        event: {action: feature, module: m}   # all features
        description: >-
            Somebody shared something

    # the end

# This is the end of the file.
""",
    "another key follows": """\
version: 1
events:
  shared:
    event: {action: feature, module: m} # x
# about unplanned
unplanned: send
""",
    "no newline": "version: 1\nevents: # all\n  shared: {event: {action: feature, module: m}}",
    "windows": "version: 1\r\nevents:\r\n  shared:\r\n    event: {action: feature, module: m}\r\n",
    "an alias at the end": """\
common: {kind: &kind {enum: [a,
  b]}}
version: 1
events:
  shared:
    event: {action: feature, module: m}
    properties:
      other: *kind
unplanned: send
""",
    "a block scalar at the end": """\
version: 1
events:
  shared:
    event: {action: feature, module: m}
    description: |+
      one

      two

unplanned: warn
""",
    "not indented values": """\
version: 1
events:
  shared:
    event:
      action: feature
      module: m
    properties:
      total:
        type:
        - integer
        - "null"
""",
    "flow": "{version: 1, events: {shared: {event: {action: feature, module: m}}}} # flow\n",
    "flow, comma": "version: 1\nevents: {\n  s: {event: {action: feature, module: m}}, # c\n  }\n",
    "no events": "version: 1\n",
    "empty events": "version: 1\nevents:\nunplanned: send\n",
    "empty flow": "version: 1\nevents: {}   # none yet\n",
    "quoted keys": '"version": 1\n"events":\n  "s":\n    "event": {action: feature, module: m}\n',
    "a BOM": "\ufeffversion: 1\nevents:\n  shared:\n    event: {action: feature, module: m}\n",
    "document marks": "---\nversion: 1\nevents:\n  s: {event: {action: feature, module: m}}\n...\n",
}


def infer(fslog: Command, plan: str, *events: dict[str, Any]) -> Said:
    """Add events to a plan."""
    text = "".join(f"{json.dumps(one)}\n" for one in events)
    Path("events.ndjson").write_text(text, encoding="utf-8")
    return fslog("plan", "infer", "events.ndjson", "--into", plan)


def is_inserted(old: bytes, new: bytes) -> bool:
    """Return whether one text is another one with something inserted in one place."""
    return any(new.startswith(old[:at]) and new.endswith(old[at:]) for at in range(len(old) + 1))


@pytest.mark.parametrize("name", TEXTS)
def test_every_byte_of_yaml_stays(name: str, fslog: Command) -> None:
    """Text is only inserted: comments, blank lines, quotes, anchors and line ends stay."""
    path = Path("plan.yaml")
    path.write_bytes(TEXTS[name].encode())
    old, before = path.read_bytes(), Plan.read(path)
    events = [event(0, total=1), event(1, feature="a: b #{c}", total=None), event(2, module="m")]
    said = infer(fslog, "plan.yaml", *events)
    assert (said.code, said.err) == (0, "")
    new, after = path.read_bytes(), Plan.read(path)
    assert is_inserted(old, new)
    assert len(new) > len(old)
    assert set(after.events) - set(before.events) >= {"reports / export", "reports / a: b #{c}"}
    assert all(after.find(one) for one in events)
    assert {name: after.events[name] for name in before.events} == dict(before.events)
    if "\r\n" in TEXTS[name]:
        assert new.count(b"\n") == new.count(b"\r\n")
    infer(fslog, "plan.yaml", *events)
    assert path.read_bytes() == new


def test_the_place(fslog: Command) -> None:
    """New events stand after the last one, indented as it is, with their comments."""
    path = Path("plan.yaml")
    path.write_text(TEXTS["commented"])
    said = infer(fslog, "plan.yaml", event(0, total=1), event(1, module="m", size=2))
    assert said.out == (
        "plan.yaml: 1 event added\n"
        "  reports / export  seen once, on 2023-11-14\n"
        "  shared: feature is not planned; seen in 1 of 1; {type: string, required: true}\n"
        "  shared: size is not planned; seen in 1 of 1; {type: integer, required: true}\n"
    )
    before, _, after = TEXTS["commented"].partition("    # the end")
    assert path.read_text() == (
        f"{before}"
        "    # seen once, on 2023-11-14\n"
        '    "reports / export":\n'
        "        event: {action: feature, module: reports, feature: export}\n"
        "        properties:\n"
        "            total: {type: integer, required: true}  # 1 of 1\n"
        f"    # the end{after}"
    )


JSON = {
    "indented": json.dumps(OLD, indent=4) + "\n",
    "compact": json.dumps(OLD, separators=(",", ":")),
    "one line": json.dumps({**OLD, "unplanned": "send"}),
    "empty": '{\n  "version": 1,\n  "events": {}\n}\n',
    "empty, spread": '{\n\t"version": 1,\n\t"events": {\n\t},\n\t"unplanned": "send"\n}\n',
    "strange": '{"version":1 ,"common": {"a}": {"enum": ["}", "\\""]}}, "events"\n:\n{ } }',
}


@pytest.mark.parametrize("name", JSON)
def test_every_byte_of_json_stays(name: str, fslog: Command) -> None:
    """Text is only inserted, in lines of their own if the file has them."""
    path = Path("plan.json")
    path.write_text(JSON[name])
    old, before = path.read_bytes(), Plan.read(path)
    events = [event(0), event(1, feature="share", total=None)]
    assert infer(fslog, "plan.json", *events).code == 0
    new, after = path.read_bytes(), Plan.read(path)
    assert is_inserted(old, new)
    assert len(new) > len(old)
    assert list(after.events) == [*before.events, "reports / export", "reports / share"]
    if name == "indented":
        assert new.decode() == json.dumps(json.loads(new), indent=4) + "\n"


@NEEDS_TOML
def test_every_byte_of_toml_stays(fslog: Command) -> None:
    """Tables are added at the end."""
    old = 'version = 1  # ours\n\n[events.shared]\nevent = {action = "feature", module = "m"}'
    path = Path("plan.toml")
    path.write_text(old)
    events = [event(0, feature="é\x7f\U0001f600", kind=k, **{"a b": [1]}) for k in "aab" * 3]
    assert infer(fslog, "plan.toml", *events).code == 0
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"{old}\n\n# seen 9 times")
    assert (
        'kind = {type = "string", enum = ["a", "b"], required = true}  # 9 of 9: a 6, b 3\n' in text
    )
    assert '"a b" = {type = "array", items = {type = "integer"}, required = true}' in text
    assert len(Plan.read(path).events) == 2


@NEEDS_TOML
@pytest.mark.parametrize("path", ["plan.yaml", "plan.json", "plan.toml"])
def test_a_new_plan(path: str, fslog: Command) -> None:
    """A file that does not exist is made, in the format of its name."""
    events = [event(n, product="core", feature=f"f{n % 2}") for n in range(8)]
    assert infer(fslog, path, *events) == (0, "", "")
    plan = Plan.read(path)
    assert list(plan.events) == ["reports / f0", "reports / f1"]
    assert plan.common["product"].enum == ("core",)
    assert all(plan.find(one) for one in events)


def test_the_mode_of_the_file_stays(fslog: Command) -> None:
    """The file is replaced by one with the same mode; a link stays a link; nothing else is left."""
    path = Path("real.json")
    path.write_text(JSON["indented"])
    path.chmod(0o640)
    Path("plan.json").symlink_to("real.json")
    assert infer(fslog, "plan.json", event(0)).code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert Path("plan.json").is_symlink()
    assert len(Plan.read("real.json").events) == 2
    assert sorted(os.listdir()) == ["events.ndjson", "plan.json", "real.json"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version: 2\n", "version is 2"),
        ("? version\n: 1\n? events\n: ? shared\n  : {event: {action: a}}\n", "has no place for"),
    ],
)
def test_a_plan_that_cannot_be_extended(text: str, words: str, fslog: Command) -> None:
    """The message says why, and the file stays as it is."""
    path = Path("plan.yaml")
    path.write_text(text)
    said = infer(fslog, "plan.yaml", event(0))
    assert said.code in (1, 2)
    assert words in said.err
    assert path.read_text() == text
    assert sorted(os.listdir()) == ["events.ndjson", "plan.yaml"]


def test_events_that_the_plan_cannot_have(fslog: Command) -> None:
    """If the new events cannot be told apart from those of the plan, nothing is written."""
    path = Path("plan.json")
    path.write_text(
        json.dumps({"version": 1, "events": {"a": {"event": {"action": "x", "kind": "k"}}}})
    )
    old = path.read_bytes()
    said = infer(fslog, "plan.json", event(0, action="x", feature=None))
    assert said.code == 2
    assert "with the events that it lacks the plan is wrong: plan.json: events." in said.err
    assert path.read_bytes() == old


@pytest.mark.parametrize("path", ["plan.txt", "plan"])
def test_an_unknown_format(path: str, fslog: Command) -> None:
    """A file of another format is neither made nor changed."""
    said = infer(fslog, path, event(0))
    assert (said.code, os.path.exists(path)) == (2, False)
    assert "has an unknown extension; expected one of .yaml, .yml, .json, .toml" in said.err


def test_a_directory_that_does_not_exist(fslog: Command) -> None:
    """A file that cannot be written is an error without a traceback."""
    said = infer(fslog, "none/plan.yaml", event(0))
    assert (said.code, said.err) == (
        1,
        "fslog plan: error: none/plan.yaml cannot be written: No such file or directory\n",
    )
