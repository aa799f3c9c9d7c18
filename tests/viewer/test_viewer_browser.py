"""The viewer's page in a real browser: every feature, by pointer, keyboard and screen reader."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import logging.config
import os
import re
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from browser import (
    MISNAMED,
    Page,
    Viewer,
    allow_clipboard,
    clipboard,
    event,
    fresh,
    second,
    until,
    without,
)
from fslog import FreshsuccessHandler
from fslog.plan.plan import Plan
from fslog.viewer.server import static_files
from processes import KEYS
from readme_blocks import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.needs("chromium", "chromedriver")]

# Read before the fixture of all tests removes the variables.
SCREENSHOTS = Path(os.environ.get("FSLOG_SCREENSHOTS") or ROOT / "build" / "screenshots")
VIEWS = ("live", "overview", "sessions", "requests", "server")
CONTENT = {
    "live": ".row",
    "live/": ".detail-body .summary",
    "overview": ".ranks",
    "sessions": ".session-list",
    "sessions/": ".timeline",
    "requests": "main .requests",
    "server": ".recent .requests",
    "plan": ".planned",
    "plan/": ".codebox",
}
"""What is visible of each view, and of one item in it, when it is complete."""

NARROW = 380


def look_at(page: Page, place: str) -> None:
    """Go to a view, or to one item in it, and wait until it is shown."""
    view, slash, _ = place.partition("/")
    page.go(f"#{place}")
    page.see(CONTENT[view + slash])


def test_events_appear_as_they_arrive_the_newest_first(page: Page, viewer: Viewer) -> None:
    """Posted events appear in the list without a reload, newest first."""
    viewer.post(event(1), event(2))
    page.see(".row", "export 2")
    viewer.post(event(3))
    page.see(".row", "export 3")
    assert [re.search(r"export \d", row)[0] for row in page.rows()] == [  # type: ignore[index]
        "export 3",
        "export 2",
        "export 1",
    ]
    assert page.count() == "3 events"
    assert page.console() == []


def test_a_state_has_a_colour_an_icon_and_a_word(page: Page, viewer: Viewer) -> None:
    """Valid, warning and invalid differ in colour, icon and word."""
    viewer.post(event(1), without("module", 2), without("userId", 3))
    page.see(".row.is-invalid")
    told = []
    for row in page.find(".row"):
        badge = row.find_element(By.CSS_SELECTOR, ".badge")
        drawing = badge.find_element(By.CSS_SELECTOR, "path").get_attribute("d")
        told.append((badge.text, badge.value_of_css_property("color"), drawing))
    assert [word for word, _, _ in told] == ["invalid", "warning", "valid"]
    assert [len(set(kind)) for kind in zip(*told, strict=True)] == [3, 3, 3]
    assert "userId is missing" in page.rows()[0]


def test_an_empty_page_shows_how_to_send_events(page: Page, viewer: Viewer) -> None:
    """The environment variables have this viewer's address, and the button copies them."""
    allow_clipboard(page)
    box = page.see(".setup .codebox", f"FSLOG_ENDPOINT={viewer.url}")
    page.click(".setup .copy")
    page.see(".setup .copy", "Copied")
    assert clipboard(page) == box.find_element(By.CSS_SELECTOR, "code").text
    page.click(".setup [role=tab]", "curl")
    assert f"curl -X POST {viewer.url}/v1/any/any" in page.text(".setup code")


def test_the_snippet_for_dictconfig_works(page: Page) -> None:
    """With the configuration that the page shows, log calls send events to the page."""
    page.click(".setup [role=tab]", "dictConfig")
    shown = page.text(".setup code", "FreshsuccessHandler")
    configuration = eval(f'{{"version": 1, "disable_existing_loggers": False, {shown}}}')
    root = logging.getLogger()
    before = root.handlers[:]
    level = root.level
    try:
        logging.config.dictConfig(configuration)
        extra = {"accountId": "acme", "userId": "ann", "event": {**event(7), "feature": "by dict"}}
        logging.getLogger("app").info("exported", extra=extra)
        page.see(".row", "by dict")
    finally:
        for handler in [one for one in root.handlers if one not in before]:
            root.removeHandler(handler)
            handler.close()
        root.handlers[:] = before
        root.setLevel(level)


def test_samples_can_be_sent_from_the_empty_page(page: Page) -> None:
    """One click sends a valid and an invalid event."""
    page.click(".setup .primary")
    page.see(".row.is-valid", "reports / export")
    page.see(".row.is-invalid", "userId")


def test_pause_stops_the_list_and_counts_new_events(page: Page, viewer: Viewer) -> None:
    """While paused the list does not change; new events are counted, and added at Resume."""
    viewer.post(event(1))
    page.see(".row", "export 1")
    page.click(".pause")
    viewer.post(*[event(n) for n in range(2, 9)])
    page.see(".pause", "Resume, 7 waiting")
    viewer.post(event(9))
    page.see(".pause", "Resume, 8 waiting")
    assert len(page.rows()) == 1
    page.click(".pause")
    page.see(".row", "export 9")
    assert len(page.rows()) == 9
    assert page.text(".pause") == "Pause"


def test_a_scrolled_list_does_not_move(page: Page, viewer: Viewer) -> None:
    """Rows keep their place if the list is scrolled, and a button counts the new events."""
    viewer.post(*[event(n) for n in range(200)])
    page.see(".row", "export 199")
    page.run("document.querySelector('.rows').scrollTop = 2000")
    page.see(".row", "export 140")
    seen = page.rows()
    viewer.post(event(200), event(201))
    page.see(".newer-events", "2 newer events")
    assert page.rows() == seen
    page.click(".newer-events")
    page.see(".row", "export 201")
    page.gone(".newer-events")


