"""Processes without keys: they run, send nothing, and report once that fslog is off."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fslog.collector import Collector
from processes import FORKING, KEYS, numbers, run

pytestmark = pytest.mark.usefixtures("measured")

BARE = {"FSLOG_AUTH_KEY": "", "FSLOG_API_KEY": " "}
"""As a compose file passes variables that are not set."""

OFF = (
    "fslog is off: FSLOG_AUTH_KEY and FSLOG_API_KEY are not set; FSLOG_ENABLED=yes makes this an "
    "error"
)

CONFIGURED = """
    import logging.config
    import os
    import threading
    from counted import *

    def configure(**settings):
        logging.config.dictConfig({
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"usage": {"class": "fslog.FreshsuccessHandler", **settings}},
            "root": {"handlers": ["usage"], "level": "INFO"},
        })
    """


def test_a_thousand_events_without_keys() -> None:
    """The log calls work, no thread starts, nothing is sent, and stderr has one line."""
    program = f"""{CONFIGURED}
    configure()
    for number in range(1_000):
        say(number)
    (handler,) = logging.getLogger().handlers
    assert handler.flush() is True
    assert threading.enumerate() == [threading.main_thread()]
    assert handler.stats().emitted == 0
    """
    with Collector() as collector:
        run(program, collector.url, settings=BARE, err=f"{OFF}\n")
        assert collector.requests == []


@pytest.mark.slow
def test_the_notice_is_a_warning_on_the_logger_fslog() -> None:
    """Where logging is configured the notice is a record, not a line on stderr."""
    program = f"""{CONFIGURED}
    logging.basicConfig(stream=sys.stdout, format='{{"%(levelname)s": "%(name)s %(message)s"}}')
    configure()
    """
    ended = run(program, "", settings=BARE)
    assert ended.facts == {"WARNING": f"fslog {OFF}"}


@pytest.mark.slow
def test_the_notice_is_made_once() -> None:
    """Neither a second dictConfig, another handler nor a forked child repeats it."""
    program = f"""{CONFIGURED}
    configure()
    configure()
    handle()
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
    configure()
    say(1)
    """
    run(program, "", settings=BARE, flags=FORKING, err=f"{OFF}\n")


@pytest.mark.slow
def test_a_parent_without_handlers_whose_children_have_no_keys() -> None:
    """Each process that creates its own handler reports, as a server's workers do."""
    program = f"""{CONFIGURED}
    import fslog.handler
    for _ in range(2):
        if not (child := os.fork()):
            configure()
            sys.exit()
        assert os.waitpid(child, 0)[1] == 0
    """
    run(program, "", settings=BARE, flags=FORKING, err=f"{OFF}\n" * 2)


@pytest.mark.slow
def test_a_handler_that_is_disabled_on_purpose_reports_nothing() -> None:
    """With FSLOG_ENABLED=no stderr stays empty."""
    settings = {**BARE, "FSLOG_ENABLED": "no"}
    run(f"{CONFIGURED}\n    configure()\n    say(1)", "", settings=settings)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"FSLOG_ENABLED": "yes"}, "auth_key is missing: give it as an argument or in FSLOG_AUTH"),
        ({"FSLOG_AUTH_KEY": KEYS[0]}, "api_key is missing, although auth_key is set"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ({"FSLOG_API_KEY": KEYS[1]}, "auth_key is missing, although api_key is set"),
                (
                    {"FSLOG_ENABLED": "perhaps"},
                    "FSLOG_ENABLED is 'perhaps'; expected one of",
                ),
                ({"FSLOG_ENDPOINT": "http://example.com"}, "endpoint is plain http to example"),
            )
        ),
    ],
)
def test_a_wrong_environment_stops_the_application(settings: dict[str, str], error: str) -> None:
    """Keys that are demanded or half there, and all other values, are checked at the start."""
    program = f"{CONFIGURED}\n    configure()"
    ended = run(program, "", settings={**BARE, **settings}, code=1, err=None)
    assert f"ValueError: {error}" in ended.err


@pytest.mark.slow
def test_events_that_wait_in_a_spool(tmp_path: Path) -> None:
    """Without keys the spool is not changed; the notice says that events wait in it."""
    spool = tmp_path / "spool"
    program = f"""{CONFIGURED}
    configure(spool={str(spool)!r}, shutdown_timeout=0)
    say(int(sys.argv[1]))
    logging.getLogger("fslog").disabled = True  # at exit events still wait
    """

    def files() -> dict[str, tuple[int, int, bytes]]:
        found = [path for path in spool.rglob("*") if path.is_file()]
        assert {path.parent for path in found} <= {spool, spool / "owners"}
        return {
            str(path): (path.stat().st_mtime_ns, path.stat().st_ino, path.read_bytes())
            for path in found
        }

    run(program, "", settings=BARE, arguments=["0"], err=f"{OFF}\n")
    assert not os.path.lexists(spool)
    run(program, "http://127.0.0.1:9", arguments=["1"], err=None)
    before = files()
    assert any(b'"number":1' in text for _, _, text in before.values())
    waiting = OFF.replace("not set;", f"not set, and events wait in the spool {str(spool)!r};")
    run(program, "", settings=BARE, arguments=["2"], err=f"{waiting}\n")
    assert files() == before
    with Collector() as collector:
        run(
            f"{program}\n    assert logging.getLogger().handlers[0].flush(20)",
            collector.url,
            arguments=["3"],
            err=None,
        )
        assert numbers(collector) == [1, 3]
