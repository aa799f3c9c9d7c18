"""`fslog ping`: check whether the endpoint is reachable, and describe the connection."""

from __future__ import annotations

import contextlib
import ssl
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from fslog.cli.options import CommandParser, add_endpoint_options, destination_of, transport_to
from fslog.cli.output import Part, Printer
from fslog.net.destination import Destination
from fslog.net.transport import PingFailed, Transport

SOON_DAYS = 14
"""A certificate that expires within this time causes a warning."""

_DESCRIPTION = """\
Check whether the endpoint is reachable, and print how fast it answers, its
address, the TLS version, and how long its certificate is valid. One request is
made; it needs no keys and sends none."""

_EPILOG = """\
examples:
  fslog ping
  fslog ping --datacenter eu
  fslog ping --endpoint http://127.0.0.1:8020 --timeout 2
  fslog ping --json | jq .seconds

HTTPS_PROXY, ALL_PROXY and NO_PROXY select a proxy, as for a handler.

The exit code is 0 if the endpoint is reachable (also if its certificate expires
soon), 1 if not, 2 for an invalid argument, 130 after Ctrl-C."""

_ADVICE = {
    "name": "check the host name, and whether DNS works on this machine",
    "refused": "no server listens on this port, or a firewall rejects the connection",
    "timeout": "a firewall may drop the connection, or a proxy may be needed (HTTPS_PROXY)",
    "certificate": "for a proxy that intercepts TLS, or a private authority: --ca-certs FILE",
    "validity": "correct the certificate, or this machine's clock",
    "tls": "check whether the server speaks TLS, in a current version",
    "busy": "the endpoint is reachable but not available: try again later",
    "status": "a server answers, but not as the endpoint does: check the address",
}


def run(arguments: Sequence[str]) -> int:
    """Ping the endpoint."""
    options = _parser().parse_args(arguments)
    to = destination_of(options, needs_keys=False)
    transport = transport_to(to, options, None)
    try:
        report = _report(to, transport)
    finally:
        transport.close()
    _show(report, to, is_json=options.json)
    return 0 if report["reachable"] else 1


def _report(to: Destination, transport: Transport) -> dict[str, Any]:
    """Make the request and return the report on it."""
    seen: list[tuple[float, dict[str, Any]]] = []
    report: dict[str, Any] = {"reachable": True, "host": to.host, "proxy": _proxy(to)}
    seconds = began_at = 0.0
    try:
        seconds = transport.ping(lambda sock: seen.append((time.monotonic(), connection_of(sock))))
        began_at = time.monotonic() - seconds
    except PingFailed as error:
        report |= {"reachable": False, "kind": error.kind, "reason": str(error)}
        report["advice"] = _ADVICE.get(error.kind)
    if seen:
        connected_at, connection = seen[0]
        report |= connection
        if report["reachable"]:
            report["seconds"] = round(seconds, 4)
            report["connect_seconds"] = round(max(0.0, connected_at - began_at), 4)
    report["warning"] = _warning(report.get("days_left"))
    return report


def connection_of(sock: Any) -> dict[str, Any]:
    """Return the report on a connected socket.

    The address is the proxy's if there is one. What a connection without TLS or without a
    certificate lacks is None; `days_left` is negative if the certificate has expired.

    Args:
        sock: plain, or with TLS and a verified certificate.
    """
    address, port = "", 0
    with contextlib.suppress(AttributeError, OSError):  # TLS inside a proxy's TLS has no peer name
        address, port = sock.getpeername()[:2]
    is_tls = hasattr(sock, "getpeercert")
    certificate = (sock.getpeercert() if is_tls else None) or {}
    names = certificate.get("subjectAltName") or ((None, None),)
    expires = days_left = None
    if "notAfter" in certificate:
        ends_at = ssl.cert_time_to_seconds(certificate["notAfter"])
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends_at))
        days_left = int((ends_at - time.time()) // 86_400)
    return {
        "address": address,
        "port": port,
        "tls": sock.version() if is_tls else None,
        "cipher": (sock.cipher() or (None,))[0] if is_tls else None,
        "subject": _name(certificate.get("subject"), "commonName") or names[0][1],
        "issuer": _name(certificate.get("issuer"), "organizationName", "commonName"),
        "expires": expires,
        "days_left": days_left,
    }


def _name(pairs: Any, *wanted: str) -> str | None:
    """Return the first of the wanted parts of a certificate's name.

    >>> _name(((("organizationName", "Acme"),), (("commonName", "acme.example"),)), "commonName")
    'acme.example'
    """
    found = dict(pair for part in pairs or () for pair in part)
    return next((found[name] for name in wanted if name in found), None)


def _warning(days_left: int | None) -> str | None:
    if days_left is None or days_left >= SOON_DAYS:
        return None
    if days_left < 1:
        return "the certificate expires within a day"
    return f"the certificate expires in {days_left} day{'' if days_left == 1 else 's'}"


def _proxy(to: Destination) -> str | None:
    """Return the proxy's host and port, without the password that its URL may contain."""
    url = to.proxy_url()
    return None if url is None else urlsplit(url).netloc.rpartition("@")[2]


def _show(report: dict[str, Any], to: Destination, *, is_json: bool) -> None:
    is_result = is_json or report["reachable"]
    printer = Printer(sys.stdout if is_result else sys.stderr, to.redact)
    if is_json:
        printer.values(report)
    elif is_result:
        for row in _rows(report):
            printer.line(*row)
    else:
        printer.line((report["reason"], "red"))
        if report["proxy"]:
            printer.line((f"the proxy is {report['proxy']}", ""))
        if report["advice"]:
            printer.line((report["advice"], ""))


def _rows(report: dict[str, Any]) -> Iterator[tuple[Part, ...]]:
    answer = report["seconds"] - report["connect_seconds"]
    place = f"{report['address'] or 'unknown'}, port {report['port']}"
    reachable = f"{report['host']} is reachable: "
    yield (reachable, "green"), (f"it answered in {_ms(report['seconds'])}", "")
    if report["proxy"]:
        yield _row("proxy", f"{report['proxy']} ({place})")
    else:
        yield _row("address", place)
    yield _row("time", f"{_ms(report['connect_seconds'])} to connect, {_ms(answer)} to answer")
    if report["tls"]:
        yield _row("TLS", f"{report['tls']}, {report['cipher']}")
        subject, issuer = report["subject"] or "no name", report["issuer"] or "an unknown authority"
        ends = f"until {report['expires']}, {report['days_left']} days"
        yield _row("certificate", f"{subject}, {ends}, issued by {issuer}")
    else:
        yield _row("TLS", "none: plain HTTP, which is allowed for a loopback address only")
    if report["warning"]:
        yield _row("warning", report["warning"], "yellow")


def _row(label: str, text: str, style: str = "") -> tuple[Part, ...]:
    return ((f"{label:13}", "bold"), (text, style))


def _ms(seconds: float) -> str:
    """Return a duration for a person.

    >>> _ms(0.0456), _ms(2.5)
    ('46 ms', '2.50 s')
    """
    return f"{seconds * 1000:.0f} ms" if seconds < 1.0 else f"{seconds:.2f} s"


def _parser() -> CommandParser:
    parser = CommandParser("fslog ping", _DESCRIPTION, _EPILOG)
    add_endpoint_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser
