"""The destination of events: data center or endpoint, keys, and proxy.

Everything is checked here, at configuration time. Nothing here shows a key, neither `repr` nor an
error, even if a key was given as the wrong argument.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import logging
import os
import re
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from fslog import config
from fslog.interrupts import unless_interrupt
from fslog.net import wire
from fslog.net.keys import NAMES, find_key, read_key_file, variable_of
from fslog.net.redaction import LEAST_LENGTH, Redactor, internal_work

DATACENTERS = {
    "us": "https://events-us.freshsuccess.com",
    "eu": "https://events-eu.freshsuccess.com",
}

_LONGEST_WORD = 12
"""A value longer than any data center's name may be a key, and is not shown."""

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")

_mentioned: set[str] = set()
"""The keys, by name, that this process has already reported as too short."""


class Destination:
    """The base URL, the keys and the proxy of an endpoint; its repr shows the host only.

    Args:
        base: scheme, host, port and path prefix, checked by `endpoint_url`.
        auth_key, api_key: checked by `find_key`; None for a disabled handler.
        proxy: the proxy's URL; None for a direct connection.
        key_files: the paths of the files with the two keys; None for one that was given itself.
    """

    def __init__(
        self,
        base: str,
        auth_key: str | None,
        api_key: str | None,
        proxy: str | None = None,
        key_files: tuple[str | None, str | None] = (None, None),
    ) -> None:
        parts = urlsplit(base)
        self._base = base
        self._keys = (auth_key, api_key)
        self._key_files = key_files
        self._proxy = proxy
        self.host: str = parts.netloc
        self.redact: Redactor = Redactor(auth_key, api_key, *_credentials(proxy))

    def is_reached_as(self, other: Destination) -> bool:
        """Return whether endpoint, keys and proxy are the same."""
        mine = (self._base, self._key_sources(), self._proxy)
        return mine == (other._base, other._key_sources(), other._proxy)

    def _key_sources(self) -> list[tuple[bool, str | None]]:
        """Return where each key is from: of two handlers, one may have read a new one already."""
        both = zip(self._keys, self._key_files, strict=True)
        return [(path is not None, value if path is None else path) for value, path in both]

    def has_key_files(self) -> bool:
        """Return whether `reread_keys` may find other keys."""
        return any(self._key_files)

    def reread_keys(self) -> bool:
        """Read the keys that are from files again, and use them from now on.

        Returns:
            Whether one has changed. The old ones are still redacted.

        Raises:
            ValueError: a file cannot be read; both keys are as before.
        """
        found = tuple(
            value if path is None else read_key_file(f"{name}_file", path)
            for name, value, path in zip(NAMES, self._keys, self._key_files, strict=True)
        )
        if found == self._keys:
            return False
        self.redact.add(*found)  # before any of them is used
        auth_key, api_key = found
        self._keys = (auth_key, api_key)
        return True

    def has_keys(self) -> bool:
        """Return whether events can be posted."""
        return None not in self._keys

    def events_url(self) -> str:
        """Return the URL to post events to: a secret."""
        auth_key, api_key = self._keys
        if auth_key is None or api_key is None:
            raise RuntimeError("events cannot be posted to a destination without keys")
        return self._base + wire.events_path(auth_key, api_key)

    def keys_digest(self) -> str:
        """Return a digest that identifies the pair of keys without revealing them."""
        auth_key, api_key = (key or "" for key in self._keys)
        text = f"{len(auth_key)}:{auth_key}{api_key}".encode()
        return hashlib.blake2b(text, digest_size=16, person=b"fslog spool keys").hexdigest()

    def files_digest(self) -> str:
        """Return a digest that identifies the files of the keys; empty if there are none.

        It stays the same when other keys are in the files: the directory does, also if the files
        are replaced, as Kubernetes does it. Of a key that was given itself, it depends on the key.
        """
        sources = []
        for value, path in zip(self._keys, self._key_files, strict=True):
            if path is None:
                sources.append(f"{value}")
                continue
            try:
                found = os.stat(os.path.dirname(os.path.abspath(path)))
            except unless_interrupt(OSError, ValueError):
                return ""
            sources.append(f"{found.st_dev} {found.st_ino} {os.path.basename(path)}")
        if not self.has_key_files():
            return ""
        text = "".join(f"{len(source)}:{source}" for source in sources).encode("utf-8", "replace")
        return hashlib.blake2b(text, digest_size=16, person=b"fslog key files").hexdigest()

    def ping_url(self) -> str:
        """Return the URL of a ping; it contains no key."""
        return self._base + wire.PING_PATH

    def is_forwarded(self) -> bool:
        """Return whether a proxy forwards requests itself, instead of opening a tunnel."""
        return self._proxy is not None and urlsplit(self._base).scheme == "http"

    def events_target(self) -> str:
        """Return the request target of events: a secret."""
        return self._target(self.events_url())

    def ping_target(self) -> str:
        """Return the request target of a ping; it contains no key."""
        return self._target(self.ping_url())

    def _target(self, url: str) -> str:
        return url if self.is_forwarded() else urlsplit(url).path

    def proxy_url(self) -> str | None:
        """Return the proxy's URL, which may contain a password; None for a direct connection."""
        return self._proxy

    def __repr__(self) -> str:
        return f"Destination({self.host!r})"


