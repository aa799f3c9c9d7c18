"""`fslog help`: topics of the guide and the help of commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fslog
from fslog.cli import COMMANDS, main
from fslog.cli.help import summary, text_of
from fslog.cli.names import TOPICS

GUIDE = Path(fslog.__file__).resolve().parent / "guide"


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`fslog help TOPIC` prints the page less its comments: a title, a short sentence, the rest."""
    assert main(["help", topic]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == (text_of(topic), "")
    page = (GUIDE / f"{topic}.md").read_text(encoding="utf-8").splitlines(keepends=True)
    assert shown.out == "".join(line for line in page if not line.lstrip().startswith("<!--"))
    assert re.match(r"# [A-Z].*\n\n[A-Z][^\n]{,60}\.\n\n", shown.out)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_fits_a_terminal(topic: str) -> None:
    """Prose fits in 80 columns, unless a line cannot be broken; a row of a table takes three."""
    prose = re.sub(r"^( *)```.*?^ *```$", "", text_of(topic), flags=re.MULTILINE | re.DOTALL)
    for line in prose.splitlines():
        broken = re.sub(r"`[^`]*`", "code", line).strip()
        if line.startswith("|"):
            assert len(line) <= 240
        elif len(broken.split()) > 2 and not line.startswith("!["):
            assert len(line) <= 80


def test_the_list_of_topics(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a topic each one has a line with its sentence, which fits in 80 columns."""
    assert main(["help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = [tuple(line.split(maxsplit=1)) for line in lines if line.startswith("  ")]
    assert shown == [(topic, summary(text_of(topic))) for topic in TOPICS]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - TOPICS))
def test_the_help_of_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`fslog help COMMAND` is `fslog COMMAND --help`, unless it is a topic."""
    assert main(["help", command]) == 0
    shown = capsys.readouterr().out
    assert main([command, "--help"]) == 0
    assert shown == capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("rulse", "did you mean rules?"),
        ("Events", "did you mean events?"),
        ("vaildate", "did you mean validate?"),
        ("xyz", f"the topics are {', '.join(TOPICS)}"),
    ],
)
def test_an_unknown_topic(word: str, remedy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 2; the message names the nearest topic or command, or all topics."""
    assert main(["help", word]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert " ".join(shown.err.split()) == (
        f"fslog help: error: there is no topic or command {word!r}; {remedy}"
    )
