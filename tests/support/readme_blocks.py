"""Execute the fenced blocks of Markdown files, so that an example works if a reader pastes it.

The language of a block determines how it is executed:

`python`
    runs as a separate file with all warnings as errors. It must exit with 0 and write nothing
    to stderr.
`yaml`, `json`, `toml`, `ini`
    must parse. `logging.config.dictConfig` must accept a mapping with `version` and `handlers`,
    and `FreshsuccessHandler` must accept any other mapping as keyword arguments; the mark `parse`
    skips this step. Paths below `/var/spool/` are replaced by paths in the block's directory.
`sh`, `shell`, `bash`, `console`
    runs under `bash -eu` in a copy of the checkout, with the interpreter's own commands first in
    PATH. The copy excludes hidden files, `pyproject.toml` and the package, so the block uses the
    fslog under test. It must exit with 0. In a `console` block the lines after a `$ ` are the
    commands, and lines without a prompt are the expected output.
`text`, or no language
    must be marked `output` or `prose`.

Any other language must be marked `prose`; a language that is executed must not be.

While a block runs, an embedded endpoint listens at `FSLOG_ENDPOINT`, with the keys in
`FSLOG_AUTH_KEY` and `FSLOG_API_KEY`; there is a `FSLOG_HASH_KEY`, too. The block fails if the
endpoint receives an invalid event.

Marks are written in an HTML comment on the line directly above the fence, separated by spaces:
`<!-- test: name=settings.yaml parse -->`.

`name=FILE`
    Later blocks under the same heading run in a directory that contains this block as FILE. The
    block itself is executed as well.
`expect-events=N`
    The endpoint must have received exactly N valid events when the block ends.
`output`
    The expected stdout of the block above. Before the comparison, `masked` replaces the values
    that differ between runs in both texts; a sample therefore shows real values, no wildcards.
`parse`
    The block must parse; it is neither a logging configuration nor the handler's arguments.
`prose`
    The block is neither the input nor the output of a program.
`event`
    The only event that the block above may send, as a JSON object, compared after `masked`.
`viewer`
    A shell block that starts `fslog viewer`; the test uses a free port instead of 8020. When the
    block ends, the viewer must show `expect-events` events, all valid.
`ci`
    A shell block that cannot run inside the suite because it installs packages or runs the suite.
    `.ci/run` executes it in a clean checkout: `python readme_blocks.py ci CHECKOUT`.
`wheel`
    A shell block that installs fslog. `.ci/run` executes these blocks, then the `viewer` blocks,
    outside the checkout, in an empty virtual environment in which pip finds the checkout's wheel.
"""

from __future__ import annotations

import configparser
import contextlib
import importlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ports import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT = 90.0
"""Time limit of one block in seconds."""

SHELL = frozenset({"sh", "shell", "bash", "console"})
DATA = frozenset({"yaml", "json", "toml", "ini"})
SHOWN = frozenset({"", "text"})
EXECUTED = SHELL | DATA | {"python"}
NOT_EXECUTED = {"ci", "event", "output", "prose", "wheel"}
"""Marks of blocks that the suite does not execute separately."""

