"""Who may use page and API: this machine's user, and no other web page that they have open.

Any site can make a browser send requests here. It must not read events, nor make the endpoint fail:
its own name that leads to this machine is refused by `Host` (DNS rebinding), and a
request on another site's behalf by `Origin` and `Sec-Fetch-Site` (the Fetch standard).
"""

from __future__ import annotations

from collections.abc import Iterable

from fslog.collector.httpserver import Message

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
"""What every answer of page and API bears."""

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class Guard:
    """Decide who may use page and API.

    Args:
        names: the hosts that the page may be called by, beside the loopback ones.
        port: that it listens on.
    """

    def __init__(self, names: Iterable[str], port: int) -> None:
        hosts = {name.lower() for name in (*LOOPBACK, *names) if name}
        self._hosts = hosts | {f"{host}:{port}" for host in hosts}

    def refusal(self, message: Message) -> str:
        """Say why a request is refused, `""` where it is not."""
        headers = message.headers
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            return (
                "this Host is not served: open the page by the address that the viewer printed, "
                "or start it with --allow-host NAME"
            )
        origin = headers.get("origin", "").lower()
        if origin and origin != f"http://{host}":
            return "another site's page may not ask this: open the viewer's own page"
        site = headers.get("sec-fetch-site", "none").lower()
        if site not in ("none", "same-origin") and not _is_visit(message):
            return "another site's page may not ask this: open the viewer's own page"
        return ""


def _is_visit(message: Message) -> bool:
    """Return whether somebody followed a link to the page itself."""
    headers = message.headers
    return (
        message.method == "GET"
        and message.target.partition("?")[0] == "/"
        and headers.get("sec-fetch-mode", "").lower() == "navigate"
        and headers.get("sec-fetch-dest", "").lower() == "document"
    )
