"""A real browser, and `fslog viewer` in its own process."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from processes import KEYS, Process

DEADLINE = 20.0
"""Seconds to wait for anything, on a slow machine."""

_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")
_SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # chromium refuses to run as root without
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--renderer-process-limit=1",  # the tests have one tab; a new process for each load takes long
    "--hide-scrollbars",
    "--lang=en-GB",
)

# In one script: the page may replace an element at any time, and each question of WebDriver's about
# an element takes longer than this about a hundred. An option has no box until its list is open.
_VISIBLE = """[...document.querySelectorAll(arguments[0])].filter((one) => {
    const box = one.closest("select") || one;
    return box.checkVisibility({checkOpacity: true, checkVisibilityCSS: true})
        && box.getClientRects().length && (!arguments[1] || one.innerText.includes(arguments[1]));
})"""


def until(is_so: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
    """Return the result of `is_so` as soon as it is true.

    Raises:
        AssertionError: it was not true within so many seconds; the message has `what`.
    """
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(StaleElementReferenceException):
            if found := is_so():
                return found
        assert time.monotonic() < end, f"timed out: {what}"
        threading.Event().wait(0.03)


def _closed() -> bytes:
    raise AssertionError("the viewer closed the connection")


@contextlib.contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """Run Debian's chromium with a temporary profile, without background traffic."""
    with tempfile.TemporaryDirectory() as profile, contextlib.ExitStack() as stack:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or "chromium"
        for switch in (*_SWITCHES, f"--user-data-dir={profile}"):
            options.add_argument(switch)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        # With an explicit path, selenium does not run its manager, which uses the network.
        service = webdriver.ChromeService(shutil.which("chromedriver") or "chromedriver")
        driver = webdriver.Chrome(options=options, service=service)
        stack.callback(driver.quit)
        yield driver


class Viewer:
    """`fslog viewer` in a process.

    Args:
        where: a directory for its output.
        arguments: for the command, in addition to the port.
    """

    def __init__(self, where: Path, arguments: Sequence[str] = ()) -> None:
        self._where = where
        self._arguments = arguments
        self.port = 0
        self._process = self._start()

    def _start(self) -> Process:
        command = [sys.executable, "-m", "fslog", "viewer", "--port", str(self.port)]
        process = Process([*command, *self._arguments], self._where, {})
        try:
            found = until(
                lambda: _ADDRESS.search(process.written("out")) or not process.is_running(),
                f"the viewer's address: {process.written('out')}",
            )
            assert found is not True, process.written("out") + process.written("err")
        except BaseException:
            process.__exit__()
            raise
        self.port = int(found[1])
        return process

    @property
    def url(self) -> str:
        """Return its address without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End it at once."""
        self._process.__exit__()

    def restart(self) -> None:
        """Start it again on the same port."""
        self._process = self._start()

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
        """Make one request; return the JSON of the response, None if it has none."""
        place = urlsplit(self.url)
        with contextlib.closing(
            http.client.HTTPConnection(place.hostname or "", place.port, timeout=DEADLINE)
        ) as connection:
            connection.request(method, path, body, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status < 300, (method, path, answer.status, text)
            return json.loads(text) if text else None

    def status(self, method: str, path: str, body: bytes | None = None) -> int:
        """Make one request; return the status."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        with contextlib.closing(client):
            client.request(method, path, body)
            return client.getresponse().status

    def flood(self, path: str, bodies: Sequence[bytes]) -> None:
        """Send a request for each body over one connection, without waiting for responses."""
        head = f"POST {path} HTTP/1.1\r\nHost: {urlsplit(self.url).netloc}\r\nContent-Length: "
        asked = b"".join(head.encode() + b"%d\r\n\r\n%b" % (len(one), one) for one in bodies)
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as connection:
            connection.sendall(asked)
            got = b""
            while got.count(b"HTTP/1.1 200") < len(bodies):
                got += connection.recv(65_536) or _closed()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the process in a block; the system keeps its connections open."""
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def post(self, *events: Any, **headers: str) -> None:
        """Post events as an application does; `bytes` are sent unchanged."""
        lines = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in events]
        path = f"/v1/{KEYS[0]}/{KEYS[1]}"
        self.ask("POST", path, b"".join(line + b"\n" for line in lines), **headers)


class Page:
    """The viewer's page in a browser.

    Args:
        driver: the browser.
        url: the viewer's.
    """

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, place: str = "/") -> Page:
        """Load the page at a place, and wait until it is connected."""
        self.driver.get("about:blank")
        self.driver.get(self.url + place)
        self.see("#connection.is-on")
        return self

    def go(self, place: str) -> Page:
        """Go to a place within the page, as its links do."""
        self.run("location.replace(arguments[0])", place)
        self.see("main .view")
        return self

    def find(self, selector: str, text: str = "") -> list[WebElement]:
        """Return the visible elements that contain a text, in order."""
        return list(self.run(f"return {_VISIBLE}", selector, text))

    def texts(self, selector: str, text: str = "") -> list[str]:
        """Return the texts of the visible elements that contain a text, in order."""
        return list(self.run(f"return {_VISIBLE}.map((one) => one.innerText)", selector, text))

    def all(self, selector: str, count: int) -> list[WebElement]:
        """Wait until so many such elements are visible, and return them."""
        return until(
            lambda: found if len(found := self.find(selector)) == count else None,
            f"{count} of {selector}",
        )

    def see(self, selector: str, text: str = "") -> WebElement:
        """Wait for a visible element that contains a text."""
        return until(
            lambda: next(iter(self.find(selector, text)), None), f"{selector} with {text!r}"
        )

    def text(self, selector: str, text: str = "") -> str:
        """Wait for a visible element that contains a text, and return the whole text."""
        found = until(lambda: self.texts(selector, text), f"{selector} with {text!r}")[0]
        return str(found)

    def gone(self, selector: str, text: str = "") -> None:
        """Wait until no such element is visible."""
        until(lambda: not self.find(selector, text), f"{selector} with {text!r} goes")

    def click(self, selector: str, text: str = "") -> None:
        """Click a visible element, as soon as that is possible."""

        def press() -> bool:
            self.see(selector, text).click()
            return True

        until(press, f"a click on {selector}")

    def press(self, *keys: str) -> None:
        """Press keys in the focused element."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def type(self, selector: str, text: str) -> None:
        """Replace the text of a field by typing."""
        field = self.see(selector)
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page."""
        return self.driver.execute_script(script, *arguments)

    def rows(self) -> list[str]:
        """Return the texts of the drawn rows, newest first."""
        return list(
            self.run("return [...document.querySelectorAll('.row')].map((row) => row.innerText)")
        )

    def count(self) -> str:
        """Return the page's text for the number of events."""
        return self.text("#live-count")

    def size(self, width: int, height: int = 800) -> None:
        """Set the size of the page, also one that a window cannot have."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, **features: str) -> None:
        """Set preferences of the user: `color_scheme="dark"`."""
        named = [
            {"name": f"prefers-{name.replace('_', '-')}", "value": features[name]}
            for name in features
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": named})

    def console(self) -> list[str]:
        """Return the messages in the browser's console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


def fresh(driver: webdriver.Chrome, viewer: Viewer, place: str = "/") -> Page:
    """Load a viewer's page without stored settings."""
    page = Page(driver, viewer.url)
    page.size(1280)
    page.prefer()
    page.open(place)
    page.run("localStorage.clear()")
    page.console()
    return page


def event(n: int = 0, **more: Any) -> dict[str, Any]:
    """Return a valid event with a number in its feature."""
    fixed = {"accountId": "acme", "userId": "ann", "createdAt": 1_760_000_000_000 + n}
    named = {"action": "feature", "module": "reports", "feature": f"export {n}", "sessionId": "s"}
    return {**fixed, **named, **more}


def without(name: str, n: int = 0, **more: Any) -> dict[str, Any]:
    """Return an event without a property."""
    return {key: value for key, value in event(n, **more).items() if key != name}


@contextlib.contextmanager
def second(tmp_path: Path, *arguments: str) -> Iterator[Viewer]:
    """Run another viewer for one test."""
    viewer = Viewer(tmp_path, arguments)
    try:
        yield viewer
    finally:
        viewer.stop()


def allow_clipboard(page: Page) -> None:
    """Allow the page to write to the clipboard, and the test to read it."""
    granted = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    page.driver.execute_cdp_cmd("Browser.grantPermissions", {"origin": page.url, **granted})


def clipboard(page: Page) -> str:
    """Return the text in the clipboard."""
    script = (
        "navigator.clipboard.readText().then(arguments[0], (error) => arguments[0](`${error}`))"
    )
    return str(page.driver.execute_async_script(script))


MISNAMED = """
    const plain = (text) => text.toLowerCase().replace(/[^\\p{L}\\p{N}]+/gu, " ").trim();
    return [...document.querySelectorAll("button, a, [role=option]")]
      .filter((one) => one.hasAttribute("aria-label"))
      .filter((one) => one.checkVisibility())
      .map((one) => [plain(one.textContent), plain(one.getAttribute("aria-label"))])
      .filter(([seen, name]) => !name.includes(seen));
"""
"""Return text and name of controls whose name lacks the text (WCAG 2.5.3)."""
