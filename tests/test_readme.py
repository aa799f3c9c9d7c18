"""The blocks of the README and the guide work, and the checker of blocks detects failures."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fslog.collector import Collector
from readme_blocks import (
    DATA,
    NOT_EXECUTED,
    ROOT,
    SHELL,
    Block,
    Failed,
    blocks_of,
    documents,
    environment,
    executed_here,
    expect_output,
    mistakes,
    parse,
)
from readme_blocks import execute as execute_block
from servers import serving, without

BLOCKS = {path.name: blocks_of(path) for path in documents()}
README = BLOCKS["README.md"]


def execute(markdown: str, directory: Path) -> None:
    """Execute all blocks of a text, each in its own directory."""
    blocks = parse(markdown)
    for block in executed_here(blocks):
        beneath = directory / block.id
        beneath.mkdir()
        execute_block(block, blocks, beneath)


def cases() -> Iterator[Any]:
    """Yield a parameter for each block to execute, marked with the programs that it requires.

    Blocks of the guide are slow tests, because most of them show what other tests also cover.
    """
    for block in [block for blocks in BLOCKS.values() for block in executed_here(blocks)]:
        runs_curl = block.language in SHELL and "curl" in block.text
        needs = ["curl"] * runs_curl + ["structlog>=25"] * ("import structlog" in block.text)
        needs += ["loguru>=0.7"] * ("from loguru" in block.text)
        needs += ["flask>=3"] * ("from flask import" in block.text)
        marks = [pytest.mark.needs(*needs)] * bool(needs)
        if block.file != "README.md":
            marks.append(pytest.mark.slow)
        yield pytest.param(block, id=block.id, marks=marks)


@pytest.mark.parametrize("block", list(cases()))
def test_a_block(block: Block, tmp_path: Path) -> None:
    """A pasted block does what the page says."""
    execute_block(block, BLOCKS[block.file], tmp_path)


def test_the_readme_shows_how_to_use_fslog() -> None:
    """It has Python, configuration and shell blocks, and a block that runs these tests."""
    languages = {block.language for block in README}
    assert "python" in languages
    assert languages & DATA
    assert languages & SHELL
    assert any("pytest" in block.text for block in README if "ci" in block.marks)


@pytest.mark.parametrize("file", BLOCKS)
def test_every_block_is_executed_or_marked(file: str) -> None:
    """A block is executed here or by `.ci/run`, or its mark says that it is only shown."""
    blocks = BLOCKS[file]
    shown = NOT_EXECUTED - (set() if file == "README.md" else {"ci", "wheel"})
    left = {block.line for block in blocks} - {block.line for block in executed_here(blocks)}
    assert left == {block.line for block in blocks if shown & set(block.marks)}
    assert [mistake for block in blocks for mistake in mistakes(block)] == []


def test_the_readme_is_short() -> None:
    """The README is an introduction; details belong in the guide."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    assert len(text.split()) <= 1500


ANY_APPLICATION = """
def app(environ, start_response):
    status = "404 Not Found" if environ["PATH_INFO"] == "/reports/nothing" else "200 OK"
    start_response(status, [("Content-Length", "0")])
    return []
"""


def test_the_rule_works_under_gunicorn(tmp_path: Path) -> None:
    """The pasted rule makes an event of each successful POST request of a known user."""
    (rule,) = (block for block in README if block.marks.get("name") == "gunicorn.conf.py")
    (tmp_path / "gunicorn.conf.py").write_text(rule.text, encoding="utf-8")
    (tmp_path / "app.py").write_text(ANY_APPLICATION, encoding="utf-8")
    gunicorn = ("gunicorn", "--bind", "127.0.0.1:{port}", "app:app")
    ann = {"X-User": "ann", "X-Account": "acme"}
    with Collector() as collector, serving(collector, tmp_path, *gunicorn) as server:
        assert server.ask("POST", "/reports/export?rows=3", ann) == 200
        assert server.ask("GET", "/reports/export", ann) == 200
        assert server.ask("POST", "/reports/nothing", ann) == 404
        assert server.ask("POST", "/reports/export") == 200
        assert server.ask("POST", "/reports/export", {"X-User": "ann"}) == 200
        assert server.ask("POST", "/reports/export", {"X-Account": "acme"}) == 200
        ended = server.stop()
        event = {"action": "feature", "module": "reports", "feature": "export"}
        assert [without(one, "sessionId") for one in collector.events] == [
            {"accountId": "acme", "userId": "ann", **event}
        ]
        assert collector.invalid == []
    assert ended.err.count("POST /reports/") == 5  # the access log is still written


EVENT = '{"accountId": "acme", "userId": "ann", "createdAt": 1e12, "action": "x", "sessionId": "s"}'
SEND = f"""
import os, urllib.request
url = os.environ["FSLOG_ENDPOINT"] + "/v1/a/b"
urllib.request.urlopen(url, b'{EVENT}').close()
"""
INVALID_IN_A_VIEWER = """
fslog viewer >viewer.txt &
until grep -q Ctrl-C viewer.txt; do sleep 0.1; done
python -c 'import urllib.request as r; r.urlopen("http://127.0.0.1:8020/v1/a/b", b"{}").close()'
"""

