"""The output of commands on a terminal of 80 columns: every word of it, unbroken, and only once."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configurations import USAGE, changed
from fslog.cli import main
from fslog.cli.output import columns_of, wrapped
from fslog.collector import Answer, Collector
from needs import slow_but
from processes import KEYS
from readme_blocks import environment
from spooling import leave
from spools import line as segment_line
from uploads import line

COLUMNS = 80


def on_a_terminal(arguments: Sequence[str], where: Path, endpoint: str) -> tuple[int, list[str]]:
    """Run `fslog ARGUMENTS` on a terminal; return the exit code and the terminal's lines."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "fslog", *arguments],
        cwd=where,
        env=settings(endpoint, TERM="dumb"),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    pieces = []
    try:
        while piece := os.read(ours, 65_536):
            pieces.append(piece)
    except OSError:  # how Linux says that nobody has the other end any more
        pass
    os.close(ours)
    code = process.wait(30.0)
    return code, b"".join(pieces).decode().replace("\r\n", "\n").splitlines()


def piped(
    arguments: Sequence[str], where: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Return what the same writes elsewhere than on a terminal; run in this process."""
    written = where / "written.txt"
    with monkeypatch.context() as changed, written.open("w", encoding="utf-8") as both:
        changed.chdir(where)
        for name, value in variables(endpoint).items():
            changed.setenv(name, value)
        with contextlib.redirect_stdout(both), contextlib.redirect_stderr(both):
            main(list(arguments))
    return written.read_text(encoding="utf-8")


def variables(endpoint: str) -> dict[str, str]:
    """Return the settings of the commands."""
    return {"FSLOG_ENDPOINT": endpoint, "FSLOG_AUTH_KEY": KEYS[0], "FSLOG_API_KEY": KEYS[1]}


def settings(endpoint: str, **more: str) -> dict[str, str]:
    """Return the environment, without the variables that set a terminal's width."""
    env = environment({**variables(endpoint), "PYTHONUNBUFFERED": "1", **more})
    return {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES")}


def steady(text: str) -> list[str]:
    """Return a text's words, without those that differ between two runs."""
    return re.sub(r"\d+(\.\d+)? (s|ms|min)\b", "", text).split()


@pytest.fixture
def where(tmp_path: Path) -> Path:
    """Create files and directories that cause much output."""
    leave(tmp_path / "spool", segment_line(1), segment_line(2))
    aside = tmp_path / "spool" / "quarantine"
    aside.mkdir(exist_ok=True)
    (aside / "00000001-00000001-00000001-0.ndjson").write_bytes(b"{\n")
    reason = "the line is no event: it has no accountId, and nothing gives one"
    (aside / "00000001-00000001-00000001-0.reason").write_text(reason)
    (tmp_path / "events.ndjson").write_bytes(line(1) + line(2, userId=None) + line(3, module=None))
    wrong = changed(handlers={"usage": {**USAGE, "level": "WARNING"}}, root={})
    (tmp_path / "logging.json").write_text(json.dumps(wrong))
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    slow_but(
        ["spool ls spool --segments", "check logging.json"],
        [
            "spool ls spool --segments",
            "spool quarantine spool",
            "spool quarantine requeue spool",
            "spool ls nowhere/a/directory/with/a/long/name/that/is/no/spool/of/anybody/at/all",
            "validate events.ndjson",
            "check logging.json",
            "check logging.json --record name=app.reports,msg=hello",
            "send --dry-run events.ndjson",
            "send --retry-for 0 --rejects nowhere/a/file/with/a/long/name/of/its/own events.ndjson",
            "ping",
            "viewer --port 1 --host 203.0.113.7",
        ],
    ),
)
def test_a_terminal_gets_the_words_that_a_pipe_gets(
    arguments: str, where: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is cut off, no word is broken, and no line is wider than the terminal."""
    with Collector(keys=KEYS) as collector:
        collector.always(Answer(503))
        expected = steady(piped(arguments.split(), where, collector.url, monkeypatch))
        _, lines = on_a_terminal(arguments.split(), where, collector.url)
    assert steady("\n".join(lines)) == expected
    assert len(expected) > 5
    longest = max(expected, key=len)
    too_wide = [one for one in lines if len(one) > COLUMNS and longest not in one]
    assert too_wide == []


@pytest.mark.slow
def test_a_long_state_is_printed_to_its_end(where: Path) -> None:
    """The sentence about a dead process's events is complete, in whole words."""
    _, lines = on_a_terminal(["spool", "ls", "spool"], where, "http://127.0.0.1:9")
    words = " ".join(" ".join(lines).split())
    assert "dead: sent by drain, or by any process that uses the spool" in words


@pytest.mark.slow
def test_a_command_to_copy_is_in_one_line(where: Path) -> None:
    """A command is never wrapped by fslog, so that it can be copied."""
    with Collector(keys=KEYS) as collector:
        collector.always(Answer(503))
        names = [str(where / f"{'long' * 12}{number}") for number in range(3)]
        for name in names:
            Path(name).write_bytes(line(1))
        code, lines = on_a_terminal(["send", "--retry-for", "0", *names], where, collector.url)
    assert code == 1
    (command,) = [one for one in lines if "to resume: " in one]
    assert command.endswith(" ".join(["fslog send --resume --retry-for 0", *names]))


@given(
    st.lists(
        st.tuples(
            st.text(st.sampled_from("ab  東é"), max_size=30), st.sampled_from(["", "red", "bold"])
        ),
        max_size=5,
    ),
    st.integers(1, 40),
)
def test_a_wrapped_line_is_complete(parts: list[tuple[str, str]], columns: int) -> None:
    """Whatever the parts: all words are there, unbroken, in order, each with its style."""
    lines = list(wrapped(tuple(parts), columns))
    assert _styled(lines) == _styled([tuple(parts)])
    label = len(parts[0][0]) if parts else 0
    for at, one in enumerate(lines):
        text = "".join(text for text, _ in one)
        # Wider is only a word that is, in the first line with what it is never moved away from.
        alone = len((text if at else text[max(label, 2) :]).split()) <= 1 or (
            not at and len(text.split()) <= 2
        )
        assert columns_of(text.rstrip()) <= columns or alone


def _styled(lines: Sequence[tuple[tuple[str, str], ...]]) -> list[list[tuple[str, str]]]:
    """Return the words as their characters with the characters' styles."""
    words: list[list[tuple[str, str]]] = [[]]
    for one in lines:
        for text, style in one:
            for character in text:
                if character == " ":
                    words.append([])
                else:
                    words[-1].append((character, style))
        words.append([])
    return [word for word in words if word]