def destination(
    *,
    auth_key: Any,
    api_key: Any,
    datacenter: Any,
    endpoint: Any,
    proxy: Any,
    needs_keys: bool | None,
    environ: Mapping[str, str],
    log: Callable[[int, str], None],
    auth_key_file: Any = None,
    api_key_file: Any = None,
) -> Destination:
    """Return the destination that a handler's arguments and the environment describe.

    Args:
        auth_key, api_key, datacenter, endpoint, proxy, auth_key_file, api_key_file: a handler's;
            None: the environment's.
        needs_keys: whether missing keys are an error; None: only if one of the two is missing, or a
            file cannot be read.
        environ: environment variables.
        log: called with a logging level and a text, once for each key that is too short.

    Raises:
        TypeError, ValueError: an argument of the wrong type or value, named in the message.
    """
    auth = find_key("auth_key", auth_key, auth_key_file, environ, needed=needs_keys)
    api = find_key("api_key", api_key, api_key_file, environ, needed=needs_keys)
    if needs_keys is None:
        _check_pair({"auth_key": auth.value, "api_key": api.value})
    if datacenter is None:
        datacenter = config.environment("FSLOG_DATACENTER", environ) or "us"
    if isinstance(datacenter, str) and len(datacenter) > _LONGEST_WORD:
        raise ValueError("datacenter is a long string (not shown); expected 'us' or 'eu'")
    base = DATACENTERS[config.one_of("datacenter", datacenter, tuple(DATACENTERS))]
    if endpoint is None:
        endpoint = config.environment("FSLOG_ENDPOINT", environ)
    if endpoint is not None:
        base = endpoint_url(endpoint)
    to = Destination(
        base, auth.value, api.value, proxy_url(base, proxy, environ), (auth.path, api.path)
    )
    if needs_keys is not False and auth.value and api.value:
        _mention_short(to, log, {"auth_key": auth.value, "api_key": api.value})
    return to


def _check_pair(keys: Mapping[str, str | None]) -> None:
    """Raise ValueError if one key of the two is missing."""
    missing = [name for name, value in keys.items() if value is None]
    if len(missing) == 1:
        [given] = keys.keys() - set(missing)
        raise ValueError(
            f"{missing[0]} is missing, although {given} is set: give it as an argument or in "
            f"{variable_of(missing[0])}, or its file in {variable_of(missing[0])}_FILE"
        )


def _mention_short(
    to: Destination, log: Callable[[int, str], None], keys: Mapping[str, str]
) -> None:
    for name, value in keys.items():
        if len(value) < LEAST_LENGTH and name not in _mentioned:
            _mentioned.add(name)
            # Endpoints on this machine (a collector, the viewer) accept any keys.
            is_serious = not is_loopback(urlsplit(to.ping_url()).hostname or "")
            with internal_work(to.redact):
                log(
                    logging.WARNING if is_serious else logging.INFO,
                    f"{name} has fewer than {LEAST_LENGTH} characters: is it a placeholder? Such a "
                    "key is masked in URLs only, not in other texts",
                )


