"""A handler in one process: threads, connections, flush, close, and fslog's own records."""

from __future__ import annotations

import http.server
import ssl
import threading
from pathlib import Path

import pytest

from fslog.collector import Answer, Collector
from needs import slow_but
from processes import KEYS, numbers, run, said

pytestmark = pytest.mark.usefixtures("measured")

THREADS = """
    import threading
    from counted import *
    def threads():
        return [thread for thread in threading.enumerate() if thread.name == "fslog"]
    """


def test_the_thread_starts_with_the_first_event_and_ends_with_close() -> None:
    """There is no thread before the first event, one until `close`, none afterwards."""
    program = f"""{THREADS}
    handler = handle()
    logging.getLogger("app").info("no event")
    assert threads() == []
    for number in range(3):
        say(number)
        assert handler.flush(10)
        (thread,) = threads()
        assert thread.daemon
        handler.close()
        thread.join(10)
        assert threads() == []
        assert handler.stats().delivered == number + 1
    """
    with Collector() as collector:
        run(program, collector.url)
        assert numbers(collector) == [0, 1, 2]


def test_close_leaves_no_socket_open() -> None:
    """When the thread of a closed handler has ended, its connection is closed too."""
    program = f"""{THREADS}
    import os
    def sockets():
        links = []
        for name in os.listdir("/proc/self/fd"):
            try:
                links.append(os.readlink(f"/proc/self/fd/{{name}}"))
            except FileNotFoundError:
                pass  # the listing's own
        return [link for link in links if link.startswith("socket:")]
    before = sockets()
    handler = handle()
    say(1)
    assert handler.flush(10)
    assert len(sockets()) == len(before) + 1
    handler.close()
    for thread in threads():
        thread.join(10)
    assert sockets() == before
    """
    with Collector() as collector:
        run(program, collector.url)


def test_flush_returns_whether_all_is_delivered() -> None:
    """True if all that was held is delivered, False at the timeout; 0 does not wait."""
    program = """
        from counted import *
        handler = handle(max_backoff=60)
        assert handler.flush() is True
        assert handler.flush(0) is True
        say(1)
        assert handler.flush(10) is True
        assert handler.flush(0) is True
        say(2)
        began_at = time.monotonic()
        assert handler.flush(0) is False
        assert time.monotonic() - began_at < 1
        began_at = time.monotonic()
        assert handler.flush(0.3) is False
        assert 0.25 < time.monotonic() - began_at < 1.5
        # The try that began then is answered in the end.
        assert handler.flush(10) is True
        """
    with Collector() as collector:
        collector.script(Answer(200), Answer(delay=1.2))
        run(program, collector.url)
        assert numbers(collector) == [1, 2]


@pytest.mark.parametrize(
    "trouble",
    [
        Answer(503, headers={"Retry-After": "600"}),
        pytest.param(Answer(503), marks=pytest.mark.slow),
        pytest.param(Answer(400), marks=pytest.mark.slow),
        pytest.param(Answer(then="close"), marks=pytest.mark.slow),
    ],
)
def test_flush_tries_at_once_whatever_the_pause(trouble: Answer) -> None:
    """After a failure with a long pause before the next try, `flush` tries now."""
    program = """
        from counted import *
        handler = handle(max_backoff=600, flush_interval=0.05)
        say(1)
        while not handler.stats().retries:
            threading.Event().wait(0.01)
        assert handler.flush(10) is True
        """.replace("from counted", "import threading\n        from counted")
    with Collector() as collector:
        collector.script(trouble)
        run(program, collector.url, err=None)
        assert numbers(collector) == [1]


def test_flush_in_vain_returns_early() -> None:
    """If the next try is after the deadline, `flush` does not wait for the deadline."""
    program = """
        from counted import *
        handler = handle(shutdown_timeout=0.1)
        say(1)
        began_at = time.monotonic()
        assert handler.flush(30) is False
        tell(seconds=time.monotonic() - began_at)
        """
    with Collector() as collector:
        collector.always(Answer(503, headers={"Retry-After": "120"}))
        ended = run(program, collector.url, err=None)
        assert ended.facts["seconds"] < 2.0


def test_flush_under_loggings_lock_does_not_wait() -> None:
    """If the caller holds `logging._lock`, `flush` and `close` return at once."""
    program = """
        from counted import *
        handler = handle()
        say(1)
        with logging._lock:
            began_at = time.monotonic()
            assert handler.flush(20) is False
            handler.close()
            assert time.monotonic() - began_at < 1
        assert handler.flush(20) is True
        with logging._lock:
            assert handler.flush(20) is True
        """
    with Collector() as collector:
        collector.script(Answer(delay=0.7))
        run(program, collector.url)
        assert numbers(collector) == [1]


