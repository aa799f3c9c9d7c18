"""`Viewer`: one port that serves the endpoint, the page and the API."""

from __future__ import annotations

import importlib.resources
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from fslog.collector import Answer, Collector
from fslog.collector.http import Message
from fslog.plan.plan import Plan
from fslog.version import VERSION
from fslog.viewer.api import PREFIX, Api
from fslog.viewer.history import History, JsonObject
from fslog.viewer.planned import PlanCounts
from fslog.viewer.queries import ApiError, error_answer
from fslog.viewer.recorder import LineFile, Recorder

KEEP = 20_000
"""Default for the number of events to keep."""

KEEP_BYTES = 256 * 1024 * 1024
"""Limit of the memory that these events use."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers of every response of the page and the API."""

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Content types of the page's files by suffix."""

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_FOREIGN_PAGE = "pages of other sites may not send this request: open the viewer's own page"
_STATIC = "/static/"
_ALIASES = {"/": f"{_STATIC}index.html", "/favicon.ico": f"{_STATIC}icon.svg"}


class Viewer:
    """Show events as they arrive; a context manager.

    Requests to any path outside of the page and the API go to the endpoint.

    Args:
        host: IPv4 address or host name to listen on.
        port: TCP port; 0 selects a free one.
        keep: maximum number of events to keep; fewer if they would exceed `KEEP_BYTES`.
        store: path of a file to which every line is appended; None for no file.
        allow_hosts: further names (`name` or `name:port`) under which browsers may request the
            page, in addition to `host` and the loopback names.
        plan: a tracking plan: what is not as planned has a warning, and coverage is counted.
        warn: called with a sentence for each error while the viewer runs.

    Raises:
        OSError: `store` cannot be opened for writing.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        keep: int = KEEP,
        store: str | None = None,
        allow_hosts: Iterable[str] = (),
        plan: Plan | None = None,
        warn: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._warn = warn
        self._names = (host, *allow_hosts)
        self._access: AccessPolicy | None = None
        self._ready = threading.Event()
        self._run = secrets.token_hex(8)
        self._files = static_files()
        self._history = History(keep, KEEP_BYTES)
        self._line_file = LineFile(store, warn) if store is not None else None
        write = self._line_file.append if self._line_file else None
        self._planned = None if plan is None else PlanCounts(plan)
        recorder = Recorder(self._history, write, plan, self._planned)
        self.collector: Collector = Collector(
            host, port, keep=0, on_intake=recorder, route=self._route
        )
        self._api = Api(self._history, self.collector, self._hello, self._planned)

    @property
    def url(self) -> str:
        """Return the base URL of the endpoint; the page is at the same URL plus a slash."""
        return self.collector.url

    @property
    def missing(self) -> int:
        """Return the number of lines that could not be written to `store`."""
        return self._line_file.missing if self._line_file else 0

    def start(self) -> None:
        """Start listening.

        Raises:
            OSError: the address is not available.
        """
        self.collector.start()
        self._access = AccessPolicy(self._names, int(self.url.rpartition(":")[2]))
        self._ready.set()

    def stop(self) -> None:
        """End all streams and waits, close all connections, and join all threads."""
        self._ready.set()
        self._history.close()
        try:
            self.collector.stop()
        finally:
            if self._line_file is not None:
                self._line_file.close()

    def __enter__(self) -> Viewer:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _hello(self) -> JsonObject:
        return {
            "run": self._run,
            "version": VERSION,
            "endpoint": self.url,
            "keep": self._history.keep,
            "plan": None if self._planned is None else self._planned.source,
        }

    def _route(self, message: Message) -> Answer | None:
        path = message.target.partition("?")[0]
        if path in _ALIASES and message.method in ("GET", "HEAD"):
            path = _ALIASES[path]
        elif not path.startswith((PREFIX, _STATIC)):
            return None
        found = self._answer(message, path)
        return replace(found, headers={**dict(found.headers), **HEADERS})

    def _answer(self, message: Message, path: str) -> Answer:
        self._ready.wait()
        try:
            if self._access is None:
                raise ApiError(503, "the viewer has been stopped")
            if reason := self._access.refusal(message):
                raise ApiError(403, reason)
            return self._api(message) if path.startswith(PREFIX) else self._file(message, path)
        except ApiError as error:
            return error_answer(error)
        except Exception as error:  # one failed request must not end the viewer
            self._warn(f"{path[:60]} failed: {type(error).__name__}: {error}")
            return error_answer(ApiError(500, f"the viewer failed: {type(error).__name__}"))

    def _file(self, message: Message, path: str) -> Answer:
        if message.method not in ("GET", "HEAD"):
            raise ApiError(405, "expected GET or HEAD", {"Allow": "GET, HEAD"})
        body = self._files.get(path.removeprefix(_STATIC))
        if body is None:
            raise ApiError(404, "there is no such file")
        kind = CONTENT_TYPES[os.path.splitext(path)[1]]
        return Answer(headers={"Content-Type": kind, "Cache-Control": "no-cache"}, body=body)


def static_files() -> Mapping[str, bytes]:
    """Return the page's files by name.

    They are read once: a request's path is only ever a key of this table, never a path on disk.

    >>> "main.js" in static_files()
    True
    """
    return {
        item.name: item.read_bytes()
        for item in importlib.resources.files("fslog.viewer").joinpath("static").iterdir()
        if os.path.splitext(item.name)[1] in CONTENT_TYPES and item.is_file()
    }


class AccessPolicy:
    """Restrict the page and the API to this machine's user.

    Any site can make a browser send requests here, and must neither read events nor make the
    endpoint fail. The `Host` header reveals a foreign name that resolves to this machine (DNS
    rebinding); `Origin` and `Sec-Fetch-Site` (Fetch standard) reveal a request of a foreign page.

    Args:
        names: host names of the page, in addition to the loopback names.
        port: the viewer's port.
    """

    def __init__(self, names: Iterable[str], port: int) -> None:
        hosts = {name.lower() for name in (*_LOOPBACK, *names) if name}
        self._hosts = hosts | {f"{host}:{port}" for host in hosts}

    def refusal(self, message: Message) -> str:
        """Return why a request is refused, `""` if it is allowed."""
        headers = message.headers
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            return (
                "the Host header is not allowed: open the page at the address that the viewer "
                "printed, or start the viewer with --allow-host NAME"
            )
        site = headers.get("sec-fetch-site", "none").lower()
        is_foreign = site not in ("none", "same-origin") and not _is_navigation(message)
        if is_foreign or headers.get("origin", "").lower() not in ("", f"http://{host}"):
            return _FOREIGN_PAGE
        return ""


def _is_navigation(message: Message) -> bool:
    """Return whether the request follows a link to the page itself."""
    headers = message.headers
    return (
        message.method == "GET"
        and message.target.partition("?")[0] == "/"
        and headers.get("sec-fetch-mode", "").lower() == "navigate"
        and headers.get("sec-fetch-dest", "").lower() == "document"
    )
