"""The command line: its commands, output and exit codes."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fslog
import uploads
from fslog.cli import COMMANDS, INTERRUPTED, PIPE_CLOSED, REPLACED, load, main
from fslog.cli.demo.demo import summary
from fslog.cli.output import event_row
from fslog.counters import Stats
from fslog.errors import Problem
from fslog.version import VERSION
from needs import slow_but
from processes import KEYS, STRICT, run
from readme_blocks import environment
from spooling import leave
from spools import line

pytestmark = pytest.mark.usefixtures("measured")

NOWHERE = "http://127.0.0.1:9"
MODULE = (*STRICT, "-m", "fslog")


def buffered() -> dict[str, str]:
    """Return the environment of a process whose output is buffered, as is the default."""
    return {name: value for name, value in environment({}).items() if name != "PYTHONUNBUFFERED"}


def shell(arguments: list[str], redirection: str) -> subprocess.CompletedProcess[bytes]:
    """Run `fslog ARGUMENTS` with a redirection of a shell."""
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, *MODULE, *arguments],
        env=buffered(),
        capture_output=True,
        check=False,
    )


def argument(command: list[str], where: Path) -> list[str]:
    """Return a command's argument: a file or directory with one event."""
    if command == ["validate"]:
        (where / "e.ndjson").write_bytes(uploads.line(1))
        return [str(where / "e.ndjson")]
    if command == ["spool", "show"]:
        leave(where / "spool", line(1))
        return [str(where / "spool")]
    return []


def test_version() -> None:
    """`python -m fslog --version` prints name and version on stdout."""
    assert run("", NOWHERE, flags=MODULE, arguments=["--version"]).out == f"fslog {VERSION}\n"


