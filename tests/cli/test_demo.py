"""The command `fslog demo`: its output, its exit code, and its cleanup."""

from __future__ import annotations

import contextlib
import fcntl
import io
import logging
import logging.config
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from fslog import EventFormatter, InvalidEvent, context
from fslog.cli import main
from fslog.cli.demo import demo as demo_module
from fslog.cli.demo.demo_app import activities
from fslog.collector import Collector
from needs import slow_but
from processes import STRICT, Ended, run
from readme_blocks import environment

NOWHERE = "http://127.0.0.1:9"
MODULE = (*STRICT, "-m", "fslog")
ROW = re.compile(
    r"\d\d:\d\d:\d\d\.\d{3}  (?P<account>\w+) +(?P<user>\w+) +(?P<action>\w+)(?: +(?P<rest>\S.*))?"
)
ESCAPE = "\x1b["


def demo(*arguments: str, settings: Mapping[str, str] | None = None, code: int = 0) -> Ended:
    """Run `python -m fslog demo` to its end, with its output in files."""
    return run(
        "",
        NOWHERE,
        flags=MODULE,
        arguments=["demo", *arguments],
        settings=settings,
        code=code,
        err=None,
    )


def summary_of(out: str) -> dict[str, str]:
    """Return the labelled lines of the summary, each with its continuation."""
    found: dict[str, str] = {}
    label = ""
    for line in out.split("\n\n")[-2].splitlines():
        label = line[:11].strip() or label
        found[label] = f"{found[label]} {line[11:]}" if label in found else line[11:]
    return found


def calls_of(out: str) -> list[str]:
    """Return what made each event: the lines below its row, joined."""
    found: list[str] = []
    is_row = False
    for line in out.splitlines():
        if ROW.fullmatch(line):
            found.append("")
            is_row = True
        elif is_row and line.startswith("    "):
            found[-1] = " ".join([*found[-1].split(), *line.split()])
        else:
            is_row = False
    return found