def test_flush_from_the_listeners_own_records_does_not_wait() -> None:
    """An application's handler that flushes on a notice of `fslog` does not block."""
    program = """
        import fslog
        from counted import *
        class Eager(logging.Handler):
            def emit(self, record):
                began_at = time.monotonic()
                done = handler.flush(20)
                fslog.flush(20)
                handler.close()
                tell(done=done, seconds=time.monotonic() - began_at, text=record.getMessage())
        logging.getLogger("fslog").addHandler(Eager())
        handler = handle(max_backoff=0.05)
        say(1)
        assert handler.flush(10) is True
        """
    with Collector() as collector:
        collector.script(Answer(503))
        facts = run(program, collector.url).facts
        assert "503" in facts["text"]
        assert facts["done"] is False
        assert facts["seconds"] < 1.0
        assert numbers(collector) == [1]


def test_fslog_flush_covers_every_handler_within_one_deadline() -> None:
    """`fslog.flush` waits for all handlers at the same time, and returns whether all succeeded."""
    program = """
        import fslog
        from counted import *
        loggers = [logging.getLogger(f"app.{n}") for n in range(4)]
        for number, logger in enumerate(loggers):
            handle(logger, shutdown_timeout=0.1)
            say(number, logger=logger)
        assert fslog.flush(10) is True
        assert fslog.flush() is True
        for number, logger in enumerate(loggers):
            say(number + 4, logger=logger)
        began_at = time.monotonic()
        assert fslog.flush(0.5) is False
        tell(seconds=time.monotonic() - began_at)
        """
    with Collector() as collector:
        collector.script(*[Answer(200)] * 4)
        collector.always(Answer(then="hang"))
        ended = run(program, collector.url, err=None)
        assert sorted(numbers(collector)) == [0, 1, 2, 3]
        assert 0.45 < ended.facts["seconds"] < 2.0


def test_an_idle_handler_does_not_wake_up() -> None:
    """The thread of a handler that has nothing to do sleeps until there is something."""
    program = f"""{THREADS}
    handler = handle(flush_interval=0.05, max_backoff=0.05)
    say(1)
    assert handler.flush(10)
    (thread,) = threads()
    def switches():
        with open(f"/proc/self/task/{{thread.native_id}}/status") as status:
            lines = dict(line.split(":") for line in status if "switches" in line)
        return sum(int(count) for count in lines.values())
    seen = None
    while seen != (seen := switches()):
        threading.Event().wait(0.1)
    threading.Event().wait(1.0)
    tell(wakeups=switches() - seen)
    """
    with Collector() as collector:
        assert run(program, collector.url).facts["wakeups"] <= 1


FEEDBACK = """
    import io
    from counted import *
    shown = io.StringIO()
    root = logging.getLogger()
    root.setLevel("DEBUG")
    root.addHandler(logging.StreamHandler(shown))
    everything = {
        "when": {"logger": ""},
        "event": {"action": "anything", "source": "{name}", "number": "{lineno}"},
    }
    handler = handle(
        root, rules=[everything], flush_interval=0.01, max_backoff=0.1,
        defaults={"accountId": "a", "userId": "u"}, SETTINGS
    )
    """


@pytest.mark.parametrize(
    "trouble",
    [
        Answer(503),
        pytest.param(None, marks=pytest.mark.slow),
        pytest.param(Answer(400), marks=pytest.mark.slow),
        pytest.param(Answer(then="close"), marks=pytest.mark.slow),
    ],
)
def test_its_own_records_never_become_events(trouble: Answer | None) -> None:
    """On the root logger at DEBUG, with a rule for every record, one log call makes one event."""
    program = (
        FEEDBACK.replace("SETTINGS", "shutdown_timeout=0.2")
        + """
    import threading
    say(1)
    quiet = threading.Event()
    for turn in range(10):
        handler.flush(0.05)
        quiet.wait(0.05)
    # They were made, and shown to whom they may concern.
    assert "connection" in shown.getvalue().lower()
    assert handler.stats().emitted == 1, handler.stats()
    """
    )
    with Collector() as collector:
        collector.always(trouble)
        ended = run(program, collector.url, err=None)
        assert numbers(collector) == ([1] if trouble is None else [])
        assert ended.err.count("abandoned ") == (0 if trouble is None else 1)
        assert len(collector.requests) <= (1 if trouble is None else 60)


