"""The output of `send`: names, keys, JSON, and the command to resume."""

from __future__ import annotations

import io
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fslog.cli import PIPE_CLOSED, main
from fslog.collector import Answer, Collector
from needs import slow_but
from processes import KEYS, STRICT
from readme_blocks import environment
from uploads import Command, line, lines, numbers, run


class Full(io.StringIO):
    """A stream whose disk is full."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


class Gone(io.StringIO):
    """A stream whose reader has closed it."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def beneath_v1(where: Path) -> Path:
    """Write a file with an invalid line, at a path that looks like the endpoint's."""
    path = where / "v1" / "2024" / "e.ndjson"
    path.parent.mkdir(parents=True)
    path.write_bytes(line(1) + line(2, userId=None))
    return path


def resume_command(text: str) -> list[str]:
    """Return the words of the command to resume."""
    return shlex.split(text.partition("to resume: ")[2])


def test_a_path_of_a_file_is_not_redacted(
    fslog: Command, collector: Collector, tmp_path: Path
) -> None:
    """A file below a directory v1 is named in full, in rows and in the command to resume."""
    path = beneath_v1(tmp_path)
    collector.always(Answer(401))
    said = fslog("send", path)
    assert said.code == 1
    assert resume_command(said.err) == ["fslog", "send", "--resume", str(path)]
    collector.always(None)
    said = fslog("send", "--resume", path)
    assert f"of {path}, copied to {path}.rejects.ndjson\n" in said.out


def test_a_path_of_a_file_is_not_redacted_in_json(
    fslog: Command, collector: Collector, tmp_path: Path
) -> None:
    """The JSON has the full names of the file and its rejects, and the command to resume."""
    path = beneath_v1(tmp_path)
    collector.script(Answer(200), Answer(401))
    (tmp_path / "next").write_bytes(line(3))
    found = fslog("send", "--json", path, "next").json
    assert found["files"][0]["file"] == str(path)
    assert found["files"][0]["rejects"] == f"{path}.rejects.ndjson"
    words = ["fslog", "send", "--resume", "--json", str(path), "next"]
    assert shlex.split(found["resume"]) == words


@pytest.mark.parametrize(("key", "shown"), [("1", "events-1.ndjson"), ("12345678", "***.ndjson")])
def test_a_key_that_is_a_number_leaves_the_json_whole(
    key: str, shown: str, fslog: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long key of digits is redacted in strings, and never in numbers."""
    monkeypatch.setenv("FSLOG_AUTH_KEY", "a")
    monkeypatch.setenv("FSLOG_API_KEY", key)
    name = shown.replace("***", key)
    Path(name).write_bytes(line(1))
    found = fslog("send", "--dry-run", "--json", name).json
    assert (found["batches"], found["sent"]) == (1, 1)
    assert found["files"][0]["file"] == shown


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_key_in_the_name_of_a_file_is_redacted(
    more: list[str], fslog: Command, collector: Collector, tmp_path: Path
) -> None:
    """A key is masked in the summary and in the command to resume."""
    path = tmp_path / f"{KEYS[0]}.ndjson"
    path.write_bytes(line(1, userId=None) + line(2) + line(3))
    collector.script(Answer(200), Answer(401))
    said = fslog("send", "--batch-events", 1, *more, path)  # looks for keys in all that it wrote
    assert f"{tmp_path}/***.ndjson" in said.out
    assert resume_command(said.err)[-1] == f"{tmp_path}/***.ndjson"


def test_a_name_after_two_dashes_is_kept(
    fslog: Command, collector: Collector, tmp_path: Path
) -> None:
    """A file that is named like an option is in the command to resume, which works."""
    (tmp_path / "--again").write_bytes(lines([1, 2]))
    collector.always(Answer(503))
    said = fslog("send", "--again", "--retry-for", "0", "--", "--again")
    words = resume_command(said.err)
    assert words == ["fslog", "send", "--resume", "--retry-for", "0", "--", "--again"]
    collector.always(None)
    assert fslog(*words[1:]).code == 0
    assert numbers(collector) == [1, 2]


@pytest.mark.parametrize("more", [[], ["--json"]])
@pytest.mark.parametrize(("out", "code"), [(Full, 1), (Gone, PIPE_CLOSED)])
def test_the_command_to_resume_is_printed_without_the_summary(
    out: type[io.StringIO],
    code: int,
    more: list[str],
    collector: Collector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """If the summary cannot be written, stderr has the reason and the command all the same."""
    path = tmp_path / "e.ndjson"
    path.write_bytes(line(1))
    collector.always(Answer(401))
    monkeypatch.setattr(sys, "stdout", out())
    assert main(["send", *more, str(path)]) == code
    stopped, told, *rest = capsys.readouterr().err.splitlines()
    assert "it answers 401" in stopped
    assert resume_command(told) == ["fslog", "send", "--resume", *more, str(path)]
    assert rest == (["fslog: No space left on device"] if out is Full else [])


@pytest.mark.slow
@pytest.mark.needs("/dev/full")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_full_disk_below_the_summary(
    more: list[str], collector: Collector, tmp_path: Path
) -> None:
    """All is sent and recorded; the unwritable summary is exit code 1 and one line."""
    (tmp_path / "e.ndjson").write_bytes(lines([1, 2]))
    with open("/dev/full", "wb") as full:
        said = run("send", *more, "e.ndjson", endpoint=collector.url, where=tmp_path, stdout=full)
    assert (said.code, said.err) == (1, "fslog: No space left on device\n")
    assert numbers(collector) == [1, 2]
    again = run("send", "--resume", "e.ndjson", endpoint=collector.url, where=tmp_path)
    assert again.code == 0
    assert numbers(collector) == [1, 2]


@pytest.mark.parametrize("closed", slow_but([">&- 2>&-"], [">&-", "2>&-", ">&- 2>&-"]))
def test_closed_streams(closed: str, collector: Collector, tmp_path: Path) -> None:
    """Without stdout, stderr or both all is sent, and the exit code is the same."""
    path = tmp_path / "e.ndjson"
    path.write_bytes(line(1, userId=None) + line(2))
    given = {"FSLOG_ENDPOINT": collector.url, "FSLOG_AUTH_KEY": KEYS[0], "FSLOG_API_KEY": KEYS[1]}
    program = [sys.executable, *STRICT, "-m", "fslog", "send", str(path)]
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *program],
        env=environment(given),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert done.stderr == b""
    assert done.stdout.startswith(b"sent ") == (closed == "2>&-")
    assert numbers(collector) == [2]
