"""`Viewer`: the endpoint, what it was sent, and on the same port the page and the API."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import TracebackType

from fslog.collector import Answer, Collector
from fslog.collector.httpserver import Message
from fslog.version import VERSION
from fslog.viewer import assets
from fslog.viewer.api import PREFIX, Api
from fslog.viewer.arrivals import Arrivals
from fslog.viewer.guard import HEADERS, Guard
from fslog.viewer.journal import Journal
from fslog.viewer.queries import Refused, refusal
from fslog.viewer.store import Facts, Store

KEEP = 20_000
"""How many events are kept, unless somebody says otherwise."""

KEEP_BYTES = 256 * 1024 * 1024
"""How much memory they may take."""

_STATIC = "/static/"
_NAMED = {"/": f"{_STATIC}{assets.PAGE}", "/favicon.ico": f"{_STATIC}{assets.ICON}"}


class Viewer:
    """Watch events arrive; a context manager.

    A request to any other path than those of page and API is one to the endpoint, wrong ones too.

    Args:
        host: IPv4 address or name to listen on.
        port: 0 takes a free one.
        keep: how many events are kept at most; fewer where they take `KEEP_BYTES`.
        store: path of a file that every line is appended to; None for none.
        allow_hosts: names, or names with a port, by which the page may be called beside `host` and
            the loopback's.
        say: told in a sentence what went wrong while it runs.

    Raises:
        OSError: `store` cannot be written.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        keep: int = KEEP,
        store: str | None = None,
        allow_hosts: Iterable[str] = (),
        say: Callable[[str], None] = lambda words: None,
    ) -> None:
        self._say = say
        self._names = (host, *allow_hosts)
        self._guard: Guard | None = None
        self._ready = threading.Event()
        self._run = secrets.token_hex(8)
        self._assets = assets.load()
        self._store = Store(keep, KEEP_BYTES)
        self._journal = Journal(store, say) if store is not None else None
        arrivals = Arrivals(self._store, self._journal.append if self._journal else None)
        self.collector = Collector(host, port, keep=0, on_intake=arrivals, route=self._route)
        self._api = Api(self._store, self.collector, self._hello)

    @property
    def url(self) -> str:
        """Return the base URL: that of the endpoint, and with a slash behind it of the page."""
        return self.collector.url

    @property
    def missing(self) -> int:
        """Return how many lines `store` lacks because they could not be written."""
        return self._journal.missing if self._journal else 0

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be had.
        """
        self.collector.start()
        self._guard = Guard(self._names, int(self.url.rpartition(":")[2]))
        self._ready.set()

    def stop(self) -> None:
        """End streams and waits, close every connection, join every thread."""
        self._ready.set()
        self._store.close()
        try:
            self.collector.stop()
        finally:
            if self._journal is not None:
                self._journal.close()

    def __enter__(self) -> Viewer:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _hello(self) -> Facts:
        return {
            "run": self._run,
            "version": VERSION,
            "endpoint": self.url,
            "keep": self._store.keep,
        }

    def _route(self, message: Message) -> Answer | None:
        path = message.target.partition("?")[0]
        if path in _NAMED and message.method in ("GET", "HEAD"):
            path = _NAMED[path]
        elif not path.startswith((PREFIX, _STATIC)):
            return None
        found = self._answer(message, path)
        return replace(found, headers={**dict(found.headers), **HEADERS})

    def _answer(self, message: Message, path: str) -> Answer:
        self._ready.wait()
        try:
            if self._guard is None:
                raise Refused(503, "the viewer has been stopped")
            if why := self._guard.refusal(message):
                raise Refused(403, why)
            return self._api(message) if path.startswith(PREFIX) else self._asset(message, path)
        except Refused as refused:
            return refusal(refused)
        except Exception as error:  # one answer that fails is no reason to end
            self._say(f"{path[:60]} failed: {type(error).__name__}: {error}")
            return refusal(Refused(500, f"the viewer failed: {type(error).__name__}"))

    def _asset(self, message: Message, path: str) -> Answer:
        if message.method not in ("GET", "HEAD"):
            raise Refused(405, "expected GET or HEAD", {"Allow": "GET, HEAD"})
        asset = self._assets.get(path.removeprefix(_STATIC))
        if asset is None:
            raise Refused(404, "there is no such file")
        return Answer(
            headers={"Content-Type": asset.kind, "Cache-Control": "no-cache"}, body=asset.body
        )