def endpoint_url(value: Any) -> str:
    """Return the checked base URL of an endpoint.

    Plain http is accepted for loopback addresses only, since the path contains the keys. A URL with
    keys, a password, a query or a fragment is rejected without being shown.

    >>> endpoint_url("http://127.0.0.1:8080/")
    'http://127.0.0.1:8080'
    """
    url = config.text("endpoint", value).rstrip("/")
    parts, host = _split("endpoint", url)
    if parts.scheme not in ("https", "http"):
        raise ValueError("endpoint has an unsupported scheme or none; expected https://host")
    if parts.query or parts.fragment or parts.username is not None or "/v1" in parts.path:
        raise ValueError(
            f"endpoint (host {host}) is not a base URL; expected one without user, query, fragment "
            "and /v1/...: the keys belong into auth_key and api_key"
        )
    if parts.path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", parts.path):
        raise ValueError(
            f"endpoint (host {host}) has an invalid path; expected letters, digits, and . _ ~ -"
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(
            f"endpoint is plain http to {host}, which would expose the keys to the network; "
            "expected https (http is for loopback addresses only)"
        )
    return url


def proxy_url(base: str, given: Any, environ: Mapping[str, str]) -> str | None:
    """Return the proxy's URL: the argument (`""` for none), or the environment's; None for none.

    A plain http endpoint is on loopback: the environment's proxy is not used for it, and a given
    proxy must be on loopback as well, since it sees the whole URL.
    """
    parts, host = _split("endpoint", base)
    if given is None:
        found = None if parts.scheme == "http" else _proxy_of(parts, host, environ)
        if found is None:
            return None
        name, url = "the proxy of the environment", found
    else:
        name, url = "proxy", config.text("proxy", given)
        if not url:
            return None
    proxy, proxy_host = _split(name, url if "://" in url else f"http://{url}")
    if proxy.scheme not in ("http", "https"):
        raise ValueError(f"{name} has the scheme {proxy.scheme!r}; expected http or https")
    if parts.scheme == "http" and not is_loopback(proxy_host):
        raise ValueError(f"{name} would see the keys of a plain http endpoint; use https")
    return proxy.geturl()


def _proxy_of(parts: SplitResult, host: str, environ: Mapping[str, str]) -> str | None:
    lowered = {k.lower(): v for k, v in environ.items() if k.lower().endswith("_proxy")}
    proxies = {k[: -len("_proxy")]: v.strip() for k, v in lowered.items() if v.strip()}
    # Lower case takes precedence, as in curl and urllib: it is read second.
    proxies |= {k[: -len("_proxy")]: v for k, v in environ.items() if k.endswith("_proxy")}
    bypassed = getattr(urllib.request, "proxy_bypass_environment")  # noqa: B009 - untyped
    if bypassed(parts.netloc.rpartition("@")[2], proxies):
        return None
    return proxies.get("https") or proxies.get("all") or None


def _split(name: str, url: str) -> tuple[SplitResult, str]:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not _is_host(host) or re.search(r"[\s\x00-\x1f\\]", url):
        raise ValueError(
            f"{name} is not a URL with a host (it is not shown); expected https://host, with an "
            "international name in its ASCII form"
        )
    return parts, host


def _is_host(host: str) -> bool:
    if ":" in host:
        try:
            return bool(ipaddress.ip_address(host.partition("%")[0]))
        except ValueError:
            return False
    return len(host) <= 253 and all(map(_LABEL.fullmatch, host.removesuffix(".").split(".")))


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is certainly this machine.

    >>> is_loopback("localhost"), is_loopback("127.8.0.1"), is_loopback("::1"), is_loopback("a.b")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _credentials(proxy: str | None) -> list[str]:
    parts = urlsplit(proxy or "")
    found = [part for part in (parts.username, parts.password) if part]
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        found.append(base64.b64encode(pair.encode()).decode())  # as Proxy-Authorization has it
    return [*found, *map(unquote, found)]
