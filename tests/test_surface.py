"""The public surface: names, signatures, commands, options, exit codes.

The record is `fixtures/surface.json`. A change of it is a change for users: made on purpose, with
an entry in the changelog, by `python tests/test_surface.py`, which writes the record anew.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import inspect
import io
import json
import os
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints, is_typeddict
from unittest import mock

import pytest

from fslog.cli import COMMANDS, main

RECORD = Path(__file__).resolve().parent / "fixtures" / "surface.json"

MODULES = [
    *("fslog", "fslog.context", "fslog.collector", "fslog.metrics", "fslog.testing", "fslog.types"),
    *(
        f"fslog.integrations.{name}"
        for name in ("aiohttp", "asgi", "aws", "celery", "django", "flask", "rq", "wsgi")
    ),
]
"""From where an application imports; each has `__all__`, or its public names are those it makes."""

CALLS = [
    [],
    ["--version"],
    ["--help"],
    ["nonsense"],
    *([name, "--help"] for name in COMMANDS),
    *([name, "--nonsense"] for name in COMMANDS),
    *(["spool", name, "--help"] for name in ("ls", "show", "drain", "quarantine")),
    *(["plan", name, "--help"] for name in ("infer", "coverage", "diff", "docs", "types")),
]
"""Command lines that do nothing but print."""

# From 3.13 on `argparse` formats its help differently.
WORDS = sys.version_info < (3, 13)


def parameters(function: Any) -> list[str]:
    """Return the parameters of a callable, each with its kind, annotation and default."""
    found = []
    for one in inspect.signature(function).parameters.values():
        is_given = one.default is not one.empty
        default = getattr(one.default, "__name__", repr(one.default)) if is_given else None
        mark = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
        keyword = " (by name)" if one.kind is one.KEYWORD_ONLY else ""
        annotation = "" if one.annotation is one.empty else f": {one.annotation}"
        found.append(f"{mark}{one.name}{annotation}{f' = {default}' if is_given else ''}{keyword}")
    return found


def members(made: type) -> dict[str, Any]:
    """Return the public members of a class that it does not inherit from the standard library."""
    maker = next(base for base in made.__mro__ if "__init__" in vars(base))
    is_foreign = maker.__module__.partition(".")[0] not in {"fslog", *sys.stdlib_module_names}
    found: dict[str, Any] = {} if is_foreign else {"__init__": parameters(made)}
    for base in reversed(made.__mro__):
        if base.__module__.partition(".")[0] != "fslog":
            continue
        for name, value in vars(base).items():
            if not name.startswith("_"):
                plain = getattr(value, "__func__", value)
                found[name] = parameters(plain) if callable(plain) else type(plain).__name__
    return dict(sorted(found.items()))


def names(module: str) -> dict[str, Any]:
    """Return the public names of a module with their kinds."""
    loaded = importlib.import_module(module)
    public = getattr(loaded, "__all__", None) or [
        name
        for name, value in vars(loaded).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module
    ]
    found: dict[str, Any] = {}
    for name in sorted(public):
        value = getattr(loaded, name)
        if is_typeddict(value):
            hints = get_type_hints(value)
            needed = value.__required_keys__
            found[name] = {
                key: f"{inspect.formatannotation(hints[key])}{'' if key in needed else '?'}"
                for key in hints
            }
        elif get_args(value):
            found[name] = str(value)
        elif isinstance(value, type):
            found[name] = members(value)
        else:
            found[name] = parameters(value) if callable(value) else type(value).__name__
    return found


def called(arguments: list[str]) -> dict[str, Any]:
    """Return what a command line prints, and its exit code."""
    out, err = io.StringIO(), io.StringIO()
    plain = {"COLUMNS": "80", "NO_COLOR": "1"}
    with (
        mock.patch.dict(os.environ, plain),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = main(arguments)
    return {"code": code, "out": out.getvalue().splitlines(), "err": err.getvalue().splitlines()}


def entry_points() -> list[str]:
    """Return the entry points of the distribution."""
    found = importlib.metadata.distribution("freshsuccess-logging").entry_points
    return sorted(f"{one.group}: {one.name} = {one.value}" for one in found)


def surface() -> dict[str, Any]:
    """Return the whole surface."""
    return {
        "names": {module: names(module) for module in MODULES},
        "commands": {" ".join(["fslog", *one]): called(one) for one in CALLS},
        "entry points": entry_points(),
    }


@pytest.mark.parametrize("module", MODULES)
def test_the_public_names_are_those_of_the_record(module: str) -> None:
    """Existing imports work, and existing configurations have no unknown argument."""
    assert names(module) == json.loads(RECORD.read_text(encoding="utf-8"))["names"][module]


@pytest.mark.parametrize("arguments", CALLS, ids=" ".join)
def test_the_commands_are_those_of_the_record(arguments: list[str]) -> None:
    """Options and exit codes are unchanged; before Python 3.13, so are the help texts."""
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))["commands"]
    expected, found = recorded[" ".join(["fslog", *arguments])], called(arguments)
    assert found["code"] == expected["code"]
    if WORDS:
        assert found == expected


def test_the_entry_points_are_those_of_the_record() -> None:
    """The command is on the path, and pytest finds the fixture, as before."""
    assert entry_points() == json.loads(RECORD.read_text(encoding="utf-8"))["entry points"]


if __name__ == "__main__":
    RECORD.write_text(json.dumps(surface(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