GOOD = """
# Python
<!-- test: name=names.py -->
```python
WHO = "ann"
```

<!-- test: name=fslog.py-is-not-shadowed.txt parse -->
```yaml
- a list
```

<!-- test: expect-events=2 -->
```python
import json, os, urllib.request
from names import WHO
event = {"accountId": "acme", "userId": WHO, "createdAt": 1e12, "action": "x", "sessionId": "s"}
path = f"/v1/{os.environ['FSLOG_AUTH_KEY']}/{os.environ['FSLOG_API_KEY']}"
body = (json.dumps(event) + "\\n").encode() * 2
urllib.request.urlopen(os.environ["FSLOG_ENDPOINT"] + path, body).close()
print("sent 2 events in 0.123 s")
```
<!-- test: output -->
```text
sent 2 events in 0.2 s
```

```python
@SEND@
```
<!-- test: event -->
```json
@EVENT@
```

# Configuration
```json
{"version": 1, "handlers": {"console": {"class": "logging.StreamHandler"}}}
```
1. in a list
   <!-- test: parse -->
   ```toml
   [table]
   key = 1
   ```
<!-- test: parse -->
```ini
[section]
key = 1
```

# Shell
```sh
ls setup.py tests/support/readme_blocks.py
python -c 'import fslog'
```
```console
$ echo one \\
>   two
one two
```
<!-- test: ci -->
```sh
exit 1
```
<!-- test: prose -->
```mermaid
graph TD
```
"""


def test_blocks_that_work_pass(tmp_path: Path) -> None:
    """Every language is executed, named blocks become files, and events are counted."""
    execute(GOOD.replace("@SEND@", SEND).replace("@EVENT@", EVENT), tmp_path)
    assert len(list(tmp_path.iterdir())) == 9


