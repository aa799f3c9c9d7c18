"""A rotation of the keys: a running process reads them again from their files."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fslog import FreshsuccessHandler
from fslog.cli import main
from fslog.collector import Collector
from fslog.net.destination import destination
from fslog.spool.directory import MARKER, OWNERS, spool_directory
from processes import FORKING, run, started
from waiting import eventually

OLD = ("Zx9Qw7LkAb3RtHj5", "Mn5Yb8Pd2Uv6Cg4W")
NEW = ("Kp2Vn8Xs4Wd6Fq3J", "Tb7Gy5Rc9Hm3Lz8E")
EVENT = {"accountId": "acme", "userId": "ann", "action": "pageView", "page": "start"}


class Everything(logging.Handler):
    """Keep everything that a handler could show of a record."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{self.format(record)}\n{vars(record)}")


class Secrets:
    """A mounted secret: a directory whose files are replaced at once, as Kubernetes does it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self._versions = 0
        for name in ("auth", "api"):
            (path / name).symlink_to(Path("..data") / name)
        self.write(OLD)

    def write(self, keys: tuple[str, str]) -> None:
        """Replace both keys."""
        self._versions += 1
        version = self.path / f"..{self._versions}"
        version.mkdir()
        for name, key in zip(("auth", "api"), keys, strict=True):
            (version / name).write_text(f"{key}\n")
        link = self.path / "..new"
        link.symlink_to(version.name)
        link.replace(self.path / "..data")

    @property
    def arguments(self) -> dict[str, str]:
        """Return a handler's arguments."""
        return {
            "auth_key_file": str(self.path / "auth"),
            "api_key_file": str(self.path / "api"),
        }

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment's variables."""
        return {f"FSLOG_{name.upper()}": path for name, path in self.arguments.items()}


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    """Mount the old keys."""
    return Secrets(tmp_path / "secrets")


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Run an endpoint that accepts the new keys only."""
    with Collector(keys=NEW) as made:
        yield made


def make(collector: Collector, secrets: Secrets, **more: Any) -> FreshsuccessHandler:
    """Create a handler that would wait ten minutes after rejected keys."""
    fixed: dict[str, Any] = {"endpoint": collector.url, "max_backoff": 600.0, "timeout": 10.0}
    return FreshsuccessHandler(**{**fixed, **secrets.arguments, **more})


def log_to(handler: FreshsuccessHandler, count: int = 1) -> None:
    """Log events to a handler."""
    log = logging.Logger("shop")
    log.addHandler(handler)
    for _ in range(count):
        log.info("x", extra=EVENT)


def directory_of(secrets: Secrets, path: Path) -> Any:
    """Return a spool directory as a process that starts now sees it."""
    none: Any = dict.fromkeys(("auth_key", "api_key", "datacenter", "endpoint"))
    to = destination(
        **{**none, "proxy": "", "needs_keys": True, "log": print},
        **secrets.arguments,
        environ={},
    )
    return spool_directory(str(path), to, {})


def test_new_keys_are_used_at_once(
    collector: Collector, secrets: Secrets, caplog: pytest.LogCaptureFixture
) -> None:
    """The old keys are refused, the files have new ones: the next POST has them, not in minutes."""
    caplog.set_level(logging.INFO, "fslog")
    handler = make(collector, secrets)
    secrets.write(NEW)
    log_to(handler)
    assert collector.wait_for(1, timeout=30)
    assert handler.flush(10)
    stats = handler.stats()
    assert (stats.delivered, stats.retries) == (1, 1)
    assert [request.status for request in collector.requests] == [400, 200]
    texts = [record.getMessage() for record in caplog.records]
    assert len([text for text in texts if "these are used from now on" in text]) == 1
    assert handler.health().state == "ok"
    log_to(handler)
    assert collector.wait_for(2, timeout=30)
    assert len(collector.requests) == 3
    handler.close()


def test_unchanged_keys_wait_as_before(
    collector: Collector, secrets: Secrets, caplog: pytest.LogCaptureFixture
) -> None:
    """Files without other keys change nothing: one warning, and the next try after a pause."""
    handler = make(collector, secrets)
    log_to(handler)
    assert eventually(lambda: handler.stats().retries == 1)
    assert eventually(lambda: handler._own._parts.listener._retry_at is not None)
    listener = handler._own._parts.listener
    assert listener._retry_at is not None
    assert listener._retry_at - listener._clock() > 500
    assert eventually(lambda: "other keys in the files take effect then" in caplog.text)
    assert handler.health().state == "failing"
    secrets.write(NEW)
    assert handler.flush(10)  # attempts the old ones, and then the new ones
    assert len(collector.requests) == 3
    handler.close()


def test_a_file_that_is_missing_for_a_moment_changes_nothing(
    collector: Collector, secrets: Secrets, caplog: pytest.LogCaptureFixture
) -> None:
    """The keys that were read before stay; the reason names the file."""
    handler = make(collector, secrets)
    shutil.rmtree(secrets.path / "..1")
    log_to(handler)
    assert eventually(lambda: "cannot be read: No such file" in str(handler.stats().last_error))
    assert str(secrets.path / "auth") in str(handler.stats().last_error)
    (secrets.path / "..data").unlink()
    secrets.write(NEW)
    assert handler.flush(10)
    handler.close()


def test_neither_the_old_nor_the_new_keys_are_shown(
    collector: Collector, secrets: Secrets, caplog: pytest.LogCaptureFixture
) -> None:
    """Records of every logger, the numbers and the health of a rotation have no key."""
    everything, root = Everything(), logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in (None, "urllib3", "fslog")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    root.addHandler(everything)
    try:
        handler = make(collector, secrets)
        secrets.write(NEW)
        log_to(handler)
        assert collector.wait_for(1, timeout=30)
        secrets.write(OLD)
        collector.stop()
        log_to(handler)
        handler.flush(1.0)
        shown = "\n".join([*everything.texts, str(handler.stats()), str(handler.health())])
    finally:
        root.removeHandler(everything)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    assert "POST /v1/***/***" in shown
    assert not any(key in shown for key in (*OLD, *NEW))
    collector.start()
    secrets.write(NEW)
    assert handler.flush(10)
    handler.close()


def test_a_spool_is_taken_over(collector: Collector, secrets: Secrets, tmp_path: Path) -> None:
    """After a rotation the directory belongs to the new keys, and so does each owner's file."""
    spool = tmp_path / "spool"
    handler = make(collector, secrets, spool=spool)
    log_to(handler, 3)
    before = directory_of(secrets, spool)
    secrets.write(NEW)
    after = directory_of(secrets, spool)
    assert json.loads((spool / MARKER).read_text())["keys"] == before.digest
    assert handler.flush(10)
    log_to(handler)
    marker = json.loads((spool / MARKER).read_text())
    assert marker == {"format": 1, "keys": after.digest, "files": after.files_digest}
    (owner,) = (spool / OWNERS).iterdir()
    words = owner.read_text().split()
    assert words[0] == after.digest
    assert int(words[1]) > 0  # the claim is as it was
    literal = {"auth_key": NEW[0], "api_key": NEW[1], "endpoint": collector.url}
    FreshsuccessHandler(**literal, spool=spool).close()
    with pytest.raises(ValueError, match="a living process uses it with other keys"):
        FreshsuccessHandler(**{**literal, "auth_key": OLD[0]}, spool=spool)
    assert handler.flush(10)
    handler.close()


