"""Lines of files and streams: numbers, endings, compression, damage, and lines of any length."""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fslog.cli.options import CommandError
from fslog.cli.upload.ndjson import DamagedInput, Reader, input_file, input_files
from processes import run

LIMIT = 100


def read(path: Path, limit_bytes: int = LIMIT) -> list[tuple[int, bytes]]:
    """Return number and text of each line of a file, long lines joined."""
    with Reader(input_file(str(path)), limit_bytes) as reader:
        return [(one.number, one.raw + b"".join(reader.rest())) for one in reader.lines()]


def write(tmp_path: Path, text: bytes) -> Path:
    """Write a file."""
    path = tmp_path / "lines"
    path.write_bytes(text)
    return path


@given(
    text=st.lists(st.sampled_from([b"\n", b"\r\n", b"a", b"\x00", b"b" * 101, b"c" * 300])),
    is_gzip=st.booleans(),
)
def test_lines_are_what_newlines_separate(
    text: list[bytes], is_gzip: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """All text is yielded, only newlines end lines, and the numbers have no gap."""
    whole = b"".join(text)
    path = write(tmp_path_factory.mktemp("lines"), gzip.compress(whole) if is_gzip else whole)
    found = read(path)
    assert b"".join(raw for _, raw in found) == whole
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    assert all(raw.index(b"\n") == len(raw) - 1 for _, raw in found[:-1])
    assert sum(raw.count(b"\n") for _, raw in found) == whole.count(b"\n")


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b""])
def test_a_line_within_the_limit_is_whole(ending: bytes, tmp_path: Path) -> None:
    """A line of the limit is whole whatever its ending; a longer one need not be."""
    text = b"x" * (LIMIT - 1)
    with Reader(input_file(str(write(tmp_path, text + ending))), LIMIT) as reader:
        assert [one.is_whole for one in reader.lines()] == [True]
    with Reader(input_file(str(write(tmp_path, b"x" * (3 * LIMIT) + ending))), LIMIT) as reader:
        (line,) = reader.lines()
        assert not line.is_whole
        assert len(line.raw) < 2 * LIMIT
        assert reader.newlines == ending.count(b"\n")


def test_the_rest_of_a_long_line_is_skipped(tmp_path: Path) -> None:
    """The rest of a long line is not a line, whether or not it was read."""
    path = write(tmp_path, b"a\n" + b"x" * 1_000 + b"\nb\n")
    with Reader(input_file(str(path)), LIMIT) as reader:
        assert [(one.number, one.raw[:2]) for one in reader.lines()] == [
            (1, b"a\n"),
            (2, b"xx"),
            (3, b"b\n"),
        ]
        assert reader.newlines == 3


def test_members_of_gzip_are_one_text(tmp_path: Path) -> None:
    """Concatenated gzip files, as log rotation creates them, are one text; zeros may follow."""
    path = write(tmp_path, gzip.compress(b"a\nb") + gzip.compress(b"c\n") + bytes(512))
    assert read(path) == [(1, b"a\n"), (2, b"bc\n")]


@pytest.mark.parametrize("text", [b"", gzip.compress(b"", mtime=0)])
def test_an_empty_input_has_no_lines(text: bytes, tmp_path: Path) -> None:
    """Empty text, also compressed, has no line."""
    assert read(write(tmp_path, text)) == []


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda packed: packed[:-9], "ends in the middle of its gzip data"),
        (lambda packed: packed[:-1] + b"?", "has damaged gzip data"),
        (lambda packed: packed[:200] + bytes(200) + packed[400:], "has damaged gzip data"),
        (lambda packed: packed[:5], "ends in the middle of its gzip data"),
        (lambda packed: b"\x1fno gzip", "has damaged gzip data"),
        (lambda packed: packed + b"garbage", "has damaged gzip data"),
    ],
)
def test_damaged_gzip_is_reported(damage: object, words: str, tmp_path: Path) -> None:
    """Truncated or invalid gzip is an error, raised after the lines before it."""
    text = b"".join(hashlib.sha512(bytes([n])).hexdigest().encode() + b"\n" for n in range(200))
    path = write(tmp_path, damage(gzip.compress(text)))  # type: ignore[operator]
    found: list[bytes] = []

    def read_all() -> None:
        with Reader(input_file(str(path)), 1_000) as reader:
            for line in reader.lines():
                found.append(line.raw)  # noqa: PERF401 - what came before the damage is wanted

    with pytest.raises(DamagedInput, match=words) as caught:
        read_all()
    assert text.startswith(b"".join(found))
    assert all(raw.endswith(b"\n") for raw in found)
    assert str(path) in str(caught.value)


def test_damage_in_a_long_line_is_reported(tmp_path: Path) -> None:
    """Damage in the rest of a long line is raised by reading it."""
    packed = gzip.compress(os.urandom(50_000).replace(b"\n", b"x"))
    with Reader(input_file(str(write(tmp_path, packed[:-9]))), LIMIT) as reader:
        line = next(reader.lines())
        assert not line.is_whole
        with pytest.raises(DamagedInput):
            list(reader.rest())


