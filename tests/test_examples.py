"""Each example works as its README says, and the demo's configuration is one of the examples."""

from __future__ import annotations

import contextlib
import importlib.resources
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from processes import run
from readme_blocks import ROOT, environment, parse
from servers import DEADLINE, Server, free_port

EXAMPLES = ROOT / "examples"
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")
RELAYS = EXAMPLES / "relays"
APPS = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir() and path != RELAYS)
READY = {"django_app": {"Host": "acme.localhost"}}
STOP = {"django_app": signal.SIGINT}
ENDS = {"starlette_app": -signal.SIGTERM}
EXPECTED = {
    "gunicorn_app": [
        ("acme", "feature", "board sort"),
        ("globex", "feature", "reports export csv"),
    ],
    "starlette_app": [
        ("acme", "feature", "reports export csv"),
        ("globex", "feature", "tasks create"),
        ("globex", "feature", "board sort"),
    ],
    "django_app": [
        ("acme", "feature", "reports export"),
        ("acme", "feature", "tasks create"),
        ("acme", "feature", "wiki edit"),
        ("acme", "errorPage", "/nothing"),
    ],
}


def blocks_under(heading: str) -> list[str]:
    """Return the texts of the blocks under a heading of the examples' README."""
    at = README.splitlines().index(heading) + 1
    return [block.text for block in parse(README) if block.heading == at]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of all examples without the files that earlier runs created."""
    left = shutil.ignore_patterns("__pycache__", "*.sqlite3")
    return Path(shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=left))


@contextlib.contextmanager
def endpoint(directory: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Run `endpoint.py`; yield the process and the environment variables that it prints."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "endpoint.py", str(free_port())],
        cwd=directory,
        env=environment({}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.startswith("export "), said
            yield process, dict(part.split("=", 1) for part in said.split()[1:])
        finally:
            process.kill()


def end(process: subprocess.Popen[str]) -> list[str]:
    """Stop `endpoint.py` with Ctrl-C; return the lines that it has written."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, err) == (0, "")
    return out.splitlines()


def start(name: str, copy: Path, settings: Mapping[str, str]) -> Server:
    """Start an application with the README's commands, on a free port."""
    port = free_port()
    for path in (copy / name).rglob("*.conf.py"):
        path.write_text(path.read_text().replace(":8000", f":{port}"), encoding="utf-8")
    *before, last = blocks_under(f"## {name}")[0].replace("8000", str(port)).splitlines()
    script = "\n".join([*before, f"exec {last}"])
    given = {**settings, "XDG_RUNTIME_DIR": str(copy)}
    return Server(["bash", "-eu", "-c", script], copy, given, port)


@pytest.mark.slow
@pytest.mark.needs("curl")
@pytest.mark.parametrize("name", APPS)
def test_the_readme_commands_make_the_expected_events(name: str, copy: Path) -> None:
    """The README's commands start an application and send requests, and its events arrive."""
    with endpoint(copy) as (player, settings), start(name, copy, settings) as server:
        server.until(lambda: server.is_ready(READY.get(name, {})))
        asks = blocks_under(f"## {name}")[1].replace("8000", str(server.port))
        asked = f'curl() {{ command curl --silent --max-time 60 "$@"; }}\n{asks}'
        subprocess.run(["bash", "-eu", "-c", asked], check=True, capture_output=True)
        # Some servers respond before they log, so wait until every request is in the log.
        paths = re.findall(r":\d+(/[\w./]+)", asks)
        server.until(lambda: all(path in server.written("err") for path in paths))
        server.stop(STOP.get(name, signal.SIGTERM), ENDS.get(name, 0))
        events = [json.loads(line) for line in end(player)]
    # Events are in order within each of gunicorn's two workers, but not across them.
    ordered = sorted if name == "gunicorn_app" else list
    seen = [
        (
            event["accountId"],
            event["action"],
            event.get("path") or f"{event['module']} {event['feature']}",
        )
        for event in events
    ]
    assert ordered(seen) == ordered(EXPECTED[name])


def test_the_readme_shows_the_environment_variables(copy: Path) -> None:
    """The README shows the exact line that `endpoint.py` prints, with the default port."""
    with endpoint(copy) as (player, settings):
        shown = next(block.text for block in parse(README) if block.text.startswith("export "))
        port = settings["FSLOG_ENDPOINT"].rpartition(":")[2]
        said = " ".join(f"{name}={value}" for name, value in settings.items())
        assert shown.strip() == f"export {said}".replace(port, "8900")
        assert end(player) == []


def test_the_readme_names_every_example() -> None:
    """The README of `examples/` names each file and folder in it."""
    for path in EXAMPLES.iterdir():
        assert path.name in README or path.name in ("README.md", "__pycache__"), path


@pytest.mark.parametrize("name", sorted(path.name for path in RELAYS.glob("*.yaml")))
def test_a_relay_that_no_test_runs_is_marked(name: str) -> None:
    """Its configuration is YAML, and says at the top where it comes from."""
    text = (RELAYS / name).read_text(encoding="utf-8")
    assert isinstance(yaml.safe_load(text), dict)
    head = " ".join(text.partition("\n\n")[0].replace("#", " ").split())
    assert re.search(r"[Ww]ritten from (its|Vector's) documentation, not run here\.", head)


def test_the_demo_is_configured_by_an_example() -> None:
    """The configuration of `fslog demo` is identical to `examples/demo.json`."""
    packaged = importlib.resources.files("fslog.cli.demo").joinpath("demo.json")
    assert packaged.read_text(encoding="utf-8") == (EXAMPLES / "demo.json").read_text(
        encoding="utf-8"
    )


def test_a_checkout_has_one_copy_of_the_demos_configuration() -> None:
    """In a checkout the package's file is a link to the example; a build copies the example."""
    link = ROOT / "fslog" / "cli" / "demo" / "demo.json"
    in_sdist = (ROOT / "PKG-INFO").exists()
    in_checkout = os.environ.get("FSLOG_TEST_INSTALLED") != "1" and not in_sdist
    assert link.is_symlink() == in_checkout
    assert not in_checkout or os.readlink(link) == "../../../examples/demo.json"


def test_dictconfig_accepts_the_demos_configuration() -> None:
    """`logging.config` accepts `demo.json` if the environment has the keys."""
    program = f"""
        import json, logging.config

        with open({str(EXAMPLES / "demo.json")!r}, encoding="utf-8") as file:
            logging.config.dictConfig(json.load(file))
    """
    run(program, "http://127.0.0.1:9")
