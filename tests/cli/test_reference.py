"""The reference of the commands, at the end of the guide's topic `cli`, is made from their parsers.

`python tests/cli/test_reference.py` writes it anew.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

import fslog.cli
from fslog.cli import load, main
from fslog.cli.names import COMMANDS

PAGE = Path(fslog.cli.__file__).resolve().parent.parent / "guide" / "cli.md"
HEADING = "\n## Reference\n"


def parsers() -> Iterator[argparse.ArgumentParser]:
    """Yield the parser of `fslog`, then that of every command, each before its subcommands'."""
    yield fslog.cli._parser()
    for name in COMMANDS:
        module = importlib.import_module(load(name).__module__)
        yield from with_subcommands(module._parser())


def with_subcommands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser, then those of its subcommands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subcommand in action.choices.values():
                yield from with_subcommands(subcommand)


def reference() -> str:
    """Return the section: what each parser prints as its help in a terminal of 80 columns."""
    parts = [f"{HEADING}\nWhat `--help` prints, for each command.\n"]
    with mock.patch.dict(os.environ, {"COLUMNS": "80", "NO_COLOR": "1"}):
        for parser in parsers():
            shown = f"<!-- test: prose -->\n```text\n{parser.format_help()}```\n"
            parts.append(f"\n### {parser.prog}\n\n{shown}")
    return "".join(parts)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="argparse may lay out its help otherwise")
def test_the_guide_has_the_reference() -> None:
    """An option that is added, removed or described anew changes the guide in the same change."""
    _, heading, section = PAGE.read_text(encoding="utf-8").partition(HEADING)
    assert heading + section == reference()


@pytest.mark.parametrize(
    "command", ["fslog send", "fslog spool drain", "fslog spool quarantine requeue"]
)
def test_the_reference_is_what_a_command_prints(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parsers that the reference is made from are those that parse the arguments."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    assert main([*command.split()[1:], "--help"]) == 0
    assert f"### {command}\n\n<!-- test: prose -->\n```text\n{capsys.readouterr().out}```\n" in (
        reference()
    )


if __name__ == "__main__":
    prose, _, _ = PAGE.read_text(encoding="utf-8").partition(HEADING)
    PAGE.write_text(prose + reference(), encoding="utf-8")