@pytest.mark.parametrize(
    ("markdown", "reason"),
    [
        ("```python\nraise SystemExit(3)\n```", "exited with 3"),
        ("```python\nimport sys; sys.stderr.write('oh')\n```", "wrote to stderr:\noh"),
        ("```python\nimport warnings; warnings.warn('old')\n```", "exited with 1"),
        (
            "# A\n<!-- test: name=a.py -->\n```python\n```\n# B\n```python\nimport a\n```",
            "named 'a'",
        ),
        ("<!-- test: expect-events=1 -->\n```python\n```", "sent 0 events, not 1"),
        ("```python\nprint(1)\n```\n<!-- test: output -->\n```text\n2\n```", "should write\n2"),
        ("```sh\nfalse\n```", "exited with 1"),
        ("```sh\nfalse | true\n```", "exited with 1"),
        ("```sh\necho $UNSET_BY_ALL\n```", "unbound variable"),
        ("```console\n$ echo 1\n2\n```", "should write\n2"),
        ("```yaml\na: [\n```", "is not valid yaml"),
        ("```json\n{,}\n```", "is not valid json"),
        ("```toml\n=\n```", "is not valid toml"),
        ("```ini\nx\n```", "is not valid ini"),
        (
            '```yaml\n{version: 1, handlers: {a: {class: "logging.NoHandler"}}}\n```',
            "Unable to configure handler 'a'",
        ),
        ("```yaml\nbatch_event: 1\n```", "batch_event"),
        ("```ruby\n```", "unknown language 'ruby'"),
        ("```text\n```", "requires the mark"),
        ("```\n```", "requires the mark"),
        ("<!-- test: prose -->\n```python\n```", "'prose' is not valid"),
        ("<!-- test: ci -->\n```python\n```", "'ci' is not valid"),
        ("<!-- test: parse -->\n```python\n```", "'parse' is not valid"),
        ("<!-- test: name -->\n```python\n```", "'name' is not valid"),
        ("<!-- test: skip -->\n```python\n```", "'skip' is not valid"),
        (f"```python\n{SEND}```\n<!-- test: event -->\n```json\n{{}}\n```", "should send\n{}"),
        ("```json\n{}\n```\n<!-- test: event -->\n```json\n{}\n```", "sends no events"),
        ("<!-- test: viewer -->\n```sh\n```", "requires 'expect-events'"),
        (
            f"<!-- test: viewer expect-events=1 -->\n```sh\n{INVALID_IN_A_VIEWER}```",
            "not 1 valid events",
        ),
        ("```json\n{}\n```\n<!-- test: output -->\n```text\n```", "writes no output"),
        ("```python\nno closing fence", "is not closed"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_block_that_does_not_work_fails(markdown: str, reason: str, tmp_path: Path) -> None:
    """A block that fails or that cannot be executed is reported, never skipped."""
    with pytest.raises(Failed) as failure:
        execute(markdown, tmp_path)
    assert reason in str(failure.value)


SAMPLE = """\
3 events sent to events-us.freshsuccess.com in 1 batch, 0 s
accepted at https://events-us.freshsuccess.com/v1 by port 443, on 2026-11-29 04:00:01.5
createdAt  1795925348933  the record's time
sessionId  "0117712277092487098b7db2112df1e0"  derived
owner                 events  state
00000001-e5347a10b908      3  process 4711, 1,048,712 bytes claimed
297 bytes compressed to 139: 2.1 : 1
fslog 0.2.0 keeps it in /srv/shop/spool
"""
ANOTHER_RUN = """\
3 events sent to 127.0.0.1:40743 in 1 batch, 12 ms
accepted at http://127.0.0.1:40743/v1 by port 8020, on 2027-01-01 23:59:59
createdAt  1800000000000            the record's time
sessionId  "ffffffffffffffffffffffffffffffff"  derived
owner                  events  state
00000002-ffffffffffff       3  process 1, 97 bytes claimed
1,297 bytes compressed to 1,013: 1.3 : 1
fslog 0.3.12 keeps it in {}/spool
"""
DIFFERENCES = [
    ("3 events sent", "2 events sent"),
    ("1 batch", "2 batches"),
    ("accepted", "rejected"),
    ("/v1", "/v2"),
    ("derived", "the call"),
    ("       3  process", "       4  process"),
    ("the record's time\n", "the record's time\n\n"),
    ("/spool", "/other"),
    ("claimed", "..."),
]


def expect(sample: str, written: str, directory: Path) -> None:
    """Compare a sample with the output of a block."""
    block = Block("a.md", 1, "sh", "", output=sample)
    expect_output(block, written, directory)


def test_values_that_differ_between_runs_are_masked(tmp_path: Path) -> None:
    """Addresses, times, durations, sizes, IDs, versions and directories may differ."""
    expect(SAMPLE, SAMPLE, tmp_path)
    expect(SAMPLE, ANOTHER_RUN.format(tmp_path), tmp_path)


@pytest.mark.parametrize(("before", "after"), DIFFERENCES)
def test_other_differences_are_detected(before: str, after: str, tmp_path: Path) -> None:
    """A different number of events, word, path or line fails, in the sample or in the output."""
    written = ANOTHER_RUN.format(tmp_path)
    assert written.count(before) == 1
    with pytest.raises(Failed, match="should write"):
        expect(SAMPLE, written.replace(before, after), tmp_path)
    with pytest.raises(Failed, match="should write"):
        expect(written.replace(before, after), SAMPLE, tmp_path)


def test_an_invalid_event_fails_a_block(tmp_path: Path) -> None:
    """A block fails if it sends an event that the real endpoint would drop silently."""
    send = (
        "import os, urllib.request\n"
        "url = os.environ['FSLOG_ENDPOINT'] + '/v1/a/b'\n"
        "urllib.request.urlopen(url, b'{}').close()\n"
    )
    with pytest.raises(Failed, match="sent invalid events"):
        execute(f"```python\n{send}```", tmp_path)


def test_a_block_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block has a deadline, after which every process that it started is killed."""
    monkeypatch.setattr("readme_blocks.TIMEOUT", 0.5)
    os.mkfifo(tmp_path / "alive")
    alive = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(Failed, match=r"did not end within 0\.5 s"):
            execute("```sh\nexec 3>../alive\nsleep 100 &\nwait\n```", tmp_path)
        # A pipe whose last writer has exited is at its end, so it becomes readable.
        assert select.select([alive], [], [], 10)[0] == [alive]
    finally:
        os.close(alive)


def run_ci(markdown: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the `readme` step of `.ci/run` in a checkout that contains little but a README."""
    root = directory / "checkout"
    for name in (".ci/run", "tests/support/readme_blocks.py", "tests/support/ports.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    (root / "README.md").write_text(markdown, encoding="utf-8")
    env = environment({"PROOF": str(directory / "proof")})
    command = [str(root / ".ci" / "run"), "readme"]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_ci_executes_the_blocks_marked_for_it(tmp_path: Path) -> None:
    """`.ci/run` executes only `ci` blocks, each in a clean copy of the checkout."""
    marked = "<!-- test: ci -->\n```sh\n{}\n```\n"
    first = marked.format('test -f README.md; echo first >>"$PROOF"; touch left-behind')
    second = marked.format('test ! -e left-behind; echo second >>"$PROOF"')
    done = run_ci(f'{first}{second}```sh\necho unmarked >>"$PROOF"\n```\n', tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "proof").read_text(encoding="utf-8") == "first\nsecond\n"


@pytest.mark.parametrize(
    ("markdown", "reason"),
    [
        ("<!-- test: ci -->\n```sh\nfalse\n```\n", "line 2 exited with 1"),
        ("```sh\ntrue\n```\n", "no block with the mark 'ci'"),
        (
            "<!-- test: ci -->\n```sh\necho 1\n```\n<!-- test: output -->\n```text\n2\n```\n",
            "should write\n2",
        ),
    ],
    ids=["a command fails", "no ci block", "different output"],
)
def test_ci_fails_if_the_readme_fails(markdown: str, reason: str, tmp_path: Path) -> None:
    """`.ci/run` fails if a command of the README fails or if the README has no `ci` block."""
    done = run_ci(markdown, tmp_path)
    assert done.returncode == 1
    assert reason in done.stderr