def test_processes_of_the_same_files_share_a_spool_during_a_rotation(
    collector: Collector, secrets: Secrets, tmp_path: Path
) -> None:
    """A worker that starts with the new keys is not refused because others have the old ones."""
    spool = tmp_path / "spool"
    old = make(collector, secrets, spool=spool, flush_interval=600)
    log_to(old, 2)
    secrets.write(NEW)
    new = make(collector, secrets, spool=spool)
    log_to(new)
    assert new.flush(10)
    assert old.flush(10)
    assert (old.stats().delivered, new.stats().delivered) == (2, 1)
    old.close()
    new.close()


def test_other_files_are_another_destination(
    collector: Collector, secrets: Secrets, tmp_path: Path
) -> None:
    """Files of another directory, with other keys, are refused while the first ones are in use."""
    spool = tmp_path / "spool"
    first = make(collector, secrets, spool=spool)
    others = Secrets(tmp_path / "others")
    others.write(NEW)
    with pytest.raises(ValueError, match="a living process uses it with other keys"):
        make(collector, others, spool=spool)
    secrets.write(NEW)
    first.close()


def test_what_a_dead_process_left_is_sent_with_the_new_keys(
    collector: Collector,
    secrets: Secrets,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`fslog spool drain` with the files' variables needs no --take-over after a rotation."""
    spool = tmp_path / "spool"
    program = """
        import os, signal, sys, counted
        handler = counted.handle(flush_interval=600)
        counted.say(1)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    variables = {"FSLOG_SPOOL": str(spool), "FSLOG_AUTH_KEY": "", "FSLOG_API_KEY": ""}
    with started(program, collector.url, settings={**variables, **secrets.environment}) as process:
        process.end(30.0)
    secrets.write(NEW)
    monkeypatch.delenv("FSLOG_AUTH_KEY", raising=False)
    monkeypatch.delenv("FSLOG_API_KEY", raising=False)
    for name, value in {**secrets.environment, "FSLOG_ENDPOINT": collector.url}.items():
        monkeypatch.setenv(name, value)
    assert main(["spool", "drain", str(spool)]) == 0
    assert len(collector.events) == 1
    others = Secrets(tmp_path / "others")
    for name, value in others.environment.items():
        monkeypatch.setenv(name, value)
    assert main(["spool", "drain", str(spool)]) == 2
    assert "--take-over" in capsys.readouterr().err


def test_commands_understand_the_variables(
    collector: Collector,
    secrets: Secrets,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`ping`, `send` and `check` find the keys in the files; `check` says where, not what."""
    secrets.write(NEW)
    monkeypatch.delenv("FSLOG_AUTH_KEY", raising=False)
    monkeypatch.delenv("FSLOG_API_KEY", raising=False)
    for name, value in {**secrets.environment, "FSLOG_ENDPOINT": collector.url}.items():
        monkeypatch.setenv(name, value)
    event = {**EVENT, "createdAt": 1_700_000_000_000, "sessionId": "s"}
    (tmp_path / "events.ndjson").write_text(json.dumps(event) + "\n")
    (tmp_path / "logging.json").write_text(
        json.dumps(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "handlers": {"usage": {"class": "fslog.FreshsuccessHandler", "enabled": "yes"}},
                "root": {"handlers": ["usage"], "level": "INFO"},
            }
        )
    )
    assert main(["ping"]) == 0
    assert main(["send", "--quiet", str(tmp_path / "events.ndjson")]) == 0
    assert len(collector.events) == 1
    assert main(["check", str(tmp_path / "logging.json")]) == 0
    said = capsys.readouterr()
    assert "in FSLOG_AUTH_KEY_FILE" in said.out
    assert "in FSLOG_API_KEY_FILE" in said.out
    monkeypatch.setenv("FSLOG_API_KEY", NEW[1])
    assert main(["ping"]) == 2
    assert main(["send", str(tmp_path / "events.ndjson")]) == 2
    assert main(["check", str(tmp_path / "logging.json")]) == 1
    said = capsys.readouterr()
    assert "FSLOG_API_KEY and FSLOG_API_KEY_FILE are both set" in said.err
    monkeypatch.delenv("FSLOG_API_KEY")
    # A key that was pasted as an argument is redacted in the message, also if it is from a file.
    assert main(["ping", "--endpoint", f"https://h/{NEW[0]}?x"]) == 2
    said = capsys.readouterr()
    assert not any(key in said.out + said.err for key in NEW)


def test_a_forked_child_rotates_by_itself(collector: Collector, secrets: Secrets) -> None:
    """A child has the parent's keys from the fork on, and reads the files when it is refused."""
    program = f"""
        import os
        from counted import *
        handler = handle(max_backoff=600)
        for name, key in zip(("AUTH", "API"), {NEW!r}):
            with open(os.environ[f"FSLOG_{{name}}_KEY_FILE"], "w") as file:
                file.write(key)
        child = os.fork()
        say(1 if child else 2)
        assert handler.flush(20)
        if child:
            assert os.waitpid(child, 0)[1] == 0
        """
    variables = {"FSLOG_AUTH_KEY": "", "FSLOG_API_KEY": "", **secrets.environment}
    run(program, collector.url, flags=FORKING, settings=variables, err=None)
    assert sorted(event["number"] for event in collector.events) == [1, 2]
    assert sorted(request.status for request in collector.requests) == [200, 200, 400, 400]
