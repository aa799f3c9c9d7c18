"""One POST → one outcome. Never raises, never follows a redirect, never shows a key.

Connections are kept alive and verified; one request is in flight at a time. Nothing is retried
here: the listener decides that from the outcome.
"""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any

import urllib3

from fslog.interrupts import unless_interrupt
from fslog.net import wire
from fslog.net.connections import Request, Resolve, Stale, manager
from fslog.net.destination import Destination
from fslog.net.redaction import MASK, guard_urllib3, internal_work, printable
from fslog.net.retry import Kind, Outcome, outcome_of

_SHOWN_PATH = wire.events_path(MASK, MASK)

_ZONE = re.compile(r"%[^]]*")
"""The zone of an IPv6 address, which is meaningful only on this machine (RFC 6874 4)."""

_VALIDITY = frozenset({9, 10, 62, 64})
"""OpenSSL's codes (x509_vfy.h): not valid yet, expired, host name mismatch, address mismatch."""


class PingFailed(ConnectionError):
    """The endpoint did not answer a ping with 200.

    Args:
        message: a sentence with the reason.
        kind: `"name"`, `"refused"`, `"timeout"`, `"certificate"` for an untrusted issuer,
            `"validity"` for a certificate of another time or name, `"tls"`, `"busy"` for an answer
            that means to try again later, `"status"` for any other than 200, or `"connection"`.
    """

    def __init__(self, message: str, kind: str = "connection") -> None:
        super().__init__(message)
        self.kind = kind


def tls_context(ca_certs: str | None) -> ssl.SSLContext:
    """Return a context that verifies certificates and host names.

    Args:
        ca_certs: a PEM file, or a directory of hashed ones; None for the system's, which
            `SSL_CERT_FILE` and `SSL_CERT_DIR` can override (OpenSSL).

    Raises:
        ValueError: it cannot be read, or contains no certificate.
    """
    if ca_certs is None:
        return ssl.create_default_context()
    if not ca_certs:
        raise ValueError("ca_certs is empty; expected a PEM file or a directory of certificates")
    try:
        if os.path.isdir(ca_certs):
            return ssl.create_default_context(capath=ca_certs)
        return ssl.create_default_context(cafile=ca_certs)
    except unless_interrupt(OSError, ValueError) as error:
        raise ValueError(
            f"ca_certs is {ca_certs!r}, which cannot be used: {error}; expected a PEM file or a "
            "directory of certificates"
        ) from None


def _addresses(*query: Any) -> Any:
    # The function is looked up at each call, because gevent may patch the module later. The empty
    # context hides the caller's current span from tracers, so that they add no child span to it.
    return Context().run(socket.getaddrinfo, *query)


class Transport:
    """Post bodies to one destination.

    Args:
        destination: the endpoint, keys and proxy.
        ca_certs: as for `tls_context`.
        encoding: the Content-Encoding of the bodies; None for plain ones.
        timeout: seconds for one request: connecting, sending and the complete response.
        now: seconds since the epoch, for Retry-After dates.
        resolve: resolves the addresses of a name, as `socket.getaddrinfo` does.
        tls: a context that `tls_context` made for these certificates; None to make one for the
            first request.
    """

    def __init__(
        self,
        destination: Destination,
        *,
        ca_certs: str | None,
        encoding: str | None,
        timeout: float,
        now: Callable[[], float] = time.time,
        resolve: Resolve = _addresses,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._destination = destination
        self._headers = wire.headers(encoding)
        self._timeout = timeout
        self._now = now
        self._resolve = resolve
        self._ca_certs = ca_certs
        self._tls = tls
        self._made: urllib3.PoolManager | None = None
        guard_urllib3()

    @property
    def _pool(self) -> Any:
        if self._made is None:
            tls = self._tls
            # gevent may have patched ssl since the context was made.
            if type(tls) is not ssl.SSLContext:
                tls = tls_context(self._ca_certs)
            self._made = manager(
                self._destination.proxy_url(),
                num_pools=1,
                maxsize=1,
                ssl_context=tls,
                retries=False,
            )
        return self._made.connection_from_url(self._destination.ping_url())

    def post(self, body: bytes, timeout: float | None = None) -> Outcome:
        """Post one body and return the outcome.

        Args:
            body: in the transport's encoding.
            timeout: seconds, if less than the transport's.
        """
        with internal_work(self._destination.redact):
            try:
                request = self._request(self._destination.events_target, _SHOWN_PATH, body)
                answer = self._pool.post(
                    request,
                    seconds=self._timeout if timeout is None else min(timeout, self._timeout),
                    resolve=self._resolve,
                )
                return outcome_of(answer.status, answer.retry_after, self._now)
            except unless_interrupt(Exception) as error:
                return Outcome(Kind.RETRY, self._reason(error)[1], stale=isinstance(error, Stale))

    def ping(self, see: Callable[[Any], object] | None = None) -> float:
        """Return how many seconds the endpoint took to answer a ping.

        Args:
            see: called with the socket of a new connection as soon as it is usable, TLS included.

        Raises:
            PingFailed: there was no answer, or not 200.
        """
        with internal_work(self._destination.redact):
            began_at = 0.0
            try:
                pool = self._pool
                request = self._request(self._destination.ping_target, wire.PING_PATH, b"")
                began_at = time.monotonic()  # everything is imported by now
                answer = pool.post(request, seconds=self._timeout, resolve=self._resolve, see=see)
                outcome = outcome_of(answer.status, None, self._now)
                kind, reason = "busy" if outcome.kind is Kind.RETRY else "status", outcome.reason
            except unless_interrupt(Exception) as error:
                kind, reason = self._reason(error)
            if reason:
                raise PingFailed(f"{self._destination.host} cannot be reached: {reason}", kind)
            return time.monotonic() - began_at

    def close(self) -> None:
        """Close the kept connections; the next POST opens a new one."""
        if self._made is None:
            return
        # One by one: at exit the finalizers that urllib3 relies on may already have run.
        keys = self._made.pools.keys()
        for key in keys:
            if (pool := self._made.pools.get(key)) is not None:
                pool.close()
        self._made.clear()

    def _request(self, target: Callable[[], str], shown: str, body: bytes) -> Request:
        to = self._destination
        host = _ZONE.sub("", to.host)
        return Request(target, shown, host, self._headers, body, to.is_forwarded())

    def _reason(self, error: Exception) -> tuple[str, str]:
        kind, words = _words(error, self._timeout)
        return kind, printable(self._destination.redact(words))


def _words(error: Exception, timeout: float) -> tuple[str, str]:
    """Return the kind of a failure, as in `PingFailed`, and its description.

    The description names no type of a library, which would not help.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        kind = "validity" if error.verify_code in _VALIDITY else "certificate"
        return kind, f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, socket.gaierror):
        return "name", "its name cannot be resolved"
    if isinstance(error, TimeoutError):
        return "timeout", f"no answer within {timeout:g} s"
    gone = isinstance(error, http.client.RemoteDisconnected)
    if isinstance(error, http.client.HTTPException) and not gone:
        return "status", "the response is not HTTP"  # the error's message may contain anything
    kind = "refused" if isinstance(error, ConnectionRefusedError) else "connection"
    kind = "tls" if isinstance(error, ssl.SSLError) else kind
    if isinstance(error, OSError) and error.strerror:
        return kind, f"{error.strerror[0].lower()}{error.strerror[1:]}"
    return kind, f"{error or type(error).__name__}"
