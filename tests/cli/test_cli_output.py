"""The output of commands: lines for a terminal and for a pipe, and a progress bar."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from fslog.cli.output import STYLES, Printer, ProgressBar, cut


class Watch:
    """A clock that advances when a test sleeps."""

    now = 50.0

    def clock(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Advance the clock."""
        self.now += seconds


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_plain_text() -> None:
    """Without a terminal a line has no styles and is complete."""
    stream = io.StringIO()
    printer = Printer(stream, environ={}, columns=10)
    printer.line(("bold", "bold"), (" and plain", ""))
    printer.row(("x" * 200, "red"))
    assert stream.getvalue() == f"bold and plain\n{'x' * 200}\n"


def test_a_terminal_gets_colours_and_short_rows() -> None:
    """On a terminal parts are styled, lines wrapped at a blank, rows cut."""
    stream = Terminal()
    printer = Printer(stream, environ={"TERM": "xterm"}, columns=12)
    printer.line(("bold", "bold"), (" and plain", ""))
    printer.row(("module ", ""), ("reports", "red"))
    assert stream.getvalue() == "\x1b[1mbold\x1b[0m and\n  plain\nmodule \x1b[31mre\x1b[0m...\n"


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_styles_can_be_disabled(environ: dict[str, str]) -> None:
    """NO_COLOR and TERM=dumb select plain text of the terminal's width."""
    stream = Terminal()
    printer = Printer(stream, environ=environ, columns=10)
    for style in STYLES:
        printer.line((style, style))
    printer.row(("module reports", "bold"))
    assert stream.getvalue() == "".join(f"{style}\n" for style in STYLES) + "module ...\n"


@pytest.mark.parametrize("columns", range(18))
def test_a_cut_row_fills_the_width(columns: int) -> None:
    """A cut row has exactly the given columns, but at least the three of its ellipsis."""
    parts = (("module", "bold"), (" ", ""), ("reports", ""))
    text = "".join(text for text, _ in cut(parts, columns))
    whole = "module reports"
    assert text == (whole if columns >= 14 else f"{whole[: max(0, columns - 3)]}...")


def progress(stream: Any, watch: Watch, **more: Any) -> ProgressBar:
    """Return a progress bar on a stream."""
    fixed: dict[str, Any] = {"environ": {"TERM": "xterm"}}
    return ProgressBar(stream, clock=watch.clock, sleep=watch.sleep, **{**fixed, **more})


def frames(stream: io.StringIO) -> list[str]:
    """Return the successive lines of a terminal."""
    return stream.getvalue().split("\r\x1b[K")[1:]


def test_a_bar_shows_the_progress() -> None:
    """Name, bar, percent, events, rate and time left are in one line, which is redrawn."""
    stream, watch = Terminal(), Watch()
    one = progress(stream, watch)
    one.begin("events.ndjson", 1_000, 0)
    one.show(0, lambda: 0)
    watch.sleep(10.0)
    one.show(5_000, lambda: 250)
    assert frames(stream) == [
        "events.ndjson  [" + "." * 24 + "]  0 %  0 events",
        "events.ndjson  [" + "#" * 6 + "." * 18 + "]  25 %  5,000 events  500/s  30 s left",
    ]
    one.clear()
    one.clear()
    assert frames(stream)[2:] == [""]
    assert "\n" not in stream.getvalue()


def test_a_resumed_run_has_the_rate_of_its_own() -> None:
    """What an earlier run did counts for the bar, not for the rate."""
    stream, watch = Terminal(), Watch()
    one = progress(stream, watch)
    one.begin("e", 1_000, 500)
    watch.sleep(10.0)
    one.show(100, lambda: 600)
    assert frames(stream) == ["e  [" + "#" * 14 + "." * 10 + "]  60 %  100 events  10/s  40 s left"]


def test_a_stream_has_no_bar() -> None:
    """If the size is unknown there is no bar, and the position is not queried."""
    stream, watch = Terminal(), Watch()
    one = progress(stream, watch)
    one.begin("standard input", None, 0)
    watch.sleep(2.0)
    one.show(100, lambda: pytest.fail("asked"))
    assert frames(stream) == ["standard input  100 events  50/s"]


@pytest.mark.parametrize(("size", "done"), [(0, 0), (10, 20), (10, 0)])
def test_odd_sizes_do_no_harm(size: int, done: int) -> None:
    """An empty file and one that grows are shown."""
    stream, watch = Terminal(), Watch()
    one = progress(stream, watch)
    one.begin("e", size, 0)
    watch.sleep(2.0)
    one.show(1, lambda: done)
    (frame,) = frames(stream)
    assert ("100 %" in frame) == (done > 0)


def test_a_bar_is_redrawn_at_intervals() -> None:
    """A thousand events per second are not a thousand frames."""
    stream, watch = Terminal(), Watch()
    one = progress(stream, watch)
    one.begin("e", 1_000, 0)
    for number in range(1_000):
        one.show(number, lambda: 1)
        watch.sleep(0.001)
    assert 9 <= len(frames(stream)) <= 11