def test_help_shows_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`fslog --help` has a line for each command, and exits with 0."""
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out.splitlines()
    for name, words in COMMANDS.items():
        assert f"  {name:10}{words}" in shown


def test_characters_that_stdout_cannot_encode(tmp_path: Path) -> None:
    """If stdout is ASCII only, other characters are escaped, and nothing fails."""
    path = tmp_path / "zo\u00eb.ndjson"
    path.write_text('{"accountId": "a"}\n', encoding="utf-8")
    done = subprocess.run(
        [sys.executable, *MODULE, "validate", str(path)],
        env={**environment({}), "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, b"")
    assert b"zo\\xeb.ndjson" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["--nonsense"], ["-v"]])
def test_a_wrong_argument(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Without an existing command the exit code is 2, and stderr has the usage."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: fslog [-h] [--version] COMMAND")


@pytest.mark.parametrize(
    ("command", "end"), [("hlep", "did you mean 'help'?"), ("nonsense", "plan, help")]
)
def test_an_unknown_command(command: str, end: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the most similar command, or else all of them."""
    assert main([command]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert f"fslog: error: unknown command {command!r}; " in error
    assert error.endswith(end)


def test_arguments_after_a_command_are_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """`fslog demo --help` prints the demo's help, with an example, not that of fslog."""
    assert main(["demo", "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: fslog demo [-h] [--events N] [--pace SECONDS]")
    assert "example:\n  fslog demo --events" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_found_in_a_module_of_its_name(command: str) -> None:
    """Each command is a function of a module of its name."""
    assert load(command).__module__.rpartition(".")[2] == command


def test_commands_are_imported_when_called() -> None:
    """What a command needs, such as urllib3 and the collector, is not imported without it."""
    program = """
        import sys
        from fslog.cli import COMMANDS, main

        assert main(["--help"]) == 0
        named = [name for name in sys.modules if name.rpartition(".")[2] in COMMANDS]
        assert not {*named, "urllib3", "http.server"} & {*sys.modules} - {"fslog.spool"}, named
    """
    run(program, NOWHERE)


@pytest.mark.parametrize("text", ["class Formatter: ...", None], ids=["replaced", "removed"])
def test_a_stranger_in_the_package_is_named(text: str | None, tmp_path: Path) -> None:
    """If the distribution `fslog` owned `fslog/__init__.py` last, commands say how to repair it."""
    package = tmp_path / "fslog"
    left = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(fslog.__file__).parent, package, ignore=left)
    if text is None:
        (package / "__init__.py").unlink()
    else:
        (package / "__init__.py").write_text(text, encoding="utf-8")
    program = "import sys; from fslog.cli import main; sys.exit(main(['demo']))"
    command = [sys.executable, "-S", "-c", program]
    env = {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert " ".join(done.stderr.split()) == f"fslog: error: {REPLACED}"


def test_main_reads_sys_argv(monkeypatch: pytest.MonkeyPatch) -> None:
    """`main()`, as the console script calls it, reads `sys.argv`."""
    monkeypatch.setattr(sys, "argv", ["fslog", "nonsense"])
    assert main() == 2


def test_sys_exit_with_a_message_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that calls `sys.exit("words")` has failed: the exit code is 1."""

    def leave(arguments: Any) -> int:
        sys.exit("words")

    monkeypatch.setattr("fslog.cli.load", lambda name: leave)
    assert main(["demo"]) == 1


def test_ctrl_c_is_an_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted command exits with 130, without a traceback."""

    def wait(arguments: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("fslog.cli.load", lambda name: wait)
    assert main(["demo"]) == INTERRUPTED == 130


def test_a_closed_pipe_is_an_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the reader has closed the pipe the exit code is 141, and the buffer can be discarded."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["--version"]) == PIPE_CLOSED == 141
        # Leads nowhere from now on, as the interpreter's own last flush needs it.
        stdout.write("more")
        stdout.flush()


def test_a_closed_stdout_without_a_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed stdout that is not a file of the system exits with 141 too."""

    class Gone(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Gone())
    assert main(["--version"]) == PIPE_CLOSED


FULL = "/dev/full"


@pytest.mark.needs(FULL)
@pytest.mark.parametrize(
    "command", slow_but([["validate"]], [["--version"], ["validate"], ["spool", "show"]])
)
def test_a_full_disk_below_stdout(command: list[str], tmp_path: Path) -> None:
    """If stdout cannot be written the exit code is 1, and stderr has one line with the reason."""
    done = shell([*command, *argument(command, tmp_path)], f">{FULL}")
    assert (done.returncode, done.stderr) == (1, b"fslog: No space left on device\n")


@pytest.mark.needs(FULL)
def test_a_full_disk_below_stderr(tmp_path: Path) -> None:
    """If stderr cannot be written the exit code is 1, and stdout is complete."""
    leave(tmp_path / "spool", line(1) + b'{"x"\n')
    done = shell(["spool", "show", str(tmp_path / "spool")], f"2>{FULL}")
    assert (done.returncode, done.stdout) == (1, line(1))


@pytest.mark.parametrize("closed", slow_but([">&- 2>&-"], [">&-", "2>&-", ">&- 2>&-"]))
@pytest.mark.parametrize(
    "command", slow_but([["validate"]], [["--version"], ["validate"], ["spool", "show"]])
)
def test_closed_streams(command: list[str], closed: str, tmp_path: Path) -> None:
    """A command works the same if its stdout or stderr was closed."""
    done = shell([*command, *argument(command, tmp_path)], closed)
    assert (done.returncode, done.stderr) == (0, b"")
    assert bool(done.stdout) == (closed == "2>&-")


def test_an_unexpected_file_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error about a file that a command does not handle is a bug, and raised."""

    def fail(arguments: Any) -> int:
        raise FileNotFoundError(2, "No such file or directory", "x")

    monkeypatch.setattr("fslog.cli.load", lambda name: fail)
    with pytest.raises(FileNotFoundError):
        main(["demo"])


@pytest.mark.parametrize(("argument", "code"), [("--version", 0), ("nonsense", 2)])
def test_python_m_fslog_is_the_command(argument: str, code: int) -> None:
    """`python -m fslog` is the command line, with its exit code."""
    ended = subprocess.run(
        [sys.executable, "-m", "fslog", argument], capture_output=True, text=True, check=False
    )
    assert ended.returncode == code
    assert (ended.stdout == f"fslog {VERSION}\n") == (code == 0)
    assert ended.stderr.startswith("usage: fslog ") == (code == 2)


def test_a_closed_pipe_ends_the_command(tmp_path: Path) -> None:
    """`fslog demo | head -1` ends soon, with the exit code of a closed pipe and no output."""
    command = [sys.executable, *MODULE, "demo", "--events", "2000", "--pace", "0.01"]
    errors = tmp_path / "err.txt"
    with (
        errors.open("wb") as err,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, env=buffered()) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == f"fslog {VERSION} demo\n".encode()
        process.stdout.close()
        assert process.wait(30.0) == 141
    assert [line for line in errors.read_text().splitlines() if "WARNING fslog:" not in line] == []


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_a_pipe_that_is_closed_before_the_first_line(argument: str) -> None:
    """If the reader has closed the pipe before the first line, only the exit code reports it."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, *MODULE, argument]
    done = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, env=buffered(), check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def row(event: dict[str, Any]) -> str:
    """Return an event's row after its time."""
    base = {"accountId": "acme", "userId": "ann", "createdAt": 1_700_000_000_123, "sessionId": "s"}
    text = "".join(text for text, _ in event_row({**base, **event}))
    return text[14:]


def test_an_event_is_one_row() -> None:
    """A row shows time, account, user, action, place and every free property, objects as JSON."""
    event = {"action": "identifyUser", "details": {"name": "Zoë"}, "note": "two words"}
    assert row(event) == 'acme     ann      identifyUser     details={"name": "Zoë"} note=two words'
    assert row({"action": "feature", "module": "m", "feature": "f"}).endswith(
        "feature          m / f"
    )
    assert row({"action": "moduleEnd", "module": "m", "timeSpent": 5}).endswith("m  timeSpent=5")


def test_the_summary_accounts_for_everything() -> None:
    """The summary has each number once, counts by action and feature, and lists each problem."""
    stats = Stats(
        emitted=9,
        skipped=2,
        invalid=1,
        refused=1,
        accepted=5,
        delivered=3,
        pending=1,
        abandoned=1,
        retries=2,
        batches=2,
        bytes_encoded=5_000,
        bytes_sent=1_000,
        last_error="it answers 503",
    )
    use = {"action": "feature", "module": "reports", "feature": "export"}
    problems = [
        Problem("missing", "userId", "userId is missing", {"action": "feature", "module": "mail"}),
        Problem("expected", "module", "module is expected", use),
        Problem("failed", "", "it could not be made"),
    ]
    lines = summary(stats, [use, use, {"action": "moduleEnd"}], problems)
    assert ["".join(text for text, _ in line) for line in lines] == [
        "records    9 = 5 accepted + 2 skipped (no event) + 1 invalid + 1 refused",
        "delivered  3 events sent in 2 batches, 3 received by the endpoint, 1 pending, "
        "1 abandoned, 2 failed attempts",
        "bytes      5,000 before compression, 1,000 sent: 5.0 : 1",
        "actions    feature 2, moduleEnd 1",
        "features   reports    export 2",
        "not sent   feature mail: userId is missing",
        "warning    feature reports / export: module is expected",
        "not sent   it could not be made",
        "failed     it answers 503",
    ]


def test_the_summary_of_nothing() -> None:
    """The summary of a run without events is complete."""
    assert ["".join(text for text, _ in line) for line in summary(Stats(), [], [])] == [
        "records    0 = 0 accepted + 0 skipped (no event) + 0 invalid + 0 refused",
        "delivered  0 events sent in 0 batches, 0 received by the endpoint, 0 pending",
        "bytes      none",
        "actions    none",
    ]


def test_the_configuration_is_part_of_the_package() -> None:
    """The demo's configuration is in the package, beside its module."""
    import fslog.cli.demo.demo

    path = Path(fslog.cli.demo.demo.__file__).with_name("demo.json")
    assert json.loads(path.read_text(encoding="utf-8"))["version"] == 1
    assert os.access(path, os.R_OK)


@pytest.mark.parametrize(
    "given",
    [
        [KEYS[0]],
        [f"https://events.example/v1/{KEYS[0]}/{KEYS[1]}"],
        ["demo", KEYS[0]],
        ["demo", "--events", KEYS[1]],
        ["demo", f"--pace={KEYS[0]}"],
        ["viewer", KEYS[1]],
        ["viewer", "--port", KEYS[0]],
        ["viewer", "--host", f"{KEYS[0]}/"],
        ["viewer", "--allow-host", f"{KEYS[0]}/"],
        ["viewer", "--keep", KEYS[0]],
        ["check", KEYS[0], "--nonsense", KEYS[1]],
        ["ping", KEYS[0]],
        ["send", "--timeout", KEYS[0], "e"],
        ["validate", "--batch-bytes", KEYS[0], "e"],
        ["spool", KEYS[0]],
    ],
)
def test_a_misplaced_key_is_not_printed(
    given: list[str], keys: None, fslog: uploads.Command
) -> None:
    """Wherever a key of the environment was pasted to, no command prints it."""
    said = fslog(*given)  # which looks for the keys
    assert (said.code, said.out) == (2, "")
    assert "error: " in said.err
    assert "***" in said.err
