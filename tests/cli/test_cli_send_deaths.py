"""Uploads that are killed, interrupted, run on a terminal, and read from pipes."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import json
import os
import pty
import re
import shlex
import signal
import struct
import termios
import threading
from collections import Counter
from pathlib import Path

import pytest

from fslog.collector import Answer, Collector
from needs import slow_but
from processes import run as run_program
from uploads import PEAK, at_work, ended, interrupted, line, lines, numbers, run

# For each number of a step: an upload in a child process that is killed at that step of its work,
# one that goes on and is killed likewise, and one that goes on to the end. A step is a POST, its
# answer, or a call of the system's that writes: before and after it, and amid a `write`.
AT_EVERY_STEP = """
    import json, os, pathlib, signal, ssl
    from fslog.net import transport
    from fslog.cli import main  # loaded once, not in each child
    from fslog.cli.upload import send
    from fslog.spool.filesystem import FileSystem

    left = 0

    def step():
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(call):
        def wrapped(*given):
            step()
            result = call(*given)
            step()
            return result
        return wrapped

    def halved(call):
        def wrapped(fd, text):
            half = len(text) // 2
            call(fd, text[:half])
            step()
            return half + call(fd, text[half:])
        return wrapped

    FileSystem.fsync = lambda self, fd: None  # no power cut here, and it takes its time
    for name in ("create", "fsync", "replace", "unlink"):
        setattr(FileSystem, name, staticmethod(counted(getattr(FileSystem(), name))))
    FileSystem.write = staticmethod(counted(halved(os.write)))
    os.ftruncate = counted(os.ftruncate)
    transport.Transport.post = counted(transport.Transport.post)
    context = ssl.create_default_context()  # costs more than all the rest
    transport.tls_context = lambda ca_certs: context

    def upload(kill_at, *arguments):
        global left
        left = kill_at
        pid = os.fork()
        if pid == 0:
            os._exit(main(["send", "--quiet", "--batch-events", "2", *arguments]))
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    at, codes, killed_twice = 0, [], 0
    while not codes or codes[-1] == -signal.SIGKILL:
        at += 1
        place = pathlib.Path(str(at))
        place.mkdir()
        for name in ("a", "b"):
            text = pathlib.Path("text").read_text()
            (place / name).write_text(text.replace("SOURCE", f"{name}-{at}"))
        arguments = ["--batch-bytes", "1000", f"{at}/a", f"{at}/b"]
        if at % 2:
            arguments += ["--rejects", f"{at}/rejects"]
        codes.append(upload(at, *arguments))
        killed_twice += upload(at // 2 + 1, "--resume", *arguments) == -signal.SIGKILL
        resumed = upload(0, "--resume", *arguments)
        assert resumed in (0, 1), (at, resumed)
        names = ("rejects",) if at % 2 else ("a.rejects.ndjson", "b.rejects.ndjson")
        kept = b"".join((place / name).read_bytes() for name in names)
        wanted = b""
        for name in ("a", "b"):
            for part in (b'{"wrong": 1, "of": "SOURCE"}', b'{"wrong": 2}', b"x" * 3_000):
                wanted += part.replace(b"SOURCE", f"{name}-{at}".encode()) + bytes([10])
        assert kept == wanted, (at, kept.replace(b"x", b""))
    print(json.dumps({"steps": at, "last": codes[-1], "killed_twice": killed_twice}))
    """


@pytest.mark.slow
def test_a_kill_at_any_step_loses_nothing() -> None:
    """Killed and resumed twice, all arrives, and only what was under way comes again.

    The reject file then holds each wrong line just once, in order.
    """
    text = (
        line(1, source="SOURCE")
        + b'{"wrong": 1, "of": "SOURCE"}\n'
        + b"".join(line(number, source="SOURCE") for number in range(2, 5))
        + b'{"wrong": 2}\n'
        + b"x" * 3_000
        + b"\n"
        + line(5, source="SOURCE")
    )
    with Collector() as collector:
        files = {"text": text.decode()}
        done = run_program(AT_EVERY_STEP, collector.url, files=files, deadline=250.0, err=None)
        facts = done.facts
        arrived = Counter((one["source"], one["number"]) for one in collector.events)
    assert (facts["steps"] > 100, facts["killed_twice"] > 50, facts["last"]) == (True, True, 1)
    for step in range(1, facts["steps"] + 1):
        times = [arrived[f"{name}-{step}", number] for name in "ab" for number in range(1, 6)]
        # Two kills, and at most a batch of two events under way at each.
        assert min(times) >= 1, (step, times)
        assert sum(times) <= 10 + 2 * 2, (step, times)
    assert len(arrived) == facts["steps"] * 10


@pytest.mark.slow
@pytest.mark.parametrize("is_taken", [True, False])
@pytest.mark.parametrize("is_gzip", [True, False])
def test_a_kill_in_the_middle_of_a_post(is_taken: bool, is_gzip: bool, tmp_path: Path) -> None:
    """Only the batch of that POST is sent again; it works for gzip too."""
    text = lines(range(100))
    (tmp_path / "a").write_bytes(gzip.compress(text) if is_gzip else text)
    with Collector() as collector:
        collector.script(Answer(), Answer(), Answer(then="hang", keep=is_taken))
        arguments = ("send", "--batch-events", 20, "a")
        with at_work(*arguments, endpoint=collector.url, where=tmp_path) as process:
            collector.wait_for_requests(3, 30)
            process.kill()
            assert ended(process).code == -signal.SIGKILL
        said = run("send", "--resume", "a", endpoint=collector.url, where=tmp_path)
        assert (said.code, said.err) == (0, "")
        assert "resumed    a from line 41 on; 40 events of it were sent before" in said.out
        twice = [*range(40, 60)] if is_taken else []
        assert numbers(collector) == [*range(40), *twice, *range(40, 100)]


def test_ctrl_c_prints_the_command_to_resume(tmp_path: Path) -> None:
    """It exits at once with 130; the command that it prints sends the rest, and nothing twice."""
    name = "it's a file"
    (tmp_path / name).write_bytes(lines(range(100)))
    with Collector() as collector:
        collector.script(Answer(), Answer(), Answer(then="hang"))
        arguments = ("send", "--batch-events", 20, "--timeout", 60, name)
        with at_work(*arguments, endpoint=collector.url, where=tmp_path) as process:
            collector.wait_for_requests(3, 30)
            said = interrupted(process)
        assert said.code == 130
        assert said.out.startswith("sent       40 events in 2 batches, ")
        first, hint = said.err.splitlines()
        assert first == "interrupted"
        hint = hint.removeprefix("no event is lost; to resume: ")
        program, *words = shlex.split(hint)
        assert (program, words[:2]) == ("fslog", ["send", "--resume"])
        said = run(*words, endpoint=collector.url, where=tmp_path)
        assert said.code == 0
        assert numbers(collector) == list(range(100))


@pytest.mark.slow
def test_ctrl_c_in_a_pause(tmp_path: Path) -> None:
    """A pause before a retry can be interrupted too; the JSON has the command to resume."""
    (tmp_path / "a").write_bytes(lines(range(3)))
    with Collector() as collector:
        collector.always(Answer(503, headers={"Retry-After": "60"}))
        arguments = ("send", "--json", "a")
        with at_work(*arguments, endpoint=collector.url, where=tmp_path) as process:
            collector.wait_for_requests(1, 30)
            assert b"retrying" in process.stderr.readline()
            said = interrupted(process)
    assert said.code == 130
    found = json.loads(said.out)
    assert (found["interrupted"], found["stopped"], found["sent"]) == (True, None, 0)
    assert found["resume"] == "fslog send --resume --json a"
    assert found["files"][0]["next_line"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("is_gzip", slow_but([True], [True, False]))
def test_a_pipe_is_sent(is_gzip: bool, tmp_path: Path) -> None:
    """`-` reads stdin to its end; invalid lines go to the current directory; no checkpoint."""
    text = lines([1, 2]) + b"{\n" + line(4)[:-1]
    reading, writing = os.pipe()
    with Collector() as collector:
        options = {"endpoint": collector.url, "where": tmp_path, "stdin": reading}
        with at_work("send", "-", **options) as process:  # type: ignore[arg-type]
            os.close(reading)
            with open(writing, "wb") as pipe:
                pipe.write(gzip.compress(text) if is_gzip else text)
            said = ended(process)
        assert numbers(collector) == [1, 2, 4]
    assert said.code == 1
    assert (said.err, "not_json                  line 3: " in said.out) == ("", True)
    assert (tmp_path / "stdin.rejects.ndjson").read_bytes() == b"{\n"
    assert os.listdir(tmp_path) == ["stdin.rejects.ndjson"]


@pytest.mark.slow
def test_a_stream_cannot_be_resumed(tmp_path: Path) -> None:
    """--resume is an error; an interruption prints the first line that was not sent."""
    with Collector() as collector:
        said = run("send", "--resume", "-", endpoint=collector.url, where=tmp_path)
        assert said.code == 2
        assert "standard input is a stream, which can be read only once: --resume" in said.err
        os.mkfifo(tmp_path / "fifo")
        collector.script(Answer(), Answer(then="hang"))
        arguments = ("send", "--batch-events", 2, "fifo")
        with (
            at_work(*arguments, endpoint=collector.url, where=tmp_path) as process,
            open(tmp_path / "fifo", "wb") as fifo,
        ):
            fifo.write(lines(range(5)))
            fifo.flush()
            collector.wait_for_requests(2, 30)
            said = interrupted(process)
    assert said.code == 130
    assert said.err.splitlines() == ["interrupted", "fifo: nothing from line 3 on was sent"]


def on_a_terminal(*arguments: object, endpoint: str, where: Path) -> tuple[int, str]:
    """Run a command on a terminal of 100 columns; return its exit code and output."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 100, 0, 0))
    shown = bytearray()

    def watch() -> None:
        with contextlib.suppress(OSError):  # EIO: nobody has the other side any more
            while data := os.read(ours, 65_536):
                shown.extend(data)

    options = {"stdout": theirs, "stderr": theirs, "settings": {"TERM": "xterm"}}
    with at_work(*arguments, endpoint=endpoint, where=where, **options) as process:
        os.close(theirs)
        thread = threading.Thread(target=watch)
        thread.start()
        thread.join(30)
        code = process.wait(30)
    os.close(ours)
    return code, shown.decode()


@pytest.mark.slow
def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    """It shows rate, time left and rejected lines, and is removed at the end."""
    (tmp_path / "events.ndjson").write_bytes(lines(range(60)) + b"{\n" + lines(range(60, 100)))
    with Collector() as collector:
        collector.always(Answer(delay=0.3))
        arguments = ("send", "--batch-events", 20, "events.ndjson")
        code, shown = on_a_terminal(*arguments, endpoint=collector.url, where=tmp_path)
        assert numbers(collector) == list(range(100))
    assert code == 1
    frames = re.findall(r"\r\x1b\[Kevents.ndjson  \[([#.]{24})\]  (\d+) %  (\d+) events", shown)
    assert len(frames) >= 3
    assert [int(percent) for _, percent, _ in frames] == sorted(int(one) for _, one, _ in frames)
    assert re.search(r"events  \d+/s  \d+ s left", shown)
    above, _, below = shown.rpartition("\r\x1b[K")
    assert "1 rejected" in above
    assert re.match(r"\x1b\[1msent +\x1b\[0m100 events in 5 batches", below)
    assert (above + below).count("the line is not strict JSON") == 1
    assert "\x1b[K" not in below


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """A file of 24 MiB, and a rejected line of 64 MiB, are sent in little memory."""
    program = PEAK.replace("COMMAND", "send")
    block = b"".join(line(number, note="x" * 800) for number in range(1_000))
    (tmp_path / "few").write_bytes(block * 2)
    with open(tmp_path / "many", "wb") as file:
        for _ in range(24 * 1_048_576 // len(block)):
            file.write(block)
    with open(tmp_path / "long", "wb") as file:
        file.write(block * 2)
        file.truncate(64 * 1_048_576)
    used = {}
    with Collector() as collector:
        for name, code in (("few", 0), ("many", 0), ("long", 1)):
            arguments = [str(tmp_path / name)]
            facts = run_program(program, collector.url, arguments=arguments, err=None).facts
            assert facts["code"] == code
            used[name] = facts["kilobytes"]
            collector.clear()
    assert os.stat(tmp_path / "long.rejects.ndjson").st_size > 60 * 1_048_576
    assert used["many"] < used["few"] + 8_192
    assert used["long"] < used["few"] + 8_192
