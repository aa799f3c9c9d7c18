"""`fslog validate`: its output for a person, its JSON, and its exit code."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from processes import run as run_program
from uploads import PEAK, Command, at_work, ended, interrupted, line, lines, run

pytestmark = pytest.mark.usefixtures("measured")

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Write a file with valid, invalid and blank lines, and one with a warning."""
    path = tmp_path / "mixed.ndjson"
    raws = [line(1), line(2, userId=None), b"\n", line(4, module=None), b"{\n", line(6)]
    path.write_bytes(b"".join(raws) + line(7, userId=None, action="")[:-1])
    return path


def test_valid_files(fslog: Command, tmp_path: Path) -> None:
    """Valid files are reported as such, and the exit code is 0; no keys are needed."""
    (tmp_path / "a").write_bytes(lines(range(3)))
    (tmp_path / "b").write_bytes(gzip.compress(lines(range(2000))))
    said = fslog("validate", tmp_path / "a", tmp_path / "b")
    assert said == (
        0,
        f"{tmp_path}/a: 3 valid events, 0 invalid lines\n"
        f"{tmp_path}/b: 2,000 valid events, 0 invalid lines\n",
        "",
    )


def test_the_summary(fslog: Command, mixed: Path) -> None:
    """Each problem has its count, first lines and what is expected; warnings are separate."""
    said = fslog("validate", mixed)
    assert (said.code, said.err) == (1, "")
    assert [" ".join(row.split())[:74] for row in said.out.splitlines()] == [
        f"{mixed}: 3 valid events, 3 invalid lines, 1 with warnings"[:74],
        "invalid, dropped silently by the endpoint",
        "2 missing userId lines 2, 7: userId is missing; expected a non-empty strin",
        "1 not_json line 5: the line is not strict JSON: Expecting property name en",
        "1 empty action line 7: action is empty; expected a non-empty string",
        "warnings, accepted by the endpoint",
        "1 expected module line 4: action 'feature' is expected to have module, a s",
    ]


def test_a_long_name_is_followed_by_a_blank(fslog: Command, tmp_path: Path) -> None:
    """A problem whose name fills its column is followed by a blank."""
    path = tmp_path / "seconds"
    path.write_bytes(line(1, createdAt=1_700_000_000))
    assert "looks_like_seconds createdAt line 1: " in fslog("validate", path).out


def test_json(fslog: Command, mixed: Path) -> None:
    """With `--json` the output is one object, by file."""
    said = fslog("validate", "--json", mixed)
    assert (said.code, said.err) == (1, "")
    found = said.json
    (file,) = found.pop("files")
    assert found == {"valid": 3, "invalid": 3, "with_warnings": 1, "interrupted": False}
    problems = {
        f"{one['code']} {one['property']}": (one["count"], one["lines"]) for one in file["problems"]
    }
    assert problems == {
        "missing userId": (2, [2, 7]),
        "not_json ": (1, [5]),
        "empty action": (1, [7]),
    }
    assert [(one["code"], one["lines"]) for one in file["warnings"]] == [("expected", [4])]
    assert (file["file"], file["failure"]) == (str(mixed), None)


def test_warnings_are_no_failure_unless_strict(fslog: Command, tmp_path: Path) -> None:
    """An accepted event is no failure; with `--strict` a warning is."""
    path = tmp_path / "a"
    path.write_bytes(line(1, total="3"))
    assert fslog("validate", path).code == 0
    assert fslog("validate", "--strict", path).code == 1


def test_quiet_is_quiet(fslog: Command, mixed: Path, tmp_path: Path) -> None:
    """With `--quiet` nothing is printed."""
    (tmp_path / "right").write_bytes(line(1))
    assert fslog("validate", "--quiet", tmp_path / "right") == (0, "", "")
    assert fslog("validate", "--quiet", mixed) == (1, "", "")


def test_a_truncated_file(fslog: Command, tmp_path: Path) -> None:
    """Damage is reported with its line, beside the other problems; the next file is checked too."""
    (tmp_path / "a.gz").write_bytes(gzip.compress(lines(range(500)))[:-20])
    (tmp_path / "b").write_bytes(line(1))
    said = fslog("validate", tmp_path / "a.gz", tmp_path / "b")
    assert (said.code, said.err) == (1, "")
    rows = said.out.splitlines()
    assert "a.gz ends in the middle of its gzip data, in line " in rows[1]
    assert rows[2] == f"{tmp_path}/b: 1 valid event, 0 invalid lines"
    (file,) = fslog("validate", "--json", tmp_path / "a.gz").json["files"]
    assert 0 < file["valid"] < 500
    assert file["failure"] in rows[1]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (b"", 0, "0 valid events, 0 invalid lines"),
        (b"\n\r\n \n", 0, "0 valid events, 0 invalid lines"),
        (lines([1, 2])[:-1], 0, "2 valid events, 0 invalid lines"),
        (lines([1, 2]).replace(b"\n", b"\r\n"), 0, "2 valid events"),
        (b"\xef\xbb\xbf" + lines([1, 2]), 1, "byte order mark"),
        (lines([1, 2]).decode().encode("utf-16"), 1, "not_utf8"),
        (line(1) + b"\x00\x00\x00", 1, "not_json"),
        (b"\xff\xfe\xfd\n" + line(1), 1, "not_utf8"),
        (json.dumps([1, 2], indent=1).encode(), 1, "jq -c"),
        (b"\x89PNG\r\n\x1a\n\x00", 1, "0 valid events, 3 invalid lines"),
    ],
)
def test_files_of_all_sorts(
    text: bytes, code: int, words: str, fslog: Command, tmp_path: Path
) -> None:
    """Whatever a file contains, it is checked line by line, and the report is printable."""
    path = tmp_path / "any\x1b[31m\n\udcff"
    path.write_bytes(text)
    said = fslog("validate", path)
    assert (said.code, said.err) == (code, "")
    assert words in said.out
    assert "\x1b" not in said.out
    assert said.out.startswith(f"{tmp_path}/any\\x1b[31m\\n\\udcff: ")