@pytest.fixture
def _own_logging() -> Iterator[None]:
    """Restore the logging configuration of this process, and join the demo's threads."""
    threads = set(threading.enumerate())
    listed, named = list(logging._handlerList), dict(logging._handlers)
    loggers = [logging.getLogger(name) for name in ("tracker", "fslog")]
    before = [(logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]
    yield
    for logger, state in zip(loggers, before, strict=True):
        level, logger.propagate, logger.handlers = state
        logger.setLevel(level)
    logging._handlerList[:] = listed
    logging._handlers.clear()
    logging._handlers.update(named)
    for thread in set(threading.enumerate()) - threads:
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def shown() -> Ended:
    """Return the output of `fslog demo` without arguments."""
    began_at = time.monotonic()
    ended = demo()
    assert ended.ended_at - began_at < 30.0
    return ended


def test_each_event_is_a_row(shown: Ended) -> None:
    """Sixty events of all users of three accounts are shown, one row each."""
    rows = [found for line in shown.out.splitlines() if (found := ROW.fullmatch(line))]
    assert len(rows) == 60
    assert {found["account"] for found in rows} == {"acme", "globex", "initech"}
    assert len({(found["account"], found["user"]) for found in rows}) == 7
    assert {found["action"] for found in rows} == {"feature", "moduleEnd", "identifyUser"}


def test_the_summary_adds_up(shown: Ended) -> None:
    """The numbers of the summary balance and agree with the rows."""
    summary = summary_of(shown.out)
    emitted, accepted, skipped, invalid, refused = map(int, re.findall(r"\d+", summary["records"]))
    assert emitted == accepted + skipped + invalid + refused
    assert (accepted, invalid, refused) == (60, 1, 0)
    assert skipped > 0
    batches = shown.out.count(" events in one batch, ")
    assert batches > 1
    assert summary["delivered"] == (
        f"60 events sent in {batches} batches, 60 received by the endpoint, 0 pending"
    )
    rows = [found for line in shown.out.splitlines() if (found := ROW.fullmatch(line))]
    actions = Counter(found["action"] for found in rows)
    assert summary["actions"] == ", ".join(f"{name} {n}" for name, n in actions.most_common())


def test_the_summary_shows_the_compression(shown: Ended) -> None:
    """The bytes before and after compression are the sums of the batches, with their ratio."""
    found = re.findall(r"events in one batch, ([\d,]+) bytes compressed to ([\d,]+)", shown.out)
    before, sent = (
        sum(int(n.replace(",", "")) for n in sizes) for sizes in zip(*found, strict=True)
    )
    assert summary_of(shown.out)["bytes"] == (
        f"{before:,} before compression, {sent:,} sent: {before / sent:.1f} : 1"
    )
    assert before > 2 * sent


def test_every_module_has_its_features_counted(shown: Ended) -> None:
    """The summary counts each feature of each module; there are several of both."""
    counted = {}
    for line in shown.out.rpartition("features ")[2].partition("not sent")[0].splitlines():
        if found := re.fullmatch(r" +(\w+) +(\w.* \d+)", line):
            counted[found[1]] = dict(part.rsplit(" ", 1) for part in found[2].split(", "))
    assert set(counted) == {"board", "reports", "tasks", "wiki"}
    assert all(len(features) > 1 for features in counted.values())
    features = sum(int(n) for features in counted.values() for n in features.values())
    assert f"feature {features}, " in summary_of(shown.out)["actions"]


def test_the_invalid_event_is_explained(shown: Ended) -> None:
    """The problem of the invalid event is in the summary and on stderr."""
    sentence = "userId is missing: give it in the log call's extra, in fields, in context or in"
    assert summary_of(shown.out)["not sent"].startswith(f"feature mail / send digest: {sentence}")
    (said,) = shown.err.splitlines()
    assert re.match(
        rf"WARNING fslog: event from tracker\.jobs \(demo_app\.py:\d+\): {sentence}", said
    )


def test_each_event_is_shown_with_its_log_call(shown: Ended) -> None:
    """Below the row there is the rule that matched, or that the call is explicit, and the call."""
    rows = [found for line in shown.out.splitlines() if (found := ROW.fullmatch(line))]
    calls = calls_of(shown.out)
    assert len(calls) == len(rows)
    for row, call in zip(rows, calls, strict=True):
        place = row["rest"] or ""
        if place.startswith("reports / export "):
            form, number = re.fullmatch(r"reports / export (\w+)  rows=(\d+)", place).groups()  # type: ignore[union-attr]
            expected = (
                f'rules[0] tracker.reports: info("exported %d rows as %s", {number}, "{form}")'
            )
        elif place.startswith("tasks / move"):
            total, to = re.fullmatch(r"tasks / move  total=(\d) to=(\w+)", place).groups()  # type: ignore[union-attr]
            expected = f'rules[1] tracker.tasks: info("moved %d tasks to %s", {total}, "{to}")'
        elif row["action"] == "feature" and "create" not in place:
            path = "/" + place.replace(" ", "")
            expected = f"""rules[2] tracker.web: info('"%s %s" %d', "POST", "{path}", 200)"""
        else:
            assert call.startswith("explicit tracker.")
            assert call.endswith("})")
            assert 'extra={"' in call
            assert f'"action": "{row["action"]}"' in call
            continue
        assert call == expected
    assert {call.split()[0] for call in calls} == {"rules[0]", "rules[1]", "rules[2]", "explicit"}


def test_it_ends_with_what_to_do_next(shown: Ended) -> None:
    """The viewer, the configuration to paste, and the guide."""
    last = [line[11:].partition("  # ")[0] for line in shown.out.splitlines()[-3:]]
    assert last == ["fslog viewer", "usage: {class: fslog.FreshsuccessHandler}", "fslog help"]
    assert shown.out.splitlines()[-3].startswith("next ")
    (name, handler) = yaml.safe_load(last[1]).popitem()
    given = {"version": 1, "handlers": {name: {**handler, "enabled": False}}}
    logging.config.DictConfigurator(given).configure_handler(
        logging.config.DictConfigurator(given).config["handlers"][name]
    )


def test_the_output_fits_80_columns(shown: Ended) -> None:
    """In a pipe too, but for the path of the demo's files."""
    path = str(Path(demo_module.__file__).parent)
    assert [line for line in shown.out.splitlines() if len(line) > 80 and path not in line] == []
    assert f"  {path}\n" in shown.out


def test_a_pipe_gets_no_colours(shown: Ended) -> None:
    """Piped output has no escape sequence."""
    assert ESCAPE not in shown.out + shown.err


@pytest.mark.slow
@pytest.mark.parametrize("count", slow_but([200], [1, 2, 200]))
def test_the_number_of_events(count: int) -> None:
    """`--events` sets the number of events; there is always one invalid event."""
    ended = demo("--events", str(count), "--pace", "0")
    assert len([line for line in ended.out.splitlines() if ROW.fullmatch(line)]) == count
    assert f"= {count} accepted + " in summary_of(ended.out)["records"]
    assert " 1 invalid " in summary_of(ended.out)["records"]


@pytest.mark.slow
def test_the_pace_is_kept() -> None:
    """`--pace` is the pause after each event."""
    began_at = time.monotonic()
    assert demo("--events", "4", "--pace", "0.3").ended_at - began_at >= 1.2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--events", "0"],
        ["--events", "100001"],
        ["--events", "few"],
        ["--events", "1.5"],
        ["--events"],
        ["--pace", "-1"],
        ["--pace", "nan"],
        ["--pace", "inf"],
        ["--pace", "slow"],
        ["extra"],
    ],
)
def test_a_wrong_argument(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong argument is named on stderr, and nothing is run: the exit code is 2."""
    assert main(["demo", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: fslog demo")
    assert arguments[0] in captured.err.splitlines()[-1]


def test_the_environment_does_not_redirect_events() -> None:
    """Under any settings of the environment the demo's events go to the demo's endpoint."""
    with Collector() as other:
        settings = {
            "FSLOG_ENABLED": "0",
            "FSLOG_DATACENTER": "mars",
            "FSLOG_ENDPOINT": other.url,
            "HTTP_PROXY": other.url,
            "ALL_PROXY": other.url,
            "NO_PROXY": "",
        }
        ended = demo("--events", "3", "--pace", "0", settings=settings)
        assert other.requests == []
    # The first one is posted at once: how many batches there are is a matter of time.
    said = summary_of(ended.out)["delivered"]
    assert re.match(r"3 events sent in [123] batch(es)?, 3 received ", said)


@pytest.mark.parametrize(
    ("outcome", "sent"),
    [
        ("Answer(keep=False)", 3),
        pytest.param("Answer(400)", 0, marks=pytest.mark.slow),
        pytest.param("Answer(503)", 0, marks=pytest.mark.slow),
    ],
)
def test_an_event_that_does_not_arrive_is_a_failure(outcome: str, sent: int) -> None:
    """If the endpoint lacks an accepted event, for any reason, the exit code is 1."""
    program = f"""
        import sys
        from fslog.cli.demo import demo
        from fslog.collector import Answer, Collector

        class Broken(Collector):
            def start(self):
                self.always({outcome})
                super().start()

        demo.Collector = Broken
        demo._FLUSH_SECONDS = 0.5
        sys.exit(demo.run(["--events", "3", "--pace", "0"]))
    """
    ended = run(program, NOWHERE, code=1, err=None)
    summary = summary_of(ended.out)
    assert summary["delivered"].startswith(f"{sent} events sent in ")
    assert ", 0 received by the endpoint" in summary["delivered"]


@pytest.mark.slow
def test_every_run_has_the_same_events() -> None:
    """The same number of events results in the same events."""
    first, again = demo("--events", "9", "--pace", "0"), demo("--events", "9", "--pace", "0")
    rows = [
        [line[14:] for line in ended.out.splitlines() if ROW.fullmatch(line)]
        for ended in (first, again)
    ]
    assert rows[0] == rows[1]
    assert len(list(activities(9))) == 9


@pytest.mark.slow
def test_ctrl_c_ends_it_cleanly() -> None:
    """After Ctrl-C the accepted events are delivered and counted, and the exit code is 130."""
    command = [sys.executable, *MODULE, "demo", "--events", "5000", "--pace", "0.01"]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment({}),
        text=True,
    ) as process:
        assert process.stdout is not None
        out = ""
        while " events in one batch, " not in out:
            line = process.stdout.readline()
            assert line, out
            out += line
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=30.0)
        out += rest
    assert process.returncode == 130
    assert [line for line in err.splitlines() if not line.startswith("WARNING fslog: event")] == []
    found = re.search(r"= (\d+) accepted", summary_of(out)["records"])
    assert found is not None
    assert 0 < int(found[1]) < 5000
    assert summary_of(out)["delivered"].startswith(f"{found[1]} events sent in ")
    assert summary_of(out)["delivered"].endswith(
        f", {found[1]} received by the endpoint, 0 pending"
    )


@pytest.mark.usefixtures("_own_logging")
def test_it_leaves_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    """The demo removes its handler, its threads and the bound user from the process."""
    threads = set(threading.enumerate())
    assert main(["demo", "--events", "9", "--pace", "0.01"]) == 0
    assert logging.getLogger("tracker").handlers == []
    for thread in set(threading.enumerate()) - threads:
        thread.join(10)
        assert not thread.is_alive()
    captured = capsys.readouterr()
    assert len([line for line in captured.out.splitlines() if ROW.fullmatch(line)]) == 9
    assert summary_of(captured.out)["delivered"].endswith("9 received by the endpoint, 0 pending")
    assert captured.err.count("WARNING fslog: ") == 1
    assert {"accountId", "userId"}.isdisjoint(context.current())


@pytest.mark.usefixtures("_own_logging")
def test_it_can_be_run_again(capsys: pytest.CaptureFixture[str]) -> None:
    """A second run in the same process has the same events from the first one on."""
    assert main(["demo", "--events", "5", "--pace", "0"]) == 0
    first = capsys.readouterr()
    assert main(["demo", "--events", "5", "--pace", "0"]) == 0
    again = capsys.readouterr()
    rows = [
        [line[14:] for line in captured.out.splitlines() if ROW.fullmatch(line)]
        for captured in (first, again)
    ]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 5
    assert first.err == again.err


class Interrupting(io.StringIO):
    """A stream that sends Ctrl-C when the first event is printed."""

    is_pressed = False

    def write(self, text: str) -> int:
        written = super().write(text)
        if ROW.match(text) and not self.is_pressed:
            self.is_pressed = True
            signal.raise_signal(signal.SIGINT)
        return written


@pytest.mark.usefixtures("_own_logging")
def test_ctrl_c_between_two_rows_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted while it prints, the demo still accounts for the accepted events."""
    stdout = Interrupting()
    monkeypatch.setattr(sys, "stdout", stdout)
    assert main(["demo", "--events", "5000", "--pace", "0.01"]) == 130
    summary = summary_of(stdout.getvalue())
    found = re.search(r"= (\d+) accepted", summary["records"])
    assert found is not None
    assert 0 < int(found[1]) < 5000
    assert summary["delivered"].endswith(f", {found[1]} received by the endpoint, 0 pending")
    assert logging.getLogger("tracker").handlers == []


class Events(logging.Handler):
    """Keep the events that the demo's configuration creates."""

    def __init__(self) -> None:
        super().__init__()
        settings = demo_module.configuration(NOWHERE, print)["handlers"]["freshsuccess"]
        self._formatter = EventFormatter(rules=settings["rules"], defaults=settings["defaults"])
        self.of_call: list[dict[str, Any] | InvalidEvent | None] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.of_call.append(self._formatter.event(record))
        except InvalidEvent as error:
            self.of_call.append(error)


@pytest.mark.usefixtures("_own_logging")
@pytest.mark.parametrize("count", [1, 2, 90])
def test_each_activity_is_one_event(count: int) -> None:
    """An activity logs one event of the user it binds; one of them also logs an invalid event."""
    kept = Events()
    logging.getLogger("tracker").setLevel(logging.INFO)
    logging.getLogger("tracker").addHandler(kept)
    invalid = []
    made = []
    for number, activity in enumerate(activities(count)):
        kept.of_call.clear()
        activity()
        invalid += [number for found in kept.of_call if isinstance(found, InvalidEvent)]
        [event] = [found for found in kept.of_call if isinstance(found, dict)]
        made.append(event)
        assert kept.of_call[0] is event
        assert event["product"] == "tracker"
    assert invalid == [count // 3]
    assert len(made) == count
    assert {"accountId", "userId"}.isdisjoint(context.current())
    if count == 90:
        features = {(event.get("module"), event.get("feature")) for event in made}
        assert {("tasks", "create"), ("tasks", "move"), ("reports", "export pdf")} <= features
        assert {event["action"] for event in made} == {"feature", "moduleEnd", "identifyUser"}


def on_terminal(columns: int, settings: Mapping[str, str]) -> list[str]:
    """Return the lines of a short demo on a terminal of so many columns."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = [sys.executable, *MODULE, "demo", "--events", "12", "--pace", "0"]
    env = {name: value for name, value in environment(settings).items() if name != "COLUMNS"}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=its, stderr=subprocess.DEVNULL, env=env
    ) as process:
        os.close(its)
        shown = b""
        with contextlib.suppress(OSError), os.fdopen(ours, "rb", buffering=0) as terminal:
            # When the last process closes a terminal, its reader gets an error (EIO).
            while select.select([terminal], [], [], 30.0)[0] and (part := terminal.read(4096)):
                shown += part
        assert process.wait(30.0) == 0
    return shown.decode().splitlines()


@pytest.mark.slow
def test_a_terminal_gets_colours() -> None:
    """On a terminal the rows are coloured."""
    lines = on_terminal(100, {"TERM": "xterm", "NO_COLOR": ""})
    coloured = [line for line in lines if "\x1b[32mfeature" in line]
    assert coloured
    assert all(line.endswith("\x1b[0m") or "\x1b[0m" in line for line in coloured)


@pytest.mark.slow
def test_a_narrow_terminal_gets_whole_lines() -> None:
    """No event takes two lines of a terminal, and NO_COLOR is respected."""
    lines = on_terminal(60, {"TERM": "xterm", "NO_COLOR": "1"})
    rows = [line for line in lines if ROW.match(line)]
    assert len(rows) == 12
    assert max(map(len, rows)) == 60
    assert any(row.endswith("...") for row in rows)
    assert ESCAPE not in "".join(lines)