@pytest.mark.parametrize("columns", [200, 80, 60, 30, 12, 5, 1])
def test_a_bar_fits_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However narrow the terminal and wide the characters, the line is not wrapped."""
    monkeypatch.setattr("fslog.cli.output.ProgressBar._columns", lambda self: columns)
    for label in ("events.ndjson", "東京" * 30, "/" + "x" * 300, "\x1b[2J"):
        stream, watch = Terminal(), Watch()
        one = progress(stream, watch)
        one.begin(label, 1_000, 0)
        watch.sleep(2.0)
        one.show(1_234_567, lambda: 400)
        (frame,) = frames(stream)
        wide = sum(letter > "\u2e80" for letter in frame)
        assert len(frame) + wide < max(columns, 4)
        assert "\x1b" not in frame
        assert ("[#" in frame) == (columns >= 80)


def test_a_message_replaces_the_bar() -> None:
    """A message is where the bar was, which is redrawn at once; control characters are escaped."""
    stream, watch = Terminal(), Watch()
    one = progress(stream, watch)
    one.begin("e", None, 0)
    one.show(1, lambda: 0)
    one.message("oh\x1b[31m")
    one.show(2, lambda: 0)
    assert frames(stream) == ["e  1 events", "oh\\x1b[31m\n", "e  2 events"]


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_a_note_is_printable(stream: io.StringIO) -> None:
    """Control characters in a peer's text are escaped, in a bar and in a line."""
    watch = Watch()
    one = progress(stream, watch)
    one.begin("e", None, 0)
    watch.sleep(10.0)
    one.show(1, lambda: 0, "it says \x1b]0;no\x07")
    assert (
        stream.getvalue().replace("\r\x1b[K", "").rstrip("\n").endswith("it says \\x1b]0;no\\x07")
    )


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_a_key_is_redacted(stream: io.StringIO) -> None:
    """A key in a name, even one that is shortened, and in a message is masked."""
    watch = Watch()
    key = "the-key-" + "0123456789" * 3
    one = progress(stream, watch, redact=lambda text: text.replace(key, "***"))
    one.begin(f"/data/{key}.ndjson", None, 0)
    watch.sleep(10.0)
    one.show(1, lambda: 0)
    one.message(f"{key}: no")
    shown = stream.getvalue()
    assert "/data/***.ndjson" in shown
    assert "***: no\n" in shown
    assert "456" not in shown


def test_a_wait_is_counted_down() -> None:
    """On a terminal the seconds to the next retry are counted down."""
    stream, watch = Terminal(), Watch()
    one = progress(stream, watch)
    one.begin("e", None, 0)
    one.wait(3.0, 7, lambda: 0)
    assert watch.now == 53.0
    seen = re.findall(r"retry in (\d) s", stream.getvalue())
    assert seen == [*"333322221111"]


@pytest.mark.parametrize("environ", [{}, {"TERM": "dumb"}])
def test_a_pipe_gets_a_line_at_intervals(environ: dict[str, str]) -> None:
    """Without a bar there is a line every ten seconds, without control characters."""
    stream = Terminal() if environ else io.StringIO()
    watch = Watch()
    one = progress(stream, watch, environ=environ)
    one.begin("events.ndjson", 1_000, 0)
    for number in range(1, 201):
        watch.sleep(0.125)
        one.show(number * 10, lambda number=number: number)  # type: ignore[misc]
    one.message("said")
    one.wait(1.0, 1, lambda: 0)
    one.clear()
    assert stream.getvalue().splitlines() == [
        "events.ndjson: 8 %, 800 events, 80/s, 1 min 55 s left",
        "events.ndjson: 16 %, 1,600 events, 80/s, 1 min 45 s left",
        "said",
    ]


def test_quiet_is_quiet() -> None:
    """A quiet progress bar writes nothing, even on a terminal."""
    stream, watch = Terminal(), Watch()
    with progress(stream, watch, is_quiet=True) as one:
        one.begin("e", 10, 0)
        one.message("said")
        one.wait(5.0, 1, lambda: 0)
        one.show(1, lambda: 1)
    assert stream.getvalue() == ""
    assert watch.now == 55.0


def test_a_bar_is_removed_in_any_case() -> None:
    """After an exception the bar is removed, so that the next line does not overlap it."""
    stream, watch = Terminal(), Watch()

    def interrupted() -> None:
        with progress(stream, watch) as one:
            one.begin("e", None, 0)
            one.show(1, lambda: 0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_errors_of_the_stream_are_ignored() -> None:
    """A closed stream, or one that cannot encode a character, raises nothing."""

    class Gone(Terminal):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    watch = Watch()
    one = progress(Gone(), watch)
    one.begin("e", None, 0)
    one.show(1, lambda: 0)
    one.message("said")
    raw = io.BytesIO()
    narrow = progress(io.TextIOWrapper(raw, "ascii"), watch)
    narrow.message("zoë")
    assert raw.getvalue() == b"zo\\xeb\n"


def test_a_stream_may_have_a_width_too() -> None:
    """Lines are wrapped, and rows cut, as on a terminal; without styles."""
    stream = io.StringIO()
    printer = Printer(stream, other_columns=20)
    printer.line(("tag  ", "bold"), ("several words of text", ""))
    printer.row(("a row that is too long", "red"))
    printer.verbatim(("a command that is not cut", ""))
    assert stream.getvalue().splitlines() == [
        "tag  several words",
        "     of text",
        "a row that is too...",
        "a command that is not cut",
    ]