def test_a_long_line_is_invalid(fslog: Command, tmp_path: Path) -> None:
    """A line that exceeds the limit is invalid, and the following ones have the right numbers."""
    path = tmp_path / "a"
    path.write_bytes(line(1) + line(2, note="x" * 3_000) + line(3) + b"{\n")
    said = fslog("validate", "--batch-bytes", 1_000, path)
    assert said.code == 1
    assert "too_large                 line 2: the line exceeds the limit of 1,000 bytes" in (
        said.out
    )
    assert "line 4: the line is not strict JSON" in said.out
    assert fslog("validate", path).out.startswith(f"{path}: 3 valid events, 1 invalid line\n")


@pytest.mark.parametrize(
    "given",
    [[], ["missing"], ["."], ["--nonsense", "a"], ["--batch-bytes", "0", "a"], ["-", "-"]],
)
def test_a_wrong_argument(
    given: list[str], fslog: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input that cannot be checked is an error of the argument: 2."""
    monkeypatch.chdir(tmp_path)
    said = fslog("validate", *given)
    assert (said.code, said.out) == (2, "")
    assert "fslog validate: error: " in said.err


def test_the_help(fslog: Command) -> None:
    """The help has examples, and explains the exit code."""
    said = fslog("validate", "--help")
    assert "examples:\n  fslog validate events.ndjson\n" in said.out
    assert "The exit code is 0 if all lines are valid" in said.out


def test_standard_input(tmp_path: Path) -> None:
    """`-` reads a pipe, compressed or not."""
    reading, writing = os.pipe()
    with at_work("validate", "-", endpoint=NOWHERE, where=tmp_path, stdin=reading) as process:
        os.close(reading)
        with open(writing, "wb") as pipe:
            pipe.write(gzip.compress(line(1) + b"{\n"))
        said = ended(process)
    assert (said.code, said.err) == (1, "")
    assert said.out.startswith("standard input: 1 valid event, 1 invalid line\n")


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--json"], ["--quiet"]])
def test_ctrl_c(more: list[str], tmp_path: Path) -> None:
    """An interrupted check prints what it found so far, and exits at once with 130."""
    (tmp_path / "first").write_bytes(line(1) + b"{\n")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "last").write_bytes(line(1))
    names = ("first", "fifo", "last")
    with (
        at_work("validate", *more, *names, endpoint=NOWHERE, where=tmp_path) as process,
        open(tmp_path / "fifo", "wb") as fifo,  # returns when the command has done the first
    ):
        # More than a pipe and the command's buffer hold: the first line was read when it is out.
        fifo.write(b"[]\n" + lines(range(2_000)))
        fifo.flush()
        said = interrupted(process)
    assert (said.code, said.err) == (130, "")
    if more == ["--json"]:
        assert said.json["interrupted"] is True
        first, fifo_, last = said.json["files"]
        assert (first["valid"], first["invalid"], first["failure"]) == (1, 1, None)
        assert (fifo_["invalid"], fifo_["valid"] > 0) == (1, True)
        assert fifo_["failure"].startswith("interrupted in line ")
        assert (last["valid"], last["failure"]) == (0, "not checked")
    elif more == ["--quiet"]:
        assert said.out == ""
    else:
        rows = said.out.splitlines()
        assert rows[0] == "first: 1 valid event, 1 invalid line"
        assert rows[3].startswith("fifo: ")
        assert rows[4].startswith("interrupted in line ")
        assert rows[4].endswith("; the rest was not checked")
        assert rows[6].split()[:4] == ["1", "not_an_object", "line", "1:"]
        assert rows[7:] == ["last: 0 valid events, 0 invalid lines", "not checked"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """A file of 24 MiB, and a line of 128 MiB, need no more memory than an empty file."""
    program = PEAK.replace("COMMAND", "validate")
    block = lines(range(1_000))
    with open(tmp_path / "many", "wb") as file:
        for _ in range(24 * 1_048_576 // len(block)):
            file.write(block)
    with open(tmp_path / "long", "wb") as file:
        file.truncate(1 << 27)
    (tmp_path / "empty").touch()
    used = {}
    for name, code in (("empty", 0), ("many", 0), ("long", 1)):
        facts = run_program(program, NOWHERE, arguments=[str(tmp_path / name)]).facts
        assert facts["code"] == code
        used[name] = facts["kilobytes"]
    assert used["many"] < used["empty"] + 8_192
    assert used["long"] < used["empty"] + 8_192


def test_a_closed_pipe(tmp_path: Path) -> None:
    """If the reader has closed the pipe, only the exit code reports it."""
    (tmp_path / "a").write_bytes(line(1))
    reading, writing = os.pipe()
    os.close(reading)
    options = {"endpoint": NOWHERE, "where": tmp_path, "stdout": writing}
    said = run("validate", "a", **options)  # type: ignore[arg-type]
    os.close(writing)
    assert said == (141, "", "")