def test_an_invalid_event_has_its_problem_and_correction(page: Page, viewer: Viewer) -> None:
    """Details show the property, the received and expected value, a log call and a rule."""
    viewer.post(event(1, userId=7))
    page.click(".row.is-invalid")
    problem = page.text(".problems .is-invalid", "userId")
    assert "Received" in problem
    assert "7" in problem
    assert "Expected" in problem
    assert "string" in problem
    assert "would silently drop this event" in page.text(".summary")
    hint = page.see(".part", "Correction")
    assert "extra=" in hint.text
    hint.find_element(By.XPATH, ".//button[text()='Rule']").click()
    assert "when:" in page.text(".part", "Correction")


def test_the_details_of_an_event(page: Page, viewer: Viewer) -> None:
    """Details show types, nested values, the raw line, and the request's sizes and encoding."""
    details = {"name": "Ann", "tags": ["a", "b"], "admin": True, "left": None}
    line = json.dumps(event(5, action="identifyUser", details=details), indent=None)
    body = zlib.compress(f"{line}\n".encode())
    headers = {"Content-Encoding": "deflate"}
    viewer.ask("POST", f"/v1/{KEYS[0]}/{KEYS[1]}", body, **headers)
    page.click(".row", "identifyUser")
    table = page.see(".properties")
    rows = {}
    for row in table.find_elements(By.CSS_SELECTOR, "tbody tr"):
        name, value, kind = [cell.text for cell in row.find_elements(By.CSS_SELECTOR, "th, td")]
        rows[name] = (value.split("\n")[0], kind)
    assert rows["accountId"] == ("acme", "string")
    assert rows["createdAt"] == ("1760000000005", "number")
    assert rows["details"] == ("4 properties", "object")
    assert rows["tags"] == ("2 items", "array")
    assert rows["admin"] == ("true", "boolean")
    assert rows["left"] == ("null", "null")
    request = page.text(".part", "Request")
    for said in (
        "deflate",
        f"{len(body)} B compressed",
        "200 OK",
        "1 valid event",
        "POST /v1/***",
    ):
        assert said in request
    page.click(".detail [role=tab]", "Raw line")
    assert page.text(".detail [role=tabpanel] code") == line


def test_an_event_is_copied_as_json_curl_and_log_call(page: Page, viewer: Viewer) -> None:
    """Each snippet is copied as a whole, and contains no key."""
    allow_clipboard(page)
    viewer.post(event(6))
    page.click(".row", "export 6")
    copied = {}
    for name in ("JSON", "curl", "Python"):
        page.click(".detail [role=tab]", name)
        page.click(f".detail [aria-label='Copy {name}']")
        page.see(".detail .copy", "Copied")
        copied[name] = clipboard(page)
    assert json.loads(copied["JSON"]) == event(6)
    assert viewer.url in copied["curl"]
    assert "${FSLOG_AUTH_KEY:?" in copied["curl"]
    assert "extra=" in copied["Python"]
    assert not any(key in text for key in KEYS for text in copied.values())


def test_copying_without_the_clipboard_api(page: Page, viewer: Viewer) -> None:
    """If the clipboard API is refused, the page copies by a selection."""
    allow_clipboard(page)
    viewer.post(event(6))
    page.click(".row", "export 6")
    page.run(
        "window.readText = navigator.clipboard.readText.bind(navigator.clipboard);"
        "navigator.clipboard.writeText = () => Promise.reject(new Error('refused'))"
    )
    page.click(".detail [aria-label='Copy JSON']")
    page.see(".detail .copy", "Copied")
    assert json.loads(clipboard(page)) == event(6)


def test_copying_refused_altogether(page: Page, viewer: Viewer) -> None:
    """The page reports it and selects the whole text, for Ctrl+C."""
    viewer.post(event(6, note="x" * 30_000))
    page.click(".row", "export 6")
    page.run(
        "navigator.clipboard.writeText = () => Promise.reject(new Error('refused'));"
        "document.execCommand = () => false"
    )
    page.click(".detail [role=tab]", "Raw line")
    page.click(".detail [aria-label='Copy Raw line']")
    page.see(".detail .codebox .note", "press Ctrl+C")
    assert json.loads(page.run("return String(getSelection())"))["note"] == "x" * 30_000


def test_the_filter_is_in_the_address(page: Page, viewer: Viewer) -> None:
    """Typing filters at once, changes the address, and survives a reload."""
    viewer.post(event(1, feature="export"), event(2, feature="share"), event(3, feature="Share"))
    page.see(".row", "share")
    page.type("#filter-q", "share")
    page.gone(".row", "export")
    assert page.count() == "2 events found"
    assert page.driver.current_url == f"{viewer.url}/?q=share#live"
    page.driver.refresh()
    page.see(".row", "share")
    assert page.see("#filter-q").get_attribute("value") == "share"
    assert len(page.rows()) == 2
    viewer.post(event(4, feature="export"), event(5, feature="share again"))
    page.see(".row", "share again")
    assert len(page.rows()) == 3


def test_the_back_button(page: Page, viewer: Viewer) -> None:
    """Filter, view and open event are steps in the history; typing a word is one of them."""
    viewer.post(event(1, feature="export"), event(2, feature="share"))
    page.see(".row", "share")
    page.type("#filter-q", "sha")
    until(lambda: "?q=sha#" in page.driver.current_url, "the first half in the address")
    page.press("re")
    until(lambda: "?q=share#" in page.driver.current_url, "the word in the address")
    page.gone(".row", "export")
    page.click("nav a", "Overview")
    page.see(".overview .tile", "valid")
    page.driver.back()
    page.gone(".row", "export")
    page.click(".row", "share")
    page.see(".detail", "share")
    page.driver.back()
    page.gone(".detail")
    page.driver.back()
    page.see(".row", "export")
    assert page.see("#filter-q").get_attribute("value") == ""


def test_each_field_filters(page: Page, viewer: Viewer) -> None:
    """Each field of the filter selects the events with its value, and has a chip."""
    fields = {
        "action": ("moduleEnd", "action"),
        "module": ("tasks", "module"),
        "feature": ("share", "feature"),
        "account": ("globex", "accountId"),
        "user": ("bob", "userId"),
        "session": ("t", "sessionId"),
    }
    viewer.post(*[event(n, **{name: wanted}) for n, (wanted, name) in enumerate(fields.values())])
    until(lambda: len(page.rows()) == 6, "all rows")
    page.click("button", "Filter")
    for field, (wanted, _) in fields.items():
        page.type(f"#filter-{field}", wanted + Keys.ENTER)
        until(lambda: len(page.rows()) == 1, f"one row that has the {field}")
        assert page.driver.current_url == f"{viewer.url}/?{field}={wanted}#live"
        assert page.see(".chip", wanted).accessible_name == f"Remove the filter {field} {wanted}"
        page.click(".chip", wanted)
        until(lambda: len(page.rows()) == 6, "all rows")


def test_only_problems(page: Page, viewer: Viewer) -> None:
    """One click leaves warnings and invalid events, another one shows all again."""
    viewer.post(event(1), without("module", 2), without("userId", 3))
    page.see(".row", "valid")
    page.click("button", "Only problems")
    page.gone(".row.is-valid")
    assert len(page.rows()) == 2
    assert page.driver.current_url.endswith("/?state=problems#live")
    page.click("button", "Only problems")
    page.see(".row.is-valid")


def test_a_value_in_the_details_is_a_filter(page: Page, viewer: Viewer) -> None:
    """The icon beside a value filters by it."""
    viewer.post(event(1, userId="bob & sons/#?"), event(2))
    page.click(".row", "bob")
    page.click(".detail .only[aria-label^='Only userId']")
    page.gone(".row", "export 2")
    assert "user=bob+%26+sons%2F%23%3F" in page.driver.current_url


def test_a_filter_without_matches(page: Page, viewer: Viewer) -> None:
    """An empty result differs from an empty viewer, and one click clears the filter."""
    viewer.post(event(1))
    page.open("/?user=nobody#live")
    page.see(".empty", "No event matches")
    page.click(".empty button")
    page.see(".row", "export 1")


def test_the_overview_warns_of_too_many_names(page: Page, viewer: Viewer) -> None:
    """Features with a date in them, of which there is a new one each day, are named."""
    viewer.post(*[event(n, feature=f"export <b>{n:03}") for n in range(501)])
    page.go("#overview")
    note = page.text("p.note", "Freshsuccess shows each as one of its own")
    assert note.startswith("feature has 501 values, such as “export <b>000” and “export <b>001”")
    page.go("?account=globex#overview")
    page.gone("p.note", "Freshsuccess shows each")


def test_the_overview_counts_and_links(page: Page, viewer: Viewer) -> None:
    """Tiles, chart and rankings are correct, and a name links to its events."""
    viewer.post(*[event(n, feature="export") for n in range(3)], event(4, feature="share"))
    viewer.post(without("userId", 5, feature="share", accountId="globex"))
    page.click("nav a", "Overview")
    page.see(".tile.is-valid", "4")
    page.see(".tile.is-invalid", "1")
    assert "reports / export\n3" in page.text(".card", "Top features")
    assert "Accounts (2)" in page.text(".card", "Accounts")
    assert "userId" in page.text(".card", "Problems")
    chart = page.see(".chart svg").get_attribute("aria-label") or ""
    assert re.search(r"\d+ events in the last 5 minutes, at most \d+ per second", chart)
    viewer.post(event(6, feature="export"))
    page.see(".tile.is-valid", "5")
    page.click(".card a", "reports / export")
    # The list shows its previous rows until the server has responded.
    until(lambda: len(page.rows()) == 4, "the rows of that feature alone")
    assert all("reports / export" in row for row in page.rows())
    assert "module=reports&feature=export" in page.driver.current_url


def test_a_session_is_a_timeline(page: Page, viewer: Viewer) -> None:
    """Events of a session are ordered by `createdAt`, with the gaps in between."""
    start = 1_760_000_000_000
    later = [event(3, createdAt=start + 600_000), event(2, createdAt=start + 5_000)]
    viewer.post(*later, event(1, createdAt=start), event(4, sessionId="other"))
    page.click("nav a", "Sessions")
    page.click(".session-list a", "3 events")
    page.see(".timeline")
    steps = page.texts(".timeline li")
    assert [re.search(r"export \d|\d+ min .*without events", step)[0] for step in steps] == [  # type: ignore[index]
        "export 1",
        "export 2",
        "9 min 55 s without events",
        "export 3",
    ]
    viewer.post(event(5, createdAt=start + 601_000))
    page.see(".timeline", "export 5")


def test_requests_show_answer_encoding_sizes_and_events(page: Page, viewer: Viewer) -> None:
    """Each POST is a row; its number of events links to them."""
    plain = json.dumps(event(1)).encode() + b"\n" + json.dumps(without("userId")).encode() + b"\n"
    packed = zlib.compress(plain * 5)
    viewer.ask("POST", "/v1/a/b", packed, **{"Content-Encoding": "deflate"})
    viewer.ask("POST", "/v1/a/b", plain)
    page.click("nav a", "Requests")
    rows = page.texts("table.requests tbody tr")
    assert len(rows) == 2
    assert "none" in rows[0]
    assert all(
        word in rows[1] for word in ("200 OK", "deflate", "5 valid, 5 invalid", f"{len(packed)} B")
    )
    page.click("table.requests td a", "5 valid, 5 invalid")
    until(lambda: len(page.rows()) == 10, "the events of the request")


def test_retries_of_a_handler_are_shown(page: Page, viewer: Viewer) -> None:
    """Each attempt during a 503 is a row with its number; then the event arrives."""
    logger = logging.getLogger("viewer-retries")
    logger.propagate = False
    handler = FreshsuccessHandler(
        endpoint=viewer.url,
        auth_key=KEYS[0],
        api_key=KEYS[1],
        flush_interval=0.05,
        max_backoff=0.3,
    )
    logger.addHandler(handler)
    try:
        page.click("nav a", "Failures")
        page.click(".custom summary")
        page.type("#custom-status", "503")
        page.click(".custom form button", "Apply")
        page.see(".current-answer.is-bad", "503 Service Unavailable")
        logger.warning("done", extra={"event": event(1, feature="survives")})
        page.see(".requests tr.bad.retry", "attempt 3, retry of")
        for view in VIEWS:
            page.go(f"#{view}")
            page.see("#banner", "503")
            page.see("#endpoint-state", "503")
        page.click("#banner button", "Restore normal answers")
        page.gone("#banner")
        page.see(".requests tr.good.retry", "200 OK")
        page.click("nav a", "Live")
        page.see(".row", "survives")
        assert handler.flush(5)
        assert handler.stats().delivered == 1
    finally:
        logger.removeHandler(handler)
        handler.close()


