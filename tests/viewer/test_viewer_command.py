"""The command `fslog viewer`: its output, its errors, and its end."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

import fslog.cli.viewer as module
from fslog.cli import main
from processes import STRICT, Process
from viewing import PATH, event, lines

pytestmark = pytest.mark.usefixtures("measured")

COMMAND = (sys.executable, *STRICT, "-m", "fslog", "viewer")


@contextlib.contextmanager
def started(where: Path, *arguments: str, **settings: str) -> Iterator[tuple[Process, str]]:
    """Run the command, and yield its process and the base URL that it printed."""
    with Process([*COMMAND, "--port", "0", *arguments], where, settings) as process:
        yield process, url_of(process)


def url_of(process: Process) -> str:
    """Wait until the command has printed its address, and return it."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = re.search(r"^page +(http://\S+)/$", process.written("out"), re.MULTILINE)
        if found and "Press Ctrl-C to stop.\n" in process.written("out"):
            return found[1]
        assert process.is_running(), process.written("err")
        time.sleep(0.02)  # polls a file, which sends no notice when it grows
    raise AssertionError(process.written("out") + process.written("err"))


def post(url: str, *events: Any) -> int:
    """Post events."""
    client = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    with contextlib.closing(client):
        client.request("POST", PATH, lines(*events))
        return client.getresponse().status


def open_stream(url: str) -> socket.socket:
    """Open the page's stream."""
    host, port = url.removeprefix("http://").split(":")
    conn = socket.create_connection((host, int(port)), timeout=10)
    conn.sendall(f"GET /api/stream HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    assert conn.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"
    return conn


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_runs_until_a_signal(tmp_path: Path, number: int, code: int) -> None:
    """Ctrl-C and SIGTERM end the command at once, also with an open page; stderr is empty."""
    file = tmp_path / "events.ndjson"
    with started(tmp_path, "--store", str(file)) as (process, url):
        assert post(url, event(1)) == 200
        with open_stream(url) as conn:
            process.send(number)
            ended = process.end(10)
            while conn.recv(65_536):
                pass
    assert (ended.code, ended.err) == (code, "")
    assert file.read_bytes() == lines(event(1))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.slow
def test_the_printed_environment_works(tmp_path: Path) -> None:
    """The printed `export` line, pasted into a shell, makes an application send its events here."""
    program = (
        "import logging, fslog; log = logging.getLogger('app'); "
        "log.addHandler(fslog.FreshsuccessHandler()); "
        f"log.warning('x', extra={{'event': {event()!r}}}); "
        "raise SystemExit(not fslog.flush(30))"
    )
    with started(tmp_path) as (process, url):
        out = process.written("out")
        (export,) = [line for line in out.splitlines() if "export " in line]
        assert f"  endpoint: {url}\n" in out
        shell = f'{export}\n"$PYTHON" -c "$PROGRAM"'
        env = {**os.environ, "PYTHON": sys.executable, "PROGRAM": program}
        done = subprocess.run(
            ["sh", "-eu", "-c", shell], env=env, capture_output=True, check=False, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, b"")
        client = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        with contextlib.closing(client):
            client.request("GET", "/api/wait")
            assert client.getresponse().status == 200
        process.send(signal.SIGTERM)
        assert process.end(10).code == 0
    assert out.isascii()
    assert "\x1b" not in out


class Ended(SimpleQueue[None]):
    """A queue that is never empty: the command ends as soon as it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.put(None)


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command end after its introduction."""
    monkeypatch.setattr(module, "SimpleQueue", Ended)


def run(*arguments: str) -> int:
    """Run the command in this process."""
    return main(["viewer", "--port", "0", *arguments])


@pytest.mark.usefixtures("ends")
def test_the_signal_handler_is_restored() -> None:
    """The previous SIGTERM handler is installed again at the end."""
    before = signal.getsignal(signal.SIGTERM)
    assert run() == 0
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.usefixtures("ends")
def test_a_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    """A port in use is an error with a remedy and the exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert main(["viewer", "--port", str(port)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"fslog viewer: error: port {port} is in use, perhaps by another viewer (see "
        f"http://127.0.0.1:{port}/): choose another one with --port N, or a free one with "
        "--port 0\n"
    )


@pytest.mark.usefixtures("ends")
@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_foreign_address(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An address of another machine, or an unknown name, is an error with the exit code 1."""
    assert run("--host", host) == 1
    assert f"'{host}' is not an IPv4 address of this machine" in capsys.readouterr().err


def test_other_errors_of_listening(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A privileged port, and any other error of the system, is reported in a sentence."""
    for error, words in (
        (PermissionError(13, "Permission denied"), "port 80 is privileged"),
        (OSError(24, "Too many open files"), "cannot listen on 127.0.0.1:80: Too many open files"),
    ):

        def fail(*given: Any, error: OSError = error) -> None:
            raise error

        monkeypatch.setattr("fslog.collector.Server", fail)
        assert main(["viewer", "--port", "80"]) == 1
        assert words in capsys.readouterr().err


@pytest.mark.usefixtures("ends")
@pytest.mark.parametrize("name", ["", "no/such\x1b[31m", "link"])
def test_a_file_that_cannot_be_opened(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unusable file is an error before the start, printed without control characters."""
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert run("--store", str(tmp_path / name)) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"fslog viewer: error: --store {tmp_path}")
    assert "cannot be written: " in captured.err
    assert "\x1b" not in captured.err


@pytest.mark.usefixtures("ends")
def test_the_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The output names the file and the number of events in memory."""
    assert run("--keep", "1234", "--store", str(tmp_path / "a\x1bb")) == 0
    out = capsys.readouterr().out
    assert "The last 1,234 events are kept in memory, and " in out
    assert "every line is appended to " in out
    assert "a\\x1bb." in out


@pytest.mark.usefixtures("ends")
@pytest.mark.parametrize(
    ("host", "warns"),
    [("127.0.0.1", False), ("localhost", False), ("127.0.0.9", False), ("0.0.0.0", True)],
)
def test_it_warns_when_others_can_reach_it(
    host: str, warns: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """On any address but a loopback one the command warns who can reach it."""
    assert run("--host", host) == 0
    captured = capsys.readouterr()
    assert (f"other machines can reach {host} and" in captured.err) == warns
    assert ("--allow-host" in captured.err) == warns
    assert (captured.err == "") != warns
    shown = "127.0.0.1" if host == "0.0.0.0" else host
    assert re.search(rf"^page +http://{re.escape(shown)}:\d+/$", captured.out, re.MULTILINE)


@pytest.mark.usefixtures("ends")
@pytest.mark.parametrize("works", [True, False])
def test_the_browser_is_opened(
    works: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--open` opens the page, and warns if there is no browser."""
    opened: list[str] = []

    def open_page(url: str) -> bool:
        opened.append(url)
        return works

    monkeypatch.setattr(webbrowser, "open", open_page)
    assert run("--open") == 0
    captured = capsys.readouterr()
    assert f"page      {opened[0]}\n" in captured.out
    assert ("no browser could be started" in captured.err) != works


@pytest.mark.usefixtures("ends")
def test_missing_lines_are_reported_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the end the command reports how many lines could not be written."""
    monkeypatch.setattr("fslog.viewer.server.Viewer.missing", 7)
    assert run("--store", str(tmp_path / "f")) == 0
    assert capsys.readouterr().err.startswith("fslog viewer: 7 lines could not be written to ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "65536"], "'65536' is not a whole number from 0 to 65535"),
        (["--port", "x"], "'x' is not a whole number"),
        (["--keep", "0"], "'0' is not a whole number from 1 to 1000000"),
        (["--keep", "9" * 5000], "is not a whole number"),
        (["--host", "::1"], "'::1' is not a host name or IPv4 address"),
        (["--host", "a b"], "is not a host name or IPv4 address"),
        (["--host", ""], "is not a host name or IPv4 address"),
        (["--host", "localhost:80"], "is not a host name or IPv4 address"),
        (["--allow-host", "a\r\nb"], "is neither a host name nor name:port"),
        (["--allow-host", "http://a"], "is neither a host name nor name:port"),
        (["--store", ""], "is not a path"),
        (["more"], "unrecognized arguments: more"),
    ],
)
def test_a_wrong_argument(
    arguments: Sequence[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong argument is told with what is right, by the exit code 2."""
    assert main(["viewer", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err


def test_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The help has every option, examples and the exit codes."""
    assert main(["viewer", "--help"]) == 0
    out = capsys.readouterr().out
    for word in ("--host", "--port", "--keep", "--store", "--allow-host", "--open"):
        assert word in out
    assert "examples:\n  fslog viewer\n" in out
    assert "The exit code is 0 after SIGTERM, 130 after Ctrl-C" in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_closed_stdout(tmp_path: Path) -> None:
    """If the reader of its output has gone, the command exits with the code of a closed pipe."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "--port", "0"], stdout=writing, stderr=subprocess.PIPE, check=False, timeout=60
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_closed_stderr_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning that cannot be printed does not end the viewer."""
    reading, writing = os.pipe()
    os.close(reading)
    with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        module._warn("nobody reads this")
        os.dup2(os.open(os.devnull, os.O_WRONLY), stderr.fileno())