def test_an_error_of_reading_is_reported() -> None:
    """An error of reading is reported with the system's message."""
    with pytest.raises(DamagedInput, match="Input/output error"):
        read(Path("/proc/self/mem"))


def test_a_deleted_file_is_reported(tmp_path: Path) -> None:
    """A file that was deleted before it is opened is an error like any other."""
    path = write(tmp_path, b"a\n")
    found = input_file(str(path))
    path.unlink()
    with pytest.raises(DamagedInput, match="No such file"), Reader(found, LIMIT):
        pass


@pytest.mark.parametrize("is_gzip", [True, False])
def test_skipped_text_is_hashed(is_gzip: bool, tmp_path: Path) -> None:
    """Skipping returns the hash of that text, compressed or not; reading continues after it."""
    text = b"first\nsecond\nthird\n"
    path = write(tmp_path, gzip.compress(text) if is_gzip else text)
    with Reader(input_file(str(path)), LIMIT) as reader:
        digest = reader.skip(6)
        assert digest.digest() == hashlib.blake2b(b"first\n", digest_size=16).digest()
        assert [one.raw for one in reader.lines()] == [b"second\n", b"third\n"]
    with Reader(input_file(str(path)), LIMIT) as reader:
        assert reader.skip(1_000).digest() == hashlib.blake2b(text, digest_size=16).digest()


def test_the_position_is_that_in_the_file(tmp_path: Path) -> None:
    """The position is in bytes of the file, as its size is."""
    packed = gzip.compress(os.urandom(200_000))
    path = write(tmp_path, packed)
    with Reader(input_file(str(path)), LIMIT) as reader:
        assert 0 <= reader.position() < len(packed)
        for _ in reader.lines():
            pass
        assert reader.position() == len(packed) == input_file(str(path)).size_bytes


def test_a_fifo_is_a_stream(tmp_path: Path) -> None:
    """A FIFO is read to its end, however slowly it is written; its size is unknown."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    packed = gzip.compress(b"a\nb\n")

    def feed() -> None:
        with open(path, "wb", buffering=0) as fifo:
            for byte in packed:
                fifo.write(bytes([byte]))

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        assert input_file(str(path)).is_stream
        assert read(path) == [(1, b"a\n"), (2, b"b\n")]
    finally:
        thread.join()


def test_standard_input_is_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is standard input, a stream even if it is a file, and stays open."""
    before = os.dup(0)
    with open(write(tmp_path, b"a\n"), "rb") as file:
        os.dup2(file.fileno(), 0)
    try:
        assert input_file("-").is_stream
        assert read(Path("-")) == [(1, b"a\n")]
        assert os.fstat(0)
    finally:
        os.dup2(before, 0)
        os.close(before)


def test_a_closed_standard_input_is_an_error() -> None:
    """If standard input was closed, `-` is an error."""
    program = """
        import os
        from fslog.cli.options import CommandError
        from fslog.cli.upload.ndjson import input_file

        os.close(0)
        try:
            input_file("-")
        except CommandError as error:
            print('{"said": "%s"}' % error)
    """
    facts = run(program, "http://127.0.0.1:9").facts
    assert facts == {"said": "standard input cannot be read: Bad file descriptor"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (".", "is a directory; name the files in it"),
        ("missing", "cannot be read: No such file or directory"),
        ("\0", "cannot be read: .*embedded null"),
        ("", "cannot be read: No such file or directory"),
        ("loop", "cannot be read: Too many levels of symbolic links"),
    ],
)
def test_invalid_inputs(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input that cannot be read is an error before any is read."""
    monkeypatch.chdir(tmp_path)
    os.symlink("loop", "loop")
    with pytest.raises(CommandError, match=words):
        input_files([name])


def test_an_input_without_permission_is_an_error() -> None:
    """A file without read permission is an error before any is read."""
    program = """
        import json, os
        from fslog.cli.options import CommandError
        from fslog.cli.upload.ndjson import input_file

        open("theirs", "w").close()
        os.chmod("theirs", 0)
        os.chmod(".", 0o755)
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        try:
            input_file("theirs")
        except CommandError as error:
            print(json.dumps({"said": str(error)}))
    """
    assert run(program, "http://127.0.0.1:9").facts == {
        "said": "theirs cannot be read: Permission denied"
    }


def test_a_file_that_is_named_twice(tmp_path: Path) -> None:
    """An input may be named once, under whatever name; two files with equal content are two."""
    path = write(tmp_path, b"a\n")
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "copy").write_bytes(b"a\n")
    assert len(input_files([str(path), str(tmp_path / "copy")])) == 2
    for names in ([path, path], [path, tmp_path / "link"], ["-", "-"]):
        with pytest.raises(CommandError, match="is named twice"):
            input_files([str(name) for name in names])


def test_a_socket_is_an_error(tmp_path: Path) -> None:
    """An input that cannot be opened is an error like one that cannot be read."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        with pytest.raises(DamagedInput, match="No such device or address"):
            read(tmp_path / "socket")