def answer_to_post(viewer: Viewer) -> object:
    """Post an event; return status and Retry-After, or the name of the error."""
    client = http.client.HTTPConnection("127.0.0.1", viewer.port, timeout=1.0)
    with contextlib.closing(client):
        try:
            client.request("POST", "/v1/a/b", json.dumps(event()).encode())
            answer = client.getresponse()
            return answer.status, answer.getheader("Retry-After")
        except OSError as error:
            return type(error).__name__


def test_each_button_of_the_failures_view(page: Page, viewer: Viewer) -> None:
    """A click sets the endpoint's answer, which is marked and shown; Normal restores it."""
    buttons: dict[str, tuple[str, object]] = {
        "400": ("400 Bad Request", (400, None)),
        "500": ("500 Internal Server Error", (500, None)),
        "503": ("Retry-After 5 s", (503, "5")),
        "Hang": ("never answers", "TimeoutError"),
        "Slow": ("after 3 s", "TimeoutError"),
        "Close": ("closes the connection", "RemoteDisconnected"),
        "Reset": ("resets the connection", "ConnectionResetError"),
    }
    page.click("nav a", "Failures")
    for button, (shown, answer) in buttons.items():
        page.click(".choice", button)
        page.see(".current-answer.is-bad", shown)
        assert page.text(".choice[aria-pressed=true]").startswith(button)
        assert answer_to_post(viewer) == answer, button
    page.click(".choice.normal")
    page.see(".current-answer:not(.is-bad)")
    page.gone("#banner")
    assert answer_to_post(viewer) == (200, None)


def test_an_answer_for_the_next_request(page: Page, viewer: Viewer) -> None:
    """A scripted answer is shown as such, and gone after its use."""
    page.click("nav a", "Failures")
    page.click("#how-long option", "the next request")
    page.click(".choice", "500")
    page.see(".current-answer.is-bad", "For the next 1 request,")
    assert answer_to_post(viewer) == (500, None)
    page.see(".current-answer:not(.is-bad)")
    assert answer_to_post(viewer) == (200, None)


REQUEST_LOG = """
    const done = arguments[arguments.length - 1];
    const real = window.fetch;
    import("/static/requestlog.js").then(async ({ RequestLog }) => {
      const stream = new EventTarget();
      const log = new RequestLog(stream);
      const told = [];
      const requests = (...ids) => ids.map((id) => ({ id }));
      const tell = (name, ...ids) =>
        stream.dispatchEvent(new CustomEvent(name, { detail: { requests: requests(...ids) } }));
      let answer;
      window.fetch = () => new Promise((resolve) => { answer = resolve; });
      const asked = async (meanwhile, total, ...ids) => {
        tell("hello");
        meanwhile();
        const changed = new Promise((resolve) =>
          log.addEventListener("changed", resolve, { once: true }));
        const headers = { "Content-Type": "application/json" };
        answer(new Response(JSON.stringify({ requests: requests(...ids), total }), { headers }));
        await changed;
        told.push([log.requests.map((one) => one.id), log.total]);
      };
      const nothing = () => {};
      await asked(nothing, 2, 2, 1);
      await asked(() => tell("requests", 4), 3, 3, 2, 1);
      await asked(nothing, 1, 5);
      await asked(() => tell("requests", 6), 0);
      await asked(() => tell("cleared"), 0);
      return told;
    }).then(done, (error) => done(`${error}`)).finally(() => { window.fetch = real; });
"""
"""A request log, with a server that responds when the test allows it."""


def test_requests_that_arrive_during_a_reload_are_kept(page: Page) -> None:
    """After a reload the list has the response's requests and newer ones, no evicted ones."""
    assert page.driver.execute_async_script(REQUEST_LOG) == [
        [[2, 1], 2],
        [[4, 3, 2, 1], 4],  # the fourth came on the stream, after the answer was made
        [[5], 1],  # the server has forgotten the others meanwhile
        [[6], 1],
        [[], 0],
    ]
    assert page.console() == []


HOSTILE = [
    "<script>window.hit = 1</script>",
    "<img src=x onerror='window.hit = 2'>",
    '"><svg onload=window.hit=3>',
    "javascript:window.hit=4",
    "\u202eright to left\u202c",
    "\u0000\u0001\u001b[31m\u007f\u0085\u2028",
    "\ud800 alone",
    "x" * 5_000,
    "é̂̂̂̂̂" * 50 + "\u200b\ufeff",
    "{{constructor}} ${window.hit = 5}",
    " \n\t ",
    "__proto__",
]


def hostile_lines() -> list[bytes]:
    """Return lines that hold hostile values, names and structures everywhere."""
    lines = []
    for n, text in enumerate(HOSTILE):
        who = {"accountId": text, "userId": text, "sessionId": text}
        what = {"module": text, "feature": text, text: {text: [text]}}
        lines.append(json.dumps(event(n, **who, **what, action=text)).encode())
        lines.append(json.dumps(without("userId", n, accountId=text, feature=text)).encode())
    deep = "[" * 400 + "]" * 400
    lines.append(json.dumps(event(90)).encode()[:-1] + f',"deep":{deep},"big":1e999}}'.encode())
    lines.append(json.dumps(event(91, __proto__={"polluted": 1}, constructor="x")).encode())
    lines.append(b"<script>window.hit = 6</script>")
    lines.append(b"\xff\xfe\x00 no text at all")
    lines.append(b"[" * 2000)
    return lines


