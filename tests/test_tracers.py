"""Tracers do not see fslog's requests, but still see those of the application.

A tracer changes urllib3 and http.client for the whole process, so each has a process of its own.
None of them sends anything: what it would export is returned as text.
"""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from rawserver import OK, RawServer, answer, read_request
from readme_blocks import environment

AUTH, API = "Zx9Qw7LkAb3RtHj5", "Mn5Yb8Pd2Uv6Cg4W"
MARKS = (b"traceparent", b"tracestate", b"baggage", b"sentry-trace", b"x-datadog", b"newrelic")
"""What begins the name of a header by which a tracer tells who asks."""

PROGRAM = """
import contextlib, json, logging, os, sys, threading
import urllib3

{tracer}

import fslog
from fslog.cli import main

keys = os.environ["FSLOG_AUTH_KEY"], os.environ["FSLOG_API_KEY"]
EVENT = {{"action": "log-in", "accountId": "a", "userId": "u"}}
log = logging.getLogger("app")
log.setLevel("INFO")
logging.getLogger("urllib3").setLevel("DEBUG")
own = urllib3.PoolManager()
with spanning():
    # The listener begins in here, and inherits what a thread may.
    handler = fslog.FreshsuccessHandler(batch_events=1, timeout=5.0)
    log.addHandler(handler)
    log.info("done", extra=EVENT)
    # The endpoint answers when this has arrived: fslog's own request is under way meanwhile.
    own.request("GET", os.environ["OTHER"] + "/of-the-application/1")
    assert fslog.flush(5.0)
    handler.ping()
    assert main(["ping"]) == 0
    assert main(["send", "--quiet", "events.ndjson"]) == 0
    own.request("GET", os.environ["OTHER"] + "/of-the-application/2")
    log.removeHandler(handler)
    handler.close()
print(json.dumps({{"exported": [str(one) for one in finished()]}}))
"""

TRACERS = {
    "opentelemetry.instrumentation.urllib3": """
        from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        memory = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(memory))
        URLLib3Instrumentor().instrument(tracer_provider=provider)
        spanning = lambda: provider.get_tracer("app").start_as_current_span("request")
        finished = lambda: [span.to_json() for span in memory.get_finished_spans()]
    """,
    "sentry_sdk": """
        import sentry_sdk
        from sentry_sdk.integrations.socket import SocketIntegration
        from sentry_sdk.transport import Transport

        envelopes = []
        class Memory(Transport):
            def capture_envelope(self, envelope):
                envelopes.append(envelope)

        sentry_sdk.init(
            dsn="http://public@127.0.0.1:9/1",
            transport=Memory,
            traces_sample_rate=1.0,
            attach_stacktrace=True,
            integrations=[SocketIntegration()],
        )
        @contextlib.contextmanager
        def spanning():
            with sentry_sdk.start_transaction(name="request", op="test"):
                yield
            sentry_sdk.capture_message("with the breadcrumbs")
        finished = lambda: [envelope.serialize().decode() for envelope in envelopes]
    """,
    "elasticapm": """
        import elasticapm
        from elasticapm.transport.base import Transport

        class Memory(Transport):
            seen = []
            def queue(self, event_type, data, flush=False):
                self.seen.append(json.dumps(data, default=str))
            def start_thread(self, pid=None):
                pass
            def close(self):
                pass

        sys.modules["memory"] = sys.modules["__main__"]
        client = elasticapm.Client(
            service_name="app",
            transport_class="memory.Memory",
            cloud_provider="none",
            central_config=False,
            metrics_interval="0ms",
            span_compression_enabled=False,
        )
        elasticapm.instrument()
        @contextlib.contextmanager
        def spanning():
            client.begin_transaction("request")
            yield
            client.end_transaction("request", "ok")
        finished = lambda: Memory.seen
    """,
    "ddtrace": """
        os.environ |= {
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
            "DD_REMOTE_CONFIGURATION_ENABLED": "false",
            "DD_TRACE_AGENT_URL": "http://127.0.0.1:9",
        }
        import ddtrace
        from ddtrace.trace import TraceFilter, tracer

        class Memory(TraceFilter):
            seen = []
            def process_trace(self, trace):
                self.seen.extend(f"{span.name} {span.resource} {span.get_tags()}" for span in trace)
                return None

        ddtrace.config.httplib["distributed_tracing"] = True
        ddtrace.patch(urllib3=True, httplib=True)
        tracer.configure(trace_processors=[Memory()])
        spanning = lambda: tracer.trace("request")
        finished = lambda: Memory.seen
    """,
    "newrelic": """
        os.environ |= {
            "NEW_RELIC_DEVELOPER_MODE": "true",
            "NEW_RELIC_LICENSE_KEY": "0" * 40,
            "NEW_RELIC_DISTRIBUTED_TRACING_ENABLED": "true",
            "NEW_RELIC_LOG": "stderr",
        }
        import newrelic.agent
        newrelic.agent.initialize()
        import newrelic.core.agent
        import newrelic.core.config

        seen = []
        def shown(node):
            named = getattr(node, "url", None) or getattr(node, "name", None)
            yield f"{type(node).__name__} {named} {node}"
            for child in getattr(node, "children", ()):
                yield from shown(child)
        record = newrelic.core.agent.Agent.record_transaction
        def recorded(self, app_name, data):
            seen.extend(shown(data.root))
            return record(self, app_name, data)
        newrelic.core.agent.Agent.record_transaction = recorded
        application = newrelic.agent.register_application(timeout=10.0)
        spanning = lambda: newrelic.agent.BackgroundTask(application, "request")
        finished = lambda: seen
    """,
}


@pytest.mark.slow
@pytest.mark.parametrize("tracer", TRACERS)
def test_a_tracer_sees_the_applications_requests_and_none_of_fslogs(
    tracer: str, tmp_path: Path
) -> None:
    """No span has a key or a request of fslog, and no header reaches the endpoint."""
    package = tracer.partition(".")[0]
    if importlib.util.find_spec(package) is None or importlib.util.find_spec(tracer) is None:
        pytest.skip(f"{tracer} is not installed")
    (tmp_path / "events.ndjson").write_text(
        json.dumps(
            {"accountId": "a", "userId": "u", "sessionId": "s", "action": "x", "createdAt": 1}
        )
        + "\n"
    )
    other = RawServer(answer())

    def held(conn: socket.socket) -> None:
        while request := read_request(conn):
            if AUTH.encode() in request:
                other.wait_for_requests(1)
            conn.sendall(OK)

    with other, RawServer(held) as endpoint:
        program = PROGRAM.format(tracer=textwrap.dedent(TRACERS[tracer]))
        done = child(program, endpoint.url, other.url, tmp_path)
    exported = done["exported"]
    everything = "\n".join(exported)
    assert AUTH not in everything
    assert API not in everything
    assert "/v1/ping" not in everything
    assert f":{other.port}" in everything, "the tracer works"
    # Neither as a parent nor as a child: the endpoint is not part of a trace.
    assert f"{endpoint.port}" not in everything.replace(other.url, "")
    sent = [request for request in endpoint.requests if request.startswith(b"POST /v1/Zx9")]
    assert len(sent) == 2
    assert len(endpoint.requests) == 4
    for request in endpoint.requests:
        head = request.partition(b"\r\n\r\n")[0].lower()
        assert not [mark for mark in MARKS if b"\r\n" + mark in head], head
        assert b"elastic" not in head
    assert len(other.requests) == 2
    for request in other.requests:
        assert any(mark in request.lower() for mark in MARKS), "the application's are traced"


def child(program: str, endpoint: str, other: str, directory: Path) -> Any:
    """Run a program in a new process and return the last facts that it reports."""
    settings = {
        "FSLOG_AUTH_KEY": AUTH,
        "FSLOG_API_KEY": API,
        "FSLOG_ENDPOINT": endpoint,
        "OTHER": other,
        "HOME": str(directory),
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment(settings), "PYTHONWARNINGS": "ignore"},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