def test_urllib3_records_of_the_application_are_events() -> None:
    """Records that urllib3 makes for the application are events if a rule matches."""
    program = (
        FEEDBACK.replace("SETTINGS", "")
        + """
    import os
    import urllib3
    with urllib3.PoolManager() as pool:
        assert pool.request("POST", os.environ["FSLOG_ENDPOINT"] + "/v1/ping").status == 200
    assert handler.stats().accepted > 0
    """
    )
    with Collector() as collector:
        run(program, collector.url)
        sources = {event["source"] for event in collector.events}
        assert sources == {"urllib3.connectionpool"}
        assert 1 <= len(collector.events) <= 3


LATE = """
    from counted import *
    handler = handle(SETTINGS)
    before = set(sys.modules)
    for number in range(4):
        say(number, odd={float("nan"), object}, text=chr(0xd800))
    say(4, createdAt="never")
    handler.flush(10)
    handler.close()
    handler.stats()
    late = sorted(set(sys.modules) - before)
    assert late == [], late
"""

LATE_SETTINGS = {
    "200": ("", None),
    "gzip": ("compression='gzip'", None),
    "plain": ("compression=None", None),
    "503": ("max_backoff=0.01", Answer(503, headers={"Retry-After": "0"})),
    "a date": (
        "max_backoff=0.01",
        Answer(503, headers={"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}),
    ),
    "413": ("", Answer(413)),
    "close": ("max_backoff=0.01", Answer(then="close")),
    "redirect": ("max_backoff=0.01", Answer(302, headers={"Location": "http://127.0.0.1:1/"})),
}


@pytest.mark.parametrize(
    "case",
    [pytest.param(name, marks=[pytest.mark.slow] * (name != "redirect")) for name in LATE_SETTINGS],
)
def test_nothing_is_imported_after_the_handler_is_built(case: str) -> None:
    """Logging, delivering, failing and closing import nothing more than the construction."""
    settings, answer = LATE_SETTINGS[case]
    with Collector() as collector:
        if answer is not None:
            collector.script(answer)
        run(LATE.replace("SETTINGS", settings), collector.url, err=None)
        assert numbers(collector) == [0, 1, 2, 3]


class _Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.mark.parametrize(
    "ending", slow_but([""], ["", "handler.close()", "log.handlers.clear(); del handler"])
)
def test_over_tls_too(ending: str, tmp_path: Path) -> None:
    """Over https nothing is imported later either, and no socket is open at exit."""
    authority = pytest.importorskip("trustme").CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    program = LATE.replace("SETTINGS", f"ca_certs={str(tmp_path / 'ca.pem')!r}") + f"    {ending}\n"
    with http.server.HTTPServer(("127.0.0.1", 0), _Receiver) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            told = "    assert handler.stats().delivered == 4\n"
            program = program.replace("    handler.close()\n    handler.stats()\n", told, 1)
            run(program, f"https://localhost:{server.server_port}", err=None)
        finally:
            server.shutdown()
            thread.join()


def test_invalid_and_refused_events_keep_the_balance() -> None:
    """Skipped, invalid, refused and accepted add up while an outage fills the buffer."""
    program = """
        from counted import *
        handler = handle(buffer_bytes=2000, batch_events=3, shutdown_timeout=0.2, compression=None)
        for number in range(50):
            say(number)
            log.info("no event")
            say(number, userId="")
        stats = handler.stats()
        assert stats.emitted == 150 and stats.skipped == stats.invalid == 50
        assert stats.accepted + stats.refused == 50 and stats.refused > 20
        balance(handler)
        """
    with Collector() as collector:
        collector.always(Answer(503))
        ended = run(program, collector.url, err=None)
    # One line for each change of state and each kind of problem, not for each event.
    assert len(ended.err.splitlines()) <= 5


def test_no_output_of_a_process_has_a_key() -> None:
    """With everything at DEBUG on stderr, and failures of each kind, no key appears."""
    program = """
        import http.client
        from counted import *
        logging.basicConfig(level="DEBUG")
        http.client.HTTPConnection.debuglevel = 1
        handler = handle(shutdown_timeout=0.5, max_backoff=0.01)
        say(1)
        handler.flush(5)
        print(repr(handler), handler.__dict__, handler.stats(), file=sys.stderr)
        """
    with Collector() as collector:
        collector.script(Answer(503), Answer(then="close"), Answer(302), Answer(400))
        ended = run(program, collector.url, err=None)  # searches all of its output for the keys
        assert "POST" in ended.err
        assert not any(key in ended.err for key in KEYS)
        assert said(collector) == [("main", 1)]