def test_hostile_values_are_text(page: Page, viewer: Viewer) -> None:
    """No value runs, loads, reorders its surroundings or breaks the layout, in any view."""
    lines = hostile_lines()
    viewer.post(*lines)
    until(lambda: page.count() == f"{len(lines)} events", "all of them")
    newest = viewer.ask("GET", "/api/events?limit=1")["newest"]
    places = [f"#live/{newest - n}" for n in range(len(lines))]
    places += [f"#{view}" for view in VIEWS]
    places += ["?q=%3Cscript%3E#live", "#sessions/%3Cscript%3Ewindow.hit%3D7%3C%2Fscript%3E"]
    places += [
        "#sessions/%E2%80%AEright",
        "?user=%3Cimg%20src%3Dx%3E#live",
        "#live/%ff",
        "#nowhere",
    ]
    for width, some in ((NARROW, places), (1280, places[1::3])):
        page.size(width)
        for place in some:
            page.go(f"/{place}")
            wide = page.run("return document.documentElement.scrollWidth")
            assert wide <= width, (place, wide)
    page.open("/?q=%3Cscript%3E#live")
    page.see(".row", "<script>window.hit = 1</script>")
    assert page.run("return [window.hit ?? null, ({}).polluted ?? null]") == [None, None]
    assert page.find("main script, main img, main iframe") == []
    assert page.console() == []


def test_invisible_characters_are_marked(page: Page, viewer: Viewer) -> None:
    """Control and direction-changing characters are shown as marks."""
    viewer.post(event(1, feature="a\u202eb\u0007c\u200bd"))
    assert "a[U+202E]b␇c[U+200B]d" in page.text(".row")
    page.click(".row")
    assert "a[U+202E]b␇c[U+200B]d" in page.text(".properties")


def test_a_value_of_a_megabyte_is_shown_in_part_and_copied_whole(
    page: Page, viewer: Viewer
) -> None:
    """List and details stay fast, the layout intact, and the copy is complete."""
    allow_clipboard(page)
    text = "spam " * 200_000
    viewer.post(event(1, feature=text), event(2, note=text), event(3))
    began = time.monotonic()
    page.see(".row", "export 3")
    page.click(".row", "spam")
    page.see(".properties", "1,000,000 characters")
    assert time.monotonic() - began < 10
    assert page.run("return document.documentElement.scrollWidth") == 1280
    assert page.run("return document.body.innerText.length") < 100_000
    page.click(".detail [aria-label='Copy JSON']")
    page.see(".detail .copy", "Copied")
    assert json.loads(clipboard(page))["feature"] == text


def test_ten_thousand_events_without_a_stutter(page: Page, viewer: Viewer) -> None:
    """Only visible rows are drawn; the newest event appears in seconds, any other at once."""
    page.run(
        "window.longest = 0; let last = performance.now();"
        "(function tick(now) { window.longest = Math.max(window.longest, now - last); last = now;"
        " requestAnimationFrame(tick); })(last)"
    )
    viewer.post(*[event(n) for n in range(5_000)])
    began = time.monotonic()
    viewer.post(*[event(n) for n in range(5_000, 10_000)])
    page.see(".row", "export 9999")
    assert time.monotonic() - began < 8
    until(lambda: page.count() == "10,000 events", "all counted")
    assert len(page.rows()) < 60
    for key, shown in ((Keys.END, "export 0\n"), (Keys.HOME, "export 9999")):
        page.see(".rows").send_keys(key)
        page.see(".row", shown.strip())
        assert len(page.rows()) < 60
    page.run("const r = document.querySelector('.rows'); r.scrollTop = r.scrollHeight / 2")
    page.see(".row", "export 5000")
    assert len(page.rows()) < 60
    assert page.run("return window.longest") < 1_500


def test_evicted_events_are_counted(driver: webdriver.Chrome, tmp_path: Path) -> None:
    """If memory is full the list shows how many events were evicted; a link to one explains it."""
    with second(tmp_path, "--keep", "50") as viewer:
        page = fresh(driver, viewer)
        viewer.post(*[event(n) for n in range(120)])
        page.see(".evicted", "The oldest 70 events were evicted")
        page.see(".evicted", "at most 50")
        assert page.count() == "50 events"
        page.open("/#live/3")
        page.see(".detail", "no longer kept")


def test_the_page_reconnects_after_a_restart(driver: webdriver.Chrome, tmp_path: Path) -> None:
    """The page reports the lost server, reconnects, and reports that earlier events are gone."""
    with second(tmp_path) as viewer:
        page = fresh(driver, viewer)
        viewer.post(event(1), event(2))
        page.click(".row", "export 1")
        page.see(".detail", "export 1")
        viewer.stop()
        page.see("#connection", "reconnecting")
        page.see("#banner", "does not respond")
        page.see(".row", "export 2")
        viewer.restart()
        page.see("#banner", "earlier events are gone")
        page.see("#connection", "connected")
        page.gone(".row")
        page.gone(".detail")
        viewer.post(event(3))
        page.see(".row", "export 3")
        assert page.count() == "1 event"


def test_clear_asks_first_and_empties_every_page(page: Page, viewer: Viewer) -> None:
    """Cancel keeps all; Clear all empties this page, and so does a DELETE by a script."""
    viewer.post(event(1))
    page.see(".row", "export 1")
    page.click("button", "Clear")
    page.click("dialog button", "Cancel")
    page.gone("dialog")
    assert len(page.rows()) == 1
    page.click("button", "Clear")
    page.click("dialog button", "Clear all")
    page.see(".setup", "Waiting for the first event")
    viewer.post(event(2))
    page.see(".row", "export 2")
    assert page.count() == "1 event"
    viewer.ask("DELETE", "/api/events")
    page.see(".setup")


def test_the_keyboard_alone_is_enough(page: Page, viewer: Viewer) -> None:
    """Search, move, open, close, pause, change the view and show help without a pointer."""
    viewer.post(*[event(n) for n in range(30)])
    page.see(".row", "export 29")
    page.press("/")
    assert page.driver.switch_to.active_element.get_attribute("id") == "filter-q"
    page.press("export 1")
    until(lambda: page.count() == "11 events found", "the search")
    page.press(Keys.ESCAPE)
    page.press("j")
    page.press("j")
    page.press(Keys.ARROW_DOWN)
    page.press("k")
    active = page.driver.switch_to.active_element
    assert "export 18" in active.text
    assert active.get_attribute("role") == "option"
    page.press(Keys.ENTER)
    page.see(".detail", "export 18")
    page.press("j")
    page.see(".detail h2", "export 17")
    page.press(Keys.ESCAPE)
    page.gone(".detail")
    assert "export 17" in page.driver.switch_to.active_element.text
    page.press("p")
    page.see(".pause", "Resume")
    page.press("p")
    page.press("?")
    page.see("dialog", "previous event")
    page.press("2")
    page.press(Keys.ESCAPE)
    page.gone("dialog")
    page.see(".live")
    page.press("5")
    page.see(".server-view")
    page.press("1")
    page.see(".row", "export 19")


def test_tab_reaches_every_control_in_the_order_of_the_page(page: Page, viewer: Viewer) -> None:
    """Tab stops follow the layout; all rows together are one stop."""
    viewer.post(*[event(n) for n in range(30)])
    page.see(".row", "export 29")
    stops = []
    for _ in range(16):
        page.press(Keys.TAB)
        stops.append(page.driver.switch_to.active_element.accessible_name)
    joined = " | ".join(stops)
    order = ["Skip", "Live", "Failures", "endpoint", "Help", "Search", "Only", "Filter", "Pause"]
    places = [joined.index(name) for name in order]
    assert places == sorted(places)
    assert sum("export" in stop for stop in stops) == 1


def test_single_keys_can_be_switched_off(page: Page, viewer: Viewer) -> None:
    """With the shortcuts off, letters have no effect; a reload keeps the choice."""
    viewer.post(event(1))
    page.see(".row")
    page.press("?")
    page.click("#single-keys")
    page.press(Keys.ESCAPE)
    page.gone("dialog")
    page.press("p")
    page.press("?")
    page.open("/")
    page.press("p")
    page.press(Keys.ARROW_DOWN)
    assert page.text(".pause") == "Pause"
    assert page.find("dialog") == []


NAMED = {
    "button", "link", "textbox", "searchbox", "combobox", "option", "tab", "listbox", "dialog",
    "checkbox", "spinbutton", "image", "navigation", "search", "table", "region", "tabpanel",
}  # fmt: skip
UNNAMED_IS_FINE = {"region", "table"}


def accessible(page: Page) -> list[tuple[str, str]]:
    """Return role and name of everything that a screen reader reads."""
    nodes = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    return [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]


def check_names(page: Page, place: str) -> None:
    """Check that everything in a view has a name."""
    look_at(page, place)
    found = accessible(page)
    roles = {role for role, _ in found}
    assert {"banner", "navigation", "main", "heading"} <= roles, place
    unnamed = [role for role, name in found if role in NAMED - UNNAMED_IS_FINE and not name]
    assert unnamed == [], place
    assert sum(role == "heading" for role, _ in found) >= 2, place


def test_everything_has_a_name_for_a_screen_reader(page: Page, viewer: Viewer) -> None:
    """Controls, rows, images and landmarks of every view have names; a row is one sentence."""
    viewer.post(event(1), without("userId", 2, details={"a": 1}))
    page.see(".row", "export 1")
    newest = viewer.ask("GET", "/api/events?limit=1")["newest"]
    for place in (*VIEWS, f"live/{newest}", "sessions/s"):
        check_names(page, place)
    page.go("#live")
    page.see(".row")
    sentence = next(name for role, name in accessible(page) if role == "option")
    assert sentence.startswith("invalid, feature, reports / export 2, userId is missing")
    assert ", acme, s, " in sentence


def test_many_events_are_announced_as_one_count(page: Page, viewer: Viewer) -> None:
    """The live region changes once, seconds later, for any number of events."""
    page.run(
        "const real = window.setTimeout; window.setTimeout = (act, ms, ...more) =>"
        " real(act, ms > 5000 ? 4000 : ms, ...more);"
        "window.said = []; new MutationObserver(() => window.said.push("
        "document.getElementById('announcer').textContent))"
        ".observe(document.getElementById('announcer'), {childList: true, characterData: true})"
    )
    for n in range(5):
        viewer.post(event(n))
        page.see(".row", f"export {n}")
    until(lambda: page.run("return window.said.length"), "the count", 15)
    assert page.run("return window.said") == ["5 new events"]


CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")


def check_contrast(page: Page, place: str) -> None:
    """Check the contrast of everything that is shown."""
    looked, poor = page.run(CONTRAST)
    assert looked > 20, place
    assert poor == [], place


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_sufficient_contrast(page: Page, viewer: Viewer, scheme: str) -> None:
    """All text has a contrast of at least 4.5:1 (WCAG 2.2, 1.4.3) in both colour schemes."""
    page.prefer(color_scheme=scheme, reduced_motion="reduce")
    viewer.post(event(1), without("module", 2), without("userId", 3))
    viewer.ask("PUT", "/api/outcomes", b'{"status": 503}')
    answer_to_post(viewer)
    newest = viewer.ask("GET", "/api/events?limit=1")["newest"]
    grounds = set()
    page.go("?state=problems#live")
    page.see(".chip", "problems")
    for place in (*VIEWS, f"live/{newest}", f"live/{newest - 1}", "sessions/s"):
        look_at(page, place)
        page.see("#banner")
        check_contrast(page, place)
        grounds.add(page.run("return getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 1
    assert ("rgb(1" in grounds.pop()) == (scheme == "dark")


def test_reduced_motion_is_respected(page: Page, viewer: Viewer) -> None:
    """With reduced motion no animation runs where one does otherwise."""
    viewer.post(event(1))
    page.see(".row.new")
    assert page.run("return document.querySelector('.row.new').getAnimations().length") > 0
    page.prefer(reduced_motion="reduce")
    viewer.post(event(2))
    page.see(".row.new", "export 2")
    assert page.run("return document.getAnimations().length") == 0


def check_width(page: Page, place: str) -> None:
    """Check that a view fits into a narrow window."""
    inner = "return [...document.querySelectorAll('main, .view, .scroll, .detail-body, .rows')]"
    widths = page.run(f"{inner}.map((one) => one.scrollWidth)")
    assert max(widths) <= NARROW, place
    assert page.run("return document.documentElement.scrollWidth") == NARROW, place


def test_a_narrow_window_never_scrolls_sideways(page: Page, viewer: Viewer) -> None:
    """Every view fits into 380 px, also with a filter, an open event or a failure."""
    page.size(NARROW, 700)
    viewer.post(event(1), without("userId", 2), event(3, feature="long " * 60))
    viewer.ask("PUT", "/api/outcomes", b'{"status": 503, "headers": {"Retry-After": "5"}}')
    answer_to_post(viewer)
    newest = viewer.ask("GET", "/api/events?limit=1")["newest"]
    for place in (*VIEWS, f"live/{newest - 1}", "sessions/s", "live"):
        look_at(page, place)
        page.see("#banner", "503")
        page.see("nav a", "Failures")
        check_width(page, place)
    page.click("button", "Filter")
    page.type("#filter-user", "ann" + Keys.ENTER)
    page.click(".row", "export 1")
    page.see(".detail", "export 1")
    page.gone(".rows")
    assert page.run("return document.documentElement.scrollWidth") == NARROW
    page.click(".detail .close")
    page.see(".row", "export 1")


PLAN: dict[str, Any] = {
    "version": 1,
    "events": {
        "report exported": {
            "description": "A user downloaded a report as a file",
            "owner": "reporting@acme.example",
            "event": {"action": "feature", "module": "reports", "feature": "export"},
        },
        "report shared": {"event": {"action": "feature", "module": "reports", "feature": "share"}},
        "candidate added": {
            "event": {"action": "feature", "module": "recruit", "feature": "add candidate"}
        },
        "time in reports": {"event": {"action": "moduleEnd", "module": "reports"}, "owner": "Ann"},
        "login": {"event": {"action": "login"}, "description": "A session began"},
    },
}


@contextlib.contextmanager
def planned(tmp_path: Path, driver: webdriver.Chrome) -> Iterator[tuple[Page, Viewer]]:
    """Run a viewer with a plan, and load its page."""
    path = tmp_path / "usage-plan.json"
    path.write_text(json.dumps(PLAN))
    with second(tmp_path, "--plan", str(path)) as viewer:
        yield fresh(driver, viewer), viewer


def test_the_plan_and_what_adds_an_event_to_it(driver: webdriver.Chrome, tmp_path: Path) -> None:
    """By keyboard: coverage as events arrive, and the text that plans an unplanned one."""
    with planned(tmp_path, driver) as (page, viewer):
        allow_clipboard(page)
        viewer.post(event(1, feature="export"), event(2, feature="exprot"))
        page.see(".row .badge", "unplanned")
        assert "did you mean reports / export?" in page.text(".row", "exprot")
        page.press("6")
        page.see(".plan-view .count-text", "1 of 5 planned events seen (20 %), in 2 events")
        page.see(".card", "Planned, never seen (4)")
        viewer.post(event(3, feature="share"), event(4, feature="exprot"))
        page.see(".plan-view .count-text", "2 of 5 planned events seen (40 %), in 4 events")
        page.run("document.querySelector('.planned .add').focus()")
        viewer.post(event(5, feature="exprot"))
        page.see(".planned", "last")
        until(lambda: "3\nAdd" in page.text(".card", "Seen, not planned"), "the new count")
        name = "Add to plan: reports / exprot"
        assert page.driver.switch_to.active_element.accessible_name == name
        page.press(Keys.ENTER)
        page.see(".plan-view", "Seen 3 times")
        page.run("document.querySelector('.codebox .copy').focus()")
        page.press(Keys.ENTER)
        page.see(".codebox .copy", "Copied")
        added = json.loads(f"{{{clipboard(page)}}}")
        assert Plan.read({**PLAN, "events": {**PLAN["events"], **added}}).find(
            event(feature="exprot")
        )
        page.click(".back")
        page.click(".planned a.name", "reports / exprot")
        until(lambda: page.count() == "3 events found", "the unplanned events")
        page.click(".row")
        page.click(".detail .links a", "Add to plan")
        page.see(".plan-view h2", name)
        assert page.console() == []


def test_the_plan_is_for_everybody(driver: webdriver.Chrome, tmp_path: Path) -> None:
    """Its view has names and contrast, fits into a narrow window, and breaks at no value."""
    with planned(tmp_path, driver) as (page, viewer):
        viewer.post(event(1, feature="export"), event(2, feature="long " * 60), *hostile_lines())
        newest = viewer.ask("GET", "/api/plan")["unplanned"][0]["id"]
        for place in ("plan", f"plan/{newest}"):
            page.size(1280)
            check_names(page, place)
            assert page.run(MISNAMED) == [], place
            for scheme in ("light", "dark"):
                page.prefer(color_scheme=scheme)
                check_contrast(page, place)
            page.size(NARROW, 700)
            check_width(page, place)
        page.go("#plan/12345")
        page.see(".note", "does not exist")
        assert page.run("return window.hit ?? null") is None


def test_without_a_plan_there_is_no_such_view(page: Page) -> None:
    """No link leads to it, its key does nothing, and its address is that of the events."""
    page.gone("nav a", "Plan")
    page.press("6")
    page.press("?")
    assert "Plan" not in page.text("dialog .keys")
    page.press(Keys.ESCAPE)
    page.open("/#plan")
    until(lambda: page.driver.current_url.endswith("/#live"), "the list of events")


def test_a_hidden_tab_closes_its_connection(page: Page, viewer: Viewer) -> None:
    """Six hidden tabs would use up a browser's connections; a visible one reconnects."""
    page.run(
        "const real = window.setTimeout; window.setTimeout = (act, ms, ...more) =>"
        " real(act, ms === 20000 ? 1 : ms, ...more);"
        "Object.defineProperty(document, 'hidden', {configurable: true, get: () => window.away});"
        "window.opened = window.shut = 0; const Real = EventSource;"
        "const close = Real.prototype.close;"
        "Real.prototype.close = function () { window.shut += 1; close.call(this); };"
        "window.EventSource = class extends Real"
        " { constructor(...args) { super(...args); window.opened += 1; } };"
    )
    turn = "window.away = arguments[0]; document.dispatchEvent(new Event('visibilitychange'))"
    page.run(turn, True)
    until(lambda: page.run("return window.shut") == 1, "the end of the connection")
    assert page.run("return window.opened") == 0
    page.run(turn, False)
    until(lambda: page.run("return window.opened") == 1, "the new connection")
    viewer.post(event(1))
    page.see(".row", "export 1")


def test_no_file_of_the_page_parses_markup_or_loads_elsewhere() -> None:
    """Values become text only; no inline code, no style attribute, no foreign address."""
    files = static_files()
    assert {"index.html", "main.js", "icon.svg"} <= set(files)
    for name, body in files.items():
        text = body.decode()
        forbidden = (
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextual"
            r"|\beval\(|new Function|javascript:|\.cssText|setAttribute\(.style"
        )
        assert re.findall(forbidden, text) == [], name
        foreign = set(re.findall(r"(?:https?:)?//[a-z][^\s\"'`]*", text)) - {
            "http://www.w3.org/2000/svg",
        }
        assert {one for one in foreign if "." in one and not one.startswith("// ")} == set(), name
    page = files["index.html"].decode()
    assert re.findall(r"\son\w+=|\sstyle=|<style", page) == []
    assert re.findall(r"<script(?![^>]* src=)", page) == []


def test_each_script_has_a_comment_and_a_limit() -> None:
    """Every script begins with a comment, and has fewer than 300 lines."""
    for name, body in static_files().items():
        text = body.decode()
        if name.endswith(".js"):
            assert text.startswith("// "), name
            assert len(text.splitlines()) < 300, name


def story(viewer: Viewer) -> None:
    """Post the events of a small product in some minutes, with common mistakes."""
    now = int(time.time() * 1000)
    people = [("acme", "ann"), ("acme", "bob"), ("globex", "eve"), ("initech", "fay")]
    features = [
        ("reports", "export"),
        ("reports", "share"),
        ("tasks", "move"),
        ("recruit", "add candidate"),
        ("tasks", "comment"),
        ("reports", "export"),
        ("billing", "pay invoice"),
    ]
    batch: list[dict[str, Any]] = []
    for n in range(84):
        account, user = people[n * 7 % 4]
        module, feature = features[n * 5 % 7]
        at = now - (84 - n) * 7_000
        one = event(n, accountId=account, userId=user, module=module, feature=feature)
        one.update(
            createdAt=at, sessionId=f"{account}-{user}-{at // 1_800_000 % 1000}", total=1 + n % 3
        )
        if n % 9 == 4:
            del one["feature"]
            one.update(action="moduleEnd", timeSpent=41_000 + n)
        if n % 17 == 12:
            del one["module"]
        if n % 23 == 20:
            del one["userId"]
        if n == 81:
            one["createdAt"] = "yesterday"
        batch.append(one)
        if n % 6 == 5:
            body = zlib.compress("".join(json.dumps(one) + "\n" for one in batch).encode())
            viewer.ask("POST", "/v1/a/b", body, **{"Content-Encoding": "deflate"})
            batch = []


@pytest.mark.parametrize(
    ("look", "width", "scheme"),
    [("light", 1280, "light"), ("dark", 1280, "dark"), ("narrow", NARROW, "light")],
)
def test_each_view_has_a_screenshot(
    page: Page, viewer: Viewer, tmp_path: Path, look: str, width: int, scheme: str
) -> None:
    """Screenshots of every view are saved: light, dark and narrow."""
    page.prefer(color_scheme=scheme, reduced_motion="reduce")
    page.size(width)
    page.open("/#live")
    page.see(".setup")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    shots = [shot(page, "empty", look)]
    story(viewer)
    viewer.ask("POST", "/api/outcomes", b'{"outcomes": [{"status": 503}, {"then": "close"}]}')
    for _ in range(3):
        answer_to_post(viewer)
    wrong = viewer.ask("GET", "/api/events?state=invalid&limit=1")["entries"][0]
    session = viewer.ask("GET", "/api/overview")["sessions"][-1]["sessionId"]
    places = {
        "live": "live",
        "detail": f"live/{wrong['id']}",
        "overview": "overview",
        "sessions": "sessions",
        "timeline": f"sessions/{session}",
        "requests": "requests",
    }
    for name, place in places.items():
        look_at(page, place)
        shots.append(shot(page, name, look))
    page.go("?account=acme&state=problems#live")
    page.click("button", "Filter")
    page.see(".chip", "acme")
    shots.append(shot(page, "filter", look))
    page.press(Keys.ESCAPE)
    page.press("?")
    page.see("dialog")
    shots.append(shot(page, "help", look))
    page.press(Keys.ESCAPE)
    page.gone("dialog")
    viewer.ask("PUT", "/api/outcomes", b'{"status": 503, "headers": {"Retry-After": "5"}}')
    page.go("#server")
    page.see("#banner")
    shots.append(shot(page, "server", look))
    with planned(tmp_path, page.driver) as (page, viewer):
        page.prefer(color_scheme=scheme, reduced_motion="reduce")
        page.size(width)
        story(viewer)
        look_at(page, "plan")
        shots.append(shot(page, "plan", look))
        look_at(page, f"plan/{viewer.ask('GET', '/api/plan')['unplanned'][0]['id']}")
        shots.append(shot(page, "add-to-plan", look))
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in shots)
    assert len({file.read_bytes() for file in shots}) == len(shots)


def shot(page: Page, name: str, look: str) -> Path:
    """Save a screenshot."""
    file = SCREENSHOTS / f"{name}-{look}.png"
    page.driver.save_screenshot(str(file))
    return file
