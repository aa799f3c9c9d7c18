"""`fslog ping`: its output for an endpoint that is reachable, and for one that is not."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import select
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fslog.cli.ping import connection_of
from fslog.collector import Collector
from fslog.net.redaction import printable
from ports import free_port
from rawserver import OK, RawServer, Script, answer, drip, half_answer, hang, read_request
from uploads import Command, at_work, ended, interrupted, run

if TYPE_CHECKING:
    import trustme


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return a certificate authority that is not trusted by default."""
    return pytest.importorskip("trustme").CA(organization_name="The \x1b[31mAuthority")


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file that makes the authority trusted."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def over_tls(authority: trustme.CA, days: float = 400, name: str = "localhost") -> Script:
    """Return a script that answers over TLS, with a certificate that is valid for `days`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    now = datetime.datetime.now(datetime.timezone.utc)
    ends_at = now + datetime.timedelta(days=days)
    cert = authority.issue_cert(
        name, common_name=name, not_before=now - datetime.timedelta(days=30), not_after=ends_at
    )
    cert.configure_cert(context)

    def script(conn: socket.socket) -> None:
        conn.settimeout(5)
        with context.wrap_socket(conn, server_side=True) as secure:
            read_request(secure)
            secure.sendall(OK)

    return script


@contextlib.contextmanager
def secure(authority: trustme.CA, days: float = 400, name: str = "localhost") -> Iterator[str]:
    """Run an endpoint with TLS, and yield its URL."""
    with RawServer(over_tls(authority, days, name)) as server:
        yield f"https://localhost:{server.port}"


def test_a_reachable_endpoint(fslog: Command) -> None:
    """One POST without keys is made; host, address, times and the missing TLS are printed."""
    with Collector() as collector:
        said = fslog("ping", "--endpoint", collector.url)
        (request,) = collector.requests
    assert (said.code, said.err) == (0, "")
    assert (request.method, request.target, request.bytes_received) == ("POST", "ping", 0)
    host = collector.url.removeprefix("http://")
    first, address, times, tls = said.out.splitlines()
    assert first.startswith(f"{host} is reachable: it answered in ")
    assert address.split() == ["address", "127.0.0.1,", "port", host.partition(":")[2]]
    assert re.search(r"\d+ ms to connect, \d+ ms to answer", times)
    assert "none: plain HTTP" in tls


def test_json(fslog: Command) -> None:
    """With `--json` the output is one object; the two times are separate, in seconds."""
    with RawServer(drip(OK, interval=0.2, size=len(OK))) as server:
        said = fslog("ping", "--json", "--endpoint", server.url)
    assert (said.code, said.err) == (0, "")
    found = said.json
    assert 0.0 <= found.pop("connect_seconds") <= found.pop("seconds") - 0.19
    assert found == {
        "reachable": True,
        "host": f"127.0.0.1:{server.port}",
        "proxy": None,
        "address": "127.0.0.1",
        "port": server.port,
        "tls": None,
        "cipher": None,
        "subject": None,
        "issuer": None,
        "expires": None,
        "days_left": None,
        "warning": None,
    }


def test_a_response_that_closes_the_connection(fslog: Command) -> None:
    """The connection is described even if the response closes it."""
    closing = OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")
    with RawServer(answer(closing)) as server:
        said = fslog("ping", "--json", "--endpoint", server.url)
    assert (said.code, said.json["address"]) == (0, "127.0.0.1")


def test_a_secure_endpoint(fslog: Command, authority: trustme.CA, ca_file: Path) -> None:
    """TLS version, cipher and certificate are printed; control characters are escaped."""
    with secure(authority) as url:
        said = fslog("ping", "--endpoint", url, "--ca-certs", ca_file)
        found = fslog("ping", "--json", "--endpoint", url, "--ca-certs", ca_file).json
    assert (said.code, said.err) == (0, "")
    assert found["tls"] in ("TLSv1.2", "TLSv1.3")
    assert f"{found['tls']}, {found['cipher']}" in said.out
    assert (found["subject"], found["days_left"], found["warning"]) == ("localhost", 399, None)
    ends_at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=400)
    assert found["expires"][:10] == ends_at.date().isoformat()
    assert f"localhost, until {found['expires']}, 399 days, issued by The \\x1b[31mAuth" in said.out


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (14.1, None),
        (13.9, "the certificate expires in 13 days"),
        (1.5, "the certificate expires in 1 day"),
        (0.5, "the certificate expires within a day"),
    ],
)
def test_a_certificate_that_expires_soon(
    days: float, words: str | None, fslog: Command, authority: trustme.CA, ca_file: Path
) -> None:
    """Less than 14 days before it expires there is a warning; the exit code is 0."""
    with secure(authority, days) as url:
        said = fslog("ping", "--endpoint", url, "--ca-certs", ca_file)
        found = fslog("ping", "--json", "--endpoint", url, "--ca-certs", ca_file)
    assert (said.code, found.code) == (0, 0)
    assert found.json["warning"] == words
    assert [line.split(None, 1)[1] for line in said.out.splitlines() if "warning" in line] == (
        [words] if words else []
    )


@pytest.mark.parametrize(
    ("days", "name", "is_trusted", "words", "kind", "advice"),
    [
        (-1, "localhost", True, "certificate has expired", "validity", "this machine's clock"),
        (400, "other.example", True, "Hostname mismatch", "validity", "correct the certificate"),
        (
            400,
            "localhost",
            False,
            "unable to get local issuer certificate",
            "certificate",
            "--ca-certs FILE",
        ),
    ],
)
def test_a_certificate_that_is_not_trusted(
    days: float,
    name: str,
    is_trusted: bool,
    words: str,
    kind: str,
    advice: str,
    fslog: Command,
    authority: trustme.CA,
    ca_file: Path,
) -> None:
    """A certificate that is expired, of another host or untrusted is reported with a remedy."""
    trusted = ["--ca-certs", ca_file] if is_trusted else []
    with secure(authority, days, name) as url:
        said = fslog("ping", "--endpoint", url, *trusted)
        found = fslog("ping", "--json", "--endpoint", url, *trusted)
    assert (said.code, found.code, said.out, found.err) == (1, 1, "", "")
    assert words in said.err
    assert advice in said.err
    assert ("--ca-certs" in said.err) == (kind == "certificate")
    assert (found.json["reachable"], found.json["kind"]) == (False, kind)


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        (hang(), "timeout", "no answer within 0.3 s"),
        (answer(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"), "busy", "it answers 503"),
        (answer(b"HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n"), "busy", "try again later"),
        (answer(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"), "status", "it answers 404"),
        (
            answer(b"HTTP/1.1 302 Go\r\nLocation: /v1/ping\r\nContent-Length: 0\r\n\r\n"),
            "status",
            "it answers 302",
        ),
        (half_answer(b""), "connection", "cannot be reached"),
        (answer(b"\x1b[2Jno http at all\r\n\r\n"), "status", "the response is not HTTP"),
        (answer(b"220 mail.example ESMTP\r\n"), "status", "check the address"),
    ],
)
def test_an_endpoint_that_is_not_available(
    script: Script, kind: str, words: str, fslog: Command
) -> None:
    """The output has the reason, a hint if there is one, and in JSON the kind of failure."""
    with RawServer(script) as server:
        said = fslog("ping", "--endpoint", server.url, "--timeout", 0.3)
        found = fslog("ping", "--endpoint", server.url, "--timeout", 0.3, "--json")
    assert (said.code, found.code, said.out, found.err) == (1, 1, "", "")
    assert words in said.err
    assert "\x1b" not in said.err
    assert found.json["kind"] == kind
    assert printable(found.json["reason"]) in said.err.splitlines()
    assert ("seconds" in found.json, found.json["port"]) == (False, server.port)


def test_a_refused_connection(fslog: Command) -> None:
    """A refused connection has a kind of its own."""
    port = free_port()
    found = fslog("ping", "--json", "--endpoint", f"http://127.0.0.1:{port}")
    assert (found.code, found.json["kind"]) == (1, "refused")
    assert f"127.0.0.1:{port} cannot be reached: connection refused" == found.json["reason"]


def test_a_server_without_tls(fslog: Command) -> None:
    """A server that does not speak TLS has a kind of its own."""

    def plain(conn: socket.socket) -> None:
        conn.recv(65_536)
        conn.sendall(OK)

    with RawServer(plain) as server:
        found = fslog("ping", "--json", "--endpoint", f"https://localhost:{server.port}")
    assert (found.code, found.json["kind"]) == (1, "tls")


def test_an_unknown_host(fslog: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the host name cannot be resolved, the hint is about DNS."""

    def fail(*given: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    said = fslog("ping", "--datacenter", "eu")
    assert said.code == 1
    first, hint = said.err.splitlines()
    assert first == "events-eu.freshsuccess.com cannot be reached: its name cannot be resolved"
    assert "DNS" in hint


def tunnel(conn: socket.socket) -> None:
    """Act as a proxy: connect to CONNECT's target, and forward bytes until one side closes."""
    target = read_request(conn).split()[1].decode().rpartition(":")
    with socket.create_connection((target[0], int(target[2])), timeout=5) as onward:
        conn.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        pairs = {conn: onward, onward: conn}
        while True:
            for ready in select.select(list(pairs), [], [], 5)[0]:
                data = ready.recv(65_536)
                if not data:
                    return
                pairs[ready].sendall(data)


def test_through_a_proxy(
    fslog: Command, authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment's proxy is used and printed, without its password; TLS is the endpoint's."""
    with secure(authority) as url, RawServer(tunnel) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://ann:hidden@127.0.0.1:{proxy.port}")
        said = fslog("ping", "--endpoint", url, "--ca-certs", ca_file)
        found = fslog("ping", "--json", "--endpoint", url, "--ca-certs", ca_file)
    assert (said.code, found.code) == (0, 0)
    assert found.json["proxy"] == f"127.0.0.1:{proxy.port}"
    assert (found.json["port"], found.json["subject"]) == (proxy.port, "localhost")
    assert f"proxy        127.0.0.1:{proxy.port} (127.0.0.1, port {proxy.port})" in said.out
    assert "hidden" not in said.out + found.out


def test_a_proxy_that_is_down(fslog: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure with a proxy names the proxy."""
    port = free_port()
    monkeypatch.setenv("HTTPS_PROXY", f"http://ann:hidden@127.0.0.1:{port}")
    said = fslog("ping")
    assert said.code == 1
    assert f"the proxy is 127.0.0.1:{port}" in said.err
    assert "hidden" not in said.err


@pytest.mark.parametrize(
    "given",
    [
        ["--endpoint", "http://events.example"],
        ["--endpoint", "nonsense"],
        ["--datacenter", "mars"],
        ["--timeout", "0"],
        ["--ca-certs", "/missing.pem"],
        ["positional"],
    ],
)
def test_a_wrong_argument(given: list[str], fslog: Command) -> None:
    """An invalid argument exits with 2; no request is made."""
    said = fslog("ping", *given)
    assert (said.code, said.out) == (2, "")
    assert "fslog ping: error: " in said.err


def test_the_help(fslog: Command) -> None:
    """The help has examples, and explains the exit code."""
    said = fslog("ping", "--help")
    assert said.code == 0
    assert "examples:\n  fslog ping\n" in said.out
    assert "The exit code is 0" in said.out


def test_a_socket_without_a_peer_name() -> None:
    """A socket that lacks a peer name or a certificate is described without them."""

    class Odd:
        def version(self) -> str:
            return "TLSv1.3"

        def cipher(self) -> None:
            return None

        def getpeercert(self) -> dict[str, object]:
            return {"subjectAltName": (("DNS", "a.example"),)}

    found = connection_of(Odd())
    assert (found["address"], found["tls"], found["cipher"]) == ("", "TLSv1.3", None)
    assert (found["subject"], found["issuer"], found["expires"]) == ("a.example", None, None)


def test_ctrl_c(tmp_path: Path) -> None:
    """An interrupted ping exits at once with 130, without a traceback."""
    arguments = ("ping", "--timeout", 60)
    with (
        RawServer(hang()) as server,
        at_work(*arguments, endpoint=server.url, where=tmp_path) as process,
    ):
        server.wait_for_requests(1)
        said = interrupted(process)
    assert said == (130, "", "")


@pytest.mark.slow
def test_a_pipe(tmp_path: Path) -> None:
    """Piped output is plain, one fact per line; a closed pipe exits with 141."""
    with Collector() as collector:
        said = run("ping", endpoint=collector.url, where=tmp_path)
        assert (said.code, said.err, "\x1b" in said.out) == (0, "", False)
        assert len(said.out.splitlines()) == 4
        reading, writing = os.pipe()
        os.close(reading)
        with at_work("ping", endpoint=collector.url, where=tmp_path, stdout=writing) as process:
            os.close(writing)
            assert ended(process) == (141, "", "")
