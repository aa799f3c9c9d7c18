"""What AWS Lambda serves to a runtime, on this machine."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fslog.collector import Collector

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:shop"


class RuntimeApi(ThreadingHTTPServer):
    """What Lambda serves to a runtime: the events, one after the other; then it is frozen.

    A context manager: it serves until the end of the block.
    """

    daemon_threads = True

    def __init__(self, events: list[Any], collector: Collector) -> None:
        super().__init__(("127.0.0.1", 0), _Api)
        self.waiting = list(enumerate(events))
        self.collector = collector
        self.answers: list[tuple[str, Any, int]] = []
        """What each invocation ends with, and how many events had arrived then."""
        self.is_frozen = threading.Event()
        self._serving = threading.Thread(target=self.serve_forever, args=(0.01,))

    def __enter__(self) -> RuntimeApi:
        self._serving.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()
        self._serving.join()

    @property
    def address(self) -> str:
        """Return what `AWS_LAMBDA_RUNTIME_API` is in the runtime's environment."""
        return f"127.0.0.1:{self.server_address[1]}"


class _Api(BaseHTTPRequestHandler):
    server: RuntimeApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if not self.server.waiting:
            self.server.is_frozen.set()
            threading.Event().wait(60)
            return
        number, event = self.server.waiting.pop(0)
        headers = {
            "Lambda-Runtime-Aws-Request-Id": str(number),
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + 60) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": ARN,
            "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
            "Content-Type": "application/json",
        }
        self.respond(200, headers, json.dumps(event).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind = self.path.rpartition("/")[2]
        self.server.answers.append((kind, body, len(self.server.collector.events)))
        if "init" in self.path:
            self.server.is_frozen.set()
        self.respond(202, {}, b"{}")

    def respond(self, code: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass
