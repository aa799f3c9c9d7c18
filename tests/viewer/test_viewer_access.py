"""Access to the page and the API: hosts, origins, security headers, and the table of files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

import pytest

from fslog.collector.http import Message
from fslog.viewer import server
from fslog.viewer.server import HEADERS, AccessPolicy, static_files
from viewing import PATH, Reply, Visitor, dial, event, lines, viewing

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAFE = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def refused(reply: Reply) -> bool:
    """Return whether a response is a complete refusal."""
    if reply.status != 403:
        return False
    assert list(json.loads(reply.body)) == ["error"]
    assert SAFE.items() <= reply.headers.items()
    return True


def statuses(viewer: Visitor, **headers: Any) -> set[int]:
    """Return the statuses of page, file, API and stream for requests with these headers."""
    paths = ("/", "/favicon.ico", "/static/icon.svg", "/api/events", "/api/overview")
    replies = [viewer.ask("GET", path, **headers) for path in paths]
    replies.append(viewer.ask("HEAD", "/api/stream", **headers))
    changing = {**headers, "Content_Type": "application/json"}
    replies.append(viewer.ask("PUT", "/api/outcomes", b'{"status":429}', **changing))
    return {reply.status for reply in replies}


@pytest.mark.parametrize("name", ["localhost", "LocalHost", "127.0.0.1", "[::1]"])
def test_the_loopback_names_are_served(name: str) -> None:
    """The page and the API respond under the loopback names, with and without the port."""
    with viewing() as viewer:
        port = viewer.address.partition(":")[2]
        for host in (name, f"{name}:{port}"):
            assert statuses(viewer, Host=host) == {200}


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "localhost:1",
        "localhost.evil.example:{port}",
        "127.0.0.1.evil.example",
        "127.0.0.2:{port}",
        "0.0.0.0:{port}",
        "localhost:{port}, evil.example",
        "user@localhost:{port}",
        "",
        None,
    ],
)
def test_a_foreign_host_is_refused(host: str | None) -> None:
    """A foreign name that resolves to this machine (DNS rebinding) reads and changes nothing."""
    with viewing() as viewer:
        viewer.post(event())
        port = viewer.address.partition(":")[2]
        assert statuses(viewer, Host=host and host.format(port=port)) == {403}
        assert viewer.get("outcomes")["standing"] is None
        for method in ("DELETE", "OPTIONS", "PATCH"):
            assert refused(viewer.ask(method, "/api/events", Host="evil.example"))
        assert viewer.ids() == [1]


def test_two_hosts_are_refused() -> None:
    """A request with two Host headers is refused."""
    with viewing() as viewer, dial(viewer) as conn:
        host = f"Host: {viewer.address}\r\n"
        conn.sendall(f"GET /api/events HTTP/1.1\r\n{host}{host}Connection: close\r\n\r\n".encode())
        assert conn.recv(12) == b"HTTP/1.1 403"


def test_an_absolute_target_is_not_the_pages() -> None:
    """A request in the form for proxies, with the host in its first line, goes to the endpoint."""
    with viewing() as viewer:
        assert viewer.ask("GET", f"http://evil.example/api/events?{PATH}").status == 400
        assert viewer.ask("GET", f"//{viewer.address}/api/events").status == 400


def test_other_names_can_be_allowed() -> None:
    """`allow_hosts` adds names, also with the port of a proxy in front of the viewer."""
    with viewing(allow_hosts=["viewer.test", "forwarded.test:9000"]) as viewer:
        port = viewer.address.partition(":")[2]
        for host in ("viewer.test", f"Viewer.Test:{port}", "forwarded.test:9000"):
            assert statuses(viewer, Host=host, Origin=f"http://{host}") == {200}
        for host in ("viewer.test:9000", "forwarded.test:9001", "other.test"):
            assert statuses(viewer, Host=host) == {403}


def test_the_listening_address_is_served() -> None:
    """The page responds under the address given as `host`."""
    with viewing(host="127.0.0.2") as viewer:
        assert statuses(viewer) == {200}
        assert statuses(viewer, Host="127.0.0.3") == {403}


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://localhost:1",
        "http://localhost",
        "https://{address}",
        "http://{address}.evil.example",
        "http://{address}/",
        "{address}",
    ],
)
def test_another_origin_is_refused(origin: str) -> None:
    """Requests of another site's page are refused."""
    with viewing() as viewer:
        viewer.post(event())
        given = origin.format(address=viewer.address)
        assert statuses(viewer, Origin=given) == {403}
        assert refused(viewer.ask("DELETE", "/api/events", Origin=given))
        assert viewer.ids() == [1]


def test_its_own_origin_is_served() -> None:
    """The page's own requests are served under every allowed name."""
    with viewing() as viewer:
        port = viewer.address.partition(":")[2]
        for host in (viewer.address, f"localhost:{port}"):
            assert statuses(viewer, Host=host, Origin=f"http://{host}") == {200}
            assert statuses(viewer, Host=host, Sec_Fetch_Site="same-origin") == {200}
        assert statuses(viewer, Host=f"localhost:{port}", Origin=f"http://{viewer.address}") == {
            403
        }


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "unheard-of"])
def test_a_cross_site_request_is_refused(site: str) -> None:
    """A request that the browser marks as cross-site is refused, also without an Origin."""
    with viewing() as viewer:
        assert statuses(viewer, Sec_Fetch_Site=site) == {403}
        assert statuses(viewer, Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors") == {403}


VISIT = {
    "Sec_Fetch_Site": "cross-site",
    "Sec_Fetch_Mode": "navigate",
    "Sec_Fetch_Dest": "document",
}


@pytest.mark.parametrize("target", ["/", "/?action=feature&q=export"])
def test_a_link_to_the_page_works(target: str) -> None:
    """A link on another site opens the page, and nothing but the page."""
    with viewing() as viewer:
        assert viewer.ask("GET", target, **VISIT).status == 200
        for path in ("/api/events", "/static/index.html", "/favicon.ico"):
            assert refused(viewer.ask("GET", path, **VISIT))
        for name, value in (("Sec_Fetch_Dest", "iframe"), ("Sec_Fetch_Mode", "cors")):
            assert refused(viewer.ask("GET", target, **{**VISIT, name: value}))
        assert refused(viewer.ask("GET", target, **VISIT, Origin="null"))
        assert viewer.ask("HEAD", target, **VISIT).status == 403


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", ""])
@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_a_change_needs_a_json_content_type(method: str, kind: str | None) -> None:
    """A body of a type that forms of other sites can send changes nothing."""
    body = b'{"status": 500}' if method == "PUT" else b'{"outcomes": [{"status": 500}]}'
    with viewing() as viewer:
        viewer.send("PUT", "outcomes", {"status": 429})
        reply = viewer.ask(method, "/api/outcomes", body, Content_Type=kind)
        assert reply.status == 400
        assert viewer.get("outcomes")["standing"]["status"] == 429
        assert viewer.get("outcomes")["script"] == []
        whole = "Application/JSON; charset=utf-8"
        assert viewer.ask(method, "/api/outcomes", body, Content_Type=whole).status < 300


def test_the_endpoint_is_open_as_the_real_one() -> None:
    """The endpoint accepts events under any name and from any site."""
    headers = {"Origin": "http://evil.example", "Sec_Fetch_Site": "cross-site"}
    with viewing() as viewer:
        for path in (PATH, "/v1/ping"):
            reply = viewer.ask("POST", path, lines(event()), Host="evil.example", **headers)
            assert (reply.status, reply.body, reply.headers) == (200, b"", {"content-length": "0"})
        assert viewer.ids() == [1]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/favicon.ico"),
        ("GET", "/static/icon.svg"),
        ("GET", "/static/nothing"),
        ("GET", "/api/events"),
        ("GET", "/api/events/1"),
        ("HEAD", "/api/stream"),
        ("DELETE", "/api/events"),
        ("GET", "/api/nothing"),
        ("PATCH", "/api/events"),
        ("GET", "/api/wait?timeout=0"),
    ],
)
def test_every_response_has_the_security_headers(method: str, path: str) -> None:
    """Every response of the page and the API restricts the browser to what the page needs."""
    with viewing() as viewer:
        reply = viewer.ask(method, path, Origin=f"http://{viewer.address}")
        assert SAFE.items() <= reply.headers.items()
        assert not [name for name in reply.headers if name.startswith("access-control")]
        assert reply.headers["cache-control"] in ("no-store", "no-cache")
    assert {name.lower(): value for name, value in HEADERS.items()} == SAFE


# The page's files


KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


def test_the_page_is_served_as_it_is_in_the_package() -> None:
    """Every file of the page is served under its name, with its type, byte for byte."""
    folder = resources.files("fslog.viewer").joinpath("static")
    files = {item.name: item.read_bytes() for item in folder.iterdir() if item.is_file()}
    assert {"index.html", "icon.svg"} <= set(files) == set(static_files())
    with viewing() as viewer:
        for name, content in files.items():
            reply = viewer.ask("GET", f"/static/{name}")
            assert (reply.status, reply.body) == (200, content)
            assert reply.headers["content-type"] == KINDS[name.rpartition(".")[2]]
        for path, name in (("/", "index.html"), ("/favicon.ico", "icon.svg")):
            assert viewer.ask("GET", path).body == files[name]
            head = viewer.ask("HEAD", path)
            assert (head.body, head.headers["content-length"]) == (b"", str(len(files[name])))


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/..%2fserver.py",
        "/static//etc/passwd",
        "/static/INDEX.HTML",
        "/static/index.html/",
        "/static/index.html%00",
        "/static/./index.html",
        "/static/__init__.py",
    ],
)
def test_no_path_leads_out_of_the_table(path: str) -> None:
    """Any spelling of a name that is not in the table is a 404."""
    with viewing() as viewer:
        assert viewer.ask("GET", path).status == 404


def test_an_unknown_kind_of_file_is_not_served(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other files in the folder are not in the table."""
    static = tmp_path / "static"
    static.mkdir()
    for name in ("index.html", "notes.txt", "main.js~", "noending"):
        (static / name).write_text("x")
    (static / "folder.js").mkdir()
    monkeypatch.setattr(server.importlib.resources, "files", lambda package: tmp_path)
    assert set(static_files()) == {"index.html"}


def test_connections_are_kept_alive() -> None:
    """The page and the API serve several requests over one connection."""
    with viewing() as viewer:
        client = viewer.connect()
        for path in ("/", "/api/events", "/static/icon.svg", "/api/nothing", "/api/count"):
            client.request("GET", path)
            Reply(client.getresponse())
            assert client.sock is not None
        client.request("HEAD", "/")
        assert Reply(client.getresponse()).body == b""
        client.request("GET", "/api/count")
        assert Reply(client.getresponse()).json["count"] == 0
        client.close()


def message(headers: Mapping[str, str], method: str = "GET", target: str = "/") -> Message:
    """Return a request."""
    return Message(method, target, headers, b"", "", 0.0)


def test_the_reason_of_a_refusal() -> None:
    """A refusal has a reason; an allowed request has none."""
    policy = AccessPolicy(["here"], 80)
    assert policy.refusal(message({"host": "here:80"})) == ""
    assert "--allow-host" in policy.refusal(message({"host": "there"}))
    assert "own page" in policy.refusal(message({"host": "here", "origin": "http://there"}))