KEYS = {
    "FSLOG_AUTH_KEY": "readme-auth-key",
    "FSLOG_API_KEY": "readme-api-key",
    "FSLOG_HASH_KEY": "readme-hash-key-of-16-bytes",
}

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})\s*(?P<language>[^\s`]*)[^`]*$")
_MARKS = re.compile(r"^\s*<!-- test:(?P<marks>.*)-->\s*$")
_KNOWN_MARKS = {
    "name": EXECUTED,
    "expect-events": SHELL | {"python"},
    "output": SHOWN,
    "parse": DATA,
    "event": {"json"},
    "viewer": SHELL,
    "ci": SHELL,
    "wheel": SHELL,
}
_WITH_VALUE = {"name", "expect-events"}
# `pyproject.toml` has fslog's pytest settings, which must not apply to tests in a reader's block.
_NOT_COPIED = shutil.ignore_patterns(
    ".*", "fslog", "build", "dist", "*.egg-info", "__pycache__", "pyproject.toml"
)
HOME = "/srv/shop"
"""The directory that samples show in place of the one in which a block runs."""

_MASKS = [
    (re.compile(pattern), mask)
    for pattern, mask in (
        (r"\bhttps?://[^/\s,]+", "URL"),
        (r"\b\d+\.\d+\.\d+\.\d+(:\d+)?\b|\bevents-(us|eu)\.freshsuccess\.com\b", "HOST"),
        (r"\bport \d+\b", "port PORT"),
        (r"\b\d{4}-\d\d-\d\d\b", "DATE"),
        (r"\b\d\d:\d\d:\d\d(\.\d+)?\b", "TIME"),
        (r"\b1[6-9]\d{11}\b", "MILLISECONDS"),
        (r"\b\d+(\.\d+)? (us|ms|s|min|h|d)\b", "DURATION"),
        (r"\b[\d,]+(\.\d+)? (bytes|[kKMG]i?B)\b", "SIZE"),
        (r"\bcompressed to [\d,]+: \d+(\.\d+)? : 1\b", "compressed to SIZE"),
        (r"\b(process|pid) \d+\b", "process ID"),
        (r"\bfslog \d+\.\d+\.\d+\b", "fslog VERSION"),
        (r"\b[0-9a-f]{32}\b|\b\d{8}-[0-9a-f]{12}\b", "ID"),
        (r"(?<=\S)  +", "  "),
    )
]
"""Patterns of values that differ between runs, with their replacements; last, column padding."""

_LOAD = """
import json, logging.config, sys
given = json.load(sys.stdin)
if "version" in given and "handlers" in given:
    logging.config.dictConfig(given)
else:
    from fslog import FreshsuccessHandler
    FreshsuccessHandler(**given).close()
"""


_SEEN = """
python - "{url}" {expected} <<'SEEN'
import json, sys, urllib.request

url, expected = sys.argv[1:]
urllib.request.urlopen(f"{{url}}/api/wait?count={{expected}}&timeout=30").close()
with urllib.request.urlopen(f"{{url}}/api/events") as answer:
    entries = json.load(answer)["entries"]
if [entry["state"] for entry in entries] != ["valid"] * int(expected):
    sys.exit(f"the viewer shows {{entries}}, not {{expected}} valid events")
SEEN
"""


class Failed(AssertionError):
    """A block does not do what its text and its marks promise."""


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Args:
        file: the name of the Markdown file.
        line: the line number of the opening fence, from 1.
        language: the first word after the fence, in lower case.
        text: the lines between the fences.
        marks: the values of the marks by name, `""` for a mark without a value.
        heading: the line number of the nearest heading above, 0 if there is none.
        output: the expected stdout, None if it is not specified.
        event: the expected event as JSON, None if it is not specified.
    """

    file: str
    line: int
    language: str
    text: str
    marks: Mapping[str, str] = field(default_factory=dict)
    heading: int = 0
    output: str | None = None
    event: str | None = None

    @property
    def id(self) -> str:
        """Return the ID of the test that executes the block."""
        return f"{self.file}:{self.line}"


def documents(root: Path = ROOT) -> list[Path]:
    """Return the files whose blocks the suite executes: the README and the topics of the guide."""
    return [root / "README.md", *sorted((root / "fslog" / "guide").glob("*.md"))]


def blocks_of(path: Path) -> list[Block]:
    """Return the blocks of a file in order."""
    return parse(path.read_text(encoding="utf-8"), path.name)


def parse(markdown: str, file: str = "text.md") -> list[Block]:
    r"""Return the blocks of a Markdown text in order.

    The text of an `output` or `event` block is also an attribute of the block above it.

    >>> block = parse("# A\n<!-- test: name=a.py -->\n```python\npass\n```\n")[0]
    >>> block.line, block.language, block.text, block.marks, block.heading
    (3, 'python', 'pass\n', {'name': 'a.py'}, 1)
    """
    lines = markdown.splitlines()
    blocks: list[Block] = []
    heading = at = 0
    while at < len(lines):
        if lines[at].startswith("#"):
            heading = at + 1
        opening = _FENCE.match(lines[at])
        if opening is None:
            at += 1
            continue
        end = _closing(lines, at, opening["fence"])
        text = "".join(f"{line}\n" for line in lines[at + 1 : end])
        block = Block(
            file=file,
            line=at + 1,
            language=opening["language"].lower(),
            text=textwrap.dedent(text) if opening["indent"] else text,
            marks=_marks(lines[at - 1]) if at else {},
            heading=heading,
        )
        for mark in {"output", "event"} & set(block.marks):
            blocks[-1:] = [replace(above, **{mark: block.text}) for above in blocks[-1:]]
        blocks.append(block)
        at = end + 1
    return blocks


def _closing(lines: Sequence[str], opening: int, fence: str) -> int:
    for at in range(opening + 1, len(lines)):
        line = lines[at].strip()
        if line.startswith(fence) and not line.strip(fence[0]):
            return at
    raise Failed(f"the fence opened in line {opening + 1} is not closed")


def _marks(line: str) -> dict[str, str]:
    found = _MARKS.match(line)
    words = shlex.split(found["marks"]) if found else []
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def mistakes(block: Block) -> list[str]:
    """Return the errors in the marks and the language of a block.

    >>> mistakes(Block("a.md", 1, "ruby", ""))
    ["unknown language 'ruby' without the mark 'prose'"]
    """
    found = []
    for name, value in block.marks.items():
        if name == "prose":
            allowed = block.language not in EXECUTED
        elif name in _KNOWN_MARKS:
            allowed = block.language in _KNOWN_MARKS[name] and bool(value) == (name in _WITH_VALUE)
        else:
            allowed = False
        if not allowed:
            found.append(f"the mark {name!r} is not valid: {block.language!r} block, {value!r}")
    if block.language in SHOWN and len({"output", "prose"} & set(block.marks)) != 1:
        found.append("a text block requires the mark 'output' or 'prose'")
    if block.language not in EXECUTED | SHOWN and "prose" not in block.marks:
        found.append(f"unknown language {block.language!r} without the mark 'prose'")
    if block.output is not None and block.language not in SHELL | {"python"}:
        found.append("an 'output' block follows a block that writes no output")
    if block.event is not None and block.language not in SHELL | {"python"}:
        found.append("an 'event' block follows a block that sends no events")
    if "viewer" in block.marks and "expect-events" not in block.marks:
        found.append("the mark 'viewer' requires 'expect-events'")
    return found


def executed_here(blocks: Sequence[Block]) -> list[Block]:
    """Return the blocks that the suite executes: none that are only shown or run by `.ci/run`.

    The result includes blocks with invalid marks, so that their tests fail.
    """
    return [block for block in blocks if mistakes(block) or not NOT_EXECUTED & set(block.marks)]


def execute(block: Block, blocks: Sequence[Block], directory: Path, root: Path = ROOT) -> None:
    """Execute one block.

    Args:
        block: one of `blocks`.
        blocks: all blocks of the same file.
        directory: an empty directory in which the block runs.
        root: the checkout, which is copied for a shell block.

    Raises:
        Failed: the block does not meet the requirements in this module's docstring.
    """
    if wrong := mistakes(block):
        raise Failed(f"line {block.line}: {'; '.join(wrong)}")
    if block.language in SHELL:
        shutil.copytree(root, directory, ignore=_NOT_COPIED, dirs_exist_ok=True)
    for other in blocks:
        if other.heading == block.heading and other.line <= block.line and "name" in other.marks:
            path = directory / other.marks["name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(other.text, encoding="utf-8")
    if block.language in DATA:
        _execute_data(block, directory)
    else:
        _execute_program(block, directory)


def _execute_program(block: Block, directory: Path) -> None:
    if block.language == "python":
        script = directory / block.marks.get("name", f"line_{block.line}.py")
        script.write_text(block.text, encoding="utf-8")
        command = [sys.executable, "-W", "error", str(script)]
    else:
        script = viewed_script(block) if "viewer" in block.marks else script_of(block)
        command = ["bash", "-eu", "-o", "pipefail", "-c", script]
    with _endpoint(block) as settings:
        done = _run(command, block, cwd=directory, env=environment(settings))
    if block.language == "python" and done.stderr:
        raise Failed(f"line {block.line} wrote to stderr:\n{done.stderr}")
    expect_output(block, done.stdout, directory)


def _execute_data(block: Block, directory: Path) -> None:
    try:
        given = _parsed(block)
    except Exception as error:
        raise Failed(f"line {block.line} is not valid {block.language}: {error}") from error
    if "parse" in block.marks:
        return
    with _endpoint(block) as settings:
        command = [sys.executable, "-W", "error", "-c", _LOAD]
        env = environment({**settings, "PYTHONPATH": str(directory)})
        text = json.dumps(given).replace("/var/spool/", f"{directory}/")
        done = _run(command, block, cwd=directory, env=env, stdin=text)
    if done.stderr:
        raise Failed(f"line {block.line} wrote to stderr:\n{done.stderr}")


def _parsed(block: Block) -> Any:
    if block.language == "yaml":
        return importlib.import_module("yaml").safe_load(block.text)
    if block.language == "json":
        return json.loads(block.text)
    if block.language == "toml":
        # `tomllib` is new in 3.11; on 3.10 pytest itself depends on `tomli`.
        name = "tomllib" if sys.version_info >= (3, 11) else "tomli"
        return importlib.import_module(name).loads(block.text)
    parser = configparser.ConfigParser()
    parser.read_string(block.text)
    return {name: dict(parser[name]) for name in parser.sections()}


@contextlib.contextmanager
def _endpoint(block: Block) -> Iterator[dict[str, str]]:
    """Run an endpoint during a block, then check the events that it has received."""
    from fslog.collector import Collector

    with Collector() as collector:
        yield {"FSLOG_ENDPOINT": collector.url, **KEYS}
        arrived, invalid = list(collector.events), list(collector.invalid)
    if invalid:
        raise Failed(f"line {block.line} sent invalid events: {invalid}")
    expected = block.marks.get("expect-events")
    if "viewer" not in block.marks and expected is not None and len(arrived) != int(expected):
        raise Failed(f"line {block.line} sent {len(arrived)} events, not {expected}: {arrived}")
    if block.event is not None and _comparable(arrived) != _comparable([json.loads(block.event)]):
        raise Failed(f"line {block.line} should send\n{block.event}but sent\n{arrived}")


def _comparable(events: Sequence[Any]) -> str:
    return masked(json.dumps(events, sort_keys=True))


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that uses the fslog under test and these settings.

    It excludes the `FSLOG_` variables and the proxies of the machine.
    """
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("FSLOG_") and not name.lower().endswith("_proxy")
    }
    # Not the resolved path: in a virtual environment the interpreter is a link that leads outside.
    env["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), env.get("PATH", os.defpath)])
    paths = [settings.get("PYTHONPATH", ""), env.get("PYTHONPATH", "")]
    home = Path(importlib.import_module("fslog").__file__ or "").resolve().parent.parent
    if home == ROOT:
        paths.insert(1, str(home))
    return {**env, **settings, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def _run(
    command: Sequence[str],
    block: Block,
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: str = "",
) -> subprocess.CompletedProcess[str]:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(stdin, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise Failed(f"line {block.line} did not end within {TIMEOUT:g} s") from None
    if process.returncode:
        said = f"{stdout}{stderr}"
        raise Failed(f"line {block.line} exited with {process.returncode}:\n{said}")
    return subprocess.CompletedProcess(command, 0, stdout, stderr)


def script_of(block: Block) -> str:
    r"""Return the commands of a shell block.

    >>> script_of(Block("a.md", 1, "console", "$ echo a \\\n> b\na b\n$ true\n"))
    'echo a \\\nb\ntrue\n'
    """
    if block.language != "console":
        return block.text
    commands = [line[2:] for line in block.text.splitlines() if line[:2] in ("$ ", "> ")]
    return "".join(f"{command}\n" for command in commands)


def viewed_script(block: Block) -> str:
    """Return the commands of a `viewer` block and further ones that check the viewer's events."""
    port = free_port()
    script = script_of(block).replace("8020", str(port))
    script = script.replace("fslog viewer", f"fslog viewer --port {port}")
    seen = _SEEN.format(url=f"http://127.0.0.1:{port}", expected=block.marks["expect-events"])
    return f"trap 'kill $(jobs -p)' EXIT\n{script}{seen}"


def expected_output(block: Block) -> str | None:
    r"""Return the expected stdout of a block, None if it is not specified.

    >>> expected_output(Block("a.md", 1, "console", "$ echo a\na\n"))
    'a\n'
    """
    shown = [line for line in block.text.splitlines() if line[:2] not in ("$ ", "> ")]
    if block.language == "console" and shown:
        return "".join(f"{line}\n" for line in shown)
    return block.output


def masked(text: str) -> str:
    r"""Replace values that differ between runs: addresses, times, durations, sizes, IDs, versions.

    Numbers of events, words, names and the order of lines do not change.

    >>> masked("sent   2 events to http://127.0.0.1:8020, 1,297 bytes, in 0.2 s")
    'sent  2 events to URL, SIZE, in DURATION'
    """
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return text


def expect_output(block: Block, stdout: str, directory: Path) -> None:
    """Raise `Failed` if the stdout of a block that ran in `directory` differs from its sample."""
    expected = expected_output(block)
    if expected is None:
        return
    shown = stdout.replace(str(directory.resolve()), HOME).replace(str(directory), HOME)
    if masked(expected).rstrip() != masked(shown).rstrip():
        raise Failed(f"line {block.line} should write\n{expected}but wrote\n{shown}")


def execute_ci(root: Path) -> None:
    """Execute the `wheel`, `viewer` and `ci` blocks of a checkout's README.

    The blocks run without any preparation, as they do for a reader. Their output is printed.
    """
    every = blocks_of(root / "README.md")
    if not any("ci" in block.marks for block in every):
        raise Failed("README.md has no block with the mark 'ci'")
    for block in every:
        if wrong := mistakes(block):
            raise Failed(f"line {block.line}: {'; '.join(wrong)}")
    with tempfile.TemporaryDirectory(prefix="fslog-readme-") as directory:
        _execute_from_a_wheel(every, root, Path(directory))
    for block in every:
        if "ci" in block.marks:
            with tempfile.TemporaryDirectory(prefix="fslog-readme-") as directory:
                copy = Path(directory) / "fslog"
                shutil.copytree(root, copy, symlinks=True)
                _execute_ci(block, copy, script_of(block), os.environ)


def _execute_from_a_wheel(blocks: Sequence[Block], root: Path, directory: Path) -> None:
    """Execute the `wheel` blocks, then the `viewer` blocks, in a new virtual environment."""
    if not any("wheel" in block.marks for block in blocks):
        return
    names = ("source", "dist", "venv", "work")
    source, dist, venv, work = (directory / name for name in names)
    shutil.copytree(root, source, symlinks=True)
    work.mkdir()
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", str(dist), str(source)], check=True)
    path = os.pathsep.join([str(venv / "bin"), os.environ.get("PATH", os.defpath)])
    env = {**os.environ, "PIP_FIND_LINKS": str(dist), "PATH": path}
    for mark, script in (("wheel", script_of), ("viewer", viewed_script)):
        for block in blocks:
            if mark in block.marks:
                _execute_ci(block, work, script(block), env)


def _execute_ci(block: Block, where: Path, script: str, env: Mapping[str, str]) -> None:
    print(f"README.md, line {block.line}:\n{block.text}", flush=True)
    written = []
    with subprocess.Popen(
        ["bash", "-eu", "-o", "pipefail", "-c", script],
        cwd=where,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            written.append(line)
    if process.returncode:
        raise Failed(f"line {block.line} exited with {process.returncode}")
    expect_output(block, "".join(written), where)


if __name__ == "__main__":
    if sys.argv[1:2] != ["ci"] or len(sys.argv) != 3:
        sys.exit("usage: python readme_blocks.py ci CHECKOUT")
    try:
        execute_ci(Path(sys.argv[2]).resolve())
    except Failed as failure:
        sys.exit(f"README.md: {failure}")
